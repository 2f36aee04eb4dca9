//! Guests, listed and read.

use std::collections::HashMap;

use bytes::Bytes;
use hypervisor_core::model::{
    GuestKind, HostId, Page, PageRequest, Unreachable, VmConfig, VmId, VmInfo, VmQuery, VmState,
};
use hypervisor_core::{Error, ErrorKind, Operation, Result};

use crate::api::Call;
use crate::backend::{Found, Inner};
use crate::wire::compute::kind_path;
use crate::wire::config::{Config, decode, decode_pending, fill_in};
use crate::wire::form::{Form, segment, vmid};
use crate::wire::status;

/// The number as the key of a page: text sorts like the number.
fn key(vm: &VmInfo) -> String {
    format!("{:0>9}", vm.id)
}

/// The guests that the query wants: one request for the whole cluster, and one more for each host whose guests this process has just
/// changed, because the cluster's list is up to ten seconds old.
pub(crate) async fn list(inner: &Inner, query: &VmQuery, page: &PageRequest) -> Result<Page<VmInfo>> {
    let operation = Operation::ListVms;
    if let (Some(host), Some(kind)) = (&query.host, query.kind) {
        return of_host(inner, query, host, kind, page).await;
    }
    let (guests, mut unreachable) = everywhere(inner, operation).await?;
    if let Some(host) = &query.host {
        unreachable.retain(|known| known.host == *host);
    }
    let mut wanted = guests;
    wanted.retain(|vm| query.matches(vm));
    // An allocator may copy what it is to shrink: a little room to spare costs less.
    if wanted.capacity().saturating_sub(wanted.len()) > wanted.len() / 8 {
        wanted.shrink_to_fit();
    }
    let whole = page.limit.is_none() && page.cursor.is_none();
    // The cluster's list is in order already.
    let cut = if whole { Page::only(wanted) } else { Page::cut(wanted, page, key) };
    Ok(cut.with_unreachable(unreachable))
}

/// Every guest of the cluster, and the hosts that do not answer.
pub(crate) async fn everywhere(
    inner: &Inner,
    operation: Operation,
) -> Result<(Vec<VmInfo>, Vec<Unreachable>)> {
    let (view, mut guests) = inner.guests(operation).await?;
    let mut unreachable = view.unreachable.clone();
    // The cluster's own view is better than none.
    let _ = refresh(inner, operation, &mut guests, &mut unreachable).await;
    Ok((guests, unreachable))
}

/// Looks once more at guests that were changed so recently that the cluster's list may not show it. What a host is asked in vain is given back:
/// its guests are then as the cluster saw them last.
pub(crate) async fn refresh(
    inner: &Inner,
    operation: Operation,
    guests: &mut [VmInfo],
    unreachable: &mut Vec<Unreachable>,
) -> HashMap<VmId, Error> {
    let changed = inner.locator.changed();
    let stale = |vm: &VmInfo| {
        vm.state != VmState::Unreachable
            && (matches!(vm.state, VmState::Unknown(_))
                || (!changed.is_empty() && vmid(&vm.id).is_ok_and(|number| changed.contains(&number))))
    };
    let mut hosts: Vec<(HostId, GuestKind)> = Vec::new();
    for vm in guests.iter().filter(|vm| stale(vm)) {
        if let Some(place) =
            vm.host.clone().map(|host| (host, vm.kind)).filter(|place| !hosts.contains(place))
        {
            hosts.push(place);
        }
    }
    let looks = hosts.iter().map(|(host, kind)| rows(inner, operation, host, *kind));
    let mut old = HashMap::new();
    for ((host, kind), fresh) in hosts.iter().zip(futures::future::join_all(looks).await) {
        let error = match fresh {
            Ok(fresh) => {
                merge(guests, fresh);
                continue;
            }
            Err(error) => error,
        };
        if error.kind() == ErrorKind::HostUnreachable && !unreachable.iter().any(|known| known.host == *host)
        {
            unreachable.push(Unreachable::new(host, error.message()));
        }
        let there = |vm: &&VmInfo| vm.host.as_ref() == Some(host) && vm.kind == *kind && stale(vm);
        old.extend(guests.iter().filter(there).map(|vm| (vm.id.clone(), error.clone())));
    }
    inner.intents.mark(guests);
    old
}

/// What the node says counts; only the group stands in the cluster's list alone.
fn merge(guests: &mut [VmInfo], fresh: Vec<VmInfo>) {
    let mut fresh: HashMap<VmId, VmInfo> = fresh.into_iter().map(|vm| (vm.id.clone(), vm)).collect();
    for slot in guests {
        if let Some(mut seen) = fresh.remove(&slot.id) {
            seen.group = slot.group.take();
            *slot = seen;
        }
    }
}

