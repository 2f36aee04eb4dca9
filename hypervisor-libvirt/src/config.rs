//! How to reach libvirt, and how long to wait for it.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use hypervisor_core::model::parse_duration;
use hypervisor_core::{Error, ErrorKind, Result};
use secrecy::SecretString;

use crate::blocking::Limits;
use crate::ffi::Credentials;

/// Drivers whose machines this crate describes.
const DRIVERS: [&str; 2] = ["qemu", "test"];
/// Ways to a daemon that libvirt knows.
const TRANSPORTS: [&str; 7] = ["unix", "ssh", "libssh", "libssh2", "tls", "tcp", "ext"];
/// Our own parameters begin like this; they are taken out of the URI that libvirt sees.
const OWN: &str = "hv_";
/// The longest that a call is waited for: far from where adding to an instant overflows.
const LONGEST: Duration = Duration::from_secs(365 * 86_400);

/// What executes a guest's instructions.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum DomainType {
    /// Emulation. libvirt advertises KVM on hosts where no guest boots with it, so acceleration is never assumed.
    #[default]
    Auto,
    /// Emulation (TCG).
    Qemu,
    /// KVM; for hosts that are known to have it.
    Kvm,
}

impl DomainType {
    /// The value of `<domain type='…'>`.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Auto | Self::Qemu => "qemu",
            Self::Kvm => "kvm",
        }
    }
}

impl FromStr for DomainType {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        match name {
            "auto" => Ok(Self::Auto),
            "qemu" => Ok(Self::Qemu),
            "kvm" => Ok(Self::Kvm),
            _ => Err(bad(format!("`{name}` is not a domain type: use auto, qemu or kvm"))),
        }
    }
}

/// Who carries a migration out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum MigrationWay {
    /// The source's daemon, and we where it cannot reach the other one.
    #[default]
    Auto,
    /// The source's daemon, which connects to the other one: it goes on when we end.
    PeerToPeer,
    /// We, with a connection to either daemon.
    Direct,
}

impl FromStr for MigrationWay {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        match name {
            "auto" => Ok(Self::Auto),
            "p2p" => Ok(Self::PeerToPeer),
            "direct" => Ok(Self::Direct),
            _ => Err(bad(format!("`{name}` is not a way to migrate: use auto, p2p or direct"))),
        }
    }
}

/// How to reach libvirt. Neither `Debug` nor `Display` shows a password.
///
/// ```
/// use hypervisor_libvirt::LibvirtConfig;
/// let config: LibvirtConfig = "qemu+ssh://admin@kvm1/system?hv_timeout=20s&hv_pool=fast".parse().unwrap();
/// assert_eq!(config.uri(), "qemu+ssh://admin@kvm1/system?no_tty=1");
/// ```
#[derive(Clone)]
pub struct LibvirtConfig {
    uri: String,
    pub(crate) read_only: bool,
    pub(crate) credentials: Option<Credentials>,
    pub(crate) open_timeout: Duration,
    pub(crate) timeout: Duration,
    pub(crate) slow_timeout: Duration,
    pub(crate) agent_timeout: Duration,
    max_abandoned: usize,
    slow_connections: usize,
    pub(crate) domain_type: DomainType,
    pub(crate) machine: Option<String>,
    pub(crate) pool: String,
    pub(crate) network: String,
    pub(crate) migration: Option<MigrationWay>,
    pub(crate) migrate_uri: Option<String>,
    pub(crate) disks_uri: Option<String>,
    pub(crate) virt_sysprep: Option<PathBuf>,
}

impl fmt::Debug for LibvirtConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LibvirtConfig")
            .field("uri", &self.uri)
            .field("read_only", &self.read_only)
            .field("credentials", &self.credentials)
            .field("timeout", &self.timeout)
            .field("domain_type", &self.domain_type)
            .field("pool", &self.pool)
            .finish_non_exhaustive()
    }
}

impl fmt::Display for LibvirtConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.uri)
    }
}

