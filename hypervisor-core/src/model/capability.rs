//! What a backend can do: found out once at connect, then immutable.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::macros::named_enum;
use crate::error::{Error, Result};
use crate::operation::Operation;

named_enum! {
    /// A part of an operation that one backend has and another has not. A spec that asks for it says so by `needs()`.
    Feature {
        /// Guests that are containers.
        Containers = "containers",
        /// The caller may choose the id of a new guest.
        RequestedId = "requested_id",
        /// Flat tags on guests.
        Tags = "tags",
        /// A map of metadata on guests.
        Metadata = "metadata",
        /// A guest that starts with its host.
        Autostart = "autostart",
        /// A guest that vanishes when it powers off.
        Ephemeral = "ephemeral",
        /// A seed for cloud-init attached at create.
        CloudInit = "cloud_init",
        /// Booting a kernel that lies on the host.
        DirectBoot = "direct_boot",
        /// UEFI firmware.
        Uefi = "uefi",
        /// UEFI firmware that checks signatures.
        SecureBoot = "secure_boot",
        /// A virtual TPM.
        Tpm = "tpm",
        /// A channel for the guest agent.
        GuestAgent = "guest_agent",
        /// A screen.
        Graphics = "graphics",
        /// What the guest writes to its serial port kept in a file on the host.
        SerialLog = "serial_log",
        /// Changing the CPUs of a running guest.
        LiveUpdateCpus = "live_update_cpus",
        /// Changing the memory of a running guest.
        LiveUpdateMemory = "live_update_memory",
        /// Attaching a disk to a running guest.
        HotplugDisk = "hotplug_disk",
        /// Attaching a NIC to a running guest.
        HotplugNic = "hotplug_nic",
        /// Growing the disk of a running guest.
        LiveResizeDisk = "live_resize_disk",
        /// A VLAN tag on a NIC.
        NicVlan = "nic_vlan",
        /// Deleting a guest but keeping its disks.
        KeepDisks = "keep_disks",
        /// Deleting a guest and only some of its disks.
        ListedDisks = "listed_disks",
        /// A shutdown that cuts the power when the guest has not followed in time.
        ShutdownTimeout = "shutdown_timeout",
        /// A shutdown through the guest agent.
        AgentShutdown = "agent_shutdown",
        /// A clone with disks of its own.
        FullClone = "full_clone",
        /// A clone whose disks start from the original's.
        LinkedClone = "linked_clone",
        /// Cloning a running guest.
        CloneRunning = "clone_running",
        /// Cloning from a snapshot.
        CloneSnapshot = "clone_snapshot",
        /// Moving a running guest.
        LiveMigration = "live_migration",
        /// Moving a stopped guest.
        OfflineMigration = "offline_migration",
        /// Removing what identifies a guest before it becomes a template.
        SealTemplate = "seal_template",
        /// A volume that starts from another one's content.
        VolumeBacking = "volume_backing",
        /// Making a volume smaller.
        ShrinkVolume = "shrink_volume",
        /// Reserving a volume's space when it is made.
        VolumePreallocation = "volume_preallocation",
        /// An upload that makes the volume it writes to.
        UploadCreates = "upload_creates",
        /// Wiping with another algorithm than zeroes.
        WipeAlgorithms = "wipe_algorithms",
        /// Downloading a part of a volume.
        DownloadRange = "download_range",
        /// A network behind address translation.
        NetworkNat = "network_nat",
        /// A network that hands out addresses.
        NetworkDhcp = "network_dhcp",
        /// A network with a VLAN tag.
        NetworkVlan = "network_vlan",
        /// A snapshot of a running guest with its memory.
        MemorySnapshot = "memory_snapshot",
        /// A snapshot of a running guest without its memory.
        DiskOnlySnapshot = "disk_only_snapshot",
        /// A snapshot with the file systems frozen.
        QuiescedSnapshot = "quiesced_snapshot",
        /// Deleting a snapshot with all that came after it.
        SnapshotChildren = "snapshot_children",
        /// Reverting and starting in one call.
        RevertAndStart = "revert_and_start",
        /// A backup of what has changed since the one before.
        IncrementalBackup = "incremental_backup",
        /// A backup that is compressed.
        CompressedBackup = "compressed_backup",
        /// Addresses from the network's leases.
        LeaseAddresses = "lease_addresses",
        /// Addresses from the guest agent.
        AgentAddresses = "agent_addresses",
        /// Addresses from the host's ARP table.
        ArpAddresses = "arp_addresses",
        /// An update that is refused when somebody else has changed the guest.
        RevisionCheck = "revision_check",
        /// A mark on a new guest by which a create of unknown outcome is found again.
        ClientToken = "client_token",
        /// Power verbs for many guests in one call.
        BulkPower = "bulk_power",
        /// Events sent by the backend rather than found by looking.
        NativeEvents = "native_events",
        /// Tasks that tell how far they are.
        TaskProgress = "task_progress",
    }
}

