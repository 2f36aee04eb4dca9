//! A task's progress and log as streams.

use std::collections::VecDeque;
use std::time::Duration;

use backon::ExponentialBackoff;
use futures::stream::{self, BoxStream};
use futures::{FutureExt, StreamExt};
use tokio::time::Instant;

use super::link::Link;
use super::turnstile::{Ticket, Turnstile, backoff};
use super::wait::{EMPTY_PARTS, EMPTY_PAUSE, FRESH, Patience, WaitOptions};
use crate::error::{Error, ErrorKind, Result, Retry};
use crate::model::{TaskId, TaskInfo, TaskLogLine, TaskState};
use crate::operation::Operation;
use crate::traits::Hypervisor;

/// A held look would hide the progress.
const PROGRESS_HOLD: Duration = Duration::from_secs(1);
const LOG_PART: u32 = 500;

struct Progress {
    ticket: Ticket,
    link: Link,
    last: Option<TaskInfo>,
    patience: Patience,
    began: Instant,
    until: Option<Instant>,
    ended: bool,
}

pub(super) fn progress(
    link: &Link,
    task: Option<&TaskId>,
    options: &WaitOptions,
) -> BoxStream<'static, Result<TaskInfo>> {
    let Some(task) = task else { return stream::empty().boxed() };
    let options = options.clone().hold(PROGRESS_HOLD.min(options.hold));
    let ticket = Turnstile::shared(&link.hv).enter(task, None, &options);
    let began = Instant::now();
    let until = began.checked_add(options.deadline);
    let (link, patience) = (link.clone(), Patience::default());
    let state = Progress { ticket, link, last: None, patience, began, until, ended: false };
    stream::unfold(state, |mut state| async move { state.next().await.map(|item| (item, state)) }.boxed())
        .boxed()
}

impl Progress {
    async fn next(&mut self) -> Option<Result<TaskInfo>> {
        while !self.ended {
            let look = self.ticket.next(&*self.link.hv);
            match by(self.until, look).await {
                Ok(info) => {
                    self.patience.restore();
                    self.ended = info.state.is_final();
                    if self.last.as_ref() != Some(&info) {
                        self.last = Some(info.clone());
                        return Some(Ok(info));
                    }
                }
                Err(error) if self.forgives(&error) => {
                    if self.until.is_some_and(|until| Instant::now() >= until) {
                        self.ended = true;
                        return Some(Err(self.link.name(Operation::GetTask, error)));
                    }
                }
                Err(error) => {
                    self.ended = true;
                    return Some(Err(self.link.name(Operation::GetTask, error)));
                }
            }
        }
        None
    }

    fn forgives(&mut self, error: &Error) -> bool {
        let early = self.last.is_none() && is_early(error, self.began);
        error.kind() != ErrorKind::Cancelled && (early || self.patience.forgives(error))
    }
}

/// The task may not be visible yet.
fn is_early(error: &Error, began: Instant) -> bool {
    error.is_not_found() && began.elapsed() < FRESH
}

/// The result, or a `Timeout` once the time is over.
async fn by<T>(until: Option<Instant>, work: impl Future<Output = Result<T>> + Send) -> Result<T> {
    let Some(until) = until else { return work.await };
    let over = || Error::new(ErrorKind::Timeout, "the task is still going on").with_retry(Retry::Never);
    tokio::time::timeout_at(until, work).await.unwrap_or_else(|_| Err(over()))
}

struct Log {
    link: Link,
    task: TaskId,
    from: u64,
    lines: VecDeque<TaskLogLine>,
    patience: Patience,
    options: WaitOptions,
    pauses: ExponentialBackoff,
    began: Instant,
    until: Option<Instant>,
    /// The task has ended, and no line has come so many times since.
    drained: Option<u32>,
    ended: bool,
}

pub(super) fn log(
    link: &Link,
    task: Option<&TaskId>,
    options: &WaitOptions,
) -> BoxStream<'static, Result<TaskLogLine>> {
    let Some(task) = task else { return stream::empty().boxed() };
    let began = Instant::now();
    let state = Log {
        link: link.clone(),
        task: task.clone(),
        from: 0,
        lines: VecDeque::new(),
        patience: Patience::default(),
        options: options.clone(),
        pauses: backoff(options),
        began,
        until: began.checked_add(options.deadline),
        drained: None,
        ended: false,
    };
    stream::unfold(state, |mut state| async move { state.next().await.map(|item| (item, state)) }.boxed())
        .boxed()
}

impl Log {
    async fn next(&mut self) -> Option<Result<TaskLogLine>> {
        loop {
            if let Some(line) = self.lines.pop_front() {
                return Some(Ok(line));
            }
            if self.ended {
                return None;
            }
            let until = self.until;
            match by(until, Box::pin(self.read())).await {
                Ok(()) => self.patience.restore(),
                Err(error) => {
                    let over = self.until.is_some_and(|until| Instant::now() >= until);
                    let early = self.from == 0 && is_early(&error, self.began);
                    if over || !(early || self.patience.forgives(&error)) {
                        self.ended = true;
                        return Some(Err(self.link.name(Operation::GetTaskLog, error)));
                    }
                    self.pause().await;
                }
            }
        }
    }

    /// Reads the next part; where there is none yet, finds out whether one will come.
    async fn read(&mut self) -> Result<()> {
        self.link.check(Operation::GetTaskLog, &[])?;
        let part = self.link.hv.get_task_log(&self.task, self.from, LOG_PART).await?;
        self.ended = part.complete;
        if !part.lines.is_empty() {
            self.from = part.next;
            self.lines = part.lines.into();
            self.pauses = backoff(&self.options);
        } else if !part.complete {
            match self.drained {
                Some(times) if times >= EMPTY_PARTS => self.ended = true,
                Some(times) => {
                    self.drained = Some(times + 1);
                    tokio::time::sleep(EMPTY_PAUSE).await;
                }
                None if is_final(&*self.link.hv, &self.task).await? => self.drained = Some(0),
                None => self.pause().await,
            }
        }
        Ok(())
    }

    async fn pause(&mut self) {
        let pause = self.pauses.next().unwrap_or(self.options.longest_pause);
        tokio::time::sleep(pause).await;
    }
}

async fn is_final(hypervisor: &dyn Hypervisor, task: &TaskId) -> Result<bool> {
    let state: TaskState = hypervisor.get_task(task, None).await?.state;
    Ok(state.is_final())
}
