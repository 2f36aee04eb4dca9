use async_trait::async_trait;

use super::unsupported;
use crate::error::Result;
use crate::model::{Lease, NetworkChange, NetworkId, NetworkInfo, NetworkSpec, Page, PageRequest, Started};
use crate::operation::Operation;

/// Networks.
#[async_trait]
pub trait Network: Send + Sync {
    /// Lists the networks.
    ///
    /// Needs [`Operation::ListNetworks`]; a read: repeated where its answer is lost. Proxmox: bridges of each host, and virtual
    /// networks of the cluster.
    ///
    /// # Errors
    /// As the backend gives them.
    async fn list_networks(&self, page: &PageRequest) -> Result<Page<NetworkInfo>> {
        let _ = page;
        unsupported(Operation::ListNetworks)
    }

    /// Reads one network.
    ///
    /// Needs [`Operation::GetNetwork`]; a read: repeated where its answer is lost.
    ///
    /// # Errors
    /// `NotFound`.
    async fn get_network(&self, network: &NetworkId) -> Result<NetworkInfo> {
        let _ = network;
        unsupported(Operation::GetNetwork)
    }

    /// Creates a network, down unless the spec says otherwise.
    ///
    /// Needs [`Operation::CreateNetwork`], and where asked for [`NetworkNat`](crate::model::Feature::NetworkNat),
    /// [`NetworkDhcp`](crate::model::Feature::NetworkDhcp) or [`NetworkVlan`](crate::model::Feature::NetworkVlan); a create: not
    /// repeated where its answer is lost. Proxmox: a bridge that joins guests and their host (`Isolated`), or a vnet of a zone; without `start`
    /// it is written and waits to be applied.
    ///
    /// # Errors
    /// `AlreadyExists`; on Proxmox `Conflict` where somebody else's changes wait to be applied.
    async fn create_network(&self, spec: &NetworkSpec) -> Result<Started<NetworkId>> {
        let _ = spec;
        unsupported(Operation::CreateNetwork)
    }

    /// Changes a network. What changes its addresses comes into force when it is next brought up.
    ///
    /// Needs [`Operation::UpdateNetwork`]; twice is the same as once: repeated where its answer is lost.
    ///
    /// # Errors
    /// `NotFound`, `InvalidInput`.
    async fn update_network(&self, network: &NetworkId, change: &NetworkChange) -> Result<Started<()>> {
        let _ = (network, change);
        unsupported(Operation::UpdateNetwork)
    }

    /// Deletes a network.
    ///
    /// Needs [`Operation::DeleteNetwork`]; twice is the same as once: repeated where its answer is lost. Proxmox, where nothing is taken
    /// down: one that no guest is plugged into is deleted while it is up.
    ///
    /// # Errors
    /// `InvalidState` while it is up, on Proxmox while a guest is plugged into it.
    async fn delete_network(&self, network: &NetworkId) -> Result<Started<()>> {
        let _ = network;
        unsupported(Operation::DeleteNetwork)
    }

    /// Brings a network up.
    ///
    /// Needs [`Operation::StartNetwork`]; an action: not repeated where its answer is lost.
    ///
    /// # Errors
    /// `InvalidState` if it is up.
    async fn start_network(&self, network: &NetworkId) -> Result<Started<()>> {
        let _ = network;
        unsupported(Operation::StartNetwork)
    }

    /// Takes a network down. Guests keep their NICs and lose the connection.
    ///
    /// Needs [`Operation::StopNetwork`]; an action: not repeated where its answer is lost.
    ///
    /// # Errors
    /// `InvalidState` if it is down.
    async fn stop_network(&self, network: &NetworkId) -> Result<Started<()>> {
        let _ = network;
        unsupported(Operation::StopNetwork)
    }

    /// Lists the addresses that the network's DHCP server has handed out.
    ///
    /// Needs [`Operation::ListLeases`]; a read: repeated where its answer is lost.
    ///
    /// # Errors
    /// `NotFound`.
    async fn list_leases(&self, network: &NetworkId) -> Result<Vec<Lease>> {
        let _ = network;
        unsupported(Operation::ListLeases)
    }
}
