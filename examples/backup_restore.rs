//! A backup, a loss, and the machine again: `cargo run --example backup_restore`, or with a URL.

use hypervisor::model::{BackupQuery, BackupSpec, RestoreBackup};
use hypervisor::{ByteSize, DeleteVm, DiskSpec, Result, VmSpec};

#[tokio::main]
async fn main() -> Result<()> {
    let url = std::env::args().nth(1).unwrap_or_else(|| "memory://?task_time=50ms".to_owned());
    let hv = hypervisor::connect(&url).await?;
    let spec = VmSpec::new("ledger").memory(ByteSize::mib(128)).disk(DiskSpec::new_volume(ByteSize::mib(64)));
    let vm = hv.vms().create(&spec).await?.wait().await?;

    // Some servers name the archive only at the end; the task knows where to look.
    let backup = vm.back_up(&BackupSpec::new().description("before the move")).await?.wait().await?;
    let all = hv.backups().all(&BackupQuery::all().vm(vm.id())).await?;
    for each in &all {
        let size = each.size.map(|size| size.to_string()).unwrap_or_default();
        println!("backup {} {size} {}", each.id, each.description.as_deref().unwrap_or_default());
    }

    vm.delete(&DeleteVm::with_disks().keep_backups(true)).await?.wait().await?;
    println!("the machine is gone: {}", !vm.exists().await?);

    let again = hv.backups().restore(&backup, &RestoreBackup::new_vm("ledger")).await?.wait().await?;
    println!(
        "and here again: {} with {} disk(s)",
        again.info().await?.name,
        again.config().await?.disks.len()
    );

    again.delete(&DeleteVm::with_disks()).await?.wait().await?;
    hv.backups().delete(&backup).await?.wait().await
}
