//! Hosts and the cluster.

use hypervisor_core::model::{ClusterInfo, HostId, HostInfo, Page, PageRequest};
use hypervisor_core::{Operation, Result};

use crate::api::Call;
use crate::backend::Inner;
use crate::error::of_host;
use crate::wire::form::segment;
use crate::wire::{cluster, node};

pub(crate) async fn cluster(inner: &Inner) -> Result<ClusterInfo> {
    let call = Call::get("/cluster/status").operation(Operation::GetCluster);
    cluster::cluster(&inner.api.bytes(&call).await?)
}

pub(crate) async fn list(inner: &Inner, page: &PageRequest) -> Result<Page<HostInfo>> {
    let call = Call::get("/nodes").operation(Operation::ListHosts);
    let hosts = node::hosts(&inner.api.bytes(&call).await?)?;
    Ok(Page::cut(hosts, page, |host| host.id.to_string()))
}

pub(crate) async fn get(inner: &Inner, host: &HostId) -> Result<HostInfo> {
    let path = format!("/nodes/{}/status", segment("host", host.as_str())?);
    let call = Call::get(path).operation(Operation::GetHost);
    node::host(&inner.api.bytes(&call).await.map_err(of_host(host))?, host.as_str())
}
