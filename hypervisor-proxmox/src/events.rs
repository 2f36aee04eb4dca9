//! Events: the API sends none, so that they are found by looking again.

use std::sync::Arc;

use async_trait::async_trait;
use hypervisor_core::feed::{Pace, Poller};
use hypervisor_core::model::{EventQuery, EventStream, Page};
use hypervisor_core::traits::Events;
use hypervisor_core::{Operation, Result};

use crate::backend::{Inner, Proxmox};
use crate::compute::list;
use crate::error::named;

/// One look at the whole cluster is one request, whoever reads.
pub(crate) fn poller(inner: &Arc<Inner>) -> Poller {
    let inner = Arc::clone(inner);
    Poller::new(Pace::default(), move || {
        let inner = Arc::clone(&inner);
        async move {
            let (guests, unreachable) =
                list::everywhere(&inner, Operation::Watch).await.map_err(named(Operation::Watch))?;
            Ok(Page::only(guests).with_unreachable(unreachable))
        }
    })
}

#[async_trait]
impl Events for Proxmox {
    async fn watch(&self, query: &EventQuery) -> Result<EventStream> {
        self.inner.require(Operation::Watch, &[])?;
        self.events.watch(query).await
    }
}
