//! A libvirtd that hangs and one that dies, under a connection in use. Each test has a daemon of its own, so that the other cases, which
//! run at the same time, notice nothing.

use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hypervisor::layer::{RetryPolicy, Stack};
use hypervisor::model::PageRequest;
use hypervisor::{ByteSize, DeleteVm, ErrorKind, Hypervisor, Result, Retry, VmId, VmQuery, VmSpec, VmState};
use libtest_mimic::{Completion, Failed, Trial};
use tempfile::TempDir;

const XTASK: &str = "HYPERVISOR_TEST_XTASK";

/// How long a call may take, and how much later than that its error may come.
const DEADLINE: Duration = Duration::from_secs(3);
const GRACE: Duration = Duration::from_secs(2);

pub(crate) fn trials() -> [Trial; 2] {
    [
        Trial::ignorable_test("libvirt-faults::a_daemon_that_hangs", || {
            trial("-STOP", &[ErrorKind::Timeout])
        }),
        // A call on its way when the daemon dies, and one made after it.
        Trial::ignorable_test("libvirt-faults::a_daemon_that_dies", || {
            trial("-KILL", &[ErrorKind::Connect, ErrorKind::Transport, ErrorKind::HostUnreachable])
        }),
    ]
}

fn trial(signal: &str, kinds: &[ErrorKind]) -> std::result::Result<Completion, Failed> {
    let Ok(xtask) = std::env::var(XTASK) else {
        return Ok(Completion::ignored_with(format!(
            "{XTASK} not set: it starts the libvirtd that is to fail"
        )));
    };
    let daemon = Daemon::up(xtask);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().worker_threads(1).build()?;
    runtime.block_on(fail_and_recover(&daemon, signal, kinds))?;
    Ok(Completion::Completed)
}

async fn fail_and_recover(daemon: &Daemon, signal: &str, kinds: &[ErrorKind]) -> Result<()> {
    let bare = hypervisor::connect_bare(&daemon.uri).await?;
    let impatient = Stack::new(Arc::clone(&bare)).timeout(DEADLINE).build();
    let vm =
        impatient.create_vm(&VmSpec::new("survivor").memory(ByteSize::mib(64)).start(true)).await?.output;
    assert_eq!(states(&bare).await?, [(vm.clone(), VmState::Running)]);

    daemon.signal(signal);
    let begun = Instant::now();
    let error = states(&impatient).await.expect_err("the daemon answers though it is stopped");
    let took = begun.elapsed();
    assert!(took < DEADLINE + GRACE, "the error came after {took:?}: {error}");
    assert!(kinds.contains(&error.kind()), "{kinds:?} expected, but came: {error:?}");
    assert_ne!(error.retry(), Retry::Never, "a list may be asked for again: {error:?}");

    daemon.restart();
    let steady = Stack::new(bare).retry(RetryPolicy::new()).build();
    assert_eq!(states(&steady).await?, [(vm.clone(), VmState::Running)], "the guest has lived on");
    drop(steady.delete_vm(&vm, &DeleteVm::with_disks().power_off(true)).await?);
    assert_eq!(states(&steady).await?, []);
    Ok(())
}

async fn states(hv: &Arc<dyn Hypervisor>) -> Result<Vec<(VmId, VmState)>> {
    let page = hv.list_vms(&VmQuery::all(), &PageRequest::first()).await?;
    Ok(page.items.into_iter().map(|vm| (vm.id, vm.state)).collect())
}

/// A libvirtd that nobody else uses; ends with this.
struct Daemon {
    xtask: String,
    folder: TempDir,
    uri: String,
    pid_file: String,
}

impl Daemon {
    fn up(xtask: String) -> Self {
        // A short path: that of its socket may have a hundred characters or so.
        let folder = tempfile::Builder::new().prefix("hvf").tempdir().expect("a folder");
        let mut daemon = Self { xtask, folder, uri: String::new(), pid_file: String::new() };
        let told = daemon.live("up");
        let value = |name: &str| {
            let line = told.lines().find_map(|line| line.strip_prefix(&format!("export {name}=")));
            line.map(|value| value.trim_matches('\'').to_owned())
                .unwrap_or_else(|| panic!("no {name} in {told}"))
        };
        let (uri, pid_file) =
            (value("HYPERVISOR_TEST_LIBVIRT_URI"), value("HYPERVISOR_TEST_LIBVIRTD_PID_FILE"));
        (daemon.uri, daemon.pid_file) = (uri, pid_file);
        daemon
    }

    fn restart(&self) {
        self.live("restart");
    }

    fn live(&self, verb: &str) -> String {
        let folder = self.folder.path().join("d");
        let output = Command::new(&self.xtask).args(["live", verb, "--dir"]).arg(folder).output();
        let output = output.expect("xtask can be run");
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "xtask live {verb}: {told}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    fn signal(&self, signal: &str) {
        let pid = std::fs::read_to_string(&self.pid_file).expect("the daemon's process id");
        let status = Command::new("kill").args([signal, pid.trim()]).status().expect("kill can be run");
        assert!(status.success(), "kill {signal} {pid}");
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // Not `live`, which panics: this may run because of a panic.
        let folder = self.folder.path().join("d");
        let down = Command::new(&self.xtask).args(["live", "down", "--dir"]).arg(folder).output();
        if !down.is_ok_and(|down| down.status.success()) {
            eprintln!("the libvirtd in {} could not be ended", self.folder.path().display());
        }
    }
}
