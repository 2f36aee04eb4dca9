//! The world: everything that the hypervisor has, and the passing of time over it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::builder::Config;
use super::compute::serial::Serial;
use super::content::Content;
use super::event::EventLog;
use super::fault::{Fault, Faults};
use super::task::{Task, TaskTable};
use super::vms::Vms;
use crate::error::{Error, ErrorKind, Result};
use crate::model::{
    BackupId, BackupInfo, ByteSize, Capabilities, DiskInfo, EventKind, GroupId, HostId, HostState, MacAddr,
    NetworkId, NetworkInfo, NicInfo, Page, PageRequest, PoolId, PoolInfo, SnapshotId, TaskId, Unreachable,
    VmId, VmSpec, VmState, VolumeFormat, VolumeId,
};

#[derive(Debug)]
pub(super) struct Host {
    pub(super) cpus: u32,
    pub(super) memory: ByteSize,
    pub(super) state: HostState,
    pub(super) reachable: bool,
}

/// What a guest is made of, as far as a snapshot, a clone and a backup take it along.
#[derive(Debug, Clone)]
pub(super) struct Setup {
    /// Everything but disks and NICs.
    pub(super) spec: VmSpec,
    pub(super) disks: Vec<DiskInfo>,
    pub(super) nics: Vec<NicInfo>,
    /// What the agent has written.
    pub(super) files: BTreeMap<String, bytes::Bytes>,
}

#[derive(Debug, Clone)]
pub(super) struct Vm {
    pub(super) id: VmId,
    pub(super) uid: String,
    pub(super) host: HostId,
    pub(super) state: VmState,
    pub(super) template: bool,
    pub(super) created: Duration,
    /// Since when it runs; moved back when it wakes, by the time that it ran before.
    pub(super) since: Option<Duration>,
    /// How long it had run when it was hibernated.
    pub(super) ran: Duration,
    pub(super) revision: u64,
    /// A number for each power cycle, so that a late power-off does not hit the next one.
    pub(super) cycle: u64,
    pub(super) setup: Setup,
    /// The configuration in force, where it is another one.
    pub(super) live: Option<VmSpec>,
    pub(super) snapshots: BTreeMap<SnapshotId, Snap>,
    pub(super) current: Option<SnapshotId>,
    pub(super) frozen: bool,
}

impl Vm {
    /// The configuration in force.
    pub(super) fn in_force(&self) -> &VmSpec {
        self.live.as_ref().unwrap_or(&self.setup.spec)
    }
}

#[derive(Debug, Clone)]
pub(super) struct Snap {
    pub(super) parent: Option<SnapshotId>,
    pub(super) description: Option<String>,
    pub(super) created: Duration,
    pub(super) state: VmState,
    pub(super) memory: bool,
    pub(super) setup: Setup,
    pub(super) live: Option<VmSpec>,
    pub(super) volumes: BTreeMap<VolumeId, (ByteSize, Content)>,
}

#[derive(Debug, Clone)]
pub(super) struct Pool {
    pub(super) info: PoolInfo,
    pub(super) capacity: ByteSize,
}

#[derive(Debug, Clone)]
pub(super) struct Volume {
    pub(super) pool: PoolId,
    pub(super) name: String,
    pub(super) capacity: ByteSize,
    pub(super) format: VolumeFormat,
    pub(super) kind: Option<String>,
    pub(super) backing: Option<VolumeId>,
    /// The backing content was frozen by a snapshot, so that the backing volume itself may go on changing.
    pub(super) of_snapshot: bool,
    pub(super) preallocated: bool,
    pub(super) owner: Option<VmId>,
    pub(super) created: Duration,
    pub(super) content: Content,
}

impl Volume {
    /// How much of the pool it takes.
    pub(super) fn allocation(&self) -> ByteSize {
        if self.preallocated { self.capacity } else { ByteSize::bytes(self.content.stored()) }
    }
}

#[derive(Debug, Clone)]
pub(super) struct Net {
    /// As it will be when it is next brought up.
    pub(super) info: NetworkInfo,
    /// As it is, while it is up.
    pub(super) live: Option<NetworkInfo>,
    pub(super) leases: BTreeMap<MacAddr, std::net::IpAddr>,
}

#[derive(Debug, Clone)]
pub(super) struct Backup {
    pub(super) info: BackupInfo,
    /// The stable identity of its guest: the id may belong to another one by now.
    pub(super) uid: String,
    pub(super) setup: Setup,
    pub(super) volumes: BTreeMap<VolumeId, Volume>,
}

