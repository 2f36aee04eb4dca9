//! Machines as the document shows them: a row of the list, and the details.

use std::collections::BTreeMap;

use hypervisor_core::model::{ByteSize, VmInfo, VmState};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

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
