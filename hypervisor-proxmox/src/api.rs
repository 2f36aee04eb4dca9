//! The raw client: one call, with credentials, and the server's words when it refuses.

use std::collections::VecDeque;
use std::fmt;
use std::io::Read as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use flate2::read::GzDecoder;
use hypervisor_core::http::{Http, Method, Request, Response, Take, WebSocket};
use hypervisor_core::model::{ByteSize, ByteStream, TaskId};
use hypervisor_core::{Effect, Error, ErrorKind, Operation, Result, Retry};
use secrecy::SecretString;
use serde_json::Value;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::auth::Session;
use crate::config::{MAX_BODY, ProxmoxConfig};
use crate::wire::envelope;
use crate::wire::error::{Reply, classify};
use crate::wire::form::Form;

/// The API of Proxmox VE as it is: paths and parameters in, the `data` of the answer out. For what the SDK does not offer.
///
/// Paths begin behind `/api2/json` and go out as they are: whatever is not constant in them has to go through
/// [`segment`](crate::wire::form::segment). Refusals are errors with the server's words, as everywhere.
#[derive(Clone)]
pub struct Api(Arc<Inner>);

struct Inner {
    http: Http,
    session: Session,
    /// The tasks that calls of this connection have started, the latest first.
    begun: Mutex<VecDeque<(TaskId, Instant)>>,
    reads: Semaphore,
    writes: Semaphore,
    compression: bool,
}

/// How many calls are under way at a time. The daemon has three workers and carries out one call after the other in each: what waits there
/// for more than 30 s is given up on with 596, and nobody knows what has become of it. So it waits here.
const READS: usize = 32;
const WRITES: usize = 12;

/// How many tasks are remembered as just started, and for how long they count as that.
const BEGUN: usize = 512;
const JUST: Duration = Duration::from_secs(15);

impl fmt::Debug for Api {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Api").field("http", &self.0.http).field("login", &self.0.session.name()).finish()
    }
}

/// One call.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    method: Method,
    path: String,
    form: Form,
    operation: Option<Operation>,
    reads: bool,
}

impl Call {
    fn new(method: Method, path: impl Into<String>, form: Form) -> Self {
        let reads = method == Method::GET;
        Self { method, path: path.into(), form, operation: None, reads }
    }

    pub(crate) fn get(path: impl Into<String>) -> Self {
        Self::new(Method::GET, path, Form::new())
    }

    pub(crate) fn post(path: impl Into<String>, form: Form) -> Self {
        Self::new(Method::POST, path, form)
    }

    pub(crate) fn put(path: impl Into<String>, form: Form) -> Self {
        Self::new(Method::PUT, path, form)
    }

    pub(crate) fn delete(path: impl Into<String>, form: Form) -> Self {
        Self::new(Method::DELETE, path, form)
    }

    /// The parameters of a call that reads.
    pub(crate) fn query(mut self, form: Form) -> Self {
        self.form = form;
        self
    }

    pub(crate) fn operation(mut self, operation: Operation) -> Self {
        self.operation = Some(operation);
        self
    }

    /// It changes nothing, although it is no `GET`.
    pub(crate) fn reads(mut self) -> Self {
        self.reads = true;
        self
    }

    fn request(&self) -> Request {
        let mut request = Request::new(self.method.clone(), self.path.clone());
        if matches!(self.method, Method::POST | Method::PUT) {
            request = request.bytes("application/x-www-form-urlencoded", self.form.encode());
        } else {
            // No body on GET and DELETE: the server refuses it.
            for (key, value) in self.form.iter() {
                request = request.query(key, value);
            }
        }
        if self.reads {
            request = request.reads();
        }
        if let Some(operation) = self.operation {
            request = request.operation(operation);
        }
        request
    }

    fn failed(&self, error: Error) -> Error {
        let error = error.with_backend(crate::BACKEND);
        let error = match self.operation {
            Some(operation) => error.with_operation(operation),
            None => error,
        };
        match error.retry() {
            Retry::IfIdempotent if self.reads => error.with_retry(Retry::Safe),
            _ if self.reads => error.with_effect(Effect::None),
            _ => error,
        }
    }
}

impl Api {
    pub(crate) fn new(config: &ProxmoxConfig) -> Result<Self> {
        let login = config.login()?;
        let http = Http::new(config.http()?).map_err(|error| error.with_backend(crate::BACKEND))?;
        Ok(Self(Arc::new(Inner {
            http,
            session: Session::new(login),
            begun: Mutex::default(),
            reads: Semaphore::new(READS),
            writes: Semaphore::new(WRITES),
            compression: config.compression,
        })))
    }

    /// Reads `path`.
    ///
    /// # Errors
    /// What the server refuses with, or why no answer came.
    pub async fn get(&self, path: &str) -> Result<Value> {
        self.value(&Call::get(path)).await
    }

