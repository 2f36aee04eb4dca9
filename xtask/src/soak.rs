//! `cargo xtask soak`: many workers on each backend under faults, for so long.

use std::process::Command;

use anyhow::Result;

use crate::setup::{self, Level};
use crate::workspace::{Workspace, cargo};
use crate::{paths, run};

/// What runs the workers.
const PROGRAM: &str = "hypervisor-soak";

/// Runs the soak and prints its closing line.
pub(crate) fn command(minutes: u64, seed: Option<u64>) -> Result<()> {
    let workspace = Workspace::read(setup::present(Level::Driver))?;
    let mut build = cargo(&["build"]);
    run::visible(build.args(workspace.everything()).args(["--bin", PROGRAM]))?;
    run::visible(&mut soak(minutes.max(1).saturating_mul(60), seed)?)
}

/// The command line of the program, which has been built.
pub(crate) fn soak(seconds: u64, seed: Option<u64>) -> Result<Command> {
    let mut command = Command::new(paths::build()?.join(PROGRAM));
    // What the allocator keeps for later, in an arena for each thread, is no growth of ours.
    command.env("MALLOC_ARENA_MAX", "1").env("MALLOC_TRIM_THRESHOLD_", "131072");
    command
        .args(["--seconds", &seconds.to_string()])
        .args(seed.iter().flat_map(|seed| ["--seed".to_owned(), seed.to_string()]));
    Ok(command)
}
