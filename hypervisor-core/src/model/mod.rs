//! The domain as plain data: the same types for every backend, serialisable both ways, open for new fields.

mod backup;
mod batch;
mod boot;
mod capability;
mod console;
mod disk;
mod event;
mod extra;
mod guest;
mod host;
mod id;
mod mac;
pub(crate) mod macros;
mod metrics;
mod network;
mod nic;
mod page;
mod pool;
mod snapshot;
mod stream;
mod tags;
mod task;
mod units;
pub mod validate;
mod vm;
mod volume;

pub use backup::{BackupInfo, BackupMode, BackupQuery, BackupSpec, RestoreBackup, RestoreTo};
pub use batch::{
    BatchItem, BatchLimits, BatchOp, BatchOutcome, BatchOutput, BatchReport, BatchRequest, BatchStep,
    BulkKey, OnError,
};
pub use boot::{Boot, BootDevice, CloudInit, DirectBoot, Firmware, GraphicsKind, SerialSpec};
pub use capability::{Capabilities, Capability, Feature, Support};
pub use console::ConsoleStream;
pub use disk::{DetachDisk, DiskBus, DiskDevice, DiskInfo, DiskSource, DiskSpec};
pub use event::{Event, EventKind, EventQuery, EventStream};
pub use extra::{BackendOptions, Extra};
pub use guest::{
    AddressSource, ConsoleAccess, ConsoleKind, ExecOutput, ExecSpec, GuestAddress, Screenshot, WriteFile,
};
pub use host::{BackendInfo, ClusterInfo, GroupChange, GroupInfo, GroupSpec, HostInfo, HostState};
pub use id::{
    BackupId, DiskId, GroupId, HostId, NetworkId, NicId, PoolId, SnapshotId, TaskId, VmId, VolumeId,
};
pub use ipnet::IpNet;
pub use mac::MacAddr;
pub use metrics::{
    DiskMetrics, HostMetrics, MetricsHistory, MetricsPeriod, MetricsTarget, NicMetrics, VmMetrics,
};
pub use network::{DhcpRange, Lease, NetworkChange, NetworkInfo, NetworkKind, NetworkSpec};
pub use nic::{NicChange, NicInfo, NicModel, NicSource, NicSpec};
pub(crate) use page::Cursors;
pub use page::{Page, PageRequest, Unreachable};
pub use pool::{DeletePool, PoolInfo, PoolKind, PoolQuery, PoolSpec};
pub use snapshot::{DeleteSnapshot, RevertSnapshot, SnapshotInfo, SnapshotSpec, SnapshotTree};
pub use stream::ByteStream;
pub use tags::Tags;
pub use task::{Started, TaskInfo, TaskLog, TaskLogLine, TaskQuery, TaskState};
pub use units::{ByteSize, parse_duration};
pub use vm::{
    ApplyPolicy, CloneMany, CloneSpec, DeleteVm, DeploySpec, DisposeDisks, ExportSpec, ExportedVm, GuestKind,
    MigrateSpec, PendingChange, PowerAction, RestartNeed, Revision, Shutdown, ShutdownVia, TemplateSpec,
    UpdateOutcome, VmChange, VmConfig, VmInfo, VmQuery, VmSpec, VmState,
};
pub use volume::{
    CloneVolume, DownloadVolume, ResizeVolume, UploadVolume, VolumeFormat, VolumeInfo, VolumeSpec,
    WipeAlgorithm,
};
