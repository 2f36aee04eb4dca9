//! How to reach Proxmox VE: endpoints, credentials, whom to trust, and what is used where a spec says nothing.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

use hypervisor_core::http::{Fingerprint, HttpConfig, Trust};
use hypervisor_core::model::{ByteSize, HostId, PoolId};
use hypervisor_core::{Error, ErrorKind, Result};
use secrecy::SecretString;
use url::Url;

use crate::totp::Totp;
use crate::wire::form::decoded_text;

/// The port of the API daemon.
const PORT: u16 = 8006;
/// The most that an answer may have, also behind its compression.
pub(crate) const MAX_BODY: ByteSize = ByteSize::mib(64);

/// Who calls.
#[derive(Clone)]
pub(crate) enum Login {
    /// An API token, `user@realm!name`.
    Token { id: String, secret: Option<SecretString> },
    /// A user, for whom tickets are fetched.
    User { name: String, password: Option<SecretString>, second: Option<SecondFactor> },
}

/// What answers the question for a second factor.
#[derive(Clone)]
pub(crate) enum SecondFactor {
    /// A code that was read off somewhere; good for one login.
    Code(SecretString),
    /// The shared secret, from which the code of the moment follows.
    Totp(Totp),
}

impl Login {
    /// The user or token, without any secret.
    pub(crate) fn name(&self) -> &str {
        match self {
            Self::Token { id, .. } => id,
            Self::User { name, .. } => name,
        }
    }

    fn is_complete(&self) -> bool {
        match self {
            Self::Token { secret, .. } => secret.is_some(),
            Self::User { password, .. } => password.is_some(),
        }
    }
}

/// How to reach Proxmox VE. `Debug` shows no secret.
///
/// ```
/// use hypervisor_proxmox::ProxmoxConfig;
/// let config: ProxmoxConfig = "proxmox://root@pam!lab@pve1.example?endpoint=pve2.example&pool=local-lvm".parse()?;
/// let config = config.secret("00000000-0000-0000-0000-000000000000");
/// assert_eq!(config.endpoint_url(), "https://pve1.example:8006");
/// # Ok::<(), hypervisor_core::Error>(())
/// ```
#[derive(Clone)]
pub struct ProxmoxConfig {
    endpoints: Vec<Url>,
    login: Option<Login>,
    trust: Trust,
    accept_invalid_certs: bool,
    allow_plain_http: bool,
    timeout: Duration,
    connect_timeout: Duration,
    pub(crate) compression: bool,
    pub(crate) pool: Option<PoolId>,
    pub(crate) host: Option<HostId>,
    pub(crate) vmids: RangeInclusive<u32>,
    pub(crate) volume_owner: u32,
    pub(crate) machine_defaults: BTreeMap<String, String>,
}

impl fmt::Debug for ProxmoxConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProxmoxConfig")
            .field("endpoints", &self.endpoints.iter().map(Url::as_str).collect::<Vec<_>>())
            .field("login", &self.login.as_ref().map(Login::name))
            .field("accept_invalid_certs", &self.accept_invalid_certs)
            .field("timeout", &self.timeout)
            .field("pool", &self.pool)
            .field("host", &self.host)
            .finish_non_exhaustive()
    }
}

