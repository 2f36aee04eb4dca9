//! A domain's state and addresses.

use std::ffi::c_int;
use std::ptr;

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
}
