//! libvirt driver of the `hypervisor` SDK.

pub mod xml;
