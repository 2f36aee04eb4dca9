//! Backups: vzdump, restore and pruning.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::call::Call;
use super::clock::{file_stamp, stamp};
use super::cluster::Cluster;
use super::disks::{free_volume, with_volume};
use super::guest::{Kind, disk_volume, is_indexed, parse_size};
use super::reply::{Outcome, Refusal, data};
use super::storage::{Saved, Volume};
use super::tasks::{Next, Step, Work};
use super::{clone, guests, power};
use crate::wire::property;

/// What a job does to each guest.
#[derive(Clone)]
struct Job {
    host: String,
    storage: String,
    mode: String,
    compress: Option<String>,
    notes: Option<String>,
    protected: bool,
    /// Whether older backups go by the storage's rule.
    remove: bool,
    failed: bool,
}

/// `POST /nodes/{node}/vzdump`.
pub(super) fn vzdump(cluster: &mut Cluster, call: &Call, host: &str) -> Outcome {
    let wanted: Vec<u32> = if call.flag("all") {
        cluster.guests.values().filter(|guest| guest.host == host).map(|guest| guest.vmid).collect()
    } else if let Some(pool) = call.params.text("pool") {
        cluster.pools.get(&pool).map(|pool| pool.guests.iter().copied().collect()).unwrap_or_default()
    } else {
        call.params.list("vmid").into_iter().filter_map(|id| id.parse().ok()).collect()
    };
    if wanted.is_empty() && !call.flag("all") {
        return Err(Refusal::parameter("all", "option '--vmid' or '--all' or '--pool' required"));
    }
    for vmid in &wanted {
        cluster.need(&call.who, &format!("/vms/{vmid}"), &["VM.Backup"])?;
    }
    let storage = call.params.text("storage").unwrap_or_else(|| "local".to_owned());
    let place = cluster.storage_on(&storage, host)?;
    if !place.content.iter().any(|word| word == "backup") {
        return Err(Refusal::parameter("storage", format!("storage '{storage}' does not support backups")));
    }
    cluster.need(&call.who, &format!("/storage/{storage}"), &["Datastore.AllocateSpace"])?;
    let job = Job {
        host: host.to_owned(),
        storage,
        mode: call.params.text("mode").unwrap_or_else(|| "snapshot".to_owned()),
        compress: call.params.text("compress").filter(|word| word != "0"),
        notes: call.params.text("notes-template"),
        protected: call.flag("protected"),
        remove: call.get("remove") != Some("0"),
        failed: false,
    };
    let subject = match wanted.as_slice() {
        [one] => one.to_string(),
        _ => String::new(),
    };
    let work = Work { who: &call.who, host, kind: "vzdump".into(), subject, lock: None };
    let ids: Vec<String> = wanted.iter().map(u32::to_string).collect();
    let first = format!(
        "INFO: starting new backup job: vzdump {} --storage {} --mode {}",
        ids.join(" "),
        job.storage,
        job.mode
    );
    let upid = cluster.dispatch(
        work,
        Box::new(move |cluster, upid| {
            cluster.tasks.log(upid, first);
            Ok(Next::After(std::time::Duration::ZERO, next(job, wanted.into())))
        }),
    );
    data(upid)
}

/// The step that begins with the next guest, or ends the job.
fn next(job: Job, mut rest: std::collections::VecDeque<u32>) -> Step {
    Box::new(move |cluster, upid| {
        let Some(vmid) = rest.pop_front() else {
            if job.failed {
                cluster.tasks.log(upid, "INFO: Backup job finished with errors");
                return Err("job errors".to_owned());
            }
            cluster.tasks.log(upid, "INFO: Backup job finished successfully");
            return Ok(Next::Done);
        };
        match begin(cluster, upid, &job, vmid) {
            Ok(()) => {
                let time = cluster.task_time("vzdump");
                Ok(Next::After(
                    time,
                    Box::new(move |cluster, upid| {
                        let mut job = job;
                        if let Err(why) = save(cluster, upid, &job, vmid) {
                            failed(cluster, upid, &mut job, vmid, &why);
                        }
                        Ok(Next::After(std::time::Duration::ZERO, next(job, rest)))
                    }),
                ))
            }
            Err(why) => {
                let mut job = job;
                failed(cluster, upid, &mut job, vmid, &why);
                Ok(Next::After(std::time::Duration::ZERO, next(job, rest)))
            }
        }
    })
}

