//! A guest's console: its serial port in this terminal, or the way to its screen.

use std::io::{IsTerminal as _, Read as _, Write as _};
use std::sync::Arc;

use hypervisor::model::{ConsoleAccess, ConsoleKind};
use hypervisor::{Error, Hypervisor, Result, Vm};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::mpsc;

use super::Ui;
use super::cli::Console;
use super::exit::{self, Stop};
use super::guests::find;
use super::table::{Cell, Look, Table};
use super::text::{or_dash, span};

pub(crate) async fn run(hv: &Arc<dyn Hypervisor>, ui: &mut Ui, args: &Console) -> Result<u8, Stop> {
    let vm = find(hv, &args.vm).await?;
    if args.kind != ConsoleKind::Serial || ui.json {
        let access = vm.console(&args.kind).await?;
        address(ui, access, args.show_password);
        return Ok(exit::OK);
    }
    let wire = Box::pin(open(hv, &vm, args)).await?;
    let key = char::from(args.escape | 0x40);
    ui.note(format!("attached to {}; Ctrl-{key} detaches", args.vm));
    let raw = Raw::set();
    let outcome = carry(wire, args.escape).await;
    drop(raw);
    ui.note(format!("\ndetached from {}", args.vm));
    outcome?;
    Ok(exit::OK)
}

/// The way to a console. Its password, also as a part of a URL, is shown only where that was asked for.
fn address(ui: &mut Ui, mut access: ConsoleAccess, password: bool) {
    if !password {
        access.password = access.password.map(|_| "(hidden; --show-password)".to_owned());
        access.url = access.url.map(|url| url.split('?').next().unwrap_or_default().to_owned());
    }
    if ui.json {
        ui.value(&access);
        return;
    }
    let mut table = Table::new(["", ""]);
    let mut fact = |name: &'static str, value: String| table.row([Cell::new(name, Look::Dim), value.into()]);
    fact("kind", access.kind.to_string());
    fact("address", or_dash(access.address));
    fact("port", or_dash(access.port));
    fact("tls port", or_dash(access.tls_port));
    fact("url", or_dash(access.url));
    fact("path on the host", or_dash(access.path));
    fact("password", or_dash(access.password));
    fact("valid for", or_dash(access.valid_for.map(span)));
    ui.rows(&table);
}

/// Both ends of an open console.
struct Wire {
    from_guest: mpsc::Receiver<Result<Vec<u8>>>,
    to_guest: mpsc::Sender<Vec<u8>>,
}

/// The ends that the backend's side holds: from the guest, and to it.
type Far = (mpsc::Sender<Result<Vec<u8>>>, mpsc::Receiver<Vec<u8>>);

fn wire() -> (Wire, Far) {
    let (out, from_guest) = mpsc::channel(64);
    let (to_guest, typed) = mpsc::channel(64);
    (Wire { from_guest, to_guest }, (out, typed))
}

async fn open(hv: &Arc<dyn Hypervisor>, vm: &Vm, args: &Console) -> Result<Wire> {
    #[cfg(feature = "libvirt")]
    if let Some(libvirt) = hv.backend::<hypervisor::libvirt::Libvirt>() {
        let options = hypervisor::libvirt::OpenConsole::new().take_over(args.take_over);
        return Ok(byte_stream(libvirt.console_stream(vm.id(), &options).await?));
    }
    #[cfg(feature = "proxmox")]
    if let Some(proxmox) = hv.backend::<hypervisor::proxmox::Proxmox>() {
        return Ok(terminal(proxmox.open_console(vm.id(), &ConsoleKind::Serial).await?));
    }
    let why = match vm.stream_console(&ConsoleKind::Serial).await {
        Ok(stream) => return Ok(byte_stream(stream)),
        Err(error) if error.is_unsupported() => error,
        Err(error) => return Err(error),
    };
    let _ = (hv, args);
    // A guest that has no such console is the nearer reason.
    vm.console(&ConsoleKind::Serial).await?;
    Err(why.with_hint(
        "`hv console --kind vnc` says how to reach its screen; `--json` where the port is on the host",
    ))
}

fn byte_stream<S: AsyncRead + AsyncWrite + Send + 'static>(stream: S) -> Wire {
    let (wire, (out, mut typed)) = wire();
    let (mut read, mut write) = tokio::io::split(stream);
    tokio::spawn(async move {
        let mut part = vec![0; 4096];
        loop {
            let bytes = match read.read(&mut part).await {
                Ok(0) => break,
                Ok(count) => Ok(part.get(..count).unwrap_or_default().to_vec()),
                Err(error) => Err(broken(&error)),
            };
            let ends = bytes.is_err();
            if out.send(bytes).await.is_err() || ends {
                break;
            }
        }
    });
    tokio::spawn(async move {
        while let Some(bytes) = typed.recv().await {
            if write.write_all(&bytes).await.is_err() || write.flush().await.is_err() {
                break;
            }
        }
    });
    wire
}

