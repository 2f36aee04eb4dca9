//! Guests.

mod copies;
mod lookup;

use async_trait::async_trait;
use hypervisor_core::model::{
    CloneSpec, ConsoleAccess, ConsoleKind, DeleteVm, DeploySpec, DisposeDisks, ExportSpec, ExportedVm,
    MacAddr, NicId, Page, PageRequest, PowerAction, Started, TemplateSpec, VmId, VmInfo, VmQuery, VmSpec,
    VmState,
};
use hypervisor_core::traits::Compute;
use hypervisor_core::{Error, Operation as O, Result};

use super::wire::{Domain, DomainAction, display};
use super::{HyperSdk, error, named, of_vm};

pub(super) use lookup::info;

#[async_trait]
impl Compute for HyperSdk {
    async fn list_vms(&self, query: &VmQuery, page: &PageRequest) -> Result<Page<VmInfo>> {
        self.require(O::ListVms, &query.needs())?;
        self.vms(query, page).await.map_err(named(O::ListVms))
    }

    /// A guest that is asked for by its UUID has its name as its id.
    async fn get_vm(&self, vm: &VmId) -> Result<VmInfo> {
        let read = async { self.with_its_name(self.domain(vm).await?).await };
        Ok(info(read.await.map_err(named(O::GetVm))?))
    }

    async fn create_vm(&self, spec: &VmSpec) -> Result<Started<VmId>> {
        self.require(O::CreateVm, &spec.needs())?;
        Err(Error::unsupported(O::CreateVm, "hypervisord makes machines as copies only"))
    }

    async fn power_vm(&self, vm: &VmId, action: &PowerAction) -> Result<Started<()>> {
        self.require(action.operation(), &action.needs())?;
        self.power(vm, action).await.map_err(named(action.operation())).map(Started::done)
    }

    async fn delete_vm(&self, vm: &VmId, options: &DeleteVm) -> Result<Started<()>> {
        self.require(O::DeleteVm, &options.needs())?;
        self.delete(vm, options).await.map_err(named(O::DeleteVm)).map(Started::done)
    }

    async fn clone_vm(&self, vm: &VmId, spec: &CloneSpec) -> Result<Started<VmId>> {
        spec.validate()?;
        self.require(O::CloneVm, &spec.needs())?;
        self.copy(vm, spec).await.map_err(named(O::CloneVm)).map(Started::done)
    }

    async fn create_template(&self, vm: &VmId, spec: &TemplateSpec) -> Result<Started<VmId>> {
        spec.validate()?;
        self.require(O::CreateTemplate, &spec.needs())?;
        self.template(vm, spec).await.map_err(named(O::CreateTemplate)).map(Started::done)
    }

    async fn deploy_template(&self, template: &VmId, spec: &DeploySpec) -> Result<Started<VmId>> {
        spec.validate()?;
        self.require(O::DeployTemplate, &spec.needs())?;
        self.deploy(template, spec).await.map_err(named(O::DeployTemplate)).map(Started::done)
    }

    async fn export_vm(&self, vm: &VmId, spec: &ExportSpec) -> Result<Started<ExportedVm>> {
        spec.validate()?;
        self.export(vm, spec).await.map_err(named(O::ExportVm)).map(Started::done)
    }

    /// The `nic` is its MAC address. A guest that does not run is refused: the daemon detaches from both the running guest and its definition.
    async fn detach_nic(&self, vm: &VmId, nic: &NicId) -> Result<Started<()>> {
        let work = async {
            let domain = self.domain(vm).await?;
            let mac: MacAddr = nic.as_str().parse().map_err(|_| nic.not_found())?;
            let detached = self.api.detach_interface(&domain.name, mac).await;
            // Of a machine that is off it says the state before it looks for the NIC.
            detached
                .map_err(|error| if domain.vm_state().is_active() { error } else { not_there(&error, nic) })
        };
        work.await.map_err(named(O::DetachNic)).map(Started::done)
    }

    /// `Vnc` is an address and port on the daemon's host, `Serial` the terminal there.
    async fn get_console(&self, vm: &VmId, kind: &ConsoleKind) -> Result<ConsoleAccess> {
        self.console(vm, kind).await.map_err(named(O::GetConsole))
    }
}

fn not_there(error: &Error, nic: &NicId) -> Error {
    if error.is_not_found() { nic.not_found() } else { error.clone() }
}

