//! What a backup is: a file beside its disks that says so, and where both lie.

use std::time::{Duration, SystemTime};

use hypervisor_core::model::{BackupId, BackupInfo, ByteSize, VmId};
use hypervisor_core::{Error, ErrorKind};
use serde::{Deserialize, Serialize};
use uuid::Uuid;
use virt::connect::Connect;
use virt::storage_pool::StoragePool;
use virt::storage_vol::StorageVol;
use virt_sys as sys;

use crate::error::{Fail, Outcome};
use crate::storage::{find_pool, small};

const PREFIX: &str = "backup.";
const SUFFIX: &str = ".json";
/// The layout of the manifest; one of a later layout is not read.
const VERSION: u32 = 1;
/// How the names of our checkpoints begin.
const CHECKPOINT: &str = "hv-";

/// Where a backup lies. Its id is made of this, so that nothing must be searched for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) pool: String,
    pub(super) vm: Uuid,
    /// Sorts by time.
    pub(super) key: Uuid,
}

impl Place {
    pub(super) fn new(pool: &str, vm: Uuid) -> Self {
        Self { pool: pool.to_owned(), vm, key: Uuid::now_v7() }
    }

    pub(super) fn id(&self) -> BackupId {
        BackupId::from(format!("{}/{}.{}", self.pool, self.vm, self.key.simple()))
    }

    pub(super) fn vm(&self) -> VmId {
        VmId::from(self.vm.to_string())
    }

    /// The place of an id; one that we have not given is not found.
    pub(super) fn of(id: &BackupId) -> Result<Self, Error> {
        let parts = id.as_str().split_once('/').filter(|(pool, _)| !pool.is_empty());
        let place = parts.and_then(|(pool, name)| Self::parse(pool, name));
        place.filter(|place| place.id() == *id).ok_or_else(|| id.not_found())
    }

    /// The place that a manifest's file has by its name.
    pub(super) fn of_file(pool: &str, file: &str) -> Option<Self> {
        Self::parse(pool, file.strip_prefix(PREFIX)?.strip_suffix(SUFFIX)?)
    }

    fn parse(pool: &str, name: &str) -> Option<Self> {
        let (vm, key) = name.split_once('.')?;
        Some(Self { pool: pool.to_owned(), vm: vm.parse().ok()?, key: key.parse().ok()? })
    }

    fn file(&self) -> String {
        format!("{PREFIX}{}.{}{SUFFIX}", self.vm, self.key.simple())
    }

    /// The file of a disk.
    pub(super) fn disk(&self, slot: &str) -> String {
        format!("{PREFIX}{}.{}.{slot}.qcow2", self.vm, self.key.simple())
    }

    /// The checkpoint that is made with it.
    pub(super) fn checkpoint(&self) -> String {
        format!("{CHECKPOINT}{}", self.key.simple())
    }
}

/// Whether a checkpoint was made with a backup of ours.
pub(crate) fn is_ours(checkpoint: &str) -> bool {
    checkpoint.strip_prefix(CHECKPOINT).is_some_and(|key| Uuid::parse_str(key).is_ok())
}

/// A backup.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Manifest {
    pub(super) version: u32,
    /// The guest's name when it was made.
    pub(super) name: String,
    /// In seconds since 1970.
    pub(super) created: u64,
    #[serde(default)]
    pub(super) description: Option<String>,
    #[serde(default)]
    pub(super) protected: bool,
    #[serde(default)]
    pub(super) parent: Option<BackupId>,
    /// The checkpoint that later backups can hold the changes since.
    #[serde(default)]
    pub(super) checkpoint: Option<String>,
    pub(super) definition: String,
    pub(super) disks: Vec<SavedDisk>,
}

/// The content of a disk.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct SavedDisk {
    pub(super) slot: String,
    /// The file's name in the backup's pool.
    pub(super) file: String,
    /// In bytes.
    pub(super) capacity: u64,
    /// The format that the guest's own volume had.
    pub(super) format: String,
    /// The pool that it was in, where one knew it.
    #[serde(default)]
    pub(super) pool: Option<String>,
    /// Whether the checkpoint follows what changes of it.
    #[serde(default)]
    pub(super) tracked: bool,
}

impl Manifest {
    pub(super) fn new(name: String, definition: String) -> Self {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Self {
            version: VERSION,
            name,
            created: now.as_secs(),
            description: None,
            protected: false,
            parent: None,
            checkpoint: None,
            definition,
            disks: Vec::new(),
        }
    }

    /// Writes it into its pool, which makes the backup one.
    pub(super) fn write(&self, conn: &Connect, place: &Place) -> Outcome<()> {
        let text = serde_json::to_vec_pretty(self)
            .map_err(|error| Error::new(ErrorKind::Backend, format!("the manifest: {error}")))?;
        let pool = find_pool(conn, &place.pool.as_str().into())?;
        small::write(conn, &pool, &place.file(), &text).map(drop)
    }

    fn read(conn: &Connect, volume: &StorageVol) -> Outcome<Self> {
        let broken = |why: String| Fail::Ours(Error::new(ErrorKind::Protocol, why));
        let manifest: Self = serde_json::from_slice(&small::read(conn, volume)?)
            .map_err(|error| broken(format!("the backup's manifest cannot be read: {error}")))?;
        if manifest.version != VERSION {
            return Err(broken(format!("the backup's manifest has the unknown layout {}", manifest.version)));
        }
        Ok(manifest)
    }

