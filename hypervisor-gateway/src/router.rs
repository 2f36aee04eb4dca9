//! From the table to a router: the one way that every request goes.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, FromRequestParts as _, RawPathParams};
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderName};
use axum::http::request::Parts;
use axum::http::{Method, Request, Response, StatusCode};
use axum::routing::{MethodFilter, MethodRouter};
use bytes::Bytes;
use futures::FutureExt as _;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use hypervisor_core::{Effect, Error, ErrorKind};
use sha2::{Digest as _, Sha256};
use tokio::sync::watch;
use tracing::field::Empty;
use tracing::{Instrument as _, Span};
use uuid::Uuid;

use crate::answer::{About, Answer, Reply, Written};
use crate::call::{Call, Payload};
use crate::gateway::App;
use crate::jobs::rename;
use crate::problem::{Problem, Result};
use crate::rate::{self, Category, Standing};
use crate::routes::{self, Access, Route, table};
use crate::store::Kept;
use crate::tokens::{Principal, authenticate};

/// What every handler holds; with the last one the gateway ends.
struct Serving {
    app: Arc<App>,
    _end: Arc<watch::Sender<bool>>,
}

pub(crate) fn build(app: Arc<App>, end: Arc<watch::Sender<bool>>) -> Router {
    let serving = Arc::new(Serving { app, _end: end });
    let mut paths: BTreeMap<&'static str, MethodRouter> = BTreeMap::new();
    for route in table() {
        let Ok(filter) = MethodFilter::try_from(route.method.clone()) else { continue };
        let serving = Arc::clone(&serving);
        let handler =
            move |request: Request<Body>| serve(Arc::clone(&serving), Some(route), request, StatusCode::OK);
        let methods = paths.remove(route.path).unwrap_or_default();
        paths.insert(route.path, methods.on(filter, handler));
    }
    let mut router = Router::new();
    for (path, methods) in paths {
        router = router.route(path, methods);
    }
    let (unknown, wrong) = (Arc::clone(&serving), serving);
    router
        .fallback(move |request: Request<Body>| {
            serve(Arc::clone(&unknown), None, request, StatusCode::NOT_FOUND)
        })
        .method_not_allowed_fallback(move |request: Request<Body>| {
            serve(Arc::clone(&wrong), None, request, StatusCode::METHOD_NOT_ALLOWED)
        })
}

/// The caller's own id for the request, if it can go into logs and headers as it is.
fn request_id(parts: &Parts) -> String {
    let given = parts.headers.get("x-request-id").and_then(|value| value.to_str().ok());
    let fits = |id: &&str| {
        (1..=128).contains(&id.len())
            && id.chars().all(|each| each.is_ascii_alphanumeric() || "-_.".contains(each))
    };
    given.filter(fits).map_or_else(|| format!("req_{}", Uuid::new_v4().simple()), str::to_owned)
}

async fn serve(
    serving: Arc<Serving>,
    route: Option<&'static Route>,
    request: Request<Body>,
    otherwise: StatusCode,
) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let about = About { request_id: request_id(&parts), since: Instant::now() };
    let span =
        tracing::info_span!("request", request_id = about.request_id, token = Empty, token_name = Empty);
    respond(&serving.app, route, parts, body, otherwise, about).instrument(span).await
}

async fn respond(
    app: &Arc<App>,
    route: Option<&'static Route>,
    parts: Parts,
    body: Body,
    otherwise: StatusCode,
    about: About,
) -> Response<Body> {
    let (method, mut standing) = (parts.method.clone(), None);
    let reply = match route {
        Some(route) => answer(app, route, parts, body, &mut standing).await,
        None => nothing_there(app, &parts, otherwise, &mut standing).await,
    };
    let reply = reply.map_err(|mut problem| {
        problem.error = rename(app, problem.error);
        problem
    });
    note_backend(app, route, &reply);
    let mut response = about.response(reply);
    if let Some(standing) = &standing {
        standing.write(response.headers_mut());
    }
    let (id, status) = (route.map_or("unknown", |route| route.id), response.status());
    app.counters.answered(id, status.as_u16(), about.since.elapsed());
    let took = about.since.elapsed();
    tracing::info!(route = id, %method, status = status.as_u16(), ?took, "answered");
    response
}

/// What health says of the backend.
fn note_backend(app: &App, route: Option<&Route>, reply: &Reply) {
    let asked = route.is_some_and(|route| !matches!(route.tag(), "gateway" | "token" | "webhook" | "job"));
    match reply {
        Ok(_) if asked => app.backend_answers.store(true, Ordering::Relaxed),
        Err(problem) if matches!(problem.error.kind(), ErrorKind::Connect | ErrorKind::Transport) => {
            app.backend_answers.store(false, Ordering::Relaxed);
        }
        _ => {}
    }
}

/// Who a request comes from, for those that have no token.
fn peer(parts: &Parts) -> String {
    let address = parts.extensions.get::<ConnectInfo<SocketAddr>>();
    address.map_or_else(|| "peer".to_owned(), |ConnectInfo(address)| format!("peer:{}", address.ip()))
}

