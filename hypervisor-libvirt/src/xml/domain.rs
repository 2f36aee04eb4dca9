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
    let (most, now) = (size("memory"), size("currentMemory"));
    let cells = domain.all("cpu/numa/cell").into_iter().any(|cell| cell.attr("memory").is_some());
    let roomy = most.zip(now).is_some_and(|(most, now)| (most > now || cells) && kib <= most);
    let names: &[&str] = if roomy { &["currentMemory"] } else { &["memory", "currentMemory"] };
    for name in names {
        let memory = domain.ensure(name);
        memory.set_attr("unit", "KiB");
        memory.set_text(kib.to_string());
    }
    if let Some(most) = most.filter(|_| cells && !roomy) {
        grow_cells(domain, most, kib);
    }
}

/// Gives each NUMA node its part of more memory: libvirt takes the sum of them for the guest's, whatever else is written.
fn grow_cells(domain: &mut Element, before: u64, wanted: u64) {
    // Of huge pages, the usual ones fit.
    const STEP: u64 = 2048;
    let most = domain.child_bytes("maxMemory", "KiB").ok().flatten().map(|bytes| bytes >> 10);
    if most.is_some_and(|most| most < wanted)
        && let Some(most) = domain.child_mut("maxMemory")
    {
        most.set_attr("unit", "KiB").set_text(wanted.to_string());
    }
    let numa = domain.child_mut("cpu").and_then(|cpu| cpu.child_mut("numa"));
    let Some(numa) = numa else { return };
    let mut left = wanted.saturating_sub(before);
    let parts = u64::try_from(numa.children("cell").count()).unwrap_or(u64::MAX).max(1);
    let share = (left / parts) / STEP * STEP;
    let mut cells: Vec<&mut Element> = numa.elements_mut().filter(|item| item.name == "cell").collect();
    cells.reverse();
    let last = cells.len().saturating_sub(1);
    for (index, cell) in cells.into_iter().enumerate() {
        // The first node has the rest.
        let more = if index == last { left } else { share };
        left = left.saturating_sub(more);
        let mut size = Element::new("memory").with_attr("unit", cell.attr("unit").unwrap_or("KiB"));
        size.set_text(cell.attr("memory").unwrap_or("0"));
        let now = size.bytes("KiB").unwrap_or_default() >> 10;
        cell.set_attr("memory", now.saturating_add(more).to_string()).set_attr("unit", "KiB");
    }
}

/// Sets the CPUs. Where the domain has room for more, it keeps it.
fn set_cpus(domain: &mut Element, cpus: u32) {
    let cells = domain.path("cpu/numa/cell").is_some();
    let shape = Shape::of(domain);
    let vcpu = domain.ensure("vcpu");
    let roomy = vcpu.attr("current").is_some() || cells;
    let most = vcpu.number().ok().filter(|most| roomy && *most >= u64::from(cpus));
    let most = most.or_else(|| shape.as_ref().map(|shape| shape.room_for(u64::from(cpus))));
    match most.filter(|most| *most != u64::from(cpus)) {
        Some(most) => vcpu.set_attr("current", cpus.to_string()).set_text(most.to_string()),
        None => {
            vcpu.remove_attr("current");
            vcpu.set_text(cpus.to_string())
        }
    };
    let most = most.unwrap_or_else(|| u64::from(cpus));
    if let Some(shape) = shape {
        shape.write(domain, most);
    }
    // The only node has all of them. With several, libvirt gives to the first those that are in none.
    let numa = domain.child_mut("cpu").and_then(|cpu| cpu.child_mut("numa"));
    if let Some(numa) = numa.filter(|numa| numa.children("cell").count() == 1)
        && let Some(cell) = numa.child_mut("cell").filter(|cell| cell.attr("cpus").is_some())
    {
        cell.set_attr("cpus", format!("0-{}", most.saturating_sub(1)));
    }
    // A list of single CPUs is for another number of them.
    domain.remove("vcpus");
}

/// How the CPUs are spread over sockets, where the definition says so: libvirt refuses another number of them than that makes.
struct Shape {
    /// The CPUs of one socket.
    socket: u64,
}

