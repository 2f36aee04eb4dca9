//! What goes wrong, as status, code and body.

use axum::http::StatusCode;
use hypervisor_core::{Error, ErrorKind};
use serde_json::{Map, Value, json};

/// A refused or failed request.
#[derive(Debug, Clone)]
pub(crate) struct Problem {
    pub(crate) status: StatusCode,
    pub(crate) code: &'static str,
    pub(crate) error: Error,
    pub(crate) details: Map<String, Value>,
}

pub(crate) type Result<T, E = Problem> = std::result::Result<T, E>;

impl Problem {
    pub(crate) fn new(status: StatusCode, code: &'static str, error: Error) -> Self {
        Self { status, code, error, details: Map::new() }
    }

    /// The request cannot even be read.
    pub(crate) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "BAD_REQUEST", Error::new(ErrorKind::InvalidInput, message.into()))
    }

    /// A field or parameter is wrong.
    pub(crate) fn invalid(field: &str, why: impl Into<String>) -> Self {
        Error::invalid(field, why).into()
    }

    /// The token is missing, wrong or expired. Which of these it is, is not told.
    pub(crate) fn token() -> Self {
        let error = Error::new(ErrorKind::Unauthenticated, "the API token is missing, invalid or expired");
        Self::new(StatusCode::UNAUTHORIZED, "INVALID_TOKEN", error)
    }

    /// The user or password of Basic authentication is wrong.
    pub(crate) fn credentials() -> Self {
        let error = Error::new(ErrorKind::Unauthenticated, "Invalid username or password");
        Self::new(StatusCode::UNAUTHORIZED, "INVALID_CREDENTIALS", error)
            .detail("field", "password")
            .detail("reason", "authentication_failed")
    }

    /// The token may not do this.
    pub(crate) fn permission(permission: &str) -> Self {
        let error = Error::new(
            ErrorKind::PermissionDenied,
            format!("the token does not have the permission `{permission}`"),
        );
        Self::new(StatusCode::FORBIDDEN, "INSUFFICIENT_PERMISSIONS", error).detail("required", permission)
    }

    pub(crate) fn detail(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.details.insert(key.to_owned(), value.into());
        self
    }

    /// The gateway itself failed: its database, mostly. What exactly is for the log, not for the caller.
    pub(crate) fn internal(what: &str, error: &dyn std::fmt::Display) -> Self {
        tracing::error!(what, error = %error, "the gateway failed");
        let error = Error::new(ErrorKind::Backend, format!("the gateway failed: {what}"));
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "INTERNAL_ERROR", error)
    }

    /// The gateway takes no requests now.
    pub(crate) fn unavailable(code: &'static str, message: &str) -> Self {
        let error = Error::new(ErrorKind::RateLimited, message);
        Self::new(StatusCode::SERVICE_UNAVAILABLE, code, error)
    }

    /// The database did not answer what is asked before anything is done: the same request may do well in a moment.
    pub(crate) fn database(what: &str, error: &dyn std::fmt::Display) -> Self {
        tracing::error!(what, error = %error, "the database failed");
        Self::unavailable("DATABASE_UNAVAILABLE", &format!("the gateway's database failed: {what}"))
    }

    /// The member `error` of the envelope.
    pub(crate) fn body(&self) -> Value {
        let mut details = self.details.clone();
        if let Some((field, why)) = self.error.fields().iter().next() {
            details.entry("field").or_insert_with(|| field.as_str().into());
            details.entry("reason").or_insert_with(|| why.as_str().into());
            if self.error.fields().len() > 1 {
                details.entry("fields").or_insert_with(|| json!(self.error.fields()));
            }
        }
        if let Some(target) = self.error.target() {
            details.entry("target").or_insert_with(|| target.into());
        }
        if let Some(hint) = self.error.hint() {
            details.entry("hint").or_insert_with(|| hint.into());
        }
        let message = match self.error.message() {
            "" => self.error.to_string(),
            message => message.to_owned(),
        };
        json!({ "code": self.code, "message": message, "details": details, "native": self.error })
    }
}

/// What a backend's error is on the wire. The documented codes where they fit, else the kind's own name.
impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        let (status, code) = match error.kind() {
            ErrorKind::NotFound => (StatusCode::NOT_FOUND, "RESOURCE_NOT_FOUND"),
            ErrorKind::AlreadyExists => (StatusCode::CONFLICT, "RESOURCE_CONFLICT"),
            ErrorKind::Conflict => (StatusCode::CONFLICT, "CONFLICT"),
            ErrorKind::Locked => (StatusCode::LOCKED, "LOCKED"),
            ErrorKind::InvalidState => (StatusCode::CONFLICT, "INVALID_STATE"),
            ErrorKind::InvalidInput => (StatusCode::UNPROCESSABLE_ENTITY, "VALIDATION_ERROR"),
            ErrorKind::Unsupported => (StatusCode::NOT_IMPLEMENTED, "UNSUPPORTED"),
            // It is the gateway's own credentials that the backend refuses, not the caller's.
            ErrorKind::Unauthenticated => (StatusCode::BAD_GATEWAY, "UNAUTHENTICATED"),
            ErrorKind::PermissionDenied => (StatusCode::FORBIDDEN, "PERMISSION_DENIED"),
            ErrorKind::Exhausted => (StatusCode::INSUFFICIENT_STORAGE, "RESOURCE_LIMIT_EXCEEDED"),
            ErrorKind::RateLimited => (StatusCode::TOO_MANY_REQUESTS, "RATE_LIMIT_EXCEEDED"),
            ErrorKind::Timeout => (StatusCode::GATEWAY_TIMEOUT, "TIMEOUT"),
            ErrorKind::Connect => (StatusCode::BAD_GATEWAY, "CONNECT"),
            ErrorKind::Transport => (StatusCode::BAD_GATEWAY, "TRANSPORT"),
            ErrorKind::Protocol => (StatusCode::BAD_GATEWAY, "PROTOCOL"),
            ErrorKind::TaskFailed => (StatusCode::INTERNAL_SERVER_ERROR, "TASK_FAILED"),
            ErrorKind::Cancelled => (StatusCode::CONFLICT, "CANCELLED"),
            ErrorKind::AgentUnavailable => (StatusCode::SERVICE_UNAVAILABLE, "AGENT_UNAVAILABLE"),
            ErrorKind::HostUnreachable => (StatusCode::BAD_GATEWAY, "HOST_UNREACHABLE"),
            ErrorKind::Config => (StatusCode::INTERNAL_SERVER_ERROR, "CONFIG"),
            _ => (StatusCode::INTERNAL_SERVER_ERROR, "BACKEND"),
        };
        Self::new(status, code, error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_a_status_and_keeps_the_whole_error() {
        for kind in ErrorKind::ALL {
            let problem = Problem::from(Error::new(*kind, "why").with_target("vm", "a"));
            assert!(problem.status.is_client_error() || problem.status.is_server_error(), "{kind}");
            let native: Error = serde_json::from_value(problem.body()["native"].clone()).unwrap();
            assert_eq!((native.kind(), native.message()), (*kind, "why"));
        }
        let invalid = Problem::invalid("memory_mb", "must be positive").body();
        assert_eq!(invalid["details"]["field"], "memory_mb");
        assert_eq!(invalid["details"]["reason"], "must be positive");
    }
}
