//! Networks: the bridges of a node, and the vnets of software-defined networking.

use hypervisor_core::model::{NetworkInfo, NetworkKind, NetworkSpec};
use hypervisor_core::{Error, Result};
use serde_json::Value;

use super::form::Form;
use super::scalar::row;
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
    }
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
    let mut info =
        NetworkInfo::new(name.as_str(), name.as_str(), NetworkKind::Bridge, row.active.unwrap_or(false));
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
        let applied = !matches!(row.state.as_deref(), Some("new" | "deleted"));
        let mut info =
            NetworkInfo::new(name.as_str(), name.as_str(), NetworkKind::Vnet, applied).autostart(true);
        info.vlan = row.tag.and_then(|tag| u16::try_from(tag).ok());
        info.bridge = Some(name);
        info.extra = extra_of(row.rest);
        for (key, text) in [("zone", row.zone), ("alias", row.alias), ("state", row.state)] {
            if let Some(text) = text {
                info.extra.insert(crate::BACKEND, key, text);
            }
        }
        if let Some(tag) = row.tag {
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
    let address =
        spec.cidr.map(|cidr| (if cidr.addr().is_ipv6() { "cidr6" } else { "cidr" }, cidr.to_string()));
    Ok(match address {
        Some((key, cidr)) => form.text(key, cidr),
        None => form,
    })
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
    if spec.name.len() > 8 || !spec.name.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return Err(Error::invalid("name", "a vnet has at most eight letters and digits"));
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
        assert!(create_vnet(&NetworkSpec::new("much-too-long", NetworkKind::Vnet).options(options)).is_err());
    }
}
