//! From a URL to a connection: the only decision that the facade makes.

use std::sync::Arc;

use hypervisor_core::layer::Stack;
use hypervisor_core::memory::Memory;
use hypervisor_core::{Error, ErrorKind, Hypervisor, Result};

/// What this build can connect to, for the error about a scheme that it cannot.
const COMPILED_IN: &[&str] = &[
    "memory",
    #[cfg(feature = "libvirt")]
    "qemu (also +unix, +ssh, +libssh, +libssh2, +tls, +tcp, +ext), test",
    #[cfg(feature = "proxmox")]
    "proxmox",
    #[cfg(feature = "client")]
    "https and http (also +v1, +hypersdk, +virtumancer, +virtualization-mcp)",
];

/// Connects to the backend that the URL's scheme names, and puts the usual layers around it.
///
/// | URL | Backend | Feature |
/// |---|---|---|
/// | `memory://`, `memory://?hosts=3&task_time=2s` | the in-memory hypervisor: new, and gone with its last handle | always there |
/// | `qemu:///system`, `qemu:///session`, `qemu+ssh://user@host/system`, `qemu+tls://…` | libvirt | `libvirt` |
/// | `test:///default`, `test:///file.xml` | libvirt's mock driver | `libvirt` |
/// | `proxmox://user@realm!token:secret@host:8006` | Proxmox VE | `proxmox` |
/// | `https+v1://:token@host`, `https+hypersdk://…`, `https+virtumancer://…`, `https+virtualization-mcp://…` | a REST gateway | `client` |
/// | `https://host`, `http://host` | a REST gateway that is asked what it speaks | `client` |
///
/// The layers are those of [`Stack::standard`]. [`connect_bare`] leaves them out.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> hypervisor::Result<()> {
/// let hv = hypervisor::connect("memory://").await?;
/// assert_eq!(hv.info().backend, "memory");
///
/// let error = hypervisor::connect("pigeon://loft").await.err().unwrap();
/// assert_eq!(error.kind(), hypervisor::ErrorKind::Config);
/// # Ok(()) }
/// ```
///
/// # Errors
/// [`Config`](ErrorKind::Config) where the text is no URL, the scheme is not compiled in (the message lists what is), or the driver does
/// not understand the rest; where the connection fails, what the driver says, mostly [`Connect`](ErrorKind::Connect) or
/// [`Unauthenticated`](ErrorKind::Unauthenticated). Of the URL, only the scheme is ever in an error of this function: the rest may hold
/// a password.
pub async fn connect(url: &str) -> Result<Arc<dyn Hypervisor>> {
    Ok(Stack::standard(connect_bare(url).await?).build())
}

/// Connects like [`connect`], without any layer: for a [`Stack`] of one's own, and for tests that want to see every error.
///
/// # Errors
/// As [`connect`].
pub async fn connect_bare(url: &str) -> Result<Arc<dyn Hypervisor>> {
    let scheme = scheme(url)?;
    // What follows a plus sign is the transport, which is the driver's own business.
    match scheme.split('+').next() {
        Some("memory") => Ok(Arc::new(Memory::from_url(url)?)),
        Some("qemu" | "test" | "lxc" | "xen") => libvirt(url, &scheme).await,
        Some("proxmox") => proxmox(url, &scheme).await,
        Some("https" | "http") => client(url, &scheme).await,
        _ => Err(not_compiled_in(&scheme)),
    }
}

#[cfg(feature = "libvirt")]
async fn libvirt(url: &str, _: &str) -> Result<Arc<dyn Hypervisor>> {
    let config = hypervisor_libvirt::LibvirtConfig::new(url)?;
    Ok(Arc::new(Box::pin(hypervisor_libvirt::Libvirt::connect(config)).await?))
}

#[cfg(feature = "proxmox")]
async fn proxmox(url: &str, _: &str) -> Result<Arc<dyn Hypervisor>> {
    let config = hypervisor_proxmox::ProxmoxConfig::new(url)?.with_env()?;
    Ok(Arc::new(Box::pin(hypervisor_proxmox::Proxmox::connect(config)).await?))
}

#[cfg(feature = "client")]
async fn client(url: &str, _: &str) -> Result<Arc<dyn Hypervisor>> {
    Box::pin(hypervisor_client::connect(hypervisor_client::ClientConfig::new(url)?)).await
}

