//! `HYPERVISOR_TEST_URL=<url> cargo xtask conformance`: the suite against a backend that is really there.

use anyhow::{Context, Result};

use crate::setup::{self, Level};
use crate::workspace::Workspace;
use crate::{env, run};

const EXAMPLE: &str = "conformance";
/// libvirt's own drivers, by the schemes of its URIs.
const LIBVIRT: &[&str] =
    &["qemu", "test", "xen", "lxc", "ch", "vbox", "esx", "vpx", "bhyve", "openvz", "vz", "hyperv"];

/// Runs the suite and prints its table.
pub(crate) fn command(filter: Option<&str>) -> Result<()> {
    let url = std::env::var(env::URL).ok().filter(|url| !url.is_empty()).with_context(|| {
        format!(
            "set {} to the URL of the backend to test, such as memory://, test:///default or qemu:///system, with \
             its credentials where it needs any; CONTRIBUTING.md lists the further settings",
            env::URL
        )
    })?;
    let libvirt = needs_libvirt(&url);
    if libvirt {
        setup::ensure(Level::Driver)?;
    }
    let workspace = Workspace::read(libvirt)?;
    workspace.require("example", EXAMPLE)?;
    // The URL stays in the environment: command lines are seen by everyone on the machine.
    let mut command = workspace.example(EXAMPLE);
    command.args(filter.map(|filter| ["--filter", filter]).into_iter().flatten());
    run::visible(&mut command)
}

fn needs_libvirt(url: &str) -> bool {
    url.split([':', '+']).next().is_some_and(|scheme| LIBVIRT.contains(&scheme))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_libvirts_schemes_need_its_library() {
        for url in ["qemu:///system", "test:///default", "qemu+unix:///system?socket=/x", "xen:///"] {
            assert!(needs_libvirt(url), "{url}");
        }
        for url in ["memory://", "proxmox://host:8006", "https+hypersdk://host", "testing://x"] {
            assert!(!needs_libvirt(url), "{url}");
        }
    }
}
