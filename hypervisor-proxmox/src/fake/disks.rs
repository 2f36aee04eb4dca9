//! Disks of guests: making, attaching, resizing, moving and taking them away.

use super::call::Call;
use super::cluster::Cluster;
use super::guest::{Config, Kind, disk_volume, format_size, is_disk_key, is_indexed, parse_size};
use super::reply::{Outcome, Refusal, data, done};
use super::storage::Volume;
use super::tasks::Work;
use crate::wire::property::{self, Properties};

/// The key under which the volume of a disk may stand.
fn file_key(kind: Kind) -> &'static str {
    match kind {
        Kind::Qemu => "file",
        Kind::Lxc => "volume",
    }
}

/// The volume's place in a property string.
pub(super) fn file_of(kind: Kind, disk: &Properties) -> Option<&str> {
    disk.get_or_bare(file_key(kind))
}

/// The same disk with another volume.
pub(super) fn with_volume(kind: Kind, disk: &Properties, volid: &str) -> Properties {
    let mut rest = disk.clone();
    rest.remove(file_key(kind));
    let mut made = Properties::bare(volid);
    for entry in rest.iter() {
        if let Some(key) = &entry.key {
            made.set(key, entry.value.clone());
        }
    }
    made
}

/// Whether a disk is a CD drive or a cloud-init drive.
pub(super) fn is_cdrom(disk: &Properties) -> bool {
    disk.get("media") == Some("cdrom")
}

/// A name for a new volume that nothing on the storage has.
pub(super) fn free_volume(
    cluster: &Cluster,
    host: &str,
    storage: &str,
    vmid: u32,
    base: bool,
    format: &str,
) -> String {
    let files = cluster.storages.get(storage).is_some_and(super::storage::Storage::has_files);
    let prefix = if base { "base" } else { "vm" };
    let name = |n: u32| {
        if files {
            format!("{storage}:{vmid}/{prefix}-{vmid}-disk-{n}.{format}")
        } else {
            format!("{storage}:{prefix}-{vmid}-disk-{n}")
        }
    };
    let other = |n: u32| {
        name(n)
            .replace(&format!("{prefix}-{vmid}-"), &format!("{}-{vmid}-", if base { "vm" } else { "base" }))
    };
    let stem = |text: String| text.rsplit_once('.').map_or(text.clone(), |(stem, _)| stem.to_owned());
    let taken = |wanted: &str| {
        let volumes = cluster.storages.get(storage).and_then(|storage| storage.on(host));
        volumes.is_some_and(|volumes| {
            volumes.keys().any(|volid| {
                let volid = if files { stem(volid.clone()) } else { volid.clone() };
                volid == wanted || volid.ends_with(wanted.split_once(':').map_or(wanted, |(_, name)| name))
            })
        })
    };
    let key = |text: String| if files { stem(text) } else { text };
    (0..).find(|n| !taken(&key(name(*n))) && !taken(&key(other(*n)))).map_or_else(String::new, name)
}

