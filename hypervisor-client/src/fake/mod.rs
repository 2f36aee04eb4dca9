//! Fakes of the gateways on loopback, for the tests of programs that use them. What they answer agrees with what was recorded from the real
//! ones.

pub mod hypersdk;
mod v1;

pub use hypersdk::HyperSdkFake;
pub use v1::{FakeVm, V1Fake, V1Server};

/// Where the fakes begin: one function for each dialect.
#[derive(Debug, Clone, Copy)]
pub struct Fake;

impl Fake {
    /// A gateway that speaks v1 as the document has it.
    #[must_use]
    pub fn v1() -> V1Fake {
        V1Fake::default()
    }
}
