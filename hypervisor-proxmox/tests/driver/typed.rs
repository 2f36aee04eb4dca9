//! What Proxmox has beyond the traits, on the fake: each method does what it says, and its refusals are told.

use std::time::Duration;

use hypervisor_core::ErrorKind;
use hypervisor_core::model::{
    BackupId, BackupQuery, BackupSpec, ByteSize, DiskId, DiskSpec, NetworkKind, NetworkSpec, PageRequest,
    Shutdown, SnapshotId, SnapshotSpec, TaskState, VmId, VmSpec, VolumeFormat, VolumeId,
};
use hypervisor_core::traits::{
    Backups as _, Compute as _, Network as _, Snapshots as _, Storage as _, Tasks as _,
};
use hypervisor_proxmox::fake::{Exchange, FakeGuest, FakePve, SingleServer};
use hypervisor_proxmox::wire::form::Form;
use hypervisor_proxmox::{Checksum, CloudInitOptions, FirewallScope, Proxmox, VmOptions};
use serde_json::json;

use super::{connect, done, guests, vm};

async fn made(proxmox: &Proxmox, spec: &VmSpec) -> VmId {
    let started = proxmox.create_vm(spec).await.unwrap();
    let vm = started.output.clone();
    assert_eq!(done(proxmox, started).await, TaskState::Succeeded);
    vm
}

async fn slots(proxmox: &Proxmox, vm: &VmId) -> Vec<(String, VolumeId)> {
    let disks = proxmox.get_vm_config(vm).await.unwrap().disks;
    disks.into_iter().filter_map(|disk| Some((disk.id.to_string(), disk.volume?))).collect()
}

#[tokio::test]
async fn disks_move_between_storages_and_guests_and_leave_for_good() {
    let pve = guests(0).start().await.unwrap();
    let proxmox = connect(&pve).await;
    let disk = DiskSpec::new_volume(ByteSize::gib(1)).in_pool("local").format(VolumeFormat::Qcow2);
    let one = made(&proxmox, &VmSpec::new("one").disk(disk)).await;
    let two = made(&proxmox, &VmSpec::new("two")).await;
    let slot = DiskId::from("scsi0");
    let moved = proxmox.move_disk(&one, &slot, &"local-lvm".into(), true).await.unwrap();
    assert_eq!(done(&proxmox, moved).await, TaskState::Succeeded);
    let [(_, volume)] = slots(&proxmox, &one).await.try_into().unwrap();
    assert!(volume.as_str().starts_with("local-lvm:"), "{volume}");
    assert_eq!(proxmox.list_volumes(&"local".into(), &PageRequest::first()).await.unwrap().items, []);
    let missing = proxmox.move_disk(&one, &"scsi7".into(), &"local".into(), true).await.unwrap_err();
    assert!(matches!(missing.kind(), ErrorKind::NotFound | ErrorKind::InvalidInput), "{missing}");
    let given = proxmox.give_disk(&one, &slot, &two, &"scsi3".into()).await.unwrap();
    assert_eq!(done(&proxmox, given).await, TaskState::Succeeded);
    assert_eq!(slots(&proxmox, &one).await, []);
    let [(slot, volume)] = slots(&proxmox, &two).await.try_into().unwrap();
    assert_eq!(slot, "scsi3");
    proxmox.unlink_disks(&two, &["scsi3".into()], true).await.unwrap();
    assert!(proxmox.get_volume(&volume).await.unwrap_err().is_not_found());
}

#[tokio::test]
async fn backups_are_protected_described_and_pruned() {
    let pve = FakePve::builder()
        .task_time(Duration::from_millis(5))
        .vm(FakeGuest::vm(100).set("scsi0", "local:1"))
        .start()
        .await
        .unwrap();
    let proxmox = connect(&pve).await;
    let mut ids: Vec<BackupId> = Vec::new();
    for _ in 0..3 {
        let started = proxmox.create_backup(&vm(100), &BackupSpec::new().pool("local")).await.unwrap();
        let task = started.task.clone().unwrap();
        assert_eq!(done(&proxmox, started).await, TaskState::Succeeded);
        ids.push(proxmox.get_task(&task, None).await.unwrap().made.unwrap().into());
        pve.advance(Duration::from_secs(90));
    }
    proxmox.protect_backup(&ids[0], true).await.unwrap();
    proxmox.describe_backup(&ids[1], "before the change").await.unwrap();
    let listed = proxmox.list_backups(&BackupQuery::all(), &PageRequest::first()).await.unwrap().items;
    let of = |id: &BackupId| listed.iter().find(|backup| backup.id == *id).unwrap();
    assert!(of(&ids[0]).protected && !of(&ids[1]).protected);
    assert_eq!(of(&ids[1]).description.as_deref(), Some("before the change"));
    let error = proxmox.delete_backup(&ids[0]).await.unwrap_err();
    assert!(
        error.kind() == ErrorKind::InvalidState && error.hint().unwrap().contains("protect_backup"),
        "{error}"
    );
    let pool = "local".into();
    let look = proxmox.prune_backups(&pool, Some(&vm(100)), Some("keep-last=1"), false).await.unwrap();
    let mark = |id: &BackupId| look.marks.iter().find(|(known, _)| known == id).unwrap().1.as_str();
    assert_eq!((mark(&ids[0]), mark(&ids[1]), mark(&ids[2])), ("protected", "remove", "keep"));
    assert_eq!(look.task, None, "a look removes nothing");
    let pruned = proxmox.prune_backups(&pool, Some(&vm(100)), Some("keep-last=1"), true).await.unwrap();
    let started = hypervisor_core::model::Started::running((), pruned.task.unwrap());
    assert_eq!(done(&proxmox, started).await, TaskState::Succeeded);
    let left = proxmox.list_backups(&BackupQuery::all(), &PageRequest::first()).await.unwrap().items;
    assert_eq!(left.len(), 2, "{left:?}");
    let error = proxmox.prune_backups(&pool, None, Some("keep-last=many"), false).await.unwrap_err();
    assert!(error.fields().contains_key("prune-backups"), "{error}");
    let error = proxmox.prune_backups(&"nowhere".into(), None, None, false).await.unwrap_err();
    assert!(error.is_not_found(), "{error}");
}

