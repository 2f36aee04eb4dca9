//! Proxmox VE for the `hypervisor` SDK.
//!
//! What is here is the wire layer, without a connection: [`Upid`], and [`wire`] with what is sent to a server and what
//! its answers mean. All of it is pure: text and JSON in, the model of `hypervisor-core` out, and the other way round.
//! Still to come are the configuration of guests (`wire/config`), the replay of recorded exchanges against all of it, the connection, and the
//! driver; until then the crate is not published and no feature of the facade leads to it.
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

#[cfg(feature = "fake")]
pub mod fake;
pub mod upid;
pub mod wire;

pub use upid::Upid;

/// The name of this backend.
pub const BACKEND: &str = "proxmox";
