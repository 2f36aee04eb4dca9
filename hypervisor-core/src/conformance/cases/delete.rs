use std::collections::BTreeSet;

use crate::conformance::case::Case;
use crate::conformance::check::{Check, Stop, check, check_eq, names, refused, refused_unknown};
use crate::conformance::context::{Context, Made};
use crate::error::ErrorKind;
use crate::model::{
    ByteSize, DeleteVm, DiskSpec, DisposeDisks, Feature, PowerAction, SnapshotSpec, VmId, VmState, VolumeId,
};
use crate::operation::Operation;

pub(super) fn cases() -> Vec<Case> {
    use Operation::{
        CreateSnapshot, CreateVm, CreateVolume, DeleteVm, GetVmConfig, ListSnapshots, ListVolumes, PauseVm,
        StartVm,
    };
    vec![
        case!("delete", deleted_guest_is_gone, [CreateVm]),
        case!("delete", disks_go_with_it, [CreateVm, CreateVolume, ListVolumes]),
        case!("delete", disks_are_kept, [CreateVm, CreateVolume, ListVolumes, Feature::KeepDisks]),
        case!(
            "delete",
            only_listed_disks_go,
            [CreateVm, CreateVolume, ListVolumes, GetVmConfig, Feature::ListedDisks]
        ),
        case!("delete", running_guest_is_refused, [CreateVm, StartVm]),
        case!("delete", paused_guest_is_refused, [CreateVm, StartVm, PauseVm]),
        case!("delete", running_guest_is_powered_off_when_asked, [CreateVm, StartVm]),
        case!(
            "delete",
            guest_with_snapshots_is_refused,
            [CreateVm, CreateVolume, CreateSnapshot, ListSnapshots]
        ),
        case!(
            "delete",
            snapshots_go_when_asked,
            [CreateVm, CreateVolume, CreateSnapshot, ListSnapshots, ListVolumes]
        ),
        case!("delete", another_uid_is_a_conflict, [CreateVm]),
        case!("delete", name_is_free_again, [CreateVm]),
        case!("delete", unknown_guest_is_not_found, [DeleteVm]),
    ]
}

async fn delete(cx: &Context, vm: &VmId, options: &DeleteVm) -> crate::Result<()> {
    cx.done(cx.hv.delete_vm(vm, options).await).await
}

async fn is_gone(cx: &Context, vm: &VmId) -> Check {
    refused_unknown("reading a deleted guest", cx.hv.get_vm(vm).await, VmId::NOUN, vm)
}

/// A guest with this many disks of 1 MiB.
async fn with_disks(cx: &Context, count: usize) -> Check<VmId> {
    let pool = cx.pool().await?;
    let mut spec = cx.spec("a");
    for _ in 0..count {
        spec = spec.disk(DiskSpec::new_volume(ByteSize::mib(1)).in_pool(&pool));
    }
    cx.create(&spec).await
}

/// All volumes of the pool.
async fn volumes(cx: &Context) -> Check<BTreeSet<VolumeId>> {
    let pool = cx.pool().await?;
    let pool = &pool;
    let all =
        crate::conformance::sweep::every(|page| async move { cx.hv.list_volumes(pool, &page).await }).await?;
    Ok(all.into_iter().map(|volume| volume.id).collect())
}

async fn deleted_guest_is_gone(cx: &Context) -> Check {
    let vm = cx.vm("a").await?;
    delete(cx, &vm, &DeleteVm::with_disks()).await?;
    is_gone(cx, &vm).await?;
    let listed = cx.vms(&crate::model::VmQuery::all()).await?;
    check!(listed.iter().all(|info| info.id != vm), "a deleted guest is still listed");
    refused_unknown("deleting it twice", delete(cx, &vm, &DeleteVm::with_disks()).await, VmId::NOUN, &vm)
}

/// What is left of a guest's volumes. Other cases make volumes in the same pool at the same time: only these are looked at.
async fn left(cx: &Context, of: &[VolumeId]) -> Check<Vec<VolumeId>> {
    let present = volumes(cx).await?;
    Ok(of.iter().filter(|volume| present.contains(volume)).cloned().collect())
}

/// The volumes of a guest's disks, by its configuration.
async fn volumes_of(cx: &Context, vm: &VmId) -> Check<Vec<VolumeId>> {
    if !cx.has(Operation::GetVmConfig) {
        return Err(Stop::skipped("the backend does not say which volumes a guest has"));
    }
    let config = cx.hv.get_vm_config(vm).await?;
    Ok(config.disks.into_iter().filter_map(|disk| disk.volume).collect())
}

async fn disks_go_with_it(cx: &Context) -> Check {
    let vm = with_disks(cx, 2).await?;
    let disks = volumes_of(cx, &vm).await?;
    check_eq!("the number of volumes of two disks", left(cx, &disks).await?.len(), 2);
    delete(cx, &vm, &DeleteVm::with_disks()).await?;
    is_gone(cx, &vm).await?;
    check_eq!("what is left of its volumes", left(cx, &disks).await?, Vec::<VolumeId>::new());
    Ok(())
}

