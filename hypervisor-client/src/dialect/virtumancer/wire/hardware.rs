//! A guest's devices.

use hypervisor_core::model::{
    ByteSize, DiskBus, DiskDevice, DiskInfo, MacAddr, NetworkId, NicInfo, NicModel, NicSource, VolumeFormat,
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::lenient;
use super::place::Place;

/// A guest's devices as the gateway tells them. What only some servers tell is in `rest`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Hardware {
    /// Its disks.
    #[serde(deserialize_with = "lenient::list")]
    pub disks: Vec<HardwareDisk>,
    /// Its NICs.
    #[serde(deserialize_with = "lenient::list")]
    pub networks: Vec<HardwareNic>,
    /// Videos, controllers and what else a newer server tells.
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

/// A disk. The document calls `device` what the guest sees (`disk`), the older server the slot (`vda`).
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct HardwareDisk {
    /// `file`, `block`, …; real servers leave it empty.
    #[serde(rename = "type", deserialize_with = "lenient::text")]
    pub kind: Option<String>,
    /// `disk`, `cdrom`, or the slot.
    #[serde(deserialize_with = "lenient::text")]
    pub device: Option<String>,
    /// Its driver: `driver_name`, `type`.
    #[serde(deserialize_with = "lenient::or_default")]
    pub driver: Map<String, Value>,
    /// The file or device on the host.
    #[serde(deserialize_with = "lenient::text")]
    pub path: Option<String>,
    /// The same, as libvirt has it. The older server spells it `Source`, `File` and `Dev`.
    #[serde(alias = "Source", deserialize_with = "lenient::or_default")]
    pub source: Map<String, Value>,
    /// Its slot and bus: `dev`, `bus`.
    #[serde(deserialize_with = "lenient::or_default")]
    pub target: Map<String, Value>,
    /// Its size: `value`, `unit`; the newer server only.
    #[serde(deserialize_with = "lenient::or_default")]
    pub capacity: Map<String, Value>,
    /// Whether the guest cannot write to it; the newer server only.
    #[serde(deserialize_with = "lenient::flag")]
    pub readonly: bool,
    /// What else the server says.
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

/// A NIC.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct HardwareNic {
    /// `bridge`, `network`, …; real servers leave it empty.
    #[serde(rename = "type", deserialize_with = "lenient::text")]
    pub kind: Option<String>,
    /// Its address: `address`.
    #[serde(deserialize_with = "lenient::or_default")]
    pub mac: Map<String, Value>,
    /// What it is plugged into: `bridge`, `network`, `portgroup`.
    #[serde(deserialize_with = "lenient::or_default")]
    pub source: Map<String, Value>,
    /// Its model: `model_type`, or `type` on the newer server.
    #[serde(deserialize_with = "lenient::or_default")]
    pub model: Map<String, Value>,
    /// The host's device: `dev`.
    #[serde(deserialize_with = "lenient::or_default")]
    pub target: Map<String, Value>,
    /// What else the server says.
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

/// The first of these keys that has text.
fn word<'a>(map: &'a Map<String, Value>, keys: &[&str]) -> Option<&'a str> {
    keys.iter().filter_map(|key| map.get(*key)?.as_str()).find(|text| !text.is_empty())
}

impl HardwareDisk {
    /// The disk in the words of the shared model. `index` makes a slot where the server names none.
    pub(crate) fn to_info(&self, index: usize) -> DiskInfo {
        let device = self.device.as_deref().unwrap_or_default();
        let kinds = ["disk", "cdrom", "floppy", "lun"];
        let slot = word(&self.target, &["dev"])
            .or_else(|| Some(device).filter(|name| !name.is_empty() && !kinds.contains(name)));
        let slot = slot.map_or_else(|| format!("disk{index}"), str::to_owned);
        let path = self.path.as_deref().or_else(|| word(&self.source, &["file", "File", "dev", "Dev"]));
        let format = word(&self.driver, &["type"]).map(VolumeFormat::from);
        let bus = match word(&self.target, &["bus"]) {
            Some(bus) => DiskBus::from(bus),
            None if slot.starts_with("vd") => DiskBus::Virtio,
            None => DiskBus::Unknown(String::new()),
        };
        let cdrom = device == "cdrom" || (self.readonly && path.is_some_and(|path| path.ends_with(".iso")));
        let device = if cdrom { DiskDevice::Cdrom } else { DiskDevice::Disk };
        let mut info = DiskInfo::new(slot, device, bus).read_only(self.readonly || cdrom);
        info.path = path.map(str::to_owned);
        info.format = format;
        info.capacity = self.capacity();
        info
    }

