//! Where the gateway is, which dialect it speaks, and who we are.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use hypervisor_core::http::{Http, HttpConfig, Trust};
use hypervisor_core::{Error, ErrorKind, Result};
use secrecy::{ExposeSecret as _, SecretString};
use url::Url;

/// What a gateway speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Dialect {
    /// The REST API of `hypervisor-gateway`, and of the document that it extends.
    V1,
    /// HyperSDK's daemon.
    HyperSdk,
    /// Virtumancer.
    Virtumancer,
    /// virtualization-mcp's HTTP API.
    VirtualizationMcp,
}

impl Dialect {
    /// Every dialect.
    pub const ALL: [Self; 4] = [Self::V1, Self::HyperSdk, Self::Virtumancer, Self::VirtualizationMcp];

    /// The name, as in a URL's scheme.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::V1 => "v1",
            Self::HyperSdk => "hypersdk",
            Self::Virtumancer => "virtumancer",
            Self::VirtualizationMcp => "virtualization-mcp",
        }
    }
}

impl fmt::Display for Dialect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Dialect {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|dialect| dialect.as_str() == name).ok_or_else(|| {
            let known = Self::ALL.map(Self::as_str).join(", ");
            bad(format!("`{name}` is not a dialect: use one of {known}"))
        })
    }
}

/// Who we are to the gateway. `Debug` shows no secret.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub enum Credentials {
    /// Nobody: the gateway asks for nothing.
    #[default]
    None,
    /// A bearer token: an API token, or what OAuth gave.
    Bearer(SecretString),
    /// A key in the header that the dialect has for it.
    ApiKey(SecretString),
    /// A user name and password, sent with each call or changed into a session where the dialect has one.
    Basic {
        /// The user's name.
        user: String,
        /// The password.
        password: SecretString,
    },
    /// A client of OAuth 2.0, which gets its tokens itself (client credentials) and renews them.
    OAuth {
        /// The client's id.
        client_id: String,
        /// The client's secret.
        client_secret: SecretString,
    },
}

/// How to reach a gateway. Neither `Debug` nor `Display` shows a secret.
///
/// ```
/// use hypervisor_client::{ClientConfig, Dialect};
/// let config = ClientConfig::new("https+v1://:tok_secret@gate.example/?hv_timeout=10s").unwrap();
/// assert_eq!(config.dialect(), Some(Dialect::V1));
/// assert_eq!(config.to_string(), "https://gate.example");
/// assert!(!format!("{config:?}").contains("secret"));
/// ```
#[derive(Debug, Clone)]
pub struct ClientConfig {
    http: HttpConfig,
    dialect: Option<Dialect>,
    credentials: Credentials,
    plain_credentials: bool,
}

impl fmt::Display for ClientConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.endpoint().as_str().trim_end_matches('/'))
    }
}

impl ClientConfig {
    /// The gateway at this URL: `https+<dialect>://host[:port][/path]` or `http+<dialect>://…`; plain `https` and `http` leave the dialect to
    /// be found out. `https+v1://:TOKEN@host` carries a bearer token, `user:password@` a user.
    ///
    /// Parameters: `hv_timeout`, `hv_connect_timeout`, `hv_ca`, `hv_fingerprint`, `hv_first_use`, `hv_danger_accept_invalid_certs` (all as
    /// [`HttpConfig::parameter`]) and `hv_plain_credentials` (`1`: see
    /// [`allow_plain_http_credentials`](Self::allow_plain_http_credentials)).
    ///
    /// # Errors
    /// [`Config`](ErrorKind::Config), without the URL's text, which may hold a secret.
    pub fn new(url: &str) -> Result<Self> {
        let (scheme, rest) =
            url.split_once("://").ok_or_else(|| bad("a gateway's URL looks like https+v1://host"))?;
        let (transport, dialect) = match scheme.split_once('+') {
            Some((transport, dialect)) => (transport, Some(dialect.to_ascii_lowercase().parse()?)),
            None => (scheme, None),
        };
        let not_a_url = |error| bad(format!("this is not a URL: {error}"));
        let mut url =
            Url::parse(&format!("{}://{rest}", transport.to_ascii_lowercase())).map_err(not_a_url)?;
        let credentials = take_credentials(&mut url)?;
        let parameters: Vec<(String, String)> = url.query_pairs().into_owned().collect();
        url.set_query(None);
        let mut config = Self { http: HttpConfig::new(url)?, dialect, credentials, plain_credentials: false };
        for (name, value) in parameters {
            config.parameter(&name, &value)?;
        }
        Ok(config)
    }

