//! One request, as a handler sees it.

use std::collections::BTreeMap;
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};

use axum::body::Body;
use axum::http::header::{ACCEPT, CONTENT_LENGTH};
use axum::http::request::Parts;
use hypervisor_core::{Error, ErrorKind, Hypervisor};
use serde::de::DeserializeOwned;

use crate::gateway::App;
use crate::problem::{Problem, Result};
use crate::rest::Chunks;
use crate::tokens::Principal;

/// One request: authenticated, permitted and counted.
pub(crate) struct Call {
    pub(crate) app: Arc<App>,
    pub(crate) who: Arc<Principal>,
    pub(crate) parts: Parts,
    pub(crate) params: BTreeMap<String, String>,
    pub(crate) query: BTreeMap<String, String>,
    pub(crate) body: Payload,
}

/// The body of a request.
pub(crate) enum Payload {
    /// Read already, within the limit.
    Json(bytes::Bytes),
    /// Still to come. The lock is never waited for: it makes a call shareable.
    Stream(Mutex<Body>),
}

impl Call {
    pub(crate) fn hv(&self) -> &dyn Hypervisor {
        &*self.app.hv
    }

    /// An id from the path.
    pub(crate) fn id<T: From<String>>(&self, name: &str) -> Result<T> {
        match self.params.get(name) {
            Some(id) if !id.is_empty() => Ok(T::from(id.clone())),
            _ => Err(Problem::bad_request(format!("the path lacks `{name}`"))),
        }
    }

    /// A query parameter.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.query.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// A query parameter that is a number, a bool, ….
    pub(crate) fn parsed<T: FromStr>(&self, name: &str) -> Result<Option<T>> {
        let read = |text: &str| {
            text.parse().map_err(|_| {
                Problem::invalid(name, format!("`{}` cannot be read", text.escape_debug()))
                    .detail("provided_value", text)
            })
        };
        self.text(name).map(read).transpose()
    }

    /// A query parameter that is JSON.
    pub(crate) fn json_query<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>> {
        self.text(name).map(|text| parse(text.as_bytes(), name)).transpose()
    }

    /// Whether only the lossless model is wanted, without the document's own fields.
    pub(crate) fn native(&self) -> bool {
        self.text("view") == Some("native")
    }

    pub(crate) fn accepts(&self, media_type: &str) -> bool {
        let accept = self.parts.headers.get(ACCEPT).and_then(|value| value.to_str().ok());
        accept.is_some_and(|accept| accept.contains(media_type))
    }

    /// The body, which must be there.
    pub(crate) fn json<T: DeserializeOwned>(&self) -> Result<T> {
        match &self.body {
            Payload::Json(bytes) if !bytes.is_empty() => parse(bytes, ""),
            _ => Err(Problem::bad_request("the request needs a JSON body")),
        }
    }

    /// The body, which may be missing.
    pub(crate) fn json_or_default<T: DeserializeOwned + Default>(&self) -> Result<T> {
        match &self.body {
            Payload::Json(bytes) if !bytes.is_empty() => parse(bytes, ""),
            _ => Ok(T::default()),
        }
    }

    /// The body as a stream, with the length that the caller has announced.
    pub(crate) fn take_stream(&mut self) -> Result<(u64, Chunks)> {
        let length = self.parts.headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok());
        let length = length.and_then(|length| length.parse().ok());
        let length = length.ok_or_else(|| Problem::bad_request("the request needs a Content-Length"))?;
        let within = self.app.config.body_timeout;
        match std::mem::replace(&mut self.body, Payload::Json(bytes::Bytes::new())) {
            Payload::Stream(body) => {
                let body = body.into_inner().unwrap_or_else(PoisonError::into_inner);
                Ok((length, Chunks::new(body.into_data_stream(), within)))
            }
            Payload::Json(bytes) => Ok((length, Chunks::new(Body::from(bytes).into_data_stream(), within))),
        }
    }

    /// Refuses the call unless the token has this permission too.
    pub(crate) fn require(&self, permission: &str) -> Result<()> {
        if self.who.may(permission) { Ok(()) } else { Err(Problem::permission(permission)) }
    }
}

/// Reads JSON; the error names the field.
pub(crate) fn parse<T: DeserializeOwned>(bytes: &[u8], field: &str) -> Result<T> {
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let read = serde_path_to_error::deserialize(&mut reader).map_err(|error| {
        let inner = error.inner();
        if inner.is_syntax() || inner.is_eof() {
            let what = if field.is_empty() { "the body" } else { field };
            return Problem::bad_request(format!("{what} is not JSON: {inner}"));
        }
        let path = match (field, error.path().to_string()) {
            ("", path) if path == "." => "body".to_owned(),
            ("", path) => path,
            (field, path) if path == "." => field.to_owned(),
            (field, path) => format!("{field}.{path}"),
        };
        Problem::invalid(&path, inner.to_string())
    })?;
    reader.end().map_err(|error| Problem::bad_request(format!("the JSON has a tail: {error}")))?;
    Ok(read)
}

/// What a stream of the caller's breaks with.
pub(crate) fn broken(error: &dyn std::fmt::Display) -> Error {
    Error::new(ErrorKind::Transport, format!("the request's body broke off: {error}"))
}
