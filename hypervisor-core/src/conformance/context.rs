//! What a case works with: the backend, names of its own, the everyday steps, and the cleaning up.

use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use uuid::Uuid;

use super::check::{Check, Stop};
use super::settings::Settings;
use super::sweep::{Found, every, gone, remove_network, remove_vm};
use crate::error::{Error, ErrorKind, Result};
use crate::model::{
    BackupId, ByteSize, DeletePool, GroupId, NetworkId, PoolId, PoolInfo, PoolQuery, PowerAction, Started,
    TaskId, TaskInfo, TaskState, VmId, VmInfo, VmQuery, VmSpec, VmState, VolumeId, VolumeInfo, VolumeSpec,
};
use crate::operation::Operation;
use crate::traits::Hypervisor;

/// How often something is looked at that is waited for.
const POLL: Duration = Duration::from_millis(50);

/// What a case works with.
pub(crate) struct Context {
    pub(crate) hv: Arc<dyn Hypervisor>,
    pub(crate) settings: Settings,
    prefix: String,
    seed: [u8; 16],
    made: Mutex<Vec<Made>>,
}

/// Something that has to be removed at the end.
#[derive(Debug, Clone)]
pub(crate) enum Made {
    Vm(VmId),
    Volume(VolumeId),
    Pool(PoolId),
    Network(NetworkId),
    Group(GroupId),
    Backup(BackupId),
}

/// Waits for the task of a call and gives back the call's output.
pub(crate) async fn ended<T>(hv: &dyn Hypervisor, settings: &Settings, started: Started<T>) -> Result<T> {
    if let Some(task) = &started.task {
        task_end(hv, settings, task).await?;
    }
    Ok(started.output)
}

/// Waits for the end of a task. A task that the backend has forgotten has ended.
pub(crate) async fn task_end(hv: &dyn Hypervisor, settings: &Settings, task: &TaskId) -> Result<TaskInfo> {
    let deadline = Instant::now() + settings.deadline;
    loop {
        let info = hv.get_task(task, Some(POLL)).await?;
        match info.state {
            TaskState::Succeeded | TaskState::Forgotten => return Ok(info),
            TaskState::Failed => {
                let why = info.error.unwrap_or_default();
                let kind = info.error_kind.unwrap_or(ErrorKind::TaskFailed);
                return Err(Error::new(kind, why).with_task(task.clone()));
            }
            TaskState::Cancelled => return Err(Error::new(ErrorKind::Cancelled, "").with_task(task.clone())),
            _ if Instant::now() >= deadline => {
                let message = format!("the task still runs after {:?}", settings.deadline);
                return Err(Error::new(ErrorKind::Timeout, message).with_task(task.clone()));
            }
            _ => tokio::time::sleep(POLL).await,
        }
    }
}

impl Context {
    pub(crate) fn new(hv: Arc<dyn Hypervisor>, settings: Settings) -> Self {
        let settings = settings.suited_to(hv.info());
        let id = Uuid::new_v4();
        let text = id.simple().to_string();
        let (short, _) = text.split_at(5);
        let prefix = format!("{}-{short}-", settings.prefix);
        Self { hv, settings, prefix, seed: id.into_bytes(), made: Mutex::new(Vec::new()) }
    }

    /// A name that only this case has.
    pub(crate) fn name(&self, short: &str) -> String {
        format!("{}{short}", self.prefix)
    }

    /// A few bytes that only this case has, for addresses.
    pub(crate) fn seed(&self) -> [u8; 3] {
        let [a, b, c, ..] = self.seed;
        [a, b, c]
    }

    pub(crate) fn has(&self, capability: impl Into<crate::model::Capability>) -> bool {
        self.hv.capabilities().has(capability)
    }

    /// Has it removed at the end.
    pub(crate) fn keep(&self, made: Made) {
        self.made.lock().unwrap_or_else(PoisonError::into_inner).push(made);
    }

