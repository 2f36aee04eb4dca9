//! Guests that move to another node.

use std::sync::Arc;
use std::time::Duration;

use hypervisor_core::model::{HostId, MigrateSpec, Started, TaskId, VmId};
use hypervisor_core::{Error, ErrorKind, Operation, Result, Retry};
use tokio::time::{Instant, sleep};

use super::{list, power};
use crate::api::Call;
use crate::backend::Inner;
use crate::error::named;
use crate::tasks::begun;
use crate::wire::compute;

const OPERATION: Operation = Operation::MigrateVm;
/// How long high availability is given for a move.
const MOVING: Duration = Duration::from_secs(3600);

/// Moves a guest. A container that runs is stopped and started again: Proxmox cannot move it otherwise.
pub(crate) async fn migrate(inner: &Arc<Inner>, vm: &VmId, spec: &MigrateSpec) -> Result<Started<()>> {
    let shared = &**inner;
    inner.find(OPERATION, vm).await?;
    inner.check_host(OPERATION, &spec.host).await?;
    let task = shared
        .on_guest(OPERATION, vm, |found| async move {
            let inner = shared;
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
    Ok(match task {
        Some(task) if power::is_queued(&task) => Started::running((), arrived(inner, vm, &spec.host, task)),
        task => begun((), task),
    })
}

/// A task of ours that ends when high availability has moved the guest.
fn arrived(inner: &Arc<Inner>, vm: &VmId, host: &HostId, queued: TaskId) -> TaskId {
    let (work, guest, host) = (Arc::clone(inner), vm.clone(), host.clone());
    inner.chains.start(OPERATION, vm, move |link| async move {
        link.follow(&work, "handing it to high availability", Some(queued)).await?;
        let deadline = Instant::now() + MOVING;
        loop {
            link.checkpoint()?;
            work.locator.forget(&guest);
            let over = Instant::now() >= deadline;
            let look = async {
                let found = work.find(OPERATION, &guest).await?;
                let is_there =
                    found.place.host == host && list::current(&work, OPERATION, &found).await?.lock.is_none();
                Ok::<_, Error>((found.place.host, is_there))
            };
            match look.await {
                Ok((_, true)) => return Ok(()),
                Ok((now, false)) if over => {
                    let why =
                        format!("high availability was asked to move it to `{host}`, but it is on `{now}`");
                    return Err(Error::new(ErrorKind::Timeout, why).with_target(VmId::NOUN, &guest));
                }
                // A look that fails says nothing about what is looked at: while guests move and hosts fail, many do.
                Err(error) if over || error.retry() == Retry::Never => return Err(error),
                _ => {}
            }
            sleep(Duration::from_secs(2)).await;
        }
    })
}
