//! Settings of guests: reading them, changing them, and what waits for a start.

use serde_json::{Map, Value, json};

use super::call::{Call, Params, Who};
use super::cluster::Cluster;
use super::disks;
use super::guest::{Config, Guest, Kind, is_disk_key, is_indexed, mac_of, typed};
use super::reply::{Outcome, Refusal, data, done};
use super::tasks::Work;
use crate::wire::property::{self, Properties};

/// Parameters of calls that are no settings.
const NO_SETTINGS: &[&str] = &[
    "vmid",
    "node",
    "digest",
    "delete",
    "revert",
    "skiplock",
    "force",
    "background_delay",
    "import-working-storage",
    "archive",
    "storage",
    "unique",
    "start",
    "pool",
    "bwlimit",
    "live-restore",
    "ostemplate",
    "restore",
    "password",
    "ssh-public-keys",
    "ignore-unpack-errors",
    "ha-managed",
];

/// `GET …/config`.
pub(super) fn get(cluster: &Cluster, call: &Call, kind: Kind, host: &str, vmid: u32) -> Outcome {
    cluster.need(&call.who, &format!("/vms/{vmid}"), &["VM.Audit"])?;
    let guest = cluster.at(kind, host, vmid).map_err(Refusal::die)?;
    if let Some(name) = call.get("snapshot") {
        let snap = guest.snapshots.get(name);
        let snap = snap.ok_or_else(|| Refusal::die(format!("snapshot '{name}' does not exist")))?;
        return data(shown(kind, &snap.config));
    }
    let config = guest.effective(!call.flag("current"));
    let mut row = shown(kind, &config);
    row.insert("digest".into(), guest.digest().into());
    if let Some(parent) = &guest.parent {
        row.insert("parent".into(), parent.as_str().into());
    }
    data(row)
}

/// A configuration as it stands in JSON.
pub(super) fn shown(kind: Kind, config: &Config) -> Map<String, Value> {
    config.iter().map(|(key, value)| (key.clone(), typed(kind, key, value))).collect()
}

/// `GET …/pending`.
pub(super) fn pending(cluster: &Cluster, call: &Call, kind: Kind, host: &str, vmid: u32) -> Outcome {
    cluster.need(&call.who, &format!("/vms/{vmid}"), &["VM.Audit"])?;
    let guest = cluster.at(kind, host, vmid).map_err(Refusal::die)?;
    let mut rows = Vec::new();
    for (key, value) in &guest.config {
        let mut row = json!({ "key": key, "value": typed(kind, key, value) });
        match (guest.pending.get(key), row.as_object_mut()) {
            (Some(Some(new)), Some(row)) => row.insert("pending".into(), typed(kind, key, new)),
            (Some(None), Some(row)) => row.insert("delete".into(), 1.into()),
            _ => None,
        };
        rows.push(row);
    }
    for (key, value) in &guest.pending {
        if let (Some(value), false) = (value, guest.config.contains_key(key)) {
            rows.push(json!({ "key": key, "pending": typed(kind, key, value) }));
        }
    }
    rows.push(json!({ "key": "digest", "value": guest.digest() }));
    data(rows)
}

/// The privilege that a setting needs.
fn privilege(kind: Kind, key: &str, value: &str) -> &'static str {
    match key {
        "memory" | "balloon" | "shares" | "swap" => "VM.Config.Memory",
        "cores" | "sockets" | "cpu" | "vcpus" | "cpulimit" | "cpuunits" | "numa" | "affinity" => {
            "VM.Config.CPU"
        }
        "bios" | "machine" | "ostype" | "vga" | "scsihw" | "acpi" | "tablet" | "kvm" | "arch" => {
            "VM.Config.HWType"
        }
        "ciuser" | "cipassword" | "citype" | "sshkeys" | "cicustom" | "ciupgrade" => "VM.Config.Cloudinit",
        "nameserver" | "searchdomain" => "VM.Config.Network",
        _ if is_indexed(key, "ipconfig") => "VM.Config.Cloudinit",
        _ if is_indexed(key, "net") => "VM.Config.Network",
        _ if is_disk_key(kind, key) && value.contains("media=cdrom") => "VM.Config.CDROM",
        _ if is_disk_key(kind, key) || is_indexed(key, "unused") => "VM.Config.Disk",
        _ => "VM.Config.Options",
    }
}