impl LibvirtConfig {
    /// A connection to this URI: `qemu:///system`, `qemu:///session`, `qemu+unix:///session?socket=…`,
    /// `qemu+ssh://host/system`, `qemu+tls://`, `qemu+tcp://`, `test:///default` or `test:///path.xml`.
    ///
    /// Parameters that begin with `hv_` are ours and are not passed on: `hv_timeout`, `hv_open_timeout`,
    /// `hv_slow_timeout`, `hv_agent_timeout` (`500ms`, `30s`, `5m`), `hv_domain_type` (`auto`, `qemu`, `kvm`),
    /// `hv_machine`, `hv_pool`, `hv_network`, `hv_readonly` (`1`). A password inside the URI is taken out of it and
    /// used for SASL.
    ///
    /// A URI that a guest is moved to may say how: `hv_migrate` (`auto`, `p2p`, `direct`), `hv_migrate_uri` (where
    /// QEMU sends the memory: `tcp://10.0.0.2`, `unix:///path`) and `hv_disks_uri` (where it sends the disks).
    ///
    /// # Errors
    /// `Config` when the URI is none, names a driver or transport that is not known, or has an unknown parameter.
    pub fn new(uri: &str) -> Result<Self> {
        let (address, query) = uri.split_once('?').unwrap_or((uri, ""));
        let (scheme, rest) =
            address.split_once("://").ok_or_else(|| bad("a libvirt URI looks like qemu:///system"))?;
        let (driver, transport) = match scheme.split_once('+') {
            Some((driver, transport)) => (driver, Some(transport)),
            None => (scheme, None),
        };
        if !DRIVERS.contains(&driver) {
            return Err(bad(format!(
                "the driver `{driver}` is not supported: use one of {}",
                DRIVERS.join(", ")
            )));
        }
        if let Some(transport) = transport.filter(|transport| !TRANSPORTS.contains(transport)) {
            let known = TRANSPORTS.join(", ");
            return Err(bad(format!("`{transport}` is not a transport: use one of {known}")));
        }
        if uri.chars().any(char::is_control) {
            return Err(bad("a control character inside the URI"));
        }
        refuse_plain_password(rest, query)?;
        let (rest, credentials) = take_password(rest)?;
        let mut config = Self {
            uri: String::new(),
            read_only: false,
            credentials,
            open_timeout: Duration::from_secs(15),
            timeout: Duration::from_secs(30),
            slow_timeout: Duration::from_secs(600),
            agent_timeout: Duration::from_secs(10),
            max_abandoned: 32,
            slow_connections: 2,
            domain_type: DomainType::Auto,
            machine: None,
            pool: "default".into(),
            network: "default".into(),
            migration: None,
            migrate_uri: None,
            disks_uri: None,
            virt_sysprep: None,
        };
        let mut kept = Vec::new();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            if name.starts_with(OWN) {
                config.set(name, &decode(value)?)?;
            } else {
                kept.push(pair.to_owned());
            }
        }
        // ssh would ask for a password on the terminal, and nobody would answer.
        if transport == Some("ssh") && !kept.iter().any(|pair| pair.starts_with("no_tty")) {
            kept.push("no_tty=1".into());
        }
        let mark = if kept.is_empty() { "" } else { "?" };
        config.uri = format!("{scheme}://{rest}{mark}{}", kept.join("&"));
        Ok(config)
    }

    /// A connection as the environment says: `HYPERVISOR_LIBVIRT_URI`, else `LIBVIRT_DEFAULT_URI`, else
    /// `qemu:///system`; SASL credentials from `HYPERVISOR_LIBVIRT_USERNAME` and `HYPERVISOR_LIBVIRT_PASSWORD`.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn from_env() -> Result<Self> {
        let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let uri = variable("HYPERVISOR_LIBVIRT_URI").or_else(|| variable("LIBVIRT_DEFAULT_URI"));
        let config = Self::new(uri.as_deref().unwrap_or("qemu:///system"))?;
        match (variable("HYPERVISOR_LIBVIRT_USERNAME"), variable("HYPERVISOR_LIBVIRT_PASSWORD")) {
            (Some(username), Some(password)) => Ok(config.credentials(username, password)),
            (None, None) => Ok(config),
            _ => Err(bad("HYPERVISOR_LIBVIRT_USERNAME and HYPERVISOR_LIBVIRT_PASSWORD belong together")),
        }
    }

    fn set(&mut self, name: &str, value: &str) -> Result<()> {
        match name {
            "hv_timeout" => self.timeout = duration(name, value)?,
            "hv_open_timeout" => self.open_timeout = duration(name, value)?,
            "hv_slow_timeout" => self.slow_timeout = duration(name, value)?,
            "hv_agent_timeout" => self.agent_timeout = duration(name, value)?,
            "hv_domain_type" => self.domain_type = value.parse()?,
            "hv_machine" => self.machine = Some(named(name, value)?),
            "hv_pool" => self.pool = named(name, value)?,
            "hv_network" => self.network = named(name, value)?,
            "hv_migrate" => self.migration = Some(value.parse()?),
            "hv_migrate_uri" => self.migrate_uri = Some(named(name, value)?),
            "hv_disks_uri" => self.disks_uri = Some(named(name, value)?),
            "hv_readonly" => self.read_only = matches!(value, "" | "1" | "true"),
            _ => {
                let known = "hv_timeout, hv_open_timeout, hv_slow_timeout, hv_agent_timeout, hv_domain_type, \
                             hv_machine, hv_pool, hv_network, hv_readonly, hv_migrate, hv_migrate_uri, hv_disks_uri";
                return Err(bad(format!("`{name}` is not a parameter: known are {known}")));
            }
        }
        Ok(())
    }

    /// The URI that libvirt gets, without a password and without our own parameters.
    #[must_use]
    pub fn uri(&self) -> &str {
        &self.uri
    }

    /// Opens a connection that can change nothing.
    #[must_use]
    pub fn read_only(mut self) -> Self {
        self.read_only = true;
        self
    }

    /// User name and password for SASL.
    #[must_use]
    pub fn credentials(mut self, username: impl Into<String>, password: impl Into<SecretString>) -> Self {
        self.credentials = Some(Credentials { username: username.into(), password: password.into() });
        self
    }

    /// How long an ordinary call may take: 30 s.
    #[must_use]
    pub fn timeout(mut self, limit: Duration) -> Self {
        self.timeout = limit.min(LONGEST);
        self
    }

    /// How long opening a connection may take: 15 s.
    #[must_use]
    pub fn open_timeout(mut self, limit: Duration) -> Self {
        self.open_timeout = limit.min(LONGEST);
        self
    }

    /// How long a call that copies or saves data may take: 10 min. For streams, how long one may stand still.
    #[must_use]
    pub fn slow_timeout(mut self, limit: Duration) -> Self {
        self.slow_timeout = limit.min(LONGEST);
        self
    }

    /// How long a guest's agent may take to answer: 10 s.
    #[must_use]
    pub fn agent_timeout(mut self, limit: Duration) -> Self {
        self.agent_timeout = limit.min(LONGEST);
        self
    }

    /// At how many calls that hang past their deadlines further calls are refused: 32. Each of them holds a thread.
    #[must_use]
    pub fn max_hung_calls(mut self, count: usize) -> Self {
        self.max_abandoned = count.max(1);
        self
    }

    /// How many connections there may be for slow calls (agent, streams, copies), four calls each: 2.
    #[must_use]
    pub fn slow_connections(mut self, count: usize) -> Self {
        self.slow_connections = count.max(1);
        self
    }

    /// What executes the instructions of new guests: emulation, unless KVM is asked for.
    #[must_use]
    pub fn domain_type(mut self, domain_type: DomainType) -> Self {
        self.domain_type = domain_type;
        self
    }

    /// The machine type of new guests whose spec names none; libvirt's default otherwise.
    #[must_use]
    pub fn machine(mut self, machine: impl Into<String>) -> Self {
        self.machine = Some(machine.into());
        self
    }

    /// The pool of disks whose spec names none: `default`.
    #[must_use]
    pub fn pool(mut self, pool: impl Into<String>) -> Self {
        self.pool = pool.into();
        self
    }

    /// The network of NICs whose spec names none: `default`.
    #[must_use]
    pub fn network(mut self, network: impl Into<String>) -> Self {
        self.network = network.into();
        self
    }

    /// Who carries migrations from here out, where the host that a guest moves to does not say: by default the
    /// source's daemon, and we where it cannot reach the other one.
    #[must_use]
    pub fn migration(mut self, way: MigrationWay) -> Self {
        self.migration = Some(way);
        self
    }

    /// The program that seals templates; the first `virt-sysprep` on `PATH` otherwise. No URI names one: it is run.
    #[must_use]
    pub fn virt_sysprep(mut self, program: impl Into<PathBuf>) -> Self {
        self.virt_sysprep = Some(program.into());
        self
    }

    /// Whether the driver lives inside this process and keeps its state in the connection.
    pub(crate) fn is_test(&self) -> bool {
        self.uri.starts_with("test:")
    }

    pub(crate) fn limits(&self) -> Limits {
        Limits {
            open: self.open_timeout,
            abandoned: self.max_abandoned,
            slow_connections: self.slow_connections,
            single: self.is_test(),
        }
    }
}

