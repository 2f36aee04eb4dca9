//! Volumes that are made for a guest, and taken back when something fails.

use hypervisor_core::model::{
    ByteSize, DiskBus, DiskDevice, DiskInfo, DiskSource, DiskSpec, NicSource, NicSpec, VolumeFormat,
    VolumeId, VolumeInfo, VolumeSpec,
};
use hypervisor_core::{Effect, Error, ErrorKind};
use virt::connect::Connect;
use virt::domain::Domain;
use virt::storage_pool::StoragePool;
use virt::storage_vol::StorageVol;
use virt_sys as sys;

use crate::blocking::CallError as _;
use crate::error::{Fail, Outcome};
use crate::storage::{self, find_pool, find_volume};
use crate::xml::Element;
use crate::xml::device::{DiskFile, DiskPlan, bus_of, named_volume, target_of};
use crate::xml::storage::{Backing, split_volume_id, volume_id, volume_info};

/// The volume at a path, where a pool knows it.
pub(crate) fn at_path(conn: &Connect, path: &str) -> Outcome<Option<VolumeInfo>> {
    let Some(volume) = handle_at_path(conn, path)? else { return Ok(None) };
    let pool = StoragePool::lookup_by_volume(&volume)?.get_name()?;
    Ok(Some(volume_info(&pool, &Element::parse(&volume.get_xml_desc(0)?)?)?))
}

/// The volume of this id, where there is one and its pool is up.
pub(crate) fn named(conn: &Connect, id: &VolumeId) -> Outcome<Option<VolumeInfo>> {
    let found = match find_volume(conn, id) {
        Ok((pool, volume)) => (pool, volume),
        Err(fail) if fail.is_disconnect() => return Err(fail),
        Err(fail) => {
            tracing::debug!(volume = %id, error = %fail, "a disk names a volume that cannot be found");
            return Ok(None);
        }
    };
    Ok(Some(volume_info(&found.0.get_name()?, &Element::parse(&found.1.get_xml_desc(0)?)?)?))
}

/// The disk with the path of the volume that it names, where there is one.
pub(crate) fn located(conn: &Connect, mut disk: DiskInfo) -> Outcome<DiskInfo> {
    if disk.path.is_none()
        && let Some(volume) = &disk.volume
    {
        disk.path = named(conn, volume)?.and_then(|volume| volume.path);
    }
    Ok(disk)
}

/// Lets disks that name a volume of a pool say the file or device that it is, so that what works on those works on them. Volumes that are
/// neither stay as they are.
pub(crate) fn resolve(conn: &Connect, definition: &mut Element) -> Outcome<()> {
    let Some(devices) = definition.child_mut("devices") else { return Ok(()) };
    for disk in devices.elements_mut().filter(|item| item.name == "disk") {
        let Some(id) = named_volume(disk).map(|(pool, volume)| volume_id(pool, volume)) else { continue };
        let volume = match find_volume(conn, &id) {
            Ok((_, volume)) => volume,
            Err(fail) if fail.is_disconnect() => return Err(fail),
            // Its pool is down, or gone.
            Err(_) => continue,
        };
        let (kind, key) = match volume.get_info()?.kind {
            sys::VIR_STORAGE_VOL_FILE => ("file", "file"),
            sys::VIR_STORAGE_VOL_BLOCK => ("block", "dev"),
            _ => continue,
        };
        let path = volume.get_path()?;
        disk.set_attr("type", kind);
        let source = disk.ensure("source");
        for gone in ["pool", "volume", "mode"] {
            source.remove_attr(gone);
        }
        source.set_attr(key, path);
    }
    Ok(())
}

/// The volume at a path, to be acted on.
pub(crate) fn handle_at_path(conn: &Connect, path: &str) -> Outcome<Option<StorageVol>> {
    match StorageVol::lookup_by_path(conn, path) {
        Ok(volume) => Ok(Some(volume)),
        Err(error) => match Fail::from(error) {
            // A driver without storage knows no volumes.
            fail if fail.has_code(sys::VIR_ERR_NO_STORAGE_VOL) || fail.is_unsupported() => Ok(None),
            fail => Err(fail),
        },
    }
}

/// How large a disk of a guest is, which its pool knows where libvirt does not look: at a disk that a guest which is off names by its pool.
pub(crate) fn capacity(domain: &Domain, slot: &str, volume: Option<&StorageVol>) -> Outcome<u64> {
    match (domain.get_block_info(slot, 0).map_err(Fail::from), volume) {
        (Ok(info), _) => Ok(info.capacity),
        (Err(fail), _) if fail.is_disconnect() => Err(fail),
        (Err(_), Some(volume)) => Ok(volume.get_info()?.capacity),
        (Err(fail), None) => Err(fail),
    }
}

/// The volumes that an operation has made so far.
#[derive(Default)]
pub(crate) struct Made(Vec<(VolumeId, StorageVol)>);

impl Made {
    /// Adds one.
    pub(crate) fn push(&mut self, id: VolumeId, volume: StorageVol) {
        self.0.push((id, volume));
    }

