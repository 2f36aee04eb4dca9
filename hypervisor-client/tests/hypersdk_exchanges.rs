//! The fake against what was recorded from the real daemon: every recorded request is sent to it in the same order, and status, content type
//! and the shape of the answer have to be the same.
#![cfg(feature = "fake")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests fail by panicking"
)]

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::PathBuf;

use hypervisor_client::fake::Fake;
use hypervisor_client::fake::hypersdk::RunningHyperSdk;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// Where the recordings are: `HYPERVISOR_REFERENCE`, or beside the repository.
fn reference() -> Option<PathBuf> {
    let beside = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/reference");
    let folder =
        std::env::var_os("HYPERVISOR_REFERENCE").map_or(beside, PathBuf::from).join("exchanges/hypersdk");
    folder.is_dir().then_some(folder)
}

/// What a host without accounting for CPUs answered, and an export into a folder that was made only before the next one.
const OF_THAT_HOST: [&str; 2] = ["059_stats_cpu", "080_template_export"];

struct Exchange {
    name: String,
    line: String,
    headers: Vec<String>,
    body: String,
    /// Status, content type and body; nothing where the connection was closed.
    answer: Option<(u16, String, String)>,
}

fn parse(name: &str, text: &str) -> Exchange {
    let (request, response) = text.split_once("### RESPONSE").unwrap();
    let request = request.split_once('\n').unwrap().1;
    let (head, body) = request.split_once("\n\n").unwrap_or((request, ""));
    let mut lines = head.lines();
    let line = lines.next().unwrap().trim().to_owned();
    let headers = lines.map(str::to_owned).collect();
    let response = response.split_once('\n').unwrap().1.replace("\r\n", "\n");
    let answer = response.strip_prefix("HTTP/1.1 ").map(|response| {
        let (head, body) = response.split_once("\n\n").unwrap();
        let kind = head.lines().find_map(|line| line.strip_prefix("Content-Type: ")).unwrap();
        (head[..3].parse().unwrap(), kind.trim().to_owned(), body.trim().to_owned())
    });
    Exchange { name: name.to_owned(), line, headers, body: body.trim().to_owned(), answer }
}

fn exchanges(folder: &PathBuf) -> Vec<Exchange> {
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<PathBuf> = files.filter(|path| path.file_stem().unwrap() != "websocket").collect();
    files.sort();
    let read = |path: &PathBuf| {
        let text = std::fs::read_to_string(path).unwrap();
        parse(path.file_stem().unwrap().to_str().unwrap(), &text)
    };
    files.iter().map(read).collect()
}

