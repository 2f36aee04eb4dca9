//! Writes the archive that the kernel unpacks as its first file system: cpio in the "newc" format.
//!
//! Uncompressed on purpose: under emulation the guest's kernel would spend longer unpacking than QEMU spends loading.

use std::collections::BTreeSet;

use anyhow::{Context, Result};

const DIRECTORY: u32 = 0o040_000;
const REGULAR: u32 = 0o100_000;
const SYMLINK: u32 = 0o120_000;
const CHARACTER_DEVICE: u32 = 0o020_000;

/// An archive in the making. Names are paths from the root, without a leading `/`; folders above them are added.
#[derive(Debug, Default)]
pub(crate) struct Archive {
    bytes: Vec<u8>,
    folders: BTreeSet<String>,
    entries: u32,
}

impl Archive {
    /// A folder, with those above it.
    pub(crate) fn folder(&mut self, name: &str) -> Result<()> {
        self.folders_above(name)?;
        if self.folders.insert(name.to_owned()) {
            self.entry(name, DIRECTORY | 0o755, (0, 0), &[])?;
        }
        Ok(())
    }

    /// A file that only has to be read.
    pub(crate) fn file(&mut self, name: &str, data: &[u8]) -> Result<()> {
        self.folders_above(name)?;
        self.entry(name, REGULAR | 0o644, (0, 0), data)
    }

    /// A file that can be run.
    pub(crate) fn program(&mut self, name: &str, data: &[u8]) -> Result<()> {
        self.folders_above(name)?;
        self.entry(name, REGULAR | 0o755, (0, 0), data)
    }

    /// A symbolic link.
    pub(crate) fn link(&mut self, name: &str, to: &str) -> Result<()> {
        self.folders_above(name)?;
        self.entry(name, SYMLINK | 0o777, (0, 0), to.as_bytes())
    }

    /// A character device.
    pub(crate) fn device(&mut self, name: &str, major: u32, minor: u32) -> Result<()> {
        self.folders_above(name)?;
        self.entry(name, CHARACTER_DEVICE | 0o600, (major, minor), &[])
    }

    /// The finished archive.
    pub(crate) fn finish(mut self) -> Result<Vec<u8>> {
        self.entry("TRAILER!!!", 0, (0, 0), &[])?;
        Ok(self.bytes)
    }

    fn folders_above(&mut self, name: &str) -> Result<()> {
        match name.rsplit_once('/') {
            Some((above, _)) => self.folder(above),
            None => Ok(()),
        }
    }

    fn entry(&mut self, name: &str, mode: u32, device: (u32, u32), data: &[u8]) -> Result<()> {
        let size = u32::try_from(data.len()).with_context(|| format!("{name} is too large for cpio"))?;
        let name_size =
            u32::try_from(name.len() + 1).with_context(|| format!("{name} is too long a name"))?;
        self.entries += 1;
        let links = if mode & DIRECTORY == DIRECTORY { 2 } else { 1 };
        // Inode, mode, owner, group, links, time, size, device of the file, device it stands for, name's size, sum.
        let fields = [self.entries, mode, 0, 0, links, 0, size, 0, 0, device.0, device.1, name_size, 0];
        self.bytes.extend_from_slice(b"070701");
        for field in fields {
            self.bytes.extend_from_slice(format!("{field:08x}").as_bytes());
        }
        self.bytes.extend_from_slice(name.as_bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend_from_slice(data);
        self.pad();
        Ok(())
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Name, mode and data of each entry, read by the format's own rules.
    fn read(bytes: &[u8]) -> Vec<(String, u32, Vec<u8>)> {
        let mut entries = Vec::new();
        let mut at = 0;
        while at < bytes.len() {
            assert_eq!(&bytes[at..at + 6], b"070701");
            let field = |n: usize| {
                let start = at + 6 + 8 * n;
                u32::from_str_radix(std::str::from_utf8(&bytes[start..start + 8]).unwrap(), 16).unwrap()
            };
            let (mode, size, name_size) = (field(1), field(6) as usize, field(11) as usize);
            let name_at = at + 110;
            let name = String::from_utf8(bytes[name_at..name_at + name_size - 1].to_vec()).unwrap();
            let data_at = (name_at + name_size).next_multiple_of(4);
            entries.push((name, mode, bytes[data_at..data_at + size].to_vec()));
            at = (data_at + size).next_multiple_of(4);
        }
        entries
    }

    #[test]
    fn entries_come_back_with_their_folders_in_order() {
        let mut archive = Archive::default();
        archive.program("init", b"#!/bin/sh\n").unwrap();
        archive.file("lib/modules/a.ko", b"12345").unwrap();
        archive.link("bin/sh", "/bin/busybox").unwrap();
        archive.file("lib/modules/b.ko", b"").unwrap();
        archive.device("dev/console", 5, 1).unwrap();
        let bytes = archive.finish().unwrap();
        assert_eq!(bytes.len() % 4, 0);
        let entries = read(&bytes);
        let names: Vec<_> = entries.iter().map(|(name, ..)| name.as_str()).collect();
        let wanted = [
            "init",
            "lib",
            "lib/modules",
            "lib/modules/a.ko",
            "bin",
            "bin/sh",
            "lib/modules/b.ko",
            "dev",
            "dev/console",
            "TRAILER!!!",
        ];
        assert_eq!(names, wanted);
        assert_eq!(entries[0].1, 0o100_755);
        assert_eq!(entries[3].2, b"12345");
        assert_eq!((entries[5].1, entries[5].2.as_slice()), (0o120_777, b"/bin/busybox".as_slice()));
        assert_eq!(entries[8].1, 0o020_600);
    }
}
