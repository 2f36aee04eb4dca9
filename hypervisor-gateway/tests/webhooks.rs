//! Webhooks: signed, at least once, again until they are taken, by one gateway.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests fail by panicking"
)]

mod common;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::any;
use common::{Served, config, listen, serve};
use hypervisor_client::webhook::Receiver;
use hypervisor_core::Compute as _;
use hypervisor_core::memory::Memory;
use hypervisor_core::model::{DeleteVm, PowerAction, VmSpec};
use hypervisor_gateway::WebhookTargets;
use serde_json::{Value, json};

const SECRET: &str = "your-webhook-secret";

type Got = Arc<Mutex<Vec<(HeaderMap, Bytes)>>>;

/// A receiver that refuses the first `failing` deliveries.
async fn receiver(failing: usize) -> (String, Got) {
    let got = Got::default();
    let kept = Arc::clone(&got);
    let left = Arc::new(Mutex::new(failing));
    let router = Router::new().route(
        "/hook",
        any(move |headers: HeaderMap, body: Bytes| {
            kept.lock().unwrap().push((headers, body));
            let mut left = left.lock().unwrap();
            let status = if *left > 0 {
                *left -= 1;
                StatusCode::SERVICE_UNAVAILABLE
            } else {
                StatusCode::OK
            };
            async move { status }
        }),
    );
    (format!("http://{}/hook", listen(router).await), got)
}

fn quick() -> hypervisor_gateway::GatewayConfig {
    config().observe_every(Duration::from_millis(50)).webhook_retries(5, Duration::from_millis(20))
}

async fn hook(gateway: &Served, url: &str, events: &[&str]) -> String {
    let body = json!({ "url": url, "events": events, "secret": SECRET, "active": true });
    let made = gateway.post("/v1/webhooks", body).await;
    assert_eq!(made.status, StatusCode::CREATED);
    assert!(!String::from_utf8_lossy(&made.body).contains(SECRET), "the secret is shown");
    made.data()["webhook"]["id"].as_str().unwrap().to_owned()
}

