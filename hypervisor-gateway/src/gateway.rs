//! A gateway: one backend, one database, and what runs beside the requests.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use axum::Router;
use hypervisor_core::{Hypervisor, Result};
use tokio::sync::{Notify, Semaphore, watch};
use uuid::Uuid;

use crate::believed::Believed;
use crate::config::GatewayConfig;
use crate::counters::Counters;
use crate::jobs::follow;
use crate::rate::Limiter;
use crate::store::Store;
use crate::tokens::{self, NewToken};
use crate::{router, webhooks};

/// What every request and every background task shares.
pub(crate) struct App {
    pub(crate) hv: Arc<dyn Hypervisor>,
    pub(crate) config: GatewayConfig,
    pub(crate) store: Store,
    pub(crate) believed: Believed,
    /// The part of a job's id that says whose task it is.
    pub(crate) scope: String,
    pub(crate) limiter: Limiter,
    pub(crate) counters: Counters,
    pub(crate) since: Instant,
    pub(crate) requests: Arc<Semaphore>,
    pub(crate) subscribers: Arc<Semaphore>,
    pub(crate) maintenance: AtomicBool,
    /// Whether the backend answered the last request that needed it.
    pub(crate) backend_answers: AtomicBool,
    /// There may be something to deliver.
    pub(crate) deliver: Notify,
    /// Webhooks have changed: there may be something to observe.
    pub(crate) observe: Notify,
    pub(crate) ending: watch::Receiver<bool>,
    /// How many calls and jobs of this process are under way that would be lost with it.
    pub(crate) working: watch::Sender<usize>,
}

/// A call or job under way.
pub(crate) struct Working(Arc<App>);

impl Working {
    pub(crate) fn begin(app: &Arc<App>) -> Self {
        app.working.send_modify(|many| *many += 1);
        Self(Arc::clone(app))
    }
}

impl Drop for Working {
    fn drop(&mut self) {
        self.0.working.send_modify(|many| *many = many.saturating_sub(1));
    }
}

/// The scope of ids that mean the same task in every process.
pub(crate) const DURABLE_SCOPE: &str = "0";

/// Backends whose tasks are known by the same id to whoever asks: the server keeps them.
const DURABLE: &[&str] = &["proxmox", "v1", "hypersdk"];

/// A token that was just made: the only time that it is seen.
#[derive(Clone)]
#[non_exhaustive]
pub struct CreatedToken {
    /// What it is revoked by.
    pub id: String,
    /// The token itself, to be sent as `Authorization: Bearer …`.
    pub token: String,
    /// When it ends, if it does.
    pub expires: Option<SystemTime>,
}

impl fmt::Debug for CreatedToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { id, expires, .. } = self;
        f.debug_struct("CreatedToken").field("id", id).field("expires", expires).finish_non_exhaustive()
    }
}

/// A gateway at work. When its last handle is dropped, its background tasks end.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> hypervisor_core::Result<()> {
/// use std::sync::Arc;
/// use hypervisor_core::memory::Memory;
/// use hypervisor_gateway::{Gateway, GatewayConfig};
/// let gateway = Gateway::open(Arc::new(Memory::new()), GatewayConfig::new()).await?;
/// let token = gateway.create_token("first", &["*"], None).await?;
/// assert!(token.token.starts_with("pxa_"));
/// let router: axum::Router = gateway.router();
/// # let _ = router;
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Gateway {
    app: Arc<App>,
    end: Arc<watch::Sender<bool>>,
}

impl Gateway {
    /// Opens the database, takes over what dead gateways have left, and begins to look after jobs and webhooks.
    ///
    /// # Errors
    /// `Config` where the database cannot be opened or belongs to another version.
    pub async fn open(hv: Arc<dyn Hypervisor>, config: GatewayConfig) -> Result<Self> {
        let id = Uuid::new_v4().simple().to_string();
        let instance: String = id.chars().take(12).collect();
        // Ids of tasks that die with the process must not be taken for those of another.
        let durable = config.durable_tasks.unwrap_or_else(|| DURABLE.contains(&hv.info().backend.as_str()));
        let scope = if durable { DURABLE_SCOPE.to_owned() } else { instance.clone() };
        let store = Store::open(&config.database, instance).await?;
        let lease = config.lease;
        store.heartbeat(lease).await.map_err(database)?;
        let (end, ending) = watch::channel(false);
        let app = Arc::new(App {
            hv,
            requests: Arc::new(Semaphore::new(config.concurrency)),
            subscribers: Arc::new(Semaphore::new(config.subscribers)),
            config,
            store,
            believed: Believed::default(),
            scope,
            limiter: Limiter::default(),
            counters: Counters::default(),
            since: Instant::now(),
            maintenance: AtomicBool::new(false),
            backend_answers: AtomicBool::new(true),
            deliver: Notify::new(),
            observe: Notify::new(),
            ending,
            working: watch::channel(0).0,
        });
        tokio::spawn(until_end(Arc::clone(&app), keep_alive(Arc::clone(&app))));
        tokio::spawn(until_end(Arc::clone(&app), webhooks::deliver(Arc::clone(&app))));
        tokio::spawn(until_end(Arc::clone(&app), webhooks::observe(Arc::clone(&app))));
        Ok(Self { app, end: Arc::new(end) })
    }

