//! What a call says is done, is done.

use std::time::Duration;

use hypervisor_core::ErrorKind;
use hypervisor_core::model::{
    BackupQuery, BackupSpec, ByteSize, ByteStream, DeleteVm, DiskSpec, GuestKind, PageRequest, PowerAction,
    RestoreBackup, RevertSnapshot, SnapshotSpec, Started, TaskState, UploadVolume, VmId, VmSpec, VmState,
    VolumeSpec,
};
use hypervisor_core::traits::{
    Backups as _, Compute as _, Metrics as _, Snapshots as _, Storage as _, Tasks as _,
};
use hypervisor_proxmox::fake::{FakeGuest, FakePve};
use hypervisor_proxmox::wire::form::Form;
use hypervisor_proxmox::{Proxmox, ProxmoxConfig, VmOptions};
use serde_json::json;

use super::{connect, done, logged_in, vm};

/// How a task ended, and why.
async fn end(proxmox: &Proxmox, started: Started<VmId>) -> (TaskState, Option<String>) {
    let task = started.task.clone().unwrap();
    done(proxmox, started).await;
    let info = proxmox.get_task(&task, None).await.unwrap();
    (info.state, info.error)
}

/// The server's own task of a create, a restore or a rollback ends well where the start behind it fails: it is another task.
#[tokio::test]
async fn a_start_that_the_server_makes_by_itself_is_waited_for_and_its_failure_told() {
    let pve = FakePve::builder()
        .task_time(Duration::from_millis(20))
        .task_time_of("qmstart", Duration::from_millis(150))
        .start()
        .await
        .unwrap();
    let proxmox = connect(&pve).await;
    let made = proxmox.create_vm(&VmSpec::new("on").start(true)).await.unwrap();
    let id = made.output.clone();
    assert_eq!(end(&proxmox, made).await, (TaskState::Succeeded, None));
    assert_eq!(proxmox.vm_status(&id).await.unwrap().state, VmState::Running);
    // The server starts it: also a program that has ended meanwhile has started it.
    assert_eq!(pve.count("POST", "/nodes/*/qemu/*/status/start"), 0);

    let why = "start failed: QEMU exited with code 1";
    pve.faults().on_task("qmstart").fail(why);
    let made = proxmox.create_vm(&VmSpec::new("off").start(true)).await.unwrap();
    let off = made.output.clone();
    assert_eq!(end(&proxmox, made).await, (TaskState::Failed, Some(why.to_owned())));

    let taken = proxmox.create_snapshot(&off, &SnapshotSpec::new("s1")).await.unwrap();
    done(&proxmox, taken).await;
    let revert = RevertSnapshot::new().start(true);
    let back = proxmox.revert_snapshot(&off, &"s1".into(), &revert).await.unwrap();
    assert_eq!(done(&proxmox, back).await, TaskState::Succeeded);
    assert!(pve.guest(off.as_str().parse().unwrap()).unwrap().running);

    let backup = proxmox.create_backup(&off, &BackupSpec::new().pool("local")).await.unwrap();
    let task = backup.task.clone().unwrap();
    done(&proxmox, backup).await;
    let archive = proxmox.get_task(&task, None).await.unwrap().made.unwrap();
    pve.faults().on_task("qmstart").fail(why);
    let options = RestoreBackup::new_vm("again").start(true);
    let restored = proxmox.restore_backup(&archive.into(), &options).await.unwrap();
    assert_eq!(end(&proxmox, restored).await, (TaskState::Failed, Some(why.to_owned())));
}

#[tokio::test]
async fn what_high_availability_only_queues_is_done_when_it_is_done() {
    let pve = FakePve::builder()
        .task_time(Duration::from_millis(50))
        .vm(FakeGuest::vm(100).managed())
        .start()
        .await
        .unwrap();
    let proxmox = connect(&pve).await;
    let started = proxmox.power_vm(&vm(100), &PowerAction::Start).await.unwrap();
    assert!(!pve.guest(100).unwrap().running);
    assert_eq!(done(&proxmox, started).await, TaskState::Succeeded);
    assert!(pve.guest(100).unwrap().running);
    assert_eq!(pve.tasks().iter().filter(|task| task.kind == "hastart").count(), 1);
    let gone = proxmox.delete_vm(&vm(100), &DeleteVm::with_disks().power_off(true)).await.unwrap();
    assert_eq!(done(&proxmox, gone).await, TaskState::Succeeded);
    assert!(pve.guest(100).is_none());
}