    fn kept(&self) -> Vec<Made> {
        self.made.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The end of a call, its task included.
    pub(crate) async fn done<T>(&self, started: Result<Started<T>>) -> Result<T> {
        ended(&*self.hv, &self.settings, started?).await
    }

    /// Looks again and again until there is something, at most until the deadline.
    pub(crate) async fn until<T, F, Fut>(&self, what: &str, mut look: F) -> Check<T>
    where
        F: FnMut() -> Fut,
        Fut: Future<Output = Check<Option<T>>>,
    {
        let deadline = Instant::now() + self.settings.deadline;
        loop {
            if let Some(found) = look().await? {
                return Ok(found);
            }
            if Instant::now() >= deadline {
                let after = self.settings.deadline;
                return Err(Stop::failed(format!("{what}: not so after {after:?}")));
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// A small guest without disks and NICs: one CPU, 64 MiB.
    pub(crate) fn spec(&self, short: &str) -> VmSpec {
        VmSpec::new(self.name(short)).memory(ByteSize::mib(64))
    }

    /// Creates a guest.
    pub(crate) async fn create(&self, spec: &VmSpec) -> Check<VmId> {
        let started = self.hv.create_vm(spec).await?;
        self.keep(Made::Vm(started.output.clone()));
        Ok(self.done(Ok(started)).await?)
    }

    /// Creates a small guest.
    pub(crate) async fn vm(&self, short: &str) -> Check<VmId> {
        self.create(&self.spec(short)).await
    }

    /// Creates a small guest and starts it.
    pub(crate) async fn running(&self, short: &str) -> Check<VmId> {
        let vm = self.vm(short).await?;
        self.start(&vm).await?;
        Ok(vm)
    }

    /// Takes note of a guest that another call than a create makes, and waits for it.
    pub(crate) async fn adopt(&self, started: Result<Started<VmId>>) -> Check<VmId> {
        let started = started?;
        self.keep(Made::Vm(started.output.clone()));
        Ok(self.done(Ok(started)).await?)
    }

    /// Carries out a power verb.
    pub(crate) async fn power(&self, vm: &VmId, action: PowerAction) -> Result<()> {
        self.done(self.hv.power_vm(vm, &action).await).await
    }

    /// Starts a guest and waits until it runs.
    pub(crate) async fn start(&self, vm: &VmId) -> Check {
        self.power(vm, PowerAction::Start).await?;
        self.wait_state(vm, &VmState::Running).await
    }

    /// Cuts a guest's power and waits until it is off.
    pub(crate) async fn power_off(&self, vm: &VmId) -> Check {
        self.power(vm, PowerAction::PowerOff).await?;
        self.wait_state(vm, &VmState::Stopped).await
    }

    pub(crate) async fn get(&self, vm: &VmId) -> Check<VmInfo> {
        Ok(self.hv.get_vm(vm).await?)
    }

    pub(crate) async fn state(&self, vm: &VmId) -> Check<VmState> {
        Ok(self.get(vm).await?.state)
    }

    /// Waits until a guest is in this state.
    pub(crate) async fn wait_state(&self, vm: &VmId, wanted: &VmState) -> Check {
        self.until(&format!("vm `{vm}` is {wanted}"), || async move {
            Ok((self.state(vm).await? == *wanted).then_some(()))
        })
        .await
    }

    /// All guests that the query wants.
    pub(crate) async fn vms(&self, query: &VmQuery) -> Check<Vec<VmInfo>> {
        Ok(every(|page| async move { self.hv.list_vms(query, &page).await }).await?)
    }

    /// The volumes of this case in the pool that it uses.
    pub(crate) async fn volumes(&self) -> Check<Vec<VolumeInfo>> {
        let pool = self.pool().await?;
        let pool = &pool;
        let all = every(|page| async move { self.hv.list_volumes(pool, &page).await }).await?;
        Ok(all.into_iter().filter(|volume| volume.name.starts_with(&self.prefix)).collect())
    }

    /// The pool that volumes are made in.
    pub(crate) async fn pool(&self) -> Check<PoolId> {
        if let Some(pool) = &self.settings.pool {
            return Ok(pool.clone());
        }
        if !self.has(Operation::ListPools) {
            return Err(Stop::skipped("HYPERVISOR_TEST_POOL not set, and the backend cannot list its pools"));
        }
        let query = PoolQuery::all();
        let query = &query;
        let all = every(|page| async move { self.hv.list_pools(query, &page).await }).await?;
        // Some backends have pools for other things than disks, and say so.
        let takes_disks = |pool: &&PoolInfo| pool.content.is_empty() || pool.content.contains("images");
        let active = || all.iter().filter(|pool| pool.active);
        let first = active().find(takes_disks).or_else(|| active().next());
        first.map(|pool| pool.id.clone()).ok_or_else(|| Stop::skipped("the backend has no active pool"))
    }

    /// The network that NICs are plugged into.
    pub(crate) async fn network(&self) -> Check<NetworkId> {
        if let Some(network) = &self.settings.network {
            return Ok(network.clone());
        }
        if !self.has(Operation::ListNetworks) {
            return Err(Stop::skipped(
                "HYPERVISOR_TEST_NETWORK not set, and the backend cannot list its networks",
            ));
        }
        let all = every(|page| async move { self.hv.list_networks(&page).await }).await?;
        let first = all.into_iter().find(|network| network.active);
        first.map(|network| network.id).ok_or_else(|| Stop::skipped("the backend has no active network"))
    }

    /// Creates a volume.
    pub(crate) async fn volume(&self, spec: &VolumeSpec) -> Check<VolumeId> {
        let started = self.hv.create_volume(spec).await?;
        self.keep(Made::Volume(started.output.clone()));
        Ok(self.done(Ok(started)).await?)
    }

    /// Fails if this case has made anything that a refused call should not have made.
    pub(crate) async fn nothing_made(&self, what: &str) -> Check {
        let pools: Vec<PoolId> = match self.pool().await {
            Ok(pool) => vec![pool],
            Err(Stop::Skipped(_)) => Vec::new(),
            Err(failed) => return Err(failed),
        };
        let left = Found::look(&*self.hv, &self.prefix, &pools).await?.describe();
        super::check::check!(left.is_empty(), "{what} was refused, but left behind {}", left.join(", "));
        Ok(())
    }

    /// Removes what this case has made, and says what would not go, and what was there that it did not know of.
    pub(crate) async fn clean_up(&self) -> Vec<String> {
        let (hv, settings) = (&*self.hv, &self.settings);
        let mut problems = Vec::new();
        let mut pools = Vec::new();
        let made = self.kept();
        for thing in made.iter().rev() {
            if let Made::Vm(vm) = thing
                && let Err(error) = remove_vm(hv, settings, vm).await
            {
                problems.push(format!("cleaning up: {error}"));
            }
        }
        for thing in made.iter().rev() {
            let done = match thing {
                Made::Vm(_) => Ok(()),
                Made::Volume(volume) => gone(hv, settings, hv.delete_volume(volume).await).await,
                Made::Backup(backup) => gone(hv, settings, hv.delete_backup(backup).await).await,
                Made::Network(network) => remove_network(hv, settings, network).await,
                Made::Group(group) => gone(hv, settings, hv.delete_group(group).await).await,
                Made::Pool(pool) => {
                    pools.push(pool.clone());
                    gone(hv, settings, hv.delete_pool(pool, &DeletePool::with_content()).await).await
                }
            };
            if let Err(error) = done {
                problems.push(format!("cleaning up: {error}"));
            }
        }
        if let Ok(pool) = self.pool().await {
            pools.push(pool);
        }
        match Found::look(hv, &self.prefix, &pools).await {
            Ok(left) => {
                problems.extend(left.describe().into_iter().map(|thing| format!("left behind: {thing}")));
                problems.extend(left.remove(hv, settings).await);
            }
            Err(error) => problems.push(format!("cannot look for what was left behind: {error}")),
        }
        problems
    }
}
