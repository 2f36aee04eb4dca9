//! Snapshots.

use async_trait::async_trait;
use hypervisor_core::model::{
    DeleteSnapshot, RevertSnapshot, SnapshotId, SnapshotInfo, SnapshotSpec, SnapshotTree, Started, VmId,
    VmState,
};
use hypervisor_core::traits::Snapshots;
use hypervisor_core::{ErrorKind, Operation as O, Result};

use super::wire::{DomainAction, tree};
use super::{HyperSdk, named, names};

/// The daemon tells names only: which snapshot is the current one, when it was taken and what it holds is not known. Of the tree, the roots are
/// known and what stands first on a root; others have `parent_unknown` in their `extra`.
#[async_trait]
impl Snapshots for HyperSdk {
    async fn list_snapshots(&self, vm: &VmId) -> Result<SnapshotTree> {
        self.snapshots_of(vm).await.map_err(named(O::ListSnapshots))
    }

    async fn get_snapshot(&self, vm: &VmId, snapshot: &SnapshotId) -> Result<SnapshotInfo> {
        let all = self.snapshots_of(vm).await.map_err(named(O::GetSnapshot))?;
        all.get(snapshot).cloned().ok_or_else(|| named(O::GetSnapshot)(snapshot.not_found()))
    }

    async fn create_snapshot(&self, vm: &VmId, spec: &SnapshotSpec) -> Result<Started<SnapshotId>> {
        spec.validate()?;
        self.require(O::CreateSnapshot, &spec.needs())?;
        let work = async {
            let vm = self.checked(vm).await?;
            let description = spec.description.as_deref().unwrap_or_default();
            self.api.create_snapshot(vm.as_str(), &spec.name, description).await?;
            Ok(SnapshotId::from(spec.name.as_str()))
        };
        work.await.map_err(named(O::CreateSnapshot)).map(Started::done)
    }

    async fn revert_snapshot(
        &self,
        vm: &VmId,
        snapshot: &SnapshotId,
        options: &RevertSnapshot,
    ) -> Result<Started<()>> {
        let work = async {
            let vm = self.checked(vm).await?;
            self.api.revert_snapshot(vm.as_str(), snapshot.as_str()).await?;
            if options.start && self.domain(vm).await?.vm_state() == VmState::Stopped {
                self.api.act(vm.as_str(), DomainAction::Start).await?;
            }
            Ok(())
        };
        work.await.map_err(named(O::RevertSnapshot)).map(Started::done)
    }

    async fn delete_snapshot(
        &self,
        vm: &VmId,
        snapshot: &SnapshotId,
        options: &DeleteSnapshot,
    ) -> Result<Started<()>> {
        self.require(O::DeleteSnapshot, &options.needs())?;
        let work = async {
            let vm = self.checked(vm).await?;
            self.api.delete_snapshot(vm.as_str(), snapshot.as_str()).await
        };
        work.await.map_err(named(O::DeleteSnapshot)).map(Started::done)
    }
}

impl HyperSdk {
    /// A guest's id that may be sent to `virsh`: what is all digits is looked up first.
    async fn checked<'a>(&self, vm: &'a VmId) -> Result<&'a VmId> {
        names::check("vm", vm.as_str())?;
        if vm.as_str().bytes().all(|byte| byte.is_ascii_digit()) {
            self.domain(vm).await?;
        }
        Ok(vm)
    }

    pub(super) async fn snapshots_of(&self, vm: &VmId) -> Result<SnapshotTree> {
        let vm = self.checked(vm).await?;
        match self.api.snapshots(vm.as_str()).await {
            Ok(rows) => Ok(tree(rows)),
            // `virsh` only says that it failed.
            Err(error) if error.kind() == ErrorKind::Backend => {
                self.domain(vm).await?;
                Err(error)
            }
            Err(error) => Err(error),
        }
    }
}
