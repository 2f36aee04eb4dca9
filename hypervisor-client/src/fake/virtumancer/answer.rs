//! Answers as Go's standard library and the server write them.

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use serde_json::{Value, json};

pub(super) const NOW: &str = "2026-01-02T03:04:05.678901234Z";

fn answer(status: u16, kind: Option<&'static str>, body: String) -> Response {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    if let Some(kind) = kind {
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    }
    response
}

/// JSON, with the line break that Go's encoder adds.
pub(super) fn json(status: u16, body: &Value) -> Response {
    answer(status, Some("application/json"), format!("{body}\n"))
}

/// Go's `http.Error`.
pub(super) fn text(status: u16, message: &str) -> Response {
    let mut response = answer(status, Some("text/plain; charset=utf-8"), format!("{message}\n"));
    response.headers_mut().insert("x-content-type-options", HeaderValue::from_static("nosniff"));
    response
}

pub(super) fn done() -> Response {
    answer(204, None, String::new())
}

pub(super) fn no_page() -> Response {
    text(404, "404 page not found")
}

/// One `Allow` header for each method.
pub(super) fn not_allowed(methods: &[&'static str]) -> Response {
    let mut response = answer(405, None, String::new());
    for method in methods {
        response.headers_mut().append(header::ALLOW, HeaderValue::from_static(method));
    }
    response
}

/// The current generation's error.
pub(super) fn refused(status: u16, code: &str, message: &str, details: Value) -> Response {
    json(
        status,
        &json!({"code": code, "message": message, "details": details, "timestamp": "2026-01-02T03:04:05Z"}),
    )
}

/// The same, where the server puts an inner error into a group by its words.
pub(super) fn failed(inner: &str, operation: &str) -> Response {
    let words = inner.to_ascii_lowercase();
    let has = |word: &str| words.contains(word);
    let (status, code, message) = if has("not found") && has("host") || has("could not find") {
        (404, "HOST_NOT_FOUND", "Host not found")
    } else if has("not found") {
        (404, "NOT_FOUND", "Resource not found")
    } else if has("libvirt") {
        (500, "LIBVIRT_ERROR", "Libvirt operation failed")
    } else {
        (500, "INTERNAL_ERROR", "Internal server error")
    };
    refused(status, code, message, json!({"error": inner, "operation": operation}))
}
