//! The firewalls of the cluster, of nodes and of guests.

use super::build::{delete, get, integer, perm, post, properties, put, switch, text, word};
use super::common::{ACTION, ACTION_REQUIRED, DELETE, TYPE, TYPE_REQUIRED, TYPE_WORD};
use super::{Access, Endpoint, Format, Param};

pub(super) const ENDPOINTS: &[Endpoint] = &[
    get("/cluster/firewall/macros", Access::Anyone, &[]),
    get("/cluster/firewall/options", perm("/", &["Sys.Audit"]), &[]),
    put(
        "/cluster/firewall/options",
        perm("/", &["Sys.Modify"]),
        &[&[
            DELETE,
            text("digest").longest(64),
            switch("ebtables"),
            integer("enable").min(0),
            properties("log_ratelimit", &LOG_RATELIMIT),
            word("policy_forward", &["ACCEPT", "DROP"]),
            word("policy_in", &["ACCEPT", "REJECT", "DROP"]),
            word("policy_out", &["ACCEPT", "REJECT", "DROP"]),
        ]],
    ),
    get("/cluster/firewall/refs", perm("/", &["Sys.Audit"]), &[&[TYPE_WORD]]),
    get("/cluster/firewall/rules", perm("/", &["Sys.Audit"]), &[]),
    post(
        "/cluster/firewall/rules",
        perm("/", &["Sys.Modify"]),
        &[&[ACTION_REQUIRED, integer("pos").min(0), TYPE_REQUIRED], RULE],
    ),
    get("/cluster/firewall/rules/{pos}", perm("/", &["Sys.Audit"]), &[]),
    put(
        "/cluster/firewall/rules/{pos}",
        perm("/", &["Sys.Modify"]),
        &[&[ACTION, DELETE, integer("moveto").min(0), TYPE], RULE],
    ),
    delete("/cluster/firewall/rules/{pos}", perm("/", &["Sys.Modify"]), &[&[text("digest").longest(64)]]),
    get("/nodes/{node}/firewall/options", perm("/nodes/{node}", &["Sys.Audit"]), &[]),
    put(
        "/nodes/{node}/firewall/options",
        perm("/nodes/{node}", &["Sys.Modify"]),
        &[&[
            DELETE,
            text("digest").longest(64),
            switch("enable"),
            word(
                "log_level_forward",
                &["emerg", "alert", "crit", "err", "warning", "notice", "info", "debug", "nolog"],
            ),
            word(
                "log_level_in",
                &["emerg", "alert", "crit", "err", "warning", "notice", "info", "debug", "nolog"],
            ),
            word(
                "log_level_out",
                &["emerg", "alert", "crit", "err", "warning", "notice", "info", "debug", "nolog"],
            ),
            switch("log_nf_conntrack"),
            switch("ndp"),
            switch("nf_conntrack_allow_invalid"),
            text("nf_conntrack_helpers").format("pve-fw-conntrack-helper"),
            integer("nf_conntrack_max").min(32768),
            integer("nf_conntrack_tcp_timeout_established").min(7875),
            integer("nf_conntrack_tcp_timeout_syn_recv").min(30).max(60),
            switch("nftables"),
            switch("nosmurfs"),
            switch("protection_synflood"),
            integer("protection_synflood_burst"),
            integer("protection_synflood_rate"),
            word(
                "smurf_log_level",
                &["emerg", "alert", "crit", "err", "warning", "notice", "info", "debug", "nolog"],
            ),
            word(
                "tcp_flags_log_level",
                &["emerg", "alert", "crit", "err", "warning", "notice", "info", "debug", "nolog"],
            ),
            switch("tcpflags"),
        ]],
    ),
    get("/nodes/{node}/firewall/rules", perm("/nodes/{node}", &["Sys.Audit"]), &[]),
    post(
        "/nodes/{node}/firewall/rules",
        perm("/nodes/{node}", &["Sys.Modify"]),
        &[&[ACTION_REQUIRED, integer("pos").min(0), TYPE_REQUIRED], RULE],
    ),
    get("/nodes/{node}/firewall/rules/{pos}", perm("/nodes/{node}", &["Sys.Audit"]), &[]),
    put(
        "/nodes/{node}/firewall/rules/{pos}",
        perm("/nodes/{node}", &["Sys.Modify"]),
        &[&[ACTION, DELETE, integer("moveto").min(0), TYPE], RULE],
    ),
    delete(
        "/nodes/{node}/firewall/rules/{pos}",
        perm("/nodes/{node}", &["Sys.Modify"]),
        &[&[text("digest").longest(64)]],
    ),
    get(
        "/nodes/{node}/lxc/{vmid}/firewall/log",
        perm("/vms/{vmid}", &["VM.Console"]),
        &[&[
            integer("limit").min(0),
            integer("since").min(0),
            integer("start").min(0),
            integer("until").min(0),
        ]],
    ),
    get("/nodes/{node}/lxc/{vmid}/firewall/options", perm("/vms/{vmid}", &["VM.Audit"]), &[]),
    put(
        "/nodes/{node}/lxc/{vmid}/firewall/options",
        perm("/vms/{vmid}", &["VM.Config.Network"]),
        &[GUEST_FIREWALL],
    ),
    get("/nodes/{node}/lxc/{vmid}/firewall/refs", perm("/vms/{vmid}", &["VM.Audit"]), &[&[TYPE_WORD]]),
    get("/nodes/{node}/lxc/{vmid}/firewall/rules", perm("/vms/{vmid}", &["VM.Audit"]), &[]),
    post(
        "/nodes/{node}/lxc/{vmid}/firewall/rules",
        perm("/vms/{vmid}", &["VM.Config.Network"]),
        &[&[ACTION_REQUIRED, integer("pos").min(0), TYPE_REQUIRED], RULE],
    ),
    get("/nodes/{node}/lxc/{vmid}/firewall/rules/{pos}", perm("/vms/{vmid}", &["VM.Audit"]), &[]),
    put(
        "/nodes/{node}/lxc/{vmid}/firewall/rules/{pos}",
        perm("/vms/{vmid}", &["VM.Config.Network"]),
        &[&[ACTION, DELETE, integer("moveto").min(0), TYPE], RULE],
    ),
    delete(
        "/nodes/{node}/lxc/{vmid}/firewall/rules/{pos}",
        perm("/vms/{vmid}", &["VM.Config.Network"]),
        &[&[text("digest").longest(64)]],
    ),
    get(
        "/nodes/{node}/qemu/{vmid}/firewall/log",
        perm("/vms/{vmid}", &["VM.Console"]),
        &[&[
            integer("limit").min(0),
            integer("since").min(0),
            integer("start").min(0),
            integer("until").min(0),
        ]],
    ),
    get("/nodes/{node}/qemu/{vmid}/firewall/options", perm("/vms/{vmid}", &["VM.Audit"]), &[]),
    put(
        "/nodes/{node}/qemu/{vmid}/firewall/options",
        perm("/vms/{vmid}", &["VM.Config.Network"]),
        &[GUEST_FIREWALL],
    ),
    get("/nodes/{node}/qemu/{vmid}/firewall/refs", perm("/vms/{vmid}", &["VM.Audit"]), &[&[TYPE_WORD]]),
    get("/nodes/{node}/qemu/{vmid}/firewall/rules", perm("/vms/{vmid}", &["VM.Audit"]), &[]),
    post(
        "/nodes/{node}/qemu/{vmid}/firewall/rules",
        perm("/vms/{vmid}", &["VM.Config.Network"]),
        &[&[ACTION_REQUIRED, integer("pos").min(0), TYPE_REQUIRED], RULE],
    ),
    get("/nodes/{node}/qemu/{vmid}/firewall/rules/{pos}", perm("/vms/{vmid}", &["VM.Audit"]), &[]),
    put(
        "/nodes/{node}/qemu/{vmid}/firewall/rules/{pos}",
        perm("/vms/{vmid}", &["VM.Config.Network"]),
        &[&[ACTION, DELETE, integer("moveto").min(0), TYPE], RULE],
    ),
    delete(
        "/nodes/{node}/qemu/{vmid}/firewall/rules/{pos}",
        perm("/vms/{vmid}", &["VM.Config.Network"]),
        &[&[text("digest").longest(64)]],
    ),
];

