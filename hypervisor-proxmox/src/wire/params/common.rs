//! Parameters that many calls have in common, and those that stand in paths.

use super::Param;
use super::build::{V9_1, array, integer, text, word};

pub(super) const ACTION: Param = text("action").shortest(2).longest(20).pattern(r"[A-Za-z][A-Za-z0-9\-\_]+");
pub(super) const ACTION_REQUIRED: Param =
    text("action").shortest(2).longest(20).pattern(r"[A-Za-z][A-Za-z0-9\-\_]+").required();
pub(super) const CF: Param = word("cf", &["AVERAGE", "MAX"]);
pub(super) const DELETE: Param = text("delete").format("pve-configid-list");
pub(super) const DELETE_TEXT: Param = text("delete").format("pve-configid-list").longest(4096);
pub(super) const GROUPS: Param = text("groups").format("pve-groupid-list");
pub(super) const LOCK_TOKEN: Param = text("lock-token").since(V9_1);
pub(super) const MAXWORKERS: Param = integer("maxworkers").min(1).max(64);
pub(super) const MAX_WORKERS: Param = integer("max-workers").min(1).max(64);
pub(super) const MAX_WORKERS_LATER: Param = integer("max-workers").min(1).max(64).since(V9_1);
pub(super) const POOL: Param = text("pool").format("pve-poolid");
pub(super) const POOLID: Param = text("poolid").format("pve-poolid").required();
pub(super) const PORT: Param = integer("port").min(5900).max(5999).required();
pub(super) const PRUNE_BACKUPS: Param = text("prune-backups").format("prune-backups");
pub(super) const REVERT: Param = text("revert").format("pve-configid-list");
pub(super) const SNAPNAME: Param = text("snapname").format("pve-configid").longest(40);
pub(super) const STORAGE: Param = text("storage").format("pve-storage-id");
pub(super) const TARGET: Param = text("target").format("pve-node");
pub(super) const TARGET_REQUIRED: Param = text("target").format("pve-node").required();
pub(super) const TIMEFRAME: Param = word("timeframe", &["hour", "day", "week", "month", "year"]).required();
pub(super) const TYPE: Param = word("type", &["in", "out", "forward", "group"]);
pub(super) const TYPE_REQUIRED: Param = word("type", &["in", "out", "forward", "group"]).required();
pub(super) const TYPE_WORD: Param = word("type", &["alias", "ipset"]);
pub(super) const VMID: Param = integer("vmid").format("pve-vmid").min(100).max(999999999);
pub(super) const VMID_REQUIRED: Param = integer("vmid").format("pve-vmid").min(100).max(999999999).required();
pub(super) const VMS: Param = text("vms").format("pve-vmid-list");
pub(super) const VMS_ARRAY: Param = array("vms", &integer("").format("pve-vmid").min(100).max(999999999));
pub(super) const VNCTICKET: Param = text("vncticket").longest(512).required();

/// The parameters in paths.
pub(super) const PATH: &[Param] = &[
    text("iface").format("pve-iface").shortest(2).longest(20).required(),
    text("node").format("pve-node").required(),
    POOLID,
    integer("pos").min(0),
    text("sid").format("pve-ha-resource-or-vm-id").required(),
    text("snapname").format("pve-configid").longest(40).required(),
    text("storage").format("pve-storage-id").required(),
    text("subnet").format("pve-sdn-subnet-id").required(),
    text("tokenid").pattern(r"(?:[A-Za-z][A-Za-z0-9\.\-_]+)").required(),
    text("upid").required(),
    text("userid").format("pve-userid").longest(64).required(),
    VMID_REQUIRED,
    text("vnet").format("pve-sdn-vnet-id").required(),
    text("volume").required(),
    text("zone").format("pve-sdn-zone-id").required(),
];
