//! Finding a job: in the backend while it knows the task, else in the record.

use std::sync::Arc;
use std::time::Duration;

use hypervisor_core::model::{TaskId, TaskInfo, TaskLog, TaskState};
use hypervisor_core::{Error, Operation};
use tokio::time::Instant;

use super::{follow, id, public};
use crate::clock::from_millis;
use crate::gateway::App;
use crate::problem::{Problem, Result};
use crate::store::JobRow;

const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// A job, and the backend's task where this gateway can ask for it.
pub(crate) struct Found {
    pub(crate) row: Option<JobRow>,
    /// Under the job's id.
    pub(crate) info: TaskInfo,
    /// Whether the backend answered, not the record.
    pub(crate) live: bool,
    pub(crate) task: Option<TaskId>,
}

/// The job as the record has it.
pub(crate) fn recorded(row: &JobRow) -> TaskInfo {
    let state = row.state.parse().unwrap_or(TaskState::Forgotten);
    let kept = row.info.as_deref().and_then(|info| serde_json::from_str::<TaskInfo>(info).ok());
    let mut info = kept.unwrap_or_else(|| TaskInfo::new(row.id.as_str(), state));
    info.id = row.id.as_str().into();
    info.state = state;
    info.operation = info.operation.or_else(|| row.operation.parse::<Operation>().ok());
    info.vm = info.vm.or_else(|| row.vm.as_deref().map(Into::into));
    info.started = info.started.or(Some(from_millis(row.started)));
    info.ended = info.ended.or(row.ended.map(from_millis));
    info.user = info.user.or_else(|| row.token.clone());
    let error = row.error.as_deref().and_then(|error| serde_json::from_str::<Error>(error).ok());
    info.error = info.error.or_else(|| error.map(|error| error.to_string()));
    info.can_cancel &= !state.is_final();
    info
}

async fn row(app: &App, job: &str) -> Result<Option<JobRow>> {
    app.store.job(job).await.map_err(|error| Problem::internal("the job cannot be read", &error))
}

/// Finds a job, waiting up to `hold` for a change if it still runs.
pub(crate) async fn find(app: &Arc<App>, job: &str, hold: Option<Duration>) -> Result<Found> {
    let kept = row(app, job).await?;
    let named = id::task_of(job).map(|(scope, task)| (scope == app.scope, task));
    let not_found = || Problem::from(Error::not_found(TaskId::NOUN, job));
    let Some((own, task)) = named else {
        let row = kept.ok_or_else(not_found)?;
        return settle(app, row, hold).await;
    };
    // The id of another gateway's task can be that of something else here.
    if own {
        match app.hv.get_task(&task, hold).await {
            Ok(mut info) if kept.is_none() || info.state != TaskState::Forgotten => {
                info.id = TaskId::from(job);
                return Ok(Found { row: kept, info, live: true, task: Some(task) });
            }
            Ok(_) => {}
            Err(error) if !error.is_not_found() => return Err(error.into()),
            Err(_) => {}
        }
    }
    settle(app, kept.ok_or_else(not_found)?, hold).await
}

/// What the record says; a dead gateway's job is taken over first.
async fn settle(app: &Arc<App>, mut kept: JobRow, hold: Option<Duration>) -> Result<Found> {
    let failed = |error: sqlx::Error| Problem::internal("the job cannot be read", &error);
    let until = Instant::now() + hold.unwrap_or_default();
    loop {
        if kept.ended.is_none() && !app.store.is_alive(&kept.owner).await.map_err(failed)? {
            follow::inherit(app, &kept).await.map_err(failed)?;
            // Whoever follows it may see its end at once.
            tokio::time::sleep(Duration::from_millis(50)).await;
            if let Some(again) = app.store.job(&kept.id).await.map_err(failed)? {
                kept = again;
            }
        }
        if kept.ended.is_some() || Instant::now() >= until {
            let info = recorded(&kept);
            let task = kept.task.as_deref().map(TaskId::from);
            return Ok(Found { row: Some(kept), info, live: false, task });
        }
        tokio::time::sleep(LOOK_AGAIN).await;
        if let Some(again) = app.store.job(&kept.id).await.map_err(failed)? {
            kept = again;
        }
    }
}

/// A part of a job's log: from the backend while it has it, else what was kept of it.
pub(crate) async fn log(app: &Arc<App>, found: &Found, from: u64, limit: u32) -> Result<TaskLog> {
    if let (true, Some(task)) = (found.live, &found.task) {
        match app.hv.get_task_log(task, from, limit).await {
            Err(error) if error.is_not_found() => {}
            read => return Ok(read?),
        }
    }
    let kept = found.row.as_ref().and_then(|row| row.logs.as_deref());
    let kept = kept.and_then(|kept| serde_json::from_str::<TaskLog>(kept).ok()).unwrap_or_default();
    let most = usize::try_from(limit).unwrap_or(usize::MAX);
    let left: Vec<_> = kept.lines.into_iter().filter(|line| line.number >= from).collect();
    let more = left.len() > most;
    let lines: Vec<_> = left.into_iter().take(most).collect();
    let next = lines.last().map_or(from, |line| line.number + 1);
    Ok(TaskLog::new(lines, next, !more && found.info.state.is_final()))
}

/// The backend's tasks under the ids of jobs.
pub(crate) fn renamed(app: &App, mut info: TaskInfo) -> TaskInfo {
    info.id = public(app, &info.id);
    info
}
