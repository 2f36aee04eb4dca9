use std::time::Duration;

use futures::{StreamExt, TryStreamExt};

use crate::error::{Effect, Error, ErrorKind, Retry};
use crate::handle::scripted::{Power, Scripted};
use crate::model::{
    BackupId, BackupSpec, DeleteVm, Feature, GuestAddress, Started, TaskInfo, TaskState, VmId, VmSpec,
    VmState,
};
use crate::operation::Operation;
use crate::{Vm, WaitOptions};

const SHORT: Duration = Duration::from_secs(3);

fn ends(id: &str, state: TaskState) -> TaskInfo {
    TaskInfo::new(id, state)
}

#[tokio::test(start_paused = true)]
async fn a_create_is_awaited_twice_and_gives_the_guest() {
    let backend = Scripted::new();
    backend.task(SHORT, ends("create-web", TaskState::Succeeded));
    let vm: Vm = backend.hv().vms().create(&VmSpec::new("web")).await.unwrap().await.unwrap();
    assert_eq!(vm.id(), &VmId::from("web"));
}

#[tokio::test(start_paused = true)]
async fn warnings_are_success() {
    let backend = Scripted::new();
    let end = ends("t", TaskState::Succeeded).warnings(vec!["a disk was left".into()]);
    let outcome =
        backend.hv().resume(Started::running(7, backend.task(SHORT, end))).wait_outcome().await.unwrap();
    assert_eq!((outcome.output, outcome.warnings.as_slice()), (7, &["a disk was left".to_owned()][..]));
    assert_eq!(outcome.info.unwrap().state, TaskState::Succeeded);
}

#[tokio::test(start_paused = true)]
async fn a_failed_task_says_why_with_the_end_of_its_log() {
    let backend = Scripted::new();
    backend.task(SHORT, ends("create-web", TaskState::Failed).error("no space left"));
    let log = (0..50).map(|n| format!("line {n}")).collect();
    backend.lock().tasks.get_mut(&"create-web".into()).unwrap().log = log;
    let task = backend.hv().vms().create(&VmSpec::new("web")).await.unwrap();
    let error = task.wait_with(&WaitOptions::new().log_tail(3)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TaskFailed);
    assert_eq!(error.message(), "no space left");
    assert_eq!(error.operation(), Some(Operation::CreateVm));
    assert_eq!(error.target(), Some("vm `web`"));
    assert_eq!(error.task(), Some(&"create-web".into()));
    assert_eq!(error.log_tail(), ["line 47", "line 48", "line 49"]);
}