#[tokio::test]
async fn an_upload_begins_with_a_ticket_that_is_good() {
    let pve = FakePve::builder().task_time(Duration::from_millis(5)).start().await.unwrap();
    let proxmox = logged_in(&pve).await;
    pve.advance(Duration::from_secs(3 * 3600));
    let target =
        UploadVolume::Create(VolumeSpec::new("local", "a.iso", hypervisor_core::model::ByteSize::bytes(1)));
    let sent = proxmox.upload_volume(&target, ByteStream::from_bytes("content")).await.unwrap();
    assert_eq!(done(&proxmox, sent).await, TaskState::Succeeded);
    assert_eq!((pve.count("POST", "/access/ticket"), pve.count("POST", "/nodes/*/storage/*/upload")), (1, 1));
    assert_eq!(pve.volume_bytes("pve1", "local:iso/a.iso").unwrap(), b"content");
}

#[tokio::test]
async fn three_seconds_of_a_refusal_are_waited_for() {
    let pve = FakePve::builder().refusal_delay(Duration::from_secs(3)).start().await.unwrap();
    let config = ProxmoxConfig::new(&pve.url()).unwrap().token(pve.token_id(), "wrong");
    let error = Proxmox::connect(config).await.unwrap_err();
    assert_eq!((error.kind(), error.message()), (ErrorKind::Unauthenticated, "invalid token value!"));
    assert_eq!(pve.requests().len(), 1, "a refusal of three seconds must not be met twice");
}

#[tokio::test]
async fn a_guest_that_nobody_has_measured_yet_has_an_empty_history() {
    let pve = FakePve::builder().vm(FakeGuest::vm(100)).start().await.unwrap();
    let proxmox = connect(&pve).await;
    let text = "RRD error: opening '/var/lib/rrdcached/db/pve-vm-9.0/100': No such file or directory";
    pve.faults().on("GET", "/nodes/*/qemu/*/rrddata").answer(500, text);
    let target = hypervisor_core::model::MetricsTarget::Vm(vm(100));
    let period = hypervisor_core::model::MetricsPeriod::Hour;
    let history = proxmox.get_metrics_history(&target, period).await.unwrap();
    assert!(history.times.is_empty() && !history.step.is_zero());
}

#[tokio::test]
async fn a_task_that_was_just_started_is_waited_for_whatever_the_clocks_say() {
    let pve = FakePve::builder().vm(FakeGuest::vm(100)).unknown_looks(2).start().await.unwrap();
    let proxmox = connect(&pve).await;
    // The server's clock is an hour behind: by its id the task is old.
    pve.faults().on("POST", "/nodes/*/qemu/*/status/start").no_task();
    let old = "UPID:pve1:00000173:000327F6:5B008B60:qmstart:100:root@pam!test:";
    pve.faults().on("POST", "/nodes/*/qemu/*/status/reset").reply(
        200,
        "OK",
        &format!(r#"{{"data":"{old}"}}"#),
    );
    let started = proxmox.power_vm(&vm(100), &PowerAction::Start).await.unwrap();
    assert_eq!(started.task, None);
    let reset = proxmox.power_vm(&vm(100), &PowerAction::Reset).await.unwrap().task.unwrap();
    let missing =
        r#"{"data":null,"errors":{"upid":"no such task"},"message":"Parameter verification failed.\n"}"#;
    pve.faults().on("GET", "/nodes/*/tasks/*/status").reply(400, "Parameter verification failed.", missing);
    let stopped = format!(r#"{{"data":{{"upid":"{old}","status":"stopped","exitstatus":"OK"}}}}"#);
    pve.faults().on("GET", "/nodes/*/tasks/*/status").reply(200, "OK", &stopped);
    assert_eq!(proxmox.get_task(&reset, None).await.unwrap().state, TaskState::Succeeded);
}

#[tokio::test]
async fn a_host_whose_daemon_has_told_nothing_yet_takes_guests_all_the_same() {
    let pve = FakePve::builder().start().await.unwrap();
    let silent = r#"{"data":[{"type":"node","id":"node/pve1","node":"pve1","status":"unknown"},
        {"type":"storage","id":"storage/pve1/local","storage":"local","node":"pve1","status":"unknown","content":"images",
        "plugintype":"dir"}]}"#;
    pve.faults().on("GET", "/cluster/resources").always().reply(200, "OK", silent);
    let proxmox = connect(&pve).await;
    let disk = DiskSpec::new_volume(ByteSize::gib(1));
    let made = proxmox.create_vm(&VmSpec::new("early").disk(disk)).await.unwrap();
    assert_eq!(end(&proxmox, made).await, (TaskState::Succeeded, None));
    assert_eq!(pve.guests().len(), 1);
}

