//! Machines.

use std::time::Duration;

use async_trait::async_trait;
use hypervisor_core::http::{Method, Request, segment};
use hypervisor_core::model::{
    ConsoleAccess, ConsoleKind, DeleteVm, Feature, Page, PageRequest, PowerAction, Screenshot, Started, VmId,
    VmInfo, VmQuery, VmSpec, VmState,
};
use hypervisor_core::{Compute, Effect, Error, ErrorKind, Operation as O, Result};
use serde_json::Value;
use tokio::time::{Instant, sleep};

use super::VirtualizationMcp;
use super::call::about;
use super::wire::{self, VmRecord};

/// How long a machine that was asked to stop is waited for, before it is deleted.
const PATIENCE: Duration = Duration::from_secs(30);

/// How often it is looked at.
const LOOK: Duration = Duration::from_millis(500);

#[async_trait]
impl Compute for VirtualizationMcp {
    async fn list_vms(&self, query: &VmQuery, page: &PageRequest) -> Result<Page<VmInfo>> {
        self.needs(O::ListVms, &query.needs())?;
        let mut found = self.link.vms(O::ListVms, page).await?.map(|vm| vm.to_info());
        if *query != VmQuery::all() {
            found.items.retain(|vm| query.matches(vm));
            found.total = None;
        }
        Ok(found)
    }

    async fn get_vm(&self, vm: &VmId) -> Result<VmInfo> {
        Ok(self.link.find(O::GetVm, vm).await?.to_info())
    }

    /// A description is not kept: the gateway has no place for it, and the log says so. A machine without a disk gets its template's.
    async fn create_vm(&self, spec: &VmSpec) -> Result<Started<VmId>> {
        spec.validate()?;
        self.needs(O::CreateVm, &spec.needs())?;
        if spec.description.is_some() {
            tracing::warn!(
                vm = spec.name,
                "the gateway has no place for a machine's description: it is left out"
            );
        }
        let request = self.link.request(Method::POST, "/vms").operation(O::CreateVm);
        let request = request.json(&wire::create_body(spec)?);
        let made = self.link.value(request).await.map_err(about(VmId::NOUN, &spec.name))?;
        let inside = made.get("vm").unwrap_or(&made);
        // The server's `vm_id` is VirtualBox's UUID, by which none of its routes finds the machine.
        let id = inside.get("id").and_then(Value::as_str).filter(|id| !id.is_empty()).unwrap_or(&spec.name);
        let vm = VmId::from(id);
        if spec.start {
            let started = self.power_vm(&vm, &PowerAction::Start).await.map_err(|error| {
                error.with_effect(Effect::Partial).with_hint("The machine is there, but it was not started")
            })?;
            return Ok(started.map(|()| vm));
        }
        Ok(Started::done(vm))
    }

    async fn power_vm(&self, vm: &VmId, action: &PowerAction) -> Result<Started<()>> {
        let operation = action.operation();
        self.needs(operation, &action.needs())?;
        // The server takes the start of a machine that runs for done.
        let record = self.link.find(operation, vm).await?;
        action.check_state(&record.state()).map_err(about(VmId::NOUN, vm))?;
        self.verb(operation, &record).await?;
        Ok(Started::done(()))
    }

    /// A running machine that may be powered off is asked to stop, and waited for: the gateway cannot cut its power. Its disks go with it.
    async fn delete_vm(&self, vm: &VmId, options: &DeleteVm) -> Result<Started<()>> {
        self.needs(O::DeleteVm, &options.needs())?;
        let record = self.link.find(O::DeleteVm, vm).await?;
        let info = record.to_info();
        info.check_uid(options.expected_uid.as_deref())?;
        let active = info.state.is_active();
        if active && !options.power_off {
            let error = Error::invalid_state(format!("it is {}, but must be stopped", info.state));
            return Err(error.with_operation(O::DeleteVm).with_target(VmId::NOUN, vm));
        }
        if !options.snapshots
            && self.capabilities.has(O::ListSnapshots)
            && !self.snapshot_infos(vm).await?.is_empty()
        {
            let error =
                Error::invalid_state("it has snapshots, which would be lost").with_operation(O::DeleteVm);
            return Err(error.with_target(VmId::NOUN, vm));
        }
        if active {
            self.verb(O::ShutdownVm, &record).await?;
            self.stopped(vm).await.map_err(Error::after_part)?;
        }
        let path = format!("/vms/{}", segment(vm.as_str())?);
        let request = self.provided(self.link.request(Method::DELETE, &path).operation(O::DeleteVm), &record);
        let deleted = self.link.send(request).await.map_err(about(VmId::NOUN, vm));
        deleted.map_err(|error| if active { error.after_part() } else { error })?;
        Ok(Started::done(()))
    }

