//! Networks and leases.

use std::net::IpAddr;
use std::time::SystemTime;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::capability::{Feature, asked};
use super::extra::Extra;
use super::id::{HostId, NetworkId};
use super::mac::MacAddr;
use super::macros::{open_enum, setters};
use super::validate;
use crate::error::{Error, Result};

open_enum! {
    /// What a network connects its guests to.
    NetworkKind {
        /// One another and the host.
        Isolated = "isolated",
        /// The outside, behind address translation.
        Nat = "nat",
        /// The outside, by the host's routing.
        Routed = "routed" | "route" | "open",
        /// A bridge of the host.
        Bridge = "bridge",
        /// A virtual network of the cluster (Proxmox SDN).
        Vnet = "vnet",
    }
}

/// A range of addresses that DHCP hands out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct DhcpRange {
    /// The first.
    pub start: IpAddr,
    /// The last.
    pub end: IpAddr,
}

impl DhcpRange {
    /// From `start` to `end`, both included.
    #[must_use]
    pub fn new(start: IpAddr, end: IpAddr) -> Self {
        Self { start, end }
    }
}

/// A network.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct NetworkInfo {
    /// Its id.
    pub id: NetworkId,
    /// Its name.
    pub name: String,
    /// What it connects to.
    pub kind: NetworkKind,
    /// Whether it is up.
    pub active: bool,
    /// Whether it starts with its host.
    #[serde(default)]
    pub autostart: bool,
    /// The bridge on the host.
    #[serde(default)]
    pub bridge: Option<String>,
    /// The host's address in it, with the network's width.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(with = "Option<String>"))]
    pub cidr: Option<IpNet>,
    /// What DHCP hands out.
    #[serde(default)]
    pub dhcp: Option<DhcpRange>,
    /// Its VLAN.
    #[serde(default)]
    pub vlan: Option<u16>,
    /// The domain of its names.
    #[serde(default)]
    pub domain: Option<String>,
    /// The host that has it; `None` where all have.
    #[serde(default)]
    pub host: Option<HostId>,
    /// What the backend says beyond this.
    #[serde(default)]
    pub extra: Extra,
}

impl NetworkInfo {
    /// A network of which nothing else is known.
    pub fn new(id: impl Into<NetworkId>, name: impl Into<String>, kind: NetworkKind, active: bool) -> Self {
        Self {
            id: id.into(),
            name: name.into(),
            kind,
            active,
            autostart: false,
            bridge: None,
            cidr: None,
            dhcp: None,
            vlan: None,
            domain: None,
            host: None,
            extra: Extra::default(),
        }
    }

    setters! {
        val autostart: bool; opt_into bridge: String; opt cidr: IpNet; opt dhcp: DhcpRange; opt vlan: u16;
        opt_into domain: String; opt_into host: HostId; val extra: Extra;
    }
}

/// How a network is to be.
///
/// ```
/// use hypervisor_core::model::NetworkSpec;
/// let spec = NetworkSpec::nat("lab", "10.20.30.1/24".parse().unwrap()).dhcp_from_cidr();
/// assert!(spec.validate().is_ok());
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct NetworkSpec {
    /// Its name.
    pub name: String,
    /// What it connects to.
    pub kind: NetworkKind,
    /// The bridge on the host: the one to use for [`NetworkKind::Bridge`], else the one to make.
    #[serde(default)]
    pub bridge: Option<String>,
    /// The host's address in it, with the network's width.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(with = "Option<String>"))]
    pub cidr: Option<IpNet>,
    /// What DHCP hands out.
    #[serde(default)]
    pub dhcp: Option<DhcpRange>,
    /// Its VLAN, 1 to 4094.
    #[serde(default)]
    pub vlan: Option<u16>,
    /// The domain of its names.
    #[serde(default)]
    pub domain: Option<String>,
    /// Whether it starts with its host.
    #[serde(default)]
    pub autostart: bool,
    /// Whether it is brought up when it is made.
    #[serde(default)]
    pub start: bool,
    /// The host that it is made on; without it the backend chooses.
    #[serde(default)]
    pub host: Option<HostId>,
    /// Options that only one backend knows.
    #[serde(default)]
    pub options: Extra,
}

impl NetworkSpec {
    /// A network of this kind.
    pub fn new(name: impl Into<String>, kind: NetworkKind) -> Self {
        Self {
            name: name.into(),
            kind,
            bridge: None,
            cidr: None,
            dhcp: None,
            vlan: None,
            domain: None,
            autostart: false,
            start: false,
            host: None,
            options: Extra::default(),
        }
    }

    /// Guests that see one another and the host, which has this address.
    pub fn isolated(name: impl Into<String>, cidr: IpNet) -> Self {
        Self::new(name, NetworkKind::Isolated).cidr(cidr)
    }

    /// Guests behind the host's address translation.
    pub fn nat(name: impl Into<String>, cidr: IpNet) -> Self {
        Self::new(name, NetworkKind::Nat).cidr(cidr)
    }

