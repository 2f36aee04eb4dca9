use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;

use crate::error::{Effect, ErrorKind, Retry};
use crate::layer::{Chaos, Layered, RetryPolicy, Stack};
use crate::memory::Memory;
use crate::model::{
    ByteSize, CloneSpec, DiskSpec, EventKind, EventQuery, PageRequest, PowerAction, TaskState, VmId, VmQuery,
    VmSpec, VmState,
};
use crate::traits::{Compute as _, Events as _, Hypervisor, Storage as _, Tasks as _};

fn shaky(chaos: &Chaos) -> (Arc<Memory>, Layered<Chaos>) {
    let memory = Arc::new(Memory::builder().task_time(Duration::from_secs(1)).build());
    (Arc::clone(&memory), Layered::new(memory, chaos.clone()))
}

async fn count(memory: &Memory) -> usize {
    memory.list_vms(&VmQuery::all(), &PageRequest::default()).await.unwrap().items.len()
}

#[tokio::test(start_paused = true)]
async fn what_is_dropped_before_has_no_effect_and_what_is_dropped_after_may_have() {
    let (memory, hv) = shaky(&Chaos::new(1).drop_before_send(1000));
    let error = hv.create_vm(&VmSpec::new("a")).await.unwrap_err();
    assert_eq!(
        (error.kind(), error.retry(), error.effect()),
        (ErrorKind::Connect, Retry::Safe, Effect::None)
    );
    assert_eq!(count(&memory).await, 0);

    let (memory, hv) = shaky(&Chaos::new(1).drop_after_send(1000));
    let error = hv.create_vm(&VmSpec::new("a")).await.unwrap_err();
    assert_eq!((error.kind(), error.retry()), (ErrorKind::Transport, Retry::IfIdempotent));
    assert_eq!(count(&memory).await, 1);
    let error = hv.list_vms(&VmQuery::all(), &PageRequest::default()).await.unwrap_err();
    assert_eq!((error.retry(), error.effect()), (Retry::Safe, Effect::None));
}

#[tokio::test(start_paused = true)]
async fn the_same_seed_gives_the_same_faults() {
    let run = |seed| async move {
        let chaos = Chaos::new(seed).drop_before_send(300).drop_after_send(300);
        let (_, hv) = shaky(&chaos);
        let mut seen = Vec::new();
        for n in 0..40 {
            seen.push(
                hv.create_vm(&VmSpec::new(format!("vm-{n}"))).await.map_err(|error| error.kind()).is_ok(),
            );
        }
        let faults = seen.iter().filter(|fine| !**fine).count();
        assert_eq!(u64::try_from(faults).unwrap(), chaos.injected());
        seen
    };
    assert_eq!(run(5).await, run(5).await);
    assert_ne!(run(5).await, run(6).await);
}

#[tokio::test(start_paused = true)]
async fn a_stale_look_shows_what_was() {
    let (memory, hv) = shaky(&Chaos::new(1).stale_read(1000));
    let vm = hv.create_vm(&VmSpec::new("a")).await.unwrap().output;
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(hv.get_vm(&vm).await.unwrap().state, VmState::Stopped);
    let _ = memory.power_vm(&vm, &PowerAction::Start).await.unwrap();
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(hv.get_vm(&vm).await.unwrap().state, VmState::Stopped, "the look before");
    assert_eq!(hv.get_vm(&vm).await.unwrap().state, VmState::Running);
}

#[tokio::test(start_paused = true)]
async fn a_task_that_is_made_to_fail_stays_failed() {
    let (_, hv) = shaky(&Chaos::new(3).fail_task(500));
    let mut ends = Vec::new();
    for n in 0..20 {
        let spec = VmSpec::new(format!("vm-{n}")).disk(DiskSpec::new_volume(ByteSize::gib(1)));
        let made = hv.create_vm(&spec).await.unwrap();
        tokio::time::sleep(Duration::from_secs(3)).await;
        let clone = hv.clone_vm(&made.output, &CloneSpec::new(format!("copy-{n}"))).await.unwrap();
        let task = clone.task.unwrap();
        tokio::time::sleep(Duration::from_secs(3)).await;
        let end = hv.get_task(&task, None).await.unwrap().state;
        for _ in 0..5 {
            let again = hv.get_task(&task, None).await.unwrap().state;
            assert!(end != TaskState::Failed || again == end, "it has recovered");
        }
        ends.push(end);
    }
    assert!(ends.contains(&TaskState::Failed) && ends.contains(&TaskState::Succeeded), "{ends:?}");
}

#[tokio::test(start_paused = true)]
async fn events_are_lost_with_a_word_and_doubled_without() {
    let (memory, hv) = shaky(&Chaos::new(1).lose_event(1000));
    let mut events = hv.watch(&EventQuery::all()).await.unwrap();
    let _ = memory.create_vm(&VmSpec::new("a")).await.unwrap();
    assert!(matches!(events.next().await.unwrap().unwrap().kind, EventKind::Resync { .. }));

    let (memory, hv) = shaky(&Chaos::new(1).double_event(1000));
    let mut events = hv.watch(&EventQuery::all()).await.unwrap();
    let _ = memory.create_vm(&VmSpec::new("a")).await.unwrap();
    let (first, second) = (events.next().await.unwrap().unwrap(), events.next().await.unwrap().unwrap());
    assert_eq!(first, second);
}

#[tokio::test(start_paused = true)]
async fn five_hundred_creates_with_lost_answers_make_five_hundred_machines() {
    let chaos = Chaos::new(11).drop_after_send(300);
    let (memory, hv) = shaky(&chaos);
    // Looks get lost as well: four attempts are too few for all of five hundred.
    let hv: Arc<dyn Hypervisor> =
        Stack::new(Arc::new(hv)).retry(RetryPolicy::new().max_attempts(12)).limit(32).build();
    let creates = (0..500).map(|n| {
        let hv = Arc::clone(&hv);
        async move {
            let disk = DiskSpec::new_volume(ByteSize::gib(1));
            let spec = VmSpec::new(format!("vm-{n}")).disk(disk).client_token(format!("order-{n}"));
            let vm: VmId = hv.vms().create(&spec).await?.wait().await?.into();
            Ok::<_, crate::Error>(vm)
        }
    });
    let made = futures::future::join_all(creates).await;
    let failed: Vec<_> = made.iter().filter_map(|made| made.as_ref().err()).collect();
    assert!(failed.is_empty(), "{} failed, the first: {}", failed.len(), failed[0]);
    assert_eq!(count(&memory).await, 500);
    let ids: std::collections::BTreeSet<_> = made.iter().flatten().collect();
    assert_eq!(ids.len(), 500, "each caller has a machine of its own");
    let volumes = memory.list_volumes(&"default".into(), &PageRequest::default()).await.unwrap().items;
    assert_eq!(volumes.len(), 500, "no disk without a machine");
    assert!(chaos.injected() > 100, "{} faults", chaos.injected());
}
