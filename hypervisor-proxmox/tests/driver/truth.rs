//! What a call says is done, is done.

use std::time::Duration;

use hypervisor_core::ErrorKind;
use hypervisor_core::model::{
    BackupSpec, ByteSize, ByteStream, DeleteVm, DiskSpec, PowerAction, RestoreBackup, RevertSnapshot,
    SnapshotSpec, Started, TaskState, UploadVolume, VmId, VmSpec, VmState, VolumeSpec,
};
use hypervisor_core::traits::{
    Backups as _, Compute as _, Metrics as _, Snapshots as _, Storage as _, Tasks as _,
};
use hypervisor_proxmox::fake::{FakeGuest, FakePve};
use hypervisor_proxmox::{Proxmox, ProxmoxConfig};

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
