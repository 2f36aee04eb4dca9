//! Time: what tokio's clock says since the hypervisor was made, so that a paused runtime makes it virtual.

use std::time::{Duration, SystemTime};

use tokio::time::Instant;

/// 2026-01-01T00:00:00Z: the wall clock when the hypervisor is made, so that two runs show the same times.
const EPOCH: Duration = Duration::from_secs(1_767_225_600);

#[derive(Debug, Clone, Copy)]
pub(super) struct Clock {
    start: Instant,
}

impl Clock {
    pub(super) fn new() -> Self {
        Self { start: Instant::now() }
    }

    /// How much time has passed.
    pub(super) fn now(&self) -> Duration {
        Instant::now().saturating_duration_since(self.start)
    }

    /// When so much time will have passed; `None` where that is beyond all time.
    pub(super) fn instant(&self, at: Duration) -> Option<Instant> {
        self.start.checked_add(at)
    }
}

/// The wall clock after this much time.
pub(super) fn wall(at: Duration) -> SystemTime {
    SystemTime::UNIX_EPOCH
        .checked_add(EPOCH)
        .and_then(|epoch| epoch.checked_add(at))
        .unwrap_or(SystemTime::UNIX_EPOCH)
}
