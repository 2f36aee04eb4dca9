//! Who wants to hear what, and the one task that hears it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use futures::StreamExt as _;
use hypervisor_core::model::{Event, EventKind, EventQuery, HostId, HostMetrics, VmId, VmMetrics};
use hypervisor_core::{Error, ErrorKind, Result, Retry};
use tokio::sync::{Notify, broadcast, watch};
use tokio::task::AbortHandle;

use super::Loads;
use super::session::{CutOff, Session, guard};
use crate::dialect::virtumancer::api::Api;
use crate::dialect::virtumancer::wire::{HostLoad, Place, Subscription, VmLoad};

/// How many events are kept for a reader that is behind.
const EVENTS: usize = 1024;
/// How many measurements are.
const LOADS: usize = 16;
/// How long a new reader waits for a task that is connecting again, or reading its lists.
const OPENING: Duration = Duration::from_secs(60);

/// One for each connection. The task ends with it, and by itself when nobody wants to hear anything.
pub(crate) struct Hub {
    shared: Arc<Shared>,
    task: Mutex<Option<AbortHandle>>,
    /// Held by the one who begins the task, so that there is one.
    starting: tokio::sync::Mutex<()>,
}

impl fmt::Debug for Hub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hub").field("phase", &*self.shared.phase.borrow()).finish_non_exhaustive()
    }
}

impl Drop for Hub {
    fn drop(&mut self) {
        if let Some(task) = self.task.get_mut().unwrap_or_else(PoisonError::into_inner).take() {
            task.abort();
        }
    }
}

/// How far the task is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Phase {
    /// There is none.
    Idle,
    /// It is connecting again.
    Lost,
    /// Loads come.
    Loads,
    /// Loads and events come.
    Events,
}

/// What the readers of events get.
#[derive(Debug, Clone)]
pub(super) enum Told {
    Event(Event),
    End(Error),
}

/// What the readers of a load get.
#[derive(Debug, Clone)]
pub(super) enum Measured {
    Vm(Arc<VmLoad>),
    Host(HostLoad),
    End(Error),
}

/// What the task and the readers share.
pub(super) struct Shared {
    pub(super) api: Api,
    wanted: Mutex<Wanted>,
    events: broadcast::Sender<Told>,
    phase: watch::Sender<Phase>,
    /// Something is wanted, or no longer.
    pub(super) poke: Notify,
}

#[derive(Default)]
struct Wanted {
    readers: usize,
    feeds: BTreeMap<Subscription, Feed>,
}

struct Feed {
    readers: usize,
    to: broadcast::Sender<Measured>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Wanted> {
        self.wanted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn wants_events(&self) -> bool {
        self.lock().readers > 0
    }

    pub(super) fn subscriptions(&self) -> BTreeSet<Subscription> {
        self.lock().feeds.keys().cloned().collect()
    }

    pub(super) fn set_phase(&self, phase: Phase) {
        self.phase.send_replace(phase);
    }

    /// Tells the readers of events.
    pub(super) fn tell(&self, kind: EventKind) {
        // Nobody listens: nothing is lost.
        drop(self.events.send(Told::Event(Event::new(SystemTime::now(), kind))));
    }

    /// Whether somebody here wants this load; passes it on then.
    pub(super) fn measure(&self, whose: &Subscription, load: Measured) -> bool {
        let wanted = self.lock();
        match wanted.feeds.get(whose) {
            Some(feed) => {
                drop(feed.to.send(load));
                true
            }
            None => false,
        }
    }

    /// Ends the task where nobody wants anything of it.
    pub(super) fn leave_if_idle(&self) -> bool {
        let wanted = self.lock();
        let idle = wanted.readers == 0 && wanted.feeds.is_empty();
        if idle {
            // Under the lock: who comes later finds no task and begins one.
            self.phase.send_replace(Phase::Idle);
        }
        idle
    }

    /// The task has ended though it was wanted: its runtime is gone.
    pub(super) fn cut_off(&self) {
        if *self.phase.borrow() == Phase::Idle {
            return;
        }
        let end = Error::new(ErrorKind::Cancelled, "the runtime that held the WebSocket has ended");
        self.phase.send_replace(Phase::Idle);
        drop(self.events.send(Told::End(end.clone())));
        for feed in self.lock().feeds.values() {
            drop(feed.to.send(Measured::End(end.clone())));
        }
    }
}

impl Hub {
    pub(crate) fn new(api: Api) -> Arc<Self> {
        let shared = Shared {
            api,
            wanted: Mutex::default(),
            events: broadcast::Sender::new(EVENTS),
            phase: watch::Sender::new(Phase::Idle),
            poke: Notify::new(),
        };
        Arc::new(Self {
            shared: Arc::new(shared),
            task: Mutex::default(),
            starting: tokio::sync::Mutex::default(),
        })
    }

    /// A reader of events from now on.
    pub(super) async fn watch(self: &Arc<Self>, query: &EventQuery) -> Result<EventReader> {
        self.shared.lock().readers += 1;
        let mut reader = EventReader {
            hub: Arc::clone(self),
            from: self.shared.events.subscribe(),
            query: query.clone(),
            ended: false,
        };
        self.begin(Phase::Events).await?;
        // What was told while the task began is older than now.
        reader.from = self.shared.events.subscribe();
        Ok(reader)
    }

