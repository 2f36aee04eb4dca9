//! Guests.

use hypervisor_core::model::{ByteSize, VmId, VmInfo, VmSpec, VmState};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::lenient;
use super::place::Place;
use super::state::WireState;
use crate::dialect::virtumancer::BACKEND;

/// A guest in a list, or the row that a create answers with, which spells the same in camel case.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct VmRow {
    pub(crate) name: String,
    #[serde(default, deserialize_with = "lenient::text")]
    uuid: Option<String>,
    /// Not in the older generation, which knows no uuid at all.
    #[serde(default, deserialize_with = "lenient::text", alias = "domainUuid")]
    domain_uuid: Option<String>,
    #[serde(default, deserialize_with = "lenient::text")]
    description: Option<String>,
    #[serde(default, deserialize_with = "lenient::number", alias = "vcpuCount")]
    vcpu_count: Option<u64>,
    #[serde(default, deserialize_with = "lenient::number", alias = "memoryBytes")]
    memory_bytes: Option<u64>,
    #[serde(default, deserialize_with = "lenient::flag", alias = "isTemplate")]
    is_template: bool,
    /// What the gateway wants it to do, in the newer generation; what it does, in the older.
    #[serde(default)]
    state: Option<WireState>,
    /// What libvirt says that it does; the newer generation only.
    #[serde(default, rename = "libvirtState", alias = "libvirt_state")]
    libvirt_state: Option<WireState>,
    #[serde(default, deserialize_with = "lenient::text", alias = "taskState")]
    task_state: Option<String>,
    #[serde(default, deserialize_with = "lenient::text", rename = "createdAt", alias = "created_at")]
    created_at: Option<String>,
    #[serde(default, deserialize_with = "lenient::number")]
    uptime: Option<u64>,
    #[serde(default, deserialize_with = "lenient::or_default")]
    pub(crate) graphics: Graphics,
    #[serde(flatten)]
    rest: Map<String, Value>,
}

/// Which screens a guest has.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Graphics {
    #[serde(deserialize_with = "lenient::flag")]
    pub(crate) vnc: bool,
    #[serde(deserialize_with = "lenient::flag")]
    pub(crate) spice: bool,
}

/// What goes into [`VmInfo::extra`](hypervisor_core::model::VmInfo::extra) as it came.
const EXTRA: [&str; 8] = [
    "db_id",
    "cpu_model",
    "os_type",
    "sync_status",
    "drift_details",
    "needs_rebuild",
    "disk_size_gb",
    "network_interface",
];

impl VmRow {
    /// What it does: libvirt's word, then the gateway's. `reachable` is what is known of its host.
    pub(crate) fn state(&self, reachable: Option<bool>) -> VmState {
        if reachable == Some(false) {
            return VmState::Unreachable;
        }
        match (&self.libvirt_state, &self.state) {
            (Some(seen), wanted) => seen.known().unwrap_or_else(|| {
                let wanted = wanted.as_ref().and_then(WireState::known);
                // The gateway's wish is no observation, but a guest that is being made is seen by nobody else.
                wanted.filter(|state| *state == VmState::Provisioning).unwrap_or_else(unknown)
            }),
            (None, Some(state)) => state.known().unwrap_or_else(unknown),
            (None, None) => unknown(),
        }
    }

    /// Whether nobody knows what it does.
    pub(crate) fn is_unseen(&self) -> bool {
        self.libvirt_state.as_ref().is_some_and(|seen| seen.known().is_none())
    }

    /// Whether there is nothing to be seen of it yet.
    pub(crate) fn is_being_made(&self) -> bool {
        self.state.as_ref().and_then(WireState::known) == Some(VmState::Provisioning)
    }

    pub(crate) fn to_info(&self, host: &str, reachable: Option<bool>) -> VmInfo {
        let id = VmId::from(&Place::new(host, self.name.as_str()));
        let state = self.state(reachable);
        let active = state.is_active();
        let mut info = VmInfo::new(id, self.name.as_str(), state).host(host).template(self.is_template);
        info.uid = self.domain_uuid.clone().or_else(|| self.uuid.clone());
        info.cpus = self.vcpu_count.and_then(|cpus| u32::try_from(cpus).ok());
        info.memory = self.memory_bytes.map(ByteSize::bytes);
        info.description = self.description.clone();
        info.lock = self.task_state.as_deref().map(str::to_ascii_lowercase);
        // 0 is what the list says for every guest.
        let uptime = self.uptime.filter(|uptime| active && *uptime > 0);
        info.uptime = uptime.map(std::time::Duration::from_secs);
        info.created = lenient::time(self.created_at.as_deref());
        for key in EXTRA {
            match self.rest.get(key) {
                None | Some(Value::Null) => {}
                Some(Value::String(text)) if text.is_empty() => {}
                Some(value) => info.extra.insert(BACKEND, key, value.clone()),
            }
        }
        if let (Some(_), Some(wanted)) = (&self.libvirt_state, &self.state) {
            info.extra.insert(BACKEND, "intended_state", serde_json::to_value(wanted).unwrap_or_default());
        }
        if let (Some(own), true) = (&self.uuid, self.domain_uuid.is_some()) {
            info.extra.insert(BACKEND, "uuid", own.as_str());
        }
        info
    }
}

