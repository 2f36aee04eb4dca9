//! A complete hypervisor in memory: the reference backend, and what examples and tests run on.
//!
//! It implements every operation with the rules of a real one: states, name clashes, locks while a task runs, capacity, snapshot
//! trees, volumes with content, guests with an agent. Time is tokio's, so that under a paused runtime an hour passes at once;
//! nothing runs in the background. The same seed and the same calls give the same world.
//!
//! ```
//! use std::time::Duration;
//! use hypervisor_core::memory::Memory;
//! use hypervisor_core::model::{ByteSize, DiskSpec, PowerAction, VmSpec, VmState};
//! use hypervisor_core::{Compute as _, ErrorKind};
//! # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
//! let memory = Memory::builder().hosts(2).guest_time(Duration::from_millis(5)).build();
//! let spec = VmSpec::new("web-1").disk(DiskSpec::new_volume(ByteSize::gib(20)));
//! let vm = memory.create_vm(&spec).await?.output;
//! memory.power_vm(&vm, &PowerAction::Start).await?;
//! assert_eq!(memory.get_vm(&vm).await?.state, VmState::Running);
//! let again = memory.create_vm(&spec).await.unwrap_err();
//! assert_eq!(again.kind(), ErrorKind::AlreadyExists);
//! # Ok::<(), hypervisor_core::Error>(()) }).unwrap();
//! ```

mod backup;
mod batch;
mod builder;
mod clock;
mod compute;
mod content;
mod event;
mod fault;
mod guest;
mod metrics;
mod network;
mod snapshot;
mod state;
mod storage;
mod task;
mod vms;
mod volume;

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

pub use self::builder::MemoryBuilder;
pub use self::fault::FaultPlan;

use self::builder::Config;
use self::clock::Clock;
use self::fault::Fault;
use self::state::World;
use crate::error::{Error, Result};
use crate::model::{BackendInfo, ByteStream, Capabilities, Feature, HostId, HostState, TaskId, VmId};
use crate::operation::Operation;
use crate::traits::Hypervisor;

const BACKEND: &str = "memory";

/// A hypervisor in memory. A clone is another connection to the same one.
#[derive(Clone)]
pub struct Memory {
    shared: Arc<Shared>,
}

/// What all connections share.
struct Shared {
    info: BackendInfo,
    capabilities: Arc<Capabilities>,
    clock: Clock,
    changed: Arc<Notify>,
    world: Mutex<World>,
}

impl Shared {
    /// Looks at the world as it is now, and wakes those who wait if it has changed.
    fn look<T>(&self, f: impl FnOnce(&mut World) -> T) -> T {
        // A panic inside the lock can only come from a bug of ours; the world is still worth more than a second panic.
        let mut world: MutexGuard<'_, World> = self.world.lock().unwrap_or_else(PoisonError::into_inner);
        let before = world.events.next();
        world.advance(self.clock.now());
        let result = f(&mut world);
        let changed = world.events.next() != before;
        drop(world);
        if changed {
            self.changed.notify_waiters();
        }
        result
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.changed.notify_waiters();
    }
}

impl Default for Memory {
    fn default() -> Self {
        Self::new()
    }
}

impl Memory {
    /// One host (`host-1`), one pool and one network (both `default`), and no time passes.
    #[must_use]
    pub fn new() -> Self {
        Self::builder().build()
    }

    /// Sets one up.
    pub fn builder() -> MemoryBuilder {
        MemoryBuilder::new()
    }

    /// One as a URL describes it: `memory://?hosts=3&task_time=2s&guest_time=500ms&seed=42`.
    ///
    /// # Errors
    /// `Config` for another scheme, a host or path, or a parameter that is unknown or wrong.
    ///
    /// ```
    /// use hypervisor_core::memory::Memory;
    /// assert!(Memory::from_url("memory://?hosts=3").is_ok());
    /// assert!(Memory::from_url("memory://?hosts=many").is_err());
    /// ```
    pub fn from_url(url: &str) -> Result<Self> {
        MemoryBuilder::from_url(url).map(MemoryBuilder::build)
    }

