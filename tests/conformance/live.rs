//! A real libvirtd: one connection, pool and network for all cases, made when the first of them runs and removed at the end.

use std::sync::{Arc, Mutex, PoisonError};

use hypervisor::conformance::{Case, Fixture, Outcome, Settings};
use hypervisor::{Error, Hypervisor, Result};
use tokio::runtime::Runtime;

pub(crate) const URI: &str = "HYPERVISOR_TEST_LIBVIRT_URI";

/// Tells this run's bridge and subnet from those of other runs on the same host.
const FIXTURE: u8 = 17;

/// The live backend, if there is one.
pub(crate) struct Live {
    uri: Option<String>,
    bench: Mutex<Option<std::result::Result<Arc<Bench>, String>>>,
}

struct Bench {
    runtime: Runtime,
    hv: Arc<dyn Hypervisor>,
    fixture: Fixture,
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
            Ok(bench) => bench.runtime.block_on(case.run(&bench.hv, bench.fixture.settings())),
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
        let bench = bench.and_then(std::result::Result::ok);
        bench.map_or_else(Vec::new, |bench| bench.runtime.block_on(bench.fixture.remove(&*bench.hv)))
    }
}

impl Bench {
    fn new(uri: &str) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().worker_threads(2).build();
        let runtime =
            runtime.map_err(|error| Error::new(hypervisor::ErrorKind::Config, error.to_string()))?;
        let (hv, fixture) = runtime.block_on(async {
            let hv = hypervisor::connect(uri).await?;
            let fixture = Fixture::make(&*hv, Settings::from_env(), FIXTURE).await?;
            Ok::<_, Error>((hv, fixture))
        })?;
        Ok(Self { runtime, hv, fixture })
    }
}
