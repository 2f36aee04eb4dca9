//! The connection: what it is to, what it can do, and how a call finds the node of its guest.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use hypervisor_core::feed::Poller;
use hypervisor_core::model::{BackendInfo, Capabilities, Feature, HostId, VmId, VmInfo};
use hypervisor_core::{Error, ErrorKind, Hypervisor, Operation, Result};
use tokio::time::Instant;

use crate::api::Api;
use crate::compute::create::Placed;
use crate::config::ProxmoxConfig;
use crate::error::{named, of_vm, says_no_guest};
use crate::ids::{Ids, Intents, Lost};
use crate::locate::{Locator, Place, View};
use crate::network::{Seen, Written};
use crate::probe::{Probe, probe};
use crate::tasks::chain::Chains;
use crate::tasks::waits::Waits;
use crate::wire::form;

/// How old the look at the cluster may be from which the place and the number of a new guest are chosen. A number that was taken
/// since is refused by the server, and another one is tried.
const VIEW_FOR_CREATE: Duration = Duration::from_secs(30);

/// A connection to Proxmox VE: one node or a cluster. Clones share it.
///
/// ```
/// # #[cfg(not(feature = "fake"))] fn main() {}
/// # #[cfg(feature = "fake")] #[tokio::main(flavor = "current_thread")] async fn main() -> hypervisor_core::Result<()> {
/// use hypervisor_core::model::{PageRequest, VmQuery};
/// use hypervisor_core::traits::Compute;
/// use hypervisor_proxmox::fake::{FakeGuest, FakePve};
/// use hypervisor_proxmox::{Proxmox, ProxmoxConfig};
/// let pve = FakePve::builder().vm(FakeGuest::vm(100).name("web-1")).start().await.unwrap();
/// // Of a real cluster: ProxmoxConfig::new("proxmox://root@pam!lab@pve1.example")?.with_env()?
/// let config = ProxmoxConfig::new(&pve.url())?.token(pve.token_id(), pve.token_secret());
/// let proxmox = Proxmox::connect(config).await?;
/// let vms = proxmox.list_vms(&VmQuery::all(), &PageRequest::first()).await?;
/// assert_eq!(vms.items[0].name, "web-1");
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Proxmox {
    pub(crate) inner: Arc<Inner>,
    pub(crate) events: Poller,
}

/// What the calls share.
pub(crate) struct Inner {
    pub(crate) api: Api,
    pub(crate) config: ProxmoxConfig,
    pub(crate) probe: Probe,
    info: BackendInfo,
    pub(crate) locator: Locator,
    pub(crate) ids: Ids,
    pub(crate) intents: Intents,
    pub(crate) lost: Lost,
    pub(crate) networks: Seen,
    pub(crate) written: Written,
    pub(crate) placed: Placed,
    pub(crate) chains: Chains,
    pub(crate) waits: Waits,
}

impl fmt::Debug for Proxmox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Proxmox")
            .field("config", &self.inner.config)
            .field("version", &self.inner.info.version)
            .finish_non_exhaustive()
    }
}

impl Proxmox {
    /// Connects, and finds out the server's version, what the caller may do and which hosts there are.
    ///
    /// # Errors
    /// `Config`, `Connect`, `Unauthenticated`, or what the server refuses the first calls with.
    pub async fn connect(config: ProxmoxConfig) -> Result<Self> {
        let api = Api::new(&config)?;
        let locator = Locator::default();
        let probe = probe(&api, &locator, &config).await?;
        let info = BackendInfo::new(crate::BACKEND, config.endpoint_url()).version(&probe.version);
        let inner = Inner {
            api,
            config,
            probe,
            info,
            locator,
            ids: Ids::default(),
            intents: Intents::default(),
            lost: Lost::default(),
            networks: Seen::default(),
            written: Written::default(),
            placed: Placed::default(),
            chains: Chains::default(),
            waits: Waits::default(),
        };
        let inner = Arc::new(inner);
        Ok(Self { events: crate::events::poller(&inner), inner })
    }

    /// The API as it is, for what the SDK does not offer.
    #[must_use]
    pub fn api(&self) -> &Api {
        &self.inner.api
    }

    /// What the driver does with Proxmox VE at best: release 9.1, and every privilege. For documentation; what a connection can do, it
    /// says itself.
    #[must_use]
    pub fn best_capabilities() -> Capabilities {
        crate::probe::capabilities((9, 1), None)
    }
}

