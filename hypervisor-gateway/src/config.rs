//! How a gateway is set up.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use hypervisor_core::model::ByteSize;

use crate::hooks::{Generator, Scanner};
use crate::rate::{Category, Rate};

/// Where webhooks may lead. A token with `webhook:write` can have the gateway send requests of a fixed form from where it stands; it never
/// sees the answers, only their status. Names are looked up and judged anew for each delivery, and redirects are not followed.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum WebhookTargets {
    /// Anywhere but link-local, multicast and unspecified addresses: the metadata services of cloud providers have such.
    Any,
    /// Only public addresses: neither this machine nor private networks.
    Public,
    /// Only these hosts, as the URL names them.
    Hosts(Vec<String>),
}

/// How a gateway is set up: where its state lies, what it allows, and who supplies what no backend has.
///
/// ```
/// use std::time::Duration;
/// use hypervisor_gateway::{Category, GatewayConfig, Rate};
/// let config = GatewayConfig::new()
///     .database("sqlite:///var/lib/hypervisor-gateway/state.db")
///     .rate(Category::Bulk, Rate::new(500, Duration::from_secs(3600)));
/// assert_eq!(config.rate_of(Category::Bulk), Some(Rate::new(500, Duration::from_secs(3600))));
/// ```
#[derive(Clone)]
#[non_exhaustive]
pub struct GatewayConfig {
    pub(crate) database: String,
    pub(crate) rates: [Option<Rate>; Category::ALL.len()],
    pub(crate) body_limit: ByteSize,
    pub(crate) body_timeout: Duration,
    pub(crate) concurrency: usize,
    pub(crate) subscribers: usize,
    pub(crate) watch_buffer: usize,
    pub(crate) stream_grace: Duration,
    pub(crate) lease: Duration,
    pub(crate) recheck_tokens: Duration,
    pub(crate) durable_tasks: Option<bool>,
    pub(crate) keep_jobs: Duration,
    pub(crate) webhook_attempts: u32,
    pub(crate) webhook_backoff: Duration,
    pub(crate) webhook_timeout: Duration,
    pub(crate) webhook_targets: WebhookTargets,
    pub(crate) observe_every: Duration,
    pub(crate) basic: Option<(String, String)>,
    pub(crate) generator: Option<Arc<dyn Generator>>,
    pub(crate) scanner: Option<Arc<dyn Scanner>>,
}

impl Default for GatewayConfig {
    fn default() -> Self {
        Self::new()
    }
}

impl GatewayConfig {
    /// State in memory (gone with the process), the rates of the API's document, bodies of at most 2 MiB, 512 requests at a time.
    #[must_use]
    pub fn new() -> Self {
        Self {
            database: "sqlite::memory:".to_owned(),
            rates: Category::ALL.map(|category| Some(category.documented())),
            body_limit: ByteSize::mib(2),
            body_timeout: Duration::from_secs(30),
            concurrency: 512,
            subscribers: 4096,
            watch_buffer: 256,
            stream_grace: Duration::from_secs(5),
            lease: Duration::from_secs(15),
            recheck_tokens: Duration::from_secs(1),
            durable_tasks: None,
            keep_jobs: Duration::from_secs(7 * 24 * 3600),
            webhook_attempts: 12,
            webhook_backoff: Duration::from_secs(1),
            webhook_timeout: Duration::from_secs(10),
            webhook_targets: WebhookTargets::Any,
            observe_every: Duration::from_secs(10),
            basic: None,
            generator: None,
            scanner: None,
        }
    }

    /// Where tokens, jobs and webhooks are kept: `sqlite:///path/to/file`, `sqlite::memory:`, or `postgres://…` where several gateways
    /// serve one address. A file of SQLite belongs to one gateway.
    #[must_use]
    pub fn database(mut self, url: impl Into<String>) -> Self {
        self.database = url.into();
        self
    }

    /// How many requests of a category one token may make. Gateways that share a PostgreSQL count together.
    #[must_use]
    pub fn rate(mut self, category: Category, rate: Rate) -> Self {
        if let Some(slot) = self.rates.get_mut(category.index()) {
            *slot = Some(rate);
        }
        self
    }

    /// Tokens may make as many requests as they like; the answers carry no rate-limit headers.
    #[must_use]
    pub fn without_rates(mut self) -> Self {
        self.rates = [None; Category::ALL.len()];
        self
    }

    /// The rate of a category; `None` without limit.
    #[must_use]
    pub fn rate_of(&self, category: Category) -> Option<Rate> {
        self.rates.get(category.index()).copied().flatten()
    }

