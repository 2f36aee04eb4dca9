//! Disks and NICs of a guest.

use axum::http::StatusCode;
use hypervisor_core::Operation;
use hypervisor_core::model::{ByteSize, DetachDisk, DiskId, DiskSpec, NicChange, NicId, NicSpec, VmId};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;

use crate::answer::Reply;
use crate::call::Call;
use crate::compute::WithSpec;
use crate::jobs;

pub(crate) async fn attach_disk(call: Call) -> Reply {
    let (vm, body): (VmId, WithSpec<DiskSpec>) = (call.id("vm_id")?, call.json()?);
    let (id, spec) = (vm.clone(), body.spec);
    let begun = jobs::run(&call, Operation::AttachDisk, Some(vm), &spec.needs(), move |hv| async move {
        hv.attach_disk(&id, &spec).await
    })
    .await?;
    let made = json!({ "id": begun.started.output });
    begun.answer(StatusCode::CREATED, [("disk", made)])
}

/// `{"capacity": <bytes>}`
#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct Capacity {
    /// In bytes.
    capacity: ByteSize,
}

pub(crate) async fn resize_disk(call: Call) -> Reply {
    let (vm, disk, body): (VmId, DiskId, Capacity) = (call.id("vm_id")?, call.id("disk_id")?, call.json()?);
    let id = vm.clone();
    let begun = jobs::run(&call, Operation::ResizeDisk, Some(vm), &[], move |hv| async move {
        hv.resize_disk(&id, &disk, body.capacity).await
    })
    .await?;
    begun.answer(StatusCode::OK, [])
}

pub(crate) async fn detach_disk(call: Call) -> Reply {
    let (vm, disk): (VmId, DiskId) = (call.id("vm_id")?, call.id("disk_id")?);
    let options: DetachDisk = call.json_query("options")?.unwrap_or_default();
    let id = vm.clone();
    let begun = jobs::run(&call, Operation::DetachDisk, Some(vm), &[], move |hv| async move {
        hv.detach_disk(&id, &disk, &options).await
    })
    .await?;
    begun.answer(StatusCode::OK, [])
}

pub(crate) async fn attach_nic(call: Call) -> Reply {
    let (vm, body): (VmId, WithSpec<NicSpec>) = (call.id("vm_id")?, call.json()?);
    let (id, spec) = (vm.clone(), body.spec);
    let begun = jobs::run(&call, Operation::AttachNic, Some(vm), &spec.needs(), move |hv| async move {
        hv.attach_nic(&id, &spec).await
    })
    .await?;
    let made = json!({ "id": begun.started.output });
    begun.answer(StatusCode::CREATED, [("nic", made)])
}

/// `{"change": …}`
#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct WithChange<T> {
    /// The model's change.
    pub(crate) change: T,
}

pub(crate) async fn update_nic(call: Call) -> Reply {
    let (vm, nic): (VmId, NicId) = (call.id("vm_id")?, call.id("nic_id")?);
    let change = call.json::<WithChange<NicChange>>()?.change;
    let id = vm.clone();
    let begun = jobs::run(&call, Operation::UpdateNic, Some(vm), &change.needs(), move |hv| async move {
        hv.update_nic(&id, &nic, &change).await
    })
    .await?;
    begun.answer(StatusCode::OK, [])
}

pub(crate) async fn detach_nic(call: Call) -> Reply {
    let (vm, nic): (VmId, NicId) = (call.id("vm_id")?, call.id("nic_id")?);
    let id = vm.clone();
    let begun = jobs::run(&call, Operation::DetachNic, Some(vm), &[], move |hv| async move {
        hv.detach_nic(&id, &nic).await
    })
    .await?;
    begun.answer(StatusCode::OK, [])
}
