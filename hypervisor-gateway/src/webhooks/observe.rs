//! Finding out what webhooks are to be told of guests. One gateway of those that share a database does it. What was told is kept, so that
//! nothing is missed while no gateway runs: the next one compares.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use hypervisor_core::Operation;
use hypervisor_core::model::{Event, EventKind, EventQuery, HostState, VmInfo, VmQuery, VmState};
use serde_json::json;

use crate::gateway::App;
use crate::paging;
use crate::store::{Outgoing, SeenRow};
use crate::view::vm_status;

/// Notes the guests that there are before the first webhook is made.
pub(super) async fn baseline(app: &Arc<App>) {
    if matches!(app.store.seen().await, Ok(None))
        && let Err(error) = compare(app).await
    {
        tracing::warn!(%error, "the guests cannot be noted for the webhooks");
    }
}

/// Observes the backend while there are webhooks and this gateway is the one to do it.
pub(crate) async fn observe(app: Arc<App>) {
    let every = app.config.observe_every;
    loop {
        let wanted = app.store.webhooks().await.is_ok_and(|all| all.iter().any(|webhook| webhook.active));
        if wanted && app.store.hold("observer", app.config.lease).await.unwrap_or(false) {
            follow(&app).await;
        }
        let pause = every.min(app.config.lease / 3);
        let _ = tokio::time::timeout(pause, app.observe.notified()).await;
    }
}

/// Follows the backend's events as long as this gateway keeps the lease.
async fn follow(app: &Arc<App>) {
    let events = if app.hv.capabilities().has(Operation::Watch) {
        match app.hv.watch(&EventQuery::all()).await {
            Ok(events) => Some(events),
            Err(error) => {
                tracing::warn!(%error, "the backend's events cannot be followed");
                None
            }
        }
    } else {
        None
    };
    // After the stream has begun, so that nothing falls between the two.
    if let Err(error) = compare(app).await {
        tracing::warn!(%error, "the guests cannot be compared");
    }
    let Some(mut events) = events else { return };
    let mut lease = tokio::time::interval(app.config.lease / 3);
    loop {
        let looked = tokio::select! {
            _ = lease.tick() => {
                let wanted = app.store.webhooks().await.is_ok_and(|all| all.iter().any(|webhook| webhook.active));
                if !wanted || !app.store.hold("observer", app.config.lease).await.unwrap_or(false) {
                    return;
                }
                Ok(())
            }
            event = events.next() => match event {
                Some(Ok(event)) => told(app, &event).await,
                Some(Err(error)) => {
                    tracing::warn!(%error, "the backend's events have ended");
                    tokio::time::sleep(Duration::from_millis(500)).await;
                    return;
                }
                None => return,
            },
        };
        if let Err(error) = looked {
            tracing::warn!(%error, "an event cannot be told to the webhooks");
        }
    }
}

async fn told(app: &Arc<App>, event: &Event) -> Result<(), String> {
    match &event.kind {
        EventKind::HostChanged(host) => {
            let Ok(found) = app.hv.get_host(host).await else { return Ok(()) };
            if found.state != HostState::Offline {
                return Ok(());
            }
            let data = json!({ "alert": { "severity": "critical", "host": host, "message": "the host is offline" } });
            let event = Outgoing { event: "system.alert", data: data.to_string() };
            app.store.send(&[event]).await.map_err(|error| error.to_string())?;
            app.deliver.notify_one();
            Ok(())
        }
        // The state that the event tells may be gone by now; the webhooks are told of each one all the same.
        EventKind::VmStateChanged { vm, state } => {
            let info = app.hv.get_vm(vm).await;
            let Ok(mut info) = info else { return Ok(()) };
            info.state = state.clone();
            one(app, &info).await
        }
        EventKind::VmCreated(vm) | EventKind::VmUpdated(vm) => match app.hv.get_vm(vm).await {
            Ok(info) => one(app, &info).await,
            Err(_) => Ok(()),
        },
        EventKind::VmDeleted(vm) => {
            let seen = app.store.seen_of(vm.as_str()).await.map_err(|error| error.to_string())?;
            note(app, Vec::new(), seen.into_iter().collect(), Vec::new()).await
        }
        EventKind::Resync { .. } | EventKind::Lagged { .. } => compare(app).await,
        _ => Ok(()),
    }
}

fn row(vm: &VmInfo) -> SeenRow {
    SeenRow { vm: vm.id.to_string(), name: vm.name.clone(), state: vm_status(&vm.state).to_owned() }
}

/// What is told of a guest that was last told of as `before`.
fn difference(before: Option<&SeenRow>, vm: &VmInfo) -> Option<Outgoing> {
    let now = row(vm);
    // It is created once it is there.
    let unfinished = |state: &str| state == vm_status(&VmState::Provisioning);
    let told = json!({ "id": now.vm, "name": now.name, "status": now.state });
    match before {
        _ if unfinished(&now.state) => None,
        None => Some(Outgoing { event: "vm.created", data: json!({ "vm": told }).to_string() }),
        Some(before) if unfinished(&before.state) => {
            Some(Outgoing { event: "vm.created", data: json!({ "vm": told }).to_string() })
        }
        Some(before) if before.state != now.state => {
            let data = json!({ "vm": told, "previous_status": before.state }).to_string();
            Some(Outgoing { event: "vm.status_changed", data })
        }
        Some(_) => None,
    }
}

async fn one(app: &Arc<App>, vm: &VmInfo) -> Result<(), String> {
    let before = app.store.seen_of(vm.id.as_str()).await.map_err(|error| error.to_string())?;
    let events = difference(before.as_ref(), vm).into_iter().collect();
    note(app, vec![row(vm)], Vec::new(), events).await
}

async fn note(
    app: &Arc<App>,
    put: Vec<SeenRow>,
    gone: Vec<SeenRow>,
    mut events: Vec<Outgoing>,
) -> Result<(), String> {
    for row in &gone {
        let told = json!({ "id": row.vm, "name": row.name, "status": "deleted" });
        events.push(Outgoing { event: "vm.deleted", data: json!({ "vm": told }).to_string() });
    }
    let gone: Vec<String> = gone.into_iter().map(|row| row.vm).collect();
    app.store.note_seen(&put, &gone, &events).await.map_err(|error| error.to_string())?;
    if !events.is_empty() {
        app.deliver.notify_one();
    }
    Ok(())
}

/// Compares all guests with what was told of them. The first time nothing is told.
async fn compare(app: &Arc<App>) -> Result<(), String> {
    let seen = app.store.seen().await.map_err(|error| error.to_string())?;
    let (query, hv) = (&VmQuery::all(), &app.hv);
    let listed = paging::every(|page| async move { hv.list_vms(query, &page).await }).await;
    let (vms, unreachable) = listed.map_err(|error| error.to_string())?;
    let first = seen.is_none();
    let mut before: BTreeMap<String, SeenRow> =
        seen.unwrap_or_default().into_iter().map(|row| (row.vm.clone(), row)).collect();
    let (mut put, mut events) = (Vec::new(), Vec::new());
    for vm in &vms {
        let known = before.remove(vm.id.as_str());
        let now = row(vm);
        if known.as_ref() == Some(&now) {
            continue;
        }
        if !first {
            events.extend(difference(known.as_ref(), vm));
        }
        put.push(now);
    }
    // The guests of a host that cannot be asked are not gone.
    let gone = if unreachable.is_empty() { before.into_values().collect() } else { Vec::new() };
    note(app, put, gone, events).await
}
