use std::net::{IpAddr, Ipv4Addr};

use ipnet::{IpNet, Ipv4Net};

use crate::conformance::case::Case;
use crate::conformance::check::{
    Check, Stop, check, check_eq, names, refused, refused_field, refused_unknown,
};
use crate::conformance::context::{Context, Made};
use crate::conformance::sweep::every;
use crate::error::ErrorKind;
use crate::model::{DhcpRange, Feature, NetworkChange, NetworkId, NetworkInfo, NetworkKind, NetworkSpec};
use crate::operation::Operation;

pub(super) fn cases() -> Vec<Case> {
    use Operation::{
        CreateNetwork, DeleteNetwork, GetNetwork, ListLeases, ListNetworks, StartNetwork, StopNetwork,
        UpdateNetwork,
    };
    vec![
        case!("networks", created_network_is_what_was_asked_for, [CreateNetwork, GetNetwork]),
        case!("networks", created_network_is_listed, [CreateNetwork, GetNetwork, ListNetworks]),
        case!("networks", create_with_start_is_up, [CreateNetwork, GetNetwork, StopNetwork]),
        case!("networks", goes_up_and_down, [CreateNetwork, GetNetwork, StartNetwork, StopNetwork]),
        case!("networks", up_twice_is_refused, [CreateNetwork, StartNetwork, StopNetwork]),
        case!("networks", down_twice_is_refused, [CreateNetwork, StopNetwork]),
        case!("networks", delete_while_up_is_refused, [CreateNetwork, GetNetwork, StartNetwork, StopNetwork]),
        case!("networks", deleted_network_is_gone, [CreateNetwork, GetNetwork, DeleteNetwork, ListNetworks]),
        case!("networks", taken_name_is_refused, [CreateNetwork, ListNetworks]),
        case!("networks", bad_input_is_refused, [CreateNetwork, ListNetworks, Feature::NetworkDhcp]),
        case!("networks", autostart_is_changed, [CreateNetwork, GetNetwork, UpdateNetwork]),
        case!(
            "networks",
            addresses_are_changed,
            [CreateNetwork, GetNetwork, UpdateNetwork, Feature::NetworkDhcp]
        ),
        case!(
            "networks",
            bad_changes_are_refused,
            [CreateNetwork, GetNetwork, UpdateNetwork, Feature::NetworkDhcp]
        ),
        case!(
            "networks",
            network_without_guests_has_no_leases,
            [CreateNetwork, StartNetwork, StopNetwork, ListLeases]
        ),
        case!("networks", unknown_network_is_not_found, [GetNetwork]),
    ]
}

/// A subnet that hardly another run has: 10.x.y.1/24.
fn subnet(cx: &Context) -> IpNet {
    let [a, b, _] = cx.seed();
    let host = Ipv4Addr::new(10, a, b, 1);
    IpNet::V4(Ipv4Net::new(host, 24).unwrap_or_default())
}

/// An address in the subnet of this case.
fn address(cx: &Context, last: u8) -> IpAddr {
    let [a, b, _] = cx.seed();
    IpAddr::V4(Ipv4Addr::new(10, a, b, last))
}

/// An isolated network with a subnet and a bridge of its own.
fn spec(cx: &Context, short: &str) -> NetworkSpec {
    let [a, b, c] = cx.seed();
    let spec = NetworkSpec::isolated(cx.name(short), subnet(cx)).bridge(format!("hvt{a:02x}{b:02x}{c:02x}"));
    if cx.settings.always_dhcp { spec.dhcp(DhcpRange::new(address(cx, 10), address(cx, 20))) } else { spec }
}

/// Whether the backend says more of a network than that it is there: one that does not tell the kind tells no addresses either.
fn is_told(info: &NetworkInfo) -> bool {
    !matches!(info.kind, NetworkKind::Unknown(_))
}

async fn create(cx: &Context, spec: &NetworkSpec) -> Check<NetworkId> {
    let started = cx.hv.create_network(spec).await?;
    cx.keep(Made::Network(started.output.clone()));
    Ok(cx.done(Ok(started)).await?)
}

async fn start(cx: &Context, network: &NetworkId) -> crate::Result<()> {
    cx.done(cx.hv.start_network(network).await).await
}

async fn stop(cx: &Context, network: &NetworkId) -> crate::Result<()> {
    cx.done(cx.hv.stop_network(network).await).await
}

async fn get(cx: &Context, network: &NetworkId) -> Check<NetworkInfo> {
    Ok(cx.hv.get_network(network).await?)
}

async fn listed(cx: &Context) -> Check<Vec<NetworkInfo>> {
    Ok(every(|page| async move { cx.hv.list_networks(&page).await }).await?)
}