impl FromStr for LibvirtConfig {
    type Err = Error;

    fn from_str(uri: &str) -> Result<Self> {
        Self::new(uri)
    }
}

fn bad(why: impl Into<String>) -> Error {
    Error::new(ErrorKind::Config, why)
}

/// `user:password@host/path` without the password. The address is never part of an error: it may hold one.
fn take_password(rest: &str) -> Result<(String, Option<Credentials>)> {
    let (authority, path) = match rest.find('/') {
        Some(at) => rest.split_at(at),
        None => (rest, ""),
    };
    let Some((user, host)) = authority.rsplit_once('@') else { return Ok((rest.to_owned(), None)) };
    let Some((username, password)) = user.split_once(':') else { return Ok((rest.to_owned(), None)) };
    let credentials = Credentials { username: decode(username)?, password: decode(password)?.into() };
    Ok((format!("{username}@{host}{path}"), Some(credentials)))
}

/// A password with a `/` or a `?` of its own ends the authority too early, and would stay in what is shown.
fn refuse_plain_password(rest: &str, query: &str) -> Result<()> {
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let Some((_, after)) = authority.rsplit_once(':').filter(|_| !authority.contains('@')) else {
        return Ok(());
    };
    let port = after.ends_with(']') || after.bytes().all(|byte| byte.is_ascii_digit());
    if port && !path.contains('@') && (!path.is_empty() || !query.contains('@')) {
        return Ok(());
    }
    Err(bad(
        "what follows the colon is no port; in a password, write `/`, `?`, `#` and `@` as %2F, %3F, %23 and %40",
    ))
}