    /// The pool of the first of them.
    pub(crate) fn first_pool(&self) -> Option<String> {
        let (id, _) = self.0.first()?;
        split_volume_id(id).ok().map(|(pool, _)| pool.to_owned())
    }

    /// Deletes them all, and returns the failure that led to this. What cannot be deleted is named in it.
    pub(crate) fn undo(self, fail: Fail) -> Fail {
        if fail.is_disconnect() {
            return self.left(fail);
        }
        let mut left = Vec::new();
        for (id, volume) in self.0.into_iter().rev() {
            if let Err(error) = volume.delete(0) {
                tracing::warn!(volume = %id, %error, "a volume that is no longer needed could not be deleted");
                left.push(id.to_string());
            }
        }
        if left.is_empty() {
            return fail;
        }
        let error = Error::from(fail).with_effect(Effect::Partial);
        Fail::Ours(error.with_hint(format!("Delete what was left behind: {}", left.join(", "))))
    }

    /// The same after their guest could not be defined, or started: one whose definition is still there needs them.
    pub(crate) fn undo_undefined(self, fail: Fail) -> Fail {
        match fail {
            Fail::Ours(error) if error.effect() == Effect::Partial => Fail::Ours(error),
            fail => self.undo(fail),
        }
    }

    /// The connection is gone: nothing can be deleted, and whether the guest is there is not known.
    fn left(self, fail: Fail) -> Fail {
        if self.0.is_empty() {
            return fail;
        }
        let names: Vec<_> = self.0.iter().map(|(id, _)| id.to_string()).collect();
        let hint = format!("If the guest is not there, delete what was made for it: {}", names.join(", "));
        Fail::Ours(Error::from(fail).with_hint(hint))
    }
}

/// What the disks of a guest are made with.
pub(crate) struct Plan<'a> {
    pub(crate) conn: &'a Connect,
    /// The guest's name, from which names of volumes are made.
    pub(crate) guest: &'a str,
    pub(crate) default_pool: &'a str,
    pub(crate) machine: Option<&'a str>,
}

/// A disk whose volume may still have to be made.
pub(crate) struct Planned {
    spec: DiskSpec,
    bus: DiskBus,
    target: String,
    source: Source,
}

enum Source {
    There {
        file: DiskFile,
        format: VolumeFormat,
    },
    Make {
        pool: StoragePool,
        spec: VolumeSpec,
        format: Option<VolumeFormat>,
        backing: Option<Backing>,
        copy: Option<StorageVol>,
    },
}

/// Of a pool that is missing though the caller has named none.
fn nobody_named_it(fail: Fail) -> Fail {
    match fail {
        Fail::Ours(error) if error.is_not_found() => Fail::Ours(error.with_hint(
            "The disk names no pool, so this one was taken: name another (`DiskSpec::in_pool`), or connect with `hv_pool=`",
        )),
        other => other,
    }
}

