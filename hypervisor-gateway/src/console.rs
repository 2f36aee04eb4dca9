//! A guest's screen and serial port.

use axum::extract::FromRequestParts as _;
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use bytes::{Bytes, BytesMut};
use futures::{SinkExt as _, StreamExt as _};
use hypervisor_core::model::{ConsoleAccess, ConsoleKind, ConsoleStream, VmId};
use hypervisor_core::{Error, ErrorKind};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::answer::{Answer, Reply};
use crate::call::Call;
use crate::problem::{Problem, Result};
use crate::seat::{Seat, say_goodbye};

const CHUNK: usize = 16 << 10;
const CONNECT: std::time::Duration = std::time::Duration::from_secs(10);

fn kind(call: &Call) -> ConsoleKind {
    // JSON by the agreement, so that the name comes in quotes.
    ConsoleKind::parse(call.text("kind").unwrap_or("vnc").trim_matches('"'))
}

async fn access(call: &Call) -> Result<(VmId, ConsoleAccess)> {
    let vm: VmId = call.id("vm_id")?;
    let access = call.hv().get_console(&vm, &kind(call)).await?;
    Ok((vm, access))
}

pub(crate) async fn get(call: Call) -> Reply {
    let (_, access) = access(&call).await?;
    let path = call.parts.uri.path();
    // A screen that is nowhere to be reached is nothing to relay.
    let relayed = access.port.is_some() || access.url.is_some() || access.kind == ConsoleKind::Serial;
    let stream = relayed.then(|| format!("{path}/stream?kind={}", access.kind));
    Answer::ok(&json!({ "access": access, "console_url": stream }))
}

/// The bytes of a console in binary frames both ways: of a TCP socket which the gateway can reach, or as the backend carries them.
pub(crate) async fn stream(mut call: Call) -> Reply {
    let seat = Seat::take(&call)?;
    let (vm, access) = access(&call).await?;
    let upgrade = WebSocketUpgrade::from_request_parts(&mut call.parts, &()).await;
    let upgrade = upgrade.map_err(|_| Problem::bad_request("the console's stream is a WebSocket"))?;
    let console = match access.port {
        Some(port) => ConsoleStream::new(connected(access.address.as_deref(), port).await?),
        None => call.hv().stream_console(&vm, &access.kind).await?,
    };
    tracing::info!(vm = vm.as_str(), by = call.who.id, "a console was opened");
    Ok(Answer::Raw(upgrade.on_upgrade(move |web| relay(web, console, seat))))
}

async fn connected(address: Option<&str>, port: u16) -> Result<TcpStream> {
    let host = match address {
        None | Some("" | "0.0.0.0" | "::") => "127.0.0.1",
        Some(address) => address,
    };
    let unreachable = |why: &dyn std::fmt::Display| {
        Error::new(ErrorKind::Connect, format!("the console at {host}:{port} cannot be reached: {why}"))
    };
    let connected = tokio::time::timeout(CONNECT, TcpStream::connect((host, port))).await;
    Ok(connected.map_err(|_| unreachable(&"no answer in time"))?.map_err(|error| unreachable(&error))?)
}

async fn relay(mut web: WebSocket, console: ConsoleStream, mut seat: Seat) {
    // Neither a guest nor a caller that does not read keeps it open.
    let over = tokio::select! {
        () = carry(&mut web, console) => None,
        over = seat.ended() => Some(over),
    };
    if let Some(over) = over {
        say_goodbye(&mut web, over).await;
    }
}

/// Both ways at once: a guest that reads nothing more may be waiting for what it has said to be read.
async fn carry(web: &mut WebSocket, console: ConsoleStream) {
    let (mut read, mut write) = tokio::io::split(console);
    let (mut told, mut said) = web.split();
    let from_guest = async {
        let mut buffer = BytesMut::with_capacity(CHUNK);
        loop {
            buffer.reserve(CHUNK);
            match read.read_buf(&mut buffer).await {
                Ok(0) | Err(_) => {
                    let _ = told.send(Message::Close(None)).await;
                    return;
                }
                Ok(_) => {
                    if told.send(Message::Binary(buffer.split().freeze())).await.is_err() {
                        return;
                    }
                }
            }
        }
    };
    let to_guest = async {
        loop {
            let bytes = match said.next().await {
                Some(Ok(Message::Binary(bytes))) => bytes,
                Some(Ok(Message::Text(text))) => Bytes::from(text),
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => continue,
                _ => return,
            };
            if write.write_all(&bytes).await.is_err() || write.flush().await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        () = from_guest => {}
        () = to_guest => {}
    }
}

pub(crate) async fn screenshot(call: Call) -> Reply {
    let picture = call.hv().screenshot_vm(&call.id("vm_id")?).await?;
    Answer::bytes(&picture.media_type, picture.data)
}
