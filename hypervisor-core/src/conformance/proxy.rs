//! A proxy on loopback that breaks connections where a test wants them broken.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use crate::layer::Fault;

const PIECE: usize = 64 * 1024;
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
    accepting: JoinHandle<()>,
}

#[derive(Debug)]
struct Shared {
    upstream: SocketAddr,
    armed: Mutex<Option<Armed>>,
    /// Requests of which the first bytes have come, by method.
    seen: Mutex<Vec<String>>,
    struck: AtomicUsize,
}

#[derive(Debug, Clone, Copy)]
struct Armed {
    fault: Fault,
    writes: bool,
    left: usize,
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
            seen: Mutex::default(),
            struck: AtomicUsize::new(0),
        });
        let serving = Arc::clone(&shared);
        let accepting = tokio::spawn(async move {
            // Dropped with this task, and every connection with it.
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                while connections.try_join_next().is_some() {}
                connections.spawn(relay(client, Arc::clone(&serving)));
            }
        });
        Ok(Self { address, shared, accepting })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Does this to the next `times` requests that write (any method but `GET`), or that read.
    pub fn arm(&self, fault: Fault, writes: bool, times: usize) {
        *lock(&self.shared.armed) = (times > 0).then_some(Armed { fault, writes, left: times });
    }

    /// Passes everything on again.
    pub fn disarm(&self) {
        *lock(&self.shared.armed) = None;
    }

    /// How many requests it has harmed.
    #[must_use]
    pub fn struck(&self) -> usize {
        self.shared.struck.load(Ordering::SeqCst)
    }

    /// The first lines of all requests so far.
    #[must_use]
    pub fn requests(&self) -> Vec<String> {
        lock(&self.shared.seen).clone()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    /// Whether the request that begins with these bytes is to be harmed; counts it if they begin one.
    fn fate(&self, bytes: &[u8]) -> Option<Fault> {
        let line = bytes.split(|byte| *byte == b'\r').next().unwrap_or_default();
        let line = std::str::from_utf8(line).ok().filter(|line| line.contains(" HTTP/1."))?;
        lock(&self.seen).push(line.to_owned());
        let mut armed = lock(&self.armed);
        let now = armed.as_mut().filter(|armed| armed.writes != line.starts_with("GET "))?;
        now.left = now.left.saturating_sub(1);
        let (fault, done) = (now.fault, now.left == 0);
        if done {
            *armed = None;
        }
        self.struck.fetch_add(1, Ordering::SeqCst);
        Some(fault)
    }
}

/// Passes on until one side ends or a request is harmed. What is wrong with a connection ends it, and both sides see that.
async fn relay(mut client: TcpStream, shared: Arc<Shared>) -> Option<()> {
    let mut server = TcpStream::connect(shared.upstream).await.ok()?;
    let (mut from_client, mut from_server) = (vec![0; PIECE], vec![0; PIECE]);
    loop {
        tokio::select! {
            read = client.read(&mut from_client) => {
                let piece = from_client.get(..read.ok()?).filter(|piece| !piece.is_empty())?;
                let fate = shared.fate(piece);
                match fate {
                    Some(Fault::Refused | Fault::CutBefore) => return None,
                    Some(Fault::RateLimited) => return client.write_all(TOO_MANY).await.ok(),
                    Some(Fault::Unavailable) => return client.write_all(UNAVAILABLE).await.ok(),
                    _ => server.write_all(piece).await.ok()?,
                }
                if let Some(fault) = fate {
                    return strike(fault, &mut client, &mut server).await;
                }
            }
            read = server.read(&mut from_server) => {
                let piece = from_server.get(..read.ok()?).filter(|piece| !piece.is_empty())?;
                client.write_all(piece).await.ok()?;
            }
        }
    }
}

/// The request is on its way: waits for the answer, by which the server has acted, and does harm to it.
async fn strike(fault: Fault, client: &mut TcpStream, server: &mut TcpStream) -> Option<()> {
    let mut answer = vec![0; PIECE];
    let mut more = vec![0; PIECE];
    let read = loop {
        // A body may follow the head of the request in a piece of its own.
        tokio::select! {
            read = server.read(&mut answer) => break read.ok()?,
            read = client.read(&mut more) => server.write_all(more.get(..read.ok().filter(|read| *read > 0)?)?).await.ok()?,
        }
    };
    match fault {
        Fault::Silent => std::future::pending().await,
        Fault::Truncated => {
            client.write_all(answer.get(..read.saturating_sub(3).max(1).min(read))?).await.ok()
        }
        _ => None,
    }
}
