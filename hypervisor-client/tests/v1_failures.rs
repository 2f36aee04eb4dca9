//! What comes wrong from a v1 gateway: never a panic, always an error of the right kind that says whether the call may have had an effect.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

mod v1;

use std::time::Duration;

use hypervisor_client::ClientConfig;
use hypervisor_client::dialect::v1::{TokenSpec, V1};
use hypervisor_core::model::{
    ByteSize, DiskSpec, NicSpec, PageRequest, PowerAction, Shutdown, SnapshotSpec, VmChange, VmQuery, VmSpec,
};
use hypervisor_core::{Compute as _, Effect, Error, ErrorKind, Retry, Snapshots as _, Tasks as _};
use serde_json::{Value, json};
use v1::{Bench, fixture};
use wiremock::matchers::{method, path};
use wiremock::{Mock, MockServer, ResponseTemplate};

fn refusal(code: &str) -> Value {
    json!({ "success": false, "error": { "code": code, "message": "why", "details": {} }, "meta": { "request_id": "r" } })
}

/// What the answer to reading a machine is taken for.
async fn reading(status: u16, body: Value) -> Error {
    let bench = Bench::new().await;
    bench.answer("GET", "/v1/vms/7", status, body).await;
    bench.v1.get_vm(&"7".into()).await.unwrap_err()
}

#[tokio::test]
async fn every_documented_code_has_a_kind() {
    for (status, code, kind, retry) in [
        (401, "INVALID_TOKEN", ErrorKind::Unauthenticated, Retry::Never),
        (403, "INSUFFICIENT_PERMISSIONS", ErrorKind::PermissionDenied, Retry::Never),
        (404, "RESOURCE_NOT_FOUND", ErrorKind::NotFound, Retry::Never),
        (422, "VALIDATION_ERROR", ErrorKind::InvalidInput, Retry::Never),
        (429, "RATE_LIMIT_EXCEEDED", ErrorKind::RateLimited, Retry::Safe),
        (503, "MAINTENANCE_MODE", ErrorKind::Backend, Retry::Safe),
        (403, "RESOURCE_LIMIT_EXCEEDED", ErrorKind::Exhausted, Retry::Never),
        (423, "LOCKED", ErrorKind::Locked, Retry::Safe),
        (200, "AGENT_UNAVAILABLE", ErrorKind::AgentUnavailable, Retry::Never),
    ] {
        let error = reading(status, refusal(code)).await;
        assert_eq!((error.kind(), error.retry()), (kind, retry), "{code}");
        assert_eq!((error.code(), error.message(), error.request_id()), (Some(code), "why", Some("r")));
        assert_eq!((error.target(), error.effect()), (Some("vm `7`"), Effect::None));
    }
}

#[tokio::test]
async fn every_documented_status_has_a_kind() {
    for (status, kind) in [
        (400, ErrorKind::InvalidInput),
        (401, ErrorKind::Unauthenticated),
        (403, ErrorKind::PermissionDenied),
        (404, ErrorKind::NotFound),
        (422, ErrorKind::InvalidInput),
        (429, ErrorKind::RateLimited),
        (500, ErrorKind::Backend),
        (503, ErrorKind::Backend),
    ] {
        for body in [json!({}), json!("text"), json!(null), json!({ "error": { "code": "NEVER_HEARD_OF" } })]
        {
            assert_eq!(reading(status, body).await.kind(), kind, "{status}");
        }
    }
}

#[tokio::test]
async fn a_wrong_field_is_named() {
    let error = reading(422, fixture("error_validation")).await;
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert_eq!(error.fields()["memory_mb"], "must_be_positive_integer (it was -1024)");
    assert_eq!(error.message(), "One or more validation errors occurred");
}

#[tokio::test]
async fn a_conflict_is_what_the_call_makes_of_it() {
    let bench = Bench::new().await;
    bench.answer("POST", "/v1/vms", 409, refusal("RESOURCE_CONFLICT")).await;
    bench.answer("POST", "/v1/vms/7/snapshots", 409, refusal("RESOURCE_CONFLICT")).await;
    bench.answer("GET", "/v1/vms/7", 200, fixture("vm_details")).await;
    bench.answer("PUT", "/v1/vms/7", 409, refusal("RESOURCE_CONFLICT")).await;
    bench.answer("POST", "/v1/vms/7/restart", 409, refusal("RESOURCE_CONFLICT")).await;
    let taken = bench.v1.create_vm(&VmSpec::new("web")).await.unwrap_err();
    assert_eq!((taken.kind(), taken.target()), (ErrorKind::AlreadyExists, Some("vm `web`")));
    let taken = bench.v1.create_snapshot(&"7".into(), &SnapshotSpec::new("s")).await.unwrap_err();
    assert_eq!((taken.kind(), taken.target()), (ErrorKind::AlreadyExists, Some("snapshot `s`")));
    let taken = bench.v1.update_vm(&"7".into(), &VmChange::new().name("web")).await.unwrap_err();
    assert_eq!((taken.kind(), taken.target()), (ErrorKind::AlreadyExists, Some("vm `web`")));
    let state = bench.v1.power_vm(&"7".into(), &PowerAction::Reboot).await.unwrap_err();
    assert_eq!((state.kind(), state.target()), (ErrorKind::InvalidState, Some("vm `7`")));
}

