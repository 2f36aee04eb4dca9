//! Disks of virtual machines and volumes of containers, as property strings.

use hypervisor_core::model::{
    ByteSize, DiskBus, DiskDevice, DiskInfo, DiskSource, DiskSpec, GuestKind, PoolId, VolumeFormat,
};
use hypervisor_core::{Error, Result};

use super::Config;
use crate::wire::form;
use crate::wire::property::{self, Properties};

/// The buses that disks of virtual machines are on, with the number of their slots, and the families of a container's volumes.
const VM_FAMILIES: [(&str, u16); 4] = [("scsi", 31), ("virtio", 16), ("sata", 6), ("ide", 4)];
const CT_FAMILIES: [(&str, u16); 2] = [("rootfs", 0), ("mp", 256)];

/// Properties that the model knows.
const KNOWN: [&str; 8] = ["file", "volume", "size", "media", "format", "ro", "serial", "import-from"];

/// What a container's root gets where nobody says how large it should be; the server's own default.
const USUAL_ROOT: ByteSize = ByteSize::gib(4);

/// The family and number of a slot: `scsi`, 0. `None` where it is none.
pub(super) fn split_slot(slot: &str) -> Option<(&'static str, u16)> {
    if slot == "rootfs" {
        return Some(("rootfs", 0));
    }
    let families = VM_FAMILIES.into_iter().chain([("mp", 256)]);
    families.into_iter().find_map(|(family, count)| {
        let number = super::raw::member(slot, family)?;
        (number < count).then_some((family, number))
    })
}

/// The slots of a guest's disks, in order. The drive of cloud-init is none of them.
pub(super) fn slots(config: &Config) -> Vec<(String, String)> {
    let families: &[(&str, u16)] = match config.kind {
        GuestKind::Container => &CT_FAMILIES,
        _ => &VM_FAMILIES,
    };
    let mut found = Vec::new();
    for (family, _) in families {
        if *family == "rootfs" {
            found.extend(config.get("rootfs").map(|text| ("rootfs".to_owned(), text.to_owned())));
            continue;
        }
        let numbered =
            config.family(family).map(|(number, text)| (format!("{family}{number}"), text.to_owned()));
        found.extend(numbered.filter(|(_, text)| !is_cloud_init(text)));
    }
    found
}

/// Whether this is the drive that the server writes cloud-init's documents to.
pub(super) fn is_cloud_init(text: &str) -> bool {
    let disk = property::parse(text);
    let file = disk.get_or_bare("file").unwrap_or_default();
    let name = file.rsplit(['/', ':']).next().unwrap_or_default();
    let stem = name.split('.').next().unwrap_or_default();
    stem == "cloudinit" || (stem.starts_with("vm-") && stem.ends_with("-cloudinit"))
}

pub(super) fn is_cdrom(disk: &Properties) -> bool {
    disk.get("media") == Some("cdrom") || disk.get_or_bare("file") == Some("cdrom")
}

/// The volume or path of a disk.
fn file(disk: &Properties) -> Option<&str> {
    disk.get_or_bare("file").or_else(|| disk.get("volume")).filter(|file| !matches!(*file, "none" | "cdrom"))
}

/// The volume of a disk, where a storage knows it.
pub(super) fn volume(text: &str) -> Option<String> {
    let disk = property::parse(text);
    file(&disk).filter(|file| !file.starts_with('/') && file.contains(':')).map(str::to_owned)
}

/// A size as the server writes it: `32G`, `528K`, `4M`.
pub(super) fn size(text: &str) -> Option<ByteSize> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let shift = match text.get(digits.len()..)? {
        "" => 0,
        "K" => 10,
        "M" => 20,
        "G" => 30,
        "T" => 40,
        _ => return None,
    };
    let unit = 1_u64.checked_shl(shift)?;
    if let Ok(whole) = digits.parse::<u64>() {
        return whole.checked_mul(unit).map(ByteSize::bytes);
    }
    let (whole, fraction) = digits.split_once('.')?;
    let fraction = format!("0.{fraction}").parse::<f64>().ok()?;
    let unit_float = unit.to_string().parse::<f64>().ok()?;
    let rest: u64 = crate::wire::scalar::Scalar::from_float(fraction * unit_float)?;
    whole.parse::<u64>().ok()?.checked_mul(unit)?.checked_add(rest).map(ByteSize::bytes)
}

/// A size in GiB, which is how the server counts new volumes; a part of a KiB counts as one.
pub(super) fn gib(size: ByteSize) -> String {
    const KIB_IN_GIB: u64 = 1 << 20;
    let kib = size.div_ceil(ByteSize::kib(1));
    let (whole, mut rest) = (kib / KIB_IN_GIB, kib % KIB_IN_GIB);
    let mut text = whole.to_string();
    if rest > 0 {
        text.push('.');
    }
    // A fraction of a power of two has an end.
    while rest > 0 {
        rest *= 10;
        text.push_str(&(rest / KIB_IN_GIB).to_string());
        rest %= KIB_IN_GIB;
    }
    text
}

