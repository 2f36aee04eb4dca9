//! From a connection to a call and back.

use std::io::Write as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::body::{Body, HttpBody, to_bytes};
use axum::extract::{FromRequestParts, WebSocketUpgrade};
use axum::http::request::Parts;
use axum::http::{HeaderValue, Request, Response, header};
use flate2::Compression;
use flate2::write::GzEncoder;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use super::access::Credentials;
use super::call::{Call, Params, Who, normal_path};
use super::cluster::Cluster;
use super::console;
use super::faults::{Effect, Faults};
use super::journal::{Journal, Seen};
use super::reply::{Answer, Refusal, Style, render, whole};
use super::{route, upload};
use crate::wire::form::Form;

/// The most that a body may have, uploads apart.
const MAX_BODY: usize = 512 << 10;

/// What all connections share.
#[derive(Debug)]
pub(super) struct Shared {
    cluster: Mutex<Cluster>,
    pub(super) journal: Journal,
    pub(super) faults: Faults,
}

/// The connection ends here.
#[derive(Debug)]
struct Dropped;

impl std::fmt::Display for Dropped {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("dropped by a fault")
    }
}

impl std::error::Error for Dropped {}

impl Shared {
    pub(super) fn new(cluster: Cluster, faults: Faults) -> Self {
        Self { cluster: Mutex::new(cluster), journal: Journal::default(), faults }
    }

    /// Looks at the cluster as it is now.
    pub(super) fn with<T>(&self, f: impl FnOnce(&mut Cluster) -> T) -> T {
        let mut cluster = self.cluster.lock().unwrap_or_else(PoisonError::into_inner);
        cluster.settle();
        f(&mut cluster)
    }
}

/// Takes connections for one host until it is aborted, which ends them too.
pub(super) async fn serve(
    listener: TcpListener,
    shared: Arc<Shared>,
    host: String,
    tls: Option<TlsAcceptor>,
) {
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let Ok((stream, _)) = listener.accept().await else { continue };
        let _ = stream.set_nodelay(true);
        let (shared, host, tls) = (Arc::clone(&shared), host.clone(), tls.clone());
        connections.spawn(async move {
            match tls {
                None => connection(stream, shared, host).await,
                Some(tls) => {
                    if let Ok(stream) = tls.accept(stream).await {
                        connection(stream, shared, host).await;
                    }
                }
            }
        });
    }
}

async fn connection<S>(stream: S, shared: Arc<Shared>, host: String)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(move |request: Request<Incoming>| {
        let (shared, host) = (Arc::clone(&shared), host.clone());
        Box::pin(async move { answer(&shared, &host, request.map(Body::new)).await })
    });
    let served = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    // A broken connection is the client's affair, or ours by a fault.
    let _ = served.with_upgrades().await;
}

fn header_text<'a>(parts: &'a Parts, name: &str) -> Option<&'a str> {
    parts.headers.get(name).and_then(|value| value.to_str().ok())
}

fn credentials(parts: &Parts) -> Credentials {
    let cookies = parts.headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let cookie = cookies
        .flat_map(|line| line.split(';'))
        .find_map(|pair| pair.trim().strip_prefix("PVEAuthCookie="))
        .map(|value| percent_encoding::percent_decode_str(value).decode_utf8_lossy().into_owned());
    Credentials {
        authorization: header_text(parts, "authorization").map(str::to_owned),
        cookie,
        csrf: header_text(parts, "csrfpreventiontoken").map(str::to_owned),
    }
}

/// A request whose line and headers have been looked at.
struct Head {
    method: String,
    /// Below the format.
    path: String,
    query: Params,
    extjs: bool,
    is_upload: bool,
}

impl Head {
    fn of(parts: &Parts) -> Result<Self, Refusal> {
        let method = parts.method.as_str().to_owned();
        let raw_path = parts.uri.path();
        let normal = normal_path(raw_path);
        let segments: Vec<&str> = normal.split('/').filter(|part| !part.is_empty()).collect();
        let (extjs, rest) = match segments.as_slice() {
            ["api2", "json", rest @ ..] => (false, rest),
            ["api2", "extjs", rest @ ..] => (true, rest),
            ["api2", format, rest @ ..] => {
                return Err(Refusal::raw(501, format!("no formatter for uri /{}, {format}", rest.join("/"))));
            }
            _ => return Err(Refusal::no_method(&method, &normal)),
        };
        let path = format!("/{}", rest.join("/"));
        let query = Params::from_form(parts.uri.query().unwrap_or_default());
        let is_upload = upload::is_upload(&method, raw_path);
        Ok(Self { method, path, query, extjs, is_upload })
    }

