//! Copies: clones, templates, and what a guest's storage allows.

use serde_json::json;

use super::call::Call;
use super::cluster::Cluster;
use super::disks::{self, free_volume, with_volume};
use super::guest::{Config, Guest, Kind, disk_volume, is_indexed, mac_of};
use super::reply::{Outcome, Refusal, data, done};
use super::storage::Volume;
use super::tasks::Work;
use super::{guests, snapshots};
use crate::wire::property;

type At<'a> = (Kind, &'a str, u32);

/// A disk that a copy has to have.
struct Part {
    key: String,
    value: String,
    volid: String,
    linked: bool,
}

/// `POST …/clone`.
pub(super) fn clone(cluster: &mut Cluster, call: &Call, (kind, host, vmid): At<'_>) -> Outcome {
    cluster.need(&call.who, &format!("/vms/{vmid}"), &["VM.Clone"])?;
    let new: u32 = call.params.needed("newid")?.parse().map_err(|_| {
        Refusal::parameter("newid", "invalid format - value does not look like a valid VM ID\n")
    })?;
    let pool = call.params.text("pool");
    let allowed = cluster.may(&call.who, &format!("/vms/{new}"), &["VM.Allocate"])
        || pool
            .as_ref()
            .is_some_and(|pool| cluster.may(&call.who, &format!("/pool/{pool}"), &["VM.Allocate"]));
    if !allowed {
        return Err(Refusal::denied(&format!("/vms/{new}"), &["VM.Allocate"]));
    }
    let source = cluster.at(kind, host, vmid).map_err(Refusal::die)?;
    source.check_lock()?;
    source.check_free()?;
    let noun = kind.noun();
    if cluster.guests.contains_key(&new) {
        return Err(Refusal::die(format!("unable to create {noun} {new}: config file already exists")));
    }
    if let Some(name) = pool.as_ref().filter(|name| !cluster.pools.contains_key(*name)) {
        return Err(Refusal::die(format!("pool '{name}' does not exist")));
    }
    let (mut config, template) = match call.get("snapname") {
        Some(name) => {
            let snap = source.snapshots.get(name);
            let snap = snap.ok_or_else(|| Refusal::die(format!("snapshot '{name}' does not exist")))?;
            (snap.config.clone(), false)
        }
        None => (source.effective(true), source.is_template()),
    };
    if kind == Kind::Lxc && source.is_running() && call.get("snapname").is_none() {
        return Err(Refusal::die("Cannot do full clones on a running container without snapshots"));
    }
    let full = call.get("full").map_or(!template, |value| value == "1");
    let target = call.params.text("target").unwrap_or_else(|| host.to_owned());
    if cluster.host(&target).is_err() {
        return Err(Refusal::die(format!("no such cluster node '{target}'")));
    }
    let storage = call.params.text("storage");
    if let Some(storage) = &storage {
        if !full {
            return Err(Refusal::parameter("storage", "parameter 'storage' not allowed for linked clones"));
        }
        cluster.storage_on(storage, &target)?;
        cluster.need(&call.who, &format!("/storage/{storage}"), &["Datastore.AllocateSpace"])?;
    }
    let mut parts = Vec::new();
    for (key, disk) in super::guest::disks_of(kind, &config) {
        let Some(volid) = disk_volume(&disk).map(str::to_owned) else { continue };
        if is_indexed(&key, "unused") || (disks::is_cdrom(&disk) && !volid.contains("-cloudinit")) {
            continue;
        }
        let is_base = volid.contains("base-");
        if !full && !is_base {
            return Err(Refusal::die(format!("Linked clone feature is not supported for '{volid}' ({key})")));
        }
        let shared =
            volid.split_once(':').and_then(|(name, _)| cluster.storages.get(name)).is_some_and(|s| s.shared);
        if target != host && !shared {
            return Err(Refusal::die(format!(
                "can't clone {noun} to node '{target}' ({noun} uses local storage)"
            )));
        }
        parts.push(Part { key, value: disk.to_string(), volid, linked: !full });
    }
    config.retain(|key, _| {
        !is_indexed(key, "unused") && !matches!(key.as_str(), "lock" | "template" | "vmstate" | "snaptime")
    });
    let default =
        format!("Copy-of-{noun}-{}", cluster.guests.get(&vmid).map(Guest::name).unwrap_or_default());
    let name = call.params.text(kind.name_key()).unwrap_or(default);
    config.insert(kind.name_key().to_owned(), name);
    match call.get("description") {
        Some(text) => config.insert("description".to_owned(), text.to_owned()),
        None => config.remove("description"),
    };
    let mut guest = Guest::new(new, kind, host);
    guest.set("lock", "clone");
    guest.created = cluster.clock.now();
    if let Some(source) = cluster.guests.get(&vmid) {
        guest.obeys = source.obeys;
        guest.agent.installed = source.agent.installed;
    }
    cluster.guests.insert(new, guest);
    let format = call.params.text("format");
    let host_name = host.to_owned();
    let work = Work { who: &call.who, host, kind: kind.task("clone"), subject: vmid.to_string(), lock: None };
    let upid = cluster.dispatch_with_end(
        work,
        move |cluster, upid| {
            cluster.tasks.on_abort(upid, move |cluster| guests::discard(cluster, new));
            Ok(())
        },
        move |cluster, upid| {
            for part in parts {
                let Part { key, value, volid, linked } = part;
                let word = if linked { "linked" } else { "full" };
                cluster.tasks.log(upid, format!("create {word} clone of drive {key} ({volid})"));
                let made =
                    copy(cluster, &host_name, new, &volid, linked, storage.as_deref(), format.as_deref())?;
                config.insert(key, with_volume(kind, &property::parse(&value), &made).to_string());
            }
            renew(cluster, kind, &mut config);
            if let Some(guest) = cluster.guests.get_mut(&new) {
                guest.config = config;
                guest.host = target;
            }
            guests::join_pool(cluster, pool.as_deref(), new);
            Ok(())
        },
    );
    data(upid)
}

