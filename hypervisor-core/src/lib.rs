//! Domain types, traits, layers, in-memory backend and conformance suite of the `hypervisor` SDK.

pub mod batch;
#[cfg(feature = "conformance")]
pub mod conformance;
pub mod error;
pub mod feed;
pub mod handle;
#[cfg(feature = "http")]
pub mod http;
pub mod layer;
pub mod memory;
pub mod model;
pub mod operation;
#[cfg(feature = "schema")]
mod schema;
pub mod traits;

pub use error::{Effect, Error, ErrorKind, Result, Retry};
pub use handle::{BatchBuilder, Task, TaskOutcome, Vm, Vms, WaitOptions};
pub use operation::{Operation, OperationClass};
pub use traits::{
    Backups, Batch, Compute, Events, Guest, Hypervisor, Metrics, Network, Snapshots, Storage, Tasks,
};
