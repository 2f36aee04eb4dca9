//! `/nodes` and `/nodes/{node}/status`.

use std::time::{Duration, SystemTime};

use hypervisor_core::Result;
use hypervisor_core::model::{ByteSize, HostInfo, HostMetrics, HostState};
use serde_json::Value;

use super::scalar::{Scalar, row, text_of};
use super::status::extra_of;

row! {
    /// A row of `/nodes`.
    NodeRow {
        /// Its name.
        node: String = "node" | "name",
        /// `online`, `offline`, `unknown`.
        status: String = "status",
        /// Its logical CPUs.
        maxcpu: f64 = "maxcpu" | "cpus",
        /// How busy they are, 0.0 to 1.0.
        cpu: f64 = "cpu",
        /// Its memory in bytes.
        maxmem: u64 = "maxmem",
        /// How much of it is in use.
        mem: u64 = "mem",
        /// Seconds since it was started.
        uptime: u64 = "uptime",
        /// The SHA-256 fingerprint of its certificate.
        ssl_fingerprint: String = "ssl_fingerprint",
    }
}

row! {
    /// The answer of `/nodes/{node}/status`.
    NodeStatus {
        /// `total`, `used` and `free` in bytes.
        memory: Value = "memory",
        /// The processor: `model`, `cpus`, `sockets`, …
        cpuinfo: Value = "cpuinfo",
        /// How busy the CPUs are, 0.0 to 1.0.
        cpu: f64 = "cpu",
        /// The load over 1, 5 and 15 minutes, as text.
        loadavg: Value = "loadavg",
        /// Seconds since it was started.
        uptime: u64 = "uptime",
        /// `pve-manager/9.1.1/…`.
        pveversion: String = "pveversion",
        /// The kernel that runs, with its machine type.
        current_kernel: Value = "current-kernel",
    }
}

row! {
    /// The answer of `/version`.
    Version {
        /// The release with its patch level: `9.1.1`.
        version: String = "version",
        /// The release: `9.1`.
        release: String = "release",
        /// The commit that it was built of.
        repoid: String = "repoid",
    }
}

impl Version {
    /// The release as two numbers, for comparisons.
    #[must_use]
    pub fn number(&self) -> Option<(u32, u32)> {
        let mut parts = self.version.as_deref().or(self.release.as_deref())?.split(['.', '-']);
        let major = parts.next()?.parse().ok()?;
        Some((major, parts.next().and_then(|minor| minor.parse().ok()).unwrap_or(0)))
    }
}

pub(crate) fn state(status: Option<&str>) -> HostState {
    HostState::parse(status.unwrap_or("unknown"))
}

pub(crate) fn count(number: f64) -> Option<u32> {
    Scalar::from_float(number).and_then(|number: u64| u32::try_from(number).ok())
}

impl NodeRow {
    /// As the model has it; `None` for a row without a name.
    #[must_use]
    pub fn into_info(self) -> Option<HostInfo> {
        let mut host = HostInfo::new(self.node?, state(self.status.as_deref()));
        host.cpus = self.maxcpu.and_then(count);
        host.cpu_usage = self.cpu;
        host.memory = self.maxmem.map(ByteSize::bytes);
        host.memory_used = self.mem.map(ByteSize::bytes);
        host.uptime = self.uptime.filter(|seconds| *seconds > 0).map(Duration::from_secs);
        host.extra = extra_of(self.rest);
        if let Some(fingerprint) = self.ssl_fingerprint {
            host.extra.insert(crate::BACKEND, "ssl_fingerprint", fingerprint);
        }
        Some(host)
    }
}

/// The nodes of `/nodes`.
///
/// # Errors
/// `Protocol` where the answer is no such list.
pub fn hosts(body: &[u8]) -> Result<Vec<HostInfo>> {
    let rows: Vec<NodeRow> = super::envelope::data(body)?;
    Ok(rows.into_iter().filter_map(NodeRow::into_info).collect())
}

fn number<T: Scalar>(of: Option<&Value>, key: &str) -> Option<T> {
    T::from_text(&text_of(of?.get(key)?)?)
}

fn text(of: Option<&Value>, key: &str) -> Option<String> {
    text_of(of?.get(key)?)
}

/// The node of `/nodes/{node}/status`. The node has answered, so it is online.
///
/// # Errors
/// `Protocol` where the answer is no such object.
pub fn host(body: &[u8], node: &str) -> Result<HostInfo> {
    let status: NodeStatus = super::envelope::data(body)?;
    let mut host = HostInfo::new(node, HostState::Online);
    host.cpus = number(status.cpuinfo.as_ref(), "cpus");
    host.cpu_model = text(status.cpuinfo.as_ref(), "model");
    host.architecture = text(status.current_kernel.as_ref(), "machine");
    host.memory = number(status.memory.as_ref(), "total").map(ByteSize::bytes);
    host.memory_used = number(status.memory.as_ref(), "used").map(ByteSize::bytes);
    host.cpu_usage = status.cpu;
    host.uptime = status.uptime.map(Duration::from_secs);
    host.version = status.pveversion.map(|text| text.split('/').nth(1).map_or(text.clone(), str::to_owned));
    host.extra = extra_of(status.rest);
    Ok(host)
}

/// The load of a node, from the same answer.
///
/// # Errors
/// `Protocol` where the answer is no such object.
pub fn metrics(body: &[u8], node: &str, now: SystemTime) -> Result<HostMetrics> {
    let status: NodeStatus = super::envelope::data(body)?;
    let mut metrics = HostMetrics::new(node, now);
    metrics.cpu_usage = status.cpu;
    metrics.memory_total = number(status.memory.as_ref(), "total").map(ByteSize::bytes);
    metrics.memory_used = number(status.memory.as_ref(), "used").map(ByteSize::bytes);
    let load = status.loadavg.as_ref().and_then(|load| load.get(0)).and_then(text_of);
    metrics.load = load.as_deref().and_then(Scalar::from_text);
    Ok(metrics)
}

impl Scalar for u32 {
    fn from_bool(value: bool) -> Option<Self> {
        Some(value.into())
    }

    fn from_integer(value: i128) -> Option<Self> {
        value.try_into().ok()
    }

    fn from_float(value: f64) -> Option<Self> {
        count(value)
    }

    fn from_text(text: &str) -> Option<Self> {
        <u64 as Scalar>::from_text(text)?.try_into().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_as_text_and_offline_nodes_are_read() {
        let body = br#"[{"node":"a","status":"online","maxcpu":"2","cpu":0.25,"maxmem":9,"mem":3,"ssl_fingerprint":"41:BB"},
            {"node":"b","status":"offline"},{"status":"online"}]"#;
        let hosts = hosts(body).unwrap();
        assert_eq!(hosts.len(), 2);
        assert_eq!((hosts[0].cpus, hosts[0].cpu_usage), (Some(2), Some(0.25)));
        assert_eq!(hosts[0].extra.get("proxmox")["ssl_fingerprint"], "41:BB");
        assert_eq!((hosts[1].state.clone(), hosts[1].memory), (HostState::Offline, None));
    }

    #[test]
    fn a_release_is_compared_by_number() {
        let version = |text: &str| Version { version: Some(text.into()), ..Version::default() }.number();
        assert_eq!(version("9.1.1"), Some((9, 1)));
        assert_eq!(version("8.4-1"), Some((8, 4)));
        assert!(version("10.0") > version("9.2"));
        assert_eq!(version("dev"), None);
    }
}
