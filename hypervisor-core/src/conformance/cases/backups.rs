use super::table::area;
use crate::conformance::check::{Check, Stop, check, check_eq, refused, refused_unknown};
use crate::conformance::context::{Context, Made, task_end};
use crate::conformance::sweep::every;
use crate::error::ErrorKind::InvalidState;
use crate::model::Feature::IncrementalBackup;
use crate::model::{
    BackupId, BackupInfo, BackupQuery, BackupSpec, ByteSize, RestoreBackup, VmChange, VmId, VmState,
};
use crate::operation::Operation::{
    CreateBackup, CreateVm, CreateVolume, DeleteBackup, GetVmConfig, ListBackups, RestoreBackup as Restore,
    StartVm, UpdateVm,
};

area! { "backups":
    a_backup_is_listed [CreateVm, CreateVolume, CreateBackup, ListBackups];
    backups_are_listed_by_guest [CreateVm, CreateVolume, CreateBackup, ListBackups];
    a_running_guest_is_backed_up [CreateVm, CreateVolume, StartVm, CreateBackup, ListBackups];
    a_backup_of_changes_names_its_parent [CreateVm, CreateVolume, CreateBackup, ListBackups, IncrementalBackup];
    a_deleted_backup_is_gone [CreateVm, CreateVolume, CreateBackup, ListBackups, DeleteBackup];
    a_backup_becomes_a_new_guest [CreateVm, CreateVolume, CreateBackup, ListBackups, Restore, GetVmConfig];
    a_guest_is_taken_back [CreateVm, CreateVolume, CreateBackup, ListBackups, Restore, UpdateVm];
    a_running_guest_is_not_overwritten [CreateVm, CreateVolume, StartVm, CreateBackup, ListBackups, Restore];
    an_unknown_guest_is_not_backed_up [CreateBackup];
    an_unknown_backup_is_not_restored [Restore];
    an_unknown_backup_is_not_deleted [DeleteBackup];
}

async fn with_disk(cx: &Context) -> Check<VmId> {
    cx.create(&cx.spec("vm").disk(cx.small_disk().await?)).await
}

/// A backup, whose id only the end of the task may tell.
async fn back_up(cx: &Context, vm: &VmId, spec: &BackupSpec) -> Check<BackupId> {
    let started = cx.hv.create_backup(vm, spec).await?;
    let mut id = started.output.clone();
    if let Some(task) = &started.task {
        let info = task_end(&*cx.hv, &cx.settings, task).await?;
        id = id.or_else(|| info.made.map(BackupId::from));
    }
    let id = id.ok_or_else(|| Stop::failed("neither the call nor its task tells the backup's id"))?;
    cx.keep(Made::Backup(id.clone()));
    Ok(id)
}

async fn backups(cx: &Context, query: &BackupQuery) -> Check<Vec<BackupInfo>> {
    Ok(every(|page| async move { cx.hv.list_backups(query, &page).await }).await?)
}

async fn find(cx: &Context, id: &BackupId) -> Check<BackupInfo> {
    let all = backups(cx, &BackupQuery::all()).await?;
    let found = all.into_iter().find(|backup| backup.id == *id);
    found.ok_or_else(|| Stop::failed(format!("backup `{id}` is not in the list")))
}

async fn a_backup_is_listed(cx: &Context) -> Check {
    let vm = with_disk(cx).await?;
    let backup = back_up(cx, &vm, &BackupSpec::new()).await?;
    let info = find(cx, &backup).await?;
    check_eq!("its guest", info.vm, Some(vm));
    check_eq!("its parent", info.parent, None);
    check!(!info.protected, "it is protected");
    Ok(())
}

async fn backups_are_listed_by_guest(cx: &Context) -> Check {
    let (vm, other) = (with_disk(cx).await?, cx.vm("other").await?);
    let backup = back_up(cx, &vm, &BackupSpec::new()).await?;
    let own = backups(cx, &BackupQuery::all().vm(&vm)).await?;
    check!(own.iter().any(|info| info.id == backup), "backup `{backup}` is not in its guest's list: {own:?}");
    let others = backups(cx, &BackupQuery::all().vm(&other)).await?;
    check!(others.is_empty(), "a guest without backups has {others:?}");
    Ok(())
}

