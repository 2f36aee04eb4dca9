//! Every decoder of the dialect, for [`crate::fuzzing`].

use serde::de::DeserializeOwned;

use super::envelope::{list, object, optional};
use super::{
    Backup, BatchResult, Cancelled, CloneMultipleResult, DaemonStatus, Deployed, Domain, DomainStats,
    ExportMethods, Iso, Job, JobLog, LibvirtNetwork, LibvirtVolume, Schedule, Session, Snapshot, StoragePool,
    VncConsole, VolumeMade, VsphereVm, WorkflowStatus, display, time, tree,
};
use crate::fuzzing::again;

/// Answers of the daemon, as the document has them and as it sends them.
pub(crate) fn answers(body: &[u8]) -> bool {
    fn each<T: DeserializeOwned>(body: &[u8], key: &str, made: impl Fn(T)) -> bool {
        let found = list::<T>(body, key);
        let any = found.is_ok();
        found.into_iter().flatten().for_each(made);
        any
    }
    fn one<T: DeserializeOwned>(body: &[u8], made: impl Fn(T)) -> bool {
        object::<T>(body).map(made).is_ok()
    }
    let domain = |domain: Domain| {
        again(&domain.vm_state());
        let _ = (domain.memory_size(), domain.repaired());
    };
    let lists = [
        each(body, "domains", domain),
        each(body, "networks", |network: LibvirtNetwork| again(&network.info())),
        each(body, "pools", |pool: StoragePool| again(&pool.info())),
        each(body, "volumes", |volume: LibvirtVolume| again(&volume.info("p"))),
        each(body, "domains", |stats: DomainStats| again(&stats.metrics())),
        each(body, "jobs", |job: Job| again(&job.task())),
        each(body, "backups", |backup: Backup| again(&backup.info())),
        list::<Snapshot>(body, "snapshots").map(|all| again(&tree(all))).is_ok(),
        list::<Schedule>(body, "schedules").is_ok(),
        list::<String>(body, "templates").is_ok(),
        list::<Iso>(body, "isos").is_ok(),
        list::<VsphereVm>(body, "vms").is_ok(),
    ];
    let objects = [
        one(body, domain),
        one(body, |stats: DomainStats| again(&stats.metrics())),
        one(body, |job: Job| again(&job.task())),
        one(body, |result: BatchResult| {
            let _ = result.took();
        }),
        one(body, |log: JobLog| log.logs.iter().for_each(|line| drop(line.text()))),
        one(body, |console: VncConsole| drop(display(&console.vnc_display))),
        one(body, |_: CloneMultipleResult| ()),
        one(body, |_: Cancelled| ()),
        one(body, |_: ExportMethods| ()),
        one(body, |_: Session| ()),
        one(body, |_: DaemonStatus| ()),
        one(body, |_: WorkflowStatus| ()),
    ];
    let maybe = [optional::<Deployed>(body).is_ok(), optional::<VolumeMade>(body).is_ok()];
    if let Ok(text) = std::str::from_utf8(body) {
        let _ = (time::parse(text), time::duration(text), display(text));
    }
    lists.contains(&true) | objects.contains(&true) | maybe.contains(&true)
}