#[tokio::test(start_paused = true)]
async fn a_task_that_met_a_closed_door_may_have_done_a_part() {
    for kind in
        [ErrorKind::RateLimited, ErrorKind::Connect, ErrorKind::HostUnreachable, ErrorKind::Unauthenticated]
    {
        let backend = Scripted::new();
        let failed = ends("t", TaskState::Failed).error("too many requests").error_kind(kind);
        let task = backend.task(Duration::ZERO, failed);
        let error = backend.hv().task(task).wait().await.unwrap_err();
        assert_eq!((error.kind(), error.effect()), (kind, Effect::Unknown), "{error}");
        assert_ne!(error.retry(), Retry::Safe, "{error}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_task_of_several_steps_says_that_the_first_were_done() {
    for kind in [ErrorKind::PermissionDenied, ErrorKind::Locked, ErrorKind::TaskFailed] {
        let backend = Scripted::new();
        let failed = ends("t", TaskState::Failed).error("no start").error_kind(kind).effect(Effect::Partial);
        let task = backend.task(Duration::ZERO, failed);
        let error = backend.hv().task(task).wait().await.unwrap_err();
        assert_eq!((error.kind(), error.effect()), (kind, Effect::Partial), "{error}");
        assert_ne!(error.retry(), Retry::Safe, "{error}");
    }
}

#[tokio::test(start_paused = true)]
async fn reading_the_log_of_a_failed_task_does_not_outlast_the_wait() {
    let backend = Scripted::new();
    let task = backend.task(Duration::ZERO, ends("t", TaskState::Failed).error("no space left"));
    backend.lock().tasks.get_mut(&task).unwrap().log = vec!["one".into(), "two".into()];
    let (began, deadline) = (tokio::time::Instant::now(), Duration::from_millis(60));
    let options = WaitOptions::new().deadline(deadline);
    let error = backend.hv().task(task).wait_with(&options).await.unwrap_err();
    assert_eq!((error.kind(), error.message()), (ErrorKind::TaskFailed, "no space left"));
    assert!(began.elapsed() <= deadline, "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_timeout_names_the_task_and_cancels_nothing() {
    let backend = Scripted::new();
    let end = ends("t", TaskState::Succeeded).progress(0.4).stage("copying");
    let task = backend.hv().task(backend.task(Duration::from_secs(60), end)).with_deadline(SHORT);
    let error = task.wait().await.unwrap_err();
    assert_eq!(
        (error.kind(), error.retry(), error.effect()),
        (ErrorKind::Timeout, Retry::Never, Effect::Unknown)
    );
    assert_eq!(error.task(), Some(&"t".into()));
    assert!(error.message().contains("running at 40 % (copying)"), "{error}");
    assert!(error.hint().unwrap().contains("goes on"));
    assert!(backend.lock().cancelled.is_empty());
    task.with_deadline(Duration::from_secs(120)).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn cancel_ends_it_and_the_wait_says_so() {
    let backend = Scripted::new();
    let task = backend.hv().task(backend.task(Duration::from_secs(60), ends("t", TaskState::Succeeded)));
    task.cancel().await.unwrap();
    assert_eq!(task.wait().await.unwrap_err().kind(), ErrorKind::Cancelled);
    let done = backend.hv().resume(Started::done(()));
    assert_eq!(done.cancel().await.unwrap_err().kind(), ErrorKind::InvalidState);
    assert!(done.is_done() && done.info().await.unwrap().is_none());
}

#[tokio::test(start_paused = true)]
async fn a_failed_look_is_no_failed_task() {
    let backend = Scripted::new();
    let id = backend.task(SHORT, ends("t", TaskState::Succeeded));
    let odd = |kind| Error::new(kind, "hiccup");
    backend.lock().tasks.get_mut(&id).unwrap().failing_looks = [
        odd(ErrorKind::Transport),
        odd(ErrorKind::Connect),
        odd(ErrorKind::Backend),
        odd(ErrorKind::HostUnreachable),
    ]
    .into();
    backend.hv().task(id).wait().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_server_that_asks_for_an_eternity_does_not_outlast_the_deadline() {
    let backend = Scripted::new();
    let id = backend.task(SHORT, ends("t", TaskState::Succeeded));
    let busy = Error::new(ErrorKind::RateLimited, "later").with_retry_after(Duration::MAX);
    backend.lock().tasks.get_mut(&id).unwrap().failing_looks.push_back(busy);
    let patient = WaitOptions::new().pauses(Duration::MAX, Duration::MAX).deadline(Duration::from_secs(9));
    let error = backend.hv().task(id).with_options(patient).wait().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
}

#[tokio::test(start_paused = true)]
async fn a_wait_without_pauses_does_not_look_all_the_time() {
    let backend = Scripted::with(|backend| backend.latency = Duration::ZERO);
    let hv = backend.hv();
    // Forgotten, and what it works on is never at rest.
    backend.vm("busy", VmState::Starting);
    backend.lock().power.insert("busy".into(), Power::Task(Duration::ZERO, TaskState::Forgotten));
    let hasty = WaitOptions::new().pauses(Duration::ZERO, Duration::ZERO).deadline(Duration::from_secs(1));
    let task = hv.vm("busy").start().await.unwrap().with_options(hasty);
    assert_eq!(task.wait().await.unwrap_err().kind(), ErrorKind::Timeout);
    let looks = backend.count(Operation::GetVm);
    assert!((10..=100).contains(&looks), "{looks} looks in a second");
}

#[tokio::test(start_paused = true)]
async fn looks_that_will_never_succeed_end_the_wait_but_not_the_task() {
    let backend = Scripted::new();
    let id = backend.task(SHORT, ends("t", TaskState::Succeeded));
    let refused = Error::new(ErrorKind::PermissionDenied, "no Sys.Audit");
    backend.lock().tasks.get_mut(&id).unwrap().failing_looks = [refused].into();
    let error = backend.hv().task(id).wait().await.unwrap_err();
    assert_eq!((error.kind(), error.effect()), (ErrorKind::PermissionDenied, Effect::Unknown));
    assert_eq!(error.task(), Some(&"t".into()));
}

#[tokio::test(start_paused = true)]
async fn a_fresh_task_may_be_invisible_for_a_moment() {
    let backend = Scripted::new();
    let task = backend.hv().task("late");
    let appears = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        backend.task(SHORT, ends("late", TaskState::Succeeded));
    };
    let (waited, progress, log, ()) = tokio::join!(
        task.wait(),
        task.progress().map_ok(|info| info.state).try_collect::<Vec<_>>(),
        task.log().try_collect::<Vec<_>>(),
        appears
    );
    waited.unwrap();
    assert_eq!(progress.unwrap().last(), Some(&TaskState::Succeeded));
    log.unwrap();
    let never = backend.hv().task("never");
    assert!(never.progress().try_collect::<Vec<_>>().await.unwrap_err().is_not_found());
    assert!(never.log().try_collect::<Vec<_>>().await.unwrap_err().is_not_found());
    assert!(backend.hv().task("never").wait().await.unwrap_err().is_not_found());
}

#[tokio::test(start_paused = true)]
async fn a_fresh_task_that_the_server_calls_forgotten_is_looked_at_again() {
    let backend = Scripted::new();
    backend.task(Duration::ZERO, ends("create-web", TaskState::Forgotten));
    let task = backend.hv().vms().create(&VmSpec::new("web")).await.unwrap();
    let appears = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        backend.task(SHORT * 10, ends("create-web", TaskState::Succeeded));
        tokio::time::sleep(SHORT * 10).await;
        backend.vm("web", VmState::Stopped);
    };
    let (waited, ()) = tokio::join!(task.wait(), appears);
    assert_eq!(waited.unwrap().id().as_str(), "web");
}

#[tokio::test(start_paused = true)]
async fn a_forgotten_task_is_settled_by_looking_at_the_object() {
    let backend = Scripted::new();
    let hv = backend.hv();
    let forgotten = |id: &str| {
        backend.task(SHORT, ends(id, TaskState::Forgotten));
    };
    forgotten("create-there");
    backend.vm("there", VmState::Stopped);
    hv.vms().create(&VmSpec::new("there")).await.unwrap().await.unwrap();

    forgotten("create-missing");
    let error = hv.vms().create(&VmSpec::new("missing")).await.unwrap().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TaskFailed);
    assert!(error.message().contains("there is no vm `missing`"), "{error}");

    backend.lock().power.insert("there".into(), Power::Task(SHORT, TaskState::Forgotten));
    let error = hv.vm("there").start().await.unwrap().await.unwrap_err();
    assert!(error.message().contains("the guest is stopped"), "{error}");
    backend.vm("there", VmState::Starting);
    let start = hv.vm("there").start().await.unwrap();
    let boots = async {
        tokio::time::sleep(SHORT * 2).await;
        backend.vm("there", VmState::Running);
    };
    tokio::join!(start.wait(), boots).0.unwrap();

    let error = hv.vm("there").reboot().await.unwrap().await.unwrap_err();
    assert_eq!((error.kind(), error.effect()), (ErrorKind::Backend, Effect::Unknown));
    assert!(error.task().is_some());

    let deleted = ends("gone", TaskState::Forgotten).operation(Operation::DeleteVm).vm("nobody");
    hv.task(backend.task(SHORT, deleted)).wait().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_guest_that_has_not_followed_a_forgotten_shutdown_yet_has_not_refused_it() {
    let backend = Scripted::new();
    for (id, state) in [("slow", VmState::Running), ("quick", VmState::Stopped)] {
        backend.vm(id, state);
        backend.lock().power.insert(id.into(), Power::Task(Duration::ZERO, TaskState::Forgotten));
    }
    let error = backend.hv().vm("slow").shutdown().await.unwrap().await.unwrap_err();
    assert_eq!((error.kind(), error.effect()), (ErrorKind::Backend, Effect::Unknown));
    backend.hv().vm("quick").shutdown().await.unwrap().await.unwrap();
    let error = backend.hv().vm("slow").power_off().await.unwrap().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TaskFailed);
}

#[tokio::test(start_paused = true)]
async fn a_task_survives_as_plain_data() {
    let backend = Scripted::new();
    backend.task(SHORT, ends("create-web", TaskState::Succeeded));
    let task = backend.hv().vms().create(&VmSpec::new("web")).await.unwrap();
    let stored = serde_json::to_string(&task.map(VmId::from).into_started().unwrap()).unwrap();
    let started: Started<VmId> = serde_json::from_str(&stored).unwrap();
    assert_eq!(backend.hv().resume(started).await.unwrap(), VmId::from("web"));
}

#[tokio::test(start_paused = true)]
async fn a_backup_is_known_at_the_end_of_its_task() {
    let backend = Scripted::new();
    backend.task(SHORT, ends("backup-a", TaskState::Succeeded).made("store/a-1"));
    backend.task(SHORT, ends("backup-b", TaskState::Succeeded));
    let task = backend.hv().vm("a").back_up(&BackupSpec::new()).await.unwrap();
    assert_eq!(task.output(), None);
    assert_eq!(task.await.unwrap(), BackupId::from("store/a-1"));
    let silent = backend.hv().vm("b").back_up(&BackupSpec::new()).await.unwrap();
    assert_eq!(silent.map(|id| id.to_string()).await.unwrap_err().kind(), ErrorKind::Protocol);
}

#[tokio::test(start_paused = true)]
async fn progress_ends_with_the_end_and_the_log_is_drained() {
    let backend = Scripted::new();
    let id = backend.task(SHORT, ends("t", TaskState::Failed).error("boom"));
    let lines: Vec<String> = (0..8).map(|n| format!("line {n}")).collect();
    backend.lock().tasks.get_mut(&id).unwrap().log = lines.clone();
    let task = backend.hv().task(id);
    let (seen, log) = tokio::join!(
        task.progress().map_ok(|info| info.state).try_collect::<Vec<_>>(),
        task.log().map_ok(|line| line.text).try_collect::<Vec<_>>(),
    );
    assert_eq!(seen.unwrap(), [TaskState::Running, TaskState::Failed]);
    assert_eq!(log.unwrap(), lines);
    assert_eq!(backend.hv().resume(Started::done(())).progress().count().await, 0);
}

#[tokio::test(start_paused = true)]
async fn what_the_backend_cannot_do_costs_no_request() {
    let backend = Scripted::with(|backend| {
        backend.lacks(Operation::PauseVm);
        backend.lacks(Feature::Tpm);
    });
    let error = backend.hv().vm("a").pause().await.unwrap_err();
    assert_eq!((error.kind(), error.operation()), (ErrorKind::Unsupported, Some(Operation::PauseVm)));
    assert_eq!(error.target(), Some("vm `a`"));
    let error = backend.hv().vms().create(&VmSpec::new("web").tpm(true)).await.unwrap_err();
    assert_eq!(error.operation(), Some(Operation::CreateVm));
    let batch = backend.hv().batch().start("a").power("a", crate::model::PowerAction::Pause);
    assert!(batch.run().await.unwrap_err().fields().contains_key("items[1].op"));
    assert!(backend.lock().calls.is_empty());
}

#[tokio::test(start_paused = true)]
async fn conditions_are_waited_for_and_say_what_was_last_seen() {
    let backend = Scripted::new();
    backend.vm("a", VmState::Starting);
    let vm = backend.hv().vm("a");
    let error = vm.wait_until_running(SHORT).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
    assert!(error.message().contains("last seen starting"), "{error}");
    let boots = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        backend.vm("a", VmState::Running);
    };
    let (running, ()) = tokio::join!(vm.wait_for(SHORT, |vm| vm.state == VmState::Running), boots);
    assert_eq!(running.unwrap().state, VmState::Running);
    assert!(backend.hv().vm("b").wait_until_stopped(SHORT).await.unwrap_err().is_not_found());
    let address = vm.wait_for_address(SHORT, GuestAddress::is_reachable).await.unwrap();
    assert_eq!(address.address.to_string(), "10.0.0.7");
    let error = vm.wait_for_address(SHORT, |address| address.address.is_ipv6()).await.unwrap_err();
    assert!(error.message().contains("10.0.0.7"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_handle_from_a_list_insists_on_its_uid() {
    let backend = Scripted::new();
    backend.vm("a", VmState::Stopped);
    let vm = backend.hv().vms().by_name("a").await.unwrap();
    vm.delete(&DeleteVm::with_disks()).await.unwrap().await.unwrap();
    assert_eq!(backend.lock().deletes[0].expected_uid.as_deref(), Some("uid-a"));
}
