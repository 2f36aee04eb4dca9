//! The only place where blocking libvirt calls run: threads of our own, with a deadline for each call.
//!
//! A call that does not come back in time is abandoned: the caller gets its error, the thread is left behind and ends
//! when libvirt lets it go. Threads inside libvirt are bounded, calls under way and abandoned ones together: a call takes a
//! place before it begins, and its thread gives it back when it returns from libvirt, however late. Closing a connection
//! takes no place, nor does a look at the one for events: there is one such thread at most for each connection. libvirtd serves five calls of a connection at a time, so a
//! connection carries at most four of ours, slow calls have connections of their own, and a connection with an
//! abandoned call gets no new ones.

mod lane;
mod threads;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::{Instant, timeout, timeout_at};

use self::lane::{BACK_OFF, LaneState, Live, MAX_BACK_OFF, Refusal, Slot};
pub(crate) use self::threads::afterwards;
use self::threads::{Abandon, Done, Held, Places, Threads};

/// The longest that a call is waited for.
const LONGEST: Duration = Duration::from_secs(365 * 86_400);

/// What is needed of a connection.
pub(crate) trait Connection: Send + Sync + 'static {
    /// Whether it looks usable, without asking the server.
    fn looks_alive(&self) -> bool;
}

/// What is needed of an error.
pub(crate) trait CallError: fmt::Display + Send + Sync + 'static {
    /// Whether the connection is of no use after it.
    fn is_disconnect(&self) -> bool;
}

/// Which calls a call can hold up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lane {
    /// Calls that the daemon answers by itself.
    Fast,
    /// Calls that wait for a guest, a disk or another host.
    Slow,
    /// Registrations for events, on a connection that carries nothing else.
    Events,
}

/// Bounds of a pool.
#[derive(Debug, Clone)]
pub(crate) struct Limits {
    /// How long an opening may take.
    pub(crate) open: Duration,
    /// How many threads may be inside libvirt; when so many are abandoned, no further call is made.
    pub(crate) abandoned: usize,
    /// How many connections the slow lane may have.
    pub(crate) slow_connections: usize,
    /// All calls share one connection, which is kept as long as it lives: the test driver keeps its whole state in it.
    pub(crate) single: bool,
}

/// Why a call has no result.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure<E> {
    /// The call failed.
    #[error("{0}")]
    Call(E),
    /// The connection could not be opened; nothing was sent.
    #[error("{0}")]
    Open(Arc<E>),
    /// The opening did not come back in time; nothing was sent.
    #[error("the connection was not open after {0:?}")]
    OpenTimeout(Duration),
    /// No place was free in time; nothing was sent.
    #[error("no free place on a connection within {0:?}")]
    QueueTimeout(Duration),
    /// The call did not come back in time; it may still have its effect.
    #[error("no answer within {0:?}")]
    CallTimeout(Duration),
    /// Too many calls hang; nothing was sent.
    #[error(
        "{0} calls to libvirt hang past their deadlines: no further call is made until some have come back"
    )]
    Exhausted(usize),
    /// The call panicked.
    #[error("the call panicked: {0}")]
    Panicked(String),
    /// The system gave no thread; nothing was sent.
    #[error("no thread for the call: {0}")]
    NoThread(String),
}

type Opener<C, E> = dyn Fn() -> Result<C, E> + Send + Sync;

/// Threads and connections. Dropping it ends the threads; one that hangs inside libvirt ends when it comes back.
pub(crate) struct Pool<C: Connection, E: CallError> {
    opener: Arc<Opener<C, E>>,
    limits: Limits,
    threads: Arc<Threads>,
    fast: LaneState<C, E>,
    slow: LaneState<C, E>,
    events: LaneState<C, E>,
    places: Arc<Semaphore>,
    generation: AtomicU64,
}

impl<C: Connection, E: CallError> fmt::Debug for Pool<C, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool")
            .field("limits", &self.limits)
            .field("generation", &self.generation())
            .field("threads", &self.threads)
            .finish_non_exhaustive()
    }
}

impl<C: Connection, E: CallError> Drop for Pool<C, E> {
    fn drop(&mut self) {
        self.fast.clear();
        self.slow.clear();
        self.events.clear();
        self.threads.close();
    }
}