#[tokio::test]
async fn the_limits_are_read_and_the_wait_is_told() {
    let server = MockServer::start().await;
    let limited = ResponseTemplate::new(429)
        .set_body_json(refusal("RATE_LIMIT_EXCEEDED"))
        .insert_header("Retry-After", "17")
        .insert_header("X-RateLimit-Limit", "1000")
        .insert_header("X-RateLimit-Remaining", "0")
        .insert_header("X-RateLimit-Reset", "1627834800")
        .insert_header("X-RateLimit-Window", "3600");
    Mock::given(method("GET")).and(path("/v1/vms/7")).respond_with(limited).mount(&server).await;
    let v1 = V1::connect(ClientConfig::new(&server.uri()).unwrap()).await.unwrap();
    assert!(v1.rate_limit().is_none());
    let error = v1.get_vm(&"7".into()).await.unwrap_err();
    assert_eq!((error.kind(), error.retry_after()), (ErrorKind::RateLimited, Some(Duration::from_secs(17))));
    let limit = v1.rate_limit().unwrap();
    assert_eq!((limit.limit, limit.remaining, limit.reset), (Some(1000), 0, Some(1_627_834_800)));
    assert_eq!(limit.window, Some(Duration::from_secs(3600)));
}

#[tokio::test]
async fn what_cannot_be_understood_names_its_place() {
    let vm = |vm: Value| json!({ "data": { "vm": vm } });
    for (body, place) in [
        (
            vm(json!({ "id": "7", "configuration": { "storage": [{ "size_gb": "large" }] } })),
            "data.vm.configuration.storage[0]",
        ),
        (vm(json!({ "id": [], "name": "x" })), "data.vm.id"),
        (vm(json!({ "id": "7", "cpu_cores": -1 })), "data.vm.cpu_cores"),
        (vm(json!(null)), "data.vm"),
        (json!({ "data": {} }), "`vm`"),
        (json!({ "success": true }), "`data`"),
        (json!([1, 2]), "cannot be understood"),
    ] {
        let error = reading(200, body.clone()).await;
        assert_eq!((error.kind(), error.effect()), (ErrorKind::Protocol, Effect::None), "{body}");
        assert!(error.to_string().contains(place), "{body}: {error}");
    }
}

#[tokio::test]
async fn lists_may_be_null_and_states_unknown() {
    let bench = Bench::new().await;
    let row = json!({ "id": 7, "status": "levitating", "tags": null, "novel": { "a": 1 } });
    for (body, count) in [
        (json!({ "data": { "vms": null } }), 0),
        (json!({ "data": { "items": [row], "vms": [] } }), 1),
        (json!({ "data": [row] }), 1),
    ] {
        bench.reset().await;
        bench.answer("GET", "/v1/vms", 200, body).await;
        let page = bench.v1.list_vms(&VmQuery::all(), &PageRequest::first()).await.unwrap();
        assert_eq!(page.items.len(), count);
        if let Some(vm) = page.items.first() {
            assert_eq!((vm.id.as_str(), vm.state.as_str()), ("7", "levitating"));
            assert_eq!(vm.extra.get("v1")["novel"]["a"], 1);
        }
    }
}

#[tokio::test]
async fn html_truncated_json_and_nothing_are_errors_of_protocol() {
    for (body, kind) in [
        ("<html><body><h1>Welcome</h1></body></html>", "text/html"),
        ("{\"success\": true, \"data\": {\"vm\": {\"id\": \"7\"", "application/json"),
        ("\u{feff}{}", "application/json"),
    ] {
        let bench = Bench::new().await;
        let response = ResponseTemplate::new(200).set_body_raw(body, kind);
        Mock::given(wiremock::matchers::any()).respond_with(response).mount(&bench.server).await;
        let error = bench.v1.get_vm(&"7".into()).await.unwrap_err();
        assert_eq!((error.kind(), error.effect()), (ErrorKind::Protocol, Effect::None), "{error}");
        let error = bench.v1.create_vm(&VmSpec::new("a")).await.unwrap_err();
        assert_eq!((error.kind(), error.effect()), (ErrorKind::Protocol, Effect::Unknown), "{error}");
    }
    let bench = Bench::new().await;
    bench.answer("GET", "/v1/vms/7", 204, json!(null)).await;
    assert_eq!(bench.v1.get_vm(&"7".into()).await.unwrap_err().kind(), ErrorKind::Protocol);
}

