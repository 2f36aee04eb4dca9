//! Many operations in one request. They run inside the request: when the caller hangs up, nothing new is begun.

use hypervisor_core::Operation;
use hypervisor_core::model::{BatchOp, BatchOutcome, BatchReport, BatchRequest, Started};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::answer::{Answer, Reply};
use crate::call::Call;
use crate::gateway::App;
use crate::jobs::{public, rename};
use crate::problem::{Problem, Result};

/// A batch must not be a way around the permissions of what is in it.
fn permitted<'a>(call: &Call, mut ops: impl Iterator<Item = &'a BatchOp>) -> Result<()> {
    ops.try_for_each(|op| {
        call.require(match op {
            BatchOp::CreateSnapshot { .. }
            | BatchOp::RevertSnapshot { .. }
            | BatchOp::DeleteSnapshot { .. } => "snapshot:write",
            BatchOp::CreateVolume(_) | BatchOp::DeleteVolume(_) => "storage:write",
            _ => "vm:write",
        })
    })
}

/// The report with the ids of jobs for those of tasks.
pub(crate) fn renamed(app: &App, report: BatchReport) -> BatchReport {
    let outcomes = report.outcomes.into_iter().map(|outcome| match outcome {
        BatchOutcome::Failed(error) => BatchOutcome::Failed(rename(app, error)),
        BatchOutcome::Unknown { error, task } => {
            BatchOutcome::Unknown { error: rename(app, error), task: task.map(|task| public(app, &task)) }
        }
        other => other,
    });
    BatchReport::new(outcomes.collect())
}

/// The body of `POST /v1/batch`.
#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct Submit {
    /// The model's `BatchRequest`.
    request: BatchRequest,
}

pub(crate) async fn submit(call: Call) -> Reply {
    let body: Submit = call.json()?;
    let compensations = body.request.items.iter().filter_map(|item| item.compensate.as_ref());
    permitted(&call, body.request.items.iter().map(|item| &item.op).chain(compensations))?;
    call.hv().capabilities().require(Operation::SubmitBatch)?;
    let report = call.hv().submit_batch(&body.request).await?;
    Answer::ok(&json!({ "report": renamed(&call.app, report) }))
}

/// The body of `POST /v1/batch/bulk`.
#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct Bulk {
    /// The model's `BatchOp`s, which the backend must be able to carry out in one call.
    ops: Vec<BatchOp>,
}

pub(crate) async fn bulk(call: Call) -> Reply {
    let body: Bulk = call.json()?;
    permitted(&call, body.ops.iter())?;
    let key = body.ops.first().and_then(|op| call.hv().bulk_key(op));
    let fits = key.as_ref().is_some_and(|key| {
        body.ops.len() <= key.limit
            && body.ops.iter().all(|op| call.hv().bulk_key(op).is_some_and(|other| other.key == key.key))
    });
    if !fits {
        return Err(Problem::from(hypervisor_core::Error::unsupported(
            Operation::SubmitBatch,
            "the backend has no call that carries out these operations at once",
        )));
    }
    let results = call.hv().submit_bulk(&body.ops).await?;
    let results: Vec<Value> = results
        .into_iter()
        .map(|result| match result {
            Ok(Started { output, task, .. }) => {
                let task = task.map(|task| public(&call.app, &task));
                json!({ "ok": { "output": output, "task": task } })
            }
            Err(error) => json!({ "error": rename(&call.app, error) }),
        })
        .collect();
    Answer::ok(&json!({ "results": results }))
}
