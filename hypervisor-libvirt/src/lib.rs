//! libvirt driver of the `hypervisor` SDK.

mod blocking;
mod config;
mod error;
mod ffi;
pub mod xml;

pub use config::{DomainType, LibvirtConfig};
pub use ffi::LibvirtError;

/// The name of this backend.
pub const BACKEND: &str = "libvirt";
