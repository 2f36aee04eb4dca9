//! `hv`, the command line of `examples/hv`: in this process on hypervisors in memory, and as a program of its own on servers.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests fail by panicking"
)]

#[path = "../../examples/hv/app/mod.rs"]
mod app;
mod errors;
mod guests;
mod live;
mod output;
mod process;
mod servers;
mod support;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};

fn main() -> ExitCode {
    // The tests start this program again as `hv`: an example is not built for a test.
    if std::env::var_os(support::AS_PROGRAM).is_some() {
        return app::main();
    }
    let arguments = Arguments::from_args();
    let trials: Vec<Trial> = [
        guests::trials(),
        output::trials(),
        errors::trials(),
        process::trials(),
        servers::trials(),
        live::trials(),
    ]
    .into_iter()
    .flatten()
    .collect();
    libtest_mimic::run(&arguments, trials).exit_code()
}
