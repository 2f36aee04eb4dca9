//! Tasks: their status, their lists and their logs.

use hypervisor_core::Result;
use hypervisor_core::model::{TaskId, TaskInfo, TaskLog, TaskLogLine, TaskState};

use super::scalar::row;
use super::status::extra_of;
use super::storage::time;
use crate::upid::{Upid, guest_of, operation_of};

row! {
    /// The answer of `/nodes/{node}/tasks/{upid}/status`, or a row of a list of tasks.
    TaskRow {
        /// Its id.
        upid: String = "upid",
        /// Its node.
        node: String = "node",
        /// Its type.
        kind: String = "type",
        /// What it works on.
        id: String = "id",
        /// Who started it, in lists of running tasks with the token.
        user: String = "user",
        /// The API token by which it was started.
        tokenid: String = "tokenid",
        /// `running` or `stopped`; in lists how it ended, or `RUNNING`.
        status: String = "status",
        /// How it ended.
        exitstatus: String = "exitstatus",
        /// When it started, in seconds since 1970.
        starttime: u64 = "starttime",
        /// When it ended.
        endtime: u64 = "endtime",
        /// The number of the worker process.
        pid: u64 = "pid",
        /// When the worker process started.
        pstart: u64 = "pstart",
        /// Whether the list is on disk.
        saved: bool = "saved",
    }
}

/// How a task ended.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Exit {
    /// `OK`.
    Ok,
    /// `WARNINGS: n`: it did what it should, and its log has so many lines that begin with `WARN:`.
    Warnings(u64),
    /// Somebody stopped it.
    Interrupted,
    /// The worker ended without a word. The server says this, too, for a moment between the end and the last line of
    /// the log: read it again before believing it.
    Unexpected,
    /// It failed, and why.
    Failed(String),
}

impl Exit {
    /// Reads an exit text.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        match text.trim() {
            "OK" => Self::Ok,
            "received interrupt" => Self::Interrupted,
            "unexpected status" | "" => Self::Unexpected,
            other => match other.strip_prefix("WARNINGS:") {
                Some(count) => Self::Warnings(count.trim().parse().unwrap_or(1)),
                None => Self::Failed(other.to_owned()),
            },
        }
    }

    /// As the model has it.
    #[must_use]
    pub fn state(&self) -> TaskState {
        match self {
            Self::Ok | Self::Warnings(_) => TaskState::Succeeded,
            Self::Interrupted => TaskState::Cancelled,
            Self::Unexpected | Self::Failed(_) => TaskState::Failed,
        }
    }
}

impl TaskRow {
    /// How it ended; `None` while it runs.
    #[must_use]
    pub fn exit(&self) -> Option<Exit> {
        match (self.exitstatus.as_deref(), self.status.as_deref()) {
            (Some(exit), _) => Some(Exit::parse(exit)),
            // A task that has just ended may not have its exit text yet.
            (None, Some("stopped")) => Some(Exit::Unexpected),
            (None, None | Some("running" | "RUNNING")) => None,
            (None, Some(exit)) => Some(Exit::parse(exit)),
        }
    }

    /// As the model has it. `None` for a row without an id.
    #[must_use]
    pub fn into_info(self) -> Option<TaskInfo> {
        let exit = self.exit();
        let text = self.upid?;
        let upid = text.parse::<Upid>().ok();
        let kind = self.kind.or_else(|| upid.as_ref().map(|upid| upid.kind().to_owned())).unwrap_or_default();
        let subject = self.id.or_else(|| upid.as_ref().and_then(Upid::subject)).unwrap_or_default();
        let mut task =
            TaskInfo::new(TaskId::from(text), exit.as_ref().map_or(TaskState::Running, Exit::state));
        task.operation = operation_of(&kind);
        task.vm = guest_of(&kind, &subject);
        task.host = self.node.or_else(|| upid.as_ref().map(|upid| upid.node().to_owned())).map(Into::into);
        task.user = match (self.user, self.tokenid) {
            (Some(user), Some(token)) if !user.contains('!') => Some(format!("{user}!{token}")),
            (user, _) => user.or_else(|| upid.as_ref().map(Upid::owner)),
        };
        task.started = self.starttime.map(time).or_else(|| upid.as_ref().map(Upid::started));
        task.ended = self.endtime.map(time);
        task.can_cancel = exit.is_none();
        match exit {
            Some(Exit::Warnings(count)) => {
                task.warnings = vec![format!("the task's log has {count} warnings")]
            }
            Some(Exit::Failed(why)) => task.error = Some(why),
            Some(Exit::Unexpected) => task.error = Some("unexpected status".to_owned()),
            Some(Exit::Interrupted) => task.error = Some("received interrupt".to_owned()),
            _ => {}
        }
        task.extra = extra_of(self.rest);
        task.extra.insert(crate::BACKEND, "type", kind);
        task.extra.insert(crate::BACKEND, "id", subject);
        Some(task)
    }
}

/// The task of `/nodes/{node}/tasks/{upid}/status`.
///
/// # Errors
/// `Protocol` where the answer is no such object.
pub fn task(body: &[u8]) -> Result<TaskInfo> {
    let row: TaskRow = super::envelope::data(body)?;
    row.into_info().ok_or_else(|| {
        let why = "the answer has no upid";
        hypervisor_core::Error::new(hypervisor_core::ErrorKind::Protocol, why).with_backend(crate::BACKEND)
    })
}

