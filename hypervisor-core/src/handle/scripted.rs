//! A backend that does what a test has written down for it, and counts what it is asked.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use tokio::time::Instant;

use crate::error::{Error, ErrorKind, Result};
use crate::model::*;
use crate::operation::Operation;
use crate::traits::*;

/// How long after the end of a task the last line of its log comes.
const LATE_LINE: Duration = Duration::from_millis(150);

/// What a power verb for one guest does.
#[derive(Debug, Clone)]
pub(crate) enum Power {
    /// Done when the call returns.
    AtOnce,
    /// A task of this length that ends in this state.
    Task(Duration, TaskState),
    /// The call fails.
    Refused(Error),
    /// The call never answers.
    Silent,
}

#[derive(Debug, Clone)]
pub(crate) struct Script {
    pub(crate) ends: Instant,
    pub(crate) end: TaskInfo,
    pub(crate) log: Vec<String>,
    pub(crate) failing_looks: VecDeque<Error>,
}

#[derive(Default)]
pub(crate) struct State {
    pub(crate) tasks: BTreeMap<TaskId, Script>,
    pub(crate) vms: BTreeMap<VmId, VmInfo>,
    pub(crate) unreachable: Vec<Unreachable>,
    pub(crate) power: BTreeMap<VmId, Power>,
    pub(crate) bulk_limit: usize,
    pub(crate) bulks: Vec<usize>,
    pub(crate) calls: BTreeMap<Operation, usize>,
    pub(crate) cancelled: BTreeSet<TaskId>,
    /// Power verbs: guest, begin, end.
    pub(crate) spans: Vec<(VmId, Instant, Option<Instant>)>,
    pub(crate) deletes: Vec<DeleteVm>,
    /// What each watch answers; afterwards, streams in which nothing happens.
    pub(crate) feeds: VecDeque<Result<Vec<Result<Event>>>>,
}

pub(crate) struct Scripted {
    pub(crate) state: Mutex<State>,
    pub(crate) holds: bool,
    pub(crate) latency: Duration,
    /// Tasks of power verbs tell how long they took.
    pub(crate) tells: bool,
    info: BackendInfo,
    capabilities: Capabilities,
}

impl Scripted {
    pub(crate) fn with(change: impl FnOnce(&mut Self)) -> Arc<Self> {
        let mut scripted = Self {
            state: Mutex::default(),
            holds: false,
            latency: Duration::from_millis(1),
            tells: false,
            info: BackendInfo::new("scripted", "test"),
            capabilities: Capabilities::all_native(),
        };
        change(&mut scripted);
        Arc::new(scripted)
    }

    pub(crate) fn new() -> Arc<Self> {
        Self::with(|_| {})
    }

    pub(crate) fn lacks(&mut self, which: impl Into<Capability>) {
        let all = std::mem::take(&mut self.capabilities);
        self.capabilities = all.unsupported([which], "the test says so");
    }

