//! Snapshots.

use async_trait::async_trait;
use hypervisor_core::http::{Method, Request, segment};
use hypervisor_core::model::{
    DeleteSnapshot, PageRequest, RevertSnapshot, SnapshotId, SnapshotInfo, SnapshotSpec, SnapshotTree,
    Started, VmId,
};
use hypervisor_core::{Error, ErrorKind, Operation as O, Result, Snapshots};
use serde_json::json;

use super::VirtualizationMcp;
use super::call::about;
use super::wire::SnapshotRecord;

#[async_trait]
impl Snapshots for VirtualizationMcp {
    async fn list_snapshots(&self, vm: &VmId) -> Result<SnapshotTree> {
        self.needs(O::ListSnapshots, &[])?;
        Ok(SnapshotTree::new(self.snapshot_infos(vm).await?))
    }

    async fn get_snapshot(&self, vm: &VmId, snapshot: &SnapshotId) -> Result<SnapshotInfo> {
        self.needs(O::GetSnapshot, &[])?;
        let found = self.snapshot_infos(vm).await?.into_iter().find(|info| info.id == *snapshot);
        found.ok_or_else(|| snapshot.not_found().with_operation(O::GetSnapshot))
    }

    async fn create_snapshot(&self, vm: &VmId, spec: &SnapshotSpec) -> Result<Started<SnapshotId>> {
        spec.validate()?;
        self.needs(O::CreateSnapshot, &spec.needs())?;
        let body =
            json!({ "snapshot_name": spec.name, "description": spec.description.as_deref().unwrap_or("") });
        let request = self.about_vm(O::CreateSnapshot, Method::POST, vm, "snapshot")?.json(&body);
        let named = |error: Error| match error.kind() {
            ErrorKind::AlreadyExists => error.with_target(SnapshotId::NOUN, &spec.name),
            _ => error.with_target(VmId::NOUN, vm),
        };
        self.link.send(request).await.map_err(named)?;
        Ok(Started::done(SnapshotId::from(spec.name.as_str())))
    }

    async fn revert_snapshot(
        &self,
        vm: &VmId,
        snapshot: &SnapshotId,
        options: &RevertSnapshot,
    ) -> Result<Started<()>> {
        self.needs(O::RevertSnapshot, &options.needs())?;
        self.on_snapshot(O::RevertSnapshot, vm, snapshot, "restore").await
    }

    async fn delete_snapshot(
        &self,
        vm: &VmId,
        snapshot: &SnapshotId,
        options: &DeleteSnapshot,
    ) -> Result<Started<()>> {
        self.needs(O::DeleteSnapshot, &options.needs())?;
        self.on_snapshot(O::DeleteSnapshot, vm, snapshot, "delete-snapshot").await
    }
}

impl VirtualizationMcp {
    fn about_vm(&self, operation: O, method: Method, vm: &VmId, verb: &str) -> Result<Request> {
        let path = format!("/vms/{}/{verb}", segment(vm.as_str())?);
        Ok(self.link.request(method, &path).operation(operation))
    }

    async fn on_snapshot(
        &self,
        operation: O,
        vm: &VmId,
        snapshot: &SnapshotId,
        verb: &str,
    ) -> Result<Started<()>> {
        let request = self.about_vm(operation, Method::POST, vm, verb)?;
        let request = request.json(&json!({ "snapshot_name": snapshot.as_str() }));
        self.link.send(request).await.map_err(about(SnapshotId::NOUN, snapshot))?;
        Ok(Started::done(()))
    }

    pub(super) async fn snapshot_infos(&self, vm: &VmId) -> Result<Vec<SnapshotInfo>> {
        let mut all = Vec::new();
        let mut page = PageRequest::first();
        loop {
            let request = self.about_vm(O::ListSnapshots, Method::GET, vm, "snapshots")?;
            let known_as = |record: &SnapshotRecord| record.name.clone().unwrap_or_default();
            let found = self.link.page::<SnapshotRecord>(request, "snapshots", &page, known_as).await;
            let found = found.map_err(about(VmId::NOUN, vm))?;
            all.extend(found.items.iter().filter_map(SnapshotRecord::to_info));
            match found.next {
                Some(next) if page.cursor.as_ref() != Some(&next) => page = PageRequest::first().cursor(next),
                _ => return Ok(all),
            }
        }
    }
}
