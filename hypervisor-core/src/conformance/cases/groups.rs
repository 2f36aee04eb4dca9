use super::table::area;
use crate::conformance::check::{Check, check, check_eq, names, refused, refused_field, refused_unknown};
use crate::conformance::context::{Context, Made};
use crate::conformance::sweep::every;
use crate::error::ErrorKind::{AlreadyExists, InvalidState};
use crate::model::{GroupChange, GroupId, GroupSpec, VmId, VmQuery};
use crate::operation::Operation::{CreateGroup, CreateVm, DeleteGroup, GetGroup, ListGroups, UpdateGroup};

area! { "groups":
    a_group_is_created_and_listed [CreateGroup, GetGroup, ListGroups];
    a_group_has_its_name_alone [CreateGroup];
    a_group_of_a_bad_name_is_refused [CreateGroup];
    a_guest_joins_and_leaves_a_group [CreateVm, CreateGroup, GetGroup, UpdateGroup];
    a_guest_is_created_in_a_group [CreateVm, CreateGroup, GetGroup];
    an_unknown_guest_does_not_join_a_group [CreateGroup, GetGroup, UpdateGroup];
    a_group_with_members_is_not_deleted [CreateVm, CreateGroup, GetGroup, UpdateGroup, DeleteGroup];
    a_deleted_group_is_gone [CreateGroup, GetGroup, DeleteGroup];
    an_unknown_group_is_not_changed [UpdateGroup];
}

async fn group(cx: &Context) -> Check<GroupId> {
    let started = cx.hv.create_group(&GroupSpec::new(cx.name("group")).description("a group")).await?;
    cx.keep(Made::Group(started.output.clone()));
    Ok(cx.done(Ok(started)).await?)
}

async fn members(cx: &Context, group: &GroupId) -> Check<Vec<VmId>> {
    Ok(cx.hv.get_group(group).await?.vms)
}

async fn a_group_is_created_and_listed(cx: &Context) -> Check {
    let group = group(cx).await?;
    let info = cx.hv.get_group(&group).await?;
    check_eq!("its id", info.id, group);
    check_eq!("its description", info.description.as_deref(), Some("a group"));
    check_eq!("its members", info.vms, Vec::new());
    let all = every(|page| async move { cx.hv.list_groups(&page).await }).await?;
    check!(all.iter().any(|each| each.id == group), "group `{group}` is not in the list");
    Ok(())
}

async fn a_group_has_its_name_alone(cx: &Context) -> Check {
    let group = group(cx).await?;
    let again = cx.done(cx.hv.create_group(&GroupSpec::new(cx.name("group"))).await).await;
    let error = refused("a group of a name that is taken", again, AlreadyExists)?;
    names("a group of a name that is taken", &error, GroupId::NOUN, &group)
}

async fn a_group_of_a_bad_name_is_refused(cx: &Context) -> Check {
    for bad in ["", "--all", "a b"] {
        let made = cx.hv.create_group(&GroupSpec::new(bad)).await;
        refused_field(&format!("a group of the name {bad:?}"), made, "name")?;
    }
    Ok(())
}

async fn change(cx: &Context, group: &GroupId, change: GroupChange) -> Check {
    Ok(cx.done(cx.hv.update_group(group, &change).await).await?)
}

async fn a_guest_joins_and_leaves_a_group(cx: &Context) -> Check {
    let (group, vm) = (group(cx).await?, cx.vm("vm").await?);
    change(cx, &group, GroupChange::new().add_vms(vec![vm.clone()])).await?;
    check_eq!("the members", members(cx, &group).await?, vec![vm.clone()]);
    check_eq!("the guest's group", cx.get(&vm).await?.group, Some(group.clone()));
    let found = cx.vms(&VmQuery::all().group(&group)).await?;
    check_eq!("the number of guests in the group's list", found.len(), 1);
    change(cx, &group, GroupChange::new().remove_vms(vec![vm.clone()])).await?;
    check_eq!("the members afterwards", members(cx, &group).await?, Vec::new());
    check_eq!("the guest's group afterwards", cx.get(&vm).await?.group, None);
    Ok(())
}

async fn a_guest_is_created_in_a_group(cx: &Context) -> Check {
    let group = group(cx).await?;
    let vm = cx.create(&cx.spec("vm").group(&group)).await?;
    check_eq!("the members", members(cx, &group).await?, vec![vm]);
    Ok(())
}

async fn an_unknown_guest_does_not_join_a_group(cx: &Context) -> Check {
    let group = group(cx).await?;
    let unknown = VmId::from(cx.name("none"));
    let joined = cx.hv.update_group(&group, &GroupChange::new().add_vms(vec![unknown.clone()])).await;
    refused_unknown("adding an unknown guest", cx.done(joined).await, VmId::NOUN, &unknown)?;
    check_eq!("the members", members(cx, &group).await?, Vec::new());
    Ok(())
}

async fn a_group_with_members_is_not_deleted(cx: &Context) -> Check {
    let (group, vm) = (group(cx).await?, cx.vm("vm").await?);
    change(cx, &group, GroupChange::new().add_vms(vec![vm.clone()])).await?;
    let deleted = cx.done(cx.hv.delete_group(&group).await).await;
    refused("deleting a group with members", deleted, InvalidState)?;
    check_eq!("the members", members(cx, &group).await?, vec![vm]);
    Ok(())
}

async fn a_deleted_group_is_gone(cx: &Context) -> Check {
    let group = group(cx).await?;
    cx.done(cx.hv.delete_group(&group).await).await?;
    refused_unknown("reading a deleted group", cx.hv.get_group(&group).await, GroupId::NOUN, &group)?;
    let again = cx.done(cx.hv.delete_group(&group).await).await;
    refused_unknown("deleting a group twice", again, GroupId::NOUN, &group)
}

async fn an_unknown_group_is_not_changed(cx: &Context) -> Check {
    let unknown = GroupId::from(cx.name("none"));
    let changed = cx.hv.update_group(&unknown, &GroupChange::new().description("new")).await;
    refused_unknown("changing an unknown group", cx.done(changed).await, GroupId::NOUN, &unknown)
}
