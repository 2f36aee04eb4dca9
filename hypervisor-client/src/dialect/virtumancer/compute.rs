//! Hosts and guests.

use async_trait::async_trait;
use futures::StreamExt as _;
use hypervisor_core::http::{Method, Request};
use hypervisor_core::model::{
    ClusterInfo, ConsoleAccess, ConsoleKind, ConsoleStream, DeleteVm, DiskDevice, DiskSpec, HostId, HostInfo,
    NicInfo, NicSource, NicSpec, Page, PageRequest, PowerAction, Started, VmConfig, VmId, VmInfo, VmQuery,
    VmSpec, VmState,
};
use hypervisor_core::traits::Compute;
use hypervisor_core::{Error, ErrorKind, Operation, Result};

use super::BACKEND;
use super::api::{About, Seen};
use super::backend::Virtumancer;
use super::routes::{self, Generation};
use super::wire::{Hardware, HostRecord, Listed, Place, Plug};

/// How many hosts are asked at a time.
const AT_A_TIME: usize = 8;

impl Virtumancer {
    /// All hosts, with what libvirt says of those that can be asked.
    async fn all_hosts(&self) -> Result<Vec<HostInfo>> {
        let hosts = self.inner.api.hosts().await?;
        let asked = hosts.into_iter().map(|host| self.host_info_of(host));
        let asked: Vec<Result<HostInfo>> = futures::stream::iter(asked).buffered(AT_A_TIME).collect().await;
        asked.into_iter().collect()
    }

    async fn host_info_of(&self, host: HostRecord) -> Result<HostInfo> {
        if host.is_connected() == Some(false) {
            return Ok(host.to_info(None, false));
        }
        match self.inner.api.info(&host.id).await {
            Ok(info) => Ok(host.to_info(info.facts.as_ref(), info.connected)),
            // What is wrong with one host only is no reason to know nothing of the others.
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::HostUnreachable
                        | ErrorKind::Backend
                        | ErrorKind::NotFound
                        | ErrorKind::Timeout
                ) =>
            {
                let mut info = host.to_info(None, false);
                info.extra.insert(BACKEND, "trouble", error.message());
                Ok(info)
            }
            Err(error) => Err(error),
        }
    }

    pub(super) fn guests(seen: &Seen) -> impl Iterator<Item = VmInfo> + '_ {
        // Where the connection is fine, the newer server may still not know what one guest does.
        seen.vms.iter().map(|vm| vm.to_info(&seen.host.id, Some(seen.reachable)))
    }

    /// Reads a guest's devices (`GET …/hardware`). Early servers ask libvirt anew before they answer.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn hardware(&self, vm: &VmId) -> Result<Hardware> {
        let place = Place::vm(vm)?;
        let parts = [("host", place.host.as_str()), ("vm", place.name.as_str())];
        let request = self.inner.api.request(Operation::GetVmConfig, &parts)?;
        self.inner.api.json(request, &About::Vm(place)).await
    }

    async fn config(&self, vm: &VmId) -> Result<VmConfig> {
        let place = Place::vm(vm)?;
        // The list comes second: the server looks at the guest for the devices.
        let hardware = self.hardware(vm).await;
        let (row, reachable) = self.inner.api.vm(&place).await?;
        let hardware = hardware?;
        let info = row.to_info(&place.host, reachable);
        let disks: Vec<_> = hardware.disks.iter().enumerate().map(|(at, disk)| disk.to_info(at)).collect();
        let mut nics: Vec<NicInfo> =
            hardware.networks.iter().enumerate().map(|(at, nic)| nic.to_info(&place.host, at)).collect();
        self.plug(&place, &mut nics).await?;
        let mut spec = VmSpec::new(info.name.as_str()).host(place.host.as_str());
        spec.cpus = info.cpus.unwrap_or(spec.cpus);
        spec.memory = info.memory.unwrap_or(spec.memory);
        spec.description = info.description;
        for disk in &disks {
            let mut made = match &disk.path {
                Some(path) => DiskSpec::host_path(path.as_str()),
                None if disk.device == DiskDevice::Cdrom => DiskSpec::empty_cdrom(),
                None => continue,
            };
            made.device = disk.device;
            made.format = disk.format.clone();
            spec.disks.push(made.bus(disk.bus.clone()).read_only(disk.read_only).slot(disk.id.clone()));
        }
        for nic in &nics {
            let mut made = NicSpec::new(nic.source.clone()).model(nic.model.clone());
            made.mac = nic.mac;
            spec.nics.push(made);
        }
        let native = serde_json::to_string(&hardware).unwrap_or_default();
        Ok(VmConfig::new(vm, spec, disks, nics).native(native))
    }

    /// Current servers tell of a NIC only its bridge, which most networks have none of in their books: what it is plugged into is another
    /// list's to tell.
    async fn plug(&self, place: &Place, nics: &mut [NicInfo]) -> Result<()> {
        let loose = |nic: &NicInfo| nic.source == NicSource::Disconnected;
        if self.generation() < Generation::Current || !nics.iter().any(loose) {
            return Ok(());
        }
        let parts = [("host", place.host.as_str()), ("vm", place.name.as_str())];
        let path = self.path("/hosts/{host}/vms/{vm}/port-attachments", &parts)?;
        let asked = self.inner.api.json::<Listed<Plug>>(Request::get(path), &About::Vm(place.clone())).await;
        let plugs = match asked {
            Ok(plugs) => plugs.into_vec(),
            // The server has answered: what else it knows of the guest is still to be told.
            Err(error)
                if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Backend | ErrorKind::Protocol) =>
            {
                tracing::warn!(%error, vm = %place, "which networks it is plugged into is not known");
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        for nic in nics {
            let found = Plug::source(&plugs, &place.host, nic.id.as_str());
            if let (true, Some(source)) = (loose(nic), found) {
                nic.source = source;
            }
        }
        Ok(())
    }

    /// Refuses what libvirt lets pass though nothing comes of it: a paused guest hears nobody.
    async fn must_hear(&self, place: &Place, action: &PowerAction) -> Result<()> {
        let (vm, reachable) = self.inner.api.vm_now(place).await?;
        let state = vm.state(reachable);
        if state == VmState::Paused {
            return action
                .check_state(&state)
                .map_err(|error| error.with_target(VmId::NOUN, place).with_backend(BACKEND));
        }
        Ok(())
    }
}

