//! Two gateways on one PostgreSQL: a dead one's jobs are taken over, and each event is delivered by one.
//!
//! Debian's `postgresql` package is enough: the test starts a server of its own in a folder of its own. `HYPERVISOR_TEST_POSTGRES_URL` names
//! one that runs already, to a database that the test may fill.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests fail by panicking"
)]

mod common;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Bytes;
use axum::routing::any;
use common::{config, listen, serve};
use hypervisor_core::Compute as _;
use hypervisor_core::memory::Memory;
use hypervisor_core::model::{ByteSize, VmSpec, VolumeSpec};
use hypervisor_gateway::GatewayConfig;
use serde_json::{Value, json};

/// A server of the test's own, gone with it.
struct Server {
    folder: tempfile::TempDir,
    bin: PathBuf,
    url: String,
    as_root: bool,
}

fn run(program: &Path, arguments: &[&str], as_root: bool) -> bool {
    let mut command = if as_root {
        // PostgreSQL refuses to run as root.
        let mut command = Command::new("runuser");
        command.args(["-u", "postgres", "--"]).arg(program);
        command
    } else {
        Command::new(program)
    };
    command.args(arguments).stdout(Stdio::null()).stderr(Stdio::null()).stdin(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

impl Server {
    fn start() -> Option<Self> {
        let versions = std::fs::read_dir("/usr/lib/postgresql").ok()?;
        let bin = versions.filter_map(Result::ok).map(|entry| entry.path().join("bin")).max()?;
        let as_root =
            Command::new("id").arg("-u").output().ok().is_some_and(|id| id.stdout.starts_with(b"0\n"));
        let folder = tempfile::Builder::new().prefix("hvg-pg-").tempdir().ok()?;
        if as_root {
            Command::new("chown").args(["postgres", folder.path().to_str()?]).status().ok()?;
        }
        let data = folder.path().join("data");
        let (data, here) = (data.to_str()?, folder.path().to_str()?);
        if !run(&bin.join("initdb"), &["-D", data, "-U", "postgres", "-A", "trust", "-N"], as_root) {
            return None;
        }
        let options =
            format!("-c listen_addresses=127.0.0.1 -c unix_socket_directories={here} -c fsync=off -p ");
        // A port that was free a moment ago; another is tried where somebody was faster.
        for _ in 0..5 {
            let port = std::net::TcpListener::bind("127.0.0.1:0").ok()?.local_addr().ok()?.port();
            let log = folder.path().join("log");
            let options = format!("{options}{port}");
            let arguments = ["-D", data, "-w", "-l", log.to_str()?, "-o", &options, "start"];
            if run(&bin.join("pg_ctl"), &arguments, as_root) {
                let url = format!("postgres://postgres@127.0.0.1:{port}/postgres");
                return Some(Self { folder, bin, url, as_root });
            }
        }
        None
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let data = self.folder.path().join("data");
        run(
            &self.bin.join("pg_ctl"),
            &["-D", &data.to_string_lossy(), "-m", "immediate", "stop"],
            self.as_root,
        );
    }
}

/// The database's URL, and whatever has to live as long as it.
fn database() -> Option<(String, Option<Server>)> {
    if let Ok(url) = std::env::var("HYPERVISOR_TEST_POSTGRES_URL") {
        return Some((url, None));
    }
    match Server::start() {
        Some(server) => Some((server.url.clone(), Some(server))),
        None => {
            let why =
                "no PostgreSQL: install Debian's package `postgresql`, or set HYPERVISOR_TEST_POSTGRES_URL";
            assert!(std::env::var_os("CI").is_none(), "{why}");
            eprintln!("\nSKIPPED: {why}\n");
            None
        }
    }
}

fn on(url: &str) -> GatewayConfig {
    config()
        .database(url)
        .lease(Duration::from_millis(600))
        .observe_every(Duration::from_millis(50))
        .webhook_retries(5, Duration::from_millis(50))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_gateways_on_one_postgresql_do_each_thing_once() {
    let Some((url, _server)) = database() else { return };
    // One backend that both reach.
    let memory = Memory::builder().task_time(Duration::from_millis(300)).build();
    let (one, two) = tokio::join!(
        serve(memory.clone(), on(&url).durable_tasks(true)),
        serve(memory.clone(), on(&url).durable_tasks(true))
    );

    // A token of one is good at the other.
    let at_two = two.call_as(Some(&one.token), axum::http::Method::GET, "/v1/vms", None).await;
    assert_eq!(at_two.status.as_u16(), 200);

    let got: Arc<Mutex<Vec<Value>>> = Arc::default();
    let kept = Arc::clone(&got);
    let hook = Router::new().route(
        "/hook",
        any(move |body: Bytes| {
            kept.lock().unwrap().push(serde_json::from_slice(&body).unwrap());
            async {}
        }),
    );
    let target = format!("http://{}/hook", listen(hook).await);
    let body = json!({ "url": target, "events": ["vm.created", "job.completed"] });
    assert_eq!(one.post("/v1/webhooks", body).await.status.as_u16(), 201);
    let mut jobs = Vec::new();
    for number in 0..20 {
        let gateway = if number % 2 == 0 { &one } else { &two };
        let made = gateway.post("/v1/vms", json!({ "name": format!("vm-{number}") })).await.data();
        jobs.push(made["vm"]["creation_job_id"].as_str().unwrap().to_owned());
    }
    let count = |event: &str| {
        let mut counts: BTreeMap<String, usize> = BTreeMap::new();
        for each in got.lock().unwrap().iter().filter(|each| each["event"] == event) {
            let id = each["data"].pointer("/job/id").or_else(|| each["data"].pointer("/vm/id")).unwrap();
            *counts.entry(id.as_str().unwrap().to_owned()).or_default() += 1;
        }
        counts
    };
    let until = Instant::now() + Duration::from_secs(30);
    while count("vm.created").len() < 20 || count("job.completed").len() < 20 {
        assert!(Instant::now() < until, "{} and {}", count("vm.created").len(), count("job.completed").len());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    for event in ["vm.created", "job.completed"] {
        assert!(count(event).values().all(|times| *times == 1), "{event} came twice: {:?}", count(event));
    }
    // Either tells of every job, whoever has it.
    for job in &jobs {
        assert_eq!(two.get(&format!("/v1/jobs/{job}")).await.data()["job"]["status"], "completed");
    }

    // A gateway that dies in the middle: the other takes its job over and follows it to its end.
    let vm = memory.create_vm(&VmSpec::new("original")).await.unwrap().output;
    let body = json!({ "spec": hypervisor_core::model::CloneSpec::new("copy") });
    let begun = one.post(&format!("/v1/vms/{vm}/clone"), body).await.data();
    let job = begun["job"]["id"].as_str().unwrap().to_owned();
    let running = two.get(&format!("/v1/jobs/{job}")).await.data();
    assert_eq!(running["job"]["status"], "running", "{running:#}");
    // Dropped, not closed: it gives no more signs of life.
    drop(one);
    let until = Instant::now() + Duration::from_secs(20);
    loop {
        let found = two.get(&format!("/v1/jobs/{job}")).await.data()["job"]["status"].clone();
        if found == "completed" {
            break;
        }
        assert_eq!(found, "running");
        assert!(Instant::now() < until, "nobody took the job over");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }

    // What only the dead one's process knew is unknown to the other.
    let alone = serve(Memory::builder().task_time(Duration::from_secs(3600)).build(), on(&url)).await;
    let spec = VolumeSpec::new("default", "v", ByteSize::mib(1));
    let made = alone.post("/v1/volumes", json!({ "spec": spec })).await.data();
    let volume = made["volume"]["id"].as_str().unwrap().replace('/', "%2F");
    let begun =
        alone.post(&format!("/v1/volumes/{volume}/wipe"), json!({ "algorithm": "zero" })).await.data();
    let job = begun["job"]["id"].as_str().unwrap().to_owned();
    // Longer than the lease: it lives, and nobody takes its job away.
    tokio::time::sleep(Duration::from_millis(1200)).await;
    assert_eq!(two.get(&format!("/v1/jobs/{job}")).await.data()["job"]["status"], "running");
    drop(alone);
    let until = Instant::now() + Duration::from_secs(20);
    while two.get(&format!("/v1/jobs/{job}")).await.data()["job"]["status"] != "unknown" {
        assert!(Instant::now() < until, "the job of a dead gateway stays open");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
