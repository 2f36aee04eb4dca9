//! The driver against the fake server: credentials, failover, the locator, creates, tasks, errors, uploads and consoles.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

mod counts;
mod devices;
mod lost;
mod networks;
mod secrets;
mod single;
mod truth;
mod typed;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use hypervisor_core::layer::Stack;
use hypervisor_core::model::{
    BatchItem, BatchOp, BatchRequest, ByteSize, ByteStream, CloneSpec, ConsoleKind, MigrateSpec, NicSpec,
    PageRequest, PowerAction, SnapshotSpec, TaskState, UploadVolume, VmChange, VmId, VmQuery, VmSpec,
    VmState, VolumeSpec,
};
use hypervisor_core::traits::{
    Batch as _, Compute as _, Guest as _, Network as _, Snapshots as _, Storage as _, Tasks as _,
};
use hypervisor_core::{Effect, ErrorKind, Hypervisor, Retry};
use hypervisor_proxmox::fake::{FakeGuest, FakePve};
use hypervisor_proxmox::wire::form::Form;
use hypervisor_proxmox::{Checksum, Proxmox, ProxmoxConfig};

fn config(pve: &FakePve) -> ProxmoxConfig {
    ProxmoxConfig::new(&pve.url()).unwrap().token(pve.token_id(), pve.token_secret())
}

async fn connect(pve: &FakePve) -> Proxmox {
    let proxmox = Proxmox::connect(config(pve)).await.unwrap();
    pve.clear_requests();
    proxmox
}

async fn logged_in(pve: &FakePve) -> Proxmox {
    let config = ProxmoxConfig::new(&pve.url()).unwrap().password("root@pam", pve.password());
    let proxmox = Proxmox::connect(config).await.unwrap();
    pve.clear_requests();
    proxmox
}

fn guests(count: u32) -> hypervisor_proxmox::fake::FakePveBuilder {
    (0..count).fold(FakePve::builder().task_time(Duration::from_millis(5)), |pve, n| {
        pve.vm(FakeGuest::vm(100 + n).name(&format!("vm-{n}")))
    })
}

