//! Load of guests and hosts.

use std::time::{Duration, SystemTime};

use hypervisor_core::model::{
    ByteSize, DiskMetrics, HostId, HostMetrics, NicMetrics, VmId, VmMetrics, VmState,
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::lenient;
use super::state::WireState;
use crate::dialect::virtumancer::BACKEND;

/// A guest's load as it came. The document and the older generation tell counters (`memory` in KiB, `cpu_time` in ns); the newer
/// generation tells percentages and MiB.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct VmLoad {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) state: Option<WireState>,
    /// Its memory now, in KiB.
    #[serde(deserialize_with = "lenient::number")]
    pub memory: Option<u64>,
    /// The most memory that it can have, in KiB.
    #[serde(deserialize_with = "lenient::number")]
    pub max_mem: Option<u64>,
    /// Its CPUs.
    #[serde(deserialize_with = "lenient::number")]
    pub vcpu: Option<u64>,
    /// The time that its CPUs have been busy, in ns.
    #[serde(deserialize_with = "lenient::number")]
    pub cpu_time: Option<u64>,
    /// What each disk has done.
    #[serde(deserialize_with = "lenient::list")]
    pub disk_stats: Vec<DeviceTraffic>,
    /// What each NIC has done.
    #[serde(deserialize_with = "lenient::list")]
    pub net_stats: Vec<DeviceTraffic>,
    /// How busy the CPUs are, in percent, smoothed, of what the server is set to show.
    #[serde(deserialize_with = "lenient::fraction")]
    pub cpu_percent: Option<f64>,
    /// How busy its own CPUs are, in percent.
    #[serde(deserialize_with = "lenient::fraction")]
    pub cpu_percent_guest: Option<f64>,
    /// Its memory now, in MiB.
    #[serde(deserialize_with = "lenient::fraction")]
    pub memory_mb: Option<f64>,
    /// How long it has been running, in seconds; 0 where the server does not know.
    #[serde(deserialize_with = "lenient::number")]
    pub uptime: Option<u64>,
    /// The other figures, as they came.
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

/// What a device has done since the guest started.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct DeviceTraffic {
    /// The disk's slot, or the host's name for the NIC.
    #[serde(deserialize_with = "lenient::text")]
    pub device: Option<String>,
    /// Bytes read; for a NIC, bytes that the guest received.
    #[serde(deserialize_with = "lenient::number")]
    pub read_bytes: Option<u64>,
    /// Bytes written; for a NIC, bytes that the guest sent.
    #[serde(deserialize_with = "lenient::number")]
    pub write_bytes: Option<u64>,
}

/// Percent as a fraction of one, where it is one.
fn percent(percent: Option<f64>) -> Option<f64> {
    percent.map(|percent| (percent / 100.0).clamp(0.0, 1.0))
}

fn mib(size: Option<f64>) -> Option<ByteSize> {
    size.and_then(|size| lenient::whole(size * 1_048_576.0)).map(ByteSize::bytes)
}

impl VmLoad {
    /// What the guest does, where that is told.
    #[must_use]
    pub fn state(&self) -> Option<VmState> {
        self.state.as_ref().and_then(WireState::known)
    }

    /// Whether it looks like that of a guest that does not run. The newer generation answers zeroes then.
    pub(crate) fn is_idle(&self) -> bool {
        match self.state() {
            Some(state) => !state.is_active(),
            None => {
                self.memory_mb.or(Some(0.0)).is_some_and(|size| size <= 0.0) && self.memory.unwrap_or(0) == 0
            }
        }
    }

    /// In the words of the shared model. NICs are told by the host's name for them (`vnet0`): nothing says whose NIC that is.
    pub(crate) fn to_metrics(&self, vm: VmId, time: SystemTime) -> VmMetrics {
        let mut metrics = VmMetrics::new(vm, time);
        metrics.cpu_usage = percent(self.cpu_percent_guest.or(self.cpu_percent));
        metrics.cpu_time = self.cpu_time.map(Duration::from_nanos);
        metrics.memory_total = mib(self.memory_mb).or_else(|| self.memory.map(ByteSize::kib));
        for disk in &self.disk_stats {
            let Some(slot) = &disk.device else { continue };
            let traffic = DiskMetrics::new()
                .read(ByteSize::bytes(disk.read_bytes.unwrap_or(0)))
                .written(ByteSize::bytes(disk.write_bytes.unwrap_or(0)));
            metrics.disks.insert(slot.as_str().into(), traffic);
        }
        for nic in &self.net_stats {
            let Some(device) = &nic.device else { continue };
            let traffic = NicMetrics::new()
                .received(ByteSize::bytes(nic.read_bytes.unwrap_or(0)))
                .sent(ByteSize::bytes(nic.write_bytes.unwrap_or(0)));
            metrics.nics.insert(device.as_str().into(), traffic);
        }
        // What all disks and all NICs have done together has no place in the shared model.
        for (key, value) in &self.rest {
            if value.is_number() {
                metrics.extra.insert(BACKEND, key, value.clone());
            }
        }
        metrics
    }
}