    pub(crate) fn hv(self: &Arc<Self>) -> Arc<dyn Hypervisor> {
        Arc::clone(self) as Arc<dyn Hypervisor>
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// A task that ends after `length` as `end` says.
    pub(crate) fn task(&self, length: Duration, end: TaskInfo) -> TaskId {
        let id = end.id.clone();
        let now = Instant::now();
        let script = Script { ends: now + length, end, log: Vec::new(), failing_looks: VecDeque::new() };
        self.lock().tasks.insert(id.clone(), script);
        id
    }

    pub(crate) fn vm(&self, id: &str, state: VmState) {
        self.lock().vms.insert(id.into(), VmInfo::new(id, id, state).uid(format!("uid-{id}")));
    }

    pub(crate) fn count(&self, operation: Operation) -> usize {
        self.lock().calls.get(&operation).copied().unwrap_or(0)
    }

    /// How often tasks were looked at.
    pub(crate) fn looks(&self) -> usize {
        self.count(Operation::GetTask) + self.count(Operation::ListTasks)
    }

    async fn called(&self, operation: Operation) {
        *self.lock().calls.entry(operation).or_default() += 1;
        if !self.capabilities.has(operation) {
            return;
        }
        tokio::time::sleep(self.latency).await;
    }

    fn see(script: &Script) -> TaskInfo {
        if Instant::now() >= script.ends {
            script.end.clone()
        } else {
            TaskInfo { state: TaskState::Running, ..script.end.clone() }
        }
    }

    fn power_now(&self, vm: &VmId) -> Result<Option<Started<()>>> {
        let now = Instant::now();
        let mut state = self.lock();
        match state.power.get(vm).cloned().unwrap_or(Power::AtOnce) {
            Power::AtOnce => {
                state.spans.push((vm.clone(), now, Some(now)));
                Ok(Some(Started::done(())))
            }
            Power::Refused(error) => {
                state.spans.push((vm.clone(), now, Some(now)));
                Err(error)
            }
            Power::Silent => Ok(None),
            Power::Task(length, end) => {
                let number = state.tasks.len();
                state.spans.push((vm.clone(), now, Some(now + length)));
                drop(state);
                let mut end = TaskInfo::new(format!("power-{vm}-{number}"), end).error("scripted");
                if self.tells {
                    let started = SystemTime::UNIX_EPOCH + Duration::from_millis(1_500);
                    end = end.started(started).ended(started + length);
                }
                Ok(Some(Started::running((), self.task(length, end))))
            }
        }
    }
}

#[async_trait]
impl Compute for Scripted {
    async fn list_vms(&self, query: &VmQuery, page: &PageRequest) -> Result<Page<VmInfo>> {
        self.called(Operation::ListVms).await;
        let state = self.lock();
        let all = state.vms.values().filter(|vm| query.matches(vm)).cloned().collect();
        let page = PageRequest { limit: Some(page.limit.unwrap_or(2)), ..page.clone() };
        Ok(Page::cut(all, &page, |vm: &VmInfo| vm.id.to_string()).with_unreachable(state.unreachable.clone()))
    }

    async fn get_vm(&self, vm: &VmId) -> Result<VmInfo> {
        self.called(Operation::GetVm).await;
        self.lock().vms.get(vm).cloned().ok_or_else(|| vm.not_found())
    }

    async fn create_vm(&self, spec: &VmSpec) -> Result<Started<VmId>> {
        self.called(Operation::CreateVm).await;
        let id = VmId::from(spec.name.as_str());
        Ok(Started::running(id, format!("create-{}", spec.name)))
    }

    async fn power_vm(&self, vm: &VmId, _action: &PowerAction) -> Result<Started<()>> {
        self.called(Operation::StartVm).await;
        match self.power_now(vm)? {
            Some(started) => Ok(started),
            None => futures::future::pending().await,
        }
    }

    async fn delete_vm(&self, vm: &VmId, options: &DeleteVm) -> Result<Started<()>> {
        self.called(Operation::DeleteVm).await;
        let mut state = self.lock();
        state.deletes.push(options.clone());
        if state.vms.remove(vm).is_none() {
            return Err(vm.not_found());
        }
        Ok(Started::done(()))
    }
}

#[async_trait]
impl Tasks for Scripted {
    async fn get_task(&self, task: &TaskId, hold: Option<Duration>) -> Result<TaskInfo> {
        self.called(Operation::GetTask).await;
        let ends = {
            let mut state = self.lock();
            let script = state.tasks.get_mut(task).ok_or_else(|| task.not_found())?;
            if let Some(error) = script.failing_looks.pop_front() {
                return Err(error);
            }
            script.ends
        };
        if let Some(hold) = hold.filter(|_| self.holds) {
            tokio::time::sleep_until(ends.min(Instant::now() + hold)).await;
        }
        let state = self.lock();
        state.tasks.get(task).map(Self::see).ok_or_else(|| task.not_found())
    }

    async fn list_tasks(&self, query: &TaskQuery, page: &PageRequest) -> Result<Page<TaskInfo>> {
        self.called(Operation::ListTasks).await;
        self.capabilities.require(Operation::ListTasks)?;
        let all = self.lock().tasks.values().map(Self::see).filter(|task| query.matches(task)).collect();
        Ok(Page::cut(all, page, |task: &TaskInfo| task.id.to_string()))
    }

