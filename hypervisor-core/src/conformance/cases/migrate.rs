use super::table::area;
use crate::conformance::check::{Check, Stop, check_eq, refused_as, refused_unknown};
use crate::conformance::context::Context;
use crate::conformance::sweep::every;
use crate::error::ErrorKind::{HostUnreachable, InvalidInput, NotFound};
use crate::model::Feature::{LiveMigration, OfflineMigration};
use crate::model::{HostId, HostState, MigrateSpec, VmId, VmState};
use crate::operation::Operation::{CreateVm, ListHosts, MigrateVm, StartVm};

area! { "migrate":
    a_guest_does_not_move_to_an_unknown_host [CreateVm, MigrateVm, OfflineMigration];
    an_unknown_guest_does_not_move [MigrateVm, ListHosts];
    a_stopped_guest_moves [CreateVm, MigrateVm, ListHosts, OfflineMigration];
    a_running_guest_moves [CreateVm, MigrateVm, ListHosts, StartVm, LiveMigration];
}

async fn online(cx: &Context) -> Check<Vec<HostId>> {
    let all = every(|page| async move { cx.hv.list_hosts(&page).await }).await?;
    Ok(all.into_iter().filter(|host| host.state == HostState::Online).map(|host| host.id).collect())
}

/// A host that the guest is not on.
async fn other_host(cx: &Context, vm: &VmId) -> Check<HostId> {
    let here = cx.get(vm).await?.host;
    let elsewhere = |host: &HostId| here.as_ref() != Some(host);
    if let Some(host) = cx.settings.host.clone().filter(elsewhere) {
        return Ok(host);
    }
    let other = online(cx).await?.into_iter().find(elsewhere);
    other.ok_or_else(|| Stop::skipped("there is no second host to move to (HYPERVISOR_TEST_HOST)"))
}

async fn a_guest_does_not_move_to_an_unknown_host(cx: &Context) -> Check {
    let vm = cx.vm("vm").await?;
    let spec = MigrateSpec::to(cx.name("none"));
    let moved = cx.done(cx.hv.migrate_vm(&vm, &spec).await).await;
    refused_as("moving to an unknown host", moved, &[NotFound, InvalidInput, HostUnreachable])?;
    check_eq!("the guest's state", cx.state(&vm).await?, VmState::Stopped);
    Ok(())
}

async fn an_unknown_guest_does_not_move(cx: &Context) -> Check {
    let listed = || async { online(cx).await?.pop().ok_or_else(|| Stop::skipped("there is no host")) };
    let host = match &cx.settings.host {
        Some(host) => host.clone(),
        None => listed().await?,
    };
    let unknown = VmId::from(cx.name("none"));
    let moved = cx.done(cx.hv.migrate_vm(&unknown, &MigrateSpec::to(host)).await).await;
    if moved.as_ref().is_err_and(|error| error.fields().contains_key("host")) {
        return Err(Stop::skipped(
            "guests move to addresses here, not to hosts: HYPERVISOR_TEST_HOST not set",
        ));
    }
    refused_unknown("moving an unknown guest", moved, VmId::NOUN, &unknown)
}

async fn move_it(cx: &Context, vm: &VmId, live: bool) -> Check {
    let host = other_host(cx, vm).await?;
    let before = cx.get(vm).await?;
    let spec = MigrateSpec::to(host.clone()).live(live);
    cx.done(cx.hv.migrate_vm(vm, &spec).await).await?;
    let after = cx.get(vm).await?;
    check_eq!("the guest's host", after.host, Some(host));
    check_eq!("the guest's state", after.state, before.state);
    check_eq!("the guest's uid", after.uid, before.uid);
    Ok(())
}

async fn a_stopped_guest_moves(cx: &Context) -> Check {
    let vm = cx.vm("vm").await?;
    move_it(cx, &vm, false).await
}

async fn a_running_guest_moves(cx: &Context) -> Check {
    let vm = cx.vm("vm").await?;
    other_host(cx, &vm).await?;
    cx.start(&vm).await?;
    move_it(cx, &vm, true).await
}
