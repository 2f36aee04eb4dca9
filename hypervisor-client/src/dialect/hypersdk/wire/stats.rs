//! Load of domains. Memory in KiB, times in nanoseconds.
//!
//! At the commits known the daemon never fills `vcpus` and `usage_percent` of the CPUs nor any counter of disks and interfaces (it reads the
//! device's name where the number should be): zeroes mean "not told".

use std::time::{Duration, SystemTime};

use hypervisor_core::model::{ByteSize, DiskMetrics, NicMetrics, VmMetrics};

use super::soft;

answers! {
    /// Load of a domain.
    DomainStats {
        must {
            /// The domain.
            name: String,
        }
        may {
            /// What it is doing; empty for a domain that does not exist.
            state: String,
            /// When this was measured.
            timestamp: Option<SystemTime>,
            /// Its CPUs.
            cpu: CpuStats,
            /// Its memory.
            memory: MemoryStats,
            /// Its disks.
            disks: Vec<DiskStats>,
            /// Its interfaces.
            networks: Vec<InterfaceStats>,
        }
    }

    /// Load of a domain's CPUs.
    #[derive(Default, PartialEq)]
    CpuStats {
        may {
            /// How many it has.
            vcpus: u32,
            /// The time that they have been busy, summed over them, in nanoseconds.
            cpu_time_ns: u64,
            /// The part of it spent in user mode.
            user_time_ns: u64,
            /// The part of it spent in the kernel.
            system_time_ns: u64,
            /// How busy they are, 0 to 100.
            usage_percent: f64,
        }
    }

    /// Load of a domain's memory.
    #[derive(Default, PartialEq)]
    MemoryStats {
        may {
            /// How much it has, in KiB.
            total_kb: u64,
            /// How much of it is in use, in KiB.
            used_kb: u64,
            /// How much is left, in KiB.
            available_kb: u64,
            /// How much is in use, 0 to 100.
            usage_percent: f64,
            /// Read back from swap, in KiB.
            swap_in_kb: u64,
            /// Written to swap, in KiB.
            swap_out_kb: u64,
        }
    }

    /// What a disk has done.
    #[derive(Default, PartialEq)]
    DiskStats {
        may {
            /// The target device, `vda`.
            device: String,
            /// Bytes read.
            read_bytes: u64,
            /// Read requests.
            read_requests: u64,
            /// Bytes written.
            write_bytes: u64,
            /// Write requests.
            write_requests: u64,
            /// Errors.
            errors: u64,
        }
    }

    /// What an interface has done.
    #[derive(Default, PartialEq)]
    InterfaceStats {
        may {
            /// The host's end of it, `vnet0`.
            interface: String,
            /// Bytes that the guest received.
            rx_bytes: u64,
            /// Packets that it received.
            rx_packets: u64,
            /// Broken packets on the way in.
            rx_errors: u64,
            /// Packets lost on the way in.
            rx_dropped: u64,
            /// Bytes that it sent.
            tx_bytes: u64,
            /// Packets that it sent.
            tx_packets: u64,
            /// Broken packets on the way out.
            tx_errors: u64,
            /// Packets lost on the way out.
            tx_dropped: u64,
        }
    }
}

macro_rules! parts {
    ($($type:ty),*) => { $(
        impl soft::Soft for $type {
            fn read<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                Ok(<Option<Self> as serde::Deserialize>::deserialize(deserializer)?.unwrap_or_default())
            }
        }
    )* };
}

parts!(CpuStats, MemoryStats);

fn told(size: u64) -> Option<ByteSize> {
    (size > 0).then(|| ByteSize::kib(size))
}

