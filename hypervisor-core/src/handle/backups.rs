use std::sync::Arc;

use futures::FutureExt;
use futures::stream::BoxStream;

use super::link::Link;
use super::listing::{Listing, Pages, lists};
use super::settle::Settle;
use super::task::Task;
use super::vm::Vm;
use super::vms::made;
use crate::error::Result;
use crate::model::{BackupId, BackupInfo, BackupQuery, Page, PageRequest, RestoreBackup};
use crate::operation::Operation;
use crate::traits::Hypervisor;

/// All backups. They are made by [`Vm::back_up`].
///
/// ```
/// # use std::sync::Arc;
/// use hypervisor_core::Hypervisor;
/// use hypervisor_core::memory::Memory;
/// use hypervisor_core::model::{BackupQuery, BackupSpec, DeleteVm, RestoreBackup, VmSpec};
/// # tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap().block_on(async {
/// let hv: Arc<dyn Hypervisor> = Arc::new(Memory::new());
/// let vm = hv.vms().create(&VmSpec::new("ledger")).await?.await?;
/// let backup = vm.back_up(&BackupSpec::new()).await?.await?;
/// vm.delete(&DeleteVm::with_disks().keep_backups(true)).await?.await?;
/// let again = hv.backups().restore(&backup, &RestoreBackup::new_vm("ledger")).await?.await?;
/// assert!(again.exists().await?);
/// assert_eq!(hv.backups().all(&BackupQuery::all()).await?.len(), 1);
/// # Ok::<(), hypervisor_core::Error>(()) }).unwrap();
/// ```
#[derive(Debug, Clone)]
pub struct Backups {
    link: Link,
}

impl dyn Hypervisor {
    /// The backups.
    #[must_use]
    pub fn backups(self: &Arc<Self>) -> Backups {
        Backups { link: Link::new(self) }
    }
}

impl Backups {
    lists!("backups that the query wants": BackupInfo, ListBackups, list_backups, query: BackupQuery);

    /// Makes a guest from a backup, or overwrites the one that it was made of.
    ///
    /// # Errors
    /// `InvalidState` while the guest to be overwritten runs.
    pub async fn restore(&self, backup: impl Into<BackupId>, options: &RestoreBackup) -> Result<Task<Vm>> {
        let backup = backup.into();
        let link = self.link.at(BackupId::NOUN, backup.as_str());
        let call = self.link.hv.restore_backup(&backup, options);
        // A guest that exists may be half restored.
        let task =
            link.start(Operation::RestoreBackup, &options.needs(), call, |_| Settle::Unknowable).await?;
        Ok(made(&self.link, task))
    }

    /// Deletes a backup.
    ///
    /// # Errors
    /// `InvalidState` if it is protected or others hold only the changes since.
    pub async fn delete(&self, backup: impl Into<BackupId>) -> Result<Task<()>> {
        let backup = backup.into();
        let link = self.link.at(BackupId::NOUN, backup.as_str());
        let call = self.link.hv.delete_backup(&backup);
        link.start(Operation::DeleteBackup, &[], call, |()| Settle::Unknowable).await
    }
}
