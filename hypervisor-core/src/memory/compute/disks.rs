//! From a disk's spec to a disk in a slot, its volume made where one is asked for.

use crate::error::{Error, Result};
use crate::memory::content::Content;
use crate::memory::state::{Setup, World};
use crate::memory::volume::{NewVolume, has_files, volume_id};
use crate::model::{
    ByteSize, DiskBus, DiskDevice, DiskId, DiskInfo, DiskSource, DiskSpec, HostId, NicId, NicInfo, NicModel,
    NicSource, NicSpec, PoolId, VmId, VolumeFormat, VolumeId,
};

/// How the slots of a bus begin.
fn prefix(bus: &DiskBus) -> &'static str {
    match bus {
        DiskBus::Virtio => "vd",
        DiskBus::Ide => "hd",
        DiskBus::Nvme => "nvme",
        _ => "sd",
    }
}

fn bus_of(spec: &DiskSpec) -> DiskBus {
    let by_slot = spec.slot.as_ref().and_then(|slot| {
        let known =
            [("vd", DiskBus::Virtio), ("hd", DiskBus::Ide), ("nvme", DiskBus::Nvme), ("sd", DiskBus::Scsi)];
        known.into_iter().find(|(prefix, _)| slot.as_str().starts_with(prefix)).map(|(_, bus)| bus)
    });
    let usual = if spec.device == DiskDevice::Cdrom { DiskBus::Sata } else { DiskBus::Virtio };
    spec.bus.clone().or(by_slot).unwrap_or(usual)
}

/// The slot that is asked for, else the next free one of the bus.
fn slot_for(spec: &DiskSpec, bus: &DiskBus, taken: &[DiskInfo]) -> Result<DiskId> {
    let is_taken = |slot: &DiskId| taken.iter().any(|disk| disk.id == *slot);
    if let Some(slot) = &spec.slot {
        if is_taken(slot) {
            return Err(Error::already_exists(DiskId::NOUN, slot));
        }
        return Ok(slot.clone());
    }
    let letters = ('a'..='z').zip(0_u32..).map(|(letter, number)| match bus {
        DiskBus::Nvme => DiskId::from(format!("nvme{number}n1")),
        _ => DiskId::from(format!("{}{letter}", prefix(bus))),
    });
    let free = letters.into_iter().find(|slot| !is_taken(slot));
    free.ok_or_else(|| Error::new(crate::ErrorKind::Exhausted, format!("the {bus} bus has no free slot")))
}

impl World {
    /// Makes the disk, and adds the volume that it needed to `made`, which the caller takes back if something later fails.
    pub(super) fn make_disk(
        &mut self,
        vm: (&VmId, &str, &HostId),
        spec: &DiskSpec,
        taken: &[DiskInfo],
        made: &mut Vec<VolumeId>,
    ) -> Result<DiskInfo> {
        let (id, name, host) = vm;
        let bus = bus_of(spec);
        let slot = slot_for(spec, &bus, taken)?;
        let mut disk = DiskInfo::new(slot.clone(), spec.device, bus).read_only(spec.read_only);
        disk.serial.clone_from(&spec.serial);
        let volume = match &spec.source {
            DiskSource::New { size, pool } => {
                let pool = pool.clone().map_or_else(|| self.usual_pool(), Ok)?;
                Some(NewVolume::empty(pool, String::new(), *size))
            }
            DiskSource::Copy { of, size, pool } => Some(self.copy_of(of, *size, pool.as_ref())?),
            DiskSource::Linked { backing, pool } => Some(self.linked_to(backing, pool.as_ref())?),
            DiskSource::Volume(volume) => {
                let found = self.readable(volume)?;
                self.pool_on(&found.pool, host)?;
                disk = disk.volume(volume);
                None
            }
            DiskSource::HostPath(path) => {
                disk = disk.path(path.as_str()).format(spec.format.clone().unwrap_or(VolumeFormat::Raw));
                disk.capacity = self.host_files.get(path).map(|(length, _)| ByteSize::bytes(*length));
                None
            }
            DiskSource::Empty => None,
        };
        if let Some(mut new) = volume {
            self.pool_on(&new.pool, host)?;
            new.owner = Some(id.clone());
            if spec.format.is_some() {
                new.format.clone_from(&spec.format);
            }
            new.name = match &spec.name {
                Some(name) => name.clone(),
                None => self.free_name(&new.pool, &format!("{name}-{slot}"), new.format.as_ref())?,
            };
            let volume = self.make_volume(new)?;
            made.push(volume.clone());
            disk = disk.volume(volume);
        }
        self.fill_in(&mut disk);
        Ok(disk)
    }

