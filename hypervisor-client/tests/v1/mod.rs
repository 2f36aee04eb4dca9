//! A server that answers what it is told to, and a connection to it.
#![allow(dead_code, reason = "each test file uses a part of it")]

use hypervisor_client::ClientConfig;
use hypervisor_client::dialect::v1::V1;
use serde_json::{Value, json};
use wiremock::matchers::{method, path};
use wiremock::{Mock, MockServer, ResponseTemplate};

/// An example of the document.
pub(crate) fn fixture(name: &str) -> Value {
    let file = format!("{}/tests/fixtures/v1/{name}.json", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{file}: {error}"));
    serde_json::from_str(&text).unwrap()
}

pub(crate) struct Bench {
    pub(crate) server: MockServer,
    pub(crate) v1: V1,
}

/// A request that came.
#[derive(Debug)]
pub(crate) struct Sent {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) query: String,
    pub(crate) body: Vec<u8>,
    pub(crate) headers: Vec<(String, String)>,
}

impl Sent {
    pub(crate) fn is(&self, method: &str, path: &str, query: &str) {
        assert_eq!((self.method.as_str(), self.path.as_str(), self.query.as_str()), (method, path, query));
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(each, _)| each == name).map(|(_, value)| value.as_str())
    }
}

impl Bench {
    /// A gateway that speaks the documented API.
    pub(crate) async fn new() -> Self {
        Self::with_info(json!({ "success": true, "data": { "version": "1.0.0" } })).await
    }

    /// A gateway that says this of itself.
    pub(crate) async fn with_info(info: Value) -> Self {
        let server = MockServer::start().await;
        mount(&server, "GET", "/v1/info", 200, info).await;
        let v1 = V1::connect(ClientConfig::new(&server.uri()).unwrap()).await.unwrap();
        Self { server, v1 }
    }

    /// A gateway that speaks the whole model, of a backend that can do everything.
    pub(crate) async fn native() -> Self {
        let capabilities = hypervisor_core::model::Capabilities::all_native();
        let data = json!({ "version": "1", "capabilities": capabilities, "extensions": ["native-v1"] });
        Self::with_info(json!({ "success": true, "data": data })).await
    }

    pub(crate) async fn answer(&self, verb: &str, route: &str, status: u16, body: Value) {
        mount(&self.server, verb, route, status, body).await;
    }

    pub(crate) async fn reset(&self) {
        self.server.reset().await;
    }

    pub(crate) fn address(&self) -> String {
        self.server.address().to_string()
    }

    /// What came but for the question what the gateway is.
    pub(crate) async fn sent(&self) -> Vec<Sent> {
        let all = self.server.received_requests().await.unwrap_or_default();
        let all = all.into_iter().filter(|request| request.url.path() != "/v1/info");
        all.map(|request| Sent {
            method: request.method.to_string(),
            path: request.url.path().to_owned(),
            query: request.url.query().unwrap_or_default().to_owned(),
            body: request.body,
            headers: request
                .headers
                .iter()
                .map(|(name, value)| (name.to_string(), value.to_str().unwrap_or_default().to_owned()))
                .collect(),
        })
        .collect()
    }

    pub(crate) async fn last(&self) -> Sent {
        self.sent().await.pop().unwrap()
    }

    pub(crate) async fn only(&self) -> Sent {
        let mut sent = self.sent().await;
        assert_eq!(sent.len(), 1, "{sent:?}");
        sent.pop().unwrap()
    }
}

pub(crate) async fn mount(server: &MockServer, verb: &str, route: &str, status: u16, body: Value) {
    let response = ResponseTemplate::new(status);
    let response = if status == 204 { response } else { response.set_body_json(body) };
    Mock::given(method(verb)).and(path(route)).respond_with(response).mount(server).await;
}
