//! The fake against what was recorded from the real servers: every recorded request is sent to it, in the order of recording, and status,
//! type and shape of the answers have to agree.
//!
//! The fixtures hold shapes, not texts. `HYPERVISOR_UPDATE_FIXTURES=1` makes them anew from the recordings.

use std::path::{Path, PathBuf};

use hypervisor_client::dialect::virtumancer::Generation;
use hypervisor_client::fake::Fake;
use hypervisor_client::fake::virtumancer::{FakeVm, VirtumancerFake};
use hypervisor_core::http::{Http, HttpConfig, Method, Request};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Step {
    step: String,
    method: String,
    path: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    body: String,
    status: u16,
    /// The media type, without parameters; empty where there is none.
    kind: String,
    /// The code of an error.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    code: Option<String>,
    /// The answer with its values replaced by what they are.
    shape: Value,
}

/// What the fake does not serve: listings without a place in the shared model, which are read by raw calls.
const NOT_FAKED: [&str; 7] = [
    "050_ports",
    "051_port-attachments",
    "053_hosts_kvmsrv_ports",
    "054_hosts_kvmsrv_vms_web-01_port-attachments",
    "055_video_models",
    "056_hosts_kvmsrv_video_devices",
    "057_hosts_kvmsrv_vms_web-01_video-attachments",
];

/// Of these the fake gives a few fields only.
const ABRIDGED: [&str; 2] = ["013_host_capabilities", "023_hardware_ext"];

fn shape(value: &Value) -> Value {
    match value {
        Value::Null => Value::Null,
        Value::Bool(_) => "bool".into(),
        Value::Number(_) => "number".into(),
        Value::String(_) => "text".into(),
        Value::Array(items) => {
            let mut all = Map::new();
            for item in items {
                match shape(item) {
                    Value::Object(fields) => {
                        all.extend(fields.into_iter().filter(|(_, kind)| !kind.is_null()))
                    }
                    other => return json!([other]),
                }
            }
            if items.is_empty() { json!([]) } else { json!([all]) }
        }
        Value::Object(fields) => {
            fields.iter().map(|(key, value)| (key.clone(), shape(value))).collect::<Map<_, _>>().into()
        }
    }
}

/// What of `found` is not as in `recorded`.
fn differences(recorded: &Value, found: &Value, abridged: bool, at: &str, out: &mut Vec<String>) {
    match (recorded, found) {
        (Value::Null, _) | (_, Value::Null) => {}
        (Value::Array(recorded), Value::Array(found)) => {
            if let (Some(recorded), Some(found)) = (recorded.first(), found.first()) {
                differences(recorded, found, abridged, &format!("{at}[]"), out);
            }
        }
        (Value::Object(recorded), Value::Object(found)) => {
            for (key, found) in found {
                match recorded.get(key) {
                    Some(recorded) => differences(recorded, found, abridged, &format!("{at}.{key}"), out),
                    None => out.push(format!("{at}.{key} was not recorded")),
                }
            }
            for (key, kind) in recorded {
                if !abridged && !found.contains_key(key) && !kind.is_null() {
                    out.push(format!("{at}.{key} is missing"));
                }
            }
        }
        (recorded, found) if recorded != found => {
            out.push(format!("{at} is {found} where {recorded} was recorded"))
        }
        _ => {}
    }
}

fn reference() -> PathBuf {
    let there = std::env::var_os("HYPERVISOR_REFERENCE").map(PathBuf::from);
    there.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/reference"))
}

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/virtumancer/fixtures").join(format!("{name}.jsonl"))
}

/// Reads a recorded exchange.
fn read(step: &str, text: &str) -> Step {
    let (request, response) = text.split_once("### RESPONSE").expect("two parts");
    let request = request.split_once('\n').unwrap().1;
    let (head, body) = request.split_once("\n\n").unwrap_or((request, ""));
    let mut line = head.lines().next().unwrap().split(' ');
    let (method, path) = (line.next().unwrap(), line.next().unwrap());
    let response = response.split_once('\n').unwrap().1.replace('\r', "");
    let (head, answer) = response.split_once("\n\n").unwrap_or((&response, ""));
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    let kind = head.lines().find_map(|line| line.strip_prefix("Content-Type: ")).unwrap_or_default();
    let kind = kind.split(';').next().unwrap();
    let value: Value = serde_json::from_str(answer.trim()).unwrap_or(Value::Null);
    Step {
        step: step.to_owned(),
        method: method.to_owned(),
        path: path.to_owned(),
        body: body.trim().to_owned(),
        status,
        kind: kind.to_owned(),
        code: value.get("code").and_then(Value::as_str).map(str::to_owned),
        shape: if kind == "application/json" { shape(&value) } else { Value::Null },
    }
}

