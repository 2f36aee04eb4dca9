//! A proxy before a libvirtd's socket. It reads the messages of libvirt's protocol and breaks the connections that carry them, where a test
//! wants them broken.
#![allow(dead_code, reason = "each test program uses its part")]
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinHandle;

/// The number of libvirt's main protocol, and of some of its calls.
const PROGRAM: u32 = 0x2000_8086;
pub(crate) const DOMAIN_CREATE: u32 = 9;
pub(crate) const DOMAIN_DEFINE_XML: u32 = 11;
pub(crate) const VOLUME_CREATE_XML: u32 = 93;
pub(crate) const DOMAIN_UNDEFINE_FLAGS: u32 = 231;
pub(crate) const ALL_DOMAIN_STATS: u32 = 344;
/// Kinds of message.
const CALL: u32 = 0;
const REPLY: u32 = 1;

/// What is done at the moment of the harm.
type Deed = Arc<dyn Fn() + Send + Sync>;

/// What is done to a call.
#[derive(Clone)]
pub(crate) enum Harm {
    /// Its connection is cut, and the daemon never sees it.
    CutBefore,
    /// Its connection is cut when the daemon has answered.
    CutAfter,
    /// The same in the middle of the answer.
    Truncate,
}

/// Which calls are harmed.
struct Rule {
    procedures: &'static [u32],
    harm: Harm,
    /// Every so many of them.
    every: usize,
    seen: usize,
    left: usize,
    /// Done at the moment of the harm.
    also: Option<Deed>,
}

#[derive(Default)]
struct Shared {
    rule: Mutex<Option<Rule>>,
    struck: AtomicUsize,
}

impl Shared {
    /// What is to be done to a call.
    fn harm(&self, procedure: u32) -> Option<(Harm, Option<Deed>)> {
        let mut rule = self.rule.lock().unwrap();
        let rule = rule.as_mut().filter(|rule| rule.left > 0 && rule.procedures.contains(&procedure))?;
        rule.seen += 1;
        if !rule.seen.is_multiple_of(rule.every) {
            return None;
        }
        rule.left -= 1;
        Some((rule.harm.clone(), rule.also.clone()))
    }

    fn strike(&self, also: Option<Deed>) {
        self.struck.fetch_add(1, Ordering::AcqRel);
        if let Some(also) = also {
            also();
        }
    }
}

/// It ends when it is dropped.
pub(crate) struct Proxy {
    socket: PathBuf,
    shared: Arc<Shared>,
    accepting: JoinHandle<()>,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
        drop(std::fs::remove_file(&self.socket));
    }
}

impl Proxy {
    /// Before the daemon that a URI with `socket=` leads to.
    pub(crate) fn before(uri: &str) -> Self {
        let upstream = uri.split("socket=").nth(1).and_then(|rest| rest.split('&').next()).unwrap();
        let upstream = PathBuf::from(upstream);
        // A short path: that of a socket may have a hundred characters or so.
        let number = uuid::Uuid::new_v4().simple().to_string();
        let socket = std::env::temp_dir().join(format!("hvp-{}", number.get(..8).unwrap()));
        let listener = UnixListener::bind(&socket).unwrap();
        let shared = Arc::<Shared>::default();
        let serving = Arc::clone(&shared);
        let accepting = tokio::spawn(async move {
            // Dropped with this task, and every connection with it.
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                while connections.try_join_next().is_some() {}
                connections.spawn(relay(client, upstream.clone(), Arc::clone(&serving)));
            }
        });
        Self { socket, shared, accepting }
    }

    /// What to connect to.
    pub(crate) fn uri(&self) -> String {
        format!("qemu+unix:///system?socket={}", self.socket.display())
    }

    /// Harms the next such call.
    pub(crate) fn arm(&self, harm: Harm, procedure: &'static [u32], also: impl Fn() + Send + Sync + 'static) {
        self.set(harm, procedure, 1, 1, Some(Arc::new(also)));
    }

    /// Harms every so many of such calls until it is disarmed.
    pub(crate) fn keep_on(&self, harm: Harm, procedures: &'static [u32], every: usize) {
        self.set(harm, procedures, every, usize::MAX, None);
    }

    fn set(&self, harm: Harm, procedures: &'static [u32], every: usize, left: usize, also: Option<Deed>) {
        *self.shared.rule.lock().unwrap() = Some(Rule { procedures, harm, every, seen: 0, left, also });
    }

    pub(crate) fn disarm(&self) {
        *self.shared.rule.lock().unwrap() = None;
    }

    /// How many calls have been harmed.
    pub(crate) fn struck(&self) -> usize {
        self.shared.struck.load(Ordering::Acquire)
    }
}

/// Calls whose answers are waited for, by connection and number.
type Watched = Mutex<HashMap<u32, (Harm, Option<Deed>)>>;

async fn relay(client: UnixStream, upstream: PathBuf, shared: Arc<Shared>) {
    let Ok(server) = UnixStream::connect(Path::new(&upstream)).await else { return };
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let watched = Watched::default();
    // Whichever ends first takes the other and both sockets with it.
    tokio::select! {
        () = calls(from_client, to_server, &shared, &watched) => {}
        () = answers(from_server, to_client, &shared, &watched) => {}
    }
}

/// A message: its length, then the program, its version, the procedure, the kind and the number of the call, each in four bytes.
struct Message(Vec<u8>);

impl Message {
    async fn read(from: &mut OwnedReadHalf) -> Option<Self> {
        let length = from.read_u32().await.ok()?;
        let mut whole = length.to_be_bytes().to_vec();
        whole.resize(usize::try_from(length).ok()?.max(4), 0);
        from.read_exact(whole.get_mut(4..)?).await.ok()?;
        Some(Self(whole))
    }

    fn word(&self, index: usize) -> u32 {
        let bytes = self.0.get(index * 4..index * 4 + 4).and_then(|bytes| bytes.try_into().ok());
        bytes.map(u32::from_be_bytes).unwrap_or_default()
    }

    fn is(&self, kind: u32) -> bool {
        self.word(1) == PROGRAM && self.word(4) == kind
    }

    fn procedure(&self) -> u32 {
        self.word(3)
    }

    fn number(&self) -> u32 {
        self.word(5)
    }
}

async fn calls(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, shared: &Shared, watched: &Watched) {
    while let Some(message) = Message::read(&mut from).await {
        match shared.harm(message.procedure()).filter(|_| message.is(CALL)) {
            Some((Harm::CutBefore, also)) => return shared.strike(also),
            Some(harm) => drop(watched.lock().unwrap().insert(message.number(), harm)),
            None => {}
        }
        if to.write_all(&message.0).await.is_err() {
            return;
        }
    }
}

async fn answers(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, shared: &Shared, watched: &Watched) {
    while let Some(message) = Message::read(&mut from).await {
        let harm = message.is(REPLY).then(|| watched.lock().unwrap().remove(&message.number())).flatten();
        if let Some((harm, also)) = harm {
            if matches!(harm, Harm::Truncate) {
                drop(to.write_all(message.0.get(..message.0.len() / 2).unwrap_or_default()).await);
            }
            return shared.strike(also);
        }
        if to.write_all(&message.0).await.is_err() {
            return;
        }
    }
}
