//! A network's DHCP leases.

use std::ptr;

use virt::network::Network;
use virt_sys as sys;

use super::error::{LibvirtError, check, text};

/// One lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Lease {
    pub(crate) mac: Option<String>,
    pub(crate) address: String,
    pub(crate) prefix: u32,
    pub(crate) hostname: Option<String>,
    /// Seconds since 1970; zero for a lease without an end.
    pub(crate) expires: i64,
}

/// The leases that the network's DHCP server has given.
pub(crate) fn leases(network: &Network) -> Result<Vec<Lease>, LibvirtError> {
    let mut list = ptr::null_mut();
    // SAFETY: the network is alive while borrowed; `list` receives an array that is freed below.
    let count =
        check(unsafe { sys::virNetworkGetDHCPLeases(network.as_ptr(), ptr::null(), &raw mut list, 0) })?;
    let mut found = Vec::with_capacity(count);
    for at in 0..count {
        // SAFETY: the array has `count` entries, each freed once, after its copy was made.
        unsafe {
            let entry = *list.add(at);
            if let Some(lease) = entry.as_ref()
                && let Some(address) = text(lease.ipaddr)
            {
                found.push(Lease {
                    mac: text(lease.mac),
                    address,
                    prefix: lease.prefix,
                    hostname: text(lease.hostname),
                    expires: lease.expirytime,
                });
            }
            sys::virNetworkDHCPLeaseFree(entry);
        }
    }
    // SAFETY: the array itself was allocated by libvirt with `malloc`; its entries are freed.
    unsafe { libc::free(list.cast()) };
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::super::open;
    use super::*;

    #[test]
    fn leases_are_unsupported_by_the_test_driver() {
        let conn = open("test:///default", false, None).unwrap();
        let network = Network::lookup_by_name(&conn, "default").unwrap();
        assert_eq!(leases(&network).unwrap_err().code, sys::VIR_ERR_NO_SUPPORT);
    }
}