    /// Guests on a bridge of the host.
    pub fn on_bridge(name: impl Into<String>, bridge: impl Into<String>) -> Self {
        Self::new(name, NetworkKind::Bridge).bridge(bridge)
    }

    setters! {
        opt_into bridge: String; opt cidr: IpNet; opt dhcp: DhcpRange; opt vlan: u16; opt_into domain: String;
        val autostart: bool; val start: bool; opt_into host: HostId; val options: Extra;
    }

    /// Hands out the addresses of the CIDR, of a large one the first 65,536: those behind the host's own or those before it,
    /// whichever are more, because a range has no gap. No effect without a CIDR, or where it has no room.
    #[must_use]
    pub fn dhcp_from_cidr(mut self) -> Self {
        let Some(cidr) = self.cidr else { return self };
        let own = cidr.addr();
        // The first address of an IPv6 network is every router's.
        let usable = || cidr.hosts().take(65_536).filter(|each| each.is_ipv4() || *each != cidr.network());
        let before = range_of(usable().filter(|each| *each < own));
        let behind = range_of(usable().filter(|each| *each > own));
        let most = before.into_iter().chain(behind).max_by_key(|(count, _)| *count);
        self.dhcp = most.map(|(_, range)| range);
        self
    }

    /// Checks what holds on every backend.
    ///
    /// # Errors
    /// `InvalidInput` naming the field.
    pub fn validate(&self) -> Result<()> {
        validate::name("name", &self.name)?;
        match &self.bridge {
            Some(bridge) => bridge_is_valid(bridge)?,
            None if self.kind == NetworkKind::Bridge => {
                return Err(Error::invalid("bridge", "a network on a bridge needs its name"));
            }
            None => {}
        }
        validate::vlan("vlan", self.vlan)?;
        if let Some(domain) = &self.domain {
            validate::name("domain", domain)?;
        }
        self.cidr.map_or(Ok(()), cidr_is_valid)?;
        dhcp_is_valid(self.cidr, self.dhcp)
    }

    /// What the backend must be able to do.
    #[must_use]
    pub fn needs(&self) -> Vec<Feature> {
        asked([
            (self.kind == NetworkKind::Nat, Feature::NetworkNat),
            (self.dhcp.is_some(), Feature::NetworkDhcp),
            (self.vlan.is_some(), Feature::NetworkVlan),
        ])
    }
}

fn bridge_is_valid(bridge: &str) -> Result<()> {
    validate::name("bridge", bridge)?;
    // Linux: IFNAMSIZ is 16 with the closing NUL.
    if bridge.len() > 15 {
        return Err(Error::invalid(
            "bridge",
            format!("`{bridge}` has more than the 15 characters of an interface name"),
        ));
    }
    Ok(())
}

/// The range that these addresses make up, and how many they are.
fn range_of(mut addresses: impl Iterator<Item = IpAddr>) -> Option<(usize, DhcpRange)> {
    let start = addresses.next()?;
    let (count, end) = addresses.fold((1_usize, start), |(count, _), next| (count + 1, next));
    Some((count, DhcpRange { start, end }))
}

/// The host needs an address of its own, which the network's is not; the narrowest networks have nothing else.
fn cidr_is_valid(cidr: IpNet) -> Result<()> {
    let narrow = cidr.prefix_len() + 1 >= cidr.max_prefix_len();
    let broadcast = cidr.addr().is_ipv4() && cidr.addr() == cidr.broadcast();
    if !narrow && (cidr.addr() == cidr.network() || broadcast) {
        let why = format!("{} is no host's address; the host's own is wanted", cidr.addr());
        return Err(Error::invalid("cidr", why));
    }
    Ok(())
}

fn dhcp_is_valid(cidr: Option<IpNet>, dhcp: Option<DhcpRange>) -> Result<()> {
    let Some(range) = dhcp else { return Ok(()) };
    let Some(cidr) = cidr else {
        return Err(Error::invalid("dhcp", "needs the cidr that it hands out from"));
    };
    if !cidr.contains(&range.start) || !cidr.contains(&range.end) {
        return Err(Error::invalid(
            "dhcp",
            format!("{} to {} is not inside {}", range.start, range.end, cidr.trunc()),
        ));
    }
    if range.start > range.end {
        return Err(Error::invalid("dhcp", format!("{} comes after {}", range.start, range.end)));
    }
    if (range.start..=range.end).contains(&cidr.addr()) {
        return Err(Error::invalid("dhcp", format!("{} is the host's own address", cidr.addr())));
    }
    Ok(())
}

