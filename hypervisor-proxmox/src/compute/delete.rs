//! Guests that go.

use std::sync::Arc;

use hypervisor_core::model::{DeleteVm, DiskDevice, Started, VmId, VmState, VolumeId};
use hypervisor_core::{Error, Operation, Result};

use super::{list, power};
use crate::api::Call;
use crate::backend::{Found, Inner};
use crate::tasks::begun;
use crate::wire::compute;
use crate::wire::config::{Config, decode, fill_in};

const OPERATION: Operation = Operation::DeleteVm;

/// Deletes a guest with its disks and snapshots. One that runs is powered off first, where that is asked for.
pub(crate) async fn delete(inner: &Arc<Inner>, vm: &VmId, options: &DeleteVm) -> Result<Started<()>> {
    let (found, extra) = inner
        .on_guest(OPERATION, vm, |found| async move {
            let (info, config) = futures::join!(
                list::current(inner, OPERATION, &found),
                list::raw_config(inner, OPERATION, &found)
            );
            let (mut info, config) = (info?, Config::read(&config?, found.place.kind)?);
            fill_in(&mut info, &config);
            info.check_uid(options.expected_uid.as_deref())?;
            if info.state.is_active() && !options.power_off {
                let why = format!("it is {}, and would have to be powered off first", info.state);
                return Err(Error::invalid_state(why).with_hint("ask for `power_off`"));
            }
            if !options.snapshots {
                let snapshots = crate::snapshots::rows(inner, OPERATION, &found).await?;
                if !snapshots.is_empty() {
                    let why = format!("it has {} snapshots, which would be lost", snapshots.len());
                    return Err(
                        Error::invalid_state(why).with_hint("ask for `snapshots`, or delete them first")
                    );
                }
            }
            let disks = decode(vm, &config).disks.into_iter().filter(|disk| disk.device == DiskDevice::Disk);
            let volumes: Vec<VolumeId> = disks.filter_map(|disk| disk.volume).collect();
            Ok((found, (info.state.is_active(), volumes)))
        })
        .await?;
    let ((running, volumes), options) = (extra, options.clone());
    let ours: Vec<_> = volumes.into_iter().filter(|volume| inner.owns(volume)).collect();
    if !running && ours.is_empty() {
        let task = inner.api.task(&call(&found, &options)?).await.map_err(crate::error::of_vm(vm))?;
        inner.locator.forget(vm);
        return Ok(begun((), task));
    }
    let (work, guest) = (Arc::clone(inner), vm.clone());
    let chain = inner.chains.start(OPERATION, vm, move |link| async move {
        if running {
            let off = power::off(&work, OPERATION, &found).await?;
            let queued = off.as_ref().is_some_and(power::is_queued);
            link.follow(&work, "powering it off", off).await?;
            if queued {
                power::until(&work, &link, OPERATION, &guest, &VmState::Stopped).await?;
            }
        }
        let gone = work.api.task(&call(&found, &options)?).await?;
        work.locator.forget(&guest);
        link.follow(&work, "deleting it", gone).await?;
        // Volumes that were made for no guest: Proxmox leaves them.
        for volume in ours {
            let done = crate::storage::remove(&work, OPERATION, &volume, &found.place.host).await?;
            link.follow(&work, "deleting a volume of its own", done).await?;
        }
        Ok(())
    });
    Ok(Started::running((), chain))
}

fn call(found: &Found, options: &DeleteVm) -> Result<Call> {
    // Also from backup jobs, replication and high availability: what stays there would hit the next guest of this number.
    Ok(Call::delete(found.path("")?, compute::delete(options, true)?).operation(OPERATION))
}
