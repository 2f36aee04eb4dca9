//! A daemon that hangs or dies, each of its own, where `HYPERVISOR_TEST_XTASK` says how to start one.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests fail by panicking"
)]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use common::daemon::Daemon;
use futures::StreamExt as _;
use hypervisor_core::model::*;
use hypervisor_core::traits::*;
use hypervisor_core::{Effect, Error, ErrorKind, Retry};
use hypervisor_libvirt::{Libvirt, LibvirtConfig, OpenConsole};
use tokio::io::AsyncReadExt as _;

const LIMIT: Duration = Duration::from_secs(2);
/// How much later than its deadline a call may end while the machine is busy.
const GRACE: Duration = Duration::from_secs(2);
const LOOPS: usize = 32;
const HUNG: usize = 16;

fn config(daemon: &Daemon) -> LibvirtConfig {
    let config = daemon.uri.parse::<LibvirtConfig>().unwrap();
    config.timeout(LIMIT).slow_timeout(LIMIT).open_timeout(LIMIT)
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

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_that_hangs_or_dies_hangs_nobody() {
    let Some(daemon) = Daemon::up("a_daemon_that_hangs_or_dies_hangs_nobody") else { return };
    let libvirt = Libvirt::connect(config(&daemon).max_hung_calls(6)).await.unwrap();
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
    let late = Libvirt::connect(config(&daemon)).await;
    let full = futures::future::join_all((0..6).map(|_| list(&libvirt))).await;
    let refused = Instant::now();
    let exhausted = list(&libvirt).await;
    let at_once = refused.elapsed();
    daemon.signal("-CONT");
    for outcome in outcomes {
        let error = outcome.unwrap_err();
        assert_eq!((error.kind(), error.effect()), (ErrorKind::Timeout, Effect::Unknown), "{error}");
    }
    assert!(after < LIMIT + GRACE, "{after:?}");
    let error = late.unwrap_err();
    assert_eq!((error.kind(), error.effect()), (ErrorKind::Timeout, Effect::None), "{error}");
    assert!(full.iter().all(Result::is_err));
    // Either all threads are spent, or the next opening hung as well; nothing was sent in both cases.
    let error = exhausted.unwrap_err();
    assert_eq!(error.effect(), Effect::None, "{error}");
    assert!(at_once < LIMIT + GRACE, "{at_once:?}");
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

/// What all loops share.
struct Load {
    libvirt: Libvirt,
    vms: Vec<VmId>,
    stop: AtomicBool,
    done: Vec<AtomicU64>,
    failed: AtomicUsize,
    /// The most threads of the driver that were seen.
    threads: AtomicUsize,
}

impl Load {
    /// One call of a loop. Every fourth loop pauses and resumes a guest of its own.
    async fn call(&self, number: usize, round: u64) -> hypervisor_core::Result<()> {
        let own = &self.vms[number / 4 % self.vms.len()];
        match number % 4 {
            0 => list(&self.libvirt).await.map(drop),
            1 => self.libvirt.get_vm(own).await.map(drop),
            2 => self.libvirt.list_vm_metrics(&PageRequest::first()).await.map(drop),
            _ => {
                let action = if round.is_multiple_of(2) { PowerAction::Pause } else { PowerAction::Resume };
                match self.libvirt.power_vm(own, &action).await {
                    // The call before had its effect, though nobody knew, or another loop was faster.
                    Err(error) if matches!(error.kind(), ErrorKind::InvalidState | ErrorKind::Locked) => {
                        Ok(())
                    }
                    other => other.map(drop),
                }
            }
        }
    }

    async fn run(self: Arc<Self>, number: usize) {
        let mut round = 0;
        while !self.stop.load(Ordering::Acquire) {
            let before = Instant::now();
            let outcome = self.call(number, round).await;
            let after = before.elapsed();
            assert!(after < LIMIT + GRACE, "loop {number} was held for {after:?}: {outcome:?}");
            match outcome {
                Ok(()) => drop(self.done[number].fetch_add(1, Ordering::AcqRel)),
                Err(error) => {
                    self.failed.fetch_add(1, Ordering::AcqRel);
                    check(&error, number % 4 != 3);
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            }
            round += 1;
        }
    }

    /// Every loop has had an answer since.
    async fn recovers(&self) {
        let before: Vec<_> = self.done.iter().map(|done| done.load(Ordering::Acquire)).collect();
        let waiting = Instant::now();
        let goes_on = |(done, before): (&AtomicU64, &u64)| done.load(Ordering::Acquire) > *before;
        while !self.done.iter().zip(&before).all(goes_on) {
            assert!(
                waiting.elapsed() < Duration::from_secs(10),
                "a loop gets no answers: {:?}",
                self.libvirt
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// Each error is of the right kind, and says whether the call may have had an effect.
fn check(error: &Error, reads: bool) {
    let unsent = (Effect::None, Retry::Safe);
    let sent = (error.effect(), error.retry());
    match error.kind() {
        ErrorKind::Connect | ErrorKind::Exhausted => assert_eq!(sent, unsent, "{error:?}"),
        ErrorKind::Timeout | ErrorKind::Transport => {
            assert!(sent == unsent || sent == (Effect::Unknown, Retry::IfIdempotent), "{error:?}");
        }
        _ => panic!("a call failed as {}: {error:?}", error.kind()),
    }
    assert!(error.operation().is_some() && error.backend() == Some("libvirt"), "{error:?}");
    assert!(!reads || error.retry() != Retry::Never, "{error:?}");
}

/// How many threads the driver has for calls.
fn threads() -> usize {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    let names = tasks.filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("comm")).ok());
    names.filter(|name| name.trim() == "hv-libvirt").count()
}

/// Reads up to the gap. What comes before it is an ordinary event.
async fn gap(events: &mut EventStream) -> String {
    let reading = async {
        loop {
            if let EventKind::Resync { reason } = events.next().await.unwrap().unwrap().kind {
                return reason;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(10), reading).await.unwrap_or_else(|_| panic!("no gap was told"))
}

/// A new guest is told: the events come again. Another connection makes it, which has more patience.
async fn is_told(libvirt: &Libvirt, events: &mut EventStream, name: &str) {
    let vm = libvirt.create_vm(&VmSpec::new(name).memory(ByteSize::mib(64))).await.unwrap().output;
    let created = EventKind::VmCreated(vm.clone());
    let reading = async { while events.next().await.unwrap().unwrap().kind != created {} };
    tokio::time::timeout(Duration::from_secs(10), reading).await.unwrap();
    let _ = libvirt.delete_vm(&vm, &DeleteVm::with_disks()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn under_load_a_daemon_hangs_and_dies_and_all_goes_on() {
    let Some(daemon) = Daemon::up("under_load_a_daemon_hangs_and_dies_and_all_goes_on") else { return };
    let libvirt = Libvirt::connect(config(&daemon).max_hung_calls(HUNG)).await.unwrap();
    let patient = Libvirt::connect(daemon.uri.parse().unwrap()).await.unwrap();
    let mut vms = Vec::new();
    for number in 0..4 {
        let spec = VmSpec::new(format!("load-{number}")).memory(ByteSize::mib(32)).cpu_model("qemu64");
        vms.push(patient.create_vm(&spec.start(true)).await.unwrap().output);
    }
    let mut events = libvirt.watch(&EventQuery::all()).await.unwrap();
    let load = Arc::new(Load {
        libvirt,
        vms,
        stop: AtomicBool::new(false),
        done: (0..LOOPS).map(|_| AtomicU64::new(0)).collect(),
        failed: AtomicUsize::new(0),
        threads: AtomicUsize::new(0),
    });
    let loops: Vec<_> = (0..LOOPS).map(|number| tokio::spawn(Arc::clone(&load).run(number))).collect();
    let counted = Arc::clone(&load);
    let counter = tokio::spawn(async move {
        while !counted.stop.load(Ordering::Acquire) {
            counted.threads.fetch_max(threads(), Ordering::AcqRel);
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    load.recovers().await;

    daemon.signal("-STOP");
    tokio::time::sleep(LIMIT * 2 + Duration::from_millis(500)).await;
    assert!(load.failed.load(Ordering::Acquire) >= LOOPS, "all loops were refused or gave up");
    daemon.signal("-CONT");
    load.recovers().await;
    let reason = gap(&mut events).await;
    assert!(reason.contains("lost"), "{reason}");
    is_told(&patient, &mut events, "after-a-stop").await;

    daemon.signal("-KILL");
    tokio::time::sleep(Duration::from_millis(500)).await;
    daemon.restart();
    load.recovers().await;
    gap(&mut events).await;
    is_told(&patient, &mut events, "after-a-death").await;

    load.stop.store(true, Ordering::Release);
    for ended in loops {
        ended.await.unwrap();
    }
    counter.await.unwrap();
    // A thread for each connection that is being closed comes on top.
    let most = load.threads.load(Ordering::Acquire);
    assert!(most <= HUNG + 8, "{most} threads");
    for vm in &load.vms {
        assert!(patient.get_vm(vm).await.unwrap().state.is_active(), "guests live on");
        let _ = patient.delete_vm(vm, &DeleteVm::with_disks().power_off(true)).await.unwrap();
    }
    let shown = format!("{:?}", load.libvirt);
    assert!(shown.contains("abandoned: 0"), "{shown}");
}
