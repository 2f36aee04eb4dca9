//! The connection: what it is to, what it can do, and how a call gets onto a thread.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use hypervisor_core::model::{BackendInfo, Capabilities, Feature, HostId, VmId};
use hypervisor_core::{Error, Hypervisor, Operation, Result};
use tokio::sync::Semaphore;
use virt::connect::Connect;

use crate::blocking::{CallError, Failure, Lane, Pool};
use crate::compute::lookup;
use crate::config::LibvirtConfig;
use crate::error::{Fail, Outcome, named};
use crate::events::Hub;
use crate::ffi::{self, Connection, JobInfo};
use crate::leftovers::Leftovers;
use crate::probe::{Probe, probe};
use crate::tasks::TaskTable;

/// How many consoles may be open at a time.
const CONSOLES: usize = 16;

/// A connection to libvirt.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// use hypervisor_core::model::{PageRequest, VmQuery};
/// use hypervisor_core::traits::Compute;
/// use hypervisor_libvirt::Libvirt;
/// let libvirt = Libvirt::connect("test:///default".parse()?).await?;
/// let vms = libvirt.list_vms(&VmQuery::all(), &PageRequest::first()).await?;
/// assert_eq!(vms.items[0].name, "test");
/// # Ok::<(), hypervisor_core::Error>(()) }).unwrap();
/// ```
pub struct Libvirt {
    pub(crate) inner: Arc<Inner>,
}

/// What the calls share.
pub(crate) struct Inner {
    pub(crate) config: LibvirtConfig,
    pub(crate) pool: Pool<Connection, Fail>,
    pub(crate) probe: Probe,
    info: BackendInfo,
    pub(crate) tasks: TaskTable,
    pub(crate) events: Arc<Hub>,
    /// What creates whose answers were lost may have made.
    pub(crate) leftovers: Leftovers,
    /// Which volumes start from others, as far as read lately.
    pub(crate) uppers: crate::storage::uppers::Uppers,
    /// Which guests use which files, as far as read lately.
    pub(crate) users: crate::storage::uses::Users,
    /// Places for open consoles, each of which has a thread.
    pub(crate) consoles: Arc<Semaphore>,
}

impl fmt::Debug for Libvirt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Libvirt")
            .field("config", &self.inner.config)
            .field("pool", &self.inner.pool)
            .finish_non_exhaustive()
    }
}

impl Drop for Libvirt {
    fn drop(&mut self) {
        self.inner.tasks.abort_all();
        self.inner.events.close();
    }
}

impl Libvirt {
    /// Connects, and finds out what the host and its hypervisor can do.
    ///
    /// # Errors
    /// `Connect`, `Unauthenticated`, or `Timeout` when libvirt does not answer in time.
    pub async fn connect(config: LibvirtConfig) -> Result<Self> {
        let opening = config.clone();
        let pool = Pool::new(config.limits(), move || {
            Ok(ffi::open(opening.uri(), opening.read_only, opening.credentials.as_ref())?)
        });
        let probed = config.clone();
        let limit = config.open_timeout.saturating_add(config.timeout);
        let probe = pool.run(Lane::Fast, "probe", limit, move |conn: &Connection| probe(conn, &probed)).await;
        let probe = probe.map_err(|failure| Error::from(failure).with_backend(crate::BACKEND))?;
        let info = BackendInfo::new(crate::BACKEND, config.uri()).version(&probe.version);
        let events = Arc::<Hub>::default();
        let tasks = TaskTable::new(&events);
        let consoles = Arc::new(Semaphore::new(CONSOLES));
        let leftovers = Leftovers::default();
        let inner = Inner {
            config,
            pool,
            probe,
            info,
            tasks,
            events,
            leftovers,
            uppers: Default::default(),
            users: Default::default(),
            consoles,
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Runs something that the SDK does not offer on a connection of libvirt's own, on a thread that may block, within
    /// the connection's deadline.
    ///
    /// # Errors
    /// What `call` fails with, in the SDK's words; `Timeout` when it does not come back in time.
    pub async fn with_connection<T, F>(&self, call: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&Connect) -> Result<T, virt::error::Error> + Send + 'static,
    {
        let limit = self.inner.config.timeout;
        let outcome =
            self.inner.pool.run(Lane::Fast, "raw", limit, move |conn: &Connection| Ok(call(conn)?)).await;
        outcome.map_err(|failure| Error::from(failure).with_backend(crate::BACKEND))
    }

    /// What libvirt is at work on with a guest, by whoever's order.
    ///
    /// # Errors
    /// `NotFound`, or `InvalidState` for a guest that does not run.
    pub async fn job(&self, vm: &VmId) -> Result<JobInfo> {
        let vm = vm.clone();
        let work = move |conn: &Connect| {
            let domain = lookup::domain(conn, &vm)?;
            ffi::job_info(&domain).map_err(|error| lookup::named(&vm)(error.into()))
        };
        self.inner.call(Operation::GetTask, work).await
    }

    /// Asks libvirt to end what it is at work on with a guest.
    ///
    /// # Errors
    /// `NotFound`, or `InvalidState` where there is nothing to end.
    pub async fn abort_job(&self, vm: &VmId) -> Result<()> {
        let vm = vm.clone();
        let work = move |conn: &Connect| {
            let domain = lookup::domain(conn, &vm)?;
            ffi::abort_job(&domain).map_err(|error| lookup::named(&vm)(error.into()))
        };
        self.inner.call(Operation::CancelTask, work).await
    }

    /// How many connections have been opened so far: it grows when one was lost.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.inner.pool.generation()
    }
}

impl Hypervisor for Libvirt {
    fn info(&self) -> &BackendInfo {
        &self.inner.info
    }

