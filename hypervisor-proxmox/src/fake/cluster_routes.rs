//! `/version`, `/cluster` and `/nodes` as a whole.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::call::Call;
use super::cluster::{Cluster, Host};
use super::guest::Guest;
use super::reply::{Outcome, Refusal, data};

/// `GET /version` and `/nodes/{node}/version`.
pub(super) fn version(cluster: &Cluster) -> Outcome {
    let (major, minor) = cluster.options.release();
    let repoid = "f782c568ce3fcc63";
    data(
        json!({ "version": cluster.options.version, "release": format!("{major}.{minor}"), "repoid": repoid }),
    )
}

/// `GET /cluster/status`. A host alone is no cluster and has the number 0.
pub(super) fn status(cluster: &Cluster, call: &Call) -> Outcome {
    let alone = cluster.hosts.len() == 1;
    let mut rows = Vec::new();
    if !alone {
        rows.push(json!({
            "type": "cluster", "id": "cluster", "name": "labcl", "nodes": cluster.hosts.len(), "version": 2,
            "quorate": u8::from(cluster.quorate)
        }));
    }
    for (host, number) in cluster.hosts.iter().zip(1_u32..) {
        rows.push(json!({
            "type": "node", "id": format!("node/{}", host.name), "name": host.name, "ip": host.ip, "level": "",
            "nodeid": if alone { 0 } else { number },
            "online": u8::from(host.is_online()), "local": u8::from(host.name == call.entry)
        }));
    }
    data(rows)
}

fn host_row(cluster: &Cluster, who: &super::call::Who, host: &Host) -> Map<String, Value> {
    let mut row = Map::new();
    let mut put = |key: &str, value: Value| row.insert(key.to_owned(), value);
    put("id", format!("node/{}", host.name).into());
    put("node", host.name.as_str().into());
    put("type", "node".into());
    put("level", "".into());
    put("status", if host.is_online() { "online" } else { "offline" }.into());
    if cluster.may(who, &format!("/nodes/{}", host.name), &["Sys.Audit"]) {
        put("maxcpu", host.cpus.into());
        put("maxmem", host.memory.into());
        put("maxdisk", (252_u64 << 30).into());
        if host.is_online() {
            put("cpu", json!(0.03));
            put("mem", used_memory(cluster, host).into());
            put("disk", (21_u64 << 30).into());
            put("uptime", cluster.clock.now().as_secs().saturating_add(1_976).into());
        }
    }
    row
}

/// What the guests of a host take, and a little for itself.
fn used_memory(cluster: &Cluster, host: &Host) -> u64 {
    let guests = cluster.guests.values().filter(|guest| guest.host == host.name && guest.is_running());
    guests.map(|guest| guest.memory() / 2).sum::<u64>().saturating_add(1 << 30).min(host.memory)
}

/// `GET /nodes`.
pub(super) fn nodes(cluster: &Cluster, call: &Call) -> Outcome {
    let rows: Vec<Value> = cluster
        .hosts
        .iter()
        .map(|host| {
            let mut row = host_row(cluster, &call.who, host);
            if host.is_online() {
                let print = super::guest::digest(&host.name).to_uppercase();
                let pairs: Vec<String> = print
                    .as_bytes()
                    .chunks(2)
                    .map(|pair| String::from_utf8_lossy(pair).into_owned())
                    .collect();
                let own = cluster.options.fingerprint.clone().unwrap_or_else(|| pairs.join(":"));
                row.insert("ssl_fingerprint".into(), own.into());
            }
            Value::Object(row)
        })
        .collect();
    data(rows)
}

/// A guest's row in `/cluster/resources`.
pub(super) fn guest_row(cluster: &Cluster, guest: &Guest) -> Value {
    let online = cluster.host(&guest.host).is_ok_and(Host::is_online);
    let mut row = guest.figures(&cluster.clock, cluster.cpus_of(&guest.host));
    for key in ["cpus", "pid"] {
        row.remove(key);
    }
    row.retain(|key, _| !key.starts_with("pressure"));
    let mut put = |key: &str, value: Value| row.insert(key.to_owned(), value);
    put("id", format!("{}/{}", guest.kind.path(), guest.vmid).into());
    put("type", guest.kind.path().into());
    put("node", guest.host.as_str().into());
    put("maxcpu", guest.cpus(cluster.cpus_of(&guest.host)).into());
    put("template", u8::from(guest.is_template()).into());
    put("diskread", 0.into());
    put("diskwrite", 0.into());
    if let Some(pool) = cluster.pool_of(guest.vmid) {
        put("pool", pool.into());
    }
    if !online {
        put("status", "unknown".into());
        for key in ["cpu", "mem", "uptime", "netin", "netout", "disk", "memhost"] {
            row.remove(key);
        }
    }
    Value::Object(row)
}

