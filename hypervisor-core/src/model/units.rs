//! The one unit of size that crosses the API.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::de::{self, Unexpected, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use crate::error::Error;

/// A number of bytes. Backends speak KiB, MiB, GiB and bytes; only this crosses the API.
///
/// ```
/// use hypervisor_core::model::ByteSize;
/// assert_eq!(ByteSize::gib(4).as_bytes(), 4_294_967_296);
/// assert_eq!("512 MiB".parse::<ByteSize>()?, ByteSize::mib(512));
/// assert_eq!(ByteSize::mib(1536).to_string(), "1.5 GiB");
/// # Ok::<(), hypervisor_core::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(transparent)]
pub struct ByteSize(u64);

impl<'de> Deserialize<'de> for ByteSize {
    /// A number of bytes, which is what is written, or text as [`FromStr`] reads it: configurations are written by people.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Size;

        impl Visitor<'_> for Size {
            type Value = ByteSize;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number of bytes, or a size like \"4GiB\"")
            }

            fn visit_u64<E>(self, bytes: u64) -> Result<ByteSize, E> {
                Ok(ByteSize(bytes))
            }

            fn visit_i64<E: de::Error>(self, bytes: i64) -> Result<ByteSize, E> {
                let counted = u64::try_from(bytes).map(ByteSize);
                counted.map_err(|_| E::invalid_value(Unexpected::Signed(bytes), &self))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<ByteSize, E> {
                text.parse()
                    .map_err(|error: Error| E::custom(error.fields().get("size").map_or("", String::as_str)))
            }
        }

        if deserializer.is_human_readable() {
            deserializer.deserialize_any(Size)
        } else {
            deserializer.deserialize_u64(Size)
        }
    }
}

const UNITS: [(&str, u64); 5] =
    [("PiB", 1 << 50), ("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];

impl ByteSize {
    /// No bytes.
    pub const ZERO: Self = Self(0);

    /// `n` bytes.
    #[must_use]
    pub const fn bytes(n: u64) -> Self {
        Self(n)
    }

    /// `n` KiB (1024 bytes); saturates.
    #[must_use]
    pub const fn kib(n: u64) -> Self {
        Self(n.saturating_mul(1 << 10))
    }

    /// `n` MiB; saturates.
    #[must_use]
    pub const fn mib(n: u64) -> Self {
        Self(n.saturating_mul(1 << 20))
    }

    /// `n` GiB; saturates.
    #[must_use]
    pub const fn gib(n: u64) -> Self {
        Self(n.saturating_mul(1 << 30))
    }

    /// `n` TiB; saturates.
    #[must_use]
    pub const fn tib(n: u64) -> Self {
        Self(n.saturating_mul(1 << 40))
    }

    /// The number of bytes.
    #[must_use]
    pub const fn as_bytes(self) -> u64 {
        self.0
    }

    /// How many whole or started units of `unit` bytes it takes to hold this: what a wire that counts in MiB is sent.
    #[must_use]
    pub const fn div_ceil(self, unit: ByteSize) -> u64 {
        if unit.0 == 0 { 0 } else { self.0.div_ceil(unit.0) }
    }

    /// Whether it is a whole number of `unit`s.
    #[must_use]
    pub const fn is_multiple_of(self, unit: ByteSize) -> bool {
        unit.0 != 0 && self.0.is_multiple_of(unit.0)
    }

    /// The sum, at most `u64::MAX` bytes.
    #[must_use]
    pub const fn saturating_add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }

    /// The difference, at least zero.
    #[must_use]
    pub const fn saturating_sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some((name, unit)) = UNITS.into_iter().find(|(_, unit)| self.0 >= *unit) else {
            return write!(f, "{} B", self.0);
        };
        let tenths = u128::from(self.0) * 10 / u128::from(unit);
        if tenths % 10 == 0 {
            write!(f, "{} {name}", tenths / 10)
        } else {
            write!(f, "{}.{} {name}", tenths / 10, tenths % 10)
        }
    }
}

impl FromStr for ByteSize {
    type Err = Error;

