//! virtualization-mcp's HTTP API.
//!
//! Its document and its server disagree, and which of the two answers is found out when connecting ([`Shape`]):
//! - the document has conventions (API key and OAuth 2.0, the envelope `{"status", "data", "meta", "error"}`, error codes, pages with
//!   `X-Total-Count` and `Link`, `sort`, `fields`, `429` with `Retry-After`) and hardly a route;
//! - the server has the routes and none of the conventions: it asks for no credentials, ignores paging, tells failures by `200` with
//!   `"status": "error"`, by `"success": false` or by FastAPI's `detail`, and addresses machines by name.
//!
//! Machines are addressed by their id where the gateway gives one, otherwise by name.
//!
//! ```no_run
//! # async fn run() -> hypervisor_core::Result<()> {
//! use hypervisor_client::ClientConfig;
//! use hypervisor_client::dialect::virtualization_mcp::VirtualizationMcp;
//! let mcp = VirtualizationMcp::connect(ClientConfig::new("http+virtualization-mcp://localhost:10701")?).await?;
//! println!("{:?}: {} templates", mcp.shape(), mcp.templates().await?.len());
//! # Ok(()) }
//! ```

mod call;
pub(crate) mod capabilities;
mod compute;
mod error;
mod other;
mod own;
mod routes;
mod snapshots;
mod wire;

pub use own::{AdapterMode, ListOptions, PortForward};
pub use routes::{ROUTES, Route};
#[cfg(any(test, fuzzing))]
pub(crate) use wire::answers;
pub use wire::{McpOptions, SnapshotRecord, Template, VmRecord};

use std::fmt;
use std::sync::Arc;

use hypervisor_core::feed::{Pace, Poller};
use hypervisor_core::http::{Method, RateLimit, Request, Response};
use hypervisor_core::model::{BackendInfo, Capabilities};
use hypervisor_core::{ErrorKind, Hypervisor, Operation, Result};
use serde_json::Value;

use self::call::Link;
use crate::config::ClientConfig;

/// The backend's name, in [`BackendInfo::backend`] and in `extra`.
pub const BACKEND: &str = "virtualization-mcp";

/// Which of the two answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Shape {
    /// A server that keeps the document's conventions.
    Documented,
    /// The server as it is.
    Served,
}

/// A connection to virtualization-mcp.
pub struct VirtualizationMcp {
    link: Arc<Link>,
    shape: Shape,
    info: BackendInfo,
    capabilities: Capabilities,
    events: Poller,
}

impl fmt::Debug for VirtualizationMcp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VirtualizationMcp")
            .field("info", &self.info)
            .field("shape", &self.shape)
            .finish_non_exhaustive()
    }
}

impl VirtualizationMcp {
    /// Connects, and finds out which shape the answers have (`GET /api/v1/health`). The URL's path is that of the API: `/api/v1` where it has none.
    ///
    /// Credentials: an API key (`X-API-Key`), a bearer token, a client of OAuth or a user and password, which both get their tokens at
    /// `/auth/token`. The server as it is asks for none and looks at none.
    ///
    /// # Errors
    /// `Connect`, `Unauthenticated`, or `Config` for credentials that would go over plain http.
    pub async fn connect(config: ClientConfig) -> Result<Self> {
        let endpoint = config.to_string();
        let link = Arc::new(Link::new(config.client()?, config.who()));
        let shape = match link.value(link.request(Method::GET, "/health")).await {
            Ok(health) => shape_of(&health),
            // The document has no such route, and a server that keeps it has nothing else to tell the shapes apart by.
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::NotFound | ErrorKind::Unsupported | ErrorKind::Protocol
                ) =>
            {
                Shape::Documented
            }
            Err(error) => return Err(error.with_backend(BACKEND)),
        };
        let looks = Arc::clone(&link);
        let events = Poller::new(Pace::default(), move || {
            let link = Arc::clone(&looks);
            async move { link.all_vms(Operation::Watch).await }
        });
        let capabilities = capabilities::of(shape);
        Ok(Self { link, shape, info: BackendInfo::new(BACKEND, endpoint), capabilities, events })
    }

    /// Which shape the answers have.
    #[must_use]
    pub fn shape(&self) -> Shape {
        self.shape
    }

    /// What the gateway said of its limits with the last answer, if it said anything.
    #[must_use]
    pub fn rate_limit(&self) -> Option<RateLimit> {
        self.link.rate_limit()
    }

    /// Sends any call, with the connection's credentials, and gives back whatever comes. The path is put behind that of the configuration's
    /// URL: `/api/v1/apps`, or `/apps` where the URL ends in `/api/v1` itself.
    ///
    /// # Errors
    /// Only where no answer came.
    pub async fn raw(&self, request: Request) -> Result<Response> {
        self.link.raw(request).await
    }
}

/// The server's own health has names that the document's envelope has not.
fn shape_of(health: &Value) -> Shape {
    let own = ["mcp_connected", "service_manager"];
    if own.iter().any(|key| health.get(key).is_some()) { Shape::Served } else { Shape::Documented }
}

impl Hypervisor for VirtualizationMcp {
    fn info(&self) -> &BackendInfo {
        &self.info
    }

    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }
}
