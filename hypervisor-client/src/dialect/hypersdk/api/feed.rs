//! The daemon's WebSocket.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures::{Stream, StreamExt as _};
use hypervisor_core::Result;
use hypervisor_core::http::{Message, Request, WebSocket};

use super::Api;
use crate::dialect::hypersdk::routes;
use crate::dialect::hypersdk::wire::FeedFrame;

/// What the daemon says, as it comes: see [`Api::feed`]. The WebSocket is closed when this is dropped.
pub struct Feed(WebSocket);

impl fmt::Debug for Feed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Feed").finish_non_exhaustive()
    }
}

/// Ends where the daemon closes the WebSocket. A frame that cannot be read is an `Err` item, and does not end it.
impl Stream for Feed {
    type Item = Result<FeedFrame>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            return Poll::Ready(match ready!(self.0.poll_next_unpin(context)) {
                Some(Ok(Message::Text(text))) => Some(FeedFrame::parse(&text)),
                Some(Ok(_)) => continue,
                Some(Err(error)) => Some(Err(error)),
                None => None,
            });
        }
    }
}

impl Api {
    /// Listens to the daemon's WebSocket (`GET /ws`): first the jobs and their numbers, then about once a second its load and its latest
    /// jobs. Of machines it says nothing: see [`watch`](hypervisor_core::traits::Events::watch) for those. Where the daemon was built with
    /// authentication, it takes an API key here and no session.
    ///
    /// # Errors
    /// `Unauthenticated`, `Unsupported` where there is no such route, and what connecting says.
    pub async fn feed(&self) -> Result<Feed> {
        let token = self.token().await;
        let request = self.signed(Request::get(routes::FEED.path), token.as_ref());
        self.http.websocket(request).await.map(Feed)
    }
}
