//! One operation: how it is sent, and what its end means.

use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::time::Instant;

use crate::error::{Effect, Error, ErrorKind, Result, Retry};
use crate::handle::{Settle, Turnstile, Wait, WaitOptions, with_uid};
use crate::model::{BatchOp, BatchOutcome, BatchOutput, BatchRequest, Started};
use crate::traits::Batch;

pub(super) type Answer = Result<Started<BatchOutput>>;

/// What has happened to operations that were begun.
pub(super) enum Step {
    /// The backend has answered for these; the time is when each must have ended.
    Submitted(Vec<(usize, Instant, Answer)>),
    /// This one has come to an end.
    Ended(usize, BatchOutcome),
}

/// Sends a group of operations: as one native call if there are several.
pub(super) fn submit<'a, B: Batch + ?Sized>(
    backend: &'a B,
    request: &'a BatchRequest,
    group: Vec<usize>,
) -> BoxFuture<'a, Step> {
    async move {
        let deadline = deadline(request);
        let ops: Vec<&BatchOp> =
            group.iter().filter_map(|index| Some(&request.items.get(*index)?.op)).collect();
        let answers = match ops.as_slice() {
            [op] => vec![send(backend, op, request, deadline).await],
            ops => bulk(backend, ops, request, deadline).await,
        };
        Step::Submitted(
            group.into_iter().zip(answers).map(|(index, answer)| (index, deadline, answer)).collect(),
        )
    }
    .boxed()
}

pub(super) fn deadline(request: &BatchRequest) -> Instant {
    let now = Instant::now();
    // A deadline beyond what the clock can show is none.
    now.checked_add(request.item_deadline)
        .unwrap_or_else(|| now + std::time::Duration::from_secs(30 * 365 * 86_400))
}

fn too_late(op: &BatchOp, request: &BatchRequest) -> Error {
    let message = format!("no answer within {:?}; it may have been begun", request.item_deadline);
    Error::new(ErrorKind::Timeout, message).with_retry(Retry::Never).with_operation(op.operation())
}

pub(super) async fn send<B: Batch + ?Sized>(
    backend: &B,
    op: &BatchOp,
    request: &BatchRequest,
    deadline: Instant,
) -> Answer {
    let answer = tokio::time::timeout_at(deadline, one(backend, op)).await;
    let answer = answer.unwrap_or_else(|_| Err(too_late(op, request)));
    answer.map_err(|error| name(op, error))
}

async fn bulk<B: Batch + ?Sized>(
    backend: &B,
    ops: &[&BatchOp],
    request: &BatchRequest,
    deadline: Instant,
) -> Vec<Answer> {
    let sent: Vec<BatchOp> = ops.iter().map(|op| (*op).clone()).collect();
    let answer = tokio::time::timeout_at(deadline, backend.submit_bulk(&sent)).await;
    let mut answers = match answer {
        Ok(Ok(answers)) => answers.into_iter(),
        Ok(Err(error)) => return ops.iter().map(|op| Err(name(op, error.clone()))).collect(),
        Err(_) => return ops.iter().map(|op| Err(name(op, too_late(op, request)))).collect(),
    };
    let missing = || Err(Error::new(ErrorKind::Protocol, "the bulk call did not answer for this operation"));
    ops.iter().map(|op| answers.next().unwrap_or_else(missing).map_err(|error| name(op, error))).collect()
}

fn name(op: &BatchOp, error: Error) -> Error {
    let error = error.with_operation(op.operation());
    op.vm().into_iter().fold(error, |error, vm| error.with_target(crate::model::VmId::NOUN, vm))
}

/// Sends one operation by the method that it is.
pub(crate) fn one<'a, B: Batch + ?Sized>(backend: &'a B, op: &'a BatchOp) -> BoxFuture<'a, Answer> {
    fn nothing<T>(started: Started<T>) -> Started<BatchOutput> {
        started.map(|_| BatchOutput::Nothing)
    }
    async move {
        match op {
            BatchOp::CreateVm(spec) => Ok(backend.create_vm(spec).await?.map(BatchOutput::Vm)),
            BatchOp::UpdateVm { vm, change } => backend.update_vm(vm, change).await.map(nothing),
            BatchOp::DeleteVm { vm, options } => {
                let options = with_uid(backend, vm, options.clone()).await?;
                backend.delete_vm(vm, &options).await.map(nothing)
            }
            BatchOp::PowerVm { vm, action } => backend.power_vm(vm, action).await.map(nothing),
            BatchOp::CloneVm { vm, spec } => Ok(backend.clone_vm(vm, spec).await?.map(BatchOutput::Vm)),
            BatchOp::MigrateVm { vm, spec } => backend.migrate_vm(vm, spec).await.map(nothing),
            BatchOp::CreateSnapshot { vm, spec } => {
                Ok(backend.create_snapshot(vm, spec).await?.map(BatchOutput::Snapshot))
            }
            BatchOp::RevertSnapshot { vm, snapshot, options } => {
                backend.revert_snapshot(vm, snapshot, options).await.map(nothing)
            }
            BatchOp::DeleteSnapshot { vm, snapshot, options } => {
                backend.delete_snapshot(vm, snapshot, options).await.map(nothing)
            }
            BatchOp::CreateVolume(spec) => Ok(backend.create_volume(spec).await?.map(BatchOutput::Volume)),
            BatchOp::DeleteVolume(volume) => backend.delete_volume(volume).await.map(nothing),
        }
    }
    .boxed()
}

/// The outcome, if the answer settles it; otherwise the task that must be waited for.
pub(super) fn at_once(answer: Answer) -> Result<BatchOutcome, Started<BatchOutput>> {
    match answer {
        Ok(started) if started.task.is_some() => Err(started),
        Ok(started) => Ok(BatchOutcome::Done(started.output)),
        Err(error) => Ok(failed(error)),
    }
}

fn failed(error: Error) -> BatchOutcome {
    // A task that has failed or was cancelled has come to a known end, whatever it has left behind.
    let ended = matches!(error.kind(), ErrorKind::TaskFailed | ErrorKind::Cancelled);
    if error.effect() == Effect::Unknown && !ended {
        let task = error.task().cloned();
        BatchOutcome::Unknown { error, task }
    } else {
        BatchOutcome::Failed(error)
    }
}

/// Waits for the task of an operation.
pub(super) fn wait<'a, B: Batch + ?Sized>(
    backend: &'a B,
    request: &'a BatchRequest,
    turnstile: Arc<Turnstile>,
    index: usize,
    deadline: Instant,
    started: Started<BatchOutput>,
) -> BoxFuture<'a, Step> {
    async move {
        let Some(item) = request.items.get(index) else {
            return Step::Ended(index, BatchOutcome::Done(started.output));
        };
        Step::Ended(index, ended(backend, &item.op, &turnstile, deadline, started).await)
    }
    .boxed()
}

pub(super) async fn ended<B: Batch + ?Sized>(
    backend: &B,
    op: &BatchOp,
    turnstile: &Arc<Turnstile>,
    deadline: Instant,
    started: Started<BatchOutput>,
) -> BatchOutcome {
    let Started { output, task } = started;
    let Some(task) = task else { return BatchOutcome::Done(output) };
    let left = deadline.saturating_duration_since(Instant::now());
    let options = WaitOptions::new().deadline(left);
    let settle = Settle::batch(op, &output);
    let kind = Some(op.operation());
    let wait = Wait { turnstile, task: &task, kind, settle: &settle, options: &options };
    match Box::pin(wait.run(backend)).await {
        Ok(_) => BatchOutcome::Done(output),
        Err(error) => failed(name(op, error)),
    }
}
