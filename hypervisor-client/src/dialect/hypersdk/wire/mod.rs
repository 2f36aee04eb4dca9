//! What goes over the wire, pure: requests as they are sent, answers as they come, tested without a server.

#[macro_use]
mod macros;

mod backup;
mod batch;
mod clone;
mod console;
mod core;
mod definition;
mod domain;
pub(crate) mod envelope;
mod feed;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod job;
mod network;
mod schedule;
mod snapshot;
pub(crate) mod soft;
mod stats;
pub(crate) mod time;
mod volume;
mod vsphere;
mod workflow;

pub use backup::{Backup, BackupCheck, BackupMade, BackupRestored, NewBackup};
pub use batch::{BatchItemResult, BatchResult, BatchSnapshot};
pub use clone::{
    CloneDomain, CloneItem, CloneMultiple, CloneMultipleResult, DeployTemplate, Deployed, ExportedTemplate,
    NewTemplate, TemplateMade,
};
pub use console::{ConsoleInfo, Iso, SerialDevice, VncConsole};
pub use core::{DaemonStatus, ExportMethod, ExportMethods, Health, Session};
pub use definition::{JobDefinition, JobQuery, VCenter};
pub use domain::{Domain, DomainAction};
pub use feed::{DaemonLoad, FeedFrame, JobCounts, RecentJob};
pub use job::{
    Cancelled, Job, JobEta, JobLog, JobLogLine, JobProgress, JobResult, JobStatus, Reasons, Submitted,
};
pub use network::{LibvirtNetwork, NewNetwork};
pub use schedule::{NewSchedule, Schedule, Webhook};
pub use snapshot::Snapshot;
pub use stats::{CpuStats, DiskStats, DomainStats, InterfaceStats, MemoryStats};
pub use volume::{LibvirtVolume, NewVolume, StoragePool, UploadedVolume, VolumeMade};
pub use vsphere::VsphereVm;
pub use workflow::{ManifestCheck, WorkflowJob, WorkflowStatus};

pub(crate) use backup::RestoreBackup;
pub(crate) use batch::{BatchDelete, BatchDomains, BatchForce, BatchStart};
pub(crate) use clone::ExportTemplate;
pub(crate) use console::{Saved, display};
pub(crate) use domain::{named, state};
pub(crate) use network::{AttachInterface, DetachInterface};
pub(crate) use snapshot::tree;
pub(crate) use volume::{CloneVolume, DeleteVolume, ResizeVolume, UploadVolume, WipeVolume, id as volume_id};
pub(crate) use vsphere::VmPath;
