//! `cargo xtask bench`: what the SDK costs, beside its peers and beside the least that would do, written to `benches/RESULTS.md`.
//!
//! Figures are read from what the benches print for programs and from criterion's files; nothing in the report is typed.

mod builds;
mod figures;
mod machine;
mod python;
mod results;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result};
use clap::ValueEnum;
use serde_json::Value;

use self::figures::{Figures, Row};
use crate::live::Live;
use crate::setup::{self, Level};
use crate::workspace::{Workspace, cargo};
use crate::{env, paths, run};

const REPORT: &str = "benches/RESULTS.md";
/// The crate of the benches beside peers.
const COMPARE: &str = "hypervisor-compare";

/// One of the benches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum Part {
    /// What a call, a list, a batch cost on the in-memory hypervisor.
    Dispatch,
    /// 10,000 guests of a Proxmox VE cluster.
    Cluster,
    /// Machines of libvirt, and their load.
    Libvirt,
    /// 1,000 starts at once.
    Batch,
    /// A gigabyte up and down.
    Streams,
    /// From 10 to 10,000 machines.
    Growth,
    /// Our own gateway.
    Gateway,
    /// Clean builds, and how many packages they take.
    Build,
}

/// What to measure, and how long.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Only this; can be given more than once. The report is then printed and not written.
    #[arg(long)]
    only: Vec<Part>,
    /// Few samples: to see that it works.
    #[arg(long)]
    quick: bool,
    /// Build as for tests, without optimisation, which is much faster: to see that it works.
    #[arg(long)]
    unoptimized: bool,
}

impl Options {
    fn wants(&self, part: Part) -> bool {
        self.only.is_empty() || self.only.contains(&part)
    }

    fn wants_any(&self, parts: &[Part]) -> bool {
        parts.iter().any(|part| self.wants(*part))
    }
}

/// Runs `cargo xtask bench`.
pub(crate) fn command(options: &Options) -> Result<()> {
    let began = Instant::now();
    let mut figures = Figures::default();
    let load = machine::load();
    if options.wants_any(&[
        Part::Dispatch,
        Part::Cluster,
        Part::Libvirt,
        Part::Batch,
        Part::Streams,
        Part::Growth,
        Part::Gateway,
    ]) {
        benches(options, &mut figures)?;
    }
    if options.wants(Part::Build) {
        figures.rows.extend(builds::measure(options.quick)?);
    }
    let report = results::write(&figures, options, &load, began.elapsed())?;
    if options.only.is_empty() {
        fs::write(paths::root().join(REPORT), &report).with_context(|| format!("cannot write {REPORT}"))?;
        println!("\nwritten: {REPORT}, after {:.0} s", began.elapsed().as_secs_f64());
    } else {
        println!("\n{report}\nnot written to {REPORT}: a part only");
    }
    Ok(())
}

