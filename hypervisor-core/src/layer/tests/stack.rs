use std::sync::Arc;
use std::time::Duration;

use futures::future::{join_all, select};

use super::*;
use crate::error::{Effect, Retry};
use crate::layer::{Counters, Layered, Layers, Limit, RetryPolicy, Stack, Timeout, Trace};
use crate::operation::Operation;

const SECOND: Duration = Duration::from_secs(1);

fn hv(backend: &Arc<Scripted>) -> Arc<dyn Hypervisor> {
    Arc::clone(backend) as Arc<dyn Hypervisor>
}

fn policy() -> RetryPolicy {
    RetryPolicy::new().delay(SECOND, SECOND).without_jitter()
}

fn guest() -> Step {
    answer(VmInfo::new("v", "v", VmState::Running))
}

#[tokio::test(start_paused = true)]
async fn the_order_is_the_same_however_it_is_asked_for() {
    // Hangs twice: the deadline must be inside the retry. The place is one: it must be given back while backing off, and
    // the time spent waiting for it must not be part of the deadline. The trace must see one call of three attempts.
    let run = async |build: fn(Stack, Trace) -> Stack| {
        let backend = Scripted::shared([Step::Hang, Step::Hang, guest()]);
        let counters = Counters::new();
        let hv = build(Stack::new(hv(&backend)), Trace::with_counters(&counters)).build();
        hv.get_vm(&"v".into()).await.unwrap();
        let counts = counters.of(Operation::GetVm);
        assert_eq!((counts.calls, counts.succeeded, counts.attempts), (1, 1, 3));
        (backend.times(), counts.latency.sum)
    };
    let inwards =
        run(|stack, trace| stack.trace_with(trace).retry(policy()).limit(1).timeout(10 * SECOND)).await;
    let outwards =
        run(|stack, trace| stack.timeout(10 * SECOND).limit(1).retry(policy()).trace_with(trace)).await;
    assert_eq!(inwards, (vec![0, 11_000, 22_000], 22 * SECOND));
    assert_eq!(inwards, outwards);
}

#[tokio::test(start_paused = true)]
async fn waiting_for_a_turn_is_not_timed() {
    let mut backend = Scripted::new((0..5).map(|_| guest()));
    backend.slow = 4 * SECOND;
    let backend = Arc::new(backend);
    let policy = RetryPolicy::new().budget(SECOND);
    let hv = Stack::new(hv(&backend)).retry(policy).limit(1).timeout(5 * SECOND).build();
    let vm = VmId::from("v");
    let answers = join_all((0..5).map(|_| hv.get_vm(&vm))).await;
    assert!(answers.iter().all(Result::is_ok));
    assert_eq!(backend.times(), [0, 4000, 8000, 12_000, 16_000]);
}

#[tokio::test(start_paused = true)]
async fn a_place_is_given_back_while_a_call_backs_off() {
    let backend = Scripted::shared([fail(ErrorKind::Connect), guest(), guest()]);
    let policy = RetryPolicy::new().delay(9 * SECOND, 9 * SECOND).without_jitter();
    let hv = Stack::new(hv(&backend)).retry(policy).limit(1).build();
    let vm = VmId::from("v");
    let answers = join_all((0..2).map(|_| hv.get_vm(&vm))).await;
    assert!(answers.iter().all(Result::is_ok));
    assert_eq!(backend.times(), [0, 0, 9000]);
}

#[tokio::test(start_paused = true)]
async fn the_limit_is_never_exceeded_and_dropped_calls_free_their_place() {
    let mut backend = Scripted::new((0..40).map(|_| guest()));
    backend.slow = SECOND;
    let backend = Arc::new(backend);
    let limit = Limit::new(3);
    let hv = Stack::new(hv(&backend)).limit(limit.clone()).build();
    let vm = VmId::from("v");
    let answers = join_all((0..20).map(|_| hv.get_vm(&vm))).await;
    assert!(answers.iter().all(Result::is_ok));
    assert_eq!(backend.most_at_work.load(Ordering::SeqCst), 3);

    let call = hv.get_vm(&vm);
    let soon = Box::pin(tokio::time::sleep(SECOND / 2));
    let late = select(call, soon).await;
    assert_eq!(limit.free(), 2, "the call is at work");
    drop(late);
    assert_eq!(limit.free(), 3);
}

