//! What has been called, how often, and how it went.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::error::ErrorKind;
use crate::operation::Operation;

/// Counters of calls, for an application to export. Clones share the numbers.
#[derive(Debug, Clone, Default)]
pub struct Counters(Arc<Mutex<BTreeMap<Operation, OperationCounts>>>);

/// The numbers of one operation.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct OperationCounts {
    /// Calls that have begun.
    pub calls: u64,
    /// Calls that ended well.
    pub succeeded: u64,
    /// Calls that failed, by kind.
    pub errors: BTreeMap<ErrorKind, u64>,
    /// Calls whose future was dropped before the answer came.
    pub dropped: u64,
    /// Calls under way.
    pub in_flight: u64,
    /// Attempts that were sent; more than the calls by those repeated.
    pub attempts: u64,
    /// How long the ended calls took, as the caller saw it.
    pub latency: Latency,
}

/// How long calls took: a histogram.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Latency {
    /// The sum.
    pub sum: Duration,
    /// How many calls took at most [`Latency::BOUNDS`]`[i]` and longer than the bound before; the last is those beyond all bounds.
    pub buckets: [u64; Latency::BOUNDS.len() + 1],
}

impl Latency {
    /// The upper bounds of the buckets: OpenTelemetry's for the duration of client calls, and what hypervisors need beyond.
    pub const BOUNDS: [Duration; 12] = [
        Duration::from_millis(5),
        Duration::from_millis(10),
        Duration::from_millis(25),
        Duration::from_millis(50),
        Duration::from_millis(100),
        Duration::from_millis(250),
        Duration::from_millis(500),
        Duration::from_secs(1),
        Duration::from_millis(2500),
        Duration::from_secs(5),
        Duration::from_secs(10),
        Duration::from_secs(60),
    ];

    fn add(&mut self, took: Duration) {
        self.sum = self.sum.saturating_add(took);
        let index = Self::BOUNDS.partition_point(|bound| *bound < took);
        if let Some(bucket) = self.buckets.get_mut(index) {
            *bucket += 1;
        }
    }
}

impl OperationCounts {
    /// Calls that failed.
    #[must_use]
    pub fn failed(&self) -> u64 {
        self.errors.values().sum()
    }
}

/// How a call ended.
pub(super) enum End {
    Succeeded,
    Failed(ErrorKind),
    Dropped,
}

impl Counters {
    /// All zero.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The numbers as they are now, of every operation that has been called.
    #[must_use]
    pub fn snapshot(&self) -> BTreeMap<Operation, OperationCounts> {
        self.lock().clone()
    }

    /// The numbers of one operation.
    #[must_use]
    pub fn of(&self, operation: Operation) -> OperationCounts {
        self.lock().get(&operation).cloned().unwrap_or_default()
    }

    pub(super) fn begin(&self, operation: Operation) {
        let mut all = self.lock();
        let counts = all.entry(operation).or_default();
        counts.calls += 1;
        counts.in_flight += 1;
    }

    pub(super) fn end(&self, operation: Operation, end: &End, attempts: u32, took: Duration) {
        let mut all = self.lock();
        let counts = all.entry(operation).or_default();
        counts.in_flight = counts.in_flight.saturating_sub(1);
        counts.attempts += u64::from(attempts);
        match end {
            End::Succeeded => counts.succeeded += 1,
            End::Failed(kind) => *counts.errors.entry(*kind).or_default() += 1,
            // How long a caller was willing to wait says nothing about the backend.
            End::Dropped => {
                counts.dropped += 1;
                return;
            }
        }
        counts.latency.add(took);
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Operation, OperationCounts>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