impl ProxmoxConfig {
    /// The server or cluster at this URL: `proxmox://user@realm!token@host:8006`, `proxmox://user@realm@host`, or plainly
    /// `https://host:8006`. A secret may follow the user (`…!token:secret@host`); better places for it are [`secret`](Self::secret)
    /// and the environment ([`with_env`](Self::with_env)).
    ///
    /// Parameters: `endpoint=host:port` (one more node of the cluster, more than once), `fingerprint=AB:CD:…`, `ca=/path.pem`,
    /// `first_use=/path` (whom to trust), `danger_accept_invalid_certs=1`, `allow_plain_http_credentials=1`, `timeout=60s`,
    /// `connect_timeout=10s`, `compression=1`, `pool=…` and `host=…` (for guests whose spec names none), `vmids=1000-1999`, `default.kvm=0` (a setting of
    /// new virtual machines, see [`machine_default`](Self::machine_default)). `proxmox+http://` speaks HTTP without TLS.
    ///
    /// # Errors
    /// `Config` where it is no such URL; no part of the URL is in the error, because it may hold a secret.
    pub fn new(url: &str) -> Result<Self> {
        let (scheme, rest) = url
            .split_once("://")
            .ok_or_else(|| bad("an address looks like proxmox://user@realm!token@host:8006"))?;
        let scheme = match scheme.to_ascii_lowercase().as_str() {
            "proxmox" | "proxmox+https" | "https" => "https",
            "proxmox+http" | "http" => "http",
            _ => return Err(bad("the scheme is none of proxmox, proxmox+http, https and http")),
        };
        let (address, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, path) = match address.find('/') {
            Some(at) => address.split_at(at),
            None => (address, ""),
        };
        let (user, host) = match authority.rsplit_once('@') {
            Some((user, host)) => (Some(user), host),
            None => (None, authority),
        };
        let mut config = Self {
            endpoints: vec![endpoint(scheme, host, path)?],
            login: user.map(login).transpose()?,
            trust: Trust::System,
            accept_invalid_certs: false,
            allow_plain_http: false,
            // The server itself gives a node up only after 30 s.
            timeout: Duration::from_secs(60),
            connect_timeout: Duration::from_secs(10),
            compression: false,
            pool: None,
            host: None,
            vmids: 100..=999_999_999,
            volume_owner: 999_999_999,
            machine_defaults: BTreeMap::new(),
        };
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, "1"));
            config.set(scheme, path, name, &decoded_text(value))?;
        }
        Ok(config)
    }

    fn set(&mut self, scheme: &str, path: &str, name: &str, value: &str) -> Result<()> {
        let yes = matches!(value, "1" | "true" | "yes" | "");
        match name {
            "endpoint" => self.endpoints.push(endpoint(scheme, value, path)?),
            "fingerprint" => self.trust = Trust::Fingerprint(fingerprint(value)?),
            "ca" => {
                let pem = std::fs::read(value)
                    .map_err(|error| bad(format!("the file of `ca` cannot be read: {error}")))?;
                self.trust = Trust::Ca(pem);
            }
            "first_use" => self.trust = Trust::FirstUse(value.into()),
            "danger_accept_invalid_certs" => self.accept_invalid_certs = yes,
            "allow_plain_http_credentials" => self.allow_plain_http = yes,
            "timeout" => self.timeout = duration(name, value)?,
            "connect_timeout" => self.connect_timeout = duration(name, value)?,
            "compression" => self.compression = yes,
            "pool" => self.pool = Some(named(name, value)?.into()),
            "host" => self.host = Some(named(name, value)?.into()),
            "vmids" => self.vmids = range(value)?,
            key if key.starts_with("default.") => {
                let key = named(name, key.trim_start_matches("default."))?;
                self.machine_defaults.insert(key, value.to_owned());
            }
            _ => {
                let known = "endpoint, fingerprint, ca, first_use, danger_accept_invalid_certs, \
                             allow_plain_http_credentials, timeout, connect_timeout, compression, pool, host, vmids, default.<key>";
                return Err(bad(format!("the URL has a parameter that is not known: known are {known}")));
            }
        }
        Ok(())
    }

    /// A connection as the environment says: `PROXMOX_URL`, or `PROXMOX_HOST` with `PROXMOX_PORT`; the rest as
    /// [`with_env`](Self::with_env).
    ///
    /// # Errors
    /// `Config` where neither is set, or as [`new`](Self::new).
    pub fn from_env() -> Result<Self> {
        let config = match (variable("PROXMOX_URL"), variable("PROXMOX_HOST")) {
            (Some(url), _) => Self::new(&url)?,
            (None, Some(host)) => {
                let port = variable("PROXMOX_PORT").map(|port| format!(":{port}")).unwrap_or_default();
                Self::new(&format!("proxmox://{host}{port}"))?
            }
            (None, None) => return Err(bad("neither PROXMOX_URL nor PROXMOX_HOST is set")),
        };
        config.with_env()
    }

    /// Takes what this configuration does not say yet from the environment: `PROXMOX_USER` (`user@realm`), `PROXMOX_PASSWORD`,
    /// `PROXMOX_TOKEN_ID` (`name` or `user@realm!name`), `PROXMOX_TOKEN_SECRET`, `PROXMOX_TOTP_SECRET` (base32), `PROXMOX_OTP` (one code),
    /// `PROXMOX_FINGERPRINT`, `PROXMOX_CA` (a file).
    ///
    /// # Errors
    /// `Config` where a value cannot be read.
    pub fn with_env(self) -> Result<Self> {
        self.with_variables(variable)
    }

    fn with_variables(mut self, read: impl Fn(&str) -> Option<String>) -> Result<Self> {
        if self.login.is_none() {
            let user = read("PROXMOX_USER");
            self.login = match (read("PROXMOX_TOKEN_ID"), user) {
                (Some(token), _) if token.contains('!') => Some(login(&token)?),
                (Some(token), Some(user)) => Some(login(&format!("{user}!{token}"))?),
                (Some(_), None) => {
                    return Err(bad("PROXMOX_TOKEN_ID is no `user@realm!name`, and PROXMOX_USER is not set"));
                }
                (None, Some(user)) => Some(login(&user)?),
                (None, None) => None,
            };
        }
        match &mut self.login {
            Some(Login::Token { secret, .. }) if secret.is_none() => {
                *secret = read("PROXMOX_TOKEN_SECRET").map(SecretString::from);
            }
            Some(Login::User { password, second, .. }) => {
                if password.is_none() {
                    *password = read("PROXMOX_PASSWORD").map(SecretString::from);
                }
                if second.is_none() {
                    *second = match (read("PROXMOX_TOTP_SECRET"), read("PROXMOX_OTP")) {
                        (Some(secret), _) => Some(SecondFactor::Totp(Totp::new(&secret.into())?)),
                        (None, code) => code.map(|code| SecondFactor::Code(code.into())),
                    };
                }
            }
            _ => {}
        }
        if matches!(self.trust, Trust::System) && !self.accept_invalid_certs {
            if let Some(value) = read("PROXMOX_FINGERPRINT") {
                self.trust = Trust::Fingerprint(fingerprint(&value)?);
            } else if let Some(file) = read("PROXMOX_CA") {
                let pem = std::fs::read(file)
                    .map_err(|error| bad(format!("the file of PROXMOX_CA cannot be read: {error}")))?;
                self.trust = Trust::Ca(pem);
            }
        }
        Ok(self)
    }

    /// Calls with an API token, `user@realm!name`. It needs the privileges itself: with privilege separation those of its user are not
    /// enough.
    #[must_use]
    pub fn token(mut self, id: impl Into<String>, secret: impl Into<SecretString>) -> Self {
        self.login = Some(Login::Token { id: id.into(), secret: Some(secret.into()) });
        self
    }

    /// Logs in as a user, `name@realm`. The ticket is renewed ahead of its two hours.
    #[must_use]
    pub fn password(mut self, user: impl Into<String>, password: impl Into<SecretString>) -> Self {
        let second = match self.login {
            Some(Login::User { second, .. }) => second,
            _ => None,
        };
        self.login = Some(Login::User { name: user.into(), password: Some(password.into()), second });
        self
    }

    /// The secret of the token, or the password of the user, that the URL names.
    #[must_use]
    pub fn secret(mut self, value: impl Into<SecretString>) -> Self {
        match &mut self.login {
            Some(Login::Token { secret, .. }) => *secret = Some(value.into()),
            Some(Login::User { password, .. }) => *password = Some(value.into()),
            None => {}
        }
        self
    }

    /// The shared secret of the user's second factor (TOTP, RFC 6238), in base32 as authenticator programs take it.
    ///
    /// # Errors
    /// `Config` where it is no base32, or no user was named before.
    pub fn totp_secret(mut self, secret: impl Into<SecretString>) -> Result<Self> {
        let totp = Totp::new(&secret.into())?;
        match &mut self.login {
            Some(Login::User { second, .. }) => *second = Some(SecondFactor::Totp(totp)),
            _ => return Err(bad("a second factor belongs to a user with a password: name the user first")),
        }
        Ok(self)
    }

    /// A code of the user's second factor. It is good for one login: a connection that has to log in again later fails.
    ///
    /// # Errors
    /// `Config` where no user was named before.
    pub fn otp(mut self, code: impl Into<SecretString>) -> Result<Self> {
        match &mut self.login {
            Some(Login::User { second, .. }) => *second = Some(SecondFactor::Code(code.into())),
            _ => return Err(bad("a second factor belongs to a user with a password: name the user first")),
        }
        Ok(self)
    }

    /// One more node of the same cluster, `https://host:8006`. The next is tried only where the connection cannot be made.
    ///
    /// # Errors
    /// `Config` where it is no address of a server.
    pub fn endpoint(mut self, url: &str) -> Result<Self> {
        let one = Self::new(url)?;
        if one.login.is_some() {
            return Err(bad("the credentials are those of the first endpoint: leave them out of the others"));
        }
        self.endpoints.extend(one.endpoints);
        Ok(self)
    }

    /// Whose certificate is accepted: what the system trusts. Proxmox's own certificates are signed by its cluster: pin the fingerprint
    /// that its web interface shows under Certificates, or trust `/etc/pve/pve-root-ca.pem`.
    #[must_use]
    pub fn trust(mut self, trust: Trust) -> Self {
        self.trust = trust;
        self
    }

    /// Accepts any certificate, whoever answers. Anybody on the way can then read and change everything.
    #[must_use]
    pub fn danger_accept_invalid_certs(mut self) -> Self {
        self.accept_invalid_certs = true;
        self
    }

    /// Sends credentials without TLS to another machine, where everybody on the way can read them.
    #[must_use]
    pub fn allow_plain_http_credentials(mut self) -> Self {
        self.allow_plain_http = true;
        self
    }

    /// How long an answer may take: 60 s. The server waits 30 s for a node that hangs, and 10 s for a lock.
    #[must_use]
    pub fn timeout(mut self, limit: Duration) -> Self {
        self.timeout = limit;
        self
    }

    /// How long making a connection may take: 10 s.
    #[must_use]
    pub fn connect_timeout(mut self, limit: Duration) -> Self {
        self.connect_timeout = limit;
        self
    }

    /// Asks for compressed answers, which Proxmox gives from 1 KiB on: for lists of large clusters over slow lines. Off otherwise, because the
    /// server compresses in the process that answers everybody, and in a network of its own that takes longer than what it saves.
    #[must_use]
    pub fn compression(mut self, on: bool) -> Self {
        self.compression = on;
        self
    }

    /// The storage of disks whose spec names none; without it one that the host has and that has the most room.
    #[must_use]
    pub fn pool(mut self, pool: impl Into<PoolId>) -> Self {
        self.pool = Some(pool.into());
        self
    }

    /// The host of guests whose spec names none; without it the one with the most free memory.
    #[must_use]
    pub fn host(mut self, host: impl Into<HostId>) -> Self {
        self.host = Some(host.into());
        self
    }

    /// The numbers that new guests get: 100 to 999,999,999, the lowest free one first.
    #[must_use]
    pub fn vmids(mut self, range: RangeInclusive<u32>) -> Self {
        self.vmids = range;
        self
    }

    /// A setting of every new virtual machine whose spec does not say otherwise, in Proxmox's words: `kvm` = `0` where the hosts cannot
    /// do without emulation, `cpu` = `host`, `ostype` = `l26`.
    #[must_use]
    pub fn machine_default(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.machine_defaults.insert(key.into(), value.into());
        self
    }

    /// The number under which volumes are made that are for no guest, 999,999,999. Proxmox knows no other volumes than those of a
    /// guest, who need not exist.
    #[must_use]
    pub fn volume_owner(mut self, vmid: u32) -> Self {
        self.volume_owner = vmid;
        self
    }

    /// The first endpoint, without credentials.
    #[must_use]
    pub fn endpoint_url(&self) -> String {
        self.endpoints.first().map(|url| url.as_str().trim_end_matches('/').to_owned()).unwrap_or_default()
    }

    pub(crate) fn login(&self) -> Result<Login> {
        let login = self.login.clone().ok_or_else(|| {
            bad("no credentials: name a token (user@realm!name) or a user (name@realm) in the URL, by `token` or `password`, or in PROXMOX_USER and PROXMOX_TOKEN_ID")
        })?;
        if !login.is_complete() {
            let what = match login {
                Login::Token { .. } => "the token has no secret: set it by `secret` or PROXMOX_TOKEN_SECRET",
                Login::User { .. } => "the user has no password: set it by `secret` or PROXMOX_PASSWORD",
            };
            return Err(bad(what));
        }
        Ok(login)
    }

    /// For the HTTP client, whose paths begin behind `/api2/json`.
    pub(crate) fn http(&self) -> Result<HttpConfig> {
        let exposed = self.endpoints.iter().find(|url| url.scheme() == "http" && !is_loopback(url));
        if let Some(url) = exposed.filter(|_| !self.allow_plain_http) {
            let host = url.host_str().unwrap_or_default();
            return Err(bad(format!("credentials are not sent to {host} without TLS"))
                .with_hint("use https, or `allow_plain_http_credentials` if nobody else is on the way"));
        }
        if self.vmids.is_empty() || *self.vmids.start() < 100 || *self.vmids.end() > 999_999_999 {
            return Err(bad("`vmids` must be a range within 100 to 999999999"));
        }
        let mut bases = self.endpoints.iter().map(|url| {
            let mut base = url.clone();
            base.set_path(&format!("{}/api2/json", url.path().trim_end_matches('/')));
            base
        });
        let first = bases.next().ok_or_else(|| bad("there is no endpoint"))?;
        let config = bases.try_fold(HttpConfig::new(first)?, HttpConfig::endpoint)?;
        let config = config
            .trust(self.trust.clone())
            .request_timeout(self.timeout)
            .connect_timeout(self.connect_timeout)
            .max_body(MAX_BODY);
        Ok(if self.accept_invalid_certs { config.danger_accept_invalid_certs() } else { config })
    }
}

