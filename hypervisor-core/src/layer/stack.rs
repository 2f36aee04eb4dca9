//! The usual layers in the only order that works.

use std::sync::Arc;

use super::{Attempt, Budget, Call, Layered, Limit, Policy, RetryPolicy, Timeout, Trace};
use crate::error::Result;
use crate::traits::Hypervisor;

type Order = (Option<Trace>, (Option<RetryPolicy>, (Option<Budget>, (Option<Limit>, Option<Timeout>))));

/// The policies of a [`Stack`]: trace(retry(budget(limit(timeout)))), each where it was asked for.
///
/// `hv.backend::<Layered<Layers>>()` finds them again, and with them the counters.
#[derive(Debug, Clone, Default)]
pub struct Layers(Order);

impl Layers {
    /// The trace, with its counters.
    #[must_use]
    pub fn trace(&self) -> Option<&Trace> {
        self.0.0.as_ref()
    }

    /// How calls are repeated.
    #[must_use]
    pub fn retry(&self) -> Option<&RetryPolicy> {
        self.0.1.0.as_ref()
    }

    /// How many calls at a time.
    #[must_use]
    pub fn limit(&self) -> Option<&Limit> {
        self.0.1.1.1.0.as_ref()
    }

    /// How many calls the server allows.
    #[must_use]
    pub fn budget(&self) -> Option<&Budget> {
        self.0.1.1.0.as_ref()
    }

    /// How long an attempt may take.
    #[must_use]
    pub fn timeout(&self) -> Option<&Timeout> {
        self.0.1.1.1.1.as_ref()
    }
}

impl Policy for Layers {
    async fn run<T: Send + 'static>(&self, call: &Call<'_>, attempt: Attempt<'_, T>) -> Result<T> {
        self.0.run(call, attempt).await
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
        self.layers.0.1.1.1.1 = Some(timeout.into());
        self
    }

    /// At most so many calls at a time: a number, or a [`Limit`] that other connections share.
    #[must_use]
    pub fn limit(mut self, limit: impl Into<Limit>) -> Self {
        self.layers.0.1.1.1.0 = Some(limit.into());
        self
    }

    /// Not more calls than the server allows: not one of the usual layers.
    #[must_use]
    pub fn budget(mut self, budget: Budget) -> Self {
        self.layers.0.1.1.0 = Some(budget);
        self
    }

    /// Repeats what can be repeated.
    #[must_use]
    pub fn retry(mut self, retry: RetryPolicy) -> Self {
        self.layers.0.1.0 = Some(retry);
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
        self.layers.0.0 = Some(trace);
        self
    }

    /// The backend with the layers around it.
    #[must_use]
    pub fn build(self) -> Arc<dyn Hypervisor> {
        Arc::new(Layered::new(self.backend, self.layers))
    }
}
