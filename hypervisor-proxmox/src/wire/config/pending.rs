//! Changes that wait for the next power cycle.

use std::collections::BTreeSet;

use hypervisor_core::Result;
use hypervisor_core::model::{GuestKind, PendingChange};
use serde_json::{Map, Value};

use super::{Config, boot, decode, disk};
use crate::wire::envelope;
use crate::wire::scalar::row;

row! {
    /// A row of `/pending`.
    PendingRow {
        /// The key.
        key: String = "key",
        /// What is in force.
        value: String = "value",
        /// What will be.
        pending: String = "pending",
        /// Whether the key will be deleted: 1, or 2 where that is forced.
        delete: u64 = "delete",
    }
}

/// The changes of the answer of `/pending`. Fields of the spec have their names (`cpus`, `memory`, `boot_order`, `agent`); other keys
/// are named as Proxmox does.
///
/// # Errors
/// `Protocol` where the answer is no such list.
pub fn decode_pending(body: &[u8], kind: GuestKind) -> Result<Vec<PendingChange>> {
    let rows: Vec<PendingRow> = envelope::data(body)?;
    let (mut present, mut next) = (Map::new(), Map::new());
    let mut keys = BTreeSet::new();
    for row in rows {
        let waits = row.waits();
        let Some(key) = row.key else { continue };
        if let Some(value) = &row.value {
            present.insert(key.clone(), Value::from(value.as_str()));
        }
        let to_be = if waits { row.pending } else { row.value };
        if let Some(value) = to_be {
            next.insert(key.clone(), Value::from(value));
        }
        if waits {
            keys.insert(key);
        }
    }
    let (present, next) = (Config::of(present, kind), Config::of(next, kind));
    let mut changes: Vec<PendingChange> = FIELDS
        .iter()
        .filter(|(_, of, _)| of.iter().any(|key| keys.contains(*key)))
        .map(|(field, _, text)| PendingChange::new(*field, Some(text(&present)), Some(text(&next))))
        .filter(|change| change.current != change.pending)
        .collect();
    let named = |key: &str| FIELDS.iter().any(|(_, of, _)| of.contains(&key));
    let owned = |text: Option<&str>| text.map(str::to_owned);
    changes.extend(keys.iter().filter(|key| !named(key)).map(|key| {
        let secret = key == "cipassword";
        let shown = |text: Option<&str>| if secret { text.map(|_| "***".to_owned()) } else { owned(text) };
        PendingChange::new(key.as_str(), shown(present.get(key)), shown(next.get(key)))
    }));
    Ok(changes)
}

/// Whether a change of this key waits, by the answer of `/pending`.
///
/// # Errors
/// `Protocol` where the answer is no such list.
pub fn waits(body: &[u8], key: &str) -> Result<bool> {
    let rows: Vec<PendingRow> = envelope::data(body)?;
    let of_key = |row: &&PendingRow| row.key.as_deref() == Some(key);
    Ok(rows.iter().filter(of_key).any(PendingRow::waits))
}

/// The keys under which a guest has a volume, now or after its next start, by the answer of `/pending`.
///
/// # Errors
/// `Protocol` where the answer is no such list.
pub fn places_of(body: &[u8], volume: &str) -> Result<Vec<String>> {
    let rows: Vec<PendingRow> = envelope::data(body)?;
    let is_it = |text: &Option<String>| text.as_deref().and_then(disk::volume).as_deref() == Some(volume);
    let holding = rows.into_iter().filter(|row| is_it(&row.value) || is_it(&row.pending));
    Ok(holding.filter_map(|row| row.key).collect())
}

impl PendingRow {
    fn waits(&self) -> bool {
        self.pending.is_some() || self.delete.is_some_and(|how| how > 0)
    }
}

/// How a change of a key is named: as the field of the spec that it is a part of, else as itself.
pub(super) fn name_of(key: &str) -> &str {
    FIELDS.iter().find(|(_, of, _)| of.contains(&key)).map_or(key, |(field, ..)| field)
}

type Field = (&'static str, &'static [&'static str], fn(&Config) -> String);

/// Fields of the spec, the keys that they are made of, and their text.
const FIELDS: &[Field] = &[
    ("cpus", &["cores", "sockets", "vcpus"], |config| decode::cpus(config).to_string()),
    ("memory", &["memory"], |config| decode::memory(config).to_string()),
    ("boot_order", &["boot"], |config| {
        let order = boot::order(config);
        order.iter().map(|device| device.as_str()).collect::<Vec<_>>().join(",")
    }),
    ("agent", &["agent"], |config| boot::agent(config).to_string()),
    ("autostart", &["onboot"], |config| config.flag("onboot").unwrap_or(false).to_string()),
];
