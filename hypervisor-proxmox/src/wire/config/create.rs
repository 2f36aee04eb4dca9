//! From a spec to the parameters of a create.

use std::collections::BTreeMap;

use hypervisor_core::model::{
    ByteSize, DiskSource, DiskSpec, Firmware, GraphicsKind, GuestKind, PoolId, VmSpec,
};
use hypervisor_core::{Error, Result};

use super::decode::{option_field, options_of, strangers, with_device};
use super::{VmOptions, boot, disk, nic};
use crate::wire::form::Form;
use crate::wire::marks;
use crate::wire::property::Properties;

/// What the connection knows where a spec says nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Defaults {
    /// The storage of volumes for which neither the spec nor its options name one.
    pub storage: Option<String>,
}

impl Defaults {
    /// This storage for volumes that nobody names one for.
    #[must_use]
    pub fn storage(storage: impl Into<String>) -> Self {
        Self { storage: Some(storage.into()) }
    }
}

/// A create: the call, and what is left to do when it has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Create {
    /// The parameters of `POST /nodes/{node}/qemu` or `/lxc`.
    pub form: Form,
    /// Disks that are copies and are to be larger than the original: slot and size. A guest that is to be started then is started
    /// after that, so that the form does not say so.
    pub grow: Vec<(String, ByteSize)>,
}

/// The parameters that make guest `vmid`.
///
/// # Errors
/// `InvalidInput` naming the field, for all that Proxmox has no place for.
pub fn encode_create(vmid: u32, spec: &VmSpec, defaults: &Defaults) -> Result<Create> {
    spec.validate()?;
    refuse_unknown(spec)?;
    let options = options_of(&spec.options)?;
    let storage = options.storage.as_deref().or(defaults.storage.as_deref());
    let form = Form::new().number("vmid", vmid.into());
    let form = head(form, vmid, spec)?;
    let mut create = match spec.kind {
        GuestKind::Container => container(form, spec, &options, storage)?,
        _ => machine(form, spec, &options, storage)?,
    };
    for (key, value) in &options.config {
        let plain = key.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
        if !plain || matches!(key.as_str(), "vmid" | "node" | "delete" | "digest") {
            return Err(Error::invalid(
                option_field(&format!("config.{key}")),
                "is no key of a configuration",
            ));
        }
        create.form.set(key, value.as_str());
    }
    if spec.start && create.grow.is_empty() {
        create.form.set("start", "1");
    }
    Ok(create)
}

/// What no guest of Proxmox can be.
fn refuse_unknown(spec: &VmSpec) -> Result<()> {
    let refused = |field: &str, why: &str| Err(Error::invalid(field, why));
    if spec.ephemeral {
        return refused("ephemeral", "guests of Proxmox stay until they are deleted");
    }
    if spec.boot.direct.is_some() {
        return refused("boot.direct", "Proxmox boots no kernel of the host; use a boot device");
    }
    if spec.serial.as_ref().is_some_and(|serial| serial.log.is_some()) {
        return refused("serial.log", "Proxmox writes no log of a serial port");
    }
    Ok(())
}

/// What both kinds of guests have.
fn head(form: Form, vmid: u32, spec: &VmSpec) -> Result<Form> {
    let name = if spec.kind == GuestKind::Container { "hostname" } else { "name" };
    host_name(&spec.name)?;
    let tags = marks::write_tags(vmid.into(), &spec.tags, spec.client_token.as_deref());
    let notes = marks::write_notes(spec.description.as_deref(), &spec.metadata)?;
    let some = |text: String| (!text.is_empty()).then_some(text);
    Ok(form
        .text(name, spec.name.as_str())
        .text("memory", mib(spec.memory).to_string())
        .number("cores", spec.cpus.into())
        .maybe("description", some(notes))
        .maybe("tags", some(tags))
        .maybe("pool", spec.group.as_ref().map(|group| group.as_str().to_owned()))
        .flag_if("onboot", spec.autostart))
}

/// Names are DNS names: without `_`, and no part begins or ends with a hyphen.
///
/// # Errors
/// `InvalidInput` naming `name`.
pub fn host_name(name: &str) -> Result<()> {
    let fits = |part: &str| {
        !part.is_empty()
            && !part.starts_with('-')
            && !part.ends_with('-')
            && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    if name.split('.').all(fits) {
        return Ok(());
    }
    let why =
        format!("`{name}` is no DNS name, which Proxmox asks for: letters, digits and hyphens between dots");
    Err(Error::invalid("name", why))
}

/// A part of a MiB counts as one.
pub(super) fn mib(memory: ByteSize) -> u64 {
    memory.div_ceil(ByteSize::mib(1))
}

/// The storage of what belongs to the guest and has no pool of its own: that of its first new disk.
fn beside<'a>(spec: &'a VmSpec, storage: Option<&'a str>) -> Option<&'a str> {
    let of_disk = |disk: &'a DiskSpec| match &disk.source {
        DiskSource::New { pool, .. } | DiskSource::Copy { pool, .. } => pool.as_ref().map(PoolId::as_str),
        DiskSource::Volume(volume) if disk.device == hypervisor_core::model::DiskDevice::Disk => {
            volume.as_str().split_once(':').map(|(storage, _)| storage)
        }
        _ => None,
    };
    storage.or_else(|| spec.disks.iter().find_map(of_disk))
}

