//! Disks and NICs that come, change and go.

use std::sync::Arc;

use hypervisor_core::model::{
    ByteSize, DetachDisk, DiskId, DiskSource, DiskSpec, GuestKind, NicChange, NicId, NicSource, NicSpec,
    Started, TaskId, VmId, VolumeId,
};
use hypervisor_core::{Operation, Result};

use super::{create, list};
use crate::api::Call;
use crate::backend::{Found, Inner};
use crate::storage;
use crate::tasks::begun;
use crate::wire::config::{
    Config, Defaults, decode, encode_attach_disk, encode_attach_nic, encode_detach_disk, encode_detach_nic,
    encode_drop_volume, encode_resize_disk, encode_update_nic,
};
use crate::wire::form::Form;

async fn config(inner: &Inner, operation: Operation, found: &Found) -> Result<Config> {
    Config::read(&list::raw_config(inner, operation, found).await?, found.place.kind)
}

/// Changes the configuration, waiting for nothing.
async fn put(inner: &Inner, operation: Operation, found: &Found, form: Form) -> Result<()> {
    inner.api.bytes(&Call::put(found.path("/config")?, form).operation(operation)).await.map(drop)
}

/// Changes the configuration of what takes time: a task for virtual machines, for containers there is none.
async fn post(inner: &Inner, operation: Operation, found: &Found, form: Form) -> Result<Option<TaskId>> {
    if found.place.kind == GuestKind::Container {
        put(inner, operation, found, form).await?;
        return Ok(None);
    }
    inner.api.task(&Call::post(found.path("/config")?, form).operation(operation)).await
}

async fn defaults(inner: &Inner, operation: Operation, found: &Found) -> Result<Defaults> {
    let view = inner.recent_view(operation).await?;
    let pool = create::pool_for(inner, &view, &found.place.host, found.place.kind);
    Ok(pool.map_or_else(Defaults::default, |pool| Defaults::storage(pool.as_str())))
}

pub(crate) async fn attach_disk(inner: &Arc<Inner>, vm: &VmId, disk: &DiskSpec) -> Result<Started<DiskId>> {
    let operation = Operation::AttachDisk;
    let shared = &**inner;
    let (slot, task, grow, found) = inner
        .on_guest(operation, vm, |found| async move {
            let config = config(shared, operation, &found).await?;
            if let DiskSource::Volume(volume)
            | DiskSource::Copy { of: volume, .. }
            | DiskSource::Linked { backing: volume, .. } = &disk.source
            {
                storage::read(shared, operation, volume, Some(&found.place.host)).await?;
            }
            let defaults = defaults(shared, operation, &found).await?;
            let view = shared.recent_view(operation).await?;
            let (disks, usual) = (std::slice::from_ref(disk), defaults.storage.as_deref());
            create::check_formats(&view, disks, usual, |_| "disk".to_owned())?;
            let (slot, form, grow) = encode_attach_disk(disk, &config, &defaults)?;
            let task = post(shared, operation, &found, form).await?;
            Ok((slot, task, grow, found))
        })
        .await?;
    inner.locator.touch(vm);
    let Some(size) = grow else { return Ok(begun(slot, task)) };
    let (work, disk) = (Arc::clone(inner), slot.clone());
    let chain = inner.chains.start(operation, vm, move |link| async move {
        link.follow(&work, "attaching", task).await?;
        let config = config(&work, operation, &found).await?;
        let form = encode_resize_disk(&disk, size, &config)?;
        let task = work.api.task(&Call::put(found.path("/resize")?, form).operation(operation)).await?;
        link.follow(&work, "growing the copy", task).await
    });
    Ok(Started::running(slot, chain))
}

/// Detaches a disk. Its volume stays the guest's own, as an unused one, unless it is to be deleted.
pub(crate) async fn detach_disk(
    inner: &Inner,
    vm: &VmId,
    disk: &DiskId,
    options: DetachDisk,
) -> Result<Started<()>> {
    let operation = Operation::DetachDisk;
    let task = inner
        .on_guest(operation, vm, |found| async move {
            let before = config(inner, operation, &found).await?;
            let form = encode_detach_disk(disk, &before)?;
            let known = decode(vm, &before).disks.into_iter().find(|known| known.id == *disk);
            put(inner, operation, &found, form).await?;
            inner.locator.touch(vm);
            match known.and_then(|known| known.volume) {
                Some(volume) if options.delete_volume => {
                    let dropped = drop_volume(inner, &found, &volume).await;
                    dropped.map_err(|error| {
                        error.after_part().with_hint("the disk is detached; its volume may be there still")
                    })
                }
                _ => Ok(None),
            }
        })
        .await?;
    Ok(begun((), task))
}

async fn drop_volume(inner: &Inner, found: &Found, volume: &VolumeId) -> Result<Option<TaskId>> {
    let operation = Operation::DetachDisk;
    let after = config(inner, operation, found).await?;
    match encode_drop_volume(volume.as_str(), &after) {
        Some(form) => post(inner, operation, found, form).await,
        // The volume is not the guest's: it was made for another one, or for none.
        None => storage::remove(inner, operation, volume, &found.place.host).await,
    }
}

pub(crate) async fn resize_disk(
    inner: &Inner,
    vm: &VmId,
    disk: &DiskId,
    capacity: ByteSize,
) -> Result<Started<()>> {
    let operation = Operation::ResizeDisk;
    let task = inner
        .on_guest(operation, vm, |found| async move {
            let config = config(inner, operation, &found).await?;
            let form = encode_resize_disk(disk, capacity, &config)?;
            inner.api.task(&Call::put(found.path("/resize")?, form).operation(operation)).await
        })
        .await?;
    inner.locator.touch(vm);
    Ok(begun((), task))
}

pub(crate) async fn attach_nic(inner: &Inner, vm: &VmId, nic: &NicSpec) -> Result<Started<NicId>> {
    let operation = Operation::AttachNic;
    let id = inner
        .on_guest(operation, vm, |found| async move {
            let config = config(inner, operation, &found).await?;
            let (id, form) = encode_attach_nic(nic, &config)?;
            crate::network::check(inner, operation, &found.place.host, std::slice::from_ref(nic)).await?;
            put(inner, operation, &found, form).await?;
            Ok(id)
        })
        .await?;
    Ok(Started::done(id))
}

pub(crate) async fn update_nic(
    inner: &Inner,
    vm: &VmId,
    nic: &NicId,
    change: &NicChange,
) -> Result<Started<()>> {
    let operation = Operation::UpdateNic;
    inner
        .on_guest(operation, vm, |found| async move {
            let config = config(inner, operation, &found).await?;
            let form = encode_update_nic(nic, change, &config)?;
            if let Some(source @ (NicSource::Network(_) | NicSource::Bridge(_))) = &change.source {
                let plug = [NicSpec::new(source.clone())];
                crate::network::check(inner, operation, &found.place.host, &plug).await?;
            }
            put(inner, operation, &found, form).await
        })
        .await?;
    Ok(Started::done(()))
}

pub(crate) async fn detach_nic(inner: &Inner, vm: &VmId, nic: &NicId) -> Result<Started<()>> {
    let operation = Operation::DetachNic;
    inner
        .on_guest(operation, vm, |found| async move {
            let config = config(inner, operation, &found).await?;
            put(inner, operation, &found, encode_detach_nic(nic, &config)?).await
        })
        .await?;
    Ok(Started::done(()))
}
