//! Networks: the bridges of a node, and the vnets of software-defined networking.

use std::collections::{BTreeMap, BTreeSet};

use hypervisor_core::model::{IpNet, NetworkChange, NetworkInfo, NetworkKind, NetworkSpec};
use hypervisor_core::{Error, Operation, Result};
use serde_json::{Map, Value};

use super::form::Form;
use super::scalar::{row, text_of};
use super::status::extra_of;

row! {
    /// A row of `/nodes/{node}/network`.
    InterfaceRow {
        /// Its name.
        iface: String = "iface",
        /// `bridge`, `bond`, `eth`, `vlan`, `OVSBridge`, …
        kind: String = "type",
        /// Whether it is up.
        active: bool = "active",
        /// Whether it comes up with the node.
        autostart: bool = "autostart",
        /// The address with its prefix.
        cidr: String = "cidr",
        /// The IPv6 address with its prefix.
        cidr6: String = "cidr6",
        /// The interfaces in a bridge.
        bridge_ports: String = "bridge_ports",
        /// Whether a bridge knows VLANs.
        bridge_vlan_aware: bool = "bridge_vlan_aware",
        /// The VLAN of an interface on another one.
        vlan_id: u64 = "vlan-id",
        /// What somebody wrote about it.
        comments: String = "comments",
    }
}

row! {
    /// A row of `/cluster/sdn/vnets`.
    VnetRow {
        /// Its name, which guests' NICs use like a bridge's.
        vnet: String = "vnet",
        /// Its zone.
        zone: String = "zone",
        /// Its VLAN or VXLAN number.
        tag: u64 = "tag",
        /// What somebody calls it.
        alias: String = "alias",
        /// `new`, `changed` or `deleted` until the configuration is applied.
        state: String = "state",
        /// What is not in force yet: of a new one all there is.
        pending: Value = "pending",
    }
}

/// How the mark of a bridge that was made through the trait begins, in its comment; the network's name follows.
const MARK: &str = "hypervisor network ";

/// The configuration of a node's interfaces as it is written, and what of it is not in force.
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct Interfaces {
    /// The rows by the interfaces' names.
    pub rows: BTreeMap<String, Map<String, Value>>,
    /// What waits, in the server's words.
    pub changes: Option<String>,
}

impl Interfaces {
    /// Reads `/nodes/{node}/network`.
    ///
    /// # Errors
    /// `Protocol` where the answer is no such list.
    pub fn read(body: &[u8]) -> Result<Self> {
        let answer = super::envelope::answer::<Vec<Map<String, Value>>>(body)?;
        let named = answer.data.into_iter().filter_map(|row| Some((text_of(row.get("iface")?)?, row)));
        let changes = answer.changes.filter(|changes| !changes.trim().is_empty());
        Ok(Self { rows: named.collect(), changes })
    }

    /// The interfaces that are written otherwise than in `other`. What the node sees of them, and their order, does not count.
    #[must_use]
    pub fn differing<'a>(&'a self, other: &'a Self) -> BTreeSet<&'a str> {
        const SEEN: [&str; 6] = ["active", "exists", "altnames", "priority", "families", "iface"];
        let written = |row: Option<&Map<String, Value>>| -> Option<BTreeMap<String, String>> {
            let row = row?.iter().filter(|(key, _)| !SEEN.contains(&key.as_str()));
            Some(
                row.map(|(key, value)| (key.clone(), text_of(value).unwrap_or_else(|| value.to_string())))
                    .collect(),
            )
        };
        let names = self.rows.keys().chain(other.rows.keys()).map(String::as_str);
        names.filter(|name| written(self.rows.get(*name)) != written(other.rows.get(*name))).collect()
    }

    /// What a row says.
    #[must_use]
    pub fn text(&self, name: &str, key: &str) -> Option<String> {
        text_of(self.rows.get(name)?.get(key)?).filter(|text| !text.is_empty())
    }

    /// Whether an interface is up.
    #[must_use]
    pub fn is_up(&self, name: &str) -> bool {
        self.text(name, "active").is_some_and(|text| text != "0")
    }

    /// Whether a bridge was made through the trait, and nobody has connected it to the outside since.
    #[must_use]
    pub fn is_own(&self, name: &str) -> bool {
        let marked = self.text(name, "comments").is_some_and(|text| marked_name(&text).is_some());
        let outside =
            ["bridge_ports", "gateway", "gateway6"].iter().any(|key| self.text(name, key).is_some());
        marked && !outside
    }
}

/// The name in the mark of a bridge.
fn marked_name(comments: &str) -> Option<&str> {
    comments.lines().find_map(|line| line.trim().strip_prefix(MARK))
}

