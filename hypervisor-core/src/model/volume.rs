//! Storage pools and volumes.

use std::collections::BTreeSet;
use std::fmt;
use std::time::SystemTime;

use bytes::{Bytes, BytesMut};
use futures::stream::{BoxStream, StreamExt as _};
use serde::{Deserialize, Serialize};

use super::capability::{Feature, asked};
use super::extra::Extra;
use super::id::{HostId, PoolId, VmId, VolumeId};
use super::macros::{named_enum, open_enum, setters};
use super::units::ByteSize;
use super::validate;
use crate::error::{Error, ErrorKind, Result};

open_enum! {
    /// How a volume's content is laid out.
    VolumeFormat {
        /// Byte for byte.
        Raw = "raw",
        /// QEMU's format with snapshots and backing volumes.
        Qcow2 = "qcow2",
        /// VMware's.
        Vmdk = "vmdk",
        /// Hyper-V's.
        Vhdx = "vhdx",
        /// A CD image.
        Iso = "iso",
        /// An archive of a container's file system.
        Tar = "tar" | "tgz",
        /// A directory.
        Dir = "dir" | "subvol",
    }
}

open_enum! {
    /// What a pool stands on.
    PoolKind {
        /// A directory.
        Dir = "dir",
        /// A file system that is mounted for the pool.
        Filesystem = "fs",
        /// NFS and the like.
        NetFs = "netfs" | "nfs" | "cifs",
        /// An LVM volume group.
        Lvm = "logical" | "lvm",
        /// LVM thin.
        LvmThin = "lvmthin",
        /// ZFS.
        Zfs = "zfs" | "zfspool",
        /// Btrfs.
        Btrfs = "btrfs",
        /// Ceph block devices.
        Rbd = "rbd",
        /// iSCSI.
        Iscsi = "iscsi",
        /// A disk.
        Disk = "disk",
    }
}

/// A storage pool.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct PoolInfo {
    /// Its id.
    pub id: PoolId,
    /// What it stands on.
    pub kind: PoolKind,
    /// Whether it can be used now.
    pub active: bool,
    /// Whether it starts with its host.
    #[serde(default)]
    pub autostart: bool,
    /// Where it lies on the host.
    #[serde(default)]
    pub path: Option<String>,
    /// How much fits in all.
    #[serde(default)]
    pub capacity: Option<ByteSize>,
    /// How much is in use.
    #[serde(default)]
    pub used: Option<ByteSize>,
    /// How much is left.
    #[serde(default)]
    pub available: Option<ByteSize>,
    /// The hosts that see it; empty where there is only one.
    #[serde(default)]
    pub hosts: Vec<HostId>,
    /// Whether all these hosts see the same content.
    #[serde(default)]
    pub shared: bool,
    /// What may be put into it, in the backend's words (`images`, `iso`, `backup`, …).
    #[serde(default)]
    pub content: BTreeSet<String>,
    /// What the backend says beyond this.
    #[serde(default)]
    pub extra: Extra,
}

impl PoolInfo {
    /// A pool of which nothing else is known.
    pub fn new(id: impl Into<PoolId>, kind: PoolKind, active: bool) -> Self {
        Self {
            id: id.into(),
            kind,
            active,
            autostart: false,
            path: None,
            capacity: None,
            used: None,
            available: None,
            hosts: Vec::new(),
            shared: false,
            content: BTreeSet::new(),
            extra: Extra::default(),
        }
    }

    setters! {
        val autostart: bool; opt_into path: String; opt capacity: ByteSize; opt used: ByteSize; opt available: ByteSize;
        val hosts: Vec<HostId>; val shared: bool; val content: BTreeSet<String>; val extra: Extra;
    }
}

/// Which pools are wanted; empty means all.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct PoolQuery {
    /// Seen by this host.
    pub host: Option<HostId>,
    /// That may hold this content, in the backend's words.
    pub content: Option<String>,
}

impl PoolQuery {
    /// All pools.
    #[must_use]
    pub fn all() -> Self {
        Self::default()
    }

