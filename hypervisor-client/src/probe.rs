//! Which dialect a server speaks, found out by what it alone answers.

use hypervisor_core::http::{Http, Request};
use hypervisor_core::{Error, ErrorKind, Result};
use serde_json::Value;

use crate::config::Dialect;

/// Asks the places that tell the dialects apart, one after the other, and stops at the first that answers as its server would.
pub(crate) async fn dialect(http: &Http) -> Result<Dialect> {
    // Virtumancer answers {"ok":true}; the server of its document has no such route.
    if let Some(health) = ask(http, "/api/v1/health").await? {
        if health.get("ok").is_some() {
            return Ok(Dialect::Virtumancer);
        }
        if health.get("status").is_some() || health.get("success").is_some() {
            return Ok(Dialect::VirtualizationMcp);
        }
    }
    let says = |body: &Option<Value>, keys: &[&str]| {
        body.as_ref().is_some_and(|body| keys.iter().any(|key| body.get(key).is_some()))
    };
    // The base URL of the document ends in /v1, as its SDKs take it.
    for path in ["/v1/health", "/health"] {
        if says(&ask(http, path).await?, &["success", "data"]) {
            return Ok(Dialect::V1);
        }
    }
    if says(&ask(http, "/capabilities").await?, &["capabilities"]) {
        return Ok(Dialect::HyperSdk);
    }
    for path in ["/api/v1/hosts", "/api/hosts"] {
        let hosts = ask(http, path).await?;
        if hosts.as_ref().is_some_and(|hosts| hosts.is_array() || hosts.is_null()) || says(&hosts, &["hosts"])
        {
            return Ok(Dialect::Virtumancer);
        }
    }
    if ask(http, "/api/v1/vms").await?.is_some() {
        return Ok(Dialect::VirtualizationMcp);
    }
    let known = Dialect::ALL.map(Dialect::as_str).join(", ");
    let message = format!("the server at {} speaks none of the dialects {known}", http.base());
    Err(Error::new(ErrorKind::Config, message)
        .with_hint("Name the dialect in the URL's scheme, for example https+v1://"))
}

/// The JSON at a path; nothing where the server has no such path or wants credentials for it.
async fn ask(http: &Http, path: &str) -> Result<Option<Value>> {
    let response = http.send(Request::get(path)).await?;
    if !response.is_success() || !response.is_json() {
        return Ok(None);
    }
    Ok(response.json().ok())
}
