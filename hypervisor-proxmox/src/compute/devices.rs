//! Disks and NICs that come, change and go.

use std::sync::Arc;

use hypervisor_core::model::{
    ByteSize, DetachDisk, DiskId, DiskSource, DiskSpec, GuestKind, NicChange, NicId, NicSource, NicSpec,
    Started, TaskId, VmId, VolumeId,
};
use hypervisor_core::{Effect, Error, ErrorKind, Operation, Result};

use super::{create, list};
use crate::api::Call;
use crate::backend::{Found, Inner};
use crate::error::unsupported;
use crate::storage;
use crate::tasks::begun;
use crate::wire::config::{
    Config, Defaults, decode, encode_attach_disk, encode_attach_nic, encode_detach_disk, encode_detach_nic,
    encode_drop_volume, encode_resize_disk, encode_update_nic, lets_go_while_running, mentions, places_of,
    takes_while_running, waits,
};
use crate::wire::form::Form;
use crate::wire::storage::owner;

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
    let pool = create::pool_for(inner, operation, &view, &found.place.host, found.place.kind).await;
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
            if !takes_while_running(&config, slot.as_str()) {
                cold(shared, operation, &found, &format!("a disk at `{slot}`")).await?;
            }
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

/// Passes where the guest is off: the server would keep what a running one cannot have as a change that waits.
async fn cold(inner: &Inner, operation: Operation, found: &Found, what: &str) -> Result<()> {
    if !list::current(inner, operation, found).await?.state.is_active() {
        return Ok(());
    }
    let why = format!("a running guest of this configuration does not get {what}");
    Err(unsupported(operation, &why).with_hint("power it off first, or use another bus (`scsi`, `virtio`)"))
}

/// Takes a device away from a guest, for good: where a running one keeps it until its next power cycle, the change that waits is dropped.
async fn take_away(
    inner: &Inner,
    operation: Operation,
    found: &Found,
    before: &Config,
    key: &str,
    form: Form,
) -> Result<()> {
    put(inner, operation, found, form).await?;
    if lets_go_while_running(before, key) || !waits(&list::raw_pending(inner, operation, found).await?, key)?
    {
        return Ok(());
    }
    // The server has taken it out of the boot order, too.
    let order = before.get("boot").filter(|order| order.contains(key));
    let form = Form::new().text("revert", key).maybe("boot", order.map(str::to_owned));
    put(inner, operation, found, form).await?;
    let why = format!("the running guest keeps `{key}` until it is powered off");
    Err(Error::invalid_state(why).with_effect(Effect::None).with_hint("power it off first"))
}

/// Passes unless the volume is that of another guest, which would lose it.
async fn check_owner(inner: &Inner, operation: Operation, found: &Found, volume: &VolumeId) -> Result<()> {
    let Some(owner) = owner(volume.as_str()).filter(|owner| *owner != found.number) else { return Ok(()) };
    if inner.owns(volume) {
        return Ok(());
    }
    match inner.find(operation, &VmId::from(owner.to_string())).await {
        Err(error) if error.is_not_found() => Ok(()),
        Err(error) => Err(error),
        Ok(_) => {
            let why = format!("it is a disk of vm `{owner}`");
            let error = Error::invalid_state(why).with_target(VolumeId::NOUN, volume);
            Err(error.with_hint("detach it and keep it"))
        }
    }
}

/// Deletes a volume that its guest keeps as an unused one, with the mention of it. `None` where no guest that can be seen has the volume: the
/// server does not look, and would take it away from under one that runs.
///
/// # Errors
/// `InvalidState` where it is a disk.
pub(crate) async fn drop_unused(
    inner: &Inner,
    operation: Operation,
    volume: &VolumeId,
) -> Result<Option<Option<TaskId>>> {
    let Some(owner) = owner(volume.as_str()).filter(|_| !inner.owns(volume)) else { return Ok(None) };
    let vm = VmId::from(owner.to_string());
    let dropped = inner.on_guest(operation, &vm, |found| async move {
        let places = places_of(&list::raw_pending(inner, operation, &found).await?, volume.as_str())?;
        if let Some(slot) = places.iter().find(|place| !place.starts_with("unused")) {
            let error = Error::invalid_state(format!("it is disk `{slot}` of vm `{owner}`"));
            return Err(error
                .with_target(VolumeId::NOUN, volume)
                .with_hint("detach it first (`detach_disk`)"));
        }
        match encode_drop_volume(volume.as_str(), &config(inner, operation, &found).await?) {
            Some(form) => post(inner, operation, &found, form).await.map(Some),
            None => check_snapshots(inner, operation, &found, volume).await.map(|()| None),
        }
    });
    match dropped.await {
        // A guest that is gone, or that the caller may not see.
        Err(error) if error.is_not_found() || error.kind() == ErrorKind::PermissionDenied => Ok(None),
        other => other,
    }
}

/// Passes if no snapshot of a guest needs a volume that the guest itself does not have any more.
async fn check_snapshots(
    inner: &Inner,
    operation: Operation,
    found: &Found,
    volume: &VolumeId,
) -> Result<()> {
    for snapshot in crate::snapshots::rows(inner, operation, found).await? {
        let call = Call::get(found.path("/config")?);
        let call = call.query(Form::new().text("snapshot", snapshot.id.as_str())).operation(operation);
        let then = Config::read(&inner.api.bytes(&call).await?, found.place.kind)?;
        if mentions(&then, volume.as_str()) {
            let why = format!("snapshot `{}` of vm `{}` needs it", snapshot.id, found.number);
            let error = Error::invalid_state(why).with_target(VolumeId::NOUN, volume);
            return Err(error.with_hint("delete the snapshot first"));
        }
    }
    Ok(())
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
            let volume = known.and_then(|known| known.volume).filter(|_| options.delete_volume);
            if let Some(volume) = &volume {
                check_owner(inner, operation, &found, volume).await?;
            }
            take_away(inner, operation, &found, &before, disk.as_str(), form).await?;
            inner.locator.touch(vm);
            match volume {
                Some(volume) => {
                    let dropped = drop_volume(inner, &found, &volume).await;
                    dropped.map_err(|error| match error.hint() {
                        Some(_) => error.after_part(),
                        None => error
                            .after_part()
                            .with_hint("The disk is detached; its volume may be there still"),
                    })
                }
                None => Ok(None),
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
        None if owner(volume.as_str()) == Some(found.number) => {
            let why = "it is the guest's own, but not free: a snapshot or another disk has it";
            let error = Error::invalid_state(why).with_target(VolumeId::NOUN, volume);
            Err(error.with_effect(Effect::Partial).with_hint("the disk is detached, its volume was kept"))
        }
        // The volume is not the guest's: it was made for none.
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
            if !takes_while_running(&config, id.as_str()) {
                cold(inner, operation, &found, "another NIC").await?;
            }
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
            let form = encode_detach_nic(nic, &config)?;
            take_away(inner, operation, &found, &config, nic.as_str(), form).await
        })
        .await?;
    Ok(Started::done(()))
}