fn failed(cluster: &mut Cluster, upid: &str, job: &mut Job, vmid: u32, why: &str) {
    let now = stamp(cluster.clock.unix());
    cluster.tasks.log(upid, format!("ERROR: Backup of VM {vmid} failed - {why}"));
    cluster.tasks.log(upid, format!("INFO: Failed at {now}"));
    job.failed = true;
}

fn begin(cluster: &mut Cluster, upid: &str, job: &Job, vmid: u32) -> Result<(), String> {
    let known = cluster.guests.get(&vmid).filter(|guest| guest.host == job.host);
    let Some(guest) = known else {
        return Err(format!("unable to find VM '{vmid}'"));
    };
    let (kind, locked, held) = (guest.kind, guest.locked(), guest.holder.is_some());
    let message = guest.lock_file_message();
    let now = stamp(cluster.clock.unix());
    cluster.tasks.log(upid, format!("INFO: Starting Backup of VM {vmid} ({})", kind.path()));
    cluster.tasks.log(upid, format!("INFO: Backup started at {now}"));
    if let Some(text) = locked {
        return Err(text);
    }
    if held {
        cluster.tasks.log(upid, "trying to acquire lock...");
        return Err(message);
    }
    cluster.tasks.log(upid, format!("INFO: backup mode: {}", job.mode));
    if let Some(guest) = cluster.guests.get_mut(&vmid) {
        guest.set("lock", "backup");
    }
    cluster.tasks.on_abort(upid, move |cluster| unlock(cluster, vmid));
    Ok(())
}

fn unlock(cluster: &mut Cluster, vmid: u32) {
    if let Some(guest) = cluster.guests.get_mut(&vmid).filter(|guest| guest.get("lock") == Some("backup")) {
        guest.config.remove("lock");
    }
}

fn save(cluster: &mut Cluster, upid: &str, job: &Job, vmid: u32) -> Result<(), String> {
    unlock(cluster, vmid);
    let guest = cluster.guests.get(&vmid).ok_or_else(|| format!("unable to find VM '{vmid}'"))?;
    let (kind, name) = (guest.kind, guest.name());
    let mut config = guest.config.clone();
    config.retain(|key, _| !is_indexed(key, "unused") && !matches!(key.as_str(), "lock" | "vmstate"));
    let size: u64 = guest.disks().iter().filter_map(|(_, disk)| disk.get("size").and_then(parse_size)).sum();
    let plain = if kind == Kind::Qemu { "vma" } else { "tar" };
    let end = match job.compress.as_deref() {
        Some("zstd" | "1") => format!("{plain}.zst"),
        Some("gzip") => format!("{plain}.gz"),
        Some(other) => format!("{plain}.{other}"),
        None => plain.to_owned(),
    };
    // Names have a resolution of a second.
    let first = cluster.clock.unix();
    let name_at = |time: u64| {
        format!("{}:backup/vzdump-{}-{vmid}-{}.{end}", job.storage, kind.path(), file_stamp(time))
    };
    let time = (first..).find(|time| cluster.volume(&job.host, &name_at(*time)).is_none()).unwrap_or(first);
    let volid = name_at(time);
    let mut volume = Volume::new("backup", &end, (size / 8).max(512), time);
    volume.vmid = Some(vmid);
    volume.protected = job.protected;
    volume.notes = job.notes.as_ref().map(|template| {
        let text = template
            .replace("{{guestname}}", &name)
            .replace("{{vmid}}", &vmid.to_string())
            .replace("{{node}}", &job.host)
            .replace("\\n", "\n")
            .replace("\\\\", "\\");
        format!("{text}\n")
    });
    volume.backup = Some(Box::new(Saved { kind, config }));
    cluster.tasks.log(upid, format!("INFO: creating vzdump archive '{volid}'"));
    cluster.put_volume(&job.host, &volid, volume);
    if job.remove {
        let storage = cluster.storage(&job.storage).map_err(|refusal| refusal.message().to_owned())?;
        let rule = storage.config.get("prune-backups").cloned();
        let only = |kind_of: &str, of: u32| kind_of == kind.path() && of == vmid;
        let marks = marks(storage, &job.host, rule, only);
        for mark in marks.into_iter().filter(|mark| mark.mark == "remove") {
            cluster.tasks.log(upid, format!("INFO: removing backup '{}'", mark.volid));
            cluster.remove_volume(&job.host, &mark.volid);
        }
    }
    let now = stamp(cluster.clock.unix());
    cluster.tasks.log(upid, format!("INFO: Finished Backup of VM {vmid} (00:00:00)"));
    cluster.tasks.log(upid, format!("INFO: Backup finished at {now}"));
    Ok(())
}

