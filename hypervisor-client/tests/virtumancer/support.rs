//! Servers that answer with what a test gives them.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use hypervisor_client::ClientConfig;
use hypervisor_client::dialect::virtumancer::{Generation, Virtumancer};
use hypervisor_client::fake::virtumancer::VirtumancerFake;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

pub(crate) async fn connect(fake: &VirtumancerFake) -> Virtumancer {
    Virtumancer::connect(ClientConfig::new(&fake.url()).unwrap()).await.unwrap()
}

/// A request as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Came {
    pub(crate) line: String,
    pub(crate) body: String,
}

/// A server whose every answer is made by hand, down to the bytes.
pub(crate) struct Scripted {
    pub(crate) address: SocketAddr,
    came: Arc<Mutex<Vec<Came>>>,
}

impl Scripted {
    /// `answer` gets `METHOD /path?query` and gives the raw bytes of the answer; the connection is closed after them. WebSockets
    /// are opened and say nothing.
    pub(crate) async fn start(answer: impl Fn(&str) -> Vec<u8> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let came = Arc::new(Mutex::new(Vec::new()));
        let answer = Arc::new(answer);
        let log = Arc::clone(&came);
        tokio::spawn(async move {
            while let Ok((mut socket, _)) = listener.accept().await {
                let (answer, log) = (Arc::clone(&answer), Arc::clone(&log));
                tokio::spawn(async move {
                    let mut read = Vec::new();
                    let (head, length) = loop {
                        let mut piece = [0; 4096];
                        let count = socket.read(&mut piece).await.unwrap_or(0);
                        if count == 0 {
                            return;
                        }
                        read.extend_from_slice(&piece[..count]);
                        let text = String::from_utf8_lossy(&read).into_owned();
                        if let Some((head, body)) = text.split_once("\r\n\r\n") {
                            let length = head
                                .lines()
                                .find_map(|line| {
                                    line.to_ascii_lowercase()
                                        .strip_prefix("content-length:")?
                                        .trim()
                                        .parse()
                                        .ok()
                                })
                                .unwrap_or(0);
                            if body.len() >= length {
                                break (text, length);
                            }
                        }
                    };
                    let (head, body) = head.split_once("\r\n\r\n").unwrap();
                    let key = head.lines().find_map(|line| {
                        let (name, value) = line.split_once(": ")?;
                        name.eq_ignore_ascii_case("sec-websocket-key").then(|| value.to_owned())
                    });
                    let line = head.lines().next().unwrap().trim_end_matches(" HTTP/1.1").to_owned();
                    log.lock().unwrap().push(Came { line: line.clone(), body: body[..length].to_owned() });
                    if let Some(key) = key {
                        // It shakes hands, and is never heard again.
                        let accept =
                            tokio_tungstenite::tungstenite::handshake::derive_accept_key(key.as_bytes());
                        let hello = format!(
                            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n\r\n"
                        );
                        socket.write_all(hello.as_bytes()).await.ok();
                        while socket.read(&mut [0; 4096]).await.is_ok_and(|count| count > 0) {}
                        return;
                    }
                    socket.write_all(&answer(&line)).await.ok();
                    socket.shutdown().await.ok();
                });
            }
        });
        Self { address, came }
    }

    pub(crate) fn url(&self) -> String {
        format!("http+virtumancer://{}", self.address)
    }

    pub(crate) async fn connect(&self) -> Virtumancer {
        Virtumancer::connect(ClientConfig::new(&self.url()).unwrap()).await.unwrap()
    }

    /// What came since the connection was made.
    pub(crate) fn came(&self) -> Vec<Came> {
        std::mem::take(&mut *self.came.lock().unwrap())
    }

    /// The only request that came.
    pub(crate) fn only(&self) -> Came {
        let came = self.came();
        assert_eq!(came.len(), 1, "{came:?}");
        came.into_iter().next().unwrap()
    }
}

/// An answer with this status, type and body.
pub(crate) fn answer(status: u16, kind: &str, body: &str) -> Vec<u8> {
    let kind = if kind.is_empty() { String::new() } else { format!("Content-Type: {kind}\r\n") };
    format!("HTTP/1.1 {status} X\r\n{kind}Content-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len())
        .into_bytes()
}

pub(crate) fn json(body: &str) -> Vec<u8> {
    answer(200, "application/json", body)
}

/// 204, which has neither a body nor a length.
pub(crate) fn done() -> Vec<u8> {
    b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n".to_vec()
}

pub(crate) fn no_page() -> Vec<u8> {
    answer(404, "text/plain; charset=utf-8", "404 page not found\n")
}

/// A server of this generation that answers the probe, and everything else as the closure does.
pub(crate) async fn server(
    generation: Generation,
    rest: impl Fn(&str) -> Option<Vec<u8>> + Send + Sync + 'static,
) -> (Scripted, Virtumancer) {
    let scripted = Scripted::start(move |line| {
        if let Some(answer) = rest(line) {
            return answer;
        }
        match (generation, line) {
            (Generation::Documented, "GET /api/hosts") => json("[]"),
            (Generation::Early | Generation::Current, "GET /api/v1/health") => json("{\"ok\":true}\n"),
            (Generation::Current, "GET /api/v1/settings/metrics/runtime") => {
                json("{\"cpuDisplayDefault\":\"host\"}")
            }
            _ => no_page(),
        }
    })
    .await;
    let virtumancer = scripted.connect().await;
    assert_eq!(virtumancer.generation(), generation);
    scripted.came();
    (scripted, virtumancer)
}