async fn disks_are_kept(cx: &Context) -> Check {
    let vm = with_disks(cx, 1).await?;
    let disks = volumes_of(cx, &vm).await?;
    for disk in &disks {
        cx.keep(Made::Volume(disk.clone()));
    }
    delete(cx, &vm, &DeleteVm::keep_disks()).await?;
    is_gone(cx, &vm).await?;
    check_eq!("what is left of its volumes", left(cx, &disks).await?, disks);
    Ok(())
}

async fn only_listed_disks_go(cx: &Context) -> Check {
    let vm = with_disks(cx, 2).await?;
    let config = cx.hv.get_vm_config(&vm).await?;
    let disks: Vec<VolumeId> = config.disks.iter().filter_map(|disk| disk.volume.clone()).collect();
    for disk in &disks {
        cx.keep(Made::Volume(disk.clone()));
    }
    let slot = config.disks.last().map(|disk| disk.id.clone());
    let options = DeleteVm::new(DisposeDisks::Listed(slot.into_iter().collect()));
    delete(cx, &vm, &options).await?;
    let kept: Vec<VolumeId> = disks.iter().take(1).cloned().collect();
    check_eq!("what is left of its volumes", left(cx, &disks).await?, kept);
    Ok(())
}

async fn refused_while(cx: &Context, vm: &VmId, state: &VmState) -> Check {
    let what = format!("deleting a {state} guest");
    let error = refused(&what, delete(cx, vm, &DeleteVm::with_disks()).await, ErrorKind::InvalidState)?;
    names(&what, &error, VmId::NOUN, vm)?;
    check_eq!("its state after it", cx.state(vm).await?, *state);
    Ok(())
}

async fn running_guest_is_refused(cx: &Context) -> Check {
    let vm = cx.running("a").await?;
    refused_while(cx, &vm, &VmState::Running).await
}

async fn paused_guest_is_refused(cx: &Context) -> Check {
    let vm = cx.running("a").await?;
    cx.power(&vm, PowerAction::Pause).await?;
    cx.wait_state(&vm, &VmState::Paused).await?;
    refused_while(cx, &vm, &VmState::Paused).await
}

async fn running_guest_is_powered_off_when_asked(cx: &Context) -> Check {
    let vm = cx.running("a").await?;
    delete(cx, &vm, &DeleteVm::with_disks().power_off(true)).await?;
    is_gone(cx, &vm).await
}

/// A stopped guest with a disk and a snapshot.
async fn with_snapshot(cx: &Context) -> Check<VmId> {
    let vm = cx.create(&cx.spec("a").disk(cx.versatile_disk().await?)).await?;
    cx.done(cx.hv.create_snapshot(&vm, &SnapshotSpec::new("one")).await).await?;
    Ok(vm)
}

async fn guest_with_snapshots_is_refused(cx: &Context) -> Check {
    let vm = with_snapshot(cx).await?;
    match delete(cx, &vm, &DeleteVm::with_disks()).await {
        // Where nothing of a snapshot is left behind, there is nothing to refuse.
        Ok(()) => is_gone(cx, &vm).await,
        refusal => {
            let error = refused("deleting a guest with a snapshot", refusal, ErrorKind::InvalidState)?;
            names("deleting a guest with a snapshot", &error, VmId::NOUN, &vm)?;
            check_eq!("the number of its snapshots", cx.hv.list_snapshots(&vm).await?.len(), 1);
            Ok(())
        }
    }
}

async fn snapshots_go_when_asked(cx: &Context) -> Check {
    let vm = with_snapshot(cx).await?;
    let disks = volumes_of(cx, &vm).await?;
    delete(cx, &vm, &DeleteVm::with_disks().snapshots(true)).await?;
    is_gone(cx, &vm).await?;
    check_eq!("what is left of its volumes", left(cx, &disks).await?, Vec::<VolumeId>::new());
    Ok(())
}

async fn another_uid_is_a_conflict(cx: &Context) -> Check {
    let vm = cx.vm("a").await?;
    let Some(uid) = cx.get(&vm).await?.uid else {
        return Err(Stop::skipped("the backend gives its guests no uid"));
    };
    let wrong = DeleteVm::with_disks().expected_uid("00000000-0000-4000-8000-000000000001");
    let error =
        refused("deleting a guest of another uid", delete(cx, &vm, &wrong).await, ErrorKind::Conflict)?;
    names("deleting a guest of another uid", &error, VmId::NOUN, &vm)?;
    check_eq!("the uid of the guest after it", cx.get(&vm).await?.uid, Some(uid.clone()));
    delete(cx, &vm, &DeleteVm::with_disks().expected_uid(uid)).await?;
    is_gone(cx, &vm).await
}

async fn name_is_free_again(cx: &Context) -> Check {
    let first = cx.vm("a").await?;
    delete(cx, &first, &DeleteVm::with_disks()).await?;
    let second = cx.vm("a").await?;
    check_eq!("the name of the second guest", cx.get(&second).await?.name, cx.name("a"));
    Ok(())
}

async fn unknown_guest_is_not_found(cx: &Context) -> Check {
    let ghost = VmId::from(cx.name("ghost"));
    let options = DeleteVm::with_disks().power_off(true).snapshots(true);
    refused_unknown(
        "deleting a guest that is not there",
        delete(cx, &ghost, &options).await,
        VmId::NOUN,
        &ghost,
    )
}
