//! Guests: what they are, how they are made, changed, moved and deleted.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use super::capability::{Feature, asked};
use super::device::{
    Boot, BootDevice, CloudInit, DirectBoot, DiskInfo, DiskSource, DiskSpec, Firmware, GraphicsKind, NicInfo,
    NicSpec, SerialSpec,
};
use super::extra::{BackendOptions, Extra};
use super::id::{DiskId, GroupId, HostId, NetworkId, PoolId, SnapshotId, VmId, VolumeId};
use super::macros::{named_enum, open_enum, pushers, setters};
use super::units::ByteSize;
use super::validate;
use super::volume::VolumeFormat;
use crate::error::{Error, Result};
use crate::operation::Operation;

named_enum! {
    /// What a guest is.
    GuestKind {
        /// A virtual machine.
        Vm = "vm",
        /// A container: LXC on Proxmox and on libvirt.
        Container = "container",
    }
}

open_enum! {
    /// What a guest is doing. Locks and pending changes are fields of their own, never folded into the state.
    VmState {
        /// It is being made.
        Provisioning = "provisioning",
        /// It is off.
        Stopped = "stopped",
        /// It is powering on.
        Starting = "starting",
        /// It runs.
        Running = "running",
        /// Its CPUs are frozen.
        Paused = "paused",
        /// It is off, and its memory is on disk.
        Hibernated = "hibernated",
        /// It is powering off.
        Stopping = "stopping",
        /// It is on its way to another host.
        Migrating = "migrating",
        /// It ended by a fault.
        Crashed = "crashed",
        /// Its host cannot be reached.
        Unreachable = "unreachable",
    }
}

impl VmState {
    /// Whether it occupies the host's memory.
    #[must_use]
    pub const fn is_active(&self) -> bool {
        matches!(self, Self::Starting | Self::Running | Self::Paused | Self::Stopping | Self::Migrating)
    }
}

/// The version of a configuration: changes whenever the configuration does.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Revision(String);

impl Revision {
    /// A revision as the backend gave it (Proxmox: the digest; HTTP: the ETag).
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// As text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A guest as a list shows it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct VmInfo {
    /// What the backend addresses it by.
    pub id: VmId,
    /// Its stable identity (libvirt: the UUID; Proxmox: the SMBIOS UUID), where it has one. An id may be used again after a delete, a uid
    /// never is.
    #[serde(default)]
    pub uid: Option<String>,
    /// Its name.
    pub name: String,
    /// What it is.
    pub kind: GuestKind,
    /// What it is doing.
    pub state: VmState,
    /// Where it is.
    #[serde(default)]
    pub host: Option<HostId>,
    /// Its CPUs.
    #[serde(default)]
    pub cpus: Option<u32>,
    /// Its memory.
    #[serde(default)]
    pub memory: Option<ByteSize>,
    /// Its tags.
    #[serde(default)]
    pub tags: BTreeSet<String>,
    /// What somebody wrote about it.
    #[serde(default)]
    pub description: Option<String>,
    /// The resource group that it belongs to.
    #[serde(default)]
    pub group: Option<GroupId>,
    /// Whether it is a template, which can be cloned but not started.
    #[serde(default)]
    pub template: bool,
    /// Why it is locked (`"migrate"`, `"backup"`, …), if it is.
    #[serde(default)]
    pub lock: Option<String>,
    /// Whether it starts with its host, where that is known without another call.
    #[serde(default)]
    pub autostart: Option<bool>,
    /// How long it has been running.
    #[serde(default)]
    pub uptime: Option<Duration>,
    /// When it was made, where the backend remembers.
    #[serde(default)]
    pub created: Option<SystemTime>,
    /// The mark that its create left.
    #[serde(default)]
    pub client_token: Option<String>,
    /// What the backend says beyond this.
    #[serde(default)]
    pub extra: Extra,
}

impl VmInfo {
    /// A machine of which nothing else is known.
    pub fn new(id: impl Into<VmId>, name: impl Into<String>, state: VmState) -> Self {
        Self {
            id: id.into(),
            uid: None,
            name: name.into(),
            kind: GuestKind::Vm,
            state,
            host: None,
            cpus: None,
            memory: None,
            tags: BTreeSet::new(),
            description: None,
            group: None,
            template: false,
            lock: None,
            autostart: None,
            uptime: None,
            created: None,
            client_token: None,
            extra: Extra::default(),
        }
    }

    setters! {
        opt_into uid: String; val kind: GuestKind; opt_into host: HostId; opt cpus: u32; opt memory: ByteSize;
        val tags: BTreeSet<String>; opt_into description: String; opt_into group: GroupId; val template: bool;
        opt_into lock: String; opt autostart: bool; opt uptime: Duration; opt created: SystemTime;
        opt_into client_token: String; val extra: Extra;
    }

    /// Refuses to go on when this is not the guest that the caller means.
    ///
    /// # Errors
    /// `Conflict` when `expected` is given and differs.
    pub fn check_uid(&self, expected: Option<&str>) -> Result<()> {
        match expected {
            Some(expected) if self.uid.as_deref() != Some(expected) => Err(Error::new(
                crate::ErrorKind::Conflict,
                format!("its uid is `{}`, not `{expected}`", self.uid.as_deref().unwrap_or("unknown")),
            )
            .with_target(VmId::NOUN, &self.id)
            .with_hint("the id belongs to another machine now; look the machine up again")),
            _ => Ok(()),
        }
    }
}

