//! A gateway that speaks v1 as its document has it, in memory. Time passes with requests: a job ends after it was looked at a few times.

mod answer;
mod state;
mod system;
mod vms;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use wiremock::{Mock, MockServer, Request, Respond, ResponseTemplate};

use self::answer::{Answer, Call, Problem};
use self::state::World;
use crate::config::{ClientConfig, Dialect};

pub use self::state::FakeVm;

/// A fake v1 gateway that has not begun yet.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// use hypervisor_client::fake::{Fake, FakeVm};
/// use hypervisor_core::model::{PageRequest, VmQuery};
/// let fake = Fake::v1().with_vm(FakeVm::new("vm-001", "web-server-01").running()).start().await;
/// let hv = hypervisor_client::connect(fake.config()).await?;
/// let vms = hv.list_vms(&VmQuery::all(), &PageRequest::first()).await?;
/// assert_eq!(vms.items[0].name, "web-server-01");
/// # Ok::<(), hypervisor_core::Error>(()) }).unwrap();
/// ```
#[derive(Debug, Default)]
pub struct V1Fake {
    world: World,
}

impl V1Fake {
    /// Adds a machine.
    #[must_use]
    pub fn with_vm(mut self, vm: FakeVm) -> Self {
        self.world.vms.push(vm);
        self
    }

    /// Takes this bearer token and no other. Without it nobody is asked.
    #[must_use]
    pub fn token(mut self, token: &str) -> Self {
        self.world.token = Some(token.to_owned());
        self
    }

    /// Answers so many calls, and then 429.
    #[must_use]
    pub fn calls(mut self, calls: u64) -> Self {
        self.world.calls_left = calls;
        self
    }

    /// How many requests a job takes.
    #[must_use]
    pub fn job_length(mut self, requests: u32) -> Self {
        self.world.job_length = requests;
        self
    }

    /// Begins to answer, at a port of its own.
    pub async fn start(self) -> V1Server {
        let world = Arc::new(Mutex::new(self.world));
        let server = MockServer::start().await;
        let handler = Handler { world: Arc::clone(&world) };
        Mock::given(wiremock::matchers::any()).respond_with(handler).mount(&server).await;
        V1Server { server, world }
    }
}

/// A fake v1 gateway that answers until it is dropped.
pub struct V1Server {
    server: MockServer,
    world: Arc<Mutex<World>>,
}

impl std::fmt::Debug for V1Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("V1Server").field("uri", &self.server.uri()).finish_non_exhaustive()
    }
}

impl V1Server {
    /// How to connect to it.
    ///
    /// # Panics
    /// Never: the server's address is a URL.
    #[must_use]
    #[expect(clippy::expect_used, reason = "a fake is for tests, and the address of a server is a URL")]
    pub fn config(&self) -> ClientConfig {
        let config = ClientConfig::new(&self.server.uri()).expect("the address of a server is a URL");
        let config = config.speaks(Dialect::V1);
        let token = self.world().token.clone();
        match token {
            Some(token) => config.token(token).allow_plain_http_credentials(),
            None => config,
        }
    }

    /// The URL that a program connects by, with the token that it takes, if any: `hypervisor::connect(&fake.url())`.
    #[must_use]
    pub fn url(&self) -> String {
        let address = self.uri().replacen("http://", "", 1);
        match self.world().token.clone() {
            Some(secret) => format!("http+v1://:{secret}@{address}?hv_plain_credentials=1"),
            None => format!("http+v1://{address}"),
        }
    }

    /// Its address, `http://127.0.0.1:…`.
    #[must_use]
    pub fn uri(&self) -> String {
        self.server.uri()
    }

    /// What was sent to it so far.
    pub async fn requests(&self) -> Vec<Request> {
        self.server.received_requests().await.unwrap_or_default()
    }

    /// Changes a machine behind everybody's back.
    pub fn change_vm(&self, id: &str, change: impl FnOnce(&mut FakeVm)) {
        let mut world = self.world();
        if let Some(vm) = world.vms.iter_mut().find(|vm| vm.id == id) {
            change(vm);
        }
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Handler {
    world: Arc<Mutex<World>>,
}

impl Respond for Handler {
    fn respond(&self, request: &Request) -> ResponseTemplate {
        let mut world = self.world.lock().unwrap_or_else(PoisonError::into_inner);
        let call = Call::read(request);
        let answer = handle(&mut world, &call);
        world.pass();
        answer::respond(&mut world, answer)
    }
}

fn handle(world: &mut World, call: &Call) -> Result<Answer, Problem> {
    let path: Vec<&str> = call.path.iter().map(String::as_str).collect();
    if path.as_slice() == ["health"] {
        return Ok(system::health());
    }
    world.admit(call)?;
    match (call.method.as_str(), path.as_slice()) {
        ("GET", ["info"]) => Ok(system::info()),
        ("POST", ["auth", "tokens"]) => system::create_token(world, call),
        ("DELETE", ["auth", "tokens", id]) => system::revoke_token(world, id),
        ("GET", ["vms"]) => vms::list(world, call),
        ("POST", ["vms"]) => vms::create(world, call),
        ("GET", ["vms", id]) => vms::get(world, id),
        ("PUT", ["vms", id]) => vms::update(world, id, call),
        ("DELETE", ["vms", id]) => vms::delete(world, id, call),
        ("POST", ["vms", id, "start"]) => vms::start(world, id),
        ("POST", ["vms", id, "stop"]) => vms::stop(world, id),
        ("POST", ["vms", id, "restart"]) => vms::restart(world, id),
        ("GET", ["vms", id, "snapshots"]) => vms::snapshots(world, id),
        ("POST", ["vms", id, "snapshots"]) => vms::create_snapshot(world, id, call),
        ("POST", ["vms", id, "snapshots", snapshot, "restore"]) => vms::restore_snapshot(world, id, snapshot),
        ("GET", ["networks"]) => system::list(&world.networks, "networks", call),
        ("POST", ["networks"]) => system::create_network(world, call),
        ("GET", ["storage"]) => system::list(&world.pools, "pools", call),
        ("POST", ["storage"]) => system::create_pool(world, call),
        ("GET", ["backups"]) => system::list(&world.backups, "backups", call),
        ("POST", ["backups"]) => system::create_backup(world, call),
        ("POST", ["backups", id, "restore"]) => system::restore_backup(world, id),
        ("GET", ["jobs"]) => system::list(&world.jobs(), "jobs", call),
        ("GET", ["jobs", id]) => system::get_job(world, id),
        ("DELETE", ["jobs", id]) => system::cancel_job(world, id),
        ("GET", ["monitoring", "metrics"]) => Ok(system::metrics(world)),
        ("GET", ["monitoring", "vms", id, "metrics"]) => vms::metrics(world, id, call),
        ("POST", ["security", "scans"]) => system::start_scan(world, call),
        ("GET", ["security", "scans", id]) => system::get_scan(world, id),
        ("POST", ["ai", "generate"]) => Ok(system::generate()),
        ("GET", ["webhooks"]) => system::list(&world.webhooks, "webhooks", call),
        ("POST", ["webhooks"]) => system::create_webhook(world, call),
        ("DELETE", ["webhooks", id]) => system::delete_webhook(world, id),
        (_, path) => Err(Problem::not_found("route", &path.join("/"))),
    }
}
