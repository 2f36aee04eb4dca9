//! Jobs: what they tell while they run, and that none is lost when a gateway ends in the middle.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests fail by panicking"
)]

mod common;

use std::time::{Duration, Instant};

use axum::http::StatusCode;
use common::{Served, config, serve};
use hypervisor_core::Compute as _;
use hypervisor_core::memory::Memory;
use hypervisor_core::model::{ByteSize, CloneSpec, DiskSpec, VmId, VmSpec};
use hypervisor_gateway::GatewayConfig;
use serde_json::{Value, json};

fn slow(time: Duration) -> Memory {
    Memory::builder().task_time(time).build()
}

/// Begins a copy that takes the task time, and gives its job.
async fn begin(gateway: &Served) -> String {
    let spec = VmSpec::new("original").disk(DiskSpec::new_volume(ByteSize::mib(1)));
    let made = gateway.memory.create_vm(&spec).await.unwrap();
    let vm: VmId = made.output;
    if let Some(task) = made.task {
        while !hypervisor_core::Tasks::get_task(&gateway.memory, &task, None).await.unwrap().state.is_final()
        {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
    let body = json!({ "spec": CloneSpec::new("copy") });
    let begun = gateway.post(&format!("/v1/vms/{vm}/clone"), body).await;
    assert_eq!(begun.status, StatusCode::ACCEPTED, "{:#}", begun.json());
    let data = begun.data();
    assert_eq!(data["started"]["task"], data["job"]["id"]);
    assert_eq!(data["job"]["status"], "running");
    data["job"]["id"].as_str().unwrap().to_owned()
}

async fn job(gateway: &Served, id: &str) -> Value {
    gateway.get(&format!("/v1/jobs/{id}")).await.data()["job"].clone()
}

async fn until_ended(gateway: &Served, id: &str) -> Value {
    let until = Instant::now() + Duration::from_secs(20);
    loop {
        let found = job(gateway, id).await;
        if !matches!(found["status"].as_str().unwrap(), "running" | "queued") {
            return found;
        }
        assert!(Instant::now() < until, "it does not end: {found:#}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Looks that are held until something changes; how many there were.
async fn held_until_ended(gateway: &Served, id: &str) -> (Value, u32) {
    for looks in 1.. {
        let found = gateway.get(&format!("/v1/jobs/{id}?hold=20")).await.data()["job"].clone();
        if found["status"] != "running" {
            return (found, looks);
        }
        assert!(looks < 1000);
    }
    unreachable!()
}

fn on(file: &str) -> GatewayConfig {
    config().database(file).lease(Duration::from_millis(300))
}

#[tokio::test]
async fn a_job_tells_its_progress_and_its_log() {
    let gateway = serve(slow(Duration::from_millis(400)), config()).await;
    let id = begin(&gateway).await;
    let running = job(&gateway, &id).await;
    assert_eq!((&running["status"], &running["type"]), (&json!("running"), &json!("clone_vm")));
    assert!(running["progress"].as_u64().unwrap() < 100);
    // Held until something changes, not polled.
    let (held, looks) = held_until_ended(&gateway, &id).await;
    assert_eq!((&held["status"], &held["progress"]), (&json!("completed"), &json!(100)), "{held:#}");
    assert!(!held["logs"].as_array().unwrap().is_empty());
    assert!(looks < 30, "{looks} looks");
    let log = gateway.get(&format!("/v1/jobs/{id}/logs?from=0&limit=1")).await.data();
    assert_eq!(log["log"]["lines"].as_array().unwrap().len(), 1);
    // Lists show what is recorded, which is a moment behind the task.
    let is_listed = async || {
        let completed = gateway.get("/v1/jobs?status=completed").await.data();
        completed["jobs"].as_array().unwrap().iter().any(|each| each["id"] == id)
    };
    for tries in 0.. {
        if is_listed().await {
            break;
        }
        assert!(tries < 200, "the end is not recorded");
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
}

#[tokio::test]
async fn a_job_is_cancelled() {
    let gateway = serve(slow(Duration::from_secs(600)), config()).await;
    let vm = gateway.memory.create_vm(&VmSpec::new("a")).await.unwrap().output;
    let spec = hypervisor_core::model::VolumeSpec::new("default", "v", ByteSize::mib(1));
    let made = gateway.post("/v1/volumes", json!({ "spec": spec })).await.data();
    let volume = made["volume"]["id"].as_str().unwrap().replace('/', "%2F");
    let _ = vm;
    let begun = gateway.post(&format!("/v1/volumes/{volume}/wipe"), json!({ "algorithm": "zero" })).await;
    assert_eq!(begun.status, StatusCode::ACCEPTED, "{:#}", begun.json());
    let id = begun.data()["job"]["id"].as_str().unwrap().to_owned();
    let cancelled = gateway.delete(&format!("/v1/jobs/{id}")).await;
    assert_eq!(cancelled.status, StatusCode::OK, "{:#}", cancelled.json());
    assert_eq!(until_ended(&gateway, &id).await["status"], "cancelled");
    assert_eq!(gateway.delete(&format!("/v1/jobs/{id}")).await.code(), "INVALID_STATE");
}

#[tokio::test]
async fn a_refused_call_leaves_no_job_and_one_that_is_done_at_once_leaves_its_record() {
    let gateway = serve(Memory::new(), config()).await;
    assert_eq!(
        gateway.post("/v1/vms", json!({ "name": "a b" })).await.status,
        StatusCode::UNPROCESSABLE_ENTITY
    );
    assert_eq!(gateway.get("/v1/jobs").await.data()["jobs"], json!([]));
    let made = gateway.post("/v1/vms", json!({ "name": "a" })).await;
    assert_eq!(made.status, StatusCode::CREATED);
    assert_eq!(made.data()["started"]["task"], Value::Null);
    let id = made.data()["vm"]["creation_job_id"].as_str().unwrap().to_owned();
    let found = job(&gateway, &id).await;
    assert_eq!((&found["status"], &found["type"]), (&json!("completed"), &json!("vm_creation")));
    assert_eq!(found["output"], made.data()["vm"]["id"]);
}

#[tokio::test]
async fn after_a_restart_an_ended_job_is_still_told_with_its_log() {
    let folder = tempfile::tempdir().unwrap();
    let file = format!("sqlite://{}", folder.path().join("state.db").display());
    let first = serve(slow(Duration::from_millis(30)), on(&file)).await;
    let id = begin(&first).await;
    let told = until_ended(&first, &id).await;
    assert_eq!(told["status"], "completed");
    // The record is written a moment after the backend's own end.
    let until = Instant::now() + Duration::from_secs(10);
    while first.get("/v1/jobs?status=running").await.data()["jobs"] != json!([]) {
        assert!(Instant::now() < until);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    first.gateway.close().await;
    drop(first);
    // Another process with another memory: the backend knows nothing of the task.
    let second = serve(Memory::new(), on(&file)).await;
    let found = job(&second, &id).await;
    assert_eq!(found["status"], "completed", "{found:#}");
    assert!(!found["logs"].as_array().unwrap().is_empty());
}

#[tokio::test]
async fn after_a_restart_a_job_whose_backend_has_forgotten_it_is_unknown() {
    let folder = tempfile::tempdir().unwrap();
    let file = format!("sqlite://{}", folder.path().join("state.db").display());
    let first = serve(slow(Duration::from_secs(3600)), on(&file)).await;
    let spec = hypervisor_core::model::VolumeSpec::new("default", "v", ByteSize::mib(1));
    let made = first.post("/v1/volumes", json!({ "spec": spec })).await.data();
    let volume = made["volume"]["id"].as_str().unwrap().replace('/', "%2F");
    let begun =
        first.post(&format!("/v1/volumes/{volume}/wipe"), json!({ "algorithm": "zero" })).await.data();
    let id = begun["job"]["id"].as_str().unwrap().to_owned();
    assert_eq!(job(&first, &id).await["status"], "running");
    first.gateway.close().await;
    drop(first);
    let second = serve(Memory::new(), on(&file)).await;
    assert_eq!(until_ended(&second, &id).await["status"], "unknown");
    let native = second.get(&format!("/v1/jobs/{id}?view=native")).await.data();
    assert_eq!(native["job"]["task"]["state"], "forgotten");
}

#[tokio::test]
async fn after_a_restart_a_job_whose_backend_lives_on_is_followed_to_its_end() {
    let folder = tempfile::tempdir().unwrap();
    let file = format!("sqlite://{}", folder.path().join("state.db").display());
    let memory = slow(Duration::from_millis(700));
    let first = serve(memory.clone(), on(&file).durable_tasks(true)).await;
    let id = begin(&first).await;
    first.gateway.close().await;
    drop(first);
    let second = serve(memory, on(&file).durable_tasks(true)).await;
    assert_eq!(until_ended(&second, &id).await["status"], "completed");
}
