//! Single exchanges: what one call answers, for tests that need no server with a memory.

use std::fmt;

use serde_json::{Map, Value, json};
use wiremock::matchers::{method, path};
use wiremock::{Match, Mock, MockServer, Request, ResponseTemplate};

use super::FakePve;
use crate::wire::form::decoded_text;
use crate::wire::params;

/// What one call answers, as a [`wiremock::Mock`]. Calls that Proxmox VE does not have are refused: a test that passes with one would pass
/// nowhere else.
///
/// ```
/// use hypervisor_core::traits::Compute;
/// use hypervisor_proxmox::Proxmox;
/// use hypervisor_proxmox::fake::{Exchange, SingleServer};
/// use serde_json::json;
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> hypervisor_core::Result<()> {
/// let server = SingleServer::start().await;
/// let guests = json!([{"type": "qemu", "vmid": 100, "node": "pve1", "name": "web-1", "status": "running"}]);
/// server.mount(Exchange::get("/cluster/resources").answers(guests)).await;
/// server.mount(Exchange::get("/nodes/pve1/qemu/100/config").refuses(500, "VM is locked (backup)")).await;
/// let proxmox = Proxmox::connect(server.config()?).await?;
/// let error = proxmox.get_vm_config(&"100".into()).await.unwrap_err();
/// assert_eq!(error.kind(), hypervisor_core::ErrorKind::Locked);
/// # Ok(()) }
/// ```
#[must_use = "it has no effect until it is mounted"]
#[derive(Debug, Clone)]
pub struct Exchange {
    method: &'static str,
    path: String,
    params: Vec<(String, String)>,
    status: u16,
    body: Value,
    times: Option<u64>,
}

impl Exchange {
    fn new(method: &'static str, path: &str) -> Self {
        assert!(params::find(method, path).is_some(), "Proxmox VE has no call {method} {path}");
        Self {
            method,
            path: path.to_owned(),
            params: Vec::new(),
            status: 200,
            body: json!({ "data": null }),
            times: None,
        }
    }

    /// `GET` of a path below `/api2/json`.
    ///
    /// # Panics
    /// Where Proxmox VE has no such call; so do the other methods.
    pub fn get(path: &str) -> Self {
        Self::new("GET", path)
    }

    /// `POST`.
    ///
    /// # Panics
    /// Where Proxmox VE has no such call.
    pub fn post(path: &str) -> Self {
        Self::new("POST", path)
    }

    /// `PUT`.
    ///
    /// # Panics
    /// Where Proxmox VE has no such call.
    pub fn put(path: &str) -> Self {
        Self::new("PUT", path)
    }

    /// `DELETE`.
    ///
    /// # Panics
    /// Where Proxmox VE has no such call.
    pub fn delete(path: &str) -> Self {
        Self::new("DELETE", path)
    }

    /// Only if the call has this parameter, in the query or in the form.
    pub fn with(mut self, key: &str, value: &str) -> Self {
        self.params.push((key.to_owned(), value.to_owned()));
        self
    }

    /// Answers with this data.
    pub fn answers(mut self, data: impl Into<Value>) -> Self {
        self.body = json!({ "data": data.into() });
        self
    }

    /// Answers with the id of a task.
    pub fn starts(self, upid: &str) -> Self {
        self.answers(upid)
    }

    /// Refuses with this status and message. The reason phrase is the status's own: where the text stands in it alone, use
    /// [`Fault::reply`](super::Fault::reply).
    pub fn refuses(mut self, status: u16, message: &str) -> Self {
        self.status = status;
        self.body = json!({ "data": null, "message": format!("{message}\n") });
        self
    }

    /// Says of a parameter what is wrong with it; the call is refused with status 400.
    pub fn rejects(mut self, field: &str, why: &str) -> Self {
        if self.status != 400 {
            self = self.refuses(400, "Parameter verification failed.");
        }
        if let Some(body) = self.body.as_object_mut() {
            let errors = body.entry("errors").or_insert_with(|| Value::Object(Map::new()));
            if let Some(errors) = errors.as_object_mut() {
                errors.insert(field.to_owned(), why.into());
            }
        }
        self
    }

    /// Only so many times; the next exchange that fits answers after that.
    pub fn times(mut self, times: u64) -> Self {
        self.times = Some(times);
        self
    }

    /// As a mock.
    pub fn mock(self) -> Mock {
        let answer = ResponseTemplate::new(self.status).set_body_json(&self.body);
        let mock = Mock::given(method(self.method))
            .and(path(format!("/api2/json{}", self.path)))
            .and(Params(self.params))
            .respond_with(answer);
        match self.times {
            Some(times) => mock.up_to_n_times(times),
            None => mock,
        }
    }
}

/// Parameters that a call has to have.
struct Params(Vec<(String, String)>);

impl Match for Params {
    fn matches(&self, request: &Request) -> bool {
        let body = String::from_utf8_lossy(&request.body).into_owned();
        let query = request.url.query().unwrap_or_default().to_owned();
        let pairs = [query, body].join("&");
        let has = |(key, value): &(String, String)| {
            pairs.split('&').filter_map(|pair| pair.split_once('=')).any(|(name, text)| {
                decoded_text(name) == *key && decoded_text(&text.replace('+', " ")) == *value
            })
        };
        self.0.iter().all(has)
    }
}

/// A server of single exchanges on loopback. It answers what a connection asks first (release 9.1, one node `pve1`, a token that may do
/// everything); everything else is what is mounted.
pub struct SingleServer(MockServer);

impl fmt::Debug for SingleServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SingleServer").field(&self.0.uri()).finish()
    }
}

impl SingleServer {
    /// Starts it as release 9.1.
    pub async fn start() -> Self {
        Self::release("9.1.3").await
    }

    /// Starts it as another release.
    pub async fn release(version: &str) -> Self {
        let server = Self(MockServer::start().await);
        let short = version.rsplit_once('.').map_or(version, |(short, _)| short);
        let node = json!({ "type": "node", "node": "pve1", "id": "node/pve1", "status": "online", "maxcpu": 4,
            "maxmem": 8_589_934_592_u64, "mem": 0 });
        for exchange in [
            Exchange::get("/version").answers(json!({ "version": version, "release": short, "repoid": "0" })),
            Exchange::get("/access/permissions").answers(json!({})),
            Exchange::get("/cluster/resources").answers(json!([&node])),
            Exchange::get("/nodes").answers(json!([node])),
        ] {
            // What a test mounts comes first.
            exchange.mock().with_priority(200).mount(&server.0).await;
        }
        server
    }

    /// Adds an exchange.
    pub async fn mount(&self, exchange: Exchange) {
        exchange.mock().mount(&self.0).await;
    }

    /// How to reach it, with a token.
    ///
    /// # Errors
    /// None that a test meets: a server on loopback has an address that can be read.
    pub fn config(&self) -> hypervisor_core::Result<crate::ProxmoxConfig> {
        Ok(crate::ProxmoxConfig::new(&self.0.uri())?.token("root@pam!test", FakePve::SECRET))
    }

    /// The requests so far: method, path below `/api2/json` and the form or query as it was sent.
    pub async fn requests(&self) -> Vec<(String, String, String)> {
        let seen = self.0.received_requests().await.unwrap_or_default();
        let shown = seen.into_iter().map(|request| {
            let path = request.url.path().trim_start_matches("/api2/json").to_owned();
            let body = String::from_utf8_lossy(&request.body).into_owned();
            let form =
                if body.is_empty() { request.url.query().unwrap_or_default().to_owned() } else { body };
            (request.method.to_string(), path, form)
        });
        shown.collect()
    }
}
