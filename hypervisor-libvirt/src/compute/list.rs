//! Guests as lists and single reads show them.

use std::collections::HashSet;
use std::sync::Arc;

use hypervisor_core::model::{DiskInfo, PendingChange, VmConfig, VmId, VmInfo};
use hypervisor_core::{ErrorKind, Operation, Result};
use uuid::Uuid;
use virt::connect::Connect;
use virt::domain::Domain;
use virt_sys as sys;

use super::{Shared, lookup, volumes};
use crate::backend::Inner;
use crate::blocking::{CallError as _, afterwards};
use crate::error::{Fail, Outcome};
use crate::facts::Filtered;
use crate::ffi::{self, Record};
use crate::xml::{Element, guest};

/// All guests: one bulk call for the states. What libvirt tells in no bulk call is remembered for a few seconds: definitions are read for
/// guests that are new to us or have changed, and what only a filter tells is asked again with them.
pub(super) async fn all(inner: &Shared) -> Result<Vec<VmInfo>> {
    let own = Arc::clone(inner);
    inner.call(Operation::ListVms, move |conn| list(&own, conn)).await
}

fn list(inner: &Inner, conn: &Connect) -> Outcome<Vec<VmInfo>> {
    let cache = &inner.events.facts;
    let epoch = cache.epoch();
    let records = ffi::all_records(conn, sys::VIR_DOMAIN_STATS_STATE)?;
    let names = cache.names();
    let uuid = |record: &Record<'_>| {
        let kept = names.as_ref().and_then(|names| names.get(record.name()?).copied());
        kept.or_else(|| record.uuid())
    };
    let mut guests: Vec<_> = records.iter().filter_map(|record| Some((uuid(&record)?, record))).collect();
    if names.is_none() {
        let name = |(uuid, record): &(Uuid, Record<'_>)| Some((record.name()?.to_owned(), *uuid));
        cache.keep_names(|| guests.iter().filter_map(name).collect(), epoch);
    }
    // In the order of the pages that they go into, whose sorting then has nothing to do.
    guests.sort_unstable_by_key(|(uuid, _)| *uuid);
    let known = cache.get_all(guests.iter().map(|(uuid, _)| *uuid));
    let kept = cache.filtered().filter(|filtered| {
        let told = |(uuid, record): &(Uuid, Record<'_>)| !was_saved(*record) || filtered.saved.contains(uuid);
        known.iter().all(Option::is_some) && guests.iter().all(told)
    });
    let filtered = match kept {
        Some(kept) => kept,
        None => {
            let saved = uuids(conn, sys::VIR_CONNECT_LIST_DOMAINS_MANAGEDSAVE)?;
            let autostart = uuids(conn, sys::VIR_CONNECT_LIST_DOMAINS_AUTOSTART)?;
            let filtered = Arc::new(Filtered { saved, autostart });
            cache.keep_filtered(&filtered, epoch);
            filtered
        }
    };
    let host = inner.host();
    let mut vms = Vec::with_capacity(guests.len());
    for ((uuid, record), known) in guests.into_iter().zip(known) {
        let known = match known {
            Some(known) => known,
            None => match read(record) {
                Ok(facts) => {
                    let known = Arc::new(lookup::info(facts, &host));
                    cache.keep(uuid, &known, epoch);
                    known
                }
                // It was deleted between the two calls.
                Err(fail) if fail.has_code(sys::VIR_ERR_NO_DOMAIN) => continue,
                Err(fail) if fail.is_disconnect() => return Err(fail),
                // One guest that cannot be read is no reason to know nothing of the others. It is asked again next time.
                Err(fail) => Arc::new(lookup::unread(uuid, record.name().unwrap_or_default(), &host, &fail)),
            },
        };
        let (state, reason) = record.state();
        let mut vm = VmInfo::clone(&known);
        vm.state = guest::state(state, reason, filtered.saved.contains(&uuid));
        vm.autostart = Some(filtered.autostart.contains(&uuid));
        vms.push(vm);
    }
    // libvirt writes a line of its log, shown or not, for each domain that it lets go: a quarter of the whole call.
    afterwards(move || drop(records));
    Ok(vms)
}

/// Whether the guest was powered off by saving its memory.
fn was_saved(record: Record<'_>) -> bool {
    let (state, reason) = record.state();
    let is = |value, number: u32| i64::from(number) == i64::from(value);
    is(state, sys::VIR_DOMAIN_SHUTOFF) && is(reason, sys::VIR_DOMAIN_SHUTOFF_SAVED)
}

/// The ids of the guests that a filter lets through.
pub(crate) fn uuids(conn: &Connect, flags: u32) -> Outcome<HashSet<Uuid>> {
    let domains = conn.list_all_domains(flags)?;
    let uuids = domains.iter().map(|domain| domain.get_uuid().map_err(Fail::from));
    uuids.collect()
}

/// The definition is all that has to be asked for: the record holds the domain, and says whether it runs.
fn read(record: Record<'_>) -> Outcome<guest::Facts> {
    let domain = record.domain()?;
    let (state, _) = record.state();
    let active = match sys::virDomainState::try_from(state) {
        Ok(sys::VIR_DOMAIN_SHUTOFF) => false,
        Ok(sys::VIR_DOMAIN_RUNNING | sys::VIR_DOMAIN_BLOCKED | sys::VIR_DOMAIN_PAUSED) => true,
        _ => lookup::is_active(&domain)?,
    };
    lookup::facts(&domain, active)
}

/// One guest.
pub(super) async fn one(inner: &Shared, vm: &VmId) -> Result<VmInfo> {
    let (own, vm) = (Arc::clone(inner), vm.clone());
    inner
        .call(Operation::GetVm, move |conn| {
            let domain = lookup::domain(conn, &vm)?;
            let epoch = own.events.facts.epoch();
            let mut vm = match lookup::facts(&domain, lookup::is_active(&domain)?) {
                Ok(facts) => {
                    let known = Arc::new(lookup::info(facts, &own.host()));
                    own.events.facts.keep(domain.get_uuid()?, &known, epoch);
                    Arc::unwrap_or_clone(known)
                }
                // libvirt has it, and only its definition is beyond us.
                Err(fail) if fail.kind() == ErrorKind::Protocol => {
                    lookup::unread(domain.get_uuid()?, &domain.get_name()?, &own.host(), &fail)
                }
                Err(fail) => return Err(fail),
            };
            vm.autostart = domain.get_autostart().ok();
            vm.state = lookup::state(&domain)?;
            Ok(vm)
        })
        .await
}

/// One guest's whole configuration.
pub(super) async fn config(inner: &Shared, vm: &VmId) -> Result<VmConfig> {
    let vm = vm.clone();
    inner
        .call(Operation::GetVmConfig, move |conn| {
            let domain = lookup::domain(conn, &vm)?;
            let text = lookup::definition(&domain)?;
            let definition = Element::parse(&text)?;
            let disks = guest::plain_disks(&definition).into_iter();
            let disks = disks.map(|disk| with_volume(conn, disk)).collect::<Outcome<Vec<_>>>()?;
            let persistent = domain.is_persistent()?;
            let mut config = guest::config(&definition, disks, persistent && domain.get_autostart()?)?;
            config.spec.ephemeral = !persistent;
            config.revision = Some(guest::revision(&text));
            config.native = Some(text);
            if domain.is_active()? {
                config.pending = pending(&domain, &definition)?;
            }
            Ok(config)
        })
        .await
}

/// What differs between the running guest and its definition.
fn pending(domain: &Domain, definition: &Element) -> Outcome<Vec<PendingChange>> {
    let next = guest::facts(definition)?;
    let now = domain.get_info()?;
    let mut pending = Vec::new();
    if now.nr_virt_cpu != next.cpus {
        let (now, next) = (now.nr_virt_cpu.to_string(), next.cpus.to_string());
        pending.push(PendingChange::new("cpus", Some(now), Some(next)));
    }
    let memory = hypervisor_core::model::ByteSize::kib(now.memory);
    if memory != next.memory {
        let (now, next) = (memory.to_string(), next.memory.to_string());
        pending.push(PendingChange::new("memory", Some(now), Some(next)));
    }
    Ok(pending)
}

/// A disk with what the pools know of it. Where storage has a daemon of its own and that is down, they know nothing.
fn with_volume(conn: &Connect, disk: DiskInfo) -> Outcome<DiskInfo> {
    match known_volume(conn, disk.clone()) {
        Err(fail) if fail.kind() == ErrorKind::HostUnreachable => {
            tracing::debug!(disk = %disk.id, error = %fail, "the pools cannot be asked for a disk");
            Ok(disk)
        }
        other => other,
    }
}

fn known_volume(conn: &Connect, mut disk: DiskInfo) -> Outcome<DiskInfo> {
    if let Some(id) = &disk.volume
        && let Some(found) = volumes::named(conn, id)?
    {
        disk.path = found.path;
        disk.capacity = Some(found.capacity);
        disk.format = disk.format.or(found.format);
        return Ok(disk);
    }
    if let Some(path) = &disk.path
        && let Some(found) = volumes::at_path(conn, path)?
    {
        disk.volume = Some(found.id);
        disk.capacity = Some(found.capacity);
        disk.format = disk.format.or(found.format);
    }
    Ok(disk)
}
