//! Jobs: exports from a vCenter that the daemon carries out in the background.

use std::time::{Duration, SystemTime};

use hypervisor_core::model::{TaskInfo, TaskState};
use serde::Deserialize;
use serde_json::Value;

use super::definition::JobDefinition;
use super::{soft, time};
use crate::dialect::hypersdk::BACKEND;

/// How far a job is.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum JobStatus {
    /// It waits for its turn.
    Pending,
    /// It is at work.
    Running,
    /// It ended well.
    Completed,
    /// It failed.
    Failed,
    /// Somebody ended it.
    Cancelled,
    /// A word that this version does not know.
    Unknown(String),
}

impl JobStatus {
    /// Reads the daemon's word.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        match text.to_ascii_lowercase().as_str() {
            "pending" | "queued" => Self::Pending,
            "running" => Self::Running,
            "completed" => Self::Completed,
            "failed" => Self::Failed,
            "cancelled" | "canceled" => Self::Cancelled,
            _ => Self::Unknown(text.to_owned()),
        }
    }

    /// The daemon's word.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Pending => "pending",
            Self::Running => "running",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::Unknown(text) => text,
        }
    }
}

impl soft::Soft for JobStatus {
    fn read<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self::parse(&String::read(deserializer)?))
    }
}

answers! {
    /// A job.
    Job {
        must {
            /// What it does.
            definition: JobDefinition,
            /// How far it is.
            status: JobStatus,
        }
        may {
            /// How much is done.
            progress: Option<JobProgress>,
            /// What came of it.
            result: Option<JobResult>,
            /// Why it failed.
            error: String,
            /// When it began.
            started_at: Option<SystemTime>,
            /// When it ended.
            completed_at: Option<SystemTime>,
            /// When it last changed.
            updated_at: Option<SystemTime>,
        }
    }

    /// How much of a job is done.
    #[derive(Default)]
    JobProgress {
        may {
            /// `connecting`, `exporting`, …
            phase: String,
            /// The file that it is at.
            current_file: String,
            /// The step that it is at.
            current_step: String,
            /// Files that are done.
            files_downloaded: u64,
            /// Files in all.
            total_files: u64,
            /// Bytes that are done.
            bytes_downloaded: u64,
            /// Bytes in all.
            total_bytes: u64,
            /// How much is done, 0 to 100.
            percent_complete: f64,
            /// How long it may still take, as Go prints it.
            estimated_remaining: String,
            /// How it is exported.
            export_method: String,
        }
    }

    /// What came of a job.
    #[derive(Default)]
    JobResult {
        may {
            /// The directory that it was written to, on the daemon's host.
            output_dir: String,
            /// The definition that was written there.
            ovf_path: String,
            /// The files.
            files: Vec<String>,
            /// Their size in bytes.
            total_size: u64,
            /// How long it took, in nanoseconds.
            duration: u64,
        }
    }

    /// What became of jobs that were submitted.
    Submitted {
        may {
            /// The ids of those that were taken.
            job_ids: Vec<String>,
            /// How many were taken.
            accepted: u64,
            /// How many were not.
            rejected: u64,
            /// Why they were not.
            errors: Vec<String>,
        }
    }

    /// What became of jobs that were to be cancelled. The status of the answer is 200 even where none was.
    Cancelled {
        may {
            /// Those that were.
            cancelled: Vec<String>,
            /// Those that were not.
            failed: Vec<String>,
            /// Why not, by id.
            errors: Reasons,
        }
    }

    /// How long a job may still take.
    JobEta {
        may {
            /// The job.
            job_id: String,
            /// How far it is.
            status: String,
            /// What the daemon makes of it, as it comes.
            eta: Value,
        }
    }

    /// A job's log.
    JobLog {
        may {
            /// The job.
            job_id: String,
            /// The lines, oldest first.
            logs: Vec<JobLogLine>,
        }
    }

    /// A line of a job's log.
    JobLogLine {
        may {
            /// When it was written.
            timestamp: Option<SystemTime>,
            /// `info`, `warn` or `error`.
            level: String,
            /// The text.
            message: String,
            /// What went wrong.
            error: String,
        }
    }
}

/// Why jobs were not cancelled, by their ids.
pub type Reasons = std::collections::BTreeMap<String, String>;

