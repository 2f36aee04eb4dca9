//! A deadline for every attempt.

use std::collections::BTreeMap;
use std::future::{Future as _, poll_fn};
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use tokio::task::unconstrained;
use tokio::time::sleep;

use super::attempt::Sending;
use super::{Attempt, Call, Policy};
use crate::error::{Error, ErrorKind, Result, Retry};
use crate::operation::{Operation, OperationClass};

/// How long an attempt may take.
///
/// What the call itself asks the server to take (the deadline of a command, the time a look is held back, the patience of a shutdown)
/// comes on top. Uploads and batches have no deadline; of a download or a stream of events, only the opening has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timeout {
    read: Duration,
    write: Duration,
    operations: BTreeMap<Operation, Duration>,
}

impl Timeout {
    /// The same for every operation.
    #[must_use]
    pub fn new(deadline: Duration) -> Self {
        Self { read: deadline, write: deadline, operations: BTreeMap::new() }
    }

    /// 30 s for what only reads, five minutes for what changes something, and half an hour for what may copy a disk before it answers:
    /// not every server has tasks.
    #[must_use]
    pub fn standard() -> Self {
        use Operation::{
            AttachDisk, CloneVm, CloneVolume, CreateBackup, CreateSnapshot, CreateTemplate, CreateVm,
            CreateVolume, DeleteSnapshot, DeployTemplate, ExportVm, HibernateVm, MigrateVm, RestoreBackup,
            RevertSnapshot, WipeVolume,
        };
        let copies = [
            AttachDisk,
            CloneVm,
            CloneVolume,
            CreateBackup,
            CreateSnapshot,
            CreateTemplate,
            CreateVm,
            CreateVolume,
            DeleteSnapshot,
            DeployTemplate,
            ExportVm,
            HibernateVm,
            MigrateVm,
            RestoreBackup,
            RevertSnapshot,
            WipeVolume,
        ];
        let standard = Self::new(Duration::from_secs(30)).write(Duration::from_secs(5 * 60));
        copies
            .into_iter()
            .fold(standard, |timeout, copy| timeout.operation(copy, Duration::from_secs(30 * 60)))
    }

    /// For what only reads.
    #[must_use]
    pub fn read(mut self, deadline: Duration) -> Self {
        self.read = deadline;
        self
    }

    /// For what changes something.
    #[must_use]
    pub fn write(mut self, deadline: Duration) -> Self {
        self.write = deadline;
        self
    }

    /// For one operation.
    #[must_use]
    pub fn operation(mut self, operation: Operation, deadline: Duration) -> Self {
        self.operations.insert(operation, deadline);
        self
    }

    /// The deadline of an attempt; `None` where there is none.
    #[must_use]
    pub fn of(&self, call: &Call<'_>) -> Option<Duration> {
        let class = if call.class() == OperationClass::Read { self.read } else { self.write };
        let base = self.operations.get(&call.operation()).copied().unwrap_or(class);
        call.is_timed().then(|| base.saturating_add(call.patience()))
    }
}

impl From<Duration> for Timeout {
    fn from(deadline: Duration) -> Self {
        Self::new(deadline)
    }
}

impl Policy for Timeout {
    async fn run<T: Send + 'static>(&self, call: &Call<'_>, attempt: Attempt<'_, T>) -> Result<T> {
        self.within(call, attempt.send()).await
    }
}

impl Timeout {
    /// The answer of an attempt, or that there was none in time.
    pub(super) async fn within<T>(&self, call: &Call<'_>, mut sending: Sending<'_, T>) -> Result<T> {
        let Some(deadline) = self.of(call) else {
            return sending.await;
        };
        // Not tokio's `timeout`: an answer that is there at once needs neither clock nor timer.
        let mut late = pin!(None);
        poll_fn(|context| {
            if let Poll::Ready(answer) = sending.as_mut().poll(context) {
                return Poll::Ready(answer);
            }
            if late.is_none() {
                // Unconstrained, so that work which uses its task's budget up is ended all the same.
                late.set(Some(unconstrained(sleep(deadline))));
            }
            match late.as_mut().as_pin_mut().map(|late| late.poll(context)) {
                Some(Poll::Ready(())) => Poll::Ready(Err(too_late(call, deadline))),
                _ => Poll::Pending,
            }
        })
        .await
    }
}

fn too_late(call: &Call<'_>, deadline: Duration) -> Error {
    let error = Error::new(ErrorKind::Timeout, format!("no answer within {deadline:?}"));
    if call.class() == OperationClass::Read {
        return error
            .with_retry(Retry::Safe)
            .with_hint("Look whether the server can be reached, or give it longer");
    }
    error.with_hint(
        "The server may still be at work: look at the object before you call again, or give it longer",
    )
}
