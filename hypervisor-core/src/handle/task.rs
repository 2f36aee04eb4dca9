use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use futures::stream::BoxStream;

use super::follow;
use super::link::Link;
use super::settle::Settle;
use super::turnstile::Turnstile;
use super::wait::{Wait, WaitOptions};
use crate::error::{Error, ErrorKind, Result};
use crate::model::{BackupId, Started, TaskId, TaskInfo, TaskLogLine};
use crate::operation::Operation;
use crate::traits::Hypervisor;

/// Work that a call has started, and what it makes.
///
/// Dropping a `Task`, or a wait for it, never cancels the work; only [`cancel`](Self::cancel) does. `.await` on the task itself is
/// [`wait`](Self::wait). All waits on one connection share their looks at the server, so that waiting for a hundred tasks costs about as
/// many requests as waiting for one.
///
/// ```
/// # use std::sync::Arc;
/// use std::time::Duration;
/// use futures::TryStreamExt;
/// use hypervisor_core::memory::Memory;
/// use hypervisor_core::model::{CloneSpec, Started, VmId, VmSpec};
/// use hypervisor_core::{ErrorKind, Hypervisor};
/// # tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap().block_on(async {
/// let hv: Arc<dyn Hypervisor> = Arc::new(Memory::builder().task_time(Duration::from_secs(60)).build());
/// // Two awaits: the call, and the work that it has started.
/// let golden = hv.vms().create(&VmSpec::new("golden")).await?.await?;
/// let web_1 = golden.clone_as(&CloneSpec::new("web-1")).await?.await?;
///
/// // A wait that takes too long gives up; the work goes on, and its id is all that it takes to wait again.
/// let task = golden.clone_as(&CloneSpec::new("web-2")).await?.with_deadline(Duration::from_secs(5));
/// let error = task.wait().await.unwrap_err();
/// assert_eq!((error.kind(), error.task()), (ErrorKind::Timeout, task.id()));
///
/// // As plain data it can be stored, and waited for by another process.
/// let stored: Started<VmId> = task.map(VmId::from).into_started().unwrap();
/// let task = hv.resume(stored);
/// let last = task.progress().try_fold(None, async |_, info| Ok(Some(info))).await?;
/// assert!(last.unwrap().state.is_final());
/// assert_eq!(hv.vm(task.await?).info().await?.name, "web-2");
/// # Ok::<(), hypervisor_core::Error>(()) }).unwrap();
/// ```
#[must_use = "the work goes on: wait for it, or store the task's id"]
pub struct Task<T> {
    link: Link,
    id: Option<TaskId>,
    output: Made<T>,
    operation: Option<Operation>,
    settle: Settle,
    options: WaitOptions,
}

/// What a task makes: known when it starts, or only at its end.
enum Made<T> {
    Known(T),
    AtTheEnd(Arc<FromInfo<T>>),
}

type FromInfo<T> = dyn Fn(&TaskInfo) -> Option<T> + Send + Sync;

/// How a task ended well.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct TaskOutcome<T> {
    /// What the task made or changed.
    pub output: T,
    /// What it warned of. A task with warnings has succeeded.
    pub warnings: Vec<String>,
    /// The task at its end; `None` where the call itself had done everything.
    pub info: Option<TaskInfo>,
}

impl<T> Task<T> {
    pub(super) fn started(
        link: Link,
        started: Started<T>,
        operation: Option<Operation>,
        settle: Settle,
    ) -> Self {
        let Started { output, task } = started;
        Self {
            link,
            id: task,
            output: Made::Known(output),
            operation,
            settle,
            options: WaitOptions::default(),
        }
    }

    /// The task's id, to be stored and waited for later by `hypervisor.task(id)`, also in another process. `None` if all was done when the
    /// call returned.
    #[must_use]
    pub fn id(&self) -> Option<&TaskId> {
        self.id.as_ref()
    }

    /// Whether all was done when the call returned: then no wait asks the server anything.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.id.is_none()
    }

    /// What the task makes or changes; usable once it has succeeded. `None` where only its end tells.
    #[must_use]
    pub fn output(&self) -> Option<&T> {
        match &self.output {
            Made::Known(output) => Some(output),
            Made::AtTheEnd(_) => None,
        }
    }

    /// The same task with other waits.
    pub fn with_options(mut self, options: WaitOptions) -> Self {
        self.options = options;
        self
    }

    /// The same task, waited for no longer than this.
    pub fn with_deadline(mut self, deadline: Duration) -> Self {
        self.options.deadline = deadline;
        self
    }

    /// The same task with another output.
    pub fn map<U>(self, f: impl Fn(T) -> U + Send + Sync + 'static) -> Task<U>
    where
        T: 'static,
    {
        let output = match self.output {
            Made::Known(output) => Made::Known(f(output)),
            Made::AtTheEnd(read) => Made::AtTheEnd(Arc::new(move |info: &TaskInfo| read(info).map(&f))),
        };
        let Self { link, id, operation, settle, options, .. } = self;
        Task { link, id, output, operation, settle, options }
    }

    /// The task as plain data, for `hypervisor.resume(started)`. `None` where only its end tells what it makes: then store the
    /// [`id`](Self::id). A task that makes a handle is turned into ids first: `task.map(VmId::from).into_started()`.
    #[must_use]
    pub fn into_started(self) -> Option<Started<T>> {
        match (self.output, self.id) {
            (Made::Known(output), Some(task)) => Some(Started::running(output, task)),
            (Made::Known(output), None) => Some(Started::done(output)),
            (Made::AtTheEnd(_), _) => None,
        }
    }

    /// Lets the work go on by itself, and gives its id to store.
    pub fn detach(self) -> Option<TaskId> {
        self.id
    }

    /// The task as it goes on: one item for each change, the last one final. Empty if all was done when the call returned. An `Err` is
    /// the last item and says why the task cannot be followed; it does not say that the task has failed. A task that has failed is an `Ok`
    /// item in that state.
    #[must_use]
    pub fn progress(&self) -> BoxStream<'static, Result<TaskInfo>> {
        follow::progress(&self.link, self.id.as_ref(), &self.options)
    }

    /// The task's log from its first line, followed until the task has ended and every line was read.
    #[must_use]
    pub fn log(&self) -> BoxStream<'static, Result<TaskLogLine>> {
        follow::log(&self.link, self.id.as_ref(), &self.options)
    }
}