/// A guest's whole configuration. `Debug` shows only the size of the native document, which may hold what cloud-init is to set.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct VmConfig {
    /// The guest.
    pub id: VmId,
    /// A spec that would make the same guest again; its disks name the volumes that exist.
    pub spec: VmSpec,
    /// Its disks.
    pub disks: Vec<DiskInfo>,
    /// Its NICs.
    pub nics: Vec<NicInfo>,
    /// Changes that wait for the next power cycle.
    #[serde(default)]
    pub pending: Vec<PendingChange>,
    /// The version that this is.
    #[serde(default)]
    pub revision: Option<Revision>,
    /// The backend's own document: libvirt's XML, Proxmox's key-value map as JSON.
    #[serde(default)]
    pub native: Option<String>,
}

impl VmConfig {
    /// A configuration with these devices.
    pub fn new(id: impl Into<VmId>, spec: VmSpec, disks: Vec<DiskInfo>, nics: Vec<NicInfo>) -> Self {
        Self { id: id.into(), spec, disks, nics, pending: Vec::new(), revision: None, native: None }
    }

    setters! { val pending: Vec<PendingChange>; opt revision: Revision; opt_into native: String; }
}

impl fmt::Debug for VmConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VmConfig")
            .field("id", &self.id)
            .field("spec", &self.spec)
            .field("disks", &self.disks)
            .field("nics", &self.nics)
            .field("pending", &self.pending)
            .field("revision", &self.revision)
            .field("native", &self.native.as_ref().map(|native| format!("{} bytes", native.len())))
            .finish()
    }
}

/// A change that waits for the next power cycle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct PendingChange {
    /// The field of the spec.
    pub field: String,
    /// What it is now.
    #[serde(default)]
    pub current: Option<String>,
    /// What it will be.
    #[serde(default)]
    pub pending: Option<String>,
}

impl PendingChange {
    /// `field` will change from `current` to `pending`.
    pub fn new(field: impl Into<String>, current: Option<String>, pending: Option<String>) -> Self {
        Self { field: field.into(), current, pending }
    }
}

/// How a guest is to be.
///
/// ```
/// use hypervisor_core::model::{ByteSize, DiskSpec, NicSpec, VmSpec};
/// let spec = VmSpec::new("web-1")
///     .cpus(2)
///     .memory(ByteSize::gib(4))
///     .disk(DiskSpec::new_volume(ByteSize::gib(20)))
///     .nic(NicSpec::network("default"))
///     .tag("web");
/// assert!(spec.validate().is_ok());
/// assert_eq!(VmSpec::new("web 1").validate().unwrap_err().fields().keys().next().unwrap(), "name");
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct VmSpec {
    /// Its name. Unique on libvirt; need not be on Proxmox.
    pub name: String,
    /// What it is.
    #[serde(default = "GuestKind::default_kind")]
    pub kind: GuestKind,
    /// The id that it should get, where the backend lets the caller choose. libvirt: a UUID; Proxmox: a VMID.
    #[serde(default)]
    pub id: Option<VmId>,
    /// The host that it should be made on; without it the backend chooses.
    #[serde(default)]
    pub host: Option<HostId>,
    /// Its CPUs.
    pub cpus: u32,
    /// Its memory.
    pub memory: ByteSize,
    /// What it is called in the guest and what somebody wants to say about it.
    #[serde(default)]
    pub description: Option<String>,
    /// Flat tags, in lower case.
    #[serde(default)]
    pub tags: BTreeSet<String>,
    /// A map of metadata.
    #[serde(default)]
    pub metadata: BTreeMap<String, String>,
    /// The resource group that it goes into.
    #[serde(default)]
    pub group: Option<GroupId>,
    /// Its disks, in order.
    #[serde(default)]
    pub disks: Vec<DiskSpec>,
    /// Its NICs, in order.
    #[serde(default)]
    pub nics: Vec<NicSpec>,
    /// How it starts.
    #[serde(default)]
    pub boot: Boot,
    /// The machine type in the backend's words (`"q35"`, `"pc"`); without it the backend's default.
    #[serde(default)]
    pub machine: Option<String>,
    /// The CPU model in the backend's words (`"host-passthrough"`, `"qemu64"`); without it the backend's default.
    #[serde(default)]
    pub cpu_model: Option<String>,
    /// The screen, if any.
    #[serde(default)]
    pub graphics: Option<GraphicsKind>,
    /// The serial port, if any.
    #[serde(default)]
    pub serial: Option<SerialSpec>,
    /// Whether it has a channel for the guest agent.
    #[serde(default)]
    pub agent: bool,
    /// Whether it has a TPM.
    #[serde(default)]
    pub tpm: bool,
    /// What cloud-init reads at the first boot.
    #[serde(default)]
    pub cloud_init: Option<CloudInit>,
    /// Whether it starts with its host.
    #[serde(default)]
    pub autostart: bool,
    /// Whether it vanishes when it powers off. Such a guest is started when it is made.
    #[serde(default)]
    pub ephemeral: bool,
    /// Whether it is started when it is made.
    #[serde(default)]
    pub start: bool,
    /// A mark by which a create of unknown outcome is found again; see [`VmQuery::client_token`].
    #[serde(default)]
    pub client_token: Option<String>,
    /// Options that only one backend knows.
    #[serde(default)]
    pub options: Extra,
}

impl GuestKind {
    const fn default_kind() -> Self {
        Self::Vm
    }
}

