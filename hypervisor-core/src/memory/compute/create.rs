//! How guests come and go.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::error::{Error, Result};
use crate::memory::state::{Setup, Target, Vm, World};
use crate::memory::task::Work;
use crate::model::{
    DeleteVm, DiskDevice, DiskSource, DisposeDisks, EventKind, GroupId, HostId, PowerAction, SnapshotId,
    Started, VmId, VmSpec, VmState, VolumeId,
};
use crate::operation::Operation;

/// How a guest that is being made goes on.
pub(in crate::memory) struct Birth {
    pub(in crate::memory) operation: Operation,
    /// The volumes that were made for it.
    pub(in crate::memory) made: Vec<VolumeId>,
    /// What is read for it meanwhile.
    pub(in crate::memory) reads: Vec<Target>,
    pub(in crate::memory) start: bool,
    pub(in crate::memory) template: bool,
    pub(in crate::memory) length: Duration,
    pub(in crate::memory) reason: &'static str,
    pub(in crate::memory) stages: &'static [&'static str],
}

impl World {
    /// The id of a new guest, if its name, id and group will do.
    pub(in crate::memory) fn admit(
        &self,
        name: &str,
        wanted: Option<&VmId>,
        group: Option<&GroupId>,
    ) -> Result<VmId> {
        self.name_is_free(name, None)?;
        self.group_exists(group)?;
        if let Some(id) = wanted {
            if self.vms.contains_key(id) {
                return Err(Error::already_exists(VmId::NOUN, id));
            }
            return Ok(id.clone());
        }
        let mut ids = (self.next_vm..).map(|number| VmId::from(number.to_string()));
        let free = ids.find(|id| !self.vms.contains_key(id));
        free.ok_or_else(|| Error::new(crate::ErrorKind::Exhausted, "there is no free id"))
    }

    pub(super) fn name_is_free(&self, name: &str, but_for: Option<&VmId>) -> Result<()> {
        let taken = self.vms.values().any(|vm| vm.setup.spec.name == name && Some(&vm.id) != but_for);
        if taken { Err(Error::already_exists(VmId::NOUN, name)) } else { Ok(()) }
    }

    pub(super) fn create_vm(&mut self, spec: &VmSpec) -> Result<Started<VmId>> {
        let id = self.admit(&spec.name, spec.id.as_ref(), spec.group.as_ref())?;
        let host = self.place(spec.host.as_ref(), spec.cpus, spec.memory)?;
        spec.nics.iter().try_for_each(|nic| self.source_exists(&nic.source))?;
        let mut made = Vec::new();
        let mut disks = Vec::new();
        for disk in &spec.disks {
            match self.make_disk((&id, &spec.name, &host), disk, &disks, &mut made) {
                Ok(disk) => disks.push(disk),
                Err(error) => {
                    made.iter().for_each(|volume| self.drop_volume(volume));
                    return Err(error);
                }
            }
        }
        let mut nics = Vec::new();
        for nic in &spec.nics {
            let nic = self.make_nic(nic, &nics)?;
            nics.push(nic);
        }
        let copied = |source: &DiskSource| match source {
            DiskSource::Copy { of, .. } => Some(Target::Volume(of.clone())),
            _ => None,
        };
        let reads: Vec<Target> = spec.disks.iter().filter_map(|disk| copied(&disk.source)).collect();
        let stripped = VmSpec {
            disks: Vec::new(),
            nics: Vec::new(),
            start: false,
            id: None,
            host: None,
            ..spec.clone()
        };
        self.insert_vm(&id, &host, Setup { spec: stripped, disks, nics, files: BTreeMap::new() });
        let birth = Birth {
            operation: Operation::CreateVm,
            made,
            length: if reads.is_empty() { Duration::ZERO } else { self.long() },
            reads,
            start: spec.start || spec.ephemeral,
            template: false,
            reason: "create",
            stages: &["allocating disks", "copying disks", "defining the guest"],
        };
        self.bear(&id, birth)
    }