#[derive(Debug, Clone, Default)]
pub(super) struct Group {
    pub(super) description: Option<String>,
    pub(super) pools: BTreeSet<PoolId>,
}

/// What a task can hold.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Target {
    Vm(VmId),
    Volume(VolumeId),
}

#[derive(Debug, Clone)]
pub(super) struct Lock {
    pub(super) task: TaskId,
    pub(super) reason: &'static str,
    /// Others may read at the same time.
    pub(super) shared: bool,
}

/// What happens by itself.
#[derive(Debug, Clone)]
pub(super) enum Timer {
    TaskEnds(TaskId),
    PowersOff { vm: VmId, cycle: u64 },
}

#[derive(Debug)]
pub(super) struct World {
    pub(super) now: Duration,
    pub(super) config: Config,
    pub(super) capabilities: Arc<Capabilities>,
    pub(super) rng: fastrand::Rng,
    pub(super) next_vm: u64,
    pub(super) hosts: BTreeMap<HostId, Host>,
    pub(super) vms: Vms,
    pub(super) pools: BTreeMap<PoolId, Pool>,
    pub(super) volumes: BTreeMap<VolumeId, Volume>,
    /// What pools have left behind on the host, by their path.
    pub(super) left: BTreeMap<String, Vec<Volume>>,
    pub(super) networks: BTreeMap<NetworkId, Net>,
    pub(super) groups: BTreeMap<GroupId, Group>,
    pub(super) backups: BTreeMap<BackupId, Backup>,
    pub(super) next_backup: u64,
    /// What exports have written on the hosts.
    pub(super) host_files: BTreeMap<String, (u64, Content)>,
    /// The serial ports that are open.
    pub(super) serials: BTreeMap<VmId, Serial>,
    pub(super) tasks: TaskTable,
    pub(super) locks: BTreeMap<Target, Vec<Lock>>,
    pub(super) events: EventLog,
    pub(super) faults: Faults,
    /// What goes wrong with the call at work.
    pub(super) fault: Option<Fault>,
    timers: BTreeMap<(Duration, u64), Timer>,
    next_number: u64,
}

impl World {
    pub(super) fn new(config: Config, capabilities: Arc<Capabilities>) -> Self {
        let mut world = Self {
            now: Duration::ZERO,
            rng: fastrand::Rng::with_seed(config.seed),
            next_vm: 100,
            hosts: BTreeMap::new(),
            vms: Vms::default(),
            pools: BTreeMap::new(),
            volumes: BTreeMap::new(),
            left: BTreeMap::new(),
            networks: BTreeMap::new(),
            groups: BTreeMap::new(),
            backups: BTreeMap::new(),
            next_backup: 1,
            host_files: BTreeMap::new(),
            serials: BTreeMap::new(),
            tasks: TaskTable::default(),
            locks: BTreeMap::new(),
            events: EventLog::new(config.event_buffer),
            faults: Faults::default(),
            fault: None,
            timers: BTreeMap::new(),
            next_number: 0,
            capabilities,
            config,
        };
        world.furnish();
        world
    }

    fn furnish(&mut self) {
        for number in 1..=self.config.hosts {
            let host = Host {
                cpus: self.config.host_cpus,
                memory: self.config.host_memory,
                state: HostState::Online,
                reachable: true,
            };
            self.hosts.insert(HostId::from(format!("host-{number}")), host);
        }
        for (name, capacity) in self.config.pools.clone() {
            self.add_default_pool(&name, capacity);
        }
        self.add_default_network();
        self.faults.add(self.config.faults.clone());
    }

    /// Lets everything happen that is due by `now`, in its order.
    pub(super) fn advance(&mut self, now: Duration) {
        while let Some(entry) = self.timers.first_entry() {
            let (at, _) = *entry.key();
            if at > now {
                break;
            }
            let timer = entry.remove();
            self.now = self.now.max(at);
            match timer {
                Timer::TaskEnds(task) => self.end_task(&task),
                Timer::PowersOff { vm, cycle } => self.power_off_late(&vm, cycle),
            }
        }
        self.now = self.now.max(now);
    }

    /// When something will happen by itself.
    pub(super) fn next_change(&self) -> Option<Duration> {
        self.timers.first_key_value().map(|((at, _), _)| *at)
    }

    /// Has something happen after a time; never, where that is beyond all time.
    pub(super) fn after(&mut self, delay: Duration, timer: Timer) {
        if let Some(at) = self.now.checked_add(delay) {
            let number = self.unique();
            self.timers.insert((at, number), timer);
        }
    }

