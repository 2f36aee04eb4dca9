//! Disks, NICs, firmware and the other devices of a guest.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::capability::Feature;
use super::id::{DiskId, NetworkId, NicId, PoolId, VolumeId};
use super::mac::MacAddr;
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

/// Where a disk's content comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
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
#[non_exhaustive]
pub struct DiskSpec {
    /// Where the content comes from.
    pub source: DiskSource,
    /// What the guest sees.
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

/// What a NIC is plugged into.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum NicSource {
    /// A network that the backend manages.
    Network(NetworkId),
    /// A bridge of the host.
    Bridge(String),
    /// The host process's own network, without privileges; the guest cannot be reached from outside.
    User,
    /// Nothing.
    Disconnected,
}

open_enum! {
    /// The card that the guest sees.
    NicModel {
        /// Paravirtual.
        Virtio = "virtio",
        /// Intel e1000.
        E1000 = "e1000",
        /// Intel e1000e.
        E1000e = "e1000e",
        /// Realtek 8139.
        Rtl8139 = "rtl8139",
        /// VMware's paravirtual card.
        Vmxnet3 = "vmxnet3",
    }
}

/// A NIC for a new guest, or one to attach.
///
/// ```
/// use hypervisor_core::model::NicSpec;
/// let nic = NicSpec::network("default").mac("52:54:00:12:34:56".parse()?);
/// assert!(nic.validate("nics[0]").is_ok());
/// # Ok::<(), hypervisor_core::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct NicSpec {
    /// What it is plugged into.
    pub source: NicSource,
    /// The card; without it the backend's best.
    #[serde(default)]
    pub model: Option<NicModel>,
    /// Its address; without it one that is made up.
    #[serde(default)]
    pub mac: Option<MacAddr>,
    /// Its VLAN, 1 to 4094.
    #[serde(default)]
    pub vlan: Option<u16>,
    /// The cable is unplugged.
    #[serde(default)]
    pub link_down: bool,
}

impl NicSpec {
    /// A NIC plugged into this.
    #[must_use]
    pub fn new(source: NicSource) -> Self {
        Self { source, model: None, mac: None, vlan: None, link_down: false }
    }

    /// A NIC in a network that the backend manages.
    pub fn network(network: impl Into<NetworkId>) -> Self {
        Self::new(NicSource::Network(network.into()))
    }

    /// A NIC on a bridge of the host.
    pub fn bridge(bridge: impl Into<String>) -> Self {
        Self::new(NicSource::Bridge(bridge.into()))
    }

    /// A NIC on the host process's own network.
    #[must_use]
    pub fn user() -> Self {
        Self::new(NicSource::User)
    }

    setters! { opt model: NicModel; opt mac: MacAddr; opt vlan: u16; val link_down: bool; }

    /// Checks what holds on every backend. `field` is the path of this NIC in the whole input, `nics[0]`.
    ///
    /// # Errors
    /// `InvalidInput` naming the field.
    pub fn validate(&self, field: &str) -> Result<()> {
        source_is_valid(&self.source, field)?;
        vlan_is_valid(self.vlan, field)
    }

    /// What the backend must be able to do.
    #[must_use]
    pub fn needs(&self) -> Vec<Feature> {
        if self.vlan.is_some() { vec![Feature::NicVlan] } else { Vec::new() }
    }
}

fn source_is_valid(source: &NicSource, field: &str) -> Result<()> {
    match source {
        NicSource::Bridge(bridge) => validate::name(&format!("{field}.bridge"), bridge),
        NicSource::Network(network) if network.as_str().is_empty() => {
            Err(Error::invalid(format!("{field}.network"), "must not be empty"))
        }
        _ => Ok(()),
    }
}

fn vlan_is_valid(vlan: Option<u16>, field: &str) -> Result<()> {
    match vlan {
        Some(tag) if !(1..=4094).contains(&tag) => {
            Err(Error::invalid(format!("{field}.vlan"), format!("{tag} is not between 1 and 4094")))
        }
        _ => Ok(()),
    }
}

/// A NIC of a guest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct NicInfo {
    /// Its id.
    pub id: NicId,
    /// What it is plugged into.
    pub source: NicSource,
    /// The card.
    pub model: NicModel,
    /// Its address.
    #[serde(default)]
    pub mac: Option<MacAddr>,
    /// Its VLAN.
    #[serde(default)]
    pub vlan: Option<u16>,
    /// The cable is unplugged.
    #[serde(default)]
    pub link_down: bool,
}

impl NicInfo {
    /// A NIC of which nothing else is known.
    pub fn new(id: impl Into<NicId>, source: NicSource, model: NicModel) -> Self {
        Self { id: id.into(), source, model, mac: None, vlan: None, link_down: false }
    }

    setters! { opt mac: MacAddr; opt vlan: u16; val link_down: bool; }
}

/// What is to change on a NIC; what is `None` stays.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct NicChange {
    /// Plug it into this.
    pub source: Option<NicSource>,
    /// Plug or unplug the cable.
    pub link_down: Option<bool>,
    /// Its VLAN.
    pub vlan: Option<u16>,
}

impl NicChange {
    /// No change yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    setters! { opt source: NicSource; opt link_down: bool; opt vlan: u16; }

