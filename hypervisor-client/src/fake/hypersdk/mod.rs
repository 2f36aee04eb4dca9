//! A fake of HyperSDK's daemon: stateful, on loopback, with answers as they were recorded from version 0.0.1 (shapes, status, content types,
//! texts of `virsh`), its quirks included.
//!
//! ```
//! # tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap().block_on(async {
//! use hypervisor_client::fake::Fake;
//! use hypervisor_core::model::VmState;
//! use hypervisor_core::traits::Compute as _;
//! let fake = Fake::hypersdk().with_vm("web-01", true).start().await;
//! let hv = hypervisor_client::connect(fake.config()).await?;
//! assert_eq!(hv.get_vm(&"web-01".into()).await?.state, VmState::Running);
//! # Ok::<(), hypervisor_core::Error>(()) }).unwrap();
//! ```

mod answer;
mod batch;
mod clones;
mod console;
mod domains;
mod files;
mod jobs;
mod networks;
mod route;
mod schedules;
mod state;
mod stats;
mod volumes;

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use wiremock::matchers::any;
use wiremock::{Match, Mock, MockServer, Request, Respond, ResponseTemplate};

use crate::{ClientConfig, Dialect};

use answer::Answer;
use state::State;

pub use state::FakeDomain;

/// What the fake has when it starts: the pool `default`, the network `default` (up), and what is added.
#[derive(Debug, Default)]
#[must_use = "nothing answers before `start`"]
pub struct HyperSdkFake {
    state: State,
    forgets: bool,
}

impl super::Fake {
    /// A fake of HyperSDK's daemon.
    pub fn hypersdk() -> HyperSdkFake {
        HyperSdkFake { state: State::new(), forgets: false }
    }
}

impl HyperSdkFake {
    /// Adds a machine of two CPUs, 256 MiB, a disk in the pool `default` and a NIC in the network `default`.
    pub fn with_vm(mut self, name: &str, running: bool) -> Self {
        self.state.add_vm(&FakeDomain::new(name).running(running));
        self
    }

    /// Adds a machine as it is described.
    pub fn with_domain(mut self, domain: &FakeDomain) -> Self {
        self.state.add_vm(domain);
        self
    }

    /// Adds a network that is up.
    pub fn with_network(mut self, name: &str) -> Self {
        self.state.add_network(name);
        self
    }

    /// Adds an active pool.
    pub fn with_pool(mut self, name: &str) -> Self {
        self.state.add_pool(name);
        self
    }

    /// Asks for a session or for this API key, as a daemon does that was built with authentication; the one that is shipped asks for nothing.
    pub fn with_authentication(mut self, api_key: &str) -> Self {
        self.state.api_key = Some(api_key.to_owned());
        self
    }

    /// Keeps no record of what was sent: for runs of many requests.
    pub fn without_record(mut self) -> Self {
        self.forgets = true;
        self
    }

    /// Starts it on a port of its own on loopback. It ends when what is returned is dropped.
    pub async fn start(self) -> RunningHyperSdk {
        let builder = MockServer::builder();
        let builder = if self.forgets { builder.disable_request_recording() } else { builder };
        let server = builder.start().await;
        let state = Arc::new(Mutex::new(self.state));
        let silent = Silent(Arc::clone(&state));
        let at_work = Daemon(Arc::clone(&state));
        let lost = move |request: &Request| {
            drop(at_work.answer(request));
            std::io::Error::new(std::io::ErrorKind::ConnectionReset, "the daemon closes the connection")
        };
        Mock::given(silent).respond_with_err(lost).with_priority(1).mount(&server).await;
        Mock::given(any()).respond_with(Daemon(Arc::clone(&state))).mount(&server).await;
        RunningHyperSdk { server, state }
    }
}

/// A fake that answers.
pub struct RunningHyperSdk {
    server: MockServer,
    state: Arc<Mutex<State>>,
}

impl fmt::Debug for RunningHyperSdk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RunningHyperSdk").field("url", &self.url()).finish_non_exhaustive()
    }
}

impl RunningHyperSdk {
    /// Where it is, with the dialect in the scheme.
    #[must_use]
    pub fn url(&self) -> String {
        self.server.uri().replacen("http://", "http+hypersdk://", 1)
    }

    /// The configuration of a connection to it.
    #[must_use]
    pub fn config(&self) -> ClientConfig {
        let Ok(config) = ClientConfig::new(&self.url()) else {
            unreachable!("the fake's URL is one");
        };
        config.speaks(Dialect::HyperSdk)
    }

    /// The server, to look at what was sent.
    #[must_use]
    pub fn server(&self) -> &MockServer {
        &self.server
    }

    /// From now on calls of this path do their work, but the connection is closed without an answer, as the daemon does after 30 s.
    pub fn stay_silent_on(&self, path: &str) {
        lock(&self.state).silent.insert(path.to_owned());
    }

    /// Ends a job that is at work: well, or with this error.
    pub fn end_job(&self, id: &str, error: Option<&str>) {
        lock(&self.state).end_job(id, error);
    }

    /// Adds a machine behind the daemon's back, as `virsh define` on its host would.
    pub fn add_domain(&self, domain: &FakeDomain) {
        lock(&self.state).add_vm(domain);
    }

    /// Has a machine power off by itself.
    pub fn power_off(&self, name: &str) {
        lock(&self.state).power_off(name);
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The daemon behind the server.
struct Daemon(Arc<Mutex<State>>);

impl Daemon {
    fn answer(&self, request: &Request) -> Answer {
        let header =
            |name: &str| request.headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let call = route::Call {
            method: request.method.to_string(),
            path: request.url.path().to_owned(),
            query: request.url.query_pairs().into_owned().collect(),
            body: request.body.clone(),
            token: header("authorization").and_then(|value| value.strip_prefix("Bearer ").map(str::to_owned)),
            key: header("x-api-key"),
        };
        route::answer(&mut lock(&self.0), &call)
    }
}

impl Respond for Daemon {
    fn respond(&self, request: &Request) -> ResponseTemplate {
        match self.answer(request) {
            Answer::Some { status, kind, body } => ResponseTemplate::new(status).set_body_raw(body, kind),
            // The other mock has closed the connection.
            Answer::Nothing => ResponseTemplate::new(500),
        }
    }
}

/// Whether a request gets no answer.
struct Silent(Arc<Mutex<State>>);

impl Match for Silent {
    fn matches(&self, request: &Request) -> bool {
        let path = request.url.path();
        lock(&self.0).silent.contains(path) || route::is_fatal(path, &request.body)
    }
}
