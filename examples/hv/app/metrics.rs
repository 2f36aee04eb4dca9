//! Load: a table, or one again and again. What is counted since the start becomes a rate by two looks.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use hypervisor::handle::Listing;
use hypervisor::model::{HostMetrics, VmMetrics};
use hypervisor::{ByteSize, Hypervisor, Operation, Result, VmId, VmInfo, VmQuery, VmState};

use super::Ui;
use super::cli::Metrics;
use super::exit::Stop;
use super::guests::find;
use super::table::{Cell, Look, Table};
use super::text::{NOTHING, gauge, or_dash, percent, span};

/// The time between the two looks of a table that is printed once.
const FIRST: Duration = Duration::from_secs(1);

pub(crate) async fn run(hv: &Arc<dyn Hypervisor>, ui: &mut Ui, args: &Metrics) -> Result<u8, Stop> {
    if args.hosts {
        return hosts(hv, ui, args).await;
    }
    let mut wanted = Vec::new();
    for name in &args.vms {
        wanted.push(find(hv, name).await?.id().clone());
    }
    let mut before = BTreeMap::new();
    let mut round = 0;
    loop {
        let (names, mut listing) = look(hv, &wanted).await?;
        let first = round == 0;
        // One look shows no rates where the backend only counts.
        if first
            && !args.watch
            && listing.items.iter().any(|vm| vm.cpu_usage.is_none() && vm.cpu_time.is_some())
        {
            before = remember(&listing);
            tokio::time::sleep(FIRST).await;
            listing = look(hv, &wanted).await?.1;
        }
        fill_in(&mut listing, &before, &names);
        if args.watch && !ui.json {
            ui.clear();
        }
        let code = ui.list(&listing, |vms| table(vms, &before, &names));
        before = remember(&listing);
        round += 1;
        if !args.watch || ui.broken || args.rounds.is_some_and(|rounds| round >= rounds) {
            return Ok(code);
        }
        tokio::time::sleep(args.interval).await;
    }
}

type Names = BTreeMap<VmId, VmInfo>;
type Before = BTreeMap<VmId, VmMetrics>;

async fn look(hv: &Arc<dyn Hypervisor>, wanted: &[VmId]) -> Result<(Names, Listing<VmMetrics>)> {
    let infos = hv.vms().all(&VmQuery::all()).await?;
    let names: Names = infos.items.into_iter().map(|vm| (vm.id.clone(), vm)).collect();
    let mut listing = Listing::default();
    if wanted.is_empty() && hv.capabilities().has(Operation::ListVmMetrics) {
        listing = hv.vms().metrics().await?;
    } else {
        let running = || names.values().filter(|vm| vm.state == VmState::Running).map(|vm| vm.id.clone());
        let ids: Vec<VmId> = if wanted.is_empty() { running().collect() } else { wanted.to_vec() };
        for id in ids {
            listing.items.push(hv.vm(id).metrics().await?);
        }
    }
    let name = |id: &VmId| names.get(id).map(|vm| vm.name.clone());
    listing.items.sort_by_key(|vm| name(&vm.vm));
    Ok((names, listing))
}

fn remember(listing: &Listing<VmMetrics>) -> Before {
    listing.items.iter().map(|vm| (vm.vm.clone(), vm.clone())).collect()
}

/// Usage from the busy time of two looks, where the backend tells none.
fn fill_in(listing: &mut Listing<VmMetrics>, before: &Before, names: &Names) {
    for vm in &mut listing.items {
        let cpus = names.get(&vm.vm).and_then(|info| info.cpus).unwrap_or(1).max(1);
        let Some(then) = before.get(&vm.vm).filter(|_| vm.cpu_usage.is_none()) else { continue };
        let busy = vm.cpu_time.zip(then.cpu_time).and_then(|(now, then)| now.checked_sub(then));
        if let (Some(busy), Some(time)) = (busy, between(then.time, vm.time)) {
            vm.cpu_usage = Some((busy.as_secs_f64() / time.as_secs_f64() / f64::from(cpus)).min(1.0));
        }
    }
}

