//! What the fake answers, in the shape of the recorded answers.

use axum::body::Body;
use axum::http::{HeaderValue, Response, StatusCode, header};
use hyper::ext::ReasonPhrase;
use serde_json::{Map, Value, json};

/// What a handler gives back.
pub(super) type Outcome = Result<Answer, Refusal>;

/// A good answer.
#[derive(Debug)]
pub(super) enum Answer {
    /// `{"data": …}`.
    Data(Value),
    /// A list with the number of all rows, which is left out where it is 0.
    Total(Value, usize),
    /// `{"data": …, "changes": …}`: a configuration, and what waits in it.
    Changes(Value, String),
    /// A text file.
    File { name: String, text: String },
    /// The other side of a console, once the upgrade is there.
    Console,
}

/// `{"data": null}`.
pub(super) fn done() -> Outcome {
    Ok(Answer::Data(Value::Null))
}

/// `{"data": …}`.
pub(super) fn data(value: impl Into<Value>) -> Outcome {
    Ok(Answer::Data(value.into()))
}

/// What a refusal has for a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shape {
    Json,
    Text,
    Empty,
}

/// A refusal.
#[derive(Debug, Clone)]
pub(super) struct Refusal {
    status: u16,
    message: String,
    errors: Vec<(String, String)>,
    shape: Shape,
    newline: bool,
    /// Whether the server would wait for a while before it says so.
    pub(super) busy: bool,
}

impl Refusal {
    fn new(status: u16, message: impl Into<String>, shape: Shape) -> Self {
        Self { status, message: message.into(), errors: Vec::new(), shape, newline: true, busy: false }
    }

    /// What nearly every refusal is: status 500 with a text.
    pub(super) fn die(message: impl Into<String>) -> Self {
        Self::new(500, message, Shape::Json)
    }

    /// A lock that another call holds.
    pub(super) fn busy(message: impl Into<String>) -> Self {
        Self { busy: true, ..Self::die(message) }
    }

    /// A parameter is wrong.
    pub(super) fn parameter(name: &str, why: impl Into<String>) -> Self {
        Self::parameters(vec![(name.to_owned(), why.into())])
    }

    /// Several parameters are wrong.
    pub(super) fn parameters(errors: Vec<(String, String)>) -> Self {
        Self { errors, ..Self::new(400, "Parameter verification failed.", Shape::Json) }
    }

    /// The caller lacks one of these privileges.
    pub(super) fn denied(path: &str, privileges: &[&str]) -> Self {
        let what = privileges.join("|");
        Self::new(403, format!("Permission check failed ({path}, {what})"), Shape::Json)
    }

    /// The caller lacks something that the server does not name.
    pub(super) fn denied_without_reason(message: &str) -> Self {
        Self::new(403, message, Shape::Json)
    }

    /// Nobody is logged in, or not rightly: a status line and nothing else.
    pub(super) fn unauthenticated(message: impl Into<String>) -> Self {
        Self::new(401, message, Shape::Empty)
    }

    /// A login that failed; unlike other 401 it has a body.
    pub(super) fn login_failed() -> Self {
        Self::new(401, "authentication failure", Shape::Json)
    }

    /// There is no such call.
    pub(super) fn no_method(method: &str, path: &str) -> Self {
        let refusal = Self::new(501, format!("Method '{method} {path}' not implemented"), Shape::Json);
        Self { newline: false, ..refusal }
    }

    /// Refused before the API was reached: the text is the body.
    pub(super) fn raw(status: u16, message: impl Into<String>) -> Self {
        Self::new(status, message, Shape::Text)
    }

    /// The pseudo status of a node that cannot be reached.
    pub(super) fn unreachable(status: u16, message: impl Into<String>) -> Self {
        Self::new(status, message, Shape::Empty)
    }

    /// An injected answer.
    pub(super) fn injected(status: u16, message: impl Into<String>) -> Self {
        let shape = if status == 401 || status > 590 { Shape::Empty } else { Shape::Json };
        Self::new(status, message, shape)
    }

    /// Any status with the usual body.
    pub(super) fn injected_json(status: u16, message: impl Into<String>) -> Self {
        Self::new(status, message, Shape::Json)
    }