/// A create that restores. The guest is reserved already, or there and to be replaced.
pub(super) fn restore(
    cluster: &mut Cluster,
    call: &Call,
    (kind, host, vmid): (Kind, &str, u32),
    archive: String,
    replaced: bool,
) -> Outcome {
    let noun = kind.noun();
    let params = call.params.clone();
    let who = call.who.clone();
    let pool = call.params.text("pool");
    let host_name = host.to_owned();
    if replaced && let Some(guest) = cluster.guests.get_mut(&vmid) {
        guest.set("lock", "create");
    }
    let task = if kind == Kind::Qemu { "qmrestore" } else { "vzrestore" };
    let work = Work { who: &call.who, host, kind: task.into(), subject: vmid.to_string(), lock: Some(vmid) };
    let upid = cluster.dispatch_with_end(
        work,
        move |cluster, upid| {
            cluster.tasks.on_abort(upid, move |cluster| {
                if !replaced {
                    guests::discard(cluster, vmid);
                } else if let Some(guest) = cluster.guests.get_mut(&vmid) {
                    guest.config.remove("lock");
                }
            });
            Ok(())
        },
        move |cluster, _| {
            let failed = |why: String| format!("unable to restore {noun} {vmid} - {why}");
            let volume = cluster.volume(&host_name, &archive);
            let volume = volume.ok_or_else(|| failed(format!("volume '{archive}' does not exist")))?;
            let saved = volume.backup.clone().filter(|saved| saved.kind == kind);
            let saved =
                saved.ok_or_else(|| failed("ERROR: archive contains no configuration file".to_owned()))?;
            let mut config = saved.config;
            if replaced && let Some(guest) = cluster.guests.get(&vmid).cloned() {
                for volid in guests::volumes_of(&guest) {
                    cluster.remove_volume(&host_name, &volid);
                }
            }
            for (key, disk) in super::guest::disks_of(kind, &config.clone()) {
                let Some(volid) = disk_volume(&disk).map(str::to_owned) else { continue };
                if super::disks::is_cdrom(&disk) {
                    continue;
                }
                let own = volid.split_once(':').map_or("local", |(name, _)| name).to_owned();
                let storage = params.text("storage").unwrap_or(own);
                let files = cluster.storages.get(&storage).is_some_and(super::storage::Storage::has_files);
                let format = match volid.rsplit_once('.') {
                    Some((_, end)) if files && matches!(end, "qcow2" | "vmdk") => end,
                    _ => "raw",
                };
                let made = free_volume(cluster, &host_name, &storage, vmid, false, format);
                let size = disk.get("size").and_then(parse_size).unwrap_or(0);
                let content = if kind == Kind::Qemu { "images" } else { "rootdir" };
                let mut volume = Volume::new(content, format, size, cluster.clock.unix());
                volume.vmid = Some(vmid);
                cluster.put_volume(&host_name, &made, volume);
                config.insert(key, with_volume(kind, &disk, &made).to_string());
            }
            config.remove("template");
            if params.flag("unique") {
                clone::renew(cluster, kind, &mut config);
            }
            if let Some(guest) = cluster.guests.get_mut(&vmid) {
                guest.config = config;
                guest.snapshots.clear();
                guest.parent = None;
                guest.pending.clear();
            }
            let mut settings = params.clone();
            settings.retain(|key| !matches!(key, "rootfs" | "archive"));
            super::config::change(cluster, &who, vmid, &settings)
                .map_err(|refusal| failed(refusal.message().to_owned()))?;
            guests::join_pool(cluster, pool.as_deref(), vmid);
            if params.flag("start") {
                power::start_later(cluster, &who, (kind, &host_name, vmid));
            }
            Ok(())
        },
    );
    data(upid)
}

/// `GET /nodes/{node}/vzdump/extractconfig`.
pub(super) fn extract_config(cluster: &Cluster, call: &Call, host: &str) -> Outcome {
    let volid = call.params.needed("volume")?;
    let volume = cluster.volume(host, volid);
    let volume = volume.ok_or_else(|| Refusal::die(format!("volume '{volid}' does not exist")))?;
    let saved = volume.backup.as_ref();
    let saved = saved.ok_or_else(|| Refusal::die("ERROR: archive contains no configuration file"))?;
    data(saved.config.iter().map(|(key, value)| format!("{key}: {value}\n")).collect::<String>())
}

