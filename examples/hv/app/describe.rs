//! One guest with all that belongs to it.

use std::sync::Arc;

use hypervisor::model::{NicSource, VmConfig};
use hypervisor::{Hypervisor, Operation, VmInfo};
use serde_json::json;

use super::Ui;
use super::cli::Show;
use super::exit::{self, Stop};
use super::guests::find;
use super::lists::state_cell;
use super::table::{Cell, Look, Table};
use super::text::{or_dash, plain, span};

pub(crate) async fn show(hv: &Arc<dyn Hypervisor>, ui: &mut Ui, args: &Show) -> Result<u8, Stop> {
    let vm = find(hv, &args.vm).await?;
    let info = vm.info().await?;
    let able = |operation| hv.capabilities().has(operation);
    let mut config = if able(Operation::GetVmConfig) { Some(vm.config().await?) } else { None };
    // Sources that do not answer are no reason to show nothing.
    let asks = able(Operation::ListAddresses) && info.state.is_active();
    let addresses = if asks { vm.addresses().await.unwrap_or_default() } else { Vec::new() };
    if ui.json {
        if let Some(config) = config.as_mut().filter(|_| !args.full) {
            config.native = None;
            config.spec.cloud_init = None;
        }
        ui.value(&json!({ "info": info, "config": config, "addresses": addresses }));
        return Ok(exit::OK);
    }
    facts(ui, &info);
    if let Some(config) = &config {
        devices(ui, config);
    }
    if !addresses.is_empty() {
        ui.line("");
        let mut table = Table::new(["ADDRESS", "SOURCE", "INTERFACE"]);
        for each in &addresses {
            table.row([
                each.address.to_string().into(),
                each.source.to_string().into(),
                or_dash(each.interface.as_ref()).into(),
            ]);
        }
        ui.table(&table);
    }
    Ok(exit::OK)
}

fn facts(ui: &mut Ui, info: &VmInfo) {
    let tags = info.tags.iter().cloned().collect::<Vec<_>>().join(", ");
    let mut table = Table::new(["", ""]);
    let mut fact = |name: &'static str, value: Cell| table.row([Cell::new(name, Look::Dim), value]);
    fact("name", Cell::new(&info.name, Look::Bold));
    fact("id", info.id.as_str().into());
    fact("uid", or_dash(info.uid.as_ref()).into());
    fact("state", state_cell(&info.state));
    fact("host", or_dash(info.host.as_ref()).into());
    fact("cpus", or_dash(info.cpus).into());
    fact("memory", or_dash(info.memory).into());
    fact("uptime", or_dash(info.uptime.map(span)).into());
    fact("locked", or_dash(info.lock.as_ref()).into());
    fact("tags", or_dash(Some(tags).filter(|tags| !tags.is_empty())).into());
    fact("description", or_dash(info.description.as_ref()).into());
    // There is nothing to head.
    ui.rows(&table);
}

fn devices(ui: &mut Ui, config: &VmConfig) {
    ui.line("");
    let mut table = Table::new(["DISK", "BUS", ">SIZE", "FORMAT", "VOLUME"]);
    for disk in &config.disks {
        let format = or_dash(disk.format.as_ref());
        let volume = disk.volume.as_ref().map(ToString::to_string).or_else(|| disk.path.clone());
        let cells =
            [disk.id.to_string(), disk.bus.to_string(), or_dash(disk.capacity), format, or_dash(volume)];
        table.row(cells.map(Cell::from));
    }
    ui.table(&table);
    ui.line("");
    let mut table = Table::new(["NIC", "MODEL", "IN", "MAC"]);
    for nic in &config.nics {
        let source = match &nic.source {
            NicSource::Network(network) => format!("network {network}"),
            NicSource::Bridge(bridge) => format!("bridge {bridge}"),
            NicSource::User => "the host's own network".to_owned(),
            NicSource::Direct(card) => format!("card {}", plain(card)),
            NicSource::Other(kind) => plain(kind).to_string(),
            _ => "nothing".to_owned(),
        };
        table.row([nic.id.to_string(), nic.model.to_string(), source, or_dash(nic.mac)].map(Cell::from));
    }
    ui.table(&table);
    for change in &config.pending {
        let [now, then] =
            [&change.current, &change.pending].map(|value| or_dash(value.as_deref().map(plain)));
        ui.line(format!("after the next power cycle: {} {now} -> {then}", plain(&change.field)));
    }
}
