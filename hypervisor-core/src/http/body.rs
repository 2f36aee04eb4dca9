//! Streams as bodies of requests.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use futures::stream::{BoxStream, Stream as _};
use http_body::{Body, Frame, SizeHint};
use tokio::sync::Notify;

use crate::error::{Error, Result};
use crate::model::ByteStream;

type Chunks = BoxStream<'static, Result<Bytes>>;

/// The stream stays here until the first byte is asked for, so that an endpoint that cannot be reached leaves it whole for the next.
#[derive(Clone)]
pub(super) struct StreamBody {
    length: u64,
    stream: Arc<Mutex<Option<ByteStream>>>,
    /// Told after each piece: whoever waits for the answer begins to wait anew.
    pub(super) moved: Arc<Notify>,
    /// What the stream failed with: the transport's error would not say.
    pub(super) failure: Arc<Mutex<Option<Error>>>,
}

impl StreamBody {
    pub(super) fn new(stream: ByteStream) -> Self {
        Self {
            length: stream.length(),
            stream: Arc::new(Mutex::new(Some(stream))),
            moved: Arc::new(Notify::new()),
            failure: Arc::default(),
        }
    }

    pub(super) fn body(&self) -> Sending {
        Sending { source: self.clone(), left: self.length, chunks: Mutex::new(None) }
    }
}

/// A body of known length, which is what keeps it from being sent chunked.
pub(super) struct Sending {
    source: StreamBody,
    left: u64,
    /// The lock is never waited for: it makes the stream `Sync`, which a body has to be.
    chunks: Mutex<Option<Chunks>>,
}

impl Body for Sending {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>>>> {
        let this = self.get_mut();
        let slot = this.chunks.get_mut().unwrap_or_else(PoisonError::into_inner);
        if slot.is_none() {
            let stream = this.source.stream.lock().unwrap_or_else(PoisonError::into_inner).take();
            let Some(stream) = stream else { return Poll::Ready(None) };
            *slot = Some(stream.into_chunks());
        }
        let Some(chunks) = slot else { return Poll::Ready(None) };
        let polled = Pin::new(chunks).poll_next(context);
        let piece = std::task::ready!(polled);
        this.source.moved.notify_one();
        Poll::Ready(piece.map(|piece| match piece {
            Ok(bytes) => {
                this.left = this.left.saturating_sub(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
                Ok(Frame::data(bytes))
            }
            Err(error) => {
                *this.source.failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(error.clone());
                Err(error)
            }
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}
