//! One WebSocket from its opening to its loss, and the task that opens the next one.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use futures::{FutureExt as _, SinkExt as _, StreamExt as _};
use hypervisor_core::http::{Message, Request, WebSocket};
use hypervisor_core::model::EventKind;
use hypervisor_core::{Error, ErrorKind, Result};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until, timeout};

use super::hub::{Measured, Phase, Shared};
use super::inventory::{Inventory, News, Stale};
use crate::dialect::virtumancer::wire::{ServerFrame, Subscription};

/// How long frames that come together are taken for one: a power verb sends the same one three times.
const BURST: Duration = Duration::from_millis(100);
/// When lists are read once more that did not show what a frame has announced: the frame may have been quicker than the server's books.
const SECOND_LOOK: Duration = Duration::from_secs(1);
/// How often the other end is asked whether it is still there.
const HEARTBEAT: Duration = Duration::from_secs(25);
/// How long it may be silent. It pings every 54 s itself, and answers our pings.
const SILENCE: Duration = Duration::from_secs(80);
/// How long a frame of ours may take to go out.
const SENDING: Duration = Duration::from_secs(10);
/// After a change the server may have dropped a subscription without a word: when it is looked at again, and how long it may be quiet.
const LOOK_AGAIN: Duration = Duration::from_secs(6);
const QUIET: Duration = Duration::from_secs(5);
/// How long the first and the longest wait between two attempts are, before chance is added.
const FIRST_WAIT: Duration = Duration::from_millis(250);
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// An open WebSocket, with what there was when it was opened.
pub(super) struct Session {
    socket: WebSocket,
    inventory: Option<Inventory>,
}

impl Session {
    /// Opens the WebSocket first and reads the lists then, so that no change falls between.
    pub(super) async fn open(shared: &Shared) -> Result<Self> {
        let socket = shared.api.websocket(Request::get("/ws")).await?;
        let inventory = match shared.wants_events() {
            true => Some(Inventory::load(&shared.api).await?),
            false => None,
        };
        Ok(Self { socket, inventory })
    }

    pub(super) fn phase(&self) -> Phase {
        if self.inventory.is_some() { Phase::Events } else { Phase::Loads }
    }
}

/// Why a session has ended.
enum End {
    Idle,
    Lost(String),
}

/// Says so when the task is dropped before its end, be it before its beginning.
pub(super) struct CutOff(Option<Arc<Shared>>);

impl CutOff {
    pub(super) fn new(shared: &Arc<Shared>) -> Self {
        Self(Some(Arc::clone(shared)))
    }
}

impl Drop for CutOff {
    fn drop(&mut self) {
        if let Some(shared) = &self.0 {
            shared.cut_off();
        }
    }
}

/// Follows one session after the other until nobody wants to hear anything.
pub(super) async fn guard(shared: Arc<Shared>, mut session: Session, mut cut_off: CutOff) {
    loop {
        let reason = match Follow::new(&shared, session).run().await {
            End::Idle => break,
            End::Lost(reason) => reason,
        };
        shared.set_phase(Phase::Lost);
        tracing::debug!(reason, "the WebSocket is lost");
        match again(&shared).await {
            Some(next) => session = next,
            None => break,
        }
        shared.tell(EventKind::Resync { reason: format!("the WebSocket was lost: {reason}") });
        shared.set_phase(session.phase());
    }
    cut_off.0 = None;
}

/// Opens the WebSocket again, however long that takes; nothing where nobody wants it any more.
async fn again(shared: &Shared) -> Option<Session> {
    let mut wait = FIRST_WAIT;
    loop {
        // Many clients lose the same server at the same moment.
        let until = Instant::now() + wait.mul_f64(0.5 + fastrand::f64());
        while Instant::now() < until {
            if shared.leave_if_idle() {
                return None;
            }
            tokio::select! {
                () = shared.poke.notified() => {}
                () = sleep_until(until) => {}
            }
        }
        match Session::open(shared).await {
            Ok(session) => return Some(session),
            Err(error) => tracing::debug!(%error, "the WebSocket cannot be opened again"),
        }
        wait = (wait * 2).min(LONGEST_WAIT);
    }
}

/// What was subscribed to over this WebSocket.
struct Sent {
    /// When a frame came last, or it was subscribed to.
    heard: Instant,
    /// When it has to be looked at again.
    look: Option<Instant>,
}

