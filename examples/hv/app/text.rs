//! Values as people read them.

use std::time::{Duration, SystemTime};

use jiff::Timestamp;

/// What nothing is shown as.
pub(crate) const NOTHING: &str = "-";

pub(crate) fn or_dash(value: Option<impl ToString>) -> String {
    value.map_or_else(|| NOTHING.to_owned(), |value| value.to_string())
}

/// A name from a server must not steer the terminal.
pub(crate) fn plain(text: &str) -> String {
    let safe = |each: char| if each.is_control() { '\u{fffd}' } else { each };
    text.chars().map(safe).collect()
}

/// The two largest units: `3d 4h`, `12m 5s`.
pub(crate) fn span(time: Duration) -> String {
    let seconds = time.as_secs();
    let units = [("d", 86_400), ("h", 3600), ("m", 60), ("s", 1)];
    let first = units.iter().position(|(_, length)| seconds >= *length).unwrap_or(units.len() - 1);
    let mut left = seconds;
    let mut parts = Vec::new();
    for (name, length) in units.iter().skip(first).take(2) {
        if left / length > 0 || parts.is_empty() {
            parts.push(format!("{}{name}", left / length));
        }
        left %= length;
    }
    parts.join(" ")
}

/// `2026-11-28 15:02:11`, in UTC.
pub(crate) fn utc(time: SystemTime) -> String {
    match Timestamp::try_from(time) {
        Ok(time) => time.strftime("%Y-%m-%d %H:%M:%S").to_string(),
        Err(_) => NOTHING.to_owned(),
    }
}

/// Part of a whole, in per cent.
pub(crate) fn percent(part: f64) -> String {
    format!("{:.1}%", part * 100.0)
}

/// A bar of ten places.
pub(crate) fn gauge(part: f64) -> String {
    (1..=10_u8).map(|place| if part * 10.0 + 0.5 >= f64::from(place) { '█' } else { '·' }).collect()
}
