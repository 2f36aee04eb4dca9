//! Jobs as tasks.

use std::time::Duration;

use async_trait::async_trait;
use hypervisor_core::http::Request;
use hypervisor_core::model::{Page, PageRequest, TaskId, TaskInfo, TaskLog, TaskQuery};
use hypervisor_core::{Error, Operation as O, Result, Tasks};
use serde::Deserialize;

use super::V1;
use super::call::{about, json};
use super::wire::envelope::key;
use super::wire::job::JobRecord;

/// The longest that a gateway is asked to hold an answer back: proxies cut what is silent for longer.
const HOLD: Duration = Duration::from_secs(20);

/// A job of an extended gateway.
#[derive(Deserialize)]
struct Native {
    task: TaskInfo,
}

#[async_trait]
impl Tasks for V1 {
    async fn get_task(&self, task: &TaskId, hold: Option<Duration>) -> Result<TaskInfo> {
        let request = self.request(O::GetTask, &[task.as_str()])?;
        if self.native {
            let request = match hold {
                Some(hold) if !hold.is_zero() => {
                    request.query("hold", hold.min(HOLD).as_secs_f64().to_string())
                }
                _ => request,
            };
            let job: Native =
                self.link.field::<key::Job, _>(request).await.map_err(about(TaskId::NOUN, task))?;
            return Ok(job.task);
        }
        Ok(self.job_of(request, task).await?.to_info())
    }

    async fn list_tasks(&self, query: &TaskQuery, page: &PageRequest) -> Result<Page<TaskInfo>> {
        if self.native {
            let request = self.request(O::ListTasks, &[])?;
            let all = *query == TaskQuery::all();
            let request = if all { request } else { request.query("query", json("query", query)?) };
            return self.link.native_page(request, page).await;
        }
        let mut found = self.records::<JobRecord>(O::ListTasks, page).await?.map(|job| job.to_info());
        found.items.retain(|task| query.matches(task));
        if *query != TaskQuery::all() {
            found.total = None;
        }
        Ok(found)
    }

    async fn get_task_log(&self, task: &TaskId, from: u64, limit: u32) -> Result<TaskLog> {
        let request = self.request(O::GetTaskLog, &[task.as_str()])?;
        if self.native {
            let request = request.query("from", from.to_string()).query("limit", limit.to_string());
            return self.link.field::<key::Log, _>(request).await.map_err(about(TaskId::NOUN, task));
        }
        Ok(self.job_of(request, task).await?.log(from, limit))
    }

    async fn cancel_task(&self, task: &TaskId) -> Result<()> {
        let request = self.request(O::CancelTask, &[task.as_str()])?;
        if !self.native {
            // A gateway may take the cancelling of an ended job for done.
            let job = self.job_of(self.request(O::GetTask, &[task.as_str()])?, task).await?;
            if job.state().is_final() {
                let error = Error::invalid_state(format!("it has ended: {}", job.state()));
                return Err(error.with_operation(O::CancelTask).with_target(TaskId::NOUN, task));
            }
        }
        self.write(request).await.map_err(about(TaskId::NOUN, task))?;
        Ok(())
    }
}

impl V1 {
    async fn job_of(&self, request: Request, task: &TaskId) -> Result<JobRecord> {
        self.link.field::<key::Job, _>(request).await.map_err(about(TaskId::NOUN, task))
    }
}