fn between(then: SystemTime, now: SystemTime) -> Option<Duration> {
    now.duration_since(then).ok().filter(|time| !time.is_zero())
}

/// Bytes a second, from two counts.
fn rate(then: ByteSize, now: ByteSize, time: Duration) -> ByteSize {
    let bytes = u128::from(now.saturating_sub(then).as_bytes());
    let second = bytes.saturating_mul(1000) / time.as_millis().max(1);
    ByteSize::bytes(u64::try_from(second).unwrap_or(u64::MAX))
}

fn sum(sizes: impl Iterator<Item = ByteSize>) -> ByteSize {
    sizes.fold(ByteSize::ZERO, ByteSize::saturating_add)
}

fn usage(part: Option<f64>) -> [Cell; 2] {
    let look = match part {
        Some(part) if part >= 0.9 => Look::Bad,
        Some(part) if part >= 0.6 => Look::Warn,
        _ => Look::Good,
    };
    let number = part.map_or_else(|| NOTHING.to_owned(), percent);
    [number.into(), Cell::new(part.map(gauge).unwrap_or_default(), look)]
}

fn table(vms: &[VmMetrics], before: &Before, names: &Names) -> Table {
    let mut table = Table::new(["NAME", ">CPU", "", ">CPU TIME", ">MEMORY", ">OF", ">DISK R/W", ">NET R/T"]);
    for vm in vms {
        let then = before.get(&vm.vm);
        let time = then.and_then(|then| between(then.time, vm.time));
        let pair = |totals: fn(&VmMetrics) -> [ByteSize; 2]| match then.zip(time) {
            Some((then, time)) => {
                let [[a, b], [c, d]] = [totals(then), totals(vm)];
                format!("{}/s {}/s", rate(a, c, time), rate(b, d, time))
            }
            None => totals(vm).map(|total| total.to_string()).join(" "),
        };
        let disks = pair(|vm| {
            [sum(vm.disks.values().map(|disk| disk.read)), sum(vm.disks.values().map(|disk| disk.written))]
        });
        let nics = pair(|vm| {
            [sum(vm.nics.values().map(|nic| nic.received)), sum(vm.nics.values().map(|nic| nic.sent))]
        });
        let name = names.get(&vm.vm).map_or_else(|| vm.vm.to_string(), |info| info.name.clone());
        let [number, bar] = usage(vm.cpu_usage);
        table.row([
            Cell::new(name, Look::Bold),
            number,
            bar,
            or_dash(vm.cpu_time.map(span)).into(),
            or_dash(vm.memory_used.or(vm.memory_resident)).into(),
            or_dash(vm.memory_total).into(),
            disks.into(),
            nics.into(),
        ]);
    }
    table
}

async fn hosts(hv: &Arc<dyn Hypervisor>, ui: &mut Ui, args: &Metrics) -> Result<u8, Stop> {
    let mut round = 0;
    loop {
        let hosts = hv.hosts().all().await?;
        let mut listing: Listing<HostMetrics> = Listing::default();
        listing.unreachable = hosts.unreachable;
        for host in hosts.items {
            listing.items.push(hv.host(host.id).metrics().await?);
        }
        if args.watch && !ui.json {
            ui.clear();
        }
        let code = ui.list(&listing, |hosts| {
            let mut table = Table::new(["HOST", ">CPU", "", ">LOAD", ">MEMORY", ">OF"]);
            for host in hosts {
                let [number, bar] = usage(host.cpu_usage);
                let load = host.load.map_or_else(|| NOTHING.to_owned(), |load| format!("{load:.2}"));
                table.row([
                    Cell::new(host.host.as_str(), Look::Bold),
                    number,
                    bar,
                    load.into(),
                    or_dash(host.memory_used).into(),
                    or_dash(host.memory_total).into(),
                ]);
            }
            table
        });
        round += 1;
        if !args.watch || ui.broken || args.rounds.is_some_and(|rounds| round >= rounds) {
            return Ok(code);
        }
        tokio::time::sleep(args.interval).await;
    }
}
