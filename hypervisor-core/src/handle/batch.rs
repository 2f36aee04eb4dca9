use std::sync::Arc;
use std::time::Duration;

use super::batch_run::BatchRun;
use super::link::Link;
use crate::error::{Error, Result};
use crate::model::{
    BatchItem, BatchOp, BatchReport, BatchRequest, CloneSpec, DeleteSnapshot, DeleteVm, MigrateSpec, OnError,
    PowerAction, RevertSnapshot, Shutdown, SnapshotId, SnapshotSpec, VmChange, VmId, VmSpec, VolumeId,
    VolumeSpec,
};
use crate::operation::Operation;
use crate::traits::Hypervisor;

/// Many operations as one request, put together one after the other. [`after`](Self::after), [`key`](Self::key) and
/// [`compensate`](Self::compensate) are about the operation added last.
///
/// ```
/// # use std::sync::Arc;
/// use hypervisor_core::Hypervisor;
/// use hypervisor_core::memory::Memory;
/// use hypervisor_core::model::{SnapshotSpec, VmSpec};
/// # tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap().block_on(async {
/// let hv: Arc<dyn Hypervisor> = Arc::new(Memory::new());
/// let made = hv.batch().create(VmSpec::new("web-1")).create(VmSpec::new("web-2")).concurrency(4).run().await?;
/// let vms: Vec<_> = made.vms().cloned().collect();
///
/// let report = hv
///     .batch()
///     .snapshot(&vms[0], SnapshotSpec::new("before"))
///     .start(&vms[0])
///     .after_previous()
///     .start(&vms[1])
///     .run()
///     .await?;
/// assert!(report.all_done(), "one outcome for each operation, in this order");
/// # Ok::<(), hypervisor_core::Error>(()) }).unwrap();
/// ```
#[derive(Debug, Clone)]
#[must_use = "a batch does nothing until it is run"]
pub struct BatchBuilder {
    link: Link,
    request: BatchRequest,
}

impl dyn Hypervisor {
    /// An empty batch: as many at a time as the backend takes well ([`Batch::batch_limits`](crate::Batch::batch_limits)), one at a time for
    /// each guest, the others go on when one fails.
    pub fn batch(self: &Arc<Self>) -> BatchBuilder {
        let limits = self.batch_limits();
        let request = BatchRequest::new(Vec::<BatchItem>::new());
        let request = request.concurrency(limits.concurrency).per_key(limits.per_key);
        BatchBuilder { link: Link::new(self), request }
    }
}

impl BatchBuilder {
    /// Adds an operation.
    pub fn push(mut self, item: impl Into<BatchItem>) -> Self {
        self.request.items.push(item.into());
        self
    }

    /// Adds a power verb.
    pub fn power(self, vm: impl Into<VmId>, action: PowerAction) -> Self {
        self.push(BatchOp::power(vm, action))
    }

    /// Powers a guest on.
    pub fn start(self, vm: impl Into<VmId>) -> Self {
        self.power(vm, PowerAction::Start)
    }

    /// Asks a guest to power off.
    pub fn shutdown(self, vm: impl Into<VmId>) -> Self {
        self.power(vm, PowerAction::Shutdown(Shutdown::new()))
    }

    /// Cuts a guest's power.
    pub fn power_off(self, vm: impl Into<VmId>) -> Self {
        self.power(vm, PowerAction::PowerOff)
    }

    /// Creates a guest.
    pub fn create(self, spec: VmSpec) -> Self {
        self.push(BatchOp::CreateVm(Box::new(spec)))
    }

    /// Changes a guest.
    pub fn update(self, vm: impl Into<VmId>, change: VmChange) -> Self {
        self.push(BatchOp::UpdateVm { vm: vm.into(), change: Box::new(change) })
    }

    /// Deletes a guest.
    pub fn delete(self, vm: impl Into<VmId>, options: DeleteVm) -> Self {
        self.push(BatchOp::DeleteVm { vm: vm.into(), options })
    }

    /// Copies a guest.
    pub fn clone_as(self, vm: impl Into<VmId>, spec: CloneSpec) -> Self {
        self.push(BatchOp::CloneVm { vm: vm.into(), spec: Box::new(spec) })
    }

    /// Moves a guest to another host.
    pub fn migrate(self, vm: impl Into<VmId>, spec: MigrateSpec) -> Self {
        self.push(BatchOp::MigrateVm { vm: vm.into(), spec })
    }

    /// Takes a snapshot of a guest.
    pub fn snapshot(self, vm: impl Into<VmId>, spec: SnapshotSpec) -> Self {
        self.push(BatchOp::CreateSnapshot { vm: vm.into(), spec })
    }

    /// Takes a guest back to a snapshot.
    pub fn revert(
        self,
        vm: impl Into<VmId>,
        snapshot: impl Into<SnapshotId>,
        options: RevertSnapshot,
    ) -> Self {
        self.push(BatchOp::RevertSnapshot { vm: vm.into(), snapshot: snapshot.into(), options })
    }