/// What a rule makes of a backup.
struct Mark {
    volid: String,
    kind: String,
    vmid: u32,
    ctime: u64,
    mark: &'static str,
}

/// What a rule makes of the backups of these guests. The fake counts the last ones only; rules by day, week and so on keep nothing more.
fn marks(
    storage: &super::storage::Storage,
    host: &str,
    rule: Option<String>,
    fits: impl Fn(&str, u32) -> bool,
) -> Vec<Mark> {
    let rule = property::parse(&rule.unwrap_or_else(|| "keep-all=1".to_owned()));
    let keep_all = rule.is_empty() || rule.flag("keep-all") == Some(true);
    let keep: usize = rule.get("keep-last").and_then(|text| text.parse().ok()).unwrap_or(0);
    // When, its id, and whether it is protected; by kind and number of the guest.
    type Made = (u64, String, bool);
    let mut groups = BTreeMap::<(String, u32), Vec<Made>>::new();
    for (volid, volume) in storage.on(host).into_iter().flatten() {
        let kind = if volid.contains("vzdump-lxc-") { "lxc" } else { "qemu" };
        let vmid = volume.vmid.unwrap_or(0);
        if volume.content == "backup" && fits(kind, vmid) {
            groups.entry((kind.to_owned(), vmid)).or_default().push((
                volume.ctime,
                volid.clone(),
                volume.protected,
            ));
        }
    }
    let mut marks = Vec::new();
    for ((kind, vmid), mut backups) in groups {
        backups.sort();
        let count = backups.iter().filter(|(_, _, protected)| !protected).count();
        let mut seen = 0;
        for (ctime, volid, protected) in backups {
            let mark = if protected {
                "protected"
            } else {
                seen += 1;
                if keep_all || seen + keep > count { "keep" } else { "remove" }
            };
            marks.push(Mark { volid, kind: kind.clone(), vmid, ctime, mark });
        }
    }
    marks
}

/// `GET` and `DELETE …/prunebackups`.
pub(super) fn prune(cluster: &mut Cluster, call: &Call, host: &str, name: &str, delete: bool) -> Outcome {
    cluster.need(
        &call.who,
        &format!("/storage/{name}"),
        &["Datastore.Audit", "Datastore.Allocate", "Datastore.AllocateSpace"],
    )?;
    let storage = cluster.storage_on(name, host)?;
    let rule = call.params.text("prune-backups").or_else(|| storage.config.get("prune-backups").cloned());
    let (wanted, of_kind) = (call.params.number("vmid"), call.params.text("type"));
    let marks = marks(storage, host, rule, |kind, vmid| {
        wanted.is_none_or(|wanted| wanted == u64::from(vmid))
            && of_kind.as_ref().is_none_or(|wanted| wanted == kind)
    });
    let row = |mark: &Mark| json!({ "volid": mark.volid, "vmid": mark.vmid, "type": mark.kind, "ctime": mark.ctime, "mark": mark.mark });
    let rows: Vec<Value> = marks.iter().map(row).collect();
    let gone: Vec<String> =
        marks.into_iter().filter(|mark| mark.mark == "remove").map(|mark| mark.volid).collect();
    if !delete {
        return data(rows);
    }
    let subject = call.params.text("vmid").map_or_else(|| name.to_owned(), |vmid| format!("{vmid}@{name}"));
    let host_name = host.to_owned();
    let work = Work { who: &call.who, host, kind: "prunebackups".into(), subject, lock: None };
    let upid = cluster.dispatch_with_end(
        work,
        |_, _| Ok(()),
        move |cluster, upid| {
            for volid in gone {
                cluster.remove_volume(&host_name, &volid);
                cluster.tasks.log(upid, format!("Removed volume '{volid}'"));
            }
            Ok(())
        },
    );
    data(upid)
}

/// `GET /cluster/backup-info/not-backed-up`: the fake has no jobs, so no guest is in one.
pub(super) fn not_backed_up(cluster: &Cluster) -> Outcome {
    let rows: Vec<Value> = cluster
        .guests
        .values()
        .map(|guest| json!({ "vmid": guest.vmid, "name": guest.name(), "type": guest.kind.path() }))
        .collect();
    data(rows)
}
