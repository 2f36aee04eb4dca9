//! Guests: listed, read, made, changed, powered, copied, moved, deleted.

use std::cmp::Ordering;
use std::time::Duration;

use axum::http::StatusCode;
use hypervisor_core::model::{
    ByteSize, CloneMany, CloneSpec, DeleteVm, DeploySpec, ExportSpec, MigrateSpec, PowerAction, Shutdown,
    TemplateSpec, UpdateOutcome, VmChange, VmConfig, VmId, VmInfo, VmQuery,
};
use hypervisor_core::{Error, Operation};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::answer::{Answer, Reply};
use crate::call::Call;
use crate::create::{self, CreateVm};
use crate::jobs::{self, Begun};
use crate::paging;
use crate::problem::{Problem, Result};
use crate::view::{
    DiskView, ENVIRONMENTS, NicView, SecurityView, environment, in_units, vm_state, vm_status,
};

/// The filters of `GET /v1/vms`.
fn query(call: &Call) -> Result<VmQuery> {
    let mut query: VmQuery = call.json_query("query")?.unwrap_or_default();
    if let Some(status) = call.text("status") {
        query.state = Some(vm_state(status));
    }
    if let Some(environment) = call.text("environment") {
        if !ENVIRONMENTS.contains(&environment) {
            return Err(Problem::invalid("environment", format!("is none of {}", ENVIRONMENTS.join(", ")))
                .detail("provided_value", environment));
        }
        query.tag = Some(environment.to_owned());
    }
    Ok(query)
}

fn order(call: &Call) -> Result<impl Fn(&VmInfo, &VmInfo) -> Ordering> {
    let by: fn(&VmInfo, &VmInfo) -> Ordering = match call.text("sort").unwrap_or("name") {
        "name" => |a, b| a.name.cmp(&b.name),
        "created_at" => |a, b| a.created.cmp(&b.created),
        "status" => |a, b| vm_status(&a.state).cmp(vm_status(&b.state)),
        other => {
            return Err(Problem::invalid("sort", "is none of name, created_at, status")
                .detail("provided_value", other));
        }
    };
    let down = match call.text("order").unwrap_or("asc") {
        "asc" => false,
        "desc" => true,
        other => {
            return Err(Problem::invalid("order", "is none of asc, desc").detail("provided_value", other));
        }
    };
    Ok(move |a: &VmInfo, b: &VmInfo| {
        let ordering = by(a, b).then_with(|| a.id.cmp(&b.id));
        if down { ordering.reverse() } else { ordering }
    })
}

pub(crate) async fn list(call: Call) -> Reply {
    let query = &query(&call)?;
    call.hv().capabilities().require_all(Operation::ListVms, &query.needs())?;
    let (order, hv) = (order(&call)?, call.hv());
    let fetch = |page| async move { hv.list_vms(query, &page).await };
    paging::list(&call, "vms", |all| all.sort_by(order), fetch).await
}

/// A guest with all that is known of it.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct VmDetails<'a> {
    id: &'a str,
    name: &'a str,
    description: Option<&'a str>,
    status: &'a str,
    environment: Option<&'static str>,
    configuration: Configuration,
    performance: Performance,
    security: SecurityView,
    backup: BackupView,
    created_at: Option<String>,
    updated_at: Option<String>,
    tags: Vec<&'a str>,
    info: &'a VmInfo,
}

#[derive(Debug, Serialize, JsonSchema)]
struct Configuration {
    cpu_cores: Option<u32>,
    cpu_sockets: Option<u32>,
    memory_mb: Option<u64>,
    storage: Vec<DiskView>,
    network: Vec<NicView>,
}

#[derive(Debug, Default, Serialize, JsonSchema)]
struct Performance {
    cpu_usage_percent: Option<f64>,
    memory_usage_percent: Option<f64>,
    disk_usage_percent: Option<f64>,
    network_rx_mbps: Option<f64>,
    network_tx_mbps: Option<f64>,
    uptime_seconds: Option<u64>,
}

#[derive(Debug, Default, Serialize, JsonSchema)]
struct BackupView {
    enabled: Option<bool>,
    schedule: Option<String>,
    retention_days: Option<u32>,
    last_backup: Option<String>,
    backup_size_gb: Option<u64>,
}

/// A part of a whole, in percent.
fn share(part: Option<ByteSize>, whole: Option<ByteSize>) -> Option<f64> {
    let (part, whole) = (part?, whole?);
    let thousandths = part.as_bytes().saturating_mul(1000).checked_div(whole.as_bytes())?;
    u32::try_from(thousandths).ok().map(|thousandths| f64::from(thousandths) / 10.0)
}

