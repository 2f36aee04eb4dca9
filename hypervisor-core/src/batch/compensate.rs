use std::sync::Arc;

use super::{Course, item};
use crate::error::{Effect, Error, ErrorKind};
use crate::handle::Turnstile;
use crate::model::{BatchOp, BatchOutcome, BatchRequest};
use crate::traits::Batch;

/// Takes back what was done, last first and one at a time. An item that names nothing that would take it back stays `Done`; one of
/// unknown outcome is left alone, because its task may still be at work.
pub(super) async fn run<B: Batch + ?Sized>(
    backend: &B,
    request: &BatchRequest,
    turnstile: &Arc<Turnstile>,
    order: &[usize],
    outcomes: &mut [BatchOutcome],
    course: &Course,
) {
    for index in order.iter().rev() {
        let (Some(item), Some(outcome)) = (request.items.get(*index), outcomes.get_mut(*index)) else {
            continue;
        };
        let BatchOutcome::Done(made) = &*outcome else { continue };
        if let Some(op) = item.taken_back_by(made) {
            *outcome = take_back(backend, request, turnstile, &op).await;
            course.ended(*index, outcome);
        }
    }
}

async fn take_back<B: Batch + ?Sized>(
    backend: &B,
    request: &BatchRequest,
    turnstile: &Arc<Turnstile>,
    op: &BatchOp,
) -> BatchOutcome {
    let deadline = item::deadline(request);
    let answer = item::send(backend, op, request, deadline).await;
    let outcome = match item::at_once(answer) {
        Ok(outcome) => outcome,
        Err(started) => item::ended(backend, op, turnstile, deadline, started).await,
    };
    match outcome {
        BatchOutcome::Done(_) => BatchOutcome::Compensated,
        BatchOutcome::Failed(error) => BatchOutcome::Failed(still_there(error).with_effect(Effect::Partial)),
        BatchOutcome::Unknown { error, task } => BatchOutcome::Unknown { error: still_there(error), task },
        other => other,
    }
}

/// The item was done; what failed is taking it back.
fn still_there(error: Error) -> Error {
    let message = format!("it was done, but taking it back has failed: {error}");
    let wrapped = Error::new(ErrorKind::Backend, message).with_effect(error.effect());
    let wrapped = error.operation().into_iter().fold(wrapped, Error::with_operation);
    let wrapped = error.task().cloned().into_iter().fold(wrapped, Error::with_task);
    wrapped.with_hint("look at the object and take it back by hand").with_source(error)
}
