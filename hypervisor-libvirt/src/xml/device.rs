//! Disks and NICs of a domain, both ways.

use hypervisor_core::model::{
    ByteSize, DiskBus, DiskDevice, DiskInfo, DiskSpec, MacAddr, NicChange, NicInfo, NicModel, NicSource,
    NicSpec, VolumeFormat,
};
use hypervisor_core::{Error, Result};

use super::Element;

/// Where the content of a disk lies once its volume is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum DiskFile {
    File(String),
    Block(String),
    Empty,
}

impl DiskFile {
    /// A path on the host; devices lie under `/dev`.
    pub(crate) fn at(path: impl Into<String>) -> Self {
        let path = path.into();
        if path.starts_with("/dev/") { Self::Block(path) } else { Self::File(path) }
    }
}

/// A disk as it will be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DiskPlan {
    pub(crate) target: String,
    pub(crate) bus: DiskBus,
    pub(crate) device: DiskDevice,
    pub(crate) file: DiskFile,
    pub(crate) format: VolumeFormat,
    pub(crate) read_only: bool,
    pub(crate) serial: Option<String>,
}

impl DiskPlan {
    /// The disk that a spec asks for, on a target that is free.
    pub(crate) fn new(
        spec: &DiskSpec,
        bus: DiskBus,
        target: String,
        file: DiskFile,
        format: VolumeFormat,
    ) -> Self {
        let (device, read_only, serial) = (spec.device, spec.read_only, spec.serial.clone());
        Self { target, bus, device, file, format, read_only, serial }
    }

    pub(crate) fn element(&self) -> Element {
        let (kind, source) = match &self.file {
            DiskFile::File(path) => ("file", Some(("file", path))),
            DiskFile::Block(path) => ("block", Some(("dev", path))),
            DiskFile::Empty => ("file", None),
        };
        let mut disk = Element::new("disk").with_attr("type", kind).with_attr("device", self.device.as_str());
        disk.push(
            Element::new("driver").with_attr("name", "qemu").with_attr("type", driver_type(&self.format)),
        );
        if let Some((name, path)) = source {
            disk.push(Element::new("source").with_attr(name, path));
        }
        disk.push(Element::new("target").with_attr("dev", &self.target).with_attr("bus", self.bus.as_str()));
        if let Some(serial) = &self.serial {
            disk.push(Element::new("serial").with_text(serial));
        }
        if self.read_only {
            disk.push(Element::new("readonly"));
        }
        disk
    }
}

/// What QEMU calls the layout of a volume's content.
fn driver_type(format: &VolumeFormat) -> &str {
    match format {
        VolumeFormat::Iso | VolumeFormat::Tar | VolumeFormat::Dir => "raw",
        known => known.as_str(),
    }
}

/// The bus of a disk whose spec names none.
pub(crate) fn bus_of(spec: &DiskSpec, machine: Option<&str>, field: &str) -> Result<DiskBus> {
    // i440fx has IDE and no SATA, q35 the other way round.
    let old = machine.is_some_and(|machine| machine == "pc" || machine.contains("i440fx"));
    match &spec.bus {
        Some(DiskBus::Nvme) => {
            Err(Error::invalid(format!("{field}.bus"), "libvirt attaches no volume as an NVMe disk"))
        }
        Some(bus) => Ok(bus.clone()),
        None => Ok(match spec.device {
            DiskDevice::Cdrom if old => DiskBus::Ide,
            DiskDevice::Cdrom => DiskBus::Sata,
            _ => DiskBus::Virtio,
        }),
    }
}

