//! Screens and terminals of guests.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use futures::{SinkExt as _, StreamExt as _};
use hypervisor_core::http::{Message, WebSocket};
use hypervisor_core::model::{ConsoleAccess, ConsoleKind, GuestKind, VmId};
use hypervisor_core::{Error, ErrorKind, Operation, Result};
use secrecy::SecretString;
use serde_json::Value;

use crate::api::Call;
use crate::backend::{Found, Inner, Proxmox};
use crate::compute::list;
use crate::error::named;
use crate::wire::form::Form;
use crate::wire::scalar::text_of;

const OPERATION: Operation = Operation::GetConsole;
/// How long the server waits for somebody to come to a port that it has opened.
const VALID: Duration = Duration::from_secs(10);

/// The most that one frame has: the server takes 128 KiB. Both ends read a stream, whatever the frames.
const FRAME: usize = 64 << 10;

/// A port that the server has opened.
struct Opened {
    found: Found,
    port: String,
    ticket: String,
    user: String,
    password: Option<String>,
}

fn query(opened: &Opened) -> Form {
    Form::new().text("port", opened.port.as_str()).text("vncticket", opened.ticket.as_str())
}

/// How to reach a console. The URL is a WebSocket that takes the credentials of this connection, within ten seconds.
pub(crate) async fn access(inner: &Inner, vm: &VmId, kind: &ConsoleKind) -> Result<ConsoleAccess> {
    if *kind == ConsoleKind::Spice {
        return spice(inner, vm).await;
    }
    let opened = open(inner, vm, kind).await?;
    let path = opened.found.path("/vncwebsocket")?;
    let mut access = ConsoleAccess::new(kind.clone()).url(inner.api.websocket_url(&path, &query(&opened)));
    access.password = opened.password.clone().or(Some(opened.ticket));
    access.valid_for = Some(VALID);
    Ok(access)
}

async fn running(inner: &Inner, found: &Found) -> Result<()> {
    let info = list::current(inner, OPERATION, found).await?;
    if info.state.is_active() {
        return Ok(());
    }
    // The server opens a port all the same.
    Err(Error::invalid_state(format!("it is {}; only a running guest has a console", info.state)))
}

async fn open(inner: &Inner, vm: &VmId, kind: &ConsoleKind) -> Result<Opened> {
    let opened = inner
        .on_guest(OPERATION, vm, |found| async move {
            running(inner, &found).await?;
            let call = match kind {
                ConsoleKind::Serial => Call::post(found.path("/termproxy")?, Form::new()),
                ConsoleKind::Vnc => {
                    let form = Form::new().flag("websocket", true);
                    // Only QEMU's screen has a password of its own.
                    let form = form.flag_if("generate-password", found.place.kind == GuestKind::Vm);
                    Call::post(found.path("/vncproxy")?, form)
                }
                other => {
                    let why = format!("the server has no console of the kind `{other}`");
                    return Err(crate::error::unsupported(OPERATION, &why));
                }
            };
            let answer =
                inner.api.value(&call.operation(OPERATION)).await.map_err(|error| refusal(inner, error))?;
            let text = |key: &str| answer.get(key).and_then(text_of);
            match (text("port"), text("ticket")) {
                (Some(port), Some(ticket)) => Ok(Opened {
                    found,
                    port,
                    ticket,
                    user: text("user").unwrap_or_default(),
                    password: text("password"),
                }),
                _ => Err(Error::new(ErrorKind::Protocol, "the answer names no port and ticket")),
            }
        })
        .await?;
    Ok(opened)
}

/// Older releases open terminals to tickets only.
fn refusal(inner: &Inner, error: Error) -> Error {
    let refused = matches!(error.kind(), ErrorKind::PermissionDenied | ErrorKind::Unauthenticated);
    let for_want_of_a_privilege = error.message().contains("Permission check failed");
    if inner.api.is_token() && refused && !for_want_of_a_privilege && !inner.probe.opens_terminals_to_tokens()
    {
        return error
            .with_hint("this release opens consoles only to a user with a password, not to an API token");
    }
    error
}

async fn spice(inner: &Inner, vm: &VmId) -> Result<ConsoleAccess> {
    let answer: Value = inner
        .on_guest(OPERATION, vm, |found| async move {
            running(inner, &found).await?;
            let call = Call::post(found.path("/spiceproxy")?, Form::new()).operation(OPERATION);
            inner.api.value(&call).await
        })
        .await?;
    let text = |key: &str| answer.get(key).and_then(text_of);
    let mut access = ConsoleAccess::new(ConsoleKind::Spice);
    // The host is a name of the proxy's own, which only it understands.
    access.address = text("host");
    access.tls_port = text("tls-port").and_then(|port| port.parse().ok());
    access.url = text("proxy");
    access.password = text("password");
    access.valid_for = Some(Duration::from_secs(30));
    Ok(access)
}