    fn capacity(&self) -> Option<ByteSize> {
        let value = self.capacity.get("value")?;
        let value = value.as_u64().or_else(|| value.as_f64().and_then(lenient::whole))?;
        let unit = word(&self.capacity, &["unit"]).unwrap_or("bytes");
        let unit = if matches!(unit, "bytes" | "byte") { "B" } else { unit };
        format!("{value} {unit}").parse().ok().filter(|size| *size != ByteSize::ZERO)
    }
}

/// What a NIC is plugged into, which the newer server tells beside the devices.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Plug {
    #[serde(deserialize_with = "lenient::text")]
    mac_address: Option<String>,
    #[serde(deserialize_with = "lenient::or_default")]
    network: PlugNetwork,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct PlugNetwork {
    #[serde(deserialize_with = "lenient::text")]
    name: Option<String>,
    #[serde(deserialize_with = "lenient::text")]
    bridge_name: Option<String>,
}

impl Plug {
    /// What the NIC of this address is plugged into, where one of these tells.
    pub(crate) fn source(all: &[Self], host: &str, mac: &str) -> Option<NicSource> {
        let of_it =
            |plug: &&Self| plug.mac_address.as_deref().is_some_and(|own| own.eq_ignore_ascii_case(mac));
        let network = &all.iter().find(of_it)?.network;
        let named = |name: &String| NicSource::Network(NetworkId::from(Place::new(host, name).to_string()));
        network.name.as_ref().map(named).or_else(|| network.bridge_name.clone().map(NicSource::Bridge))
    }
}

impl HardwareNic {
    /// The NIC in the words of the shared model: its id is its MAC address.
    pub(crate) fn to_info(&self, host: &str, index: usize) -> NicInfo {
        let source = match (word(&self.source, &["network"]), word(&self.source, &["bridge"])) {
            (Some(network), _) => NicSource::Network(NetworkId::from(Place::new(host, network).to_string())),
            (None, Some(bridge)) => NicSource::Bridge(bridge.to_owned()),
            (None, None) => match (self.kind.as_deref(), word(&self.source, &["dev"])) {
                (Some("user"), _) => NicSource::User,
                (Some("direct"), Some(card)) => NicSource::Direct(card.to_owned()),
                (None | Some("" | "network" | "bridge" | "null"), _) => NicSource::Disconnected,
                (Some(kind), _) => NicSource::Other(kind.to_owned()),
            },
        };
        let address = word(&self.mac, &["address"]);
        let model = word(&self.model, &["type", "model_type"])
            .map_or(NicModel::Unknown(String::new()), NicModel::from);
        let id = address.map_or_else(|| format!("nic{index}"), str::to_owned);
        let mut info = NicInfo::new(id, source, model);
        info.mac = address.and_then(|address| address.parse::<MacAddr>().ok());
        info
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nic_without_a_source_is_where_its_port_is() {
        let plugs: Vec<Plug> = serde_json::from_str(
            r#"[{"mac_address":"52:54:00:0C:5B:DF","port":{},"network":{"name":"default","uuid":"","bridge_name":"","mode":"nat"}},
                {"mac_address":"52:54:00:00:00:02","network":{"name":"","bridge_name":"br0"}},{"mac_address":"52:54:00:00:00:03"},
                {"mac_address":null,"network":null}]"#,
        )
        .unwrap();
        let source = |mac: &str| Plug::source(&plugs, "h", mac);
        assert_eq!(source("52:54:00:0c:5b:df"), Some(NicSource::Network("h/default".into())));
        assert_eq!(source("52:54:00:00:00:02"), Some(NicSource::Bridge("br0".into())));
        assert_eq!((source("52:54:00:00:00:03"), source("52:54:00:00:00:04")), (None, None));
    }

