//! Finding a guest by what people call it; deleting, copying and moving it.

use std::sync::Arc;

use hypervisor::model::{BatchOutcome, BatchOutput, CloneMany, MigrateSpec};
use hypervisor::{CloneSpec, DeleteVm, Error, ErrorKind, Hypervisor, Result, Vm, VmChange, VmId};
use serde_json::json;

use super::Ui;
use super::cli::{Clone_, Delete, Migrate, Update};
use super::exit::{self, Stop};
use super::progress::{Done, Waiter};
use super::text::plain;

/// The guest of this id or, if there is none, the one of this name. The handle refuses to change another guest that gets its id later.
pub(crate) async fn find(hv: &Arc<dyn Hypervisor>, text: &str) -> Result<Vm> {
    match hv.vms().get(text).await {
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::InvalidInput) => {}
        found => return found,
    }
    let vm = hv.vms().by_name(text).await?;
    // Some lists do not tell the uid.
    if vm.uid().is_some() { Ok(vm) } else { hv.vms().get(vm.id()).await }
}

/// Says that something was done, or goes on.
pub(crate) fn report<T>(
    ui: &mut Ui,
    done: Done<T>,
    verb: &str,
    name: &str,
    id: impl Fn(&T) -> Option<String>,
) -> u8 {
    let (output, task, warnings) = match done {
        Done::Finished(output, warnings) => (Some(output), None, warnings),
        Done::Running(task, output) => (output, Some(task), Vec::new()),
    };
    let id = output.as_ref().and_then(id);
    if ui.json {
        ui.value_line(&json!({
            "name": name, "id": id, "verb": verb, "done": task.is_none(), "task": task, "warnings": warnings,
        }));
        return exit::OK;
    }
    for warning in &warnings {
        ui.note(format!("warning: {}", plain(warning)));
    }
    let id = id.filter(|id| id != name).map(|id| format!(" ({id})")).unwrap_or_default();
    match task {
        None => ui.line(format!("{}{id}: {verb}", plain(name))),
        Some(task) => ui.line(format!("{}{id}: begun as task {task}", plain(name))),
    }
    exit::OK
}

fn no_id<T>(_: &T) -> Option<String> {
    None
}

pub(crate) async fn delete(
    hv: &Arc<dyn Hypervisor>,
    ui: &mut Ui,
    waiter: &Waiter,
    args: &Delete,
) -> Result<u8, Stop> {
    let vm = find(hv, &args.vm).await?;
    if !args.yes {
        let info = vm.info().await?;
        let disks = if args.with_disks { "with its disks" } else { "but not its disks" };
        let question = format!(
            "Delete `{}` ({}, {}) {disks} on {}?",
            plain(&info.name),
            vm.id(),
            info.state,
            hv.info().endpoint
        );
        if !ui.asks {
            let error = Error::invalid("--yes", "is needed where nobody can be asked");
            return Err(error.with_target(VmId::NOUN, &args.vm).into());
        }
        if !ui.confirm(&question).await {
            ui.note("nothing was deleted");
            return Ok(exit::FAILED);
        }
    }
    let options = if args.with_disks { DeleteVm::with_disks() } else { DeleteVm::keep_disks() };
    let options = options.power_off(args.power_off).snapshots(args.snapshots);
    let label = format!("delete {}", args.vm);
    let task = waiter.call(&label, vm.delete(&options)).await?;
    let done = waiter.finish(&label, task).await?;
    Ok(report(ui, done, "deleted", &args.vm, no_id))
}

pub(crate) async fn update(
    hv: &Arc<dyn Hypervisor>,
    ui: &mut Ui,
    waiter: &Waiter,
    args: &Update,
) -> Result<u8, Stop> {
    let mut change = VmChange::new();
    change.name.clone_from(&args.name);
    change.cpus = args.cpus;
    change.memory = args.memory;
    change.description.clone_from(&args.description);
    change.add_tags.extend(args.add_tag.iter().cloned());
    change.remove_tags.extend(args.remove_tag.iter().cloned());
    change.autostart = args.autostart;
    if change.is_empty() {
        return Err(Error::invalid("OPTIONS", "say what is to change: see `hv update --help`").into());
    }
    let vm = find(hv, &args.vm).await?;
    let label = format!("update {}", args.vm);
    let task = waiter.call(&label, vm.update(&change)).await?;
    let done = waiter.finish(&label, task).await?;
    let waits = match &done {
        Done::Finished(outcome, _) if !outcome.pending.is_empty() => {
            format!("updated; after a power cycle: {}", outcome.pending.join(", "))
        }
        _ => "updated".to_owned(),
    };
    Ok(report(ui, done, &waits, &args.vm, no_id))
}

pub(crate) async fn clone(
    hv: &Arc<dyn Hypervisor>,
    ui: &mut Ui,
    waiter: &Waiter,
    args: &Clone_,
) -> Result<u8, Stop> {
    let vm = find(hv, &args.vm).await?;
    let mut spec = CloneSpec::new(&args.name).linked(args.linked).start(args.start);
    spec.snapshot = args.snapshot.as_deref().map(Into::into);
    spec.pool = args.pool.as_deref().map(Into::into);
    spec.host = args.host.as_deref().map(Into::into);
    let Some(count) = args.count else {
        let label = format!("clone {}", args.vm);
        let task = waiter.call(&label, vm.clone_as(&spec)).await?;
        let done = waiter.finish(&label, task).await?;
        return Ok(report(ui, done, "cloned", &args.name, |copy: &Vm| Some(copy.id().to_string())));
    };
    let bar = waiter.spinner(&format!("clone {} {count} times", args.vm));
    let outcome = vm.clone_many(&CloneMany::new(&args.name, count).each(spec)).await;
    bar.finish_and_clear();
    let mut code = exit::OK;
    for (number, outcome) in (1..=count).zip(outcome?.outcomes) {
        let name = format!("{}-{number}", args.name);
        match outcome {
            BatchOutcome::Done(BatchOutput::Vm(id)) => {
                report(ui, Done::Finished(id, Vec::new()), "cloned", &name, |id| Some(id.to_string()));
            }
            BatchOutcome::Failed(error) | BatchOutcome::Unknown { error, .. } => code = ui.failed(&error),
            other => ui.note(format!("{name}: {other:?}")),
        }
    }
    Ok(code)
}

pub(crate) async fn migrate(
    hv: &Arc<dyn Hypervisor>,
    ui: &mut Ui,
    waiter: &Waiter,
    args: &Migrate,
) -> Result<u8, Stop> {
    let vm = find(hv, &args.vm).await?;
    let mut spec = MigrateSpec::to(args.host.as_str()).with_disks(args.with_disks);
    spec.live = args.live.then_some(true).or(args.offline.then_some(false));
    spec.bandwidth = args.bandwidth;
    let label = format!("migrate {}", args.vm);
    let task = waiter.call(&label, vm.migrate(&spec)).await?;
    let done = waiter.finish(&label, task).await?;
    Ok(report(ui, done, &format!("moved to {}", args.host), &args.vm, no_id))
}