    /// Puts a new guest into the world, not yet ready.
    pub(in crate::memory) fn insert_vm(&mut self, id: &VmId, host: &HostId, setup: Setup) {
        if id.as_str() == self.next_vm.to_string() {
            self.next_vm += 1;
        }
        let vm = Vm {
            id: id.clone(),
            uid: self.uuid(),
            host: host.clone(),
            state: VmState::Provisioning,
            template: false,
            created: self.now,
            since: None,
            ran: Duration::ZERO,
            revision: 1,
            cycle: 0,
            setup,
            live: None,
            snapshots: BTreeMap::new(),
            current: None,
            frozen: false,
        };
        self.vms.insert(id.clone(), vm);
        self.emit(EventKind::VmCreated(id.clone()));
    }

    /// Makes an inserted guest ready, at once or as a task. If that fails, nothing of it is left.
    pub(in crate::memory) fn bear(&mut self, id: &VmId, birth: Birth) -> Result<Started<VmId>> {
        let (ready, undone, made) = (id.clone(), id.clone(), birth.made);
        let host = self.vm(id)?.host.clone();
        let work = Work::new(birth.operation, move |world| {
            world.vm_mut(&ready)?.template = birth.template;
            world.set_state(&ready, VmState::Stopped);
            if birth.start { world.power(&ready, &PowerAction::Start).map(|_| ()) } else { Ok(()) }
        });
        let work = work.undo(move |world| {
            world.remove_vm(&undone);
            made.iter().for_each(|volume| world.drop_volume(volume));
        });
        let work = work.takes(birth.length, birth.stages).on(id, &host, birth.reason);
        let work = birth.reads.into_iter().fold(work, |work, read| work.holds(read, birth.reason, true));
        self.run(work, id.clone())
    }

    /// Takes a guest away without asking.
    pub(in crate::memory) fn remove_vm(&mut self, id: &VmId) {
        if self.vms.remove(id).is_none() {
            return;
        }
        // The next guest may get the same id.
        for volume in self.volumes.values_mut().filter(|volume| volume.owner.as_ref() == Some(id)) {
            volume.owner = None;
        }
        if let Ok(number) = id.as_str().parse::<u64>()
            && number >= 100
            && number.to_string() == id.as_str()
        {
            self.next_vm = self.next_vm.min(number);
        }
        self.drop_leases();
        self.emit(EventKind::VmDeleted(id.clone()));
    }

    pub(super) fn delete_vm(&mut self, id: &VmId, options: &DeleteVm) -> Result<Started<()>> {
        self.vm_info(self.vm(id)?).check_uid(options.expected_uid.as_deref())?;
        let vm = self.free_vm(id)?;
        let refused = |why: String| Err(Error::invalid_state(why).with_target(VmId::NOUN, id));
        if vm.state.is_active() && !options.power_off {
            return refused(format!("it is {} and has to be powered off first", vm.state));
        }
        if !vm.snapshots.is_empty() && !options.snapshots {
            let names: Vec<&str> = vm.snapshots.keys().map(SnapshotId::as_str).collect();
            return refused(format!("it has snapshots: {}", names.join(", ")));
        }
        let doomed: Vec<VolumeId> = match &options.disks {
            DisposeDisks::Keep => Vec::new(),
            DisposeDisks::Delete => {
                let disks = vm.setup.disks.iter().filter(|disk| disk.device == DiskDevice::Disk);
                disks.filter_map(|disk| disk.volume.clone()).collect()
            }
            DisposeDisks::Listed(slots) => {
                let disks: Vec<_> = slots.iter().map(|slot| vm.setup.disk(slot)).collect::<Result<_>>()?;
                disks.into_iter().filter_map(|disk| disk.volume.clone()).collect()
            }
        };
        doomed.iter().try_for_each(|volume| self.deletable(volume, Some(id)))?;
        if vm.state.is_active() {
            self.power_down(id);
        }
        self.remove_vm(id);
        for volume in &doomed {
            self.drop_volume(volume);
        }
        Ok(Started::done(()))
    }
}
