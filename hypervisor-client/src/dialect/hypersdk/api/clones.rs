//! Copies, templates and backups.

use hypervisor_core::model::validate;
use hypervisor_core::{Error, Result};

use super::{Api, Call};
use crate::dialect::hypersdk::names::{check, check_plain, check_plain_path, check_text};
use crate::dialect::hypersdk::routes;
use crate::dialect::hypersdk::wire::{
    Backup, BackupCheck, BackupMade, BackupRestored, CloneDomain, CloneMultiple, CloneMultipleResult,
    DeployTemplate, Deployed, ExportTemplate, ExportedTemplate, NewBackup, NewTemplate, RestoreBackup,
    TemplateMade, named,
};

impl Api {
    /// Copies a domain that is off (`POST /libvirt/clone`).
    ///
    /// # Errors
    /// `NotFound`, `InvalidState` for one that is not off, `AlreadyExists`.
    pub async fn clone_domain(&self, clone: &CloneDomain) -> Result<()> {
        check("vm", &clone.source)?;
        check("name", &clone.target)?;
        for (index, file) in clone.files.iter().enumerate() {
            validate::host_path(&format!("files[{index}]"), file)?;
        }
        let call =
            Call::new(&routes::CLONE).json(clone)?.about("vm", &clone.target).about("source", &clone.source);
        let sent = self.send(call.slow()).await;
        sent.map_err(|error| missing(error, &clone.source))?.done()
    }

    /// Copies a domain that is off many times, one copy after the other (`POST /libvirt/clone/multiple`). What became of each is in the answer.
    ///
    /// # Errors
    /// `InvalidInput` for none or more than 100.
    pub async fn clone_domain_multiple(&self, clones: &CloneMultiple) -> Result<CloneMultipleResult> {
        check("vm", &clones.source)?;
        check("name_prefix", &clones.name_prefix)?;
        if !(1..=100).contains(&clones.count) {
            return Err(Error::invalid("count", "must be from 1 to 100"));
        }
        let call = Call::new(&routes::CLONE_MULTIPLE).json(clones)?.about("vm", &clones.source);
        self.send(call.slow()).await?.object()
    }

    /// Makes a template of a domain (`POST /libvirt/template/create`): asks it to shut down, waits three seconds, and copies it.
    ///
    /// # Errors
    /// `NotFound`, `InvalidState` for one that did not shut down in time, `AlreadyExists`.
    pub async fn create_template(&self, template: &NewTemplate) -> Result<TemplateMade> {
        check("vm", &template.domain)?;
        check("name", &template.name)?;
        check_text("description", &template.description)?;
        let call = Call::new(&routes::TEMPLATE_CREATE).json(template)?.about("vm", &template.name);
        let sent = self.send(call.about("source", &template.domain).slow()).await;
        sent.map_err(|error| missing(error, &template.domain))?.optional()
    }

    /// Makes a domain from a template (`POST /libvirt/template/deploy`). The daemon answers with success also where it could neither change
    /// its size nor start it.
    ///
    /// # Errors
    /// `NotFound`, `InvalidState`, `AlreadyExists`.
    pub async fn deploy_template(&self, deploy: &DeployTemplate) -> Result<Deployed> {
        check("vm", &deploy.template)?;
        check("name", &deploy.name)?;
        let call = Call::new(&routes::TEMPLATE_DEPLOY).json(deploy)?.about("vm", &deploy.name);
        let sent = self.send(call.about("source", &deploy.template).slow()).await;
        sent.map_err(|error| missing(error, &deploy.template))?.optional()
    }

    /// Lists the names of the templates (`GET /libvirt/template/list`).
    pub async fn templates(&self) -> Result<Vec<String>> {
        self.send(Call::new(&routes::TEMPLATE_LIST)).await?.list("templates")
    }

    /// Writes a template's definition and copies of its disks into a directory on the daemon's host, which must exist
    /// (`POST /libvirt/template/export`). The daemon uses a shell for it, so that only plain names and paths are sent.
    pub async fn export_template(
        &self,
        template: &str,
        directory: &str,
        compress: bool,
    ) -> Result<ExportedTemplate> {
        check_plain("vm", template)?;
        check_plain_path("directory", directory)?;
        let body = ExportTemplate { template, export_path: directory, compress };
        let call = Call::new(&routes::TEMPLATE_EXPORT).json(&body)?.about("vm", template);
        self.send(call.slow()).await?.object()
    }

    /// Lists the backups, of one domain where it is named (`GET /libvirt/backup/list`).
    pub async fn backups(&self, vm: Option<&str>) -> Result<Vec<Backup>> {
        let call = Call::new(&routes::BACKUP_LIST);
        let call = vm.into_iter().fold(call, |call, vm| call.query("vm_name", vm));
        self.send(call).await?.list("backups")
    }

    /// Writes a domain's definition and copies of its disks into the daemon's folder for backups (`POST /libvirt/backup/create`). Disks that
    /// cannot be read, such as those of a running domain, are left out without a word; see [`BackupMade::disks_backed_up`].
    pub async fn create_backup(&self, backup: &NewBackup) -> Result<BackupMade> {
        check("vm", &backup.vm_name)?;
        if !backup.backup_name.is_empty() {
            check("name", &backup.backup_name)?;
        }
        let call = Call::new(&routes::BACKUP_CREATE).json(backup)?.about("vm", &backup.vm_name);
        self.send(call.slow()).await?.object()
    }

    /// Defines a domain again from a backup's definition, under another name where one is given (`POST /libvirt/backup/restore`). The disks stay as
    /// they are: the copies in the backup are not brought back.
    ///
    /// # Errors
    /// `NotFound`; `AlreadyExists` for another name while the original is there, because the copy has its UUID.
    pub async fn restore_definition(
        &self,
        backup: &str,
        new_name: Option<&str>,
        start: bool,
    ) -> Result<BackupRestored> {
        check("backup", backup)?;
        if let Some(name) = new_name {
            validate::name("name", name)?;
        }
        let body = RestoreBackup { backup_name: backup, new_vm_name: new_name, start };
        let call = Call::new(&routes::BACKUP_RESTORE).json(&body)?.about("backup", backup);
        self.send(call.slow()).await?.optional()
    }

    /// Looks whether a backup is whole (`POST /libvirt/backup/verify`). The daemon defines the backup's domain to do so: one that was deleted is
    /// back then, and the definition of one that was changed since is as it was. Copies whose file is not called `….qcow2` it does not look at.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn verify_backup(&self, backup: &str) -> Result<BackupCheck> {
        check("backup", backup)?;
        let call =
            Call::new(&routes::BACKUP_VERIFY).json(&named("backup_name", backup))?.about("backup", backup);
        self.send(call.slow()).await?.object()
    }

    /// Deletes a backup (`POST /libvirt/backup/delete`).
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn delete_backup(&self, backup: &str) -> Result<()> {
        check("backup", backup)?;
        let call =
            Call::new(&routes::BACKUP_DELETE).json(&named("backup_name", backup))?.about("backup", backup);
        self.send(call).await?.done()
    }
}

/// Of the two machines of a copy it is the original that is missing, or in the wrong state.
fn missing(error: Error, source: &str) -> Error {
    use hypervisor_core::ErrorKind as K;
    if !matches!(error.kind(), K::NotFound | K::InvalidState) {
        return error;
    }
    let again = Error::new(error.kind(), error.message()).with_target("vm", source);
    error.code().into_iter().fold(again, Error::with_code)
}
