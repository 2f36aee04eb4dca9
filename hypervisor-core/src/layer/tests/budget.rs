use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::error::{Error, ErrorKind};
use crate::layer::{Budget, Layered};
use crate::memory::Memory;
use crate::model::{PageRequest, PowerAction, VmId, VmQuery};
use crate::operation::{Operation, OperationClass};
use crate::traits::{Compute as _, Hypervisor};

use super::{Scripted, Step};

const MINUTE: Duration = Duration::from_secs(60);

fn over(backend: Arc<dyn Hypervisor>, budget: &Budget) -> Layered<Budget> {
    Layered::new(backend, budget.clone())
}

#[tokio::test(start_paused = true)]
async fn no_window_sees_more_calls_than_allowed_and_a_long_run_slows_down_first() {
    let budget = Budget::new().allow(100, MINUTE);
    let hv = over(Arc::new(Memory::new()), &budget);
    let begun = Instant::now();
    let mut sent = Vec::new();
    for _ in 0..350 {
        hv.list_vms(&VmQuery::all(), &PageRequest::default()).await.unwrap();
        sent.push(begun.elapsed());
    }
    assert_eq!(sent[49], Duration::ZERO, "half of the calls go out as they come");
    assert!(
        sent[99] > Duration::from_secs(55) && sent[99] < MINUTE,
        "{:?}: spread over the window",
        sent[99]
    );
    for (at, window) in sent.windows(101).enumerate() {
        assert!(
            window[100] - window[0] >= MINUTE,
            "call {at} and the 100 after it came within {:?}",
            window[100] - window[0]
        );
    }
    let total = sent[349];
    assert!(total < MINUTE * 4, "{total:?}: no slower than it must be");
}

#[tokio::test(start_paused = true)]
async fn what_is_planned_is_what_it_takes() {
    let budget = Budget::v1();
    assert_eq!(budget.left_for(Operation::StartVm), Some(100));
    assert_eq!(budget.time_for(Operation::StartVm, 50), Duration::ZERO);
    let planned = budget.time_for(Operation::CreateVm, 130);
    assert!(planned > Duration::from_secs(3600) && planned < Duration::from_secs(7200), "{planned:?}");
    assert_eq!(budget.left_for(Operation::StartVm), Some(100), "planning uses nothing up");
    assert_eq!(budget.time_for(Operation::ListVms, 500), Duration::ZERO);
}

