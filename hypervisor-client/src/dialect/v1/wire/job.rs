//! Jobs: long work with progress and a log.

use hypervisor_core::Operation;
use hypervisor_core::model::{TaskInfo, TaskLog, TaskLogLine, TaskState};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::lenient;
use crate::dialect::names::by_one_name;
use crate::dialect::v1::BACKEND;

/// A job. Every field but the id may be missing.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(remote = "Self")]
#[non_exhaustive]
pub struct JobRecord {
    /// Its id.
    #[serde(deserialize_with = "lenient::id")]
    pub id: String,
    /// What it does: `vm_creation`.
    #[serde(rename = "type", default)]
    pub kind: Option<String>,
    /// How far it is: `running`.
    #[serde(default)]
    pub status: Option<String>,
    /// From 0 to 100.
    #[serde(default)]
    pub progress: Option<f64>,
    /// When it began.
    #[serde(default)]
    pub started_at: Option<String>,
    /// When it should end.
    #[serde(default)]
    pub estimated_completion: Option<String>,
    /// When it ended.
    #[serde(default)]
    pub completed_at: Option<String>,
    /// The machine that it is about.
    #[serde(default, deserialize_with = "lenient::maybe_id")]
    pub vm_id: Option<String>,
    /// What it has made.
    #[serde(default)]
    pub result: Value,
    /// Why it failed: text, or an object with a message.
    #[serde(default)]
    pub error: Value,
    /// What it has written.
    #[serde(default, deserialize_with = "lenient::list")]
    pub logs: Vec<JobLine>,
    /// What else the gateway says.
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

by_one_name!(JobRecord {
    "id": "job_id";
    "completed_at": "ended_at" "finished_at";
    "vm_id": "resource_id";
});

/// A line of a job's log.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct JobLine {
    /// When it was written.
    pub timestamp: Option<String>,
    /// `info`, `warning`, `error`.
    pub level: Option<String>,
    /// The text.
    pub message: String,
}

/// What the jobs of the document, and those that are like them, carry out.
const KINDS: [(&str, Operation); 12] = [
    ("vm_creation", Operation::CreateVm),
    ("vm_update", Operation::UpdateVm),
    ("vm_deletion", Operation::DeleteVm),
    ("vm_start", Operation::StartVm),
    ("vm_restart", Operation::RebootVm),
    ("snapshot_creation", Operation::CreateSnapshot),
    ("snapshot_restore", Operation::RevertSnapshot),
    ("backup_creation", Operation::CreateBackup),
    ("backup_restore", Operation::RestoreBackup),
    ("network_creation", Operation::CreateNetwork),
    ("storage_creation", Operation::CreatePool),
    ("vm_shutdown", Operation::ShutdownVm),
];

impl JobRecord {
    /// How far it is. A status that is not known counts as running until the job has ended, and then as forgotten: what came of it has to be
    /// looked up.
    #[must_use]
    pub fn state(&self) -> TaskState {
        match self.status.as_deref().unwrap_or("running").to_ascii_lowercase().as_str() {
            "queued" | "pending" | "scheduled" => TaskState::Queued,
            "completed" | "succeeded" | "success" | "done" | "finished" => TaskState::Succeeded,
            "failed" | "error" => TaskState::Failed,
            "cancelled" | "canceled" | "aborted" => TaskState::Cancelled,
            "unknown" => TaskState::Forgotten,
            "running" | "in_progress" => TaskState::Running,
            _ if self.completed_at.is_some() => TaskState::Forgotten,
            _ => TaskState::Running,
        }
    }

    /// In the words of the SDK.
    #[must_use]
    pub fn to_info(&self) -> TaskInfo {
        let state = self.state();
        let mut info = TaskInfo::new(self.id.as_str(), state);
        let kind = self.kind.as_deref().unwrap_or_default();
        info.operation = KINDS
            .iter()
            .find(|(name, _)| *name == kind)
            .map(|(_, operation)| *operation)
            .or_else(|| kind.parse().ok());
        info.vm = self.vm_id.as_deref().map(Into::into);
        info.progress = self.progress.and_then(lenient::fraction);
        info.started = lenient::at(self.started_at.as_ref());
        info.ended = lenient::at(self.completed_at.as_ref());
        info.can_cancel = !state.is_final();
        if state == TaskState::Failed {
            info.error = Some(self.why());
        }
        if !state.is_final() {
            info.stage = self.logs.last().map(|line| line.message.clone());
        }
        let warned =
            self.logs.iter().filter(|line| matches!(line.level.as_deref(), Some("warning" | "warn")));
        info.warnings = warned.map(|line| line.message.clone()).collect();
        info.made = self.result.get("id").and_then(Value::as_str).map(str::to_owned);
        let texts = [
            ("type", &self.kind),
            ("status", &self.status),
            ("estimated_completion", &self.estimated_completion),
        ];
        for (key, value) in texts {
            if let Some(value) = value {
                info.extra.insert(BACKEND, key, value.as_str());
            }
        }
        for (key, value) in &self.rest {
            info.extra.insert(BACKEND, key, value.clone());
        }
        info
    }

    fn why(&self) -> String {
        let text = self.error.as_str().or_else(|| self.error.get("message")?.as_str());
        let last = || self.logs.iter().rev().find(|line| line.level.as_deref() == Some("error"));
        let text = text.map(str::to_owned).or_else(|| last().map(|line| line.message.clone()));
        text.unwrap_or_else(|| "the job failed; the gateway does not say why".to_owned())
    }

    /// At most `limit` lines of its log, from the one numbered `from`.
    #[must_use]
    pub fn log(&self, from: u64, limit: u32) -> TaskLog {
        let total = u64::try_from(self.logs.len()).unwrap_or(u64::MAX);
        let numbered = (0_u64..).zip(&self.logs);
        let wanted = numbered
            .skip_while(|(number, _)| *number < from)
            .take(usize::try_from(limit).unwrap_or(usize::MAX));
        let lines: Vec<TaskLogLine> = wanted
            .map(|(number, line)| {
                let mut found = TaskLogLine::new(number, line.message.as_str());
                found.time = lenient::at(line.timestamp.as_ref());
                found
            })
            .collect();
        let next = lines.last().map_or(from, |line| line.number.saturating_add(1));
        TaskLog::new(lines, next, next >= total && self.state().is_final())
    }
}
