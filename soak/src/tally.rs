//! What was done, and what has gone wrong.

use std::fmt;

/// So many divergences are kept with their text.
const TOLD: usize = 50;

/// The figures of a worker, a stage or a run.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tally {
    /// Calls that were acknowledged.
    pub(crate) done: u64,
    /// Calls that were refused, without effect, because of a fault.
    pub(crate) refused: u64,
    /// Calls whose outcome had to be found out.
    pub(crate) unknown: u64,
    /// Tasks that were waited for.
    pub(crate) tasks: u64,
    /// Faults, as whoever injects them has counted.
    pub(crate) faults: u64,
    /// Looks that showed what had been true before.
    pub(crate) stale: u64,
    divergences: u64,
    told: Vec<String>,
}

impl Tally {
    /// Something is not as it should be.
    pub(crate) fn diverge(&mut self, what: String) {
        self.divergences += 1;
        if self.told.len() < TOLD {
            println!("DIVERGENCE: {what}");
            self.told.push(what);
        }
    }

    pub(crate) fn add(&mut self, other: Self) {
        self.done += other.done;
        self.refused += other.refused;
        self.unknown += other.unknown;
        self.tasks += other.tasks;
        self.faults += other.faults;
        self.stale += other.stale;
        self.divergences += other.divergences;
        self.told.extend(other.told);
    }

    pub(crate) fn is_clean(&self) -> bool {
        self.divergences == 0 && self.done > 0
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { done, refused, unknown, tasks, faults, stale, divergences, .. } = self;
        write!(
            f,
            "{} operations ({done} done, {refused} refused, {unknown} settled by a look), {tasks} tasks, {faults} faults injected, {stale} old answers seen through, {divergences} divergences",
            done + refused + unknown
        )
    }
}