async fn performance(call: &Call, vm: &VmInfo) -> Performance {
    let uptime_seconds = vm.uptime.map(|uptime| uptime.as_secs());
    if !vm.state.is_active() || !call.hv().capabilities().has(Operation::GetVmMetrics) {
        return Performance { uptime_seconds, ..Performance::default() };
    }
    match call.hv().get_vm_metrics(&vm.id).await {
        Ok(metrics) => Performance {
            cpu_usage_percent: metrics.cpu_usage.map(|usage| usage * 100.0),
            memory_usage_percent: share(metrics.memory_used, metrics.memory_total),
            uptime_seconds,
            ..Performance::default()
        },
        Err(_) => Performance { uptime_seconds, ..Performance::default() },
    }
}

async fn last_backup(call: &Call, vm: &VmId) -> BackupView {
    if !call.hv().capabilities().has(Operation::ListBackups) {
        return BackupView::default();
    }
    let query = &hypervisor_core::model::BackupQuery::all().vm(vm);
    let hv = call.hv();
    let Ok((all, _)) = paging::every(|page| async move { hv.list_backups(query, &page).await }).await else {
        return BackupView::default();
    };
    let last = all.iter().max_by_key(|backup| backup.created);
    BackupView {
        last_backup: last.and_then(|backup| backup.created).map(crate::clock::rfc3339),
        backup_size_gb: in_units(last.and_then(|backup| backup.size), ByteSize::gib(1)),
        ..BackupView::default()
    }
}

pub(crate) async fn get(call: Call) -> Reply {
    let id: VmId = call.id("vm_id")?;
    let vm = call.hv().get_vm(&id).await?;
    if call.native() {
        return Answer::ok(&json!({ "vm": { "id": vm.id, "info": vm } }));
    }
    let config: Option<VmConfig> = if call.hv().capabilities().has(Operation::GetVmConfig) {
        call.hv().get_vm_config(&id).await.ok()
    } else {
        None
    };
    let details = VmDetails {
        id: vm.id.as_str(),
        name: &vm.name,
        description: vm.description.as_deref(),
        status: vm_status(&vm.state),
        environment: environment(&vm.tags),
        configuration: Configuration {
            cpu_cores: vm.cpus,
            cpu_sockets: None,
            memory_mb: in_units(vm.memory, ByteSize::mib(1)),
            storage: config.iter().flat_map(|config| &config.disks).map(DiskView::of).collect(),
            network: config.iter().flat_map(|config| &config.nics).map(NicView::of).collect(),
        },
        performance: performance(&call, &vm).await,
        security: SecurityView::default(),
        backup: last_backup(&call, &id).await,
        created_at: vm.created.map(crate::clock::rfc3339),
        updated_at: None,
        tags: vm.tags.iter().map(String::as_str).collect(),
        info: &vm,
    };
    Answer::ok(&json!({ "vm": details }))
}

pub(crate) async fn config(call: Call) -> Reply {
    let config = call.hv().get_vm_config(&call.id("vm_id")?).await?;
    Answer::ok(&json!({ "config": config }))
}

pub(crate) async fn post(call: Call) -> Reply {
    let body: CreateVm = call.json()?;
    let (begun, name, unapplied) = match create::read(&call, body).await? {
        create::Wanted::Spec(spec, unapplied) => {
            let name = spec.name.clone();
            let needs = spec.needs();
            let begun = jobs::run(&call, Operation::CreateVm, None, &needs, move |hv| async move {
                hv.create_vm(&spec).await
            });
            (begun.await?, name, unapplied)
        }
        create::Wanted::Deploy(template, spec, unapplied) => {
            let name = spec.clone.name.clone();
            (deploy_from(&call, template, *spec).await?, name, unapplied)
        }
    };
    let vm = json!({
        "id": begun.started.output,
        "name": name,
        "status": if begun.is_done() { "created" } else { "creating" },
        "creation_job_id": begun.job,
    });
    begun.answer(StatusCode::CREATED, [("vm", vm), ("unapplied", json!(unapplied))])
}

/// The body of `PUT /v1/vms/{vm_id}`; what is missing stays.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub(crate) struct UpdateVm {
    name: Option<String>,
    description: Option<String>,
    environment: Option<String>,
    configuration: UpdateConfiguration,
    /// All tags that it is to have.
    tags: Option<Vec<String>>,
    /// The model's `VmChange`, instead of the fields above.
    change: Option<VmChange>,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
