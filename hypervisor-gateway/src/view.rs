//! The document's objects, made of the models. What no backend tells is `null`, never invented.

use std::collections::BTreeSet;

use hypervisor_core::model::{
    BackupInfo, ByteSize, DiskInfo, GroupInfo, HostInfo, NetworkInfo, NicInfo, NicSource, PoolInfo,
    SnapshotInfo, TaskInfo, TaskLogLine, TaskState, VmInfo, VmState, VolumeInfo,
};
use schemars::JsonSchema;
use serde::Serialize;

use crate::clock::rfc3339;
use crate::jobs::{kind, status};
use crate::paging::Viewed;

/// The document's environments are tags here.
pub(crate) const ENVIRONMENTS: [&str; 3] = ["production", "development", "staging"];

pub(crate) fn environment(tags: &BTreeSet<String>) -> Option<&'static str> {
    ENVIRONMENTS.into_iter().find(|each| tags.contains(*each))
}

/// The document's word for a state.
pub(crate) fn vm_status(state: &VmState) -> &str {
    match state {
        VmState::Provisioning => "creating",
        other => other.as_str(),
    }
}

pub(crate) fn vm_state(status: &str) -> VmState {
    if status == "creating" { VmState::Provisioning } else { VmState::parse(status) }
}

/// In whole units, rounded up.
pub(crate) fn in_units(size: Option<ByteSize>, unit: ByteSize) -> Option<u64> {
    size.map(|size| size.div_ceil(unit))
}

/// What the document says of a guest's security; no backend tells any of it.
#[derive(Debug, Default, Serialize, JsonSchema)]
pub(crate) struct SecurityView {
    encrypted: Option<bool>,
    firewall_enabled: Option<bool>,
    last_security_scan: Option<String>,
    compliance_score: Option<u8>,
}

/// A guest in a list.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct VmItem<'a> {
    id: &'a str,
    name: &'a str,
    status: &'a str,
    environment: Option<&'static str>,
    cpu_cores: Option<u32>,
    memory_mb: Option<u64>,
    storage_gb: Option<u64>,
    ip_address: Option<String>,
    os_type: Option<String>,
    created_at: Option<String>,
    updated_at: Option<String>,
    tags: &'a BTreeSet<String>,
    security: SecurityView,
    info: &'a VmInfo,
}

impl<'a> VmItem<'a> {
    pub(crate) fn of(vm: &'a VmInfo) -> Self {
        Self {
            id: vm.id.as_str(),
            name: &vm.name,
            status: vm_status(&vm.state),
            environment: environment(&vm.tags),
            cpu_cores: vm.cpus,
            memory_mb: in_units(vm.memory, ByteSize::mib(1)),
            storage_gb: None,
            ip_address: None,
            os_type: None,
            created_at: vm.created.map(rfc3339),
            updated_at: None,
            tags: &vm.tags,
            security: SecurityView::default(),
            info: vm,
        }
    }
}

/// A disk of a guest's configuration.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct DiskView {
    disk_id: String,
    size_gb: Option<u64>,
    #[serde(rename = "type")]
    bus: String,
    encrypted: Option<bool>,
    mount_point: Option<String>,
    volume: Option<String>,
}

impl DiskView {
    pub(crate) fn of(disk: &DiskInfo) -> Self {
        Self {
            disk_id: disk.id.to_string(),
            size_gb: in_units(disk.capacity, ByteSize::gib(1)),
            bus: disk.bus.to_string(),
            encrypted: None,
            mount_point: None,
            volume: disk.volume.as_ref().map(ToString::to_string),
        }
    }
}

/// A NIC of a guest's configuration.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct NicView {
    interface: String,
    ip_address: Option<String>,
    subnet: Option<String>,
    gateway: Option<String>,
    vlan_id: Option<u16>,
    network: Option<String>,
    mac: Option<String>,
}

impl NicView {
    pub(crate) fn of(nic: &NicInfo) -> Self {
        let network = match &nic.source {
            NicSource::Network(network) => Some(network.to_string()),
            NicSource::Bridge(name) | NicSource::Direct(name) => Some(name.clone()),
            _ => None,
        };
        Self {
            interface: nic.id.to_string(),
            ip_address: None,
            subnet: None,
            gateway: None,
            vlan_id: nic.vlan,
            network,
            mac: nic.mac.map(|mac| mac.to_string()),
        }
    }
}

