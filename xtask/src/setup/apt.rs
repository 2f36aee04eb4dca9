//! apt: Debian's and Ubuntu's packages.

use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::run;

/// Installs packages, without the recommended ones; those that this release does not have are left out.
///
/// Nothing is ever removed for it.
pub(super) fn install(wanted: &[&str]) -> Result<()> {
    let mut packages = known(wanted)?;
    if packages.is_empty() || plan(&packages).is_err() {
        eprintln!("setup: apt-get update");
        run::visible(apt_get().args(["update", "-qq"]))?;
        packages = known(wanted)?;
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
    eprintln!("setup: {}", run::line(&command));
    if run::output(&mut command).is_err() {
        eprintln!("setup: once more, with fresh package lists");
        run::visible(apt_get().args(["update", "-qq"]))?;
        run::output(&mut command)?;
    }
    eprintln!("setup: installed");
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
            eprintln!("setup: {name} goes from {version} to {offered}: the newer one breaks QEMU {target}");
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
}
