//! A backend of one's own, written against `hypervisor-core` alone, and the suite run against it.
//!
//! It keeps guests without disks and NICs in a map. What it cannot do it does not have to write: every other method answers
//! `Unsupported`. The suite holds it to what it claims, and ends with a table and the exit status 1 if a case fails:
//! `cargo run --example custom_backend --features conformance`.

use std::collections::HashMap;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use hypervisor_core::conformance::{Settings, run_all};
use hypervisor_core::model::*;
use hypervisor_core::operation::Operation as Op;
use hypervisor_core::{
    Backups, Batch, Compute, Events, Guest, Hypervisor, Metrics, Network, Snapshots, Storage, Tasks,
};
use hypervisor_core::{Error, Result};

struct Shelf {
    info: BackendInfo,
    capabilities: Capabilities,
    vms: Mutex<HashMap<VmId, VmInfo>>,
}

impl Shelf {
    fn new() -> Self {
        let operations =
            [Op::ListVms, Op::GetVm, Op::CreateVm, Op::DeleteVm, Op::StartVm, Op::PowerOffVm, Op::GetTask];
        let capabilities = Capabilities::new().native(operations).native([Op::PauseVm, Op::ResumeVm]);
        let capabilities =
            capabilities.native([Feature::Tags]).emulated([Op::SubmitBatch], "one call for each item");
        Self { info: BackendInfo::new("shelf", "shelf://"), capabilities, vms: Mutex::default() }
    }

    fn vms(&self) -> MutexGuard<'_, HashMap<VmId, VmInfo>> {
        self.vms.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Compute for Shelf {
    async fn list_vms(&self, query: &VmQuery, page: &PageRequest) -> Result<Page<VmInfo>> {
        let wanted = self.vms().values().filter(|vm| query.matches(vm)).cloned().collect();
        Ok(Page::cut(wanted, page, |vm| vm.id.to_string()))
    }

    async fn get_vm(&self, vm: &VmId) -> Result<VmInfo> {
        self.vms().get(vm).cloned().ok_or_else(|| vm.not_found())
    }

    async fn create_vm(&self, spec: &VmSpec) -> Result<Started<VmId>> {
        spec.validate()?;
        self.capabilities.require_all(Op::CreateVm, &spec.needs())?;
        if !(spec.disks.is_empty() && spec.nics.is_empty()) {
            return Err(Error::unsupported(Op::CreateVm, "guests have neither disks nor NICs here"));
        }
        if spec.cpus > 64 {
            return Err(Error::invalid("cpus", "there are only 64"));
        }
        let id = VmId::from(spec.name.as_str());
        let mut vms = self.vms();
        if vms.contains_key(&id) {
            return Err(Error::already_exists(VmId::NOUN, id));
        }
        let state = if spec.start { VmState::Running } else { VmState::Stopped };
        let mut vm = VmInfo::new(id.clone(), &spec.name, state).cpus(spec.cpus).memory(spec.memory);
        (vm.tags, vm.description) = (spec.tags.clone(), spec.description.clone());
        vms.insert(id.clone(), vm);
        Ok(Started::done(id))
    }

    async fn power_vm(&self, vm: &VmId, action: &PowerAction) -> Result<Started<()>> {
        self.capabilities.require_all(action.operation(), &action.needs())?;
        let mut vms = self.vms();
        let found = vms.get_mut(vm).ok_or_else(|| vm.not_found())?;
        action.check_state(&found.state).map_err(|error| error.with_target(VmId::NOUN, vm))?;
        found.state = match action {
            PowerAction::Pause => VmState::Paused,
            PowerAction::PowerOff => VmState::Stopped,
            _ => VmState::Running,
        };
        Ok(Started::done(()))
    }

    async fn delete_vm(&self, vm: &VmId, options: &DeleteVm) -> Result<Started<()>> {
        self.capabilities.require_all(Op::DeleteVm, &options.needs())?;
        let mut vms = self.vms();
        let found = vms.get(vm).ok_or_else(|| vm.not_found())?;
        found.check_uid(options.expected_uid.as_deref())?;
        if found.state.is_active() && !options.power_off {
            return Err(Error::invalid_state("it runs").with_target(VmId::NOUN, vm));
        }
        vms.remove(vm);
        Ok(Started::done(()))
    }
}

#[async_trait]
impl Tasks for Shelf {
    async fn get_task(&self, task: &TaskId, _: Option<Duration>) -> Result<TaskInfo> {
        Err(task.not_found())
    }
}

impl Storage for Shelf {}
impl Network for Shelf {}
impl Snapshots for Shelf {}
impl Batch for Shelf {}
impl Backups for Shelf {}
impl Metrics for Shelf {}
impl Guest for Shelf {}
impl Events for Shelf {}

impl Hypervisor for Shelf {
    fn info(&self) -> &BackendInfo {
        &self.info
    }

    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let shelf: Arc<dyn Hypervisor> = Arc::new(Shelf::new());
    let report = run_all(&shelf, &Settings::from_env(), |row| println!("{row}")).await;
    println!("{}", report.summary());
    if report.is_success() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
