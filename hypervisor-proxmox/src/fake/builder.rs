//! How a fake is set up.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::{self, ServerConfig};

use super::access::{self, Access, Acl, Token, User};
use super::clock::Clock;
use super::cluster::{Cluster, Host, Options, Pool};
use super::console::Consoles;
use super::faults::Faults;
use super::guest::{Guest, Kind, Power};
use super::server::Shared;
use super::storage::{Storage, Volume};
use super::tasks::Tasks;
use super::{FakePve, Tls, call, config, power};

/// A guest that is there from the start.
///
/// ```
/// use hypervisor_proxmox::fake::FakeGuest;
/// let guest = FakeGuest::vm(100).name("db-1").host("pve2").set("cores", "4").set("scsi0", "local-lvm:32").running();
/// # let _ = guest;
/// ```
#[derive(Debug, Clone)]
pub struct FakeGuest {
    vmid: u32,
    kind: Kind,
    host: Option<String>,
    settings: Vec<(String, String)>,
    power: Power,
    template: bool,
    obeys: bool,
    managed: bool,
    agent: bool,
    pool: Option<String>,
    lock: Option<String>,
}

impl FakeGuest {
    fn new(vmid: u32, kind: Kind) -> Self {
        Self {
            vmid,
            kind,
            host: None,
            settings: Vec::new(),
            power: Power::Stopped,
            template: false,
            obeys: true,
            managed: false,
            agent: true,
            pool: None,
            lock: None,
        }
    }

    /// A machine that is off, with 512 MiB and nothing else.
    #[must_use]
    pub fn vm(vmid: u32) -> Self {
        Self::new(vmid, Kind::Qemu)
    }

    /// A container that is off, with a root file system of 4 GiB.
    #[must_use]
    pub fn container(vmid: u32) -> Self {
        Self::new(vmid, Kind::Lxc).set("rootfs", "local:4")
    }

    /// Its name.
    #[must_use]
    pub fn name(self, name: &str) -> Self {
        let key = self.kind.name_key();
        self.set(key, name)
    }

    /// The host that it is on; the first one otherwise.
    #[must_use]
    pub fn host(mut self, host: &str) -> Self {
        self.host = Some(host.to_owned());
        self
    }

    /// A setting as a create takes it: `("scsi0", "local:32,format=qcow2")` makes a volume.
    #[must_use]
    pub fn set(mut self, key: &str, value: &str) -> Self {
        self.settings.retain(|(known, _)| known != key);
        self.settings.push((key.to_owned(), value.to_owned()));
        self
    }

    /// It runs.
    #[must_use]
    pub fn running(mut self) -> Self {
        self.power = Power::Running;
        self
    }

    /// It is paused.
    #[must_use]
    pub fn paused(mut self) -> Self {
        self.power = Power::Paused;
        self
    }

    /// It is a template.
    #[must_use]
    pub fn template(mut self) -> Self {
        self.template = true;
        self
    }

    /// It does not do what the power button asks for.
    #[must_use]
    pub fn deaf(mut self) -> Self {
        self.obeys = false;
        self
    }

    /// High availability starts and stops it: what is asked of it is only handed on, and done later.
    #[must_use]
    pub fn managed(mut self) -> Self {
        self.managed = true;
        self
    }

    /// No agent answers in it, even where the setting `agent` says so.
    #[must_use]
    pub fn without_agent(mut self) -> Self {
        self.agent = false;
        self
    }

    /// It is in this pool.
    #[must_use]
    pub fn pool(mut self, pool: &str) -> Self {
        self.pool = Some(pool.to_owned());
        self
    }

    /// It is locked.
    #[must_use]
    pub fn locked(mut self, lock: &str) -> Self {
        self.lock = Some(lock.to_owned());
        self
    }

