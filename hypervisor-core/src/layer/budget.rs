//! Not more calls than the server allows, slowed down before it refuses.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::{Attempt, Call, Policy};
use crate::error::{Error, ErrorKind, Result};
use crate::operation::{Operation, OperationClass};

/// How many calls a server allows, by window and kind of operation. The first half of a window's calls go out as they come; the rest are spread
/// over what is left of it, so that a long batch slows down before it meets a refusal. Clones share what is left: give one to every
/// connection that counts together on the server.
///
/// Attempts count, not calls: a repetition is one more. What a server says of itself is obeyed as well: after a refusal with
/// `Retry-After`, nothing is sent before that time.
///
/// ```
/// use std::time::Duration;
/// use hypervisor_core::layer::Budget;
/// use hypervisor_core::{Operation, OperationClass};
/// let budget = Budget::new()
///     .allow(1000, Duration::from_secs(3600))
///     .allow_for(100, Duration::from_secs(3600), |operation| operation.class() != OperationClass::Read);
/// assert_eq!(budget.time_for(Operation::StartVm, 50), Duration::ZERO);
/// assert!(budget.time_for(Operation::StartVm, 100) > Duration::from_secs(1800));
/// ```
#[derive(Clone)]
pub struct Budget {
    state: Arc<Mutex<State>>,
    max_wait: Duration,
}

/// Longer than any connection lives.
const NEVER: Duration = Duration::from_secs(30 * 365 * 86_400);

type Applies = Arc<dyn Fn(Operation) -> bool + Send + Sync>;

#[derive(Clone, Default)]
struct State {
    rules: Vec<Rule>,
    /// The server has asked for silence until then.
    silence: Option<Instant>,
}

#[derive(Clone)]
struct Rule {
    calls: usize,
    window: Duration,
    applies: Applies,
    /// When the calls within the last window were, or will be, sent, in this order.
    sent: VecDeque<Instant>,
}

impl Default for Budget {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.lock();
        let rules = state.rules.iter().map(|rule| (rule.calls, rule.window, rule.sent.len()));
        f.debug_list().entries(rules).finish()
    }
}

impl Budget {
    /// No limits yet.
    #[must_use]
    pub fn new() -> Self {
        Self { state: Arc::default(), max_wait: Duration::from_secs(600) }
    }

    /// At most `calls` of any kind within any `window`.
    #[must_use]
    pub fn allow(self, calls: usize, window: Duration) -> Self {
        self.allow_for(calls, window, |_| true)
    }

    /// At most `calls` of the operations for which `applies` holds. A call counts for every rule that applies to it.
    #[must_use]
    pub fn allow_for(
        self,
        calls: usize,
        window: Duration,
        applies: impl Fn(Operation) -> bool + Send + Sync + 'static,
    ) -> Self {
        let rule = Rule { calls: calls.max(1), window, applies: Arc::new(applies), sent: VecDeque::new() };
        self.lock().rules.push(rule);
        self
    }

    /// The limits that the v1 gateway's document publishes: 1000 reads, 100 operations on guests and 50 batches in an hour.
    #[must_use]
    pub fn v1() -> Self {
        let hour = Duration::from_secs(3600);
        Self::new()
            .allow_for(1000, hour, |operation| operation.class() == OperationClass::Read)
            .allow_for(50, hour, |operation| operation == Operation::SubmitBatch)
            .allow_for(100, hour, |operation| {
                operation.class() != OperationClass::Read && operation != Operation::SubmitBatch
            })
    }

    /// The longest that a call waits for its turn; where it would be longer, it fails at once with [`RateLimited`](ErrorKind::RateLimited)
    /// and says when. Ten minutes.
    #[must_use]
    pub fn max_wait(mut self, longest: Duration) -> Self {
        self.max_wait = longest;
        self
    }

    /// How long it would take from now until the last of so many calls is sent.
    #[must_use]
    pub fn time_for(&self, operation: Operation, calls: usize) -> Duration {
        let mut plan = self.lock().clone();
        let now = Instant::now();
        let last = (0..calls).map(|_| plan.reserve(operation, now)).last();
        last.map_or(Duration::ZERO, |at| at.saturating_duration_since(now))
    }

    /// How many calls of this operation can be sent within the windows that are open, however slowly.
    #[must_use]
    pub fn left_for(&self, operation: Operation) -> Option<usize> {
        let now = Instant::now();
        let mut state = self.lock();
        let rules = state.rules.iter_mut().filter(|rule| (rule.applies)(operation));
        rules.map(|rule| rule.calls.saturating_sub(rule.used(now))).min()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next turn of a call that began then.
    fn turn(&self, operation: Operation, begun: Instant, now: Instant) -> Result<Turn<'_>> {
        let mut state = self.lock();
        let at = state.next(operation, now);
        if at.saturating_duration_since(begun) > self.max_wait {
            let wait = at.saturating_duration_since(now);
            let message = format!("the calls that the server allows are used up for {} s", wait.as_secs());
            return Err(Error::new(ErrorKind::RateLimited, message).with_retry_after(wait));
        }
        state.take(operation, at, now);
        Ok(Turn { budget: self, operation, at, taken: false })
    }
}

