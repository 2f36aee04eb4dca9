//! One poll for all who wait on one hypervisor.
//!
//! There is no background task: whoever waits and finds that a look is due makes it for everybody and publishes what it saw. One task is
//! looked at by itself (and held, where the server can), several by one list. How long tasks have taken tells when the next of their kind are
//! looked at.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use futures::{StreamExt, stream};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::pace::TaskPace;
use super::wait::WaitOptions;
use crate::error::{Error, ErrorKind, Result};
use crate::model::{PageRequest, TaskId, TaskInfo, TaskQuery, TaskState};
use crate::operation::Operation;
use crate::traits::{Hypervisor, Tasks};

/// How long a task took by its own account, which is worth more than when somebody looked; `None` where it only tells whole seconds.
fn took(task: &TaskInfo) -> Option<Duration> {
    let (started, ended) = (task.started?, task.ended?);
    let is_fine =
        |time: SystemTime| time.duration_since(UNIX_EPOCH).is_ok_and(|since| since.subsec_millis() != 0);
    ended.duration_since(started).ok().filter(|_| is_fine(started) || is_fine(ended))
}

/// The turnstiles of the hypervisors that are being waited for. A trait object has no room for one of its own; an entry goes with the
/// last wait.
static SHARED: Mutex<BTreeMap<usize, Weak<Turnstile>>> = Mutex::new(BTreeMap::new());

/// A look that takes longer than this belongs to a future that nobody polls any more; somebody else then looks.
const STALLED: Duration = Duration::from_secs(40);
const SHORTEST_PAUSE: Duration = Duration::from_millis(20);
/// The shortest pause before a look that is aimed at the end of a task.
const SHORTEST_AIM: Duration = Duration::from_millis(5);
/// The longest distance that looks are kept at so that they serve several tasks.
const LONGEST_STEP: Duration = Duration::from_secs(1);
/// How far a list is followed, unless more are waited for, before the tasks that are missing from it are asked for one by one.
const MAX_PAGES: usize = 4;
const PAGE_SIZE: u32 = 500;
const SINGLE_LOOKS: usize = 4;

