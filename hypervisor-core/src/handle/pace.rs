//! When to look at a task: as learnt from how long others of its kind have taken.

use std::time::Duration;

/// How near the end of a task a look is aimed: within this part of its length.
const NEAR: u32 = 16;
/// After so many ends a look goes out early, to see whether such tasks have become quicker: twice as many each time that they have not, up to
/// the second.
const PROBE: u32 = 2;
const LONGEST_PROBE: u32 = 16;
/// So many in a row that take longer are a change, after which little is known.
const CHANGE: u32 = 3;
/// The shortest step in time that is worth a look.
const STEP: Duration = Duration::from_millis(10);
/// What takes so many times as long as the others has a length of its own.
const OTHER: u32 = 2;
/// So many lengths beside the first are told apart.
const OTHERS: u8 = 2;

/// How long tasks of one kind have taken lately, for whoever looks at them: the first look is due when the next one will most likely have
/// ended. A look too early costs a request, and one too late costs time.
///
/// Ages are those of the task at the time when a look was sent.
///
/// ```
/// use std::time::Duration;
/// use hypervisor_core::handle::TaskPace;
/// let ms = Duration::from_millis;
/// let mut pace = TaskPace::default();
/// assert_eq!(pace.first(), None);
/// pace.ended(ms(195), ms(200));
/// assert_eq!(pace.first(), Some(ms(200)));
/// // One that takes much longer than the others hardly counts.
/// pace.ended(ms(4000), ms(5000));
/// assert!(pace.first() < Some(ms(250)));
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TaskPace {
    /// At this age they were seen at work.
    low: Duration,
    /// At this age they had ended.
    high: Option<Duration>,
    /// How many in a row were at work at that age.
    late: u32,
    /// How many ended since a look went out early, and whether one was at work then.
    ends: u32,
    missed: bool,
    /// After how many ends the next one goes out.
    probe: u32,
    /// How long those take that take much longer: where lengths are mixed, they are not found by ever longer pauses alone.
    slow: Option<Box<TaskPace>>,
    /// How many lengths there are before this one.
    nth: u8,
}

impl TaskPace {
    /// The age of a task at which it is looked at first; `None` before one of its kind has ended.
    #[must_use]
    pub fn first(&self) -> Option<Duration> {
        let high = self.high?;
        let gap = high.saturating_sub(self.low);
        Some(if gap > high / NEAR { high.saturating_sub(gap / 2) } else { high })
    }

    /// The age at which it is looked at again after a look that saw it at work at this age: the longer it takes beyond what was expected, the
    /// later, but not later than others of those have ended. `None` before one of its kind has ended.
    #[must_use]
    pub fn next(&self, age: Duration) -> Option<Duration> {
        let (first, high, step) = (self.first()?, self.high?, self.step()?);
        let later = age.saturating_add(age.saturating_sub(high).max(step.saturating_mul(2)));
        let slow = self.slow.as_ref().and_then(|slow| slow.next(age));
        let later = slow.map_or(later, |slow| later.min(slow));
        [first, high].into_iter().find(|aim| age < *aim).or(Some(later))
    }

    /// How far two looks ought to be from one another.
    #[must_use]
    pub fn step(&self) -> Option<Duration> {
        self.high.map(|high| (high / NEAR).max(STEP))
    }

