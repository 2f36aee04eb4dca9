//! Snapshots.

use serde_json::{Value, json};

use super::call::Call;
use super::cluster::Cluster;
use super::guest::{Guest, Kind, Power, Snap, disk_volume, is_indexed};
use super::reply::{Outcome, Refusal, data, done};
use super::storage::Volume;
use super::tasks::Work;
use super::{disks, power};

type At<'a> = (Kind, &'a str, u32);

/// `GET …/snapshot`. The present state is the last entry.
pub(super) fn list(cluster: &Cluster, call: &Call, (kind, host, vmid): At<'_>) -> Outcome {
    cluster.need(&call.who, &format!("/vms/{vmid}"), &["VM.Audit"])?;
    let guest = cluster.at(kind, host, vmid).map_err(Refusal::die)?;
    let mut snaps: Vec<(&String, &Snap)> = guest.snapshots.iter().collect();
    snaps.sort_by_key(|(_, snap)| snap.time);
    let mut rows: Vec<Value> = snaps
        .into_iter()
        .map(|(name, snap)| {
            let mut row = json!({
                "name": name, "snaptime": snap.time, "description": snap.description.as_deref().unwrap_or_default()
            });
            if let Some(row) = row.as_object_mut() {
                if kind == Kind::Qemu {
                    row.insert("vmstate".into(), u8::from(snap.vmstate).into());
                }
                if let Some(parent) = &snap.parent {
                    row.insert("parent".into(), parent.as_str().into());
                }
            }
            row
        })
        .collect();
    let mut current = json!({
        "name": "current", "description": "You are here!", "digest": guest.digest(), "running": u8::from(guest.is_running())
    });
    if let (Some(parent), Some(current)) = (&guest.parent, current.as_object_mut()) {
        current.insert("parent".into(), parent.as_str().into());
    }
    rows.push(current);
    data(rows)
}

/// Whether all disks of a guest can have snapshots.
fn is_possible(cluster: &Cluster, guest: &Guest) -> bool {
    let mut disks = guest.disks().into_iter().filter(|(key, disk)| {
        !is_indexed(key, "unused")
            && !disks::is_cdrom(disk)
            && !disk_volume(disk).unwrap_or_default().contains("-cloudinit")
    });
    disks.all(|(_, disk)| {
        let Some(volid) = disk_volume(&disk) else { return true };
        let storage = volid.split_once(':').and_then(|(name, _)| cluster.storages.get(name));
        let format = cluster.volume(&guest.host, volid).map_or("raw", |volume| volume.format.as_str());
        storage.is_some_and(|storage| storage.can_snapshot(format))
    })
}

fn set_lock(cluster: &mut Cluster, vmid: u32, lock: Option<&str>) {
    if let Some(guest) = cluster.guests.get_mut(&vmid) {
        match lock {
            Some(lock) => guest.set("lock", lock),
            None => {
                guest.config.remove("lock");
            }
        }
    }
}

