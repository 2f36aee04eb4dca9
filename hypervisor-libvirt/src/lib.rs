//! libvirt driver of the `hypervisor` SDK.