/// # Errors
/// A refusal for the first setting that the caller may not change.
pub(super) fn check_privileges(
    cluster: &Cluster,
    who: &Who,
    kind: Kind,
    vmid: u32,
    settings: &Params,
) -> Result<(), Refusal> {
    let path = format!("/vms/{vmid}");
    for (key, value) in settings.iter().filter(|(key, _)| !NO_SETTINGS.contains(key)) {
        cluster.need(who, &path, &[privilege(kind, key, value)])?;
        check_network(cluster, who, key, value)?;
    }
    for key in settings.list("delete").into_iter().chain(settings.list("revert")) {
        cluster.need(who, &path, &[privilege(kind, key, "")])?;
    }
    Ok(())
}

/// The same for the settings of a guest that is to be made, in a pool where one is named.
///
/// # Errors
/// A refusal for the first setting that the caller may not make.
pub(super) fn check_new(
    cluster: &Cluster,
    who: &Who,
    kind: Kind,
    vmid: u32,
    pool: Option<&str>,
    settings: &Params,
) -> Result<(), Refusal> {
    let path = format!("/vms/{vmid}");
    for (key, value) in settings.iter().filter(|(key, _)| !NO_SETTINGS.contains(key)) {
        let wanted = [privilege(kind, key, value)];
        if !pool.is_some_and(|pool| cluster.may(who, &format!("/pool/{pool}"), &wanted)) {
            cluster.need(who, &path, &wanted)?;
        }
        check_network(cluster, who, key, value)?;
    }
    Ok(())
}

/// A bridge is a network of the zone `localnetwork`, which has to be open to whoever plugs a NIC into it.
///
/// # Errors
/// A refusal.
pub(super) fn check_network(cluster: &Cluster, who: &Who, key: &str, value: &str) -> Result<(), Refusal> {
    let bridge = value.split(',').find_map(|part| part.strip_prefix("bridge="));
    let Some(bridge) = bridge.filter(|_| is_indexed(key, "net")) else { return Ok(()) };
    let zone = cluster.vnets.get(bridge).and_then(|vnet| vnet.get("zone")).cloned();
    let zone = zone.unwrap_or_else(|| "localnetwork".into());
    cluster.need(who, &format!("/sdn/zones/{zone}/{bridge}"), &["SDN.Use"])
}

/// # Errors
/// A refusal for options that only the real root may use.
fn check_root(call: &Call) -> Result<(), Refusal> {
    if call.who.is_root() {
        return Ok(());
    }
    if call.params.has("skiplock") {
        return Err(Refusal::parameter("skiplock", "Only root may use this option."));
    }
    if call.params.has("lock") {
        return Err(Refusal::die("only root can set 'lock' config"));
    }
    Ok(())
}

/// `PUT …/config`.
pub(super) fn put(cluster: &mut Cluster, call: &Call, kind: Kind, host: &str, vmid: u32) -> Outcome {
    let wait = cluster.clock.unix();
    cluster.need_quorum(|| {
        format!(
            "unable to open file '/etc/pve/nodes/{host}/{}/{vmid}.conf.tmp.{wait}' - Permission denied",
            kind.folder()
        )
    })?;
    check_change(cluster, call, kind, host, vmid)?;
    change(cluster, &call.who, vmid, &call.params)?;
    done()
}

fn check_change(cluster: &Cluster, call: &Call, kind: Kind, host: &str, vmid: u32) -> Result<(), Refusal> {
    check_root(call)?;
    check_privileges(cluster, &call.who, kind, vmid, &call.params)?;
    let settings = call.params.iter().filter(|(key, _)| !NO_SETTINGS.contains(key)).count();
    let removed = call.params.list("delete");
    if settings == 0 && removed.is_empty() && call.params.list("revert").is_empty() {
        return Err(Refusal::die("no options specified"));
    }
    for key in removed {
        if call.params.has(key) {
            let why = format!("you can't use '-{key}' and -delete {key}' at the same time");
            return Err(Refusal::parameter("delete", why));
        }
    }
    let guest = cluster.at(kind, host, vmid).map_err(Refusal::die)?;
    disks::check_digest(cluster, call, vmid)?;
    guest.check_free()?;
    // The lock itself can always be taken away by who may.
    if !call.flag("skiplock") && !call.params.has("lock") {
        guest.check_lock()?;
    }
    for (key, value) in call.params.iter() {
        if let (true, Some((storage, _))) = (is_disk_key(kind, key), value.split_once(':')) {
            cluster.storage_on(storage.trim_start_matches("file=").trim_start_matches("volume="), host)?;
        }
    }
    Ok(())
}

