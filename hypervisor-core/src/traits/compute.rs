use async_trait::async_trait;

use super::unsupported;
use crate::error::Result;
use crate::model::{
    ByteSize, CloneSpec, ClusterInfo, ConsoleAccess, ConsoleKind, DeleteVm, DeploySpec, DetachDisk, DiskId,
    DiskSpec, ExportSpec, ExportedVm, GroupChange, GroupId, GroupInfo, GroupSpec, HostId, HostInfo,
    MigrateSpec, NicChange, NicId, NicSpec, Page, PageRequest, PowerAction, Screenshot, Started,
    TemplateSpec, UpdateOutcome, VmChange, VmConfig, VmId, VmInfo, VmQuery, VmSpec,
};
use crate::operation::Operation;

/// Hosts and guests.
#[async_trait]
pub trait Compute: Send + Sync {
    /// Lists the guests that the query wants, in one request to the backend wherever it can. A host that cannot be asked is named in
    /// [`Page::unreachable`] and does not fail the list.
    async fn list_vms(&self, query: &VmQuery, page: &PageRequest) -> Result<Page<VmInfo>>;

    /// Reads one guest.
    ///
    /// # Errors
    /// `NotFound`.
    async fn get_vm(&self, vm: &VmId) -> Result<VmInfo>;

    /// Creates a guest with its disks and NICs, stopped unless the spec says otherwise.
    ///
    /// # Errors
    /// `InvalidInput` naming the field, `AlreadyExists` for a name (where names are unique) or id that is taken, `NotFound` for a pool, volume,
    /// network or host that does not exist, `Exhausted`. A create that fails leaves no volume behind, or says so with
    /// [`Effect::Partial`](crate::Effect::Partial).
    async fn create_vm(&self, spec: &VmSpec) -> Result<Started<VmId>>;

    /// Carries out a power verb. The call returns once the backend has taken it; a `Shutdown` without a time limit does not wait for the guest.
    ///
    /// # Errors
    /// `InvalidState` where [`PowerAction::check_state`] refuses, `Locked` while another task holds the guest.
    async fn power_vm(&self, vm: &VmId, action: &PowerAction) -> Result<Started<()>>;

    /// Deletes a guest, and its disks as the options say.
    ///
    /// # Errors
    /// `InvalidState` while it runs (unless the options cut its power) or has snapshots that would be lost (unless they go too);
    /// `Conflict` when it has another uid than expected.
    async fn delete_vm(&self, vm: &VmId, options: &DeleteVm) -> Result<Started<()>>;

    /// Reads the state of the cluster; a single host is a cluster of one.
    async fn get_cluster(&self) -> Result<ClusterInfo> {
        unsupported(Operation::GetCluster)
    }

    /// Lists the hosts.
    async fn list_hosts(&self, page: &PageRequest) -> Result<Page<HostInfo>> {
        let _ = page;
        unsupported(Operation::ListHosts)
    }

    /// Reads one host.
    async fn get_host(&self, host: &HostId) -> Result<HostInfo> {
        let _ = host;
        unsupported(Operation::GetHost)
    }

    /// Reads a guest's whole configuration, with its devices and pending changes.
    async fn get_vm_config(&self, vm: &VmId) -> Result<VmConfig> {
        let _ = vm;
        unsupported(Operation::GetVmConfig)
    }

    /// Changes a guest's configuration. What the SDK does not know of it is kept.
    ///
    /// # Errors
    /// `Conflict` when the revision or uid is another; `InvalidState` for [`LiveOnly`](crate::model::ApplyPolicy::LiveOnly) where it would take a power cycle.
    async fn update_vm(&self, vm: &VmId, change: &VmChange) -> Result<Started<UpdateOutcome>> {
        let _ = (vm, change);
        unsupported(Operation::UpdateVm)
    }

    /// Copies a guest. The copy has a new uid and new MAC addresses.
    async fn clone_vm(&self, vm: &VmId, spec: &CloneSpec) -> Result<Started<VmId>> {
        let _ = (vm, spec);
        unsupported(Operation::CloneVm)
    }

    /// Moves a guest to another host.
    async fn migrate_vm(&self, vm: &VmId, spec: &MigrateSpec) -> Result<Started<()>> {
        let _ = (vm, spec);
        unsupported(Operation::MigrateVm)
    }