impl DomainStats {
    /// In the SDK's words; what is not told is left out.
    pub(crate) fn metrics(self) -> VmMetrics {
        let time = self.timestamp.unwrap_or_else(SystemTime::now);
        let mut metrics = VmMetrics::new(self.name, time);
        metrics.cpu_usage = (self.cpu.usage_percent > 0.0).then(|| (self.cpu.usage_percent / 100.0).min(1.0));
        metrics.cpu_time = (self.cpu.cpu_time_ns > 0).then(|| Duration::from_nanos(self.cpu.cpu_time_ns));
        metrics.memory_total = told(self.memory.total_kb);
        // Without a balloon driver in the guest both are nothing.
        let known = self.memory.used_kb > 0 || self.memory.available_kb > 0;
        metrics.memory_used = known.then(|| ByteSize::kib(self.memory.used_kb));
        for disk in self.disks.into_iter().filter(|disk| !disk.device.is_empty() && disk.is_told()) {
            metrics.disks.insert(disk.device.as_str().into(), disk.metrics());
        }
        for nic in self.networks.into_iter().filter(|nic| !nic.interface.is_empty() && nic.is_told()) {
            metrics.nics.insert(nic.interface.as_str().into(), nic.metrics());
        }
        metrics
    }
}

impl DiskStats {
    fn is_told(&self) -> bool {
        *self != Self { device: self.device.clone(), ..Self::default() }
    }

    fn metrics(&self) -> DiskMetrics {
        DiskMetrics::new()
            .read(ByteSize::bytes(self.read_bytes))
            .written(ByteSize::bytes(self.write_bytes))
            .read_requests(self.read_requests)
            .write_requests(self.write_requests)
    }
}

impl InterfaceStats {
    fn is_told(&self) -> bool {
        *self != Self { interface: self.interface.clone(), ..Self::default() }
    }

    fn metrics(&self) -> NicMetrics {
        NicMetrics::new()
            .received(ByteSize::bytes(self.rx_bytes))
            .sent(ByteSize::bytes(self.tx_bytes))
            .received_packets(self.rx_packets)
            .sent_packets(self.tx_packets)
            .dropped(self.rx_dropped.saturating_add(self.tx_dropped))
            .errors(self.rx_errors.saturating_add(self.tx_errors))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zeroes_that_the_daemon_never_fills_are_not_taken_for_measurements() {
        let recorded = serde_json::json!({
            "name": "web-01", "state": "running",
            "cpu": {"vcpus": 0, "cpu_time_ns": 0, "user_time_ns": 0, "system_time_ns": 0, "usage_percent": 0},
            "memory": {"total_kb": 262_144, "used_kb": 0, "available_kb": 0, "usage_percent": 0},
            "disks": [{"device": "vda", "read_bytes": 0}], "networks": null,
            "timestamp": "2026-11-20T17:49:41.377474755Z"
        });
        let metrics = serde_json::from_value::<DomainStats>(recorded).unwrap().metrics();
        assert_eq!(metrics.memory_total, Some(ByteSize::mib(256)));
        assert_eq!((metrics.cpu_usage, metrics.cpu_time, metrics.memory_used), (None, None, None));
        assert!(metrics.disks.is_empty() && metrics.nics.is_empty());
    }

    #[test]
    fn what_is_told_has_the_right_units() {
        let told = serde_json::json!({
            "name": "a", "cpu": {"cpu_time_ns": 1_500_000_000_u64, "usage_percent": 12.5},
            "memory": {"total_kb": 2048, "used_kb": 1024, "available_kb": 1024},
            "disks": [{"device": "vda", "read_bytes": 1536, "write_requests": 3}],
            "networks": [{"interface": "vnet0", "rx_bytes": 10, "tx_dropped": 1, "rx_dropped": 2, "rx_errors": 4}]
        });
        let metrics = serde_json::from_value::<DomainStats>(told).unwrap().metrics();
        assert_eq!(metrics.cpu_time, Some(Duration::from_millis(1500)));
        assert_eq!(metrics.cpu_usage, Some(0.125));
        assert_eq!(metrics.memory_used, Some(ByteSize::mib(1)));
        assert_eq!(metrics.disks[&"vda".into()].read, ByteSize::bytes(1536));
        let nic = metrics.nics[&"vnet0".into()];
        assert_eq!((nic.received.as_bytes(), nic.dropped, nic.errors), (10, 3, 4));
    }
}
