//! Disks and NICs of guests, plugged in and out while they run.

use std::time::Duration;

use crate::error::{Error, Result};
use crate::memory::state::{Target, Vm, World};
use crate::memory::task::Work;
use crate::model::{
    ByteSize, DetachDisk, DiskBus, DiskId, DiskSource, DiskSpec, Feature, NicChange, NicId, NicSpec,
    ResizeVolume, Started, VmId,
};
use crate::operation::Operation;

impl World {
    /// The guest, if devices may be plugged in and out now.
    fn pluggable(&self, id: &VmId, feature: Feature) -> Result<&Vm> {
        let vm = self.free_vm(id)?;
        if vm.state.is_active() {
            self.capabilities.require(feature)?;
        }
        if vm.template {
            return Err(Error::invalid_state("it is a template").with_target(VmId::NOUN, id));
        }
        Ok(vm)
    }

    pub(super) fn attach_disk(&mut self, id: &VmId, spec: &DiskSpec) -> Result<Started<DiskId>> {
        let vm = self.pluggable(id, Feature::HotplugDisk)?.clone();
        let mut made = Vec::new();
        let disk = self.make_disk((id, &vm.setup.spec.name, &vm.host), spec, &vm.setup.disks, &mut made)?;
        let taken = disk.volume.as_ref().filter(|volume| vm.setup.volumes().any(|own| own == *volume));
        let refused = match taken {
            Some(volume) => Some(Error::invalid_state(format!("it has volume `{volume}` already"))),
            None if vm.state.is_active() && disk.bus == DiskBus::Ide => {
                Some(Error::invalid_state("a disk on the IDE bus cannot be plugged into a running guest"))
            }
            None => None,
        };
        if let Some(error) = refused {
            made.iter().for_each(|volume| self.drop_volume(volume));
            return Err(error.with_target(VmId::NOUN, id));
        }
        let slot = disk.id.clone();
        let (owner, plugged) = (id.clone(), slot.clone());
        self.vm_mut(id)?.setup.disks.push(disk);
        self.revise(id);
        let copies = matches!(spec.source, DiskSource::Copy { .. });
        let work = Work::new(Operation::AttachDisk, |_| Ok(())).undo(move |world| {
            if let Some(vm) = world.vms.get_mut(&owner) {
                vm.setup.disks.retain(|disk| disk.id != plugged);
            }
            world.revise(&owner);
            made.iter().for_each(|volume| world.drop_volume(volume));
        });
        let length = if copies { self.long() } else { Duration::ZERO };
        let mut work = work.takes(length, &["copying the disk", "plugging it in"]).on(id, &vm.host, "disk");
        if let DiskSource::Copy { of, .. } = &spec.source {
            work = work.holds(Target::Volume(of.clone()), "disk", true);
        }
        self.run(work, slot)
    }

    pub(super) fn detach_disk(
        &mut self,
        id: &VmId,
        slot: &DiskId,
        options: &DetachDisk,
    ) -> Result<Started<()>> {
        let vm = self.pluggable(id, Feature::HotplugDisk)?;
        let disk = vm.setup.disk(slot)?.clone();
        if vm.state.is_active() && disk.bus == DiskBus::Ide {
            return Err(Error::invalid_state("a disk on the IDE bus cannot be taken out of a running guest")
                .with_target(DiskId::NOUN, slot));
        }
        let doomed = disk.volume.filter(|_| options.delete_volume);
        if let Some(volume) = &doomed {
            let held = vm.snapshots.iter().find(|(_, snap)| snap.volumes.contains_key(volume));
            if let Some((snapshot, _)) = held {
                return Err(Error::invalid_state(format!(
                    "snapshot `{snapshot}` needs its volume `{volume}`"
                ))
                .with_target(DiskId::NOUN, slot));
            }
            self.deletable(volume, Some(id))?;
        }
        self.vm_mut(id)?.setup.disks.retain(|disk| disk.id != *slot);
        self.revise(id);
        if let Some(volume) = &doomed {
            self.drop_volume(volume);
        }
        Ok(Started::done(()))
    }

    pub(super) fn resize_disk(
        &mut self,
        id: &VmId,
        slot: &DiskId,
        capacity: ByteSize,
    ) -> Result<Started<()>> {
        let vm = self.pluggable(id, Feature::LiveResizeDisk)?;
        let disk = vm.setup.disk(slot)?;
        let Some(volume) = disk.volume.clone() else {
            return Err(Error::invalid_state("no pool knows its volume").with_target(DiskId::NOUN, slot));
        };
        self.unlocked(&Target::Volume(volume.clone()), false)?;
        self.resize(&volume, &ResizeVolume::grow_to(capacity))?;
        self.revise(id);
        Ok(Started::done(()))
    }

    pub(super) fn attach_nic(&mut self, id: &VmId, spec: &NicSpec) -> Result<Started<NicId>> {
        let taken = self.pluggable(id, Feature::HotplugNic)?.setup.nics.clone();
        let nic = self.make_nic(spec, &taken)?;
        let nic_id = nic.id.clone();
        self.vm_mut(id)?.setup.nics.push(nic);
        self.revise(id);
        self.lease_addresses(id);
        Ok(Started::done(nic_id))
    }

    pub(super) fn update_nic(&mut self, id: &VmId, nic: &NicId, change: &NicChange) -> Result<Started<()>> {
        let vm = self.pluggable(id, Feature::HotplugNic)?;
        vm.setup.nics.iter().find(|other| other.id == *nic).ok_or_else(|| nic.not_found())?;
        change.source.as_ref().map_or(Ok(()), |source| self.source_exists(source))?;
        let nics = &mut self.vm_mut(id)?.setup.nics;
        for nic in nics.iter_mut().filter(|other| other.id == *nic) {
            if let Some(source) = &change.source {
                nic.source = source.clone();
            }
            nic.link_down = change.link_down.unwrap_or(nic.link_down);
            nic.vlan = change.vlan.or(nic.vlan);
        }
        self.drop_leases();
        self.revise(id);
        self.lease_addresses(id);
        Ok(Started::done(()))
    }

    pub(super) fn detach_nic(&mut self, id: &VmId, nic: &NicId) -> Result<Started<()>> {
        let vm = self.pluggable(id, Feature::HotplugNic)?;
        vm.setup.nics.iter().find(|other| other.id == *nic).ok_or_else(|| nic.not_found())?;
        self.vm_mut(id)?.setup.nics.retain(|other| other.id != *nic);
        self.drop_leases();
        self.revise(id);
        Ok(Started::done(()))
    }
}
