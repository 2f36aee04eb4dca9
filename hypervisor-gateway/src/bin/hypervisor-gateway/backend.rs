//! From a URL to a backend, as far as drivers are compiled in.

use std::sync::Arc;

use futures::future::BoxFuture;
use hypervisor_core::layer::Stack;
use hypervisor_core::memory::Memory;
use hypervisor_core::{Error, ErrorKind, Hypervisor, Result};

const COMPILED_IN: &[&str] = &[
    "memory",
    #[cfg(feature = "libvirt")]
    "qemu, test, lxc (libvirt)",
    #[cfg(feature = "proxmox")]
    "proxmox",
    #[cfg(feature = "client")]
    "https, http and their dialects (other gateways)",
];

/// Connects, with the usual layers around the driver. Of the URL only the scheme is ever in an error.
pub(crate) async fn connect(url: &str) -> Result<Arc<dyn Hypervisor>> {
    Ok(Stack::standard(bare(url).await?).build())
}

/// Boxed, because what there is to wait for depends on the features.
fn bare(url: &str) -> BoxFuture<'_, Result<Arc<dyn Hypervisor>>> {
    let scheme = url.split_once("://").map(|(scheme, _)| scheme).unwrap_or_default();
    Box::pin(async move {
        match scheme.split('+').next().unwrap_or_default() {
            "memory" => Ok(Arc::new(Memory::from_url(url)?) as Arc<dyn Hypervisor>),
            #[cfg(feature = "libvirt")]
            "qemu" | "test" | "lxc" | "xen" => {
                let config = hypervisor_libvirt::LibvirtConfig::new(url)?;
                Ok(Arc::new(hypervisor_libvirt::Libvirt::connect(config).await?) as Arc<dyn Hypervisor>)
            }
            #[cfg(feature = "proxmox")]
            "proxmox" => {
                let config = hypervisor_proxmox::ProxmoxConfig::new(url)?.with_env()?;
                Ok(Arc::new(hypervisor_proxmox::Proxmox::connect(config).await?) as Arc<dyn Hypervisor>)
            }
            #[cfg(feature = "client")]
            "https" | "http" => hypervisor_client::connect(hypervisor_client::ClientConfig::new(url)?).await,
            _ => {
                let shown = scheme.chars().filter(|each| each.is_ascii_alphanumeric() || *each == '+');
                let shown: String = shown.collect();
                let there = COMPILED_IN.join("; ");
                let message = format!("--backend: no driver for `{shown}` is compiled in; there are {there}");
                Err(Error::new(ErrorKind::Config, message))
            }
        }
    })
}
