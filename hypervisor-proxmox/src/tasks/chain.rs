//! Several tasks of the server, one after the other, as one: for what Proxmox has no single call for.
//!
//! A chain lives in this process. Its first task goes on by itself when the process ends; what was to follow does not.

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use hypervisor_core::model::{TaskId, TaskInfo, TaskLog, TaskLogLine, TaskState, VmId};
use hypervisor_core::{Effect, Error, ErrorKind, Operation, Result};
use tokio::sync::Notify;
use tokio::time::Instant;
use uuid::Uuid;

use crate::backend::Inner;

/// How an id of a chain begins.
const PREFIX: &str = "chain:";
/// How many chains that have ended are remembered.
const REMEMBERED: usize = 1000;

/// How long after the first of several chains the others are given to end as well.
const TOGETHER: Duration = Duration::from_millis(2);

/// The chains of a connection.
#[derive(Default)]
pub(crate) struct Chains(Arc<Mutex<HashMap<TaskId, Chain>>>, Arc<Notify>);

struct Chain {
    info: TaskInfo,
    lines: Vec<String>,
    /// The task of the server that it waits for.
    present: Option<TaskId>,
    cancelled: bool,
    /// How many tasks of the server have been seen through.
    done: u32,
    changes: u64,
}

/// A chain at work.
#[derive(Clone)]
pub(crate) struct Link {
    all: Arc<Mutex<HashMap<TaskId, Chain>>>,
    changed: Arc<Notify>,
    id: TaskId,
}

fn lock(all: &Mutex<HashMap<TaskId, Chain>>) -> MutexGuard<'_, HashMap<TaskId, Chain>> {
    all.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Chains {
    /// Reads one; `None` for an id that is none of ours.
    pub(crate) fn get(&self, id: &TaskId) -> Option<TaskInfo> {
        Some(lock(&self.0).get(id)?.info.clone())
    }

    /// Waits until something has happened to one of these, or so long; not at all where one has ended. It costs the server nothing, and
    /// whoever looks at the right time need not look again.
    pub(crate) async fn hold(&self, ids: &[&TaskId], longest: Duration) {
        let Some(deadline) = Instant::now().checked_add(longest) else { return };
        let changes = || {
            let all = lock(&self.0);
            let going = |id: &TaskId| all.get(id).filter(|chain| !chain.info.state.is_final());
            ids.iter().map(|id| Some(going(id)?.changes)).collect::<Option<Vec<u64>>>()
        };
        let before = changes();
        loop {
            let mut changed = std::pin::pin!(self.1.notified());
            changed.as_mut().enable();
            if before.is_none() {
                return;
            }
            if changes() != before {
                // What ends together is to be seen together, or the rest of a bulk call's room is filled by many small ones.
                return tokio::time::sleep(TOGETHER).await;
            }
            if tokio::time::timeout_at(deadline, changed).await.is_err() {
                return;
            }
        }
    }

    pub(crate) fn list(&self) -> Vec<TaskInfo> {
        lock(&self.0).values().map(|chain| chain.info.clone()).collect()
    }

    pub(crate) fn log(&self, id: &TaskId, from: u64, limit: u32) -> Option<TaskLog> {
        let all = lock(&self.0);
        let chain = all.get(id)?;
        let numbered = (0_u64..).zip(&chain.lines);
        let part = numbered
            .skip_while(|(number, _)| *number < from)
            .take(usize::try_from(limit.max(1)).unwrap_or(1));
        let lines: Vec<TaskLogLine> =
            part.map(|(number, line)| TaskLogLine::new(number, line.clone())).collect();
        let next = lines.last().map_or(from, |line| line.number + 1);
        let end = u64::try_from(chain.lines.len()).unwrap_or(u64::MAX);
        Some(TaskLog::new(lines, next, chain.info.state.is_final() && next >= end))
    }

    /// Begins nothing new in a chain. `None` for an id that is none of ours; inside it the task of the server that is to be ended.
    pub(crate) fn cancel(&self, id: &TaskId) -> Result<Option<Option<TaskId>>> {
        let mut all = lock(&self.0);
        let Some(chain) = all.get_mut(id) else { return Ok(None) };
        if chain.info.state.is_final() {
            let why = format!("the task has ended: it is {}", chain.info.state);
            return Err(Error::invalid_state(why).with_target(TaskId::NOUN, id).with_backend(crate::BACKEND));
        }
        chain.cancelled = true;
        Ok(Some(chain.present.clone()))
    }

    /// Begins a chain about a guest.
    pub(crate) fn start<F, Fut>(&self, operation: Operation, vm: &VmId, work: F) -> TaskId
    where
        F: FnOnce(Link) -> Fut,
        Fut: Future<Output = Result<()>> + Send + 'static,
    {
        self.begin(operation, Some(vm), work)
    }

    /// Begins a chain.
    pub(crate) fn begin<F, Fut>(&self, operation: Operation, vm: Option<&VmId>, work: F) -> TaskId
    where
        F: FnOnce(Link) -> Fut,
        Fut: Future<Output = Result<()>> + Send + 'static,
    {
        let id = TaskId::from(format!("{PREFIX}{}", Uuid::new_v4().simple()));
        let mut info = TaskInfo::new(&id, TaskState::Running).operation(operation).can_cancel(true);
        info.vm = vm.cloned();
        info.started = Some(SystemTime::now());
        let chain = Chain { info, lines: Vec::new(), present: None, cancelled: false, done: 0, changes: 0 };
        let mut all = lock(&self.0);
        forget_old(&mut all);
        all.insert(id.clone(), chain);
        drop(all);
        let link = Link { all: Arc::clone(&self.0), changed: Arc::clone(&self.1), id: id.clone() };
        let work = work(link.clone());
        let open = Open(Some(link));
        tokio::spawn(async move {
            let outcome = work.await;
            open.end(outcome);
        });
        id
    }
}

