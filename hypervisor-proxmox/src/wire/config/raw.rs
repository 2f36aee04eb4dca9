//! A configuration as the server has it: keys and their text.

use std::collections::BTreeMap;

use hypervisor_core::Result;
use hypervisor_core::model::{GuestKind, Revision};
use serde_json::{Map, Value};

use crate::wire::property::{self, Properties};
use crate::wire::{envelope, scalar};

/// The keys of a guest's configuration. `Debug` shows names only: values may be passwords.
#[derive(Clone, PartialEq)]
#[non_exhaustive]
pub struct Config {
    /// What the guest is.
    pub kind: GuestKind,
    /// The version of the configuration, which is sent back with every change.
    pub digest: Option<String>,
    values: BTreeMap<String, String>,
    raw: Map<String, Value>,
}

impl Config {
    /// Reads the answer of `/config`.
    ///
    /// # Errors
    /// `Protocol` where the answer is no object.
    pub fn read(body: &[u8], kind: GuestKind) -> Result<Self> {
        Ok(Self::of(envelope::data(body)?, kind))
    }

    /// A configuration of these keys.
    #[must_use]
    pub fn of(raw: Map<String, Value>, kind: GuestKind) -> Self {
        let texts = raw.iter().filter_map(|(key, value)| Some((key.clone(), scalar::text_of(value)?)));
        let mut values: BTreeMap<String, String> = texts.collect();
        let digest = values.remove("digest");
        Self { kind, digest, values, raw }
    }

    /// The text of a key.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&str> {
        self.values.get(key).map(String::as_str)
    }

    /// A key as a property string.
    #[must_use]
    pub fn properties(&self, key: &str) -> Option<Properties> {
        self.get(key).map(property::parse)
    }

    /// Whether a switch is on; `None` where it is not mentioned.
    #[must_use]
    pub fn flag(&self, key: &str) -> Option<bool> {
        scalar::Scalar::from_text(self.get(key)?)
    }

    /// A whole number.
    #[must_use]
    pub fn number(&self, key: &str) -> Option<u64> {
        scalar::Scalar::from_text(self.get(key)?)
    }

    /// The keys of a family with their numbers, in order: `net0`, `net1`, …
    pub fn family<'a>(&'a self, family: &str) -> impl Iterator<Item = (u16, &'a str)> + use<'a> {
        let mut found: Vec<(u16, &'a str)> = self
            .values
            .iter()
            .filter_map(|(key, value)| Some((member(key, family)?, value.as_str())))
            .collect();
        found.sort_unstable();
        found.into_iter()
    }

    /// All keys with their text, but for the digest.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.values.iter().map(|(key, value)| (key.as_str(), value.as_str()))
    }

    /// The revision that the digest is.
    #[must_use]
    pub fn revision(&self) -> Option<Revision> {
        self.digest.as_deref().map(Revision::new)
    }

    /// The whole as JSON.
    #[must_use]
    pub fn native(&self) -> String {
        Value::Object(self.raw.clone()).to_string()
    }
}

impl std::fmt::Debug for Config {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Config")
            .field("kind", &self.kind)
            .field("digest", &self.digest)
            .field("keys", &self.values.keys().collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}

/// The number of a key in a family. `net01` is no name that the server has.
pub(super) fn member(key: &str, family: &str) -> Option<u16> {
    let digits = key.strip_prefix(family)?;
    let number: u16 = digits.parse().ok()?;
    (number.to_string() == digits).then_some(number)
}
