//! WebSockets, with the trust and the deadlines of [`Http`].

use std::fmt;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures::{Sink, SinkExt as _, Stream, StreamExt as _};
use secrecy::{ExposeSecret as _, SecretString};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::time::{Instant, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::error::Error as WsError;
use tokio_tungstenite::tungstenite::handshake::client::generate_key;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Bytes as WsBytes, Message as Raw};

use super::client::{Http, marked};
use super::request::Request;
use super::response::Response;
use crate::error::{Error, ErrorKind, Result};
use crate::model::ConsoleStream;

trait Transport: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Transport for T {}

/// What goes over a [`WebSocket`]. Pings are answered below this.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Message {
    /// Text.
    Text(String),
    /// Bytes.
    Binary(Bytes),
}

/// An open WebSocket: a stream of the messages that come in, and a sink for those that go out. It ends (`None`) when the other side closes
/// it; a connection that breaks is [`Transport`](ErrorKind::Transport).
pub struct WebSocket {
    inner: WebSocketStream<Box<dyn Transport>>,
    protocol: Option<String>,
    heard: Instant,
}

impl fmt::Debug for WebSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebSocket").field("protocol", &self.protocol).finish_non_exhaustive()
    }
}

impl WebSocket {
    /// The sub-protocol that the server has chosen of those asked for (`Sec-WebSocket-Protocol`).
    #[must_use]
    pub fn protocol(&self) -> Option<&str> {
        self.protocol.as_deref()
    }

    /// How long nothing has come in, pings and their answers included. It counts only what has been read: somebody has to read on.
    #[must_use]
    pub fn silent_for(&self) -> Duration {
        self.heard.elapsed()
    }

    /// Its messages as the bytes of a console: what is written goes out in binary messages.
    #[must_use]
    pub fn into_console(self) -> ConsoleStream {
        ConsoleStream::new(Carried { socket: self, rest: Bytes::new() })
    }

    /// Sends a ping; the answer is not seen, but a dead connection fails at some later read.
    ///
    /// # Errors
    /// [`Transport`](ErrorKind::Transport).
    pub async fn ping(&mut self) -> Result<()> {
        self.inner.send(Raw::Ping(WsBytes::new())).await.map_err(|error| broken(&error))
    }
}

impl Stream for WebSocket {
    type Item = Result<Message>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        loop {
            let next = std::task::ready!(this.inner.poll_next_unpin(context));
            this.heard = Instant::now();
            return Poll::Ready(match next {
                Some(Ok(Raw::Text(text))) => Some(Ok(Message::Text(text.as_str().to_owned()))),
                Some(Ok(Raw::Binary(bytes))) => Some(Ok(Message::Binary(bytes))),
                Some(Ok(Raw::Close(_)) | Err(WsError::ConnectionClosed | WsError::AlreadyClosed)) | None => {
                    None
                }
                Some(Ok(_)) => continue,
                Some(Err(error)) => Some(Err(broken(&error))),
            });
        }
    }
}

impl Sink<Message> for WebSocket {
    type Error = Error;

    fn poll_ready(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        self.inner.poll_ready_unpin(context).map_err(|error| broken(&error))
    }

    fn start_send(mut self: Pin<&mut Self>, message: Message) -> Result<()> {
        let raw = match message {
            Message::Text(text) => Raw::Text(text.into()),
            Message::Binary(bytes) => Raw::Binary(bytes),
        };
        self.inner.start_send_unpin(raw).map_err(|error| broken(&error))
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        self.inner.poll_flush_unpin(context).map_err(|error| broken(&error))
    }

    fn poll_close(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        self.inner.poll_close_unpin(context).map_err(|error| broken(&error))
    }
}

/// Bytes in messages.
struct Carried {
    socket: WebSocket,
    /// What is left of the last message.
    rest: Bytes,
}

/// No message is longer.
const LONGEST: usize = 16 << 10;

impl AsyncRead for Carried {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        while this.rest.is_empty() {
            this.rest = match std::task::ready!(this.socket.poll_next_unpin(context)) {
                Some(Ok(Message::Binary(bytes))) => bytes,
                Some(Ok(Message::Text(text))) => text.into(),
                Some(Err(error)) => return Poll::Ready(Err(io::Error::other(error))),
                None => return Poll::Ready(Ok(())),
            };
        }
        buf.put_slice(&this.rest.split_to(this.rest.len().min(buf.remaining())));
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Carried {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        std::task::ready!(self.socket.poll_ready_unpin(context)).map_err(io::Error::other)?;
        let part = buf.get(..buf.len().min(LONGEST)).unwrap_or_default();
        let sent = self.socket.start_send_unpin(Message::Binary(Bytes::copy_from_slice(part)));
        Poll::Ready(sent.map(|()| part.len()).map_err(io::Error::other))
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.socket.poll_flush_unpin(context).map_err(io::Error::other)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.socket.poll_close_unpin(context).map_err(io::Error::other)
    }
}

