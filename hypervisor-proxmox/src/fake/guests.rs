//! Guests: lists, what one does now, and how they come and go.

use serde_json::{Map, Value, json};

use super::call::Call;
use super::cluster::Cluster;
use super::config;
use super::guest::{Guest, Kind, Power, disk_volume, is_disk_key};
use super::reply::{Outcome, Refusal, data};
use super::tasks::Work;

/// `GET /nodes/{node}/{kind}`.
pub(super) fn list(cluster: &Cluster, call: &Call, kind: Kind, host: &str) -> Outcome {
    let cpus = cluster.cpus_of(host);
    let rows: Vec<Value> = cluster
        .guests
        .values()
        .filter(|guest| guest.kind == kind && guest.host == host)
        .filter(|guest| cluster.may(&call.who, &format!("/vms/{}", guest.vmid), &["VM.Audit"]))
        .map(|guest| {
            let mut row = guest.figures(&cluster.clock, cpus);
            if kind == Kind::Lxc {
                container_facts(guest, &mut row);
            } else if call.flag("full") {
                row.insert("qmpstatus".into(), qmpstatus(guest).into());
            }
            Value::Object(row)
        })
        .collect();
    data(rows)
}

fn qmpstatus(guest: &Guest) -> &'static str {
    match guest.power {
        Power::Stopped => "stopped",
        Power::Running => "running",
        Power::Paused => "paused",
    }
}

fn container_facts(guest: &Guest, row: &mut Map<String, Value>) {
    for key in ["diskread", "diskwrite", "swap"] {
        row.insert(key.into(), 0.into());
    }
    row.insert("maxswap".into(), guest.number("swap").unwrap_or(512).saturating_mul(1 << 20).into());
    row.insert("type".into(), "lxc".into());
    row.remove("memhost");
}

/// `GET …/status/current`.
pub(super) fn current(cluster: &Cluster, call: &Call, kind: Kind, host: &str, vmid: u32) -> Outcome {
    cluster.need(&call.who, &format!("/vms/{vmid}"), &["VM.Audit"])?;
    let guest = cluster.at(kind, host, vmid).map_err(Refusal::die)?;
    let mut row = guest.figures(&cluster.clock, cluster.cpus_of(host));
    row.insert("ha".into(), json!({ "managed": u8::from(guest.managed) }));
    match kind {
        Kind::Lxc => container_facts(guest, &mut row),
        Kind::Qemu => {
            row.insert("qmpstatus".into(), qmpstatus(guest).into());
            if guest.has_agent() {
                row.insert("agent".into(), 1.into());
            }
            if guest.is_running() {
                for key in ["diskread", "diskwrite"] {
                    row.insert(key.into(), 0.into());
                }
                let traffic = row.get("netin").cloned().unwrap_or_default();
                let nics: Map<String, Value> = guest
                    .macs()
                    .into_iter()
                    .map(|(key, _)| {
                        let number = key.trim_start_matches("net");
                        (format!("tap{vmid}i{number}"), json!({ "netin": traffic, "netout": 0 }))
                    })
                    .collect();
                if !nics.is_empty() {
                    row.insert("nics".into(), nics.into());
                }
                row.insert("running-machine".into(), "pc-i440fx-10.0+pve1".into());
                row.insert("running-qemu".into(), "10.0.2".into());
            }
        }
    }
    data(row)
}

/// The number that a create asks for.
fn vmid_of(call: &Call) -> Result<u32, Refusal> {
    let text = call.params.needed("vmid")?;
    text.parse()
        .map_err(|_| Refusal::parameter("vmid", "invalid format - value does not look like a valid VM ID\n"))
}

