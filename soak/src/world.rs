//! The backends: each with a connection through the weather, and one beside it that sees what is.

use std::any::Any;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::serve::ListenerExt as _;
use hypervisor_client::ClientConfig;
use hypervisor_client::dialect::virtumancer::Generation;
use hypervisor_client::fake::Fake;
use hypervisor_client::fake::virtumancer::{FakeHost, FakeVm};
use hypervisor_core::conformance::FaultProxy;
use hypervisor_core::layer::{Chaos, Layered, RetryPolicy, Stack};
use hypervisor_core::memory::{Memory, MemoryBuilder};
use hypervisor_core::model::{ByteSize, VmId, VmQuery};
use hypervisor_core::{Error, ErrorKind, Hypervisor, Result};
use hypervisor_gateway::{Gateway, GatewayConfig};
use hypervisor_proxmox::fake::FakePve;
use hypervisor_proxmox::{Proxmox, ProxmoxConfig};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::served::Served;
use crate::weather::Weather;

/// How long a request may take. Silence costs its caller all of it.
const REQUEST: Duration = Duration::from_secs(3);
/// How long a look may take that nothing disturbs: whoever judges must not be wrong because the machine is busy.
const LOOK: Duration = Duration::from_secs(60);
/// How long tasks take.
const TASK: Duration = Duration::from_millis(5);

/// A backend by name.
#[derive(Debug)]
pub(crate) struct Kind {
    pub(crate) name: &'static str,
    which: Which,
    /// Needs little time for many operations.
    pub(crate) is_quick: bool,
}

#[derive(Debug, Clone, Copy)]
enum Which {
    Memory,
    Layered,
    Proxmox,
    Gateway,
    HyperSdk,
    Virtumancer,
}

/// All of them.
pub(crate) const KINDS: [Kind; 6] = [
    Kind { name: "memory", which: Which::Memory, is_quick: true },
    Kind { name: "layered", which: Which::Layered, is_quick: true },
    Kind { name: "proxmox", which: Which::Proxmox, is_quick: false },
    Kind { name: "gateway", which: Which::Gateway, is_quick: false },
    Kind { name: "hypersdk", which: Which::HyperSdk, is_quick: false },
    Kind { name: "virtumancer", which: Which::Virtumancer, is_quick: false },
];

/// A backend that is set up.
pub(crate) struct World {
    /// What the workers call.
    pub(crate) hv: Arc<dyn Hypervisor>,
    /// The same backend, without faults.
    pub(crate) steady: Arc<dyn Hypervisor>,
    pub(crate) weather: Weather,
    /// What new guests are copies of, where there is no other way to make one.
    pub(crate) base: Option<VmId>,
    /// The guests of each worker, all off, where none can be made or deleted.
    pub(crate) fixed: Vec<Vec<(String, VmId)>>,
    /// Has the fake forget what it only keeps for tests.
    pub(crate) tidy: Box<dyn Fn() + Send + Sync>,
    /// Ends with the world.
    _kept: Vec<Box<dyn Any + Send + Sync>>,
}

impl Kind {
    pub(crate) async fn world(&self, seed: u64, workers: usize) -> Result<World> {
        match self.which {
            Which::Memory => {
                let memory: Arc<dyn Hypervisor> =
                    Arc::new(memory(seed).latency(Duration::ZERO..Duration::from_millis(1)).build());
                Ok(World::new(Arc::clone(&memory), memory, Weather::Calm))
            }
            Which::Layered => {
                let memory: Arc<dyn Hypervisor> = Arc::new(memory(seed).build());
                let chaos = Chaos::new(seed).latency(Duration::ZERO..Duration::from_millis(2));
                let chaos = chaos
                    .drop_before_send(30)
                    .drop_after_send(60)
                    .stale_read(30)
                    .fail_task(20)
                    .lose_event(50)
                    .double_event(50);
                let shaky = Arc::new(Layered::new(Arc::clone(&memory), chaos.clone()));
                Ok(World::new(layered(shaky, seed), memory, Weather::Chaos(chaos)))
            }
            Which::Proxmox => proxmox(seed).await,
            Which::Gateway => gateway(seed).await,
            Which::HyperSdk => hypersdk(seed).await,
            Which::Virtumancer => virtumancer(seed, workers).await,
        }
    }
}

impl World {
    fn new(hv: Arc<dyn Hypervisor>, steady: Arc<dyn Hypervisor>, weather: Weather) -> Self {
        Self { hv, steady, weather, base: None, fixed: Vec::new(), tidy: Box::new(|| ()), _kept: Vec::new() }
    }

    fn keep(mut self, kept: impl Any + Send + Sync) -> Self {
        self._kept.push(Box::new(kept));
        self
    }
}

/// The layers that a program would have, patient enough for what is coming.
fn layered(backend: Arc<dyn Hypervisor>, seed: u64) -> Arc<dyn Hypervisor> {
    let retry = RetryPolicy::new()
        .max_attempts(8)
        .delay(Duration::from_millis(10), Duration::from_millis(200))
        .seed(seed);
    Stack::new(backend).trace().retry(retry).limit(48).build()
}

fn memory(seed: u64) -> MemoryBuilder {
    Memory::builder()
        .hosts(3)
        .host_capacity(4096, ByteSize::gib(1 << 20))
        .pool("default", ByteSize::gib(1 << 20))
        .task_time(TASK)
        .seed(seed)
}

