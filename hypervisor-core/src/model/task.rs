//! Long-running work as plain data.

use std::collections::BTreeSet;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use super::extra::Extra;
use super::id::{HostId, TaskId, VmId};
use super::macros::{known_or, named_enum, setters};
use crate::error::{Effect, ErrorKind};
use crate::operation::Operation;

/// What a mutating call returns: its output, and the task that is still at work on it.
///
/// Plain data, so that a program can store it and another can wait for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
#[must_use = "a task may still be running; wait for it or store its id"]
pub struct Started<T> {
    /// What the call made or changed. Usable once the task has succeeded.
    pub output: T,
    /// The task at work; `None` means that all is done.
    pub task: Option<TaskId>,
}

impl<T> Started<T> {
    /// All is done.
    pub fn done(output: T) -> Self {
        Self { output, task: None }
    }

    /// A task is at work.
    pub fn running(output: T, task: impl Into<TaskId>) -> Self {
        Self { output, task: Some(task.into()) }
    }

    /// The same task with another output.
    pub fn map<U>(self, f: impl FnOnce(T) -> U) -> Started<U> {
        Started { output: f(self.output), task: self.task }
    }
}

named_enum! {
    /// How far a task is.
    TaskState {
        /// It waits for its turn.
        Queued = "queued",
        /// It is at work.
        Running = "running",
        /// It ended well; [`TaskInfo::warnings`] may still say something.
        Succeeded = "succeeded",
        /// It ended badly; [`TaskInfo::error`] says why.
        Failed = "failed",
        /// Somebody ended it.
        Cancelled = "cancelled",
        /// The server has forgotten it: look at the resource to find out.
        Forgotten = "forgotten",
    }
}

/// A state that only a newer server knows is taken for one that has not ended: whoever waits goes on, until a deadline says so.
fn known_state<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<TaskState, D::Error> {
    known_or(deserializer, TaskState::Running)
}

impl TaskState {
    /// Whether it will not change any more.
    #[must_use]
    pub const fn is_final(self) -> bool {
        !matches!(self, Self::Queued | Self::Running)
    }
}

/// A task as the backend sees it now.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct TaskInfo {
    /// Its id.
    pub id: TaskId,
    /// How far it is.
    #[serde(deserialize_with = "known_state")]
    pub state: TaskState,
    /// The operation that it carries out, where that can be told.
    #[serde(default, deserialize_with = "crate::operation::if_known")]
    pub operation: Option<Operation>,
    /// The guest that it works on.
    #[serde(default)]
    pub vm: Option<VmId>,
    /// The host that it runs on.
    #[serde(default)]
    pub host: Option<HostId>,
    /// From 0.0 to 1.0, where the backend tells.
    #[serde(default)]
    pub progress: Option<f64>,
    /// What it is doing now, in the backend's words.
    #[serde(default)]
    pub stage: Option<String>,
    /// Why it failed, in the backend's words.
    #[serde(default)]
    pub error: Option<String>,
    /// What sort of failure that is, where the driver can tell; without it [`TaskFailed`](crate::ErrorKind::TaskFailed).
    #[serde(default, deserialize_with = "crate::error::wire::kind_if_known")]
    pub error_kind: Option<ErrorKind>,
    /// What is known of the effect of work that has failed, where the driver can tell: of several steps, the first may have been done.
    #[serde(default, deserialize_with = "crate::error::wire::effect_if_known")]
    #[cfg_attr(feature = "schema", schemars(with = "Option<String>"))]
    pub effect: Option<Effect>,
    /// What it warned of. A task with warnings has succeeded.
    #[serde(default)]
    pub warnings: Vec<String>,
    /// The id of what it made, where only its end tells (a backup's, for example).
    #[serde(default)]
    pub made: Option<String>,
    /// Who started it.
    #[serde(default)]
    pub user: Option<String>,
    /// When it started.
    #[serde(default)]
    pub started: Option<SystemTime>,
    /// When it ended.
    #[serde(default)]
    pub ended: Option<SystemTime>,
    /// Whether [`cancel_task`](crate::traits::Tasks::cancel_task) can end it.
    #[serde(default)]
    pub can_cancel: bool,
    /// What the backend says beyond this.
    #[serde(default)]
    pub extra: Extra,
}

