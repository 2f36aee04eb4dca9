//! Hosts, the cluster, resource groups.

use axum::http::Method;
use hypervisor_core::model;

use super::table::{handler, made, own, paged, route, with};
use super::{Body, Good, Route};
use crate::{groups, hosts, view};

pub(super) fn routes() -> Vec<Route> {
    vec![
        route(
            Method::GET,
            "/v1/cluster",
            "get_cluster",
            "host:read",
            handler!(hosts::cluster),
            "Reads the state of the cluster.",
        )
        .gives(Good::Data(&[("cluster", own!(model::ClusterInfo))])),
        route(Method::GET, "/v1/hosts", "list_hosts", "host:read", handler!(hosts::list), "Lists the hosts.")
            .gives(Good::Page("hosts", own!(view::HostItem<'_>)))
            .query(paged(Vec::new())),
        route(
            Method::GET,
            "/v1/hosts/{host_id}",
            "get_host",
            "host:read",
            handler!(hosts::get),
            "Reads one host.",
        )
        .gives(Good::Data(&[("host", own!(view::HostItem<'_>))])),
        route(
            Method::GET,
            "/v1/groups",
            "list_groups",
            "group:read",
            handler!(groups::list),
            "Lists the resource groups.",
        )
        .gives(Good::Page("groups", own!(view::GroupItem<'_>)))
        .query(paged(Vec::new())),
        route(
            Method::POST,
            "/v1/groups",
            "create_group",
            "group:write",
            handler!(groups::post),
            "Creates a resource group.",
        )
        .takes(Body::Json(with!("spec", model::GroupSpec)))
        .gives(Good::Started(201, own!(model::GroupId), &[("group", made!(model::GroupId))])),
        route(
            Method::GET,
            "/v1/groups/{group_id}",
            "get_group",
            "group:read",
            handler!(groups::get),
            "Reads a resource group with its members.",
        )
        .gives(Good::Data(&[("group", own!(view::GroupItem<'_>))])),
        route(
            Method::PUT,
            "/v1/groups/{group_id}",
            "update_group",
            "group:write",
            handler!(groups::put),
            "Changes a resource group and its members.",
        )
        .takes(Body::Json(with!("change", model::GroupChange)))
        .gives(Good::Started(200, own!(()), &[])),
        route(
            Method::DELETE,
            "/v1/groups/{group_id}",
            "delete_group",
            "group:write",
            handler!(groups::delete),
            "Deletes an empty resource group.",
        )
        .gives(Good::Started(200, own!(()), &[])),
    ]
}
