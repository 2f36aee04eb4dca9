//! Backups.

use async_trait::async_trait;
use hypervisor_core::model::{
    BackupId, BackupInfo, BackupQuery, BackupSpec, Page, PageRequest, RestoreBackup, Started, VmId,
};
use hypervisor_core::{Backups, Error, ErrorKind, Operation as O, Result};
use serde_json::json;

use super::V1;
use super::call::{about, body, json};
use super::wire::backup::{self, BackupRecord, BackupRequest};

#[async_trait]
impl Backups for V1 {
    async fn list_backups(&self, query: &BackupQuery, page: &PageRequest) -> Result<Page<BackupInfo>> {
        if self.native {
            let request = self.request(O::ListBackups, &[])?;
            let all = *query == BackupQuery::all();
            let request = if all { request } else { request.query("query", json("query", query)?) };
            return self.link.native_page(request, page).await;
        }
        let mut found =
            self.records::<BackupRecord>(O::ListBackups, page).await?.map(|backup| backup.to_info());
        found.items.retain(|backup| query.matches(backup));
        if *query != BackupQuery::all() {
            found.total = None;
        }
        Ok(found)
    }

    async fn create_backup(&self, vm: &VmId, spec: &BackupSpec) -> Result<Started<Option<BackupId>>> {
        spec.validate()?;
        self.needs(O::CreateBackup, &spec.needs())?;
        if self.native {
            let request = self.request(O::CreateBackup, &[])?;
            let request = request.json(&json!({ "vm_id": vm, "spec": spec }));
            return self.link.started(request).await.map_err(about(VmId::NOUN, vm));
        }
        self.back_up(&backup::create_body(vm, spec)?).await
    }

    async fn restore_backup(&self, backup: &BackupId, options: &RestoreBackup) -> Result<Started<VmId>> {
        options.validate()?;
        self.needs(O::RestoreBackup, &options.needs())?;
        let request = self.request(O::RestoreBackup, &[backup.as_str()])?;
        if self.native {
            let request = request.json(&body("options", options)?);
            return self.link.started(request).await.map_err(about(BackupId::NOUN, backup));
        }
        // The answer is not documented: which machine it was made of is what the list tells.
        let found = self.find(O::ListBackups, |record: &BackupRecord| record.id == backup.as_str()).await?;
        let found = found.ok_or_else(|| backup.not_found().with_operation(O::RestoreBackup))?;
        backup::check_restore(options)?;
        let vm = found.vm_id.ok_or_else(|| {
            let why = "the gateway does not say which machine the backup was made of";
            Error::new(ErrorKind::InvalidState, why).with_target(BackupId::NOUN, backup)
        })?;
        let written = self.write(request).await.map_err(about(BackupId::NOUN, backup))?;
        Ok(written.started(VmId::from(vm)))
    }

    async fn delete_backup(&self, backup: &BackupId) -> Result<Started<()>> {
        self.needs(O::DeleteBackup, &[])?;
        let request = self.request(O::DeleteBackup, &[backup.as_str()])?;
        self.link.started(request).await.map_err(about(BackupId::NOUN, backup))
    }
}

impl V1 {
    /// Backs a machine up, with all that the document has for it (`POST /v1/backups`): also encrypted, which the traits do not ask for.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn back_up(&self, request: &BackupRequest) -> Result<Started<Option<BackupId>>> {
        let sent = self.request(O::CreateBackup, &[])?.json(request);
        let written = self.write(sent).await.map_err(about(VmId::NOUN, &request.vm_id))?;
        Ok(written.started(written.made(&["backup"]).map(BackupId::from)))
    }
}
