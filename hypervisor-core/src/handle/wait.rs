//! Waiting for the end of a task: what a look means, when to give up, and what the end means.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::settle::{Settle, Verdict};
use super::turnstile::{Turnstile, backoff};
use crate::error::{Effect, Error, ErrorKind, Result, Retry};
use crate::model::{TaskId, TaskInfo, TaskState};
use crate::operation::Operation;
use crate::traits::{Batch, Tasks};

/// A task that was started a moment ago may not be visible everywhere yet.
pub(super) const FRESH: Duration = Duration::from_secs(5);
/// So many looks in a row may fail for a reason that does not look passing.
const ODD_LOOKS: u32 = 3;
/// The log of a failed task is fetched for at most this long, and as far as this many lines.
const LOG_DEADLINE: Duration = Duration::from_secs(10);
const LOG_PART: u32 = 1000;
const LOG_PARTS: usize = 20;
/// The last lines may come after the end: so many empty answers mean that there are no more.
pub(super) const EMPTY_PARTS: u32 = 4;
pub(super) const EMPTY_PAUSE: Duration = Duration::from_millis(100);

/// How a task is waited for.
///
/// ```
/// use std::time::Duration;
/// use hypervisor_core::handle::WaitOptions;
/// let options = WaitOptions::new().deadline(Duration::from_secs(90));
/// assert_eq!(options.deadline, Duration::from_secs(90));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct WaitOptions {
    /// How long the wait may take. The task goes on when the time is over.
    pub deadline: Duration,
    /// The pause after the first look; the following ones are longer.
    pub first_pause: Duration,
    /// The longest pause between two looks.
    pub longest_pause: Duration,
    /// How long a server that can hold a look until something changes may hold it.
    pub hold: Duration,
    /// How many lines of a failed task's log the error carries.
    pub log_tail: usize,
}

impl Default for WaitOptions {
    fn default() -> Self {
        Self {
            deadline: Duration::from_secs(3600),
            first_pause: Duration::from_millis(50),
            longest_pause: Duration::from_secs(2),
            hold: Duration::from_secs(10),
            log_tail: 20,
        }
    }
}

impl WaitOptions {
    /// An hour, looking after 50 ms at first and every 2 s later.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets how long the wait may take.
    #[must_use]
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Sets the first and the longest pause between two looks.
    #[must_use]
    pub fn pauses(mut self, first: Duration, longest: Duration) -> Self {
        self.first_pause = first;
        self.longest_pause = longest;
        self
    }

    /// Sets how long a server may hold a look.
    #[must_use]
    pub fn hold(mut self, hold: Duration) -> Self {
        self.hold = hold;
        self
    }

    /// Sets how many lines of a failed task's log the error carries.
    #[must_use]
    pub fn log_tail(mut self, lines: usize) -> Self {
        self.log_tail = lines;
        self
    }
}

/// What a failed look means for whoever keeps looking.
#[derive(Debug, Default)]
pub(super) struct Patience {
    odd: u32,
}

impl Patience {
    /// Whether to look again.
    pub(super) fn forgives(&mut self, error: &Error) -> bool {
        use ErrorKind::{Config, InvalidInput, NotFound, PermissionDenied, Unauthenticated, Unsupported};
        if error.retry() != Retry::Never {
            return true;
        }
        self.odd += 1;
        let settled = [Config, InvalidInput, NotFound, PermissionDenied, Unauthenticated, Unsupported];
        self.odd < ODD_LOOKS && !settled.contains(&error.kind())
    }

    /// A look has succeeded.
    pub(super) fn restore(&mut self) {
        self.odd = 0;
    }
}

/// One wait for one task.
#[derive(Debug)]
pub(crate) struct Wait<'a> {
    pub(crate) turnstile: &'a Arc<Turnstile>,
    pub(crate) task: &'a TaskId,
    /// What the task does.
    pub(crate) kind: Option<Operation>,
    pub(crate) settle: &'a Settle,
    pub(crate) options: &'a WaitOptions,
}

