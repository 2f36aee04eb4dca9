//! The test guest: a distribution's kernel with an initramfs of our own, which boots to `GUEST-READY` on the serial
//! console within about three seconds under emulation, with a guest agent, DHCP and a working power button.

mod cpio;
mod modules;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, anyhow, bail};

use crate::{paths, run};

/// Modules that the guest loads; what they need is found out.
const MODULES: &[&str] = &[
    "virtio_pci",
    "virtio_net",
    "virtio_blk",
    "virtio_scsi",
    "sd_mod",
    "sr_mod",
    "isofs",
    "ahci",
    "ata_piix",
    "virtio_console",
    "virtio_balloon",
    "virtio_rng",
    "e1000",
    "ext4",
    "evdev",
    "button",
];
const INIT: &str = include_str!("init.sh");
const DHCP: &str = include_str!("udhcpc.sh");
const POWER: &str = include_str!("power.sh");
const SHUTDOWN: &str = include_str!("shutdown.sh");
/// Packages that stand for the newest small kernel: Debian's, then Ubuntu's.
const KERNELS: &[&str] = &["linux-image-cloud-amd64", "linux-image-virtual"];
const LIBRARIES: &str = "lib/x86_64-linux-gnu";

/// The two files that a guest boots from.
#[derive(Debug, Clone)]
pub(crate) struct Guest {
    pub(crate) kernel: PathBuf,
    pub(crate) initrd: PathBuf,
}

/// Runs `cargo xtask guest`.
pub(crate) fn command(out: Option<&Path>) -> Result<()> {
    let guest = ensure()?;
    if let Some(out) = out {
        std::fs::copy(&guest.initrd, out).with_context(|| format!("cannot write {}", out.display()))?;
    }
    println!("{}\n{}", guest.kernel.display(), guest.initrd.display());
    Ok(())
}

/// The guest's files, made where they are missing or made by another recipe.
pub(crate) fn ensure() -> Result<Guest> {
    let dir = paths::state()?.join("guest");
    let guest = Guest { kernel: dir.join("vmlinuz"), initrd: dir.join("initramfs.cpio") };
    let stamp = dir.join("recipe");
    let recipe = [MODULES.join(" ").as_str(), INIT, DHCP, POWER, SHUTDOWN].join("\n");
    let same = std::fs::read_to_string(&stamp).is_ok_and(|text| text == recipe);
    if same && guest.kernel.is_file() && guest.initrd.is_file() {
        return Ok(guest);
    }
    if !cfg!(target_arch = "x86_64") || paths::program("apt-get").is_none() {
        bail!(
            "the test guest is made from Debian's or Ubuntu's amd64 packages, which this machine cannot fetch"
        );
    }
    eprintln!("guest: fetching a kernel, busybox and the guest agent (about 30 MB) to build the test guest");
    // Beside the folder, then renamed: two instances may be at it, and a cut-short one must not be taken for whole.
    let work = dir.with_extension(format!("new-{}", std::process::id()));
    let built = build(&work).and_then(|()| Ok(std::fs::write(work.join("recipe"), &recipe)?));
    if built.is_ok() {
        let _old = std::fs::remove_dir_all(&dir);
        if std::fs::rename(&work, &dir).is_err() && !guest.initrd.is_file() {
            bail!("cannot put the test guest at {}", dir.display());
        }
    }
    let _rest = std::fs::remove_dir_all(&work);
    built.map(|()| guest)
}

fn build(work: &Path) -> Result<()> {
    let _old = std::fs::remove_dir_all(work);
    let (debs, tree) = (work.join("debs"), work.join("tree"));
    std::fs::create_dir_all(&debs)?;
    std::fs::create_dir_all(&tree)?;
    fetch(&debs, &tree)?;
    let (kernel, modules) = kernel(&tree)?;
    std::fs::copy(&kernel, work.join("vmlinuz"))?;
    std::fs::write(work.join("initramfs.cpio"), initramfs(&tree, &modules)?)?;
    std::fs::remove_dir_all(&tree)?;
    std::fs::remove_dir_all(&debs)?;
    Ok(())
}

/// Downloads the packages and unpacks them into `tree`, installing nothing.
fn fetch(debs: &Path, tree: &Path) -> Result<()> {
    let kernel = match kernel_packages() {
        Ok(found) => found,
        Err(_) => {
            eprintln!("guest: apt-get update");
            run::visible(Command::new("apt-get").args(["update", "-qq"]))?;
            kernel_packages()?
        }
    };
    let mut wanted = kernel;
    wanted.extend(["busybox-static", "qemu-guest-agent"].map(String::from));
    // The agent's libraries, for a machine that lacks them; libc is everywhere.
    wanted.extend(
        depends("qemu-guest-agent")?.into_iter().filter(|name| name.starts_with("lib") && name != "libc6"),
    );
    let mut command = Command::new("apt-get");
    command.args(["download", "-qq", "-o", "APT::Sandbox::User=root"]).args(&wanted).current_dir(debs);
    if run::output(&mut command).is_err() {
        run::visible(Command::new("apt-get").args(["update", "-qq"]))?;
        run::output(&mut command)?;
    }
    for entry in std::fs::read_dir(debs)? {
        run::output(Command::new("dpkg").arg("-x").arg(entry?.path()).arg(tree))?;
    }
    Ok(())
}

