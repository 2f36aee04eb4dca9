//! The table itself.

use std::sync::OnceLock;

use axum::http::Method;

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

macro_rules! handler {
    ($path:path) => {
        |call| Box::pin($path(call))
    };
}

const NO: Body = Body::Nothing;

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
    body: Body,
    good: Good,
    handler: Handler,
    about: &'static str,
) -> Route {
    let category = if method == Method::GET { Category::Read } else { Category::Operations };
    let access = Access::Permission(permission);
    Route { method, path, id, about, access, category, query: Vec::new(), body, good, basic: false, handler }
}

impl Route {
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
            NO,
            Good::Data(&[
                ("status", Shape::Any),
                ("version", Shape::Any),
                ("uptime_seconds", Shape::Any),
                ("components", Shape::Any),
            ]),
            handler!(about::health),
            "Whether the gateway works.",
        )
        .access(Access::Open),
        route(
            Method::GET,
            "/v1/info",
            "info",
            "*",
            NO,
            Good::Data(&[
                ("name", Shape::Any),
                ("version", Shape::Any),
                ("backend", Shape::Model("BackendInfo")),
                ("capabilities", Shape::Model("Capabilities")),
                ("extensions", Shape::Any),
                ("limits", Shape::Any),
            ]),
            handler!(about::info),
            "What the gateway serves, what that can do, and what the limits are.",
        )
        .access(Access::Token),
        route(
            Method::GET,
            "/v1/openapi.json",
            "openapi",
            "*",
            NO,
            Good::Bytes("application/json"),
            handler!(about::openapi),
            "This document.",
        )
        .access(Access::Token),
        route(
            Method::GET,
            "/metrics",
            "metrics",
            "monitoring:read",
            NO,
            Good::Bytes("text/plain"),
            handler!(counters::get),
            "The gateway's counters, in Prometheus' format.",
        ),
        route(
            Method::POST,
            "/v1/auth/tokens",
            "create_token",
            "token:write",
            Body::Json(own!(tokens::CreateToken)),
            Good::Created(&[
                ("token_id", Shape::Any),
                ("access_token", Shape::Any),
                ("token_type", Shape::Any),
                ("expires_at", Shape::Any),
                ("permissions", Shape::Any),
            ]),
            handler!(tokens::post),
            "Makes a token.",
        )
        .counts_as(Category::Authentication)
        .with_basic(),
        route(
            Method::GET,
            "/v1/auth/tokens",
            "list_tokens",
            "token:read",
            NO,
            Good::Data(&[("tokens", many!(tokens::TokenItem))]),
            handler!(tokens::list),
            "Lists the tokens, without themselves.",
        ),
        route(
            Method::DELETE,
            "/v1/auth/tokens/{token_id}",
            "revoke_token",
            "token:write",
            NO,
            Good::Message,
            handler!(tokens::delete),
            "Revokes a token.",
        )
        .counts_as(Category::Authentication),
        route(
            Method::GET,
            "/v1/webhooks",
            "list_webhooks",
            "webhook:read",
            NO,
            Good::Data(&[("webhooks", many!(webhooks::WebhookView))]),
            handler!(webhooks::list),
            "Lists the webhooks.",
        ),
        route(
            Method::POST,
            "/v1/webhooks",
            "create_webhook",
            "webhook:write",
            Body::Json(own!(webhooks::CreateWebhook)),
            Good::Created(&[("webhook", own!(webhooks::WebhookView))]),
            handler!(webhooks::post),
            "Makes a webhook.",
        ),
        route(
            Method::GET,
            "/v1/webhooks/{webhook_id}",
            "get_webhook",
            "webhook:read",
            NO,
            Good::Data(&[("webhook", own!(webhooks::WebhookView))]),
            handler!(webhooks::get),
            "Reads a webhook.",
        ),
        route(
            Method::PUT,
            "/v1/webhooks/{webhook_id}",
            "update_webhook",
            "webhook:write",
            Body::Json(own!(webhooks::UpdateWebhook)),
            Good::Data(&[("webhook", own!(webhooks::WebhookView))]),
            handler!(webhooks::put),
            "Changes a webhook.",
        ),
        route(
            Method::DELETE,
            "/v1/webhooks/{webhook_id}",
            "delete_webhook",
            "webhook:write",
            NO,
            Good::Message,
            handler!(webhooks::delete),
            "Deletes a webhook and what it was not told yet.",
        ),
        route(
            Method::GET,
            "/v1/webhooks/{webhook_id}/deliveries",
            "list_deliveries",
            "webhook:read",
            NO,
            Good::Data(&[("deliveries", Shape::Any)]),
            handler!(webhooks::deliveries),
            "Lists what a webhook was told, and what it did not take.",
        ),
    ]
}

