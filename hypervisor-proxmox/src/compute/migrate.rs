//! Guests that move to another node.

use hypervisor_core::model::{ByteSize, GuestKind, HostId, MigrateSpec, Started, VmId};
use hypervisor_core::{Error, Operation, Result};

use super::list;
use crate::api::Call;
use crate::backend::Inner;
use crate::error::named;
use crate::wire::form::Form;

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
            let live = spec.live.unwrap_or(info.state.is_active());
            let form = form(spec, found.place.kind, live, info.state.is_active())?;
            let call = Call::post(found.path("/migrate")?, form).operation(OPERATION);
            inner.api.task(&call).await
        })
        .await?;
    // Where it is will be looked up when it is needed next: until the end of the task it is still there.
    inner.locator.forget(vm);
    inner.locator.touch(vm);
    Ok(Started { output: (), task })
}

fn form(spec: &MigrateSpec, kind: GuestKind, live: bool, active: bool) -> Result<Form> {
    let form = Form::new().text("target", host(&spec.host));
    let limit = spec.bandwidth.map(|limit| limit.div_ceil(ByteSize::kib(1)).to_string());
    let pool = spec.pool.as_ref().map(|pool| pool.as_str().to_owned());
    if !live && active {
        let why = "a running guest is moved live, or has to be powered off first";
        return Err(named(OPERATION)(Error::invalid_state(why)));
    }
    Ok(match kind {
        GuestKind::Container => {
            form.flag_if("restart", active).maybe("target-storage", pool).maybe("bwlimit", limit)
        }
        _ => form
            .flag_if("online", live && active)
            .flag_if("with-local-disks", spec.with_disks)
            .maybe("targetstorage", pool)
            .maybe("bwlimit", limit),
    })
}

fn host(host: &HostId) -> String {
    host.as_str().to_owned()
}