/// An open console: what the guest sends, and what is sent to it. Of a screen that is the RFB protocol, whose password is
/// [`password`](Self::password); of a terminal its text.
pub struct Console {
    socket: WebSocket,
    terminal: bool,
    password: Option<String>,
}

impl fmt::Debug for Console {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Console").field("terminal", &self.terminal).finish_non_exhaustive()
    }
}

impl Console {
    /// What the screen's protocol asks for as its password; its first eight characters count.
    #[must_use]
    pub fn password(&self) -> Option<&str> {
        self.password.as_deref()
    }

    /// The next bytes; `None` when the server has closed the console.
    ///
    /// # Errors
    /// `Transport` where the connection breaks.
    pub async fn next(&mut self) -> Result<Option<Bytes>> {
        match self.socket.next().await {
            None => Ok(None),
            Some(Ok(Message::Binary(bytes))) => Ok(Some(bytes)),
            Some(Ok(Message::Text(text))) => Ok(Some(text.into())),
            Some(Ok(_)) => Ok(Some(Bytes::new())),
            Some(Err(error)) => Err(named(OPERATION)(error)),
        }
    }

    /// Sends bytes: to a terminal as if they were typed.
    ///
    /// # Errors
    /// `Transport` where the connection is broken.
    pub async fn send(&mut self, bytes: impl Into<Bytes>) -> Result<()> {
        let bytes = bytes.into();
        let framed = if self.terminal {
            // The terminal's own frames: kind, length, text.
            let mut framed = format!("0:{}:", bytes.len()).into_bytes();
            framed.extend_from_slice(&bytes);
            framed.into()
        } else {
            bytes
        };
        self.write(framed).await
    }

    /// Tells a terminal its size. Of no effect on screens.
    ///
    /// # Errors
    /// `Transport` where the connection is broken.
    pub async fn resize(&mut self, columns: u16, rows: u16) -> Result<()> {
        if self.terminal { self.write(format!("1:{columns}:{rows}:").into()).await } else { Ok(()) }
    }

    /// Keeps a terminal open that nobody types into: the server closes it otherwise. Of no effect on screens.
    ///
    /// # Errors
    /// `Transport` where the connection is broken.
    pub async fn keep_alive(&mut self) -> Result<()> {
        if self.terminal { self.write(Bytes::from_static(b"2")).await } else { Ok(()) }
    }

    async fn write(&mut self, bytes: Bytes) -> Result<()> {
        let mut left = bytes;
        loop {
            let part = left.split_to(left.len().min(FRAME));
            self.socket.send(Message::Binary(part)).await.map_err(named(OPERATION))?;
            if left.is_empty() {
                return Ok(());
            }
        }
    }
}

impl Proxmox {
    /// Opens a guest's console: [`Vnc`](ConsoleKind::Vnc) for its screen, [`Serial`](ConsoleKind::Serial) for a terminal on its serial port
    /// or in the container.
    ///
    /// # Errors
    /// `NotFound`, `InvalidState` for a guest that does not run, `PermissionDenied` where this release refuses an API token,
    /// `Unsupported` for other kinds.
    pub async fn open_console(&self, vm: &VmId, kind: &ConsoleKind) -> Result<Console> {
        let inner = &*self.inner;
        inner.require(OPERATION, &[])?;
        let opened = open(inner, vm, kind).await.map_err(named(OPERATION))?;
        let path = opened.found.path("/vncwebsocket")?;
        let terminal = *kind == ConsoleKind::Serial;
        // Who comes, and the ticket that proves it.
        let first = terminal.then(|| SecretString::from(format!("{}:{}\n", opened.user, opened.ticket)));
        let socket = inner.api.websocket(&path, &query(&opened), first.as_ref()).await;
        let socket = socket.map_err(|error| refusal(inner, error))?;
        let password = opened.password.clone().or_else(|| (!terminal).then(|| opened.ticket.clone()));
        let mut console = Console { socket, terminal, password };
        if terminal {
            // A ping may come before the answer.
            let answer = loop {
                match console.next().await {
                    Ok(Some(answer)) if answer.is_empty() => {}
                    other => break other,
                }
            };
            match answer {
                Ok(Some(answer)) if answer.starts_with(b"OK") => {}
                _ => {
                    let error =
                        Error::new(ErrorKind::PermissionDenied, "the terminal does not take the ticket");
                    return Err(named(OPERATION)(refusal(inner, error)));
                }
            }
        }
        Ok(console)
    }
}
