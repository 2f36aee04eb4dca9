//! The conformance suite on the fake Virtumancer, in each of its generations.
//!
//! No Virtumancer deletes a guest, and most make none, so that by itself it can run few of the cases. Each generation therefore runs twice:
//! as it is (`virtumancer-…`), and with guests made and deleted behind its back (`furnished-…`), which leaves everything else to the
//! driver and the server. `virtumancer-live::` is the server that `HYPERVISOR_TEST_URL` names, as it is.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use hypervisor_client::ClientConfig;
use hypervisor_client::dialect::virtumancer::{Generation, Virtumancer};
use hypervisor_client::fake::Fake;
use hypervisor_client::fake::virtumancer::{FakeHost, FakeVm, VirtumancerFake};
use hypervisor_core::conformance::{Case, Outcome, Settings, cases};
use hypervisor_core::model::{
    BackendInfo, Capabilities, ClusterInfo, ConsoleAccess, ConsoleKind, DeleteVm, EventQuery, EventStream,
    HostId, HostInfo, HostMetrics, NetworkId, NetworkInfo, Page, PageRequest, PoolId, PoolInfo, PoolQuery,
    PowerAction, Started, TaskId, TaskInfo, VmConfig, VmId, VmInfo, VmMetrics, VmQuery, VmSpec, VolumeId,
    VolumeInfo,
};
use hypervisor_core::traits::{Backups, Batch, Events, Guest, Metrics, Network, Snapshots, Storage, Tasks};
use hypervisor_core::{Compute, Error, Hypervisor, Operation, Result};
use libtest_mimic::{Arguments, Completion, Failed, Trial};

const GENERATIONS: [(&str, Generation); 3] =
    [("documented", Generation::Documented), ("early", Generation::Early), ("current", Generation::Current)];

/// What cannot be made behind the server's back.
const NO_DEVICES: &str = "neither disks nor NICs behind the server's back";

const LIVE: &str = "HYPERVISOR_TEST_URL";

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let live = std::env::var(LIVE).ok().filter(|url| url.contains("+virtumancer://"));
    if live.is_none() {
        eprintln!("\nSKIPPED: {LIVE} is not set to a Virtumancer: nothing was run against a real one\n");
    }
    let mut trials = Vec::new();
    for case in live.iter().flat_map(|url| cases().into_iter().map(move |case| (case, url.clone()))) {
        let (case, url) = case;
        trials.push(Trial::ignorable_test(format!("virtumancer-live::{}", case.name), move || {
            let outcome = in_runtime(async {
                let config = ClientConfig::new(&url).map_err(|error| error.to_string());
                match config.map(hypervisor_client::connect) {
                    Ok(connecting) => match connecting.await {
                        Ok(hv) => case.run(&hv, &Settings::from_env()).await,
                        Err(error) => Outcome::Failed(error.to_string()),
                    },
                    Err(error) => Outcome::Failed(error),
                }
            });
            completed(outcome)
        }));
    }
    for (name, generation) in GENERATIONS {
        for furnished in [false, true] {
            let kind = if furnished { "furnished" } else { "virtumancer" };
            // Connecting costs more than most cases, and what a case lacks is known beforehand.
            let lacking = in_runtime(async {
                let (hv, _fake) = connect(generation, furnished).await;
                cases().into_iter().map(|case| (case.skipped(&*hv, &settings()), case)).collect::<Vec<_>>()
            });
            for (lacking, case) in lacking {
                let trial = Trial::ignorable_test(format!("{kind}-{name}::{}", case.name), move || {
                    completed(lacking.map_or_else(|| run(generation, furnished, &case), Outcome::Skipped))
                });
                trials.push(trial);
            }
        }
    }
    libtest_mimic::run(&arguments, trials).exit_code()
}

fn completed(outcome: Outcome) -> std::result::Result<Completion, Failed> {
    match outcome {
        Outcome::Passed => Ok(Completion::Completed),
        Outcome::Skipped(reason) => Ok(Completion::ignored_with(reason)),
        other => Err(Failed::from(other.reason().unwrap_or("it failed").to_owned())),
    }
}

fn in_runtime<F: Future>(work: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(work)
}

fn settings() -> Settings {
    Settings::new().deadline(Duration::from_secs(10))
}

async fn connect(generation: Generation, furnished: bool) -> (Arc<dyn Hypervisor>, Arc<VirtumancerFake>) {
    let fake = Fake::virtumancer()
        .generation(generation)
        .stats_every(Duration::from_millis(100))
        .with_host(FakeHost::new("kvmsrv"))
        .with_vm(FakeVm::new("kvmsrv", "web-01").running())
        .with_vm(FakeVm::new("kvmsrv", "db-01"))
        .with_vm(FakeVm::new("kvm 2/b", "web-01"))
        .start()
        .await
        .expect("a port");
    let fake = Arc::new(fake);
    let config = ClientConfig::new(&fake.url()).expect("a configuration");
    if !furnished {
        return (hypervisor_client::connect(config).await.expect("a connection"), fake);
    }
    let inner = Virtumancer::connect(config).await.expect("a connection");
    let capabilities = inner.capabilities().clone().native([Operation::CreateVm, Operation::DeleteVm]);
    (Arc::new(Furnished { inner, fake: Arc::clone(&fake), capabilities }), fake)
}

