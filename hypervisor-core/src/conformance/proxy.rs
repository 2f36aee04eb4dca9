//! A proxy on loopback that breaks connections where a test wants them broken.

use std::collections::BTreeSet;
use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::harm::{Harm, Injury, Passed, Pending};
use crate::layer::Fault;

const PIECE: usize = 64 * 1024;
/// How long a server is waited for whose answer nobody hears.
const FINISH: Duration = Duration::from_secs(60);
const TOO_MANY: &[u8] =
    b"HTTP/1.1 429 Too Many Requests\r\nretry-after: 0\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
const UNAVAILABLE: &[u8] =
    b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: text/plain\r\ncontent-length: 11\r\nconnection: close\r\n\r\nunavailable";

/// Sits between a driver and a server that speaks plain HTTP/1.1, passes everything on, and does harm to the requests that it is told to.
/// It ends when it is dropped.
#[derive(Debug)]
pub struct FaultProxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    accepting: JoinHandle<Option<()>>,
    /// Whether connections are to be refused, and whether they are.
    refuse: watch::Sender<bool>,
    refuses: watch::Receiver<bool>,
}

/// Says of each request that writes, or reads, what is done to it.
type Dice = Box<dyn FnMut(bool) -> Option<Strike> + Send>;

struct Shared {
    upstream: SocketAddr,
    armed: Mutex<Option<Armed>>,
    dice: Mutex<Option<Dice>>,
    /// Requests of which the first bytes have come, by method.
    seen: Mutex<Vec<String>>,
    /// The numbers of the requests that were passed on and not answered yet.
    on_their_way: watch::Sender<BTreeSet<usize>>,
    passed: AtomicUsize,
    struck: AtomicUsize,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared")
            .field("upstream", &self.upstream)
            .field("struck", &self.struck)
            .finish_non_exhaustive()
    }
}

#[derive(Debug, Clone, Copy)]
struct Armed {
    fate: Strike,
    writes: bool,
    left: usize,
}

/// What is done to a request.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub enum Strike {
    /// This fault, before the request has been passed on or once it has been answered.
    Fault(Fault),
    /// This, at a chosen byte.
    Harm(Harm),
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl FaultProxy {
    /// A proxy before this server.
    ///
    /// # Errors
    /// Where no port can be had.
    pub async fn start(upstream: SocketAddr) -> std::io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            upstream,
            armed: Mutex::default(),
            dice: Mutex::default(),
            seen: Mutex::default(),
            on_their_way: watch::Sender::default(),
            passed: AtomicUsize::new(0),
            struck: AtomicUsize::new(0),
        });
        let ((refuse, wanted), (now, refuses)) = (watch::channel(false), watch::channel(false));
        let accepting = tokio::spawn(accept(listener, Arc::clone(&shared), wanted, now));
        Ok(Self { address, shared, accepting, refuse, refuses })
    }

    /// Refuses connections, after all that are open have been closed, or takes them again. Answers when that is so.
    pub async fn refuse(&self, refuse: bool) {
        self.refuse.send_replace(refuse);
        // An error means that the proxy has ended, which refuses as well.
        let _ = self.refuses.clone().wait_for(|now| *now == refuse).await;
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Does this to the next `times` requests that write (any method but `GET`), or that read.
    pub fn arm(&self, fault: Fault, writes: bool, times: usize) {
        self.set(Strike::Fault(fault), writes, times);
    }

    /// Does this at a chosen byte of the next `times` requests that write (any method but `GET`), or that read, or of their answers.
    pub fn harm(&self, harm: Harm, writes: bool, times: usize) {
        self.set(Strike::Harm(harm), writes, times);
    }

    fn set(&self, fate: Strike, writes: bool, left: usize) {
        *lock(&self.shared.armed) = (left > 0).then_some(Armed { fate, writes, left });
    }

    /// Asks of every request from now on for which nothing else was said, whether it is one that writes, what is done to it: for runs without end,
    /// with a share of the requests that does not depend on how fast they come.
    pub fn roll(&self, dice: impl FnMut(bool) -> Option<Strike> + Send + 'static) {
        *lock(&self.shared.dice) = Some(Box::new(dice));
    }

    /// Passes everything on again.
    pub fn disarm(&self) {
        *lock(&self.shared.armed) = None;
        *lock(&self.shared.dice) = None;
    }

    /// How many requests it has harmed.
    #[must_use]
    pub fn struck(&self) -> usize {
        self.shared.struck.load(Ordering::SeqCst)
    }

    /// The first lines of all requests so far, or since they were forgotten.
    #[must_use]
    pub fn requests(&self) -> Vec<String> {
        lock(&self.shared.seen).clone()
    }

    /// Answers once the server has answered, or broken off, all that has been passed on to it by now, also where the caller has given up: from
    /// then on nothing happens any more that was asked for before.
    pub async fn arrived(&self) {
        let now = self.shared.on_their_way.borrow().clone();
        // An error means that the proxy has ended.
        let _ = self.shared.on_their_way.subscribe().wait_for(|left| now.is_disjoint(left)).await;
    }

    /// Forgets the requests so far, for runs without end.
    pub fn forget_requests(&self) {
        lock(&self.shared.seen).clear();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A request that was passed on, until it is answered.
struct OnItsWay<'a>(&'a Shared, usize);

impl Drop for OnItsWay<'_> {
    fn drop(&mut self) {
        self.0.on_their_way.send_modify(|all| {
            all.remove(&self.1);
        });
    }
}

