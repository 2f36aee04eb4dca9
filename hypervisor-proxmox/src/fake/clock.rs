//! The fake's time: tokio's, which tests can pause, and what a test has added to it.

use std::time::{Duration, SystemTime};

use tokio::time::Instant;

/// No task lasts longer; keeps sums of times within what the clock can count.
const FAR: Duration = Duration::from_secs(60 * 60 * 24 * 365);

/// A clock that can be moved forward.
#[derive(Debug)]
pub(super) struct Clock {
    start: Instant,
    epoch: u64,
    added: Duration,
}

impl Clock {
    pub(super) fn new() -> Self {
        let epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
        Self { start: Instant::now(), epoch, added: Duration::ZERO }
    }

    /// The time since the fake started.
    pub(super) fn now(&self) -> Duration {
        self.start.elapsed().saturating_add(self.added)
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

/// Year, month, day, hour, minute and second in UTC.
pub(super) fn civil(unix: u64) -> [u64; 6] {
    let (days, rest) = (unix / 86_400, unix % 86_400);
    // Howard Hinnant's conversion: years begin in March, eras have 400 of them.
    let z = days + 719_468;
    let (era, day_of_era) = (z / 146_097, z % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    [year, month, day, rest / 3_600, rest / 60 % 60, rest % 60]
}

/// `2026-11-20 18:51:03`.
pub(super) fn stamp(unix: u64) -> String {
    let [year, month, day, hour, minute, second] = civil(unix);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}")
}

/// `2026_11_20-18_51_03`, as in the names of backups.
pub(super) fn file_stamp(unix: u64) -> String {
    let [year, month, day, hour, minute, second] = civil(unix);
    format!("{year:04}_{month:02}_{day:02}-{hour:02}_{minute:02}_{second:02}")
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
