//! `cargo xtask audit`: licences, banned crates and sources of all dependencies, and changes of the public API.

use std::process::Stdio;

use anyhow::Result;

use crate::run;
use crate::workspace::{Workspace, cargo};

/// Runs cargo-deny, and cargo-semver-checks for what has been published.
pub(crate) fn command() -> Result<()> {
    tool("deny", "cargo-deny")?;
    // Advisories need a database from the network; `cargo deny check advisories` fetches it where there is one.
    run::visible(&mut cargo(&["deny", "--all-features", "check", "licenses", "bans", "sources"]))?;
    println!("audit: advisories are not checked here; `cargo deny check advisories` does, with a network");

    let published = published()?;
    if published.is_empty() {
        println!(
            "audit: no crate of this workspace is published, so there is no earlier API to compare with"
        );
        return Ok(());
    }
    tool("semver-checks", "cargo-semver-checks")?;
    for name in published {
        run::visible(&mut cargo(&["semver-checks", "-p", &name]))?;
    }
    Ok(())
}

/// Installs a cargo command where it is missing.
fn tool(name: &str, package: &str) -> Result<()> {
    let there = cargo(&[name, "--version"]).stdout(Stdio::null()).stderr(Stdio::null()).status();
    if there.is_ok_and(|status| status.success()) {
        return Ok(());
    }
    println!("audit: {package} is missing: cargo install --locked {package}");
    run::visible(&mut cargo(&["install", "--locked", package]))
}

/// Our crates that the registry has: under our names, and from our repository.
fn published() -> Result<Vec<String>> {
    let mut found = Vec::new();
    for package in Workspace::read(true)?.packages {
        let args = ["info", "--quiet", "--registry", "crates-io", &package.name];
        let ours =
            run::output(&mut cargo(&args)).is_ok_and(|text| text.contains(env!("CARGO_PKG_REPOSITORY")));
        if ours && package.name != env!("CARGO_PKG_NAME") {
            found.push(package.name);
        }
    }
    Ok(found)
}