/// The server's default for new containers is `local`, which on an installation as it comes holds none.
#[tokio::test]
async fn a_container_comes_back_where_it_was_and_not_to_the_default_of_the_server() {
    const TEMPLATE: &str = "local:vztmpl/alpine-3.20-default_20240908_amd64.tar.xz";
    let pve = FakePve::builder()
        .fresh()
        .task_time(Duration::from_millis(5))
        .storage("fast", "zfspool", &["images", "rootdir"])
        .file(TEMPLATE, vec![0; 64])
        .start()
        .await
        .unwrap();
    let proxmox = connect(&pve).await;
    let mut spec = VmSpec::new("ct").disk(DiskSpec::new_volume(ByteSize::gib(1)).in_pool("fast"));
    spec.kind = GuestKind::Container;
    let mut options = VmOptions::new();
    options.template = Some(TEMPLATE.to_owned());
    spec.options.set(&options).unwrap();
    let made = proxmox.create_vm(&spec).await.unwrap();
    let id = made.output.clone();
    assert_eq!(done(&proxmox, made).await, TaskState::Succeeded);
    let saved = proxmox.create_backup(&id, &BackupSpec::new()).await.unwrap();
    let task = saved.task.clone().unwrap();
    done(&proxmox, saved).await;
    let archive = proxmox.get_task(&task, None).await.unwrap().made.unwrap();
    for options in [RestoreBackup::original(), RestoreBackup::new_vm("again")] {
        let back = proxmox.restore_backup(&archive.clone().into(), &options).await.unwrap();
        let id = back.output.clone();
        assert_eq!(done(&proxmox, back).await, TaskState::Succeeded);
        let root = pve.guest(id.as_str().parse().unwrap()).unwrap().config["rootfs"].clone();
        assert!(root.starts_with("fast:"), "{root}");
    }
    // Of a storage that is gone, or of a backup that says nothing, the usual one.
    pve.faults().on("GET", "/nodes/*/vzdump/extractconfig").answer(403, "Permission check failed");
    let options = RestoreBackup::new_vm("elsewhere");
    let back = proxmox.restore_backup(&archive.into(), &options).await.unwrap();
    let id = back.output.clone();
    assert_eq!(done(&proxmox, back).await, TaskState::Succeeded);
    let root = pve.guest(id.as_str().parse().unwrap()).unwrap().config["rootfs"].clone();
    assert!(root.starts_with("fast:") || root.starts_with("local-lvm:"), "{root}");
}

/// `vzdump` by itself deletes older backups where the storage has a rule: nobody who asks for one more means that.
#[tokio::test]
async fn one_more_backup_deletes_no_other() {
    let pve =
        FakePve::builder().task_time(Duration::from_millis(5)).vm(FakeGuest::vm(100)).start().await.unwrap();
    let proxmox = connect(&pve).await;
    let rule = Form::new().text("prune-backups", "keep-last=1");
    proxmox.api().put("/storage/local", &rule).await.unwrap();
    for _ in 0..3 {
        let saved = proxmox.create_backup(&vm(100), &BackupSpec::new().pool("local")).await.unwrap();
        assert_eq!(done(&proxmox, saved).await, TaskState::Succeeded);
    }
    let backups = || pve.volumes("pve1", "local").iter().filter(|volid| volid.contains("vzdump")).count();
    assert_eq!(backups(), 3);
    // As a job of the server's own does it.
    let job = Form::new().number("vmid", 100).text("storage", "local");
    let task = proxmox.api().post("/nodes/pve1/vzdump", &job).await.unwrap();
    let task = hypervisor_core::model::TaskId::from(task.as_str().unwrap());
    done(&proxmox, Started::running((), task)).await;
    assert_eq!(backups(), 1);
}

