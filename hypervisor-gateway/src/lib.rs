//! Serves any backend over one REST API: one machine next to the hypervisors serves many programs that need only an HTTP client.
//!
//! [`router`] makes an [`axum::Router`] of an `Arc<dyn Hypervisor>`; [`Gateway`] gives more hold of it. The API is the v1 of the
//! "Proxmox AI Infrastructure Assistant" document (routes, envelope, errors, paging, rate limits, jobs, webhooks), extended in the same
//! style to every operation of the traits. `GET /v1/openapi.json` describes it; it is made from the same table as the routes.
//!
//! - **Lossless**: every object carries the model of `hypervisor-core` as `info`, every error the whole
//!   [`Error`](hypervisor_core::Error) as `native`. With `?view=native` only these are sent.
//! - **Access**: bearer tokens with permissions and expiry, kept as hashes. Without one, only `/v1/health` answers.
//! - **State** (tokens, jobs, webhooks and their undelivered events): SQLite or PostgreSQL. With PostgreSQL several gateways serve one address:
//!   what a dead one was doing is taken over, and each webhook event is delivered by one.
//! - **Jobs**: whatever changes something is recorded before the backend is called. A gateway that is killed in the middle loses no record:
//!   afterwards the outcome is found, or reported as unknown.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> hypervisor_core::Result<()> {
//! use std::sync::Arc;
//! use hypervisor_core::memory::Memory;
//! use hypervisor_gateway::GatewayConfig;
//! let router = hypervisor_gateway::router(Arc::new(Memory::new()), GatewayConfig::new()).await?;
//! // axum::serve(listener, router).await
//! # let _ = router;
//! # Ok(()) }
//! ```

mod about;
mod answer;
mod backups;
mod batch;
mod believed;
mod call;
mod clock;
mod compute;
mod config;
mod console;
mod counters;
mod create;
mod devices;
mod events;
mod gateway;
mod groups;
mod guest;
mod hooks;
mod hosts;
mod jobs;
mod metrics;
mod tasks;

mod network;
mod openapi;
mod paging;
mod permission;
mod problem;
mod rate;
mod rest;
mod router;
mod routes;
mod scans;
mod seat;
mod snapshots;
mod storage;
mod store;
mod tls;
mod tokens;
mod view;
mod volumes;
mod webhooks;

use std::sync::Arc;

use hypervisor_core::{Hypervisor, Result};

pub use config::{GatewayConfig, WebhookTargets};
pub use gateway::{CreatedToken, Gateway};
pub use hooks::{Generate, Generated, Generator, Scan, ScanRequest, Scanner};
pub use rate::{Category, Rate};
pub use routes::{Access, RouteInfo, routes};

/// Serves a backend. The router keeps the gateway alive; the first token comes from [`Gateway::create_token`] on the same database, or by
/// [`GatewayConfig::basic`].
///
/// # Errors
/// `Config` where the database cannot be opened.
pub async fn router(hv: Arc<dyn Hypervisor>, config: GatewayConfig) -> Result<axum::Router> {
    Ok(Gateway::open(hv, config).await?.router())
}
