//! Networks as the document shows them.

use std::net::IpAddr;

use hypervisor_core::model::{DhcpRange, IpNet, NetworkInfo, NetworkKind, NetworkSpec};
use hypervisor_core::{Error, Result};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::lenient;
use super::vm_body::{put, put_some};
use crate::dialect::v1::BACKEND;

/// A network. Every field but the id may be missing.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[non_exhaustive]
pub struct NetworkRecord {
    /// Its id.
    #[serde(deserialize_with = "lenient::id")]
    pub id: String,
    /// Its name.
    #[serde(default)]
    pub name: Option<String>,
    /// What it is: `vlan`.
    #[serde(rename = "type", default)]
    pub kind: Option<String>,
    /// Its VLAN.
    #[serde(default)]
    pub vlan_id: Option<u16>,
    /// Its addresses: `192.168.1.0/24`.
    #[serde(default)]
    pub subnet: Option<String>,
    /// The router.
    #[serde(default)]
    pub gateway: Option<String>,
    /// The name servers.
    #[serde(default, deserialize_with = "lenient::list")]
    pub dns_servers: Vec<String>,
    /// Whether addresses are handed out.
    #[serde(default)]
    pub dhcp_enabled: Option<bool>,
    /// Which.
    #[serde(default)]
    pub dhcp_range: Option<AddressRange>,
    /// What its firewall lets through.
    #[serde(default, deserialize_with = "lenient::list")]
    pub firewall_rules: Vec<FirewallRule>,
    /// When it was made.
    #[serde(default)]
    pub created_at: Option<String>,
    /// Whether it is up, where the gateway tells.
    #[serde(default)]
    pub status: Option<String>,
    /// What else the gateway says.
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

/// Addresses that are handed out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct AddressRange {
    /// The first.
    pub start: IpAddr,
    /// The last.
    pub end: IpAddr,
}

/// A rule of a network's firewall.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct FirewallRule {
    /// Its id.
    #[serde(deserialize_with = "lenient::maybe_id")]
    pub id: Option<String>,
    /// `allow` or `deny`.
    pub action: Option<String>,
    /// `tcp`, `udp`, …
    pub protocol: Option<String>,
    /// The port; a number, or a range as text.
    pub port: Option<Value>,
    /// Where from.
    pub source: Option<String>,
    /// What else the gateway says.
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

impl NetworkRecord {
    /// In the words of the SDK. `cidr` has the router's address, which is what its host has in it; the type `vlan` is
    /// [`NetworkKind::Vnet`].
    #[must_use]
    pub fn to_info(&self) -> NetworkInfo {
        let kind = match self.kind.as_deref().unwrap_or("vlan") {
            "vlan" => NetworkKind::Vnet,
            other => NetworkKind::parse(other),
        };
        let active = !matches!(self.status.as_deref(), Some("down" | "inactive" | "stopped"));
        let name = self.name.as_deref().unwrap_or(&self.id);
        let mut info = NetworkInfo::new(self.id.as_str(), name, kind, active);
        info.vlan = self.vlan_id;
        info.dhcp = self.dhcp_range.map(|range| DhcpRange::new(range.start, range.end));
        let subnet = self.subnet.as_ref().and_then(|subnet| subnet.parse::<IpNet>().ok());
        info.cidr = subnet.map(|subnet| {
            let own = self.gateway.as_ref().and_then(|gateway| gateway.parse::<IpAddr>().ok());
            own.filter(|own| subnet.contains(own))
                .and_then(|own| IpNet::new(own, subnet.prefix_len()).ok())
                .unwrap_or(subnet)
        });
        let texts = [("gateway", &self.gateway), ("subnet", &self.subnet), ("created_at", &self.created_at)];
        for (key, value) in texts {
            if let Some(value) = value {
                info.extra.insert(BACKEND, key, value.as_str());
            }
        }
        info.extra.insert(BACKEND, "dns_servers", self.dns_servers.clone());
        if let Some(enabled) = self.dhcp_enabled {
            info.extra.insert(BACKEND, "dhcp_enabled", enabled);
        }
        if let Ok(rules) = serde_json::to_value(&self.firewall_rules) {
            info.extra.insert(BACKEND, "firewall_rules", rules);
        }
        for (key, value) in &self.rest {
            info.extra.insert(BACKEND, key, value.clone());
        }
        info
    }
}

/// What a new network can be told that only this API knows, for [`NetworkSpec::options`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct V1NetworkOptions {
    /// The name servers.
    pub dns_servers: Vec<String>,
}

impl hypervisor_core::model::BackendOptions for V1NetworkOptions {
    const BACKEND: &'static str = BACKEND;
}

/// The documented body of a create.
///
/// # Errors
/// `InvalidInput` for what the documented body has no place for.
pub(crate) fn create_body(spec: &NetworkSpec) -> Result<Value> {
    let options: V1NetworkOptions = spec.options.options()?;
    let lacking = [
        ("domain", spec.domain.is_some()),
        ("autostart", spec.autostart),
        ("host", spec.host.is_some()),
        ("bridge", spec.bridge.is_some()),
    ];
    if let Some((field, _)) = lacking.iter().find(|(_, asked)| *asked) {
        return Err(Error::invalid(*field, "the gateway's API has no such field"));
    }
    let vlan = spec.kind == NetworkKind::Vnet && spec.vlan.is_some();
    let kind = if vlan { "vlan" } else { spec.kind.as_str() };
    let mut body = json!({ "name": spec.name, "type": kind });
    put_some(&mut body, "vlan_id", spec.vlan);
    if let Some(cidr) = spec.cidr {
        put(&mut body, "subnet", json!(cidr.trunc()));
        put(&mut body, "gateway", json!(cidr.addr()));
    }
    if !options.dns_servers.is_empty() {
        put(&mut body, "dns_servers", json!(options.dns_servers));
    }
    put(&mut body, "dhcp_enabled", json!(spec.dhcp.is_some()));
    put_some(
        &mut body,
        "dhcp_range",
        spec.dhcp.map(|range| json!({ "start": range.start, "end": range.end })),
    );
    Ok(body)
}
