//! Backups: a folder on the host with a domain's definition and copies of its disks.

use std::time::SystemTime;

use hypervisor_core::model::{BackupInfo, ByteSize};
use serde::Serialize;

use super::soft;
use crate::dialect::hypersdk::BACKEND;

/// A backup to make (`POST /libvirt/backup/create`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct NewBackup {
    /// The domain.
    pub vm_name: String,
    /// The name of the backup; without it `<domain>-<yyyymmdd-hhmmss>`. One of that name is overwritten.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub backup_name: String,
    /// Compress the copies of the disks.
    pub compress: bool,
    /// What is said about it.
    pub description: String,
}

impl NewBackup {
    /// A backup of this domain.
    pub fn new(vm_name: impl Into<String>) -> Self {
        Self {
            vm_name: vm_name.into(),
            backup_name: String::new(),
            compress: false,
            description: String::new(),
        }
    }

    chain! { backup_name: String; compress: bool; description: String; }
}

/// `POST /libvirt/backup/restore`
#[derive(Debug, Serialize)]
pub(crate) struct RestoreBackup<'a> {
    pub(crate) backup_name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) new_vm_name: Option<&'a str>,
    pub(crate) start: bool,
}

answers! {
    /// A backup.
    Backup {
        must {
            /// Its name.
            name: String,
        }
        may {
            /// The domain that it is of.
            vm_name: String,
            /// Where it lies on the host.
            path: String,
            /// `full`.
            r#type: String,
            /// How much room it takes, in bytes.
            size: u64,
            /// When it was made.
            created_at: Option<SystemTime>,
            /// Whether the copies are compressed.
            compressed: bool,
            /// Whether a check has found it whole.
            verified: bool,
        }
    }

    /// A backup that was made.
    BackupMade {
        must {
            /// Its name.
            backup_name: String,
        }
        may {
            /// The domain.
            vm_name: String,
            /// Where it lies on the host.
            backup_path: String,
            /// How many disks were copied. One that cannot be read (that of a running domain) is left out without a word.
            disks_backed_up: u64,
            /// How much room it takes, in bytes.
            total_size: u64,
            /// Whether compression was asked for.
            compressed: bool,
        }
    }

    /// A definition that was brought back.
    #[derive(Default)]
    BackupRestored {
        may {
            /// The domain.
            vm_name: String,
            /// Whether a start was asked for.
            started: bool,
        }
    }

    /// What a check of a backup has found.
    BackupCheck {
        may {
            /// Whether it is whole.
            valid: bool,
            /// How many copies of disks were looked at.
            disks_checked: u64,
            /// What is wrong with them.
            errors: Vec<String>,
            /// What is wrong with the definition.
            error: String,
        }
    }
}

impl Backup {
    pub(crate) fn info(self) -> BackupInfo {
        let mut info = BackupInfo::new(self.name.as_str()).size(ByteSize::bytes(self.size));
        info.created = self.created_at;
        if !self.vm_name.is_empty() {
            info = info.vm(self.vm_name);
        }
        for (key, value) in [("path", self.path), ("type", self.r#type)] {
            if !value.is_empty() {
                info.extra.insert(BACKEND, key, value);
            }
        }
        info.extra.insert(BACKEND, "compressed", self.compressed);
        info.extra.insert(BACKEND, "verified", self.verified);
        info
    }
}