#[test]
fn a_call_that_need_not_wait_starts_no_timer() {
    let hv = over(Arc::new(Memory::new()), &Budget::new().allow(100, MINUTE));
    // Here a timer would panic.
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    for _ in 0..50 {
        runtime.block_on(hv.list_vms(&VmQuery::all(), &PageRequest::default())).unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn connections_share_it_and_kinds_do_not() {
    let budget = Budget::new()
        .allow_for(2, MINUTE, |operation| operation.class() == OperationClass::Read)
        .max_wait(Duration::from_secs(1));
    let (one, two) = (over(Arc::new(Memory::new()), &budget), over(Arc::new(Memory::new()), &budget));
    let nobody = VmId::new("nobody");
    assert_eq!(one.get_vm(&nobody).await.unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(budget.left_for(Operation::GetVm), Some(1), "an answer of any kind has used one up");
    assert_eq!(budget.left_for(Operation::StartVm), None, "no rule applies");
    let start = two.power_vm(&nobody, &PowerAction::Start).await.unwrap_err();
    assert_eq!(start.kind(), ErrorKind::NotFound);
    let begun = Instant::now();
    let waiting = two.get_vm(&nobody).await.unwrap_err();
    assert_eq!(
        (waiting.kind(), begun.elapsed()),
        (ErrorKind::RateLimited, Duration::ZERO),
        "the pace is shared"
    );
}

#[tokio::test(start_paused = true)]
async fn a_wait_that_is_too_long_is_refused_with_its_length() {
    let budget = Budget::new().allow(1, MINUTE).max_wait(Duration::from_secs(30));
    let hv = over(Arc::new(Memory::new()), &budget);
    hv.list_vms(&VmQuery::all(), &PageRequest::default()).await.unwrap();
    let error = hv.list_vms(&VmQuery::all(), &PageRequest::default()).await.unwrap_err();
    assert_eq!((error.kind(), error.retry_after()), (ErrorKind::RateLimited, Some(MINUTE)));
    tokio::time::advance(Duration::from_secs(31)).await;
    let begun = Instant::now();
    hv.list_vms(&VmQuery::all(), &PageRequest::default()).await.unwrap();
    assert_eq!(begun.elapsed(), Duration::from_secs(29), "the refused call has used nothing up");
}

#[tokio::test(start_paused = true)]
async fn the_servers_own_word_holds_everybody_back() {
    let refused = Error::new(ErrorKind::RateLimited, "slow down").with_retry_after(Duration::from_secs(20));
    let backend = Scripted::shared([Step::Fail(refused)]);
    let budget = Budget::new();
    let hv = over(backend, &budget);
    let begun = Instant::now();
    assert_eq!(hv.get_vm(&VmId::new("a")).await.unwrap_err().kind(), ErrorKind::RateLimited);
    let other = over(Arc::new(Memory::new()), &budget);
    other.list_vms(&VmQuery::all(), &PageRequest::default()).await.unwrap();
    assert_eq!(begun.elapsed(), Duration::from_secs(20));
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_dropped_in_the_queue_leaves_its_turn_to_others() {
    let budget = Budget::new().allow(2, MINUTE);
    let hv = over(Arc::new(Memory::new()), &budget);
    let begun = Instant::now();
    hv.list_vms(&VmQuery::all(), &PageRequest::default()).await.unwrap();
    for _ in 0..100 {
        let (query, page) = (VmQuery::all(), PageRequest::default());
        let impatient = tokio::time::timeout(Duration::from_millis(1), hv.list_vms(&query, &page)).await;
        assert!(impatient.is_err(), "the second call of the window has to wait");
    }
    assert_eq!(budget.left_for(Operation::ListVms), Some(1), "nothing was sent");
    hv.list_vms(&VmQuery::all(), &PageRequest::default()).await.unwrap();
    assert!(begun.elapsed() <= MINUTE, "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_a_turn_is_held_back_by_the_servers_word_too() {
    let silence = Duration::from_secs(600);
    let refused = Error::new(ErrorKind::RateLimited, "slow down").with_retry_after(silence);
    let budget = Budget::new().allow(20, MINUTE).max_wait(silence * 2);
    let (refusing, hv) =
        (over(Scripted::shared([Step::Fail(refused)]), &budget), over(Arc::new(Memory::new()), &budget));
    for _ in 0..9 {
        hv.list_vms(&VmQuery::all(), &PageRequest::default()).await.unwrap();
    }
    let begun = Instant::now();
    let nobody = VmId::new("a");
    let (query, page) = (VmQuery::all(), PageRequest::default());
    let queued = futures::future::join_all((0..16).map(|_| async {
        hv.list_vms(&query, &page).await.unwrap();
        begun.elapsed()
    }));
    let (first, queued) = futures::join!(refusing.get_vm(&nobody), queued);
    assert_eq!(first.unwrap_err().kind(), ErrorKind::RateLimited);
    assert!(queued.iter().all(|sent| *sent >= silence), "{queued:?}");
    assert!(queued.iter().any(|sent| *sent > silence), "they come one after the other: {queued:?}");
}

#[tokio::test(start_paused = true)]
async fn a_window_without_end_allows_no_more_than_any_other() {
    let budget = Budget::new().allow(2, Duration::MAX);
    let hv = over(Arc::new(Memory::new()), &budget);
    hv.list_vms(&VmQuery::all(), &PageRequest::default()).await.unwrap();
    for _ in 0..2 {
        let error = hv.list_vms(&VmQuery::all(), &PageRequest::default()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::RateLimited, "{error}");
    }
}
