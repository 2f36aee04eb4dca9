//! How long a clean build takes, and how many packages it takes.

use std::collections::BTreeSet;
use std::fs;
use std::process::Stdio;
use std::time::Instant;

use anyhow::{Context, Result};

use super::figures::Row;
use crate::setup::{self, Level};
use crate::workspace::{FACADE, cargo};
use crate::{paths, run};

/// What is built: what a reader calls it, and cargo's words for it.
const BUILDS: &[(&str, &[&str])] = &[
    ("core alone", &["-p", "hypervisor-core"]),
    ("facade, default features", &["-p", FACADE]),
    ("libvirt driver", &["-p", "hypervisor-libvirt"]),
    ("Proxmox VE driver", &["-p", "hypervisor-proxmox"]),
    ("gateway clients", &["-p", "hypervisor-client"]),
    ("facade, all drivers", &["-p", FACADE, "--features", "libvirt,proxmox,client"]),
];
/// Those of a quick run whose time is measured; packages are counted always.
const QUICK: usize = 2;

/// Measures them, one after the other.
pub(super) fn measure(quick: bool) -> Result<Vec<Row>> {
    println!("\n== clean builds");
    let driver = setup::present(Level::Driver);
    let mut rows = Vec::new();
    for (index, (what, words)) in BUILDS.iter().enumerate() {
        let mut row =
            vec![("table", "build".into()), ("what", (*what).into()), ("packages", packages(words)?.into())];
        let builds = driver || !what.contains("libvirt") && !what.contains("all");
        if builds && (!quick || index < QUICK) {
            let seconds = clean(words).with_context(|| format!("cannot build {what}"))?;
            println!("{what}: {seconds:.1} s");
            row.push(("seconds", seconds.into()));
        }
        rows.push(Row::new(row));
    }
    Ok(rows)
}

/// The packages of a build, itself included; those of macros too.
fn packages(words: &[&str]) -> Result<usize> {
    let mut command = cargo(&["tree", "-e", "normal", "--prefix", "none"]);
    Ok(count(&run::output(command.args(words))?))
}

fn count(tree: &str) -> usize {
    let lines = tree.lines().map(|line| line.trim_end_matches(" (*)")).filter(|line| !line.is_empty());
    lines.collect::<BTreeSet<_>>().len()
}

/// Builds into an empty folder, as a developer does.
fn clean(words: &[&str]) -> Result<f64> {
    let folder = paths::state()?.join("clean-build");
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    let mut command = cargo(&["build", "--quiet"]);
    command.args(words).env("CARGO_TARGET_DIR", &folder).stdin(Stdio::null());
    let began = Instant::now();
    run::visible(&mut command)?;
    let took = began.elapsed();
    fs::remove_dir_all(&folder)?;
    Ok(took.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::count;

    #[test]
    fn a_package_that_is_named_twice_counts_once() {
        assert_eq!(count("a v1\nb v2 (proc-macro)\nb v2 (proc-macro) (*)\n\nb v3\n"), 3);
    }
}
