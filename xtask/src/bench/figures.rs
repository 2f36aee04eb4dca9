//! Reading what benches print, and criterion's files.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::{Map, Value};

use crate::run;

/// What a line with a figure begins with.
const MARK: &str = "BENCH ";

/// One row of a table, as a bench has printed it.
#[derive(Debug, Clone)]
pub(super) struct Row(Map<String, Value>);

impl Row {
    pub(super) fn new(fields: impl IntoIterator<Item = (&'static str, Value)>) -> Self {
        Self(fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
    }

    fn parse(line: &str) -> Option<Self> {
        serde_json::from_str(line.strip_prefix(MARK)?).ok().map(Self)
    }

    pub(super) fn table(&self) -> &str {
        self.text("table")
    }

    pub(super) fn what(&self) -> &str {
        self.text("what")
    }

    pub(super) fn text(&self, field: &str) -> &str {
        self.0.get(field).and_then(Value::as_str).unwrap_or_default()
    }

    pub(super) fn number(&self, field: &str) -> Option<f64> {
        self.0.get(field)?.as_f64()
    }

    pub(super) fn skipped(&self) -> Option<&str> {
        self.0.get("skipped")?.as_str()
    }
}

/// All that was measured.
#[derive(Debug, Default)]
pub(super) struct Figures {
    pub(super) rows: Vec<Row>,
    /// Criterion's medians in nanoseconds, by group and name.
    pub(super) medians: BTreeMap<(String, String), f64>,
    /// What benches with words of their own have printed, by bench.
    pub(super) said: Vec<(String, Vec<String>)>,
    pub(super) left_out: Vec<String>,
}

impl Figures {
    /// Runs a bench in view of the user and keeps its figures. One that fails is told in the report, and its figures up to there are kept: the
    /// others are worth having all the same.
    pub(super) fn try_run(&mut self, title: &str, command: Option<Command>) {
        if let Err(error) = self.run(title, command) {
            self.leave_out(title, &format!("{error:#}"));
        }
    }

    fn run(&mut self, title: &str, command: Option<Command>) -> Result<()> {
        let Some(mut command) = command else {
            self.leave_out(title, "there is no such bench");
            return Ok(());
        };
        println!("\n== bench {title}");
        let captured = run::captured(&mut command)?;
        self.take(title, &captured.text);
        ensure!(captured.success, "the bench failed before its end");
        Ok(())
    }

    fn take(&mut self, title: &str, text: &str) {
        let rows: Vec<Row> = text.lines().filter_map(Row::parse).collect();
        for row in &rows {
            if let Some(why) = row.skipped() {
                self.left_out.push(format!("{}, {}: {why}", row.table(), row.what()));
            }
        }
        let lines: Vec<String> = text.lines().filter(|line| is_said(line)).map(str::to_owned).collect();
        if !lines.is_empty() {
            self.said.push((title.to_owned(), lines));
        }
        self.rows.extend(rows.into_iter().filter(|row| row.skipped().is_none()));
    }

    pub(super) fn leave_out(&mut self, what: &str, why: &str) {
        eprintln!("!! SKIPPED: {what}: {why}");
        self.left_out.push(format!("{what}: {why}"));
    }

    /// Reads criterion's medians.
    pub(super) fn criterion(&mut self, home: &Path) -> Result<()> {
        let mut folders = vec![home.to_path_buf()];
        while let Some(folder) = folders.pop() {
            let Ok(entries) = fs::read_dir(&folder) else { continue };
            for entry in entries {
                let path = entry?.path();
                if !path.is_dir() {
                    continue;
                }
                if path.ends_with("new") {
                    let (name, median) = median(&path)?;
                    self.medians.insert(name, median);
                } else {
                    folders.push(path);
                }
            }
        }
        Ok(())
    }

    /// The median of one of criterion's benches, in nanoseconds.
    pub(super) fn median(&self, group: &str, name: &str) -> Option<f64> {
        self.medians.get(&(group.to_owned(), name.to_owned())).copied()
    }
}

/// Whether a line is neither a row nor criterion's own.
fn is_said(line: &str) -> bool {
    const NOISE: [&str; 9] =
        ["Benchmarking", "Found ", "Gnuplot", "Warning", "warning", "time:", "thrpt:", "change:", "SKIPPED"];
    let begins = line.chars().next().is_some_and(|first| !first.is_whitespace());
    begins
        && !line.starts_with(MARK)
        && !line.starts_with("==")
        && line.contains(": ")
        && !NOISE.iter().any(|noise| line.starts_with(noise))
        && !line.contains("time:   [")
}

fn median(folder: &Path) -> Result<((String, String), f64)> {
    let read = |name: &str| -> Result<Value> {
        let file = folder.join(name);
        let text = fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
        Ok(serde_json::from_str(&text)?)
    };
    let (about, estimates) = (read("benchmark.json")?, read("estimates.json")?);
    let text = |key: &str| about.get(key).and_then(Value::as_str);
    let group = text("group_id").context("a bench without a group")?.to_owned();
    let name = [text("function_id"), text("value_str")].into_iter().flatten().collect::<Vec<_>>().join("/");
    let median = estimates.get("median").and_then(|median| median.get("point_estimate"));
    Ok(((group, name), median.and_then(Value::as_f64).context("no median")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_rows_and_leaves_criterions_own_lines() {
        let mut figures = Figures::default();
        let text = "get_vm/dyn              time:   [1.0 ns 1.1 ns 1.2 ns]\n\
                    BENCH {\"table\":\"cluster\",\"what\":\"ours\",\"seconds\":0.5}\n\
                    BENCH {\"table\":\"cluster\",\"what\":\"proxmoxer\",\"skipped\":\"no Python\"}\n\
                    inventory of 1,000 guests: 4.2ms, bare bulk call 3.2ms: 1.31x\n";
        figures.take("libvirt", text);
        assert_eq!(figures.rows.len(), 1);
        assert_eq!(figures.rows.first().and_then(|row| row.number("seconds")), Some(0.5));
        assert_eq!(figures.left_out, ["cluster, proxmoxer: no Python"]);
        let said = figures.said.first().unwrap();
        assert_eq!(said.1, ["inventory of 1,000 guests: 4.2ms, bare bulk call 3.2ms: 1.31x"]);
    }

    #[test]
    fn reads_criterions_files() {
        let home = std::env::temp_dir().join(format!("xtask-figures-{}", std::process::id()));
        let new = home.join("get_vm/full stack/new");
        fs::create_dir_all(&new).unwrap();
        fs::write(
            new.join("benchmark.json"),
            r#"{"group_id":"get_vm","function_id":"full stack","value_str":null}"#,
        )
        .unwrap();
        fs::write(new.join("estimates.json"), r#"{"median":{"point_estimate":321.5}}"#).unwrap();
        let mut figures = Figures::default();
        figures.criterion(&home).unwrap();
        fs::remove_dir_all(&home).unwrap();
        assert_eq!(figures.median("get_vm", "full stack"), Some(321.5));
        assert_eq!(figures.median("get_vm", "dyn"), None);
    }
}
