//! What a run has seen so far, and how its steps are shown.

use std::io::Write;
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use anyhow::{Error, Result, anyhow};

use super::report::Tally;
use crate::run::{self, Captured};

/// How the output of a step reaches the user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Show {
    /// As it comes.
    Live,
    /// Whole, once the step has ended: it runs beside steps that are shown as they come.
    AtEnd,
}

/// Steps that run one after the other, and what came of them.
#[derive(Debug)]
pub(super) struct Session {
    show: Show,
    tally: Tally,
    times: Vec<(String, Duration)>,
    skipped: Vec<String>,
}

impl Session {
    pub(super) fn new(show: Show) -> Self {
        Self { show, tally: Tally::default(), times: Vec::new(), skipped: Vec::new() }
    }

    /// Takes over what another one has seen.
    pub(super) fn absorb(&mut self, other: Self) {
        self.tally.add(other.tally);
        self.times.extend(other.times);
        self.skipped.extend(other.skipped);
    }

    /// Whether no test was seen at all.
    pub(super) fn is_empty(&self) -> bool {
        self.tally.is_empty()
    }

    /// A step that counts as one test; what it returns is shown.
    pub(super) fn check(&mut self, title: &str, act: impl FnOnce() -> Result<String>) {
        let outcome = self.step(title, |_| match act() {
            Ok(text) => (text, Ok(())),
            Err(error) => (String::new(), Err(error)),
        });
        self.count(title, outcome);
    }

    /// A program that counts as one test.
    pub(super) fn program(&mut self, title: &str, mut command: Command) {
        let outcome = self.step(title, |show| match capture(show, &mut command) {
            Ok((text, captured)) => {
                let failed = || anyhow!("`{}` failed", run::line(&command));
                (text, captured.success.then_some(()).ok_or_else(failed))
            }
            Err(error) => (String::new(), Err(error)),
        });
        self.count(title, outcome);
    }

    /// A program that runs tests and says how many.
    pub(super) fn tests(&mut self, title: &str, mut command: Command) {
        let outcome = self.step(title, |show| match capture(show, &mut command) {
            Ok((text, captured)) => (text, Ok(captured)),
            Err(error) => (String::new(), Err(error.context("no tests ran"))),
        });
        match outcome {
            Ok(captured) => {
                let tally = Tally::read(&captured.text);
                let told = tally.failed > 0;
                self.tally.add(tally);
                if !captured.success && !told {
                    self.fail(title, &anyhow!("it failed without naming a test that did"));
                }
            }
            Err(error) => self.fail(title, &error),
        }
    }

    /// A step that is no test: its time is taken, and what it prints is seen.
    pub(super) fn prepare<T>(&mut self, title: &str, act: impl FnOnce() -> T) -> T {
        self.step(title, |_| (String::new(), act()))
    }

    pub(super) fn fail(&mut self, title: &str, error: &Error) {
        eprintln!("FAILED: {title}: {error:#}");
        self.tally.failed += 1;
        self.tally.failures.push(title.to_owned());
    }

    pub(super) fn skip(&mut self, what: &str, why: &str) {
        eprintln!("\n!! SKIPPED: {what}: {why}");
        self.skipped.push(format!("{what}: {why}"));
    }

    fn count(&mut self, title: &str, outcome: Result<()>) {
        match outcome {
            Ok(()) => self.tally.passed += 1,
            Err(error) => self.fail(title, &error),
        }
    }

    /// Runs a step; the text that it gives back has not been shown yet.
    fn step<T>(&mut self, title: &str, act: impl FnOnce(Show) -> (String, T)) -> T {
        let began = Instant::now();
        if self.show == Show::Live {
            println!("\n== {title}");
        }
        let (text, outcome) = act(self.show);
        let took = began.elapsed();
        let mut out = std::io::stdout().lock();
        if self.show == Show::AtEnd {
            // A closed terminal must not end the tests.
            let _shown = writeln!(out, "\n== {title}");
        }
        let _shown = write!(out, "{text}")
            .and_then(|()| writeln!(out, "-- {title}: {:.1} s", took.as_secs_f64()))
            .and_then(|()| out.flush());
        self.times.push((title.to_owned(), took));
        outcome
    }

    /// Prints the summary; its last line is `N passed, M failed`.
    pub(super) fn end(self, began: Instant) -> ExitCode {
        println!("\n== times (steps of a second and more; lints run beside the tests)");
        let worth = |took: &Duration| *took >= Duration::from_secs(1);
        for (title, took) in self.times.iter().filter(|(_, took)| worth(took)) {
            println!("{:>8.1} s  {title}", took.as_secs_f64());
        }
        println!("{:>8.1} s  in all", began.elapsed().as_secs_f64());
        println!();
        for name in self.skipped.iter().chain(&self.tally.ignored) {
            println!("SKIPPED {name}");
        }
        for name in &self.tally.failures {
            println!("FAILED {name}");
        }
        println!("{} passed, {} failed", self.tally.passed, self.tally.failed);
        if self.tally.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}

/// Runs a program; what is yet to be shown of it, and all that it printed.
fn capture(show: Show, command: &mut Command) -> Result<(String, Captured)> {
    let line = format!("{}\n", run::line(command));
    match show {
        Show::Live => {
            print!("{line}");
            Ok((String::new(), run::captured(command)?))
        }
        Show::AtEnd => {
            let captured = run::collected(command)?;
            Ok((line + &captured.text, captured))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sh(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn both_ways_of_showing_count_the_same() {
        for show in [Show::Live, Show::AtEnd] {
            let mut session = Session::new(show);
            session.program("good", sh("true"));
            session.program("bad", sh("exit 3"));
            // A number would be counted by whoever reads what this very test prints.
            session.tests("told", sh("echo 'test result: ok. 0 passed; 0 failed; 0 ignored'"));
            session.tests("died", sh("kill -9 $$"));
            session.check("said", || Err(anyhow!("no")));
            assert_eq!((session.tally.passed, session.tally.failed), (1, 3), "{show:?}");
            assert_eq!(session.tally.failures, ["bad", "died", "said"], "{show:?}");
        }
    }

    #[test]
    fn what_ran_beside_is_added_up() {
        let mut session = Session::new(Show::Live);
        let mut beside = Session::new(Show::AtEnd);
        beside.program("good", sh("true"));
        beside.skip("that", "no server");
        assert!(session.is_empty());
        session.absorb(beside);
        assert_eq!((session.tally.passed, session.skipped.len(), session.times.len()), (1, 1, 1));
    }
}
