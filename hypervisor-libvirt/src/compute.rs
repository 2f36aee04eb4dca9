//! Hosts and guests.

pub(crate) mod clone;
pub(crate) mod console;
pub(crate) mod create;
mod delete;
mod devices;
mod export;
pub(crate) mod halted;
mod host;
pub(crate) mod identity;
pub(crate) mod lifecycle;
pub(crate) mod list;
pub(crate) mod lookup;
mod migrate;
mod saved;
mod template;
mod update;
pub(crate) mod volumes;

use std::sync::Arc;

use async_trait::async_trait;
use hypervisor_core::model::{
    ByteSize, CloneSpec, ClusterInfo, ConsoleAccess, ConsoleKind, ConsoleStream, DeleteVm, DeploySpec,
    DetachDisk, DiskId, DiskSpec, ExportSpec, ExportedVm, HostId, HostInfo, MigrateSpec, NicChange, NicId,
    NicSpec, Page, PageRequest, PowerAction, Screenshot, Started, TemplateSpec, UpdateOutcome, VmChange,
    VmConfig, VmId, VmInfo, VmQuery, VmSpec,
};
use hypervisor_core::traits::Compute;
use hypervisor_core::{Error, Operation, Result};

use crate::backend::Libvirt;
use crate::error::named;

#[async_trait]
impl Compute for Libvirt {
    async fn list_vms(&self, query: &VmQuery, page: &PageRequest) -> Result<Page<VmInfo>> {
        let mut all = list::all(&self.inner).await?;
        all.retain(|vm| query.matches(vm));
        Ok(Page::cut_by(all, page, |vm: &VmInfo| vm.id.as_str()))
    }

    async fn get_vm(&self, vm: &VmId) -> Result<VmInfo> {
        list::one(&self.inner, vm).await
    }

    async fn create_vm(&self, spec: &VmSpec) -> Result<Started<VmId>> {
        spec.validate().map_err(named(Operation::CreateVm))?;
        self.inner.check_cpus(Some(spec.cpus)).map_err(named(Operation::CreateVm))?;
        self.inner.require(Operation::CreateVm, &spec.needs())?;
        create::create(&self.inner, spec.clone()).await.map(Started::done)
    }

    async fn power_vm(&self, vm: &VmId, action: &PowerAction) -> Result<Started<()>> {
        self.inner.require(action.operation(), &action.needs())?;
        lifecycle::power(&self.inner, vm, *action).await
    }

    /// Of all disks those are kept that another guest has too. A disk that another guest's disk starts from, as a linked clone's does, is
    /// `InvalidState`, before anything is done. Where the definition of another guest cannot be read and names a file like one of these disks',
    /// it is `Protocol`.
    async fn delete_vm(&self, vm: &VmId, options: &DeleteVm) -> Result<Started<()>> {
        self.inner.require(Operation::DeleteVm, &options.needs())?;
        delete::delete(&self.inner, vm, options.clone()).await.map(Started::done)
    }

    async fn get_cluster(&self) -> Result<ClusterInfo> {
        let host = host::read(&self.inner, Operation::GetCluster).await?;
        Ok(ClusterInfo::new(vec![host]))
    }

    async fn list_hosts(&self, page: &PageRequest) -> Result<Page<HostInfo>> {
        let host = host::read(&self.inner, Operation::ListHosts).await?;
        Ok(Page::cut(vec![host], page, |host: &HostInfo| host.id.to_string()))
    }

    async fn get_host(&self, host: &HostId) -> Result<HostInfo> {
        self.inner.check_host(Some(host)).map_err(named(Operation::GetHost))?;
        host::read(&self.inner, Operation::GetHost).await
    }

    async fn get_vm_config(&self, vm: &VmId) -> Result<VmConfig> {
        list::config(&self.inner, vm).await
    }

    async fn update_vm(&self, vm: &VmId, change: &VmChange) -> Result<Started<UpdateOutcome>> {
        change.validate().map_err(named(Operation::UpdateVm))?;
        self.inner.check_cpus(change.cpus).map_err(named(Operation::UpdateVm))?;
        self.inner.require(Operation::UpdateVm, &change.needs())?;
        update::update(&self.inner, vm, change.clone()).await.map(Started::done)
    }