impl VmSpec {
    /// A virtual machine with one CPU, 512 MiB and nothing else.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            kind: GuestKind::Vm,
            id: None,
            host: None,
            cpus: 1,
            memory: ByteSize::mib(512),
            description: None,
            tags: BTreeSet::new(),
            metadata: BTreeMap::new(),
            group: None,
            disks: Vec::new(),
            nics: Vec::new(),
            boot: Boot::default(),
            machine: None,
            cpu_model: None,
            graphics: None,
            serial: None,
            agent: false,
            tpm: false,
            cloud_init: None,
            autostart: false,
            ephemeral: false,
            start: false,
            client_token: None,
            options: Extra::default(),
        }
    }

    /// A container.
    pub fn container(name: impl Into<String>) -> Self {
        Self { kind: GuestKind::Container, ..Self::new(name) }
    }

    setters! {
        into name: String; opt_into id: VmId; opt_into host: HostId; val cpus: u32; val memory: ByteSize;
        opt_into description: String; opt_into group: GroupId; opt_into machine: String; opt_into cpu_model: String;
        opt graphics: GraphicsKind; opt serial: SerialSpec; val agent: bool; val tpm: bool; opt cloud_init: CloudInit;
        val autostart: bool; val ephemeral: bool; val start: bool; opt_into client_token: String; val boot: Boot;
        val options: Extra;
    }
    pushers! { disk => disks: DiskSpec; nic => nics: NicSpec; }

    /// Adds a tag.
    #[must_use]
    pub fn tag(mut self, tag: impl Into<String>) -> Self {
        self.tags.insert(tag.into());
        self
    }

    /// Adds an entry to the metadata.
    #[must_use]
    pub fn metadata(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.metadata.insert(key.into(), value.into());
        self
    }

    /// Sets the firmware.
    #[must_use]
    pub fn firmware(mut self, firmware: Firmware) -> Self {
        self.boot.firmware = Some(firmware);
        self
    }

    /// Sets what is booted from, first choice first.
    #[must_use]
    pub fn boot_order(mut self, order: impl IntoIterator<Item = BootDevice>) -> Self {
        self.boot.order = order.into_iter().collect();
        self
    }

    /// Boots a kernel that lies on the host.
    #[must_use]
    pub fn direct_boot(mut self, kernel: DirectBoot) -> Self {
        self.boot.direct = Some(kernel);
        self
    }

    /// Sets the options of one backend.
    ///
    /// # Errors
    /// `InvalidInput` where they cannot be written as JSON.
    pub fn with<O: BackendOptions>(mut self, options: &O) -> Result<Self> {
        self.options.set(options)?;
        Ok(self)
    }

    /// Checks what holds on every backend. Drivers call it before anything is sent.
    ///
    /// # Errors
    /// `InvalidInput` naming the field.
    pub fn validate(&self) -> Result<()> {
        validate::name("name", &self.name)?;
        cpus_are_valid(self.cpus)?;
        memory_is_valid(self.memory)?;
        validate::description(self.description.as_deref())?;
        for tag in &self.tags {
            validate::tag("tags", tag)?;
        }
        for (key, value) in &self.metadata {
            validate::tag("metadata", key)?;
            validate::text(&format!("metadata.{key}"), value)?;
        }
        for (index, disk) in self.disks.iter().enumerate() {
            disk.validate(&format!("disks[{index}]"))?;
        }
        let mut macs = BTreeSet::new();
        for (index, nic) in self.nics.iter().enumerate() {
            nic.validate(&format!("nics[{index}]"))?;
            if nic.mac.is_some_and(|mac| !macs.insert(mac)) {
                return Err(Error::invalid(
                    format!("nics[{index}].mac"),
                    "is the address of another NIC of this guest",
                ));
            }
        }
        if let Some(direct) = &self.boot.direct {
            direct.validate()?;
        }
        if let Some(log) = self.serial.as_ref().and_then(|serial| serial.log.as_ref()) {
            validate::host_path("serial.log", log)?;
        }
        for (field, word) in [("machine", &self.machine), ("cpu_model", &self.cpu_model)] {
            if let Some(word) = word {
                validate::name(field, word)?;
            }
        }
        self.client_token.as_deref().map_or(Ok(()), |token| validate::name("client_token", token))
    }

    /// What the backend must be able to do.
    #[must_use]
    pub fn needs(&self) -> Vec<Feature> {
        let mut needs = asked([
            (self.kind == GuestKind::Container, Feature::Containers),
            (self.id.is_some(), Feature::RequestedId),
            (!self.tags.is_empty(), Feature::Tags),
            (!self.metadata.is_empty(), Feature::Metadata),
            (self.autostart, Feature::Autostart),
            (self.ephemeral, Feature::Ephemeral),
            (self.cloud_init.is_some(), Feature::CloudInit),
            (self.boot.direct.is_some(), Feature::DirectBoot),
            (self.boot.firmware == Some(Firmware::Uefi), Feature::Uefi),
            (self.boot.firmware == Some(Firmware::SecureBoot), Feature::SecureBoot),
            (self.tpm, Feature::Tpm),
            (self.agent, Feature::GuestAgent),
            (self.graphics.is_some(), Feature::Graphics),
            (self.serial.as_ref().is_some_and(|serial| serial.log.is_some()), Feature::SerialLog),
            (self.client_token.is_some(), Feature::ClientToken),
        ]);
        needs.extend(self.disks.iter().flat_map(DiskSpec::needs));
        needs.extend(self.nics.iter().flat_map(NicSpec::needs));
        needs
    }

    /// The volumes that its disks start from or use.
    pub fn volumes(&self) -> impl Iterator<Item = &VolumeId> {
        self.disks.iter().filter_map(|disk| match &disk.source {
            DiskSource::Volume(volume)
            | DiskSource::Copy { of: volume, .. }
            | DiskSource::Linked { backing: volume, .. } => Some(volume),
            _ => None,
        })
    }
}

