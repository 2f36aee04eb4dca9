//! Events found by looking again.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures::StreamExt as _;
use futures::future::BoxFuture;
use tokio::sync::Mutex;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::broadcast::{self, Receiver, Sender, WeakSender};
use tokio::time::Instant;

use super::diff::Table;
use crate::error::{ErrorKind, Result};
use crate::model::{Event, EventKind, EventQuery, EventStream, Page, VmInfo};

/// How many events are kept for a reader that is slow.
const KEPT: usize = 4096;
/// After so many events the readers get a turn, so that one look which finds more than are kept costs those who keep up nothing.
const READ_TOGETHER: usize = 512;
/// A pause longer than this is none that anybody waits for.
const LONGEST: Duration = Duration::from_secs(30 * 86_400);

type Look = Box<dyn Fn() -> BoxFuture<'static, Result<Page<VmInfo>>> + Send + Sync>;
type Item = Result<Event>;

/// How often to look: soon again while something happens, ever less often while nothing does.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    shortest: Duration,
    longest: Duration,
}

impl Pace {
    /// The pause after a look that found something, and the longest that pauses grow to after looks that found nothing. A failed look counts
    /// as one of these.
    #[must_use]
    pub fn new(shortest: Duration, longest: Duration) -> Self {
        let shortest = shortest.clamp(Duration::from_millis(10), LONGEST);
        Self { shortest, longest: longest.clamp(shortest, LONGEST) }
    }
}

impl Default for Pace {
    /// 1 s, growing to 10 s.
    fn default() -> Self {
        Self::new(Duration::from_secs(1), Duration::from_secs(10))
    }
}

/// Events for a driver whose server has none. One look at all guests serves every reader; nobody looks while nobody reads. Clones share
/// the looks.
///
/// It tells of guests that are made, deleted, changed, moved and in another state. What begins and ends between two looks is not seen.
///
/// ```
/// use std::sync::Arc;
/// use futures::StreamExt as _;
/// use hypervisor_core::feed::{Pace, Poller};
/// use hypervisor_core::memory::Memory;
/// use hypervisor_core::model::{EventKind, EventQuery, PageRequest, VmQuery, VmSpec};
/// use hypervisor_core::Compute as _;
/// # tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap().block_on(async {
/// let memory = Arc::new(Memory::new());
/// let asked = Arc::clone(&memory);
/// let poller = Poller::new(Pace::default(), move || {
///     let asked = Arc::clone(&asked);
///     async move { asked.list_vms(&VmQuery::all(), &PageRequest::default()).await }
/// });
/// let mut events = poller.watch(&EventQuery::all()).await?;
/// let vm = memory.create_vm(&VmSpec::new("web-1")).await?.output;
/// assert_eq!(events.next().await.unwrap()?.kind, EventKind::VmCreated(vm));
/// # Ok::<(), hypervisor_core::Error>(()) }).unwrap();
/// ```
#[derive(Clone)]
pub struct Poller(Arc<Inner>);

struct Inner {
    look: Look,
    pace: Pace,
    /// Whoever reads; held while a reader joins and while the task that looks decides to end.
    readers: Mutex<Option<Running>>,
}

/// What readers have in common.
struct Running {
    sender: WeakSender<Item>,
    seen: Arc<Mutex<Seen>>,
}

/// The guests as they were seen last. Held during a look.
struct Seen {
    table: Table,
    /// When that look began.
    begun: Instant,
    /// Why looks have failed since.
    failed: Option<String>,
}

impl Seen {
    /// Takes a look over, and tells the readers what is different. Says whether nothing was.
    async fn take(&mut self, sender: &Sender<Item>, begun: Instant, page: Page<VmInfo>) -> bool {
        let mut events = self.table.update(page);
        self.begun = begun;
        if let Some(reason) = self.failed.take() {
            events.insert(0, EventKind::Resync { reason });
        }
        let quiet = events.is_empty();
        let mut untold = Untold { sender, events: events.into_iter() };
        while untold.tell(READ_TOGETHER) {
            tokio::task::yield_now().await;
        }
        quiet
    }
}

/// What a look has shown and nobody has been told of yet. The table has it already, so that no later look would show it again: a caller
/// who is gone before all is told leaves the rest to the readers at once.
struct Untold<'a> {
    sender: &'a Sender<Item>,
    events: std::vec::IntoIter<EventKind>,
}

impl Untold<'_> {
    /// Tells so many; whether there are more.
    fn tell(&mut self, most: usize) -> bool {
        for kind in self.events.by_ref().take(most) {
            // An error means that the last reader has just gone, which the next round sees.
            let _ = self.sender.send(Ok(Event::new(SystemTime::now(), kind)));
        }
        !self.events.as_slice().is_empty()
    }
}

