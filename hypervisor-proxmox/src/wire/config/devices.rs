//! Devices that are attached, changed and taken away.

use hypervisor_core::model::{ByteSize, DiskId, DiskSource, DiskSpec, GuestKind, NicChange, NicId, NicSpec};
use hypervisor_core::{Error, ErrorKind, Result};

use super::change::Edit;
use super::{Config, Defaults, disk, nic};
use crate::wire::form::Form;

fn taken(config: &Config) -> Vec<String> {
    config.iter().filter(|(key, _)| disk::split_slot(key).is_some()).map(|(key, _)| key.to_owned()).collect()
}

/// The slot that a disk would get.
///
/// # Errors
/// `InvalidInput` naming the field, `AlreadyExists` where the slot that is asked for is taken, `Exhausted` where none is free.
pub fn free_slot(disk: &DiskSpec, config: &Config) -> Result<DiskId> {
    disk::slot_for(disk, config.kind, &taken(config), "disk").map(DiskId::from)
}

/// Whether a configuration has a volume, under whatever key.
#[must_use]
pub fn mentions(config: &Config, volume: &str) -> bool {
    config.iter().any(|(_, text)| disk::volume(text).as_deref() == Some(volume))
}

/// Whether a running guest gets a device in this slot at once. What it cannot have waits for its next start.
#[must_use]
pub fn takes_while_running(config: &Config, slot: &str) -> bool {
    let of = |family: &str| super::raw::member(slot, family).is_some();
    match config.kind {
        GuestKind::Container => of("mp") || of("net"),
        _ if of("net") => plugs(config, "network"),
        _ => (of("scsi") || of("virtio")) && plugs(config, "disk"),
    }
}

/// Whether a running guest lets go of the device in this slot at once; a container keeps its mount points until it stops.
#[must_use]
pub fn lets_go_while_running(config: &Config, slot: &str) -> bool {
    let keeps = config.kind == GuestKind::Container && super::raw::member(slot, "net").is_none();
    !keeps && takes_while_running(config, slot)
}

/// Whether devices of this sort, or CPUs and memory, come and go while the virtual machine runs.
pub(crate) fn plugs(config: &Config, what: &str) -> bool {
    let words = match config.get("hotplug") {
        None | Some("1") => "network,disk,usb",
        Some(words) => words,
    };
    words.split(',').any(|word| word.trim() == what)
}

/// The parameters of `POST /config` (of containers `PUT`) that attach a disk, its slot, and what it has to grow to afterwards.
///
/// # Errors
/// `InvalidInput` naming the field, `AlreadyExists` where the slot is taken, `InvalidState` where the guest has the volume.
pub fn encode_attach_disk(
    disk: &DiskSpec,
    config: &Config,
    defaults: &Defaults,
) -> Result<(DiskId, Form, Option<ByteSize>)> {
    disk.validate("disk")?;
    let slot = free_slot(disk, config)?;
    let storage = defaults.storage.as_deref();
    let encoded = match config.kind {
        GuestKind::Container => disk::encode_ct(disk, slot.as_str(), storage, None, "disk")?,
        _ => disk::encode_vm(disk, slot.as_str(), storage, "disk")?,
    };
    if let DiskSource::Volume(volume) = &disk.source {
        let has = |text: &str| disk::volume(text).as_deref() == Some(volume.as_str());
        if disk::slots(config).iter().any(|(_, text)| has(text)) {
            return Err(Error::invalid_state(format!("it has volume `{volume}` already")));
        }
    }
    let mut edit = Edit::of(config);
    edit.set(slot.as_str(), encoded.text);
    Ok((slot, edit.finish(), encoded.grow))
}

/// The text of a disk.
fn disk_text<'a>(disk: &DiskId, config: &'a Config) -> Result<&'a str> {
    let text = disk::split_slot(disk.as_str()).and_then(|_| config.get(disk.as_str()));
    text.ok_or_else(|| disk.not_found().with_backend(crate::BACKEND))
}

