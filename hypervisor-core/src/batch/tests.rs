use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use proptest::prelude::*;
use tokio::time::Instant;

use crate::error::{Effect, Error, ErrorKind};
use crate::handle::scripted::{Power, Scripted};
use crate::layer::Stack;
use crate::memory::Memory;
use crate::model::{
    BatchItem, BatchLimits, BatchOp, BatchOutcome, BatchReport, BatchRequest, BatchStep, ByteSize,
    Capabilities, CloneSpec, DiskSpec, OnError, PageRequest, PowerAction, SnapshotSpec, TaskState, VmId,
    VmQuery, VmSpec, VolumeSpec,
};
use crate::operation::Operation;
use crate::traits::{Compute as _, Hypervisor, Storage as _};

fn start(vm: &str) -> BatchItem {
    BatchItem::new(BatchOp::power(vm, PowerAction::Start))
}

fn task(seconds: u64, state: TaskState) -> Power {
    Power::Task(Duration::from_secs(seconds), state)
}

fn refused() -> Power {
    Power::Refused(Error::invalid_state("no"))
}

fn backend<const N: usize>(power: [(&str, Power); N]) -> Arc<Scripted> {
    let backend = Scripted::new();
    backend.lock().power = power.into_iter().map(|(vm, power)| (VmId::from(vm), power)).collect();
    backend
}

async fn run(backend: &Scripted, request: &BatchRequest) -> BatchReport {
    super::run(backend, request).await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn one_failure_skips_only_what_waits_for_it() {
    let backend = backend([("a", task(2, TaskState::Failed)), ("b", task(1, TaskState::Succeeded))]);
    let request =
        BatchRequest::new([start("a"), start("b"), start("c").after(vec![0]), start("d").after(vec![2])]);
    let outcomes = run(&backend, &request).await.outcomes;
    assert_eq!(outcomes[0].error().unwrap().kind(), ErrorKind::TaskFailed);
    assert_eq!(outcomes[0].error().unwrap().target(), Some("vm `a`"));
    assert!(outcomes[1].is_done());
    assert!(matches!(&outcomes[2], BatchOutcome::Skipped(why) if why.contains("item 0")));
    assert!(matches!(&outcomes[3], BatchOutcome::Skipped(why) if why.contains("item 2")));
}

#[tokio::test(start_paused = true)]
async fn stop_begins_nothing_new_and_waits_for_what_has_begun() {
    let backend = backend([("a", refused()), ("b", task(5, TaskState::Succeeded))]);
    let request =
        BatchRequest::new([start("a"), start("b"), start("c")]).concurrency(2).on_error(OnError::Stop);
    let outcomes = run(&backend, &request).await.outcomes;
    assert!(matches!(outcomes[0], BatchOutcome::Failed(_)));
    assert!(outcomes[1].is_done());
    assert!(matches!(&outcomes[2], BatchOutcome::Skipped(_)));
}

#[tokio::test(start_paused = true)]
async fn what_was_done_is_taken_back_last_first() {
    let backend =
        backend([("x", refused()), ("undo-a", task(1, TaskState::Failed)), ("undo-c", Power::Silent)]);
    let undo = |vm: &str| BatchOp::power(format!("undo-{vm}"), PowerAction::PowerOff);
    let items = [
        start("a").compensate(undo("a")),
        start("b").after(vec![0]).compensate(undo("b")),
        start("c").after(vec![1]).compensate(undo("c")),
        start("d").after(vec![2]),
        start("x").after(vec![3]).compensate(undo("x")),
    ];
    let request =
        BatchRequest::new(items).on_error(OnError::Compensate).item_deadline(Duration::from_secs(9));
    let outcomes = run(&backend, &request).await.outcomes;
    let BatchOutcome::Failed(error) = &outcomes[0] else { panic!("{:?}", outcomes[0]) };
    assert_eq!(error.effect(), Effect::Partial);
    assert!(error.message().contains("it was done, but taking it back has failed"), "{error}");
    assert!(matches!(outcomes[1], BatchOutcome::Compensated));
    assert!(matches!(outcomes[2], BatchOutcome::Unknown { .. }));
    assert!(outcomes[3].is_done(), "nothing takes it back");
    assert!(matches!(outcomes[4], BatchOutcome::Failed(_)));
    let order: Vec<String> = backend.lock().spans.iter().map(|(vm, ..)| vm.to_string()).collect();
    assert_eq!(order, ["a", "b", "c", "d", "x", "undo-b", "undo-a"]);
}

#[tokio::test(start_paused = true)]
async fn what_takes_too_long_or_may_have_happened_is_unknown() {
    let lost = Error::new(ErrorKind::Transport, "connection reset");
    let backend = backend([
        ("slow", task(3600, TaskState::Succeeded)),
        ("lost", Power::Refused(lost)),
        ("silent", Power::Silent),
    ]);
    let request = BatchRequest::new([start("slow"), start("lost"), start("silent")])
        .item_deadline(Duration::from_secs(5));
    let began = Instant::now();
    let outcomes = run(&backend, &request).await.outcomes;
    assert!(began.elapsed() < Duration::from_secs(6));
    assert!(
        matches!(&outcomes[0], BatchOutcome::Unknown { task: Some(task), .. } if task.as_str().contains("slow"))
    );
    assert!(matches!(&outcomes[1], BatchOutcome::Unknown { task: None, .. }));
    assert!(
        matches!(&outcomes[2], BatchOutcome::Unknown { error, .. } if error.kind() == ErrorKind::Timeout)
    );
    assert!(backend.lock().cancelled.is_empty());
}

#[tokio::test(start_paused = true)]
async fn bulk_calls_take_what_fits() {
    let backend = Scripted::new();
    backend.lock().bulk_limit = 3;
    backend.lock().power.insert("g".into(), refused());
    let items = ["a", "b", "c", "d", "e", "f", "g"].map(start);
    let outcomes = run(&backend, &BatchRequest::new(items).concurrency(5)).await.outcomes;
    assert_eq!(backend.lock().bulks, [3, 2, 2]);
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_done()).count(), 6);
    assert!(matches!(outcomes[6], BatchOutcome::Failed(_)));
    assert_eq!(backend.count(Operation::StartVm), 0);
}