/// The tasks of `/nodes/{node}/tasks` or `/cluster/tasks`, and how many there are in all.
///
/// # Errors
/// `Protocol` where the answer is no such list.
pub fn tasks(body: &[u8]) -> Result<(Vec<TaskInfo>, Option<u64>)> {
    let answer: super::envelope::Answer<Vec<TaskRow>> = super::envelope::answer(body)?;
    Ok((answer.data.into_iter().filter_map(TaskRow::into_info).collect(), answer.total))
}

row! {
    /// A line of a log.
    LogRow {
        /// Its number, counted from 1.
        n: u64 = "n",
        /// The text.
        t: String = "t",
    }
}

/// A part of a task's log, asked for from line `start`, counted from 0. `ended` says whether the task has.
///
/// # Errors
/// `NotFound` where the server does not know the log, which it says with status 200; `Protocol` where the answer is no log.
pub fn log(body: &[u8], start: u64, ended: bool) -> Result<TaskLog> {
    let answer: super::envelope::Answer<Vec<LogRow>> = super::envelope::answer(body)?;
    let lines: Vec<TaskLogLine> = answer
        .data
        .into_iter()
        .filter_map(|row| Some(TaskLogLine::new(row.n?.saturating_sub(1), row.t.unwrap_or_default())))
        .collect();
    match lines.as_slice() {
        [only] if only.text.starts_with("unable to open file - ") => {
            return Err(super::error::task_failure(&only.text).with_backend(crate::BACKEND));
        }
        // What the server says of an empty log.
        [only] if only.text == "no content" => return Ok(TaskLog::new(Vec::new(), start, ended)),
        _ => {}
    }
    let next = lines.last().map_or(start, |last| last.number.saturating_add(1));
    let complete = ended && answer.total.is_none_or(|total| next >= total);
    Ok(TaskLog::new(lines, next, complete))
}

/// The warnings in a log.
#[must_use]
pub fn warnings(log: &TaskLog) -> Vec<String> {
    let texts = log.lines.iter().map(|line| line.text.as_str());
    texts.filter_map(|text| text.strip_prefix("WARN:")).map(|text| text.trim().to_owned()).collect()
}

/// The lines of a backup's log that say why it failed; the task itself says only `job errors`.
#[must_use]
pub fn job_errors(log: &TaskLog) -> Vec<String> {
    let texts = log.lines.iter().map(|line| line.text.as_str());
    let errors = texts.filter_map(|text| text.strip_prefix("ERROR:")).map(str::trim);
    errors.filter(|text| text.starts_with("Backup of VM")).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use hypervisor_core::{ErrorKind, Operation};

    #[test]
    fn every_end_of_a_task_is_told_apart() {
        assert_eq!(Exit::parse("OK"), Exit::Ok);
        assert_eq!(Exit::parse("WARNINGS: 3"), Exit::Warnings(3));
        assert_eq!(Exit::parse("received interrupt"), Exit::Interrupted);
        assert_eq!(Exit::parse("unexpected status"), Exit::Unexpected);
        assert_eq!(Exit::parse("VM 1 already running\n"), Exit::Failed("VM 1 already running".into()));
        let state = |text: &str| task(text.as_bytes()).unwrap().state;
        let upid = "UPID:pve1:00000DF9:00064992:6B009364:qmstart:101:root@pam!lab:";
        assert_eq!(state(&format!(r#"{{"upid":"{upid}","status":"running"}}"#)), TaskState::Running);
        assert_eq!(
            state(&format!(r#"{{"upid":"{upid}","status":"stopped","exitstatus":"WARNINGS: 1"}}"#)),
            TaskState::Succeeded
        );
        assert_eq!(
            state(&format!(r#"{{"upid":"{upid}","status":"stopped","exitstatus":"received interrupt"}}"#)),
            TaskState::Cancelled
        );
        assert_eq!(state(&format!(r#"{{"upid":"{upid}","status":"stopped"}}"#)), TaskState::Failed);
    }

    #[test]
    fn what_a_row_leaves_out_the_upid_tells() {
        let row = r#"[{"upid":"UPID:pve1:0000046B:00039A63:6B008C85:qmshutdown:100:root@pam!lab:","user":"root@pam!lab","status":"RUNNING","saved":"0"}]"#;
        let (tasks, total) = tasks(row.as_bytes()).unwrap();
        let [task] = tasks.as_slice() else { panic!() };
        assert_eq!((task.operation, total), (Some(Operation::ShutdownVm), None));
        assert_eq!(
            (task.vm.as_ref().unwrap().as_str(), task.host.as_ref().unwrap().as_str()),
            ("100", "pve1")
        );
        assert_eq!((task.user.as_deref(), task.can_cancel), (Some("root@pam!lab"), true));
        assert_eq!(task.started, Some(time(0x6B00_8C85)));
    }

    #[test]
    fn a_log_is_paged_by_its_numbers() {
        let part =
            log(br#"{"total":3,"data":[{"n":1,"t":"WARN: odd"},{"t":"two","n":2}]}"#, 0, true).unwrap();
        assert_eq!((part.next, part.complete, part.lines[1].number), (2, false, 1));
        assert_eq!(warnings(&part), ["odd"]);
        let end = log(br#"{"total":2,"data":[]}"#, 2, true).unwrap();
        assert_eq!((end.next, end.complete), (2, true));
        assert!(log(br#"{"data":[{"n":1,"t":"no content"}]}"#, 0, false).unwrap().lines.is_empty());
        let gone = log(
            br#"{"total":1,"data":[{"n":1,"t":"unable to open file - No such file or directory"}]}"#,
            0,
            true,
        );
        assert_eq!(gone.unwrap_err().kind(), ErrorKind::NotFound);
    }
}
