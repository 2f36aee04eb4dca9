//! What goes over the wire, without a server.

use hypervisor_core::model::{
    BackendOptions, ByteSize, DiskDevice, DiskSource, SnapshotInfo, VmInfo, VmSpec, VmState,
};
use hypervisor_core::{Error, Result};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value, json};

use super::BACKEND;
use crate::dialect::names::by_one_name;
use crate::time;

/// What is in the document's envelope; anything else as it is.
pub(super) fn data(body: Value) -> Value {
    match body {
        Value::Object(mut map) if map.contains_key("status") && map.contains_key("data") => {
            map.remove("data").unwrap_or_default()
        }
        other => other,
    }
}

/// A list: bare, under its name, or under `items`.
pub(super) fn list(data: Value, key: &str) -> Value {
    match data {
        Value::Object(mut map) => {
            let found = [key, "items"].into_iter().find_map(|name| map.remove(name));
            match found {
                Some(Value::Null) => json!([]),
                Some(found) => found,
                // What is not there cannot be decoded, and the error says so.
                None => Value::Object(map),
            }
        }
        Value::Null => json!([]),
        other => other,
    }
}

/// Whether a `Link` header leads to a next page (RFC 8288).
pub(super) fn has_next(links: &str) -> bool {
    links.split(',').any(|link| {
        link.split(';').skip(1).any(|parameter| {
            let parameter = parameter.trim();
            parameter.eq_ignore_ascii_case("rel=\"next\"") || parameter.eq_ignore_ascii_case("rel=next")
        })
    })
}

fn maybe_id<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    Ok(match Value::deserialize(deserializer)? {
        Value::String(text) if !text.is_empty() => Some(text),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    })
}

/// A machine. Every field may be missing.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, remote = "Self")]
#[non_exhaustive]
pub struct VmRecord {
    /// Its id: only a server that keeps the document's conventions has one.
    #[serde(deserialize_with = "maybe_id")]
    pub id: Option<String>,
    /// Its name.
    pub name: Option<String>,
    /// VirtualBox's UUID.
    pub uuid: Option<String>,
    /// What it is doing, in VirtualBox's words: `running`, `poweroff`, `paused`, `saved`, `aborted`.
    pub state: Option<String>,
    /// Its operating system.
    pub os_type: Option<String>,
    /// Its memory in MiB.
    pub memory_mb: Option<u64>,
    /// Its CPUs.
    pub cpus: Option<u32>,
    /// `virtualbox`, `hyperv`, `proxmox`.
    pub provider: Option<String>,
    /// When it was made.
    pub created: Option<String>,
    /// What else the gateway says.
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

by_one_name!(VmRecord {
    "state": "status";
    "created": "created_at";
});

impl VmRecord {
    /// What it is addressed by: its id, or its name.
    #[must_use]
    pub fn address(&self) -> &str {
        self.id.as_deref().or(self.name.as_deref()).unwrap_or_default()
    }

    /// What it is doing.
    #[must_use]
    pub fn state(&self) -> VmState {
        match self.state.as_deref().unwrap_or("unknown").to_ascii_lowercase().as_str() {
            "poweroff" | "powered off" | "off" => VmState::Stopped,
            "saved" | "saving" => VmState::Hibernated,
            "aborted" | "aborted-saved" | "gurumeditation" | "stuck" => VmState::Crashed,
            "restoring" => VmState::Starting,
            "teleporting" | "teleportingpausedvm" => VmState::Migrating,
            known => VmState::parse(known),
        }
    }

    /// The provider that a call about it has to name: VirtualBox is the default.
    pub(super) fn other_provider(&self) -> Option<&str> {
        self.provider.as_deref().filter(|provider| *provider != "virtualbox")
    }

