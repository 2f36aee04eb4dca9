//! A Virtumancer on loopback, in any of its generations, with its WebSocket.
//!
//! It keeps state: what is started runs, what is added is listed, and the WebSocket tells of it. Plain http; the real server speaks TLS
//! only.

mod answer;
mod devices;
mod guest;
mod routes;
mod socket;
mod table;
mod world;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use axum::serve::ListenerExt as _;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::Fake;
use crate::dialect::virtumancer::Generation;
use world::{Server, World};

pub use guest::FakeVm;
pub use world::FakeHost;

impl Fake {
    /// A Virtumancer with no host yet, of the current generation.
    ///
    /// ```
    /// # tokio::runtime::Runtime::new().unwrap().block_on(async {
    /// use hypervisor_client::dialect::virtumancer::Virtumancer;
    /// use hypervisor_client::fake::Fake;
    /// use hypervisor_client::fake::virtumancer::FakeVm;
    /// use hypervisor_client::ClientConfig;
    /// use hypervisor_core::model::{PageRequest, VmQuery};
    /// use hypervisor_core::Compute;
    /// let fake = Fake::virtumancer().with_vm(FakeVm::new("kvmsrv", "web-01").running()).start().await?;
    /// let virtumancer = Virtumancer::connect(ClientConfig::new(&fake.url())?).await?;
    /// let vms = virtumancer.list_vms(&VmQuery::all(), &PageRequest::first()).await?;
    /// assert_eq!(vms.items[0].id.as_str(), "kvmsrv/web-01");
    /// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
    /// ```
    #[must_use]
    pub fn virtumancer() -> VirtumancerBuilder {
        VirtumancerBuilder {
            generation: Generation::Current,
            hosts: Vec::new(),
            stats_every: Duration::from_secs(2),
            ping_every: Duration::from_secs(54),
        }
    }
}

/// A fake that is not there yet.
#[derive(Debug, Clone)]
pub struct VirtumancerBuilder {
    generation: Generation,
    hosts: Vec<FakeHost>,
    stats_every: Duration,
    ping_every: Duration,
}

impl VirtumancerBuilder {
    /// Which generation it is.
    #[must_use]
    pub fn generation(mut self, generation: Generation) -> Self {
        self.generation = generation;
        self
    }

    /// Adds a host.
    #[must_use]
    pub fn with_host(mut self, host: FakeHost) -> Self {
        self.hosts.push(host);
        self
    }

    /// Adds a guest, and its host where it is not there yet.
    #[must_use]
    pub fn with_vm(mut self, vm: FakeVm) -> Self {
        let at = self.hosts.iter().position(|host| host.id == vm.host);
        match at.and_then(|at| self.hosts.get_mut(at)) {
            Some(host) => host.vms.push(vm),
            None => {
                let mut host = FakeHost::new(vm.host.clone());
                host.vms.push(vm);
                self.hosts.push(host);
            }
        }
        self
    }

    /// How often loads are sent: 2 s on the real server.
    #[must_use]
    pub fn stats_every(mut self, every: Duration) -> Self {
        self.stats_every = every;
        self
    }

    /// How often clients are pinged: 54 s on the real server.
    #[must_use]
    pub fn ping_every(mut self, every: Duration) -> Self {
        self.ping_every = every;
        self
    }

    /// Starts it on a free port of the loopback.
    ///
    /// # Errors
    /// Where no port can be had.
    pub async fn start(self) -> std::io::Result<VirtumancerFake> {
        self.start_at(SocketAddr::from(([127, 0, 0, 1], 0))).await
    }

    /// Starts it at this address: to come back where one was stopped.
    ///
    /// # Errors
    /// Where the address cannot be had.
    pub async fn start_at(self, address: SocketAddr) -> std::io::Result<VirtumancerFake> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let world = World::new(self.generation, self.hosts);
        let server = Arc::new(Server::new(world, self.ping_every));
        let router = Router::new()
            .route("/ws", get(socket::open))
            .fallback(routes::answer)
            .with_state(Arc::clone(&server));
        let serving = tokio::spawn(async move {
            // It ends with the fake.
            let listener = listener.tap_io(|stream| drop(stream.set_nodelay(true)));
            drop(axum::serve(listener, router).await);
        });
        let polling = tokio::spawn(socket::poll(Arc::clone(&server), self.stats_every));
        Ok(VirtumancerFake { address, server, tasks: [serving, polling] })
    }
}

