//! How a call gets to the gateway, and what its answer is taken for.

use std::fmt;
use std::sync::{Mutex, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hypervisor_core::http::{Http, RateLimit, Request, Response, WebSocket, decode};
use hypervisor_core::model::{ByteStream, Page, PageRequest, Started};
use hypervisor_core::{Effect, Error, ErrorKind, Result, Retry};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Serialize;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde_json::Value;

use super::error;
use super::wire::envelope::{Envelope, Key, Keyed, Listed, Meta, Native, key};
use crate::config::{Credentials, Privacy};
use crate::oauth::{Grant, OAuth};

/// The most items that the documented API gives at a time, and an extended one.
const DOCUMENTED_PAGE: u32 = 200;
const NATIVE_PAGE: u32 = 1000;

/// The way to one gateway.
pub(super) struct Link {
    http: Http,
    prefix: &'static str,
    auth: Auth,
    privacy: Privacy,
    rate: Mutex<Option<RateLimit>>,
}

enum Auth {
    None,
    Header(SecretString),
    OAuth(OAuth),
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link").field("base", &self.http.base().as_str()).finish_non_exhaustive()
    }
}

impl Link {
    /// `encrypted`: whether all that is sent goes over TLS.
    pub(super) fn new(http: Http, who: &Credentials, encrypted: bool, privacy: Privacy) -> Result<Self> {
        let prefix = if http.base().path().trim_end_matches('/').ends_with("/v1") { "" } else { "/v1" };
        let auth = match who {
            Credentials::Bearer(token) => Auth::Header(bearer(token)),
            Credentials::Basic { .. } if !encrypted => {
                let error = Error::new(ErrorKind::Config, "a user's password is sent over https only");
                return Err(error.with_hint("Use https, or a token"));
            }
            Credentials::Basic { user, password } => Auth::Header(basic(user, password)),
            Credentials::OAuth { client_id, client_secret } => {
                let grant = Grant::Client { id: client_id.clone(), secret: client_secret.clone() };
                Auth::OAuth(OAuth::new(format!("{prefix}/oauth/token"), grant))
            }
            Credentials::ApiKey(_) => {
                let error = Error::new(ErrorKind::Config, "this API takes a token, not an API key");
                return Err(error.with_hint("Give the token as a bearer token"));
            }
            _ => Auth::None,
        };
        Ok(Self { http, prefix, auth, privacy, rate: Mutex::new(None) })
    }

    /// Whether secrets may be sent.
    pub(super) fn privacy(&self) -> Privacy {
        self.privacy
    }

