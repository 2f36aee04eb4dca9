//! Rates, sizes, and answering a repeated create once.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests fail by panicking"
)]

mod common;

use std::time::Duration;

use axum::body::Body;
use axum::http::{Method, Request, StatusCode};
use common::{config, serve, served};
use hypervisor_core::Compute as _;
use hypervisor_core::memory::Memory;
use hypervisor_core::model::{ByteSize, PageRequest, VmQuery};
use hypervisor_gateway::{Category, GatewayConfig, Rate, routes};
use serde_json::json;

#[tokio::test]
async fn every_answer_tells_the_documented_limit_of_its_category() {
    let gateway = serve(Memory::new(), GatewayConfig::new()).await;
    let documented = [
        (Category::Authentication, "10", "60"),
        (Category::Operations, "100", "3600"),
        (Category::Read, "1000", "3600"),
        (Category::Bulk, "50", "3600"),
        (Category::Ai, "10", "3600"),
    ];
    for (category, limit, window) in documented {
        let route =
            routes().into_iter().find(|route| route.category == category && !route.path.contains("health"));
        let route = route.unwrap();
        let path: String = route
            .path
            .split('/')
            .map(|part| if part.starts_with('{') { "x" } else { part })
            .collect::<Vec<_>>()
            .join("/");
        let answer = gateway.call(route.method, &path, None).await;
        assert_eq!(answer.headers["x-ratelimit-limit"], limit, "{path}");
        assert_eq!(answer.headers["x-ratelimit-window"], window, "{path}");
        let remaining: u32 = answer.headers["x-ratelimit-remaining"].to_str().unwrap().parse().unwrap();
        assert_eq!((remaining + 1).to_string(), limit, "{path}");
        assert!(answer.headers.contains_key("x-ratelimit-reset"));
    }
    let health = gateway.call_as(None, Method::GET, "/v1/health", None).await;
    assert_eq!(health.headers["x-ratelimit-remaining"], "1000");
}

#[tokio::test]
async fn too_many_requests_are_refused_until_the_window_ends() {
    let rate = Rate::new(2, Duration::from_millis(300));
    let gateway = serve(Memory::new(), GatewayConfig::new().rate(Category::Read, rate)).await;
    assert_eq!(gateway.get("/v1/vms").await.status, StatusCode::OK);
    assert_eq!(gateway.get("/v1/vms").await.headers["x-ratelimit-remaining"], "0");
    let refused = gateway.get("/v1/vms").await;
    assert_eq!(
        (refused.status, refused.code()),
        (StatusCode::TOO_MANY_REQUESTS, "RATE_LIMIT_EXCEEDED".to_owned())
    );
    assert!(refused.headers.contains_key("retry-after"));
    let native: hypervisor_core::Error =
        serde_json::from_value(refused.json()["error"]["native"].clone()).unwrap();
    assert!(native.retry_after().is_some());
    // Another token has a window of its own, and so has another category.
    let other = gateway.gateway.create_token("other", &["*"], None).await.unwrap().token;
    assert_eq!(gateway.call_as(Some(&other), Method::GET, "/v1/vms", None).await.status, StatusCode::OK);
    assert_eq!(gateway.delete("/v1/vms/none").await.status, StatusCode::NOT_FOUND);
    tokio::time::sleep(Duration::from_millis(350)).await;
    assert_eq!(gateway.get("/v1/vms").await.status, StatusCode::OK);
}

