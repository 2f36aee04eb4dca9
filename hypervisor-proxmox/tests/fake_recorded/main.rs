//! What a real Proxmox VE 9.1.1 was recorded to answer, asked of the fake.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests fail by panicking"
)]

mod scenes;
#[path = "../support/mod.rs"]
mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use hypervisor_proxmox::fake::FakePve;
use scenes::{LEFT_OUT, Step, afterwards, scene};
use serde_json::Value;
use support::{Client, Reply, exchange};

fn reference() -> PathBuf {
    let here = concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/reference");
    std::env::var_os("HYPERVISOR_REFERENCE")
        .map_or_else(|| here.into(), PathBuf::from)
        .join("pve/corpus.jsonl")
}

/// The types that occur at each place of a document. Rows of a list are one place, apart for each `type`.
fn shape(value: &Value, place: &str, out: &mut BTreeMap<String, BTreeSet<&'static str>>) {
    let kind = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(rows) => {
            for row in rows {
                let id = row.get("id").and_then(Value::as_str).unwrap_or_default();
                let has_kinds = id.contains('/') || id == "cluster" || row.get("storage").is_some();
                let apart = row.get("type").and_then(Value::as_str).filter(|_| has_kinds);
                shape(row, &format!("{place}[{}]", apart.unwrap_or_default()), out);
            }
            "array"
        }
        Value::Object(object) => {
            for (key, value) in object {
                shape(value, &format!("{place}.{}", named(key)), out);
            }
            "object"
        }
    };
    out.entry(place.to_owned()).or_default().insert(kind);
}

/// Names that are data.
fn named(key: &str) -> &str {
    if key.starts_with("tap") || key == "pve2" { "*" } else { key }
}

/// Places that may be there or not: what they are depends on the machine or on the moment.
const BY_CHANCE: &[&str] = &[
    // Cgroups of the machine, and figures that a machine has once it has done something.
    ".data.pressure",
    ".data[].pressure",
    ".data.diskread",
    ".data.diskwrite",
    ".data[].diskread",
    ".data[].diskwrite",
    // The processor and the kernel.
    ".flags",
    ".secureboot",
    ".timezone",
    ".running-",
    ".changes",
    // Storages that the recorded cluster did not have.
    "[nfs]",
    "[lvmthin]",
];

/// Numbers of processes, ports and dates are masked; ids of guests are shorter.
fn masked(text: &str) -> String {
    let (mut out, mut run) = (String::new(), String::new());
    for c in text.chars().chain(std::iter::once('\n')) {
        if c.is_ascii_digit() || (!run.is_empty() && matches!(c, '_' | '-')) {
            run.push(c);
            continue;
        }
        out.push_str(if run.len() > 3 { "#" } else { &run });
        run.clear();
        out.push(c);
    }
    out
}

fn compare(recorded: &Value, reply: &Reply, has_note: bool) -> Vec<String> {
    let mut wrong = Vec::new();
    let status = recorded["status"].as_u64().unwrap();
    if status != u64::from(reply.status) {
        wrong.push(format!("status {} instead of {status}", reply.status));
    }
    let reason = recorded["reason"].as_str().unwrap();
    if masked(reason) != masked(&reply.reason) {
        wrong.push(format!("reason {:?} instead of {reason:?}", reply.reason));
    }
    let list = recorded["headers"].as_array().unwrap();
    let wanted = list.iter().filter_map(Value::as_str).find_map(|line| line.strip_prefix("Content-Type: "));
    let got = reply.headers.get("content-type").map(String::as_str);
    if wanted != got {
        wrong.push(format!("content type {got:?} instead of {wanted:?}"));
    }
    let Some(json) = recorded.get("json") else {
        let body = recorded["body"].as_str().unwrap_or_default();
        let by_fields = recorded["name"] == "tasklog-download";
        if body != reply.body && !by_fields {
            wrong.push(format!("body {:?} instead of {body:?}", reply.body));
        }
        return wrong;
    };
    let Ok(own) = serde_json::from_str::<Value>(&reply.body) else {
        wrong.push(format!("no JSON: {:?}", reply.body));
        return wrong;
    };
    for key in ["message", "errors", "success"] {
        let text = |json: &Value| json.get(key).map(|value| masked(&value.to_string()));
        if text(json) != text(&own) {
            wrong.push(format!("{key} {:?} instead of {:?}", own.get(key), json.get(key)));
        }
    }
    let exit = |json: &Value| {
        masked(&json["data"]["status"].to_string()) + &masked(&json["data"]["exitstatus"].to_string())
    };
    let is_task = json["data"]["upid"].is_string() && json["data"]["pstart"].is_number();
    if is_task && !has_note && exit(json) != exit(&own) {
        wrong.push(format!("ended {:?} instead of {:?}", exit(&own), exit(json)));
    }
    let (mut theirs, mut ours) = (BTreeMap::new(), BTreeMap::new());
    shape(json, "", &mut theirs);
    shape(&own, "", &mut ours);
    let by_chance = |place: &str| BY_CHANCE.iter().any(|part| place.contains(part));
    for (place, kinds) in &theirs {
        match ours.get(place) {
            None if by_chance(place) => {}
            None => wrong.push(format!("{place} is missing")),
            Some(own) => {
                let odd: Vec<_> =
                    own.iter().filter(|kind| !kinds.contains(*kind) && **kind != "null").collect();
                if !odd.is_empty() && !kinds.contains("null") {
                    wrong.push(format!("{place} is {odd:?} instead of {kinds:?}"));
                }
            }
        }
    }
    for place in ours.keys().filter(|place| !theirs.contains_key(*place) && !by_chance(place)) {
        wrong.push(format!("{place} is too much"));
    }
    wrong
}