#[async_trait]
impl Compute for Virtumancer {
    async fn list_vms(&self, query: &VmQuery, page: &PageRequest) -> Result<Page<VmInfo>> {
        self.require(Operation::ListVms, &query.needs())?;
        let named = named(Operation::ListVms);
        let seen = self.inner.api.survey(query.host.as_ref().map(HostId::as_str)).await.map_err(named)?;
        let all: Vec<VmInfo> = seen.iter().flat_map(Self::guests).filter(|vm| query.matches(vm)).collect();
        let unreachable = seen.iter().filter_map(Seen::unreachable).collect();
        Ok(Page::cut(all, page, |vm: &VmInfo| vm.id.to_string()).with_unreachable(unreachable))
    }

    async fn get_vm(&self, vm: &VmId) -> Result<VmInfo> {
        let named = named(Operation::GetVm);
        let place = Place::vm(vm).map_err(&named)?;
        let (row, reachable) = self.inner.api.vm_now(&place).await.map_err(named)?;
        Ok(row.to_info(&place.host, reachable))
    }

    async fn create_vm(&self, spec: &VmSpec) -> Result<Started<VmId>> {
        self.create(spec).await.map_err(named(Operation::CreateVm))
    }

    async fn power_vm(&self, vm: &VmId, action: &PowerAction) -> Result<Started<()>> {
        let operation = action.operation();
        self.require(operation, &action.needs())?;
        let named = named(operation);
        let place = Place::vm(vm).map_err(&named)?;
        routes::has_verb(self.generation(), action)?;
        if matches!(action, PowerAction::Shutdown(_) | PowerAction::Reboot) {
            self.must_hear(&place, action).await.map_err(&named)?;
        }
        let parts = [("host", place.host.as_str()), ("vm", place.name.as_str())];
        let request = self.inner.api.request(operation, &parts)?;
        debug_assert_eq!(*request.method(), Method::POST);
        self.inner.api.done(request, &About::Vm(place)).await.map_err(named)?;
        Ok(Started::done(()))
    }

    async fn delete_vm(&self, vm: &VmId, options: &DeleteVm) -> Result<Started<()>> {
        self.require(Operation::DeleteVm, &options.needs())?;
        Err(vm.not_found())
    }

    async fn get_cluster(&self) -> Result<ClusterInfo> {
        Ok(ClusterInfo::new(self.all_hosts().await.map_err(named(Operation::GetCluster))?))
    }

    async fn list_hosts(&self, page: &PageRequest) -> Result<Page<HostInfo>> {
        let all = self.all_hosts().await.map_err(named(Operation::ListHosts))?;
        Ok(Page::cut(all, page, |host: &HostInfo| host.id.to_string()))
    }

    async fn get_host(&self, host: &HostId) -> Result<HostInfo> {
        let named = named(Operation::GetHost);
        let found = self.inner.api.host(host.as_str()).await.map_err(&named)?;
        self.host_info_of(found).await.map_err(named)
    }

    async fn get_vm_config(&self, vm: &VmId) -> Result<VmConfig> {
        self.config(vm).await.map_err(named(Operation::GetVmConfig))
    }

    async fn get_console(&self, vm: &VmId, kind: &ConsoleKind) -> Result<ConsoleAccess> {
        self.require(Operation::GetConsole, &[])?;
        self.console(vm, kind).await.map_err(named(Operation::GetConsole))
    }

    async fn stream_console(&self, vm: &VmId, kind: &ConsoleKind) -> Result<ConsoleStream> {
        let socket = self.open_console(vm, kind).await.map_err(named(Operation::GetConsole))?;
        Ok(socket.into_console())
    }
}

/// Names the operation in an error, whatever request it came from.
pub(super) fn named(operation: Operation) -> impl Fn(Error) -> Error + Copy {
    move |error| error.with_operation(operation).with_backend(BACKEND)
}