impl<C: Connection, E: CallError> Pool<C, E> {
    /// A pool that opens its connections with `opener`, at the first call.
    pub(crate) fn new(limits: Limits, opener: impl Fn() -> Result<C, E> + Send + Sync + 'static) -> Self {
        Self {
            opener: Arc::new(opener),
            threads: Arc::new(Threads::new()),
            fast: LaneState::new(1, limits.single),
            slow: LaneState::new(limits.slow_connections.max(1), limits.single),
            events: LaneState::new(1, limits.single),
            places: Arc::new(Semaphore::new(limits.abandoned.max(1))),
            generation: AtomicU64::new(0),
            limits,
        }
    }

    /// How many connections have been opened.
    pub(crate) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// Runs one operation on a connection, on a thread of the pool, and returns what it returns, within `limit`.
    ///
    /// When the deadline passes, or the future is dropped, the call itself goes on; its late end is logged.
    pub(crate) async fn run<T, F>(
        &self,
        lane: Lane,
        what: &'static str,
        limit: Duration,
        call: F,
    ) -> Result<T, Failure<E>>
    where
        T: Send + 'static,
        F: FnOnce(&C) -> Result<T, E> + Send + 'static,
    {
        // A limit beyond what the clock can show is as good as a year.
        let limit = limit.min(LONGEST);
        let deadline = Instant::now() + limit;
        let state = match lane {
            Lane::Slow if !self.limits.single => &self.slow,
            Lane::Events if !self.limits.single => &self.events,
            _ => &self.fast,
        };
        self.refuse_when_exhausted()?;
        let permit = timeout_at(deadline, Arc::clone(&state.permits).acquire_owned()).await;
        let permit = permit
            .map_err(|_| Failure::QueueTimeout(limit))?
            .map_err(|error| Failure::NoThread(error.to_string()))?;
        let slot = self.connection(state, deadline, limit).await?;
        let place = self.place(deadline).await.ok_or(Failure::QueueTimeout(limit))?;
        if Instant::now() >= deadline {
            return Err(Failure::QueueTimeout(limit));
        }
        let held = Held::new(permit, slot.stragglers());
        let (answer, _abandon) = self.submit(what, Some(held), [Some(place), None], move || {
            let connection = slot.connection();
            let result = call(connection);
            if result.as_ref().is_err_and(CallError::is_disconnect) || !connection.looks_alive() {
                slot.mark_dead();
            }
            result
        })?;
        // Where no answer comes, dropping `_abandon` leaves the thread behind.
        match timeout_at(deadline, answer).await {
            Ok(answer) => received(answer)?.map_err(Failure::Call),
            Err(_) => Err(Failure::CallTimeout(limit)),
        }
    }

    /// A place on a living connection, which is opened where there is none. One opening at a time: who waited for one
    /// that failed gets its error instead of trying again.
    async fn connection(
        &self,
        state: &LaneState<C, E>,
        deadline: Instant,
        limit: Duration,
    ) -> Result<Slot<C>, Failure<E>> {
        if let Some(slot) = state.pick() {
            return Ok(slot);
        }
        let seen = state.attempts();
        let gate = timeout_at(deadline, state.gate.lock()).await;
        let mut gate = gate.map_err(|_| Failure::OpenTimeout(limit))?;
        if let Some(slot) = state.pick() {
            return Ok(slot);
        }
        if let Some(refusal) = gate.refusal.as_ref().filter(|_| state.attempts() != seen) {
            return Err(refusal.clone().into());
        }
        if let Some(not_before) = gate.not_before {
            let pause = timeout_at(deadline, tokio::time::sleep_until(not_before)).await;
            pause.map_err(|_| Failure::OpenTimeout(limit))?;
        }
        self.refuse_when_exhausted()?;
        let opening = timeout_at(deadline, Arc::clone(&state.openings).acquire_owned()).await;
        let place = self.place(deadline).await.zip(opening.ok().and_then(Result::ok));
        let (place, opening) = place.ok_or(Failure::OpenTimeout(limit))?;
        // Set before the attempt, so that one that never comes back is followed by a pause as well.
        gate.refusal = None;
        gate.not_before = Some(Instant::now() + gate.pause);
        gate.pause = (gate.pause * 2).min(MAX_BACK_OFF);
        let limit = self.limits.open.min(deadline.saturating_duration_since(Instant::now()));
        let (opener, threads) = (Arc::clone(&self.opener), Arc::clone(&self.threads));
        let (answer, _abandon) = {
            let places = [Some(place), Some(opening)];
            self.submit("open", None, places, move || Ok(Live::new(opener()?, threads)))?
        };
        let answer = timeout(limit, answer).await;
        state.count_attempt();
        let refusal = match answer.map(received) {
            Ok(Ok(Ok(live))) => {
                gate.pause = BACK_OFF;
                gate.not_before = None;
                let generation = self.generation.fetch_add(1, Ordering::AcqRel) + 1;
                tracing::debug!(generation, "opened a libvirt connection");
                return Ok(state.add(live));
            }
            Ok(Ok(Err(error))) => Refusal::Error(Arc::new(error)),
            Ok(Err(failure)) => return Err(failure),
            Err(_) => Refusal::Timeout(limit),
        };
        Err(gate.refusal.insert(refusal).clone().into())
    }

