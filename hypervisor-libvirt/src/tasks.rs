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
    /// Tells work that ends itself that somebody wants it to.
    cancel: Option<watch::Sender<bool>>,
}

/// A task as its own work sees it: it says how far it is, and asks whether it is still wanted.
#[derive(Debug, Clone)]
pub(crate) struct Running {
    task: Option<(TaskTable, TaskId)>,
    cancel: watch::Receiver<bool>,
}

impl Running {
    /// Of work that is no task: nobody sees it, and nobody cancels it.
    #[cfg(test)]
    pub(crate) fn unseen() -> Self {
        Self { task: None, cancel: watch::channel(false).1 }
    }

    /// So much is done, from 0.0 to 1.0. It never goes back.
    pub(crate) fn progress(&self, done: f64) {
        self.change(|info| {
            let done = if done.is_finite() { done.clamp(0.0, 1.0) } else { 0.0 };
            info.progress = Some(info.progress.map_or(done, |before| before.max(done)));
        });
    }

    /// So many of so many bytes are done.
    pub(crate) fn bytes(&self, done: u64, total: u64) {
        // In thousandths, so that the numbers are exact whatever their size.
        let part = u128::from(done.min(total)) * 1000 / u128::from(total.max(1));
        self.progress(f64::from(u16::try_from(part).unwrap_or(1000)) / 1000.0);
    }

    /// What is being done now; a line of the log when it is something else than before.
    pub(crate) fn stage(&self, text: impl Into<String>) {
        let text = text.into();
        let mut changed = false;
        self.change(|info| {
            changed = info.stage.as_ref() != Some(&text);
            info.stage = Some(text.clone());
        });
        if changed {
            self.say(text);
        }
    }

    /// A line of the log.
    pub(crate) fn say(&self, text: impl Into<String>) {
        if let Some((table, id)) = &self.task {
            table.log(id, text);
        }
    }

    /// Something that the caller should know although the task succeeds.
    pub(crate) fn warn(&self, text: impl Into<String>) {
        let text = text.into();
        self.say(&text);
        self.change(|info| info.warnings.push(text));
    }

    /// Whether somebody wants it to end.
    pub(crate) fn is_cancelled(&self) -> bool {
        *self.cancel.borrow()
    }

    /// Comes back when somebody wants it to end, and never if nobody does.
    pub(crate) async fn cancelled(&self) {
        let mut cancel = self.cancel.clone();
        if cancel.wait_for(|wanted| *wanted).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    fn change(&self, change: impl FnOnce(&mut TaskInfo)) {
        if let Some((table, id)) = &self.task
            && let Some(entry) = table.lock().get(id)
        {
            entry.state.send_modify(change);
        }
    }
}

/// A task whose end nobody knows yet. Dropped before, by a panic or the end of the runtime, it says so: whoever waits for the task would
/// wait for ever.
struct Open(Option<(TaskTable, TaskId)>);

impl Open {
    fn end(mut self, (state, error): (TaskState, Option<String>)) {
        if let Some((table, id)) = self.0.take() {
            table.end(&id, state, error);
        }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        if let Some((table, id)) = self.0.take() {
            let why = if std::thread::panicking() {
                "the work on it panicked"
            } else {
                "the connection, or the runtime that worked on it, has ended"
            };
            table.end(&id, TaskState::Failed, Some(format!("{why}: some of it may be done")));
        }
    }
}

/// The end of work that was cancelled.
pub(crate) fn cancelled() -> Error {
    Error::new(ErrorKind::Cancelled, "it was cancelled")
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
        self.enter(operation, vm, can_cancel, None, |_| work)
    }

    /// Starts a task that says how far it is, and that ends itself when it is asked to: it then fails as `Cancelled`.
    pub(crate) fn spawn_watched<F>(
        &self,
        operation: Operation,
        vm: Option<&VmId>,
        work: impl FnOnce(Running) -> F,
    ) -> TaskId
    where
        F: Future<Output = Result<()>> + Send + 'static,
    {
        self.enter(operation, vm, true, Some(watch::Sender::new(false)), work)
    }