    /// A number that is given once.
    pub(super) fn unique(&mut self) -> u64 {
        self.next_number += 1;
        self.next_number
    }

    pub(super) fn emit(&mut self, kind: EventKind) {
        self.events.push(self.now, kind);
    }

    pub(super) fn uuid(&mut self) -> String {
        let mut bytes = [0_u8; 16];
        self.rng.fill(&mut bytes);
        uuid::Builder::from_random_bytes(bytes).into_uuid().to_string()
    }

    pub(super) fn mac(&mut self) -> MacAddr {
        MacAddr::qemu([self.rng.u8(..), self.rng.u8(..), self.rng.u8(..)])
    }

    /// The guest, if its host can be reached.
    pub(super) fn vm(&self, id: &VmId) -> Result<&Vm> {
        let vm = self.vms.get(id).ok_or_else(|| id.not_found())?;
        self.reachable(&vm.host).map_err(|error| error.with_target(VmId::NOUN, id))?;
        Ok(vm)
    }

    pub(super) fn vm_mut(&mut self, id: &VmId) -> Result<&mut Vm> {
        self.vm(id)?;
        self.vms.get_mut(id).ok_or_else(|| id.not_found())
    }

    /// The guest, if no task holds it.
    pub(super) fn free_vm(&self, id: &VmId) -> Result<&Vm> {
        let vm = self.vm(id)?;
        self.unlocked(&Target::Vm(id.clone()), false)?;
        Ok(vm)
    }

    /// Passes if the host exists and can be reached.
    pub(super) fn reachable(&self, id: &HostId) -> Result<&Host> {
        let host = self.hosts.get(id).ok_or_else(|| id.not_found())?;
        if host.reachable {
            return Ok(host);
        }
        Err(Error::new(ErrorKind::HostUnreachable, format!("host `{id}` does not answer"))
            .with_target(HostId::NOUN, id))
    }

    /// The hosts that a list cannot ask.
    pub(super) fn unreachable(&self) -> Vec<Unreachable> {
        let down = self.hosts.iter().filter(|(_, host)| !host.reachable);
        down.map(|(id, _)| Unreachable::new(id, "the host does not answer")).collect()
    }

    /// The lock on this, if any.
    pub(super) fn lock_on(&self, target: &Target) -> Option<&Lock> {
        self.locks.get(target).and_then(|locks| locks.first())
    }

    /// Passes if no task holds this; with `shared`, if none holds it for itself alone.
    ///
    /// # Errors
    /// `Locked` with the reason.
    pub(super) fn unlocked(&self, target: &Target, shared: bool) -> Result<()> {
        let mut locks = self.locks.get(target).into_iter().flatten();
        let Some(lock) = locks.find(|lock| !(shared && lock.shared)) else { return Ok(()) };
        let message = format!("it is locked ({}) by task `{}`", lock.reason, lock.task);
        let error = Error::new(ErrorKind::Locked, message).with_task(lock.task.clone());
        Err(match target {
            Target::Vm(id) => error.with_target(VmId::NOUN, id),
            Target::Volume(id) => error.with_target(VolumeId::NOUN, id),
        })
    }

    /// The page that is asked for, never longer than the limit of the hypervisor.
    pub(super) fn page<T>(&self, all: Vec<T>, request: &PageRequest, key: impl Fn(&T) -> String) -> Page<T> {
        let most = self.config.page_limit;
        let request = PageRequest {
            limit: Some(request.limit.map_or(most, |limit| limit.min(most))),
            ..request.clone()
        };
        Page::cut(all, &request, key)
    }

    /// The same page as [`page`](Self::page) gives of all guests on hosts that answer. A long list is read page by page, and each page must
    /// not cost as much as the list.
    pub(super) fn page_of_vms(&self, request: &PageRequest) -> Page<&Vm> {
        let most = self.config.page_limit;
        let all = self.hosts.values().all(|host| host.reachable);
        let seen = |vm: &Vm| all || self.reachable(&vm.host).is_ok();
        let mut page = self.vms.page(request, most, seen);
        let total = if all { self.vms.len() } else { self.vms.values().filter(|vm| seen(vm)).count() };
        page.total = u64::try_from(total).ok();
        page
    }
}

/// A key that sorts `9` before `10`.
pub(super) fn by_number(id: &str) -> String {
    format!("{:03}{id}", id.len())
}

/// The tasks by their number, so that old ones can be forgotten first.
pub(super) type TaskMap = BTreeMap<u64, Task>;