/// `POST …/snapshot`.
pub(super) fn create(cluster: &mut Cluster, call: &Call, (kind, host, vmid): At<'_>) -> Outcome {
    cluster.need(&call.who, &format!("/vms/{vmid}"), &["VM.Snapshot"])?;
    let name = call.params.needed("snapname")?.to_owned();
    if matches!(name.as_str(), "current" | "pending") {
        return Err(Refusal::die(format!("unable to use snapshot name '{name}' (reserved name)")));
    }
    let (description, state) = (call.params.text("description"), call.flag("vmstate"));
    let work =
        Work { who: &call.who, host, kind: kind.task("snapshot"), subject: vmid.to_string(), lock: None };
    let (begin_host, host_name, begin_name) = (host.to_owned(), host.to_owned(), name.clone());
    let upid = cluster.dispatch_with_end(
        work,
        move |cluster, upid| {
            let guest = cluster.at(kind, &begin_host, vmid)?;
            if let Some(text) = guest.locked() {
                return Err(text);
            }
            if guest.snapshots.contains_key(&begin_name) {
                return Err(format!("snapshot name '{begin_name}' already used"));
            }
            if guest.is_template() {
                return Err("snapshot feature is not available".to_owned());
            }
            if !is_possible(cluster, guest) || (state && !guest.is_running() && guest.disks().is_empty()) {
                return Err("snapshot feature is not available".to_owned());
            }
            set_lock(cluster, vmid, Some("snapshot"));
            cluster.tasks.on_abort(upid, move |cluster| set_lock(cluster, vmid, None));
            Ok(())
        },
        move |cluster, _| {
            let now = cluster.clock.unix();
            set_lock(cluster, vmid, None);
            let guest = cluster.at_mut(kind, &host_name, vmid)?;
            let vmstate = state && guest.is_running();
            let mut config = guest.config.clone();
            config.retain(|key, _| !is_indexed(key, "unused"));
            let memory = guest.memory();
            let parent = guest.parent.replace(name.clone());
            let storage = guest
                .disks()
                .first()
                .and_then(|(_, disk)| disk_volume(disk)?.split_once(':').map(|(name, _)| name.to_owned()));
            if vmstate {
                let storage = storage.unwrap_or_else(|| "local".to_owned());
                let volid = format!("{storage}:{vmid}/vm-{vmid}-state-{name}.raw");
                config.insert("vmstate".to_owned(), volid.clone());
                let mut volume = Volume::new("images", "raw", memory, now);
                volume.vmid = Some(vmid);
                cluster.put_volume(&host_name, &volid, volume);
            }
            let snap = Snap { config, parent, description, time: now, vmstate };
            cluster.at_mut(kind, &host_name, vmid)?.snapshots.insert(name, snap);
            Ok(())
        },
    );
    data(upid)
}

/// `DELETE …/snapshot/{snapname}`.
pub(super) fn delete(cluster: &mut Cluster, call: &Call, (kind, host, vmid): At<'_>, name: &str) -> Outcome {
    cluster.need(&call.who, &format!("/vms/{vmid}"), &["VM.Snapshot"])?;
    let work =
        Work { who: &call.who, host, kind: kind.task("delsnapshot"), subject: vmid.to_string(), lock: None };
    let (begin_host, host_name) = (host.to_owned(), host.to_owned());
    let (begin_name, name) = (name.to_owned(), name.to_owned());
    let upid = cluster.dispatch_with_end(
        work,
        move |cluster, upid| {
            let guest = cluster.at(kind, &begin_host, vmid)?;
            if let Some(text) = guest.locked() {
                return Err(text);
            }
            if !guest.snapshots.contains_key(&begin_name) {
                return Err(format!("snapshot '{begin_name}' does not exist"));
            }
            set_lock(cluster, vmid, Some("snapshot-delete"));
            cluster.tasks.on_abort(upid, move |cluster| set_lock(cluster, vmid, None));
            Ok(())
        },
        move |cluster, _| {
            set_lock(cluster, vmid, None);
            let guest = cluster.at_mut(kind, &host_name, vmid)?;
            let Some(snap) = guest.snapshots.remove(&name) else { return Ok(()) };
            for other in guest.snapshots.values_mut() {
                if other.parent.as_deref() == Some(name.as_str()) {
                    other.parent.clone_from(&snap.parent);
                }
            }
            if guest.parent.as_deref() == Some(name.as_str()) {
                guest.parent.clone_from(&snap.parent);
            }
            if let Some(state) = snap.config.get("vmstate") {
                cluster.remove_volume(&host_name, state);
            }
            Ok(())
        },
    );
    data(upid)
}

