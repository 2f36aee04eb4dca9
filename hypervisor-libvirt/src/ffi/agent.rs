//! Calls that reach the agent inside the guest.

use std::ffi::{c_char, c_int, c_uint};
use std::ptr;

use virt::domain::Domain;
use virt_sys as sys;

use super::error::{LibvirtError, c_string, check};

/// Sends a JSON command to the guest's agent and returns its answer; gives up after `seconds`.
#[cfg(feature = "qemu")]
pub(crate) fn agent_command(domain: &Domain, command: &str, seconds: u32) -> Result<String, LibvirtError> {
    let command = c_string(command)?;
    let seconds = c_int::try_from(seconds).unwrap_or(c_int::MAX);
    // SAFETY: the domain is alive while borrowed; the command outlives the call.
    let answer = unsafe { sys::virDomainQemuAgentCommand(domain.as_ptr(), command.as_ptr(), seconds, 0) };
    if answer.is_null() {
        return Err(LibvirtError::last());
    }
    // SAFETY: libvirt allocated the answer with `malloc` and gave it to us; it is freed after the copy.
    unsafe {
        let text = super::error::text(answer).unwrap_or_default();
        libc::free(answer.cast());
        Ok(text)
    }
}

/// Without the feature `qemu` there is no way to the agent.
#[cfg(not(feature = "qemu"))]
pub(crate) fn agent_command(_: &Domain, _: &str, _: u32) -> Result<String, LibvirtError> {
    Err(LibvirtError {
        code: sys::VIR_ERR_NO_SUPPORT,
        domain: sys::VIR_FROM_QEMU,
        message: "built without the feature `qemu`".into(),
        details: Vec::new(),
    })
}

/// Freezes file systems; all of them when no mount point is named. Returns how many are frozen.
pub(crate) fn freeze(domain: &Domain, mount_points: &[String]) -> Result<usize, LibvirtError> {
    with_list(mount_points, |list, count| {
        // SAFETY: the domain is alive while borrowed; the list has `count` entries that outlive the call.
        unsafe { sys::virDomainFSFreeze(domain.as_ptr(), list, count, 0) }
    })
}

/// Thaws file systems; all of them when no mount point is named. Returns how many were thawed.
pub(crate) fn thaw(domain: &Domain, mount_points: &[String]) -> Result<usize, LibvirtError> {
    with_list(mount_points, |list, count| {
        // SAFETY: the domain is alive while borrowed; the list has `count` entries that outlive the call.
        unsafe { sys::virDomainFSThaw(domain.as_ptr(), list, count, 0) }
    })
}

fn with_list(
    items: &[String],
    call: impl FnOnce(*mut *const c_char, c_uint) -> c_int,
) -> Result<usize, LibvirtError> {
    let owned = items.iter().map(|item| c_string(item)).collect::<Result<Vec<_>, _>>()?;
    let mut list: Vec<*const c_char> = owned.iter().map(|item| item.as_ptr()).collect();
    let count = c_uint::try_from(list.len()).map_err(|_| LibvirtError::internal("too many mount points"))?;
    let first = if list.is_empty() { ptr::null_mut() } else { list.as_mut_ptr() };
    check(call(first, count))
}

#[cfg(test)]
mod tests {
    use super::super::open;
    use super::*;

    #[test]
    fn the_test_driver_freezes_and_thaws() {
        let conn = open("test:///default", false, None).unwrap();
        let domain = Domain::lookup_by_name(&conn, "test").unwrap();
        let frozen = freeze(&domain, &[]).unwrap();
        assert!(frozen > 0);
        assert_eq!(thaw(&domain, &[]).unwrap(), frozen);
        assert!(freeze(&domain, &["/a\0b".into()]).is_err());
    }

    #[test]
    fn the_test_driver_has_no_agent() {
        let conn = open("test:///default", false, None).unwrap();
        let domain = Domain::lookup_by_name(&conn, "test").unwrap();
        let error = agent_command(&domain, r#"{"execute":"guest-ping"}"#, 1).unwrap_err();
        assert_eq!(error.code, sys::VIR_ERR_NO_SUPPORT, "{error}");
    }
}
