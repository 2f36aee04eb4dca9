//! Networks.

use async_trait::async_trait;
use futures::{StreamExt as _, stream};
use hypervisor_core::model::{NetworkId, NetworkInfo, NetworkSpec, Page, PageRequest, Started};
use hypervisor_core::traits::Network;
use hypervisor_core::{Effect, Error, ErrorKind, Operation as O, Result};

use super::wire::{LibvirtNetwork, NewNetwork};
use super::{AT_ONCE, HyperSdk, named};

/// The daemon tells neither the kind of a network nor its addresses: the kind is `Unknown("")`.
#[async_trait]
impl Network for HyperSdk {
    async fn list_networks(&self, page: &PageRequest) -> Result<Page<NetworkInfo>> {
        self.networks(page).await.map_err(named(O::ListNetworks))
    }

    async fn get_network(&self, network: &NetworkId) -> Result<NetworkInfo> {
        let found = self.api.network(network.as_str()).await.map_err(named(O::GetNetwork))?;
        Ok(found.info())
    }

    /// The daemon makes networks of a /24 with DHCP only: a spec of another width or without a range is `InvalidInput`. It lets every
    /// network start with its host, whatever `autostart` says.
    async fn create_network(&self, spec: &NetworkSpec) -> Result<Started<NetworkId>> {
        spec.validate()?;
        self.require(O::CreateNetwork, &spec.needs())?;
        let work = async {
            self.api.create_network(&NewNetwork::of(spec)?).await?;
            self.settle(spec).await.map_err(|error| {
                error
                    .with_effect(Effect::Partial)
                    .with_hint("The network was made, but not all of what was asked for was done")
            })?;
            Ok(NetworkId::from(spec.name.as_str()))
        };
        work.await.map_err(named(O::CreateNetwork)).map(Started::done)
    }

    async fn delete_network(&self, network: &NetworkId) -> Result<Started<()>> {
        let work = async {
            // The daemon would take it down first.
            if self.api.network(network.as_str()).await?.active {
                return Err(Error::invalid_state("it is up").with_target(NetworkId::NOUN, network));
            }
            self.api.delete_network(network.as_str()).await
        };
        work.await.map_err(named(O::DeleteNetwork)).map(Started::done)
    }

    async fn start_network(&self, network: &NetworkId) -> Result<Started<()>> {
        self.api.start_network(network.as_str()).await.map_err(named(O::StartNetwork)).map(Started::done)
    }

    async fn stop_network(&self, network: &NetworkId) -> Result<Started<()>> {
        self.api.stop_network(network.as_str()).await.map_err(named(O::StopNetwork)).map(Started::done)
    }
}

impl HyperSdk {
    /// The daemon starts a new network, and says nothing where it could not.
    async fn settle(&self, spec: &NetworkSpec) -> Result<()> {
        let made = self.api.network(&spec.name).await?;
        match (made.active, spec.start) {
            (true, false) => self.api.stop_network(&spec.name).await,
            (false, true) => self.api.start_network(&spec.name).await,
            _ => Ok(()),
        }
    }

    async fn networks(&self, page: &PageRequest) -> Result<Page<NetworkInfo>> {
        let listed = self.api.networks().await?;
        let Page { items, next, total, .. } = Page::cut(listed, page, |network| network.name.clone());
        let details: Vec<Result<Option<NetworkInfo>>> =
            stream::iter(items).map(|network| self.listed_network(network)).buffered(AT_ONCE).collect().await;
        let items = details.into_iter().filter_map(Result::transpose).collect::<Result<Vec<_>>>()?;
        let page = Page::new(items, next);
        Ok(total.into_iter().fold(page, Page::with_total))
    }

    /// A network of a list in full; none if it is gone meanwhile. One that cannot be asked for by its name stays as the list has it.
    async fn listed_network(&self, network: LibvirtNetwork) -> Result<Option<NetworkInfo>> {
        match self.api.network(&network.name).await {
            Ok(found) => Ok(Some(found.info())),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) if error.kind() == ErrorKind::InvalidInput => Ok(Some(network.info())),
            Err(error) => Err(error),
        }
    }
}
