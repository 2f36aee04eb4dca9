//! Virtual machines.

use super::build::{
    V9_1, VM_SLOTS, VM_USED_SLOTS, delete, get, given, integer, perm, perm_any, post, properties, put, slot,
    switch, text, word,
};
use super::common::{
    CF, DELETE, POOL, PORT, REVERT, SNAPNAME, STORAGE, TARGET, TARGET_REQUIRED, TIMEFRAME, VMID_REQUIRED,
    VNCTICKET,
};
use super::vm_config::VM_CONFIG;
use super::vm_formats::MACHINE;
use super::{Access, Endpoint};

pub(super) const ENDPOINTS: &[Endpoint] = &[
    get("/nodes/{node}/qemu", Access::Anyone, &[&[switch("full")]]),
    post(
        "/nodes/{node}/qemu",
        Access::Anyone,
        &[
            &[
                text("archive").longest(255),
                integer("bwlimit").min(0),
                switch("force").with("archive"),
                switch("ha-managed").since(V9_1),
                text("import-working-storage").format("pve-storage-id"),
                switch("live-restore"),
                POOL,
                switch("start"),
                STORAGE,
                switch("unique").with("archive"),
                VMID_REQUIRED,
            ],
            VM_CONFIG,
        ],
    ),
    get("/nodes/{node}/qemu/{vmid}", Access::Anyone, &[]),
    delete(
        "/nodes/{node}/qemu/{vmid}",
        perm("/vms/{vmid}", &["VM.Allocate"]),
        &[&[switch("destroy-unreferenced-disks"), switch("purge"), switch("skiplock")]],
    ),
    post(
        "/nodes/{node}/qemu/{vmid}/clone",
        Access::All(&[
            perm("/vms/{vmid}", &["VM.Clone"]),
            Access::Any(&[
                perm("/vms/{newid}", &["VM.Allocate"]),
                given("pool", &perm("/pool/{pool}", &["VM.Allocate"])),
            ]),
        ]),
        &[&[
            integer("bwlimit").min(0),
            text("description"),
            word("format", &["raw", "qcow2", "vmdk"]),
            switch("full"),
            text("name").format("dns-name"),
            integer("newid").format("pve-vmid").min(100).max(999999999).required(),
            POOL,
            SNAPNAME,
            STORAGE,
            TARGET,
        ]],
    ),
    get("/nodes/{node}/qemu/{vmid}/cloudinit", perm("/vms/{vmid}", &["VM.Audit"]), &[]),
    put("/nodes/{node}/qemu/{vmid}/cloudinit", perm("/vms/{vmid}", &["VM.Config.Cloudinit"]), &[]),
    get(
        "/nodes/{node}/qemu/{vmid}/cloudinit/dump",
        perm("/vms/{vmid}", &["VM.Audit"]),
        &[&[word("type", &["user", "network", "meta"]).required()]],
    ),
    get(
        "/nodes/{node}/qemu/{vmid}/config",
        perm("/vms/{vmid}", &["VM.Audit"]),
        &[&[switch("current"), text("snapshot").format("pve-configid").longest(40)]],
    ),
    post(
        "/nodes/{node}/qemu/{vmid}/config",
        perm_any(
            "/vms/{vmid}",
            &[
                "VM.Config.Disk",
                "VM.Config.CDROM",
                "VM.Config.CPU",
                "VM.Config.Memory",
                "VM.Config.Network",
                "VM.Config.HWType",
                "VM.Config.Options",
                "VM.Config.Cloudinit",
            ],
        ),
        &[
            &[
                integer("background_delay").min(1).max(30),
                DELETE,
                text("digest").longest(40),
                switch("force").with("delete"),
                text("import-working-storage").format("pve-storage-id"),
                REVERT,
                switch("skiplock"),
            ],
            VM_CONFIG,
        ],
    ),
    put(
        "/nodes/{node}/qemu/{vmid}/config",
        perm_any(
            "/vms/{vmid}",
            &[
                "VM.Config.Disk",
                "VM.Config.CDROM",
                "VM.Config.CPU",
                "VM.Config.Memory",
                "VM.Config.Network",
                "VM.Config.HWType",
                "VM.Config.Options",
                "VM.Config.Cloudinit",
            ],
        ),
        &[
            &[DELETE, text("digest").longest(40), switch("force").with("delete"), REVERT, switch("skiplock")],
            VM_CONFIG,
        ],
    ),
    get(
        "/nodes/{node}/qemu/{vmid}/feature",
        perm("/vms/{vmid}", &["VM.Audit"]),
        &[&[word("feature", &["snapshot", "clone", "copy"]).required(), SNAPNAME]],
    ),
    get("/nodes/{node}/qemu/{vmid}/migrate", perm("/vms/{vmid}", &["VM.Migrate"]), &[&[TARGET]]),
    post(
        "/nodes/{node}/qemu/{vmid}/migrate",
        perm("/vms/{vmid}", &["VM.Migrate"]),
        &[&[
            integer("bwlimit").min(0),
            switch("force"),
            text("migration_network").format("CIDR"),
            word("migration_type", &["secure", "insecure"]),
            switch("online"),
            TARGET_REQUIRED,
            text("targetstorage").format("storage-pair-list"),
            switch("with-conntrack-state").since(V9_1),
            switch("with-local-disks"),
        ]],
    ),
    post(
        "/nodes/{node}/qemu/{vmid}/monitor",
        perm_any("/vms/{vmid}", &["Sys.Audit", "Sys.Modify"]),
        &[&[text("command").required()]],
    ),
    post(
        "/nodes/{node}/qemu/{vmid}/move_disk",
        perm("/vms/{vmid}", &["VM.Config.Disk"]),
        &[&[
            integer("bwlimit").min(0),
            switch("delete"),
            text("digest").longest(40),
            slot("disk", VM_SLOTS).required(),
            word("format", &["raw", "qcow2", "vmdk"]),
            STORAGE,
            text("target-digest").longest(40),
            slot("target-disk", VM_SLOTS),
            integer("target-vmid").format("pve-vmid").min(100).max(999999999),
        ]],
    ),
    get("/nodes/{node}/qemu/{vmid}/pending", perm("/vms/{vmid}", &["VM.Audit"]), &[]),
    put(
        "/nodes/{node}/qemu/{vmid}/resize",
        perm("/vms/{vmid}", &["VM.Config.Disk"]),
        &[&[
            text("digest").longest(40),
            slot("disk", VM_USED_SLOTS).required(),
            text("size").pattern(r"\+?\d+(\.\d+)?[KMGT]?").required(),
            switch("skiplock"),
        ]],
    ),
    get("/nodes/{node}/qemu/{vmid}/rrddata", perm("/vms/{vmid}", &["VM.Audit"]), &[&[CF, TIMEFRAME]]),
    put(
        "/nodes/{node}/qemu/{vmid}/sendkey",
        perm("/vms/{vmid}", &["VM.Console"]),
        &[&[text("key").required(), switch("skiplock")]],
    ),
    get("/nodes/{node}/qemu/{vmid}/snapshot", perm("/vms/{vmid}", &["VM.Audit"]), &[]),
    post(
        "/nodes/{node}/qemu/{vmid}/snapshot",
        perm("/vms/{vmid}", &["VM.Snapshot"]),
        &[&[
            text("description"),
            text("snapname").format("pve-configid").longest(40).required(),
            switch("vmstate"),
        ]],
    ),
    get("/nodes/{node}/qemu/{vmid}/snapshot/{snapname}", Access::Anyone, &[]),
    delete(
        "/nodes/{node}/qemu/{vmid}/snapshot/{snapname}",
        perm("/vms/{vmid}", &["VM.Snapshot"]),
        &[&[switch("force")]],
    ),
    get(
        "/nodes/{node}/qemu/{vmid}/snapshot/{snapname}/config",
        perm_any("/vms/{vmid}", &["VM.Snapshot", "VM.Snapshot.Rollback", "VM.Audit"]),
        &[],
    ),
    put(
        "/nodes/{node}/qemu/{vmid}/snapshot/{snapname}/config",
        perm("/vms/{vmid}", &["VM.Snapshot"]),
        &[&[text("description")]],
    ),
    post(
        "/nodes/{node}/qemu/{vmid}/snapshot/{snapname}/rollback",
        perm_any("/vms/{vmid}", &["VM.Snapshot", "VM.Snapshot.Rollback"]),
        &[&[switch("start")]],
    ),
    post(
        "/nodes/{node}/qemu/{vmid}/spiceproxy",
        perm("/vms/{vmid}", &["VM.Console"]),
        &[&[text("proxy").format("address")]],
    ),
    get("/nodes/{node}/qemu/{vmid}/status/current", perm("/vms/{vmid}", &["VM.Audit"]), &[]),
    post(
        "/nodes/{node}/qemu/{vmid}/status/reboot",
        perm("/vms/{vmid}", &["VM.PowerMgmt"]),
        &[&[integer("timeout").min(0)]],
    ),
    post(
        "/nodes/{node}/qemu/{vmid}/status/reset",
        perm("/vms/{vmid}", &["VM.PowerMgmt"]),
        &[&[switch("skiplock")]],
    ),
    post(
        "/nodes/{node}/qemu/{vmid}/status/resume",
        perm("/vms/{vmid}", &["VM.PowerMgmt"]),
        &[&[switch("nocheck"), switch("skiplock")]],
    ),
    post(
        "/nodes/{node}/qemu/{vmid}/status/shutdown",
        perm("/vms/{vmid}", &["VM.PowerMgmt"]),
        &[&[switch("forceStop"), switch("keepActive"), switch("skiplock"), integer("timeout").min(0)]],
    ),
    post(
        "/nodes/{node}/qemu/{vmid}/status/start",
        perm("/vms/{vmid}", &["VM.PowerMgmt"]),
        &[&[
            text("force-cpu"),
            properties("machine", &MACHINE),
            text("migratedfrom").format("pve-node"),
            text("migration_network").format("CIDR"),
            word("migration_type", &["secure", "insecure"]),
            text("nets-host-mtu").pattern(r"net\d+=\d+(,net\d+=\d+)*").since(V9_1),
            switch("skiplock"),
            text("stateuri").longest(128),
            text("targetstorage").format("storage-pair-list"),
            integer("timeout").min(0),
            switch("with-conntrack-state").since(V9_1),
        ]],
    ),
    post(
        "/nodes/{node}/qemu/{vmid}/status/stop",
        perm("/vms/{vmid}", &["VM.PowerMgmt"]),
        &[&[
            switch("keepActive"),
            text("migratedfrom").format("pve-node"),
            switch("overrule-shutdown"),
            switch("skiplock"),
            integer("timeout").min(0),
        ]],
    ),
    post(
        "/nodes/{node}/qemu/{vmid}/status/suspend",
        perm("/vms/{vmid}", &["VM.PowerMgmt"]),
        &[&[
            switch("skiplock"),
            text("statestorage").format("pve-storage-id").with("todisk"),
            switch("todisk"),
        ]],
    ),
    post(
        "/nodes/{node}/qemu/{vmid}/template",
        perm("/vms/{vmid}", &["VM.Allocate"]),
        &[&[slot("disk", VM_USED_SLOTS)]],
    ),
    post(
        "/nodes/{node}/qemu/{vmid}/termproxy",
        perm("/vms/{vmid}", &["VM.Console"]),
        &[&[word("serial", &["serial0", "serial1", "serial2", "serial3"])]],
    ),
    put(
        "/nodes/{node}/qemu/{vmid}/unlink",
        perm("/vms/{vmid}", &["VM.Config.Disk"]),
        &[&[switch("force"), text("idlist").format("pve-configid-list").required()]],
    ),
    post(
        "/nodes/{node}/qemu/{vmid}/vncproxy",
        perm("/vms/{vmid}", &["VM.Console"]),
        &[&[switch("generate-password"), switch("websocket")]],
    ),
    get(
        "/nodes/{node}/qemu/{vmid}/vncwebsocket",
        perm("/vms/{vmid}", &["VM.Console"]),
        &[&[PORT, VNCTICKET]],
    ),
];
