//! The connection that the events come from, and the guard that opens it again when it is lost.

use std::sync::{Arc, Weak};
use std::time::Duration;

use hypervisor_core::model::VmId;
use hypervisor_core::{Error, ErrorKind, Operation, Result};

use super::hub::{Duty, Hub};
use super::table::Table;
use crate::backend::Inner;
use crate::blocking::{Disposer, Lane};
use crate::compute::lookup;
use crate::error::{Fail, named};
use crate::ffi::{Connection, Listener, Sink};

/// How often the daemon is asked whether it is still there. A loss is mostly told at once; this is for a daemon that hangs
/// and for a network that swallows.
const LOOK: Duration = Duration::from_secs(10);
/// The first pause between two attempts to open the connection again; it doubles.
const BACK_OFF: Duration = Duration::from_millis(100);
/// The longest one.
const MAX_BACK_OFF: Duration = Duration::from_secs(2);

/// Registrations on a living connection.
pub(super) struct Session {
    listener: Option<Arc<Listener>>,
    disposer: Disposer,
    hub: Arc<Hub>,
}

impl Drop for Session {
    fn drop(&mut self) {
        // Taking the registrations back asks the daemon, which may hang: never on a thread that serves futures.
        if let Some(listener) = self.listener.take() {
            let hub = Arc::clone(&self.hub);
            self.disposer.dispose(move || {
                drop(listener);
                hub.leave();
            });
        }
    }
}

impl Session {
    /// Opens the connection and registers. `lost` says why the one before was given up, where there was one.
    pub(super) async fn open(inner: &Inner, lost: Option<&str>) -> Result<Self> {
        let hub = &inner.events;
        let number = hub.begin();
        let weak = Arc::downgrade(hub);
        let sink: Sink = Arc::new(move |signal| {
            if let Some(hub) = weak.upgrade() {
                hub.hear(number, signal);
            }
        });
        let limit = inner.config.open_timeout.saturating_add(inner.config.timeout);
        let host = inner.probe.host.clone();
        let work = move |conn: &Connection| {
            let listener = Listener::new(conn, &sink)?;
            let table = Table::read(conn, &host)?;
            Ok((listener, table))
        };
        let outcome = inner.pool.run(Lane::Events, Operation::Watch.as_str(), limit, work).await;
        // The listener holds its connection; the next session opens one of its own.
        inner.pool.release_events();
        let (listener, table) = outcome.map_err(Error::from).map_err(named(Operation::Watch))?;
        hub.enter();
        let listener = Some(Arc::new(listener));
        let own = Self { listener, disposer: inner.pool.disposer(), hub: Arc::clone(hub) };
        let gap =
            lost.map(|reason| format!("the connection to libvirt was lost ({reason}) and is open again"));
        hub.load(number, table, &inner.probe.host, gap);
        Ok(own)
    }

    /// Asks the daemon something on this connection.
    async fn ask<T: Send + 'static>(
        &self,
        inner: &Inner,
        question: impl FnOnce(&Connection) -> std::result::Result<T, Fail> + Send + 'static,
    ) -> Result<T> {
        let Some(listener) = self.listener.clone() else {
            return Err(Error::new(ErrorKind::Cancelled, "the connection is being given up"));
        };
        let limit = inner.config.timeout;
        let call = move || question(listener.connection());
        inner.pool.run_on("watch", limit, call).await.map_err(Error::from)
    }

    /// Whether the daemon is still there: why not, if it is not.
    async fn look(&self, inner: &Inner) -> Option<String> {
        let outcome = self.ask(inner, |conn| Ok(conn.get_lib_version()?)).await;
        match outcome {
            Ok(_) => None,
            // No thread was to be had: it says nothing about the daemon.
            Err(error) if error.kind() == ErrorKind::Exhausted => None,
            Err(error) => Some(error.message().to_owned()),
        }
    }

    /// Whether a guest's memory was saved for its next start. One that has started since is taken for such a guest.
    async fn was_saved(&self, inner: &Inner, uuid: &str) -> Result<bool> {
        let vm = VmId::from(uuid);
        let question = move |conn: &Connection| {
            let domain = lookup::domain(conn, &vm)?;
            Ok(lookup::is_active(&domain)? || domain.has_managed_save(0)?)
        };
        self.ask(inner, question).await
    }
}

