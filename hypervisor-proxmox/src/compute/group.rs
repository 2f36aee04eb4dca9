//! Resource groups, which Proxmox calls pools.

use hypervisor_core::model::{GroupChange, GroupId, GroupInfo, GroupSpec, Page, PageRequest, Started};
use hypervisor_core::{Error, ErrorKind, Operation, Result};

use crate::api::Call;
use crate::backend::Inner;
use crate::wire::form::{Form, segment};
use crate::wire::pool;

fn path(group: &GroupId) -> Result<String> {
    // Groups within groups have a slash in their names, which no path takes.
    Ok(format!("/pools/{}", segment("group", group.as_str())?))
}

/// A group within a group.
fn is_nested(group: &GroupId) -> bool {
    group.as_str().contains('/')
}

/// The query that names a group, whose own path is deprecated since it cannot have a slash in it.
fn named(group: &GroupId) -> Form {
    Form::new().text("poolid", group.as_str())
}

pub(crate) async fn list(inner: &Inner, page: &PageRequest) -> Result<Page<GroupInfo>> {
    let call = Call::get("/pools").operation(Operation::ListGroups);
    let groups = pool::groups(&inner.api.bytes(&call).await?)?;
    Ok(Page::cut(groups, page, |group| group.id.to_string()))
}

pub(crate) async fn get(inner: &Inner, group: &GroupId) -> Result<GroupInfo> {
    if is_nested(group) {
        let call = Call::get("/pools").query(named(group)).operation(Operation::GetGroup);
        let found = pool::groups(&inner.api.bytes(&call).await.map_err(of(group))?)?;
        return found.into_iter().find(|found| found.id == *group).ok_or_else(|| group.not_found());
    }
    let call = Call::get(path(group)?).operation(Operation::GetGroup);
    let answer = inner.api.bytes(&call).await.map_err(of(group))?;
    pool::group(&answer, group.as_str())?.ok_or_else(|| group.not_found())
}

pub(crate) async fn create(inner: &Inner, spec: &GroupSpec) -> Result<Started<GroupId>> {
    let group = GroupId::from(spec.name.as_str());
    let call = Call::post("/pools", pool::create(spec)?).operation(Operation::CreateGroup);
    inner.api.bytes(&call).await.map_err(|error| match error.kind() {
        ErrorKind::AlreadyExists => crate::error::again(&error, Error::already_exists(GroupId::NOUN, &group)),
        _ => error,
    })?;
    Ok(Started::done(group))
}

pub(crate) async fn update(inner: &Inner, group: &GroupId, change: &GroupChange) -> Result<Started<()>> {
    let operation = Operation::UpdateGroup;
    change.validate()?;
    // The server adds numbers that no guest has, and forgets them again.
    for vm in &change.add_vms {
        inner.find(operation, vm).await?;
    }
    for (step, form) in pool::update(change)?.into_iter().enumerate() {
        let call = if is_nested(group) {
            Call::put("/pools", form.text("poolid", group.as_str()))
        } else {
            Call::put(path(group)?, form)
        };
        let call = call.operation(operation);
        let done = inner.api.bytes(&call).await.map_err(of(group));
        done.map_err(|error| if step > 0 { error.after_part() } else { error })?;
    }
    for vm in &change.add_vms {
        inner.locator.learn_group(vm, Some(group.clone()));
    }
    for vm in &change.remove_vms {
        inner.locator.learn_group(vm, None);
    }
    Ok(Started::done(()))
}

pub(crate) async fn delete(inner: &Inner, group: &GroupId) -> Result<Started<()>> {
    let call = if is_nested(group) {
        Call::delete("/pools", named(group))
    } else {
        Call::delete(path(group)?, Form::new())
    };
    let call = call.operation(Operation::DeleteGroup);
    inner.api.bytes(&call).await.map_err(of(group))?;
    Ok(Started::done(()))
}

/// The server says of a group that it does not exist in several ways.
fn of(group: &GroupId) -> impl Fn(Error) -> Error + use<'_> {
    move |error| {
        let about_it = error.target().is_none_or(|target| target.starts_with(GroupId::NOUN));
        if error.is_not_found() && about_it {
            crate::error::again(&error, group.not_found())
        } else {
            error.with_target(GroupId::NOUN, group)
        }
    }
}