/// `POST /nodes/{node}/qemu/{vmid}/config`: the same as a task.
pub(super) fn post(cluster: &mut Cluster, call: &Call, host: &str, vmid: u32) -> Outcome {
    check_change(cluster, call, Kind::Qemu, host, vmid)?;
    let (params, who) = (call.params.clone(), call.who.clone());
    let work =
        Work { who: &call.who, host, kind: "qmconfig".into(), subject: vmid.to_string(), lock: Some(vmid) };
    let upid = cluster.dispatch_with_end(
        work,
        |_, _| Ok(()),
        move |cluster, _| {
            change(cluster, &who, vmid, &params).map_err(|refusal| refusal.message().to_owned())
        },
    );
    if let Some(wait) = call.params.number("background_delay") {
        let soon = cluster.task_time("qmconfig").as_secs() < wait;
        let allocates = call.params.iter().any(|(key, _)| is_disk_key(Kind::Qemu, key));
        if soon && !allocates {
            cluster.finish_now(&upid);
            if cluster
                .tasks
                .all
                .get(&upid)
                .and_then(|task| task.exit.as_ref())
                .is_some_and(|(exit, _)| exit == "OK")
            {
                return done();
            }
        }
    }
    data(upid)
}

/// Whether a setting of a running guest takes effect at once.
fn is_hot(guest: &Guest, key: &str, old: Option<&str>, new: Option<&str>) -> bool {
    let of = |families: &[&str]| families.iter().any(|family| is_indexed(key, family));
    if guest.kind == Kind::Lxc {
        let plain = ["description", "onboot", "startup", "protection", "hostname", "hookscript", "cores"];
        let limits = ["tags", "lock", "swap", "cpulimit", "cpuunits"];
        return match new {
            _ if plain.contains(&key) || limits.contains(&key) => true,
            // A mount point that is there stays as it is until the container stops.
            None => of(&["net", "unused"]),
            Some(_) => key == "memory" || of(&["net"]) || (of(&["mp", "dev"]) && old.is_none()),
        };
    }
    let plugs = |what: &str| {
        let words = guest.get("hotplug").filter(|words| *words != "1").unwrap_or("network,disk,usb");
        words.split(',').any(|word| word == what)
    };
    match key {
        "name" | "description" | "tags" | "onboot" | "protection" | "startup" | "hookscript" | "lock"
        | "balloon" | "shares" | "cpuunits" | "cpulimit" | "migrate_speed" | "migrate_downtime"
        | "autostart" | "ciuser" | "cipassword" | "sshkeys" | "nameserver" | "searchdomain" | "hotplug" => {
            true
        }
        _ if of(&["ipconfig", "unused"]) => true,
        // What a NIC is plugged into changes in any case.
        _ if of(&["net"]) => (old.is_some() && new.is_some()) || plugs("network"),
        _ if of(&["scsi", "virtio"]) => plugs("disk"),
        _ if of(&["usb"]) => plugs("usb"),
        // A medium can be changed; the drive itself needs a start.
        _ => {
            let cdrom = |value: Option<&str>| value.is_some_and(|value| value.contains("media=cdrom"));
            cdrom(old) && cdrom(new)
        }
    }
}

/// Carries out a change of settings. Volumes that were made for it are taken away if it fails.
///
/// # Errors
/// A refusal in the server's words.
pub(super) fn change(cluster: &mut Cluster, who: &Who, vmid: u32, params: &Params) -> Result<(), Refusal> {
    let mut made = Vec::new();
    let result = change_with(cluster, who, vmid, params, &mut made);
    if result.is_err() {
        let host = cluster.guests.get(&vmid).map(|guest| guest.host.clone()).unwrap_or_default();
        for volid in made {
            cluster.remove_volume(&host, &volid);
        }
    }
    result
}

