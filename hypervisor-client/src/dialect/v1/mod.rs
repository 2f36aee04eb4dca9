//! The v1 REST API: the document of the "Proxmox AI Infrastructure Assistant", and what `hypervisor-gateway` adds to it.
//!
//! A gateway that answers `GET /v1/info` with `"extensions": ["native-v1"]` speaks the whole model of the SDK: its capabilities are those of
//! the backend that it serves, and nothing is lost on the way. Any other gateway gets the documented calls and no others. What these
//! cannot express is [`Unsupported`](hypervisor_core::ErrorKind::Unsupported) or
//! [`InvalidInput`](hypervisor_core::ErrorKind::InvalidInput), before anything is sent.
//!
//! ```no_run
//! # async fn run() -> hypervisor_core::Result<()> {
//! use hypervisor_client::ClientConfig;
//! use hypervisor_client::dialect::v1::{SANDBOX, V1};
//! use hypervisor_core::Hypervisor as _;
//! let v1 = V1::connect(ClientConfig::new(SANDBOX)?.token("pxa_1234567890abcdef")).await?;
//! println!("{} calls left", v1.rate_limit().map_or(0, |limit| limit.remaining));
//! assert!(v1.capabilities().has(hypervisor_core::Operation::ListVms));
//! # Ok(()) }
//! ```

mod backups;
mod batch;
mod call;
pub(crate) mod capabilities;
mod compute;
mod console;
mod documented;
mod error;
mod events;
mod guest;
mod metrics;
mod network;
mod own;
mod routes;
mod snapshots;
mod storage;
mod tasks;
mod update;
mod wire;

pub use own::VmFilter;
pub use routes::{DOCUMENTED, NATIVE, Route};
pub use wire::backup::{BackupRecord, BackupRequest};
pub use wire::envelope::{Meta, Pagination};
pub use wire::job::{JobLine, JobRecord};
pub use wire::metrics::Metric;
pub use wire::network::{AddressRange, FirewallRule, NetworkRecord, V1NetworkOptions};
pub use wire::own::{
    GatewayInfo, GenerateContext, GenerateSpec, GeneratedCode, Health, Scan, ScanOptions, ScanSpec,
    SecurityAnalysis, Session, Token, TokenSpec, Webhook, WebhookSpec,
};
pub use wire::pool::PoolRecord;
pub use wire::snapshot::SnapshotRecord;
pub use wire::vm::{VmBackup, VmConfiguration, VmDisk, VmInterface, VmPerformance, VmRecord, VmSecurity};
pub use wire::vm_body::{BackupPlan, V1Options};

use hypervisor_core::http::{RateLimit, Request, Response};
use hypervisor_core::model::{BackendInfo, Capabilities, Feature};
use hypervisor_core::{ErrorKind, Hypervisor, Operation, Result};

#[cfg(any(test, fuzzing))]
pub(crate) use self::{events::frame, wire::fuzzing::answers};

use self::call::Link;
use crate::config::ClientConfig;

/// The backend's name, in [`BackendInfo::backend`] and in `extra`.
pub const BACKEND: &str = "v1";

/// The documented production server.
pub const PRODUCTION: &str = "https+v1://api.proxmox-ai.internal/v1";

/// The documented sandbox: no real infrastructure, reset every day at 00:00 UTC, ten times the calls.
pub const SANDBOX: &str = "https+v1://sandbox-api.proxmox-ai.internal/v1";

/// Why the documented API has most operations not.
const NOT_DOCUMENTED: &str = "the gateway's documented API has no such call";

/// A connection to a gateway that speaks v1.
#[derive(Debug)]
pub struct V1 {
    link: Link,
    native: bool,
    info: BackendInfo,
    capabilities: Capabilities,
}

impl V1 {
    /// Connects, and asks the gateway what it is (`GET /v1/info`). The URL's path is that of the API: `/v1` where it has none.
    ///
    /// Credentials: a bearer token (an API token, or an access token of OAuth), a client of OAuth (`POST /v1/oauth/token`, client
    /// credentials), or a user and password, which go over https only.
    ///
    /// # Errors
    /// `Connect`, `Unauthenticated`, `PermissionDenied`, or `Config` for credentials that must not be sent.
    pub async fn connect(config: ClientConfig) -> Result<Self> {
        let encrypted = config.endpoint().scheme() == "https";
        let endpoint = config.to_string();
        let link = Link::new(config.client()?, config.who(), encrypted, config.privacy())?;
        let told = link.data::<GatewayInfo>(Request::get(format!("{}/info", link.prefix()))).await;
        let told = match told {
            Ok(told) => told,
            // The document names the route and shows nothing of what it answers.
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::NotFound | ErrorKind::Unsupported | ErrorKind::Protocol
                ) =>
            {
                GatewayInfo::default()
            }
            Err(error) => return Err(error.with_backend(BACKEND)),
        };
        let native = told.is_native();
        let mut info = BackendInfo::new(BACKEND, endpoint);
        info.version = told.version;
        if let Some(behind) = told.backend.filter(|_| native) {
            info.volume_unit = behind.volume_unit;
            info.networks_need_dhcp = behind.networks_need_dhcp;
        }
        let capabilities = match told.capabilities {
            Some(capabilities) if native => capabilities,
            _ => capabilities::documented(),
        };
        Ok(Self { link, native, info, capabilities })
    }

    /// Whether the gateway speaks the whole model of the SDK.
    #[must_use]
    pub fn is_native(&self) -> bool {
        self.native
    }

    /// What the gateway said of its limits with the last answer (`X-RateLimit-*`).
    #[must_use]
    pub fn rate_limit(&self) -> Option<RateLimit> {
        self.link.rate_limit()
    }

    /// Sends any call, with the connection's credentials, and gives back whatever the gateway answers. The path is put behind that of the
    /// configuration's URL: `/v1/vms`, or `/vms` where the URL ends in `/v1` itself.
    ///
    /// # Errors
    /// Only where no answer came.
    pub async fn raw(&self, request: Request) -> Result<Response> {
        self.link.raw(request).await
    }

    /// The request for an operation, in the words of this gateway.
    fn request(&self, operation: Operation, ids: &[&str]) -> Result<Request> {
        let table = if self.native { NATIVE } else { DOCUMENTED };
        routes::request(table, self.link.prefix(), operation, ids)
    }

    /// The request for a call that only this API has.
    fn own(&self, method: hypervisor_core::http::Method, path: &str) -> Request {
        Request::new(method, format!("{}{path}", self.link.prefix()))
    }

    /// Passes if the gateway can do this.
    fn needs(&self, operation: Operation, needs: &[Feature]) -> Result<()> {
        self.capabilities.require_all(operation, needs)
    }
}

impl Hypervisor for V1 {
    fn info(&self) -> &BackendInfo {
        &self.info
    }

    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }
}
