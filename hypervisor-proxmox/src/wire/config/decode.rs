//! From a configuration to what the SDK says about a guest.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use hypervisor_core::Result;
use hypervisor_core::model::{
    BackendOptions, ByteSize, DiskSpec, Extra, GuestKind, NicSpec, SerialSpec, VmConfig, VmId, VmInfo, VmSpec,
};

use super::{CloudInitOptions, Config, VmOptions, boot, disk, nic};
use crate::wire::property::Properties;
use crate::wire::{marks, property};

/// Keys that the fields of the spec hold, of virtual machines and of containers.
const KNOWN: [&str; 19] = [
    "name",
    "hostname",
    "cores",
    "sockets",
    "vcpus",
    "memory",
    "description",
    "tags",
    "onboot",
    "agent",
    "bios",
    "boot",
    "machine",
    "cpu",
    "serial0",
    "rootfs",
    "efidisk0",
    "tpmstate0",
    "digest",
];

/// Keys that belong to this guest alone or that only the server sets: another one made of the spec must not have them.
const OWN: [&str; 13] = [
    "smbios1",
    "vmgenid",
    "meta",
    "lock",
    "template",
    "parent",
    "snaptime",
    "snapstate",
    "vmstate",
    "runningmachine",
    "runningcpu",
    "running-nets-host-mtu",
    "lxc",
];

/// Keys of which [`CloudInitOptions`] is made.
const CLOUD_INIT: [&str; 8] =
    ["ciuser", "cipassword", "sshkeys", "nameserver", "searchdomain", "ciupgrade", "cicustom", "citype"];

/// The configuration of a virtual machine, of the answer of `/config`.
///
/// # Errors
/// `Protocol` where the answer is no object.
pub fn decode_vm(vm: &VmId, body: &[u8]) -> Result<VmConfig> {
    Ok(decode(vm, &Config::read(body, GuestKind::Vm)?))
}

/// The configuration of a container, of the answer of `/config`.
///
/// # Errors
/// `Protocol` where the answer is no object.
pub fn decode_ct(vm: &VmId, body: &[u8]) -> Result<VmConfig> {
    Ok(decode(vm, &Config::read(body, GuestKind::Container)?))
}

/// A configuration as the model has it. The group and the node are in no configuration; the caller adds them.
#[must_use]
pub fn decode(vm: &VmId, config: &Config) -> VmConfig {
    let disks: Vec<_> = disk::slots(config).iter().map(|(slot, text)| disk::decode(slot, text)).collect();
    let nics = nic::all(config);
    let mut spec = VmSpec::new(name(vm, config)).id(vm.clone()).cpus(cpus(config)).memory(memory(config));
    spec.kind = config.kind;
    let number = vm.as_str().parse().unwrap_or_default();
    let (tags, token) = marks::read_tags(number, config.get("tags").unwrap_or_default());
    (spec.tags, spec.client_token) = (tags.into(), token);
    (spec.description, spec.metadata) = marks::read_notes(config.get("description").unwrap_or_default());
    spec.autostart = config.flag("onboot").unwrap_or(false);
    spec.agent = boot::agent(config);
    spec.tpm = config.get("tpmstate0").is_some();
    spec.boot.firmware = boot::firmware(config);
    spec.boot.order = boot::order(config);
    spec.machine = config.properties("machine").and_then(|machine| owned(machine.get_or_bare("type")));
    spec.cpu_model = config.properties("cpu").and_then(|cpu| owned(cpu.get_or_bare("cputype")));
    spec.graphics = boot::graphics(config);
    spec.serial = config.get("serial0").filter(|port| *port == "socket").map(|_| SerialSpec::new());
    spec.disks = disks.iter().map(disk::spec).collect::<Vec<DiskSpec>>();
    spec.nics = nics.iter().map(|info| nic::spec(info, config.kind)).collect::<Vec<NicSpec>>();
    let options = options(config);
    if options != VmOptions::default() {
        // They are made of texts, which always become data.
        drop(spec.options.set(&options));
    }
    let mut decoded = VmConfig::new(vm, spec, disks, nics).native(config.native());
    decoded.revision = config.revision();
    decoded
}

fn owned(text: Option<&str>) -> Option<String> {
    text.map(str::to_owned)
}

fn name(vm: &VmId, config: &Config) -> String {
    let key = if config.kind == GuestKind::Container { "hostname" } else { "name" };
    config.get(key).map_or_else(|| vm.as_str().to_owned(), str::to_owned)
}

/// The CPUs. A container without a number has those of its node, which its configuration does not say.
pub(super) fn cpus(config: &Config) -> u32 {
    let number = |key: &str| config.number(key).filter(|number| *number > 0);
    let all = number("cores").unwrap_or(1).saturating_mul(number("sockets").unwrap_or(1));
    u32::try_from(number("vcpus").unwrap_or(all)).unwrap_or(u32::MAX)
}