impl Shape {
    fn of(domain: &Element) -> Option<Self> {
        let topology = domain.path("cpu/topology")?;
        let mut socket = 1_u64;
        for name in ["dies", "clusters", "modules", "cores", "threads"] {
            let each = topology.attr_number::<u64>(name).ok()?.unwrap_or(1);
            socket = socket.checked_mul(each).filter(|socket| *socket > 0)?;
        }
        Some(Self { socket })
    }

    /// The CPUs of as many whole sockets as are needed.
    fn room_for(&self, cpus: u64) -> u64 {
        cpus.div_ceil(self.socket).saturating_mul(self.socket)
    }

    fn write(&self, domain: &mut Element, most: u64) {
        if let Some(topology) = domain.child_mut("cpu").and_then(|cpu| cpu.child_mut("topology")) {
            topology.set_attr("sockets", most.div_ceil(self.socket).to_string());
        }
    }
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
    fn sockets_and_nodes_follow_the_number_of_cpus_and_the_memory() {
        let changed = |xml: &str, change: VmChange| {
            let mut domain = Element::parse(xml).unwrap();
            apply(&mut domain, &change);
            domain.to_string()
        };
        let shaped = "<domain><vcpu>4</vcpu><cpu mode=\"host-model\"><topology sockets=\"2\" dies=\"1\" cores=\"2\" threads=\"1\"/></cpu></domain>";
        assert_eq!(
            changed(shaped, VmChange::new().cpus(6)),
            shaped.replace(">4<", ">6<").replace("sockets=\"2\"", "sockets=\"3\"")
        );
        assert_eq!(
            changed(shaped, VmChange::new().cpus(5)),
            shaped.replace("<vcpu>4<", "<vcpu current=\"5\">6<").replace("sockets=\"2\"", "sockets=\"3\"")
        );
        assert_eq!(
            changed(shaped, VmChange::new().cpus(1)),
            shaped.replace("<vcpu>4<", "<vcpu current=\"1\">2<").replace("sockets=\"2\"", "sockets=\"1\"")
        );
        assert_eq!(changed(shaped, VmChange::new().cpus(4)), shaped);
        let odd =
            "<domain><vcpu>4</vcpu><cpu><topology sockets=\"0\" cores=\"0\" threads=\"1\"/></cpu></domain>";
        assert_eq!(changed(odd, VmChange::new().cpus(2)), odd.replace(">4<", ">2<"));

        let nodes = "<domain><maxMemory slots=\"4\" unit=\"KiB\">4194304</maxMemory><memory unit=\"KiB\">2097152</memory>\
             <currentMemory unit=\"KiB\">2097152</currentMemory><vcpu>4</vcpu><cpu><numa>\
             <cell id=\"0\" cpus=\"0-1\" memory=\"1\" unit=\"GiB\"/><cell id=\"1\" cpus=\"2-3\" memory=\"1048576\"/></numa></cpu></domain>";
        let less = changed(nodes, VmChange::new().memory(ByteSize::gib(1)).cpus(2));
        assert_eq!(
            less,
            nodes
                .replace("KiB\">2097152</current", "KiB\">1048576</current")
                .replace("<vcpu>", "<vcpu current=\"2\">")
        );
        let more = changed(nodes, VmChange::new().memory(ByteSize::mib(5000 + 2048)));
        for part in [
            "<maxMemory slots=\"4\" unit=\"KiB\">7217152</maxMemory><memory unit=\"KiB\">7217152<",
            "cpus=\"0-1\" memory=\"3608576\" unit=\"KiB\"/>",
            "cpus=\"2-3\" memory=\"3608576\" unit=\"KiB\"/>",
        ] {
            assert!(more.contains(part), "{part} is not in {more}");
        }
        let one = "<domain><vcpu>2</vcpu><cpu><numa><cell cpus=\"0-1\"/></numa></cpu></domain>";
        assert_eq!(changed(one, VmChange::new().cpus(3)), one.replace(">2<", ">3<").replace("0-1", "0-2"));
    }

    #[test]
    fn an_empty_change_changes_nothing() {
        let before = "<domain><name>a</name><description>d</description><metadata/></domain>";
        let mut domain = Element::parse(before).unwrap();
        apply(&mut domain, &VmChange::new());
        assert_eq!(domain.to_string(), before);
    }
}
