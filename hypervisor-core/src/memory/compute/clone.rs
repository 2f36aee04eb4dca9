//! Copies of guests: clones, templates, exports.

use std::time::Duration;

use super::create::Birth;
use crate::error::{Error, Result};
use crate::memory::content::Content;
use crate::memory::state::{Setup, Target, World};
use crate::memory::task::Work;
use crate::memory::volume::NewVolume;
use crate::model::{
    ByteSize, CloneSpec, DeploySpec, DiskDevice, EventKind, ExportSpec, ExportedVm, Feature, HostId,
    NicSource, PoolId, SnapshotId, Started, TemplateSpec, VmId, VmState, VolumeFormat, VolumeId,
};
use crate::operation::Operation;

/// What cleaning a guest removes, as far as the agent's files go.
const IDENTITY: [&str; 3] = ["/etc/machine-id", "/etc/ssh/ssh_host_", "/var/log/"];

/// How the disks of a copy are made.
struct CopyDisks<'a> {
    name: &'a str,
    linked: bool,
    pool: Option<&'a PoolId>,
    snapshot: Option<&'a SnapshotId>,
}

impl World {
    pub(super) fn clone_vm(&mut self, id: &VmId, spec: &CloneSpec) -> Result<Started<VmId>> {
        self.copy_vm(id, spec, Operation::CloneVm, false, |_| {})
    }

    fn copy_vm(
        &mut self,
        id: &VmId,
        spec: &CloneSpec,
        operation: Operation,
        template: bool,
        adjust: impl FnOnce(&mut Setup),
    ) -> Result<Started<VmId>> {
        let source = self.vm(id)?.clone();
        self.unlocked(&Target::Vm(id.clone()), true)?;
        let refused = |why: &str| Err(Error::invalid_state(why).with_target(VmId::NOUN, id));
        if spec.snapshot.is_none() && source.state.is_active() {
            if spec.linked {
                return refused(
                    "a running guest's disks change and cannot be shared; clone a snapshot of it",
                );
            }
            self.capabilities.require(Feature::CloneRunning)?;
        }
        let setup = match &spec.snapshot {
            Some(snapshot) => {
                source.snapshots.get(snapshot).ok_or_else(|| snapshot.not_found())?.setup.clone()
            }
            None => source.setup.clone(),
        };
        let new_id = self.admit(&spec.name, spec.id.as_ref(), spec.group.as_ref())?;
        let mut copy = setup;
        copy.spec.name.clone_from(&spec.name);
        copy.spec.client_token.clone_from(&spec.client_token);
        copy.spec.ephemeral = false;
        if spec.description.is_some() {
            copy.spec.description.clone_from(&spec.description);
        }
        if spec.group.is_some() {
            copy.spec.group.clone_from(&spec.group);
        }
        adjust(&mut copy);
        copy.nics.iter().try_for_each(|nic| self.source_exists(&nic.source))?;
        let host = spec.host.as_ref().or(Some(&source.host).filter(|host| self.reachable(host).is_ok()));
        let host = self.place(host, copy.spec.cpus, copy.spec.memory)?;
        let how = CopyDisks {
            name: &spec.name,
            linked: spec.linked,
            pool: spec.pool.as_ref(),
            snapshot: spec.snapshot.as_ref(),
        };
        let mut made = Vec::new();
        if let Err(error) = self.copy_disks(id, &new_id, &host, &mut copy, &how, &mut made) {
            made.iter().for_each(|volume| self.drop_volume(volume));
            return Err(error);
        }
        for nic in &mut copy.nics {
            nic.mac = Some(self.mac());
        }
        self.insert_vm(&new_id, &host, copy);
        let birth = Birth {
            operation,
            made,
            reads: vec![Target::Vm(id.clone())],
            start: spec.start,
            template,
            length: if spec.linked { Duration::ZERO } else { self.long() },
            reason: "clone",
            stages: &["allocating disks", "copying disks", "defining the guest"],
        };
        self.bear(&new_id, birth)
    }

    fn copy_disks(
        &mut self,
        source: &VmId,
        copy: &VmId,
        host: &HostId,
        setup: &mut Setup,
        how: &CopyDisks<'_>,
        made: &mut Vec<VolumeId>,
    ) -> Result<()> {
        for disk in &mut setup.disks {
            if disk.device == DiskDevice::Cdrom || disk.read_only {
                continue;
            }
            let Some(volume) = disk.volume.clone() else {
                return Err(Error::invalid_state(format!(
                    "its disk `{}` is on a host path and cannot be copied",
                    disk.id
                ))
                .with_target(VmId::NOUN, source));
            };
            let found = self.readable(&volume)?;
            let (capacity, content) = match how.snapshot {
                Some(snapshot) => self.snapshot_content(source, snapshot, &volume)?,
                None => (found.capacity, found.content.clone()),
            };
            let format = found.format.clone();
            let pool = how.pool.unwrap_or(&found.pool).clone();
            self.pool_on(&pool, host)?;
            let mut new = NewVolume::empty(pool, String::new(), capacity);
            if how.linked {
                new.format = Some(VolumeFormat::Qcow2);
                new.backing = Some(volume);
                new.of_snapshot = how.snapshot.is_some();
                new.content = Content::on(content);
            } else {
                new.format = Some(format);
                new.content = content.flat();
            }
            new.owner = Some(copy.clone());
            new.name =
                self.free_name(&new.pool, &format!("{}-{}", how.name, disk.id), new.format.as_ref())?;
            let volume = self.make_volume(new)?;
            made.push(volume.clone());
            disk.volume = Some(volume);
            self.fill_in(disk);
        }
        Ok(())
    }

