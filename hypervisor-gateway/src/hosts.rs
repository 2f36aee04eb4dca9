//! Hosts and the cluster.

use serde_json::json;

use crate::answer::{Answer, Reply};
use crate::call::Call;
use crate::paging;
use crate::view::HostItem;

pub(crate) async fn cluster(call: Call) -> Reply {
    Answer::ok(&json!({ "cluster": call.hv().get_cluster().await? }))
}

pub(crate) async fn list(call: Call) -> Reply {
    let hv = call.hv();
    let fetch = |page| async move { hv.list_hosts(&page).await };
    paging::list(&call, "hosts", |_| {}, fetch).await
}

pub(crate) async fn get(call: Call) -> Reply {
    let host = call.hv().get_host(&call.id("host_id")?).await?;
    Answer::ok(&json!({ "host": HostItem::of(&host) }))
}
