//! Snapshots: a guest's configuration and disks as they were, in a tree.

use std::collections::BTreeSet;
use std::time::Duration;

use async_trait::async_trait;

use super::Memory;
use super::clock::wall;
use super::state::{Snap, Target, Vm, World};
use super::task::Work;
use super::volume::has_files;
use crate::error::{Error, ErrorKind, Result};
use crate::model::{
    DeleteSnapshot, EventKind, Feature, PowerAction, RevertSnapshot, SnapshotId, SnapshotInfo, SnapshotSpec,
    SnapshotTree, Started, VmId, VmState, VolumeFormat, VolumeId,
};
use crate::operation::Operation;
use crate::traits::Snapshots;

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Snapshots for Memory {
    async fn list_snapshots(&self, vm: &VmId) -> Result<SnapshotTree> {
        self.call(Operation::ListSnapshots, &[], Ok(()), |world| {
            let vm = world.vm(vm)?;
            Ok(SnapshotTree::new(vm.snapshots.iter().map(|(id, snap)| info(vm, id, snap)).collect()))
        })
        .await
    }

    async fn get_snapshot(&self, vm: &VmId, snapshot: &SnapshotId) -> Result<SnapshotInfo> {
        self.call(Operation::GetSnapshot, &[], Ok(()), |world| {
            let vm = world.vm(vm)?;
            Ok(info(vm, snapshot, vm.snapshot(snapshot)?))
        })
        .await
    }

    async fn create_snapshot(&self, vm: &VmId, spec: &SnapshotSpec) -> Result<Started<SnapshotId>> {
        let valid = spec.validate();
        self.call(Operation::CreateSnapshot, &spec.needs(), valid, |world| world.create_snapshot(vm, spec))
            .await
    }

    async fn revert_snapshot(
        &self,
        vm: &VmId,
        snapshot: &SnapshotId,
        options: &RevertSnapshot,
    ) -> Result<Started<()>> {
        self.call(Operation::RevertSnapshot, &options.needs(), Ok(()), |world| {
            let host = world.free_vm(vm)?.host.clone();
            world.may_revert(vm, snapshot, options)?;
            let (vm, target, snapshot, options) = (vm.clone(), vm.clone(), snapshot.clone(), *options);
            let work =
                Work::new(Operation::RevertSnapshot, move |world| world.revert(&target, &snapshot, options));
            world.run(work.about(&vm, &host), ())
        })
        .await
    }

    async fn delete_snapshot(
        &self,
        vm: &VmId,
        snapshot: &SnapshotId,
        options: &DeleteSnapshot,
    ) -> Result<Started<()>> {
        self.call(Operation::DeleteSnapshot, &options.needs(), Ok(()), |world| {
            let found = world.free_vm(vm)?;
            found.snapshot(snapshot)?;
            let (vm, host, target, snapshot) = (vm.clone(), found.host.clone(), vm.clone(), snapshot.clone());
            let children = options.children;
            let work = Work::new(Operation::DeleteSnapshot, move |world| {
                world.delete_snapshot(&target, &snapshot, children)
            });
            world.run(work.about(&vm, &host), ())
        })
        .await
    }
}

fn info(vm: &Vm, id: &SnapshotId, snap: &Snap) -> SnapshotInfo {
    let mut info = SnapshotInfo::new(id)
        .current(vm.current.as_ref() == Some(id))
        .created(wall(snap.created))
        .state(snap.state.clone())
        .memory(snap.memory);
    info.parent.clone_from(&snap.parent);
    info.description.clone_from(&snap.description);
    info
}

impl Vm {
    fn snapshot(&self, id: &SnapshotId) -> Result<&Snap> {
        self.snapshots.get(id).ok_or_else(|| id.not_found())
    }
}

impl World {
    fn create_snapshot(&mut self, id: &VmId, spec: &SnapshotSpec) -> Result<Started<SnapshotId>> {
        let vm = self.free_vm(id)?;
        let snapshot = SnapshotId::from(spec.name.as_str());
        if vm.snapshots.contains_key(&snapshot) {
            return Err(Error::already_exists(SnapshotId::NOUN, &snapshot));
        }
        if vm.template {
            return Err(Error::invalid_state("it is a template").with_target(VmId::NOUN, id));
        }
        if spec.quiesce && vm.state.is_active() {
            self.agent(id)?;
        }
        let memory = spec.memory.unwrap_or_else(|| self.capabilities.has(Feature::MemorySnapshot));
        let memory = memory && vm.state.is_active();
        let mut volumes = std::collections::BTreeMap::new();
        for volume in vm.setup.own_volumes() {
            let found = self.can_have_snapshot(volume)?;
            volumes.insert(volume.clone(), (found.capacity, found.content.clone()));
        }
        if let Some(disk) = vm.setup.disks.iter().find(|disk| disk.volume.is_none() && !disk.read_only) {
            return Err(Error::invalid_state(format!(
                "its disk `{}` lies in no pool and cannot have one",
                disk.id
            ))
            .with_target(VmId::NOUN, id));
        }
        let snap = Snap {
            parent: vm.current.clone(),
            description: spec.description.clone().filter(|text| !text.is_empty()),
            created: self.now,
            state: vm.state.clone(),
            memory,
            setup: vm.setup.clone(),
            live: vm.live.clone(),
            volumes,
        };
        let (host, owner, name) = (vm.host.clone(), id.clone(), snapshot.clone());
        let work = Work::new(Operation::CreateSnapshot, move |world| {
            let vm = world.vm_mut(&owner)?;
            vm.snapshots.insert(name.clone(), snap);
            vm.current = Some(name.clone());
            world.emit(EventKind::SnapshotsChanged { vm: owner, snapshot: Some(name) });
            Ok(())
        });
        let length = if memory { self.long() } else { Duration::ZERO };
        let work = work.takes(length, &["saving memory", "freezing disks"]).on(id, &host, "snapshot");
        self.run(work, snapshot)
    }

