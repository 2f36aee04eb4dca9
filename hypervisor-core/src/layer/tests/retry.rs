use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::error::{Effect, Retry};
use crate::layer::{Fault, Layered, Repeated, RetryPolicy, Semantics, Stack};
use crate::operation::{Operation, OperationClass};

fn policy() -> RetryPolicy {
    RetryPolicy::new().delay(Duration::from_millis(100), Duration::from_secs(1)).without_jitter()
}

fn layered(backend: &Arc<Scripted>, policy: RetryPolicy) -> Layered<RetryPolicy> {
    Layered::new(Arc::clone(backend) as Arc<dyn Hypervisor>, policy)
}

/// A call of each class, and whether it ended well.
async fn call_of(class: OperationClass, hv: &dyn Hypervisor) -> Result<()> {
    match class {
        OperationClass::Read => hv.get_vm(&"v".into()).await.map(drop),
        OperationClass::IdempotentWrite => hv.delete_group(&"g".into()).await.map(drop),
        OperationClass::Create => hv.create_vm(&VmSpec::new("v")).await.map(drop),
        OperationClass::Action => hv.power_vm(&"v".into(), &PowerAction::Reboot).await.map(drop),
    }
}

fn success_of(class: OperationClass) -> Step {
    match class {
        OperationClass::Read => answer(VmInfo::new("v", "v", VmState::Running)),
        OperationClass::Create => answer(Started::done(VmId::from("v"))),
        _ => answer(Started::done(())),
    }
}

#[tokio::test(start_paused = true)]
async fn the_matrix_of_retries() {
    use OperationClass::{Action, Create, IdempotentWrite, Read};
    let mut repeated = Vec::new();
    for class in [Read, IdempotentWrite, Create, Action] {
        for retry in [Retry::Safe, Retry::IfIdempotent, Retry::Never] {
            let error = Error::new(ErrorKind::Backend, "scripted").with_retry(retry);
            let backend = Scripted::shared([Step::Fail(error), success_of(class)]);
            let outcome = call_of(class, &layered(&backend, policy())).await;
            let calls = backend.calls().len();
            assert_eq!(outcome.is_ok(), calls == 2, "{class:?} {retry:?}");
            if calls == 2 {
                repeated.push((class, retry));
            }
        }
    }
    let expected = [
        (Read, Retry::Safe),
        (Read, Retry::IfIdempotent),
        (IdempotentWrite, Retry::Safe),
        (IdempotentWrite, Retry::IfIdempotent),
        (Create, Retry::Safe),
        (Action, Retry::Safe),
    ];
    assert_eq!(repeated, expected);
}

