//! The one table of operations: name, idempotency class and required capability.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::model::Capability;

/// What a repetition of the call would do; decides whether a call of unknown outcome may be repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum OperationClass {
    /// Changes nothing.
    Read,
    /// Changes something, but twice is the same as once: a resize to an absolute size, the deletion of a named object.
    IdempotentWrite,
    /// Makes something new; twice may make two.
    Create,
    /// Does something to a live object; twice may do it twice: a reboot, a command in a guest.
    Action,
}

impl OperationClass {
    /// Whether a call of unknown outcome may be repeated.
    #[must_use]
    pub const fn is_idempotent(self) -> bool {
        matches!(self, Self::Read | Self::IdempotentWrite)
    }
}

macro_rules! operations {
    ($($variant:ident $name:literal $class:ident $doc:literal;)*) => {
        /// Every operation of the traits. The names equal those of the trait methods, but for the power verbs, which
        /// share [`power_vm`](crate::Compute::power_vm) and are one operation each because backends differ in them.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[non_exhaustive]
        pub enum Operation { $(#[doc = $doc] $variant,)* }

        impl Operation {
            /// Every operation, in the order of the traits.
            pub const ALL: &'static [Operation] = &[$(Self::$variant,)*];

            /// The name, as in logs, capabilities and wires.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// What a repetition would do.
            #[must_use]
            pub const fn class(self) -> OperationClass {
                match self { $(Self::$variant => OperationClass::$class,)* }
            }

            /// What it does, as a sentence.
            #[must_use]
            pub const fn describe(self) -> &'static str {
                match self { $(Self::$variant => $doc,)* }
            }
        }
    };
}

operations! {
    GetCluster "get_cluster" Read "Reads the state of the cluster.";
    ListHosts "list_hosts" Read "Lists the hosts.";
    GetHost "get_host" Read "Reads one host.";
    ListVms "list_vms" Read "Lists the guests.";
    GetVm "get_vm" Read "Reads one guest.";
    GetVmConfig "get_vm_config" Read "Reads a guest's configuration with its devices and pending changes.";
    CreateVm "create_vm" Create "Creates a guest.";
    UpdateVm "update_vm" IdempotentWrite "Changes a guest's configuration.";
    DeleteVm "delete_vm" IdempotentWrite "Deletes a guest.";
    StartVm "start_vm" Action "Powers a guest on, or wakes a hibernated one.";
    ShutdownVm "shutdown_vm" Action "Asks the guest to power off.";
    PowerOffVm "power_off_vm" Action "Cuts the guest's power.";
    RebootVm "reboot_vm" Action "Asks the guest to restart.";
    ResetVm "reset_vm" Action "Restarts the guest at once.";
    PauseVm "pause_vm" Action "Freezes the guest's CPUs.";
    ResumeVm "resume_vm" Action "Lets a paused guest go on.";
    HibernateVm "hibernate_vm" Action "Saves the guest's memory to disk and powers it off.";
    CloneVm "clone_vm" Create "Copies a guest.";
    CloneVms "clone_vms" Create "Copies a guest many times.";
    MigrateVm "migrate_vm" Action "Moves a guest to another host.";
    CreateTemplate "create_template" Create "Makes a template from a guest.";
    DeployTemplate "deploy_template" Create "Creates a guest from a template.";
    ExportVm "export_vm" Create "Writes a guest's definition and disks to a place on the host.";
    AttachDisk "attach_disk" Create "Attaches a disk to a guest.";
    DetachDisk "detach_disk" IdempotentWrite "Detaches a disk from a guest.";
    ResizeDisk "resize_disk" IdempotentWrite "Changes the size of a guest's disk.";
    AttachNic "attach_nic" Create "Attaches a NIC to a guest.";
    UpdateNic "update_nic" IdempotentWrite "Changes a guest's NIC.";
    DetachNic "detach_nic" IdempotentWrite "Detaches a NIC from a guest.";
    GetConsole "get_console" Read "Finds out how to reach a guest's console.";
    ScreenshotVm "screenshot_vm" Read "Takes a picture of a guest's screen.";
    ListGroups "list_groups" Read "Lists the resource groups.";
    GetGroup "get_group" Read "Reads one resource group with its members.";
    CreateGroup "create_group" Create "Creates a resource group.";
    UpdateGroup "update_group" IdempotentWrite "Changes a resource group and its members.";
    DeleteGroup "delete_group" IdempotentWrite "Deletes an empty resource group.";
    ListPools "list_pools" Read "Lists the storage pools.";
    GetPool "get_pool" Read "Reads one storage pool.";
    CreatePool "create_pool" Create "Creates a storage pool.";
    DeletePool "delete_pool" IdempotentWrite "Deletes a storage pool.";
    ListVolumes "list_volumes" Read "Lists the volumes of a pool.";
    GetVolume "get_volume" Read "Reads one volume.";
    CreateVolume "create_volume" Create "Creates a volume.";
    CloneVolume "clone_volume" Create "Copies a volume.";
    ResizeVolume "resize_volume" IdempotentWrite "Changes a volume's size.";
    WipeVolume "wipe_volume" IdempotentWrite "Overwrites a volume's content.";
    DeleteVolume "delete_volume" IdempotentWrite "Deletes a volume.";
    UploadVolume "upload_volume" Action "Writes a stream of bytes into a volume.";
    DownloadVolume "download_volume" Read "Reads a volume as a stream of bytes.";
    ListNetworks "list_networks" Read "Lists the networks.";
    GetNetwork "get_network" Read "Reads one network.";
    CreateNetwork "create_network" Create "Creates a network.";
    UpdateNetwork "update_network" IdempotentWrite "Changes a network.";
    DeleteNetwork "delete_network" IdempotentWrite "Deletes a network.";
    StartNetwork "start_network" Action "Brings a network up.";
    StopNetwork "stop_network" Action "Takes a network down.";
    ListLeases "list_leases" Read "Lists a network's DHCP leases.";
    ListSnapshots "list_snapshots" Read "Lists a guest's snapshots.";
    GetSnapshot "get_snapshot" Read "Reads one snapshot.";
    CreateSnapshot "create_snapshot" Create "Takes a snapshot of a guest.";
    RevertSnapshot "revert_snapshot" Action "Takes a guest back to a snapshot.";
    DeleteSnapshot "delete_snapshot" IdempotentWrite "Deletes a snapshot.";
    ListBackups "list_backups" Read "Lists the backups.";
    CreateBackup "create_backup" Create "Backs a guest up.";
    RestoreBackup "restore_backup" Create "Makes a guest from a backup.";
    DeleteBackup "delete_backup" IdempotentWrite "Deletes a backup.";
    GetHostMetrics "get_host_metrics" Read "Reads a host's load.";
    GetVmMetrics "get_vm_metrics" Read "Reads one guest's load.";
    ListVmMetrics "list_vm_metrics" Read "Reads the load of all guests.";
    GetMetricsHistory "get_metrics_history" Read "Reads the load over a period.";
    GetTask "get_task" Read "Reads one task.";
    ListTasks "list_tasks" Read "Lists the tasks.";
    GetTaskLog "get_task_log" Read "Reads a task's log.";
    CancelTask "cancel_task" IdempotentWrite "Asks a task to end.";
    SubmitBatch "submit_batch" Action "Runs many operations.";
    PingAgent "ping_agent" Read "Finds out whether the guest's agent answers.";
    ListAddresses "list_addresses" Read "Lists a guest's IP addresses with their source.";
    ExecInGuest "exec_in_guest" Action "Runs a command inside a guest.";
    ReadGuestFile "read_guest_file" Read "Reads a file inside a guest.";
    WriteGuestFile "write_guest_file" IdempotentWrite "Writes a file inside a guest.";
    FreezeFilesystems "freeze_filesystems" Action "Freezes a guest's file systems.";
    ThawFilesystems "thaw_filesystems" IdempotentWrite "Thaws a guest's file systems.";
    Watch "watch" Read "Follows the changes as a stream.";
}

impl Operation {
    /// The capability that a backend must have for it.
    #[must_use]
    pub const fn capability(self) -> Capability {
        Capability::Operation(self)
    }

    /// Whether a call of unknown outcome may be repeated.
    #[must_use]
    pub const fn is_idempotent(self) -> bool {
        self.class().is_idempotent()
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Operation {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Error> {
        let known = Self::ALL.iter().find(|operation| operation.as_str() == name);
        known.copied().ok_or_else(|| Error::invalid("operation", format!("no operation is called `{name}`")))
    }
}

impl Serialize for Operation {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for Operation {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        name.parse().map_err(serde::de::Error::custom)
    }
}

/// For what a server reports: an operation that only a newer version has is none.
pub(crate) fn if_known<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Operation>, D::Error> {
    let name = Option::<String>::deserialize(deserializer)?;
    Ok(name.and_then(|name| name.parse().ok()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn names_are_unique_and_parse_back() {
        let names: BTreeSet<_> = Operation::ALL.iter().map(|operation| operation.as_str()).collect();
        assert_eq!(names.len(), Operation::ALL.len());
        for operation in Operation::ALL {
            assert_eq!(operation.as_str().parse::<Operation>().unwrap(), *operation);
        }
        assert!("destroy_vm".parse::<Operation>().is_err());
    }

    #[test]
    fn creates_are_not_repeated_blindly() {
        for operation in Operation::ALL {
            if operation.as_str().starts_with("create_") || operation.as_str().starts_with("clone_") {
                assert!(!operation.is_idempotent(), "{operation}");
            }
            if operation.as_str().starts_with("list_") || operation.as_str().starts_with("get_") {
                assert_eq!(operation.class(), OperationClass::Read, "{operation}");
            }
        }
    }
}
