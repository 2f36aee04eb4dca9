//! A daemon that hangs or dies, where `HYPERVISOR_TEST_LIBVIRTD_PID_FILE` says which one may be treated so, and
//! `HYPERVISOR_TEST_XTASK` with `HYPERVISOR_TEST_LIVE_DIR` how it is started again.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

use std::process::Command;
use std::time::{Duration, Instant};

use hypervisor_core::model::{ByteSize, DeleteVm, PageRequest, SerialSpec, VmQuery, VmSpec};
use hypervisor_core::traits::Compute;
use hypervisor_core::{Effect, ErrorKind, Retry};
use hypervisor_libvirt::{Libvirt, LibvirtConfig, OpenConsole};
use tokio::io::AsyncReadExt as _;

const LIMIT: Duration = Duration::from_secs(2);

struct Daemon {
    uri: String,
    pid_file: String,
}

impl Daemon {
    /// `None`, said loudly, where there is no daemon for it.
    fn new(test: &str) -> Option<Self> {
        let variable = |name: &str| std::env::var(name).ok();
        let found =
            variable("HYPERVISOR_TEST_LIBVIRT_URI").zip(variable("HYPERVISOR_TEST_LIBVIRTD_PID_FILE"));
        if found.is_none() {
            eprintln!("SKIPPED: {test} needs a libvirtd that it may stop: HYPERVISOR_TEST_LIBVIRTD_PID_FILE");
        }
        found.map(|(uri, pid_file)| Self { uri, pid_file })
    }

    fn config(&self) -> LibvirtConfig {
        self.uri.parse::<LibvirtConfig>().unwrap().timeout(LIMIT).open_timeout(LIMIT).max_hung_calls(6)
    }

    fn signal(&self, signal: &str) {
        let pid = std::fs::read_to_string(&self.pid_file).unwrap();
        let status = Command::new("kill").arg(signal).arg(pid.trim()).status().unwrap();
        assert!(status.success());
    }

    fn restart(&self) {
        let variable = |name: &str| std::env::var(name).unwrap();
        let mut command = Command::new(variable("HYPERVISOR_TEST_XTASK"));
        let outcome = command
            .args(["live", "restart", "--dir", &variable("HYPERVISOR_TEST_LIVE_DIR")])
            .output()
            .unwrap();
        assert!(outcome.status.success(), "{}", String::from_utf8_lossy(&outcome.stderr));
    }
}

async fn list(libvirt: &Libvirt) -> hypervisor_core::Result<usize> {
    libvirt.list_vms(&VmQuery::all(), &PageRequest::first()).await.map(|page| page.items.len())
}

async fn eventually(libvirt: &Libvirt) {
    for _ in 0..100 {
        match list(libvirt).await {
            Ok(_) => return,
            Err(error) => assert_ne!(error.retry(), Retry::Never, "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("libvirt does not answer again");
}

/// One test: each of these stops the one daemon.
#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_that_hangs_or_dies_hangs_nobody() {
    let Some(daemon) = Daemon::new("a_daemon_that_hangs_or_dies_hangs_nobody") else { return };
    let libvirt = Libvirt::connect(daemon.config()).await.unwrap();
    list(&libvirt).await.unwrap();
    let spec = VmSpec::new("faults-tty").memory(ByteSize::mib(64)).serial(SerialSpec::new()).start(true);
    let vm = libvirt.create_vm(&spec).await.unwrap().output;
    let dropped = libvirt.console_stream(&vm, &OpenConsole::new()).await.unwrap();

    daemon.signal("-STOP");
    let before = Instant::now();
    drop(dropped);
    assert!(before.elapsed() < LIMIT, "a console whose daemon hangs cannot be dropped");
    let calls = futures::future::join_all((0..4).map(|_| list(&libvirt)));
    let before = Instant::now();
    let outcomes = calls.await;
    let after = before.elapsed();
    let late = Libvirt::connect(daemon.config()).await;
    let full = futures::future::join_all((0..6).map(|_| list(&libvirt))).await;
    let refused = Instant::now();
    let exhausted = list(&libvirt).await;
    let at_once = refused.elapsed();
    daemon.signal("-CONT");
    for outcome in outcomes {
        let error = outcome.unwrap_err();
        assert_eq!((error.kind(), error.effect()), (ErrorKind::Timeout, Effect::Unknown), "{error}");
    }
    assert!(after < LIMIT * 2, "{after:?}");
    let error = late.unwrap_err();
    assert_eq!((error.kind(), error.effect()), (ErrorKind::Timeout, Effect::None), "{error}");
    assert!(full.iter().all(Result::is_err));
    // Either all threads are spent, or the next opening hung as well; nothing was sent in both cases.
    let error = exhausted.unwrap_err();
    assert_eq!(error.effect(), Effect::None, "{error}");
    assert!(at_once < LIMIT * 2, "{at_once:?}");
    eventually(&libvirt).await;

    let mut console = libvirt.console_stream(&vm, &OpenConsole::new().take_over(true)).await.unwrap();
    let generation = libvirt.generation();
    daemon.signal("-KILL");
    let before = Instant::now();
    let mut said = Vec::new();
    let over = tokio::time::timeout(LIMIT, console.read_to_end(&mut said)).await;
    assert!(over.expect("the console of a daemon that is gone goes on").is_err());
    let error = list(&libvirt).await.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Transport | ErrorKind::Connect), "{error}");
    assert!(before.elapsed() < LIMIT);
    let error = list(&libvirt).await.unwrap_err();
    assert_eq!((error.kind(), error.retry()), (ErrorKind::Connect, Retry::Safe), "{error}");
    daemon.restart();
    list(&libvirt).await.unwrap();
    assert!(libvirt.generation() > generation);
    let _ = libvirt.delete_vm(&vm, &DeleteVm::with_disks().power_off(true)).await.unwrap();
}
