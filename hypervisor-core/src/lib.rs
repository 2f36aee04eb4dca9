//! Domain types, traits, layers, in-memory backend and conformance suite of the `hypervisor` SDK.
//!
//! Programs mostly depend on the facade `hypervisor`, which re-exports this crate and connects by URL. What is here needs no C library, no
//! TLS and no HTTP.
//!
//! # Using a hypervisor
//! Hold an `Arc<dyn Hypervisor>`: [`handle`] hangs on it. A call that changes something gives a [`Task`]; awaiting that is waiting for its
//! end.
//!
//! ```
//! use std::sync::Arc;
//! use hypervisor_core::memory::Memory;
//! use hypervisor_core::model::{ByteSize, DiskSpec, VmQuery, VmSpec, VmState};
//! use hypervisor_core::{ErrorKind, Hypervisor, Operation};
//! # tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap().block_on(async {
//! let hv: Arc<dyn Hypervisor> = Arc::new(Memory::new());
//! let vm = hv.vms().create(&VmSpec::new("web-1").disk(DiskSpec::new_volume(ByteSize::gib(20)))).await?.await?;
//! vm.start().await?.await?;
//!
//! // A list says which hosts it lacks; an error says what it is, on every backend.
//! let running = hv.vms().all(&VmQuery::all().state(VmState::Running)).await?.complete()?;
//! assert_eq!(running.len(), 1);
//! let again = vm.start().await.unwrap_err();
//! assert_eq!((again.kind(), again.operation()), (ErrorKind::InvalidState, Some(Operation::StartVm)));
//!
//! // What a backend cannot do is known before it is asked.
//! if hv.capabilities().has(Operation::MigrateVm) { /* … */ }
//! # Ok::<(), hypervisor_core::Error>(()) }).unwrap();
//! ```
//!
//! # Testing a program
//! [`memory::Memory`] is a whole hypervisor: states, locks, capacity, tasks that take time (which passes at once on a paused runtime), and
//! faults by script ([`memory::FaultPlan`]). [`layer::Chaos`] loses calls on any backend.
//!
//! # Writing a backend
//! Implement [`traits`]: the basic verbs of [`Compute`] and [`Tasks::get_task`]; everything else answers `Unsupported` until you have it. The
//! suite of the feature `conformance` says whether it is right.
//!
//! # Features
//! - `conformance`: the suite.
//! - `http`: TLS trust, deadlines, bounds and WebSockets for drivers over HTTP.

pub mod batch;
#[cfg(feature = "conformance")]
pub mod conformance;
pub mod error;
pub mod feed;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzzing;
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
