//! What a handler leaves unread of a request's body.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::BodyDataStream;
use bytes::Bytes;
use futures::{Stream, StreamExt};
use tokio::runtime::Handle;

/// So much is read on, and for so long.
const MOST: usize = 64 << 20;
const PATIENCE: Duration = Duration::from_secs(10);

/// The chunks of a body. Where a handler answers before their end, the rest is read on and thrown away for a while: a client that is still sending
/// would find its connection reset, and never see the answer.
pub(crate) struct Chunks(Option<BodyDataStream>);

impl Chunks {
    pub(crate) fn new(body: BodyDataStream) -> Self {
        Self(Some(body))
    }
}

impl Stream for Chunks {
    type Item = Result<Bytes, axum::Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Some(body) = &mut self.0 else { return Poll::Ready(None) };
        let next = body.poll_next_unpin(context);
        if matches!(next, Poll::Ready(None | Some(Err(_)))) {
            self.0 = None;
        }
        next
    }
}

impl Drop for Chunks {
    fn drop(&mut self) {
        if let (Some(rest), Ok(runtime)) = (self.0.take(), Handle::try_current()) {
            // It ends by itself: with the connection, the body, or the time.
            drop(runtime.spawn(tokio::time::timeout(PATIENCE, read_on(rest))));
        }
    }
}

async fn read_on(mut rest: BodyDataStream) {
    let mut left = MOST;
    while let Some(Ok(chunk)) = rest.next().await {
        left = left.saturating_sub(chunk.len());
        if left == 0 {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use axum::body::Body;

    use super::*;

    #[tokio::test]
    async fn what_is_left_is_read_and_not_more_than_that() {
        for (chunks, expected) in [(5, 5), (200, 64)] {
            let read = Arc::new(AtomicUsize::new(0));
            let counted = Arc::clone(&read);
            let body = futures::stream::iter(0..chunks).map(move |_| {
                counted.fetch_add(1, Ordering::Relaxed);
                Ok::<_, std::io::Error>(Bytes::from(vec![0; 1 << 20]))
            });
            let mut body = Chunks::new(Body::from_stream(body).into_data_stream());
            assert_eq!(body.next().await.unwrap().unwrap().len(), 1 << 20);
            drop(body);
            for _ in 0..1000 {
                tokio::task::yield_now().await;
            }
            // The one that the handler has read does not count.
            let most = if chunks > 64 { expected + 1 } else { expected };
            assert_eq!(read.load(Ordering::Relaxed), most);
        }
    }
}