    fn read(json: &str) -> Hardware {
        serde_json::from_str(json).unwrap()
    }

    const DOCUMENT: &str = r#"{"disks":[{"type":"file","device":"disk","driver":{"driver_name":"qemu","type":"qcow2"},"path":"/path/to/disk.qcow2","target":{"dev":"vda","bus":"virtio"}}],"networks":[{"type":"bridge","mac":{"address":"52:54:00:11:22:33"},"source":{"bridge":"br0"},"model":{"model_type":"virtio"}}]}"#;
    const OLD: &str = r#"{"disks":[{"type":"","device":"vda","driver":{"driver_name":"","type":"qcow2"},"Source":{"File":"","Dev":""},"path":"/path/to/disk.qcow2","target":{"dev":"vda","bus":"virtio"}}],"networks":[{"type":"","mac":{"address":"52:54:00:11:22:33"},"source":{"bridge":"br0"},"model":{"model_type":"virtio"},"target":{"dev":""}}]}"#;
    const NEW: &str = r#"{"disks":[{"device":"disk","driver":{"name":"qemu","type":"qcow2"},"source":{"file":"/path/to/disk.qcow2","dev":""},"target":{"dev":"vda","bus":"virtio"},"capacity":{"value":0,"unit":"bytes"},"readonly":false}],"networks":[{"mac":{"address":"52:54:00:11:22:33"},"source":{"bridge":"br0","network":"","portgroup":""},"model":{"type":"virtio"}}],"videos":[]}"#;

    #[test]
    fn every_generation_says_the_same() {
        let mac: MacAddr = "52:54:00:11:22:33".parse().unwrap();
        let disk = DiskInfo::new("vda", DiskDevice::Disk, DiskBus::Virtio)
            .path("/path/to/disk.qcow2")
            .format(VolumeFormat::Qcow2);
        let nic =
            NicInfo::new("52:54:00:11:22:33", NicSource::Bridge("br0".into()), NicModel::Virtio).mac(mac);
        for json in [DOCUMENT, OLD, NEW] {
            let hardware = read(json);
            assert_eq!(hardware.disks[0].to_info(0), disk, "{json}");
            assert_eq!(hardware.networks[0].to_info("h", 0), nic, "{json}");
        }
    }

    #[test]
    fn what_is_missing_is_made_up_for() {
        for json in ["{}", r#"{"disks":null,"networks":null}"#] {
            assert_eq!(read(json).disks.len() + read(json).networks.len(), 0);
        }
        let odd = read(
            r#"{"disks":[{"device":"cdrom","target":null,"capacity":{"value":10,"unit":"GiB"}}],"networks":[{"source":{"network":"default"}}]}"#,
        );
        let disk = odd.disks[0].to_info(0);
        assert_eq!(
            (disk.id.as_str(), disk.device, disk.capacity),
            ("disk0", DiskDevice::Cdrom, Some(ByteSize::gib(10)))
        );
        let nic = odd.networks[0].to_info("h", 1);
        assert_eq!((nic.id.as_str(), nic.source), ("nic1", NicSource::Network("h/default".into())));
        let kinds = read(
            r#"{"networks":[{"type":"direct","source":{"dev":"eth0"}},{"type":"hostdev"},{"type":"null"},{"type":"user"}]}"#,
        );
        let kinds: Vec<_> = kinds.networks.iter().map(|nic| nic.to_info("h", 0).source).collect();
        let direct = NicSource::Direct("eth0".into());
        assert_eq!(
            kinds,
            [direct, NicSource::Other("hostdev".into()), NicSource::Disconnected, NicSource::User]
        );
    }
}