impl Wait<'_> {
    /// Waits until the task has succeeded.
    ///
    /// # Errors
    /// `TaskFailed`, or the kind that the backend can tell ([`TaskInfo::error_kind`]), or `Cancelled` as it ended; `Timeout` while it goes
    /// on; [`Effect::Unknown`] where its end cannot be found out.
    pub(crate) async fn run<B: Batch + ?Sized>(&self, backend: &B) -> Result<TaskInfo> {
        let mut last = None;
        let began = Instant::now();
        let end = tokio::time::timeout(self.options.deadline, Box::pin(self.end(backend, &mut last)));
        let info = end.await.unwrap_or_else(|_| Err(self.timeout(last.as_ref())))?;
        match info.state {
            TaskState::Failed => {
                let why = info.error.clone().unwrap_or_else(|| "the server gives no reason".to_owned());
                let tail =
                    self.log_tail(backend, self.options.deadline.saturating_sub(began.elapsed())).await;
                let error = Error::new(info.error_kind.unwrap_or(ErrorKind::TaskFailed), why);
                let error = match error.kind() {
                    // The call itself went through: it is the task that did not get further, and what it had done by then is not known.
                    ErrorKind::Connect
                    | ErrorKind::RateLimited
                    | ErrorKind::HostUnreachable
                    | ErrorKind::Unauthenticated
                    | ErrorKind::Config => error.with_retry(Retry::IfIdempotent),
                    _ => error,
                };
                let error = match info.effect {
                    Some(effect @ (Effect::Unknown | Effect::Partial)) => error.with_effect(effect),
                    _ => error,
                };
                Err(self.named(error, Some(&info)).with_log_tail(tail))
            }
            TaskState::Cancelled => {
                let why = info.error.clone().unwrap_or_else(|| "the task was cancelled".to_owned());
                Err(self.named(Error::new(ErrorKind::Cancelled, why), Some(&info)))
            }
            _ => Ok(info),
        }
    }

    /// The final look; what was seen before it goes to `last`.
    async fn end<B: Batch + ?Sized>(&self, backend: &B, last: &mut Option<TaskInfo>) -> Result<TaskInfo> {
        let began = Instant::now();
        let mut patience = Patience::default();
        let mut ticket = self.turnstile.enter(self.task, self.kind, self.options);
        let mut pauses = backoff(self.options);
        loop {
            match ticket.next(backend).await {
                Ok(info) if info.state == TaskState::Forgotten => {
                    let fresh = last.is_none() && began.elapsed() < FRESH;
                    if !fresh || matches!(self.settle.look(backend).await, Ok(Verdict::Done)) {
                        break;
                    }
                    // Some servers cannot tell what they do not know yet from what they know no more. Whoever waits looks
                    // no further once it has seen an end, so that the wait begins anew.
                    drop(ticket);
                    tokio::time::sleep(pauses.next().unwrap_or(FRESH)).await;
                    ticket = self.turnstile.enter(self.task, self.kind, self.options);
                }
                Ok(info) if info.state.is_final() => return Ok(info),
                Ok(info) => {
                    patience.restore();
                    *last = Some(info);
                }
                Err(error) if error.is_not_found() => {
                    if last.is_some() {
                        break;
                    }
                    if began.elapsed() >= FRESH {
                        if matches!(self.settle, Settle::Unknowable) {
                            return Err(error.with_task(self.task.clone()));
                        }
                        break;
                    }
                }
                Err(error) if patience.forgives(&error) => {}
                Err(error) => return Err(self.blind(error)),
            }
        }
        drop(ticket);
        self.settled(backend, last.as_ref()).await
    }

    /// The server has forgotten the task: looks at what it worked on.
    async fn settled<B: Batch + ?Sized>(&self, backend: &B, last: Option<&TaskInfo>) -> Result<TaskInfo> {
        let settle = self.settle.or_from(last);
        let mut patience = Patience::default();
        for pause in backoff(self.options) {
            match settle.look(backend).await {
                Ok(Verdict::Done) => {
                    let seen =
                        last.cloned().unwrap_or_else(|| TaskInfo::new(self.task, TaskState::Succeeded));
                    return Ok(TaskInfo { state: TaskState::Succeeded, ..seen });
                }
                Ok(Verdict::NotDone(why)) => {
                    let why = format!("the server has forgotten the task, and {why}");
                    return Err(self.named(Error::new(ErrorKind::TaskFailed, why), last));
                }
                Ok(Verdict::Unknown) => break,
                Ok(Verdict::Busy) => patience.restore(),
                Err(error) if patience.forgives(&error) => {}
                Err(error) => return Err(self.blind(error)),
            }
            tokio::time::sleep(pause).await;
        }
        let why = "the server has forgotten the task, and nothing shows how it ended";
        let error = Error::new(ErrorKind::Backend, why).with_effect(Effect::Unknown);
        Err(self.named(error.with_hint("look at the object before acting again"), last))
    }

    fn named(&self, error: Error, info: Option<&TaskInfo>) -> Error {
        let error = error.with_task(self.task.clone());
        info.and_then(|info| info.operation).into_iter().fold(error, Error::with_operation)
    }

    /// The looks fail; the task is not to blame.
    fn blind(&self, error: Error) -> Error {
        let error = error.with_retry(Retry::Never).with_effect(Effect::Unknown).with_task(self.task.clone());
        // The server's own advice is nearer to the cause.
        if error.hint().is_some() {
            return error;
        }
        error.with_hint("the task cannot be looked at; it may go on: wait for it again by its id")
    }

    fn timeout(&self, last: Option<&TaskInfo>) -> Error {
        let seen = last.map_or_else(|| "the task was not seen yet".to_owned(), last_seen);
        let message = format!("waited {:?}; {seen}", self.options.deadline);
        let error = Error::new(ErrorKind::Timeout, message).with_retry(Retry::Never);
        self.named(error, last).with_hint("the task goes on: wait for it again by its id, or cancel it")
    }

    async fn log_tail<B: Tasks + ?Sized>(&self, backend: &B, left: Duration) -> Vec<String> {
        let mut tail = VecDeque::new();
        let read = async {
            let (mut from, mut empty) = (0, 0);
            for _ in 0..LOG_PARTS {
                let Ok(part) = backend.get_task_log(self.task, from, LOG_PART).await else { break };
                empty = if part.lines.is_empty() { empty + 1 } else { 0 };
                for line in part.lines {
                    tail.push_back(line.text);
                    if tail.len() > self.options.log_tail {
                        tail.pop_front();
                    }
                }
                if part.complete || empty >= EMPTY_PARTS {
                    break;
                }
                if empty > 0 {
                    tokio::time::sleep(EMPTY_PAUSE).await;
                }
                from = part.next;
            }
        };
        // The reason stands in the task itself: without its log the error is still the right one.
        let _ = tokio::time::timeout(LOG_DEADLINE.min(left), Box::pin(read)).await;
        tail.into()
    }
}

fn last_seen(info: &TaskInfo) -> String {
    let progress = info.progress.map(|part| format!(" at {:.0} %", part * 100.0)).unwrap_or_default();
    let stage = info.stage.as_ref().map(|stage| format!(" ({stage})")).unwrap_or_default();
    format!("the task was last seen {}{progress}{stage}", info.state)
}
