//! Sending a call, and what its answer or refusal means.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures::{FutureExt as _, StreamExt as _};
use hypervisor_core::http::{Http, Method, Request, Response, WebSocket};
use hypervisor_core::model::{Unreachable, VmId};
use hypervisor_core::{Effect, Error, ErrorKind, Operation, Result, Retry};
use secrecy::{ExposeSecret as _, SecretString};
use serde::de::{DeserializeOwned, IgnoredAny};

use super::BACKEND;
use super::routes::{self, Generation};
use super::wire::{Blame, HostRecord, Info, Listed, Place, Said, VmRow};
use crate::config::Credentials;

/// How many hosts, or guests of one host, are asked at a time.
const AT_A_TIME: usize = 8;
/// How many guests of a host the server is made to look at for one list, and for how long that may last.
const LOOKS: usize = 16;
const LOOKING: Duration = Duration::from_secs(5);

/// The server, its generation, and who we are to it.
#[derive(Debug, Clone)]
pub(crate) struct Api {
    pub(crate) http: Http,
    pub(crate) generation: Generation,
    who: Arc<Credentials>,
}

/// What a call is about, for its error.
#[derive(Debug, Clone)]
pub(crate) enum About {
    Vm(Place),
    Host(String),
    Other(&'static str, String),
    Nothing,
}

impl About {
    fn host(&self) -> Option<&str> {
        match self {
            Self::Vm(place) => Some(&place.host),
            Self::Host(host) => Some(host),
            Self::Other(..) | Self::Nothing => None,
        }
    }

    fn name(&self, error: Error) -> Error {
        match self {
            Self::Vm(place) => error.with_target(VmId::NOUN, place),
            Self::Host(host) => error.with_target("host", host),
            Self::Other(noun, id) => error.with_target(noun, id),
            Self::Nothing => error,
        }
    }
}

/// A host with its guests, as far as both could be seen.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) host: HostRecord,
    pub(crate) vms: Vec<VmRow>,
    /// Whether the guests are those that it has; if not, none could be read.
    pub(crate) listed: bool,
    /// Why it, or its guests, could not be asked.
    pub(crate) trouble: Option<String>,
    /// Whether the gateway is connected to it.
    pub(crate) reachable: bool,
}

impl Seen {
    pub(crate) fn unreachable(&self) -> Option<Unreachable> {
        let reason = self.trouble.as_deref()?;
        Some(Unreachable::new(self.host.id.as_str(), reason))
    }
}

impl Api {
    pub(crate) fn new(http: Http, who: Credentials, generation: Generation) -> Self {
        Self { http, who: Arc::new(who), generation }
    }

    pub(crate) fn with_generation(self, generation: Generation) -> Self {
        Self { generation, ..self }
    }

    /// The request of an operation.
    pub(crate) fn request(&self, operation: Operation, parts: &[(&str, &str)]) -> Result<Request> {
        routes::request(self.generation, operation, parts)
    }

    /// Sends a request as whoever we are. The server itself asks nobody who he is; what stands before it may.
    pub(crate) async fn send(&self, request: Request) -> Result<Response> {
        self.http.send(self.signed(request)).await
    }

    fn signed(&self, request: Request) -> Request {
        let bearer = |scheme: &str, token: &str| SecretString::from(format!("{scheme} {token}"));
        match &*self.who {
            Credentials::Bearer(token) => {
                request.secret_header("authorization", &bearer("Bearer", token.expose_secret()))
            }
            Credentials::ApiKey(key) => request.secret_header("x-api-key", key),
            Credentials::Basic { user, password } => {
                let pair = STANDARD.encode(format!("{user}:{}", password.expose_secret()));
                request.secret_header("authorization", &bearer("Basic", &pair))
            }
            _ => request,
        }
    }

    /// Opens a WebSocket at a path outside or inside of the API.
    pub(crate) async fn websocket(&self, request: Request) -> Result<WebSocket> {
        let refused = |response: &Response| refusal(response, true, &About::Nothing);
        let opened = self.http.websocket_or(self.signed(request), refused).await;
        opened.map_err(|error| error.with_backend(BACKEND))
    }

    /// A call that answers with JSON.
    pub(crate) async fn json<T: DeserializeOwned>(&self, request: Request, about: &About) -> Result<T> {
        let reads = *request.method() == Method::GET;
        let response = self.succeed(request, about).await?;
        if response.status() == 204 && response.bytes().is_empty() {
            let error = Error::new(ErrorKind::Protocol, "the answer is empty where JSON is expected");
            return Err(finish(error, response.error().operation(), reads, about));
        }
        response.json().map_err(|error| finish(error, None, reads, about))
    }

    /// A call whose answer says nothing but that it is done.
    pub(crate) async fn done(&self, request: Request, about: &About) -> Result<()> {
        let reads = *request.method() == Method::GET;
        let response = self.succeed(request, about).await?;
        let html = response.header("content-type").is_some_and(|kind| kind.contains("html"));
        if html {
            // The web interface answers every path that the API does not know.
            let error =
                Error::new(ErrorKind::Protocol, "a page of the web interface came where the API is expected");
            return Err(finish(error, response.error().operation(), reads, about));
        }
        if response.is_json() && !response.bytes().trim_ascii().is_empty() {
            // Nothing of it is wanted, but one that breaks off may have been about to say something else.
            response.json::<IgnoredAny>().map_err(|error| finish(error, None, reads, about))?;
        }
        Ok(())
    }

