//! Machines as the document shows them: a row of the list, the details, and the bodies of create and update.

use std::collections::{BTreeMap, BTreeSet};

use hypervisor_core::model::{
    BackendOptions, ByteSize, CloneSpec, DeploySpec, DiskSource, DiskSpec, VmChange, VmInfo, VmSpec, VmState,
};
use hypervisor_core::{Error, Result};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::lenient;
use crate::dialect::v1::BACKEND;

/// A machine: what the list tells of it, and what only the details tell. Every field may be missing.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[non_exhaustive]
pub struct VmRecord {
    /// Its id.
    #[serde(deserialize_with = "lenient::id")]
    pub id: String,
    /// Its name.
    #[serde(default)]
    pub name: Option<String>,
    /// What somebody wrote about it.
    #[serde(default)]
    pub description: Option<String>,
    /// What it is doing: `running`, `stopped`, `paused`, `creating`.
    #[serde(default)]
    pub status: Option<String>,
    /// `production`, `development` or `staging`.
    #[serde(default)]
    pub environment: Option<String>,
    /// Its CPUs, in the list.
    #[serde(default)]
    pub cpu_cores: Option<u32>,
    /// Its memory in MiB, in the list.
    #[serde(default)]
    pub memory_mb: Option<u64>,
    /// Its disk in GiB, in the list.
    #[serde(default)]
    pub storage_gb: Option<f64>,
    /// Its address, in the list.
    #[serde(default)]
    pub ip_address: Option<String>,
    /// Its operating system.
    #[serde(default)]
    pub os_type: Option<String>,
    /// When it was made.
    #[serde(default)]
    pub created_at: Option<String>,
    /// When it was last changed.
    #[serde(default)]
    pub updated_at: Option<String>,
    /// Its tags; the document's example of the details has none.
    #[serde(default)]
    pub tags: Option<Vec<String>>,
    /// How it is protected.
    #[serde(default)]
    pub security: Option<VmSecurity>,
    /// Its devices, in the details.
    #[serde(default)]
    pub configuration: Option<VmConfiguration>,
    /// Its load, in the details.
    #[serde(default)]
    pub performance: Option<VmPerformance>,
    /// How it is backed up, in the details.
    #[serde(default)]
    pub backup: Option<VmBackup>,
    /// The job that makes it, in the answer to a create.
    #[serde(default)]
    pub creation_job_id: Option<String>,
    /// What else the gateway says.
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

/// How a machine is protected.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct VmSecurity {
    /// Whether its disks are encrypted.
    pub encrypted: Option<bool>,
    /// Whether its firewall is on.
    pub firewall_enabled: Option<bool>,
    /// Whether SSH takes keys only.
    pub ssh_key_auth: Option<bool>,
    /// When it was last scanned.
    pub last_security_scan: Option<String>,
    /// How well it follows the rules, 0 to 100.
    pub compliance_score: Option<f64>,
    /// Severity -> how many were found.
    pub vulnerabilities: Option<BTreeMap<String, u64>>,
    /// What else the gateway says.
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

/// A machine's devices.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[non_exhaustive]
pub struct VmConfiguration {
    /// The cores of each socket.
    #[serde(default)]
    pub cpu_cores: Option<u32>,
    /// The sockets.
    #[serde(default)]
    pub cpu_sockets: Option<u32>,
    /// The memory in MiB.
    #[serde(default)]
    pub memory_mb: Option<u64>,
    /// The disks.
    #[serde(default, deserialize_with = "lenient::list")]
    pub storage: Vec<VmDisk>,
    /// The NICs.
    #[serde(default, deserialize_with = "lenient::list")]
    pub network: Vec<VmInterface>,
    /// What else the gateway says.
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

/// A disk.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct VmDisk {
    /// Its id.
    pub disk_id: Option<String>,
    /// Its size in GiB.
    pub size_gb: Option<f64>,
    /// What it lies on: `ssd`.
    #[serde(rename = "type")]
    pub kind: Option<String>,
    /// Whether it is encrypted.
    pub encrypted: Option<bool>,
    /// Where the guest mounts it.
    pub mount_point: Option<String>,
    /// What else the gateway says.
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

/// A NIC.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct VmInterface {
    /// What the guest calls it.
    pub interface: Option<String>,
    /// Its address.
    pub ip_address: Option<String>,
    /// The network that the address is in.
    pub subnet: Option<String>,
    /// The router.
    pub gateway: Option<String>,
    /// Its VLAN.
    pub vlan_id: Option<u16>,
    /// What else the gateway says.
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

/// A machine's load.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct VmPerformance {
    /// How busy its CPUs are, 0 to 100.
    pub cpu_usage_percent: Option<f64>,
    /// How much of its memory is in use, 0 to 100.
    pub memory_usage_percent: Option<f64>,
    /// How much of its disks is in use, 0 to 100.
    pub disk_usage_percent: Option<f64>,
    /// What it receives, in Mbit/s.
    pub network_rx_mbps: Option<f64>,
    /// What it sends, in Mbit/s.
    pub network_tx_mbps: Option<f64>,
    /// How long it has been up.
    pub uptime_seconds: Option<u64>,
    /// What else the gateway says.
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

/// How a machine is backed up.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct VmBackup {
    /// Whether it is.
    pub enabled: Option<bool>,
    /// How often: `daily`.
    pub schedule: Option<String>,
    /// For how many days backups are kept.
    pub retention_days: Option<u32>,
    /// When the last one was made.
    pub last_backup: Option<String>,
    /// How large it is, in GiB.
    pub backup_size_gb: Option<f64>,
    /// What else the gateway says.
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

impl VmRecord {
    /// What it is doing.
    #[must_use]
    pub fn state(&self) -> VmState {
        match self.status.as_deref().unwrap_or("unknown").to_ascii_lowercase().as_str() {
            "creating" | "pending" => VmState::Provisioning,
            "suspended" => VmState::Paused,
            "off" | "powered_off" => VmState::Stopped,
            known => VmState::parse(known),
        }
    }