impl Plan<'_> {
    /// Settles slots and sources, and refuses what cannot be, before anything is made.
    pub(crate) fn disk(&self, spec: &DiskSpec, taken: &mut Vec<String>, field: &str) -> Outcome<Planned> {
        let bus = bus_of(spec, self.machine, field)?;
        let target = target_of(spec, &bus, taken, field)?;
        taken.push(target.clone());
        let source = self.source(spec, &target, field)?;
        Ok(Planned { spec: spec.clone(), bus, target, source })
    }

    fn source(&self, disk: &DiskSpec, target: &str, field: &str) -> Outcome<Source> {
        match &disk.source {
            DiskSource::New { size, pool: Some(pool) } => {
                self.make(disk, pool.as_str(), target, *size, None, None)
            }
            DiskSource::New { size, pool: None } => {
                let made = self.make(disk, self.default_pool, target, *size, None, None);
                made.map_err(nobody_named_it)
            }
            DiskSource::Volume(id) => {
                let (_, volume) = find_volume(self.conn, id)?;
                let info = Element::parse(&volume.get_xml_desc(0)?)?;
                let format =
                    info.attr_at("target/format", "type").map_or(VolumeFormat::Raw, VolumeFormat::parse);
                Ok(Source::There { file: DiskFile::at(volume.get_path()?), format })
            }
            DiskSource::Copy { of, size, pool } => {
                let (from, volume) = find_volume(self.conn, of)?;
                let info = volume_info(&from.get_name()?, &Element::parse(&volume.get_xml_desc(0)?)?)?;
                let size = size.unwrap_or(info.capacity);
                if size < info.capacity {
                    let why = format!("{size} is less than the {} of `{of}`", info.capacity);
                    return Err(Error::invalid(format!("{field}.size"), why).into());
                }
                let pool =
                    pool.as_ref().map_or(Ok(from.get_name()?), |pool| Ok::<_, Fail>(pool.to_string()))?;
                self.make(disk, &pool, target, size, None, Some((volume, info.format)))
            }
            DiskSource::Linked { backing, pool } => {
                let (from, volume) = find_volume(self.conn, backing)?;
                let info = volume_info(&from.get_name()?, &Element::parse(&volume.get_xml_desc(0)?)?)?;
                let pool =
                    pool.as_ref().map_or(Ok(from.get_name()?), |pool| Ok::<_, Fail>(pool.to_string()))?;
                let format = info.format.unwrap_or(VolumeFormat::Raw);
                let backing = Backing { path: volume.get_path()?, format };
                self.make(disk, &pool, target, info.capacity, Some(backing), None)
            }
            DiskSource::HostPath(path) => Ok(Source::There {
                file: DiskFile::at(path),
                format: disk.format.clone().unwrap_or(VolumeFormat::Raw),
            }),
            DiskSource::Empty => Ok(Source::There { file: DiskFile::Empty, format: VolumeFormat::Raw }),
            _ => {
                Err(Error::invalid(format!("{field}.source"), "is of a kind that this driver does not know")
                    .into())
            }
        }
    }

    fn make(
        &self,
        disk: &DiskSpec,
        pool: &str,
        target: &str,
        size: ByteSize,
        backing: Option<Backing>,
        copy: Option<(StorageVol, Option<VolumeFormat>)>,
    ) -> Outcome<Source> {
        let (pool, usual) = storage::usable_pool(self.conn, pool)?;
        let copied = copy.as_ref().and_then(|(_, format)| format.clone());
        // Devices have no format; a link needs one that can have it.
        let wanted = disk.format.clone().or(copied.filter(|_| usual.is_some()));
        let format = if backing.is_some() { usual.map(|_| VolumeFormat::Qcow2) } else { wanted.or(usual) };
        let ending = match &format {
            Some(VolumeFormat::Qcow2) => ".qcow2",
            Some(VolumeFormat::Raw) if disk.device == DiskDevice::Cdrom => ".iso",
            Some(VolumeFormat::Raw) => ".img",
            _ => "",
        };
        let name = disk.name.clone().unwrap_or_else(|| format!("{}-{target}{ending}", self.guest));
        let pool_name = pool.get_name()?;
        storage::refuse_taken_volume(&pool, &pool_name, &name)?;
        let spec = VolumeSpec::new(pool_name, name, size);
        Ok(Source::Make { pool, spec, format, backing, copy: copy.map(|(volume, _)| volume) })
    }
}

impl Planned {
    /// The volume that will be made for it.
    pub(crate) fn volume(&self) -> Option<VolumeId> {
        match &self.source {
            Source::Make { spec, .. } => Some(volume_id(spec.pool.as_str(), &spec.name)),
            Source::There { .. } => None,
        }
    }

    /// Whether its volume is a copy, which takes time.
    pub(crate) fn slot(&self) -> &str {
        &self.target
    }

    /// Makes the volume, where one is to be made, and says how the disk is to be written.
    pub(crate) fn realise(self, made: &mut Made) -> Outcome<DiskPlan> {
        let (file, format) = match self.source {
            Source::There { file, format } => (file, format),
            Source::Make { pool, spec, format, backing, copy } => {
                let volume =
                    storage::make_volume(&pool, &spec, format.as_ref(), backing.as_ref(), copy.as_ref())?;
                let path = volume.get_path();
                made.push(volume_id(spec.pool.as_str(), &spec.name), volume);
                (DiskFile::at(path?), format.unwrap_or(VolumeFormat::Raw))
            }
        };
        Ok(DiskPlan::new(&self.spec, self.bus, self.target, file, format))
    }
}

/// Refuses NICs in networks that do not exist.
pub(crate) fn check_networks(conn: &Connect, nics: &[NicSpec]) -> Outcome<()> {
    for nic in nics {
        if let NicSource::Network(network) = &nic.source {
            crate::network::find(conn, network)?;
        }
    }
    Ok(())
}

/// Deletes the volumes at these paths, after their guest is gone.
pub(crate) fn delete_all(conn: &Connect, paths: &[String]) -> Outcome<()> {
    let mut left = Vec::new();
    let mut last = None;
    for path in paths {
        let deleted = match handle_at_path(conn, path) {
            Ok(Some(volume)) => volume.delete(0).map_err(Fail::from),
            Ok(None) => Ok(()),
            Err(fail) => Err(fail),
        };
        if let Err(fail) = deleted {
            left.push(path.clone());
            last = Some(fail);
        }
    }
    match last {
        None => Ok(()),
        Some(fail) => {
            let reason = Error::from(fail);
            let error =
                Error::new(ErrorKind::Backend, reason.message().to_owned()).with_effect(Effect::Partial);
            Err(error
                .with_hint(format!("The guest is deleted; its disks are left: {}", left.join(", ")))
                .into())
        }
    }
}

/// Refuses a pool that does not exist, for specs that name one and make nothing in it yet.
pub(crate) fn check_pool(conn: &Connect, pool: &str) -> Outcome<()> {
    find_pool(conn, &pool.into()).map(drop)
}