    pub(super) fn status(&self) -> u16 {
        self.status
    }

    pub(super) fn message(&self) -> &str {
        &self.message
    }

    fn body(&self, with_message: bool) -> Map<String, Value> {
        let mut body = Map::new();
        body.insert("data".into(), Value::Null);
        if with_message {
            let end = if self.newline { "\n" } else { "" };
            body.insert("message".into(), format!("{}{end}", self.message).into());
        }
        if !self.errors.is_empty() {
            let errors: Map<String, Value> =
                self.errors.iter().map(|(name, why)| (name.clone(), why.as_str().into())).collect();
            body.insert("errors".into(), errors.into());
        }
        body
    }
}

/// How the caller wants to be answered, and what this release does.
#[derive(Debug, Clone, Copy)]
pub(super) struct Style {
    /// `/api2/extjs`: status 200 for everything but a missing login.
    pub(super) extjs: bool,
    /// Whether the body says what the reason phrase says; so since early 2025.
    pub(super) message: bool,
}

const JSON: &str = "application/json;charset=UTF-8";

fn response(status: u16, reason: &str, content_type: Option<&str>, body: String) -> Response<Body> {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    // The first line is all that fits; other bytes cannot stand in a status line.
    let line: Vec<u8> = reason.lines().next().unwrap_or_default().bytes().collect();
    let line: Vec<u8> = line.into_iter().map(|byte| if byte < 0x20 { b' ' } else { byte }).collect();
    if let Ok(phrase) = ReasonPhrase::try_from(line) {
        response.extensions_mut().insert(phrase);
    }
    let headers = response.headers_mut();
    headers.insert(header::SERVER, HeaderValue::from_static("pve-api-daemon/3.0"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("max-age=0"));
    headers.insert(header::PRAGMA, HeaderValue::from_static("no-cache"));
    if let Some(value) = content_type.and_then(|text| HeaderValue::from_str(text).ok()) {
        headers.insert(header::CONTENT_TYPE, value);
    }
    if status >= 400 {
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// An answer as it was recorded.
pub(super) fn whole(status: u16, reason: &str, body: &str) -> Response<Body> {
    response(status, reason, (!body.is_empty()).then_some(JSON), body.to_owned())
}

/// The HTTP answer.
pub(super) fn render(outcome: Outcome, style: Style) -> Response<Body> {
    match outcome {
        Ok(Answer::Data(value)) => good(json!({ "data": value }), style),
        Ok(Answer::Total(value, 0)) => good(json!({ "data": value }), style),
        Ok(Answer::Total(value, total)) => good(json!({ "data": value, "total": total }), style),
        Ok(Answer::Changes(value, changes)) => good(json!({ "data": value, "changes": changes }), style),
        Ok(Answer::File { name, text }) => {
            let mut answer = response(200, "OK", Some("text/plain"), text);
            if let Ok(value) = HeaderValue::from_str(&format!("attachment; filename=\"{name}\"")) {
                answer.headers_mut().insert(header::CONTENT_DISPOSITION, value);
            }
            answer
        }
        // A console path that was not asked to upgrade.
        Ok(Answer::Console) => refused(&Refusal::die("no websocket upgrade"), style),
        Err(refusal) => refused(&refusal, style),
    }
}

fn good(mut body: Value, style: Style) -> Response<Body> {
    if let (true, Some(object)) = (style.extjs, body.as_object_mut()) {
        object.insert("success".into(), 1.into());
    }
    response(200, "OK", Some(JSON), body.to_string())
}

fn refused(refusal: &Refusal, style: Style) -> Response<Body> {
    match refusal.shape {
        Shape::Empty => response(refusal.status, &refusal.message, None, String::new()),
        Shape::Text => response(refusal.status, &refusal.message, None, refusal.message.clone()),
        Shape::Json if style.extjs => {
            let mut body = refusal.body(true);
            body.insert("success".into(), 0.into());
            body.insert("status".into(), refusal.status.to_string().into());
            response(200, "OK", Some(JSON), Value::Object(body).to_string())
        }
        Shape::Json => {
            let body = Value::Object(refusal.body(style.message));
            response(refusal.status, &refusal.message, Some(JSON), body.to_string())
        }
    }
}