    /// Its CPUs over all sockets.
    #[must_use]
    pub fn cpus(&self) -> Option<u32> {
        let configured = self.configuration.as_ref().and_then(|configuration| {
            configuration.cpu_cores?.checked_mul(configuration.cpu_sockets.unwrap_or(1).max(1))
        });
        configured.or(self.cpu_cores)
    }

    /// Its memory.
    #[must_use]
    pub fn memory(&self) -> Option<ByteSize> {
        let configured = self.configuration.as_ref().and_then(|configuration| configuration.memory_mb);
        configured.or(self.memory_mb).map(ByteSize::mib)
    }

    /// In the words of the SDK. What the shared model has no place for is in `extra` under `v1`.
    #[must_use]
    pub fn to_info(&self) -> VmInfo {
        let name = self.name.clone().unwrap_or_else(|| self.id.clone());
        let mut info = VmInfo::new(self.id.as_str(), name, self.state());
        info.cpus = self.cpus();
        info.memory = self.memory();
        info.tags = self.tags.iter().flatten().cloned().collect();
        info.description = self.description.clone().filter(|description| !description.is_empty());
        info.created = lenient::at(self.created_at.as_ref());
        let up = self.performance.as_ref().and_then(|performance| performance.uptime_seconds);
        if info.state.is_active() {
            info.uptime = up.map(std::time::Duration::from_secs);
        }
        let texts = [
            ("environment", &self.environment),
            ("ip_address", &self.ip_address),
            ("os_type", &self.os_type),
            ("updated_at", &self.updated_at),
        ];
        for (key, value) in texts {
            if let Some(value) = value {
                info.extra.insert(BACKEND, key, value.as_str());
            }
        }
        if let Some(size) = self.storage_gb {
            info.extra.insert(BACKEND, "storage_gb", size);
        }
        if let Some(security) = self.security.as_ref().and_then(|each| serde_json::to_value(each).ok()) {
            info.extra.insert(BACKEND, "security", security);
        }
        for (key, value) in &self.rest {
            info.extra.insert(BACKEND, key, value.clone());
        }
        info
    }
}

/// What a new machine can be told that only this API knows, for [`VmSpec::with`].
///
/// ```
/// use hypervisor_client::dialect::v1::V1Options;
/// use hypervisor_core::model::VmSpec;
/// let options = V1Options { environment: Some("staging".into()), vlan_id: Some(100), ..V1Options::default() };
/// let spec = VmSpec::new("app-1").with(&options)?;
/// # Ok::<(), hypervisor_core::Error>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct V1Options {
    /// The template that it starts from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub template: Option<String>,
    /// `production`, `development` or `staging`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub environment: Option<String>,
    /// Its VLAN, 1 to 4094.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vlan_id: Option<u16>,
    /// Its address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub static_ip: Option<String>,
    /// Whether its disk is encrypted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub encrypt_disk: Option<bool>,
    /// Whether its firewall is on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enable_firewall: Option<bool>,
    /// The SSH keys that may log in.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ssh_keys: Vec<String>,
    /// How it is backed up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backup: Option<BackupPlan>,
}

impl BackendOptions for V1Options {
    const BACKEND: &'static str = BACKEND;
}

/// How a new machine is backed up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupPlan {
    /// Whether it is.
    pub enabled: bool,
    /// How often: `daily`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule: Option<String>,
    /// For how many days backups are kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retention_days: Option<u32>,
}

