//! Tasks are the daemon's jobs: exports from a vCenter that it carries out in the background. All else is done when its call returns.

use std::time::Duration;

use async_trait::async_trait;
use hypervisor_core::model::{Page, PageRequest, TaskId, TaskInfo, TaskLog, TaskLogLine, TaskQuery};
use hypervisor_core::traits::Tasks;
use hypervisor_core::{Error, ErrorKind, Operation as O, Result};

use super::wire::{Job, JobQuery};
use super::{HyperSdk, named};

#[async_trait]
impl Tasks for HyperSdk {
    async fn get_task(&self, task: &TaskId, _hold: Option<Duration>) -> Result<TaskInfo> {
        Ok(self.api.job(task.as_str()).await.map_err(named(O::GetTask))?.task())
    }

    async fn list_tasks(&self, query: &TaskQuery, page: &PageRequest) -> Result<Page<TaskInfo>> {
        let jobs = self.api.query_jobs(&JobQuery::all()).await.map_err(named(O::ListTasks))?;
        let tasks = jobs.into_iter().map(Job::task).filter(|task| query.matches(task)).collect();
        Ok(Page::cut(tasks, page, |task: &TaskInfo| task.id.to_string()))
    }

    /// The daemon makes the log up from the job's present state when it is asked for it: a line about its progress may change.
    async fn get_task_log(&self, task: &TaskId, from: u64, limit: u32) -> Result<TaskLog> {
        let work = async {
            // First the state, so that a log which is called complete has all lines.
            let ended = self.api.job(task.as_str()).await?.task().state.is_final();
            let lines = self.api.job_logs(task.as_str()).await?.logs;
            let total = u64::try_from(lines.len()).unwrap_or(u64::MAX);
            let skip = usize::try_from(from).unwrap_or(usize::MAX);
            let take = usize::try_from(limit).unwrap_or(usize::MAX);
            let numbered = (0_u64..).zip(lines).skip(skip).take(take);
            let part: Vec<TaskLogLine> = numbered
                .map(|(number, line)| {
                    let text = TaskLogLine::new(number, line.text());
                    line.timestamp.into_iter().fold(text, TaskLogLine::time)
                })
                .collect();
            let next = part.last().map_or(from, |line| line.number + 1);
            Ok(TaskLog::new(part, next, ended && next >= total))
        };
        work.await.map_err(named(O::GetTaskLog))
    }

    async fn cancel_task(&self, task: &TaskId) -> Result<()> {
        let work = async {
            let answer = self.api.cancel_jobs(&[task.as_str()]).await?;
            if answer.cancelled.iter().any(|id| id == task.as_str()) {
                return Ok(());
            }
            let why = answer.errors.get(task.as_str()).cloned().unwrap_or_default();
            let why = if why.is_empty() { "the daemon did not cancel it".to_owned() } else { why };
            let error = super::error::of_item(&why, &vec![(TaskId::NOUN, task.to_string())]);
            Err(match error.kind() {
                ErrorKind::NotFound | ErrorKind::InvalidState => error,
                _ => Error::invalid_state(why).with_target(TaskId::NOUN, task),
            })
        };
        work.await.map_err(named(O::CancelTask))
    }
}
