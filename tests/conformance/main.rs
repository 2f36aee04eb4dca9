//! The conformance suite, every case on every backend, each a test of its own: `memory::`, `layered::`, `libvirt-test::`, `libvirt-live::`.
//!
//! A case that a backend cannot run is ignored with the reason, and the reasons are told once more at the end. The live part needs
//! `HYPERVISOR_TEST_LIBVIRT_URI`, which `cargo xtask test` sets; without it the run says so, and where `CI` is set it fails.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

mod backends;
mod live;
mod table;

use std::process::ExitCode;
use std::sync::Arc;

use hypervisor::conformance::{Case, Outcome, cases};
use libtest_mimic::{Arguments, Completion, Failed, Trial};

use live::Live;
use table::Table;

/// Live cases wait more than they work, so that more of them than there are CPUs go well together.
const THREADS: usize = 4;

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    arguments.test_threads.get_or_insert(THREADS);
    let table = Arc::new(Table::default());
    let live = Arc::new(Live::from_env());
    let mut trials = Vec::new();
    for case in cases() {
        trials.push(trial("memory", &case, &table, backends::memory));
        trials.push(trial("layered", &case, &table, backends::layered));
        if cfg!(feature = "libvirt") {
            trials.push(trial("libvirt-test", &case, &table, backends::libvirt_test));
            if live.is_there() {
                let live = Arc::clone(&live);
                trials.push(trial("libvirt-live", &case, &table, move |case| live.run(case)));
            }
        }
    }
    trials.push(presence(&live));
    let conclusion = libtest_mimic::run(&arguments, trials);
    let left = live.take_down();
    if !arguments.list {
        println!("{table}");
    }
    for problem in &left {
        eprintln!("libvirt-live: {problem}");
    }
    if left.is_empty() { conclusion.exit_code() } else { ExitCode::FAILURE }
}

fn trial(
    backend: &'static str,
    case: &Case,
    table: &Arc<Table>,
    run: impl FnOnce(&Case) -> Outcome + Send + 'static,
) -> Trial {
    let (case, table) = (case.clone(), Arc::clone(table));
    Trial::ignorable_test(format!("{backend}::{}", case.name), move || {
        let outcome = run(&case);
        table.add(backend, case.name, &outcome);
        match outcome {
            Outcome::Passed => Ok(Completion::Completed),
            Outcome::Skipped(reason) => Ok(Completion::ignored_with(reason)),
            other => Err(Failed::from(other.reason().unwrap_or("it failed").to_owned())),
        }
    })
}

/// A run without a real libvirtd is never taken for a whole one.
fn presence(live: &Live) -> Trial {
    let missing = if !cfg!(feature = "libvirt") {
        Some("the feature `libvirt` is off: nothing was run against libvirt".to_owned())
    } else if !live.is_there() {
        Some(format!("{} is not set: nothing was run against a real libvirtd", live::URI))
    } else {
        None
    };
    if let Some(missing) = &missing {
        eprintln!("\nSKIPPED: {missing}; `cargo xtask test` starts one\n");
    }
    Trial::ignorable_test("libvirt-live::is_there", move || match missing {
        None => Ok(Completion::Completed),
        Some(missing) if std::env::var_os("CI").is_some() => Err(Failed::from(missing)),
        Some(missing) => Ok(Completion::ignored_with(missing)),
    })
}
