//! What is, by a connection without faults: of one guest, and of the whole world at the end.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use hypervisor_core::handle::Vm;
use hypervisor_core::model::{
    PageRequest, PoolQuery, TaskInfo, TaskQuery, TaskState, VmId, VmInfo, VmQuery, VmState, VolumeId,
};
use hypervisor_core::{Error, ErrorKind, Hypervisor, Operation, Result};

use crate::model::{Guest, Model};
use crate::tally::Tally;
use crate::world::World;

/// How long a guest or a world may be busy.
const PATIENCE: u32 = 400;
const PAUSE: Duration = Duration::from_millis(25);
/// So many looks in a row that find nothing mean that there is nothing.
const LOOKS: u32 = 4;

/// The guest of this name as it is, once nothing works on it any more.
pub(crate) async fn look(hv: &Arc<dyn Hypervisor>, name: &str, known: Option<Vm>) -> Result<Option<Guest>> {
    let mut missed = 0;
    for _ in 0..PATIENCE {
        let info = match &known {
            Some(vm) => vm.info().await,
            None => match hv.vms().by_name(name).await {
                Ok(vm) => vm.info().await,
                Err(error) => Err(error),
            },
        };
        match info {
            Ok(info) if info.name != name => return Ok(None),
            // Read again: a task may have ended between the two looks.
            Ok(info) if is_quiet(hv, &info).await? => match hv.get_vm(&info.id).await {
                Ok(info) if info.name == name => return Ok(Some(guest(hv, &info).await?)),
                Ok(_) => return Ok(None),
                Err(error) if error.is_not_found() => {}
                Err(error) => return Err(error),
            },
            Ok(_) => {}
            Err(error) if error.is_not_found() => {
                missed += 1;
                if missed >= LOOKS {
                    return Ok(None);
                }
            }
            Err(error) => return Err(error),
        }
        tokio::time::sleep(PAUSE).await;
    }
    Err(Error::new(ErrorKind::Timeout, "something works on it without end"))
}

/// The guest as it is right now, once its task has ended.
pub(crate) async fn now(hv: &Arc<dyn Hypervisor>, name: &str, id: &VmId) -> Result<Guest> {
    let info = hv.get_vm(id).await?;
    if info.name != name {
        return Err(Error::new(ErrorKind::NotFound, format!("its id belongs to {}", info.name)));
    }
    guest(hv, &info).await
}

async fn is_quiet(hv: &Arc<dyn Hypervisor>, info: &VmInfo) -> Result<bool> {
    if info.lock.is_some()
        || matches!(info.state, VmState::Provisioning | VmState::Starting | VmState::Stopping)
    {
        return Ok(false);
    }
    if !hv.capabilities().has(Operation::ListTasks) {
        return Ok(true);
    }
    // A task that names no guest may be about many, this one included.
    let running = hv.list_tasks(&TaskQuery::all().state(TaskState::Running), &PageRequest::first()).await?;
    let concerns =
        |task: &TaskInfo| !task.state.is_final() && task.vm.as_ref().is_none_or(|vm| *vm == info.id);
    Ok(!running.items.iter().any(concerns))
}

async fn guest(hv: &Arc<dyn Hypervisor>, info: &VmInfo) -> Result<Guest> {
    let snapshots = if hv.capabilities().has(Operation::ListSnapshots) {
        let tree = hv.vm(info.id.clone()).snapshots().list().await?;
        tree.iter().map(|snapshot| snapshot.id.clone()).collect()
    } else {
        BTreeSet::new()
    };
    // A server that cannot change it does not always tell it.
    let cpus = info.cpus.filter(|_| hv.capabilities().has(Operation::UpdateVm));
    Ok(Guest { id: info.id.clone(), cpus, running: info.state.is_active(), snapshots })
}

/// Compares the world with what all workers were told.
pub(crate) async fn judge(world: &World, models: Vec<Model>, tally: &mut Tally) {
    if let Err(error) = Box::pin(compare(world, models, tally)).await {
        tally.diverge(format!("the world cannot be looked at: {error:?}"));
    }
}

async fn compare(world: &World, models: Vec<Model>, tally: &mut Tally) -> Result<()> {
    let (hv, base) = (&world.steady, world.base.is_some().then_some("base"));
    tasks_end(hv, tally).await?;
    let found = hv.vms().all(&VmQuery::all()).await?.items;
    let mut by_name: BTreeMap<&str, Vec<&VmInfo>> = BTreeMap::new();
    for vm in &found {
        by_name.entry(&vm.name).or_default().push(vm);
    }
    for model in models {
        for (name, expected) in model.guests {
            let there = by_name.remove(name.as_str()).unwrap_or_default();
            let [one] = there.as_slice() else {
                tally.diverge(format!("{name} was acknowledged and is there {} times", there.len()));
                continue;
            };
            let found = guest(hv, one).await?;
            if found != expected {
                tally.diverge(format!("{name} is {found:?} where {expected:?} was acknowledged"));
            }
        }
        for name in model.gone {
            if by_name.remove(name.as_str()).is_some() {
                tally.diverge(format!("{name} is there, though it was deleted or never made"));
            }
        }
    }
    for name in by_name.into_keys().filter(|name| base != Some(*name)) {
        tally.diverge(format!("{name} is there, and nobody made it"));
    }
    // Where no guest is made or deleted, no volume is either.
    if world.fixed.is_empty() { orphans(hv, &found, tally).await } else { Ok(()) }
}

/// No task may be at work any more once all have been waited for.
async fn tasks_end(hv: &Arc<dyn Hypervisor>, tally: &mut Tally) -> Result<()> {
    if !hv.capabilities().has(Operation::ListTasks) {
        return Ok(());
    }
    let query = TaskQuery::all().state(TaskState::Running);
    for _ in 0..PATIENCE {
        let running = hv.list_tasks(&query, &PageRequest::first()).await?;
        if !running.items.iter().any(|task| query.matches(task)) {
            return Ok(());
        }
        tokio::time::sleep(PAUSE).await;
    }
    tally.diverge("tasks are at work that nobody waits for".to_owned());
    Ok(())
}

/// Every volume has to belong to a guest.
async fn orphans(hv: &Arc<dyn Hypervisor>, guests: &[VmInfo], tally: &mut Tally) -> Result<()> {
    let can = |operation| hv.capabilities().has(operation);
    if !(can(Operation::ListPools) && can(Operation::ListVolumes) && can(Operation::GetVmConfig)) {
        return Ok(());
    }
    let mut used = BTreeSet::new();
    for vm in guests {
        let config = hv.get_vm_config(&vm.id).await?;
        used.extend(config.disks.into_iter().filter_map(|disk| disk.volume));
    }
    let mut there: BTreeSet<VolumeId> = BTreeSet::new();
    for pool in hv.pools().all(&PoolQuery::all()).await?.items {
        there.extend(hv.pool(pool.id).volumes().await?.items.into_iter().map(|volume| volume.id));
    }
    let orphans: Vec<_> = there.difference(&used).collect();
    if let Some(first) = orphans.first() {
        tally.diverge(format!("{} volumes belong to no guest, {first} among them", orphans.len()));
    }
    let lost: Vec<_> = used.difference(&there).collect();
    if let Some(first) = lost.first() {
        tally.diverge(format!("{} volumes of guests are not there, {first} among them", lost.len()));
    }
    Ok(())
}