impl<T: Send + Sync> Task<T> {
    /// Looks at the task once. `None` if all was done when the call returned.
    ///
    /// # Errors
    /// Why the look failed; it says nothing about the task.
    pub async fn info(&self) -> Result<Option<TaskInfo>> {
        let Some(id) = &self.id else { return Ok(None) };
        self.link.call(Operation::GetTask, &[], self.link.hv.get_task(id, None)).await.map(Some)
    }

    /// Asks the task to end. It may still end well: wait for it to find out.
    ///
    /// # Errors
    /// `InvalidState` if it has ended or cannot be cancelled.
    pub async fn cancel(&self) -> Result<()> {
        let Some(id) = &self.id else {
            return Err(self
                .link
                .name(Operation::CancelTask, Error::invalid_state("it was done when the call returned")));
        };
        self.link.call(Operation::CancelTask, &[], self.link.hv.cancel_task(id)).await
    }
}

impl<T: Clone + Send + Sync> Task<T> {
    /// Waits until the task has succeeded: an hour, unless [`with_deadline`](Self::with_deadline) says otherwise.
    ///
    /// # Errors
    /// `TaskFailed` with the server's reason and the end of the log; `Cancelled`; `Timeout` with the id of the task, which goes on. An error
    /// with [`Effect::Unknown`](crate::Effect::Unknown) that is neither means that its end could not be found out.
    pub async fn wait(&self) -> Result<T> {
        Ok(self.outcome(&self.options).await?.output)
    }

    /// As [`wait`](Self::wait), in another way than the task's own.
    ///
    /// # Errors
    /// As [`wait`](Self::wait).
    pub async fn wait_with(&self, options: &WaitOptions) -> Result<T> {
        Ok(self.outcome(options).await?.output)
    }

    /// As [`wait`](Self::wait), with the warnings and the task as it ended.
    ///
    /// # Errors
    /// As [`wait`](Self::wait).
    pub async fn wait_outcome(&self) -> Result<TaskOutcome<T>> {
        self.outcome(&self.options).await
    }

    async fn outcome(&self, options: &WaitOptions) -> Result<TaskOutcome<T>> {
        let info = match &self.id {
            None => None,
            Some(task) => {
                let turnstile = Turnstile::shared(&self.link.hv);
                let kind = self.operation;
                let wait = Wait { turnstile: &turnstile, task, kind, settle: &self.settle, options };
                Some(Box::pin(wait.run(&*self.link.hv)).await.map_err(|error| self.name(error))?)
            }
        };
        let output = match (&self.output, &info) {
            (Made::Known(output), _) => Some(output.clone()),
            (Made::AtTheEnd(read), Some(info)) => read(info),
            (Made::AtTheEnd(_), None) => None,
        };
        let output = output.ok_or_else(|| {
            let why = "the task succeeded, but its end does not say what it has made";
            let error = Error::new(ErrorKind::Protocol, why).with_hint("list the objects to find it");
            self.name(self.id.iter().cloned().fold(error, Error::with_task))
        })?;
        let warnings = info.as_ref().map(|info| info.warnings.clone()).unwrap_or_default();
        Ok(TaskOutcome { output, warnings, info })
    }

    fn name(&self, error: Error) -> Error {
        self.link.target(self.operation.into_iter().fold(error, Error::with_operation))
    }
}

impl Task<BackupId> {
    /// A backup's id is known at once, or told by the end of its task.
    pub(super) fn backup(link: Link, started: Started<Option<BackupId>>) -> Self {
        let output = match started.output {
            Some(backup) => Made::Known(backup),
            None => Made::AtTheEnd(Arc::new(|info: &TaskInfo| info.made.as_deref().map(BackupId::from))),
        };
        let (operation, options) = (Some(Operation::CreateBackup), WaitOptions::default());
        Self { link, id: started.task, output, operation, settle: Settle::Unknowable, options }
    }
}

impl<T: Clone + Send + Sync + 'static> IntoFuture for Task<T> {
    type Output = Result<T>;
    type IntoFuture = BoxFuture<'static, Result<T>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move { self.wait().await })
    }
}

impl<T: fmt::Debug> fmt::Debug for Task<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Task")
            .field("id", &self.id)
            .field("operation", &self.operation)
            .field("output", &self.output())
            .field("link", &self.link)
            .finish_non_exhaustive()
    }
}

impl dyn Hypervisor {
    /// A task by its id: to wait for it, follow its log, or cancel it. Nothing is asked yet.
    pub fn task(self: &Arc<Self>, id: impl Into<TaskId>) -> Task<()> {
        self.resume(Started::running((), id))
    }

    /// A task from plain data that was stored, perhaps by another process.
    pub fn resume<T>(self: &Arc<Self>, started: Started<T>) -> Task<T> {
        let link = match &started.task {
            Some(task) => Link::to(self, TaskId::NOUN, task.as_str()),
            None => Link::new(self),
        };
        Task::started(link, started, None, Settle::Unknowable)
    }
}
