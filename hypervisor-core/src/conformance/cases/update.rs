use std::collections::BTreeSet;

use crate::conformance::case::Case;
use crate::conformance::check::{Check, check, check_eq, names, refused, refused_unknown};
use crate::conformance::context::Context;
use crate::error::ErrorKind;
use crate::model::{
    ApplyPolicy, BootDevice, ByteSize, DiskSpec, Feature, RestartNeed, Revision, UpdateOutcome, VmChange,
    VmConfig, VmId, VmQuery,
};
use crate::operation::Operation;

pub(super) fn cases() -> Vec<Case> {
    use Operation::{CreateVm, GetVmConfig, PowerOffVm, StartVm, UpdateVm};
    vec![
        case!("update", cpus_and_memory_of_a_stopped_guest, [CreateVm, UpdateVm, GetVmConfig]),
        case!("update", description_is_set_and_removed, [CreateVm, UpdateVm, GetVmConfig]),
        case!("update", tags_are_added_and_removed, [CreateVm, UpdateVm, GetVmConfig, Feature::Tags]),
        case!("update", metadata_is_set_and_removed, [CreateVm, UpdateVm, GetVmConfig, Feature::Metadata]),
        case!("update", autostart_is_set_and_removed, [CreateVm, UpdateVm, GetVmConfig, Feature::Autostart]),
        case!("update", name_is_changed, [CreateVm, UpdateVm]),
        case!("update", taken_name_is_refused, [CreateVm, UpdateVm]),
        case!("update", boot_order_is_changed, [CreateVm, UpdateVm, GetVmConfig, Operation::CreateVolume]),
        case!("update", what_is_not_named_stays, [CreateVm, UpdateVm, GetVmConfig]),
        case!("update", empty_change_changes_nothing, [CreateVm, UpdateVm, GetVmConfig]),
        case!(
            "update",
            running_guest_takes_it_or_says_what_waits,
            [CreateVm, UpdateVm, GetVmConfig, StartVm]
        ),
        case!(
            "update",
            what_waits_comes_with_a_power_cycle,
            [CreateVm, UpdateVm, GetVmConfig, StartVm, PowerOffVm]
        ),
        case!("update", next_boot_leaves_the_running_guest_alone, [CreateVm, UpdateVm, GetVmConfig, StartVm]),
        case!("update", live_only_is_all_or_nothing, [CreateVm, UpdateVm, GetVmConfig, StartVm]),
        case!(
            "update",
            another_revision_is_a_conflict,
            [CreateVm, UpdateVm, GetVmConfig, Feature::RevisionCheck]
        ),
        case!("update", present_revision_is_taken, [CreateVm, UpdateVm, GetVmConfig, Feature::RevisionCheck]),
        case!("update", another_uid_is_a_conflict, [CreateVm, UpdateVm]),
        case!("update", unknown_guest_is_not_found, [UpdateVm]),
    ]
}

async fn update(cx: &Context, vm: &VmId, change: &VmChange) -> Check<UpdateOutcome> {
    Ok(cx.done(cx.hv.update_vm(vm, change).await).await?)
}

async fn config(cx: &Context, vm: &VmId) -> Check<VmConfig> {
    Ok(cx.hv.get_vm_config(vm).await?)
}

/// A change of a stopped guest is in force at once.
async fn in_force(cx: &Context, vm: &VmId, change: &VmChange) -> Check<VmConfig> {
    let outcome = update(cx, vm, change).await?;
    check_eq!("what a stopped guest needs after a change", outcome.needs, RestartNeed::None);
    check!(outcome.pending.is_empty(), "changes of a stopped guest wait: {:?}", outcome.pending);
    config(cx, vm).await
}

