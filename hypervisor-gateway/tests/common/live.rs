//! A real libvirtd behind the gateway: one pool and network for all cases, removed at the end.

use std::sync::{Mutex, PoisonError};

use hypervisor_core::conformance::Fixture;
use tokio::runtime::Runtime;

use super::*;

const URI: &str = "HYPERVISOR_TEST_LIBVIRT_URI";
/// Tells this run's bridge and subnet from those of other runs on the same host.
const FIXTURE: u8 = 18;

struct Bench {
    runtime: Runtime,
    local: Arc<dyn Hypervisor>,
    remote: Arc<dyn Hypervisor>,
    fixture: Fixture,
    _gateway: Gateway,
}

static BENCH: Mutex<Option<Arc<Bench>>> = Mutex::new(None);

pub(super) fn is_there() -> bool {
    std::env::var(URI).is_ok_and(|uri| !uri.is_empty())
}

pub(super) fn run(case: &Case) -> Outcome {
    let bench = Arc::clone(BENCH.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_with(make));
    if bench.remote.capabilities() != bench.local.capabilities() {
        return Outcome::Failed("the client's capabilities are not the backend's".to_owned());
    }
    bench.runtime.block_on(case.run(&bench.remote, bench.fixture.settings()))
}

/// A run without a real libvirtd is never taken for a whole one.
pub(super) fn presence() -> Trial {
    Trial::ignorable_test("gateway-libvirt-live::is_there", || match is_there() {
        true => Ok(Completion::Completed),
        false if std::env::var_os("CI").is_some() => Err(Failed::from(format!("{URI} is not set"))),
        false => {
            Ok(Completion::ignored_with(format!("{URI} is not set; `cargo xtask test` starts a libvirtd")))
        }
    })
}

/// Removes what was made; whether all of it went.
pub(super) fn take_down() -> bool {
    let bench = BENCH.lock().unwrap_or_else(PoisonError::into_inner).take();
    let left =
        bench.map_or_else(Vec::new, |bench| bench.runtime.block_on(bench.fixture.remove(&*bench.local)));
    for problem in &left {
        eprintln!("gateway-libvirt-live: {problem}");
    }
    left.is_empty()
}

fn make() -> Arc<Bench> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().worker_threads(2).build();
    let runtime = runtime.expect("a runtime");
    let (local, gateway, remote, fixture) = runtime.block_on(async {
        let config = hypervisor_libvirt::LibvirtConfig::new(&std::env::var(URI).expect("a URI"));
        let libvirt = hypervisor_libvirt::Libvirt::connect(config.expect("a configuration")).await;
        let local: Arc<dyn Hypervisor> = Arc::new(libvirt.expect("a connection"));
        let (gateway, remote) = through(Arc::clone(&local)).await;
        let fixture =
            Fixture::make(&*local, Settings::from_env(), FIXTURE).await.expect("a pool and a network");
        (local, gateway, remote, fixture)
    });
    Arc::new(Bench { runtime, local, remote, fixture, _gateway: gateway })
}
