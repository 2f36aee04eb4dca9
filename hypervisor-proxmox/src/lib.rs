//! Proxmox VE for the `hypervisor` SDK.
//!
//! [`Proxmox::connect`] takes a [`ProxmoxConfig`], which parses from a URL, and gives a `Hypervisor`: one node or a whole cluster, with
//! virtual machines and containers. What Proxmox has beyond the traits are methods of [`Proxmox`], and [`Proxmox::api`] is the
//! API as it is.
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