#[tokio::test(start_paused = true)]
async fn what_has_done_a_part_is_not_done_again_because_the_rest_was_refused() {
    for kind in [ErrorKind::RateLimited, ErrorKind::Connect, ErrorKind::Locked, ErrorKind::HostUnreachable] {
        for class in [OperationClass::Create, OperationClass::Action] {
            for error in [
                Error::new(kind, "no start").after_part(),
                Error::new(kind, "no start").with_effect(Effect::Partial),
                Error::new(kind, "no look").with_effect(Effect::Unknown),
            ] {
                let effect = error.effect();
                let backend = Scripted::shared([Step::Fail(error), success_of(class)]);
                let error = call_of(class, &layered(&backend, policy())).await.unwrap_err();
                assert_eq!((backend.calls().len(), error.effect()), (1, effect), "{kind} {class:?}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn every_kind_is_repeated_as_its_default_says() {
    for kind in ErrorKind::ALL {
        for class in [OperationClass::Read, OperationClass::Action] {
            let backend = Scripted::shared([fail(*kind), success_of(class)]);
            let outcome = call_of(class, &layered(&backend, policy())).await;
            let wanted = RetryPolicy::allows(Error::new(*kind, "").retry(), class.is_idempotent());
            assert_eq!(outcome.is_ok(), wanted, "{kind} {class:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_pauses_grow_and_the_error_counts_the_attempts() {
    let backend = Scripted::shared((0..9).map(|_| fail(ErrorKind::Connect)));
    let error = layered(&backend, policy().max_attempts(6)).get_vm(&"v".into()).await.unwrap_err();
    assert_eq!(backend.times(), [0, 100, 300, 700, 1500, 2500]);
    assert_eq!(error.attempts(), 6);
    assert!(error.to_string().contains("tried 6 times"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn jitter_is_the_same_for_a_seed_and_differs_between_calls() {
    let run = async |seed| {
        let backend = Scripted::shared((0..8).map(|_| fail(ErrorKind::Connect)));
        let hv = layered(&backend, RetryPolicy::new().seed(seed));
        for _ in 0..2 {
            assert!(hv.get_vm(&"v".into()).await.is_err());
        }
        backend.times()
    };
    let first = run(7).await;
    assert_eq!(first, run(7).await);
    assert_ne!(first, run(8).await);
    let pause = |from: usize| first[from + 1] - first[from];
    assert_ne!((pause(0), pause(1)), (pause(4), pause(5)));
    assert!((200..=400).contains(&pause(0)), "{first:?}");
}

#[tokio::test(start_paused = true)]
async fn the_servers_wish_is_obeyed_up_to_a_point() {
    let limited = |seconds| {
        Step::Fail(Error::new(ErrorKind::RateLimited, "").with_retry_after(Duration::from_secs(seconds)))
    };
    let backend = Scripted::shared([limited(7), success_of(OperationClass::Action)]);
    let hv = layered(&backend, policy());
    assert!(hv.power_vm(&"v".into(), &PowerAction::Start).await.is_ok());
    assert_eq!(backend.times(), [0, 7000]);

    let backend = Scripted::shared([limited(3600), success_of(OperationClass::Action)]);
    let error = layered(&backend, policy()).power_vm(&"v".into(), &PowerAction::Start).await.unwrap_err();
    assert_eq!(error.retry_after(), Some(Duration::from_secs(3600)));
    assert_eq!(backend.times(), [0]);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_begun_beyond_the_budget() {
    let backend = Scripted::shared((0..9).map(|_| fail(ErrorKind::Connect)));
    let policy = policy().max_attempts(9).budget(Duration::from_millis(800));
    let error = layered(&backend, policy).get_vm(&"v".into()).await.unwrap_err();
    assert_eq!(backend.times(), [0, 100, 300, 700]);
    assert_eq!(error.attempts(), 4);
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_may_have_had_an_effect_is_not_forgotten() {
    let backend = Scripted::shared([fail(ErrorKind::Transport), fail(ErrorKind::Connect)]);
    let hv = layered(&backend, policy().max_attempts(2));
    let error = hv.delete_group(&"g".into()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Connect);
    assert_eq!((error.effect(), error.retry()), (Effect::Unknown, Retry::IfIdempotent));

    let backend = Scripted::shared([fail(ErrorKind::Transport), fail(ErrorKind::PermissionDenied)]);
    let error = layered(&backend, policy()).delete_group(&"g".into()).await.unwrap_err();
    assert_eq!((error.effect(), error.retry()), (Effect::Unknown, Retry::Never));
}

fn guest(uid: Option<&str>) -> Step {
    let mut info = VmInfo::new("v", "v", VmState::Stopped);
    info.uid = uid.map(str::to_owned);
    answer(info)
}

/// Deletes a guest whose uid the caller has not named.
async fn delete(backend: &Arc<Scripted>) -> Result<()> {
    layered(backend, policy()).delete_vm(&"v".into(), &DeleteVm::with_disks()).await.map(drop)
}

#[tokio::test(start_paused = true)]
async fn a_repeated_delete_that_finds_nothing_has_succeeded() {
    let backend =
        Scripted::shared([guest(Some("ours")), fail(ErrorKind::Transport), fail(ErrorKind::NotFound)]);
    assert!(delete(&backend).await.is_ok());
    assert_eq!(backend.calls(), ["get_vm", "delete_vm", "delete_vm"]);

    // Nor one that finds the id at another guest.
    let backend = Scripted::shared([fail(ErrorKind::Transport), fail(ErrorKind::Conflict)]);
    let ours = DeleteVm::with_disks().expected_uid("ours");
    assert!(layered(&backend, policy()).delete_vm(&"v".into(), &ours).await.is_ok());

    // Not when nothing was lost before: then it was never there.
    let backend =
        Scripted::shared([guest(Some("ours")), fail(ErrorKind::Connect), fail(ErrorKind::NotFound)]);
    assert!(delete(&backend).await.unwrap_err().is_not_found());
    let backend = Scripted::shared([fail(ErrorKind::NotFound)]);
    let error = delete(&backend).await.unwrap_err();
    assert_eq!((error.operation(), error.effect()), (Some(Operation::DeleteVm), Effect::None));

    // And not for what does not delete.
    let backend = Scripted::shared([fail(ErrorKind::Transport), fail(ErrorKind::NotFound)]);
    assert!(layered(&backend, policy()).update_vm(&"v".into(), &VmChange::new()).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_delete_of_unknown_outcome_is_repeated_for_the_same_guest_only() {
    let lost = || fail(ErrorKind::Transport);
    // Every attempt carries the uid that was there before the first one.
    let backend = Scripted::shared([guest(Some("ours")), lost(), answer(Started::done(()))]);
    assert!(delete(&backend).await.is_ok());
    assert_eq!(backend.calls(), ["get_vm", "delete_vm", "delete_vm"]);
    assert_eq!(*backend.uids.lock().unwrap(), [Some("ours".to_owned()), Some("ours".to_owned())]);

    // So that the backend refuses when its id belongs to another one.
    let backend = Scripted::shared([guest(Some("ours")), lost(), fail(ErrorKind::Conflict)]);
    assert!(delete(&backend).await.is_ok());

    // That is not known: the backend tells no uid, or the caller may not read it.
    for first in [
        guest(None),
        fail(ErrorKind::PermissionDenied),
        fail(ErrorKind::Unsupported),
        fail(ErrorKind::Protocol),
    ] {
        let backend = Scripted::shared([first, lost(), guest(Some("somebody's"))]);
        let error = delete(&backend).await.unwrap_err();
        assert_eq!((error.kind(), error.effect()), (ErrorKind::Transport, Effect::Unknown), "{error}");
        assert!(error.to_string().contains("may be another one"), "{error}");
        assert_eq!(backend.calls(), ["get_vm", "delete_vm", "get_vm"]);
    }
    let backend = Scripted::shared([guest(None), lost(), fail(ErrorKind::NotFound)]);
    assert!(delete(&backend).await.is_ok());

    // It cannot be found out.
    let backend = Scripted::shared([guest(None), lost(), fail(ErrorKind::Unauthenticated)]);
    let error = delete(&backend).await.unwrap_err();
    assert!(error.to_string().contains("could not be found out"), "{error}");
    assert_eq!((error.operation(), error.effect()), (Some(Operation::DeleteVm), Effect::Unknown));

    // Without an effect it is repeated without a look, and who does not repeat does not ask.
    let backend = Scripted::shared([guest(None), fail(ErrorKind::Connect), answer(Started::done(()))]);
    assert!(delete(&backend).await.is_ok());
    assert_eq!(backend.calls(), ["get_vm", "delete_vm", "delete_vm"]);
    let backend = Scripted::shared([lost()]);
    let once = layered(&backend, policy().max_attempts(1));
    assert!(once.delete_vm(&"v".into(), &DeleteVm::with_disks()).await.is_err());
    assert_eq!(backend.calls(), ["delete_vm"]);
}

#[tokio::test(start_paused = true)]
async fn a_delete_that_was_lost_in_a_bulk_call_is_not_sent_again_to_whoever_is_there() {
    let lost: Result<Started<BatchOutput>> = Err(Error::new(ErrorKind::Transport, "lost"));
    let op = BatchOp::DeleteVm { vm: "v".into(), options: DeleteVm::with_disks() };
    let backend = Scripted::shared([answer(vec![lost]), guest(Some("somebody's"))]);
    let outcomes = layered(&backend, policy()).submit_bulk(&[op]).await.unwrap();
    let error = outcomes.into_iter().next().unwrap().unwrap_err();
    assert!(error.to_string().contains("may be another one"), "{error}");
    assert_eq!(backend.calls(), ["submit_bulk", "get_vm"]);
}

#[tokio::test(start_paused = true)]
async fn an_append_is_not_repeated_after_a_lost_answer() {
    let (vm, bytes) = (VmId::from("v"), Bytes::from("line"));
    let backend = Scripted::shared([fail(ErrorKind::Transport), answer(())]);
    let hv = layered(&backend, policy());
    assert!(hv.write_guest_file(&vm, "/f", bytes.clone(), &WriteFile::append()).await.is_err());
    assert_eq!(backend.calls().len(), 1);
    let backend = Scripted::shared([fail(ErrorKind::Transport), answer(())]);
    assert!(
        layered(&backend, policy()).write_guest_file(&vm, "/f", bytes, &WriteFile::replace()).await.is_ok()
    );
}

#[tokio::test(start_paused = true)]
async fn streams_and_batches_are_not_repeated() {
    let safe = || [fail(ErrorKind::Connect), fail(ErrorKind::Connect)];
    let backend = Scripted::shared(safe());
    let hv = layered(&backend, policy());
    assert!(hv.upload_volume(&UploadVolume::to("d"), ByteStream::from_bytes("x")).await.is_err());
    assert!(hv.download_volume(&"d".into(), &DownloadVolume::all()).await.is_err());
    assert!(hv.watch(&EventQuery::all()).await.is_err());
    assert_eq!(backend.calls(), ["upload_volume", "download_volume", "watch"]);
}

#[tokio::test(start_paused = true)]
async fn what_failed_in_a_bulk_call_is_repeated_alone() {
    let ops = ["a", "b", "c"].map(|vm| BatchOp::power(vm, PowerAction::Start));
    let outcomes: Vec<Result<Started<BatchOutput>>> = vec![
        Ok(Started::done(BatchOutput::Nothing)),
        Err(Error::new(ErrorKind::Locked, "")),
        Err(Error::new(ErrorKind::Timeout, "")),
    ];
    let backend = Scripted::shared([answer(outcomes), answer(Started::done(()))]);
    let outcomes = layered(&backend, policy()).submit_bulk(&ops).await.unwrap();
    assert_eq!(outcomes.iter().map(Result::is_ok).collect::<Vec<_>>(), [true, true, false]);
    assert_eq!(backend.calls(), ["submit_bulk", "power_vm"]);
    assert_eq!(backend.times(), [0, 100]);
}

fn marked() -> VmSpec {
    VmSpec::new("web-1").client_token("once-7")
}

fn found(state: VmState) -> VmInfo {
    VmInfo::new("101", "web-1", state).client_token("once-7")
}

fn guests(guests: Vec<VmInfo>) -> Step {
    answer(Page::only(guests))
}

#[tokio::test(start_paused = true)]
async fn a_create_of_unknown_outcome_is_never_repeated_blindly() {
    for kind in [ErrorKind::Timeout, ErrorKind::Transport, ErrorKind::Protocol] {
        let backend = Scripted::shared([fail(kind)]);
        let hv = layered(&backend, policy());
        let error = hv.create_vm(&VmSpec::new("web-1")).await.unwrap_err();
        assert_eq!(error.effect(), Effect::Unknown);
        assert_eq!(backend.calls(), ["create_vm"], "{kind}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_lost_create_has_made_is_found_by_its_token() {
    let other = VmInfo::new("100", "web-0", VmState::Running);
    let backend = Scripted::shared([
        fail(ErrorKind::Transport),
        answer(Page::new(vec![other], Some("100".to_owned()))),
        guests(vec![found(VmState::Stopped)]),
    ]);
    let started = layered(&backend, policy()).create_vm(&marked()).await.unwrap();
    assert_eq!(started, Started::done("101".into()));
    assert_eq!(backend.calls(), ["create_vm", "list_vms", "list_vms"]);
}

#[tokio::test(start_paused = true)]
async fn a_lost_create_that_came_to_the_guest_only_is_finished_by_its_start() {
    let spec = marked().start(true);
    let found = |state| [fail(ErrorKind::Transport), guests(vec![found(state)])];
    let backend = Scripted::shared(
        found(VmState::Stopped).into_iter().chain([answer(Started::running((), TaskId::from("t")))]),
    );
    let started = layered(&backend, policy()).create_vm(&spec).await.unwrap();
    assert_eq!(started, Started::running(VmId::from("101"), TaskId::from("t")));
    assert_eq!(backend.calls(), ["create_vm", "list_vms", "power_vm"]);
    let backend = Scripted::shared(found(VmState::Running));
    let _ = layered(&backend, policy()).create_vm(&spec).await.unwrap();
    assert_eq!(backend.calls(), ["create_vm", "list_vms"]);
}

#[tokio::test(start_paused = true)]
async fn clones_and_deployments_are_found_as_well() {
    let spec = CloneSpec::new("web-1").client_token("once-7");
    let backend = Scripted::shared([fail(ErrorKind::Timeout), guests(vec![found(VmState::Stopped)])]);
    let started = layered(&backend, policy()).clone_vm(&"t".into(), &spec).await.unwrap();
    assert_eq!(started.output, VmId::from("101"));
    let backend = Scripted::shared([fail(ErrorKind::Timeout), guests(vec![found(VmState::Stopped)])]);
    let spec = DeploySpec::new("web-1").clone(spec);
    let started = layered(&backend, policy()).deploy_template(&"t".into(), &spec).await.unwrap();
    assert_eq!(started.output, VmId::from("101"));
}

#[tokio::test(start_paused = true)]
async fn a_guest_still_being_made_comes_with_its_task() {
    let task = TaskInfo::new("UPID:7", TaskState::Running).vm("101");
    let backend = Scripted::shared([
        fail(ErrorKind::Timeout),
        guests(vec![found(VmState::Provisioning)]),
        answer(Page::only(vec![task])),
    ]);
    let started = layered(&backend, policy()).create_vm(&marked()).await.unwrap();
    assert_eq!(started, Started::running("101".into(), "UPID:7"));
}

#[tokio::test(start_paused = true)]
async fn a_create_is_repeated_once_it_is_certain_that_nothing_was_made() {
    let backend = Scripted::shared([
        fail(ErrorKind::Transport),
        guests(Vec::new()),
        answer(Started::done(VmId::from("102"))),
    ]);
    let started = layered(&backend, policy()).create_vm(&marked()).await.unwrap();
    assert_eq!(started.output, VmId::from("102"));
    assert_eq!(backend.calls(), ["create_vm", "list_vms", "create_vm"]);
    assert_eq!(backend.times(), [0, 100, 100], "the look comes after the pause, right before the repetition");
}

#[tokio::test(start_paused = true)]
async fn a_name_taken_by_our_own_lost_attempt_is_success() {
    let backend = Scripted::shared([
        fail(ErrorKind::Transport),
        guests(Vec::new()),
        fail(ErrorKind::AlreadyExists),
        guests(vec![found(VmState::Stopped)]),
    ]);
    assert!(layered(&backend, policy()).create_vm(&marked()).await.is_ok());

    // A name taken by another is none.
    let backend = Scripted::shared([fail(ErrorKind::AlreadyExists)]);
    let error = layered(&backend, policy()).create_vm(&marked()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AlreadyExists);
    assert_eq!(backend.calls(), ["create_vm"]);
}

#[tokio::test(start_paused = true)]
async fn a_look_that_does_not_see_everything_is_no_proof() {
    let mut page = Page::only(Vec::<VmInfo>::new());
    page.unreachable.push(Unreachable::new("h2", "down"));
    let pages = (0..3).map(|_| answer(page.clone()));
    let backend = Scripted::shared(std::iter::once(fail(ErrorKind::Timeout)).chain(pages));
    let error = layered(&backend, policy()).create_vm(&marked()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
    assert_eq!(error.operation(), Some(Operation::CreateVm));
    assert!(error.hint().unwrap().contains("h2"), "{error}");
    assert_eq!(backend.calls().iter().filter(|call| **call == "create_vm").count(), 1);
    assert_eq!(backend.calls().len(), 4, "the look is repeated as long as attempts are left");
}

#[tokio::test(start_paused = true)]
async fn a_last_look_is_taken_when_no_repetition_is_left() {
    let steps = || [fail(ErrorKind::Timeout), guests(vec![found(VmState::Stopped)])];
    let backend = Scripted::shared(steps());
    assert!(layered(&backend, policy().max_attempts(1)).create_vm(&marked()).await.is_ok());
    let backend = Scripted::shared(steps());
    assert!(layered(&backend, policy().budget(Duration::ZERO)).create_vm(&marked()).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_create_that_the_server_has_failed_is_not_taken_for_success() {
    for kind in [ErrorKind::Backend, ErrorKind::TaskFailed] {
        let backend = Scripted::shared([fail(kind), guests(vec![found(VmState::Stopped)])]);
        let error = layered(&backend, policy()).create_vm(&marked()).await.unwrap_err();
        assert_eq!(error.kind(), kind);
        assert_eq!(backend.calls(), ["create_vm"]);
    }
}

#[tokio::test(start_paused = true)]
async fn the_look_goes_through_the_layers_below() {
    let backend =
        Scripted::shared([fail(ErrorKind::Transport), Step::Hang, guests(vec![found(VmState::Stopped)])]);
    let hv = Stack::new(Arc::clone(&backend) as Arc<dyn Hypervisor>)
        .retry(policy())
        .limit(1)
        .timeout(Duration::from_secs(5))
        .build();
    assert!(hv.create_vm(&marked()).await.is_ok());
    assert_eq!(backend.times(), [0, 100, 5300]);
}

#[tokio::test(start_paused = true)]
async fn a_create_that_was_given_up_on_is_looked_for_when_it_is_asked_for_again() {
    let backend = Scripted::shared([Step::Hang, guests(vec![found(VmState::Stopped)])]);
    let hv = layered(&backend, policy());
    assert!(tokio::time::timeout(Duration::from_secs(5), hv.create_vm(&marked())).await.is_err());
    assert_eq!(hv.create_vm(&marked()).await.unwrap().output, VmId::from("101"));
    assert_eq!(backend.calls(), ["create_vm", "list_vms"]);

    // It is not there: it is sent again.
    let backend =
        Scripted::shared([Step::Hang, guests(Vec::new()), answer(Started::done(VmId::from("102")))]);
    let hv = layered(&backend, policy());
    assert!(tokio::time::timeout(Duration::from_secs(5), hv.create_vm(&marked())).await.is_err());
    assert_eq!(hv.create_vm(&marked()).await.unwrap().output, VmId::from("102"));

    // It cannot be known: nothing is sent.
    let blind = (0..4).map(|_| fail(ErrorKind::Connect));
    let backend = Scripted::shared(std::iter::once(Step::Hang).chain(blind));
    let hv = layered(&backend, policy());
    assert!(tokio::time::timeout(Duration::from_secs(5), hv.create_vm(&marked())).await.is_err());
    let error = hv.create_vm(&marked()).await.unwrap_err();
    assert!(error.hint().unwrap().contains("same token"), "{error}");
    assert_eq!(backend.calls().iter().filter(|call| **call == "create_vm").count(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_create_that_had_no_effect_is_not_looked_for() {
    let backend = Scripted::shared([fail(ErrorKind::Exhausted), answer(Started::done(VmId::from("102")))]);
    let hv = layered(&backend, policy());
    assert!(hv.create_vm(&marked()).await.is_err());
    assert!(hv.create_vm(&marked()).await.is_ok());
    assert_eq!(backend.calls(), ["create_vm", "create_vm"]);
}

/// Every row of the table, through the policy itself.
#[tokio::test(start_paused = true)]
async fn the_policy_does_what_the_table_says() {
    for row in Semantics::table() {
        for kind in row.fault.kinds() {
            // What a proxy before the server says is no failure that the server reports.
            let error = Error::new(*kind, "scripted");
            let lost = row.fault == Fault::Unavailable;
            let error = if lost { error.with_retry(Retry::IfIdempotent) } else { error };
            let look = (row.class == OperationClass::Create && row.effect != Effect::None)
                .then(|| guests(Vec::new()));
            let steps = std::iter::once(Step::Fail(error)).chain(look).chain([success_of(row.class)]);
            let backend = Scripted::shared(steps);
            let hv = layered(&backend, policy());
            let outcome = match row.class {
                OperationClass::Create => hv.create_vm(&marked()).await.map(drop),
                class => call_of(class, &hv).await,
            };
            let looks = backend.calls().iter().filter(|call| **call == "list_vms").count();
            let what = format!("{:?} {:?} {kind}", row.class, row.fault);
            match row.repeated {
                Repeated::No => assert!(outcome.is_err() && looks == 0, "{what}"),
                Repeated::Yes => assert!(outcome.is_ok() && looks == 0, "{what}"),
                Repeated::AfterLook => assert!(outcome.is_ok() && looks == 1, "{what}"),
                Repeated::SameGuest => unreachable!("{what}: no class is repeated so"),
            }
            if let Err(error) = outcome {
                assert_eq!(error.effect() == Effect::None, row.effect == Effect::None, "{what}: {error:?}");
            }
        }
    }
}
