//! libvirt driver of the `hypervisor` SDK: QEMU machines through libvirtd, and libvirt's own test driver.
//!
//! [`Libvirt::connect`] takes a [`LibvirtConfig`], which parses from a URI. Blocking calls run on threads of their own
//! with a deadline each, so that a daemon that hangs does not hang the program.

mod backend;
mod backups;
mod block;
mod blocking;
mod compute;
mod config;
mod console;
mod error;
mod events;
mod facts;
mod ffi;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzzing;
mod guest;
mod jobs;
mod metrics;
mod network;
mod options;
mod probe;
mod seal;
mod seed;
mod snapshots;
mod storage;
mod tasks;
pub mod xml;

pub use backend::Libvirt;
pub use block::{BlockCommit, BlockCopy, BlockPull};
pub use config::{DomainType, LibvirtConfig, MigrationWay};
pub use console::{ConsoleStream, OpenConsole};
pub use ffi::{JobInfo, LibvirtError};
pub use options::VmOptions;
pub use seed::read_seed;
pub use virt;

/// The name of this backend.
pub const BACKEND: &str = "libvirt";

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
