//! The HyperSDK driver through the traits, against the fake: what it does where the daemon and the traits differ.
#![cfg(feature = "fake")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::future_not_send,
    reason = "tests fail by panicking"
)]

use hypervisor_client::dialect::hypersdk::HyperSdk;
use hypervisor_client::dialect::hypersdk::routes::{self, Route};
use hypervisor_client::dialect::hypersdk::wire::{
    CloneMultiple, JobDefinition, NewNetwork, NewSchedule, VCenter,
};
use hypervisor_client::fake::Fake;
use hypervisor_client::fake::hypersdk::{FakeDomain, RunningHyperSdk};
use hypervisor_core::model::{
    BackupQuery, BackupSpec, BatchItem, BatchOp, BatchOutcome, BatchRequest, ByteSize, CloneMany, CloneSpec,
    CloneVolume, ConsoleKind, DeleteSnapshot, DeleteVm, DeploySpec, ExportSpec, NetworkSpec, PageRequest,
    PoolQuery, PowerAction, ResizeVolume, RevertSnapshot, Shutdown, SnapshotSpec, TaskQuery, TaskState,
    TemplateSpec, VmId, VmQuery, VmState, VolumeFormat, VolumeSpec, WipeAlgorithm,
};
use hypervisor_core::traits::{
    Backups as _, Batch as _, Compute as _, Metrics as _, Network as _, Snapshots as _, Storage as _,
    Tasks as _,
};
use hypervisor_core::{Effect, ErrorKind, Hypervisor as _, Operation, Retry};

async fn with(vms: &[(&str, bool)]) -> (RunningHyperSdk, HyperSdk) {
    let fake =
        vms.iter().fold(Fake::hypersdk(), |fake, (name, running)| fake.with_vm(name, *running)).start().await;
    let hypersdk = HyperSdk::connect(fake.config()).await.unwrap();
    (fake, hypersdk)
}

/// The paths that were asked for since the connection was made.
async fn asked(fake: &RunningHyperSdk) -> Vec<String> {
    let all = fake.server().received_requests().await.unwrap();
    let paths = all.iter().map(|request| request.url.path().to_owned());
    paths.filter(|path| !matches!(path.as_str(), "/health" | "/status")).collect()
}

async fn state(hypersdk: &HyperSdk, vm: &str) -> VmState {
    hypersdk.get_vm(&vm.into()).await.unwrap().state
}

#[tokio::test]
async fn every_power_verb_does_what_it_says() {
    let (fake, hypersdk) = with(&[("web-01", false)]).await;
    let vm = VmId::from("web-01");
    for (action, path, after) in [
        (PowerAction::Start, "/libvirt/domain/start", VmState::Running),
        (PowerAction::Pause, "/libvirt/domain/pause", VmState::Paused),
        (PowerAction::Resume, "/libvirt/domain/resume", VmState::Running),
        (PowerAction::Reboot, "/libvirt/domain/reboot", VmState::Running),
        (PowerAction::Reset, "/libvirt/batch/reboot", VmState::Running),
        (PowerAction::PowerOff, "/libvirt/domain/destroy", VmState::Stopped),
    ] {
        drop(hypersdk.power_vm(&vm, &action).await.unwrap());
        assert_eq!(asked(&fake).await.last().unwrap(), path);
        assert_eq!(state(&hypersdk, "web-01").await, after, "{action:?}");
    }
    let error = hypersdk.power_vm(&vm, &PowerAction::Shutdown(Shutdown::new())).await.unwrap_err();
    assert_eq!((error.kind(), error.target()), (ErrorKind::InvalidState, Some("vm `web-01`")));
    let hibernate = hypersdk.power_vm(&vm, &PowerAction::Hibernate).await.unwrap_err();
    assert!(hibernate.is_unsupported());
}

#[tokio::test]
async fn a_list_has_what_reading_each_has() {
    let (_fake, hypersdk) = with(&[("web-01", true), ("db-01", false), ("my web vm", false)]).await;
    let mut seen = Vec::new();
    let mut request = PageRequest::first().limit(2);
    loop {
        let page = hypersdk.list_vms(&VmQuery::all(), &request).await.unwrap();
        assert_eq!(page.total, Some(3));
        seen.extend(page.items);
        let Some(next) = page.next else { break };
        request = request.cursor(next);
    }
    assert_eq!(seen.iter().map(|vm| vm.name.as_str()).collect::<Vec<_>>(), ["db-01", "my web vm", "web-01"]);
    for vm in seen {
        assert_eq!(hypersdk.get_vm(&vm.id).await.unwrap(), vm);
        assert_eq!((vm.cpus, vm.memory), (Some(2), Some(ByteSize::mib(256))));
    }
    let running = VmQuery::all().state(VmState::Running);
    let running = hypersdk.list_vms(&running, &PageRequest::first()).await.unwrap().items;
    assert_eq!(running.len(), 1);
}

