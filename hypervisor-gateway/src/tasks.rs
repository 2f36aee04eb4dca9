//! Jobs, as routes.

use std::time::Duration;

use hypervisor_core::model::{TaskId, TaskInfo, TaskQuery};
use hypervisor_core::{Error, Operation};
use serde_json::json;

use crate::answer::{Answer, Reply};
use crate::call::Call;
use crate::jobs::look::{self, Found, find};
use crate::jobs::{public, status};
use crate::paging::{Bare, Listed, Rows, Wanted};
use crate::problem::{Problem, Result};
use crate::view::JobView;

/// A look is held for at most this long.
const LONGEST_HOLD: f64 = 30.0;
const LOG_LINES: u32 = 200;
const MOST_LOG_LINES: u32 = 10_000;

/// The backend's own list with `view=native`, so that it is what a local caller sees; else the gateway's record, which outlives it.
pub(crate) async fn list(call: Call) -> Reply {
    let wanted = Wanted::read(&call)?;
    let mut query: TaskQuery = call.json_query("query")?.unwrap_or_default();
    if call.native() {
        call.hv().capabilities().require(Operation::ListTasks)?;
        let page = call.hv().list_tasks(&query, &wanted.request()).await?;
        let pagination = wanted.of_page(&page);
        let page = page.map(|info| look::renamed(&call.app, info));
        let items = Rows::new(&page.items, |info| Bare { id: info.id.as_str(), info });
        let listed = Listed { key: "jobs", items, pagination, unreachable: &page.unreachable };
        return Answer::list(&listed, page.items.len());
    }
    if let Some(vm) = call.text("vm_id") {
        query = query.vm(vm);
    }
    let by_status = call.text("status").map(|wanted| {
        let all = hypervisor_core::model::TaskState::ALL;
        all.iter().copied().find(|state| status(*state) == wanted)
    });
    let state = match by_status {
        Some(None) => return Err(Problem::invalid("status", "is no state of a job")),
        Some(found) => found,
        None => query.state,
    };
    let vm = query.vm.as_ref().map(AsRef::as_ref);
    let found =
        call.app.store.jobs(vm, state.map(|state| state.as_str()), wanted.limit(), wanted.offset()).await;
    let (rows, total) = found.map_err(|error| Problem::internal("jobs cannot be read", &error))?;
    let items: Vec<JobView> = rows
        .iter()
        .map(|row| {
            let output = row.output.as_deref().and_then(|output| serde_json::from_str(output).ok());
            JobView::of(look::recorded(row), Some(&row.operation), output)
        })
        .collect();
    let pagination = wanted.of_total(u64::try_from(total).unwrap_or(0));
    Answer::list(&Listed { key: "jobs", items: &items, pagination, unreachable: &[] }, items.len())
}

async fn found(call: &Call) -> Result<Found> {
    let hold: Option<f64> = call.parsed("hold")?;
    if hold.is_some_and(|hold| !(0.0..=1e9).contains(&hold)) {
        return Err(Problem::invalid("hold", "must be a number of seconds"));
    }
    let hold = hold.map(|hold| Duration::from_secs_f64(hold.min(LONGEST_HOLD)));
    find(&call.app, &call.id::<String>("job_id")?, hold).await
}

pub(crate) async fn get(call: Call) -> Reply {
    let found = found(&call).await?;
    if call.native() {
        return Answer::ok(&json!({ "job": { "id": found.info.id, "task": found.info } }));
    }
    let lines = look::log(&call.app, &found, 0, LOG_LINES).await.map(|log| log.lines).unwrap_or_default();
    let operation = found.row.as_ref().map(|row| row.operation.as_str());
    let output = found.row.as_ref().and_then(|row| row.output.as_deref());
    let output = output.and_then(|output| serde_json::from_str(output).ok());
    let view = JobView::of(found.info.clone(), operation, output).logs(&lines);
    Answer::ok(&json!({ "job": view }))
}

pub(crate) async fn logs(call: Call) -> Reply {
    let from: u64 = call.parsed("from")?.unwrap_or(0);
    let limit: u32 = call.parsed("limit")?.unwrap_or(LOG_LINES).min(MOST_LOG_LINES);
    call.hv().capabilities().require(Operation::GetTaskLog)?;
    let found = found(&call).await?;
    let log = look::log(&call.app, &found, from, limit).await?;
    Answer::ok(&json!({ "log": log }))
}

pub(crate) async fn cancel(call: Call) -> Reply {
    call.hv().capabilities().require(Operation::CancelTask)?;
    let found = found(&call).await?;
    let id = found.info.id.clone();
    match (&found.task, found.live) {
        (Some(task), true) => {
            call.hv().cancel_task(task).await.map_err(|error| renamed(&call, &id, error))?;
        }
        _ if found.info.state.is_final() => {
            let error = Error::invalid_state("the job has ended").with_target(TaskId::NOUN, &id);
            return Err(error.with_operation(Operation::CancelTask).into());
        }
        _ => {
            let error = Error::invalid_state("another gateway is at work on the job");
            return Err(error.with_target(TaskId::NOUN, &id).with_operation(Operation::CancelTask).into());
        }
    }
    let after: Option<TaskInfo> = find(&call.app, id.as_str(), None).await.ok().map(|found| found.info);
    let state = after.map_or("unknown", |info| status(info.state));
    Answer::ok(&json!({ "job": { "id": id, "status": state } }))
}

/// The backend's word about its task, under the job's id.
fn renamed(call: &Call, id: &TaskId, error: Error) -> Problem {
    let error = match error.task().cloned() {
        Some(task) => error.with_task(public(&call.app, &task)),
        None => error,
    };
    Problem::from(error).detail("job", id.as_str())
}
