//! A PostgreSQL for a test.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A server of the test's own, gone with it.
pub(crate) struct Server {
    folder: tempfile::TempDir,
    bin: PathBuf,
    pub(crate) url: String,
    as_root: bool,
}

fn run(program: &Path, arguments: &[&str], as_root: bool) -> bool {
    let mut command = if as_root {
        // PostgreSQL refuses to run as root.
        let mut command = Command::new("runuser");
        command.args(["-u", "postgres", "--"]).arg(program);
        command
    } else {
        Command::new(program)
    };
    command.args(arguments).stdout(Stdio::null()).stderr(Stdio::null()).stdin(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

impl Server {
    fn start() -> Option<Self> {
        let versions = std::fs::read_dir("/usr/lib/postgresql").ok()?;
        let bin = versions.filter_map(Result::ok).map(|entry| entry.path().join("bin")).max()?;
        let as_root =
            Command::new("id").arg("-u").output().ok().is_some_and(|id| id.stdout.starts_with(b"0\n"));
        let folder = tempfile::Builder::new().prefix("hvg-pg-").tempdir().ok()?;
        if as_root {
            Command::new("chown").args(["postgres", folder.path().to_str()?]).status().ok()?;
        }
        let data = folder.path().join("data");
        let (data, here) = (data.to_str()?, folder.path().to_str()?);
        if !run(&bin.join("initdb"), &["-D", data, "-U", "postgres", "-A", "trust", "-N"], as_root) {
            return None;
        }
        let options =
            format!("-c listen_addresses=127.0.0.1 -c unix_socket_directories={here} -c fsync=off -p ");
        // A port that was free a moment ago; another is tried where somebody was faster.
        for _ in 0..5 {
            let port = std::net::TcpListener::bind("127.0.0.1:0").ok()?.local_addr().ok()?.port();
            let log = folder.path().join("log");
            let options = format!("{options}{port}");
            let arguments = ["-D", data, "-w", "-l", log.to_str()?, "-o", &options, "start"];
            if run(&bin.join("pg_ctl"), &arguments, as_root) {
                let url = format!("postgres://postgres@127.0.0.1:{port}/postgres");
                return Some(Self { folder, bin, url, as_root });
            }
        }
        None
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let data = self.folder.path().join("data");
        run(
            &self.bin.join("pg_ctl"),
            &["-D", &data.to_string_lossy(), "-m", "immediate", "stop"],
            self.as_root,
        );
    }
}

/// The database's URL, and whatever has to live as long as it.
pub(crate) fn database() -> Option<(String, Option<Server>)> {
    if let Ok(url) = std::env::var("HYPERVISOR_TEST_POSTGRES_URL") {
        return Some((url, None));
    }
    match Server::start() {
        Some(server) => Some((server.url.clone(), Some(server))),
        None => {
            let why =
                "no PostgreSQL: install Debian's package `postgresql`, or set HYPERVISOR_TEST_POSTGRES_URL";
            assert!(std::env::var_os("CI").is_none(), "{why}");
            eprintln!("\nSKIPPED: {why}\n");
            None
        }
    }
}
