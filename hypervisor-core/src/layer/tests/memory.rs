//! The layers around the in-memory hypervisor: what its users see of faults.

use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;

use super::*;
use crate::layer::{RetryPolicy, Stack};
use crate::memory::{FaultPlan, Memory};
use crate::operation::Operation;

fn stack(memory: Memory) -> Arc<dyn Hypervisor> {
    let retry = RetryPolicy::new().max_attempts(8).seed(1);
    Stack::standard(Arc::new(memory)).retry(retry).limit(8).build()
}

async fn names(hv: &Arc<dyn Hypervisor>) -> Vec<String> {
    let page = hv.list_vms(&VmQuery::all(), &PageRequest::first().limit(1000)).await.unwrap();
    page.items.into_iter().map(|vm| vm.name).collect()
}

#[tokio::test(start_paused = true)]
async fn a_create_whose_answer_is_lost_makes_one_guest() {
    let plan = FaultPlan::new().lose_answer(Operation::CreateVm, 1, ErrorKind::Timeout);
    let hv = stack(Memory::builder().faults(plan).build());
    let spec = VmSpec::new("web-1").client_token("once-1");
    let started = hv.create_vm(&spec).await.unwrap();
    assert_eq!(names(&hv).await, ["web-1"]);
    assert_eq!(hv.get_vm(&started.output).await.unwrap().client_token.as_deref(), Some("once-1"));
}

#[tokio::test(start_paused = true)]
async fn a_hundred_creates_with_every_third_answer_lost_make_a_hundred_guests() {
    let lost = (1..=100).step_by(3);
    let plan = lost
        .fold(FaultPlan::new(), |plan, nth| plan.lose_answer(Operation::CreateVm, nth, ErrorKind::Transport));
    let hv = stack(Memory::builder().faults(plan).host_capacity(1024, ByteSize::gib(4096)).build());
    let specs: Vec<_> = (0..100)
        .map(|number| {
            VmSpec::new(format!("vm-{number:03}"))
                .memory(ByteSize::mib(64))
                .client_token(format!("token-{number}"))
        })
        .collect();
    let made = join_all(specs.iter().map(|spec| hv.create_vm(spec))).await;
    assert!(made.iter().all(Result::is_ok), "{:?}", made.iter().find(|made| made.is_err()));
    let mut found = names(&hv).await;
    found.sort();
    assert_eq!(found, specs.iter().map(|spec| spec.name.clone()).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn a_batch_goes_through_the_layers_one_operation_at_a_time() {
    let plan = FaultPlan::new().fail(Operation::CreateVm, 1, ErrorKind::Locked).fail(
        Operation::StartVm,
        2,
        ErrorKind::RateLimited,
    );
    let hv = stack(Memory::builder().faults(plan).task_time(Duration::from_secs(5)).build());
    let creates = ["a", "b", "c"].map(|name| BatchOp::CreateVm(Box::new(VmSpec::new(name))));
    let report = hv.submit_batch(&BatchRequest::new(creates)).await.unwrap().into_result().unwrap();
    let starts: Vec<_> = report.vms().map(|vm| BatchOp::power(vm, PowerAction::Start)).collect();
    assert_eq!(starts.len(), 3);
    assert!(hv.submit_batch(&BatchRequest::new(starts)).await.unwrap().all_done());
}

#[tokio::test(start_paused = true)]
async fn callers_with_the_same_token_get_the_same_guest() {
    let plan = FaultPlan::new().lose_answer(Operation::CreateVm, 1, ErrorKind::Timeout);
    let latency = Duration::from_millis(1)..Duration::from_millis(50);
    let hv = stack(Memory::builder().faults(plan).latency(latency).build());
    let spec = VmSpec::new("web-1").client_token("once-1");
    let made = join_all((0..20).map(|_| hv.create_vm(&spec))).await;
    let ids: std::collections::BTreeSet<_> = made.into_iter().map(|made| made.unwrap().output).collect();
    assert_eq!(ids.len(), 1, "{ids:?}");
    assert_eq!(names(&hv).await, ["web-1"]);
}

/// The id of a guest that was deleted goes to the next one, and the answer to the delete is lost: its repetition must not delete that one.
#[tokio::test(start_paused = true)]
async fn a_repeated_delete_spares_the_next_guest_of_the_same_id() {
    for way in ["bare", "handle", "batch"] {
        let plan = FaultPlan::new().lose_answer(Operation::DeleteVm, 1, ErrorKind::Transport);
        let memory = Arc::new(Memory::builder().faults(plan).build());
        let retry = RetryPolicy::new().delay(Duration::from_secs(2), Duration::from_secs(2)).without_jitter();
        let hv = Stack::new(Arc::clone(&memory) as Arc<dyn Hypervisor>).retry(retry).build();
        let old = hv.vms().create(&VmSpec::new("old")).await.unwrap().await.unwrap();
        let delete = async {
            let with_disks = DeleteVm::with_disks();
            match way {
                "bare" => drop(hv.delete_vm(old.id(), &with_disks).await.unwrap()),
                "handle" => old.delete(&with_disks).await.unwrap().await.unwrap(),
                _ => assert!(hv.batch().delete(old.id().clone(), with_disks).run().await.unwrap().all_done()),
            }
        };
        let create = async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            let new = memory.create_vm(&VmSpec::new("new")).await.unwrap().output;
            assert_eq!(&new, old.id(), "memory uses ids again, as servers do");
        };
        tokio::join!(delete, create);
        assert_eq!(names(&hv).await, ["new"], "{way}");
    }
}
