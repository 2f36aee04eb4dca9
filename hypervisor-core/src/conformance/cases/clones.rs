use super::table::area;
use crate::conformance::check::{Check, check, check_eq, names, refused_field, refused_unknown};
use crate::conformance::context::{Context, Made};
use crate::error::ErrorKind::{AlreadyExists, InvalidState, NotFound};
use crate::model::Feature::{CloneRunning, CloneSnapshot, FullClone, LinkedClone};
use crate::model::{CloneMany, CloneSpec, SnapshotId, SnapshotSpec, TemplateSpec, VmId, VmQuery, VmState};
use crate::operation::Operation::{
    CloneVm, CloneVms, CreateSnapshot, CreateTemplate, CreateVm, CreateVolume, GetVmConfig, GetVolume,
    StartVm,
};

area! { "clones":
    a_clone_is_another_guest [CreateVm, CloneVm, FullClone];
    a_clone_is_like_its_original [CreateVm, CloneVm, FullClone];
    a_clone_has_its_own_volume [CreateVm, CloneVm, FullClone, GetVmConfig, CreateVolume, GetVolume];
    a_clone_has_its_own_address [CreateVm, CloneVm, FullClone, GetVmConfig];
    a_clone_starts_when_asked [CreateVm, CloneVm, FullClone, StartVm];
    a_linked_clone_starts_from_the_original [CreateVm, CloneVm, LinkedClone, GetVmConfig, CreateVolume, GetVolume];
    a_running_guest_is_cloned [CreateVm, CloneVm, FullClone, CloneRunning, StartVm];
    a_snapshot_is_cloned [CreateVm, CloneVm, FullClone, CloneSnapshot, CreateSnapshot, GetVmConfig, CreateVolume];
    an_unknown_snapshot_is_not_cloned [CreateVm, CloneVm, FullClone, CloneSnapshot, CreateSnapshot];
    a_clone_of_a_bad_name_is_refused [CreateVm, CloneVm, FullClone];
    a_clone_of_a_taken_name_is_refused_or_another [CreateVm, CloneVm, FullClone];
    an_unknown_guest_is_not_cloned [CloneVm, FullClone];
    many_clones_are_numbered [CreateVm, CloneVm, CloneVms, FullClone];
    no_clones_are_refused [CreateVm, CloneVms, FullClone];
}

async fn clone(cx: &Context, vm: &VmId, spec: &CloneSpec) -> Check<VmId> {
    cx.adopt(cx.hv.clone_vm(vm, spec).await).await
}

async fn a_clone_is_another_guest(cx: &Context) -> Check {
    let vm = cx.vm("vm").await?;
    let copy = clone(cx, &vm, &CloneSpec::new(cx.name("copy"))).await?;
    check!(copy != vm, "the clone has the id of the original, `{vm}`");
    let (original, copy) = (cx.get(&vm).await?, cx.get(&copy).await?);
    check_eq!("the clone's name", copy.name, cx.name("copy"));
    check_eq!("the original's name", original.name, cx.name("vm"));
    check!(original.uid.is_none() || copy.uid != original.uid, "both have the uid {:?}", copy.uid);
    check_eq!("the clone's state", copy.state, VmState::Stopped);
    check!(!copy.template, "the clone is a template");
    Ok(())
}

async fn a_clone_is_like_its_original(cx: &Context) -> Check {
    let vm = cx.create(&cx.spec("vm").cpus(2)).await?;
    let copy = clone(cx, &vm, &CloneSpec::new(cx.name("copy"))).await?;
    let (original, copy) = (cx.get(&vm).await?, cx.get(&copy).await?);
    check_eq!("the clone's number of CPUs", copy.cpus, original.cpus);
    check_eq!("the clone's memory", copy.memory, original.memory);
    Ok(())
}

async fn with_disk(cx: &Context) -> Check<VmId> {
    cx.create(&cx.spec("vm").disk(cx.small_disk().await?)).await
}

