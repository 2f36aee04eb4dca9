//! Load, now and over time.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use super::extra::Extra;
use super::id::{DiskId, HostId, NicId, VmId};
use super::macros::{named_enum, setters};
use super::units::ByteSize;

/// A host's load.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct HostMetrics {
    /// The host.
    pub host: HostId,
    /// When this was measured.
    pub time: SystemTime,
    /// How busy its CPUs are, 0.0 to 1.0.
    #[serde(default)]
    pub cpu_usage: Option<f64>,
    /// The time that its CPUs have been busy since it started, summed over them.
    #[serde(default)]
    pub cpu_time: Option<Duration>,
    /// Its memory.
    #[serde(default)]
    pub memory_total: Option<ByteSize>,
    /// How much of it is in use.
    #[serde(default)]
    pub memory_used: Option<ByteSize>,
    /// How many tasks wait for a CPU, over the last minute.
    #[serde(default)]
    pub load: Option<f64>,
    /// What the backend says beyond this.
    #[serde(default)]
    pub extra: Extra,
}

impl HostMetrics {
    /// A measurement of which nothing else is known.
    pub fn new(host: impl Into<HostId>, time: SystemTime) -> Self {
        Self {
            host: host.into(),
            time,
            cpu_usage: None,
            cpu_time: None,
            memory_total: None,
            memory_used: None,
            load: None,
            extra: Extra::default(),
        }
    }

    setters! {
        opt cpu_usage: f64; opt cpu_time: Duration; opt memory_total: ByteSize; opt memory_used: ByteSize; opt load: f64;
        val extra: Extra;
    }
}

/// A guest's load.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct VmMetrics {
    /// The guest.
    pub vm: VmId,
    /// When this was measured.
    pub time: SystemTime,
    /// How busy its CPUs are, 0.0 to 1.0 of all it has, where the backend tells.
    #[serde(default)]
    pub cpu_usage: Option<f64>,
    /// The time that its CPUs have been busy since it started, summed over them. Two of these give the usage.
    #[serde(default)]
    pub cpu_time: Option<Duration>,
    /// Its memory.
    #[serde(default)]
    pub memory_total: Option<ByteSize>,
    /// How much of it the guest says it uses.
    #[serde(default)]
    pub memory_used: Option<ByteSize>,
    /// How much of the host's memory it takes.
    #[serde(default)]
    pub memory_resident: Option<ByteSize>,
    /// Its disks, as far as they are told apart.
    #[serde(default)]
    pub disks: BTreeMap<DiskId, DiskMetrics>,
    /// Its NICs, as far as they are told apart.
    #[serde(default)]
    pub nics: BTreeMap<NicId, NicMetrics>,
    /// What the backend says beyond this.
    #[serde(default)]
    pub extra: Extra,
}

impl VmMetrics {
    /// A measurement of which nothing else is known.
    pub fn new(vm: impl Into<VmId>, time: SystemTime) -> Self {
        Self {
            vm: vm.into(),
            time,
            cpu_usage: None,
            cpu_time: None,
            memory_total: None,
            memory_used: None,
            memory_resident: None,
            disks: BTreeMap::new(),
            nics: BTreeMap::new(),
            extra: Extra::default(),
        }
    }

    setters! {
        opt cpu_usage: f64; opt cpu_time: Duration; opt memory_total: ByteSize; opt memory_used: ByteSize;
        opt memory_resident: ByteSize; val disks: BTreeMap<DiskId, DiskMetrics>; val nics: BTreeMap<NicId, NicMetrics>;
        val extra: Extra;
    }
}

/// What a disk has done since the guest started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
#[non_exhaustive]
pub struct DiskMetrics {
    /// Bytes read.
    pub read: ByteSize,
    /// Bytes written.
    pub written: ByteSize,
    /// Read requests.
    pub read_requests: u64,
    /// Write requests.
    pub write_requests: u64,
}

impl DiskMetrics {
    /// Nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    setters! { val read: ByteSize; val written: ByteSize; val read_requests: u64; val write_requests: u64; }
}

/// What a NIC has done since the guest started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
#[non_exhaustive]
pub struct NicMetrics {
    /// Bytes that the guest received.
    pub received: ByteSize,
    /// Bytes that it sent.
    pub sent: ByteSize,
    /// Packets that it received.
    pub received_packets: u64,
    /// Packets that it sent.
    pub sent_packets: u64,
    /// Packets that were lost, both ways.
    pub dropped: u64,
    /// Packets that were broken, both ways.
    pub errors: u64,
}

impl NicMetrics {
    /// Nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    setters! {
        val received: ByteSize; val sent: ByteSize; val received_packets: u64; val sent_packets: u64; val dropped: u64;
        val errors: u64;
    }
}

/// Whose history is wanted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum MetricsTarget {
    /// A host's.
    Host(HostId),
    /// A guest's.
    Vm(VmId),
}

named_enum! {
    /// How far back a history goes.
    MetricsPeriod {
        /// An hour.
        Hour = "hour",
        /// A day.
        Day = "day",
        /// A week.
        Week = "week",
        /// A month.
        Month = "month",
        /// A year.
        Year = "year",
    }
}

impl MetricsPeriod {
    /// Its length; a month has 30 days, a year 365.
    #[must_use]
    pub const fn duration(self) -> Duration {
        let hours = match self {
            Self::Hour => 1,
            Self::Day => 24,
            Self::Week => 7 * 24,
            Self::Month => 30 * 24,
            Self::Year => 365 * 24,
        };
        Duration::from_secs(hours * 3600)
    }
}

/// Load over a period.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct MetricsHistory {
    /// The distance between two points.
    pub step: Duration,
    /// When the points were measured, oldest first.
    pub times: Vec<SystemTime>,
    /// Series -> one value for each time, `None` where nothing was measured. Names and units: `cpu_usage` 0.0 to 1.0,
    /// `memory_used` and `memory_total` in bytes, `disk_read`, `disk_written`, `net_received`, `net_sent` in bytes a second;
    /// others as the backend calls them.
    pub series: BTreeMap<String, Vec<Option<f64>>>,
}

impl MetricsHistory {
    /// A history without series.
    #[must_use]
    pub fn new(step: Duration, times: Vec<SystemTime>) -> Self {
        Self { step, times, series: BTreeMap::new() }
    }

    /// Adds a series; it is cut or filled up to the number of times.
    #[must_use]
    pub fn with_series(mut self, name: impl Into<String>, mut values: Vec<Option<f64>>) -> Self {
        values.resize(self.times.len(), None);
        self.series.insert(name.into(), values);
        self
    }
}
