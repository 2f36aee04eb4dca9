//! Power verbs.

use hypervisor_core::model::{GuestKind, PowerAction, Shutdown, Started, TaskId, VmId};
use hypervisor_core::{Error, Operation, Result};

use super::list;
use crate::api::Call;
use crate::backend::{Found, Inner};
use crate::error::named;
use crate::wire::compute;

/// Sends a verb, after a look at the guest: Proxmox takes most verbs in any state, and lets a task fail.
pub(crate) async fn power(inner: &Inner, vm: &VmId, action: &PowerAction) -> Result<Started<()>> {
    let operation = action.operation();
    let task = inner
        .on_guest(operation, vm, |found| async move {
            // What this kind of guest never does needs no look.
            let call = call(inner, &found, action)?;
            let info = list::current(inner, operation, &found).await?;
            action.check_state(&info.state)?;
            if info.template && matches!(action, PowerAction::Start) {
                return Err(named(operation)(Error::invalid_state("a template is not started: clone it")));
            }
            let held = info.lock.as_deref().filter(|lock| *lock != "suspended");
            if let (Some(lock), PowerAction::Shutdown(Shutdown { power_off_after: None, .. })) = (held, action) {
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
        (Some(_), PowerAction::Shutdown(Shutdown { power_off_after: None, .. })) | (None, _) => Started::done(()),
        (Some(task), _) => Started::running((), task),
    })
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
