//! `cargo xtask fuzz`: libFuzzer on each decoder, with the coverage that stable Rust has. Sanitizers need nightly and are left out: the decoders
//! have no `unsafe`, so that what can go wrong is a panic, a loop without end, or too much memory, which all are found.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use crate::setup::{self, Level};
use crate::workspace::cargo;
use crate::{paths, run};

/// What cargo-fuzz gives to the compiler, less the sanitizer.
const FLAGS: &[&str] = &[
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    "-Cdebug-assertions",
    "--cfg=fuzzing",
];
const TARGETS: &str = "fuzz/fuzz_targets";

/// How a target ended.
struct Outcome {
    target: String,
    runs: String,
    coverage: String,
    clean: bool,
}

/// Runs one target, or all of them one after the other, for so long each.
pub(crate) fn command(only: Option<&str>, seconds: u64) -> Result<()> {
    setup::ensure(Level::Driver)?;
    setup::program("c++", &["g++"], "the C++ compiler that builds libFuzzer")?;
    let mut targets = names()?;
    if let Some(only) = only {
        ensure!(
            targets.iter().any(|name| name == only),
            "there is no target `{only}`, only {}",
            targets.join(", ")
        );
        targets.retain(|name| name == only);
    }
    let folder = build(only)?;
    let mut outcomes = Vec::new();
    for target in targets {
        outcomes.push(fuzz(&folder, target, Duration::from_secs(seconds.max(1)))?);
    }
    println!("\n{:<28} {:>12} {:>9}", "target", "runs", "coverage");
    for Outcome { target, runs, coverage, clean } in &outcomes {
        println!("{target:<28} {runs:>12} {coverage:>9}  {}", if *clean { "clean" } else { "FAILED" });
    }
    let failed: Vec<_> =
        outcomes.iter().filter(|outcome| !outcome.clean).map(|outcome| outcome.target.as_str()).collect();
    if !failed.is_empty() {
        bail!("{} failed; the inputs are in {}", failed.join(", "), kept("artifacts", "")?.display());
    }
    Ok(())
}

fn names() -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(paths::root().join(TARGETS)).context("there are no fuzz targets")? {
        names.extend(entry?.path().file_stem().map(|name| name.to_string_lossy().into_owned()));
    }
    names.sort();
    Ok(names)
}

/// A folder for a target that outlives the run: what has been found to be interesting, or to fail.
fn kept(what: &str, target: &str) -> Result<PathBuf> {
    let folder = paths::state()?.join("fuzz").join(what).join(target);
    std::fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    Ok(folder)
}

/// Builds the targets, and says where they are.
fn build(only: Option<&str>) -> Result<PathBuf> {
    let root = paths::root();
    // The same versions as everywhere else.
    std::fs::copy(root.join("Cargo.lock"), root.join("fuzz/Cargo.lock")).context("cannot copy Cargo.lock")?;
    let told = run::output(Command::new("rustc").arg("-vV"))?;
    let host =
        told.lines().find_map(|line| line.strip_prefix("host: ")).context("rustc does not name its host")?;
    let out = paths::state()?.join("fuzz").join("target");
    // With a target named, the flags are not those of build scripts and macros.
    let mut command = cargo(&["build", "--release", "--manifest-path", "fuzz/Cargo.toml", "--target", host]);
    command.arg("--target-dir").arg(&out).args(only.map(|name| ["--bin", name]).into_iter().flatten());
    command.env("CARGO_ENCODED_RUSTFLAGS", FLAGS.join("\u{1f}"));
    println!("{}", run::line(&command));
    run::visible(&mut command)?;
    Ok(out.join(host).join("release"))
}

fn fuzz(folder: &Path, target: String, time: Duration) -> Result<Outcome> {
    println!("\n== {target}");
    let artifacts = kept("artifacts", &target)?;
    let mut command = Command::new(folder.join(&target));
    command
        .arg(kept("corpus", &target)?)
        .arg(paths::root().join("fuzz/seeds").join(&target))
        .args([
            format!("-max_total_time={}", time.as_secs()),
            format!("-artifact_prefix={}/", artifacts.display()),
        ])
        .args(["-timeout=5", "-rss_limit_mb=1024", "-max_len=8192", "-print_final_stats=1"]);
    let told = run::captured(&mut command)?;
    Ok(Outcome {
        runs: last(&told.text, "stat::number_of_executed_units:"),
        coverage: last(&told.text, "cov:"),
        clean: told.success,
        target,
    })
}

/// The word after the last `label`.
fn last(text: &str, label: &str) -> String {
    let after = text.rsplit_once(label).map(|(_, after)| after);
    after.and_then(|after| after.split_whitespace().next()).unwrap_or("?").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_target_has_seeds_and_a_place_in_the_manifest() {
        let manifest = std::fs::read_to_string(paths::root().join("fuzz/Cargo.toml")).unwrap();
        let names = names().unwrap();
        assert!(names.len() > 10, "{names:?}");
        for name in names {
            assert!(manifest.contains(&format!("name = \"{name}\"")), "{name} is not in fuzz/Cargo.toml");
            let seeds = std::fs::read_dir(paths::root().join("fuzz/seeds").join(&name));
            assert!(seeds.is_ok_and(|mut seeds| seeds.next().is_some()), "{name} has no seeds");
        }
    }

    #[test]
    fn the_last_figures_are_read() {
        let text = "#2 INITED cov: 12 ft: 13\n#99 DONE cov: 345 ft: 6\nstat::number_of_executed_units: 99\n";
        assert_eq!(
            (last(text, "cov:"), last(text, "stat::number_of_executed_units:")),
            ("345".into(), "99".into())
        );
        assert_eq!(last(text, "rss:"), "?");
    }
}
