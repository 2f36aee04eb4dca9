//! libvirt driver of the `hypervisor` SDK.

mod blocking;
mod ffi;
pub mod xml;

pub use ffi::LibvirtError;
