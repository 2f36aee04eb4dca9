//! Ids that say where an object is: this server knows a guest by its host and its name, and by nothing else.

use std::fmt;

use hypervisor_core::model::{NetworkId, PoolId, VmId, VolumeId};
use hypervisor_core::{Error, Result};

/// `host/name`, each percent-encoded so that there is one slash and the id can go into a path as it is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Place {
    pub(crate) host: String,
    pub(crate) name: String,
}

impl Place {
    pub(crate) fn new(host: impl Into<String>, name: impl Into<String>) -> Self {
        Self { host: host.into(), name: name.into() }
    }

    /// Reads an id; nothing where it is none of ours, which means that there is no such object.
    pub(crate) fn parse(id: &str) -> Option<Self> {
        let (host, name) = id.split_once('/')?;
        let place = Self { host: decode(host)?, name: decode(name)? };
        // Only the form that we give: two ids of one guest would be two guests to a caller.
        (place.to_string() == id).then_some(place)
    }

    pub(crate) fn vm(id: &VmId) -> Result<Self> {
        Self::parse(id.as_str()).ok_or_else(|| foreign(id.not_found(), "host/name"))
    }

    pub(crate) fn pool(id: &PoolId) -> Result<Self> {
        Self::parse(id.as_str()).ok_or_else(|| foreign(id.not_found(), "host/name"))
    }

    pub(crate) fn network(id: &NetworkId) -> Result<Self> {
        Self::parse(id.as_str()).ok_or_else(|| foreign(id.not_found(), "host/name"))
    }
}

fn foreign(error: Error, form: &str) -> Error {
    error.with_hint(format!("Its ids have the form `{form}`, each part percent-encoded"))
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        encode(f, &self.host)?;
        f.write_str("/")?;
        encode(f, &self.name)
    }
}

impl From<&Place> for VmId {
    fn from(place: &Place) -> Self {
        VmId::from(place.to_string())
    }
}

/// `host/pool/volume`, each percent-encoded.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct VolumePlace {
    pub(crate) pool: Place,
    pub(crate) name: String,
}

impl VolumePlace {
    pub(crate) fn of(id: &VolumeId) -> Result<Self> {
        let parse = || {
            let (pool, name) = id.as_str().rsplit_once('/')?;
            let place = Self { pool: Place::parse(pool)?, name: decode(name)? };
            (place.to_string() == id.as_str()).then_some(place)
        };
        parse().ok_or_else(|| foreign(id.not_found(), "host/pool/volume"))
    }
}

impl fmt::Display for VolumePlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/", self.pool)?;
        encode(f, &self.name)
    }
}

fn plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte)
}

fn encode(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    for byte in text.bytes() {
        if plain(byte) {
            write!(f, "{}", char::from(byte))?;
        } else {
            write!(f, "%{byte:02X}")?;
        }
    }
    Ok(())
}

fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
            let (high, low) = (digit(rest.next()?)?, digit(rest.next()?)?);
            bytes.push(high * 16 + low);
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok().filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_id_says_host_and_name() {
        assert_eq!(Place::new("kvmsrv", "web-01").to_string(), "kvmsrv/web-01");
        assert_eq!(Place::new("a/b", "ü 1%").to_string(), "a%2Fb/%C3%BC%201%25");
        assert_eq!(Place::parse("kvmsrv/web-01"), Some(Place::new("kvmsrv", "web-01")));
        for foreign in
            ["", "web-01", "/web-01", "kvmsrv/", "a/b/c", "a/%zz", "a/%ff", "a/%2f", "a/%61", "a/b%", "a/ü"]
        {
            assert_eq!(Place::parse(foreign), None, "{foreign}");
        }
        let error = Place::vm(&"web-01".into()).unwrap_err();
        assert!(error.is_not_found() && error.target() == Some("vm `web-01`"), "{error}");
        let volume = VolumePlace::of(&"kvmsrv/default/web-01.qcow2".into()).unwrap();
        assert_eq!((volume.pool.name.as_str(), volume.name.as_str()), ("default", "web-01.qcow2"));
        assert!(VolumePlace::of(&"default/web".into()).is_err());
    }

    proptest! {
        #[test]
        fn every_host_and_name_can_be_read_back(host in "\\PC{1,12}", name in "\\PC{1,12}") {
            let place = Place::new(host, name);
            prop_assert_eq!(Place::parse(&place.to_string()), Some(place));
        }

        #[test]
        fn no_text_makes_it_panic(id in any::<String>()) {
            if let Some(place) = Place::parse(&id) {
                prop_assert_eq!(place.to_string(), id);
            }
        }
    }
}
