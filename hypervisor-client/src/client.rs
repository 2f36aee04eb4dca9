//! From a configuration to a connection.

use std::sync::Arc;

use hypervisor_core::{Hypervisor, Result};

use crate::config::{ClientConfig, Dialect};
use crate::dialect::hypersdk::HyperSdk;
use crate::dialect::v1::V1;
use crate::dialect::virtualization_mcp::VirtualizationMcp;
use crate::dialect::virtumancer::Virtumancer;
use crate::probe;

/// Connects to a gateway: with the dialect that the configuration names, or with the one that the server turns out to speak.
///
/// # Errors
/// [`Config`](hypervisor_core::ErrorKind::Config) where the server speaks no known dialect or the credentials would go over plain http;
/// otherwise what connecting says.
pub async fn connect(config: ClientConfig) -> Result<Arc<dyn Hypervisor>> {
    let dialect = match config.dialect() {
        Some(dialect) => dialect,
        None => probe::dialect(&config.client()?).await?,
    };
    match dialect {
        Dialect::V1 => Ok(Arc::new(V1::connect(config).await?)),
        Dialect::HyperSdk => Ok(Arc::new(HyperSdk::connect(config).await?)),
        Dialect::Virtumancer => Ok(Arc::new(Virtumancer::connect(config).await?)),
        Dialect::VirtualizationMcp => Ok(Arc::new(VirtualizationMcp::connect(config).await?)),
    }
}
