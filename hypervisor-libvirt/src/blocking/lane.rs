//! The connections of a lane, and the gate that lets one opening through at a time.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::threads::Threads;
use super::{CallError, Connection, Failure};

/// Calls of one connection at a time: one less than libvirtd serves.
const CALLS_PER_CONNECTION: usize = 4;
/// The first pause after a failed opening; it doubles.
pub(super) const BACK_OFF: Duration = Duration::from_millis(50);
/// How many openings of a lane may hang at a time. Further ones wait for these: what hangs one hangs the next.
const HUNG_OPENINGS: usize = 4;
/// The longest pause between two attempts to open.
pub(super) const MAX_BACK_OFF: Duration = Duration::from_secs(1);

/// An open connection.
pub(super) struct Live<C: Connection> {
    /// Taken by the drop only.
    connection: Option<C>,
    dead: AtomicBool,
    in_flight: AtomicUsize,
    /// Calls past their deadline that still hold a place at the daemon.
    stragglers: Arc<AtomicUsize>,
    threads: Arc<Threads>,
}

impl<C: Connection> Live<C> {
    pub(super) fn new(connection: C, threads: Arc<Threads>) -> Self {
        Self {
            connection: Some(connection),
            dead: AtomicBool::new(false),
            in_flight: AtomicUsize::new(0),
            stragglers: Arc::default(),
            threads,
        }
    }

    /// Whether it takes calls. One that was lost while nobody called is noticed here, so that nobody's call has to fail
    /// for it.
    fn usable(&self, single: bool) -> bool {
        if !self.connection.as_ref().is_some_and(Connection::looks_alive) {
            return false;
        }
        !self.dead.load(Ordering::Acquire) && (single || self.stragglers.load(Ordering::Acquire) == 0)
    }
}

impl<C: Connection> Drop for Live<C> {
    fn drop(&mut self) {
        // Closing asks the daemon, which may hang: never on a thread that serves futures.
        if let Some(connection) = self.connection.take() {
            Threads::dispose(&self.threads, move || drop(connection));
        }
    }
}

/// A place on a connection, given back when dropped.
pub(super) struct Slot<C: Connection> {
    live: Arc<Live<C>>,
}

impl<C: Connection> Slot<C> {
    fn take(live: &Arc<Live<C>>) -> Self {
        live.in_flight.fetch_add(1, Ordering::AcqRel);
        Self { live: Arc::clone(live) }
    }

    /// The connection itself.
    pub(super) fn connection(&self) -> &C {
        match &self.live.connection {
            Some(connection) => connection,
            None => unreachable!("only the drop takes it"),
        }
    }

    pub(super) fn mark_dead(&self) {
        self.live.dead.store(true, Ordering::Release);
    }

    pub(super) fn stragglers(&self) -> Arc<AtomicUsize> {
        Arc::clone(&self.live.stragglers)
    }
}

impl<C: Connection> Drop for Slot<C> {
    fn drop(&mut self) {
        self.live.in_flight.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Why an opening failed, to be told to everybody who waited for it.
pub(super) enum Refusal<E> {
    Error(Arc<E>),
    Timeout(Duration),
}

impl<E> Clone for Refusal<E> {
    fn clone(&self) -> Self {
        match self {
            Self::Error(error) => Self::Error(Arc::clone(error)),
            Self::Timeout(limit) => Self::Timeout(*limit),
        }
    }
}

impl<E> From<Refusal<E>> for Failure<E> {
    fn from(refusal: Refusal<E>) -> Self {
        match refusal {
            Refusal::Error(error) => Self::Open(error),
            Refusal::Timeout(limit) => Self::OpenTimeout(limit),
        }
    }
}

/// What happened to the last opening, and when the next one may be.
pub(super) struct Gate<E> {
    pub(super) refusal: Option<Refusal<E>>,
    pub(super) not_before: Option<Instant>,
    pub(super) pause: Duration,
}

/// One lane.
pub(super) struct LaneState<C: Connection, E: CallError> {
    pub(super) permits: Arc<Semaphore>,
    pub(super) gate: tokio::sync::Mutex<Gate<E>>,
    /// Held by an opening until it has really ended.
    pub(super) openings: Arc<Semaphore>,
    attempts: AtomicU64,
    connections: Mutex<Vec<Arc<Live<C>>>>,
    single: bool,
}

impl<C: Connection, E: CallError> LaneState<C, E> {
    pub(super) fn new(connections: usize, single: bool) -> Self {
        Self {
            permits: Arc::new(Semaphore::new(connections.saturating_mul(CALLS_PER_CONNECTION))),
            gate: tokio::sync::Mutex::new(Gate { refusal: None, not_before: None, pause: BACK_OFF }),
            openings: Arc::new(Semaphore::new(HUNG_OPENINGS)),
            attempts: AtomicU64::new(0),
            connections: Mutex::default(),
            single,
        }
    }

    /// How many openings have ended, well or not.
    pub(super) fn attempts(&self) -> u64 {
        self.attempts.load(Ordering::Acquire)
    }

    pub(super) fn count_attempt(&self) {
        self.attempts.fetch_add(1, Ordering::AcqRel);
    }

    /// A place on a usable connection. Connections that are not usable are given up: their calls end on them.
    pub(super) fn pick(&self) -> Option<Slot<C>> {
        let mut connections = self.connections.lock().unwrap_or_else(PoisonError::into_inner);
        connections.retain(|live| live.usable(self.single));
        let free = |live: &&Arc<Live<C>>| {
            self.single || live.in_flight.load(Ordering::Acquire) < CALLS_PER_CONNECTION
        };
        connections.iter().find(free).map(Slot::take)
    }

    /// Takes in a new connection and returns a place on it.
    pub(super) fn add(&self, live: Live<C>) -> Slot<C> {
        let live = Arc::new(live);
        let slot = Slot::take(&live);
        self.connections.lock().unwrap_or_else(PoisonError::into_inner).push(live);
        slot
    }

    /// Gives all connections up.
    pub(super) fn clear(&self) {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}
