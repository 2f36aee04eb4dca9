//! MAC addresses.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// The hardware address of a NIC, checked when it is made.
///
/// ```
/// use hypervisor_core::model::MacAddr;
/// let mac: MacAddr = "52-54-00-AB-CD-EF".parse()?;
/// assert_eq!(mac.to_string(), "52:54:00:ab:cd:ef");
/// assert!("52:54:00".parse::<MacAddr>().is_err());
/// # Ok::<(), hypervisor_core::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(try_from = "String", into = "String")]
pub struct MacAddr([u8; 6]);

impl MacAddr {
    /// An address of these bytes. Refused: the zero address, and a multicast address, which no NIC may have.
    pub fn new(octets: [u8; 6]) -> Result<Self> {
        let [first, ..] = octets;
        if octets == [0; 6] {
            return Err(Error::invalid("mac", "the zero address belongs to no NIC"));
        }
        if first & 1 == 1 {
            return Err(Error::invalid("mac", "a multicast address (odd first byte) belongs to no NIC"));
        }
        Ok(Self(octets))
    }

    /// The address in QEMU's range (`52:54:00`) made from a number, for callers that hand out their own.
    #[must_use]
    pub const fn qemu(suffix: [u8; 3]) -> Self {
        let [a, b, c] = suffix;
        Self([0x52, 0x54, 0x00, a, b, c])
    }

    /// The six bytes.
    #[must_use]
    pub const fn octets(self) -> [u8; 6] {
        self.0
    }
}

impl fmt::Display for MacAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl FromStr for MacAddr {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let wrong = || {
            Error::invalid("mac", format!("`{text}` is not six pairs of hex digits like 52:54:00:12:34:56"))
        };
        let mut octets = [0_u8; 6];
        let mut parts = text.split([':', '-']);
        for octet in &mut octets {
            let part = parts.next().filter(|part| part.len() == 2).ok_or_else(wrong)?;
            // `from_str_radix` would also take a sign.
            if !part.bytes().all(|digit| digit.is_ascii_hexdigit()) {
                return Err(wrong());
            }
            *octet = u8::from_str_radix(part, 16).map_err(|_| wrong())?;
        }
        if parts.next().is_some() {
            return Err(wrong());
        }
        Self::new(octets)
    }
}

impl TryFrom<String> for MacAddr {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<MacAddr> for String {
    fn from(mac: MacAddr) -> Self {
        mac.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_no_mac_is_refused_by_name() {
        for wrong in [
            "",
            "52:54:00:12:34",
            "52:54:00:12:34:56:78",
            "52:54:00:12:34:5g",
            "52:54:00:12:34:+5",
            "01:00:5e:00:00:01",
            "00:00:00:00:00:00",
        ] {
            let error = wrong.parse::<MacAddr>().unwrap_err();
            assert!(error.fields().contains_key("mac"), "{wrong}: {error}");
        }
    }

    proptest! {
        #[test]
        fn display_parses_back(suffix in any::<[u8; 3]>()) {
            let mac = MacAddr::qemu(suffix);
            prop_assert_eq!(mac.to_string().parse::<MacAddr>().unwrap(), mac);
        }

        #[test]
        fn no_text_panics(text in ".{0,24}") {
            let _ = text.parse::<MacAddr>();
        }
    }
}
