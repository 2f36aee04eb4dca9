//! Small objects of answers that handlers write as JSON in place.
#![allow(
    dead_code,
    reason = "the document needs their schemas alone; tests/openapi.rs holds the answers against it"
)]

use std::collections::BTreeMap;

use hypervisor_core::Error;
use hypervisor_core::model::{
    BackupId, BatchOutput, ByteSize, HostId, HostState, PoolId, Started, TaskId, VmId,
};
use schemars::JsonSchema;

/// Something new under its name.
#[derive(JsonSchema)]
pub(super) struct Named<T> {
    id: T,
    name: String,
}

/// A guest that is made or is being made.
#[derive(JsonSchema)]
pub(super) struct MadeVm {
    id: VmId,
    name: String,
    /// `created`, or `creating`.
    status: String,
    creation_job_id: String,
}

/// A guest that came out of a backup.
#[derive(JsonSchema)]
pub(super) struct RestoredVm {
    id: VmId,
    restore_job_id: String,
}

/// A backup that is made or is being made; its id is known at the end, with some backends.
#[derive(JsonSchema)]
pub(super) struct MadeBackup {
    id: Option<BackupId>,
    vm_id: VmId,
    /// `completed`, or `running`.
    status: String,
    backup_job_id: String,
}

/// A job that was asked to end.
#[derive(JsonSchema)]
pub(super) struct CancelledJob {
    id: TaskId,
    status: String,
}

/// How one operation of a bulk call began.
#[derive(JsonSchema)]
#[schemars(rename_all = "snake_case")]
pub(super) enum BulkResult {
    Ok(Started<BatchOutput>),
    Error(Error),
}

/// Component -> `healthy`, `unhealthy` or `not_configured`.
#[derive(JsonSchema)]
#[schemars(transparent)]
pub(super) struct Components(BTreeMap<String, String>);

/// What the gateway takes.
#[derive(JsonSchema)]
pub(super) struct Limits {
    /// Category -> its rate; one without limit is missing.
    rates: BTreeMap<String, Rate>,
    body_bytes: ByteSize,
    concurrent_requests: u64,
    page_size: u32,
    native_page_size: u32,
}

#[derive(JsonSchema)]
struct Rate {
    limit: u32,
    window_seconds: u64,
}

/// The whole system in a few numbers.
#[derive(JsonSchema)]
pub(super) struct SystemMetrics {
    vms: Guests,
    #[schemars(default)]
    hosts: Vec<HostLoad>,
    #[schemars(default)]
    storage: Vec<PoolLoad>,
}

#[derive(JsonSchema)]
struct Guests {
    total: u64,
    running: u64,
    stopped: u64,
}

#[derive(JsonSchema)]
struct HostLoad {
    id: HostId,
    status: HostState,
    cpu_usage_percent: Option<f64>,
    memory_mb: Option<u64>,
    memory_used_mb: Option<u64>,
    uptime_seconds: Option<u64>,
}

#[derive(JsonSchema)]
struct PoolLoad {
    id: PoolId,
    total_gb: Option<u64>,
    used_gb: Option<u64>,
}

/// A guest's load; what was not asked for is missing.
#[derive(JsonSchema)]
pub(crate) struct Numbers {
    cpu: Option<CpuLoad>,
    memory: Option<MemoryLoad>,
    disk: Option<DiskLoad>,
    network: Option<NetworkLoad>,
}

#[derive(JsonSchema)]
struct CpuLoad {
    usage_percent: Option<f64>,
}

#[derive(JsonSchema)]
struct MemoryLoad {
    total_bytes: Option<ByteSize>,
    used_bytes: Option<ByteSize>,
}

#[derive(JsonSchema)]
struct DiskLoad {
    read_bytes: u64,
    written_bytes: u64,
}

#[derive(JsonSchema)]
struct NetworkLoad {
    received_bytes: u64,
    sent_bytes: u64,
}
