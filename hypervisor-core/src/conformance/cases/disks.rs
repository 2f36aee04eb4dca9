use super::table::area;
use crate::conformance::check::{Check, check, check_eq, refused_field, refused_unknown};
use crate::conformance::context::{Context, Made};
use crate::model::Feature::{HotplugDisk, LiveResizeDisk, VolumeBacking};
use crate::model::{
    ByteSize, DetachDisk, DiskDevice, DiskId, DiskInfo, DiskSpec, VmId, VolumeFormat, VolumeId,
};
use crate::operation::Operation::{
    AttachDisk, CreateVm, CreateVolume, DeleteVm, DetachDisk as Detach, GetVmConfig, GetVolume, ResizeDisk,
    StartVm,
};

area! { "disks":
    a_new_disk_is_shown [CreateVm, GetVmConfig, CreateVolume];
    a_new_disk_has_a_volume [CreateVm, GetVmConfig, CreateVolume, GetVolume];
    a_new_disk_goes_with_its_guest [CreateVm, DeleteVm, GetVmConfig, CreateVolume, GetVolume];
    two_disks_have_two_slots [CreateVm, GetVmConfig, CreateVolume];
    an_existing_volume_is_used [CreateVm, GetVmConfig, CreateVolume];
    a_copy_is_a_volume_of_its_own [CreateVm, GetVmConfig, CreateVolume, GetVolume];
    a_linked_disk_names_its_base [CreateVm, GetVmConfig, CreateVolume, GetVolume, VolumeBacking];
    a_guest_on_a_missing_volume_is_refused [CreateVm, CreateVolume];
    a_disk_of_no_size_is_refused [CreateVm, CreateVolume];
    a_cd_drive_may_be_empty [CreateVm, GetVmConfig];
    an_empty_disk_is_refused [CreateVm];
    a_disk_is_attached_cold [CreateVm, GetVmConfig, CreateVolume, AttachDisk];
    a_read_only_disk_is_shown_so [CreateVm, GetVmConfig, CreateVolume, AttachDisk];
    a_detached_volume_is_kept [CreateVm, GetVmConfig, CreateVolume, GetVolume, AttachDisk, Detach];
    a_detached_volume_is_deleted_when_asked [CreateVm, GetVmConfig, CreateVolume, GetVolume, AttachDisk, Detach];
    a_missing_volume_is_not_attached [CreateVm, GetVmConfig, CreateVolume, AttachDisk];
    an_unknown_guest_takes_no_disk [CreateVolume, AttachDisk];
    an_unknown_disk_is_not_detached [CreateVm, Detach];
    an_unknown_disk_is_not_resized [CreateVm, ResizeDisk];
    a_disk_grows [CreateVm, GetVmConfig, CreateVolume, ResizeDisk];
    a_disk_never_shrinks [CreateVm, GetVmConfig, CreateVolume, ResizeDisk];
    a_disk_grows_under_a_running_guest [CreateVm, GetVmConfig, CreateVolume, ResizeDisk, StartVm, LiveResizeDisk];
    a_disk_is_attached_to_a_running_guest [CreateVm, GetVmConfig, CreateVolume, AttachDisk, StartVm, HotplugDisk];
    a_disk_is_detached_from_a_running_guest [CreateVm, GetVmConfig, CreateVolume, GetVolume, AttachDisk, Detach, StartVm, HotplugDisk];
}

/// A stopped guest with one new disk of 1 MiB.
async fn with_disk(cx: &Context) -> Check<(VmId, DiskInfo)> {
    let vm = cx.create(&cx.spec("vm").disk(cx.small_disk().await?)).await?;
    let disk = cx.disk(&vm).await?;
    Ok((vm, disk))
}

fn volume_of(disk: &DiskInfo) -> Check<VolumeId> {
    let volume = disk.volume.clone();
    volume
        .ok_or_else(|| crate::conformance::check::Stop::failed(format!("disk `{}` names no volume", disk.id)))
}