impl Drop for Untold<'_> {
    fn drop(&mut self) {
        self.tell(usize::MAX);
    }
}

impl fmt::Debug for Poller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Poller").field("pace", &self.0.pace).finish_non_exhaustive()
    }
}

impl Poller {
    /// A poller that looks like this. `look` gives all guests, not a page of them, and has a deadline of its own.
    pub fn new<F, L>(pace: Pace, look: L) -> Self
    where
        F: Future<Output = Result<Page<VmInfo>>> + Send + 'static,
        L: Fn() -> F + Send + Sync + 'static,
    {
        let look: Look = Box::new(move || Box::pin(look()));
        Self(Arc::new(Inner { look, pace, readers: Mutex::new(None) }))
    }

    /// Events from now on: the call looks once, so that what is done after it is told whatever was seen before. Readers that join at the same
    /// time share that look. The looks end with the last stream.
    ///
    /// A look that fails is repeated, ever less often, and a `Resync` tells when one succeeds again. Only an error that looking again does not
    /// mend (credentials, permissions, configuration) ends the streams.
    ///
    /// # Errors
    /// Those of that look.
    pub async fn watch(&self, query: &EventQuery) -> Result<EventStream> {
        let asked = Instant::now();
        let mut readers = self.0.readers.lock().await;
        let running =
            readers.as_ref().and_then(|running| Some((running.sender.upgrade()?, Arc::clone(&running.seen))));
        if let Some((sender, seen)) = running {
            let mut seen = seen.lock().await;
            if seen.begun < asked {
                let begun = Instant::now();
                let page = (self.0.look)().await?;
                seen.take(&sender, begun, page).await;
            }
            return Ok(stream(sender.subscribe(), query.clone()));
        }
        let begun = Instant::now();
        let table = Table::new((self.0.look)().await?);
        let (sender, receiver) = broadcast::channel(KEPT);
        let seen = Arc::new(Mutex::new(Seen { table, begun, failed: None }));
        *readers = Some(Running { sender: sender.downgrade(), seen: Arc::clone(&seen) });
        tokio::spawn(follow(Arc::clone(&self.0), sender, seen));
        Ok(stream(receiver, query.clone()))
    }
}

/// Looks until nobody reads.
async fn follow(poller: Arc<Inner>, sender: Sender<Item>, seen: Arc<Mutex<Seen>>) {
    let mut pause = poller.pace.shortest;
    loop {
        tokio::select! {
            () = sender.closed() => {}
            () = tokio::time::sleep(jittered(pause)) => {}
        }
        {
            let mut readers = poller.readers.lock().await;
            if sender.receiver_count() == 0 {
                *readers = None;
                return;
            }
        }
        let mut held = seen.lock().await;
        let begun = Instant::now();
        let quiet = match (poller.look)().await {
            Ok(page) => held.take(&sender, begun, page).await,
            Err(error) if is_final(error.kind()) => {
                // A reader that joins holds the one and waits for the other.
                drop(held);
                *poller.readers.lock().await = None;
                let _ = sender.send(Err(error));
                return;
            }
            Err(error) => {
                let why = || format!("the server could not be asked for a time: {error}");
                held.failed.get_or_insert_with(why);
                true
            }
        };
        drop(held);
        let longer = pause.saturating_mul(3) / 2;
        pause = if quiet { longer.min(poller.pace.longest) } else { poller.pace.shortest };
    }
}

/// Many programs that look at one server must not do so at the same moment.
fn jittered(pause: Duration) -> Duration {
    pause.mul_f64(0.9 + 0.2 * fastrand::f64())
}

const fn is_final(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::Unauthenticated | ErrorKind::PermissionDenied | ErrorKind::Config | ErrorKind::Unsupported
    )
}

fn stream(receiver: Receiver<Item>, query: EventQuery) -> EventStream {
    let state = (Some(receiver), query);
    let events = futures::stream::unfold(state, |(receiver, query)| async move {
        let mut receiver = receiver?;
        loop {
            match receiver.recv().await {
                Ok(Ok(event)) if query.matches(&event) => return Some((Ok(event), (Some(receiver), query))),
                Ok(Ok(_)) => {}
                Ok(Err(error)) => return Some((Err(error), (None, query))),
                Err(RecvError::Lagged(missed)) => {
                    let event = Event::new(SystemTime::now(), EventKind::Lagged { missed });
                    return Some((Ok(event), (Some(receiver), query)));
                }
                Err(RecvError::Closed) => return None,
            }
        }
    });
    events.boxed()
}
