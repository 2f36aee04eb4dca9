//! Backups: a guest's configuration and disks in a pool, apart from the guest.

use std::collections::BTreeMap;

use async_trait::async_trait;

use super::Memory;
use super::clock::wall;
use super::compute::Birth;
use super::state::{Backup, Setup, Target, Volume, World, by_number};
use super::task::Work;
use super::volume::NewVolume;
use crate::error::{Error, Result};
use crate::model::{
    BackupId, BackupInfo, BackupMode, BackupQuery, BackupSpec, ByteSize, EventKind, HostId, Page,
    PageRequest, PowerAction, RestoreBackup, RestoreTo, Started, VmId, VmState, VolumeId, validate,
};
use crate::operation::Operation;
use crate::traits::Backups;

const STAGES: &[&str] = &["freezing disks", "copying disks", "verifying"];

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Backups for Memory {
    async fn list_backups(&self, query: &BackupQuery, page: &PageRequest) -> Result<Page<BackupInfo>> {
        self.call(Operation::ListBackups, &[], Ok(()), |world| {
            let all = world.backups.values().map(|backup| backup.info.clone());
            let wanted = all.filter(|info| query.matches(info)).collect();
            Ok(world.page(wanted, page, |info| by_number(info.id.as_str())))
        })
        .await
    }

    async fn create_backup(&self, vm: &VmId, spec: &BackupSpec) -> Result<Started<Option<BackupId>>> {
        let valid = spec.validate();
        self.call(Operation::CreateBackup, &spec.needs(), valid, |world| world.create_backup(vm, spec)).await
    }

    async fn restore_backup(&self, backup: &BackupId, options: &RestoreBackup) -> Result<Started<VmId>> {
        let id = options.id.as_ref().map_or(Ok(()), |id| validate::name("id", id.as_str()));
        let valid = options.validate().and(id);
        self.call(Operation::RestoreBackup, &options.needs(), valid, |world| {
            let found = world.backups.get(backup).ok_or_else(|| backup.not_found())?.clone();
            match &options.to {
                RestoreTo::New(name) => world.restore_new(found, name, options),
                RestoreTo::Original => world.restore_over(found, options),
            }
        })
        .await
    }

    async fn delete_backup(&self, backup: &BackupId) -> Result<Started<()>> {
        self.call(Operation::DeleteBackup, &[], Ok(()), |world| {
            let found = world.backups.get(backup).ok_or_else(|| backup.not_found())?;
            let refused = |why: String| Err(Error::invalid_state(why).with_target(BackupId::NOUN, backup));
            if found.info.protected {
                return refused("it is protected".to_owned());
            }
            if let Some(child) =
                world.backups.values().find(|other| other.info.parent.as_ref() == Some(backup))
            {
                return refused(format!("backup `{}` holds only the changes since", child.info.id));
            }
            let pool = found.info.pool.clone();
            world.backups.remove(backup);
            pool.into_iter().for_each(|pool| world.emit(EventKind::PoolChanged(pool)));
            Ok(Started::done(()))
        })
        .await
    }
}

