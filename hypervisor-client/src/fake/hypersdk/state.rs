//! What the fake's host has.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Instant, SystemTime};

use hypervisor_core::model::ByteSize;
use serde_json::Value;
use uuid::Uuid;

/// Where a domain is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Power {
    Off,
    Running,
    Paused,
}

impl Power {
    /// In virsh's words.
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Off => "shut off",
            Self::Running => "running",
            Self::Paused => "paused",
        }
    }
}

#[derive(Debug, Clone)]
pub(super) struct Interface {
    pub(super) device: String,
    pub(super) mac: String,
}

#[derive(Debug, Clone)]
pub(super) struct Snapshot {
    pub(super) name: String,
    pub(super) parent: Option<String>,
    pub(super) power: Power,
}

#[derive(Debug, Clone)]
pub(super) struct Vm {
    pub(super) name: String,
    pub(super) uuid: String,
    /// libvirt's number while it runs.
    pub(super) id: Option<u32>,
    pub(super) power: Power,
    pub(super) cpus: u64,
    /// In MiB.
    pub(super) memory: u64,
    pub(super) autostart: bool,
    /// Whether it is still there when it has powered off.
    pub(super) persistent: bool,
    /// Its disks, as paths.
    pub(super) disks: Vec<String>,
    pub(super) interfaces: Vec<Interface>,
    pub(super) snapshots: Vec<Snapshot>,
    pub(super) current: Option<String>,
}

#[derive(Debug, Clone)]
pub(super) struct Network {
    pub(super) uuid: String,
    pub(super) active: bool,
    pub(super) autostart: bool,
    pub(super) bridge: String,
}

#[derive(Debug, Clone)]
pub(super) struct Volume {
    /// In bytes.
    pub(super) capacity: u64,
    pub(super) allocation: u64,
    pub(super) format: String,
}

#[derive(Debug, Clone)]
pub(super) struct Job {
    pub(super) definition: Value,
    pub(super) status: &'static str,
    pub(super) error: Option<String>,
    pub(super) started: SystemTime,
    pub(super) ended: Option<SystemTime>,
}

#[derive(Debug, Clone)]
pub(super) struct Backup {
    pub(super) vm: String,
    pub(super) disks: usize,
    pub(super) created: SystemTime,
    pub(super) compressed: bool,
    pub(super) verified: bool,
}

#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) vms: BTreeMap<String, Vm>,
    pub(super) networks: BTreeMap<String, Network>,
    /// The volumes of each pool.
    pub(super) pools: BTreeMap<String, BTreeMap<String, Volume>>,
    pub(super) jobs: BTreeMap<String, Job>,
    pub(super) schedules: BTreeMap<String, Value>,
    pub(super) backups: BTreeMap<String, Backup>,
    pub(super) isos: BTreeMap<String, usize>,
    pub(super) sessions: BTreeSet<String>,
    pub(super) api_key: Option<String>,
    pub(super) silent: BTreeSet<String>,
    pub(super) began: Option<Instant>,
    next_id: u32,
    next_vnet: u32,
}

/// A machine of the fake: two CPUs, 256 MiB, one disk in the pool `default`, a NIC in the network `default`, off.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FakeDomain {
    pub(super) name: String,
    pub(super) running: bool,
    pub(super) cpus: u32,
    /// In MiB.
    pub(super) memory: u64,
    pub(super) disks: usize,
    pub(super) transient: bool,
}

impl FakeDomain {
    /// A machine of this name.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), running: false, cpus: 2, memory: 256, disks: 1, transient: false }
    }

    /// It runs.
    #[must_use]
    pub fn running(mut self, running: bool) -> Self {
        self.running = running;
        self
    }

    /// It runs, and is gone with its power.
    #[must_use]
    pub fn transient(mut self) -> Self {
        (self.running, self.transient) = (true, true);
        self
    }

    /// How many CPUs, and how much memory in whole MiB.
    #[must_use]
    pub fn size(mut self, cpus: u32, memory: ByteSize) -> Self {
        (self.cpus, self.memory) = (cpus, memory.div_ceil(ByteSize::mib(1)));
        self
    }

    /// How many disks.
    #[must_use]
    pub fn disks(mut self, disks: usize) -> Self {
        self.disks = disks;
        self
    }
}

