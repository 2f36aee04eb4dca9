//! Times as Go writes them: RFC 3339, in UTC or with an offset.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Reads `2026-11-20T17:53:54.030161184Z`; nothing for what is no time, for the zero time of Go (year 1) and for anything before 1970.
pub(crate) fn parse(text: &str) -> Option<SystemTime> {
    let (date, rest) = text.split_once(['T', 't', ' '])?;
    let mut parts = date.splitn(3, '-').map(str::parse::<u64>);
    let (year, month, day) = (parts.next()?.ok()?, parts.next()?.ok()?, parts.next()?.ok()?);
    let zone = rest.find(['Z', 'z', '+', '-'])?;
    let (clock, zone) = (rest.get(..zone)?, rest.get(zone..)?);
    let (clock, fraction) = clock.split_once('.').unwrap_or((clock, "0"));
    let mut parts = clock.splitn(3, ':').map(str::parse::<u64>);
    let (hour, minute, second) = (parts.next()?.ok()?, parts.next()?.ok()?, parts.next()?.ok()?);
    if !(1970..=9999).contains(&year) || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    if hour > 24 || minute > 59 || second > 60 {
        return None;
    }
    let nanos: String = fraction.chars().chain("000000000".chars()).take(9).collect();
    let nanos = nanos.parse().ok()?;
    let seconds = days(year, month, day)? * 86_400 + hour * 3_600 + minute * 60 + second;
    let local =
        UNIX_EPOCH.checked_add(Duration::from_secs(seconds))?.checked_add(Duration::from_nanos(nanos))?;
    if zone.eq_ignore_ascii_case("z") {
        return Some(local);
    }
    let (hours, minutes) = zone.get(1..)?.split_once(':')?;
    let offset = hours.parse::<u64>().ok()?.min(24) * 3_600 + minutes.parse::<u64>().ok()?.min(60) * 60;
    let offset = Duration::from_secs(offset);
    if zone.starts_with('-') { local.checked_add(offset) } else { local.checked_sub(offset) }
}

/// Days from 1970-01-01, by the Gregorian calendar.
fn days(year: u64, month: u64, day: u64) -> Option<u64> {
    // March is the first month, so that the leap day is the last of the year.
    let year = if month <= 2 { year - 1 } else { year };
    let shifted = (month + 9) % 12;
    let of_year = (153 * shifted + 2) / 5 + day - 1;
    (year * 365 + year / 4 - year / 100 + year / 400 + of_year).checked_sub(719_468)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_go_are_read() {
        let at = |text: &str| parse(text).map(|time| time.duration_since(UNIX_EPOCH).unwrap());
        assert_eq!(at("1970-01-01T00:00:00Z"), Some(Duration::ZERO));
        assert_eq!(at("2023-10-27T10:00:00Z"), Some(Duration::from_secs(1_698_400_800)));
        assert_eq!(at("2026-11-20T17:53:54.030161184Z"), Some(Duration::new(1_795_197_234, 30_161_184)));
        assert_eq!(at("2024-02-29T23:59:59+01:00"), Some(Duration::from_secs(1_709_247_599)));
        for no_time in
            ["", "0001-01-01T00:00:00Z", "yesterday", "2026-13-01T00:00:00Z", "2026-01-01", "ü-ü-üTü:ü:üZ"]
        {
            assert_eq!(at(no_time), None, "{no_time}");
        }
    }
}
