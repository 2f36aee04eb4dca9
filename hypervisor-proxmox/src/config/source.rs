//! Where a configuration comes from: a URL, and the environment.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

use hypervisor_core::http::{Fingerprint, Trust};
use hypervisor_core::{Error, Result};
use secrecy::SecretString;
use url::Url;

use super::{Login, ProxmoxConfig, SecondFactor, bad};
use crate::totp::Totp;
use crate::wire::form::decoded_text;

/// The port of the API daemon.
const PORT: u16 = 8006;

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
}

impl FromStr for ProxmoxConfig {
    type Err = Error;

    fn from_str(url: &str) -> Result<Self> {
        Self::new(url)
    }
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
    use hypervisor_core::ErrorKind;
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
