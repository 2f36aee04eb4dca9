//! Work on a guest that libvirt counts as the guest's job: how far it is, and how it is ended.

use std::future::Future;
use std::time::Duration;

use hypervisor_core::model::VmId;
use hypervisor_core::{Error, ErrorKind, Operation, Result};
use tokio::time::Instant;
use virt::connect::Connect;

use crate::backend::Inner;
use crate::compute::lookup;
use crate::ffi::{self, JobInfo};
use crate::tasks::{Running, cancelled};

/// How long between two looks at how far it is.
const LOOK: Duration = Duration::from_millis(250);

/// Tells how far `work` on a guest is until it has ended, and ends it when that is asked for.
pub(crate) async fn watch(
    inner: &Inner,
    running: &Running,
    vm: &VmId,
    work: impl Future<Output = Result<()>>,
    tell: impl Fn(&JobInfo),
) -> Result<()> {
    let mut work = std::pin::pin!(work);
    let patience = inner.config.slow_timeout;
    let mut give_up = None;
    loop {
        tokio::select! {
            outcome = &mut work => return match outcome {
                Err(error) if error.kind() == ErrorKind::Cancelled && running.is_cancelled() => Err(cancelled()),
                other => other,
            },
            () = tokio::time::sleep(LOOK) => {}
            () = running.cancelled(), if give_up.is_none() => {
                give_up = Some(Instant::now() + patience);
                running.stage("is being cancelled");
            }
        }
        let Some(deadline) = give_up else {
            // A look that fails says nothing about the work.
            if let Ok(Some(job)) = look(inner, vm).await {
                tell(&job);
            }
            continue;
        };
        if Instant::now() >= deadline {
            let text = format!("libvirt did not end it within {patience:?}");
            return Err(Error::new(ErrorKind::Timeout, text));
        }
        // Refused while nothing can be aborted yet: asked for again until the work ends.
        let id = vm.clone();
        let abort = move |conn: &Connect| Ok(ffi::abort_job(&lookup::domain(conn, &id)?)?);
        if let Err(error) = inner.call(Operation::CancelTask, abort).await {
            tracing::debug!(%vm, %error, "libvirt cannot end its work on the guest yet");
        }
    }
}

async fn look(inner: &Inner, vm: &VmId) -> Result<Option<JobInfo>> {
    let id = vm.clone();
    let work = move |conn: &Connect| Ok(ffi::job_info(&lookup::domain(conn, &id)?)?);
    inner.call(Operation::GetTask, work).await.map(|job| Some(job).filter(|job| job.active))
}
