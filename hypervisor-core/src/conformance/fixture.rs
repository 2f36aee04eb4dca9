use std::net::IpAddr;
use std::path::Path;

use super::{Settings, sweep};
use crate::error::Result;
use crate::model::{DeletePool, DhcpRange, IpNet, NetworkId, NetworkSpec, PoolId, PoolSpec};
use crate::traits::Hypervisor;

/// A pool and a network of their own for a run of the suite, on a backend that has none to lend: a directory below
/// [`Settings::serial_dir`], and an isolated network with a bridge and addresses to hand out.
///
/// It is for a host that the run may do anything to. What is made stays until [`Fixture::remove`].
#[derive(Debug, Clone)]
pub struct Fixture {
    pool: PoolId,
    network: NetworkId,
    settings: Settings,
}

impl Fixture {
    /// Makes both. The number tells fixtures on one host apart: the bridge is `hvtbench<number>` and the network
    /// `10.254.<number>.0/24`.
    ///
    /// # Errors
    /// What the backend says. Nothing is left then, unless the backend cannot delete the pool either, which the error says.
    pub async fn make(hypervisor: &dyn Hypervisor, settings: Settings, number: u8) -> Result<Self> {
        // Not the prefix of the cases, which sweep what bears it.
        let name = format!("bench-{}", settings.prefix);
        let folder =
            settings.serial_dir.clone().unwrap_or_else(|| std::env::temp_dir().display().to_string());
        let folder = Path::new(&folder).join(&name).display().to_string();
        let pool = hypervisor.create_pool(&PoolSpec::dir(&name, folder)).await?.output;
        let (bridge, address) =
            (format!("hvtbench{number}"), |last: u8| IpAddr::from([10, 254, number, last]));
        let subnet = IpNet::new_assert(address(1), 24);
        let spec = NetworkSpec::isolated(&name, subnet)
            .bridge(&bridge)
            .dhcp(DhcpRange::new(address(10), address(200)))
            .start(true);
        match hypervisor.create_network(&spec).await {
            Ok(network) => {
                let network = network.output;
                let settings = settings.pool(&pool).network(&network).bridge(bridge);
                Ok(Self { pool, network, settings })
            }
            Err(error) => {
                drop(hypervisor.delete_pool(&pool, &DeletePool::with_content()).await?);
                Err(error)
            }
        }
    }

    /// The settings that it was made with, and what it has made.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Removes it and everything that cases have left, and says what would not go.
    pub async fn remove(&self, hypervisor: &dyn Hypervisor) -> Vec<String> {
        // The cases have removed what they made; this is for one that was cut off.
        let mut left = sweep(hypervisor, &self.settings).await;
        let pool = hypervisor.delete_pool(&self.pool, &DeletePool::with_content()).await;
        let stopped = hypervisor.stop_network(&self.network).await;
        let network = hypervisor.delete_network(&self.network).await;
        for done in [pool, stopped, network] {
            left.extend(done.err().map(|error| error.to_string()));
        }
        left
    }
}
