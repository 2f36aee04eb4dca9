//! Virtumancer: many hosts' libvirt behind one server, with a WebSocket for what changes.
//!
//! The document and the servers disagree, and the servers of different months with one another; [`connect`](Virtumancer::connect) finds out
//! which [`Generation`] answers. All of them are decoded by the same tolerant code; the generation chooses routes and capabilities.
//!
//! # Ids
//! The server knows a guest by its host and its name. A `VmId` is therefore `host/name`, each part percent-encoded
//! (`[A-Za-z0-9._~-]` stay, every other byte is `%XX` in upper case), so that there is exactly one slash and one id for each guest. Pools
//! and networks are `host/name` in the same way, volumes `host/pool/name`. The uid is libvirt's UUID, which early servers do not tell.
//!
//! # What it cannot do
//! No server deletes, changes, pauses or migrates a guest. Only current ones create guests, and list storage and networks. Guests of libvirt
//! that a current server does not manage are not listed: see [`import_all`](Virtumancer::import_all).
//!
//! # TLS
//! The certificate that the server's own script makes has no subject alternative name, so that no authority can vouch for it: pin it with
//! [`Trust::Fingerprint`](hypervisor_core::http::Trust::Fingerprint). The server asks nobody who he is; credentials in the configuration are
//! for what stands before it.

mod api;
mod backend;
mod compute;
mod console;
mod create;
mod devices;
mod discovery;
mod events;
mod hosts;
mod metrics;
mod network;
pub(crate) mod probe;
mod routes;
mod settings;
mod storage;
mod wire;

pub use backend::Virtumancer;
pub use events::Loads;
pub use hosts::{AddHost, HostChange};
pub use routes::Generation;
#[cfg(any(test, fuzzing))]
pub(crate) use wire::fuzzing::{answers, frame};
pub use wire::{
    DeviceTraffic, DiscoveredVm, Hardware, HardwareDisk, HardwareNic, HostFacts, HostLoad, HostRecord, VmLoad,
};

/// The backend's name.
pub(crate) const BACKEND: &str = "virtumancer";