impl Shared {
    fn pass(&self) -> OnItsWay<'_> {
        let number = self.passed.fetch_add(1, Ordering::SeqCst);
        self.on_their_way.send_modify(|all| {
            all.insert(number);
        });
        OnItsWay(self, number)
    }

    /// Whether the request that begins with these bytes is to be harmed; counts it if they begin one.
    fn fate(&self, bytes: &[u8]) -> Option<Strike> {
        let line = bytes.split(|byte| *byte == b'\r').next().unwrap_or_default();
        let line = std::str::from_utf8(line).ok().filter(|line| line.contains(" HTTP/1."))?;
        lock(&self.seen).push(line.to_owned());
        let writes = !line.starts_with("GET ");
        let fate = self.armed(writes).or_else(|| lock(&self.dice).as_mut().and_then(|dice| dice(writes)))?;
        // Whether a message is long enough for harm is not known yet.
        if matches!(fate, Strike::Fault(_)) {
            self.count();
        }
        Some(fate)
    }

    fn armed(&self, writes: bool) -> Option<Strike> {
        let mut armed = lock(&self.armed);
        let now = armed.as_mut().filter(|armed| armed.writes == writes)?;
        now.left = now.left.saturating_sub(1);
        let (fate, done) = (now.fate, now.left == 0);
        if done {
            *armed = None;
        }
        Some(fate)
    }

    fn count(&self) {
        self.struck.fetch_add(1, Ordering::SeqCst);
    }
}

/// Takes connections, but for the times in which they are to be refused.
async fn accept(
    listener: TcpListener,
    shared: Arc<Shared>,
    mut refuse: watch::Receiver<bool>,
    refuses: watch::Sender<bool>,
) -> Option<()> {
    let address = listener.local_addr().ok()?;
    let mut listener = Some(listener);
    loop {
        {
            let listener = match listener.take() {
                Some(listener) => listener,
                None => TcpListener::bind(address).await.ok()?,
            };
            refuses.send_replace(false);
            // Dropped with this task, and every connection with it.
            let mut connections = tokio::task::JoinSet::new();
            loop {
                tokio::select! {
                    taken = listener.accept() => {
                        while connections.try_join_next().is_some() {}
                        connections.spawn(relay(taken.ok()?.0, Arc::clone(&shared)));
                    }
                    wanted = refuse.wait_for(|refuse| *refuse) => {
                        wanted.ok()?;
                        break;
                    }
                }
            }
            connections.shutdown().await;
        }
        refuses.send_replace(true);
        refuse.wait_for(|refuse| !*refuse).await.ok()?;
    }
}