fn change_with(
    cluster: &mut Cluster,
    who: &Who,
    vmid: u32,
    params: &Params,
    made: &mut Vec<String>,
) -> Result<(), Refusal> {
    let Some(guest) = cluster.guests.get(&vmid) else {
        return Err(Refusal::die(format!("VM {vmid} is gone")));
    };
    let (kind, host, running) = (guest.kind, guest.host.clone(), guest.is_running());
    let mut settings = Vec::new();
    for (key, value) in params.joined() {
        if NO_SETTINGS.contains(&key.as_str()) {
            continue;
        }
        let old = cluster.guests.get(&vmid).and_then(|guest| guest.get(&key)).map(str::to_owned);
        let value = if is_disk_key(kind, &key) || is_indexed(&key, "unused") {
            disks::place(cluster, who, (kind, &host, vmid), &key, &value, made)?
        } else if is_indexed(&key, "net") {
            nic(cluster, kind, &value, old.as_deref())
        } else if key == "tags" {
            let mut tags: Vec<&str> = value.split([';', ',', ' ']).filter(|tag| !tag.is_empty()).collect();
            tags.sort_unstable();
            tags.dedup();
            tags.join(";")
        } else {
            value
        };
        settings.push((key, value, old));
    }
    for key in params.list("revert") {
        if let Some(guest) = cluster.guests.get_mut(&vmid) {
            guest.pending.remove(key);
        }
    }
    for key in params.list("delete") {
        forget_to_boot(cluster, vmid, key, running);
        let old = cluster.guests.get(&vmid).and_then(|guest| guest.get(key)).map(str::to_owned);
        let hot = cluster.guests.get(&vmid).is_some_and(|guest| is_hot(guest, key, old.as_deref(), None));
        if running && old.is_some() && !hot {
            if let Some(guest) = cluster.guests.get_mut(&vmid) {
                guest.pending.insert(key.to_owned(), None);
            }
        } else {
            remove(cluster, vmid, key);
        }
    }
    for (key, value, old) in settings {
        let hot =
            cluster.guests.get(&vmid).is_some_and(|guest| is_hot(guest, &key, old.as_deref(), Some(&value)));
        if running && !hot {
            if let Some(guest) = cluster.guests.get_mut(&vmid) {
                if old.as_deref() == Some(value.as_str()) {
                    guest.pending.remove(&key);
                } else {
                    guest.pending.insert(key, Some(value));
                }
            }
        } else {
            set(cluster, kind, vmid, &key, &value, old.as_deref());
        }
    }
    Ok(())
}

/// What is taken away is not booted from any more.
fn forget_to_boot(cluster: &mut Cluster, vmid: u32, key: &str, running: bool) {
    let Some(guest) = cluster.guests.get_mut(&vmid).filter(|guest| guest.kind == Kind::Qemu) else { return };
    let boot = guest.effective(true).remove("boot").unwrap_or_default();
    let Some(order) = boot.strip_prefix("order=") else { return };
    let left: Vec<&str> = order.split(';').filter(|slot| *slot != key).collect();
    let left = format!("order={}", left.join(";"));
    if left == boot || guest.get(key).is_none() {
        return;
    }
    if running {
        guest.pending.insert("boot".to_owned(), Some(left));
    } else {
        guest.set("boot", left);
    }
}

/// Sets one key; a volume that makes room for another one stays as an unused one.
fn set(cluster: &mut Cluster, kind: Kind, vmid: u32, key: &str, value: &str, old: Option<&str>) {
    if is_disk_key(kind, key) {
        let volume = |text: &str| disks::file_of(kind, &property::parse(text)).map(str::to_owned);
        if old.is_some_and(|old| volume(old) != volume(value)) {
            disks::detach(cluster, vmid, key, false);
        }
        // What was unused and is attached now is not unused any more.
        if let (Some(guest), Some(volid)) = (cluster.guests.get_mut(&vmid), volume(value)) {
            guest.config.retain(|key, value| !is_indexed(key, "unused") || *value != volid);
        }
    }
    if let Some(guest) = cluster.guests.get_mut(&vmid) {
        guest.set(key, value);
        guest.pending.remove(key);
    }
}

