//! Fakes of the gateways on loopback, for the tests of programs that use them. What they answer agrees with what was recorded from the real
//! ones.

pub mod hypersdk;
mod v1;
mod virtualization_mcp;
pub mod virtumancer;

pub use hypersdk::HyperSdkFake;
pub use v1::{FakeVm, V1Fake, V1Server};
pub use virtualization_mcp::{FakeBox, McpFake, McpServer};

/// Where the fakes begin: one function for each dialect.
#[derive(Debug, Clone, Copy)]
pub struct Fake;

impl Fake {
    /// A gateway that speaks v1 as the document has it.
    #[must_use]
    pub fn v1() -> V1Fake {
        V1Fake::default()
    }

    /// virtualization-mcp with the conventions of its document; [`McpFake::as_served`] makes it answer as the server does.
    #[must_use]
    pub fn virtualization_mcp() -> McpFake {
        McpFake::default()
    }
}
