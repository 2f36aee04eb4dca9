//! Block jobs: a running guest's disk is copied elsewhere, or its chain of files is made shorter.

mod chain;
mod copy;
mod job;
mod spec;

use std::sync::Arc;

use hypervisor_core::model::{ByteSize, DiskId, Started, VmId, VolumeId};
use hypervisor_core::{Operation, Result};
use virt::connect::Connect;
use virt::domain::Domain;
use virt::storage_pool::StoragePool;
use virt_sys as sys;

use self::chain::{merged, pulled};
use self::job::Ending;
pub use self::spec::{BlockCommit, BlockCopy, BlockPull};
use crate::backend::{Inner, Libvirt};
use crate::compute::volumes::{delete_all, handle_at_path};
use crate::error::{Fail, Outcome, named};
use crate::ffi;
use crate::tasks::Running;

impl Libvirt {
    /// Copies a running guest's disk into another pool, as a task with progress that can be cancelled. By default the
    /// guest goes on with the copy; the original stays where it is.
    ///
    /// # Errors
    /// `NotFound`, `InvalidState` for a guest that does not run, `AlreadyExists` for a volume of that name.
    pub async fn block_copy(&self, vm: &VmId, disk: &DiskId, spec: &BlockCopy) -> Result<Started<VolumeId>> {
        let (inner, vm, disk, spec) = (Arc::clone(&self.inner), vm.clone(), disk.clone(), spec.clone());
        let operation = Operation::UpdateVm;
        inner.look(operation, &vm, &disk).await?;
        let (id, target) = inner.make_copy(operation, &vm, &disk, &spec).await?;
        let subject = vm.clone();
        let task = self.inner.tasks.spawn_watched(operation, Some(&subject), |running| async move {
            inner.carry_out_copy(operation, &running, &vm, &disk, &spec, target).await
        });
        Ok(Started::running(id, task))
    }

    /// Merges upper files of a running guest's disk into a lower one, as a task with progress that can be cancelled.
    ///
    /// # Errors
    /// `NotFound`, `InvalidState` for a guest that does not run, `InvalidInput` for a file that is not in the chain.
    pub async fn block_commit(&self, vm: &VmId, disk: &DiskId, spec: &BlockCommit) -> Result<Started<()>> {
        let (inner, vm, disk, spec) = (Arc::clone(&self.inner), vm.clone(), disk.clone(), spec.clone());
        let operation = Operation::UpdateVm;
        merged(&inner.look(operation, &vm, &disk).await?.chain, &spec).map_err(named(operation))?;
        let subject = vm.clone();
        let task = self.inner.tasks.spawn_watched(operation, Some(&subject), |running| async move {
            commit(&inner, operation, &running, &vm, &disk, &spec).await
        });
        Ok(Started::running((), task))
    }

    /// Fills the uppermost file of a running guest's disk, so that it needs the lower ones no more, as a task with
    /// progress that can be cancelled.
    ///
    /// # Errors
    /// `NotFound`, `InvalidState` for a guest that does not run, `InvalidInput` for a file that is not in the chain.
    pub async fn block_pull(&self, vm: &VmId, disk: &DiskId, spec: &BlockPull) -> Result<Started<()>> {
        let (inner, vm, disk, spec) = (Arc::clone(&self.inner), vm.clone(), disk.clone(), spec.clone());
        let operation = Operation::UpdateVm;
        pulled(&inner.look(operation, &vm, &disk).await?.chain, &spec).map_err(named(operation))?;
        let subject = vm.clone();
        let task = self.inner.tasks.spawn_watched(operation, Some(&subject), |running| async move {
            pull(&inner, operation, &running, &vm, &disk, &spec).await
        });
        Ok(Started::running((), task))
    }

    /// The files of a running guest's disk, from the one that it writes to down to the lowest.
    ///
    /// # Errors
    /// `NotFound`; `InvalidState` for a guest that does not run.
    pub async fn disk_chain(&self, vm: &VmId, disk: &DiskId) -> Result<Vec<String>> {
        self.inner.look(Operation::GetVmConfig, vm, disk).await.map(|look| look.chain)
    }
}

/// Merges upper files of a running guest's disk into a lower one.
pub(crate) async fn commit(
    inner: &Arc<Inner>,
    operation: Operation,
    running: &Running,
    vm: &VmId,
    disk: &DiskId,
    spec: &BlockCommit,
) -> Result<()> {
    let before = inner.look(operation, vm, disk).await?;
    let gone = merged(&before.chain, spec)?;
    let active = gone.first() == before.chain.first();
    // Without names libvirt takes the ends of the chain.
    let (base, top) = (spec.base.clone(), spec.top.clone().filter(|_| !active));
    let speed = spec.bandwidth.map_or(0, ByteSize::as_bytes);
    running.stage(format!("merges {} of {disk}", plural(gone.len())));
    let begin = move |domain: &Domain, slot: &str| {
        ffi::block_commit(domain, slot, base.as_deref(), top.as_deref(), active, speed)
    };
    let ending = if active { Ending::Pivot } else { Ending::Itself };
    let without = gone.clone();
    inner
        .block_job(operation, running, vm, disk, begin, ending, move |chain| {
            !without.iter().any(|path| chain.contains(path))
        })
        .await?;
    if spec.delete {
        let work = move |conn: &Connect| {
            refresh_around(conn, &gone)?;
            delete_all(conn, &gone)
        };
        inner.call_slow(operation, work).await?;
    }
    Ok(())
}

/// Fills the uppermost file of a running guest's disk.
pub(crate) async fn pull(
    inner: &Arc<Inner>,
    operation: Operation,
    running: &Running,
    vm: &VmId,
    disk: &DiskId,
    spec: &BlockPull,
) -> Result<()> {
    let before = inner.look(operation, vm, disk).await?;
    let gone = pulled(&before.chain, spec)?;
    running.stage(format!("takes {} of {disk} into the uppermost", plural(gone.len())));
    let (base, speed) = (spec.base.clone(), spec.bandwidth.map_or(0, ByteSize::as_bytes));
    let begin = move |domain: &Domain, slot: &str| ffi::block_pull(domain, slot, base.as_deref(), speed);
    inner
        .block_job(operation, running, vm, disk, begin, Ending::Itself, move |chain| {
            !gone.iter().any(|path| chain.contains(path))
        })
        .await
}

/// Lets pools look again whose folders hold files that they do not know: QEMU made them, not the pool.
fn refresh_around(conn: &Connect, paths: &[String]) -> Outcome<()> {
    for path in paths {
        if handle_at_path(conn, path)?.is_some() {
            continue;
        }
        let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
        match StoragePool::lookup_by_target_path(conn, folder) {
            Ok(pool) => drop(pool.refresh(0)?),
            Err(error) => match Fail::from(error) {
                fail if fail.has_code(sys::VIR_ERR_NO_STORAGE_POOL) => {}
                fail => return Err(fail),
            },
        }
    }
    Ok(())
}

fn plural(count: usize) -> String {
    if count == 1 { "one file".to_owned() } else { format!("{count} files") }
}
