//! `cargo xtask setup`: what a machine needs beyond Rust and a C compiler, found out by looking for the thing itself
//! (so that any distribution's packages count) and installed where apt and root are at hand.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

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
    let missing = missing(level);
    if missing.is_empty() {
        return Ok(());
    }
    println!("setup: missing on this machine:");
    for need in &missing {
        println!("  {:<34} {}", need.debian.join(" "), need.why);
    }
    if paths::program("apt-get").is_none() || !rustix::process::geteuid().is_root() {
        bail!("{}", advice(level, &missing));
    }
    install(&missing)?;
    let left = self::missing(level);
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
        println!("setup: rustup component add {name}");
        run::visible(Command::new("rustup").args(["component", "add", name]))?;
    }
    Ok(())
}

/// Whether a level is there already.
pub(crate) fn present(level: Level) -> bool {
    missing(level).is_empty()
}

fn missing(level: Level) -> Vec<Need> {
    NEEDS.iter().filter(|need| need.level <= level && !found(need.probe)).copied().collect()
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

fn install(missing: &[Need]) -> Result<()> {
    let wanted = names(missing);
    let mut packages = known(&wanted)?;
    if packages.is_empty() || plan(&packages).is_err() {
        println!("setup: apt-get update");
        run::visible(apt_get().args(["update", "-qq"]))?;
        packages = known(&wanted)?;
    }
    if packages.is_empty() {
        bail!("apt knows none of: {}", wanted.join(" "));
    }
    packages.extend(downgrades(&packages)?);
    let plan = plan(&packages)?;
    let removed: Vec<_> = plan.lines().filter_map(|line| line.strip_prefix("Remv ")).collect();
    if !removed.is_empty() {
        bail!(
            "apt would remove {} to install {}; solve that by hand",
            removed.join(", "),
            packages.join(" ")
        );
    }
    let mut command = apt_get();
    command.args(INSTALL).arg("-qq").args(&packages);
    println!("setup: {}", run::line(&command));
    if run::output(&mut command).is_err() {
        println!("setup: once more, with fresh package lists");
        run::visible(apt_get().args(["update", "-qq"]))?;
        run::output(&mut command)?;
    }
    println!("setup: installed");
    Ok(())
}

const INSTALL: [&str; 4] = ["install", "-y", "--no-install-recommends", "--allow-downgrades"];

fn apt_get() -> Command {
    let mut command = Command::new("apt-get");
    command.env("DEBIAN_FRONTEND", "noninteractive").stdin(Stdio::null());
    command
}

/// What apt would do.
fn plan(packages: &[String]) -> Result<String> {
    run::output(apt_get().args(INSTALL).arg("--simulate").args(packages))
}

/// Those of the packages that this release has.
fn known(packages: &[&str]) -> Result<Vec<String>> {
    let policy = run::output(Command::new("apt-cache").arg("policy").args(packages).env("LC_ALL", "C"))?;
    Ok(candidates(&policy).into_iter().map(|(name, _)| name).collect())
}

/// Package and candidate version of each paragraph of `apt-cache policy` that has one.
fn candidates(policy: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut package = "";
    for line in policy.lines() {
        if !line.starts_with(' ') {
            package = line.trim_end_matches(':');
        } else if let Some(version) = line.trim().strip_prefix("Candidate: ")
            && version != "(none)"
        {
            found.push((package.to_owned(), version.to_owned()));
        }
    }
    found
}

/// Parts of QEMU that are installed from a newer suite than apt would take QEMU from (`qemu-utils` from backports, say):
/// they break each other, so the newer parts come down to the suite's version.
fn downgrades(packages: &[String]) -> Result<Vec<String>> {
    if !packages.iter().any(|name| name == "qemu-system-x86") {
        return Ok(Vec::new());
    }
    let policy =
        run::output(Command::new("apt-cache").args(["policy", "qemu-system-x86"]).env("LC_ALL", "C"))?;
    let Some((_, target)) = candidates(&policy).pop() else { return Ok(Vec::new()) };
    let format = "${source:Package} ${Package} ${Version} ${db:Status-Status}\n";
    let installed = run::output(Command::new("dpkg-query").args(["-W", "-f", format]))?;
    let mut pinned = Vec::new();
    for line in installed.lines() {
        let words: Vec<_> = line.split(' ').collect();
        if let ["qemu", name, version, "installed"] = words.as_slice()
            && newer(version, &target)?
            && let Some(offered) = offered(name)?
            && newer(version, &offered)?
        {
            println!("setup: {name} goes from {version} to {offered}: the newer one breaks QEMU {target}");
            pinned.push(format!("{name}={offered}"));
        }
    }
    Ok(pinned)
}

fn newer(one: &str, other: &str) -> Result<bool> {
    let status = Command::new("dpkg").args(["--compare-versions", one, "gt", other]).status();
    Ok(status.context("cannot run dpkg")?.success())
}

/// The newest version of a package that a configured suite offers, whatever is installed.
fn offered(package: &str) -> Result<Option<String>> {
    let table = run::output(Command::new("apt-cache").args(["madison", package]))?;
    Ok(table.lines().find_map(|line| line.split('|').nth(1)).map(|version| version.trim().to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_candidates_and_skips_packages_without() {
        let policy = "tini:\n  Installed: (none)\n  Candidate: 0.19.0-1\n  Version table:\n\
                      gone:\n  Installed: (none)\n  Candidate: (none)\n";
        assert_eq!(candidates(policy), [("tini".to_owned(), "0.19.0-1".to_owned())]);
    }

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