    setters! { opt_into host: HostId; opt_into content: String; }

    /// Whether the query wants this pool, for backends that cannot filter.
    #[must_use]
    pub fn matches(&self, pool: &PoolInfo) -> bool {
        self.host.as_ref().is_none_or(|host| pool.hosts.is_empty() || pool.hosts.contains(host))
            && self
                .content
                .as_ref()
                .is_none_or(|content| pool.content.is_empty() || pool.content.contains(content))
    }
}

/// How a pool is to be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct PoolSpec {
    /// Its name.
    pub name: String,
    /// What it stands on.
    pub kind: PoolKind,
    /// The directory, mount point or device on the host.
    #[serde(default)]
    pub target: Option<String>,
    /// Where the content comes from: `server:/export` of a network file system, a volume group's name.
    #[serde(default)]
    pub source: Option<String>,
    /// Whether it starts with its host.
    #[serde(default)]
    pub autostart: bool,
    /// The hosts that see it; empty means all.
    #[serde(default)]
    pub hosts: Vec<HostId>,
    /// What may be put into it, in the backend's words; empty is the backend's default.
    #[serde(default)]
    pub content: BTreeSet<String>,
    /// Options that only one backend knows.
    #[serde(default)]
    pub options: Extra,
}

impl PoolSpec {
    /// A pool on this.
    pub fn new(name: impl Into<String>, kind: PoolKind) -> Self {
        Self {
            name: name.into(),
            kind,
            target: None,
            source: None,
            autostart: false,
            hosts: Vec::new(),
            content: BTreeSet::new(),
            options: Extra::default(),
        }
    }

    /// A pool in this directory on the host, which is made if it is missing.
    pub fn dir(name: impl Into<String>, path: impl Into<String>) -> Self {
        Self::new(name, PoolKind::Dir).target(path)
    }

    setters! {
        opt_into target: String; opt_into source: String; val autostart: bool; val hosts: Vec<HostId>;
        val content: BTreeSet<String>; val options: Extra;
    }

    /// Checks what holds on every backend.
    ///
    /// # Errors
    /// `InvalidInput` naming the field.
    pub fn validate(&self) -> Result<()> {
        validate::name("name", &self.name)?;
        match &self.target {
            Some(target) => validate::host_path("target", target)?,
            None if self.kind == PoolKind::Dir => {
                return Err(Error::invalid("target", "a directory pool needs its path"));
            }
            None => {}
        }
        self.source.as_deref().map_or(Ok(()), |source| validate::text("source", source))
    }
}

/// How a pool is deleted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct DeletePool {
    /// Delete its volumes too. Otherwise the pool is forgotten and its content stays on the host.
    pub content: bool,
}

impl DeletePool {
    /// The content stays on the host.
    #[must_use]
    pub fn keep_content() -> Self {
        Self { content: false }
    }

    /// The content is deleted.
    #[must_use]
    pub fn with_content() -> Self {
        Self { content: true }
    }
}

/// A volume.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct VolumeInfo {
    /// Its id.
    pub id: VolumeId,
    /// Its pool.
    pub pool: PoolId,
    /// Its name in the pool.
    pub name: String,
    /// How large it looks to a guest.
    pub capacity: ByteSize,
    /// How much of the pool it takes.
    #[serde(default)]
    pub allocation: Option<ByteSize>,
    /// Its format.
    #[serde(default)]
    pub format: Option<VolumeFormat>,
    /// What it is for, in the backend's words (`images`, `iso`, `backup`, …).
    #[serde(default)]
    pub content: Option<String>,
    /// Where it lies on the host.
    #[serde(default)]
    pub path: Option<String>,
    /// The file or volume whose content it starts from.
    #[serde(default)]
    pub backing: Option<String>,
    /// The guest that owns it, where the backend knows.
    #[serde(default)]
    pub vm: Option<VmId>,
    /// When it was made.
    #[serde(default)]
    pub created: Option<SystemTime>,
    /// What the backend says beyond this.
    #[serde(default)]
    pub extra: Extra,
}

