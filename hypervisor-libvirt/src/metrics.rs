//! Load of guests and of the host.

use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use hypervisor_core::model::{
    ByteSize, DiskMetrics, HostId, HostMetrics, NicId, NicMetrics, Page, PageRequest, VmId, VmMetrics,
};
use hypervisor_core::traits::Metrics;
use hypervisor_core::{Error, Operation, Result};
use virt::connect::Connect;
use virt::domain::Domain;
use virt_sys as sys;

use crate::backend::Libvirt;
use crate::compute::lookup;
use crate::error::{Fail, Outcome, named};
use crate::ffi::{self, DomainStats, Params};
use crate::xml::Element;

/// What is asked for: each group costs a running guest its own call to QEMU.
const GROUPS: u32 = sys::VIR_DOMAIN_STATS_STATE
    | sys::VIR_DOMAIN_STATS_CPU_TOTAL
    | sys::VIR_DOMAIN_STATS_BALLOON
    | sys::VIR_DOMAIN_STATS_INTERFACE
    | sys::VIR_DOMAIN_STATS_BLOCK;

/// What only libvirt tells, and what it is called among the extra facts.
const NANOSECONDS: [(&str, &str); 2] = [("cpu.user", "cpu_user_ns"), ("cpu.system", "cpu_system_ns")];
const KIBIBYTES: [(&str, &str); 4] = [
    ("balloon.available", "memory_seen_by_guest"),
    ("balloon.usable", "memory_available"),
    ("balloon.swap_in", "swap_in"),
    ("balloon.swap_out", "swap_out"),
];

/// Whether the guest occupies the host: everything but off, crashed, and unknown.
fn runs(stats: &DomainStats) -> bool {
    matches!(stats.values.i64("state.state"), Some(1..=4 | 7))
}

/// The load in a record. `live` is the running definition, which tells which NIC a host's device belongs to.
fn load(stats: &DomainStats, live: Option<&Element>) -> VmMetrics {
    let values = &stats.values;
    let size = |name: &str| values.u64(name).map(ByteSize::kib);
    let mut load = VmMetrics::new(stats.uuid.as_str(), SystemTime::now());
    load.cpu_time = values.u64("cpu.time").map(Duration::from_nanos);
    // Less than the most where the balloon has taken some of it back.
    load.memory_total = size("balloon.current").or_else(|| size("balloon.maximum"));
    // What the guest itself says; without a balloon driver it says nothing.
    let free = size("balloon.usable").or_else(|| size("balloon.unused"));
    load.memory_used = size("balloon.available").zip(free).map(|(all, free)| all.saturating_sub(free));
    load.memory_resident = size("balloon.rss");
    for (name, key) in NANOSECONDS {
        if let Some(value) = values.u64(name) {
            load.extra.insert(crate::BACKEND, key, value);
        }
    }
    for (name, key) in KIBIBYTES {
        if let Some(value) = size(name) {
            load.extra.insert(crate::BACKEND, key, value.as_bytes());
        }
    }
    for index in 0..values.u64("block.count").unwrap_or_default() {
        let Some(slot) = values.text(&format!("block.{index}.name")) else { continue };
        load.disks.insert(slot.into(), disk(values, index));
    }
    for index in 0..values.u64("net.count").unwrap_or_default() {
        let device = values.text(&format!("net.{index}.name"));
        if let Some(nic) = live.zip(device).and_then(|(live, device)| nic_of(live, device)) {
            load.nics.insert(nic, nic_load(values, index));
        }
    }
    load
}

fn disk(values: &Params, index: u64) -> DiskMetrics {
    let number = |name: &str| values.u64(&format!("block.{index}.{name}")).unwrap_or_default();
    DiskMetrics::new()
        .read(ByteSize::bytes(number("rd.bytes")))
        .written(ByteSize::bytes(number("wr.bytes")))
        .read_requests(number("rd.reqs"))
        .write_requests(number("wr.reqs"))
}

fn nic_load(values: &Params, index: u64) -> NicMetrics {
    let number = |name: &str| values.u64(&format!("net.{index}.{name}")).unwrap_or_default();
    // The host's device receives what the guest sends, but libvirt has turned the names round already.
    NicMetrics::new()
        .received(ByteSize::bytes(number("rx.bytes")))
        .sent(ByteSize::bytes(number("tx.bytes")))
        .received_packets(number("rx.pkts"))
        .sent_packets(number("tx.pkts"))
        .dropped(number("rx.drop").saturating_add(number("tx.drop")))
        .errors(number("rx.errs").saturating_add(number("tx.errs")))
}

fn nic_of(live: &Element, device: &str) -> Option<NicId> {
    let nics = live.all("devices/interface").into_iter();
    let mut found = nics.filter(|nic| nic.attr_at("target", "dev") == Some(device));
    found.next()?.attr_at("mac", "address").map(NicId::from)
}

/// Adds what the bulk call leaves out.
fn complete(conn: &Connect, stats: &DomainStats) -> Outcome<VmMetrics> {
    let domain = Domain::lookup_by_uuid_string(conn, &stats.uuid)?;
    let has_nics = stats.values.u64("net.count").unwrap_or_default() > 0;
    let live = if has_nics { Some(lookup::live(&domain)?) } else { None };
    let mut load = load(stats, live.as_ref());
    if load.cpu_time.is_none() {
        // A driver that gives nothing but the state in bulk.
        let info = domain.get_info()?;
        load.cpu_time = Some(Duration::from_nanos(info.cpu_time));
        load.memory_total = Some(ByteSize::kib(info.max_mem));
    }
    Ok(load)
}

