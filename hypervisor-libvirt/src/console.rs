//! A guest's serial console as a stream of bytes.

mod pipe;

use std::sync::Arc;
use std::time::{Duration, Instant};

use hypervisor_core::model::VmId;
use hypervisor_core::{Error, ErrorKind, Operation, Result};
use tokio::sync::oneshot;
use tokio::time::timeout;
use virt::domain::Domain;
use virt::stream::Stream;
use virt_sys as sys;

pub use self::pipe::ConsoleStream;
use self::pipe::{Ending, Pipe, UNREAD};
use crate::backend::Libvirt;
use crate::compute::{console, lookup};
use crate::config::LibvirtConfig;
use crate::error::{Fail, Outcome, named};
use crate::ffi::{self, Connection};

/// The first pause between two looks at a console that is silent; it doubles up to the last.
const FIRST_LOOK: Duration = Duration::from_millis(2);
const LAST_LOOK: Duration = Duration::from_millis(40);

/// How often a silent console's guest is asked whether it still runs.
const ASK: Duration = Duration::from_secs(1);

/// Which console is opened, and how.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct OpenConsole {
    /// The alias of the device (`serial1`); without it the first console.
    pub device: Option<String>,
    /// End the session of whoever has the console open. Otherwise an open console is `Locked`.
    pub take_over: bool,
}

impl OpenConsole {
    /// The first console, if nobody has it open.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The console of this device.
    #[must_use]
    pub fn device(mut self, alias: impl Into<String>) -> Self {
        self.device = Some(alias.into());
        self
    }

    /// Whether somebody else's session is ended.
    #[must_use]
    pub fn take_over(mut self, take_over: bool) -> Self {
        self.take_over = take_over;
        self
    }

    fn flags(&self) -> u32 {
        if self.take_over { sys::VIR_DOMAIN_CONSOLE_FORCE } else { 0 }
    }
}

impl Libvirt {
    /// Opens the serial console of a running guest, wherever its host is: the bytes go through libvirt's own connection.
    ///
    /// The stream has a connection and a thread of its own, and both end with it. Reads fail with `Exhausted`
    /// once 1 MiB of the guest's output is left unread, after giving it. Up to 16 consoles are open at a time.
    ///
    /// # Errors
    /// `NotFound`; `InvalidState` for a guest that does not run or has no such console; `Locked` where somebody has it
    /// open; `PermissionDenied` on a read-only connection; `Exhausted` where too many are open; `Unsupported` on the test driver.
    pub async fn console_stream(&self, vm: &VmId, options: &OpenConsole) -> Result<ConsoleStream> {
        let operation = Operation::GetConsole;
        self.inner.require(operation, &[])?;
        let config = self.inner.config.clone();
        if config.read_only {
            let why = "a console is written to, and the connection is read-only";
            return Err(named(operation)(Error::new(ErrorKind::PermissionDenied, why)));
        }
        let permit = Arc::clone(&self.inner.consoles).try_acquire_owned();
        let permit = permit.map_err(|_| {
            let error = Error::new(ErrorKind::Exhausted, "too many consoles are open");
            named(operation)(error.with_hint("Drop those that are not read any more"))
        })?;
        let limit = config.open_timeout.saturating_add(config.timeout);
        let pipe = Arc::new(Pipe::default());
        let stream = ConsoleStream::new(Arc::clone(&pipe));
        let (opened, answer) = oneshot::channel();
        let (vm, options) = (vm.clone(), options.clone());
        let serve = move || {
            // Given back when the thread ends, so that threads that hang are bounded too.
            let _permit = permit;
            let ending = Ending::of(pipe);
            match open(&config, &vm, &options) {
                Err(fail) => drop(opened.send(Err(Error::from(fail)))),
                Ok(session) => {
                    if opened.send(Ok(())).is_ok() {
                        let outcome = session.serve(ending.pipe());
                        ending.end(outcome.map_err(|fail| named(operation)(fail.into())));
                        session.close();
                    }
                }
            }
        };
        let thread = std::thread::Builder::new().name("hv-console".into()).spawn(serve);
        thread.map_err(|error| {
            named(operation)(Error::new(ErrorKind::Exhausted, format!("no thread for the console: {error}")))
        })?;
        match timeout(limit, answer).await {
            Ok(Ok(outcome)) => outcome.map(|()| stream).map_err(named(operation)),
            Ok(Err(_)) => {
                Err(named(operation)(Error::new(ErrorKind::Backend, "the console's thread has ended")))
            }
            Err(_) => {
                let why = format!("the console is not open after {limit:?}");
                Err(named(operation)(Error::new(ErrorKind::Timeout, why)))
            }
        }
    }
}

/// An open console. The fields are dropped in this order.
struct Session {
    stream: Stream,
    domain: Domain,
    _conn: Connection,
}

fn open(config: &LibvirtConfig, vm: &VmId, options: &OpenConsole) -> Outcome<Session> {
    let conn = ffi::open(config.uri(), config.read_only, config.credentials.as_ref())?;
    let domain = lookup::domain(&conn, vm)?;
    console::refuse_unless_active(&domain, vm)?;
    if lookup::live(&domain)?.path("devices/console").is_none() {
        return Err(Error::invalid_state("it has no serial console").with_target(VmId::NOUN, vm).into());
    }
    let stream = Stream::new(&conn, sys::VIR_STREAM_NONBLOCK)?;
    let device = options.device.as_deref();
    if device.is_some_and(|device| device.contains('\0')) {
        return Err(Error::invalid("device", "must be the alias of a device").into());
    }
    let opened = domain.open_console(device, &stream, options.flags());
    opened.map_err(|error| lookup::named(vm)(Fail::from(error)))?;
    Ok(Session { stream, domain, _conn: conn })
}

impl Session {
    /// Carries bytes both ways until either side ends.
    fn serve(&self, pipe: &Pipe) -> Outcome<()> {
        let mut part = vec![0; 16 << 10];
        let mut pause = FIRST_LOOK;
        // Without libvirt's event loop nothing reads the connection's socket but a call, which brings in what has arrived.
        let looped = ffi::start_event_loop().is_ok();
        let ask_every = if looped { ASK } else { Duration::ZERO };
        let mut asked = Instant::now();
        while let Some(state) = pipe.look() {
            let mut moved = false;
            if !state.input.is_empty()
                && let Some(count) = ffi::send(&self.stream, &state.input)?
            {
                pipe.sent(count);
                moved = true;
            }
            if state.room == 0 && looped {
                // The loop takes in what the guest writes, read or not, and libvirt would hold it without a bound.
                let why = format!("{UNREAD} bytes of the console's output wait to be read");
                return Err(Error::new(ErrorKind::Exhausted, why).into());
            }
            let room = part.len().min(state.room);
            if let Some(free) = part.get_mut(..room).filter(|free| !free.is_empty()) {
                match ffi::receive(&self.stream, free)? {
                    Some(0) => return Ok(()),
                    Some(count) => {
                        pipe.received(free.get(..count).unwrap_or_default());
                        moved = true;
                    }
                    None if asked.elapsed() >= ask_every => {
                        asked = Instant::now();
                        if !self.domain.is_active()? {
                            return Ok(());
                        }
                    }
                    None => {}
                }
            }
            pause = if moved { FIRST_LOOK } else { (pause * 2).min(LAST_LOOK) };
            pipe.wait(pause);
        }
        Ok(())
    }

    fn close(self) {
        // It fails where the daemon has ended the stream itself.
        drop(self.stream.abort());
    }
}