/// The features that are asked for, of those that may be.
pub(super) fn asked<const N: usize>(features: [(bool, Feature); N]) -> Vec<Feature> {
    features.into_iter().filter(|(asked, _)| *asked).map(|(_, feature)| feature).collect()
}

/// An [`Operation`] or a [`Feature`] of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Capability {
    /// A whole operation.
    Operation(Operation),
    /// A part of an operation.
    Feature(Feature),
}

impl Capability {
    /// Every capability.
    pub fn all() -> impl Iterator<Item = Capability> {
        let operations = Operation::ALL.iter().copied().map(Self::Operation);
        operations.chain(Feature::ALL.iter().copied().map(Self::Feature))
    }

    /// The stable name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Operation(operation) => operation.as_str(),
            Self::Feature(feature) => feature.as_str(),
        }
    }
}

impl fmt::Display for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Capability {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        text.parse().map(Self::Operation).or_else(|_| text.parse().map(Self::Feature))
    }
}

impl From<Operation> for Capability {
    fn from(operation: Operation) -> Self {
        Self::Operation(operation)
    }
}

impl From<Feature> for Capability {
    fn from(feature: Feature) -> Self {
        Self::Feature(feature)
    }
}

/// How well a backend supports a [`Capability`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Support {
    /// The backend does it itself.
    Native,
    /// The driver builds it from several calls; the text says what that costs.
    Emulated(String),
    /// It cannot be done; the text says why.
    Unsupported(String),
}

impl Support {
    /// Whether it can be done at all.
    #[must_use]
    pub const fn is_supported(&self) -> bool {
        !matches!(self, Self::Unsupported(_))
    }
}

/// What one connection can do. A capability that is not listed is unsupported.
///
/// ```
/// use hypervisor_core::model::{Capabilities, Feature};
/// use hypervisor_core::Operation;
/// let capabilities = Capabilities::new()
///     .native([Operation::ListVms, Operation::GetVm])
///     .emulated([Operation::CloneVms], "one clone after the other")
///     .unsupported([Feature::Containers], "QEMU runs virtual machines only");
/// assert!(capabilities.has(Operation::ListVms));
/// let error = capabilities.require(Feature::Containers).unwrap_err();
/// assert!(error.to_string().contains("QEMU runs virtual machines only"));
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Capabilities(BTreeMap<Capability, Support>);

impl Capabilities {
    /// Nothing is supported.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Everything is native.
    #[must_use]
    pub fn all_native() -> Self {
        Self(Capability::all().map(|capability| (capability, Support::Native)).collect())
    }

    /// These are native.
    #[must_use]
    pub fn native<C: Into<Capability>>(self, which: impl IntoIterator<Item = C>) -> Self {
        self.with(which, &Support::Native)
    }

