//! From a spec to a domain, and changes to one that exists.

use std::time::SystemTime;

use hypervisor_core::model::{BootDevice, DiskBus, Firmware, GraphicsKind, VmChange, VmSpec};

use super::Element;
use super::device::{DiskPlan, kib};
use super::marks::Marks;

const AGENT_CHANNEL: &str = "org.qemu.guest_agent.0";
/// Places for devices that are plugged in later; q35 has none of its own.
const SPARE_PORTS: usize = 8;

/// What the host decides about a new guest.
#[derive(Debug, Clone)]
pub(crate) struct Machine {
    /// `qemu`, `kvm` or `test`.
    pub(crate) kind: String,
    pub(crate) machine: Option<String>,
    pub(crate) architecture: Option<String>,
    pub(crate) uuid: String,
    pub(crate) created: SystemTime,
}

impl Machine {
    fn is_q35(&self) -> bool {
        self.machine.as_deref().is_some_and(|machine| machine.contains("q35"))
    }
}

/// The domain that a spec asks for. Its disks are made and its NICs settled already.
pub(crate) fn build(spec: &VmSpec, machine: &Machine, disks: &[DiskPlan], nics: Vec<Element>) -> Element {
    let mut domain = Element::new("domain").with_attr("type", &machine.kind);
    domain.set_child_text("name", &spec.name).set_child_text("uuid", &machine.uuid);
    if let Some(description) = spec.description.as_ref().filter(|text| !text.is_empty()) {
        domain.set_child_text("description", description);
    }
    let marks = Marks {
        tags: spec.tags.clone().into_set(),
        metadata: spec.metadata.clone(),
        client_token: spec.client_token.clone(),
        template: false,
        created: Some(machine.created),
        seed: None,
    };
    marks.write(&mut domain);
    set_memory(&mut domain, kib(spec.memory));
    set_cpus(&mut domain, spec.cpus);
    domain.push(os(spec, machine));
    let x86 = machine.architecture.as_deref().is_none_or(|name| name == "x86_64" || name == "i686");
    if x86 && machine.kind != "test" {
        let mut features = Element::new("features").with(Element::new("acpi")).with(Element::new("apic"));
        if spec.boot.firmware == Some(Firmware::SecureBoot) {
            features.push(Element::new("smm").with_attr("state", "on"));
        }
        domain.push(features);
    }
    if let Some(model) = &spec.cpu_model {
        domain.push(cpu(model));
    }
    domain.push(Element::new("clock").with_attr("offset", "utc"));
    domain.push(devices(spec, machine, disks, nics));
    domain
}

fn os(spec: &VmSpec, machine: &Machine) -> Element {
    let mut kind = Element::new("type").with_text("hvm");
    if let Some(architecture) = &machine.architecture {
        kind.set_attr("arch", architecture);
    }
    if let Some(machine) = &machine.machine {
        kind.set_attr("machine", machine);
    }
    let mut os = Element::new("os").with(kind);
    match spec.boot.firmware {
        Some(Firmware::Uefi) => drop(os.set_attr("firmware", "efi")),
        Some(Firmware::SecureBoot) => {
            let feature =
                |name: &str| Element::new("feature").with_attr("enabled", "yes").with_attr("name", name);
            os.set_attr("firmware", "efi");
            os.push(Element::new("firmware").with(feature("secure-boot")).with(feature("enrolled-keys")));
            os.push(Element::new("loader").with_attr("secure", "yes"));
        }
        _ => {}
    }
    if let Some(direct) = &spec.boot.direct {
        os.push(Element::new("kernel").with_text(&direct.kernel));
        for (name, value) in [("initrd", &direct.initrd), ("cmdline", &direct.cmdline)] {
            if let Some(value) = value {
                os.push(Element::new(name).with_text(value));
            }
        }
    }
    set_boot_order(&mut os, &spec.boot.order);
    os
}

