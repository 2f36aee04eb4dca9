//! A backend of one's own in some sixty lines, written against `hypervisor-core` alone, and the suite run against it.
//!
//! It keeps guests without disks and NICs in a map. What it cannot do it does not have to write: every other method answers
//! `Unsupported`. The suite holds it to what it claims, and ends with a table and the exit status 1 if a case fails:
//! `cargo run --example custom_backend --features conformance`.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use hypervisor_core::conformance::{Settings, run_all};
use hypervisor_core::{Error, Operation as Op, Result};
use hypervisor_core::{model::*, traits::*};
use tokio::sync::Mutex;

struct Shelf {
    info: BackendInfo,
    capabilities: Capabilities,
    vms: Mutex<BTreeMap<VmId, VmInfo>>,
}

#[async_trait]
impl Compute for Shelf {
    async fn list_vms(&self, query: &VmQuery, page: &PageRequest) -> Result<Page<VmInfo>> {
        let wanted = self.vms.lock().await.values().filter(|vm| query.matches(vm)).cloned().collect();
        Ok(Page::cut(wanted, page, |vm| vm.id.to_string()))
    }

    async fn get_vm(&self, vm: &VmId) -> Result<VmInfo> {
        self.vms.lock().await.get(vm).cloned().ok_or_else(|| vm.not_found())
    }

    async fn create_vm(&self, spec: &VmSpec) -> Result<Started<VmId>> {
        spec.validate()?;
        self.capabilities.require_all(Op::CreateVm, &spec.needs())?;
        if !(spec.disks.is_empty() && spec.nics.is_empty()) {
            return Err(Error::unsupported(Op::CreateVm, "guests have neither disks nor NICs here"));
        }
        let state = if spec.start { VmState::Running } else { VmState::Stopped };
        let mut vm = VmInfo::new(&*spec.name, &spec.name, state).cpus(spec.cpus).memory(spec.memory);
        vm.description.clone_from(&spec.description);
        match self.vms.lock().await.entry(vm.id.clone()) {
            Entry::Occupied(taken) => Err(Error::already_exists(VmId::NOUN, taken.key())),
            Entry::Vacant(free) => Ok(Started::done(free.insert(vm).id.clone())),
        }
    }

    async fn power_vm(&self, vm: &VmId, action: &PowerAction) -> Result<Started<()>> {
        self.capabilities.require_all(action.operation(), &action.needs())?;
        let mut vms = self.vms.lock().await;
        let found = vms.get_mut(vm).ok_or_else(|| vm.not_found())?;
        action.check_state(&found.state).map_err(|error| error.with_target(VmId::NOUN, vm))?;
        found.state = if *action == PowerAction::Start { VmState::Running } else { VmState::Stopped };
        Ok(Started::done(()))
    }

    async fn delete_vm(&self, vm: &VmId, options: &DeleteVm) -> Result<Started<()>> {
        self.capabilities.require_all(Op::DeleteVm, &options.needs())?;
        let mut vms = self.vms.lock().await;
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
    let guests = [Op::ListVms, Op::GetVm, Op::CreateVm, Op::DeleteVm, Op::StartVm, Op::PowerOffVm];
    let claims = Capabilities::new().native(guests).native([Op::GetTask]);
    let capabilities = claims.emulated([Op::SubmitBatch], "one call for each item");
    let info = BackendInfo::new("shelf", "shelf://");
    let shelf: Arc<dyn Hypervisor> = Arc::new(Shelf { info, capabilities, vms: Mutex::default() });
    let report = run_all(&shelf, &Settings::from_env(), |row| println!("{row}")).await;
    println!("{}", report.summary());
    if report.is_success() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