async fn created_network_is_what_was_asked_for(cx: &Context) -> Check {
    let mut asked = spec(cx, "a");
    if cx.has(Feature::NetworkDhcp) {
        asked = asked.dhcp(DhcpRange::new(address(cx, 10), address(cx, 20)));
    }
    let network = create(cx, &asked).await?;
    let info = get(cx, &network).await?;
    check_eq!("the id", info.id, network);
    check_eq!("the name", info.name, asked.name);
    check_eq!("whether a new network is up", info.active, false);
    check_eq!("the bridge", info.bridge, asked.bridge);
    if is_told(&info) {
        check_eq!("the kind", info.kind, NetworkKind::Isolated);
        check_eq!("whether a new network starts with its host", info.autostart, false);
        check_eq!("the addresses", info.cidr, asked.cidr);
        check_eq!("what DHCP hands out", info.dhcp, asked.dhcp);
    }
    Ok(())
}

async fn created_network_is_listed(cx: &Context) -> Check {
    let network = create(cx, &spec(cx, "a")).await?;
    let all = listed(cx).await?;
    let Some(listed) = all.iter().find(|info| info.id == network) else {
        return Err(Stop::failed("the list of networks lacks a new one"));
    };
    check_eq!("the network in the list", *listed, get(cx, &network).await?);
    Ok(())
}

async fn create_with_start_is_up(cx: &Context) -> Check {
    let network = create(cx, &spec(cx, "a").start(true)).await?;
    check_eq!("whether it is up", get(cx, &network).await?.active, true);
    Ok(())
}

async fn goes_up_and_down(cx: &Context) -> Check {
    let network = create(cx, &spec(cx, "a")).await?;
    start(cx, &network).await?;
    check_eq!("whether it is up", get(cx, &network).await?.active, true);
    stop(cx, &network).await?;
    let info = get(cx, &network).await?;
    check_eq!("whether it is up after it was taken down", info.active, false);
    if is_told(&info) {
        check_eq!("the addresses after it", info.cidr, Some(subnet(cx)));
    }
    Ok(())
}

async fn up_twice_is_refused(cx: &Context) -> Check {
    let network = create(cx, &spec(cx, "a")).await?;
    start(cx, &network).await?;
    let error = refused("bringing up what is up", start(cx, &network).await, ErrorKind::InvalidState)?;
    names("bringing up what is up", &error, NetworkId::NOUN, &network)
}

async fn down_twice_is_refused(cx: &Context) -> Check {
    let network = create(cx, &spec(cx, "a")).await?;
    let error = refused("taking down what is down", stop(cx, &network).await, ErrorKind::InvalidState)?;
    names("taking down what is down", &error, NetworkId::NOUN, &network)
}

async fn delete_while_up_is_refused(cx: &Context) -> Check {
    let network = create(cx, &spec(cx, "a")).await?;
    start(cx, &network).await?;
    let deleted = cx.done(cx.hv.delete_network(&network).await).await;
    let error = refused("deleting a network that is up", deleted, ErrorKind::InvalidState)?;
    names("deleting a network that is up", &error, NetworkId::NOUN, &network)?;
    check_eq!("whether it is still up", get(cx, &network).await?.active, true);
    Ok(())
}

async fn deleted_network_is_gone(cx: &Context) -> Check {
    let network = create(cx, &spec(cx, "a")).await?;
    cx.done(cx.hv.delete_network(&network).await).await?;
    let read = cx.hv.get_network(&network).await;
    refused_unknown("reading a deleted network", read, NetworkId::NOUN, &network)?;
    check!(listed(cx).await?.iter().all(|info| info.id != network), "a deleted network is still listed");
    let again = cx.done(cx.hv.delete_network(&network).await).await;
    refused_unknown("deleting it twice", again, NetworkId::NOUN, &network)
}

async fn taken_name_is_refused(cx: &Context) -> Check {
    let first = create(cx, &spec(cx, "a")).await?;
    let second = spec(cx, "a").bridge("hvtother");
    let created = cx.done(cx.hv.create_network(&second).await).await;
    let error = refused("a second network of a name", created, ErrorKind::AlreadyExists)?;
    names("a second network of a name", &error, NetworkId::NOUN, cx.name("a"))?;
    let named: Vec<_> = listed(cx).await?.into_iter().filter(|info| info.name == cx.name("a")).collect();
    check_eq!("the number of networks of that name", named.len(), 1);
    check!(named.iter().all(|info| info.id == first), "the first network was replaced: {named:?}");
    Ok(())
}