/// `POST /nodes/{node}/{kind}`: a new guest, or one from a backup.
pub(super) fn create(cluster: &mut Cluster, call: &Call, kind: Kind, host: &str) -> Outcome {
    let vmid = vmid_of(call)?;
    let pool = call.params.text("pool");
    let allowed = cluster.may(&call.who, &format!("/vms/{vmid}"), &["VM.Allocate"])
        || pool
            .as_ref()
            .is_some_and(|pool| cluster.may(&call.who, &format!("/pool/{pool}"), &["VM.Allocate"]));
    if !allowed {
        return Err(Refusal::denied_without_reason("Permission check failed"));
    }
    if !call.params.has("archive") && !call.flag("restore") {
        config::check_new(cluster, &call.who, kind, vmid, pool.as_deref(), &call.params)?;
    }
    cluster.need_quorum(|| "cluster not ready - no quorum?".to_owned())?;
    if let Some(name) = pool.as_ref().filter(|name| !cluster.pools.contains_key(*name)) {
        return Err(Refusal::die(format!("pool '{name}' does not exist")));
    }
    for (key, value) in call.params.iter().filter(|(key, _)| is_disk_key(kind, key)) {
        let file = value.split(',').next().unwrap_or_default();
        let file = file.trim_start_matches("file=").trim_start_matches("volume=");
        if let Some((storage, _)) = file.split_once(':') {
            cluster.storage_on(storage, host)?;
            let path = format!("/storage/{storage}");
            if !cluster.may(&call.who, &path, &["Datastore.AllocateSpace"]) && !value.contains("media=cdrom")
            {
                return Err(Refusal::denied(&path, &["Datastore.AllocateSpace"]));
            }
        }
        let _ = key;
    }
    if kind == Kind::Lxc {
        check_directories(cluster, call, host)?;
    }
    let archive = match kind {
        Kind::Qemu => call.params.text("archive"),
        Kind::Lxc => call.params.text("ostemplate").filter(|_| call.flag("restore")),
    };
    let noun = kind.noun();
    let verb = if archive.is_some() { "restore" } else { "create" };
    if let Some(storage) = call.params.text("storage") {
        cluster.storage_on(&storage, host)?;
    }
    let replaced = archive.is_some() && call.flag("force") && cluster.at(kind, host, vmid).is_ok();
    if replaced {
        let guest = cluster.at(kind, host, vmid).map_err(Refusal::die)?;
        if guest.is_running() {
            let lower = noun.to_lowercase();
            return Err(Refusal::die(format!("unable to restore {lower} {vmid} - {lower} is running")));
        }
        guest.check_free()?;
        guest.check_lock()?;
        if guest.flag("protection") {
            return Err(Refusal::die(format!(
                "unable to restore {noun} {vmid} - can't remove {noun} {vmid} - protection mode enabled"
            )));
        }
    } else {
        cluster
            .check_unused(vmid)
            .map_err(|why| Refusal::die(format!("unable to {verb} {noun} {vmid} - {why}")))?;
        let mut guest = Guest::new(vmid, kind, host);
        guest.created = cluster.clock.now();
        guest.set("lock", "create");
        cluster.guests.insert(vmid, guest);
    }
    if let Some(archive) = archive {
        return super::backup::restore(cluster, call, (kind, host, vmid), archive, replaced);
    }
    let mut params = call.params.clone();
    let template = params.text("ostemplate");
    if kind == Kind::Lxc && !params.has("rootfs") {
        let storage = params.text("storage").unwrap_or_else(|| "local".to_owned());
        params.set("rootfs", &format!("{storage}:4"));
    }
    let who = call.who.clone();
    let host_name = host.to_owned();
    let start = call.flag("start");
    let work =
        Work { who: &call.who, host, kind: kind.task("create"), subject: vmid.to_string(), lock: Some(vmid) };
    let upid = cluster.dispatch_with_end(
        work,
        move |cluster, upid| {
            cluster.tasks.on_abort(upid, move |cluster| discard(cluster, vmid));
            Ok(())
        },
        move |cluster, upid| {
            if let Some(template) = template {
                if cluster.volume(&host_name, &template).is_none() {
                    return Err(format!("unable to create CT {vmid} - volume '{template}' does not exist"));
                }
                cluster.tasks.log(upid, format!("extracting archive '{template}'"));
            }
            config::change(cluster, &who, vmid, &params)
                .map_err(|refusal| format!("unable to create {noun} {vmid} - {}", refusal.message()))?;
            config::complete(cluster, vmid);
            if let Some(guest) = cluster.guests.get_mut(&vmid) {
                guest.config.remove("lock");
            }
            join_pool(cluster, pool.as_deref(), vmid);
            if start {
                super::power::start_later(cluster, &who, (kind, &host_name, vmid));
            }
            Ok(())
        },
    );
    data(upid)
}

/// The storages of a new container have to take containers; without a root it is the default one.
///
/// # Errors
/// A refusal.
fn check_directories(cluster: &Cluster, call: &Call, host: &str) -> Result<(), Refusal> {
    let default = call.params.text("storage").unwrap_or_else(|| "local".to_owned());
    let disks = call.params.iter().filter(|(key, _)| is_disk_key(Kind::Lxc, key));
    let named = disks.filter_map(|(_, value)| value.trim_start_matches("volume=").split_once(':'));
    let mut storages: Vec<String> = named.map(|(storage, _)| storage.to_owned()).collect();
    if !call.params.has("rootfs") {
        storages.push(default);
    }
    for storage in storages.iter().filter(|storage| !storage.starts_with('/')) {
        if !cluster.storage_on(storage, host)?.content.iter().any(|word| word == "rootdir") {
            let why = format!("storage '{storage}' does not support container directories");
            return Err(Refusal::parameter("storage", why));
        }
    }
    Ok(())
}