/// A call's turn. Where nobody takes it, because the call was dropped in the queue, it is another call's.
struct Turn<'a> {
    budget: &'a Budget,
    operation: Operation,
    at: Instant,
    taken: bool,
}

impl Turn<'_> {
    /// Takes it at its time, unless the server has asked for silence since it was given.
    fn take(mut self, now: Instant) -> bool {
        self.taken = self.budget.lock().silence.is_none_or(|until| until <= now);
        self.taken
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        if !self.taken {
            self.budget.lock().give_back(self.operation, self.at);
        }
    }
}

impl State {
    /// The time of the next call, which then counts.
    fn reserve(&mut self, operation: Operation, now: Instant) -> Instant {
        let at = self.next(operation, now);
        self.take(operation, at, now);
        at
    }

    /// The time at which the next call can be sent.
    fn next(&self, operation: Operation, now: Instant) -> Instant {
        let mut at = self.silence.map_or(now, |until| until.max(now));
        let applying = || self.rules.iter().filter(|rule| (rule.applies)(operation));
        // A later time may be too early for another rule, but never for one that has been passed: times only grow.
        loop {
            let next = applying().map(|rule| rule.earliest(at)).max().unwrap_or(at);
            if next <= at {
                break;
            }
            at = next;
        }
        at
    }

    fn take(&mut self, operation: Operation, at: Instant, now: Instant) {
        for rule in self.rules.iter_mut().filter(|rule| (rule.applies)(operation)) {
            rule.forget(now);
            rule.add(at);
        }
    }

    fn give_back(&mut self, operation: Operation, at: Instant) {
        for rule in self.rules.iter_mut().filter(|rule| (rule.applies)(operation)) {
            if let Ok(place) = rule.sent.binary_search(&at) {
                rule.sent.remove(place);
            }
        }
    }
}

impl Rule {
    fn forget(&mut self, now: Instant) {
        while self.sent.front().is_some_and(|sent| now.saturating_duration_since(*sent) >= self.window) {
            self.sent.pop_front();
        }
    }

    fn add(&mut self, at: Instant) {
        // One that another rule has put off may stand before this one.
        let place = self.sent.iter().rev().take_while(|sent| **sent > at).count();
        self.sent.insert(self.sent.len() - place, at);
    }

    fn used(&mut self, now: Instant) -> usize {
        self.forget(now);
        self.sent.len()
    }

    /// The earliest time, not before `at`, at which this rule lets a call out.
    fn earliest(&self, at: Instant) -> Instant {
        let over = self.sent.partition_point(|sent| at.saturating_duration_since(*sent) >= self.window);
        let Some(first) = self.sent.get(over) else { return at };
        let used = self.sent.len() - over;
        // A window beyond what the clock can show does not end.
        let end = first.checked_add(self.window).or_else(|| first.checked_add(NEVER)).unwrap_or(at);
        let left = self.calls.saturating_sub(used);
        if left == 0 {
            return end.max(at);
        }
        if used < self.calls.div_ceil(2) {
            return at;
        }
        let last = self.sent.back().copied().unwrap_or(at);
        let parts = u32::try_from(left + 1).unwrap_or(u32::MAX);
        let pause = end.saturating_duration_since(last) / parts;
        last.checked_add(pause).unwrap_or(at).max(at)
    }
}

impl Policy for Budget {
    async fn run<T: Send + 'static>(&self, call: &Call<'_>, attempt: Attempt<'_, T>) -> Result<T> {
        self.wait(call).await?;
        let answer = attempt.send().await;
        self.heed(call, &answer);
        answer
    }
}

impl Budget {
    /// Waits for the call's turn.
    pub(super) async fn wait(&self, call: &Call<'_>) -> Result<()> {
        if !counts(call) {
            return Ok(());
        }
        let begun = Instant::now();
        let mut now = begun;
        loop {
            let turn = self.turn(call.operation(), begun, now)?;
            // A timer that is due already still takes until the next millisecond.
            if turn.at > now {
                tokio::time::sleep_until(turn.at).await;
                now = Instant::now();
            }
            if turn.take(now) {
                break;
            }
        }
        if now > begun {
            call.add_queued(now.saturating_duration_since(begun));
        }
        Ok(())
    }

    /// Takes note of what the server says of itself.
    pub(super) fn heed<T>(&self, call: &Call<'_>, answer: &Result<T>) {
        if let Err(error) = answer
            && counts(call)
            && error.kind() == ErrorKind::RateLimited
            && let Some(after) = error.retry_after()
        {
            let until = Instant::now().checked_add(after);
            let mut state = self.lock();
            state.silence = state.silence.max(until);
        }
    }
}

/// A batch is made of calls that count themselves.
fn counts(call: &Call<'_>) -> bool {
    call.is_counted() || call.is_timed()
}