async fn attach(cx: &Context, vm: &VmId, disk: &DiskSpec) -> Check<DiskInfo> {
    let slot = cx.done(cx.hv.attach_disk(vm, disk).await).await?;
    let disk = cx.disk_in(vm, &slot).await?;
    if let Some(volume) = &disk.volume {
        cx.keep(Made::Volume(volume.clone()));
    }
    Ok(disk)
}

async fn a_new_disk_is_shown(cx: &Context) -> Check {
    let (_, disk) = with_disk(cx).await?;
    check_eq!("its device", disk.device, DiskDevice::Disk);
    let found = disk.capacity;
    check!(found >= Some(ByteSize::mib(1)), "its capacity is {found:?} where 1 MiB is expected");
    check!(!disk.read_only, "the new disk is read-only");
    Ok(())
}

async fn a_new_disk_has_a_volume(cx: &Context) -> Check {
    let (_, disk) = with_disk(cx).await?;
    let volume = cx.volume_info(&volume_of(&disk)?).await?;
    check_eq!("its pool", volume.pool, cx.pool().await?);
    if cx.has_formats().await? {
        check_eq!("the volume's capacity", Some(volume.capacity), disk.capacity);
        return Ok(());
    }
    // Block storage rounds up to its own units, and some backends tell what was asked for.
    let shown = disk.capacity.unwrap_or(ByteSize::ZERO);
    let fits = volume.capacity >= shown && volume.capacity < shown.saturating_add(cx.units(1));
    check!(fits, "the volume has {} where the disk shows {shown}", volume.capacity);
    Ok(())
}

async fn a_new_disk_goes_with_its_guest(cx: &Context) -> Check {
    let (vm, disk) = with_disk(cx).await?;
    let volume = volume_of(&disk)?;
    cx.done(cx.hv.delete_vm(&vm, &crate::model::DeleteVm::with_disks()).await).await?;
    refused_unknown("reading the volume", cx.hv.get_volume(&volume).await, VolumeId::NOUN, &volume)
}

async fn two_disks_have_two_slots(cx: &Context) -> Check {
    let (first, second) = (cx.small_disk().await?, cx.small_disk().await?.size(cx.units(2)));
    let vm = cx.create(&cx.spec("vm").disk(first).disk(second)).await?;
    let disks = cx.config(&vm).await?.disks;
    check_eq!("the number of disks", disks.len(), 2);
    let [first, second] = disks.as_slice() else { return Ok(()) };
    check!(first.id != second.id, "both disks are in the slot `{}`", first.id);
    check!(first.volume != second.volume, "both disks are the volume {:?}", first.volume);
    check!(first.capacity < second.capacity, "the disks are not in the order of the spec: {disks:?}");
    Ok(())
}

async fn an_existing_volume_is_used(cx: &Context) -> Check {
    let volume = cx.raw("v", ByteSize::mib(1)).await?;
    let vm = cx.create(&cx.spec("vm").disk(DiskSpec::volume(&volume))).await?;
    check_eq!("the disk's volume", cx.disk(&vm).await?.volume, Some(volume));
    Ok(())
}

async fn a_copy_is_a_volume_of_its_own(cx: &Context) -> Check {
    let base = cx.raw("v", ByteSize::mib(1)).await?;
    let disk = DiskSpec::copy_of(&base).size(ByteSize::mib(2)).in_pool(cx.pool().await?);
    let vm = cx.create(&cx.spec("vm").disk(disk)).await?;
    let disk = cx.disk(&vm).await?;
    let copy = cx.volume_info(&volume_of(&disk)?).await?;
    check!(copy.id != base, "the disk is the original, `{base}`");
    check!(copy.capacity >= ByteSize::mib(2), "its capacity is {} where 2 MiB is expected", copy.capacity);
    check_eq!("what the copy starts from", copy.backing, None);
    Ok(())
}