    /// Checks what holds on every backend.
    ///
    /// # Errors
    /// `InvalidInput` naming the field.
    pub fn validate(&self) -> Result<()> {
        if let Some(source) = &self.source {
            source_is_valid(source, "nic")?;
        }
        vlan_is_valid(self.vlan, "nic")
    }

    /// What the backend must be able to do.
    #[must_use]
    pub fn needs(&self) -> Vec<Feature> {
        if self.vlan.is_some() { vec![Feature::NicVlan] } else { Vec::new() }
    }
}

named_enum! {
    /// What starts the guest.
    Firmware {
        /// SeaBIOS.
        Bios = "bios",
        /// UEFI.
        Uefi = "uefi",
        /// UEFI that boots only signed code.
        SecureBoot = "secure_boot",
    }
}

named_enum! {
    /// What a guest may boot from.
    BootDevice {
        /// The first hard disk.
        Disk = "disk",
        /// The CD drive.
        Cdrom = "cdrom",
        /// The network.
        Network = "network",
    }
}

/// A kernel that lies on the host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct DirectBoot {
    /// The path of the kernel on the host.
    pub kernel: String,
    /// The path of the initial RAM disk on the host.
    #[serde(default)]
    pub initrd: Option<String>,
    /// The kernel's command line.
    #[serde(default)]
    pub cmdline: Option<String>,
}

impl DirectBoot {
    /// This kernel.
    pub fn new(kernel: impl Into<String>) -> Self {
        Self { kernel: kernel.into(), initrd: None, cmdline: None }
    }

    setters! { opt_into initrd: String; opt_into cmdline: String; }

    /// Checks what holds on every backend.
    ///
    /// # Errors
    /// `InvalidInput` naming the field.
    pub fn validate(&self) -> Result<()> {
        validate::host_path("direct_boot.kernel", &self.kernel)?;
        if let Some(initrd) = &self.initrd {
            validate::host_path("direct_boot.initrd", initrd)?;
        }
        self.cmdline.as_deref().map_or(Ok(()), |cmdline| validate::text("direct_boot.cmdline", cmdline))
    }
}

/// How a guest starts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Boot {
    /// The firmware; without it the backend's default.
    pub firmware: Option<Firmware>,
    /// What is tried, in this order; empty is the backend's default.
    pub order: Vec<BootDevice>,
    /// A kernel on the host instead of a boot device.
    pub direct: Option<DirectBoot>,
}

impl Boot {
    /// As the backend does usually.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    setters! { opt firmware: Firmware; val order: Vec<BootDevice>; opt direct: DirectBoot; }
}

open_enum! {
    /// How a guest's screen is served.
    GraphicsKind {
        /// VNC.
        Vnc = "vnc",
        /// SPICE.
        Spice = "spice",
    }
}

/// A serial port.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct SerialSpec {
    /// A file on the host to which all that the guest writes is added.
    pub log: Option<String>,
}

impl SerialSpec {
    /// A port without a log.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    setters! { opt_into log: String; }
}

/// The documents that cloud-init reads at the first boot. `Debug` shows their sizes only: they often carry passwords.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct CloudInit {
    /// `user-data`.
    pub user_data: Option<String>,
    /// `meta-data`; without it one with the guest's name.
    pub meta_data: Option<String>,
    /// `network-config`.
    pub network_config: Option<String>,
}

impl CloudInit {
    /// This `user-data`.
    pub fn user_data(text: impl Into<String>) -> Self {
        Self { user_data: Some(text.into()), ..Self::default() }
    }

    setters! { opt_into meta_data: String; opt_into network_config: String; }
}

impl fmt::Debug for CloudInit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let size = |text: &Option<String>| text.as_ref().map(|text| format!("{} bytes", text.len()));
        f.debug_struct("CloudInit")
            .field("user_data", &size(&self.user_data))
            .field("meta_data", &size(&self.meta_data))
            .field("network_config", &size(&self.network_config))
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_devices_are_refused_by_field() {
        let field =
            |result: Result<()>| result.unwrap_err().fields().keys().next().cloned().unwrap_or_default();
        assert_eq!(field(DiskSpec::new_volume(ByteSize::ZERO).validate("disks[0]")), "disks[0].size");
        assert_eq!(field(DiskSpec::host_path("x.img").validate("disks[0]")), "disks[0].source");
        assert_eq!(field(DiskSpec::volume("a/b").name("a/b").validate("disks[0]")), "disks[0].name");
        for nameless in [DiskSpec::volume(""), DiskSpec::copy_of(""), DiskSpec::linked_to("")] {
            assert_eq!(field(nameless.validate("disks[0]")), "disks[0].source");
        }
        assert_eq!(field(DiskSpec::linked_to("a/b").in_pool("").validate("disks[0]")), "disks[0].pool");
        assert_eq!(field(NicSpec::network("default").vlan(4095).validate("nics[0]")), "nics[0].vlan");
        assert_eq!(field(NicSpec::bridge("").validate("nics[0]")), "nics[0].bridge");
        assert_eq!(field(DirectBoot::new("vmlinuz").validate()), "direct_boot.kernel");
    }

    #[test]
    fn user_data_stays_out_of_debug() {
        let seed = CloudInit::user_data("password: hunter2");
        assert!(!format!("{seed:?}").contains("hunter2"));
        assert!(format!("{seed:?}").contains("17 bytes"));
    }
}
