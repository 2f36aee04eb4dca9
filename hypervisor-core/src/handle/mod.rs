//! The caller's plane: thin handles over `Arc<dyn Hypervisor>` that carry the verbs.
//!
//! A handle holds the connection and an id, no state. It checks what the connection can do before anything is sent, says in every error
//! what failed on what, and turns what a call has started into a [`Task`] that can be waited for.

mod agent;
mod backups;
mod batch;
mod batch_run;
mod conditions;
mod follow;
mod host;
mod link;
mod listing;
mod network;
mod pace;
#[cfg(test)]
pub(crate) mod scripted;
mod settle;
mod snapshots;
mod storage;
mod task;
mod tasks;
#[cfg(test)]
mod tests;
mod turnstile;
mod vm;
mod vms;
mod wait;

pub use agent::Agent;
pub use backups::Backups;
pub use batch::BatchBuilder;
pub use batch_run::BatchRun;
pub use host::{Group, Groups, Host, Hosts};
pub use listing::Listing;
pub use network::{Network, Networks};
pub use pace::TaskPace;
pub use snapshots::Snapshots;
pub use storage::{Pool, Pools, Volume, Volumes};
pub use task::{Task, TaskOutcome};
pub use tasks::Tasks;
pub use vm::Vm;
pub use vms::Vms;
pub use wait::WaitOptions;

pub(crate) use settle::Settle;
pub(crate) use turnstile::Turnstile;
pub(crate) use vm::with_uid;
pub(crate) use wait::Wait;
