//! The serial ports of the in-memory guests: a greeting, and what is typed comes back.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// How much is held of what nobody has read yet.
const ROOM: usize = 64 << 10;

#[derive(Debug, Default)]
struct State {
    shown: VecDeque<u8>,
    over: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

/// A serial port that is open. Clones are the same one.
#[derive(Debug, Clone, Default)]
pub(in crate::memory) struct Serial(Arc<Mutex<State>>);

impl Serial {
    pub(super) fn greeting(name: &str) -> Self {
        let serial = Self::default();
        serial.lock().shown.extend(format!("\r\n{name} login: ").bytes());
        serial
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether only the guest's side is left.
    pub(super) fn is_left(&self) -> bool {
        Arc::strong_count(&self.0) == 1
    }

    /// The guest has no power any more.
    pub(super) fn end(&self) {
        let mut state = self.lock();
        state.over = true;
        for waker in [state.reader.take(), state.writer.take()].into_iter().flatten() {
            waker.wake();
        }
    }
}

impl AsyncRead for Serial {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let mut state = self.lock();
        if state.shown.is_empty() && !state.over {
            state.reader = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let count = state.shown.len().min(buf.remaining());
        buf.put_slice(&state.shown.drain(..count).collect::<Vec<u8>>());
        if let Some(writer) = state.writer.take() {
            writer.wake();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Serial {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let mut state = self.lock();
        if state.over {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let room = ROOM.saturating_sub(state.shown.len());
        if room == 0 {
            state.writer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let taken = buf.get(..room.min(buf.len())).unwrap_or_default();
        state.shown.extend(taken);
        if let Some(reader) = state.reader.take() {
            reader.wake();
        }
        Poll::Ready(Ok(taken.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
