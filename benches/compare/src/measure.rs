//! Times and memory.

use std::fs;
use std::time::{Duration, Instant};

pub(crate) fn middle(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

pub(crate) fn timed<T>(act: impl FnOnce() -> T) -> (Duration, T) {
    let begun = Instant::now();
    let done = act();
    (begun.elapsed(), done)
}

/// The middle of the times that each of some things takes, done in turn, so that what else the machine does slows all of them
/// alike. The first round warms up.
pub(crate) fn in_turn<const N: usize>(rounds: usize, mut things: [&mut dyn FnMut(); N]) -> [Duration; N] {
    let mut times = [const { Vec::new() }; N];
    for round in 0..=rounds {
        for (thing, times) in things.iter_mut().zip(&mut times) {
            let (took, ()) = timed(&mut **thing);
            if round > 0 {
                times.push(took);
            }
        }
    }
    times.map(middle)
}

/// Memory of a process, in KiB.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Memory {
    process: u32,
}

impl Memory {
    pub(crate) fn of(process: u32) -> Self {
        Self { process }
    }

    pub(crate) fn own() -> Self {
        Self::of(std::process::id())
    }

    fn line(self, key: &str) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process)).expect("a process");
        let line = status.lines().find_map(|line| line.strip_prefix(key)).expect("a line of its status");
        line.split_whitespace().next().and_then(|word| word.parse().ok()).expect("a number")
    }

    /// What it has now.
    pub(crate) fn resident(self) -> u64 {
        self.line("VmRSS:")
    }

    /// The most that it had since [`restart`](Self::restart).
    pub(crate) fn peak(self) -> u64 {
        self.line("VmHWM:")
    }

    /// Counts the peak from now on, and tells what it has now.
    pub(crate) fn restart(self) -> u64 {
        if fs::write(format!("/proc/{}/clear_refs", self.process), "5").is_err() {
            eprintln!("the peak of memory cannot be set back here: it is that of the whole process");
        }
        self.resident()
    }
}
