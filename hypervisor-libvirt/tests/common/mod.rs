//! What both test programs share.
#![allow(dead_code, reason = "each test program uses its part")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

pub(crate) mod bench;
pub(crate) mod course;
pub(crate) mod daemon;
pub(crate) mod proxy;
pub(crate) mod session;

use std::time::Duration;

use hypervisor_core::model::{Started, TaskId, TaskState, VmId, VmState};
use hypervisor_core::traits::{Compute, Tasks};
use hypervisor_libvirt::Libvirt;

/// What the environment says, which tests on a real host need. A person may go without, and is told loudly; a machine that
/// vouches for a change may not.
pub(crate) fn needed(test: &str, name: &str) -> Option<String> {
    wanted(test, name, std::env::var(name).ok(), std::env::var_os("CI").is_some_and(|ci| !ci.is_empty()))
}

pub(crate) fn wanted(test: &str, name: &str, value: Option<String>, must: bool) -> Option<String> {
    assert!(value.is_some() || !must, "{test} needs {name}, and with CI set it must not be left out");
    if value.is_none() {
        eprintln!("SKIPPED: {test} needs {name}; `cargo xtask live up` prints it");
    }
    value
}

/// Waits for the task of a call, where it has one.
pub(crate) async fn done<T>(libvirt: &Libvirt, started: Started<T>) -> T {
    if let Some(task) = &started.task {
        ended(libvirt, task).await;
    }
    started.output
}

async fn ended(libvirt: &Libvirt, task: &TaskId) {
    loop {
        let info = libvirt.get_task(task, Some(Duration::from_secs(1))).await.unwrap();
        match info.state {
            TaskState::Succeeded => return,
            TaskState::Queued | TaskState::Running => {}
            other => panic!("the task is {other}: {:?}", info.error),
        }
    }
}

/// Waits for a guest's state.
pub(crate) async fn reaches(libvirt: &Libvirt, vm: &VmId, state: &VmState, limit: Duration) {
    let wait = async {
        while libvirt.get_vm(vm).await.unwrap().state != *state {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    let outcome = tokio::time::timeout(limit, wait).await;
    assert!(outcome.is_ok(), "the guest is not {state} after {limit:?}");
}