/// Notices when the guard ends without having said so: its runtime was shut down.
pub(super) struct CutOff(Arc<Hub>, u64);

impl CutOff {
    /// Of the guard that gets this, which takes over with it.
    pub(super) fn new(hub: &Arc<Hub>) -> Self {
        Self(Arc::clone(hub), hub.guard())
    }
}

impl Drop for CutOff {
    fn drop(&mut self) {
        self.0.cut_off(self.1);
    }
}

/// Keeps the session alive as long as somebody reads.
pub(super) async fn guard(inner: Weak<Inner>, session: Session, end: CutOff) {
    let hub = Arc::clone(&end.0);
    let mut session = Some(session);
    loop {
        let duty = hub.duty();
        match (duty, &session) {
            (Duty::Stop, _) => {
                if hub.leave_unguarded(None) {
                    return;
                }
            }
            (Duty::Reconnect(reason), _) => {
                tracing::info!(reason, "libvirt's events stopped; the connection is opened again");
                drop(session.take());
                match reopen(&inner, &hub, &reason).await {
                    Ok(Some(opened)) => session = Some(opened),
                    // Somebody may have come since; then it is tried once more.
                    Ok(None) => hub.lose(&reason),
                    Err(end) => {
                        tracing::warn!(%end, "libvirt's events cannot be followed any more");
                        hub.leave_unguarded(Some(end));
                        return;
                    }
                }
            }
            (Duty::Ask(uuid), Some(session)) => {
                let Some(inner) = inner.upgrade() else { return };
                let saved = session.was_saved(&inner, &uuid).await;
                match &saved {
                    // What hangs here hangs for the next question too.
                    Err(error) if error.kind() == ErrorKind::Timeout => hub.lose(error.message()),
                    _ => {}
                }
                hub.answer(&uuid, saved.unwrap_or_default());
            }
            (Duty::Look, Some(session)) => look(&inner, &hub, session).await,
            (Duty::Nothing, Some(session)) => {
                let attention = hub.attention.notified();
                if tokio::time::timeout(LOOK, attention).await.is_err() {
                    look(&inner, &hub, session).await;
                }
            }
            (_, None) => hub.lose("it is not open"),
        }
    }
}

async fn look(inner: &Weak<Inner>, hub: &Hub, session: &Session) {
    // The driver inside this process is lost with the process only.
    let Some(inner) = inner.upgrade().filter(|inner| !inner.probe.test) else { return };
    if let Some(reason) = session.look(&inner).await {
        hub.lose(&reason);
    }
}

/// Opens the connection again, as often as it takes. `None` when nobody reads any more; an error when there is no hope.
async fn reopen(inner: &Weak<Inner>, hub: &Arc<Hub>, reason: &str) -> Result<Option<Session>> {
    let mut pause = BACK_OFF;
    loop {
        let Some(inner) = inner.upgrade() else { return Ok(None) };
        let opened = tokio::select! {
            opened = Session::open(&inner, Some(reason)) => opened,
            () = nobody(hub) => return Ok(None),
        };
        drop(inner);
        match opened {
            Ok(session) => return Ok(Some(session)),
            Err(end) if is_final(&end) => return Err(end),
            Err(error) => tracing::debug!(%error, "libvirt is not there yet"),
        }
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = nobody(hub) => return Ok(None),
        }
        pause = (pause * 2).min(MAX_BACK_OFF);
    }
}

/// Comes back when nobody reads any more.
async fn nobody(hub: &Hub) {
    while hub.duty() != Duty::Stop {
        hub.attention.notified().await;
    }
}

/// Whether trying again is of no use.
fn is_final(error: &Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::Unauthenticated | ErrorKind::PermissionDenied | ErrorKind::Config | ErrorKind::Unsupported
    )
}
