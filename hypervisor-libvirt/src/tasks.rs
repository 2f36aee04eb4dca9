//! Long work of our own: libvirt has no tasks, only calls that take long.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use hypervisor_core::model::{
    EventKind, Page, PageRequest, TaskId, TaskInfo, TaskLog, TaskLogLine, TaskQuery, TaskState, VmId,
};
use hypervisor_core::traits::Tasks;
use hypervisor_core::{Error, ErrorKind, Operation, Result};
use tokio::sync::watch;
use tokio::task::AbortHandle;

use crate::backend::Libvirt;
use crate::error::named;
use crate::events::Hub;

/// How many ended tasks are remembered.
const REMEMBERED: usize = 1_000;

/// The tasks of one connection. They end with it; a call that libvirt is at work on goes on in the daemon.
#[derive(Debug, Clone, Default)]
pub(crate) struct TaskTable(Arc<Mutex<BTreeMap<TaskId, Entry>>>, Arc<Hub>);

#[derive(Debug)]
struct Entry {
    state: watch::Sender<TaskInfo>,
    log: Vec<TaskLogLine>,
    abort: Option<AbortHandle>,
}

impl TaskTable {
    /// A table that tells of its tasks.
    pub(crate) fn new(events: &Arc<Hub>) -> Self {
        Self(Arc::default(), Arc::clone(events))
    }

    fn tell(&self, id: &TaskId, state: TaskState) {
        self.1.tell(EventKind::TaskChanged { task: id.clone(), state });
    }

    /// Starts a task. `work` runs until it ends or, where it can be cancelled, is cancelled.
    pub(crate) fn spawn(
        &self,
        operation: Operation,
        vm: Option<&VmId>,
        can_cancel: bool,
        work: impl Future<Output = Result<()>> + Send + 'static,
    ) -> TaskId {
        // Version 7 sorts by time.
        let id = TaskId::from(uuid::Uuid::now_v7().to_string());
        let mut info = TaskInfo::new(&id, TaskState::Running).operation(operation).can_cancel(can_cancel);
        info.vm = vm.cloned();
        info.started = Some(SystemTime::now());
        let entry = Entry { state: watch::Sender::new(info), log: Vec::new(), abort: None };
        self.lock().insert(id.clone(), entry);
        self.log(&id, format!("{operation} begins"));
        self.tell(&id, TaskState::Running);
        let (table, own) = (self.clone(), id.clone());
        let task = tokio::spawn(async move {
            let outcome = work.await;
            match outcome {
                Ok(()) => table.end(&own, TaskState::Succeeded, None),
                Err(error) => table.end(&own, TaskState::Failed, Some(error.to_string())),
            }
        });
        if let Some(entry) = self.lock().get_mut(&id) {
            entry.abort = Some(task.abort_handle());
        }
        id
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<TaskId, Entry>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn log(&self, id: &TaskId, text: impl Into<String>) {
        if let Some(entry) = self.lock().get_mut(id) {
            let number = u64::try_from(entry.log.len()).unwrap_or(u64::MAX);
            entry.log.push(TaskLogLine::new(number, text).time(SystemTime::now()));
        }
    }

    fn end(&self, id: &TaskId, state: TaskState, error: Option<String>) {
        self.log(id, error.as_deref().map_or_else(|| state.to_string(), |error| format!("{state}: {error}")));
        let told = state;
        let mut tasks = self.lock();
        if let Some(entry) = tasks.get_mut(id) {
            entry.abort = None;
            entry.state.send_modify(|info| {
                info.state = state;
                info.error = error;
                info.ended = Some(SystemTime::now());
                info.can_cancel = false;
            });
        }
        let ended = |entry: &Entry| entry.state.borrow().state.is_final();
        let mut spare = tasks.values().filter(|entry| ended(entry)).count().saturating_sub(REMEMBERED);
        tasks.retain(|_, entry| {
            let forget = spare > 0 && ended(entry);
            spare -= usize::from(forget);
            !forget
        });
        drop(tasks);
        self.tell(id, told);
    }

    /// Ends all tasks: their connection is given up.
    pub(crate) fn abort_all(&self) {
        for entry in self.lock().values() {
            if let Some(abort) = &entry.abort {
                abort.abort();
            }
        }
    }

    fn look(&self, id: &TaskId) -> Result<watch::Receiver<TaskInfo>> {
        self.lock().get(id).map(|entry| entry.state.subscribe()).ok_or_else(|| id.not_found())
    }

    fn cancel(&self, id: &TaskId) -> Result<()> {
        let mut tasks = self.lock();
        let entry = tasks.get_mut(id).ok_or_else(|| id.not_found())?;
        let info = entry.state.borrow().clone();
        if info.state.is_final() {
            return Err(Error::invalid_state(format!("it is {}", info.state)).with_target(TaskId::NOUN, id));
        }
        let Some(abort) = entry.abort.take().filter(|_| info.can_cancel) else {
            let why = "libvirt cannot end what it is at work on";
            return Err(Error::new(ErrorKind::InvalidState, why).with_target(TaskId::NOUN, id));
        };
        abort.abort();
        drop(tasks);
        self.end(id, TaskState::Cancelled, None);
        Ok(())
    }
}

#[async_trait]
impl Tasks for Libvirt {
    async fn get_task(&self, task: &TaskId, hold: Option<Duration>) -> Result<TaskInfo> {
        let mut state = self.inner.tasks.look(task).map_err(named(Operation::GetTask))?;
        let now = state.borrow_and_update().clone();
        if let Some(hold) = hold.filter(|_| !now.state.is_final()) {
            // A time that runs out, or a task that is forgotten meanwhile, leaves what is known.
            drop(tokio::time::timeout(hold, state.changed()).await);
        }
        let info = state.borrow().clone();
        Ok(info)
    }