struct UpdateConfiguration {
    cpu_cores: Option<u32>,
    memory_mb: Option<u64>,
}

async fn change(call: &Call, vm: &VmId, body: UpdateVm) -> Result<VmChange> {
    if let Some(change) = body.change {
        return Ok(change);
    }
    let mut change = VmChange::new();
    change.name = body.name;
    change.description = body.description;
    change.cpus = body.configuration.cpu_cores;
    change.memory = body.configuration.memory_mb.map(ByteSize::mib);
    let wanted = match (body.tags, body.environment) {
        (None, None) => return Ok(change),
        (tags, environment) => {
            let present = call.hv().get_vm(vm).await?.tags;
            let mut wanted = tags.map_or_else(|| present.clone(), |tags| tags.into_iter().collect());
            if let Some(environment) = environment {
                wanted.retain(|tag| !ENVIRONMENTS.contains(&tag.as_str()));
                wanted.insert(environment);
            }
            change.remove_tags = present.difference(&wanted).cloned().collect();
            wanted.difference(&present).cloned().collect()
        }
    };
    change.add_tags = wanted;
    Ok(change)
}

pub(crate) async fn put(call: Call) -> Reply {
    let vm: VmId = call.id("vm_id")?;
    let change = change(&call, &vm, call.json()?).await?;
    let (id, needs) = (vm.clone(), change.needs());
    let begun: Begun<UpdateOutcome> =
        jobs::run(&call, Operation::UpdateVm, Some(vm.clone()), &needs, move |hv| async move {
            hv.update_vm(&id, &change).await
        })
        .await?;
    begun.answer(StatusCode::OK, [("vm", json!({ "id": vm }))])
}

pub(crate) async fn delete(call: Call) -> Reply {
    let vm: VmId = call.id("vm_id")?;
    let options: DeleteVm = match call.json_query("options")? {
        Some(options) => options,
        None => {
            let force = call.parsed("force")?.unwrap_or(false);
            let keep_backups = call.parsed("keep_backups")?.unwrap_or(true);
            DeleteVm::with_disks().power_off(force).snapshots(force).keep_backups(keep_backups)
        }
    };
    let (id, needs) = (vm.clone(), options.needs());
    let begun = jobs::run(&call, Operation::DeleteVm, Some(vm.clone()), &needs, move |hv| async move {
        hv.delete_vm(&id, &options).await
    })
    .await?;
    begun.answer(StatusCode::OK, [("vm", json!({ "id": vm }))])
}

/// The body of `POST /v1/vms/{vm_id}/power`.
#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct Power {
    /// The model's `PowerAction`: `"start"`, `{"shutdown": …}`, `"power_off"`, `"reboot"`, `"reset"`, `"pause"`, `"resume"`, `"hibernate"`.
    action: PowerAction,
}

async fn power(call: &Call, action: PowerAction) -> Reply {
    let vm: VmId = call.id("vm_id")?;
    let id = vm.clone();
    let begun =
        jobs::run(call, action.operation(), Some(vm.clone()), &action.needs(), move |hv| async move {
            hv.power_vm(&id, &action).await
        })
        .await?;
    begun.answer(StatusCode::OK, [("vm", json!({ "id": vm }))])
}

pub(crate) async fn post_power(call: Call) -> Reply {
    let body: Power = call.json()?;
    power(&call, body.action).await
}

pub(crate) async fn start(call: Call) -> Reply {
    power(&call, PowerAction::Start).await
}

/// The body of `POST /v1/vms/{vm_id}/stop`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(default)]
pub(crate) struct Stop {
    /// Whether the guest is asked rather than cut off.
    graceful: bool,
    /// After so many seconds a guest that has not followed is cut off; without it, it is only asked.
    timeout_seconds: Option<u64>,
}

impl Default for Stop {
    fn default() -> Self {
        Self { graceful: true, timeout_seconds: None }
    }
}

pub(crate) async fn stop(call: Call) -> Reply {
    let body: Stop = call.json_or_default()?;
    let action = if body.graceful {
        let mut shutdown = Shutdown::new();
        shutdown.power_off_after = body.timeout_seconds.map(Duration::from_secs);
        PowerAction::Shutdown(shutdown)
    } else {
        PowerAction::PowerOff
    };
    power(&call, action).await
}

/// The body of `POST /v1/vms/{vm_id}/restart`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(default)]
pub(crate) struct Restart {
    /// Whether the guest is asked rather than reset.
    graceful: bool,
}

impl Default for Restart {
    fn default() -> Self {
        Self { graceful: true }
    }
}

