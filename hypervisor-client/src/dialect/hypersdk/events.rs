//! Events: what the daemon sends over its WebSocket is about jobs, so that changes of guests are found by looking again.

use async_trait::async_trait;
use hypervisor_core::feed::{Pace, Poller};
use hypervisor_core::model::{EventQuery, EventStream, Page};
use hypervisor_core::traits::Events;
use hypervisor_core::{Operation, Result};

use super::compute::info;
use super::{Api, HyperSdk, named};

/// One look is one request: the list has names and states, which is all that is compared.
pub(super) fn poller(api: &Api) -> Poller {
    let api = api.clone();
    Poller::new(Pace::default(), move || {
        let api = api.clone();
        async move {
            let domains = api.domains().await.map_err(named(Operation::Watch))?;
            Ok(Page::only(domains.into_iter().map(info).collect()))
        }
    })
}

#[async_trait]
impl Events for HyperSdk {
    async fn watch(&self, query: &EventQuery) -> Result<EventStream> {
        self.require(Operation::Watch, &[])?;
        self.events.watch(query).await
    }
}