    /// The volume, if what it lies in can keep an old state of it.
    fn can_have_snapshot(&self, id: &VolumeId) -> Result<&super::state::Volume> {
        let volume = self.readable(id)?;
        let plain_file = has_files(&self.pool(&volume.pool)?.info.kind) && volume.format == VolumeFormat::Raw;
        if plain_file {
            let message = "a raw file cannot have a snapshot; qcow2 can";
            return Err(Error::invalid_state(message).with_target(VolumeId::NOUN, id));
        }
        Ok(volume)
    }

    /// Passes if nothing is in the way of a revert.
    fn may_revert(&self, id: &VmId, snapshot: &SnapshotId, options: &RevertSnapshot) -> Result<()> {
        let vm = self.vm(id)?;
        let snap = vm.snapshot(snapshot)?;
        for (volume, (capacity, _)) in &snap.volumes {
            let present = self.volume(volume)?;
            self.unlocked(&Target::Volume(volume.clone()), false)?;
            self.room(&present.pool, capacity.saturating_sub(present.capacity))?;
            if let Some((heir, _)) = self.heirs(volume).find(|(_, heir)| !heir.of_snapshot) {
                return Err(Error::invalid_state(format!(
                    "volume `{heir}` starts from its volume `{volume}`"
                ))
                .with_target(VmId::NOUN, id));
            }
        }
        if snap.memory || options.start {
            let host = self.hosts.get(&vm.host).ok_or_else(|| vm.host.not_found())?;
            let own = if vm.state.is_active() { vm.in_force().memory } else { Default::default() };
            let others = self.memory_used(&vm.host).saturating_sub(own);
            let needs = snap.live.as_ref().unwrap_or(&snap.setup.spec).memory;
            if others.saturating_add(needs) > host.memory {
                let message = format!("{needs} of memory do not fit on host `{}` any more", vm.host);
                return Err(Error::new(ErrorKind::Exhausted, message).with_target(VmId::NOUN, id));
            }
        }
        Ok(())
    }

    fn revert(&mut self, id: &VmId, snapshot: &SnapshotId, options: RevertSnapshot) -> Result<()> {
        let vm = self.vm(id)?.clone();
        let snap = vm.snapshot(snapshot)?.clone();
        for (volume, (capacity, content)) in snap.volumes {
            if let Some(found) = self.volumes.get_mut(&volume) {
                found.capacity = capacity;
                found.content = content;
                self.emit(EventKind::VolumeChanged(volume));
            }
        }
        let (now, cycle) = (self.now, self.unique());
        let target = self.vm_mut(id)?;
        // What names the guest stays; what it is made of goes back.
        let present = std::mem::replace(&mut target.setup, snap.setup);
        target.setup.spec.name = present.spec.name;
        target.setup.spec.group = present.spec.group;
        target.setup.spec.client_token = present.spec.client_token;
        target.live = snap.live.filter(|_| snap.memory);
        target.current = Some(snapshot.clone());
        target.revision += 1;
        target.cycle = cycle;
        target.frozen = false;
        target.ran = Duration::ZERO;
        target.since = Some(now).filter(|_| snap.memory);
        for disk in &mut target.setup.disks {
            if let Some((capacity, _)) =
                disk.volume.as_ref().and_then(|volume| vm.snapshots.get(snapshot)?.volumes.get(volume))
            {
                disk.capacity = Some(*capacity);
            }
        }
        let state = if snap.memory { snap.state } else { VmState::Stopped };
        self.set_state(id, state.clone());
        self.lease_addresses(id);
        self.emit(EventKind::VmUpdated(id.clone()));
        self.emit(EventKind::SnapshotsChanged { vm: id.clone(), snapshot: Some(snapshot.clone()) });
        match state {
            VmState::Stopped if options.start => self.power(id, &PowerAction::Start),
            VmState::Paused if options.start => self.power(id, &PowerAction::Resume),
            _ => Ok(()),
        }
    }

    fn delete_snapshot(&mut self, id: &VmId, snapshot: &SnapshotId, children: bool) -> Result<()> {
        let vm = self.vm_mut(id)?;
        let parent = vm.snapshot(snapshot)?.parent.clone();
        let mut doomed = BTreeSet::from([snapshot.clone()]);
        if children {
            loop {
                let more = vm.snapshots.iter().filter(|(child, snap)| {
                    !doomed.contains(*child)
                        && snap.parent.as_ref().is_some_and(|parent| doomed.contains(parent))
                });
                let more: Vec<SnapshotId> = more.map(|(child, _)| child.clone()).collect();
                if more.is_empty() {
                    break;
                }
                doomed.extend(more);
            }
        }
        vm.snapshots.retain(|child, _| !doomed.contains(child));
        for snap in vm.snapshots.values_mut() {
            if snap.parent.as_ref().is_some_and(|above| doomed.contains(above)) {
                snap.parent.clone_from(&parent);
            }
        }
        if vm.current.as_ref().is_some_and(|current| doomed.contains(current)) {
            vm.current = parent;
        }
        self.emit(EventKind::SnapshotsChanged { vm: id.clone(), snapshot: Some(snapshot.clone()) });
        Ok(())
    }
}