/// Where volumes of a pool lie.
pub(super) fn path(pool: &str, volume: &str) -> String {
    if pool == "default" {
        format!("/var/lib/libvirt/images/{volume}")
    } else {
        format!("/var/lib/libvirt/pools/{pool}/{volume}")
    }
}

impl State {
    pub(super) fn new() -> Self {
        let mut state = Self { began: Some(Instant::now()), ..Self::default() };
        state.add_pool("default");
        state.add_network("default");
        state
    }

    pub(super) fn add_pool(&mut self, name: &str) {
        self.pools.entry(name.to_owned()).or_default();
    }

    pub(super) fn add_network(&mut self, name: &str) {
        let bridge = format!("virbr{}", self.networks.len());
        let network = Network { uuid: Uuid::new_v4().to_string(), active: true, autostart: true, bridge };
        self.networks.insert(name.to_owned(), network);
    }

    pub(super) fn add_vm(&mut self, domain: &FakeDomain) {
        let FakeDomain { name, running, cpus, memory, disks, transient } = domain;
        let files = (1..=*disks).map(|index| match index {
            1 => format!("{name}.qcow2"),
            index => format!("{name}-{index}.qcow2"),
        });
        let files: Vec<String> = files.collect();
        let paths = files.iter().map(|file| path("default", file)).collect();
        for file in files {
            let volume = Volume { capacity: 1 << 30, allocation: 200_704, format: "qcow2".to_owned() };
            self.pools.entry("default".to_owned()).or_default().insert(file, volume);
        }
        let interface = Interface { device: String::new(), mac: mac() };
        let vm = Vm {
            name: name.clone(),
            uuid: Uuid::new_v4().to_string(),
            id: None,
            power: Power::Off,
            cpus: (*cpus).into(),
            memory: *memory,
            autostart: false,
            persistent: !transient,
            disks: paths,
            interfaces: vec![interface],
            snapshots: Vec::new(),
            current: None,
        };
        self.vms.insert(name.clone(), vm);
        if *running {
            self.power_on(name, false);
        }
    }

    /// The domain that `virsh` means: by number, UUID or name.
    pub(super) fn find(&self, name: &str) -> Option<&Vm> {
        let number = name.parse::<u32>().ok();
        let by_number = number.and_then(|number| self.vms.values().find(|vm| vm.id == Some(number)));
        by_number.or_else(|| self.vms.values().find(|vm| vm.uuid == name)).or_else(|| self.vms.get(name))
    }

    pub(super) fn find_mut(&mut self, name: &str) -> Option<&mut Vm> {
        let name = self.find(name)?.name.clone();
        self.vms.get_mut(&name)
    }

    pub(super) fn power_on(&mut self, name: &str, paused: bool) {
        self.next_id += 1;
        let (id, mut vnet) = (self.next_id, self.next_vnet);
        if let Some(vm) = self.find_mut(name) {
            vm.id = Some(id);
            vm.power = if paused { Power::Paused } else { Power::Running };
            for interface in &mut vm.interfaces {
                interface.device = format!("vnet{vnet}");
                vnet += 1;
            }
        }
        self.next_vnet = vnet;
    }

    pub(super) fn power_off(&mut self, name: &str) {
        if let Some(vm) = self.find_mut(name) {
            vm.id = None;
            vm.power = Power::Off;
            if !vm.persistent {
                let name = vm.name.clone();
                self.vms.remove(&name);
            }
        }
    }

    pub(super) fn attach(&mut self, name: &str) {
        let device = format!("vnet{}", self.next_vnet);
        self.next_vnet += 1;
        if let Some(vm) = self.find_mut(name) {
            vm.interfaces.push(Interface { device, mac: mac() });
        }
    }

    pub(super) fn end_job(&mut self, id: &str, error: Option<&str>) {
        if let Some(job) = self.jobs.get_mut(id) {
            job.status = if error.is_some() { "failed" } else { "completed" };
            job.error = error.map(str::to_owned);
            job.ended = Some(SystemTime::now());
        }
    }

    /// The place of a file: its pool and name.
    pub(super) fn volume_of(&self, file: &str) -> Option<(String, String)> {
        self.pools.iter().find_map(|(pool, volumes)| {
            volumes.keys().find(|name| path(pool, name) == file).map(|name| (pool.clone(), name.clone()))
        })
    }
}

fn mac() -> String {
    let [a, b, c, ..] = Uuid::new_v4().into_bytes();
    format!("52:54:00:{a:02x}:{b:02x}:{c:02x}")
}
