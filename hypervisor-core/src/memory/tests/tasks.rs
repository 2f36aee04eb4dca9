use super::*;
use crate::model::{CloneSpec, EventKind, EventQuery, TaskState, VmState};
use crate::{Events as _, Snapshots as _, Tasks as _};
use futures::StreamExt as _;

fn slow() -> Memory {
    Memory::builder().task_time(SECOND * 9).build()
}

#[tokio::test(start_paused = true)]
async fn a_task_goes_through_its_stages_and_its_log_can_be_read_in_parts() {
    let memory = slow();
    let id = vm(&memory, "web").await;
    let started = memory.clone_vm(&id, &CloneSpec::new("copy")).await.unwrap();
    let task = started.task.unwrap();
    let mut seen = Vec::new();
    loop {
        let info = memory.get_task(&task, Some(SECOND * 60)).await.unwrap();
        seen.push((info.progress.unwrap(), info.stage.clone()));
        if info.state.is_final() {
            assert_eq!(info.state, TaskState::Succeeded);
            assert_eq!(info.ended.unwrap().duration_since(info.started.unwrap()).unwrap(), SECOND * 9);
            break;
        }
    }
    let progress: Vec<f64> = seen.iter().map(|(progress, _)| (progress * 3.0).round() / 3.0).collect();
    assert_eq!(progress, [1.0 / 3.0, 2.0 / 3.0, 1.0], "{seen:?}");
    let first = memory.get_task_log(&task, 0, 2).await.unwrap();
    assert_eq!((first.lines.len(), first.next, first.complete), (2, 2, false));
    let rest = memory.get_task_log(&task, first.next, 100).await.unwrap();
    assert_eq!(rest.lines.last().unwrap().text, "TASK OK");
    assert!(rest.complete && rest.next == 4);
    assert_eq!(memory.get_vm(&started.output).await.unwrap().state, VmState::Stopped);
}

#[tokio::test(start_paused = true)]
async fn a_look_that_is_held_ends_with_its_time() {
    let memory = slow();
    let id = vm(&memory, "web").await;
    let task = memory.clone_vm(&id, &CloneSpec::new("copy")).await.unwrap().task.unwrap();
    let before = tokio::time::Instant::now();
    let info = memory.get_task(&task, Some(SECOND)).await.unwrap();
    assert_eq!((info.state, before.elapsed()), (TaskState::Running, SECOND));
}

#[tokio::test(start_paused = true)]
async fn a_guest_at_work_is_locked_and_says_why() {
    let memory = slow();
    let id = running(&memory, "web").await;
    let spec = crate::model::SnapshotSpec::new("s1").memory(true);
    let task = memory.create_snapshot(&id, &spec).await.unwrap().task.unwrap();
    assert_eq!(memory.get_vm(&id).await.unwrap().lock.as_deref(), Some("snapshot"));
    let error = memory.power_vm(&id, &PowerAction::PowerOff).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Locked);
    assert!(error.to_string().contains("snapshot"), "{error}");
    assert_eq!(error.task(), Some(&task));
    assert_eq!(kind(memory.attach_nic(&id, &crate::model::NicSpec::user()).await), ErrorKind::Locked);
    tokio::time::sleep(SECOND * 9).await;
    memory.power_vm(&id, &PowerAction::PowerOff).await.unwrap();
    // A guest that is being copied can be copied again meanwhile, but not deleted.
    memory.clone_vm(&id, &CloneSpec::new("a")).await.unwrap();
    memory.clone_vm(&id, &CloneSpec::new("b")).await.unwrap();
    let delete = crate::model::DeleteVm::with_disks().snapshots(true);
    assert_eq!(kind(memory.delete_vm(&id, &delete).await), ErrorKind::Locked);
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_task_takes_back_what_it_did() {
    let memory = slow();
    let id = vm(&memory, "web").await;
    let before = volumes(&memory).await;
    let started = memory.clone_vm(&id, &CloneSpec::new("copy")).await.unwrap();
    assert_eq!(memory.get_vm(&started.output).await.unwrap().state, VmState::Provisioning);
    let task = started.task.unwrap();
    memory.cancel_task(&task).await.unwrap();
    assert_eq!(memory.get_task(&task, None).await.unwrap().state, TaskState::Cancelled);
    assert_eq!(kind(memory.get_vm(&started.output).await), ErrorKind::NotFound);
    assert_eq!(volumes(&memory).await, before);
    assert_eq!(kind(memory.cancel_task(&task).await), ErrorKind::InvalidState);
    memory.forget_task(&task).unwrap();
    assert_eq!(memory.get_task(&task, None).await.unwrap().state, TaskState::Forgotten);
}

#[tokio::test(start_paused = true)]
async fn a_watcher_is_woken_by_calls_and_by_time() {
    let memory = slow();
    let mut events = memory.watch(&EventQuery::all()).await.unwrap();
    let watched = tokio::spawn(async move {
        let mut kinds = Vec::new();
        while let Some(event) = events.next().await {
            kinds.push(event.unwrap().kind);
        }
        kinds
    });
    tokio::task::yield_now().await;
    let id = vm(&memory, "web").await;
    let copy = memory.clone_vm(&id, &CloneSpec::new("copy")).await.unwrap();
    tokio::time::sleep(SECOND * 10).await;
    drop(memory);
    let kinds = watched.await.unwrap();
    assert!(kinds.contains(&EventKind::VmCreated(id)));
    let task = copy.task.unwrap();
    let ended = EventKind::TaskChanged { task, state: TaskState::Succeeded };
    let stopped = EventKind::VmStateChanged { vm: copy.output, state: VmState::Stopped };
    let place = |kind| kinds.iter().position(|other| *other == kind).unwrap();
    assert!(place(stopped) < place(ended));
}

#[tokio::test(start_paused = true)]
async fn a_slow_reader_is_told_what_it_missed() {
    let memory = Memory::builder().event_buffer(4).build();
    let mut events = memory.watch(&EventQuery::all()).await.unwrap();
    for number in 0..10 {
        vm(&memory, &format!("vm-{number}")).await;
    }
    let first = events.next().await.unwrap().unwrap();
    assert!(matches!(first.kind, EventKind::Lagged { missed } if missed > 0), "{first:?}");
    let id = vm(&memory, "last").await;
    let mut of_last = memory.watch(&EventQuery::all().vm(&id)).await.unwrap();
    memory.power_vm(&id, &PowerAction::Start).await.unwrap();
    assert_eq!(of_last.next().await.unwrap().unwrap().kind.vm(), Some(&id));
    assert!(events.next().await.unwrap().is_ok());
}