async fn cpus_and_memory_of_a_stopped_guest(cx: &Context) -> Check {
    let vm = cx.vm("a").await?;
    let after = in_force(cx, &vm, &VmChange::new().cpus(3).memory(ByteSize::mib(96))).await?;
    check_eq!("the CPUs", after.spec.cpus, 3);
    check_eq!("the memory", after.spec.memory, ByteSize::mib(96));
    let info = cx.get(&vm).await?;
    check_eq!("CPUs and memory in the info", (info.cpus, info.memory), (Some(3), Some(ByteSize::mib(96))));
    Ok(())
}

async fn description_is_set_and_removed(cx: &Context) -> Check {
    let vm = cx.vm("a").await?;
    let set = in_force(cx, &vm, &VmChange::new().description("a <new> one\nof two lines")).await?;
    check_eq!("the description", set.spec.description.as_deref(), Some("a <new> one\nof two lines"));
    let removed = in_force(cx, &vm, &VmChange::new().description("")).await?;
    check_eq!("the description after it was removed", removed.spec.description, None);
    Ok(())
}

async fn tags_are_added_and_removed(cx: &Context) -> Check {
    let vm = cx.create(&cx.spec("a").tag("one").tag("two")).await?;
    let after =
        in_force(cx, &vm, &VmChange::new().add_tag("three").remove_tag("one").remove_tag("never")).await?;
    check_eq!("the tags", after.spec.tags, BTreeSet::from(["three".to_owned(), "two".to_owned()]));
    Ok(())
}

async fn metadata_is_set_and_removed(cx: &Context) -> Check {
    let vm =
        cx.create(&cx.spec("a").metadata("keep", "1").metadata("change", "2").metadata("drop", "3")).await?;
    let change = VmChange::new().metadata("change", "4").metadata("drop", "").metadata("new", "5");
    let after = in_force(cx, &vm, &change).await?;
    let pairs: Vec<(&str, &str)> =
        after.spec.metadata.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
    check_eq!("the metadata", pairs, [("change", "4"), ("keep", "1"), ("new", "5")]);
    Ok(())
}

async fn autostart_is_set_and_removed(cx: &Context) -> Check {
    let vm = cx.vm("a").await?;
    check!(!config(cx, &vm).await?.spec.autostart, "a new guest starts with its host");
    check!(in_force(cx, &vm, &VmChange::new().autostart(true)).await?.spec.autostart, "autostart is not set");
    check!(
        !in_force(cx, &vm, &VmChange::new().autostart(false)).await?.spec.autostart,
        "autostart is not removed"
    );
    Ok(())
}

async fn name_is_changed(cx: &Context) -> Check {
    let vm = cx.vm("a").await?;
    update(cx, &vm, &VmChange::new().name(cx.name("b"))).await?;
    check_eq!("the name", cx.get(&vm).await?.name, cx.name("b"));
    let old = cx.vms(&VmQuery::all().name(cx.name("a"))).await?;
    check!(old.is_empty(), "the guest is still found by its old name");
    Ok(())
}

async fn taken_name_is_refused(cx: &Context) -> Check {
    let vm = cx.vm("a").await?;
    cx.vm("b").await?;
    let renamed = cx.done(cx.hv.update_vm(&vm, &VmChange::new().name(cx.name("b"))).await).await;
    if renamed.is_ok() {
        return Err(crate::conformance::check::Stop::skipped("the backend lets two guests have one name"));
    }
    let error = refused("renaming a guest to a name that is taken", renamed, ErrorKind::AlreadyExists)?;
    names("renaming a guest to a name that is taken", &error, VmId::NOUN, cx.name("b"))?;
    check_eq!("the name after it", cx.get(&vm).await?.name, cx.name("a"));
    Ok(())
}