/// The target of a disk: the slot that its spec names, or the next free one of its bus.
pub(crate) fn target_of(spec: &DiskSpec, bus: &DiskBus, taken: &[String], field: &str) -> Result<String> {
    if let Some(slot) = &spec.slot {
        let slot = slot.as_str();
        if taken.iter().any(|other| other == slot) {
            return Err(Error::invalid(format!("{field}.slot"), format!("`{slot}` is taken")));
        }
        return Ok(slot.to_owned());
    }
    let prefix = match bus {
        DiskBus::Virtio => "vd",
        DiskBus::Ide => "hd",
        _ => "sd",
    };
    let letters = || ('a'..='z').map(String::from);
    let pairs = letters().flat_map(|first| letters().map(move |second| format!("{first}{second}")));
    let mut names = letters().chain(pairs).map(|letters| format!("{prefix}{letters}"));
    let free = names.find(|name| !taken.contains(name));
    free.ok_or_else(|| Error::invalid(field, format!("bus {bus} has no free slot")))
}

/// The disks of a domain, floppies and the like left out. The capacity is another call's to find out.
pub(crate) fn disks(domain: &Element) -> Vec<DiskInfo> {
    domain.all("devices/disk").into_iter().filter_map(disk).collect()
}

fn disk(element: &Element) -> Option<DiskInfo> {
    let device = match element.attr("device").unwrap_or("disk") {
        "disk" | "lun" => DiskDevice::Disk,
        "cdrom" => DiskDevice::Cdrom,
        _ => return None,
    };
    let target = element.child("target")?;
    let bus = DiskBus::parse(target.attr("bus").unwrap_or_default());
    let mut info =
        DiskInfo::new(target.attr("dev")?, device, bus).read_only(element.child("readonly").is_some());
    info.path = source_path(element);
    info.volume = named_volume(element).map(|(pool, volume)| super::storage::volume_id(pool, volume));
    info.serial = element.text_at("serial");
    // libvirt writes a driver type for an empty drive too; it says nothing.
    let elsewhere = matches!(element.attr("type"), Some("network" | "volume" | "nvme"));
    let format = element.attr_at("driver", "type").filter(|_| info.path.is_some() || elsewhere);
    info.format = format.map(VolumeFormat::parse);
    Some(info)
}

/// The file or device of a disk, where it has one on the host.
pub(crate) fn source_path(disk: &Element) -> Option<String> {
    let source = disk.child("source")?;
    source.attr("file").or_else(|| source.attr("dev")).filter(|path| !path.is_empty()).map(str::to_owned)
}

/// Why a disk that a guest alone writes to can be neither copied nor left out of a copy, where that is so: its content is reached in another
/// way than by a file or block device of the host, or is a whole SCSI unit.
pub(crate) fn uncopied(disk: &Element) -> Option<String> {
    let file = !disk.attr_is("device", "lun") && source_path(disk).is_some();
    if !is_own(disk) || file {
        return None;
    }
    Some(format!("its disk `{}` is {}, and cannot be copied", slot_of(disk), what_is(disk)))
}

/// Why QEMU cannot read the content of a disk that a guest alone writes to and give it to a backup, where that is so. It can do more than copy
/// files: disks on the network too.
pub(crate) fn unread(disk: &Element) -> Option<String> {
    let read = matches!(disk.attr("type"), None | Some("file" | "block" | "network" | "volume" | "nvme"));
    let lun = disk.attr_is("device", "lun");
    if !is_own(disk) || (read && !lun) {
        return None;
    }
    Some(format!("its disk `{}` is {}, which QEMU cannot back up", slot_of(disk), what_is(disk)))
}

/// Whether a disk has content, and its guest alone writes to it.
pub(crate) fn is_own(disk: &Element) -> bool {
    matches!(disk.attr("device").unwrap_or("disk"), "disk" | "lun")
        && disk.child("readonly").is_none()
        && disk.child("shareable").is_none()
        && disk.child("source").is_some()
}

fn slot_of(disk: &Element) -> &str {
    disk.attr_at("target", "dev").unwrap_or_default()
}

/// What a disk is, for people.
fn what_is(disk: &Element) -> String {
    match (disk.attr("device"), disk.attr("type"), disk.attr_at("source", "protocol")) {
        (Some("lun"), ..) => "a whole SCSI unit (`lun`)".to_owned(),
        (_, Some(kind), Some(protocol)) => format!("of type `{kind}` ({protocol})"),
        (_, kind, _) => format!("of type `{}`", kind.unwrap_or("unknown")),
    }
}

