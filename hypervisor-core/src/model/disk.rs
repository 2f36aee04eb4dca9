//! Disks of a guest.

use serde::{Deserialize, Serialize};

use super::capability::Feature;
use super::id::{DiskId, PoolId, VolumeId};
use super::macros::{named_enum, open_enum, setters};
use super::units::ByteSize;
use super::validate;
use super::volume::VolumeFormat;
use crate::error::{Error, Result};

open_enum! {
    /// How a disk is attached.
    DiskBus {
        /// Paravirtual block device, `vda`.
        Virtio = "virtio",
        /// Paravirtual SCSI, `sda`.
        Scsi = "scsi",
        /// SATA, `sda`; the bus for CD drives on q35.
        Sata = "sata",
        /// IDE, `hda`; the bus for CD drives on i440fx.
        Ide = "ide",
        /// USB storage.
        Usb = "usb",
        /// NVMe.
        Nvme = "nvme",
    }
}

named_enum! {
    /// What the guest sees.
    DiskDevice {
        /// A hard disk.
        Disk = "disk",
        /// A CD drive.
        Cdrom = "cdrom",
    }
}

impl DiskDevice {
    const fn usual() -> Self {
        Self::Disk
    }
}

/// Where a disk's content comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum DiskSource {
    /// An empty volume, made for this disk.
    New {
        /// Its size.
        size: ByteSize,
        /// The pool that it is made in; without it the backend's default.
        #[serde(default)]
        pool: Option<PoolId>,
    },
    /// A volume that exists.
    Volume(VolumeId),
    /// A copy of a volume, made for this disk.
    Copy {
        /// The volume that is copied.
        of: VolumeId,
        /// The size of the copy, where it is to be larger.
        #[serde(default)]
        size: Option<ByteSize>,
        /// The pool of the copy; without it that of the original.
        #[serde(default)]
        pool: Option<PoolId>,
    },
    /// A volume that starts from another one's content and keeps only the differences.
    Linked {
        /// The volume that it starts from. It must not change from now on.
        backing: VolumeId,
        /// The pool; without it that of the backing volume.
        #[serde(default)]
        pool: Option<PoolId>,
    },
    /// A file or device on the host that no pool knows.
    HostPath(String),
    /// A CD drive without a disc.
    Empty,
}

/// A disk for a new guest, or one to attach.
///
/// ```
/// use hypervisor_core::model::{ByteSize, DiskSpec};
/// let system = DiskSpec::copy_of("default/debian.qcow2").size(ByteSize::gib(20));
/// let data = DiskSpec::new_volume(ByteSize::gib(100)).in_pool("bulk");
/// assert!(data.validate("disks[1]").is_ok());
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct DiskSpec {
    /// Where the content comes from.
    pub source: DiskSource,
    /// What the guest sees; without it a hard disk.
    #[serde(default = "DiskDevice::usual")]
    pub device: DiskDevice,
    /// How it is attached; without it the backend's best.
    #[serde(default)]
    pub bus: Option<DiskBus>,
    /// The format of a volume that is made; without it the pool's usual one.
    #[serde(default)]
    pub format: Option<VolumeFormat>,
    /// The name of a volume that is made; without it one made from the guest's name.
    #[serde(default)]
    pub name: Option<String>,
    /// The guest cannot write to it.
    #[serde(default)]
    pub read_only: bool,
    /// The serial number that the guest sees.
    #[serde(default)]
    pub serial: Option<String>,
    /// Its slot (`vda`, `scsi1`); without it the next free one.
    #[serde(default)]
    pub slot: Option<DiskId>,
}

impl DiskSpec {
    fn from_source(source: DiskSource, device: DiskDevice) -> Self {
        let read_only = device == DiskDevice::Cdrom;
        Self { source, device, bus: None, format: None, name: None, read_only, serial: None, slot: None }
    }

    /// An empty volume of this size, made for this disk.
    #[must_use]
    pub fn new_volume(size: ByteSize) -> Self {
        Self::from_source(DiskSource::New { size, pool: None }, DiskDevice::Disk)
    }

    /// A volume that exists.
    pub fn volume(volume: impl Into<VolumeId>) -> Self {
        Self::from_source(DiskSource::Volume(volume.into()), DiskDevice::Disk)
    }

    /// A copy of a volume, made for this disk.
    pub fn copy_of(volume: impl Into<VolumeId>) -> Self {
        Self::from_source(DiskSource::Copy { of: volume.into(), size: None, pool: None }, DiskDevice::Disk)
    }

    /// A volume that keeps only the differences to this one.
    pub fn linked_to(backing: impl Into<VolumeId>) -> Self {
        Self::from_source(DiskSource::Linked { backing: backing.into(), pool: None }, DiskDevice::Disk)
    }

    /// A file or device on the host.
    pub fn host_path(path: impl Into<String>) -> Self {
        Self::from_source(DiskSource::HostPath(path.into()), DiskDevice::Disk)
    }

    /// A CD drive with this volume in it.
    pub fn cdrom(volume: impl Into<VolumeId>) -> Self {
        Self::from_source(DiskSource::Volume(volume.into()), DiskDevice::Cdrom)
    }

    /// A CD drive without a disc.
    #[must_use]
    pub fn empty_cdrom() -> Self {
        Self::from_source(DiskSource::Empty, DiskDevice::Cdrom)
    }

