//! The user's code: one life of one machine. Nothing in here knows which hypervisor it talks to.

use std::sync::Arc;
use std::time::Duration;

use hypervisor::handle::Vm;
use hypervisor::model::{DeletePool, DirectBoot, RevertSnapshot, SerialSpec, VolumeFormat};
use hypervisor::{
    ByteSize, DeleteVm, DiskSpec, Error, ErrorKind, Hypervisor, PoolSpec, Result, SnapshotSpec, VmSpec,
};

use crate::report::Report;

/// What is made, and how its guest shows that it has booted.
pub(crate) struct Plan {
    /// The name of the machine and of its pool.
    pub(crate) name: String,
    /// Where the pool keeps its volumes.
    pub(crate) pool_path: String,
    /// A guest that really boots; without it the machine is empty.
    pub(crate) guest: Option<Guest>,
}

/// A guest, and what it writes to its serial port when it is up.
pub(crate) struct Guest {
    pub(crate) kernel: DirectBoot,
    pub(crate) serial_log: String,
    pub(crate) ready: &'static str,
}

pub(crate) async fn life_of_a_machine(hv: &Arc<dyn Hypervisor>, plan: &Plan, report: &Report) -> Result<()> {
    let pool = PoolSpec::dir(&plan.name, &plan.pool_path);
    report.task("create a storage pool", hv.pools().create(&pool)).await?;

    let disk =
        DiskSpec::new_volume(ByteSize::mib(64)).in_pool(plan.name.as_str()).format(VolumeFormat::Qcow2);
    let mut spec = VmSpec::new(&plan.name).cpus(1).memory(ByteSize::mib(128)).disk(disk);
    if let Some(guest) = &plan.guest {
        spec = spec.direct_boot(guest.kernel.clone()).serial(SerialSpec::new().log(&guest.serial_log));
    }
    let vm = report.task("create a machine with a disk", hv.vms().create(&spec)).await?;

    report.task("start it", vm.start()).await?;
    if let Some(guest) = &plan.guest {
        report.step("boot, until its serial port says so", booted(guest)).await?;
    }
    report.task("take a snapshot", vm.snapshots().create(&SnapshotSpec::new("clean"))).await?;
    report.task("revert to it", vm.snapshots().revert("clean", &RevertSnapshot::new())).await?;
    report.step("shut it down", shut_down(&vm)).await?;
    report.task("delete it with its disk", vm.delete(&DeleteVm::with_disks().snapshots(true))).await?;
    report.task("delete the pool", hv.pool(plan.name.as_str()).delete(&DeletePool::with_content())).await
}

/// A guest that has just booted may not listen yet, so it is asked again until it follows.
async fn shut_down(vm: &Vm) -> Result<()> {
    for _ in 0..30 {
        vm.shutdown().await?.wait().await?;
        match vm.wait_until_stopped(Duration::from_secs(2)).await {
            Err(error) if error.kind() == ErrorKind::Timeout => {}
            done => return done.map(|_| ()),
        }
    }
    Err(Error::new(ErrorKind::Timeout, "the guest has not followed in a minute"))
}

async fn booted(guest: &Guest) -> Result<()> {
    for _ in 0..1200 {
        let log = tokio::fs::read(&guest.serial_log).await.unwrap_or_default();
        if String::from_utf8_lossy(&log).contains(guest.ready) {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Err(Error::new(ErrorKind::Timeout, "the guest has not booted in two minutes"))
}

/// Deletes whatever is left of the life, however it ended.
pub(crate) async fn clean_up(hv: &Arc<dyn Hypervisor>, plan: &Plan) -> Result<()> {
    let options = DeleteVm::with_disks().power_off(true).snapshots(true);
    // What was cut short may still be on its way: look again until nothing comes any more.
    for _ in 0..3 {
        tokio::time::sleep(Duration::from_millis(500)).await;
        match hv.vms().by_name(&plan.name).await {
            Ok(vm) => vm.delete(&options).await?.wait().await?,
            Err(error) if error.is_not_found() => {}
            Err(error) => return Err(error),
        }
    }
    let pool = hv.pool(plan.name.as_str());
    match pool.info().await {
        Ok(_) => pool.delete(&DeletePool::with_content()).await?.wait().await,
        Err(error) if error.is_not_found() => Ok(()),
        Err(error) => Err(error),
    }
}
