//! What goes wrong between each driver and its fake: the table of what happens after a fault, cell by cell, with a proxy that brings the
//! faults about; answers that no server should give; and secrets that must not be seen when it does.
//!
//! A server without one of the calls that the cells make gets another of the same class in its place: HyperSDK's daemon makes no machine
//! but copies of one, and overwrites a volume where others change a guest; Virtumancer changes a host, virtualization-mcp deletes a template.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

mod answers;
mod canaries;
mod spoiler;
#[path = "../subject/mod.rs"]
mod subject;

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;

use hypervisor_client::ClientConfig;
use hypervisor_client::dialect::virtualization_mcp::VirtualizationMcp;
use hypervisor_client::dialect::virtumancer::{Generation, HostChange, Virtumancer};
use hypervisor_client::fake::Fake;
use hypervisor_client::fake::virtumancer::FakeHost;
use hypervisor_core::conformance::{FaultCase, FaultProxy, fault_cases};
use hypervisor_core::model::{CloneSpec, HostId, VmSpec, WipeAlgorithm};
use hypervisor_core::{Hypervisor, Operation};
use libtest_mimic::{Arguments, Failed, Trial};
use subject::Subject;

type Ended = Result<(), String>;
type Cell = fn(FaultCase) -> Ended;

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    // Most of a cell is waiting.
    arguments.test_threads.get_or_insert(8);
    let dialects: [(&str, Cell); 4] =
        [("v1", v1), ("hypersdk", hypersdk), ("virtumancer", virtumancer), ("virtualization-mcp", mcp)];
    let mut trials = Vec::new();
    for (name, run) in dialects {
        // No server of Virtumancer's deletes a guest.
        let cells = fault_cases().into_iter().filter(|case| !(case.deletes && name == "virtumancer"));
        trials.extend(
            cells.map(|case| Trial::test(format!("{name}::{case}"), move || run(case).map_err(Failed::from))),
        );
    }
    trials.extend(answers::trials());
    trials.extend(canaries::trials());
    libtest_mimic::run(&arguments, trials).exit_code()
}

fn address(uri: &str) -> SocketAddr {
    let rest = uri.split_once("://").map_or(uri, |(_, rest)| rest);
    rest.split('/').next().unwrap().parse().unwrap()
}

fn in_a_runtime<F: Future>(work: F) -> F::Output {
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    runtime.worker_threads(1).enable_all().build().unwrap().block_on(work)
}

/// The way to a server through a new proxy.
async fn through(uri: &str, dialect: &str, user: &str) -> (FaultProxy, ClientConfig) {
    let proxy = FaultProxy::start(address(uri)).await.unwrap();
    let url = format!("http+{dialect}://{user}{}?hv_timeout=2s&hv_plain_credentials=1", proxy.address());
    let config = ClientConfig::new(&url).unwrap();
    (proxy, config)
}

fn v1(case: FaultCase) -> Ended {
    in_a_runtime(async {
        let fake = Fake::v1().token("secret").start().await;
        let (proxy, config) = through(&fake.uri(), "v1", ":secret@").await;
        let backend = hypervisor_client::connect(config).await.unwrap();
        case.run(&backend, &proxy, "scratch").await
    })
}

fn hypersdk(case: FaultCase) -> Ended {
    in_a_runtime(async {
        let fake = Fake::hypersdk().with_vm("base", false).start().await;
        let (proxy, config) = through(&fake.url(), "hypersdk", "").await;
        let driver = hypervisor_client::connect(config).await.unwrap();
        let (copier, wiper) = (Arc::clone(&driver), Arc::clone(&driver));
        let subject =
            Subject::new(driver).claims(|claims| claims.native([Operation::CreateVm, Operation::UpdateVm]));
        let subject = subject.create(move |spec: VmSpec| {
            let driver = Arc::clone(&copier);
            async move { driver.clone_vm(&"base".into(), &CloneSpec::new(spec.name)).await }
        });
        let subject =
            subject.update(move |_| {
                let driver = Arc::clone(&wiper);
                async move {
                    driver.wipe_volume(&"default/base.qcow2".into(), WipeAlgorithm::Zero).await.map(drop)
                }
            });
        let backend: Arc<dyn Hypervisor> = Arc::new(subject);
        case.run(&backend, &proxy, "scratch").await
    })
}

fn virtumancer(case: FaultCase) -> Ended {
    in_a_runtime(async {
        let fake = Fake::virtumancer().generation(Generation::Current).with_host(FakeHost::new("kvmsrv"));
        let fake = Arc::new(fake.start().await.unwrap());
        let (proxy, config) = through(&fake.url(), "virtumancer", "").await;
        let driver = Virtumancer::connect(config).await.unwrap();
        let changer = driver.clone();
        let subject = Subject::new(Arc::new(driver))
            .claims(|claims| claims.native([Operation::UpdateVm, Operation::DeleteVm]));
        let subject = subject.update(move |_| {
            let driver = changer.clone();
            let host = HostId::from("kvmsrv");
            async move { driver.update_host(&host, &HostChange::new().name("KVM one")).await.map(drop) }
        });
        // No server deletes a guest: it goes behind its back.
        let subject = subject.delete(move |vm, _| {
            let fake = Arc::clone(&fake);
            async move {
                let name = vm.as_str().rsplit('/').next().unwrap_or_default().to_owned();
                fake.remove_vm("kvmsrv", &name);
                Ok(())
            }
        });
        let backend: Arc<dyn Hypervisor> = Arc::new(subject);
        case.run(&backend, &proxy, "scratch").await
    })
}

fn mcp(case: FaultCase) -> Ended {
    in_a_runtime(async {
        let fake = Fake::virtualization_mcp().start().await;
        let (proxy, config) = through(&fake.uri(), "virtualization-mcp", "").await;
        let driver = Arc::new(VirtualizationMcp::connect(config).await.unwrap());
        let changer = Arc::clone(&driver);
        let subject = Subject::new(driver).claims(|claims| claims.native([Operation::UpdateVm]));
        let subject = subject.update(move |_| {
            let driver = Arc::clone(&changer);
            async move { driver.delete_template("old").await }
        });
        let backend: Arc<dyn Hypervisor> = Arc::new(subject);
        case.run(&backend, &proxy, "scratch").await
    })
}