/// A request that came.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Seen {
    /// Its method.
    pub method: String,
    /// Its path, as it came.
    pub path: String,
    /// Its query, as it came; empty where there is none.
    pub query: String,
    /// Its body as text; empty where there is none.
    pub body: String,
    /// Its `Authorization` header.
    pub authorization: Option<String>,
}

/// A running fake; it ends when it is dropped.
#[derive(Debug)]
pub struct VirtumancerFake {
    address: SocketAddr,
    server: Arc<Server>,
    tasks: [JoinHandle<()>; 2],
}

impl Drop for VirtumancerFake {
    fn drop(&mut self) {
        self.server.cut();
        for task in &self.tasks {
            task.abort();
        }
    }
}

impl VirtumancerFake {
    /// Its URL, for [`ClientConfig::new`](crate::ClientConfig::new).
    #[must_use]
    pub fn url(&self) -> String {
        format!("http+virtumancer://{}", self.address)
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The requests that have come, WebSockets included, oldest first.
    #[must_use]
    pub fn requests(&self) -> Vec<Seen> {
        self.server.lock().requests.clone()
    }

    /// Forgets the requests that have come.
    pub fn forget_requests(&self) {
        self.server.lock().requests.clear();
    }

    /// The frames that clients have sent over the WebSocket, oldest first.
    #[must_use]
    pub fn frames(&self) -> Vec<String> {
        self.server.lock().frames.clone()
    }

    /// How many pings clients have answered.
    #[must_use]
    pub fn pongs(&self) -> usize {
        self.server.lock().pongs
    }

    /// How many WebSockets for events are open.
    #[must_use]
    pub fn open_sockets(&self) -> usize {
        self.server.lock().sockets
    }

    /// How many have been opened so far.
    #[must_use]
    pub fn opened_sockets(&self) -> usize {
        self.server.lock().opened
    }

    /// Cuts every WebSocket, without a closing frame.
    pub fn cut_sockets(&self) {
        self.server.cut();
    }

    /// Refuses new WebSockets with 503 from now on, or no longer.
    pub fn refuse_sockets(&self, refuse: bool) {
        self.server.lock().refuse = refuse;
    }

    /// Sends a frame to every client.
    pub fn send(&self, frame: impl Into<String>) {
        self.server.tell_text(frame.into());
    }

    /// Sets what a guest does, as if somebody had done it without the gateway, and tells the clients. `state` is libvirt's number.
    pub fn set_state(&self, host: &str, vm: &str, state: u8) {
        let found = {
            let mut world = self.server.lock();
            let found = world.set_state(host, vm, state);
            world.see(host, vm);
            found
        };
        if found {
            self.server.tell_vms(host);
        }
    }

    /// Like [`set_state`](Self::set_state), but tells nobody, and a current server does not see it until it looks at the guest.
    pub fn set_state_quietly(&self, host: &str, vm: &str, state: u8) {
        self.server.lock().set_state(host, vm, state);
    }

    /// Adds a guest, and tells the clients.
    pub fn add_vm(&self, vm: FakeVm) {
        let host = vm.host.clone();
        self.server.lock().add_vm(vm);
        self.server.tell_vms(&host);
    }

    /// Adds many guests of one host, and tells the clients once.
    pub fn add_vms(&self, host: &str, vms: impl IntoIterator<Item = FakeVm>) {
        vms.into_iter().for_each(|vm| self.server.lock().add_vm(vm));
        self.server.tell_vms(host);
    }

    /// Takes a guest away, and tells the clients. No route does this.
    pub fn remove_vm(&self, host: &str, vm: &str) {
        self.server.lock().remove_vms(host, |name| name == vm);
        self.server.tell_vms(host);
    }

    /// Takes all guests of a host away, and tells the clients once.
    pub fn remove_vms(&self, host: &str) {
        self.server.lock().remove_vms(host, |_| true);
        self.server.tell_vms(host);
    }

    /// Cuts the gateway's connection to a host, or makes it anew, and tells the clients.
    pub fn set_connected(&self, host: &str, connected: bool) {
        self.server.lock().set_connected(host, connected);
        self.server.tell_connection(host, connected);
    }
}
