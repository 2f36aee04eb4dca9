//! Moves of guests between hosts.

use serde_json::{Map, Value, json};

use super::call::Call;
use super::clock::stamp;
use super::cluster::{Cluster, Host};
use super::disks::{self, with_volume};
use super::guest::{Guest, Kind, Power, disk_volume};
use super::reply::{Outcome, Refusal, data};
use super::tasks::Work;

type At<'a> = (Kind, &'a str, u32);

/// Volumes of a guest that only its host has: key, volume and size.
fn local_disks(cluster: &Cluster, guest: &Guest) -> Vec<(String, String, u64)> {
    let mut found = Vec::new();
    for (key, disk) in guest.disks() {
        let Some(volid) = disk_volume(&disk) else { continue };
        let storage = volid.split_once(':').and_then(|(name, _)| cluster.storages.get(name));
        if storage.is_some_and(|storage| !storage.shared) {
            let size = cluster.volume(&guest.host, volid).map_or(0, |volume| volume.size);
            found.push((key, volid.to_owned(), size));
        }
    }
    found
}

/// `GET …/migrate`.
pub(super) fn precondition(cluster: &Cluster, call: &Call, (kind, host, vmid): At<'_>) -> Outcome {
    cluster.need(&call.who, &format!("/vms/{vmid}"), &["VM.Migrate"])?;
    let guest = cluster.at(kind, host, vmid).map_err(Refusal::die)?;
    let disks = local_disks(cluster, guest);
    let rows: Vec<Value> = disks
        .iter()
        .map(|(key, volid, size)| {
            json!({ "drivename": key, "volid": volid, "size": size, "cdrom": 0, "is_unused": 0, "replicate": 1 })
        })
        .collect();
    let others = cluster.hosts.iter().filter(|other| other.name != host && other.is_online());
    let mut allowed = Vec::new();
    let mut refused = Map::new();
    for other in others {
        let missing: Vec<&str> = disks
            .iter()
            .filter_map(|(_, volid, _)| volid.split_once(':').map(|(name, _)| name))
            .filter(|name| cluster.storages.get(*name).is_none_or(|storage| !storage.is_on(&other.name)))
            .collect();
        if missing.is_empty() {
            allowed.push(other.name.as_str());
            // As recorded: an allowed node is here too, with nothing against it.
            refused.insert(other.name.clone(), json!({}));
        } else {
            refused.insert(other.name.clone(), json!({ "unavailable_storages": missing }));
        }
    }
    data(json!({
        "running": u8::from(guest.is_running()), "local_disks": rows, "local_resources": [], "mapped-resources": [],
        "mapped-resource-info": {}, "has-dbus-vmstate": 1, "allowed_nodes": allowed, "not_allowed_nodes": refused
    }))
}

fn unlock(cluster: &mut Cluster, vmid: u32) {
    if let Some(guest) = cluster.guests.get_mut(&vmid) {
        guest.config.remove("lock");
    }
}

/// `POST …/migrate`.
pub(super) fn migrate(cluster: &mut Cluster, call: &Call, (kind, host, vmid): At<'_>) -> Outcome {
    cluster.need(&call.who, &format!("/vms/{vmid}"), &["VM.Migrate"])?;
    let target = call.params.needed("target")?.to_owned();
    if target == host {
        return Err(Refusal::parameter("target", "target is local node."));
    }
    if cluster.host(&target).is_err() {
        return Err(Refusal::die(format!("no such cluster node '{target}'")));
    }
    if !cluster.host(&target).is_ok_and(Host::is_online) {
        return Err(Refusal::die(format!("node '{target}' is not online")));
    }
    let guest = cluster.at(kind, host, vmid).map_err(Refusal::die)?;
    guest.check_lock()?;
    guest.check_free()?;
    let (online, restart) = (call.flag("online"), call.flag("restart"));
    if guest.is_running() {
        match kind {
            Kind::Qemu if !online => {
                return Err(Refusal::die("can't migrate running VM without --online"));
            }
            Kind::Lxc if !restart && !online => {
                return Err(Refusal::die("can't migrate running container without --online or --restart"));
            }
            _ => {}
        }
    }
    let running = guest.is_running();
    let with_local = call.flag("with-local-disks") || !running || kind == Kind::Lxc;
    let target_storage =
        call.params.text(if kind == Kind::Qemu { "targetstorage" } else { "target-storage" });
    let upid = start(cluster, &call.who, (kind, host, vmid), target, with_local, restart, target_storage);
    data(upid)
}