    fn settle(self, cluster: &mut Cluster) {
        let first = cluster.hosts.first().map(|host| host.name.clone()).unwrap_or_default();
        let vmid = self.vmid;
        let mut guest = Guest::new(vmid, self.kind, &self.host.unwrap_or(first));
        guest.obeys = self.obeys;
        guest.managed = self.managed;
        guest.agent.installed = self.agent;
        cluster.guests.insert(vmid, guest);
        let mut params = call::Params::default();
        for (key, value) in &self.settings {
            params.set(key, value);
        }
        let root = call::Who { user: "root@pam".to_owned(), token: None };
        // A setting that cannot be is left out: the test will miss it.
        let _ = config::change(cluster, &root, vmid, &params);
        config::complete(cluster, vmid);
        if let Some(pool) = self.pool {
            cluster.pools.entry(pool).or_default().guests.insert(vmid);
        }
        if self.template {
            let path = format!("/nodes/x/{}/{vmid}/template", self.kind.path());
            let host = cluster.guests.get(&vmid).map(|guest| guest.host.clone()).unwrap_or_default();
            let call = call::Call {
                method: "POST".to_owned(),
                path,
                who: root,
                entry: host.clone(),
                params: call::Params::default(),
                upload: None,
            };
            if let Ok(super::reply::Answer::Data(serde_json::Value::String(upid))) =
                super::clone::template(cluster, &call, (self.kind, &host, vmid))
            {
                cluster.finish_now(&upid);
                cluster.tasks.all.remove(&upid);
            }
        }
        if self.power != Power::Stopped {
            let _ = power::switch_on(cluster, vmid);
        }
        if let Some(guest) = cluster.guests.get_mut(&vmid) {
            guest.power = self.power;
            if let Some(lock) = self.lock {
                guest.set("lock", lock);
            }
        }
    }
}

/// How a fake is set up. See [`FakePve::builder`].
#[derive(Debug)]
#[must_use = "nothing runs until it is started"]
pub struct FakePveBuilder {
    hosts: Vec<String>,
    options: Options,
    guests: Vec<FakeGuest>,
    many: u32,
    storages: Vec<(String, Storage)>,
    files: Vec<(String, Volume)>,
    pools: BTreeMap<String, Pool>,
    users: BTreeMap<String, User>,
    acl: Vec<Acl>,
    roles: BTreeMap<String, BTreeSet<&'static str>>,
    seed: u64,
    tls: bool,
    bridges: Vec<String>,
    zones: Vec<String>,
}

impl FakePveBuilder {
    pub(super) fn new() -> Self {
        let root = User {
            password: Some("hunter2-of-root".to_owned()),
            tokens: [(
                "test".to_owned(),
                Token { secret: super::TOKEN_SECRET.to_owned(), privsep: false, comment: None, expire: 0 },
            )]
            .into(),
            ..User::default()
        };
        let all = ["images", "rootdir", "vztmpl", "iso", "backup", "snippets", "import"];
        let mut local = Storage::new("dir", &all);
        local.config.insert("path".to_owned(), "/var/lib/vz".to_owned());
        local.config.insert("prune-backups".to_owned(), "keep-all=1".to_owned());
        let mut lvm = Storage::new("lvmthin", &["images", "rootdir"]);
        lvm.config.insert("thinpool".to_owned(), "data".to_owned());
        lvm.config.insert("vgname".to_owned(), "pve".to_owned());
        let mut shared = Storage::new("nfs", &all);
        shared.config.insert("server".to_owned(), "10.99.0.200".to_owned());
        shared.config.insert("export".to_owned(), "/srv/pve".to_owned());
        shared.config.insert("path".to_owned(), "/mnt/pve/shared".to_owned());
        let options = Options {
            version: "9.1.3".to_owned(),
            task_time: Duration::from_millis(10),
            task_times: BTreeMap::new(),
            lock_wait: Duration::from_secs(10),
            refusal_delay: Duration::ZERO,
            staleness: Duration::ZERO,
            unknown_looks: 0,
            ticket_life: Duration::from_secs(2 * 60 * 60),
            strict: true,
            kvm: true,
            reloads: true,
            fingerprint: None,
        };
        Self {
            hosts: vec!["pve1".to_owned()],
            options,
            guests: Vec::new(),
            many: 0,
            storages: [("local", local), ("local-lvm", lvm), ("shared", shared)]
                .map(|(name, storage)| (name.to_owned(), storage))
                .into(),
            files: Vec::new(),
            pools: BTreeMap::new(),
            users: [("root@pam".to_owned(), root)].into(),
            acl: Vec::new(),
            roles: BTreeMap::new(),
            seed: 1,
            tls: false,
            bridges: Vec::new(),
            zones: Vec::new(),
        }
    }

