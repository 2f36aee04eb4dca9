//! How the daemon answers: JSON by its encoder, or text by Go's `http.Error`.

use std::time::SystemTime;

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
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
    let (days, rest) = (since / 86_400, since % 86_400);
    let (year, month, day) = civil(days);
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z", rest / 3600, rest / 60 % 60, rest % 60)
}

/// The date of a day since 1970; the year is taken to begin in March, so that the leap day is its last.
fn civil(day: u64) -> (u64, u64, u64) {
    let shifted = day + 719_468;
    let (era, of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * of_year + 2) / 153;
    let date = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (year_of_era + era * 400 + u64::from(month <= 2), month, date)
}

/// A time as Go's JSON encoder prints it.
pub(super) fn nanos(time: SystemTime) -> String {
    let fraction = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().subsec_nanos();
    format!("{}.{fraction:09}Z", seconds(time).trim_end_matches('Z'))
}

/// A time as in the names of backups and snapshots: `20261120-175136`.
pub(super) fn stamp(time: SystemTime) -> String {
    seconds(time).trim_end_matches('Z').replace(['-', ':'], "").replace('T', "-")
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
