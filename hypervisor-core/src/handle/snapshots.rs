use super::link::Link;
use super::settle::Settle;
use super::task::Task;
use super::vm::Vm;
use crate::error::Result;
use crate::model::{
    DeleteSnapshot, RevertSnapshot, SnapshotId, SnapshotInfo, SnapshotSpec, SnapshotTree, VmId,
};
use crate::operation::Operation;

/// The snapshots of one guest.
///
/// ```
/// # use std::sync::Arc;
/// use hypervisor_core::Hypervisor;
/// use hypervisor_core::memory::Memory;
/// use hypervisor_core::model::{DeleteSnapshot, RevertSnapshot, SnapshotSpec, VmSpec};
/// # tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap().block_on(async {
/// let hv: Arc<dyn Hypervisor> = Arc::new(Memory::new());
/// let vm = hv.vms().create(&VmSpec::new("web-1")).await?.await?;
/// vm.snapshots().create(&SnapshotSpec::new("installed").description("before the upgrade")).await?.await?;
/// vm.snapshots().create(&SnapshotSpec::new("upgraded")).await?.await?;
/// let tree = vm.snapshots().list().await?;
/// assert_eq!(tree.current().map(|snapshot| snapshot.id.as_str()), Some("upgraded"));
/// vm.snapshots().revert("installed", &RevertSnapshot::new()).await?.await?;
/// vm.snapshots().delete("installed", &DeleteSnapshot::with_children()).await?.await?;
/// assert!(vm.snapshots().list().await?.is_empty());
/// # Ok::<(), hypervisor_core::Error>(()) }).unwrap();
/// ```
#[derive(Debug, Clone)]
pub struct Snapshots {
    link: Link,
    vm: VmId,
}

impl Snapshots {
    pub(super) fn new(vm: &Vm) -> Self {
        Self { link: vm.link.clone(), vm: vm.id.clone() }
    }

    /// All of them, as a tree.
    ///
    /// # Errors
    /// `NotFound` for the guest.
    pub async fn list(&self) -> Result<SnapshotTree> {
        self.link.call(Operation::ListSnapshots, &[], self.link.hv.list_snapshots(&self.vm)).await
    }

    /// Reads one.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn get(&self, snapshot: impl Into<SnapshotId>) -> Result<SnapshotInfo> {
        let snapshot = snapshot.into();
        let link = self.link.at(SnapshotId::NOUN, snapshot.as_str());
        link.call(Operation::GetSnapshot, &[], self.link.hv.get_snapshot(&self.vm, &snapshot)).await
    }

    /// Takes one.
    ///
    /// # Errors
    /// `AlreadyExists` for a name that is taken.
    pub async fn create(&self, spec: &SnapshotSpec) -> Result<Task<SnapshotId>> {
        let link = self.link.at(SnapshotId::NOUN, &spec.name);
        let settle = |id: &SnapshotId| Settle::SnapshotThere(self.vm.clone(), id.clone());
        let call = self.link.hv.create_snapshot(&self.vm, spec);
        link.start(Operation::CreateSnapshot, &spec.needs(), call, settle).await
    }

    /// Takes the guest back to one. What it has done since is lost.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn revert(
        &self,
        snapshot: impl Into<SnapshotId>,
        options: &RevertSnapshot,
    ) -> Result<Task<()>> {
        let snapshot = snapshot.into();
        let link = self.link.at(SnapshotId::NOUN, snapshot.as_str());
        let call = self.link.hv.revert_snapshot(&self.vm, &snapshot, options);
        link.start(Operation::RevertSnapshot, &options.needs(), call, |()| Settle::Unknowable).await
    }

    /// Deletes one. The guest's present state stays.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn delete(
        &self,
        snapshot: impl Into<SnapshotId>,
        options: &DeleteSnapshot,
    ) -> Result<Task<()>> {
        let snapshot = snapshot.into();
        let link = self.link.at(SnapshotId::NOUN, snapshot.as_str());
        let call = self.link.hv.delete_snapshot(&self.vm, &snapshot, options);
        let settle = |(): &()| Settle::SnapshotGone(self.vm.clone(), snapshot.clone());
        link.start(Operation::DeleteSnapshot, &options.needs(), call, settle).await
    }
}
