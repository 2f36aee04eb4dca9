//! Changing a guest's configuration.

use hypervisor_core::model::{ApplyPolicy, UpdateOutcome, VmChange, VmId};
use hypervisor_core::{Error, ErrorKind, Operation, Result};
use virt::connect::Connect;
use virt::domain::Domain;

use super::{Shared, lookup};
use crate::error::Outcome;
use crate::xml::domain::{apply, waits_for_power_cycle};
use crate::xml::guest;

/// Changes a guest. What a running one cannot take waits for its next power cycle.
pub(super) async fn update(inner: &Shared, vm: &VmId, change: VmChange) -> Result<UpdateOutcome> {
    let id = vm.clone();
    let work = move |conn: &Connect| write(conn, &id, &change).map_err(lookup::named(&id));
    let outcome = inner.call(Operation::UpdateVm, work).await;
    inner.forget_facts(vm.as_str());
    outcome
}

fn write(conn: &Connect, vm: &VmId, change: &VmChange) -> Outcome<UpdateOutcome> {
    let domain = lookup::domain(conn, vm)?;
    lookup::check_uid(&domain, vm, change.expected_uid.as_deref())?;
    let text = lookup::definition(&domain)?;
    let present = guest::revision(&text);
    if let Some(expected) = change.if_revision.as_ref().filter(|expected| **expected != present) {
        let why = format!("its revision is {}, not {}", present.as_str(), expected.as_str());
        return Err(Error::new(ErrorKind::Conflict, why)
            .with_hint("Read it again and repeat the change")
            .into());
    }
    if change.is_empty() {
        return Ok(UpdateOutcome::new(Vec::new(), Vec::new()));
    }
    lookup::refuse_ephemeral(&domain, vm)?;
    let active = lookup::is_active(&domain)?;
    let waiting = waits_for_power_cycle(change);
    if active && change.apply == ApplyPolicy::LiveOnly && !waiting.is_empty() {
        let why = format!("{} can change only with the power off", waiting.join(", "));
        return Err(Error::invalid_state(why).into());
    }
    if active && change.name.is_some() {
        return Err(Error::invalid_state("libvirt renames no running guest").into());
    }
    redefine(conn, &domain, change)?;
    let (applied, pending) = fields(change).into_iter().partition(|field| {
        !active || (!waiting.contains(&field.as_str()) && change.apply != ApplyPolicy::NextBoot)
    });
    Ok(UpdateOutcome::new(applied, pending))
}

fn redefine(conn: &Connect, domain: &Domain, change: &VmChange) -> Outcome<()> {
    if let Some(name) = &change.name
        && *name != domain.get_name()?
    {
        lookup::refuse_taken_name(conn, name)?;
        domain.rename(name, 0)?;
    }
    let mut definition = lookup::whole_definition(domain)?;
    let before = definition.clone();
    apply(&mut definition, change);
    if definition != before {
        Domain::define_xml(conn, &definition.to_string())?;
    }
    if let Some(autostart) = change.autostart {
        domain.set_autostart(autostart)?;
    }
    Ok(())
}

/// The fields that a change names.
fn fields(change: &VmChange) -> Vec<String> {
    let fields = [
        (change.name.is_some(), "name"),
        (change.cpus.is_some(), "cpus"),
        (change.memory.is_some(), "memory"),
        (change.description.is_some(), "description"),
        (!change.add_tags.is_empty() || !change.remove_tags.is_empty(), "tags"),
        (!change.metadata.is_empty(), "metadata"),
        (change.boot_order.is_some(), "boot_order"),
        (change.autostart.is_some(), "autostart"),
        (change.agent.is_some(), "agent"),
    ];
    fields.into_iter().filter(|(asked, _)| *asked).map(|(_, name)| name.to_owned()).collect()
}
