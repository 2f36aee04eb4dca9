//! The conformance suite against any live backend:
//!
//! ```sh
//! HYPERVISOR_TEST_URL=qemu:///system cargo run --features libvirt,conformance --example conformance -- --filter power
//! ```
//!
//! Whatever it makes has a name with a prefix of its own (`HYPERVISOR_TEST_PREFIX`) and is removed again, also on Ctrl-C. `CONTRIBUTING.md`
//! lists the further settings.

use std::process::ExitCode;

use clap::Parser;
use hypervisor::conformance::{Case, Settings, cases, run_cases, sweep};
use hypervisor::{Error, ErrorKind, Result};

/// Runs the conformance suite against the backend of HYPERVISOR_TEST_URL.
#[derive(Parser)]
struct Options {
    /// Only cases whose name contains this.
    #[arg(long)]
    filter: Option<String>,
    /// Only print the cases' names and what they need.
    #[arg(long)]
    list: bool,
}

#[tokio::main]
async fn main() -> ExitCode {
    let options = Options::parse();
    let wanted = |case: &Case| options.filter.as_deref().is_none_or(|filter| case.name.contains(filter));
    let cases: Vec<Case> = cases().into_iter().filter(wanted).collect();
    if options.list {
        list(&cases);
        return ExitCode::SUCCESS;
    }
    match run(&cases).await {
        Ok(code) => code,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn list(cases: &[Case]) {
    for case in cases {
        let needs = case.needs.iter().map(ToString::to_string);
        let settings = case.needs_settings.iter().map(ToString::to_string);
        println!("{:<52} {}", case.name, needs.chain(settings).collect::<Vec<_>>().join(" "));
    }
    println!("{} cases", cases.len());
}

async fn run(cases: &[Case]) -> Result<ExitCode> {
    if cases.is_empty() {
        return Err(Error::new(ErrorKind::Config, "no case has such a name; --list prints them all"));
    }
    let url = std::env::var("HYPERVISOR_TEST_URL").map_err(|_| {
        let hint = "Set it to the URL of the backend to test, such as memory:// or qemu:///system";
        Error::new(ErrorKind::Config, "HYPERVISOR_TEST_URL is not set").with_hint(hint)
    })?;
    let settings = Settings::from_env();
    let hv = hypervisor::connect(&url).await?;
    let info = hv.info();
    let version = info.version.as_deref().unwrap_or("of unknown version");
    println!(
        "{} {version} at {}: {} cases, prefix {}",
        info.backend,
        info.endpoint,
        cases.len(),
        settings.prefix
    );
    let interrupted = tokio::select! {
        report = run_cases(cases, &hv, &settings, |row| println!("{row}")) => {
            println!("{}", report.summary());
            return Ok(if report.is_success() { ExitCode::SUCCESS } else { ExitCode::FAILURE });
        }
        _ = tokio::signal::ctrl_c() => ExitCode::from(130),
    };
    eprintln!("interrupted: removing what was made");
    let left = sweep(&*hv, &settings).await;
    for problem in &left {
        eprintln!("{problem}");
    }
    Ok(interrupted)
}