impl Cluster {
    /// What the cluster publishes of its guests, renewed when it has grown too old.
    fn publish(&mut self) -> BTreeMap<u32, Value> {
        let now = self.clock.now();
        let fresh = self.published.0.is_some_and(|at| now.saturating_sub(at) < self.options.staleness);
        if !fresh {
            let rows: BTreeMap<u32, Value> =
                self.guests.values().map(|guest| (guest.vmid, guest_row(self, guest))).collect();
            if self.options.staleness.is_zero() {
                return rows;
            }
            self.published = (Some(now), rows);
        }
        let known = self.published.1.clone();
        self.guests
            .values()
            .map(|guest| {
                let row = known.get(&guest.vmid).filter(|row| row["node"] == guest.host.as_str()).cloned();
                let bare = || {
                    let kind = guest.kind.path();
                    json!({
                        "id": format!("{kind}/{}", guest.vmid), "type": kind, "node": guest.host,
                        "vmid": guest.vmid, "status": "unknown"
                    })
                };
                let mut row = row.unwrap_or_else(bare);
                // These the node that is asked reads itself.
                let now = [("pool", self.pool_of(guest.vmid)), ("tags", guest.get("tags"))];
                if let Some(row) = row.as_object_mut() {
                    for (key, value) in now {
                        match value {
                            Some(value) => drop(row.insert(key.to_owned(), value.into())),
                            None => drop(row.remove(key)),
                        }
                    }
                }
                (guest.vmid, row)
            })
            .collect()
    }
}

/// `GET /cluster/resources`.
pub(super) fn resources(cluster: &mut Cluster, call: &Call) -> Outcome {
    let wanted = call.get("type");
    let is = |kind: &str| wanted.is_none_or(|wanted| wanted == kind);
    let mut rows = Vec::new();
    if is("vm") {
        let published = cluster.publish();
        let all_visible = cluster.may(&call.who, "/vms", &["VM.Audit"]) && cluster.access.acl.is_empty();
        rows.extend(
            published
                .into_iter()
                .filter(|(vmid, _)| {
                    all_visible || cluster.may(&call.who, &format!("/vms/{vmid}"), &["VM.Audit"])
                })
                .map(|(_, row)| row),
        );
    }
    if is("node") {
        for host in &cluster.hosts {
            let mut row = host_row(cluster, &call.who, host);
            row.insert("cgroup-mode".into(), 2.into());
            rows.push(Value::Object(row));
        }
    }
    if is("storage") {
        for (name, storage) in &cluster.storages {
            if !cluster.may(
                &call.who,
                &format!("/storage/{name}"),
                &["Datastore.Audit", "Datastore.AllocateSpace"],
            ) {
                continue;
            }
            for host in cluster.hosts.iter().filter(|host| storage.is_on(&host.name)) {
                let mut row = json!({
                    "id": format!("storage/{}/{name}", host.name), "type": "storage", "node": host.name,
                    "storage": name, "plugintype": storage.kind, "content": storage.content.join(","),
                    "shared": u8::from(storage.shared), "maxdisk": storage.total,
                    "status": if host.is_online() { "available" } else { "unknown" }
                });
                if let (true, Some(row)) = (host.is_online(), row.as_object_mut()) {
                    row.insert("disk".into(), storage.used(&host.name).into());
                }
                rows.push(row);
            }
        }
    }
    if is("sdn") {
        for host in &cluster.hosts {
            for zone in std::iter::once("localnetwork").chain(cluster.zones.keys().map(String::as_str)) {
                if cluster.may(&call.who, &format!("/sdn/zones/{zone}"), &["SDN.Audit", "SDN.Use"]) {
                    rows.push(json!({
                        "id": format!("network/{}/zone/{zone}", host.name), "type": "network", "node": host.name,
                        "network": zone, "network-type": "zone", "status": "ok"
                    }));
                }
            }
        }
    }
    if wanted.is_none() {
        for name in cluster
            .pools
            .keys()
            .filter(|name| cluster.may(&call.who, &format!("/pool/{name}"), &["Pool.Audit"]))
        {
            rows.push(json!({ "id": format!("/pool/{name}"), "type": "pool", "pool": name }));
        }
    }
    data(rows)
}

/// `GET /cluster/nextid`. Reserves nothing.
pub(super) fn nextid(cluster: &Cluster, call: &Call) -> Outcome {
    match call.params.number("vmid").and_then(|vmid| u32::try_from(vmid).ok()) {
        Some(vmid) if cluster.guests.contains_key(&vmid) => {
            Err(Refusal::parameter("vmid", format!("VM {vmid} already exists")))
        }
        Some(vmid) => data(vmid.to_string()),
        None => data(cluster.free_vmid().to_string()),
    }
}

