//! What the figures were measured on.

use std::fs;
use std::process::Command;

use anyhow::Result;

use crate::run;
use crate::workspace::cargo;

fn said(program: &str, words: &[&str]) -> String {
    let text = run::output(Command::new(program).args(words)).unwrap_or_default();
    text.trim().to_owned()
}

/// The value of the first line that begins so, in files such as `/proc/cpuinfo`.
fn line(text: &str, key: &str) -> Option<String> {
    let line = text.lines().find(|line| line.starts_with(key))?;
    line.split_once(':').map(|(_, value)| value.trim().to_owned())
}

/// The load of the last minute.
pub(super) fn load() -> String {
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    load.split(' ').next().unwrap_or_default().to_owned()
}

/// One line for each fact.
pub(super) fn describe(load: &str) -> Result<Vec<String>> {
    let cores = std::thread::available_parallelism()?;
    let cpu = line(&fs::read_to_string("/proc/cpuinfo").unwrap_or_default(), "model name");
    let memory = line(&fs::read_to_string("/proc/meminfo").unwrap_or_default(), "MemTotal");
    let kib: Option<u64> = memory.and_then(|memory| memory.split(' ').next()?.parse().ok());
    let system =
        line(&fs::read_to_string("/etc/os-release").unwrap_or_default().replace('=', ":"), "PRETTY_NAME");
    let mut facts = vec![
        format!("date: {}", said("date", &["-u", "+%Y-%m-%d %H:%M UTC"])),
        format!("commit: {}", said("git", &["describe", "--always", "--dirty", "--exclude=*"])),
        format!(
            "machine: {cores} cores of {}, {:.0} GiB of memory, load {load} at the start",
            cpu.unwrap_or_else(|| "an unknown CPU".to_owned()),
            kib.map_or(0.0, kib_to_gib),
        ),
        format!("system: {}, Linux {}", system.unwrap_or_default().trim_matches('"'), said("uname", &["-r"])),
        format!("Rust: {}", run::output(&mut cargo(&["--version", "--verbose"])).map(|text| release(&text))?),
    ];
    let libvirt = said("virsh", &["--version"]);
    if !libvirt.is_empty() {
        facts.push(format!("libvirt: {libvirt}"));
    }
    Ok(facts)
}

fn release(text: &str) -> String {
    line(text, "release").unwrap_or_else(|| text.trim().to_owned())
}

#[allow(clippy::cast_precision_loss, reason = "rounded for a person to read")]
fn kib_to_gib(kib: u64) -> f64 {
    kib as f64 / f64::from(1 << 20)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_a_value() {
        assert_eq!(line("a\t: 1\nmodel name\t: Some CPU\n", "model name").as_deref(), Some("Some CPU"));
        assert_eq!(line("a: 1", "b"), None);
    }
}
