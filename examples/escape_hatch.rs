//! What only one hypervisor can do, without leaving the SDK: options of one backend in a portable spec, and the backend itself under all
//! layers. `cargo run --features libvirt --example escape_hatch -- test:///default`; without a URL, in memory.

use std::sync::Arc;

use hypervisor::memory::Memory;
use hypervisor::{DeleteVm, Hypervisor, Result, VmSpec};

#[tokio::main]
async fn main() -> Result<()> {
    let url = std::env::args().nth(1).unwrap_or_else(|| "memory://".to_owned());
    let hv = hypervisor::connect(&url).await?;
    let spec = with_options(VmSpec::new("hatch"))?;
    let vm = hv.vms().create(&spec).await?.wait().await?;

    // The spec that the SDK knows, and the backend's own document, in which nothing is lost.
    let config = vm.config().await?;
    println!("portable: {} cpus, {}", config.spec.cpus, config.spec.memory);
    println!("native:   {} bytes", config.native.as_deref().unwrap_or_default().len());

    by_its_own_means(&hv, vm.id()).await?;
    if vm.state().await?.is_active() {
        vm.power_off().await?.wait().await?;
    }
    vm.delete(&DeleteVm::with_disks()).await?.wait().await
}

/// Options of several backends side by side: each takes its own and leaves the others alone.
fn with_options(spec: VmSpec) -> Result<VmSpec> {
    #[cfg(feature = "libvirt")]
    let spec = spec.with(&hypervisor::libvirt::VmOptions::default())?;
    #[cfg(feature = "proxmox")]
    let spec = spec.with(&hypervisor::proxmox::VmOptions::default())?;
    Ok(spec)
}

async fn by_its_own_means(hv: &Arc<dyn Hypervisor>, vm: &hypervisor::VmId) -> Result<()> {
    if let Some(memory) = hv.backend::<Memory>() {
        hv.vm(vm).start().await?.wait().await?;
        memory.crash_vm(vm)?;
        println!("memory:   {}", hv.vm(vm).state().await?);
    }
    #[cfg(feature = "libvirt")]
    if let Some(libvirt) = hv.backend::<hypervisor::libvirt::Libvirt>() {
        // Any call of libvirt's own API, on the driver's threads and with its deadline.
        let version = libvirt.with_connection(|connection| connection.get_lib_version()).await?;
        println!("libvirt:  version {version}");
    }
    #[cfg(feature = "proxmox")]
    if let Some(proxmox) = hv.backend::<hypervisor::proxmox::Proxmox>() {
        // Any call of Proxmox's API, with the connection's credentials, trust and errors.
        println!("proxmox:  {}", proxmox.api().get("/version").await?);
    }
    Ok(())
}