/// The volume that a disk names by its pool, where it does so.
pub(crate) fn named_volume(disk: &Element) -> Option<(&str, &str)> {
    let source = disk.child("source").filter(|_| disk.attr_is("type", "volume"))?;
    Some((source.attr("pool")?, source.attr("volume")?))
}

/// Whether this is the disk in that slot.
pub(crate) fn is_disk(element: &Element, slot: &str) -> bool {
    element.name == "disk" && element.attr_at("target", "dev") == Some(slot)
}

/// A NIC as it will be written: what the spec leaves open is settled, so that its id is known before.
pub(crate) fn nic_element(spec: &NicSpec, mac: MacAddr, field: &str) -> Result<Element> {
    let mut nic = Element::new("interface");
    set_source(&mut nic, &spec.source, field)?;
    nic.push(Element::new("mac").with_attr("address", mac));
    let model = spec.model.as_ref().unwrap_or(&NicModel::Virtio);
    nic.push(Element::new("model").with_attr("type", model.as_str()));
    set_vlan(&mut nic, spec.vlan);
    if spec.link_down {
        nic.push(Element::new("link").with_attr("state", "down"));
    }
    Ok(nic)
}

/// Changes a NIC in place; its address on the bus, its MAC and what we do not know stay.
pub(crate) fn change_nic(nic: &mut Element, change: &NicChange) -> Result<()> {
    if let Some(source) = &change.source {
        set_source(nic, source, "nic")?;
    }
    match change.link_down {
        Some(true) => drop(nic.ensure("link").set_attr("state", "down")),
        Some(false) => drop(nic.ensure("link").set_attr("state", "up")),
        None => {}
    }
    if change.vlan.is_some() {
        set_vlan(nic, change.vlan);
    }
    Ok(())
}

fn set_vlan(nic: &mut Element, vlan: Option<u16>) {
    if let Some(vlan) = vlan {
        nic.replace(Element::new("vlan").with(Element::new("tag").with_attr("id", vlan)));
    }
}

fn set_source(nic: &mut Element, source: &NicSource, field: &str) -> Result<()> {
    let (kind, wanted) = match source {
        NicSource::Network(network) => ("network", Some(("network", network.as_str()))),
        NicSource::Bridge(bridge) => ("bridge", Some(("bridge", bridge.as_str()))),
        NicSource::User => ("user", None),
        NicSource::Direct(card) => ("direct", Some(("dev", card.as_str()))),
        NicSource::Other(kind) => {
            let why = format!(
                "a NIC of kind `{kind}` has more to it than the SDK has words for; define it with libvirt's own XML"
            );
            return Err(Error::invalid(format!("{field}.source"), why));
        }
        _ => {
            let why = "libvirt has no NIC that is plugged into nothing; use `link_down`";
            return Err(Error::invalid(format!("{field}.source"), why));
        }
    };
    let before = nic.attr("type").unwrap_or_default().to_owned();
    if !matches!(before.as_str(), "" | "network" | "bridge" | "user") && before != kind {
        // They say how the old source is reached, and speak against another.
        for name in ["virtualport", "driver", "backend"] {
            nic.remove(name);
        }
        nic.remove_attr("managed");
    }
    nic.set_attr("type", kind);
    let old = nic.remove("source");
    // What libvirt made of the old source must not speak against the new one.
    nic.remove("target");
    if let Some((name, value)) = wanted {
        let mut source = Element::new("source").with_attr(name, value);
        if kind == "direct" {
            // Guests on one card see each other in this mode; in libvirt's own default they need a special switch.
            let mode = old.as_ref().filter(|_| before == kind).and_then(|old| old.attr("mode"));
            source.set_attr("mode", mode.unwrap_or("bridge"));
        }
        nic.push(source);
    }
    Ok(())
}

/// The NICs of a domain.
pub(crate) fn nics(domain: &Element) -> Vec<NicInfo> {
    domain.all("devices/interface").into_iter().filter_map(nic).collect()
}

