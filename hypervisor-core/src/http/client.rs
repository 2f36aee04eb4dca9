//! Sending, with deadlines, bounds and the one question after a failure: may it have had an effect?

use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::stream::StreamExt as _;
use reqwest::Method;
use tokio::time::{Instant, sleep_until, timeout, timeout_at};
use url::Url;

use super::config::{HttpConfig, config_error};
use super::request::{Body, Request};
use super::response::Response;
use super::trust;
use crate::error::{Effect, Error, ErrorKind, Result, Retry};
use crate::model::ByteStream;

/// How many redirects within one origin are followed.
const REDIRECTS: usize = 5;
/// Connections kept for later to one endpoint.
const IDLE_CONNECTIONS: usize = 8;

/// Takes the pieces of a body; with each goes how many bytes are to come after it, where the server says.
pub type Take<'a> = dyn FnMut(&[u8], Option<u64>) -> Result<()> + Send + 'a;

/// A client of one server or cluster. Clones share its connections.
#[derive(Clone)]
pub struct Http(Arc<Inner>);

struct Inner {
    config: HttpConfig,
    client: reqwest::Client,
    /// For WebSockets: each on a connection of its own.
    sockets: reqwest::Client,
    /// The endpoint that answered last.
    good: AtomicUsize,
}

impl fmt::Debug for Http {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Http").field("config", &self.0.config).finish_non_exhaustive()
    }
}

/// An answer whose body has not been read.
pub(super) struct Head {
    pub(super) raw: reqwest::Response,
    deadline: Instant,
}

impl Http {
    /// Sets up TLS and the pool of connections; connects to nothing yet.
    ///
    /// # Errors
    /// [`Config`](ErrorKind::Config) where the certificates of [`HttpConfig::trust`] cannot be used.
    pub fn new(config: HttpConfig) -> Result<Self> {
        let tls = trust::client_config(&config)?;
        let client = |idle: usize| {
            reqwest::Client::builder()
                .tls_backend_preconfigured(tls.clone())
                .http1_only()
                .redirect(reqwest::redirect::Policy::none())
                .connect_timeout(config.connect_timeout)
                .pool_idle_timeout(config.idle_timeout)
                .pool_max_idle_per_host(idle)
                .user_agent(&config.user_agent)
                .build()
                .map_err(|error| config_error(format!("the HTTP client cannot be set up: {}", cause(&error))))
        };
        let (client, sockets) = (client(IDLE_CONNECTIONS)?, client(0)?);
        Ok(Self(Arc::new(Inner { config, client, sockets, good: AtomicUsize::new(0) })))
    }

    /// The endpoint that answered last.
    #[must_use]
    pub fn base(&self) -> &Url {
        let good = self.0.good.load(Ordering::Relaxed);
        self.0.config.endpoints.get(good).unwrap_or(&self.0.config.first)
    }

    /// The configuration.
    #[must_use]
    pub fn config(&self) -> &HttpConfig {
        &self.0.config
    }

    /// Sends a request and reads the whole answer, whatever its status. A redirect within the same origin is followed for calls that
    /// read; none is followed to another.
    ///
    /// # Errors
    /// [`Connect`](ErrorKind::Connect) where no endpoint could be connected to: nothing was sent. [`Timeout`](ErrorKind::Timeout) and
    /// [`Transport`](ErrorKind::Transport) where the answer did not come or broke off: a call that reads had no effect, any other may have.
    /// [`Protocol`](ErrorKind::Protocol) where the body is larger than [`HttpConfig::max_body`], or the server redirects elsewhere.
    /// [`InvalidInput`](ErrorKind::InvalidInput) where a header or body of the request could not be made.
    pub async fn send(&self, mut request: Request) -> Result<Response> {
        request.check().map_err(|error| marked(&request, error))?;
        let head = self.head(&request).await?;
        self.whole(&request, head).await.map_err(|error| marked(&request, error))
    }

