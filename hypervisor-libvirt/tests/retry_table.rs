//! The table of what happens after a fault, cell by cell, against a libvirtd of its own that is killed, stopped and cut off.
//!
//! A proxy before its socket knows when the call in question is on its way; at that moment the daemon is killed, or the connection is cut.
//! It runs where `HYPERVISOR_TEST_XTASK` says how to start a daemon.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

mod common;

use std::path::Path;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use common::daemon::Daemon;
use common::proxy::{ALL_DOMAIN_STATS, DOMAIN_CREATE, DOMAIN_DEFINE_XML, DOMAIN_UNDEFINE_FLAGS, Harm, Proxy};
use hypervisor_core::layer::{Fault, Layered, Repeated, RetryPolicy, Semantics};
use hypervisor_core::model::*;
use hypervisor_core::{Effect, Error, ErrorKind, Hypervisor, OperationClass as Class, Result, Retry};
use hypervisor_libvirt::Libvirt;
use libtest_mimic::{Arguments, Completion, Failed, Trial};

/// How long a call to a stopped daemon may take.
const SHORT: Duration = Duration::from_secs(2);
const CLASSES: [Class; 4] = [Class::Read, Class::IdempotentWrite, Class::Create, Class::Action];

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    // One daemon, which is killed all the time.
    arguments.test_threads = Some(1);
    let daemon = if arguments.list { None } else { Daemon::up("the retry table") };
    let daemon = daemon.map(|daemon| Arc::new(Mutex::new(daemon)));
    let mut trials = Vec::new();
    for fault in Fault::ALL {
        if let Some(why) = never(fault) {
            let told = format!("libvirt never: {why}");
            trials.push(Trial::ignorable_test(format!("{fault:?}"), move || {
                Ok(Completion::ignored_with(told))
            }));
            continue;
        }
        for class in CLASSES {
            let cell = Semantics::of(class, fault);
            let daemon = daemon.clone();
            trials.push(Trial::ignorable_test(format!("{class:?} × {fault:?}"), move || {
                run(cell, false, daemon.as_ref())
            }));
        }
        // A delete is one call, and no task of libvirt's driver.
        if fault != Fault::TaskFailed {
            let (cell, daemon) = (Semantics::of_delete(fault), daemon.clone());
            trials.push(Trial::ignorable_test(format!("DeleteVm × {fault:?}"), move || {
                run(cell, true, daemon.as_ref())
            }));
        }
    }
    let conclusion = libtest_mimic::run(&arguments, trials);
    drop(daemon);
    conclusion.exit_code()
}

/// Why libvirt knows no such fault.
fn never(fault: Fault) -> Option<&'static str> {
    match fault {
        Fault::RateLimited => Some("it asks nobody for fewer calls"),
        Fault::Unavailable => Some("no proxy stands before the daemon that could answer in its place"),
        Fault::SessionExpired => {
            Some("a connection proves who it is when it is opened, and is good until it is closed")
        }
        Fault::HostOffline => Some("a daemon is its host; one that a guest is to move to fails the task"),
        _ => None,
    }
}

fn run(
    cell: Semantics,
    deletes: bool,
    daemon: Option<&Arc<Mutex<Daemon>>>,
) -> std::result::Result<Completion, Failed> {
    let Some(daemon) = daemon else {
        return Ok(Completion::ignored_with("needs HYPERVISOR_TEST_XTASK; `cargo xtask live up` prints it"));
    };
    if (cell.fault, cell.class) == (Fault::TaskFailed, Class::Read) {
        return Ok(Completion::ignored_with("no call that only reads begins a task"));
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let verdict = runtime.block_on(async {
        match cell.fault {
            Fault::TaskFailed => task_failed(cell, daemon).await,
            _ => lost(cell, deletes, daemon).await,
        }
    });
    verdict.map(|()| Completion::Completed).map_err(Failed::from)
}

fn lock(daemon: &Arc<Mutex<Daemon>>) -> MutexGuard<'_, Daemon> {
    daemon.lock().unwrap_or_else(PoisonError::into_inner)
}

type Verdict = std::result::Result<(), String>;

/// A daemon, a proxy before it, a driver through the proxy that is harmed, and one to the daemon itself that makes ready and cleans up.
struct Scene {
    cell: Semantics,
    /// Whether the call is the delete of a guest.
    deletes: bool,
    daemon: Arc<Mutex<Daemon>>,
    /// What lets a stopped daemon go on: left alone, it would do so to the next one that is stopped.
    waker: Mutex<Option<std::thread::JoinHandle<()>>>,
    proxy: Proxy,
    driver: Arc<dyn Hypervisor>,
    patient: Arc<dyn Hypervisor>,
}