/// A host's load as it came: over the WebSocket, or from the newer generation's route.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct HostLoad {
    /// How busy its CPUs are, 0.0 to 1.0 (WebSocket).
    #[serde(deserialize_with = "lenient::fraction")]
    pub cpu_utilization: Option<f64>,
    /// How busy its CPUs are, in percent (route).
    #[serde(deserialize_with = "lenient::fraction")]
    pub cpu_percent: Option<f64>,
    /// Memory in use, in bytes (WebSocket).
    #[serde(deserialize_with = "lenient::number")]
    pub memory_used: Option<u64>,
    /// Its memory, in bytes (route).
    #[serde(deserialize_with = "lenient::number")]
    pub memory_total: Option<u64>,
    /// Memory that is free, in bytes (route).
    #[serde(deserialize_with = "lenient::number")]
    pub memory_available: Option<u64>,
    /// The other figures, as they came.
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

impl HostLoad {
    pub(crate) fn to_metrics(&self, host: HostId, time: SystemTime) -> HostMetrics {
        let mut metrics = HostMetrics::new(host, time);
        let usage = self.cpu_utilization.map(|usage| usage.clamp(0.0, 1.0));
        metrics.cpu_usage = usage.or_else(|| percent(self.cpu_percent));
        let total = self.memory_total.filter(|total| *total > 0);
        metrics.memory_total = total.map(ByteSize::bytes);
        let taken = total.zip(self.memory_available).map(|(total, free)| total.saturating_sub(free));
        metrics.memory_used = self.memory_used.or(taken).map(ByteSize::bytes);
        metrics
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: SystemTime = SystemTime::UNIX_EPOCH;

    #[test]
    fn counters_are_in_kibibytes_and_nanoseconds() {
        let load: VmLoad = serde_json::from_str(
            r#"{"state":1,"memory":2097152,"max_mem":2097152,"vcpu":2,"cpu_time":1234567890,"disk_stats":[{"device":"vda","read_bytes":1024,"write_bytes":2048}],"net_stats":[{"device":"vnet0","read_bytes":4096,"write_bytes":8192}]}"#,
        )
        .unwrap();
        let metrics = load.to_metrics("h/a".into(), NOW);
        assert_eq!(metrics.memory_total, Some(ByteSize::gib(2)));
        assert_eq!(metrics.cpu_time, Some(Duration::from_nanos(1_234_567_890)));
        assert_eq!(metrics.disks[&"vda".into()].written, ByteSize::bytes(2048));
        assert_eq!(metrics.nics[&"vnet0".into()].received, ByteSize::bytes(4096));
        assert!(!load.is_idle());
    }

    #[test]
    fn percentages_become_fractions() {
        let load: VmLoad = serde_json::from_str(
            r#"{"cpu_percent":0.33,"cpu_percent_core":1.32,"cpu_percent_guest":50.0,"cpu_percent_host":0.66,"memory_mb":256,"disk_read_mb":0.0014,"uptime":0}"#,
        )
        .unwrap();
        let metrics = load.to_metrics("h/a".into(), NOW);
        assert_eq!((metrics.cpu_usage, metrics.memory_total), (Some(0.5), Some(ByteSize::mib(256))));
        assert_eq!(metrics.extra.get(BACKEND)["disk_read_mb"], 0.0014);
        assert!(!load.is_idle());
    }

    #[test]
    fn a_guest_that_is_off_is_told_by_its_state_or_by_zeroes() {
        for json in [
            r#"{"state":5,"memory":0,"max_mem":262144,"vcpu":2,"cpu_time":0,"disk_stats":null,"net_stats":null}"#,
            r#"{"cpu_percent":0,"memory_mb":0,"uptime":0}"#,
            "{}",
        ] {
            assert!(serde_json::from_str::<VmLoad>(json).unwrap().is_idle(), "{json}");
        }
    }

    #[test]
    fn hosts_tell_their_load_in_two_ways() {
        let socket: HostLoad =
            serde_json::from_str(r#"{"cpu_utilization":0.25,"memory_used":1024}"#).unwrap();
        let metrics = socket.to_metrics("h".into(), NOW);
        assert_eq!((metrics.cpu_usage, metrics.memory_used), (Some(0.25), Some(ByteSize::kib(1))));
        let route: HostLoad = serde_json::from_str(
            r#"{"cpu_percent":25,"memory_total":4096,"memory_available":1024,"vm_counts":{}}"#,
        )
        .unwrap();
        let metrics = route.to_metrics("h".into(), NOW);
        assert_eq!((metrics.cpu_usage, metrics.memory_used), (Some(0.25), Some(ByteSize::kib(3))));
    }
}
