//! Storage: pools and volumes. Sizes go out in GiB and come back in bytes.

use hypervisor_core::model::{ByteSize, PoolInfo, PoolKind, VolumeFormat, VolumeId, VolumeInfo};
use serde::Serialize;

use super::soft;
use crate::dialect::hypersdk::BACKEND;

answers! {
    /// A storage pool. Only `name` and `state` are real at the commits known.
    StoragePool {
        must {
            /// Its name.
            name: String,
        }
        may {
            /// Its UUID.
            uuid: String,
            /// `active` or `inactive`.
            state: String,
            /// How much fits in all, in bytes; 0 where the daemon does not say.
            capacity: u64,
            /// How much is left, in bytes.
            available: u64,
            /// Where it lies on the host.
            path: String,
        }
    }

    /// A volume. In a list only `name` and `path` are real.
    LibvirtVolume {
        must {
            /// Its name in the pool.
            name: String,
        }
        may {
            /// Its pool.
            pool: String,
            /// Where it lies on the host.
            path: String,
            /// `file`, `block`, …
            r#type: String,
            /// How large it looks to a guest, in bytes. Rounded to hundredths of its unit by virsh, and 0 from one TiB on.
            capacity: u64,
            /// How much of the pool it takes, in bytes, rounded likewise.
            allocation: u64,
            /// `qcow2`, `raw`, or nothing.
            format: String,
        }
    }

    /// A volume that was made or copied.
    #[derive(Default)]
    VolumeMade {
        may {
            /// Where it lies on the host.
            path: String,
        }
    }

    /// A volume that was made of an image on the host.
    UploadedVolume {
        may {
            /// Where it lies on the host.
            path: String,
            /// Its format.
            format: String,
            /// How large it was made, in GiB, rounded up.
            capacity_gb: u64,
            /// The image.
            source: String,
        }
    }
}

impl StoragePool {
    pub(crate) fn info(self) -> PoolInfo {
        let kind = PoolKind::Unknown(String::new());
        let mut info = PoolInfo::new(self.name.as_str(), kind, self.state.eq_ignore_ascii_case("active"));
        if !self.path.is_empty() {
            info = info.path(self.path);
        }
        if self.capacity > 0 {
            let (capacity, available) = (ByteSize::bytes(self.capacity), ByteSize::bytes(self.available));
            info = info.capacity(capacity).available(available).used(capacity.saturating_sub(available));
        }
        if !self.uuid.is_empty() {
            info.extra.insert(BACKEND, "uuid", self.uuid);
        }
        info
    }
}

impl LibvirtVolume {
    pub(crate) fn info(self, pool: &str) -> VolumeInfo {
        let capacity = ByteSize::bytes(self.capacity);
        let mut info = VolumeInfo::new(id(pool, &self.name), pool, self.name, capacity);
        // A volume takes at least its header, so that nothing means that nothing was told.
        if self.allocation > 0 {
            info = info.allocation(ByteSize::bytes(self.allocation));
        }
        if !self.format.is_empty() {
            info = info.format(VolumeFormat::parse(&self.format));
        }
        if !self.path.is_empty() {
            info = info.path(self.path);
        }
        if !self.r#type.is_empty() {
            info.extra.insert(BACKEND, "type", self.r#type);
        }
        info
    }
}

/// The id of a volume: `pool/name`, as libvirt's own driver has it.
pub(crate) fn id(pool: &str, name: &str) -> VolumeId {
    VolumeId::from(format!("{pool}/{name}"))
}

/// A volume to make (`POST /libvirt/volume/create`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct NewVolume {
    /// Its pool.
    pub pool: String,
    /// Its name there.
    pub name: String,
    /// `qcow2` or `raw`.
    pub format: String,
    /// Its size in GiB.
    pub capacity: u64,
    /// Write the metadata of a qcow2 volume in advance. Its space is not reserved by that.
    pub prealloc: bool,
}

impl NewVolume {
    /// An empty qcow2 volume of this many GiB.
    pub fn new(pool: impl Into<String>, name: impl Into<String>, gib: u64) -> Self {
        Self {
            pool: pool.into(),
            name: name.into(),
            format: "qcow2".to_owned(),
            capacity: gib,
            prealloc: false,
        }
    }

    chain! { format: String; prealloc: bool; }
}

/// `POST /libvirt/volume/clone`
#[derive(Debug, Serialize)]
pub(crate) struct CloneVolume<'a> {
    pub(crate) pool: &'a str,
    pub(crate) source_volume: &'a str,
    pub(crate) target_volume: &'a str,
    pub(crate) target_pool: &'a str,
}

/// `POST /libvirt/volume/resize`
#[derive(Debug, Serialize)]
pub(crate) struct ResizeVolume<'a> {
    pub(crate) pool: &'a str,
    pub(crate) volume: &'a str,
    pub(crate) capacity: u64,
    pub(crate) shrink: bool,
}

/// `POST /libvirt/volume/delete`
#[derive(Debug, Serialize)]
pub(crate) struct DeleteVolume<'a> {
    pub(crate) pool: &'a str,
    pub(crate) volume: &'a str,
}

/// `POST /libvirt/volume/upload`
#[derive(Debug, Serialize)]
pub(crate) struct UploadVolume<'a> {
    pub(crate) pool: &'a str,
    pub(crate) volume: &'a str,
    pub(crate) source_path: &'a str,
    pub(crate) format: &'a str,
}

/// `POST /libvirt/volume/wipe`
#[derive(Debug, Serialize)]
pub(crate) struct WipeVolume<'a> {
    pub(crate) pool: &'a str,
    pub(crate) volume: &'a str,
    pub(crate) algorithm: &'a str,
}
