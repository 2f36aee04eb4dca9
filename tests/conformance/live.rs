//! A real libvirtd: one connection, pool and network for all cases, made when the first of them runs and removed at the end.

use std::net::IpAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use hypervisor::conformance::{Case, Outcome, Settings, sweep};
use hypervisor::model::{DeletePool, DhcpRange, NetworkSpec, PoolSpec};
use hypervisor::{Error, Hypervisor, NetworkId, PoolId, Result};
use tokio::runtime::Runtime;

pub(crate) const URI: &str = "HYPERVISOR_TEST_LIBVIRT_URI";

/// The bridge of the network that the cases use.
const BRIDGE: &str = "hvtbench0";

/// The live backend, if there is one.
pub(crate) struct Live {
    uri: Option<String>,
    bench: Mutex<Option<std::result::Result<Arc<Bench>, String>>>,
}

struct Bench {
    runtime: Runtime,
    hv: Arc<dyn Hypervisor>,
    settings: Settings,
    pool: PoolId,
    network: NetworkId,
}

impl Live {
    pub(crate) fn from_env() -> Self {
        let uri = std::env::var(URI).ok().filter(|uri| !uri.is_empty());
        Self { uri, bench: Mutex::new(None) }
    }

    pub(crate) fn is_there(&self) -> bool {
        self.uri.is_some()
    }

    pub(crate) fn run(&self, case: &Case) -> Outcome {
        match self.bench() {
            Ok(bench) => bench.runtime.block_on(case.run(&bench.hv, &bench.settings)),
            Err(why) => Outcome::Failed(why),
        }
    }

    fn bench(&self) -> std::result::Result<Arc<Bench>, String> {
        let mut bench = self.bench.lock().unwrap_or_else(PoisonError::into_inner);
        let made = || {
            let uri = self.uri.as_deref().unwrap_or_default();
            Bench::new(uri).map(Arc::new).map_err(|error| format!("the bench for the live cases: {error}"))
        };
        bench.get_or_insert_with(made).clone()
    }

    /// Removes the bench, and says what would not go.
    pub(crate) fn take_down(&self) -> Vec<String> {
        let bench = self.bench.lock().unwrap_or_else(PoisonError::into_inner).take();
        bench.and_then(std::result::Result::ok).map_or_else(Vec::new, |bench| bench.take_down())
    }
}

impl Bench {
    fn new(uri: &str) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().worker_threads(2).build();
        let runtime =
            runtime.map_err(|error| Error::new(hypervisor::ErrorKind::Config, error.to_string()))?;
        let settings = Settings::from_env();
        let (hv, pool, network) = runtime.block_on(furnish(uri, &settings))?;
        let settings = settings.pool(&pool).network(&network).bridge(BRIDGE);
        Ok(Self { runtime, hv, settings, pool, network })
    }

    fn take_down(&self) -> Vec<String> {
        self.runtime.block_on(async {
            let (hv, mut left) = (&*self.hv, Vec::new());
            // The cases have removed what they made; this is for one that was cut off.
            left.extend(sweep(hv, &self.settings).await);
            let pool = hv.delete_pool(&self.pool, &DeletePool::with_content()).await;
            let stopped = hv.stop_network(&self.network).await;
            let network = hv.delete_network(&self.network).await;
            for done in [pool, stopped, network] {
                left.extend(done.err().map(|error| error.to_string()));
            }
            left
        })
    }
}

/// Connects, and makes a directory pool and an isolated network with addresses to hand out.
async fn furnish(uri: &str, settings: &Settings) -> Result<(Arc<dyn Hypervisor>, PoolId, NetworkId)> {
    let hv = hypervisor::connect(uri).await?;
    // Not the prefix of the cases, which sweep what bears it.
    let name = format!("bench-{}", settings.prefix);
    let folder = settings.serial_dir.clone().unwrap_or_else(|| std::env::temp_dir().display().to_string());
    let folder = Path::new(&folder).join(&name).display().to_string();
    let pool = hv.create_pool(&PoolSpec::dir(&name, folder)).await?.output;
    let address = |last: u8| IpAddr::from([10, 254, 17, last]);
    let spec = NetworkSpec::isolated(&name, "10.254.17.1/24".parse().expect("a network"))
        .bridge(BRIDGE)
        .dhcp(DhcpRange::new(address(10), address(200)))
        .start(true);
    match hv.create_network(&spec).await {
        Ok(network) => Ok((hv, pool, network.output)),
        Err(error) => {
            drop(hv.delete_pool(&pool, &DeletePool::with_content()).await?);
            Err(error)
        }
    }
}