fn nic(element: &Element) -> Option<NicInfo> {
    let address = element.attr_at("mac", "address")?;
    let source = element.child("source");
    let named = |name: &str| source.and_then(|source| source.attr(name)).unwrap_or_default().to_owned();
    let source = match element.attr("type") {
        Some("network") => NicSource::Network(named("network").into()),
        Some("bridge") => NicSource::Bridge(named("bridge")),
        Some("user") => NicSource::User,
        Some("direct") => NicSource::Direct(named("dev")),
        Some("null") => NicSource::Disconnected,
        other => NicSource::Other(other.unwrap_or("unknown").to_owned()),
    };
    // What libvirt takes where no model is written.
    let model = NicModel::parse(element.attr_at("model", "type").unwrap_or("rtl8139"));
    let mut info =
        NicInfo::new(address, source, model).link_down(element.attr_at("link", "state") == Some("down"));
    info.mac = address.parse().ok();
    info.vlan = element.path("vlan/tag").and_then(|tag| tag.attr_number("id").ok().flatten());
    Some(info)
}

/// Whether this is the NIC with that MAC, in whatever case it is written.
pub(crate) fn is_nic(element: &Element, id: &str) -> bool {
    element.name == "interface"
        && element.attr_at("mac", "address").is_some_and(|mac| mac.eq_ignore_ascii_case(id))
}

/// A MAC in QEMU's range that nobody is likely to have.
pub(crate) fn random_mac() -> MacAddr {
    let [a, b, c, ..] = uuid::Uuid::new_v4().into_bytes();
    MacAddr::qemu([a, b, c])
}