fn remove(cluster: &mut Cluster, vmid: u32, key: &str) {
    let Some(guest) = cluster.guests.get_mut(&vmid) else { return };
    guest.pending.remove(key);
    if is_disk_key(guest.kind, key) || is_indexed(key, "unused") {
        disks::detach(cluster, vmid, key, false);
    } else {
        guest.config.remove(key);
    }
}

/// Lets the settings that waited take effect.
pub(super) fn apply_pending(cluster: &mut Cluster, vmid: u32) {
    let Some(guest) = cluster.guests.get_mut(&vmid) else { return };
    let kind = guest.kind;
    for (key, value) in std::mem::take(&mut guest.pending) {
        let old = cluster.guests.get(&vmid).and_then(|guest| guest.get(&key)).map(str::to_owned);
        match value {
            Some(value) => set(cluster, kind, vmid, &key, &value, old.as_deref()),
            None => remove(cluster, vmid, &key),
        }
    }
}

/// A NIC with the address that it keeps or gets.
pub(super) fn nic(cluster: &mut Cluster, kind: Kind, value: &str, old: Option<&str>) -> String {
    let mut nic = property::parse(value);
    let known = old.map(property::parse).and_then(|nic| mac_of(&nic));
    match kind {
        Kind::Lxc => {
            if nic.get("hwaddr").is_none() {
                let mac = known.unwrap_or_else(|| cluster.mac());
                nic.set("hwaddr", mac);
            }
            if nic.get("type").is_none() {
                nic.set("type", "veth");
            }
            nic.to_string()
        }
        Kind::Qemu => {
            let bare = nic.first_bare().map(str::to_owned);
            let Some(model) = bare.or_else(|| nic.get("model").map(str::to_owned)) else {
                return nic.to_string();
            };
            let mac = nic.get("macaddr").map(str::to_owned).unwrap_or_else(|| cluster.mac());
            let mut made = Properties::new().with(&model, mac);
            for entry in nic.iter() {
                match entry.key.as_deref() {
                    None | Some("model" | "macaddr") => {}
                    Some(key) => made.set(key, entry.value.clone()),
                }
            }
            made.to_string()
        }
    }
}

/// What the server adds to a new machine.
pub(super) fn complete(cluster: &mut Cluster, vmid: u32) {
    let (one, two, now) = (cluster.uuid(), cluster.uuid(), cluster.clock.unix());
    let Some(guest) = cluster.guests.get_mut(&vmid) else { return };
    match guest.kind {
        Kind::Qemu => {
            let own = property::parse(guest.get("smbios1").unwrap_or_default());
            if own.get("uuid").is_none() {
                guest.set("smbios1", own.with("uuid", one).to_string());
            }
            if matches!(guest.get("vmgenid"), None | Some("1")) {
                guest.set("vmgenid", two);
            }
            guest.set("meta", format!("creation-qemu=10.0.13,ctime={now}"));
            if guest.get("boot").is_none() {
                let order = boot_order(guest);
                guest.set("boot", order);
            }
        }
        Kind::Lxc => {
            for (key, value) in [("arch", "amd64"), ("memory", "512"), ("swap", "512"), ("ostype", "debian")]
            {
                if guest.get(key).is_none() {
                    guest.set(key, value);
                }
            }
            if guest.get("hostname").is_none() {
                guest.set("hostname", format!("CT{vmid}"));
            }
        }
    }
}

fn boot_order(guest: &Guest) -> String {
    let disks = guest.disks();
    let of = |cdrom: bool| {
        let fits = |(key, disk): &&(String, Properties)| {
            disks::is_cdrom(disk) == cdrom
                && !["unused", "efidisk", "tpmstate"].iter().any(|family| is_indexed(key, family))
                && !disks::file_of(guest.kind, disk).unwrap_or_default().contains("-cloudinit")
        };
        disks.iter().find(fits).map(|(key, _)| key.clone())
    };
    let net = guest.config.keys().find(|key| is_indexed(key, "net")).cloned();
    let order: Vec<String> = [of(false), of(true), net].into_iter().flatten().collect();
    if order.is_empty() { " ".to_owned() } else { format!("order={}", order.join(";")) }
}