    /// The routes.
    pub fn router(&self) -> Router {
        router::build(Arc::clone(&self.app), Arc::clone(&self.end))
    }

    /// Creates a token: how the first one is made. `lifetime` is without end where it is `None`.
    ///
    /// # Errors
    /// `InvalidInput` for a permission that there is not; `Backend` where the database fails.
    pub async fn create_token(
        &self,
        name: &str,
        permissions: &[&str],
        lifetime: Option<Duration>,
    ) -> Result<CreatedToken> {
        let new = NewToken {
            name: name.to_owned(),
            description: None,
            permissions: permissions.iter().map(|each| (*each).to_owned()).collect(),
            expires: lifetime.map(|lifetime| SystemTime::now() + lifetime),
        };
        tokens::create(&self.app.store, new).await.map_err(|problem| problem.error)
    }

    /// Answers `503 MAINTENANCE_MODE` to everything but health, or no longer.
    pub fn set_maintenance(&self, on: bool) {
        self.app.maintenance.store(on, Ordering::Relaxed);
    }

    /// Waits until no call and no job of this process is under way that would be lost with it. Tasks that the backend's server keeps are not
    /// waited for: whoever comes next follows them. Stop taking requests first; new ones prolong the wait.
    pub async fn drain(&self) {
        // The sender is ours, so that this ends by the number alone.
        drop(self.app.working.subscribe().wait_for(|many| *many == 0).await);
    }

    /// Ends the streams and the background tasks, and tells other gateways on the same database that this one is gone. Open consoles and watches
    /// have the time of [`GatewayConfig::stream_grace`] to end by themselves; those that have not are told, by a WebSocket's close frame 1001 with
    /// a reason or an event `shutdown`, and end. Jobs that still run are left to the other gateways, or to the next start.
    pub async fn close(&self) {
        self.close_within(self.app.config.stream_grace).await;
    }

    /// The same with another time for the streams.
    pub async fn close_within(&self, grace: Duration) {
        self.streams_end(grace).await;
        self.end.send_replace(true);
        self.streams_end(Duration::from_secs(1)).await;
        if let Err(error) = self.app.store.leave().await {
            tracing::warn!(%error, "the gateway cannot sign off");
        }
    }

    /// Waits until no stream is open, but not longer than this.
    async fn streams_end(&self, within: Duration) {
        let gone = async {
            while self.app.counters.subscribers.load(Ordering::Relaxed) > 0 {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let _ = tokio::time::timeout(within, gone).await;
    }
}

impl fmt::Debug for Gateway {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gateway")
            .field("backend", &self.app.hv.info().backend)
            .field("config", &self.app.config)
            .finish_non_exhaustive()
    }
}

fn database(error: sqlx::Error) -> hypervisor_core::Error {
    hypervisor_core::Error::new(
        hypervisor_core::ErrorKind::Backend,
        format!("the gateway's database: {error}"),
    )
}

/// Runs something until the gateway ends.
pub(crate) async fn until_end(app: Arc<App>, work: impl Future<Output = ()>) {
    let mut ending = app.ending.clone();
    drop(app);
    tokio::select! {
        () = work => {}
        () = ended(&mut ending) => {}
    }
}

/// The end of the gateway, or of whatever else this tells of.
pub(crate) async fn ended(ending: &mut watch::Receiver<bool>) {
    // An error means that the last handle is gone.
    drop(ending.wait_for(|ended| *ended).await);
}

/// Signs of life, and taking over from those that give none.
async fn keep_alive(app: Arc<App>) {
    let every = app.config.lease / 3;
    let mut rounds = 0_u32;
    loop {
        if let Err(error) = app.store.heartbeat(app.config.lease).await {
            tracing::warn!(%error, "no sign of life could be given");
        }
        if let Err(error) = follow::take_over(&app).await {
            tracing::warn!(%error, "jobs of dead gateways cannot be taken over");
        }
        if rounds.is_multiple_of(720)
            && let Err(error) = app.store.forget(app.config.keep_jobs).await
        {
            tracing::warn!(%error, "old jobs cannot be forgotten");
        }
        rounds = rounds.wrapping_add(1);
        tokio::time::sleep(every).await;
    }
}