impl TaskInfo {
    /// A task in this state of which nothing else is known.
    pub fn new(id: impl Into<TaskId>, state: TaskState) -> Self {
        Self {
            id: id.into(),
            state,
            operation: None,
            vm: None,
            host: None,
            progress: None,
            stage: None,
            error: None,
            error_kind: None,
            effect: None,
            warnings: Vec::new(),
            made: None,
            user: None,
            started: None,
            ended: None,
            can_cancel: false,
            extra: Extra::default(),
        }
    }

    setters! {
        opt operation: Operation; opt_into vm: VmId; opt_into host: HostId; opt progress: f64; opt_into stage: String;
        opt_into error: String; opt error_kind: ErrorKind; opt effect: Effect; val warnings: Vec<String>; opt_into made: String; opt_into user: String;
        opt started: SystemTime; opt ended: SystemTime; val can_cancel: bool; val extra: Extra;
    }
}

/// Which tasks are wanted; empty means all.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
#[non_exhaustive]
pub struct TaskQuery {
    /// Of this guest.
    pub vm: Option<VmId>,
    /// On this host.
    pub host: Option<HostId>,
    /// In this state.
    pub state: Option<TaskState>,
    /// Of this operation.
    pub operation: Option<Operation>,
    /// One of these. So that a driver which looks for many at once need not read all that the server remembers; it stays in the process,
    /// and a gateway is asked for all.
    #[serde(skip)]
    pub ids: BTreeSet<TaskId>,
}

impl TaskQuery {
    /// All tasks.
    #[must_use]
    pub fn all() -> Self {
        Self::default()
    }

    setters! { opt_into vm: VmId; opt_into host: HostId; opt state: TaskState; opt operation: Operation; }

    /// One of these tasks.
    #[must_use]
    pub fn ids(mut self, ids: impl IntoIterator<Item = TaskId>) -> Self {
        self.ids = ids.into_iter().collect();
        self
    }

    /// Whether the query wants this task, for backends that cannot filter.
    #[must_use]
    pub fn matches(&self, task: &TaskInfo) -> bool {
        fn fits<T: PartialEq>(wanted: Option<&T>, found: Option<&T>) -> bool {
            wanted.is_none_or(|wanted| found == Some(wanted))
        }
        fits(self.vm.as_ref(), task.vm.as_ref())
            && fits(self.host.as_ref(), task.host.as_ref())
            && fits(self.state.as_ref(), Some(&task.state))
            && fits(self.operation.as_ref(), task.operation.as_ref())
            && (self.ids.is_empty() || self.ids.contains(&task.id))
    }
}

/// A part of a task's log.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct TaskLog {
    /// The lines, oldest first.
    pub lines: Vec<TaskLogLine>,
    /// Where the next part starts.
    pub next: u64,
    /// Whether nothing will follow: the task has ended and this part reaches its end.
    pub complete: bool,
}

impl TaskLog {
    /// A part of a log.
    #[must_use]
    pub fn new(lines: Vec<TaskLogLine>, next: u64, complete: bool) -> Self {
        Self { lines, next, complete }
    }
}

/// One line of a task's log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct TaskLogLine {
    /// Its number, counted from 0.
    pub number: u64,
    /// When it was written, where the backend tells.
    #[serde(default)]
    pub time: Option<SystemTime>,
    /// The text.
    pub text: String,
}

impl TaskLogLine {
    /// A line without a time.
    pub fn new(number: u64, text: impl Into<String>) -> Self {
        Self { number, time: None, text: text.into() }
    }

    setters! { opt time: SystemTime; }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_of_an_operation_that_a_newer_server_has_can_still_be_read() {
        let json = r#"{"id":"t","state":"running","operation":"teleport_vm","error_kind":"haunted","effect":"spooky"}"#;
        assert_eq!(serde_json::from_str::<TaskInfo>(json).unwrap(), TaskInfo::new("t", TaskState::Running));
        let newer = r#"{"id":"t","state":"hovering"}"#;
        assert_eq!(serde_json::from_str::<TaskInfo>(newer).unwrap(), TaskInfo::new("t", TaskState::Running));
    }
}