async fn a_running_guest_is_backed_up(cx: &Context) -> Check {
    let vm = with_disk(cx).await?;
    cx.start(&vm).await?;
    let backup = back_up(cx, &vm, &BackupSpec::new()).await?;
    find(cx, &backup).await?;
    check_eq!("the guest's state", cx.state(&vm).await?, VmState::Running);
    Ok(())
}

async fn a_backup_of_changes_names_its_parent(cx: &Context) -> Check {
    let vm = with_disk(cx).await?;
    let full = back_up(cx, &vm, &BackupSpec::new()).await?;
    let changes = back_up(cx, &vm, &BackupSpec::new().since(&full)).await?;
    check_eq!("its parent", find(cx, &changes).await?.parent, Some(full));
    Ok(())
}

async fn a_deleted_backup_is_gone(cx: &Context) -> Check {
    let vm = with_disk(cx).await?;
    let backup = back_up(cx, &vm, &BackupSpec::new()).await?;
    cx.done(cx.hv.delete_backup(&backup).await).await?;
    let left = backups(cx, &BackupQuery::all()).await?;
    check!(left.iter().all(|info| info.id != backup), "backup `{backup}` is still there");
    let again = cx.done(cx.hv.delete_backup(&backup).await).await;
    refused_unknown("deleting a backup twice", again, BackupId::NOUN, &backup)
}

async fn a_backup_becomes_a_new_guest(cx: &Context) -> Check {
    let vm = with_disk(cx).await?;
    let backup = back_up(cx, &vm, &BackupSpec::new()).await?;
    let options = RestoreBackup::new_vm(cx.name("restored"));
    let restored = cx.adopt(cx.hv.restore_backup(&backup, &options).await).await?;
    check!(restored != vm, "the restored guest is the original, `{vm}`");
    let info = cx.get(&restored).await?;
    check_eq!("its name", info.name, cx.name("restored"));
    check_eq!("its state", info.state, VmState::Stopped);
    let (before, after) = (cx.disk(&vm).await?, cx.disk(&restored).await?);
    check_eq!("the capacity of its disk", after.capacity, before.capacity);
    check!(after.volume != before.volume, "both use the volume {:?}", after.volume);
    Ok(())
}

async fn a_guest_is_taken_back(cx: &Context) -> Check {
    let vm = with_disk(cx).await?;
    let memory = cx.get(&vm).await?.memory;
    let backup = back_up(cx, &vm, &BackupSpec::new()).await?;
    let change = VmChange::new().memory(ByteSize::mib(96));
    cx.done(cx.hv.update_vm(&vm, &change).await).await?;
    let restored = cx.done(cx.hv.restore_backup(&backup, &RestoreBackup::original()).await).await?;
    check_eq!("the restored guest", restored, vm);
    check_eq!("its memory", cx.get(&vm).await?.memory, memory);
    Ok(())
}

async fn a_running_guest_is_not_overwritten(cx: &Context) -> Check {
    let vm = with_disk(cx).await?;
    let backup = back_up(cx, &vm, &BackupSpec::new()).await?;
    cx.start(&vm).await?;
    let restored = cx.done(cx.hv.restore_backup(&backup, &RestoreBackup::original()).await).await;
    refused("overwriting a running guest", restored, InvalidState)?;
    check_eq!("the guest's state", cx.state(&vm).await?, VmState::Running);
    Ok(())
}

async fn an_unknown_guest_is_not_backed_up(cx: &Context) -> Check {
    let unknown = VmId::from(cx.name("none"));
    let made = cx.hv.create_backup(&unknown, &BackupSpec::new()).await;
    refused_unknown("backing up an unknown guest", cx.done(made).await, VmId::NOUN, &unknown)
}

async fn an_unknown_backup_is_not_restored(cx: &Context) -> Check {
    let unknown = BackupId::from(cx.name("none"));
    let options = RestoreBackup::new_vm(cx.name("restored"));
    let restored = cx.done(cx.hv.restore_backup(&unknown, &options).await).await;
    refused_unknown("restoring an unknown backup", restored, BackupId::NOUN, &unknown)?;
    cx.nothing_made("an unknown backup").await
}

async fn an_unknown_backup_is_not_deleted(cx: &Context) -> Check {
    let unknown = BackupId::from(cx.name("none"));
    let deleted = cx.done(cx.hv.delete_backup(&unknown).await).await;
    refused_unknown("deleting an unknown backup", deleted, BackupId::NOUN, &unknown)
}