/// Waits for the task of a call.
async fn done<T>(proxmox: &Proxmox, started: hypervisor_core::model::Started<T>) -> TaskState {
    let Some(task) = started.task else { return TaskState::Succeeded };
    for _ in 0..400 {
        let info = proxmox.get_task(&task, None).await.unwrap();
        if info.state.is_final() {
            return info.state;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("task {task} does not end")
}

async fn vms(proxmox: &Proxmox) -> Vec<hypervisor_core::model::VmInfo> {
    proxmox.list_vms(&VmQuery::all(), &PageRequest::first()).await.unwrap().items
}

fn vm(number: u32) -> VmId {
    number.to_string().into()
}

// Credentials

#[tokio::test]
async fn a_ticket_that_runs_out_in_a_batch_costs_one_login_and_no_item() {
    let pve = guests(8).start().await.unwrap();
    let proxmox = logged_in(&pve).await;
    vms(&proxmox).await;
    pve.advance(Duration::from_secs(3 * 3600));
    pve.clear_requests();
    let looks = (0..8).map(|n| {
        let proxmox = proxmox.clone();
        async move { proxmox.vm_status(&vm(100 + n)).await }
    });
    for look in futures::future::join_all(looks).await {
        look.unwrap();
    }
    assert_eq!(pve.count("POST", "/access/ticket"), 1);
    let start = BatchOp::power(vm(100), PowerAction::Start);
    proxmox.submit_batch(&BatchRequest::new([start])).await.unwrap().into_result().unwrap();
}

#[tokio::test]
async fn a_ticket_is_renewed_ahead_of_its_end_by_itself() {
    let pve = guests(1).start().await.unwrap();
    let proxmox = logged_in(&pve).await;
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(91 * 60)).await;
    tokio::time::resume();
    vms(&proxmox).await;
    vms(&proxmox).await;
    let logins: Vec<_> = pve.requests().into_iter().filter(|seen| seen.path == "/access/ticket").collect();
    assert_eq!(logins.len(), 1);
    assert!(logins[0].param("password").unwrap().starts_with("PVE:root@pam:"), "renewed by the password");
}

#[tokio::test]
async fn a_write_with_a_ticket_carries_its_csrf_token() {
    let pve = guests(1).start().await.unwrap();
    let proxmox = logged_in(&pve).await;
    let started = proxmox.power_vm(&vm(100), &PowerAction::Start).await.unwrap();
    assert_eq!(done(&proxmox, started).await, TaskState::Succeeded);
    assert_eq!(pve.count("POST", "/access/ticket"), 0);
}

#[tokio::test]
async fn a_second_factor_is_answered_or_asked_for() {
    let pve =
        guests(1).user("ann@pve", "word").totp("ann@pve", "123456").grant("ann@pve", "/", "Administrator");
    let pve = pve.start().await.unwrap();
    let config = || ProxmoxConfig::new(&pve.url()).unwrap().password("ann@pve", "word");
    let error = Proxmox::connect(config()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unauthenticated);
    assert!(error.hint().unwrap().contains("totp_secret"), "{error}");
    let proxmox = Proxmox::connect(config().otp("123456").unwrap()).await.unwrap();
    assert_eq!(vms(&proxmox).await.len(), 1);
    let wrong = Proxmox::connect(config().otp("000000").unwrap()).await.unwrap_err();
    assert_eq!(wrong.kind(), ErrorKind::Unauthenticated);
}

#[tokio::test]
async fn a_wrong_secret_is_refused_in_the_servers_words_and_never_shown() {
    let pve = guests(1).refusal_delay(Duration::from_millis(300)).start().await.unwrap();
    let config = ProxmoxConfig::new(&pve.url()).unwrap().token(pve.token_id(), "canary-secret");
    let error = Proxmox::connect(config.clone()).await.unwrap_err();
    assert_eq!((error.kind(), error.message()), (ErrorKind::Unauthenticated, "invalid token value!"));
    assert_eq!((error.code(), error.retry()), (Some("401"), Retry::Never));
    let wrong = ProxmoxConfig::new(&pve.url()).unwrap().password("root@pam", "canary-word");
    let other = Proxmox::connect(wrong.clone()).await.unwrap_err();
    assert_eq!(other.kind(), ErrorKind::Unauthenticated);
    let shown = format!("{error} {error:?} {error:#?} {other} {other:#?} {config:?} {wrong:?}");
    assert!(!shown.contains("canary"), "{shown}");
    // One login, not a loop.
    assert_eq!(pve.count("POST", "/access/ticket"), 1);
}

#[tokio::test]
async fn no_debug_and_no_url_shows_a_secret() {
    let pve = guests(1).vm(FakeGuest::vm(150).running()).start().await.unwrap();
    let proxmox = connect(&pve).await;
    let access = proxmox.get_console(&vm(150), &ConsoleKind::Vnc).await.unwrap();
    let shown = format!("{proxmox:?} {:?} {:?} {access:?}", proxmox.api(), proxmox.info());
    assert!(!shown.contains(pve.token_secret()) && !shown.contains("PVEVNC"), "{shown}");
    assert!(access.url.unwrap().starts_with("ws://127.0.0.1:"));
}

#[tokio::test]
async fn a_certificate_is_pinned_or_refused() {
    let pve = guests(1).tls().start().await.unwrap();
    let config = || config(&pve);
    assert_eq!(Proxmox::connect(config()).await.unwrap_err().kind(), ErrorKind::Connect);
    let pinned = hypervisor_core::http::Trust::Fingerprint(pve.fingerprint().unwrap().parse().unwrap());
    Proxmox::connect(config().trust(pinned)).await.unwrap();
    let other = format!("{}:00", "AB:".repeat(31).trim_end_matches(':'));
    let wrong = hypervisor_core::http::Trust::Fingerprint(other.parse().unwrap());
    assert_eq!(Proxmox::connect(config().trust(wrong)).await.unwrap_err().kind(), ErrorKind::Connect);
}

// Hosts that go away

#[tokio::test]
async fn another_endpoint_is_used_when_one_is_gone() {
    let pve = guests(1).hosts(2).start().await.unwrap();
    let [first, second] = <[String; 2]>::try_from(pve.urls()).unwrap();
    let config = ProxmoxConfig::new(&first).unwrap().endpoint(&second).unwrap();
    let proxmox = Proxmox::connect(config.token(pve.token_id(), pve.token_secret())).await.unwrap();
    pve.take_offline("pve1").await;
    let hosts = proxmox.list_hosts(&PageRequest::first()).await.unwrap().items;
    assert_eq!(hosts.len(), 2);
}

#[tokio::test]
async fn a_host_that_is_offline_is_named_and_costs_nobody_else() {
    let pve = FakePve::builder()
        .hosts(2)
        .vm(FakeGuest::vm(100))
        .vm(FakeGuest::vm(200).host("pve2"))
        .start()
        .await
        .unwrap();
    let proxmox = connect(&pve).await;
    pve.take_offline("pve2").await;
    let page = proxmox.list_vms(&VmQuery::all(), &PageRequest::first()).await.unwrap();
    assert_eq!(page.unreachable.iter().map(|host| host.host.as_str()).collect::<Vec<_>>(), ["pve2"]);
    let state = |number: u32| page.items.iter().find(|info| info.id == vm(number)).unwrap().state.clone();
    assert_eq!((state(100), state(200)), (VmState::Stopped, VmState::Unreachable));
    let error = proxmox.get_vm(&vm(200)).await.unwrap_err();
    assert_eq!(
        (error.kind(), error.code(), error.retry()),
        (ErrorKind::HostUnreachable, Some("595"), Retry::Safe)
    );
    pve.break_proxy("pve2", 596, "Connection timed out");
    let error = proxmox.update_vm(&vm(200), &VmChange::new().cpus(2)).await.unwrap_err();
    // The read that came before the change had no effect.
    assert_eq!((error.kind(), error.effect()), (ErrorKind::HostUnreachable, Effect::None));
}

#[tokio::test]
async fn a_guest_that_has_moved_is_found_with_one_more_look() {
    let pve = guests(3).hosts(2).start().await.unwrap();
    let (proxmox, other) = (connect(&pve).await, connect(&pve).await);
    proxmox.get_vm(&vm(100)).await.unwrap();
    let moved = other.migrate_vm(&vm(100), &MigrateSpec::to("pve2")).await.unwrap();
    assert_eq!(done(&other, moved).await, TaskState::Succeeded);
    pve.clear_requests();
    for info in futures::future::join_all([(); 5].map(|()| async { proxmox.vm_status(&vm(100)).await })).await
    {
        assert_eq!(info.unwrap().host, Some("pve2".into()));
    }
    assert_eq!(pve.count("GET", "/cluster/resources"), 1);
    let gone = proxmox.get_vm(&vm(777)).await.unwrap_err();
    assert_eq!((gone.kind(), gone.target()), (ErrorKind::NotFound, Some("vm `777`")));
}

// How many requests

#[tokio::test]
async fn a_list_is_one_request_and_a_create_at_most_two() {
    let pve = FakePve::builder().many(2000).start().await.unwrap();
    let proxmox = connect(&pve).await;
    assert_eq!(vms(&proxmox).await.len(), 2000);
    assert_eq!(pve.requests().len(), 1);
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(60)).await;
    tokio::time::resume();
    pve.clear_requests();
    proxmox
        .create_vm(
            &VmSpec::new("one-more").disk(hypervisor_core::model::DiskSpec::new_volume(ByteSize::gib(1))),
        )
        .await
        .unwrap()
        .task
        .unwrap();
    let paths: Vec<_> =
        pve.requests().into_iter().map(|seen| format!("{} {}", seen.method, seen.path)).collect();
    assert_eq!(paths, ["GET /cluster/resources", "POST /nodes/pve1/qemu"]);
}

