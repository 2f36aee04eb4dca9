use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::case::{Case, Outcome};
use super::cases::cases;
use super::settings::Settings;
use crate::traits::Hypervisor;

/// How one case ended.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Row {
    /// The case's name.
    pub case: &'static str,
    /// How it ended.
    pub outcome: Outcome,
    /// How long it took, its cleaning up included.
    pub time: Duration,
}

impl fmt::Display for Row {
    /// One line of the table.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:<52} {:<7} {:>8.3} s", self.case, self.outcome.as_str(), self.time.as_secs_f64())?;
        match self.outcome.reason() {
            Some(reason) => write!(f, "  {}", reason.replace('\n', " ")),
            None => Ok(()),
        }
    }
}

/// How a run of the suite ended. `Display` is the table.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Report {
    /// The cases in the order that they ran in.
    pub rows: Vec<Row>,
}

impl Report {
    /// Whether no case failed.
    #[must_use]
    pub fn is_success(&self) -> bool {
        self.failed() == 0
    }

    /// How many cases passed.
    #[must_use]
    pub fn passed(&self) -> usize {
        self.count(|outcome| *outcome == Outcome::Passed)
    }

    /// How many cases failed.
    #[must_use]
    pub fn failed(&self) -> usize {
        self.count(Outcome::is_failed)
    }

    /// How many cases could not be run.
    #[must_use]
    pub fn skipped(&self) -> usize {
        self.count(|outcome| matches!(outcome, Outcome::Skipped(_)))
    }

    fn count(&self, wanted: impl Fn(&Outcome) -> bool) -> usize {
        self.rows.iter().filter(|row| wanted(&row.outcome)).count()
    }

    /// The last line of the table.
    #[must_use]
    pub fn summary(&self) -> String {
        let time: Duration = self.rows.iter().map(|row| row.time).sum();
        let (passed, failed, skipped) = (self.passed(), self.failed(), self.skipped());
        format!("{passed} passed, {failed} failed, {skipped} skipped in {:.1} s", time.as_secs_f64())
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for row in &self.rows {
            writeln!(f, "{row}")?;
        }
        f.write_str(&self.summary())
    }
}

/// Runs every case, one after the other. `on_row` hears of each as it ends.
pub async fn run_all(
    hypervisor: &Arc<dyn Hypervisor>,
    settings: &Settings,
    on_row: impl FnMut(&Row) + Send,
) -> Report {
    run_cases(&cases(), hypervisor, settings, on_row).await
}

/// Runs these cases, one after the other. `on_row` hears of each as it ends.
pub async fn run_cases(
    cases: &[Case],
    hypervisor: &Arc<dyn Hypervisor>,
    settings: &Settings,
    mut on_row: impl FnMut(&Row) + Send,
) -> Report {
    let mut report = Report::default();
    for case in cases {
        let begun = Instant::now();
        let outcome = case.run(hypervisor, settings).await;
        let row = Row { case: case.name, outcome, time: begun.elapsed() };
        on_row(&row);
        report.rows.push(row);
    }
    report
}
