use super::*;
use crate::model::{ApplyPolicy, DeleteVm, RestartNeed, Revision, Shutdown, TemplateSpec, VmChange, VmState};
use crate::{Batch as _, Guest as _, Metrics as _, Tasks as _};

async fn state(memory: &Memory, id: &VmId) -> VmState {
    memory.get_vm(id).await.unwrap().state
}

#[tokio::test(start_paused = true)]
async fn a_guest_takes_its_time_to_shut_down() {
    let memory = Memory::builder().guest_time(SECOND * 10).build();
    let id = running(&memory, "web").await;
    let started = memory.power_vm(&id, &PowerAction::Shutdown(Shutdown::new())).await.unwrap();
    assert_eq!((started.task, state(&memory, &id).await), (None, VmState::Stopping));
    tokio::time::sleep(SECOND * 10).await;
    assert_eq!(state(&memory, &id).await, VmState::Stopped);
    memory.power_vm(&id, &PowerAction::Start).await.unwrap();
    let limited = PowerAction::Shutdown(Shutdown::new().power_off_after(SECOND * 3));
    let task = memory.power_vm(&id, &limited).await.unwrap().task.unwrap();
    tokio::time::sleep(SECOND * 3).await;
    assert_eq!(state(&memory, &id).await, VmState::Stopped);
    assert!(memory.get_task(&task, None).await.unwrap().state.is_final());
    // What was asked of one power cycle does not hit the next.
    memory.power_vm(&id, &PowerAction::Start).await.unwrap();
    memory.power_vm(&id, &PowerAction::Shutdown(Shutdown::new())).await.unwrap();
    memory.power_vm(&id, &PowerAction::PowerOff).await.unwrap();
    memory.power_vm(&id, &PowerAction::Start).await.unwrap();
    tokio::time::sleep(SECOND * 60).await;
    assert_eq!(state(&memory, &id).await, VmState::Running);
}

