//! The fake v1 gateway agrees with the document, and keeps its rules.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

use hypervisor_client::ClientConfig;
use hypervisor_client::dialect::v1::{GenerateSpec, ScanSpec, TokenSpec, V1, VmFilter, WebhookSpec};
use hypervisor_client::fake::{Fake, FakeVm, V1Server};
use hypervisor_core::http::{Method, Request};
use hypervisor_core::model::{PageRequest, PowerAction, TaskState, VmSpec, VmState};
use hypervisor_core::{Compute as _, ErrorKind, Tasks as _};
use serde_json::{Value, json};

fn fixture(name: &str) -> Value {
    let file = format!("{}/tests/fixtures/v1/{name}.json", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap()
}

/// Everything that the document's example has is there, and of the same type.
fn has_shape(found: &Value, example: &Value, place: &str) {
    match (found, example) {
        (Value::Object(found), Value::Object(example)) => {
            for (key, example) in example {
                let inside = found.get(key).unwrap_or_else(|| panic!("{place}.{key} is missing"));
                has_shape(inside, example, &format!("{place}.{key}"));
            }
        }
        (Value::Array(found), Value::Array(example)) => {
            if let (Some(found), Some(example)) = (found.first(), example.first()) {
                has_shape(found, example, &format!("{place}[0]"));
            }
        }
        (found, example) => {
            let same = std::mem::discriminant(found) == std::mem::discriminant(example);
            assert!(same, "{place} is {found} where the document has {example}");
        }
    }
}

async fn connected(fake: &V1Server) -> V1 {
    V1::connect(fake.config()).await.unwrap()
}

async fn answer(v1: &V1, method: Method, path: &str, body: Option<Value>) -> Value {
    let request = Request::new(method, path);
    let request = match body {
        Some(body) => request.json(&body),
        None => request,
    };
    v1.raw(request).await.unwrap().json().unwrap()
}

#[tokio::test]
async fn its_answers_have_the_shapes_of_the_document() {
    let vm = FakeVm::new("vm-001", "web-server-01").running().tag("web");
    let fake = Fake::v1().with_vm(vm).with_vm(FakeVm::new("vm-002", "db-01")).start().await;
    let v1 = connected(&fake).await;
    let (get, post) = (Method::GET, Method::POST);
    for (method, path, body, example) in [
        (&post, "/v1/auth/tokens", Some("token_request"), "token_created"),
        (&get, "/v1/vms", None, "vm_list"),
        (&get, "/v1/vms/vm-001", None, "vm_details"),
        (&post, "/v1/vms", Some("vm_create_request"), "vm_created"),
        (&get, "/v1/networks", None, "network_list"),
        (&post, "/v1/security/scans", Some("scan_request"), "scan"),
        (&post, "/v1/ai/generate", Some("generate_request"), "generated"),
        (&get, "/v1/health", None, "health"),
    ] {
        let found = answer(&v1, method.clone(), path, body.map(fixture)).await;
        has_shape(&found, &fixture(example), example);
    }
    let made = answer(&v1, post.clone(), "/v1/vms", Some(json!({ "name": "other" }))).await;
    let job = made["data"]["vm"]["creation_job_id"].as_str().unwrap();
    let found = answer(&v1, get, &format!("/v1/jobs/{job}"), None).await;
    has_shape(&found, &fixture("job"), "job");
    let wrong = json!({ "name": "x", "configuration": { "memory_mb": -1024 } });
    let found = answer(&v1, post, "/v1/vms", Some(wrong)).await;
    has_shape(&found, &fixture("error_validation"), "error_validation");
    assert_eq!(found["error"]["details"], fixture("error_validation")["error"]["details"]);
    let token = v1.create_token(&TokenSpec::new("t", ["vm:read"])).await.unwrap();
    let path = format!("/v1/auth/tokens/{}", token.token_id);
    has_shape(&answer(&v1, Method::DELETE, &path, None).await, &fixture("token_revoked"), "token_revoked");
    assert!(v1.revoke_token(&token.token_id).await.unwrap_err().is_not_found());
}

#[tokio::test]
async fn it_pages_by_offset_and_by_cursor() {
    let mut fake = Fake::v1();
    for number in 0..7 {
        fake = fake.with_vm(FakeVm::new(&format!("vm-{number}"), &format!("n{number}")));
    }
    let fake = fake.start().await;
    let v1 = connected(&fake).await;
    let filter = VmFilter { limit: Some(3), order: Some("desc".into()), ..VmFilter::default() };
    let (vms, pages) = v1.search_vms(&filter).await.unwrap();
    assert_eq!(vms.iter().map(|vm| vm.id.as_str()).collect::<Vec<_>>(), ["vm-6", "vm-5", "vm-4"]);
    assert_eq!((pages.total, pages.pages, pages.has_next), (Some(7), Some(3), Some(true)));
    let next = VmFilter { cursor: pages.next_cursor, ..filter.clone() };
    let last = VmFilter { offset: Some(6), ..filter.clone() };
    assert_eq!(v1.search_vms(&next).await.unwrap().0[0].id, "vm-3");
    assert_eq!(v1.search_vms(&last).await.unwrap().0.len(), 1);
    let both = VmFilter { cursor: Some("c".into()), ..last };
    for wrong in
        [both, VmFilter { limit: Some(0), ..filter.clone() }, VmFilter { sort: Some("age".into()), ..filter }]
    {
        assert_eq!(v1.search_vms(&wrong).await.unwrap_err().kind(), ErrorKind::InvalidInput);
    }
}

#[tokio::test]
async fn a_job_runs_until_it_was_looked_at_a_few_times() {
    let fake = Fake::v1().job_length(3).start().await;
    let v1 = connected(&fake).await;
    let made = v1.create_vm(&VmSpec::new("a")).await.unwrap();
    let job = made.task.unwrap();
    assert_eq!(v1.get_task(&job, None).await.unwrap().state, TaskState::Running);
    assert_eq!(v1.get_vm(&made.output).await.unwrap().state, VmState::Provisioning);
    assert_eq!(v1.get_task(&job, None).await.unwrap().state, TaskState::Succeeded);
    assert_eq!(v1.get_vm(&made.output).await.unwrap().state, VmState::Stopped);
    drop(v1.power_vm(&made.output, &PowerAction::Start).await.unwrap());
    fake.change_vm(made.output.as_str(), |vm| vm.status = "paused".into());
    assert_eq!(v1.get_vm(&made.output).await.unwrap().state, VmState::Paused);
}

#[tokio::test]
async fn it_wants_its_token_and_counts_calls() {
    let fake = Fake::v1().token("pxa_good").calls(2).start().await;
    let wrong = ClientConfig::new(&fake.uri()).unwrap().token("pxa_bad").allow_plain_http_credentials();
    let error = V1::connect(wrong).await.unwrap_err();
    assert_eq!((error.kind(), error.code()), (ErrorKind::Unauthenticated, Some("INVALID_TOKEN")));
    let v1 = connected(&fake).await;
    assert_eq!(v1.rate_limit().unwrap().remaining, 0);
    let error = v1.get_vm(&"7".into()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::RateLimited);
    assert!(error.retry_after().is_some());
    assert!(v1.health().await.unwrap().is_healthy(), "health is for everybody");
    assert_eq!(fake.requests().await.len(), 4);
}

#[tokio::test]
async fn scans_code_and_webhooks_go_round() {
    let fake = Fake::v1().with_vm(FakeVm::new("vm-001", "a")).start().await;
    let v1 = connected(&fake).await;
    let mut spec =
        ScanSpec { scan_type: "vulnerability".into(), targets: vec!["vm-001".into()], scan_options: None };
    let scan = v1.start_scan(&spec).await.unwrap();
    assert_eq!(v1.get_scan(&scan.id).await.unwrap(), scan);
    spec.targets = vec!["ghost".into()];
    let error = v1.start_scan(&spec).await.unwrap_err();
    assert_eq!((error.kind(), error.target()), (ErrorKind::NotFound, Some("vm `ghost`")));
    let spec = GenerateSpec { prompt: "a".into(), context: None, output_format: "terraform".into() };
    assert_eq!(v1.generate(&spec).await.unwrap().format.as_deref(), Some("terraform"));
    let made = v1.create_webhook(&WebhookSpec::new("https://x.example", ["vm.created"])).await.unwrap();
    assert_eq!(v1.list_webhooks(&PageRequest::first()).await.unwrap().items[0].id, made.id);
    v1.delete_webhook(&made.id).await.unwrap();
    assert!(v1.delete_webhook(&made.id).await.unwrap_err().is_not_found());
}
