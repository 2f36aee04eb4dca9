//! Pools and volumes: what they are and the rules between them.

use std::collections::{BTreeMap, BTreeSet};

use super::clock::wall;
use super::content::Content;
use super::state::{Pool, Target, Volume, World};
use crate::error::{Error, ErrorKind, Result};
use crate::model::{
    ByteSize, DeletePool, EventKind, HostId, PoolId, PoolInfo, PoolKind, PoolSpec, ResizeVolume, Started,
    VmId, VolumeFormat, VolumeId, VolumeInfo, VolumeSpec,
};

/// A volume that is about to be made.
pub(super) struct NewVolume {
    pub(super) pool: PoolId,
    pub(super) name: String,
    pub(super) capacity: ByteSize,
    pub(super) format: Option<VolumeFormat>,
    pub(super) kind: Option<String>,
    pub(super) backing: Option<VolumeId>,
    pub(super) of_snapshot: bool,
    pub(super) preallocate: bool,
    pub(super) owner: Option<VmId>,
    pub(super) content: Content,
}

impl NewVolume {
    pub(super) fn empty(pool: PoolId, name: String, capacity: ByteSize) -> Self {
        Self {
            pool,
            name,
            capacity,
            format: None,
            kind: None,
            backing: None,
            of_snapshot: false,
            preallocate: false,
            owner: None,
            content: Content::default(),
        }
    }
}

pub(super) fn volume_id(pool: &PoolId, name: &str) -> VolumeId {
    VolumeId::from(format!("{pool}/{name}"))
}

/// A pool of files, in which formats are possible.
pub(super) fn has_files(kind: &PoolKind) -> bool {
    matches!(kind, PoolKind::Dir | PoolKind::Filesystem | PoolKind::NetFs)
}

impl World {
    pub(super) fn add_default_pool(&mut self, name: &str, capacity: ByteSize) {
        let hosts = if self.hosts.len() > 1 { self.hosts.keys().cloned().collect() } else { Vec::new() };
        let info = PoolInfo::new(name, PoolKind::Dir, true)
            .autostart(true)
            .path(format!("/var/lib/memory/{name}"))
            .shared(!hosts.is_empty())
            .content(BTreeSet::from(["images", "iso", "backup"].map(str::to_owned)))
            .hosts(hosts);
        self.pools.insert(PoolId::from(name), Pool { info, capacity });
    }

    pub(super) fn pool(&self, id: &PoolId) -> Result<&Pool> {
        self.pools.get(id).ok_or_else(|| id.not_found())
    }

    /// The pool, if the host sees it.
    pub(super) fn pool_on(&self, id: &PoolId, host: &HostId) -> Result<&Pool> {
        let pool = self.pool(id)?;
        if pool.info.hosts.is_empty() || pool.info.hosts.contains(host) {
            return Ok(pool);
        }
        Err(Error::new(ErrorKind::NotFound, format!("host `{host}` does not see it"))
            .with_target(PoolId::NOUN, id))
    }

    /// The pool that is used where the caller names none.
    pub(super) fn usual_pool(&self) -> Result<PoolId> {
        let default = PoolId::from("default");
        if self.pools.contains_key(&default) {
            return Ok(default);
        }
        self.pools.keys().next().cloned().ok_or_else(|| default.not_found())
    }

    fn used(&self, id: &PoolId) -> ByteSize {
        let volumes = self.volumes.values().filter(|volume| volume.pool == *id).map(Volume::allocation);
        let backups = self.backups.values().filter(|backup| backup.info.pool.as_ref() == Some(id));
        let sizes = volumes.chain(backups.filter_map(|backup| backup.info.size));
        sizes.fold(ByteSize::ZERO, ByteSize::saturating_add)
    }

    /// Passes if so much more fits into the pool.
    pub(super) fn room(&self, id: &PoolId, size: ByteSize) -> Result<()> {
        let pool = self.pool(id)?;
        let available = pool.capacity.saturating_sub(self.used(id));
        if size <= available {
            return Ok(());
        }
        let message = format!("{size} do not fit into the {available} that are left");
        Err(Error::new(ErrorKind::Exhausted, message).with_target(PoolId::NOUN, id))
    }

    pub(super) fn pool_info(&self, id: &PoolId, pool: &Pool) -> PoolInfo {
        let used = self.used(id);
        pool.info.clone().capacity(pool.capacity).used(used).available(pool.capacity.saturating_sub(used))
    }