impl VolumeInfo {
    /// A volume of which nothing else is known.
    pub fn new(
        id: impl Into<VolumeId>,
        pool: impl Into<PoolId>,
        name: impl Into<String>,
        capacity: ByteSize,
    ) -> Self {
        Self {
            id: id.into(),
            pool: pool.into(),
            name: name.into(),
            capacity,
            allocation: None,
            format: None,
            content: None,
            path: None,
            backing: None,
            vm: None,
            created: None,
            extra: Extra::default(),
        }
    }

    setters! {
        opt allocation: ByteSize; opt format: VolumeFormat; opt_into content: String; opt_into path: String;
        opt_into backing: String; opt_into vm: VmId; opt created: SystemTime; val extra: Extra;
    }
}

/// How a volume is to be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct VolumeSpec {
    /// The pool that it is made in.
    pub pool: PoolId,
    /// Its name there. Where the format has a usual ending (`.qcow2`), it is the caller's to add.
    pub name: String,
    /// How large it looks to a guest.
    pub capacity: ByteSize,
    /// Its format; without it the pool's usual one.
    #[serde(default)]
    pub format: Option<VolumeFormat>,
    /// The volume whose content it starts from.
    #[serde(default)]
    pub backing: Option<VolumeId>,
    /// Reserve all its space now.
    #[serde(default)]
    pub preallocate: bool,
    /// The guest that it is for; Proxmox puts its number into the name.
    #[serde(default)]
    pub vm: Option<VmId>,
    /// What it is for, in the backend's words; without it a guest's disk.
    #[serde(default)]
    pub content: Option<String>,
}

impl VolumeSpec {
    /// An empty volume.
    pub fn new(pool: impl Into<PoolId>, name: impl Into<String>, capacity: ByteSize) -> Self {
        Self {
            pool: pool.into(),
            name: name.into(),
            capacity,
            format: None,
            backing: None,
            preallocate: false,
            vm: None,
            content: None,
        }
    }

    setters! {
        opt format: VolumeFormat; opt_into backing: VolumeId; val preallocate: bool; opt_into vm: VmId;
        opt_into content: String;
    }

    /// Checks what holds on every backend.
    ///
    /// # Errors
    /// `InvalidInput` naming the field.
    pub fn validate(&self) -> Result<()> {
        validate::name("name", &self.name)?;
        if self.pool.as_str().is_empty() {
            return Err(Error::invalid("pool", "must not be empty"));
        }
        if self.capacity == ByteSize::ZERO {
            return Err(Error::invalid("capacity", "must be more than nothing"));
        }
        Ok(())
    }

    /// What the backend must be able to do.
    #[must_use]
    pub fn needs(&self) -> Vec<Feature> {
        asked([
            (self.backing.is_some(), Feature::VolumeBacking),
            (self.preallocate, Feature::VolumePreallocation),
        ])
    }
}

/// How a volume is copied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct CloneVolume {
    /// The name of the copy.
    pub name: String,
    /// Its pool; without it that of the original.
    #[serde(default)]
    pub pool: Option<PoolId>,
    /// Its format; without it that of the original.
    #[serde(default)]
    pub format: Option<VolumeFormat>,
}

impl CloneVolume {
    /// A copy of this name beside the original.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), pool: None, format: None }
    }

    setters! { opt_into pool: PoolId; opt format: VolumeFormat; }

    /// Checks what holds on every backend.
    ///
    /// # Errors
    /// `InvalidInput` naming the field.
    pub fn validate(&self) -> Result<()> {
        validate::name("name", &self.name)
    }
}

/// How a volume's size is changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ResizeVolume {
    /// How large it is to look to a guest.
    pub capacity: ByteSize,
    /// Allow it to become smaller, which cuts off what lies behind. Otherwise a smaller size is `InvalidInput`.
    #[serde(default)]
    pub allow_shrink: bool,
}

impl ResizeVolume {
    /// To this size, never smaller.
    #[must_use]
    pub fn grow_to(capacity: ByteSize) -> Self {
        Self { capacity, allow_shrink: false }
    }

