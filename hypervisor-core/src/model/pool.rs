//! Storage pools.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::extra::Extra;
use super::id::{HostId, PoolId};
use super::macros::{open_enum, setters};
use super::units::ByteSize;
use super::validate;
use crate::error::{Error, Result};

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
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
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
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
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
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
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
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_needs_its_path() {
        let error = PoolSpec::new("p", PoolKind::Dir).validate().unwrap_err();
        assert_eq!(error.kind(), crate::ErrorKind::InvalidInput);
        assert!(error.fields().contains_key("target"));
    }
}
