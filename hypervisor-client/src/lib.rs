//! Clients of REST gateways to hypervisors, behind the traits of [`hypervisor_core`].
//!
//! A gateway is a server that manages virtual machines for others. Each speaks a [`Dialect`] of its own; a program that holds
//! `Arc<dyn Hypervisor>` does not notice. [`connect`] chooses the dialect by the URL's scheme (`https+hypersdk://host:8080`), or asks the
//! server which one it speaks where the scheme is plain `https` or `http`.
//!
//! What a gateway has beyond the traits is typed methods of its dialect's own type, which `hv.backend::<…>()` finds under any layers.
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
