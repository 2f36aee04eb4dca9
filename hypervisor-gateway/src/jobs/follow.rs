//! Following tasks to their end, and taking over the jobs of gateways that have died.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use hypervisor_core::model::{TaskId, TaskInfo, TaskLog, TaskState};
use hypervisor_core::{Error, ErrorKind};
use serde_json::{Value, json};

use super::{id, kind, status};
use crate::gateway::{App, DURABLE_SCOPE, Working, until_end};
use crate::store::{JobEnd, JobRow, Outgoing};

/// How often progress is written down at most.
const NOTE_EVERY: Duration = Duration::from_secs(1);
/// So many lines of a job's log are kept after its end.
const LOG_LINES: u32 = 1000;
const DEADLINE: Duration = Duration::from_secs(30 * 24 * 3600);

/// Follows a task until its end is recorded.
pub(crate) fn follow(app: Arc<App>, job: String, task: TaskId) -> impl Future<Output = ()> + Send {
    // From now on, not from the first look on: between the two nobody may take this process for idle.
    let under_way = (app.scope != DURABLE_SCOPE).then(|| Working::begin(&app));
    async move {
        to_the_end(app, job, task).await;
        drop(under_way);
    }
}

async fn to_the_end(app: Arc<App>, job: String, task: TaskId) {
    loop {
        let mut progress = app.hv.task(&task).with_deadline(DEADLINE).progress();
        let mut noted: Option<Instant> = None;
        while let Some(look) = progress.next().await {
            match look {
                Ok(info) if info.state.is_final() => return end(&app, &job, &task, info).await,
                Ok(info) => {
                    if noted.is_none_or(|noted| noted.elapsed() >= NOTE_EVERY) {
                        noted = Some(Instant::now());
                        note(&app, &job, &info).await;
                    }
                }
                Err(error) if error.is_not_found() => {
                    let gone = TaskInfo::new(task.clone(), TaskState::Forgotten);
                    return end(&app, &job, &task, gone).await;
                }
                Err(error) => tracing::warn!(job, %error, "a job cannot be followed"),
            }
        }
        // The backend does not answer now; the task goes on.
        tokio::time::sleep(Duration::from_secs(5)).await;
    }
}

async fn note(app: &App, job: &str, info: &TaskInfo) {
    let text = serde_json::to_string(info).unwrap_or_default();
    if let Err(error) = app.store.progress_job(job, info.state.as_str(), &text).await {
        tracing::warn!(job, %error, "a job's progress cannot be recorded");
    }
}

/// Records how a task ended, with its log, and queues what webhooks are to be told.
pub(crate) async fn end(app: &App, job: &str, task: &TaskId, info: TaskInfo) {
    let logs = kept_log(app, task).await;
    let row = app.store.job(job).await.ok().flatten();
    let operation = row.as_ref().map_or("unknown", |row| row.operation.as_str()).to_owned();
    let output = row.as_ref().and_then(|row| row.output.clone());
    let end = || JobEnd {
        state: info.state.as_str(),
        info: serde_json::to_string(&info).ok(),
        logs: logs.as_ref().and_then(|logs| serde_json::to_string(logs).ok()),
        ..JobEnd::default()
    };
    let made = info.made.clone().map(|made| json!(made).to_string()).or(output);
    let events = events(job, &operation, Some(&info), info.state, made.as_deref());
    for pause in [100, 1000, 5000] {
        match app.store.end_job(job, end(), &events).await {
            Ok(_) => {
                app.deliver.notify_one();
                return;
            }
            Err(error) => tracing::warn!(job, %error, "the end of a job cannot be recorded"),
        }
        tokio::time::sleep(Duration::from_millis(pause)).await;
    }
}

async fn kept_log(app: &App, task: &TaskId) -> Option<TaskLog> {
    let mut log = app.hv.get_task_log(task, 0, LOG_LINES).await.ok()?;
    log.complete = true;
    Some(log)
}

/// What webhooks are told of the end of a job.
pub(super) fn events(
    job: &str,
    operation: &str,
    info: Option<&TaskInfo>,
    state: TaskState,
    output: Option<&str>,
) -> Vec<Outgoing> {
    let output = output.and_then(|output| serde_json::from_str::<Value>(output).ok());
    let told = json!({
        "id": job,
        "type": kind(operation),
        "status": status(state),
        "error": info.and_then(|info| info.error.clone()),
        "output": output,
    });
    let mut events = Vec::new();
    if operation == "create_backup" && state == TaskState::Succeeded {
        let data = json!({ "backup": { "id": output }, "job": told }).to_string();
        events.push(Outgoing { event: "backup.completed", data });
    }
    events.push(Outgoing { event: "job.completed", data: json!({ "job": told }).to_string() });
    events
}

/// Looks after the jobs of gateways that give no sign of life.
pub(crate) async fn take_over(app: &Arc<App>) -> crate::store::Result<()> {
    for job in app.store.orphans().await? {
        inherit(app, &job).await?;
    }
    Ok(())
}

/// Takes one job over, if no other gateway was faster: follows its task, or says that its outcome is unknown.
pub(crate) async fn inherit(app: &Arc<App>, job: &JobRow) -> crate::store::Result<()> {
    if !app.store.adopt(job).await? {
        return Ok(());
    }
    app.counters.taken_over.fetch_add(1, Ordering::Relaxed);
    tracing::info!(job = job.id, operation = job.operation, "a dead gateway's job was taken over");
    // A task that belonged to the dead process must not be taken for one of this process's that has the same name.
    let own = id::task_of(&job.id).filter(|(scope, _)| *scope == app.scope);
    match own {
        Some((_, task)) => {
            let following = follow(Arc::clone(app), job.id.clone(), task);
            tokio::spawn(until_end(Arc::clone(app), following));
        }
        None => {
            let why = if job.task.is_some() {
                "the gateway that was at work on it ended, and the task with it; its outcome is not known"
            } else {
                "the gateway ended while the call was under way; its outcome is not known"
            };
            let error =
                Error::new(ErrorKind::Backend, why).with_hint("Look at the object before doing it again");
            let state = TaskState::Forgotten;
            let end = JobEnd {
                state: state.as_str(),
                error: serde_json::to_string(&error).ok(),
                ..JobEnd::default()
            };
            let events = events(&job.id, &job.operation, None, state, None);
            app.store.end_job(&job.id, end, &events).await?;
            app.deliver.notify_one();
        }
    }
    Ok(())
}
