//! How the end of a task that the server has forgotten is found out: by looking at what it worked on.

use crate::error::{Error, Result};
use crate::model::{
    BatchOp, BatchOutput, ByteSize, GroupId, HostId, NetworkId, PoolId, PowerAction, SnapshotId, TaskInfo,
    VmId, VmInfo, VmState, VolumeId,
};
use crate::operation::Operation;
use crate::traits::Batch;

/// What can be looked at, and what it shows if the task has succeeded.
#[derive(Debug, Clone)]
pub(crate) enum Settle {
    /// Nothing shows it.
    Unknowable,
    VmThere(VmId),
    VmGone(VmId),
    VmState(VmId, VmState),
    /// Asked to power off: a guest that runs may still follow.
    VmAsked(VmId),
    VmHost(VmId, HostId),
    VolumeThere(VolumeId),
    VolumeGone(VolumeId),
    VolumeSize(VolumeId, ByteSize),
    PoolThere(PoolId),
    PoolGone(PoolId),
    NetworkThere(NetworkId),
    NetworkGone(NetworkId),
    NetworkActive(NetworkId, bool),
    SnapshotThere(VmId, SnapshotId),
    SnapshotGone(VmId, SnapshotId),
    GroupThere(GroupId),
    GroupGone(GroupId),
}

/// What the look has shown.
#[derive(Debug)]
pub(crate) enum Verdict {
    /// The task has succeeded.
    Done,
    /// It has not.
    NotDone(String),
    /// Something is still at work: look again.
    Busy,
    /// It cannot be told.
    Unknown,
}

impl Settle {
    /// For a power verb. A restart leaves no trace.
    pub(crate) fn power(vm: &VmId, action: &PowerAction) -> Self {
        Self::operation(action.operation(), vm)
    }

    /// For what is known only by name: tasks that were resumed from their id.
    pub(crate) fn operation(operation: Operation, vm: &VmId) -> Self {
        let state = match operation {
            Operation::CreateVm => return Self::VmThere(vm.clone()),
            Operation::DeleteVm => return Self::VmGone(vm.clone()),
            Operation::StartVm | Operation::ResumeVm => VmState::Running,
            Operation::ShutdownVm => return Self::VmAsked(vm.clone()),
            Operation::PowerOffVm => VmState::Stopped,
            Operation::PauseVm => VmState::Paused,
            Operation::HibernateVm => VmState::Hibernated,
            _ => return Self::Unknowable,
        };
        Self::VmState(vm.clone(), state)
    }

    /// This, or what the last look at the task says that it was.
    pub(crate) fn or_from(&self, info: Option<&TaskInfo>) -> Self {
        let known = info.and_then(|info| info.operation.zip(info.vm.as_ref()));
        match (self, known) {
            (Self::Unknowable, Some((operation, vm))) => Self::operation(operation, vm),
            _ => self.clone(),
        }
    }

    /// For an operation of a batch and what it is to make.
    pub(crate) fn batch(op: &BatchOp, output: &BatchOutput) -> Self {
        match (op, output) {
            (BatchOp::CreateVm(_) | BatchOp::CloneVm { .. }, BatchOutput::Vm(vm)) => {
                Self::VmThere(vm.clone())
            }
            (BatchOp::CreateVolume(_), BatchOutput::Volume(volume)) => Self::VolumeThere(volume.clone()),
            (BatchOp::CreateSnapshot { vm, .. }, BatchOutput::Snapshot(snapshot)) => {
                Self::SnapshotThere(vm.clone(), snapshot.clone())
            }
            (BatchOp::DeleteVm { vm, .. }, _) => Self::VmGone(vm.clone()),
            (BatchOp::PowerVm { vm, action }, _) => Self::power(vm, action),
            (BatchOp::MigrateVm { vm, spec }, _) => Self::VmHost(vm.clone(), spec.host.clone()),
            (BatchOp::DeleteSnapshot { vm, snapshot, .. }, _) => {
                Self::SnapshotGone(vm.clone(), snapshot.clone())
            }
            (BatchOp::DeleteVolume(volume), _) => Self::VolumeGone(volume.clone()),
            _ => Self::Unknowable,
        }
    }