fn set_boot_order(os: &mut Element, order: &[BootDevice]) {
    while os.remove("boot").is_some() {}
    for device in order {
        let device = match device {
            BootDevice::Disk => "hd",
            BootDevice::Cdrom => "cdrom",
            BootDevice::Network => "network",
            _ => continue,
        };
        os.push(Element::new("boot").with_attr("dev", device));
    }
}

fn cpu(model: &str) -> Element {
    match model {
        "host-passthrough" | "host-model" | "maximum" => Element::new("cpu").with_attr("mode", model),
        _ => Element::new("cpu")
            .with_attr("mode", "custom")
            .with_attr("match", "exact")
            .with_child("model", model),
    }
}

fn devices(spec: &VmSpec, machine: &Machine, disks: &[DiskPlan], nics: Vec<Element>) -> Element {
    let mut devices = Element::new("devices").with_all(disks.iter().map(DiskPlan::element)).with_all(nics);
    let controller = |kind: &str| Element::new("controller").with_attr("type", kind);
    if machine.is_q35() {
        devices.push(controller("pci").with_attr("index", 0).with_attr("model", "pcie-root"));
        let ports = disks.len().saturating_add(spec.nics.len()).saturating_add(SPARE_PORTS).min(24);
        for _ in 0..ports {
            devices.push(controller("pci").with_attr("model", "pcie-root-port"));
        }
    }
    if disks.iter().any(|disk| disk.bus == DiskBus::Scsi) {
        devices.push(controller("scsi").with_attr("index", 0).with_attr("model", "virtio-scsi"));
    }
    if let Some(serial) = &spec.serial {
        let mut port = Element::new("serial").with_attr("type", "pty");
        if let Some(log) = &serial.log {
            port.push(Element::new("log").with_attr("file", log).with_attr("append", "on"));
        }
        devices.push(port.with(Element::new("target").with_attr("port", 0)));
        let target = Element::new("target").with_attr("type", "serial").with_attr("port", 0);
        devices.push(Element::new("console").with_attr("type", "pty").with(target));
    }
    if spec.agent {
        devices.push(agent_channel());
    }
    if let Some(graphics) = &spec.graphics {
        let listen = "127.0.0.1";
        let screen =
            Element::new("graphics").with_attr("type", graphics.as_str()).with_attr("autoport", "yes");
        devices.push(screen.with_attr("listen", listen));
        let model = if *graphics == GraphicsKind::Spice { "qxl" } else { "vga" };
        devices.push(Element::new("video").with(Element::new("model").with_attr("type", model)));
    }
    if spec.tpm {
        let backend = Element::new("backend").with_attr("type", "emulator").with_attr("version", "2.0");
        devices.push(Element::new("tpm").with_attr("model", "tpm-crb").with(backend));
    }
    if machine.kind != "test" {
        let usb = spec.graphics.is_some() || disks.iter().any(|disk| disk.bus == DiskBus::Usb);
        if !usb {
            devices.push(controller("usb").with_attr("model", "none"));
        }
        devices.push(Element::new("memballoon").with_attr("model", "virtio"));
        let source = Element::new("backend").with_attr("model", "random").with_text("/dev/urandom");
        devices.push(Element::new("rng").with_attr("model", "virtio").with(source));
    }
    devices
}

fn agent_channel() -> Element {
    let target = Element::new("target").with_attr("type", "virtio").with_attr("name", AGENT_CHANNEL);
    Element::new("channel").with_attr("type", "unix").with(target)
}

/// Whether this is the channel of the guest agent.
pub(crate) fn is_agent_channel(element: &Element) -> bool {
    element.name == "channel" && element.attr_at("target", "name") == Some(AGENT_CHANNEL)
}

