use super::*;
use crate::Tasks as _;
use crate::memory::FaultPlan;
use crate::model::{Capabilities, Feature, TaskState, VmState};
use crate::operation::Operation;

#[tokio::test(start_paused = true)]
async fn a_fault_before_the_effect_leaves_nothing_and_one_after_it_leaves_all() {
    let plan = FaultPlan::new().fail(Operation::CreateVm, 1, ErrorKind::Transport).lose_answer(
        Operation::CreateVm,
        2,
        ErrorKind::Timeout,
    );
    let memory = Memory::builder().faults(plan).build();
    let spec = VmSpec::new("web").client_token("token-1");
    assert_eq!(kind(memory.create_vm(&spec).await), ErrorKind::Transport);
    let all = async || memory.list_vms(&Default::default(), &Default::default()).await.unwrap().items;
    assert!(all().await.is_empty());
    let error = memory.create_vm(&spec).await.unwrap_err();
    assert_eq!((error.kind(), error.effect()), (ErrorKind::Timeout, crate::Effect::Unknown));
    let query = crate::model::VmQuery::all().client_token("token-1");
    let found = memory.list_vms(&query, &Default::default()).await.unwrap().items;
    assert_eq!(found.len(), 1);
    assert_eq!(kind(memory.create_vm(&spec).await), ErrorKind::AlreadyExists);
    // Injected later, the count starts anew.
    memory.inject(FaultPlan::new().fail(Operation::GetVm, 2, ErrorKind::RateLimited));
    memory.get_vm(&found[0].id).await.unwrap();
    assert_eq!(kind(memory.get_vm(&found[0].id).await), ErrorKind::RateLimited);
}

#[tokio::test(start_paused = true)]
async fn a_failing_task_undoes_what_it_began_even_where_nothing_takes_time() {
    for time in [Duration::ZERO, SECOND] {
        let plan = FaultPlan::new().fail_task(Operation::CloneVm, 1, "no space left on device");
        let memory = Memory::builder().task_time(time).faults(plan).build();
        let id = vm(&memory, "web").await;
        let before = volumes(&memory).await;
        let started = memory.clone_vm(&id, &crate::model::CloneSpec::new("copy")).await.unwrap();
        let task = started.task.unwrap();
        tokio::time::sleep(SECOND).await;
        let info = memory.get_task(&task, None).await.unwrap();
        assert_eq!(info.state, TaskState::Failed);
        assert_eq!(info.error.as_deref(), Some("no space left on device"));
        let log = memory.get_task_log(&task, 0, 100).await.unwrap();
        assert!(log.complete && log.lines.last().unwrap().text.contains("no space"), "{log:?}");
        assert_eq!(kind(memory.get_vm(&started.output).await), ErrorKind::NotFound);
        assert_eq!(volumes(&memory).await, before);
        assert_eq!(memory.get_vm(&id).await.unwrap().lock, None);
    }
}

#[tokio::test(start_paused = true)]
async fn a_forgotten_task_has_had_its_effect() {
    let plan = FaultPlan::new().forget_task(Operation::CloneVm, 1);
    let memory = Memory::builder().task_time(SECOND).faults(plan).build();
    let id = vm(&memory, "web").await;
    let started = memory.clone_vm(&id, &crate::model::CloneSpec::new("copy")).await.unwrap();
    let task = started.task.unwrap();
    assert_eq!(memory.get_task(&task, None).await.unwrap().state, TaskState::Running);
    let info = memory.get_task(&task, Some(SECOND * 60)).await.unwrap();
    assert_eq!(info.state, TaskState::Running, "the next stage comes first");
    tokio::time::sleep(SECOND).await;
    assert_eq!(memory.get_task(&task, None).await.unwrap().state, TaskState::Forgotten);
    assert_eq!(memory.get_vm(&started.output).await.unwrap().state, VmState::Stopped);
    assert_eq!(kind(memory.get_task(&"task-99".into(), None).await), ErrorKind::NotFound);
}

#[tokio::test(start_paused = true)]
async fn what_is_taken_from_the_capabilities_is_refused() {
    let capabilities = Capabilities::all_native()
        .unsupported([Operation::CloneVm], "no clones")
        .unsupported([Feature::Tpm], "no TPM");
    let memory = Memory::builder().capabilities(capabilities).build();
    let id = vm(&memory, "web").await;
    let clone = memory.clone_vm(&id, &crate::model::CloneSpec::new("copy")).await;
    assert!(clone.unwrap_err().to_string().contains("no clones"));
    assert_eq!(kind(memory.create_vm(&VmSpec::new("tpm").tpm(true)).await), ErrorKind::Unsupported);
}

/// What happens to a world under dice, as text.
async fn trace(seed: u64) -> String {
    let memory = Memory::builder()
        .hosts(3)
        .seed(seed)
        .task_time(SECOND)
        .latency(Duration::from_millis(1)..Duration::from_millis(50))
        .faults(FaultPlan::new().at_random(150, ErrorKind::Transport))
        .build();
    let mut trace = String::new();
    for number in 0..20 {
        let created = memory.create_vm(&VmSpec::new(format!("vm-{number}"))).await;
        trace.push_str(&format!("{created:?}\n"));
        if let Ok(created) = created {
            trace.push_str(&format!("{:?}\n", memory.power_vm(&created.output, &PowerAction::Start).await));
            trace.push_str(&format!("{:?}\n", memory.get_vm(&created.output).await));
        }
    }
    trace
}

#[tokio::test(start_paused = true)]
async fn the_same_seed_gives_the_same_world() {
    let first = trace(7).await;
    assert!(first.contains("injected fault") && first.contains("Running"));
    assert_eq!(first, trace(7).await);
    assert_ne!(first, trace(8).await);
}

#[test]
fn a_url_sets_it_up_or_says_what_is_wrong() {
    let build = Memory::from_url;
    for good in ["memory://", "memory:///", "memory://?hosts=3&task_time=2s&guest_time=500ms&seed=42"] {
        assert!(build(good).is_ok(), "{good}");
    }
    for wrong in [
        "memory://host",
        "memory:///path",
        "memory://?hosts=0",
        "memory://?hosts=x",
        "memory://?hosts=4000000000",
        "memory://?task_time=2y",
        "memory://?colour=red",
        "memory://?seed=1#part",
        "memory://user:password@",
        "memory:",
        "http://x",
    ] {
        assert_eq!(build(wrong).unwrap_err().kind(), ErrorKind::Config, "{wrong}");
    }
}
