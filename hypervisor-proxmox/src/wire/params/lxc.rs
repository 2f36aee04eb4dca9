//! Containers.

use super::build::{
    CT_SLOTS, CT_USED_SLOTS, V9_1, delete, get, given, integer, number, perm, perm_any, post, put, slot,
    switch, text, word,
};
use super::common::{
    CF, DELETE, POOL, PORT, REVERT, SNAPNAME, STORAGE, TARGET, TARGET_REQUIRED, TIMEFRAME, VMID_REQUIRED,
    VNCTICKET,
};
use super::ct_config::CT_CONFIG;
use super::{Access, Endpoint};

pub(super) const ENDPOINTS: &[Endpoint] = &[
    get("/nodes/{node}/lxc", Access::Anyone, &[]),
    post(
        "/nodes/{node}/lxc",
        Access::Anyone,
        &[
            &[
                number("bwlimit").min(0),
                switch("force"),
                switch("ha-managed").since(V9_1),
                switch("ignore-unpack-errors"),
                text("ostemplate").longest(255).required(),
                text("password").shortest(5),
                POOL,
                switch("restore"),
                text("ssh-public-keys"),
                switch("start"),
                STORAGE,
                switch("unique").with("restore"),
                VMID_REQUIRED,
            ],
            CT_CONFIG,
        ],
    ),
    get("/nodes/{node}/lxc/{vmid}", Access::Anyone, &[]),
    delete(
        "/nodes/{node}/lxc/{vmid}",
        perm("/vms/{vmid}", &["VM.Allocate"]),
        &[&[switch("destroy-unreferenced-disks"), switch("force"), switch("purge")]],
    ),
    post(
        "/nodes/{node}/lxc/{vmid}/clone",
        Access::All(&[
            perm("/vms/{vmid}", &["VM.Clone"]),
            Access::Any(&[
                perm("/vms/{newid}", &["VM.Allocate"]),
                given("pool", &perm("/pool/{pool}", &["VM.Allocate"])),
            ]),
        ]),
        &[&[
            number("bwlimit").min(0),
            text("description"),
            switch("full"),
            text("hostname").format("dns-name"),
            integer("newid").format("pve-vmid").min(100).max(999999999).required(),
            POOL,
            SNAPNAME,
            STORAGE,
            TARGET,
        ]],
    ),
    get(
        "/nodes/{node}/lxc/{vmid}/config",
        perm("/vms/{vmid}", &["VM.Audit"]),
        &[&[switch("current"), text("snapshot").format("pve-configid").longest(40)]],
    ),
    put(
        "/nodes/{node}/lxc/{vmid}/config",
        perm_any(
            "/vms/{vmid}",
            &[
                "VM.Config.Disk",
                "VM.Config.CPU",
                "VM.Config.Memory",
                "VM.Config.Network",
                "VM.Config.Options",
            ],
        ),
        &[&[DELETE, text("digest").longest(40), REVERT], CT_CONFIG],
    ),
    get(
        "/nodes/{node}/lxc/{vmid}/feature",
        perm("/vms/{vmid}", &["VM.Audit"]),
        &[&[word("feature", &["snapshot", "clone", "copy"]).required(), SNAPNAME]],
    ),
    get("/nodes/{node}/lxc/{vmid}/interfaces", perm("/vms/{vmid}", &["VM.Audit"]), &[]),
    get("/nodes/{node}/lxc/{vmid}/migrate", perm("/vms/{vmid}", &["VM.Migrate"]), &[&[TARGET]]).since(V9_1),
    post(
        "/nodes/{node}/lxc/{vmid}/migrate",
        perm("/vms/{vmid}", &["VM.Migrate"]),
        &[&[
            number("bwlimit").min(0),
            switch("online"),
            switch("restart"),
            TARGET_REQUIRED,
            text("target-storage").format("storage-pair-list"),
            integer("timeout"),
        ]],
    ),
    post(
        "/nodes/{node}/lxc/{vmid}/move_volume",
        perm("/vms/{vmid}", &["VM.Config.Disk"]),
        &[&[
            number("bwlimit").min(0),
            switch("delete"),
            text("digest").longest(40),
            STORAGE,
            text("target-digest").longest(40),
            integer("target-vmid").format("pve-vmid").min(100).max(999999999),
            slot("target-volume", CT_SLOTS),
            slot("volume", CT_SLOTS).required(),
        ]],
    ),
    get("/nodes/{node}/lxc/{vmid}/pending", perm("/vms/{vmid}", &["VM.Audit"]), &[]),
    put(
        "/nodes/{node}/lxc/{vmid}/resize",
        perm("/vms/{vmid}", &["VM.Config.Disk"]),
        &[&[
            text("digest").longest(40),
            slot("disk", CT_USED_SLOTS).required(),
            text("size").pattern(r"\+?\d+(\.\d+)?[KMGT]?").required(),
        ]],
    ),
    get("/nodes/{node}/lxc/{vmid}/rrddata", perm("/vms/{vmid}", &["VM.Audit"]), &[&[CF, TIMEFRAME]]),
    get("/nodes/{node}/lxc/{vmid}/snapshot", perm("/vms/{vmid}", &["VM.Audit"]), &[]),
    post(
        "/nodes/{node}/lxc/{vmid}/snapshot",
        perm("/vms/{vmid}", &["VM.Snapshot"]),
        &[&[text("description"), text("snapname").format("pve-configid").longest(40).required()]],
    ),
    get("/nodes/{node}/lxc/{vmid}/snapshot/{snapname}", Access::Anyone, &[]),
    delete(
        "/nodes/{node}/lxc/{vmid}/snapshot/{snapname}",
        perm("/vms/{vmid}", &["VM.Snapshot"]),
        &[&[switch("force")]],
    ),
    get(
        "/nodes/{node}/lxc/{vmid}/snapshot/{snapname}/config",
        perm_any("/vms/{vmid}", &["VM.Snapshot", "VM.Snapshot.Rollback", "VM.Audit"]),
        &[],
    ),
    put(
        "/nodes/{node}/lxc/{vmid}/snapshot/{snapname}/config",
        perm("/vms/{vmid}", &["VM.Snapshot"]),
        &[&[text("description")]],
    ),
    post(
        "/nodes/{node}/lxc/{vmid}/snapshot/{snapname}/rollback",
        perm_any("/vms/{vmid}", &["VM.Snapshot", "VM.Snapshot.Rollback"]),
        &[&[switch("start")]],
    ),
    post(
        "/nodes/{node}/lxc/{vmid}/spiceproxy",
        perm("/vms/{vmid}", &["VM.Console"]),
        &[&[text("proxy").format("address")]],
    ),
    get("/nodes/{node}/lxc/{vmid}/status/current", perm("/vms/{vmid}", &["VM.Audit"]), &[]),
    post(
        "/nodes/{node}/lxc/{vmid}/status/reboot",
        perm("/vms/{vmid}", &["VM.PowerMgmt"]),
        &[&[integer("timeout").min(0)]],
    ),
    post("/nodes/{node}/lxc/{vmid}/status/resume", perm("/vms/{vmid}", &["VM.PowerMgmt"]), &[]),
    post(
        "/nodes/{node}/lxc/{vmid}/status/shutdown",
        perm("/vms/{vmid}", &["VM.PowerMgmt"]),
        &[&[switch("forceStop"), integer("timeout").min(0)]],
    ),
    post(
        "/nodes/{node}/lxc/{vmid}/status/start",
        perm("/vms/{vmid}", &["VM.PowerMgmt"]),
        &[&[switch("debug"), switch("skiplock")]],
    ),
    post(
        "/nodes/{node}/lxc/{vmid}/status/stop",
        perm("/vms/{vmid}", &["VM.PowerMgmt"]),
        &[&[switch("overrule-shutdown"), switch("skiplock")]],
    ),
    post("/nodes/{node}/lxc/{vmid}/status/suspend", perm("/vms/{vmid}", &["VM.PowerMgmt"]), &[]),
    post("/nodes/{node}/lxc/{vmid}/template", perm("/vms/{vmid}", &["VM.Allocate"]), &[]),
    post("/nodes/{node}/lxc/{vmid}/termproxy", perm("/vms/{vmid}", &["VM.Console"]), &[]),
    post(
        "/nodes/{node}/lxc/{vmid}/vncproxy",
        perm("/vms/{vmid}", &["VM.Console"]),
        &[&[integer("height").min(16).max(2160), switch("websocket"), integer("width").min(16).max(4096)]],
    ),
    get("/nodes/{node}/lxc/{vmid}/vncwebsocket", perm("/vms/{vmid}", &["VM.Console"]), &[&[PORT, VNCTICKET]]),
];
