//! Networks, both ways.

use std::net::IpAddr;

use hypervisor_core::model::{DhcpRange, IpNet, NetworkChange, NetworkInfo, NetworkKind, NetworkSpec};
use hypervisor_core::{Error, Result};

use super::{Element, XmlError};

/// The network that a spec asks for.
pub(crate) fn network(spec: &NetworkSpec) -> Result<Element> {
    let mut network = Element::new("network").with_child("name", &spec.name);
    let mode = match &spec.kind {
        NetworkKind::Isolated => None,
        NetworkKind::Nat => Some("nat"),
        NetworkKind::Routed => Some("route"),
        NetworkKind::Bridge => Some("bridge"),
        other => return Err(Error::invalid("kind", format!("libvirt has no networks of kind {other}"))),
    };
    if spec.kind == NetworkKind::Bridge && (spec.cidr.is_some() || spec.dhcp.is_some()) {
        return Err(Error::invalid("cidr", "a network on a bridge of the host has no addresses of its own"));
    }
    if let Some(mode) = mode {
        network.push(Element::new("forward").with_attr("mode", mode));
    }
    if let Some(bridge) = &spec.bridge {
        network.push(Element::new("bridge").with_attr("name", bridge));
    }
    if let Some(domain) = &spec.domain {
        network.push(Element::new("domain").with_attr("name", domain));
    }
    set_vlan(&mut network, spec.vlan);
    if let Some(cidr) = spec.cidr {
        network.push(ip(cidr, spec.dhcp));
    }
    Ok(network)
}

fn ip(cidr: IpNet, dhcp: Option<DhcpRange>) -> Element {
    let mut ip = Element::new("ip").with_attr("address", cidr.addr());
    if cidr.addr().is_ipv6() {
        ip.set_attr("family", "ipv6");
    }
    ip.set_attr("prefix", cidr.prefix_len().to_string());
    if let Some(range) = dhcp {
        ip.push(Element::new("dhcp").with(range_element(range)));
    }
    ip
}

fn range_element(range: DhcpRange) -> Element {
    Element::new("range").with_attr("start", range.start).with_attr("end", range.end)
}

fn set_vlan(network: &mut Element, vlan: Option<u16>) {
    if let Some(vlan) = vlan {
        network.replace(Element::new("vlan").with(Element::new("tag").with_attr("id", vlan)));
    }
}

/// Writes a change into a network's definition; what it does not name stays, static DHCP entries among it.
pub(crate) fn apply(network: &mut Element, change: &NetworkChange) {
    if let Some(bridge) = &change.bridge {
        network.ensure("bridge").set_attr("name", bridge);
    }
    if let Some(domain) = &change.domain {
        network.ensure("domain").set_attr("name", domain);
    }
    set_vlan(network, change.vlan);
    if let Some(cidr) = change.cidr {
        let ip = network.ensure("ip");
        ip.remove_attr("netmask");
        ip.set_attr("address", cidr.addr().to_string());
        ip.set_attr("prefix", cidr.prefix_len().to_string());
        if cidr.addr().is_ipv6() {
            ip.set_attr("family", "ipv6");
        } else {
            ip.remove_attr("family");
        }
    }
    if let Some(range) = change.dhcp {
        network.ensure("ip").ensure("dhcp").replace(range_element(range));
    }
}

/// What a network's definition says about it.
pub(crate) fn info(network: &Element, active: bool, autostart: bool) -> Result<NetworkInfo, XmlError> {
    let name = network.text_at("name").ok_or_else(|| XmlError::new("<name> of the network is missing"))?;
    let kind = match network.child("forward").map(|forward| forward.attr("mode").unwrap_or("nat")) {
        None => NetworkKind::Isolated,
        Some("route" | "open") => NetworkKind::Routed,
        Some(mode) => NetworkKind::parse(mode),
    };
    let mut info = NetworkInfo::new(name.as_str(), &name, kind, active).autostart(autostart);
    info.bridge = network.attr_at("bridge", "name").map(str::to_owned);
    info.domain = network.attr_at("domain", "name").map(str::to_owned);
    info.vlan = network.path("vlan/tag").map(|tag| tag.attr_number("id")).transpose()?.flatten();
    if let Some(ip) = network.child("ip") {
        info.cidr = cidr(ip);
        let address = |name: &str| ip.attr_at("dhcp/range", name)?.parse::<IpAddr>().ok();
        info.dhcp = address("start").zip(address("end")).map(|(start, end)| DhcpRange::new(start, end));
    }
    Ok(info)
}

fn cidr(ip: &Element) -> Option<IpNet> {
    let address: IpAddr = ip.attr("address")?.parse().ok()?;
    if let Some(prefix) = ip.attr("prefix") {
        return IpNet::new(address, prefix.parse().ok()?).ok();
    }
    match ip.attr("netmask") {
        Some(mask) => IpNet::with_netmask(address, mask.parse().ok()?).ok(),
        // What libvirt takes where neither is written.
        None => IpNet::new(address, if address.is_ipv6() { 64 } else { 24 }).ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spec_comes_back() {
        let spec = NetworkSpec::nat("lab", "10.20.30.1/24".parse().unwrap())
            .dhcp_from_cidr()
            .bridge("virbr7")
            .domain("lab.test");
        let written = network(&spec).unwrap();
        let found = info(&Element::parse(&written.to_string()).unwrap(), true, false).unwrap();
        assert_eq!((found.kind, found.cidr, found.dhcp), (spec.kind, spec.cidr, spec.dhcp));
        assert_eq!((found.bridge, found.domain), (spec.bridge, spec.domain));
    }

    #[test]
    fn kinds_are_told_apart() {
        let kind = |xml: &str| info(&Element::parse(xml).unwrap(), false, false).unwrap().kind;
        assert_eq!(kind("<network><name>a</name></network>"), NetworkKind::Isolated);
        assert_eq!(kind("<network><name>a</name><forward/></network>"), NetworkKind::Nat);
        assert_eq!(kind("<network><name>a</name><forward mode='bridge'/></network>"), NetworkKind::Bridge);
        assert_eq!(kind("<network><name>a</name><forward mode='open'/></network>"), NetworkKind::Routed);
        assert!(
            network(&NetworkSpec::new("v", NetworkKind::Vnet)).unwrap_err().fields().contains_key("kind")
        );
    }

    #[test]
    fn a_change_keeps_static_entries() {
        let xml = "<network><name>a</name><ip address='10.0.0.1' netmask='255.255.255.0'>\
             <dhcp><range start='10.0.0.2' end='10.0.0.9'/><host mac='52:54:00:00:00:01' ip='10.0.0.50'/></dhcp></ip></network>";
        let mut network = Element::parse(xml).unwrap();
        assert_eq!(info(&network, false, false).unwrap().cidr, "10.0.0.1/24".parse().ok());
        let range = DhcpRange::new("10.0.0.10".parse().unwrap(), "10.0.0.20".parse().unwrap());
        apply(&mut network, &NetworkChange::new().dhcp(range).cidr("10.0.0.1/16".parse().unwrap()));
        let found = info(&network, false, false).unwrap();
        assert_eq!((found.dhcp, found.cidr), (Some(range), "10.0.0.1/16".parse().ok()));
        assert!(network.to_string().contains("<host mac=\"52:54:00:00:00:01\""));
    }
}