    pub(super) fn prefix(&self) -> &'static str {
        self.prefix
    }

    /// What the gateway last said of its limits.
    pub(super) fn rate_limit(&self) -> Option<RateLimit> {
        *self.rate.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn authorize(&self, request: Request) -> Result<(Request, Option<SecretString>)> {
        let header = match &self.auth {
            Auth::None => return Ok((request, None)),
            Auth::Header(header) => header.clone(),
            Auth::OAuth(oauth) => oauth.header(&self.http).await?,
        };
        Ok((request.secret_header("authorization", &header), Some(header)))
    }

    /// Sends a request whatever comes back.
    pub(super) async fn raw(&self, request: Request) -> Result<Response> {
        let (request, header) = self.authorize(request.header("api-version", "v1")).await?;
        let response = self.http.send(request).await?;
        self.note(&response, header).await;
        Ok(response)
    }

    async fn note(&self, response: &Response, header: Option<SecretString>) {
        if let Some(rate) = response.rate_limit() {
            *self.rate.lock().unwrap_or_else(PoisonError::into_inner) = Some(rate);
        }
        if let (401, Auth::OAuth(oauth), Some(header)) = (response.status(), &self.auth, header) {
            oauth.refused(&header).await;
        }
    }

    /// The error of an answer of failure. A token that was fetched and refused is fetched anew, so that the call is worth repeating.
    fn failed(&self, response: &Response) -> Error {
        let envelope = decode::<Envelope<IgnoredAny>>(response.bytes()).ok();
        let (failure, meta) = envelope.map_or((None, None), |envelope| (envelope.error, envelope.meta));
        let error = error::of(response, failure.unwrap_or_default(), meta.as_ref());
        match &self.auth {
            Auth::OAuth(_) if response.status() == 401 => error.with_retry(Retry::Safe),
            _ => error,
        }
    }

    /// Sends a request; an answer of failure is an error.
    pub(super) async fn send(&self, request: Request) -> Result<Response> {
        let response = self.raw(request).await?;
        if response.is_success() { Ok(response) } else { Err(self.failed(&response)) }
    }

    /// An answer's envelope. One without a body is an envelope without data.
    pub(super) async fn envelope<T: DeserializeOwned>(&self, request: Request) -> Result<Envelope<T>> {
        let response = self.send(request).await?;
        self.envelope_of(&response)
    }

    fn envelope_of<T: DeserializeOwned>(&self, response: &Response) -> Result<Envelope<T>> {
        if response.status() == 204 || response.bytes().is_empty() {
            return Ok(Envelope { success: None, data: None, error: None, meta: None });
        }
        let said = response.json::<Envelope<T>>();
        // A failure may come with any status, and then its data need not be of the shape that is wanted.
        let success = match &said {
            Ok(envelope) => envelope.success,
            Err(_) => {
                decode::<Envelope<IgnoredAny>>(response.bytes()).ok().and_then(|envelope| envelope.success)
            }
        };
        if success == Some(false) {
            return Err(self.failed(response));
        }
        said
    }

    fn data_of<T: DeserializeOwned>(&self, response: &Response) -> Result<T> {
        self.envelope_of(response)?.data.ok_or_else(|| no_data(response))
    }

    /// An answer's data, and what the gateway says about the call.
    pub(super) async fn told<T: DeserializeOwned>(&self, request: Request) -> Result<(T, Meta)> {
        let response = self.send(request).await?;
        let envelope = self.envelope_of(&response)?;
        let data = envelope.data.ok_or_else(|| no_data(&response))?;
        Ok((data, envelope.meta.unwrap_or_default()))
    }

    /// An answer's data.
    pub(super) async fn data<T: DeserializeOwned>(&self, request: Request) -> Result<T> {
        Ok(self.told(request).await?.0)
    }

    /// One entry of an answer's data.
    pub(super) async fn field<K: Key, T: DeserializeOwned>(&self, request: Request) -> Result<T> {
        Ok(self.data::<Keyed<K, T>>(request).await?.0)
    }

    /// What an extended gateway says of work that it has begun or done.
    pub(super) async fn started<T: DeserializeOwned>(&self, request: Request) -> Result<Started<T>> {
        self.field::<key::Started, _>(request).await
    }

    /// An object of an extended gateway: `data.<key>.info`, or the model itself.
    pub(super) async fn info<K: Key, T: DeserializeOwned>(&self, request: Request) -> Result<T> {
        let response = self.send(request.query("view", "native")).await?;
        match self.data_of::<Keyed<K, Native<T>>>(&response) {
            Ok(found) => Ok(found.0.info),
            Err(error) => self.data_of::<Keyed<K, T>>(&response).map(|found| found.0).map_err(|_| error),
        }
    }

    /// A page of an extended gateway.
    pub(super) async fn native_page<T: DeserializeOwned>(
        &self,
        request: Request,
        page: &PageRequest,
    ) -> Result<Page<T>> {
        let limit = page.limit.unwrap_or(NATIVE_PAGE).clamp(1, NATIVE_PAGE);
        let mut request = request.query("view", "native").query("limit", limit.to_string());
        if let Some(cursor) = &page.cursor {
            request = request.query("cursor", cursor);
        }
        let response = self.send(request).await?;
        let listed: Listed<Native<T>> = self.data_of(&response)?;
        let pagination = listed.pagination.unwrap_or_default();
        let items = listed.items.into_iter().map(|row| row.info).collect();
        let mut found = Page::new(items, pagination.next_cursor).with_unreachable(listed.unreachable);
        found.total = pagination.total;
        Ok(found)
    }

    /// A page of the documented API. `key` is what an item is known by.
    pub(super) async fn documented_page<T: DeserializeOwned>(
        &self,
        request: Request,
        page: &PageRequest,
        key: impl Fn(&T) -> String,
    ) -> Result<Page<T>> {
        let limit = page.limit.unwrap_or(DOCUMENTED_PAGE).clamp(1, DOCUMENTED_PAGE);
        let request = request.query("limit", limit.to_string());
        let place = Place::read(page.cursor.as_deref())?;
        let request = match &place {
            Place::Start | Place::After(_) => request,
            Place::Offset(offset) => request.query("offset", offset.to_string()),
            Place::Cursor(cursor) => request.query("cursor", cursor),
        };
        let listed: Listed<T> = self.data(request).await?;
        let Some(pagination) = listed.pagination else {
            // A list without paging is the whole list.
            let mut own = page.clone();
            own.cursor = match place {
                Place::After(last) => Some(last),
                _ => None,
            };
            let mut cut = Page::cut(listed.items, &own, key);
            cut.next = cut.next.map(|last| Place::After(last).write());
            return Ok(cut.with_unreachable(listed.unreachable));
        };
        let here = listed.items.len();
        let next = match &pagination.next_cursor {
            Some(cursor) if pagination.has_next != Some(false) && !cursor.is_empty() => {
                Some(Place::Cursor(cursor.clone()))
            }
            _ => pagination.next_offset(here).map(Place::Offset),
        };
        let mut found = Page::new(listed.items, next.map(|place| place.write()));
        found.total = pagination.total;
        Ok(found.with_unreachable(listed.unreachable))
    }

    /// An answer's body as a stream.
    pub(super) async fn download(&self, request: Request) -> Result<ByteStream> {
        let (request, header) = self.authorize(request).await?;
        let (response, stream) = self.http.download(request).await?;
        self.note(&response, header).await;
        stream.ok_or_else(|| self.failed(&response))
    }

    /// A WebSocket.
    pub(super) async fn websocket(&self, request: Request) -> Result<WebSocket> {
        let (request, _) = self.authorize(request).await?;
        self.http.websocket_or(request, |response| self.failed(response)).await
    }
}

