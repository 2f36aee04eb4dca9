//! The state of the whole cluster, and what every handler asks of it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::access::Access;
use super::clock::Clock;
use super::console::Consoles;
use super::faults::Faults;
use super::guest::{Config, Guest, Kind};
use super::reply::Refusal;
use super::storage::Storage;
use super::tasks::Tasks;

/// What a test can set.
#[derive(Debug, Clone)]
pub(super) struct Options {
    /// `9.1.3`.
    pub(super) version: String,
    pub(super) task_time: Duration,
    /// Other durations by type of task.
    pub(super) task_times: BTreeMap<String, Duration>,
    /// How long a call waits for a lock file.
    pub(super) lock_wait: Duration,
    /// How long 401 is held back.
    pub(super) refusal_delay: Duration,
    /// How old `/cluster/resources` may be.
    pub(super) staleness: Duration,
    /// How often a fresh task is unknown before it is known.
    pub(super) unknown_looks: u32,
    pub(super) ticket_life: Duration,
    /// Whether every request is checked against the table of parameters.
    pub(super) strict: bool,
    /// Whether hosts have what it takes to reload their network.
    pub(super) reloads: bool,
    /// Whether the processors can virtualise.
    pub(super) kvm: bool,
    /// What `/nodes` says of the certificate.
    pub(super) fingerprint: Option<String>,
}

impl Options {
    /// Major and minor number of the release.
    pub(super) fn release(&self) -> (u64, u64) {
        let mut parts = self.version.split('.').map(|part| part.parse().unwrap_or(0));
        (parts.next().unwrap_or(0), parts.next().unwrap_or(0))
    }
}

/// A host.
#[derive(Debug, Clone)]
pub(super) struct Host {
    pub(super) name: String,
    pub(super) ip: String,
    pub(super) cpus: u64,
    pub(super) memory: u64,
    /// The pseudo status and text that calls to it end in, while it is away.
    pub(super) away: Option<(u16, String)>,
    /// Interfaces by name, as they are in force.
    pub(super) interfaces: BTreeMap<String, Config>,
    /// As they are written, where that is not in force yet.
    pub(super) waiting: Option<BTreeMap<String, Config>>,
    /// Those that are up.
    pub(super) up: BTreeSet<String>,
    next_pid: u32,
}

impl Host {
    pub(super) fn new(name: &str, number: u8) -> Self {
        let ip = format!("10.99.0.{number}");
        let bridge = [
            ("type", "bridge"),
            ("method", "static"),
            ("method6", "manual"),
            ("address", ip.as_str()),
            ("netmask", "24"),
            ("autostart", "1"),
            ("bridge_ports", ""),
            ("bridge_stp", "off"),
            ("bridge_fd", "0"),
        ];
        let mut bridge: Config =
            bridge.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
        bridge.insert("cidr".to_owned(), format!("{ip}/24"));
        Self {
            name: name.to_owned(),
            ip,
            cpus: 16,
            memory: 64 << 30,
            away: None,
            interfaces: [("vmbr0".to_owned(), bridge)].into(),
            waiting: None,
            up: ["vmbr0".to_owned()].into(),
            next_pid: 0x170,
        }
    }

    pub(super) fn is_online(&self) -> bool {
        self.away.is_none()
    }

    /// A process number that no other process of the host has had.
    pub(super) fn pid(&mut self) -> u32 {
        self.next_pid = self.next_pid.wrapping_add(1);
        self.next_pid
    }
}

/// A group of guests and storages.
#[derive(Debug, Clone, Default)]
pub(super) struct Pool {
    pub(super) comment: Option<String>,
    pub(super) guests: BTreeSet<u32>,
    pub(super) storages: BTreeSet<String>,
}

/// Everything.
pub(super) struct Cluster {
    pub(super) clock: Clock,
    pub(super) random: fastrand::Rng,
    pub(super) options: Options,
    pub(super) hosts: Vec<Host>,
    pub(super) quorate: bool,
    pub(super) guests: BTreeMap<u32, Guest>,
    pub(super) storages: BTreeMap<String, Storage>,
    pub(super) pools: BTreeMap<String, Pool>,
    pub(super) tasks: Tasks,
    pub(super) access: Access,
    pub(super) faults: Faults,
    pub(super) consoles: Consoles,
    pub(super) zones: BTreeMap<String, Config>,
    pub(super) vnets: BTreeMap<String, Config>,
    /// Firewall rules by the path of their list.
    pub(super) rules: BTreeMap<String, Vec<Config>>,
    /// What the cluster last published about its guests, and when.
    pub(super) published: (Option<Duration>, BTreeMap<u32, serde_json::Value>),
}