#[tokio::test]
async fn names_that_virsh_would_take_for_options_are_never_sent() {
    let (fake, hypersdk) = with(&[]).await;
    let before = asked(&fake).await.len();
    for bad in ["--help", "-c", "", "a\nb", "../etc", "a/b"] {
        let vm = VmId::from(bad);
        let errors = [
            hypersdk.get_vm(&vm).await.unwrap_err(),
            hypersdk.power_vm(&vm, &PowerAction::Start).await.unwrap_err(),
            hypersdk.delete_vm(&vm, &DeleteVm::with_disks()).await.unwrap_err(),
            hypersdk.clone_vm(&vm, &CloneSpec::new("copy")).await.unwrap_err(),
            hypersdk.list_snapshots(&vm).await.unwrap_err(),
            hypersdk.create_snapshot(&vm, &SnapshotSpec::new("s")).await.unwrap_err(),
            hypersdk.get_vm_metrics(&vm).await.unwrap_err(),
            hypersdk.get_console(&vm, &ConsoleKind::Vnc).await.unwrap_err(),
            hypersdk.api().batch_start(&[bad], false).await.unwrap_err(),
            hypersdk.api().send_keys(bad, &["KEY_A"]).await.unwrap_err(),
            hypersdk.api().network(bad).await.unwrap_err(),
            hypersdk.api().volumes(Some(bad)).await.unwrap_err(),
            hypersdk.api().delete_volume("default", bad).await.unwrap_err(),
        ];
        for error in errors {
            assert_eq!(error.kind(), ErrorKind::InvalidInput, "{bad:?}: {error}");
            assert!(!error.fields().is_empty() && error.retry() == Retry::Never);
        }
    }
    assert_eq!(asked(&fake).await.len(), before, "nothing was sent");
}

