use crate::conformance::case::Case;
use crate::conformance::check::{
    Check, Stop, check, check_eq, names, refused, refused_field, refused_unknown,
};
use crate::conformance::context::Context;
use crate::error::ErrorKind;
use crate::model::{
    DeleteSnapshot, Feature, RevertSnapshot, SnapshotId, SnapshotSpec, SnapshotTree, VmChange, VmId, VmState,
};
use crate::operation::Operation;

pub(super) fn cases() -> Vec<Case> {
    use Operation::{
        CreateSnapshot, CreateVm, CreateVolume, DeleteSnapshot, GetSnapshot, ListSnapshots, PowerOffVm,
        RevertSnapshot, StartVm, UpdateVm,
    };
    // What every one of them needs: a guest with a disk.
    macro_rules! snapshots {
        ($run:ident $(, $need:expr)*) => {
            case!("snapshots", $run, [CreateVm, CreateVolume, CreateSnapshot, ListSnapshots $(, $need)*])
        };
    }
    vec![
        snapshots!(new_guest_has_none),
        snapshots!(snapshot_is_what_was_asked_for, GetSnapshot),
        snapshots!(snapshots_stand_on_one_another),
        snapshots!(taken_name_is_refused),
        snapshots!(bad_names_are_refused),
        snapshots!(revert_makes_it_current, RevertSnapshot),
        snapshots!(revert_brings_the_configuration_back, RevertSnapshot, UpdateVm),
        snapshots!(revert_of_a_running_guest_stops_it, RevertSnapshot, StartVm),
        snapshots!(revert_and_start_runs, RevertSnapshot, StartVm, Feature::RevertAndStart),
        snapshots!(running_guest_with_memory, StartVm, Feature::MemorySnapshot),
        snapshots!(
            revert_with_memory_runs_again,
            RevertSnapshot,
            StartVm,
            PowerOffVm,
            Feature::MemorySnapshot
        ),
        snapshots!(running_guest_without_memory, StartVm, Feature::DiskOnlySnapshot),
        snapshots!(deleted_snapshot_is_gone, DeleteSnapshot, GetSnapshot),
        snapshots!(children_of_a_deleted_one_get_its_parent, DeleteSnapshot),
        snapshots!(children_go_when_asked, DeleteSnapshot, Feature::SnapshotChildren),
        snapshots!(unknown_snapshot_is_not_found),
        case!("snapshots", unknown_guest_is_not_found, [ListSnapshots]),
    ]
}

/// A guest with a disk that can have snapshots.
async fn guest(cx: &Context) -> Check<VmId> {
    cx.create(&cx.spec("a").disk(cx.versatile_disk().await?)).await
}

async fn take(cx: &Context, vm: &VmId, spec: &SnapshotSpec) -> crate::Result<SnapshotId> {
    cx.done(cx.hv.create_snapshot(vm, spec).await).await
}

async fn named(cx: &Context, vm: &VmId, name: &str) -> Check<SnapshotId> {
    Ok(take(cx, vm, &SnapshotSpec::new(name)).await?)
}

async fn revert(cx: &Context, vm: &VmId, to: &SnapshotId) -> Check {
    Ok(cx.done(cx.hv.revert_snapshot(vm, to, &RevertSnapshot::new()).await).await?)
}

async fn delete(cx: &Context, vm: &VmId, snapshot: &SnapshotId, options: DeleteSnapshot) -> Check {
    Ok(cx.done(cx.hv.delete_snapshot(vm, snapshot, &options).await).await?)
}

async fn tree(cx: &Context, vm: &VmId) -> Check<SnapshotTree> {
    Ok(cx.hv.list_snapshots(vm).await?)
}

/// Each snapshot with its parent, parents first.
fn parents(tree: &SnapshotTree) -> Vec<(&str, Option<&str>)> {
    let mut pairs: Vec<_> =
        tree.iter().map(|item| (item.id.as_str(), item.parent.as_ref().map(SnapshotId::as_str))).collect();
    pairs.sort_unstable();
    pairs
}

fn current(tree: &SnapshotTree) -> Option<&str> {
    tree.current().map(|item| item.id.as_str())
}

async fn new_guest_has_none(cx: &Context) -> Check {
    let vm = guest(cx).await?;
    check!(tree(cx, &vm).await?.is_empty(), "a new guest has snapshots");
    Ok(())
}