fn broken(error: &std::io::Error) -> Error {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
    inner.cloned().unwrap_or_else(|| Error::new(hypervisor::ErrorKind::Transport, error.to_string()))
}

#[cfg(feature = "proxmox")]
fn terminal(mut console: hypervisor::proxmox::Console) -> Wire {
    /// The server hangs up on a terminal that nobody types into.
    const KEEP_ALIVE: std::time::Duration = std::time::Duration::from_secs(20);
    let (wire, (out, mut typed)) = wire();
    tokio::spawn(async move {
        if let Some((columns, rows)) = size() {
            let _ = console.resize(columns, rows).await;
        }
        loop {
            let sent = tokio::select! {
                next = console.next() => match next {
                    Ok(Some(bytes)) => match out.send(Ok(bytes.to_vec())).await {
                        Ok(()) => Ok(()),
                        Err(_) => break,
                    },
                    Ok(None) => break,
                    Err(error) => Err(error),
                },
                keys = typed.recv() => match keys {
                    Some(keys) => console.send(keys).await,
                    None => break,
                },
                () = tokio::time::sleep(KEEP_ALIVE) => console.keep_alive().await,
            };
            if let Err(error) = sent {
                let _ = out.send(Err(error)).await;
                break;
            }
        }
    });
    wire
}

/// Carries bytes both ways until the guest's side ends or the escape key is typed.
async fn carry(mut wire: Wire, escape: u8) -> Result<()> {
    let mut keys = keyboard();
    let mut out = std::io::stdout();
    let mut typing = true;
    loop {
        tokio::select! {
            bytes = wire.from_guest.recv() => {
                let Some(bytes) = bytes.transpose()? else { return Ok(()) };
                if out.write_all(&bytes).and_then(|()| out.flush()).is_err() {
                    return Ok(());
                }
            }
            typed = keys.recv(), if typing => {
                // Where the input is no terminal, what comes after its end is still shown.
                let Some(typed) = typed else { typing = false; continue };
                let end = typed.iter().position(|byte| *byte == escape);
                let sent = typed.get(..end.unwrap_or(typed.len())).unwrap_or_default();
                if (!sent.is_empty() && wire.to_guest.send(sent.to_vec()).await.is_err()) || end.is_some() {
                    return Ok(());
                }
            }
        }
    }
}

/// What is typed. The thread ends with the process: nothing can wake it from reading a terminal.
fn keyboard() -> mpsc::Receiver<Vec<u8>> {
    let (send, keys) = mpsc::channel(16);
    std::thread::spawn(move || {
        let mut part = vec![0; 1024];
        while let Ok(count @ 1..) = std::io::stdin().read(&mut part) {
            if send.blocking_send(part.get(..count).unwrap_or_default().to_vec()).is_err() {
                break;
            }
        }
    });
    keys
}

/// The terminal gives every key as it is typed, and shows nothing by itself, until this is dropped.
struct Raw {
    #[cfg(unix)]
    before: Option<rustix::termios::Termios>,
}

impl Raw {
    #[cfg(unix)]
    fn set() -> Self {
        use rustix::termios::{OptionalActions, tcgetattr, tcsetattr};
        let stdin = std::io::stdin();
        let before = if stdin.is_terminal() { tcgetattr(&stdin).ok() } else { None };
        if let Some(mut raw) = before.clone() {
            raw.make_raw();
            let _ = tcsetattr(&stdin, OptionalActions::Now, &raw);
        }
        Self { before }
    }

    #[cfg(not(unix))]
    fn set() -> Self {
        let _ = std::io::stdin().is_terminal();
        Self {}
    }
}

#[cfg(unix)]
impl Drop for Raw {
    fn drop(&mut self) {
        if let Some(before) = &self.before {
            let _ =
                rustix::termios::tcsetattr(std::io::stdin(), rustix::termios::OptionalActions::Now, before);
        }
    }
}

/// Columns and rows of this terminal.
#[cfg(feature = "proxmox")]
fn size() -> Option<(u16, u16)> {
    #[cfg(unix)]
    return rustix::termios::tcgetwinsize(std::io::stdout()).ok().map(|size| (size.ws_col, size.ws_row));
    #[cfg(not(unix))]
    None
}
