//! What is measured, as lines that a program can read.

use std::io::Write;
use std::time::Duration;

use serde_json::{Map, Value};

/// What a line with a figure begins with.
const MARK: &str = "BENCH ";

/// One row of a table: which table, what was measured, and its figures.
#[derive(Debug)]
#[must_use = "a row is seen once it is told"]
pub(crate) struct Row(Map<String, Value>);

impl Row {
    pub(crate) fn new(table: &str, what: &str) -> Self {
        let mut row = Map::new();
        row.insert("table".into(), table.into());
        row.insert("what".into(), what.into());
        Self(row)
    }

    pub(crate) fn with(mut self, figure: &str, value: impl Into<Value>) -> Self {
        self.0.insert(figure.into(), value.into());
        self
    }

    pub(crate) fn time(self, figure: &str, time: Duration) -> Self {
        self.with(figure, time.as_secs_f64())
    }

    /// Prints it.
    pub(crate) fn tell(self) {
        let mut out = std::io::stdout().lock();
        writeln!(out, "{MARK}{}", Value::Object(self.0)).and_then(|()| out.flush()).expect("standard output");
    }
}

/// Says that something was left out, and why.
pub(crate) fn skip(table: &str, what: &str, why: &str) {
    eprintln!("SKIPPED {table}, {what}: {why}");
    Row::new(table, what).with("skipped", why).tell();
}
