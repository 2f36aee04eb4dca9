//! Hosts: what they have left, which one takes a new guest, and moving a guest to another.

use std::time::Duration;

use crate::error::{Error, ErrorKind, Result};
use crate::memory::state::{Host, Vm, Volume, World};
use crate::memory::task::Work;
use crate::memory::volume::volume_id;
use crate::model::{
    ByteSize, ClusterInfo, DiskId, EventKind, Feature, HostId, HostInfo, HostState, MigrateSpec, PoolId,
    Started, VmId, VmState, VolumeId,
};
use crate::operation::Operation;

impl World {
    pub(in crate::memory) fn set_reachable(&mut self, id: &HostId, reachable: bool) -> Result<()> {
        let host = self.hosts.get_mut(id).ok_or_else(|| id.not_found())?;
        if host.reachable != reachable {
            host.reachable = reachable;
            self.emit(EventKind::HostChanged(id.clone()));
        }
        Ok(())
    }

    pub(in crate::memory) fn set_host_state(&mut self, id: &HostId, state: HostState) -> Result<()> {
        let host = self.hosts.get_mut(id).ok_or_else(|| id.not_found())?;
        if host.state != state {
            host.state = state;
            self.emit(EventKind::HostChanged(id.clone()));
        }
        Ok(())
    }

    pub(in crate::memory) fn memory_used(&self, id: &HostId) -> ByteSize {
        self.vms.memory_used(id)
    }

    pub(super) fn host_info(&self, id: &HostId, host: &Host) -> HostInfo {
        if !host.reachable {
            return HostInfo::new(id, HostState::Offline);
        }
        HostInfo::new(id, host.state.clone())
            .cpus(host.cpus)
            .cpu_model("memory")
            .architecture("x86_64")
            .memory(host.memory)
            .memory_used(self.memory_used(id))
            .cpu_usage(self.host_load(id, host))
            .uptime(self.now)
            .version(env!("CARGO_PKG_VERSION"))
    }

    /// How busy a host's CPUs are: a quarter of what its running guests have.
    pub(in crate::memory) fn host_load(&self, id: &HostId, host: &Host) -> f64 {
        let running = self.vms.values().filter(|vm| vm.host == *id && vm.state == VmState::Running);
        let cpus: u32 = running.map(|vm| vm.in_force().cpus).fold(0, u32::saturating_add);
        (f64::from(cpus) * 0.25 / f64::from(host.cpus.max(1))).min(1.0)
    }

    pub(super) fn cluster_info(&self) -> ClusterInfo {
        let hosts: Vec<HostInfo> = self.hosts.iter().map(|(id, host)| self.host_info(id, host)).collect();
        let up = self.hosts.values().filter(|host| host.reachable).count();
        let cluster = ClusterInfo::new(hosts).quorate(up * 2 > self.hosts.len());
        if self.hosts.len() > 1 { cluster.name("memory") } else { cluster }
    }

    /// The host for a guest of this size: the wanted one, else the one with the most memory left.
    pub(in crate::memory) fn place(
        &self,
        wanted: Option<&HostId>,
        cpus: u32,
        memory: ByteSize,
    ) -> Result<HostId> {
        if let Some(id) = wanted {
            self.open_host(id)?;
            self.host_can_hold(id, cpus, memory)?;
            return Ok(id.clone());
        }
        let open: Vec<&HostId> = self.hosts.keys().filter(|id| self.open_host(id).is_ok()).collect();
        let Some(first) = open.first() else {
            return Err(Error::new(ErrorKind::HostUnreachable, "no host takes new guests"));
        };
        let large: Vec<&HostId> =
            open.iter().copied().filter(|id| self.host_can_hold(id, cpus, memory).is_ok()).collect();
        if large.is_empty() {
            self.host_can_hold(first, cpus, memory)?;
        }
        let left = |id: &HostId| {
            let memory = self.hosts.get(id).map_or(ByteSize::ZERO, |host| host.memory);
            let guests = self.vms.values().filter(|vm| vm.host == *id).count();
            (memory.saturating_sub(self.memory_used(id)), std::cmp::Reverse(guests))
        };
        let mut best: Option<&HostId> = None;
        for id in large {
            if best.is_none_or(|best| left(id) > left(best)) {
                best = Some(id);
            }
        }
        best.cloned().ok_or_else(|| Error::new(ErrorKind::Exhausted, "no host has room"))
    }

    /// Passes if the host takes guests.
    fn open_host(&self, id: &HostId) -> Result<&Host> {
        let host = self.reachable(id)?;
        if host.state == HostState::Online {
            return Ok(host);
        }
        Err(Error::invalid_state(format!("it is in {} and takes no guests", host.state))
            .with_target(HostId::NOUN, id))
    }

    /// Passes if the host is large enough, whatever runs on it now.
    pub(super) fn host_can_hold(&self, id: &HostId, cpus: u32, memory: ByteSize) -> Result<()> {
        let host = self.hosts.get(id).ok_or_else(|| id.not_found())?;
        let short = |what: String| Err(Error::new(ErrorKind::Exhausted, what).with_target(HostId::NOUN, id));
        if cpus > host.cpus {
            return short(format!("{cpus} CPUs are more than the {} that it has", host.cpus));
        }
        if memory > host.memory {
            return short(format!("{memory} are more than the {} that it has", host.memory));
        }
        Ok(())
    }

    /// Passes if so much more memory is free on the host now.
    pub(super) fn host_has_room(&self, id: &HostId, memory: ByteSize) -> Result<()> {
        let total = self.reachable(id)?.memory;
        let left = total.saturating_sub(self.memory_used(id));
        if memory <= left {
            return Ok(());
        }
        let message = format!("{memory} of memory are more than the {left} that are left");
        Err(Error::new(ErrorKind::Exhausted, message).with_target(HostId::NOUN, id))
    }

