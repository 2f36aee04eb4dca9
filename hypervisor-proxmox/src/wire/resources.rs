//! `/cluster/resources`: everything of a cluster in one answer.
//!
//! It is what the status daemon saw up to ten seconds ago: right for inventory and for finding a guest's node, wrong
//! for waiting until something has happened.

mod reader;
mod row;

pub use reader::Reader;

use std::collections::{BTreeMap, HashMap};
use std::fmt;

use hypervisor_core::Result;
use hypervisor_core::model::{
    ByteSize, GroupId, GuestKind, HostId, HostInfo, HostState, NetworkInfo, NetworkKind, PoolInfo, Tags,
    Unreachable, VmId, VmInfo, VmState,
};
use serde_json::Value;

use self::row::Row;
use super::status::{extra_of, whole};
use super::storage::{self, StorageRow};
use super::{marks, node, scalar};

/// What a cluster has.
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct Inventory {
    /// Its guests by number; those of a node that is offline are `Unreachable`, whatever the server last saw of them.
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
    let mut reader = Reader::new();
    reader.add(body);
    reader.finish()
}

/// What was read so far. Names that many rows have are kept once.
#[derive(Debug, Default)]
struct Reading {
    inventory: Inventory,
    pools: BTreeMap<String, PoolInfo>,
    hosts: Vec<HostId>,
    groups: Vec<GroupId>,
    tags: HashMap<String, Tags>,
    number: String,
    /// The last guest's number, and whether any came after a higher one.
    last: u64,
    unordered: bool,
}

/// So many lists of tags are kept to be shared.
const TAGS: usize = 256;

/// The id that was made for this text before, or a new one.
fn shared<T: Clone + AsRef<str> + for<'a> From<&'a str>>(known: &mut Vec<T>, text: &str) -> T {
    if let Some(found) = known.iter().find(|known| known.as_ref() == text) {
        return found.clone();
    }
    let made = T::from(text);
    known.push(made.clone());
    made
}

impl Reading {
    fn add(&mut self, row: &mut Row<'_>) {
        match row.kind.as_deref() {
            Some("qemu") => self.guest(row, GuestKind::Vm),
            Some("lxc" | "openvz") => self.guest(row, GuestKind::Container),
            Some("node") => self.inventory.hosts.extend(host(row)),
            Some("storage") => merge_pool(&mut self.pools, row),
            Some("sdn" | "network") => self.inventory.networks.extend(network(row)),
            // Kinds of later releases are no business of ours.
            _ => {}
        }
    }

    fn guest(&mut self, row: &mut Row<'_>, kind: GuestKind) {
        let Some(vmid) = row.vmid else { return };
        self.unordered |= vmid < std::mem::replace(&mut self.last, vmid);
        self.number.clear();
        // Writing to a string never fails.
        let _ = fmt::Write::write_fmt(&mut self.number, format_args!("{vmid}"));
        // Right after its creation a guest has no name in the lists yet.
        let name = row.name.as_deref().unwrap_or(&self.number).to_owned();
        let mut info = VmInfo::new(VmId::new(self.number.as_str()), name, row.state());
        info.kind = kind;
        info.host = row.node.as_deref().map(|node| shared(&mut self.hosts, node));
        info.cpus = row.cpus.and_then(whole);
        info.memory = row.maxmem.filter(|bytes| *bytes > 0).map(ByteSize::bytes);
        info.group =
            row.pool.as_deref().filter(|pool| !pool.is_empty()).map(|pool| shared(&mut self.groups, pool));
        info.template = row.template.unwrap_or(false);
        info.lock = row.lock.take().filter(|lock| !lock.is_empty()).map(std::borrow::Cow::into_owned);
        info.uptime = row.uptime.filter(|seconds| *seconds > 0).map(std::time::Duration::from_secs);
        if let Some(tags) = row.tags.as_deref().filter(|tags| !tags.is_empty()) {
            (info.tags, info.client_token) = self.tags(vmid, tags);
        }
        if !row.rest.is_empty() {
            info.extra = extra_of(std::mem::take(&mut row.rest));
        }
        self.inventory.guests.push(info);
    }

    fn tags(&mut self, vmid: u64, list: &str) -> (Tags, Option<String>) {
        if let Some(known) = self.tags.get(list) {
            return (known.clone(), None);
        }
        let (tags, token) = marks::read_tags(vmid, list);
        let tags = Tags::from(tags);
        // A mark belongs to one guest.
        if !marks::has_mark(list) && self.tags.len() < TAGS {
            self.tags.insert(list.to_owned(), tags.clone());
        }
        (tags, token)
    }