/// That much later. A time that the clock cannot show, as a server may ask for, is as good as never.
fn later(now: Instant, by: Duration) -> Instant {
    const NEVER: Duration = Duration::from_secs(30 * 365 * 86_400);
    now.checked_add(by).unwrap_or_else(|| now + NEVER)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The pauses between two looks. Without any, a wait would do nothing else than look.
pub(super) fn backoff(options: &WaitOptions) -> ExponentialBackoff {
    let first = options.first_pause.max(SHORTEST_PAUSE);
    ExponentialBuilder::new()
        .with_min_delay(first)
        .with_max_delay(options.longest_pause.max(first))
        .with_factor(1.5)
        .without_max_times()
        .build()
}

/// Who waits for which task, and what was last seen.
pub(crate) struct Turnstile {
    state: Mutex<State>,
    /// Something was published, or a look was given up.
    news: Notify,
    /// One more task is waited for: a look that holds another one must end.
    crowd: Notify,
    /// Keeps the allocation, so that no other hypervisor gets the address that this one is known by.
    home: Option<Weak<dyn Hypervisor>>,
}

#[derive(Default)]
struct State {
    seats: BTreeMap<TaskId, Seat>,
    /// The look under way: its number and when it began.
    round: Option<(u64, Instant)>,
    rounds: u64,
    /// The backend cannot list tasks.
    no_list: bool,
    /// When the next look is due, where that is known: everybody who wakes asks.
    due: Option<Instant>,
    /// When the last look began.
    last: Option<Instant>,
    /// How long tasks have taken.
    paces: BTreeMap<Operation, TaskPace>,
}

impl State {
    /// The only seat, where nobody has looked at its task yet.
    fn alone(&mut self) -> Option<&mut Seat> {
        let seat = if self.seats.len() == 1 { self.seats.values_mut().next()? } else { return None };
        (seat.version == 0 && seat.kind.is_some_and(|kind| self.paces.contains_key(&kind))).then_some(seat)
    }

    fn open(&self) -> impl Iterator<Item = (&TaskId, &Seat)> {
        self.seats.iter().filter(|(_, seat)| !seat.is_final())
    }

    /// When the next look is due.
    fn due(&mut self, now: Instant) -> Instant {
        let apart = |seat: &Seat| self.last.map_or(seat.due, |last| seat.due.max(later(last, seat.step)));
        let due = self.due.or_else(|| self.open().map(|(_, seat)| apart(seat)).min());
        self.due = due;
        due.unwrap_or(now)
    }
}

struct Seat {
    waiters: usize,
    /// What the task does, unless somebody wants to see how it goes on.
    kind: Option<Operation>,
    entered: Instant,
    /// Its age when it was last seen at work.
    at_work: Duration,
    /// How long after another look one for this task is worth it.
    step: Duration,
    version: u64,
    look: Option<Result<TaskInfo>>,
    pauses: ExponentialBackoff,
    longest: Duration,
    due: Instant,
}

impl Seat {
    fn is_final(&self) -> bool {
        self.look.as_ref().is_some_and(|look| look.as_ref().is_ok_and(|info| info.state.is_final()))
    }
}

enum Step {
    News(u64, Result<TaskInfo>),
    Look(Round),
    Sleep(Instant),
}

impl Turnstile {
    /// One of its own, for those who wait together.
    pub(crate) fn local() -> Arc<Self> {
        Arc::new(Self::new(None))
    }

    /// The one that all waits on this hypervisor share.
    pub(crate) fn shared(hypervisor: &Arc<dyn Hypervisor>) -> Arc<Self> {
        let mut shared = lock(&SHARED);
        let key = Arc::as_ptr(hypervisor).cast::<()>().addr();
        if let Some(turnstile) = shared.get(&key).and_then(Weak::upgrade) {
            return turnstile;
        }
        let turnstile = Arc::new(Self::new(Some(Arc::downgrade(hypervisor))));
        shared.insert(key, Arc::downgrade(&turnstile));
        turnstile
    }

    fn new(home: Option<Weak<dyn Hypervisor>>) -> Self {
        Self { state: Mutex::default(), news: Notify::new(), crowd: Notify::new(), home }
    }

    /// Begins to wait for the end of a task that does this.
    pub(crate) fn enter(
        self: &Arc<Self>,
        task: &TaskId,
        kind: Option<Operation>,
        options: &WaitOptions,
    ) -> Ticket {
        let mut state = lock(&self.state);
        let now = Instant::now();
        let pace = kind.and_then(|kind| state.paces.get(&kind));
        let first = pace.and_then(TaskPace::first).unwrap_or(options.first_pause);
        let step = pace.and_then(TaskPace::step).unwrap_or_default().min(LONGEST_STEP);
        // Alone, the first look is at once: it may be held. In company it comes with the others'.
        let aimed = later(now, first.min(options.longest_pause));
        let due = if state.seats.is_empty() { now } else { aimed };
        let joins = !state.seats.contains_key(task);
        if joins {
            state.due = None;
            if let Some(alone) = state.alone() {
                alone.due = alone.due.max(aimed);
            }
        }
        let seat = state.seats.entry(task.clone()).or_insert_with(|| Seat {
            waiters: 0,
            kind,
            entered: now,
            at_work: Duration::ZERO,
            step,
            version: 0,
            look: None,
            pauses: backoff(options),
            longest: options.longest_pause,
            due,
        });
        seat.waiters += 1;
        seat.longest = seat.longest.min(options.longest_pause);
        if kind.is_none() && seat.kind.take().is_some() {
            seat.due = seat.due.min(later(now, options.first_pause));
            seat.step = Duration::ZERO;
        }
        let seen = if seat.is_final() { 0 } else { seat.version };
        if joins && state.seats.len() > 1 {
            self.crowd.notify_waiters();
        }
        Ticket { turnstile: Arc::clone(self), task: task.clone(), seen, hold: options.hold }
    }

    fn step(self: &Arc<Self>, task: &TaskId, seen: u64) -> Step {
        let mut state = lock(&self.state);
        let now = Instant::now();
        if let Some(seat) = state.seats.get(task)
            && seat.version > seen
            && let Some(look) = &seat.look
        {
            return Step::News(seat.version, look.clone());
        }
        if let Some((_, since)) = state.round
            && now < since + STALLED
        {
            return Step::Sleep(since + STALLED);
        }
        let due = state.due(now);
        if now < due {
            return Step::Sleep(due);
        }
        let tasks = state.open().map(|(task, _)| task.clone()).collect();
        let list = !state.no_list;
        state.rounds += 1;
        state.round = Some((state.rounds, now));
        state.last = Some(now);
        Step::Look(Round { turnstile: Arc::clone(self), number: state.rounds, began: now, tasks, list })
    }

    /// What a look has shown. One that may have been held shows things as they were when it was answered, a list as they were when it began.
    fn publish(&self, began: Instant, listed: bool, looks: Vec<(TaskId, Result<TaskInfo>)>) {
        let mut state = lock(&self.state);
        let state = &mut *state;
        let now = Instant::now();
        state.due = None;
        // Of those that have ended the youngest counts.
        let mut ended: BTreeMap<Operation, (Duration, Duration)> = BTreeMap::new();
        for (task, look) in looks {
            // A slow look must not overwrite the end that a quicker one has seen.
            let Some(seat) = state.seats.get_mut(&task).filter(|seat| !seat.is_final()) else { continue };
            let age = if listed { began } else { now }.saturating_duration_since(seat.entered);
            match (&look, seat.kind) {
                (Ok(info), Some(kind)) if info.state == TaskState::Succeeded => {
                    let age = took(info).map_or(age, |took| took.min(age));
                    let youngest = ended.entry(kind).or_insert((seat.at_work, age));
                    if age < youngest.1 {
                        *youngest = (seat.at_work, age);
                    }
                }
                (Ok(info), _) if !info.state.is_final() => seat.at_work = age,
                _ => {}
            }
            let asked = look.as_ref().err().and_then(Error::retry_after).unwrap_or_default();
            let pace = seat.kind.and_then(|kind| state.paces.get(&kind));
            seat.step = pace.and_then(TaskPace::step).unwrap_or_default().min(LONGEST_STEP);
            let aim = pace.and_then(|pace| pace.next(age)).map(|next| {
                later(seat.entered, next).min(later(now, seat.longest)).max(later(now, SHORTEST_AIM))
            });
            seat.due = match aim.filter(|_| listed) {
                Some(aim) => aim,
                None => {
                    let pause = seat.pauses.next().unwrap_or(seat.longest).min(seat.longest);
                    // A look that was held has done the waiting already.
                    let waited = now.saturating_duration_since(began);
                    let due = later(now, pause.saturating_sub(waited).max(SHORTEST_PAUSE));
                    aim.map_or(due, |aim| aim.min(due))
                }
            };
            seat.due = seat.due.max(later(now, asked));
            seat.version += 1;
            seat.look = Some(look);
        }
        for (kind, (at_work, ended)) in ended {
            state.paces.entry(kind).or_default().ended(at_work, ended);
        }
    }
}

impl std::fmt::Debug for Turnstile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Turnstile").field("tasks", &lock(&self.state).seats.len()).finish()
    }
}

