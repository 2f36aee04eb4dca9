//! Storages and volumes: the model, and the paths of the configuration and of the content.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde_json::{Map, Value, json};

use super::call::Call;
use super::cluster::Cluster;
use super::guest::{Config, Kind, digest, parse_size};
use super::reply::{Outcome, Refusal, data, done};
use super::tasks::Work;

/// A volume.
#[derive(Debug, Clone)]
pub(super) struct Volume {
    pub(super) content: String,
    pub(super) format: String,
    pub(super) size: u64,
    pub(super) vmid: Option<u32>,
    pub(super) parent: Option<String>,
    pub(super) ctime: u64,
    pub(super) notes: Option<String>,
    pub(super) protected: bool,
    /// What was uploaded.
    pub(super) bytes: Option<Bytes>,
    /// What a backup holds.
    pub(super) backup: Option<Box<Saved>>,
}

/// A guest in a backup.
#[derive(Debug, Clone)]
pub(super) struct Saved {
    pub(super) kind: Kind,
    pub(super) config: Config,
}

impl Volume {
    pub(super) fn new(content: &str, format: &str, size: u64, ctime: u64) -> Self {
        Self {
            content: content.to_owned(),
            format: format.to_owned(),
            size,
            vmid: None,
            parent: None,
            ctime,
            notes: None,
            protected: false,
            bytes: None,
            backup: None,
        }
    }

    fn row(&self, volid: &str) -> Value {
        let mut row = Map::new();
        let mut put = |key: &str, value: Value| row.insert(key.to_owned(), value);
        put("volid", volid.into());
        put("content", self.content.as_str().into());
        put("format", self.format.as_str().into());
        put("size", self.size.into());
        put("ctime", self.ctime.into());
        if let Some(vmid) = self.vmid {
            put("vmid", vmid.into());
        }
        match self.content.as_str() {
            "images" | "rootdir" => {
                put("parent", self.parent.clone().map_or(Value::Null, Value::from));
                put("used", (self.size / 4).into());
            }
            "backup" => {
                let kind = if volid.contains("-lxc-") { "lxc" } else { "qemu" };
                put("subtype", kind.into());
            }
            _ => {}
        }
        if let Some(notes) = &self.notes {
            put("notes", notes.trim_end().into());
        }
        if self.protected {
            put("protected", 1.into());
        }
        Value::Object(row)
    }
}

/// A storage.
#[derive(Debug, Clone)]
pub(super) struct Storage {
    pub(super) kind: String,
    pub(super) content: Vec<String>,
    pub(super) shared: bool,
    pub(super) disabled: bool,
    /// The hosts that have it; empty is all.
    pub(super) nodes: Vec<String>,
    pub(super) total: u64,
    /// Other settings: `path`, `prune-backups`, …
    pub(super) config: Config,
    /// By host (the empty name where it is shared) and volume id.
    pub(super) volumes: BTreeMap<String, BTreeMap<String, Volume>>,
}

impl Storage {
    pub(super) fn new(kind: &str, content: &[&str]) -> Self {
        Self {
            kind: kind.to_owned(),
            content: content.iter().map(|word| (*word).to_owned()).collect(),
            shared: matches!(kind, "nfs" | "cifs" | "cephfs" | "rbd" | "pbs"),
            disabled: false,
            nodes: Vec::new(),
            total: 252 << 30,
            config: Config::new(),
            volumes: BTreeMap::new(),
        }
    }

    /// Whether volumes are files in directories.
    pub(super) fn has_files(&self) -> bool {
        matches!(self.kind.as_str(), "dir" | "nfs" | "cifs" | "cephfs" | "btrfs")
    }

    /// Whether disks of this format can have snapshots and linked clones.
    pub(super) fn can_snapshot(&self, format: &str) -> bool {
        if self.has_files() { format == "qcow2" } else { !matches!(self.kind.as_str(), "lvm" | "iscsi") }
    }

    /// What a volume of this size takes: block storages hand out whole extents.
    pub(super) fn rounded(&self, size: u64) -> u64 {
        const EXTENT: u64 = 4 << 20;
        if self.kind.starts_with("lvm") { size.div_ceil(EXTENT).saturating_mul(EXTENT) } else { size }
    }

