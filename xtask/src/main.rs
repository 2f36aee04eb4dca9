//! Developer commands: `cargo xtask <command>`.
//!
//! Everything that a newcomer or a continuous integration machine types goes through here, so that both do the same.
#![cfg(unix)]

mod audit;
mod bench;
mod conformance;
mod demo;
mod env;
mod fuzz;
mod guest;
mod live;
mod paths;
mod picture;
mod readme;
mod run;
mod setup;
mod soak;
mod test;
mod workspace;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// What a developer of this project runs.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Install what is missing (Debian and Ubuntu, as root); says what and why first.
    Setup {
        /// Only what the libvirt driver needs to build and to open `test://` connections.
        #[arg(long)]
        driver: bool,
    },
    /// A private libvirtd with QEMU, beside any that the machine runs.
    Live {
        #[command(subcommand)]
        command: live::Command,
    },
    /// Format, lints, docs, all tests, examples, and the conformance suite against a real libvirtd.
    Test(test::Options),
    /// The conformance suite against the live backend named by `HYPERVISOR_TEST_URL`.
    Conformance {
        /// Only the cases whose name contains this.
        #[arg(long)]
        filter: Option<String>,
    },
    /// The same few lines of user code against every backend that this machine can offer.
    Demo,
    /// What it costs beside its peers and beside the least that would do; writes `benches/RESULTS.md`.
    Bench(bench::Options),
    /// libFuzzer on each decoder, by stable Rust.
    Fuzz {
        /// Only this target; all of them otherwise.
        #[arg(long)]
        target: Option<String>,
        /// How long each target runs.
        #[arg(long, default_value_t = 30)]
        seconds: u64,
    },
    /// 64 workers on each backend under faults; at the end the world must be what was acknowledged.
    Soak {
        /// How long in all.
        #[arg(long, default_value_t = 1)]
        minutes: u64,
        /// The seed of the faults and of what the workers do.
        #[arg(long)]
        seed: Option<u64>,
    },
    /// Licences, banned crates and sources of all dependencies; public API changes.
    Audit,
    /// Write the generated parts of README.md and `docs/`, or check that they are up to date.
    Readme {
        /// Fail where they differ from what the code says (the default).
        #[arg(long, conflicts_with = "write")]
        check: bool,
        /// Write them.
        #[arg(long)]
        write: bool,
    },
    /// Draw `docs/hv.svg` from what `hv` prints in a terminal against a libvirtd of our own.
    Picture,
    /// Print where the test guest's kernel and initramfs are, making them first where missing.
    Guest {
        /// Make the initramfs here and stop.
        #[arg(long)]
        out: Option<PathBuf>,
    },
}

fn main() -> ExitCode {
    if let Err(error) = paths::exe() {
        eprintln!("error: {error:#}");
        return ExitCode::FAILURE;
    }
    let done = match Cli::parse().command {
        Command::Setup { driver } => setup::command(driver),
        Command::Live { command } => live::command(command),
        Command::Test(options) => return test::command(&options),
        Command::Conformance { filter } => conformance::command(filter.as_deref()),
        Command::Demo => demo::command(),
        Command::Bench(options) => bench::command(&options),
        Command::Fuzz { target, seconds } => fuzz::command(target.as_deref(), seconds),
        Command::Soak { minutes, seed } => soak::command(minutes, seed),
        Command::Audit => audit::command(),
        Command::Readme { check: _, write } => readme::command(write),
        Command::Picture => picture::command(),
        Command::Guest { out } => guest::command(out.as_deref()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
