use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use futures::{FutureExt as _, StreamExt as _};

use super::*;
use crate::error::{Error, ErrorKind, Result};
use crate::handle::scripted::Scripted;
use crate::memory::{FaultPlan, Memory};
use crate::model::{Event, EventKind, EventQuery, HostId, Page, Unreachable, VmId, VmInfo, VmSpec, VmState};
use crate::operation::Operation;
use crate::traits::{Compute as _, Hypervisor};

/// Looks that answer what the test has put in, the last one for ever.
#[derive(Clone, Default)]
struct Looks {
    answers: Arc<Mutex<VecDeque<Result<Page<VmInfo>>>>>,
    count: Arc<AtomicUsize>,
}

impl Looks {
    fn of(answers: impl IntoIterator<Item = Result<Page<VmInfo>>>) -> Self {
        Self { answers: Arc::new(Mutex::new(answers.into_iter().collect())), count: Arc::default() }
    }

    fn poller(&self) -> Poller {
        let looks = self.clone();
        Poller::new(Pace::new(Duration::from_secs(1), Duration::from_secs(10)), move || {
            looks.count.fetch_add(1, Ordering::SeqCst);
            let mut answers = looks.answers.lock().unwrap();
            let answer = if answers.len() > 1 { answers.pop_front() } else { answers.front().cloned() };
            std::future::ready(answer.unwrap())
        })
    }

    fn count(&self) -> usize {
        self.count.load(Ordering::SeqCst)
    }
}

fn vm(id: &str, state: VmState) -> VmInfo {
    VmInfo::new(id, id, state).host(HostId::new("h1"))
}

fn page(items: Vec<VmInfo>) -> Page<VmInfo> {
    Page::only(items)
}

async fn kinds(poller: &Poller, count: usize) -> Vec<EventKind> {
    let events = poller.watch(&EventQuery::all()).await.unwrap();
    events.take(count).map(|event| event.unwrap().kind).collect().await
}

#[tokio::test(start_paused = true)]
async fn what_differs_between_two_looks_is_told() {
    let (a, b) = (vm("a", VmState::Stopped), vm("b", VmState::Running));
    let mut moved = vm("b", VmState::Running).cpus(4_u32);
    moved.host = Some(HostId::new("h2"));
    let looks = Looks::of([
        Ok(page(vec![a, b.clone()])),
        Ok(page(vec![vm("a", VmState::Running), b])),
        Ok(page(vec![moved.clone(), vm("c", VmState::Stopped)])),
        Ok(page(vec![moved, vm("c", VmState::Stopped)])),
    ]);
    let told = kinds(&looks.poller(), 5).await;
    let (a, b, c) = (VmId::new("a"), VmId::new("b"), VmId::new("c"));
    assert_eq!(told[0], EventKind::VmStateChanged { vm: a.clone(), state: VmState::Running });
    assert_eq!(told[1], EventKind::VmMigrated { vm: b.clone(), host: HostId::new("h2") });
    assert_eq!(told[2..], [EventKind::VmUpdated(b), EventKind::VmCreated(c), EventKind::VmDeleted(a)]);
}

#[tokio::test(start_paused = true)]
async fn an_id_that_is_used_again_is_another_guest() {
    let first = vm("9", VmState::Stopped).uid("one");
    let second = vm("9", VmState::Stopped).uid("two");
    let told = kinds(&Looks::of([Ok(page(vec![first])), Ok(page(vec![second]))]).poller(), 2).await;
    let id = VmId::new("9");
    assert_eq!(told, [EventKind::VmDeleted(id.clone()), EventKind::VmCreated(id)]);
}

#[tokio::test(start_paused = true)]
async fn the_guests_of_a_silent_host_are_not_deleted() {
    let silent = Page::only(vec![]).with_unreachable(vec![Unreachable::new("h1", "no route")]);
    let looks = Looks::of([
        Ok(page(vec![vm("a", VmState::Running)])),
        Ok(silent),
        Ok(page(vec![vm("a", VmState::Stopped)])),
    ]);
    let told = kinds(&looks.poller(), 1).await;
    assert_eq!(told, [EventKind::VmStateChanged { vm: VmId::new("a"), state: VmState::Stopped }]);
}

#[tokio::test(start_paused = true)]
async fn a_failed_look_is_repeated_and_told_of_later() {
    let down = || Err(Error::new(ErrorKind::Connect, "refused"));
    let looks = Looks::of([Ok(page(vec![])), down(), down(), Ok(page(vec![vm("a", VmState::Running)]))]);
    let told = kinds(&looks.poller(), 2).await;
    assert!(matches!(&told[0], EventKind::Resync { reason } if reason.contains("refused")), "{told:?}");
    assert_eq!(told[1], EventKind::VmCreated(VmId::new("a")));
}

