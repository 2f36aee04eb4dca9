//! Backups.

use async_trait::async_trait;
use hypervisor_core::model::{
    BackupId, BackupInfo, BackupMode, BackupQuery, BackupSpec, Page, PageRequest, Started, VmId, VmState,
};
use hypervisor_core::traits::Backups;
use hypervisor_core::{Error, Operation as O, Result};

use super::wire::{Backup, NewBackup};
use super::{HyperSdk, named};

#[async_trait]
impl Backups for HyperSdk {
    async fn list_backups(&self, query: &BackupQuery, page: &PageRequest) -> Result<Page<BackupInfo>> {
        let vm = query.vm.as_ref().map(VmId::as_str);
        let backups = self.api.backups(vm).await.map_err(named(O::ListBackups))?;
        let backups = backups.into_iter().map(Backup::info).filter(|backup| query.matches(backup)).collect();
        Ok(Page::cut(backups, page, |backup: &BackupInfo| backup.id.to_string()))
    }

    /// A guest that runs is refused: the daemon would leave out the disks that it holds, and call it a success.
    async fn create_backup(&self, vm: &VmId, spec: &BackupSpec) -> Result<Started<Option<BackupId>>> {
        spec.validate()?;
        self.require(O::CreateBackup, &spec.needs())?;
        let work = async {
            for (asked, field) in [
                (spec.pool.is_some(), "pool"),
                (spec.protected, "protected"),
                (spec.mode != BackupMode::Snapshot, "mode"),
            ] {
                if asked {
                    return Err(Error::invalid(
                        field,
                        "hypervisord copies a machine that is off into its own folder, and nothing else",
                    ));
                }
            }
            let domain = self.domain(vm).await?;
            let state = domain.vm_state();
            if !matches!(state, VmState::Stopped | VmState::Crashed) {
                let why = format!("it is {state}, and hypervisord would leave out the disks that it holds");
                return Err(Error::invalid_state(why).with_target(VmId::NOUN, vm));
            }
            let backup = NewBackup::new(&domain.name)
                .compress(spec.compress)
                .description(spec.description.clone().unwrap_or_default());
            let made = self.api.create_backup(&backup).await?;
            if made.disks_backed_up == 0 {
                // It calls it a success whatever disk it could not read, and how many there are it does not tell.
                tracing::warn!(%vm, backup = made.backup_name, "hypervisord has copied no disk into the backup");
            }
            Ok(Some(BackupId::from(made.backup_name)))
        };
        work.await.map_err(named(O::CreateBackup)).map(Started::done)
    }

    async fn delete_backup(&self, backup: &BackupId) -> Result<Started<()>> {
        self.api.delete_backup(backup.as_str()).await.map_err(named(O::DeleteBackup)).map(Started::done)
    }
}