    /// These are built from several calls, at this cost.
    #[must_use]
    pub fn emulated<C: Into<Capability>>(self, which: impl IntoIterator<Item = C>, cost: &str) -> Self {
        self.with(which, &Support::Emulated(cost.to_owned()))
    }

    /// These cannot be done, for this reason.
    #[must_use]
    pub fn unsupported<C: Into<Capability>>(self, which: impl IntoIterator<Item = C>, reason: &str) -> Self {
        self.with(which, &Support::Unsupported(reason.to_owned()))
    }

    fn with<C: Into<Capability>>(mut self, which: impl IntoIterator<Item = C>, support: &Support) -> Self {
        self.0.extend(which.into_iter().map(|capability| (capability.into(), support.clone())));
        self
    }

    /// How well it is supported.
    #[must_use]
    pub fn get(&self, capability: impl Into<Capability>) -> Support {
        let support = self.0.get(&capability.into()).cloned();
        support.unwrap_or_else(|| Support::Unsupported("the backend has no such call".to_owned()))
    }

    /// Whether it can be done at all.
    #[must_use]
    pub fn has(&self, capability: impl Into<Capability>) -> bool {
        self.0.get(&capability.into()).is_some_and(Support::is_supported)
    }

    /// Passes if it can be done.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported) with the reason.
    pub fn require(&self, capability: impl Into<Capability>) -> Result<()> {
        let capability = capability.into();
        match self.get(capability) {
            Support::Unsupported(reason) => Err(Error::unsupported(capability, reason)),
            _ => Ok(()),
        }
    }

    /// Passes if the operation and all that the call needs of it can be done.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported) for the first that cannot.
    pub fn require_all(&self, operation: Operation, needs: &[Feature]) -> Result<()> {
        self.require(operation)?;
        needs
            .iter()
            .try_for_each(|feature| self.require(*feature).map_err(|error| error.with_operation(operation)))
    }

    /// Every capability with its support, in the order of the tables.
    pub fn iter(&self) -> impl Iterator<Item = (Capability, Support)> + '_ {
        Capability::all().map(|capability| (capability, self.get(capability)))
    }
}

impl Serialize for Capabilities {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(capability, support)| (capability.as_str(), support)))
    }
}

impl<'de> Deserialize<'de> for Capabilities {
    /// Names that this version does not know are left out: a newer gateway may know more than we do.
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = BTreeMap::<String, serde_json::Value>::deserialize(deserializer)?;
        let known =
            |(name, support): (String, _)| Some((name.parse().ok()?, serde_json::from_value(support).ok()?));
        Ok(Self(raw.into_iter().filter_map(known).collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn names_are_unique_over_operations_and_features() {
        let names: BTreeSet<_> = Capability::all().map(Capability::as_str).collect();
        assert_eq!(names.len(), Capability::all().count());
        for capability in Capability::all() {
            assert_eq!(capability.as_str().parse::<Capability>().unwrap(), capability);
        }
    }

    #[test]
    fn survives_the_wire_and_what_a_newer_server_adds() {
        let all = Capabilities::all_native().unsupported([Feature::Tpm], "no swtpm");
        let mut json = serde_json::to_value(&all).unwrap();
        json["teleport_vm"] = serde_json::json!("native");
        assert_eq!(serde_json::from_value::<Capabilities>(json.clone()).unwrap(), all);
        json["get_vm"] = serde_json::json!({ "by_moonlight": 7 });
        assert!(!serde_json::from_value::<Capabilities>(json).unwrap().has(Operation::GetVm));
    }

    #[test]
    fn what_is_not_listed_is_refused_with_the_operation_named() {
        let some = Capabilities::new().native([Operation::CreateVm]);
        let error = some.require_all(Operation::CreateVm, &[Feature::Tpm]).unwrap_err();
        assert_eq!(error.operation(), Some(Operation::CreateVm));
        assert!(error.is_unsupported());
        assert!(some.require_all(Operation::CreateVm, &[]).is_ok());
        assert!(!some.has(Operation::GetVm));
    }
}
