//! Networks, as current servers list them.

use async_trait::async_trait;
use hypervisor_core::model::{NetworkId, NetworkInfo, Page, PageRequest};
use hypervisor_core::traits::Network;
use hypervisor_core::{Operation, Result};

use super::api::About;
use super::backend::Virtumancer;
use super::compute::named;
use super::wire::{Listed, NetworkRow, Place};

#[async_trait]
impl Network for Virtumancer {
    async fn list_networks(&self, page: &PageRequest) -> Result<Page<NetworkInfo>> {
        let operation = Operation::ListNetworks;
        self.require(operation, &[])?;
        let request = self.inner.api.request(operation, &[])?;
        let rows: Listed<NetworkRow> =
            self.inner.api.json(request, &About::Nothing).await.map_err(named(operation))?;
        let rows = rows.into_vec();
        let all = rows.iter().map(|row| row.to_info(row.host_id.as_deref().unwrap_or_default())).collect();
        Ok(Page::cut(all, page, |network: &NetworkInfo| network.id.to_string()))
    }

    async fn get_network(&self, network: &NetworkId) -> Result<NetworkInfo> {
        let operation = Operation::GetNetwork;
        self.require(operation, &[])?;
        let place = Place::network(network).map_err(named(operation))?;
        let request = self.inner.api.request(operation, &[("host", &place.host)])?;
        let about = About::Other(NetworkId::NOUN, network.to_string());
        let rows: Listed<NetworkRow> =
            self.inner.api.json(request, &about).await.map_err(named(operation))?;
        let found = rows.into_vec().into_iter().find(|row| row.name == place.name);
        found.map(|row| row.to_info(&place.host)).ok_or_else(|| named(operation)(network.not_found()))
    }
}
