use async_trait::async_trait;

use super::{Compute, Network, Snapshots, Storage, Tasks, unsupported};
use crate::error::Result;
use crate::model::{
    BatchLimits, BatchOp, BatchOutput, BatchReport, BatchRequest, BulkKey, CloneMany, Started, VmId,
};
use crate::operation::Operation;

/// Many operations at a time. The algorithm is core's; a backend with a bulk call overrides `bulk_key` and `submit_bulk`.
#[async_trait]
pub trait Batch: Compute + Storage + Network + Snapshots + Tasks {
    /// Whether this operation can go into a native bulk call, and with which others.
    fn bulk_key(&self, op: &BatchOp) -> Option<BulkKey> {
        let _ = op;
        None
    }

    /// How many operations at a time a batch begins that does not say it itself: what the server does well at once.
    fn batch_limits(&self) -> BatchLimits {
        BatchLimits::default()
    }

    /// Sends operations of one [`BulkKey`] as one native call. One answer for each, in the same order.
    ///
    /// # Errors
    /// Only if the call as a whole failed; what is known of its effect is in the error.
    async fn submit_bulk(&self, ops: &[BatchOp]) -> Result<Vec<Result<Started<BatchOutput>>>> {
        let _ = ops;
        unsupported(Operation::SubmitBatch)
    }

    /// Runs the operations of a batch, their tasks included, and answers once all have ended or been given up on.
    ///
    /// # Errors
    /// `InvalidInput` before anything is begun; what goes wrong later is in the outcomes.
    async fn submit_batch(&self, request: &BatchRequest) -> Result<BatchReport> {
        crate::batch::run(self, request).await
    }

    /// Copies a guest many times, `prefix-1` to `prefix-n`.
    ///
    /// # Errors
    /// `InvalidInput` before anything is begun; what goes wrong later is in the outcomes.
    async fn clone_vms(&self, vm: &VmId, spec: &CloneMany) -> Result<BatchReport> {
        crate::batch::run(self, &crate::batch::clones(vm, spec)?).await
    }
}