/// A host in a list.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct HostItem<'a> {
    id: &'a str,
    status: &'a str,
    cpu_cores: Option<u32>,
    memory_mb: Option<u64>,
    info: &'a HostInfo,
}

impl<'a> HostItem<'a> {
    pub(crate) fn of(host: &'a HostInfo) -> Self {
        Self {
            id: host.id.as_str(),
            status: host.state.as_str(),
            cpu_cores: host.cpus,
            memory_mb: in_units(host.memory, ByteSize::mib(1)),
            info: host,
        }
    }
}

/// A network.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct NetworkItem<'a> {
    id: &'a str,
    name: &'a str,
    #[serde(rename = "type")]
    kind: &'a str,
    vlan_id: Option<u16>,
    subnet: Option<String>,
    gateway: Option<String>,
    dns_servers: Vec<String>,
    dhcp_enabled: bool,
    firewall_rules: Vec<String>,
    created_at: Option<String>,
    active: bool,
    info: &'a NetworkInfo,
}

impl<'a> NetworkItem<'a> {
    pub(crate) fn of(network: &'a NetworkInfo) -> Self {
        Self {
            id: network.id.as_str(),
            name: &network.name,
            kind: if network.vlan.is_some() { "vlan" } else { network.kind.as_str() },
            vlan_id: network.vlan,
            subnet: network.cidr.map(|cidr| cidr.trunc().to_string()),
            gateway: network.cidr.map(|cidr| cidr.addr().to_string()),
            dns_servers: Vec::new(),
            dhcp_enabled: network.dhcp.is_some(),
            firewall_rules: Vec::new(),
            created_at: None,
            active: network.active,
            info: network,
        }
    }
}

/// A storage pool.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct PoolItem<'a> {
    id: &'a str,
    name: &'a str,
    #[serde(rename = "type")]
    kind: &'a str,
    status: &'static str,
    total_gb: Option<u64>,
    used_gb: Option<u64>,
    available_gb: Option<u64>,
    info: &'a PoolInfo,
}

impl<'a> PoolItem<'a> {
    pub(crate) fn of(pool: &'a PoolInfo) -> Self {
        let gib = ByteSize::gib(1);
        Self {
            id: pool.id.as_str(),
            name: pool.id.as_str(),
            kind: pool.kind.as_str(),
            status: if pool.active { "active" } else { "inactive" },
            total_gb: in_units(pool.capacity, gib),
            used_gb: in_units(pool.used, gib),
            available_gb: in_units(pool.available, gib),
            info: pool,
        }
    }
}

/// A volume.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct VolumeItem<'a> {
    id: &'a str,
    name: &'a str,
    pool: &'a str,
    size_gb: Option<u64>,
    info: &'a VolumeInfo,
}

impl<'a> VolumeItem<'a> {
    pub(crate) fn of(volume: &'a VolumeInfo) -> Self {
        Self {
            id: volume.id.as_str(),
            name: &volume.name,
            pool: volume.pool.as_str(),
            size_gb: in_units(Some(volume.capacity), ByteSize::gib(1)),
            info: volume,
        }
    }
}

/// A snapshot.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct SnapshotItem<'a> {
    id: &'a str,
    name: &'a str,
    description: Option<&'a str>,
    include_memory: bool,
    parent: Option<&'a str>,
    current: bool,
    created_at: Option<String>,
    info: &'a SnapshotInfo,
}

impl<'a> SnapshotItem<'a> {
    pub(crate) fn of(snapshot: &'a SnapshotInfo) -> Self {
        Self {
            id: snapshot.id.as_str(),
            name: snapshot.id.as_str(),
            description: snapshot.description.as_deref(),
            include_memory: snapshot.memory,
            parent: snapshot.parent.as_ref().map(AsRef::as_ref),
            current: snapshot.current,
            created_at: snapshot.created.map(rfc3339),
            info: snapshot,
        }
    }
}

/// A backup.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct BackupItem<'a> {
    id: &'a str,
    vm_id: Option<&'a str>,
    backup_type: &'static str,
    status: &'static str,
    size_gb: Option<u64>,
    description: Option<&'a str>,
    created_at: Option<String>,
    info: &'a BackupInfo,
}