impl Drop for Turnstile {
    fn drop(&mut self) {
        let Some(home) = &self.home else { return };
        let key = home.as_ptr().cast::<()>().addr();
        let mut shared = lock(&SHARED);
        // Somebody may have opened a new one meanwhile.
        if shared.get(&key).is_some_and(|turnstile| turnstile.strong_count() == 0) {
            shared.remove(&key);
        }
    }
}

/// One wait for one task; leaves the turnstile when it is dropped.
#[derive(Debug)]
pub(crate) struct Ticket {
    turnstile: Arc<Turnstile>,
    task: TaskId,
    seen: u64,
    hold: Duration,
}

impl Ticket {
    /// The next look at the task, whoever made it.
    pub(crate) async fn next<B: Tasks + ?Sized>(&mut self, backend: &B) -> Result<TaskInfo> {
        let turnstile = Arc::clone(&self.turnstile);
        loop {
            let mut news = std::pin::pin!(turnstile.news.notified());
            news.as_mut().enable();
            match turnstile.step(&self.task, self.seen) {
                Step::News(version, look) => {
                    self.seen = version;
                    return look;
                }
                Step::Look(round) => Box::pin(round.run(backend, self.hold)).await,
                Step::Sleep(until) => {
                    tokio::select! {
                        () = tokio::time::sleep_until(until) => {}
                        () = news => {}
                    }
                }
            }
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut state = lock(&self.turnstile.state);
        if let Some(seat) = state.seats.get_mut(&self.task) {
            seat.waiters -= 1;
            if seat.waiters == 0 {
                let left = state.seats.remove(&self.task);
                if left.is_some_and(|seat| state.due == Some(seat.due)) {
                    state.due = None;
                }
            }
        }
    }
}

/// One look for everybody. Dropped half-way, it lets the next one look.
struct Round {
    turnstile: Arc<Turnstile>,
    number: u64,
    began: Instant,
    tasks: Vec<TaskId>,
    list: bool,
}

impl Round {
    async fn run<B: Tasks + ?Sized>(self, backend: &B, hold: Duration) {
        let looks = match self.tasks.as_slice() {
            [task] => self.single(backend, task, hold).await,
            tasks if self.list => self.listed(backend, tasks).await,
            tasks => one_by_one(backend, tasks).await,
        };
        self.turnstile.publish(self.began, self.tasks.len() > 1, looks);
    }