    pub(super) fn create_pool(&mut self, spec: &PoolSpec) -> Result<Started<PoolId>> {
        let id = PoolId::from(spec.name.as_str());
        if self.pools.contains_key(&id) {
            return Err(Error::already_exists(PoolId::NOUN, &id));
        }
        for host in &spec.hosts {
            self.hosts.get(host).ok_or_else(|| host.not_found())?;
        }
        let path = spec.target.clone().unwrap_or_else(|| format!("/dev/{}/{}", spec.kind, spec.name));
        if let Some((other, _)) = self.pools.iter().find(|(_, pool)| pool.info.path.as_ref() == Some(&path)) {
            let message = format!("pool `{other}` lies in `{path}` already");
            return Err(Error::new(ErrorKind::Conflict, message).with_target(PoolId::NOUN, &id));
        }
        let all = || if self.hosts.len() > 1 { self.hosts.keys().cloned().collect() } else { Vec::new() };
        let hosts = if spec.hosts.is_empty() { all() } else { spec.hosts.clone() };
        let shared =
            matches!(spec.kind, PoolKind::NetFs | PoolKind::Rbd | PoolKind::Iscsi) || hosts.len() > 1;
        let info = PoolInfo::new(id.clone(), spec.kind.clone(), true)
            .autostart(spec.autostart)
            .path(path.clone())
            .hosts(hosts)
            .shared(shared)
            .content(spec.content.clone());
        self.pools.insert(id.clone(), Pool { info, capacity: ByteSize::tib(1) });
        for volume in self.left.remove(&path).unwrap_or_default() {
            self.volumes.insert(volume_id(&id, &volume.name), Volume { pool: id.clone(), ..volume });
        }
        self.emit(EventKind::PoolChanged(id.clone()));
        Ok(Started::done(id))
    }

    pub(super) fn delete_pool(&mut self, id: &PoolId, options: &DeletePool) -> Result<Started<()>> {
        let path = self.pool(id)?.info.path.clone().unwrap_or_default();
        let inside: Vec<VolumeId> =
            self.volumes.iter().filter(|(_, volume)| volume.pool == *id).map(|(id, _)| id.clone()).collect();
        let refused = |why: String| Err(Error::invalid_state(why).with_target(PoolId::NOUN, id));
        for volume in &inside {
            self.unlocked(&Target::Volume(volume.clone()), false)?;
            if let Some(vm) = self.users(volume).first() {
                return refused(format!("vm `{vm}` uses its volume `{volume}`"));
            }
            let mut others = self.volumes.iter().filter(|(_, other)| other.pool != *id);
            if let Some((other, _)) = others.find(|(_, other)| other.backing.as_ref() == Some(volume)) {
                return refused(format!("volume `{other}` starts from its volume `{volume}`"));
            }
        }
        if self.backups.values().any(|backup| backup.info.pool.as_ref() == Some(id)) {
            return refused("it holds backups".to_owned());
        }
        let gone: Vec<Volume> = inside.iter().filter_map(|volume| self.volumes.remove(volume)).collect();
        if !options.content && !gone.is_empty() {
            self.left.insert(path, gone);
        }
        self.pools.remove(id);
        self.groups.values_mut().for_each(|group| {
            group.pools.remove(id);
        });
        self.emit(EventKind::PoolChanged(id.clone()));
        Ok(Started::done(()))
    }

    pub(super) fn volume(&self, id: &VolumeId) -> Result<&Volume> {
        self.volumes.get(id).ok_or_else(|| id.not_found())
    }

    /// The volume, to be read: no task may be writing it.
    pub(super) fn readable(&self, id: &VolumeId) -> Result<&Volume> {
        self.unlocked(&Target::Volume(id.clone()), true)?;
        self.volume(id)
    }

    /// The guests that have it as a disk or in a snapshot.
    pub(super) fn users(&self, id: &VolumeId) -> Vec<VmId> {
        let uses =
            |disks: &[crate::model::DiskInfo]| disks.iter().any(|disk| disk.volume.as_ref() == Some(id));
        let vms = self.vms.values().filter(|vm| {
            uses(&vm.setup.disks) || vm.snapshots.values().any(|snap| snap.volumes.contains_key(id))
        });
        vms.map(|vm| vm.id.clone()).collect()
    }

