//! Layers: what happens around every call, written once for all operations and all backends.
//!
//! A [`Policy`] wraps one call; [`Layered`] puts a policy around any backend and is a [`Hypervisor`](crate::Hypervisor)
//! itself. [`Stack`] puts the usual ones together in the only order that works:
//!
//! ```text
//! trace( retry( budget( limit( timeout( backend )))))
//! ```
//!
//! The deadline is that of one attempt; a call that waits for its turn is not yet timed; a retry gives its turn back while it
//! backs off; and the trace sees the call as the caller does, with all its attempts.
//!
//! What passes through without being repeated or timed as a whole: the bytes of an upload or a download, a stream of events, and a batch,
//! whose operations go through the layers one by one.

mod attempt;
mod budget;
mod call;
mod chaos;
mod counters;
mod forward;
mod layered;
mod limit;
mod once;
mod retry;
pub mod semantics;
mod stack;
mod table;
mod timeout;
mod token;
mod trace;

#[cfg(test)]
mod tests;

pub use attempt::Attempt;
pub use budget::Budget;
pub use call::Call;
pub use chaos::Chaos;
pub use counters::{Counters, Latency, OperationCounts};
pub use layered::Layered;
pub use limit::Limit;
pub use retry::RetryPolicy;
pub use semantics::{Fault, Repeated, Semantics};
pub use stack::{Layers, Stack};
pub use timeout::Timeout;
pub use trace::Trace;

use std::fmt;
use std::future::Future;

use crate::error::Result;

/// What happens around one call.
///
/// ```
/// use hypervisor_core::layer::{Attempt, Call, Policy};
/// use hypervisor_core::Result;
///
/// /// Says what is called.
/// #[derive(Debug)]
/// struct Announce;
///
/// impl Policy for Announce {
///     async fn run<T: Send + 'static>(&self, call: &Call<'_>, attempt: Attempt<'_, T>) -> Result<T> {
///         println!("{} on {}", call.operation(), call.backend());
///         attempt.send().await
///     }
/// }
/// ```
pub trait Policy: fmt::Debug + Send + Sync + 'static {
    /// Carries the call out by [`Attempt::send`], as often as the policy sees fit.
    ///
    /// A policy that sends more than once must respect [`Call::may_repeat`], or a stream would be read twice; see [`RetryPolicy`].
    fn run<T: Send + 'static>(
        &self,
        call: &Call<'_>,
        attempt: Attempt<'_, T>,
    ) -> impl Future<Output = Result<T>> + Send;
}

/// No policy: the call is sent once.
impl<P: Policy> Policy for Option<P> {
    async fn run<T: Send + 'static>(&self, call: &Call<'_>, attempt: Attempt<'_, T>) -> Result<T> {
        match self {
            Some(policy) => policy.run(call, attempt).await,
            None => attempt.send().await,
        }
    }
}

/// One policy around another.
impl<A: Policy, B: Policy> Policy for (A, B) {
    async fn run<T: Send + 'static>(&self, call: &Call<'_>, attempt: Attempt<'_, T>) -> Result<T> {
        let (outer, inner) = self;
        let send = || -> attempt::Sending<'_, T> { Box::pin(inner.run(call, attempt)) };
        let find = || -> attempt::Sending<'_, Option<T>> {
            Box::pin(async move {
                let again = || attempt.find();
                inner.run(&call.lookup(), Attempt::new(&again)).await
            })
        };
        let uid = || -> attempt::Sending<'_, Option<String>> {
            Box::pin(async move {
                let again = || attempt.uid();
                inner.run(&call.question(), Attempt::new(&again)).await
            })
        };
        outer.run(call, attempt.around(&send, &find, &uid)).await
    }
}
