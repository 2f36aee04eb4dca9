//! The table itself.

use std::sync::OnceLock;

use axum::http::Method;
use hypervisor_core::model;

use super::{Access, Body, Good, Handler, Param, Route, Shape};
use crate::rate::Category;
use crate::{
    about, backups, batch, compute, console, counters, create, devices, events, groups, guest, hooks, hosts,
    metrics, network, scans, snapshots, storage, tasks, tokens, view, volumes, webhooks,
};

macro_rules! own {
    ($type:ty) => {
        Shape::Own(|generator| generator.subschema_for::<$type>())
    };
}

macro_rules! many {
    ($type:ty) => {
        Shape::Many(|generator| generator.subschema_for::<$type>())
    };
}

/// An object with this one member.
macro_rules! with {
    ($member:literal, $type:ty) => {
        Shape::With($member, |generator| generator.subschema_for::<$type>())
    };
}

macro_rules! handler {
    ($path:path) => {
        |call| Box::pin($path(call))
    };
}

const fn param(name: &'static str, kind: &'static str, about: &'static str) -> Param {
    Param { name, kind, about, values: &[] }
}

const fn choice(name: &'static str, values: &'static [&'static str], about: &'static str) -> Param {
    Param { name, kind: "string", about, values }
}

const VIEW: Param =
    choice("view", &["native"], "Only the lossless model, without the document's own fields.");
const QUERY: Param = param("query", "json", "The model's query as JSON.");
const OPTIONS: Param = param("options", "json", "The model's options as JSON.");

fn paged(mut more: Vec<Param>) -> Vec<Param> {
    more.extend([
        param("limit", "integer", "The most items: 1 to 200 (1000 with view=native), 50 without it."),
        param("offset", "integer", "How many items to skip."),
        param("cursor", "string", "next_cursor of the page before, instead of an offset."),
        VIEW,
    ]);
    more
}

fn route(
    method: Method,
    path: &'static str,
    id: &'static str,
    permission: &'static str,
    handler: Handler,
    about: &'static str,
) -> Route {
    let category = if method == Method::GET { Category::Read } else { Category::Operations };
    let access = Access::Permission(permission);
    Route {
        method,
        path,
        id,
        about,
        access,
        category,
        query: Vec::new(),
        body: Body::Nothing,
        good: Good::Message,
        basic: false,
        handler,
    }
}

impl Route {
    fn takes(mut self, body: Body) -> Self {
        self.body = body;
        self
    }

    fn gives(mut self, good: Good) -> Self {
        self.good = good;
        self
    }

    fn query(mut self, query: Vec<Param>) -> Self {
        self.query = query;
        self
    }

    fn counts_as(mut self, category: Category) -> Self {
        self.category = category;
        self
    }

    fn with_basic(mut self) -> Self {
        self.basic = true;
        self
    }

    fn access(mut self, access: Access) -> Self {
        self.access = access;
        self
    }
}

/// Every route, made once.
pub(crate) fn table() -> &'static [Route] {
    static TABLE: OnceLock<Vec<Route>> = OnceLock::new();
    TABLE.get_or_init(|| {
        let parts = [gateway(), vms(), vm_parts(), places(), rest()];
        parts.into_iter().flatten().collect()
    })
}

