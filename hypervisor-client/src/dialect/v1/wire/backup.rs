//! Backups. The document shows what a create takes; what a list gives is read as its other objects are.

use hypervisor_core::model::{BackupInfo, BackupMode, BackupSpec, RestoreBackup, RestoreTo, VmId};
use hypervisor_core::{Error, Result};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::lenient;
use super::pool::gib;
use crate::dialect::names::by_one_name;
use crate::dialect::v1::BACKEND;

/// A backup. Every field but the id may be missing.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(remote = "Self")]
#[non_exhaustive]
pub struct BackupRecord {
    /// Its id.
    #[serde(deserialize_with = "lenient::id")]
    pub id: String,
    /// The machine that it is of.
    #[serde(default, deserialize_with = "lenient::maybe_id")]
    pub vm_id: Option<String>,
    /// `full` or `incremental`.
    #[serde(default)]
    pub backup_type: Option<String>,
    /// How far it is.
    #[serde(default)]
    pub status: Option<String>,
    /// `gzip` and the like.
    #[serde(default)]
    pub compression: Option<String>,
    /// Whether it is encrypted.
    #[serde(default)]
    pub encryption: Option<bool>,
    /// How large it is, in GiB.
    #[serde(default)]
    pub size_gb: Option<f64>,
    /// What somebody wrote about it.
    #[serde(default)]
    pub description: Option<String>,
    /// When it was made.
    #[serde(default)]
    pub created_at: Option<String>,
    /// The job that makes it.
    #[serde(default, deserialize_with = "lenient::maybe_id")]
    pub job_id: Option<String>,
    /// What else the gateway says.
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

by_one_name!(BackupRecord {
    "id": "backup_id";
    "backup_type": "type";
    "size_gb": "backup_size_gb";
    "job_id": "creation_job_id";
});

impl BackupRecord {
    /// In the words of the SDK.
    #[must_use]
    pub fn to_info(&self) -> BackupInfo {
        let mut info = BackupInfo::new(self.id.as_str());
        info.vm = self.vm_id.as_deref().map(Into::into);
        info.created = lenient::at(self.created_at.as_ref());
        info.size = self.size_gb.and_then(gib);
        info.description = self.description.clone().filter(|description| !description.is_empty());
        let texts = [
            ("backup_type", &self.backup_type),
            ("status", &self.status),
            ("compression", &self.compression),
        ];
        for (key, value) in texts {
            if let Some(value) = value {
                info.extra.insert(BACKEND, key, value.as_str());
            }
        }
        if let Some(encryption) = self.encryption {
            info.extra.insert(BACKEND, "encryption", encryption);
        }
        for (key, value) in &self.rest {
            info.extra.insert(BACKEND, key, value.clone());
        }
        info
    }
}

/// A backup with all that the document has for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BackupRequest {
    /// The machine.
    pub vm_id: VmId,
    /// `full` or `incremental`.
    pub backup_type: String,
    /// `gzip` and the like.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compression: Option<String>,
    /// Whether it is encrypted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub encryption: Option<bool>,
    /// What somebody wants to say about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
}

impl BackupRequest {
    /// A full backup.
    pub fn new(vm: impl Into<VmId>) -> Self {
        Self {
            vm_id: vm.into(),
            backup_type: "full".to_owned(),
            compression: None,
            encryption: None,
            description: None,
        }
    }
}

/// The documented body of a create.
///
/// # Errors
/// `InvalidInput` for what the documented body has no place for.
pub(crate) fn create_body(vm: &VmId, spec: &BackupSpec) -> Result<BackupRequest> {
    let lacking = [
        ("pool", spec.pool.is_some()),
        ("mode", spec.mode != BackupMode::Snapshot),
        ("protected", spec.protected),
        ("since", spec.since.is_some()),
    ];
    if let Some((field, _)) = lacking.iter().find(|(_, asked)| *asked) {
        return Err(Error::invalid(*field, "the gateway's API has no such field"));
    }
    let compression = spec.compress.then(|| "gzip".to_owned());
    Ok(BackupRequest { compression, description: spec.description.clone(), ..BackupRequest::new(vm) })
}

/// Passes if the documented restore, which takes nothing but the backup's id, does what is asked for.
///
/// # Errors
/// `InvalidInput` for a new machine, a pool, a host or a start.
pub(crate) fn check_restore(options: &RestoreBackup) -> Result<()> {
    let lacking = [
        ("to", options.to != RestoreTo::Original),
        ("pool", options.pool.is_some()),
        ("host", options.host.is_some()),
        ("start", options.start),
    ];
    match lacking.iter().find(|(_, asked)| *asked) {
        Some((field, _)) => Err(Error::invalid(
            *field,
            "the gateway's API restores a backup over the machine that it was made of, and takes nothing else",
        )),
        None => Ok(()),
    }
}
