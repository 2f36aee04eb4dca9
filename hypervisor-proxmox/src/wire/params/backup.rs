//! Backups.

use super::build::{V8_4, V9_1, array, get, integer, post, switch, text, word};
use super::common::{PRUNE_BACKUPS, STORAGE};
use super::{Access, Endpoint};

pub(super) const ENDPOINTS: &[Endpoint] = &[
    post(
        "/nodes/{node}/vzdump",
        Access::Anyone,
        &[&[
            switch("all"),
            integer("bwlimit").min(0),
            word("compress", &["0", "1", "gzip", "lzo", "zstd"]),
            text("dumpdir"),
            text("exclude").format("pve-vmid-list"),
            array("exclude-path", &text("")),
            text("fleecing").format("backup-fleecing"),
            integer("ionice").min(0).max(8),
            text("job-id").longest(50).pattern(r"\S+"),
            integer("lockwait").min(0),
            word("mailnotification", &["always", "failure"]),
            text("mailto").format("email-or-username-list"),
            integer("maxfiles").min(1).until(V9_1),
            word("mode", &["snapshot", "suspend", "stop"]),
            text("node").format("pve-node"),
            text("notes-template").longest(1024).with("storage"),
            word("notification-mode", &["auto", "legacy-sendmail", "notification-system"]),
            word("notification-policy", &["always", "failure", "never"]).until(V8_4),
            text("notification-target").format("pve-configid").until(V8_4),
            word("pbs-change-detection-mode", &["legacy", "data", "metadata"]),
            text("performance").format("backup-performance"),
            integer("pigz"),
            text("pool"),
            switch("protected").with("storage"),
            PRUNE_BACKUPS,
            switch("quiet"),
            switch("remove"),
            text("script"),
            switch("stdexcludes"),
            switch("stdout"),
            switch("stop"),
            integer("stopwait").min(0),
            STORAGE,
            text("tmpdir"),
            text("vmid").format("pve-vmid-list"),
            integer("zstd"),
        ]],
    ),
    get("/nodes/{node}/vzdump/defaults", Access::Anyone, &[&[STORAGE]]),
    get("/nodes/{node}/vzdump/extractconfig", Access::Anyone, &[&[text("volume").required()]]),
];