fn cpus_are_valid(cpus: u32) -> Result<()> {
    if cpus == 0 { Err(Error::invalid("cpus", "must be at least 1")) } else { Ok(()) }
}

fn memory_is_valid(memory: ByteSize) -> Result<()> {
    if memory < ByteSize::mib(1) {
        return Err(Error::invalid(
            "memory",
            format!("{memory} is less than 1 MiB, the least that any backend takes"),
        ));
    }
    Ok(())
}

/// Which guests are wanted; empty means all.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct VmQuery {
    /// With exactly this name.
    pub name: Option<String>,
    /// Of this kind.
    pub kind: Option<GuestKind>,
    /// In this state.
    pub state: Option<VmState>,
    /// On this host.
    pub host: Option<HostId>,
    /// In this resource group.
    pub group: Option<GroupId>,
    /// With this tag.
    pub tag: Option<String>,
    /// Only templates, or only what is none.
    pub template: Option<bool>,
    /// Made with this mark.
    pub client_token: Option<String>,
}

impl VmQuery {
    /// All guests.
    #[must_use]
    pub fn all() -> Self {
        Self::default()
    }

    setters! {
        opt_into name: String; opt kind: GuestKind; opt state: VmState; opt_into host: HostId; opt_into group: GroupId;
        opt_into tag: String; opt template: bool; opt_into client_token: String;
    }

    /// What the backend must be able to do: without it, it would know no guest by its mark and say that there is none.
    #[must_use]
    pub fn needs(&self) -> Vec<Feature> {
        if self.client_token.is_some() { vec![Feature::ClientToken] } else { Vec::new() }
    }

    /// Whether the query wants this guest, for backends that cannot filter.
    #[must_use]
    pub fn matches(&self, vm: &VmInfo) -> bool {
        self.name.as_ref().is_none_or(|name| vm.name == *name)
            && self.kind.is_none_or(|kind| vm.kind == kind)
            && self.state.as_ref().is_none_or(|state| vm.state == *state)
            && self.host.as_ref().is_none_or(|host| vm.host.as_ref() == Some(host))
            && self.group.as_ref().is_none_or(|group| vm.group.as_ref() == Some(group))
            && self.tag.as_ref().is_none_or(|tag| vm.tags.contains(tag))
            && self.template.is_none_or(|template| vm.template == template)
            && self.client_token.as_ref().is_none_or(|token| vm.client_token.as_ref() == Some(token))
    }
}

named_enum! {
    /// Where a change is made.
    ApplyPolicy {
        /// In the configuration, and in the running guest as far as that can be; the rest waits for the next power cycle.
        AllowPending = "allow_pending",
        /// In both at once, or not at all.
        LiveOnly = "live_only",
        /// In the configuration only.
        NextBoot = "next_boot",
    }
}

/// What is to change in a guest; what is `None` stays.
///
/// ```
/// use hypervisor_core::model::{ByteSize, VmChange};
/// let change = VmChange::new().memory(ByteSize::gib(8)).add_tag("resized");
/// assert!(change.validate().is_ok());
/// assert!(VmChange::new().cpus(0).validate().is_err());
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct VmChange {
    /// Its name.
    #[serde(default)]
    pub name: Option<String>,
    /// Its CPUs.
    #[serde(default)]
    pub cpus: Option<u32>,
    /// Its memory.
    #[serde(default)]
    pub memory: Option<ByteSize>,
    /// What somebody wants to say about it; empty removes it.
    #[serde(default)]
    pub description: Option<String>,
    /// Tags to add.
    #[serde(default)]
    pub add_tags: BTreeSet<String>,
    /// Tags to remove.
    #[serde(default)]
    pub remove_tags: BTreeSet<String>,
    /// Metadata to set; an empty value removes the key.
    #[serde(default)]
    pub metadata: BTreeMap<String, String>,
    /// What is booted from.
    #[serde(default)]
    pub boot_order: Option<Vec<BootDevice>>,
    /// Whether it starts with its host.
    #[serde(default)]
    pub autostart: Option<bool>,
    /// Whether it has a channel for the guest agent.
    #[serde(default)]
    pub agent: Option<bool>,
    /// Where the change is made.
    pub apply: ApplyPolicy,
    /// Refused when the configuration is no longer this one.
    #[serde(default)]
    pub if_revision: Option<Revision>,
    /// Refused when the guest has another uid.
    #[serde(default)]
    pub expected_uid: Option<String>,
    /// Options that only one backend knows.
    #[serde(default)]
    pub options: Extra,
}

impl Default for VmChange {
    fn default() -> Self {
        Self {
            name: None,
            cpus: None,
            memory: None,
            description: None,
            add_tags: BTreeSet::new(),
            remove_tags: BTreeSet::new(),
            metadata: BTreeMap::new(),
            boot_order: None,
            autostart: None,
            agent: None,
            apply: ApplyPolicy::AllowPending,
            if_revision: None,
            expected_uid: None,
            options: Extra::default(),
        }
    }
}