fn vms() -> Vec<Route> {
    vec![
        route(
            Method::GET,
            "/v1/vms",
            "list_vms",
            "vm:read",
            NO,
            Good::Page("vms", own!(view::VmItem<'_>)),
            handler!(compute::list),
            "Lists the guests.",
        )
        .query(paged(vec![
            param("status", "string", "Only guests in this state."),
            choice("environment", &view::ENVIRONMENTS, "Only guests with this tag."),
            choice("sort", &["name", "created_at", "status"], "name without it."),
            choice("order", &["asc", "desc"], "asc without it."),
            QUERY,
        ])),
        route(
            Method::POST,
            "/v1/vms",
            "create_vm",
            "vm:write",
            Body::Json(own!(create::CreateVm)),
            Good::Started(201, &[("vm", Shape::Any), ("unapplied", Shape::Any)]),
            handler!(compute::post),
            "Creates a guest.",
        ),
        route(
            Method::GET,
            "/v1/vms/{vm_id}",
            "get_vm",
            "vm:read",
            NO,
            Good::Data(&[("vm", own!(compute::VmDetails<'_>))]),
            handler!(compute::get),
            "Reads one guest.",
        )
        .query(vec![VIEW]),
        route(
            Method::PUT,
            "/v1/vms/{vm_id}",
            "update_vm",
            "vm:write",
            Body::Json(own!(compute::UpdateVm)),
            Good::Started(200, &[("vm", Shape::Any)]),
            handler!(compute::put),
            "Changes a guest's configuration.",
        ),
        route(
            Method::DELETE,
            "/v1/vms/{vm_id}",
            "delete_vm",
            "vm:write",
            NO,
            Good::Started(200, &[("vm", Shape::Any)]),
            handler!(compute::delete),
            "Deletes a guest.",
        )
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
            NO,
            Good::Data(&[("config", Shape::Model("VmConfig"))]),
            handler!(compute::config),
            "Reads a guest's whole configuration.",
        ),
        route(
            Method::POST,
            "/v1/vms/{vm_id}/start",
            "start_vm",
            "vm:write",
            NO,
            Good::Started(200, &[("vm", Shape::Any)]),
            handler!(compute::start),
            "Powers a guest on, or wakes a hibernated one.",
        ),
        route(
            Method::POST,
            "/v1/vms/{vm_id}/stop",
            "stop_vm",
            "vm:write",
            Body::Maybe(own!(compute::Stop)),
            Good::Started(200, &[("vm", Shape::Any)]),
            handler!(compute::stop),
            "Asks a guest to power off, or cuts its power.",
        ),
        route(
            Method::POST,
            "/v1/vms/{vm_id}/restart",
            "restart_vm",
            "vm:write",
            Body::Maybe(own!(compute::Restart)),
            Good::Started(200, &[("vm", Shape::Any)]),
            handler!(compute::restart),
            "Asks a guest to restart, or restarts it at once.",
        ),
        route(
            Method::POST,
            "/v1/vms/{vm_id}/power",
            "power_vm",
            "vm:write",
            Body::Json(own!(compute::Power)),
            Good::Started(200, &[("vm", Shape::Any)]),
            handler!(compute::post_power),
            "Carries out a power verb.",
        ),
        route(
            Method::POST,
            "/v1/vms/{vm_id}/clone",
            "clone_vm",
            "vm:write",
            Body::Json(Shape::Model("{spec: CloneSpec}")),
            Good::Started(201, &[("vm", Shape::Any)]),
            handler!(compute::clone),
            "Copies a guest.",
        ),
        route(
            Method::POST,
            "/v1/vms/{vm_id}/clones",
            "clone_vms",
            "vm:write",
            Body::Json(Shape::Model("{spec: CloneMany}")),
            Good::Data(&[("report", Shape::Model("BatchReport"))]),
            handler!(compute::clones),
            "Copies a guest many times, and waits for the end.",
        )
        .counts_as(Category::Bulk),
        route(
            Method::POST,
            "/v1/vms/{vm_id}/migrate",
            "migrate_vm",
            "vm:write",
            Body::Json(Shape::Model("{spec: MigrateSpec}")),
            Good::Started(200, &[]),
            handler!(compute::migrate),
            "Moves a guest to another host.",
        ),
        route(
            Method::POST,
            "/v1/vms/{vm_id}/template",
            "create_template",
            "vm:write",
            Body::Json(Shape::Model("{spec: TemplateSpec}")),
            Good::Started(201, &[("template", Shape::Any)]),
            handler!(compute::template),
            "Makes a template from a guest.",
        ),
        route(
            Method::POST,
            "/v1/templates/{template_id}/deploy",
            "deploy_template",
            "vm:write",
            Body::Json(Shape::Model("{spec: DeploySpec}")),
            Good::Started(201, &[("vm", Shape::Any)]),
            handler!(compute::deploy),
            "Creates a guest from a template.",
        ),
        route(
            Method::POST,
            "/v1/vms/{vm_id}/export",
            "export_vm",
            "vm:write",
            Body::Json(Shape::Model("{spec: ExportSpec}")),
            Good::Started(201, &[]),
            handler!(compute::export),
            "Writes a guest's definition and disks to a directory on the host.",
        ),
    ]
}

fn vm_parts() -> Vec<Route> {
    vec![
        route(Method::POST, "/v1/vms/{vm_id}/disks", "attach_disk", "vm:write", Body::Json(Shape::Model("{spec: DiskSpec}")), Good::Started(201, &[("disk", Shape::Any)]), handler!(devices::attach_disk), "Attaches a disk."),
        route(Method::PUT, "/v1/vms/{vm_id}/disks/{disk_id}", "resize_disk", "vm:write", Body::Json(own!(devices::Capacity)), Good::Started(200, &[]), handler!(devices::resize_disk), "Makes a disk larger."),
        route(Method::DELETE, "/v1/vms/{vm_id}/disks/{disk_id}", "detach_disk", "vm:write", NO, Good::Started(200, &[]), handler!(devices::detach_disk), "Detaches a disk.")
            .query(vec![OPTIONS]),
        route(Method::POST, "/v1/vms/{vm_id}/nics", "attach_nic", "vm:write", Body::Json(Shape::Model("{spec: NicSpec}")), Good::Started(201, &[("nic", Shape::Any)]), handler!(devices::attach_nic), "Attaches a NIC."),
        route(Method::PUT, "/v1/vms/{vm_id}/nics/{nic_id}", "update_nic", "vm:write", Body::Json(Shape::Model("{change: NicChange}")), Good::Started(200, &[]), handler!(devices::update_nic), "Changes what a NIC is plugged into."),
        route(Method::DELETE, "/v1/vms/{vm_id}/nics/{nic_id}", "detach_nic", "vm:write", NO, Good::Started(200, &[]), handler!(devices::detach_nic), "Detaches a NIC."),
        route(Method::GET, "/v1/vms/{vm_id}/console", "get_console", "vm:write", NO, Good::Data(&[("access", Shape::Model("ConsoleAccess")), ("console_url", Shape::Any)]), handler!(console::get), "Finds out how to reach a guest's console. It may hold a password, so that reading is not enough.")
            .query(vec![param("kind", "string", "vnc, spice or serial.")]),
        route(Method::GET, "/v1/vms/{vm_id}/console/stream", "stream_console", "vm:write", NO, Good::Stream { server_sent: false }, handler!(console::stream), "A guest's console as a WebSocket of binary frames.")
            .query(vec![param("kind", "string", "vnc, spice or serial.")]),
        route(Method::GET, "/v1/vms/{vm_id}/screenshot", "screenshot_vm", "vm:read", NO, Good::Bytes("image/png"), handler!(console::screenshot), "Takes a picture of a guest's screen."),
        route(Method::GET, "/v1/vms/{vm_id}/snapshots", "list_snapshots", "snapshot:read", NO, Good::Data(&[("snapshots", many!(view::SnapshotItem<'_>)), ("tree", Shape::Models("SnapshotInfo"))]), handler!(snapshots::list), "Lists a guest's snapshots.")
            .query(vec![VIEW]),
        route(Method::POST, "/v1/vms/{vm_id}/snapshots", "create_snapshot", "snapshot:write", Body::Json(own!(snapshots::CreateSnapshot)), Good::Started(201, &[("snapshot", Shape::Any)]), handler!(snapshots::post), "Takes a snapshot."),
        route(Method::GET, "/v1/vms/{vm_id}/snapshots/{snapshot_id}", "get_snapshot", "snapshot:read", NO, Good::Data(&[("snapshot", own!(view::SnapshotItem<'_>))]), handler!(snapshots::get), "Reads one snapshot."),
        route(Method::DELETE, "/v1/vms/{vm_id}/snapshots/{snapshot_id}", "delete_snapshot", "snapshot:write", NO, Good::Started(200, &[]), handler!(snapshots::delete), "Deletes a snapshot.")
            .query(vec![OPTIONS]),
        route(Method::POST, "/v1/vms/{vm_id}/snapshots/{snapshot_id}/restore", "revert_snapshot", "snapshot:write", Body::Maybe(own!(snapshots::Restore)), Good::Started(200, &[]), handler!(snapshots::restore), "Takes a guest back to a snapshot."),
        route(Method::POST, "/v1/guest/{vm_id}/ping", "ping_agent", "guest:read", NO, Good::Data(&[("agent", Shape::Any)]), handler!(guest::ping), "Finds out whether a guest's agent answers.")
            .counts_as(Category::Read),
        route(Method::GET, "/v1/guest/{vm_id}/addresses", "list_addresses", "guest:read", NO, Good::Data(&[("addresses", Shape::Models("GuestAddress"))]), handler!(guest::addresses), "Lists a guest's IP addresses.")
            .query(vec![choice("source", &["lease", "agent", "arp", "config"], "All that answer without it.")]),
        route(Method::POST, "/v1/guest/{vm_id}/exec", "exec_in_guest", "guest:write", Body::Json(Shape::Model("{spec: ExecSpec}")), Good::Data(&[("output", Shape::Model("ExecOutput"))]), handler!(guest::exec), "Runs a command inside a guest and waits for its end."),
        route(Method::GET, "/v1/guest/{vm_id}/file", "read_guest_file", "guest:read", NO, Good::Bytes("application/octet-stream"), handler!(guest::read_file), "Reads a file inside a guest.")
            .query(vec![param("path", "string", "Inside the guest."), param("limit", "integer", "Bytes.")]),
        route(Method::PUT, "/v1/guest/{vm_id}/file", "write_guest_file", "guest:write", Body::Bytes, Good::Data(&[("path", Shape::Any), ("bytes", Shape::Any)]), handler!(guest::write_file), "Writes a file inside a guest.")
            .query(vec![param("path", "string", "Inside the guest."), OPTIONS]),
        route(Method::POST, "/v1/guest/{vm_id}/freeze", "freeze_filesystems", "guest:write", NO, Good::Data(&[("count", Shape::Any)]), handler!(guest::freeze), "Freezes a guest's file systems."),
        route(Method::POST, "/v1/guest/{vm_id}/thaw", "thaw_filesystems", "guest:write", NO, Good::Data(&[("count", Shape::Any)]), handler!(guest::thaw), "Thaws a guest's file systems."),
    ]
}

fn places() -> Vec<Route> {
    vec![
        route(
            Method::GET,
            "/v1/cluster",
            "get_cluster",
            "host:read",
            NO,
            Good::Data(&[("cluster", Shape::Model("ClusterInfo"))]),
            handler!(hosts::cluster),
            "Reads the state of the cluster.",
        ),
        route(
            Method::GET,
            "/v1/hosts",
            "list_hosts",
            "host:read",
            NO,
            Good::Page("hosts", own!(view::HostItem<'_>)),
            handler!(hosts::list),
            "Lists the hosts.",
        )
        .query(paged(Vec::new())),
        route(
            Method::GET,
            "/v1/hosts/{host_id}",
            "get_host",
            "host:read",
            NO,
            Good::Data(&[("host", own!(view::HostItem<'_>))]),
            handler!(hosts::get),
            "Reads one host.",
        ),
        route(
            Method::GET,
            "/v1/groups",
            "list_groups",
            "group:read",
            NO,
            Good::Page("groups", Shape::Model("GroupInfo")),
            handler!(groups::list),
            "Lists the resource groups.",
        )
        .query(paged(Vec::new())),
        route(
            Method::POST,
            "/v1/groups",
            "create_group",
            "group:write",
            Body::Json(Shape::Model("{spec: GroupSpec}")),
            Good::Started(201, &[("group", Shape::Any)]),
            handler!(groups::post),
            "Creates a resource group.",
        ),
        route(
            Method::GET,
            "/v1/groups/{group_id}",
            "get_group",
            "group:read",
            NO,
            Good::Data(&[("group", Shape::Model("GroupInfo"))]),
            handler!(groups::get),
            "Reads a resource group with its members.",
        ),
        route(
            Method::PUT,
            "/v1/groups/{group_id}",
            "update_group",
            "group:write",
            Body::Json(Shape::Model("{change: GroupChange}")),
            Good::Started(200, &[]),
            handler!(groups::put),
            "Changes a resource group and its members.",
        ),
        route(
            Method::DELETE,
            "/v1/groups/{group_id}",
            "delete_group",
            "group:write",
            NO,
            Good::Started(200, &[]),
            handler!(groups::delete),
            "Deletes an empty resource group.",
        ),
        route(
            Method::GET,
            "/v1/storage",
            "list_pools",
            "storage:read",
            NO,
            Good::Page("pools", own!(view::PoolItem<'_>)),
            handler!(storage::list),
            "Lists the storage pools.",
        )
        .query(paged(vec![QUERY])),
        route(
            Method::POST,
            "/v1/storage",
            "create_pool",
            "storage:write",
            Body::Json(own!(storage::CreatePool)),
            Good::Started(201, &[("pool", Shape::Any)]),
            handler!(storage::post),
            "Creates a storage pool.",
        ),
        route(
            Method::GET,
            "/v1/storage/{pool_id}",
            "get_pool",
            "storage:read",
            NO,
            Good::Data(&[("pool", own!(view::PoolItem<'_>))]),
            handler!(storage::get),
            "Reads one storage pool.",
        ),
        route(
            Method::DELETE,
            "/v1/storage/{pool_id}",
            "delete_pool",
            "storage:write",
            NO,
            Good::Started(200, &[]),
            handler!(storage::delete),
            "Deletes a storage pool.",
        )
        .query(vec![OPTIONS]),
        route(
            Method::GET,
            "/v1/storage/{pool_id}/volumes",
            "list_volumes",
            "storage:read",
            NO,
            Good::Page("volumes", own!(view::VolumeItem<'_>)),
            handler!(volumes::list),
            "Lists the volumes of a pool.",
        )
        .query(paged(Vec::new())),
        route(
            Method::POST,
            "/v1/volumes",
            "create_volume",
            "storage:write",
            Body::Json(Shape::Model("{spec: VolumeSpec}")),
            Good::Started(201, &[("volume", Shape::Any)]),
            handler!(volumes::post),
            "Creates a volume.",
        ),
        route(
            Method::PUT,
            "/v1/volumes/upload",
            "upload_volume",
            "storage:write",
            Body::Bytes,
            Good::Started(200, &[("volume", Shape::Any)]),
            handler!(volumes::upload),
            "Writes a stream of bytes into a volume. Needs a Content-Length.",
        )
        .query(vec![param("target", "json", "The model's UploadVolume as JSON.")]),
        route(
            Method::GET,
            "/v1/volumes/{volume_id}",
            "get_volume",
            "storage:read",
            NO,
            Good::Data(&[("volume", own!(view::VolumeItem<'_>))]),
            handler!(volumes::get),
            "Reads one volume.",
        ),
        route(
            Method::DELETE,
            "/v1/volumes/{volume_id}",
            "delete_volume",
            "storage:write",
            NO,
            Good::Started(200, &[]),
            handler!(volumes::delete),
            "Deletes a volume.",
        ),
        route(
            Method::GET,
            "/v1/volumes/{volume_id}/content",
            "download_volume",
            "storage:read",
            NO,
            Good::Bytes("application/octet-stream"),
            handler!(volumes::download),
            "Reads a volume as a stream of bytes.",
        )
        .query(vec![OPTIONS]),
        route(
            Method::POST,
            "/v1/volumes/{volume_id}/clone",
            "clone_volume",
            "storage:write",
            Body::Json(Shape::Model("{spec: CloneVolume}")),
            Good::Started(201, &[("volume", Shape::Any)]),
            handler!(volumes::clone),
            "Copies a volume.",
        ),
        route(
            Method::POST,
            "/v1/volumes/{volume_id}/resize",
            "resize_volume",
            "storage:write",
            Body::Json(Shape::Model("{options: ResizeVolume}")),
            Good::Started(200, &[]),
            handler!(volumes::resize),
            "Changes a volume's size.",
        ),
        route(
            Method::POST,
            "/v1/volumes/{volume_id}/wipe",
            "wipe_volume",
            "storage:write",
            Body::Maybe(own!(volumes::Wipe)),
            Good::Started(200, &[]),
            handler!(volumes::wipe),
            "Overwrites a volume's content.",
        ),
        route(
            Method::GET,
            "/v1/networks",
            "list_networks",
            "network:read",
            NO,
            Good::Page("networks", own!(view::NetworkItem<'_>)),
            handler!(network::list),
            "Lists the networks.",
        )
        .query(paged(Vec::new())),
        route(
            Method::POST,
            "/v1/networks",
            "create_network",
            "network:write",
            Body::Json(own!(network::CreateNetwork)),
            Good::Started(201, &[("network", Shape::Any), ("unapplied", Shape::Any)]),
            handler!(network::post),
            "Creates a network.",
        ),
        route(
            Method::GET,
            "/v1/networks/{network_id}",
            "get_network",
            "network:read",
            NO,
            Good::Data(&[("network", own!(view::NetworkItem<'_>))]),
            handler!(network::get),
            "Reads one network.",
        ),
        route(
            Method::PUT,
            "/v1/networks/{network_id}",
            "update_network",
            "network:write",
            Body::Json(Shape::Model("{change: NetworkChange}")),
            Good::Started(200, &[]),
            handler!(network::put),
            "Changes a network.",
        ),
        route(
            Method::DELETE,
            "/v1/networks/{network_id}",
            "delete_network",
            "network:write",
            NO,
            Good::Started(200, &[]),
            handler!(network::delete),
            "Deletes a network.",
        ),
        route(
            Method::POST,
            "/v1/networks/{network_id}/start",
            "start_network",
            "network:write",
            NO,
            Good::Started(200, &[]),
            handler!(network::start),
            "Brings a network up.",
        ),
        route(
            Method::POST,
            "/v1/networks/{network_id}/stop",
            "stop_network",
            "network:write",
            NO,
            Good::Started(200, &[]),
            handler!(network::stop),
            "Takes a network down.",
        ),
        route(
            Method::GET,
            "/v1/networks/{network_id}/leases",
            "list_leases",
            "network:read",
            NO,
            Good::Data(&[("leases", Shape::Models("Lease"))]),
            handler!(network::leases),
            "Lists the addresses that the network has handed out.",
        ),
    ]
}

fn rest() -> Vec<Route> {
    vec![
        route(Method::GET, "/v1/backups", "list_backups", "backup:read", NO, Good::Page("backups", own!(view::BackupItem<'_>)), handler!(backups::list), "Lists the backups.")
            .query(paged(vec![param("vm_id", "string", "Only of this guest."), QUERY])),
        route(Method::POST, "/v1/backups", "create_backup", "backup:write", Body::Json(own!(backups::CreateBackup)), Good::Started(201, &[("backup", Shape::Any), ("unapplied", Shape::Any)]), handler!(backups::post), "Backs a guest up."),
        route(Method::GET, "/v1/backups/{backup_id}", "get_backup", "backup:read", NO, Good::Data(&[("backup", own!(view::BackupItem<'_>))]), handler!(backups::get), "Reads one backup."),
        route(Method::DELETE, "/v1/backups/{backup_id}", "delete_backup", "backup:write", NO, Good::Started(200, &[]), handler!(backups::delete), "Deletes a backup."),
        route(Method::POST, "/v1/backups/{backup_id}/restore", "restore_backup", "backup:write", Body::Maybe(own!(backups::Restore)), Good::Started(201, &[("vm", Shape::Any)]), handler!(backups::restore), "Makes a guest from a backup, or overwrites the one that it was made of."),
        route(Method::GET, "/v1/jobs", "list_tasks", "job:read", NO, Good::Page("jobs", own!(view::JobView)), handler!(tasks::list), "Lists the gateway's jobs, the latest first; with view=native the backend's tasks.")
            .query(paged(vec![
                param("vm_id", "string", "Only of this guest."),
                param("status", "string", "Only in this state."),
                QUERY,
            ])),
        route(Method::GET, "/v1/jobs/{job_id}", "get_task", "job:read", NO, Good::Data(&[("job", own!(view::JobView))]), handler!(tasks::get), "Reads a job.")
            .query(vec![param("hold", "number", "Wait so many seconds for a change, at most 30."), VIEW]),
        route(Method::GET, "/v1/jobs/{job_id}/logs", "get_task_log", "job:read", NO, Good::Data(&[("log", Shape::Model("TaskLog"))]), handler!(tasks::logs), "Reads a part of a job's log.")
            .query(vec![
                param("from", "integer", "The first line; 0 without it."),
                param("limit", "integer", "The most lines."),
            ]),
        route(Method::DELETE, "/v1/jobs/{job_id}", "cancel_task", "job:write", NO, Good::Data(&[("job", Shape::Any)]), handler!(tasks::cancel), "Asks a job to end."),
        route(Method::GET, "/v1/monitoring/metrics", "system_metrics", "monitoring:read", NO, Good::Data(&[("metrics", Shape::Any), ("unreachable", Shape::Models("Unreachable"))]), handler!(metrics::system), "The whole system in a few numbers."),
        route(Method::GET, "/v1/monitoring/hosts/{host_id}/metrics", "get_host_metrics", "monitoring:read", NO, Good::Data(&[("metrics", Shape::Model("HostMetrics"))]), handler!(metrics::host), "Reads a host's load."),
        route(Method::GET, "/v1/monitoring/vms", "list_vm_metrics", "monitoring:read", NO, Good::Page("metrics", Shape::Model("VmMetrics")), handler!(metrics::vms), "Reads the load of all running guests.")
            .query(paged(Vec::new())),
        route(Method::GET, "/v1/monitoring/vms/{vm_id}/metrics", "get_vm_metrics", "monitoring:read", NO, Good::Data(&[("vm_id", Shape::Any), ("metrics", Shape::Any), ("history", Shape::Model("MetricsHistory")), ("info", Shape::Model("VmMetrics"))]), handler!(metrics::vm), "Reads one guest's load.")
            .query(vec![
                param("period", "string", "1h, 24h, 7d or 30d: with the load over that time."),
                param("metrics", "string", "Some of cpu,memory,disk,network."),
                VIEW,
            ]),
        route(Method::GET, "/v1/monitoring/history", "get_metrics_history", "monitoring:read", NO, Good::Data(&[("history", Shape::Model("MetricsHistory"))]), handler!(metrics::history), "Reads the load over a period.")
            .query(vec![
                param("target", "json", "The model's MetricsTarget as JSON."),
                param("period", "string", "hour, day, week, month or year."),
            ]),
        route(Method::POST, "/v1/batch", "submit_batch", "batch:write", Body::Json(own!(batch::Submit)), Good::Data(&[("report", Shape::Model("BatchReport"))]), handler!(batch::submit), "Runs many operations and waits for their ends. Each needs its own permission too.")
            .counts_as(Category::Bulk),
        route(Method::POST, "/v1/batch/bulk", "submit_bulk", "batch:write", Body::Json(own!(batch::Bulk)), Good::Data(&[("results", Shape::Any)]), handler!(batch::bulk), "Sends many operations as one call of the backend, where it has one. Each needs its own permission too.")
            .counts_as(Category::Bulk),
        route(Method::GET, "/v1/watch", "watch", "monitoring:read", NO, Good::Stream { server_sent: true }, handler!(events::watch), "The changes as they happen: a WebSocket, or server-sent events with Accept: text/event-stream.")
            .query(vec![QUERY]),
        route(Method::POST, "/v1/security/scans", "start_scan", "security:write", Body::Json(own!(hooks::ScanRequest)), Good::Created(&[("scan", own!(hooks::Scan))]), handler!(scans::start), "Begins a security scan, where the server has a scanner."),
        route(Method::GET, "/v1/security/scans/{scan_id}", "get_scan", "security:read", NO, Good::Data(&[("scan", own!(hooks::Scan))]), handler!(scans::get), "Reads a security scan."),
        route(Method::POST, "/v1/ai/generate", "generate", "ai:write", Body::Json(own!(hooks::Generate)), Good::Data(&[("generated_code", own!(hooks::Generated))]), handler!(scans::generate), "Generates infrastructure code, where the server has somebody who does.")
            .counts_as(Category::Ai),
    ]
}
