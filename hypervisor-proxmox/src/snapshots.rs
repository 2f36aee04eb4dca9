//! Snapshots.

use std::sync::Arc;

use async_trait::async_trait;
use hypervisor_core::model::{
    DeleteSnapshot, RevertSnapshot, SnapshotId, SnapshotInfo, SnapshotSpec, SnapshotTree, Started, TaskId,
    VmId,
};
use hypervisor_core::traits::Snapshots;
use hypervisor_core::{Error, ErrorKind, Operation, Result};

use crate::api::Call;
use crate::backend::{Found, Inner, Proxmox};
use crate::compute::{list, start};
use crate::error::named;
use crate::tasks::begun;
use crate::wire::form::{Form, segment};
use crate::wire::snapshot as wire;

#[async_trait]
impl Snapshots for Proxmox {
    async fn list_snapshots(&self, vm: &VmId) -> Result<SnapshotTree> {
        let inner = &*self.inner;
        let operation = Operation::ListSnapshots;
        let rows = inner.on_guest(operation, vm, |found| async move { rows(inner, operation, &found).await });
        Ok(SnapshotTree::new(rows.await?))
    }

    async fn get_snapshot(&self, vm: &VmId, snapshot: &SnapshotId) -> Result<SnapshotInfo> {
        let inner = &*self.inner;
        let operation = Operation::GetSnapshot;
        let rows = inner.on_guest(operation, vm, |found| async move { rows(inner, operation, &found).await });
        let found = rows.await?.into_iter().find(|row| row.id == *snapshot);
        found.ok_or_else(|| named(operation)(snapshot.not_found()))
    }

    async fn create_snapshot(&self, vm: &VmId, spec: &SnapshotSpec) -> Result<Started<SnapshotId>> {
        let operation = Operation::CreateSnapshot;
        spec.validate().map_err(named(operation))?;
        self.inner.require(operation, &spec.needs())?;
        create(&self.inner, vm, spec).await.map_err(named(operation))
    }

    async fn revert_snapshot(
        &self,
        vm: &VmId,
        snapshot: &SnapshotId,
        options: &RevertSnapshot,
    ) -> Result<Started<()>> {
        let operation = Operation::RevertSnapshot;
        self.inner.require(operation, &options.needs())?;
        revert(&self.inner, vm, snapshot, *options).await.map_err(named(operation))
    }

    async fn delete_snapshot(
        &self,
        vm: &VmId,
        snapshot: &SnapshotId,
        options: &DeleteSnapshot,
    ) -> Result<Started<()>> {
        let operation = Operation::DeleteSnapshot;
        self.inner.require(operation, &options.needs())?;
        delete(&self.inner, vm, snapshot, *options).await.map_err(named(operation))
    }
}

pub(crate) async fn rows(inner: &Inner, operation: Operation, found: &Found) -> Result<Vec<SnapshotInfo>> {
    let call = Call::get(found.path("/snapshot")?).operation(operation);
    wire::snapshots(&inner.api.bytes(&call).await?)
}

/// Takes a snapshot. The name is looked at before: that it is taken, only the task would tell.
async fn create(inner: &Inner, vm: &VmId, spec: &SnapshotSpec) -> Result<Started<SnapshotId>> {
    let operation = Operation::CreateSnapshot;
    let task = inner
        .on_guest(operation, vm, |found| async move {
            // What is wrong with the name needs no look at the guest.
            wire::create(spec, found.place.kind, false)?;
            let (rows, info) =
                futures::join!(rows(inner, operation, &found), list::current(inner, operation, &found));
            if rows?.iter().any(|row| row.id.as_str() == spec.name) {
                return Err(Error::already_exists(SnapshotId::NOUN, &spec.name));
            }
            let form = wire::create(spec, found.place.kind, info?.state.is_active())?;
            inner.api.task(&Call::post(found.path("/snapshot")?, form).operation(operation)).await
        })
        .await?;
    inner.locator.touch(vm);
    Ok(begun(spec.name.as_str().into(), task))
}

