//! Credentials on a request: a token's header, or a ticket with its CSRF token.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, SystemTime};

use hypervisor_core::http::{Http, Request, Response};
use hypervisor_core::{Error, ErrorKind, Result};
use secrecy::{ExposeSecret as _, SecretString};
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::config::{Login, SecondFactor};
use crate::totp::Steps;
use crate::wire::envelope;
use crate::wire::error::{Reply, classify};
use crate::wire::form::{Form, encoded_text};
use crate::wire::scalar::{Scalar as _, text_of};

/// A ticket is good for two hours; half an hour before that it is renewed.
const RENEW_AFTER: Duration = Duration::from_secs(90 * 60);
/// Behind this a renewal would be refused too.
const GOOD_FOR: Duration = Duration::from_secs(115 * 60);
/// After a renewal that has failed the old ticket serves for so long before the next.
const RENEW_AGAIN: Duration = Duration::from_secs(60);

/// The answer of `/access/ticket`.
struct Answer {
    /// The ticket, or the challenge for a second factor.
    ticket: Option<String>,
    csrf: Option<String>,
    /// Whether a second factor is still asked for.
    needs_second: bool,
}

/// Who calls, and the ticket of the moment.
pub(crate) struct Session {
    login: Login,
    /// Held while somebody logs in, so that many calls make one login.
    ticket: Mutex<Held>,
    /// How many tickets there have been.
    tickets: AtomicU64,
    /// How many logins have come to an end.
    logins: AtomicU64,
    /// The codes of the second factor that were used up.
    steps: std::sync::Mutex<Steps>,
}

#[derive(Default)]
struct Held {
    ticket: Option<Arc<Ticket>>,
    /// Why the last login failed.
    refusal: Option<Error>,
    /// No renewal is tried before.
    renew: Option<Instant>,
}

struct Ticket {
    /// As the server gave it; renewing sends it as the password.
    ticket: SecretString,
    cookie: SecretString,
    csrf: SecretString,
    since: Instant,
    /// Which login this is: a call that was refused must not drop the ticket of a later one.
    number: u64,
}

/// What goes onto one request.
pub(crate) struct Pass(Option<Arc<Ticket>>);

impl Session {
    pub(crate) fn new(login: Login) -> Self {
        Self {
            login,
            ticket: Mutex::default(),
            tickets: AtomicU64::new(0),
            logins: AtomicU64::new(0),
            steps: std::sync::Mutex::default(),
        }
    }

    /// The user or token, without a secret.
    pub(crate) fn name(&self) -> &str {
        self.login.name()
    }

    /// Whether an API token is used.
    pub(crate) fn is_token(&self) -> bool {
        matches!(self.login, Login::Token { .. })
    }

    /// The ticket for one request; logs in, or renews, where it has to. Whoever waited for a login that has failed fails as well: servers lock
    /// users out who try too often, and one that does not answer would keep each of them for as long.
    pub(crate) async fn pass(&self, http: &Http) -> Result<Pass> {
        let Login::User { name, password, second } = &self.login else { return Ok(Pass(None)) };
        let seen = self.logins.load(Ordering::Acquire);
        let mut held = self.ticket.lock().await;
        let fresh = match held.ticket.clone().map(|ticket| (ticket.since.elapsed(), ticket)) {
            Some((age, ticket)) if age < RENEW_AFTER => return Ok(Pass(Some(ticket))),
            Some((age, ticket)) if age < GOOD_FOR => {
                if held.renew.is_some_and(|at| Instant::now() < at) {
                    return Ok(Pass(Some(ticket)));
                }
                match log_in(http, name, &ticket.ticket).await {
                    Err(error) if error.kind() == ErrorKind::Unauthenticated => None,
                    // The old one is good for a while yet.
                    Err(_) => {
                        held.renew = Instant::now().checked_add(RENEW_AGAIN);
                        return Ok(Pass(Some(ticket)));
                    }
                    Ok(row) => Some(row),
                }
            }
            _ => None,
        };
        let row = match fresh {
            Some(row) => row,
            None => {
                if self.logins.load(Ordering::Acquire) != seen
                    && let Some(refusal) = &held.refusal
                {
                    return Err(refusal.clone());
                }
                let password = password
                    .as_ref()
                    .ok_or_else(|| Error::new(ErrorKind::Config, "the user has no password"))?;
                let login = async {
                    let first = log_in(http, name, password).await?;
                    self.with_second_factor(http, name, first, second.as_ref()).await
                };
                let ended = login.await;
                self.logins.fetch_add(1, Ordering::Release);
                held.refusal = ended.as_ref().err().cloned();
                ended?
            }
        };
        let ticket = Arc::new(Ticket::new(row, self.tickets.fetch_add(1, Ordering::Relaxed))?);
        (held.ticket, held.renew) = (Some(Arc::clone(&ticket)), None);
        Ok(Pass(Some(ticket)))
    }

