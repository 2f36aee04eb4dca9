use std::time::Duration;

use async_trait::async_trait;

use super::unsupported;
use crate::error::Result;
use crate::model::{Page, PageRequest, TaskId, TaskInfo, TaskLog, TaskQuery};
use crate::operation::Operation;

/// Long-running work.
#[async_trait]
pub trait Tasks: Send + Sync {
    /// Reads a task. A backend that can be told to wait for a change waits up to `hold`; the others answer at once.
    ///
    /// Needs [`Operation::GetTask`]; a read: repeated where its answer is lost. Proxmox: a UPID, which any process can ask for.
    /// libvirt: a task of the driver, as long as the connection.
    ///
    /// # Errors
    /// `NotFound` for an id that the backend has never given, or [`TaskState::Forgotten`](crate::model::TaskState::Forgotten) where it
    /// cannot tell these from tasks that it has forgotten. An error says nothing about the task itself.
    async fn get_task(&self, task: &TaskId, hold: Option<Duration>) -> Result<TaskInfo>;

    /// Lists the tasks that the query wants, as far back as the backend remembers.
    ///
    /// Needs [`Operation::ListTasks`]; a read: repeated where its answer is lost. libvirt: those of this connection.
    ///
    /// # Errors
    /// As the backend gives them.
    async fn list_tasks(&self, query: &TaskQuery, page: &PageRequest) -> Result<Page<TaskInfo>> {
        let _ = (query, page);
        unsupported(Operation::ListTasks)
    }

    /// Reads a part of a task's log: at most `limit` lines, from the line numbered `from`.
    ///
    /// Needs [`Operation::GetTaskLog`]; a read: repeated where its answer is lost.
    ///
    /// # Errors
    /// `NotFound` for the task.
    async fn get_task_log(&self, task: &TaskId, from: u64, limit: u32) -> Result<TaskLog> {
        let _ = (task, from, limit);
        unsupported(Operation::GetTaskLog)
    }

    /// Asks a task to end. It may still end well; look at its state.
    ///
    /// Needs [`Operation::CancelTask`]; twice is the same as once: repeated where its answer is lost.
    ///
    /// # Errors
    /// `InvalidState` for a task that has ended or cannot be cancelled.
    async fn cancel_task(&self, task: &TaskId) -> Result<()> {
        let _ = task;
        unsupported(Operation::CancelTask)
    }
}
