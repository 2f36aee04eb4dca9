//! `cargo xtask setup`: what a machine needs beyond Rust and a C compiler, found out by looking for the thing itself
//! (so that any distribution's packages count) and installed where apt and root are at hand.

mod apt;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Result, bail};

use crate::workspace::cargo;
use crate::{paths, run};

/// How much of libvirt is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Level {
    /// The C library: enough to build the driver and for `test://` connections.
    Driver,
    /// A libvirtd with QEMU.
    Live,
}

/// How to see whether a thing is there.
#[derive(Debug, Clone, Copy)]
enum Probe {
    Program(&'static str),
    PkgConfig(&'static str),
    /// A module of Python's own library; Debian packs some by themselves.
    Python(&'static str),
    /// One of libvirtd's loadable drivers; some distributions pack each of them by itself.
    Driver(&'static str),
}

/// One thing that is needed.
#[derive(Debug, Clone, Copy)]
struct Need {
    level: Level,
    probe: Probe,
    why: &'static str,
    /// Debian's and Ubuntu's packages; those that a release does not know are left out.
    debian: &'static [&'static str],
}

const fn need(level: Level, probe: Probe, why: &'static str, debian: &'static [&'static str]) -> Need {
    Need { level, probe, why, debian }
}

const NEEDS: &[Need] = &[
    need(Level::Driver, Probe::Program("pkg-config"), "to find libvirt's C library", &["pkg-config"]),
    need(Level::Driver, Probe::PkgConfig("libvirt"), "to build the libvirt driver", &["libvirt-dev"]),
    need(Level::Live, Probe::Program("libvirtd"), "the daemon under test", &["libvirt-daemon"]),
    need(Level::Live, Probe::Driver("qemu"), "libvirtd's QEMU driver", &["libvirt-daemon-driver-qemu"]),
    need(Level::Live, Probe::Driver("network"), "its networks", &["libvirt-daemon-driver-network"]),
    need(Level::Live, Probe::Driver("storage"), "its storage pools", &["libvirt-daemon-driver-storage"]),
    need(Level::Live, Probe::Driver("nodedev"), "its host devices", &["libvirt-daemon-driver-nodedev"]),
    need(Level::Live, Probe::Driver("nwfilter"), "its network filters", &["libvirt-daemon-driver-nwfilter"]),
    need(Level::Live, Probe::Driver("secret"), "its secrets", &["libvirt-daemon-driver-secret"]),
    need(Level::Live, Probe::Driver("interface"), "its interfaces", &["libvirt-daemon-driver-interface"]),
    need(Level::Live, Probe::Program("virsh"), "to see when the daemon answers", &["libvirt-clients"]),
    need(Level::Live, Probe::Program("qemu-system-x86_64"), "to run guests", &["qemu-system-x86"]),
    need(Level::Live, Probe::Program("qemu-img"), "to make disk images", &["qemu-utils"]),
    need(Level::Live, Probe::Program("dnsmasq"), "addresses on libvirt's networks", &["dnsmasq-base"]),
    need(Level::Live, Probe::Program("iptables"), "libvirt's NAT networks", &["iptables"]),
    need(Level::Live, Probe::Program("ip"), "the private network namespace", &["iproute2"]),
    need(
        Level::Live,
        Probe::Program("saslpasswd2"),
        "a daemon with passwords",
        &["sasl2-bin", "libsasl2-modules"],
    ),
    need(Level::Live, Probe::Program("ssh"), "connections through ssh", &["openssh-client"]),
    need(
        Level::Live,
        Probe::Program("sshd"),
        "a server to test them with (tests start their own; the service that comes with it may be turned off)",
        &["openssh-server"],
    ),
    need(Level::Live, Probe::Program("nc"), "what ssh starts on the other side", &["netcat-openbsd"]),
    need(Level::Live, Probe::Program("scrub"), "the ways to wipe a volume", &["scrub"]),
    need(Level::Live, Probe::Program("tini"), "to reap the daemon's QEMU processes", &["tini"]),
];

/// Runs `cargo xtask setup`.
pub(crate) fn command(driver_only: bool) -> Result<()> {
    if driver_only {
        ensure(Level::Driver)?;
    } else {
        ensure(Level::Live)?;
        crate::guest::ensure()?;
    }
    println!("setup: everything is there");
    Ok(())
}

/// Sees to it that a level is there: silent where it is, else says what is missing and why, and installs it.
pub(crate) fn ensure(level: Level) -> Result<()> {
    let needs: Vec<_> = NEEDS.iter().filter(|need| need.level <= level).copied().collect();
    satisfy(level, &needs)
}

/// Sees to it that a program is there that only some machines turn out to need.
pub(crate) fn program(name: &'static str, package: &'static [&'static str], why: &'static str) -> Result<()> {
    satisfy(Level::Live, &[need(Level::Live, Probe::Program(name), why, package)])
}

/// Sees to it that Python can make environments.
pub(crate) fn python(why: &'static str) -> Result<()> {
    let module = Probe::Python("ensurepip");
    satisfy(Level::Live, &[need(Level::Live, module, why, &["python3", "python3-venv"])])
}

fn satisfy(level: Level, needs: &[Need]) -> Result<()> {
    let missing = missing(needs);
    if missing.is_empty() {
        return Ok(());
    }
    eprintln!("setup: missing on this machine:");
    for need in &missing {
        eprintln!("  {:<34} {}", need.debian.join(" "), need.why);
    }
    if paths::program("apt-get").is_none() || !rustix::process::geteuid().is_root() {
        bail!("{}", advice(level, &missing));
    }
    apt::install(&names(&missing))?;
    let left = self::missing(needs);
    if !left.is_empty() {
        bail!("installed, and still not found: {}", names(&left).join(", "));
    }
    Ok(())
}

/// Sees to it that rustfmt and clippy are there, which a minimal toolchain lacks.
pub(crate) fn components() -> Result<()> {
    for (name, command) in [("rustfmt", "fmt"), ("clippy", "clippy")] {
        let mut look = cargo(&[command, "--version"]);
        if look.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success()) {
            continue;
        }
        if paths::program("rustup").is_none() {
            bail!("{name} is missing: install it from where this Rust came from");
        }
        eprintln!("setup: rustup component add {name}");
        run::visible(Command::new("rustup").args(["component", "add", name]))?;
    }
    Ok(())
}

/// Whether a level is there already.
pub(crate) fn present(level: Level) -> bool {
    NEEDS.iter().filter(|need| need.level <= level).all(|need| found(need.probe))
}

fn missing(needs: &[Need]) -> Vec<Need> {
    needs.iter().filter(|need| !found(need.probe)).copied().collect()
}

fn names(needs: &[Need]) -> Vec<&'static str> {
    needs.iter().flat_map(|need| need.debian.iter().copied()).collect()
}

fn found(probe: Probe) -> bool {
    match probe {
        Probe::Program(name) => paths::program(name).is_some(),
        Probe::PkgConfig(name) => Command::new("pkg-config")
            .args(["--exists", name])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success()),
        Probe::Python(module) => Command::new("python3")
            .args(["-c", &format!("import {module}")])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success()),
        Probe::Driver(name) => {
            driver_folders().iter().any(|dir| dir.join(format!("libvirt_driver_{name}.so")).is_file())
        }
    }
}

fn driver_folders() -> Vec<PathBuf> {
    let base = ["/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib64", "/usr/lib"];
    base.iter().map(|base| Path::new(base).join("libvirt/connection-driver")).collect()
}

/// One sentence for those whose machine we cannot or may not change.
fn advice(level: Level, missing: &[Need]) -> String {
    let (fedora, mac) = match level {
        Level::Driver => ("libvirt-devel pkgconf", "brew install libvirt pkg-config"),
        Level::Live => (
            "libvirt-devel pkgconf libvirt-daemon-kvm libvirt-client qemu-img dnsmasq iptables tini",
            "a Linux machine or container for the live level (`brew install libvirt pkg-config` serves the rest)",
        ),
    };
    format!(
        "this needs root and apt to install by itself; install it yourself and run this again: Debian/Ubuntu: \
         `apt install {}`, Fedora: `dnf install {fedora}`, macOS: {mac}",
        names(missing).join(" "),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_driver_level_needs_no_daemon() {
        assert!(NEEDS.iter().filter(|need| need.level == Level::Driver).count() >= 2);
        assert!(NEEDS.iter().any(|n| n.level == Level::Live && n.debian.contains(&"libvirt-daemon")));
        assert!(Level::Driver < Level::Live);
    }

    #[test]
    fn advice_names_the_missing_packages() {
        let text = advice(Level::Driver, NEEDS.get(..2).unwrap());
        assert!(
            text.contains("apt install pkg-config libvirt-dev") && text.contains("libvirt-devel"),
            "{text}"
        );
    }
}
