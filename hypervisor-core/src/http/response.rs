//! What came back.

use std::borrow::Cow;
use std::fmt;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use reqwest::header::HeaderMap;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::error::{Effect, Error, ErrorKind, Result, Retry};
use crate::operation::Operation;

/// The longest piece of a body that is put into an error.
const SHOWN: usize = 500;
/// The most of a body that is looked at for what is wrong: an error is no reason to unfold tens of megabytes.
const LOOKED_AT: usize = 64 << 10;

/// An answer with its whole body. `Debug` shows neither headers nor body.
#[derive(Clone)]
pub struct Response {
    pub(super) status: u16,
    pub(super) reason: String,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
    pub(super) reads: bool,
    pub(super) operation: Option<Operation>,
}

impl fmt::Debug for Response {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Response")
            .field("status", &self.status)
            .field("reason", &self.reason)
            .field("bytes", &self.body.len())
            .finish_non_exhaustive()
    }
}

impl Response {
    /// The status code.
    #[must_use]
    pub fn status(&self) -> u16 {
        self.status
    }

    /// Whether the call changes nothing, so that whatever is wrong with its answer had no effect.
    #[must_use]
    pub fn reads(&self) -> bool {
        self.reads
    }

    /// Whether the status is 2xx.
    #[must_use]
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// The status line's phrase as the server sent it, or the usual one.
    #[must_use]
    pub fn reason(&self) -> &str {
        &self.reason
    }

    /// A header, where it is text.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The body.
    #[must_use]
    pub fn bytes(&self) -> &Bytes {
        &self.body
    }

    /// The body, taken out.
    #[must_use]
    pub fn into_bytes(self) -> Bytes {
        self.body
    }

    /// The body as text; what is not UTF-8 is replaced.
    #[must_use]
    pub fn text(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.body)
    }

    /// Whether the body is said to be JSON.
    #[must_use]
    pub fn is_json(&self) -> bool {
        self.header("content-type").is_some_and(|kind| kind.contains("json"))
    }

    /// The operation that the request was for, where it named one.
    #[must_use]
    pub fn operation(&self) -> Option<Operation> {
        self.operation
    }

    /// Decodes the body.
    ///
    /// # Errors
    /// [`Protocol`](ErrorKind::Protocol), with the place in the document: `data[3].mem`. What the body was is said where it is not JSON at
    /// all (a proxy's page of HTML, for one). A call that reads had no effect; one that writes may have had one.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T> {
        decode(&self.body).map_err(|error| {
            let error = if self.is_json() || self.body.is_empty() {
                error
            } else {
                error.with_hint(format!(
                    "The server answered {} {} with {}: {}",
                    self.status,
                    self.reason,
                    self.header("content-type").unwrap_or("no content type"),
                    self.excerpt()
                ))
            };
            self.marked(error)
        })
    }

    /// The error of a status that is none of success: kind by the status, message by the body (`message`, `error`, `error.message` or
    /// `detail` of JSON, or text without its HTML), or by the reason phrase where there is none. Drivers refine it.
    #[must_use]
    pub fn error(&self) -> Error {
        let message = self.message();
        let mut error = Error::new(kind_of(self.status), message).with_code(self.status.to_string());
        if matches!(self.status, 502..=504) {
            error = error.with_retry(Retry::IfIdempotent);
        }
        if let Some(after) = self.retry_after() {
            error = error.with_retry_after(after);
        }
        if let Some(id) = self.header("x-request-id") {
            error = error.with_request_id(id);
        }
        self.marked(error)
    }

    fn marked(&self, error: Error) -> Error {
        let error = if self.reads { error.with_effect(Effect::None) } else { error };
        match self.operation {
            Some(operation) => error.with_operation(operation),
            None => error,
        }
    }

    /// What the server says is wrong; never empty.
    #[must_use]
    pub fn message(&self) -> String {
        let whole = Some(&self.body).filter(|body| body.len() <= LOOKED_AT);
        let from_json = whole.and_then(|body| serde_json::from_slice::<Value>(body).ok()).and_then(|body| {
            let places = ["/message", "/error/message", "/error", "/detail", "/errors", "/msg"];
            places.iter().find_map(|place| match body.pointer(place) {
                Some(Value::String(text)) if !text.trim().is_empty() => Some(text.trim().to_owned()),
                Some(other @ (Value::Array(_) | Value::Object(_))) if *place != "/error" => {
                    Some(other.to_string())
                }
                _ => None,
            })
        });
        let message = from_json.map(|text| shorten(&text)).unwrap_or_else(|| self.excerpt());
        if message.is_empty() { self.reason.clone() } else { message }
    }

    fn excerpt(&self) -> String {
        let text = String::from_utf8_lossy(self.body.get(..LOOKED_AT).unwrap_or(&self.body));
        let html = self.header("content-type").is_some_and(|kind| kind.contains("html"))
            || text.trim_start().starts_with('<');
        if html { shorten(&without_tags(&text)) } else { shorten(text.trim()) }
    }

    /// How long the server asks to wait (`Retry-After`, in seconds or as a date).
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        let value = self.header("retry-after")?.trim();
        if let Ok(seconds) = value.parse() {
            return Some(Duration::from_secs(seconds));
        }
        let at = httpdate::parse_http_date(value).ok()?;
        Some(at.duration_since(SystemTime::now()).unwrap_or_default())
    }

    /// What the server says of its limits (`X-RateLimit-Limit`, `-Remaining`, `-Reset`, `-Window`).
    #[must_use]
    pub fn rate_limit(&self) -> Option<RateLimit> {
        let number = |name: &str| self.header(name)?.trim().parse::<u64>().ok();
        let remaining = number("x-ratelimit-remaining")?;
        Some(RateLimit {
            remaining,
            limit: number("x-ratelimit-limit"),
            reset: number("x-ratelimit-reset"),
            window: number("x-ratelimit-window").map(Duration::from_secs),
        })
    }
}