/// A rule.
pub(super) const RULE: &[Param] = &[
    text("comment"),
    text("dest").format("pve-fw-addr-spec").longest(512),
    text("digest").longest(64),
    text("dport").format("pve-fw-dport-spec"),
    integer("enable").min(0),
    text("icmp-type").format("pve-fw-icmp-type-spec"),
    text("iface").format("pve-iface").shortest(2).longest(20),
    word("log", &["emerg", "alert", "crit", "err", "warning", "notice", "info", "debug", "nolog"]),
    text("macro").longest(128),
    text("proto").format("pve-fw-protocol-spec"),
    text("source").format("pve-fw-addr-spec").longest(512),
    text("sport").format("pve-fw-sport-spec"),
];

/// The firewall of a guest.
pub(super) const GUEST_FIREWALL: &[Param] = &[
    DELETE,
    switch("dhcp"),
    text("digest").longest(64),
    switch("enable"),
    switch("ipfilter"),
    word("log_level_in", &["emerg", "alert", "crit", "err", "warning", "notice", "info", "debug", "nolog"]),
    word("log_level_out", &["emerg", "alert", "crit", "err", "warning", "notice", "info", "debug", "nolog"]),
    switch("macfilter"),
    switch("ndp"),
    word("policy_in", &["ACCEPT", "REJECT", "DROP"]),
    word("policy_out", &["ACCEPT", "REJECT", "DROP"]),
    switch("radv"),
];

/// `log_ratelimit`.
pub(super) const LOG_RATELIMIT: Format = Format(&[&[
    integer("burst").min(0),
    switch("enable").default_key().required(),
    text("rate").pattern(r"[1-9][0-9]*\/(second|minute|hour|day)"),
]]);