fn recorded(folder: &str) -> Option<Vec<Step>> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(reference().join("exchanges").join(folder))
        .ok()?
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    let numbered = files
        .iter()
        .filter(|file| file.file_name().unwrap().to_string_lossy().starts_with(|c: char| c.is_ascii_digit()));
    let steps = numbered.map(|file| {
        let name = file.file_stem().unwrap().to_string_lossy().into_owned();
        read(&name, &std::fs::read_to_string(file).unwrap())
    });
    Some(steps.collect())
}

fn fixtures(name: &str) -> Vec<Step> {
    let text = std::fs::read_to_string(fixture(name)).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn the_fixtures_are_what_was_recorded() {
    for (name, folder) in [("current", "virtumancer"), ("early", "virtumancer-361abbe")] {
        let Some(steps) = recorded(folder) else {
            eprintln!("\nSKIPPED: {} is not present\n", reference().join("exchanges").join(folder).display());
            continue;
        };
        if std::env::var_os("HYPERVISOR_UPDATE_FIXTURES").is_some() {
            let lines: Vec<String> = steps.iter().map(|step| serde_json::to_string(step).unwrap()).collect();
            std::fs::create_dir_all(fixture(name).parent().unwrap()).unwrap();
            std::fs::write(fixture(name), lines.join("\n") + "\n").unwrap();
        }
        assert_eq!(fixtures(name), steps);
    }
}

async fn replay(generation: Generation, name: &str, before: impl AsyncFn(&VirtumancerFake, &Http, &str)) {
    let fake = Fake::virtumancer().generation(generation).start().await.unwrap();
    let http = Http::new(HttpConfig::parse(&format!("http://{}", fake.address())).unwrap()).unwrap();
    let mut wrong = Vec::new();
    let steps = fixtures(name);
    let mut compared = 0;
    for step in &steps {
        if NOT_FAKED.contains(&step.step.as_str()) {
            continue;
        }
        before(&fake, &http, &step.step).await;
        let (path, query) = step.path.split_once('?').unwrap_or((&step.path, ""));
        let mut request = Request::new(Method::from_bytes(step.method.as_bytes()).unwrap(), path);
        if let Some((key, value)) = query.split_once('=') {
            request = request.query(key, value);
        }
        if !step.body.is_empty() {
            request = request.bytes("application/json", step.body.clone());
        }
        let found = http.send(request).await.unwrap();
        let kind = found.header("content-type").unwrap_or_default().split(';').next().unwrap();
        if (found.status(), kind) != (step.status, step.kind.as_str()) {
            wrong.push(format!(
                "{}: {} {kind} where {} {} was recorded: {}",
                step.step,
                found.status(),
                step.status,
                step.kind,
                found.text()
            ));
            continue;
        }
        let answer: Value = serde_json::from_slice(found.bytes()).unwrap_or(Value::Null);
        let code = answer.get("code").and_then(Value::as_str).map(str::to_owned);
        if code != step.code {
            wrong.push(format!("{}: code {code:?} where {:?} was recorded", step.step, step.code));
        }
        if step.kind == "application/json" {
            let mut different = Vec::new();
            differences(
                &step.shape,
                &shape(&answer),
                ABRIDGED.contains(&step.step.as_str()),
                "",
                &mut different,
            );
            wrong.extend(different.into_iter().map(|difference| format!("{}: {difference}", step.step)));
        }
        compared += 1;
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(compared >= 30, "only {compared} of {} steps were compared", steps.len());
}

async fn post(http: &Http, path: &str, body: &str) {
    http.send(Request::post(path).bytes("application/json", body.to_owned())).await.unwrap();
}

#[tokio::test]
async fn the_current_fake_answers_as_the_recorded_server() {
    replay(Generation::Current, "current", async |fake, http, step| match step {
        "009_host_create_dup" => {
            post(http, "/api/v1/hosts", r#"{"id":"kvmsrv","uri":"qemu:///system"}"#).await;
            fake.add_vm(FakeVm::new("kvmsrv", "db-01").unmanaged());
            fake.add_vm(FakeVm::new("kvmsrv", "web-01").unmanaged().running());
        }
        "038_forceoff_again" => post(http, "/api/v1/hosts/kvmsrv/vms/db-01/forceoff", "").await,
        "066_hosts_disc" => {
            let name = Request::new(Method::PATCH, "/api/v1/hosts/kvmsrv")
                .bytes("application/json", r#"{"name":"KVM one"}"#);
            http.send(name).await.unwrap();
        }
        _ => {}
    })
    .await;
}

#[tokio::test]
async fn the_early_fake_answers_as_the_recorded_server() {
    replay(Generation::Early, "early", async |fake, _, step| {
        if step == "014_hardware" {
            fake.add_vm(FakeVm::new("kvmsrv", "db-01"));
            fake.add_vm(FakeVm::new("kvmsrv", "web-01").running());
        }
    })
    .await;
}
