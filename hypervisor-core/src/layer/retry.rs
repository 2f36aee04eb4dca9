//! Repeating what can be repeated.

use std::future::Future;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};
use tokio::time::Instant;

use super::call::Target;
use super::once::Tokens;
use super::{Attempt, Call, Policy};
use crate::error::{Effect, Error, ErrorKind, Result, Retry};
use crate::operation::OperationClass;

/// Repeats a call that failed, where that is safe.
///
/// | the error says | operation | repeated |
/// |---|---|---|
/// | [`Retry::Never`] | any | no |
/// | [`Retry::Safe`]: it had no effect | any | yes |
/// | [`Retry::IfIdempotent`]: it may have had one | read, idempotent write | yes |
/// | [`Retry::IfIdempotent`] | delete of a guest | only while the id still belongs to that guest |
/// | [`Retry::IfIdempotent`] | create with a client token | only after a look that did not find it |
/// | [`Retry::IfIdempotent`] | other create, action | no |
///
/// After an unknown outcome, what a create with a client token has made is looked for and answered if it is there, also when no repetition is left;
/// a look that fails, or could not see every host, is never taken for a no. A delete that is repeated and finds nothing, or
/// a guest of another uid, has succeeded. Once an attempt may have had an effect, the final error says so, whatever the last attempt said.
///
/// Ids are used again: where the caller has named no uid, the delete of a guest asks for it before the first attempt, and every attempt carries it.
/// Where the backend tells none (or the guest cannot be read), a guest that is there after a lost answer may be the next one, and the delete is
/// not repeated.
///
/// A token names one logical call: creates with the same token go one after the other, and one that comes after another (whose caller may have
/// given up on it) looks first, and answers with what is there.
#[derive(Debug, Clone)]
pub struct RetryPolicy {
    max_attempts: u32,
    min_delay: Duration,
    max_delay: Duration,
    factor: f32,
    budget: Duration,
    max_retry_after: Duration,
    jitter: bool,
    seed: u64,
    calls: Arc<AtomicU64>,
    tokens: Arc<Tokens>,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self::new()
    }
}

impl RetryPolicy {
    /// Four attempts within two minutes, 200 ms apart, then twice as long each time up to 10 s, with jitter.
    #[must_use]
    pub fn new() -> Self {
        Self {
            max_attempts: 4,
            min_delay: Duration::from_millis(200),
            max_delay: Duration::from_secs(10),
            factor: 2.0,
            budget: Duration::from_secs(120),
            max_retry_after: Duration::from_secs(60),
            jitter: true,
            seed: RandomState::new().hash_one("retry"),
            calls: Arc::default(),
            tokens: Arc::default(),
        }
    }

    /// At most so many attempts, the first included; 1 never repeats.
    #[must_use]
    pub fn max_attempts(mut self, attempts: u32) -> Self {
        self.max_attempts = attempts.max(1);
        self
    }

    /// The pauses: the first, and the longest.
    #[must_use]
    pub fn delay(mut self, first: Duration, longest: Duration) -> Self {
        self.min_delay = first;
        self.max_delay = longest.max(first);
        self
    }

    /// How much longer each pause is than the one before; at least 1.
    #[must_use]
    pub fn factor(mut self, factor: f32) -> Self {
        self.factor = if factor > 1.0 { factor } else { 1.0 };
        self
    }

    /// No attempt is begun later than this after the call. Waiting for a turn does not count.
    #[must_use]
    pub fn budget(mut self, budget: Duration) -> Self {
        self.budget = budget;
        self
    }

    /// The longest that a server's `Retry-After` is waited for. Where it asks for more, the error goes to the caller, with
    /// [`Error::retry_after`] set: calling again sooner than asked would only prolong it.
    #[must_use]
    pub fn max_retry_after(mut self, longest: Duration) -> Self {
        self.max_retry_after = longest;
        self
    }

    /// Pauses of exactly the length given, without a random part.
    #[must_use]
    pub fn without_jitter(mut self) -> Self {
        self.jitter = false;
        self
    }