/// Where a page of the documented API starts, as a cursor of the SDK.
#[derive(Debug, PartialEq, Eq)]
enum Place {
    Start,
    Offset(u64),
    Cursor(String),
    /// Behind this item of a list that the gateway does not cut.
    After(String),
}

impl Place {
    fn read(cursor: Option<&str>) -> Result<Self> {
        let Some(cursor) = cursor else { return Ok(Self::Start) };
        let unknown = || Error::invalid("cursor", "it is none that this gateway's lists have given");
        let (kind, rest) = cursor.split_once(':').ok_or_else(unknown)?;
        match kind {
            "o" => rest.parse().map(Self::Offset).map_err(|_| unknown()),
            "c" => Ok(Self::Cursor(rest.to_owned())),
            "a" => Ok(Self::After(rest.to_owned())),
            _ => Err(unknown()),
        }
    }

    fn write(&self) -> String {
        match self {
            Self::Start => String::new(),
            Self::Offset(offset) => format!("o:{offset}"),
            Self::Cursor(cursor) => format!("c:{cursor}"),
            Self::After(last) => format!("a:{last}"),
        }
    }
}

fn no_data(response: &Response) -> Error {
    let error = Error::new(ErrorKind::Protocol, "the answer has no `data`");
    if response.reads() { error.with_effect(Effect::None) } else { error }
}

fn bearer(token: &SecretString) -> SecretString {
    format!("Bearer {}", token.expose_secret()).into()
}

fn basic(user: &str, password: &SecretString) -> SecretString {
    let pair = format!("{user}:{}", password.expose_secret());
    format!("Basic {}", STANDARD.encode(pair)).into()
}

/// A value as JSON in a query.
pub(super) fn json<T: Serialize>(field: &str, value: &T) -> Result<String> {
    serde_json::to_string(value).map_err(|error| Error::invalid(field, error.to_string()))
}

/// A body of one entry.
pub(super) fn body<T: Serialize>(key: &str, value: &T) -> Result<Value> {
    let value = serde_json::to_value(value).map_err(|error| Error::invalid(key, error.to_string()))?;
    Ok(Value::Object([(key.to_owned(), value)].into_iter().collect()))
}

/// Names the object that a call was about, in an error that names none.
pub(super) fn about<'a>(noun: &'a str, id: impl fmt::Display + 'a) -> impl FnOnce(Error) -> Error + 'a {
    move |error| error.with_target(noun, id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_in_a_list_survives_its_cursor() {
        for place in [Place::Offset(50), Place::Cursor("a:b".into()), Place::After("vm-1".into())] {
            assert_eq!(Place::read(Some(&place.write())).unwrap(), place);
        }
        for foreign in ["", "x:1", "o:many", "vm-1"] {
            assert_eq!(Place::read(Some(foreign)).unwrap_err().kind(), ErrorKind::InvalidInput, "{foreign}");
        }
    }
}