    pub(crate) async fn follow_vm(self: &Arc<Self>, place: Place) -> Result<Loads<VmMetrics>> {
        let id = VmId::from(&place);
        let reader = self.follow(Subscription::Vm(place)).await?;
        let loads = futures::stream::unfold(reader, move |mut reader| {
            let id = id.clone();
            async move {
                loop {
                    match reader.next().await? {
                        // The last frame of a guest that has stopped, or that does not exist.
                        Measured::Vm(load) if load.is_idle() => {}
                        Measured::Vm(load) => {
                            return Some((Ok(load.to_metrics(id, SystemTime::now())), reader));
                        }
                        Measured::Host(_) => {}
                        Measured::End(error) => return Some((Err(error), reader)),
                    }
                }
            }
        });
        Ok(Loads(loads.boxed()))
    }

    pub(crate) async fn follow_host(self: &Arc<Self>, host: String) -> Result<Loads<HostMetrics>> {
        let id = HostId::from(host.as_str());
        let reader = self.follow(Subscription::Host(host)).await?;
        let loads = futures::stream::unfold(reader, move |mut reader| {
            let id = id.clone();
            async move {
                loop {
                    match reader.next().await? {
                        Measured::Host(load) => {
                            return Some((Ok(load.to_metrics(id, SystemTime::now())), reader));
                        }
                        Measured::Vm(_) => {}
                        Measured::End(error) => return Some((Err(error), reader)),
                    }
                }
            }
        });
        Ok(Loads(loads.boxed()))
    }

    async fn follow(self: &Arc<Self>, whose: Subscription) -> Result<LoadReader> {
        // Whether the server would take it, before it is asked.
        whose.subscribe()?;
        let from = {
            let mut wanted = self.shared.lock();
            let feed = wanted
                .feeds
                .entry(whose.clone())
                .or_insert_with(|| Feed { readers: 0, to: broadcast::Sender::new(LOADS) });
            feed.readers += 1;
            feed.to.subscribe()
        };
        let reader = LoadReader { hub: Arc::clone(self), whose, from, ended: false };
        self.begin(Phase::Loads).await?;
        Ok(reader)
    }

    /// Makes sure that the task is there, and as far as wanted.
    async fn begin(&self, wanted: Phase) -> Result<()> {
        let shared = &self.shared;
        let _one = self.starting.lock().await;
        let mut phase = shared.phase.subscribe();
        if *phase.borrow() != Phase::Idle {
            shared.poke.notify_one();
            let there = |phase: &Phase| *phase >= wanted || *phase == Phase::Idle;
            match tokio::time::timeout(OPENING, phase.wait_for(there)).await {
                Ok(Ok(phase)) if *phase != Phase::Idle => return Ok(()),
                Ok(_) => {}
                Err(_) => {
                    let why = format!("the WebSocket was not open again after {OPENING:?}");
                    return Err(Error::new(ErrorKind::Timeout, why).with_retry(Retry::Safe));
                }
            }
        }
        let session = Session::open(shared).await?;
        shared.set_phase(session.phase());
        let task = tokio::spawn(guard(Arc::clone(shared), session, CutOff::new(shared)));
        *self.task.lock().unwrap_or_else(PoisonError::into_inner) = Some(task.abort_handle());
        Ok(())
    }
}

/// One reader of events.
pub(super) struct EventReader {
    hub: Arc<Hub>,
    from: broadcast::Receiver<Told>,
    query: EventQuery,
    ended: bool,
}

impl EventReader {
    /// The next event that is wanted; `None` after the end.
    pub(super) async fn next(&mut self) -> Option<Result<Event>> {
        use broadcast::error::RecvError;
        if self.ended {
            return None;
        }
        loop {
            match self.from.recv().await {
                Ok(Told::Event(event)) if self.query.matches(&event) => return Some(Ok(event)),
                Ok(Told::Event(_)) => {}
                Ok(Told::End(error)) => {
                    self.ended = true;
                    return Some(Err(error));
                }
                Err(RecvError::Lagged(missed)) => {
                    return Some(Ok(Event::new(SystemTime::now(), EventKind::Lagged { missed })));
                }
                Err(RecvError::Closed) => return None,
            }
        }
    }
}

impl Drop for EventReader {
    fn drop(&mut self) {
        let mut wanted = self.hub.shared.lock();
        wanted.readers = wanted.readers.saturating_sub(1);
        drop(wanted);
        self.hub.shared.poke.notify_one();
    }
}

/// One reader of a load.
struct LoadReader {
    hub: Arc<Hub>,
    whose: Subscription,
    from: broadcast::Receiver<Measured>,
    ended: bool,
}

impl LoadReader {
    async fn next(&mut self) -> Option<Measured> {
        use broadcast::error::RecvError;
        if self.ended {
            return None;
        }
        loop {
            match self.from.recv().await {
                Ok(measured) => {
                    self.ended = matches!(measured, Measured::End(_));
                    return Some(measured);
                }
                // Only the newest is worth having.
                Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return None,
            }
        }
    }
}

impl Drop for LoadReader {
    fn drop(&mut self) {
        let mut wanted = self.hub.shared.lock();
        if let Some(feed) = wanted.feeds.get_mut(&self.whose) {
            feed.readers = feed.readers.saturating_sub(1);
            if feed.readers == 0 {
                wanted.feeds.remove(&self.whose);
            }
        }
        drop(wanted);
        self.hub.shared.poke.notify_one();
    }
}