/// A copy of a volume for another guest.
fn copy(
    cluster: &mut Cluster,
    host: &str,
    vmid: u32,
    volid: &str,
    linked: bool,
    storage: Option<&str>,
    format: Option<&str>,
) -> Result<String, String> {
    let source =
        cluster.volume(host, volid).cloned().ok_or_else(|| format!("volume '{volid}' does not exist"))?;
    let own = volid.split_once(':').map_or("local", |(name, _)| name);
    let storage = if linked { own } else { storage.unwrap_or(own) };
    let files = cluster.storages.get(storage).is_some_and(super::storage::Storage::has_files);
    let format = if !files {
        "raw"
    } else if linked {
        "qcow2"
    } else {
        format.unwrap_or(&source.format)
    };
    let base_name = volid.split_once(':').map_or(volid, |(_, name)| name).to_owned();
    let mut made = free_volume(cluster, host, storage, vmid, false, format);
    if volid.contains("-cloudinit") {
        made = volid.replace(&owner_part(volid), &vmid.to_string());
    }
    let mut volume = Volume { format: format.to_owned(), vmid: Some(vmid), parent: None, ..source };
    volume.ctime = cluster.clock.unix();
    if linked && !volid.contains("-cloudinit") {
        volume.parent = Some(if files { format!("../{base_name}") } else { base_name.clone() });
        if files {
            // A linked clone carries its base in its id.
            let name = made.split_once(':').map_or("", |(_, name)| name).to_owned();
            made = format!("{storage}:{base_name}/{name}");
        }
    }
    cluster.put_volume(host, &made, volume);
    Ok(made)
}

/// The number of the guest in a volume's name.
fn owner_part(volid: &str) -> String {
    volid.split(['-', '/', ':']).find(|part| part.parse::<u32>().is_ok()).unwrap_or_default().to_owned()
}

/// New addresses and ids for a copy.
pub(super) fn renew(cluster: &mut Cluster, kind: Kind, config: &mut Config) {
    let nics: Vec<(String, String)> = config
        .iter()
        .filter(|(key, _)| is_indexed(key, "net"))
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    for (key, value) in nics {
        if let Some(old) = mac_of(&property::parse(&value)) {
            let mac = cluster.mac();
            config.insert(key, value.replace(&old, &mac));
        }
    }
    if kind == Kind::Qemu {
        let (one, two) = (cluster.uuid(), cluster.uuid());
        let own = property::parse(config.get("smbios1").map_or("", String::as_str));
        config.insert("smbios1".to_owned(), own.with("uuid", one).to_string());
        config.insert("vmgenid".to_owned(), two);
    }
}