/// Waits until so many have come, and gives them as JSON.
async fn until(got: &Got, many: usize) -> Vec<Value> {
    for _ in 0..500 {
        let all: Vec<Value> =
            got.lock().unwrap().iter().map(|(_, body)| serde_json::from_slice(body).unwrap()).collect();
        if all.len() >= many {
            return all;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("{} of {many} deliveries came", got.lock().unwrap().len());
}

/// Waits until the guest was told to be like this.
async fn told(got: &Got, event: &str, status: &str) {
    for _ in 0..500 {
        let all = until(got, 1).await;
        if all.iter().any(|each| each["event"] == event && each["data"]["vm"]["status"] == status) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("{event} {status} was not told: {:#?}", until(got, 1).await);
}

#[tokio::test]
async fn a_new_guest_is_told_as_documented_and_signed() {
    let gateway = serve(Memory::new(), quick()).await;
    let _ = gateway.memory.create_vm(&VmSpec::new("there-before")).await.unwrap();
    let (url, got) = receiver(0).await;
    let id = hook(&gateway, &url, &["vm.created", "vm.status_changed", "vm.deleted"]).await;
    let vm = gateway.memory.create_vm(&VmSpec::new("test-vm")).await.unwrap().output;
    let events = until(&got, 1).await;
    assert_eq!(events[0]["event"], "vm.created");
    assert_eq!(events[0]["data"]["vm"], json!({ "id": vm, "name": "test-vm", "status": "stopped" }));
    assert_eq!(events[0]["webhook"], json!({ "id": id, "attempt": 1 }));
    assert!(events[0]["timestamp"].as_str().unwrap().ends_with('Z'));
    {
        let all = got.lock().unwrap();
        let (headers, body) = &all[0];
        let signature = headers["x-webhook-signature"].to_str().unwrap();
        let read = Receiver::new(SECRET).receive(Some(signature), body).unwrap();
        assert_eq!(read.vm().unwrap(), vm);
        assert!(Receiver::new("another").receive(Some(signature), body).is_err());
        assert_eq!(headers["x-webhook-event"], "vm.created");
    }
    let _ = gateway.memory.power_vm(&vm, &PowerAction::Start).await.unwrap();
    told(&got, "vm.status_changed", "running").await;
    let _ = gateway.memory.delete_vm(&vm, &DeleteVm::with_disks().power_off(true)).await.unwrap();
    told(&got, "vm.deleted", "deleted").await;
}

#[tokio::test]
async fn a_receiver_that_fails_is_tried_again_and_then_left_alone() {
    let gateway = serve(Memory::new(), quick()).await;
    let (url, got) = receiver(2).await;
    let id = hook(&gateway, &url, &["job.completed"]).await;
    let _ = gateway.post("/v1/vms", json!({ "name": "a" })).await;
    let events = until(&got, 3).await;
    let attempts: Vec<_> = events.iter().map(|event| event["webhook"]["attempt"].as_u64().unwrap()).collect();
    assert_eq!(attempts, [1, 2, 3]);
    assert!(events.iter().all(|event| event["data"] == events[0]["data"]), "the same event has other data");
    assert_eq!(events[0]["data"]["job"]["type"], "vm_creation");
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(got.lock().unwrap().len(), 3, "it was sent again after it was taken");
    let deliveries = gateway.get(&format!("/v1/webhooks/{id}/deliveries")).await.data();
    assert_eq!(deliveries["deliveries"][0]["status"], "delivered");

    let (url, got) = receiver(usize::MAX).await;
    let id = hook(&gateway, &url, &["job.completed"]).await;
    let _ = gateway.post("/v1/vms", json!({ "name": "b" })).await;
    let _ = until(&got, 5).await;
    tokio::time::sleep(Duration::from_millis(800)).await;
    assert_eq!(got.lock().unwrap().len(), 5, "it is given up after five attempts");
    let deliveries = gateway.get(&format!("/v1/webhooks/{id}/deliveries")).await.data();
    assert_eq!(deliveries["deliveries"][0]["status"], "failed");
    assert!(deliveries["deliveries"][0]["error"].as_str().unwrap().contains("503"));
}

#[tokio::test]
async fn what_happened_while_no_gateway_ran_is_told_by_the_next() {
    let folder = tempfile::tempdir().unwrap();
    let file = format!("sqlite://{}", folder.path().join("state.db").display());
    let memory = Memory::new();
    let (url, got) = receiver(0).await;
    let quick = || quick().database(&file).lease(Duration::from_millis(300));
    let first = serve(memory.clone(), quick()).await;
    hook(&first, &url, &["vm.created"]).await;
    first.gateway.close().await;
    drop(first);
    let _ = memory.create_vm(&VmSpec::new("meanwhile")).await.unwrap();
    let _second = serve(memory, quick()).await;
    let events = until(&got, 1).await;
    assert_eq!(events[0]["data"]["vm"]["name"], "meanwhile");
}

#[tokio::test]
async fn wrong_webhooks_are_refused() {
    let gateway = serve(Memory::new(), quick()).await;
    for (url, events, field) in [
        ("ftp://host/x", json!(["vm.created"]), "url"),
        ("https://user:pw@host/x", json!(["vm.created"]), "url"),
        ("no url", json!(["vm.created"]), "url"),
        ("http://169.254.169.254/latest/meta-data", json!(["vm.created"]), "url"),
        ("https://host/x", json!([]), "events"),
        ("https://host/x", json!(["vm.petted"]), "events"),
    ] {
        let answer = gateway.post("/v1/webhooks", json!({ "url": url, "events": events })).await;
        assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY, "{url}");
        assert_eq!(answer.json()["error"]["details"]["field"], field);
    }
}

#[tokio::test]
async fn a_gateway_sends_nothing_to_where_it_must_not() {
    let public = quick().webhook_targets(WebhookTargets::Public);
    let gateway = serve(Memory::new(), public).await;
    let (url, got) = receiver(0).await;
    let body = |url: &str| json!({ "url": url, "events": ["vm.created"] });
    assert_eq!(gateway.post("/v1/webhooks", body(&url)).await.status, StatusCode::UNPROCESSABLE_ENTITY);
    // What a name leads to is seen when it is used.
    let named = url.replace("127.0.0.1", "localhost");
    let made = gateway.post("/v1/webhooks", body(&named)).await.data();
    let path = format!("/v1/webhooks/{}/deliveries", made["webhook"]["id"].as_str().unwrap());
    let _ = gateway.memory.create_vm(&VmSpec::new("a")).await.unwrap();
    let until = std::time::Instant::now() + Duration::from_secs(20);
    loop {
        let told = gateway.get(&path).await.data();
        if told["deliveries"][0]["status"] == "failed" {
            let why = told["deliveries"][0]["error"].as_str().unwrap();
            assert!(why.contains("sends no webhooks to where `localhost` leads"), "{why}");
            break;
        }
        assert!(std::time::Instant::now() < until, "{told:#}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(got.lock().unwrap().is_empty(), "it was sent all the same");
}

#[tokio::test]
async fn a_receiver_that_hangs_keeps_nobody_else_waiting() {
    // Nothing that is sent to it comes to an end while this test runs.
    let config = quick().webhook_timeout(Duration::from_secs(600));
    let gateway = serve(Memory::new(), config).await;
    let hanging = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let nowhere = format!("http://{}/hook", hanging.local_addr().unwrap());
    hook(&gateway, &nowhere, &["job.completed"]).await;
    for number in 0..40 {
        let _ = gateway.post("/v1/vms", json!({ "name": format!("vm-{number}") })).await;
    }
    let (url, got) = receiver(0).await;
    hook(&gateway, &url, &["job.completed"]).await;
    let _ = gateway.post("/v1/vms", json!({ "name": "last" })).await;
    let events = until(&got, 1).await;
    assert_eq!(events[0]["data"]["job"]["type"], "vm_creation");
    drop(hanging);
}
