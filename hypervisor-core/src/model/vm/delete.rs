//! How a guest is deleted.

use serde::{Deserialize, Serialize};

use crate::model::capability::Feature;
use crate::model::id::DiskId;
use crate::model::macros::setters;

/// What becomes of the disks of a deleted guest. There is no default: the caller has to say.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum DisposeDisks {
    /// All are kept.
    Keep,
    /// All that a pool knows are deleted; CD drives' volumes are kept.
    Delete,
    /// Those in these slots are deleted, the others kept.
    Listed(Vec<DiskId>),
}

/// How a guest is deleted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct DeleteVm {
    /// What becomes of its disks.
    pub disks: DisposeDisks,
    /// Cut its power first if it runs; otherwise a running guest is refused.
    #[serde(default)]
    pub power_off: bool,
    /// Delete its snapshots too; otherwise a guest with snapshots is refused where they would be lost or left behind.
    #[serde(default)]
    pub snapshots: bool,
    /// Keep its backups, where the backend would delete them with it.
    #[serde(default)]
    pub keep_backups: bool,
    /// Refused when the guest has another uid.
    #[serde(default)]
    pub expected_uid: Option<String>,
}

impl DeleteVm {
    /// With this done to its disks.
    #[must_use]
    pub fn new(disks: DisposeDisks) -> Self {
        Self { disks, power_off: false, snapshots: false, keep_backups: false, expected_uid: None }
    }

    /// Its disks are kept.
    #[must_use]
    pub fn keep_disks() -> Self {
        Self::new(DisposeDisks::Keep)
    }

    /// Its disks are deleted.
    #[must_use]
    pub fn with_disks() -> Self {
        Self::new(DisposeDisks::Delete)
    }

    setters! { val power_off: bool; val snapshots: bool; val keep_backups: bool; opt_into expected_uid: String; }

    /// What the backend must be able to do.
    #[must_use]
    pub fn needs(&self) -> Vec<Feature> {
        match self.disks {
            DisposeDisks::Keep => vec![Feature::KeepDisks],
            DisposeDisks::Delete => Vec::new(),
            DisposeDisks::Listed(_) => vec![Feature::ListedDisks],
        }
    }
}
