use futures::{StreamExt, TryStreamExt};

use crate::error::ErrorKind;
use crate::handle::scripted::Scripted;
use crate::layer::Stack;
use crate::model::{Feature, PageRequest, Unreachable, VmInfo, VmQuery, VmState};
use crate::operation::Operation;

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
