//! The suite that every backend runs, ours and third parties': what the traits promise, as cases that run against any
//! `Arc<dyn Hypervisor>` without a test framework.
//!
//! A case needs capabilities; one that the backend does not claim makes the case [`Outcome::Skipped`] with the backend's own reason.
//! Every case gives what it makes a name with a prefix of its own, removes it at the end whether it passed or not, and fails if
//! anything of that prefix is left.
//!
//! ```no_run
//! # async fn run(hypervisor: std::sync::Arc<dyn hypervisor_core::Hypervisor>) {
//! use hypervisor_core::conformance::{self, Settings};
//! let report = conformance::run_all(&hypervisor, &Settings::from_env(), |_| {}).await;
//! println!("{report}");
//! assert!(report.is_success());
//! # }
//! ```

mod case;
mod cases;
mod check;
mod context;
#[cfg(feature = "http")]
mod faults;
mod fixture;
#[cfg(feature = "http")]
mod harm;
#[cfg(feature = "http")]
mod proxy;
mod report;
mod settings;
mod steps;
mod sweep;
#[cfg(test)]
mod tests;

pub use case::{Case, Outcome};
pub use cases::cases;
#[cfg(feature = "http")]
pub use faults::{FaultCase, fault_cases};
pub use fixture::Fixture;
#[cfg(feature = "http")]
pub use harm::{Harm, Injury};
#[cfg(feature = "http")]
pub use proxy::{FaultProxy, Strike};
pub use report::{Report, Row, run_all, run_cases};
pub use settings::{Setting, Settings};
pub use sweep::sweep;
