//! The conformance suite on the HyperSDK dialect, every case a test of its own: `hypersdk::` on the fake, a new one for each case, and
//! `hypersdk-live::` on the daemon that `HYPERVISOR_TEST_URL` names. What cannot be run is ignored with the reason.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests fail by panicking"
)]

use std::process::ExitCode;
use std::time::Duration;

use hypervisor_client::ClientConfig;
use hypervisor_client::fake::Fake;
use hypervisor_core::conformance::{Case, Outcome, Settings, cases};
use hypervisor_core::model::ByteSize;
use libtest_mimic::{Arguments, Completion, Failed, Trial};

const URL: &str = "HYPERVISOR_TEST_URL";

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    arguments.test_threads.get_or_insert(2);
    let live = std::env::var(URL).ok().filter(|url| url.contains("+hypersdk://"));
    if live.is_none() {
        eprintln!("\nSKIPPED: {URL} names no http+hypersdk:// server: nothing is run against a real one\n");
    }
    let mut trials = Vec::new();
    for case in cases() {
        trials.push(trial("hypersdk", &case, on_the_fake));
        if let Some(url) = live.clone() {
            trials.push(trial("hypersdk-live", &case, move |case| on_the_daemon(case, &url)));
        }
    }
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// The daemon counts volumes in GiB, and makes no network without DHCP.
fn settings(from: Settings) -> Settings {
    from.volume_unit(ByteSize::gib(1)).always_dhcp(true).deadline(Duration::from_secs(10))
}

fn on_the_fake(case: &Case) -> Outcome {
    in_a_runtime(async {
        let fake = Fake::hypersdk().start().await;
        match hypervisor_client::connect(fake.config()).await {
            Ok(hv) => case.run(&hv, &settings(Settings::new())).await,
            Err(error) => Outcome::Failed(format!("the fake: {error}")),
        }
    })
}

fn on_the_daemon(case: &Case, url: &str) -> Outcome {
    in_a_runtime(async {
        let connected = async { hypervisor_client::connect(ClientConfig::new(url)?).await };
        match connected.await {
            Ok(hv) => case.run(&hv, &settings(Settings::from_env())).await,
            Err(error) => Outcome::Failed(format!("the daemon: {error}")),
        }
    })
}

fn in_a_runtime<F: Future>(work: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(work)
}

fn trial(backend: &str, case: &Case, run: impl FnOnce(&Case) -> Outcome + Send + 'static) -> Trial {
    let case = case.clone();
    Trial::ignorable_test(format!("{backend}::{}", case.name), move || match run(&case) {
        Outcome::Passed => Ok(Completion::Completed),
        Outcome::Skipped(reason) => Ok(Completion::ignored_with(reason)),
        other => Err(Failed::from(other.reason().unwrap_or("it failed").to_owned())),
    })
}
