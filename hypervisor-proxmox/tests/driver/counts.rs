//! How many requests things cost.

use std::sync::Arc;
use std::time::Duration;

use hypervisor_core::Hypervisor;
use hypervisor_core::model::{
    BatchItem, BatchOp, BatchRequest, CloneSpec, PageRequest, PowerAction, TaskId, TaskState, VmQuery, VmSpec,
};
use hypervisor_core::traits::{Batch as _, Compute as _, Tasks as _};
use hypervisor_proxmox::fake::{FakeGuest, FakePve};
use hypervisor_proxmox::wire::form::Form;
use hypervisor_proxmox::{Proxmox, ProxmoxConfig};

use super::{connect, done, guests, logged_in, vm};

#[tokio::test]
async fn a_batch_of_creates_looks_at_the_cluster_once_and_asks_for_no_number() {
    let pve = FakePve::builder().task_time(Duration::from_millis(20)).start().await.unwrap();
    let proxmox = connect(&pve).await;
    // What the connection has seen at its start is old by then.
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(60)).await;
    tokio::time::resume();
    let items = (0..100).map(|n| BatchItem::new(BatchOp::CreateVm(Box::new(VmSpec::new(format!("b-{n}"))))));
    let report = proxmox.submit_batch(&BatchRequest::new(items).concurrency(100)).await.unwrap();
    assert_eq!(report.into_result().unwrap().vms().count(), 100);
    assert_eq!(pve.guests().len(), 100);
    assert_eq!(pve.count("POST", "/nodes/*/qemu"), 100);
    assert_eq!((pve.count("GET", "/cluster/resources"), pve.count("GET", "/cluster/nextid")), (1, 0));
    // The rest are looks at the tasks, which serve all.
    let looks = pve.requests().len() - 101;
    assert!(looks <= 40, "{looks} looks at the tasks of 100 creates");
}

#[tokio::test]
async fn a_ticket_that_runs_out_in_the_middle_of_a_batch_costs_one_login_and_no_item() {
    let pve = guests(0).task_time(Duration::from_millis(60)).start().await.unwrap();
    let proxmox = logged_in(&pve).await;
    let items = (0..24).map(|n| BatchItem::new(BatchOp::CreateVm(Box::new(VmSpec::new(format!("t-{n}"))))));
    let request = BatchRequest::new(items).concurrency(6);
    let batch = proxmox.submit_batch(&request);
    let expire = async {
        while pve.count("POST", "/nodes/*/qemu") < 9 {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        assert!(pve.count("POST", "/nodes/*/qemu") < 24, "the batch was over too soon");
        pve.advance(Duration::from_secs(3 * 3600));
    };
    let (report, ()) = futures::join!(batch, expire);
    report.unwrap().into_result().unwrap();
    assert_eq!((pve.guests().len(), pve.count("POST", "/access/ticket")), (24, 1));
}

/// Tasks of ten seconds, waited for with the pauses that are usual, in real time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_hundred_tasks_cost_hardly_more_looks_than_five() {
    let (few, many) = tokio::join!(looks_of(5), looks_of(500));
    assert!(many < 40, "{many} requests for 500 tasks");
    assert!(many <= 2 * few && few <= 2 * many, "{few} requests for 5 tasks, {many} for 500");
}

/// The requests that it takes to wait for so many tasks of ten seconds, one of the waits begun in the middle.
async fn looks_of(count: u32) -> usize {
    let pve = guests(count).task_time_of("qmstart", Duration::from_secs(10)).start().await.unwrap();
    let proxmox = connect(&pve).await;
    let mut tasks: Vec<TaskId> = Vec::new();
    for number in 0..count {
        let path = format!("/nodes/pve1/qemu/{}/status/start", 100 + number);
        let upid = proxmox.api().post(&path, &Form::new()).await.unwrap();
        tasks.push(upid.as_str().unwrap().into());
    }
    let hv: Arc<dyn Hypervisor> = Arc::new(proxmox);
    pve.clear_requests();
    let late = tasks.pop().unwrap();
    let waits = tasks.into_iter().map(|task| {
        let hv = Arc::clone(&hv);
        async move { hv.task(task).wait().await }
    });
    let later = async {
        tokio::time::sleep(Duration::from_secs(4)).await;
        let before = pve.requests().len();
        hv.task(late).wait().await.unwrap();
        before
    };
    let (ended, before) = futures::join!(futures::future::join_all(waits), later);
    assert!(before > 0 && ended.iter().all(Result::is_ok));
    assert!((100..100 + count).all(|number| pve.guest(number).unwrap().running));
    pve.requests().len()
}