fn needs_more(stats: &DomainStats) -> bool {
    stats.values.u64("cpu.time").is_none() || stats.values.u64("net.count").unwrap_or_default() > 0
}

fn list(conn: &Connect) -> Outcome<Vec<VmMetrics>> {
    let running = ffi::all_stats(conn, GROUPS)?;
    let loads = running.iter().filter(|stats| runs(stats)).filter_map(|stats| {
        if !needs_more(stats) {
            return Some(Ok(load(stats, None)));
        }
        match complete(conn, stats) {
            // It ended between the two calls.
            Err(fail) if fail.has_code(sys::VIR_ERR_NO_DOMAIN) => None,
            other => Some(other),
        }
    });
    loads.collect()
}

fn one(conn: &Connect, vm: &VmId) -> Outcome<VmMetrics> {
    let domain = lookup::domain(conn, vm)?;
    if !lookup::is_active(&domain)? {
        let state = lookup::state(&domain)?;
        let error = Error::invalid_state(format!("it is {state}, but must be running"));
        return Err(error.with_target(VmId::NOUN, vm).into());
    }
    let stats = match ffi::list_stats(std::slice::from_ref(&domain), GROUPS) {
        Ok(stats) => stats,
        Err(error) => return Err(Fail::from(error)),
    };
    match stats.first() {
        Some(stats) => complete(conn, stats),
        None => Err(vm.not_found().into()),
    }
}

fn host(conn: &Connect, host: &HostId) -> Outcome<HostMetrics> {
    let mut load = HostMetrics::new(host, SystemTime::now());
    // Each of these is missing from some driver; what the others tell is worth having.
    if let Ok(cpu) = ffi::node_cpu(conn) {
        let busy = ["kernel", "user", "intr"].iter().filter_map(|name| cpu.u64(name));
        load.cpu_time = Some(Duration::from_nanos(busy.fold(0, u64::saturating_add)));
    }
    let memory = ffi::node_memory(conn).unwrap_or_default();
    let size = |name: &str| memory.u64(name).map(ByteSize::kib);
    load.memory_total = size("total").or(Some(ByteSize::kib(conn.get_node_info()?.memory)));
    let unused = ["free", "buffers", "cached"].iter().filter_map(|name| size(name));
    let unused = unused.reduce(ByteSize::saturating_add);
    let unused = unused.or_else(|| conn.get_free_memory().ok().map(ByteSize::bytes));
    load.memory_used = load.memory_total.zip(unused).map(|(all, unused)| all.saturating_sub(unused));
    Ok(load)
}

#[async_trait]
impl Metrics for Libvirt {
    async fn get_host_metrics(&self, wanted: &HostId) -> Result<HostMetrics> {
        let operation = Operation::GetHostMetrics;
        self.inner.check_host(Some(wanted)).map_err(named(operation))?;
        let id = wanted.clone();
        self.inner.call(operation, move |conn| host(conn, &id)).await
    }

    async fn get_vm_metrics(&self, vm: &VmId) -> Result<VmMetrics> {
        let id = vm.clone();
        self.inner.call(Operation::GetVmMetrics, move |conn| one(conn, &id)).await
    }

    async fn list_vm_metrics(&self, page: &PageRequest) -> Result<Page<VmMetrics>> {
        let all = self.inner.call(Operation::ListVmMetrics, list).await?;
        Ok(Page::cut(all, page, |load: &VmMetrics| load.vm.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ffi::Param;

    #[test]
    fn a_record_becomes_a_load() {
        let number = |name: &str, value| (name.to_owned(), Param::Uint(value));
        let text = |name: &str, value: &str| (name.to_owned(), Param::Text(value.into()));
        let values = [
            ("state.state".to_owned(), Param::Int(1)),
            number("cpu.time", 3_000_000_000),
            number("balloon.maximum", 1024),
            number("balloon.available", 1000),
            number("balloon.usable", 400),
            number("block.count", 1),
            text("block.0.name", "vda"),
            number("block.0.rd.bytes", 512),
            number("net.count", 1),
            text("net.0.name", "vnet3"),
            number("net.0.tx.bytes", 77),
            number("net.0.rx.drop", 2),
        ];
        let values = values.into_iter().chain([number("cpu.user", 5), number("balloon.swap_in", 2)]);
        let stats = DomainStats { uuid: "u".into(), name: "n".into(), values: values.collect() };
        let live = "<domain><devices><interface><mac address='52:54:00:00:00:01'/><target dev='vnet3'/></interface></devices></domain>";
        let found = load(&stats, Some(&Element::parse(live).unwrap()));
        assert!(runs(&stats));
        assert_eq!(found.cpu_time, Some(Duration::from_secs(3)));
        assert_eq!(
            (found.memory_total, found.memory_used),
            (Some(ByteSize::mib(1)), Some(ByteSize::kib(600)))
        );
        assert_eq!(found.disks[&"vda".into()].read, ByteSize::bytes(512));
        let nic = found.nics[&"52:54:00:00:00:01".into()];
        assert_eq!((nic.sent, nic.dropped), (ByteSize::bytes(77), 2));
        let extra = found.extra.get(crate::BACKEND);
        assert_eq!((extra["cpu_user_ns"].as_u64(), extra["swap_in"].as_u64()), (Some(5), Some(2048)));
        assert!(load(&stats, None).nics.is_empty());
    }
}