/// The slots and texts of a spec's disks, filled by `encode`. Slots that are asked for go first.
fn place(
    spec: &VmSpec,
    reserved: Option<&str>,
    mut encode: impl FnMut(&DiskSpec, &str, &str) -> Result<disk::Encoded>,
) -> Result<Vec<(String, disk::Encoded)>> {
    let mut taken: Vec<String> = reserved.map(str::to_owned).into_iter().collect();
    let mut placed = Vec::new();
    let indexed: Vec<(usize, &DiskSpec)> = spec.disks.iter().enumerate().collect();
    let (fixed, free): (Vec<_>, Vec<_>) = indexed.into_iter().partition(|(_, disk)| disk.slot.is_some());
    for (index, disk) in fixed.into_iter().chain(free) {
        let field = format!("disks[{index}]");
        let slot = disk::slot_for(disk, spec.kind, &taken, &field)?;
        let encoded = encode(disk, &slot, &field)?;
        taken.push(slot.clone());
        placed.push((index, slot, encoded));
    }
    placed.sort_by_key(|(index, ..)| *index);
    Ok(placed.into_iter().map(|(_, slot, encoded)| (slot, encoded)).collect())
}

fn machine(form: Form, spec: &VmSpec, options: &VmOptions, storage: Option<&str>) -> Result<Create> {
    for (given, field) in [
        (options.template.is_some(), "template"),
        (options.password.is_some(), "password"),
        (!options.ssh_keys.is_empty(), "ssh_keys"),
    ] {
        if given {
            return Err(Error::invalid(option_field(field), "is for containers; see cloud_init for this"));
        }
    }
    let cloud_init = match (&options.cloud_init, &spec.cloud_init) {
        (None, None) => None,
        (own, documents) => {
            let own = own.clone().unwrap_or_default();
            Some(
                documents
                    .as_ref()
                    .map_or(Ok(own.clone()), |some| own.clone().with_documents(some, &spec.name))?,
            )
        }
    };
    let drive = if cloud_init.is_some() { Some(drive_slot(spec)?) } else { None };
    let mut known = BTreeMap::new();
    let (mut disks, mut grow) = (Vec::new(), Vec::new());
    for (slot, encoded) in
        place(spec, drive, |disk, slot, field| disk::encode_vm(disk, slot, storage, field))?
    {
        let text = with_device(options, &slot, crate::wire::property::parse(&encoded.text));
        known.insert(slot.clone(), text.clone());
        disks.push((slot.clone(), text));
        grow.extend(encoded.grow.map(|size| (slot, size)));
    }
    let mut nics = Vec::new();
    for ((index, nic), number) in spec.nics.iter().enumerate().zip(0..32) {
        let slot = format!("net{number}");
        let text = nic::encode(nic, spec.kind, number, &format!("nics[{index}]"))?;
        known.insert(slot.clone(), with_device(options, &slot, text));
        nics.push(slot);
    }
    too_many_nics(spec)?;
    let beside = beside(spec, storage);
    let own_volume = |what: &str, more: &str| {
        let storage = beside
            .ok_or_else(|| Error::invalid(option_field("storage"), format!("name the storage for {what}")))?;
        Ok::<_, Error>(format!("{storage}:{more}"))
    };
    let mut form = known.iter().fold(form, |form, (slot, text)| form.text(slot, text.as_str()));
    if disks.iter().any(|(slot, _)| slot.starts_with("scsi")) {
        // The server's own default is a controller of the nineties.
        form.set("scsihw", "virtio-scsi-single");
    }
    if let (Some(drive), Some(cloud_init)) = (drive, &cloud_init) {
        form = cloud_init.encode(form.text(drive, own_volume("the cloud-init drive", "cloudinit")?));
    }
    match spec.boot.firmware {
        Some(Firmware::Bios) => form.set("bios", "seabios"),
        Some(firmware) => {
            let signed = if firmware == Firmware::SecureBoot { "1" } else { "0" };
            let variables = own_volume("the UEFI variables", "1")?;
            let variables = format!("{variables},efitype=4m,pre-enrolled-keys={signed}");
            form = form.text("bios", "ovmf").text("efidisk0", variables);
        }
        None => {}
    }
    if spec.tpm {
        form.set("tpmstate0", format!("{},version=v2.0", own_volume("the TPM's state", "1")?));
    }
    let setting = |key: &str, value: Option<Properties>| {
        let text = with_device(options, key, value.unwrap_or_default());
        (!text.is_empty()).then_some(text)
    };
    form = form
        .maybe("machine", setting("machine", spec.machine.as_deref().map(Properties::bare)))
        .maybe("cpu", setting("cpu", spec.cpu_model.as_deref().map(Properties::bare)))
        .maybe("agent", agent(spec, options))
        .maybe("vga", spec.graphics.as_ref().map(screen).transpose()?)
        .maybe("serial0", spec.serial.as_ref().map(|_| "socket"))
        .maybe("boot", boot::encode_order(&spec.boot.order, &disks, &nics));
    ["machine", "cpu", "agent"].iter().for_each(|key| drop(known.insert((*key).to_owned(), String::new())));
    known_devices(options, &known)?;
    Ok(Create { form, grow })
}