pub(crate) async fn restart(call: Call) -> Reply {
    let body: Restart = call.json_or_default()?;
    power(&call, if body.graceful { PowerAction::Reboot } else { PowerAction::Reset }).await
}

/// `{"spec": …}`
#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct WithSpec<T> {
    /// The model's spec.
    pub(crate) spec: T,
}

pub(crate) async fn clone(call: Call) -> Reply {
    let (vm, body): (VmId, WithSpec<CloneSpec>) = (call.id("vm_id")?, call.json()?);
    let (id, spec) = (vm.clone(), body.spec);
    let begun = jobs::run(&call, Operation::CloneVm, Some(vm), &spec.needs(), move |hv| async move {
        hv.clone_vm(&id, &spec).await
    })
    .await?;
    let made = json!({ "id": begun.started.output });
    begun.answer(StatusCode::CREATED, [("vm", made)])
}

pub(crate) async fn clones(call: Call) -> Reply {
    let (vm, body): (VmId, WithSpec<CloneMany>) = (call.id("vm_id")?, call.json()?);
    call.hv().capabilities().require_all(Operation::CloneVms, &body.spec.each.needs())?;
    let report = call.hv().clone_vms(&vm, &body.spec).await?;
    Answer::ok(&json!({ "report": crate::batch::renamed(&call.app, report) }))
}

pub(crate) async fn migrate(call: Call) -> Reply {
    let (vm, body): (VmId, WithSpec<MigrateSpec>) = (call.id("vm_id")?, call.json()?);
    let (id, spec) = (vm.clone(), body.spec);
    let begun = jobs::run(&call, Operation::MigrateVm, Some(vm), &spec.needs(), move |hv| async move {
        hv.migrate_vm(&id, &spec).await
    })
    .await?;
    begun.answer(StatusCode::OK, [])
}

pub(crate) async fn template(call: Call) -> Reply {
    let (vm, body): (VmId, WithSpec<TemplateSpec>) = (call.id("vm_id")?, call.json()?);
    let (id, spec) = (vm.clone(), body.spec);
    let begun = jobs::run(&call, Operation::CreateTemplate, Some(vm), &spec.needs(), move |hv| async move {
        hv.create_template(&id, &spec).await
    })
    .await?;
    let made = json!({ "id": begun.started.output });
    begun.answer(StatusCode::CREATED, [("template", made)])
}

async fn deploy_from(call: &Call, template: VmId, spec: DeploySpec) -> Result<Begun<VmId>> {
    let needs = spec.needs();
    jobs::run(call, Operation::DeployTemplate, None, &needs, move |hv| async move {
        hv.deploy_template(&template, &spec).await
    })
    .await
}

pub(crate) async fn deploy(call: Call) -> Reply {
    let body: WithSpec<DeploySpec> = call.json()?;
    let begun = deploy_from(&call, call.id("template_id")?, body.spec).await?;
    let made = json!({ "id": begun.started.output });
    begun.answer(StatusCode::CREATED, [("vm", made)])
}

pub(crate) async fn export(call: Call) -> Reply {
    let (vm, body): (VmId, WithSpec<ExportSpec>) = (call.id("vm_id")?, call.json()?);
    let (id, spec) = (vm.clone(), body.spec);
    let begun = jobs::run(&call, Operation::ExportVm, Some(vm), &[], move |hv| async move {
        hv.export_vm(&id, &spec).await
    })
    .await?;
    begun.answer(StatusCode::CREATED, [])
}

/// The guest of this id, or the only one of this name.
pub(crate) async fn named(call: &Call, wanted: &str, template: bool) -> Result<VmInfo> {
    match call.hv().get_vm(&VmId::from(wanted)).await {
        Ok(vm) => return Ok(vm),
        Err(error) if !error.is_not_found() && error.kind() != hypervisor_core::ErrorKind::InvalidInput => {
            return Err(error.into());
        }
        Err(_) => {}
    }
    let mut query = VmQuery::all().name(wanted);
    query.template = template.then_some(true);
    let (query, hv) = (&query, call.hv());
    let (found, _) = paging::every(|page| async move { hv.list_vms(query, &page).await }).await?;
    let noun = if template { "template" } else { VmId::NOUN };
    match found.len() {
        0 => Err(Error::not_found(noun, wanted).into()),
        1 => found.into_iter().next().ok_or_else(|| Error::not_found(noun, wanted).into()),
        _ => Err(Problem::invalid(noun, format!("`{wanted}` is the name of several; give the id"))),
    }
}