    async fn clone_vm(&self, vm: &VmId, spec: &CloneSpec) -> Result<Started<VmId>> {
        spec.validate().map_err(named(Operation::CloneVm))?;
        self.inner.require(Operation::CloneVm, &spec.needs())?;
        clone::clone(&self.inner, Operation::CloneVm, vm, spec.clone(), clone::Finish::default()).await
    }

    async fn migrate_vm(&self, vm: &VmId, spec: &MigrateSpec) -> Result<Started<()>> {
        spec.validate().map_err(named(Operation::MigrateVm))?;
        self.inner.require(Operation::MigrateVm, &spec.needs())?;
        migrate::migrate(&self.inner, vm, spec).await
    }

    async fn create_template(&self, vm: &VmId, spec: &TemplateSpec) -> Result<Started<VmId>> {
        spec.validate().map_err(named(Operation::CreateTemplate))?;
        self.inner.require(Operation::CreateTemplate, &spec.needs())?;
        template::create(&self.inner, vm, spec).await
    }

    async fn deploy_template(&self, template: &VmId, spec: &DeploySpec) -> Result<Started<VmId>> {
        spec.validate().map_err(named(Operation::DeployTemplate))?;
        self.inner.check_cpus(spec.cpus).map_err(named(Operation::DeployTemplate))?;
        self.inner.require(Operation::DeployTemplate, &spec.needs())?;
        template::deploy(&self.inner, template, spec).await
    }

    async fn export_vm(&self, vm: &VmId, spec: &ExportSpec) -> Result<Started<ExportedVm>> {
        spec.validate().map_err(named(Operation::ExportVm))?;
        self.inner.require(Operation::ExportVm, &[])?;
        export::export(&self.inner, vm, spec.clone()).await
    }

    async fn attach_disk(&self, vm: &VmId, disk: &DiskSpec) -> Result<Started<DiskId>> {
        disk.validate("disk").map_err(named(Operation::AttachDisk))?;
        self.inner.require(Operation::AttachDisk, &disk.needs())?;
        devices::attach_disk(&self.inner, vm, disk.clone()).await.map(Started::done)
    }

    async fn detach_disk(&self, vm: &VmId, disk: &DiskId, options: &DetachDisk) -> Result<Started<()>> {
        devices::detach_disk(&self.inner, vm, disk, *options).await.map(Started::done)
    }

    async fn resize_disk(&self, vm: &VmId, disk: &DiskId, capacity: ByteSize) -> Result<Started<()>> {
        devices::resize_disk(&self.inner, vm, disk, capacity).await.map(Started::done)
    }

    async fn attach_nic(&self, vm: &VmId, nic: &NicSpec) -> Result<Started<NicId>> {
        nic.validate("nic").map_err(named(Operation::AttachNic))?;
        self.inner.require(Operation::AttachNic, &nic.needs())?;
        devices::attach_nic(&self.inner, vm, nic.clone()).await.map(Started::done)
    }

    async fn update_nic(&self, vm: &VmId, nic: &NicId, change: &NicChange) -> Result<Started<()>> {
        change.validate().map_err(named(Operation::UpdateNic))?;
        self.inner.require(Operation::UpdateNic, &change.needs())?;
        devices::update_nic(&self.inner, vm, nic, change.clone()).await.map(Started::done)
    }

    async fn detach_nic(&self, vm: &VmId, nic: &NicId) -> Result<Started<()>> {
        devices::detach_nic(&self.inner, vm, nic).await.map(Started::done)
    }

    async fn get_console(&self, vm: &VmId, kind: &ConsoleKind) -> Result<ConsoleAccess> {
        console::access(&self.inner, vm, kind.clone()).await
    }

    /// Serial consoles; the bytes go through libvirt's own connection.
    async fn stream_console(&self, vm: &VmId, kind: &ConsoleKind) -> Result<ConsoleStream> {
        self.inner.require(Operation::GetConsole, &[])?;
        if *kind != ConsoleKind::Serial {
            let why =
                format!("libvirt carries serial consoles only; get_console tells where a {kind} screen is");
            return Err(Error::unsupported(Operation::GetConsole, why).with_target(VmId::NOUN, vm));
        }
        let console = self.console_stream(vm, &crate::console::OpenConsole::new()).await?;
        Ok(ConsoleStream::new(console))
    }

    async fn screenshot_vm(&self, vm: &VmId) -> Result<Screenshot> {
        console::screenshot(&self.inner, vm).await
    }
}

type Shared = Arc<crate::backend::Inner>;
