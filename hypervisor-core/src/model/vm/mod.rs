//! Guests: what they are. How they are made, changed, moved and deleted is in the files beside this one.

mod change;
mod clone;
mod delete;
mod power;
mod spec;
mod transfer;

pub use change::{ApplyPolicy, RestartNeed, UpdateOutcome, VmChange};
pub use clone::{CloneMany, CloneSpec, DeploySpec, TemplateSpec};
pub use delete::{DeleteVm, DisposeDisks};
pub use power::{PowerAction, Shutdown, ShutdownVia};
pub use spec::VmSpec;
pub use transfer::{ExportSpec, ExportedVm, MigrateSpec};

use std::fmt;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::model::capability::Feature;
use crate::model::disk::DiskInfo;
use crate::model::extra::Extra;
use crate::model::id::{GroupId, HostId, VmId};
use crate::model::macros::{known_or, named_enum, open_enum, setters};
use crate::model::nic::NicInfo;
use crate::model::tags::Tags;
use crate::model::units::ByteSize;

named_enum! {
    /// What a guest is.
    GuestKind {
        /// A virtual machine.
        Vm = "vm",
        /// A container: LXC on Proxmox and on libvirt.
        Container = "container",
    }
}

/// A kind that only a newer server knows is shown as a machine rather than not at all.
fn known_kind<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<GuestKind, D::Error> {
    known_or(deserializer, GuestKind::Vm)
}

impl GuestKind {
    const fn default_kind() -> Self {
        Self::Vm
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
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
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
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct VmInfo {
    /// What the backend addresses it by.
    pub id: VmId,
    /// Its stable identity (libvirt: the UUID; Proxmox: the SMBIOS UUID), where it has one. An id may be used again after a delete, a uid
    /// never is. Proxmox tells it for one guest, not in lists.
    #[serde(default)]
    pub uid: Option<String>,
    /// Its name.
    pub name: String,
    /// What it is.
    #[serde(deserialize_with = "known_kind")]
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
    pub tags: Tags,
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
            tags: Tags::default(),
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
        into tags: Tags; opt_into description: String; opt_into group: GroupId; val template: bool;
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
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
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
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
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

/// Which guests are wanted; empty means all.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_machine_under_the_same_id_is_refused() {
        let vm = VmInfo::new("100", "web-1", VmState::Stopped).uid("a");
        assert!(vm.check_uid(Some("a")).is_ok());
        assert!(vm.check_uid(None).is_ok());
        assert_eq!(vm.check_uid(Some("b")).unwrap_err().kind(), crate::ErrorKind::Conflict);
    }
}
