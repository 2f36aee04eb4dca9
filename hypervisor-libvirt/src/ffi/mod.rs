//! The one room for `unsafe`: the calls that the `virt` crate lacks, and those whose wrappers lose errors or memory.
//!
//! Every function takes the crate's own safe handles, returns owned data, and frees what libvirt allocated. Calls are
//! blocking and belong on the threads of [`crate::blocking`].
#![allow(unsafe_code, reason = "calls into libvirt's C library; each block says why it is sound")]

mod agent;
mod backup;
mod block;
mod connect;
mod domain;
mod error;
mod event;
mod event_loop;
mod job;
mod migrate;
mod network;
mod params;
mod stream;

pub(crate) use agent::{agent_command, freeze, thaw};
pub(crate) use backup::{backup_begin, checkpoints, delete_checkpoint, restore, save, saved_definition};
pub(crate) use block::{BlockJobInfo, block_commit, block_copy, block_job, block_pull, end_block_job};
pub(crate) use connect::{
    Connection, Credentials, Record, all_records, all_stats, list_stats, node_cpu, node_memory, open,
};
pub(crate) use domain::{AddressSource, interface_addresses, state};
pub use error::LibvirtError;
pub(crate) use event::{Listener, Signal, Sink};
pub(crate) use event_loop::start_event_loop;
pub use job::JobInfo;
pub(crate) use job::{JobEnd, abort_job, job_end, job_info};
pub(crate) use migrate::{Migration, migrate_by_peer, migrate_directly};
pub(crate) use network::leases;
#[cfg(test)]
pub(crate) use params::Param;
pub(crate) use params::{DomainStats, Params};
pub(crate) use stream::{receive, send};