    /// In the words of the SDK.
    #[must_use]
    pub fn to_info(&self) -> VmInfo {
        let name = self.name.as_deref().unwrap_or_else(|| self.address());
        let mut info = VmInfo::new(self.address(), name, self.state());
        info.uid = self.uuid.clone();
        info.cpus = self.cpus;
        info.memory = self.memory_mb.map(ByteSize::mib);
        info.created = self.created.as_deref().and_then(time::parse);
        for (key, value) in [("provider", &self.provider), ("os_type", &self.os_type), ("state", &self.state)]
        {
            if let Some(value) = value {
                info.extra.insert(BACKEND, key, value.as_str());
            }
        }
        for (key, value) in &self.rest {
            info.extra.insert(BACKEND, key, value.clone());
        }
        info
    }
}

/// A snapshot. Every field may be missing.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, remote = "Self")]
#[non_exhaustive]
pub struct SnapshotRecord {
    /// Its name.
    pub name: Option<String>,
    /// Its UUID.
    pub uuid: Option<String>,
    /// What somebody wrote about it.
    pub description: Option<String>,
    /// When it was taken.
    pub created: Option<String>,
    /// The one that it was taken on top of.
    pub parent: Option<String>,
    /// Whether the machine stands on it.
    pub current: Option<bool>,
    /// What else the gateway says.
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

by_one_name!(SnapshotRecord {
    "name": "snapshot_name";
    "uuid": "id";
    "created": "created_at" "timestamp";
});

impl SnapshotRecord {
    /// In the words of the SDK; `None` for one without a name.
    #[must_use]
    pub fn to_info(&self) -> Option<SnapshotInfo> {
        let mut info = SnapshotInfo::new(self.name.as_deref().or(self.uuid.as_deref())?);
        info.description = self.description.clone().filter(|description| !description.is_empty());
        info.created = self.created.as_deref().and_then(time::parse);
        info.parent = self.parent.as_deref().map(Into::into);
        info.current = self.current.unwrap_or(false);
        for (key, value) in &self.rest {
            info.extra.insert(BACKEND, key, value.clone());
        }
        Some(info)
    }
}

/// A template.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Template {
    /// Its name.
    pub name: String,
    /// What machines made of it are like.
    pub config: Map<String, Value>,
    /// Whether it came with the server.
    pub builtin: Option<bool>,
    /// What it is for.
    pub description: Option<String>,
    /// The operating system.
    pub os_type: Option<String>,
    /// Memory in MiB.
    pub memory_mb: Option<u64>,
    /// The disk in GiB.
    pub disk_gb: Option<u64>,
    /// What else the gateway says.
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

/// What a new machine can be told that only this API knows, for [`VmSpec::with`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct McpOptions {
    /// The template that it starts from; the server's default is `ubuntu-dev`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub template: Option<String>,
    /// The path on the host of a disc to install from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub iso_path: Option<String>,
    /// `virtualbox`, `hyperv` or `proxmox`; the server's default is VirtualBox.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub provider: Option<String>,
    /// `nat`, `bridged`, …
    #[serde(skip_serializing_if = "Option::is_none")]
    pub network_mode: Option<String>,
    /// Install without questions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unattended: Option<bool>,
}

impl BackendOptions for McpOptions {
    const BACKEND: &'static str = BACKEND;
}

/// The body of a create. A description has no place in it: it stays behind, as the machine's information shows.
///
/// # Errors
/// `InvalidInput` for what else has no place in it.
pub(super) fn create_body(spec: &VmSpec) -> Result<Value> {
    let options: McpOptions = spec.options.options()?;
    let lacking = [
        ("host", spec.host.is_some()),
        ("group", spec.group.is_some()),
        ("nics", !spec.nics.is_empty()),
        ("machine", spec.machine.is_some()),
        ("cpu_model", spec.cpu_model.is_some()),
        ("serial", spec.serial.is_some()),
        ("boot.order", !spec.boot.order.is_empty()),
        ("boot.firmware", spec.boot.firmware.is_some()),
    ];
    if let Some((field, _)) = lacking.iter().find(|(_, asked)| *asked) {
        return Err(Error::invalid(*field, "the gateway's API has no such field"));
    }
    if !spec.memory.is_multiple_of(ByteSize::mib(1)) {
        return Err(Error::invalid("memory", format!("{} is not a whole number of MiB", spec.memory)));
    }
    let mut body = json!({
        "name": spec.name, "memory_mb": spec.memory.div_ceil(ByteSize::mib(1)), "cpus": spec.cpus,
    });
    let options = serde_json::to_value(options).unwrap_or_default();
    if let (Value::Object(body), Value::Object(options)) = (&mut body, options) {
        body.extend(options);
        if let Some(size) = disk(spec)? {
            body.insert("disk_gb".to_owned(), json!(size));
        }
    }
    Ok(body)
}

fn disk(spec: &VmSpec) -> Result<Option<u64>> {
    let disk = match spec.disks.as_slice() {
        [] => return Ok(None),
        [disk] if disk.device == DiskDevice::Disk => disk,
        _ => return Err(Error::invalid("disks", "the gateway makes machines with one hard disk")),
    };
    match &disk.source {
        DiskSource::New { size, pool: None } if size.is_multiple_of(ByteSize::gib(1)) => {
            Ok(Some(size.div_ceil(ByteSize::gib(1))))
        }
        DiskSource::New { size, pool: None } => {
            Err(Error::invalid("disks[0].size", format!("{size} is not a whole number of GiB")))
        }
        DiskSource::New { .. } => Err(Error::invalid("disks[0].pool", "the gateway has no pools")),
        _ => {
            Err(Error::invalid("disks[0]", "the gateway takes the size of a new disk and nothing else of it"))
        }
    }
}

/// Every decoder of the dialect, for [`crate::fuzzing`].
#[cfg(any(test, fuzzing))]
pub(crate) fn answers(bytes: &[u8]) -> bool {
    use crate::fuzzing::again;
    use hypervisor_core::http::decode;
    let Ok(value) = decode::<Value>(bytes) else { return false };
    let of = |key: &str| serde_json::to_vec(&list(data(value.clone()), key)).unwrap_or_default();
    let (vms, snapshots) =
        (decode::<Vec<VmRecord>>(&of("vms")), decode::<Vec<SnapshotRecord>>(&of("snapshots")));
    vms.iter().flatten().for_each(|vm| again(&vm.to_info()));
    snapshots.iter().flatten().filter_map(SnapshotRecord::to_info).for_each(|snapshot| again(&snapshot));
    let (vm, snapshot) = (decode::<VmRecord>(bytes), decode::<SnapshotRecord>(bytes));
    vm.iter().for_each(|vm| again(&vm.to_info()));
    snapshot.iter().filter_map(SnapshotRecord::to_info).for_each(|snapshot| again(&snapshot));
    let _ = has_next(&String::from_utf8_lossy(bytes));
    vms.is_ok() | snapshots.is_ok() | vm.is_ok() | decode::<Template>(bytes).is_ok()
}

#[cfg(test)]
mod tests {
    use hypervisor_core::http::decode;
    use proptest::prelude::*;