    /// Sends a request and hands the answer's body over piece by piece as it comes, where the status is 2xx; the `Response` has no body
    /// then. Any other answer is read whole. For long answers, which need not be in memory at once.
    ///
    /// # Errors
    /// As [`send`](Self::send); what `take` ends with: the rest is not read then. What it was given before any error is worth nothing.
    pub async fn read(&self, mut request: Request, take: &mut Take<'_>) -> Result<Response> {
        request.check().map_err(|error| marked(&request, error))?;
        let head = self.head(&request).await?;
        let answer = if head.raw.status().is_success() {
            let mut left = head.raw.content_length();
            let mut take = |piece: Bytes| {
                let length = u64::try_from(piece.len()).unwrap_or(u64::MAX);
                left = left.map(|left| left.saturating_sub(length));
                take(&piece, left)
            };
            self.pieces(&request, head, &mut take).await
        } else {
            self.whole(&request, head).await
        };
        answer.map_err(|error| marked(&request, error))
    }

    /// Sends a request and gives the answer's body as a stream, where the status is 2xx; the `Response` has no body then. Any other answer
    /// is read whole.
    ///
    /// # Errors
    /// As [`send`](Self::send); [`Protocol`](ErrorKind::Protocol) where the answer does not say its length. A piece that does not come within
    /// [`HttpConfig::request_timeout`] ends the stream with [`Timeout`](ErrorKind::Timeout).
    pub async fn download(&self, mut request: Request) -> Result<(Response, Option<ByteStream>)> {
        request.check().map_err(|error| marked(&request, error))?;
        let head = self.head(&request).await?;
        if !head.raw.status().is_success() {
            let response = self.whole(&request, head).await.map_err(|error| marked(&request, error))?;
            return Ok((response, None));
        }
        let response = without_body(&request, &head.raw);
        let Some(length) = head.raw.content_length() else {
            let error = Error::new(ErrorKind::Protocol, "the answer does not say how many bytes it has");
            return Err(marked(&request, error));
        };
        let pause = request.deadline.unwrap_or(self.0.config.request_timeout);
        let chunks = Box::pin(head.raw.bytes_stream());
        let chunks = futures::stream::unfold(Some(chunks), move |chunks| async move {
            let mut chunks = chunks?;
            match timeout(pause, chunks.next()).await {
                Ok(Some(Ok(piece))) => Some((Ok(piece), Some(chunks))),
                Ok(Some(Err(error))) => Some((Err(broken(&error)), None)),
                Ok(None) => None,
                Err(_) => {
                    let error = Error::new(ErrorKind::Timeout, format!("no byte came for {pause:?}"));
                    Some((Err(error.with_effect(Effect::None)), None))
                }
            }
        });
        Ok((response, Some(ByteStream::new(length, chunks))))
    }

    async fn head(&self, request: &Request) -> Result<Head> {
        let endpoints = &self.0.config.endpoints;
        let first = self.0.good.load(Ordering::Relaxed);
        let mut last = None;
        for step in 0..endpoints.len() {
            let at = (first + step) % endpoints.len();
            let Some(base) = endpoints.get(at) else { continue };
            match self.follow(request, base).await {
                Ok(head) => {
                    self.0.good.store(at, Ordering::Relaxed);
                    return Ok(head);
                }
                Err(error) if error.kind() == ErrorKind::Connect => last = Some((base, error)),
                Err(error) => return Err(marked(request, error)),
            }
        }
        let error = last.map_or_else(
            || config_error("there is no endpoint"),
            |(base, error)| {
                let host = base.host_str().unwrap_or_default();
                let port = base.port_or_known_default().unwrap_or_default();
                error.with_target("server", format!("{host}:{port}"))
            },
        );
        let tried = match endpoints.len() {
            0 | 1 => error,
            tried => error.with_hint(format!("None of the {tried} endpoints could be connected to")),
        };
        Err(marked(request, tried))
    }

