//! Starts that the server makes at the end of another task: as tasks of their own, about which the first one says nothing.

use hypervisor_core::model::{GuestKind, TaskId, TaskInfo, VmId};
use hypervisor_core::{Operation, Result};

use super::list;
use crate::api::Call;
use crate::backend::{Found, Inner};
use crate::tasks::chain::Link;
use crate::upid::Upid;
use crate::wire::form::{Form, segment};
use crate::wire::task;

/// How many of a guest's tasks are looked at.
const LOOKED_AT: u64 = 50;

/// Sees the start through that a create, a restore or a rollback was told to make: `after` is its task, which ends well before the start
/// does, and also where the start fails.
pub(crate) async fn by_server(
    inner: &Inner,
    link: &Link,
    operation: Operation,
    found: &Found,
    after: Option<&TaskId>,
) -> Result<()> {
    let begun = begun(inner, operation, found, after).await?;
    if begun.is_some() {
        inner.locator.touch(&VmId::from(found.number.to_string()));
        return link.follow(inner, "starting it", begun).await;
    }
    if list::current(inner, operation, found).await?.state.is_active() {
        return Ok(());
    }
    // A release that does not start it by itself.
    now(inner, link, found, "starting it").await
}

/// Starts a guest as a step of a chain.
pub(crate) async fn now(inner: &Inner, link: &Link, found: &Found, what: &str) -> Result<()> {
    link.checkpoint()?;
    let call = Call::post(found.path("/status/start")?, Form::new()).operation(Operation::StartVm);
    let task = inner.api.task(&call).await?;
    inner.locator.touch(&VmId::from(found.number.to_string()));
    link.follow(inner, what, task).await
}

/// The latest start of a guest that was begun after a task; where that is not known, one that goes on.
async fn begun(
    inner: &Inner,
    operation: Operation,
    found: &Found,
    after: Option<&TaskId>,
) -> Result<Option<TaskId>> {
    let after = after.and_then(|task| Upid::try_from(task).ok());
    let kind = if found.place.kind == GuestKind::Container { "vzstart" } else { "qmstart" };
    let form = Form::new()
        .number("vmid", found.number.into())
        .text("source", "all")
        .text("typefilter", kind)
        .number("limit", LOOKED_AT);
    let path = format!("/nodes/{}/tasks", segment("host", found.place.host.as_str())?);
    let call = Call::get(path).query(form).operation(operation);
    let (tasks, _) = task::tasks(&inner.api.bytes(&call).await?)?;
    let start = |info: TaskInfo| Some((Upid::try_from(&info.id).ok()?, info));
    let fits = |(upid, info): &(Upid, TaskInfo)| match &after {
        Some(after) => is_after(upid, after),
        None => !info.state.is_final(),
    };
    let latest = tasks.into_iter().filter_map(start).filter(fits);
    let latest = latest.max_by_key(|(upid, _)| (upid.started(), upid.process_start()));
    Ok(latest.map(|(_, info)| info.id))
}

/// Seconds alone do not tell tasks apart that follow each other quickly; on one node, the kernel's ticks do.
fn is_after(upid: &Upid, other: &Upid) -> bool {
    let ticks = upid.node() != other.node() || upid.process_start() >= other.process_start();
    upid.started() > other.started() || (upid.started() == other.started() && ticks)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn within_a_second_the_ticks_tell_which_start_is_meant() {
        let upid = |node: &str, ticks, second| {
            Upid::new(node, 7, ticks, second, "qmstart", "100", "root@pam").unwrap()
        };
        let restore = upid("pve1", 500, 1000);
        assert!(!is_after(&upid("pve1", 499, 1000), &restore), "a start before it");
        assert!(is_after(&upid("pve1", 500, 1000), &restore));
        assert!(is_after(&upid("pve1", 20, 1001), &restore), "the node has come up anew");
        assert!(is_after(&upid("pve2", 20, 1000), &restore), "another node's ticks say nothing");
        assert!(!is_after(&upid("pve2", 900, 999), &restore));
    }
}