fn unknown() -> VmState {
    VmState::Unknown("unknown".to_owned())
}

/// A guest of libvirt's that the gateway does not manage. The newer generation; its numbers are mostly zero.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct DiscoveredVm {
    /// Its name.
    pub name: String,
    /// libvirt's UUID.
    #[serde(default, deserialize_with = "lenient::text")]
    pub uuid: Option<String>,
    /// The host that it is on; only the list over all hosts tells.
    #[serde(default, deserialize_with = "lenient::text")]
    pub host_id: Option<String>,
    /// What else the server says.
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

/// What a create is asked with; the newer generation only.
#[derive(Debug, Serialize)]
pub(crate) struct NewVm<'a> {
    name: &'a str,
    // In camel case among the others in snake case: that is how the server reads it.
    #[serde(rename = "hostId")]
    host: &'a str,
    vcpu_count: u32,
    memory_bytes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    disk_size_gb: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cpu_model: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    network_interface: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<&'a str>,
}

impl<'a> NewVm<'a> {
    pub(crate) fn new(
        spec: &'a VmSpec,
        host: &'a str,
        disk: Option<ByteSize>,
        network: Option<&'a str>,
    ) -> Self {
        Self {
            name: &spec.name,
            host,
            vcpu_count: spec.cpus,
            memory_bytes: spec.memory.as_bytes(),
            disk_size_gb: disk.map(|size| size.div_ceil(ByteSize::gib(1))),
            cpu_model: spec.cpu_model.as_deref(),
            network_interface: network,
            description: spec.description.as_deref(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> VmInfo {
        serde_json::from_str::<VmRow>(json).unwrap().to_info("kvmsrv", Some(true))
    }

    #[test]
    fn the_documents_example_is_read() {
        let vm = read(
            r#"{"db_id":1,"name":"ubuntu-vm-01","description":"","vcpu_count":2,"memory_bytes":2147483648,"state":1,"graphics":{"vnc":true,"spice":false}}"#,
        );
        let wanted = VmInfo::new("kvmsrv/ubuntu-vm-01", "ubuntu-vm-01", VmState::Running)
            .host("kvmsrv")
            .cpus(2)
            .memory(ByteSize::gib(2));
        let mut bare = vm.clone();
        bare.extra = wanted.extra.clone();
        assert_eq!(bare, wanted);
        assert_eq!(vm.extra.get(BACKEND)["db_id"], 1);
    }

    #[test]
    fn libvirts_word_counts_more_than_the_gateways_wish() {
        let vm = |state: &str, seen: &str| {
            read(&format!(r#"{{"name":"a","state":"{state}","libvirtState":"{seen}"}}"#)).state
        };
        assert_eq!(vm("ACTIVE", "STOPPED"), VmState::Stopped);
        assert_eq!(vm("STOPPED", "ACTIVE"), VmState::Running);
        assert_eq!(vm("ACTIVE", "UNKNOWN"), VmState::Unknown("unknown".into()));
        assert_eq!(vm("INITIALIZED", "UNKNOWN"), VmState::Provisioning);
        let row: VmRow =
            serde_json::from_str(r#"{"name":"a","state":"ACTIVE","libvirtState":"UNKNOWN"}"#).unwrap();
        assert_eq!(row.state(Some(false)), VmState::Unreachable);
        assert!(row.is_unseen());
    }

    #[test]
    fn a_row_in_camel_case_is_the_same_guest() {
        let vm = read(
            r#"{"id":"be2c","created_at":"2026-11-20T17:54:08.6Z","deleted_at":null,"hostId":"kvmsrv","name":"new-01","domainUuid":"26ce","state":"STOPPED","libvirtState":"STOPPED","taskState":"BUILDING","vcpuCount":1,"memoryBytes":134217728,"isTemplate":false}"#,
        );
        assert_eq!(
            (vm.uid.as_deref(), vm.cpus, vm.memory),
            (Some("26ce"), Some(1), Some(ByteSize::mib(128)))
        );
        assert_eq!((vm.state, vm.lock.as_deref()), (VmState::Stopped, Some("building")));
        assert!(vm.created.is_some());
    }
}
