//! What has happened, as a ring of bounded size, and the readers that follow it.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use hypervisor_core::model::{Event, EventKind, EventQuery, HostId, NetworkId, PoolId, VmId, VmState};
use hypervisor_core::{Error, Result};
use tokio::sync::Notify;
use virt_sys as sys;

use super::table::{Meaning, Table};
use crate::facts::FactsCache;
use crate::ffi::Signal;

/// How many events are kept. A reader that is further behind gets a `Lagged`.
const RING: usize = 4096;

/// The events of one connection: signals come in from libvirt's thread, readers take events out.
#[derive(Default)]
pub(crate) struct Hub {
    state: Mutex<State>,
    /// There is something to read.
    changed: Notify,
    /// The guard has something to do.
    pub(super) attention: Notify,
    /// Held by the watch that starts the guard, so that there is one.
    pub(super) starting: tokio::sync::Mutex<()>,
    pub(crate) facts: FactsCache,
}

#[derive(Default)]
struct State {
    ring: VecDeque<Event>,
    /// The number of the event that comes next.
    next: u64,
    readers: usize,
    /// How many sessions have not taken their registrations back.
    sessions: usize,
    /// Counts the guards; a reader belongs to one.
    run: u64,
    guarded: bool,
    /// Whether events come.
    connected: bool,
    /// Why the last guard gave up.
    end: Option<Error>,
    closed: bool,
    /// The session whose signals count.
    session: u64,
    table: Table,
    /// Signals that wait, for the table or for an answer.
    waiting: Option<VecDeque<Signal>>,
    /// Whether this guest's memory was saved for its next start has to be asked.
    question: Option<String>,
    lost: Option<String>,
    /// Somebody's call found the daemon silent or gone.
    doubt: bool,
    host: String,
}

impl fmt::Debug for Hub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.lock();
        f.debug_struct("Hub")
            .field("next", &state.next)
            .field("readers", &state.readers)
            .field("guarded", &state.guarded)
            .finish_non_exhaustive()
    }
}

/// What the guard has to do next.
#[derive(Debug, PartialEq)]
pub(super) enum Duty {
    /// Nobody reads any more.
    Stop,
    /// The connection is lost, for this reason.
    Reconnect(String),
    /// Whether this guest's memory was saved for its next start.
    Ask(String),
    /// Whether the daemon is still there.
    Look,
    Nothing,
}

impl Hub {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells the readers, if there are any, what we have done ourselves and libvirt has no event for.
    pub(crate) fn tell(&self, kind: EventKind) {
        self.lock().push(kind, None);
        self.changed.notify_waiters();
    }

    /// A call found the daemon silent or gone: the connection for events may be so as well.
    pub(crate) fn doubt(&self) {
        self.lock().doubt = true;
        self.attention.notify_one();
    }

