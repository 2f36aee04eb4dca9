//! What is sent.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Serialize;

use super::body::StreamBody;
use crate::error::{Error, ErrorKind, Result};
use crate::model::ByteStream;
use crate::operation::Operation;

pub use reqwest::Method;

/// One call: made step by step, sent by [`Http::send`](super::Http::send). `Debug` shows neither queries nor headers nor bodies.
pub struct Request {
    pub(super) method: Method,
    pub(super) path: String,
    pub(super) query: Vec<(String, String)>,
    pub(super) headers: HeaderMap,
    pub(super) body: Body,
    pub(super) operation: Option<Operation>,
    pub(super) deadline: Option<Duration>,
    pub(super) reads: bool,
    wrong: Option<Error>,
}

#[derive(Clone)]
pub(super) enum Body {
    Empty,
    Whole(Bytes),
    Stream(StreamBody),
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request")
            .field("method", &self.method)
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

impl Request {
    /// A call of `path`, which begins with a slash, is put behind the base URL's path and goes out as it is: whatever is not constant in
    /// it has to go through [`segment`].
    #[must_use]
    pub fn new(method: Method, path: impl Into<String>) -> Self {
        let reads = matches!(method, Method::GET | Method::HEAD | Method::OPTIONS);
        Self {
            method,
            path: path.into(),
            query: Vec::new(),
            headers: HeaderMap::new(),
            body: Body::Empty,
            operation: None,
            deadline: None,
            reads,
            wrong: None,
        }
    }

    /// A `GET`.
    #[must_use]
    pub fn get(path: impl Into<String>) -> Self {
        Self::new(Method::GET, path)
    }

    /// A `POST`.
    #[must_use]
    pub fn post(path: impl Into<String>) -> Self {
        Self::new(Method::POST, path)
    }

    /// A `PUT`.
    #[must_use]
    pub fn put(path: impl Into<String>) -> Self {
        Self::new(Method::PUT, path)
    }

    /// A `DELETE`.
    #[must_use]
    pub fn delete(path: impl Into<String>) -> Self {
        Self::new(Method::DELETE, path)
    }

    /// Adds a parameter to the query; the same name may come more than once.
    #[must_use]
    pub fn query(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.query.push((name.into(), value.into()));
        self
    }

    /// Sets a header.
    #[must_use]
    pub fn header(self, name: &str, value: &str) -> Self {
        self.set(name, value, false)
    }

    /// Sets a header that no log may show.
    #[must_use]
    pub fn secret_header(self, name: &str, value: &SecretString) -> Self {
        self.set(name, value.expose_secret(), true)
    }

    fn set(mut self, name: &str, value: &str, secret: bool) -> Self {
        match (HeaderName::try_from(name), HeaderValue::try_from(value)) {
            (Ok(name), Ok(mut value)) => {
                value.set_sensitive(secret);
                self.headers.insert(name, value);
            }
            // The value is not shown: it may be the secret.
            _ => self.refuse(Error::invalid(
                name,
                "it cannot be sent in a header: it holds a line break or a control character",
            )),
        }
        self
    }

    fn refuse(&mut self, error: Error) {
        self.wrong.get_or_insert(error);
    }

    /// A body of JSON.
    #[must_use]
    pub fn json<T: Serialize + ?Sized>(mut self, body: &T) -> Self {
        match serde_json::to_vec(body) {
            Ok(bytes) => self.bytes("application/json", bytes),
            Err(error) => {
                self.refuse(Error::invalid("body", format!("it cannot be written as JSON: {error}")));
                self
            }
        }
    }

    /// A body of form fields (`application/x-www-form-urlencoded`).
    #[must_use]
    pub fn form<K: AsRef<str>, V: AsRef<str>>(self, fields: impl IntoIterator<Item = (K, V)>) -> Self {
        let mut encoder = url::form_urlencoded::Serializer::new(String::new());
        encoder.extend_pairs(fields);
        self.bytes("application/x-www-form-urlencoded", encoder.finish())
    }

    /// A body of bytes.
    #[must_use]
    pub fn bytes(mut self, content_type: &str, body: impl Into<Bytes>) -> Self {
        self.body = Body::Whole(body.into());
        self.header("content-type", content_type)
    }

    /// A body that is read while it is sent, with its length in `Content-Length`: it is never sent chunked, which some servers refuse.
    /// The deadline then holds for the answer only after the last piece; a stall of the stream counts as one.
    #[must_use]
    pub fn stream(mut self, content_type: &str, body: ByteStream) -> Self {
        self.body = Body::Stream(StreamBody::new(body));
        self.header("content-type", content_type)
    }

    /// Names the operation in errors.
    #[must_use]
    pub fn operation(mut self, operation: Operation) -> Self {
        self.operation = Some(operation);
        self
    }

    /// A deadline of its own, in place of [`HttpConfig::request_timeout`](super::HttpConfig::request_timeout).
    #[must_use]
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = Some(deadline);
        self
    }

    /// Says that this call changes nothing although its method is not `GET`: it may then be repeated after any failure.
    #[must_use]
    pub fn reads(mut self) -> Self {
        self.reads = true;
        self
    }

    /// The method.
    #[must_use]
    pub fn method(&self) -> &Method {
        &self.method
    }

    /// The path, without that of the base URL.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Which argument could not be put into the request, if one could not.
    pub(super) fn check(&mut self) -> Result<()> {
        if !self.path.starts_with('/') {
            return Err(Error::new(ErrorKind::InvalidInput, "the path of a request begins with a slash"));
        }
        self.wrong.take().map_or(Ok(()), Err)
    }
}

/// One segment of a path, percent-encoded.
///
/// ```
/// use hypervisor_core::http::segment;
/// assert_eq!(segment("local:iso/a b.iso").unwrap(), "local:iso%2Fa%20b.iso");
/// assert!(segment("..").is_err());
/// ```
///
/// # Errors
/// [`InvalidInput`](ErrorKind::InvalidInput) for what would change the path: nothing, `.` and `..`.
pub fn segment(text: &str) -> Result<Cow<'_, str>> {
    if matches!(text, "" | "." | "..") {
        return Err(Error::invalid("id", format!("`{text}` cannot be a part of a path")));
    }
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~:@!$,=".contains(&byte);
    if text.bytes().all(plain) {
        return Ok(Cow::Borrowed(text));
    }
    let mut encoded = String::with_capacity(text.len() * 2);
    for byte in text.bytes() {
        if plain(byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    Ok(Cow::Owned(encoded))
}
