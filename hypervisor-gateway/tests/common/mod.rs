//! A gateway on the in-memory hypervisor, and requests to it without a network.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests fail by panicking"
)]
#![allow(dead_code, reason = "each test uses a part")]

pub(crate) mod postgres;

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::BodyExt as _;
use hypervisor_core::Hypervisor;
use hypervisor_core::memory::Memory;
use hypervisor_gateway::{Gateway, GatewayConfig};
use serde_json::Value;
use tower::ServiceExt as _;

pub(crate) struct Served {
    pub(crate) gateway: Gateway,
    pub(crate) router: Router,
    pub(crate) memory: Memory,
    pub(crate) token: String,
}

pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: bytes::Bytes,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("no JSON: {error}: {}", String::from_utf8_lossy(&self.body)))
    }

    pub(crate) fn data(&self) -> Value {
        let json = self.json();
        assert_eq!(json["success"], true, "{json:#}");
        json["data"].clone()
    }

    pub(crate) fn code(&self) -> String {
        let json = self.json();
        assert_eq!(json["success"], false, "{json:#}");
        json["error"]["code"].as_str().expect("a code").to_owned()
    }
}

pub(crate) fn config() -> GatewayConfig {
    GatewayConfig::new().without_rates()
}

/// Somebody who generates code and scans.
struct Supplied;
#[async_trait::async_trait]
impl hypervisor_gateway::Generator for Supplied {
    async fn generate(
        &self,
        request: &hypervisor_gateway::Generate,
    ) -> hypervisor_core::Result<hypervisor_gateway::Generated> {
        let format = request.output_format.clone().unwrap_or_default();
        let mut made = hypervisor_gateway::Generated::new(format, "resource {}");
        made.model = Some("a-model".to_owned());
        made.tokens_used = Some(1250);
        Ok(made)
    }
}
#[async_trait::async_trait]
impl hypervisor_gateway::Scanner for Supplied {
    async fn start(
        &self,
        request: &hypervisor_gateway::ScanRequest,
    ) -> hypervisor_core::Result<hypervisor_gateway::Scan> {
        Ok(hypervisor_gateway::Scan::running("scan-001", &request.scan_type))
    }
    async fn get(&self, id: &str) -> hypervisor_core::Result<hypervisor_gateway::Scan> {
        Ok(hypervisor_gateway::Scan::running(id, "vulnerability"))
    }
}

/// With what a server that embeds the gateway supplies.
pub(crate) fn supplied() -> GatewayConfig {
    config().generator(Arc::new(Supplied)).scanner(Arc::new(Supplied))
}

pub(crate) async fn served() -> Served {
    serve(Memory::new(), config()).await
}

pub(crate) async fn serve(memory: Memory, config: GatewayConfig) -> Served {
    let hv: Arc<dyn Hypervisor> = Arc::new(memory.clone());
    let gateway = Gateway::open(hv, config).await.expect("a gateway");
    let token = gateway.create_token("test", &["*"], None).await.expect("a token").token;
    Served { router: gateway.router(), gateway, memory, token }
}

impl Served {
    pub(crate) async fn request(&self, request: Request<Body>) -> Answer {
        let response = self.router.clone().oneshot(request).await.expect("an answer");
        let (parts, body) = response.into_parts();
        let body = body.collect().await.expect("a body").to_bytes();
        Answer { status: parts.status, headers: parts.headers, body }
    }

    pub(crate) async fn call_as(
        &self,
        token: Option<&str>,
        method: Method,
        path: &str,
        body: Option<Value>,
    ) -> Answer {
        let mut request = Request::builder().method(method).uri(path);
        if let Some(token) = token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let body = match body {
            Some(body) => {
                request = request.header("content-type", "application/json");
                Body::from(body.to_string())
            }
            None => Body::empty(),
        };
        self.request(request.body(body).expect("a request")).await
    }

    pub(crate) async fn call(&self, method: Method, path: &str, body: Option<Value>) -> Answer {
        self.call_as(Some(&self.token), method, path, body).await
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.call(Method::GET, path, None).await
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> Answer {
        self.call(Method::POST, path, Some(body)).await
    }

    pub(crate) async fn delete(&self, path: &str) -> Answer {
        self.call(Method::DELETE, path, None).await
    }
}

/// Serves on a port of its own until the test ends.
pub(crate) async fn listen(router: Router) -> std::net::SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let at = listener.local_addr().expect("an address");
    tokio::spawn(async move { axum::serve(listener, router).await });
    at
}