/// `POST …/template`.
pub(super) fn template(cluster: &mut Cluster, call: &Call, (kind, host, vmid): At<'_>) -> Outcome {
    cluster.need(&call.who, &format!("/vms/{vmid}"), &["VM.Allocate"])?;
    let guest = cluster.at(kind, host, vmid).map_err(Refusal::die)?;
    guest.check_lock()?;
    guest.check_free()?;
    let noun = kind.noun();
    if !guest.snapshots.is_empty() {
        return Err(Refusal::die(format!("unable to create template, because {noun} contains snapshots")));
    }
    if guest.is_template() {
        return Err(Refusal::die("you can't convert a template to a template"));
    }
    if guest.is_running() {
        return Err(Refusal::die(format!("you can't convert a {noun} to template if {noun} is running")));
    }
    let host_name = host.to_owned();
    let make = move |cluster: &mut Cluster| -> Result<(), String> {
        let guest = cluster.at(kind, &host_name, vmid)?.clone();
        for (key, disk) in guest.disks() {
            let Some(volid) = disk_volume(&disk).map(str::to_owned) else { continue };
            if is_indexed(&key, "unused") || disks::is_cdrom(&disk) {
                continue;
            }
            let base = volid.replace(&format!("vm-{vmid}-"), &format!("base-{vmid}-"));
            if let Some(volume) = cluster.remove_volume(&host_name, &volid) {
                cluster.put_volume(&host_name, &base, volume);
            }
            let value = with_volume(kind, &disk, &base).to_string();
            cluster.at_mut(kind, &host_name, vmid)?.set(&key, value);
        }
        cluster.at_mut(kind, &host_name, vmid)?.set("template", "1");
        Ok(())
    };
    // A container's template is made at once.
    if kind == Kind::Lxc {
        make(cluster).map_err(Refusal::die)?;
        return done();
    }
    let work =
        Work { who: &call.who, host, kind: "qmtemplate".into(), subject: vmid.to_string(), lock: Some(vmid) };
    let upid = cluster.dispatch_with_end(work, |_, _| Ok(()), move |cluster, _| make(cluster));
    data(upid)
}

/// `GET …/feature`.
pub(super) fn feature(cluster: &Cluster, call: &Call, (kind, host, vmid): At<'_>) -> Outcome {
    cluster.need(&call.who, &format!("/vms/{vmid}"), &["VM.Audit"])?;
    let guest = cluster.at(kind, host, vmid).map_err(Refusal::die)?;
    let has = match call.get("feature") {
        Some("snapshot") => snapshots::feature(cluster, guest),
        Some("clone") => guest.is_template(),
        _ => true,
    };
    let nodes: Vec<&str> = cluster.hosts.iter().map(|host| host.name.as_str()).collect();
    data(json!({ "hasFeature": u8::from(has), "nodes": nodes }))
}

/// `GET …/cloudinit/dump`.
pub(super) fn cloudinit_dump(cluster: &Cluster, call: &Call, (kind, host, vmid): At<'_>) -> Outcome {
    cluster.need(&call.who, &format!("/vms/{vmid}"), &["VM.Audit"])?;
    let guest = cluster.at(kind, host, vmid).map_err(Refusal::die)?;
    let name = guest.name();
    data(match call.get("type") {
        Some("user") => {
            let mut text = format!("#cloud-config\nhostname: {name}\nmanage_etc_hosts: true\nfqdn: {name}\n");
            if let Some(user) = guest.get("ciuser") {
                text.push_str(&format!("user: {user}\n"));
            }
            if let Some(keys) = guest.get("sshkeys") {
                text.push_str("ssh_authorized_keys:\n");
                for key in crate::wire::form::decoded_text(keys).lines() {
                    text.push_str(&format!("  - {key}\n"));
                }
            }
            text
        }
        Some("network") => "version: 1\nconfig: []\n".to_owned(),
        _ => format!("instance-id: {vmid}\n"),
    })
}

/// `PUT …/cloudinit`.
pub(super) fn cloudinit_regenerate(
    cluster: &mut Cluster,
    call: &Call,
    (kind, host, vmid): At<'_>,
) -> Outcome {
    cluster.need(&call.who, &format!("/vms/{vmid}"), &["VM.Config.Cloudinit"])?;
    cluster.at(kind, host, vmid).map_err(Refusal::die)?;
    done()
}