/// Megabytes, where it is a whole number of them.
pub(crate) fn whole_mib(field: &str, size: ByteSize) -> Result<u64> {
    if size.is_multiple_of(ByteSize::mib(1)) {
        return Ok(size.div_ceil(ByteSize::mib(1)));
    }
    Err(Error::invalid(field, format!("{size} is not a whole number of MiB, in which the gateway counts")))
}

fn whole_gib(field: &str, size: ByteSize) -> Result<u64> {
    if size.is_multiple_of(ByteSize::gib(1)) {
        return Ok(size.div_ceil(ByteSize::gib(1)));
    }
    Err(Error::invalid(field, format!("{size} is not a whole number of GiB, in which the gateway counts")))
}

/// The documented body of a create. `vlan` is that of the network that the guest's NIC is to be in.
///
/// # Errors
/// `InvalidInput` for what the documented body has no place for: nothing is left out silently.
pub(crate) fn create_body(spec: &VmSpec, vlan: Option<u16>) -> Result<Value> {
    let options: V1Options = spec.options.options()?;
    let mut configuration = json!({
        "cpu_cores": spec.cpus,
        "memory_mb": whole_mib("memory", spec.memory)?,
    });
    if let Some(size) = disk_size(spec)? {
        put(&mut configuration, "storage_gb", json!(size));
    }
    let mut network = json!({});
    put_some(&mut network, "vlan_id", vlan.or(options.vlan_id));
    put_some(&mut network, "static_ip", options.static_ip.clone());
    if network != json!({}) {
        put(&mut configuration, "network", network);
    }
    let lacking = [
        ("host", spec.host.is_some()),
        ("group", spec.group.is_some()),
        ("machine", spec.machine.is_some()),
        ("cpu_model", spec.cpu_model.is_some()),
        ("serial", spec.serial.is_some()),
        ("boot.order", !spec.boot.order.is_empty()),
        ("boot.firmware", spec.boot.firmware.is_some()),
    ];
    refuse(&lacking)?;
    let mut body = json!({ "name": spec.name, "configuration": configuration });
    put_some(&mut body, "description", spec.description.clone());
    put_some(&mut body, "template", options.template.clone());
    put_some(&mut body, "environment", options.environment.clone());
    put_tags(&mut body, &spec.tags);
    let mut security = json!({});
    put_some(&mut security, "encrypt_disk", options.encrypt_disk);
    put_some(&mut security, "enable_firewall", options.enable_firewall);
    if !options.ssh_keys.is_empty() {
        put(&mut security, "ssh_keys", json!(options.ssh_keys));
    }
    if security != json!({}) {
        put(&mut body, "security", security);
    }
    put_some(&mut body, "backup", options.backup);
    Ok(body)
}