fn decode(text: &str) -> Result<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
        let decoded = match byte {
            b'%' => digit(rest.next()).zip(digit(rest.next())).map(|(high, low)| high * 16 + low),
            _ => Some(byte.into()),
        };
        let decoded = decoded.and_then(|value| u8::try_from(value).ok());
        bytes.push(decoded.ok_or_else(|| bad("a broken percent sign inside the URI"))?);
    }
    String::from_utf8(bytes).map_err(|_| bad("the URI is not UTF-8 once decoded"))
}

fn named(name: &str, value: &str) -> Result<String> {
    if value.is_empty() { Err(bad(format!("`{name}` is empty"))) } else { Ok(value.to_owned()) }
}

fn duration(name: &str, value: &str) -> Result<Duration> {
    // A day is longer than any call, and far from where adding to an instant overflows.
    parse_duration(value)
        .filter(|duration| !duration.is_zero() && *duration <= Duration::from_secs(86_400))
        .ok_or_else(|| bad(format!("`{name}={value}` is not a time up to a day: write 500ms, 30s or 5m")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use secrecy::ExposeSecret;

    #[test]
    fn no_limit_is_longer_than_the_clock() {
        let config = LibvirtConfig::new("qemu:///system").unwrap();
        let config = config.timeout(Duration::MAX).slow_timeout(Duration::MAX).open_timeout(Duration::MAX);
        for limit in [config.timeout, config.slow_timeout, config.open_timeout] {
            assert!(std::time::Instant::now().checked_add(limit).is_some(), "{limit:?}");
        }
    }

    #[test]
    fn uris_pass_through() {
        for uri in [
            "qemu:///system",
            "qemu:///session",
            "qemu+unix:///session?socket=/run/user/1000/libvirt/libvirt-sock",
            "qemu+tls://host.example:16514/system?pkipath=/etc/pki",
            "qemu+tcp://[::1]/system",
            "qemu+tcp://[::1]:16509/system",
            "qemu+ssh://host:22/system?keyfile=/a@b&no_tty=1",
            "qemu+ssh://root@host/system?keyfile=/root/.ssh/id&no_tty=1",
            "test:///default",
            "test:///tmp/node.xml",
        ] {
            assert_eq!(LibvirtConfig::new(uri).unwrap().uri(), uri);
        }
        assert!(LibvirtConfig::new("test:///default").unwrap().limits().single);
        assert!(!LibvirtConfig::new("qemu:///system").unwrap().limits().single);
    }

    #[test]
    fn own_parameters_are_taken_out() {
        let uri = "qemu:///system?hv_timeout=500ms&socket=/s&hv_domain_type=kvm&hv_pool=a%20b&hv_slow_timeout=5m&hv_readonly=1";
        let config = LibvirtConfig::new(uri).unwrap();
        assert_eq!(config.uri(), "qemu:///system?socket=/s");
        assert_eq!(config.timeout, Duration::from_millis(500));
        assert_eq!(config.slow_timeout, Duration::from_secs(300));
        assert_eq!(config.domain_type, DomainType::Kvm);
        assert_eq!(config.pool, "a b");
        assert!(config.read_only);
    }

    #[test]
    fn what_cannot_be_meant_is_a_config_error() {
        for uri in [
            "",
            "qemu",
            "qemu:/system",
            "vbox:///session",
            "qemu+carrier://pigeon/system",
            "qemu:///system?hv_colour=red",
            "qemu:///system?hv_timeout=soon",
            "qemu:///system?hv_timeout=0s",
            "qemu:///system?hv_timeout=99999999999999999999s",
            "qemu:///system?hv_domain_type=xen",
            "qemu:///system?hv_pool=",
            "qemu:///system?hv_pool=%f",
            "qemu:///sys\0tem",
        ] {
            assert_eq!(LibvirtConfig::new(uri).unwrap_err().kind(), ErrorKind::Config, "{uri}");
        }
    }

    #[test]
    fn a_password_is_never_shown() {
        let config = LibvirtConfig::new("qemu+tcp://ann:c%40nary@host/system").unwrap();
        assert_eq!(config.uri(), "qemu+tcp://ann@host/system");
        let known = config.credentials.as_ref().unwrap();
        assert_eq!((known.username.as_str(), known.password.expose_secret()), ("ann", "c@nary"));
        let shown = format!("{config:?} {config} {:?}", config.credentials);
        assert!(!shown.contains("c@nary") && !shown.contains("c%40nary"), "{shown}");
        for password in
            ["canary%zz", "canary/a", "canary?a", "1234/canary", "1234?canary", "?canary", "/canary"]
        {
            let broken = LibvirtConfig::new(&format!("qemu+tcp://ann:{password}@host/system")).unwrap_err();
            assert_eq!(broken.kind(), ErrorKind::Config);
            assert!(!format!("{broken:?} {broken}").contains("canary"));
        }
    }
}