/// The bridges of a node, which is what guests can be plugged into. Other interfaces are left out.
///
/// # Errors
/// `Protocol` where the answer is no such list.
pub fn bridges(body: &[u8], node: &str) -> Result<Vec<NetworkInfo>> {
    let rows: Vec<InterfaceRow> = super::envelope::data(body)?;
    let bridges = rows.into_iter().filter(|row| matches!(row.kind.as_deref(), Some("bridge" | "OVSBridge")));
    Ok(bridges.filter_map(|row| bridge(row, node)).collect())
}

fn bridge(row: InterfaceRow, node: &str) -> Option<NetworkInfo> {
    let name = row.iface?;
    let marked = row.comments.as_deref().and_then(marked_name).map(str::to_owned);
    let alone = row.bridge_ports.as_deref().is_none_or(str::is_empty);
    let kind = if marked.is_some() && alone { NetworkKind::Isolated } else { NetworkKind::Bridge };
    let called = marked.as_deref().unwrap_or(&name);
    let mut info = NetworkInfo::new(name.as_str(), called, kind, row.active.unwrap_or(false));
    info.autostart = row.autostart.unwrap_or(false);
    info.bridge = Some(name);
    info.cidr = row.cidr.or(row.cidr6).and_then(|cidr| cidr.parse().ok());
    info.host = Some(node.into());
    info.extra = extra_of(row.rest);
    let facts = [
        ("bridge_ports", row.bridge_ports.map(Value::from)),
        ("bridge_vlan_aware", row.bridge_vlan_aware.map(Value::from)),
        ("comments", row.comments.map(Value::from)),
        ("type", row.kind.map(Value::from)),
    ];
    for (key, value) in facts {
        if let Some(value) = value {
            info.extra.insert(crate::BACKEND, key, value);
        }
    }
    Some(info)
}

/// One bridge of a node: `/nodes/{node}/network/{iface}`, whose answer does not name it.
///
/// # Errors
/// `Protocol` where the answer is no such object.
pub fn interface(body: &[u8], name: &str, node: &str) -> Result<Option<NetworkInfo>> {
    let mut row: InterfaceRow = super::envelope::data(body)?;
    row.iface.get_or_insert_with(|| name.to_owned());
    Ok(bridge(row, node))
}

/// The vnets of the cluster.
///
/// # Errors
/// `Protocol` where the answer is no such list.
pub fn vnets(body: &[u8]) -> Result<Vec<NetworkInfo>> {
    let rows: Vec<VnetRow> = super::envelope::data(body)?;
    let infos = rows.into_iter().filter_map(|row| {
        let name = row.vnet?;
        let waiting = |key: &str| row.pending.as_ref()?.get(key).and_then(text_of);
        let (zone, alias) = (row.zone.or_else(|| waiting("zone")), row.alias.or_else(|| waiting("alias")));
        let tag = row.tag.or_else(|| waiting("tag")?.parse().ok());
        let applied = !matches!(row.state.as_deref(), Some("new" | "deleted"));
        let mut info =
            NetworkInfo::new(name.as_str(), name.as_str(), NetworkKind::Vnet, applied).autostart(true);
        info.vlan = tag.and_then(|tag| u16::try_from(tag).ok());
        info.bridge = Some(name);
        info.extra = extra_of(row.rest);
        for (key, text) in [("zone", zone), ("alias", alias), ("state", row.state)] {
            if let Some(text) = text {
                info.extra.insert(crate::BACKEND, key, text);
            }
        }
        if let Some(tag) = tag {
            info.extra.insert(crate::BACKEND, "tag", tag);
        }
        Some(info)
    });
    Ok(infos.collect())
}

/// The parameters of `POST /nodes/{node}/network` for a bridge. The node applies them when its network is reloaded.
///
/// # Errors
/// `InvalidInput` naming the field.
pub fn create_bridge(spec: &NetworkSpec) -> Result<Form> {
    spec.validate()?;
    if spec.dhcp.is_some() || spec.domain.is_some() {
        return Err(Error::invalid("dhcp", "a node hands out no addresses and names"));
    }
    let name = spec.bridge.as_deref().unwrap_or(&spec.name);
    let form = Form::new().text("iface", name).text("type", "bridge").flag("autostart", spec.autostart);
    let mut form = with_address(form, spec.cidr);
    let options = spec.options.get(crate::BACKEND);
    for (key, value) in options.as_object().into_iter().flatten() {
        let text = text_of(value).filter(|_| OF_BRIDGES.contains(&key.as_str()));
        let field = format!("options.proxmox.{key}");
        let text = text.ok_or_else(|| {
            Error::invalid(
                field,
                format!("a bridge has no such setting: there are {}", OF_BRIDGES.join(", ")),
            )
        })?;
        form.set(key, text);
    }
    Ok(form)
}