/// Sets the memory. Where the domain was given room to grow, it keeps it.
fn set_memory(domain: &mut Element, kib: u64) {
    let size = |name: &str| domain.child_bytes(name, "KiB").ok().flatten().map(|bytes| bytes >> 10);
    let roomy = match (size("memory"), size("currentMemory")) {
        (Some(most), Some(now)) => most > now && kib <= most,
        _ => false,
    };
    let names: &[&str] = if roomy { &["currentMemory"] } else { &["memory", "currentMemory"] };
    for name in names {
        let memory = domain.ensure(name);
        memory.set_attr("unit", "KiB");
        memory.set_text(kib.to_string());
    }
}

/// Sets the CPUs. Where the domain has room for more, it keeps it.
fn set_cpus(domain: &mut Element, cpus: u32) {
    let vcpu = domain.ensure("vcpu");
    let most = vcpu.number().ok().filter(|most| vcpu.attr("current").is_some() && *most >= u64::from(cpus));
    if most.is_some() {
        vcpu.set_attr("current", cpus.to_string());
    } else {
        vcpu.remove_attr("current");
        vcpu.set_text(cpus.to_string());
    }
    // A list of single CPUs is for another number of them.
    domain.remove("vcpus");
}

/// Writes a change into a domain's definition; what it does not name stays. The name and the autostart flag have calls of
/// their own.
pub(crate) fn apply(domain: &mut Element, change: &VmChange) {
    if let Some(cpus) = change.cpus {
        set_cpus(domain, cpus);
    }
    if let Some(memory) = change.memory {
        set_memory(domain, kib(memory));
    }
    match change.description.as_deref() {
        Some("") => drop(domain.remove("description")),
        Some(description) => drop(domain.set_child_text("description", description)),
        None => {}
    }
    if let Some(order) = &change.boot_order {
        // libvirt refuses both kinds of order at once.
        if let Some(devices) = domain.child_mut("devices") {
            devices.elements_mut().for_each(|device| drop(device.remove("boot")));
        }
        set_boot_order(domain.ensure("os"), order);
    }
    if let Some(agent) = change.agent {
        let devices = domain.ensure("devices");
        let present = devices.elements().any(is_agent_channel);
        match (agent, present) {
            (true, false) => drop(devices.push(agent_channel())),
            (false, true) => drop(devices.remove_where(is_agent_channel)),
            _ => {}
        }
    }
    let mut marks = Marks::read(domain);
    marks.tags.extend(change.add_tags.iter().cloned());
    marks.tags.retain(|tag| !change.remove_tags.contains(tag));
    for (key, value) in &change.metadata {
        if value.is_empty() {
            marks.metadata.remove(key);
        } else {
            marks.metadata.insert(key.clone(), value.clone());
        }
    }
    if marks != Marks::read(domain) {
        marks.write(domain);
    }
}