fn limited(standing: &Standing) -> Problem {
    let error = Error::new(ErrorKind::RateLimited, "too many requests in this window");
    Problem::new(
        StatusCode::TOO_MANY_REQUESTS,
        "RATE_LIMIT_EXCEEDED",
        error.with_retry_after(standing.wait()),
    )
}

/// Counts a request; refuses it where there were too many.
async fn count(
    app: &App,
    who: &str,
    category: Category,
    cost: u32,
    standing: &mut Option<Standing>,
) -> Result<()> {
    *standing = rate::count(app, who, category, cost).await;
    match standing {
        Some(found) if found.refused => Err(limited(found)),
        _ => Ok(()),
    }
}

/// Who it is; from now on the log names them. The token itself is never in it.
async fn identify(
    app: &App,
    parts: &Parts,
    basic: bool,
    standing: &mut Option<Standing>,
) -> Result<Arc<Principal>> {
    let who = recognize(app, parts, basic, standing).await?;
    let span = Span::current();
    span.record("token", who.id.as_str());
    if let Some(name) = &who.name {
        span.record("token_name", name.as_str());
    }
    Ok(who)
}

/// Guesses are counted by the address that they come from.
async fn recognize(
    app: &App,
    parts: &Parts,
    basic: bool,
    standing: &mut Option<Standing>,
) -> Result<Arc<Principal>> {
    let with_password = parts.headers.get(AUTHORIZATION).is_some_and(|value| {
        value.as_bytes().get(..5).is_some_and(|start| start.eq_ignore_ascii_case(b"basic"))
    });
    if with_password {
        count(app, &peer(parts), Category::Authentication, 1, standing).await?;
        return authenticate(app, parts, basic).await;
    }
    match authenticate(app, parts, basic).await {
        Err(problem) if problem.status == StatusCode::UNAUTHORIZED => {
            count(app, &peer(parts), Category::Authentication, 1, standing).await?;
            Err(problem)
        }
        identified => identified,
    }
}

/// A path or method that there is not; told only to those who have a token.
async fn nothing_there(
    app: &App,
    parts: &Parts,
    status: StatusCode,
    standing: &mut Option<Standing>,
) -> Reply {
    let who = identify(app, parts, false, standing).await?;
    count(app, &who.id, Category::Read, 1, standing).await?;
    let path = parts.uri.path();
    if status == StatusCode::METHOD_NOT_ALLOWED {
        let error = Error::new(ErrorKind::InvalidInput, format!("{} does not go with {path}", parts.method));
        return Err(Problem::new(status, "METHOD_NOT_ALLOWED", error));
    }
    Err(Error::not_found("path", path).into())
}

async fn answer(
    app: &Arc<App>,
    route: &'static Route,
    mut parts: Parts,
    body: Body,
    standing: &mut Option<Standing>,
) -> Reply {
    let who = if route.access == Access::Open {
        *standing = rate::count(app, &peer(&parts), route.category, 0).await;
        Arc::new(Principal::nobody())
    } else {
        if app.maintenance.load(Ordering::Relaxed) {
            return Err(Problem::unavailable("MAINTENANCE_MODE", "the gateway is in maintenance"));
        }
        let who = identify(app, &parts, route.basic, standing).await?;
        if let Access::Permission(permission) = route.access
            && !who.may(permission)
        {
            *standing = rate::count(app, &who.id, route.category, 0).await;
            return Err(Problem::permission(permission));
        }
        if !who.id.starts_with("basic:") {
            count(app, &who.id, route.category, 1, standing).await?;
        }
        who
    };
    let place = Arc::clone(&app.requests).try_acquire_owned();
    let _place = place.map_err(|_| Problem::unavailable("OVERLOADED", "too many requests at a time"))?;
    let params = path_params(&mut parts).await?;
    let query = parts.uri.query().unwrap_or_default().as_bytes();
    let query = url::form_urlencoded::parse(query).into_owned().collect();
    let body = payload(app, route, &parts, body).await?;
    let key = idempotency_key(route, &parts, &who, &body)?;
    if let Some((name, request)) = &key
        && let Some(answered) = answered_before(app, name, request).await?
    {
        return Ok(answered);
    }
    let call = Call { app: Arc::clone(app), who, parts, params, query, body };
    let Some((name, _)) = key else { return handle(route, call).await };
    // Whoever hangs up and asks again with the same key wants the answer to the first request: it has to be kept, though nobody reads it now.
    let app = Arc::clone(app);
    let working = async move {
        let reply = handle(route, call).await;
        let answer = to_keep(&reply);
        keep_answer(&app, &name, answer).await;
        reply
    };
    let working = tokio::spawn(working.in_current_span());
    working.await.unwrap_or_else(|error| Err(Problem::internal("the call ended early", &error)))
}

async fn handle(route: &'static Route, call: Call) -> Reply {
    let working = AssertUnwindSafe((route.handler)(call)).catch_unwind().await;
    working.unwrap_or_else(|_| Err(Problem::internal("a handler panicked", &route.id)))
}