/// The task of a move.
pub(super) fn start(
    cluster: &mut Cluster,
    who: &super::call::Who,
    (kind, host, vmid): At<'_>,
    target: String,
    with_local: bool,
    restart: bool,
    target_storage: Option<String>,
) -> String {
    let (begin_host, host_name, begin_target) = (host.to_owned(), host.to_owned(), target.clone());
    let task = if kind == Kind::Qemu { "qmigrate" } else { "vzmigrate" };
    let work = Work { who, host, kind: task.into(), subject: vmid.to_string(), lock: None };
    cluster.dispatch_with_end(
        work,
        move |cluster, upid| {
            let guest = cluster.at(kind, &begin_host, vmid)?;
            if let Some(text) = guest.locked() {
                return Err(text);
            }
            let now = stamp(cluster.clock.unix());
            let disks = local_disks(cluster, guest);
            let noun = kind.noun();
            let mut abort = |why: String| {
                let line = format!("{now} ERROR: migration aborted (duration 00:00:00): {why}");
                cluster.tasks.log(upid, line);
                Err("migration aborted".to_owned())
            };
            if !disks.is_empty() && !with_local {
                let (_, volid, _) = disks.first().cloned().unwrap_or_default();
                return abort(format!("can't migrate local disk '{volid}': can't live migrate attached local disks without with-local-disks option"));
            }
            if kind == Kind::Lxc && cluster_running(cluster, vmid) && !restart {
                let now = stamp(cluster.clock.unix());
                let why = "lxc live migration is currently not implemented";
                cluster.tasks.log(upid, format!("{now} ERROR: migration aborted (duration 00:00:00): {why}"));
                return Err("migration aborted".to_owned());
            }
            cluster.tasks.log(upid, format!("{now} starting migration of {noun} {vmid} to node '{begin_target}'"));
            if let Some(guest) = cluster.guests.get_mut(&vmid) {
                guest.set("lock", "migrate");
            }
            cluster.tasks.on_abort(upid, move |cluster| unlock(cluster, vmid));
            Ok(())
        },
        move |cluster, upid| {
            if !cluster.host(&target).is_ok_and(Host::is_online) {
                return Err("migration aborted".to_owned());
            }
            let guest = cluster.at(kind, &host_name, vmid)?.clone();
            let mut moved = guest.config.clone();
            moved.remove("lock");
            for (key, volid, _) in local_disks(cluster, &guest) {
                let Some(disk) = guest.get(&key).map(crate::wire::property::parse) else { continue };
                if disks::is_cdrom(&disk) && !volid.contains("-cloudinit") {
                    continue;
                }
                let new = match &target_storage {
                    Some(storage) if storage != "1" => {
                        let storage = storage.rsplit(':').next().unwrap_or(storage);
                        format!("{storage}:{}", volid.split_once(':').map_or("", |(_, name)| name))
                    }
                    _ => volid.clone(),
                };
                if let Some(volume) = cluster.remove_volume(&host_name, &volid) {
                    cluster.put_volume(&target, &new, volume);
                }
                moved.insert(key, with_volume(kind, &disk, &new).to_string());
            }
            let now = cluster.clock.now();
            let line = format!("{} migration finished successfully (duration 00:00:01)", stamp(cluster.clock.unix()));
            cluster.tasks.log(upid, line);
            if let Some(guest) = cluster.guests.get_mut(&vmid) {
                guest.config = moved;
                guest.host = target;
                if kind == Kind::Lxc && guest.power != Power::Stopped {
                    guest.since = now;
                }
            }
            Ok(())
        },
    )
}

fn cluster_running(cluster: &Cluster, vmid: u32) -> bool {
    cluster.guests.get(&vmid).is_some_and(Guest::is_running)
}
