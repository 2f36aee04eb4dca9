//! Resource groups, which Proxmox calls pools.

use super::build::{delete, get, perm, post, put, switch, text, word};
use super::common::{POOLID, VMS};
use super::{Access, Endpoint, Param};

pub(super) const ENDPOINTS: &[Endpoint] = &[
    get(
        "/pools",
        Access::Anyone,
        &[&[text("poolid").format("pve-poolid"), word("type", &["qemu", "lxc", "storage"]).with("poolid")]],
    ),
    post("/pools", perm("/pool/{poolid}", &["Pool.Allocate"]), &[&[text("comment"), POOLID]]),
    put("/pools", perm("/pool/{poolid}", &["Pool.Allocate"]), &[&[POOLID], MEMBERS]),
    delete("/pools", perm("/pool/{poolid}", &["Pool.Allocate"]), &[&[POOLID]]),
    get(
        "/pools/{poolid}",
        perm("/pool/{poolid}", &["Pool.Audit"]),
        &[&[word("type", &["qemu", "lxc", "storage"])]],
    ),
    put("/pools/{poolid}", perm("/pool/{poolid}", &["Pool.Allocate"]), &[MEMBERS]),
    delete("/pools/{poolid}", perm("/pool/{poolid}", &["Pool.Allocate"]), &[]),
];

/// A change of a group.
pub(super) const MEMBERS: &[Param] = &[
    switch("allow-move"),
    text("comment"),
    switch("delete"),
    text("storage").format("pve-storage-id-list"),
    VMS,
];
