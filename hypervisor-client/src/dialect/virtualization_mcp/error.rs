//! What the gateway's failures mean. They come in five shapes, some of them with status 200.

use hypervisor_core::http::Response;
use hypervisor_core::{Effect, Error, ErrorKind, Operation, OperationClass};
use serde_json::Value;

/// The failure that a body tells of, whatever its status is.
pub(super) fn told(body: &Value, response: &Response) -> Option<Error> {
    let status = body.get("status").and_then(Value::as_str).unwrap_or_default();
    match status {
        "error" | "not_found" => return Some(of(body, response)),
        _ => {}
    }
    (body.get("success") == Some(&Value::Bool(false))).then(|| of(body, response))
}

/// The error of an answer of failure.
pub(super) fn of(body: &Value, response: &Response) -> Error {
    let base = response.error();
    let operation = response.operation();
    let text = |place: &str| body.pointer(place).and_then(Value::as_str).filter(|text| !text.is_empty());
    let code = text("/error/code");
    let detail = body.get("detail").and_then(Value::as_array);
    // The longer of `error` and `message` has the shorter in it.
    let message = text("/error/message")
        .or_else(|| text("/error"))
        .or_else(|| text("/message"))
        .or_else(|| text("/detail"));
    let message = match (message, detail) {
        (Some(message), _) => message.to_owned(),
        (None, Some(detail)) => fields(detail)
            .into_iter()
            .map(|(field, why)| format!("{field}: {why}"))
            .collect::<Vec<_>>()
            .join("; "),
        _ => base.message().to_owned(),
    };
    let by_status = (!response.is_success()).then(|| base.kind());
    let kind = code
        .and_then(|code| by_code(code, operation))
        .unwrap_or_else(|| by_text(&message, body, by_status, operation));
    let mut error = Error::new(kind, message);
    if Some(kind) == by_status {
        error = error.with_retry(base.retry());
    }
    error = error.with_code(code.or(base.code()).unwrap_or_default().to_owned());
    for (field, why) in detail.map(|detail| fields(detail)).unwrap_or_default() {
        error = error.with_field(field, why);
    }
    if let Some(field) = text("/error/details/field") {
        error = error.with_field(field, text("/error/details/reason").unwrap_or("is wrong"));
    }
    if let Some(after) = response.retry_after() {
        error = error.with_retry_after(after);
    }
    if let Some(id) = text("/meta/request_id").or(base.request_id()) {
        error = error.with_request_id(id);
    }
    let tips = body.get("troubleshooting").and_then(Value::as_array).into_iter().flatten();
    let tips: Vec<&str> = tips.filter_map(Value::as_str).collect();
    if !tips.is_empty() {
        error = error.with_hint(tips.join(". "));
    }
    if response.reads() || operation.is_some_and(|operation| operation.class() == OperationClass::Read) {
        error = error.with_effect(Effect::None);
    }
    match operation {
        Some(operation) => error.with_operation(operation),
        None => error,
    }
}

/// The parameters that FastAPI finds wrong: `[{"loc": ["body", "name"], "msg": "Field required"}]`.
fn fields(detail: &[Value]) -> Vec<(String, String)> {
    let each = detail.iter().map(|each| {
        let place = each.get("loc").and_then(Value::as_array).into_iter().flatten();
        let place: Vec<String> = place
            .filter(|part| !matches!(part.as_str(), Some("body" | "query" | "path")))
            .map(|part| part.as_str().map_or_else(|| part.to_string(), str::to_owned))
            .collect();
        let why = each.get("msg").and_then(Value::as_str).unwrap_or("is wrong");
        (if place.is_empty() { "body".to_owned() } else { place.join(".") }, why.to_owned())
    });
    each.collect()
}

/// The document's codes; a sibling of it writes them small.
fn by_code(code: &str, operation: Option<Operation>) -> Option<ErrorKind> {
    Some(match code.to_ascii_uppercase().as_str() {
        "INVALID_REQUEST" | "VALIDATION_ERROR" => ErrorKind::InvalidInput,
        "UNAUTHORIZED" => ErrorKind::Unauthenticated,
        "FORBIDDEN" => ErrorKind::PermissionDenied,
        "NOT_FOUND" | "RESOURCE_NOT_FOUND" | "VM_NOT_FOUND" => ErrorKind::NotFound,
        "CONFLICT" => conflict(operation),
        "RATE_LIMIT_EXCEEDED" => ErrorKind::RateLimited,
        "INTERNAL_SERVER_ERROR" => ErrorKind::Backend,
        _ => return None,
    })
}

fn conflict(operation: Option<Operation>) -> ErrorKind {
    match operation.map(Operation::class) {
        Some(OperationClass::Create) => ErrorKind::AlreadyExists,
        Some(OperationClass::Action) => ErrorKind::InvalidState,
        _ => ErrorKind::Conflict,
    }
}

/// What the server's sentences mean. Python's `[Errno 2]` is about a file of the server's, not about what was asked for.
fn by_text(
    message: &str,
    body: &Value,
    by_status: Option<ErrorKind>,
    operation: Option<Operation>,
) -> ErrorKind {
    let low = message.to_ascii_lowercase();
    let says = |parts: &[&str]| parts.iter().any(|part| low.contains(part));
    if body.get("status").and_then(Value::as_str) == Some("not_found") {
        return ErrorKind::NotFound;
    }
    match by_status {
        Some(kind) if !matches!(kind, ErrorKind::Backend | ErrorKind::Conflict) => return kind,
        Some(ErrorKind::Conflict) => return conflict(operation),
        _ => {}
    }
    if says(&["has no attribute"]) {
        return ErrorKind::Unsupported;
    }
    if says(&["[errno", "traceback"]) {
        return ErrorKind::Backend;
    }
    if says(&["service not available"]) {
        return ErrorKind::HostUnreachable;
    }
    if says(&["already exists"]) {
        return ErrorKind::AlreadyExists;
    }
    if says(&["does not exist", "not found", "could not find a registered machine"]) {
        return ErrorKind::NotFound;
    }
    if says(&["already running", "is not running", "is not powered off", "is not paused", "already locked"]) {
        return ErrorKind::InvalidState;
    }
    ErrorKind::Backend
}
