//! What changes, and the load of guests and hosts, as streams over one WebSocket.
//!
//! The server's events say only that something about a host's guests, or about the hosts, has changed. What it was is found out by reading
//! the list again and comparing: once for each burst of such frames. Frames about guests that nobody here has subscribed to are for other
//! clients of the same server and are left out.

mod hub;
mod inventory;
mod session;

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use async_trait::async_trait;
use futures::stream::BoxStream;
use futures::{Stream, StreamExt as _};
use hypervisor_core::model::{EventQuery, EventStream};
use hypervisor_core::traits::Events;
use hypervisor_core::{Operation, Result};

use super::backend::Virtumancer;
use super::compute::named;

pub(super) use hub::Hub;

/// Measurements as they come, until an `Err` item says why there are no more.
pub struct Loads<T>(BoxStream<'static, Result<T>>);

impl<T> fmt::Debug for Loads<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Loads").finish_non_exhaustive()
    }
}

impl<T> Stream for Loads<T> {
    type Item = Result<T>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_next_unpin(context)
    }
}

#[async_trait]
impl Events for Virtumancer {
    async fn watch(&self, query: &EventQuery) -> Result<EventStream> {
        self.require(Operation::Watch, &[])?;
        let reader = self.inner.hub.watch(query).await.map_err(named(Operation::Watch))?;
        let events = futures::stream::unfold(reader, |mut reader| async move {
            let event = reader.next().await?;
            Some((event, reader))
        });
        Ok(events.boxed())
    }
}