    /// Deletes a snapshot.
    pub fn delete_snapshot(
        self,
        vm: impl Into<VmId>,
        snapshot: impl Into<SnapshotId>,
        options: DeleteSnapshot,
    ) -> Self {
        self.push(BatchOp::DeleteSnapshot { vm: vm.into(), snapshot: snapshot.into(), options })
    }

    /// Creates a volume.
    pub fn create_volume(self, spec: VolumeSpec) -> Self {
        self.push(BatchOp::CreateVolume(spec))
    }

    /// Deletes a volume.
    pub fn delete_volume(self, volume: impl Into<VolumeId>) -> Self {
        self.push(BatchOp::DeleteVolume(volume.into()))
    }

    /// Begins the last operation only once these (counted from 0) are done.
    pub fn after(self, items: impl IntoIterator<Item = usize>) -> Self {
        self.last(|item| item.after.extend(items))
    }

    /// Begins the last operation only once the one before it is done.
    pub fn after_previous(self) -> Self {
        let previous = self.request.items.len().checked_sub(2);
        self.last(|item| item.after.extend(previous))
    }

    /// Says what the last operation shares a limit with: a host, a storage, a template.
    pub fn key(self, key: impl Into<String>) -> Self {
        self.last(|item| item.key = Some(key.into()))
    }

    /// Says what takes the last operation back, for [`OnError::Compensate`].
    pub fn compensate(self, op: BatchOp) -> Self {
        self.last(|item| item.compensate = Some(op))
    }

    /// Takes the last operation back by deleting what it has made, for [`OnError::Compensate`].
    pub fn delete_made(self) -> Self {
        self.last(|item| item.delete_made = true)
    }

    fn last(mut self, change: impl FnOnce(&mut BatchItem)) -> Self {
        if let Some(item) = self.request.items.last_mut() {
            change(item);
        }
        self
    }

    /// Sets how many run at a time, in all.
    pub fn concurrency(mut self, concurrency: usize) -> Self {
        self.request.concurrency = concurrency;
        self
    }

    /// Sets how many run at a time with the same key.
    pub fn per_key(mut self, per_key: usize) -> Self {
        self.request.per_key = per_key;
        self
    }

    /// Sets what a failed operation means for the others.
    pub fn on_error(mut self, on_error: OnError) -> Self {
        self.request.on_error = on_error;
        self
    }

    /// Sets how long one operation may take, its task included.
    pub fn item_deadline(mut self, deadline: Duration) -> Self {
        self.request.item_deadline = deadline;
        self
    }

    /// The batch as plain data.
    #[must_use]
    pub fn request(&self) -> &BatchRequest {
        &self.request
    }

    /// Runs the batch. Nothing is begun unless the backend can do all of it, compensations included. Dropping the future begins nothing
    /// new; what has begun goes on in the backend.
    ///
    /// # Errors
    /// `Unsupported` or `InvalidInput` naming the item, before anything is begun; what goes wrong later is in the outcomes.
    pub async fn run(&self) -> Result<BatchReport> {
        self.check()?;
        self.link.call(Operation::SubmitBatch, &[], self.link.hv.submit_batch(&self.request)).await
    }

    /// The batch as a stream of what happens to its items, which can be cancelled. It runs while the stream is read, here and not in a
    /// gateway: each operation is a call of its own, or a part of a bulk call.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// use futures::StreamExt as _;
    /// use hypervisor_core::Hypervisor;
    /// use hypervisor_core::memory::Memory;
    /// use hypervisor_core::model::{BatchStep, VmSpec};
    /// # tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap().block_on(async {
    /// let hv: Arc<dyn Hypervisor> = Arc::new(Memory::new());
    /// let mut batch = hv.batch().create(VmSpec::new("a")).create(VmSpec::new("b")).concurrency(1).begin()?;
    /// while let Some(step) = batch.next().await {
    ///     if let BatchStep::Ended { item: 0, .. } = step {
    ///         batch.cancel();
    ///     }
    /// }
    /// let report = batch.report().await?;
    /// assert_eq!(report.vms().count(), 1, "the second was not begun any more");
    /// # Ok::<(), hypervisor_core::Error>(()) }).unwrap();
    /// ```
    ///
    /// # Errors
    /// `Unsupported` or `InvalidInput` naming the item, before anything is begun.
    pub fn begin(self) -> Result<BatchRun> {
        self.check()?;
        self.link.check(Operation::SubmitBatch, &[])?;
        Ok(BatchRun::new(Arc::clone(&self.link.hv), self.request))
    }

    fn check(&self) -> Result<()> {
        self.request.validate()?;
        for (index, item) in self.request.items.iter().enumerate() {
            for op in std::iter::once(&item.op).chain(&item.compensate) {
                let checked = self.link.check(op.operation(), &op.needs());
                checked.map_err(|error: Error| {
                    let why = error.message().to_owned();
                    error.with_field(format!("items[{index}].op"), why)
                })?;
            }
            if let Some(undoing) = item.op.undoing().filter(|_| item.delete_made) {
                self.link.check(undoing, &[]).map_err(|error| {
                    let why = error.message().to_owned();
                    error.with_field(format!("items[{index}].delete_made"), why)
                })?;
            }
        }
        Ok(())
    }
}
