//! Copies that libvirt makes: how far they are, and how they are given up.

use std::future::Future;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hypervisor_core::model::{ByteSize, VolumeId};
use hypervisor_core::{Operation, Result};
use virt::connect::Connect;

use super::find_volume;
use crate::backend::Inner;
use crate::error::Outcome;
use crate::tasks::{Running, cancelled};

/// How long between two looks at a copy.
const LOOK: Duration = Duration::from_millis(500);

/// The copies of one task. The thread that makes them says which, and asks whether they are still wanted.
#[derive(Debug, Default)]
pub(crate) struct Copies {
    total: AtomicU64,
    begun: Mutex<Vec<(VolumeId, u64)>>,
    unwanted: AtomicBool,
}

impl Copies {
    /// So much will have to be written in all.
    pub(crate) fn expect(&self, bytes: u64) {
        self.total.store(bytes, Ordering::Release);
    }

    /// A copy begins that will be about so large. Fails where it is no longer wanted.
    pub(crate) fn begin(&self, copy: VolumeId, bytes: u64) -> Outcome<()> {
        self.check()?;
        self.begun.lock().unwrap_or_else(PoisonError::into_inner).push((copy, bytes));
        Ok(())
    }

    /// Fails where the copies are no longer wanted.
    pub(crate) fn check(&self) -> Outcome<()> {
        if self.unwanted.load(Ordering::Acquire) { Err(cancelled().into()) } else { Ok(()) }
    }

    /// How much of each copy there is by now. libvirt tells how much room a volume takes while it is being written.
    fn written(&self, conn: &Connect) -> Outcome<u64> {
        let begun = self.begun.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut written = 0_u64;
        for (copy, bytes) in begun {
            let there = find_volume(conn, &copy)?.1.get_info()?.allocation;
            written = written.saturating_add(there.min(bytes));
        }
        Ok(written)
    }

    /// Tells how far the copies of `work` are until it ends. libvirt cannot interrupt a copy: one that is cancelled is
    /// deleted when it is there.
    pub(crate) async fn watch(
        self: Arc<Self>,
        inner: &Inner,
        running: &Running,
        work: impl Future<Output = Result<()>>,
    ) -> Result<()> {
        let mut work = std::pin::pin!(work);
        let total = self.total.load(Ordering::Acquire);
        running.stage(format!("copies {}", ByteSize::bytes(total)));
        loop {
            tokio::select! {
                outcome = &mut work => return outcome,
                () = tokio::time::sleep(LOOK) => {}
                () = running.cancelled(), if !self.unwanted.load(Ordering::Acquire) => {
                    self.unwanted.store(true, Ordering::Release);
                    running.stage("waits for libvirt to end the copy at hand, to delete it");
                }
            }
            let own = Arc::clone(&self);
            // A look that fails says nothing about the copy.
            if let Ok(written) = inner.call(Operation::GetVolume, move |conn| own.written(conn)).await {
                running.bytes(written.min(total), total);
            }
        }
    }
}
