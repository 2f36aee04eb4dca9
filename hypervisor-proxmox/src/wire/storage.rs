//! Storages and what is on them.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

use hypervisor_core::model::{ByteSize, PoolInfo, PoolKind, PoolSpec, VolumeFormat, VolumeInfo, VolumeSpec};
use hypervisor_core::{Error, Result};

use super::form::Form;
use super::scalar::row;
use super::status::extra_of;

row! {
    /// A row of `/storage` (the configuration) or of `/nodes/{node}/storage` (what the node sees).
    StorageRow {
        /// Its name.
        storage: String = "storage",
        /// What it stands on: `dir`, `lvmthin`, `nfs`, …
        kind: String = "type",
        /// What may be put into it, separated by commas in no particular order.
        content: String = "content",
        /// Whether it is switched on.
        enabled: bool = "enabled",
        /// Whether it is switched off; only in the configuration.
        disable: bool = "disable",
        /// Whether the node can use it now.
        active: bool = "active",
        /// Whether all nodes see the same content.
        shared: bool = "shared",
        /// Its size in bytes.
        total: u64 = "total",
        /// How much is in use.
        used: u64 = "used",
        /// How much is left.
        avail: u64 = "avail",
        /// The directory that it lies in.
        path: String = "path",
        /// The nodes that have it, where not all do.
        nodes: String = "nodes",
    }
}

row! {
    /// A row of a storage's content, or what one volume's own path answers.
    VolumeRow {
        /// Its id; missing where the path has it.
        volid: String = "volid",
        /// What it is for: `images`, `iso`, `backup`, …
        content: String = "content",
        /// Its format.
        format: String = "format",
        /// Its size in bytes.
        size: u64 = "size",
        /// How much it takes.
        used: u64 = "used",
        /// The guest that owns it.
        vmid: u64 = "vmid",
        /// The volume that it starts from.
        parent: String = "parent",
        /// When it was made, in seconds since 1970.
        ctime: u64 = "ctime",
        /// What somebody wrote about it.
        notes: String = "notes",
        /// Whether it is protected against deletion.
        protected: bool = "protected",
        /// Where it lies on the node.
        path: String = "path",
        /// What a backup is of: `qemu` or `lxc`.
        subtype: String = "subtype",
    }
}

/// A list of words separated by commas, as a set: the server gives them in another order on every call.
pub(crate) fn words(list: &str) -> BTreeSet<String> {
    list.split(',').map(str::trim).filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

pub(crate) fn time(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds)).unwrap_or(SystemTime::UNIX_EPOCH)
}

fn pool_kind(kind: &str) -> PoolKind {
    match kind {
        "lvm" => PoolKind::Lvm,
        "cephfs" | "glusterfs" => PoolKind::NetFs,
        "iscsidirect" => PoolKind::Iscsi,
        other => PoolKind::parse(other),
    }
}

pub(crate) fn info(row: StorageRow, node: Option<&str>) -> Option<PoolInfo> {
    // A row of the configuration has no `active`: what is not switched off counts as usable.
    let enabled = row.enabled.unwrap_or(true) && !row.disable.unwrap_or(false);
    let mut pool = PoolInfo::new(
        row.storage?,
        pool_kind(row.kind.as_deref().unwrap_or_default()),
        row.active.unwrap_or(enabled),
    );
    pool.autostart = enabled;
    pool.path = row.path;
    pool.capacity = row.total.filter(|total| *total > 0).map(ByteSize::bytes);
    pool.used = row.used.filter(|_| pool.capacity.is_some()).map(ByteSize::bytes);
    let left = pool.capacity.zip(pool.used).map(|(total, used)| total.saturating_sub(used));
    pool.available = row.avail.filter(|_| pool.capacity.is_some()).map(ByteSize::bytes).or(left);
    pool.hosts = match node {
        Some(node) => vec![node.into()],
        None => words(row.nodes.as_deref().unwrap_or_default()).into_iter().map(Into::into).collect(),
    };
    pool.shared = row.shared.unwrap_or(false);
    pool.content = words(row.content.as_deref().unwrap_or_default());
    pool.extra = extra_of(row.rest);
    Some(pool)
}

/// Adds what another node says of the same storage.
pub(crate) fn merge(known: &mut PoolInfo, other: PoolInfo) {
    known.active |= other.active;
    known.capacity = known.capacity.or(other.capacity);
    known.used = known.used.or(other.used);
    known.available = known.available.or(other.available);
    known.content.extend(other.content);
    known.hosts.extend(other.hosts);
    known.hosts.sort();
    known.hosts.dedup();
}

