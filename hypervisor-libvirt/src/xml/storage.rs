//! Pools and volumes, both ways.

use hypervisor_core::model::{
    ByteSize, PoolInfo, PoolKind, PoolSpec, VolumeFormat, VolumeId, VolumeInfo, VolumeSpec,
};
use hypervisor_core::{Error, Result};

use super::{Element, XmlError};

/// The id of a volume: its pool and its name there.
pub(crate) fn volume_id(pool: &str, name: &str) -> VolumeId {
    VolumeId::from(format!("{pool}/{name}"))
}

/// The pool and the name in an id. Pools cannot have a slash in their name.
pub(crate) fn split_volume_id(id: &VolumeId) -> Result<(&str, &str)> {
    let parts = id.as_str().split_once('/').filter(|(pool, name)| !pool.is_empty() && !name.is_empty());
    parts.ok_or_else(|| id.not_found())
}

/// The pool that a spec asks for.
pub(crate) fn pool(spec: &PoolSpec) -> Result<Element> {
    let kind = match &spec.kind {
        PoolKind::Dir => "dir",
        PoolKind::Filesystem => "fs",
        PoolKind::NetFs => "netfs",
        PoolKind::Lvm => "logical",
        PoolKind::Zfs => "zfs",
        PoolKind::Iscsi => "iscsi",
        PoolKind::Disk => "disk",
        PoolKind::Rbd => "rbd",
        other => return Err(Error::invalid("kind", format!("libvirt has no pools of kind {other}"))),
    };
    let mut pool = Element::new("pool").with_attr("type", kind).with_child("name", &spec.name);
    if let Some(source) = &spec.source {
        let mut element = Element::new("source");
        match (&spec.kind, source.split_once(':')) {
            (PoolKind::NetFs | PoolKind::Iscsi, Some((host, path))) => {
                element.push(Element::new("host").with_attr("name", host));
                let (name, key) = if kind == "netfs" { ("dir", "path") } else { ("device", "path") };
                element.push(Element::new(name).with_attr(key, path));
            }
            (PoolKind::NetFs | PoolKind::Iscsi, None) => {
                return Err(Error::invalid("source", "must be `server:path`"));
            }
            (PoolKind::Filesystem | PoolKind::Disk, _) => {
                element.push(Element::new("device").with_attr("path", source));
            }
            _ => {
                element.push(Element::new("name").with_text(source));
            }
        }
        pool.push(element);
    }
    if let Some(target) = &spec.target {
        pool.push(Element::new("target").with_child("path", target));
    }
    Ok(pool)
}

/// What a pool's definition says about it.
pub(crate) fn pool_info(pool: &Element, active: bool, autostart: bool) -> Result<PoolInfo, XmlError> {
    let name = pool.text_at("name").ok_or_else(|| XmlError::new("<name> of the pool is missing"))?;
    let kind = PoolKind::parse(pool.attr("type").unwrap_or_default());
    let far = ["gluster", "iscsi-direct", "sheepdog", "vstorage"];
    let shared = matches!(kind, PoolKind::NetFs | PoolKind::Rbd | PoolKind::Iscsi)
        || pool.attr("type").is_some_and(|kind| far.contains(&kind));
    let mut info = PoolInfo::new(name, kind, active).autostart(autostart).shared(shared);
    info.path = pool.text_at("target/path");
    if active {
        let size = |name: &str| pool.child_bytes(name, "bytes").map(|size| size.map(ByteSize::bytes));
        info.capacity = size("capacity")?;
        info.used = size("allocation")?;
        info.available = size("available")?;
    }
    Ok(info)
}

/// A volume that starts from another one's content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Backing {
    pub(crate) path: String,
    pub(crate) format: VolumeFormat,
}

/// The format of a volume whose spec names none, in a pool of this type.
pub(crate) fn usual_format(pool_type: &str) -> Option<VolumeFormat> {
    matches!(pool_type, "dir" | "fs" | "netfs" | "gluster" | "vstorage").then_some(VolumeFormat::Qcow2)
}