/// Whether a change needs the domain to be powered off and on before it is in force.
pub(crate) fn waits_for_power_cycle(change: &VmChange) -> Vec<&'static str> {
    let fields = [
        (change.cpus.is_some(), "cpus"),
        (change.memory.is_some(), "memory"),
        (change.boot_order.is_some(), "boot_order"),
        (change.agent.is_some(), "agent"),
    ];
    fields.into_iter().filter(|(asked, _)| *asked).map(|(_, name)| name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::xml::device::DiskFile;
    use hypervisor_core::model::{ByteSize, DirectBoot, DiskSpec, SerialSpec, VolumeFormat};

    fn machine(kind: &str, machine: Option<&str>) -> Machine {
        Machine {
            kind: kind.into(),
            machine: machine.map(Into::into),
            architecture: Some("x86_64".into()),
            uuid: "7c1e2f30-0001-4a5b-8c6d-000000000001".into(),
            created: SystemTime::UNIX_EPOCH,
        }
    }

    #[test]
    fn a_spec_becomes_a_domain() {
        let spec = VmSpec::new("web-1")
            .cpus(2)
            .memory(ByteSize::mib(256))
            .description("a < b")
            .tag("web")
            .agent(true)
            .cpu_model("qemu64")
            .serial(SerialSpec::new().log("/tmp/serial.log"))
            .direct_boot(DirectBoot::new("/boot/vmlinuz").initrd("/boot/initrd").cmdline("console=ttyS0"));
        let disk = DiskSpec::volume("default/a");
        let plan =
            DiskPlan::new(&disk, DiskBus::Virtio, "vda".into(), DiskFile::at("/p/a"), VolumeFormat::Qcow2);
        let domain = build(&spec, &machine("qemu", Some("q35")), &[plan], Vec::new());
        let domain = Element::parse(&domain.to_string()).unwrap();
        assert_eq!(domain.attr("type"), Some("qemu"));
        assert_eq!(domain.child_bytes("memory", "KiB").unwrap(), Some(256 << 20));
        assert_eq!(domain.text_at("description").as_deref(), Some("a < b"));
        assert_eq!(domain.text_at("os/kernel").as_deref(), Some("/boot/vmlinuz"));
        assert_eq!(domain.attr_at("os/type", "machine"), Some("q35"));
        assert_eq!(domain.attr_at("devices/serial/log", "file"), Some("/tmp/serial.log"));
        let controllers = domain.all("devices/controller");
        let first = controllers.first().unwrap();
        assert_eq!((first.attr("index"), first.attr("model")), (Some("0"), Some("pcie-root")));
        assert!(controllers.iter().any(|item| item.attr_is("type", "usb") && item.attr_is("model", "none")));
        assert!(domain.path("devices").unwrap().elements().any(is_agent_channel));
    }

    #[test]
    fn firmware_is_left_to_libvirt() {
        let spec = VmSpec::new("a").firmware(Firmware::SecureBoot);
        let domain = build(&spec, &machine("kvm", Some("q35")), &[], Vec::new());
        assert_eq!(domain.attr_at("os", "firmware"), Some("efi"));
        assert_eq!(domain.attr_at("os/loader", "secure"), Some("yes"));
        assert_eq!(domain.attr_at("features/smm", "state"), Some("on"));
    }

    #[test]
    fn an_update_keeps_what_it_does_not_know() {
        let before = "<domain type='qemu' xmlns:qemu='urn:q'><!-- by hand --><name>a</name>\
             <metadata><x:y xmlns:x='urn:x'/></metadata><memory unit='GiB'>1</memory><vcpu current='1'>4</vcpu>\
             <os><type>hvm</type><boot dev='hd'/></os><devices><disk><boot order='1'/></disk></devices>\
             <qemu:commandline><qemu:arg value='-S'/></qemu:commandline></domain>";
        let mut domain = Element::parse(before).unwrap();
        let change = VmChange::new()
            .cpus(3)
            .memory(ByteSize::gib(2))
            .add_tag("t")
            .boot_order(vec![BootDevice::Network, BootDevice::Disk])
            .agent(true);
        apply(&mut domain, &change);
        let text = domain.to_string();
        for kept in [
            "<!-- by hand -->",
            "<qemu:arg value=\"-S\"/>",
            "xmlns:qemu=\"urn:q\"",
            "<x:y xmlns:x=\"urn:x\"/>",
        ] {
            assert!(text.contains(kept), "{kept} is lost from {text}");
        }
        assert!(
            text.contains("<vcpu current=\"3\">4</vcpu>")
                && text.contains("<memory unit=\"KiB\">2097152</memory>")
        );
        assert!(text.contains("<boot dev=\"network\"/><boot dev=\"hd\"/>") && !text.contains("boot order"));
        assert_eq!(waits_for_power_cycle(&change), ["cpus", "memory", "boot_order", "agent"]);
        apply(&mut domain, &VmChange::new().remove_tag("t").agent(false));
        assert!(!domain.to_string().contains(AGENT_CHANNEL) && !domain.to_string().contains("hv:tag"));
    }

    #[test]
    fn an_empty_change_changes_nothing() {
        let before = "<domain><name>a</name><description>d</description><metadata/></domain>";
        let mut domain = Element::parse(before).unwrap();
        apply(&mut domain, &VmChange::new());
        assert_eq!(domain.to_string(), before);
    }
}