    /// Makes a template from a stopped guest, or from a copy of it. Returns the template's id.
    async fn create_template(&self, vm: &VmId, spec: &TemplateSpec) -> Result<Started<VmId>> {
        let _ = (vm, spec);
        unsupported(Operation::CreateTemplate)
    }

    /// Creates a guest from a template.
    async fn deploy_template(&self, template: &VmId, spec: &DeploySpec) -> Result<Started<VmId>> {
        let _ = (template, spec);
        unsupported(Operation::DeployTemplate)
    }

    /// Writes a stopped guest's definition and disks to a directory on the host.
    async fn export_vm(&self, vm: &VmId, spec: &ExportSpec) -> Result<Started<ExportedVm>> {
        let _ = (vm, spec);
        unsupported(Operation::ExportVm)
    }

    /// Attaches a disk: to the running guest and to its configuration. Returns its slot.
    async fn attach_disk(&self, vm: &VmId, disk: &DiskSpec) -> Result<Started<DiskId>> {
        let _ = (vm, disk);
        unsupported(Operation::AttachDisk)
    }

    /// Detaches a disk from the running guest and from its configuration.
    async fn detach_disk(&self, vm: &VmId, disk: &DiskId, options: &DetachDisk) -> Result<Started<()>> {
        let _ = (vm, disk, options);
        unsupported(Operation::DetachDisk)
    }

    /// Makes a disk larger; never smaller.
    async fn resize_disk(&self, vm: &VmId, disk: &DiskId, capacity: ByteSize) -> Result<Started<()>> {
        let _ = (vm, disk, capacity);
        unsupported(Operation::ResizeDisk)
    }

    /// Attaches a NIC to the running guest and to its configuration. Returns its id.
    async fn attach_nic(&self, vm: &VmId, nic: &NicSpec) -> Result<Started<NicId>> {
        let _ = (vm, nic);
        unsupported(Operation::AttachNic)
    }

    /// Changes what a NIC is plugged into.
    async fn update_nic(&self, vm: &VmId, nic: &NicId, change: &NicChange) -> Result<Started<()>> {
        let _ = (vm, nic, change);
        unsupported(Operation::UpdateNic)
    }

    /// Detaches a NIC from the running guest and from its configuration.
    async fn detach_nic(&self, vm: &VmId, nic: &NicId) -> Result<Started<()>> {
        let _ = (vm, nic);
        unsupported(Operation::DetachNic)
    }

    /// Finds out how to reach a running guest's console.
    ///
    /// # Errors
    /// `InvalidState` if it does not run or has no such console.
    async fn get_console(&self, vm: &VmId, kind: &ConsoleKind) -> Result<ConsoleAccess> {
        let _ = (vm, kind);
        unsupported(Operation::GetConsole)
    }

    /// Takes a picture of a running guest's screen.
    async fn screenshot_vm(&self, vm: &VmId) -> Result<Screenshot> {
        let _ = vm;
        unsupported(Operation::ScreenshotVm)
    }

    /// Lists the resource groups, without their members where these would cost a call each.
    async fn list_groups(&self, page: &PageRequest) -> Result<Page<GroupInfo>> {
        let _ = page;
        unsupported(Operation::ListGroups)
    }

    /// Reads one resource group with its members.
    async fn get_group(&self, group: &GroupId) -> Result<GroupInfo> {
        let _ = group;
        unsupported(Operation::GetGroup)
    }

    /// Creates an empty resource group.
    async fn create_group(&self, spec: &GroupSpec) -> Result<Started<GroupId>> {
        let _ = spec;
        unsupported(Operation::CreateGroup)
    }

    /// Changes a resource group and its members.
    async fn update_group(&self, group: &GroupId, change: &GroupChange) -> Result<Started<()>> {
        let _ = (group, change);
        unsupported(Operation::UpdateGroup)
    }

    /// Deletes a resource group.
    ///
    /// # Errors
    /// `InvalidState` while it has members.
    async fn delete_group(&self, group: &GroupId) -> Result<Started<()>> {
        let _ = group;
        unsupported(Operation::DeleteGroup)
    }
}
