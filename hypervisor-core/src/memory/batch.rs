//! Batches: core's algorithm, with power verbs as bulk calls.

use async_trait::async_trait;

use super::Memory;
use super::state::World;
use crate::error::{Error, Result};
use crate::model::{
    BatchLimits, BatchOp, BatchOutput, BatchReport, BatchRequest, BulkKey, CloneMany, Feature, Started, VmId,
};
use crate::operation::Operation;
use crate::traits::Batch;

/// How many power verbs go into one call.
const BULK: usize = 100;

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Batch for Memory {
    fn bulk_key(&self, op: &BatchOp) -> Option<BulkKey> {
        let able = self.shared.capabilities.has(Feature::BulkPower);
        match op {
            BatchOp::PowerVm { action, .. } if able => Some(BulkKey::new(action.operation().as_str(), BULK)),
            _ => None,
        }
    }

    fn batch_limits(&self) -> BatchLimits {
        BatchLimits::new(64)
    }

    async fn submit_bulk(&self, ops: &[BatchOp]) -> Result<Vec<Result<Started<BatchOutput>>>> {
        self.call(Operation::SubmitBatch, &[Feature::BulkPower], Ok(()), |world| {
            Ok(ops.iter().map(|op| world.bulk_item(op)).collect())
        })
        .await
    }

    async fn submit_batch(&self, request: &BatchRequest) -> Result<BatchReport> {
        self.check(Operation::SubmitBatch, &[], request.validate())?;
        crate::batch::run(self, request).await
    }

    async fn clone_vms(&self, vm: &VmId, spec: &CloneMany) -> Result<BatchReport> {
        self.check(Operation::CloneVms, &spec.each.needs(), Ok(()))?;
        crate::batch::run(self, &crate::batch::clones(vm, spec)?).await
    }
}

impl World {
    fn bulk_item(&mut self, op: &BatchOp) -> Result<Started<BatchOutput>> {
        let operation = op.operation();
        let BatchOp::PowerVm { vm, action } = op else {
            return Err(super::named(
                Error::invalid("ops", "only power verbs go into a bulk call"),
                operation,
            ));
        };
        let able = self.capabilities.require_all(operation, &op.needs());
        let carried = able.and_then(|()| self.carry_out(operation, |world| world.power_vm(vm, action)));
        carried
            .map(|started| started.map(|()| BatchOutput::Nothing))
            .map_err(|error| super::named(error, operation))
    }
}
