//! Times of Go's `encoding/json`: RFC 3339 with nanoseconds and the server's offset.

use std::time::{Duration, SystemTime};

/// Reads a time. `None` for what is no time and for all before 1970, Go's zero time among it.
pub(crate) fn parse(text: &str) -> Option<SystemTime> {
    let (date, clock) = text.trim().split_once(['T', 't', ' '])?;
    let [year, month, day] = numbers(date, '-')?;
    let zone = clock.rfind(['Z', 'z', '+', '-'])?;
    let (clock, zone) = clock.split_at_checked(zone)?;
    let (clock, fraction) = clock.split_once('.').unwrap_or((clock, ""));
    let [hour, minute, second] = numbers(clock, ':')?;
    let sane =
        (1..=12).contains(&month) && (1..=31).contains(&day) && hour < 24 && minute < 60 && second < 61;
    if !sane || !(1970..=9999).contains(&year) {
        return None;
    }
    let seconds = days(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second - offset(zone)?;
    let digits: String = fraction.chars().chain(std::iter::repeat('0')).take(9).collect();
    let since = Duration::new(u64::try_from(seconds).ok()?, digits.parse().ok()?);
    SystemTime::UNIX_EPOCH.checked_add(since)
}

fn numbers(text: &str, separator: char) -> Option<[i64; 3]> {
    let mut parts = text.split(separator).map(|part| part.parse().ok().filter(|number: &i64| *number >= 0));
    let found = [parts.next()??, parts.next()??, parts.next()??];
    parts.next().is_none().then_some(found)
}

/// Seconds east of Greenwich.
fn offset(zone: &str) -> Option<i64> {
    if zone.eq_ignore_ascii_case("z") {
        return Some(0);
    }
    let sign = if zone.starts_with('-') { -1 } else { 1 };
    let (hours, minutes) = zone.get(1..)?.split_once(':')?;
    let (hours, minutes): (i64, i64) = (hours.parse().ok()?, minutes.parse().ok()?);
    ((0..24).contains(&hours) && (0..60).contains(&minutes)).then_some(sign * (hours * 3600 + minutes * 60))
}

/// Days from 1970-01-01 to a date of the Gregorian calendar.
fn days(year: i64, month: i64, day: i64) -> i64 {
    // The year begins in March, so that the leap day is its last.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let of_year = (153 * month + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

/// Reads a duration as Go prints it: `3m29.119140218s`, `639.000264ms`, `1.232µs`, `15s`.
pub(crate) fn duration(text: &str) -> Option<Duration> {
    let mut rest = text.trim();
    let mut nanos = 0.0_f64;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let number = rest.find(|c: char| !(c.is_ascii_digit() || c == '.'))?;
        let (digits, tail) = rest.split_at_checked(number)?;
        let unit = tail.find(|c: char| c.is_ascii_digit()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at_checked(unit)?;
        let factor = match unit {
            "h" => 3600e9,
            "m" => 60e9,
            "s" => 1e9,
            "ms" => 1e6,
            "µs" | "μs" | "us" => 1e3,
            "ns" => 1.0,
            _ => return None,
        };
        nanos += digits.parse::<f64>().ok()? * factor;
        rest = tail;
    }
    Duration::try_from_secs_f64(nanos / 1e9).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn seconds(text: &str) -> Option<f64> {
        parse(text).map(|time| time.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs_f64())
    }

    #[test]
    fn times_are_read_with_fraction_and_offset() {
        assert_eq!(seconds("1970-01-01T00:00:01Z"), Some(1.0));
        assert_eq!(seconds("2026-11-20T17:49:27Z"), Some(1_795_196_967.0));
        assert_eq!(seconds("2026-11-20T18:49:27.5+01:00"), Some(1_795_196_967.5));
        assert_eq!(seconds("2000-02-29T12:00:00-00:30"), Some(951_827_400.0));
        for none in
            ["0001-01-01T00:00:00Z", "", "soon", "2026-13-01T00:00:00Z", "2026-11-20", "2026-11-20T17:49:27"]
        {
            assert_eq!(parse(none), None, "{none}");
        }
    }

    #[test]
    fn durations_are_read_in_all_units_of_go() {
        assert_eq!(duration("15s"), Some(Duration::from_secs(15)));
        assert_eq!(duration("1h2m3s"), Some(Duration::from_secs(3723)));
        assert_eq!(duration("639.000264ms").unwrap().as_micros(), 639_000);
        assert_eq!(duration("1.232µs").unwrap().as_nanos(), 1232);
        for none in ["", "15", "s", "15 parsecs", "-1s"] {
            assert_eq!(duration(none), None, "{none}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "\\PC{0,40}", near in "[0-9TZ:.+µms-]{0,30}") {
            let _: (_, _) = (parse(&text), duration(&text));
            let _: (_, _) = (parse(&near), duration(&near));
        }
    }
}