#[tokio::test]
async fn a_hundred_creates_at_once_give_a_hundred_guests() {
    let pve = FakePve::builder().task_time(Duration::from_millis(5)).start().await.unwrap();
    let proxmox = connect(&pve).await;
    let creates = (0..100).map(|n| {
        let proxmox = proxmox.clone();
        async move { proxmox.create_vm(&VmSpec::new(format!("many-{n}"))).await.unwrap().output }
    });
    let ids: BTreeSet<VmId> = futures::future::join_all(creates).await.into_iter().collect();
    assert_eq!((ids.len(), pve.guests().len()), (100, 100));
    assert_eq!(pve.count("POST", "/nodes/*/qemu"), 100);
    assert_eq!((pve.count("GET", "/cluster/nextid"), pve.count("GET", "/cluster/resources")), (0, 0));
}

#[tokio::test]
async fn two_programs_that_create_at_once_do_not_get_in_each_others_way() {
    let pve = FakePve::builder().task_time(Duration::from_millis(5)).start().await.unwrap();
    let programs = [connect(&pve).await, connect(&pve).await];
    let creates = (0..20).map(|n| {
        let proxmox = programs[n % 2].clone();
        async move { proxmox.create_vm(&VmSpec::new(format!("both-{n}"))).await.unwrap().output }
    });
    let ids: BTreeSet<VmId> = futures::future::join_all(creates).await.into_iter().collect();
    assert_eq!((ids.len(), pve.guests().len()), (20, 20));
}

