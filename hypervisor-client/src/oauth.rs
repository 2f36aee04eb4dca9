//! Access tokens of OAuth 2.0: fetched when they are first needed, renewed before they run out, by one call at a time.

use std::fmt;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hypervisor_core::http::{Http, Request, Response};
use hypervisor_core::{Error, ErrorKind, Result};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use tokio::sync::Mutex;
use tokio::time::Instant;

/// A token is renewed this long before it runs out, or a tenth of its life where that is less.
const AHEAD: Duration = Duration::from_secs(30);

/// Who asks for tokens. The secrets are in no `Debug`.
pub(crate) enum Grant {
    /// A client for itself.
    Client { id: String, secret: SecretString },
    /// A user.
    Password { user: String, password: SecretString },
}

/// Where tokens come from, and the one in use.
pub(crate) struct OAuth {
    path: String,
    grant: Grant,
    held: Mutex<Option<Held>>,
    /// How many questions for a token have come to an end, and why the last failed.
    asked: AtomicU64,
    refusal: std::sync::Mutex<Option<Error>>,
}

struct Held {
    header: SecretString,
    refresh: Option<SecretString>,
    renew_at: Option<Instant>,
}

impl fmt::Debug for OAuth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OAuth").field("path", &self.path).finish_non_exhaustive()
    }
}

/// An answer of RFC 6749, section 5.1, bare or in the `data` of an envelope.
#[derive(Deserialize)]
struct Answer {
    access_token: Option<SecretString>,
    #[serde(default)]
    expires_in: Option<f64>,
    #[serde(default)]
    refresh_token: Option<SecretString>,
}

#[derive(Deserialize)]
struct Wrapped {
    data: Answer,
}

impl OAuth {
    /// Tokens from this path of the gateway.
    pub(crate) fn new(path: impl Into<String>, grant: Grant) -> Self {
        Self {
            path: path.into(),
            grant,
            held: Mutex::new(None),
            asked: AtomicU64::new(0),
            refusal: std::sync::Mutex::default(),
        }
    }

    /// The value of `Authorization`. Calls that come while a token is fetched wait for it and then share it, or the failure: servers lock
    /// users out who try too often, and one that does not answer would keep each of them for as long.
    pub(crate) async fn header(&self, http: &Http) -> Result<SecretString> {
        let seen = self.asked.load(Ordering::Acquire);
        let mut held = self.held.lock().await;
        let due = |held: &Held| held.renew_at.is_some_and(|at| Instant::now() >= at);
        if let Some(held) = held.as_ref().filter(|held| !due(held)) {
            return Ok(held.header.clone());
        }
        let refresh = held.as_mut().and_then(|held| held.refresh.take());
        let fresh = match refresh {
            // A refresh token that is no longer taken is no reason to fail: the grant itself still is.
            Some(token) => match self
                .ask(http, &[("grant_type", "refresh_token"), ("refresh_token", token.expose_secret())])
                .await
            {
                Ok(fresh) => fresh,
                Err(error) if refused(&error) => self.begin(http, seen).await?,
                Err(error) => return Err(error),
            },
            None => self.begin(http, seen).await?,
        };
        let header = fresh.header.clone();
        *held = Some(fresh);
        Ok(header)
    }

    /// Takes note that the gateway refused this token: the next call fetches another, unless one has done so already.
    pub(crate) async fn refused(&self, header: &SecretString) {
        let mut held = self.held.lock().await;
        if let Some(held) = held.as_mut().filter(|held| held.header.expose_secret() == header.expose_secret())
        {
            held.renew_at = Some(Instant::now());
        }
    }

    /// Asks with the grant itself, unless somebody has failed to get one since `seen`.
    async fn begin(&self, http: &Http, seen: u64) -> Result<Held> {
        let refusal = || self.refusal.lock().unwrap_or_else(PoisonError::into_inner);
        if self.asked.load(Ordering::Acquire) != seen
            && let Some(refusal) = &*refusal()
        {
            return Err(refusal.clone());
        }
        let ended = self.granted(http).await;
        self.asked.fetch_add(1, Ordering::Release);
        *refusal() = ended.as_ref().err().cloned();
        ended
    }

