use super::table::area;
use crate::conformance::check::{Check, check, check_eq, refused_as, refused_field, refused_unknown};
use crate::conformance::context::Context;
use crate::error::ErrorKind::{AlreadyExists, Conflict, InvalidInput};
use crate::model::Feature::HotplugNic;
use crate::model::{MacAddr, NetworkId, NicChange, NicId, NicSource, NicSpec, VmId};
use crate::operation::Operation::{
    AttachNic, CreateVm, DetachNic, GetVmConfig, ListNetworks, StartVm, UpdateNic,
};

area! { "nics":
    a_nic_has_an_address [CreateVm, GetVmConfig];
    a_given_address_is_kept [CreateVm, GetVmConfig];
    two_nics_have_two_addresses [CreateVm, GetVmConfig];
    an_address_given_twice_is_refused [CreateVm];
    an_unknown_network_is_refused [CreateVm, ListNetworks];
    a_nic_is_attached_cold [CreateVm, GetVmConfig, AttachNic];
    a_nic_is_detached_cold [CreateVm, GetVmConfig, DetachNic];
    an_address_in_use_is_not_attached [CreateVm, GetVmConfig, AttachNic];
    an_unknown_network_is_not_attached [CreateVm, GetVmConfig, AttachNic];
    a_nic_is_plugged_into_a_bridge [CreateVm, GetVmConfig] {Bridge};
    a_link_goes_down_and_up [CreateVm, GetVmConfig, UpdateNic];
    an_unknown_nic_is_not_changed [CreateVm, UpdateNic];
    an_unknown_nic_is_not_detached [CreateVm, DetachNic];
    a_nic_is_attached_to_a_running_guest [CreateVm, GetVmConfig, AttachNic, StartVm, HotplugNic];
    a_link_goes_down_under_a_running_guest [CreateVm, GetVmConfig, UpdateNic, StartVm, HotplugNic];
    a_nic_is_detached_from_a_running_guest [CreateVm, GetVmConfig, AttachNic, DetachNic, StartVm, HotplugNic];
}

fn address(cx: &Context) -> MacAddr {
    MacAddr::qemu(cx.seed())
}

async fn with_nic(cx: &Context) -> Check<VmId> {
    cx.create(&cx.spec("vm").nic(cx.plug().await?)).await
}

async fn a_nic_has_an_address(cx: &Context) -> Check {
    let spec = cx.plug().await?;
    let vm = cx.create(&cx.spec("vm").nic(spec.clone())).await?;
    let nic = cx.nic(&vm).await?;
    check!(nic.mac.is_some(), "the NIC has no MAC address");
    check_eq!("what it is plugged into", nic.source, spec.source);
    check!(!nic.link_down, "the link is down");
    Ok(())
}

async fn a_given_address_is_kept(cx: &Context) -> Check {
    let vm = cx.create(&cx.spec("vm").nic(cx.plug().await?.mac(address(cx)))).await?;
    check_eq!("its MAC address", cx.nic(&vm).await?.mac, Some(address(cx)));
    Ok(())
}

async fn two_nics_have_two_addresses(cx: &Context) -> Check {
    let spec = cx.plug().await?;
    let vm = cx.create(&cx.spec("vm").nic(spec.clone()).nic(spec)).await?;
    let nics = cx.config(&vm).await?.nics;
    check_eq!("the number of NICs", nics.len(), 2);
    let [first, second] = nics.as_slice() else { return Ok(()) };
    check!(first.mac != second.mac, "both NICs have the address {:?}", first.mac);
    check!(first.id != second.id, "both NICs have the id `{}`", first.id);
    Ok(())
}

async fn a_nic_is_plugged_into_a_bridge(cx: &Context) -> Check {
    let bridge = cx.settings.bridge.as_deref().unwrap_or_default();
    let vm = cx.create(&cx.spec("vm").nic(NicSpec::bridge(bridge))).await?;
    check_eq!("what it is plugged into", cx.nic(&vm).await?.source, NicSource::Bridge(bridge.to_owned()));
    Ok(())
}

async fn an_address_given_twice_is_refused(cx: &Context) -> Check {
    let spec = cx.plug().await?.mac(address(cx));
    let made = cx.hv.create_vm(&cx.spec("vm").nic(spec.clone()).nic(spec)).await;
    refused_field("one address for two NICs", made, "nics[1].mac")
}

async fn an_unknown_network_is_refused(cx: &Context) -> Check {
    let unknown = NetworkId::from(cx.name("none"));
    let made = cx.done(cx.hv.create_vm(&cx.spec("vm").nic(NicSpec::network(&unknown))).await).await;
    refused_unknown("a NIC in an unknown network", made, NetworkId::NOUN, &unknown)?;
    cx.nothing_made("a NIC in an unknown network").await
}

