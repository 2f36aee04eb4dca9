//! Daemons of a user without rights, and the folders that such tests need.
#![allow(dead_code, reason = "each test program uses its part")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use hypervisor_core::Error;
use hypervisor_libvirt::{Libvirt, LibvirtConfig};

const NOBODY: &str = "65534";

/// A folder that goes when the test ends.
pub(crate) struct Folder(pub(crate) PathBuf);

impl Folder {
    pub(crate) fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("hv-{name}-{}", std::process::id()));
        drop(std::fs::remove_dir_all(&folder));
        std::fs::create_dir_all(folder.join("run")).unwrap();
        Self(folder)
    }

    pub(crate) fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    pub(crate) fn program(&self, name: &str, text: &str) -> PathBuf {
        let path = self.file(name, text);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

/// A port that nobody listens on.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

pub(crate) fn run(command: &mut Command) {
    let status = command.status().unwrap_or_else(|error| panic!("{command:?} does not start: {error}"));
    assert!(status.success(), "{command:?} ends with {status}");
}

/// Whether we are root.
pub(crate) fn root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0)
}

/// A program that ends with the value.
pub(crate) struct Server {
    child: Child,
    pub(crate) port: u16,
    pub(crate) folder: Folder,
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

impl Server {
    /// Starts it, and waits until it listens.
    pub(crate) fn start(mut command: Command, port: u16, folder: Folder) -> Self {
        let log = std::fs::File::create(folder.0.join("log")).unwrap();
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn();
        let child = child.unwrap_or_else(|error| panic!("{command:?} does not start: {error}"));
        let server = Self { child, port, folder };
        let deadline = Instant::now() + Duration::from_secs(60);
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(Instant::now() < deadline, "it does not listen: {}", server.log());
            std::thread::park_timeout(Duration::from_millis(20));
        }
        server
    }

    /// A session daemon of a user without rights, with this configuration.
    pub(crate) fn session(folder: Folder, port: u16, config: &str) -> Self {
        let config = folder.file("libvirtd.conf", config);
        let mut command = if root() {
            run(Command::new("chown").args(["-R", NOBODY]).arg(&folder.0));
            let mut command = Command::new("setpriv");
            command.args(["--reuid", NOBODY, "--regid", NOBODY, "--clear-groups", "libvirtd"]);
            command
        } else {
            Command::new("libvirtd")
        };
        command.args(["--listen", "--config"]).arg(config).arg("--pid-file").arg(folder.0.join("pid"));
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap()).env("SASL_CONF_PATH", &folder.0);
        command.env("HOME", &folder.0).env("XDG_RUNTIME_DIR", folder.0.join("run"));
        Self::start(command, port, folder)
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.folder.0.join("log")).unwrap_or_default()
    }
}

pub(crate) async fn refused(config: LibvirtConfig) -> Error {
    match Libvirt::connect(config).await {
        Ok(_) => panic!("the connection is open"),
        Err(error) => error,
    }
}

/// A session daemon that listens on TCP and asks for a password.
pub(crate) fn with_password(user: &str, password: &str) -> Server {
    let (folder, port) = (Folder::new("session"), free_port());
    let at = folder.0.display().to_string();
    let config = format!(
        "listen_tls = 0\nlisten_tcp = 1\nlisten_addr = \"127.0.0.1\"\ntcp_port = \"{port}\"\nauth_tcp = \"sasl\"\n"
    );
    folder.file("libvirt.conf", &format!("mech_list: digest-md5\nsasldb_path: {at}/sasldb\n"));
    let name = Command::new("uname").arg("-n").output().unwrap().stdout;
    let mut account = Command::new("saslpasswd2");
    account.args(["-p", "-c", "-a", "libvirt", "-f"]).arg(folder.0.join("sasldb"));
    account.args(["-u", String::from_utf8(name).unwrap().trim(), user]).stdin(Stdio::piped());
    let mut giving =
        account.spawn().unwrap_or_else(|error| panic!("saslpasswd2 (Debian: sasl2-bin): {error}"));
    std::io::Write::write_all(&mut giving.stdin.take().unwrap(), password.as_bytes()).unwrap();
    assert!(giving.wait().unwrap().success());
    Server::session(folder, port, &config)
}

/// The URI of it, with `user:password@` or nothing.
pub(crate) fn uri_to(daemon: &Server, user: &str) -> String {
    format!("qemu+tcp://{user}127.0.0.1:{}/session", daemon.port)
}

/// All that an error says, to whoever asks.
pub(crate) fn everything(error: &Error) -> String {
    let mut text = format!("{error} {error:?} {error:#?}");
    let mut source = std::error::Error::source(error);
    while let Some(inner) = source {
        text.push_str(&format!(" {inner} {inner:?}"));
        source = inner.source();
    }
    text
}
