//! The fake's time: tokio's, which tests can pause, and what a test has added to it.

use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use tokio::time::Instant;

/// No task lasts longer; keeps sums of times within what the clock can count.
const FAR: Duration = Duration::from_secs(60 * 60 * 24 * 365);

/// A clock that can be moved forward.
#[derive(Debug)]
pub(super) struct Clock {
    start: Instant,
    epoch: u64,
    added: Duration,
    /// The time that it is for a step of a task that is carried out late.
    pinned: Option<Duration>,
}

impl Clock {
    pub(super) fn new() -> Self {
        let epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
        Self { start: Instant::now(), epoch, added: Duration::ZERO, pinned: None }
    }

    /// The time since the fake started.
    pub(super) fn now(&self) -> Duration {
        self.pinned.unwrap_or_else(|| self.start.elapsed().saturating_add(self.added))
    }

    /// Makes it a time until it is given back; gives what it was made before.
    pub(super) fn pin(&mut self, time: Option<Duration>) -> Option<Duration> {
        std::mem::replace(&mut self.pinned, time)
    }

    /// When it is this much later.
    pub(super) fn after(&self, duration: Duration) -> Duration {
        self.now().saturating_add(duration.min(FAR))
    }

    /// Seconds since 1970.
    pub(super) fn unix(&self) -> u64 {
        self.at(self.now())
    }

    /// A time of this clock in seconds since 1970.
    pub(super) fn at(&self, time: Duration) -> u64 {
        self.epoch.saturating_add(time.as_secs())
    }

    pub(super) fn advance(&mut self, by: Duration) {
        self.added = self.added.saturating_add(by);
    }
}

/// `2026-11-20 18:51:03`.
pub(super) fn stamp(unix: u64) -> String {
    written(unix, "%Y-%m-%d %H:%M:%S")
}

/// `2026-11-20`.
pub(super) fn date(unix: u64) -> String {
    written(unix, "%Y-%m-%d")
}

/// `2026_11_20-18_51_03`, as in the names of backups.
pub(super) fn file_stamp(unix: u64) -> String {
    written(unix, "%Y_%m_%d-%H_%M_%S")
}

fn written(unix: u64, format: &str) -> String {
    let time = i64::try_from(unix).ok().and_then(|unix| Timestamp::from_second(unix).ok());
    time.unwrap_or(Timestamp::MAX).strftime(format).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recorded_times_are_written_as_recorded() {
        assert_eq!(file_stamp(1_795_140_001), "2026_11_20-02_00_01");
        assert_eq!(stamp(951_782_400), "2000-02-29 00:00:00");
    }
}
