//! One async, typed API over libvirt/QEMU, Proxmox VE and REST gateways: downstream code never learns which backend it runs on.
//!
//! [`connect`] takes a URL and gives `Arc<dyn Hypervisor>`; handles hang on it. Whatever runs on the in-memory hypervisor runs on a real
//! one, once the URL is another:
//!
//! ```
//! use hypervisor::{ByteSize, VmSpec, VmState};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> hypervisor::Result<()> {
//! let hv = hypervisor::connect("memory://").await?;
//! let spec = VmSpec::new("web-1").cpus(2).memory(ByteSize::gib(4));
//! let vm = hv.vms().create(&spec).await?.wait().await?;
//! vm.start().await?.wait().await?;
//! assert_eq!(vm.info().await?.state, VmState::Running);
//! # Ok(()) }
//! ```
//!
//! # What is where
//! - [`model`]: specs and infos, plain data with serde. The common ones are re-exported here.
//! - [`handle`]: what you call: [`Vm`], [`Task`] and so on.
//! - [`traits`]: what a backend implements; [`Hypervisor`] is all of them.
//! - [`layer`]: retries, deadlines, limits and traces around any backend.
//! - [`memory`]: a complete hypervisor in memory, deterministic under paused time, for your own tests.
//! - [`Error`]: what happened, to what, whether it had an effect, and whether to try again.
//!
//! # Features
//! Nothing is on by default, and then no C library, TLS or HTTP is needed.
//! - `libvirt`: the driver for libvirt and QEMU. It links libvirt's C library, which is LGPL-2.1.
//! - `proxmox`: the driver for Proxmox VE.
//! - `client`: clients of REST gateways: our own (`hypervisor-gateway`), HyperSDK, Virtumancer, virtualization-mcp.
//! - `conformance`: the suite that every backend runs, for writing one's own.
//! - `fake`: servers on loopback that answer as Proxmox VE and the gateways do, for tests; those of the drivers that are on.
//!
//! # First steps
//! ```
//! use std::time::Duration;
//! use hypervisor::model::GuestAddress;
//! use hypervisor::{ByteSize, DeleteVm, DiskSpec, NicSpec, SnapshotSpec, VmChange, VmSpec};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> hypervisor::Result<()> {
//! # let hv = hypervisor::connect("memory://").await?;
//! // A machine with a disk and a NIC, and where it can be reached.
//! let spec = VmSpec::new("web-1").disk(DiskSpec::new_volume(ByteSize::gib(20))).nic(NicSpec::network("default"));
//! let vm = hv.vms().create(&spec.start(true)).await?.wait().await?;
//! let address = vm.wait_for_address(Duration::from_secs(60), GuestAddress::is_reachable).await?;
//! println!("{}", address.address);
//!
//! // A change, with a way back; long work tells how far it is.
//! vm.snapshots().create(&SnapshotSpec::new("before")).await?.wait().await?;
//! let outcome = vm.update(&VmChange::new().memory(ByteSize::gib(2))).await?.wait().await?;
//! println!("{outcome:?}");
//!
//! // Many at once, each with its outcome.
//! let report = hv.batch().create(VmSpec::new("web-2")).create(VmSpec::new("web-3")).run().await?;
//! assert!(report.all_done());
//! vm.delete(&DeleteVm::with_disks().power_off(true).snapshots(true)).await?.wait().await?;
//! # Ok(()) }
//! ```
//!
//! The repository's `examples/` go on from here, and `examples/hv` is a whole program.

mod connect;

pub use connect::{connect, connect_bare};

pub use hypervisor_core::model::{
    ByteSize, Capabilities, Capability, CloneSpec, DeleteVm, DiskSpec, Feature, HostId, NetworkId,
    NetworkSpec, NicSpec, PoolId, PoolSpec, PowerAction, RevertSnapshot, SnapshotSpec, Started, TaskId,
    VmChange, VmId, VmInfo, VmQuery, VmSpec, VmState, VolumeId, VolumeSpec,
};
pub use hypervisor_core::{
    Backups, Batch, Compute, Events, Guest, Hypervisor, Metrics, Network, Snapshots, Storage, Tasks,
};
pub use hypervisor_core::{
    BatchBuilder, Effect, Error, ErrorKind, Operation, OperationClass, Result, Retry, Task, TaskOutcome, Vm,
    Vms, WaitOptions,
};
pub use hypervisor_core::{batch, error, feed, handle, layer, memory, model, operation, traits};

#[cfg(feature = "client")]
pub use hypervisor_client as client;
#[cfg(feature = "conformance")]
pub use hypervisor_core::conformance;
#[cfg(feature = "libvirt")]
pub use hypervisor_libvirt as libvirt;
#[cfg(feature = "proxmox")]
pub use hypervisor_proxmox as proxmox;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