fn benches(options: &Options, figures: &mut Figures) -> Result<()> {
    let libvirt = setup::ensure(Level::Driver);
    if let Err(error) = &libvirt {
        figures.leave_out("everything on libvirt", &format!("{error:#}"));
    }
    let workspace = Workspace::read(libvirt.is_ok())?;
    let began = Instant::now();
    let built = build(&workspace, options)?;
    println!("bench: built in {:.0} s", began.elapsed().as_secs_f64());

    let mut vars: BTreeMap<String, String> = BTreeMap::new();
    if options.wants_any(&[Part::Cluster, Part::Libvirt]) {
        match python::ensure(libvirt.is_ok()) {
            Ok(python) => drop(vars.insert(python::VAR.to_owned(), python.display().to_string())),
            Err(error) => figures.leave_out("peers in Python", &format!("{error:#}")),
        }
    }
    let live = options.wants_any(&[Part::Libvirt, Part::Streams]) && libvirt.is_ok();
    let live = if live && std::env::var_os(env::LIBVIRT_URI).is_none() {
        println!("bench: a private libvirtd for what needs one");
        match Live::start() {
            Ok(live) => Some(live),
            Err(error) => {
                figures.leave_out("everything on a live libvirtd", &format!("{error:#}"));
                None
            }
        }
    } else {
        None
    };
    if let Some(live) = &live {
        vars.extend(live.vars().iter().map(|(name, value)| ((*name).to_owned(), value.clone())));
    }

    let home = paths::state()?.join("criterion");
    if home.exists() {
        fs::remove_dir_all(&home)?;
    }
    vars.insert("CRITERION_HOME".to_owned(), home.display().to_string());
    let bench = |name: &str, words: &[&str]| -> Option<Command> {
        let mut command = Command::new(built.get(name)?);
        command.arg("--bench").args(words).envs(&vars).current_dir(paths::root());
        Some(command)
    };
    if options.wants(Part::Dispatch) {
        figures.try_run("core", bench("core", quick(options)));
    }
    let parts = [
        (Part::Cluster, "cluster"),
        (Part::Libvirt, "libvirt"),
        (Part::Batch, "batch"),
        (Part::Streams, "streams"),
        (Part::Growth, "growth"),
    ];
    for (_, name) in parts.iter().filter(|(part, _)| options.wants(*part)) {
        let mut words = vec!["--only", name];
        words.extend(quick(options));
        figures.try_run(&format!("compare {name}"), bench("compare", &words));
    }
    if options.wants(Part::Libvirt) {
        // Its uploads are measured by `streams`, in both directions.
        for part in ["inventory", "metrics"] {
            let words = [quick(options), &[part]].concat();
            figures.try_run(&format!("libvirt {part}"), bench("libvirt", &words));
        }
    }
    if options.wants(Part::Gateway) {
        figures.try_run("gateway", bench("gateway", quick(options)));
    }
    figures.criterion(&home)?;
    live.map_or(Ok(()), Live::stop)
}

fn quick(options: &Options) -> &'static [&'static str] {
    if options.quick { &["--quick"] } else { &[] }
}

/// The benches that a run needs.
fn needed(options: &Options) -> impl Fn(&str) -> bool {
    move |name| {
        options.wants_any(match name {
            "core" => &[Part::Dispatch],
            "compare" => &[Part::Cluster, Part::Libvirt, Part::Batch, Part::Streams, Part::Growth],
            "libvirt" => &[Part::Libvirt],
            "gateway" => &[Part::Gateway],
            _ => &[],
        })
    }
}

/// Builds the benches, optimised, with no more features than they need; the programs by name.
fn build(workspace: &Workspace, options: &Options) -> Result<BTreeMap<String, PathBuf>> {
    let needed = needed(options);
    let mut command = cargo(&["bench", "--no-run", "--message-format", "json-render-diagnostics"]);
    if options.unoptimized {
        // With the features of the tests, so that what they have built is used again.
        command.args(["--profile", "dev"]).args(workspace.everything());
    }
    let mut any = false;
    for package in workspace.buildable() {
        let benches: Vec<&str> = package
            .targets
            .iter()
            .filter(|(kind, name)| kind == "bench" && needed(name))
            .map(|(_, name)| name.as_str())
            .collect();
        if benches.is_empty() {
            continue;
        }
        any = true;
        command.args(benches.iter().flat_map(|name| ["--bench", name]));
        if options.unoptimized {
            continue;
        }
        command.args(["-p", &package.name]);
        if workspace.libvirt && package.name == COMPARE {
            command.args(["--features", &format!("{COMPARE}/libvirt")]);
        }
    }
    if !any {
        return Ok(BTreeMap::new());
    }
    println!("bench: {}", run::line(&command));
    let text = run::piped(&mut command)?;
    let built = text.lines().filter_map(|line| program(&serde_json::from_str(line).ok()?));
    Ok(built.collect())
}

fn program(message: &Value) -> Option<(String, PathBuf)> {
    let name = message.get("target")?.get("name")?.as_str()?;
    let program = message.get("executable")?.as_str()?;
    Some((name.to_owned(), Path::new(program).to_path_buf()))
}

/// A table, without the rows of others.
fn rows<'a>(figures: &'a Figures, table: &'a str) -> impl Iterator<Item = &'a Row> {
    figures.rows.iter().filter(move |row| row.table() == table)
}