#[tokio::test]
async fn a_proxy_that_fails_leaves_the_outcome_open() {
    let bench = Bench::new().await;
    for status in [502, 503, 504] {
        bench.reset().await;
        let page = ResponseTemplate::new(status).set_body_raw("<h1>Bad Gateway</h1>", "text/html");
        Mock::given(wiremock::matchers::any()).respond_with(page).mount(&bench.server).await;
        let error = bench.v1.create_vm(&VmSpec::new("a")).await.unwrap_err();
        assert_eq!(
            (error.retry(), error.effect()),
            (Retry::IfIdempotent, Effect::Unknown),
            "{status}: {error:?}"
        );
        assert_eq!(error.message(), "Bad Gateway");
    }
}

#[tokio::test]
async fn an_answer_that_is_too_large_or_too_late_is_cut() {
    let server = MockServer::start().await;
    let large = ResponseTemplate::new(200).set_body_raw(vec![b' '; 100_000], "application/json");
    Mock::given(path("/v1/vms/large")).respond_with(large).mount(&server).await;
    let late = ResponseTemplate::new(200).set_delay(Duration::from_secs(30));
    Mock::given(path("/v1/vms/late")).respond_with(late.clone()).mount(&server).await;
    Mock::given(method("POST")).and(path("/v1/vms")).respond_with(late).mount(&server).await;
    let config = ClientConfig::new(&server.uri()).unwrap().timeout(Duration::from_millis(300));
    let config = config.with_http(|http| http.max_body(ByteSize::kib(10)));
    let v1 = V1::connect(config).await.unwrap();
    assert_eq!(v1.get_vm(&"large".into()).await.unwrap_err().kind(), ErrorKind::Protocol);
    let error = v1.get_vm(&"late".into()).await.unwrap_err();
    assert_eq!((error.kind(), error.effect()), (ErrorKind::Timeout, Effect::None));
    let error = v1.create_vm(&VmSpec::new("a")).await.unwrap_err();
    assert_eq!(
        (error.kind(), error.retry(), error.effect()),
        (ErrorKind::Timeout, Retry::IfIdempotent, Effect::Unknown)
    );
}

#[tokio::test]
async fn what_the_document_cannot_say_is_refused_before_anything_is_sent() {
    let bench = Bench::new().await;
    let spec = || VmSpec::new("a");
    let gib = || DiskSpec::new_volume(ByteSize::gib(1));
    for (field, spec) in [
        ("memory", spec().memory(ByteSize::kib(1025))),
        ("disks", spec().disk(gib()).disk(gib())),
        ("disks[0].size", spec().disk(DiskSpec::new_volume(ByteSize::mib(1)))),
        ("disks[0].pool", spec().disk(gib().in_pool("ssd"))),
        ("disks[0]", spec().disk(DiskSpec::volume("p/v"))),
        ("nics[0]", spec().nic(NicSpec::user())),
        ("host", spec().host("h")),
        ("group", spec().group("g")),
        ("machine", spec().machine("q35")),
    ] {
        let error = bench.v1.create_vm(&spec).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{field}");
        assert!(error.fields().contains_key(field), "{field}: {:?}", error.fields());
    }
    for error in [
        bench.v1.create_vm(&spec().tpm(true)).await.unwrap_err(),
        bench.v1.create_vm(&spec().metadata("a", "b")).await.unwrap_err(),
        bench.v1.update_vm(&"7".into(), &VmChange::new().autostart(true)).await.unwrap_err(),
        bench.v1.power_vm(&"7".into(), &PowerAction::Pause).await.unwrap_err(),
        bench.v1.list_vms(&VmQuery::all().client_token("t"), &PageRequest::first()).await.unwrap_err(),
    ] {
        assert!(error.is_unsupported(), "{error}");
    }
    for id in ["", ".", ".."] {
        assert_eq!(bench.v1.get_vm(&id.into()).await.unwrap_err().kind(), ErrorKind::InvalidInput);
    }
    assert!(bench.sent().await.is_empty(), "{:?}", bench.sent().await);
}

#[tokio::test]
async fn a_shutdown_without_a_limit_sends_none() {
    let bench = Bench::new().await;
    bench.answer("GET", "/v1/vms/7", 200, fixture("vm_details")).await;
    bench.answer("POST", "/v1/vms/7/stop", 200, json!({ "success": true })).await;
    let half = Shutdown::new().power_off_after(Duration::from_millis(1500));
    drop(bench.v1.power_vm(&"7".into(), &PowerAction::Shutdown(half)).await.unwrap());
    assert_eq!(bench.last().await.json()["timeout_seconds"], 2, "a limit is never cut short");
}