/// Sends a request as it is, and gives status, content type and body.
async fn send(
    fake: &RunningHyperSdk,
    line: &str,
    headers: &[String],
    body: &str,
) -> Option<(u16, String, String)> {
    let mut socket = TcpStream::connect(fake.server().address()).await.unwrap();
    let mut request = format!("{line}\r\nHost: localhost\r\nConnection: close\r\n");
    for header in headers {
        request.push_str(&format!("{header}\r\n"));
    }
    request.push_str(&format!("Content-Length: {}\r\n\r\n{body}", body.len()));
    socket.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    socket.read_to_end(&mut answer).await.unwrap_or_default();
    let answer = String::from_utf8(answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let kind = head
        .lines()
        .find_map(|line| line.to_ascii_lowercase().strip_prefix("content-type: ").map(str::to_owned));
    Some((head[9..12].parse().unwrap(), kind.unwrap_or_default(), body.trim().to_owned()))
}

async fn post(fake: &RunningHyperSdk, path: &str, body: &str) -> Value {
    let answer = send(fake, &format!("POST {path} HTTP/1.1"), &[], body).await.unwrap();
    assert!((200..300).contains(&answer.0), "POST {path}: {answer:?}");
    serde_json::from_str(&answer.2).unwrap()
}

/// What happened between two recordings without being recorded.
async fn in_between(fake: &RunningHyperSdk, name: &str, job: Option<&String>) {
    let db = r#"{"name": "db-01"}"#;
    match name {
        "012_domain_paused_state" => drop(post(fake, "/libvirt/domain/pause", db).await),
        "015_domain_destroy" => drop(post(fake, "/libvirt/domain/start", db).await),
        "038_network_start" => drop(post(fake, "/libvirt/network/stop", r#"{"name": "vm-network"}"#).await),
        "082_domains_many" => {
            let deploy = r#"{"template": "ubuntu-22-template", "name": "new-webserver", "autostart": true}"#;
            drop(post(fake, "/libvirt/template/deploy", deploy).await);
        }
        "094_job_get_early" => fake.end_job(job.unwrap(), Some("export failed")),
        _ => {}
    }
}

fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "text",
        Value::Array(_) => "list",
        Value::Object(_) => "object",
    }
}

/// The fields of all objects of a list, each with one value.
fn fields(list: &[Value]) -> BTreeMap<&String, &Value> {
    list.iter().filter_map(Value::as_object).flatten().collect()
}

fn compare(at: &str, recorded: &Value, ours: &Value, wrong: &mut Vec<String>) {
    if kind_of(recorded) != kind_of(ours) {
        wrong.push(format!("{at} is {} where {} was recorded", kind_of(ours), kind_of(recorded)));
        return;
    }
    let (recorded, ours): (BTreeMap<_, _>, BTreeMap<_, _>) = match (recorded, ours) {
        (Value::Object(recorded), Value::Object(ours)) => (recorded.iter().collect(), ours.iter().collect()),
        (Value::Array(recorded), Value::Array(ours)) if recorded.is_empty() || ours.is_empty() => {
            if recorded.is_empty() != ours.is_empty() {
                wrong.push(format!("{at} has {} items where {} were recorded", ours.len(), recorded.len()));
            }
            return;
        }
        (Value::Array(recorded), Value::Array(ours)) => (fields(recorded), fields(ours)),
        _ => return,
    };
    if !recorded.keys().eq(ours.keys()) {
        wrong.push(format!("{at} has {:?} where {:?} were recorded", ours.keys(), recorded.keys()));
        return;
    }
    for (key, value) in &recorded {
        compare(&format!("{at}.{key}"), value, ours[*key], wrong);
    }
}

#[tokio::test]
async fn the_fake_answers_as_the_recorded_daemon() {
    let Some(folder) = reference() else {
        // Past the capture of the test runner.
        let skipped = "\nSKIPPED: the recorded exchanges are not present (set HYPERVISOR_REFERENCE)\n\n";
        std::io::stderr().write_all(skipped.as_bytes()).unwrap();
        return;
    };
    let fake = Fake::hypersdk()
        .with_vm("web-01", true)
        .with_vm("db-01", false)
        .with_vm("my web vm", false)
        .start()
        .await;
    let found = send(&fake, "GET /libvirt/domain?name=web-01 HTTP/1.1", &[], "").await.unwrap();
    let found: Value = serde_json::from_str(&found.2).unwrap();
    // Names that only that host had, and ours for them.
    let mut ours = vec![("236c94d8-e35c-4056-aa26-904c8067e541", found["uuid"].as_str().unwrap().to_owned())];
    let mut job = None;
    let (mut wrong, mut compared) = (Vec::new(), 0);
    for exchange in exchanges(&folder) {
        in_between(&fake, &exchange.name, job.as_ref()).await;
        if OF_THAT_HOST.contains(&exchange.name.as_str()) {
            continue;
        }
        let translate =
            |text: &str| ours.iter().fold(text.to_owned(), |text, (theirs, ours)| text.replace(theirs, ours));
        let answer =
            send(&fake, &translate(&exchange.line), &exchange.headers, &translate(&exchange.body)).await;
        compared += 1;
        let name = &exchange.name;
        let (recorded, answer) = match (&exchange.answer, answer) {
            (None, None) => continue,
            (Some(recorded), Some(answer)) => (recorded, answer),
            (recorded, answer) => {
                wrong.push(format!("{name}: {answer:?} where {recorded:?} was recorded"));
                continue;
            }
        };
        if (recorded.0, &recorded.1) != (answer.0, &answer.1) {
            wrong.push(format!("{name}: {answer:?} where {} {} was recorded", recorded.0, recorded.1));
            continue;
        }
        if let (Ok(theirs), Ok(mine)) =
            (serde_json::from_str(&translate(&recorded.2)), serde_json::from_str(&answer.2))
        {
            compare(name, &theirs, &mine, &mut wrong);
            if exchange.name == "093_jobs_submit" {
                let (theirs, mine): (Value, Value) = (theirs, mine);
                let id = mine["job_ids"][0].as_str().unwrap().to_owned();
                assert_eq!(theirs["job_ids"][0], "de1835f3-93e9-41fa-8031-9139365d0950");
                ours.push(("de1835f3-93e9-41fa-8031-9139365d0950", id.clone()));
                job = Some(id);
            }
        } else if recorded.1.contains("json") {
            wrong.push(format!("{name}: no JSON: {}", answer.2));
        }
    }
    assert!(compared > 120, "{compared} exchanges were compared");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