    use super::*;

    const NAMES: [&str; 14] = [
        "status",
        "data",
        "vms",
        "items",
        "name",
        "id",
        "uuid",
        "state",
        "memory_mb",
        "cpus",
        "provider",
        "created",
        "parent",
        "config",
    ];

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            "\\PC{0,12}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 40, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
                prop::collection::vec((prop::sample::select(NAMES.to_vec()), inner), 0..8)
                    .prop_map(|all| all.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()),
            ]
        })
    }

    proptest! {
        #[test]
        fn arbitrary_json_is_decoded_or_refused(value in any_json()) {
            let listed = list(data(value.clone()), "vms");
            let bytes = serde_json::to_vec(&listed).unwrap();
            for vm in decode::<Vec<VmRecord>>(&bytes).unwrap_or_default() {
                drop(vm.to_info());
            }
            let bytes = serde_json::to_vec(&value).unwrap();
            drop(decode::<VmRecord>(&bytes).map(|vm| vm.to_info()));
            drop(decode::<SnapshotRecord>(&bytes).map(|snapshot| snapshot.to_info()));
            drop(decode::<Template>(&bytes));
        }

        #[test]
        fn no_link_header_panics(links in "\\PC{0,60}") {
            let _ = has_next(&links);
        }
    }

    #[test]
    fn states_of_virtualbox_are_known() {
        let state = |text: &str| VmRecord { state: Some(text.to_owned()), ..VmRecord::default() }.state();
        assert_eq!(state("poweroff"), VmState::Stopped);
        assert_eq!(state("PowerOff"), VmState::Stopped);
        assert_eq!(state("saved"), VmState::Hibernated);
        assert_eq!(state("aborted"), VmState::Crashed);
        assert_eq!(state("frobbing"), VmState::Unknown("frobbing".to_owned()));
    }
}
