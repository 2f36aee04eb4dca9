//! Hosts, guests and groups.

pub(crate) mod clone;
pub(crate) mod create;
mod delete;
pub(crate) mod devices;
mod group;
mod host;
pub(crate) mod list;
mod migrate;
pub(crate) mod power;
pub(crate) mod start;
pub(crate) mod update;

use async_trait::async_trait;
use hypervisor_core::model::{
    ByteSize, CloneSpec, ClusterInfo, ConsoleAccess, ConsoleKind, DeleteVm, DeploySpec, DetachDisk, DiskId,
    DiskSpec, ExportSpec, ExportedVm, GroupChange, GroupId, GroupInfo, GroupSpec, HostId, HostInfo,
    MigrateSpec, NicChange, NicId, NicSpec, Page, PageRequest, PowerAction, Screenshot, Started,
    TemplateSpec, UpdateOutcome, VmChange, VmConfig, VmId, VmInfo, VmQuery, VmSpec,
};
use hypervisor_core::traits::Compute;
use hypervisor_core::{Error, Operation, Result};

use crate::backend::Proxmox;
use crate::error::named;

#[async_trait]
impl Compute for Proxmox {
    async fn list_vms(&self, query: &VmQuery, page: &PageRequest) -> Result<Page<VmInfo>> {
        list::list(&self.inner, query, page).await.map_err(named(Operation::ListVms))
    }

    async fn get_vm(&self, vm: &VmId) -> Result<VmInfo> {
        list::get(&self.inner, Operation::GetVm, vm).await
    }

    async fn create_vm(&self, spec: &VmSpec) -> Result<Started<VmId>> {
        spec.validate().map_err(named(Operation::CreateVm))?;
        self.inner.require(Operation::CreateVm, &spec.needs())?;
        create::create(&self.inner, spec).await.map_err(named(Operation::CreateVm))
    }

    async fn power_vm(&self, vm: &VmId, action: &PowerAction) -> Result<Started<()>> {
        self.inner.require(action.operation(), &action.needs())?;
        power::power(&self.inner, vm, action).await.map_err(named(action.operation()))
    }

    async fn delete_vm(&self, vm: &VmId, options: &DeleteVm) -> Result<Started<()>> {
        self.inner.require(Operation::DeleteVm, &options.needs())?;
        delete::delete(&self.inner, vm, options).await.map_err(named(Operation::DeleteVm))
    }

    async fn get_cluster(&self) -> Result<ClusterInfo> {
        host::cluster(&self.inner).await.map_err(named(Operation::GetCluster))
    }

    async fn list_hosts(&self, page: &PageRequest) -> Result<Page<HostInfo>> {
        host::list(&self.inner, page).await.map_err(named(Operation::ListHosts))
    }

    async fn get_host(&self, host: &HostId) -> Result<HostInfo> {
        host::get(&self.inner, host).await.map_err(named(Operation::GetHost))
    }

    async fn get_vm_config(&self, vm: &VmId) -> Result<VmConfig> {
        list::whole(&self.inner, Operation::GetVmConfig, vm).await
    }

    async fn update_vm(&self, vm: &VmId, change: &VmChange) -> Result<Started<UpdateOutcome>> {
        change.validate().map_err(named(Operation::UpdateVm))?;
        self.inner.require(Operation::UpdateVm, &change.needs())?;
        update::update(&self.inner, vm, change).await.map_err(named(Operation::UpdateVm))
    }

    async fn clone_vm(&self, vm: &VmId, spec: &CloneSpec) -> Result<Started<VmId>> {
        spec.validate().map_err(named(Operation::CloneVm))?;
        self.inner.require(Operation::CloneVm, &spec.needs())?;
        clone::clone(&self.inner, vm, spec).await.map_err(named(Operation::CloneVm))
    }

    async fn migrate_vm(&self, vm: &VmId, spec: &MigrateSpec) -> Result<Started<()>> {
        spec.validate().map_err(named(Operation::MigrateVm))?;
        self.inner.require(Operation::MigrateVm, &spec.needs())?;
        migrate::migrate(&self.inner, vm, spec).await.map_err(named(Operation::MigrateVm))
    }

    async fn create_template(&self, vm: &VmId, spec: &TemplateSpec) -> Result<Started<VmId>> {
        spec.validate().map_err(named(Operation::CreateTemplate))?;
        self.inner.require(Operation::CreateTemplate, &spec.needs())?;
        clone::template(&self.inner, vm, spec).await.map_err(named(Operation::CreateTemplate))
    }

