//! A risky change with a way back: a snapshot, the change, and the machine as it was if the change went wrong.
//! `cargo run --example snapshot_rollback`, or with a URL.

use hypervisor::model::DeleteSnapshot;
use hypervisor::{
    ByteSize, DeleteVm, DiskSpec, Error, Result, RevertSnapshot, SnapshotSpec, Vm, VmChange, VmSpec,
};

#[tokio::main]
async fn main() -> Result<()> {
    let url = std::env::args().nth(1).unwrap_or_else(|| "memory://".to_owned());
    let hv = hypervisor::connect(&url).await?;
    let spec =
        VmSpec::new("rollback").memory(ByteSize::mib(128)).disk(DiskSpec::new_volume(ByteSize::mib(16)));
    let vm = hv.vms().create(&spec).await?.wait().await?;

    for healthy in [true, false] {
        match guarded(&vm, upgrade(&vm, healthy)).await {
            Ok(()) => println!("the upgrade is done"),
            Err(error) => println!("taken back: {error}"),
        }
        println!(
            "  description: {:?}, snapshots: {}",
            vm.info().await?.description,
            vm.snapshots().list().await?.len()
        );
    }
    vm.delete(&DeleteVm::with_disks().snapshots(true)).await?.wait().await
}

/// Does `change`; where it fails, the machine is what it was before.
async fn guarded(vm: &Vm, change: impl Future<Output = Result<()>>) -> Result<()> {
    let before = vm.snapshots().create(&SnapshotSpec::new("before")).await?.wait().await?;
    let outcome = change.await;
    if outcome.is_err() {
        vm.snapshots().revert(&before, &RevertSnapshot::new()).await?.wait().await?;
    }
    vm.snapshots().delete(&before, &DeleteSnapshot::only()).await?.wait().await?;
    outcome
}

/// What really happens here is up to you; `healthy` is what its check afterwards would say.
async fn upgrade(vm: &Vm, healthy: bool) -> Result<()> {
    let text = if healthy { "version 2" } else { "version 3, broken" };
    vm.update(&VmChange::new().description(text)).await?.wait().await?;
    if healthy { Ok(()) } else { Err(Error::invalid_state("the new version does not answer")) }
}