    fn with(config: Config, capabilities: Capabilities) -> Self {
        let capabilities = Arc::new(capabilities);
        let world = World::new(config, Arc::clone(&capabilities));
        let info = BackendInfo::new(BACKEND, "memory://").version(env!("CARGO_PKG_VERSION"));
        let (clock, changed) = (Clock::new(), Arc::new(Notify::new()));
        Self { shared: Arc::new(Shared { info, capabilities, clock, changed, world: Mutex::new(world) }) }
    }

    /// Adds faults to come. Calls are counted from now.
    pub fn inject(&self, plan: FaultPlan) {
        self.shared.look(|world| world.faults.add(plan));
    }

    /// Cuts the hypervisor off from a host, or connects it again. Guests on a host that is cut off run on.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn set_reachable(&self, host: &HostId, reachable: bool) -> Result<()> {
        self.shared.look(|world| world.set_reachable(host, reachable))
    }

    /// Has a host take no more guests, or again. Those that it has stay; move them away as on a real one.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn set_maintenance(&self, host: &HostId, maintenance: bool) -> Result<()> {
        let state = if maintenance { HostState::Maintenance } else { HostState::Online };
        self.shared.look(|world| world.set_host_state(host, state))
    }

    /// Reads a file that [`export_vm`](crate::Compute::export_vm) has written on a host.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn host_file(&self, path: &str) -> Result<ByteStream> {
        self.shared.look(|world| world.host_file(path))
    }

    /// Has a guest end by a fault.
    ///
    /// # Errors
    /// `NotFound`; `InvalidState` if it does not run.
    pub fn crash_vm(&self, vm: &VmId) -> Result<()> {
        self.shared.look(|world| world.crash(vm))
    }

    /// Has the hypervisor forget a task that has ended, as real ones do after some time.
    ///
    /// # Errors
    /// `NotFound`; `InvalidState` while it is at work.
    pub fn forget_task(&self, task: &TaskId) -> Result<()> {
        self.shared.look(|world| world.tasks.forget(task))
    }

    /// Passes if the call can be made at all.
    fn check(&self, operation: Operation, needs: &[Feature], valid: Result<()>) -> Result<()> {
        let able = self.shared.capabilities.require_all(operation, needs);
        able.and(valid).map_err(|error| named(error, operation))
    }

    /// One call: checked, delayed by its latency, and then carried out in one piece.
    async fn call<T>(
        &self,
        operation: Operation,
        needs: &[Feature],
        valid: Result<()>,
        f: impl FnOnce(&mut World) -> Result<T> + Send,
    ) -> Result<T> {
        self.check(operation, needs, valid)?;
        self.delay().await;
        self.shared.look(|world| world.carry_out(operation, f)).map_err(|error| named(error, operation))
    }

    async fn delay(&self) {
        let latency = self.shared.look(|world| world.config.draw_latency(&mut world.rng));
        if !latency.is_zero() {
            tokio::time::sleep(latency).await;
        }
    }
}

impl World {
    /// Carries a call out, with the fault that is planned for it.
    fn carry_out<T>(&mut self, operation: Operation, f: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        // A bulk call carries out others inside; each has a fault of its own.
        let outer = self.fault.take();
        self.fault = self.faults.next(operation, &mut self.rng);
        let result = match self.fault {
            Some(Fault::Before(kind)) => Err(fault::before(kind)),
            _ => f(self),
        };
        match std::mem::replace(&mut self.fault, outer) {
            Some(Fault::After(kind)) if result.is_ok() => Err(fault::after(kind)),
            _ => result,
        }
    }
}

fn named(error: Error, operation: Operation) -> Error {
    error.with_operation(operation).with_backend(BACKEND)
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Memory").field("info", &self.shared.info).finish_non_exhaustive()
    }
}

#[deny(clippy::missing_trait_methods)]
impl Hypervisor for Memory {
    fn info(&self) -> &BackendInfo {
        &self.shared.info
    }

    fn capabilities(&self) -> &Capabilities {
        &self.shared.capabilities
    }

    fn inner(&self) -> Option<&dyn Hypervisor> {
        None
    }
}

#[cfg(test)]
#[allow(unused_must_use, reason = "the tests look at what was done, not at what was answered")]
mod tests;