struct Follow<'a> {
    shared: &'a Arc<Shared>,
    socket: WebSocket,
    inventory: Option<Inventory>,
    sent: BTreeMap<Subscription, Sent>,
    stale: Stale,
    /// When what is stale is read.
    read_at: Option<Instant>,
    /// What is read next has been read before, and showed no change.
    second_look: bool,
    /// What is being read, to be stale again if that fails.
    reading: Option<(Stale, BoxFuture<'static, Result<News>>)>,
    failures: u32,
}

impl<'a> Follow<'a> {
    fn new(shared: &'a Arc<Shared>, session: Session) -> Self {
        Self {
            shared,
            socket: session.socket,
            inventory: session.inventory,
            sent: BTreeMap::new(),
            stale: Stale::default(),
            read_at: None,
            second_look: false,
            reading: None,
            failures: 0,
        }
    }

    async fn run(mut self) -> End {
        let mut heartbeat = interval(HEARTBEAT);
        heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        heartbeat.reset();
        loop {
            if self.shared.leave_if_idle() {
                // Whether it goes well is nobody's business any more.
                drop(timeout(SENDING, self.socket.close()).await);
                return End::Idle;
            }
            if let Err(error) = self.reconcile().await {
                return End::Lost(error.to_string());
            }
            self.begin_reading();
            let look = self.sent.values().filter_map(|sent| sent.look).min();
            tokio::select! {
                frame = self.socket.next() => match frame {
                    Some(Ok(Message::Text(text))) => self.hear(&text),
                    Some(Ok(_)) => {}
                    Some(Err(error)) => return End::Lost(error.to_string()),
                    None => return End::Lost("the server closed it".to_owned()),
                },
                () = self.shared.poke.notified() => {}
                () = at(self.read_at), if self.reading.is_none() => {}
                news = read(&mut self.reading) => self.take(news),
                () = at(look) => {
                    if let Err(error) = self.look_again().await {
                        return End::Lost(error.to_string());
                    }
                }
                _ = heartbeat.tick() => {
                    let silent = self.socket.silent_for();
                    if silent > SILENCE {
                        return End::Lost(format!("the server has been silent for {silent:?}"));
                    }
                    match timeout(SENDING, self.socket.ping()).await {
                        Ok(Ok(())) => {}
                        Ok(Err(error)) => return End::Lost(error.to_string()),
                        Err(_) => return End::Lost("the server takes nothing in".to_owned()),
                    }
                    self.doubt_the_quiet();
                }
            }
        }
    }

    /// The server drops the subscription of a guest that it could not measure once, or that is paused, and says nothing of it, then or later.
    fn doubt_the_quiet(&mut self) {
        let now = Instant::now();
        for sent in self.sent.values_mut().filter(|sent| now.duration_since(sent.heard) >= QUIET) {
            sent.look.get_or_insert(now);
        }
    }

    /// Subscribes to what is wanted, and no longer to what is not.
    async fn reconcile(&mut self) -> Result<()> {
        let wanted = self.shared.subscriptions();
        let gone: Vec<Subscription> =
            self.sent.keys().filter(|sent| !wanted.contains(sent)).cloned().collect();
        for subscription in gone {
            self.sent.remove(&subscription);
            self.send(subscription.unsubscribe()?).await?;
        }
        for subscription in wanted {
            if !self.sent.contains_key(&subscription) {
                self.send(subscription.subscribe()?).await?;
                self.sent.insert(subscription, Sent { heard: Instant::now(), look: None });
            }
        }
        Ok(())
    }

    async fn send(&mut self, frame: String) -> Result<()> {
        let sending = self.socket.send(Message::Text(frame));
        let late = || Error::new(ErrorKind::Timeout, "the server takes nothing in");
        timeout(SENDING, sending).await.unwrap_or_else(|_| Err(late()))
    }

    /// Subscribes once more where nothing has been heard since a change.
    async fn look_again(&mut self) -> Result<()> {
        let now = Instant::now();
        let due = |sent: &Sent| sent.look.is_some_and(|look| look <= now);
        let due: Vec<Subscription> = self
            .sent
            .iter()
            .filter(|(_, sent)| due(sent))
            .map(|(subscription, _)| subscription.clone())
            .collect();
        for subscription in due {
            let Some(sent) = self.sent.get_mut(&subscription) else { continue };
            let quiet = now.duration_since(sent.heard) >= QUIET;
            sent.look = None;
            if quiet {
                self.send(subscription.subscribe()?).await?;
            }
        }
        Ok(())
    }

