//! Where the server is, whom to trust, and how long to wait.

use std::time::Duration;

use url::Url;

use super::trust::Trust;
use crate::error::{Error, ErrorKind, Result};
use crate::model::{ByteSize, parse_duration};

/// How to reach a server over HTTP. Holds no credentials: those go into each [`Request`](super::Request).
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct HttpConfig {
    pub(super) first: Url,
    pub(super) endpoints: Vec<Url>,
    pub(super) trust: Trust,
    pub(super) accept_invalid_certs: bool,
    pub(super) connect_timeout: Duration,
    pub(super) request_timeout: Duration,
    pub(super) idle_timeout: Duration,
    pub(super) max_body: ByteSize,
    pub(super) user_agent: String,
}

impl HttpConfig {
    /// The server at `base`, whose path is put before the path of each request. Defaults: the system's trust, 10 s to connect, 30 s for
    /// an answer, 64 MiB at most for a body, and connections that were idle for 4 s are not used again.
    ///
    /// # Errors
    /// [`Config`](ErrorKind::Config) unless it is an `http` or `https` URL with a host and without user, password, query and fragment.
    pub fn new(base: Url) -> Result<Self> {
        let first = checked(base)?;
        Ok(Self {
            endpoints: vec![first.clone()],
            first,
            trust: Trust::System,
            accept_invalid_certs: false,
            connect_timeout: Duration::from_secs(10),
            request_timeout: Duration::from_secs(30),
            idle_timeout: Duration::from_secs(4),
            max_body: ByteSize::mib(64),
            user_agent: concat!("hypervisor-rs/", env!("CARGO_PKG_VERSION")).to_owned(),
        })
    }

    /// Like [`new`](Self::new), from text.
    ///
    /// # Errors
    /// As [`new`](Self::new), and where the text is no URL. The text is in no error: it may hold a password.
    pub fn parse(base: &str) -> Result<Self> {
        let url = Url::parse(base).map_err(|error| config_error(format!("this is not a URL: {error}")))?;
        Self::new(url)
    }

    /// One more endpoint of the same cluster. Endpoints are tried in turn, the one that answered last first, and the next only where the
    /// connection could not be made: then nothing was sent.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn endpoint(mut self, url: Url) -> Result<Self> {
        self.endpoints.push(checked(url)?);
        Ok(self)
    }

    /// Whose certificate is accepted.
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

    /// How long making a connection may take, TLS included.
    #[must_use]
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// How long an answer may take, its body included; for a stream, how long each piece of it may.
    #[must_use]
    pub fn request_timeout(mut self, timeout: Duration) -> Self {
        self.request_timeout = timeout;
        self
    }

    /// For how long an unused connection is kept for the next request. It has to be less than what the server allows, or requests are
    /// sent into connections that are just being closed.
    #[must_use]
    pub fn idle_timeout(mut self, timeout: Duration) -> Self {
        self.idle_timeout = timeout;
        self
    }

    /// The largest body, or WebSocket message, that is read into memory.
    #[must_use]
    pub fn max_body(mut self, limit: ByteSize) -> Self {
        self.max_body = limit;
        self
    }

    /// What the `User-Agent` header says.
    #[must_use]
    pub fn user_agent(mut self, name: impl Into<String>) -> Self {
        self.user_agent = name.into();
        self
    }

    /// Sets what a URL's parameter says, for drivers that are configured by one: `hv_timeout`, `hv_connect_timeout` (`500ms`, `30s`, `5m`),
    /// `hv_ca` (a file of PEM), `hv_fingerprint` (SHA-256), `hv_first_use` (a file), `hv_danger_accept_invalid_certs` (`1`). Whether the name
    /// is one of these.
    ///
    /// # Errors
    /// [`Config`](ErrorKind::Config) where the value is none for that name, or the file cannot be read.
    pub fn parameter(&mut self, name: &str, value: &str) -> Result<bool> {
        match name {
            "hv_timeout" => self.request_timeout = time(name, value)?,
            "hv_connect_timeout" => self.connect_timeout = time(name, value)?,
            "hv_fingerprint" => {
                let fingerprint = value.parse().map_err(|error: Error| config_error(error.message()))?;
                self.trust = Trust::Fingerprint(fingerprint);
            }
            "hv_first_use" if !value.is_empty() => self.trust = Trust::FirstUse(value.into()),
            "hv_ca" => {
                let pem = std::fs::read(value);
                let pem = pem.map_err(|error| {
                    config_error(format!("the authority `{value}` cannot be read: {error}"))
                })?;
                self.trust = Trust::Ca(pem);
            }
            "hv_danger_accept_invalid_certs" if matches!(value, "1" | "true") => {
                self.accept_invalid_certs = true
            }
            "hv_danger_accept_invalid_certs" if matches!(value, "0" | "false") => {
                self.accept_invalid_certs = false
            }
            "hv_first_use" | "hv_danger_accept_invalid_certs" => {
                return Err(config_error(format!("`{value}` is not a value for `{name}`")));
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// The endpoint that was given first.
    #[must_use]
    pub fn base(&self) -> &Url {
        &self.first
    }

    /// The endpoints, as given.
    #[must_use]
    pub fn endpoints(&self) -> &[Url] {
        &self.endpoints
    }

    /// How long an answer may take.
    #[must_use]
    pub fn timeout(&self) -> Duration {
        self.request_timeout
    }

    /// Whether each endpoint is reached over TLS.
    #[must_use]
    pub fn is_encrypted(&self) -> bool {
        self.endpoints.iter().all(|url| url.scheme() == "https")
    }
}

fn checked(mut url: Url) -> Result<Url> {
    if !matches!(url.scheme(), "http" | "https") {
        return Err(config_error(format!("`{}` is not a scheme for HTTP: use http or https", url.scheme())));
    }
    if url.host_str().is_none_or(str::is_empty) {
        return Err(config_error("the URL names no host"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(config_error("credentials do not belong into the URL of an endpoint: set them apart"));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(config_error("the URL of an endpoint has neither query nor fragment"));
    }
    let path = url.path().trim_end_matches('/').to_owned();
    url.set_path(&path);
    Ok(url)
}

fn time(name: &str, value: &str) -> Result<Duration> {
    // A day is longer than any call, and far from where adding to an instant overflows.
    let within = |time: &Duration| !time.is_zero() && *time <= Duration::from_secs(86_400);
    parse_duration(value).filter(within).ok_or_else(|| {
        config_error(format!("`{name}={value}` is not a time up to a day: write 500ms, 30s or 5m"))
    })
}

pub(super) fn config_error(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Config, message)
}