    /// So many hosts: `pve1`, `pve2`, … One alone is no cluster.
    pub fn hosts(mut self, count: u8) -> Self {
        self.hosts = (1..=count.max(1)).map(|number| format!("pve{number}")).collect();
        self
    }

    /// A guest that is there from the start.
    pub fn vm(mut self, guest: FakeGuest) -> Self {
        self.guests.push(guest);
        self
    }

    /// So many stopped machines more, numbered from 1000 and spread over the hosts.
    pub fn many(mut self, count: u32) -> Self {
        self.many = count;
        self
    }

    /// How long a task takes; 10 ms otherwise. Zero ends a task before its id is answered.
    pub fn task_time(mut self, time: Duration) -> Self {
        self.options.task_time = time;
        self
    }

    /// How long tasks of one type take: `qmclone`, `vzdump` (for each guest), …
    pub fn task_time_of(mut self, kind: &str, time: Duration) -> Self {
        self.options.task_times.insert(kind.to_owned(), time);
        self
    }

    /// How long a call or a task waits for a guest that another task works on before it says
    /// `can't lock file … - got timeout`. Ten seconds otherwise, as on the real server.
    pub fn lock_wait(mut self, time: Duration) -> Self {
        self.options.lock_wait = time;
        self
    }

    /// How long 401 is held back; not at all otherwise. The real server takes three seconds.
    pub fn refusal_delay(mut self, time: Duration) -> Self {
        self.options.refusal_delay = time;
        self
    }

    /// How old `/cluster/resources` may be; always fresh otherwise. The real one is up to ten seconds old, and knows of a new
    /// guest only its number until then.
    pub fn staleness(mut self, time: Duration) -> Self {
        self.options.staleness = time;
        self
    }

    /// How many looks at a fresh task are answered by `no such task`.
    pub fn unknown_looks(mut self, count: u32) -> Self {
        self.options.unknown_looks = count;
        self
    }

    /// How long a login ticket is good; two hours otherwise.
    pub fn ticket_life(mut self, time: Duration) -> Self {
        self.options.ticket_life = time;
        self
    }

    /// The seed of ids, addresses and faults. The same seed and the same calls give the same ids.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// The release that it says it is; 9.1.3 otherwise. Calls and parameters that a release does not have are refused, and
    /// before 8.4 a refusal's text is in the reason phrase only.
    pub fn version(mut self, version: &str) -> Self {
        self.options.version = version.to_owned();
        self
    }

    /// Whether calls are checked against the table of parameters; they are otherwise.
    pub fn strict(mut self, strict: bool) -> Self {
        self.options.strict = strict;
        self
    }

    /// Speaks TLS with a certificate of its own. See [`FakePve::ca_pem`] and [`FakePve::fingerprint`].
    pub fn tls(mut self) -> Self {
        self.tls = true;
        self
    }

    /// A storage besides `local`, `local-lvm` and `shared`: its type (`dir`, `lvmthin`, `nfs`, …) and content
    /// (`images`, `iso`, …).
    pub fn storage(mut self, name: &str, kind: &str, content: &[&str]) -> Self {
        self.storages.push((name.to_owned(), Storage::new(kind, content)));
        self
    }

    /// As the installer leaves a host: `local` for files but no disks, `local-lvm` for disks, no other storage; and processors that
    /// cannot virtualise, so that only machines with `kvm` = 0 start.
    pub fn fresh(mut self) -> Self {
        self.storages.retain(|(name, _)| name != "shared");
        for (name, storage) in &mut self.storages {
            if name == "local" {
                storage.content = ["iso", "vztmpl", "backup", "import"].map(str::to_owned).into();
            }
        }
        self.options.kvm = false;
        self.options.version = "9.1.1".to_owned();
        self
    }

