//! A stopped guest whose QEMU is up with its CPUs halted, for what libvirt does to running guests only.

use hypervisor_core::model::VmState;
use virt::domain::Domain;
use virt_sys as sys;

use super::lookup;
use crate::error::Outcome;

/// Brings QEMU up. Nothing inside the guest runs.
pub(crate) fn bring_up(domain: &Domain) -> Outcome<()> {
    domain.create_with_flags(sys::VIR_DOMAIN_START_PAUSED)?;
    Ok(())
}

/// Ends QEMU again, in a way that lets it write what it keeps in the disks' files. A guest that somebody has let run
/// meanwhile is left alone.
pub(crate) fn take_down(domain: &Domain) -> Outcome<()> {
    if lookup::state(domain)? == VmState::Paused {
        domain.destroy_flags(sys::VIR_DOMAIN_DESTROY_GRACEFUL)?;
    }
    Ok(())
}