/// The storages of `/storage` (without a node) or of `/nodes/{node}/storage`.
///
/// # Errors
/// `Protocol` where the answer is no such list.
pub fn pools(body: &[u8], node: Option<&str>) -> Result<Vec<PoolInfo>> {
    let rows: Vec<StorageRow> = super::envelope::data(body)?;
    let mut pools: Vec<PoolInfo> = rows.into_iter().filter_map(|row| info(row, node)).collect();
    pools.sort_by(|a, b| a.id.cmp(&b.id));
    Ok(pools)
}

/// One storage: `/storage/{storage}`, or with a node `/nodes/{node}/storage/{storage}/status`, which does not name it.
///
/// # Errors
/// `Protocol` where the answer is no such object.
pub fn pool(body: &[u8], name: &str, node: Option<&str>) -> Result<Option<PoolInfo>> {
    let mut row: StorageRow = super::envelope::data(body)?;
    row.storage.get_or_insert_with(|| name.to_owned());
    Ok(info(row, node))
}

/// The number of the guest that a disk is made for, from its id: `vm-100-disk-0`, `base-100-…`, `subvol-100-…`.
#[must_use]
pub fn owner(volid: &str) -> Option<u32> {
    let name = volid.rsplit([':', '/']).next()?;
    let rest = ["vm-", "base-", "subvol-", "basevol-"].iter().find_map(|prefix| name.strip_prefix(prefix))?;
    rest.split_once('-')?.0.parse().ok()
}

impl VolumeRow {
    /// As the model has it. `volid` counts where the row does not say; `None` without either.
    #[must_use]
    pub fn into_info(self, volid: Option<&str>) -> Option<VolumeInfo> {
        let id = self.volid.or_else(|| volid.map(str::to_owned))?;
        let (pool, name) = id.split_once(':')?;
        let mut volume = VolumeInfo::new(id.as_str(), pool, name, ByteSize::bytes(self.size.unwrap_or(0)));
        volume.allocation = self.used.map(ByteSize::bytes);
        volume.format = self.format.as_deref().map(VolumeFormat::parse);
        volume.content = self.content;
        volume.path = self.path;
        volume.backing = self.parent.filter(|parent| !parent.is_empty());
        volume.vm = self.vmid.filter(|vmid| *vmid > 0).map(|vmid| vmid.to_string().into());
        volume.created = self.ctime.map(time);
        volume.extra = extra_of(self.rest);
        for (key, text) in [("notes", self.notes), ("subtype", self.subtype)] {
            if let Some(text) = text {
                volume.extra.insert(crate::BACKEND, key, text);
            }
        }
        if let Some(protected) = self.protected {
            volume.extra.insert(crate::BACKEND, "protected", protected);
        }
        Some(volume)
    }
}

/// The volumes of a storage.
///
/// # Errors
/// `Protocol` where the answer is no such list.
pub fn volumes(body: &[u8]) -> Result<Vec<VolumeInfo>> {
    let rows: Vec<VolumeRow> = super::envelope::data(body)?;
    let mut volumes: Vec<VolumeInfo> = rows.into_iter().filter_map(|row| row.into_info(None)).collect();
    volumes.sort_by(|a, b| a.id.cmp(&b.id));
    Ok(volumes)
}

/// One volume, asked for by its id.
///
/// # Errors
/// `Protocol` where the answer is no such object.
pub fn volume(body: &[u8], volid: &str) -> Result<Option<VolumeInfo>> {
    let row: VolumeRow = super::envelope::data(body)?;
    Ok(row.into_info(Some(volid)))
}

/// The parameters of `POST /nodes/{node}/storage/{storage}/content`, which makes a volume.
///
/// # Errors
/// `InvalidInput` where there is no guest that it is for: Proxmox puts its number into the name.
pub fn allocate(spec: &VolumeSpec) -> Result<Form> {
    spec.validate()?;
    let vm = spec
        .vm
        .as_ref()
        .ok_or_else(|| Error::invalid("vm", "Proxmox makes volumes only for a guest: name it"))?;
    let number = super::form::vmid(vm)?;
    let kib = spec.capacity.div_ceil(ByteSize::kib(1));
    // Without a unit the server counts in KiB.
    let form =
        Form::new().number("vmid", number.into()).text("filename", spec.name.as_str()).number("size", kib);
    Ok(form.maybe("format", spec.format.as_ref().map(VolumeFormat::as_str)))
}

