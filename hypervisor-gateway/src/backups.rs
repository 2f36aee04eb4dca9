//! Backups.

use axum::http::StatusCode;
use hypervisor_core::Operation;
use hypervisor_core::model::{BackupId, BackupInfo, BackupQuery, BackupSpec, Feature, RestoreBackup, VmId};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;

use crate::answer::{Answer, Reply};
use crate::call::Call;
use crate::problem::{Problem, Result};
use crate::view::BackupItem;
use crate::{jobs, paging};

pub(crate) async fn list(call: Call) -> Reply {
    let mut query: BackupQuery = call.json_query("query")?.unwrap_or_default();
    if let Some(vm) = call.text("vm_id") {
        query = query.vm(vm);
    }
    let (query, hv) = (&query, call.hv());
    let fetch = |page| async move { hv.list_backups(query, &page).await };
    let sort = |all: &mut Vec<BackupInfo>| all.sort_by(|a, b| (b.created, &b.id).cmp(&(a.created, &a.id)));
    paging::list(&call, "backups", sort, fetch).await
}

/// The body of `POST /v1/backups`.
#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct CreateBackup {
    vm_id: VmId,
    /// `full` or `incremental`.
    #[serde(default)]
    backup_type: Option<String>,
    /// `none`, or how it is compressed.
    #[serde(default)]
    compression: Option<String>,
    #[serde(default)]
    encryption: bool,
    #[serde(default)]
    description: Option<String>,
    /// The model's `BackupSpec`, instead of the fields above.
    #[serde(default)]
    spec: Option<BackupSpec>,
}

async fn read(call: &Call, body: CreateBackup) -> Result<(BackupSpec, Vec<&'static str>)> {
    if let Some(spec) = body.spec {
        return Ok((spec, Vec::new()));
    }
    let (mut spec, mut unapplied) = (BackupSpec::new(), Vec::new());
    spec.description = body.description;
    match body.backup_type.as_deref().unwrap_or("full") {
        "full" => {}
        "incremental" => {
            let (query, hv) = (&BackupQuery::all().vm(&body.vm_id), call.hv());
            let (all, _) = paging::every(|page| async move { hv.list_backups(query, &page).await }).await?;
            spec.since = all.into_iter().max_by_key(|backup| backup.created).map(|backup| backup.id);
        }
        other => {
            return Err(Problem::invalid("backup_type", "is none of full, incremental")
                .detail("provided_value", other));
        }
    }
    if body.compression.as_deref().is_some_and(|wish| wish != "none") {
        if call.hv().capabilities().has(Feature::CompressedBackup) {
            spec.compress = true;
        } else {
            unapplied.push("compression");
        }
    }
    if body.encryption {
        unapplied.push("encryption");
    }
    Ok((spec, unapplied))
}

pub(crate) async fn post(call: Call) -> Reply {
    let body: CreateBackup = call.json()?;
    let vm = body.vm_id.clone();
    let (spec, unapplied) = read(&call, body).await?;
    let (id, needs) = (vm.clone(), spec.needs());
    let begun = jobs::run(&call, Operation::CreateBackup, Some(vm.clone()), &needs, move |hv| async move {
        hv.create_backup(&id, &spec).await
    })
    .await?;
    let made = json!({
        "id": begun.started.output,
        "vm_id": vm,
        "status": if begun.is_done() { "completed" } else { "running" },
        "backup_job_id": begun.job,
    });
    begun.answer(StatusCode::CREATED, [("backup", made), ("unapplied", json!(unapplied))])
}

/// `{"options": …}`, which may be missing.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(default)]
pub(crate) struct Restore {
    /// The model's `RestoreBackup`; without it the guest that the backup was made of is overwritten.
    options: RestoreBackup,
}

impl Default for Restore {
    fn default() -> Self {
        Self { options: RestoreBackup::original() }
    }
}

pub(crate) async fn restore(call: Call) -> Reply {
    let backup: BackupId = call.id("backup_id")?;
    let options = call.json_or_default::<Restore>()?.options;
    let needs = options.needs();
    let begun = jobs::run(&call, Operation::RestoreBackup, None, &needs, move |hv| async move {
        hv.restore_backup(&backup, &options).await
    })
    .await?;
    let made = json!({ "id": begun.started.output, "restore_job_id": begun.job });
    begun.answer(StatusCode::CREATED, [("vm", made)])
}

pub(crate) async fn delete(call: Call) -> Reply {
    let backup: BackupId = call.id("backup_id")?;
    let begun = jobs::run(&call, Operation::DeleteBackup, None, &[], move |hv| async move {
        hv.delete_backup(&backup).await
    })
    .await?;
    begun.answer(StatusCode::OK, [])
}

/// The one of this id, for those who want no list.
pub(crate) async fn get(call: Call) -> Reply {
    let wanted: BackupId = call.id("backup_id")?;
    let (query, hv) = (&BackupQuery::all(), call.hv());
    let (all, _) = paging::every(|page| async move { hv.list_backups(query, &page).await }).await?;
    let found = all.iter().find(|backup| backup.id == wanted).ok_or_else(|| wanted.not_found())?;
    Answer::ok(&json!({ "backup": BackupItem::of(found) }))
}
