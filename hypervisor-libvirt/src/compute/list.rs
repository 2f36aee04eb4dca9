//! Guests as lists and single reads show them.

use std::collections::HashSet;
use std::sync::Arc;

use hypervisor_core::model::{DiskInfo, PendingChange, VmConfig, VmId, VmInfo};
use hypervisor_core::{Operation, Result};
use virt::connect::Connect;
use virt::domain::Domain;
use virt_sys as sys;

use super::{Shared, lookup, volumes};
use crate::backend::Inner;
use crate::error::{Fail, Outcome};
use crate::facts::Filtered;
use crate::ffi::{self, DomainStats};
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
    let stats = ffi::all_stats(conn, sys::VIR_DOMAIN_STATS_STATE)?;
    let known = cache.get_all(stats.iter().map(|stats| stats.uuid.as_str()));
    let kept = cache.filtered().filter(|filtered| {
        let told = |stats: &DomainStats| !was_saved(stats) || filtered.saved.contains(&stats.uuid);
        known.iter().all(Option::is_some) && stats.iter().all(told)
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
    let mut vms = Vec::with_capacity(stats.len());
    for (stats, known) in stats.into_iter().zip(known) {
        let facts = match known {
            Some(facts) => facts,
            None => match read(conn, &stats.uuid) {
                Ok(facts) => {
                    cache.keep(&facts, epoch);
                    facts
                }
                // It was deleted between the two calls.
                Err(fail) if fail.has_code(sys::VIR_ERR_NO_DOMAIN) => continue,
                Err(fail) => return Err(fail),
            },
        };
        let (state, reason) = (number(&stats, "state.state"), number(&stats, "state.reason"));
        let state = guest::state(state, reason, filtered.saved.contains(&stats.uuid));
        let autostart = filtered.autostart.contains(&stats.uuid);
        vms.push(lookup::info(facts, state, Some(autostart), &host));
    }
    Ok(vms)
}

fn number(stats: &DomainStats, name: &str) -> i32 {
    stats.values.i64(name).and_then(|value| i32::try_from(value).ok()).unwrap_or_default()
}

/// Whether the guest was powered off by saving its memory.
fn was_saved(stats: &DomainStats) -> bool {
    let is = |name, value: u32| i64::from(value) == i64::from(number(stats, name));
    is("state.state", sys::VIR_DOMAIN_SHUTOFF) && is("state.reason", sys::VIR_DOMAIN_SHUTOFF_SAVED)
}

/// The ids of the guests that a filter lets through.
pub(crate) fn uuids(conn: &Connect, flags: u32) -> Outcome<HashSet<String>> {
    let domains = conn.list_all_domains(flags)?;
    let uuids = domains.iter().map(|domain| domain.get_uuid_string().map_err(Fail::from));
    uuids.collect()
}

fn read(conn: &Connect, uuid: &str) -> Outcome<guest::Facts> {
    lookup::facts(&Domain::lookup_by_uuid_string(conn, uuid)?)
}

/// One guest.
pub(super) async fn one(inner: &Shared, vm: &VmId) -> Result<VmInfo> {
    let (own, vm) = (Arc::clone(inner), vm.clone());
    inner
        .call(Operation::GetVm, move |conn| {
            let domain = lookup::domain(conn, &vm)?;
            let epoch = own.events.facts.epoch();
            let facts = lookup::facts(&domain)?;
            own.events.facts.keep(&facts, epoch);
            let autostart = domain.get_autostart().ok();
            Ok(lookup::info(facts, lookup::state(&domain)?, autostart, &own.host()))
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

fn with_volume(conn: &Connect, mut disk: DiskInfo) -> Outcome<DiskInfo> {
    if let Some(path) = &disk.path
        && let Some(found) = volumes::at_path(conn, path)?
    {
        disk.volume = Some(found.id);
        disk.capacity = Some(found.capacity);
        disk.format = disk.format.or(found.format);
    }
    Ok(disk)
}
