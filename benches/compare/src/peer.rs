//! The crate `proxmox-api`: its calls and types, over a client that does what its own does.
//!
//! Its own client wants another provider of TLS, which would become that of everything built here.

use proxmox_api::client::{Client, Method};
use proxmox_api::cluster::resources::{GetParams, ResourcesClient};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// A client without credentials.
#[derive(Debug, Clone)]
pub(crate) struct Plain {
    http: reqwest::Client,
    base: String,
}

#[derive(Deserialize)]
struct Response<T> {
    data: Option<T>,
}

impl Client for Plain {
    type Error = Box<dyn std::error::Error + Send + Sync>;

    async fn request_with_body_and_query<B, Q, R>(
        &self,
        _: Method,
        path: &str,
        _: Option<&B>,
        _: Option<&Q>,
    ) -> Result<R, Self::Error>
    where
        B: Serialize,
        Q: Serialize,
        R: DeserializeOwned,
    {
        let url = format!("{}/api2/json{path}", self.base);
        let bytes = self.http.get(url).send().await?.bytes().await?;
        let response: Response<R> = serde_json::from_str(std::str::from_utf8(&bytes)?)?;
        response.data.ok_or_else(|| "no data".into())
    }
}

pub(crate) fn resources(http: reqwest::Client, base: &str) -> ResourcesClient<Plain> {
    ResourcesClient::new(Plain { http, base: base.to_owned() }, "/cluster")
}

pub(crate) async fn guests(resources: &ResourcesClient<Plain>) -> usize {
    let all = resources.get(GetParams::default()).await.expect("guests");
    all.iter().filter(|row| row.vmid.is_some()).count()
}