#[tokio::test]
async fn a_number_that_was_asked_for_is_not_another() {
    let pve = guests(1).start().await.unwrap();
    let proxmox = connect(&pve).await;
    let error = proxmox.create_vm(&VmSpec::new("second").id("100")).await.unwrap_err();
    assert_eq!((error.kind(), error.target()), (ErrorKind::AlreadyExists, Some("vm `100`")));
    let error = proxmox.create_vm(&VmSpec::new("third").id("7")).await.unwrap_err();
    assert!(error.fields().contains_key("id"), "{error}");
    assert_eq!(pve.guests().len(), 1);
}

#[tokio::test]
async fn settings_of_the_connection_go_into_new_machines_and_never_over_the_specs_own() {
    let pve = FakePve::builder().task_time(Duration::from_millis(5)).start().await.unwrap();
    let config = config(&pve).machine_default("kvm", "0").machine_default("ostype", "l26");
    let proxmox = Proxmox::connect(config).await.unwrap();
    let options = hypervisor_proxmox::VmOptions::new().key("ostype", "win11");
    let spec = VmSpec::new("a").with(&options).unwrap();
    let made = proxmox.create_vm(&spec).await.unwrap();
    let number = made.output.as_str().parse().unwrap();
    done(&proxmox, made).await;
    let guest = pve.guest(number).unwrap();
    assert_eq!((guest.config["kvm"].as_str(), guest.config["ostype"].as_str()), ("0", "win11"));
}

// What is not known

#[tokio::test]
async fn a_create_whose_answer_is_lost_is_found_by_its_mark() {
    let pve = FakePve::builder()
        .task_time(Duration::from_millis(5))
        .staleness(Duration::from_secs(10))
        .start()
        .await
        .unwrap();
    let proxmox = connect(&pve).await;
    pve.faults().on("POST", "/nodes/*/qemu").drop_after();
    let lost = proxmox.create_vm(&VmSpec::new("lost").client_token("Job-6")).await.unwrap_err();
    assert_eq!((lost.kind(), lost.effect()), (ErrorKind::Transport, Effect::Unknown));
    assert_ne!(lost.retry(), Retry::Safe);
    pve.faults().on("POST", "/nodes/*/qemu").drop_after();
    let hv = Stack::standard(Arc::new(proxmox)).build();
    let found = hv.create_vm(&VmSpec::new("web-1").client_token("Job-7")).await.unwrap().output;
    assert_eq!(pve.guests().len(), 2);
    let query = VmQuery::all().client_token("Job-7");
    let listed = hv.list_vms(&query, &PageRequest::first()).await.unwrap().items;
    assert_eq!(listed.iter().map(|info| info.id.clone()).collect::<Vec<_>>(), [found]);
    assert_eq!(listed[0].name, "web-1");
}

#[tokio::test]
async fn a_number_that_an_earlier_try_took_is_recognised() {
    let pve = FakePve::builder().task_time(Duration::from_millis(5)).start().await.unwrap();
    let proxmox = connect(&pve).await;
    let spec = VmSpec::new("once").id("300").client_token("Job-8");
    done(&proxmox, proxmox.create_vm(&spec).await.unwrap()).await;
    assert_eq!(proxmox.create_vm(&spec).await.unwrap().output, vm(300));
    let other = proxmox.create_vm(&spec.client_token("Job-9")).await.unwrap_err();
    assert_eq!(other.kind(), ErrorKind::AlreadyExists);
}

