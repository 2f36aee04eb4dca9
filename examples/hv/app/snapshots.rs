//! Snapshots of a guest.

use std::sync::Arc;

use hypervisor::model::{DeleteSnapshot, SnapshotInfo, SnapshotTree};
use hypervisor::{Hypervisor, RevertSnapshot, SnapshotSpec};

use super::Ui;
use super::cli::{Snapshot, SnapshotCommand as Command};
use super::exit::{self, Stop};
use super::guests::{find, report};
use super::progress::Waiter;
use super::table::{Cell, Look, Table};
use super::text::{or_dash, utc};

pub(crate) async fn run(
    hv: &Arc<dyn Hypervisor>,
    ui: &mut Ui,
    waiter: &Waiter,
    args: &Snapshot,
) -> Result<u8, Stop> {
    let (vm, name, past, task) = match &args.command {
        Command::List { vm } => return list(hv, ui, vm).await,
        Command::Create { vm, name, description, memory, disks_only, quiesce } => {
            let mut spec = SnapshotSpec::new(name).quiesce(*quiesce);
            spec.description.clone_from(description);
            spec.memory = memory.then_some(true).or(disks_only.then_some(false));
            let snapshots = find(hv, vm).await?.snapshots();
            let task = waiter.call(name, snapshots.create(&spec)).await?;
            (vm, name, "taken", task.map(|_| ()))
        }
        Command::Revert { vm, name, start } => {
            let options = RevertSnapshot::new().start(*start);
            let snapshots = find(hv, vm).await?.snapshots();
            let task = waiter.call(name, snapshots.revert(name.as_str(), &options)).await?;
            (vm, name, "reverted to", task)
        }
        Command::Delete { vm, name, children } => {
            let options = if *children { DeleteSnapshot::with_children() } else { DeleteSnapshot::only() };
            let snapshots = find(hv, vm).await?.snapshots();
            let task = waiter.call(name, snapshots.delete(name.as_str(), &options)).await?;
            (vm, name, "deleted", task)
        }
    };
    let done = waiter.finish(&format!("snapshot {name} of {vm}"), task).await?;
    Ok(report(ui, done, past, &format!("snapshot {name} of {vm}"), |()| None))
}

async fn list(hv: &Arc<dyn Hypervisor>, ui: &mut Ui, vm: &str) -> Result<u8, Stop> {
    let tree = find(hv, vm).await?.snapshots().list().await?;
    if ui.json {
        ui.value(&tree);
        return Ok(exit::OK);
    }
    let mut table = Table::new(["SNAPSHOT", "TAKEN (UTC)", "STATE", "MEMORY", "DESCRIPTION"]);
    let mut left: Vec<(usize, &SnapshotInfo)> = tree.roots().map(|root| (0, root)).collect();
    left.reverse();
    while let Some((depth, snapshot)) = left.pop() {
        table.row(row(depth, snapshot));
        left.extend(children(&tree, snapshot).into_iter().rev().map(|child| (depth + 1, child)));
    }
    ui.table(&table);
    Ok(exit::OK)
}

fn children<'a>(tree: &'a SnapshotTree, of: &'a SnapshotInfo) -> Vec<&'a SnapshotInfo> {
    tree.children(&of.id).collect()
}

fn row(depth: usize, snapshot: &SnapshotInfo) -> [Cell; 5] {
    let here = if snapshot.current { " *" } else { "" };
    let name = format!("{}{}{here}", "  ".repeat(depth), snapshot.id);
    [
        Cell::new(name, if snapshot.current { Look::Bold } else { Look::Plain }),
        or_dash(snapshot.created.map(utc)).into(),
        or_dash(snapshot.state.as_ref()).into(),
        (if snapshot.memory { "yes" } else { "no" }).into(),
        snapshot.description.as_deref().unwrap_or_default().into(),
    ]
}