#[tokio::test]
async fn guessing_tokens_is_limited_and_does_not_lock_out_good_ones() {
    let gateway = serve(Memory::new(), GatewayConfig::new()).await;
    let guess = || gateway.call_as(Some("pxa_guess"), Method::GET, "/v1/vms", None);
    for _ in 0..10 {
        assert_eq!(guess().await.status, StatusCode::UNAUTHORIZED);
    }
    assert_eq!(guess().await.status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(gateway.get("/v1/vms").await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_body_that_is_too_large_or_no_json_is_refused() {
    let gateway = serve(Memory::new(), config().body_limit(ByteSize::kib(1))).await;
    let send = |content_type: &'static str, body: String| {
        let request = Request::builder().method(Method::POST).uri("/v1/groups");
        let request = request.header("authorization", format!("Bearer {}", gateway.token));
        gateway.request(request.header("content-type", content_type).body(Body::from(body)).unwrap())
    };
    let large = json!({ "spec": { "name": "a", "description": "x".repeat(2000) } }).to_string();
    assert_eq!(send("application/json", large).await.status, StatusCode::PAYLOAD_TOO_LARGE);
    let small = json!({ "spec": { "name": "a" } }).to_string();
    assert_eq!(send("text/plain", small.clone()).await.status, StatusCode::UNSUPPORTED_MEDIA_TYPE);
    assert_eq!(send("application/json", "{".to_owned()).await.status, StatusCode::BAD_REQUEST);
    assert_eq!(send("application/json", format!("{small} {small}")).await.status, StatusCode::BAD_REQUEST);
    assert_eq!(send("application/json", small).await.status, StatusCode::CREATED);
}

#[tokio::test]
async fn a_create_that_comes_twice_with_one_key_is_done_once() {
    let gateway = served().await;
    let send = |key: &'static str, name: &'static str| {
        let request = Request::builder().method(Method::POST).uri("/v1/vms").header("idempotency-key", key);
        let request = request.header("authorization", format!("Bearer {}", gateway.token));
        let body = json!({ "name": name }).to_string();
        gateway.request(request.header("content-type", "application/json").body(Body::from(body)).unwrap())
    };
    let first = send("k1", "a").await;
    let second = send("k1", "a").await;
    assert_eq!((first.status, second.status), (StatusCode::CREATED, StatusCode::CREATED));
    assert_eq!(first.data(), second.data());
    assert_eq!(second.json()["meta"]["replayed"], true);
    let all = gateway.memory.list_vms(&VmQuery::all(), &PageRequest::first()).await.unwrap();
    assert_eq!(all.items.len(), 1);
    assert_eq!(send("k1", "b").await.code(), "VALIDATION_ERROR");
    assert_eq!(send("k2", "b").await.status, StatusCode::CREATED);
    // A refused one leaves the key free.
    assert_eq!(send("k3", "b b").await.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(send("k3", "c").await.status, StatusCode::CREATED);
}

#[tokio::test]
async fn maintenance_leaves_only_health() {
    let gateway = served().await;
    gateway.gateway.set_maintenance(true);
    let refused = gateway.get("/v1/vms").await;
    assert_eq!(
        (refused.status, refused.code()),
        (StatusCode::SERVICE_UNAVAILABLE, "MAINTENANCE_MODE".to_owned())
    );
    assert_eq!(gateway.get("/v1/health").await.status, StatusCode::OK);
    gateway.gateway.set_maintenance(false);
    assert_eq!(gateway.get("/v1/vms").await.status, StatusCode::OK);
}

#[tokio::test]
async fn prometheus_finds_what_was_counted() {
    let gateway = served().await;
    let _ = gateway.get("/v1/vms").await;
    let _ = gateway.get("/v1/vms/none").await;
    let text = String::from_utf8(gateway.get("/metrics").await.body.to_vec()).unwrap();
    assert!(
        text.contains("hypervisor_gateway_requests_total{route=\"list_vms\",status=\"200\"} 1"),
        "{text}"
    );
    assert!(text.contains("hypervisor_gateway_requests_total{route=\"get_vm\",status=\"404\"} 1"), "{text}");
    assert!(text.contains("hypervisor_gateway_request_seconds_count{route=\"list_vms\"} 1"), "{text}");
    assert!(text.contains("hypervisor_gateway_jobs_open 0"), "{text}");
}

#[tokio::test]
async fn whoever_hangs_up_and_asks_again_with_the_same_key_gets_the_first_answer() {
    let slow = Duration::from_millis(300);
    let gateway = serve(Memory::builder().latency(slow..slow).build(), config()).await;
    let send = || {
        let request = Request::builder().method(Method::POST).uri("/v1/vms").header("idempotency-key", "k");
        let request = request.header("authorization", format!("Bearer {}", gateway.token));
        let body = json!({ "name": "a" }).to_string();
        gateway.request(request.header("content-type", "application/json").body(Body::from(body)).unwrap())
    };
    // Dropped, as a server drops the request of a caller who has gone.
    let gone = tokio::time::timeout(Duration::from_millis(100), send()).await;
    assert!(gone.is_err(), "the backend is not slow");
    let until = std::time::Instant::now() + Duration::from_secs(20);
    let again = loop {
        let again = send().await;
        if again.status != StatusCode::LOCKED {
            break again;
        }
        assert!(std::time::Instant::now() < until, "the key stays locked");
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    assert_eq!(again.status, StatusCode::CREATED);
    assert_eq!(again.json()["meta"]["replayed"], true);
    let all = gateway.memory.list_vms(&VmQuery::all(), &PageRequest::first()).await.unwrap();
    assert_eq!(all.items.len(), 1);
}

#[tokio::test]
async fn a_body_that_does_not_come_is_not_waited_for_and_holds_one_place_at_most() {
    let slow = Duration::from_millis(300);
    let gateway = serve(Memory::new(), config().body_timeout(slow).concurrency(1)).await;
    let begun = futures::stream::once(async { Ok::<_, std::io::Error>("{") });
    let never = futures::StreamExt::chain(begun, futures::stream::pending());
    let request = Request::builder().method(Method::POST).uri("/v1/groups");
    let request = request.header("authorization", format!("Bearer {}", gateway.token));
    let waiting = gateway
        .request(request.header("content-type", "application/json").body(Body::from_stream(never)).unwrap());
    let other = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        gateway.get("/v1/vms").await
    };
    let (waiting, other) = tokio::join!(waiting, other);
    assert_eq!((waiting.status, waiting.code()), (StatusCode::REQUEST_TIMEOUT, "REQUEST_TIMEOUT".to_owned()));
    // It had the only place.
    assert_eq!((other.status, other.code()), (StatusCode::SERVICE_UNAVAILABLE, "OVERLOADED".to_owned()));
    assert_eq!(gateway.get("/v1/vms").await.status, StatusCode::OK);
}

/// What a list of so many guests costs, in allocations and bytes, and how long the answer is.
fn list_costs(query: &str, limit: usize) -> (u64, u64, u64) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let gateway = runtime.block_on(async {
        let gateway = served().await;
        for number in 0..400 {
            let spec = hypervisor_core::model::VmSpec::new(format!("guest-{number:03}")).tag("t");
            let _ = gateway.memory.create_vm(&spec).await.unwrap();
        }
        gateway
    });
    let path = format!("/v1/vms?limit={limit}{query}");
    let length = std::cell::Cell::new(0);
    let list = || {
        let answer = runtime.block_on(gateway.get(&path));
        assert_eq!(answer.status, StatusCode::OK);
        length.set(answer.body.len() as u64);
    };
    list();
    list();
    let counted = allocation_counter::measure(list);
    (counted.count_total, counted.bytes_total, length.get())
}

/// No row goes through a tree of JSON, and no answer through a second buffer.
#[test]
fn a_list_is_written_once_straight_from_its_models() {
    // A model has a uid, a name, and the node and the text of its tags.
    let (few, many) = (list_costs("&view=native", 100), list_costs("&view=native", 400));
    assert!(many.0 - few.0 <= 300 * 4 + 30, "{} allocations for 300 rows more", many.0 - few.0);
    let models = 300 * (size_of::<hypervisor_core::model::VmInfo>() as u64 + 1024);
    assert!(many.1 - few.1 <= models + (many.2 - few.2) * 3 / 2, "{} bytes", many.1 - few.1);
    // All models are gathered for an order; the rows beside them have the time of their making as text.
    let (few, many) = (list_costs("", 50), list_costs("", 200));
    assert!(many.0 - few.0 <= 150 * 3, "{} allocations for 150 rows more", many.0 - few.0);
}
