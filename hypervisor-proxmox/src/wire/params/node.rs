//! Nodes and their tasks.

use super::build::{V9_1, delete, get, integer, perm, post, put, switch, text, word};
use super::common::{CF, MAX_WORKERS_LATER, MAXWORKERS, PORT, TARGET_REQUIRED, VMID, VMS, VNCTICKET};
use super::{Access, Endpoint};

pub(super) const ENDPOINTS: &[Endpoint] = &[
    get("/nodes", Access::Anyone, &[]),
    get("/nodes/{node}", Access::Anyone, &[]),
    get("/nodes/{node}/aplinfo", Access::Anyone, &[]),
    post(
        "/nodes/{node}/aplinfo",
        perm("/storage/{storage}", &["Datastore.AllocateTemplate"]),
        &[&[text("storage").format("pve-storage-id").required(), text("template").longest(255).required()]],
    ),
    get(
        "/nodes/{node}/capabilities/qemu/cpu",
        Access::Anyone,
        &[&[word("arch", &["x86_64", "aarch64"]).since(V9_1)]],
    ),
    get(
        "/nodes/{node}/capabilities/qemu/machines",
        Access::Anyone,
        &[&[word("arch", &["x86_64", "aarch64"]).since(V9_1)]],
    ),
    post(
        "/nodes/{node}/migrateall",
        Access::Anyone,
        &[&[MAX_WORKERS_LATER, MAXWORKERS, TARGET_REQUIRED, VMS, switch("with-local-disks")]],
    ),
    get(
        "/nodes/{node}/query-url-metadata",
        Access::Any(&[
            perm("/", &["Sys.Audit", "Sys.Modify"]),
            perm("/nodes/{node}", &["Sys.AccessNetwork"]),
        ]),
        &[&[text("url").pattern(r"https?://.*").required(), switch("verify-certificates")]],
    ),
    get(
        "/nodes/{node}/rrddata",
        perm("/nodes/{node}", &["Sys.Audit"]),
        &[&[CF, word("timeframe", &["hour", "day", "week", "month", "year", "decade"]).required()]],
    ),
    post("/nodes/{node}/startall", Access::Anyone, &[&[switch("force"), MAX_WORKERS_LATER, VMS]]),
    get("/nodes/{node}/status", perm("/nodes/{node}", &["Sys.Audit"]), &[]),
    post(
        "/nodes/{node}/status",
        perm("/nodes/{node}", &["Sys.PowerMgmt"]),
        &[&[word("command", &["reboot", "shutdown"]).required()]],
    ),
    post(
        "/nodes/{node}/stopall",
        Access::Anyone,
        &[&[switch("force-stop"), MAX_WORKERS_LATER, integer("timeout").min(0).max(7200), VMS]],
    ),
    post("/nodes/{node}/suspendall", Access::Anyone, &[&[MAX_WORKERS_LATER, VMS]]),
    get(
        "/nodes/{node}/tasks",
        Access::Anyone,
        &[&[
            switch("errors"),
            integer("limit").min(0),
            integer("since"),
            word("source", &["archive", "active", "all"]),
            integer("start").min(0),
            text("statusfilter").format("pve-task-status-type-list"),
            text("typefilter"),
            integer("until"),
            text("userfilter"),
            VMID,
        ]],
    ),
    get("/nodes/{node}/tasks/{upid}", Access::Anyone, &[]),
    delete("/nodes/{node}/tasks/{upid}", Access::Anyone, &[]),
    get(
        "/nodes/{node}/tasks/{upid}/log",
        Access::Anyone,
        &[&[switch("download"), integer("limit").min(0), integer("start").min(0)]],
    ),
    get("/nodes/{node}/tasks/{upid}/status", Access::Anyone, &[]),
    post(
        "/nodes/{node}/termproxy",
        perm("/nodes/{node}", &["Sys.Console"]),
        &[&[word("cmd", &["ceph_install", "login", "upgrade"]), text("cmd-opts").with("cmd")]],
    ),
    get("/nodes/{node}/time", perm("/nodes/{node}", &["Sys.Audit"]), &[]),
    put("/nodes/{node}/time", perm("/nodes/{node}", &["Sys.Modify"]), &[&[text("timezone").required()]]),
    get("/nodes/{node}/version", Access::Anyone, &[]),
    post(
        "/nodes/{node}/vncshell",
        perm("/nodes/{node}", &["Sys.Console"]),
        &[&[
            word("cmd", &["ceph_install", "login", "upgrade"]),
            text("cmd-opts").with("cmd"),
            integer("height").min(16).max(2160),
            switch("websocket"),
            integer("width").min(16).max(4096),
        ]],
    ),
    get("/nodes/{node}/vncwebsocket", perm("/nodes/{node}", &["Sys.Console"]), &[&[PORT, VNCTICKET]]),
    post("/nodes/{node}/wakeonlan", perm("/nodes/{node}", &["Sys.PowerMgmt"]), &[]),
];
