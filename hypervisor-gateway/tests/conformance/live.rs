//! The suite through client and gateway on a real libvirtd: `cargo xtask live up` prints the variables.

use std::net::IpAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use hypervisor_core::conformance::{Case, Outcome, Settings, cases, sweep};
use hypervisor_core::model::{DeletePool, DhcpRange, NetworkId, NetworkSpec, PoolId, PoolSpec};
use hypervisor_core::{Hypervisor, Result};
use hypervisor_gateway::Gateway;
use libtest_mimic::{Completion, Failed, Trial};
use tokio::runtime::Runtime;

const URI: &str = "HYPERVISOR_TEST_LIBVIRT_URI";
/// With any value: every area. Without it those in which the gateway does more than to pass JSON on; the others' outcomes come from the driver,
/// which runs the whole suite by itself.
const ALL: &str = "HYPERVISOR_TEST_GATEWAY_LIVE_ALL";
const AREAS: &[&str] = &["boot", "claims", "console", "content", "events", "guest", "info", "power", "tasks"];
const BRIDGE: &str = "hvgbench0";

/// One connection, gateway and client for all cases, made when the first of them runs.
pub(crate) struct Live {
    uri: Option<String>,
    bench: Mutex<Option<Result<Arc<Bench>, String>>>,
}

struct Bench {
    runtime: Runtime,
    local: Arc<dyn Hypervisor>,
    remote: Arc<dyn Hypervisor>,
    _gateway: Gateway,
    settings: Settings,
    pool: PoolId,
    network: NetworkId,
}

impl Live {
    pub(crate) fn from_env() -> Self {
        let uri = std::env::var(URI).ok().filter(|uri| !uri.is_empty());
        Self { uri, bench: Mutex::new(None) }
    }

    fn bench(&self) -> Result<Arc<Bench>, String> {
        let mut bench = self.bench.lock().unwrap_or_else(PoisonError::into_inner);
        let make = || {
            let uri = self.uri.as_deref().unwrap_or_default();
            Bench::new(uri).map(Arc::new).map_err(|error| format!("the bench for the live cases: {error}"))
        };
        bench.get_or_insert_with(make).clone()
    }

    fn run(&self, case: &Case) -> Outcome {
        match self.bench() {
            Ok(bench) => bench.runtime.block_on(case.run(&bench.remote, &bench.settings)),
            Err(why) => Outcome::Failed(why),
        }
    }

    /// Removes the bench; what would not go, if anything.
    pub(crate) fn take_down(&self) -> Option<String> {
        let bench = self.bench.lock().unwrap_or_else(PoisonError::into_inner).take()?.ok()?;
        bench.runtime.block_on(bench.take_down())
    }
}

impl Bench {
    fn new(uri: &str) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().worker_threads(2).build();
        let runtime = runtime.expect("a runtime");
        let settings = Settings::from_env();
        runtime
            .block_on(async {
                let config = hypervisor_libvirt::LibvirtConfig::new(uri)?;
                let driver = Arc::new(hypervisor_libvirt::Libvirt::connect(config).await?);
                let local = hypervisor_core::layer::Stack::standard(driver).build();
                let (gateway, remote) = super::through(Arc::clone(&local)).await;
                assert_eq!(remote.capabilities(), local.capabilities(), "the client's are the backend's");
                // Not the prefix of the cases, which sweep what bears it.
                let name = format!("gateway-{}", settings.prefix);
                let temporary = || std::env::temp_dir().display().to_string();
                let folder = settings.serial_dir.clone().unwrap_or_else(temporary);
                let folder = Path::new(&folder).join(&name).display().to_string();
                let pool = remote.create_pool(&PoolSpec::dir(&name, folder)).await?.output;
                let address = |last: u8| IpAddr::from([10, 254, 18, last]);
                let spec = NetworkSpec::isolated(&name, "10.254.18.1/24".parse().expect("a network"))
                    .bridge(BRIDGE)
                    .dhcp(DhcpRange::new(address(10), address(200)))
                    .start(true);
                let network = remote.create_network(&spec).await?.output;
                let settings = settings.pool(&pool).network(&network).bridge(BRIDGE);
                Ok((local, remote, gateway, settings, pool, network))
            })
            .map(|(local, remote, gateway, settings, pool, network)| Self {
                runtime,
                local,
                remote,
                _gateway: gateway,
                settings,
                pool,
                network,
            })
    }

    async fn take_down(&self) -> Option<String> {
        let hv = &*self.local;
        let mut left = sweep(hv, &self.settings).await;
        let pool = hv.delete_pool(&self.pool, &DeletePool::with_content()).await.map(drop);
        let stopped = hv.stop_network(&self.network).await.map(drop);
        let network = hv.delete_network(&self.network).await.map(drop);
        left.extend(
            [pool, stopped, network].into_iter().filter_map(|done| done.err().map(|e| e.to_string())),
        );
        (!left.is_empty()).then(|| left.join("; "))
    }
}

/// The cases, or one that says why there are none.
pub(crate) fn trials(live: &Arc<Live>) -> Vec<Trial> {
    let mut trials = Vec::new();
    let all = std::env::var_os(ALL).is_some();
    let mut left_out = 0;
    if live.uri.is_some() {
        for case in cases() {
            if !all && !AREAS.contains(&case.area) {
                left_out += 1;
                continue;
            }
            let (live, name) = (Arc::clone(live), format!("gateway-libvirt-live::{}", case.name));
            trials.push(Trial::ignorable_test(name, move || super::completion(&live.run(&case))));
        }
    }
    let there = live.uri.is_some();
    trials.push(Trial::ignorable_test("gateway-libvirt-live::presence", move || {
        if there && left_out == 0 {
            return Ok(Completion::Completed);
        }
        if there {
            return Ok(Completion::ignored_with(format!(
                "{left_out} cases of areas that {ALL} adds were not run"
            )));
        }
        let why = format!("{URI} is not set: nothing was run through the gateway on a real libvirtd");
        if std::env::var_os("CI").is_some() {
            Err(Failed::from(why))
        } else {
            Ok(Completion::ignored_with(why))
        }
    }));
    trials
}