fn gateway() -> Vec<Route> {
    vec![
        route(
            Method::GET,
            "/v1/health",
            "health",
            "*",
            handler!(about::health),
            "Whether the gateway works.",
        )
        .gives(Good::Data(&[
            ("status", Shape::Any),
            ("version", Shape::Any),
            ("uptime_seconds", Shape::Any),
            ("components", Shape::Any),
        ]))
        .access(Access::Open),
        route(
            Method::GET,
            "/v1/info",
            "info",
            "*",
            handler!(about::info),
            "What the gateway serves, what that can do, and what the limits are.",
        )
        .gives(Good::Data(&[
            ("name", Shape::Any),
            ("version", Shape::Any),
            ("api_versions", Shape::Any),
            ("backend", own!(model::BackendInfo)),
            ("capabilities", own!(model::Capabilities)),
            ("extensions", Shape::Any),
            ("limits", Shape::Any),
        ]))
        .access(Access::Token),
        route(Method::GET, "/v1/openapi.json", "openapi", "*", handler!(about::openapi), "This document.")
            .gives(Good::Bytes("application/json"))
            .access(Access::Token),
        route(
            Method::GET,
            "/metrics",
            "metrics",
            "monitoring:read",
            handler!(counters::get),
            "The gateway's counters, in Prometheus' format.",
        )
        .gives(Good::Bytes("text/plain")),
        route(
            Method::POST,
            "/v1/auth/tokens",
            "create_token",
            "token:write",
            handler!(tokens::post),
            "Makes a token.",
        )
        .takes(Body::Json(own!(tokens::CreateToken)))
        .gives(Good::Created(&[
            ("token_id", Shape::Any),
            ("access_token", Shape::Any),
            ("token_type", Shape::Any),
            ("expires_at", Shape::Any),
            ("permissions", Shape::Any),
        ]))
        .counts_as(Category::Authentication)
        .with_basic(),
        route(
            Method::GET,
            "/v1/auth/tokens",
            "list_tokens",
            "token:read",
            handler!(tokens::list),
            "Lists the tokens, without themselves.",
        )
        .gives(Good::Data(&[("tokens", many!(tokens::TokenItem))])),
        route(
            Method::DELETE,
            "/v1/auth/tokens/{token_id}",
            "revoke_token",
            "token:write",
            handler!(tokens::delete),
            "Revokes a token.",
        )
        .gives(Good::Message)
        .counts_as(Category::Authentication),
        route(
            Method::GET,
            "/v1/webhooks",
            "list_webhooks",
            "webhook:read",
            handler!(webhooks::list),
            "Lists the webhooks.",
        )
        .gives(Good::Data(&[("webhooks", many!(webhooks::WebhookView))])),
        route(
            Method::POST,
            "/v1/webhooks",
            "create_webhook",
            "webhook:write",
            handler!(webhooks::post),
            "Makes a webhook.",
        )
        .takes(Body::Json(own!(webhooks::CreateWebhook)))
        .gives(Good::Created(&[("webhook", own!(webhooks::WebhookView))])),
        route(
            Method::GET,
            "/v1/webhooks/{webhook_id}",
            "get_webhook",
            "webhook:read",
            handler!(webhooks::get),
            "Reads a webhook.",
        )
        .gives(Good::Data(&[("webhook", own!(webhooks::WebhookView))])),
        route(
            Method::PUT,
            "/v1/webhooks/{webhook_id}",
            "update_webhook",
            "webhook:write",
            handler!(webhooks::put),
            "Changes a webhook.",
        )
        .takes(Body::Json(own!(webhooks::UpdateWebhook)))
        .gives(Good::Data(&[("webhook", own!(webhooks::WebhookView))])),
        route(
            Method::DELETE,
            "/v1/webhooks/{webhook_id}",
            "delete_webhook",
            "webhook:write",
            handler!(webhooks::delete),
            "Deletes a webhook and what it was not told yet.",
        )
        .gives(Good::Message),
        route(
            Method::GET,
            "/v1/webhooks/{webhook_id}/deliveries",
            "list_deliveries",
            "webhook:read",
            handler!(webhooks::deliveries),
            "Lists what a webhook was told, and what it did not take.",
        )
        .gives(Good::Data(&[("deliveries", Shape::Any)])),
    ]
}

