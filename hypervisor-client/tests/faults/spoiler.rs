//! A proxy before a fake that puts answers of its own in place of the server's.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// What comes in place of the server's answer.
#[derive(Debug, Clone)]
pub(crate) enum Spoilt {
    /// These bytes, and the end of the connection.
    Bytes(Vec<u8>),
    /// These bytes, and then a reset.
    Reset(Vec<u8>),
    /// A head that promises much, and then a byte now and then.
    Drip,
    /// A body of this many bytes, as fast as it is taken in, with its length said or in chunks.
    Flood { bytes: usize, chunked: bool },
    /// A redirect to the same place, for ever.
    Circle,
}

struct Shared {
    upstream: SocketAddr,
    spoilt: Mutex<Option<(bool, String, Spoilt)>>,
    written: AtomicUsize,
    struck: AtomicUsize,
    over: AtomicBool,
}

/// Ends when it is dropped.
pub(crate) struct Spoiler {
    pub(crate) address: SocketAddr,
    shared: Arc<Shared>,
    accepting: JoinHandle<()>,
}

impl Drop for Spoiler {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl Spoiler {
    pub(crate) async fn start(upstream: SocketAddr) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            upstream,
            spoilt: Mutex::default(),
            written: AtomicUsize::new(0),
            struck: AtomicUsize::new(0),
            over: AtomicBool::new(false),
        });
        let serving = Arc::clone(&shared);
        let accepting = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                connections.spawn(relay(client, Arc::clone(&serving)));
            }
        });
        Self { address, shared, accepting }
    }

    /// From now on all requests that write (any method but `GET`), or all that read, with this in their first line, get this.
    pub(crate) fn spoil(&self, writes: bool, part: &str, spoilt: Spoilt) {
        *self.shared.spoilt.lock().unwrap() = Some((writes, part.to_owned(), spoilt));
    }

    /// How many bytes of a flood were taken in.
    pub(crate) fn written(&self) -> usize {
        self.shared.written.load(Ordering::SeqCst)
    }

    /// How many requests were spoilt.
    pub(crate) fn struck(&self) -> usize {
        self.shared.struck.load(Ordering::SeqCst)
    }

    /// Whether a connection that was flooded or dripped on has been left by the driver.
    pub(crate) fn is_over(&self) -> bool {
        self.shared.over.load(Ordering::SeqCst)
    }
}

/// One request, and the answer of the server or our own.
async fn relay(mut client: TcpStream, shared: Arc<Shared>) -> Option<()> {
    let request = request(&mut client).await?;
    let line = String::from_utf8_lossy(&request).lines().next()?.to_owned();
    let spoilt = shared.spoilt.lock().unwrap().clone();
    let meant = |(writes, part, _): &(bool, String, Spoilt)| {
        *writes != line.starts_with("GET ") && line.contains(part)
    };
    if let Some((.., spoilt)) = spoilt.filter(meant) {
        shared.struck.fetch_add(1, Ordering::SeqCst);
        return spoil(&mut client, &shared, &line, spoilt).await;
    }
    // A connection of its own for each request, which the server is asked to close.
    let mut server = TcpStream::connect(shared.upstream).await.ok()?;
    let text = String::from_utf8_lossy(&request).replacen("\r\n", "\r\nconnection: close\r\n", 1);
    server.write_all(text.as_bytes()).await.ok()?;
    let mut answer = Vec::new();
    server.read_to_end(&mut answer).await.ok()?;
    client.write_all(&answer).await.ok()?;
    client.shutdown().await.ok()
}

/// A whole request; what is longer than its length says is none of ours.
async fn request(client: &mut TcpStream) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut piece = vec![0; 64 * 1024];
    loop {
        let read = client.read(&mut piece).await.ok().filter(|read| *read > 0)?;
        bytes.extend_from_slice(piece.get(..read)?);
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
        });
        if body.len() >= length.unwrap_or(0) {
            return Some(bytes);
        }
    }
}

const HEAD: &str = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n";

async fn spoil(client: &mut TcpStream, shared: &Shared, line: &str, spoilt: Spoilt) -> Option<()> {
    match spoilt {
        Spoilt::Bytes(bytes) => {
            client.write_all(&bytes).await.ok()?;
            client.shutdown().await.ok()
        }
        Spoilt::Reset(bytes) => {
            client.write_all(&bytes).await.ok()?;
            // What was written has to be read before it is thrown away with the connection.
            tokio::time::sleep(Duration::from_millis(50)).await;
            client.set_zero_linger().ok()
        }
        Spoilt::Drip => {
            client.write_all(format!("{HEAD}Content-Length: 1000000\r\n\r\n").as_bytes()).await.ok()?;
            while client.write_all(b" ").await.is_ok() {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            shared.over.store(true, Ordering::SeqCst);
            None
        }
        Spoilt::Flood { bytes, chunked } => {
            let length = if chunked {
                "Transfer-Encoding: chunked".to_owned()
            } else {
                format!("Content-Length: {bytes}")
            };
            client.write_all(format!("{HEAD}{length}\r\n\r\n").as_bytes()).await.ok()?;
            let piece = vec![b' '; 64 * 1024];
            for _ in 0..bytes / piece.len() {
                let taken = async {
                    if chunked {
                        client.write_all(format!("{:x}\r\n", piece.len()).as_bytes()).await?;
                    }
                    client.write_all(&piece).await?;
                    if chunked { client.write_all(b"\r\n").await } else { Ok(()) }
                };
                if taken.await.is_err() {
                    shared.over.store(true, Ordering::SeqCst);
                    return None;
                }
                shared.written.fetch_add(piece.len(), Ordering::SeqCst);
            }
            None
        }
        Spoilt::Circle => {
            let target = line.split(' ').nth(1)?;
            let head = format!(
                "HTTP/1.1 307 Temporary Redirect\r\nLocation: {target}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
            );
            client.write_all(head.as_bytes()).await.ok()?;
            client.shutdown().await.ok()
        }
    }
}
