//! A domain's state, addresses and job.

use std::ffi::c_int;
use std::ptr;
use std::time::Duration;

use virt::domain::Domain;
use virt_sys as sys;

use super::error::{LibvirtError, check, text};

/// The state and its reason: a `virDomainState` and the reason's number. `virt`'s wrapper loses the error.
pub(crate) fn state(domain: &Domain) -> Result<(c_int, c_int), LibvirtError> {
    let (mut state, mut reason) = (0, 0);
    // SAFETY: the domain is alive while borrowed; both numbers outlive the call.
    check(unsafe { sys::virDomainGetState(domain.as_ptr(), &raw mut state, &raw mut reason, 0) })?;
    Ok((state, reason))
}

/// Who says which addresses a guest has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AddressSource {
    Lease,
    Agent,
    Arp,
}

/// A guest's interface with its addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct GuestInterface {
    pub(crate) name: String,
    pub(crate) mac: Option<String>,
    /// Addresses with their prefix lengths.
    pub(crate) addresses: Vec<(String, u32)>,
}

/// A guest's addresses. `virt`'s wrapper leaks them.
pub(crate) fn interface_addresses(
    domain: &Domain,
    source: AddressSource,
) -> Result<Vec<GuestInterface>, LibvirtError> {
    let source = match source {
        AddressSource::Lease => sys::VIR_DOMAIN_INTERFACE_ADDRESSES_SRC_LEASE,
        AddressSource::Agent => sys::VIR_DOMAIN_INTERFACE_ADDRESSES_SRC_AGENT,
        AddressSource::Arp => sys::VIR_DOMAIN_INTERFACE_ADDRESSES_SRC_ARP,
    };
    let mut list = ptr::null_mut();
    // SAFETY: the domain is alive while borrowed; `list` receives an array that is freed below.
    let count =
        check(unsafe { sys::virDomainInterfaceAddresses(domain.as_ptr(), &raw mut list, source, 0) })?;
    let mut found = Vec::with_capacity(count);
    for at in 0..count {
        // SAFETY: the array has `count` entries, each an interface with `naddrs` addresses, freed once, after the copy.
        unsafe {
            let entry = *list.add(at);
            if let Some(interface) = entry.as_ref() {
                let addresses = match usize::try_from(interface.naddrs) {
                    Ok(count) if !interface.addrs.is_null() => {
                        std::slice::from_raw_parts(interface.addrs, count)
                    }
                    _ => &[],
                };
                let addresses =
                    addresses.iter().filter_map(|item| Some((text(item.addr)?, item.prefix))).collect();
                found.push(GuestInterface {
                    name: text(interface.name).unwrap_or_default(),
                    mac: text(interface.hwaddr),
                    addresses,
                });
            }
            sys::virDomainInterfaceFree(entry);
        }
    }
    // SAFETY: the array itself was allocated by libvirt with `malloc`; its entries are freed.
    unsafe { libc::free(list.cast()) };
    Ok(found)
}

/// What libvirt is at work on with a guest: a migration, a save, a backup.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct JobInfo {
    /// Whether there is a job at all.
    pub active: bool,
    /// How long it has been going.
    pub elapsed: Duration,
    /// How many bytes it has to move; zero where libvirt does not know.
    pub total: u64,
    /// How many of them it has moved.
    pub processed: u64,
}

/// The running job. `virt`'s wrapper aborts the process on an idle domain.
pub(crate) fn job_info(domain: &Domain) -> Result<JobInfo, LibvirtError> {
    let mut info = sys::virDomainJobInfo {
        type_: 0,
        timeElapsed: 0,
        timeRemaining: 0,
        dataTotal: 0,
        dataProcessed: 0,
        dataRemaining: 0,
        memTotal: 0,
        memProcessed: 0,
        memRemaining: 0,
        fileTotal: 0,
        fileProcessed: 0,
        fileRemaining: 0,
    };
    // SAFETY: the domain is alive while borrowed; the structure outlives the call.
    check(unsafe { sys::virDomainGetJobInfo(domain.as_ptr(), &raw mut info) })?;
    let active = matches!(
        sys::virDomainJobType::try_from(info.type_),
        Ok(sys::VIR_DOMAIN_JOB_BOUNDED | sys::VIR_DOMAIN_JOB_UNBOUNDED)
    );
    let elapsed = Duration::from_millis(info.timeElapsed);
    Ok(JobInfo { active, elapsed, total: info.dataTotal, processed: info.dataProcessed })
}

/// Asks the domain's running job to end.
pub(crate) fn abort_job(domain: &Domain) -> Result<(), LibvirtError> {
    // SAFETY: the domain is alive while borrowed.
    check(unsafe { sys::virDomainAbortJob(domain.as_ptr()) }).map(drop)
}

#[cfg(test)]
mod tests {
    use super::super::{Connection, open};
    use super::*;

    fn test_domain() -> (Connection, Domain) {
        let conn = open("test:///default", false, None).unwrap();
        let domain = Domain::lookup_by_name(&conn, "test").unwrap();
        (conn, domain)
    }

    #[test]
    fn state_is_read_and_its_failure_is_an_error() {
        let (conn, domain) = test_domain();
        assert_eq!(state(&domain).unwrap().0, 1);
        let xml =
            "<domain type='test'><name>gone</name><memory>8192</memory><os><type>hvm</type></os></domain>";
        let gone = Domain::define_xml(&conn, xml).unwrap();
        assert_eq!(state(&gone).unwrap().0, 5);
        gone.undefine().unwrap();
        assert_eq!(state(&gone).unwrap_err().code, sys::VIR_ERR_NO_DOMAIN);
    }

    #[test]
    fn addresses_are_copied() {
        let (_conn, domain) = test_domain();
        let found = interface_addresses(&domain, AddressSource::Lease).unwrap();
        for interface in &found {
            assert!(
                interface.addresses.iter().all(|(address, _)| address.parse::<std::net::IpAddr>().is_ok())
            );
        }
    }

    #[test]
    fn jobs_are_unsupported_by_the_test_driver() {
        let (_conn, domain) = test_domain();
        assert_eq!(job_info(&domain).unwrap_err().code, sys::VIR_ERR_NO_SUPPORT);
        assert_eq!(abort_job(&domain).unwrap_err().code, sys::VIR_ERR_NO_SUPPORT);
    }
}