impl soft::Soft for Reasons {
    fn read<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(<Option<Self> as Deserialize>::deserialize(deserializer)?.unwrap_or_default())
    }
}

macro_rules! whole {
    ($($type:ty),*) => { $(
        impl soft::Soft for $type {
            fn read<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                <Self as Deserialize>::deserialize(deserializer)
            }
        }
    )* };
}

whole!(JobDefinition, Option<JobProgress>, Option<JobResult>);

impl JobResult {
    /// How long it took.
    #[must_use]
    pub fn took(&self) -> Duration {
        Duration::from_nanos(self.duration)
    }
}

impl JobProgress {
    /// How long it may still take.
    #[must_use]
    pub fn remaining(&self) -> Option<Duration> {
        time::duration(&self.estimated_remaining)
    }
}

impl JobLogLine {
    pub(crate) fn text(&self) -> String {
        if self.error.is_empty() { self.message.clone() } else { format!("{}: {}", self.message, self.error) }
    }
}

impl Job {
    /// As a task. A status that is not known is that of a job at work until it has an end.
    pub(crate) fn task(self) -> TaskInfo {
        let state = match &self.status {
            JobStatus::Pending => TaskState::Queued,
            JobStatus::Running => TaskState::Running,
            JobStatus::Completed => TaskState::Succeeded,
            JobStatus::Failed => TaskState::Failed,
            JobStatus::Cancelled => TaskState::Cancelled,
            JobStatus::Unknown(_) if self.completed_at.is_none() => TaskState::Running,
            JobStatus::Unknown(_) if self.error.is_empty() => TaskState::Succeeded,
            JobStatus::Unknown(_) => TaskState::Failed,
        };
        let mut task = TaskInfo::new(self.definition.id.as_str(), state).can_cancel(!state.is_final());
        task.started = self.started_at;
        task.ended = self.completed_at;
        if !self.error.is_empty() {
            task.error = Some(self.error);
        }
        if let Some(progress) = self.progress {
            task.progress = Some((progress.percent_complete / 100.0).clamp(0.0, 1.0));
            task.stage = (!progress.phase.is_empty()).then_some(progress.phase);
        }
        if let JobStatus::Unknown(word) = self.status {
            task.stage = Some(word);
        }
        for (key, value) in [("name", self.definition.name), ("vm_path", self.definition.vm_path)] {
            if !value.is_empty() {
                task.extra.insert(BACKEND, key, value);
            }
        }
        task
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(status: &str, more: Value) -> TaskInfo {
        let mut json =
            serde_json::json!({"definition": {"id": "j", "vm_path": "/DC/vm/a"}, "status": status});
        json.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        serde_json::from_value::<Job>(json).unwrap().task()
    }

    #[test]
    fn an_unknown_status_ends_when_the_job_has_an_end() {
        assert_eq!(job("pausing", serde_json::json!({})).state, TaskState::Running);
        let ended = serde_json::json!({"completed_at": "2026-11-20T17:51:32Z"});
        assert_eq!(job("archived", ended).state, TaskState::Succeeded);
        let failed = serde_json::json!({"completed_at": "2026-11-20T17:51:32Z", "error": "no"});
        assert_eq!(job("archived", failed).state, TaskState::Failed);
    }

    #[test]
    fn progress_is_a_fraction() {
        let running =
            job("running", serde_json::json!({"progress": {"percent_complete": 250, "phase": "exporting"}}));
        assert_eq!((running.progress, running.stage.as_deref()), (Some(1.0), Some("exporting")));
        assert!(running.can_cancel);
    }

    #[test]
    fn the_password_that_the_daemon_repeats_stays_out_of_debug() {
        let json = serde_json::json!({
            "definition": {"id": "j", "vcenter": {"server": "v", "username": "u", "password": "hunter2"}},
            "status": "failed"
        });
        let job: Job = serde_json::from_value(json).unwrap();
        assert!(!format!("{job:?}").contains("hunter2"));
        let sent = serde_json::to_value(&job.definition).unwrap();
        assert_eq!(sent["vcenter"]["password"], "hunter2");
        assert!(!format!("{:?}", job.task()).contains("hunter2"));
    }
}
