//! A driver of which some calls are put in place of its own: for guests that are made behind a server's back, and for servers without one of the
//! calls that a suite makes.
#![allow(dead_code, reason = "each test target uses a part of it")]

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::future::BoxFuture;
use hypervisor_core::model::{
    BackendInfo, BackupId, BackupInfo, BackupQuery, BackupSpec, BatchOp, BatchOutput, BulkKey, Capabilities,
    CloneSpec, CloneVolume, ClusterInfo, ConsoleAccess, ConsoleKind, DeleteSnapshot, DeleteVm, DeploySpec,
    EventQuery, EventStream, ExportSpec, ExportedVm, HostId, HostInfo, HostMetrics, NetworkId, NetworkInfo,
    NetworkSpec, NicId, Page, PageRequest, PoolId, PoolInfo, PoolQuery, PowerAction, ResizeVolume,
    RevertSnapshot, SnapshotId, SnapshotInfo, SnapshotSpec, SnapshotTree, Started, TaskId, TaskInfo, TaskLog,
    TaskQuery, TemplateSpec, UpdateOutcome, VmChange, VmConfig, VmId, VmInfo, VmMetrics, VmQuery, VmSpec,
    VolumeId, VolumeInfo, VolumeSpec, WipeAlgorithm,
};
use hypervisor_core::traits::{Backups, Batch, Events, Guest, Metrics, Network, Snapshots, Storage, Tasks};
use hypervisor_core::{Compute, Hypervisor, Result};

type Instead<A, T> = Box<dyn Fn(A) -> BoxFuture<'static, Result<T>> + Send + Sync>;

/// The driver with its replacements.
pub(crate) struct Subject {
    inner: Arc<dyn Hypervisor>,
    capabilities: Capabilities,
    create: Option<Instead<VmSpec, Started<VmId>>>,
    update: Option<Instead<VmId, ()>>,
    delete: Option<Instead<(VmId, DeleteVm), ()>>,
}

impl Subject {
    pub(crate) fn new(inner: Arc<dyn Hypervisor>) -> Self {
        let capabilities = inner.capabilities().clone();
        Self { inner, capabilities, create: None, update: None, delete: None }
    }

    pub(crate) fn claims(mut self, change: impl FnOnce(Capabilities) -> Capabilities) -> Self {
        self.capabilities = change(self.capabilities);
        self
    }

    pub(crate) fn create<F>(mut self, create: impl Fn(VmSpec) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<Started<VmId>>> + Send + 'static,
    {
        self.create = Some(Box::new(move |spec| Box::pin(create(spec))));
        self
    }

    pub(crate) fn update<F>(mut self, update: impl Fn(VmId) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<()>> + Send + 'static,
    {
        self.update = Some(Box::new(move |vm| Box::pin(update(vm))));
        self
    }

    pub(crate) fn delete<F>(mut self, delete: impl Fn(VmId, DeleteVm) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<()>> + Send + 'static,
    {
        self.delete = Some(Box::new(move |(vm, options)| Box::pin(delete(vm, options))));
        self
    }
}

impl Hypervisor for Subject {
    fn info(&self) -> &BackendInfo {
        self.inner.info()
    }

    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }
}

macro_rules! forward {
    (@call $of:ident, $name:ident, ($($arg:ident),*)) => { $of.inner.$name($($arg),*).await };
    (@call $of:ident, $name:ident, ($($arg:ident),*), $own:ident) => {
        match $own($of, $($arg),*) {
            Some(answer) => answer.await,
            None => $of.inner.$name($($arg),*).await,
        }
    };
    ($($trait:ident { $($name:ident($($arg:ident: $ty:ty),*) -> $out:ty $(= $own:ident)?;)* })*) => { $(
        #[async_trait]
        impl $trait for Subject {
            $(async fn $name(&self, $($arg: $ty),*) -> Result<$out> {
                forward!(@call self, $name, ($($arg),*) $(, $own)?)
            })*
        }
    )* };
}

fn made(of: &Subject, spec: &VmSpec) -> Option<BoxFuture<'static, Result<Started<VmId>>>> {
    of.create.as_ref().map(|create| create(spec.clone()))
}

fn deleted(of: &Subject, vm: &VmId, options: &DeleteVm) -> Option<BoxFuture<'static, Result<Started<()>>>> {
    let work = of.delete.as_ref().map(|delete| delete((vm.clone(), options.clone())))?;
    Some(Box::pin(async move { work.await.map(Started::done) }))
}

