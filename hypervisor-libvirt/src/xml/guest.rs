//! From a domain to what the SDK says about a guest.

use std::collections::BTreeSet;

use hypervisor_core::model::{
    BootDevice, ByteSize, ConsoleAccess, ConsoleKind, DirectBoot, DiskDevice, DiskInfo, DiskSpec, Firmware,
    GraphicsKind, GuestKind, NicInfo, NicSpec, Revision, SerialSpec, VmConfig, VmId, VmSpec, VmState,
};

use super::device::{disks, nics};
use super::domain::is_agent_channel;
use super::marks::Marks;
use super::{Element, XmlError};
use crate::options::VmOptions;

/// What a list shows of a guest and only its definition tells.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Facts {
    pub(crate) uuid: String,
    pub(crate) name: String,
    pub(crate) kind: GuestKind,
    pub(crate) cpus: u32,
    pub(crate) memory: ByteSize,
    pub(crate) description: Option<String>,
    pub(crate) marks: Marks,
}

/// Reads the facts of a domain.
pub(crate) fn facts(domain: &Element) -> Result<Facts, XmlError> {
    let needed =
        |name: &str| domain.text_at(name).ok_or_else(|| XmlError::new(format!("<{name}> is missing")));
    Ok(Facts {
        uuid: needed("uuid")?,
        name: needed("name")?,
        kind: if domain.text_at("os/type").as_deref() == Some("exe") {
            GuestKind::Container
        } else {
            GuestKind::Vm
        },
        cpus: cpus(domain)?,
        memory: memory(domain)?,
        description: domain.raw_text_at("description"),
        marks: Marks::read(domain),
    })
}

/// The memory that the guest has; where it has room to grow, that is less than it can have.
fn memory(domain: &Element) -> Result<ByteSize, XmlError> {
    let size = |name: &str| domain.child_bytes(name, "KiB");
    let bytes = size("currentMemory")?.map_or_else(|| size("memory"), |bytes| Ok(Some(bytes)))?;
    Ok(ByteSize::bytes(bytes.unwrap_or_default()))
}

fn cpus(domain: &Element) -> Result<u32, XmlError> {
    let Some(vcpu) = domain.child("vcpu") else { return Ok(1) };
    let all = u32::try_from(vcpu.number()?).unwrap_or(u32::MAX);
    Ok(vcpu.attr_number("current")?.unwrap_or(all))
}

/// A domain's state. `saved` is whether its memory lies on disk.
pub(crate) fn state(state: i32, reason: i32, saved: bool) -> VmState {
    match state {
        // Running, and waiting for a resource.
        1 | 2 => VmState::Running,
        // Paused by the user, by a fault on its disks, or asleep by its own choice.
        3 | 7 => VmState::Paused,
        4 => VmState::Stopping,
        5 if saved => VmState::Hibernated,
        5 if reason == 3 => VmState::Crashed,
        5 => VmState::Stopped,
        6 => VmState::Crashed,
        other => VmState::Unknown(format!("libvirt state {other}")),
    }
}

/// The version of a definition: equal for equal text, in every process.
pub(crate) fn revision(xml: &str) -> Revision {
    // FNV-1a: it guards against changes by others, not against forgers.
    let hash = xml.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    Revision::new(format!("{hash:016x}"))
}

/// The configuration in a definition. `disks` are its disks with what the pools know of them.
pub(crate) fn config(domain: &Element, disks: Vec<DiskInfo>, autostart: bool) -> Result<VmConfig, XmlError> {
    let facts = facts(domain)?;
    let nics = nics(domain);
    let mut spec = VmSpec::new(&facts.name)
        .id(VmId::from(facts.uuid.as_str()))
        .cpus(facts.cpus)
        .memory(facts.memory)
        .agent(domain.child("devices").is_some_and(|devices| devices.elements().any(is_agent_channel)))
        .tpm(domain.path("devices/tpm").is_some())
        .autostart(autostart);
    spec.kind = facts.kind;
    spec.description = facts.description;
    spec.tags = facts.marks.tags.into();
    spec.metadata = facts.marks.metadata;
    spec.client_token = facts.marks.client_token;
    spec.machine = domain.attr_at("os/type", "machine").map(str::to_owned);
    spec.cpu_model = cpu_model(domain);
    spec.graphics = domain.attr_at("devices/graphics", "type").map(GraphicsKind::parse);
    spec.serial = domain.path("devices/serial").map(|serial| {
        let mut port = SerialSpec::new();
        port.log = serial.attr_at("log", "file").map(str::to_owned);
        port
    });
    spec.boot.firmware = firmware(domain);
    spec.boot.order = boot_order(domain);
    spec.boot.direct = domain.text_at("os/kernel").map(|kernel| {
        let mut direct = DirectBoot::new(kernel);
        direct.initrd = domain.text_at("os/initrd");
        direct.cmdline = domain.text_at("os/cmdline");
        direct
    });
    spec.disks = disks.iter().filter_map(disk_spec).collect();
    spec.nics = nics.iter().map(nic_spec).collect();
    let room = VmOptions::read(domain)?;
    if room != VmOptions::default() {
        // It is made of numbers, which always become data.
        drop(spec.options.set(&room));
    }
    Ok(VmConfig::new(VmId::from(facts.uuid), spec, disks, nics))
}

