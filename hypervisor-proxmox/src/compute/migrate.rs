//! Guests that move to another node.

use hypervisor_core::model::{MigrateSpec, Started, VmId};
use hypervisor_core::{Error, Operation, Result};

use super::list;
use crate::tasks::begun;
use crate::api::Call;
use crate::backend::Inner;
use crate::error::named;
use crate::wire::compute;

const OPERATION: Operation = Operation::MigrateVm;

/// Moves a guest. A container that runs is stopped and started again: Proxmox cannot move it otherwise.
pub(crate) async fn migrate(inner: &Inner, vm: &VmId, spec: &MigrateSpec) -> Result<Started<()>> {
    inner.find(OPERATION, vm).await?;
    inner.check_host(OPERATION, &spec.host).await?;
    let task = inner
        .on_guest(OPERATION, vm, |found| async move {
            let info = list::current(inner, OPERATION, &found).await?;
            if found.place.host == spec.host {
                let error = Error::invalid("host", format!("the guest is on `{}` already", spec.host));
                return Err(named(OPERATION)(error));
            }
            let form = compute::migrate(spec, found.place.kind, info.state.is_active())?;
            let call = Call::post(found.path("/migrate")?, form).operation(OPERATION);
            inner.api.task(&call).await
        })
        .await?;
    // Where it is will be looked up when it is needed next: until the end of the task it is still there.
    inner.locator.forget(vm);
    inner.locator.touch(vm);
    Ok(begun((), task))
}