fn updated(
    of: &Subject,
    vm: &VmId,
    _: &VmChange,
) -> Option<BoxFuture<'static, Result<Started<UpdateOutcome>>>> {
    let work = of.update.as_ref().map(|update| update(vm.clone()))?;
    Some(Box::pin(
        async move { work.await.map(|()| Started::done(UpdateOutcome::new(Vec::new(), Vec::new()))) },
    ))
}

forward! {
    Compute {
        list_vms(query: &VmQuery, page: &PageRequest) -> Page<VmInfo>;
        get_vm(vm: &VmId) -> VmInfo;
        create_vm(spec: &VmSpec) -> Started<VmId> = made;
        power_vm(vm: &VmId, action: &PowerAction) -> Started<()>;
        delete_vm(vm: &VmId, options: &DeleteVm) -> Started<()> = deleted;
        update_vm(vm: &VmId, change: &VmChange) -> Started<UpdateOutcome> = updated;
        get_cluster() -> ClusterInfo;
        list_hosts(page: &PageRequest) -> Page<HostInfo>;
        get_host(host: &HostId) -> HostInfo;
        get_vm_config(vm: &VmId) -> VmConfig;
        clone_vm(vm: &VmId, spec: &CloneSpec) -> Started<VmId>;
        create_template(vm: &VmId, spec: &TemplateSpec) -> Started<VmId>;
        deploy_template(template: &VmId, spec: &DeploySpec) -> Started<VmId>;
        export_vm(vm: &VmId, spec: &ExportSpec) -> Started<ExportedVm>;
        detach_nic(vm: &VmId, nic: &NicId) -> Started<()>;
        get_console(vm: &VmId, kind: &ConsoleKind) -> ConsoleAccess;
    }
    Storage {
        list_pools(query: &PoolQuery, page: &PageRequest) -> Page<PoolInfo>;
        get_pool(pool: &PoolId) -> PoolInfo;
        list_volumes(pool: &PoolId, page: &PageRequest) -> Page<VolumeInfo>;
        get_volume(volume: &VolumeId) -> VolumeInfo;
        create_volume(spec: &VolumeSpec) -> Started<VolumeId>;
        clone_volume(volume: &VolumeId, spec: &CloneVolume) -> Started<VolumeId>;
        resize_volume(volume: &VolumeId, options: &ResizeVolume) -> Started<()>;
        wipe_volume(volume: &VolumeId, algorithm: WipeAlgorithm) -> Started<()>;
        delete_volume(volume: &VolumeId) -> Started<()>;
    }
    Network {
        list_networks(page: &PageRequest) -> Page<NetworkInfo>;
        get_network(network: &NetworkId) -> NetworkInfo;
        create_network(spec: &NetworkSpec) -> Started<NetworkId>;
        delete_network(network: &NetworkId) -> Started<()>;
        start_network(network: &NetworkId) -> Started<()>;
        stop_network(network: &NetworkId) -> Started<()>;
    }
    Snapshots {
        list_snapshots(vm: &VmId) -> SnapshotTree;
        get_snapshot(vm: &VmId, snapshot: &SnapshotId) -> SnapshotInfo;
        create_snapshot(vm: &VmId, spec: &SnapshotSpec) -> Started<SnapshotId>;
        revert_snapshot(vm: &VmId, snapshot: &SnapshotId, options: &RevertSnapshot) -> Started<()>;
        delete_snapshot(vm: &VmId, snapshot: &SnapshotId, options: &DeleteSnapshot) -> Started<()>;
    }
    Tasks {
        get_task(task: &TaskId, hold: Option<Duration>) -> TaskInfo;
        list_tasks(query: &TaskQuery, page: &PageRequest) -> Page<TaskInfo>;
        get_task_log(task: &TaskId, from: u64, limit: u32) -> TaskLog;
        cancel_task(task: &TaskId) -> ();
    }
    Backups {
        list_backups(query: &BackupQuery, page: &PageRequest) -> Page<BackupInfo>;
        create_backup(vm: &VmId, spec: &BackupSpec) -> Started<Option<BackupId>>;
        delete_backup(backup: &BackupId) -> Started<()>;
    }
    Metrics {
        get_host_metrics(host: &HostId) -> HostMetrics;
        get_vm_metrics(vm: &VmId) -> VmMetrics;
        list_vm_metrics(page: &PageRequest) -> Page<VmMetrics>;
    }
    Events {
        watch(query: &EventQuery) -> EventStream;
    }
}

#[async_trait]
impl Batch for Subject {
    fn bulk_key(&self, op: &BatchOp) -> Option<BulkKey> {
        self.inner.bulk_key(op)
    }

    async fn submit_bulk(&self, ops: &[BatchOp]) -> Result<Vec<Result<Started<BatchOutput>>>> {
        self.inner.submit_bulk(ops).await
    }
}

impl Guest for Subject {}