/// `POST …/snapshot/{snapname}/rollback`.
pub(super) fn rollback(
    cluster: &mut Cluster,
    call: &Call,
    (kind, host, vmid): At<'_>,
    name: &str,
) -> Outcome {
    cluster.need(&call.who, &format!("/vms/{vmid}"), &["VM.Snapshot", "VM.Snapshot.Rollback"])?;
    let (start, who) = (call.flag("start"), call.who.clone());
    let work =
        Work { who: &call.who, host, kind: kind.task("rollback"), subject: vmid.to_string(), lock: None };
    let (begin_host, host_name) = (host.to_owned(), host.to_owned());
    let (begin_name, name) = (name.to_owned(), name.to_owned());
    let upid = cluster.dispatch_with_end(
        work,
        move |cluster, upid| {
            let guest = cluster.at(kind, &begin_host, vmid)?;
            if let Some(text) = guest.locked() {
                return Err(text);
            }
            if !guest.snapshots.contains_key(&begin_name) {
                return Err(format!("snapshot '{begin_name}' does not exist"));
            }
            set_lock(cluster, vmid, Some("rollback"));
            cluster.tasks.on_abort(upid, move |cluster| set_lock(cluster, vmid, None));
            Ok(())
        },
        move |cluster, _| {
            if cluster.at(kind, &host_name, vmid)?.is_running() {
                power::switch_off(cluster, vmid);
            }
            let guest = cluster.at_mut(kind, &host_name, vmid)?;
            let Some(snap) = guest.snapshots.get(&name).cloned() else {
                return Err(format!("snapshot '{name}' does not exist"));
            };
            let unused: Vec<(String, String)> = guest
                .config
                .iter()
                .filter(|(key, _)| is_indexed(key, "unused"))
                .map(|(key, value)| (key.clone(), value.clone()))
                .collect();
            guest.config = snap.config.clone();
            guest.config.remove("vmstate");
            guest.config.remove("lock");
            guest.config.extend(unused);
            guest.pending.clear();
            guest.parent = Some(name);
            let sizes: Vec<(String, u64)> = guest
                .disks()
                .iter()
                .filter_map(|(_, disk)| {
                    Some((disk_volume(disk)?.to_owned(), super::guest::parse_size(disk.get("size")?)?))
                })
                .collect();
            for (volid, size) in sizes {
                if let Some(volume) = cluster.volume_mut(&host_name, &volid) {
                    volume.size = size;
                }
            }
            if snap.vmstate {
                power::switch_on(cluster, vmid)?;
            } else if let Some(guest) = cluster.guests.get_mut(&vmid) {
                guest.power = Power::Stopped;
            }
            if start && !snap.vmstate {
                power::start_later(cluster, &who, (kind, &host_name, vmid));
            }
            Ok(())
        },
    );
    data(upid)
}

fn find<'a>(guest: &'a Guest, name: &str) -> Result<&'a Snap, Refusal> {
    guest.snapshots.get(name).ok_or_else(|| Refusal::die(format!("snapshot '{name}' does not exist")))
}

/// `GET …/snapshot/{snapname}/config`.
pub(super) fn config(cluster: &Cluster, call: &Call, (kind, host, vmid): At<'_>, name: &str) -> Outcome {
    cluster.need(&call.who, &format!("/vms/{vmid}"), &["VM.Snapshot", "VM.Snapshot.Rollback", "VM.Audit"])?;
    let snap = find(cluster.at(kind, host, vmid).map_err(Refusal::die)?, name)?;
    let mut row = super::config::shown(kind, &snap.config);
    row.insert("snaptime".into(), snap.time.into());
    if let Some(description) = &snap.description {
        row.insert("description".into(), description.as_str().into());
    }
    if let Some(parent) = &snap.parent {
        row.insert("parent".into(), parent.as_str().into());
    }
    data(row)
}

/// `PUT …/snapshot/{snapname}/config`.
pub(super) fn update(cluster: &mut Cluster, call: &Call, (kind, host, vmid): At<'_>, name: &str) -> Outcome {
    cluster.need(&call.who, &format!("/vms/{vmid}"), &["VM.Snapshot"])?;
    let guest = cluster.at_mut(kind, host, vmid).map_err(Refusal::die)?;
    find(guest, name)?;
    if let (Some(snap), Some(text)) = (guest.snapshots.get_mut(name), call.get("description")) {
        snap.description = (!text.is_empty()).then(|| text.to_owned());
    }
    done()
}

/// Whether disks of a guest can have snapshots, for `…/feature`.
pub(super) fn feature(cluster: &Cluster, guest: &Guest) -> bool {
    is_possible(cluster, guest)
}