    /// The same random pauses in every run.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self.calls = Arc::default();
        self
    }

    /// Whether a call may be repeated after an error that says `retry`, without looking first.
    #[must_use]
    pub const fn allows(retry: Retry, idempotent: bool) -> bool {
        match retry {
            Retry::Safe => true,
            Retry::IfIdempotent => idempotent,
            Retry::Never => false,
        }
    }

    fn pauses(&self) -> impl Iterator<Item = Duration> + Send + use<> {
        let times = usize::try_from(self.max_attempts.saturating_sub(1)).unwrap_or(usize::MAX);
        let mut pauses = ExponentialBuilder::new()
            .with_min_delay(self.min_delay)
            .with_max_delay(self.max_delay)
            .with_factor(self.factor)
            .with_max_times(times);
        if self.jitter {
            let number = self.calls.fetch_add(1, Ordering::Relaxed);
            // Calls that fail together must not come back together.
            pauses = pauses
                .with_jitter()
                .with_jitter_seed(self.seed.wrapping_add(number.wrapping_mul(0x9E37_79B9)));
        }
        pauses.build().map(whole_millis)
    }
}

/// Rounds off what floating point adds: the timer counts milliseconds and would round up.
fn whole_millis(pause: Duration) -> Duration {
    let millis = pause.as_micros().saturating_add(500) / 1000;
    Duration::from_millis(u64::try_from(millis).unwrap_or(u64::MAX))
}

/// How a call is sent, and what can be asked about it, each with what lies around an attempt.
pub(super) struct Ways<S, F, U> {
    pub(super) send: S,
    /// Looks for what it may have made.
    pub(super) find: F,
    /// Asks who has the id of what it deletes.
    pub(super) uid: U,
}

/// What is known of a call between two attempts.
struct Course<'p, I> {
    policy: &'p RetryPolicy,
    pauses: I,
    begun: Instant,
    attempts: u32,
    /// An attempt may have had an effect.
    effect: bool,
    /// The answer to an attempt was lost: it may have been carried out in full.
    lost: bool,
    /// Whether a guest that has the id may be another one than the call is about.
    unsure: bool,
}

impl<I: Iterator<Item = Duration> + Send> Course<'_, I> {
    /// Waits before the next attempt or look; false where there is none.
    async fn pause(&mut self, call: &Call<'_>, error: &Error) -> bool {
        let asked = error.retry_after().unwrap_or_default();
        if asked > self.policy.max_retry_after {
            return false;
        }
        let Some(pause) = self.pauses.next().map(|pause| pause.max(asked)) else { return false };
        let spent = self.begun.elapsed().saturating_sub(call.queued());
        if spent.saturating_add(pause) > self.policy.budget {
            return false;
        }
        tracing::debug!(
            hypervisor.operation = call.operation().as_str(),
            "error.type" = error.kind().as_str(),
            attempt = self.attempts,
            pause_ms = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX),
            "trying again"
        );
        tokio::time::sleep(pause).await;
        true
    }

    /// The error for the caller.
    fn end<T>(&self, error: Error) -> Result<T> {
        let attempts = self.attempts.max(error.attempts());
        let error = match (self.effect, error.effect(), error.retry()) {
            (true, Effect::None, Retry::Safe) => error.with_retry(Retry::IfIdempotent),
            (true, Effect::None, _) => error.with_effect(Effect::Unknown),
            _ => error,
        };
        Err(error.with_attempts(attempts))
    }

    /// Looks for what a call before this one has made with the same token.
    async fn made_before<T, F>(
        &mut self,
        call: &Call<'_>,
        find: &(impl Fn() -> F + Sync),
    ) -> Result<Option<T>>
    where
        F: Future<Output = Result<Option<T>>> + Send,
    {
        self.look(call, find).await.map_err(|error| {
            let hint =
                "A call with the same token may have made it, which could not be found out; nothing was sent";
            error.with_hint(hint)
        })
    }

    /// Looks for what an attempt of unknown outcome may have made, and looks again while the look fails. `Ok(None)`: it is not
    /// there; `Err`: that cannot be known.
    async fn look<T, F>(&mut self, call: &Call<'_>, find: &(impl Fn() -> F + Sync)) -> Result<Option<T>>
    where
        F: Future<Output = Result<Option<T>>> + Send,
    {
        loop {
            let error = match find().await {
                Ok(found) => return Ok(found),
                Err(error) => error,
            };
            if error.retry() == Retry::Never || !self.pause(call, &error).await {
                return Err(error);
            }
        }
    }
}

