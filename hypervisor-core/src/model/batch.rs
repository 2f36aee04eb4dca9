//! Many operations as one request.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::capability::Feature;
use super::id::{HostId, SnapshotId, TaskId, VmId, VolumeId};
use super::macros::{named_enum, setters};
use super::snapshot::{DeleteSnapshot, RevertSnapshot, SnapshotSpec};
use super::vm::{CloneSpec, DeleteVm, MigrateSpec, PowerAction, VmChange, VmSpec};
use super::volume::VolumeSpec;
use crate::error::{Error, Result};
use crate::operation::Operation;

/// One operation of a batch.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum BatchOp {
    /// Makes a guest.
    CreateVm(Box<VmSpec>),
    /// Changes a guest.
    UpdateVm {
        /// The guest.
        vm: VmId,
        /// What is to change.
        change: Box<VmChange>,
    },
    /// Deletes a guest.
    DeleteVm {
        /// The guest.
        vm: VmId,
        /// How.
        options: DeleteVm,
    },
    /// A power verb.
    PowerVm {
        /// The guest.
        vm: VmId,
        /// The verb.
        action: PowerAction,
    },
    /// Copies a guest.
    CloneVm {
        /// The original.
        vm: VmId,
        /// The copy.
        spec: Box<CloneSpec>,
    },
    /// Moves a guest.
    MigrateVm {
        /// The guest.
        vm: VmId,
        /// Where to.
        spec: MigrateSpec,
    },
    /// Takes a snapshot.
    CreateSnapshot {
        /// The guest.
        vm: VmId,
        /// The snapshot.
        spec: SnapshotSpec,
    },
    /// Takes a guest back.
    RevertSnapshot {
        /// The guest.
        vm: VmId,
        /// The snapshot.
        snapshot: SnapshotId,
        /// How.
        options: RevertSnapshot,
    },
    /// Deletes a snapshot.
    DeleteSnapshot {
        /// The guest.
        vm: VmId,
        /// The snapshot.
        snapshot: SnapshotId,
        /// How.
        options: DeleteSnapshot,
    },
    /// Makes a volume.
    CreateVolume(VolumeSpec),
    /// Deletes a volume.
    DeleteVolume(VolumeId),
}

impl BatchOp {
    /// A power verb for one guest.
    pub fn power(vm: impl Into<VmId>, action: PowerAction) -> Self {
        Self::PowerVm { vm: vm.into(), action }
    }

    /// The operation that it is.
    #[must_use]
    pub const fn operation(&self) -> Operation {
        match self {
            Self::CreateVm(_) => Operation::CreateVm,
            Self::UpdateVm { .. } => Operation::UpdateVm,
            Self::DeleteVm { .. } => Operation::DeleteVm,
            Self::PowerVm { action, .. } => action.operation(),
            Self::CloneVm { .. } => Operation::CloneVm,
            Self::MigrateVm { .. } => Operation::MigrateVm,
            Self::CreateSnapshot { .. } => Operation::CreateSnapshot,
            Self::RevertSnapshot { .. } => Operation::RevertSnapshot,
            Self::DeleteSnapshot { .. } => Operation::DeleteSnapshot,
            Self::CreateVolume(_) => Operation::CreateVolume,
            Self::DeleteVolume(_) => Operation::DeleteVolume,
        }
    }

    /// What the backend must be able to do.
    #[must_use]
    pub fn needs(&self) -> Vec<Feature> {
        match self {
            Self::CreateVm(spec) => spec.needs(),
            Self::UpdateVm { change, .. } => change.needs(),
            Self::DeleteVm { options, .. } => options.needs(),
            Self::PowerVm { action, .. } => action.needs(),
            Self::CloneVm { spec, .. } => spec.needs(),
            Self::MigrateVm { spec, .. } => spec.needs(),
            Self::CreateSnapshot { spec, .. } => spec.needs(),
            Self::RevertSnapshot { options, .. } => options.needs(),
            Self::DeleteSnapshot { options, .. } => options.needs(),
            Self::CreateVolume(spec) => spec.needs(),
            Self::DeleteVolume(_) => Vec::new(),
        }
    }

