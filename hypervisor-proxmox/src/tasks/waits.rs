//! The waits that this process makes for tasks of the server: one look serves them all.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hypervisor_core::handle::TaskPace;
use hypervisor_core::model::{TaskId, TaskInfo, TaskState};
use hypervisor_core::{Error, Operation, Result, Retry};
use tokio::time::{Instant, sleep};

use super::failure;
use crate::backend::Inner;
use crate::upid::Upid;
use crate::wire::form::{Form, segment};
use crate::wire::task;

/// The first and the longest pause between two looks.
const POLL: Duration = Duration::from_millis(250);
const POLL_MOST: Duration = Duration::from_secs(5);
/// The shortest pause, before a look that is aimed at the end of a task.
const SOON: Duration = Duration::from_millis(5);
/// How many looks in a row may fail.
const BLIND: u32 = 5;

/// What is waited for, and what was last seen.
#[derive(Default)]
pub(crate) struct Waits {
    open: Mutex<HashMap<TaskId, Seat>>,
    /// How long tasks have taken, by their kind.
    paces: Mutex<HashMap<String, TaskPace>>,
    /// For each node that was asked, what is held by whoever looks: one that does not answer must not hold the looks at others up.
    looking: Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>,
}

#[derive(Default)]
struct Seat {
    waiters: usize,
    seen: Option<(Instant, Result<TaskInfo>)>,
}

impl Waits {
    fn open(&self) -> MutexGuard<'_, HashMap<TaskId, Seat>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was seen of a task since then.
    fn seen(&self, id: &TaskId, since: Instant) -> Option<Result<TaskInfo>> {
        let open = self.open();
        let (when, seen) = open.get(id)?.seen.as_ref()?;
        let is_final = seen.as_ref().is_ok_and(|info| info.state.is_final());
        (*when >= since || is_final).then(|| seen.clone())
    }

    fn pace(&self, kind: &str) -> TaskPace {
        self.paces.lock().unwrap_or_else(PoisonError::into_inner).get(kind).cloned().unwrap_or_default()
    }

    fn ended(&self, kind: &str, at_work: Duration, ended: Duration) {
        let mut paces = self.paces.lock().unwrap_or_else(PoisonError::into_inner);
        paces.entry(kind.to_owned()).or_default().ended(at_work, ended);
    }

    fn turn(&self, node: &str) -> Arc<tokio::sync::Mutex<()>> {
        let mut looking = self.looking.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(looking.entry(node.to_owned()).or_default())
    }

    fn publish(&self, id: &TaskId, when: Instant, seen: Result<TaskInfo>) {
        if let Some(seat) = self.open().get_mut(id) {
            seat.seen = Some((when, seen));
        }
    }
}

/// One wait; it leaves when it is dropped.
struct Place<'a>(&'a Waits, &'a TaskId);

impl<'a> Place<'a> {
    fn take(waits: &'a Waits, id: &'a TaskId) -> Self {
        waits.open().entry(id.clone()).or_default().waiters += 1;
        Self(waits, id)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut open = self.0.open();
        if let Some(seat) = open.get_mut(self.1) {
            seat.waiters = seat.waiters.saturating_sub(1);
            if seat.waiters == 0 {
                open.remove(self.1);
            }
        }
    }
}

impl Inner {
    /// Waits for the end of a task, for calls that are made of several.
    ///
    /// # Errors
    /// Why it failed, with the task's id.
    pub(crate) async fn wait(&self, id: &TaskId) -> Result<TaskInfo> {
        self.wait_beside(id, || std::future::ready(())).await.0
    }