impl VmChange {
    /// No change yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    setters! {
        opt_into name: String; opt cpus: u32; opt memory: ByteSize; opt_into description: String;
        opt boot_order: Vec<BootDevice>; opt autostart: bool; opt agent: bool; val apply: ApplyPolicy;
        opt if_revision: Revision; opt_into expected_uid: String; val options: Extra;
    }

    /// Adds a tag.
    #[must_use]
    pub fn add_tag(mut self, tag: impl Into<String>) -> Self {
        self.add_tags.insert(tag.into());
        self
    }

    /// Removes a tag.
    #[must_use]
    pub fn remove_tag(mut self, tag: impl Into<String>) -> Self {
        self.remove_tags.insert(tag.into());
        self
    }

    /// Sets an entry of the metadata; an empty value removes it.
    #[must_use]
    pub fn metadata(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.metadata.insert(key.into(), value.into());
        self
    }

    /// Whether nothing is to change.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self { apply: self.apply, if_revision: None, expected_uid: None, ..Self::default() }
    }

    /// Checks what holds on every backend.
    ///
    /// # Errors
    /// `InvalidInput` naming the field.
    pub fn validate(&self) -> Result<()> {
        self.name.as_deref().map_or(Ok(()), |name| validate::name("name", name))?;
        self.cpus.map_or(Ok(()), cpus_are_valid)?;
        self.memory.map_or(Ok(()), memory_is_valid)?;
        validate::description(self.description.as_deref())?;
        self.add_tags.iter().try_for_each(|tag| validate::tag("add_tags", tag))?;
        for (key, value) in &self.metadata {
            validate::tag("metadata", key)?;
            validate::text(&format!("metadata.{key}"), value)?;
        }
        Ok(())
    }

    /// What the backend must be able to do.
    #[must_use]
    pub fn needs(&self) -> Vec<Feature> {
        asked([
            (!(self.add_tags.is_empty() && self.remove_tags.is_empty()), Feature::Tags),
            (!self.metadata.is_empty(), Feature::Metadata),
            (self.autostart.is_some(), Feature::Autostart),
            (self.agent == Some(true), Feature::GuestAgent),
            (self.if_revision.is_some(), Feature::RevisionCheck),
        ])
    }
}

named_enum! {
    /// What it takes for pending changes to come into force.
    RestartNeed {
        /// Nothing: all is in force.
        None = "none",
        /// Power off and on. A reboot from inside the guest is not enough on most backends.
        PowerCycle = "power_cycle",
    }
}

/// What an update has done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct UpdateOutcome {
    /// The fields that are in force.
    pub applied: Vec<String>,
    /// The fields that wait.
    pub pending: Vec<String>,
    /// What it takes to bring them into force.
    pub needs: RestartNeed,
}

impl UpdateOutcome {
    /// These fields are in force, those wait for a power cycle.
    #[must_use]
    pub fn new(applied: Vec<String>, pending: Vec<String>) -> Self {
        let needs = if pending.is_empty() { RestartNeed::None } else { RestartNeed::PowerCycle };
        Self { applied, pending, needs }
    }
}

/// What becomes of the disks of a deleted guest. There is no default: the caller has to say.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum DisposeDisks {
    /// All are kept.
    Keep,
    /// All that a pool knows are deleted; CD drives' volumes are kept.
    Delete,
    /// Those in these slots are deleted, the others kept.
    Listed(Vec<DiskId>),
}

/// How a guest is deleted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct DeleteVm {
    /// What becomes of its disks.
    pub disks: DisposeDisks,
    /// Cut its power first if it runs; otherwise a running guest is refused.
    #[serde(default)]
    pub power_off: bool,
    /// Delete its snapshots too; otherwise a guest with snapshots is refused where they would be lost or left behind.
    #[serde(default)]
    pub snapshots: bool,
    /// Keep its backups, where the backend would delete them with it.
    #[serde(default)]
    pub keep_backups: bool,
    /// Refused when the guest has another uid.
    #[serde(default)]
    pub expected_uid: Option<String>,
}

impl DeleteVm {
    /// With this done to its disks.
    #[must_use]
    pub fn new(disks: DisposeDisks) -> Self {
        Self { disks, power_off: false, snapshots: false, keep_backups: false, expected_uid: None }
    }

    /// Its disks are kept.
    #[must_use]
    pub fn keep_disks() -> Self {
        Self::new(DisposeDisks::Keep)
    }

    /// Its disks are deleted.
    #[must_use]
    pub fn with_disks() -> Self {
        Self::new(DisposeDisks::Delete)
    }

    setters! { val power_off: bool; val snapshots: bool; val keep_backups: bool; opt_into expected_uid: String; }

    /// What the backend must be able to do.
    #[must_use]
    pub fn needs(&self) -> Vec<Feature> {
        match self.disks {
            DisposeDisks::Keep => vec![Feature::KeepDisks],
            DisposeDisks::Delete => Vec::new(),
            DisposeDisks::Listed(_) => vec![Feature::ListedDisks],
        }
    }
}

named_enum! {
    /// How a guest is asked to power off.
    ShutdownVia {
        /// As the backend thinks best.
        Auto = "auto",
        /// By the power button.
        Acpi = "acpi",
        /// Through the guest agent.
        Agent = "agent",
    }
}

/// How a guest is shut down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Shutdown {
    /// Cut its power if it still runs after this time. Without it, it is asked once and the call returns: wait for the state.
    #[serde(default)]
    pub power_off_after: Option<Duration>,
    /// How it is asked.
    pub via: ShutdownVia,
}

impl Default for Shutdown {
    fn default() -> Self {
        Self { power_off_after: None, via: ShutdownVia::Auto }
    }
}