/// Makes the volume that a setting asks for, or checks the one that it names. Gives the setting as it is kept; volumes made
/// are added to `made`.
pub(super) fn place(
    cluster: &mut Cluster,
    call: &super::call::Who,
    (kind, host, vmid): (Kind, &str, u32),
    key: &str,
    value: &str,
    made: &mut Vec<String>,
) -> Result<String, Refusal> {
    let mut disk = property::parse(value);
    let Some(file) = file_of(kind, &disk).map(str::to_owned) else {
        return Err(Refusal::parameter(
            key,
            "invalid format - format error\nfile: property is missing and it is not optional\n",
        ));
    };
    let bus_is_unused = is_indexed(key, "unused");
    let Some((storage_name, name)) = file.split_once(':') else {
        if file.starts_with('/') && !call.is_root() && kind == Kind::Qemu {
            return Err(Refusal::die("Only root can pass arbitrary filesystem paths."));
        }
        return Ok(value.to_owned());
    };
    let storage = cluster.storage_on(storage_name, host)?;
    let wanted = if kind == Kind::Lxc { "rootdir" } else { "images" };
    let (files, can_hold) = (storage.has_files(), storage.content.iter().any(|word| word == wanted));
    let now = cluster.clock.unix();
    let import = disk.get("import-from").map(str::to_owned);
    disk.remove("import-from");
    let number = name.parse::<f64>().ok().filter(|number| number.is_finite() && *number >= 0.0);
    let (volid, size) = if name == "cloudinit" {
        let format = if files { "qcow2" } else { "raw" };
        let volid = if files {
            format!("{storage_name}:{vmid}/vm-{vmid}-cloudinit.qcow2")
        } else {
            format!("{storage_name}:vm-{vmid}-cloudinit")
        };
        let mut volume = Volume::new("images", format, 4 << 20, now);
        volume.vmid = Some(vmid);
        cluster.put_volume(host, &volid, volume);
        made.push(volid.clone());
        disk.set("media", "cdrom");
        (volid, None)
    } else if number.is_some() {
        if !can_hold {
            return Err(Refusal::die(format!(
                "storage '{storage_name}' does not support content-type '{wanted}'"
            )));
        }
        let size = match &import {
            Some(source) if source.starts_with('/') => {
                if !call.is_root() {
                    return Err(Refusal::die("Only root can pass arbitrary filesystem paths."));
                }
                2 << 30
            }
            Some(source) => {
                let found = cluster.volume(host, source);
                found
                    .map(|volume| volume.size)
                    .ok_or_else(|| Refusal::die(format!("volume '{source}' does not exist")))?
            }
            None if key.starts_with("efidisk") => 528 << 10,
            None if key.starts_with("tpmstate") => 4 << 20,
            None => parse_size(&format!("{name}G")).unwrap_or(0),
        };
        let total = cluster.storage(storage_name)?;
        if total.used(host).saturating_add(size / 4) > total.total {
            return Err(Refusal::die(format!(
                "unable to create {} {vmid} - not enough free space on storage '{storage_name}'",
                kind.noun()
            )));
        }
        let format = disk.get("format").unwrap_or("raw").to_owned();
        total.takes_format(&format)?;
        let taken = total.rounded(size);
        let volid = free_volume(cluster, host, storage_name, vmid, false, &format);
        let mut volume = Volume::new(wanted, &format, taken, now);
        volume.vmid = Some(vmid);
        cluster.put_volume(host, &volid, volume);
        made.push(volid.clone());
        (volid, Some(size))
    } else {
        let found = cluster.volume(host, &file);
        let size = found
            .map(|volume| volume.size)
            .ok_or_else(|| Refusal::die(format!("volume '{file}' does not exist")))?;
        (file.clone(), Some(size))
    };
    disk.remove("format");
    let mut kept = with_volume(kind, &disk, &volid);
    if let Some(size) = size.filter(|_| !bus_is_unused) {
        kept.set("size", format_size(size));
    }
    Ok(kept.to_string())
}

/// The next free `unusedN`.
pub(super) fn free_unused(config: &Config) -> String {
    (0..).map(|n: u32| format!("unused{n}")).find(|key| !config.contains_key(key)).unwrap_or_default()
}

/// Takes a disk out of a configuration: its volume stays as an unused one, or goes where it was unused already.
pub(super) fn detach(cluster: &mut Cluster, vmid: u32, key: &str, force: bool) {
    let Some(guest) = cluster.guests.get_mut(&vmid) else { return };
    let (kind, host) = (guest.kind, guest.host.clone());
    let Some(value) = guest.config.remove(key) else { return };
    let disk = property::parse(&value);
    let Some(volid) = disk_volume(&disk).map(str::to_owned) else { return };
    let is_cloudinit = volid.contains("-cloudinit");
    if is_cdrom(&disk) && !is_cloudinit {
        return;
    }
    let in_snapshot = guest
        .snapshots
        .values()
        .any(|snap| snap.config.values().any(|value| value.split(',').next() == Some(volid.as_str())));
    if in_snapshot {
        return;
    }
    if force || is_cloudinit || is_indexed(key, "unused") {
        cluster.remove_volume(&host, &volid);
    } else if is_disk_key(kind, key) {
        let unused = free_unused(&guest.config);
        guest.set(&unused, volid);
    }
}