/// What a bridge may have beyond the model, in the server's words.
const OF_BRIDGES: [&str; 7] =
    ["bridge_ports", "bridge_vids", "bridge_vlan_aware", "comments", "gateway", "gateway6", "mtu"];

fn with_address(form: Form, cidr: Option<IpNet>) -> Form {
    match cidr {
        Some(cidr) => form.text(if cidr.addr().is_ipv6() { "cidr6" } else { "cidr" }, cidr.to_string()),
        None => form,
    }
}

/// The parameters of a bridge that joins nothing but guests and the node, with the network's name in its comment. Where the spec names no
/// bridge, it is called like the network, or where no interface can be called so, by a number made of its name.
///
/// # Errors
/// `InvalidInput` naming the field, `Unsupported` for kinds that a node does not have.
pub fn create_own_bridge(spec: &NetworkSpec) -> Result<Form> {
    spec.validate()?;
    match &spec.kind {
        NetworkKind::Isolated => {}
        NetworkKind::Bridge => {
            let why = "a bridge of a host's own interfaces is made by `create_bridge` and `apply_networks` of `Proxmox`: \
                       a mistake in it can cut the host off";
            return Err(Error::unsupported(Operation::CreateNetwork, why));
        }
        other => {
            let why = format!("hosts make no networks of the kind `{other}`");
            return Err(Error::unsupported(Operation::CreateNetwork, why));
        }
    }
    for (given, field, why) in [
        (spec.dhcp.is_some(), "dhcp", "a host hands out no addresses"),
        (spec.domain.is_some(), "domain", "a host hands out no names"),
        (spec.vlan.is_some(), "vlan", "a bridge is in no VLAN: say it of the NICs"),
        (spec.options.get(crate::BACKEND).is_object(), "options.proxmox", "are for `create_bridge`"),
    ] {
        if given {
            return Err(Error::invalid(field, why));
        }
    }
    let name = match &spec.bridge {
        Some(bridge) if is_interface(bridge) => bridge.clone(),
        Some(bridge) => {
            let why =
                format!("`{bridge}` is no name of an interface: letters, digits and `_`, a letter first");
            return Err(Error::invalid("bridge", why));
        }
        None if is_interface(&spec.name) => spec.name.clone(),
        None => format!("hv{:010x}", number_of(&spec.name)),
    };
    let form = Form::new().text("iface", name).text("type", "bridge");
    // What is up starts with its node, too: only that is brought up.
    let form = form.flag("autostart", spec.autostart || spec.start);
    Ok(with_address(form, spec.cidr).text("comments", format!("{MARK}{}", spec.name)))
}