    /// Whether it makes something that can be deleted again.
    #[must_use]
    pub const fn makes(&self) -> bool {
        matches!(
            self,
            Self::CreateVm(_) | Self::CloneVm { .. } | Self::CreateSnapshot { .. } | Self::CreateVolume(_)
        )
    }

    /// What deletes what it has made.
    fn undone_by(&self, made: &BatchOutput) -> Option<Self> {
        match (self, made) {
            (Self::CreateVm(_) | Self::CloneVm { .. }, BatchOutput::Vm(vm)) => {
                Some(Self::DeleteVm { vm: vm.clone(), options: DeleteVm::with_disks().power_off(true) })
            }
            (Self::CreateVolume(_), BatchOutput::Volume(volume)) => Some(Self::DeleteVolume(volume.clone())),
            (Self::CreateSnapshot { vm, .. }, BatchOutput::Snapshot(snapshot)) => {
                Some(Self::DeleteSnapshot {
                    vm: vm.clone(),
                    snapshot: snapshot.clone(),
                    options: DeleteSnapshot::only(),
                })
            }
            _ => None,
        }
    }

    /// The operation that deletes what it makes.
    pub(crate) const fn undoing(&self) -> Option<Operation> {
        match self {
            Self::CreateVm(_) | Self::CloneVm { .. } => Some(Operation::DeleteVm),
            Self::CreateVolume(_) => Some(Operation::DeleteVolume),
            Self::CreateSnapshot { .. } => Some(Operation::DeleteSnapshot),
            _ => None,
        }
    }

    /// The guest that it is about.
    #[must_use]
    pub const fn vm(&self) -> Option<&VmId> {
        match self {
            Self::UpdateVm { vm, .. }
            | Self::DeleteVm { vm, .. }
            | Self::PowerVm { vm, .. }
            | Self::CloneVm { vm, .. }
            | Self::MigrateVm { vm, .. }
            | Self::CreateSnapshot { vm, .. }
            | Self::RevertSnapshot { vm, .. }
            | Self::DeleteSnapshot { vm, .. } => Some(vm),
            Self::CreateVm(_) | Self::CreateVolume(_) | Self::DeleteVolume(_) => None,
        }
    }
}

/// An operation with its place in the batch.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct BatchItem {
    /// What to do.
    pub op: BatchOp,
    /// The items (by their index) that must have succeeded before.
    #[serde(default)]
    pub after: Vec<usize>,
    /// What shares a limit of its own, [`BatchRequest::per_key`]: a host, a storage, a template. Without it the guest that it is about.
    #[serde(default)]
    pub key: Option<String>,
    /// What takes it back when a later item fails, for [`OnError::Compensate`].
    #[serde(default)]
    pub compensate: Option<BatchOp>,
    /// Takes it back by deleting what it has made, whose id nobody knows beforehand: the guest with its disks, the volume, the snapshot.
    #[serde(default)]
    pub delete_made: bool,
}

impl BatchItem {
    /// An operation that waits for nothing.
    #[must_use]
    pub fn new(op: BatchOp) -> Self {
        Self { op, after: Vec::new(), key: None, compensate: None, delete_made: false }
    }

    setters! { val after: Vec<usize>; opt_into key: String; opt compensate: BatchOp; val delete_made: bool; }

    /// What takes it back once it has made this; `None` where it names nothing that would.
    #[must_use]
    pub fn taken_back_by(&self, made: &BatchOutput) -> Option<BatchOp> {
        let deletes = self.delete_made.then(|| self.op.undone_by(made)).flatten();
        deletes.or_else(|| self.compensate.clone())
    }
}

impl From<BatchOp> for BatchItem {
    fn from(op: BatchOp) -> Self {
        Self::new(op)
    }
}

named_enum! {
    /// What a failed item means for the others.
    OnError {
        /// The others go on; only what depends on it is skipped.
        Continue = "continue",
        /// Nothing new is begun; what has begun is waited for.
        Stop = "stop",
        /// As `Stop`, and then what has succeeded is taken back, last first, by each item's `compensate` or `delete_made`.
        Compensate = "compensate",
    }
}