/// The parameters of `PUT /config` that detach a disk. Its volume stays with the guest as `unused0`.
///
/// # Errors
/// `NotFound` where there is no such disk, `InvalidState` for a container's root.
pub fn encode_detach_disk(disk: &DiskId, config: &Config) -> Result<Form> {
    disk_text(disk, config)?;
    if disk.as_str() == "rootfs" {
        return Err(Error::invalid_state("a container cannot be without its root")
            .with_target(DiskId::NOUN, disk)
            .with_backend(crate::BACKEND));
    }
    let mut edit = Edit::of(config);
    edit.delete(disk.as_str());
    Ok(edit.finish())
}

/// The parameters of `PUT /config` that delete a volume which a guest owns and does not use: of containers for good, of virtual
/// machines too, once it is an `unused` one. `None` where the guest does not have it, which is the case when its storage belongs to others.
#[must_use]
pub fn encode_drop_volume(volume: &str, config: &Config) -> Option<Form> {
    let mut unused =
        config.family("unused").filter(|(_, text)| disk::volume(text).as_deref() == Some(volume));
    let (number, _) = unused.next()?;
    let mut edit = Edit::of(config);
    edit.delete(&format!("unused{number}"));
    Some(edit.finish())
}

/// The parameters of `PUT /resize`. A disk never becomes smaller.
///
/// # Errors
/// `NotFound` where there is no such disk, `InvalidInput` where it is larger than that.
pub fn encode_resize_disk(disk: &DiskId, capacity: ByteSize, config: &Config) -> Result<Form> {
    let present = disk::decode(disk.as_str(), disk_text(disk, config)?).capacity;
    hypervisor_core::model::ResizeVolume::grow_to(capacity).validate(present)?;
    let kib = capacity.div_ceil(ByteSize::kib(1));
    let form = Form::new().text("disk", disk.as_str()).text("size", format!("{kib}K"));
    Ok(form.maybe("digest", config.digest.clone()))
}

/// The parameters of `PUT /config` that attach a NIC, and its id.
///
/// # Errors
/// `InvalidInput` naming the field, `AlreadyExists` where the guest has a NIC of that address.
pub fn encode_attach_nic(spec: &NicSpec, config: &Config) -> Result<(NicId, Form)> {
    spec.validate("nic")?;
    if let Some(mac) = spec.mac.filter(|mac| nic::all(config).iter().any(|other| other.mac == Some(*mac))) {
        return Err(Error::already_exists(NicId::NOUN, mac).with_backend(crate::BACKEND));
    }
    let used: Vec<u16> = config.family("net").map(|(number, _)| number).collect();
    let number = (0..32).find(|number| !used.contains(number));
    let number =
        number.ok_or_else(|| Error::new(ErrorKind::Exhausted, "a guest of Proxmox has at most 32 NICs"))?;
    let id = NicId::from(format!("net{number}"));
    let mut edit = Edit::of(config);
    edit.set(id.as_str(), nic::encode(spec, config.kind, number, "nic")?.to_string());
    Ok((id, edit.finish()))
}

fn nic_text<'a>(id: &NicId, config: &'a Config) -> Result<&'a str> {
    let text = super::raw::member(id.as_str(), "net").and_then(|_| config.get(id.as_str()));
    text.ok_or_else(|| id.not_found().with_backend(crate::BACKEND))
}

/// The parameters of `PUT /config` that change a NIC; what the change does not name stays, settings that this version does not know
/// included.
///
/// # Errors
/// `NotFound` where there is no such NIC, `InvalidInput` naming the field.
pub fn encode_update_nic(id: &NicId, change: &NicChange, config: &Config) -> Result<Form> {
    change.validate()?;
    let text = nic::change(nic_text(id, config)?, change, config.kind)?;
    let mut edit = Edit::of(config);
    edit.set(id.as_str(), text.to_string());
    Ok(edit.finish())
}

/// The parameters of `PUT /config` that take a NIC away.
///
/// # Errors
/// `NotFound` where there is no such NIC.
pub fn encode_detach_nic(id: &NicId, config: &Config) -> Result<Form> {
    nic_text(id, config)?;
    let mut edit = Edit::of(config);
    edit.delete(id.as_str());
    Ok(edit.finish())
}