impl HyperSdk {
    async fn power(&self, vm: &VmId, action: &PowerAction) -> Result<()> {
        let domain = self.domain(vm).await?;
        may(&domain, action).map_err(of_vm(vm))?;
        let name = domain.name.as_str();
        let done = match action {
            PowerAction::Start => self.api.act(name, DomainAction::Start).await,
            PowerAction::Shutdown(_) => self.api.act(name, DomainAction::Shutdown).await,
            PowerAction::PowerOff => self.api.act(name, DomainAction::Destroy).await,
            PowerAction::Reboot => self.api.act(name, DomainAction::Reboot).await,
            PowerAction::Pause => self.api.act(name, DomainAction::Pause).await,
            PowerAction::Resume => self.api.act(name, DomainAction::Resume).await,
            // Only the batch has it.
            PowerAction::Reset => self.alone(name, self.api.batch_reboot(&[name], true).await?),
            other => Err(Error::unsupported(other.operation(), "hypervisord has no call for it")),
        };
        done.map_err(of_vm(vm))
    }

    /// The outcome of a batch of one.
    fn alone(&self, name: &str, batch: super::wire::BatchResult) -> Result<()> {
        match batch.results.into_iter().find(|item| item.domain == name) {
            Some(item) if item.success => Ok(()),
            Some(item) => Err(error::of_item(&item.error, &vec![(VmId::NOUN, name.to_owned())])),
            None => Err(Error::new(
                hypervisor_core::ErrorKind::Protocol,
                "the batch says nothing of its only item",
            )),
        }
    }

    async fn delete(&self, vm: &VmId, options: &DeleteVm) -> Result<()> {
        let domain = self.domain(vm).await?;
        info(domain.clone()).check_uid(options.expected_uid.as_deref())?;
        let state = domain.vm_state();
        let active = !matches!(state, VmState::Stopped | VmState::Crashed);
        if active && !options.power_off {
            return Err(Error::invalid_state(format!("it is {state}, but must be stopped"))
                .with_target(VmId::NOUN, vm));
        }
        let storage = options.disks == DisposeDisks::Delete;
        // Its power is cut first, and libvirt knows nothing of it then, its disks among it.
        let ephemeral = active && !domain.persistent;
        if ephemeral && storage {
            let why = "it is gone with its power, and hypervisord cannot delete its disks then: keep them";
            return Err(Error::invalid_state(why).with_target(VmId::NOUN, vm));
        }
        let name = domain.name.as_str();
        let snapshots = self.snapshots_of(vm).await?;
        if !snapshots.is_empty() {
            if !options.snapshots {
                let why = format!("it has {} snapshots, which would be lost", snapshots.len());
                return Err(Error::invalid_state(why).with_target(VmId::NOUN, vm));
            }
            self.alone(name, self.api.batch_delete(&[name], false, true).await?)?;
        }
        let deleted = self.api.batch_delete(&[name], storage, false).await;
        match deleted.and_then(|batch| self.alone(name, batch)) {
            Err(error) if ephemeral && error.is_not_found() => Ok(()),
            Err(error) if active || !snapshots.is_empty() => {
                Err(error.after_part().with_hint("It is there, but off, and its snapshots may be gone"))
            }
            other => other,
        }
    }

    async fn console(&self, vm: &VmId, kind: &ConsoleKind) -> Result<ConsoleAccess> {
        let domain = self.domain(vm).await?;
        let state = domain.vm_state();
        if !state.is_active() {
            return Err(Error::invalid_state(format!("it is {state}, but must be running"))
                .with_target(VmId::NOUN, vm));
        }
        let none = |what: &str| Error::invalid_state(format!("it has no {what}")).with_target(VmId::NOUN, vm);
        match kind {
            ConsoleKind::Vnc => {
                let vnc = self
                    .api
                    .vnc_console(&domain.name)
                    .await
                    .map_err(|error| none_of(&error, none("VNC server")))?;
                let (address, port) = display(&vnc.vnc_display).ok_or_else(|| none("VNC server"))?;
                let access = ConsoleAccess::new(ConsoleKind::Vnc).port(port);
                Ok(address.into_iter().fold(access, ConsoleAccess::address))
            }
            ConsoleKind::Serial => {
                let serial = self.api.serial_device(&domain.name).await?;
                if serial.device.is_empty() {
                    return Err(none("serial port on a terminal"));
                }
                Ok(ConsoleAccess::new(ConsoleKind::Serial).path(serial.device))
            }
            other => Err(Error::unsupported(
                O::GetConsole,
                format!("hypervisord tells nothing of {other} consoles"),
            )),
        }
    }
}

/// `virsh` only says that it failed where a running machine has no such console.
fn none_of(error: &Error, none: Error) -> Error {
    if error.kind() == hypervisor_core::ErrorKind::Backend { none } else { error.clone() }
}

/// Whether the verb makes sense for the domain as it is.
pub(super) fn may(domain: &Domain, action: &PowerAction) -> Result<()> {
    if *action == PowerAction::Start && domain.is_template() {
        return Err(Error::invalid_state("it is a template by its name: deploy it, or start it by Api::act"));
    }
    action.check_state(&domain.vm_state())
}
