//! libvirt's events as a stream.
//!
//! All streams of a [`Libvirt`](crate::Libvirt) share one connection, which carries nothing else, and one guard that
//! opens it again when it is lost; both come with the first stream and go with the last. libvirt has no events for
//! snapshots, volumes and tasks: of snapshots and volumes, what was made, changed and deleted by
//! their own calls through this connection is told; of tasks, all, because they are this connection's.

mod hub;
mod session;
mod table;

use std::sync::Arc;

use async_trait::async_trait;
use futures::StreamExt as _;
use hypervisor_core::model::{BatchLimits, EventKind, EventQuery, EventStream, SnapshotId, VmId, VolumeId};
use hypervisor_core::traits::{Batch, Events};
use hypervisor_core::{Error, ErrorKind, Operation, Result, Retry};

use self::session::{CutOff, Session, guard};
use crate::backend::{Inner, Libvirt};
use crate::error::named;

pub(crate) use hub::Hub;

#[async_trait]
impl Events for Libvirt {
    async fn watch(&self, query: &EventQuery) -> Result<EventStream> {
        self.inner.require(Operation::Watch, &[])?;
        let mut reader = self.inner.events.join(query);
        begin(&self.inner).await?;
        reader.begin();
        let events = futures::stream::unfold(reader, |mut reader| async move {
            let event = reader.next().await?;
            Some((event, reader))
        });
        Ok(events.boxed())
    }
}

/// Makes sure that the events are followed, and comes back when they are.
async fn begin(inner: &Arc<Inner>) -> Result<()> {
    let hub = &inner.events;
    let _one = hub.starting.lock().await;
    let limit = inner.config.open_timeout.saturating_add(inner.config.timeout);
    match tokio::time::timeout(limit, hub.connected()).await {
        Ok(true) => return Ok(()),
        Ok(false) => {}
        Err(_) => {
            let why = format!("the connection for events was not open again after {limit:?}");
            return Err(named(Operation::Watch)(Error::new(ErrorKind::Timeout, why).with_retry(Retry::Safe)));
        }
    }
    if inner.probe.test {
        // Its one connection has room for one session, and taking back the registrations of the last one does not wait.
        drop(tokio::time::timeout(limit, hub.vacant()).await);
    }
    let session = Session::open(inner, None).await?;
    tokio::spawn(guard(Arc::downgrade(inner), session, CutOff::new(hub)));
    Ok(())
}

/// What libvirt has no events for, told where it is done.
impl Inner {
    pub(crate) fn tell_snapshots(&self, vm: &VmId, snapshot: &SnapshotId) {
        self.events.tell(EventKind::SnapshotsChanged { vm: vm.clone(), snapshot: Some(snapshot.clone()) });
    }

    pub(crate) fn tell_volume(&self, volume: &VolumeId) {
        self.events.tell(EventKind::VolumeChanged(volume.clone()));
    }
}

/// libvirt has no bulk calls that change anything: core's own algorithm.
impl Batch for Libvirt {
    /// The daemon works on five calls of a connection at a time (`max_client_requests`); one place is left for other calls.
    fn batch_limits(&self) -> BatchLimits {
        BatchLimits::new(4)
    }
}