    /// Looks.
    ///
    /// # Errors
    /// What the look ended with; it says nothing about the task.
    pub(crate) async fn look<B: Batch + ?Sized>(&self, backend: &B) -> Result<Verdict> {
        match self {
            Self::Unknowable => Ok(Verdict::Unknown),
            Self::VmThere(vm) => there(backend.get_vm(vm).await, at_rest),
            Self::VmGone(vm) => gone(backend.get_vm(vm).await),
            Self::VmState(vm, wanted) => {
                let vm = backend.get_vm(vm).await?;
                Ok(match at_rest(&vm) {
                    Verdict::Done if vm.state != *wanted => {
                        Verdict::NotDone(format!("the guest is {}", vm.state))
                    }
                    verdict => verdict,
                })
            }
            Self::VmAsked(vm) => {
                let vm = backend.get_vm(vm).await?;
                Ok(match at_rest(&vm) {
                    Verdict::Done if vm.state != VmState::Stopped => Verdict::Unknown,
                    verdict => verdict,
                })
            }
            Self::VmHost(vm, wanted) => {
                let vm = backend.get_vm(vm).await?;
                Ok(match (at_rest(&vm), vm.host) {
                    (Verdict::Done, Some(host)) if host == *wanted => Verdict::Done,
                    (Verdict::Done, Some(host)) => Verdict::NotDone(format!("the guest is on {host}")),
                    (Verdict::Done, None) => Verdict::Unknown,
                    (verdict, _) => verdict,
                })
            }
            Self::VolumeThere(volume) => there(backend.get_volume(volume).await, |_| Verdict::Done),
            Self::VolumeGone(volume) => gone(backend.get_volume(volume).await),
            Self::VolumeSize(volume, wanted) => {
                let capacity = backend.get_volume(volume).await?.capacity;
                Ok(done_if(capacity == *wanted, || format!("the volume has {capacity}")))
            }
            Self::PoolThere(pool) => there(backend.get_pool(pool).await, |_| Verdict::Done),
            Self::PoolGone(pool) => gone(backend.get_pool(pool).await),
            Self::NetworkThere(network) => there(backend.get_network(network).await, |_| Verdict::Done),
            Self::NetworkGone(network) => gone(backend.get_network(network).await),
            Self::NetworkActive(network, wanted) => {
                let active = backend.get_network(network).await?.active;
                Ok(done_if(active == *wanted, || {
                    format!("the network is {}", if active { "up" } else { "down" })
                }))
            }
            Self::SnapshotThere(vm, snapshot) => {
                there(backend.get_snapshot(vm, snapshot).await, |_| Verdict::Done)
            }
            Self::SnapshotGone(vm, snapshot) => gone(backend.get_snapshot(vm, snapshot).await),
            Self::GroupThere(group) => there(backend.get_group(group).await, |_| Verdict::Done),
            Self::GroupGone(group) => gone(backend.get_group(group).await),
        }
    }
}

fn done_if(done: bool, otherwise: impl FnOnce() -> String) -> Verdict {
    if done { Verdict::Done } else { Verdict::NotDone(otherwise()) }
}

/// A guest that is still being made or worked on says nothing yet.
fn at_rest(vm: &VmInfo) -> Verdict {
    let moving = matches!(
        vm.state,
        VmState::Provisioning | VmState::Starting | VmState::Stopping | VmState::Migrating
    );
    if moving || vm.lock.is_some() { Verdict::Busy } else { Verdict::Done }
}

fn there<T>(look: Result<T>, judge: impl FnOnce(&T) -> Verdict) -> Result<Verdict> {
    match look {
        Ok(found) => Ok(judge(&found)),
        Err(error) if error.is_not_found() => Ok(Verdict::NotDone(missing(&error))),
        Err(error) => Err(error),
    }
}

fn gone<T>(look: Result<T>) -> Result<Verdict> {
    match look {
        Ok(_) => Ok(Verdict::NotDone("the object is still there".to_owned())),
        Err(error) if error.is_not_found() => Ok(Verdict::Done),
        Err(error) => Err(error),
    }
}

fn missing(error: &Error) -> String {
    format!("there is no {}", error.target().unwrap_or("such object"))
}
