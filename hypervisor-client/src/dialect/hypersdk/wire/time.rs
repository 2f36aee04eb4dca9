//! Times and durations as Go writes them.

use std::time::Duration;

pub(crate) use crate::time::parse;

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
    use std::time::SystemTime;

    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_zero_time_of_go_is_none() {
        let read = parse("2026-11-20T18:49:27.5+01:00").unwrap();
        assert_eq!(read.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_millis(), 1_795_196_967_500);
        assert_eq!(parse("0001-01-01T00:00:00Z"), None);
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
