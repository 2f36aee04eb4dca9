//! A job at work on a disk: how far it is, and how it ends.

use std::time::Duration;

use hypervisor_core::model::{DiskId, VmId, VolumeFormat};
use hypervisor_core::{Error, ErrorKind, Operation, Result, Retry};
use virt::connect::Connect;
use virt::domain::Domain;
use virt_sys as sys;

use super::chain::chain;
use crate::backend::Inner;
use crate::compute::lookup;
use crate::error::Outcome;
use crate::ffi::{self, BlockJobInfo};
use crate::tasks::{Running, cancelled};
use crate::xml::device::{is_disk, source_path};

/// How long between two looks at a job.
const LOOK: Duration = Duration::from_millis(250);
/// How many looks may fail in a row: a failed look is no failed job.
const BLIND: u32 = 8;

/// How a job ends that has done its work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    /// By itself.
    Itself,
    /// It mirrors until it is told that the guest goes on with the other side.
    Pivot,
    /// It mirrors until it is told to leave the other side alone.
    Leave,
}

/// A disk of a running guest, and what is being done with it.
#[derive(Debug, Clone)]
pub(super) struct Look {
    pub(super) job: Option<BlockJobInfo>,
    /// Both sides of a mirror are the same.
    pub(super) ready: bool,
    pub(super) chain: Vec<String>,
    pub(super) format: Option<VolumeFormat>,
    pub(super) capacity: u64,
    pub(super) guest: String,
}

pub(super) fn look(domain: &Domain, disk: &DiskId) -> Outcome<Look> {
    if !lookup::is_active(domain)? {
        return Err(
            Error::invalid_state("it does not run: QEMU works on the disks of running guests only").into()
        );
    }
    let job = ffi::block_job(domain, disk.as_str());
    let live = lookup::live(domain)?;
    let devices = live.child("devices");
    let element = devices.and_then(|all| all.elements().find(|item| is_disk(item, disk.as_str())));
    let element = element.ok_or_else(|| disk.not_found())?;
    let path =
        source_path(element).ok_or_else(|| Error::invalid_state(format!("the drive {disk} is empty")))?;
    Ok(Look {
        job: job?,
        ready: element.attr_at("mirror", "ready") == Some("yes"),
        format: element.attr_at("driver", "type").map(VolumeFormat::parse),
        capacity: domain.get_block_info(&path, 0).map_or(0, |info| info.capacity),
        chain: chain(element),
        guest: domain.get_name()?,
    })
}

impl Inner {
    pub(super) async fn look(&self, operation: Operation, vm: &VmId, disk: &DiskId) -> Result<Look> {
        let (vm, disk) = (vm.clone(), disk.clone());
        let work = move |conn: &Connect| look(&lookup::domain(conn, &vm)?, &disk).map_err(lookup::named(&vm));
        self.call(operation, work).await
    }

    /// Runs a block job to its end. `reached` looks at the chain and says whether the job did what it was to do.
    #[allow(clippy::too_many_arguments, reason = "each says another thing about the one job")]
    pub(super) async fn block_job(
        &self,
        operation: Operation,
        running: &Running,
        vm: &VmId,
        disk: &DiskId,
        begin: impl FnOnce(&Domain, &str) -> std::result::Result<(), ffi::LibvirtError> + Send + 'static,
        ending: Ending,
        reached: impl Fn(&[String]) -> bool + Send,
    ) -> Result<()> {
        let (id, slot) = (vm.clone(), disk.clone());
        let start = move |conn: &Connect| {
            let domain = lookup::domain(conn, &id)?;
            begin(&domain, slot.as_str()).map_err(|error| lookup::named(&id)(error.into()))
        };
        running.progress(0.0);
        // Opening long chains takes QEMU a while.
        self.call_slow(operation, start).await?;
        let mut blind = 0;
        loop {
            tokio::select! {
                () = tokio::time::sleep(LOOK) => {}
                () = running.cancelled() => {
                    self.end_block_job(operation, vm, disk, false).await?;
                    return Err(cancelled());
                }
            }
            let look = match self.look(operation, vm, disk).await {
                Err(error) if error.retry() != Retry::Never && blind < BLIND => {
                    blind += 1;
                    continue;
                }
                other => other?,
            };
            blind = 0;
            let Some(job) = look.job else {
                let done = ending == Ending::Itself && reached(&look.chain);
                return if done { Ok(()) } else { Err(broken(vm)) };
            };
            running.bytes(job.done, job.total);
            if !look.ready || ending == Ending::Itself {
                continue;
            }
            match self.end_block_job(operation, vm, disk, ending == Ending::Pivot).await {
                // What the guest has just written is not over there yet.
                Err(error) if error.kind() == ErrorKind::Locked => continue,
                other => other?,
            }
            let after = self.look(operation, vm, disk).await?;
            return if reached(&after.chain) { Ok(()) } else { Err(broken(vm)) };
        }
    }

    async fn end_block_job(&self, operation: Operation, vm: &VmId, disk: &DiskId, pivot: bool) -> Result<()> {
        let (vm, disk) = (vm.clone(), disk.clone());
        let work = move |conn: &Connect| {
            let domain = lookup::domain(conn, &vm)?;
            match ffi::end_block_job(&domain, disk.as_str(), pivot) {
                // It has ended meanwhile.
                Err(error) if !pivot && error.code == sys::VIR_ERR_INVALID_ARG => Ok(()),
                other => other.map_err(|error| lookup::named(&vm)(error.into())),
            }
        };
        self.call_slow(operation, work).await
    }
}

/// The job is gone, but what it was to do is not done.
fn broken(vm: &VmId) -> Error {
    Error::new(ErrorKind::Backend, "QEMU ended the work on the disk before it was done")
        .with_target(VmId::NOUN, vm)
        .with_hint("QEMU's log on the host says why; somebody else may have ended it")
}
