//! The program, killed in the middle: no job's record is lost, and it serves TLS and ends gracefully.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests fail by panicking"
)]

mod common;

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

const PROGRAM: &str = env!("CARGO_BIN_EXE_hypervisor-gateway");

struct Running {
    child: Child,
    at: String,
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn database(folder: &Path) -> String {
    format!("sqlite://{}", folder.join("state.db").display())
}

fn token(folder: &Path) -> String {
    token_in(&database(folder))
}

fn token_in(database: &str) -> String {
    let made = Command::new(PROGRAM).args(["token", "--database", database]).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    String::from_utf8(made.stdout).unwrap().trim().to_owned()
}

fn start(folder: &Path, backend: &str, more: &[&str]) -> Running {
    start_on(&database(folder), backend, more)
}

fn start_on(database: &str, backend: &str, more: &[&str]) -> Running {
    let mut command = Command::new(PROGRAM);
    command.args(["--backend", backend, "--database", database, "--log-filter", "warn"]).args(more);
    begin(&mut command)
}

fn begin(command: &mut Command) -> Running {
    let mut child = command
        .args(["--listen", "127.0.0.1:0", "--lease", "0.5", "--rate", "none", "--stream-grace", "0"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let at =
        line.trim().strip_prefix("listening on ").unwrap_or_else(|| panic!("it said {line:?}")).to_owned();
    Running { child, at }
}

fn client() -> reqwest::Client {
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().build().unwrap()
}

async fn call(
    client: &reqwest::Client,
    at: &str,
    token: &str,
    method: &str,
    path: &str,
    body: Option<Value>,
) -> Value {
    let request = client
        .request(method.parse().unwrap(), format!("http://{at}{path}"))
        .header("authorization", format!("Bearer {token}"));
    let request = match body {
        Some(body) => request.header("content-type", "application/json").body(body.to_string()),
        None => request,
    };
    let text = request.send().await.unwrap().text().await.unwrap();
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

#[tokio::test]
async fn a_gateway_killed_in_the_middle_of_jobs_loses_no_record_on_sqlite() {
    let folder = tempfile::tempdir().unwrap();
    killed_in_the_middle(&database(folder.path())).await;
}

#[tokio::test]
async fn a_gateway_killed_in_the_middle_of_jobs_loses_no_record_on_postgresql() {
    let Some((url, _server)) = common::postgres::database() else { return };
    killed_in_the_middle(&url).await;
}

async fn killed_in_the_middle(database: &str) {
    let (token, client) = (token_in(database), client());
    let mut first = start_on(database, "memory://?task_time=1h", &[]);
    let at = first.at.clone();
    let mut jobs = Vec::new();
    for number in 0..5 {
        let spec = hypervisor_core::model::VolumeSpec::new(
            "default",
            format!("v{number}"),
            hypervisor_core::model::ByteSize::mib(1),
        );
        let made = call(&client, &at, &token, "POST", "/v1/volumes", Some(json!({ "spec": spec }))).await;
        let volume = made["data"]["volume"]["id"].as_str().unwrap().replace('/', "%2F");
        let path = format!("/v1/volumes/{volume}/wipe");
        let begun = call(&client, &at, &token, "POST", &path, Some(json!({ "algorithm": "zero" }))).await;
        jobs.push(begun["data"]["job"]["id"].as_str().unwrap().to_owned());
    }
    // SIGKILL: nothing is written on the way out.
    first.child.kill().unwrap();
    first.child.wait().unwrap();
    let second = start_on(database, "memory://?task_time=1h", &[]);
    for job in &jobs {
        let until = Instant::now() + Duration::from_secs(20);
        loop {
            let found = call(&client, &second.at, &token, "GET", &format!("/v1/jobs/{job}"), None).await;
            let status = found["data"]["job"]["status"]
                .as_str()
                .unwrap_or_else(|| panic!("lost: {found:#}"))
                .to_owned();
            if status == "unknown" {
                break;
            }
            assert_eq!(status, "running");
            assert!(Instant::now() < until, "{job} stays running");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
    let listed = call(&client, &second.at, &token, "GET", "/v1/jobs?status=unknown", None).await;
    assert_eq!(listed["data"]["pagination"]["total"], 5);
}

/// As many creates as fit into a moment, and a kill somewhere among them: each that was answered is on record, and each record that has
/// no outcome says so.
#[tokio::test]
async fn a_gateway_killed_among_calls_has_a_record_of_each_that_was_answered() {
    let folder = tempfile::tempdir().unwrap();
    let (token, client) = (token(folder.path()), client());
    for round in 0..3_u64 {
        let mut running = start(folder.path(), "memory://", &[]);
        let at = running.at.clone();
        let (sending, token_of) = (client.clone(), token.clone());
        let callers = tokio::spawn(async move {
            let mut answered = Vec::new();
            for number in 0.. {
                let body = json!({ "name": format!("vm-{round}-{number}") }).to_string();
                let request = sending
                    .post(format!("http://{at}/v1/vms"))
                    .header("authorization", format!("Bearer {token_of}"))
                    .header("content-type", "application/json");
                let Ok(response) = request.body(body).send().await else { break };
                let Ok(text) = response.text().await else { break };
                let Ok(made) = serde_json::from_str::<Value>(&text) else { break };
                answered.push(made["data"]["vm"]["creation_job_id"].as_str().unwrap().to_owned());
            }
            answered
        });
        tokio::time::sleep(Duration::from_millis(150 + 70 * round)).await;
        running.child.kill().unwrap();
        running.child.wait().unwrap();
        let answered = callers.await.unwrap();
        assert!(!answered.is_empty());
        let next = start(folder.path(), "memory://", &[]);
        for job in answered {
            let found = call(&client, &next.at, &token, "GET", &format!("/v1/jobs/{job}"), None).await;
            assert_eq!(found["data"]["job"]["status"], "completed", "{found:#}");
        }
        let until = Instant::now() + Duration::from_secs(20);
        loop {
            let open = call(&client, &next.at, &token, "GET", "/v1/jobs?status=running", None).await;
            if open["data"]["pagination"]["total"] == 0 {
                break;
            }
            assert!(Instant::now() < until, "an open job has no end: {open:#}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

#[tokio::test]
async fn it_serves_tls_and_refuses_to_be_reached_without() {
    let folder = tempfile::tempdir().unwrap();
    let token = token(folder.path());
    let _ = client();
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let (cert, key) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
    std::fs::write(&cert, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let tls = ["--tls-cert", cert.to_str().unwrap(), "--tls-key", key.to_str().unwrap()];
    let running = start(folder.path(), "memory://", &tls);
    let trusting = reqwest::Client::builder()
        .tls_certs_only([reqwest::Certificate::from_pem(made.cert.pem().as_bytes()).unwrap()])
        .build()
        .unwrap();
    let port = running.at.rsplit_once(':').unwrap().1;
    let answer = trusting
        .get(format!("https://localhost:{port}/v1/info"))
        .header("authorization", format!("Bearer {token}"))
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status().as_u16(), 200);
    assert!(
        reqwest::get(format!("https://localhost:{port}/v1/health")).await.is_err(),
        "a stranger's certificate was trusted"
    );
    let refused = Command::new(PROGRAM)
        .args(["--listen", "0.0.0.0:0", "--database", &database(folder.path())])
        .output()
        .unwrap();
    assert!(!refused.status.success());
    assert!(String::from_utf8_lossy(&refused.stderr).contains("--tls-cert"));
}

#[cfg(unix)]
#[tokio::test]
async fn a_request_that_is_under_way_ends_well_when_the_gateway_is_told_to_end() {
    let folder = tempfile::tempdir().unwrap();
    let (token, client) = (token(folder.path()), client());
    let mut running = start(folder.path(), "memory://?task_time=1s", &[]);
    let spec =
        hypervisor_core::model::VolumeSpec::new("default", "v", hypervisor_core::model::ByteSize::mib(1));
    let made = call(&client, &running.at, &token, "POST", "/v1/volumes", Some(json!({ "spec": spec }))).await;
    let volume = made["data"]["volume"]["id"].as_str().unwrap().replace('/', "%2F");
    let path = format!("/v1/volumes/{volume}/wipe");
    let begun = call(&client, &running.at, &token, "POST", &path, Some(json!({ "algorithm": "zero" }))).await;
    let job = begun["data"]["job"]["id"].as_str().unwrap().to_owned();
    let at = running.at.clone();
    let held = tokio::spawn(async move {
        call(&client, &at, &token, "GET", &format!("/v1/jobs/{job}?hold=10"), None).await
    });
    tokio::time::sleep(Duration::from_millis(200)).await;
    let told = Command::new("kill").arg(running.child.id().to_string()).status().unwrap();
    assert!(told.success());
    let answer = held.await.unwrap();
    // Held until something changes: its progress, or its end.
    assert_eq!(answer["success"], true, "{answer:#}");
    let ended = running.child.wait().unwrap();
    assert!(ended.success(), "{ended}");
}

/// A job that would end with the process is waited for, and a subscriber sees its end before the gateway says goodbye.
#[cfg(unix)]
#[tokio::test]
async fn jobs_and_streams_are_drained_when_the_gateway_is_told_to_end() {
    let folder = tempfile::tempdir().unwrap();
    let (token, client) = (token(folder.path()), client());
    let mut running = start(folder.path(), "memory://?task_time=1s", &[]);
    let spec =
        hypervisor_core::model::VolumeSpec::new("default", "v", hypervisor_core::model::ByteSize::mib(1));
    let made = call(&client, &running.at, &token, "POST", "/v1/volumes", Some(json!({ "spec": spec }))).await;
    let volume = made["data"]["volume"]["id"].as_str().unwrap().replace('/', "%2F");
    let watch = client.get(format!("http://{}/v1/watch", running.at)).header("accept", "text/event-stream");
    let watch = watch.header("authorization", format!("Bearer {token}")).send().await.unwrap();
    let path = format!("/v1/volumes/{volume}/wipe");
    let begun = call(&client, &running.at, &token, "POST", &path, Some(json!({ "algorithm": "zero" }))).await;
    let job = begun["data"]["job"]["id"].as_str().unwrap().to_owned();
    let told = Command::new("kill").arg(running.child.id().to_string()).status().unwrap();
    assert!(told.success());
    let seen = watch.text().await.unwrap();
    assert!(seen.contains(&job) && seen.contains("succeeded"), "{seen}");
    assert!(seen.trim_end().ends_with(r#"data: {"reason":"the gateway is shutting down"}"#), "{seen}");
    assert!(running.child.wait().unwrap().success());
    let next = start(folder.path(), "memory://", &[]);
    let found = call(&client, &next.at, &token, "GET", &format!("/v1/jobs/{job}"), None).await;
    assert_eq!(found["data"]["job"]["status"], "completed", "{found:#}");
}

#[cfg(unix)]
#[tokio::test]
async fn the_log_names_the_token_of_each_request_and_never_shows_it() {
    let folder = tempfile::tempdir().unwrap();
    let (token, client) = (token(folder.path()), client());
    let database = database(folder.path());
    let mut command = Command::new(PROGRAM);
    command.args(["--database", &database, "--log", "json", "--log-filter", "info"]).stderr(Stdio::piped());
    let mut running = begin(&mut command);
    let guess = "pxa_00000000000000000000000000000000";
    call(&client, &running.at, &token, "GET", "/v1/vms", None).await;
    call(&client, &running.at, guess, "GET", "/v1/hosts", None).await;
    let listed = call(&client, &running.at, &token, "GET", "/v1/auth/tokens", None).await;
    let (id, name) = (&listed["data"]["tokens"][0]["token_id"], &listed["data"]["tokens"][0]["name"]);
    assert!(id.as_str().is_some_and(|id| id.starts_with("tok_")), "{listed:#}");
    let told = Command::new("kill").arg(running.child.id().to_string()).status().unwrap();
    assert!(told.success());
    let mut log = String::new();
    std::io::Read::read_to_string(&mut running.child.stderr.take().unwrap(), &mut log).unwrap();
    assert!(!log.contains(&token) && !log.contains(guess), "{log}");
    let lines = log.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let answered: Vec<Value> = lines.filter(|line| line["fields"]["message"] == "answered").collect();
    assert_eq!(answered.len(), 3, "{log}");
    for (line, status) in answered.iter().zip([200, 401, 200]) {
        assert_eq!(line["fields"]["status"], status, "{line:#}");
        let request = &line["span"];
        assert!(request["request_id"].as_str().is_some_and(|id| id.starts_with("req_")), "{line:#}");
        let known = status == 200;
        assert_eq!((request["token"] == *id, request["token_name"] == *name), (known, known), "{line:#}");
    }
}

#[tokio::test]
async fn a_peer_that_sends_no_header_is_cut_off() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let folder = tempfile::tempdir().unwrap();
    let running = start(folder.path(), "memory://", &["--header-timeout", "1"]);
    let mut stream = tokio::net::TcpStream::connect(&running.at).await.unwrap();
    stream.write_all(b"GET /v1/health HTTP/1.1\r\nhost: x\r\nx-slow:").await.unwrap();
    let mut answer = Vec::new();
    let cut = tokio::time::timeout(Duration::from_secs(10), stream.read_to_end(&mut answer)).await;
    assert!(cut.is_ok(), "it still waits");
    assert!(!String::from_utf8_lossy(&answer).contains("200 OK"));
}

#[tokio::test]
async fn a_peer_that_sends_nothing_or_half_a_preface_is_cut_off() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let folder = tempfile::tempdir().unwrap();
    let running = start(folder.path(), "memory://", &["--header-timeout", "1"]);
    for sent in [&b""[..], b"P", b"PRI * HTTP/2.0\r\n"] {
        let mut stream = tokio::net::TcpStream::connect(&running.at).await.unwrap();
        stream.write_all(sent).await.unwrap();
        let mut answer = Vec::new();
        let cut = tokio::time::timeout(Duration::from_secs(10), stream.read_to_end(&mut answer)).await;
        assert!(cut.is_ok(), "it still waits after {sent:?}");
    }
    // A short request is one all the same.
    let mut stream = tokio::net::TcpStream::connect(&running.at).await.unwrap();
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.0 401") || answer.starts_with("HTTP/1.1 401"), "{answer}");
}

#[cfg(unix)]
#[tokio::test]
async fn it_ends_when_told_to_though_every_connection_is_taken() {
    let folder = tempfile::tempdir().unwrap();
    let (token, client) = (token(folder.path()), client());
    let more = ["--connections", "1", "--grace", "1"];
    let mut running = start(folder.path(), "memory://", &more);
    // The client keeps its connection.
    call(&client, &running.at, &token, "GET", "/v1/vms", None).await;
    let _waiting = tokio::net::TcpStream::connect(&running.at).await.unwrap();
    let told = Command::new("kill").arg(running.child.id().to_string()).status().unwrap();
    assert!(told.success());
    let until = Instant::now() + Duration::from_secs(20);
    let ended = loop {
        if let Some(ended) = running.child.try_wait().unwrap() {
            break ended;
        }
        assert!(Instant::now() < until, "it does not hear the signal");
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    assert!(ended.success(), "{ended}");
}