    async fn follow(&self, request: &Request, base: &Url) -> Result<Head> {
        let mut url = self.url(request, base);
        for _ in 0..=REDIRECTS {
            let head = self.once(request, url.clone()).await?;
            if !head.raw.status().is_redirection() || head.raw.status().as_u16() == 304 {
                return Ok(head);
            }
            let target = head.raw.headers().get("location").and_then(|target| target.to_str().ok());
            let Some(next) = target.and_then(|target| url.join(target).ok()) else {
                return Ok(head);
            };
            let status = head.raw.status().as_u16();
            if next.origin() != url.origin() {
                let elsewhere = next.host_str().unwrap_or("nowhere");
                let message = format!(
                    "the server answered {status} and pointed to {elsewhere}, where nothing was sent"
                );
                return Err(Error::new(ErrorKind::Protocol, message)
                    .with_effect(Effect::None)
                    .with_code(status.to_string()));
            }
            if !request.reads || request.method != Method::GET {
                let message = format!(
                    "the server answered {status} and pointed to {}; a call that writes is not sent twice",
                    next.path()
                );
                return Err(Error::new(ErrorKind::Protocol, message).with_code(status.to_string()));
            }
            url = next;
        }
        Err(Error::new(ErrorKind::Protocol, format!("the server redirected more than {REDIRECTS} times")))
    }

    pub(super) fn url(&self, request: &Request, base: &Url) -> Url {
        let mut url = base.clone();
        url.set_path(&format!("{}{}", base.path().trim_end_matches('/'), request.path));
        if !request.query.is_empty() {
            url.query_pairs_mut().extend_pairs(&request.query);
        }
        url
    }

    async fn once(&self, request: &Request, url: Url) -> Result<Head> {
        self.once_by(&self.0.client, request, url).await
    }

    /// Sends a request on a connection that no other was sent on.
    pub(super) async fn alone(&self, request: &Request, url: Url) -> Result<Head> {
        self.once_by(&self.0.sockets, request, url).await
    }

    async fn once_by(&self, client: &reqwest::Client, request: &Request, url: Url) -> Result<Head> {
        let wait = request.deadline.unwrap_or(self.0.config.request_timeout);
        let call = client.request(request.method.clone(), url).headers(request.headers.clone());
        let (call, stream) = match &request.body {
            Body::Empty => (call, None),
            Body::Whole(bytes) => (call.body(bytes.clone()), None),
            Body::Stream(stream) => (call.body(reqwest::Body::wrap(stream.body())), Some(stream)),
        };
        let mut deadline = until(wait);
        let answer = call.send();
        tokio::pin!(answer);
        let answer = loop {
            let moved = async {
                match stream {
                    Some(stream) => stream.moved.notified().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                answer = &mut answer => break answer,
                () = moved => deadline = until(wait),
                () = sleep_until(deadline) => return Err(late(wait)),
            }
        };
        match answer {
            Ok(raw) => Ok(Head { raw, deadline }),
            Err(error) => {
                let own = stream
                    .and_then(|stream| stream.failure.lock().unwrap_or_else(PoisonError::into_inner).take());
                Err(own.map_or_else(|| failed(&error), |own| own.with_effect(Effect::Unknown)))
            }
        }
    }

    pub(super) async fn whole(&self, request: &Request, head: Head) -> Result<Response> {
        let mut body = Whole::new(head.raw.content_length());
        let mut take = |piece: Bytes| {
            body.add(piece);
            Ok(())
        };
        let response = self.pieces(request, head, &mut take).await?;
        Ok(Response { body: body.finish(), ..response })
    }

    /// Hands over the pieces of a body, as many as are allowed.
    async fn pieces(
        &self,
        request: &Request,
        head: Head,
        take: &mut (dyn FnMut(Bytes) -> Result<()> + Send),
    ) -> Result<Response> {
        let response = without_body(request, &head.raw);
        let limit = self.0.config.max_body.as_bytes();
        let large = || {
            let message =
                format!("the answer is larger than {} and was not read to its end", self.0.config.max_body);
            Error::new(ErrorKind::Protocol, message)
        };
        if request.method != Method::HEAD && head.raw.content_length().is_some_and(|length| length > limit) {
            return Err(large());
        }
        let reading = async {
            let mut chunks = std::pin::pin!(head.raw.bytes_stream());
            let mut seen = 0_u64;
            while let Some(piece) = chunks.next().await {
                let piece = piece.map_err(|error| broken(&error))?;
                seen = seen.saturating_add(u64::try_from(piece.len()).unwrap_or(u64::MAX));
                if seen > limit {
                    return Err(large());
                }
                take(piece)?;
            }
            Ok(())
        };
        let wait = request.deadline.unwrap_or(self.0.config.request_timeout);
        timeout_at(head.deadline, reading).await.map_err(|_| late(wait))??;
        Ok(response)
    }
}

/// The most that is set aside for a body on the server's word alone.
const SET_ASIDE: u64 = 16 << 20;

/// A body that is put together in one place.
struct Whole {
    length: Option<u64>,
    first: Option<Bytes>,
    all: BytesMut,
}

impl Whole {
    fn new(length: Option<u64>) -> Self {
        Self { length, first: None, all: BytesMut::new() }
    }

