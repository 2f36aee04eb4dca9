//! Threads for calls that block, started when needed and ended when idle, abandoned or no longer wanted.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::OwnedSemaphorePermit;

/// How long a thread waits for work before it ends.
const IDLE: Duration = Duration::from_secs(10);

const RUNNING: u8 = 0;
const ABANDONED: u8 = 1;
const DONE: u8 = 2;

/// What a call occupies: a place in its lane, and its connection's good name.
pub(super) struct Held {
    permit: OwnedSemaphorePermit,
    stragglers: Arc<AtomicUsize>,
}

/// What a thread occupies until its job has really ended, abandoned or not. It is never read: it is held.
pub(super) type Places = [Option<OwnedSemaphorePermit>; 2];

impl Held {
    pub(super) fn new(permit: OwnedSemaphorePermit, stragglers: Arc<AtomicUsize>) -> Self {
        Self { permit, stragglers }
    }
}

/// A job's standing, seen from both sides.
pub(super) struct Ticket {
    state: AtomicU8,
    started: Instant,
    permit: Mutex<Option<OwnedSemaphorePermit>>,
    stragglers: Option<Arc<AtomicUsize>>,
    threads: Arc<Threads>,
}

impl Ticket {
    pub(super) fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// The job has ended; whether it had been abandoned.
    pub(super) fn finish(&self) -> bool {
        let late = self.state.swap(DONE, Ordering::AcqRel) == ABANDONED;
        if late {
            self.count(false);
        }
        self.release();
        late
    }

    fn abandon(&self) {
        // Counted first: the thread must not count itself back before.
        self.count(true);
        if self.state.compare_exchange(RUNNING, ABANDONED, Ordering::AcqRel, Ordering::Acquire).is_ok() {
            self.release();
        } else {
            self.count(false);
        }
    }

    fn is_abandoned(&self) -> bool {
        self.state.load(Ordering::Acquire) == ABANDONED
    }

    fn count(&self, more: bool) {
        let counters = [Some(&self.threads.abandoned), self.stragglers.as_deref()];
        for counter in counters.into_iter().flatten() {
            if more {
                counter.fetch_add(1, Ordering::AcqRel)
            } else {
                counter.fetch_sub(1, Ordering::AcqRel)
            };
        }
    }

    fn release(&self) {
        drop(self.permit.lock().unwrap_or_else(PoisonError::into_inner).take());
    }
}

/// Dropped while the job still runs, it leaves the thread behind.
pub(super) struct Abandon(Arc<Ticket>);

impl Drop for Abandon {
    fn drop(&mut self) {
        self.0.abandon();
    }
}

type Job = Box<dyn FnOnce() -> Done + Send>;

/// What a job leaves: it is delivered once the thread counts as idle, so that whoever gets it finds a thread for the
/// next one.
pub(super) struct Done {
    /// The thread was abandoned, and is not used again.
    pub(super) retire: bool,
    pub(super) deliver: Box<dyn FnOnce() + Send>,
}

thread_local! {
    static AFTERWARDS: RefCell<Vec<Box<dyn FnOnce()>>> = const { RefCell::new(Vec::new()) };
}

/// Leaves something to this thread of a pool for when the outcome of the job at hand is delivered: nobody waits for it.
pub(crate) fn afterwards(work: impl FnOnce() + 'static) {
    AFTERWARDS.with_borrow_mut(|left| left.push(Box::new(work)));
}

/// The threads of a pool.
#[derive(Default)]
pub(super) struct Threads {
    state: Mutex<State>,
    wake: Condvar,
    abandoned: AtomicUsize,
}

#[derive(Default)]
struct State {
    queue: VecDeque<Job>,
    idle: usize,
    count: usize,
    closed: bool,
}

impl fmt::Debug for Threads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Threads").field("count", &self.count()).field("abandoned", &self.abandoned()).finish()
    }
}

impl Threads {
    pub(super) fn new() -> Self {
        Self::default()
    }

    /// How many threads hang past the deadline of their call.
    pub(super) fn abandoned(&self) -> usize {
        self.abandoned.load(Ordering::Acquire)
    }

    /// How many threads there are.
    pub(super) fn count(&self) -> usize {
        self.lock().count
    }

    /// Lets the threads end: idle ones now, others after their job.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.wake.notify_all();
    }

    /// Runs a job on a thread. The job must call [`Ticket::finish`], whose answer says whether the thread retires.
    pub(super) fn submit(
        threads: &Arc<Self>,
        held: Option<Held>,
        job: impl FnOnce(&Ticket) -> Done + Send + 'static,
    ) -> std::io::Result<Abandon> {
        let (permit, stragglers) = held.map(|held| (held.permit, held.stragglers)).unzip();
        let ticket = Arc::new(Ticket {
            state: AtomicU8::new(RUNNING),
            started: Instant::now(),
            permit: Mutex::new(permit),
            stragglers,
            threads: Arc::clone(threads),
        });
        let theirs = Arc::clone(&ticket);
        // Given up before it began: what was not sent is not sent late.
        let run = move || {
            if theirs.is_abandoned() {
                return Done { retire: theirs.finish(), deliver: Box::new(|| {}) };
            }
            job(&theirs)
        };
        Self::start(threads, Box::new(run))?;
        Ok(Abandon(ticket))
    }

    /// Runs something that may block and that nobody waits for.
    pub(super) fn dispose(threads: &Arc<Self>, job: impl FnOnce() + Send + 'static) {
        let job = Box::new(move || {
            if let Err(panic) = catch(job) {
                tracing::debug!(panic, "closing a libvirt connection failed");
            }
            Done { retire: false, deliver: Box::new(|| {}) }
        });
        if let Err(error) = Self::start(threads, job) {
            tracing::warn!(%error, "no thread to close a libvirt connection on");
        }
    }

    fn start(threads: &Arc<Self>, job: Job) -> std::io::Result<()> {
        let mut state = threads.lock();
        if state.idle > state.queue.len() {
            state.queue.push_back(job);
            drop(state);
            threads.wake.notify_one();
            return Ok(());
        }
        let own = Arc::clone(threads);
        // Spawned under the lock, so that the thread does not see its count before it is counted.
        std::thread::Builder::new().name("hv-libvirt".into()).spawn(move || own.work(job))?;
        state.count += 1;
        Ok(())
    }

    fn work(&self, first: Job) {
        let mut job = Some(first);
        while let Some(run) = job.take() {
            let done = run();
            if done.retire {
                (done.deliver)();
                break;
            }
            let left = AFTERWARDS.take();
            if left.is_empty() {
                self.lock().idle += 1;
                (done.deliver)();
            } else {
                // Not idle yet: the next job gets another thread.
                (done.deliver)();
                for work in left {
                    if let Err(panic) = catch(work) {
                        tracing::debug!(panic, "clearing up after a libvirt call failed");
                    }
                }
                self.lock().idle += 1;
            }
            let wanted = |state: &mut State| state.queue.is_empty() && !state.closed;
            let waited = self.wake.wait_timeout_while(self.lock(), IDLE, wanted);
            let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
            state.idle = state.idle.saturating_sub(1);
            job = state.queue.pop_front();
        }
        let mut state = self.lock();
        state.count = state.count.saturating_sub(1);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Runs a job; a panic becomes its message.
pub(super) fn catch<T>(job: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(job)).map_err(|panic| {
        let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
        text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no message".into())
    })
}