    /// How large a JSON body may be. Uploads of volumes are streams and not limited.
    #[must_use]
    pub fn body_limit(mut self, limit: ByteSize) -> Self {
        self.body_limit = limit;
        self
    }

    /// How long a JSON body may take to come; then it is `408`.
    #[must_use]
    pub fn body_timeout(mut self, timeout: Duration) -> Self {
        self.body_timeout = timeout;
        self
    }

    /// How many requests are worked on at a time; more are answered `503`.
    #[must_use]
    pub fn concurrency(mut self, requests: usize) -> Self {
        self.concurrency = requests.max(1);
        self
    }

    /// How many watches and consoles may be open at a time; more are answered `503`.
    #[must_use]
    pub fn subscribers(mut self, subscribers: usize) -> Self {
        self.subscribers = subscribers;
        self
    }

    /// How many events a slow subscriber may be behind before it is told to read again what matters.
    #[must_use]
    pub fn watch_buffer(mut self, events: usize) -> Self {
        self.watch_buffer = events.max(1);
        self
    }

    /// How long open watches and consoles go on when the gateway is [closed](crate::Gateway::close), before they are told and end.
    #[must_use]
    pub fn stream_grace(mut self, time: Duration) -> Self {
        self.stream_grace = time;
        self
    }

    /// How long after its last sign of life another gateway on the same database takes over what a gateway was doing.
    #[must_use]
    pub fn lease(mut self, lease: Duration) -> Self {
        self.lease = lease.max(Duration::from_millis(100));
        self
    }

    /// How long a token is believed after it was found in the database, so that not every request has to ask: one second, if nothing is said.
    /// A token that is revoked through another gateway on the same database may work so much longer there; the gateway that revokes it
    /// refuses it at once. Expiry always counts at once. With zero every request asks.
    #[must_use]
    pub fn recheck_tokens(mut self, after: Duration) -> Self {
        self.recheck_tokens = after;
        self
    }

    /// Whether the backend's tasks outlive the process that began them, so that another gateway, or the next start, can ask for them. Without
    /// this it is so for Proxmox and for other gateways, not for libvirt and memory, whose tasks are their driver's own.
    #[must_use]
    pub fn durable_tasks(mut self, durable: bool) -> Self {
        self.durable_tasks = Some(durable);
        self
    }

    /// How long jobs that have ended are remembered.
    #[must_use]
    pub fn keep_jobs(mut self, time: Duration) -> Self {
        self.keep_jobs = time;
        self
    }

    /// How often a webhook's event is sent before it is given up, and the wait after the first failure, which doubles with each further
    /// one up to an hour.
    #[must_use]
    pub fn webhook_retries(mut self, attempts: u32, backoff: Duration) -> Self {
        self.webhook_attempts = attempts.max(1);
        self.webhook_backoff = backoff;
        self
    }

    /// Where webhooks may lead; [`WebhookTargets::Any`] without this.
    #[must_use]
    pub fn webhook_targets(mut self, targets: WebhookTargets) -> Self {
        self.webhook_targets = targets;
        self
    }

    /// How long a webhook's receiver may take to answer.
    #[must_use]
    pub fn webhook_timeout(mut self, timeout: Duration) -> Self {
        self.webhook_timeout = timeout;
        self
    }

    /// How often webhooks are looked after, and a backend that sends no events is looked at for them.
    #[must_use]
    pub fn observe_every(mut self, every: Duration) -> Self {
        self.observe_every = every.max(Duration::from_millis(10));
        self
    }

    /// A user who may create tokens by Basic authentication, which the document means for development only. Without it the first token
    /// comes from [`Gateway::create_token`](crate::Gateway::create_token), as the program's `token` command has it.
    #[must_use]
    pub fn basic(mut self, user: impl Into<String>, password: impl Into<String>) -> Self {
        self.basic = Some((user.into(), password.into()));
        self
    }

    /// Who answers `POST /v1/ai/generate`; without one it is `501`.
    #[must_use]
    pub fn generator(mut self, generator: Arc<dyn Generator>) -> Self {
        self.generator = Some(generator);
        self
    }

    /// Who answers `/v1/security/scans`; without one it is `501`.
    #[must_use]
    pub fn scanner(mut self, scanner: Arc<dyn Scanner>) -> Self {
        self.scanner = Some(scanner);
        self
    }
}

/// Shows neither the database's URL nor the password.
impl fmt::Debug for GatewayConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GatewayConfig")
            .field("database", &self.database.split(':').next())
            .field("rates", &self.rates)
            .field("body_limit", &self.body_limit)
            .field("concurrency", &self.concurrency)
            .field("basic", &self.basic.as_ref().map(|(user, _)| user))
            .finish_non_exhaustive()
    }
}