/// Puts a guest into a pool.
pub(super) fn join_pool(cluster: &mut Cluster, pool: Option<&str>, vmid: u32) {
    if let Some(pool) = pool.and_then(|name| cluster.pools.get_mut(name)) {
        pool.guests.insert(vmid);
    }
}

/// Takes away a guest with its volumes, as after a create that failed.
pub(super) fn discard(cluster: &mut Cluster, vmid: u32) {
    let Some(guest) = cluster.guests.remove(&vmid) else { return };
    for volid in volumes_of(&guest) {
        cluster.remove_volume(&guest.host, &volid);
    }
    for pool in cluster.pools.values_mut() {
        pool.guests.remove(&vmid);
    }
}

/// The volumes that a guest owns, those of its snapshots included. Media and images of others are not its own.
pub(super) fn volumes_of(guest: &Guest) -> Vec<String> {
    let of_snapshots =
        guest.snapshots.values().flat_map(|snap| super::guest::disks_of(guest.kind, &snap.config));
    let disks = guest.disks().into_iter().chain(of_snapshots);
    let volumes = disks.filter_map(|(_, disk)| disk_volume(&disk).map(str::to_owned));
    let mine = format!("-{}-", guest.vmid);
    let mut own: Vec<String> = volumes.filter(|volid| volid.contains(&mine)).collect();
    own.extend(guest.get("vmstate").map(str::to_owned));
    own.sort();
    own.dedup();
    own
}

/// `DELETE /nodes/{node}/{kind}/{vmid}`.
pub(super) fn delete(cluster: &mut Cluster, call: &Call, kind: Kind, host: &str, vmid: u32) -> Outcome {
    cluster.need(&call.who, &format!("/vms/{vmid}"), &["VM.Allocate"])?;
    let guest = cluster.at(kind, host, vmid).map_err(Refusal::die)?;
    let noun = kind.noun();
    let force = kind == Kind::Lxc && call.flag("force");
    let early = move |guest: &Guest| {
        if guest.flag("protection") {
            return Err(format!("can't remove {noun} {vmid} - protection mode enabled"));
        }
        if guest.is_running() && !force {
            return Err(match kind {
                Kind::Qemu => format!("VM {vmid} is running - destroy failed"),
                Kind::Lxc => {
                    format!("unable to destroy CT {vmid} - container is running\n").trim().to_owned()
                }
            });
        }
        Ok(())
    };
    early(guest).map_err(Refusal::die)?;
    let unreferenced = call.flag("destroy-unreferenced-disks");
    let purge = call.flag("purge");
    let host_name = host.to_owned();
    let work = Work {
        who: &call.who,
        host,
        kind: kind.task("destroy"),
        subject: vmid.to_string(),
        lock: Some(vmid),
    };
    let begin_host = host_name.clone();
    let upid = cluster.dispatch_with_end(
        work,
        move |cluster, upid| {
            let guest = cluster.at(kind, &begin_host, vmid)?;
            early(guest)?;
            if let Some(text) = guest.locked().filter(|_| guest.get("lock") != Some("suspended")) {
                return Err(text);
            }
            let bases: Vec<String> = volumes_of(guest);
            for base in bases.iter().filter(|volid| volid.contains("base-")) {
                let name = base.split_once(':').map_or(base.as_str(), |(_, name)| name);
                let cloned = cluster.guests.values().any(|other| {
                    other.vmid != vmid
                        && volumes_of(other)
                            .iter()
                            .any(|volid| is_clone_of(cluster, &other.host, volid, base, name))
                });
                if cloned {
                    return Err(format!("base volume '{base}' is still in use by linked cloned"));
                }
            }
            if purge {
                cluster.tasks.log(upid, format!("purging {noun} {vmid} from related configurations.."));
            }
            Ok(())
        },
        move |cluster, _| {
            cluster.at(kind, &host_name, vmid)?;
            discard(cluster, vmid);
            if unreferenced {
                for storage in cluster.storages.values_mut() {
                    storage.on_mut(&host_name).retain(|_, volume| {
                        volume.vmid != Some(vmid) || !matches!(volume.content.as_str(), "images" | "rootdir")
                    });
                }
            }
            Ok(())
        },
    );
    data(upid)
}

fn is_clone_of(cluster: &Cluster, host: &str, volid: &str, base: &str, name: &str) -> bool {
    volid.starts_with(&format!("{base}/"))
        || cluster
            .volume(host, volid)
            .and_then(|volume| volume.parent.as_deref())
            .is_some_and(|parent| parent.ends_with(name))
}