    /// Paths that everybody may call.
    fn is_public(&self) -> bool {
        matches!(
            (self.method.as_str(), self.path.as_str()),
            (_, "/access/ticket") | ("GET", "/access/domains" | "/access/openid")
        )
    }
}

async fn answer(shared: &Arc<Shared>, host: &str, request: Request<Body>) -> Result<Response<Body>, Dropped> {
    let (parts, body) = request.into_parts();
    let message = shared.with(|cluster| cluster.options.release() >= (8, 4));
    let mut style = Style { extjs: false, message };
    let head = match Head::of(&parts) {
        Ok(head) => head,
        Err(refusal) => return Ok(render(Err(refusal), style)),
    };
    style.extjs = head.extjs;
    let number = shared.journal.note(Seen {
        method: head.method.clone(),
        path: head.path.clone(),
        params: form(&head.query),
        host: host.to_owned(),
        user: None,
        status: None,
        sent: None,
    });
    let effect = shared.faults.effect_of(&head.method, &head.path);
    match &effect {
        Some(Effect::DropBefore) => {
            // The body is read, so that the client sees the end of the connection and not a reset while it still writes.
            let _ = to_bytes(body, MAX_BODY).await;
            return Err(Dropped);
        }
        Some(Effect::Delay(time)) => tokio::time::sleep(*time).await,
        Some(Effect::Answer(status, text)) => {
            shared.journal.update(number, |seen| seen.status = Some(*status));
            let _ = to_bytes(body, MAX_BODY).await;
            return Ok(render(Err(Refusal::injected(*status, text)), style));
        }
        Some(Effect::Reply(status, reason, text)) => {
            shared.journal.update(number, |seen| seen.status = Some(*status));
            let _ = to_bytes(body, MAX_BODY).await;
            return Ok(whole(*status, reason, text));
        }
        _ => {}
    }
    let packs = parts.headers.get(header::ACCEPT_ENCODING).is_some_and(|how| how.as_bytes() == b"gzip");
    let is_websocket = head.path.ends_with("/vncwebsocket") && parts.headers.contains_key(header::UPGRADE);
    let outcome = handle(shared, host, number, &head, &parts, body, &effect).await;
    let status = outcome.as_ref().map_or_else(Refusal::status, |_| 200);
    shared.journal.update(number, |seen| seen.status = Some(status));
    if status == 401 {
        let delay = shared.with(|cluster| cluster.options.refusal_delay);
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
    }
    match effect {
        Some(Effect::DropAfter) => return Err(Dropped),
        Some(Effect::AnswerAfter(status, text)) => {
            return Ok(render(Err(Refusal::injected(status, text)), style));
        }
        _ => {}
    }
    let response = match outcome {
        Ok((Answer::Console, call)) if is_websocket => upgrade(shared, parts, &call).await,
        Ok((answer, _)) => render(Ok(answer), style),
        Err(refusal) => render(Err(refusal), style),
    };
    let response = if packs { packed(response).await } else { response };
    let sent = HttpBody::size_hint(response.body()).exact();
    shared.journal.update(number, |seen| seen.sent = sent);
    Ok(match effect {
        Some(Effect::Truncate(bytes)) => truncate(response, bytes).await,
        _ => response,
    })
}

/// Packs an answer, where that is worth it.
async fn packed(response: Response<Body>) -> Response<Body> {
    const LEAST: usize = 1024;
    let (mut parts, body) = response.into_parts();
    let bytes = to_bytes(body, usize::MAX).await.unwrap_or_default();
    if bytes.len() <= LEAST {
        return Response::from_parts(parts, Body::from(bytes));
    }
    let mut packing = GzEncoder::new(Vec::new(), Compression::fast());
    let Ok(packed) = packing.write_all(&bytes).and_then(|()| packing.finish()) else {
        return Response::from_parts(parts, Body::from(bytes));
    };
    parts.headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    Response::from_parts(parts, Body::from(packed))
}

fn form(params: &Params) -> Form {
    params.iter().fold(Form::new(), |form, (key, value)| form.each(key, [value]))
}