    setters! { val allow_shrink: bool; }

    /// Checks what holds on every backend, `present` being the size now.
    ///
    /// # Errors
    /// `InvalidInput` naming `capacity`.
    pub fn validate(&self, present: Option<ByteSize>) -> Result<()> {
        if self.capacity == ByteSize::ZERO {
            return Err(Error::invalid("capacity", "must be more than nothing"));
        }
        match present {
            Some(present) if self.capacity < present && !self.allow_shrink => Err(Error::invalid(
                "capacity",
                format!(
                    "{} is less than the {present} that it has; shrinking has to be allowed",
                    self.capacity
                ),
            )),
            _ => Ok(()),
        }
    }

    /// What the backend must be able to do.
    #[must_use]
    pub fn needs(&self) -> Vec<Feature> {
        if self.allow_shrink { vec![Feature::ShrinkVolume] } else { Vec::new() }
    }
}

named_enum! {
    /// How a volume is overwritten. The names are those of libvirt and of `scrub`.
    WipeAlgorithm {
        /// Zeroes, once.
        Zero = "zero",
        /// NNSA NAP-14.1-C, four passes.
        Nnsa = "nnsa",
        /// DoD 5220.22-M, four passes.
        Dod = "dod",
        /// German BSI, nine passes.
        Bsi = "bsi",
        /// Gutmann, 35 passes.
        Gutmann = "gutmann",
        /// Schneier, seven passes.
        Schneier = "schneier",
        /// Pfitzner, seven passes.
        Pfitzner7 = "pfitzner7",
        /// Pfitzner, 33 passes.
        Pfitzner33 = "pfitzner33",
        /// One random pass.
        Random = "random",
    }
}

impl WipeAlgorithm {
    /// What the backend must be able to do.
    #[must_use]
    pub fn needs(self) -> Vec<Feature> {
        if self == Self::Zero { Vec::new() } else { vec![Feature::WipeAlgorithms] }
    }
}

/// Where an upload goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum UploadVolume {
    /// Into a volume that exists and is large enough.
    Into(VolumeId),
    /// Into a volume that is made for it; its capacity is raised to the length of the content where it is less.
    Create(VolumeSpec),
}

impl UploadVolume {
    /// Into a volume that exists.
    pub fn to(volume: impl Into<VolumeId>) -> Self {
        Self::Into(volume.into())
    }

    /// Checks what holds on every backend.
    ///
    /// # Errors
    /// `InvalidInput` naming the field.
    pub fn validate(&self) -> Result<()> {
        match self {
            Self::Into(_) => Ok(()),
            Self::Create(spec) => spec.validate(),
        }
    }

    /// What the backend must be able to do.
    #[must_use]
    pub fn needs(&self) -> Vec<Feature> {
        match self {
            Self::Into(_) => Vec::new(),
            Self::Create(spec) => {
                let mut needs = spec.needs();
                needs.push(Feature::UploadCreates);
                needs
            }
        }
    }
}

/// Which part of a volume is read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct DownloadVolume {
    /// Where it starts.
    pub offset: ByteSize,
    /// How much; without it to the end.
    pub length: Option<ByteSize>,
}

impl DownloadVolume {
    /// The whole volume.
    #[must_use]
    pub fn all() -> Self {
        Self::default()
    }

    setters! { val offset: ByteSize; opt length: ByteSize; }

    /// What the backend must be able to do.
    #[must_use]
    pub fn needs(&self) -> Vec<Feature> {
        if *self == Self::default() { Vec::new() } else { vec![Feature::DownloadRange] }
    }
}

/// A stream of bytes whose length is known before it begins: servers need it (Proxmox refuses chunked bodies), and
/// a stream that ends early is an error rather than a short file.
///
/// ```
/// use hypervisor_core::model::ByteStream;
/// # tokio_test(async {
/// let stream = ByteStream::from_bytes("hello");
/// assert_eq!(stream.length(), 5);
/// assert_eq!(stream.collect(1024).await?, "hello");
/// # Ok::<(), hypervisor_core::Error>(()) });
/// # fn tokio_test<T>(f: impl std::future::Future<Output = T>) -> T {
/// #     tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(f)
/// # }
/// ```
pub struct ByteStream {
    length: u64,
    chunks: BoxStream<'static, Result<Bytes>>,
}