#[tokio::test]
async fn a_clone_whose_answer_is_lost_is_found_by_its_mark() {
    let pve = guests(1).start().await.unwrap();
    let proxmox = connect(&pve).await;
    pve.faults().on("POST", "/nodes/*/qemu/*/clone").drop_after();
    let hv = Stack::standard(Arc::new(proxmox)).build();
    let copy = hv.clone_vm(&vm(100), &CloneSpec::new("copy").client_token("Job-7")).await.unwrap().output;
    assert_eq!(pve.guests().len(), 2);
    assert_eq!(hv.get_vm(&copy).await.unwrap().name, "copy");
}

#[tokio::test]
async fn a_list_shows_what_this_program_has_just_done() {
    let pve = guests(1).staleness(Duration::from_secs(10)).start().await.unwrap();
    let proxmox = connect(&pve).await;
    vms(&proxmox).await;
    let started = proxmox.power_vm(&vm(100), &PowerAction::Start).await.unwrap();
    done(&proxmox, started).await;
    let made = proxmox.create_vm(&VmSpec::new("fresh").tag("blue")).await.unwrap();
    let id = made.output.clone();
    done(&proxmox, made).await;
    let all = vms(&proxmox).await;
    let find = |id: &VmId| all.iter().find(|info| info.id == *id).unwrap();
    assert_eq!(find(&vm(100)).state, VmState::Running);
    assert_eq!((find(&id).name.as_str(), find(&id).tags.contains("blue")), ("fresh", true));
}

// Tasks

#[tokio::test]
async fn every_end_of_a_task_is_told_apart() {
    let pve = guests(6).unknown_looks(2).start().await.unwrap();
    let proxmox = connect(&pve).await;
    let mut tasks = Vec::new();
    for number in 100..103 {
        match number {
            101 => pve.faults().on_task("qmstart").warn("odd clock"),
            102 => pve
                .faults()
                .on_task("qmstart")
                .fail("can't lock file '/var/lock/qemu-server/lock-102.conf' - got timeout"),
            _ => {}
        }
        tasks.push(proxmox.power_vm(&vm(number), &PowerAction::Start).await.unwrap().task.unwrap());
    }
    let mut ends = Vec::new();
    for task in &tasks {
        let started = hypervisor_core::model::Started::running((), task.clone());
        done(&proxmox, started).await;
        ends.push(proxmox.get_task(task, None).await.unwrap());
    }
    assert_eq!((ends[0].state, ends[0].warnings.len()), (TaskState::Succeeded, 0));
    assert_eq!(ends[1].state, TaskState::Succeeded);
    assert!(ends[1].warnings.iter().any(|line| line.contains("odd clock")), "{:?}", ends[1].warnings);
    assert_eq!((ends[2].state, ends[2].error_kind), (TaskState::Failed, Some(ErrorKind::Locked)));
    assert!(ends[2].error.as_ref().unwrap().contains("got timeout"));
}

#[tokio::test]
async fn a_task_is_cancelled_and_its_log_is_read_in_parts() {
    let pve = guests(1).task_time_of("qmstart", Duration::from_secs(60)).start().await.unwrap();
    let proxmox = connect(&pve).await;
    let task = proxmox.power_vm(&vm(100), &PowerAction::Start).await.unwrap().task.unwrap();
    assert_eq!(proxmox.get_task(&task, None).await.unwrap().state, TaskState::Running);
    proxmox.cancel_task(&task).await.unwrap();
    let info = proxmox.get_task(&task, None).await.unwrap();
    assert_eq!((info.state, info.can_cancel), (TaskState::Cancelled, false));
    assert_eq!(proxmox.cancel_task(&task).await.unwrap_err().kind(), ErrorKind::InvalidState);
    let part = proxmox.get_task_log(&task, 0, 1).await.unwrap();
    assert!(part.lines.len() <= 1);
}

#[tokio::test]
async fn a_task_of_another_node_is_asked_for_there() {
    let pve = FakePve::builder()
        .hosts(2)
        .task_time(Duration::from_millis(5))
        .vm(FakeGuest::vm(200).host("pve2"))
        .start()
        .await
        .unwrap();
    let proxmox = connect(&pve).await;
    let started = proxmox.power_vm(&vm(200), &PowerAction::Start).await.unwrap();
    assert!(started.task.as_ref().unwrap().as_str().starts_with("UPID:pve2:"));
    assert_eq!(done(&proxmox, started).await, TaskState::Succeeded);
    assert!(pve.count("GET", "/nodes/pve2/tasks/*/status") >= 1);
    assert_eq!(pve.count("GET", "/nodes/pve1/tasks/*/status"), 0);
}

