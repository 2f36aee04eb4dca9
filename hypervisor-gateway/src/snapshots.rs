//! Snapshots.

use axum::http::StatusCode;
use hypervisor_core::Operation;
use hypervisor_core::model::{
    DeleteSnapshot, Feature, RevertSnapshot, SnapshotId, SnapshotSpec, SnapshotTree, VmId,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::answer::{Answer, Reply};
use crate::call::Call;
use crate::jobs;
use crate::problem::{Problem, Result};
use crate::view::SnapshotItem;

#[derive(Serialize)]
struct Snapshots<'a> {
    snapshots: Vec<SnapshotItem<'a>>,
    tree: &'a SnapshotTree,
}

pub(crate) async fn list(call: Call) -> Reply {
    let tree = call.hv().list_snapshots(&call.id("vm_id")?).await?;
    let snapshots = if call.native() { Vec::new() } else { tree.iter().map(SnapshotItem::of).collect() };
    Answer::list(&Snapshots { snapshots, tree: &tree }, tree.len())
}

pub(crate) async fn get(call: Call) -> Reply {
    let (vm, snapshot): (VmId, SnapshotId) = (call.id("vm_id")?, call.id("snapshot_id")?);
    let found = call.hv().get_snapshot(&vm, &snapshot).await?;
    Answer::ok(&json!({ "snapshot": SnapshotItem::of(&found) }))
}

/// The body of `POST /v1/vms/{vm_id}/snapshots`.
#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct CreateSnapshot {
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    description: Option<String>,
    #[serde(default)]
    include_memory: Option<bool>,
    /// The model's `SnapshotSpec`, instead of the fields above.
    #[serde(default)]
    spec: Option<SnapshotSpec>,
}

async fn read(call: &Call, vm: &VmId, body: CreateSnapshot) -> Result<SnapshotSpec> {
    if let Some(spec) = body.spec {
        return Ok(spec);
    }
    let name = body.name.ok_or_else(|| Problem::invalid("name", "is missing"))?;
    let mut spec = SnapshotSpec::new(name);
    spec.description = body.description;
    spec.memory = body.include_memory;
    // A guest that is off has no memory to leave out.
    if body.include_memory == Some(false)
        && !call.hv().capabilities().has(Feature::DiskOnlySnapshot)
        && !call.hv().get_vm(vm).await?.state.is_active()
    {
        spec.memory = None;
    }
    Ok(spec)
}

pub(crate) async fn post(call: Call) -> Reply {
    let vm: VmId = call.id("vm_id")?;
    let spec = read(&call, &vm, call.json()?).await?;
    let (id, needs) = (vm.clone(), spec.needs());
    let begun = jobs::run(&call, Operation::CreateSnapshot, Some(vm), &needs, move |hv| async move {
        hv.create_snapshot(&id, &spec).await
    })
    .await?;
    let id = &begun.started.output;
    let made = json!({ "id": id, "name": id });
    begun.answer(StatusCode::CREATED, [("snapshot", made)])
}

/// `{"options": …}`, which may be missing.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub(crate) struct Restore {
    /// The model's `RevertSnapshot`.
    options: RevertSnapshot,
}

pub(crate) async fn restore(call: Call) -> Reply {
    let (vm, snapshot): (VmId, SnapshotId) = (call.id("vm_id")?, call.id("snapshot_id")?);
    let options = call.json_or_default::<Restore>()?.options;
    let (id, needs) = (vm.clone(), options.needs());
    let begun = jobs::run(&call, Operation::RevertSnapshot, Some(vm), &needs, move |hv| async move {
        hv.revert_snapshot(&id, &snapshot, &options).await
    })
    .await?;
    begun.answer(StatusCode::OK, [])
}

pub(crate) async fn delete(call: Call) -> Reply {
    let (vm, snapshot): (VmId, SnapshotId) = (call.id("vm_id")?, call.id("snapshot_id")?);
    let options: DeleteSnapshot = call.json_query("options")?.unwrap_or_default();
    let (id, needs) = (vm.clone(), options.needs());
    let begun = jobs::run(&call, Operation::DeleteSnapshot, Some(vm), &needs, move |hv| async move {
        hv.delete_snapshot(&id, &snapshot, &options).await
    })
    .await?;
    begun.answer(StatusCode::OK, [])
}
