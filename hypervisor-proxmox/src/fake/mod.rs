//! A Proxmox VE server for tests: stateful, on loopback, and as strict as the real one.
//!
//! It answers the calls that the driver makes in the form in which a real Proxmox VE 9.1 was recorded: status, reason
//! phrase and body. It refuses what the real one refuses: parameters that are not in the table of
//! [`wire::params`](crate::wire::params), bodies on `DELETE`, chunked bodies, writes by ticket without CSRF token, what the
//! caller has no privilege for. Tasks take time, hold locks, log, warn, fail and can be stopped; hosts can be taken away.
//!
//! ```
//! use hypervisor_proxmox::fake::{FakeGuest, FakePve};
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> std::io::Result<()> {
//! let pve = FakePve::builder().hosts(2).vm(FakeGuest::vm(100).name("web-1").running()).start().await?;
//! // Point a client at `pve.url()`, with `pve.token()`.
//! assert!(pve.url().starts_with("http://127.0.0.1:"));
//! pve.faults().on("POST", "/nodes/*/qemu/*/status/start").drop_after();
//! assert_eq!(pve.guest(100).unwrap().host, "pve1");
//! assert_eq!(pve.count("GET", "/cluster/resources"), 0);
//! # Ok(()) }
//! ```
//!
//! Where one answer is all that a test is about, [`Exchange`] says what one call answers, and [`SingleServer`] is a server of such.
//!
//! What it does not do: Ceph, replication, backup servers, quotas, and the figures of hosts and guests,
//! which are made up; of high availability it knows only that it does later what is asked of it. A node of the fake holds 401 back for no time unless asked to
//! ([`FakePveBuilder::refusal_delay`]), and keeps connections open where a real one closes them after calls that
//! another daemon carries out.

mod access;
mod access_routes;
mod agent;
mod backup;
mod builder;
mod bulk;
mod call;
mod clock;
mod clone;
mod cluster;
mod cluster_routes;
mod config;
mod console;
mod disks;
mod exchange;
mod faults;
mod firewall;
mod guest;
mod guests;
mod journal;
mod metrics;
mod migrate;
mod network;
mod pools;
mod power;
mod reply;
mod route;
mod sdn;
mod server;
mod snapshots;
mod storage;
mod task_routes;
mod tasks;
mod upload;
mod view;

pub use builder::{FakeGuest, FakePveBuilder};
pub use exchange::{Exchange, SingleServer};
pub use faults::{Fault, Faults, TaskFault};
pub use journal::Seen;
pub use view::{GuestView, TaskView};

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

use server::Shared;

/// A cluster that runs until it is dropped.
///
/// Each host has a port of its own, so that a client that knows several finds another one when a host is taken away.
#[derive(Debug)]
pub struct FakePve {
    shared: Arc<Shared>,
    scheme: &'static str,
    /// Host, port and the task that takes its connections.
    listeners: tokio::sync::Mutex<BTreeMap<String, JoinHandle<()>>>,
    ports: Vec<(String, u16)>,
    tls: Option<Tls>,
}

/// What a client needs to trust the fake.
#[derive(Clone)]
struct Tls {
    acceptor: TlsAcceptor,
    ca: String,
    fingerprint: String,
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tls").field("fingerprint", &self.fingerprint).finish_non_exhaustive()
    }
}

/// The secret of the token that every fake has.
const TOKEN_SECRET: &str = "7b2f1c9e-0d6a-4c55-9f1e-3a5d0c8e4b21";

impl FakePve {
    pub(crate) const SECRET: &'static str = TOKEN_SECRET;

    /// One host, `pve1`, with the storages `local`, `local-lvm` and `shared`, the bridge `vmbr0`, and no guests.
    ///
    /// # Errors
    /// The system's error where no port can be opened.
    pub async fn start() -> std::io::Result<Self> {
        Self::builder().start().await
    }

    /// A fake with settings of its own.
    pub fn builder() -> FakePveBuilder {
        FakePveBuilder::new()
    }

    /// The address of the first host, as `http://127.0.0.1:port` (`https` where the builder was asked for TLS).
    #[must_use]
    pub fn url(&self) -> String {
        self.urls().into_iter().next().unwrap_or_default()
    }

    /// The URL that a program connects by, with that token and, where the fake speaks TLS, with its fingerprint:
    /// `hypervisor::connect(&fake.connection_url())`.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap().block_on(async {
    /// use hypervisor_core::Compute as _;
    /// use hypervisor_proxmox::fake::FakePve;
    /// use hypervisor_proxmox::{Proxmox, ProxmoxConfig};
    /// for fake in [FakePve::start().await?, FakePve::builder().tls().start().await?] {
    ///     let proxmox = Proxmox::connect(ProxmoxConfig::new(&fake.connection_url())?).await?;
    ///     assert!(proxmox.list_vms(&Default::default(), &Default::default()).await?.items.is_empty());
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
    /// ```
    #[must_use]
    pub fn connection_url(&self) -> String {
        let (transport, trust) = match self.fingerprint() {
            Some(fingerprint) => ("proxmox", format!("fingerprint={}", fingerprint.replace(':', ""))),
            None => ("proxmox+http", "allow_plain_http_credentials=1".to_owned()),
        };
        format!("{transport}://{}:{TOKEN_SECRET}@{}?{trust}", self.token_id(), self.authority())
    }