#[tokio::test]
async fn a_path_that_the_daemons_shell_would_read_is_never_sent() {
    let (fake, hypersdk) = with(&[("db-01", false), ("db 02", false)]).await;
    for (vm, directory) in [("db-01", "/srv/$(reboot)"), ("db-01", "/srv/a b"), ("db 02", "/srv/exports")] {
        let error = hypersdk.export_vm(&vm.into(), &ExportSpec::new(directory)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
    }
    assert!(!asked(&fake).await.contains(&"/libvirt/template/export".to_owned()));
    let exported =
        hypersdk.export_vm(&"db-01".into(), &ExportSpec::new("/srv/exports")).await.unwrap().output;
    assert_eq!(exported.definition, "/srv/exports/db-01.xml");
    assert_eq!(exported.disks, ["/srv/exports/db-01.qcow2"]);
    let nowhere = hypersdk.export_vm(&"db-01".into(), &ExportSpec::new("/nowhere")).await.unwrap_err();
    assert!(nowhere.hint().unwrap().contains("exist"), "{nowhere}");
}

#[tokio::test]
async fn digits_are_a_name_and_not_the_number_of_a_running_machine() {
    // The first that runs gets the number 1.
    let (fake, hypersdk) = with(&[("web-01", true), ("1", false), ("77", false)]).await;
    let error = hypersdk.power_vm(&"1".into(), &PowerAction::Start).await.unwrap_err();
    assert_eq!((error.kind(), error.target()), (ErrorKind::Conflict, Some("vm `1`")));
    assert!(error.message().contains("web-01"));
    let error = hypersdk.delete_vm(&"2".into(), &DeleteVm::with_disks()).await.unwrap_err();
    assert!(error.is_not_found(), "{error}");
    assert_eq!(hypersdk.get_vm(&"77".into()).await.unwrap().name, "77");
    assert!(!asked(&fake).await.iter().any(|path| path.contains("batch") || path.contains("start")));
    assert_eq!(state(&hypersdk, "web-01").await, VmState::Running);
}

#[tokio::test]
async fn a_machine_is_found_by_its_uuid_under_its_name() {
    let (_fake, hypersdk) = with(&[("web-01", true), ("db-01", false), ("my web vm", false)]).await;
    for name in ["db-01", "my web vm"] {
        let info = hypersdk.get_vm(&name.into()).await.unwrap();
        let uid = info.uid.clone().unwrap();
        assert_eq!(hypersdk.get_vm(&uid.as_str().into()).await.unwrap(), info);
        drop(hypersdk.power_vm(&uid.as_str().into(), &PowerAction::Start).await.unwrap());
        assert_eq!(state(&hypersdk, name).await, VmState::Running);
    }
}

#[tokio::test]
async fn a_delete_guards_what_the_daemon_would_take_without_asking() {
    let (fake, hypersdk) = with(&[("web-01", true), ("db-01", false)]).await;
    let vm = VmId::from("web-01");
    let running = hypersdk.delete_vm(&vm, &DeleteVm::with_disks()).await.unwrap_err();
    assert_eq!((running.kind(), running.target()), (ErrorKind::InvalidState, Some("vm `web-01`")));
    assert_eq!(state(&hypersdk, "web-01").await, VmState::Running);
    let other = DeleteVm::with_disks().power_off(true).expected_uid("00000000-0000-4000-8000-000000000001");
    assert_eq!(hypersdk.delete_vm(&vm, &other).await.unwrap_err().kind(), ErrorKind::Conflict);
    drop(hypersdk.create_snapshot(&vm, &SnapshotSpec::new("s1")).await.unwrap());
    let with_snapshot = hypersdk.delete_vm(&vm, &DeleteVm::with_disks().power_off(true)).await.unwrap_err();
    assert_eq!(with_snapshot.kind(), ErrorKind::InvalidState);
    assert!(!asked(&fake).await.iter().any(|path| path.contains("batch")), "nothing was deleted so far");
    let uid = hypersdk.get_vm(&vm).await.unwrap().uid.unwrap();
    let all = DeleteVm::keep_disks().power_off(true).snapshots(true).expected_uid(uid);
    drop(hypersdk.delete_vm(&vm, &all).await.unwrap());
    assert!(hypersdk.get_vm(&vm).await.unwrap_err().is_not_found());
    assert!(hypersdk.get_volume(&"default/web-01.qcow2".into()).await.is_ok(), "its disk is kept");
    drop(hypersdk.delete_vm(&"db-01".into(), &DeleteVm::with_disks()).await.unwrap());
    assert!(hypersdk.get_volume(&"default/db-01.qcow2".into()).await.unwrap_err().is_not_found());
}

#[tokio::test]
async fn a_batch_of_power_verbs_is_one_look_and_one_call() {
    let (fake, hypersdk) = with(&[("a", false), ("b", false), ("c", true), ("x-template", false)]).await;
    let before = asked(&fake).await.len();
    let start = |vm: &str| BatchItem::new(BatchOp::power(vm, PowerAction::Start));
    let request = BatchRequest::new(["a", "ghost", "c", "b", "x-template"].map(start));
    let report = hypersdk.submit_batch(&request).await.unwrap();
    let kinds: Vec<_> =
        report.outcomes.iter().map(|outcome| outcome.error().map(|error| error.kind())).collect();
    let (missing, state_is_wrong) = (Some(ErrorKind::NotFound), Some(ErrorKind::InvalidState));
    assert_eq!(kinds, [None, missing, state_is_wrong, None, state_is_wrong]);
    assert_eq!(report.outcomes[1].error().unwrap().target(), Some("vm `ghost`"));
    assert_eq!(asked(&fake).await.split_off(before), ["/libvirt/domains", "/libvirt/batch/start"]);
    for (action, path, after) in [
        (PowerAction::Pause, "/libvirt/batch/pause", VmState::Paused),
        (PowerAction::Resume, "/libvirt/batch/resume", VmState::Running),
        (PowerAction::Reboot, "/libvirt/batch/reboot", VmState::Running),
        (PowerAction::Reset, "/libvirt/batch/reboot", VmState::Running),
        (PowerAction::Shutdown(Shutdown::new()), "/libvirt/batch/stop", VmState::Stopped),
    ] {
        let request = BatchRequest::new(["a", "b"].map(|vm| BatchOp::power(vm, action)));
        assert!(hypersdk.submit_batch(&request).await.unwrap().all_done(), "{action:?}");
        assert_eq!(asked(&fake).await.last().unwrap(), path);
        assert_eq!((state(&hypersdk, "a").await, state(&hypersdk, "b").await), (after.clone(), after));
    }
}

#[tokio::test]
async fn a_batch_without_an_answer_has_unknown_outcomes() {
    let (fake, hypersdk) = with(&[("a", false), ("b", false)]).await;
    fake.stay_silent_on("/libvirt/batch/start");
    let request = BatchRequest::new(["a", "b"].map(|vm| BatchOp::power(vm, PowerAction::Start)));
    let report = hypersdk.submit_batch(&request).await.unwrap();
    for outcome in &report.outcomes {
        let BatchOutcome::Unknown { error, .. } = outcome else { panic!("{outcome:?}") };
        assert_eq!(error.kind(), ErrorKind::Transport);
    }
    assert_eq!(state(&hypersdk, "a").await, VmState::Running, "the work was done all the same");
}

#[tokio::test]
async fn a_clone_without_an_answer_may_have_been_made() {
    let (fake, hypersdk) = with(&[("db-01", false)]).await;
    fake.stay_silent_on("/libvirt/clone");
    let error = hypersdk.clone_vm(&"db-01".into(), &CloneSpec::new("db-02")).await.unwrap_err();
    assert_eq!(
        (error.kind(), error.retry(), error.effect()),
        (ErrorKind::Transport, Retry::IfIdempotent, Effect::Unknown)
    );
    assert_eq!(error.operation(), Some(Operation::CloneVm));
    assert!(error.hint().unwrap().contains("30 s"), "{error}");
    assert!(hypersdk.get_vm(&"db-02".into()).await.is_ok());
}

#[tokio::test]
async fn a_read_without_an_answer_may_be_repeated() {
    let (fake, hypersdk) = with(&[("db-01", false)]).await;
    fake.stay_silent_on("/libvirt/domain");
    let error = hypersdk.get_vm(&"db-01".into()).await.unwrap_err();
    assert_eq!(
        (error.kind(), error.retry(), error.effect()),
        (ErrorKind::Transport, Retry::Safe, Effect::None)
    );
    // The daemon breaks down over these where it has no vCenter.
    let list = hypersdk.api().vsphere_vms(None).await.unwrap_err();
    assert_eq!((list.kind(), list.retry()), (ErrorKind::Transport, Retry::Safe));
    let info = hypersdk.api().vsphere_vm("/DC/vm/a").await.unwrap_err();
    assert_eq!(
        (info.kind(), info.retry()),
        (ErrorKind::Transport, Retry::Safe),
        "it reads, though it is a POST"
    );
    let shutdown = hypersdk.api().shutdown_vsphere_vm("/DC/vm/a", Some(5)).await.unwrap_err();
    assert_eq!((shutdown.kind(), shutdown.effect()), (ErrorKind::Transport, Effect::Unknown));
}

#[tokio::test]
async fn copies_are_made_of_what_is_off() {
    let (_fake, hypersdk) = with(&[("web-01", true), ("db-01", false)]).await;
    let running = hypersdk.clone_vm(&"web-01".into(), &CloneSpec::new("web-02")).await.unwrap_err();
    assert_eq!((running.kind(), running.target()), (ErrorKind::InvalidState, Some("vm `web-01`")));
    let taken = hypersdk.clone_vm(&"db-01".into(), &CloneSpec::new("web-01")).await.unwrap_err();
    assert_eq!((taken.kind(), taken.target()), (ErrorKind::AlreadyExists, Some("vm `web-01`")));
    for (field, spec) in [
        ("pool", CloneSpec::new("c").pool("ssd")),
        ("description", CloneSpec::new("c").description("d")),
        ("host", CloneSpec::new("c").host("h")),
    ] {
        let error = hypersdk.clone_vm(&"db-01".into(), &spec).await.unwrap_err();
        assert!(error.fields().contains_key(field), "{error}");
    }
    assert!(
        hypersdk
            .clone_vm(&"db-01".into(), &CloneSpec::new("c").linked(true))
            .await
            .unwrap_err()
            .is_unsupported()
    );
    let started = hypersdk.clone_vm(&"db-01".into(), &CloneSpec::new("db-02").start(true)).await.unwrap();
    assert_eq!((started.task, state(&hypersdk, "db-02").await), (None, VmState::Running));
    let many = hypersdk.clone_vms(&"db-01".into(), &CloneMany::new("vm-web", 3)).await.unwrap();
    let made: Vec<_> = many.vms().map(VmId::as_str).collect();
    assert_eq!(made, ["vm-web-1", "vm-web-2", "vm-web-3"]);
    let four = CloneMultiple::new("db-01", "vm-web", 4).start_index(3_u32);
    let result = hypersdk.api().clone_domain_multiple(&four).await.unwrap();
    assert_eq!((result.successful, result.failed), (3, 1));
    assert!(!result.results[0].success && result.results[0].error.contains("already in use"));
}

#[tokio::test]
async fn templates_are_copies_with_template_in_their_name() {
    let (fake, hypersdk) = with(&[("db-01", false), ("web-01", true)]).await;
    let vm = VmId::from("db-01");
    for spec in [TemplateSpec::in_place(), TemplateSpec::copy("golden")] {
        assert!(hypersdk.create_template(&vm, &spec).await.unwrap_err().fields().contains_key("name"));
    }
    // The daemon would shut it down.
    let running =
        hypersdk.create_template(&"web-01".into(), &TemplateSpec::copy("a-template")).await.unwrap_err();
    assert_eq!(running.kind(), ErrorKind::InvalidState);
    assert!(!asked(&fake).await.contains(&"/libvirt/template/create".to_owned()));
    let template = hypersdk
        .create_template(&vm, &TemplateSpec::copy("ubuntu-template").seal(true))
        .await
        .unwrap()
        .output;
    assert!(hypersdk.get_vm(&template).await.unwrap().template);
    assert_eq!(hypersdk.api().templates().await.unwrap(), ["ubuntu-template"]);
    let start = hypersdk.power_vm(&template, &PowerAction::Start).await.unwrap_err();
    assert_eq!(start.kind(), ErrorKind::InvalidState, "it is to be cloned, not to be started");
    let spec = DeploySpec::new("")
        .clone(CloneSpec::new("new-webserver").start(true))
        .cpus(4)
        .memory(ByteSize::gib(4));
    let vm = hypersdk.deploy_template(&template, &spec).await.unwrap().output;
    let info = hypersdk.get_vm(&vm).await.unwrap();
    assert_eq!((info.state, info.cpus, info.memory), (VmState::Running, Some(4), Some(ByteSize::gib(4))));
    let network = DeploySpec::new("other").network("lab");
    assert!(
        hypersdk.deploy_template(&template, &network).await.unwrap_err().fields().contains_key("network")
    );
}

#[tokio::test]
async fn volumes_are_counted_in_gib_and_read_in_bytes() {
    let (fake, hypersdk) = with(&[]).await;
    let spec = VolumeSpec::new("default", "data", ByteSize::mib(1500)).format(VolumeFormat::Raw);
    let volume = hypersdk.create_volume(&spec).await.unwrap().output;
    assert_eq!(hypersdk.get_volume(&volume).await.unwrap().capacity, ByteSize::gib(2), "rounded up");
    let sent: serde_json::Value = fake
        .server()
        .received_requests()
        .await
        .unwrap()
        .iter()
        .find(|request| request.url.path() == "/libvirt/volume/create")
        .unwrap()
        .body_json()
        .unwrap();
    assert_eq!((sent["capacity"].clone(), sent["format"].clone()), (2.into(), "raw".into()));
    let smaller =
        hypersdk.resize_volume(&volume, &ResizeVolume::grow_to(ByteSize::gib(1))).await.unwrap_err();
    assert!(smaller.fields().contains_key("capacity"));
    drop(hypersdk.resize_volume(&volume, &ResizeVolume::grow_to(ByteSize::gib(3))).await.unwrap());
    assert_eq!(hypersdk.get_volume(&volume).await.unwrap().capacity, ByteSize::gib(3));
    let elsewhere = hypersdk.clone_volume(&volume, &CloneVolume::new("copy").pool("ssd")).await.unwrap_err();
    assert!(elsewhere.fields().contains_key("pool"), "the daemon would copy within the pool without a word");
    let other = hypersdk
        .clone_volume(&volume, &CloneVolume::new("copy").format(VolumeFormat::Qcow2))
        .await
        .unwrap_err();
    assert!(other.fields().contains_key("format"));
    let copy = hypersdk
        .clone_volume(&volume, &CloneVolume::new("copy").format(VolumeFormat::Raw))
        .await
        .unwrap()
        .output;
    let taken = hypersdk.clone_volume(&volume, &CloneVolume::new("copy")).await.unwrap_err();
    assert_eq!(
        (taken.kind(), taken.target()),
        (ErrorKind::AlreadyExists, Some(format!("volume `{copy}`").as_str()))
    );
}

#[tokio::test]
async fn a_network_is_up_only_when_asked_for() {
    let (fake, hypersdk) = with(&[]).await;
    let spec = NetworkSpec::nat("lab", "10.20.30.1/24".parse().unwrap()).dhcp_from_cidr();
    let network = hypersdk.create_network(&spec).await.unwrap().output;
    assert!(!hypersdk.get_network(&network).await.unwrap().active, "the daemon has started it");
    let up = NetworkSpec::nat("lab2", "10.20.31.1/24".parse().unwrap()).dhcp_from_cidr().start(true);
    let up = hypersdk.create_network(&up).await.unwrap().output;
    let error = hypersdk.delete_network(&up).await.unwrap_err();
    assert_eq!((error.kind(), error.target()), (ErrorKind::InvalidState, Some("network `lab2`")));
    assert!(
        !asked(&fake).await.contains(&"/libvirt/network/delete".to_owned()),
        "the daemon would take it down"
    );
    let wide = NetworkSpec::nat("wide", "10.20.0.1/16".parse().unwrap()).dhcp_from_cidr();
    assert!(hypersdk.create_network(&wide).await.unwrap_err().fields().contains_key("cidr"));
    // Values go into XML as they are.
    let range =
        hypervisor_core::model::DhcpRange::new("10.0.0.2".parse().unwrap(), "10.0.0.9".parse().unwrap());
    let bad = NewNetwork::nat("n", "10.0.0.1", range).bridge("x'/><y");
    assert!(hypersdk.api().create_network(&bad).await.unwrap_err().fields().contains_key("bridge"));
}

#[tokio::test]
async fn snapshots_are_taken_and_gone_back_to() {
    let (_fake, hypersdk) = with(&[("web-01", true)]).await;
    let vm = VmId::from("web-01");
    for name in ["one", "two", "three"] {
        drop(hypersdk.create_snapshot(&vm, &SnapshotSpec::new(name).description("d")).await.unwrap());
    }
    let tree = hypersdk.list_snapshots(&vm).await.unwrap();
    assert_eq!(tree.len(), 3, "lines of the drawing are no snapshots");
    assert_eq!(tree.get(&"two".into()).unwrap().parent, Some("one".into()));
    let taken = hypersdk.create_snapshot(&vm, &SnapshotSpec::new("one")).await.unwrap_err();
    assert_eq!((taken.kind(), taken.target()), (ErrorKind::AlreadyExists, Some("snapshot `one`")));
    drop(hypersdk.power_vm(&vm, &PowerAction::PowerOff).await.unwrap());
    drop(hypersdk.create_snapshot(&vm, &SnapshotSpec::new("off")).await.unwrap());
    drop(hypersdk.revert_snapshot(&vm, &"one".into(), &RevertSnapshot::new()).await.unwrap());
    assert_eq!(state(&hypersdk, "web-01").await, VmState::Running, "with its memory");
    drop(hypersdk.revert_snapshot(&vm, &"off".into(), &RevertSnapshot::new().start(true)).await.unwrap());
    assert_eq!(state(&hypersdk, "web-01").await, VmState::Running, "started as asked");
    let ghost = hypersdk.revert_snapshot(&vm, &"ghost".into(), &RevertSnapshot::new()).await.unwrap_err();
    assert_eq!((ghost.kind(), ghost.target()), (ErrorKind::NotFound, Some("snapshot `ghost`")));
    for unsupported in [SnapshotSpec::new("s").memory(false), SnapshotSpec::new("s").quiesce(true)] {
        assert!(hypersdk.create_snapshot(&vm, &unsupported).await.unwrap_err().is_unsupported());
    }
}

#[tokio::test]
async fn consoles_and_metrics_are_those_of_running_machines() {
    let (_fake, hypersdk) = with(&[("web-01", true), ("db-01", false)]).await;
    let (on, off) = (VmId::from("web-01"), VmId::from("db-01"));
    let vnc = hypersdk.get_console(&on, &ConsoleKind::Vnc).await.unwrap();
    assert_eq!((vnc.address.as_deref(), vnc.port), (Some("127.0.0.1"), Some(5900)));
    let serial = hypersdk.get_console(&on, &ConsoleKind::Serial).await.unwrap();
    assert_eq!(serial.path.as_deref(), Some("/dev/pts/0"));
    assert_eq!(
        hypersdk.get_console(&off, &ConsoleKind::Vnc).await.unwrap_err().kind(),
        ErrorKind::InvalidState
    );
    assert!(hypersdk.get_console(&on, &ConsoleKind::Spice).await.unwrap_err().is_unsupported());
    let metrics = hypersdk.get_vm_metrics(&on).await.unwrap();
    assert_eq!((metrics.memory_total, metrics.cpu_usage), (Some(ByteSize::mib(256)), None));
    assert!(metrics.disks.is_empty(), "zeroes that the daemon never fills are no measurements");
    assert_eq!(hypersdk.get_vm_metrics(&off).await.unwrap_err().kind(), ErrorKind::InvalidState);
    assert!(hypersdk.get_vm_metrics(&"ghost".into()).await.unwrap_err().is_not_found());
    assert_eq!(hypersdk.list_vm_metrics(&PageRequest::first()).await.unwrap().items.len(), 1);
}

#[tokio::test]
async fn jobs_are_tasks() {
    let (fake, hypersdk) = with(&[]).await;
    let job = |name: &str| {
        JobDefinition::new("/DC/vm/a", "/srv/x").name(name).vcenter(VCenter::new("v", "u", "p".into()))
    };
    let ids = hypersdk
        .api()
        .submit_jobs(&[job("a"), job("b"), JobDefinition::new("/DC/vm/c", "")])
        .await
        .unwrap()
        .job_ids;
    let task = |index: usize| ids[index].as_str().into();
    assert_eq!(hypersdk.get_task(&task(0), None).await.unwrap().state, TaskState::Running);
    assert_eq!(
        hypersdk.get_task(&task(2), None).await.unwrap().state,
        TaskState::Failed,
        "it has no vCenter"
    );
    hypersdk.cancel_task(&task(1)).await.unwrap();
    assert_eq!(hypersdk.get_task(&task(1), None).await.unwrap().state, TaskState::Cancelled);
    let log = hypersdk.get_task_log(&task(0), 0, 1).await.unwrap();
    assert_eq!((log.lines.len(), log.next, log.complete), (1, 1, false));
    fake.end_job(&ids[0], None);
    let rest = hypersdk.get_task_log(&task(0), log.next, 100).await.unwrap();
    assert_eq!((rest.lines[0].number, rest.lines.len(), rest.complete), (1, 2, true));
    let ended = hypersdk.cancel_task(&task(0)).await.unwrap_err();
    assert_eq!(ended.kind(), ErrorKind::InvalidState);
    let query = hypervisor_core::model::TaskQuery::all().state(TaskState::Succeeded);
    assert_eq!(hypersdk.list_tasks(&query, &PageRequest::first()).await.unwrap().items.len(), 1);
    for reserved in ["query", "submit", "progress", "", "..", "a/b"] {
        assert!(hypersdk.get_task(&reserved.into(), None).await.unwrap_err().is_not_found(), "{reserved:?}");
    }
    let no_path = hypersdk.api().submit_jobs(&[JobDefinition::default()]).await.unwrap_err();
    assert!(no_path.fields().contains_key("jobs[0].vm_path"));
}

#[tokio::test]
async fn what_the_daemon_cannot_do_says_why() {
    let (_fake, hypersdk) = with(&[]).await;
    let spec = hypervisor_core::model::VmSpec::new("new");
    let error = hypersdk.create_vm(&spec).await.unwrap_err();
    assert!(error.is_unsupported() && error.message().contains("copies"), "{error}");
    let claims = hypersdk.capabilities();
    for operation in [Operation::GetHost, Operation::ScreenshotVm] {
        assert!(claims.require(operation).unwrap_err().message().contains("hypervisord"));
    }
    let raw = hypersdk.raw(hypervisor_core::http::Request::get("/nope")).await.unwrap();
    assert_eq!((raw.status(), raw.text().trim()), (404, "404 page not found"));
}

#[tokio::test]
async fn a_probe_finds_the_dialect() {
    let fake = Fake::hypersdk().with_vm("web-01", true).start().await;
    let plain = fake.url().replacen("http+hypersdk", "http", 1);
    let config = hypervisor_client::ClientConfig::new(&plain).unwrap();
    let hv = hypervisor_client::connect(config).await.unwrap();
    assert_eq!((hv.info().backend.as_str(), hv.info().version.as_deref()), ("hypersdk", Some("0.0.1")));
    assert!(hv.backend::<HyperSdk>().is_some());
}

/// Whether a request went by this route.
fn went_by(route: &Route, method: &str, path: &str) -> bool {
    let (template, asked) = (route.path.split('/'), path.split('/'));
    let same = |(template, asked): (&str, &str)| template == asked || template.starts_with('{');
    route.method.as_str() == method
        && template.clone().count() == asked.clone().count()
        && template.zip(asked).all(same)
}

#[tokio::test]
async fn operations_go_by_the_routes_of_the_table() {
    let (fake, hypersdk) = with(&[("on", true), ("off", false), ("a-template", false)]).await;
    let (hv, on, off) = (&hypersdk, VmId::from("on"), VmId::from("off"));
    let page = PageRequest::first();
    let (disk, network) = ("default/off.qcow2".into(), "default".into());
    let job = JobDefinition::new("/DC/vm/a", "/srv/x").vcenter(VCenter::new("v", "u", "p".into()));
    let job = hv.api().submit_jobs(&[job]).await.unwrap().job_ids.remove(0);
    let task = job.as_str().into();
    let backup = hv.create_backup(&off, &BackupSpec::new()).await.unwrap().output.unwrap();
    let made = NetworkSpec::nat("lab", "10.20.30.1/24".parse().unwrap()).dhcp_from_cidr();
    let power = async |vm: &VmId, action: PowerAction| hv.power_vm(vm, &action).await.map(drop);
    macro_rules! by_the_table {
        ($($operation:ident: $call:expr;)*) => { $({
            let before = fake.server().received_requests().await.unwrap().len();
            let operation = Operation::$operation;
            $call.unwrap_or_else(|error| panic!("{operation}: {error}"));
            let asked = fake.server().received_requests().await.unwrap().split_off(before);
            let table = routes::of(operation);
            assert!(!asked.is_empty(), "{operation} asked for nothing");
            for request in asked {
                let known = table.iter().any(|route| went_by(route, request.method.as_str(), request.url.path()));
                assert!(known, "{operation} went by {} {}", request.method, request.url.path());
            }
        })* };
    }
    by_the_table! {
        ListVms: hv.list_vms(&VmQuery::all(), &page).await.map(drop);
        GetVm: hv.get_vm(&on).await.map(drop);
        PauseVm: power(&on, PowerAction::Pause).await;
        ResumeVm: power(&on, PowerAction::Resume).await;
        RebootVm: power(&on, PowerAction::Reboot).await;
        ResetVm: power(&on, PowerAction::Reset).await;
        GetConsole: hv.get_console(&on, &ConsoleKind::Vnc).await.map(drop);
        GetConsole: hv.get_console(&on, &ConsoleKind::Serial).await.map(drop);
        GetVmMetrics: hv.get_vm_metrics(&on).await.map(drop);
        ListVmMetrics: hv.list_vm_metrics(&page).await.map(drop);
        ShutdownVm: power(&on, PowerAction::Shutdown(Shutdown::new())).await;
        StartVm: power(&on, PowerAction::Start).await;
        PowerOffVm: power(&on, PowerAction::PowerOff).await;
        CloneVm: hv.clone_vm(&off, &CloneSpec::new("copy").start(true)).await.map(drop);
        CloneVms: hv.clone_vms(&off, &CloneMany::new("many", 2)).await.map(drop);
        CreateTemplate: hv.create_template(&off, &TemplateSpec::copy("b-template")).await.map(drop);
        DeployTemplate: hv.deploy_template(&"a-template".into(), &DeploySpec::new("deployed").cpus(1)).await.map(drop);
        ExportVm: hv.export_vm(&off, &ExportSpec::new("/srv/x")).await.map(drop);
        CreateSnapshot: hv.create_snapshot(&off, &SnapshotSpec::new("s")).await.map(drop);
        ListSnapshots: hv.list_snapshots(&off).await.map(drop);
        GetSnapshot: hv.get_snapshot(&off, &"s".into()).await.map(drop);
        RevertSnapshot: hv.revert_snapshot(&off, &"s".into(), &RevertSnapshot::new().start(true)).await.map(drop);
        DeleteSnapshot: hv.delete_snapshot(&off, &"s".into(), &DeleteSnapshot::only()).await.map(drop);
        ListPools: hv.list_pools(&PoolQuery::all(), &page).await.map(drop);
        GetPool: hv.get_pool(&"default".into()).await.map(drop);
        ListVolumes: hv.list_volumes(&"default".into(), &page).await.map(drop);
        GetVolume: hv.get_volume(&disk).await.map(drop);
        CreateVolume: hv.create_volume(&VolumeSpec::new("default", "v", ByteSize::gib(1))).await.map(drop);
        CloneVolume: hv.clone_volume(&disk, &CloneVolume::new("w")).await.map(drop);
        ResizeVolume: hv.resize_volume(&disk, &ResizeVolume::grow_to(ByteSize::gib(3))).await.map(drop);
        WipeVolume: hv.wipe_volume(&disk, WipeAlgorithm::Zero).await.map(drop);
        DeleteVolume: hv.delete_volume(&"default/v".into()).await.map(drop);
        ListNetworks: hv.list_networks(&page).await.map(drop);
        GetNetwork: hv.get_network(&network).await.map(drop);
        CreateNetwork: hv.create_network(&made).await.map(drop);
        DeleteNetwork: hv.delete_network(&"lab".into()).await.map(drop);
        StopNetwork: hv.stop_network(&network).await.map(drop);
        StartNetwork: hv.start_network(&network).await.map(drop);
        ListBackups: hv.list_backups(&BackupQuery::all(), &page).await.map(drop);
        CreateBackup: hv.create_backup(&"a-template".into(), &BackupSpec::new()).await.map(drop);
        DeleteBackup: hv.delete_backup(&backup).await.map(drop);
        GetTask: hv.get_task(&task, None).await.map(drop);
        ListTasks: hv.list_tasks(&TaskQuery::all(), &page).await.map(drop);
        GetTaskLog: hv.get_task_log(&task, 0, 10).await.map(drop);
        CancelTask: hv.cancel_task(&task).await;
        SubmitBatch: hv.submit_batch(&BatchRequest::new([BatchOp::power("on", PowerAction::Start), BatchOp::power("copy", PowerAction::Start)])).await.map(drop);
        DeleteVm: hv.delete_vm(&off, &DeleteVm::with_disks().power_off(true)).await.map(drop);
    }
}

#[tokio::test]
async fn a_guest_that_is_gone_with_its_power_is_deleted_and_its_disks_are_not_promised() {
    let fake = Fake::hypersdk().with_domain(&FakeDomain::new("live-cd").transient()).start().await;
    let hypersdk = HyperSdk::connect(fake.config()).await.unwrap();
    let vm = VmId::from("live-cd");
    let disks = hypersdk.delete_vm(&vm, &DeleteVm::with_disks().power_off(true)).await.unwrap_err();
    assert_eq!(
        (disks.kind(), state(&hypersdk, "live-cd").await),
        (ErrorKind::InvalidState, VmState::Running)
    );
    drop(hypersdk.delete_vm(&vm, &DeleteVm::keep_disks().power_off(true)).await.unwrap());
    assert!(hypersdk.get_vm(&vm).await.unwrap_err().is_not_found());
}

#[tokio::test]
async fn schedules_that_are_not_there_are_named() {
    let (_fake, hypersdk) = with(&[]).await;
    let api = hypersdk.api();
    let job = JobDefinition::new("/DC/vm/a", "/srv/exports/x");
    let schedule = NewSchedule::new("nope", "0 2 * * *", job.clone());
    for error in [
        api.enable_schedule("nope").await.unwrap_err(),
        api.disable_schedule("nope").await.unwrap_err(),
        api.trigger_schedule("nope").await.unwrap_err(),
        api.update_schedule("nope", &schedule).await.unwrap_err(),
        api.delete_schedule("nope").await.unwrap_err(),
    ] {
        assert_eq!((error.kind(), error.target()), (ErrorKind::NotFound, Some("schedule `nope`")), "{error}");
    }
    for id in ["", "stats", "a/b", ".."] {
        let error = api.create_schedule(&NewSchedule::new(id, "0 2 * * *", job.clone())).await.unwrap_err();
        assert!(error.fields().contains_key("id"), "{id}: {error}");
    }
    api.create_schedule(&NewSchedule::new("daily", "0 2 * * *", job.clone()).description("by night"))
        .await
        .unwrap();
    api.update_schedule("daily", &NewSchedule::new("daily", "0 3 * * *", job).enabled(false)).await.unwrap();
    let kept = api.schedule("daily").await.unwrap();
    assert_eq!((kept.description.as_str(), kept.schedule.as_str()), ("by night", "0 3 * * *"));
    assert!(!kept.enabled);
}
