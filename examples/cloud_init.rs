//! A machine from a cloud image, set up by cloud-init at its first boot, and reached by its address:
//! `cargo run --features libvirt --example cloud_init -- qemu:///system default/debian-13.qcow2`.
//! Without arguments, in memory with an empty volume for an image.

use std::time::Duration;

use hypervisor::model::{CloudInit, GuestAddress};
use hypervisor::{ByteSize, DeleteVm, DiskSpec, NicSpec, Result, VmSpec, VolumeId, VolumeSpec};

/// cloud-init's own format. Put a key of yours here; the machine gets no password.
const USER_DATA: &str = "#cloud-config
hostname: cloudy
packages: [qemu-guest-agent]
ssh_authorized_keys:
  - ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIExampleExampleExampleExampleExampleExampleEx you@example.org
runcmd:
  - systemctl enable --now qemu-guest-agent
";

#[tokio::main]
async fn main() -> Result<()> {
    let mut args = std::env::args().skip(1);
    let hv = hypervisor::connect(&args.next().unwrap_or_else(|| "memory://".to_owned())).await?;
    let image = match args.next() {
        Some(image) => VolumeId::from(image),
        None => {
            let empty = VolumeSpec::new("default", "image.qcow2", ByteSize::gib(2));
            hv.volumes().create(&empty).await?.wait().await?.into()
        }
    };
    let spec = VmSpec::new("cloudy")
        .cpus(2)
        .memory(ByteSize::gib(1))
        // The image stays as it is: this is a copy, larger than the original.
        .disk(DiskSpec::copy_of(image).size(ByteSize::gib(10)))
        .nic(NicSpec::network("default"))
        .agent(true)
        .cloud_init(CloudInit::user_data(USER_DATA))
        .start(true);
    let vm = hv.vms().create(&spec).await?.wait().await?;
    println!("created {}; its first boot takes a while", vm.id());

    let address = vm.wait_for_address(Duration::from_secs(300), GuestAddress::is_reachable).await?;
    println!("it is at {} (known by {})", address.address, address.source);
    vm.delete(&DeleteVm::with_disks().power_off(true)).await?.wait().await
}
