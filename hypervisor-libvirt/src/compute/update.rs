//! Changing a guest's configuration.

use std::sync::Arc;
use std::time::Duration;

use hypervisor_core::model::{ApplyPolicy, UpdateOutcome, VmChange, VmId};
use hypervisor_core::{Effect, Error, ErrorKind, Operation, Result};
use virt::connect::Connect;
use virt::domain::Domain;
use virt_sys as sys;

use super::{Shared, lookup};
use crate::error::{Fail, Outcome};
use crate::xml::Element;
use crate::xml::device::kib;
use crate::xml::domain::{apply, waits_for_power_cycle};
use crate::xml::guest;
use crate::xml::marks::{Marks, NAMESPACE, PREFIX};

/// How long a guest may take to give memory back or to take it in.
const BALLOON: Duration = Duration::from_secs(3);
const LOOK: Duration = Duration::from_millis(100);

/// What the running guest was asked for.
#[derive(Debug, Clone, Default)]
struct Live {
    /// The CPUs that it had, where it has others now.
    cpus: Option<u32>,
    /// The memory that it had and the memory that it is to have, in KiB.
    memory: Option<(u64, u64)>,
    /// The fields that are in force.
    done: Vec<&'static str>,
}

/// Changes a guest. What a running one cannot take waits for its next power cycle.
pub(super) async fn update(inner: &Shared, vm: &VmId, change: VmChange) -> Result<UpdateOutcome> {
    let operation = Operation::UpdateVm;
    let change = Arc::new(change);
    let (id, asked) = (vm.clone(), Arc::clone(&change));
    let begin = move |conn: &Connect| begin(conn, &id, &asked).map_err(lookup::named(&id));
    let mut live = inner.call(operation, begin).await?;
    if let Some((before, wanted)) = live.memory {
        if follows(inner, vm, wanted).await? {
            live.done.push("memory");
        } else {
            let id = vm.clone();
            let back = move |conn: &Connect| set_memory(&lookup::domain(conn, &id)?, before);
            inner.call(operation, back).await?;
            live.memory = None;
        }
    }
    let id = vm.clone();
    let finish = move |conn: &Connect| finish(conn, &id, &change, &live).map_err(lookup::named(&id));
    let outcome = inner.call(operation, finish).await;
    inner.forget_facts(vm.as_str());
    outcome
}

/// Refuses what cannot be, and asks the running guest for what it may be able to take.
fn begin(conn: &Connect, vm: &VmId, change: &VmChange) -> Outcome<Live> {
    let domain = lookup::domain(conn, vm)?;
    lookup::check_uid(&domain, vm, change.expected_uid.as_deref())?;
    let present = guest::revision(&lookup::definition(&domain)?);
    if let Some(expected) = change.if_revision.as_ref().filter(|expected| **expected != present) {
        let why = format!("its revision is {}, not {}", present.as_str(), expected.as_str());
        return Err(Error::new(ErrorKind::Conflict, why)
            .with_hint("Read it again and repeat the change")
            .into());
    }
    let mut live = Live::default();
    if change.is_empty() || !lookup::is_active(&domain)? {
        return Ok(live);
    }
    if change.name.is_some() {
        return Err(Error::invalid_state("libvirt renames no running guest").into());
    }
    let lasting = domain.is_persistent()?;
    let config_only = change.autostart.is_some() || change.apply == ApplyPolicy::NextBoot;
    if !lasting && config_only {
        lookup::refuse_ephemeral(&domain, vm)?;
    }
    let never = never_live(change);
    if !never.is_empty() && (!lasting || change.apply == ApplyPolicy::LiveOnly) {
        return Err(only_off(&never));
    }
    if change.apply == ApplyPolicy::NextBoot {
        return Ok(live);
    }
    let info = domain.get_info()?;
    if let Some(cpus) = change.cpus {
        let had = info.nr_virt_cpu;
        if cpus == had {
            live.done.push("cpus");
        } else if set_cpus(&domain, cpus)? {
            live.done.push("cpus");
            live.cpus = Some(had);
        }
    }
    if let Some(wanted) = change.memory.map(kib) {
        if wanted == info.memory && (lasting || wanted <= info.max_mem) {
            live.done.push("memory");
        } else if wanted <= info.max_mem {
            set_memory(&domain, wanted)?;
            live.memory = Some((info.memory, wanted));
        }
    }
    Ok(live)
}

/// The fields that no running guest takes.
fn never_live(change: &VmChange) -> Vec<&'static str> {
    let waiting = waits_for_power_cycle(change).into_iter();
    waiting.filter(|field| !matches!(*field, "cpus" | "memory")).collect()
}

fn only_off(fields: &[&str]) -> Fail {
    Error::invalid_state(format!("{} can change only with the power off", fields.join(", "))).into()
}

/// Brings CPUs up or down. `false` where the guest has none to spare, or none that it can do without.
fn set_cpus(domain: &Domain, cpus: u32) -> Outcome<bool> {
    let most = domain.get_vcpus_flags(sys::VIR_DOMAIN_AFFECT_LIVE | sys::VIR_DOMAIN_VCPU_MAXIMUM)?;
    if cpus > most {
        return Ok(false);
    }
    match domain.set_vcpus_flags(cpus, sys::VIR_DOMAIN_AFFECT_LIVE).map_err(Fail::from) {
        Ok(_) => Ok(true),
        Err(fail) if matches!(fail.kind(), ErrorKind::Transport | ErrorKind::Locked) => Err(fail),
        Err(fail) => {
            tracing::debug!(error = %fail, "the running guest does not take the number of CPUs");
            Ok(false)
        }
    }
}