    /// The connection is given up: the streams end.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_waiters();
        self.attention.notify_one();
    }

    /// A new reader. It counts from now on, whether or not the guard runs.
    pub(super) fn join(self: &Arc<Self>, query: &EventQuery) -> Reader {
        let mut state = self.lock();
        state.readers += 1;
        let (cursor, run) = (state.next, state.run);
        Reader { hub: Arc::clone(self), query: query.clone(), cursor, run, ended: false }
    }

    /// Waits while a guard is opening the connection again. Whether events come then; if not, there is no guard.
    pub(super) async fn connected(&self) -> bool {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            {
                let state = self.lock();
                if !state.guarded || state.connected {
                    return state.guarded;
                }
            }
            changed.await;
        }
    }

    /// A session begins: its signals wait until its table is there. Returns its number.
    pub(super) fn begin(&self) -> u64 {
        let mut state = self.lock();
        state.session += 1;
        state.waiting = Some(VecDeque::new());
        (state.question, state.lost, state.doubt, state.connected) = (None, None, false, false);
        state.session
    }

    /// The session's table is there. `gap` says why events before it are missing, where some are.
    pub(super) fn load(&self, session: u64, table: Table, host: &str, gap: Option<String>) {
        let mut state = self.lock();
        if state.session != session {
            return;
        }
        state.table = table;
        host.clone_into(&mut state.host);
        state.connected = state.lost.is_none();
        self.facts.set_watched(state.connected);
        if let Some(reason) = gap {
            state.push(EventKind::Resync { reason }, None);
        }
        self.replay(&mut state);
        drop(state);
        self.changed.notify_waiters();
    }

    /// Waits until all sessions have taken their registrations back.
    pub(super) async fn vacant(&self) {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if self.lock().sessions == 0 {
                return;
            }
            changed.await;
        }
    }

    /// A session has registered.
    pub(super) fn enter(&self) {
        self.lock().sessions += 1;
    }

    /// A session has taken its registrations back.
    pub(super) fn leave(&self) {
        let mut state = self.lock();
        state.sessions = state.sessions.saturating_sub(1);
        drop(state);
        self.changed.notify_waiters();
    }

    /// A guard takes over; its readers are those of the run that is returned.
    pub(super) fn guard(&self) -> u64 {
        let mut state = self.lock();
        state.run += 1;
        (state.guarded, state.end) = (true, None);
        state.run
    }

    /// What the guard has to do.
    pub(super) fn duty(&self) -> Duty {
        let mut state = self.lock();
        if state.closed || state.readers == 0 {
            Duty::Stop
        } else if let Some(reason) = &state.lost {
            Duty::Reconnect(reason.clone())
        } else if let Some(uuid) = &state.question {
            Duty::Ask(uuid.clone())
        } else if std::mem::take(&mut state.doubt) {
            Duty::Look
        } else {
            Duty::Nothing
        }
    }

    /// The answer to the question whether a guest's memory was saved for its next start.
    pub(super) fn answer(&self, uuid: &str, saved: bool) {
        let mut state = self.lock();
        if state.question.as_deref() != Some(uuid) {
            return;
        }
        state.question = None;
        let again = |signal: &Signal| matches!(signal, Signal::Lifecycle { uuid: other, event: sys::VIR_DOMAIN_EVENT_STARTED, .. } if other == uuid);
        // Who has started meanwhile has used up what was saved.
        let saved = saved || state.waiting.iter().flatten().any(again);
        let now = if saved { VmState::Hibernated } else { VmState::Stopped };
        for kind in state.table.stopped(uuid, now) {
            state.push(kind, Some("saved"));
        }
        self.replay(&mut state);
        drop(state);
        self.changed.notify_waiters();
    }

    /// The guard has found the connection lost.
    pub(super) fn lose(&self, reason: &str) {
        self.lose_in(&mut self.lock(), reason);
    }

    fn lose_in(&self, state: &mut State, reason: &str) {
        state.lost.get_or_insert_with(|| reason.to_owned());
        state.connected = false;
        self.facts.set_watched(false);
        self.attention.notify_one();
    }

    /// The guard stops, unless somebody has come meanwhile and it need not.
    pub(super) fn leave_unguarded(&self, end: Option<Error>) -> bool {
        let mut state = self.lock();
        if end.is_none() && !state.closed && state.readers > 0 {
            return false;
        }
        state.unguard(end);
        self.facts.set_watched(false);
        drop(state);
        self.changed.notify_waiters();
        true
    }

    /// The guard of this run was cut off: its runtime has ended.
    pub(super) fn cut_off(&self, run: u64) {
        let mut state = self.lock();
        if state.guarded && state.run == run {
            let end = Error::new(
                hypervisor_core::ErrorKind::Cancelled,
                "the runtime that followed libvirt's events has ended",
            );
            state.unguard(Some(end));
            self.facts.set_watched(false);
        }
        drop(state);
        self.changed.notify_waiters();
    }

    /// A signal of a session. Called on libvirt's thread: it neither waits nor calls libvirt.
    pub(super) fn hear(&self, session: u64, signal: Signal) {
        let mut state = self.lock();
        if state.session != session {
            return;
        }
        if let Signal::Closed(reason) = signal {
            return self.lose_in(&mut state, reason);
        }
        self.outdate(&signal);
        match &mut state.waiting {
            // The story is lost, and with it what the table knows.
            Some(waiting) if waiting.len() >= RING => {
                self.lose_in(&mut state, "more events came than could be kept");
            }
            Some(waiting) => waiting.push_back(signal),
            None => {
                self.understand(&mut state, signal);
                drop(state);
                self.changed.notify_waiters();
            }
        }
    }

    fn outdate(&self, signal: &Signal) {
        if let Signal::Lifecycle { uuid, .. } | Signal::Changed { uuid, .. } = signal {
            self.facts.forget(uuid);
        }
    }

    fn replay(&self, state: &mut State) {
        let mut waiting = state.waiting.take().unwrap_or_default();
        while let Some(signal) = waiting.pop_front() {
            self.understand(state, signal);
            if let Some(behind) = &mut state.waiting {
                behind.append(&mut waiting);
            }
        }
    }

    fn understand(&self, state: &mut State, signal: Signal) {
        match signal {
            Signal::Lifecycle { uuid, event, detail } => match state.table.lifecycle(&uuid, event, detail) {
                Meaning::Told(told) => {
                    told.into_iter().for_each(|kind| state.push(kind, None));
                }
                Meaning::Saved => {
                    state.question = Some(uuid);
                    state.waiting = Some(VecDeque::new());
                    self.attention.notify_one();
                }
            },
            Signal::Changed { uuid, what } => state.push(EventKind::VmUpdated(VmId::from(uuid)), Some(&what)),
            Signal::Network(name) => state.push(EventKind::NetworkChanged(NetworkId::from(name)), None),
            Signal::Pool(name) => state.push(EventKind::PoolChanged(PoolId::from(name)), None),
            Signal::Device => {
                let host = HostId::from(state.host.as_str());
                state.push(EventKind::HostChanged(host), Some("device"));
            }
            Signal::Closed(_) => {}
        }
    }
}