impl Hypervisor for Proxmox {
    fn info(&self) -> &BackendInfo {
        &self.inner.info
    }

    fn capabilities(&self) -> &Capabilities {
        &self.inner.probe.capabilities
    }
}

/// A guest and where it is.
#[derive(Debug, Clone)]
pub(crate) struct Found {
    pub(crate) number: u32,
    pub(crate) place: Place,
}

impl Found {
    pub(crate) fn path(&self, rest: &str) -> Result<String> {
        self.place.path(self.number, rest)
    }
}

impl Inner {
    /// Passes if the operation and all that the call needs of it can be done.
    pub(crate) fn require(&self, operation: Operation, needs: &[Feature]) -> Result<()> {
        self.probe.capabilities.require_all(operation, needs).map_err(named(operation))
    }

    /// The cluster as it is now, in one request that is shared by who asks at the same time.
    pub(crate) async fn view(&self, operation: Operation) -> Result<Arc<View>> {
        self.locator.view(&self.api, operation, Instant::now()).await.map_err(named(operation))
    }

    /// The same, with its guests.
    pub(crate) async fn guests(&self, operation: Operation) -> Result<(Arc<View>, Vec<VmInfo>)> {
        self.locator.guests(&self.api, operation).await.map_err(named(operation))
    }

    /// The cluster as it was at this time or later.
    pub(crate) async fn view_since(&self, operation: Operation, since: Instant) -> Result<Arc<View>> {
        self.locator.view(&self.api, operation, since).await.map_err(named(operation))
    }

    /// The cluster as it was a moment ago: good enough to choose from.
    pub(crate) async fn recent_view(&self, operation: Operation) -> Result<Arc<View>> {
        let now = Instant::now();
        self.view_since(operation, now.checked_sub(VIEW_FOR_CREATE).unwrap_or(now)).await
    }

    /// Where a guest is.
    pub(crate) async fn find(&self, operation: Operation, vm: &VmId) -> Result<Found> {
        let place = self
            .locator
            .place(&self.api, operation, vm)
            .await
            .map_err(of_vm(vm))
            .map_err(named(operation))?;
        Ok(Found { number: form::vmid(vm)?, place })
    }

    /// Makes a call about a guest on the node that has it. Where that node does not have it any more, looks once where it has gone.
    pub(crate) async fn on_guest<T, F, Fut>(&self, operation: Operation, vm: &VmId, call: F) -> Result<T>
    where
        F: Fn(Found) -> Fut + Send,
        Fut: Future<Output = Result<T>> + Send,
    {
        let found = self.find(operation, vm).await?;
        let sent = Instant::now();
        let error = match call(found.clone()).await {
            Err(error) if says_no_guest(&error) => error,
            other => return other.map_err(of_vm(vm)).map_err(named(operation)),
        };
        let moved = self.locator.moved(&self.api, operation, vm, &found.place, sent).await;
        match moved.map_err(named(operation))? {
            Some(place) => call(Found { place, ..found }).await.map_err(of_vm(vm)).map_err(named(operation)),
            None => Err(named(operation)(crate::error::again(&error, vm.not_found()))),
        }
    }

    /// A host that answers: this one, if it is known and does.
    pub(crate) async fn check_host(&self, operation: Operation, host: &HostId) -> Result<()> {
        let view = self.recent_view(operation).await?;
        if view.hosts.iter().any(|known| known.id == *host) {
            return Ok(());
        }
        // It may have joined the cluster since.
        let view = self.view(operation).await?;
        if view.hosts.is_empty() || view.hosts.iter().any(|known| known.id == *host) {
            return Ok(());
        }
        Err(named(operation)(host.not_found()))
    }

    /// Any host that answers, where it does not matter which.
    pub(crate) async fn any_host(&self, operation: Operation) -> Result<HostId> {
        let view = self.recent_view(operation).await?;
        let preferred = self.config.host.as_ref().filter(|host| view.online().any(|online| online == *host));
        let host = preferred.or_else(|| view.online().next()).cloned();
        host.ok_or_else(|| {
            let error = Error::new(
                ErrorKind::HostUnreachable,
                "no host of the cluster is online, or none may be seen",
            );
            named(operation)(error)
        })
    }
}
