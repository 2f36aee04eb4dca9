//! libvirt driver of the `hypervisor` SDK.

mod blocking;
mod config;
mod ffi;
pub mod xml;

pub use config::{DomainType, LibvirtConfig};
pub use ffi::LibvirtError;
