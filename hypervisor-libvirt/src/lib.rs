//! libvirt driver of the `hypervisor` SDK: QEMU machines through libvirtd, and libvirt's own test driver.
//!
//! [`Libvirt::connect`] takes a [`LibvirtConfig`], which parses from a URI. Blocking calls run on threads of their own
//! with a deadline each, so that a daemon that hangs does not hang the program.
//!
//! ```no_run
//! use std::sync::Arc;
//! use hypervisor_core::Hypervisor;
//! use hypervisor_core::model::VmQuery;
//! use hypervisor_libvirt::{Libvirt, LibvirtConfig};
//! # async fn example() -> hypervisor_core::Result<()> {
//! let libvirt = Libvirt::connect(LibvirtConfig::new("qemu+ssh://ops@host/system")?).await?;
//! let hv: Arc<dyn Hypervisor> = Arc::new(libvirt);
//! for vm in hv.vms().all(&VmQuery::all()).await?.complete()? {
//!     println!("{} is {}", vm.name, vm.state);
//! }
//! # Ok(()) }
//! ```
//!
//! # Who may connect
//! On the host itself: members of the group `libvirt`, which is as good as root there. From elsewhere: `qemu+ssh://` with such a user, or
//! `qemu+tls://` with certificates on both sides; `qemu+tcp://` with SASL sends its password by libvirt's own rules. `?hv_readonly=1` makes a
//! connection that changes nothing.
//!
//! # What differs from other backends
//! - **Tasks are the driver's own**: libvirt has none. They end with the connection, and no other process can wait for them.
//! - **Guests run by emulation** unless the URL says `?hv_domain_type=kvm`: libvirt offers KVM also where no guest boots with it.
//! - **Names are unique**; an id is the UUID, which is also the `uid`.
//! - **Copies need a stopped guest**, snapshots need disks that can have them (qcow2).
//! - **`vm.metrics()` tells `cpu_time`**, of which two give the usage.
//! - **Events come from libvirt**, by a connection and a thread of their own; after a break they say `Resync`.
//! - What the SDK has no word for is kept when a guest is changed; [`VmOptions`] sets some of it, [`Libvirt::with_connection`] does the rest.

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
mod leftovers;
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