fn kernel_packages() -> Result<Vec<String>> {
    for meta in KERNELS {
        let image = depends(meta)?.into_iter().find(|name| name.starts_with("linux-image-"));
        if let Some(image) = image {
            // Ubuntu packs the modules by themselves.
            let mut found: Vec<_> = depends(&image)?;
            found.retain(|name| name.starts_with("linux-modules-"));
            found.push(image);
            return Ok(found);
        }
    }
    Err(anyhow!("apt knows no kernel among: {}", KERNELS.join(", ")))
}

fn depends(package: &str) -> Result<Vec<String>> {
    let out = Command::new("apt-cache").args(["depends", package]).env("LC_ALL", "C").output();
    let text = out.context("cannot run apt-cache")?.stdout;
    let text = String::from_utf8_lossy(&text);
    Ok(text.lines().filter_map(|line| line.trim().strip_prefix("Depends: ")).map(String::from).collect())
}

/// The kernel and the folder of its modules.
fn kernel(tree: &Path) -> Result<(PathBuf, PathBuf)> {
    let first = |dir: &Path, prefix: &str| {
        let entries = std::fs::read_dir(dir).ok()?;
        let mut paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
        paths.find(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(prefix)))
    };
    let kernel = first(&tree.join("boot"), "vmlinuz-").context("the kernel package has no boot/vmlinuz")?;
    let modules = ["lib/modules", "usr/lib/modules"].iter().find_map(|dir| first(&tree.join(dir), ""));
    Ok((kernel, modules.context("the kernel package has no modules")?))
}

fn initramfs(tree: &Path, modules: &Path) -> Result<Vec<u8>> {
    let mut archive = cpio::Archive::default();
    for folder in ["dev", "proc", "sys", "run", "tmp", "mnt", "var/log", "var/run"] {
        archive.folder(folder)?;
    }
    // The kernel opens it before our first process has mounted anything.
    archive.device("dev/console", 5, 1)?;
    archive.program("init", INIT.as_bytes())?;
    archive.program("etc/acpi/PWRF/00000080", POWER.as_bytes())?;
    archive.program("etc/udhcpc.sh", DHCP.as_bytes())?;
    archive.program("sbin/shutdown", SHUTDOWN.as_bytes())?;
    archive.file("etc/passwd", b"root::0:0:root:/root:/bin/sh\n")?;
    archive.file("etc/group", b"root:x:0:\n")?;

    let busybox = find(tree, &["bin/busybox", "usr/bin/busybox"])?;
    archive.program("bin/busybox", &std::fs::read(&busybox)?)?;
    for applet in run::output(Command::new(&busybox).arg("--list"))?.lines() {
        if applet != "busybox" {
            archive.link(&format!("bin/{applet}"), "/bin/busybox")?;
        }
    }

    let mut order = String::new();
    for (name, data) in modules::load_order(modules, MODULES)? {
        archive.file(&format!("lib/modules/{name}.ko"), &data)?;
        order.push_str(&name);
        order.push('\n');
    }
    archive.file("lib/modules/order", order.as_bytes())?;

    let agent = find(tree, &["usr/sbin/qemu-ga", "usr/bin/qemu-ga"])?;
    archive.program("sbin/qemu-ga", &std::fs::read(&agent)?)?;
    for (name, file) in libraries(tree, &agent)? {
        archive.program(&name, &std::fs::read(&file)?)?;
    }
    archive.finish()
}

fn find(tree: &Path, names: &[&str]) -> Result<PathBuf> {
    let found = names.iter().map(|name| tree.join(name)).find(|path| path.is_file());
    found.with_context(|| format!("the packages hold no {}", names.join(" nor ")))
}

/// Name in the guest and file here of each library that a program needs.
fn libraries(tree: &Path, program: &Path) -> Result<BTreeSet<(String, PathBuf)>> {
    let folders = [tree.join(LIBRARIES), tree.join("usr").join(LIBRARIES)];
    let search = std::env::join_paths(folders)?;
    let text = run::output(Command::new("ldd").arg(program).env("LD_LIBRARY_PATH", search))?;
    linked(&text)
}

/// Reads what `ldd` prints.
fn linked(text: &str) -> Result<BTreeSet<(String, PathBuf)>> {
    let mut found = BTreeSet::new();
    for line in text.lines().map(str::trim) {
        let words: Vec<_> = line.split_whitespace().collect();
        match words.as_slice() {
            [name, "=>", "not", "found"] => bail!("the guest agent's library {name} is missing here"),
            [name, "=>", file, _] => found.insert((format!("{LIBRARIES}/{name}"), PathBuf::from(file))),
            // The dynamic loader is called by its path.
            [file, _] if file.starts_with('/') => {
                found.insert((file.trim_start_matches('/').to_owned(), PathBuf::from(file)))
            }
            _ => continue,
        };
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_go_to_the_guests_search_path_and_the_loader_stays() {
        let text = "\tlinux-vdso.so.1 (0x00007f)\n\tlibm.so.6 => /opt/x/libm.so.6 (0x00007f)\n\
                    \t/lib64/ld-linux-x86-64.so.2 (0x00007f)\n";
        let found: Vec<_> = linked(text).unwrap().into_iter().collect();
        let wanted = [
            ("lib/x86_64-linux-gnu/libm.so.6".to_owned(), PathBuf::from("/opt/x/libm.so.6")),
            ("lib64/ld-linux-x86-64.so.2".to_owned(), PathBuf::from("/lib64/ld-linux-x86-64.so.2")),
        ];
        assert_eq!(found, wanted);
    }

    #[test]
    fn a_missing_library_is_an_error_that_names_it() {
        let error = linked("\tlibnuma.so.1 => not found\n").unwrap_err();
        assert!(error.to_string().contains("libnuma.so.1"));
    }
}