/// Many operations.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct BatchRequest {
    /// The operations.
    pub items: Vec<BatchItem>,
    /// How many run at a time, in all.
    #[serde(default = "BatchRequest::usual_concurrency")]
    pub concurrency: usize,
    /// How many run at a time with the same key.
    #[serde(default = "BatchRequest::usual_per_key")]
    pub per_key: usize,
    /// What a failed item means for the others.
    #[serde(default = "BatchRequest::usual_on_error")]
    pub on_error: OnError,
    /// How long one item may take, its task included. An item that takes longer is [`BatchOutcome::Unknown`] and its task goes on.
    #[serde(default = "BatchRequest::usual_item_deadline")]
    pub item_deadline: Duration,
}

impl BatchRequest {
    /// These operations: eight at a time, one at a time for each guest, the others go on when one fails, an hour each.
    pub fn new<I: Into<BatchItem>>(items: impl IntoIterator<Item = I>) -> Self {
        Self {
            items: items.into_iter().map(Into::into).collect(),
            concurrency: Self::usual_concurrency(),
            per_key: Self::usual_per_key(),
            on_error: Self::usual_on_error(),
            item_deadline: Self::usual_item_deadline(),
        }
    }

    const fn usual_concurrency() -> usize {
        8
    }

    const fn usual_per_key() -> usize {
        1
    }

    const fn usual_on_error() -> OnError {
        OnError::Continue
    }

    const fn usual_item_deadline() -> Duration {
        Duration::from_secs(3600)
    }

    setters! { val concurrency: usize; val per_key: usize; val on_error: OnError; val item_deadline: Duration; }

    /// Checks what holds on every backend.
    ///
    /// # Errors
    /// `InvalidInput` naming the item: a dependency that does not exist, or a circle of them.
    pub fn validate(&self) -> Result<()> {
        for (field, value) in [("concurrency", self.concurrency), ("per_key", self.per_key)] {
            if value == 0 {
                return Err(Error::invalid(field, "must be at least 1"));
            }
        }
        if self.item_deadline.is_zero() {
            return Err(Error::invalid("item_deadline", "must be more than nothing"));
        }
        let mut waits_for: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for (index, item) in self.items.iter().enumerate() {
            if item.delete_made && (!item.op.makes() || item.compensate.is_some()) {
                let why = if item.op.makes() {
                    "`compensate` says already what takes it back"
                } else {
                    "it makes nothing"
                };
                return Err(Error::invalid(format!("items[{index}].delete_made"), why));
            }
            if let Some(bad) = item.after.iter().find(|after| **after >= self.items.len()) {
                return Err(Error::invalid(
                    format!("items[{index}].after"),
                    format!("there is no item {bad}"),
                ));
            }
            waits_for.insert(index, item.after.clone());
        }
        while !waits_for.is_empty() {
            let ready: Vec<usize> =
                waits_for.iter().filter(|(_, after)| after.is_empty()).map(|(index, _)| *index).collect();
            if ready.is_empty() {
                let index = waits_for.keys().next().copied().unwrap_or_default();
                return Err(Error::invalid(
                    format!("items[{index}].after"),
                    "the items wait for one another in a circle",
                ));
            }
            waits_for.retain(|index, _| !ready.contains(index));
            waits_for.values_mut().for_each(|after| after.retain(|index| !ready.contains(index)));
        }
        Ok(())
    }
}

/// What an item has made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum BatchOutput {
    /// Nothing.
    Nothing,
    /// A guest.
    Vm(VmId),
    /// A volume.
    Volume(VolumeId),
    /// A snapshot.
    Snapshot(SnapshotId),
}

/// How an item ended.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum BatchOutcome {
    /// It is done, its task included.
    Done(BatchOutput),
    /// It failed.
    Failed(Error),
    /// It was never begun; the text says why.
    Skipped(String),
    /// It was begun, but how it ended is not known; its task may still be at work.
    Unknown {
        /// What is known.
        error: Error,
        /// The task.
        task: Option<TaskId>,
    },
    /// It was done, and taken back because another item failed.
    Compensated,
}

