//! Times as gateways write them: RFC 3339, `2025-07-29T12:00:00Z`.

use std::time::{SystemTime, UNIX_EPOCH};

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::Offset;

/// Reads a time. One without an offset is taken for UTC, as both documents say that theirs are. Before 1970 there is none: that is how servers
/// in Go write that they do not know, and JSON of ours could not carry it on.
pub(crate) fn parse(text: &str) -> Option<SystemTime> {
    // As `virsh` prints times, with a space before the offset.
    let text = text.trim().replacen(" +", "+", 1).replacen(" -", "-", 1);
    if !text.contains(':') {
        return None;
    }
    let utc = |time: DateTime| Offset::UTC.to_timestamp(time);
    let time = text.parse::<Timestamp>().or_else(|_| text.parse().and_then(utc)).ok()?;
    SystemTime::try_from(time).ok().filter(|time| *time >= UNIX_EPOCH)
}

/// Writes a time in UTC, to the second.
#[cfg(test)]
pub(crate) fn format(time: SystemTime) -> String {
    let time = Timestamp::try_from(time).unwrap();
    Timestamp::from_second(time.as_second()).unwrap().to_string()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn seconds(text: &str) -> Option<u64> {
        Some(parse(text)?.duration_since(UNIX_EPOCH).ok()?.as_secs())
    }

    #[test]
    fn the_documents_times_are_read() {
        assert_eq!(seconds("2025-07-29T12:00:00Z"), Some(1_753_790_400));
        assert_eq!(seconds("2025-07-29T14:00:00.5+02:00"), Some(1_753_790_400));
        assert_eq!(seconds("2025-07-29T12:00:00"), Some(1_753_790_400));
        assert_eq!(seconds("2025-07-29T12:00:00.123456"), Some(1_753_790_400));
        assert_eq!(seconds("2025-07-29 14:00:00 +0200"), Some(1_753_790_400));
        assert_eq!(seconds("2000-02-29T00:00:00Z"), Some(951_782_400));
        for wrong in [
            "",
            "yesterday",
            "2025-07-29",
            "2025-13-01T00:00:00Z",
            "2025-07-29T25:00:00Z",
            "2025-02-30T00:00:00Z",
            "é-1-1T1:1",
            "0001-01-01T00:00:00Z",
        ] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }

    proptest::proptest! {
        #[test]
        fn what_is_written_is_read_back(at in 0_u64..200_000_000_000) {
            let time = UNIX_EPOCH + Duration::from_secs(at);
            proptest::prop_assert_eq!(parse(&format(time)), Some(time));
        }

        #[test]
        fn no_text_panics(text in "\\PC{0,40}") {
            let _ = parse(&text);
        }
    }
}