/// The parameters of `POST /storage`, which makes a storage known to the cluster.
///
/// # Errors
/// `InvalidInput` naming the field; `kind` where Proxmox has no such storage.
pub fn create_pool(spec: &PoolSpec) -> Result<Form> {
    spec.validate()?;
    let needs = |field: &str, value: &Option<String>| {
        value.clone().ok_or_else(|| Error::invalid(field, format!("a {} storage needs it", spec.kind)))
    };
    let form = Form::new().text("storage", spec.name.as_str());
    let form = match &spec.kind {
        PoolKind::Dir | PoolKind::Btrfs => {
            form.text("type", spec.kind.as_str()).text("path", needs("target", &spec.target)?)
        }
        PoolKind::Lvm => form.text("type", "lvm").text("vgname", needs("source", &spec.source)?),
        PoolKind::Zfs => form.text("type", "zfspool").text("pool", needs("source", &spec.source)?),
        PoolKind::LvmThin => {
            let source = needs("source", &spec.source)?;
            let (group, thin) = source
                .split_once('/')
                .ok_or_else(|| Error::invalid("source", "must be `volume-group/thin-pool`"))?;
            form.text("type", "lvmthin").text("vgname", group).text("thinpool", thin)
        }
        PoolKind::NetFs => {
            let source = needs("source", &spec.source)?;
            let (server, export) =
                source.split_once(':').ok_or_else(|| Error::invalid("source", "must be `server:/export`"))?;
            form.text("type", "nfs").text("server", server).text("export", export)
        }
        other => {
            return Err(Error::invalid("kind", format!("no storage of kind `{other}` can be made here")));
        }
    };
    let form =
        form.flag_if("disable", !spec.autostart && spec.options.get(crate::BACKEND)["disable"] == true);
    let nodes: Vec<&str> = spec.hosts.iter().map(AsRef::as_ref).collect();
    let content: Vec<&str> = spec.content.iter().map(String::as_str).collect();
    Ok(form
        .maybe("nodes", (!nodes.is_empty()).then(|| nodes.join(",")))
        .maybe("content", (!content.is_empty()).then(|| content.join(","))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_volume_tells_whose_it_is() {
        for (volid, owner) in [
            ("local:100/vm-100-disk-0.qcow2", Some(100)),
            ("local-lvm:vm-100-disk-0", Some(100)),
            ("tank:base-9000-disk-0/vm-101-disk-0", Some(101)),
            ("local:9000/base-9000-disk-0.raw/101/vm-101-disk-0.qcow2", Some(101)),
            ("tank:subvol-200-disk-1", Some(200)),
            ("local:iso/vm-a.iso", None),
            ("local:iso/debian.iso", None),
        ] {
            assert_eq!(super::owner(volid), owner, "{volid}");
        }
    }

    #[test]
    fn a_storage_that_is_off_is_not_active() {
        let rows = br#"[{"storage":"data","active":0,"enabled":0,"total":0,"used":0,"avail":0,"type":"dir","content":"iso,backup"},
            {"storage":"a","type":"lvmthin","active":1,"total":10,"used":3,"avail":6}]"#;
        let pools = pools(rows, Some("pve1")).unwrap();
        assert_eq!(
            (pools[0].id.as_str(), pools[0].kind.clone(), pools[0].available),
            ("a", PoolKind::LvmThin, Some(ByteSize::bytes(6)))
        );
        assert_eq!((pools[1].active, pools[1].capacity), (false, None));
        assert!(pools[1].content.contains("backup"));
    }

    #[test]
    fn wrong_volumes_and_pools_are_refused_by_field() {
        let field = |result: Result<Form>| result.unwrap_err().fields().keys().next().cloned().unwrap();
        assert_eq!(field(allocate(&VolumeSpec::new("local", "a.raw", ByteSize::gib(1)))), "vm");
        assert_eq!(field(create_pool(&PoolSpec::new("a", PoolKind::NetFs).source("nowhere"))), "source");
        assert_eq!(field(create_pool(&PoolSpec::new("a", PoolKind::Zfs))), "source");
        assert_eq!(field(create_pool(&PoolSpec::new("a", PoolKind::Disk))), "kind");
        let form =
            allocate(&VolumeSpec::new("local", "vm-100-disk-5.raw", ByteSize::mib(64)).vm("100")).unwrap();
        assert_eq!(form.encode(), "vmid=100&filename=vm-100-disk-5.raw&size=65536");
    }
}
