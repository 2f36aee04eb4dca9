//! Power verbs.

use std::sync::Arc;
use std::time::Duration;

use hypervisor_core::model::{GuestKind, PowerAction, Shutdown, Started, TaskId, VmId, VmState};
use hypervisor_core::{Error, ErrorKind, Operation, Result, Retry};
use tokio::time::{Instant, sleep};

use super::list;
use crate::api::Call;
use crate::backend::{Found, Inner};
use crate::error::named;
use crate::tasks::chain::Link;
use crate::upid::Upid;
use crate::wire::compute;

/// How long high availability is given for what it was asked.
const QUEUE: Duration = Duration::from_secs(600);

/// Sends a verb, after a look at the guest: Proxmox takes most verbs in any state, and lets a task fail.
pub(crate) async fn power(inner: &Arc<Inner>, vm: &VmId, action: &PowerAction) -> Result<Started<()>> {
    let (operation, shared) = (action.operation(), &**inner);
    let task = shared
        .on_guest(operation, vm, |found| async move {
            let inner = shared;
            // What this kind of guest never does needs no look.
            let call = call(inner, &found, action)?;
            let info = list::current(inner, operation, &found).await?;
            action.check_state(&info.state)?;
            if info.template && matches!(action, PowerAction::Start) {
                return Err(named(operation)(Error::invalid_state("a template is not started: clone it")));
            }
            let held = info.lock.as_deref().filter(|lock| *lock != "suspended");
            if let (Some(lock), PowerAction::Shutdown(Shutdown { power_off_after: None, .. })) =
                (held, action)
            {
                // Nobody looks at the end of this one's task.
                let what = if found.place.kind == GuestKind::Container { "CT" } else { "VM" };
                let text = format!("{what} is locked ({lock})");
                return Err(named(operation)(crate::wire::error::task_failure(&text)));
            }
            let task = inner.api.task(&call).await?;
            inner.locator.touch(vm);
            Ok(task)
        })
        .await?;
    Ok(match (task, action) {
        // The task waits for the guest, which nobody has asked for: what was asked for is done.
        (Some(_), PowerAction::Shutdown(Shutdown { power_off_after: None, .. })) | (None, _) => {
            Started::done(())
        }
        (Some(task), _) => match wanted(action).filter(|_| is_queued(&task)) {
            Some(wanted) => Started::running((), carried_out(inner, vm, operation, task, wanted)),
            None => Started::running((), task),
        },
    })
}

/// The state in which a verb leaves a guest, where it can be told.
fn wanted(action: &PowerAction) -> Option<VmState> {
    Some(match action {
        PowerAction::Start | PowerAction::Resume => VmState::Running,
        PowerAction::Shutdown(_) | PowerAction::PowerOff => VmState::Stopped,
        _ => return None,
    })
}

/// Whether a task only passes on to high availability what is asked for: it ends before anything has happened.
pub(crate) fn is_queued(task: &TaskId) -> bool {
    Upid::try_from(task).is_ok_and(|upid| upid.kind().starts_with("ha"))
}

/// A task of ours that ends when high availability has done what was asked of it.
fn carried_out(inner: &Arc<Inner>, vm: &VmId, operation: Operation, task: TaskId, wanted: VmState) -> TaskId {
    let (work, guest) = (Arc::clone(inner), vm.clone());
    inner.chains.start(operation, vm, move |link| async move {
        link.follow(&work, "handing it to high availability", Some(task)).await?;
        until(&work, &link, operation, &guest, &wanted).await
    })
}

/// Looks at a guest until it is in this state.
///
/// # Errors
/// `Timeout` where it is not after ten minutes, with what it is instead; `Cancelled`.
pub(crate) async fn until(
    inner: &Inner,
    link: &Link,
    operation: Operation,
    vm: &VmId,
    wanted: &VmState,
) -> Result<()> {
    let deadline = Instant::now() + QUEUE;
    let mut pause = Duration::from_millis(250);
    loop {
        link.checkpoint()?;
        let over = Instant::now() >= deadline;
        match list::state(inner, operation, vm).await {
            Ok(seen) if seen.state == *wanted => return Ok(()),
            Ok(seen) if over => {
                let state = seen.state;
                let why = format!("high availability was asked to make it {wanted}, but it is {state}");
                return Err(Error::new(ErrorKind::Timeout, why).with_target(VmId::NOUN, vm));
            }
            // A look that fails says nothing about what is looked at: while guests move and hosts fail, many do.
            Err(error) if over || error.retry() == Retry::Never => return Err(error),
            _ => {}
        }
        sleep(pause).await;
        pause = (pause * 2).min(Duration::from_secs(5));
    }
}

fn call(inner: &Inner, found: &Found, action: &PowerAction) -> Result<Call> {
    let (verb, mut form) = compute::power(action, found.place.kind)?;
    if !inner.probe.overrules_shutdown() {
        form.remove("overrule-shutdown");
    }
    Ok(Call::post(found.path(&format!("/status/{verb}"))?, form).operation(action.operation()))
}

/// Sends the verb that cuts the power of a guest.
pub(crate) async fn off(inner: &Inner, operation: Operation, found: &Found) -> Result<Option<TaskId>> {
    inner.api.task(&call(inner, found, &PowerAction::PowerOff)?.operation(operation)).await
}