fn cpu_model(domain: &Element) -> Option<String> {
    let cpu = domain.child("cpu")?;
    match cpu.attr("mode") {
        Some(mode) if mode != "custom" => Some(mode.to_owned()),
        _ => cpu.text_at("model"),
    }
}

fn firmware(domain: &Element) -> Option<Firmware> {
    let os = domain.child("os")?;
    let loader = os.child("loader");
    if loader.is_some_and(|loader| loader.attr_is("secure", "yes")) {
        return Some(Firmware::SecureBoot);
    }
    // libvirt answers with the files that it chose rather than with `firmware='efi'`.
    let flash = loader.is_some_and(|loader| loader.attr_is("type", "pflash"));
    (os.attr_is("firmware", "efi") || flash).then_some(Firmware::Uefi)
}

fn boot_order(domain: &Element) -> Vec<BootDevice> {
    let devices = domain.all("os/boot").into_iter().filter_map(|boot| match boot.attr("dev") {
        Some("hd") => Some(BootDevice::Disk),
        Some("cdrom") => Some(BootDevice::Cdrom),
        Some("network") => Some(BootDevice::Network),
        _ => None,
    });
    let mut seen = BTreeSet::new();
    let order: Vec<_> = devices.filter(|device| seen.insert(*device)).collect();
    if !order.is_empty() {
        return order;
    }
    // The other way to say it, device by device.
    let devices = domain.child("devices").into_iter().flat_map(Element::elements);
    let mut devices: Vec<_> = devices.filter_map(boots).collect();
    devices.sort_by_key(|(place, _)| *place);
    devices.into_iter().map(|(_, device)| device).filter(|device| seen.insert(*device)).collect()
}

/// What kind of device the guest boots from, where it is one of those, and at which place.
fn boots(device: &Element) -> Option<(u32, BootDevice)> {
    let place = device.child("boot")?.attr_number("order").ok().flatten()?;
    let kind = match (device.name.as_str(), device.attr("device")) {
        ("disk", None | Some("disk" | "lun")) => BootDevice::Disk,
        ("disk", Some("cdrom")) => BootDevice::Cdrom,
        ("interface", _) => BootDevice::Network,
        _ => return None,
    };
    Some((place, kind))
}

/// A disk whose content is reached in another way than by a volume or a path has no place in a spec: as an empty one it would be another disk.
fn disk_spec(disk: &DiskInfo) -> Option<DiskSpec> {
    let mut spec = match (&disk.volume, &disk.path) {
        (Some(volume), _) => DiskSpec::volume(volume),
        (None, Some(path)) => DiskSpec::host_path(path),
        (None, None) if disk.device == DiskDevice::Cdrom => DiskSpec::empty_cdrom(),
        (None, None) => return None,
    };
    spec.device = disk.device;
    spec.bus = Some(disk.bus.clone());
    spec.format = disk.format.clone();
    spec.read_only = disk.read_only;
    spec.serial = disk.serial.clone();
    spec.slot = Some(disk.id.clone());
    Some(spec)
}

fn nic_spec(nic: &NicInfo) -> NicSpec {
    let mut spec = NicSpec::new(nic.source.clone()).model(nic.model.clone()).link_down(nic.link_down);
    spec.mac = nic.mac;
    spec.vlan = nic.vlan;
    spec
}

/// The disks of a definition, before the pools are asked.
pub(crate) fn plain_disks(domain: &Element) -> Vec<DiskInfo> {
    disks(domain)
}