impl FromStr for ProxmoxConfig {
    type Err = Error;

    fn from_str(url: &str) -> Result<Self> {
        Self::new(url)
    }
}

fn bad(why: impl Into<String>) -> Error {
    Error::new(ErrorKind::Config, why).with_backend(crate::BACKEND)
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// `user@realm`, `user@realm!token`, either with `:secret` behind it.
fn login(text: &str) -> Result<Login> {
    // A realm and a token's name have no colon, so the first one behind them begins the secret.
    let at = text.find('@').unwrap_or(0);
    let (name, secret) = match text.get(at..).and_then(|tail| tail.find(':')) {
        Some(colon) => (text.get(..at + colon).unwrap_or_default(), text.get(at + colon + 1..)),
        None => (text, None),
    };
    let name = decoded_text(name);
    let secret = secret.map(decoded_text).filter(|secret| !secret.is_empty()).map(SecretString::from);
    let fits = name.split_once('@').is_some_and(|(user, realm)| !user.is_empty() && !realm.is_empty());
    if !fits || name.chars().any(|c| c.is_control() || c.is_whitespace() || c == '/') {
        return Err(bad("the user in front of the host is no `name@realm` and no `name@realm!token`"));
    }
    Ok(if name.contains('!') {
        Login::Token { id: name, secret }
    } else {
        Login::User { name, password: secret, second: None }
    })
}

fn endpoint(scheme: &str, host: &str, path: &str) -> Result<Url> {
    let wrong = || bad("there is no host and port in the address");
    if host.is_empty() || host.contains(['@', '/', '?', '#']) {
        return Err(wrong());
    }
    let mut url = Url::parse(&format!("{scheme}://{host}{path}")).map_err(|_| wrong())?;
    let own_port =
        host.rsplit_once(':').is_some_and(|(_, port)| port.bytes().all(|byte| byte.is_ascii_digit()));
    if !own_port {
        url.set_port(Some(PORT)).map_err(|()| wrong())?;
    }
    Ok(url)
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        Some(url::Host::Domain(name)) => name == "localhost",
        None => false,
    }
}

