//! The bounded room between a console's reader and writer and the thread that serves it.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use hypervisor_core::{Error, ErrorKind, Result};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// How much is held of what is typed.
const ROOM: usize = 64 << 10;
/// How much is held of what the guest writes.
pub(super) const UNREAD: usize = 1 << 20;
/// How much is given to libvirt at a time.
const PART: usize = 4 << 10;

#[derive(Default)]
pub(super) struct Pipe {
    state: Mutex<State>,
    wake: Condvar,
}

#[derive(Default)]
struct State {
    /// On its way to the guest.
    input: VecDeque<u8>,
    /// From the guest.
    output: VecDeque<u8>,
    reader: Option<Waker>,
    writer: Option<Waker>,
    /// The guest's side is over, and how.
    end: Option<Result<()>>,
    /// Our side is.
    closed: bool,
}

/// What the thread has to do.
pub(super) struct Look {
    pub(super) input: Vec<u8>,
    pub(super) room: usize,
}

impl Pipe {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What there is to send, and how much may be received; `None` once nobody is there any more.
    pub(super) fn look(&self) -> Option<Look> {
        let state = self.lock();
        let input = state.input.iter().take(PART).copied().collect();
        (!state.closed).then(|| Look { input, room: UNREAD.saturating_sub(state.output.len()) })
    }

    /// So much of the input is on its way.
    pub(super) fn sent(&self, count: usize) {
        let mut state = self.lock();
        let count = count.min(state.input.len());
        state.input.drain(..count);
        wake(state.writer.take());
    }

    /// The guest says this.
    pub(super) fn received(&self, data: &[u8]) {
        let mut state = self.lock();
        state.output.extend(data);
        wake(state.reader.take());
    }

    /// Waits until there is something to do, or the time is over.
    pub(super) fn wait(&self, pause: Duration) {
        let idle = |state: &mut State| state.input.is_empty() && !state.closed;
        drop(self.wake.wait_timeout_while(self.lock(), pause, idle));
    }
}

fn wake(waker: Option<Waker>) {
    if let Some(waker) = waker {
        waker.wake();
    }
}

/// Tells reader and writer that the thread has ended, however it does.
pub(super) struct Ending(Arc<Pipe>);

impl Ending {
    pub(super) fn of(pipe: Arc<Pipe>) -> Self {
        Self(pipe)
    }

    pub(super) fn pipe(&self) -> &Pipe {
        &self.0
    }

    pub(super) fn end(&self, outcome: Result<()>) {
        let mut state = self.0.lock();
        state.end.get_or_insert(outcome);
        wake(state.reader.take());
        wake(state.writer.take());
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        self.end(Err(Error::new(ErrorKind::Backend, "the console's thread has ended")));
    }
}

/// An open serial console. Reads give what the guest writes, writes are what is typed; `flush` waits until all is on its
/// way. It reads to its end when the guest powers off, and is closed when dropped.
pub struct ConsoleStream(Arc<Pipe>);

impl ConsoleStream {
    pub(super) fn new(pipe: Arc<Pipe>) -> Self {
        Self(pipe)
    }
}

impl fmt::Debug for ConsoleStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.0.lock();
        f.debug_struct("ConsoleStream")
            .field("unread", &state.output.len())
            .field("unsent", &state.input.len())
            .field("ended", &state.end.is_some())
            .finish_non_exhaustive()
    }
}

impl Drop for ConsoleStream {
    fn drop(&mut self) {
        self.0.lock().closed = true;
        self.0.wake.notify_all();
    }
}

fn broken(end: &Result<()>) -> io::Error {
    match end {
        Ok(()) => io::Error::new(io::ErrorKind::BrokenPipe, "the console has ended"),
        Err(error) => io::Error::other(error.clone()),
    }
}

impl AsyncRead for ConsoleStream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut state = self.0.lock();
        if buffer.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        if state.output.is_empty() {
            return match &state.end {
                Some(Ok(())) => Poll::Ready(Ok(())),
                Some(end) => Poll::Ready(Err(broken(end))),
                None => {
                    state.reader = Some(cx.waker().clone());
                    Poll::Pending
                }
            };
        }
        let full = state.output.len() >= UNREAD;
        let (first, _) = state.output.as_slices();
        let count = first.len().min(buffer.remaining());
        buffer.put_slice(first.get(..count).unwrap_or_default());
        state.output.drain(..count);
        drop(state);
        if full {
            self.0.wake.notify_all();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for ConsoleStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        let mut state = self.0.lock();
        if let Some(end) = &state.end {
            return Poll::Ready(Err(broken(end)));
        }
        if state.closed {
            return Poll::Ready(Err(broken(&Ok(()))));
        }
        let count = data.len().min(ROOM.saturating_sub(state.input.len()));
        if count == 0 && !data.is_empty() {
            state.writer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        state.input.extend(data.iter().take(count));
        drop(state);
        self.0.wake.notify_all();
        Poll::Ready(Ok(count))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut state = self.0.lock();
        if state.input.is_empty() {
            return Poll::Ready(Ok(()));
        }
        if let Some(end) = &state.end {
            return Poll::Ready(Err(broken(end)));
        }
        state.writer = Some(cx.waker().clone());
        Poll::Pending
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // The guest's side goes on: a serial port has no half that can be closed.
        self.poll_flush(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    #[tokio::test]
    async fn bytes_go_both_ways_and_the_end_comes_last() {
        let pipe = Arc::new(Pipe::default());
        let mut stream = ConsoleStream::new(Arc::clone(&pipe));
        let ending = Ending::of(Arc::clone(&pipe));
        stream.write_all(b"ls\n").await.unwrap();
        assert_eq!(pipe.look().unwrap().input, b"ls\n");
        pipe.sent(3);
        stream.flush().await.unwrap();
        pipe.received(b"bin ");
        pipe.received(b"dev");
        ending.end(Ok(()));
        let mut all = String::new();
        stream.read_to_string(&mut all).await.unwrap();
        assert_eq!(all, "bin dev");
        assert_eq!(stream.write_all(b"x").await.unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    }

    #[tokio::test]
    async fn both_sides_are_bounded() {
        let pipe = Arc::new(Pipe::default());
        let mut stream = ConsoleStream::new(Arc::clone(&pipe));
        pipe.received(&vec![0; UNREAD]);
        assert_eq!(pipe.look().unwrap().room, 0);
        let writing = stream.write_all(&[0; ROOM + 1]);
        assert!(tokio::time::timeout(Duration::from_millis(20), writing).await.is_err());
        let mut part = [0; 100];
        stream.read_exact(&mut part).await.unwrap();
        assert_eq!(pipe.look().unwrap().room, 100);
        drop(stream);
        assert!(pipe.look().is_none());
    }

    #[tokio::test]
    async fn a_thread_that_dies_is_an_error() {
        let pipe = Arc::new(Pipe::default());
        let mut stream = ConsoleStream::new(Arc::clone(&pipe));
        let reading = tokio::spawn(async move { stream.read_u8().await });
        tokio::task::yield_now().await;
        drop(Ending::of(pipe));
        assert!(reading.await.unwrap().unwrap_err().to_string().contains("thread has ended"));
    }
}