    fn parameter(&mut self, name: &str, value: &str) -> Result<()> {
        if name == "hv_plain_credentials" {
            self.plain_credentials = matches!(value, "1" | "true");
            return Ok(());
        }
        if self.http.parameter(name, value)? {
            return Ok(());
        }
        Err(bad(format!(
            "`{name}` is not a parameter: known are hv_timeout, hv_connect_timeout, hv_ca, hv_fingerprint, hv_first_use, \
             hv_danger_accept_invalid_certs and hv_plain_credentials"
        )))
    }

    /// The gateway that the environment names: `HYPERVISOR_GATEWAY_URL`, with `HYPERVISOR_GATEWAY_TOKEN`, or `HYPERVISOR_GATEWAY_API_KEY`, or
    /// `HYPERVISOR_GATEWAY_USER` and `HYPERVISOR_GATEWAY_PASSWORD`.
    ///
    /// # Errors
    /// As [`new`](Self::new), and where the URL is missing.
    pub fn from_env() -> Result<Self> {
        let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let url = variable("HYPERVISOR_GATEWAY_URL")
            .ok_or_else(|| bad("the environment variable HYPERVISOR_GATEWAY_URL is not set"))?;
        let config = Self::new(&url)?;
        if let Some(token) = variable("HYPERVISOR_GATEWAY_TOKEN") {
            return Ok(config.token(token));
        }
        if let Some(key) = variable("HYPERVISOR_GATEWAY_API_KEY") {
            return Ok(config.api_key(key));
        }
        match (variable("HYPERVISOR_GATEWAY_USER"), variable("HYPERVISOR_GATEWAY_PASSWORD")) {
            (Some(user), Some(password)) => Ok(config.basic(user, password)),
            (None, None) => Ok(config),
            _ => Err(bad("HYPERVISOR_GATEWAY_USER and HYPERVISOR_GATEWAY_PASSWORD belong together")),
        }
    }

    /// Names the dialect, whatever the URL says.
    #[must_use]
    pub fn speaks(mut self, dialect: Dialect) -> Self {
        self.dialect = Some(dialect);
        self
    }

    /// A bearer token.
    #[must_use]
    pub fn token(self, token: impl Into<SecretString>) -> Self {
        self.credentials(Credentials::Bearer(token.into()))
    }

    /// An API key.
    #[must_use]
    pub fn api_key(self, key: impl Into<SecretString>) -> Self {
        self.credentials(Credentials::ApiKey(key.into()))
    }

    /// A user name and password.
    #[must_use]
    pub fn basic(self, user: impl Into<String>, password: impl Into<SecretString>) -> Self {
        self.credentials(Credentials::Basic { user: user.into(), password: password.into() })
    }

    /// A client of OAuth 2.0.
    #[must_use]
    pub fn oauth(self, client_id: impl Into<String>, client_secret: impl Into<SecretString>) -> Self {
        self.credentials(Credentials::OAuth {
            client_id: client_id.into(),
            client_secret: client_secret.into(),
        })
    }

    /// Who we are.
    #[must_use]
    pub fn credentials(mut self, credentials: Credentials) -> Self {
        self.credentials = credentials;
        self
    }

    /// Whose certificate is accepted.
    #[must_use]
    pub fn trust(mut self, trust: Trust) -> Self {
        self.http = self.http.trust(trust);
        self
    }

    /// Accepts any certificate: see [`HttpConfig::danger_accept_invalid_certs`].
    #[must_use]
    pub fn danger_accept_invalid_certs(mut self) -> Self {
        self.http = self.http.danger_accept_invalid_certs();
        self
    }

    /// Sends credentials over plain http, where anybody on the way can read them. Without it that is refused.
    #[must_use]
    pub fn allow_plain_http_credentials(mut self) -> Self {
        self.plain_credentials = true;
        self
    }

