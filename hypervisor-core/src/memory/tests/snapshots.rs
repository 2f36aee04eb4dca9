use super::*;
use crate::model::{
    BackupMode, BackupSpec, CloneSpec, DeleteSnapshot, DeleteVm, GroupChange, GroupSpec, RestoreBackup,
    RevertSnapshot, SnapshotSpec, VmChange, VmState, WriteFile,
};
use crate::{Backups as _, Guest as _, Snapshots as _, Tasks as _};

#[tokio::test(start_paused = true)]
async fn a_revert_brings_back_disk_bytes_configuration_and_state() {
    let memory = Memory::new();
    let id = vm(&memory, "web").await;
    let disk = volume(&memory, &id).await;
    write(&memory, &disk, "before").await;
    let cold = memory.create_snapshot(&id, &SnapshotSpec::new("cold")).await.unwrap().output;
    write(&memory, &disk, "after!").await;
    memory.update_vm(&id, &VmChange::new().cpus(4).name("renamed")).await.unwrap();
    memory.power_vm(&id, &PowerAction::Start).await.unwrap();
    memory.write_guest_file(&id, "/tmp/x", "hot".into(), &WriteFile::replace()).await.unwrap();
    let hot = memory.create_snapshot(&id, &SnapshotSpec::new("hot")).await.unwrap().output;
    memory.revert_snapshot(&id, &cold, &RevertSnapshot::new()).await.unwrap();
    let info = memory.get_vm(&id).await.unwrap();
    assert_eq!((info.state, info.cpus, info.name.as_str()), (VmState::Stopped, Some(1), "renamed"));
    assert_eq!(read(&memory, &disk, 6).await, "before");
    memory.revert_snapshot(&id, &hot, &RevertSnapshot::new()).await.unwrap();
    let info = memory.get_vm(&id).await.unwrap();
    assert_eq!((info.state, info.cpus), (VmState::Running, Some(4)));
    assert_eq!(read(&memory, &disk, 6).await, "after!");
    assert_eq!(memory.read_guest_file(&id, "/tmp/x", ByteSize::kib(1)).await.unwrap(), "hot");
    memory.revert_snapshot(&id, &cold, &RevertSnapshot::new().start(true)).await.unwrap();
    assert_eq!(memory.get_vm(&id).await.unwrap().state, VmState::Running);
}

#[tokio::test(start_paused = true)]
async fn snapshots_form_a_tree_that_stays_whole() {
    let memory = Memory::new();
    let id = vm(&memory, "web").await;
    for name in ["a", "b", "c"] {
        memory.create_snapshot(&id, &SnapshotSpec::new(name)).await.unwrap();
    }
    let again = memory.create_snapshot(&id, &SnapshotSpec::new("a")).await;
    assert_eq!(kind(again), ErrorKind::AlreadyExists);
    memory.revert_snapshot(&id, &"a".into(), &RevertSnapshot::new()).await.unwrap();
    memory.create_snapshot(&id, &SnapshotSpec::new("d")).await.unwrap();
    memory.delete_snapshot(&id, &"b".into(), &DeleteSnapshot::only()).await.unwrap();
    let tree = memory.list_snapshots(&id).await.unwrap();
    assert_eq!(tree.get(&"c".into()).unwrap().parent, Some("a".into()));
    assert_eq!(tree.current().unwrap().id, "d".into());
    memory.delete_snapshot(&id, &"a".into(), &DeleteSnapshot::with_children()).await.unwrap();
    assert!(memory.list_snapshots(&id).await.unwrap().is_empty());
    assert_eq!(kind(memory.get_snapshot(&id, &"a".into()).await), ErrorKind::NotFound);
}

