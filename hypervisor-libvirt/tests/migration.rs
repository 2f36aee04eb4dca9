//! Guests that move between two daemons: the one of `HYPERVISOR_TEST_LIBVIRT_URI`, and one that the test starts itself
//! with `HYPERVISOR_TEST_XTASK`. Each has a network of its own, so QEMU's streams go through sockets that both see.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests fail by panicking")]

mod common;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use common::course::{follow, in_the_middle};
use common::{done, needed, reaches};
use hypervisor_core::ErrorKind;
use hypervisor_core::model::*;
use hypervisor_core::traits::*;
use hypervisor_libvirt::Libvirt;

const BOOT: Duration = Duration::from_secs(120);

/// A second daemon, which ends with the value.
struct Other {
    xtask: String,
    dir: PathBuf,
    uri: String,
}

impl Other {
    fn start(name: &str, xtask: String, more: &[&str]) -> Self {
        let dir = std::env::temp_dir().join(format!("hypervisor-{name}-{}", std::process::id()));
        let mut other = Self { xtask, dir, uri: String::new() };
        let said = other.run("up", more);
        let line = said.lines().find_map(|line| line.strip_prefix("export HYPERVISOR_TEST_LIBVIRT_URI='"));
        other.uri = line.unwrap().trim_end_matches('\'').to_owned();
        other
    }

    fn run(&self, verb: &str, more: &[&str]) -> String {
        let mut command = Command::new(&self.xtask);
        let output = command.args(["live", verb, "--dir"]).arg(&self.dir).args(more).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    fn folder(&self) -> PathBuf {
        self.dir.join("serial")
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        let mut command = Command::new(&self.xtask);
        drop(command.args(["live", "down", "--dir"]).arg(&self.dir).output());
    }
}

/// Two daemons, and how to get from the one to the other.
struct Pair {
    here: Libvirt,
    there: Libvirt,
    here_uri: String,
    other: Other,
    folder: PathBuf,
}

impl Pair {
    /// `None` where there are no two daemons, as [`needed`] says.
    async fn new(name: &str) -> Option<Self> {
        let uri = needed(name, "HYPERVISOR_TEST_LIBVIRT_URI")?;
        let xtask = needed(name, "HYPERVISOR_TEST_XTASK")?;
        let folder = Path::new(&std::env::var("HYPERVISOR_TEST_SERIAL_DIR").unwrap()).join(name);
        drop(std::fs::remove_dir_all(&folder));
        std::fs::create_dir_all(&folder).unwrap();
        let other = Other::start(name, xtask, &[]);
        let here = Libvirt::connect(format!("{uri}&hv_pool={name}").parse().unwrap()).await.unwrap();
        let there = Libvirt::connect(other.uri.parse().unwrap()).await.unwrap();
        for vm in here.list_vms(&VmQuery::all(), &PageRequest::first()).await.unwrap().items {
            if vm.name.starts_with(name) {
                let _ = here.delete_vm(&vm.id, &DeleteVm::keep_disks().power_off(true)).await.unwrap();
            }
        }
        Some(Self { here, there, here_uri: uri, other, folder })
    }

    /// The other daemon as a host to move to.
    fn to_there(&self, more: &str) -> MigrateSpec {
        let socket = self.other.folder().join("memory.sock");
        MigrateSpec::to(format!("{}&hv_migrate_uri=unix://{}{more}", self.other.uri, socket.display()))
    }

    fn to_here(&self, more: &str) -> MigrateSpec {
        let socket = self.folder.join("memory.sock");
        MigrateSpec::to(format!("{}&hv_migrate_uri=unix://{}{more}", self.here_uri, socket.display()))
    }