/// The guests of one kind on a host, as it has them now. Without `paused` the server does not ask QEMU, and a paused guest runs.
pub(crate) async fn states(
    inner: &Inner,
    operation: Operation,
    host: &HostId,
    kind: GuestKind,
    paused: bool,
) -> Result<Vec<VmInfo>> {
    let path = format!("/nodes/{}/{}", segment("host", host.as_str())?, kind_path(kind));
    let mut call = Call::get(path).operation(operation);
    if paused && kind == GuestKind::Vm {
        call = call.query(Form::new().flag("full", true));
    }
    status::guests(&inner.api.bytes(&call).await?, kind, host.as_str())
}

async fn rows(inner: &Inner, operation: Operation, host: &HostId, kind: GuestKind) -> Result<Vec<VmInfo>> {
    states(inner, operation, host, kind, true).await
}

async fn of_host(
    inner: &Inner,
    query: &VmQuery,
    host: &HostId,
    kind: GuestKind,
    page: &PageRequest,
) -> Result<Page<VmInfo>> {
    let guests = match rows(inner, Operation::ListVms, host, kind).await {
        Ok(guests) => guests,
        Err(error) if error.kind() == ErrorKind::HostUnreachable => {
            let unreachable = vec![Unreachable::new(host, error.message())];
            return Ok(Page::only(Vec::new()).with_unreachable(unreachable));
        }
        Err(error) => return Err(crate::error::of_host(host)(error)),
    };
    if query.group.is_some() {
        // Only the cluster's list has the groups.
        inner.view(Operation::ListVms).await?;
    }
    let wanted = guests.into_iter().map(|mut vm| {
        vm.group = inner.locator.group(&vm.id);
        inner.intents.mark([&mut vm]);
        vm
    });
    Ok(Page::cut(wanted.filter(|vm| query.matches(vm)).collect(), page, key))
}

/// One guest: what it does, from its node, and what it is, from its configuration.
pub(crate) async fn get(inner: &Inner, operation: Operation, vm: &VmId) -> Result<VmInfo> {
    inner
        .on_guest(operation, vm, |found| async move {
            let (status, config) =
                futures::join!(current(inner, operation, &found), raw_config(inner, operation, &found));
            let mut info = status?;
            fill_in(&mut info, &Config::read(&config?, found.place.kind)?);
            complete(inner, operation, &mut info).await;
            Ok(info)
        })
        .await
}

/// What a guest does, in one request.
pub(crate) async fn state(inner: &Inner, operation: Operation, vm: &VmId) -> Result<VmInfo> {
    inner.on_guest(operation, vm, |found| async move { current(inner, operation, &found).await }).await
}

pub(crate) async fn current(inner: &Inner, operation: Operation, found: &Found) -> Result<VmInfo> {
    let call = Call::get(found.path("/status/current")?).operation(operation);
    let answer = inner.api.bytes(&call).await?;
    status::guest(&answer, found.place.kind, found.place.host.as_str())
}

/// A guest's configuration as the next start will see it.
pub(crate) async fn raw_config(inner: &Inner, operation: Operation, found: &Found) -> Result<Bytes> {
    inner.api.bytes(&Call::get(found.path("/config")?).operation(operation)).await
}

pub(crate) async fn raw_pending(inner: &Inner, operation: Operation, found: &Found) -> Result<Bytes> {
    inner.api.bytes(&Call::get(found.path("/pending")?).operation(operation)).await
}

/// A guest's whole configuration, with what waits.
pub(crate) async fn whole(inner: &Inner, operation: Operation, vm: &VmId) -> Result<VmConfig> {
    inner
        .on_guest(operation, vm, |found| async move {
            let (config, pending) =
                futures::join!(raw_config(inner, operation, &found), raw_pending(inner, operation, &found));
            let mut whole = decode(vm, &Config::read(&config?, found.place.kind)?);
            whole.pending = decode_pending(&pending?, found.place.kind)?;
            whole.spec.host = Some(found.place.host.clone());
            whole.spec.group = inner.locator.group(vm);
            Ok(whole)
        })
        .await
}

/// How old the look may be from which a guest's group is known: only the cluster's list has it.
const GROUPS: std::time::Duration = std::time::Duration::from_secs(60);

/// Adds what the answers about one guest do not say.
async fn complete(inner: &Inner, operation: Operation, vm: &mut VmInfo) {
    let now = tokio::time::Instant::now();
    // A guest without its group is better than none.
    let _ = inner.locator.view(&inner.api, operation, now.checked_sub(GROUPS).unwrap_or(now)).await;
    vm.group = inner.locator.group(&vm.id);
    inner.intents.mark([vm]);
}