    async fn succeed(&self, request: Request, about: &About) -> Result<Response> {
        let reads = *request.method() == Method::GET;
        let response = self.send(request).await.map_err(|error| finish(error, None, reads, about))?;
        if response.is_success() {
            return Ok(response);
        }
        let error = refusal(&response, reads, about);
        Err(self.settle(error, about).await)
    }

    /// The server says of an unknown host what it says of one that it is not connected to: that it is not connected.
    async fn settle(&self, error: Error, about: &About) -> Error {
        let (ErrorKind::HostUnreachable, Some(host)) = (error.kind(), about.host()) else { return error };
        match self.hosts().await {
            Ok(hosts) if hosts.iter().all(|known| known.id != host) => {
                let missing = Error::new(ErrorKind::NotFound, error.message()).with_backend(BACKEND);
                let missing = match error.operation() {
                    Some(operation) => missing.with_operation(operation),
                    None => missing,
                };
                about.name(missing)
            }
            _ => error,
        }
    }

    /// The hosts.
    pub(crate) async fn hosts(&self) -> Result<Vec<HostRecord>> {
        let request = self.request(Operation::ListHosts, &[])?;
        // Boxed: a refusal of another call may end up here.
        let answer: Listed<HostRecord> = Box::pin(self.json(request, &About::Nothing)).await?;
        Ok(answer.into_vec())
    }

    /// One host.
    pub(crate) async fn host(&self, id: &str) -> Result<HostRecord> {
        let found = self.hosts().await?.into_iter().find(|host| host.id == id);
        found.ok_or_else(|| Error::not_found("host", id).with_backend(BACKEND))
    }

    /// What libvirt says of a host.
    pub(crate) async fn info(&self, host: &str) -> Result<Info> {
        let request = self.request(Operation::GetHost, &[("host", host)])?;
        self.json(request, &About::Host(host.to_owned())).await
    }

    /// A host's guests. An unknown host has none.
    pub(crate) async fn vms(&self, host: &str) -> Result<Vec<VmRow>> {
        let request = self.request(Operation::ListVms, &[("host", host)])?;
        let answer: Listed<VmRow> = self.json(request, &About::Host(host.to_owned())).await?;
        Ok(answer.into_vec())
    }

    /// One guest, and whether its host can be reached, where that is known.
    pub(crate) async fn vm(&self, place: &Place) -> Result<(VmRow, Option<bool>)> {
        let about = About::Vm(place.clone());
        let vms = self.vms(&place.host).await?;
        let Some(vm) = vms.into_iter().find(|vm| vm.name == place.name) else {
            return Err(about.name(Error::new(ErrorKind::NotFound, "").with_backend(BACKEND)));
        };
        let reachable = match self.generation {
            Generation::Current if vm.is_unseen() => self.host(&place.host).await?.is_connected(),
            Generation::Current => None,
            Generation::Documented | Generation::Early => Some(self.connected(&place.host).await?.is_none()),
        };
        Ok((vm, reachable))
    }

    /// One guest as libvirt has it now. What a current server lists may be half a minute old: it looks at its guests every 30 s, after each
    /// power verb, and at a guest whose devices are asked for.
    pub(crate) async fn vm_now(&self, place: &Place) -> Result<(VmRow, Option<bool>)> {
        self.have_looked(place).await?;
        self.vm(place).await
    }

    /// Has a current server look at a guest. Where it cannot, its list still tells what it knows.
    async fn have_looked(&self, place: &Place) -> Result<()> {
        if self.generation < Generation::Current {
            return Ok(());
        }
        let parts = [("host", place.host.as_str()), ("vm", place.name.as_str())];
        let request = self.request(Operation::GetVmConfig, &parts)?.deadline(LOOKING);
        match self.send(request).await {
            Err(error) if concerns_all(&error) => {
                let about = About::Vm(place.clone());
                Err(finish(error, Some(Operation::GetVm), true, &about))
            }
            _ => Ok(()),
        }
    }

    /// A host's guests; those of which a current server does not know what they do, though it is connected, are looked at once more: it
    /// forgets all of them with a connection, and does not always look again by itself after the next.
    async fn vms_seen(&self, host: &str) -> Result<Vec<VmRow>> {
        let vms = self.vms(host).await?;
        let unseen = vms.iter().filter(|vm| vm.is_unseen() && !vm.is_being_made());
        let unseen: Vec<Place> = unseen.take(LOOKS).map(|vm| Place::new(host, vm.name.as_str())).collect();
        if unseen.is_empty() {
            return Ok(vms);
        }
        let looks = unseen.into_iter().map(|place| {
            let api = self.clone();
            // Boxed, or the compiler does not see that what streams call this can be sent to other threads.
            async move { api.have_looked(&place).await.is_ok() }.boxed()
        });
        let looks = futures::stream::iter(looks).buffer_unordered(AT_A_TIME).collect::<Vec<bool>>();
        // The list is worth more than the rest of them.
        let _ = tokio::time::timeout(LOOKING, looks).await;
        self.vms(host).await
    }

