//! What a guest is, and changes to it: in force at once, or with the next power cycle.

use crate::error::{Error, ErrorKind, Result};
use crate::memory::clock::wall;
use crate::memory::state::{Target, Vm, World};
use crate::model::{
    ApplyPolicy, DiskInfo, DiskSource, DiskSpec, EventKind, Extra, Feature, NicInfo, NicSpec, PendingChange,
    Revision, Started, UpdateOutcome, VmChange, VmConfig, VmId, VmInfo, VmSpec, VmState,
};

/// The spec that would give the guest this disk again.
fn disk_spec(disk: &DiskInfo) -> DiskSpec {
    let source = match (&disk.volume, &disk.path) {
        (Some(volume), _) => DiskSource::Volume(volume.clone()),
        (None, Some(path)) => DiskSource::HostPath(path.clone()),
        (None, None) => DiskSource::Empty,
    };
    let mut spec = DiskSpec { source, device: disk.device, ..DiskSpec::empty_cdrom() };
    spec = spec.bus(disk.bus.clone()).slot(&disk.id).read_only(disk.read_only);
    spec.serial.clone_from(&disk.serial);
    spec
}

fn nic_spec(nic: &NicInfo) -> NicSpec {
    let mut spec = NicSpec::new(nic.source.clone()).model(nic.model.clone()).link_down(nic.link_down);
    spec.mac = nic.mac;
    spec.vlan = nic.vlan;
    spec
}

/// The fields that a power cycle may have to bring into force.
fn pending(live: &VmSpec, next: &VmSpec) -> Vec<PendingChange> {
    let order = |spec: &VmSpec| {
        let names: Vec<&str> = spec.boot.order.iter().map(|device| device.as_str()).collect();
        names.join(",")
    };
    let fields = [
        ("cpus", live.cpus.to_string(), next.cpus.to_string()),
        ("memory", live.memory.to_string(), next.memory.to_string()),
        ("boot_order", order(live), order(next)),
        ("agent", live.agent.to_string(), next.agent.to_string()),
    ];
    let changed = fields.into_iter().filter(|(_, live, next)| live != next);
    changed.map(|(field, live, next)| PendingChange::new(field, Some(live), Some(next))).collect()
}

fn revision(vm: &Vm) -> Revision {
    Revision::new(format!("{}-{}", vm.uid.split('-').next().unwrap_or_default(), vm.revision))
}

impl World {
    pub(in crate::memory) fn vm_info(&self, vm: &Vm) -> VmInfo {
        let (spec, force) = (&vm.setup.spec, vm.in_force());
        // Mostly nothing is locked, and a list asks for each guest.
        let lock = match self.locks.is_empty() {
            true => None,
            false => self.lock_on(&Target::Vm(vm.id.clone())).map(|lock| lock.reason.to_owned()),
        };
        VmInfo {
            id: vm.id.clone(),
            uid: Some(vm.uid.clone()),
            name: spec.name.clone(),
            kind: spec.kind,
            state: vm.state.clone(),
            host: Some(vm.host.clone()),
            cpus: Some(force.cpus),
            memory: Some(force.memory),
            tags: spec.tags.clone(),
            description: spec.description.clone(),
            group: spec.group.clone(),
            template: vm.template,
            lock,
            autostart: Some(spec.autostart),
            uptime: vm.since.map(|since| self.now.saturating_sub(since)),
            created: Some(wall(vm.created)),
            client_token: spec.client_token.clone(),
            extra: Extra::default(),
        }
    }

    pub(super) fn vm_config(&self, vm: &Vm) -> VmConfig {
        let mut spec = vm.setup.spec.clone();
        spec.host = Some(vm.host.clone());
        spec.disks = vm.setup.disks.iter().map(disk_spec).collect();
        spec.nics = vm.setup.nics.iter().map(nic_spec).collect();
        let waits = vm.live.as_ref().map(|live| pending(live, &vm.setup.spec)).unwrap_or_default();
        let native = serde_json::to_string_pretty(&spec).ok();
        let mut config = VmConfig::new(&vm.id, spec, vm.setup.disks.clone(), vm.setup.nics.clone());
        config.native = native;
        config.pending(waits).revision(revision(vm))
    }

