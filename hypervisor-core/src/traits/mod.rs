//! The implementor's plane: object-safe async traits that take ids and borrowed options and return owned plain data.
//!
//! A backend implements [`Compute`]'s basic verbs and [`Tasks::get_task`]; every other method has a default that answers
//! [`Unsupported`](crate::ErrorKind::Unsupported), so `impl Network for X {}` is a whole implementation and a new method is
//! no breaking change. Callers use the handles of [`crate::handle`].
//!
//! What holds for every method: bad input is [`InvalidInput`](crate::ErrorKind::InvalidInput) naming the field, before anything is sent;
//! an id that the backend does not know is [`NotFound`](crate::ErrorKind::NotFound) naming the object; a call ends within the
//! deadline of its connection; a failed call leaves nothing behind or says so by [`Error::effect`](crate::Error::effect).

mod backups;
mod batch;
mod compute;
mod events;
mod guest;
mod hypervisor;
mod metrics;
mod network;
mod snapshots;
mod storage;
mod tasks;

pub use backups::Backups;
pub use batch::Batch;
pub use compute::Compute;
pub use events::Events;
pub use guest::Guest;
pub use hypervisor::Hypervisor;
pub use metrics::Metrics;
pub use network::Network;
pub use snapshots::Snapshots;
pub use storage::Storage;
pub use tasks::Tasks;

use crate::error::{Error, Result};
use crate::operation::Operation;

/// The answer of a method that a backend has not implemented.
fn unsupported<T>(operation: Operation) -> Result<T> {
    Err(Error::unsupported(operation, "the backend has no such call"))
}
