//! Snapshots.

use async_trait::async_trait;
use hypervisor_core::model::{
    DeleteSnapshot, RevertSnapshot, SnapshotId, SnapshotInfo, SnapshotSpec, SnapshotTree, Started, VmId,
};
use hypervisor_core::{Error, ErrorKind, Operation as O, Result, Snapshots};

use super::V1;
use super::call::{about, body, json};
use super::wire::envelope::{Listed, key};
use super::wire::snapshot::{self, SnapshotRecord};

#[async_trait]
impl Snapshots for V1 {
    async fn list_snapshots(&self, vm: &VmId) -> Result<SnapshotTree> {
        if self.native {
            let request = self.request(O::ListSnapshots, &[vm.as_str()])?;
            return self.link.field::<key::Tree, _>(request).await.map_err(about(VmId::NOUN, vm));
        }
        let listed = self.snapshot_records(vm).await?;
        Ok(SnapshotTree::new(listed.iter().filter_map(SnapshotRecord::to_info).collect()))
    }

    async fn get_snapshot(&self, vm: &VmId, snapshot: &SnapshotId) -> Result<SnapshotInfo> {
        if self.native {
            let request = self.request(O::GetSnapshot, &[vm.as_str(), snapshot.as_str()])?;
            return self
                .link
                .info::<key::Snapshot, _>(request)
                .await
                .map_err(about(SnapshotId::NOUN, snapshot));
        }
        let tree = self.list_snapshots(vm).await?;
        let found = tree.get(snapshot).cloned();
        found.ok_or_else(|| snapshot.not_found().with_operation(O::GetSnapshot))
    }

    async fn create_snapshot(&self, vm: &VmId, spec: &SnapshotSpec) -> Result<Started<SnapshotId>> {
        spec.validate()?;
        self.needs(O::CreateSnapshot, &spec.needs())?;
        let named = |error: Error| match error.kind() {
            ErrorKind::AlreadyExists => error.with_target(SnapshotId::NOUN, &spec.name),
            _ => error.with_target(VmId::NOUN, vm),
        };
        let request = self.request(O::CreateSnapshot, &[vm.as_str()])?;
        if self.native {
            return self.link.started(request.json(&body("spec", spec)?)).await.map_err(named);
        }
        let written = self.write(request.json(&snapshot::create_body(spec))).await.map_err(named)?;
        Ok(written.started(SnapshotId::from(spec.name.as_str())))
    }

    async fn revert_snapshot(
        &self,
        vm: &VmId,
        snapshot: &SnapshotId,
        options: &RevertSnapshot,
    ) -> Result<Started<()>> {
        self.needs(O::RevertSnapshot, &options.needs())?;
        if self.native {
            let request = self.request(O::RevertSnapshot, &[vm.as_str(), snapshot.as_str()])?;
            let request = request.json(&body("options", options)?);
            return self.link.started(request).await.map_err(about(SnapshotId::NOUN, snapshot));
        }
        // The gateway knows it by an id of its own.
        let listed = self.snapshot_records(vm).await?;
        let found = listed.iter().find(|record| record.known_as() == Some(snapshot.as_str()));
        let address = found.and_then(SnapshotRecord::address);
        let address = address.ok_or_else(|| snapshot.not_found().with_operation(O::RevertSnapshot))?;
        let request = self.request(O::RevertSnapshot, &[vm.as_str(), address])?;
        Ok(self.write(request).await.map_err(about(SnapshotId::NOUN, snapshot))?.started(()))
    }

    async fn delete_snapshot(
        &self,
        vm: &VmId,
        snapshot: &SnapshotId,
        options: &DeleteSnapshot,
    ) -> Result<Started<()>> {
        self.needs(O::DeleteSnapshot, &options.needs())?;
        let request = self.request(O::DeleteSnapshot, &[vm.as_str(), snapshot.as_str()])?;
        let request = request.query("options", json("options", options)?);
        self.link.started(request).await.map_err(about(SnapshotId::NOUN, snapshot))
    }
}

impl V1 {
    async fn snapshot_records(&self, vm: &VmId) -> Result<Vec<SnapshotRecord>> {
        let request = self.request(O::ListSnapshots, &[vm.as_str()])?;
        let listed: Listed<SnapshotRecord> = self.link.data(request).await.map_err(about(VmId::NOUN, vm))?;
        Ok(listed.items)
    }
}
