//! libvirt driver of the `hypervisor` SDK.

mod ffi;
pub mod xml;

pub use ffi::LibvirtError;