    /// VNC only: a WebSocket of the gateway's, whose binary frames are the protocol's bytes.
    async fn get_console(&self, vm: &VmId, kind: &ConsoleKind) -> Result<ConsoleAccess> {
        self.needs(O::GetConsole, &[])?;
        if *kind != ConsoleKind::Vnc {
            return Err(Error::unsupported(O::GetConsole, format!("the gateway has no {kind} console")));
        }
        let state = self.link.find(O::GetConsole, vm).await?.state();
        running(&state, vm, O::GetConsole)?;
        let url = self.link.url(&format!("/vms/{}/vnc", segment(vm.as_str())?));
        let url = match url.strip_prefix("http") {
            Some(rest) => format!("ws{rest}"),
            None => url,
        };
        Ok(ConsoleAccess::new(ConsoleKind::Vnc).url(url))
    }

    async fn screenshot_vm(&self, vm: &VmId) -> Result<Screenshot> {
        self.needs(O::ScreenshotVm, &[])?;
        let state = self.link.find(O::ScreenshotVm, vm).await?.state();
        running(&state, vm, O::ScreenshotVm)?;
        let path = format!("/vms/{}/screenshot", segment(vm.as_str())?);
        let request = self.link.request(Method::GET, &path).operation(O::ScreenshotVm);
        let (response, _) = self.link.any(request).await.map_err(about(VmId::NOUN, vm))?;
        let kind = response.header("content-type").unwrap_or("image/png").to_owned();
        if !kind.starts_with("image/") {
            let error =
                Error::new(ErrorKind::Protocol, format!("the answer is {kind} where a picture is expected"));
            return Err(error.with_effect(Effect::None).with_target(VmId::NOUN, vm));
        }
        Ok(Screenshot::new(kind, response.into_bytes()))
    }
}

/// Passes for a machine that runs.
fn running(state: &VmState, vm: &VmId, operation: O) -> Result<()> {
    if state.is_active() {
        return Ok(());
    }
    let error = Error::invalid_state(format!("it is {state}, but must be running"));
    Err(error.with_operation(operation).with_target(VmId::NOUN, vm))
}

impl VirtualizationMcp {
    /// Passes if the gateway can do this.
    pub(super) fn needs(&self, operation: O, needs: &[Feature]) -> Result<()> {
        self.capabilities.require_all(operation, needs)
    }

    /// Names the provider of a machine that is none of VirtualBox's.
    fn provided(&self, request: Request, record: &VmRecord) -> Request {
        match record.other_provider() {
            Some(provider) => request.query("provider", provider),
            None => request,
        }
    }

    async fn verb(&self, operation: O, record: &VmRecord) -> Result<()> {
        let verb = match operation {
            O::StartVm => "start",
            O::PauseVm => "pause",
            O::ResumeVm => "resume",
            _ => "stop",
        };
        let path = format!("/vms/{}/{verb}", segment(record.address())?);
        let request = self.provided(self.link.request(Method::POST, &path).operation(operation), record);
        self.link.send(request).await.map_err(about(VmId::NOUN, record.address()))?;
        Ok(())
    }

    async fn stopped(&self, vm: &VmId) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        while self.link.find(O::DeleteVm, vm).await?.state().is_active() {
            if Instant::now() >= deadline {
                let why = format!("it was asked to stop and still runs after {PATIENCE:?}");
                let error = Error::new(ErrorKind::Timeout, why).with_effect(Effect::Partial);
                return Err(error.with_operation(O::DeleteVm).with_target(VmId::NOUN, vm));
            }
            sleep(LOOK).await;
        }
        Ok(())
    }
}