    fn hear(&mut self, text: &str) {
        let frame = match ServerFrame::parse(text) {
            Ok(frame) => frame,
            Err(error) => {
                tracing::debug!(%error, "a frame of the WebSocket is left out");
                return;
            }
        };
        match frame {
            ServerFrame::HostsChanged => self.outdate(Stale::all()),
            ServerFrame::HostConnection { host, .. } => {
                self.outdate(Stale::all());
                self.doubt(&host);
            }
            ServerFrame::VmsChanged(host) => {
                self.doubt(&host);
                self.outdate(Stale { hosts: false, vms: [host].into() });
            }
            ServerFrame::VmLoad { vm, load } => {
                self.measured(Subscription::Vm(vm), Measured::Vm(Arc::from(load)));
            }
            ServerFrame::HostLoad { host, load } => {
                self.measured(Subscription::Host(host), Measured::Host(load));
            }
            ServerFrame::Other(_) => {}
        }
    }

    /// Passes a load on to who subscribed to it. Those of other clients of the server come as well.
    fn measured(&mut self, whose: Subscription, load: Measured) {
        if !self.shared.measure(&whose, load) {
            return;
        }
        if let Some(sent) = self.sent.get_mut(&whose) {
            sent.heard = Instant::now();
        }
    }

    fn outdate(&mut self, what: Stale) {
        self.stale.add(what);
        let soon = Instant::now() + BURST;
        // Neither later for every frame of a burst, nor as late as a second look.
        self.read_at = Some(self.read_at.map_or(soon, |at| at.min(soon)));
        self.second_look = false;
    }

    /// The server may have dropped the subscriptions of this host's guests, or may just now have begun to be able to serve them: those
    /// that are quiet are made again soon, and all are looked at later.
    fn doubt(&mut self, host: &str) {
        let now = Instant::now();
        for (subscription, sent) in &mut self.sent {
            if subscription.host() == host {
                let quiet = now.duration_since(sent.heard) >= QUIET;
                sent.look.get_or_insert(now + if quiet { BURST } else { LOOK_AGAIN });
            }
        }
    }

    /// Reads what is stale, one reading at a time; frames go on being heard meanwhile.
    fn begin_reading(&mut self) {
        if self.reading.is_some() {
            return;
        }
        if !self.shared.wants_events() {
            (self.inventory, self.stale, self.read_at) = (None, Stale::default(), None);
            return;
        }
        if self.inventory.is_none() && self.stale.is_nothing() {
            self.stale = Stale::all();
            self.read_at = Some(Instant::now());
        }
        if self.read_at.is_none_or(|at| at > Instant::now()) {
            return;
        }
        self.read_at = None;
        let stale = std::mem::take(&mut self.stale);
        let plan = self.inventory.as_ref().and_then(|inventory| inventory.plan(&stale));
        let reading = Inventory::read(self.shared.api.clone(), plan).boxed();
        self.reading = Some((stale, reading));
    }

    fn take(&mut self, (stale, news): (Stale, Result<News>)) {
        match news {
            Ok(news) => {
                self.failures = 0;
                let first = self.inventory.is_none();
                let changes = self.inventory.get_or_insert_with(Inventory::default).take(news);
                if first {
                    // That is what there is, not what has changed.
                    self.shared.set_phase(Phase::Events);
                } else if changes.is_empty() && !self.second_look && self.stale.is_nothing() {
                    self.stale = stale;
                    self.second_look = true;
                    self.read_at = Some(Instant::now() + SECOND_LOOK);
                } else {
                    changes.into_iter().for_each(|change| self.shared.tell(change));
                }
            }
            Err(error) => {
                tracing::debug!(%error, "what has changed cannot be read");
                self.stale.add(stale);
                let wait = FIRST_WAIT.saturating_mul(1 << self.failures.min(7)).min(LONGEST_WAIT);
                self.failures += 1;
                self.read_at = Some(Instant::now() + wait);
            }
        }
    }
}

/// That moment; never, where there is none.
async fn at(moment: Option<Instant>) {
    match moment {
        Some(moment) => sleep_until(moment).await,
        None => std::future::pending().await,
    }
}

/// The end of what is being read; never, where nothing is.
async fn read(reading: &mut Option<(Stale, BoxFuture<'static, Result<News>>)>) -> (Stale, Result<News>) {
    let Some((_, future)) = reading.as_mut() else { return std::future::pending().await };
    let news = future.await;
    let stale = reading.take().map(|(stale, _)| stale).unwrap_or_default();
    (stale, news)
}
