use async_trait::async_trait;

use super::unsupported;
use crate::error::Result;
use crate::model::{
    BackupId, BackupInfo, BackupQuery, BackupSpec, Page, PageRequest, RestoreBackup, Started, VmId,
};
use crate::operation::Operation;

/// Backups.
#[async_trait]
pub trait Backups: Send + Sync {
    /// Lists the backups that the query wants.
    ///
    /// Needs [`Operation::ListBackups`]; a read: repeated where its answer is lost.
    ///
    /// # Errors
    /// As the backend gives them.
    async fn list_backups(&self, query: &BackupQuery, page: &PageRequest) -> Result<Page<BackupInfo>> {
        let _ = (query, page);
        unsupported(Operation::ListBackups)
    }

    /// Backs a guest up. The id is `None` where only the end of the task tells it, by [`TaskInfo::made`](crate::model::TaskInfo::made);
    /// the handle of the task knows where to look.
    ///
    /// Needs [`Operation::CreateBackup`], and where asked for [`IncrementalBackup`](crate::model::Feature::IncrementalBackup) or
    /// [`CompressedBackup`](crate::model::Feature::CompressedBackup); a create: not repeated where its answer is lost. Proxmox:
    /// an archive by `vzdump`. libvirt: volumes in a pool.
    ///
    /// # Errors
    /// `NotFound` for the guest or pool, `Locked` while another backup of it goes on, `Exhausted`.
    async fn create_backup(&self, vm: &VmId, spec: &BackupSpec) -> Result<Started<Option<BackupId>>> {
        let _ = (vm, spec);
        unsupported(Operation::CreateBackup)
    }

    /// Makes a guest from a backup, or overwrites the one that it was made of.
    ///
    /// Needs [`Operation::RestoreBackup`]; a create: not repeated where its answer is lost.
    ///
    /// # Errors
    /// `InvalidState` while the guest to be overwritten runs.
    async fn restore_backup(&self, backup: &BackupId, options: &RestoreBackup) -> Result<Started<VmId>> {
        let _ = (backup, options);
        unsupported(Operation::RestoreBackup)
    }

    /// Deletes a backup.
    ///
    /// Needs [`Operation::DeleteBackup`]; twice is the same as once: repeated where its answer is lost.
    ///
    /// # Errors
    /// `InvalidState` if it is protected or others hold only the changes since.
    async fn delete_backup(&self, backup: &BackupId) -> Result<Started<()>> {
        let _ = backup;
        unsupported(Operation::DeleteBackup)
    }
}
