//! The table of what happens after a fault, cell by cell, with a proxy between the driver and the fake that brings the faults about.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use hypervisor_core::Hypervisor;
use hypervisor_core::conformance::{FaultCase, FaultProxy, fault_cases};
use hypervisor_proxmox::fake::FakePve;
use hypervisor_proxmox::{Proxmox, ProxmoxConfig};
use libtest_mimic::{Arguments, Failed, Trial};

fn main() -> ExitCode {
    let trial = |case: FaultCase| Trial::test(case.to_string(), move || run(case).map_err(Failed::from));
    let trials = fault_cases().into_iter().map(trial).collect();
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

fn run(case: FaultCase) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    runtime.block_on(async {
        let pve = FakePve::builder().task_time(Duration::from_millis(5)).start().await.unwrap();
        let proxy = FaultProxy::start(pve.authority().parse().unwrap()).await.unwrap();
        let url = format!("proxmox+http://{}?timeout=2s&allow_plain_http_credentials=1", proxy.address());
        let config = ProxmoxConfig::new(&url).unwrap().token(pve.token_id(), pve.token_secret().to_owned());
        let backend: Arc<dyn Hypervisor> = Arc::new(Proxmox::connect(config).await.unwrap());
        case.run(&backend, &proxy, "scratch").await
    })
}