impl Cluster {
    /// # Errors
    /// A refusal where there is no such host: its name does not resolve.
    pub(super) fn host(&self, name: &str) -> Result<&Host, Refusal> {
        self.hosts.iter().find(|host| host.name == name).ok_or_else(|| {
            Refusal::die(format!(
                "hostname lookup '{name}' failed - failed to get address info for: {name}: Temporary failure in name resolution"
            ))
        })
    }

    pub(super) fn host_mut(&mut self, name: &str) -> Option<&mut Host> {
        self.hosts.iter_mut().find(|host| host.name == name)
    }

    /// The guest, if it is of this kind and on this host.
    pub(super) fn at(&self, kind: Kind, host: &str, vmid: u32) -> Result<&Guest, String> {
        let guest = self.guests.get(&vmid).filter(|guest| guest.kind == kind && guest.host == host);
        guest.ok_or_else(|| {
            format!("Configuration file 'nodes/{host}/{}/{vmid}.conf' does not exist", kind.folder())
        })
    }

    pub(super) fn at_mut(&mut self, kind: Kind, host: &str, vmid: u32) -> Result<&mut Guest, String> {
        self.at(kind, host, vmid)?;
        self.guests.get_mut(&vmid).ok_or_else(|| format!("{} {vmid} is gone", kind.noun()))
    }

    /// The number of CPUs of a host.
    pub(super) fn cpus_of(&self, host: &str) -> u64 {
        self.hosts.iter().find(|known| known.name == host).map_or(1, |known| known.cpus)
    }

    /// # Errors
    /// A refusal where the cluster has no majority, which is when nothing can be written.
    pub(super) fn need_quorum(&self, otherwise: impl FnOnce() -> String) -> Result<(), Refusal> {
        if self.quorate { Ok(()) } else { Err(Refusal::die(otherwise())) }
    }

    /// # Errors
    /// A refusal where a guest has the number already.
    pub(super) fn check_unused(&self, vmid: u32) -> Result<(), String> {
        match self.guests.get(&vmid) {
            Some(guest) => {
                Err(format!("{} {vmid} already exists on node '{}'", guest.kind.noun(), guest.host))
            }
            None => Ok(()),
        }
    }

    /// The lowest number that no guest has.
    pub(super) fn free_vmid(&self) -> u32 {
        (100..).find(|vmid| !self.guests.contains_key(vmid)).unwrap_or(100)
    }

    /// How long a task of this type lasts.
    pub(super) fn task_time(&self, kind: &str) -> Duration {
        self.options.task_times.get(kind).copied().unwrap_or(self.options.task_time)
    }

    pub(super) fn uuid(&mut self) -> String {
        let (high, low) = (self.random.u64(..), self.random.u64(..));
        format!(
            "{:08x}-{:04x}-4{:03x}-a{:03x}-{:012x}",
            high >> 32,
            high >> 16 & 0xffff,
            high & 0xfff,
            low >> 52,
            low & 0xffff_ffff_ffff
        )
    }

    pub(super) fn mac(&mut self) -> String {
        let number = self.random.u32(..0x0100_0000);
        format!("BC:24:11:{:02X}:{:02X}:{:02X}", number >> 16, number >> 8 & 0xff, number & 0xff)
    }

    /// A text of hex digits, for tickets and the like.
    pub(super) fn secret(&mut self) -> String {
        format!("{:016X}{:016X}", self.random.u64(..), self.random.u64(..))
    }

    /// The pool that a guest is in.
    pub(super) fn pool_of(&self, vmid: u32) -> Option<&str> {
        self.pools.iter().find(|(_, pool)| pool.guests.contains(&vmid)).map(|(name, _)| name.as_str())
    }
}

impl std::fmt::Debug for Cluster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let hosts: Vec<&str> = self.hosts.iter().map(|host| host.name.as_str()).collect();
        f.debug_struct("Cluster")
            .field("hosts", &hosts)
            .field("guests", &self.guests.len())
            .field("storages", &self.storages.keys())
            .finish_non_exhaustive()
    }
}