/// Replays one exchange; `None` where no answer came.
async fn replay(pve: &FakePve, entry: &Value, upid: Option<&str>) -> Option<Reply> {
    let name = entry["name"].as_str().unwrap();
    let method = entry["method"].as_str().unwrap();
    let mut path = entry["path"].as_str().unwrap().to_owned();
    if let (Some(upid), false) = (upid, name.starts_with("task-unknown"))
        && let Some(at) = path.find("UPID:")
    {
        let end = path[at..].find('/').map_or(path.len(), |end| at + end);
        path.replace_range(at..end, upid);
    }
    // Names of backups have the time in them.
    if let Some(at) = path.find("local:backup/") {
        let own = pve.volumes("pve1", "local").into_iter().find(|volid| volid.contains(":backup/"));
        path.replace_range(at.., &own.unwrap_or_default());
    }
    let mut headers = who(pve, name);
    let request = &entry["request"];
    let mut kind = Some("application/x-www-form-urlencoded".to_owned());
    let mut chunked = false;
    for line in request["headers"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        if let Some(value) = line.strip_prefix("Content-Type: ") {
            kind = Some(value.to_owned());
        } else if line.starts_with("Transfer-Encoding") {
            chunked = true;
        } else if line.starts_with("Cookie") && line.contains("REDACTED") {
            let (ticket, csrf) = login(pve, "root@pam", pve.password()).await;
            let half = name == "tfa-halfticket-use";
            let ticket = if half { login(pve, "alice@pve", "PASSWORD").await.0 } else { ticket };
            headers = vec![format!("Cookie: PVEAuthCookie={}", percent(&ticket))];
            if request["headers"].to_string().contains("CSRF")
                && !request["headers"].to_string().contains(":bad")
            {
                headers.push(format!("CSRFPreventionToken: {csrf}"));
            }
        } else {
            headers.retain(|known| !known.starts_with("Authorization") || !line.starts_with("Cookie"));
            headers.push(line.to_owned());
        }
    }
    let mut body = request["body"].as_str().unwrap_or_default().to_owned();
    body = body.replace("<600000 bytes>", &"x".repeat(600_000));
    if name.starts_with("auth-ticket") && !name.ends_with("unknown-realm") {
        body = body.replace("PASSWORD", pve.password());
    }
    if name == "auth-ticket-renew" {
        let (ticket, _) = login(pve, "root@pam", pve.password()).await;
        body = format!("username=root@pam&password={}", percent(&ticket));
    }
    if name == "tfa-login-bad" {
        let (half, _) = login(pve, "alice@pve", "PASSWORD").await;
        body = format!("username=alice@pve&password=totp:000000&tfa-challenge={}", percent(&half));
    }
    if let Some(own) = pve.volumes("pve1", "local").into_iter().find(|volid| volid.contains("vzdump-lxc"))
        && let Some(at) = body.find("local%3Abackup%2F")
    {
        let end = body[at..].find('&').map_or(body.len(), |end| at + end);
        body.replace_range(at..end, &percent(&own));
    }
    let mut bytes = body.into_bytes();
    if let Some(parts) = request["multipart"].as_array() {
        bytes = multipart(parts.iter().filter_map(Value::as_str));
        kind = Some("multipart/form-data; boundary=XX".to_owned());
    }
    let mut head = format!("{method} {path} HTTP/1.1\r\nHost: pve\r\nConnection: close\r\n");
    for line in headers {
        head.push_str(&format!("{line}\r\n"));
    }
    if !bytes.is_empty() {
        head.push_str(&format!("Content-Type: {}\r\n", kind.unwrap()));
    }
    if chunked {
        head.push_str("Transfer-Encoding: chunked\r\n");
        bytes = [format!("{:x}\r\n", bytes.len()).into_bytes(), bytes, b"\r\n0\r\n\r\n".to_vec()].concat();
    } else if !bytes.is_empty() || method != "GET" {
        head.push_str(&format!("Content-Length: {}\r\n", bytes.len()));
    }
    exchange(&pve.authority(), &head, &bytes).await
}

