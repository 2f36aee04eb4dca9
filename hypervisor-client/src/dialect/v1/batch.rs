//! Batches: core's algorithm, with bulk calls where the gateway has them.

use async_trait::async_trait;
use futures::future::join_all;
use hypervisor_core::model::{BatchLimits, BatchOp, BatchOutput, BulkKey, Feature, Started};
use hypervisor_core::{Batch, Compute as _, Error, ErrorKind, Operation as O, Result};
use serde::Deserialize;

use super::V1;
use super::call::body;
use super::wire::envelope::key;

/// How many operations go into one call.
const TOGETHER: usize = 100;

/// What came of one of them.
#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Item {
    Ok(Started<BatchOutput>),
    Error(Error),
}

#[async_trait]
impl Batch for V1 {
    fn bulk_key(&self, op: &BatchOp) -> Option<BulkKey> {
        let possible = self.native && self.capabilities.has(Feature::BulkPower);
        (possible && matches!(op, BatchOp::PowerVm { .. })).then(|| BulkKey::new("power", TOGETHER))
    }

    /// A documented gateway allows 100 operations in an hour, so that haste gains nothing.
    fn batch_limits(&self) -> BatchLimits {
        BatchLimits::new(if self.native { 16 } else { 4 })
    }

    async fn submit_bulk(&self, ops: &[BatchOp]) -> Result<Vec<Result<Started<BatchOutput>>>> {
        self.needs(O::SubmitBatch, &[])?;
        let request = self.request(O::SubmitBatch, &[])?.json(&body("ops", &ops)?);
        let items: Vec<Item> = match self.link.field::<key::Results, _>(request).await {
            Ok(items) => items,
            // The backend takes together only what lies together (on one host); which that is only it knows.
            Err(error) if error.is_unsupported() => return Ok(self.one_by_one(ops).await),
            Err(error) => return Err(error),
        };
        if items.len() != ops.len() {
            let why = format!("the gateway answers for {} of {} operations", items.len(), ops.len());
            return Err(Error::new(ErrorKind::Protocol, why).with_operation(O::SubmitBatch));
        }
        let outcomes = items.into_iter().map(|item| match item {
            Item::Ok(started) => Ok(started),
            Item::Error(error) => Err(error),
        });
        Ok(outcomes.collect())
    }
}

impl V1 {
    async fn one_by_one(&self, ops: &[BatchOp]) -> Vec<Result<Started<BatchOutput>>> {
        let calls = ops.iter().map(async |op| match op {
            BatchOp::PowerVm { vm, action } => {
                Ok(self.power_vm(vm, action).await?.map(|()| BatchOutput::Nothing))
            }
            other => Err(Error::unsupported(other.operation(), "only power verbs go into one call")),
        });
        join_all(calls).await
    }
}