    fn enter<F>(
        &self,
        operation: Operation,
        vm: Option<&VmId>,
        can_cancel: bool,
        cancel: Option<watch::Sender<bool>>,
        work: impl FnOnce(Running) -> F,
    ) -> TaskId
    where
        F: Future<Output = Result<()>> + Send + 'static,
    {
        // Version 7 sorts by time.
        let id = TaskId::from(uuid::Uuid::now_v7().to_string());
        let mut info = TaskInfo::new(&id, TaskState::Running).operation(operation).can_cancel(can_cancel);
        info.vm = vm.cloned();
        info.started = Some(SystemTime::now());
        let seen = cancel.as_ref().map_or_else(|| watch::channel(false).1, watch::Sender::subscribe);
        let entry = Entry { state: watch::Sender::new(info), log: Vec::new(), abort: None, cancel };
        self.lock().insert(id.clone(), entry);
        self.log(&id, format!("{operation} begins"));
        self.tell(&id, TaskState::Running);
        let (table, own) = (self.clone(), id.clone());
        let work = work(Running { task: Some((self.clone(), id.clone())), cancel: seen });
        let open = Open(Some((table, own)));
        let task = tokio::spawn(async move {
            let outcome = work.await;
            open.end(match outcome {
                Ok(()) => (TaskState::Succeeded, None),
                Err(error) if error.kind() == ErrorKind::Cancelled => {
                    (TaskState::Cancelled, Some(error.to_string()))
                }
                Err(error) => (TaskState::Failed, Some(error.to_string())),
            });
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

    /// What has ended already stays as it ended.
    fn end(&self, id: &TaskId, state: TaskState, error: Option<String>) {
        if self.lock().get(id).is_none_or(|entry| entry.state.borrow().state.is_final()) {
            return;
        }
        self.log(id, error.as_deref().map_or_else(|| state.to_string(), |error| format!("{state}: {error}")));
        let told = state;
        let mut tasks = self.lock();
        if let Some(entry) = tasks.get_mut(id) {
            entry.abort = None;
            entry.state.send_modify(|info| {
                if state == TaskState::Succeeded && info.progress.is_some() {
                    info.progress = Some(1.0);
                }
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

    /// A task, to be watched.
    pub(crate) fn look(&self, id: &TaskId) -> Result<watch::Receiver<TaskInfo>> {
        self.lock().get(id).map(|entry| entry.state.subscribe()).ok_or_else(|| id.not_found())
    }

    /// Ends a task, or asks it to end.
    pub(crate) fn cancel(&self, id: &TaskId) -> Result<()> {
        let mut tasks = self.lock();
        let entry = tasks.get_mut(id).ok_or_else(|| id.not_found())?;
        let info = entry.state.borrow().clone();
        if info.state.is_final() {
            return Err(Error::invalid_state(format!("it is {}", info.state)).with_target(TaskId::NOUN, id));
        }
        if let Some(cancel) = &entry.cancel {
            let again = cancel.send_replace(true);
            drop(tasks);
            if !again {
                self.log(id, "it is asked to end");
            }
            return Ok(());
        }
        let Some(abort) = entry.abort.take().filter(|_| info.can_cancel) else {
            let work = info.operation.map_or("work", |operation| operation.as_str());
            let why = format!("libvirt has no call that ends its {work} before it is done");
            let error = Error::new(ErrorKind::InvalidState, why).with_target(TaskId::NOUN, id);
            return Err(error.with_hint("It goes on; wait for its end"));
        };
        drop(tasks);
        // First, or its own end would be told as a failure.
        self.end(id, TaskState::Cancelled, None);
        abort.abort();
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
    async fn watched_work_tells_how_far_it_is_and_ends_itself() {
        let table = TaskTable::default();
        let id = table.spawn_watched(Operation::CloneVolume, None, |running| async move {
            running.stage("copies");
            running.bytes(u64::MAX / 2, u64::MAX);
            running.progress(0.1);
            running.warn("a copy is left");
            running.cancelled().await;
            assert!(running.is_cancelled());
            Err(cancelled())
        });
        let mut state = table.look(&id).unwrap();
        let info = state.wait_for(|info| !info.warnings.is_empty()).await.unwrap().clone();
        assert_eq!((info.progress, info.stage.as_deref()), (Some(0.499), Some("copies")));
        table.cancel(&id).unwrap();
        table.cancel(&id).unwrap();
        let info = state.wait_for(|info| info.state.is_final()).await.unwrap().clone();
        assert_eq!((info.state, info.can_cancel), (TaskState::Cancelled, false));
        let lines: Vec<_> = table.lock()[&id].log.iter().map(|line| line.text.clone()).collect();
        assert_eq!(lines[1..4], ["copies", "a copy is left", "it is asked to end"]);
        let unseen = Running::unseen();
        unseen.progress(f64::NAN);
        assert!(!unseen.is_cancelled());
    }

    #[tokio::test]
    async fn work_that_panics_or_is_given_up_has_ended() {
        let table = TaskTable::default();
        let broken = table.spawn(Operation::CloneVm, None, false, async { panic!("a mistake of ours") });
        let given_up = table.spawn(Operation::CloneVm, None, false, std::future::pending());
        tokio::task::yield_now().await;
        table.abort_all();
        for (id, why) in [(broken, "panicked"), (given_up, "ended")] {
            let mut state = table.look(&id).unwrap();
            let info = state.wait_for(|info| info.state.is_final()).await.unwrap().clone();
            assert_eq!((info.state, info.can_cancel), (TaskState::Failed, false));
            assert!(info.error.as_ref().unwrap().contains(why), "{info:?}");
        }
    }

    #[tokio::test]
    async fn what_was_cancelled_stays_cancelled() {
        let table = TaskTable::default();
        let id = table.spawn(Operation::ShutdownVm, None, true, std::future::pending());
        table.cancel(&id).unwrap();
        tokio::task::yield_now().await;
        assert_eq!(table.look(&id).unwrap().borrow().state, TaskState::Cancelled);
        let lines = table.lock()[&id].log.len();
        assert_eq!(lines, 2, "its end is told once");
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