/// `PUT /nodes/{node}/{kind}/{vmid}/resize`.
pub(super) fn resize(cluster: &mut Cluster, call: &Call, kind: Kind, host: &str, vmid: u32) -> Outcome {
    cluster.need(&call.who, &format!("/vms/{vmid}"), &["VM.Config.Disk"])?;
    let guest = cluster.at(kind, host, vmid).map_err(Refusal::die)?;
    guest.check_lock()?;
    let (key, size) = (call.params.needed("disk")?.to_owned(), call.params.needed("size")?.to_owned());
    check_digest(cluster, call, vmid)?;
    let guest = cluster.at(kind, host, vmid).map_err(Refusal::die)?;
    let Some(value) = guest.get(&key).map(str::to_owned) else {
        return Err(Refusal::die(format!("disk '{key}' does not exist")));
    };
    let host_name = host.to_owned();
    let work =
        Work { who: &call.who, host, kind: "resize".into(), subject: vmid.to_string(), lock: Some(vmid) };
    let upid = cluster.dispatch_with_end(
        work,
        |_, _| Ok(()),
        move |cluster, _| {
            let mut disk = property::parse(&value);
            let shown = disk.get("size").and_then(parse_size).unwrap_or(0);
            // What counts is what the storage has made of it.
            let volid = disk_volume(&disk).unwrap_or_default().to_owned();
            let old = cluster.volume(&host_name, &volid).map_or(shown, |volume| volume.size);
            let wanted = match size.strip_prefix('+') {
                Some(more) => parse_size(more).map(|more| old.saturating_add(more)),
                None => parse_size(&size),
            };
            let new = wanted.ok_or_else(|| format!("invalid size '{size}'"))?;
            if new < old {
                return Err("shrinking disks is not supported".to_owned());
            }
            let storage = volid.split_once(':').and_then(|(name, _)| cluster.storages.get(name));
            let new = storage.map_or(new, |storage| storage.rounded(new));
            disk.set("size", format_size(new));
            let guest = cluster.at_mut(kind, &host_name, vmid)?;
            guest.set(&key, disk.to_string());
            if let Some(volume) = cluster.volume_mut(&host_name, &volid) {
                volume.size = new;
            }
            Ok(())
        },
    );
    data(upid)
}

/// # Errors
/// A refusal where the caller has read an older configuration.
pub(super) fn check_digest(cluster: &Cluster, call: &Call, vmid: u32) -> Result<(), Refusal> {
    let current = cluster.guests.get(&vmid).map(super::guest::Guest::digest);
    match (call.get("digest"), current) {
        (Some(given), Some(current)) if given != current => {
            Err(Refusal::die("checksum mismatch (file change by other user?)"))
        }
        _ => Ok(()),
    }
}