#[tokio::test]
async fn files_are_fetched_by_the_server_and_compared() {
    let pve = guests(0).start().await.unwrap();
    let proxmox = connect(&pve).await;
    let pool = "local".into();
    let url = "https://example.org/debian.iso?size=4096";
    let fetched = proxmox.download_url(&pool, url, "debian.iso", None).await.unwrap();
    let volume = fetched.output.clone();
    assert_eq!(
        (volume.as_str(), done(&proxmox, fetched).await),
        ("local:iso/debian.iso", TaskState::Succeeded)
    );
    assert_eq!(proxmox.get_volume(&volume).await.unwrap().capacity, ByteSize::bytes(4096));
    let wrong = Checksum::sha256("00".repeat(32));
    let fetched = proxmox.download_url(&pool, url, "other.iso", Some(&wrong)).await.unwrap();
    assert_eq!(done(&proxmox, fetched).await, TaskState::Failed);
    let gone = proxmox.download_url(&pool, "https://unreachable.invalid/a.iso", "a.iso", None).await.unwrap();
    let task = gone.task.clone().unwrap();
    assert_eq!(done(&proxmox, gone).await, TaskState::Failed);
    assert!(proxmox.get_task(&task, None).await.unwrap().error.unwrap().starts_with("download failed"));
    pve.clear_requests();
    for (field, url, name, checksum) in [
        ("url", "ftp://example.org/a.iso", "a.iso", None),
        ("name", "https://example.org/a", "a.exe", None),
        ("checksum.algorithm", "https://example.org/a.iso", "a.iso", Some(Checksum::new("crc", "00"))),
        ("checksum.value", "https://example.org/a.iso", "a.iso", Some(Checksum::sha256("no hex"))),
    ] {
        let error = proxmox.download_url(&pool, url, name, checksum.as_ref()).await.unwrap_err();
        assert!(error.fields().contains_key(field), "{error}");
    }
    assert!(pve.requests().is_empty(), "what is wrong is said before anything is sent");
    assert_eq!(proxmox.storage_content(&"pve1".into(), &pool, Some("iso")).await.unwrap().len(), 1);
}

#[tokio::test]
async fn firewalls_of_all_scopes_have_their_rules() {
    let pve = guests(1).start().await.unwrap();
    let proxmox = connect(&pve).await;
    for scope in [FirewallScope::Cluster, FirewallScope::Host("pve1".into()), FirewallScope::Vm(vm(100))] {
        assert!(proxmox.firewall_rules(&scope).await.unwrap().is_empty(), "{scope:?}");
        let rule =
            Form::new().text("type", "in").text("action", "ACCEPT").text("proto", "tcp").text("dport", "22");
        proxmox.add_firewall_rule(&scope, &rule).await.unwrap();
        let rules = proxmox.firewall_rules(&scope).await.unwrap();
        assert_eq!((rules.len(), rules[0]["dport"].as_str()), (1, Some("22")), "{scope:?}");
        let error =
            proxmox.add_firewall_rule(&scope, &Form::new().text("action", "ACCEPT")).await.unwrap_err();
        assert!(error.fields().contains_key("type"), "{error}");
        proxmox.delete_firewall_rule(&scope, 0).await.unwrap();
        assert!(proxmox.firewall_rules(&scope).await.unwrap().is_empty(), "{scope:?}");
        assert!(proxmox.firewall_options(&scope).await.unwrap().is_object(), "{scope:?}");
    }
    let error = proxmox.firewall_rules(&FirewallScope::Vm(vm(999))).await.unwrap_err();
    assert!(error.is_not_found(), "{error}");
}