/// A disk as the model has it.
pub(super) fn decode(slot: &str, text: &str) -> DiskInfo {
    let disk = property::parse(text);
    let cdrom = is_cdrom(&disk);
    let family = split_slot(slot).map_or(slot, |(family, _)| family);
    let device = if cdrom { DiskDevice::Cdrom } else { DiskDevice::Disk };
    let mut info = DiskInfo::new(slot, device, DiskBus::parse(family));
    info.read_only = cdrom || disk.flag("ro") == Some(true);
    info.serial = disk.get("serial").map(form::decoded_text);
    info.capacity = disk.get("size").and_then(size);
    match file(&disk) {
        Some(path) if path.starts_with('/') => info.path = Some(path.to_owned()),
        Some(volume) => info.volume = Some(volume.into()),
        None => {}
    }
    info.format = format_of(&disk);
    info
}

/// The format by the property, else by the end of the file's name; block storages say nothing.
fn format_of(disk: &Properties) -> Option<VolumeFormat> {
    if let Some(format) = disk.get("format") {
        return Some(VolumeFormat::parse(format));
    }
    let name = file(disk)?.rsplit('/').next()?;
    let (_, ending) = name.rsplit_once('.')?;
    let format = VolumeFormat::parse(ending);
    (!matches!(format, VolumeFormat::Unknown(_))).then_some(format)
}

/// What of a disk's text the model has no place for.
pub(super) fn beyond(text: &str) -> String {
    let mut disk = property::parse(text);
    for key in KNOWN {
        disk.remove(key);
    }
    disk.remove_bare();
    disk.to_string()
}

/// The spec that would give the guest this disk again.
pub(super) fn spec(info: &DiskInfo) -> DiskSpec {
    let source = match (&info.volume, &info.path) {
        (Some(volume), _) => DiskSource::Volume(volume.clone()),
        (None, Some(path)) => DiskSource::HostPath(path.clone()),
        (None, None) => DiskSource::Empty,
    };
    let mut spec = DiskSpec::empty_cdrom();
    spec.source = source;
    spec.device = info.device;
    // A container's volumes are on no bus.
    spec.bus = (!matches!(info.bus, DiskBus::Unknown(_))).then(|| info.bus.clone());
    spec.format.clone_from(&info.format);
    spec.read_only = info.read_only;
    spec.serial.clone_from(&info.serial);
    spec.slot = Some(info.id.clone());
    spec
}

/// A disk for a guest, in its slot.
pub(super) struct Encoded {
    /// The value of the slot's key.
    pub(super) text: String,
    /// What it has to grow to once it is there.
    pub(super) grow: Option<ByteSize>,
    /// The template that a container's root is made of.
    pub(super) template: Option<String>,
}

/// Writes a disk of a virtual machine. `pool` is the storage where the spec names none.
pub(super) fn encode_vm(spec: &DiskSpec, slot: &str, pool: Option<&str>, field: &str) -> Result<Encoded> {
    let (mut disk, grow) = source(spec, pool, field)?;
    if spec.device == DiskDevice::Cdrom {
        disk.set("media", "cdrom");
    } else if spec.read_only {
        let family = split_slot(slot).map_or("", |(family, _)| family);
        if !matches!(family, "scsi" | "virtio") {
            let why = format!("Proxmox has no read-only disks on the bus of `{slot}`; use scsi or virtio");
            return Err(Error::invalid(format!("{field}.read_only"), why));
        }
        disk.set("ro", "1");
    }
    if let Some(serial) = &spec.serial {
        disk.set("serial", form::encoded_text(serial));
    }
    Ok(Encoded { text: disk.to_string(), grow, template: None })
}

/// Writes a volume of a container: its root or a mount point.
pub(super) fn encode_ct(
    spec: &DiskSpec,
    slot: &str,
    pool: Option<&str>,
    template: Option<&str>,
    field: &str,
) -> Result<Encoded> {
    if spec.device == DiskDevice::Cdrom || spec.serial.is_some() {
        return Err(Error::invalid(
            format!("{field}.device"),
            "a container has no drives, only file systems",
        ));
    }
    let mut made_of = None;
    let mut volume = match &spec.source {
        DiskSource::Copy { of, size, pool: own } if slot == "rootfs" => {
            made_of = Some(of.as_str().to_owned());
            let pool = storage(own.as_ref(), pool, field)?;
            Properties::bare(format!("{pool}:{}", gib(size.unwrap_or(USUAL_ROOT))))
        }
        DiskSource::Copy { .. } => {
            let why = "only the root of a container is made of a copy, that of a template";
            return Err(Error::invalid(format!("{field}.source"), why));
        }
        _ => {
            if slot == "rootfs" && matches!(spec.source, DiskSource::New { .. }) {
                made_of = template.map(str::to_owned);
            }
            let (properties, _) = source(spec, pool, field)?;
            properties
        }
    };
    if volume.get("format").is_some() {
        let why = "the storage decides how a container's volumes are laid out";
        return Err(Error::invalid(format!("{field}.format"), why));
    }
    if spec.read_only {
        volume.set("ro", "1");
    }
    if slot != "rootfs" {
        volume.set("mp", format!("/mnt/{slot}"));
    }
    Ok(Encoded { text: volume.to_string(), grow: None, template: made_of })
}