async fn a_clone_has_its_own_volume(cx: &Context) -> Check {
    let vm = with_disk(cx).await?;
    let copy = clone(cx, &vm, &CloneSpec::new(cx.name("copy"))).await?;
    let (original, copy) = (cx.disk(&vm).await?, cx.disk(&copy).await?);
    check!(copy.volume.is_some(), "the clone's disk names no volume");
    check!(copy.volume != original.volume, "both use the volume {:?}", copy.volume);
    check_eq!("the capacity of the copy", copy.capacity, original.capacity);
    if let Some(volume) = &copy.volume {
        check_eq!("what the copy starts from", cx.volume_info(volume).await?.backing, None);
    }
    Ok(())
}

async fn a_clone_has_its_own_address(cx: &Context) -> Check {
    let vm = cx.create(&cx.spec("vm").nic(cx.plug().await?)).await?;
    let copy = clone(cx, &vm, &CloneSpec::new(cx.name("copy"))).await?;
    let (original, copy) = (cx.nic(&vm).await?, cx.nic(&copy).await?);
    check!(copy.mac.is_some(), "the clone's NIC has no MAC address");
    check!(copy.mac != original.mac, "both have the MAC address {:?}", copy.mac);
    check_eq!("what the clone is plugged into", copy.source, original.source);
    Ok(())
}

async fn a_clone_starts_when_asked(cx: &Context) -> Check {
    let vm = cx.vm("vm").await?;
    let copy = clone(cx, &vm, &CloneSpec::new(cx.name("copy")).start(true)).await?;
    cx.wait_state(&copy, &VmState::Running).await?;
    check_eq!("the original's state", cx.state(&vm).await?, VmState::Stopped);
    Ok(())
}

async fn a_linked_clone_starts_from_the_original(cx: &Context) -> Check {
    let vm = with_disk(cx).await?;
    let spec = CloneSpec::new(cx.name("copy")).linked(true);
    let copy = match cx.hv.clone_vm(&vm, &spec).await {
        // Some backends share the disks of templates only.
        Err(error) if error.kind() == InvalidState && cx.has(CreateTemplate) => {
            cx.done(cx.hv.create_template(&vm, &TemplateSpec::in_place()).await).await?;
            clone(cx, &vm, &spec).await?
        }
        other => cx.adopt(other).await?,
    };
    let (original, copy) = (cx.disk(&vm).await?, cx.disk(&copy).await?);
    check!(copy.volume != original.volume, "both use the volume {:?}", copy.volume);
    let Some(volume) = &copy.volume else { return Ok(()) };
    let backing = cx.volume_info(volume).await?.backing;
    check!(backing.is_some(), "volume `{volume}` of the linked clone starts from nothing");
    Ok(())
}

async fn a_running_guest_is_cloned(cx: &Context) -> Check {
    let vm = cx.running("vm").await?;
    let copy = clone(cx, &vm, &CloneSpec::new(cx.name("copy"))).await?;
    check_eq!("the clone's state", cx.state(&copy).await?, VmState::Stopped);
    check_eq!("the original's state", cx.state(&vm).await?, VmState::Running);
    Ok(())
}

async fn a_snapshot_is_cloned(cx: &Context) -> Check {
    // A format that has snapshots on every kind of pool.
    let vm = cx.create(&cx.spec("vm").disk(cx.versatile_disk().await?)).await?;
    let taken = cx.hv.create_snapshot(&vm, &SnapshotSpec::new("before")).await;
    let snapshot = cx.done(taken).await?;
    let copy = clone(cx, &vm, &CloneSpec::new(cx.name("copy")).snapshot(snapshot)).await?;
    let (original, copy) = (cx.disk(&vm).await?, cx.disk(&copy).await?);
    check!(copy.volume != original.volume, "both use the volume {:?}", copy.volume);
    check_eq!("the capacity of the copy", copy.capacity, original.capacity);
    Ok(())
}

