//! The private libvirtd's folder, and what is in it.

use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::env::{self, Vars};
use crate::guest::Guest;
use crate::paths;

/// A unix socket's path has 108 bytes at most.
const LONGEST: usize = 100;

/// Our folders, and what libvirt has compiled in for each.
pub(crate) const FOLDERS: &[(&str, &str)] = &[
    ("etc", "/etc/libvirt"),
    ("run", "/run/libvirt"),
    ("lib", "/var/lib/libvirt"),
    ("cache", "/var/cache/libvirt"),
    ("log", "/var/log/libvirt"),
];

/// Tells a folder that we made from one that somebody named by mistake.
const MARK: &str = ".hypervisor-live";

/// QEMU as root, without what containers cannot do; logs straight to files, so that no second daemon is needed.
const QEMU_CONF: &str = "user = \"root\"\ngroup = \"root\"\nsecurity_driver = \"none\"\nnamespaces = []\n\
                         stdio_handler = \"file\"\n";

/// One private libvirtd's folder. Several live side by side.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    dir: PathBuf,
}

impl Place {
    /// The folder that was asked for, or one named `name` below cargo's target folder.
    pub(crate) fn new(dir: Option<&Path>, name: &str) -> Result<Self> {
        let dir = match dir {
            Some(dir) => std::path::absolute(dir)?,
            None => paths::state()?.join("live").join(name),
        };
        let place = Self { dir: short(dir) };
        if place.socket().as_os_str().len() > LONGEST || place.dir.to_str().is_none() {
            bail!("{} is too long for a socket or not UTF-8; give another with --dir", place.dir.display());
        }
        Ok(place)
    }

    /// The folder itself.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Where libvirtd listens.
    pub(crate) fn socket(&self) -> PathBuf {
        self.dir.join("run/libvirt-sock")
    }

    /// What to connect to.
    pub(crate) fn uri(&self) -> String {
        format!("qemu+unix:///system?socket={}", self.socket().display())
    }

    /// libvirtd's own pid file.
    pub(crate) fn libvirtd_pid(&self) -> PathBuf {
        self.dir.join("libvirtd.pid")
    }

    /// The pid of the outermost process, below which all others are.
    pub(crate) fn keeper_pid(&self) -> PathBuf {
        self.dir.join("keeper.pid")
    }

    /// A word to the keeper; it removes the file when it has obeyed.
    pub(crate) fn request(&self) -> PathBuf {
        self.dir.join("request")
    }

    /// What the keeper and libvirtd print.
    pub(crate) fn log(&self) -> PathBuf {
        self.dir.join("keeper.log")
    }

    /// The variables by which tests and examples find all this.
    pub(crate) fn vars(&self, guest: &Guest) -> Result<Vars> {
        let text = |path: &Path| path.display().to_string();
        Ok(vec![
            (env::LIBVIRT_URI, self.uri()),
            (env::KERNEL, text(&guest.kernel)),
            (env::INITRD, text(&guest.initrd)),
            (env::SERIAL_DIR, text(&self.dir.join("serial"))),
            (env::LIBVIRTD_PID_FILE, text(&self.libvirtd_pid())),
            (env::LIVE_DIR, text(&self.dir)),
            (env::XTASK, text(&paths::exe()?)),
        ])
    }

    /// Makes the folders and the configuration.
    pub(crate) fn make(&self) -> Result<()> {
        let below = FOLDERS.iter().map(|(name, _)| *name).chain(["serial", "cgroup"]);
        for name in below {
            let dir = self.dir.join(name);
            fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
        }
        // The daemon does as root what anyone says who reaches its socket.
        fs::set_permissions(&self.dir, fs::Permissions::from_mode(0o700))?;
        let uuid = fs::read_to_string("/proc/sys/kernel/random/uuid").context("cannot make a host uuid")?;
        let libvirtd = format!(
            "auth_unix_rw = \"none\"\nauth_unix_ro = \"none\"\nunix_sock_rw_perms = \"0700\"\n\
             unix_sock_ro_perms = \"0700\"\nhost_uuid = \"{}\"\n",
            uuid.trim()
        );
        fs::write(self.dir.join(MARK), "")?;
        fs::write(self.dir.join("etc/libvirtd.conf"), libvirtd)?;
        fs::write(self.dir.join("etc/qemu.conf"), QEMU_CONF)?;
        Ok(())
    }

    /// Removes everything; refuses where the folder is not one that we made, and where something is mounted below,
    /// which would be removed as well.
    pub(crate) fn remove(&self) -> Result<()> {
        let Ok(mut entries) = fs::read_dir(&self.dir) else { return Ok(()) };
        if entries.next().is_some() && !self.dir.join(MARK).exists() {
            bail!("{} holds other things; give a folder of its own with --dir", self.dir.display());
        }
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let point = |line: &str| line.split(' ').nth(4).map(PathBuf::from);
        if let Some(mount) = mounts.lines().filter_map(point).find(|point| point.starts_with(&self.dir)) {
            bail!("not removing {}: something is mounted at {}", self.dir.display(), mount.display());
        }
        fs::remove_dir_all(&self.dir).with_context(|| format!("cannot remove {}", self.dir.display()))
    }
}

/// The folder, or one in /tmp that stands for it where its path would be too long for a socket.
fn short(dir: PathBuf) -> PathBuf {
    if dir.join("run/libvirt-sock").as_os_str().len() <= LONGEST {
        return dir;
    }
    let mut hasher = DefaultHasher::new();
    dir.hash(&mut hasher);
    PathBuf::from(format!("/tmp/hypervisor-live-{:016x}", hasher.finish()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_path_is_replaced_by_a_short_one_that_stays_the_same() {
        let long = PathBuf::from("/").join("x".repeat(120));
        assert_eq!(short(long.clone()), short(long.clone()));
        assert!(short(long).starts_with("/tmp"));
        assert_eq!(short("/srv/a".into()), PathBuf::from("/srv/a"));
    }

    #[test]
    fn removes_what_it_made_and_nothing_else() {
        let dir = std::env::temp_dir().join(format!("xtask-place-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join("precious"), "x").unwrap();
        let place = Place::new(Some(&dir), "unused").unwrap();
        assert!(place.remove().unwrap_err().to_string().contains("holds other things"));
        assert!(dir.join("precious").exists());
        fs::remove_file(dir.join("precious")).unwrap();
        place.make().unwrap();
        place.remove().unwrap();
        assert!(!dir.exists());
    }

    #[test]
    fn the_uri_names_the_socket() {
        let place = Place::new(Some(Path::new("/srv/a")), "unused").unwrap();
        assert_eq!(place.uri(), "qemu+unix:///system?socket=/srv/a/run/libvirt-sock");
    }
}