    pub(super) fn info(&self, place: &Place, size: Option<u64>) -> BackupInfo {
        let mut info =
            BackupInfo::new(place.id()).vm(place.vm()).pool(place.pool.as_str()).protected(self.protected);
        info.created = SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(self.created));
        info.size = size.map(ByteSize::bytes);
        info.description.clone_from(&self.description);
        info.parent.clone_from(&self.parent);
        info.extra.insert(crate::BACKEND, "vm_name", self.name.as_str());
        info.extra.insert(crate::BACKEND, "disks", self.disks.len());
        info
    }
}

/// A backup that was found.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) place: Place,
    pub(super) manifest: Manifest,
    pool: StoragePool,
    file: StorageVol,
}

impl Found {
    /// The backup of this id.
    pub(super) fn by_id(conn: &Connect, id: &BackupId) -> Outcome<Self> {
        let place = Place::of(id)?;
        let pool = match find_pool(conn, &place.pool.as_str().into()) {
            Err(fail) if fail.kind() == ErrorKind::NotFound => return Err(id.not_found().into()),
            other => other?,
        };
        let file = StorageVol::lookup_by_name(&pool, &place.file()).map_err(|error| {
            let fail = Fail::from(error);
            if fail.has_code(sys::VIR_ERR_NO_STORAGE_VOL) { id.not_found().into() } else { fail }
        })?;
        let manifest = Manifest::read(conn, &file)
            .map_err(|fail| Fail::Ours(Error::from(fail).with_target(BackupId::NOUN, id)))?;
        Ok(Self { place, manifest, pool, file })
    }

    /// The volume of a disk; `None` where somebody has deleted it.
    pub(super) fn volume(&self, disk: &SavedDisk) -> Outcome<Option<StorageVol>> {
        match StorageVol::lookup_by_name(&self.pool, &disk.file) {
            Ok(volume) => Ok(Some(volume)),
            Err(error) => match Fail::from(error) {
                fail if fail.has_code(sys::VIR_ERR_NO_STORAGE_VOL) => Ok(None),
                fail => Err(fail),
            },
        }
    }

    /// The volume of a disk, which must be there.
    pub(super) fn whole(&self, disk: &SavedDisk) -> Outcome<StorageVol> {
        self.volume(disk)?.ok_or_else(|| {
            let why = format!("its file `{}` is gone", disk.file);
            Error::invalid_state(why).with_target(BackupId::NOUN, self.place.id()).into()
        })
    }

    /// How much room its files take.
    pub(super) fn size(&self) -> Outcome<u64> {
        let mut size = self.file.get_info()?.allocation;
        for disk in &self.manifest.disks {
            if let Some(volume) = self.volume(disk)? {
                size = size.saturating_add(volume.get_info()?.allocation);
            }
        }
        Ok(size)
    }

    /// Deletes its files. The manifest is the last, so that a deletion that fails can be repeated.
    pub(super) fn delete(&self) -> Outcome<()> {
        for disk in &self.manifest.disks {
            if let Some(volume) = self.volume(disk)? {
                volume.delete(0)?;
            }
        }
        Ok(self.file.delete(0)?)
    }
}

/// The backups that lie in active pools, of one guest or of all. One whose manifest cannot be read is left out.
pub(super) fn all(conn: &Connect, pool: Option<&str>, vm: Option<Uuid>) -> Outcome<Vec<Found>> {
    let mut found = Vec::new();
    for active in conn.list_all_storage_pools(sys::VIR_CONNECT_LIST_STORAGE_POOLS_ACTIVE)? {
        let name = active.get_name()?;
        if pool.is_some_and(|pool| pool != name) {
            continue;
        }
        let files = match active.list_all_volumes(0) {
            Ok(files) => files,
            // It went away between the two calls.
            Err(error) => {
                tracing::debug!(pool = %name, %error, "a pool cannot be searched for backups");
                continue;
            }
        };
        for file in files {
            let Some(place) = Place::of_file(&name, &file.get_name()?) else { continue };
            if vm.is_some_and(|vm| vm != place.vm) {
                continue;
            }
            match Manifest::read(conn, &file) {
                Ok(manifest) => {
                    let pool = active.clone();
                    found.push(Found { place, manifest, pool, file });
                }
                Err(fail) if crate::blocking::CallError::is_disconnect(&fail) => return Err(fail),
                Err(fail) => tracing::warn!(backup = %place.id(), error = %fail, "a backup cannot be read"),
            }
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_and_files_name_the_place() {
        let place = Place::new("bulk", Uuid::new_v4());
        assert_eq!(Place::of(&place.id()).unwrap(), place);
        assert_eq!(Place::of_file("bulk", &place.file()), Some(place.clone()));
        assert_eq!(Place::of_file("bulk", &place.disk("vda")), None);
        assert!(is_ours(&place.checkpoint()) && !is_ours("hv-mine") && !is_ours("mine"));
        for wrong in ["", "x", "bulk/", "/x.y", "bulk/x.y", &format!("bulk/{}", place.vm)] {
            assert!(Place::of(&wrong.into()).unwrap_err().is_not_found(), "{wrong}");
        }
    }

    #[test]
    fn later_fields_do_not_disturb() {
        let manifest = Manifest::new("web".into(), "<domain/>".into());
        let mut json = serde_json::to_value(&manifest).unwrap();
        json["colour"] = "red".into();
        assert_eq!(serde_json::from_value::<Manifest>(json).unwrap(), manifest);
    }
}
