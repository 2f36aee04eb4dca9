//! `cargo xtask demo`: the same few lines of user code against every backend that this machine can offer.

use std::time::Instant;

use anyhow::Result;

use crate::live::Live;
use crate::run;
use crate::setup::{self, Level};
use crate::workspace::Workspace;

const EXAMPLE: &str = "demo";

/// Sets up what is missing, runs the demo, and leaves nothing running.
pub(crate) fn command() -> Result<()> {
    let began = Instant::now();
    let mut missing = Vec::new();
    let live = match Live::start() {
        Ok(live) => Some(live),
        Err(error) => {
            missing.push(format!("no QEMU machine: {error:#}"));
            None
        }
    };
    let driver = match setup::ensure(Level::Driver) {
        Ok(()) => true,
        Err(error) => {
            missing.push(format!("no libvirt at all: {error:#}"));
            false
        }
    };
    let workspace = Workspace::read(driver)?;
    workspace.require("example", EXAMPLE)?;
    let mut command = workspace.example(EXAMPLE);
    command.arg("--memory").args(driver.then_some("--test-driver"));
    if let Some(live) = &live {
        command.args(["--live", &live.uri()]).envs(live.vars().iter().map(|(name, value)| (name, value)));
    }
    let outcome = run::visible(&mut command);
    drop(live);
    for line in &missing {
        println!("left out: {line}");
    }
    println!("demo: {:.1} s in all", began.elapsed().as_secs_f64());
    outcome
}