    /// How long an answer may take: 30 s.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.http = self.http.request_timeout(timeout);
        self
    }

    /// Changes anything about HTTP that has no method here.
    #[must_use]
    pub fn with_http(mut self, change: impl FnOnce(HttpConfig) -> HttpConfig) -> Self {
        self.http = change(self.http);
        self
    }

    /// The dialect, where it has been named.
    #[must_use]
    pub fn dialect(&self) -> Option<Dialect> {
        self.dialect
    }

    /// Where the gateway is, without credentials.
    #[must_use]
    pub fn endpoint(&self) -> &Url {
        self.http.base()
    }

    /// Who we are to the gateway, for a dialect that is about to connect.
    pub(crate) fn who(&self) -> &Credentials {
        &self.credentials
    }

    /// Checks what must not go together, and makes the HTTP client.
    pub(crate) fn client(&self) -> Result<Http> {
        if !matches!(self.credentials, Credentials::None) {
            self.privacy().check()?;
        }
        Http::new(self.http.clone())
    }

    /// Whether secrets may be sent over the connection.
    pub(crate) fn privacy(&self) -> Privacy {
        Privacy(self.http.is_encrypted() || self.plain_credentials)
    }
}

/// Whether a connection is one for secrets: over TLS, or somebody has said that plain http will do.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Privacy(bool);

impl Privacy {
    /// Passes where secrets may be sent.
    pub(crate) fn check(self) -> Result<()> {
        if self.0 {
            return Ok(());
        }
        Err(bad("the credentials would go over plain http, where anybody on the way can read them").with_hint(
            "Use https, or say that you want this (`allow_plain_http_credentials`, hv_plain_credentials=1)",
        ))
    }
}

fn take_credentials(url: &mut Url) -> Result<Credentials> {
    let decode = |text: &str| {
        let pair = format!("v={}", text.replace('+', "%2B"));
        let value = url::form_urlencoded::parse(pair.as_bytes()).next().map(|(_, value)| value.into_owned());
        value.unwrap_or_default()
    };
    let user = decode(url.username());
    let password = url.password().map(|password| SecretString::from(decode(password)));
    let cannot = |()| bad("the URL cannot carry credentials");
    url.set_username("").map_err(cannot)?;
    url.set_password(None).map_err(cannot)?;
    Ok(match password {
        None if user.is_empty() => Credentials::None,
        None => {
            return Err(bad(
                "the URL names a user without a password; a token is written `https+v1://:TOKEN@host`",
            ));
        }
        Some(password) if password.expose_secret().is_empty() => {
            return Err(bad("the URL's password is empty"));
        }
        Some(token) if user.is_empty() => Credentials::Bearer(token),
        Some(password) => Credentials::Basic { user, password },
    })
}

fn bad(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Config, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_says_where_what_and_who() {
        let config =
            ClientConfig::new("HTTPS+HyperSDK://bob:p%40ss+1@host:8080/base/?hv_timeout=3s").unwrap();
        assert_eq!(config.dialect(), Some(Dialect::HyperSdk));
        assert_eq!(config.endpoint().as_str(), "https://host:8080/base");
        let Credentials::Basic { user, password } = config.who() else { panic!("{:?}", config.who()) };
        assert_eq!((user.as_str(), password.expose_secret()), ("bob", "p@ss+1"));
        assert_eq!(ClientConfig::new("http://host").unwrap().dialect(), None);
    }

    #[test]
    fn what_is_wrong_is_said_without_the_secret() {
        for (url, part) in [
            ("canary", "looks like"),
            ("https+pigeon://:canary@host", "dialect"),
            ("https+v1://canary@host", "without a password"),
            ("ftp+v1://:canary@host", "scheme"),
            ("https+v1://:canary@", "not a URL"),
            ("https+v1://:canary@host?token=canary", "parameter"),
            ("https+v1://:canary@host?hv_timeout=soon", "time"),
            ("https+v1://:canary@host?hv_fingerprint=00", "fingerprint"),
            ("https+v1://:canary@host?hv_ca=/nonexistent.pem", "cannot be read"),
        ] {
            let error = ClientConfig::new(url).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Config, "{url}");
            let text = format!("{error} {error:?}");
            assert!(text.contains(part) && !text.contains("canary"), "{url}: {text}");
        }
    }

    #[test]
    fn credentials_are_refused_over_plain_http_unless_asked_for() {
        let config = ClientConfig::new("http+v1://host").unwrap();
        assert!(config.client().is_ok(), "nobody needs no secrecy");
        let config = config.token("canary");
        let error = config.client().unwrap_err();
        assert!(
            error.to_string().contains("plain http") && !format!("{error:?}{config:?}").contains("canary")
        );
        assert!(config.allow_plain_http_credentials().client().is_ok());
        assert!(ClientConfig::new("http+v1://:canary@host?hv_plain_credentials=1").unwrap().client().is_ok());
    }
}
