//! Every route as a typed method.

mod call;
mod clones;
mod console;
mod core;
mod domains;
mod feed;
mod isos;
mod jobs;
mod networks;
mod schedules;
mod stats;
mod volumes;

use std::fmt;
use std::sync::Arc;

use hypervisor_core::Result;
use hypervisor_core::http::{Http, Request, Response};
use secrecy::SecretString;
use tokio::sync::Mutex;

use crate::config::{Credentials, Privacy};

pub(crate) use call::{Answer, Call};
pub use feed::Feed;

/// The daemon's own API: one method for each of its routes, with its own words and units. The traits are built on it; what it offers beyond
/// them (jobs, schedules, workflows, keys, ISO images, …) is here alone.
///
/// Every method refuses names that the daemon would hand on to `virsh` as options, to a path or to a shell, with `InvalidInput` naming the
/// field, before anything is sent. What the daemon refuses is an error of the kind that its text tells, with that text; a route that it does
/// not serve is `Unsupported`. A call that changes something and gets no answer is `Transport` or `Timeout` of unknown effect: the daemon cuts
/// its connections after 30 s and goes on with the work.
#[derive(Clone)]
pub struct Api {
    http: Http,
    who: Arc<Who>,
    privacy: Privacy,
}

/// Who we are. The daemon as shipped asks nobody.
enum Who {
    Nobody,
    Bearer(SecretString),
    Key(SecretString),
    /// A user, whose session is begun with the first call that is refused without one.
    User {
        name: String,
        password: SecretString,
        token: Mutex<Option<SecretString>>,
    },
}

impl fmt::Debug for Api {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Api").field("http", &self.http).finish_non_exhaustive()
    }
}

impl Api {
    pub(crate) fn new(http: Http, credentials: &Credentials, privacy: Privacy) -> Result<Self> {
        let who = match credentials {
            Credentials::None => Who::Nobody,
            Credentials::Bearer(token) => Who::Bearer(token.clone()),
            Credentials::ApiKey(key) => Who::Key(key.clone()),
            Credentials::Basic { user, password } => {
                Who::User { name: user.clone(), password: password.clone(), token: Mutex::new(None) }
            }
            Credentials::OAuth { .. } => {
                return Err(hypervisor_core::Error::new(
                    hypervisor_core::ErrorKind::Config,
                    "HyperSDK's daemon has no OAuth: use a token, an API key, or a user and password",
                ));
            }
        };
        Ok(Self { http, who: Arc::new(who), privacy })
    }

    /// Sends any request with our credentials, and gives the answer whatever its status.
    ///
    /// # Errors
    /// As [`Http::send`].
    pub async fn raw(&self, request: Request) -> Result<Response> {
        let token = self.token().await;
        self.http.send(self.signed(request, token.as_ref())).await
    }

    async fn token(&self) -> Option<SecretString> {
        match &*self.who {
            Who::Nobody | Who::Key(_) => None,
            Who::Bearer(token) => Some(token.clone()),
            Who::User { token, .. } => token.lock().await.clone(),
        }
    }

    fn signed(&self, request: Request, token: Option<&SecretString>) -> Request {
        match (&*self.who, token) {
            (Who::Key(key), _) => request.secret_header("x-api-key", key),
            (_, Some(token)) => {
                use secrecy::ExposeSecret as _;
                let bearer = SecretString::from(format!("Bearer {}", token.expose_secret()));
                request.secret_header("authorization", &bearer)
            }
            _ => request,
        }
    }

    /// Sends a call, and once more where the daemon asked for a session that we can begin. Nothing is done by a call that is refused so.
    pub(crate) async fn send(&self, call: Call) -> Result<Answer> {
        let token = self.token().await;
        let first = self.once(&call, token.as_ref()).await?;
        let response = match &*self.who {
            Who::User { name, password, token: kept } if first.status() == 401 => {
                let mut kept = kept.lock().await;
                // Somebody else may have begun the session meanwhile.
                if same(kept.as_ref(), token.as_ref()) {
                    *kept = self.begin_session(name, password).await?;
                }
                let token = kept.clone();
                drop(kept);
                self.once(&call, token.as_ref()).await?
            }
            _ => first,
        };
        call.answer(response)
    }

    fn unsigned(&self, call: &Call) -> Request {
        call.request(self.http.config().timeout())
    }

    async fn once(&self, call: &Call, token: Option<&SecretString>) -> Result<Response> {
        let request = self.signed(self.unsigned(call), token);
        self.http.send(request).await.map_err(|error| call.without_answer(error))
    }
}

fn same(one: Option<&SecretString>, other: Option<&SecretString>) -> bool {
    use secrecy::ExposeSecret as _;
    one.map(|secret| secret.expose_secret()) == other.map(|secret| secret.expose_secret())
}