impl Scene {
    async fn new(cell: Semantics, deletes: bool, daemon: &Arc<Mutex<Daemon>>) -> Self {
        let uri = lock(daemon).uri.clone();
        let own = Libvirt::connect(uri.parse().unwrap()).await.unwrap();
        // It has lost its connections, too, when the daemon was killed.
        let patient: Arc<dyn Hypervisor> = Arc::new(Layered::new(Arc::new(own), RetryPolicy::new()));
        let proxy = Proxy::before(&uri);
        let limit = if cell.fault == Fault::Silent {
            "?hv_timeout=2s&hv_open_timeout=2s&hv_slow_timeout=2s&"
        } else {
            "?"
        };
        let uri = proxy.uri().replace('?', limit);
        let driver: Arc<dyn Hypervisor> = Arc::new(Libvirt::connect(uri.parse().unwrap()).await.unwrap());
        if deletes {
            // A delete has a connection of its own, which is to be open before anything happens.
            driver.list_backups(&BackupQuery::all(), &PageRequest::first()).await.unwrap();
        }
        Self { cell, deletes, daemon: Arc::clone(daemon), waker: Mutex::default(), proxy, driver, patient }
    }

    /// Brings the fault about; what is to end it by itself comes back as a thread.
    async fn strike(&self, ends: bool) {
        let daemon = Arc::clone(&self.daemon);
        let kill = move || {
            let own = Arc::clone(&daemon);
            lock(&daemon).signal("-KILL");
            if ends {
                std::thread::spawn(move || lock(&own).restart());
            }
        };
        let procedure: &[u32] = match self.cell.class {
            Class::Read => &[ALL_DOMAIN_STATS],
            _ if self.deletes => &[DOMAIN_UNDEFINE_FLAGS],
            Class::Action => &[DOMAIN_CREATE],
            _ => &[DOMAIN_DEFINE_XML],
        };
        match self.cell.fault {
            Fault::CutBefore => self.proxy.arm(Harm::CutBefore, procedure, kill),
            Fault::CutAfter => self.proxy.arm(Harm::CutAfter, procedure, kill),
            Fault::Truncated => self.proxy.arm(Harm::Truncate, procedure, || {}),
            Fault::Silent => {
                lock(&self.daemon).signal("-STOP");
                if ends {
                    let daemon = Arc::clone(&self.daemon);
                    let waker = std::thread::spawn(move || {
                        std::thread::park_timeout(SHORT + Duration::from_millis(500));
                        lock(&daemon).signal("-CONT");
                    });
                    *self.waker.lock().unwrap() = Some(waker);
                }
            }
            // Refused, which is down before the call, and known to be.
            _ => {
                lock(&self.daemon).signal("-KILL");
                while look(self.driver.as_ref())
                    .await
                    .map_or_else(|error| error.kind(), |()| ErrorKind::Backend)
                    != ErrorKind::Connect
                {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                if ends {
                    let daemon = Arc::clone(&self.daemon);
                    std::thread::spawn(move || {
                        std::thread::park_timeout(Duration::from_millis(300));
                        lock(&daemon).restart();
                    });
                }
            }
        }
    }

    /// As it was before.
    async fn mend(&self) {
        self.proxy.disarm();
        match self.cell.fault {
            Fault::Silent => {
                if let Some(waker) = self.waker.lock().unwrap().take() {
                    waker.thread().unpark();
                    waker.join().unwrap();
                }
                lock(&self.daemon).signal("-CONT");
            }
            Fault::Truncated => {}
            _ => lock(&self.daemon).restart(),
        }
        for _ in 0..100 {
            if look(self.patient.as_ref()).await.is_ok() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("the daemon does not answer again");
    }

    async fn prepare(&self, spec: &VmSpec) -> Result<Option<VmId>> {
        if self.cell.class == Class::Create {
            return Ok(None);
        }
        let mut spec = spec.clone();
        spec.client_token.get_or_insert_with(|| format!("prepare-{}", spec.name));
        Ok(Some(self.patient.create_vm(&spec).await?.output))
    }

    async fn call(&self, hv: &dyn Hypervisor, vm: Option<&VmId>, spec: &VmSpec) -> Result<()> {
        match (self.cell.class, vm) {
            (_, Some(vm)) if self.deletes => hv.delete_vm(vm, &DeleteVm::with_disks()).await.map(drop),
            (Class::Read, _) => look(hv).await,
            (Class::IdempotentWrite, Some(vm)) => hv.update_vm(vm, &VmChange::new().cpus(2)).await.map(drop),
            (Class::Action, Some(vm)) => hv.power_vm(vm, &PowerAction::Start).await.map(drop),
            _ => hv.create_vm(spec).await.map(drop),
        }
    }

    async fn named(&self, name: &str) -> Result<Vec<VmInfo>> {
        let all = self.patient.list_vms(&VmQuery::all(), &PageRequest::first()).await?.items;
        Ok(all.into_iter().filter(|vm| vm.name == name).collect())
    }

    async fn clean(&self, name: &str) -> Result<()> {
        for vm in self.named(name).await? {
            match self.patient.delete_vm(&vm.id, &DeleteVm::with_disks().power_off(true)).await {
                // A daemon that was stopped may carry a delete out only now.
                Err(error) if error.is_not_found() => {}
                other => drop(other?),
            }
        }
        Ok(())
    }
}

async fn look(hv: &dyn Hypervisor) -> Result<()> {
    hv.list_vms(&VmQuery::all(), &PageRequest::first()).await.map(drop)
}

fn idle(name: &str) -> VmSpec {
    VmSpec::new(name).memory(ByteSize::mib(32)).cpu_model("qemu64")
}

fn set_up(error: Error) -> String {
    format!("the case could not be set up: {error}")
}

/// A call whose connection breaks or whose answer does not come.
async fn lost(cell: Semantics, deletes: bool, daemon: &Arc<Mutex<Daemon>>) -> Verdict {
    let scene = Scene::new(cell, deletes, daemon).await;
    // Once: what the error says. A layer that repeats nothing lets it through, and knows that reads have no effect.
    let spec = idle("cell-once");
    let vm = scene.prepare(&spec).await.map_err(set_up)?;
    let once = Layered::new(Arc::clone(&scene.driver), RetryPolicy::new().max_attempts(1));
    scene.strike(false).await;
    let outcome = scene.call(&once, vm.as_ref(), &spec).await;
    scene.mend().await;
    let verdict = outcome.map_or_else(
        |error| judge(cell, &error),
        |()| Err("the call succeeded although it was harmed".into()),
    );
    let done = happened(&scene, vm.as_ref(), "cell-once").await;
    scene.clean("cell-once").await.map_err(set_up)?;
    verdict.and(done)?;

    // And again with retries, while the daemon comes back by itself.
    let spec = idle("cell-again").client_token("cell-again");
    let vm = scene.prepare(&spec).await.map_err(set_up)?;
    let policy =
        RetryPolicy::new().max_attempts(60).delay(Duration::from_millis(100), Duration::from_millis(300));
    let retrying = Layered::new(Arc::clone(&scene.driver), policy);
    scene.strike(true).await;
    let outcome = scene.call(&retrying, vm.as_ref(), &spec).await;
    scene.mend().await;
    let verdict = match (&outcome, cell.repeated) {
        (Ok(()), Repeated::Yes | Repeated::AfterLook | Repeated::SameGuest) | (Err(_), Repeated::No) => {
            Ok(())
        }
        (Ok(()), _) => Err("it was repeated, which the table forbids".to_owned()),
        (Err(error), _) => Err(format!("it was not repeated to success: {error:?}")),
    };
    let copies = scene.named("cell-again").await.map_err(set_up)?.len();
    scene.clean("cell-again").await.map_err(set_up)?;
    verdict?;
    let wanted = usize::from(!deletes && (cell.class != Class::Read || vm.is_some()));
    if copies == wanted {
        Ok(())
    } else {
        Err(format!("there are {copies} guests of the name, not {wanted}"))
    }
}

fn judge(cell: Semantics, error: &Error) -> Verdict {
    let kinds = cell.fault.kinds();
    if !kinds.contains(&error.kind()) {
        return Err(format!("the error's kind is `{}`, which is none of {kinds:?}: {error:?}", error.kind()));
    }
    if error.effect() != cell.effect {
        return Err(format!(
            "the error says {:?} where the table says {:?}: {error:?}",
            error.effect(),
            cell.effect
        ));
    }
    if cell.effect != Effect::None && error.retry() == Retry::Safe {
        return Err(format!("the error says that a repetition is safe: {error:?}"));
    }
    Ok(())
}

/// Whether the call has had its effect where the fault came after it, and none where it came before: else the cell tests something else.
async fn happened(scene: &Scene, vm: Option<&VmId>, name: &str) -> Verdict {
    let expected = match scene.cell.fault {
        // An update is several calls, the first of which goes unanswered; so is a delete.
        Fault::Silent if scene.cell.class == Class::IdempotentWrite => return Ok(()),
        Fault::CutAfter | Fault::Truncated | Fault::Silent => true,
        Fault::CutBefore | Fault::Refused => false,
        _ => return Ok(()),
    };
    let mut is = expected;
    // A daemon that was stopped carries the call out when it goes on.
    for _ in 0..100 {
        is = match (scene.cell.class, vm) {
            (_, Some(_)) if scene.deletes => scene.named(name).await.map_err(set_up)?.is_empty(),
            (Class::IdempotentWrite, Some(vm)) => {
                scene.patient.get_vm(vm).await.map_err(set_up)?.cpus == Some(2)
            }
            (Class::Action, Some(vm)) => scene.patient.get_vm(vm).await.map_err(set_up)?.state.is_active(),
            (Class::Create, _) => !scene.named(name).await.map_err(set_up)?.is_empty(),
            _ => expected,
        };
        if is == expected {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Err(format!("the call was carried out: {is}, which is not what {:?} means", scene.cell.fault))
}

/// A call whose task fails: it is told as such, and not begun again.
async fn task_failed(cell: Semantics, daemon: &Arc<Mutex<Daemon>>) -> Verdict {
    let uri = lock(daemon).uri.clone();
    let socket = uri.split("socket=").nth(1).and_then(|rest| rest.split('&').next()).unwrap().to_owned();
    // Both see the folder of the serial logs.
    let folder = Path::new(&socket).ancestors().nth(2).unwrap().join("serial/cell-pool");
    let libvirt = Arc::new(Libvirt::connect(uri.parse().unwrap()).await.unwrap());
    let hv: Arc<dyn Hypervisor> = Arc::new(Layered::new(
        Arc::clone(&libvirt) as Arc<dyn Hypervisor>,
        RetryPolicy::new().max_attempts(5),
    ));
    let pool = PoolSpec::dir("cell-pool", folder.display().to_string());
    let pool = hv.create_pool(&pool).await.map_err(set_up)?.output;
    let volume =
        hv.create_volume(&VolumeSpec::new(&pool, "v", ByteSize::mib(1))).await.map_err(set_up)?.output;
    let vm = hv.create_vm(&idle("cell-task").start(true)).await.map_err(set_up)?.output;
    // The file of the volume, and the folder that its copy is to go into, are gone: whoever writes there fails, and only then.
    let second = folder.with_file_name("cell-second");
    let other = PoolSpec::dir("cell-second", second.display().to_string());
    let other = hv.create_pool(&other).await.map_err(set_up)?.output;
    std::fs::remove_dir(&second).unwrap();
    let error = match cell.class {
        Class::IdempotentWrite => {
            std::fs::remove_file(folder.join("v")).unwrap();
            failed(hv.volume(&volume).wipe(WipeAlgorithm::Random).await).await
        }
        Class::Create => {
            failed(hv.volume(&volume).clone_as(&CloneVolume::new("copy").pool(&other)).await).await
        }
        _ => {
            let nobody =
                format!("qemu+unix:///system?socket={}&hv_migrate=p2p", folder.join("nobody").display());
            failed(hv.vm(&vm).migrate(&MigrateSpec::to(nobody)).await).await
        }
    };
    std::fs::create_dir(&second).unwrap();
    let _ = hv.delete_pool(&other, &DeletePool::with_content()).await.map_err(set_up)?;
    let tasks = hv.list_tasks(&TaskQuery::all(), &PageRequest::first()).await.map_err(set_up)?.items.len();
    let _ = hv.delete_vm(&vm, &DeleteVm::with_disks().power_off(true)).await.map_err(set_up)?;
    let _ = hv.delete_pool(&pool, &DeletePool::with_content()).await.map_err(set_up)?;
    let Some(error) = error else { return Err("the task succeeded".into()) };
    judge(cell, &error)?;
    if tasks == 1 { Ok(()) } else { Err(format!("{tasks} tasks were begun")) }
}

async fn failed<T: Send + Sync + Clone + 'static>(task: Result<hypervisor_core::Task<T>>) -> Option<Error> {
    match task {
        Ok(task) => task.wait().await.err(),
        Err(error) => Some(error),
    }
}
