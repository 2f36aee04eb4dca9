//! Power verbs.

use std::sync::Arc;
use std::time::Duration;

use hypervisor_core::model::{PowerAction, Shutdown, ShutdownVia, Started, VmId, VmState};
use hypervisor_core::{Operation, Result};
use virt::connect::Connect;
use virt::domain::Domain;
use virt_sys as sys;

use super::{Shared, lookup};
use crate::backend::Libvirt;
use crate::error::Outcome;
use crate::ffi;
use crate::tasks::{Running, cancelled};
use crate::xml::Element;

const ASLEEP: i32 = 7;
/// How long between two looks at a guest that was asked to power off.
const LOOK: Duration = Duration::from_millis(500);

/// Carries out a power verb.
pub(super) async fn power(inner: &Shared, vm: &VmId, action: PowerAction) -> Result<Started<()>> {
    let (operation, id) = (action.operation(), vm.clone());
    let work = move |conn: &Connect| {
        let domain = lookup::domain(conn, &id)?;
        action.check_state(&lookup::state(&domain)?).map_err(|error| error.with_target(VmId::NOUN, &id))?;
        if action == PowerAction::Start {
            lookup::refuse_template(&Element::parse(&lookup::definition(&domain)?)?, &id)?;
        }
        act(&domain, action).map_err(lookup::named(&id))
    };
    // These wait: for the guest's agent, for the memory to be written, for QEMU to let go.
    let slow = matches!(action, PowerAction::Shutdown(_) | PowerAction::Reboot | PowerAction::Hibernate);
    if slow {
        inner.call_slow(operation, work).await?
    } else {
        inner.call(operation, work).await?
    }
    inner.forget_facts(vm.as_str());
    match action {
        PowerAction::Shutdown(Shutdown { power_off_after: Some(limit), .. }) => {
            let (own, id) = (Arc::clone(inner), vm.clone());
            let task = inner.tasks.spawn_watched(operation, Some(vm), |running| async move {
                tokio::select! {
                    outcome = power_off_after(&own, &running, &id, limit) => outcome,
                    () = running.cancelled() => Err(cancelled()),
                }
            });
            Ok(Started::running((), task))
        }
        _ => Ok(Started::done(())),
    }
}

impl Libvirt {
    /// Powers a guest on and holds it before its first instruction; [`PowerAction::Resume`] lets it go.
    ///
    /// # Errors
    /// `NotFound`; `InvalidState` for one that runs, or a template; `Unsupported` on the test driver.
    pub async fn start_paused(&self, vm: &VmId) -> Result<()> {
        let id = vm.clone();
        let work = move |conn: &Connect| {
            let domain = lookup::domain(conn, &id)?;
            PowerAction::Start
                .check_state(&lookup::state(&domain)?)
                .map_err(|error| error.with_target(VmId::NOUN, &id))?;
            lookup::refuse_template(&Element::parse(&lookup::definition(&domain)?)?, &id)?;
            let started = domain.create_with_flags(sys::VIR_DOMAIN_START_PAUSED);
            started.map(drop).map_err(|error| lookup::named(&id)(error.into()))
        };
        let outcome = self.inner.call(Operation::StartVm, work).await;
        self.inner.forget_facts(vm.as_str());
        outcome
    }
}

fn act(domain: &Domain, action: PowerAction) -> Outcome<()> {
    match action {
        PowerAction::Start => drop(domain.create()?),
        PowerAction::Shutdown(Shutdown { via, .. }) => {
            let flags = match via {
                ShutdownVia::Acpi => sys::VIR_DOMAIN_SHUTDOWN_ACPI_POWER_BTN,
                ShutdownVia::Agent => sys::VIR_DOMAIN_SHUTDOWN_GUEST_AGENT,
                _ => sys::VIR_DOMAIN_SHUTDOWN_DEFAULT,
            };
            domain.shutdown_flags(flags)?;
        }
        PowerAction::PowerOff => domain.destroy()?,
        PowerAction::Reboot => domain.reboot(sys::VIR_DOMAIN_REBOOT_DEFAULT)?,
        PowerAction::Reset => drop(domain.reset()?),
        PowerAction::Pause => drop(domain.suspend()?),
        PowerAction::Resume if ffi::state(domain)?.0 == ASLEEP => drop(domain.pm_wakeup(0)?),
        PowerAction::Resume => drop(domain.resume()?),
        PowerAction::Hibernate => drop(domain.managed_save(0)?),
        other => {
            let why = "this version of the driver does not know the verb";
            return Err(hypervisor_core::Error::unsupported(other.operation(), why).into());
        }
    }
    Ok(())
}

const YEAR: Duration = Duration::from_secs(365 * 86_400);

/// Waits for a guest that was asked to power off, and cuts its power when the time is over.
async fn power_off_after(inner: &Shared, running: &Running, vm: &VmId, limit: Duration) -> Result<()> {
    let begin = tokio::time::Instant::now();
    // A limit beyond what the clock can show is as good as a year.
    let limit = limit.min(YEAR);
    let deadline = begin + limit;
    running.stage(format!("waits up to {limit:?} for the guest to power off"));
    loop {
        running.progress(begin.elapsed().div_duration_f64(limit.max(Duration::from_millis(1))));
        let (id, told, late) = (vm.clone(), running.clone(), tokio::time::Instant::now() >= deadline);
        let off = inner.call(Operation::ShutdownVm, move |conn| {
            let domain = match lookup::domain(conn, &id) {
                // An ephemeral guest vanishes.
                Err(fail) if fail.kind() == hypervisor_core::ErrorKind::NotFound => return Ok(true),
                other => other?,
            };
            if !lookup::state(&domain)?.is_active() {
                return Ok(true);
            }
            if late {
                told.stage("cuts the power: the time is over");
                domain.destroy()?;
            }
            Ok(late)
        });
        if off.await? {
            return Ok(());
        }
        tokio::time::sleep_until(deadline.min(tokio::time::Instant::now() + LOOK)).await;
    }
}

/// Refuses a guest that is not off.
pub(crate) fn refuse_unless_off(domain: &Domain, vm: &VmId) -> Outcome<()> {
    match lookup::state(domain)? {
        VmState::Stopped | VmState::Crashed => Ok(()),
        state => {
            let error = hypervisor_core::Error::invalid_state(format!("it is {state}, but must be stopped"));
            Err(error.with_target(VmId::NOUN, vm).into())
        }
    }
}
