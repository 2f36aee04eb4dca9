//! Faults in front of any backend, by dice that fall the same way for the same seed.

use std::any::Any;
use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::StreamExt as _;

use super::{Attempt, Call, Policy};
use crate::error::{Effect, Error, ErrorKind, Result, Retry};
use crate::model::{Event, EventKind, EventStream, Page, TaskId, TaskInfo, TaskState, VmInfo};
use crate::operation::OperationClass;

/// A whole, in the unit of the dice.
const WHOLE: u32 = 1000;
/// How many answers are remembered to be given again.
const REMEMBERED: usize = 1000;

/// Makes calls slow, lost, stale and wrong, so that a program can be tested against it. It belongs next to the backend, under the layers
/// that are to cope with it. Clones share the dice and the counts.
///
/// Chances are in thousandths, for each attempt. The same seed and the same order of calls give the same faults.
///
/// ```
/// use std::sync::Arc;
/// use hypervisor_core::layer::{Chaos, Layered, Stack};
/// use hypervisor_core::memory::Memory;
/// use hypervisor_core::model::{VmQuery, VmSpec};
/// # tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap().block_on(async {
/// let chaos = Chaos::new(7).drop_before_send(100).drop_after_send(100);
/// let shaky = Arc::new(Layered::new(Arc::new(Memory::new()), chaos.clone()));
/// let hv = Stack::standard(shaky).build();
/// for n in 0..50 {
///     hv.vms().create(&VmSpec::new(format!("vm-{n}")).client_token(format!("order-{n}"))).await?.wait().await?;
/// }
/// assert_eq!(hv.vms().all(&VmQuery::all()).await?.items.len(), 50);
/// assert!(chaos.injected() > 0);
/// # Ok::<(), hypervisor_core::Error>(()) }).unwrap();
/// ```
#[derive(Clone)]
pub struct Chaos {
    plan: Plan,
    shared: Arc<Shared>,
}

#[derive(Debug, Clone, Default)]
struct Plan {
    latency: Range<Duration>,
    drop_before: u32,
    drop_after: u32,
    stale: u32,
    fail_task: u32,
    lose_event: u32,
    double_event: u32,
}

struct Shared {
    seed: u64,
    calls: AtomicU64,
    injected: AtomicU64,
    answers: Mutex<HashMap<String, Box<dyn Any + Send>>>,
    /// Tasks that have been made to fail: they stay failed.
    failed: Mutex<BTreeSet<TaskId>>,
}

impl fmt::Debug for Chaos {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Chaos")
            .field("seed", &self.shared.seed)
            .field("plan", &self.plan)
            .field("injected", &self.injected())
            .finish()
    }
}

