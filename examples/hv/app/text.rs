//! Values as people read them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

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
    let Ok(since) = time.duration_since(UNIX_EPOCH) else { return NOTHING.to_owned() };
    let (days, seconds) = (since.as_secs() / 86_400, since.as_secs() % 86_400);
    let (year, month, day) = date(days);
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}")
}

/// Year, month and day of a day since 1970: eras of 400 years that begin in March, so that leap days come last.
fn date(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let (era, day) = (shifted / 146_097, shifted % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let of_year = day - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let (month, next) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    (era * 400 + year + next, month, day)
}

/// Part of a whole, in per cent.
pub(crate) fn percent(part: f64) -> String {
    format!("{:.1}%", part * 100.0)
}

/// A bar of ten places.
pub(crate) fn gauge(part: f64) -> String {
    (1..=10_u8).map(|place| if part * 10.0 + 0.5 >= f64::from(place) { '█' } else { '·' }).collect()
}