    /// The volumes that start from it.
    pub(super) fn heirs<'a>(&'a self, id: &'a VolumeId) -> impl Iterator<Item = (&'a VolumeId, &'a Volume)> {
        self.volumes.iter().filter(move |(_, volume)| volume.backing.as_ref() == Some(id))
    }

    /// Passes if the volume may be deleted, for the sake of `owner` where one of its own disks goes.
    pub(super) fn deletable(&self, id: &VolumeId, owner: Option<&VmId>) -> Result<()> {
        self.volume(id)?;
        self.unlocked(&Target::Volume(id.clone()), false)?;
        let refused = |why: String| Err(Error::invalid_state(why).with_target(VolumeId::NOUN, id));
        if let Some(vm) = self.users(id).into_iter().find(|vm| Some(vm) != owner) {
            return refused(format!("vm `{vm}` uses it"));
        }
        match self.heirs(id).next() {
            Some((heir, _)) => refused(format!("volume `{heir}` starts from it")),
            None => Ok(()),
        }
    }

    /// Passes if the content of the volume may change now.
    pub(super) fn writable(&self, id: &VolumeId) -> Result<()> {
        self.volume(id)?;
        self.unlocked(&Target::Volume(id.clone()), false)?;
        let refused = |why: String| Err(Error::invalid_state(why).with_target(VolumeId::NOUN, id));
        let active = |vm: &VmId| self.vms.get(vm).is_some_and(|vm| vm.state.is_active());
        if let Some(vm) = self.users(id).into_iter().find(active) {
            return refused(format!("vm `{vm}` uses it and runs"));
        }
        match self.heirs(id).find(|(_, heir)| !heir.of_snapshot) {
            Some((heir, _)) => refused(format!("volume `{heir}` starts from it")),
            None => Ok(()),
        }
    }

    pub(super) fn volume_info(&self, id: &VolumeId, volume: &Volume, user: Option<&VmId>) -> VolumeInfo {
        let mut info = VolumeInfo::new(id, &volume.pool, volume.name.as_str(), volume.capacity)
            .allocation(volume.allocation())
            .format(volume.format.clone())
            .content(volume.kind.clone().unwrap_or_else(|| "images".to_owned()))
            .created(wall(volume.created));
        let pool_path = self.pools.get(&volume.pool).and_then(|pool| pool.info.path.as_deref());
        info.path = pool_path.map(|path| format!("{path}/{}", volume.name));
        info.backing = volume.backing.as_ref().map(ToString::to_string);
        info.vm = user.or(volume.owner.as_ref()).cloned();
        info
    }

    /// Which guest has which volume as a disk.
    pub(super) fn disk_users(&self) -> BTreeMap<VolumeId, VmId> {
        let disks = self.vms.values().flat_map(|vm| vm.setup.disks.iter().map(move |disk| (disk, vm)));
        disks.filter_map(|(disk, vm)| Some((disk.volume.clone()?, vm.id.clone()))).collect()
    }

    pub(super) fn make_volume(&mut self, new: NewVolume) -> Result<VolumeId> {
        let pool = self.pool(&new.pool)?;
        let usual = if has_files(&pool.info.kind) { VolumeFormat::Qcow2 } else { VolumeFormat::Raw };
        let format = new.format.unwrap_or(usual);
        let id = volume_id(&new.pool, &new.name);
        if self.volumes.contains_key(&id) {
            return Err(Error::already_exists(VolumeId::NOUN, &id));
        }
        if new.backing.is_some()
            && format != VolumeFormat::Qcow2
            && has_files(&self.pool(&new.pool)?.info.kind)
        {
            return Err(Error::invalid(
                "format",
                format!("{format} cannot start from a backing volume; qcow2 can"),
            ));
        }
        self.room(&new.pool, new.capacity)?;
        let volume = Volume {
            pool: new.pool,
            name: new.name,
            capacity: new.capacity,
            format,
            kind: new.kind,
            backing: new.backing,
            of_snapshot: new.of_snapshot,
            preallocated: new.preallocate,
            owner: new.owner,
            created: self.now,
            content: new.content,
        };
        self.volumes.insert(id.clone(), volume);
        self.emit(EventKind::VolumeChanged(id.clone()));
        Ok(id)
    }

    /// Takes a volume away without asking; for what was made a moment ago or has been checked.
    pub(super) fn drop_volume(&mut self, id: &VolumeId) {
        if self.volumes.remove(id).is_some() {
            self.emit(EventKind::VolumeChanged(id.clone()));
        }
    }

    pub(super) fn new_volume(&self, spec: &VolumeSpec) -> Result<NewVolume> {
        self.pool(&spec.pool)?;
        let mut new = NewVolume::empty(spec.pool.clone(), spec.name.clone(), spec.capacity);
        if let Some(backing) = &spec.backing {
            let below = self.readable(backing)?;
            if spec.capacity < below.capacity {
                let why =
                    format!("{} is less than the {} of the backing volume", spec.capacity, below.capacity);
                return Err(Error::invalid("capacity", why));
            }
            new.content = Content::on(below.content.clone());
        }
        new.format = spec.format.clone();
        new.kind = spec.content.clone();
        new.backing = spec.backing.clone();
        new.preallocate = spec.preallocate;
        new.owner = spec.vm.clone();
        Ok(new)
    }

    pub(super) fn resize(&mut self, id: &VolumeId, options: &ResizeVolume) -> Result<()> {
        let (present, pool) = {
            let volume = self.volume(id)?;
            (volume.capacity, volume.pool.clone())
        };
        options.validate(Some(present))?;
        self.room(&pool, options.capacity.saturating_sub(present))?;
        if let Some(volume) = self.volumes.get_mut(id) {
            if options.capacity < present {
                volume.content.truncate(options.capacity.as_bytes());
                volume.backing = None;
            }
            volume.capacity = options.capacity;
        }
        for vm in self.vms.values_mut() {
            let disks = vm.setup.disks.iter_mut().filter(|disk| disk.volume.as_ref() == Some(id));
            disks.for_each(|disk| disk.capacity = Some(options.capacity));
        }
        self.emit(EventKind::VolumeChanged(id.clone()));
        Ok(())
    }
}