/// What is to change on a network; what is `None` stays.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
#[non_exhaustive]
pub struct NetworkChange {
    /// Whether it starts with its host.
    pub autostart: Option<bool>,
    /// The host's address in it.
    #[cfg_attr(feature = "schema", schemars(with = "Option<String>"))]
    pub cidr: Option<IpNet>,
    /// What DHCP hands out.
    pub dhcp: Option<DhcpRange>,
    /// The domain of its names.
    pub domain: Option<String>,
    /// Its bridge.
    pub bridge: Option<String>,
    /// Its VLAN.
    pub vlan: Option<u16>,
}

impl NetworkChange {
    /// No change yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    setters! {
        opt autostart: bool; opt cidr: IpNet; opt dhcp: DhcpRange; opt_into domain: String; opt_into bridge: String;
        opt vlan: u16;
    }

    /// Checks what holds on every backend, `present` being the network now.
    ///
    /// # Errors
    /// `InvalidInput` naming the field.
    pub fn validate(&self, present: &NetworkInfo) -> Result<()> {
        self.bridge.as_deref().map_or(Ok(()), bridge_is_valid)?;
        validate::vlan("vlan", self.vlan)?;
        self.domain.as_deref().map_or(Ok(()), |domain| validate::name("domain", domain))?;
        self.cidr.map_or(Ok(()), cidr_is_valid)?;
        dhcp_is_valid(self.cidr.or(present.cidr), self.dhcp.or(present.dhcp))
    }

    /// What the backend must be able to do.
    #[must_use]
    pub fn needs(&self) -> Vec<Feature> {
        asked([(self.dhcp.is_some(), Feature::NetworkDhcp), (self.vlan.is_some(), Feature::NetworkVlan)])
    }
}

/// An address that a network's DHCP server has handed out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct Lease {
    /// The NIC.
    pub mac: MacAddr,
    /// The address.
    pub address: IpAddr,
    /// The width of the network.
    #[serde(default)]
    pub prefix: Option<u8>,
    /// What the guest calls itself.
    #[serde(default)]
    pub hostname: Option<String>,
    /// When it runs out.
    #[serde(default)]
    pub expires: Option<SystemTime>,
}

impl Lease {
    /// A lease of which nothing else is known.
    #[must_use]
    pub fn new(mac: MacAddr, address: IpAddr) -> Self {
        Self { mac, address, prefix: None, hostname: None, expires: None }
    }

    setters! { opt prefix: u8; opt_into hostname: String; opt expires: SystemTime; }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_networks_are_refused_by_field() {
        let field = |spec: NetworkSpec| {
            spec.validate().unwrap_err().fields().keys().next().cloned().unwrap_or_default()
        };
        let cidr = || "10.0.0.1/24".parse::<IpNet>().unwrap();
        let range = |a: &str, b: &str| DhcpRange::new(a.parse().unwrap(), b.parse().unwrap());
        assert_eq!(field(NetworkSpec::new("n", NetworkKind::Bridge)), "bridge");
        assert_eq!(field(NetworkSpec::on_bridge("n", "a-very-long-bridge-name")), "bridge");
        assert_eq!(field(NetworkSpec::isolated("n", cidr()).vlan(0)), "vlan");
        assert_eq!(field(NetworkSpec::isolated("n", cidr()).dhcp(range("10.0.1.2", "10.0.1.9"))), "dhcp");
        assert_eq!(field(NetworkSpec::isolated("n", cidr()).dhcp(range("10.0.0.9", "10.0.0.2"))), "dhcp");
        assert_eq!(field(NetworkSpec::isolated("n", cidr()).dhcp(range("10.0.0.1", "10.0.0.9"))), "dhcp");
        let whole = NetworkSpec::isolated("n", cidr()).dhcp_from_cidr();
        assert_eq!(whole.dhcp, Some(range("10.0.0.2", "10.0.0.254")));
        assert!(whole.validate().is_ok());
        for no_host in ["10.0.0.0/24", "10.0.0.255/24", "fd00::/64"] {
            assert_eq!(field(NetworkSpec::isolated("n", no_host.parse().unwrap())), "cidr", "{no_host}");
        }
    }

    #[test]
    fn a_range_leaves_out_the_host_wherever_it_is() {
        let ranges = [
            ("10.0.0.100/24", Some(("10.0.0.101", "10.0.0.254"))),
            ("10.0.0.254/24", Some(("10.0.0.1", "10.0.0.253"))),
            ("10.0.0.0/31", Some(("10.0.0.1", "10.0.0.1"))),
            ("10.0.0.1/32", None),
            ("10.9.0.1/8", Some(("10.0.0.1", "10.1.0.0"))),
            ("fd00::1/64", Some(("fd00::2", "fd00::ffff"))),
        ];
        for (cidr, range) in ranges {
            let spec = NetworkSpec::isolated("n", cidr.parse().unwrap()).dhcp_from_cidr();
            let range = range.map(|(a, b)| DhcpRange::new(a.parse().unwrap(), b.parse().unwrap()));
            assert_eq!(spec.dhcp, range, "{cidr}");
            assert!(spec.validate().is_ok(), "{cidr}");
        }
    }
}