/// `GET /cluster/options`.
pub(super) fn options(cluster: &Cluster) -> Outcome {
    let tags = cluster.guests.values().filter_map(|guest| guest.get("tags"));
    let mut tags: Vec<&str> = tags.flat_map(|tags| tags.split(';')).filter(|tag| !tag.is_empty()).collect();
    tags.sort_unstable();
    tags.dedup();
    data(json!({ "mac_prefix": "BC:24:11", "description": "", "allowed-tags": tags }))
}

/// `GET /cluster/log`.
pub(super) fn log(cluster: &Cluster, call: &Call) -> Outcome {
    let max = usize::try_from(call.params.number("max").unwrap_or(50)).unwrap_or(50);
    let mut tasks: Vec<_> = cluster.tasks.all.values().collect();
    tasks.sort_by_key(|task| std::cmp::Reverse(task.number));
    let rows: Vec<Value> = tasks
        .into_iter()
        .take(max)
        .map(|task| {
            let (uid, node) = (task.number.to_string(), task.upid.node());
            json!({
                "uid": uid, "id": format!("{uid}:{node}"), "node": node, "pid": task.upid.pid(), "pri": 6,
                "tag": "pvedaemon", "user": task.upid.owner(), "msg": format!("starting task {}", task.upid),
                "time": cluster.clock.unix()
            })
        })
        .collect();
    data(rows)
}

/// `GET /nodes/{node}/status`.
pub(super) fn node_status(cluster: &Cluster, call: &Call, host: &str) -> Outcome {
    cluster.need(&call.who, &format!("/nodes/{host}"), &["Sys.Audit"])?;
    let host = cluster.host(host)?;
    let used = used_memory(cluster, host);
    let free = host.memory.saturating_sub(used);
    let disk = 252_u64 << 30;
    data(json!({
        "pveversion": format!("pve-manager/{}/f782c568ce3fcc63", cluster.options.version),
        "kversion": "Linux 6.17.2-1-pve #1 SMP PREEMPT_DYNAMIC @0",
        "current-kernel": {
            "sysname": "Linux", "release": "6.17.2-1-pve", "version": "#1 SMP PREEMPT_DYNAMIC @0", "machine": "x86_64"
        },
        "boot-info": { "mode": "efi", "secureboot": 0 },
        "cpuinfo": {
            "cpus": host.cpus, "cores": host.cpus, "sockets": 1, "model": "AMD EPYC", "mhz": "2596.118",
            "hvm": if cluster.options.kvm { "1" } else { "" },
            "user_hz": 100, "flags": "fpu svm sse4_2 avx2"
        },
        "memory": { "total": host.memory, "used": used, "free": free, "available": free },
        "swap": { "total": 0, "used": 0, "free": 0 },
        "rootfs": { "total": disk, "used": 21_u64 << 30, "free": disk - (21 << 30), "avail": disk - (30 << 30) },
        "loadavg": ["0.27", "0.33", "0.40"], "ksm": { "shared": 0 }, "cpu": 0.03, "wait": 0, "idle": 0,
        "uptime": cluster.clock.now().as_secs().saturating_add(1_976)
    }))
}

/// `GET /nodes/{node}/time`.
pub(super) fn time(cluster: &Cluster) -> Outcome {
    let now = cluster.clock.unix();
    data(json!({ "time": now, "localtime": now, "timezone": "UTC" }))
}

/// `GET /nodes/{node}/capabilities/qemu/machines`.
pub(super) fn machines() -> Outcome {
    data(json!([
        { "id": "pc-i440fx-10.0+pve1", "type": "i440fx", "version": "10.0+pve1" },
        { "id": "pc-q35-10.0+pve1", "type": "q35", "version": "10.0+pve1" },
        { "id": "pc-i440fx-9.2", "type": "i440fx", "version": "9.2" },
        { "id": "pc-q35-9.2", "type": "q35", "version": "9.2" },
    ]))
}

/// An index of the paths below one.
pub(super) fn index(names: &[&str]) -> Outcome {
    data(names.iter().map(|name| json!({ "name": name })).collect::<Vec<_>>())
}

/// The members of a pool: guests as in `/cluster/resources`, storages once for each host.
pub(super) fn pool_members(cluster: &Cluster, guests: &[u32], storages: &[String]) -> Vec<Value> {
    let mut rows: Vec<Value> = guests
        .iter()
        .filter_map(|vmid| cluster.guests.get(vmid))
        .map(|guest| {
            let mut row = guest_row(cluster, guest);
            if let Some(row) = row.as_object_mut() {
                row.remove("pool");
                row.remove("tags");
            }
            row
        })
        .collect();
    for name in storages {
        for host in &cluster.hosts {
            rows.push(json!({
                "id": format!("storage/{}/{name}", host.name), "type": "storage", "node": host.name, "storage": name,
                "status": "available"
            }));
        }
    }
    rows
}