/// A size that libvirt takes in its own units: it counts memory in KiB.
pub(crate) fn kib(size: ByteSize) -> u64 {
    size.div_ceil(ByteSize::kib(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_comes_back_as_it_was_written() {
        let spec = DiskSpec::volume("default/a.qcow2").serial("S1").read_only(true);
        let bus = bus_of(&spec, None, "disks[0]").unwrap();
        let target = target_of(&spec, &bus, &["vda".into()], "disks[0]").unwrap();
        let plan = DiskPlan::new(&spec, bus, target, DiskFile::at("/pool/a.qcow2"), VolumeFormat::Qcow2);
        let domain = Element::new("domain").with(Element::new("devices").with(plan.element()));
        let found = disks(&domain).pop().unwrap();
        assert_eq!((found.id.as_str(), found.path.as_deref()), ("vdb", Some("/pool/a.qcow2")));
        assert_eq!((found.format, found.bus), (Some(VolumeFormat::Qcow2), DiskBus::Virtio));
        assert!(found.read_only && found.serial.as_deref() == Some("S1"));
    }

    #[test]
    fn a_cd_drive_takes_the_bus_of_its_machine() {
        let drive = DiskSpec::empty_cdrom();
        assert_eq!(bus_of(&drive, Some("q35"), "d").unwrap(), DiskBus::Sata);
        assert_eq!(bus_of(&drive, Some("pc-i440fx-7.2"), "d").unwrap(), DiskBus::Ide);
        let plan = DiskPlan::new(&drive, DiskBus::Sata, "sda".into(), DiskFile::Empty, VolumeFormat::Raw);
        assert!(plan.element().child("source").is_none());
        assert_eq!(disk(&plan.element()).unwrap().format, None);
        let block =
            DiskPlan::new(&drive, DiskBus::Sata, "sda".into(), DiskFile::at("/dev/sr0"), VolumeFormat::Iso);
        assert_eq!(block.element().attr("type"), Some("block"));
        assert_eq!(block.element().attr_at("driver", "type"), Some("raw"));
    }

    #[test]
    fn slots_run_on_behind_z_and_are_not_given_twice() {
        let mut taken = Vec::new();
        for _ in 0..28 {
            let name = target_of(&DiskSpec::empty_cdrom(), &DiskBus::Sata, &taken, "d").unwrap();
            assert!(!taken.contains(&name));
            taken.push(name);
        }
        assert_eq!(taken.last().map(String::as_str), Some("sdab"));
        let spec = DiskSpec::empty_cdrom().slot("sda");
        assert!(
            target_of(&spec, &DiskBus::Sata, &taken, "disks[3]")
                .unwrap_err()
                .fields()
                .contains_key("disks[3].slot")
        );
    }

    #[test]
    fn a_nic_keeps_what_a_change_does_not_name() {
        let mac = "52:54:00:12:34:56".parse().unwrap();
        let mut nic = nic_element(&NicSpec::network("default").vlan(7), mac, "nics[0]").unwrap();
        nic.push(Element::new("address").with_attr("type", "pci"));
        change_nic(&mut nic, &NicChange::new().source(NicSource::Bridge("br0".into())).link_down(true))
            .unwrap();
        assert_eq!(
            nic.to_string(),
            r#"<interface type="bridge"><mac address="52:54:00:12:34:56"/><model type="virtio"/><vlan><tag id="7"/></vlan><address type="pci"/><source bridge="br0"/><link state="down"/></interface>"#
        );
        let domain = Element::new("domain").with(Element::new("devices").with(nic));
        let found = nics(&domain).pop().unwrap();
        assert_eq!(found.source, NicSource::Bridge("br0".into()));
        assert!(found.link_down && found.vlan == Some(7) && found.mac == Some(mac));
        for never in [NicSource::Disconnected, NicSource::Other("vdpa".into())] {
            let wrong = nic_element(&NicSpec::new(never), mac, "nics[1]").unwrap_err();
            assert!(wrong.fields().contains_key("nics[1].source"));
        }
    }

    #[test]
    fn what_a_nic_is_plugged_into_is_told_and_kept() {
        let other = |kind: &str| NicSource::Other(kind.to_owned());
        for (xml, wanted) in [
            (
                "<interface type='direct'><mac address='m'/><source dev='eth0' mode='vepa'/></interface>",
                NicSource::Direct("eth0".into()),
            ),
            (
                "<interface type='hostdev' managed='yes'><mac address='m'/><source><address type='pci'/></source></interface>",
                other("hostdev"),
            ),
            (
                "<interface type='vhostuser'><mac address='m'/><source type='unix' path='/s' mode='server'/></interface>",
                other("vhostuser"),
            ),
            (
                "<interface type='vdpa'><mac address='m'/><source dev='/dev/vhost-vdpa-0'/></interface>",
                other("vdpa"),
            ),
            (
                "<interface type='ethernet'><mac address='m'/><target dev='tap1' managed='no'/></interface>",
                other("ethernet"),
            ),
            (
                "<interface type='udp'><mac address='m'/><source address='127.0.0.1' port='1'><local address='127.0.0.1' port='2'/></source></interface>",
                other("udp"),
            ),
            ("<interface type='null'><mac address='m'/></interface>", NicSource::Disconnected),
        ] {
            let mut nic = Element::parse(xml).unwrap();
            assert_eq!(super::nic(&nic).unwrap().source, wanted, "{xml}");
            change_nic(&mut nic, &NicChange::new().link_down(true)).unwrap();
            let kept = xml.trim_end_matches("</interface>").replace('\'', "\"");
            assert_eq!(nic.to_string(), format!("{kept}<link state=\"down\"/></interface>"));
            change_nic(&mut nic, &NicChange::new().source(NicSource::Network("lan".into()))).unwrap();
            assert_eq!(
                nic.to_string(),
                r#"<interface type="network"><mac address="m"/><link state="down"/><source network="lan"/></interface>"#
            );
        }
        let mut nic = Element::parse("<interface type='direct'><source dev='eth0' mode='private'/><virtualport type='802.1Qbh'/></interface>").unwrap();
        change_nic(&mut nic, &NicChange::new().source(NicSource::Direct("eth1".into()))).unwrap();
        assert_eq!(
            nic.to_string(),
            r#"<interface type="direct"><virtualport type="802.1Qbh"/><source dev="eth1" mode="private"/></interface>"#
        );
    }
}
