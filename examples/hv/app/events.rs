//! What happens, a line each.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use hypervisor::Hypervisor;
use hypervisor::model::{Event, EventKind, EventQuery};

use super::Ui;
use super::cli::Events;
use super::exit::{self, Stop};
use super::guests::find;
use super::table::Look;
use super::text::{plain, utc};

/// How long is listened where nothing is said about it.
const A_WHILE: Duration = Duration::from_secs(10);

pub(crate) async fn run(hv: &Arc<dyn Hypervisor>, ui: &mut Ui, args: &Events) -> Result<u8, Stop> {
    let mut query = EventQuery::all();
    if let Some(vm) = &args.vm {
        query.vm = Some(find(hv, vm).await?.id().clone());
    }
    let mut events = if args.follow {
        let mut events = hv.follow_events(&query).await?;
        // That it begins.
        events.next().await.transpose()?;
        events
    } else {
        hv.events(&query).await?
    };
    if ui.err_terminal {
        ui.note(format!("listening to {}; Ctrl-C ends it", hv.info().endpoint));
    }
    let time = args.time.unwrap_or(A_WHILE);
    let over = async {
        if args.follow {
            std::future::pending::<()>().await;
        }
        tokio::time::sleep(time).await;
    };
    tokio::pin!(over);
    let mut left = args.count.unwrap_or(u64::MAX);
    while left > 0 && !ui.broken {
        let event = tokio::select! {
            event = events.next() => event,
            () = &mut over => break,
        };
        let Some(event) = event.transpose()? else { break };
        if ui.json {
            ui.value_line(&event)
        } else {
            ui.line(line(ui, &event))
        }
        left -= 1;
    }
    Ok(exit::OK)
}

fn line(ui: &Ui, event: &Event) -> String {
    let (what, about) = match &event.kind {
        EventKind::VmCreated(vm) => ("created", format!("vm {vm}")),
        EventKind::VmUpdated(vm) => ("updated", format!("vm {vm}")),
        EventKind::VmDeleted(vm) => ("deleted", format!("vm {vm}")),
        EventKind::VmStateChanged { vm, state } => ("state", format!("vm {vm} is {state}")),
        EventKind::VmMigrated { vm, host } => ("moved", format!("vm {vm} is on {host}")),
        EventKind::SnapshotsChanged { vm, snapshot: Some(name) } => ("snapshot", format!("vm {vm}: {name}")),
        EventKind::SnapshotsChanged { vm, .. } => ("snapshot", format!("vm {vm}")),
        EventKind::TaskChanged { task, state } => ("task", format!("{task} is {state}")),
        EventKind::VolumeChanged(volume) => ("volume", volume.to_string()),
        EventKind::PoolChanged(pool) => ("pool", pool.to_string()),
        EventKind::NetworkChanged(network) => ("network", network.to_string()),
        EventKind::HostChanged(host) => ("host", host.to_string()),
        EventKind::Resync { reason } => ("missed", format!("read again what matters: {reason}")),
        EventKind::Lagged { missed } => {
            ("missed", format!("read again what matters: {missed} events were too many"))
        }
        other => ("other", format!("{other:?}")),
    };
    let time = ui.paint(Look::Dim, &utc(event.time));
    format!("{time}  {}  {}", ui.paint(Look::Bold, &format!("{what:<8}")), plain(&about))
}