impl Shutdown {
    /// Ask once, as the backend thinks best.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    setters! { opt power_off_after: Duration; val via: ShutdownVia; }
}

/// A power verb.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum PowerAction {
    /// Power on, or wake a hibernated guest.
    Start,
    /// Ask the guest to power off.
    Shutdown(Shutdown),
    /// Cut its power.
    PowerOff,
    /// Ask the guest to restart.
    Reboot,
    /// Restart it at once.
    Reset,
    /// Freeze its CPUs.
    Pause,
    /// Let it go on.
    Resume,
    /// Save its memory to disk and power it off.
    Hibernate,
}

impl PowerAction {
    /// The operation that this is.
    #[must_use]
    pub const fn operation(&self) -> Operation {
        match self {
            Self::Start => Operation::StartVm,
            Self::Shutdown(_) => Operation::ShutdownVm,
            Self::PowerOff => Operation::PowerOffVm,
            Self::Reboot => Operation::RebootVm,
            Self::Reset => Operation::ResetVm,
            Self::Pause => Operation::PauseVm,
            Self::Resume => Operation::ResumeVm,
            Self::Hibernate => Operation::HibernateVm,
        }
    }

    /// What the backend must be able to do.
    #[must_use]
    pub fn needs(&self) -> Vec<Feature> {
        match self {
            Self::Shutdown(shutdown) => {
                let mut needs = Vec::new();
                if shutdown.power_off_after.is_some() {
                    needs.push(Feature::ShutdownTimeout);
                }
                if shutdown.via == ShutdownVia::Agent {
                    needs.push(Feature::AgentShutdown);
                }
                needs
            }
            _ => Vec::new(),
        }
    }

    /// Whether the verb makes sense in this state; the same on every backend.
    ///
    /// # Errors
    /// `InvalidState` saying which states would do.
    pub fn check_state(&self, state: &VmState) -> Result<()> {
        use VmState::{Crashed, Hibernated, Paused, Running, Stopped};
        let allowed: &[VmState] = match self {
            Self::Start => &[Stopped, Hibernated, Crashed],
            Self::Shutdown(_) | Self::Reboot | Self::Pause | Self::Hibernate => &[Running],
            Self::Resume => &[Paused],
            Self::PowerOff | Self::Reset => &[Running, Paused, Crashed],
        };
        // States of transition and unknown ones are the backend's to judge.
        if allowed.contains(state) || !matches!(state, Running | Paused | Stopped | Hibernated | Crashed) {
            return Ok(());
        }
        let allowed: Vec<&str> = allowed.iter().map(VmState::as_str).collect();
        let message = format!("it is {state}, but must be {}", allowed.join(" or "));
        Err(Error::invalid_state(message).with_operation(self.operation()))
    }
}

/// How a guest is copied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct CloneSpec {
    /// The name of the copy.
    pub name: String,
    /// The id that it should get, where the backend lets the caller choose.
    #[serde(default)]
    pub id: Option<VmId>,
    /// Share the original's disks and keep only the differences, rather than copy them.
    #[serde(default)]
    pub linked: bool,
    /// The pool of the new disks; without it those of the original's.
    #[serde(default)]
    pub pool: Option<PoolId>,
    /// The host of the copy.
    #[serde(default)]
    pub host: Option<HostId>,
    /// The snapshot that is copied rather than the present state.
    #[serde(default)]
    pub snapshot: Option<SnapshotId>,
    /// What somebody wants to say about it.
    #[serde(default)]
    pub description: Option<String>,
    /// The resource group of the copy.
    #[serde(default)]
    pub group: Option<GroupId>,
    /// Whether the copy is started.
    #[serde(default)]
    pub start: bool,
    /// A mark by which a clone of unknown outcome is found again.
    #[serde(default)]
    pub client_token: Option<String>,
}

impl CloneSpec {
    /// A full copy of this name.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            id: None,
            linked: false,
            pool: None,
            host: None,
            snapshot: None,
            description: None,
            group: None,
            start: false,
            client_token: None,
        }
    }

    setters! {
        opt_into id: VmId; val linked: bool; opt_into pool: PoolId; opt_into host: HostId; opt_into snapshot: SnapshotId;
        opt_into description: String; opt_into group: GroupId; val start: bool; opt_into client_token: String;
    }

    /// Checks what holds on every backend.
    ///
    /// # Errors
    /// `InvalidInput` naming the field.
    pub fn validate(&self) -> Result<()> {
        validate::name("name", &self.name)?;
        self.client_token.as_deref().map_or(Ok(()), |token| validate::name("client_token", token))?;
        validate::description(self.description.as_deref())
    }

    /// What the backend must be able to do.
    #[must_use]
    pub fn needs(&self) -> Vec<Feature> {
        asked([
            (self.linked, Feature::LinkedClone),
            (!self.linked, Feature::FullClone),
            (self.snapshot.is_some(), Feature::CloneSnapshot),
            (self.id.is_some(), Feature::RequestedId),
            (self.client_token.is_some(), Feature::ClientToken),
        ])
    }
}

/// How a guest is copied many times: `prefix-1` to `prefix-n`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct CloneMany {
    /// How the names begin.
    pub prefix: String,
    /// How many.
    pub count: u32,
    /// The number of the first.
    pub first: u32,
    /// What the copies have in common; its name and id are not used.
    pub each: CloneSpec,
    /// How many are made at a time.
    pub concurrency: u32,
}