#[tokio::test]
async fn a_failed_chain_says_which_step_failed() {
    let pve = guests(1).start().await.unwrap();
    let proxmox = connect(&pve).await;
    pve.faults().on_task("qmstart").fail("start failed: QEMU exited with code 1");
    let started = proxmox.clone_vm(&vm(100), &CloneSpec::new("copy").start(true)).await.unwrap();
    let task = started.task.clone().unwrap();
    assert_eq!(done(&proxmox, started).await, TaskState::Failed);
    let info = proxmox.get_task(&task, None).await.unwrap();
    assert!(info.error.unwrap().contains("QEMU exited"));
    let log = proxmox.get_task_log(&task, 0, 100).await.unwrap();
    assert!(log.complete && log.lines.iter().any(|line| line.text.contains("starting the copy")), "{log:?}");
}

// Errors

#[tokio::test]
async fn each_refusal_has_its_kind_and_keeps_the_servers_words() {
    let pve = guests(1).start().await.unwrap();
    let proxmox = connect(&pve).await;
    let table = [
        (500, "VM is locked (backup)", ErrorKind::Locked, Retry::Safe),
        (
            500,
            "can't lock file '/var/lock/qemu-server/lock-100.conf' - got timeout",
            ErrorKind::Locked,
            Retry::Safe,
        ),
        (500, "checksum mismatch (file change by other user?)", ErrorKind::Conflict, Retry::Never),
        (500, "storage 'x' does not exist", ErrorKind::NotFound, Retry::Never),
        (500, "cluster not ready - no quorum?", ErrorKind::InvalidState, Retry::Never),
        (500, "only root can set 'lock' config", ErrorKind::PermissionDenied, Retry::Never),
        (500, "some words that nobody has seen before", ErrorKind::Backend, Retry::Never),
        (403, "Permission check failed (/vms/100, VM.Config.CPU)", ErrorKind::PermissionDenied, Retry::Never),
        (
            501,
            "Method 'PUT /nodes/pve1/qemu/100/config' not implemented",
            ErrorKind::Unsupported,
            Retry::Never,
        ),
        (595, "No route to host", ErrorKind::HostUnreachable, Retry::Safe),
        (596, "Connection timed out", ErrorKind::HostUnreachable, Retry::IfIdempotent),
    ];
    for (status, text, kind, retry) in table {
        pve.faults().on("PUT", "/nodes/*/qemu/*/config").answer(status, text);
        let error = proxmox.update_vm(&vm(100), &VmChange::new().cpus(2)).await.unwrap_err();
        assert_eq!((error.kind(), error.retry()), (kind, retry), "{text}: {error}");
        assert_eq!(error.message(), text);
        let code = status.to_string();
        assert_eq!((error.code(), error.backend()), (Some(code.as_str()), Some("proxmox")));
        assert_eq!(error.operation(), Some(hypervisor_core::Operation::UpdateVm));
    }
    let unknown = proxmox
        .api()
        .put("/nodes/pve1/qemu/100/config", &Form::new().text("bogus", "1").text("cores", "0"))
        .await;
    let unknown = unknown.unwrap_err();
    assert_eq!(unknown.kind(), ErrorKind::InvalidInput);
    assert!(unknown.fields().contains_key("bogus") && unknown.fields().contains_key("cores"), "{unknown}");
}

#[tokio::test]
async fn a_missing_privilege_is_a_reason_before_the_call_and_a_hint_after_it() {
    let pve = guests(2).api_token("ann@pve", "t1", "secret", true);
    let pve = pve
        .grant("ann@pve", "/vms/100", "PVEAuditor")
        .grant("ann@pve!t1", "/vms/100", "PVEAuditor")
        .start()
        .await
        .unwrap();
    let config = ProxmoxConfig::new(&pve.url()).unwrap().token("ann@pve!t1", "secret");
    let proxmox = Proxmox::connect(config).await.unwrap();
    assert_eq!(vms(&proxmox).await.len(), 1);
    let error = proxmox.power_vm(&vm(100), &PowerAction::Start).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.message().contains("VM.PowerMgmt"), "{error}");
    let error = proxmox.api().post("/nodes/pve1/qemu/100/status/start", &Form::new()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PermissionDenied);
    assert!(error.hint().unwrap().contains("VM.PowerMgmt on /vms/100"), "{error}");
}

