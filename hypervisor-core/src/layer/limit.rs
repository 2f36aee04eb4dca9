//! At most so many calls at a time.

use std::fmt;
use std::sync::Arc;

use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::Instant;

use super::{Attempt, Call, Policy};
use crate::error::{Error, ErrorKind, Result};

/// At most so many calls at a time, first come first served. Clones share the places.
///
/// Looks that the server holds back and batches take no place: the first are idle, the second are made of calls that take one each.
#[derive(Clone)]
pub struct Limit {
    places: Arc<Semaphore>,
    calls: usize,
}

impl Limit {
    /// At most `calls` at a time; at least one.
    #[must_use]
    pub fn new(calls: usize) -> Self {
        let calls = calls.clamp(1, Semaphore::MAX_PERMITS);
        Self { places: Arc::new(Semaphore::new(calls)), calls }
    }

    /// How many calls at a time.
    #[must_use]
    pub fn calls(&self) -> usize {
        self.calls
    }

    /// How many more calls could be sent now.
    #[must_use]
    pub fn free(&self) -> usize {
        self.places.available_permits()
    }
}

impl From<usize> for Limit {
    fn from(calls: usize) -> Self {
        Self::new(calls)
    }
}

impl fmt::Debug for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Limit").field("calls", &self.calls).field("free", &self.free()).finish()
    }
}

impl Policy for Limit {
    async fn run<T: Send + 'static>(&self, call: &Call<'_>, attempt: Attempt<'_, T>) -> Result<T> {
        let _place = self.place(call).await?;
        attempt.send().await
    }
}

impl Limit {
    /// The call's place, for as long as it is at work; none where it takes none.
    pub(super) async fn place(&self, call: &Call<'_>) -> Result<Option<SemaphorePermit<'_>>> {
        if !call.is_counted() {
            return Ok(None);
        }
        // Who waits is served first: a place is free only where nobody does.
        if let Ok(place) = self.places.try_acquire() {
            return Ok(Some(place));
        }
        let begun = Instant::now();
        let place = self.places.acquire().await;
        call.add_queued(begun.elapsed());
        // Never closed by us; an error all the same, rather than a call beyond the limit.
        place.map(Some).map_err(|_| Error::new(ErrorKind::Cancelled, "the connection is closing"))
    }
}
