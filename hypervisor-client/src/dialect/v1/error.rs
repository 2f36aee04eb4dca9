//! What the gateway's errors mean: by their code, and where there is none by the status.

use hypervisor_core::http::Response;
use hypervisor_core::{Effect, Error, ErrorKind, Operation, OperationClass, Retry};
use serde_json::Value;

use super::wire::envelope::{Failure, Meta};

/// The error of an answer that tells of a failure.
pub(crate) fn of(response: &Response, failure: Failure, meta: Option<&Meta>) -> Error {
    let base = response.error();
    let operation = response.operation();
    let error = match failure.native.clone().map(serde_json::from_value::<Error>) {
        Some(Ok(native)) => native,
        _ => documented(&base, failure, operation),
    };
    let error = match meta.and_then(|meta| meta.request_id.as_deref()).or(base.request_id()) {
        Some(id) if error.request_id().is_none() => error.with_request_id(id),
        _ => error,
    };
    match (error.retry_after(), response.retry_after()) {
        (None, Some(after)) => error.with_retry_after(after),
        _ => error,
    }
}

fn documented(base: &Error, failure: Failure, operation: Option<Operation>) -> Error {
    let code = failure.code.as_deref().unwrap_or_default();
    let kind = kind(code, operation).unwrap_or_else(|| by_status(base.kind(), operation));
    let message = failure.message.filter(|message| !message.trim().is_empty());
    let message = message.unwrap_or_else(|| base.message().to_owned());
    let mut error = Error::new(kind, message);
    if kind == base.kind() {
        error = error.with_retry(base.retry());
    }
    error = match code {
        "" => error.with_code(base.code().unwrap_or_default()),
        // The gateway turns away what comes; it has begun nothing.
        "MAINTENANCE_MODE" => error.with_code(code).with_retry(Retry::Safe),
        code => error.with_code(code),
    };
    if operation.is_some_and(|operation| operation.class() == OperationClass::Read) {
        error = error.with_effect(Effect::None);
    }
    detailed(error, &failure.details)
}

/// Adds the parameter that is wrong, and the object that it is about.
fn detailed(mut error: Error, details: &Value) -> Error {
    let text = |key: &str| details.get(key).and_then(Value::as_str);
    if let Some(field) = text("field") {
        let mut why = text("reason").unwrap_or("is wrong").to_owned();
        if let Some(value) = details.get("provided_value") {
            why = format!("{why} (it was {value})");
        }
        error = error.with_field(field, why);
    }
    for each in details.get("errors").and_then(Value::as_array).into_iter().flatten() {
        let field = each.get("field").and_then(Value::as_str);
        let why = each.get("reason").or_else(|| each.get("message")).and_then(Value::as_str);
        if let Some(field) = field {
            error = error.with_field(field, why.unwrap_or("is wrong"));
        }
    }
    let id = text("id").or_else(|| text("resource_id"));
    match (text("resource").or_else(|| text("resource_type")), id) {
        (Some(noun), Some(id)) => error.with_target(noun_of(noun), id),
        _ => error,
    }
}

/// The gateway's name for a kind of object in the SDK's words.
fn noun_of(resource: &str) -> &str {
    match resource {
        "virtual_machine" | "template" => "vm",
        "job" => "task",
        "storage" | "storage_pool" => "pool",
        other => other,
    }
}

/// The documented codes, and those that are an [`ErrorKind`]'s name in capitals.
fn kind(code: &str, operation: Option<Operation>) -> Option<ErrorKind> {
    Some(match code {
        "INVALID_TOKEN" | "INVALID_CREDENTIALS" => ErrorKind::Unauthenticated,
        "INSUFFICIENT_PERMISSIONS" => ErrorKind::PermissionDenied,
        "RESOURCE_NOT_FOUND" => ErrorKind::NotFound,
        "VALIDATION_ERROR" => ErrorKind::InvalidInput,
        "RESOURCE_CONFLICT" => conflict(operation),
        "RATE_LIMIT_EXCEEDED" => ErrorKind::RateLimited,
        "RESOURCE_LIMIT_EXCEEDED" => ErrorKind::Exhausted,
        "MAINTENANCE_MODE" | "INTERNAL_ERROR" | "INTERNAL_SERVER_ERROR" => ErrorKind::Backend,
        other => {
            let name = other.to_ascii_lowercase();
            return ErrorKind::ALL.iter().copied().find(|kind| kind.as_str() == name);
        }
    })
}

fn by_status(kind: ErrorKind, operation: Option<Operation>) -> ErrorKind {
    if kind == ErrorKind::Conflict { conflict(operation) } else { kind }
}

/// The document has one code for a name that is taken and for an object that is in the way.
fn conflict(operation: Option<Operation>) -> ErrorKind {
    match operation.map(Operation::class) {
        Some(OperationClass::Create) => ErrorKind::AlreadyExists,
        Some(OperationClass::Action) => ErrorKind::InvalidState,
        _ if matches!(operation, Some(Operation::DeleteVm | Operation::CancelTask)) => {
            ErrorKind::InvalidState
        }
        _ => ErrorKind::Conflict,
    }
}