    /// Limits the size of a storage.
    pub fn storage_size(mut self, name: &str, bytes: u64) -> Self {
        for (known, storage) in &mut self.storages {
            if known == name {
                storage.total = bytes;
            }
        }
        self
    }

    /// A file that is there from the start on all hosts: `local:iso/debian.iso`, `local:vztmpl/alpine.tar.zst`,
    /// `local:import/disk.qcow2`.
    pub fn file(mut self, volid: &str, content: impl Into<Bytes>) -> Self {
        let volume = file(volid, content.into());
        self.files.push((volid.to_owned(), volume));
        self
    }

    /// A pool.
    pub fn pool(mut self, name: &str) -> Self {
        self.pools.entry(name.to_owned()).or_default();
        self
    }

    /// A bridge on all hosts, besides `vmbr0`.
    pub fn bridge(mut self, name: &str) -> Self {
        self.bridges.push(name.to_owned());
        self
    }

    /// Whether hosts have `ifupdown2`; they have otherwise. Without it changes of their networks cannot be put into force.
    pub fn ifupdown2(mut self, has: bool) -> Self {
        self.options.reloads = has;
        self
    }

    /// A zone of software-defined networking.
    pub fn zone(mut self, name: &str) -> Self {
        self.zones.push(name.to_owned());
        self
    }

    /// A user with a password: `alice@pve`. Without [`grant`](Self::grant) it may do nothing.
    pub fn user(mut self, name: &str, password: &str) -> Self {
        self.users.entry(name.to_owned()).or_default().password = Some(password.to_owned());
        self
    }

    /// The one code that a user's second factor accepts; the user has one from now on.
    pub fn totp(mut self, user: &str, code: &str) -> Self {
        self.users.entry(user.to_owned()).or_default().totp = Some(code.to_owned());
        self
    }

    /// A user's API token. With `privsep` it has only what is granted to the token's full id and to the user.
    pub fn api_token(mut self, user: &str, name: &str, secret: &str, privsep: bool) -> Self {
        let token = Token { secret: secret.to_owned(), privsep, comment: None, expire: 0 };
        self.users.entry(user.to_owned()).or_default().tokens.insert(name.to_owned(), token);
        self
    }

    /// When a token expires, in seconds since 1970.
    pub fn token_expires(mut self, user: &str, name: &str, expire: u64) -> Self {
        if let Some(token) = self.users.get_mut(user).and_then(|user| user.tokens.get_mut(name)) {
            token.expire = expire;
        }
        self
    }

    /// A role with these privileges, for [`grant`](Self::grant).
    pub fn role(mut self, name: &str, privileges: &[&str]) -> Self {
        self.roles.insert(name.to_owned(), access::known(privileges));
        self
    }

    /// Gives a user (`alice@pve`) or a token (`alice@pve!t1`) a role (`PVEVMUser`) on a path (`/vms/100`) and below it.
    pub fn grant(mut self, subject: &str, path: &str, role: &str) -> Self {
        self.acl.push(Acl {
            path: path.to_owned(),
            role: role.to_owned(),
            subject: subject.to_owned(),
            propagate: true,
        });
        self
    }

