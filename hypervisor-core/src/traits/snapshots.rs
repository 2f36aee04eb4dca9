use async_trait::async_trait;

use super::unsupported;
use crate::error::Result;
use crate::model::{
    DeleteSnapshot, RevertSnapshot, SnapshotId, SnapshotInfo, SnapshotSpec, SnapshotTree, Started, VmId,
};
use crate::operation::Operation;

/// Snapshots.
#[async_trait]
pub trait Snapshots: Send + Sync {
    /// Lists a guest's snapshots as a tree.
    async fn list_snapshots(&self, vm: &VmId) -> Result<SnapshotTree> {
        let _ = vm;
        unsupported(Operation::ListSnapshots)
    }

    /// Reads one snapshot.
    async fn get_snapshot(&self, vm: &VmId, snapshot: &SnapshotId) -> Result<SnapshotInfo> {
        let _ = (vm, snapshot);
        unsupported(Operation::GetSnapshot)
    }

    /// Takes a snapshot.
    ///
    /// # Errors
    /// `AlreadyExists` for a name that is taken, `InvalidState` where the guest's disks cannot have one.
    async fn create_snapshot(&self, vm: &VmId, spec: &SnapshotSpec) -> Result<Started<SnapshotId>> {
        let _ = (vm, spec);
        unsupported(Operation::CreateSnapshot)
    }

    /// Takes a guest back to a snapshot. What it has done since is lost.
    async fn revert_snapshot(
        &self,
        vm: &VmId,
        snapshot: &SnapshotId,
        options: &RevertSnapshot,
    ) -> Result<Started<()>> {
        let _ = (vm, snapshot, options);
        unsupported(Operation::RevertSnapshot)
    }

    /// Deletes a snapshot. The guest's present state stays.
    async fn delete_snapshot(
        &self,
        vm: &VmId,
        snapshot: &SnapshotId,
        options: &DeleteSnapshot,
    ) -> Result<Started<()>> {
        let _ = (vm, snapshot, options);
        unsupported(Operation::DeleteSnapshot)
    }
}