    fn finish(self) -> Inventory {
        let Self { mut inventory, pools, unordered, .. } = self;
        inventory.pools = pools.into_values().collect();
        if unordered {
            let number = |vm: &VmInfo| vm.id.as_str().parse::<u64>().unwrap_or(u64::MAX);
            inventory.guests.sort_by_cached_key(number);
        }
        inventory.hosts.sort_by(|a, b| a.id.cmp(&b.id));
        let is_silent = |host: &HostInfo| matches!(host.state, HostState::Unknown(_));
        if !inventory.hosts.is_empty() && inventory.hosts.iter().all(is_silent) {
            // Nobody has told anything yet, as after a boot: that a storage is not known to be there says nothing.
            inventory.pools.iter_mut().for_each(|pool| pool.active = true);
        }
        mark_unreachable(&mut inventory);
        inventory
    }
}

fn mark_unreachable(inventory: &mut Inventory) {
    let offline: Vec<HostId> = inventory
        .hosts
        .iter()
        .filter(|host| host.state == HostState::Offline)
        .map(|host| host.id.clone())
        .collect();
    if offline.is_empty() {
        return;
    }
    for vm in &mut inventory.guests {
        if vm.host.as_ref().is_some_and(|host| offline.contains(host)) {
            vm.state = VmState::Unreachable;
        }
    }
    inventory.unreachable =
        offline.into_iter().map(|host| Unreachable::new(host, "the node is offline")).collect();
}

fn host(row: &mut Row<'_>) -> Option<HostInfo> {
    let mut host = HostInfo::new(row.node.as_deref()?, node::state(row.status.as_deref()));
    host.cpus = row.cpus.and_then(node::count);
    host.cpu_usage = row.cpu;
    host.memory = row.maxmem.map(ByteSize::bytes);
    host.memory_used = row.mem.map(ByteSize::bytes);
    host.uptime = row.uptime.filter(|seconds| *seconds > 0).map(std::time::Duration::from_secs);
    host.extra = extra_of(std::mem::take(&mut row.rest));
    Some(host)
}

fn merge_pool(pools: &mut BTreeMap<String, PoolInfo>, row: &Row<'_>) {
    let text = |key: &str| row.rest.get(key).and_then(scalar::text_of);
    let Some(name) = row.storage.as_deref() else { return };
    let seen = StorageRow {
        storage: Some(name.to_owned()),
        kind: text("plugintype"),
        content: text("content"),
        shared: row.shared,
        active: row.status.as_deref().map(|status| status == "available"),
        total: row.maxdisk,
        used: row.disk,
        ..StorageRow::default()
    };
    let Some(info) = storage::info(seen, row.node.as_deref()) else { return };
    match pools.get_mut(name) {
        None => {
            pools.insert(name.to_owned(), info);
        }
        Some(known) => storage::merge(known, info),
    }
}

fn network(row: &Row<'_>) -> Option<NetworkInfo> {
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

    #[test]
    fn a_host_that_has_told_nothing_yet_takes_its_storages_with_it() {
        let silent = br#"[{"type":"node","node":"pve1","status":"unknown"},
            {"type":"storage","storage":"local","node":"pve1","status":"unknown","content":"images","plugintype":"dir"}]"#;
        let all = inventory(silent).unwrap();
        assert!(matches!(all.hosts[0].state, HostState::Unknown(_)) && all.unreachable.is_empty());
        assert!(all.pools[0].active);
        let told = String::from_utf8(silent.to_vec()).unwrap().replacen("unknown", "online", 1);
        assert!(!inventory(told.as_bytes()).unwrap().pools[0].active);
    }

    #[test]
    fn what_is_not_known_is_kept_and_odd_spellings_are_read() {
        let odd = br#" [{"type":"qemu","vmid":"7","na\u006de":"a\"b","node":"n","status":"running","qmpstatus":"paused",
            "maxcpu":"2","cpus":null,"maxmem":1048576.0,"template":"1","tags":["no"],"pool":"","new":{"a":1},"uptime":"9"}]"#;
        let all = inventory(odd).unwrap();
        let [vm] = all.guests.as_slice() else { panic!("{all:?}") };
        assert_eq!((vm.id.as_str(), vm.name.as_str(), &vm.state), ("7", "a\"b", &VmState::Paused));
        assert_eq!((vm.cpus, vm.memory, vm.template), (Some(2), Some(ByteSize::mib(1)), true));
        assert_eq!((vm.group.clone(), vm.tags.len(), vm.uptime.unwrap().as_secs()), (None, 0, 9));
        assert_eq!(vm.extra.get(crate::BACKEND)["new"]["a"], 1);
        for wrong in [&b"<html>"[..], b"{}", br#"{"data":null}"#, br#"{"data":[1]}"#, b"\xff"] {
            assert_eq!(inventory(wrong).unwrap_err().kind(), hypervisor_core::ErrorKind::Protocol);
        }
    }
}