impl Policy for RetryPolicy {
    async fn run<T: Send + 'static>(&self, call: &Call<'_>, attempt: Attempt<'_, T>) -> Result<T> {
        let ways = Ways { send: || attempt.send(), find: || attempt.find(), uid: || attempt.uid() };
        self.repeat(call, Instant::now(), attempt, ways).await
    }
}

impl RetryPolicy {
    /// Carries out a call that began then.
    pub(super) async fn repeat<T: Send + 'static, S, F, U>(
        &self,
        call: &Call<'_>,
        begun: Instant,
        attempt: Attempt<'_, T>,
        ways: Ways<impl Fn() -> S + Send + Sync, impl Fn() -> F + Send + Sync, impl Fn() -> U + Send + Sync>,
    ) -> Result<T>
    where
        S: Future<Output = Result<T>> + Send,
        F: Future<Output = Result<Option<T>>> + Send,
        U: Future<Output = Result<Option<String>>> + Send,
    {
        let Ways { send, find, uid } = ways;
        if call.may_repeat() && attempt.can_find() && call.client_token().is_some() {
            return Box::pin(self.once(call, begun, attempt, &send, &find)).await;
        }
        if call.may_repeat() && attempt.asks_for_uid() && self.max_attempts > 1 {
            return Box::pin(self.delete(call, begun, attempt, &send, &uid)).await;
        }
        match send().await {
            // In a box of its own: most calls have no second attempt and need no room for one.
            Err(error) if call.may_repeat() => {
                Box::pin(async { self.course(begun).run(call, attempt, error, &send, &find, &uid).await })
                    .await
            }
            answer => answer,
        }
    }

    /// The delete of a guest whose uid the caller has not named.
    async fn delete<T: Send + 'static, S, U>(
        &self,
        call: &Call<'_>,
        begun: Instant,
        attempt: Attempt<'_, T>,
        send: &(impl Fn() -> S + Send + Sync),
        uid: &(impl Fn() -> U + Send + Sync),
    ) -> Result<T>
    where
        S: Future<Output = Result<T>> + Send,
        U: Future<Output = Result<Option<String>>> + Send,
    {
        let known = match call.target() {
            Target::Unsure => None,
            _ => match self.course(begun).look(call, uid).await {
                Ok(known) => known,
                // What may not be read, or makes no sense, may be deleted all the same.
                Err(error)
                    if matches!(
                        error.kind(),
                        ErrorKind::Unsupported | ErrorKind::PermissionDenied | ErrorKind::Protocol
                    ) =>
                {
                    None
                }
                Err(error) => return Err(error.with_effect(Effect::None)),
            },
        };
        match send().await {
            Err(error) => {
                let mut course = self.course(begun);
                course.unsure = known.is_none();
                course.run(call, attempt, error, send, &|| attempt.find(), uid).await
            }
            answer => answer,
        }
    }

    /// A create with a token: after those with the same token, and not again where one of them has made it.
    async fn once<T: Send + 'static, S, F>(
        &self,
        call: &Call<'_>,
        begun: Instant,
        attempt: Attempt<'_, T>,
        send: &(impl Fn() -> S + Send + Sync),
        find: &(impl Fn() -> F + Send + Sync),
    ) -> Result<T>
    where
        S: Future<Output = Result<T>> + Send,
        F: Future<Output = Result<Option<T>>> + Send,
    {
        let mut course = self.course(begun);
        let turn = match call.client_token() {
            Some(token) => Some(self.tokens.turn(token).await),
            None => None,
        };
        if turn.as_ref().is_some_and(|turn| turn.was_begun())
            && let Some(answer) = course.made_before(call, find).await?
        {
            return Ok(answer);
        }
        let answer = match send().await {
            Ok(answer) => Ok(answer),
            Err(error) => course.run(call, attempt, error, send, find, &|| attempt.uid()).await,
        };
        if let Some(turn) = turn {
            turn.end(answer.as_ref().is_ok() || course.effect);
        }
        answer
    }

    fn course(&self, begun: Instant) -> Course<'_, impl Iterator<Item = Duration> + Send + use<>> {
        let pauses = self.pauses();
        Course { policy: self, pauses, begun, attempts: 0, effect: false, lost: false, unsure: false }
    }
}