/// How to reach a console of a running domain.
pub(crate) fn console(domain: &Element, kind: &ConsoleKind) -> Option<ConsoleAccess> {
    let mut access = ConsoleAccess::new(kind.clone());
    if *kind == ConsoleKind::Serial {
        let port = domain.path("devices/console").or_else(|| domain.path("devices/serial"))?;
        access.path = port.attr("tty").or_else(|| port.attr_at("source", "path")).map(str::to_owned);
        return Some(access);
    }
    let screen =
        domain.all("devices/graphics").into_iter().find(|item| item.attr_is("type", kind.as_str()))?;
    let port =
        |name: &str| screen.attr_number::<i32>(name).ok().flatten().and_then(|port| u16::try_from(port).ok());
    access.port = port("port").filter(|port| *port > 0);
    access.tls_port = port("tlsPort").filter(|port| *port > 0);
    access.address = screen.attr("listen").or_else(|| screen.attr_at("listen", "address")).map(str::to_owned);
    let socket = screen.attr("socket").or_else(|| screen.attr_at("listen", "socket"));
    access.path = socket.map(str::to_owned);
    access.password = screen.attr("passwd").map(str::to_owned);
    Some(access)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::xml::domain::{Machine, build};
    use std::time::SystemTime;

    #[test]
    fn a_spec_comes_back_from_its_domain() {
        let spec = VmSpec::new("web-1")
            .id("7c1e2f30-0001-4a5b-8c6d-000000000001")
            .cpus(2)
            .memory(ByteSize::mib(256))
            .description("d")
            .tag("web")
            .metadata("owner", "ops")
            .agent(true)
            .cpu_model("qemu64")
            .machine("q35")
            .graphics(GraphicsKind::Vnc)
            .serial(SerialSpec::new().log("/tmp/log"))
            .boot_order([BootDevice::Network, BootDevice::Disk])
            .client_token("t-1");
        let machine = Machine {
            kind: "qemu".into(),
            machine: Some("q35".into()),
            architecture: None,
            uuid: "7c1e2f30-0001-4a5b-8c6d-000000000001".into(),
            created: SystemTime::now(),
        };
        let domain = build(&spec, &machine, &[], Vec::new());
        assert_eq!(config(&domain, Vec::new(), false).unwrap().spec, spec);
    }

    #[test]
    fn the_order_of_boots_is_found_device_by_device_too() {
        let xml = "<domain><os/><devices><disk device='disk'><boot order='3'/></disk><disk device='cdrom'><boot order='1'/></disk>\
             <disk device='floppy'><boot order='9'/></disk><interface><boot order='2'/></interface><disk><boot order='x'/></disk></devices></domain>";
        let order = boot_order(&Element::parse(xml).unwrap());
        assert_eq!(order, [BootDevice::Cdrom, BootDevice::Network, BootDevice::Disk]);
        let both = xml.replace("<os/>", "<os><boot dev='hd'/></os>");
        assert_eq!(boot_order(&Element::parse(&both).unwrap()), [BootDevice::Disk]);
    }

    #[test]
    fn states_are_told_apart() {
        assert_eq!(state(1, 0, false), VmState::Running);
        assert_eq!(state(5, 5, true), VmState::Hibernated);
        assert_eq!(state(5, 1, false), VmState::Stopped);
        assert_eq!(state(5, 3, false), VmState::Crashed);
        assert!(matches!(state(99, 0, false), VmState::Unknown(_)));
    }

    #[test]
    fn revisions_tell_texts_apart() {
        assert_eq!(revision("<a/>"), revision("<a/>"));
        assert_ne!(revision("<a/>"), revision("<b/>"));
        assert_eq!(revision("").as_str(), "cbf29ce484222325");
    }

    #[test]
    fn consoles_are_found() {
        let xml = "<domain><devices><console type='pty' tty='/dev/pts/3'/>\
             <graphics type='vnc' port='5901' listen='127.0.0.1' passwd='x'/><graphics type='spice' port='-1' tlsPort='5902'/>\
             </devices></domain>";
        let domain = Element::parse(xml).unwrap();
        let vnc = console(&domain, &ConsoleKind::Vnc).unwrap();
        assert_eq!((vnc.port, vnc.address.as_deref()), (Some(5901), Some("127.0.0.1")));
        let spice = console(&domain, &ConsoleKind::Spice).unwrap();
        assert_eq!((spice.port, spice.tls_port), (None, Some(5902)));
        assert_eq!(console(&domain, &ConsoleKind::Serial).unwrap().path.as_deref(), Some("/dev/pts/3"));
        assert!(console(&Element::new("domain"), &ConsoleKind::Vnc).is_none());
    }

    #[test]
    fn what_is_missing_is_an_error() {
        assert!(facts(&Element::parse("<domain><name>a</name></domain>").unwrap()).is_err());
        let odd = "<domain><name>a</name><uuid>u</uuid><memory unit='parsec'>1</memory></domain>";
        assert!(facts(&Element::parse(odd).unwrap()).is_err());
    }
}