impl World {
    fn create_backup(&mut self, id: &VmId, spec: &BackupSpec) -> Result<Started<Option<BackupId>>> {
        let vm = self.free_vm(id)?;
        let pool = spec.pool.clone().map_or_else(|| self.usual_pool(), Ok)?;
        self.pool_on(&pool, &vm.host)?;
        if spec.mode == BackupMode::Stop && vm.setup.spec.ephemeral {
            let message = "it would vanish when it is shut down for its backup";
            return Err(Error::invalid_state(message).with_target(VmId::NOUN, id));
        }
        let since = match &spec.since {
            Some(since) => {
                let found = self.backups.get(since).ok_or_else(|| since.not_found())?;
                if found.info.vm.as_ref() != Some(id) {
                    return Err(Error::invalid("since", format!("backup `{since}` is of another guest")));
                }
                Some(found)
            }
            None => None,
        };
        let mut volumes = BTreeMap::new();
        for volume in vm.setup.own_volumes() {
            volumes.insert(volume.clone(), self.readable(volume)?.clone());
        }
        let before = |id: &VolumeId| since.and_then(|since| since.volumes.get(id));
        let sizes = volumes.iter().map(|(id, volume)| match before(id) {
            Some(before) => volume.content.changed_since(&before.content),
            None => volume.content.flat().stored(),
        });
        let stored = sizes.fold(0_u64, u64::saturating_add);
        // Half is what compression usually wins on a guest's disks.
        let size = ByteSize::bytes(if spec.compress { stored / 2 } else { stored });
        self.room(&pool, size)?;
        let (host, setup, uid) = (vm.host.clone(), vm.setup.clone(), vm.uid.clone());
        let running = vm.state == VmState::Running;
        let backup = BackupId::from(format!("{pool}/backup-{id}-{}", self.next_backup));
        self.next_backup += 1;
        let mut info = BackupInfo::new(backup.clone())
            .vm(id)
            .pool(&pool)
            .created(wall(self.now))
            .size(size)
            .protected(spec.protected);
        info.parent.clone_from(&spec.since);
        info.description = spec.description.clone().filter(|text| !text.is_empty());
        let entry = Backup { info, uid, setup, volumes };
        let mode = spec.mode;
        if running && mode == BackupMode::Suspend {
            self.set_state(id, VmState::Paused);
        }
        if running && mode == BackupMode::Stop {
            self.power_down(id);
        }
        let (key, owner, back) = (backup.clone(), id.clone(), id.clone());
        let work = Work::new(Operation::CreateBackup, move |world| {
            world.go_on(&owner, running, mode)?;
            world.backups.insert(key, entry);
            world.emit(EventKind::PoolChanged(pool));
            Ok(())
        });
        let work = work.undo(move |world| {
            // A guest that cannot start again is left as it is; its state says so.
            let _ = world.go_on(&back, running, mode);
        });
        let work = work.takes(self.long(), STAGES).on(id, &host, "backup").makes(backup.as_str());
        let started = self.run(work, Some(backup))?;
        // As on real backends, only the end of a task tells what it has made.
        Ok(Started { output: started.output.filter(|_| started.task.is_none()), ..started })
    }

    /// Lets a guest that was paused or powered off for its backup run again.
    fn go_on(&mut self, id: &VmId, ran: bool, mode: BackupMode) -> Result<()> {
        let state = self.vms.get(id).map(|vm| vm.state.clone());
        match (mode, state) {
            (BackupMode::Suspend, Some(VmState::Paused)) if ran => self.power(id, &PowerAction::Resume),
            (BackupMode::Stop, Some(VmState::Stopped)) if ran => self.power(id, &PowerAction::Start),
            _ => Ok(()),
        }
    }

    fn restore_new(&mut self, backup: Backup, name: &str, options: &RestoreBackup) -> Result<Started<VmId>> {
        let mut setup = backup.setup;
        let id = self.admit(name, options.id.as_ref(), None)?;
        let host = self.place(options.host.as_ref(), setup.spec.cpus, setup.spec.memory)?;
        setup.spec.name = name.to_owned();
        setup.spec.client_token = None;
        setup.spec.ephemeral = false;
        let known = setup.spec.group.take().filter(|group| self.groups.contains_key(group));
        setup.spec.group = known;
        for nic in &mut setup.nics {
            nic.mac = Some(self.mac());
        }
        let mut made = Vec::new();
        if let Err(error) = self.restore_disks(&id, &host, &mut setup, &backup.volumes, options, &mut made) {
            made.iter().for_each(|volume| self.drop_volume(volume));
            return Err(error);
        }
        self.insert_vm(&id, &host, setup);
        let birth = Birth {
            operation: Operation::RestoreBackup,
            made,
            reads: Vec::new(),
            start: options.start,
            template: false,
            length: self.long(),
            reason: "restore",
            stages: &["allocating disks", "writing disks", "defining the guest"],
        };
        self.bear(&id, birth)
    }

