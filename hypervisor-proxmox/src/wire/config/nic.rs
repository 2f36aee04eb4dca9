//! NICs, as property strings: `virtio=BC:24:11:00:00:01,bridge=vmbr0,tag=5`.

use hypervisor_core::model::{GuestKind, MacAddr, NicChange, NicInfo, NicModel, NicSource, NicSpec};
use hypervisor_core::{Error, Result};

use super::Config;
use crate::wire::property::{self, Properties};

/// The cards that Proxmox has; any may be a key with the address as its value.
const MODELS: [&str; 14] = [
    "virtio",
    "e1000",
    "e1000e",
    "e1000-82540em",
    "e1000-82544gc",
    "e1000-82545em",
    "rtl8139",
    "vmxnet3",
    "i82551",
    "i82557b",
    "i82559er",
    "ne2k_isa",
    "ne2k_pci",
    "pcnet",
];

/// Properties that the model knows, beside the card.
const KNOWN: [&str; 6] = ["model", "macaddr", "bridge", "tag", "link_down", "hwaddr"];

/// The NICs of a guest, in order.
pub(super) fn all(config: &Config) -> Vec<NicInfo> {
    config.family("net").map(|(number, text)| decode(&format!("net{number}"), text, config.kind)).collect()
}

/// A NIC as the model has it. Bridges and vnets are what the driver lists as networks, so a NIC on one is in that network.
pub(super) fn decode(id: &str, text: &str, kind: GuestKind) -> NicInfo {
    let nic = property::parse(text);
    let (model, mac) = match kind {
        GuestKind::Container => (nic.get("type").unwrap_or("veth"), nic.get("hwaddr")),
        _ => card(&nic),
    };
    let down = nic.flag("link_down") == Some(true);
    let source = match nic.get("bridge") {
        Some(bridge) => NicSource::Network(bridge.into()),
        None if down || kind == GuestKind::Container => NicSource::Disconnected,
        None => NicSource::User,
    };
    let mut info = NicInfo::new(id, source, NicModel::parse(model)).link_down(down);
    info.mac = mac.and_then(|mac| mac.parse().ok());
    info.vlan = nic.get("tag").and_then(|tag| tag.parse().ok());
    info
}

/// The card and its address, which is the value of the card's key or has a key of its own.
fn card(nic: &Properties) -> (&str, Option<&str>) {
    let by_key = MODELS.iter().find_map(|model| Some((*model, nic.get(model)?)));
    match by_key {
        Some((model, mac)) => (model, Some(mac)),
        None => (nic.get_or_bare("model").unwrap_or("virtio"), nic.get("macaddr")),
    }
}

/// What of a NIC's text the model has no place for.
pub(super) fn beyond(text: &str) -> String {
    let mut nic = property::parse(text);
    for key in KNOWN.iter().chain(&MODELS) {
        nic.remove(key);
    }
    nic.remove_bare();
    nic.to_string()
}

/// The spec that would give the guest this NIC again.
pub(super) fn spec(info: &NicInfo, kind: GuestKind) -> NicSpec {
    let mut spec = NicSpec::new(info.source.clone()).link_down(info.link_down);
    spec.model = (kind != GuestKind::Container).then(|| info.model.clone());
    spec.mac = info.mac;
    spec.vlan = info.vlan;
    spec
}

/// Addresses are written as the server does.
fn upper(mac: MacAddr) -> String {
    mac.to_string().to_ascii_uppercase()
}

/// Writes a NIC. `number` is that of its slot.
pub(super) fn encode(spec: &NicSpec, kind: GuestKind, number: u16, field: &str) -> Result<Properties> {
    let mut nic = if kind == GuestKind::Container {
        // Without an address the interface would stay down inside.
        let nic = Properties::new().with("name", format!("eth{number}"));
        match spec.mac {
            Some(mac) => nic.with("hwaddr", upper(mac)),
            None => nic,
        }
    } else {
        let model = spec.model.as_ref().map_or("virtio", NicModel::as_str);
        if !MODELS.contains(&model) {
            let why = format!("`{}` is none of {}", model.escape_debug(), MODELS.join(", "));
            return Err(Error::invalid(format!("{field}.model"), why));
        }
        match spec.mac {
            Some(mac) => Properties::new().with(model, upper(mac)),
            None => Properties::bare(model),
        }
    };
    plug(&mut nic, &spec.source, kind, field)?;
    if kind == GuestKind::Container && nic.get("bridge").is_some() {
        nic.set("ip", "dhcp");
    }
    if let Some(tag) = spec.vlan {
        nic.set("tag", tag.to_string());
    }
    if spec.link_down {
        nic.set("link_down", "1");
    }
    Ok(nic)
}

/// Plugs a NIC into something else, all else kept.
fn plug(nic: &mut Properties, source: &NicSource, kind: GuestKind, field: &str) -> Result<()> {
    match source {
        NicSource::Network(name) => nic.set("bridge", bridge(name.as_str(), field)?),
        NicSource::Bridge(name) => nic.set("bridge", bridge(name, field)?),
        NicSource::User if kind == GuestKind::Container => {
            return Err(Error::invalid(
                format!("{field}.source"),
                "a container has no network of the host process",
            ));
        }
        NicSource::User => {
            nic.remove("bridge");
        }
        NicSource::Disconnected => {
            nic.remove("bridge");
            nic.set("link_down", "1");
        }
        _ => return Err(Error::invalid(format!("{field}.source"), "is not known to this driver")),
    }
    Ok(())
}

fn bridge<'a>(name: &'a str, field: &str) -> Result<&'a str> {
    let fits = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
    if fits {
        return Ok(name);
    }
    let why = format!("`{}` is no bridge and no vnet", name.escape_debug());
    Err(Error::invalid(format!("{field}.network"), why))
}

/// A changed NIC, what the change does not name kept as it is.
pub(super) fn change(text: &str, change: &NicChange, kind: GuestKind) -> Result<Properties> {
    let mut nic = property::parse(text);
    if let Some(source) = &change.source {
        let was_cut = nic.get("bridge").is_none();
        plug(&mut nic, source, kind, "nic")?;
        if was_cut && *source != NicSource::Disconnected && change.link_down.is_none() {
            nic.remove("link_down");
        }
    }
    match change.link_down {
        Some(true) => nic.set("link_down", "1"),
        Some(false) => drop(nic.remove("link_down")),
        None => {}
    }
    if let Some(tag) = change.vlan {
        nic.set("tag", tag.to_string());
    }
    Ok(nic)
}