    /// Runs something on a connection that the caller holds himself, within `limit`. It takes no place, so that it is
    /// done when all are taken: the caller does one at a time, and gives the connection up when one hangs.
    pub(crate) async fn run_on<T: Send + 'static>(
        &self,
        what: &'static str,
        limit: Duration,
        call: impl FnOnce() -> Result<T, E> + Send + 'static,
    ) -> Result<T, Failure<E>> {
        let (answer, _abandon) = self.submit(what, None, [None, None], call)?;
        match timeout(limit, answer).await {
            Ok(answer) => received(answer)?.map_err(Failure::Call),
            Err(_) => Err(Failure::CallTimeout(limit)),
        }
    }

    /// Lets the connection for events go: whoever still needs it holds it.
    pub(crate) fn release_events(&self) {
        self.events.clear();
    }

    /// What ends things that block when they end; it outlives the pool.
    pub(crate) fn disposer(&self) -> Disposer {
        Disposer(Arc::clone(&self.threads))
    }

    /// A place for a thread inside libvirt; `None` when none comes free in time.
    async fn place(&self, deadline: Instant) -> Option<OwnedSemaphorePermit> {
        timeout_at(deadline, Arc::clone(&self.places).acquire_owned()).await.ok()?.ok()
    }

    fn refuse_when_exhausted(&self) -> Result<(), Failure<E>> {
        let abandoned = self.threads.abandoned();
        if abandoned >= self.limits.abandoned { Err(Failure::Exhausted(abandoned)) } else { Ok(()) }
    }

    /// Hands a job to a thread. `held` is given up when the job ends or is abandoned, whichever comes first; `places`
    /// when it ends.
    fn submit<T: Send + 'static>(
        &self,
        what: &'static str,
        held: Option<Held>,
        places: Places,
        job: impl FnOnce() -> Result<T, E> + Send + 'static,
    ) -> Result<(Answer<T, E>, Abandon), Failure<E>> {
        let (sender, receiver) = oneshot::channel();
        let abandon = Threads::submit(&self.threads, held, move |ticket| {
            let result = threads::catch(job);
            drop(places);
            let failure = match &result {
                Ok(Ok(_)) => None,
                Ok(Err(error)) => Some(error.to_string()),
                Err(panic) => Some(panic.clone()),
            };
            let after = ticket.elapsed();
            // Finished first, sent second: who has the answer must not count the thread as abandoned.
            let late = ticket.finish();
            let deliver = move || {
                if late || sender.send(result).is_err() {
                    tracing::warn!(
                        call = what,
                        ?after,
                        error = failure,
                        "a libvirt call ended after its caller was gone"
                    );
                }
            };
            Done { retire: late, deliver: Box::new(deliver) }
        });
        abandon.map(|abandon| (receiver, abandon)).map_err(|error| Failure::NoThread(error.to_string()))
    }
}

/// Ends things on a thread that may block.
#[derive(Debug, Clone)]
pub(crate) struct Disposer(Arc<Threads>);

impl Disposer {
    /// Runs this, which nobody waits for.
    pub(crate) fn dispose(&self, job: impl FnOnce() + Send + 'static) {
        Threads::dispose(&self.0, job);
    }
}

type Answer<T, E> = oneshot::Receiver<Result<Result<T, E>, String>>;

fn received<T, E>(
    answer: Result<Result<Result<T, E>, String>, oneshot::error::RecvError>,
) -> Result<Result<T, E>, Failure<E>> {
    match answer {
        Ok(Ok(result)) => Ok(result),
        Ok(Err(panic)) => Err(Failure::Panicked(panic)),
        Err(closed) => Err(Failure::NoThread(closed.to_string())),
    }
}

#[cfg(test)]
mod tests;