#[tokio::test]
async fn ids_cannot_lead_elsewhere() {
    let pve = guests(1).start().await.unwrap();
    let proxmox = connect(&pve).await;
    for id in ["", "..", "100/../101", "1e2", "100%2Fconfig", "-1", "0100"] {
        let error = proxmox.get_vm(&id.into()).await.unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::NotFound | ErrorKind::InvalidInput), "{id}: {error}");
    }
    for volume in ["local:../../etc/passwd", "local:iso/../x", "nowhere", ":", "local:"] {
        let error = proxmox.get_volume(&volume.into()).await.unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::NotFound | ErrorKind::InvalidInput), "{volume}: {error}");
    }
    assert!(proxmox.get_host(&"a/b".into()).await.is_err());
    assert_eq!(pve.count("*", "/**passwd"), 0);
}

// Everything else

#[tokio::test]
async fn an_upload_is_streamed_with_its_length_and_compared() {
    let pve = FakePve::builder().task_time(Duration::from_millis(5)).start().await.unwrap();
    let proxmox = connect(&pve).await;
    let target = |name: &str| UploadVolume::Create(VolumeSpec::new("local", name, ByteSize::bytes(1)));
    let content = bytes::Bytes::from(vec![7_u8; 3_000_000]);
    let chunks: Vec<_> = content.chunks(65_536).map(|chunk| Ok(content.slice_ref(chunk))).collect();
    let stream = ByteStream::new(3_000_000, futures::stream::iter(chunks));
    let started = proxmox.upload_volume(&target("big.iso"), stream).await.unwrap();
    assert_eq!(started.output.as_str(), "local:iso/big.iso");
    assert_eq!(done(&proxmox, started).await, TaskState::Succeeded);
    assert_eq!(pve.volume_bytes("pve1", "local:iso/big.iso").unwrap().len(), 3_000_000);
    let wrong = Checksum::sha256("00");
    let started =
        proxmox.upload_with_checksum(&target("bad.iso"), ByteStream::from_bytes("x"), &wrong).await.unwrap();
    assert_eq!(done(&proxmox, started).await, TaskState::Failed);
    let odd = proxmox.upload_volume(&target("notes.txt"), ByteStream::from_bytes("x")).await.unwrap_err();
    assert!(odd.fields().contains_key("content"), "{odd}");
}

#[tokio::test]
async fn power_verbs_for_many_guests_are_one_call_with_an_end_for_each() {
    let pve = guests(5).vm(FakeGuest::vm(150).running()).start().await.unwrap();
    let proxmox = connect(&pve).await;
    pve.faults().on_task("qmstart").nth(2).fail("start failed: QEMU exited with code 1");
    let numbers = [100, 101, 102, 103, 150];
    let items = numbers.map(|number| BatchItem::new(BatchOp::power(vm(number), PowerAction::Start)));
    let report = proxmox.submit_batch(&BatchRequest::new(items)).await.unwrap();
    assert_eq!(pve.count("POST", "/cluster/bulk-action/guest/start"), 1);
    assert_eq!(pve.count("POST", "/nodes/*/qemu/*/status/start"), 0);
    let running = numbers.map(|number| pve.guest(number).unwrap().running);
    for (number, outcome, running) in [0, 1, 2, 3].map(|at| (numbers[at], &report.outcomes[at], running[at]))
    {
        assert_eq!(outcome.is_done(), running, "{number}: {outcome:?}");
    }
    // One that runs already is refused without asking.
    assert_eq!(report.outcomes[4].error().unwrap().kind(), ErrorKind::InvalidState);
}