    async fn list_tasks(&self, query: &TaskQuery, page: &PageRequest) -> Result<Page<TaskInfo>> {
        let all: Vec<_> =
            self.inner.tasks.lock().values().map(|entry| entry.state.borrow().clone()).collect();
        let wanted = all.into_iter().filter(|task| query.matches(task)).collect();
        Ok(Page::cut(wanted, page, |task| task.id.to_string()))
    }

    async fn get_task_log(&self, task: &TaskId, from: u64, limit: u32) -> Result<TaskLog> {
        let tasks = self.inner.tasks.lock();
        let entry = tasks.get(task).ok_or_else(|| named(Operation::GetTaskLog)(task.not_found()))?;
        let skip = usize::try_from(from).unwrap_or(usize::MAX);
        let take = usize::try_from(limit).unwrap_or(usize::MAX);
        let lines: Vec<_> = entry.log.iter().skip(skip).take(take).cloned().collect();
        let next = from.saturating_add(u64::try_from(lines.len()).unwrap_or(u64::MAX));
        let all = u64::try_from(entry.log.len()).unwrap_or(u64::MAX);
        let complete = entry.state.borrow().state.is_final() && next >= all;
        Ok(TaskLog::new(lines, next, complete))
    }

    async fn cancel_task(&self, task: &TaskId) -> Result<()> {
        self.inner.tasks.cancel(task).map_err(named(Operation::CancelTask))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn tasks_end_as_their_work_does() {
        let table = TaskTable::default();
        let good = table.spawn(Operation::CloneVm, Some(&"a".into()), false, async { Ok(()) });
        let bad = table.spawn(Operation::CloneVm, None, false, async { Err(Error::invalid_state("no")) });
        for (id, wanted) in [(good, TaskState::Succeeded), (bad, TaskState::Failed)] {
            let mut state = table.look(&id).unwrap();
            let info = state.wait_for(|info| info.state.is_final()).await.unwrap().clone();
            assert_eq!(info.state, wanted);
            assert!(info.ended.is_some());
            assert_eq!(table.cancel(&id).unwrap_err().kind(), ErrorKind::InvalidState);
        }
        assert!(table.look(&"nobody".into()).unwrap_err().is_not_found());
    }

    #[tokio::test]
    async fn only_what_can_be_cancelled_is() {
        let table = TaskTable::default();
        let hard = table.spawn(Operation::WipeVolume, None, false, std::future::pending());
        let soft = table.spawn(Operation::ShutdownVm, None, true, std::future::pending());
        assert_eq!(table.cancel(&hard).unwrap_err().kind(), ErrorKind::InvalidState);
        table.cancel(&soft).unwrap();
        assert_eq!(table.look(&soft).unwrap().borrow().state, TaskState::Cancelled);
        table.abort_all();
    }

    #[tokio::test]
    async fn ended_tasks_are_forgotten_at_last() {
        let table = TaskTable::default();
        let first = table.spawn(Operation::CloneVm, None, false, async { Ok(()) });
        for _ in 0..=REMEMBERED {
            let id = table.spawn(Operation::CloneVm, None, false, async { Ok(()) });
            table.look(&id).unwrap().wait_for(|info| info.state.is_final()).await.unwrap();
        }
        assert!(table.look(&first).is_err());
        assert!(table.lock().len() <= REMEMBERED + 1);
    }
}