    fn add(&mut self, piece: Bytes) {
        // Most answers come in one piece, which need not be copied.
        if self.first.is_none() && self.all.is_empty() {
            self.first = Some(piece);
            return;
        }
        if let Some(first) = self.first.take() {
            let length = self.length.unwrap_or_default().min(SET_ASIDE);
            self.all.reserve(usize::try_from(length).unwrap_or_default());
            self.all.extend_from_slice(&first);
        }
        self.all.extend_from_slice(&piece);
    }

    fn finish(self) -> Bytes {
        self.first.unwrap_or_else(|| self.all.freeze())
    }
}

fn without_body(request: &Request, raw: &reqwest::Response) -> Response {
    let said = raw.extensions().get::<hyper::ext::ReasonPhrase>();
    let reason = said.map(|reason| String::from_utf8_lossy(reason.as_bytes()).trim().to_owned());
    let usual = || raw.status().canonical_reason().unwrap_or("unknown status").to_owned();
    Response {
        status: raw.status().as_u16(),
        reason: reason.filter(|reason| !reason.is_empty()).unwrap_or_else(usual),
        headers: raw.headers().clone(),
        body: Bytes::new(),
        reads: request.reads,
        operation: request.operation,
    }
}

/// What a failed call that reads did, is nothing.
pub(super) fn marked(request: &Request, error: Error) -> Error {
    let error = match error.kind() {
        ErrorKind::Timeout | ErrorKind::Transport if request.reads => error.with_retry(Retry::Safe),
        ErrorKind::Protocol if request.reads => error.with_effect(Effect::None),
        _ => error,
    };
    match request.operation {
        Some(operation) => error.with_operation(operation),
        None => error,
    }
}

/// That much from now. What the clock cannot show is as good as never.
fn until(wait: Duration) -> Instant {
    const NEVER: Duration = Duration::from_secs(30 * 365 * 86_400);
    let now = Instant::now();
    now.checked_add(wait).unwrap_or_else(|| now + NEVER)
}

fn late(wait: Duration) -> Error {
    Error::new(ErrorKind::Timeout, format!("no answer within {wait:?}"))
}

fn failed(error: &reqwest::Error) -> Error {
    if error.is_connect() {
        return Error::new(ErrorKind::Connect, cause(error));
    }
    if error.is_builder() {
        return Error::new(ErrorKind::InvalidInput, cause(error));
    }
    if error.is_timeout() {
        return Error::new(ErrorKind::Timeout, cause(error));
    }
    Error::new(ErrorKind::Transport, cause(error))
}

fn broken(error: &reqwest::Error) -> Error {
    Error::new(ErrorKind::Transport, format!("the answer broke off: {}", cause(error)))
}

/// The innermost sentences of an error: the outer ones repeat the URL, whose query may hold a secret.
pub(super) fn cause(error: &(dyn StdError + 'static)) -> String {
    let mut chain = Vec::new();
    let mut next = error.source();
    while let Some(inner) = next {
        let text = inner.to_string();
        if chain.last() != Some(&text) {
            chain.push(text);
        }
        next = inner.source();
    }
    if chain.is_empty() {
        return "the HTTP client gave no reason".to_owned();
    }
    let from = chain.len().saturating_sub(2);
    chain.into_iter().skip(from).collect::<Vec<_>>().join(": ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_of_many_pieces_is_gathered_in_one_buffer_of_its_length() {
        let length = 1 << 20;
        let counted = allocation_counter::measure(|| {
            let mut body = Whole::new(Some(length));
            (0..64).for_each(|_| body.add(Bytes::from_static(&[7; 16 << 10])));
            assert_eq!(body.finish().len() as u64, length);
        });
        assert!(counted.bytes_total < length + 4096, "{} bytes", counted.bytes_total);
    }
}
