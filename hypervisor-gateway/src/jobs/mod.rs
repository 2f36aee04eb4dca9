//! Jobs: every change is recorded before the backend is called, and followed until its end is recorded too.

pub(crate) mod follow;
pub(crate) mod id;
pub(crate) mod look;

use std::sync::Arc;

use axum::http::StatusCode;
use hypervisor_core::model::{Feature, Started, TaskId, TaskState, VmId};
use hypervisor_core::{Effect, Hypervisor, Operation};
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::answer::{Answer, Reply};
use crate::call::Call;
use crate::gateway::{App, Working, until_end};
use crate::problem::{Problem, Result};
use crate::store::JobEnd;

/// What a changing call has begun: its output, the job, and whether that is done.
pub(crate) struct Begun<T> {
    pub(crate) started: Started<T>,
    pub(crate) job: String,
    pub(crate) operation: Operation,
}

/// What the document calls a job of this operation.
pub(crate) fn kind(operation: &str) -> &str {
    match operation {
        "create_vm" => "vm_creation",
        "delete_vm" => "vm_deletion",
        other => other,
    }
}

/// The document's word for a state.
pub(crate) const fn status(state: TaskState) -> &'static str {
    match state {
        TaskState::Queued => "queued",
        TaskState::Running => "running",
        TaskState::Succeeded => "completed",
        TaskState::Failed => "failed",
        TaskState::Cancelled => "cancelled",
        _ => "unknown",
    }
}

/// Records, calls the backend, records again. The call goes on when the caller hangs up: a change is never cut off in the middle.
pub(crate) async fn run<T, F, Fut>(
    call: &Call,
    operation: Operation,
    vm: Option<VmId>,
    needs: &[Feature],
    work: F,
) -> Result<Begun<T>>
where
    T: Serialize + Send + 'static,
    F: FnOnce(Arc<dyn Hypervisor>) -> Fut + Send + 'static,
    Fut: Future<Output = hypervisor_core::Result<Started<T>>> + Send + 'static,
{
    let app = Arc::clone(&call.app);
    app.hv.capabilities().require_all(operation, needs)?;
    let job = id::fresh();
    let recorded = app.store.add_job(&job, operation.as_str(), vm.as_ref().map(VmId::as_str), &call.who.id);
    recorded.await.map_err(|error| Problem::internal("the job cannot be recorded", &error))?;
    let under_way = Working::begin(&app);
    let working = tokio::spawn(async move {
        let _under_way = under_way;
        let outcome = work(Arc::clone(&app.hv)).await;
        record(&app, job, operation, outcome).await
    });
    match working.await {
        Ok(done) => done,
        Err(panic) => Err(Problem::internal("the call ended early", &panic)),
    }
}

async fn record<T: Serialize>(
    app: &Arc<App>,
    job: String,
    operation: Operation,
    outcome: hypervisor_core::Result<Started<T>>,
) -> Result<Begun<T>> {
    let logged = |result: crate::store::Result<()>| {
        if let Err(error) = result {
            tracing::error!(%error, "the outcome of a job cannot be recorded");
        }
    };
    let started = match outcome {
        Ok(started) => started,
        Err(error) if error.effect() == Effect::None => {
            logged(app.store.remove_job(&job).await);
            return Err(error.into());
        }
        Err(error) => {
            let text = serde_json::to_string(&error).ok();
            let end = JobEnd { state: TaskState::Failed.as_str(), error: text, ..JobEnd::default() };
            let events = follow::events(&job, operation.as_str(), None, TaskState::Failed, None);
            logged(app.store.end_job(&job, end, &events).await.map(drop));
            app.deliver.notify_one();
            return Err(error.into());
        }
    };
    let output = serde_json::to_string(&started.output).unwrap_or_default();
    let Started { output: made, task, .. } = started;
    let Some(task) = task else {
        let done = TaskState::Succeeded;
        let events = follow::events(&job, operation.as_str(), None, done, Some(&output));
        let end = JobEnd { state: done.as_str(), output: Some(output), ..JobEnd::default() };
        logged(app.store.end_job(&job, end, &events).await.map(drop));
        app.deliver.notify_one();
        return Ok(Begun { started: Started::done(made), job, operation });
    };
    let named = id::of_task(&app.scope, &task);
    logged(app.store.name_job(&job, named.as_str(), task.as_str(), &output).await);
    let following = follow::follow(Arc::clone(app), named.as_str().to_owned(), task);
    tokio::spawn(until_end(Arc::clone(app), following));
    let job = named.as_str().to_owned();
    Ok(Begun { started: Started::running(made, named), job, operation })
}

impl<T: Serialize> Begun<T> {
    pub(crate) fn is_done(&self) -> bool {
        self.started.task.is_none()
    }

    fn state(&self) -> TaskState {
        if self.is_done() { TaskState::Succeeded } else { TaskState::Running }
    }

    /// `202` while a task is at work, else `done`; with further members of the document.
    pub(crate) fn answer<const N: usize>(&self, done: StatusCode, extra: [(&str, Value); N]) -> Reply {
        let mut data = Map::new();
        let started = serde_json::to_value(&self.started)
            .map_err(|error| Problem::internal("an answer cannot be written", &error))?;
        data.insert("started".to_owned(), started);
        let job = json!({
            "id": self.job,
            "type": kind(self.operation.as_str()),
            "status": status(self.state()),
        });
        data.insert("job".to_owned(), job);
        data.extend(extra.into_iter().map(|(key, value)| (key.to_owned(), value)));
        let status = if self.is_done() { done } else { StatusCode::ACCEPTED };
        Answer::with(status, &data)
    }
}

/// The task of an error is the backend's; the caller knows it as a job.
pub(crate) fn rename(app: &App, error: hypervisor_core::Error) -> hypervisor_core::Error {
    match error.task().cloned() {
        Some(task) => error.with_task(public(app, &task)),
        None => error,
    }
}

/// The id under which the caller knows a task.
pub(crate) fn public(app: &App, task: &TaskId) -> TaskId {
    id::of_task(&app.scope, task)
}