    fn cluster(self, faults: Faults) -> Cluster {
        let mut hosts: Vec<Host> =
            self.hosts.iter().zip(1..).map(|(name, number)| Host::new(name, number)).collect();
        for host in &mut hosts {
            let bridge = host.interfaces.get("vmbr0").cloned().unwrap_or_default();
            for name in &self.bridges {
                host.interfaces.insert(name.clone(), bridge.clone());
                host.up.insert(name.clone());
            }
        }
        let zone = |name: &String| {
            let config = [("type".to_owned(), "simple".to_owned())].into();
            (name.clone(), config)
        };
        let mut cluster = Cluster {
            clock: Clock::new(),
            random: fastrand::Rng::with_seed(self.seed),
            options: self.options,
            hosts,
            quorate: true,
            guests: BTreeMap::new(),
            storages: self.storages.into_iter().collect(),
            pools: self.pools,
            tasks: Tasks::default(),
            access: Access::new(self.users, self.acl, self.roles),
            faults,
            consoles: Consoles::default(),
            zones: self.zones.iter().map(zone).collect(),
            vnets: BTreeMap::new(),
            rules: BTreeMap::new(),
            published: (None, BTreeMap::new()),
        };
        let now = cluster.clock.unix();
        for (volid, volume) in self.files {
            let volume = Volume { ctime: now, ..volume };
            for host in &self.hosts {
                cluster.put_volume(host, &volid, volume.clone());
            }
        }
        for guest in self.guests {
            guest.settle(&mut cluster);
        }
        for (number, host) in (0..self.many).zip(self.hosts.iter().cycle()) {
            let vmid = 1_000 + number;
            FakeGuest::vm(vmid).name(&format!("vm-{vmid}")).host(host).settle(&mut cluster);
        }
        cluster
    }

    /// Opens the ports.
    ///
    /// # Errors
    /// The system's error where no port can be opened, and an error of TLS where no certificate can be made.
    pub async fn start(mut self) -> std::io::Result<FakePve> {
        let tls = if self.tls { Some(certificate().map_err(std::io::Error::other)?) } else { None };
        self.options.fingerprint = tls.as_ref().map(|tls| tls.fingerprint.clone());
        let names = self.hosts.clone();
        let faults = Faults::seeded(self.seed);
        let shared = Arc::new(Shared::new(self.cluster(faults.clone()), faults));
        let mut pve = FakePve {
            shared,
            scheme: if tls.is_some() { "https" } else { "http" },
            listeners: tokio::sync::Mutex::default(),
            ports: Vec::new(),
            tls,
        };
        for name in names {
            let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
            pve.ports.push((name.clone(), listener.local_addr()?.port()));
            let task = pve.listen(listener, &name);
            pve.listeners.get_mut().insert(name, task);
        }
        Ok(pve)
    }
}

/// A file that fills a volume.
pub(super) fn file(volid: &str, bytes: Bytes) -> Volume {
    let kind = volid.split_once(':').and_then(|(_, name)| name.split('/').next()).unwrap_or("iso");
    let end = volid.rsplit_once('.').map_or("raw", |(_, end)| end);
    let mut volume = Volume::new(kind, end, u64::try_from(bytes.len()).unwrap_or(0), 0);
    volume.bytes = Some(bytes);
    volume
}

/// An authority and a certificate that it signed: the leaf alone is sent, as Proxmox does.
fn certificate() -> Result<Tls, Box<dyn std::error::Error + Send + Sync>> {
    use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
    let mut authority = CertificateParams::new(Vec::new())?;
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    authority.distinguished_name.push(DnType::CommonName, "Proxmox Virtual Environment");
    authority.distinguished_name.push(DnType::OrganizationName, "PVE Cluster Manager CA");
    let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate()?)?;
    let names = vec!["127.0.0.1".to_owned(), "localhost".to_owned(), "pve1".to_owned()];
    let mut leaf = CertificateParams::new(names)?;
    leaf.distinguished_name.push(DnType::CommonName, "pve1");
    let key = KeyPair::generate()?;
    let leaf = leaf.signed_by(&key, &authority)?;
    let print: Vec<String> = {
        use sha2::Digest;
        sha2::Sha256::digest(leaf.der()).iter().map(|byte| format!("{byte:02X}")).collect()
    };
    let key = rustls::pki_types::PrivateKeyDer::try_from(key.serialize_der())?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![leaf.der().clone()], key)?;
    Ok(Tls {
        acceptor: TlsAcceptor::from(Arc::new(config)),
        ca: authority.pem(),
        fingerprint: print.join(":"),
    })
}