impl Http {
    /// Opens a WebSocket at the endpoint that answered last.
    ///
    /// # Errors
    /// [`Connect`](ErrorKind::Connect), [`Timeout`](ErrorKind::Timeout) as for [`send`](Self::send); where the server does not switch protocols,
    /// what [`Response::error`](super::Response::error) makes of its answer.
    pub async fn websocket(&self, request: Request) -> Result<WebSocket> {
        self.greeted(request, None, Response::error).await
    }

    /// The same, and a first message of bytes that is a secret: it is in no log, not even in those of the libraries below.
    ///
    /// # Errors
    /// As [`websocket`](Self::websocket).
    pub async fn websocket_with_secret(&self, request: Request, first: &SecretString) -> Result<WebSocket> {
        self.greeted(request, Some(first), Response::error).await
    }

    /// The same, but where the server does not switch protocols its whole answer is handed to `refusal`, which knows the server's errors.
    ///
    /// # Errors
    /// As [`websocket`](Self::websocket), and what `refusal` makes of an answer.
    pub async fn websocket_or(
        &self,
        request: Request,
        refusal: impl FnOnce(&Response) -> Error + Send,
    ) -> Result<WebSocket> {
        self.greeted(request, None, refusal).await
    }

    async fn greeted(
        &self,
        request: Request,
        first: Option<&SecretString>,
        refusal: impl FnOnce(&Response) -> Error + Send,
    ) -> Result<WebSocket> {
        let key = generate_key();
        let mut request = request
            .header("connection", "Upgrade")
            .header("upgrade", "websocket")
            .header("sec-websocket-version", "13")
            .header("sec-websocket-key", &key);
        request.check().map_err(|error| marked(&request, error))?;
        let wait = request.deadline.unwrap_or(self.config().request_timeout);
        let opening = self.open(&request, &key, first, refusal);
        let opened = timeout(wait, opening).await;
        let late = || Error::new(ErrorKind::Timeout, format!("the WebSocket was not open within {wait:?}"));
        opened.unwrap_or_else(|_| Err(late())).map_err(|error| marked(&request, error))
    }

    /// The handshake is a request like any other: the WebSocket library would write its headers, credentials included, into a log.
    async fn open(
        &self,
        request: &Request,
        key: &str,
        first: Option<&SecretString>,
        refusal: impl FnOnce(&Response) -> Error + Send,
    ) -> Result<WebSocket> {
        let head = self.alone(request, self.url(request, self.base())).await?;
        if head.raw.status().as_u16() != 101 {
            return Err(refusal(&self.whole(request, head).await?));
        }
        let header = |name: &str| head.raw.headers().get(name).and_then(|value| value.to_str().ok());
        if header("sec-websocket-accept") != Some(&*derive_accept_key(key.as_bytes())) {
            let why = "the answer to the WebSocket's handshake does not fit the question";
            return Err(Error::new(ErrorKind::Protocol, why));
        }
        let protocol = header("sec-websocket-protocol").map(str::to_owned);
        let gone = |why: String| Error::new(ErrorKind::Transport, format!("the WebSocket broke: {why}"));
        let mut transport = head.raw.upgrade().await.map_err(|error| gone(error.to_string()))?;
        if let Some(first) = first {
            let sent = transport.write_all(&frame(first.expose_secret().as_bytes())).await;
            sent.map_err(|error| gone(error.to_string()))?;
            transport.flush().await.map_err(|error| gone(error.to_string()))?;
        }
        let limit = usize::try_from(self.config().max_body.as_bytes()).ok();
        let config = WebSocketConfig::default().max_message_size(limit).max_frame_size(limit);
        let transport: Box<dyn Transport> = Box::new(transport);
        let inner = WebSocketStream::from_raw_socket(transport, Role::Client, Some(config)).await;
        Ok(WebSocket { inner, protocol, heard: Instant::now() })
    }
}

/// A whole message of bytes, masked as a client's has to be (RFC 6455, 5.2).
fn frame(payload: &[u8]) -> Vec<u8> {
    const BINARY: u8 = 0x82;
    const MASKED: u8 = 0x80;
    let mut frame = vec![BINARY];
    match (u8::try_from(payload.len()), u16::try_from(payload.len())) {
        (Ok(short), _) if short < 126 => frame.push(MASKED | short),
        (_, Ok(medium)) => {
            frame.push(MASKED | 126);
            frame.extend(medium.to_be_bytes());
        }
        _ => {
            frame.push(MASKED | 127);
            frame.extend(u64::try_from(payload.len()).unwrap_or(u64::MAX).to_be_bytes());
        }
    }
    let random = uuid::Uuid::new_v4();
    let (mask, _) = random.as_bytes().split_at(4);
    frame.extend(mask);
    frame.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    frame
}

fn broken(error: &WsError) -> Error {
    let kind = match error {
        WsError::Capacity(_) | WsError::Protocol(_) | WsError::Utf8(_) => ErrorKind::Protocol,
        _ => ErrorKind::Transport,
    };
    Error::new(kind, format!("the WebSocket broke: {error}"))
}
