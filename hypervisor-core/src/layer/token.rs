//! Finding again what a create of unknown outcome has made.

use crate::error::{Error, ErrorKind, Result};
use crate::model::{
    Cursors, PageRequest, PowerAction, Started, TaskQuery, TaskState, VmId, VmInfo, VmQuery, VmState,
};
use crate::operation::Operation;
use crate::traits::Hypervisor;

/// Looks for the guest that carries the mark. `None` only where every host has been asked. With `starts`, a guest that is there but was
/// not started any more is started: the create had both to do.
pub(super) async fn find(
    backend: &dyn Hypervisor,
    token: &str,
    starts: bool,
) -> Result<Option<Started<VmId>>> {
    let query = VmQuery::all().client_token(token);
    let mut page = PageRequest::first();
    let (mut unseen, mut cursors) = (Vec::new(), Cursors::default());
    loop {
        let found = backend.list_vms(&query, &page).await?;
        // A backend that ignores what it does not know of a query answers with every guest.
        if let Some(vm) = found.items.iter().find(|vm| query.matches(vm)) {
            return started(backend, vm, starts).await.map(Some);
        }
        unseen.extend(found.unreachable.iter().map(|unreachable| unreachable.host.to_string()));
        match cursors.after(&found)? {
            Some(next) => page = next,
            None if unseen.is_empty() => return Ok(None),
            None => {
                let message = format!("it may be on a host that cannot be asked: {}", unseen.join(", "));
                return Err(Error::new(ErrorKind::HostUnreachable, message));
            }
        }
    }
}

/// The guest, with the task that is still at work on it where the backend tells.
async fn started(backend: &dyn Hypervisor, vm: &VmInfo, starts: bool) -> Result<Started<VmId>> {
    let busy = vm.lock.is_some() || vm.state == VmState::Provisioning;
    if busy && backend.capabilities().has(Operation::ListTasks) {
        let query = TaskQuery::all().vm(&vm.id).state(TaskState::Running);
        if let Ok(tasks) = backend.list_tasks(&query, &PageRequest::first()).await
            && let Some(task) = tasks.items.into_iter().find(|task| query.matches(task))
        {
            return Ok(Started::running(vm.id.clone(), task.id));
        }
    }
    if !starts || busy || vm.state != VmState::Stopped {
        return Ok(Started::done(vm.id.clone()));
    }
    match backend.power_vm(&vm.id, &PowerAction::Start).await {
        Ok(started) => Ok(Started { output: vm.id.clone(), task: started.task }),
        // It runs by now.
        Err(error) if error.kind() == ErrorKind::InvalidState => Ok(Started::done(vm.id.clone())),
        Err(error) => Err(error),
    }
}