fn storage(own: Option<&PoolId>, usual: Option<&str>, field: &str) -> Result<String> {
    let name = own.map(PoolId::as_str).or(usual).map(str::to_owned);
    let name = name.ok_or_else(|| {
        Error::invalid(format!("{field}.pool"), "name the storage, here or in options.proxmox.storage")
    })?;
    if name.contains([':', ',', '=', '/', ' ']) {
        return Err(Error::invalid(
            format!("{field}.pool"),
            format!("`{}` is no storage", name.escape_debug()),
        ));
    }
    Ok(name)
}

fn source(spec: &DiskSpec, pool: Option<&str>, field: &str) -> Result<(Properties, Option<ByteSize>)> {
    if spec.name.is_some() {
        let why = "Proxmox names the volumes of guests itself; make the volume first and attach it";
        return Err(Error::invalid(format!("{field}.name"), why));
    }
    // A value that stands alone must not become more than one.
    let whole = |text: &str| {
        if text.contains([',', '"', '=']) || text.trim().is_empty() {
            let why = format!("`{}` is none that Proxmox could take", text.escape_debug());
            Err(Error::invalid(format!("{field}.source"), why))
        } else {
            Ok(Properties::bare(text))
        }
    };
    let with_format = |disk: Properties| match &spec.format {
        Some(format) => disk.with("format", format.as_str()),
        None => disk,
    };
    Ok(match &spec.source {
        DiskSource::New { size, pool: own } => {
            let pool = storage(own.as_ref(), pool, field)?;
            (with_format(Properties::bare(format!("{pool}:{}", gib(*size)))), None)
        }
        DiskSource::Copy { of, size, pool: own } => {
            let beside = of.as_str().split_once(':').map(|(storage, _)| storage);
            let pool = storage(own.as_ref(), beside.or(pool), field)?;
            whole(of.as_str())?;
            let copy = Properties::bare(format!("{pool}:0")).with("import-from", of.as_str());
            (with_format(copy), *size)
        }
        DiskSource::Volume(volume) => (whole(volume.as_str())?, None),
        DiskSource::HostPath(path) => (whole(path)?, None),
        DiskSource::Empty => (Properties::bare("none"), None),
        _ => {
            let why = "Proxmox makes linked disks only by cloning a template";
            return Err(Error::invalid(format!("{field}.source"), why));
        }
    })
}

/// The slot for a disk: the one that is asked for, else the next free one of its bus.
///
/// `taken` are the slots in use, that of the cloud-init drive included.
pub(super) fn slot_for(spec: &DiskSpec, kind: GuestKind, taken: &[String], field: &str) -> Result<String> {
    let is_taken = |slot: &str| taken.iter().any(|other| other == slot);
    let container = kind == GuestKind::Container;
    if let Some(slot) = &spec.slot {
        let slot = slot.as_str();
        let (family, _) = split_slot(slot)
            .filter(|(family, _)| CT_FAMILIES.iter().any(|(other, _)| other == family) == container)
            .ok_or_else(|| {
                let slots = if container {
                    "rootfs, mp0 to mp255"
                } else {
                    "scsi0 to 30, virtio0 to 15, sata0 to 5, ide0 to 3"
                };
                Error::invalid(format!("{field}.slot"), format!("`{slot}` is none of {slots}"))
            })?;
        if spec.bus.as_ref().is_some_and(|bus| bus.as_str() != family) {
            return Err(Error::invalid(format!("{field}.slot"), format!("`{slot}` is on another bus")));
        }
        if is_taken(slot) {
            return Err(Error::already_exists("disk", slot));
        }
        return Ok(slot.to_owned());
    }
    if container {
        let mut names = std::iter::once("rootfs".to_owned()).chain((0..256).map(|n| format!("mp{n}")));
        let free = names.find(|slot| !is_taken(slot));
        return free
            .ok_or_else(|| Error::new(hypervisor_core::ErrorKind::Exhausted, "no mount point is free"));
    }
    let usual = if spec.device == DiskDevice::Cdrom { DiskBus::Ide } else { DiskBus::Scsi };
    let bus = spec.bus.clone().unwrap_or(usual);
    let family = VM_FAMILIES.iter().find(|(family, _)| *family == bus.as_str());
    let (family, count) = family.ok_or_else(|| {
        Error::invalid(format!("{field}.bus"), format!("Proxmox attaches no disks to `{bus}`"))
    })?;
    // The CD drive of Proxmox's own interface is ide2.
    let usual_drive = (spec.device == DiskDevice::Cdrom && *family == "ide").then(|| "ide2".to_owned());
    let mut names = usual_drive.into_iter().chain((0..*count).map(|n| format!("{family}{n}")));
    let free = names.find(|slot| !is_taken(slot));
    free.ok_or_else(|| {
        Error::new(hypervisor_core::ErrorKind::Exhausted, format!("the {family} bus has no free slot"))
    })
}