impl BatchOutcome {
    /// Whether it is done.
    #[must_use]
    pub const fn is_done(&self) -> bool {
        matches!(self, Self::Done(_))
    }

    /// What went wrong.
    #[must_use]
    pub const fn error(&self) -> Option<&Error> {
        match self {
            Self::Failed(error) | Self::Unknown { error, .. } => Some(error),
            _ => None,
        }
    }
}

/// How a batch ended: one outcome for each item, in the order asked.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct BatchReport {
    /// The outcomes.
    pub outcomes: Vec<BatchOutcome>,
}

impl BatchReport {
    /// These outcomes.
    #[must_use]
    pub fn new(outcomes: Vec<BatchOutcome>) -> Self {
        Self { outcomes }
    }

    /// Whether every item is done.
    #[must_use]
    pub fn all_done(&self) -> bool {
        self.outcomes.iter().all(BatchOutcome::is_done)
    }

    /// The guests that were made, in the order asked.
    pub fn vms(&self) -> impl Iterator<Item = &VmId> {
        self.outcomes.iter().filter_map(|outcome| match outcome {
            BatchOutcome::Done(BatchOutput::Vm(vm)) => Some(vm),
            _ => None,
        })
    }

    /// The first error, if any.
    ///
    /// # Errors
    /// That error.
    pub fn into_result(self) -> Result<Self> {
        match self.outcomes.iter().find_map(BatchOutcome::error) {
            Some(error) => Err(error.clone()),
            None => Ok(self),
        }
    }
}

/// What a batch that is under way tells.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum BatchStep {
    /// An item was sent to the backend.
    Begun {
        /// Its index.
        item: usize,
    },
    /// An item has come to an end: done, failed, or of unknown outcome. One that was done ends once more when it is taken back.
    Ended {
        /// Its index.
        item: usize,
        /// How.
        outcome: BatchOutcome,
    },
}

/// How many operations a backend takes well at the same time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct BatchLimits {
    /// In all.
    pub concurrency: usize,
    /// With the same key.
    pub per_key: usize,
}

impl BatchLimits {
    /// So many in all, one for each key.
    #[must_use]
    pub const fn new(concurrency: usize) -> Self {
        Self { concurrency, per_key: 1 }
    }

    setters! { val per_key: usize; }
}

impl Default for BatchLimits {
    /// Eight in all.
    fn default() -> Self {
        Self::new(8)
    }
}

/// What makes operations fit into one native call: the same key, and at most so many.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct BulkKey {
    /// Operations with the same key may go together.
    pub key: String,
    /// At most so many.
    pub limit: usize,
}

impl BulkKey {
    /// At most `limit` operations of this key go together.
    pub fn new(key: impl Into<String>, limit: usize) -> Self {
        Self { key: key.into(), limit }
    }
}

impl From<&HostId> for BulkKey {
    fn from(host: &HostId) -> Self {
        Self::new(host.as_str(), usize::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn circles_and_gaps_are_refused() {
        let op = |vm: &str| BatchItem::new(BatchOp::power(vm, PowerAction::Start));
        assert!(BatchRequest::new([op("a"), op("b").after(vec![0])]).validate().is_ok());
        let gap = BatchRequest::new([op("a").after(vec![7])]).validate().unwrap_err();
        assert!(gap.fields().contains_key("items[0].after"));
        let circle = BatchRequest::new([op("a").after(vec![1]), op("b").after(vec![0])]);
        assert!(circle.validate().is_err());
        assert!(BatchRequest::new([op("a")]).concurrency(0).validate().is_err());
        let nothing_made = BatchRequest::new([op("a").delete_made(true)]).validate().unwrap_err();
        assert!(nothing_made.fields().contains_key("items[0].delete_made"));
        let no_time = BatchRequest::new([op("a")]).item_deadline(Duration::ZERO).validate().unwrap_err();
        assert!(no_time.fields().contains_key("item_deadline"));
    }
}
