//! Networks and interfaces.

use hypervisor_core::model::{DhcpRange, IpNet, NetworkInfo, NetworkKind, NetworkSpec};
use hypervisor_core::{Error, Result};

use serde::Serialize;

use super::soft;
use crate::dialect::hypersdk::BACKEND;

answers! {
    /// A network. In a list only `name` and `active` are real.
    LibvirtNetwork {
        must {
            /// Its name.
            name: String,
        }
        may {
            /// Its UUID.
            uuid: String,
            /// Whether it is up.
            active: bool,
            /// Whether it is still defined after it was taken down.
            persistent: bool,
            /// Whether it starts with its host.
            autostart: bool,
            /// The bridge on the host.
            bridge: String,
        }
    }
}

impl LibvirtNetwork {
    /// In the SDK's words. The daemon tells neither what it connects to nor its addresses.
    pub(crate) fn info(self) -> NetworkInfo {
        let kind = NetworkKind::Unknown(String::new());
        let mut info = NetworkInfo::new(self.name.as_str(), self.name.as_str(), kind, self.active)
            .autostart(self.autostart);
        if !self.bridge.is_empty() {
            info = info.bridge(self.bridge);
        }
        if !self.uuid.is_empty() {
            info.extra.insert(BACKEND, "uuid", self.uuid);
            info.extra.insert(BACKEND, "persistent", self.persistent);
        }
        info
    }
}

/// A network to make (`POST /libvirt/network/create`). The daemon puts every value into libvirt's XML as it is, gives the host a /24, starts
/// the network and lets it start with the host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct NewNetwork {
    /// Its name.
    pub name: String,
    /// The bridge to make on the host; `virbr%d` lets libvirt number it.
    pub bridge: String,
    /// `nat`, `route` or `none`.
    pub forward: String,
    /// The host's address in it; the network is the /24 around it.
    pub subnet: String,
    /// The first address that DHCP hands out.
    pub ip_start: String,
    /// The last one.
    pub ip_end: String,
}

impl NewNetwork {
    /// A network behind address translation, with the host at `subnet`, that hands out `dhcp`.
    pub fn nat(name: impl Into<String>, subnet: impl Into<String>, dhcp: DhcpRange) -> Self {
        Self {
            name: name.into(),
            bridge: "virbr%d".to_owned(),
            forward: "nat".to_owned(),
            subnet: subnet.into(),
            ip_start: dhcp.start.to_string(),
            ip_end: dhcp.end.to_string(),
        }
    }

    chain! { bridge: String; forward: String; }

    /// What the daemon can make of a spec, which was validated.
    ///
    /// # Errors
    /// `InvalidInput` naming the field that it cannot follow.
    pub(crate) fn of(spec: &NetworkSpec) -> Result<Self> {
        let forward = match &spec.kind {
            NetworkKind::Nat => "nat",
            NetworkKind::Isolated => "none",
            NetworkKind::Routed => "route",
            other => {
                let why = format!(
                    "hypervisord makes networks of the kinds nat, isolated and routed, none that is `{other}`"
                );
                return Err(Error::invalid("kind", why));
            }
        };
        if spec.vlan.is_some() {
            return Err(Error::invalid("vlan", "hypervisord sets no VLAN"));
        }
        if spec.domain.is_some() {
            return Err(Error::invalid("domain", "hypervisord sets no domain"));
        }
        let Some(IpNet::V4(cidr)) = spec.cidr else {
            return Err(Error::invalid(
                "cidr",
                "hypervisord makes IPv4 networks only, and needs the host's address",
            ));
        };
        if cidr.prefix_len() != 24 {
            return Err(Error::invalid(
                "cidr",
                format!("hypervisord makes networks of /24 only, not {cidr}"),
            ));
        }
        let Some(dhcp) = spec.dhcp else {
            let why = "hypervisord makes no network without DHCP: give a range, `dhcp_from_cidr()` for one";
            return Err(Error::invalid("dhcp", why));
        };
        let network = Self::nat(&spec.name, cidr.addr().to_string(), dhcp).forward(forward);
        Ok(match &spec.bridge {
            Some(bridge) => network.bridge(bridge),
            None => network,
        })
    }
}

/// `POST /libvirt/interface/attach`
#[derive(Debug, Serialize)]
pub(crate) struct AttachInterface<'a> {
    pub(crate) vm_name: &'a str,
    pub(crate) network: &'a str,
    pub(crate) model: &'a str,
}

/// `POST /libvirt/interface/detach`
#[derive(Debug, Serialize)]
pub(crate) struct DetachInterface<'a> {
    pub(crate) vm_name: &'a str,
    pub(crate) mac: &'a str,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec() -> NetworkSpec {
        NetworkSpec::nat("vm-network", "192.168.100.1/24".parse().unwrap()).dhcp_from_cidr()
    }

    #[test]
    fn a_spec_becomes_what_the_daemon_asks_for() {
        let body = serde_json::to_value(NewNetwork::of(&spec().bridge("virbr1")).unwrap()).unwrap();
        assert_eq!(
            body,
            serde_json::json!({
                "name": "vm-network", "bridge": "virbr1", "forward": "nat", "subnet": "192.168.100.1",
                "ip_start": "192.168.100.2", "ip_end": "192.168.100.254"
            })
        );
        assert_eq!(NewNetwork::of(&spec()).unwrap().bridge, "virbr%d");
    }

    #[test]
    fn what_the_daemon_would_silently_change_is_refused_by_field() {
        let mut no_dhcp = spec();
        no_dhcp.dhcp = None;
        let wide = NetworkSpec::nat("n", "10.0.0.1/16".parse().unwrap()).dhcp_from_cidr();
        let six = NetworkSpec::nat("n", "fd00::1/64".parse().unwrap()).dhcp_from_cidr();
        for (field, spec) in [
            ("kind", NetworkSpec::on_bridge("n", "br0")),
            ("vlan", spec().vlan(7)),
            ("domain", spec().domain("lab")),
            ("dhcp", no_dhcp),
            ("cidr", wide),
            ("cidr", six),
            ("cidr", NetworkSpec::new("n", NetworkKind::Nat)),
        ] {
            let error = NewNetwork::of(&spec).unwrap_err();
            assert!(error.fields().contains_key(field), "{field}: {error}");
        }
    }
}