    /// Why the gateway cannot reach a host of whose connection its list says nothing, if it cannot.
    async fn connected(&self, host: &str) -> Result<Option<String>> {
        match self.info(host).await {
            Ok(info) if info.connected => Ok(None),
            Ok(_) => Ok(Some("the gateway is not connected to it".to_owned())),
            Err(error) if concerns_all(&error) => Err(error),
            Err(error) => Ok(Some(reason(&error))),
        }
    }

    /// The hosts, all or only this one, with their guests.
    pub(crate) async fn survey(&self, only: Option<&str>) -> Result<Vec<Seen>> {
        let mut hosts = self.hosts().await?;
        hosts.retain(|host| only.is_none_or(|only| host.id == only));
        self.look_at(hosts).await
    }

    /// These hosts with their guests; those that are gone meanwhile are left out.
    pub(crate) async fn look_at(&self, hosts: Vec<HostRecord>) -> Result<Vec<Seen>> {
        let seen: Vec<Result<Option<Seen>>> =
            futures::stream::iter(hosts.into_iter().map(|host| self.look(host)))
                .buffered(AT_A_TIME)
                .collect()
                .await;
        seen.into_iter().filter_map(Result::transpose).collect()
    }

    async fn look(&self, host: HostRecord) -> Result<Option<Seen>> {
        let connection = async {
            match host.is_connected() {
                Some(true) => Ok(None),
                Some(false) => Ok(Some(host.trouble())),
                None => self.connected(&host.id).await,
            }
        };
        let vms = async {
            match host.is_connected() {
                Some(true) => self.vms_seen(&host.id).await,
                _ => self.vms(&host.id).await,
            }
        };
        let (vms, connection) = futures::join!(vms, connection);
        let trouble = connection?;
        let reachable = trouble.is_none();
        match vms {
            Ok(vms) => Ok(Some(Seen { host, vms, listed: true, trouble, reachable })),
            // It was removed meanwhile.
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) if concerns_all(&error) => Err(error),
            Err(error) => {
                let trouble = Some(trouble.unwrap_or_else(|| reason(&error)));
                Ok(Some(Seen { host, vms: Vec::new(), listed: false, trouble, reachable }))
            }
        }
    }
}

/// Whether an error about one host would be the same for the others, so that a list cannot do without this one.
fn concerns_all(error: &Error) -> bool {
    use ErrorKind::{Config, Connect, PermissionDenied, RateLimited, Unauthenticated};
    matches!(error.kind(), Config | Connect | PermissionDenied | RateLimited | Unauthenticated)
}

fn reason(error: &Error) -> String {
    if error.message().is_empty() { error.kind().to_string() } else { error.message().to_owned() }
}

/// Names the operation and the object in an error, and says that a read had no effect.
fn finish(error: Error, operation: Option<Operation>, reads: bool, about: &About) -> Error {
    let error = if reads { error.with_effect(Effect::None) } else { error };
    let error = match operation {
        Some(operation) => error.with_operation(operation),
        None => error,
    };
    about.name(error).with_backend(BACKEND)
}

/// The error of an answer that is none of success.
fn refusal(response: &Response, reads: bool, about: &About) -> Error {
    let html = response.header("content-type").is_some_and(|kind| kind.contains("html"));
    let said = Said::read(response.bytes()).or_else(|| {
        let text = response.text().trim().to_owned();
        (!html && !text.is_empty()).then_some(Said { message: text, code: None })
    });
    let fallback = response.error();
    let operation = fallback.operation();
    let Some(said) = said else { return finish(fallback, operation, reads, about) };
    let (kind, blame, retry) =
        Blame::of(&said, response.status()).unwrap_or((fallback.kind(), Blame::Target, None));
    let mut error = Error::new(kind, cut(&said.message));
    error = error.with_code(said.code.unwrap_or_else(|| response.status().to_string()));
    if kind == fallback.kind() && fallback.retry() != Retry::Never {
        error = error.with_retry(fallback.retry());
    }
    if let Some(retry) = retry {
        error = error.with_retry(retry);
    }
    if let Some(after) = response.retry_after() {
        error = error.with_retry_after(after);
    }
    // A guest on a host that does not exist does not exist; a host that cannot be reached is the host's trouble.
    if let (ErrorKind::HostUnreachable, Blame::Host, Some(host)) = (kind, blame, about.host()) {
        error = error.with_target("host", host);
    }
    if kind == ErrorKind::InvalidInput {
        error = error.with_effect(Effect::None);
    }
    finish(error, operation, reads, about)
}

fn cut(text: &str) -> String {
    const SHOWN: usize = 500;
    if text.chars().count() <= SHOWN {
        text.to_owned()
    } else {
        text.chars().take(SHOWN).chain(['…']).collect()
    }
}