/// What of a spec the documented body can say, for a gateway that takes the whole spec beside it.
pub(crate) fn best_body(spec: &VmSpec) -> Value {
    let mut body = json!({
        "name": spec.name,
        "configuration": {
            "cpu_cores": spec.cpus,
            "memory_mb": spec.memory.div_ceil(ByteSize::mib(1)),
        },
    });
    put_some(&mut body, "description", spec.description.clone());
    put_tags(&mut body, &spec.tags);
    body
}

/// The documented body of a create from a template.
pub(crate) fn deploy_body(template: &str, spec: &DeploySpec) -> Result<Value> {
    let CloneSpec { host, group, pool, .. } = &spec.clone;
    refuse(&[
        ("clone.host", host.is_some()),
        ("clone.group", group.is_some()),
        ("clone.pool", pool.is_some()),
        ("network", spec.network.is_some()),
    ])?;
    let mut configuration = json!({});
    put_some(&mut configuration, "cpu_cores", spec.cpus);
    let memory = spec.memory.map(|memory| whole_mib("memory", memory)).transpose()?;
    put_some(&mut configuration, "memory_mb", memory);
    let mut body = json!({ "name": spec.clone.name, "template": template, "configuration": configuration });
    put_some(&mut body, "description", spec.clone.description.clone());
    Ok(body)
}

/// The documented body of an update. `tags` are all that the machine is to have.
pub(crate) fn update_body(change: &VmChange, tags: Option<&BTreeSet<String>>) -> Result<Value> {
    refuse(&[
        ("boot_order", change.boot_order.is_some()),
        ("agent", change.agent == Some(false)),
        ("options", !change.options.is_empty()),
    ])?;
    let mut body = json!({});
    put_some(&mut body, "name", change.name.clone());
    put_some(&mut body, "description", change.description.clone());
    let mut configuration = json!({});
    put_some(&mut configuration, "cpu_cores", change.cpus);
    let memory = change.memory.map(|memory| whole_mib("memory", memory)).transpose()?;
    put_some(&mut configuration, "memory_mb", memory);
    if configuration != json!({}) {
        put(&mut body, "configuration", configuration);
    }
    put_some(&mut body, "tags", tags);
    Ok(body)
}

fn disk_size(spec: &VmSpec) -> Result<Option<u64>> {
    let disk = match spec.disks.as_slice() {
        [] => return Ok(None),
        [disk] => disk,
        _ => return Err(Error::invalid("disks", "the gateway makes machines with one disk")),
    };
    let mut plain = DiskSpec::new_volume(ByteSize::gib(1));
    plain.source = disk.source.clone();
    match &disk.source {
        DiskSource::New { size, pool: None } if *disk == plain => whole_gib("disks[0].size", *size).map(Some),
        DiskSource::New { pool: Some(_), .. } => {
            Err(Error::invalid("disks[0].pool", "the gateway chooses the pool itself"))
        }
        _ => {
            Err(Error::invalid("disks[0]", "the gateway takes the size of a new disk and nothing else of it"))
        }
    }
}

/// Refuses what the documented API cannot express.
fn refuse(lacking: &[(&str, bool)]) -> Result<()> {
    match lacking.iter().find(|(_, asked)| *asked) {
        Some((field, _)) => Err(Error::invalid(*field, "the gateway's API has no such field")),
        None => Ok(()),
    }
}

fn put_tags(body: &mut Value, tags: &BTreeSet<String>) {
    if !tags.is_empty() {
        put(body, "tags", json!(tags));
    }
}

pub(crate) fn put(body: &mut Value, key: &str, value: Value) {
    if let Value::Object(map) = body {
        map.insert(key.to_owned(), value);
    }
}

pub(crate) fn put_some<T: Serialize>(body: &mut Value, key: &str, value: Option<T>) {
    if let Some(value) = value.and_then(|value| serde_json::to_value(value).ok()) {
        put(body, key, value);
    }
}
