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
pub(crate) struct Chunks {
    body: Option<BodyDataStream>,
    /// How long nothing may come while somebody waits for it.
    within: Duration,
    waiting: Option<Pin<Box<tokio::time::Sleep>>>,
}

impl Chunks {
    pub(crate) fn new(body: BodyDataStream, within: Duration) -> Self {
        Self { body: Some(body), within, waiting: None }
    }

    /// Whether the wait for the next chunk has lasted too long.
    fn too_long(&mut self, context: &mut Context<'_>) -> bool {
        let within = self.within;
        let waiting = self.waiting.get_or_insert_with(|| Box::pin(tokio::time::sleep(within)));
        waiting.as_mut().poll(context).is_ready()
    }
}

impl Stream for Chunks {
    type Item = Result<Bytes, axum::Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Some(body) = &mut self.body else { return Poll::Ready(None) };
        let next = body.poll_next_unpin(context);
        if next.is_pending() {
            if !self.too_long(context) {
                return Poll::Pending;
            }
            self.body = None;
            let why = format!("nothing came for {:?}", self.within);
            return Poll::Ready(Some(Err(axum::Error::new(std::io::Error::other(why)))));
        }
        self.waiting = None;
        if matches!(next, Poll::Ready(None | Some(Err(_)))) {
            self.body = None;
        }
        next
    }
}

impl Drop for Chunks {
    fn drop(&mut self) {
        if let (Some(rest), Ok(runtime)) = (self.body.take(), Handle::try_current()) {
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

    #[tokio::test(start_paused = true)]
    async fn a_body_that_stops_coming_is_not_waited_for_and_one_that_nobody_reads_is_not_late() {
        let (mut send, chunks) = futures::channel::mpsc::channel::<Result<Bytes, std::io::Error>>(4);
        let mut body = Chunks::new(Body::from_stream(chunks).into_data_stream(), Duration::from_secs(30));
        for _ in 0..2 {
            send.try_send(Ok(Bytes::from_static(b"x"))).unwrap();
            assert!(body.next().await.unwrap().is_ok());
            // The backend takes its time.
            tokio::time::sleep(Duration::from_secs(100)).await;
        }
        let late = tokio::time::timeout(Duration::from_secs(60), body.next()).await;
        let error = late.expect("it still waits").unwrap().unwrap_err();
        assert!(error.to_string().contains("30s"), "{error}");
        assert!(body.next().await.is_none());
    }

    #[tokio::test]
    async fn what_is_left_is_read_and_not_more_than_that() {
        for (chunks, expected) in [(5, 5), (200, 64)] {
            let read = Arc::new(AtomicUsize::new(0));
            let counted = Arc::clone(&read);
            let body = futures::stream::iter(0..chunks).map(move |_| {
                counted.fetch_add(1, Ordering::Relaxed);
                Ok::<_, std::io::Error>(Bytes::from(vec![0; 1 << 20]))
            });
            let mut body = Chunks::new(Body::from_stream(body).into_data_stream(), PATIENCE);
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