    async fn get_task_log(&self, task: &TaskId, from: u64, limit: u32) -> Result<TaskLog> {
        self.called(Operation::GetTaskLog).await;
        let state = self.lock();
        let script = state.tasks.get(task).ok_or_else(|| task.not_found())?;
        // The last line comes only after the end, as it does on real servers.
        let ended = Instant::now() >= script.ends + LATE_LINE;
        let visible = if ended { script.log.len() } else { script.log.len().saturating_sub(1) };
        let (from, limit) = (usize::try_from(from).unwrap(), usize::try_from(limit).unwrap());
        let lines: Vec<_> = script.log[..visible].iter().enumerate().skip(from).take(limit.min(3)).collect();
        let next = from + lines.len();
        let complete = ended && next == script.log.len();
        let lines =
            lines.into_iter().map(|(n, text)| TaskLogLine::new(u64::try_from(n).unwrap(), text.clone()));
        Ok(TaskLog::new(lines.collect(), u64::try_from(next).unwrap(), complete))
    }

    async fn cancel_task(&self, task: &TaskId) -> Result<()> {
        self.called(Operation::CancelTask).await;
        let mut state = self.lock();
        state.cancelled.insert(task.clone());
        let script = state.tasks.get_mut(task).ok_or_else(|| task.not_found())?;
        script.ends = Instant::now();
        script.end.state = TaskState::Cancelled;
        Ok(())
    }
}

#[async_trait]
impl Batch for Scripted {
    fn bulk_key(&self, op: &BatchOp) -> Option<BulkKey> {
        let limit = self.lock().bulk_limit;
        (limit > 0).then(|| BulkKey::new(op.operation().as_str(), limit))
    }

    async fn submit_bulk(&self, ops: &[BatchOp]) -> Result<Vec<Result<Started<BatchOutput>>>> {
        self.called(Operation::SubmitBatch).await;
        self.lock().bulks.push(ops.len());
        let send = |op: &BatchOp| match self.power_now(op.vm().unwrap()) {
            Ok(Some(started)) => Ok(started.map(|()| BatchOutput::Nothing)),
            Ok(None) => Err(Error::new(ErrorKind::Timeout, "silent")),
            Err(error) => Err(error),
        };
        Ok(ops.iter().map(send).collect())
    }
}

#[async_trait]
impl Backups for Scripted {
    async fn create_backup(&self, vm: &VmId, _spec: &BackupSpec) -> Result<Started<Option<BackupId>>> {
        self.called(Operation::CreateBackup).await;
        Ok(Started::running(None, format!("backup-{vm}")))
    }
}

#[async_trait]
impl Guest for Scripted {
    async fn list_addresses(&self, vm: &VmId, _source: Option<AddressSource>) -> Result<Vec<GuestAddress>> {
        self.called(Operation::ListAddresses).await;
        match self.count(Operation::ListAddresses) {
            1 => Err(Error::invalid_state("it boots").with_target(VmId::NOUN, vm)),
            2 => Err(Error::new(ErrorKind::AgentUnavailable, "not yet")),
            3 => Ok(vec![GuestAddress::new([127, 0, 0, 1].into(), AddressSource::Agent)]),
            _ => Ok(vec![
                GuestAddress::new([127, 0, 0, 1].into(), AddressSource::Agent),
                GuestAddress::new([10, 0, 0, 7].into(), AddressSource::Agent),
            ]),
        }
    }
}

impl Storage for Scripted {}
impl Network for Scripted {}
impl Snapshots for Scripted {}
impl Metrics for Scripted {}
#[async_trait]
impl Events for Scripted {
    async fn watch(&self, _: &EventQuery) -> Result<EventStream> {
        let feed = self.lock().feeds.pop_front();
        match feed {
            Some(feed) => Ok(Box::pin(futures::stream::iter(feed?))),
            None => Ok(Box::pin(futures::stream::pending())),
        }
    }
}

impl Hypervisor for Scripted {
    fn info(&self) -> &BackendInfo {
        &self.info
    }

    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }
}
