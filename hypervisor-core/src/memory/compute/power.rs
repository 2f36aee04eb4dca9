//! The power verbs and the states between them.

use std::time::Duration;

use crate::error::{Error, ErrorKind, Result};
use crate::memory::state::{Timer, World};
use crate::memory::task::Work;
use crate::model::{
    EventKind, NicSource, PowerAction, Shutdown, ShutdownVia, Started, VmId, VmState, VolumeId,
};

impl World {
    pub(in crate::memory) fn set_state(&mut self, id: &VmId, state: VmState) {
        let Some(vm) = self.vms.get_mut(id).filter(|vm| vm.state != state) else { return };
        vm.state = state.clone();
        if !state.is_active()
            && let Some(serial) = self.serials.remove(id)
        {
            serial.end();
        }
        self.emit(EventKind::VmStateChanged { vm: id.clone(), state });
    }

    /// A power verb, as one call.
    pub(in crate::memory) fn power_vm(&mut self, id: &VmId, action: &PowerAction) -> Result<Started<()>> {
        let vm = self.free_vm(id)?;
        let host = vm.host.clone();
        self.may_power(id, action)?;
        let needs_time = match action {
            PowerAction::Shutdown(shutdown) => {
                shutdown.power_off_after.filter(|_| vm.state == VmState::Running)
            }
            _ => None,
        };
        // Only a shutdown with a limit is waited for, as a task that ends when the guest is down.
        if let (PowerAction::Shutdown(shutdown), Some(limit)) = (action, needs_time) {
            let length = limit.min(self.config.guest_time);
            self.shut_down(id, shutdown)?;
            let work = Work::new(action.operation(), |_| Ok(()));
            let stages = &["asking the guest", "waiting for the guest"];
            return self.run(work.takes(length, stages).about(id, &host), ());
        }
        let (target, verb) = (id.clone(), *action);
        let work = Work::new(action.operation(), move |world| world.power(&target, &verb));
        self.run(work.about(id, &host), ())
    }

    fn may_power(&self, id: &VmId, action: &PowerAction) -> Result<()> {
        let vm = self.vm(id)?;
        let refused = |why: String| Err(Error::invalid_state(why).with_target(VmId::NOUN, id));
        action.check_state(&vm.state).map_err(|error| error.with_target(VmId::NOUN, id))?;
        if vm.template && matches!(action, PowerAction::Start) {
            return refused("it is a template, which can only be cloned".to_owned());
        }
        match (&vm.state, action) {
            (VmState::Stopping, PowerAction::PowerOff | PowerAction::Shutdown(_)) => Ok(()),
            (state, _)
                if !matches!(
                    state,
                    VmState::Running
                        | VmState::Paused
                        | VmState::Stopped
                        | VmState::Hibernated
                        | VmState::Crashed
                ) =>
            {
                refused(format!("it is {state}"))
            }
            _ => Ok(()),
        }
    }

    /// A power verb, at once.
    pub(in crate::memory) fn power(&mut self, id: &VmId, action: &PowerAction) -> Result<()> {
        self.may_power(id, action)?;
        match action {
            PowerAction::Start => self.start(id)?,
            PowerAction::Shutdown(shutdown) => self.shut_down(id, shutdown)?,
            PowerAction::PowerOff => self.power_down(id),
            PowerAction::Reboot | PowerAction::Reset => self.restart(id)?,
            PowerAction::Pause => self.set_state(id, VmState::Paused),
            PowerAction::Resume => self.set_state(id, VmState::Running),
            PowerAction::Hibernate => self.hibernate(id)?,
        }
        Ok(())
    }

    fn start(&mut self, id: &VmId) -> Result<()> {
        let vm = self.vm(id)?;
        self.host_can_hold(&vm.host, vm.in_force().cpus, vm.in_force().memory)?;
        self.host_has_room(&vm.host, vm.in_force().memory)?;
        for nic in &vm.setup.nics {
            let NicSource::Network(network) = &nic.source else { continue };
            let net = self.networks.get(network).ok_or_else(|| network.not_found())?;
            if net.live.is_none() {
                return Err(Error::invalid_state(format!(
                    "network `{network}` of its NIC `{}` is down",
                    nic.id
                ))
                .with_target(VmId::NOUN, id));
            }
        }
        let volumes: Vec<VolumeId> = vm.setup.own_volumes().cloned().collect();
        volumes.iter().try_for_each(|volume| self.may_open(id, volume))?;
        let (now, cycle) = (self.now, self.unique());
        let vm = self.vm_mut(id)?;
        if vm.state != VmState::Hibernated {
            vm.cycle = cycle;
            vm.ran = Duration::ZERO;
            vm.live = None;
        }
        vm.since = Some(now.saturating_sub(vm.ran));
        vm.frozen = false;
        self.set_state(id, VmState::Starting);
        self.set_state(id, VmState::Running);
        self.lease_addresses(id);
        Ok(())
    }