#[tokio::test]
async fn a_job_that_follows_a_failed_create_is_told_with_its_effect() {
    let bench = Bench::new().await;
    bench.answer("POST", "/v1/vms", 201, fixture("vm_created")).await;
    let job = json!({ "data": { "job": { "id": "job_create_vm_102", "status": "failed", "error": { "message": "no room" } } } });
    bench.answer("GET", "/v1/jobs/job_create_vm_102", 200, job).await;
    let error = bench.v1.create_vm(&VmSpec::new("a").start(true)).await.unwrap_err();
    assert_eq!((error.kind(), error.message()), (ErrorKind::TaskFailed, "no room"));
    assert_eq!((error.effect(), error.task().unwrap().as_str()), (Effect::Partial, "job_create_vm_102"));
    let info = bench.v1.get_task(&"job_create_vm_102".into(), None).await.unwrap();
    assert_eq!(info.error.as_deref(), Some("no room"));
}

#[tokio::test]
async fn credentials_go_as_the_document_says() {
    let server = MockServer::start().await;
    let config = || ClientConfig::new(&server.uri()).unwrap().allow_plain_http_credentials();
    drop(V1::connect(config().token("canary")).await.unwrap());
    let sent = server.received_requests().await.unwrap();
    assert_eq!(sent[0].headers["authorization"], "Bearer canary");
    assert_eq!(sent[0].headers["api-version"], "v1");
    for (config, why) in [
        (config().basic("admin", "canary"), "https only"),
        (config().api_key("canary"), "not an API key"),
        (ClientConfig::new(&server.uri()).unwrap().token("canary"), "plain http"),
    ] {
        let error = V1::connect(config).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        assert!(error.to_string().contains(why) && !format!("{error:?}").contains("canary"), "{error}");
    }
    assert_eq!(server.received_requests().await.unwrap().len(), 1, "nothing was sent");
}

#[tokio::test]
async fn a_client_of_oauth_shares_one_token_and_fetches_another_when_it_is_refused() {
    let server = MockServer::start().await;
    let token = json!({ "access_token": "canary", "token_type": "bearer", "expires_in": 3600, "refresh_token": "r1" });
    let slow = ResponseTemplate::new(200).set_body_json(token).set_delay(Duration::from_millis(50));
    Mock::given(path("/v1/oauth/token")).respond_with(slow).mount(&server).await;
    let config =
        ClientConfig::new(&server.uri()).unwrap().oauth("id", "canary-secret").allow_plain_http_credentials();
    let v1 = V1::connect(config).await.unwrap();
    let all = (0..8).map(|_| v1.health());
    futures::future::join_all(all).await;
    let asked = async || {
        let all = server.received_requests().await.unwrap();
        let tokens = all.into_iter().filter(|request| request.url.path() == "/v1/oauth/token");
        tokens.map(|request| String::from_utf8(request.body).unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(asked().await, ["grant_type=client_credentials&client_id=id&client_secret=canary-secret"]);
    let refused = ResponseTemplate::new(401).set_body_json(refusal("INVALID_TOKEN"));
    Mock::given(path("/v1/auth/tokens")).respond_with(refused).mount(&server).await;
    let error = v1.create_token(&TokenSpec::new("a", ["vm:read"])).await.unwrap_err();
    assert_eq!((error.kind(), error.retry()), (ErrorKind::Unauthenticated, Retry::Safe));
    assert!(!format!("{error:?} {v1:?}").contains("canary"));
    drop(v1.health().await);
    assert_eq!(asked().await[1..], ["grant_type=refresh_token&refresh_token=r1"]);
}

#[tokio::test]
async fn a_look_that_fails_after_a_create_makes_no_second_machine() {
    let job = json!({ "data": { "job": { "id": "j", "status": "completed" } } });
    let cases = [
        // The look at its job, at the machine, and the start itself.
        [("/v1/jobs/j", 503, json!({})), ("/v1/vms/7", 200, fixture("vm_details"))],
        [("/v1/jobs/j", 200, job.clone()), ("/v1/vms/7", 503, json!({}))],
        [("/v1/jobs/j", 200, job), ("/v1/vms/7", 429, refusal("RATE_LIMIT_EXCEEDED"))],
    ];
    for looks in cases {
        let bench = Bench::new().await;
        let made = json!({ "data": { "vm": { "id": "7" }, "job_id": "j" } });
        bench.answer("POST", "/v1/vms", 201, made).await;
        for (path, status, body) in looks {
            bench.answer("GET", path, status, body).await;
        }
        let error = bench.v1.create_vm(&VmSpec::new("web").start(true)).await.unwrap_err();
        assert_ne!(error.effect(), Effect::None, "{error}");
        assert_ne!(error.retry(), Retry::Safe, "{error}");
    }
}
