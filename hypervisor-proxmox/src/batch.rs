//! Many operations at a time: power verbs go together where the server has a call for that.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use hypervisor_core::model::{
    BatchLimits, BatchOp, BatchOutput, BulkKey, PowerAction, Shutdown, Started, TaskId, VmId, VmState,
};
use hypervisor_core::traits::Batch;
use hypervisor_core::{Error, ErrorKind, Operation, Result};
use tokio::sync::watch;

use crate::api::Call;
use crate::backend::{Inner, Proxmox};
use crate::compute::list;
use crate::error::{named, of_vm};
use crate::wire::form::{Form, vmid};

/// The most guests of one call.
const MOST: usize = 200;

#[async_trait]
impl Batch for Proxmox {
    fn bulk_key(&self, op: &BatchOp) -> Option<BulkKey> {
        if !self.inner.probe.has_bulk_action() {
            return None;
        }
        let BatchOp::PowerVm { action, .. } = op else { return None };
        verb(action).map(|(verb, form)| BulkKey::new(format!("{verb}?{}", form.encode()), MOST))
    }

    /// A node runs its tasks beside one another, but those that change one storage wait for its lock, a minute at most.
    fn batch_limits(&self) -> BatchLimits {
        BatchLimits::new(6)
    }

    async fn submit_bulk(&self, ops: &[BatchOp]) -> Result<Vec<Result<Started<BatchOutput>>>> {
        submit(&self.inner, ops).await.map_err(named(Operation::SubmitBatch))
    }
}

/// The call for a verb, with its parameters. Pausing and cutting the power have none.
fn verb(action: &PowerAction) -> Option<(&'static str, Form)> {
    match action {
        PowerAction::Start => Some(("start", Form::new())),
        PowerAction::Shutdown(Shutdown { power_off_after: Some(limit), .. }) => {
            let form = Form::new().number("timeout", limit.as_secs().max(1)).flag("force-stop", true);
            Some(("shutdown", form))
        }
        PowerAction::Hibernate => Some(("suspend", Form::new().flag("to-disk", true))),
        PowerAction::Pause => Some(("suspend", Form::new())),
        _ => None,
    }
}

/// The state that shows that a verb has done its work.
fn wanted(action: &PowerAction) -> VmState {
    match action {
        PowerAction::Start => VmState::Running,
        PowerAction::Pause => VmState::Paused,
        PowerAction::Hibernate => VmState::Hibernated,
        _ => VmState::Stopped,
    }
}

/// One call for all that are in a state for it. The server's task says only that it has tried them all, so each guest has a task
/// of its own here, which ends with a look at the guest.
async fn submit(inner: &Arc<Inner>, ops: &[BatchOp]) -> Result<Vec<Result<Started<BatchOutput>>>> {
    let operation = Operation::SubmitBatch;
    let (guests, _) = list::everywhere(inner, operation).await?;
    let mut answers: Vec<Result<(VmId, PowerAction, u32)>> = Vec::with_capacity(ops.len());
    for op in ops {
        let BatchOp::PowerVm { vm, action } = op else {
            answers.push(Err(crate::error::unsupported(operation, "only power verbs go together")));
            continue;
        };
        let looked =
            guests.iter().find(|guest| guest.id == *vm).ok_or_else(|| vm.not_found()).and_then(|guest| {
                inner.require(action.operation(), &action.needs())?;
                action.check_state(&guest.state)?;
                if guest.template {
                    return Err(Error::invalid_state("a template is not started: clone it"));
                }
                Ok((vm.clone(), *action, vmid(vm)?))
            });
        answers.push(looked.map_err(of_vm(vm)).map_err(named(action.operation())));
    }
    let going: Vec<(VmId, PowerAction, u32)> =
        answers.iter().filter_map(|answer| answer.as_ref().ok().cloned()).collect();
    let Some((_, first, _)) = going.first() else {
        let nothing = |_| Started::done(BatchOutput::Nothing);
        return Ok(answers.into_iter().map(|answer| answer.map(nothing)).collect());
    };
    let Some((verb, form)) = verb(first) else {
        return Err(crate::error::unsupported(operation, "the server has no such verb for many guests"));
    };
    let form = form.each("vms", going.iter().map(|(_, _, number)| number.to_string()));
    let call = Call::post(format!("/cluster/bulk-action/guest/{verb}"), form).operation(operation);
    let task = inner.api.task(&call).await?;
    let ended = follow(inner, task.clone());
    Ok(answers
        .into_iter()
        .map(|answer| {
            let (vm, action, _) = answer?;
            inner.locator.touch(&vm);
            let chain = one(inner, &vm, action, ended.clone());
            Ok(Started::running(BatchOutput::Nothing, chain))
        })
        .collect())
}

/// One wait for the server's task, whoever is interested in its end.
fn follow(inner: &Arc<Inner>, task: Option<TaskId>) -> watch::Receiver<Option<Result<(), Error>>> {
    let (tell, told) = watch::channel(None);
    let inner = Arc::clone(inner);
    tokio::spawn(async move {
        let ended = match &task {
            Some(task) => inner.wait(task).await.map(drop),
            None => Ok(()),
        };
        // Nobody may be interested any more.
        let _ = tell.send(Some(ended));
    });
    told
}

/// The end of one guest's part: what it does now tells.
fn one(
    inner: &Arc<Inner>,
    vm: &VmId,
    action: PowerAction,
    mut ended: watch::Receiver<Option<Result<(), Error>>>,
) -> TaskId {
    let (work, guest) = (Arc::clone(inner), vm.clone());
    inner.chains.start(action.operation(), vm, move |link| async move {
        let bulk = match ended.wait_for(Option::is_some).await {
            Ok(bulk) => bulk.clone(),
            Err(_) => None,
        };
        link.checkpoint()?;
        let wanted = wanted(&action);
        let mut last = VmState::Unknown("unknown".to_owned());
        // The server's task may end a moment before QEMU says so.
        for pause in [0_u64, 250, 500, 1000] {
            tokio::time::sleep(Duration::from_millis(pause)).await;
            last = list::state(&work, action.operation(), &guest).await?.state;
            if last == wanted {
                return Ok(());
            }
        }
        match bulk {
            Some(Err(error)) => Err(error),
            _ => Err(Error::new(ErrorKind::TaskFailed, format!("the guest is {last}, not {wanted}"))),
        }
    })
}