async fn an_unknown_snapshot_is_not_cloned(cx: &Context) -> Check {
    let vm = cx.vm("vm").await?;
    let spec = CloneSpec::new(cx.name("copy")).snapshot("none");
    let cloned = cx.done(cx.hv.clone_vm(&vm, &spec).await).await;
    refused_unknown("cloning an unknown snapshot", cloned, SnapshotId::NOUN, "none")?;
    no_copy(cx).await
}

/// That there is nothing of the name that a refused clone would have had.
async fn no_copy(cx: &Context) -> Check {
    let left = cx.vms(&VmQuery::all().name(cx.name("copy"))).await?;
    check!(left.is_empty(), "a clone was refused, but left behind {left:?}");
    Ok(())
}

async fn a_clone_of_a_bad_name_is_refused(cx: &Context) -> Check {
    let vm = cx.vm("vm").await?;
    for bad in ["", "--all", "a/b"] {
        let cloned = cx.hv.clone_vm(&vm, &CloneSpec::new(bad)).await;
        refused_field(&format!("a clone of the name {bad:?}"), cloned, "name")?;
    }
    Ok(())
}

async fn a_clone_of_a_taken_name_is_refused_or_another(cx: &Context) -> Check {
    let vm = cx.vm("vm").await?;
    match cx.adopt_or_refused(cx.hv.clone_vm(&vm, &CloneSpec::new(cx.name("vm"))).await).await {
        Ok(copy) => check!(copy != vm, "the clone has the id of the original, `{vm}`"),
        Err(error) => {
            check_eq!(format!("the kind of `{error}`"), error.kind(), AlreadyExists);
            names("a clone of a name that is taken", &error, VmId::NOUN, cx.name("vm"))?;
        }
    }
    check_eq!("the original's name", cx.get(&vm).await?.name, cx.name("vm"));
    Ok(())
}

async fn an_unknown_guest_is_not_cloned(cx: &Context) -> Check {
    let unknown = VmId::from(cx.name("none"));
    let cloned = cx.done(cx.hv.clone_vm(&unknown, &CloneSpec::new(cx.name("copy"))).await).await;
    refused_unknown("cloning an unknown guest", cloned, VmId::NOUN, &unknown)?;
    if !cx.has(CloneVms) {
        return Ok(());
    }
    let report = cx.hv.clone_vms(&unknown, &CloneMany::new(cx.name("copy"), 2)).await;
    let error = match report {
        Ok(report) => report.outcomes.iter().find_map(|outcome| outcome.error()).cloned(),
        Err(error) => Some(error),
    };
    let kind = error.map(|error| error.kind());
    check_eq!("the error of many clones of an unknown guest", kind, Some(NotFound));
    Ok(())
}

async fn many_clones_are_numbered(cx: &Context) -> Check {
    let vm = cx.vm("vm").await?;
    let report = cx.hv.clone_vms(&vm, &CloneMany::new(cx.name("copy"), 3)).await?;
    report.vms().for_each(|copy| cx.keep(Made::Vm(copy.clone())));
    let report = report.into_result()?;
    let mut found = Vec::new();
    for copy in report.vms() {
        found.push(cx.get(copy).await?.name);
    }
    check_eq!("the names of the clones", found, [1, 2, 3].map(|n| cx.name(&format!("copy-{n}"))));
    Ok(())
}

async fn no_clones_are_refused(cx: &Context) -> Check {
    let vm = cx.vm("vm").await?;
    let none = cx.hv.clone_vms(&vm, &CloneMany::new(cx.name("copy"), 0)).await;
    refused_field("no clones at all", none, "count")?;
    let unnamed = cx.hv.clone_vms(&vm, &CloneMany::new("--copy", 2)).await;
    refused_field("clones of a bad name", unnamed, "prefix")
}