impl Chaos {
    /// Nothing goes wrong yet.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let shared = Shared {
            seed,
            calls: AtomicU64::new(0),
            injected: AtomicU64::new(0),
            answers: Mutex::default(),
            failed: Mutex::default(),
        };
        Self { plan: Plan::default(), shared: Arc::new(shared) }
    }

    /// Every call takes this much longer, evenly distributed.
    #[must_use]
    pub fn latency(mut self, range: Range<Duration>) -> Self {
        self.plan.latency = range;
        self
    }

    /// A call does not arrive: [`Connect`](ErrorKind::Connect), without effect.
    #[must_use]
    pub fn drop_before_send(mut self, per_mille: u32) -> Self {
        self.plan.drop_before = per_mille;
        self
    }

    /// A call arrives and is carried out, its answer is lost: [`Transport`](ErrorKind::Transport), effect unknown.
    #[must_use]
    pub fn drop_after_send(mut self, per_mille: u32) -> Self {
        self.plan.drop_after = per_mille;
        self
    }

    /// A guest, a list of guests or a task is answered as it was at the look before.
    #[must_use]
    pub fn stale_read(mut self, per_mille: u32) -> Self {
        self.plan.stale = per_mille;
        self
    }

    /// A task that has succeeded is shown as failed, at every look from then on. What it did is done.
    #[must_use]
    pub fn fail_task(mut self, per_mille: u32) -> Self {
        self.plan.fail_task = per_mille;
        self
    }

    /// An event is lost, and a `Resync` comes in its place: that is what a backend owes its readers.
    #[must_use]
    pub fn lose_event(mut self, per_mille: u32) -> Self {
        self.plan.lose_event = per_mille;
        self
    }

    /// An event comes twice.
    #[must_use]
    pub fn double_event(mut self, per_mille: u32) -> Self {
        self.plan.double_event = per_mille;
        self
    }

    /// How many faults there have been; latency is none.
    #[must_use]
    pub fn injected(&self) -> u64 {
        self.shared.injected.load(Ordering::Relaxed)
    }

    fn dice(&self) -> fastrand::Rng {
        let number = self.shared.calls.fetch_add(1, Ordering::Relaxed);
        fastrand::Rng::with_seed(self.shared.seed.wrapping_add(number.wrapping_mul(0x9E37_79B9_7F4A_7C15)))
    }

    fn strikes(&self, dice: &mut fastrand::Rng, per_mille: u32) -> bool {
        let strikes = dice.u32(0..WHOLE) < per_mille;
        if strikes {
            self.shared.injected.fetch_add(1, Ordering::Relaxed);
        }
        strikes
    }

    /// The answer, changed as the dice say.
    fn change<T: Send + 'static>(&self, call: &Call<'_>, dice: &mut fastrand::Rng, mut answer: T) -> T {
        alter(&mut answer, |events: &mut EventStream| {
            let whole = std::mem::replace(events, futures::stream::empty().boxed());
            *events = self.shake(whole, dice.u64(..));
        });
        alter(&mut answer, |task| self.fail(task, dice));
        if call.class() == OperationClass::Read && self.plan.stale > 0 {
            return self.age(call, dice, answer);
        }
        answer
    }

    fn fail(&self, task: &mut TaskInfo, dice: &mut fastrand::Rng) {
        if task.state != TaskState::Succeeded {
            return;
        }
        let mut failed = lock(&self.shared.failed);
        if failed.contains(&task.id) || self.strikes(dice, self.plan.fail_task) {
            failed.insert(task.id.clone());
            task.state = TaskState::Failed;
            task.error = Some("chaos: the task failed after its work".to_owned());
        }
    }

    /// Gives the answer before this one, if there was one, and remembers this one.
    fn age<T: Send + 'static>(&self, call: &Call<'_>, dice: &mut fastrand::Rng, answer: T) -> T {
        let Some(copy) = copy(&answer) else { return answer };
        let mut answers = lock(&self.shared.answers);
        let key = call.to_string();
        if let Some(Ok(old)) = answers.remove(&key).map(Box::<dyn Any + Send>::downcast::<T>)
            && self.strikes(dice, self.plan.stale)
        {
            answers.insert(key, copy);
            return *old;
        }
        if answers.len() < REMEMBERED {
            answers.insert(key, copy);
        }
        answer
    }

    fn shake(&self, events: EventStream, seed: u64) -> EventStream {
        let (chaos, mut dice) = (self.clone(), fastrand::Rng::with_seed(seed));
        let shaken = events.flat_map(move |event| {
            let events: Vec<Result<Event>> = match event {
                Ok(event) if chaos.strikes(&mut dice, chaos.plan.lose_event) => {
                    let reason = "chaos: an event was lost".to_owned();
                    vec![Ok(Event::new(event.time, EventKind::Resync { reason }))]
                }
                Ok(event) if chaos.strikes(&mut dice, chaos.plan.double_event) => {
                    vec![Ok(event.clone()), Ok(event)]
                }
                event => vec![event],
            };
            futures::stream::iter(events)
        });
        shaken.boxed()
    }
}

impl Policy for Chaos {
    async fn run<T: Send + 'static>(&self, call: &Call<'_>, attempt: Attempt<'_, T>) -> Result<T> {
        let mut dice = self.dice();
        let Range { start, end } = self.plan.latency;
        if !end.is_zero() {
            let more = end.saturating_sub(start).mul_f64(dice.f64());
            tokio::time::sleep(start.saturating_add(more)).await;
        }
        if self.strikes(&mut dice, self.plan.drop_before) {
            return Err(Error::new(ErrorKind::Connect, "chaos: the call was not sent"));
        }
        let answer = attempt.send().await?;
        // A stream that has been read cannot be lost and sent again; a batch reports for each of its calls.
        if call.may_repeat() && self.strikes(&mut dice, self.plan.drop_after) {
            let lost = Error::new(ErrorKind::Transport, "chaos: the answer was lost");
            return Err(match call.class() {
                OperationClass::Read => lost.with_retry(Retry::Safe).with_effect(Effect::None),
                _ => lost,
            });
        }
        Ok(self.change(call, &mut dice, answer))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Changes a value if it is a `U`.
fn alter<T: 'static, U: 'static>(value: &mut T, change: impl FnOnce(&mut U)) {
    let any: &mut dyn Any = value;
    if let Some(known) = any.downcast_mut() {
        change(known);
    }
}

fn copy<T: 'static>(answer: &T) -> Option<Box<dyn Any + Send>> {
    fn of<U: Clone + Send + 'static>(any: &dyn Any) -> Option<Box<dyn Any + Send>> {
        any.downcast_ref::<U>().map(|value| Box::new(value.clone()) as Box<dyn Any + Send>)
    }
    of::<VmInfo>(answer).or_else(|| of::<Page<VmInfo>>(answer)).or_else(|| of::<TaskInfo>(answer))
}
