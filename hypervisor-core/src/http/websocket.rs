//! WebSockets, with the trust and the deadlines of [`Http`].

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures::{Sink, SinkExt as _, Stream, StreamExt as _};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::error::Error as WsError;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Bytes as WsBytes, Message as Raw};
use url::Url;

use super::client::{Http, marked};
use super::request::Request;
use super::response::Response;
use crate::error::{Error, ErrorKind, Result};

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

impl Http {
    /// Opens a WebSocket at the endpoint that answered last. A proxy of the environment is not used.
    ///
    /// # Errors
    /// [`Connect`](ErrorKind::Connect), [`Timeout`](ErrorKind::Timeout) as for [`send`](Self::send); where the server does not switch protocols,
    /// what [`Response::error`] makes of its answer.
    pub async fn websocket(&self, mut request: Request) -> Result<WebSocket> {
        request.check().map_err(|error| marked(&request, error))?;
        let wait = request.deadline.unwrap_or(self.config().request_timeout);
        let opening = self.open(&request);
        let opened = timeout(wait, opening).await;
        let late = || Error::new(ErrorKind::Timeout, format!("the WebSocket was not open within {wait:?}"));
        opened.unwrap_or_else(|_| Err(late())).map_err(|error| marked(&request, error))
    }

    async fn open(&self, request: &Request) -> Result<WebSocket> {
        let mut url = self.url(request, self.base());
        let transport = self.connect(&url).await?;
        let scheme = if url.scheme() == "https" { "wss" } else { "ws" };
        let cannot =
            |why: &str| Error::new(ErrorKind::Config, format!("the WebSocket's URL cannot be made: {why}"));
        url.set_scheme(scheme).map_err(|()| cannot("scheme"))?;
        let mut upgrade = url.as_str().into_client_request().map_err(|error| cannot(&error.to_string()))?;
        upgrade.headers_mut().extend(request.headers.clone());
        let limit = usize::try_from(self.config().max_body.as_bytes()).ok();
        let config = WebSocketConfig::default().max_message_size(limit).max_frame_size(limit);
        match tokio_tungstenite::client_async_with_config(upgrade, transport, Some(config)).await {
            Ok((inner, answer)) => {
                let protocol = answer.headers().get("sec-websocket-protocol");
                let protocol = protocol.and_then(|name| name.to_str().ok()).map(str::to_owned);
                Ok(WebSocket { inner, protocol, heard: Instant::now() })
            }
            Err(WsError::Http(answer)) => {
                let (head, body) = answer.into_parts();
                let said = head.extensions.get::<hyper::ext::ReasonPhrase>();
                let reason = said.map(|reason| String::from_utf8_lossy(reason.as_bytes()).into_owned());
                let response = Response {
                    status: head.status.as_u16(),
                    reason: reason.unwrap_or_else(|| {
                        head.status.canonical_reason().unwrap_or("unknown status").to_owned()
                    }),
                    headers: head.headers,
                    body: body.unwrap_or_default().into(),
                    reads: true,
                    operation: request.operation,
                };
                Err(response.error())
            }
            Err(error) => Err(broken(&error)),
        }
    }

    async fn connect(&self, url: &Url) -> Result<Box<dyn Transport>> {
        let (host, port) = (url.host_str().unwrap_or_default(), url.port_or_known_default().unwrap_or(443));
        let host = host.trim_matches(['[', ']']);
        let unreachable =
            |why: String| Error::new(ErrorKind::Connect, why).with_target("server", format!("{host}:{port}"));
        let connecting = async {
            let tcp =
                TcpStream::connect((host, port)).await.map_err(|error| unreachable(error.to_string()))?;
            // Keystrokes are small; waiting for more of them is felt.
            tcp.set_nodelay(true).map_err(|error| unreachable(error.to_string()))?;
            if url.scheme() != "https" {
                return Ok(Box::new(tcp) as Box<dyn Transport>);
            }
            let name =
                ServerName::try_from(host.to_owned()).map_err(|error| unreachable(error.to_string()))?;
            let tls = tokio_rustls::TlsConnector::from(self.tls());
            let stream = tls.connect(name, tcp).await.map_err(|error| unreachable(error.to_string()))?;
            Ok(Box::new(stream) as Box<dyn Transport>)
        };
        let wait = self.config().connect_timeout;
        let late = || unreachable(format!("no connection within {wait:?}"));
        timeout(wait, connecting).await.unwrap_or_else(|_| Err(late()))
    }
}

fn broken(error: &WsError) -> Error {
    let kind = match error {
        WsError::Capacity(_) | WsError::Protocol(_) | WsError::Utf8(_) => ErrorKind::Protocol,
        _ => ErrorKind::Transport,
    };
    Error::new(kind, format!("the WebSocket broke: {error}"))
}
