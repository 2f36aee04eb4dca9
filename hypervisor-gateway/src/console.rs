//! A guest's screen and serial port.

use axum::extract::FromRequestParts as _;
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use bytes::{Bytes, BytesMut};
use hypervisor_core::model::{ConsoleAccess, ConsoleKind, VmId};
use hypervisor_core::{Error, ErrorKind, Operation};
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
    let stream = access.port.map(|_| format!("{path}/stream?kind={}", access.kind));
    Answer::ok(&json!({ "access": access, "console_url": stream }))
}

/// The bytes of a console that is a TCP socket which the gateway can reach, in binary frames both ways.
pub(crate) async fn stream(mut call: Call) -> Reply {
    let seat = Seat::take(&call)?;
    let (vm, access) = access(&call).await?;
    let Some(port) = access.port else {
        let why = "this console is a device of the hypervisor's host and no TCP socket, so that the gateway cannot relay it";
        let error = Error::unsupported(Operation::GetConsole, why);
        return Err(error.with_target(VmId::NOUN, vm).into());
    };
    let upgrade = WebSocketUpgrade::from_request_parts(&mut call.parts, &()).await;
    let upgrade = upgrade.map_err(|_| Problem::bad_request("the console's stream is a WebSocket"))?;
    let host = match access.address.as_deref() {
        None | Some("" | "0.0.0.0" | "::") => "127.0.0.1",
        Some(address) => address,
    };
    let unreachable = |why: &dyn std::fmt::Display| {
        Error::new(ErrorKind::Connect, format!("the console at {host}:{port} cannot be reached: {why}"))
    };
    let connected = tokio::time::timeout(CONNECT, TcpStream::connect((host, port))).await;
    let socket =
        connected.map_err(|_| unreachable(&"no answer in time"))?.map_err(|error| unreachable(&error))?;
    tracing::info!(vm = vm.as_str(), by = call.who.id, "a console was opened");
    Ok(Answer::Raw(upgrade.on_upgrade(move |web| relay(web, socket, seat))))
}

async fn relay(mut web: WebSocket, socket: TcpStream, mut seat: Seat) {
    let (mut read, mut write) = socket.into_split();
    let mut buffer = BytesMut::with_capacity(CHUNK);
    loop {
        buffer.reserve(CHUNK);
        tokio::select! {
            got = read.read_buf(&mut buffer) => match got {
                Ok(0) | Err(_) => {
                    let _ = web.send(Message::Close(None)).await;
                    break;
                }
                Ok(_) => if web.send(Message::Binary(buffer.split().freeze())).await.is_err() { break },
            },
            said = web.recv() => {
                let bytes = match said {
                    Some(Ok(Message::Binary(bytes))) => bytes,
                    Some(Ok(Message::Text(text))) => Bytes::from(text),
                    Some(Ok(Message::Ping(_) | Message::Pong(_))) => continue,
                    _ => break,
                };
                if write.write_all(&bytes).await.is_err() { break }
            }
            over = seat.ended() => {
                say_goodbye(&mut web, over).await;
                break;
            }
        }
    }
}

pub(crate) async fn screenshot(call: Call) -> Reply {
    let picture = call.hv().screenshot_vm(&call.id("vm_id")?).await?;
    Answer::bytes(&picture.media_type, picture.data)
}