    /// # Errors
    /// The refusal of a format that only files can have.
    pub(super) fn takes_format(&self, format: &str) -> Result<(), Refusal> {
        if self.has_files() || format == "raw" {
            return Ok(());
        }
        Err(Refusal::die(format!("unsupported format '{format}'")))
    }

    pub(super) fn is_on(&self, host: &str) -> bool {
        !self.disabled && (self.nodes.is_empty() || self.nodes.iter().any(|node| node == host))
    }

    fn place<'a>(&self, host: &'a str) -> &'a str {
        if self.shared { "" } else { host }
    }

    pub(super) fn on(&self, host: &str) -> Option<&BTreeMap<String, Volume>> {
        self.volumes.get(self.place(host))
    }

    pub(super) fn on_mut(&mut self, host: &str) -> &mut BTreeMap<String, Volume> {
        let place = self.place(host).to_owned();
        self.volumes.entry(place).or_default()
    }

    pub(super) fn used(&self, host: &str) -> u64 {
        let taken = self.on(host).map_or(0, |volumes| volumes.values().map(|volume| volume.size / 4).sum());
        taken + (20 << 30)
    }

    /// The directory of a storage that has files.
    fn path(&self) -> &str {
        self.config.get("path").map_or("/var/lib/vz", String::as_str)
    }

    fn settings(&self, name: &str) -> Value {
        let mut row: Map<String, Value> =
            self.config.iter().map(|(key, value)| (key.clone(), value.as_str().into())).collect();
        row.insert("storage".into(), name.into());
        row.insert("type".into(), self.kind.as_str().into());
        row.insert("content".into(), self.content.join(",").into());
        row.insert("priority".into(), 0.into());
        if self.shared {
            row.insert("shared".into(), 1.into());
        }
        if self.disabled {
            row.insert("disable".into(), 1.into());
        }
        if !self.nodes.is_empty() {
            row.insert("nodes".into(), self.nodes.join(",").into());
        }
        row.insert("digest".into(), digest(name).into());
        Value::Object(row)
    }

    fn state(&self, host: &str) -> Map<String, Value> {
        let active = self.is_on(host);
        let (total, used) = if active { (self.total, self.used(host)) } else { (0, 0) };
        let row = json!({
            "type": self.kind, "content": self.content.join(","), "shared": u8::from(self.shared),
            "enabled": u8::from(!self.disabled), "active": u8::from(active),
            "total": total, "used": used, "avail": total.saturating_sub(used)
        });
        match row {
            Value::Object(row) => row,
            _ => Map::new(),
        }
    }
}

/// Where a volume lies on a host.
pub(super) fn file_of(storage: &Storage, volid: &str, volume: &Volume) -> String {
    let name = volid.split_once(':').map_or(volid, |(_, name)| name);
    if !storage.has_files() {
        return format!("/dev/pve/{name}");
    }
    let base = storage.path();
    let file = name.rsplit('/').next().unwrap_or(name);
    match volume.content.as_str() {
        "iso" => format!("{base}/template/iso/{file}"),
        "vztmpl" => format!("{base}/template/cache/{file}"),
        "backup" => format!("{base}/dump/{file}"),
        "import" => format!("{base}/import/{file}"),
        "snippets" => format!("{base}/snippets/{file}"),
        _ => format!("{base}/images/{name}"),
    }
}

fn missing(name: &str) -> Refusal {
    Refusal::die(format!("storage '{name}' does not exist"))
}

impl Cluster {
    /// # Errors
    /// A refusal where there is no such storage.
    pub(super) fn storage(&self, name: &str) -> Result<&Storage, Refusal> {
        self.storages.get(name).ok_or_else(|| missing(name))
    }

    /// A storage as a host uses it.
    ///
    /// # Errors
    /// A refusal where there is no such storage, or not on this host.
    pub(super) fn storage_on(&self, name: &str, host: &str) -> Result<&Storage, Refusal> {
        let storage = self.storage(name)?;
        if storage.disabled {
            return Err(Refusal::die(format!("storage '{name}' is disabled")));
        }
        if !storage.is_on(host) {
            return Err(Refusal::die(format!("storage '{name}' is not available on node '{host}'")));
        }
        Ok(storage)
    }

    /// A volume and its storage.
    pub(super) fn volume(&self, host: &str, volid: &str) -> Option<&Volume> {
        let (storage, _) = volid.split_once(':')?;
        self.storages.get(storage)?.on(host)?.get(volid)
    }