impl<I: Iterator<Item = Duration> + Send> Course<'_, I> {
    /// What is done after the first attempt has failed.
    async fn run<T: Send + 'static, S, F, U>(
        &mut self,
        call: &Call<'_>,
        attempt: Attempt<'_, T>,
        mut error: Error,
        send: &(impl Fn() -> S + Send + Sync),
        find: &(impl Fn() -> F + Send + Sync),
        uid: &(impl Fn() -> U + Send + Sync),
    ) -> Result<T>
    where
        S: Future<Output = Result<T>> + Send,
        F: Future<Output = Result<Option<T>>> + Send,
        U: Future<Output = Result<Option<String>>> + Send,
    {
        loop {
            self.attempts += 1;
            // The id may belong to another guest by now, whose uid is not the expected one.
            if self.lost
                && (error.is_not_found() || error.kind() == ErrorKind::Conflict)
                && let Some(answer) = attempt.already_gone()
            {
                return Ok(answer);
            }
            self.effect |= error.effect() != Effect::None && call.class() != OperationClass::Read;
            self.lost |= is_lost(&error);

            // Whatever came after a lost answer (a name that is taken, for example), the guest may be there.
            if self.lost && attempt.can_find() {
                let more = error.retry() != Retry::Never && self.pause(call, &error).await;
                match self.look(call, find).await {
                    Ok(Some(answer)) => return Ok(answer),
                    Ok(None) if more => {}
                    Ok(None) => return self.end(error),
                    Err(look) => {
                        let hint = format!("It could not be found out whether it was made ({look})");
                        return self.end(error.with_hint(hint));
                    }
                }
            } else if !RetryPolicy::allows(error.retry(), call.is_idempotent())
                || !self.pause(call, &error).await
            {
                return self.end(error);
            } else if self.lost && self.unsure {
                return self.gone(call, attempt, error, uid).await;
            }
            error = match send().await {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
        }
    }
}

impl<I: Iterator<Item = Duration> + Send> Course<'_, I> {
    /// After a lost answer, about a guest whose uid nobody knows: the answer where it is gone, otherwise the error.
    async fn gone<T: Send + 'static, U>(
        &mut self,
        call: &Call<'_>,
        attempt: Attempt<'_, T>,
        error: Error,
        uid: &(impl Fn() -> U + Send + Sync),
    ) -> Result<T>
    where
        U: Future<Output = Result<Option<String>>> + Send,
    {
        let hint = match self.look(call, uid).await {
            Ok(_) => "The id has a guest, which may be another one by now".to_owned(),
            Err(look) => match attempt.already_gone().filter(|_| look.is_not_found()) {
                Some(gone) => return Ok(gone),
                None => format!("It could not be found out whether it is gone ({look})"),
            },
        };
        self.end(error.with_hint(hint))
    }
}

/// Whether the server may have done all that was asked without our knowing. A failure that the server reports is none, even
/// where a part was done.
fn is_lost(error: &Error) -> bool {
    let unheard = matches!(error.kind(), ErrorKind::Timeout | ErrorKind::Transport | ErrorKind::Protocol);
    error.retry() == Retry::IfIdempotent || (unheard && error.effect() == Effect::Unknown)
}
