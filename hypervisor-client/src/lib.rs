//! Clients of REST gateways to hypervisors, behind the traits of [`hypervisor_core`].
//!
//! A gateway is a server that manages virtual machines for others. Each speaks a [`Dialect`] of its own; a program that holds
//! `Arc<dyn Hypervisor>` does not notice. [`connect`] chooses the dialect by the URL's scheme (`https+hypersdk://host:8080`), or asks the
//! server which one it speaks where the scheme is plain `https` or `http`.
//!
//! What a gateway has beyond the traits is typed methods of its dialect's own type, which `hv.backend::<…>()` finds under any layers.
//!
//! ```no_run
//! use hypervisor_client::{ClientConfig, connect};
//! use hypervisor_core::model::VmQuery;
//! # async fn example(token: String) -> hypervisor_core::Result<()> {
//! let hv = connect(ClientConfig::new("https+v1://gate.example.org")?.token(token)).await?;
//! println!("{} machines", hv.vms().all(&VmQuery::all()).await?.len());
//! # Ok(()) }
//! ```
//!
//! # What differs from one gateway to the next
//! - **v1**: of `hypervisor-gateway` everything, as if the backend were here; of another server of that API what its document has.
//! - **HyperSDK**: libvirt behind `virsh`. Names are checked before they are sent, because the daemon hands them to a shell. It creates no
//!   machines, and cuts connections after 30 s: such a call is `Transport` of unknown effect.
//! - **Virtumancer**: several libvirt hosts; an id is `host/name`. No snapshots, no backups; events are found by comparing lists.
//! - **virtualization-mcp**: VirtualBox and Hyper-V: machines, power, snapshots, screens.
//!
//! The capabilities of the connection are the whole truth about it.
//!
//! # Credentials
//! A token, an API key, or a user and password go into [`ClientConfig`] or into the user part of the URL. They are sent over TLS only,
//! unless [`ClientConfig::allow_plain_http_credentials`] was called; they are in no error, log or `Debug`, and never follow a redirect to
//! another origin.

mod client;
mod config;
pub mod dialect;
#[cfg(feature = "fake")]
pub mod fake;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzzing;
mod oauth;
mod probe;
mod time;
pub mod webhook;

pub use client::connect;
pub use config::{ClientConfig, Credentials, Dialect};
// Consoles of the dialects are such.
pub use hypervisor_core::http::{Message, WebSocket};