    pub(super) fn volume_mut(&mut self, host: &str, volid: &str) -> Option<&mut Volume> {
        let (storage, _) = volid.split_once(':')?;
        self.storages.get_mut(storage)?.on_mut(host).get_mut(volid)
    }

    pub(super) fn put_volume(&mut self, host: &str, volid: &str, volume: Volume) {
        let storage = volid.split_once(':').and_then(|(name, _)| self.storages.get_mut(name));
        if let Some(storage) = storage {
            storage.on_mut(host).insert(volid.to_owned(), volume);
        }
    }

    pub(super) fn remove_volume(&mut self, host: &str, volid: &str) -> Option<Volume> {
        let (storage, _) = volid.split_once(':')?;
        self.storages.get_mut(storage)?.on_mut(host).remove(volid)
    }
}

const AUDIT: &[&str] = &["Datastore.Audit", "Datastore.AllocateSpace"];

/// `GET /storage`.
pub(super) fn list(cluster: &Cluster, call: &Call) -> Outcome {
    let rows: Vec<Value> = cluster
        .storages
        .iter()
        .filter(|(_, storage)| call.get("type").is_none_or(|kind| kind == storage.kind))
        .filter(|(name, _)| cluster.may(&call.who, &format!("/storage/{name}"), AUDIT))
        .map(|(name, storage)| storage.settings(name))
        .collect();
    data(rows)
}

/// `GET /storage/{storage}`.
pub(super) fn get(cluster: &Cluster, call: &Call, name: &str) -> Outcome {
    cluster.need(&call.who, &format!("/storage/{name}"), &["Datastore.Allocate"])?;
    data(cluster.storage(name)?.settings(name))
}

/// `POST /storage`.
pub(super) fn create(cluster: &mut Cluster, call: &Call) -> Outcome {
    cluster.need(&call.who, "/storage", &["Datastore.Allocate"])?;
    let name = call.params.needed("storage")?.to_owned();
    let kind = call.params.needed("type")?.to_owned();
    let wanted = match kind.as_str() {
        "dir" | "btrfs" => "path",
        "lvm" | "lvmthin" => "vgname",
        "nfs" | "cifs" | "pbs" | "esxi" => "server",
        "zfspool" | "rbd" => "pool",
        _ => "type",
    };
    if !call.params.has(wanted) {
        return Err(Refusal::die(format!("missing value for required option '{wanted}'")));
    }
    if cluster.storages.contains_key(&name) {
        return Err(Refusal::die(format!("create storage failed: storage ID '{name}' already defined")));
    }
    let default = if kind == "lvmthin" || kind == "lvm" || kind == "zfspool" || kind == "rbd" {
        vec!["images", "rootdir"]
    } else {
        vec!["images", "rootdir", "vztmpl", "iso", "backup", "snippets"]
    };
    let mut storage = Storage::new(&kind, &default);
    apply(&mut storage, call);
    cluster.storages.insert(name.clone(), storage);
    data(json!({ "storage": name, "type": kind }))
}

fn apply(storage: &mut Storage, call: &Call) {
    for (key, value) in call.params.joined() {
        match key.as_str() {
            "storage" | "type" | "digest" | "delete" => {}
            "content" => storage.content = value.split(',').map(str::to_owned).collect(),
            "nodes" => storage.nodes = value.split(',').map(str::to_owned).collect(),
            "shared" => storage.shared = value == "1",
            "disable" => storage.disabled = value == "1",
            _ => {
                storage.config.insert(key, value);
            }
        }
    }
    for key in call.params.list("delete") {
        match key {
            "disable" => storage.disabled = false,
            "nodes" => storage.nodes.clear(),
            "shared" => storage.shared = false,
            _ => {
                storage.config.remove(key);
            }
        }
    }
}

/// `PUT /storage/{storage}`.
pub(super) fn update(cluster: &mut Cluster, call: &Call, name: &str) -> Outcome {
    cluster.need(&call.who, "/storage", &["Datastore.Allocate"])?;
    let failed = |_| Refusal::die(format!("update storage failed: storage '{name}' does not exist"));
    let storage = cluster.storages.get_mut(name).ok_or(()).map_err(failed)?;
    apply(storage, call);
    data(json!({ "storage": name, "type": storage.kind }))
}

