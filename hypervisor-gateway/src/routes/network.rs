//! Networks.

use axum::http::Method;
use hypervisor_core::model;

use super::table::{handler, many, own, paged, route, with};
use super::{Body, Good, Route, shapes};
use crate::{network, view};

pub(super) fn routes() -> Vec<Route> {
    vec![
        route(
            Method::GET,
            "/v1/networks",
            "list_networks",
            "network:read",
            handler!(network::list),
            "Lists the networks.",
        )
        .gives(Good::Page("networks", own!(view::NetworkItem<'_>)))
        .query(paged(Vec::new())),
        route(
            Method::POST,
            "/v1/networks",
            "create_network",
            "network:write",
            handler!(network::post),
            "Creates a network.",
        )
        .takes(Body::Json(own!(network::CreateNetwork)))
        .gives(Good::Started(
            201,
            own!(model::NetworkId),
            &[("network", own!(shapes::Named<model::NetworkId>)), ("unapplied", many!(String))],
        )),
        route(
            Method::GET,
            "/v1/networks/{network_id}",
            "get_network",
            "network:read",
            handler!(network::get),
            "Reads one network.",
        )
        .gives(Good::Data(&[("network", own!(view::NetworkItem<'_>))])),
        route(
            Method::PUT,
            "/v1/networks/{network_id}",
            "update_network",
            "network:write",
            handler!(network::put),
            "Changes a network.",
        )
        .takes(Body::Json(with!("change", model::NetworkChange)))
        .gives(Good::Started(200, own!(()), &[])),
        route(
            Method::DELETE,
            "/v1/networks/{network_id}",
            "delete_network",
            "network:write",
            handler!(network::delete),
            "Deletes a network.",
        )
        .gives(Good::Started(200, own!(()), &[])),
        route(
            Method::POST,
            "/v1/networks/{network_id}/start",
            "start_network",
            "network:write",
            handler!(network::start),
            "Brings a network up.",
        )
        .gives(Good::Started(200, own!(()), &[])),
        route(
            Method::POST,
            "/v1/networks/{network_id}/stop",
            "stop_network",
            "network:write",
            handler!(network::stop),
            "Takes a network down.",
        )
        .gives(Good::Started(200, own!(()), &[])),
        route(
            Method::GET,
            "/v1/networks/{network_id}/leases",
            "list_leases",
            "network:read",
            handler!(network::leases),
            "Lists the addresses that the network has handed out.",
        )
        .gives(Good::Data(&[("leases", many!(model::Lease))])),
    ]
}