/// The volume that a spec asks for. `format` is `None` in pools whose volumes are devices.
pub(crate) fn volume(spec: &VolumeSpec, format: Option<&VolumeFormat>, backing: Option<&Backing>) -> Element {
    let bytes = spec.capacity.as_bytes();
    let capacity = Element::new("capacity").with_attr("unit", "bytes").with_text(bytes);
    let mut volume = Element::new("volume").with_child("name", &spec.name).with(capacity);
    if spec.preallocate {
        volume.push(Element::new("allocation").with_attr("unit", "bytes").with_text(bytes));
    } else if format.is_some() {
        volume.push(Element::new("allocation").with_attr("unit", "bytes").with_text(0));
    }
    if let Some(format) = format {
        let mut target = Element::new("target").with(format_element(format));
        if *format == VolumeFormat::Qcow2 {
            // libvirt's own default is the layout of 2008, which can hold no record of what changes.
            target.push(Element::new("compat").with_text("1.1"));
        }
        volume.push(target);
    }
    if let Some(backing) = backing {
        let store = Element::new("backingStore").with_child("path", &backing.path);
        volume.push(store.with(format_element(&backing.format)));
    }
    volume
}

fn format_element(format: &VolumeFormat) -> Element {
    Element::new("format").with_attr("type", format.as_str())
}

/// What a volume's definition says about it.
pub(crate) fn volume_info(pool: &str, volume: &Element) -> Result<VolumeInfo, XmlError> {
    let name = volume.text_at("name").ok_or_else(|| XmlError::new("<name> of the volume is missing"))?;
    let capacity = volume.child_bytes("capacity", "bytes")?.unwrap_or_default();
    let mut info = VolumeInfo::new(volume_id(pool, &name), pool, name, ByteSize::bytes(capacity));
    info.allocation = volume.child_bytes("allocation", "bytes")?.map(ByteSize::bytes);
    info.format = volume.attr_at("target/format", "type").map(VolumeFormat::parse);
    info.path = volume.text_at("target/path");
    info.backing = volume.text_at("backingStore/path");
    Ok(info)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_volume_with_backing_and_back() {
        let spec = VolumeSpec::new("default", "a.qcow2", ByteSize::gib(1));
        let backing = Backing { path: "/p/base.raw".into(), format: VolumeFormat::Raw };
        let written = volume(&spec, Some(&VolumeFormat::Qcow2), Some(&backing));
        assert_eq!(
            written.to_string(),
            "<volume><name>a.qcow2</name><capacity unit=\"bytes\">1073741824</capacity>\
             <allocation unit=\"bytes\">0</allocation><target><format type=\"qcow2\"/>\
             <compat>1.1</compat></target><backingStore><path>/p/base.raw</path><format type=\"raw\"/></backingStore></volume>"
        );
        let info = volume_info("default", &written).unwrap();
        assert_eq!(info.id.as_str(), "default/a.qcow2");
        assert_eq!((info.capacity, info.backing.as_deref()), (ByteSize::gib(1), Some("/p/base.raw")));
        assert_eq!(info.format, Some(VolumeFormat::Qcow2));
    }

    #[test]
    fn ids_are_split_at_the_first_slash() {
        assert_eq!(split_volume_id(&"default/a/b".into()).unwrap(), ("default", "a/b"));
        for wrong in ["", "default", "/a", "default/"] {
            assert!(split_volume_id(&wrong.into()).unwrap_err().is_not_found(), "{wrong}");
        }
    }

    #[test]
    fn pools_of_several_kinds() {
        let dir = pool(&PoolSpec::dir("p", "/srv/p")).unwrap();
        assert_eq!(
            dir.to_string(),
            "<pool type=\"dir\"><name>p</name><target><path>/srv/p</path></target></pool>"
        );
        let nfs = pool(&PoolSpec::new("n", PoolKind::NetFs).source("nas:/export").target("/mnt/n")).unwrap();
        assert_eq!(nfs.attr_at("source/host", "name"), Some("nas"));
        assert_eq!(nfs.attr_at("source/dir", "path"), Some("/export"));
        let lvm = pool(&PoolSpec::new("v", PoolKind::Lvm).source("vg0")).unwrap();
        assert_eq!(lvm.text_at("source/name").as_deref(), Some("vg0"));
        let wrong = pool(&PoolSpec::new("n", PoolKind::NetFs).source("nas")).unwrap_err();
        assert!(wrong.fields().contains_key("source"));
        assert!(pool(&PoolSpec::new("b", PoolKind::Btrfs)).unwrap_err().fields().contains_key("kind"));
    }

    #[test]
    fn an_inactive_pool_has_no_sizes() {
        let xml = "<pool type='dir'><name>p</name><capacity unit='bytes'>0</capacity><target><path>/p</path></target></pool>";
        let info = pool_info(&Element::parse(xml).unwrap(), false, true).unwrap();
        assert_eq!((info.capacity, info.autostart, info.path.as_deref()), (None, true, Some("/p")));
        let far = Element::parse("<pool type='gluster'><name>g</name></pool>").unwrap();
        assert!(pool_info(&far, false, true).unwrap().shared && !info.shared);
    }
}