    /// A task has ended: at one age it was last seen at work, zero if it never was, and at the other it was seen to have ended.
    pub fn ended(&mut self, at_work: Duration, ended: Duration) {
        let at_work = at_work.min(ended);
        let Some(high) = self.high else {
            (self.low, self.high) = (at_work, Some(ended));
            return;
        };
        self.ends += 1;
        if at_work >= high {
            // Longer than expected: the more of them in a row, the more it counts.
            self.missed = true;
            self.late = (self.late + 1).min(NEAR);
            if self.nth < OTHERS && ended > high.saturating_mul(OTHER) {
                let slow = self.slow.get_or_insert_default();
                slow.nth = self.nth + 1;
                slow.ended(at_work, ended);
            }
            if self.late == CHANGE {
                self.probe = PROBE;
            }
            let more = (high / NEAR).max(STEP).saturating_mul(1 << self.late);
            self.high = Some(ended.min(high.saturating_add(more)));
            return;
        }
        self.late = 0;
        self.missed |= at_work > self.low;
        let high = high.min(ended);
        if ended <= self.low {
            self.low = at_work;
        }
        self.low = self.low.max(at_work).min(high);
        self.high = Some(high);
        if self.ends >= self.probe.max(PROBE) {
            // What went well is tried again soon.
            self.probe = if self.missed { (self.probe.max(PROBE) * 2).min(LONGEST_PROBE) } else { PROBE };
            (self.ends, self.missed) = (0, false);
            self.low /= 2;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    /// Waits for tasks of these lengths one after the other: how many looks that takes, and how much later than the end the last one is on
    /// average.
    fn waits(pace: &mut TaskPace, lengths: &[Duration]) -> (usize, Duration) {
        let (mut looks, mut late) = (0, Duration::ZERO);
        for length in lengths {
            let (mut at_work, mut age) = (Duration::ZERO, pace.first().unwrap_or(ms(50)));
            loop {
                looks += 1;
                if age >= *length {
                    break;
                }
                at_work = age;
                age = pace.next(age).unwrap_or(age * 3 / 2).max(age + STEP);
            }
            pace.ended(at_work, age);
            late += age - *length;
        }
        (looks, late / u32::try_from(lengths.len()).unwrap())
    }

    #[test]
    fn tasks_of_one_length_cost_hardly_more_than_one_look_each() {
        for length in [ms(30), ms(180), ms(2_000), ms(60_000)] {
            let mut pace = TaskPace::default();
            waits(&mut pace, &[length; 8]);
            let (looks, late) = waits(&mut pace, &[length; 100]);
            assert!(looks <= 130, "{looks} looks at 100 tasks of {length:?}");
            assert!(late <= (length / 12).max(ms(5)), "{late:?} late for {length:?}");
        }
    }

    #[test]
    fn it_follows_tasks_that_become_quicker_or_slower() {
        let mut pace = TaskPace::default();
        for length in [ms(200), ms(900), ms(150), ms(5_000), ms(20)] {
            waits(&mut pace, &[length; 120]);
            let (looks, late) = waits(&mut pace, &[length; 50]);
            assert!(looks <= 75, "{looks} looks at 50 tasks of {length:?}");
            assert!(late <= (length / 8).max(STEP), "{late:?} late for {length:?}");
        }
    }

    #[test]
    fn the_quick_do_not_wait_for_the_slow() {
        let mut pace = TaskPace::default();
        let mixed: Vec<_> = (0..300).map(|n| if n % 2 == 0 { ms(100) } else { ms(2_000) }).collect();
        waits(&mut pace, &mixed);
        let first = pace.first().unwrap();
        assert!(first < ms(200), "{first:?}");
        let rare: Vec<_> = (0..300).map(|n| if n % 10 == 0 { ms(3_000) } else { ms(100) }).collect();
        waits(&mut pace, &rare);
        let first = pace.first().unwrap();
        assert!(first < ms(200), "{first:?}");
    }

    #[test]
    fn where_lengths_are_mixed_none_is_seen_long_after_its_end() {
        // Tenths of looks at each task, and how late the last one is, on average over several runs.
        let figures = |lengths: &dyn Fn(&mut fastrand::Rng) -> u64| {
            let each = (0..8).map(|seed| {
                let (mut pace, mut dice) = (TaskPace::default(), fastrand::Rng::with_seed(seed));
                let mut many = |count| -> Vec<_> { (0..count).map(|_| ms(lengths(&mut dice))).collect() };
                waits(&mut pace, &many(500));
                waits(&mut pace, &many(1000))
            });
            let (looks, late) = each.fold((0, Duration::ZERO), |sum, each| (sum.0 + each.0, sum.1 + each.1));
            (looks / 800, late / 8)
        };
        // Without lengths of their own for slow ones: 44 and 530 ms, 21 and 190 ms, 40 and 780 ms.
        let (looks, late) = figures(&|dice| if dice.bool() { 100 } else { 2_000 });
        assert!(looks <= 54 && late < ms(120), "{looks}, {late:?}");
        let (looks, late) = figures(&|dice| if dice.u8(..10) == 0 { 3_000 } else { 100 });
        assert!(looks <= 24 && late < ms(60), "{looks}, {late:?}");
        let (looks, late) = figures(&|dice| [100, 1_000, 5_000][dice.usize(..3)]);
        assert!(looks <= 56 && late < ms(350), "{looks}, {late:?}");
    }

    #[test]
    fn odd_figures_do_no_harm() {
        let mut pace = TaskPace::default();
        pace.ended(ms(5), Duration::ZERO);
        assert_eq!(pace.first(), Some(Duration::ZERO));
        for _ in 0..100 {
            pace.ended(Duration::MAX, Duration::MAX);
        }
        pace.ended(Duration::ZERO, Duration::MAX);
        assert!(pace.first() > Some(Duration::ZERO) && pace.next(Duration::MAX) == Some(Duration::MAX));
    }
}
