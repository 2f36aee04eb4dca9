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
    ///
    /// Needs [`Operation::ListSnapshots`]; a read: repeated where its answer is lost.
    ///
    /// # Errors
    /// `NotFound` for the guest.
    async fn list_snapshots(&self, vm: &VmId) -> Result<SnapshotTree> {
        let _ = vm;
        unsupported(Operation::ListSnapshots)
    }

    /// Reads one snapshot.
    ///
    /// Needs [`Operation::GetSnapshot`]; a read: repeated where its answer is lost.
    ///
    /// # Errors
    /// `NotFound` for the guest or snapshot.
    async fn get_snapshot(&self, vm: &VmId, snapshot: &SnapshotId) -> Result<SnapshotInfo> {
        let _ = (vm, snapshot);
        unsupported(Operation::GetSnapshot)
    }

    /// Takes a snapshot.
    ///
    /// Needs [`Operation::CreateSnapshot`], and where asked for [`MemorySnapshot`](crate::model::Feature::MemorySnapshot),
    /// [`DiskOnlySnapshot`](crate::model::Feature::DiskOnlySnapshot) or
    /// [`QuiescedSnapshot`](crate::model::Feature::QuiescedSnapshot); a create: not repeated where its answer is lost. libvirt:
    /// all disks must be able to have one (qcow2). Proxmox: the storage must.
    ///
    /// # Errors
    /// `AlreadyExists` for a name that is taken, `InvalidState` where the guest's disks cannot have one.
    async fn create_snapshot(&self, vm: &VmId, spec: &SnapshotSpec) -> Result<Started<SnapshotId>> {
        let _ = (vm, spec);
        unsupported(Operation::CreateSnapshot)
    }

    /// Takes a guest back to a snapshot. What it has done since is lost.
    ///
    /// Needs [`Operation::RevertSnapshot`], and where asked for [`RevertAndStart`](crate::model::Feature::RevertAndStart); an
    /// action: not repeated where its answer is lost. Proxmox: the guest is stopped afterwards unless the snapshot has its
    /// memory. libvirt: it does what it did when the snapshot was taken.
    ///
    /// # Errors
    /// `NotFound` for the guest or snapshot, `InvalidState` where other snapshots are in the way (ZFS).
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
    ///
    /// Needs [`Operation::DeleteSnapshot`], and where asked for [`SnapshotChildren`](crate::model::Feature::SnapshotChildren);
    /// twice is the same as once: repeated where its answer is lost.
    ///
    /// # Errors
    /// `NotFound` for the guest or snapshot.
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