    /// The same, with another look beside each that may be the last. What that one saw is given back where it began at a time at which the
    /// task had ended already.
    pub(crate) async fn wait_beside<T, Fut>(
        &self,
        id: &TaskId,
        beside: impl Fn() -> Fut + Send + Sync,
    ) -> (Result<TaskInfo>, Option<T>)
    where
        T: Send,
        Fut: Future<Output = T> + Send,
    {
        let _place = Place::take(&self.waits, id);
        let kind = Upid::try_from(id).map(|upid| upid.kind().to_owned()).unwrap_or_default();
        let began = Instant::now();
        let (mut pause, mut slept, mut blind, mut at_work) = (POLL, POLL, 0, Duration::ZERO);
        if let Some(first) = self.waits.pace(&kind).first() {
            slept = first.min(POLL_MOST);
            sleep(slept).await;
        }
        loop {
            // What somebody else has seen a moment ago is as good as a look of one's own: but not what was seen before the last pause.
            let now = Instant::now();
            let age = now.saturating_duration_since(began);
            let since = now.checked_sub(slept / 2).unwrap_or(now);
            let pace = self.waits.pace(&kind);
            let may_be_last = pace.first().is_some_and(|first| age >= first);
            let beside = async { if may_be_last { Some(beside().await) } else { None } };
            let (seen, beside) = futures::join!(Box::pin(self.look(id, since)), beside);
            match seen {
                Ok(info) => {
                    blind = 0;
                    match info.state {
                        TaskState::Succeeded => {
                            self.waits.ended(&kind, at_work, age);
                            return (Ok(info), beside);
                        }
                        state if state.is_final() => return (Err(failure(&info)), beside),
                        _ => at_work = age,
                    }
                }
                // A failed look is not a failed task.
                Err(error) if error.retry() != Retry::Never && blind < BLIND => blind += 1,
                Err(error) => return (Err(error.with_task(id.clone())), None),
            }
            slept = match pace.next(age).filter(|_| blind == 0) {
                Some(next) => next.saturating_sub(began.elapsed()).clamp(SOON, POLL_MOST),
                None => pause,
            };
            pause = (pause * 2).min(POLL_MOST);
            sleep(slept).await;
        }
    }

    async fn look(&self, id: &TaskId, since: Instant) -> Result<TaskInfo> {
        if let Some(seen) = self.waits.seen(id, since) {
            return seen;
        }
        let own = Upid::try_from(id).map(|upid| upid.node().to_owned()).unwrap_or_default();
        let turn = self.waits.turn(&own);
        let _looking = turn.lock().await;
        if let Some(seen) = self.waits.seen(id, since) {
            return seen;
        }
        let mut nodes: BTreeMap<String, BTreeSet<TaskId>> = BTreeMap::new();
        for id in self.waits.open().keys() {
            if let Ok(upid) = Upid::try_from(id) {
                nodes.entry(upid.node().to_owned()).or_default().insert(id.clone());
            }
        }
        // Somebody else's look at another node is theirs to make.
        match nodes.remove(&own) {
            Some(several) if several.len() > 1 => self.look_at_all(&own, &several).await,
            _ => {}
        }
        if let Some(seen) = self.waits.seen(id, since) {
            return seen;
        }
        let when = Instant::now();
        let seen = self.task(id).await;
        self.waits.publish(id, when, seen.clone());
        seen
    }

    /// One list for all tasks of a node that are waited for. What is not in it, or has ended in a way that its own answer tells more of, is
    /// left to a look of its own.
    async fn look_at_all(&self, node: &str, wanted: &BTreeSet<TaskId>) {
        let when = Instant::now();
        let form = Form::new().text("source", "all").number("limit", super::LIST_LIMIT);
        let answer = async {
            let path = format!("/nodes/{}/tasks", segment("host", node)?);
            let call = crate::api::Call::get(path).query(form).operation(Operation::ListTasks);
            Ok::<_, Error>(task::tasks(&self.api.bytes(&call).await?)?.0)
        };
        let listed = match answer.await {
            Ok(listed) => listed,
            Err(error) => {
                wanted.iter().for_each(|id| self.waits.publish(id, when, Err(error.clone())));
                return;
            }
        };
        for info in listed.into_iter().filter(|info| wanted.contains(&info.id)) {
            let plain = info.state == TaskState::Succeeded && info.warnings.is_empty();
            if !info.state.is_final() || plain {
                let id = info.id.clone();
                self.waits.publish(&id, when, Ok(info));
            }
        }
    }
}