#[tokio::test]
async fn chains_of_tasks_share_their_looks_too() {
    let pve = guests(1).task_time_of("qmclone", Duration::from_secs(2)).start().await.unwrap();
    let proxmox = connect(&pve).await;
    let copies = (0..40).map(|n| {
        let proxmox = proxmox.clone();
        async move {
            let spec = CloneSpec::new(format!("copy-{n}")).client_token(format!("Job-{n}"));
            proxmox.clone_vm(&vm(100), &spec).await.unwrap()
        }
    });
    let begun = futures::future::join_all(copies).await;
    pve.clear_requests();
    for started in begun {
        assert_eq!(done(&proxmox, started).await, TaskState::Succeeded);
    }
    let looks = pve.count("GET", "/nodes/*/tasks") + pve.count("GET", "/nodes/*/tasks/*/status");
    assert!(looks <= 20, "{looks} looks at 40 tasks of two seconds");
    assert_eq!(pve.guests().iter().filter(|guest| guest.config.contains_key("tags")).count(), 40);
}

#[tokio::test]
async fn a_caller_who_sees_few_guests_finds_a_free_number_all_the_same() {
    let pve = guests(60)
        .pool("mine")
        .api_token("ann@pve", "t1", "secret", false)
        .grant("ann@pve", "/pool/mine", "PVEVMAdmin")
        .grant("ann@pve", "/pool/mine", "PVEPoolUser")
        .grant("ann@pve", "/nodes", "PVEAuditor")
        .start()
        .await
        .unwrap();
    let config = ProxmoxConfig::new(&pve.url()).unwrap().token("ann@pve!t1", "secret");
    let proxmox = Proxmox::connect(config).await.unwrap();
    assert!(proxmox.list_vms(&VmQuery::all(), &PageRequest::first()).await.unwrap().items.is_empty());
    pve.clear_requests();
    let made = proxmox.create_vm(&VmSpec::new("mine").group("mine")).await.unwrap();
    assert_eq!(made.output, vm(160));
    assert_eq!(pve.count("GET", "/cluster/nextid"), 1);
    assert!(pve.count("POST", "/nodes/*/qemu") <= 5);
}

#[tokio::test]
async fn power_verbs_of_a_batch_go_as_one_native_call_and_other_releases_get_one_each() {
    for (version, bulk, single) in [("9.1.3", 1, 0), ("8.4.5", 0, 6)] {
        let pve = (0..6)
            .fold(FakePve::builder().version(version), |pve, n| pve.vm(FakeGuest::vm(100 + n)))
            .start()
            .await
            .unwrap();
        let proxmox = connect(&pve).await;
        let starts = (0..6).map(|n| BatchItem::new(BatchOp::power(vm(100 + n), PowerAction::Start)));
        proxmox.submit_batch(&BatchRequest::new(starts)).await.unwrap().into_result().unwrap();
        assert_eq!(pve.count("POST", "/cluster/bulk-action/guest/start"), bulk, "{version}");
        assert_eq!(pve.count("POST", "/nodes/*/qemu/*/status/start"), single, "{version}");
    }
}