    async fn granted(&self, http: &Http) -> Result<Held> {
        match &self.grant {
            Grant::Client { id, secret } => {
                let fields = [
                    ("grant_type", "client_credentials"),
                    ("client_id", id.as_str()),
                    ("client_secret", secret.expose_secret()),
                ];
                self.ask(http, &fields).await
            }
            Grant::Password { user, password } => {
                let fields = [
                    ("grant_type", "password"),
                    ("username", user.as_str()),
                    ("password", password.expose_secret()),
                ];
                self.ask(http, &fields).await
            }
        }
    }

    async fn ask(&self, http: &Http, fields: &[(&str, &str)]) -> Result<Held> {
        // A token that nobody learns of does no harm: the call may be repeated like one that reads.
        let request = Request::post(&self.path).form(fields.iter().copied()).reads();
        let response = http.send(request).await?;
        if !response.is_success() {
            return Err(denied(&response));
        }
        let answer = match response.json::<Answer>() {
            Ok(answer) if answer.access_token.is_some() => answer,
            _ => response.json::<Wrapped>().map_err(|_| no_token(&response))?.data,
        };
        let token = answer.access_token.ok_or_else(|| no_token(&response))?;
        let life = answer.expires_in.filter(|life| life.is_finite() && *life > 0.0);
        let life = life.map(|life| Duration::from_secs_f64(life.min(1e9)));
        Ok(Held {
            header: format!("Bearer {}", token.expose_secret()).into(),
            refresh: answer.refresh_token,
            renew_at: life.map(|life| Instant::now() + life.saturating_sub(AHEAD.min(life / 10))),
        })
    }
}

/// The message is the server's description; its body is not shown otherwise, which might repeat what was sent.
fn denied(response: &Response) -> Error {
    #[derive(Deserialize)]
    struct Said {
        error: Option<String>,
        error_description: Option<String>,
    }
    let base = response.error();
    let said = serde_json::from_slice::<Said>(response.bytes()).ok();
    let said = said.and_then(|said| said.error_description.or(said.error));
    if !matches!(response.status(), 400 | 401 | 403) {
        return base;
    }
    let message = format!("the gateway gives no token: {}", said.as_deref().unwrap_or(response.reason()));
    Error::new(ErrorKind::Unauthenticated, message).with_code(response.status().to_string())
}

fn no_token(response: &Response) -> Error {
    let message =
        format!("the gateway answered {} to the request for a token, but with no token", response.status());
    Error::new(ErrorKind::Protocol, message)
}

fn refused(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Unauthenticated | ErrorKind::InvalidInput | ErrorKind::NotFound)
}

#[cfg(test)]
mod tests {
    use super::*;
    use hypervisor_core::http::HttpConfig;
    use wiremock::{Mock, MockServer, ResponseTemplate, matchers::any};

    #[tokio::test]
    async fn a_wrong_secret_is_tried_once_however_many_calls_wait_for_it() {
        let server = MockServer::start().await;
        let refusal = ResponseTemplate::new(401).set_delay(Duration::from_millis(100));
        Mock::given(any()).respond_with(refusal).mount(&server).await;
        let http = Http::new(HttpConfig::parse(&server.uri()).unwrap()).unwrap();
        let grant = Grant::Client { id: "id".to_owned(), secret: "canary".into() };
        let oauth = OAuth::new("/token", grant);
        for tries in 1..=2 {
            let calls = futures::future::join_all((0..8).map(|_| oauth.header(&http))).await;
            for call in calls {
                assert_eq!(call.unwrap_err().kind(), ErrorKind::Unauthenticated);
            }
            assert_eq!(server.received_requests().await.unwrap().len(), tries);
        }
    }
}
