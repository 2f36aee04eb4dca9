//! Kernel modules of the test guest, in an order in which they load.
//!
//! A kernel package brings no `modules.dep` (its installation script makes that), so what a module needs is read from
//! the module itself.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::setup;

/// A module's name and its content.
pub(crate) type Module = (String, Vec<u8>);

/// The wanted modules and all that they need, each after what it needs. A module that is missing is taken to be
/// built into the kernel.
pub(crate) fn load_order(folder: &Path, wanted: &[&str]) -> Result<Vec<Module>> {
    let mut files = BTreeMap::new();
    collect(folder, &mut files)?;
    let mut order = Vec::new();
    for name in wanted {
        visit(name, &files, &mut order, 0)?;
    }
    Ok(order)
}

fn visit(name: &str, files: &BTreeMap<String, PathBuf>, order: &mut Vec<Module>, depth: u32) -> Result<()> {
    let name = plain(name);
    if order.iter().any(|(known, _)| *known == name) {
        return Ok(());
    }
    if depth > 32 {
        bail!("kernel modules need each other in a circle at {name}");
    }
    let Some(file) = files.get(&name) else { return Ok(()) };
    let data = read(file)?;
    for needed in needs(&data) {
        visit(&needed, files, order, depth + 1)?;
    }
    order.push((name, data));
    Ok(())
}

fn collect(folder: &Path, files: &mut BTreeMap<String, PathBuf>) -> Result<()> {
    let entries = std::fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    for entry in entries {
        let entry = entry?;
        let path = entry.path();
        if entry.file_type()?.is_dir() {
            collect(&path, files)?;
        } else if let Some((name, rest)) = entry.file_name().to_string_lossy().split_once('.')
            && rest.starts_with("ko")
        {
            files.insert(plain(name), path);
        }
    }
    Ok(())
}

/// Files say `virtio-rng` where modules say `virtio_rng`.
fn plain(name: &str) -> String {
    name.replace('-', "_")
}

/// A module's content; some distributions compress them, which busybox cannot undo.
fn read(file: &Path) -> Result<Vec<u8>> {
    let (tool, package): (_, &[_]) = match file.extension().and_then(|ending| ending.to_str()) {
        Some("xz") => ("xz", &["xz-utils"]),
        Some("zst") => ("zstd", &["zstd"]),
        Some("gz") => ("gzip", &["gzip"]),
        _ => return std::fs::read(file).with_context(|| format!("cannot read {}", file.display())),
    };
    setup::program(tool, package, "to unpack the test guest's kernel modules")?;
    let out = Command::new(tool).arg("-dc").arg(file).output();
    let out = out.with_context(|| format!("cannot run `{tool}`"))?;
    if !out.status.success() {
        bail!("`{tool}` cannot unpack {}: {}", file.display(), String::from_utf8_lossy(&out.stderr).trim());
    }
    Ok(out.stdout)
}

/// The names after `depends=` in a module's `.modinfo` strings.
fn needs(module: &[u8]) -> Vec<String> {
    let key = b"depends=";
    let text = module.split(|byte| *byte == 0).find_map(|text| text.strip_prefix(key));
    let text = String::from_utf8_lossy(text.unwrap_or_default());
    text.split(',').filter(|name| !name.is_empty()).map(plain).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_module_needs_comes_before_it() {
        let dir = std::env::temp_dir().join(format!("xtask-modules-{}", std::process::id()));
        std::fs::create_dir_all(dir.join("deep")).unwrap();
        std::fs::write(dir.join("deep/virtio-rng.ko"), b"ELF\0license=GPL\0depends=virtio,virtio_ring\0x")
            .unwrap();
        std::fs::write(dir.join("virtio.ko"), b"\0depends=virtio_ring\0").unwrap();
        std::fs::write(dir.join("virtio_ring.ko"), b"\0depends=\0").unwrap();
        let order = load_order(&dir, &["virtio", "virtio-rng", "built-in"]).unwrap();
        std::fs::remove_dir_all(&dir).unwrap();
        let names: Vec<_> = order.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["virtio_ring", "virtio", "virtio_rng"]);
    }
}