    async fn single<B: Tasks + ?Sized>(
        &self,
        backend: &B,
        task: &TaskId,
        hold: Duration,
    ) -> Vec<(TaskId, Result<TaskInfo>)> {
        let mut crowd = std::pin::pin!(self.turnstile.crowd.notified());
        crowd.as_mut().enable();
        tokio::select! {
            look = backend.get_task(task, Some(hold)) => vec![(task.clone(), look)],
            () = crowd => Vec::new(),
        }
    }

    async fn listed<B: Tasks + ?Sized>(
        &self,
        backend: &B,
        tasks: &[TaskId],
    ) -> Vec<(TaskId, Result<TaskInfo>)> {
        let mut missing: BTreeSet<TaskId> = tasks.iter().cloned().collect();
        let mut looks = Vec::with_capacity(tasks.len());
        let mut page = PageRequest::first().limit(PAGE_SIZE);
        let query = TaskQuery::all().ids(tasks.iter().cloned());
        let least = tasks.len().div_ceil(usize::try_from(PAGE_SIZE).unwrap_or(usize::MAX));
        for _ in 0..least.max(MAX_PAGES) {
            let found = match backend.list_tasks(&query, &page).await {
                Ok(found) => found,
                Err(error)
                    if matches!(error.kind(), ErrorKind::Unsupported | ErrorKind::PermissionDenied) =>
                {
                    lock(&self.turnstile.state).no_list = true;
                    break;
                }
                Err(error) => {
                    looks.extend(missing.into_iter().map(|task| (task, Err(error.clone()))));
                    return looks;
                }
            };
            for info in found.items {
                if let Some(task) = missing.take(&info.id) {
                    looks.push((task, Ok(info)));
                }
            }
            match found.next {
                Some(next) if !missing.is_empty() => page.cursor = Some(next),
                _ => break,
            }
        }
        let missing: Vec<TaskId> = missing.into_iter().collect();
        looks.extend(one_by_one(backend, &missing).await);
        looks
    }
}

async fn one_by_one<B: Tasks + ?Sized>(backend: &B, tasks: &[TaskId]) -> Vec<(TaskId, Result<TaskInfo>)> {
    let look = |task: TaskId| async move {
        let look = backend.get_task(&task, None).await;
        (task, look)
    };
    let looks: Vec<_> = tasks.iter().cloned().map(look).collect();
    stream::iter(looks).buffer_unordered(SINGLE_LOOKS).collect().await
}

impl Drop for Round {
    fn drop(&mut self) {
        let mut state = lock(&self.turnstile.state);
        if state.round.is_some_and(|(number, _)| number == self.number) {
            state.round = None;
        }
        drop(state);
        self.turnstile.news.notify_waiters();
    }
}

/// Whether anybody waits on this hypervisor.
#[cfg(test)]
pub(super) fn is_shared(hypervisor: &Arc<dyn Hypervisor>) -> bool {
    lock(&SHARED).contains_key(&Arc::as_ptr(hypervisor).cast::<()>().addr())
}
