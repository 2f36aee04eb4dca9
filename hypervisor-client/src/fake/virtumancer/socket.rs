//! The WebSocket for events and loads, and the one that passes screens on.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::ws::{CloseFrame, Message, WebSocket};
use axum::extract::{State, WebSocketUpgrade};
use axum::http::HeaderMap;
use axum::response::Response;
use bytes::Bytes;
use serde_json::{Value, json};
use tokio::sync::broadcast::error::RecvError;
use tokio::time::{MissedTickBehavior, interval};

use super::Seen;
use super::answer::text;
use super::world::{Server, Whose};
use crate::dialect::virtumancer::Generation;

/// A longer frame of a client ends its connection.
const LONGEST: usize = 512;

pub(super) async fn open(
    State(server): State<Arc<Server>>,
    headers: HeaderMap,
    upgrade: WebSocketUpgrade,
) -> Response {
    let authorization = headers.get("authorization").and_then(|value| value.to_str().ok());
    let seen = Seen {
        method: "GET".to_owned(),
        path: "/ws".to_owned(),
        query: String::new(),
        body: String::new(),
        authorization: authorization.map(str::to_owned),
    };
    server.lock().requests.push(seen);
    if server.lock().refuse {
        return text(503, "not now");
    }
    upgrade.on_upgrade(move |socket| serve(server, socket))
}

async fn serve(server: Arc<Server>, mut socket: WebSocket) {
    let (client, mut cuts, mut frames) = {
        let mut world = server.lock();
        world.sockets += 1;
        world.opened += 1;
        (world.opened, server.cuts.subscribe(), server.frames.subscribe())
    };
    let mut pings = interval(server.ping_every);
    pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
    pings.reset();
    loop {
        tokio::select! {
            frame = frames.recv() => match frame {
                Ok(frame) => if socket.send(Message::Text(frame.into())).await.is_err() { break },
                // The real server cuts off who is too slow.
                Err(RecvError::Lagged(_) | RecvError::Closed) => break,
            },
            _ = cuts.changed() => break,
            _ = pings.tick() => if socket.send(Message::Ping(Bytes::new())).await.is_err() { break },
            message = socket.recv() => match message {
                Some(Ok(Message::Text(text))) if text.len() > LONGEST => {
                    let close = CloseFrame { code: 1009, reason: "".into() };
                    drop(socket.send(Message::Close(Some(close))).await);
                    break;
                }
                Some(Ok(Message::Text(text))) => hear(&server, client, text.as_str()),
                Some(Ok(Message::Pong(_))) => server.lock().pongs += 1,
                Some(Ok(Message::Close(_)) | Err(_)) | None => break,
                Some(Ok(_)) => {}
            },
        }
    }
    let mut world = server.lock();
    world.sockets -= 1;
    world.subscriptions.retain(|_, clients| {
        clients.remove(&client);
        !clients.is_empty()
    });
}

/// What is not understood is left out without a word, as the real server does.
fn hear(server: &Server, client: usize, text: &str) {
    let frame: Value = serde_json::from_str(text).unwrap_or_default();
    let mut world = server.lock();
    world.frames.push(text.to_owned());
    let current = world.generation == Generation::Current;
    let word = |place: &str| frame.pointer(place).and_then(Value::as_str);
    let Some(host) = word("/payload/hostId").map(str::to_owned) else { return };
    let vm = word("/payload/vmName").map(str::to_owned);
    match (word("/type").unwrap_or_default(), vm) {
        ("subscribe-vm-stats", Some(vm)) => {
            world.subscriptions.entry((host.clone(), Some(vm.clone()))).or_default().insert(client);
            if current && world.vm(&host, &vm).is_some() {
                drop(world);
                server.tell(&json!({"type": "vm-stats-warming", "payload": {"hostId": host, "vmName": vm}}));
                measure(server, &(host, Some(vm)));
            }
        }
        ("unsubscribe-vm-stats", Some(vm)) => unsubscribe(&mut world.subscriptions, client, (host, Some(vm))),
        ("subscribe-host-stats", _) if current => {
            world.subscriptions.entry((host.clone(), None)).or_default().insert(client);
            drop(world);
            server.tell(&json!({"type": "host-stats-warming", "payload": {"hostId": host}}));
            measure(server, &(host, None));
        }
        ("unsubscribe-host-stats", _) if current => {
            unsubscribe(&mut world.subscriptions, client, (host, None))
        }
        _ => {}
    }
}

fn unsubscribe(
    subscriptions: &mut std::collections::BTreeMap<Whose, std::collections::BTreeSet<usize>>,
    client: usize,
    whose: Whose,
) {
    if let Some(clients) = subscriptions.get_mut(&whose) {
        clients.remove(&client);
        if clients.is_empty() {
            subscriptions.remove(&whose);
        }
    }
}

/// Sends the loads that somebody has subscribed to, to everybody.
pub(super) async fn poll(server: Arc<Server>, every: Duration) {
    let mut ticks = interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks.reset();
    loop {
        ticks.tick().await;
        let wanted: Vec<Whose> = server.lock().subscriptions.keys().cloned().collect();
        for whose in wanted {
            measure(&server, &whose);
        }
    }
}

fn measure(server: &Server, whose: &Whose) {
    let (host, vm) = whose;
    let Some(vm) = vm else {
        let stats = json!({"cpu_utilization": 0.7, "memory_used": 4_000_000_000_u64});
        server.tell(&json!({"type": "host-stats-updated", "payload": {"hostId": host, "stats": stats}}));
        return;
    };
    let mut world = server.lock();
    let generation = world.generation;
    let current = generation == Generation::Current;
    let load = world.vm(host, vm).map(|vm| {
        let kept = if current { vm.state == 1 } else { matches!(vm.state, 1..=4) };
        (vm.load(generation, true), matches!(vm.state, 1..=4), kept)
    });
    let (load, runs, kept) = load.unwrap_or_else(|| {
        let ghost = json!({"state": 5, "memory": 0, "max_mem": 0, "vcpu": 0, "cpu_time": 0, "disk_stats": null, "net_stats": null});
        (ghost, false, false)
    });
    if !kept {
        // The subscription is dropped without a word, that of a paused guest too; an early server sends one last frame.
        world.subscriptions.remove(whose);
    }
    drop(world);
    if runs || !current {
        let payload = json!({"hostId": host, "stats": load, "vmName": vm});
        server.tell(&json!({"type": "vm-stats-updated", "payload": payload}));
    }
}

/// The server opens every such WebSocket, and cuts those behind which there is no screen.
pub(super) fn console(
    upgrade: WebSocketUpgrade,
    server: &Server,
    host: &str,
    vm: &str,
    kind: &str,
) -> Response {
    let screen = {
        let mut world = server.lock();
        let reached = world.host(host).is_some_and(|host| host.connected && host.uri.contains('@'));
        reached && kind == "console" && world.vm(host, vm).is_some_and(|vm| matches!(vm.state, 1..=4))
    };
    upgrade.protocols(["binary"]).on_upgrade(move |mut socket| async move {
        if screen && socket.send(Message::Binary(Bytes::from_static(b"RFB 003.008\n"))).await.is_ok() {
            while let Some(Ok(_)) = socket.recv().await {}
        }
    })
}
