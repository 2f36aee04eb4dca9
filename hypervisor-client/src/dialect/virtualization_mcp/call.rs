//! How a call gets to the gateway, and what its answer is taken for.

use std::fmt;
use std::sync::{Mutex, PoisonError};

use hypervisor_core::http::{Http, Method, RateLimit, Request, Response, WebSocket, decode};
use hypervisor_core::model::{Page, PageRequest, VmId, VmInfo};
use hypervisor_core::{Error, ErrorKind, Operation, Result, Retry};
use secrecy::{ExposeSecret as _, SecretString};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::error;
use super::wire::{self, VmRecord};
use crate::config::Credentials;
use crate::oauth::{Grant, OAuth};

/// The most items that a page may have.
const MOST: u32 = 100;

/// A list never has so many pages: a server that goes round in a circle is not followed for ever.
const PAGES: u32 = 10_000;

/// The way to one gateway.
pub(super) struct Link {
    http: Http,
    prefix: &'static str,
    auth: Auth,
    rate: Mutex<Option<RateLimit>>,
}

enum Auth {
    None,
    Header(&'static str, SecretString),
    OAuth(OAuth),
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link").field("base", &self.http.base().as_str()).finish_non_exhaustive()
    }
}

impl Link {
    pub(super) fn new(http: Http, who: &Credentials) -> Self {
        let prefix =
            if http.base().path().trim_end_matches('/').ends_with("/api/v1") { "" } else { "/api/v1" };
        let oauth = |grant| Auth::OAuth(OAuth::new(format!("{prefix}/auth/token"), grant));
        let auth = match who {
            Credentials::ApiKey(key) => Auth::Header("x-api-key", key.clone()),
            Credentials::Bearer(token) => {
                Auth::Header("authorization", format!("Bearer {}", token.expose_secret()).into())
            }
            Credentials::OAuth { client_id, client_secret } => {
                oauth(Grant::Client { id: client_id.clone(), secret: client_secret.clone() })
            }
            Credentials::Basic { user, password } => {
                oauth(Grant::Password { user: user.clone(), password: password.clone() })
            }
            _ => Auth::None,
        };
        Self { http, prefix, auth, rate: Mutex::new(None) }
    }

    /// A request of a path below `/api/v1`.
    pub(super) fn request(&self, method: Method, path: &str) -> Request {
        Request::new(method, format!("{}{path}", self.prefix))
    }

    /// The address of a path, for those who go there themselves.
    pub(super) fn url(&self, path: &str) -> String {
        format!("{}{}{path}", self.http.base().as_str().trim_end_matches('/'), self.prefix)
    }