    fn restore_disks(
        &mut self,
        id: &VmId,
        host: &HostId,
        setup: &mut Setup,
        volumes: &BTreeMap<VolumeId, Volume>,
        options: &RestoreBackup,
        made: &mut Vec<VolumeId>,
    ) -> Result<()> {
        for disk in &mut setup.disks {
            let Some(saved) = disk.volume.as_ref().and_then(|volume| volumes.get(volume)) else { continue };
            let mut new = self.volume_from(saved, options)?;
            self.pool_on(&new.pool, host)?;
            let stem = format!("{}-{}", setup.spec.name, disk.id);
            new.name = self.free_name(&new.pool, &stem, new.format.as_ref())?;
            new.owner = Some(id.clone());
            let volume = self.make_volume(new)?;
            made.push(volume.clone());
            disk.volume = Some(volume);
            self.fill_in(disk);
        }
        // A CD may be gone by now; the drive is then empty.
        let gone = |volume: &VolumeId| !self.volumes.contains_key(volume);
        for disk in setup.disks.iter_mut().filter(|disk| disk.volume.as_ref().is_some_and(gone)) {
            (disk.volume, disk.path, disk.capacity, disk.format) = (None, None, None, None);
        }
        Ok(())
    }

    fn volume_from(&self, saved: &Volume, options: &RestoreBackup) -> Result<NewVolume> {
        let pool = options.pool.clone().unwrap_or_else(|| saved.pool.clone());
        self.pool(&pool)?;
        let mut new = NewVolume::empty(pool, saved.name.clone(), saved.capacity);
        new.format = Some(saved.format.clone());
        new.kind.clone_from(&saved.kind);
        new.preallocate = saved.preallocated;
        new.content = saved.content.flat();
        Ok(new)
    }

    fn restore_over(&mut self, backup: Backup, options: &RestoreBackup) -> Result<Started<VmId>> {
        let Some(id) = backup.info.vm.clone() else {
            return Err(
                Error::invalid_state("its guest is not known").with_target(BackupId::NOUN, &backup.info.id)
            );
        };
        let vm = self.free_vm(&id)?.clone();
        self.vm_info(&vm).check_uid(Some(&backup.uid))?;
        if vm.state != VmState::Stopped {
            return Err(Error::invalid_state(format!("it is {}, but must be stopped", vm.state))
                .with_target(VmId::NOUN, &id));
        }
        for volume in backup.volumes.keys().filter(|volume| self.volumes.contains_key(volume)) {
            self.writable(volume)?;
            self.unlocked(&Target::Volume(volume.clone()), false)?;
            if let Some(other) = self.users(volume).into_iter().find(|user| *user != id) {
                return Err(Error::invalid_state(format!("vm `{other}` uses its volume `{volume}`"))
                    .with_target(VmId::NOUN, &id));
            }
        }
        let (host, start, target, back) = (vm.host.clone(), options.start, id.clone(), id.clone());
        let options = options.clone();
        let before: Vec<(VolumeId, Option<Volume>)> =
            backup.volumes.keys().map(|volume| (volume.clone(), self.volumes.get(volume).cloned())).collect();
        let work = Work::new(Operation::RestoreBackup, move |world| {
            for (volume, saved) in &backup.volumes {
                match world.volumes.get_mut(volume) {
                    Some(found) => {
                        found.content = saved.content.flat();
                        (found.capacity, found.backing) = (saved.capacity, None);
                        world.emit(EventKind::VolumeChanged(volume.clone()));
                    }
                    None => {
                        let mut new = world.volume_from(saved, &options)?;
                        new.pool = saved.pool.clone();
                        world.make_volume(new)?;
                    }
                }
            }
            let vm = world.vm_mut(&target)?;
            // What names the guest stays, as with a snapshot: its group of then may be gone.
            let present = std::mem::replace(&mut vm.setup, backup.setup);
            vm.setup.spec.name = present.spec.name;
            vm.setup.spec.group = present.spec.group;
            vm.setup.spec.client_token = present.spec.client_token;
            vm.revision += 1;
            world.emit(EventKind::VmUpdated(target.clone()));
            if start { world.power(&target, &PowerAction::Start) } else { Ok(()) }
        });
        let work = work.undo(move |world| {
            for (volume, was) in before {
                match was {
                    Some(was) => {
                        world.volumes.insert(volume, was);
                    }
                    None => world.drop_volume(&volume),
                }
            }
            world.vms.insert(back, vm);
        });
        self.run(work.takes(self.long(), &["reading", "writing disks"]).on(&id, &host, "restore"), id)
    }
}
