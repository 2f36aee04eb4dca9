use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Mutex, PoisonError};

use hypervisor::conformance::Outcome;

/// How the cases ended, by backend. `Display` is the table, with every reason for which a case was skipped.
#[derive(Default)]
pub(crate) struct Table(Mutex<BTreeMap<&'static str, Column>>);

#[derive(Default)]
struct Column {
    passed: usize,
    failed: usize,
    /// The cases, by the reason.
    skipped: BTreeMap<String, BTreeSet<&'static str>>,
}

impl Table {
    pub(crate) fn add(&self, backend: &'static str, case: &'static str, outcome: &Outcome) {
        let mut columns = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let column = columns.entry(backend).or_default();
        match outcome {
            Outcome::Passed => column.passed += 1,
            Outcome::Skipped(reason) => {
                column.skipped.entry(reason.clone()).or_default().insert(case);
            }
            _ => column.failed += 1,
        }
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let columns = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        writeln!(f, "{:<14} {:>7} {:>7} {:>8}", "conformance", "passed", "failed", "skipped")?;
        for (backend, column) in &*columns {
            let skipped: usize = column.skipped.values().map(BTreeSet::len).sum();
            writeln!(f, "{backend:<14} {:>7} {:>7} {skipped:>8}", column.passed, column.failed)?;
        }
        for (backend, column) in &*columns {
            for (reason, cases) in &column.skipped {
                let cases = cases.iter().copied().collect::<Vec<_>>().join(", ");
                writeln!(f, "\n{backend} skipped {cases}\n    because {reason}")?;
            }
        }
        Ok(())
    }
}