/// `DELETE /storage/{storage}`.
pub(super) fn delete(cluster: &mut Cluster, call: &Call, name: &str) -> Outcome {
    cluster.need(&call.who, "/storage", &["Datastore.Allocate"])?;
    match cluster.storages.remove(name) {
        Some(_) => done(),
        None => Err(Refusal::die(format!("delete storage failed: storage '{name}' does not exist"))),
    }
}

/// `GET /nodes/{node}/storage`.
pub(super) fn on_host(cluster: &Cluster, call: &Call, host: &str) -> Outcome {
    let wanted = call.params.list("content");
    let rows: Vec<Value> = cluster
        .storages
        .iter()
        .filter(|(name, storage)| {
            let named = call.get("storage").is_none_or(|only| only == name.as_str());
            let fits =
                wanted.is_empty() || wanted.iter().any(|word| storage.content.iter().any(|c| c == word));
            let here = storage.nodes.is_empty() || storage.nodes.iter().any(|node| node == host);
            named && fits && here && !(call.flag("enabled") && storage.disabled)
        })
        .filter(|(name, _)| cluster.may(&call.who, &format!("/storage/{name}"), AUDIT))
        .map(|(name, storage)| {
            let mut row = storage.state(host);
            row.insert("storage".into(), name.as_str().into());
            if storage.is_on(host) {
                let part = fraction(storage.used(host), storage.total);
                row.insert("used_fraction".into(), part.into());
            }
            Value::Object(row)
        })
        .collect();
    data(rows)
}

/// A share with three digits.
pub(super) fn fraction(part: u64, whole: u64) -> f64 {
    let thousandth = part.saturating_mul(1_000).checked_div(whole).unwrap_or(0);
    f64::from(u32::try_from(thousandth).unwrap_or(0)) / 1_000.0
}

/// `GET /nodes/{node}/storage/{storage}/status`.
pub(super) fn status(cluster: &Cluster, call: &Call, host: &str, name: &str) -> Outcome {
    cluster.need(&call.who, &format!("/storage/{name}"), AUDIT)?;
    data(cluster.storage(name)?.state(host))
}

/// `GET /nodes/{node}/storage/{storage}/content`.
pub(super) fn content(cluster: &Cluster, call: &Call, host: &str, name: &str) -> Outcome {
    cluster.need(&call.who, &format!("/storage/{name}"), AUDIT)?;
    let storage = cluster.storage_on(name, host)?;
    let rows: Vec<Value> = storage
        .on(host)
        .into_iter()
        .flatten()
        .filter(|(_, volume)| call.get("content").is_none_or(|wanted| wanted == volume.content))
        .filter(|(_, volume)| {
            call.params.number("vmid").is_none_or(|vmid| volume.vmid.map(u64::from) == Some(vmid))
        })
        .map(|(volid, volume)| {
            let mut row = volume.row(volid);
            // Of several lines the list has the first.
            if let Some(notes) = row.get_mut("notes")
                && let Some(first) = notes.as_str().and_then(|notes| notes.lines().next())
            {
                *notes = first.into();
            }
            row
        })
        .collect();
    data(rows)
}

/// `POST /nodes/{node}/storage/{storage}/content`.
pub(super) fn allocate(cluster: &mut Cluster, call: &Call, host: &str, name: &str) -> Outcome {
    cluster.need(&call.who, &format!("/storage/{name}"), &["Datastore.AllocateSpace"])?;
    let storage = cluster.storage_on(name, host)?;
    let (file, vmid) = (call.params.needed("filename")?, call.params.needed("vmid")?);
    // Without a unit the size is in KiB.
    let size = call.params.needed("size")?;
    let bytes = match size.parse::<u64>() {
        Ok(kib) => Some(kib.saturating_mul(1024)),
        Err(_) => parse_size(size),
    };
    let bytes = bytes.ok_or_else(|| Refusal::parameter("size", "invalid size"))?;
    let by_name = file.rsplit_once('.').map(|(_, end)| end).filter(|_| storage.has_files());
    let format = call.get("format").or(by_name).unwrap_or("raw").to_owned();
    if storage.has_files() && by_name.is_none() {
        return Err(Refusal::die(format!("unable to parse volume filename '{file}'")));
    }
    storage.takes_format(&format)?;
    let bytes = storage.rounded(bytes);
    let wanted = format!("vm-{vmid}-");
    if !file.starts_with(&wanted) {
        return Err(Refusal::die(format!("illegal name '{file}' - should be 'vm-{vmid}-*'")));
    }
    let volid = if storage.has_files() { format!("{name}:{vmid}/{file}") } else { format!("{name}:{file}") };
    if storage.used(host).saturating_add(bytes / 4) > storage.total {
        return Err(Refusal::die("not enough free space"));
    }
    if cluster.volume(host, &volid).is_some() {
        return Err(Refusal::die(format!("disk image '{volid}' already exists")));
    }
    let mut volume = Volume::new("images", &format, bytes, cluster.clock.unix());
    volume.vmid = vmid.parse().ok();
    cluster.put_volume(host, &volid, volume);
    data(volid)
}