async fn path_params(parts: &mut Parts) -> Result<BTreeMap<String, String>> {
    let params = RawPathParams::from_request_parts(parts, &()).await;
    let params = params.map_err(|error| Problem::bad_request(error.to_string()))?;
    Ok(params.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
}

async fn payload(app: &App, route: &Route, parts: &Parts, body: Body) -> Result<Payload> {
    match route.body {
        routes::Body::Nothing => return Ok(Payload::Json(Bytes::new())),
        routes::Body::Bytes => return Ok(Payload::Stream(Mutex::new(body))),
        routes::Body::Json(_) | routes::Body::Maybe(_) => {}
    }
    let limit = usize::try_from(app.config.body_limit.as_bytes()).unwrap_or(usize::MAX);
    let read = tokio::time::timeout(app.config.body_timeout, Limited::new(body, limit).collect());
    let read = read.await.map_err(|_| {
        let error = Error::new(ErrorKind::InvalidInput, "the body did not come in time");
        Problem::new(StatusCode::REQUEST_TIMEOUT, "REQUEST_TIMEOUT", error)
    })?;
    let bytes = match read {
        Ok(collected) => collected.to_bytes(),
        Err(error) if error.is::<LengthLimitError>() => {
            let error = Error::new(ErrorKind::InvalidInput, format!("the body has more than {limit} bytes"));
            return Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "PAYLOAD_TOO_LARGE", error));
        }
        Err(error) => return Err(Problem::bad_request(format!("the body broke off: {error}"))),
    };
    let content_type = parts.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    if !bytes.is_empty() && content_type.is_some_and(|content_type| !content_type.contains("json")) {
        let error = Error::new(ErrorKind::InvalidInput, "the body must be application/json");
        return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "UNSUPPORTED_MEDIA_TYPE", error));
    }
    Ok(Payload::Json(bytes))
}

/// The key that the caller has given a create, and what it was given for.
fn idempotency_key(
    route: &Route,
    parts: &Parts,
    who: &Principal,
    body: &Payload,
) -> Result<Option<(String, String)>> {
    let Some(key) = parts.headers.get(HeaderName::from_static("idempotency-key")) else { return Ok(None) };
    let Payload::Json(body) = body else { return Ok(None) };
    if route.method != Method::POST || route.basic {
        return Ok(None);
    }
    let key = key.to_str().ok().filter(|key| (1..=255).contains(&key.len()));
    let key = key.ok_or_else(|| Problem::bad_request("the Idempotency-Key must have 1 to 255 characters"))?;
    let mut hash = Sha256::new();
    hash.update(parts.uri.path_and_query().map_or("", |both| both.as_str()).as_bytes());
    hash.update([0]);
    hash.update(body);
    let request: String = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(Some((format!("{} {key}", who.id), request)))
}

/// A status that says that the first request's outcome is not known.
const OUTCOME_UNKNOWN: u16 = 0;

async fn answered_before(app: &App, name: &str, request: &str) -> Result<Option<Answer>> {
    let failed = |error: sqlx::Error| Problem::internal("an idempotency key cannot be looked up", &error);
    let unknown = || {
        let error = Error::new(ErrorKind::Conflict, "the first request of this key has no known outcome");
        error.with_effect(Effect::Unknown).with_hint("Look whether the object exists")
    };
    match app.store.take_key(name, request).await.map_err(failed)? {
        Kept::New => Ok(None),
        Kept::Other => Err(Problem::invalid("Idempotency-Key", "was used for another request")),
        Kept::Open { owner } if app.store.is_alive(&owner).await.map_err(failed)? => {
            Err(Error::new(ErrorKind::Locked, "the first request of this key is still being worked on")
                .into())
        }
        Kept::Open { .. } | Kept::Answered { status: OUTCOME_UNKNOWN, .. } => Err(unknown().into()),
        Kept::Answered { status, body } => {
            let status = StatusCode::from_u16(status).unwrap_or(StatusCode::OK);
            let data = Answer::Data { status, data: Written::json(&body), meta: serde_json::Map::new() };
            Ok(Some(data.meta("replayed", true)))
        }
    }
}

/// What is to be kept of an answer: status and data, or nothing where the request had no effect.
fn to_keep(reply: &Reply) -> Option<(u16, String)> {
    match reply {
        Ok(Answer::Data { status, data, .. }) => {
            Some((status.as_u16(), String::from_utf8_lossy(data.as_json()).into_owned()))
        }
        Err(problem) if problem.error.effect() != Effect::None => Some((OUTCOME_UNKNOWN, String::new())),
        _ => None,
    }
}

async fn keep_answer(app: &App, name: &str, answer: Option<(u16, String)>) {
    let kept = match answer {
        Some((status, body)) => app.store.answer_key(name, status, body).await,
        None => app.store.release_key(name).await,
    };
    if let Err(error) = kept {
        tracing::error!(%error, "an answer cannot be kept for its idempotency key");
    }
}
