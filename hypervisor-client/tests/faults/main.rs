//! The table of what happens after a fault, cell by cell, with a proxy between each driver and its fake that brings the faults about.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

use std::net::SocketAddr;
use std::process::ExitCode;

use hypervisor_client::ClientConfig;
use hypervisor_client::fake::Fake;
use hypervisor_core::conformance::{FaultCase, FaultProxy, fault_cases};
use libtest_mimic::{Arguments, Failed, Trial};

fn main() -> ExitCode {
    let v1 = fault_cases()
        .into_iter()
        .map(|case| Trial::test(format!("v1::{case}"), move || run(case).map_err(Failed::from)));
    libtest_mimic::run(&Arguments::from_args(), v1.collect()).exit_code()
}

fn address(uri: &str) -> SocketAddr {
    uri.trim_start_matches("http://").split('/').next().unwrap().parse().unwrap()
}

fn run(case: FaultCase) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    runtime.block_on(async {
        let fake = Fake::v1().token("secret").start().await;
        let proxy = FaultProxy::start(address(&fake.uri())).await.unwrap();
        let url = format!("http+v1://:secret@{}?hv_timeout=2s&hv_plain_credentials=1", proxy.address());
        let backend = hypervisor_client::connect(ClientConfig::new(&url).unwrap()).await.unwrap();
        case.run(&backend, &proxy, "scratch").await
    })
}
