//! The dialects: one folder for each gateway's document.

pub mod hypersdk;
mod names;
pub mod v1;
pub mod virtualization_mcp;
pub mod virtumancer;

use hypervisor_core::model::Capabilities;

use crate::config::Dialect;

impl Dialect {
    /// What the client does with a gateway of this dialect at best. For documentation; what a connection can do, it says itself. Of v1 it is
    /// what its document has: `hypervisor-gateway` adds all that the backend behind it can do.
    #[must_use]
    pub fn best_capabilities(self) -> Capabilities {
        match self {
            Self::V1 => v1::capabilities::documented(),
            Self::HyperSdk => hypersdk::capabilities::claims(),
            Self::Virtumancer => virtumancer::probe::capabilities(virtumancer::Generation::Current),
            Self::VirtualizationMcp => {
                virtualization_mcp::capabilities::of(virtualization_mcp::Shape::Documented)
            }
        }
    }
}