    /// Reads `"4GiB"`, `"512 M"`, `"1.5 GiB"`, `"1048576"`, `"10GB"` (decimal only with the `B` and without the `i`). A
    /// fraction is rounded up to whole bytes.
    fn from_str(text: &str) -> Result<Self, Error> {
        let wrong = |why: &str| Error::invalid("size", format!("`{text}` {why}"));
        let trimmed = text.trim();
        let split = trimmed.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(trimmed.len());
        let (digits, unit) = trimmed.split_at(split);
        let (whole, fraction) =
            digits.split_once('.').map_or((digits, None), |(whole, part)| (whole, Some(part)));
        let number: u64 = whole.parse().map_err(|_| wrong("does not start with a number"))?;
        let factor: u64 = match unit.trim().to_ascii_lowercase().as_str() {
            "" | "b" => 1,
            "k" | "kib" => 1 << 10,
            "m" | "mib" => 1 << 20,
            "g" | "gib" => 1 << 30,
            "t" | "tib" => 1 << 40,
            "p" | "pib" => 1 << 50,
            "kb" => 1_000,
            "mb" => 1_000_000,
            "gb" => 1_000_000_000,
            "tb" => 1_000_000_000_000,
            _ => return Err(wrong("has a unit that is none of B, KiB, MiB, GiB, TiB, PiB, KB, MB, GB, TB")),
        };
        let part = match fraction {
            None => 0,
            Some(digits) if (1..=9).contains(&digits.len()) && factor > 1 => {
                let number: u128 = digits.parse().map_err(|_| wrong("has a fraction that is no number"))?;
                let scale = 10_u128.pow(u32::try_from(digits.len()).unwrap_or(9));
                u64::try_from((number * u128::from(factor)).div_ceil(scale)).unwrap_or(0)
            }
            Some(_) => {
                return Err(wrong(
                    "has a fraction that cannot be counted: at most nine digits, of a unit above bytes",
                ));
            }
        };
        let bytes = number.checked_mul(factor).and_then(|bytes| bytes.checked_add(part));
        bytes.map(Self).ok_or_else(|| wrong("is more than 64 bits can count"))
    }
}

/// A time as people write it in a URL: `500ms`, `30s` or `30`, `5m`, `2h`.
///
/// ```
/// use std::time::Duration;
/// use hypervisor_core::model::parse_duration;
/// assert_eq!(parse_duration("5m"), Some(Duration::from_secs(300)));
/// assert_eq!(parse_duration("soon"), None);
/// ```
#[must_use]
pub fn parse_duration(text: &str) -> Option<Duration> {
    let split = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, unit) = text.split_at(split);
    let number: u64 = digits.parse().ok()?;
    match unit {
        "ms" => Some(Duration::from_millis(number)),
        "" | "s" => Some(Duration::from_secs(number)),
        "m" => number.checked_mul(60).map(Duration::from_secs),
        "h" => number.checked_mul(3600).map(Duration::from_secs),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_no_size_is_refused_by_name() {
        for wrong in [
            "",
            "GiB",
            "-1",
            "4 parsecs",
            "1.",
            "1.5",
            "1.5 B",
            ".5 GiB",
            "1.0000000001 GiB",
            "1.2.3 GiB",
            "99999999999999999999",
            "20000 PiB",
        ] {
            let error = wrong.parse::<ByteSize>().unwrap_err();
            assert!(error.fields().contains_key("size"), "{wrong}: {error}");
        }
        assert_eq!("1.5 GiB".parse::<ByteSize>().unwrap(), ByteSize::mib(1536));
        assert_eq!("0.0005k".parse::<ByteSize>().unwrap(), ByteSize::bytes(1));
        assert_eq!("10 GB".parse::<ByteSize>().unwrap().as_bytes(), 10_000_000_000);
    }

    #[test]
    fn a_configuration_may_say_a_size_in_words() {
        let read = |json: &str| serde_json::from_str::<ByteSize>(json);
        assert_eq!(read("\"4GiB\"").unwrap(), ByteSize::gib(4));
        assert_eq!(read("4096").unwrap(), ByteSize::kib(4));
        assert_eq!(serde_json::to_string(&ByteSize::gib(4)).unwrap(), "4294967296");
        for (wrong, why) in [("\"4 parsecs\"", "unit"), ("-1", "4GiB"), ("1.5", "4GiB"), ("null", "4GiB")] {
            let said = read(wrong).unwrap_err().to_string();
            assert!(said.contains(why), "{wrong}: {said}");
        }
        let value: serde_json::Value = serde_json::json!("512 MiB");
        assert_eq!(serde_json::from_value::<ByteSize>(value).unwrap(), ByteSize::mib(512));
    }

    proptest! {
        #[test]
        fn what_is_displayed_can_be_read(bytes in any::<u64>()) {
            let shown = ByteSize::bytes(bytes).to_string();
            prop_assert_eq!(shown.parse::<ByteSize>().unwrap().to_string(), shown);
        }

        #[test]
        fn whole_units_survive_display(n in 1u64..1023, shift in 0usize..5) {
            let unit = UNITS[shift].1;
            if let Some(bytes) = n.checked_mul(unit) {
                let size = ByteSize::bytes(bytes);
                prop_assert_eq!(size.to_string().parse::<ByteSize>().unwrap(), size);
            }
        }
    }
}