    /// Passes if the guest may write to the volume now.
    fn may_open(&self, id: &VmId, volume: &VolumeId) -> Result<()> {
        self.unlocked(&crate::memory::state::Target::Volume(volume.clone()), false)?;
        self.volume(volume)?;
        let others = self.vms.values().filter(|vm| vm.id != *id && vm.state.is_active());
        if let Some(other) = others.into_iter().find(|vm| vm.setup.own_volumes().any(|own| own == volume)) {
            let message = format!("vm `{}` runs with its volume `{volume}`", other.id);
            return Err(Error::new(ErrorKind::Conflict, message).with_target(VmId::NOUN, id));
        }
        match self.heirs(volume).find(|(_, heir)| !heir.of_snapshot) {
            Some((heir, _)) => Err(Error::invalid_state(format!(
                "volume `{heir}` starts from its volume `{volume}`, which must not change any more"
            ))
            .with_target(VmId::NOUN, id)),
            None => Ok(()),
        }
    }

    fn shut_down(&mut self, id: &VmId, shutdown: &Shutdown) -> Result<()> {
        let guest_time = self.config.guest_time;
        let vm = self.vm(id)?;
        if shutdown.via == ShutdownVia::Agent && !vm.in_force().agent {
            return Err(
                Error::new(ErrorKind::AgentUnavailable, "it has no guest agent").with_target(VmId::NOUN, id)
            );
        }
        let cycle = vm.cycle;
        let asked_before = vm.state == VmState::Stopping;
        let wait = shutdown.power_off_after.map_or(guest_time, |limit| limit.min(guest_time));
        if wait.is_zero() {
            self.power_down(id);
            return Ok(());
        }
        self.set_state(id, VmState::Stopping);
        if !asked_before || shutdown.power_off_after.is_some() {
            self.after(wait, Timer::PowersOff { vm: id.clone(), cycle });
        }
        Ok(())
    }

    /// A guest has followed a shutdown, or its time is over. Too late for one that was powered off and on meanwhile.
    pub(in crate::memory) fn power_off_late(&mut self, id: &VmId, cycle: u64) {
        if self.vms.get(id).is_some_and(|vm| vm.cycle == cycle && vm.state == VmState::Stopping) {
            self.power_down(id);
        }
    }

    /// The guest is off, and what was pending comes into force.
    pub(in crate::memory) fn power_down(&mut self, id: &VmId) {
        let Some(vm) = self.vms.get_mut(id).filter(|vm| vm.state.is_active() || vm.state == VmState::Crashed)
        else {
            return;
        };
        vm.since = None;
        vm.ran = Duration::ZERO;
        vm.live = None;
        vm.frozen = false;
        let ephemeral = vm.setup.spec.ephemeral;
        self.set_state(id, VmState::Stopped);
        if ephemeral {
            self.remove_vm(id);
        }
    }

    fn restart(&mut self, id: &VmId) -> Result<()> {
        let vm = self.vm(id)?;
        if vm.state == VmState::Crashed {
            self.host_has_room(&vm.host, vm.in_force().memory)?;
        }
        let now = self.now;
        let vm = self.vm_mut(id)?;
        vm.since = Some(now);
        vm.frozen = false;
        self.set_state(id, VmState::Starting);
        self.set_state(id, VmState::Running);
        self.lease_addresses(id);
        Ok(())
    }

    fn hibernate(&mut self, id: &VmId) -> Result<()> {
        let now = self.now;
        let vm = self.vm_mut(id)?;
        vm.ran = vm.since.take().map_or(Duration::ZERO, |since| now.saturating_sub(since));
        // The saved memory belongs to the configuration that was in force.
        vm.live = Some(vm.in_force().clone());
        self.set_state(id, VmState::Hibernated);
        Ok(())
    }

    pub(in crate::memory) fn crash(&mut self, id: &VmId) -> Result<()> {
        let vm = self.vm_mut(id)?;
        if !vm.state.is_active() {
            return Err(Error::invalid_state(format!("it is {}", vm.state)).with_target(VmId::NOUN, id));
        }
        vm.since = None;
        self.set_state(id, VmState::Crashed);
        Ok(())
    }
}
