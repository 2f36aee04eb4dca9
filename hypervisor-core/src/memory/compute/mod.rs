//! Hosts and guests, as the trait has them.

mod clone;
mod config;
mod create;
mod devices;
mod disks;
mod group;
mod host;
mod power;
mod screen;
pub(in crate::memory) mod serial;

pub(super) use self::create::Birth;

use async_trait::async_trait;

use super::Memory;
use super::state::by_number;
use crate::error::{Error, Result};
use crate::model::{
    ByteSize, CloneSpec, ClusterInfo, ConsoleAccess, ConsoleKind, ConsoleStream, DeleteVm, DeploySpec,
    DetachDisk, DiskId, DiskSpec, ExportSpec, ExportedVm, GroupChange, GroupId, GroupInfo, GroupSpec, HostId,
    HostInfo, MigrateSpec, NicChange, NicId, NicSpec, Page, PageRequest, PowerAction, Screenshot, Started,
    TemplateSpec, UpdateOutcome, VmChange, VmConfig, VmId, VmInfo, VmQuery, VmSpec, validate,
};
use crate::operation::Operation;
use crate::traits::Compute;

/// A requested id is used in volume ids and errors, and must be as plain as a name.
fn id_is_valid(id: Option<&VmId>) -> Result<()> {
    id.map_or(Ok(()), |id| validate::name("id", id.as_str()))
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Compute for Memory {
    async fn list_vms(&self, query: &VmQuery, page: &PageRequest) -> Result<Page<VmInfo>> {
        self.call(Operation::ListVms, &[], Ok(()), |world| {
            if *query == VmQuery::all() {
                let page = world.page_of_vms(page).map(|vm| world.vm_info(vm));
                return Ok(page.with_unreachable(world.unreachable()));
            }
            let seen = world.vms.values().filter(|vm| world.reachable(&vm.host).is_ok());
            let wanted = seen.map(|vm| world.vm_info(vm)).filter(|info| query.matches(info)).collect();
            let page = world.page(wanted, page, |info: &VmInfo| by_number(info.id.as_str()));
            Ok(page.with_unreachable(world.unreachable()))
        })
        .await
    }

    async fn get_vm(&self, vm: &VmId) -> Result<VmInfo> {
        self.call(Operation::GetVm, &[], Ok(()), |world| Ok(world.vm_info(world.vm(vm)?))).await
    }

    async fn create_vm(&self, spec: &VmSpec) -> Result<Started<VmId>> {
        let valid = spec.validate().and_then(|()| id_is_valid(spec.id.as_ref()));
        self.call(Operation::CreateVm, &spec.needs(), valid, |world| world.create_vm(spec)).await
    }

    async fn power_vm(&self, vm: &VmId, action: &PowerAction) -> Result<Started<()>> {
        self.call(action.operation(), &action.needs(), Ok(()), |world| world.power_vm(vm, action)).await
    }

    async fn delete_vm(&self, vm: &VmId, options: &DeleteVm) -> Result<Started<()>> {
        self.call(Operation::DeleteVm, &options.needs(), Ok(()), |world| world.delete_vm(vm, options)).await
    }

    async fn get_cluster(&self) -> Result<ClusterInfo> {
        self.call(Operation::GetCluster, &[], Ok(()), |world| Ok(world.cluster_info())).await
    }

    async fn list_hosts(&self, page: &PageRequest) -> Result<Page<HostInfo>> {
        self.call(Operation::ListHosts, &[], Ok(()), |world| {
            let all = world.hosts.iter().map(|(id, host)| world.host_info(id, host)).collect();
            Ok(world.page(all, page, |info: &HostInfo| by_number(info.id.as_str())))
        })
        .await
    }

    async fn get_host(&self, host: &HostId) -> Result<HostInfo> {
        self.call(Operation::GetHost, &[], Ok(()), |world| {
            let found = world.hosts.get(host).ok_or_else(|| host.not_found())?;
            Ok(world.host_info(host, found))
        })
        .await
    }

    async fn get_vm_config(&self, vm: &VmId) -> Result<VmConfig> {
        self.call(Operation::GetVmConfig, &[], Ok(()), |world| Ok(world.vm_config(world.vm(vm)?))).await
    }

    async fn update_vm(&self, vm: &VmId, change: &VmChange) -> Result<Started<UpdateOutcome>> {
        let valid = change.validate();
        self.call(Operation::UpdateVm, &change.needs(), valid, |world| world.update_vm(vm, change)).await
    }

    async fn clone_vm(&self, vm: &VmId, spec: &CloneSpec) -> Result<Started<VmId>> {
        let valid = spec.validate().and_then(|()| id_is_valid(spec.id.as_ref()));
        self.call(Operation::CloneVm, &spec.needs(), valid, |world| world.clone_vm(vm, spec)).await
    }

    async fn migrate_vm(&self, vm: &VmId, spec: &MigrateSpec) -> Result<Started<()>> {
        let valid = spec.validate();
        self.call(Operation::MigrateVm, &spec.needs(), valid, |world| world.migrate_vm(vm, spec)).await
    }

    async fn create_template(&self, vm: &VmId, spec: &TemplateSpec) -> Result<Started<VmId>> {
        let valid = spec.validate();
        self.call(Operation::CreateTemplate, &spec.needs(), valid, |world| world.create_template(vm, spec))
            .await
    }

    async fn deploy_template(&self, template: &VmId, spec: &DeploySpec) -> Result<Started<VmId>> {
        let valid = spec.validate().and_then(|()| id_is_valid(spec.clone.id.as_ref()));
        self.call(Operation::DeployTemplate, &spec.needs(), valid, |world| {
            world.deploy_template(template, spec)
        })
        .await
    }

    async fn export_vm(&self, vm: &VmId, spec: &ExportSpec) -> Result<Started<ExportedVm>> {
        self.call(Operation::ExportVm, &[], spec.validate(), |world| world.export_vm(vm, spec)).await
    }

    async fn attach_disk(&self, vm: &VmId, disk: &DiskSpec) -> Result<Started<DiskId>> {
        let valid = disk.validate("disk");
        self.call(Operation::AttachDisk, &disk.needs(), valid, |world| world.attach_disk(vm, disk)).await
    }

    async fn detach_disk(&self, vm: &VmId, disk: &DiskId, options: &DetachDisk) -> Result<Started<()>> {
        self.call(Operation::DetachDisk, &[], Ok(()), |world| world.detach_disk(vm, disk, options)).await
    }

    async fn resize_disk(&self, vm: &VmId, disk: &DiskId, capacity: ByteSize) -> Result<Started<()>> {
        let valid = match capacity {
            ByteSize::ZERO => Err(Error::invalid("capacity", "must be more than nothing")),
            _ => Ok(()),
        };
        self.call(Operation::ResizeDisk, &[], valid, |world| world.resize_disk(vm, disk, capacity)).await
    }

    async fn attach_nic(&self, vm: &VmId, nic: &NicSpec) -> Result<Started<NicId>> {
        let valid = nic.validate("nic");
        self.call(Operation::AttachNic, &nic.needs(), valid, |world| world.attach_nic(vm, nic)).await
    }

    async fn update_nic(&self, vm: &VmId, nic: &NicId, change: &NicChange) -> Result<Started<()>> {
        let valid = change.validate();
        self.call(Operation::UpdateNic, &change.needs(), valid, |world| world.update_nic(vm, nic, change))
            .await
    }

    async fn detach_nic(&self, vm: &VmId, nic: &NicId) -> Result<Started<()>> {
        self.call(Operation::DetachNic, &[], Ok(()), |world| world.detach_nic(vm, nic)).await
    }

    async fn get_console(&self, vm: &VmId, kind: &ConsoleKind) -> Result<ConsoleAccess> {
        self.call(Operation::GetConsole, &[], Ok(()), |world| world.console(vm, kind)).await
    }

    async fn stream_console(&self, vm: &VmId, kind: &ConsoleKind) -> Result<ConsoleStream> {
        self.call(Operation::GetConsole, &[], Ok(()), |world| world.open_console(vm, kind)).await
    }

    async fn screenshot_vm(&self, vm: &VmId) -> Result<Screenshot> {
        self.call(Operation::ScreenshotVm, &[], Ok(()), |world| world.screenshot(vm)).await
    }

    async fn list_groups(&self, page: &PageRequest) -> Result<Page<GroupInfo>> {
        self.call(Operation::ListGroups, &[], Ok(()), |world| {
            let all = world.groups.iter().map(|(id, group)| world.group_info(id, group)).collect();
            Ok(world.page(all, page, |group| group.id.to_string()))
        })
        .await
    }

    async fn get_group(&self, group: &GroupId) -> Result<GroupInfo> {
        self.call(Operation::GetGroup, &[], Ok(()), |world| {
            let found = world.groups.get(group).ok_or_else(|| group.not_found())?;
            Ok(world.group_info(group, found))
        })
        .await
    }

    async fn create_group(&self, spec: &GroupSpec) -> Result<Started<GroupId>> {
        self.call(Operation::CreateGroup, &[], spec.validate(), |world| world.create_group(spec)).await
    }

    async fn update_group(&self, group: &GroupId, change: &GroupChange) -> Result<Started<()>> {
        let valid = change.validate();
        self.call(Operation::UpdateGroup, &[], valid, |world| world.update_group(group, change)).await
    }

    async fn delete_group(&self, group: &GroupId) -> Result<Started<()>> {
        self.call(Operation::DeleteGroup, &[], Ok(()), |world| world.delete_group(group)).await
    }
}
