//! Backups, checkpoints, and memory saved to a file: none of which `virt` wraps.

use std::ptr;

use virt::connect::Connect;
use virt::domain::Domain;
use virt_sys as sys;

use super::error::{LibvirtError, c_string, check, text};

/// Begins a backup into files that exist already, and makes a checkpoint at the same moment where one is given.
pub(crate) fn backup_begin(
    domain: &Domain,
    backup: &str,
    checkpoint: Option<&str>,
) -> Result<(), LibvirtError> {
    let backup = c_string(backup)?;
    let checkpoint = checkpoint.map(c_string).transpose()?;
    let checkpoint = checkpoint.as_ref().map_or(ptr::null(), |text| text.as_ptr());
    let flags = sys::VIR_DOMAIN_BACKUP_BEGIN_REUSE_EXTERNAL;
    // SAFETY: the domain is alive while borrowed; both texts outlive the call, or the second is null, which means none.
    check(unsafe { sys::virDomainBackupBegin(domain.as_ptr(), backup.as_ptr(), checkpoint, flags) }).map(drop)
}

/// The names of a domain's checkpoints.
pub(crate) fn checkpoints(domain: &Domain) -> Result<Vec<String>, LibvirtError> {
    let mut list = ptr::null_mut();
    // SAFETY: the domain is alive while borrowed; `list` receives an array that is freed below.
    let count = check(unsafe { sys::virDomainListAllCheckpoints(domain.as_ptr(), &raw mut list, 0) })?;
    let mut names = Vec::with_capacity(count);
    for at in 0..count {
        // SAFETY: the array has `count` checkpoints, each of which is freed once, after its name was copied.
        unsafe {
            let checkpoint = *list.add(at);
            names.extend(text(sys::virDomainCheckpointGetName(checkpoint)));
            sys::virDomainCheckpointFree(checkpoint);
        }
    }
    // SAFETY: libvirt allocated the array itself with `malloc`; its entries are freed.
    unsafe { libc::free(list.cast()) };
    Ok(names)
}

/// Removes a checkpoint; of a domain that does not run, only what libvirt itself knows of it.
pub(crate) fn delete_checkpoint(
    domain: &Domain,
    name: &str,
    metadata_only: bool,
) -> Result<(), LibvirtError> {
    let name = c_string(name)?;
    // SAFETY: the domain is alive while borrowed, the name outlives the call.
    let checkpoint = unsafe { sys::virDomainCheckpointLookupByName(domain.as_ptr(), name.as_ptr(), 0) };
    if checkpoint.is_null() {
        return Err(LibvirtError::last());
    }
    let flags = if metadata_only { sys::VIR_DOMAIN_CHECKPOINT_DELETE_METADATA_ONLY } else { 0 };
    // SAFETY: a checkpoint that is ours until it is freed two lines below.
    let outcome = check(unsafe { sys::virDomainCheckpointDelete(checkpoint, flags) }).map(drop);
    // SAFETY: freed once; it is not used after this. The outcome was read before, so that its error is not lost.
    unsafe { sys::virDomainCheckpointFree(checkpoint) };
    outcome
}

/// Writes a domain's memory into a file on the host and ends it.
pub(crate) fn save(domain: &Domain, path: &str) -> Result<(), LibvirtError> {
    let path = c_string(path)?;
    // SAFETY: the domain is alive while borrowed, the path outlives the call; no other definition is given.
    check(unsafe { sys::virDomainSaveFlags(domain.as_ptr(), path.as_ptr(), ptr::null(), 0) }).map(drop)
}

/// Lets a domain go on from such a file.
pub(crate) fn restore(conn: &Connect, path: &str) -> Result<(), LibvirtError> {
    let path = c_string(path)?;
    // SAFETY: the connection is alive while borrowed, the path outlives the call; no other definition is given.
    check(unsafe { sys::virDomainRestoreFlags(conn.as_ptr(), path.as_ptr(), ptr::null(), 0) }).map(drop)
}

/// The definition of the domain in such a file.
pub(crate) fn saved_definition(conn: &Connect, path: &str) -> Result<String, LibvirtError> {
    let path = c_string(path)?;
    // SAFETY: the connection is alive while borrowed, the path outlives the call.
    let answer = unsafe { sys::virDomainSaveImageGetXMLDesc(conn.as_ptr(), path.as_ptr(), 0) };
    if answer.is_null() {
        return Err(LibvirtError::last());
    }
    // SAFETY: libvirt allocated the text with `malloc` and gave it to us; it is freed after the copy.
    unsafe {
        let definition = text(answer).unwrap_or_default();
        libc::free(answer.cast());
        Ok(definition)
    }
}

#[cfg(test)]
mod tests {
    use super::super::open;
    use super::*;

    #[test]
    fn checkpoints_of_the_test_driver() {
        let conn = open("test:///default", false, None).unwrap();
        let domain = Domain::lookup_by_name(&conn, "test").unwrap();
        assert!(checkpoints(&domain).unwrap().is_empty());
        let error = delete_checkpoint(&domain, "none", true).unwrap_err();
        assert_eq!(error.code, sys::VIR_ERR_NO_DOMAIN_CHECKPOINT, "{error}");
        assert!(delete_checkpoint(&domain, "a\0b", true).is_err());
    }

    #[test]
    fn the_test_driver_backs_nothing_up() {
        let conn = open("test:///default", false, None).unwrap();
        let domain = Domain::lookup_by_name(&conn, "test").unwrap();
        let error = backup_begin(&domain, "<domainbackup/>", None).unwrap_err();
        assert_eq!(error.code, sys::VIR_ERR_NO_SUPPORT, "{error}");
    }

    #[test]
    fn a_domain_is_saved_and_restored() {
        let conn = open("test:///default", false, None).unwrap();
        let domain = Domain::lookup_by_name(&conn, "test").unwrap();
        let path = std::env::temp_dir().join(format!("hv-save-{}", std::process::id()));
        let path = path.to_str().unwrap();
        save(&domain, path).unwrap();
        assert!(!domain.is_active().unwrap());
        restore(&conn, path).unwrap();
        assert!(domain.is_active().unwrap());
        std::fs::remove_file(path).unwrap();
        assert!(restore(&conn, path).is_err());
        assert!(saved_definition(&conn, path).is_err());
    }
}