async fn bad_input_is_refused(cx: &Context) -> Check {
    let range = |from, to| DhcpRange::new(address(cx, from), address(cx, to));
    let elsewhere = DhcpRange::new(IpAddr::from([192, 0, 2, 5]), IpAddr::from([192, 0, 2, 9]));
    let mut without = NetworkSpec::new(cx.name("a"), NetworkKind::Isolated);
    without.dhcp = Some(range(10, 20));
    for (field, spec) in [
        ("name", NetworkSpec::isolated("a b", subnet(cx))),
        ("name", NetworkSpec::isolated("", subnet(cx))),
        ("bridge", spec(cx, "a").bridge("more-than-15-chars")),
        ("bridge", NetworkSpec::new(cx.name("a"), NetworkKind::Bridge)),
        ("dhcp", spec(cx, "a").dhcp(range(20, 10))),
        ("dhcp", spec(cx, "a").dhcp(range(1, 10))),
        ("dhcp", spec(cx, "a").dhcp(elsewhere)),
        ("dhcp", without),
        ("cidr", spec(cx, "a").cidr(subnet(cx).trunc())),
    ] {
        let what = format!("a network with a wrong {field}");
        refused_field(&what, cx.done(cx.hv.create_network(&spec).await).await, field)?;
        let left = listed(cx).await?.into_iter().any(|info| info.name == spec.name);
        check!(!left, "{what} was refused, but it is there");
    }
    Ok(())
}

async fn change(cx: &Context, network: &NetworkId, change: &NetworkChange) -> crate::Result<()> {
    cx.done(cx.hv.update_network(network, change).await).await
}

async fn autostart_is_changed(cx: &Context) -> Check {
    let network = create(cx, &spec(cx, "a")).await?;
    for autostart in [true, false] {
        change(cx, &network, &NetworkChange::new().autostart(autostart)).await?;
        check_eq!("autostart", get(cx, &network).await?.autostart, autostart);
    }
    Ok(())
}

async fn addresses_are_changed(cx: &Context) -> Check {
    let asked = spec(cx, "a").dhcp(DhcpRange::new(address(cx, 10), address(cx, 20)));
    let network = create(cx, &asked).await?;
    let wider = DhcpRange::new(address(cx, 10), address(cx, 90));
    change(cx, &network, &NetworkChange::new().dhcp(wider)).await?;
    let info = get(cx, &network).await?;
    check_eq!("what DHCP hands out", info.dhcp, Some(wider));
    check_eq!("the addresses, which were not to change", info.cidr, asked.cidr);
    check_eq!("the bridge, which was not to change", info.bridge, asked.bridge);
    Ok(())
}

async fn bad_changes_are_refused(cx: &Context) -> Check {
    let network = create(cx, &spec(cx, "a")).await?;
    let before = get(cx, &network).await?;
    let elsewhere = DhcpRange::new(IpAddr::from([192, 0, 2, 5]), IpAddr::from([192, 0, 2, 9]));
    for (field, bad) in [
        ("dhcp", NetworkChange::new().dhcp(elsewhere)),
        ("bridge", NetworkChange::new().bridge("more-than-15-chars")),
        ("cidr", NetworkChange::new().cidr(subnet(cx).trunc())),
    ] {
        refused_field(&format!("a change to a wrong {field}"), change(cx, &network, &bad).await, field)?;
    }
    check_eq!("the network after the refused changes", get(cx, &network).await?, before);
    Ok(())
}

async fn network_without_guests_has_no_leases(cx: &Context) -> Check {
    let network = create(cx, &spec(cx, "a")).await?;
    start(cx, &network).await?;
    let leases = cx.hv.list_leases(&network).await?;
    check!(leases.is_empty(), "a network without guests has the leases {leases:?}");
    Ok(())
}

async fn unknown_network_is_not_found(cx: &Context) -> Check {
    let ghost = NetworkId::from(cx.name("ghost"));
    let what = |verb: &str| format!("{verb} a network that is not there");
    refused_unknown(&what("reading"), cx.hv.get_network(&ghost).await, NetworkId::NOUN, &ghost)?;
    if cx.has(Operation::DeleteNetwork) {
        refused_unknown(&what("deleting"), cx.hv.delete_network(&ghost).await, NetworkId::NOUN, &ghost)?;
    }
    if cx.has(Operation::StartNetwork) {
        refused_unknown(&what("bringing up"), start(cx, &ghost).await, NetworkId::NOUN, &ghost)?;
    }
    if cx.has(Operation::StopNetwork) {
        refused_unknown(&what("taking down"), stop(cx, &ghost).await, NetworkId::NOUN, &ghost)?;
    }
    if cx.has(Operation::UpdateNetwork) {
        let changed = change(cx, &ghost, &NetworkChange::new().autostart(true)).await;
        refused_unknown(&what("changing"), changed, NetworkId::NOUN, &ghost)?;
    }
    if cx.has(Operation::ListLeases) {
        refused_unknown(&what("leases of"), cx.hv.list_leases(&ghost).await, NetworkId::NOUN, &ghost)?;
    }
    Ok(())
}
