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
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Bytes;
use axum::routing::any;
use common::postgres::database;
use common::{config, listen, serve};
use hypervisor_core::Compute as _;
use hypervisor_core::memory::Memory;
use hypervisor_core::model::{ByteSize, VmSpec, VolumeSpec};
use hypervisor_gateway::{Category, GatewayConfig, Rate};
use serde_json::{Value, json};

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

    // What one has let pass counts at the other.
    let few = |url: &str| on(url).rate(Category::Read, Rate::new(4, Duration::from_secs(3600)));
    let (one, two) = tokio::join!(serve(memory.clone(), few(&url)), serve(memory.clone(), few(&url)));
    let ask = |gateway: &common::Served| {
        let (router, token) = (gateway.router.clone(), one.token.clone());
        let asker =
            common::Served { router, token, gateway: gateway.gateway.clone(), memory: memory.clone() };
        async move { asker.get("/v1/vms").await }
    };
    for left in [3, 2, 1, 0] {
        let answer = if left % 2 == 0 { ask(&one).await } else { ask(&two).await };
        assert_eq!(answer.status.as_u16(), 200);
        assert_eq!(answer.headers["x-ratelimit-remaining"], left.to_string());
    }
    for gateway in [&one, &two] {
        assert_eq!(ask(gateway).await.status.as_u16(), 429);
    }
}
