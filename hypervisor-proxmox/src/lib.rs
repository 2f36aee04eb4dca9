//! Proxmox VE for the `hypervisor` SDK.
//!
//! [`Proxmox::connect`] takes a [`ProxmoxConfig`], which parses from a URL, and gives a `Hypervisor`: one node or a whole cluster, with
//! virtual machines and containers. What Proxmox has beyond the traits are methods of [`Proxmox`], and [`Proxmox::api`] is the
//! API as it is.
//!
//! ```no_run
//! use std::sync::Arc;
//! use hypervisor_core::Hypervisor;
//! use hypervisor_core::model::{MigrateSpec, VmQuery};
//! use hypervisor_proxmox::{Proxmox, ProxmoxConfig};
//! # async fn example() -> hypervisor_core::Result<()> {
//! // The secret of the token comes from PROXMOX_TOKEN_SECRET.
//! let config = ProxmoxConfig::new("proxmox://sdk@pve!app@pve1.example.org:8006")?.with_env()?;
//! let hv: Arc<dyn Hypervisor> = Arc::new(Proxmox::connect(config).await?);
//! let vm = hv.vms().by_name("web-1").await?;
//! vm.migrate(&MigrateSpec::to("pve2").live(true)).await?.await?;
//! # Ok(()) }
//! ```
//!
//! # Who may connect
//! An API token of a user for the program alone, with a role that has what it does; a user with a password (and a second factor) where the
//! release opens consoles only to these. What the token may not do is `Unsupported` from the start. The certificate is checked:
//! `fingerprint=` pins the one that Proxmox makes for itself, `ca=` trusts an authority of yours.
//!
//! # What differs from other backends
//! - **Guests are found wherever they are**: an id is the VMID and names no node. VMIDs are used again; a handle from `vms().get(id)` remembers
//!   the `uid` and refuses another machine.
//! - **Names need not be unique**: `by_name` is `Conflict` where several have it.
//! - **Tasks are the server's**: their ids (UPIDs) can be stored and waited for by another process. Operations that the driver builds from
//!   several calls (`chain:` ids) go on in this process only.
//! - **Lists are up to 10 s old**, as the cluster's own; guests that this connection has changed are looked at again.
//! - **There are no events**: one look every few seconds serves all readers, and what begins and ends in between is not seen.
//! - **Disks go with their guest**, and volumes cannot be read.
//! - **Networks are written first and applied later.** A network made without `start` is written on its host and not in force; starting it reloads
//!   the network of that host, and of a vnet that of all hosts. The trait makes bridges that join guests and their host and nothing else
//!   (`Isolated`), and vnets of a zone (`{"proxmox": {"zone": …}}`); it touches no bridge that it has not made, none that a guest is plugged into,
//!   and applies nothing where somebody else's changes wait (`Conflict`). Bridges of the host's own interfaces are `create_bridge`,
//!   `delete_bridge`, `apply_networks` and `revert_networks` of [`Proxmox`], because a mistake there cuts the host off.
//! - Options that only Proxmox knows are [`VmOptions`].
//!
//! Below that is [`wire`], what is sent to a server and what its answers mean, which is pure: text and JSON in, the model of
//! `hypervisor-core` out, and the other way round. [`Upid`] is the id of a task taken apart.
//!
//! ```
//! use hypervisor_proxmox::{Upid, wire};
//! let body = br#"{"data":[{"id":"qemu/100","type":"qemu","vmid":100,"node":"pve1","name":"web-1","status":"running"}]}"#;
//! let inventory = wire::resources::inventory(body)?;
//! assert_eq!(inventory.guests[0].name, "web-1");
//! let upid: Upid = "UPID:pve1:00000173:000327F6:6B008B60:qmcreate:100:root@pam!lab:".parse()?;
//! assert_eq!(upid.node(), "pve1");
//! # Ok::<(), hypervisor_core::Error>(())
//! ```

mod api;
mod auth;
mod backend;
mod backups;
mod batch;
mod compute;
mod config;
mod console;
mod error;
mod events;
#[cfg(feature = "fake")]
pub mod fake;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzzing;
mod guest;
mod ids;
mod locate;
mod metrics;
mod network;
mod probe;
mod snapshots;
mod storage;
mod tasks;
mod totp;
mod typed;
pub mod upid;
pub mod wire;

pub use api::Api;
pub use backend::Proxmox;
pub use backups::Pruning;
pub use config::ProxmoxConfig;
pub use console::Console;
pub use storage::Checksum;
pub use typed::{FirewallScope, Resources};
pub use upid::Upid;
pub use wire::config::{CloudInitOptions, VmOptions};

/// The name of this backend.
pub const BACKEND: &str = "proxmox";