async fn handle(
    shared: &Arc<Shared>,
    host: &str,
    number: usize,
    head: &Head,
    parts: &Parts,
    body: Body,
    effect: &Option<Effect>,
) -> Result<(Answer, Call), Refusal> {
    let chunked = header_text(parts, "transfer-encoding").is_some_and(|value| value.contains("chunked"));
    if chunked {
        return Err(Refusal::raw(501, "chunked transfer encoding not supported"));
    }
    let credentials = credentials(parts);
    let who = if head.is_public() {
        Who { user: String::new(), token: None }
    } else {
        let who = shared.with(|cluster| cluster.authenticate(&head.method, &credentials, head.is_upload));
        who?
    };
    if !head.is_public() {
        shared.journal.update(number, |seen| seen.user = Some(who.owner()));
    }
    let mut call = Call {
        method: head.method.clone(),
        path: head.path.clone(),
        who,
        entry: host.to_owned(),
        params: Params::default(),
        upload: None,
    };
    if head.is_upload {
        // The server looks at the privilege before it takes the file.
        shared.with(|cluster| route::check_access(cluster, &call))?;
    }
    let (params, uploaded) = read(head, parts, body).await?;
    call.upload = uploaded;
    call.params = params.over(head.query.clone());
    shared.journal.update(number, |seen| seen.params = form(&call.params));
    let deadline = shared.with(|cluster| cluster.clock.after(cluster.options.lock_wait));
    loop {
        let outcome = shared.with(|cluster| route::dispatch(cluster, &call));
        match outcome {
            Err(refusal) if refusal.busy && shared.with(|cluster| cluster.clock.now() < deadline) => {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            Err(refusal) => return Err(refusal),
            Ok(answer) => return Ok((without_task(shared, answer, effect), call)),
        }
    }
}

/// Where no task shall be seen: it is at its end, and there is nothing to wait for.
fn without_task(shared: &Shared, answer: Answer, effect: &Option<Effect>) -> Answer {
    match (&answer, effect) {
        (Answer::Data(serde_json::Value::String(upid)), Some(Effect::NoTask))
            if upid.starts_with("UPID:") =>
        {
            shared.with(|cluster| cluster.finish_now(upid));
            Answer::Data(serde_json::Value::Null)
        }
        _ => answer,
    }
}

/// Reads a body as the server does.
async fn read(head: &Head, parts: &Parts, body: Body) -> Result<(Params, Option<upload::Uploaded>), Refusal> {
    let length: usize = header_text(parts, "content-length").and_then(|text| text.parse().ok()).unwrap_or(0);
    let writes = matches!(head.method.as_str(), "POST" | "PUT");
    if !writes && length > 0 {
        return Err(Refusal::raw(501, format!("Unexpected content for method '{}'", head.method)));
    }
    let content_type = header_text(parts, "content-type").unwrap_or_default().to_owned();
    if head.is_upload && content_type.starts_with("multipart/form-data") {
        let mut request = Request::new(body);
        *request.headers_mut() = parts.headers.clone();
        let (params, uploaded) = upload::read(request).await?;
        return Ok((params, Some(uploaded)));
    }
    if length > MAX_BODY {
        return Err(Refusal::raw(501, "for data too large"));
    }
    let bytes = to_bytes(body, MAX_BODY).await.map_err(|_| Refusal::raw(501, "for data too large"))?;
    if bytes.is_empty() {
        return Ok((Params::default(), None));
    }
    let kind = content_type.split(';').next().unwrap_or_default().trim();
    match kind {
        "application/x-www-form-urlencoded" | "" => {
            Ok((Params::from_form(&String::from_utf8_lossy(&bytes)), None))
        }
        "application/json" => Ok((Params::from_json(&bytes)?, None)),
        other => Err(Refusal::raw(506, format!("upload 'Content-Type '{other}' not implemented"))),
    }
}

async fn upgrade(shared: &Arc<Shared>, mut parts: Parts, call: &Call) -> Response<Body> {
    let waiting = match shared.with(|cluster| console::waiting(cluster, call)) {
        Ok(waiting) => waiting,
        Err(refusal) => return render(Err(refusal), Style { extjs: false, message: true }),
    };
    match WebSocketUpgrade::from_request_parts(&mut parts, &()).await {
        Ok(upgrade) => {
            upgrade.protocols(["binary"]).on_upgrade(move |socket| Box::pin(console::serve(socket, waiting)))
        }
        Err(_) => render(Err(Refusal::die("no websocket upgrade")), Style { extjs: false, message: true }),
    }
}

/// The same answer, which ends too early.
async fn truncate(response: Response<Body>, bytes: usize) -> Response<Body> {
    let (mut parts, body) = response.into_parts();
    let whole = to_bytes(body, usize::MAX).await.unwrap_or_default();
    parts.headers.insert(header::CONTENT_LENGTH, whole.len().into());
    let begin = whole.slice(..bytes.min(whole.len()));
    let broken = std::io::Error::new(std::io::ErrorKind::ConnectionReset, "cut off by a fault");
    let stream = futures::stream::iter([Ok(begin), Err(broken)]);
    Response::from_parts(parts, Body::from_stream(stream))
}
