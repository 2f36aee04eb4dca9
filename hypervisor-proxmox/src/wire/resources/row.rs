//! A row of the list, borrowed from the answer: what is not kept is not copied.

use std::borrow::Cow;
use std::fmt;

use hypervisor_core::model::VmState;
use serde::de::{Deserialize, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::{Map, Value};

use crate::wire::scalar::{Key, Soft, SoftText};
use crate::wire::status;

/// What the rows of all kinds have. Load that only metrics show is skipped; what this version does not know is in `rest`.
#[derive(Debug, Default)]
pub(super) struct Row<'a> {
    pub(super) kind: Option<Cow<'a, str>>,
    pub(super) vmid: Option<u64>,
    pub(super) node: Option<Cow<'a, str>>,
    pub(super) name: Option<Cow<'a, str>>,
    pub(super) status: Option<Cow<'a, str>>,
    pub(super) lock: Option<Cow<'a, str>>,
    pub(super) tags: Option<Cow<'a, str>>,
    pub(super) pool: Option<Cow<'a, str>>,
    pub(super) storage: Option<Cow<'a, str>>,
    pub(super) cpus: Option<f64>,
    pub(super) cpu: Option<f64>,
    pub(super) maxmem: Option<u64>,
    pub(super) mem: Option<u64>,
    pub(super) disk: Option<u64>,
    pub(super) maxdisk: Option<u64>,
    pub(super) uptime: Option<u64>,
    pub(super) template: Option<bool>,
    pub(super) shared: Option<bool>,
    pub(super) rest: Map<String, Value>,
}

impl Row<'_> {
    /// What a guest is doing.
    pub(super) fn state(&self) -> VmState {
        let qmpstatus = self.rest.get("qmpstatus").and_then(Value::as_str);
        status::state_of(self.status.as_deref().unwrap_or_default(), qmpstatus, self.lock.as_deref())
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Row<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut row = Row::default();
        Fields(&mut row).deserialize(deserializer)?;
        Ok(row)
    }
}

/// Reads a row where it is: it is too large to be passed on from one to the next.
pub(super) struct Fields<'r, 'a>(pub(super) &'r mut Row<'a>);

impl<'de: 'a, 'a> DeserializeSeed<'de> for Fields<'_, 'a> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de: 'a, 'a> Visitor<'de> for Fields<'_, 'a> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let row = self.0;
        while let Some(Key(key)) = map.next_key::<Key<'de>>()? {
            match &*key {
                "type" => row.kind = text(&mut map)?,
                "vmid" => row.vmid = scalar(&mut map)?,
                "node" => row.node = text(&mut map)?,
                "name" => row.name = text(&mut map)?,
                "status" => row.status = text(&mut map)?,
                "lock" => row.lock = text(&mut map)?,
                "tags" => row.tags = text(&mut map)?,
                "pool" => row.pool = text(&mut map)?,
                "storage" => row.storage = text(&mut map)?,
                // Of two names for one thing the first that says something counts.
                "maxcpu" | "cpus" => row.cpus = row.cpus.or(scalar(&mut map)?),
                "cpu" => row.cpu = scalar(&mut map)?,
                "maxmem" => row.maxmem = scalar(&mut map)?,
                "mem" => row.mem = scalar(&mut map)?,
                "disk" => row.disk = scalar(&mut map)?,
                "maxdisk" => row.maxdisk = scalar(&mut map)?,
                "uptime" => row.uptime = scalar(&mut map)?,
                "template" => row.template = scalar(&mut map)?,
                "shared" => row.shared = scalar(&mut map)?,
                "id" | "netin" | "netout" | "diskread" | "diskwrite" | "memhost" => {
                    map.next_value::<IgnoredAny>()?;
                }
                _ => {
                    let value = map.next_value()?;
                    row.rest.insert(key.into_owned(), value);
                }
            }
        }
        Ok(())
    }
}

fn text<'de, A: MapAccess<'de>>(map: &mut A) -> Result<Option<Cow<'de, str>>, A::Error> {
    Ok(map.next_value::<SoftText<'de>>()?.0)
}

fn scalar<'de, T: crate::wire::scalar::Scalar, A: MapAccess<'de>>(
    map: &mut A,
) -> Result<Option<T>, A::Error> {
    Ok(map.next_value::<Soft<T>>()?.0)
}