#[tokio::test(start_paused = true)]
async fn what_is_held_back_takes_no_place() {
    let backend = Scripted::shared([Step::Hang, guest()]);
    let hv = Stack::new(hv(&backend)).limit(1).timeout(SECOND).build();
    let (task, vm) = (TaskId::from("t"), VmId::from("v"));
    let look = async {
        let error = hv.get_task(&task, Some(60 * SECOND)).await.unwrap_err();
        (error.kind(), backend.begun.elapsed())
    };
    let other = hv.get_vm(&vm);
    let ((kind, took), other) = futures::join!(look, other);
    assert!(other.is_ok());
    assert_eq!(backend.times(), [0, 0]);
    assert_eq!((kind, took), (ErrorKind::Timeout, 61 * SECOND), "the hold comes on top of the deadline");
}

#[tokio::test(start_paused = true)]
async fn a_deadline_says_what_is_known_of_the_effect() {
    let backend = Scripted::shared([Step::Hang, Step::Hang]);
    let hv = Stack::new(hv(&backend)).timeout(Timeout::new(30 * SECOND).write(90 * SECOND)).build();
    let read = hv.get_vm(&"v".into()).await.unwrap_err();
    assert_eq!((read.kind(), read.effect(), read.retry()), (ErrorKind::Timeout, Effect::None, Retry::Safe));
    assert_eq!(backend.begun.elapsed(), 30 * SECOND);
    let write = hv.power_vm(&"v".into(), &PowerAction::Reset).await.unwrap_err();
    assert_eq!((write.effect(), write.retry()), (Effect::Unknown, Retry::IfIdempotent));
    assert_eq!(backend.begun.elapsed(), 120 * SECOND);
    assert_eq!(
        write.to_string(),
        "reset_vm: vm `v`: timeout: no answer within 90s; it may have had an effect. The server may still be at work: \
         look at the object before you call again, or give it longer"
    );
}

#[tokio::test(start_paused = true)]
async fn what_the_call_asks_for_comes_on_top_of_the_deadline() {
    let backend = Scripted::shared([Step::Hang, Step::Hang, Step::Hang]);
    let timeout = Timeout::new(SECOND).operation(Operation::FreezeFilesystems, 7 * SECOND);
    let hv = Stack::new(hv(&backend)).timeout(timeout).build();
    let vm = VmId::from("v");
    assert!(hv.exec_in_guest(&vm, &ExecSpec::new("/bin/make").deadline(100 * SECOND)).await.is_err());
    assert_eq!(backend.begun.elapsed(), 101 * SECOND);
    let shutdown = PowerAction::Shutdown(Shutdown::new().power_off_after(50 * SECOND));
    assert!(hv.power_vm(&vm, &shutdown).await.is_err());
    assert_eq!(backend.begun.elapsed(), 152 * SECOND);
    assert!(hv.freeze_filesystems(&vm).await.is_err());
    assert_eq!(backend.begun.elapsed(), 159 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn an_upload_takes_as_long_as_it_takes() {
    let mut backend = Scripted::new([answer(Started::done(VolumeId::from("d")))]);
    backend.slow = 3600 * SECOND;
    let backend = Arc::new(backend);
    let hv = Stack::standard(hv(&backend)).timeout(SECOND).build();
    assert!(hv.upload_volume(&UploadVolume::to("d"), ByteStream::from_bytes("x")).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_batch_does_not_take_the_place_that_its_calls_need() {
    let backend = Scripted::shared([]);
    let hv = Stack::standard(hv(&backend)).limit(1).build();
    let request = BatchRequest::new([BatchOp::power("v", PowerAction::Start)]);
    let report = tokio::time::timeout(3600 * SECOND, hv.submit_batch(&request)).await;
    assert!(report.unwrap().is_ok());
}

#[tokio::test]
async fn the_layers_are_found_again_and_so_is_the_backend() {
    let backend = Scripted::shared([guest()]);
    let hv = Stack::standard(hv(&backend)).build();
    hv.get_vm(&"v".into()).await.unwrap();
    assert!(hv.backend::<Scripted>().is_some());
    let layers = hv.backend::<Layered<Layers>>().unwrap().policy();
    assert_eq!(layers.trace().unwrap().counters().of(Operation::GetVm).succeeded, 1);
    assert_eq!(layers.limit().unwrap().calls(), 32);
    assert!(layers.retry().is_some() && layers.timeout().is_some());
    assert!(Stack::new(hv).build().backend::<Layered<Layers>>().is_some());
}
