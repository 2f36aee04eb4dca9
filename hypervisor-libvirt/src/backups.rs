//! Backups: the disks of a guest as qcow2 files in a pool, with a manifest beside them.
//!
//! QEMU itself writes them (a push backup), so that those of a running guest show one moment. libvirt does this for
//! running guests only: a stopped one is brought up with its CPUs halted meanwhile. A backup of changes is a qcow2
//! file on top of its parent's.
//!
//! Disks on the network (rbd, iscsi, nbd) are backed up as well, because QEMU reads them. A restored guest has a copy of such a disk in a pool;
//! what is on the network stays as it is. Disks that QEMU does not read itself (a whole SCSI unit, `vhostuser`) are refused by their slot.

mod create;
mod manifest;
mod restore;

use async_trait::async_trait;
use hypervisor_core::model::{
    BackupId, BackupInfo, BackupQuery, BackupSpec, Page, PageRequest, RestoreBackup, Started, VmId,
};
use hypervisor_core::traits::Backups;
use hypervisor_core::{Error, ErrorKind, Operation, Result};
use uuid::Uuid;
use virt::connect::Connect;
use virt::domain::Domain;

use self::manifest::Found;
pub(crate) use self::manifest::is_ours;
use crate::backend::Libvirt;
use crate::compute::{halted, lookup};
use crate::error::{Outcome, named};
use crate::ffi;

#[async_trait]
impl Backups for Libvirt {
    async fn list_backups(&self, query: &BackupQuery, page: &PageRequest) -> Result<Page<BackupInfo>> {
        let query = query.clone();
        let work = move |conn: &Connect| {
            let vm = match query.vm.as_ref().map(|vm| Uuid::parse_str(vm.as_str())) {
                None => None,
                Some(Ok(vm)) => Some(vm),
                // No guest of ours has such an id, and none has a backup.
                Some(Err(_)) => return Ok(Vec::new()),
            };
            let pool = query.pool.as_ref().map(|pool| pool.as_str());
            let found = manifest::all(conn, pool, vm)?;
            let infos = found.iter().filter_map(|found| match found.size() {
                Ok(size) => Some(Ok(found.manifest.info(&found.place, Some(size)))),
                // It was deleted after its manifest was read.
                Err(fail) if fail.kind() == hypervisor_core::ErrorKind::NotFound => None,
                Err(fail) => Some(Err(fail)),
            });
            infos.collect()
        };
        let all: Vec<BackupInfo> = self.inner.call_slow(Operation::ListBackups, work).await?;
        Ok(Page::cut(all, page, |backup| backup.id.to_string()))
    }

    async fn create_backup(&self, vm: &VmId, spec: &BackupSpec) -> Result<Started<Option<BackupId>>> {
        let operation = Operation::CreateBackup;
        spec.validate().map_err(named(operation))?;
        self.inner.require(operation, &spec.needs())?;
        create::create(&self.inner, vm, spec.clone()).await
    }

    async fn restore_backup(&self, backup: &BackupId, options: &RestoreBackup) -> Result<Started<VmId>> {
        let operation = Operation::RestoreBackup;
        options.validate().map_err(named(operation))?;
        self.inner.require(operation, &options.needs())?;
        self.inner.check_host(options.host.as_ref()).map_err(named(operation))?;
        restore::restore(&self.inner, backup, options.clone()).await
    }

    async fn delete_backup(&self, backup: &BackupId) -> Result<Started<()>> {
        let id = backup.clone();
        let work = move |conn: &Connect| delete(conn, &id);
        self.inner.call_slow(Operation::DeleteBackup, work).await.map(Started::done)
    }
}

fn delete(conn: &Connect, id: &BackupId) -> Outcome<()> {
    let found = Found::by_id(conn, id)?;
    let refused = |why: String| Err(Error::invalid_state(why).with_target(BackupId::NOUN, id).into());
    if found.manifest.protected {
        return refused("it is protected".to_owned());
    }
    let others = manifest::all(conn, None, Some(found.place.vm))?;
    if let Some(child) = others.iter().find(|other| other.manifest.parent.as_ref() == Some(id)) {
        return refused(format!("backup `{}` holds only the changes since", child.place.id()));
    }
    found.delete()?;
    if let Some(checkpoint) = &found.manifest.checkpoint {
        match lookup::domain(conn, &found.place.vm()) {
            Ok(domain) => forget(&domain, checkpoint),
            Err(fail) if fail.kind() == ErrorKind::NotFound => {}
            Err(fail) => return Err(fail),
        }
    }
    Ok(())
}

/// Removes the checkpoint of a backup that is gone. Of a stopped guest libvirt cannot: the guest's next backup does it.
fn forget(domain: &Domain, checkpoint: &str) {
    let known = ffi::checkpoints(domain).is_ok_and(|known| known.iter().any(|name| name == checkpoint));
    if !known || !domain.is_active().unwrap_or_default() {
        return;
    }
    if let Err(error) = ffi::delete_checkpoint(domain, checkpoint, false) {
        tracing::warn!(checkpoint, %error, "the checkpoint of a deleted backup stays until the next one");
    }
}

/// Gives up what is known of changes since earlier backups, because the disks change in a way that nothing follows: the next backup is a full one.
///
/// In a guest that is off, libvirt forgets its checkpoints and leaves their bitmaps in the disks, where they are in the way of every revert. It is
/// therefore brought up for it, with its CPUs halted.
pub(crate) fn give_up_tracking(domain: &Domain) -> Outcome<()> {
    let ours = tracked(domain)?;
    if ours.is_empty() {
        return Ok(());
    }
    let active = lookup::is_active(domain)?;
    let brought = !active && !domain.has_managed_save(0)? && bring_up(domain);
    for checkpoint in ours.iter().rev() {
        let alive = active || brought;
        match ffi::delete_checkpoint(domain, checkpoint, !alive) {
            // Its bitmap is gone from a disk, and cannot be merged: what is left is to forget it.
            Err(error) if alive && !error.is_disconnect() => {
                tracing::debug!(%checkpoint, %error, "a checkpoint is forgotten rather than deleted");
                ffi::delete_checkpoint(domain, checkpoint, true)?;
            }
            other => other?,
        }
    }
    if brought { halted::take_down(domain) } else { Ok(()) }
}

fn bring_up(domain: &Domain) -> bool {
    match halted::bring_up(domain) {
        Ok(()) => true,
        Err(fail) => {
            tracing::warn!(error = %fail, "what follows changes for backups stays in the disks of a guest that cannot be brought up");
            false
        }
    }
}

/// The same for a guest that is off and whose disks are replaced: there is nothing to be removed from them.
pub(crate) fn forget_tracking(domain: &Domain) -> Outcome<()> {
    let active = lookup::is_active(domain)?;
    for checkpoint in tracked(domain)?.iter().rev() {
        ffi::delete_checkpoint(domain, checkpoint, !active)?;
    }
    Ok(())
}

/// The checkpoints of our backups.
fn tracked(domain: &Domain) -> Outcome<Vec<String>> {
    match ffi::checkpoints(domain) {
        Ok(known) => Ok(known.into_iter().filter(|name| is_ours(name)).collect()),
        // A driver without checkpoints has none.
        Err(error) if crate::error::Fail::from(error.clone()).is_unsupported() => Ok(Vec::new()),
        Err(error) => Err(error.into()),
    }
}
