//! Backups of guests.

use std::sync::Arc;

use hypervisor::{BackupQuery, BackupSpec, Error, Hypervisor, RestoreBackup, Vm};

use super::Ui;
use super::cli::{Backup, BackupCommand as Command};
use super::exit::{self, Stop};
use super::guests::{find, report};
use super::progress::Waiter;
use super::table::{Cell, Look, Table};
use super::text::{or_dash, plain, utc};

pub(crate) async fn run(
    hv: &Arc<dyn Hypervisor>,
    ui: &mut Ui,
    waiter: &Waiter,
    args: &Backup,
) -> Result<u8, Stop> {
    match &args.command {
        Command::List { vm } => list(hv, ui, vm.as_deref()).await,
        Command::Create { vm, pool, mode, compress, protect, since, description } => {
            let mut spec = BackupSpec::new().mode(*mode).compress(*compress).protected(*protect);
            spec.pool = pool.as_deref().map(Into::into);
            spec.since = since.as_deref().map(Into::into);
            spec.description.clone_from(description);
            let label = format!("back up {vm}");
            let task = waiter.call(&label, find(hv, vm).await?.back_up(&spec)).await?;
            let done = waiter.finish(&label, task).await?;
            Ok(report(ui, done, "backed up", vm, |backup| Some(backup.to_string())))
        }
        Command::Restore { backup, name, original, id, pool, start, yes } => {
            if *original
                && !yes
                && !sure(ui, &format!("Overwrite the guest that `{}` was made of?", plain(backup))).await?
            {
                ui.note("nothing was changed");
                return Ok(exit::FAILED);
            }
            let mut options = match name {
                Some(name) => RestoreBackup::new_vm(name),
                None => RestoreBackup::original(),
            };
            options.id = id.as_deref().map(Into::into);
            options.pool = pool.as_deref().map(Into::into);
            options.start = *start;
            let label = format!("restore {backup}");
            let task = waiter.call(&label, hv.backups().restore(backup, &options)).await?;
            let done = waiter.finish(&label, task).await?;
            Ok(report(ui, done, "restored", name.as_ref().unwrap_or(backup), |vm: &Vm| {
                Some(vm.id().to_string())
            }))
        }
        Command::Delete { backup, yes } => {
            if !yes && !sure(ui, &format!("Delete the backup `{}`?", plain(backup))).await? {
                ui.note("nothing was deleted");
                return Ok(exit::FAILED);
            }
            let label = format!("delete {backup}");
            let task = waiter.call(&label, hv.backups().delete(backup)).await?;
            let done = waiter.finish(&label, task).await?;
            Ok(report(ui, done, "deleted", backup, |()| None))
        }
    }
}

async fn sure(ui: &mut Ui, question: &str) -> Result<bool, Stop> {
    if !ui.asks {
        return Err(Error::invalid("--yes", "is needed where nobody can be asked").into());
    }
    Ok(ui.confirm(question).await)
}

async fn list(hv: &Arc<dyn Hypervisor>, ui: &mut Ui, vm: Option<&str>) -> Result<u8, Stop> {
    let mut query = BackupQuery::all();
    if let Some(vm) = vm {
        query.vm = Some(find(hv, vm).await?.id().clone());
    }
    let mut listing = hv.backups().all(&query).await?;
    listing.items.sort_by(|a, b| (a.created, &a.id).cmp(&(b.created, &b.id)));
    Ok(ui.list(&listing, |backups| {
        let mut table = Table::new(["BACKUP", "VM", "MADE (UTC)", ">SIZE", "PROTECTED", "DESCRIPTION"]);
        for backup in backups {
            table.row([
                Cell::new(&backup.id, Look::Bold),
                or_dash(backup.vm.as_ref()).into(),
                or_dash(backup.created.map(utc)).into(),
                or_dash(backup.size).into(),
                (if backup.protected { "yes" } else { "no" }).into(),
                backup.description.as_deref().unwrap_or_default().into(),
            ]);
        }
        table
    }))
}