fn vms() -> Vec<Route> {
    vec![
        route(Method::GET, "/v1/vms", "list_vms", "vm:read", handler!(compute::list), "Lists the guests.")
            .gives(Good::Page("vms", own!(view::VmItem<'_>)))
            .query(paged(vec![
                param("status", "string", "Only guests in this state."),
                choice("environment", &view::ENVIRONMENTS, "Only guests with this tag."),
                choice("sort", &["name", "created_at", "status"], "name without it."),
                choice("order", &["asc", "desc"], "asc without it."),
                QUERY,
            ])),
        route(Method::POST, "/v1/vms", "create_vm", "vm:write", handler!(compute::post), "Creates a guest.")
            .takes(Body::Json(own!(create::CreateVm)))
            .gives(Good::Started(201, &[("vm", Shape::Any), ("unapplied", Shape::Any)])),
        route(
            Method::GET,
            "/v1/vms/{vm_id}",
            "get_vm",
            "vm:read",
            handler!(compute::get),
            "Reads one guest.",
        )
        .gives(Good::Data(&[("vm", own!(compute::VmDetails<'_>))]))
        .query(vec![VIEW]),
        route(
            Method::PUT,
            "/v1/vms/{vm_id}",
            "update_vm",
            "vm:write",
            handler!(compute::put),
            "Changes a guest's configuration.",
        )
        .takes(Body::Json(own!(compute::UpdateVm)))
        .gives(Good::Started(200, &[("vm", Shape::Any)])),
        route(
            Method::DELETE,
            "/v1/vms/{vm_id}",
            "delete_vm",
            "vm:write",
            handler!(compute::delete),
            "Deletes a guest.",
        )
        .gives(Good::Started(200, &[("vm", Shape::Any)]))
        .query(vec![
            param("force", "boolean", "Cut its power and delete its snapshots; false without it."),
            param("keep_backups", "boolean", "true without it."),
            OPTIONS,
        ]),
        route(
            Method::GET,
            "/v1/vms/{vm_id}/config",
            "get_vm_config",
            "vm:read",
            handler!(compute::config),
            "Reads a guest's whole configuration.",
        )
        .gives(Good::Data(&[("config", own!(model::VmConfig))])),
        route(
            Method::POST,
            "/v1/vms/{vm_id}/start",
            "start_vm",
            "vm:write",
            handler!(compute::start),
            "Powers a guest on, or wakes a hibernated one.",
        )
        .gives(Good::Started(200, &[("vm", Shape::Any)])),
        route(
            Method::POST,
            "/v1/vms/{vm_id}/stop",
            "stop_vm",
            "vm:write",
            handler!(compute::stop),
            "Asks a guest to power off, or cuts its power.",
        )
        .takes(Body::Maybe(own!(compute::Stop)))
        .gives(Good::Started(200, &[("vm", Shape::Any)])),
        route(
            Method::POST,
            "/v1/vms/{vm_id}/restart",
            "restart_vm",
            "vm:write",
            handler!(compute::restart),
            "Asks a guest to restart, or restarts it at once.",
        )
        .takes(Body::Maybe(own!(compute::Restart)))
        .gives(Good::Started(200, &[("vm", Shape::Any)])),
        route(
            Method::POST,
            "/v1/vms/{vm_id}/power",
            "power_vm",
            "vm:write",
            handler!(compute::post_power),
            "Carries out a power verb.",
        )
        .takes(Body::Json(own!(compute::Power)))
        .gives(Good::Started(200, &[("vm", Shape::Any)])),
        route(
            Method::POST,
            "/v1/vms/{vm_id}/clone",
            "clone_vm",
            "vm:write",
            handler!(compute::clone),
            "Copies a guest.",
        )
        .takes(Body::Json(with!("spec", model::CloneSpec)))
        .gives(Good::Started(201, &[("vm", Shape::Any)])),
        route(
            Method::POST,
            "/v1/vms/{vm_id}/clones",
            "clone_vms",
            "vm:write",
            handler!(compute::clones),
            "Copies a guest many times, and waits for the end.",
        )
        .takes(Body::Json(with!("spec", model::CloneMany)))
        .gives(Good::Data(&[("report", own!(model::BatchReport))]))
        .counts_as(Category::Bulk),
        route(
            Method::POST,
            "/v1/vms/{vm_id}/migrate",
            "migrate_vm",
            "vm:write",
            handler!(compute::migrate),
            "Moves a guest to another host.",
        )
        .takes(Body::Json(with!("spec", model::MigrateSpec)))
        .gives(Good::Started(200, &[])),
        route(
            Method::POST,
            "/v1/vms/{vm_id}/template",
            "create_template",
            "vm:write",
            handler!(compute::template),
            "Makes a template from a guest.",
        )
        .takes(Body::Json(with!("spec", model::TemplateSpec)))
        .gives(Good::Started(201, &[("template", Shape::Any)])),
        route(
            Method::POST,
            "/v1/templates/{template_id}/deploy",
            "deploy_template",
            "vm:write",
            handler!(compute::deploy),
            "Creates a guest from a template.",
        )
        .takes(Body::Json(with!("spec", model::DeploySpec)))
        .gives(Good::Started(201, &[("vm", Shape::Any)])),
        route(
            Method::POST,
            "/v1/vms/{vm_id}/export",
            "export_vm",
            "vm:write",
            handler!(compute::export),
            "Writes a guest's definition and disks to a directory on the host.",
        )
        .takes(Body::Json(with!("spec", model::ExportSpec)))
        .gives(Good::Started(201, &[])),
    ]
}

fn vm_parts() -> Vec<Route> {
    vec![
        route(Method::POST, "/v1/vms/{vm_id}/disks", "attach_disk", "vm:write", handler!(devices::attach_disk), "Attaches a disk.")
            .takes(Body::Json(with!("spec", model::DiskSpec)))
            .gives(Good::Started(201, &[("disk", Shape::Any)])),
        route(Method::PUT, "/v1/vms/{vm_id}/disks/{disk_id}", "resize_disk", "vm:write", handler!(devices::resize_disk), "Makes a disk larger.")
            .takes(Body::Json(own!(devices::Capacity)))
            .gives(Good::Started(200, &[])),
        route(Method::DELETE, "/v1/vms/{vm_id}/disks/{disk_id}", "detach_disk", "vm:write", handler!(devices::detach_disk), "Detaches a disk.")
            .gives(Good::Started(200, &[]))
            .query(vec![OPTIONS]),
        route(Method::POST, "/v1/vms/{vm_id}/nics", "attach_nic", "vm:write", handler!(devices::attach_nic), "Attaches a NIC.")
            .takes(Body::Json(with!("spec", model::NicSpec)))
            .gives(Good::Started(201, &[("nic", Shape::Any)])),
        route(Method::PUT, "/v1/vms/{vm_id}/nics/{nic_id}", "update_nic", "vm:write", handler!(devices::update_nic), "Changes what a NIC is plugged into.")
            .takes(Body::Json(with!("change", model::NicChange)))
            .gives(Good::Started(200, &[])),
        route(Method::DELETE, "/v1/vms/{vm_id}/nics/{nic_id}", "detach_nic", "vm:write", handler!(devices::detach_nic), "Detaches a NIC.")
            .gives(Good::Started(200, &[])),
        route(Method::GET, "/v1/vms/{vm_id}/console", "get_console", "vm:write", handler!(console::get), "Finds out how to reach a guest's console. It may hold a password, so that reading is not enough.")
            .gives(Good::Data(&[("access", own!(model::ConsoleAccess)), ("console_url", Shape::Any)]))
            .query(vec![param("kind", "string", "vnc, spice or serial.")]),
        route(Method::GET, "/v1/vms/{vm_id}/console/stream", "stream_console", "vm:write", handler!(console::stream), "A guest's console as a WebSocket of binary frames.")
            .gives(Good::Stream { server_sent: false })
            .query(vec![param("kind", "string", "vnc, spice or serial.")]),
        route(Method::GET, "/v1/vms/{vm_id}/screenshot", "screenshot_vm", "vm:read", handler!(console::screenshot), "Takes a picture of a guest's screen.")
            .gives(Good::Bytes("image/png")),
        route(Method::GET, "/v1/vms/{vm_id}/snapshots", "list_snapshots", "snapshot:read", handler!(snapshots::list), "Lists a guest's snapshots.")
            .gives(Good::Data(&[("snapshots", many!(view::SnapshotItem<'_>)), ("tree", many!(model::SnapshotInfo))]))
            .query(vec![VIEW]),
        route(Method::POST, "/v1/vms/{vm_id}/snapshots", "create_snapshot", "snapshot:write", handler!(snapshots::post), "Takes a snapshot.")
            .takes(Body::Json(own!(snapshots::CreateSnapshot)))
            .gives(Good::Started(201, &[("snapshot", Shape::Any)])),
        route(Method::GET, "/v1/vms/{vm_id}/snapshots/{snapshot_id}", "get_snapshot", "snapshot:read", handler!(snapshots::get), "Reads one snapshot.")
            .gives(Good::Data(&[("snapshot", own!(view::SnapshotItem<'_>))])),
        route(Method::DELETE, "/v1/vms/{vm_id}/snapshots/{snapshot_id}", "delete_snapshot", "snapshot:write", handler!(snapshots::delete), "Deletes a snapshot.")
            .gives(Good::Started(200, &[]))
            .query(vec![OPTIONS]),
        route(Method::POST, "/v1/vms/{vm_id}/snapshots/{snapshot_id}/restore", "revert_snapshot", "snapshot:write", handler!(snapshots::restore), "Takes a guest back to a snapshot.")
            .takes(Body::Maybe(own!(snapshots::Restore)))
            .gives(Good::Started(200, &[])),
        route(Method::POST, "/v1/guest/{vm_id}/ping", "ping_agent", "guest:read", handler!(guest::ping), "Finds out whether a guest's agent answers.")
            .gives(Good::Data(&[("agent", Shape::Any)]))
            .counts_as(Category::Read),
        route(Method::GET, "/v1/guest/{vm_id}/addresses", "list_addresses", "guest:read", handler!(guest::addresses), "Lists a guest's IP addresses.")
            .gives(Good::Data(&[("addresses", many!(model::GuestAddress))]))
            .query(vec![choice("source", &["lease", "agent", "arp", "config"], "All that answer without it.")]),
        route(Method::POST, "/v1/guest/{vm_id}/exec", "exec_in_guest", "guest:write", handler!(guest::exec), "Runs a command inside a guest and waits for its end.")
            .takes(Body::Json(with!("spec", model::ExecSpec)))
            .gives(Good::Data(&[("output", own!(model::ExecOutput))])),
        route(Method::GET, "/v1/guest/{vm_id}/file", "read_guest_file", "guest:read", handler!(guest::read_file), "Reads a file inside a guest.")
            .gives(Good::Bytes("application/octet-stream"))
            .query(vec![param("path", "string", "Inside the guest."), param("limit", "integer", "Bytes.")]),
        route(Method::PUT, "/v1/guest/{vm_id}/file", "write_guest_file", "guest:write", handler!(guest::write_file), "Writes a file inside a guest.")
            .takes(Body::Bytes)
            .gives(Good::Data(&[("path", Shape::Any), ("bytes", Shape::Any)]))
            .query(vec![param("path", "string", "Inside the guest."), OPTIONS]),
        route(Method::POST, "/v1/guest/{vm_id}/freeze", "freeze_filesystems", "guest:write", handler!(guest::freeze), "Freezes a guest's file systems.")
            .gives(Good::Data(&[("count", Shape::Any)])),
        route(Method::POST, "/v1/guest/{vm_id}/thaw", "thaw_filesystems", "guest:write", handler!(guest::thaw), "Thaws a guest's file systems.")
            .gives(Good::Data(&[("count", Shape::Any)])),
    ]
}

fn places() -> Vec<Route> {
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
        .gives(Good::Started(201, &[("group", Shape::Any)])),
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
        .gives(Good::Started(200, &[])),
        route(
            Method::DELETE,
            "/v1/groups/{group_id}",
            "delete_group",
            "group:write",
            handler!(groups::delete),
            "Deletes an empty resource group.",
        )
        .gives(Good::Started(200, &[])),
        route(
            Method::GET,
            "/v1/storage",
            "list_pools",
            "storage:read",
            handler!(storage::list),
            "Lists the storage pools.",
        )
        .gives(Good::Page("pools", own!(view::PoolItem<'_>)))
        .query(paged(vec![QUERY])),
        route(
            Method::POST,
            "/v1/storage",
            "create_pool",
            "storage:write",
            handler!(storage::post),
            "Creates a storage pool.",
        )
        .takes(Body::Json(own!(storage::CreatePool)))
        .gives(Good::Started(201, &[("pool", Shape::Any)])),
        route(
            Method::GET,
            "/v1/storage/{pool_id}",
            "get_pool",
            "storage:read",
            handler!(storage::get),
            "Reads one storage pool.",
        )
        .gives(Good::Data(&[("pool", own!(view::PoolItem<'_>))])),
        route(
            Method::DELETE,
            "/v1/storage/{pool_id}",
            "delete_pool",
            "storage:write",
            handler!(storage::delete),
            "Deletes a storage pool.",
        )
        .gives(Good::Started(200, &[]))
        .query(vec![OPTIONS]),
        route(
            Method::GET,
            "/v1/storage/{pool_id}/volumes",
            "list_volumes",
            "storage:read",
            handler!(volumes::list),
            "Lists the volumes of a pool.",
        )
        .gives(Good::Page("volumes", own!(view::VolumeItem<'_>)))
        .query(paged(Vec::new())),
        route(
            Method::POST,
            "/v1/volumes",
            "create_volume",
            "storage:write",
            handler!(volumes::post),
            "Creates a volume.",
        )
        .takes(Body::Json(with!("spec", model::VolumeSpec)))
        .gives(Good::Started(201, &[("volume", Shape::Any)])),
        route(
            Method::PUT,
            "/v1/volumes/upload",
            "upload_volume",
            "storage:write",
            handler!(volumes::upload),
            "Writes a stream of bytes into a volume. Needs a Content-Length.",
        )
        .takes(Body::Bytes)
        .gives(Good::Started(200, &[("volume", Shape::Any)]))
        .query(vec![param("target", "json", "The model's UploadVolume as JSON.")]),
        route(
            Method::GET,
            "/v1/volumes/{volume_id}",
            "get_volume",
            "storage:read",
            handler!(volumes::get),
            "Reads one volume.",
        )
        .gives(Good::Data(&[("volume", own!(view::VolumeItem<'_>))])),
        route(
            Method::DELETE,
            "/v1/volumes/{volume_id}",
            "delete_volume",
            "storage:write",
            handler!(volumes::delete),
            "Deletes a volume.",
        )
        .gives(Good::Started(200, &[])),
        route(
            Method::GET,
            "/v1/volumes/{volume_id}/content",
            "download_volume",
            "storage:read",
            handler!(volumes::download),
            "Reads a volume as a stream of bytes.",
        )
        .gives(Good::Bytes("application/octet-stream"))
        .query(vec![OPTIONS]),
        route(
            Method::POST,
            "/v1/volumes/{volume_id}/clone",
            "clone_volume",
            "storage:write",
            handler!(volumes::clone),
            "Copies a volume.",
        )
        .takes(Body::Json(with!("spec", model::CloneVolume)))
        .gives(Good::Started(201, &[("volume", Shape::Any)])),
        route(
            Method::POST,
            "/v1/volumes/{volume_id}/resize",
            "resize_volume",
            "storage:write",
            handler!(volumes::resize),
            "Changes a volume's size.",
        )
        .takes(Body::Json(with!("options", model::ResizeVolume)))
        .gives(Good::Started(200, &[])),
        route(
            Method::POST,
            "/v1/volumes/{volume_id}/wipe",
            "wipe_volume",
            "storage:write",
            handler!(volumes::wipe),
            "Overwrites a volume's content.",
        )
        .takes(Body::Maybe(own!(volumes::Wipe)))
        .gives(Good::Started(200, &[])),
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
        .gives(Good::Started(201, &[("network", Shape::Any), ("unapplied", Shape::Any)])),
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
        .gives(Good::Started(200, &[])),
        route(
            Method::DELETE,
            "/v1/networks/{network_id}",
            "delete_network",
            "network:write",
            handler!(network::delete),
            "Deletes a network.",
        )
        .gives(Good::Started(200, &[])),
        route(
            Method::POST,
            "/v1/networks/{network_id}/start",
            "start_network",
            "network:write",
            handler!(network::start),
            "Brings a network up.",
        )
        .gives(Good::Started(200, &[])),
        route(
            Method::POST,
            "/v1/networks/{network_id}/stop",
            "stop_network",
            "network:write",
            handler!(network::stop),
            "Takes a network down.",
        )
        .gives(Good::Started(200, &[])),
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

fn rest() -> Vec<Route> {
    vec![
        route(Method::GET, "/v1/backups", "list_backups", "backup:read", handler!(backups::list), "Lists the backups.")
            .gives(Good::Page("backups", own!(view::BackupItem<'_>)))
            .query(paged(vec![param("vm_id", "string", "Only of this guest."), QUERY])),
        route(Method::POST, "/v1/backups", "create_backup", "backup:write", handler!(backups::post), "Backs a guest up.")
            .takes(Body::Json(own!(backups::CreateBackup)))
            .gives(Good::Started(201, &[("backup", Shape::Any), ("unapplied", Shape::Any)])),
        route(Method::GET, "/v1/backups/{backup_id}", "get_backup", "backup:read", handler!(backups::get), "Reads one backup.")
            .gives(Good::Data(&[("backup", own!(view::BackupItem<'_>))])),
        route(Method::DELETE, "/v1/backups/{backup_id}", "delete_backup", "backup:write", handler!(backups::delete), "Deletes a backup.")
            .gives(Good::Started(200, &[])),
        route(Method::POST, "/v1/backups/{backup_id}/restore", "restore_backup", "backup:write", handler!(backups::restore), "Makes a guest from a backup, or overwrites the one that it was made of.")
            .takes(Body::Maybe(own!(backups::Restore)))
            .gives(Good::Started(201, &[("vm", Shape::Any)])),
        route(Method::GET, "/v1/jobs", "list_tasks", "job:read", handler!(tasks::list), "Lists the gateway's jobs, the latest first; with view=native the backend's tasks.")
            .gives(Good::Page("jobs", own!(view::JobView)))
            .query(paged(vec![
                param("vm_id", "string", "Only of this guest."),
                param("status", "string", "Only in this state."),
                QUERY,
            ])),
        route(Method::GET, "/v1/jobs/{job_id}", "get_task", "job:read", handler!(tasks::get), "Reads a job.")
            .gives(Good::Data(&[("job", own!(view::JobView))]))
            .query(vec![param("hold", "number", "Wait so many seconds for a change, at most 30."), VIEW]),
        route(Method::GET, "/v1/jobs/{job_id}/logs", "get_task_log", "job:read", handler!(tasks::logs), "Reads a part of a job's log.")
            .gives(Good::Data(&[("log", own!(model::TaskLog))]))
            .query(vec![
                param("from", "integer", "The first line; 0 without it."),
                param("limit", "integer", "The most lines."),
            ]),
        route(Method::DELETE, "/v1/jobs/{job_id}", "cancel_task", "job:write", handler!(tasks::cancel), "Asks a job to end.")
            .gives(Good::Data(&[("job", Shape::Any)])),
        route(Method::GET, "/v1/monitoring/metrics", "system_metrics", "monitoring:read", handler!(metrics::system), "The whole system in a few numbers.")
            .gives(Good::Data(&[("metrics", Shape::Any), ("unreachable", many!(model::Unreachable))])),
        route(Method::GET, "/v1/monitoring/hosts/{host_id}/metrics", "get_host_metrics", "monitoring:read", handler!(metrics::host), "Reads a host's load.")
            .gives(Good::Data(&[("metrics", own!(model::HostMetrics))])),
        route(Method::GET, "/v1/monitoring/vms", "list_vm_metrics", "monitoring:read", handler!(metrics::vms), "Reads the load of all running guests.")
            .gives(Good::Page("metrics", own!(model::VmMetrics)))
            .query(paged(Vec::new())),
        route(Method::GET, "/v1/monitoring/vms/{vm_id}/metrics", "get_vm_metrics", "monitoring:read", handler!(metrics::vm), "Reads one guest's load.")
            .gives(Good::Data(&[("vm_id", Shape::Any), ("metrics", Shape::Any), ("history", own!(model::MetricsHistory)), ("info", own!(model::VmMetrics))]))
            .query(vec![
                param("period", "string", "1h, 24h, 7d or 30d: with the load over that time."),
                param("metrics", "string", "Some of cpu,memory,disk,network."),
                VIEW,
            ]),
        route(Method::GET, "/v1/monitoring/history", "get_metrics_history", "monitoring:read", handler!(metrics::history), "Reads the load over a period.")
            .gives(Good::Data(&[("history", own!(model::MetricsHistory))]))
            .query(vec![
                param("target", "json", "The model's MetricsTarget as JSON."),
                param("period", "string", "hour, day, week, month or year."),
            ]),
        route(Method::POST, "/v1/batch", "submit_batch", "batch:write", handler!(batch::submit), "Runs many operations and waits for their ends. Each needs its own permission too.")
            .takes(Body::Json(own!(batch::Submit)))
            .gives(Good::Data(&[("report", own!(model::BatchReport))]))
            .counts_as(Category::Bulk),
        route(Method::POST, "/v1/batch/bulk", "submit_bulk", "batch:write", handler!(batch::bulk), "Sends many operations as one call of the backend, where it has one. Each needs its own permission too.")
            .takes(Body::Json(own!(batch::Bulk)))
            .gives(Good::Data(&[("results", Shape::Any)]))
            .counts_as(Category::Bulk),
        route(Method::GET, "/v1/watch", "watch", "monitoring:read", handler!(events::watch), "The changes as they happen: a WebSocket, or server-sent events with Accept: text/event-stream.")
            .gives(Good::Stream { server_sent: true })
            .query(vec![QUERY]),
        route(Method::POST, "/v1/security/scans", "start_scan", "security:write", handler!(scans::start), "Begins a security scan, where the server has a scanner.")
            .takes(Body::Json(own!(hooks::ScanRequest)))
            .gives(Good::Created(&[("scan", own!(hooks::Scan))])),
        route(Method::GET, "/v1/security/scans/{scan_id}", "get_scan", "security:read", handler!(scans::get), "Reads a security scan.")
            .gives(Good::Data(&[("scan", own!(hooks::Scan))])),
        route(Method::POST, "/v1/ai/generate", "generate", "ai:write", handler!(scans::generate), "Generates infrastructure code, where the server has somebody who does.")
            .takes(Body::Json(own!(hooks::Generate)))
            .gives(Good::Data(&[("generated_code", own!(hooks::Generated))]))
            .counts_as(Category::Ai),
    ]
}