fn multipart<'a>(parts: impl Iterator<Item = &'a str>) -> Vec<u8> {
    let mut body = Vec::new();
    for part in parts {
        let (name, value) = part.split_once('=').unwrap();
        let mut head = format!("--XX\r\nContent-Disposition: form-data; name=\"{name}\"");
        let content = match value.strip_prefix("<file up.iso>") {
            Some(rest) => {
                let file =
                    rest.split(';').find_map(|word| word.strip_prefix("filename=")).unwrap_or("up.iso");
                head.push_str(&format!("; filename=\"{file}\""));
                vec![0; 2_000_000]
            }
            None if name == "checksum" => {
                b"13aea96040f2133033d103008d5d96cfe98b3361f7202d77bea97b2424a7a6cd".to_vec()
            }
            None => value.as_bytes().to_vec(),
        };
        head.push_str("\r\n\r\n");
        body.extend_from_slice(head.as_bytes());
        body.extend_from_slice(&content);
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(b"--XX--\r\n");
    body
}

fn percent(text: &str) -> String {
    hypervisor_proxmox::wire::form::encoded_text(text)
}

async fn login(pve: &FakePve, user: &str, password: &str) -> (String, String) {
    let client = Client::bare(pve);
    let form = hypervisor_proxmox::wire::form::Form::new().text("username", user).text("password", password);
    let data = client.post("/access/ticket", form).await.data();
    (data["ticket"].as_str().unwrap().to_owned(), data["CSRFPreventionToken"].as_str().unwrap().to_owned())
}

/// The credentials that an entry's name speaks of.
fn who(pve: &FakePve, name: &str) -> Vec<String> {
    let token = |text: &str| vec![format!("Authorization: PVEAPIToken={text}")];
    match name {
        "auth-none" | "extjs-noauth" | "auth-bearer" => Vec::new(),
        _ if name.starts_with("auth-ticket") || name.starts_with("tfa-login") => Vec::new(),
        "token-bad-secret" => token("root@pam!test=wrong"),
        "token-garbage" => token("garbage"),
        "token-unknown-user" => token("bob@pve!t=x"),
        "token-expired" | "user-disabled" => token("alice@pve!t1=secret-of-alice"),
        "perm-own" | "extjs-403" => token("alice@pve!t1=secret-of-alice"),
        _ if name.starts_with("perm-") => token("alice@pve!t1=secret-of-alice"),
        _ => token(&pve.token()),
    }
}

async fn run(entries: &BTreeMap<String, Value>, name: &str) -> Vec<String> {
    let (builder, steps) = scene(name);
    let pve = builder.start().await.unwrap();
    let client = Client::new(&pve);
    let mut upid: Option<String> = None;
    for step in steps {
        let reply = match step {
            Step::Call(method, path, form) => client.try_send(method, path, form).await,
            Step::Exchange(other) => {
                let Some(entry) = entries.get(&other) else { return vec![format!("there is no {other}")] };
                let reply = replay(&pve, entry, upid.as_deref()).await;
                afterwards(&other, &pve);
                reply
            }
            Step::Wait(seconds) => {
                pve.advance(Duration::from_secs(seconds));
                continue;
            }
            Step::With(f) => {
                f(&pve);
                continue;
            }
            Step::Offline(host) => {
                pve.take_offline(host).await;
                continue;
            }
        };
        let Some(reply) = reply else { return vec!["no answer to a step before".into()] };
        if reply.status != 200 {
            return vec![format!("a step before failed: {reply:?}")];
        }
        let data = serde_json::from_str::<Value>(&reply.body).unwrap_or_default()["data"].clone();
        let of_task =
            data.as_str().or_else(|| data["upid"].as_str()).filter(|text| text.starts_with("UPID:"));
        upid = of_task.map(str::to_owned).or(upid);
    }
    let entry = &entries[name];
    match replay(&pve, entry, upid.as_deref()).await {
        Some(reply) => compare(entry, &reply, entry.get("note").is_some()),
        None => vec!["no answer".into()],
    }
}

#[tokio::test]
async fn recorded_exchanges_are_answered_as_the_real_server_did() {
    let path = reference();
    let Ok(text) = std::fs::read_to_string(&path) else {
        println!("SKIPPED: {} not present", path.display());
        return;
    };
    let all = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let entries: BTreeMap<String, Value> = all
        .filter(|entry| entry.get("status").is_some())
        .map(|entry| (entry["name"].as_str().unwrap().to_owned(), entry))
        .collect();
    assert!(entries.len() > 300, "the corpus has become small: {}", entries.len());
    for (name, _) in LEFT_OUT {
        assert!(entries.contains_key(*name), "{name} is left out but not there");
    }
    let (mut failures, mut count) = (Vec::new(), 0);
    let only = std::env::var("ONLY").ok();
    for name in entries.keys().filter(|name| only.as_ref().is_none_or(|only| name.contains(only.as_str()))) {
        if LEFT_OUT.iter().any(|(left, _)| left == name) {
            continue;
        }
        count += 1;
        let wrong = run(&entries, name).await;
        failures.extend(wrong.into_iter().map(|why| format!("{name}: {why}")));
    }
    println!("{count} exchanges replayed, {} left out by name", LEFT_OUT.len());
    assert!(failures.is_empty(), "{} divergences:\n{}", failures.len(), failures.join("\n"));
}