async fn boot_order_is_changed(cx: &Context) -> Check {
    let pool = cx.pool().await?;
    let mut spec = cx
        .spec("a")
        .disk(DiskSpec::new_volume(ByteSize::mib(1)).in_pool(pool))
        .boot_order([BootDevice::Disk]);
    // Some backends boot only from what is there.
    if let Ok(nic) = cx.plug().await {
        spec = spec.nic(nic);
    }
    let vm = cx.create(&spec).await?;
    let wanted = vec![BootDevice::Network, BootDevice::Disk];
    let after = in_force(cx, &vm, &VmChange::new().boot_order(wanted.clone())).await?;
    check_eq!("the boot order", after.spec.boot.order, wanted);
    Ok(())
}

async fn what_is_not_named_stays(cx: &Context) -> Check {
    let mut spec = cx.spec("a").cpus(2).description("stays");
    if cx.has(Feature::Tags) {
        spec = spec.tag("stays");
    }
    let vm = cx.create(&spec).await?;
    let before = config(cx, &vm).await?;
    let after = in_force(cx, &vm, &VmChange::new().memory(ByteSize::mib(96))).await?;
    check_eq!("the memory", after.spec.memory, ByteSize::mib(96));
    let mut expected = before.spec;
    expected.memory = ByteSize::mib(96);
    check_eq!("the spec but for its memory", after.spec, expected);
    Ok(())
}

async fn empty_change_changes_nothing(cx: &Context) -> Check {
    let vm = cx.vm("a").await?;
    let before = config(cx, &vm).await?;
    let outcome = update(cx, &vm, &VmChange::new()).await?;
    check_eq!("what an empty change needs", outcome.needs, RestartNeed::None);
    let after = config(cx, &vm).await?;
    check_eq!("the spec after an empty change", after.spec, before.spec);
    check_eq!("the revision after an empty change", after.revision, before.revision);
    Ok(())
}

/// Every field of a change is either in force or waits, and what waits is in the configuration's pending changes.
async fn running_guest_takes_it_or_says_what_waits(cx: &Context) -> Check {
    let vm = cx.running("a").await?;
    let outcome = update(cx, &vm, &VmChange::new().cpus(2).memory(ByteSize::mib(96))).await?;
    let config = config(cx, &vm).await?;
    for field in ["cpus", "memory"] {
        let applied = outcome.applied.iter().any(|name| name == field);
        let waits = outcome.pending.iter().any(|name| name == field);
        check!(
            applied != waits,
            "`{field}` has to be in force or wait, but not both or neither: {outcome:?}"
        );
        let listed = config.pending.iter().any(|change| change.field == field);
        check_eq!(format!("whether `{field}` is among the pending changes"), listed, waits);
    }
    let needs = if outcome.pending.is_empty() { RestartNeed::None } else { RestartNeed::PowerCycle };
    check_eq!("what the change needs", outcome.needs, needs);
    Ok(())
}

async fn what_waits_comes_with_a_power_cycle(cx: &Context) -> Check {
    let vm = cx.running("a").await?;
    update(cx, &vm, &VmChange::new().cpus(2).memory(ByteSize::mib(96))).await?;
    cx.power_off(&vm).await?;
    cx.start(&vm).await?;
    let after = config(cx, &vm).await?;
    check!(after.pending.is_empty(), "after a power cycle there wait {:?}", after.pending);
    check_eq!("CPUs and memory", (after.spec.cpus, after.spec.memory), (2, ByteSize::mib(96)));
    let info = cx.get(&vm).await?;
    check_eq!("CPUs and memory in the info", (info.cpus, info.memory), (Some(2), Some(ByteSize::mib(96))));
    Ok(())
}

async fn next_boot_leaves_the_running_guest_alone(cx: &Context) -> Check {
    let vm = cx.running("a").await?;
    let change = VmChange::new().cpus(2).apply(ApplyPolicy::NextBoot);
    let outcome = update(cx, &vm, &change).await?;
    check_eq!("what waits", outcome.pending, ["cpus"]);
    check_eq!("what the change needs", outcome.needs, RestartNeed::PowerCycle);
    let after = config(cx, &vm).await?;
    let pending: Vec<_> = after
        .pending
        .iter()
        .map(|change| (change.field.as_str(), change.current.as_deref(), change.pending.as_deref()))
        .collect();
    check_eq!("the pending changes", pending, [("cpus", Some("1"), Some("2"))]);
    Ok(())
}

