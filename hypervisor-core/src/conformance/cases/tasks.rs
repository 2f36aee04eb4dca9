use super::table::area;
use crate::conformance::check::{Check, Stop, check, check_eq, names, refused_as};
use crate::conformance::context::{Context, Made, task_end};
use crate::conformance::sweep::every;
use crate::error::ErrorKind::{InvalidState, NotFound};
use crate::model::Feature::FullClone;
use crate::model::{CloneSpec, PowerAction, Started, TaskId, TaskQuery, TaskState, VmId};
use crate::operation::Operation::{
    CancelTask, CloneVm, CreateVm, CreateVolume, GetTask, GetTaskLog, ListTasks, StartVm,
};

area! { "tasks":
    an_unknown_task_is_not_found_or_forgotten [GetTask];
    what_a_call_returns_can_be_stored [CreateVm, GetTask];
    an_ended_task_says_so [CreateVm, StartVm, GetTask];
    a_task_is_listed [CreateVm, StartVm, GetTask, ListTasks];
    an_unknown_guest_has_no_tasks [ListTasks];
    a_task_has_a_log [CreateVm, StartVm, GetTask, GetTaskLog];
    an_ended_task_cannot_be_cancelled [CreateVm, StartVm, GetTask, CancelTask];
    an_unknown_task_cannot_be_cancelled [CancelTask];
}

async fn an_unknown_task_is_not_found_or_forgotten(cx: &Context) -> Check {
    let unknown = TaskId::from(cx.name("none"));
    match cx.hv.get_task(&unknown, None).await {
        Ok(info) => check_eq!("the state of an unknown task", info.state, TaskState::Forgotten),
        Err(error) => {
            check_eq!(format!("the kind of `{error}`"), error.kind(), NotFound);
            names("reading an unknown task", &error, TaskId::NOUN, &unknown)?;
        }
    }
    Ok(())
}

async fn what_a_call_returns_can_be_stored(cx: &Context) -> Check {
    let started = cx.hv.create_vm(&cx.spec("vm")).await?;
    cx.keep(Made::Vm(started.output.clone()));
    let text = serde_json::to_string(&started).map_err(|error| Stop::failed(error.to_string()))?;
    let read: Started<VmId> = serde_json::from_str(&text).map_err(|error| Stop::failed(error.to_string()))?;
    check_eq!("what was stored", read, started);
    let vm = cx.done(Ok(read)).await?;
    check_eq!("the name of what was made", cx.get(&vm).await?.name, cx.name("vm"));
    Ok(())
}

/// A task that has ended: of the first of a create, a copy and a start that leaves one.
async fn ended(cx: &Context) -> Check<TaskId> {
    let mut spec = cx.spec("vm");
    // A copy of nothing is done at once.
    if cx.has(CreateVolume) {
        spec.disks.push(cx.small_disk().await?);
    }
    let created = cx.hv.create_vm(&spec).await?;
    let vm = created.output.clone();
    cx.keep(Made::Vm(vm.clone()));
    let mut task = created.task.clone();
    cx.done(Ok(created)).await?;
    if task.is_none() && cx.has(CloneVm) && cx.has(FullClone) {
        let begun = cx.hv.clone_vm(&vm, &CloneSpec::new(cx.name("copy"))).await?;
        task = begun.task.clone();
        cx.adopt(Ok(begun)).await?;
    }
    if task.is_none() {
        let begun = cx.hv.power_vm(&vm, &PowerAction::Start).await?;
        task = begun.task.clone();
        cx.done(Ok(begun)).await?;
    }
    task.ok_or_else(|| Stop::skipped("neither a create nor a copy nor a start leaves a task here"))
}

async fn an_ended_task_says_so(cx: &Context) -> Check {
    let task = ended(cx).await?;
    let info = task_end(&*cx.hv, &cx.settings, &task).await?;
    check_eq!("its id", info.id, task);
    check!(info.state.is_final(), "it is {} after its end", info.state);
    check_eq!("its error", info.error, None);
    let progress = info.progress.unwrap_or(1.0);
    check!((0.0..=1.0).contains(&progress), "its progress is {progress}");
    if let (Some(started), Some(ended)) = (info.started, info.ended) {
        check!(started <= ended, "it started at {started:?} and ended at {ended:?}");
    }
    Ok(())
}

async fn a_task_is_listed(cx: &Context) -> Check {
    let task = ended(cx).await?;
    let vm = cx.hv.get_task(&task, None).await?.vm;
    let of_its_guest = vm.map(|vm| TaskQuery::all().vm(vm));
    for query in [Some(TaskQuery::all()), of_its_guest].iter().flatten() {
        let all = every(|page| async move { cx.hv.list_tasks(query, &page).await }).await?;
        check!(all.iter().any(|info| info.id == task), "task `{task}` is not in the list of {query:?}");
        check!(all.iter().all(|info| query.matches(info)), "the list of {query:?} has others: {all:?}");
    }
    Ok(())
}

async fn an_unknown_guest_has_no_tasks(cx: &Context) -> Check {
    let query = &TaskQuery::all().vm(cx.name("none"));
    match every(|page| async move { cx.hv.list_tasks(query, &page).await }).await {
        Ok(all) => check!(all.is_empty(), "an unknown guest has the tasks {all:?}"),
        Err(error) => check_eq!(format!("the kind of `{error}`"), error.kind(), NotFound),
    }
    Ok(())
}

async fn a_task_has_a_log(cx: &Context) -> Check {
    let task = ended(cx).await?;
    let (mut from, mut seen) = (0, 0);
    loop {
        let part = cx.hv.get_task_log(&task, from, 1).await?;
        check!(part.lines.len() <= 1, "of 1 line at most, {} came", part.lines.len());
        for line in &part.lines {
            check_eq!("the number of a line", line.number, seen);
            seen += 1;
        }
        if part.complete {
            return Ok(());
        }
        check!(part.next > from, "the log stands still at line {from}, though the task has ended");
        from = part.next;
    }
}

async fn an_ended_task_cannot_be_cancelled(cx: &Context) -> Check {
    let task = ended(cx).await?;
    refused_as("cancelling an ended task", cx.hv.cancel_task(&task).await, &[InvalidState, NotFound])?;
    Ok(())
}

async fn an_unknown_task_cannot_be_cancelled(cx: &Context) -> Check {
    let unknown = TaskId::from(cx.name("none"));
    refused_as("cancelling an unknown task", cx.hv.cancel_task(&unknown).await, &[InvalidState, NotFound])?;
    Ok(())
}