    /// What the gateway last said of its limits.
    pub(super) fn rate_limit(&self) -> Option<RateLimit> {
        *self.rate.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn authorize(&self, request: Request) -> Result<(Request, Option<SecretString>)> {
        Ok(match &self.auth {
            Auth::None => (request, None),
            Auth::Header(name, value) => (request.secret_header(name, value), None),
            Auth::OAuth(oauth) => {
                let token = oauth.header(&self.http).await?;
                (request.secret_header("authorization", &token), Some(token))
            }
        })
    }

    /// A WebSocket.
    pub(super) async fn websocket(&self, request: Request) -> Result<WebSocket> {
        let (request, _) = self.authorize(request).await?;
        self.http.websocket(request).await
    }

    /// Sends a request whatever comes back.
    pub(super) async fn raw(&self, request: Request) -> Result<Response> {
        let (request, token) = self.authorize(request).await?;
        let response = self.http.send(request).await?;
        if let Some(rate) = response.rate_limit() {
            *self.rate.lock().unwrap_or_else(PoisonError::into_inner) = Some(rate);
        }
        if let (401, Auth::OAuth(oauth), Some(token)) = (response.status(), &self.auth, token) {
            oauth.refused(&token).await;
        }
        Ok(response)
    }

    /// Sends a request; an answer of failure, whatever its status is, is an error. So is one that is neither JSON nor empty: the server tells
    /// failures by JSON with status 200, so that only JSON can say that all is well.
    pub(super) async fn send(&self, request: Request) -> Result<(Response, Value)> {
        let (response, body) = self.any(request).await?;
        if body.is_null() && !response.bytes().trim_ascii().is_empty() {
            response.json::<Value>()?;
        }
        Ok((response, body))
    }

    /// As [`send`](Self::send), for an answer that need not be JSON.
    pub(super) async fn any(&self, request: Request) -> Result<(Response, Value)> {
        let response = self.raw(request).await?;
        let body = serde_json::from_slice::<Value>(response.bytes());
        let failed = match &body {
            Ok(body) if response.is_success() => error::told(body, &response),
            Ok(body) => Some(error::of(body, &response)),
            Err(_) if !response.is_success() => Some(response.error()),
            Err(_) => None,
        };
        if let Some(error) = failed {
            // A token that was fetched and refused is fetched anew.
            let renews = matches!(self.auth, Auth::OAuth(_)) && response.status() == 401;
            return Err(if renews { error.with_retry(Retry::Safe) } else { error });
        }
        Ok((response, body.unwrap_or(Value::Null)))
    }

    /// What an answer carries: `data` of the document's envelope, or the answer itself.
    pub(super) async fn value(&self, request: Request) -> Result<Value> {
        let (_, body) = self.send(request).await?;
        Ok(wire::data(body))
    }

    /// What an answer carries, as this type.
    pub(super) async fn data<T: DeserializeOwned>(&self, request: Request) -> Result<T> {
        typed(&self.value(request).await?)
    }

    /// A page of a list.
    pub(super) async fn page<T: DeserializeOwned>(
        &self,
        request: Request,
        key: &str,
        page: &PageRequest,
        known_as: impl Fn(&T) -> String,
    ) -> Result<Page<T>> {
        let place = Place::read(page)?;
        let request = match &place {
            Place::Number { page, per_page } => {
                request.query("page", page.to_string()).query("per_page", per_page.to_string())
            }
            Place::After(_) => request,
        };
        let (response, body) = self.send(request).await?;
        let items: Vec<T> = typed(&wire::list(wire::data(body), key))?;
        let number = |name: &str| response.header(name)?.trim().parse::<u64>().ok();
        let total = number("x-total-count");
        let linked = response.header("link");
        let paged = total.is_some() || linked.is_some() || number("x-total-pages").is_some();
        let (Place::Number { page: here, per_page }, true) = (&place, paged) else {
            // A list without paging is the whole list.
            let mut own = page.clone();
            own.cursor = match place {
                Place::After(last) => Some(last),
                Place::Number { .. } => None,
            };
            let mut cut = Page::cut(items, &own, known_as);
            cut.next = cut.next.map(|last| format!("a:{last}"));
            return Ok(cut);
        };
        let more = match (linked, number("x-total-pages"), total) {
            (Some(links), ..) => wire::has_next(links),
            (None, Some(pages), _) => u64::from(*here) < pages,
            (None, None, Some(total)) => u64::from(*here).saturating_mul(u64::from(*per_page)) < total,
            _ => false,
        };
        let next = (more && !items.is_empty()).then(|| format!("p:{}/{per_page}", here.saturating_add(1)));
        let mut found = Page::new(items, next);
        found.total = total;
        Ok(found)
    }

    /// A page of the machines. The oldest come first, so that new ones do not shift the pages.
    pub(super) async fn vms(&self, operation: Operation, page: &PageRequest) -> Result<Page<VmRecord>> {
        let request = self.request(Method::GET, "/vms").operation(operation).query("sort", "created");
        self.page(request, "vms", page, |vm: &VmRecord| vm.address().to_owned()).await
    }

    /// All machines.
    pub(super) async fn all_vms(&self, operation: Operation) -> Result<Page<VmInfo>> {
        let mut all = Vec::new();
        let mut page = PageRequest::first();
        for _ in 0..PAGES {
            let found = self.vms(operation, &page).await?;
            all.extend(found.items.iter().map(VmRecord::to_info));
            match found.next {
                Some(next) => page = PageRequest::first().cursor(next),
                None => return Ok(Page::only(all)),
            }
        }
        Err(Error::new(ErrorKind::Protocol, "the list does not end"))
    }

    /// One machine, which no route gives alone.
    pub(super) async fn find(&self, operation: Operation, vm: &VmId) -> Result<VmRecord> {
        let mut page = PageRequest::first();
        for _ in 0..PAGES {
            let found = self.vms(operation, &page).await?;
            if let Some(record) = found.items.into_iter().find(|record| record.address() == vm.as_str()) {
                return Ok(record);
            }
            match found.next {
                Some(next) => page = PageRequest::first().cursor(next),
                None => break,
            }
        }
        Err(vm.not_found().with_operation(operation))
    }
}

/// Where a page starts, as a cursor of the SDK.
enum Place {
    Number {
        page: u32,
        per_page: u32,
    },
    /// Behind this item of a list that the gateway does not cut.
    After(String),
}

impl Place {
    fn read(page: &PageRequest) -> Result<Self> {
        let Some(cursor) = &page.cursor else {
            return Ok(Self::Number { page: 1, per_page: page.limit.unwrap_or(MOST).clamp(1, MOST) });
        };
        let unknown = || Error::invalid("cursor", "it is none that this gateway's lists have given");
        match cursor.split_once(':').ok_or_else(unknown)? {
            ("a", last) => Ok(Self::After(last.to_owned())),
            ("p", place) => {
                let (page, per_page) = place.split_once('/').ok_or_else(unknown)?;
                let number = |text: &str| text.parse().map_err(|_| unknown());
                Ok(Self::Number { page: number(page)?, per_page: number(per_page)? })
            }
            _ => Err(unknown()),
        }
    }
}

/// A value as this type, with the place in the document where it is not.
pub(super) fn typed<T: DeserializeOwned>(value: &Value) -> Result<T> {
    let bytes =
        serde_json::to_vec(value).map_err(|error| Error::new(ErrorKind::Protocol, error.to_string()))?;
    decode(&bytes)
}

/// Names the object that a call was about, in an error that names none.
pub(super) fn about<'a>(noun: &'a str, id: impl fmt::Display + 'a) -> impl FnOnce(Error) -> Error + 'a {
    move |error| error.with_target(noun, id)
}