    /// Answers the question for a second factor, if there is one.
    async fn with_second_factor(
        &self,
        http: &Http,
        name: &str,
        row: Answer,
        second: Option<&SecondFactor>,
    ) -> Result<Answer> {
        if !row.needs_second {
            return Ok(row);
        }
        let code = match second {
            Some(SecondFactor::Code(code)) => code.clone(),
            Some(SecondFactor::Totp(totp)) => {
                let (step, pause) =
                    self.steps.lock().unwrap_or_else(PoisonError::into_inner).next(SystemTime::now());
                tokio::time::sleep(pause).await;
                totp.code(step)
            }
            None => {
                let error = Error::new(ErrorKind::Unauthenticated, "the server asks for a second factor");
                let hint = "give the secret of the authenticator (`totp_secret`, PROXMOX_TOTP_SECRET), or use an API token";
                return Err(error.with_hint(hint).with_backend(crate::BACKEND));
            }
        };
        let challenge = row.ticket.unwrap_or_default();
        let form = Form::new()
            .text("username", name)
            .text("password", format!("totp:{}", code.expose_secret()))
            .text("tfa-challenge", challenge);
        ask(http, &form).await
    }

    /// Drops the ticket that was refused, unless another call has logged in since. Says whether there is reason to try again.
    pub(crate) async fn refused(&self, pass: &Pass) -> bool {
        let Some(refused) = &pass.0 else { return false };
        let mut held = self.ticket.lock().await;
        if held.ticket.as_ref().is_some_and(|ticket| ticket.number == refused.number) {
            held.ticket = None;
        }
        true
    }

    /// Puts the credentials on a request. `changes` says whether it needs the CSRF token.
    pub(crate) fn sign(&self, request: Request, pass: &Pass, changes: bool) -> Request {
        match (&self.login, &pass.0) {
            (Login::Token { id, secret: Some(secret) }, _) => {
                let value = format!("PVEAPIToken={id}={}", secret.expose_secret());
                request.secret_header("authorization", &value.into())
            }
            (_, Some(ticket)) => {
                let request = request.secret_header("cookie", &ticket.cookie);
                if changes { request.secret_header("CSRFPreventionToken", &ticket.csrf) } else { request }
            }
            _ => request,
        }
    }
}

impl Ticket {
    fn new(row: Answer, number: u64) -> Result<Self> {
        let (Some(ticket), Some(csrf)) = (row.ticket, row.csrf) else {
            let error = Error::new(ErrorKind::Protocol, "the answer to the login has no ticket");
            return Err(error.with_backend(crate::BACKEND));
        };
        // The server decodes the cookie, and a ticket may have a percent sign.
        let cookie = format!("PVEAuthCookie={}", encoded_text(&ticket));
        Ok(Self {
            ticket: ticket.into(),
            cookie: cookie.into(),
            csrf: csrf.into(),
            since: Instant::now(),
            number,
        })
    }
}

async fn log_in(http: &Http, name: &str, password: &SecretString) -> Result<Answer> {
    let form = Form::new()
        .text("username", name)
        .text("password", password.expose_secret())
        .flag("new-format", true);
    ask(http, &form).await
}

async fn ask(http: &Http, form: &Form) -> Result<Answer> {
    let request =
        Request::post("/access/ticket").bytes("application/x-www-form-urlencoded", form.encode()).reads();
    let response = http.send(request).await.map_err(|error| error.with_backend(crate::BACKEND))?;
    if !response.is_success() {
        return Err(refusal(&response));
    }
    let answer = envelope::value(response.bytes())?;
    let text = |key: &str| answer.get(key).and_then(text_of);
    let needs_second = text("NeedTFA").and_then(|text| bool::from_text(&text)).unwrap_or(false);
    Ok(Answer { ticket: text("ticket"), csrf: text("CSRFPreventionToken"), needs_second })
}

/// What a refusal means.
fn refusal(response: &Response) -> Error {
    classify(&Reply::new(response.status(), response.reason(), response.bytes()))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use hypervisor_core::http::HttpConfig;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    /// A server that answers each request so after a while, and how many there were.
    async fn server(answer: &'static str) -> (Http, Arc<AtomicUsize>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let count = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&count);
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                counted.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(async move {
                    let mut request = [0; 4096];
                    let _ = stream.read(&mut request).await;
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    let _ = stream.write_all(answer.as_bytes()).await;
                });
            }
        });
        (Http::new(HttpConfig::parse(&base).unwrap()).unwrap(), count)
    }

    fn session() -> Session {
        let password = Some("canary".into());
        Session::new(Login::User { name: "root@pam".to_owned(), password, second: None })
    }

    #[tokio::test]
    async fn a_wrong_password_is_tried_once_however_many_calls_wait_for_it() {
        let refusal = "HTTP/1.1 401 authentication failure\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
        let (http, count) = server(refusal).await;
        let session = session();
        for tries in 1..=2 {
            let calls = futures::future::join_all((0..8).map(|_| session.pass(&http))).await;
            for call in calls {
                assert_eq!(call.err().unwrap().kind(), ErrorKind::Unauthenticated);
            }
            assert_eq!(count.load(Ordering::SeqCst), tries);
        }
    }

    #[tokio::test]
    async fn a_renewal_that_fails_is_not_tried_by_each_call() {
        let failure = "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
        let (http, count) = server(failure).await;
        let session = session();
        let ticket = || Some("PVE:root@pam:canary".to_owned());
        let answer = Answer { ticket: ticket(), csrf: ticket(), needs_second: false };
        let mut ticket = Ticket::new(answer, 0).unwrap();
        ticket.since = Instant::now().checked_sub(RENEW_AFTER).unwrap();
        session.ticket.lock().await.ticket = Some(Arc::new(ticket));
        for _ in 0..8 {
            assert!(session.pass(&http).await.unwrap().0.is_some(), "the old one is good for a while");
        }
        assert_eq!(count.load(Ordering::SeqCst), 1);
    }
}
