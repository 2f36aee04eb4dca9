//! The changes as they happen: as a WebSocket or as server-sent events, with a bounded queue for each subscriber.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use axum::extract::FromRequestParts as _;
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::response::IntoResponse as _;
use axum::response::sse::{self, Sse};
use futures::{StreamExt as _, stream};
use hypervisor_core::Error;
use hypervisor_core::model::{Event, EventKind, EventQuery, EventStream};
use serde_json::json;
use tokio::sync::{mpsc, watch};

use crate::answer::{Answer, Reply};
use crate::call::Call;
use crate::gateway::{App, ended};
use crate::jobs::{public, rename};
use crate::problem::Problem;
use crate::seat::{Over, Seat, say_goodbye};

/// A subscriber that answers no ping within this time is gone.
const PING_EVERY: Duration = Duration::from_secs(30);

/// Nor is one kept that takes nothing for so long: its place is another's.
const STUCK_AFTER: Duration = Duration::from_secs(60);

fn event_text(app: &App, mut event: Event) -> String {
    if let EventKind::TaskChanged { task, .. } = &mut event.kind {
        *task = public(app, task);
    }
    json!({ "event": event }).to_string()
}

fn error_text(app: &App, error: Error) -> String {
    json!({ "error": rename(app, error) }).to_string()
}

fn lagged(missed: u64) -> String {
    json!({ "event": Event::new(SystemTime::now(), EventKind::Lagged { missed }) }).to_string()
}

/// Reads the backend's stream as fast as it comes. A subscriber that does not keep up loses events and is told so; nobody waits for it.
fn pump(
    app: Arc<App>,
    mut events: EventStream,
    mut invalid: watch::Receiver<bool>,
) -> mpsc::Receiver<String> {
    let (queue, subscriber) = mpsc::channel(app.config.watch_buffer);
    let mut ending = app.ending.clone();
    tokio::spawn(async move {
        let mut missed = 0_u64;
        loop {
            tokio::select! {
                permit = queue.reserve(), if missed > 0 => match permit {
                    Ok(permit) => {
                        permit.send(lagged(missed));
                        missed = 0;
                    }
                    Err(_) => return,
                },
                event = events.next() => match event {
                    Some(Ok(event)) => {
                        // What comes after a gap must not be told before it.
                        match queue.try_reserve() {
                            Ok(place) if missed == 0 => place.send(event_text(&app, event)),
                            _ => {
                                missed += 1;
                                app.counters.lagged.fetch_add(1, Ordering::Relaxed);
                            }
                        }
                    }
                    Some(Err(error)) => {
                        let _ = queue.send(error_text(&app, error)).await;
                        return;
                    }
                    None => return,
                },
                () = queue.closed() => return,
                () = ended(&mut ending) => return,
                () = ended(&mut invalid) => return,
            }
        }
    });
    subscriber
}

pub(crate) async fn watch(mut call: Call) -> Reply {
    let query: EventQuery = call.json_query("query")?.unwrap_or_default();
    let seat = Seat::take(&call)?;
    let server_sent = call.accepts("text/event-stream");
    let upgrade = if server_sent {
        None
    } else {
        let upgrade = WebSocketUpgrade::from_request_parts(&mut call.parts, &()).await;
        Some(upgrade.map_err(|_| {
            Problem::bad_request("watch is a WebSocket, or server-sent events with Accept: text/event-stream")
        })?)
    };
    // Before the answer, so that nothing that happens after it is missed.
    let events = call.hv().watch(&query).await?;
    let queue = pump(Arc::clone(&call.app), events, seat.invalid());
    let response = match upgrade {
        Some(upgrade) => upgrade.on_upgrade(move |socket| to_socket(socket, queue, seat)),
        None => {
            let events = stream::unfold(Some((queue, seat)), |open| async move {
                let (mut queue, seat) = open?;
                match queue.recv().await {
                    Some(text) => {
                        Some((Ok::<_, Infallible>(sse::Event::default().data(text)), Some((queue, seat))))
                    }
                    None => seat.over().map(|over| (Ok(goodbye(over)), None)),
                }
            });
            Sse::new(events).keep_alive(sse::KeepAlive::new()).into_response()
        }
    };
    Ok(Answer::Raw(response))
}

/// The last event of a stream that is cut short. It has a name, so that no reader takes it for a change.
fn goodbye(over: Over) -> sse::Event {
    sse::Event::default().event("shutdown").data(json!({ "reason": over.reason() }).to_string())
}

/// Whether the subscriber took it in time.
async fn taken(socket: &mut WebSocket, message: Message) -> bool {
    matches!(tokio::time::timeout(STUCK_AFTER, socket.send(message)).await, Ok(Ok(())))
}

async fn to_socket(mut socket: WebSocket, mut queue: mpsc::Receiver<String>, seat: Seat) {
    let mut ping = tokio::time::interval_at(tokio::time::Instant::now() + PING_EVERY, PING_EVERY);
    let mut answered = true;
    loop {
        tokio::select! {
            text = queue.recv() => match text {
                Some(text) => if !taken(&mut socket, Message::Text(text.into())).await { break },
                None => {
                    match seat.over() {
                        Some(over) => say_goodbye(&mut socket, over).await,
                        None => {
                            let _ = taken(&mut socket, Message::Close(None)).await;
                        }
                    }
                    break;
                }
            },
            said = socket.recv() => match said {
                None | Some(Err(_) | Ok(Message::Close(_))) => break,
                Some(Ok(_)) => answered = true,
            },
            _ = ping.tick() => {
                if !answered || !taken(&mut socket, Message::Ping(bytes::Bytes::new())).await { break }
                answered = false;
            }
        }
    }
    drop(seat);
}
