//! The usual layers in the only order that works.

use std::sync::Arc;

use tokio::time::Instant;

use super::attempt::Sending;
use super::retry::Ways;
use super::{Attempt, Budget, Call, Layered, Limit, Policy, RetryPolicy, Timeout, Trace};
use crate::error::Result;
use crate::traits::Hypervisor;

/// The policies of a [`Stack`]: trace(retry(budget(limit(timeout)))), each where it was asked for.
///
/// `hv.backend::<Layered<Layers>>()` finds them again, and with them the counters.
#[derive(Debug, Clone, Default)]
pub struct Layers {
    trace: Option<Trace>,
    retry: Option<RetryPolicy>,
    budget: Option<Budget>,
    limit: Option<Limit>,
    timeout: Option<Timeout>,
}

impl Layers {
    /// The trace, with its counters.
    #[must_use]
    pub fn trace(&self) -> Option<&Trace> {
        self.trace.as_ref()
    }

    /// How calls are repeated.
    #[must_use]
    pub fn retry(&self) -> Option<&RetryPolicy> {
        self.retry.as_ref()
    }

    /// How many calls at a time.
    #[must_use]
    pub fn limit(&self) -> Option<&Limit> {
        self.limit.as_ref()
    }

    /// How many calls the server allows.
    #[must_use]
    pub fn budget(&self) -> Option<&Budget> {
        self.budget.as_ref()
    }

    /// How long an attempt may take.
    #[must_use]
    pub fn timeout(&self) -> Option<&Timeout> {
        self.timeout.as_ref()
    }
}

impl Policy for Layers {
    /// As the policies one in another would, in one future.
    async fn run<T: Send + 'static>(&self, call: &Call<'_>, attempt: Attempt<'_, T>) -> Result<T> {
        let begun = Instant::now();
        let work = self.repeated(call, begun, attempt);
        match &self.trace {
            Some(trace) => trace.watch(call, begun, work).await,
            None => work.await,
        }
    }
}

impl Layers {
    async fn repeated<T: Send + 'static>(
        &self,
        call: &Call<'_>,
        begun: Instant,
        attempt: Attempt<'_, T>,
    ) -> Result<T> {
        let send = || self.once(call, || attempt.send());
        let find = || -> Sending<'_, Option<T>> {
            Box::pin(async move {
                let look = call.lookup();
                self.once(&look, || attempt.find()).await
            })
        };
        let uid = || -> Sending<'_, Option<String>> {
            Box::pin(async move {
                let question = call.question();
                self.once(&question, || attempt.uid()).await
            })
        };
        match &self.retry {
            Some(retry) => retry.repeat(call, begun, attempt, Ways { send, find, uid }).await,
            None => send().await,
        }
    }

    /// One attempt, in its turn and within its time.
    async fn once<'a, T: Send + 'static>(
        &self,
        call: &Call<'_>,
        send: impl Fn() -> Sending<'a, T> + Send + Sync,
    ) -> Result<T> {
        if let Some(budget) = &self.budget {
            budget.wait(call).await?;
        }
        let place = match &self.limit {
            Some(limit) => limit.place(call).await?,
            None => None,
        };
        let answer = match &self.timeout {
            Some(timeout) => timeout.within(call, send()).await,
            None => send().await,
        };
        drop(place);
        if let Some(budget) = &self.budget {
            budget.heed(call, &answer);
        }
        answer
    }
}

/// Puts layers around a backend. They are always trace(retry(budget(limit(timeout(backend))))), in whatever order they are asked for.
///
/// ```
/// use std::sync::Arc;
/// use std::time::Duration;
/// use hypervisor_core::layer::{Layered, Layers, RetryPolicy, Stack};
/// use hypervisor_core::memory::{FaultPlan, Memory};
/// use hypervisor_core::model::VmSpec;
/// use hypervisor_core::{ErrorKind, Operation};
/// # tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap().block_on(async {
///
/// // The machine is made, but its maker never hears of it.
/// let faults = FaultPlan::new().lose_answer(Operation::CreateVm, 1, ErrorKind::Transport);
/// let hypervisor = Stack::new(Arc::new(Memory::builder().faults(faults).build()))
///     .timeout(Duration::from_secs(30))
///     .limit(8)
///     .retry(RetryPolicy::new().max_attempts(5))
///     .trace()
///     .build();
///
/// // The token finds it again, so that there is one machine and no error.
/// let spec = VmSpec::new("web-1").client_token("order-4711");
/// let started = hypervisor.create_vm(&spec).await?;
/// assert_eq!(hypervisor.get_vm(&started.output).await?.name, "web-1");
///
/// let layers = hypervisor.backend::<Layered<Layers>>().map(Layered::policy);
/// let counts = layers.and_then(Layers::trace).map(|trace| trace.counters().of(Operation::CreateVm));
/// assert_eq!(counts.map(|counts| (counts.calls, counts.attempts)), Some((1, 1)));
/// # Ok::<(), hypervisor_core::Error>(()) }).unwrap();
/// ```
pub struct Stack {
    backend: Arc<dyn Hypervisor>,
    layers: Layers,
}

impl std::fmt::Debug for Stack {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stack").field("backend", self.backend.info()).field("layers", &self.layers).finish()
    }
}

impl Stack {
    /// No layers yet.
    #[must_use]
    pub fn new(backend: Arc<dyn Hypervisor>) -> Self {
        Self { backend, layers: Layers::default() }
    }

    /// The usual four: [`Trace::new`], [`RetryPolicy::new`], 32 calls at a time, [`Timeout::standard`]. Each can still be replaced.
    #[must_use]
    pub fn standard(backend: Arc<dyn Hypervisor>) -> Self {
        Self::new(backend).trace().retry(RetryPolicy::new()).limit(32).timeout(Timeout::standard())
    }

    /// A deadline for every attempt: one [`Duration`](std::time::Duration) for all, or a [`Timeout`].
    #[must_use]
    pub fn timeout(mut self, timeout: impl Into<Timeout>) -> Self {
        self.layers.timeout = Some(timeout.into());
        self
    }

    /// At most so many calls at a time: a number, or a [`Limit`] that other connections share.
    #[must_use]
    pub fn limit(mut self, limit: impl Into<Limit>) -> Self {
        self.layers.limit = Some(limit.into());
        self
    }

    /// Not more calls than the server allows: not one of the usual layers.
    #[must_use]
    pub fn budget(mut self, budget: Budget) -> Self {
        self.layers.budget = Some(budget);
        self
    }

    /// Repeats what can be repeated.
    #[must_use]
    pub fn retry(mut self, retry: RetryPolicy) -> Self {
        self.layers.retry = Some(retry);
        self
    }

    /// A span and counters for every call.
    #[must_use]
    pub fn trace(self) -> Self {
        self.trace_with(Trace::new())
    }

    /// A span for every call, and these counters.
    #[must_use]
    pub fn trace_with(mut self, trace: Trace) -> Self {
        self.layers.trace = Some(trace);
        self
    }

    /// The backend with the layers around it.
    #[must_use]
    pub fn build(self) -> Arc<dyn Hypervisor> {
        Arc::new(Layered::new(self.backend, self.layers))
    }
}