    pub(super) fn update_vm(&mut self, id: &VmId, change: &VmChange) -> Result<Started<UpdateOutcome>> {
        self.vm_info(self.vm(id)?).check_uid(change.expected_uid.as_deref())?;
        let vm = self.free_vm(id)?;
        let present = revision(vm);
        if change.if_revision.as_ref().is_some_and(|expected| *expected != present) {
            let message = format!("its configuration is at revision `{}` now", present.as_str());
            return Err(Error::new(ErrorKind::Conflict, message)
                .with_target(VmId::NOUN, id)
                .with_hint("read it again and repeat the change"));
        }
        if let Some(name) = &change.name {
            self.name_is_free(name, Some(id))?;
        }
        let mut next = vm.setup.spec.clone();
        let mut applied = change_description(&mut next, change);
        change_hardware(&mut next, change);
        self.host_can_hold(&vm.host, next.cpus, next.memory)?;
        let active = vm.state.is_active() || vm.state == VmState::Hibernated;
        let live = if active { Some(self.live_after(vm, &next, change.apply)) } else { None };
        let waits: Vec<String> =
            live.iter().flat_map(|live| pending(live, &next)).map(|waiting| waiting.field).collect();
        let asked = asked_hardware(change);
        let (waiting, now): (Vec<&str>, Vec<&str>) =
            asked.into_iter().partition(|field| waits.iter().any(|waiting| waiting == field));
        if change.apply == ApplyPolicy::LiveOnly && !waiting.is_empty() {
            let message = format!("{} cannot change before the next power cycle", waiting.join(", "));
            return Err(Error::invalid_state(message).with_target(VmId::NOUN, id));
        }
        if let Some(live) = &live {
            let more = live.memory.saturating_sub(vm.in_force().memory);
            self.host_has_room(&vm.host, more)?;
        }
        applied.extend(now.into_iter().map(str::to_owned));
        let outcome = UpdateOutcome::new(applied, waiting.into_iter().map(str::to_owned).collect());
        let vm = self.vm_mut(id)?;
        if !change.is_empty() {
            vm.revision += 1;
        }
        vm.setup.spec = next;
        vm.live = live;
        self.emit(EventKind::VmUpdated(id.clone()));
        Ok(Started::done(outcome))
    }

    /// What would be in force right after the change: more CPUs and memory can be plugged in, all else waits.
    fn live_after(&self, vm: &Vm, next: &VmSpec, apply: ApplyPolicy) -> VmSpec {
        let old = vm.in_force();
        let plugs = apply != ApplyPolicy::NextBoot && vm.state.is_active();
        let mut live = VmSpec {
            cpus: old.cpus,
            memory: old.memory,
            boot: old.boot.clone(),
            agent: old.agent,
            ..next.clone()
        };
        if plugs && next.cpus > old.cpus && self.capabilities.has(Feature::LiveUpdateCpus) {
            live.cpus = next.cpus;
        }
        if plugs && next.memory > old.memory && self.capabilities.has(Feature::LiveUpdateMemory) {
            live.memory = next.memory;
        }
        live
    }

    /// Notes that a guest's configuration has changed.
    pub(super) fn revise(&mut self, id: &VmId) {
        if let Some(vm) = self.vms.get_mut(id) {
            vm.revision += 1;
            self.emit(EventKind::VmUpdated(id.clone()));
        }
    }
}

/// What needs no power cycle. Returns the fields.
fn change_description(spec: &mut VmSpec, change: &VmChange) -> Vec<String> {
    let mut fields = Vec::new();
    if let Some(name) = &change.name {
        spec.name.clone_from(name);
        fields.push("name");
    }
    if let Some(text) = &change.description {
        spec.description = Some(text.clone()).filter(|text| !text.is_empty());
        fields.push("description");
    }
    if !(change.add_tags.is_empty() && change.remove_tags.is_empty()) {
        spec.tags.retain(|tag| !change.remove_tags.contains(tag));
        spec.tags.extend(change.add_tags.iter().cloned());
        fields.push("tags");
    }
    if !change.metadata.is_empty() {
        spec.metadata.extend(change.metadata.clone());
        spec.metadata.retain(|_, value| !value.is_empty());
        fields.push("metadata");
    }
    if let Some(autostart) = change.autostart {
        spec.autostart = autostart;
        fields.push("autostart");
    }
    fields.into_iter().map(str::to_owned).collect()
}

fn change_hardware(spec: &mut VmSpec, change: &VmChange) {
    spec.cpus = change.cpus.unwrap_or(spec.cpus);
    spec.memory = change.memory.unwrap_or(spec.memory);
    spec.agent = change.agent.unwrap_or(spec.agent);
    if let Some(order) = &change.boot_order {
        spec.boot.order.clone_from(order);
    }
}

fn asked_hardware(change: &VmChange) -> Vec<&'static str> {
    let fields = [
        ("cpus", change.cpus.is_some()),
        ("memory", change.memory.is_some()),
        ("boot_order", change.boot_order.is_some()),
        ("agent", change.agent.is_some()),
    ];
    fields.into_iter().filter(|(_, asked)| *asked).map(|(field, _)| field).collect()
}
