//! What concerns the whole cluster.

use super::build::{V9_1, V9_2, delete, get, integer, perm, post, put, switch, text, word};
use super::common::{DELETE_TEXT, MAX_WORKERS, MAXWORKERS, TARGET_REQUIRED, VMID, VMS_ARRAY};
use super::{Access, Endpoint};

pub(super) const ENDPOINTS: &[Endpoint] = &[
    get("/cluster/backup-info/not-backed-up", perm("/", &["Sys.Audit"]), &[]),
    get("/cluster/bulk-action", Access::Anyone, &[]).since(V9_1),
    get("/cluster/bulk-action/guest", Access::Anyone, &[]).since(V9_1),
    post(
        "/cluster/bulk-action/guest/migrate",
        Access::Anyone,
        &[&[
            MAX_WORKERS,
            MAXWORKERS,
            switch("online"),
            TARGET_REQUIRED,
            VMS_ARRAY,
            switch("with-local-disks"),
        ]],
    )
    .since(V9_1),
    post(
        "/cluster/bulk-action/guest/shutdown",
        Access::Anyone,
        &[&[switch("force-stop"), MAX_WORKERS, MAXWORKERS, integer("timeout"), VMS_ARRAY]],
    )
    .since(V9_1),
    post(
        "/cluster/bulk-action/guest/start",
        Access::Anyone,
        &[&[MAX_WORKERS, MAXWORKERS, integer("timeout"), VMS_ARRAY]],
    )
    .since(V9_1),
    post(
        "/cluster/bulk-action/guest/suspend",
        Access::Anyone,
        &[&[
            MAX_WORKERS,
            MAXWORKERS,
            text("statestorage").format("pve-storage-id").with("to-disk"),
            switch("to-disk"),
            VMS_ARRAY,
        ]],
    )
    .since(V9_1),
    get("/cluster/ha/resources", perm("/", &["Sys.Audit"]), &[&[word("type", &["ct", "vm"])]]),
    post(
        "/cluster/ha/resources",
        perm("/", &["Sys.Console"]),
        &[&[
            switch("auto-rebalance").since(V9_2),
            text("comment").longest(4096),
            switch("failback").since(V9_1),
            text("group").format("pve-configid"),
            integer("max_relocate").min(0),
            integer("max_restart").min(0),
            text("sid").format("pve-ha-resource-or-vm-id").required(),
            word("state", &["started", "stopped", "enabled", "disabled", "ignored"]),
            word("type", &["ct", "vm"]),
        ]],
    ),
    get("/cluster/ha/resources/{sid}", perm("/", &["Sys.Audit"]), &[]),
    put(
        "/cluster/ha/resources/{sid}",
        perm("/", &["Sys.Console"]),
        &[&[
            switch("auto-rebalance").since(V9_2),
            text("comment").longest(4096),
            DELETE_TEXT,
            text("digest").longest(64),
            switch("failback").since(V9_1),
            text("group").format("pve-configid"),
            integer("max_relocate").min(0),
            integer("max_restart").min(0),
            word("state", &["started", "stopped", "enabled", "disabled", "ignored"]),
        ]],
    ),
    delete("/cluster/ha/resources/{sid}", perm("/", &["Sys.Console"]), &[&[switch("purge").since(V9_1)]]),
    post(
        "/cluster/ha/resources/{sid}/migrate",
        perm("/", &["Sys.Console"]),
        &[&[text("node").format("pve-node").required()]],
    ),
    post(
        "/cluster/ha/resources/{sid}/relocate",
        perm("/", &["Sys.Console"]),
        &[&[text("node").format("pve-node").required()]],
    ),
    get("/cluster/ha/status/current", perm("/", &["Sys.Audit"]), &[]),
    get("/cluster/log", Access::Anyone, &[&[integer("max").min(1)]]),
    get(
        "/cluster/metrics/export",
        perm("/", &["Sys.Audit"]),
        &[&[switch("history"), switch("local-only"), text("node-list").since(V9_1), integer("start-time")]],
    ),
    get("/cluster/nextid", Access::Anyone, &[&[VMID]]),
    get("/cluster/options", perm("/", &["Sys.Audit"]), &[]),
    get("/cluster/resources", Access::Anyone, &[&[word("type", &["vm", "storage", "node", "sdn"])]]),
    get("/cluster/status", perm("/", &["Sys.Audit"]), &[]),
    get("/cluster/tasks", Access::Anyone, &[]),
];
