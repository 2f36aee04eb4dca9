//! The conformance suite on the fake virtualization-mcp, in both of its shapes: each case on a gateway of its own. With
//! `HYPERVISOR_TEST_URL` set to its URL, each case runs against that one too.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use hypervisor_client::ClientConfig;
use hypervisor_client::fake::Fake;
use hypervisor_core::Hypervisor;
use hypervisor_core::conformance::{Case, Outcome, Settings, cases};
use libtest_mimic::{Arguments, Completion, Failed, Trial};

const LIVE: &str = "HYPERVISOR_TEST_URL";

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let live = std::env::var(LIVE).ok().filter(|url| url.contains("+virtualization-mcp://"));
    let mut trials = Vec::new();
    for case in cases() {
        let name = case.name;
        for served in [false, true] {
            let (fake, shape) = (case.clone(), if served { "served" } else { "documented" });
            trials.push(trial(format!("fake-mcp-{shape}::{name}"), move || on_fake(&fake, served)));
        }
        if let Some(url) = live.clone() {
            trials.push(trial(format!("live-mcp::{name}"), move || on_live(&case, &url)));
        }
    }
    if live.is_none() {
        eprintln!(
            "\nSKIPPED: {LIVE} is not set to a virtualization-mcp: nothing was run against a real one\n"
        );
    }
    libtest_mimic::run(&arguments, trials).exit_code()
}

fn trial(name: String, run: impl FnOnce() -> Outcome + Send + 'static) -> Trial {
    Trial::ignorable_test(name, move || match run() {
        Outcome::Passed => Ok(Completion::Completed),
        Outcome::Skipped(reason) => Ok(Completion::ignored_with(reason)),
        other => Err(Failed::from(other.reason().unwrap_or("it failed").to_owned())),
    })
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}

fn on_fake(case: &Case, served: bool) -> Outcome {
    runtime().block_on(async {
        let fake = Fake::virtualization_mcp();
        let fake = if served { fake.as_served() } else { fake };
        let fake = fake.start().await;
        let settings = Settings::new().deadline(Duration::from_secs(10));
        match hypervisor_client::connect(fake.config()).await {
            Ok(hv) => case.run(&hv, &settings).await,
            Err(error) => Outcome::Failed(error.to_string()),
        }
    })
}

fn on_live(case: &Case, url: &str) -> Outcome {
    runtime().block_on(async {
        let connected: hypervisor_core::Result<Arc<dyn Hypervisor>> = match ClientConfig::new(url) {
            Ok(config) => hypervisor_client::connect(config).await,
            Err(error) => Err(error),
        };
        match connected {
            Ok(hv) => case.run(&hv, &Settings::from_env()).await,
            Err(error) => Outcome::Failed(error.to_string()),
        }
    })
}
