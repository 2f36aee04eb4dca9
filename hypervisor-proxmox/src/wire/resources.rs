//! `/cluster/resources`: everything of a cluster in one answer.
//!
//! It is what the status daemon saw up to ten seconds ago: right for inventory and for finding a guest's node, wrong
//! for waiting until something has happened.

use std::collections::BTreeMap;

use hypervisor_core::Result;
use hypervisor_core::model::{
    ByteSize, GuestKind, HostId, HostInfo, HostState, NetworkInfo, NetworkKind, PoolInfo, Unreachable,
    VmInfo, VmState,
};
use serde_json::Value;

use super::status::{GuestStatus, extra_of};
use super::storage::{self, StorageRow};
use super::{node, scalar};

/// What a cluster has.
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct Inventory {
    /// Its guests; those of a node that is offline are `Unreachable`, whatever the server last saw of them.
    pub guests: Vec<VmInfo>,
    /// Its nodes.
    pub hosts: Vec<HostInfo>,
    /// Its storages, one for each name, with the nodes that have it.
    pub pools: Vec<PoolInfo>,
    /// The zones and networks of software-defined networking.
    pub networks: Vec<NetworkInfo>,
    /// The nodes that are offline.
    pub unreachable: Vec<Unreachable>,
}

/// Where a guest is: its node and what it is. From the same answer, for a locator.
#[must_use]
pub fn places(inventory: &Inventory) -> BTreeMap<&str, (&HostId, GuestKind)> {
    let guests = inventory.guests.iter();
    guests.filter_map(|vm| Some((vm.id.as_str(), (vm.host.as_ref()?, vm.kind)))).collect()
}

/// Reads `/cluster/resources`, filtered by type or not.
///
/// # Errors
/// `Protocol` where the answer is no such list.
pub fn inventory(body: &[u8]) -> Result<Inventory> {
    let rows: Vec<GuestStatus> = super::envelope::data(body)?;
    let mut inventory = Inventory::default();
    let mut pools = BTreeMap::new();
    for row in rows {
        match row.kind.as_deref() {
            Some("qemu" | "lxc" | "openvz") => inventory.guests.extend(row.into_info(GuestKind::Vm, None)),
            Some("node") => inventory.hosts.extend(host(row)),
            Some("storage") => merge_pool(&mut pools, row),
            Some("sdn" | "network") => inventory.networks.extend(network(row)),
            // Kinds of later releases are no business of ours.
            _ => {}
        }
    }
    inventory.pools = pools.into_values().collect();
    inventory.guests.sort_by_cached_key(|vm| vm.id.as_str().parse::<u64>().unwrap_or(u64::MAX));
    inventory.hosts.sort_by(|a, b| a.id.cmp(&b.id));
    mark_unreachable(&mut inventory);
    Ok(inventory)
}

fn mark_unreachable(inventory: &mut Inventory) {
    let offline: Vec<HostId> = inventory
        .hosts
        .iter()
        .filter(|host| host.state == HostState::Offline)
        .map(|host| host.id.clone())
        .collect();
    for vm in &mut inventory.guests {
        if vm.host.as_ref().is_some_and(|host| offline.contains(host)) {
            vm.state = VmState::Unreachable;
        }
    }
    inventory.unreachable =
        offline.into_iter().map(|host| Unreachable::new(host, "the node is offline")).collect();
}

fn host(row: GuestStatus) -> Option<HostInfo> {
    let mut host = HostInfo::new(row.node.as_deref()?, node::state(row.status.as_deref()));
    host.cpus = row.cpus.and_then(node::count);
    host.cpu_usage = row.cpu;
    host.memory = row.maxmem.map(ByteSize::bytes);
    host.memory_used = row.mem.map(ByteSize::bytes);
    host.uptime = row.uptime.filter(|seconds| *seconds > 0).map(std::time::Duration::from_secs);
    host.extra = extra_of(row.rest);
    Some(host)
}

