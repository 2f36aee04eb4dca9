//! Networks.

use std::net::IpAddr;

use axum::http::StatusCode;
use hypervisor_core::Operation;
use hypervisor_core::model::{
    DhcpRange, IpNet, NetworkChange, NetworkId, NetworkInfo, NetworkKind, NetworkSpec,
};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;

use crate::answer::{Answer, Reply};
use crate::call::Call;
use crate::devices::WithChange;
use crate::problem::{Problem, Result};
use crate::view::NetworkItem;
use crate::{jobs, paging};

pub(crate) async fn list(call: Call) -> Reply {
    let hv = call.hv();
    let fetch = |page| async move { hv.list_networks(&page).await };
    let sort = |all: &mut Vec<NetworkInfo>| all.sort_by(|a, b| a.name.cmp(&b.name));
    paging::list(&call, "networks", sort, fetch).await
}

pub(crate) async fn get(call: Call) -> Reply {
    let network = call.hv().get_network(&call.id("network_id")?).await?;
    Answer::ok(&json!({ "network": NetworkItem::of(&network) }))
}

/// The body of `POST /v1/networks`.
#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct CreateNetwork {
    #[serde(default)]
    name: Option<String>,
    /// `vlan`, `isolated`, `nat`, `routed`, `bridge`, `vnet`.
    #[serde(default, rename = "type")]
    kind: Option<String>,
    #[serde(default)]
    vlan_id: Option<u16>,
    /// `192.168.2.0/24`
    #[serde(default)]
    subnet: Option<String>,
    /// The host's own address in it.
    #[serde(default)]
    gateway: Option<String>,
    #[serde(default)]
    dns_servers: Vec<String>,
    #[serde(default)]
    dhcp_enabled: bool,
    #[serde(default)]
    dhcp_range: Option<Range>,
    /// The model's `NetworkSpec`, instead of the fields above.
    #[serde(default)]
    spec: Option<NetworkSpec>,
}

#[derive(Debug, Deserialize, JsonSchema)]
struct Range {
    start: String,
    end: String,
}

fn address(field: &str, text: &str) -> Result<IpAddr> {
    text.parse().map_err(|_| Problem::invalid(field, "is no IP address").detail("provided_value", text))
}

fn read(body: CreateNetwork) -> Result<(NetworkSpec, Vec<&'static str>)> {
    if let Some(spec) = body.spec {
        return Ok((spec, Vec::new()));
    }
    let name = body.name.ok_or_else(|| Problem::invalid("name", "is missing"))?;
    let kind = match body.kind.as_deref().unwrap_or("isolated") {
        "vlan" => NetworkKind::Isolated,
        other => match NetworkKind::parse(other) {
            NetworkKind::Unknown(_) => {
                return Err(Problem::invalid("type", "is no type of network").detail("provided_value", other));
            }
            known => known,
        },
    };
    let mut spec = NetworkSpec::new(name, kind);
    spec.vlan = body.vlan_id;
    if let Some(subnet) = &body.subnet {
        let net: IpNet = subnet.parse().map_err(|_| {
            Problem::invalid("subnet", "is no subnet").detail("provided_value", subnet.as_str())
        })?;
        let own = match &body.gateway {
            Some(gateway) => Some(address("gateway", gateway)?),
            None => net.hosts().next(),
        };
        let own = own.and_then(|own| IpNet::new(own, net.prefix_len()).ok());
        spec.cidr = own.filter(|own| own.trunc() == net.trunc());
        if spec.cidr.is_none() {
            return Err(Problem::invalid("gateway", "is not in the subnet"));
        }
    }
    if body.dhcp_enabled {
        spec = match &body.dhcp_range {
            Some(range) => spec.dhcp(DhcpRange::new(
                address("dhcp_range.start", &range.start)?,
                address("dhcp_range.end", &range.end)?,
            )),
            None => spec.dhcp_from_cidr(),
        };
    }
    let unapplied = if body.dns_servers.is_empty() { Vec::new() } else { vec!["dns_servers"] };
    Ok((spec.start(true), unapplied))
}

pub(crate) async fn post(call: Call) -> Reply {
    let (spec, unapplied) = read(call.json()?)?;
    let (name, needs) = (spec.name.clone(), spec.needs());
    let begun = jobs::run(&call, Operation::CreateNetwork, None, &needs, move |hv| async move {
        hv.create_network(&spec).await
    })
    .await?;
    let made = json!({ "id": begun.started.output, "name": name });
    begun.answer(StatusCode::CREATED, [("network", made), ("unapplied", json!(unapplied))])
}

pub(crate) async fn put(call: Call) -> Reply {
    let network: NetworkId = call.id("network_id")?;
    let change = call.json::<WithChange<NetworkChange>>()?.change;
    let needs = change.needs();
    let begun = jobs::run(&call, Operation::UpdateNetwork, None, &needs, move |hv| async move {
        hv.update_network(&network, &change).await
    })
    .await?;
    begun.answer(StatusCode::OK, [])
}

pub(crate) async fn delete(call: Call) -> Reply {
    let network: NetworkId = call.id("network_id")?;
    let begun = jobs::run(&call, Operation::DeleteNetwork, None, &[], move |hv| async move {
        hv.delete_network(&network).await
    })
    .await?;
    begun.answer(StatusCode::OK, [])
}

pub(crate) async fn start(call: Call) -> Reply {
    let network: NetworkId = call.id("network_id")?;
    let begun = jobs::run(&call, Operation::StartNetwork, None, &[], move |hv| async move {
        hv.start_network(&network).await
    })
    .await?;
    begun.answer(StatusCode::OK, [])
}

pub(crate) async fn stop(call: Call) -> Reply {
    let network: NetworkId = call.id("network_id")?;
    let begun = jobs::run(&call, Operation::StopNetwork, None, &[], move |hv| async move {
        hv.stop_network(&network).await
    })
    .await?;
    begun.answer(StatusCode::OK, [])
}

pub(crate) async fn leases(call: Call) -> Reply {
    Answer::ok(&json!({ "leases": call.hv().list_leases(&call.id("network_id")?).await? }))
}