async fn a_linked_disk_names_its_base(cx: &Context) -> Check {
    let base = cx.raw("base", ByteSize::mib(1)).await?;
    let disk = DiskSpec::linked_to(&base).in_pool(cx.pool().await?);
    let vm = cx.create(&cx.spec("vm").disk(disk)).await?;
    let disk = cx.disk(&vm).await?;
    let top = cx.volume_info(&volume_of(&disk)?).await?;
    check!(top.id != base, "the disk is the original, `{base}`");
    let backing = top.backing.unwrap_or_default();
    check!(backing.ends_with(&cx.name("base")), "it starts from {backing:?}, not from volume `{base}`");
    Ok(())
}

async fn a_guest_on_a_missing_volume_is_refused(cx: &Context) -> Check {
    let gone = cx.missing_volume().await?;
    for disk in [DiskSpec::volume(&gone), DiskSpec::copy_of(&gone)] {
        let spec = cx.spec("vm").disk(cx.small_disk().await?).disk(disk);
        let made = cx.done(cx.hv.create_vm(&spec).await).await;
        refused_unknown("a guest on a missing volume", made, VolumeId::NOUN, &gone)?;
        cx.nothing_made("a guest on a missing volume").await?;
    }
    Ok(())
}

async fn a_disk_of_no_size_is_refused(cx: &Context) -> Check {
    let made = cx.hv.create_vm(&cx.spec("vm").disk(cx.small_disk().await?.size(ByteSize::ZERO))).await;
    refused_field("a disk of no size", made, "disks[0].size")?;
    cx.nothing_made("a disk of no size").await
}

async fn a_cd_drive_may_be_empty(cx: &Context) -> Check {
    let vm = cx.create(&cx.spec("vm").disk(DiskSpec::empty_cdrom())).await?;
    let drive = cx.disk(&vm).await?;
    check_eq!("its device", drive.device, DiskDevice::Cdrom);
    check_eq!("its volume", drive.volume, None);
    Ok(())
}

async fn an_empty_disk_is_refused(cx: &Context) -> Check {
    let mut disk = DiskSpec::empty_cdrom();
    disk.device = DiskDevice::Disk;
    let made = cx.hv.create_vm(&cx.spec("vm").disk(disk)).await;
    refused_field("a disk of nothing", made, "disks[0].source")?;
    cx.nothing_made("a disk of nothing").await
}

async fn a_disk_is_attached_cold(cx: &Context) -> Check {
    let (vm, first) = with_disk(cx).await?;
    let second = attach(cx, &vm, &cx.small_disk().await?).await?;
    check!(first.id != second.id, "both disks are in the slot `{}`", first.id);
    check_eq!("the number of disks", cx.config(&vm).await?.disks.len(), 2);
    Ok(())
}

async fn a_read_only_disk_is_shown_so(cx: &Context) -> Check {
    let vm = cx.vm("vm").await?;
    let volume = cx.raw("v", ByteSize::mib(1)).await?;
    let spec = DiskSpec::volume(&volume).format(VolumeFormat::Raw).read_only(true);
    let disk = attach(cx, &vm, &spec).await?;
    check!(disk.read_only, "the disk is writable");
    check_eq!("its volume", disk.volume, Some(volume));
    Ok(())
}

async fn detach(cx: &Context, options: DetachDisk) -> Check<VolumeId> {
    let vm = cx.vm("vm").await?;
    let disk = attach(cx, &vm, &cx.small_disk().await?).await?;
    cx.done(cx.hv.detach_disk(&vm, &disk.id, &options).await).await?;
    check!(cx.config(&vm).await?.disks.is_empty(), "disk `{}` is still there", disk.id);
    volume_of(&disk)
}

async fn a_detached_volume_is_kept(cx: &Context) -> Check {
    let volume = detach(cx, DetachDisk::keep_volume()).await?;
    check_eq!("the volume's id", cx.volume_info(&volume).await?.id, volume);
    Ok(())
}

async fn a_detached_volume_is_deleted_when_asked(cx: &Context) -> Check {
    let volume = detach(cx, DetachDisk::with_volume()).await?;
    refused_unknown("reading the volume", cx.hv.get_volume(&volume).await, VolumeId::NOUN, &volume)
}

