//! What a handler answers, and the envelope around it.

use std::time::{Instant, SystemTime};

use axum::body::Body;
use axum::http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use axum::http::{Response, StatusCode};
use bytes::Bytes;
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::clock::rfc3339;
use crate::problem::{Problem, Result};

/// The envelope up to its data, and what is behind them at most as a rule.
const HEAD: &[u8] = b"{\"success\":true,\"data\":";
const TAIL: usize = 256;
/// How many bytes an item of a list has, about.
const ITEM: usize = 512;

/// The member `data` of an envelope, written already in its place: lists are long, and none is copied once more.
pub(crate) struct Written {
    body: Vec<u8>,
    /// What it was written of: freed when the answer is sent, so that nobody waits for it.
    of: Option<Box<dyn Send>>,
}

/// A body, and what is freed with it.
struct Whole {
    body: Vec<u8>,
    _of: Option<Box<dyn Send>>,
}

impl AsRef<[u8]> for Whole {
    fn as_ref(&self) -> &[u8] {
        &self.body
    }
}

impl Written {
    /// `room`: about how many bytes it will have.
    fn of(data: &(impl Serialize + ?Sized), room: usize) -> Result<Self> {
        let mut body = Vec::with_capacity(HEAD.len() + room + TAIL);
        body.extend_from_slice(HEAD);
        serde_json::to_writer(&mut body, data)
            .map_err(|error| Problem::internal("an answer cannot be written", &error))?;
        Ok(Self { body, of: None })
    }

    /// What is JSON already.
    pub(crate) fn json(data: &str) -> Self {
        Self { body: [HEAD, data.as_bytes()].concat(), of: None }
    }

    pub(crate) fn as_json(&self) -> &[u8] {
        self.body.get(HEAD.len()..).unwrap_or_default()
    }

    fn ended(self, meta: &Value) -> Bytes {
        let Self { mut body, of } = self;
        body.extend_from_slice(b",\"meta\":");
        body.extend_from_slice(meta.to_string().as_bytes());
        body.push(b'}');
        Bytes::from_owner(Whole { body, _of: of })
    }
}

/// What a handler answers.
pub(crate) enum Answer {
    /// An envelope with data.
    Data { status: StatusCode, data: Written, meta: Map<String, Value> },
    /// A sentence instead of data.
    Message(&'static str),
    /// Something that has no envelope: bytes, a stream, a switch of protocols.
    Raw(Response<Body>),
}

pub(crate) type Reply = Result<Answer>;

impl Answer {
    pub(crate) fn ok(data: &(impl Serialize + ?Sized)) -> Reply {
        Self::with(StatusCode::OK, data)
    }

    pub(crate) fn with(status: StatusCode, data: &(impl Serialize + ?Sized)) -> Reply {
        Ok(Self::Data { status, data: Written::of(data, 256)?, meta: Map::new() })
    }

    /// A list of so many items.
    pub(crate) fn list(data: &impl Serialize, items: usize) -> Reply {
        let data = Written::of(data, ITEM.saturating_mul(items.saturating_add(1)))?;
        Ok(Self::Data { status: StatusCode::OK, data, meta: Map::new() })
    }

    /// Frees this when the answer is sent.
    pub(crate) fn with_rest(mut self, of: impl Send + 'static) -> Self {
        if let Self::Data { data, .. } = &mut self {
            data.of = Some(Box::new(of));
        }
        self
    }

    /// Adds a member to `meta`.
    pub(crate) fn meta(mut self, key: &str, value: impl Into<Value>) -> Self {
        if let Self::Data { meta, .. } = &mut self {
            meta.insert(key.to_owned(), value.into());
        }
        self
    }

    /// Bytes of this type.
    pub(crate) fn bytes(content_type: &str, bytes: impl Into<Bytes>) -> Reply {
        let value = HeaderValue::from_str(content_type)
            .unwrap_or_else(|_| HeaderValue::from_static("application/octet-stream"));
        let mut response = Response::new(Body::from(bytes.into()));
        response.headers_mut().insert(CONTENT_TYPE, value);
        Ok(Self::Raw(response))
    }
}

/// What the envelope says about the request itself.
pub(crate) struct About {
    pub(crate) request_id: String,
    pub(crate) since: Instant,
}

impl About {
    fn meta(&self, extra: Map<String, Value>) -> Value {
        let spent = u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX);
        let mut meta = Map::new();
        meta.insert("request_id".to_owned(), self.request_id.clone().into());
        meta.insert("timestamp".to_owned(), rfc3339(SystemTime::now()).into());
        meta.insert("execution_time_ms".to_owned(), spent.into());
        meta.extend(extra);
        Value::Object(meta)
    }

    pub(crate) fn response(&self, reply: Reply) -> Response<Body> {
        let mut response = match reply {
            Ok(Answer::Raw(response)) => response,
            Ok(Answer::Data { status, data, meta }) => json_response(status, data.ended(&self.meta(meta))),
            Ok(Answer::Message(message)) => {
                let body = json!({ "success": true, "message": message, "meta": self.meta(Map::new()) });
                json_response(StatusCode::OK, body.to_string())
            }
            Err(problem) => self.refusal(&problem),
        };
        if let Ok(id) = HeaderValue::from_str(&self.request_id) {
            response.headers_mut().insert(HeaderName::from_static("x-request-id"), id);
        }
        response.headers_mut().insert(HeaderName::from_static("api-version"), HeaderValue::from_static("v1"));
        response
    }

    fn refusal(&self, problem: &Problem) -> Response<Body> {
        let mut told = problem.clone();
        if told.error.request_id().is_none() {
            told.error = told.error.with_request_id(self.request_id.clone());
        }
        let body = json!({ "success": false, "error": told.body(), "meta": self.meta(Map::new()) });
        let mut response = json_response(problem.status, body.to_string());
        let headers = response.headers_mut();
        if let Some(after) = problem.error.retry_after() {
            headers.insert("retry-after", HeaderValue::from(after.as_secs().max(1)));
        }
        if problem.status == StatusCode::UNAUTHORIZED {
            headers.insert("www-authenticate", HeaderValue::from_static("Bearer"));
        }
        response
    }
}

fn json_response(status: StatusCode, body: impl Into<Body>) -> Response<Body> {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