/// How many calls the server still allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct RateLimit {
    /// Calls left in this window.
    pub remaining: u64,
    /// Calls in a whole window.
    pub limit: Option<u64>,
    /// When the window ends, as the server gave it: mostly seconds since 1970, with some seconds from now.
    pub reset: Option<u64>,
    /// How long a window is.
    pub window: Option<Duration>,
}

/// Decodes JSON, with the place in the document in the error.
///
/// # Errors
/// [`Protocol`](ErrorKind::Protocol).
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T> {
    // To know the place of a mistake costs time, and mistakes are rare.
    // Text that is checked once, as a whole, need not be checked string by string.
    let found = match std::str::from_utf8(bytes) {
        Ok(text) => serde_json::from_str(text),
        Err(_) => serde_json::from_slice(bytes),
    };
    if let Ok(found) = found {
        return Ok(found);
    }
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let found = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let place = error.path().to_string();
        let inner = error.into_inner();
        let message = match place.as_str() {
            "." | "?" => format!("the answer cannot be understood: {inner}"),
            place => format!("the answer cannot be understood at `{place}`: {inner}"),
        };
        Error::new(ErrorKind::Protocol, message)
    })?;
    json.end()
        .map_err(|_| Error::new(ErrorKind::Protocol, "the answer goes on behind the end of its JSON"))?;
    Ok(found)
}

const fn kind_of(status: u16) -> ErrorKind {
    match status {
        400 | 413 | 414 | 415 | 422 => ErrorKind::InvalidInput,
        401 => ErrorKind::Unauthenticated,
        403 => ErrorKind::PermissionDenied,
        404 | 410 => ErrorKind::NotFound,
        405 | 501 => ErrorKind::Unsupported,
        408 | 504 => ErrorKind::Timeout,
        409 | 412 => ErrorKind::Conflict,
        423 => ErrorKind::Locked,
        429 => ErrorKind::RateLimited,
        502 => ErrorKind::Transport,
        507 => ErrorKind::Exhausted,
        595 | 596 | 599 => ErrorKind::HostUnreachable,
        _ => ErrorKind::Backend,
    }
}

fn shorten(text: &str) -> String {
    if text.len() <= SHOWN {
        return text.to_owned();
    }
    let mut short: String = text.chars().take(SHOWN).collect();
    short.push('…');
    short
}

fn without_tags(html: &str) -> String {
    let mut text = String::new();
    let mut inside = false;
    for each in html.chars() {
        match each {
            '<' => inside = true,
            '>' => {
                inside = false;
                text.push(' ');
            }
            _ if inside => {}
            _ => text.push(each),
        }
    }
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(content_type: &'static str, body: String) -> Response {
        let content_type = reqwest::header::HeaderValue::from_static(content_type);
        Response {
            status: 500,
            reason: "Internal Server Error".to_owned(),
            headers: [(reqwest::header::CONTENT_TYPE, content_type)].into_iter().collect(),
            body: body.into(),
            reads: false,
            operation: None,
        }
    }

    #[test]
    fn an_error_is_not_unfolded_whatever_its_size() {
        let list = refusal("application/json", format!("[{}1]", "1,".repeat(4 << 20)));
        let page = refusal("text/html", format!("<p>no</p>{}", "<br>é".repeat(1 << 20)));
        for (response, begins) in [(list, "[1,1"), (page, "no")] {
            let counted = allocation_counter::measure(|| {
                let error = response.error();
                assert!(error.message().starts_with(begins), "{error}");
                assert!(error.message().chars().count() <= SHOWN + 1);
            });
            assert!(counted.bytes_total < 1 << 20, "{} bytes", counted.bytes_total);
        }
    }
}
