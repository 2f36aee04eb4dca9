//! Moving a domain to another daemon.

use std::ffi::{c_int, c_uint};

use virt::connect::Connect;
use virt::domain::Domain;
use virt_sys as sys;

use super::error::{LibvirtError, c_string, check};
use super::params::ParamList;

/// What a migration is told beyond where to go.
#[derive(Debug, Clone, Default)]
pub(crate) struct Migration {
    pub(crate) flags: c_uint,
    /// Where QEMU sends the guest's memory to.
    pub(crate) uri: Option<String>,
    /// Where QEMU sends the disks to.
    pub(crate) disks_uri: Option<String>,
    /// MiB a second.
    pub(crate) bandwidth: Option<u64>,
    /// What the guest is over there while it runs, where that differs.
    pub(crate) live_xml: Option<String>,
    /// Its definition over there, where that differs.
    pub(crate) persistent_xml: Option<String>,
}

impl Migration {
    fn params(&self) -> Result<ParamList, LibvirtError> {
        let mut params = ParamList::default();
        for (name, value) in [
            (sys::VIR_MIGRATE_PARAM_URI, &self.uri),
            (sys::VIR_MIGRATE_PARAM_DISKS_URI, &self.disks_uri),
            (sys::VIR_MIGRATE_PARAM_DEST_XML, &self.live_xml),
            (sys::VIR_MIGRATE_PARAM_PERSIST_XML, &self.persistent_xml),
        ] {
            if let Some(value) = value {
                params.add_text(name, value)?;
            }
        }
        if let Some(bandwidth) = self.bandwidth {
            params.add_u64(sys::VIR_MIGRATE_PARAM_BANDWIDTH, bandwidth)?;
        }
        Ok(params)
    }
}

fn length(count: c_int) -> c_uint {
    c_uint::try_from(count).unwrap_or(0)
}

/// The source's daemon moves the domain to the daemon of this URI by itself.
pub(crate) fn migrate_by_peer(domain: &Domain, uri: &str, how: &Migration) -> Result<(), LibvirtError> {
    let (uri, params) = (c_string(uri)?, how.params()?);
    let (first, count) = params.raw();
    let flags = how.flags | sys::VIR_MIGRATE_PEER2PEER;
    // SAFETY: the domain is alive while borrowed; the string and the parameters outlive the call.
    check(unsafe { sys::virDomainMigrateToURI3(domain.as_ptr(), uri.as_ptr(), first, length(count), flags) })
        .map(drop)
}

/// We move the domain to a daemon that we are connected to.
pub(crate) fn migrate_directly(domain: &Domain, to: &Connect, how: &Migration) -> Result<(), LibvirtError> {
    let params = how.params()?;
    let (first, count) = params.raw();
    // SAFETY: the domain and the connection are alive while borrowed; the parameters outlive the call.
    let moved =
        unsafe { sys::virDomainMigrate3(domain.as_ptr(), to.as_ptr(), first, length(count), how.flags) };
    if moved.is_null() {
        return Err(LibvirtError::last());
    }
    // SAFETY: a reference of ours, given up once.
    check(unsafe { sys::virDomainFree(moved) }).map(drop)
}

#[cfg(test)]
mod tests {
    use super::super::open;
    use super::*;

    #[test]
    fn the_test_driver_moves_nothing() {
        let conn = open("test:///default", false, None).unwrap();
        let domain = Domain::lookup_by_name(&conn, "test").unwrap();
        let how = Migration {
            uri: Some("tcp://127.0.0.1".into()),
            bandwidth: Some(1),
            live_xml: Some("<domain/>".into()),
            ..Migration::default()
        };
        let error = migrate_by_peer(&domain, "test:///default", &how).unwrap_err();
        assert_ne!(error.message, "");
        let error = migrate_directly(&domain, &conn, &how).unwrap_err();
        assert_ne!(error.message, "");
        let broken = Migration { uri: Some("a\0b".into()), ..Migration::default() };
        let error = migrate_by_peer(&domain, "test:///default", &broken).unwrap_err();
        assert!(error.message.contains("zero byte"), "{error}");
    }
}
