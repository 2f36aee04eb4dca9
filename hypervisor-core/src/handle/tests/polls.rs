use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::future::join_all;

use crate::WaitOptions;
use crate::handle::scripted::{Power, Scripted};
use crate::handle::turnstile::{Turnstile, is_shared};
use crate::layer::{Stack, Trace};
use crate::memory::Memory;
use crate::model::{
    BatchOp, BatchRequest, ByteSize, CloneSpec, DiskSpec, PowerAction, TaskId, TaskInfo, TaskState, VmSpec,
};
use crate::operation::Operation;
use crate::traits::Hypervisor;

const MINUTE: Duration = Duration::from_secs(60);

fn tasks(backend: &Scripted, count: usize, length: Duration) -> Vec<TaskId> {
    (0..count).map(|n| backend.task(length, TaskInfo::new(format!("t{n}"), TaskState::Succeeded))).collect()
}

async fn looks(backend: &Arc<Scripted>, count: usize) -> usize {
    let waits: Vec<_> = tasks(backend, count, MINUTE).into_iter().map(|id| backend.hv().task(id)).collect();
    for end in join_all(waits.into_iter().map(IntoFuture::into_future)).await {
        end.unwrap();
    }
    backend.looks()
}

#[tokio::test(start_paused = true)]
async fn a_hundred_waits_cost_about_as_much_as_one() {
    let one = looks(&Scripted::new(), 1).await;
    let hundred = looks(&Scripted::new(), 100).await;
    assert!(one > 5, "{one}");
    assert!(hundred <= one * 3, "{hundred} requests for 100 waits, {one} for one");
    let held = looks(&Scripted::with(|backend| backend.holds = true), 1).await;
    assert!(held <= 8, "a server that holds was asked {held} times");
    let crowd = looks(&Scripted::with(|backend| backend.holds = true), 100).await;
    assert!(crowd <= one * 3, "{crowd}");
}

/// What `count` tasks of 10 s cost in memory under the usual layers, and how long the last wait took.
async fn requests(count: u32) -> (u64, Duration) {
    let length = Duration::from_secs(10);
    let memory = Memory::builder().task_time(length).host_capacity(4096, ByteSize::gib(1 << 20)).build();
    let hv: Arc<dyn Hypervisor> = Arc::new(memory);
    let disk = DiskSpec::new_volume(ByteSize::gib(1));
    let base = hv.create_vm(&VmSpec::new("base").disk(disk)).await.unwrap().output;
    tokio::time::sleep(length * 2).await;
    let trace = Trace::new();
    let hv = Stack::standard(hv).trace_with(trace.clone()).build();
    let mut waits = Vec::new();
    for n in 0..count {
        waits.push(
            hv.vm(base.clone()).clone_as(&CloneSpec::new(format!("copy-{n}"))).await.unwrap().into_future(),
        );
    }
    let began = tokio::time::Instant::now();
    for end in join_all(waits).await {
        end.unwrap();
    }
    let counters = trace.counters();
    (counters.of(Operation::GetTask).attempts + counters.of(Operation::ListTasks).attempts, began.elapsed())
}

#[tokio::test(start_paused = true)]
async fn five_hundred_tasks_of_ten_seconds_cost_fewer_than_forty_requests() {
    let (few, _) = requests(5).await;
    let (many, took) = requests(500).await;
    assert!(many < 40, "{many} requests for 500 waits");
    assert!(many <= few * 2, "{many} requests for 500 waits, {few} for 5");
    assert!(took < Duration::from_secs(15), "{took:?}: nobody is forgotten");
}

#[tokio::test(start_paused = true)]
async fn who_comes_later_is_served_by_the_same_poll() {
    let backend = Scripted::new();
    let hv = backend.hv();
    let first: Vec<_> =
        tasks(&backend, 10, MINUTE).into_iter().map(|id| tokio::spawn(hv.task(id).into_future())).collect();
    tokio::time::sleep(MINUTE / 2).await;
    let before = backend.looks();
    let late = backend.task(MINUTE / 2, TaskInfo::new("late", TaskState::Succeeded));
    hv.task(late).await.unwrap();
    for wait in first {
        wait.await.unwrap().unwrap();
    }
    let after = backend.looks() - before;
    let alone = looks(&Scripted::new(), 10).await;
    assert!(after <= alone, "{after} looks in the half minute with one more, {alone} in a whole one without");
    assert!(backend.count(Operation::GetTask) <= 1, "all but the first look by the list");
}