#[tokio::test(start_paused = true)]
async fn a_hibernated_guest_goes_on_where_it_was() {
    let memory = Memory::new();
    let id = running(&memory, "web").await;
    tokio::time::sleep(SECOND * 100).await;
    let before = memory.get_vm_metrics(&id).await.unwrap().cpu_time;
    memory.power_vm(&id, &PowerAction::Hibernate).await.unwrap();
    assert_eq!(kind(memory.power_vm(&id, &PowerAction::Resume).await), ErrorKind::InvalidState);
    tokio::time::sleep(SECOND * 100).await;
    memory.power_vm(&id, &PowerAction::Start).await.unwrap();
    assert_eq!(memory.get_vm(&id).await.unwrap().uptime, Some(SECOND * 100));
    assert_eq!(memory.get_vm_metrics(&id).await.unwrap().cpu_time, before);
    memory.crash_vm(&id).unwrap();
    assert_eq!(state(&memory, &id).await, VmState::Crashed);
    memory.power_vm(&id, &PowerAction::Start).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn some_changes_wait_for_a_power_cycle() {
    let memory = Memory::new();
    let id = vm(&memory, "web").await;
    memory.update_vm(&id, &VmChange::new().cpus(4)).await.unwrap();
    memory.power_vm(&id, &PowerAction::Start).await.unwrap();
    let live = VmChange::new().cpus(2).apply(ApplyPolicy::LiveOnly);
    assert_eq!(kind(memory.update_vm(&id, &live).await), ErrorKind::InvalidState);
    let change = VmChange::new().cpus(2).memory(ByteSize::gib(1)).add_tag("small");
    let outcome = memory.update_vm(&id, &change).await.unwrap().output;
    assert_eq!(
        (outcome.applied, outcome.pending),
        (vec!["tags".into(), "memory".into()], vec!["cpus".into()])
    );
    assert_eq!(outcome.needs, RestartNeed::PowerCycle);
    let config = memory.get_vm_config(&id).await.unwrap();
    assert_eq!((config.spec.cpus, config.pending[0].field.as_str()), (2, "cpus"));
    assert_eq!(memory.get_vm(&id).await.unwrap().cpus, Some(4));
    memory.power_vm(&id, &PowerAction::Reboot).await.unwrap();
    assert_eq!(memory.get_vm(&id).await.unwrap().cpus, Some(4));
    memory.power_vm(&id, &PowerAction::PowerOff).await.unwrap();
    memory.power_vm(&id, &PowerAction::Start).await.unwrap();
    assert_eq!(memory.get_vm(&id).await.unwrap().cpus, Some(2));
    assert!(memory.get_vm_config(&id).await.unwrap().pending.is_empty());
}

#[tokio::test(start_paused = true)]
async fn another_revision_or_uid_is_a_conflict() {
    let memory = Memory::new();
    let id = vm(&memory, "web").await;
    let revision = memory.get_vm_config(&id).await.unwrap().revision.unwrap();
    let change = VmChange::new().description("first").if_revision(revision);
    memory.update_vm(&id, &change).await.unwrap();
    assert_eq!(kind(memory.update_vm(&id, &change).await), ErrorKind::Conflict);
    let odd = VmChange::new().if_revision(Revision::new("odd"));
    assert_eq!(kind(memory.update_vm(&id, &odd).await), ErrorKind::Conflict);
    // The id of a deleted machine is used again: the uid tells the two apart.
    let uid = memory.get_vm(&id).await.unwrap().uid.unwrap();
    memory.delete_vm(&id, &DeleteVm::with_disks().expected_uid(uid.as_str())).await.unwrap();
    let other = vm(&memory, "other").await;
    assert_eq!(other, id);
    let delete = DeleteVm::with_disks().expected_uid(uid);
    assert_eq!(kind(memory.delete_vm(&other, &delete).await), ErrorKind::Conflict);
}

#[tokio::test(start_paused = true)]
async fn a_template_cannot_start_and_an_ephemeral_guest_vanishes() {
    let memory = Memory::new();
    let id = vm(&memory, "web").await;
    memory.create_template(&id, &TemplateSpec::in_place()).await.unwrap();
    assert_eq!(kind(memory.power_vm(&id, &PowerAction::Start).await), ErrorKind::InvalidState);
    let deploy = crate::model::DeploySpec::new("web-1").cpus(3);
    let copy = memory.deploy_template(&id, &deploy).await.unwrap().output;
    assert_eq!(memory.get_vm(&copy).await.unwrap().cpus, Some(3));
    assert_eq!(kind(memory.deploy_template(&copy, &deploy).await), ErrorKind::InvalidState);
    let disk = crate::model::DiskSpec::new_volume(crate::model::ByteSize::gib(1));
    let short = memory.create_vm(&VmSpec::new("short").ephemeral(true).disk(disk)).await.unwrap().output;
    assert_eq!(state(&memory, &short).await, VmState::Running);
    let left = volume(&memory, &short).await;
    assert_eq!(memory.get_volume(&left).await.unwrap().vm, Some(short.clone()));
    memory.power_vm(&short, &PowerAction::PowerOff).await.unwrap();
    assert_eq!(kind(memory.get_vm(&short).await), ErrorKind::NotFound);
    let next = memory.create_vm(&VmSpec::new("next")).await.unwrap().output;
    assert_eq!(next, short, "the id is used again, but what is left is not the next guest's");
    assert_eq!(memory.get_volume(&left).await.unwrap().vm, None);
}

#[tokio::test(start_paused = true)]
async fn power_verbs_go_in_bulk_with_an_answer_for_each() {
    let memory = Memory::new();
    let (a, b) = (vm(&memory, "a").await, running(&memory, "b").await);
    let ops = [&a, &b].map(|id| crate::model::BatchOp::power(id, PowerAction::Start));
    assert_eq!(memory.bulk_key(&ops[0]), memory.bulk_key(&ops[1]));
    let answers = memory.submit_bulk(&ops).await.unwrap();
    assert!(answers[0].is_ok());
    assert_eq!(answers[1].as_ref().unwrap_err().kind(), ErrorKind::InvalidState);
    assert_eq!(kind(memory.ping_agent(&"999".into()).await), ErrorKind::NotFound);
}