    /// The addresses of all hosts.
    #[must_use]
    pub fn urls(&self) -> Vec<String> {
        self.ports.iter().map(|(_, port)| format!("{}://127.0.0.1:{port}", self.scheme)).collect()
    }

    /// The host's address and port: `127.0.0.1:40001`.
    #[must_use]
    pub fn authority(&self) -> String {
        self.ports.first().map(|(_, port)| format!("127.0.0.1:{port}")).unwrap_or_default()
    }

    /// The id of a token with all privileges: `root@pam!test`.
    #[must_use]
    pub fn token_id(&self) -> &'static str {
        "root@pam!test"
    }

    /// That token's secret.
    #[must_use]
    pub fn token_secret(&self) -> &'static str {
        TOKEN_SECRET
    }

    /// That token as it stands in `Authorization: PVEAPIToken=…`.
    #[must_use]
    pub fn token(&self) -> String {
        format!("{}={TOKEN_SECRET}", self.token_id())
    }

    /// The password of `root@pam`.
    #[must_use]
    pub fn password(&self) -> &'static str {
        "hunter2-of-root"
    }

    /// The certificate of the authority that signed the hosts' certificates, where the fake speaks TLS.
    #[must_use]
    pub fn ca_pem(&self) -> Option<&str> {
        self.tls.as_ref().map(|tls| tls.ca.as_str())
    }

    /// The SHA-256 of the hosts' certificate (`AB:CD:…`), where the fake speaks TLS.
    #[must_use]
    pub fn fingerprint(&self) -> Option<&str> {
        self.tls.as_ref().map(|tls| tls.fingerprint.as_str())
    }

    /// What goes wrong on request.
    #[must_use]
    pub fn faults(&self) -> &Faults {
        &self.shared.faults
    }

    /// All requests so far, in the order in which they came in. Logins are among them.
    #[must_use]
    pub fn requests(&self) -> Vec<Seen> {
        self.shared.journal.all()
    }

    /// How many requests have had this method and path. `*` stands for one part of the path, `**` for the rest of it.
    #[must_use]
    pub fn count(&self, method: &str, path: &str) -> usize {
        let fits =
            |seen: &Seen| (method == "*" || seen.method == method) && faults::matches_path(path, &seen.path);
        self.requests().iter().filter(|seen| fits(seen)).count()
    }

    /// Forgets the requests so far.
    pub fn clear_requests(&self) {
        self.shared.journal.clear();
    }

    /// Takes a host away: its port refuses connections, and calls to it through other hosts end in
    /// `595 No route to host`. Its guests go on existing; the cluster knows them as `unknown`.
    pub async fn take_offline(&self, host: &str) {
        self.set_away(host, Some((595, "No route to host".to_owned())));
        if let Some(task) = self.listeners.lock().await.remove(host) {
            task.abort();
            let _ = task.await;
        }
    }

    /// As [`take_offline`](Self::take_offline), with the pseudo status that calls through other hosts end in (595, 596 or
    /// 599), and without closing the port.
    pub fn break_proxy(&self, host: &str, status: u16, text: &str) {
        self.set_away(host, Some((status, text.to_owned())));
    }

    /// Brings a host back, on the port that it had.
    ///
    /// # Errors
    /// The system's error where the port cannot be opened again.
    pub async fn bring_online(&self, host: &str) -> std::io::Result<()> {
        self.set_away(host, None);
        let mut listeners = self.listeners.lock().await;
        if listeners.contains_key(host) {
            return Ok(());
        }
        if let Some((_, port)) = self.ports.iter().find(|(name, _)| name == host) {
            let listener = tokio::net::TcpListener::bind(("127.0.0.1", *port)).await?;
            listeners.insert(host.to_owned(), self.listen(listener, host));
        }
        Ok(())
    }

    fn listen(&self, listener: tokio::net::TcpListener, host: &str) -> JoinHandle<()> {
        let acceptor = self.tls.as_ref().map(|tls| tls.acceptor.clone());
        tokio::spawn(server::serve(listener, Arc::clone(&self.shared), host.to_owned(), acceptor))
    }

    fn set_away(&self, host: &str, away: Option<(u16, String)>) {
        self.shared.with(|cluster| {
            if let Some(host) = cluster.host_mut(host) {
                host.away = away;
            }
        });
    }
}

impl Drop for FakePve {
    fn drop(&mut self) {
        for task in self.listeners.get_mut().values() {
            task.abort();
        }
    }
}