impl CloneMany {
    /// `count` full copies, `prefix-1` to `prefix-count`.
    pub fn new(prefix: impl Into<String>, count: u32) -> Self {
        let prefix = prefix.into();
        Self { each: CloneSpec::new(prefix.clone()), prefix, count, first: 1, concurrency: 2 }
    }

    setters! { val first: u32; val each: CloneSpec; val concurrency: u32; }

    /// The most copies that one call makes.
    pub const MOST: u32 = 10_000;

    /// The single clones.
    ///
    /// # Errors
    /// `InvalidInput` naming the field.
    pub fn specs(&self) -> Result<Vec<CloneSpec>> {
        if !(1..=Self::MOST).contains(&self.count) {
            return Err(Error::invalid("count", format!("must be from 1 to {}", Self::MOST)));
        }
        let last = self.first.checked_add(self.count - 1);
        let last = last.ok_or_else(|| Error::invalid("count", "the last number would not fit 32 bits"))?;
        let named = (self.first..=last).map(|number| {
            let mut spec =
                CloneSpec { name: format!("{}-{number}", self.prefix), id: None, ..self.each.clone() };
            spec.client_token = spec.client_token.map(|token| format!("{token}-{number}"));
            let wrong = |error: Error| match error.fields().get("name") {
                Some(why) => Error::invalid("prefix", format!("makes no valid names: {why}")),
                None => error,
            };
            spec.validate().map_err(wrong)?;
            Ok(spec)
        });
        named.collect()
    }
}

/// How a guest is moved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct MigrateSpec {
    /// Where to. Proxmox: the node; libvirt: the other daemon's URI.
    pub host: HostId,
    /// Whether it goes on running meanwhile; without it: if it runs.
    #[serde(default)]
    pub live: Option<bool>,
    /// Copy its disks too, where they lie on storage that the other host does not share.
    #[serde(default)]
    pub with_disks: bool,
    /// The pool on the other host.
    #[serde(default)]
    pub pool: Option<PoolId>,
    /// At most so many bytes a second.
    #[serde(default)]
    pub bandwidth: Option<ByteSize>,
}

impl MigrateSpec {
    /// To this host.
    pub fn to(host: impl Into<HostId>) -> Self {
        Self { host: host.into(), live: None, with_disks: false, pool: None, bandwidth: None }
    }

    setters! { opt live: bool; val with_disks: bool; opt_into pool: PoolId; opt bandwidth: ByteSize; }

    /// Checks what holds on every backend.
    ///
    /// # Errors
    /// `InvalidInput` naming the field.
    pub fn validate(&self) -> Result<()> {
        if self.host.as_str().is_empty() {
            return Err(Error::invalid("host", "must not be empty"));
        }
        // Nothing a second would never end, and some backends take it for no limit.
        match self.bandwidth {
            Some(ByteSize::ZERO) => Err(Error::invalid("bandwidth", "must be more than nothing")),
            _ => Ok(()),
        }
    }

    /// What the backend must be able to do.
    #[must_use]
    pub fn needs(&self) -> Vec<Feature> {
        match self.live {
            Some(true) => vec![Feature::LiveMigration],
            Some(false) => vec![Feature::OfflineMigration],
            None => Vec::new(),
        }
    }
}

/// How a template is made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct TemplateSpec {
    /// The name of a template that is made from a copy; without it the guest itself becomes the template.
    #[serde(default)]
    pub name: Option<String>,
    /// Remove what identifies the guest first: host keys, machine id, logs.
    #[serde(default)]
    pub seal: bool,
    /// What somebody wants to say about it.
    #[serde(default)]
    pub description: Option<String>,
}

impl TemplateSpec {
    /// The guest itself becomes the template.
    #[must_use]
    pub fn in_place() -> Self {
        Self { name: None, seal: false, description: None }
    }

    /// A copy of this name becomes the template.
    pub fn copy(name: impl Into<String>) -> Self {
        Self { name: Some(name.into()), ..Self::in_place() }
    }

    setters! { val seal: bool; opt_into description: String; }

    /// Checks what holds on every backend.
    ///
    /// # Errors
    /// `InvalidInput` naming the field.
    pub fn validate(&self) -> Result<()> {
        self.name.as_deref().map_or(Ok(()), |name| validate::name("name", name))?;
        validate::description(self.description.as_deref())
    }

    /// What the backend must be able to do.
    #[must_use]
    pub fn needs(&self) -> Vec<Feature> {
        if self.seal { vec![Feature::SealTemplate] } else { Vec::new() }
    }
}

/// How a guest is made from a template: a clone, and what is then set on it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct DeploySpec {
    /// The copy; its `start` starts the guest at the end.
    pub clone: CloneSpec,
    /// CPUs, if others than the template's.
    #[serde(default)]
    pub cpus: Option<u32>,
    /// Memory, if other than the template's.
    #[serde(default)]
    pub memory: Option<ByteSize>,
    /// The network of its first NIC.
    #[serde(default)]
    pub network: Option<NetworkId>,
    /// Whether it starts with its host.
    #[serde(default)]
    pub autostart: bool,
    /// What cloud-init reads at the first boot.
    #[serde(default)]
    pub cloud_init: Option<CloudInit>,
}

