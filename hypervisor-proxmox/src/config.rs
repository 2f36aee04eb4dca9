//! How to reach Proxmox VE: endpoints, credentials, whom to trust, and what is used where a spec says nothing.

mod source;

use std::collections::BTreeMap;
use std::fmt;
use std::ops::RangeInclusive;
use std::time::Duration;

use hypervisor_core::http::{HttpConfig, Trust};
use hypervisor_core::model::{ByteSize, HostId, PoolId};
use hypervisor_core::{Error, ErrorKind, Result};
use secrecy::SecretString;
use url::Url;

use crate::totp::Totp;

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

fn bad(why: impl Into<String>) -> Error {
    Error::new(ErrorKind::Config, why).with_backend(crate::BACKEND)
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        Some(url::Host::Domain(name)) => name == "localhost",
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_need_tls_unless_they_stay_on_this_machine() {
        let plain = ProxmoxConfig::new("proxmox+http://root@pam!a:b@pve1").unwrap();
        let error = plain.http().unwrap_err();
        assert!(error.to_string().contains("pve1") && error.hint().is_some(), "{error}");
        assert!(plain.allow_plain_http_credentials().http().is_ok());
        assert!(ProxmoxConfig::new("proxmox+http://root@pam!a:b@127.0.0.1:1").unwrap().http().is_ok());
    }
}
