//! The peers that are written in Python, in a virtual environment of their own.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::{paths, run};

/// Tells the benches which Python has the peers.
pub(super) const VAR: &str = "HYPERVISOR_BENCH_PYTHON";
const PROXMOX: &[&str] = &["proxmoxer", "requests"];

fn has(python: &Path, modules: &[&str]) -> bool {
    let script = format!("import {}", modules.join(", "));
    run::output(Command::new(python).args(["-c", &script])).is_ok()
}

/// A Python with proxmoxer, and with libvirt-python where libvirt is here. Installs what is missing below xtask's own folder.
pub(super) fn ensure(libvirt: bool) -> Result<PathBuf> {
    let place = paths::state()?.join("bench-python");
    let python = place.join("bin/python");
    let mut missing: Vec<String> = Vec::new();
    if !has(&python, PROXMOX) {
        missing.extend(PROXMOX.iter().map(|name| (*name).to_owned()));
    }
    if libvirt && !has(&python, &["libvirt"]) {
        // Of the C library's own release: a newer one may ask for calls that it does not have.
        let version = run::output(Command::new("pkg-config").args(["--modversion", "libvirt"]))?;
        missing.push(format!("libvirt-python=={}", version.trim()));
    }
    if missing.is_empty() {
        return Ok(python);
    }
    println!(
        "bench: installing {} for Python into {}, and nowhere else",
        missing.join(", "),
        place.display()
    );
    if !python.is_file() {
        let Some(base) = paths::program("python3") else { bail!("python3 is not here") };
        run::output(Command::new(base).args(["-m", "venv"]).arg(&place))
            .context("cannot make a virtual environment (Debian has it in python3-venv)")?;
    }
    let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check"];
    run::output(Command::new(&python).args(pip).args(&missing))
        .context("cannot install the peers (libvirt-python needs a C compiler and Python's headers)")?;
    Ok(python)
}