#[tokio::test(start_paused = true)]
async fn a_dropped_batch_begins_nothing_new() {
    let names: Vec<String> = (0..6).map(|n| format!("v{n}")).collect();
    let backend = Scripted::new();
    for name in &names {
        backend.lock().power.insert(name.as_str().into(), task(10, TaskState::Succeeded));
    }
    let request = BatchRequest::new(names.iter().map(|name| start(name))).concurrency(2);
    let ran = tokio::time::timeout(Duration::from_secs(5), super::run(&*backend, &request)).await;
    assert!(ran.is_err());
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(backend.lock().spans.len(), 2);
    assert!(backend.lock().cancelled.is_empty());
}

#[tokio::test(start_paused = true)]
async fn the_builder_runs_through_the_backend() {
    let backend = backend([("a", task(1, TaskState::Succeeded))]);
    let batch = backend.hv().batch().start("a").start("b").after_previous().concurrency(4);
    assert_eq!(batch.request().items[1].after, [0]);
    assert!(batch.run().await.unwrap().into_result().unwrap().all_done());
    let circle = backend.hv().batch().start("a").after([0]).run().await.unwrap_err();
    assert_eq!(circle.kind(), ErrorKind::InvalidInput);
}

/// A batch that makes one of everything and then fails, which takes all of it back.
#[tokio::test(start_paused = true)]
async fn what_an_item_has_made_is_deleted_by_its_own_id() {
    let memory = Arc::new(Memory::builder().task_time(Duration::from_secs(3)).build());
    let hv: Arc<dyn Hypervisor> = Stack::standard(Arc::clone(&memory) as Arc<dyn Hypervisor>).build();
    let disk = || DiskSpec::new_volume(ByteSize::gib(1));
    let base = hv.vms().create(&VmSpec::new("base").disk(disk())).await.unwrap().await.unwrap();
    let names = async || {
        let vms = memory.list_vms(&VmQuery::all(), &PageRequest::first()).await.unwrap().items;
        vms.into_iter().map(|vm| vm.name).collect::<Vec<_>>()
    };
    let volumes =
        async || memory.list_volumes(&"default".into(), &PageRequest::first()).await.unwrap().items.len();
    let batch = || {
        hv.batch()
            .create(VmSpec::new("made").disk(disk()).start(true))
            .delete_made()
            .clone_as(base.id(), CloneSpec::new("copy"))
            .delete_made()
            .snapshot(base.id(), SnapshotSpec::new("before"))
            .after_previous()
            .delete_made()
            .create_volume(VolumeSpec::new("default", "extra.qcow2", ByteSize::gib(1)))
            .delete_made()
            .start("nobody")
            .after([0, 1, 2, 3])
    };
    let kept = batch().on_error(OnError::Stop).run().await.unwrap();
    assert!(kept.outcomes[..4].iter().all(BatchOutcome::is_done), "{kept:?}");
    assert_eq!((names().await.len(), volumes().await), (3, 4));
    for vm in kept.vms() {
        hv.vm(vm.clone())
            .delete(&crate::model::DeleteVm::with_disks().power_off(true))
            .await
            .unwrap()
            .await
            .unwrap();
    }
    hv.volume("default/extra.qcow2").delete().await.unwrap().await.unwrap();
    base.snapshots().delete("before", &crate::model::DeleteSnapshot::only()).await.unwrap().await.unwrap();

    let report = batch().on_error(OnError::Compensate).run().await.unwrap();
    assert!(
        report.outcomes[..4].iter().all(|outcome| matches!(outcome, BatchOutcome::Compensated)),
        "{report:?}"
    );
    assert!(matches!(report.outcomes[4], BatchOutcome::Failed(_)));
    assert_eq!((names().await, volumes().await), (vec!["base".to_owned()], 1));
    assert!(base.snapshots().list().await.unwrap().iter().next().is_none());
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_taken_back_is_refused_before_anything_is_begun() {
    let able = Capabilities::all_native().unsupported([Operation::DeleteVolume], "volumes are for ever");
    let hv: Arc<dyn Hypervisor> = Arc::new(Memory::builder().capabilities(able).build());
    let spec = VolumeSpec::new("default", "extra.qcow2", ByteSize::gib(1));
    let error = hv.batch().create_volume(spec).delete_made().run().await.unwrap_err();
    assert!(error.fields().contains_key("items[0].delete_made"), "{error:?}");
    let error = hv.batch().start("a").delete_made().begin().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
}

#[tokio::test(start_paused = true)]
async fn a_batch_tells_what_it_does() {
    let backend = backend([("a", task(5, TaskState::Succeeded)), ("b", task(1, TaskState::Failed))]);
    let batch = backend.hv().batch().start("a").start("b").start("c").after_previous().begin().unwrap();
    assert!(backend.lock().spans.is_empty(), "it runs while it is read");
    let began = Instant::now();
    let mut told = Vec::new();
    let mut batch = batch;
    while let Some(step) = batch.next().await {
        told.push(match step {
            BatchStep::Begun { item } => (item, "begun", began.elapsed().as_secs()),
            BatchStep::Ended { item, outcome } if outcome.is_done() => {
                (item, "done", began.elapsed().as_secs())
            }
            BatchStep::Ended { item, .. } => (item, "failed", began.elapsed().as_secs()),
        });
    }
    assert_eq!(told[..2], [(0, "begun", 0), (1, "begun", 0)]);
    assert_eq!((told[2].0, told[2].1, told[3].0, told[3].1), (1, "failed", 0, "done"));
    assert!(told[2].2 < 4 && told[3].2 >= 5, "as it happens: {told:?}");
    assert_eq!(told.len(), 4, "what is skipped is in the report alone");
    let report = batch.report().await.unwrap();
    assert!(matches!(report.outcomes[2], BatchOutcome::Skipped(_)));
}

#[tokio::test(start_paused = true)]
async fn cancelling_reports_what_was_done() {
    let backend = backend([("a", task(1, TaskState::Succeeded)), ("b", task(9, TaskState::Succeeded))]);
    let mut batch = ["a", "b", "c", "d"]
        .into_iter()
        .fold(backend.hv().batch().concurrency(2), |batch, vm| batch.start(vm))
        .begin()
        .unwrap();
    while let Some(step) = batch.next().await {
        if matches!(step, BatchStep::Ended { item: 0, .. }) {
            batch.cancel();
        }
    }
    let outcomes = batch.report().await.unwrap().outcomes;
    assert!(outcomes[0].is_done());
    assert!(outcomes[1].is_done(), "what has begun is waited for: {outcomes:?}");
    for skipped in &outcomes[2..] {
        assert!(matches!(skipped, BatchOutcome::Skipped(why) if why.contains("cancelled")), "{skipped:?}");
    }
    assert_eq!(backend.lock().spans.len(), 2);
    assert!(backend.lock().cancelled.is_empty(), "no task is cancelled by it");
}

/// Also where everything ends at once.
#[tokio::test(start_paused = true)]
async fn a_cancel_comes_in_time_for_the_next_item() {
    let backend = backend([]);
    let batch =
        ["a", "b", "c"].into_iter().fold(backend.hv().batch().concurrency(1), |batch, vm| batch.start(vm));
    let mut batch = batch.begin().unwrap();
    while let Some(step) = batch.next().await {
        if matches!(step, BatchStep::Ended { item: 1, .. }) {
            batch.cancel();
        }
    }
    let outcomes = batch.report().await.unwrap().outcomes;
    assert!(outcomes[1].is_done() && matches!(outcomes[2], BatchOutcome::Skipped(_)), "{outcomes:?}");
}

#[tokio::test(start_paused = true)]
async fn a_batch_that_says_nothing_takes_the_backends_limits() {
    let backend = Scripted::new();
    let limits = |hv: &Arc<dyn Hypervisor>| {
        let batch = hv.batch();
        (batch.request().concurrency, batch.request().per_key)
    };
    assert_eq!(limits(&backend.hv()), (8, 1));
    let memory: Arc<dyn Hypervisor> = Arc::new(Memory::new());
    assert_eq!(limits(&memory), (64, 1));
    assert_eq!(limits(&Stack::standard(memory).build()), (64, 1), "through layers");
    assert_eq!(BatchLimits::new(3).per_key(2).per_key, 2);
}

#[derive(Debug, Clone)]
struct Case {
    /// What each item does, which earlier items it waits for, and its key.
    items: Vec<(u8, Vec<prop::sample::Index>, Option<u8>)>,
    concurrency: usize,
    per_key: usize,
    on_error: OnError,
    bulk_limit: usize,
}

fn cases() -> impl Strategy<Value = Case> {
    let item = (0u8..8, prop::collection::vec(any::<prop::sample::Index>(), 0..3), prop::option::of(0u8..3));
    let on_error = prop::sample::select(OnError::ALL);
    (prop::collection::vec(item, 1..14), 1usize..5, 1usize..3, on_error, 0usize..4).prop_map(
        |(items, concurrency, per_key, on_error, bulk_limit)| Case {
            items,
            concurrency,
            per_key,
            on_error,
            bulk_limit,
        },
    )
}

fn power(what: u8) -> Power {
    match what {
        0 => refused(),
        1 => task(2, TaskState::Failed),
        2 => Power::Refused(Error::new(ErrorKind::Transport, "lost")),
        3 | 4 => Power::AtOnce,
        other => task(u64::from(other), TaskState::Succeeded),
    }
}

impl Case {
    fn request(&self) -> BatchRequest {
        let items = self.items.iter().enumerate().map(|(n, (_, after, key))| {
            let after = if n == 0 { Vec::new() } else { after.iter().map(|index| index.index(n)).collect() };
            let undo = BatchOp::power(format!("undo-v{n}"), PowerAction::PowerOff);
            let item = start(&format!("v{n}")).after(after).compensate(undo);
            match key {
                Some(key) => item.key(format!("k{key}")),
                None => item,
            }
        });
        let request = BatchRequest::new(items).concurrency(self.concurrency).per_key(self.per_key);
        request.on_error(self.on_error)
    }

    async fn check(&self) -> Result<(), TestCaseError> {
        let backend = Scripted::new();
        let request = self.request();
        backend.lock().bulk_limit = self.bulk_limit;
        for (n, (what, ..)) in self.items.iter().enumerate() {
            backend.lock().power.insert(format!("v{n}").into(), power(*what));
        }
        let outcomes = run(&backend, &request).await.outcomes;
        prop_assert_eq!(outcomes.len(), self.items.len());
        let all = backend.lock().spans.clone();
        let mut spans: BTreeMap<usize, (Instant, Instant)> = BTreeMap::new();
        for (vm, begin, end) in all.iter().filter(|(vm, ..)| !vm.as_str().starts_with("undo")) {
            let n = vm.as_str()[1..].parse().unwrap();
            prop_assert!(spans.insert(n, (*begin, end.unwrap())).is_none(), "{} was begun twice", vm);
        }
        let any_bad = outcomes.iter().any(|outcome| outcome.error().is_some());
        for (n, outcome) in outcomes.iter().enumerate() {
            let begun = spans.get(&n);
            let item = &request.items[n];
            match outcome {
                BatchOutcome::Skipped(_) => prop_assert!(begun.is_none(), "item {} was begun and skipped", n),
                _ => prop_assert!(begun.is_some(), "item {} was never begun: {:?}", n, outcome),
            }
            let well = self.items[n].0 >= 3;
            let expected = match outcome {
                BatchOutcome::Done(_) => well && !(any_bad && self.on_error == OnError::Compensate),
                BatchOutcome::Compensated => well && self.on_error == OnError::Compensate && any_bad,
                BatchOutcome::Failed(_) => self.items[n].0 < 2,
                BatchOutcome::Unknown { .. } => self.items[n].0 == 2,
                BatchOutcome::Skipped(_) => any_bad,
            };
            prop_assert!(expected, "item {} {:?}: {:?}", n, self.items[n], outcome);
            if let Some((begin, _)) = begun {
                for before in &item.after {
                    let done = matches!(outcomes[*before], BatchOutcome::Done(_) | BatchOutcome::Compensated);
                    prop_assert!(done && spans[before].1 <= *begin, "item {} before item {}", n, before);
                }
                let at_work = |other: &&usize| spans[*other].0 <= *begin && *begin < spans[*other].1;
                let working: Vec<&usize> = spans.keys().filter(at_work).collect();
                prop_assert!(working.len() <= self.concurrency);
                let same_key =
                    |other: &&&usize| item.key.is_some() && request.items[***other].key == item.key;
                prop_assert!(working.iter().filter(same_key).count() <= self.per_key);
            }
        }
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]
    #[test]
    fn any_batch_keeps_order_and_limits_and_gives_each_item_one_outcome(case in cases()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(case.check())?;
    }
}
