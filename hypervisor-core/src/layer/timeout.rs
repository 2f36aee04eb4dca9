//! A deadline for every attempt.

use std::collections::BTreeMap;
use std::time::Duration;

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
        let Some(deadline) = self.of(call) else {
            return attempt.send().await;
        };
        match tokio::time::timeout(deadline, attempt.send()).await {
            Ok(answer) => answer,
            Err(_) => Err(too_late(call, deadline)),
        }
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
