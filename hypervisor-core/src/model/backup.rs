//! Backups.

use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use super::capability::{Feature, asked};
use super::extra::Extra;
use super::id::{BackupId, HostId, PoolId, VmId};
use super::macros::{named_enum, setters};
use super::units::ByteSize;
use super::validate;
use crate::error::Result;

/// A backup.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct BackupInfo {
    /// Its id.
    pub id: BackupId,
    /// The guest that it is of; the guest may be gone.
    #[serde(default)]
    pub vm: Option<VmId>,
    /// The pool that it lies in.
    #[serde(default)]
    pub pool: Option<PoolId>,
    /// When it was made.
    #[serde(default)]
    pub created: Option<SystemTime>,
    /// How much room it takes.
    #[serde(default)]
    pub size: Option<ByteSize>,
    /// Whether it is protected against deletion.
    #[serde(default)]
    pub protected: bool,
    /// What somebody wrote about it.
    #[serde(default)]
    pub description: Option<String>,
    /// The backup that it holds the changes since.
    #[serde(default)]
    pub parent: Option<BackupId>,
    /// What the backend says beyond this.
    #[serde(default)]
    pub extra: Extra,
}

impl BackupInfo {
    /// A backup of which nothing else is known.
    pub fn new(id: impl Into<BackupId>) -> Self {
        Self {
            id: id.into(),
            vm: None,
            pool: None,
            created: None,
            size: None,
            protected: false,
            description: None,
            parent: None,
            extra: Extra::default(),
        }
    }

    setters! {
        opt_into vm: VmId; opt_into pool: PoolId; opt created: SystemTime; opt size: ByteSize; val protected: bool;
        opt_into description: String; opt_into parent: BackupId; val extra: Extra;
    }
}

/// Which backups are wanted; empty means all.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
#[non_exhaustive]
pub struct BackupQuery {
    /// Of this guest.
    pub vm: Option<VmId>,
    /// In this pool.
    pub pool: Option<PoolId>,
}

impl BackupQuery {
    /// All backups.
    #[must_use]
    pub fn all() -> Self {
        Self::default()
    }

    setters! { opt_into vm: VmId; opt_into pool: PoolId; }

    /// Whether the query wants this backup, for backends that cannot filter.
    #[must_use]
    pub fn matches(&self, backup: &BackupInfo) -> bool {
        self.vm.as_ref().is_none_or(|vm| backup.vm.as_ref() == Some(vm))
            && self.pool.as_ref().is_none_or(|pool| backup.pool.as_ref() == Some(pool))
    }
}

named_enum! {
    /// What happens to a running guest during its backup.
    BackupMode {
        /// It goes on.
        Snapshot = "snapshot",
        /// It is paused.
        Suspend = "suspend",
        /// It is shut down and started again.
        Stop = "stop",
    }
}

impl BackupMode {
    const fn usual() -> Self {
        Self::Snapshot
    }
}

/// How a backup is made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct BackupSpec {
    /// The pool that it goes into; without it the backend's default.
    #[serde(default)]
    pub pool: Option<PoolId>,
    /// What happens to a running guest; without it, it goes on.
    #[serde(default = "BackupMode::usual")]
    pub mode: BackupMode,
    /// Compress it.
    #[serde(default)]
    pub compress: bool,
    /// Hold only what has changed since this backup.
    #[serde(default)]
    pub since: Option<BackupId>,
    /// Protect it against deletion.
    #[serde(default)]
    pub protected: bool,
    /// What somebody wants to say about it.
    #[serde(default)]
    pub description: Option<String>,
}

impl Default for BackupSpec {
    fn default() -> Self {
        Self {
            pool: None,
            mode: BackupMode::usual(),
            compress: false,
            since: None,
            protected: false,
            description: None,
        }
    }
}

impl BackupSpec {
    /// A full backup while the guest goes on.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    setters! {
        opt_into pool: PoolId; val mode: BackupMode; val compress: bool; opt_into since: BackupId; val protected: bool;
        opt_into description: String;
    }

    /// Checks what holds on every backend.
    ///
    /// # Errors
    /// `InvalidInput` naming the field.
    pub fn validate(&self) -> Result<()> {
        validate::description(self.description.as_deref())
    }

    /// What the backend must be able to do.
    #[must_use]
    pub fn needs(&self) -> Vec<Feature> {
        asked([
            (self.compress, Feature::CompressedBackup),
            (self.since.is_some(), Feature::IncrementalBackup),
        ])
    }
}

/// What a backup is restored to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum RestoreTo {
    /// A new guest of this name.
    New(String),
    /// The guest that it was made of, which is overwritten and must be stopped.
    Original,
}

/// How a backup is restored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct RestoreBackup {
    /// What to.
    pub to: RestoreTo,
    /// The id that a new guest should get, where the backend lets the caller choose.
    #[serde(default)]
    pub id: Option<VmId>,
    /// The pool of its disks; without it those that they were in.
    #[serde(default)]
    pub pool: Option<PoolId>,
    /// The host.
    #[serde(default)]
    pub host: Option<HostId>,
    /// Start it afterwards.
    #[serde(default)]
    pub start: bool,
}

impl RestoreBackup {
    /// To a new guest of this name.
    pub fn new_vm(name: impl Into<String>) -> Self {
        Self { to: RestoreTo::New(name.into()), id: None, pool: None, host: None, start: false }
    }

    /// Over the guest that the backup was made of.
    #[must_use]
    pub fn original() -> Self {
        Self { to: RestoreTo::Original, id: None, pool: None, host: None, start: false }
    }

    setters! { opt_into id: VmId; opt_into pool: PoolId; opt_into host: HostId; val start: bool; }

    /// Checks what holds on every backend.
    ///
    /// # Errors
    /// `InvalidInput` naming the field.
    pub fn validate(&self) -> Result<()> {
        match &self.to {
            RestoreTo::New(name) => validate::name("name", name),
            RestoreTo::Original => Ok(()),
        }
    }

    /// What the backend must be able to do.
    #[must_use]
    pub fn needs(&self) -> Vec<Feature> {
        if self.id.is_some() { vec![Feature::RequestedId] } else { Vec::new() }
    }
}
