//! A server that gives one answer and keeps what it was sent.
#![allow(dead_code, reason = "each test target uses a part of it")]

use hypervisor_client::ClientConfig;
use hypervisor_client::dialect::hypersdk::HyperSdk;
use serde_json::{Value, json};
use wiremock::matchers::{method, path};
use wiremock::{Mock, MockServer, ResponseTemplate};

/// A server that is well, and answers as a daemon when it is connected to.
pub(crate) async fn healthy() -> MockServer {
    let server = MockServer::start().await;
    let health = json!({"status": "healthy", "timestamp": "2026-11-20T17:49:27Z"});
    let status = json!({"version": "0.0.1", "uptime": "1m20.04s", "total_jobs": 0, "timestamp": "2026-11-20T17:51:36.1Z"});
    for (at, body) in [("/health", health), ("/status", status)] {
        let answer = ResponseTemplate::new(200).set_body_json(body);
        Mock::given(method("GET")).and(path(at)).respond_with(answer).with_priority(9).mount(&server).await;
    }
    server
}

pub(crate) async fn connect(server: &MockServer) -> HyperSdk {
    HyperSdk::connect(ClientConfig::new(&server.uri()).unwrap()).await.unwrap()
}

/// What was sent since the connection was made: method and target, and the body.
pub(crate) async fn sent(server: &MockServer) -> Vec<(String, Value)> {
    let all = server.received_requests().await.unwrap();
    let all = all.into_iter().map(|request| {
        let query = request.url.query().map(|query| format!("?{query}")).unwrap_or_default();
        let body = if request.body.is_empty() { Value::Null } else { request.body_json().unwrap() };
        (format!("{} {}{query}", request.method, request.url.path()), body)
    });
    all.filter(|(target, _)| !matches!(target.as_str(), "GET /health" | "GET /status")).collect()
}

/// Makes a call against a server that answers it so, checks that it alone was sent as expected, and gives what it returned.
pub(crate) async fn call<T>(
    expected: &str,
    body: Value,
    answer: (u16, Value),
    call: impl AsyncFn(&HyperSdk) -> hypervisor_core::Result<T>,
) -> T {
    let server = healthy().await;
    let (verb, target) = expected.split_once(' ').unwrap();
    let at = target.split('?').next().unwrap();
    let response = ResponseTemplate::new(answer.0).set_body_json(&answer.1);
    Mock::given(method(verb)).and(path(at)).respond_with(response).with_priority(1).mount(&server).await;
    let hypersdk = connect(&server).await;
    let result = call(&hypersdk).await;
    let all = server.received_requests().await.unwrap();
    let posted = all.iter().filter(|request| request.method.as_str() == "POST");
    for request in posted.filter(|request| !request.body.is_empty()) {
        assert_eq!(request.headers["content-type"], "application/json", "the document asks for it");
    }
    let mut sent = sent(&server).await;
    if matches!(at, "/health" | "/status") {
        sent.push((expected.to_owned(), Value::Null));
    }
    assert_eq!(sent, [(expected.to_owned(), body)]);
    result.unwrap_or_else(|error| panic!("{expected} answered {}: {error:#?}", answer.1))
}

/// The document's envelope.
pub(crate) fn envelope(data: Value) -> (u16, Value) {
    let message = "Operation completed successfully";
    (200, json!({"status": "success", "message": message, "data": data, "timestamp": "2026-01-19T12:30:00Z"}))
}

/// The daemon's answer to an action.
pub(crate) fn done() -> (u16, Value) {
    (200, json!({"status": "success", "message": "it is done"}))
}