fn named(name: &str, value: &str) -> Result<String> {
    if value.is_empty() { Err(bad(format!("`{name}` is empty"))) } else { Ok(value.to_owned()) }
}

fn fingerprint(value: &str) -> Result<Fingerprint> {
    value
        .parse()
        .map_err(|_| bad("the fingerprint is not 32 pairs of hexadecimal digits with colons between them"))
}

fn range(value: &str) -> Result<RangeInclusive<u32>> {
    let ends = value.split_once('-').and_then(|(from, to)| Some(from.parse().ok()?..=to.parse().ok()?));
    ends.ok_or_else(|| bad("`vmids` looks like 1000-1999"))
}

fn duration(name: &str, value: &str) -> Result<Duration> {
    let at = value.find(|c: char| !c.is_ascii_digit()).unwrap_or(value.len());
    let (number, unit) = value.split_at(at);
    let number = number.parse::<u64>().ok();
    let duration = match unit {
        "ms" => number.map(Duration::from_millis),
        "s" | "" => number.map(Duration::from_secs),
        "m" => number.and_then(|minutes| minutes.checked_mul(60)).map(Duration::from_secs),
        _ => None,
    };
    duration
        .filter(|duration| !duration.is_zero() && *duration <= Duration::from_secs(86_400))
        .ok_or_else(|| bad(format!("`{name}` is not a time up to a day: write 500ms, 30s or 5m")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use secrecy::ExposeSecret as _;

    fn secret_of(config: &ProxmoxConfig) -> (String, Option<String>) {
        match config.login.clone().unwrap() {
            Login::Token { id, secret } => (id, secret.map(|secret| secret.expose_secret().to_owned())),
            Login::User { name, password, .. } => {
                (name, password.map(|secret| secret.expose_secret().to_owned()))
            }
        }
    }

    #[test]
    fn an_address_names_endpoints_and_who_calls() {
        let config = ProxmoxConfig::new(
            "proxmox://root@pam!lab:s%3Ae@pve1?endpoint=pve2:443&timeout=90s&vmids=500-599&default.kvm=0",
        )
        .unwrap();
        assert_eq!(secret_of(&config), ("root@pam!lab".into(), Some("s:e".into())));
        let endpoints: Vec<&str> = config.endpoints.iter().map(Url::as_str).collect();
        assert_eq!(endpoints, ["https://pve1:8006/", "https://pve2/"]);
        assert_eq!((config.timeout, config.vmids.clone()), (Duration::from_secs(90), 500..=599));
        assert_eq!(config.machine_defaults["kvm"], "0");
        assert!(!config.compression);
        assert!(ProxmoxConfig::new("proxmox://root@pam@pve1?compression=1").unwrap().compression);
        let config = ProxmoxConfig::new("https://gate.example:443/pve").unwrap();
        assert_eq!(config.http().unwrap().endpoints()[0].as_str(), "https://gate.example/pve/api2/json");
        let config = ProxmoxConfig::new("proxmox://ann@pve@[::1]").unwrap();
        assert_eq!(
            (secret_of(&config).0.as_str(), config.endpoint_url()),
            ("ann@pve", "https://[::1]:8006".into())
        );
    }

    #[test]
    fn what_cannot_be_meant_is_a_config_error_without_the_secret() {
        for url in [
            "root@pam!lab:canary@pve1",
            "pigeon://root@pam:canary@pve1",
            "proxmox://root:canary@pve1",
            "proxmox://canary@pve1",
            "proxmox://root@pam:canary@",
            "proxmox://root@pam:canary@pve1:canary",
            "proxmox://root@pam!a:canary@pve1?canary=1",
            "proxmox://root@pam!a:canary@pve1?timeout=canary",
            "proxmox://root@pam!a:canary@pve1?vmids=canary",
            "proxmox://root@pam!a:canary@pve1?fingerprint=canary",
        ] {
            let error = ProxmoxConfig::new(url).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Config, "{url}");
            assert!(!format!("{error} {error:?} {error:#?}").contains("canary"), "{url}: {error}");
        }
        let config = ProxmoxConfig::new("proxmox://root@pam:canary@pve1").unwrap().otp("canary").unwrap();
        assert!(!format!("{config:?} {config:#?}").contains("canary"));
    }

    #[test]
    fn credentials_need_tls_unless_they_stay_on_this_machine() {
        let plain = ProxmoxConfig::new("proxmox+http://root@pam!a:b@pve1").unwrap();
        let error = plain.http().unwrap_err();
        assert!(error.to_string().contains("pve1") && error.hint().is_some(), "{error}");
        assert!(plain.allow_plain_http_credentials().http().is_ok());
        assert!(ProxmoxConfig::new("proxmox+http://root@pam!a:b@127.0.0.1:1").unwrap().http().is_ok());
    }

    #[test]
    fn what_is_not_said_comes_from_the_environment() {
        let read = |name: &str| match name {
            "PROXMOX_USER" => Some("ann@pve".to_owned()),
            "PROXMOX_TOKEN_ID" => Some("ci".to_owned()),
            "PROXMOX_TOKEN_SECRET" => Some("from-env".to_owned()),
            "PROXMOX_PASSWORD" => Some("word".to_owned()),
            _ => None,
        };
        let of = |url: &str| secret_of(&ProxmoxConfig::new(url).unwrap().with_variables(read).unwrap());
        assert_eq!(of("proxmox://pve1"), ("ann@pve!ci".into(), Some("from-env".into())));
        assert_eq!(of("proxmox://root@pam!a:own@pve1"), ("root@pam!a".into(), Some("own".into())));
        assert_eq!(of("proxmox://root@pam@pve1"), ("root@pam".into(), Some("word".into())));
        assert!(ProxmoxConfig::new("proxmox://pve1").unwrap().login().is_err());
        assert!(ProxmoxConfig::new("proxmox://root@pam@pve1").unwrap().login().is_err());
    }
}