#[tokio::test(start_paused = true)]
async fn an_error_that_stays_ends_the_streams_and_the_next_watch_looks_anew() {
    let denied = Err(Error::new(ErrorKind::Unauthenticated, "expired"));
    let looks = Looks::of([Ok(page(vec![])), denied, Ok(page(vec![]))]);
    let poller = looks.poller();
    let mut events = poller.watch(&EventQuery::all()).await.unwrap();
    let error = events.next().await.unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unauthenticated);
    assert!(events.next().await.is_none());
    assert!(poller.watch(&EventQuery::all()).await.is_ok());
    assert_eq!(looks.count(), 3);
}

#[tokio::test(start_paused = true)]
async fn readers_share_the_looks_and_the_last_one_ends_them() {
    let looks = Looks::of([Ok(page(vec![]))]);
    let poller = looks.poller();
    let mut readers = Vec::new();
    for _ in 0..1000 {
        readers.push(poller.watch(&EventQuery::all()).await.unwrap());
    }
    assert_eq!(looks.count(), 1);
    tokio::time::sleep(Duration::from_secs(100)).await;
    let while_quiet = looks.count();
    assert!((10..=25).contains(&while_quiet), "{while_quiet} looks in 100 quiet seconds");
    drop(readers);
    tokio::time::sleep(Duration::from_secs(100)).await;
    assert_eq!(looks.count(), while_quiet, "nobody reads, nobody looks");
    let mut again = poller.watch(&EventQuery::all()).await.unwrap();
    assert_eq!(looks.count(), while_quiet + 1);
    assert!(again.next().now_or_never().is_none(), "the stream is open");
}

#[tokio::test(start_paused = true)]
async fn who_joins_is_told_what_is_done_from_then_on() {
    let (stopped, running) = (vm("a", VmState::Stopped), vm("a", VmState::Running));
    // Made after the first reader's look, started after the second reader has come.
    let looks = Looks::of([
        Ok(page(vec![])),
        Ok(page(vec![stopped])),
        Ok(page(vec![running.clone()])),
        Ok(page(vec![running])),
    ]);
    let poller = looks.poller();
    let mut first = poller.watch(&EventQuery::all()).await.unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    let mut second = poller.watch(&EventQuery::all()).await.unwrap();
    assert_eq!(looks.count(), 2, "the second has looked");
    let started = EventKind::VmStateChanged { vm: VmId::new("a"), state: VmState::Running };
    assert_eq!(second.next().await.unwrap().unwrap().kind, started);
    assert_eq!(first.next().await.unwrap().unwrap().kind, EventKind::VmCreated(VmId::new("a")));
    assert_eq!(first.next().await.unwrap().unwrap().kind, started);
}

#[tokio::test(start_paused = true)]
async fn a_slow_reader_is_told_what_it_missed() {
    let many =
        |from: u32| page((from..from + 3000).map(|id| vm(&id.to_string(), VmState::Stopped)).collect());
    let looks = Looks::of([Ok(page(vec![])), Ok(many(0)), Ok(many(5000)), Ok(many(5000))]);
    let poller = looks.poller();
    let mut events = poller.watch(&EventQuery::all()).await.unwrap();
    tokio::time::sleep(Duration::from_secs(5)).await;
    let first = events.next().await.unwrap().unwrap();
    // 9000 events into a queue of 4096.
    assert_eq!(first.kind, EventKind::Lagged { missed: 9000 - 4096 });
    let rest = events.take(4096).collect::<Vec<_>>().await;
    assert!(rest.iter().all(|event| event.as_ref().is_ok_and(|event| !event.kind.is_gap())));
}