#[tokio::test]
async fn bridges_and_vnets_by_hand_are_written_and_applied() {
    let pve = guests(0).zone("z1").start().await.unwrap();
    let proxmox = connect(&pve).await;
    let host = "pve1".into();
    let bridge = NetworkSpec::on_bridge("vmbr9", "vmbr9").autostart(true);
    assert_eq!(proxmox.create_bridge(&host, &bridge).await.unwrap().as_str(), "vmbr9");
    let error = proxmox.create_bridge(&host, &bridge).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AlreadyExists, "{error}");
    let apply = |task: Option<_>| hypervisor_core::model::Started::running((), task.unwrap());
    let task = apply(proxmox.apply_networks(&host).await.unwrap());
    assert_eq!(done(&proxmox, task).await, TaskState::Succeeded);
    assert!(proxmox.get_network(&"vmbr9".into()).await.unwrap().active);
    proxmox.delete_bridge(&host, "vmbr9").await.unwrap();
    let error = proxmox.delete_bridge(&host, "vmbr9").await.unwrap_err();
    assert!(error.is_not_found(), "{error}");
    let mut options = hypervisor_core::model::Extra::default();
    options.insert("proxmox", "zone", "z1");
    let vnet = NetworkSpec::new("lab1", NetworkKind::Vnet).options(options);
    let id = proxmox.create_vnet(&vnet).await.unwrap();
    assert!(!proxmox.get_network(&id).await.unwrap().active, "it is not applied yet");
    let task = apply(proxmox.apply_sdn().await.unwrap());
    assert_eq!(done(&proxmox, task).await, TaskState::Succeeded);
    assert!(proxmox.get_network(&id).await.unwrap().active);
    proxmox.delete_vnet(&id).await.unwrap();
    let error = proxmox.delete_vnet(&"nowhere".into()).await.unwrap_err();
    assert!(error.is_not_found(), "{error}");
}

#[tokio::test]
async fn machines_tell_what_cloud_init_reads_and_take_keys_and_questions() {
    let pve = guests(0).start().await.unwrap();
    let proxmox = connect(&pve).await;
    let mut options = VmOptions::new();
    let mut cloud_init = CloudInitOptions::default();
    cloud_init.user = Some("ann".to_owned());
    options.cloud_init = Some(cloud_init);
    let mut spec = VmSpec::new("web-1").agent(true);
    spec.options.set(&options).unwrap();
    let guest = made(&proxmox, &spec).await;
    let document = proxmox.cloud_init_document(&guest, "user").await.unwrap();
    assert!(document.starts_with("#cloud-config") && document.contains("ann"), "{document}");
    let started = proxmox.power_vm(&guest, &hypervisor_core::model::PowerAction::Start).await.unwrap();
    assert_eq!(done(&proxmox, started).await, TaskState::Succeeded);
    proxmox.send_key(&guest, "ctrl-alt-delete").await.unwrap();
    let sent = pve.requests();
    assert_eq!(sent.last().unwrap().param("key"), Some("ctrl-alt-delete"));
    let system = proxmox.ask_agent(&guest, "get-osinfo").await.unwrap();
    assert!(system.is_object(), "{system}");
    assert!(proxmox.ask_agent(&guest, "../config").await.unwrap_err().fields().contains_key("command"));
    assert!(proxmox.migration_check(&guest, None).await.unwrap().is_object());
    let off = hypervisor_core::model::PowerAction::Shutdown(Shutdown::default());
    drop(proxmox.power_vm(&guest, &off).await.unwrap());
}

#[tokio::test]
async fn snapshots_are_described_anew() {
    let pve = FakePve::builder()
        .task_time(Duration::from_millis(5))
        .vm(FakeGuest::vm(100).set("scsi0", "local:1,format=qcow2"))
        .start()
        .await
        .unwrap();
    let proxmox = connect(&pve).await;
    let taken = proxmox.create_snapshot(&vm(100), &SnapshotSpec::new("s1")).await.unwrap();
    assert_eq!(done(&proxmox, taken).await, TaskState::Succeeded);
    let snapshot = SnapshotId::from("s1");
    proxmox.describe_snapshot(&vm(100), &snapshot, "before the change").await.unwrap();
    let info = proxmox.get_snapshot(&vm(100), &snapshot).await.unwrap();
    assert_eq!(info.description.as_deref(), Some("before the change"));
    let error = proxmox.describe_snapshot(&vm(100), &"nowhere".into(), "x").await.unwrap_err();
    assert!(error.is_not_found() && error.target() == Some("snapshot `nowhere`"), "{error}");
}

#[tokio::test]
async fn a_volume_is_copied_where_the_server_can() {
    let server = SingleServer::start().await;
    let proxmox = Proxmox::connect(server.config().unwrap()).await.unwrap();
    let upid = "UPID:pve1:00000173:000327F6:6B008B60:imgcopy::root@pam!lab:";
    let copy = Exchange::post("/nodes/pve1/storage/local/content/local:100%2Fvm-100-disk-0.raw");
    server.mount(copy.with("target", "local-lvm:vm-101-disk-0").answers(json!(upid)).times(1)).await;
    let volume = "local:100/vm-100-disk-0.raw".into();
    let task = proxmox.copy_volume(&"pve1".into(), &volume, "local-lvm:vm-101-disk-0").await.unwrap();
    assert_eq!(task.unwrap().as_str(), upid);
}