/// A round of a batch in bulk calls is a call, a look at its task and one at each host, once it is known how long such a call takes.
#[tokio::test]
async fn bulk_calls_of_a_batch_are_looked_at_when_they_end() {
    let work = Duration::from_millis(150);
    let pve = FakePve::builder().hosts(2).many(320).task_time(work).start().await.unwrap();
    let proxmox = connect(&pve).await;
    pve.clear_requests();
    let starts = (1000..1320).map(|number| BatchItem::new(BatchOp::power(vm(number), PowerAction::Start)));
    let report = proxmox.submit_batch(&BatchRequest::new(starts).concurrency(32)).await.unwrap();
    report.into_result().unwrap();
    let calls = pve.count("POST", "/cluster/bulk-action/guest/start");
    assert!((10..=16).contains(&calls), "{calls} calls for ten rounds");
    let all = pve.requests().len();
    println!("{all} requests for 320 guests in {calls} calls");
    assert!(all <= calls * 10, "{all} requests for {calls} calls");
}

/// The daemon of a real server has three workers: what waits there for more than 30 s ends in 596.
#[tokio::test]
async fn many_creates_at_once_wait_here_and_not_at_the_server() {
    let pve = FakePve::builder().task_time(Duration::from_millis(5)).start().await.unwrap();
    let proxmox = connect(&pve).await;
    pve.faults().on("POST", "/nodes/*/qemu").always().delay(Duration::from_millis(40));
    let creates = (0..60).map(|n| {
        let proxmox = proxmox.clone();
        async move { proxmox.create_vm(&VmSpec::new(format!("many-{n}"))).await.unwrap().output }
    });
    let mut most = 0;
    let watch = async {
        while pve.guests().len() < 60 {
            let begun = pve.requests().iter().filter(|seen| seen.method == "POST").count();
            let answered =
                pve.requests().iter().filter(|seen| seen.method == "POST" && seen.status.is_some()).count();
            most = most.max(begun - answered.min(begun));
            tokio::time::sleep(Duration::from_millis(3)).await;
        }
    };
    futures::join!(futures::future::join_all(creates), watch);
    assert!((1..=12).contains(&most), "{most} creates at a time");
}

#[tokio::test]
async fn a_server_that_hangs_keeps_many_callers_no_longer_than_one() {
    let pve = guests(4).start().await.unwrap();
    let config = super::config(&pve).timeout(Duration::from_millis(300));
    let proxmox = Proxmox::connect(config).await.unwrap();
    pve.clear_requests();
    pve.faults().on("GET", "/cluster/resources").always().delay(Duration::from_secs(5));
    let lists = (0..16).map(|_| async {
        let (all, first) = (VmQuery::all(), PageRequest::first());
        proxmox.list_vms(&all, &first).await
    });
    for list in futures::future::join_all(lists).await {
        let error = list.unwrap_err();
        assert_eq!(error.kind(), hypervisor_core::ErrorKind::Timeout, "{error}");
        assert_eq!(error.operation(), Some(hypervisor_core::Operation::ListVms), "{error}");
        assert_eq!(error.retry(), hypervisor_core::Retry::Safe, "{error}");
    }
    assert_eq!(pve.count("GET", "/cluster/resources"), 1, "they waited one after the other");
    pve.faults().clear();
    assert_eq!(super::vms(&proxmox).await.len(), 4);
}

#[tokio::test]
async fn a_node_that_hangs_does_not_hold_up_looks_at_tasks_of_others() {
    let pve = guests(1).hosts(2).vm(FakeGuest::vm(200).host("pve2")).start().await.unwrap();
    let proxmox = connect(&pve).await;
    pve.faults().on("GET", "/nodes/pve2/tasks/*/status").always().delay(Duration::from_secs(4));
    let copy = |name: &str| CloneSpec::new(name).start(true);
    let slow = proxmox.clone_vm(&vm(200), &copy("slow")).await.unwrap().task.unwrap();
    while pve.count("GET", "/nodes/pve2/tasks/*/status") == 0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let quick = proxmox.clone_vm(&vm(100), &copy("quick")).await.unwrap();
    assert_eq!(done(&proxmox, quick).await, TaskState::Succeeded);
    let state = proxmox.get_task(&slow, None).await.unwrap().state;
    assert_eq!(state, TaskState::Running, "the quick one waited for a look at the other node");
}