fn too_many_nics(spec: &VmSpec) -> Result<()> {
    if spec.nics.len() > 32 {
        return Err(Error::invalid("nics", "a guest of Proxmox has at most 32"));
    }
    Ok(())
}

fn known_devices(options: &VmOptions, known: &BTreeMap<String, String>) -> Result<()> {
    match strangers(options, known) {
        None => Ok(()),
        Some(slot) => {
            let why = "the guest has no such device; its slots are counted per bus, `scsi0`, `net0`";
            Err(Error::invalid(option_field(&format!("devices.{slot}")), why))
        }
    }
}

fn agent(spec: &VmSpec, options: &VmOptions) -> Option<String> {
    let more = options.devices.get("agent");
    if !spec.agent && more.is_none() {
        return None;
    }
    let on = Properties::bare(if spec.agent { "1" } else { "0" });
    Some(with_device(options, "agent", on))
}

/// The drive of cloud-init goes where Proxmox's own interface puts it, or beside it.
fn drive_slot(spec: &VmSpec) -> Result<&'static str> {
    let asked: Vec<&str> =
        spec.disks.iter().filter_map(|disk| disk.slot.as_ref().map(AsRef::as_ref)).collect();
    let free = ["ide2", "ide3", "ide0", "ide1"].into_iter().find(|slot| !asked.contains(slot));
    free.ok_or_else(|| Error::invalid("cloud_init", "no slot of the IDE bus is free for its drive"))
}

fn screen(graphics: &GraphicsKind) -> Result<String> {
    match graphics {
        GraphicsKind::Vnc => Ok("std".to_owned()),
        GraphicsKind::Spice => Ok("qxl".to_owned()),
        other => Err(Error::invalid("graphics", format!("`{other}` is neither vnc nor spice"))),
    }
}

fn container(form: Form, spec: &VmSpec, options: &VmOptions, storage: Option<&str>) -> Result<Create> {
    for (given, field) in [
        (spec.boot.firmware.is_some(), "boot.firmware"),
        (!spec.boot.order.is_empty(), "boot.order"),
        (spec.machine.is_some(), "machine"),
        (spec.cpu_model.is_some(), "cpu_model"),
        (spec.graphics.is_some(), "graphics"),
        (spec.serial.is_some(), "serial"),
        (spec.agent, "agent"),
        (spec.tpm, "tpm"),
        (spec.cloud_init.is_some(), "cloud_init"),
    ] {
        if given {
            return Err(Error::invalid(field, "containers have none"));
        }
    }
    if options.cloud_init.is_some() {
        return Err(Error::invalid(option_field("cloud_init"), "containers have none"));
    }
    let mut known = BTreeMap::new();
    let mut template = options.template.clone();
    let of = options.template.as_deref();
    for (slot, encoded) in
        place(spec, None, |disk, slot, field| disk::encode_ct(disk, slot, storage, of, field))?
    {
        known.insert(slot.clone(), with_device(options, &slot, crate::wire::property::parse(&encoded.text)));
        template = template.or(encoded.template);
    }
    for ((index, nic), number) in spec.nics.iter().enumerate().zip(0..32) {
        let slot = format!("net{number}");
        let text = nic::encode(nic, spec.kind, number, &format!("nics[{index}]"))?;
        known.insert(slot.clone(), with_device(options, &slot, text));
    }
    too_many_nics(spec)?;
    known_devices(options, &known)?;
    let template = template.ok_or_else(|| {
        let why =
            "a container is made of a template: name its volume here, or make its first disk a copy of it";
        Error::invalid(option_field("template"), why)
    })?;
    let form = form.text("ostemplate", template);
    // The root goes where the server would not look by itself.
    let form = match (known.contains_key("rootfs"), storage) {
        (false, Some(storage)) => form.text("storage", storage),
        _ => form,
    };
    let keys = (!options.ssh_keys.is_empty()).then(|| options.ssh_keys.join("\n"));
    let form = form.maybe("password", options.password.clone()).maybe("ssh-public-keys", keys);
    let form = known.iter().fold(form, |form, (slot, text)| form.text(slot, text.as_str()));
    Ok(Create { form, grow: Vec::new() })
}