/// A driver that was left out says which feature brings it in.
macro_rules! left_out {
    ($($feature:literal $name:ident;)*) => { $(
        #[cfg(not(feature = $feature))]
        fn $name(_: &str, scheme: &str) -> std::future::Ready<Result<Arc<dyn Hypervisor>>> {
            let hint = concat!("Enable the feature `", $feature, "` of the crate `hypervisor`");
            std::future::ready(Err(not_compiled_in(scheme).with_hint(hint)))
        }
    )* };
}

left_out! {
    "libvirt" libvirt;
    "proxmox" proxmox;
    "client" client;
}

/// The part of the URL that is safe to show.
fn scheme(url: &str) -> Result<String> {
    let scheme = url.split_once("://").map(|(scheme, _)| scheme.to_ascii_lowercase());
    let is_scheme = |scheme: &String| {
        scheme.starts_with(|first: char| first.is_ascii_lowercase())
            && scheme.chars().all(|each| each.is_ascii_alphanumeric() || "+-.".contains(each))
    };
    scheme.filter(is_scheme).ok_or_else(not_a_url)
}

fn not_a_url() -> Error {
    Error::new(ErrorKind::Config, "this is not a URL; one looks like memory:// or qemu:///system")
}

fn not_compiled_in(scheme: &str) -> Error {
    let message = format!("no driver for `{scheme}` is compiled in; compiled in: {}", COMPILED_IN.join(", "));
    Error::new(ErrorKind::Config, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn refused(url: &str) -> Error {
        connect(url).await.err().unwrap_or_else(|| panic!("{url} connected"))
    }

    #[tokio::test]
    async fn an_unknown_scheme_learns_what_is_compiled_in() {
        for url in ["pigeon://loft", "esx://host", "vbox+ssh://gate"] {
            let error = refused(url).await;
            assert_eq!(error.kind(), ErrorKind::Config);
            let (scheme, text) = (url.split("://").next().unwrap(), error.to_string());
            assert!(text.contains(scheme) && text.contains("compiled in: memory"), "{text}");
        }
    }

    #[tokio::test]
    async fn errors_show_no_credentials() {
        for url in
            ["root:canary@host", "canary", "", "://canary", "pigeon://u:canary@host/?p=canary", "ca nary://x"]
        {
            let error = refused(url).await;
            assert_eq!(error.kind(), ErrorKind::Config, "{url}");
            let shown = format!("{error} {error:?}");
            assert!(!shown.contains("canary") && !shown.contains("ca nary"), "{shown}");
        }
    }

    #[cfg(not(feature = "libvirt"))]
    #[tokio::test]
    async fn a_libvirt_url_names_the_feature_that_it_needs() {
        for url in ["qemu:///system", "qemu+ssh://u:canary@host/system", "test:///default", "QEMU:///system"]
        {
            let text = refused(url).await.to_string();
            assert!(text.contains("feature `libvirt`") && !text.contains("canary"), "{text}");
        }
    }

    #[tokio::test]
    async fn what_is_left_out_names_the_feature_that_brings_it_in() {
        for (url, feature, there) in [
            ("proxmox://root@pam!t:canary@127.0.0.1:1", "proxmox", cfg!(feature = "proxmox")),
            ("https+hypersdk://u:canary@127.0.0.1:1", "client", cfg!(feature = "client")),
            ("http://127.0.0.1:1", "client", cfg!(feature = "client")),
        ] {
            let error = refused(url).await;
            let text = error.to_string();
            assert_eq!(text.contains(&format!("feature `{feature}`")), !there, "{text}");
            assert_eq!(error.kind(), if there { ErrorKind::Connect } else { ErrorKind::Config }, "{text}");
            assert!(!text.contains("canary"), "{text}");
        }
    }

    #[cfg(feature = "libvirt")]
    #[tokio::test]
    async fn libvirt_refuses_what_it_does_not_drive() {
        let error = refused("xen://u:canary@host").await;
        assert_eq!(error.kind(), ErrorKind::Config);
        assert!(error.to_string().contains("xen") && !error.to_string().contains("canary"), "{error}");
    }

    #[tokio::test]
    async fn the_usual_layers_lie_over_the_backend() {
        let hv = connect("memory://").await.unwrap();
        assert!(hv.inner().is_some(), "no layer");
        assert!(hv.backend::<Memory>().is_some(), "the backend cannot be reached");
        let bare = connect_bare("memory://").await.unwrap();
        assert!(bare.inner().is_none(), "a layer");
    }
}
