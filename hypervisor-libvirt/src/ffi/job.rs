//! What libvirt is at work on with a domain as a whole.

use std::ffi::c_uint;
use std::ptr;
use std::time::Duration;

use virt::domain::Domain;
use virt_sys as sys;

use super::error::{LibvirtError, check};
use super::params::Params;

/// What libvirt is at work on with a guest: a migration, a save, a backup.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct JobInfo {
    /// Whether there is a job at all.
    pub active: bool,
    /// What it does: `migration_out`, `backup`, `save`; `None` where libvirt does not say.
    pub operation: Option<&'static str>,
    /// How long it has been going.
    pub elapsed: Duration,
    /// How many bytes it has to move; zero where libvirt does not know (yet).
    pub total: u64,
    /// How many bytes it has moved. Pages that are all zero cost next to nothing, and changed ones are moved again.
    pub processed: u64,
    /// How many bytes are still to be moved.
    pub remaining: u64,
    /// How many bytes of the guest's memory there are; zero while only disks are being copied.
    pub memory_total: u64,
    /// How many bytes of disks are still to be copied.
    pub disk_remaining: u64,
    /// How many times it has gone through the memory.
    pub memory_passes: u64,
}

/// The running job. `virt`'s wrapper aborts the process on an idle domain.
pub(crate) fn job_info(domain: &Domain) -> Result<JobInfo, LibvirtError> {
    let (kind, stats) = job_stats(domain, 0)?;
    let active = matches!(kind, sys::VIR_DOMAIN_JOB_BOUNDED | sys::VIR_DOMAIN_JOB_UNBOUNDED);
    let number = |name: &str| stats.u64(name).unwrap_or_default();
    let (total, processed) = (number("data_total"), number("data_processed"));
    // A backup tells of its disks only.
    let disks_only = total == 0;
    Ok(JobInfo {
        active,
        operation: stats.i64("operation").and_then(operation).filter(|_| active),
        elapsed: Duration::from_millis(number("time_elapsed")),
        total: if disks_only { number("disk_total") } else { total },
        processed: if disks_only { number("disk_processed") } else { processed },
        remaining: number(if disks_only { "disk_remaining" } else { "data_remaining" }),
        memory_total: number("memory_total"),
        disk_remaining: number("disk_remaining"),
        memory_passes: number("memory_iteration"),
    })
}

/// How a domain's last job ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct JobEnd {
    /// A `virDomainJobType`; none where libvirt does not remember the job.
    pub(crate) kind: sys::virDomainJobType,
    /// Why it failed.
    pub(crate) error: Option<String>,
}

/// How a domain's last job ended.
pub(crate) fn job_end(domain: &Domain) -> Result<JobEnd, LibvirtError> {
    let (kind, stats) = job_stats(domain, sys::VIR_DOMAIN_JOB_STATS_COMPLETED)?;
    Ok(JobEnd { kind, error: stats.text("errmsg").map(str::to_owned) })
}

fn job_stats(domain: &Domain, flags: c_uint) -> Result<(sys::virDomainJobType, Params), LibvirtError> {
    let (mut kind, mut first, mut count) = (0, ptr::null_mut(), 0);
    // SAFETY: the domain is alive while borrowed; the other three outlive the call, and the array is freed below.
    check(unsafe {
        sys::virDomainGetJobStats(domain.as_ptr(), &raw mut kind, &raw mut first, &raw mut count, flags)
    })?;
    // SAFETY: null on an idle domain, else `count` parameters that libvirt filled; freed once, after the copy.
    let stats = unsafe {
        let stats = Params::copy(first, usize::try_from(count).unwrap_or(0));
        sys::virTypedParamsFree(first, count);
        stats
    };
    Ok((sys::virDomainJobType::try_from(kind).unwrap_or(sys::VIR_DOMAIN_JOB_NONE), stats))
}

fn operation(number: i64) -> Option<&'static str> {
    Some(match u32::try_from(number).ok()? {
        sys::VIR_DOMAIN_JOB_OPERATION_START => "start",
        sys::VIR_DOMAIN_JOB_OPERATION_SAVE => "save",
        sys::VIR_DOMAIN_JOB_OPERATION_RESTORE => "restore",
        sys::VIR_DOMAIN_JOB_OPERATION_MIGRATION_IN => "migration_in",
        sys::VIR_DOMAIN_JOB_OPERATION_MIGRATION_OUT => "migration_out",
        sys::VIR_DOMAIN_JOB_OPERATION_SNAPSHOT => "snapshot",
        sys::VIR_DOMAIN_JOB_OPERATION_SNAPSHOT_REVERT => "snapshot_revert",
        sys::VIR_DOMAIN_JOB_OPERATION_DUMP => "dump",
        sys::VIR_DOMAIN_JOB_OPERATION_BACKUP => "backup",
        sys::VIR_DOMAIN_JOB_OPERATION_SNAPSHOT_DELETE => "snapshot_delete",
        _ => return None,
    })
}

/// Asks the domain's running job to end.
pub(crate) fn abort_job(domain: &Domain) -> Result<(), LibvirtError> {
    // SAFETY: the domain is alive while borrowed.
    check(unsafe { sys::virDomainAbortJob(domain.as_ptr()) }).map(drop)
}

#[cfg(test)]
mod tests {
    use super::super::open;
    use super::*;

    #[test]
    fn jobs_are_unsupported_by_the_test_driver() {
        let conn = open("test:///default", false, None).unwrap();
        let domain = Domain::lookup_by_name(&conn, "test").unwrap();
        assert_eq!(job_info(&domain).unwrap_err().code, sys::VIR_ERR_NO_SUPPORT);
        assert_eq!(job_end(&domain).unwrap_err().code, sys::VIR_ERR_NO_SUPPORT);
        assert_eq!(abort_job(&domain).unwrap_err().code, sys::VIR_ERR_NO_SUPPORT);
    }

    #[test]
    fn operations_have_names() {
        assert_eq!(operation(5), Some("migration_out"));
        assert_eq!((operation(-1), operation(0), operation(4711)), (None, None, None));
    }
}
