//! The start in twenty lines: create, start, snapshot, revert, delete. `cargo run --example quickstart` runs in memory; with a URL, on
//! that hypervisor: `cargo run --features libvirt --example quickstart -- qemu:///system`.

use hypervisor::{ByteSize, DeleteVm, DiskSpec, RevertSnapshot, SnapshotSpec, VmSpec};

#[tokio::main]
async fn main() -> hypervisor::Result<()> {
    let url = std::env::args().nth(1).unwrap_or_else(|| "memory://".to_owned());
    let hv = hypervisor::connect(&url).await?;
    println!("connected to {}", hv.info().backend);

    let disk = DiskSpec::new_volume(ByteSize::gib(1));
    let spec = VmSpec::new("quickstart").cpus(1).memory(ByteSize::mib(256)).disk(disk);
    let vm = hv.vms().create(&spec).await?.wait().await?;
    println!("created {}", vm.id());
    vm.start().await?.wait().await?;
    println!("it is {}", vm.info().await?.state);

    vm.snapshots().create(&SnapshotSpec::new("clean")).await?.wait().await?;
    vm.snapshots().revert("clean", &RevertSnapshot::new()).await?.wait().await?;
    println!("reverted to snapshot `clean`; it is {}", vm.info().await?.state);

    vm.delete(&DeleteVm::with_disks().power_off(true).snapshots(true)).await?.wait().await?;
    println!("deleted");
    Ok(())
}
