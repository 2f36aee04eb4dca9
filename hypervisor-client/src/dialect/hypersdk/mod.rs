//! HyperSDK's daemon `hypervisord`: libvirt on one host, by way of `virsh`, over plain http and without credentials.
//!
//! Written after its API document and against its version 0.0.1, which differ: the document's envelope
//! `{status, message, data, timestamp}` and the daemon's bare objects and lists are both understood. What the daemon cannot do (make a
//! machine from nothing, change one, move one) is [`Unsupported`](hypervisor_core::ErrorKind::Unsupported) with the reason.
//!
//! | | |
//! |---|---|
//! | [`VmId`] | the name; the uid is libvirt's UUID. A UUID is also taken as an id |
//! | [`VolumeId`](hypervisor_core::model::VolumeId) | `pool/name` |
//! | [`NicId`](hypervisor_core::model::NicId) | the MAC address |
//! | [`TaskId`](hypervisor_core::model::TaskId) | a job, which exports a machine from a vCenter; all else is done when the call returns |
//!
//! The daemon works while the caller waits, and cuts the connection after 30 s. What takes longer (a copy of a large disk) ends in
//! [`Transport`](hypervisor_core::ErrorKind::Transport) of unknown effect and goes on: look for the result before trying again. A call that
//! waits for a disk or a guest may take half as long again as [`ClientConfig::timeout`] says: 45 s where nothing else was asked for.
//!
//! ```no_run
//! # async fn run() -> hypervisor_core::Result<()> {
//! use hypervisor_client::ClientConfig;
//! use hypervisor_client::dialect::hypersdk::HyperSdk;
//! use hypervisor_core::model::{PageRequest, VmQuery};
//! use hypervisor_core::traits::Compute as _;
//! let hypersdk = HyperSdk::connect(ClientConfig::new("http+hypersdk://host:8080")?).await?;
//! for vm in hypersdk.list_vms(&VmQuery::all(), &PageRequest::first()).await?.items {
//!     println!("{} {}", vm.name, vm.state);
//! }
//! hypersdk.api().send_keys("web-01", &["KEY_LEFTCTRL", "KEY_LEFTALT", "KEY_DELETE"]).await?;
//! # Ok(()) }
//! ```

mod api;
mod backups;
mod batch;
pub(crate) mod capabilities;
mod compute;
mod error;
mod events;
mod metrics;
mod names;
mod network;
pub mod routes;
mod snapshots;
mod storage;
mod tasks;
pub mod wire;

use hypervisor_core::feed::Poller;
use hypervisor_core::http::{Request, Response};
use hypervisor_core::model::{BackendInfo, Capabilities, Feature, VmId};
use hypervisor_core::traits::Guest;
use hypervisor_core::{Error, ErrorKind, Hypervisor, Operation, Result};

use crate::ClientConfig;

pub use api::{Api, Feed};
#[cfg(any(test, fuzzing))]
pub(crate) use wire::fuzzing::answers;

/// The backend's name.
pub(crate) const BACKEND: &str = "hypersdk";

/// How many details of a list are asked for at a time: each is some processes on the daemon's host.
const AT_ONCE: usize = 4;

/// A connection to HyperSDK's daemon.
#[derive(Debug)]
pub struct HyperSdk {
    api: Api,
    info: BackendInfo,
    capabilities: Capabilities,
    events: Poller,
}

impl HyperSdk {
    /// Connects: looks whether the daemon is well, and which version it is. A user and password are changed into a session with the first call
    /// that the daemon refuses without one.
    ///
    /// # Errors
    /// [`Config`](ErrorKind::Config) where something else answers, or for credentials that the daemon has no use for; otherwise what
    /// connecting says.
    pub async fn connect(config: ClientConfig) -> Result<Self> {
        let api = Api::new(config.client()?, config.who(), config.privacy())?;
        let backend = |error: Error| error.with_backend(BACKEND);
        let health = api.health().await.map_err(|error| backend(not_the_daemon(error)))?;
        let version = match api.status().await {
            Ok(status) => Some(status.version),
            Err(error) if matches!(error.kind(), ErrorKind::Unsupported | ErrorKind::Protocol) => None,
            Err(error) => return Err(backend(error)),
        };
        tracing::debug!(status = health.status, version, "connected to hypervisord");
        let info = BackendInfo::new(BACKEND, config.to_string());
        let mut info = info.volume_unit(storage::UNIT).networks_need_dhcp(true);
        info.version = version.filter(|version| !version.is_empty());
        let events = events::poller(&api);
        Ok(Self { api, info, capabilities: capabilities::claims(), events })
    }

    /// The daemon's own API.
    #[must_use]
    pub fn api(&self) -> &Api {
        &self.api
    }

    /// Sends any request with our credentials, and gives the answer whatever its status. Nothing is checked: names that begin with `-` reach
    /// `virsh` as options.
    ///
    /// # Errors
    /// As [`Http::send`](hypervisor_core::http::Http::send).
    pub async fn raw(&self, request: Request) -> Result<Response> {
        self.api.raw(request).await
    }

    /// Passes if the operation and all that the call needs of it can be done.
    fn require(&self, operation: Operation, needs: &[Feature]) -> Result<()> {
        self.capabilities.require_all(operation, needs)
    }
}

impl Hypervisor for HyperSdk {
    fn info(&self) -> &BackendInfo {
        &self.info
    }

    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }
}

/// The daemon never speaks to an agent in a guest.
impl Guest for HyperSdk {}

/// Something answers at `/health`, but not as the daemon does.
fn not_the_daemon(error: Error) -> Error {
    match error.kind() {
        ErrorKind::Unsupported | ErrorKind::Protocol | ErrorKind::NotFound => {
            Error::new(ErrorKind::Config, format!("no HyperSDK daemon answers here: {}", error.message()))
        }
        _ => error,
    }
}

/// Names the operation and the backend in an error.
fn named(operation: Operation) -> impl Fn(Error) -> Error {
    move |error| error.with_operation(operation).with_backend(BACKEND)
}

/// Names the guest in an error.
fn of_vm(vm: &VmId) -> impl Fn(Error) -> Error + '_ {
    move |error| error.with_target(VmId::NOUN, vm)
}