    /// What is known of a disk by its volume.
    pub(in crate::memory) fn fill_in(&self, disk: &mut DiskInfo) {
        let Some((id, volume)) = disk.volume.as_ref().and_then(|id| Some((id, self.volumes.get(id)?))) else {
            return;
        };
        disk.capacity = Some(volume.capacity);
        disk.format = Some(volume.format.clone());
        disk.path = self.volume_info(id, volume, None).path;
    }

    fn copy_of(&self, of: &VolumeId, size: Option<ByteSize>, pool: Option<&PoolId>) -> Result<NewVolume> {
        let source = self.readable(of)?;
        let capacity = size.unwrap_or(source.capacity);
        if capacity < source.capacity {
            let why = format!("{capacity} is less than the {} of the original", source.capacity);
            return Err(Error::invalid("size", why));
        }
        let pool = pool.unwrap_or(&source.pool).clone();
        let mut new = NewVolume::empty(pool, String::new(), capacity);
        new.format = Some(source.format.clone()).filter(|format| *format != VolumeFormat::Iso);
        new.content = source.content.flat();
        Ok(new)
    }

    pub(super) fn linked_to(&self, backing: &VolumeId, pool: Option<&PoolId>) -> Result<NewVolume> {
        let below = self.readable(backing)?;
        let pool = pool.unwrap_or(&below.pool).clone();
        let mut new = NewVolume::empty(pool, String::new(), below.capacity);
        new.content = Content::on(below.content.clone());
        new.backing = Some(backing.clone());
        Ok(new)
    }

    /// A volume's name that is free in the pool.
    pub(in crate::memory) fn free_name(
        &self,
        pool: &PoolId,
        stem: &str,
        format: Option<&VolumeFormat>,
    ) -> Result<String> {
        let usual =
            if has_files(&self.pool(pool)?.info.kind) { VolumeFormat::Qcow2 } else { VolumeFormat::Raw };
        let ending = format.unwrap_or(&usual).as_str();
        let numbers = std::iter::once(String::new()).chain((2_u32..).map(|number| format!("-{number}")));
        let mut names = numbers.map(|number| format!("{stem}{number}.{ending}"));
        let free = names.find(|name| !self.volumes.contains_key(&volume_id(pool, name)));
        Ok(free.unwrap_or_else(|| stem.to_owned()))
    }

    /// Passes if what the NIC is plugged into exists.
    pub(super) fn source_exists(&self, source: &NicSource) -> Result<()> {
        match source {
            NicSource::Network(id) => self.networks.get(id).map(|_| ()).ok_or_else(|| id.not_found()),
            _ => Ok(()),
        }
    }

    pub(super) fn make_nic(&mut self, spec: &NicSpec, taken: &[NicInfo]) -> Result<NicInfo> {
        self.source_exists(&spec.source)?;
        if let Some(mac) = spec.mac.filter(|mac| taken.iter().any(|nic| nic.mac == Some(*mac))) {
            return Err(Error::already_exists(NicId::NOUN, mac));
        }
        let id = (0_u32..).map(|number| NicId::from(format!("net{number}")));
        let id =
            id.into_iter().find(|id| taken.iter().all(|nic| nic.id != *id)).unwrap_or_else(|| "net".into());
        let model = spec.model.clone().unwrap_or(NicModel::Virtio);
        let mac = spec.mac.unwrap_or_else(|| self.mac());
        let mut nic = NicInfo::new(id, spec.source.clone(), model).mac(mac).link_down(spec.link_down);
        nic.vlan = spec.vlan;
        Ok(nic)
    }
}

impl Setup {
    pub(super) fn disk(&self, id: &DiskId) -> Result<&DiskInfo> {
        self.disks.iter().find(|disk| disk.id == *id).ok_or_else(|| id.not_found())
    }

    /// The volumes of its disks.
    pub(in crate::memory) fn volumes(&self) -> impl Iterator<Item = &VolumeId> {
        self.disks.iter().filter_map(|disk| disk.volume.as_ref())
    }

    /// The volumes that it writes to: what a snapshot, a clone and a backup have to take along.
    pub(in crate::memory) fn own_volumes(&self) -> impl Iterator<Item = &VolumeId> {
        let own = self.disks.iter().filter(|disk| disk.device == DiskDevice::Disk && !disk.read_only);
        own.filter_map(|disk| disk.volume.as_ref())
    }
}