    fn booting(&self, name: &str) -> VmSpec {
        let variable = |name: &str| std::env::var(name).unwrap();
        let kernel = DirectBoot::new(variable("HYPERVISOR_TEST_KERNEL"))
            .initrd(variable("HYPERVISOR_TEST_INITRD"))
            .cmdline("console=ttyS0 quiet panic=-1");
        let log = self.folder.join("serial.log");
        VmSpec::new(name)
            .memory(ByteSize::mib(128))
            .cpu_model("qemu64")
            .agent(true)
            .direct_boot(kernel)
            .serial(SerialSpec::new().log(log.display().to_string()))
    }
}

async fn agent_answers(libvirt: &Libvirt, vm: &VmId) {
    let wait = async {
        while libvirt.ping_agent(vm).await.is_err() {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    assert!(tokio::time::timeout(BOOT, wait).await.is_ok(), "the guest's agent does not answer");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_booted_guest_moves_there_and_back() {
    let Some(pair) = Pair::new("move").await else { return };
    let (here, there) = (&pair.here, &pair.there);
    let spec = pair.booting("move-a").start(true);
    let vm = done(here, here.create_vm(&spec).await.unwrap()).await;
    agent_answers(here, &vm).await;
    let mark = ExecSpec::new("/bin/sh").arg("-c").arg("echo kept > /tmp/mark");
    here.exec_in_guest(&vm, &mark).await.unwrap();

    what_cannot_be_is_refused(&pair, &vm).await;
    a_cancelled_move_leaves_the_guest(&pair, &vm).await;

    // Slow enough to be looked at on its way.
    let watched = pair.to_there("").live(true).bandwidth(ByteSize::mib(16));
    let course = follow(here, here.migrate_vm(&vm, &watched).await).await;
    assert_eq!(course.end().state, TaskState::Succeeded, "{course:?}");
    assert_eq!((course.end().progress, course.end().vm.as_ref()), (Some(1.0), Some(&vm)));
    assert!(course.log.iter().any(|line| line.starts_with("copies the memory")), "{course:?}");
    assert!(here.get_vm(&vm).await.unwrap_err().is_not_found());
    assert_eq!(there.get_vm(&vm).await.unwrap().state, VmState::Running);
    agent_answers(there, &vm).await;
    assert_eq!(there.read_guest_file(&vm, "/tmp/mark", ByteSize::kib(1)).await.unwrap(), "kept\n");

    // Back by a connection of our own to either side.
    let course = follow(there, there.migrate_vm(&vm, &pair.to_here("&hv_migrate=direct")).await).await;
    assert_eq!(course.end().state, TaskState::Succeeded, "{course:?}");
    assert!(there.get_vm(&vm).await.unwrap_err().is_not_found());
    assert_eq!(here.get_vm(&vm).await.unwrap().state, VmState::Running);
    agent_answers(here, &vm).await;

    done(here, here.power_vm(&vm, &PowerAction::PowerOff).await.unwrap()).await;
    let error = here.migrate_vm(&vm, &pair.to_there("").live(true)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidState, "{error}");
    let course = follow(here, here.migrate_vm(&vm, &pair.to_there("").live(false)).await).await;
    assert_eq!(course.end().state, TaskState::Succeeded, "{course:?}");
    assert!(here.get_vm(&vm).await.unwrap_err().is_not_found());
    assert_eq!(there.get_vm(&vm).await.unwrap().state, VmState::Stopped);
    done(there, there.power_vm(&vm, &PowerAction::Start).await.unwrap()).await;
    reaches(there, &vm, &VmState::Running, Duration::from_secs(5)).await;
}

/// Nothing of this moves the guest, and each is told at once.
async fn what_cannot_be_is_refused(pair: &Pair, vm: &VmId) {
    let here = &pair.here;
    let error = here.migrate_vm(vm, &MigrateSpec::to("kvm2")).await.unwrap_err();
    assert!(error.kind() == ErrorKind::InvalidInput && error.fields().contains_key("host"), "{error}");
    let error = here.migrate_vm(vm, &pair.to_there("").pool("default")).await.unwrap_err();
    assert!(error.fields().contains_key("pool"), "{error}");
    let nobody = uuid::Uuid::new_v4().to_string().into();
    assert!(here.migrate_vm(&nobody, &pair.to_there("")).await.unwrap_err().is_not_found());

    let dead = format!("qemu+unix:///system?socket={}", pair.folder.join("dead.sock").display());
    for (host, says) in [
        (format!("{dead}&hv_migrate=p2p"), "Failed to connect"),
        (format!("{dead}&hv_migrate=direct"), "cannot reach"),
        (dead, "cannot reach"),
        (pair.here_uri.clone(), "same host"),
    ] {
        let before = Instant::now();
        let course = follow(here, here.migrate_vm(vm, &MigrateSpec::to(&*host)).await).await;
        assert_eq!(course.end().state, TaskState::Failed, "{host}: {course:?}");
        assert!(course.end().error.as_ref().unwrap().contains(says), "{host}: {course:?}");
        assert!(before.elapsed() < Duration::from_secs(10), "{host}: {:?}", before.elapsed());
        assert!(course.log.iter().any(|line| line.contains("still here, and running")), "{host}: {course:?}");
    }
    agent_answers(here, vm).await;
}

async fn a_cancelled_move_leaves_the_guest(pair: &Pair, vm: &VmId) {
    let here = &pair.here;
    let slow = pair.to_there("").live(true).bandwidth(ByteSize::mib(1));
    let started = here.migrate_vm(vm, &slow).await.unwrap();
    let task = started.task.clone().unwrap();
    assert!(in_the_middle(here, &task).await < 1.0);
    let job = here.job(vm).await.unwrap();
    assert_eq!((job.active, job.operation), (true, Some("migration_out")), "{job:?}");
    assert!(job.total > 0 && job.remaining > 0, "{job:?}");
    here.cancel_task(&task).await.unwrap();
    let course = follow(here, Ok(started)).await;
    assert_eq!(course.end().state, TaskState::Cancelled, "{course:?}");
    assert!(course.progress.iter().all(|done| *done < 1.0), "{course:?}");
    assert_eq!(here.get_vm(vm).await.unwrap().state, VmState::Running);
    agent_answers(here, vm).await;
    assert!(pair.there.get_vm(vm).await.unwrap_err().is_not_found());
    assert!(!here.job(vm).await.unwrap().active);
}

#[tokio::test(flavor = "multi_thread")]
async fn disks_that_are_not_shared_are_copied() {
    let Some(pair) = Pair::new("carry").await else { return };
    let (here, there) = (&pair.here, &pair.there);
    let old = PoolId::from("carry");
    if here.get_pool(&old).await.is_ok() {
        let _ = here.delete_pool(&old, &DeletePool::with_content()).await.unwrap();
    }
    for (libvirt, name, folder) in
        [(here, "carry", pair.folder.clone()), (there, "arrived", pair.other.folder())]
    {
        let pool = PoolSpec::dir(name, folder.join("pool").display().to_string());
        let _ = libvirt.create_pool(&pool).await.unwrap();
    }
    // The second disk has its content from a file below it, which the other host does not have.
    let base = VolumeSpec::new(&old, "base.img", ByteSize::mib(8)).format(VolumeFormat::Raw);
    let content = ByteStream::from_bytes(vec![7_u8; 8 << 20]);
    let base = here.upload_volume(&UploadVolume::Create(base), content).await.unwrap().output;
    let top = VolumeSpec::new(&old, "carry-a-vdb.qcow2", ByteSize::mib(8)).backing(&base);
    let top = here.create_volume(&top).await.unwrap().output;
    let spec = VmSpec::new("carry-a").memory(ByteSize::mib(64)).cpu_model("qemu64");
    let spec = spec.disk(DiskSpec::new_volume(ByteSize::mib(48))).disk(DiskSpec::volume(&top)).start(true);
    let vm = done(here, here.create_vm(&spec).await.unwrap()).await;

    let alone = follow(here, here.migrate_vm(&vm, &pair.to_there("")).await).await;
    assert_eq!(alone.end().state, TaskState::Failed, "{alone:?}");
    assert_eq!(here.get_vm(&vm).await.unwrap().state, VmState::Running);

    let both = pair.to_there("").with_disks(true).pool("arrived");
    let course = follow(here, here.migrate_vm(&vm, &both).await).await;
    assert_eq!(course.end().state, TaskState::Succeeded, "{course:?}");
    assert_eq!(course.end().warnings.len(), 2, "{course:?}");
    assert!(here.get_vm(&vm).await.unwrap_err().is_not_found());
    let config = there.get_vm_config(&vm).await.unwrap();
    assert_eq!(config.disks[0].volume, Some("arrived/carry-a-vda.qcow2".into()), "{:?}", config.disks);
    assert_eq!(config.disks[0].capacity, Some(ByteSize::mib(48)));
    let moved = config.disks[1].volume.clone().unwrap();
    assert_eq!(moved, "arrived/carry-a-vdb.qcow2".into());
    assert_eq!(there.get_volume(&moved).await.unwrap().backing, None, "it stands alone");
    // The definition says the same as what runs.
    done(there, there.power_vm(&vm, &PowerAction::PowerOff).await.unwrap()).await;
    done(there, there.power_vm(&vm, &PowerAction::Start).await.unwrap()).await;
    done(there, there.power_vm(&vm, &PowerAction::PowerOff).await.unwrap()).await;
    let flat = CloneVolume::new("flat.img").format(VolumeFormat::Raw);
    let flat = done(there, there.clone_volume(&moved, &flat).await.unwrap()).await;
    let flat = there.download_volume(&flat, &DownloadVolume::all()).await.unwrap();
    let flat = flat.collect(8 << 20).await.unwrap();
    assert!(flat.len() == 8 << 20 && flat.iter().all(|byte| *byte == 7), "the content below came along");
    let error = there.migrate_vm(&vm, &pair.to_here("").with_disks(true)).await.unwrap_err();
    assert!(error.is_unsupported(), "{error}");
    let _ = here.delete_pool(&old, &DeletePool::with_content()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_goes_over_tcp() {
    let Some(xtask) = needed("memory_goes_over_tcp", "HYPERVISOR_TEST_XTASK") else { return };
    // Both on the machine's own network, where the one reaches the other's ports.
    let [one, two] =
        ["tcp-one", "tcp-two"].map(|name| Other::start(name, xtask.clone(), &["--host-network"]));
    let here = Libvirt::connect(one.uri.parse().unwrap()).await.unwrap();
    let there = Libvirt::connect(two.uri.parse().unwrap()).await.unwrap();
    let spec = VmSpec::new("over-tcp").memory(ByteSize::mib(64)).cpu_model("qemu64").start(true);
    let vm = done(&here, here.create_vm(&spec).await.unwrap()).await;
    for way in ["p2p", "direct"] {
        let (from, to, uri) =
            if way == "p2p" { (&here, &there, &two.uri) } else { (&there, &here, &one.uri) };
        let to_there = MigrateSpec::to(format!("{uri}&hv_migrate={way}&hv_migrate_uri=tcp://127.0.0.1"));
        let course = follow(from, from.migrate_vm(&vm, &to_there.live(true)).await).await;
        assert_eq!(course.end().state, TaskState::Succeeded, "{way}: {course:?}");
        assert_eq!(to.get_vm(&vm).await.unwrap().state, VmState::Running);
        assert!(from.get_vm(&vm).await.unwrap_err().is_not_found());
    }
    let _ = here.delete_vm(&vm, &DeleteVm::keep_disks().power_off(true)).await.unwrap();
}
