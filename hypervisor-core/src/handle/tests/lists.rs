use std::sync::Arc;

use futures::{StreamExt, TryStreamExt};

use crate::error::{Error, ErrorKind, Result};
use crate::handle::scripted::Scripted;
use crate::layer::{Attempt, Call, Layered, Policy, Stack};
use crate::memory::Memory;
use crate::model::{
    ByteSize, Feature, PageRequest, PoolId, PoolSpec, Unreachable, VmInfo, VmQuery, VmState, VolumeSpec,
};
use crate::operation::Operation;
use crate::{Hypervisor, Storage as _};

#[tokio::test(start_paused = true)]
async fn lists_go_over_all_pages_and_name_who_was_away() {
    let backend = Scripted::new();
    for id in ["a", "b", "c", "d", "e"] {
        backend.vm(id, VmState::Stopped);
    }
    let vms = backend.hv().vms();
    assert_eq!(vms.list(&VmQuery::all()).await.unwrap().items.len(), 2);
    let all = vms.all(&VmQuery::all()).await.unwrap().complete().unwrap();
    assert_eq!(all.len(), 5);
    assert_eq!(vms.stream(&VmQuery::all()).try_collect::<Vec<_>>().await.unwrap(), all);
    let before = backend.count(Operation::ListVms);
    assert_eq!(vms.stream(&VmQuery::all()).take(2).count().await, 2);
    assert_eq!(backend.count(Operation::ListVms), before + 1, "a page is fetched when it is needed");

    backend.lock().unreachable = vec![Unreachable::new("pve2", "no route")];
    let part = vms.all(&VmQuery::all()).await.unwrap();
    assert_eq!((part.len(), part.unreachable.len()), (5, 1));
    assert_eq!(part.complete().unwrap_err().kind(), ErrorKind::HostUnreachable);
    let items: Vec<_> = vms.stream(&VmQuery::all()).collect().await;
    assert_eq!(items.iter().filter(|item| item.is_ok()).count(), 5);
    assert_eq!(items.last().unwrap().as_ref().unwrap_err().kind(), ErrorKind::HostUnreachable);
}

#[tokio::test(start_paused = true)]
async fn a_name_is_one_guest_or_an_error() {
    let backend = Scripted::new();
    let vms = backend.hv().vms();
    backend.vm("web", VmState::Stopped);
    assert_eq!(vms.by_name("web").await.unwrap().uid(), Some("uid-web"));
    assert_eq!(vms.get("web").await.unwrap().uid(), Some("uid-web"));
    let error = vms.by_name("db").await.unwrap_err();
    assert_eq!((error.kind(), error.target()), (ErrorKind::NotFound, Some("vm `db`")));
    backend.lock().vms.insert("2".into(), VmInfo::new("2", "web", VmState::Stopped));
    assert_eq!(vms.by_name("web").await.unwrap_err().kind(), ErrorKind::Conflict);
    backend.lock().unreachable = vec![Unreachable::new("pve2", "no route")];
    // It may be on the host that is away.
    assert_eq!(vms.by_name("db").await.unwrap_err().kind(), ErrorKind::HostUnreachable);
    assert_eq!(vms.find_by_client_token("t").await.unwrap_err().kind(), ErrorKind::HostUnreachable);
    backend.lock().unreachable.clear();
    assert!(vms.find_by_client_token("t").await.unwrap().is_none());
}

#[tokio::test(start_paused = true)]
async fn a_backend_without_marks_is_not_asked_for_one() {
    let backend = Scripted::with(|backend| backend.lacks(Feature::ClientToken));
    backend.vm("a", VmState::Stopped);
    let (vms, marked) = (backend.hv().vms(), VmQuery::all().client_token("order-1"));
    assert!(vms.list(&marked).await.unwrap_err().is_unsupported());
    assert!(vms.all(&marked).await.unwrap_err().is_unsupported());
    assert!(vms.stream(&marked).try_collect::<Vec<_>>().await.unwrap_err().is_unsupported());
    let layered = Stack::new(backend.hv()).build();
    assert!(layered.list_vms(&marked, &PageRequest::first()).await.unwrap_err().is_unsupported());
    assert_eq!(backend.count(Operation::ListVms), 0);
}

/// Three pools, one of which vanishes and one of which is on a host that is away.
#[derive(Debug)]
struct Pools;

impl Policy for Pools {
    async fn run<T: Send + 'static>(&self, call: &Call<'_>, attempt: Attempt<'_, T>) -> Result<T> {
        match (call.operation(), call.id()) {
            (Operation::ListVolumes, Some("gone")) => Err(PoolId::from("gone").not_found()),
            (Operation::ListVolumes, Some("away")) => Err(Error::new(ErrorKind::HostUnreachable, "no route")),
            _ => attempt.send().await,
        }
    }
}

#[tokio::test(start_paused = true)]
async fn one_pool_does_not_fail_the_list_of_all_volumes() {
    let memory = Memory::builder().pool("gone", ByteSize::gib(1)).build();
    for (pool, host) in [("default", None), ("away", Some(vec!["host-1".into()]))] {
        if let Some(hosts) = host {
            let _made = memory.create_pool(&PoolSpec::dir(pool, "/away").hosts(hosts)).await.unwrap();
        }
        let _made = memory.create_volume(&VolumeSpec::new(pool, "v", ByteSize::mib(1))).await.unwrap();
    }
    let hv: Arc<dyn Hypervisor> = Arc::new(Layered::new(Arc::new(memory), Pools));
    let all = hv.volumes().all().await.unwrap();
    assert_eq!(all.iter().map(|volume| volume.pool.as_str()).collect::<Vec<_>>(), ["default"]);
    assert_eq!(all.unreachable, [Unreachable::new("host-1", "pool `away`: no route")]);
}