/// Passes on until one side ends or a request is harmed. What is wrong with a connection ends it, and both sides see that.
async fn relay(mut client: TcpStream, shared: Arc<Shared>) -> Option<()> {
    let mut server = TcpStream::connect(shared.upstream).await.ok()?;
    // Head and body come in pieces; without this each second piece waits for an acknowledgement, 40 ms and more.
    client.set_nodelay(true).ok()?;
    server.set_nodelay(true).ok()?;
    let (mut from_client, mut from_server) = (vec![0; PIECE], vec![0; PIECE]);
    let mut pending: Option<Pending> = None;
    let mut on_its_way: Option<OnItsWay<'_>> = None;
    loop {
        tokio::select! {
            read = client.read(&mut from_client) => {
                let Some(piece) = from_client.get(..read.unwrap_or(0)).filter(|piece| !piece.is_empty()) else {
                    if on_its_way.is_some() {
                        finish(&mut server, &mut from_server).await;
                    }
                    return None;
                };
                on_its_way.get_or_insert_with(|| shared.pass());
                match shared.fate(piece) {
                    Some(Strike::Fault(fault)) => {
                        return fail(fault, piece, &mut client, &mut server, on_its_way).await;
                    }
                    Some(Strike::Harm(harm)) => pending = Some(Pending::new(harm)),
                    None => {}
                }
                if let Some(on_its_way) = pending.take_if(|pending| pending.harm.to_request) {
                    pending = harmed(on_its_way, piece, &client, &mut server, &shared).await?;
                } else {
                    server.write_all(piece).await.ok()?;
                }
            }
            read = server.read(&mut from_server) => {
                let piece = from_server.get(..read.ok()?).filter(|piece| !piece.is_empty())?;
                on_its_way = None;
                match pending.take() {
                    // The answer has begun: the request was too short to be harmed.
                    Some(on_its_way) if !on_its_way.harm.to_request => {
                        pending = harmed(on_its_way, piece, &server, &mut client, &shared).await?;
                    }
                    _ => client.write_all(piece).await.ok()?,
                }
            }
        }
    }
}

/// Tells the server that its caller has gone, and waits until it has answered or broken off.
async fn finish(server: &mut TcpStream, answer: &mut [u8]) {
    let _ = server.shutdown().await;
    let _ = tokio::time::timeout(FINISH, server.read(answer)).await;
}

/// Passes a piece on with the harm that is due; nothing where the connection ends by it.
async fn harmed(
    mut pending: Pending,
    piece: &[u8],
    from: &TcpStream,
    to: &mut TcpStream,
    shared: &Shared,
) -> Option<Option<Pending>> {
    let passed = pending.pass(piece, from, to).await?;
    if matches!(passed, Passed::Unharmed) {
        return Some(Some(pending));
    }
    shared.count();
    if matches!(passed, Passed::Ended) {
        return None;
    }
    if pending.harm.to_request && pending.harm.injury == Injury::Duplicate {
        let again = piece.get(pending.split..).unwrap_or_default();
        let mut second = TcpStream::connect(shared.upstream).await.ok()?;
        second.write_all(again).await.ok()?;
        // Whatever the server answers, nobody hears it; but it is let finish.
        let _heard = second.read(&mut vec![0; PIECE]).await;
    }
    Some(None)
}

/// Brings a fault about.
async fn fail(
    fault: Fault,
    piece: &[u8],
    client: &mut TcpStream,
    server: &mut TcpStream,
    on_its_way: Option<OnItsWay<'_>>,
) -> Option<()> {
    match fault {
        Fault::Refused | Fault::CutBefore => None,
        Fault::RateLimited => client.write_all(TOO_MANY).await.ok(),
        Fault::Unavailable => client.write_all(UNAVAILABLE).await.ok(),
        _ => {
            server.write_all(piece).await.ok()?;
            strike(fault, client, server, on_its_way).await
        }
    }
}

/// The request is on its way: waits for the answer, by which the server has acted, and does harm to it.
async fn strike(
    fault: Fault,
    client: &mut TcpStream,
    server: &mut TcpStream,
    on_its_way: Option<OnItsWay<'_>>,
) -> Option<()> {
    let mut answer = vec![0; PIECE];
    let mut more = vec![0; PIECE];
    let read = loop {
        // A body may follow the head of the request in a piece of its own.
        tokio::select! {
            read = server.read(&mut answer) => break read.ok()?,
            read = client.read(&mut more) => match more.get(..read.unwrap_or(0)).filter(|piece| !piece.is_empty()) {
                Some(piece) => server.write_all(piece).await.ok()?,
                None => {
                    finish(server, &mut answer).await;
                    return None;
                }
            },
        }
    };
    drop(on_its_way);
    match fault {
        Fault::Silent => std::future::pending().await,
        Fault::Truncated => {
            client.write_all(answer.get(..read.saturating_sub(3).max(1).min(read))?).await.ok()
        }
        _ => None,
    }
}
