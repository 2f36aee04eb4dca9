//! One call: what is sent, what it is about, and what is made of the answer.

use std::borrow::Cow;
use std::time::Duration;

use bytes::Bytes;
use hypervisor_core::http::{Method, Request, Response, segment};
use hypervisor_core::{Effect, Error, ErrorKind, Result};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::dialect::hypersdk::error::{self, About};
use crate::dialect::hypersdk::routes::Route;
use crate::dialect::hypersdk::wire::envelope;

/// What waits for a disk or a guest may take half as long again as another call: with the usual deadline 45 s, which is longer than the 30 s
/// after which the daemon itself gives up.
fn slow(usual: Duration) -> Duration {
    usual.saturating_add(usual / 2)
}

/// A call that may be sent more than once.
pub(crate) struct Call {
    method: Method,
    path: String,
    query: Vec<(&'static str, String)>,
    body: Option<(Cow<'static, str>, Bytes)>,
    about: About,
    slow: bool,
    reads: bool,
}

impl Call {
    pub(crate) fn new(route: &Route) -> Self {
        Self {
            reads: route.method == Method::GET,
            method: route.method.clone(),
            path: route.path.to_owned(),
            query: Vec::new(),
            body: None,
            about: Vec::new(),
            slow: false,
        }
    }

    /// Puts an id into the path.
    pub(crate) fn id(mut self, key: &str, id: &str) -> Result<Self> {
        self.path = self.path.replace(&format!("{{{key}}}"), &segment(id)?);
        Ok(self)
    }

    pub(crate) fn query(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.query.push((name, value.into()));
        self
    }

    pub(crate) fn json<T: Serialize + ?Sized>(self, body: &T) -> Result<Self> {
        let bytes = serde_json::to_vec(body)
            .map_err(|error| Error::invalid("body", format!("it cannot be written as JSON: {error}")))?;
        Ok(self.bytes("application/json", bytes))
    }

    pub(crate) fn bytes(mut self, kind: impl Into<Cow<'static, str>>, body: impl Into<Bytes>) -> Self {
        self.body = Some((kind.into(), body.into()));
        self
    }

    /// What it is about, the most important object first.
    pub(crate) fn about(mut self, noun: &'static str, id: impl Into<String>) -> Self {
        self.about.push((noun, id.into()));
        self
    }

    /// It waits for a disk or a guest.
    pub(crate) fn slow(mut self) -> Self {
        self.slow = true;
        self
    }

    /// It changes nothing, though it is no `GET`.
    pub(crate) fn reads(mut self) -> Self {
        self.reads = true;
        self
    }

    pub(super) fn request(&self, usual: Duration) -> Request {
        let mut request = Request::new(self.method.clone(), self.path.clone());
        for (name, value) in &self.query {
            request = request.query(*name, value);
        }
        if let Some((kind, body)) = &self.body {
            request = request.bytes(kind, body.clone());
        }
        if self.slow {
            request = request.deadline(slow(usual));
        }
        if self.reads { request.reads() } else { request }
    }

    pub(super) fn without_answer(&self, error: Error) -> Error {
        let error = error::without_answer(error, !self.reads);
        self.about.first().into_iter().fold(error, |error, (noun, id)| error.with_target(noun, id))
    }

    pub(super) fn answer(&self, response: Response) -> Result<Answer> {
        if response.is_success() {
            return Ok(Answer { response, reads: self.reads });
        }
        Err(error::of(&response, &self.path, &self.about))
    }
}

/// An answer of success.
pub(crate) struct Answer {
    response: Response,
    reads: bool,
}

impl Answer {
    pub(crate) fn object<T: DeserializeOwned>(&self) -> Result<T> {
        self.decoded(envelope::object(self.response.bytes()))
    }

    pub(crate) fn optional<T: DeserializeOwned + Default>(&self) -> Result<T> {
        self.decoded(envelope::optional(self.response.bytes()))
    }

    pub(crate) fn list<T: DeserializeOwned>(&self, key: &str) -> Result<Vec<T>> {
        self.decoded(envelope::list(self.response.bytes(), key))
    }

    /// An action that is done, of which nothing else is wanted to be known.
    pub(crate) fn done(&self) -> Result<()> {
        self.decoded(envelope::content(self.response.bytes()).map(drop))
    }

    pub(crate) fn text(&self) -> String {
        self.response.text().into_owned()
    }

    fn decoded<T>(&self, decoded: Result<T>) -> Result<T> {
        decoded.map_err(|error| {
            let error = if self.reads { error.with_effect(Effect::None) } else { error };
            if error.kind() != ErrorKind::Protocol
                || self.response.is_json()
                || self.response.bytes().is_empty()
            {
                return error;
            }
            let kind = self.response.header("content-type").unwrap_or("no content type");
            let (status, said) = (self.response.status(), self.response.message());
            error.with_hint(format!("The server answered {status} with {kind}: {said}"))
        })
    }
}
