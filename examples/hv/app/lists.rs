//! Lists of everything.

use std::sync::Arc;

use hypervisor::model::{HostState, PoolQuery, Support};
use hypervisor::{Hypervisor, VmQuery, VmState};
use serde_json::{Map, Value};

use super::Ui;
use super::cli::{Capabilities, List, Volumes};
use super::exit::{self, Stop};
use super::table::{Cell, Look, Table};
use super::text::{NOTHING, or_dash, span};

pub(crate) fn state_cell(state: &VmState) -> Cell {
    let look = match state {
        VmState::Running => Look::Good,
        VmState::Stopped | VmState::Hibernated => Look::Dim,
        VmState::Crashed | VmState::Unreachable => Look::Bad,
        _ => Look::Warn,
    };
    Cell::new(state.as_str(), look)
}

fn up(active: bool) -> Cell {
    if active { Cell::new("up", Look::Good) } else { Cell::new("down", Look::Dim) }
}

pub(crate) async fn vms(hv: &Arc<dyn Hypervisor>, ui: &mut Ui, args: &List) -> Result<u8, Stop> {
    let mut query = VmQuery::all();
    query.state.clone_from(&args.state);
    query.host = args.host.as_deref().map(Into::into);
    query.tag.clone_from(&args.tag);
    query.template = args.templates.then_some(true);
    let mut listing = hv.vms().all(&query).await?;
    listing.items.sort_by(|a, b| (&a.name, &a.id).cmp(&(&b.name, &b.id)));
    Ok(ui.list(&listing, |vms| {
        let mut table = Table::new(["NAME", "ID", "STATE", "HOST", ">CPUS", ">MEMORY", ">UPTIME", "TAGS"]);
        for vm in vms {
            let tags = vm.tags.iter().cloned().collect::<Vec<_>>().join(",");
            let state = match &vm.lock {
                Some(lock) => Cell::new(format!("{} ({lock})", vm.state), Look::Warn),
                None if vm.template => Cell::new("template", Look::Dim),
                None => state_cell(&vm.state),
            };
            table.row([
                Cell::new(&vm.name, Look::Bold),
                vm.id.as_str().into(),
                state,
                or_dash(vm.host.as_ref()).into(),
                or_dash(vm.cpus).into(),
                or_dash(vm.memory).into(),
                or_dash(vm.uptime.map(span)).into(),
                tags.into(),
            ]);
        }
        table
    }))
}

pub(crate) async fn hosts(hv: &Arc<dyn Hypervisor>, ui: &mut Ui) -> Result<u8, Stop> {
    let listing = hv.hosts().all().await?;
    Ok(ui.list(&listing, |hosts| {
        let mut table = Table::new(["HOST", "STATE", ">CPUS", ">MEMORY", ">USED", ">UPTIME", "VERSION"]);
        for host in hosts {
            let look = if host.state == HostState::Online { Look::Good } else { Look::Bad };
            table.row([
                Cell::new(host.id.as_str(), Look::Bold),
                Cell::new(host.state.as_str(), look),
                or_dash(host.cpus).into(),
                or_dash(host.memory).into(),
                or_dash(host.memory_used).into(),
                or_dash(host.uptime.map(span)).into(),
                or_dash(host.version.as_ref()).into(),
            ]);
        }
        table
    }))
}

pub(crate) async fn pools(hv: &Arc<dyn Hypervisor>, ui: &mut Ui) -> Result<u8, Stop> {
    let listing = hv.pools().all(&PoolQuery::all()).await?;
    Ok(ui.list(&listing, |pools| {
        let mut table = Table::new(["POOL", "KIND", "STATE", ">CAPACITY", ">FREE", "CONTENT"]);
        for pool in pools {
            let content = pool.content.iter().cloned().collect::<Vec<_>>().join(",");
            table.row([
                Cell::new(pool.id.as_str(), Look::Bold),
                pool.kind.as_str().into(),
                up(pool.active),
                or_dash(pool.capacity).into(),
                or_dash(pool.available).into(),
                content.into(),
            ]);
        }
        table
    }))
}

pub(crate) async fn volumes(hv: &Arc<dyn Hypervisor>, ui: &mut Ui, args: &Volumes) -> Result<u8, Stop> {
    let listing = match &args.pool {
        Some(pool) => hv.pool(pool.as_str()).volumes().await?,
        None => hv.volumes().all().await?,
    };
    Ok(ui.list(&listing, |volumes| {
        let mut table = Table::new(["VOLUME", ">SIZE", ">TAKES", "FORMAT", "VM"]);
        for volume in volumes {
            table.row([
                Cell::new(volume.id.as_str(), Look::Bold),
                volume.capacity.to_string().into(),
                or_dash(volume.allocation).into(),
                or_dash(volume.format.as_ref()).into(),
                or_dash(volume.vm.as_ref()).into(),
            ]);
        }
        table
    }))
}

pub(crate) async fn networks(hv: &Arc<dyn Hypervisor>, ui: &mut Ui) -> Result<u8, Stop> {
    let listing = hv.networks().all().await?;
    Ok(ui.list(&listing, |networks| {
        let mut table = Table::new(["NETWORK", "KIND", "STATE", "BRIDGE", "ADDRESS", ">VLAN", "HOST"]);
        for network in networks {
            table.row([
                Cell::new(&network.name, Look::Bold),
                network.kind.as_str().into(),
                up(network.active),
                or_dash(network.bridge.as_ref()).into(),
                or_dash(network.cidr).into(),
                or_dash(network.vlan).into(),
                or_dash(network.host.as_ref()).into(),
            ]);
        }
        table
    }))
}

pub(crate) fn capabilities(hv: &Arc<dyn Hypervisor>, ui: &mut Ui, args: &Capabilities) -> u8 {
    let all = hv.capabilities().iter().filter(|(_, support)| !(args.missing && support.is_supported()));
    if ui.json {
        let pairs = all.map(|(capability, support)| {
            (capability.as_str().to_owned(), serde_json::to_value(support).unwrap_or_default())
        });
        ui.value(&Value::Object(pairs.collect::<Map<_, _>>()));
        return exit::OK;
    }
    let mut table = Table::new(["CAPABILITY", "HERE", "WHY, OR AT WHAT COST"]);
    for (capability, support) in all {
        let (here, why) = match &support {
            Support::Native => (Cell::new("yes", Look::Good), ""),
            Support::Emulated(cost) => (Cell::new("built", Look::Warn), cost.as_str()),
            Support::Unsupported(reason) => (Cell::new(NOTHING, Look::Dim), reason.as_str()),
            _ => (Cell::new("?", Look::Dim), ""),
        };
        table.row([Cell::from(capability.as_str()), here, why.into()]);
    }
    ui.table(&table);
    exit::OK
}