#[tokio::test(start_paused = true)]
async fn events_that_are_followed_go_on_after_a_loss() {
    let happened = |name: &str| Ok(Event::new(SystemTime::UNIX_EPOCH, EventKind::VmCreated(name.into())));
    let fault = |kind| Error::new(kind, "the test says so");
    let backend = Scripted::new();
    backend.lock().feeds.extend([
        Ok(vec![happened("a"), Err(fault(ErrorKind::Transport))]),
        Err(fault(ErrorKind::Connect)),
        Err(fault(ErrorKind::Connect)),
        Ok(vec![happened("b")]),
        Ok(vec![]),
        Err(fault(ErrorKind::Unauthenticated)),
    ]);
    let hv = backend.hv();
    let begun = tokio::time::Instant::now();
    let events: Vec<_> = hv.follow_events(&EventQuery::all()).await.unwrap().collect().await;
    let told = events.iter().map(|event| match event {
        Ok(Event { kind: EventKind::Resync { reason }, .. }) => reason.clone(),
        Ok(event) => event.kind.vm().map(ToString::to_string).unwrap_or_default(),
        Err(error) => error.kind().to_string(),
    });
    let told: Vec<String> = told.collect();
    let gaps = |at: usize| events[at].as_ref().is_ok_and(|event| event.kind.is_gap());
    assert_eq!(told.len(), 6, "{told:?}");
    assert!(gaps(0) && gaps(2) && gaps(4), "{told:?}");
    assert_eq!((&*told[1], &*told[3], &*told[5]), ("a", "b", "unauthenticated"));
    assert!(told[2].contains("the test says so"), "{told:?}");
    // At once, after 1 s and after 2 s; then at once, after 1 s.
    assert_eq!(begun.elapsed().as_secs(), 4);

    // What is wrong from the beginning is not tried again.
    backend.lock().feeds.push_back(Err(fault(ErrorKind::Connect)));
    let error = hv.follow_events(&EventQuery::all()).await.err().unwrap();
    assert_eq!((error.kind(), error.operation()), (ErrorKind::Connect, Some(Operation::Watch)));
}

#[tokio::test(start_paused = true)]
async fn one_feed_of_many_says_how_each_source_is() {
    let (good, bad) = (
        Memory::new(),
        FaultPlan::new().fail(Operation::Watch, 1, ErrorKind::Connect).fail(
            Operation::Watch,
            2,
            ErrorKind::Connect,
        ),
    );
    let (good, bad) = (Arc::new(good), Arc::new(Memory::builder().faults(bad).build()));
    let sources: [(String, Arc<dyn Hypervisor>); 2] =
        [("good".into(), Arc::clone(&good) as _), ("bad".into(), Arc::clone(&bad) as _)];
    let mut feed = merge(sources, &EventQuery::all());
    let mut said = Vec::new();
    while said.len() < 3 {
        match feed.next().await.unwrap() {
            SourceEvent::Health { source, health: Health::Up } => said.push(format!("{source} up")),
            SourceEvent::Health { source, health: Health::Down(error) } => {
                said.push(format!("{source} {}", error.kind()))
            }
            SourceEvent::Event { .. } => {}
        }
    }
    assert_eq!(said, ["good up", "bad connect", "bad up"]);
    let vm = bad.create_vm(&VmSpec::new("late")).await.unwrap().output;
    let found = feed
        .filter_map(|said| {
            let wanted = matches!(&said, SourceEvent::Event { source, event } if **source == *"bad" && event.kind == EventKind::VmCreated(vm.clone()));
            std::future::ready(wanted.then_some(()))
        })
        .boxed()
        .next()
        .await;
    assert_eq!(found, Some(()));
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_gives_up_while_it_joins_takes_no_events_with_it() {
    let many = |from: usize| (0..1500).map(|n| vm(&format!("vm-{}", from + n), VmState::Stopped)).collect();
    let looks = Looks::of([Ok(page(Vec::new())), Ok(page(many(0)))]);
    let poller = looks.poller();
    let events = poller.watch(&EventQuery::all()).await.unwrap();
    // The look of the second reader shows 1500 new guests; it goes after the first part of them.
    tokio::time::advance(Duration::from_millis(1)).await;
    let query = EventQuery::all();
    let mut joining = Box::pin(poller.watch(&query));
    assert!(futures::poll!(&mut joining).is_pending());
    drop(joining);
    let told: Vec<_> = events.take(1500).map(|event| event.unwrap().kind).collect().await;
    assert_eq!(told.len(), 1500);
    assert!(told.iter().all(|kind| matches!(kind, EventKind::VmCreated(_))), "{:?}", told.last());
}

#[tokio::test(start_paused = true)]
async fn pauses_without_end_do_no_harm() {
    let poller = Poller::new(Pace::new(Duration::MAX, Duration::MAX), || {
        std::future::ready(Ok(page(vec![vm("a", VmState::Stopped)])))
    });
    let mut events = poller.watch(&EventQuery::all()).await.unwrap();
    let waited = tokio::time::timeout(Duration::from_secs(86_400), events.next()).await;
    assert!(waited.is_err(), "the looks have ended: {waited:?}");
}
