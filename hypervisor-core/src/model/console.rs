//! An open console: its bytes, both ways.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

trait Duplex: AsyncRead + AsyncWrite + Send {}
impl<T: AsyncRead + AsyncWrite + Send> Duplex for T {}

/// The bytes of an open console: reads give what the guest sends, writes are what is sent to it. It reads to its end when the guest's side ends,
/// and is closed when it is dropped. An error of the backend is inside of the [`io::Error`].
///
/// ```
/// use hypervisor_core::memory::Memory;
/// use hypervisor_core::model::{ConsoleKind, PowerAction, SerialSpec, VmSpec};
/// use hypervisor_core::Compute as _;
/// use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let memory = Memory::new();
/// let vm = memory.create_vm(&VmSpec::new("web-1").serial(SerialSpec::new()).start(true)).await?.output;
/// let mut console = memory.stream_console(&vm, &ConsoleKind::Serial).await?;
/// let mut greeting = [0; 15];
/// console.read_exact(&mut greeting).await?;
/// assert_eq!(&greeting, b"\r\nweb-1 login: ");
/// // The in-memory guest shows what is typed, and nobody is behind it.
/// console.write_all(b"root").await?;
/// let mut echo = [0; 4];
/// console.read_exact(&mut echo).await?;
/// assert_eq!(&echo, b"root");
/// memory.power_vm(&vm, &PowerAction::PowerOff).await?;
/// assert_eq!(console.read(&mut echo).await?, 0);
/// # Ok(()) }
/// ```
pub struct ConsoleStream(Pin<Box<dyn Duplex>>);

impl ConsoleStream {
    /// What these bytes go through.
    pub fn new(stream: impl AsyncRead + AsyncWrite + Send + 'static) -> Self {
        Self(Box::pin(stream))
    }
}

impl fmt::Debug for ConsoleStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConsoleStream").finish_non_exhaustive()
    }
}

impl AsyncRead for ConsoleStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.0.as_mut().poll_read(cx, buf)
    }
}

impl AsyncWrite for ConsoleStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.0.as_mut().poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.as_mut().poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.as_mut().poll_shutdown(cx)
    }
}