fn set_memory(domain: &Domain, kib: u64) -> Outcome<()> {
    domain.set_memory_flags(kib, sys::VIR_DOMAIN_AFFECT_LIVE)?;
    Ok(())
}

/// Whether the guest takes the memory that its balloon was set to: without a driver for it nothing happens.
async fn follows(inner: &Shared, vm: &VmId, wanted: u64) -> Result<bool> {
    let deadline = tokio::time::Instant::now() + BALLOON;
    loop {
        let id = vm.clone();
        let look = move |conn: &Connect| Ok(lookup::domain(conn, &id)?.get_info()?.memory);
        if inner.call(Operation::UpdateVm, look).await? == wanted {
            return Ok(true);
        }
        if tokio::time::Instant::now() >= deadline {
            return Ok(false);
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Writes the change into the definition, and says what is in force.
fn finish(conn: &Connect, vm: &VmId, change: &VmChange, live: &Live) -> Outcome<UpdateOutcome> {
    let domain = lookup::domain(conn, vm)?;
    let active = lookup::is_active(&domain)?;
    let lasting = domain.is_persistent()?;
    let waiting = waits_for_power_cycle(change);
    let missing: Vec<_> = waiting.iter().copied().filter(|field| !live.done.contains(field)).collect();
    if active && !missing.is_empty() && (!lasting || change.apply == ApplyPolicy::LiveOnly) {
        take_back(&domain, live)?;
        return Err(only_off(&missing));
    }
    if !change.is_empty() {
        // What may be refused comes first: of a change that is refused, nothing is made.
        if lasting && let Err(fail) = redefine(conn, &domain, change) {
            return Err(match take_back(&domain, live) {
                Ok(()) => fail,
                Err(left) => {
                    let hint = format!("The running guest was not given back what it had: {left}");
                    Fail::Ours(Error::from(fail).with_effect(Effect::Partial).with_hint(hint))
                }
            });
        }
        describe(&domain, change, active && change.apply != ApplyPolicy::NextBoot, lasting)?;
    }
    let (applied, pending) = fields(change).into_iter().partition(|field| {
        let field = field.as_str();
        let at_once = !waiting.contains(&field) && change.apply != ApplyPolicy::NextBoot;
        !active || at_once || live.done.contains(&field)
    });
    Ok(UpdateOutcome::new(applied, pending))
}

/// Gives the running guest back what it had: all of a change is made or nothing.
fn take_back(domain: &Domain, live: &Live) -> Outcome<()> {
    if let Some(cpus) = live.cpus {
        domain.set_vcpus_flags(cpus, sys::VIR_DOMAIN_AFFECT_LIVE)?;
    }
    if let Some((before, _)) = live.memory {
        set_memory(domain, before)?;
    }
    Ok(())
}

/// Writes description, tags and metadata where the guest runs and where it is defined, without a new definition.
fn describe(domain: &Domain, change: &VmChange, live: bool, lasting: bool) -> Outcome<()> {
    let flags = if live { sys::VIR_DOMAIN_AFFECT_LIVE } else { 0 };
    let flags = if lasting { flags | sys::VIR_DOMAIN_AFFECT_CONFIG } else { flags };
    if let Some(description) = &change.description {
        let kind = i32::try_from(sys::VIR_DOMAIN_METADATA_DESCRIPTION).unwrap_or_default();
        let text = Some(description.as_str()).filter(|text| !text.is_empty());
        domain.set_metadata(kind, text, None, None, flags)?;
    }
    let mut definition = Element::parse(&lookup::definition(domain)?)?;
    let before = Marks::read(&definition);
    apply(&mut definition, change);
    let after = Marks::read(&definition);
    if before != after {
        let kind = i32::try_from(sys::VIR_DOMAIN_METADATA_ELEMENT).unwrap_or_default();
        let block = after.plain_block().map(|block| block.to_string());
        domain.set_metadata(kind, block.as_deref(), Some(PREFIX), Some(NAMESPACE), flags)?;
    }
    Ok(())
}

/// Writes what needs a new definition, or nothing at all.
fn redefine(conn: &Connect, domain: &Domain, change: &VmChange) -> Outcome<()> {
    let before = domain.get_name()?;
    let name = change.name.as_ref().filter(|name| **name != before);
    if let Some(name) = name {
        lookup::refuse_taken_name(conn, name)?;
        domain.rename(name, 0)?;
    }
    let mut rest = change.clone();
    (rest.description, rest.add_tags, rest.remove_tags, rest.metadata) = Default::default();
    let define = || -> Outcome<()> {
        let mut definition = lookup::whole_definition(domain)?;
        let before = definition.clone();
        apply(&mut definition, &rest);
        if definition != before {
            Domain::define_xml(conn, &definition.to_string())?;
        }
        if let Some(autostart) = change.autostart {
            domain.set_autostart(autostart)?;
        }
        Ok(())
    };
    define().map_err(|fail| match name.map(|_| domain.rename(&before, 0)) {
        None | Some(Ok(_)) => fail,
        Some(Err(left)) => {
            let hint = format!("It was renamed, and could not be named `{before}` again: {}", left.message());
            Fail::Ours(Error::from(fail).with_effect(Effect::Partial).with_hint(hint))
        }
    })
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