#[tokio::test]
async fn a_storage_that_is_down_does_not_hide_the_backups_of_the_others() {
    let pve = FakePve::builder()
        .task_time(Duration::from_millis(5))
        .storage("nas", "nfs", &["backup"])
        .vm(FakeGuest::vm(100))
        .start()
        .await
        .unwrap();
    let proxmox = connect(&pve).await;
    let saved = proxmox.create_backup(&vm(100), &BackupSpec::new().pool("local")).await.unwrap();
    done(&proxmox, saved).await;
    pve.faults()
        .on("GET", "/nodes/*/storage/nas/content")
        .always()
        .answer(500, "storage 'nas' is not online");
    let all = proxmox.list_backups(&BackupQuery::all(), &PageRequest::first()).await.unwrap();
    assert_eq!(all.items.len(), 1);
    let [missing] = all.unreachable.as_slice() else { panic!("{:?}", all.unreachable) };
    assert!(missing.reason.contains("`nas`") && missing.reason.contains("not online"), "{missing:?}");
    let named = BackupQuery::all().pool("nas");
    let error = proxmox.list_backups(&named, &PageRequest::first()).await.unwrap_err();
    assert!(error.message().contains("not online"), "{error}");
}

/// For some seconds after a boot, or after it was added, the cluster's list knows a storage only by its name.
#[tokio::test]
async fn a_storage_that_the_cluster_has_not_measured_yet_is_used() {
    let pve = FakePve::builder().fresh().task_time(Duration::from_millis(5)).start().await.unwrap();
    let storage = |name: &str, content: &str| {
        json!({ "id": format!("storage/pve1/{name}"), "type": "storage", "storage": name, "node": "pve1",
            "content": content, "plugintype": "dir", "status": "unknown", "shared": 0 })
    };
    let node = json!({ "id": "node/pve1", "type": "node", "node": "pve1", "status": "unknown" });
    let rows =
        json!({ "data": [node, storage("local", "iso,backup"), storage("local-lvm", "images,rootdir")] });
    pve.faults().on("GET", "/cluster/resources").always().reply(200, "OK", &rows.to_string());
    let proxmox = connect(&pve).await;
    let spec = VmSpec::new("early").disk(DiskSpec::new_volume(ByteSize::gib(1)));
    let made = proxmox.create_vm(&spec).await.unwrap();
    let id = made.output.clone();
    assert_eq!(done(&proxmox, made).await, TaskState::Succeeded);
    let saved = proxmox.create_backup(&id, &BackupSpec::new()).await.unwrap();
    assert_eq!(done(&proxmox, saved).await, TaskState::Succeeded);
    assert_eq!(pve.volumes("pve1", "local-lvm").len(), 1);
}

/// `vzdump` answers `OK` where the guest is on another host by then, and does nothing.
#[tokio::test]
async fn a_backup_of_a_guest_that_has_moved_is_made_where_it_is() {
    let pve = FakePve::builder().hosts(2).task_time(Duration::from_millis(5)).vm(FakeGuest::vm(100));
    let pve = pve.start().await.unwrap();
    let proxmox = connect(&pve).await;
    assert_eq!(proxmox.get_vm(&vm(100)).await.unwrap().host.unwrap().as_str(), "pve1");
    pve.faults().on("POST", "/nodes/pve1/vzdump").reply(200, "OK", r#"{"data":"OK"}"#);
    let spec = BackupSpec::new().pool("local");
    let error = proxmox.create_backup(&vm(100), &spec).await.unwrap_err();
    assert!(error.is_not_found(), "nothing was saved, and it is where it was: {error}");
    let saved = proxmox.create_backup(&vm(100), &spec).await.unwrap();
    assert_eq!(done(&proxmox, saved).await, TaskState::Succeeded);
}