impl DeploySpec {
    /// A full copy of this name.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            clone: CloneSpec::new(name),
            cpus: None,
            memory: None,
            network: None,
            autostart: false,
            cloud_init: None,
        }
    }

    setters! {
        val clone: CloneSpec; opt cpus: u32; opt memory: ByteSize; opt_into network: NetworkId; val autostart: bool;
        opt cloud_init: CloudInit;
    }

    /// Checks what holds on every backend.
    ///
    /// # Errors
    /// `InvalidInput` naming the field.
    pub fn validate(&self) -> Result<()> {
        self.clone.validate()?;
        self.cpus.map_or(Ok(()), cpus_are_valid)?;
        self.memory.map_or(Ok(()), memory_is_valid)
    }

    /// What the backend must be able to do.
    #[must_use]
    pub fn needs(&self) -> Vec<Feature> {
        let mut needs = self.clone.needs();
        if self.autostart {
            needs.push(Feature::Autostart);
        }
        if self.cloud_init.is_some() {
            needs.push(Feature::CloudInit);
        }
        needs
    }
}

/// Where a guest is written to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ExportSpec {
    /// A directory on the host that exists.
    pub directory: String,
    /// The format of the disks; without it their own.
    #[serde(default)]
    pub format: Option<VolumeFormat>,
    /// Whether the disks are compressed.
    #[serde(default)]
    pub compress: bool,
}

impl ExportSpec {
    /// To this directory on the host.
    pub fn new(directory: impl Into<String>) -> Self {
        Self { directory: directory.into(), format: None, compress: false }
    }

    setters! { opt format: VolumeFormat; val compress: bool; }

    /// Checks what holds on every backend.
    ///
    /// # Errors
    /// `InvalidInput` naming the field.
    pub fn validate(&self) -> Result<()> {
        validate::host_path("directory", &self.directory)
    }
}

/// What an export writes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct ExportedVm {
    /// The file with the definition, on the host.
    pub definition: String,
    /// The files with the disks, on the host.
    pub disks: Vec<String>,
}

impl ExportedVm {
    /// These files.
    pub fn new(definition: impl Into<String>, disks: Vec<String>) -> Self {
        Self { definition: definition.into(), disks }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(result: Result<()>) -> String {
        result.unwrap_err().fields().keys().next().cloned().unwrap_or_default()
    }

    #[test]
    fn wrong_specs_are_refused_by_field() {
        let spec = || VmSpec::new("web-1");
        assert_eq!(field(spec().name("").validate()), "name");
        assert_eq!(field(MigrateSpec::to("").validate()), "host");
        assert_eq!(field(MigrateSpec::to("h").bandwidth(ByteSize::ZERO).validate()), "bandwidth");
        assert_eq!(field(spec().cpus(0).validate()), "cpus");
        assert_eq!(field(spec().memory(ByteSize::kib(4)).validate()), "memory");
        assert_eq!(field(spec().tag("A B").validate()), "tags");
        assert_eq!(field(spec().metadata("Key", "v").validate()), "metadata");
        assert_eq!(field(spec().serial(SerialSpec::new().log("x")).validate()), "serial.log");
        let mac = "52:54:00:00:00:01".parse().unwrap();
        let twice = spec().nic(NicSpec::user().mac(mac)).nic(NicSpec::user().mac(mac));
        assert_eq!(field(twice.validate()), "nics[1].mac");
    }

    #[test]
    fn a_spec_survives_the_wire() {
        let spec = VmSpec::new("web-1")
            .disk(DiskSpec::copy_of("default/base.qcow2").size(ByteSize::gib(20)))
            .nic(NicSpec::bridge("br0").vlan(12))
            .firmware(Firmware::Uefi)
            .metadata("owner", "ops");
        let json = serde_json::to_string(&spec).unwrap();
        assert_eq!(serde_json::from_str::<VmSpec>(&json).unwrap(), spec);
        let least: VmSpec = serde_json::from_str(r#"{"name":"a","cpus":1,"memory":536870912}"#).unwrap();
        assert_eq!(least, VmSpec::new("a"));
    }

    #[test]
    fn verbs_know_their_states() {
        assert!(PowerAction::Start.check_state(&VmState::Stopped).is_ok());
        assert!(PowerAction::Start.check_state(&VmState::Hibernated).is_ok());
        let error = PowerAction::Start.check_state(&VmState::Running).unwrap_err();
        assert_eq!(error.operation(), Some(Operation::StartVm));
        assert!(PowerAction::Resume.check_state(&VmState::Running).is_err());
        assert!(PowerAction::PowerOff.check_state(&VmState::Unknown("odd".into())).is_ok());
    }

    #[test]
    fn many_clones_have_their_numbers() {
        let names: Vec<_> =
            CloneMany::new("web", 3).specs().unwrap().into_iter().map(|spec| spec.name).collect();
        assert_eq!(names, ["web-1", "web-2", "web-3"]);
        assert!(CloneMany::new("web", 0).specs().is_err());
        let wrong = |many: CloneMany| field(many.specs().map(drop));
        assert_eq!(wrong(CloneMany::new("--web", 2)), "prefix");
        assert_eq!(wrong(CloneMany::new("web", 2).first(u32::MAX)), "count");
        assert_eq!(wrong(CloneMany::new("web", u32::MAX)), "count");
        let bell = CloneSpec::new("").description("\u{7}");
        assert_eq!(wrong(CloneMany::new("web", 2).each(bell)), "description");
    }

    #[test]
    fn another_machine_under_the_same_id_is_refused() {
        let vm = VmInfo::new("100", "web-1", VmState::Stopped).uid("a");
        assert!(vm.check_uid(Some("a")).is_ok());
        assert!(vm.check_uid(None).is_ok());
        assert_eq!(vm.check_uid(Some("b")).unwrap_err().kind(), crate::ErrorKind::Conflict);
    }
}
