//! How a guest is moved to another host, and written to files.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::model::capability::Feature;
use crate::model::id::{HostId, PoolId};
use crate::model::macros::setters;
use crate::model::units::ByteSize;
use crate::model::validate;
use crate::model::volume::VolumeFormat;

/// How a guest is moved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct MigrateSpec {
    /// Where to. Proxmox: the node; libvirt: the other daemon's URI.
    pub host: HostId,
    /// Whether it goes on running meanwhile; without it: if it runs.
    #[serde(default)]
    pub live: Option<bool>,
    /// Copy its disks too, where they lie on storage that the other host does not share.
    #[serde(default)]
    pub with_disks: bool,
    /// The pool on the other host.
    #[serde(default)]
    pub pool: Option<PoolId>,
    /// At most so many bytes a second.
    #[serde(default)]
    pub bandwidth: Option<ByteSize>,
}

impl MigrateSpec {
    /// To this host.
    pub fn to(host: impl Into<HostId>) -> Self {
        Self { host: host.into(), live: None, with_disks: false, pool: None, bandwidth: None }
    }

    setters! { opt live: bool; val with_disks: bool; opt_into pool: PoolId; opt bandwidth: ByteSize; }

    /// Checks what holds on every backend.
    ///
    /// # Errors
    /// `InvalidInput` naming the field.
    pub fn validate(&self) -> Result<()> {
        if self.host.as_str().is_empty() {
            return Err(Error::invalid("host", "must not be empty"));
        }
        // Nothing a second would never end, and some backends take it for no limit.
        match self.bandwidth {
            Some(ByteSize::ZERO) => Err(Error::invalid("bandwidth", "must be more than nothing")),
            _ => Ok(()),
        }
    }

    /// What the backend must be able to do.
    #[must_use]
    pub fn needs(&self) -> Vec<Feature> {
        match self.live {
            Some(true) => vec![Feature::LiveMigration],
            Some(false) => vec![Feature::OfflineMigration],
            None => Vec::new(),
        }
    }
}

/// Where a guest is written to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct ExportSpec {
    /// A directory on the host that exists.
    pub directory: String,
    /// The format of the disks; without it their own.
    #[serde(default)]
    pub format: Option<VolumeFormat>,
    /// Whether the disks are compressed.
    #[serde(default)]
    pub compress: bool,
}

impl ExportSpec {
    /// To this directory on the host.
    pub fn new(directory: impl Into<String>) -> Self {
        Self { directory: directory.into(), format: None, compress: false }
    }

    setters! { opt format: VolumeFormat; val compress: bool; }

    /// Checks what holds on every backend.
    ///
    /// # Errors
    /// `InvalidInput` naming the field.
    pub fn validate(&self) -> Result<()> {
        validate::host_path("directory", &self.directory)
    }
}

/// What an export writes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default)]
#[non_exhaustive]
pub struct ExportedVm {
    /// The file with the definition, on the host.
    pub definition: String,
    /// The files with the disks, on the host.
    pub disks: Vec<String>,
}

impl ExportedVm {
    /// These files.
    pub fn new(definition: impl Into<String>, disks: Vec<String>) -> Self {
        Self { definition: definition.into(), disks }
    }
}