#[tokio::test(start_paused = true)]
async fn what_a_snapshot_needs_is_kept() {
    let memory = Memory::new();
    let id = vm(&memory, "web").await;
    memory.create_snapshot(&id, &SnapshotSpec::new("s")).await.unwrap();
    assert_eq!(kind(memory.delete_vm(&id, &DeleteVm::with_disks()).await), ErrorKind::InvalidState);
    let detach = crate::model::DetachDisk::with_volume();
    assert_eq!(kind(memory.detach_disk(&id, &"vda".into(), &detach).await), ErrorKind::InvalidState);
    memory.delete_vm(&id, &DeleteVm::with_disks().snapshots(true)).await.unwrap();
    assert!(volumes(&memory).await.is_empty());
    let raw = DiskSpec::new_volume(ByteSize::gib(1)).format(crate::model::VolumeFormat::Raw);
    let raw = memory.create_vm(&VmSpec::new("raw").disk(raw)).await.unwrap().output;
    let refused = memory.create_snapshot(&raw, &SnapshotSpec::new("s")).await;
    assert_eq!(kind(refused), ErrorKind::InvalidState);
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_can_be_cloned() {
    let memory = Memory::new();
    let id = vm(&memory, "web").await;
    let disk = volume(&memory, &id).await;
    write(&memory, &disk, "then").await;
    memory.create_snapshot(&id, &SnapshotSpec::new("s")).await.unwrap();
    write(&memory, &disk, "now!").await;
    for linked in [false, true] {
        let spec = CloneSpec::new(format!("copy-{linked}")).snapshot("s").linked(linked);
        let copy = memory.clone_vm(&id, &spec).await.unwrap().output;
        assert_eq!(read(&memory, &volume(&memory, &copy).await, 4).await, "then");
    }
    memory.power_vm(&id, &PowerAction::Start).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_backup_outlives_its_guest() {
    let memory = Memory::builder().task_time(SECOND).build();
    let id = vm(&memory, "web").await;
    let disk = volume(&memory, &id).await;
    write(&memory, &disk, "saved").await;
    tokio::time::sleep(SECOND).await;
    let full = memory.create_backup(&id, &BackupSpec::new().protected(true)).await.unwrap();
    assert_eq!(full.output, None);
    tokio::time::sleep(SECOND).await;
    let made = memory.get_task(&full.task.unwrap(), None).await.unwrap().made.unwrap();
    let full = crate::model::BackupId::from(made);
    assert_eq!(kind(memory.delete_backup(&full).await), ErrorKind::InvalidState);
    let since = memory.create_backup(&id, &BackupSpec::new().since(&full)).await.unwrap();
    tokio::time::sleep(SECOND).await;
    let made = memory.get_task(&since.task.unwrap(), None).await.unwrap().made.unwrap();
    let list = memory.list_backups(&Default::default(), &Default::default()).await.unwrap().items;
    let small = list.iter().find(|backup| backup.id.as_str() == made).unwrap();
    assert_eq!((small.size, small.parent.as_ref()), (Some(ByteSize::ZERO), Some(&full)));
    write(&memory, &disk, "lost!").await;
    tokio::time::sleep(SECOND).await;
    let group = memory.create_group(&GroupSpec::new("since")).await.unwrap().output;
    memory.update_group(&group, &GroupChange::new().add_vms(vec![id.clone()])).await.unwrap();
    memory.restore_backup(&full, &RestoreBackup::original()).await.unwrap();
    tokio::time::sleep(SECOND).await;
    assert_eq!(read(&memory, &disk, 5).await, "saved");
    assert_eq!(memory.get_vm(&id).await.unwrap().group, Some(group));
    memory.delete_vm(&id, &DeleteVm::with_disks()).await.unwrap();
    let restored = memory.restore_backup(&full, &RestoreBackup::new_vm("again").start(true)).await.unwrap();
    tokio::time::sleep(SECOND).await;
    assert_eq!(memory.get_vm(&restored.output).await.unwrap().state, VmState::Running);
    assert_eq!(read(&memory, &volume(&memory, &restored.output).await, 5).await, "saved");
    // The new guest has the id of the one that is gone, and must not be taken for it.
    assert_eq!(restored.output, id);
    assert_eq!(kind(memory.restore_backup(&full, &RestoreBackup::original()).await), ErrorKind::Conflict);
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_restore_and_a_backup_by_suspend_leave_the_guest_as_it_was() {
    let memory = Memory::builder().task_time(SECOND).build();
    let id = running(&memory, "web").await;
    let suspend = BackupSpec::new().mode(BackupMode::Suspend);
    memory.create_backup(&id, &suspend).await.unwrap();
    assert_eq!(memory.get_vm(&id).await.unwrap().state, VmState::Paused);
    tokio::time::sleep(SECOND).await;
    assert_eq!(memory.get_vm(&id).await.unwrap().state, VmState::Running);
    let backup =
        memory.list_backups(&Default::default(), &Default::default()).await.unwrap().items[0].id.clone();
    assert_eq!(
        kind(memory.restore_backup(&backup, &RestoreBackup::original()).await),
        ErrorKind::InvalidState
    );
    memory.power_vm(&id, &PowerAction::PowerOff).await.unwrap();
    let disk = volume(&memory, &id).await;
    write(&memory, &disk, "newer").await;
    tokio::time::sleep(SECOND).await;
    let task = memory.restore_backup(&backup, &RestoreBackup::original()).await.unwrap().task.unwrap();
    memory.cancel_task(&task).await.unwrap();
    assert_eq!(read(&memory, &disk, 5).await, "newer");
}