async fn a_missing_volume_is_not_attached(cx: &Context) -> Check {
    let vm = cx.vm("vm").await?;
    let gone = cx.missing_volume().await?;
    let attached = cx.done(cx.hv.attach_disk(&vm, &DiskSpec::volume(&gone)).await).await;
    refused_unknown("attaching a missing volume", attached, VolumeId::NOUN, &gone)?;
    check!(cx.config(&vm).await?.disks.is_empty(), "the guest has a disk that was refused");
    Ok(())
}

async fn an_unknown_guest_takes_no_disk(cx: &Context) -> Check {
    let unknown = VmId::from(cx.name("none"));
    let attached = cx.done(cx.hv.attach_disk(&unknown, &cx.small_disk().await?).await).await;
    refused_unknown("attaching a disk to an unknown guest", attached, VmId::NOUN, &unknown)?;
    cx.nothing_made("a disk for an unknown guest").await
}

async fn an_unknown_disk_is_not_detached(cx: &Context) -> Check {
    let vm = cx.vm("vm").await?;
    let unknown = DiskId::from("vdq");
    let detached = cx.done(cx.hv.detach_disk(&vm, &unknown, &DetachDisk::keep_volume()).await).await;
    refused_unknown("detaching an unknown disk", detached, DiskId::NOUN, &unknown)
}

async fn an_unknown_disk_is_not_resized(cx: &Context) -> Check {
    let vm = cx.vm("vm").await?;
    let unknown = DiskId::from("vdq");
    let resized = cx.done(cx.hv.resize_disk(&vm, &unknown, ByteSize::mib(9)).await).await;
    refused_unknown("resizing an unknown disk", resized, DiskId::NOUN, &unknown)
}

async fn grow(cx: &Context, vm: &VmId, disk: &DiskInfo) -> Check {
    let size = cx.units(3);
    cx.done(cx.hv.resize_disk(vm, &disk.id, size).await).await?;
    let found = cx.disk_in(vm, &disk.id).await?.capacity;
    check!(found >= Some(size), "its capacity is {found:?} where {size} is expected");
    Ok(())
}

async fn a_disk_grows(cx: &Context) -> Check {
    let (vm, disk) = with_disk(cx).await?;
    grow(cx, &vm, &disk).await
}

async fn a_disk_never_shrinks(cx: &Context) -> Check {
    let vm = cx.create(&cx.spec("vm").disk(cx.small_disk().await?.size(ByteSize::mib(16)))).await?;
    let disk = cx.disk(&vm).await?;
    let smaller = cx.done(cx.hv.resize_disk(&vm, &disk.id, ByteSize::mib(1)).await).await;
    refused_field("making a disk smaller", smaller, "capacity")?;
    check_eq!("its capacity", cx.disk(&vm).await?.capacity, disk.capacity);
    Ok(())
}

async fn a_disk_grows_under_a_running_guest(cx: &Context) -> Check {
    let (vm, disk) = with_disk(cx).await?;
    cx.start(&vm).await?;
    grow(cx, &vm, &disk).await
}

async fn a_disk_is_attached_to_a_running_guest(cx: &Context) -> Check {
    let vm = cx.running("vm").await?;
    let disk = attach(cx, &vm, &cx.small_disk().await?).await?;
    cx.power_off(&vm).await?;
    check_eq!("the disk after a power cycle", cx.disk(&vm).await?.id, disk.id);
    Ok(())
}

async fn a_disk_is_detached_from_a_running_guest(cx: &Context) -> Check {
    let vm = cx.lively("vm").await?;
    let disk = attach(cx, &vm, &cx.small_disk().await?).await?;
    let detached = cx.done(cx.hv.detach_disk(&vm, &disk.id, &DetachDisk::keep_volume()).await).await;
    cx.unplugged(detached)?;
    let left = cx.config(&vm).await?.disks;
    check!(left.iter().all(|each| each.id != disk.id), "disk `{}` is still there", disk.id);
    cx.volume_info(&volume_of(&disk)?).await?;
    Ok(())
}
