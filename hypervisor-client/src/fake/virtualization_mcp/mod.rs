//! virtualization-mcp in memory, in both of its shapes.

mod answer;
mod state;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::json;
use wiremock::{Mock, MockServer, Request, Respond, ResponseTemplate};

use self::answer::{Call, Failure, Told};
use self::state::World;
use crate::config::{ClientConfig, Dialect};

pub use self::state::FakeBox;

/// A fake virtualization-mcp that has not begun yet.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// use hypervisor_client::fake::{Fake, FakeBox};
/// use hypervisor_core::model::VmState;
/// let fake = Fake::virtualization_mcp().as_served().with_vm(FakeBox::new("web-01").running()).start().await;
/// let hv = hypervisor_client::connect(fake.config()).await?;
/// assert_eq!(hv.get_vm(&"web-01".into()).await?.state, VmState::Running);
/// # Ok::<(), hypervisor_core::Error>(()) }).unwrap();
/// ```
#[derive(Debug, Default)]
pub struct McpFake {
    world: World,
}

impl McpFake {
    /// Answers as the server does, rather than as its document says.
    #[must_use]
    pub fn as_served(mut self) -> Self {
        self.world.served = true;
        self
    }

    /// Adds a machine.
    #[must_use]
    pub fn with_vm(mut self, vm: FakeBox) -> Self {
        self.world.vms.push(vm);
        self
    }

    /// Takes this API key, and no call without it. The server as it is looks at no key.
    #[must_use]
    pub fn api_key(mut self, key: &str) -> Self {
        self.world.key = Some(key.to_owned());
        self
    }

    /// Gives tokens to this client, each good for so many seconds, and takes no call without one.
    #[must_use]
    pub fn oauth(mut self, id: &str, secret: &str, life: u64) -> Self {
        self.world.client = Some((id.to_owned(), secret.to_owned(), life));
        self
    }

    /// Answers so many calls, and then 429.
    #[must_use]
    pub fn calls(mut self, calls: u64) -> Self {
        self.world.calls_left = calls;
        self
    }

    /// Begins to answer, at a port of its own.
    pub async fn start(self) -> McpServer {
        let world = Arc::new(Mutex::new(self.world));
        let server = MockServer::start().await;
        let handler = Handler { world: Arc::clone(&world) };
        Mock::given(wiremock::matchers::any()).respond_with(handler).mount(&server).await;
        McpServer { server, world }
    }
}

/// A fake virtualization-mcp that answers until it is dropped.
pub struct McpServer {
    server: MockServer,
    world: Arc<Mutex<World>>,
}

impl std::fmt::Debug for McpServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("McpServer").field("uri", &self.server.uri()).finish_non_exhaustive()
    }
}

impl McpServer {
    /// How to connect to it, with the credentials that it takes.
    ///
    /// # Panics
    /// Never: the server's address is a URL.
    #[must_use]
    #[expect(clippy::expect_used, reason = "a fake is for tests, and the address of a server is a URL")]
    pub fn config(&self) -> ClientConfig {
        let config = ClientConfig::new(&self.server.uri()).expect("the address of a server is a URL");
        let config = config.speaks(Dialect::VirtualizationMcp);
        let world = self.world();
        match (&world.key, &world.client) {
            (Some(key), _) => config.api_key(key.clone()).allow_plain_http_credentials(),
            (None, Some((id, secret, _))) => config.oauth(id, secret.clone()).allow_plain_http_credentials(),
            _ => config,
        }
    }

    /// The URL that a program connects by, with the key that it takes, if any: `hypervisor::connect(&fake.url())`. An OAuth client has no place in a URL: [`config`](Self::config).
    #[must_use]
    pub fn url(&self) -> String {
        let address = self.uri().replacen("http://", "", 1);
        match self.world().key.clone() {
            Some(secret) => format!("http+virtualization-mcp://:{secret}@{address}?hv_plain_credentials=1"),
            None => format!("http+virtualization-mcp://{address}"),
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

    /// Takes none of the tokens any more that it has given.
    pub fn revoke_tokens(&self) {
        self.world().tokens.clear();
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
        let told = handle(&mut world, &call);
        answer::respond(world.served, told, &call)
    }
}

fn handle(world: &mut World, call: &Call) -> Result<Told, Failure> {
    let path: Vec<&str> = call.path.iter().map(String::as_str).collect();
    if !world.served && (call.method.as_str(), path.as_slice()) == ("POST", &["auth", "token"]) {
        return state::token(world, call);
    }
    world.admit(call)?;
    match (call.method.as_str(), path.as_slice()) {
        ("GET", ["health"]) if world.served => {
            Ok(Told::Bare(json!({ "status": "healthy", "mcp_connected": true, "service_manager": true })))
        }
        ("GET", ["vms"]) => Ok(Told::List("vms", world.vms.iter().map(FakeBox::row).collect())),
        ("POST", ["vms"]) => state::create(world, call),
        ("DELETE", ["vms", name]) => state::delete(world, name),
        ("POST", ["vms", name, "start"]) => state::start(world, name),
        ("POST", ["vms", name, "stop"]) => state::stop(world, name),
        ("POST", ["vms", name, "pause"]) => state::pause(world, name, "running", "paused"),
        ("POST", ["vms", name, "resume"]) => state::pause(world, name, "paused", "running"),
        ("GET", ["vms", name, "snapshots"]) => state::snapshots(world, name),
        ("POST", ["vms", name, "snapshot"]) => state::snapshot(world, name, call),
        ("POST", ["vms", name, "restore"]) => state::restore(world, name, call),
        ("POST", ["vms", name, "delete-snapshot"]) => state::delete_snapshot(world, name, call),
        ("GET", ["vms", name, "screenshot"]) => state::screenshot(world, name),
        ("GET", ["templates"]) => Ok(Told::List("templates", vec![state::template()])),
        ("PUT", ["templates", name]) if *name != "ubuntu-dev" => {
            Err(Failure::detail(404, format!("Template '{name}' not found")))
        }
        ("DELETE", ["templates", name]) => Ok(Told::Bare(json!({ "success": true, "deleted": name }))),
        ("GET", ["host", "info"]) => Ok(Told::Bare(json!({
            "cpu_usage": 0, "memory_total": 0, "memory_available": 0, "disk_usage": { "total": 0, "free": 0, "used": 0 },
        }))),
        _ => Err(Failure::detail(404, "Not Found")),
    }
}