fn path(found: &Found, snapshot: &SnapshotId, rest: &str) -> Result<String> {
    let name = segment("snapshot", snapshot.as_str()).map_err(|_| snapshot.not_found())?;
    found.path(&format!("/snapshot/{name}{rest}"))
}

async fn revert(
    inner: &Arc<Inner>,
    vm: &VmId,
    snapshot: &SnapshotId,
    options: RevertSnapshot,
) -> Result<Started<()>> {
    let operation = Operation::RevertSnapshot;
    let shared = &**inner;
    let (found, task) = inner
        .on_guest(operation, vm, |found| async move {
            let rows = rows(shared, operation, &found).await?;
            if rows.iter().all(|row| row.id != *snapshot) {
                return Err(named(operation)(snapshot.not_found()));
            }
            let form = Form::new().flag_if("start", options.start);
            let call = Call::post(path(&found, snapshot, "/rollback")?, form).operation(operation);
            Ok((found, shared.api.task(&call).await?))
        })
        .await?;
    inner.locator.touch(vm);
    if !options.start {
        return Ok(begun((), task));
    }
    let work = Arc::clone(inner);
    let chain = inner.chains.start(operation, vm, move |link| async move {
        link.follow(&work, "going back to the snapshot", task.clone()).await?;
        start::by_server(&work, &link, operation, &found, task.as_ref()).await
    });
    Ok(Started::running((), chain))
}

/// Deletes a snapshot; with what stands on it one after the other, the youngest first.
async fn delete(
    inner: &Arc<Inner>,
    vm: &VmId,
    snapshot: &SnapshotId,
    options: DeleteSnapshot,
) -> Result<Started<()>> {
    let operation = Operation::DeleteSnapshot;
    let shared = &**inner;
    let (found, family, task) = inner
        .on_guest(operation, vm, |found| async move {
            let tree = SnapshotTree::new(rows(shared, operation, &found).await?);
            if tree.get(snapshot).is_none() {
                return Err(named(operation)(snapshot.not_found()));
            }
            let mut family = vec![snapshot.clone()];
            if options.children {
                // Parents come before their children.
                for row in &tree {
                    if row.parent.as_ref().is_some_and(|parent| family.contains(parent)) {
                        family.push(row.id.clone());
                    }
                }
            }
            let Some(last) = family.pop() else { return Ok((found, family, None)) };
            let task = remove(shared, &found, &last).await?;
            Ok((found, family, task))
        })
        .await?;
    if family.is_empty() {
        return Ok(begun((), task));
    }
    let work = Arc::clone(inner);
    let chain = inner.chains.start(operation, vm, move |link| async move {
        link.follow(&work, "deleting the youngest", task).await?;
        for snapshot in family.iter().rev() {
            let task = remove(&work, &found, snapshot).await?;
            link.follow(&work, &format!("deleting `{snapshot}`"), task).await?;
        }
        Ok(())
    });
    Ok(Started::running((), chain))
}

async fn remove(inner: &Inner, found: &Found, snapshot: &SnapshotId) -> Result<Option<TaskId>> {
    let call = Call::delete(path(found, snapshot, "")?, Form::new()).operation(Operation::DeleteSnapshot);
    inner.api.task(&call).await
}

impl Proxmox {
    /// Changes what is written about a snapshot.
    ///
    /// # Errors
    /// `NotFound`, `PermissionDenied`.
    pub async fn describe_snapshot(&self, vm: &VmId, snapshot: &SnapshotId, description: &str) -> Result<()> {
        let inner = &*self.inner;
        let operation = Operation::UpdateVm;
        let done = inner.on_guest(operation, vm, |found| async move {
            let form = Form::new().text("description", description);
            let call = Call::put(path(&found, snapshot, "/config")?, form).operation(operation);
            let answer = inner.api.bytes(&call).await;
            answer.map(drop).map_err(|error| match error.kind() {
                ErrorKind::NotFound if !crate::error::says_no_guest(&error) => {
                    crate::error::again(&error, snapshot.not_found())
                }
                _ => error,
            })
        });
        done.await
    }
}