#[tokio::test]
async fn an_older_release_gets_no_calls_that_it_does_not_have() {
    let pve = guests(2).version("8.1.4").vm(FakeGuest::vm(150).running()).start().await.unwrap();
    let proxmox = connect(&pve).await;
    let items = [100, 101].map(|number| BatchItem::new(BatchOp::power(vm(number), PowerAction::Start)));
    proxmox.submit_batch(&BatchRequest::new(items)).await.unwrap().into_result().unwrap();
    let off = proxmox.power_vm(&vm(150), &PowerAction::PowerOff).await.unwrap();
    assert_eq!(done(&proxmox, off).await, TaskState::Succeeded);
    // The reason stands in the status line alone.
    let error = proxmox.api().get("/nodes/pve1/qemu/999/config").await.unwrap_err();
    assert_eq!(error.message(), "Configuration file 'nodes/pve1/qemu-server/999.conf' does not exist");
}

#[tokio::test]
async fn a_screen_and_a_terminal_are_opened_as_streams() {
    let pve = FakePve::builder()
        .vm(FakeGuest::vm(100).running().set("serial0", "socket"))
        .vm(FakeGuest::vm(101))
        .start()
        .await
        .unwrap();
    let proxmox = connect(&pve).await;
    let mut screen = proxmox.open_console(&vm(100), &ConsoleKind::Vnc).await.unwrap();
    let hello = screen.next().await.unwrap().unwrap();
    assert!(hello.starts_with(b"RFB 003.008"), "{hello:?}");
    assert!(screen.password().is_some());
    let mut terminal = proxmox.open_console(&vm(100), &ConsoleKind::Serial).await.unwrap();
    terminal.send("ls\n").await.unwrap();
    terminal.resize(120, 40).await.unwrap();
    let stopped = proxmox.open_console(&vm(101), &ConsoleKind::Vnc).await.unwrap_err();
    assert_eq!(stopped.kind(), ErrorKind::InvalidState);
}

#[tokio::test]
async fn the_agent_runs_commands_and_keeps_files() {
    let pve = FakePve::builder().vm(FakeGuest::vm(100).running().set("agent", "1")).start().await.unwrap();
    let proxmox = connect(&pve).await;
    proxmox.ping_agent(&vm(100)).await.unwrap();
    let content = bytes::Bytes::from_static(b"\xff\x00 bytes \xfe");
    proxmox
        .write_guest_file(&vm(100), "/tmp/x", content.clone(), &hypervisor_core::model::WriteFile::replace())
        .await
        .unwrap();
    assert_eq!(proxmox.read_guest_file(&vm(100), "/tmp/x", ByteSize::kib(4)).await.unwrap(), content);
    let frozen = proxmox.freeze_filesystems(&vm(100)).await.unwrap();
    assert_eq!(proxmox.thaw_filesystems(&vm(100)).await.unwrap(), frozen);
    assert!(!proxmox.list_addresses(&vm(100), None).await.unwrap().is_empty());
}

#[tokio::test]
async fn networks_of_all_hosts_are_one_list() {
    let pve = guests(1).hosts(2).start().await.unwrap();
    let proxmox = connect(&pve).await;
    let networks = proxmox.list_networks(&PageRequest::first()).await.unwrap().items;
    let names: Vec<_> = networks.iter().map(|network| network.id.as_str()).collect();
    assert_eq!(names, ["vmbr0"]);
    assert_eq!(networks[0].host, None, "a bridge of every host is of no one host");
    let error = proxmox.create_vm(&VmSpec::new("a").nic(NicSpec::bridge("vmbr77"))).await.unwrap_err();
    assert_eq!((error.kind(), error.target()), (ErrorKind::NotFound, Some("network `vmbr77`")));
}

#[tokio::test]
async fn a_locked_guest_says_who_holds_it() {
    let pve = FakePve::builder().vm(FakeGuest::vm(100).locked("backup")).start().await.unwrap();
    let proxmox = connect(&pve).await;
    assert_eq!(proxmox.get_vm(&vm(100)).await.unwrap().lock.as_deref(), Some("backup"));
    let error = proxmox.update_vm(&vm(100), &VmChange::new().cpus(2)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Locked);
    assert!(error.hint().unwrap().contains("`backup`"), "{error}");
    let snapshot = proxmox.create_snapshot(&vm(100), &SnapshotSpec::new("s1")).await.unwrap();
    let task = snapshot.task.clone().unwrap();
    assert_eq!(done(&proxmox, snapshot).await, TaskState::Failed);
    assert_eq!(proxmox.get_task(&task, None).await.unwrap().error_kind, Some(ErrorKind::Locked));
}