fn full_id(storage: &str, volume: &str) -> String {
    if volume.contains(':') { volume.to_owned() } else { format!("{storage}:{volume}") }
}

/// `GET /nodes/{node}/storage/{storage}/content/{volume}`.
pub(super) fn volume(cluster: &Cluster, call: &Call, host: &str, name: &str, volume: &str) -> Outcome {
    cluster.need(&call.who, &format!("/storage/{name}"), AUDIT)?;
    let (volid, storage) = (full_id(name, volume), cluster.storage_on(name, host)?);
    let volume = cluster
        .volume(host, &volid)
        .ok_or_else(|| Refusal::die(format!("volume_size_info on '{volid}' failed - no such volume")))?;
    let mut row = Map::new();
    row.insert("path".into(), file_of(storage, &volid, volume).into());
    row.insert("size".into(), volume.size.into());
    row.insert("used".into(), (volume.size / 4).into());
    row.insert("format".into(), if volume.content == "backup" { "raw" } else { &volume.format }.into());
    if let Some(notes) = &volume.notes {
        row.insert("notes".into(), notes.as_str().into());
    }
    if volume.protected {
        row.insert("protected".into(), 1.into());
    }
    data(row)
}

/// `PUT /nodes/{node}/storage/{storage}/content/{volume}`.
pub(super) fn change(cluster: &mut Cluster, call: &Call, host: &str, name: &str, volume: &str) -> Outcome {
    cluster.need(
        &call.who,
        &format!("/storage/{name}"),
        &["Datastore.Allocate", "Datastore.AllocateSpace"],
    )?;
    let volid = full_id(name, volume);
    let volume = cluster
        .volume_mut(host, &volid)
        .ok_or_else(|| Refusal::die(format!("volume '{volid}' does not exist")))?;
    if let Some(notes) = call.get("notes") {
        volume.notes = (!notes.is_empty()).then(|| format!("{notes}\n"));
    }
    if call.params.has("protected") {
        volume.protected = call.flag("protected");
    }
    done()
}

/// `DELETE /nodes/{node}/storage/{storage}/content/{volume}`.
pub(super) fn remove(cluster: &mut Cluster, call: &Call, host: &str, name: &str, volume: &str) -> Outcome {
    cluster.need(
        &call.who,
        &format!("/storage/{name}"),
        &["Datastore.Allocate", "Datastore.AllocateSpace"],
    )?;
    cluster.storage_on(name, host)?;
    let volid = full_id(name, volume);
    let owner = cluster.volume(host, &volid).and_then(|volume| volume.vmid);
    let by_name = volid.split(['-', '/', ':']).find_map(|part| part.parse::<u32>().ok());
    let subject = owner.or(by_name).map_or_else(|| format!("@{name}"), |vmid| format!("{vmid}@{name}"));
    let (host_name, id) = (host.to_owned(), volid.clone());
    let work = Work { who: &call.who, host, kind: "imgdel".into(), subject, lock: None };
    let upid = cluster.dispatch_with_end(
        work,
        |_, _| Ok(()),
        move |cluster, upid| {
            if let Some(volume) = cluster.volume(&host_name, &id)
                && volume.protected
            {
                let (storage, file) = id.split_once(':').unwrap_or_default();
                return Err(format!("cannot remove protected volume '{file}' on '{storage}'"));
            }
            // A volume that is not there any more is as good as deleted.
            cluster.remove_volume(&host_name, &id);
            cluster.tasks.log(upid, format!("Removed volume '{id}'"));
            Ok(())
        },
    );
    if call.params.has("delay") && cluster.task_time("imgdel").is_zero() {
        return done();
    }
    data(upid)
}
