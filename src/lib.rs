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
//! - [`Hypervisor`]: what [`connect`] gives. Its methods on `Arc<dyn Hypervisor>` lead to everything: `vms()`, `hosts()`, `pools()`,
//!   `volumes()`, `networks()`, `backups()`, `tasks()`, `batch()`, `events()`, and `vm(id)`, `task(id)` and so on for one object.
//! - [`model`]: specs and infos, plain data with serde. The common ones are re-exported here.
//! - [`handle`]: what those methods give: [`Vm`], [`Task`] and so on.
//! - [`traits`]: what a backend implements; [`Hypervisor`] is all of them.
//! - [`layer`]: retries, deadlines, limits and traces around any backend.
//! - [`memory`]: a complete hypervisor in memory, deterministic under paused time, for your own tests.
//! - [`Error`]: what happened, to what, whether it had an effect, and whether to try again.
//! - [`feed`]: the events of many backends in one stream; of one, `follow_events()` goes on after a loss.
//!
//! # Features
//! Nothing is on by default, and then no C library, TLS or HTTP is needed.
//! - `libvirt`: the driver for libvirt and QEMU. It links libvirt's C library, which is LGPL-2.1.
//! - `proxmox`: the driver for Proxmox VE.
//! - `client`: clients of REST gateways: our own (`hypervisor-gateway`), HyperSDK, Virtumancer, virtualization-mcp.
//! - `conformance`: the suite that every backend runs, for writing one's own.
//! - `fake`: servers on loopback that answer as Proxmox VE and the gateways do, for tests; those of the drivers that are on.
//!
//! `proxmox` and `client` bring reqwest with `rustls-no-provider`. A program that uses reqwest itself, without one of its TLS features, has to name
//! a provider before its own `reqwest::Client::new()`: `rustls::crypto::ring::default_provider().install_default()`.
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
//! # Errors and logs
//! ```
//! use hypervisor::{Effect, ErrorKind, Retry};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> hypervisor::Result<()> {
//! # let hv = hypervisor::connect("memory://").await?;
//! let error = hv.vms().get("web-1").await.unwrap_err();
//! match error.kind() {
//!     ErrorKind::NotFound => println!("make it: {error}"),
//!     _ if error.effect() != Effect::None => println!("look before acting again: {error}"),
//!     _ if error.retry() == Retry::Safe => println!("again, after {:?}", error.retry_after()),
//!     kind => println!("{kind}: {}", kind.remedy()),
//! }
//! # Ok(()) }
//! ```
//! Each call is a `tracing` span with the target `hypervisor` ([`layer::Trace`] lists its fields); [`layer::Counters`] count calls,
//! attempts, failures and times, for whatever metrics a program exports.
//!
//! # Versions
//! Semantic versioning; before 1.0 a minor version may break. The oldest Rust that works is the `rust-version` of the crate, and a newer
//! one is a minor version. Specs, infos, queries and all enums are `#[non_exhaustive]`: they grow in minor versions, so they are made by
//! their constructors and setters, and a `match` on them needs a last arm. New methods of the traits have a default, which answers
//! `Unsupported`.
//!
//! The repository's `examples/` go on from here, and `examples/hv` is a whole program.

#![cfg_attr(docsrs, feature(doc_cfg))]

mod connect;

pub use connect::{connect, connect_bare};

pub use hypervisor_core::handle::Listing;
pub use hypervisor_core::model::{
    BackupId, BackupQuery, BackupSpec, ByteSize, ByteStream, Capabilities, Capability, CloneMany, CloneSpec,
    CloudInit, DeleteVm, DeploySpec, DiskSpec, DownloadVolume, Event, EventKind, EventQuery, EventStream,
    ExecSpec, Feature, GuestAddress, HostId, MigrateSpec, NetworkId, NetworkSpec, NicSpec, PoolId, PoolQuery,
    PoolSpec, PowerAction, RestoreBackup, RevertSnapshot, Shutdown, SnapshotId, SnapshotSpec, Started,
    TaskId, TaskInfo, TaskQuery, TaskState, TemplateSpec, UploadVolume, VmChange, VmConfig, VmId, VmInfo,
    VmQuery, VmSpec, VmState, VolumeId, VolumeSpec,
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
