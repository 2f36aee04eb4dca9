use std::sync::Arc;

use futures::FutureExt;
use futures::stream::BoxStream;

use super::link::Link;
use super::listing::{Listing, Pages, lists};
use super::settle::Settle;
use super::task::Task;
use crate::error::Result;
use crate::model::{Lease, NetworkChange, NetworkId, NetworkInfo, NetworkSpec, Page, PageRequest};
use crate::operation::Operation;
use crate::traits::Hypervisor;

/// All networks.
///
/// ```
/// # use std::sync::Arc;
/// use hypervisor_core::Hypervisor;
/// use hypervisor_core::memory::Memory;
/// use hypervisor_core::model::{NetworkSpec, NicSpec, VmSpec};
/// # tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap().block_on(async {
/// let hv: Arc<dyn Hypervisor> = Arc::new(Memory::new());
/// let lab = NetworkSpec::nat("lab", "10.20.30.1/24".parse().unwrap()).dhcp_from_cidr();
/// let network = hv.networks().create(&lab).await?.await?;
/// network.start().await?.await?;
/// assert!(network.info().await?.active);
/// let vm = hv.vms().create(&VmSpec::new("web-1").nic(NicSpec::network("lab")).start(true)).await?.await?;
/// println!("{:?}", network.leases().await?);
/// # vm.power_off().await?.await?;
/// # Ok::<(), hypervisor_core::Error>(()) }).unwrap();
/// ```
#[derive(Debug, Clone)]
pub struct Networks {
    link: Link,
}

/// One network.
#[derive(Debug, Clone)]
pub struct Network {
    link: Link,
    id: NetworkId,
}

impl dyn Hypervisor {
    /// The networks.
    #[must_use]
    pub fn networks(self: &Arc<Self>) -> Networks {
        Networks { link: Link::new(self) }
    }

    /// One network by its id. Nothing is asked yet.
    #[must_use]
    pub fn network(self: &Arc<Self>, id: impl Into<NetworkId>) -> Network {
        let id = id.into();
        Network { link: Link::to(self, NetworkId::NOUN, id.as_str()), id }
    }
}

impl Networks {
    lists!("networks": NetworkInfo, ListNetworks, list_networks);

    /// Creates a network, down unless the spec says otherwise.
    ///
    /// # Errors
    /// `AlreadyExists`, `InvalidInput`.
    pub async fn create(&self, spec: &NetworkSpec) -> Result<Task<Network>> {
        let link = self.link.at(NetworkId::NOUN, &spec.name);
        let settle = |id: &NetworkId| Settle::NetworkThere(id.clone());
        let call = self.link.hv.create_network(spec);
        let task = link.start(Operation::CreateNetwork, &spec.needs(), call, settle).await?;
        let hv = Arc::clone(&self.link.hv);
        Ok(task.map(move |id| hv.network(id)))
    }
}

impl Network {
    /// Its id.
    #[must_use]
    pub fn id(&self) -> &NetworkId {
        &self.id
    }

    /// Reads it.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn info(&self) -> Result<NetworkInfo> {
        self.link.call(Operation::GetNetwork, &[], self.link.hv.get_network(&self.id)).await
    }

    /// Changes it. What changes its addresses comes into force when it is next brought up.
    ///
    /// # Errors
    /// `InvalidInput`.
    pub async fn update(&self, change: &NetworkChange) -> Result<Task<()>> {
        let call = self.link.hv.update_network(&self.id, change);
        self.link.start(Operation::UpdateNetwork, &change.needs(), call, |()| Settle::Unknowable).await
    }

    /// Brings it up.
    ///
    /// # Errors
    /// `InvalidState` if it is up.
    pub async fn start(&self) -> Result<Task<()>> {
        let settle = |(): &()| Settle::NetworkActive(self.id.clone(), true);
        self.link.start(Operation::StartNetwork, &[], self.link.hv.start_network(&self.id), settle).await
    }

    /// Takes it down. Guests keep their NICs and lose the connection.
    ///
    /// # Errors
    /// `InvalidState` if it is down.
    pub async fn stop(&self) -> Result<Task<()>> {
        let settle = |(): &()| Settle::NetworkActive(self.id.clone(), false);
        self.link.start(Operation::StopNetwork, &[], self.link.hv.stop_network(&self.id), settle).await
    }

    /// Deletes it.
    ///
    /// # Errors
    /// `InvalidState` while it is up.
    pub async fn delete(&self) -> Result<Task<()>> {
        let call = self.link.hv.delete_network(&self.id);
        self.link.start(Operation::DeleteNetwork, &[], call, |()| Settle::NetworkGone(self.id.clone())).await
    }

    /// The addresses that its DHCP server has handed out.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn leases(&self) -> Result<Vec<Lease>> {
        self.link.call(Operation::ListLeases, &[], self.link.hv.list_leases(&self.id)).await
    }
}

impl From<&Network> for NetworkId {
    fn from(network: &Network) -> Self {
        network.id.clone()
    }
}

impl From<Network> for NetworkId {
    fn from(network: Network) -> Self {
        network.id
    }
}
