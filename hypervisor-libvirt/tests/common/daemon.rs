//! A libvirtd that may be stopped and killed, because nobody else uses it.
#![allow(dead_code, reason = "each test program uses its part")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

use std::path::PathBuf;
use std::process::Command;

const XTASK: &str = "HYPERVISOR_TEST_XTASK";

/// It ends with this.
pub(crate) struct Daemon {
    xtask: String,
    folder: PathBuf,
    pub(crate) uri: String,
    pid_file: String,
}

impl Daemon {
    /// `None` where nothing says how to start one, as [`super::needed`] says.
    pub(crate) fn up(test: &str) -> Option<Self> {
        let xtask = super::needed(test, XTASK)?;
        // A short path: that of its socket may have a hundred characters or so.
        let number = uuid::Uuid::new_v4().simple().to_string();
        let folder = std::env::temp_dir().join(format!("hvl-{}", number.get(..8).unwrap()));
        let mut daemon = Self { xtask, folder, uri: String::new(), pid_file: String::new() };
        let told = daemon.live("up");
        let value = |name: &str| {
            let line = told.lines().find_map(|line| line.strip_prefix(&format!("export {name}=")));
            line.map(|value| value.trim_matches('\'').to_owned())
                .unwrap_or_else(|| panic!("no {name} in {told}"))
        };
        daemon.uri = value("HYPERVISOR_TEST_LIBVIRT_URI");
        daemon.pid_file = value("HYPERVISOR_TEST_LIBVIRTD_PID_FILE");
        Some(daemon)
    }

    /// Sends a signal to it, `-STOP`.
    pub(crate) fn signal(&self, signal: &str) {
        let pid = std::fs::read_to_string(&self.pid_file).unwrap();
        let status = Command::new("kill").arg(signal).arg(pid.trim()).status().unwrap();
        assert!(status.success(), "kill {signal} {pid}");
    }

    /// Starts it again; its guests have gone on running.
    pub(crate) fn restart(&self) {
        self.live("restart");
    }

    fn live(&self, verb: &str) -> String {
        let output =
            Command::new(&self.xtask).args(["live", verb, "--dir"]).arg(&self.folder).output().unwrap();
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "xtask live {verb}: {told}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // Not `live`, which panics: this may run because of a panic.
        let down = Command::new(&self.xtask).args(["live", "down", "--dir"]).arg(&self.folder).output();
        if !down.is_ok_and(|down| down.status.success()) {
            eprintln!("the libvirtd in {} could not be ended", self.folder.display());
        }
    }
}
