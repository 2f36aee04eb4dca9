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
    async fn list_backups(&self, query: &BackupQuery, page: &PageRequest) -> Result<Page<BackupInfo>> {
        let _ = (query, page);
        unsupported(Operation::ListBackups)
    }

    /// Backs a guest up. The id is `None` where only the end of the task tells it, by [`TaskInfo::made`](crate::model::TaskInfo::made);
    /// the handle of the task knows where to look.
    async fn create_backup(&self, vm: &VmId, spec: &BackupSpec) -> Result<Started<Option<BackupId>>> {
        let _ = (vm, spec);
        unsupported(Operation::CreateBackup)
    }

    /// Makes a guest from a backup, or overwrites the one that it was made of.
    ///
    /// # Errors
    /// `InvalidState` while the guest to be overwritten runs.
    async fn restore_backup(&self, backup: &BackupId, options: &RestoreBackup) -> Result<Started<VmId>> {
        let _ = (backup, options);
        unsupported(Operation::RestoreBackup)
    }

    /// Deletes a backup.
    ///
    /// # Errors
    /// `InvalidState` if it is protected or others hold only the changes since.
    async fn delete_backup(&self, backup: &BackupId) -> Result<Started<()>> {
        let _ = backup;
        unsupported(Operation::DeleteBackup)
    }
}