#[tokio::test(start_paused = true)]
async fn a_held_look_does_not_hold_up_who_comes_later() {
    let backend = Scripted::with(|backend| backend.holds = true);
    let hv = backend.hv();
    let long = tokio::spawn(hv.task(tasks(&backend, 1, MINUTE).remove(0)).into_future());
    tokio::time::sleep(Duration::from_millis(500)).await;
    let began = tokio::time::Instant::now();
    let length = Duration::from_millis(300);
    hv.task(backend.task(length, TaskInfo::new("short", TaskState::Succeeded))).await.unwrap();
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
    long.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_is_kept_after_its_end_does_not_count_as_company() {
    let backend = Scripted::with(|backend| backend.holds = true);
    let hv = backend.hv();
    let mut ended =
        hv.task(backend.task(Duration::ZERO, TaskInfo::new("ended", TaskState::Succeeded))).progress();
    while ended.next().await.is_some() {}
    let long = tokio::spawn(hv.task(tasks(&backend, 1, MINUTE).remove(0)).into_future());
    tokio::time::sleep(Duration::from_secs(2)).await;
    let began = tokio::time::Instant::now();
    hv.task(backend.task(Duration::from_millis(300), TaskInfo::new("short", TaskState::Succeeded)))
        .await
        .unwrap();
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
    long.abort();
    drop(ended);
}

#[tokio::test(start_paused = true)]
async fn without_a_list_each_task_is_asked_for() {
    let backend = Scripted::with(|backend| backend.lacks(Operation::ListTasks));
    looks(&backend, 3).await;
    assert_eq!(backend.count(Operation::ListTasks), 1);
}

#[tokio::test(start_paused = true)]
async fn whoever_leaves_does_not_leave_the_others_waiting() {
    let backend = Scripted::with(|backend| backend.latency = Duration::from_secs(1));
    let ids = tasks(&backend, 3, Duration::from_secs(5));
    let leader = tokio::spawn(backend.hv().task(ids[0].clone()).into_future());
    let other = tokio::spawn(backend.hv().task(ids[1].clone()).into_future());
    tokio::time::sleep(Duration::from_millis(500)).await;
    leader.abort();
    tokio::time::timeout(Duration::from_secs(12), other).await.unwrap().unwrap().unwrap();
    // One who began a look and is not polled any more.
    let hv = backend.hv();
    let mut stuck = hv.task(ids[2].clone()).into_future();
    assert!(futures::poll!(&mut stuck).is_pending());
    let id = backend.task(Duration::from_secs(5), TaskInfo::new("late", TaskState::Succeeded));
    tokio::time::timeout(MINUTE, hv.task(id).into_future()).await.unwrap().unwrap();
    stuck.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn several_waits_for_one_task_share_it() {
    let backend = Scripted::new();
    let id = backend.task(MINUTE, TaskInfo::new("t", TaskState::Succeeded));
    let alone = { looks(&Scripted::new(), 1).await };
    let waits = (0..20).map(|_| backend.hv().task(id.clone()).into_future());
    assert!(join_all(waits).await.into_iter().all(|end| end.is_ok()));
    assert!(backend.looks() <= alone + 1, "{} looks, {alone} alone", backend.looks());
}

#[tokio::test(start_paused = true)]
async fn the_shared_poll_goes_with_the_last_wait() {
    let backend = Scripted::new();
    let hv = backend.hv();
    let id = backend.task(MINUTE, TaskInfo::new("t", TaskState::Succeeded));
    assert!(!is_shared(&hv));
    let ticket = Turnstile::shared(&hv).enter(&id, None, &WaitOptions::new());
    assert!(is_shared(&hv));
    drop(ticket);
    assert!(!is_shared(&hv));
    hv.task(id).await.unwrap();
    assert!(!is_shared(&hv));
    assert_eq!(Arc::strong_count(&backend), 2);
}

/// How long 320 starts take, 32 at a time, on a server that answers after 20 ms and works so long on each; and how often tasks were looked at.
async fn starts(length: impl Fn(u64) -> u64) -> (Duration, usize) {
    starts_on(Scripted::with(|backend| backend.latency = Duration::from_millis(20)), length).await
}

async fn starts_on(backend: Arc<Scripted>, length: impl Fn(u64) -> u64) -> (Duration, usize) {
    for n in 0..320 {
        let work = Power::Task(Duration::from_millis(length(n)), TaskState::Succeeded);
        backend.lock().power.insert(n.to_string().into(), work);
    }
    let each = (0..320).map(|n: u32| BatchOp::power(n.to_string(), PowerAction::Start));
    let began = tokio::time::Instant::now();
    let report = crate::batch::run(&*backend, &BatchRequest::new(each).concurrency(32)).await.unwrap();
    assert!(report.all_done(), "{report:?}");
    (began.elapsed(), backend.looks())
}

#[tokio::test(start_paused = true)]
async fn a_batch_learns_when_its_tasks_end() {
    for length in [50, 200, 1_000] {
        let bound = Duration::from_millis(10 * (20 + length));
        let (took, looks) = starts(|_| length).await;
        println!("10 rounds of tasks of {length} ms: {took:?}, bound {bound:?}, {looks} looks");
        assert!(took < bound.mul_f64(1.15) + Duration::from_millis(300), "{took:?}, bound {bound:?}");
        assert!(looks <= 40, "{looks} looks in 10 rounds of {length} ms");
    }
    // Between 180 and 220 ms: the tasks drift apart, and looks still serve several.
    let (took, looks) = starts(|n| 180 + n * 7 % 41).await;
    println!("tasks of 180 to 220 ms: {took:?}, {looks} looks");
    assert!(took < Duration::from_millis(2_200).mul_f64(1.2), "{took:?}");
    assert!(looks <= 100, "{looks} looks at 320 tasks");
}

/// What is seen late at first, because pauses grow, must not be taken for how long it takes.
#[tokio::test(start_paused = true)]
async fn how_long_tasks_say_that_they_took_counts_more_than_when_somebody_looked() {
    let length = |n| if n < 32 { 1_100 } else { 200 };
    let backend = |tells| {
        Scripted::with(|backend| (backend.latency, backend.tells) = (Duration::from_millis(20), tells))
    };
    let (silent, _) = starts_on(backend(false), length).await;
    let (told, looks) = starts_on(backend(true), length).await;
    println!(
        "one round of 1,100 ms and nine of 200 ms: {silent:?}, {told:?} where tasks tell it, {looks} looks"
    );
    // The least is 3.1 s. The pauses of the first round grow beyond its end, and the second waits as long as the first.
    assert!(told < Duration::from_millis(4_800), "{told:?}");
    assert!(told < silent && silent < Duration::from_millis(8_000), "{told:?}, {silent:?}");
}