impl<'a> BackupItem<'a> {
    pub(crate) fn of(backup: &'a BackupInfo) -> Self {
        Self {
            id: backup.id.as_str(),
            vm_id: backup.vm.as_ref().map(AsRef::as_ref),
            backup_type: if backup.parent.is_some() { "incremental" } else { "full" },
            status: "completed",
            size_gb: in_units(backup.size, ByteSize::gib(1)),
            description: backup.description.as_deref(),
            created_at: backup.created.map(rfc3339),
            info: backup,
        }
    }
}

/// A resource group.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct GroupItem<'a> {
    id: &'a str,
    description: Option<&'a str>,
    info: &'a GroupInfo,
}

impl<'a> GroupItem<'a> {
    pub(crate) fn of(group: &'a GroupInfo) -> Self {
        Self { id: group.id.as_str(), description: group.description.as_deref(), info: group }
    }
}

macro_rules! viewed {
    ($($model:ident as $item:ident;)*) => { $(
        impl Viewed for $model {
            type Item<'a> = $item<'a>;

            fn key(&self) -> &str {
                self.id.as_str()
            }

            fn item(&self) -> $item<'_> {
                $item::of(self)
            }
        }
    )* };
}

viewed! {
    BackupInfo as BackupItem; GroupInfo as GroupItem; HostInfo as HostItem; NetworkInfo as NetworkItem; PoolInfo as PoolItem;
    VmInfo as VmItem; VolumeInfo as VolumeItem;
}

/// A line of a job's log.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct LogView {
    timestamp: Option<String>,
    level: &'static str,
    message: String,
}

impl LogView {
    pub(crate) fn of(line: &TaskLogLine) -> Self {
        Self { timestamp: line.time.map(rfc3339), level: "info", message: line.text.clone() }
    }
}

/// A job.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct JobView {
    id: String,
    #[serde(rename = "type")]
    kind: String,
    status: &'static str,
    /// Percent.
    progress: Option<u8>,
    started_at: Option<String>,
    ended_at: Option<String>,
    estimated_completion: Option<String>,
    error: Option<String>,
    #[schemars(schema_with = "crate::openapi::job_output")]
    output: Option<serde_json::Value>,
    logs: Vec<LogView>,
    task: TaskInfo,
}

impl JobView {
    pub(crate) fn of(task: TaskInfo, operation: Option<&str>, output: Option<serde_json::Value>) -> Self {
        let operation = operation.or(task.operation.map(|operation| operation.as_str()));
        let done = match task.state {
            TaskState::Succeeded => Some(1.0),
            _ => task.progress,
        };
        Self {
            id: task.id.to_string(),
            kind: kind(operation.unwrap_or("unknown")).to_owned(),
            status: status(task.state),
            progress: done.map(percent),
            started_at: task.started.map(rfc3339),
            ended_at: task.ended.map(rfc3339),
            estimated_completion: estimate(&task),
            error: task.error.clone(),
            output,
            logs: Vec::new(),
            task,
        }
    }

    pub(crate) fn logs(mut self, lines: &[TaskLogLine]) -> Self {
        self.logs = lines.iter().map(LogView::of).collect();
        self
    }
}

/// The number of whole hundredths.
fn percent(part: f64) -> u8 {
    let reached = (1..=100_u8).take_while(|step| f64::from(*step) <= part * 100.0 + 1e-9);
    reached.last().unwrap_or(0)
}

/// When the task will have ended if it goes on as it has.
fn estimate(task: &TaskInfo) -> Option<String> {
    let (started, part) = (task.started?, task.progress?);
    if task.state.is_final() || part <= 0.0 {
        return None;
    }
    let whole = started.elapsed().ok()?.as_secs_f64() / part.min(1.0);
    let whole = std::time::Duration::try_from_secs_f64(whole).ok()?;
    started.checked_add(whole).map(rfc3339)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_the_document() {
        assert_eq!(vm_status(&VmState::Provisioning), "creating");
        assert_eq!(vm_state("creating"), VmState::Provisioning);
        assert_eq!(vm_state("running"), VmState::Running);
        assert_eq!([0.0, 0.651, 1.0].map(percent), [0, 65, 100]);
        assert_eq!(in_units(Some(ByteSize::mib(1025)), ByteSize::gib(1)), Some(2));
    }
}