pub(crate) fn broken(error: impl std::fmt::Display) -> Error {
    Error::new(ErrorKind::Config, format!("the stage cannot be set up: {error}"))
}

async fn proxy(upstream: SocketAddr) -> Result<FaultProxy> {
    FaultProxy::start(upstream).await.map_err(broken)
}

/// `scheme://address/…` to the address.
fn address(url: &str) -> Result<SocketAddr> {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    rest.split(['/', '?']).next().unwrap_or_default().parse().map_err(broken)
}

async fn client(
    scheme: &str,
    at: SocketAddr,
    token: Option<&str>,
    timeout: Duration,
) -> Result<Arc<dyn Hypervisor>> {
    let config =
        ClientConfig::new(&format!("http+{scheme}://{at}"))?.timeout(timeout).allow_plain_http_credentials();
    let config = match token {
        Some(token) => config.token(token.to_owned()),
        None => config,
    };
    hypervisor_client::connect(config).await
}

async fn proxmox(seed: u64) -> Result<World> {
    let pve = FakePve::builder().hosts(3).task_time(TASK).seed(seed).start().await.map_err(broken)?;
    let at: SocketAddr = pve.authority().parse().map_err(broken)?;
    let proxy = proxy(at).await?;
    let connect = async |at: SocketAddr, timeout: Duration| {
        let config = ProxmoxConfig::new(&format!("proxmox+http://{at}"))?
            .allow_plain_http_credentials()
            .timeout(timeout);
        let config = config.pool("local").token(pve.token_id(), pve.token_secret().to_owned());
        let connected: Arc<dyn Hypervisor> = Arc::new(Box::pin(Proxmox::connect(config)).await?);
        Ok::<_, Error>(connected)
    };
    let (steady, hv) = (connect(at, LOOK).await?, connect(proxy.address(), REQUEST).await?);
    let pve = Arc::new(pve);
    let mut world =
        World::new(layered(hv, seed), steady, Weather::stormy(proxy, seed, true)).keep(Arc::clone(&pve));
    world.tidy = Box::new(move || pve.clear_requests());
    Ok(world)
}

/// A server on loopback that ends with this.
struct Serving(JoinHandle<std::io::Result<()>>);

impl Drop for Serving {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn gateway(seed: u64) -> Result<World> {
    let memory: Arc<dyn Hypervisor> = Arc::new(memory(seed).build());
    let gateway = Gateway::open(Arc::clone(&memory), GatewayConfig::new().without_rates()).await?;
    let token = gateway.create_token("soak", &["*"], None).await?.token;
    let listener = TcpListener::bind("127.0.0.1:0").await.map_err(broken)?;
    let at = listener.local_addr().map_err(broken)?;
    let router = gateway.router();
    let listener = listener.tap_io(|stream| drop(stream.set_nodelay(true)));
    let served = Serving(tokio::spawn(async move { axum::serve(listener, router).await }));
    let proxy = proxy(at).await?;
    let hv = client("v1", proxy.address(), Some(&token), REQUEST).await?;
    Ok(World::new(layered(hv, seed), memory, Weather::stormy(proxy, seed, true)).keep(served).keep(gateway))
}

async fn hypersdk(seed: u64) -> Result<World> {
    // Nothing else runs before the stage is set up.
    let fake = Served::start()?;
    let at = address(&fake.url)?;
    let proxy = proxy(at).await?;
    let (steady, hv) = (
        client("hypersdk", at, None, LOOK).await?,
        client("hypersdk", proxy.address(), None, REQUEST).await?,
    );
    let base = steady.vms().by_name("base").await?.id().clone();
    // Its server is made for whole requests.
    let mut world = World::new(layered(hv, seed), steady, Weather::stormy(proxy, seed, false)).keep(fake);
    world.base = Some(base);
    Ok(world)
}

async fn virtumancer(seed: u64, workers: usize) -> Result<World> {
    let fixed: Vec<Vec<String>> =
        (0..workers).map(|worker| (0..1).map(|vm| format!("w{worker}-{vm}")).collect()).collect();
    let mut fake = Fake::virtumancer().generation(Generation::Current).with_host(FakeHost::new("kvm1"));
    for name in fixed.iter().flatten() {
        fake = fake.with_vm(FakeVm::new("kvm1", name));
    }
    let fake = fake.start().await.map_err(broken)?;
    let proxy = proxy(fake.address()).await?;
    let (steady, hv) = (
        client("virtumancer", fake.address(), None, LOOK).await?,
        client("virtumancer", proxy.address(), None, REQUEST).await?,
    );
    let listed = steady.vms().all(&VmQuery::all()).await?.items;
    let ids: BTreeMap<String, VmId> = listed.into_iter().map(|vm| (vm.name, vm.id)).collect();
    let known = |name: String| ids.get(&name).cloned().map(|id| (name, id));
    let fake = Arc::new(fake);
    let mut world =
        World::new(layered(hv, seed), steady, Weather::stormy(proxy, seed, true)).keep(Arc::clone(&fake));
    world.fixed = fixed.into_iter().map(|names| names.into_iter().filter_map(known).collect()).collect();
    world.tidy = Box::new(move || fake.forget_requests());
    Ok(world)
}
