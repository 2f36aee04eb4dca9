//! Load of domains.

use hypervisor_core::Result;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::{Api, Call};
use crate::dialect::hypersdk::names::check;
use crate::dialect::hypersdk::routes::{self, Route};
use crate::dialect::hypersdk::wire::{CpuStats, DiskStats, DomainStats, InterfaceStats, MemoryStats};

impl Api {
    /// Reads the load of a domain (`GET /libvirt/stats`). One that does not exist has an empty `state`, one that does not run a state and no load.
    pub async fn stats(&self, name: &str) -> Result<DomainStats> {
        self.send(of(&routes::STATS, name)?).await?.object()
    }

    /// Reads the load of all running domains (`GET /libvirt/stats/all`).
    pub async fn all_stats(&self) -> Result<Vec<DomainStats>> {
        self.send(Call::new(&routes::STATS_ALL).slow()).await?.list("domains")
    }

    /// Reads the load of a domain's CPUs (`GET /libvirt/stats/cpu`). It is an error of kind `Backend` where the host has no accounting for it.
    pub async fn cpu_stats(&self, name: &str) -> Result<CpuStats> {
        // The daemon calls it `cpu_stats` here and `cpu` elsewhere.
        #[derive(Deserialize)]
        struct Part {
            #[serde(alias = "cpu")]
            cpu_stats: CpuStats,
        }
        Ok(self.part::<Part>(&routes::STATS_CPU, name).await?.cpu_stats)
    }

    /// Reads the load of a domain's memory (`GET /libvirt/stats/memory`).
    pub async fn memory_stats(&self, name: &str) -> Result<MemoryStats> {
        #[derive(Deserialize)]
        struct Part {
            #[serde(alias = "memory_stats")]
            memory: MemoryStats,
        }
        Ok(self.part::<Part>(&routes::STATS_MEMORY, name).await?.memory)
    }

    /// Reads what a domain's disks have done (`GET /libvirt/stats/disk`).
    pub async fn disk_stats(&self, name: &str) -> Result<Vec<DiskStats>> {
        self.send(of(&routes::STATS_DISK, name)?).await?.list("disks")
    }

    /// Reads what a domain's interfaces have done (`GET /libvirt/stats/network`).
    pub async fn network_stats(&self, name: &str) -> Result<Vec<InterfaceStats>> {
        self.send(of(&routes::STATS_NETWORK, name)?).await?.list("networks")
    }

    async fn part<T: DeserializeOwned>(&self, route: &Route, name: &str) -> Result<T> {
        self.send(of(route, name)?).await?.object()
    }
}

fn of(route: &Route, name: &str) -> Result<Call> {
    check("vm", name)?;
    Ok(Call::new(route).query("name", name).about("vm", name))
}