impl ByteStream {
    /// A stream that will give exactly `length` bytes.
    pub fn new(length: u64, chunks: impl futures::Stream<Item = Result<Bytes>> + Send + 'static) -> Self {
        Self { length, chunks: chunks.boxed() }
    }

    /// A stream of bytes in memory.
    pub fn from_bytes(bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        Self::new(length, futures::stream::once(async { Ok(bytes) }))
    }

    /// How many bytes it will give.
    #[must_use]
    pub fn length(&self) -> u64 {
        self.length
    }

    /// The chunks. A stream that gives fewer or more bytes than it said ends with a `Transport` error.
    #[must_use]
    pub fn into_chunks(self) -> BoxStream<'static, Result<Bytes>> {
        let Self { length, chunks } = self;
        let checked =
            futures::stream::unfold((chunks, 0_u64, false), move |(mut chunks, seen, ended)| async move {
                if ended {
                    return None;
                }
                let broken = |seen| {
                    Error::new(
                        ErrorKind::Transport,
                        format!("the stream gave {seen} bytes where {length} were announced"),
                    )
                };
                match chunks.next().await {
                    Some(Ok(chunk)) => {
                        let seen = seen.saturating_add(u64::try_from(chunk.len()).unwrap_or(u64::MAX));
                        if seen > length {
                            return Some((Err(broken(seen)), (chunks, seen, true)));
                        }
                        Some((Ok(chunk), (chunks, seen, false)))
                    }
                    Some(Err(error)) => Some((Err(error), (chunks, seen, true))),
                    None if seen < length => Some((Err(broken(seen)), (chunks, seen, true))),
                    None => None,
                }
            });
        checked.boxed()
    }

    /// All bytes in memory.
    ///
    /// # Errors
    /// `InvalidInput` if there are more than `limit`; what the stream itself ends with.
    pub async fn collect(self, limit: u64) -> Result<Bytes> {
        if self.length > limit {
            return Err(Error::invalid(
                "limit",
                format!("the content has {} bytes, more than {limit}", self.length),
            ));
        }
        let mut all = BytesMut::new();
        let mut chunks = self.into_chunks();
        while let Some(chunk) = chunks.next().await {
            all.extend_from_slice(&chunk?);
        }
        Ok(all.freeze())
    }
}

impl fmt::Debug for ByteStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ByteStream").field("length", &self.length).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_stream_that_lies_about_its_length_is_an_error() {
        for (announced, given) in [(6, "hello"), (4, "hello")] {
            let stream = ByteStream::new(announced, futures::stream::iter([Ok(Bytes::from(given))]));
            assert_eq!(stream.collect(100).await.unwrap_err().kind(), ErrorKind::Transport);
        }
        assert_eq!(
            ByteStream::from_bytes("hello").collect(4).await.unwrap_err().kind(),
            ErrorKind::InvalidInput
        );
    }

    #[test]
    fn a_format_that_is_read_is_the_one_that_would_be_written() {
        // QEMU's `vpc` is VHD, which nothing that expects VHDX can read.
        for name in VolumeFormat::KNOWN.iter().map(VolumeFormat::as_str).chain(["vpc", "vdi", "qed"]) {
            assert_eq!(VolumeFormat::parse(name).as_str(), name);
        }
    }

    #[test]
    fn shrinking_has_to_be_asked_for() {
        let smaller = ResizeVolume::grow_to(ByteSize::gib(1));
        assert!(smaller.validate(Some(ByteSize::gib(2))).unwrap_err().fields().contains_key("capacity"));
        assert!(smaller.allow_shrink(true).validate(Some(ByteSize::gib(2))).is_ok());
        assert_eq!(PoolSpec::new("p", PoolKind::Dir).validate().unwrap_err().kind(), ErrorKind::InvalidInput);
    }
}