    /// Reads `path` with parameters.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub async fn get_with(&self, path: &str, query: &Form) -> Result<Value> {
        self.value(&Call::get(path).query(query.clone())).await
    }

    /// Posts parameters to `path`. Long operations answer with the id of their task.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub async fn post(&self, path: &str, form: &Form) -> Result<Value> {
        self.value(&Call::post(path, form.clone())).await
    }

    /// Puts parameters to `path`.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub async fn put(&self, path: &str, form: &Form) -> Result<Value> {
        self.value(&Call::put(path, form.clone())).await
    }

    /// Deletes what is at `path`; the parameters go into the query.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub async fn delete(&self, path: &str, query: &Form) -> Result<Value> {
        self.value(&Call::delete(path, query.clone())).await
    }

    /// The endpoint that answered last.
    #[must_use]
    pub fn base(&self) -> String {
        self.0.http.base().to_string()
    }

    /// Who calls: `user@realm` or `user@realm!token`.
    #[must_use]
    pub fn user(&self) -> &str {
        self.0.session.name()
    }

    /// Whether an API token is used, to which some calls are closed.
    #[must_use]
    pub fn is_token(&self) -> bool {
        self.0.session.is_token()
    }

    pub(crate) async fn value(&self, call: &Call) -> Result<Value> {
        envelope::value(&self.bytes(call).await?).map_err(|error| call.failed(error))
    }

    /// The id of a task that the call has started; `None` where all is done.
    pub(crate) async fn task(&self, call: &Call) -> Result<Option<TaskId>> {
        Ok(self.word(call).await?.filter(|id| id.starts_with("UPID:")).map(|id| self.note(id.into())))
    }

    /// The id, or the word, that a call answers with.
    async fn word(&self, call: &Call) -> Result<Option<String>> {
        envelope::id(&self.bytes(call).await?).map_err(|error| call.failed(error))
    }

    /// As [`task`](Self::task), of a call that says `OK` where it had nothing to do: `None` then.
    pub(crate) async fn task_unless_idle(&self, call: &Call) -> Result<Option<Option<TaskId>>> {
        let word = self.word(call).await?;
        if word.as_deref() == Some("OK") {
            return Ok(None);
        }
        Ok(Some(word.filter(|id| id.starts_with("UPID:")).map(|id| self.note(id.into()))))
    }

    fn note(&self, task: TaskId) -> TaskId {
        let mut begun = self.0.begun.lock().unwrap_or_else(PoisonError::into_inner);
        begun.truncate(BEGUN);
        begun.push_front((task.clone(), Instant::now()));
        task
    }

    /// Whether a call of this connection has just started this task.
    pub(crate) fn has_begun(&self, task: &TaskId) -> bool {
        let begun = self.0.begun.lock().unwrap_or_else(PoisonError::into_inner);
        let mut just = begun.iter().take_while(|(_, when)| when.elapsed() < JUST);
        just.any(|(known, _)| known == task)
    }

    /// The answer's body.
    pub(crate) async fn bytes(&self, call: &Call) -> Result<Bytes> {
        self.send(call, None).await
    }

    /// Hands the answer's body over piece by piece as it comes: for long answers.
    pub(crate) async fn read(&self, call: &Call, take: &mut Take<'_>) -> Result<()> {
        if self.0.compression {
            // Unpacked as a whole.
            let body = self.bytes(call).await?;
            return take(&body, None).map_err(|error| call.failed(error));
        }
        self.send(call, Some(take)).await.map(drop)
    }

    async fn send(&self, call: &Call, mut take: Option<&mut Take<'_>>) -> Result<Bytes> {
        let Inner { http, session, .. } = &*self.0;
        let mut again = true;
        loop {
            let pass =
                session.pass(http).await.map_err(|error| call.failed(error).with_effect(Effect::None))?;
            let request = session.sign(call.request(), &pass, call.method != Method::GET);
            let request = if self.0.compression && call.method == Method::GET {
                request.header("accept-encoding", "gzip")
            } else {
                request
            };
            let turn = if call.reads { &self.0.reads } else { &self.0.writes };
            // Nobody closes it.
            let turn = turn.acquire().await;
            let response = match &mut take {
                Some(take) => http.read(request, *take).await,
                None => http.send(request).await,
            };
            let response = response.map_err(|error| call.failed(error))?;
            drop(turn);
            let error = match settled(&response) {
                Ok(body) => return body.map_err(|error| call.failed(error)),
                Err(error) => error,
            };
            // A ticket that has run out is refused before anything is done; more than one new login would be a loop.
            let expired = error.kind() == ErrorKind::Unauthenticated && response.status() == 401;
            if expired && std::mem::take(&mut again) && session.refused(&pass).await {
                continue;
            }
            return Err(call.failed(error));
        }
    }

    /// Sends a body of known length, which cannot be sent twice: a ticket that the server does not take any more has to be found out
    /// about before that.
    pub(crate) async fn upload(
        &self,
        operation: Operation,
        path: &str,
        content_type: &str,
        body: ByteStream,
    ) -> Result<Option<TaskId>> {
        let Inner { http, session, .. } = &*self.0;
        let call = Call::post(path, Form::new()).operation(operation);
        if !session.is_token() {
            self.bytes(&Call::get("/version").operation(operation)).await?;
        }
        let pass = session.pass(http).await.map_err(|error| call.failed(error).with_effect(Effect::None))?;
        let request = Request::post(path).stream(content_type, body).operation(operation);
        let response =
            http.send(session.sign(request, &pass, true)).await.map_err(|error| call.failed(error))?;
        let body = settled(&response).map_err(|error| call.failed(error))?;
        let id = body.and_then(|body| envelope::id(&body)).map_err(|error| call.failed(error))?;
        Ok(id.map(|id| self.note(id.into())))
    }

    /// Opens a WebSocket; `first` is sent as its first message.
    pub(crate) async fn websocket(
        &self,
        path: &str,
        query: &Form,
        first: Option<&SecretString>,
    ) -> Result<WebSocket> {
        let Inner { http, session, .. } = &*self.0;
        let call = Call::get(path).query(query.clone()).operation(Operation::GetConsole);
        let pass = session.pass(http).await.map_err(|error| call.failed(error))?;
        let request = call.request().header("sec-websocket-protocol", "binary");
        let request = session.sign(request, &pass, false);
        let opened: Result<WebSocket> = match first {
            Some(first) => http.websocket_with_secret(request, first).await,
            None => http.websocket(request).await,
        };
        opened.map_err(|error| call.failed(error))
    }

    /// The address of a WebSocket, for clients that open it themselves.
    pub(crate) fn websocket_url(&self, path: &str, query: &Form) -> String {
        let base = self.base();
        let base = base.trim_end_matches('/');
        let socket = match base.strip_prefix("https://") {
            Some(rest) => format!("wss://{rest}"),
            None => base.replacen("http://", "ws://", 1),
        };
        format!("{socket}{path}?{}", query.encode())
    }
}