fn merge_pool(pools: &mut BTreeMap<String, PoolInfo>, row: GuestStatus) {
    let text = |key: &str| row.rest.get(key).and_then(scalar::text_of);
    let Some(name) = text("storage") else { return };
    let seen = StorageRow {
        storage: Some(name.clone()),
        kind: text("plugintype"),
        content: text("content"),
        shared: text("shared").as_deref().and_then(scalar::Scalar::from_text),
        active: row.status.as_deref().map(|status| status == "available"),
        total: row.maxdisk,
        used: row.disk,
        ..StorageRow::default()
    };
    let Some(info) = storage::info(seen, row.node.as_deref()) else { return };
    match pools.get_mut(&name) {
        None => {
            pools.insert(name, info);
        }
        Some(known) => storage::merge(known, info),
    }
}

fn network(row: GuestStatus) -> Option<NetworkInfo> {
    let text = |key: &str| row.rest.get(key).and_then(scalar::text_of);
    let name = text("network").or_else(|| text("sdn"))?;
    let kind = text("network-type").unwrap_or_else(|| "zone".to_owned());
    let active = matches!(row.status.as_deref(), Some("ok" | "available"));
    let mut info = NetworkInfo::new(name.as_str(), name.as_str(), NetworkKind::Unknown(kind.clone()), active);
    info.host = row.node.as_deref().map(Into::into);
    info.extra.insert(crate::BACKEND, "network-type", Value::from(kind));
    Some(info)
}

#[cfg(test)]
mod tests {
    use super::*;
    use hypervisor_core::model::PoolKind;

    const MIXED: &[u8] = br#"{"data":[
        {"type":"qemu","id":"qemu/300","vmid":300,"name":"far","node":"pve2","status":"running","maxcpu":1},
        {"type":"lxc","id":"lxc/200","vmid":"200","name":"ct1","node":"pve1","status":"stopped","maxcpu":2,"pool":"prod"},
        {"type":"qemu","id":"qemu/171","vmid":171,"node":"pve1","status":"unknown"},
        {"type":"node","node":"pve2","status":"offline","maxmem":5},
        {"type":"node","node":"pve1","status":"online","maxcpu":2,"cpu":0.5,"mem":7},
        {"type":"storage","storage":"nfs","node":"pve1","shared":1,"status":"available","plugintype":"nfs","content":"iso,images","maxdisk":10,"disk":4},
        {"type":"storage","storage":"nfs","node":"pve2","shared":1,"status":"unknown","plugintype":"nfs","content":"iso,images"},
        {"type":"network","network":"localnetwork","network-type":"zone","node":"pve1","status":"ok"},
        {"type":"future","node":"pve1"}]}"#;

    #[test]
    fn one_answer_gives_the_whole_cluster() {
        let all = inventory(MIXED).unwrap();
        let ids: Vec<_> = all.guests.iter().map(|vm| vm.id.as_str()).collect();
        assert_eq!(ids, ["171", "200", "300"]);
        assert_eq!(all.guests[0].name, "171");
        assert_eq!(
            (all.guests[1].kind, all.guests[1].group.as_ref().unwrap().as_str()),
            (GuestKind::Container, "prod")
        );
        assert_eq!(all.guests[2].state, VmState::Unreachable);
        assert_eq!(all.unreachable[0].host.as_str(), "pve2");
        assert_eq!(all.hosts.len(), 2);
        assert_eq!(all.pools.len(), 1);
        let pool = &all.pools[0];
        assert_eq!(
            (pool.kind.clone(), pool.hosts.len(), pool.shared, pool.active),
            (PoolKind::NetFs, 2, true, true)
        );
        assert_eq!(pool.available, Some(ByteSize::bytes(6)));
        assert_eq!(all.networks[0].id.as_str(), "localnetwork");
        assert_eq!(places(&all)["300"], (&HostId::from("pve2"), GuestKind::Vm));
    }
}
