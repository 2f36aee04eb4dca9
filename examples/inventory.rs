//! What there is on one hypervisor or on several: `cargo run --features libvirt --example inventory -- qemu:///system test:///default`.

use std::process::ExitCode;
use std::sync::Arc;

use clap::{Parser, ValueEnum};
use hypervisor::handle::Listing;
use hypervisor::model::PoolQuery;
use hypervisor::{Hypervisor, Result, VmQuery};

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum What {
    Hosts,
    Guests,
    Pools,
}

/// Lists hosts, guests and storage pools.
#[derive(Debug, Parser)]
struct Options {
    /// Where to look: memory://, qemu:///system, test:///default, …
    #[arg(default_value = "memory://")]
    urls: Vec<String>,
    /// Only these.
    #[arg(long, value_delimiter = ',')]
    only: Vec<What>,
}

#[tokio::main]
async fn main() -> ExitCode {
    let options = Options::parse();
    let mut good = true;
    // One that cannot be reached is no reason to say nothing about the others.
    for url in &options.urls {
        if let Err(error) = inventory(url, &options.only).await {
            eprintln!("{error}");
            good = false;
        }
    }
    if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

async fn inventory(url: &str, only: &[What]) -> Result<()> {
    let hv = hypervisor::connect(url).await?;
    let wanted = |what: What| only.is_empty() || only.contains(&what);
    println!("{}", hv.info().endpoint);
    if wanted(What::Hosts) {
        hosts(&hv).await?;
    }
    if wanted(What::Guests) {
        guests(&hv).await?;
    }
    if wanted(What::Pools) {
        pools(&hv).await?;
    }
    Ok(())
}

async fn hosts(hv: &Arc<dyn Hypervisor>) -> Result<()> {
    let rows = listed(hv.hosts().all().await?).map(|host| {
        let version = or_dash(host.version);
        [host.id.to_string(), host.state.to_string(), or_dash(host.cpus), or_dash(host.memory), version]
    });
    table(["HOST", "STATE", "CPUS", "MEMORY", "VERSION"], rows);
    Ok(())
}

async fn guests(hv: &Arc<dyn Hypervisor>) -> Result<()> {
    let rows = listed(hv.vms().all(&VmQuery::all()).await?).map(|vm| {
        let [id, state] = [vm.id.to_string(), vm.state.to_string()];
        [id, vm.name, state, or_dash(vm.host), or_dash(vm.cpus), or_dash(vm.memory)]
    });
    table(["GUEST", "NAME", "STATE", "HOST", "CPUS", "MEMORY"], rows);
    Ok(())
}

async fn pools(hv: &Arc<dyn Hypervisor>) -> Result<()> {
    let rows = listed(hv.pools().all(&PoolQuery::all()).await?).map(|pool| {
        let active = if pool.active { "active" } else { "inactive" };
        let [capacity, available] = [pool.capacity, pool.available].map(or_dash);
        [pool.id.to_string(), pool.kind.to_string(), active.to_owned(), capacity, available]
    });
    table(["POOL", "KIND", "STATE", "CAPACITY", "FREE"], rows);
    Ok(())
}

/// The items, after a word about the hosts that could not be asked.
fn listed<T>(listing: Listing<T>) -> impl Iterator<Item = T> {
    for away in &listing.unreachable {
        eprintln!("host {} cannot be reached, what is on it is missing: {}", away.host, away.reason);
    }
    listing.into_iter()
}

/// Columns as wide as their widest cell.
fn table<const N: usize>(head: [&str; N], rows: impl Iterator<Item = [String; N]>) {
    let rows: Vec<[String; N]> = rows.collect();
    let lines = || std::iter::once(head).chain(rows.iter().map(|row| row.each_ref().map(String::as_str)));
    let mut widths = [0; N];
    for line in lines() {
        for (width, cell) in widths.iter_mut().zip(line) {
            *width = cell.chars().count().max(*width);
        }
    }
    for line in lines() {
        let cells: Vec<String> =
            line.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        println!("  {}", cells.join("  ").trim_end());
    }
    println!();
}

fn or_dash(value: Option<impl ToString>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}
