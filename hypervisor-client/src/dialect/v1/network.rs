//! Networks.

use async_trait::async_trait;
use hypervisor_core::model::{
    Lease, NetworkChange, NetworkId, NetworkInfo, NetworkSpec, Page, PageRequest, Started,
};
use hypervisor_core::{Network, Operation as O, Result};

use super::V1;
use super::call::{about, body};
use super::wire::envelope::key;
use super::wire::network::{self, NetworkRecord};

#[async_trait]
impl Network for V1 {
    async fn list_networks(&self, page: &PageRequest) -> Result<Page<NetworkInfo>> {
        if self.native {
            return self.link.native_page(self.request(O::ListNetworks, &[])?, page).await;
        }
        Ok(self.records::<NetworkRecord>(O::ListNetworks, page).await?.map(|network| network.to_info()))
    }

    async fn get_network(&self, network: &NetworkId) -> Result<NetworkInfo> {
        if self.native {
            let request = self.request(O::GetNetwork, &[network.as_str()])?;
            return self.link.info::<key::Network, _>(request).await.map_err(about(NetworkId::NOUN, network));
        }
        let found =
            self.find(O::ListNetworks, |record: &NetworkRecord| record.id == network.as_str()).await?;
        let found = found.ok_or_else(|| network.not_found().with_operation(O::GetNetwork))?;
        Ok(found.to_info())
    }

    async fn create_network(&self, spec: &NetworkSpec) -> Result<Started<NetworkId>> {
        spec.validate()?;
        self.needs(O::CreateNetwork, &spec.needs())?;
        let request = self.request(O::CreateNetwork, &[])?;
        if self.native {
            let request = request.json(&body("spec", spec)?);
            return self.link.started(request).await.map_err(about(NetworkId::NOUN, &spec.name));
        }
        let made = self.make(request.json(&network::create_body(spec)?), &["network"]).await;
        Ok(made.map_err(about(NetworkId::NOUN, &spec.name))?.map(NetworkId::from))
    }

    async fn update_network(&self, network: &NetworkId, change: &NetworkChange) -> Result<Started<()>> {
        self.needs(O::UpdateNetwork, &change.needs())?;
        let request = self.request(O::UpdateNetwork, &[network.as_str()])?.json(&body("change", change)?);
        self.link.started(request).await.map_err(about(NetworkId::NOUN, network))
    }

    async fn delete_network(&self, network: &NetworkId) -> Result<Started<()>> {
        self.verb(O::DeleteNetwork, network).await
    }

    async fn start_network(&self, network: &NetworkId) -> Result<Started<()>> {
        self.verb(O::StartNetwork, network).await
    }

    async fn stop_network(&self, network: &NetworkId) -> Result<Started<()>> {
        self.verb(O::StopNetwork, network).await
    }

    async fn list_leases(&self, network: &NetworkId) -> Result<Vec<Lease>> {
        self.needs(O::ListLeases, &[])?;
        let request = self.request(O::ListLeases, &[network.as_str()])?;
        self.link.field::<key::Leases, _>(request).await.map_err(about(NetworkId::NOUN, network))
    }
}

impl V1 {
    /// A call about a network that has no body.
    async fn verb(&self, operation: O, network: &NetworkId) -> Result<Started<()>> {
        self.needs(operation, &[])?;
        let request = self.request(operation, &[network.as_str()])?;
        self.link.started(request).await.map_err(about(NetworkId::NOUN, network))
    }
}