async fn live_only_is_all_or_nothing(cx: &Context) -> Check {
    let vm = cx.running("a").await?;
    let change = VmChange::new().cpus(2).apply(ApplyPolicy::LiveOnly);
    match cx.done(cx.hv.update_vm(&vm, &change).await).await {
        Ok(outcome) => {
            check_eq!("what is in force", outcome.applied, ["cpus"]);
            check!(outcome.pending.is_empty(), "a live change waits: {:?}", outcome.pending);
            check_eq!("the CPUs of the running guest", cx.get(&vm).await?.cpus, Some(2));
        }
        refusal => {
            let error = refused("a live change that cannot be made", refusal, ErrorKind::InvalidState)?;
            names("a live change that cannot be made", &error, VmId::NOUN, &vm)?;
            let after = config(cx, &vm).await?;
            check!(after.pending.is_empty(), "after a refused live change there wait {:?}", after.pending);
            check_eq!("the CPUs", after.spec.cpus, 1);
        }
    }
    Ok(())
}

async fn another_revision_is_a_conflict(cx: &Context) -> Check {
    let vm = cx.vm("a").await?;
    let old = config(cx, &vm).await?.revision;
    let Some(old) = old else {
        return Err(crate::conformance::check::Stop::failed("the configuration has no revision to check"));
    };
    update(cx, &vm, &VmChange::new().cpus(2)).await?;
    check!(
        config(cx, &vm).await?.revision.as_ref() != Some(&old),
        "the revision stays though the CPUs change"
    );
    for revision in [old, Revision::new("never-was")] {
        let change = VmChange::new().cpus(3).if_revision(revision);
        let changed = cx.done(cx.hv.update_vm(&vm, &change).await).await;
        let error = refused("a change of another revision", changed, ErrorKind::Conflict)?;
        names("a change of another revision", &error, VmId::NOUN, &vm)?;
    }
    check_eq!("the CPUs", config(cx, &vm).await?.spec.cpus, 2);
    Ok(())
}

async fn present_revision_is_taken(cx: &Context) -> Check {
    let vm = cx.vm("a").await?;
    let mut change = VmChange::new().cpus(2);
    change.if_revision = config(cx, &vm).await?.revision;
    update(cx, &vm, &change).await?;
    check_eq!("the CPUs", config(cx, &vm).await?.spec.cpus, 2);
    Ok(())
}

async fn another_uid_is_a_conflict(cx: &Context) -> Check {
    let vm = cx.vm("a").await?;
    let Some(uid) = cx.get(&vm).await?.uid else {
        return Err(crate::conformance::check::Stop::skipped("the backend gives its guests no uid"));
    };
    let change = VmChange::new().cpus(2);
    let wrong = change.clone().expected_uid("00000000-0000-4000-8000-000000000001");
    let changed = cx.done(cx.hv.update_vm(&vm, &wrong).await).await;
    let error = refused("a change of a guest of another uid", changed, ErrorKind::Conflict)?;
    names("a change of a guest of another uid", &error, VmId::NOUN, &vm)?;
    check_eq!("the CPUs after the refusal", cx.get(&vm).await?.cpus, Some(1));
    update(cx, &vm, &change.expected_uid(uid)).await?;
    check_eq!("the CPUs", cx.get(&vm).await?.cpus, Some(2));
    Ok(())
}

async fn unknown_guest_is_not_found(cx: &Context) -> Check {
    let ghost = VmId::from(cx.name("ghost"));
    let changed = cx.hv.update_vm(&ghost, &VmChange::new().cpus(2)).await;
    refused_unknown("changing a guest that is not there", changed, VmId::NOUN, &ghost)
}