impl State {
    fn push(&mut self, kind: EventKind, what: Option<&str>) {
        if self.readers == 0 {
            return;
        }
        let mut event = Event::new(SystemTime::now(), kind);
        if let Some(what) = what {
            event.extra.insert(crate::BACKEND, "event", what);
        }
        if self.ring.len() >= RING {
            self.ring.pop_front();
        }
        self.ring.push_back(event);
        self.next += 1;
    }

    fn unguard(&mut self, end: Option<Error>) {
        (self.guarded, self.connected) = (false, false);
        self.end = end;
        // Signals that are still on their way belong to nobody.
        self.session += 1;
        (self.waiting, self.question, self.lost) = (None, None, None);
        if self.readers == 0 {
            self.ring = VecDeque::new();
        }
    }

    /// The first event from `cursor` on that the query wants; moves the cursor behind it.
    fn read(&self, cursor: &mut u64, query: &EventQuery) -> Option<Event> {
        let first = self.next - u64::try_from(self.ring.len()).unwrap_or(0);
        if *cursor < first {
            let missed = self.next - *cursor;
            *cursor = self.next;
            return Some(Event::new(SystemTime::now(), EventKind::Lagged { missed }));
        }
        let skip = usize::try_from(*cursor - first).unwrap_or(usize::MAX);
        for event in self.ring.iter().skip(skip) {
            *cursor += 1;
            if query.matches(event) {
                return Some(event.clone());
            }
        }
        None
    }
}

/// One reader. The last one that goes ends the guard.
#[derive(Debug)]
pub(super) struct Reader {
    hub: Arc<Hub>,
    query: EventQuery,
    cursor: u64,
    run: u64,
    ended: bool,
}

impl Reader {
    /// From now on, under the guard that runs.
    pub(super) fn begin(&mut self) {
        let state = self.hub.lock();
        (self.cursor, self.run) = (state.next, state.run);
    }

    /// The next event; `None` after the end.
    pub(super) async fn next(&mut self) -> Option<Result<Event>> {
        if self.ended {
            return None;
        }
        let hub = Arc::clone(&self.hub);
        loop {
            let changed = hub.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            {
                let state = hub.lock();
                if state.closed {
                    self.ended = true;
                    return None;
                }
                if state.run == self.run
                    && let Some(event) = state.read(&mut self.cursor, &self.query)
                {
                    return Some(Ok(event));
                }
                if !state.guarded || state.run != self.run {
                    self.ended = true;
                    let unknown = || {
                        Error::new(
                            hypervisor_core::ErrorKind::Cancelled,
                            "libvirt's events are not followed any more",
                        )
                    };
                    let end = state.end.clone().filter(|_| state.run == self.run);
                    return Some(Err(end.unwrap_or_else(unknown)));
                }
            }
            changed.await;
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let mut state = self.hub.lock();
        state.readers = state.readers.saturating_sub(1);
        let last = state.readers == 0;
        drop(state);
        if last {
            self.hub.attention.notify_one();
        }
    }
}
