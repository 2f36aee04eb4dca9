//! HTTP for drivers: one set-up of TLS trust, deadlines, bounds and error classes for all of them.
//!
//! An [`Http`] sends [`Request`]s to one server, or to one of several endpoints of a cluster. It answers with a [`Response`] whatever the
//! status is; what a status means is the driver's business, for which [`Response::error`] is the start. It fails only where no whole
//! answer came, and then says whether the call may have had an effect.
//!
//! ```no_run
//! # async fn run() -> hypervisor_core::Result<()> {
//! use hypervisor_core::http::{Http, HttpConfig, Request, segment};
//! let http = Http::new(HttpConfig::parse("https://pve1.example:8006/api2/json")?)?;
//! let response = http.send(Request::get(format!("/nodes/{}/status", segment("pve1")?))).await?;
//! if !response.is_success() {
//!     return Err(response.error());
//! }
//! let status: serde_json::Value = response.json()?;
//! # Ok(()) }
//! ```
//!
//! Proxies named by the environment (`HTTPS_PROXY`, `NO_PROXY`) are used for requests, not for WebSockets. HTTP/1.1 only: that is what
//! hypervisors speak, and the reason phrase of its status line carries the error of some.

mod body;
mod client;
mod config;
mod request;
mod response;
mod trust;
mod websocket;

pub use client::{Http, Take};
pub use config::HttpConfig;
pub use request::{Method, Request, segment};
pub use response::{RateLimit, Response, decode};
pub use trust::{Fingerprint, Trust};
pub use websocket::{Message, WebSocket};