/// Names of interfaces that the server takes (`pve-iface`) and Linux has room for.
fn is_interface(name: &str) -> bool {
    (2..=15).contains(&name.len())
        && name.starts_with(|first: char| first.is_ascii_alphabetic())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// 40 bits of FNV-1a: the same for the same name.
fn number_of(name: &str) -> u64 {
    let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    hash & 0xff_ffff_ffff
}

/// The parameters of `PUT /nodes/{node}/network/{iface}`: the server forgets of an address what is not said anew.
///
/// # Errors
/// `InvalidInput` naming the field, for what a bridge does not have.
pub fn change_own_bridge(now: &Interfaces, name: &str, change: &NetworkChange) -> Result<Form> {
    for (given, field, why) in [
        (change.dhcp.is_some(), "dhcp", "a host hands out no addresses"),
        (change.domain.is_some(), "domain", "a host hands out no names"),
        (change.vlan.is_some(), "vlan", "a bridge is in no VLAN: say it of the NICs"),
        (change.bridge.as_deref().is_some_and(|bridge| bridge != name), "bridge", "a bridge keeps its name"),
    ] {
        if given {
            return Err(Error::invalid(field, why));
        }
    }
    let is = |key: &str| now.text(name, key);
    let autostart = change.autostart.unwrap_or_else(|| is("autostart").is_some_and(|text| text != "0"));
    let form = Form::new().text("type", "bridge").flag("autostart", autostart);
    let form = form.maybe("comments", is("comments").map(|text| text.trim_end().to_owned()));
    let v6 = change.cidr.is_some_and(|cidr| cidr.addr().is_ipv6());
    let (old, old6) = (is("cidr").filter(|_| change.cidr.is_none() || v6), is("cidr6").filter(|_| !v6));
    Ok(with_address(form.maybe("cidr", old).maybe("cidr6", old6), change.cidr))
}

/// The parameters of `POST /cluster/sdn/vnets`. The zone comes from the options (`{"proxmox": {"zone": …}}`).
///
/// # Errors
/// `InvalidInput` naming the field.
pub fn create_vnet(spec: &NetworkSpec) -> Result<Form> {
    spec.validate()?;
    let zone = spec.options.get(crate::BACKEND)["zone"].as_str();
    let zone = zone.ok_or_else(|| Error::invalid("options.proxmox.zone", "a vnet needs its zone"))?;
    // The server's own rule for names of vnets.
    let fits = (2..=8).contains(&spec.name.len())
        && spec.name.starts_with(|first: char| first.is_ascii_alphabetic())
        && spec.name.bytes().all(|byte| byte.is_ascii_alphanumeric());
    if !fits {
        return Err(Error::invalid(
            "name",
            "a vnet is called by two to eight letters and digits, a letter first",
        ));
    }
    for (given, field, why) in [
        (spec.cidr.is_some(), "cidr", "a vnet gets its addresses as subnets, by `api()`"),
        (spec.dhcp.is_some(), "dhcp", "a vnet gets its addresses as subnets, by `api()`"),
        (spec.domain.is_some(), "domain", "a vnet has none; its zone may"),
        (
            spec.bridge.as_deref().is_some_and(|bridge| bridge != spec.name),
            "bridge",
            "a vnet is a bridge of its own name",
        ),
        (spec.host.is_some(), "host", "a vnet is on every host of its zone"),
    ] {
        if given {
            return Err(Error::invalid(field, why));
        }
    }
    let form = Form::new().text("vnet", spec.name.as_str()).text("zone", zone);
    Ok(form.maybe("tag", spec.vlan.map(|tag| tag.to_string())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use hypervisor_core::model::Extra;

    #[test]
    fn only_bridges_are_networks() {
        let body = br#"[{"iface":"vmbr0","type":"bridge","active":1,"autostart":1,"cidr":"10.99.0.1/24","bridge_ports":"eth0"},
            {"iface":"eth0","type":"eth","active":1},{"iface":"vmbr1","type":"OVSBridge"}]"#;
        let all = bridges(body, "pve1").unwrap();
        assert_eq!(all.len(), 2);
        assert_eq!((all[0].cidr.unwrap().to_string().as_str(), all[0].active), ("10.99.0.1/24", true));
        assert!(!all[1].active);
        let vnets = vnets(br#"[{"vnet":"v1","zone":"z","tag":"70000","state":"new"}]"#).unwrap();
        assert_eq!((vnets[0].vlan, vnets[0].active), (None, false));
        assert_eq!(vnets[0].extra.get("proxmox")["tag"], 70000);
    }

    #[test]
    fn what_a_node_cannot_do_is_not_sent() {
        let cidr = "10.0.0.1/24".parse().unwrap();
        let nat = NetworkSpec::on_bridge("vmbr7", "vmbr7").cidr(cidr);
        let mut ports = Extra::default();
        ports.insert("proxmox", "bridge_ports", "eno2");
        let with_ports = create_bridge(&nat.clone().options(ports.clone())).unwrap();
        assert_eq!(with_ports.get("bridge_ports"), Some("eno2"));
        ports.insert("proxmox", "iface", "eno2");
        let error = create_bridge(&nat.clone().options(ports)).unwrap_err();
        assert!(error.fields().contains_key("options.proxmox.iface"), "{error}");
        assert_eq!(
            create_bridge(&nat).unwrap().encode(),
            "iface=vmbr7&type=bridge&autostart=0&cidr=10.0.0.1%2F24"
        );
        assert!(create_bridge(&nat.clone().dhcp_from_cidr()).is_err());
        let vnet = NetworkSpec::new("v1", NetworkKind::Vnet).vlan(7);
        assert!(create_vnet(&vnet).unwrap_err().fields().contains_key("options.proxmox.zone"));
        let mut options = Extra::default();
        options.insert("proxmox", "zone", "z1");
        assert_eq!(
            create_vnet(&vnet.clone().options(options.clone())).unwrap().encode(),
            "vnet=v1&zone=z1&tag=7"
        );
        for name in ["much-too-long", "x", "1net", "a-b", "lab_1"] {
            let spec = NetworkSpec::new(name, NetworkKind::Vnet).options(options.clone());
            assert!(create_vnet(&spec).unwrap_err().fields().contains_key("name"), "{name}");
        }
        let addressed = vnet.cidr(cidr).options(options);
        assert!(create_vnet(&addressed).unwrap_err().fields().contains_key("cidr"));
    }

    #[test]
    fn a_bridge_of_the_trait_carries_the_networks_name() {
        let cidr = "10.0.0.1/24".parse().unwrap();
        let spec = NetworkSpec::isolated("build-farm.lab", cidr);
        let form = create_own_bridge(&spec).unwrap();
        let iface = form.get("iface").unwrap();
        assert!(iface.len() == 12 && iface.starts_with("hv") && is_interface(iface), "{iface}");
        assert_eq!(
            create_own_bridge(&spec).unwrap().get("iface"),
            Some(iface),
            "the same name, the same bridge"
        );
        assert_eq!(form.get("comments"), Some("hypervisor network build-farm.lab"));
        assert_eq!((form.get("cidr"), form.get("autostart")), (Some("10.0.0.1/24"), Some("0")));
        assert_eq!(
            create_own_bridge(&NetworkSpec::isolated("lab1", cidr).start(true)).unwrap().get("autostart"),
            Some("1")
        );
        let field = |spec: NetworkSpec| create_own_bridge(&spec).unwrap_err().fields().keys().next().cloned();
        assert_eq!(field(spec.clone().bridge("br-lab")).as_deref(), Some("bridge"));
        assert_eq!(field(spec.clone().vlan(7)).as_deref(), Some("vlan"));
        assert_eq!(field(spec.clone().dhcp_from_cidr()).as_deref(), Some("dhcp"));
        for kind in [NetworkKind::Nat, NetworkKind::Routed, NetworkKind::Bridge] {
            let error = create_own_bridge(&NetworkSpec::new("lab", kind).bridge("lab1")).unwrap_err();
            assert!(error.is_unsupported(), "{error}");
        }
        let row = format!(
            r#"{{"data":[{{"iface":"{iface}","type":"bridge","bridge_ports":"","comments":"hypervisor network build-farm.lab\n","cidr":"10.0.0.1/24"}}]}}"#
        );
        let read = bridges(row.as_bytes(), "pve1").unwrap();
        assert_eq!((read[0].name.as_str(), read[0].kind.clone()), ("build-farm.lab", NetworkKind::Isolated));
        assert!(Interfaces::read(row.as_bytes()).unwrap().is_own(iface));
        let grown = row.replace(r#""bridge_ports":"""#, r#""bridge_ports":"eno2""#);
        assert_eq!(bridges(grown.as_bytes(), "pve1").unwrap()[0].kind, NetworkKind::Bridge);
        assert!(!Interfaces::read(grown.as_bytes()).unwrap().is_own(iface));
    }

    #[test]
    fn what_waits_on_a_node_is_seen_and_told_apart() {
        let before = Interfaces::read(
            br#"{"data":[{"iface":"vmbr0","type":"bridge","active":1,"autostart":1,"priority":3}]}"#,
        )
        .unwrap();
        assert_eq!(before.changes, None);
        let after = Interfaces::read(
            br#"{"changes":"--- a\n+++ b\n+iface lab1\n","data":[{"iface":"lab1","type":"bridge"},
                {"iface":"vmbr0","type":"bridge","autostart":"1","priority":4,"exists":1}]}"#,
        )
        .unwrap();
        assert!(after.changes.is_some());
        assert_eq!(after.differing(&before), ["lab1"].into());
        let foreign = Interfaces::read(
            br#"{"data":[{"iface":"vmbr0","type":"bridge","autostart":1,"gateway":"10.0.0.254"}]}"#,
        )
        .unwrap();
        assert_eq!(foreign.differing(&before), ["vmbr0"].into());
        let change = |change| change_own_bridge(&after, "lab1", &change).unwrap().encode();
        assert_eq!(change(NetworkChange::new().autostart(true)), "type=bridge&autostart=1");
        assert!(change_own_bridge(&after, "lab1", &NetworkChange::new().vlan(7)).is_err());
    }

    #[test]
    fn a_new_vnet_has_its_settings_beside_the_row() {
        let row = br#"[{"vnet":"lab","type":"vnet","state":"new","pending":{"zone":"z1","tag":7}},{"vnet":"old","zone":"z1","state":"deleted"}]"#;
        let all = vnets(row).unwrap();
        assert_eq!(
            (all[0].vlan, all[0].active, all[0].extra.get("proxmox")["zone"].as_str()),
            (Some(7), false, Some("z1"))
        );
        assert!(!all[1].active);
    }
}
