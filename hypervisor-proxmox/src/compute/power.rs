//! Power verbs.

use hypervisor_core::model::{GuestKind, PowerAction, Shutdown, Started, VmId, VmState};
use hypervisor_core::{Error, ErrorKind, Operation, Result};

use super::list;
use crate::api::Call;
use crate::backend::{Found, Inner};
use crate::error::{named, of_vm, unsupported};
use crate::wire::form::Form;

/// Sends a verb, after a look at the guest: Proxmox takes most verbs in any state, and lets a task fail.
pub(crate) async fn power(inner: &Inner, vm: &VmId, action: &PowerAction) -> Result<Started<()>> {
    let operation = action.operation();
    let task = inner
        .on_guest(operation, vm, |found| async move {
            let info = list::current(inner, operation, &found).await?;
            check(action, &info.state, found.place.kind).map_err(of_vm(vm)).map_err(named(operation))?;
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
            let task = inner.api.task(&call(inner, &found, action)?).await?;
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

fn check(action: &PowerAction, state: &VmState, kind: GuestKind) -> Result<()> {
    if kind == GuestKind::Container {
        let why = match action {
            PowerAction::Pause | PowerAction::Resume => Some("a container is paused by an experiment of the server that is not to be relied on"),
            PowerAction::Reset => Some("a container has no reset button: reboot it, or power it off and on"),
            PowerAction::Hibernate => Some("the memory of a container cannot be kept"),
            _ => None,
        };
        if let Some(why) = why {
            return Err(unsupported(action.operation(), why));
        }
    }
    action.check_state(state)
}

fn call(inner: &Inner, found: &Found, action: &PowerAction) -> Result<Call> {
    let form = Form::new();
    let (verb, form) = match action {
        PowerAction::Start => ("start", form),
        PowerAction::Shutdown(Shutdown { power_off_after: Some(limit), .. }) => {
            ("shutdown", form.number("timeout", limit.as_secs().max(1)).flag("forceStop", true))
        }
        PowerAction::Shutdown(_) => ("shutdown", form),
        // A shutdown that waits for the guest would hold the lock.
        PowerAction::PowerOff => ("stop", form.flag_if("overrule-shutdown", inner.probe.overrules_shutdown())),
        PowerAction::Reboot => ("reboot", form),
        PowerAction::Reset => ("reset", form),
        PowerAction::Pause => ("suspend", form),
        PowerAction::Resume => ("resume", form),
        PowerAction::Hibernate => ("suspend", form.flag("todisk", true)),
        _ => return Err(Error::new(ErrorKind::Unsupported, "this driver does not know the verb")),
    };
    Ok(Call::post(found.path(&format!("/status/{verb}"))?, form).operation(action.operation()))
}

/// Cuts the power of a guest that runs, and waits until it is off.
pub(crate) async fn off(inner: &Inner, operation: Operation, found: &Found) -> Result<Option<hypervisor_core::model::TaskId>> {
    inner.api.task(&call(inner, found, &PowerAction::PowerOff)?.operation(operation)).await
}