/// `POST …/move_disk` and `…/move_volume`.
pub(super) fn move_disk(cluster: &mut Cluster, call: &Call, kind: Kind, host: &str, vmid: u32) -> Outcome {
    cluster.need(&call.who, &format!("/vms/{vmid}"), &["VM.Config.Disk"])?;
    let key = call.params.needed(if kind == Kind::Qemu { "disk" } else { "volume" })?.to_owned();
    let guest = cluster.at(kind, host, vmid).map_err(Refusal::die)?;
    guest.check_lock()?;
    check_digest(cluster, call, vmid)?;
    let guest = cluster.at(kind, host, vmid).map_err(Refusal::die)?;
    let Some(value) = guest.get(&key).map(str::to_owned) else {
        return Err(Refusal::die(format!("disk '{key}' does not exist")));
    };
    let disk = property::parse(&value);
    let Some(source) = disk_volume(&disk).map(str::to_owned) else {
        return Err(Refusal::die(format!("disk '{key}' has no associated volume")));
    };
    if let Some(target) = call.params.number("target-vmid").and_then(|id| u32::try_from(id).ok()) {
        return reassign(cluster, call, (kind, host, vmid), &key, &source, target);
    }
    let Some(storage) = call.params.text("storage") else {
        return Err(Refusal::parameter("storage", "'storage' is required to move a disk"));
    };
    let target = cluster.storage_on(&storage, host)?;
    let (files, wanted) = (target.has_files(), call.params.text("format"));
    cluster.need(&call.who, &format!("/storage/{storage}"), &["Datastore.AllocateSpace"])?;
    let old_format = cluster.volume(host, &source).map_or("raw".to_owned(), |volume| volume.format.clone());
    if source.starts_with(&format!("{storage}:"))
        && wanted.as_ref().is_none_or(|format| *format == old_format)
    {
        return Err(Refusal::die("you can't move to the same storage with same format"));
    }
    let delete = call.flag("delete");
    let host_name = host.to_owned();
    let work = Work {
        who: &call.who,
        host,
        kind: if kind == Kind::Qemu { "qmmove" } else { "move_volume" }.into(),
        subject: vmid.to_string(),
        lock: Some(vmid),
    };
    let upid = cluster.dispatch_with_end(
        work,
        |_, _| Ok(()),
        move |cluster, upid| {
            let format = if files { wanted.unwrap_or(old_format) } else { "raw".to_owned() };
            let volid = free_volume(cluster, &host_name, &storage, vmid, false, &format);
            let old = cluster.volume(&host_name, &source).cloned();
            let mut volume = old.ok_or_else(|| format!("volume '{source}' does not exist"))?;
            volume.format = format;
            volume.parent = None;
            cluster.put_volume(&host_name, &volid, volume);
            let guest = cluster.at_mut(kind, &host_name, vmid)?;
            guest.set(&key, with_volume(kind, &disk, &volid).to_string());
            cluster.tasks.log(upid, format!("create full clone of drive {key} ({source})"));
            if delete {
                cluster.remove_volume(&host_name, &source);
            } else if let Some(guest) = cluster.guests.get_mut(&vmid) {
                let unused = free_unused(&guest.config);
                guest.set(&unused, source);
            }
            Ok(())
        },
    );
    data(upid)
}

fn reassign(
    cluster: &mut Cluster,
    call: &Call,
    (kind, host, vmid): (Kind, &str, u32),
    key: &str,
    source: &str,
    target: u32,
) -> Outcome {
    let other = cluster.at(kind, host, target).map_err(Refusal::die)?;
    let default = if kind == Kind::Qemu { "target-disk" } else { "target-volume" };
    let new_key = call.params.text(default).unwrap_or_else(|| key.to_owned());
    if other.config.contains_key(&new_key) {
        return Err(Refusal::die(format!("Target disk key '{new_key}' is already in use for VM '{target}'")));
    }
    let (host_name, key, source) = (host.to_owned(), key.to_owned(), source.to_owned());
    let work =
        Work { who: &call.who, host, kind: "qmmove".into(), subject: vmid.to_string(), lock: Some(vmid) };
    let upid = cluster.dispatch_with_end(
        work,
        |_, _| Ok(()),
        move |cluster, _| {
            let value = cluster.at_mut(kind, &host_name, vmid)?.config.remove(&key);
            let disk = property::parse(&value.ok_or_else(|| format!("disk '{key}' does not exist"))?);
            let storage = source.split_once(':').map_or("local", |(name, _)| name).to_owned();
            let format = source.rsplit_once('.').map_or("raw", |(_, end)| end).to_owned();
            let volid = free_volume(cluster, &host_name, &storage, target, false, &format);
            if let Some(mut volume) = cluster.remove_volume(&host_name, &source) {
                volume.vmid = Some(target);
                cluster.put_volume(&host_name, &volid, volume);
            }
            let moved = with_volume(kind, &disk, &volid).to_string();
            cluster.at_mut(kind, &host_name, target)?.set(&new_key, moved);
            Ok(())
        },
    );
    data(upid)
}

/// `PUT /nodes/{node}/qemu/{vmid}/unlink`.
pub(super) fn unlink(cluster: &mut Cluster, call: &Call, host: &str, vmid: u32) -> Outcome {
    cluster.need(&call.who, &format!("/vms/{vmid}"), &["VM.Config.Disk"])?;
    let guest = cluster.at(Kind::Qemu, host, vmid).map_err(Refusal::die)?;
    guest.check_lock()?;
    guest.check_free()?;
    let keys: Vec<String> = call.params.list("idlist").into_iter().map(str::to_owned).collect();
    for key in keys {
        detach(cluster, vmid, &key, call.flag("force"));
    }
    done()
}
