//! Looking at processes and ending them.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::run;

/// A process id from a file that holds one.
pub(crate) fn read_pid(file: &Path) -> Option<i32> {
    fs::read_to_string(file).ok()?.trim().parse().ok().filter(|pid| *pid > 1)
}

/// Whether the process is there and not just a zombie.
pub(crate) fn alive(pid: i32) -> bool {
    stat(pid).is_some_and(|(_, state)| state != 'Z' && state != 'X')
}

/// Sends a signal; a process that is gone is none of the caller's business.
pub(crate) fn signal(pid: i32, signal: Signal) {
    if let Some(pid) = Pid::from_raw(pid) {
        let _gone = kill_process(pid, signal);
    }
}

/// Waits until the process is gone; false where it is still there after that time.
pub(crate) fn gone(pid: i32, within: Duration) -> bool {
    let end = Instant::now() + within;
    while alive(pid) {
        if Instant::now() >= end {
            return false;
        }
        run::pause(Duration::from_millis(20));
    }
    true
}

/// The processes below this one, however deep. Under a subreaper that includes daemons that went off by themselves.
pub(crate) fn below(root: i32) -> Vec<i32> {
    let parents: Vec<(i32, i32)> = fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter_map(|pid| Some((pid, stat(pid)?.0)))
        .collect();
    let mut found = vec![root];
    let mut at = 0;
    while let Some(parent) = found.get(at).copied() {
        found.extend(parents.iter().filter(|(_, above)| *above == parent).map(|(pid, _)| *pid));
        at += 1;
    }
    found.split_off(1)
}

/// The words of a process's command line, or nothing where it is gone.
pub(crate) fn words(pid: i32) -> Vec<String> {
    let text = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    text.split('\0').map(String::from).collect()
}

/// Parent and state of a process.
fn stat(pid: i32) -> Option<(i32, char)> {
    parse_stat(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

fn parse_stat(text: &str) -> Option<(i32, char)> {
    // The name is in brackets and may hold brackets and spaces itself.
    let (_, rest) = text.rsplit_once(')')?;
    let mut words = rest.split_whitespace();
    let state = words.next()?.chars().next()?;
    Some((words.next()?.parse().ok()?, state))
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn a_name_with_brackets_does_not_confuse() {
        assert_eq!(parse_stat("42 (a) b) S 7 42 42 0"), Some((7, 'S')));
    }

    #[test]
    fn finds_and_ends_a_grandchild() {
        let mut shell = Command::new("sh").args(["-c", "sleep 60 & wait"]).spawn().unwrap();
        let me = i32::try_from(std::process::id()).unwrap();
        let shell_pid = i32::try_from(shell.id()).unwrap();
        let end = Instant::now() + Duration::from_secs(5);
        let sleeper = loop {
            if let Some(pid) = below(shell_pid).first() {
                break *pid;
            }
            assert!(Instant::now() < end);
            run::pause(Duration::from_millis(10));
        };
        assert!(below(me).contains(&sleeper));
        signal(sleeper, Signal::KILL);
        assert!(gone(sleeper, Duration::from_secs(5)));
        shell.wait().unwrap();
        assert!(!alive(shell_pid));
    }
}