fn run(generation: Generation, furnished: bool, case: &Case) -> Outcome {
    in_runtime(async {
        let (hv, _fake) = connect(generation, furnished).await;
        match case.run(&hv, &settings()).await {
            Outcome::Failed(why) if furnished && why.contains(NO_DEVICES) => Outcome::Skipped(why),
            outcome => outcome,
        }
    })
}

/// The driver, with guests made and deleted behind the server's back.
struct Furnished {
    inner: Virtumancer,
    fake: Arc<VirtumancerFake>,
    capabilities: Capabilities,
}

impl Hypervisor for Furnished {
    fn info(&self) -> &BackendInfo {
        self.inner.info()
    }

    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }
}

#[async_trait]
impl Compute for Furnished {
    async fn create_vm(&self, spec: &VmSpec) -> Result<Started<VmId>> {
        spec.validate()?;
        self.capabilities.require_all(Operation::CreateVm, &spec.needs())?;
        if !(spec.disks.is_empty() && spec.nics.is_empty()) {
            return Err(Error::unsupported(Operation::CreateVm, NO_DEVICES));
        }
        let id = VmId::from(format!("kvmsrv/{}", spec.name));
        if self.inner.get_vm(&id).await.is_ok() {
            return Err(Error::already_exists("vm", &id));
        }
        let vm = FakeVm::new("kvmsrv", &spec.name).size(spec.cpus, spec.memory.as_bytes()).bare();
        let vm = vm.description(spec.description.clone().unwrap_or_default());
        self.fake.add_vm(if spec.start { vm.running() } else { vm });
        Ok(Started::done(id))
    }

    async fn delete_vm(&self, vm: &VmId, options: &DeleteVm) -> Result<Started<()>> {
        self.capabilities.require_all(Operation::DeleteVm, &options.needs())?;
        let found = self.inner.get_vm(vm).await?;
        found.check_uid(options.expected_uid.as_deref())?;
        if found.state.is_active() && !options.power_off {
            return Err(Error::invalid_state("it runs").with_target("vm", vm));
        }
        self.fake.remove_vm("kvmsrv", &found.name);
        Ok(Started::done(()))
    }

    async fn list_vms(&self, query: &VmQuery, page: &PageRequest) -> Result<Page<VmInfo>> {
        self.inner.list_vms(query, page).await
    }
    async fn get_vm(&self, vm: &VmId) -> Result<VmInfo> {
        self.inner.get_vm(vm).await
    }
    async fn power_vm(&self, vm: &VmId, action: &PowerAction) -> Result<Started<()>> {
        self.inner.power_vm(vm, action).await
    }
    async fn get_cluster(&self) -> Result<ClusterInfo> {
        self.inner.get_cluster().await
    }
    async fn list_hosts(&self, page: &PageRequest) -> Result<Page<HostInfo>> {
        self.inner.list_hosts(page).await
    }
    async fn get_host(&self, host: &HostId) -> Result<HostInfo> {
        self.inner.get_host(host).await
    }
    async fn get_vm_config(&self, vm: &VmId) -> Result<VmConfig> {
        self.inner.get_vm_config(vm).await
    }
    async fn get_console(&self, vm: &VmId, kind: &ConsoleKind) -> Result<ConsoleAccess> {
        self.inner.get_console(vm, kind).await
    }
}

#[async_trait]
impl Storage for Furnished {
    async fn list_pools(&self, query: &PoolQuery, page: &PageRequest) -> Result<Page<PoolInfo>> {
        self.inner.list_pools(query, page).await
    }
    async fn get_pool(&self, pool: &PoolId) -> Result<PoolInfo> {
        self.inner.get_pool(pool).await
    }
    async fn list_volumes(&self, pool: &PoolId, page: &PageRequest) -> Result<Page<VolumeInfo>> {
        self.inner.list_volumes(pool, page).await
    }
    async fn get_volume(&self, volume: &VolumeId) -> Result<VolumeInfo> {
        self.inner.get_volume(volume).await
    }
    async fn delete_volume(&self, volume: &VolumeId) -> Result<Started<()>> {
        self.inner.delete_volume(volume).await
    }
}

#[async_trait]
impl Network for Furnished {
    async fn list_networks(&self, page: &PageRequest) -> Result<Page<NetworkInfo>> {
        self.inner.list_networks(page).await
    }
    async fn get_network(&self, network: &NetworkId) -> Result<NetworkInfo> {
        self.inner.get_network(network).await
    }
}

#[async_trait]
impl Metrics for Furnished {
    async fn get_host_metrics(&self, host: &HostId) -> Result<HostMetrics> {
        self.inner.get_host_metrics(host).await
    }
    async fn get_vm_metrics(&self, vm: &VmId) -> Result<VmMetrics> {
        self.inner.get_vm_metrics(vm).await
    }
    async fn list_vm_metrics(&self, page: &PageRequest) -> Result<Page<VmMetrics>> {
        self.inner.list_vm_metrics(page).await
    }
}

#[async_trait]
impl Events for Furnished {
    async fn watch(&self, query: &EventQuery) -> Result<EventStream> {
        self.inner.watch(query).await
    }
}

#[async_trait]
impl Tasks for Furnished {
    async fn get_task(&self, task: &TaskId, hold: Option<Duration>) -> Result<TaskInfo> {
        self.inner.get_task(task, hold).await
    }
}

impl Batch for Furnished {}
impl Backups for Furnished {}
impl Guest for Furnished {}
impl Snapshots for Furnished {}
