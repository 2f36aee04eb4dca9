//! The connection.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use hypervisor_core::http::{Request, Response};
use hypervisor_core::model::{BackendInfo, Capabilities, Feature};
use hypervisor_core::model::{TaskId, TaskInfo};
use hypervisor_core::traits::{Backups, Batch, Guest, Hypervisor, Snapshots, Tasks};
use hypervisor_core::{Error, ErrorKind, Operation, Result};

use super::BACKEND;
use super::api::Api;
use super::events::Hub;
use super::probe;
use super::routes::{self, Generation};
use crate::config::{ClientConfig, Credentials};

/// A connection to a Virtumancer server. Clones share it, and with it one WebSocket, which is opened by the first stream of events or
/// loads and closed when the last of them is gone.
///
/// ```no_run
/// # async fn run() -> hypervisor_core::Result<()> {
/// use hypervisor_client::ClientConfig;
/// use hypervisor_client::dialect::virtumancer::Virtumancer;
/// let url = "https+virtumancer://kvm.example:8890?hv_fingerprint=2b1e…";
/// let virtumancer = Virtumancer::connect(ClientConfig::new(url)?).await?;
/// for host in virtumancer.hosts().await? {
///     println!("{}: {}", host.id, host.uri);
/// }
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Virtumancer {
    pub(super) inner: Arc<Inner>,
}

pub(super) struct Inner {
    pub(super) api: Api,
    pub(super) hub: Arc<Hub>,
    info: BackendInfo,
    capabilities: Capabilities,
}

impl fmt::Debug for Virtumancer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Virtumancer").field("info", &self.inner.info).finish_non_exhaustive()
    }
}

impl Virtumancer {
    /// Connects: asks at most four routes to find out the generation. The URL is that of the server, without `/api`.
    ///
    /// # Errors
    /// [`Config`](ErrorKind::Config) where something else answers, or credentials would go over plain http;
    /// [`Connect`](ErrorKind::Connect) where nobody does or the certificate is not trusted.
    pub async fn connect(config: ClientConfig) -> Result<Self> {
        let http = config.client()?;
        if matches!(config.who(), Credentials::OAuth { .. }) {
            let message = "Virtumancer has no OAuth: use a token, an API key, or user and password for what stands before it";
            return Err(Error::new(ErrorKind::Config, message).with_backend(BACKEND));
        }
        let api = Api::new(http, config.who().clone(), Generation::Current);
        let generation = probe::generation(&api).await?;
        let api = api.with_generation(generation);
        let endpoint = api.http.base().as_str().trim_end_matches('/').to_owned();
        let inner = Inner {
            hub: Hub::new(api.clone()),
            info: BackendInfo::new(BACKEND, endpoint).version(generation.as_str()),
            capabilities: probe::capabilities(generation),
            api,
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Which of its shapes the server has.
    #[must_use]
    pub fn generation(&self) -> Generation {
        self.inner.api.generation
    }

    /// Sends a call that has no method here, with our credentials. The path is the whole one (`/api/v1/video/models`); any status is an
    /// answer.
    ///
    /// # Errors
    /// Where no answer came: as [`Http::send`](hypervisor_core::http::Http::send).
    pub async fn raw(&self, request: Request) -> Result<Response> {
        self.inner.api.send(request).await.map_err(|error| error.with_backend(BACKEND))
    }

    /// Whether the server says that it is well (`GET /health`).
    ///
    /// # Errors
    /// `Unsupported` for the document's shape, which has no such route.
    pub async fn health(&self) -> Result<bool> {
        #[derive(serde::Deserialize)]
        struct Health {
            ok: bool,
        }
        self.at_least(Generation::Early, "health")?;
        let request = Request::get(self.path("/health", &[])?);
        let health: Health = self.inner.api.json(request, &super::api::About::Nothing).await?;
        Ok(health.ok)
    }

    pub(super) fn require(&self, operation: Operation, needs: &[Feature]) -> Result<()> {
        self.inner.capabilities.require_all(operation, needs)
    }

    /// Passes where the server is of this generation or a later one.
    pub(super) fn at_least(&self, generation: Generation, what: &str) -> Result<()> {
        let own = self.generation();
        if own >= generation { Ok(()) } else { Err(routes::unsupported(own, what).with_backend(BACKEND)) }
    }

    pub(super) fn path(&self, template: &str, parts: &[(&str, &str)]) -> Result<String> {
        routes::path(self.generation(), template, parts)
    }
}

impl Hypervisor for Virtumancer {
    fn info(&self) -> &BackendInfo {
        &self.inner.info
    }

    fn capabilities(&self) -> &Capabilities {
        &self.inner.capabilities
    }
}

#[async_trait]
impl Tasks for Virtumancer {
    async fn get_task(&self, task: &TaskId, _: Option<std::time::Duration>) -> Result<TaskInfo> {
        self.require(Operation::GetTask, &[])?;
        Err(task.not_found())
    }
}

/// Core's own algorithm: the server has no call for many guests.
impl Batch for Virtumancer {}
impl Backups for Virtumancer {}
impl Guest for Virtumancer {}
impl Snapshots for Virtumancer {}
