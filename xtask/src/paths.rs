//! Where things are.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use anyhow::{Context, Result};

/// The top of the workspace.
pub(crate) fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_path_buf()
}

/// This program. Asked for at the start: cargo may replace the file while we run, and the system then answers with a
/// name that is no file.
pub(crate) fn exe() -> Result<PathBuf> {
    static EXE: OnceLock<PathBuf> = OnceLock::new();
    if let Some(exe) = EXE.get() {
        return Ok(exe.clone());
    }
    let exe = std::env::current_exe().context("cannot find the running program")?;
    Ok(EXE.get_or_init(|| exe).clone())
}

/// The folder of this build's binaries, such as `target/debug`; `examples/` is in it.
pub(crate) fn build() -> Result<PathBuf> {
    let exe = exe()?;
    Ok(exe.parent().unwrap_or(&exe).to_path_buf())
}

/// A folder of our own below cargo's target folder, made where missing. Everything that xtask keeps is in it.
pub(crate) fn state() -> Result<PathBuf> {
    let build = build()?;
    let dir = build.parent().unwrap_or(&build).join("xtask");
    std::fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
    Ok(dir)
}

/// The first folder of `PATH`, or of where administrators' programs are, that holds this program.
pub(crate) fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin", "/sbin", "/usr/local/sbin"].map(PathBuf::from))
        .map(|dir| dir.join(name))
        .find(|file| file.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_shell_and_not_nonsense() {
        assert!(program("sh").is_some());
        assert_eq!(program("no-such-program-anywhere"), None);
    }

    #[test]
    fn the_root_holds_the_lock_file() {
        assert!(root().join("Cargo.lock").is_file());
    }
}