    /// What a volume had in it when the snapshot was taken.
    fn snapshot_content(
        &self,
        vm: &VmId,
        snapshot: &SnapshotId,
        volume: &VolumeId,
    ) -> Result<(ByteSize, Content)> {
        let snap = self.vm(vm)?.snapshots.get(snapshot).ok_or_else(|| snapshot.not_found())?;
        snap.volumes.get(volume).cloned().ok_or_else(|| volume.not_found())
    }

    pub(super) fn create_template(&mut self, id: &VmId, spec: &TemplateSpec) -> Result<Started<VmId>> {
        let vm = self.free_vm(id)?;
        let (host, seal) = (vm.host.clone(), spec.seal);
        let refused = |why: String| Err(Error::invalid_state(why).with_target(VmId::NOUN, id));
        if vm.state != VmState::Stopped {
            return refused(format!("it is {}, but must be stopped", vm.state));
        }
        if let Some(name) = &spec.name {
            let mut copy = CloneSpec::new(name);
            copy.description.clone_from(&spec.description);
            return self.copy_vm(id, &copy, Operation::CreateTemplate, true, |setup| {
                if seal {
                    forget_identity(setup);
                }
            });
        }
        if vm.template {
            return refused("it is a template already".to_owned());
        }
        if !vm.snapshots.is_empty() {
            return refused("it has snapshots, which a template cannot have".to_owned());
        }
        let (target, description) = (id.clone(), spec.description.clone());
        let work = Work::new(Operation::CreateTemplate, move |world| {
            let vm = world.vm_mut(&target)?;
            vm.template = true;
            vm.revision += 1;
            if description.is_some() {
                vm.setup.spec.description = description;
            }
            if seal {
                forget_identity(&mut vm.setup);
            }
            world.emit(EventKind::VmUpdated(target));
            Ok(())
        });
        let work = work.takes(self.long(), &["removing what identifies it", "converting disks"]);
        self.run(work.on(id, &host, "template"), id.clone())
    }

    pub(super) fn deploy_template(&mut self, id: &VmId, spec: &DeploySpec) -> Result<Started<VmId>> {
        if !self.vm(id)?.template {
            return Err(Error::invalid_state("it is no template").with_target(VmId::NOUN, id));
        }
        self.copy_vm(id, &spec.clone, Operation::DeployTemplate, false, |setup| {
            setup.spec.cpus = spec.cpus.unwrap_or(setup.spec.cpus);
            setup.spec.memory = spec.memory.unwrap_or(setup.spec.memory);
            setup.spec.autostart = spec.autostart;
            if spec.cloud_init.is_some() {
                setup.spec.cloud_init.clone_from(&spec.cloud_init);
            }
            if let (Some(network), Some(nic)) = (&spec.network, setup.nics.first_mut()) {
                nic.source = NicSource::Network(network.clone());
            }
        })
    }

    pub(super) fn export_vm(&mut self, id: &VmId, spec: &ExportSpec) -> Result<Started<ExportedVm>> {
        let vm = self.free_vm(id)?;
        if vm.state != VmState::Stopped {
            return Err(Error::invalid_state(format!("it is {}, but must be stopped", vm.state))
                .with_target(VmId::NOUN, id));
        }
        let (name, host) = (vm.setup.spec.name.clone(), vm.host.clone());
        let directory = spec.directory.trim_end_matches('/');
        let definition = self.vm_config(vm).native.unwrap_or_default();
        let mut content = Content::default();
        content.write(0, definition.as_bytes());
        let length = u64::try_from(definition.len()).unwrap_or(u64::MAX);
        let path = format!("{directory}/{name}.json");
        let mut files = vec![(path.clone(), length, content)];
        let mut disks = Vec::new();
        for disk in &vm.setup.disks {
            let Some(volume) = &disk.volume else { continue };
            let volume = self.readable(volume)?;
            let format = spec.format.as_ref().unwrap_or(&volume.format);
            let path = format!("{directory}/{name}-{}.{format}", disk.id);
            files.push((path.clone(), volume.capacity.as_bytes(), volume.content.flat()));
            disks.push(path);
        }
        let work = Work::new(Operation::ExportVm, move |world| {
            world
                .host_files
                .extend(files.into_iter().map(|(path, length, content)| (path, (length, content))));
            Ok(())
        });
        let work =
            work.takes(self.long(), &["writing the definition", "writing disks"]).on(id, &host, "export");
        self.run(work, ExportedVm::new(path, disks))
    }
}

fn forget_identity(setup: &mut Setup) {
    setup.files.retain(|path, _| !IDENTITY.iter().any(|identity| path.starts_with(identity)));
}