    fn capabilities(&self) -> &Capabilities {
        &self.inner.probe.capabilities
    }
}

impl Inner {
    /// Runs an operation that the daemon answers by itself.
    pub(crate) async fn call<T, F>(&self, operation: Operation, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&Connect) -> Outcome<T> + Send + 'static,
    {
        self.run(operation, Lane::Fast, self.config.timeout, work).await
    }

    /// Runs an operation that waits for a guest, a disk or another host.
    pub(crate) async fn call_slow<T, F>(&self, operation: Operation, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&Connect) -> Outcome<T> + Send + 'static,
    {
        self.run(operation, Lane::Slow, self.config.slow_timeout, work).await
    }

    /// Runs an operation within its own limit, unless the driver has no such operation.
    pub(crate) async fn run<T, F>(
        &self,
        operation: Operation,
        lane: Lane,
        limit: Duration,
        work: F,
    ) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&Connect) -> Outcome<T> + Send + 'static,
    {
        self.require(operation, &[])?;
        let outcome =
            self.pool.run(lane, operation.as_str(), limit, move |conn: &Connection| work(conn)).await;
        if outcome.as_ref().is_err_and(tells_of_the_daemon) {
            self.events.doubt();
        }
        outcome.map_err(Error::from).map_err(named(operation))
    }

    /// Passes if the operation and all that the call needs of it can be done.
    pub(crate) fn require(&self, operation: Operation, needs: &[Feature]) -> Result<()> {
        self.probe.capabilities.require_all(operation, needs).map_err(named(operation))
    }

    /// The host that this connection is to.
    pub(crate) fn host(&self) -> HostId {
        HostId::from(self.probe.host.as_str())
    }

    /// Refuses a host that is not ours.
    pub(crate) fn check_host(&self, host: Option<&HostId>) -> Result<()> {
        match host {
            Some(host) if host.as_str() != self.probe.host => Err(host.not_found()),
            _ => Ok(()),
        }
    }

    /// Refuses more CPUs than a guest can have.
    pub(crate) fn check_cpus(&self, cpus: Option<u32>) -> Result<()> {
        match (cpus, self.probe.max_cpus) {
            (Some(cpus), Some(most)) if cpus > most => Err(Error::invalid(
                "cpus",
                format!("{cpus} are more than the {most} that a guest can have here"),
            )),
            _ => Ok(()),
        }
    }

    /// Forgets what a definition said, because we change it.
    pub(crate) fn forget_facts(&self, uuid: &str) {
        self.events.facts.forget(uuid);
    }
}

/// Whether a failure may mean that the daemon is gone or hangs.
fn tells_of_the_daemon(failure: &Failure<Fail>) -> bool {
    match failure {
        Failure::Call(fail) => fail.is_disconnect(),
        Failure::CallTimeout(_) | Failure::OpenTimeout(_) | Failure::Open(_) => true,
        _ => false,
    }
}