async fn snapshot_is_what_was_asked_for(cx: &Context) -> Check {
    let vm = guest(cx).await?;
    let id = take(cx, &vm, &SnapshotSpec::new("one").description("before <it>")).await?;
    check_eq!("the id", id.as_str(), "one");
    let info = cx.hv.get_snapshot(&vm, &id).await?;
    check_eq!("the id that is read", info.id, id);
    check_eq!("the description", info.description.as_deref(), Some("before <it>"));
    check_eq!("the parent of the first", info.parent, None);
    check_eq!("whether it is the current one", info.current, true);
    check_eq!("whether a stopped guest's snapshot has its memory", info.memory, false);
    if let Some(state) = &info.state {
        check_eq!("the state that it was taken in", *state, VmState::Stopped);
    }
    let listed = tree(cx, &vm).await?;
    check_eq!("the snapshot in the list", listed.get(&id), Some(&info));
    Ok(())
}

async fn snapshots_stand_on_one_another(cx: &Context) -> Check {
    let vm = guest(cx).await?;
    for name in ["one", "two", "three"] {
        named(cx, &vm, name).await?;
    }
    let tree = tree(cx, &vm).await?;
    check_eq!("the tree", parents(&tree), [("one", None), ("three", Some("two")), ("two", Some("one"))]);
    check_eq!("the current one", current(&tree), Some("three"));
    let order: Vec<_> = tree.iter().map(|item| item.id.as_str()).collect();
    check_eq!("the order", order, ["one", "two", "three"]);
    Ok(())
}

async fn taken_name_is_refused(cx: &Context) -> Check {
    let vm = guest(cx).await?;
    named(cx, &vm, "one").await?;
    let second = take(cx, &vm, &SnapshotSpec::new("one")).await;
    let error = refused("a second snapshot of a name", second, ErrorKind::AlreadyExists)?;
    names("a second snapshot of a name", &error, SnapshotId::NOUN, "one")?;
    check_eq!("the number of snapshots", tree(cx, &vm).await?.len(), 1);
    Ok(())
}

async fn bad_names_are_refused(cx: &Context) -> Check {
    let vm = guest(cx).await?;
    for name in ["", "--children", "a b", "a/b", "<x>"] {
        let taken = take(cx, &vm, &SnapshotSpec::new(name)).await;
        refused_field(&format!("a snapshot called {name:?}"), taken, "name")?;
    }
    let text = SnapshotSpec::new("one").description("bell\u{7}");
    refused_field("a description with a control character", take(cx, &vm, &text).await, "description")?;
    check!(tree(cx, &vm).await?.is_empty(), "a refused snapshot is there");
    Ok(())
}

async fn revert_makes_it_current(cx: &Context) -> Check {
    let vm = guest(cx).await?;
    let one = named(cx, &vm, "one").await?;
    named(cx, &vm, "two").await?;
    revert(cx, &vm, &one).await?;
    let after = tree(cx, &vm).await?;
    check_eq!("the current one", current(&after), Some("one"));
    check_eq!("the number of snapshots", after.len(), 2);
    named(cx, &vm, "three").await?;
    let after = tree(cx, &vm).await?;
    check_eq!("the tree", parents(&after), [("one", None), ("three", Some("one")), ("two", Some("one"))]);
    Ok(())
}

async fn revert_brings_the_configuration_back(cx: &Context) -> Check {
    let vm = guest(cx).await?;
    let one = named(cx, &vm, "one").await?;
    cx.done(cx.hv.update_vm(&vm, &VmChange::new().cpus(2)).await).await?;
    check_eq!("the CPUs before the revert", cx.get(&vm).await?.cpus, Some(2));
    revert(cx, &vm, &one).await?;
    check_eq!("the CPUs after the revert", cx.get(&vm).await?.cpus, Some(1));
    Ok(())
}

async fn revert_of_a_running_guest_stops_it(cx: &Context) -> Check {
    let vm = guest(cx).await?;
    let one = named(cx, &vm, "one").await?;
    cx.start(&vm).await?;
    revert(cx, &vm, &one).await?;
    cx.wait_state(&vm, &VmState::Stopped).await
}

async fn revert_and_start_runs(cx: &Context) -> Check {
    let vm = guest(cx).await?;
    let one = named(cx, &vm, "one").await?;
    let options = RevertSnapshot::new().start(true);
    cx.done(cx.hv.revert_snapshot(&vm, &one, &options).await).await?;
    cx.wait_state(&vm, &VmState::Running).await
}

