//! Block jobs: work that QEMU does on a running guest's disk.

use std::ffi::c_ulong;
use std::ptr;

use virt::domain::Domain;
use virt_sys as sys;

use super::error::{LibvirtError, c_string, check};
use super::params::ParamList;

/// How far a block job is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BlockJobInfo {
    /// How many bytes it has dealt with.
    pub(crate) done: u64,
    /// How many there are, as far as is known by now.
    pub(crate) total: u64,
}

/// The block job of a disk, where there is one.
pub(crate) fn block_job(domain: &Domain, disk: &str) -> Result<Option<BlockJobInfo>, LibvirtError> {
    let disk = c_string(disk)?;
    let mut info = sys::virDomainBlockJobInfo { type_: 0, bandwidth: 0, cur: 0, end: 0 };
    // SAFETY: the domain is alive while borrowed; the string and the structure outlive the call.
    let found =
        check(unsafe { sys::virDomainGetBlockJobInfo(domain.as_ptr(), disk.as_ptr(), &raw mut info, 0) })?;
    Ok((found > 0).then_some(BlockJobInfo { done: info.cur, total: info.end }))
}

/// Ends the block job of a disk and waits until it has ended; `pivot` lets the guest go on with the other side.
pub(crate) fn end_block_job(domain: &Domain, disk: &str, pivot: bool) -> Result<(), LibvirtError> {
    let disk = c_string(disk)?;
    let flags = if pivot { sys::VIR_DOMAIN_BLOCK_JOB_ABORT_PIVOT } else { 0 };
    // SAFETY: the domain is alive while borrowed; the string outlives the call.
    check(unsafe { sys::virDomainBlockJobAbort(domain.as_ptr(), disk.as_ptr(), flags) }).map(drop)
}

/// Merges the files from `top` down to `base` into `base`; without them from the uppermost down to the lowest.
pub(crate) fn block_commit(
    domain: &Domain,
    disk: &str,
    base: Option<&str>,
    top: Option<&str>,
    active: bool,
    bandwidth: u64,
) -> Result<(), LibvirtError> {
    let disk = c_string(disk)?;
    let (base, top) = (base.map(c_string).transpose()?, top.map(c_string).transpose()?);
    let pointer = |text: &Option<std::ffi::CString>| text.as_ref().map_or(ptr::null(), |text| text.as_ptr());
    let mut flags = sys::VIR_DOMAIN_BLOCK_COMMIT_BANDWIDTH_BYTES;
    if active {
        flags |= sys::VIR_DOMAIN_BLOCK_COMMIT_ACTIVE;
    }
    // SAFETY: the domain is alive while borrowed; the strings outlive the call.
    let begun = unsafe {
        sys::virDomainBlockCommit(
            domain.as_ptr(),
            disk.as_ptr(),
            pointer(&base),
            pointer(&top),
            speed(bandwidth),
            flags,
        )
    };
    check(begun).map(drop)
}

/// Fills the uppermost file with what it lacks of those above `base`; without it, of all below.
pub(crate) fn block_pull(
    domain: &Domain,
    disk: &str,
    base: Option<&str>,
    bandwidth: u64,
) -> Result<(), LibvirtError> {
    let disk = c_string(disk)?;
    let base = base.map(c_string).transpose()?;
    // SAFETY: the domain is alive while borrowed; the strings outlive the call.
    let begun = unsafe {
        match &base {
            None => sys::virDomainBlockPull(
                domain.as_ptr(),
                disk.as_ptr(),
                speed(bandwidth),
                sys::VIR_DOMAIN_BLOCK_PULL_BANDWIDTH_BYTES,
            ),
            Some(base) => sys::virDomainBlockRebase(
                domain.as_ptr(),
                disk.as_ptr(),
                base.as_ptr(),
                speed(bandwidth),
                sys::VIR_DOMAIN_BLOCK_REBASE_BANDWIDTH_BYTES,
            ),
        }
    };
    check(begun).map(drop)
}

/// Copies a disk to where `target`, a `<disk>` element, says; `reuse` where it is there already.
pub(crate) fn block_copy(
    domain: &Domain,
    disk: &str,
    target: &str,
    reuse: bool,
    bandwidth: u64,
) -> Result<(), LibvirtError> {
    let (disk, target) = (c_string(disk)?, c_string(target)?);
    let mut params = ParamList::default();
    if bandwidth > 0 {
        params.add_u64(sys::VIR_DOMAIN_BLOCK_COPY_BANDWIDTH, bandwidth)?;
    }
    // Persistent guests are refused without it: the copy ends with the guest.
    let mut flags = sys::VIR_DOMAIN_BLOCK_COPY_TRANSIENT_JOB;
    if reuse {
        flags |= sys::VIR_DOMAIN_BLOCK_COPY_REUSE_EXT;
    }
    let (first, count) = params.raw();
    // SAFETY: the domain is alive while borrowed; strings and parameters outlive the call.
    check(unsafe {
        sys::virDomainBlockCopy(domain.as_ptr(), disk.as_ptr(), target.as_ptr(), first, count, flags)
    })
    .map(drop)
}

fn speed(bytes: u64) -> c_ulong {
    c_ulong::try_from(bytes).unwrap_or(c_ulong::MAX)
}

#[cfg(test)]
mod tests {
    use super::super::open;
    use super::*;

    #[test]
    fn the_test_driver_has_no_block_jobs() {
        let conn = open("test:///default", false, None).unwrap();
        let domain = Domain::lookup_by_name(&conn, "test").unwrap();
        for outcome in [
            block_job(&domain, "vda").map(drop),
            end_block_job(&domain, "vda", false),
            block_commit(&domain, "vda", Some("/a"), None, true, 0),
            block_pull(&domain, "vda", Some("/a"), 1),
            block_pull(&domain, "vda", None, 1),
            block_copy(&domain, "vda", "<disk/>", true, 1),
        ] {
            assert_eq!(outcome.unwrap_err().code, sys::VIR_ERR_NO_SUPPORT);
        }
    }
}