async fn attach(cx: &Context, vm: &VmId, spec: &NicSpec) -> Check<NicId> {
    let id = cx.done(cx.hv.attach_nic(vm, spec).await).await?;
    let nic = cx.nic(vm).await?;
    check_eq!("the id of the NIC", nic.id, id);
    check_eq!("what it is plugged into", nic.source, spec.source);
    Ok(id)
}

async fn no_nic(cx: &Context, vm: &VmId) -> Check {
    let left = cx.config(vm).await?.nics;
    check!(left.is_empty(), "vm `{vm}` has the NICs {left:?} where none is expected");
    Ok(())
}

async fn a_nic_is_attached_cold(cx: &Context) -> Check {
    let vm = cx.vm("vm").await?;
    let spec = cx.plug().await?.mac(address(cx));
    attach(cx, &vm, &spec).await?;
    check_eq!("its MAC address", cx.nic(&vm).await?.mac, Some(address(cx)));
    Ok(())
}

async fn a_nic_is_detached_cold(cx: &Context) -> Check {
    let vm = with_nic(cx).await?;
    let nic = cx.nic(&vm).await?.id;
    cx.done(cx.hv.detach_nic(&vm, &nic).await).await?;
    no_nic(cx, &vm).await
}

async fn an_address_in_use_is_not_attached(cx: &Context) -> Check {
    let spec = cx.plug().await?.mac(address(cx));
    let vm = cx.create(&cx.spec("vm").nic(spec.clone())).await?;
    let again = cx.done(cx.hv.attach_nic(&vm, &spec).await).await;
    refused_as("a second NIC of the same address", again, &[AlreadyExists, Conflict, InvalidInput])?;
    cx.nic(&vm).await?;
    Ok(())
}

async fn an_unknown_network_is_not_attached(cx: &Context) -> Check {
    let vm = cx.vm("vm").await?;
    let unknown = NetworkId::from(cx.name("none"));
    let attached = cx.done(cx.hv.attach_nic(&vm, &NicSpec::network(&unknown)).await).await;
    refused_unknown("a NIC in an unknown network", attached, NetworkId::NOUN, &unknown)?;
    no_nic(cx, &vm).await
}

async fn link(cx: &Context, vm: &VmId, down: bool) -> Check {
    let nic = cx.nic(vm).await?;
    cx.done(cx.hv.update_nic(vm, &nic.id, &NicChange::new().link_down(down)).await).await?;
    let after = cx.nic(vm).await?;
    check_eq!("whether the link is down", after.link_down, down);
    check_eq!("its MAC address", after.mac, nic.mac);
    check_eq!("what it is plugged into", after.source, nic.source);
    Ok(())
}

async fn a_link_goes_down_and_up(cx: &Context) -> Check {
    let vm = with_nic(cx).await?;
    link(cx, &vm, true).await?;
    link(cx, &vm, false).await
}

fn unknown_nic() -> NicId {
    NicId::from("52:54:00:ff:ff:fe")
}

async fn an_unknown_nic_is_not_changed(cx: &Context) -> Check {
    let vm = cx.vm("vm").await?;
    let changed =
        cx.done(cx.hv.update_nic(&vm, &unknown_nic(), &NicChange::new().link_down(true)).await).await;
    refused_unknown("changing an unknown NIC", changed, NicId::NOUN, unknown_nic())
}

async fn an_unknown_nic_is_not_detached(cx: &Context) -> Check {
    let vm = cx.vm("vm").await?;
    let detached = cx.done(cx.hv.detach_nic(&vm, &unknown_nic()).await).await;
    refused_unknown("detaching an unknown NIC", detached, NicId::NOUN, unknown_nic())
}

async fn a_nic_is_attached_to_a_running_guest(cx: &Context) -> Check {
    let vm = cx.running("vm").await?;
    let spec = cx.plug().await?;
    let nic = attach(cx, &vm, &spec).await?;
    cx.power_off(&vm).await?;
    check_eq!("the NIC after a power cycle", cx.nic(&vm).await?.id, nic);
    Ok(())
}

async fn a_link_goes_down_under_a_running_guest(cx: &Context) -> Check {
    let vm = with_nic(cx).await?;
    cx.start(&vm).await?;
    link(cx, &vm, true).await?;
    link(cx, &vm, false).await
}

async fn a_nic_is_detached_from_a_running_guest(cx: &Context) -> Check {
    let vm = cx.lively("vm").await?;
    let before = cx.config(&vm).await?.nics.len();
    let spec = cx.plug().await?;
    let nic = cx.done(cx.hv.attach_nic(&vm, &spec).await).await?;
    cx.unplugged(cx.done(cx.hv.detach_nic(&vm, &nic).await).await)?;
    let left = cx.config(&vm).await?.nics;
    check_eq!("the number of NICs", left.len(), before);
    check!(left.iter().all(|each| each.id != nic), "NIC `{nic}` is still there");
    Ok(())
}