/// The memory, which the server counts in MiB; without it the server's default.
pub(super) fn memory(config: &Config) -> ByteSize {
    let text = config.properties("memory");
    let mib =
        text.as_ref().and_then(|memory| memory.get_or_bare("current")).and_then(|text| text.parse().ok());
    ByteSize::mib(mib.unwrap_or(512_u64).min(u64::MAX >> 20))
}

/// What the spec has no field for.
fn options(config: &Config) -> VmOptions {
    let container = config.kind == GuestKind::Container;
    let mut options = VmOptions::new();
    options.cloud_init = if container { None } else { CloudInitOptions::decode(config) };
    // Another one would get its variables, its TPM and its drive there too.
    let beside = ["efidisk0", "tpmstate0"].iter().filter_map(|key| config.get(key));
    let drive =
        config.iter().filter(|(key, text)| disk::split_slot(key).is_some() && disk::is_cloud_init(text));
    let storage = beside.chain(drive.map(|(_, text)| text)).find_map(disk::volume);
    options.storage = storage.and_then(|volume| owned(volume.split_once(':').map(|(storage, _)| storage)));
    let disks = disk::slots(config);
    let disk_properties = disks.iter().map(|(slot, text)| (slot.clone(), disk::beyond(text)));
    let nic_properties =
        config.family("net").map(|(number, text)| (format!("net{number}"), nic::beyond(text)));
    let others = [("machine", "type"), ("cpu", "cputype"), ("agent", "enabled")];
    let other_properties = others.iter().filter_map(|(key, default)| {
        let mut properties = config.properties(key)?;
        properties.remove(default);
        properties.remove_bare();
        Some(((*key).to_owned(), properties.to_string()))
    });
    let devices = disk_properties.chain(nic_properties).chain(other_properties);
    options.devices = devices.filter(|(_, properties)| !properties.is_empty()).collect();
    options.config = config.iter().filter(|(key, text)| is_beyond(config.kind, key, text)).map(own).collect();
    options
}

fn own((key, text): (&str, &str)) -> (String, String) {
    (key.to_owned(), text.to_owned())
}

fn is_beyond(kind: GuestKind, key: &str, text: &str) -> bool {
    let container = kind == GuestKind::Container;
    let of_family = ["net", "unused"].iter().any(|family| super::raw::member(key, family).is_some());
    let disk = disk::split_slot(key).is_some();
    let cloud_init = !container
        && (CLOUD_INIT.contains(&key)
            || super::raw::member(key, "ipconfig").is_some()
            || (disk && disk::is_cloud_init(text)));
    // A port of the host is no port that the spec could say.
    let odd_serial = key == "serial0" && text != "socket";
    let is_known = KNOWN.contains(&key) && !odd_serial;
    // Told apart from the ordinary screen, of which the spec says all.
    let plain_screen = key == "vga" && matches!(text, "std" | "qxl");
    !(is_known || OWN.contains(&key) || of_family || disk || cloud_init || plain_screen)
}

/// Adds to a row of a list what only the configuration tells.
pub fn fill_in(info: &mut VmInfo, config: &Config) {
    let number = info.id.as_str().parse().unwrap_or_default();
    info.uid = uid(config);
    info.name = name(&info.id, config);
    info.cpus = config.get("cores").map(|_| cpus(config)).or(info.cpus);
    info.memory = Some(memory(config));
    let (tags, token) = marks::read_tags(number, config.get("tags").unwrap_or_default());
    (info.tags, info.client_token) = (tags.into(), token);
    info.description = marks::read_notes(config.get("description").unwrap_or_default()).0;
    info.autostart = Some(config.flag("onboot").unwrap_or(false));
    info.template = config.flag("template").unwrap_or(false);
    info.lock = config.get("lock").map(str::to_owned).or_else(|| info.lock.take());
    info.created = created(config);
}

/// The UUID that the guest sees, which no other guest has. Containers have none.
fn uid(config: &Config) -> Option<String> {
    owned(config.properties("smbios1")?.get("uuid")).map(|uuid| uuid.to_ascii_lowercase())
}

fn created(config: &Config) -> Option<SystemTime> {
    let seconds: u64 = config.properties("meta")?.get("ctime")?.parse().ok()?;
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds))
}

/// The options in a spec.
pub(super) fn options_of(options: &Extra) -> Result<VmOptions> {
    options.options::<VmOptions>()
}

/// Adds the properties that the options have for a device.
pub(super) fn with_device(options: &VmOptions, slot: &str, mut properties: Properties) -> String {
    if let Some(more) = options.devices.get(slot) {
        properties.merge(&property::parse(more));
    }
    properties.to_string()
}

/// The name of the backend in fields of errors.
pub(super) fn option_field(name: &str) -> String {
    format!("options.{}.{name}", VmOptions::BACKEND)
}

/// Devices that the options name and the guest does not have.
pub(super) fn strangers<'a>(options: &'a VmOptions, known: &BTreeMap<String, String>) -> Option<&'a String> {
    options.devices.keys().find(|slot| !known.contains_key(*slot))
}