    pub(super) fn migrate_vm(&mut self, id: &VmId, spec: &MigrateSpec) -> Result<Started<()>> {
        let vm = self.free_vm(id)?;
        let (from, state) = (vm.host.clone(), vm.state.clone());
        self.open_host(&spec.host)?;
        if vm.host == spec.host {
            return Err(Error::invalid_state("it is there already").with_target(VmId::NOUN, id));
        }
        let settled =
            [VmState::Running, VmState::Paused, VmState::Stopped, VmState::Hibernated, VmState::Crashed];
        if !settled.contains(&state) {
            return Err(Error::invalid_state(format!("it is {state}")).with_target(VmId::NOUN, id));
        }
        let live = match (spec.live, state.is_active()) {
            (Some(true), false) => {
                return Err(Error::invalid_state(format!("it is {state} and cannot be moved live"))
                    .with_target(VmId::NOUN, id));
            }
            (Some(false), true) => {
                return Err(Error::invalid_state(format!("it is {state} and has to be moved live"))
                    .with_target(VmId::NOUN, id));
            }
            (_, active) => active,
        };
        let feature = if live { Feature::LiveMigration } else { Feature::OfflineMigration };
        self.capabilities.require(feature)?;
        let need = vm.in_force();
        self.host_can_hold(&spec.host, need.cpus, need.memory)?;
        if live {
            self.host_has_room(&spec.host, need.memory)?;
        }
        let disks = self.disks_to_move(vm, spec)?;
        let pool = spec.pool.clone();
        let length = migration_time(self.long(), spec, need.memory);
        if live && !length.is_zero() {
            self.set_state(id, VmState::Migrating);
        }
        let (moved, target, back) = (id.clone(), spec.host.clone(), id.clone());
        let (after, before) = (state.clone(), state);
        let work = Work::new(Operation::MigrateVm, move |world| {
            world.open_host(&target)?;
            if live {
                let memory = world.vm(&moved)?.in_force().memory;
                world.host_has_room(&target, memory)?;
            }
            if let Some(pool) = &pool {
                world.move_disks(&moved, &disks, pool)?;
            }
            world.vm_mut(&moved)?.host = target.clone();
            world.arrive(&moved, after);
            world.emit(EventKind::VmMigrated { vm: moved, host: target });
            Ok(())
        });
        let work = work
            .undo(move |world| world.arrive(&back, before))
            .takes(length, &["preparing the other host", "copying memory", "switching over"])
            .on(id, &from, "migrate");
        self.run(work, ())
    }

    /// A move has ended; a guest that has crashed meanwhile stays so.
    fn arrive(&mut self, id: &VmId, state: VmState) {
        if self.vms.get(id).is_some_and(|vm| vm.state == VmState::Migrating) {
            self.set_state(id, state);
        }
    }

    /// The disks that have to be copied to another pool; fails where the other host would not see them all.
    fn disks_to_move(&self, vm: &Vm, spec: &MigrateSpec) -> Result<Vec<DiskId>> {
        if let Some(pool) = &spec.pool {
            self.pool_on(pool, &spec.host)?;
        }
        let refused = |why: String| Err(Error::invalid_state(why).with_target(VmId::NOUN, &vm.id));
        let mut moves = Vec::new();
        for disk in &vm.setup.disks {
            let Some(id) = &disk.volume else { continue };
            let volume = self.readable(id)?;
            let own = vm.setup.own_volumes().any(|own| own == id);
            match spec.pool.as_ref().filter(|pool| spec.with_disks && own && **pool != volume.pool) {
                Some(pool) => {
                    let held = vm.snapshots.values().any(|snap| snap.volumes.contains_key(id));
                    if held || self.heirs(id).next().is_some() {
                        return refused(format!("a snapshot or a clone needs its volume `{id}` where it is"));
                    }
                    if self.volumes.contains_key(&volume_id(pool, &volume.name)) {
                        return Err(Error::already_exists(VolumeId::NOUN, volume_id(pool, &volume.name)));
                    }
                    self.room(pool, volume.capacity)?;
                    moves.push(disk.id.clone());
                }
                None if self.pool_on(&volume.pool, &spec.host).is_err() => {
                    let (host, pool) = (&spec.host, &volume.pool);
                    return refused(format!(
                        "host `{host}` does not see pool `{pool}` of its disk `{}`",
                        disk.id
                    ));
                }
                None => {}
            }
        }
        Ok(moves)
    }

    /// Puts the volumes of these disks into another pool.
    fn move_disks(&mut self, id: &VmId, disks: &[DiskId], pool: &PoolId) -> Result<()> {
        let mut setup = self.vm(id)?.setup.clone();
        for disk in setup.disks.iter_mut().filter(|disk| disks.contains(&disk.id)) {
            let Some(old) = disk.volume.clone() else { continue };
            let Some(volume) = self.volumes.remove(&old) else { continue };
            let new = volume_id(pool, &volume.name);
            let content = volume.content.flat();
            self.volumes.insert(new.clone(), Volume { pool: pool.clone(), backing: None, content, ..volume });
            disk.volume = Some(new.clone());
            self.fill_in(disk);
            self.emit(EventKind::VolumeChanged(old));
            self.emit(EventKind::VolumeChanged(new));
        }
        self.vm_mut(id)?.setup = setup;
        Ok(())
    }
}

/// The usual time; longer where the bandwidth is limited.
fn migration_time(usual: Duration, spec: &MigrateSpec, memory: ByteSize) -> Duration {
    let limited = spec.bandwidth.map_or(0, |bandwidth| memory.div_ceil(bandwidth));
    if usual.is_zero() { usual } else { usual.max(Duration::from_secs(limited)) }
}