/// The body of a good answer; a refusal otherwise.
fn settled(response: &Response) -> Result<Result<Bytes>> {
    let packed = response.header("content-encoding").is_some_and(|how| how.eq_ignore_ascii_case("gzip"));
    let body = if packed { unpacked(response.bytes(), MAX_BODY) } else { Ok(response.bytes().clone()) };
    if response.is_success() {
        return Ok(body);
    }
    // What cannot be unpacked leaves the status line.
    Err(classify(&Reply::new(response.status(), response.reason(), &body.unwrap_or_default())))
}

/// What a compressed body holds, but never more than `limit`.
///
/// # Errors
/// `Protocol`.
fn unpacked(body: &[u8], limit: ByteSize) -> Result<Bytes> {
    let wrong = |why: String| Error::new(ErrorKind::Protocol, why).with_backend(crate::BACKEND);
    let mut all = Vec::new();
    let mut unpacking = GzDecoder::new(body).take(limit.as_bytes().saturating_add(1));
    unpacking
        .read_to_end(&mut all)
        .map_err(|error| wrong(format!("the answer cannot be unpacked: {error}")))?;
    if u64::try_from(all.len()).unwrap_or(u64::MAX) > limit.as_bytes() {
        return Err(wrong(format!("the answer is larger than {limit} and was not unpacked to its end")));
    }
    Ok(all.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::Compression;
    use flate2::write::GzEncoder;
    use std::io::Write as _;

    fn packed(bytes: usize) -> Vec<u8> {
        let mut packing = GzEncoder::new(Vec::new(), Compression::fast());
        packing.write_all(&vec![b' '; bytes]).unwrap();
        packing.finish().unwrap()
    }

    #[test]
    fn what_unpacks_to_more_than_an_answer_may_have_is_refused() {
        let limit = ByteSize::kib(64);
        assert_eq!(unpacked(&packed(64 << 10), limit).unwrap().len(), 64 << 10);
        let bomb = packed(8 << 20);
        assert!(bomb.len() < 64 << 10, "it is small on the line: {}", bomb.len());
        let error = unpacked(&bomb, limit).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Protocol, "{error}");
        assert!(error.to_string().contains("64 KiB") || error.to_string().contains("larger than"), "{error}");
        for broken in [&bomb[..bomb.len() / 2], b"{}", b""] {
            assert_eq!(unpacked(broken, ByteSize::mib(64)).unwrap_err().kind(), ErrorKind::Protocol);
        }
    }
}