    /// The pool in which a new volume, copy or link is made. No effect on other sources.
    #[must_use]
    pub fn in_pool(mut self, wanted: impl Into<PoolId>) -> Self {
        if let DiskSource::New { pool, .. }
        | DiskSource::Copy { pool, .. }
        | DiskSource::Linked { pool, .. } = &mut self.source
        {
            *pool = Some(wanted.into());
        }
        self
    }

    /// The size of a new volume or of a copy that is to be larger. No effect on other sources.
    #[must_use]
    pub fn size(mut self, wanted: ByteSize) -> Self {
        match &mut self.source {
            DiskSource::New { size, .. } => *size = wanted,
            DiskSource::Copy { size, .. } => *size = Some(wanted),
            _ => {}
        }
        self
    }

    setters! {
        opt bus: DiskBus; opt format: VolumeFormat; opt_into name: String; val read_only: bool;
        opt_into serial: String; opt_into slot: DiskId;
    }

    /// Checks what holds on every backend. `field` is the path of this disk in the whole input, `disks[0]`.
    ///
    /// # Errors
    /// `InvalidInput` naming the field.
    pub fn validate(&self, field: &str) -> Result<()> {
        match &self.source {
            DiskSource::New { size, .. } | DiskSource::Copy { size: Some(size), .. }
                if *size == ByteSize::ZERO =>
            {
                return Err(Error::invalid(format!("{field}.size"), "must be more than nothing"));
            }
            DiskSource::Empty if self.device != DiskDevice::Cdrom => {
                return Err(Error::invalid(format!("{field}.source"), "only a CD drive may be empty"));
            }
            DiskSource::HostPath(path) => validate::host_path(&format!("{field}.source"), path)?,
            DiskSource::Volume(volume)
            | DiskSource::Copy { of: volume, .. }
            | DiskSource::Linked { backing: volume, .. }
                if volume.as_str().is_empty() =>
            {
                return Err(Error::invalid(format!("{field}.source"), "the volume's id must not be empty"));
            }
            _ => {}
        }
        if let DiskSource::New { pool: Some(pool), .. }
        | DiskSource::Copy { pool: Some(pool), .. }
        | DiskSource::Linked { pool: Some(pool), .. } = &self.source
            && pool.as_str().is_empty()
        {
            return Err(Error::invalid(format!("{field}.pool"), "must not be empty"));
        }
        if let Some(name) = &self.name {
            validate::name(&format!("{field}.name"), name)?;
        }
        if let Some(serial) = &self.serial {
            validate::name(&format!("{field}.serial"), serial)?;
        }
        if let Some(slot) = &self.slot {
            validate::name(&format!("{field}.slot"), slot.as_str())?;
        }
        Ok(())
    }

    /// What the backend must be able to do.
    #[must_use]
    pub fn needs(&self) -> Vec<Feature> {
        match &self.source {
            DiskSource::Linked { .. } => vec![Feature::VolumeBacking],
            _ => Vec::new(),
        }
    }
}

/// A disk of a guest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct DiskInfo {
    /// Its slot.
    pub id: DiskId,
    /// What the guest sees.
    pub device: DiskDevice,
    /// How it is attached.
    pub bus: DiskBus,
    /// The volume, where a pool knows it.
    #[serde(default)]
    pub volume: Option<VolumeId>,
    /// The file or device on the host, where the backend tells.
    #[serde(default)]
    pub path: Option<String>,
    /// Its size, where known without asking the guest.
    #[serde(default)]
    pub capacity: Option<ByteSize>,
    /// Its format.
    #[serde(default)]
    pub format: Option<VolumeFormat>,
    /// The guest cannot write to it.
    #[serde(default)]
    pub read_only: bool,
    /// The serial number that the guest sees.
    #[serde(default)]
    pub serial: Option<String>,
}

impl DiskInfo {
    /// A disk in this slot of which nothing else is known.
    pub fn new(id: impl Into<DiskId>, device: DiskDevice, bus: DiskBus) -> Self {
        Self {
            id: id.into(),
            device,
            bus,
            volume: None,
            path: None,
            capacity: None,
            format: None,
            read_only: false,
            serial: None,
        }
    }

    setters! {
        opt_into volume: VolumeId; opt_into path: String; opt capacity: ByteSize; opt format: VolumeFormat;
        val read_only: bool; opt_into serial: String;
    }
}

/// What becomes of a detached disk's volume.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
#[non_exhaustive]
pub struct DetachDisk {
    /// Delete it; otherwise it is kept.
    pub delete_volume: bool,
}

impl DetachDisk {
    /// The volume is kept.
    #[must_use]
    pub fn keep_volume() -> Self {
        Self { delete_volume: false }
    }

    /// The volume is deleted.
    #[must_use]
    pub fn with_volume() -> Self {
        Self { delete_volume: true }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(result: Result<()>) -> String {
        result.unwrap_err().fields().keys().next().cloned().unwrap_or_default()
    }

    #[test]
    fn wrong_disks_are_refused_by_field() {
        assert_eq!(field(DiskSpec::new_volume(ByteSize::ZERO).validate("disks[0]")), "disks[0].size");
        assert_eq!(field(DiskSpec::host_path("x.img").validate("disks[0]")), "disks[0].source");
        assert_eq!(field(DiskSpec::volume("a/b").name("a/b").validate("disks[0]")), "disks[0].name");
        for nameless in [DiskSpec::volume(""), DiskSpec::copy_of(""), DiskSpec::linked_to("")] {
            assert_eq!(field(nameless.validate("disks[0]")), "disks[0].source");
        }
        assert_eq!(field(DiskSpec::linked_to("a/b").in_pool("").validate("disks[0]")), "disks[0].pool");
    }
}
