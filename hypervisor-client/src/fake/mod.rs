//! Fakes of the gateways on loopback, for the tests of programs that use them. What they answer agrees with what was recorded from the real
//! ones.

pub mod virtumancer;

/// Where the fakes begin: one function for each dialect.
#[derive(Debug)]
pub struct Fake;