/// A chain whose end nobody knows yet. Dropped before, by a panic or the end of the runtime, it says so: whoever waits for the chain
/// would wait for ever.
struct Open(Option<Link>);

impl Open {
    fn end(mut self, outcome: Result<()>) {
        if let Some(link) = self.0.take() {
            link.end(outcome);
        }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        if let Some(link) = self.0.take() {
            let why = if std::thread::panicking() {
                "the work on it panicked between two steps"
            } else {
                "the runtime that worked on it has ended"
            };
            let error = Error::new(ErrorKind::Backend, format!("{why}: some of it may be done"));
            link.end(Err(error));
        }
    }
}

fn forget_old(all: &mut HashMap<TaskId, Chain>) {
    while all.len() >= REMEMBERED {
        let ended = all.values().filter(|chain| chain.info.state.is_final());
        let Some(oldest) = ended.min_by_key(|chain| chain.info.started).map(|chain| chain.info.id.clone())
        else {
            return;
        };
        all.remove(&oldest);
    }
}

impl Link {
    fn change(&self, change: impl FnOnce(&mut Chain)) {
        if let Some(chain) = lock(&self.all).get_mut(&self.id) {
            change(chain);
            chain.changes += 1;
        }
        self.changed.notify_waiters();
    }

    /// Waits for a task of the server, unless there is none.
    ///
    /// # Errors
    /// As it ended; `Cancelled` where the chain is to go no further.
    pub(crate) async fn follow(&self, inner: &Inner, what: &str, task: Option<TaskId>) -> Result<()> {
        self.change(|chain| {
            chain.info.stage = Some(what.to_owned());
            let of = task.as_ref().map(|task| format!(" ({task})")).unwrap_or_default();
            chain.lines.push(format!("{what}{of}"));
            chain.present.clone_from(&task);
        });
        if let Some(task) = task {
            let ended = Box::pin(inner.wait(&task)).await;
            self.change(|chain| chain.present = None);
            let info = ended?;
            self.change(|chain| {
                chain.info.warnings.extend(info.warnings);
                chain.done = chain.done.saturating_add(1);
            });
        }
        self.checkpoint()
    }

    /// Passes unless the chain was cancelled.
    ///
    /// # Errors
    /// `Cancelled`.
    pub(crate) fn checkpoint(&self) -> Result<()> {
        let cancelled = lock(&self.all).get(&self.id).is_some_and(|chain| chain.cancelled);
        if cancelled {
            Err(Error::new(ErrorKind::Cancelled, "it was cancelled between two steps"))
        } else {
            Ok(())
        }
    }

    fn end(&self, outcome: Result<()>) {
        self.change(|chain| {
            chain.present = None;
            chain.info.ended = Some(SystemTime::now());
            chain.info.can_cancel = false;
            chain.info.stage = None;
            match outcome {
                Ok(()) => {
                    chain.info.state = TaskState::Succeeded;
                    chain.lines.push("done".to_owned());
                }
                Err(error) => {
                    let cancelled = error.kind() == ErrorKind::Cancelled;
                    chain.info.state = if cancelled { TaskState::Cancelled } else { TaskState::Failed };
                    chain.lines.push(format!("failed: {error}"));
                    chain.info.error_kind = Some(error.kind());
                    chain.info.effect = match error.effect() {
                        Effect::None if chain.done > 0 => Some(Effect::Partial),
                        effect => Some(effect),
                    };
                    chain.info.error = Some(error.message().to_owned())
                        .filter(|text| !text.is_empty())
                        .or(Some(error.to_string()));
                }
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn end_of(chains: &Chains, id: &TaskId) -> TaskInfo {
        chains.hold(&[id], Duration::from_secs(60)).await;
        chains.get(id).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn a_chain_whose_work_panics_has_ended() {
        let chains = Chains::default();
        let id = chains.start(Operation::CloneVm, &"100".into(), |_| async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            panic!("a mistake of ours");
        });
        let end = end_of(&chains, &id).await;
        assert_eq!((end.state, end.effect), (TaskState::Failed, Some(Effect::Unknown)), "{end:?}");
        assert!(end.error.unwrap().contains("panicked"));
    }

    #[test]
    fn a_chain_ends_with_the_runtime_that_worked_on_it() {
        let chains = Chains::default();
        let runtime = || tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let first = runtime();
        let id = first.block_on(async {
            let vm = "100".into();
            chains.start(Operation::CloneVm, &vm, |_| std::future::pending())
        });
        drop(first);
        let end = runtime().block_on(end_of(&chains, &id));
        assert_eq!((end.state, end.can_cancel), (TaskState::Failed, false));
        assert!(end.error.unwrap().contains("runtime"));
    }
}
