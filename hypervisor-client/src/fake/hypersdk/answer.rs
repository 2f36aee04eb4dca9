//! How the daemon answers: JSON by its encoder, or text by Go's `http.Error`.

use std::time::SystemTime;

use jiff::Timestamp;
use serde_json::{Value, json};

/// An answer.
#[derive(Debug)]
pub(super) enum Answer {
    /// With a status, a content type and a body.
    Some { status: u16, kind: &'static str, body: Vec<u8> },
    /// None: the connection is closed.
    Nothing,
}

const JSON: &str = "application/json";
const TEXT: &str = "text/plain; charset=utf-8";

impl Answer {
    pub(super) fn json(status: u16, body: &Value) -> Self {
        Self::Some { status, kind: JSON, body: format!("{body}\n").into_bytes() }
    }

    pub(super) fn ok(body: &Value) -> Self {
        Self::json(200, body)
    }

    /// An action that is done.
    pub(super) fn done(status: u16, message: impl Into<String>) -> Self {
        Self::json(status, &json!({"status": "success", "message": message.into()}))
    }

    /// `errorResponse` of the daemon.
    pub(super) fn error(status: u16, message: impl Into<String>) -> Self {
        Self::json(status, &json!({"error": message.into(), "timestamp": seconds(SystemTime::now())}))
    }

    /// `http.Error`.
    pub(super) fn text(status: u16, message: &str) -> Self {
        Self::Some { status, kind: TEXT, body: format!("{message}\n").into_bytes() }
    }

    /// What is JSON but is not said to be.
    pub(super) fn json_as_text(status: u16, body: &Value) -> Self {
        Self::Some { status, kind: TEXT, body: format!("{body}\n").into_bytes() }
    }

    pub(super) fn html(body: &str) -> Self {
        Self::Some { status: 200, kind: "text/html", body: body.as_bytes().to_vec() }
    }

    /// A call that failed with what a tool wrote.
    pub(super) fn tool(what: &str, wrote: &str) -> Self {
        Self::error(500, format!("failed to {what}: {wrote}"))
    }
}

/// A time as `errorResponse` prints it.
pub(super) fn seconds(time: SystemTime) -> String {
    written(time, "%Y-%m-%dT%H:%M:%SZ")
}

/// A time as Go's JSON encoder prints it.
pub(super) fn nanos(time: SystemTime) -> String {
    written(time, "%Y-%m-%dT%H:%M:%S%.fZ")
}

/// A time as in the names of backups and snapshots: `20261120-175136`.
pub(super) fn stamp(time: SystemTime) -> String {
    written(time, "%Y%m%d-%H%M%S")
}

fn written(time: SystemTime, format: &str) -> String {
    Timestamp::try_from(time).unwrap_or_default().strftime(format).to_string()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        for at in [0, 951_782_400, 951_868_799, 1_795_196_967, 4_102_444_800] {
            let time = SystemTime::UNIX_EPOCH + Duration::new(at, 5);
            assert_eq!(crate::time::parse(&nanos(time)), Some(time));
        }
    }
}