async fn running_guest_with_memory(cx: &Context) -> Check {
    let vm = guest(cx).await?;
    cx.start(&vm).await?;
    let id = take(cx, &vm, &SnapshotSpec::new("live").memory(true)).await?;
    cx.wait_state(&vm, &VmState::Running).await?;
    let tree = tree(cx, &vm).await?;
    let Some(info) = tree.get(&id) else { return Err(Stop::failed("the snapshot is not listed")) };
    check_eq!("whether it has the memory", info.memory, true);
    if let Some(state) = &info.state {
        check_eq!("the state that it was taken in", *state, VmState::Running);
    }
    Ok(())
}

async fn revert_with_memory_runs_again(cx: &Context) -> Check {
    let vm = guest(cx).await?;
    cx.start(&vm).await?;
    let id = take(cx, &vm, &SnapshotSpec::new("live").memory(true)).await?;
    cx.power_off(&vm).await?;
    revert(cx, &vm, &id).await?;
    cx.wait_state(&vm, &VmState::Running).await
}

async fn running_guest_without_memory(cx: &Context) -> Check {
    let vm = guest(cx).await?;
    cx.start(&vm).await?;
    let id = take(cx, &vm, &SnapshotSpec::new("disk").memory(false)).await?;
    check_eq!("the state after it", cx.state(&vm).await?, VmState::Running);
    let tree = tree(cx, &vm).await?;
    check_eq!("whether it has the memory", tree.get(&id).map(|info| info.memory), Some(false));
    Ok(())
}

async fn deleted_snapshot_is_gone(cx: &Context) -> Check {
    let vm = guest(cx).await?;
    let one = named(cx, &vm, "one").await?;
    delete(cx, &vm, &one, DeleteSnapshot::only()).await?;
    check!(tree(cx, &vm).await?.is_empty(), "a deleted snapshot is still listed");
    let read = cx.hv.get_snapshot(&vm, &one).await;
    refused_unknown("reading a deleted snapshot", read, SnapshotId::NOUN, &one)?;
    let again = cx.done(cx.hv.delete_snapshot(&vm, &one, &DeleteSnapshot::only()).await).await;
    refused_unknown("deleting it twice", again, SnapshotId::NOUN, &one)
}

async fn children_of_a_deleted_one_get_its_parent(cx: &Context) -> Check {
    let vm = guest(cx).await?;
    for name in ["one", "two", "three"] {
        named(cx, &vm, name).await?;
    }
    delete(cx, &vm, &SnapshotId::from("two"), DeleteSnapshot::only()).await?;
    let after = tree(cx, &vm).await?;
    check_eq!("the tree", parents(&after), [("one", None), ("three", Some("one"))]);
    check_eq!("the current one", current(&after), Some("three"));
    Ok(())
}

async fn children_go_when_asked(cx: &Context) -> Check {
    let vm = guest(cx).await?;
    for name in ["one", "two", "three"] {
        named(cx, &vm, name).await?;
    }
    delete(cx, &vm, &SnapshotId::from("two"), DeleteSnapshot::with_children()).await?;
    let after = tree(cx, &vm).await?;
    check_eq!("the tree", parents(&after), [("one", None)]);
    Ok(())
}

async fn unknown_snapshot_is_not_found(cx: &Context) -> Check {
    let vm = guest(cx).await?;
    let ghost = SnapshotId::from("ghost");
    if cx.has(Operation::GetSnapshot) {
        let read = cx.hv.get_snapshot(&vm, &ghost).await;
        refused_unknown("reading a snapshot that is not there", read, SnapshotId::NOUN, &ghost)?;
    }
    if cx.has(Operation::RevertSnapshot) {
        let reverted = cx.done(cx.hv.revert_snapshot(&vm, &ghost, &RevertSnapshot::new()).await).await;
        refused_unknown("reverting to a snapshot that is not there", reverted, SnapshotId::NOUN, &ghost)?;
    }
    if cx.has(Operation::DeleteSnapshot) {
        let deleted = cx.done(cx.hv.delete_snapshot(&vm, &ghost, &DeleteSnapshot::only()).await).await;
        refused_unknown("deleting a snapshot that is not there", deleted, SnapshotId::NOUN, &ghost)?;
    }
    Ok(())
}

async fn unknown_guest_is_not_found(cx: &Context) -> Check {
    let ghost = VmId::from(cx.name("ghost"));
    let listed = cx.hv.list_snapshots(&ghost).await;
    refused_unknown("the snapshots of a guest that is not there", listed, VmId::NOUN, &ghost)?;
    if cx.has(Operation::CreateSnapshot) {
        let taken = take(cx, &ghost, &SnapshotSpec::new("one")).await;
        refused_unknown("a snapshot of a guest that is not there", taken, VmId::NOUN, &ghost)?;
    }
    Ok(())
}