    async fn deploy_template(&self, template: &VmId, spec: &DeploySpec) -> Result<Started<VmId>> {
        spec.validate().map_err(named(Operation::DeployTemplate))?;
        self.inner.require(Operation::DeployTemplate, &spec.needs())?;
        clone::deploy(&self.inner, template, spec).await.map_err(named(Operation::DeployTemplate))
    }

    async fn export_vm(&self, _: &VmId, _: &ExportSpec) -> Result<Started<ExportedVm>> {
        Err(self.inner.refusal(Operation::ExportVm))
    }

    async fn attach_disk(&self, vm: &VmId, disk: &DiskSpec) -> Result<Started<DiskId>> {
        disk.validate("disk").map_err(named(Operation::AttachDisk))?;
        self.inner.require(Operation::AttachDisk, &disk.needs())?;
        devices::attach_disk(&self.inner, vm, disk).await.map_err(named(Operation::AttachDisk))
    }

    async fn detach_disk(&self, vm: &VmId, disk: &DiskId, options: &DetachDisk) -> Result<Started<()>> {
        self.inner.require(Operation::DetachDisk, &[])?;
        devices::detach_disk(&self.inner, vm, disk, *options).await.map_err(named(Operation::DetachDisk))
    }

    async fn resize_disk(&self, vm: &VmId, disk: &DiskId, capacity: ByteSize) -> Result<Started<()>> {
        self.inner.require(Operation::ResizeDisk, &[])?;
        devices::resize_disk(&self.inner, vm, disk, capacity).await.map_err(named(Operation::ResizeDisk))
    }

    async fn attach_nic(&self, vm: &VmId, nic: &NicSpec) -> Result<Started<NicId>> {
        nic.validate("nic").map_err(named(Operation::AttachNic))?;
        self.inner.require(Operation::AttachNic, &nic.needs())?;
        devices::attach_nic(&self.inner, vm, nic).await.map_err(named(Operation::AttachNic))
    }

    async fn update_nic(&self, vm: &VmId, nic: &NicId, change: &NicChange) -> Result<Started<()>> {
        change.validate().map_err(named(Operation::UpdateNic))?;
        self.inner.require(Operation::UpdateNic, &change.needs())?;
        devices::update_nic(&self.inner, vm, nic, change).await.map_err(named(Operation::UpdateNic))
    }

    async fn detach_nic(&self, vm: &VmId, nic: &NicId) -> Result<Started<()>> {
        self.inner.require(Operation::DetachNic, &[])?;
        devices::detach_nic(&self.inner, vm, nic).await.map_err(named(Operation::DetachNic))
    }

    async fn get_console(&self, vm: &VmId, kind: &ConsoleKind) -> Result<ConsoleAccess> {
        self.inner.require(Operation::GetConsole, &[])?;
        crate::console::access(&self.inner, vm, kind).await.map_err(named(Operation::GetConsole))
    }

    async fn screenshot_vm(&self, _: &VmId) -> Result<Screenshot> {
        Err(self.inner.refusal(Operation::ScreenshotVm))
    }

    async fn list_groups(&self, page: &PageRequest) -> Result<Page<GroupInfo>> {
        group::list(&self.inner, page).await.map_err(named(Operation::ListGroups))
    }

    async fn get_group(&self, group: &GroupId) -> Result<GroupInfo> {
        group::get(&self.inner, group).await.map_err(named(Operation::GetGroup))
    }

    async fn create_group(&self, spec: &GroupSpec) -> Result<Started<GroupId>> {
        spec.validate().map_err(named(Operation::CreateGroup))?;
        self.inner.require(Operation::CreateGroup, &[])?;
        group::create(&self.inner, spec).await.map_err(named(Operation::CreateGroup))
    }

    async fn update_group(&self, group: &GroupId, change: &GroupChange) -> Result<Started<()>> {
        self.inner.require(Operation::UpdateGroup, &[])?;
        group::update(&self.inner, group, change).await.map_err(named(Operation::UpdateGroup))
    }

    async fn delete_group(&self, group: &GroupId) -> Result<Started<()>> {
        self.inner.require(Operation::DeleteGroup, &[])?;
        group::delete(&self.inner, group).await.map_err(named(Operation::DeleteGroup))
    }
}

impl crate::backend::Inner {
    /// The refusal of an operation that the driver has not, with the reason that the capabilities give.
    pub(crate) fn refusal(&self, operation: Operation) -> Error {
        let refused = self.require(operation, &[]).err();
        refused.unwrap_or_else(|| crate::error::unsupported(operation, "the driver has no such call"))
    }
}
