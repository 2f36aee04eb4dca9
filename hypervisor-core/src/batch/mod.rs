//! The one algorithm behind every batch.
//!
//! It runs inside the future of the caller: nothing is spawned, so that a batch that is dropped begins nothing new and leaves nobody at
//! work but the backend.

mod compensate;
mod course;
pub(crate) mod item;
mod plan;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt};

pub(crate) use self::course::Course;
use self::item::{Step, submit, wait};
use self::plan::Plan;
use crate::error::Result;
use crate::handle::Turnstile;
use crate::model::{BatchItem, BatchOp, BatchReport, BatchRequest, CloneMany, OnError, VmId};
use crate::traits::Batch;

/// Runs a batch over a backend: in the order of the dependencies, so many at a time in all and for each key, through native bulk calls
/// where the backend has them. Each operation's task is waited for.
///
/// What the backend cannot do is a `Failed` outcome with `Unsupported`; [`BatchBuilder`](crate::handle::BatchBuilder) refuses it before
/// anything is begun.
///
/// # Errors
/// `InvalidInput` before anything is begun.
pub async fn run<B: Batch + ?Sized>(backend: &B, request: &BatchRequest) -> Result<BatchReport> {
    run_with(backend, request, &Course::default()).await
}

/// Runs a batch that tells what it does, and that can be cancelled.
pub(crate) async fn run_with<B: Batch + ?Sized>(
    backend: &B,
    request: &BatchRequest,
    course: &Course,
) -> Result<BatchReport> {
    request.validate()?;
    let mut plan = Plan::new(request, |op| backend.bulk_key(op));
    let turnstile = Turnstile::local();
    let mut at_work = FuturesUnordered::new();
    loop {
        if course.is_cancelled() {
            plan.cancel();
        }
        while let Some(group) = plan.next_group() {
            group.iter().for_each(|item| course.begun(*item));
            at_work.push(submit(backend, request, group));
        }
        let Some(first) = at_work.next().await else { break };
        let mut next = Some(first);
        // What has come to an end at the same time makes room together, so that bulk calls stay large.
        while let Some(step) = next {
            match step {
                Step::Submitted(answers) => {
                    for (index, deadline, answer) in answers {
                        let turnstile = Arc::clone(&turnstile);
                        match item::at_once(answer) {
                            Ok(outcome) => {
                                course.ended(index, &outcome);
                                plan.end(index, outcome);
                            }
                            Err(started) => {
                                at_work.push(wait(backend, request, turnstile, index, deadline, started));
                            }
                        }
                    }
                }
                Step::Ended(index, outcome) => {
                    course.ended(index, &outcome);
                    plan.end(index, outcome);
                }
            }
            next = at_work.next().now_or_never().flatten();
        }
        course.be_heard().await;
    }
    let (mut outcomes, order) = plan.finish();
    if request.on_error == OnError::Compensate && outcomes.iter().any(|outcome| outcome.error().is_some()) {
        Box::pin(compensate::run(backend, request, &turnstile, &order, &mut outcomes, course)).await;
    }
    Ok(BatchReport::new(outcomes))
}

/// The batch that makes many clones of one guest.
///
/// # Errors
/// `InvalidInput` naming the field.
pub fn clones(vm: &VmId, spec: &CloneMany) -> Result<BatchRequest> {
    let concurrency = usize::try_from(spec.concurrency).unwrap_or(usize::MAX);
    let items = spec.specs()?.into_iter().map(|each| {
        let key = format!("template {vm}");
        BatchItem::new(BatchOp::CloneVm { vm: vm.clone(), spec: Box::new(each) }).key(key)
    });
    Ok(BatchRequest::new(items).concurrency(concurrency).per_key(concurrency))
}
