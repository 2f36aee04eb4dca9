//! What protects a guest's data, against a real libvirtd with QEMU: backups, external snapshots, exports, saved memory.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests fail by panicking")]

mod common;

use std::io::Read as _;
use std::time::Duration;

use bytes::Bytes;
use common::bench::{Bench, page};
use common::course::follow;
use common::{done, needed, reaches};
use hypervisor_core::model::*;
use hypervisor_core::traits::*;
use hypervisor_core::{Error, ErrorKind};
use hypervisor_libvirt::Libvirt;
use hypervisor_libvirt::virt::connect::Connect;
use hypervisor_libvirt::virt::domain::Domain;

const DISK: usize = 16 << 20;
const BLOCK: usize = 4096;

/// Bytes that do not compress and differ for each seed.
fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    std::iter::repeat_with(&mut next).flatten().take(length).collect()
}

/// A guest that writes into its disk, and what must be on it.
struct Writer<'a> {
    bench: &'a Bench,
    vm: VmId,
    disk: Vec<u8>,
}

impl<'a> Writer<'a> {
    async fn boot(bench: &'a Bench, suffix: &str) -> Self {
        let disk = DiskSpec::new_volume(ByteSize::bytes(DISK as u64)).format(VolumeFormat::Qcow2);
        let vm = bench.make(&bench.booting(suffix).disk(disk).start(true)).await;
        bench.sees(suffix, "GUEST-READY").await;
        bench.has_agent(&vm).await;
        Self { bench, vm, disk: vec![0; DISK] }
    }

    /// Writes noise at a block of the disk, from inside the guest, through to the host.
    async fn write(&mut self, seed: u64, block: usize, blocks: usize) {
        let content = noise(seed, blocks * BLOCK);
        self.disk[block * BLOCK..][..content.len()].copy_from_slice(&content);
        let file = Bytes::from(content);
        self.bench.write_guest_file(&self.vm, "/tmp/noise", file, &WriteFile::replace()).await.unwrap();
        let copy = format!("dd if=/tmp/noise of=/dev/vda bs={BLOCK} seek={block} conv=notrunc,fsync && sync");
        let shell = ExecSpec::new("/bin/sh").arg("-c").arg(copy);
        let output = self.bench.exec_in_guest(&self.vm, &shell).await.unwrap();
        assert_eq!(output.exit_code, Some(0), "{output:?}");
    }
}

/// What is on a stopped guest's first disk, whatever its format.
async fn content(bench: &Bench, vm: &VmId) -> Vec<u8> {
    let config = bench.get_vm_config(vm).await.unwrap();
    let volume = config.disks[0].volume.clone().unwrap();
    let plain = CloneVolume::new("plain").format(VolumeFormat::Raw);
    let plain = done(bench, bench.clone_volume(&volume, &plain).await.unwrap()).await;
    let stream = bench.download_volume(&plain, &DownloadVolume::default()).await.unwrap();
    let bytes = stream.collect(1 << 30).await.unwrap();
    let _ = bench.delete_volume(&plain).await.unwrap();
    bytes.to_vec()
}

fn same(what: &str, found: &[u8], wanted: &[u8]) {
    assert_eq!(found.len(), wanted.len(), "{what}: the length");
    let differs = found.iter().zip(wanted).position(|(found, wanted)| found != wanted);
    assert_eq!(differs, None, "{what}: differs at a byte");
}

async fn back_up(bench: &Bench, vm: &VmId, spec: &BackupSpec) -> BackupId {
    done(bench, bench.create_backup(vm, spec).await.unwrap()).await.unwrap()
}

async fn restored(bench: &Bench, backup: &BackupId, suffix: &str) -> VmId {
    let options = RestoreBackup::new_vm(format!("{}-{suffix}", bench.name));
    done(bench, bench.restore_backup(backup, &options).await.unwrap()).await
}

async fn error_of<T: std::fmt::Debug>(bench: &Bench, started: Result<Started<T>, Error>) -> Error {
    match started {
        Err(error) => error,
        Ok(started) => {
            let task = bench.get_task(started.task.as_ref().unwrap(), Some(Duration::from_secs(30))).await;
            panic!("it was not refused: {started:?}, {task:?}")
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_of_a_running_guest_are_backed_up_and_restored_to_the_byte() {
    let Some(bench) = Bench::new("backup").await else { return };
    let mut guest = Writer::boot(&bench, "a").await;
    let vm = guest.vm.clone();
    guest.write(1, 0, 40).await;
    guest.write(2, 1000, 16).await;
    let first = guest.disk.clone();
    let full = back_up(&bench, &vm, &BackupSpec::new().description("full & first")).await;
    // Over what was there, beside it, and across the border of a cluster of 64 KiB.
    guest.write(3, 8, 3).await;
    guest.write(4, 2063, 5).await;
    let second = guest.disk.clone();
    let changes = back_up(&bench, &vm, &BackupSpec::new().since(&full)).await;
    guest.write(5, 1004, 1).await;
    let third = guest.disk.clone();
    let more = back_up(&bench, &vm, &BackupSpec::new().since(&changes).mode(BackupMode::Suspend)).await;
    assert_eq!(bench.get_vm(&vm).await.unwrap().state, VmState::Running);
    guest.write(6, 3000, 8).await;
    let fourth = guest.disk.clone();
    bench.power(&vm, PowerAction::PowerOff).await;
    let off = back_up(&bench, &vm, &BackupSpec::new().since(&more).protected(true)).await;
    assert_eq!(bench.get_vm(&vm).await.unwrap().state, VmState::Stopped);

    // Another connection, as another process has one, finds them.
    let uri = std::env::var("HYPERVISOR_TEST_LIBVIRT_URI").unwrap();
    let other = Libvirt::connect(uri.parse().unwrap()).await.unwrap();
    let listed = other.list_backups(&BackupQuery::all().vm(&vm), &page()).await.unwrap().items;
    let parents: Vec<_> = listed.iter().map(|info| (info.id.clone(), info.parent.clone())).collect();
    let chain = [
        (full.clone(), None),
        (changes.clone(), Some(full.clone())),
        (more.clone(), Some(changes.clone())),
        (off.clone(), Some(more.clone())),
    ];
    assert_eq!(parents, chain);
    // Definitions have passwords in them.
    for file in std::fs::read_dir(bench.folder.join("pool")).unwrap().map(Result::unwrap) {
        let mode = std::os::unix::fs::PermissionsExt::mode(&file.metadata().unwrap().permissions());
        assert_eq!(mode & 0o077, 0, "{} is open to others", file.path().display());
    }
    assert_eq!(listed[0].description.as_deref(), Some("full & first"));
    assert!(listed[1].size < listed[0].size, "the changes take as much room as everything: {listed:?}");

    for (backup, wanted, suffix) in
        [(&full, &first, "r1"), (&changes, &second, "r2"), (&more, &third, "r3"), (&off, &fourth, "r4")]
    {
        let new = restored(&bench, backup, suffix).await;
        same(suffix, &content(&bench, &new).await, wanted);
    }
    same("the original", &content(&bench, &vm).await, &fourth);
    let (old, new) = (bench.get_vm_config(&vm).await.unwrap(), restored(&bench, &full, "r5").await);
    let new = bench.get_vm_config(&new).await.unwrap();
    assert_eq!(new.disks[0].format, old.disks[0].format);

    // The guest itself is taken back; from then on nothing is known of what has changed.
    let back = bench.restore_backup(&changes, &RestoreBackup::original()).await.unwrap();
    assert_eq!(done(&bench, back).await, vm);
    same("taken back", &content(&bench, &vm).await, &second);
    let error = error_of(&bench, bench.create_backup(&vm, &BackupSpec::new().since(&off)).await).await;
    assert_eq!(error.kind(), ErrorKind::InvalidState, "{error}");

    for kept in [&full, &changes, &more, &off] {
        let error = error_of(&bench, bench.delete_backup(kept).await).await;
        assert_eq!(error.kind(), ErrorKind::InvalidState, "{error}");
    }
    bench.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_can_be_off_for_its_backup_and_lose_what_is_followed() {
    let Some(bench) = Bench::new("offbackup").await else { return };
    let mut guest = Writer::boot(&bench, "a").await;
    let vm = guest.vm.clone();
    guest.write(1, 7, 9).await;
    let full = back_up(&bench, &vm, &BackupSpec::new().mode(BackupMode::Stop)).await;
    assert_eq!(bench.get_vm(&vm).await.unwrap().state, VmState::Running);
    let boots = |log: &str| log.matches("GUEST-READY").count();
    assert!(boots(&std::fs::read_to_string(bench.log("a")).unwrap()) >= 1);
    bench.has_agent(&vm).await;
    guest.write(2, 100, 2).await;
    // The disk grows between the two.
    let grown = DISK + (2 << 20);
    let _ = bench.resize_disk(&vm, &"vda".into(), ByteSize::bytes(grown as u64)).await.unwrap();
    guest.disk.resize(grown, 0);
    guest.write(3, DISK / BLOCK + 3, 4).await;
    let changes = back_up(&bench, &vm, &BackupSpec::new().since(&full)).await;
    let new = restored(&bench, &changes, "r").await;
    same("grown", &content(&bench, &new).await, &guest.disk);

    // What QEMU could not write down at its end is no basis for changes any more.
    let Some(daemon) = needed("killing QEMU", "HYPERVISOR_TEST_LIVE_DIR") else {
        return bench.end().await;
    };
    let pid = std::fs::read_to_string(format!("{daemon}/run/qemu/offbackup-a.pid")).unwrap();
    let killed = std::process::Command::new("kill").args(["-9", pid.trim()]).status().unwrap();
    assert!(killed.success());
    reaches(&bench, &vm, &VmState::Crashed, Duration::from_secs(20)).await;
    bench.power(&vm, PowerAction::Start).await;
    let task = bench.create_backup(&vm, &BackupSpec::new().since(&changes)).await.unwrap().task.unwrap();
    let mut seen = bench.get_task(&task, None).await.unwrap();
    while !seen.state.is_final() {
        seen = bench.get_task(&task, Some(Duration::from_secs(1))).await.unwrap();
    }
    assert_eq!(seen.state, TaskState::Failed, "{seen:?}");
    assert!(seen.error.as_deref().is_some_and(|error| error.contains("make a full backup")), "{seen:?}");
    let full = back_up(&bench, &vm, &BackupSpec::new()).await;
    let new = restored(&bench, &full, "r2").await;
    same("full again", &content(&bench, &new).await, &guest.disk);
    bench.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_backup_leaves_nothing() {
    let Some(bench) = Bench::new("unbackup").await else { return };
    let disk = DiskSpec::new_volume(ByteSize::mib(8)).format(VolumeFormat::Qcow2);
    let vm = bench.make(&bench.idle("a").disk(disk).start(true)).await;
    let before = bench.volumes().await;
    let full = back_up(&bench, &vm, &BackupSpec::new()).await;
    let changes = back_up(&bench, &vm, &BackupSpec::new().since(&full)).await;
    let error = error_of(&bench, bench.delete_backup(&full).await).await;
    assert_eq!(error.kind(), ErrorKind::InvalidState, "{error}");
    for backup in [&changes, &full] {
        done(&bench, bench.delete_backup(backup).await.unwrap()).await;
    }
    assert_eq!(bench.volumes().await, before);
    // A guest whose changes are followed cannot be kept from snapshots.
    let full = back_up(&bench, &vm, &BackupSpec::new()).await;
    bench.power(&vm, PowerAction::PowerOff).await;
    let _ = bench.create_snapshot(&vm, &SnapshotSpec::new("s")).await.unwrap();
    let error = error_of(&bench, bench.create_backup(&vm, &BackupSpec::new().since(&full)).await).await;
    assert_eq!(error.kind(), ErrorKind::InvalidState, "{error}");
    bench.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_backup_leaves_nothing() {
    let Some(bench) = Bench::new("cancelled").await else { return };
    let size = 768 << 20;
    let spec =
        VolumeSpec::new(bench.name.as_str(), "big.img", ByteSize::bytes(size)).format(VolumeFormat::Raw);
    let chunk = Bytes::from(noise(9, 1 << 20));
    let chunks = futures::stream::iter((0..size >> 20).map(move |_| Ok(chunk.clone())));
    let volume =
        bench.upload_volume(&UploadVolume::Create(spec), ByteStream::new(size, chunks)).await.unwrap();
    let volume = done(&bench, volume).await;
    let vm = bench.make(&bench.idle("a").disk(DiskSpec::volume(volume)).start(true)).await;
    let before = bench.volumes().await;
    let task = bench.create_backup(&vm, &BackupSpec::new()).await.unwrap().task.unwrap();
    let mut seen = bench.get_task(&task, None).await.unwrap();
    while !seen.state.is_final() && seen.progress.is_none_or(|done| done == 0.0) {
        seen = bench.get_task(&task, Some(Duration::from_millis(100))).await.unwrap();
    }
    assert!(seen.can_cancel && seen.progress.is_some(), "{seen:?}");
    bench.cancel_task(&task).await.unwrap();
    while !seen.state.is_final() {
        seen = bench.get_task(&task, Some(Duration::from_secs(1))).await.unwrap();
    }
    assert_eq!(seen.state, TaskState::Cancelled, "{seen:?}");
    assert_eq!(bench.volumes().await, before);
    assert!(bench.list_backups(&BackupQuery::all().vm(&vm), &page()).await.unwrap().items.is_empty());
    assert_eq!(bench.get_vm(&vm).await.unwrap().state, VmState::Running);
    bench.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chain_of_external_snapshots_keeps_every_byte() {
    let Some(bench) = Bench::new("chain").await else { return };
    let mut guest = Writer::boot(&bench, "a").await;
    let vm = guest.vm.clone();
    let take = async |spec: SnapshotSpec| bench.create_snapshot(&vm, &spec).await;
    guest.write(1, 0, 40).await;
    let _ = take(SnapshotSpec::new("s1").quiesce(true)).await.unwrap();
    guest.write(2, 20, 40).await;
    let _ = take(SnapshotSpec::new("s2").memory(false)).await.unwrap();
    guest.write(3, 50, 10).await;
    let _ = take(SnapshotSpec::new("s3").memory(false)).await.unwrap();
    guest.write(4, 2000, 2).await;
    let base = VolumeId::from("chain/chain-a-vda.qcow2");
    let error = error_of(&bench, bench.delete_volume(&base).await).await;
    assert_eq!(error.kind(), ErrorKind::InvalidState, "{error}");
    let tree = bench.list_snapshots(&vm).await.unwrap();
    let s2 = tree.get(&"s2".into()).unwrap();
    assert_eq!((s2.parent.as_ref().map(|id| id.as_str()), s2.memory), (Some("s1"), false));
    assert_eq!(s2.extra.get("libvirt")["external"], true);
    assert_eq!(tree.current().unwrap().id.as_str(), "s3");

    if let Support::Unsupported(why) = bench.external_revert() {
        let revert = bench.revert_snapshot(&vm, &"s2".into(), &RevertSnapshot::new()).await;
        let error = error_of(&bench, revert).await;
        assert!(error.is_unsupported() && error.message().contains(&why), "{error}");
    }
    // In the middle while it runs, and in the middle and at the top while it is off.
    let delete = async |name: &str, options: DeleteSnapshot| {
        done(&bench, bench.delete_snapshot(&vm, &name.into(), &options).await.unwrap()).await;
    };
    delete("s2", DeleteSnapshot::only()).await;
    guest.write(5, 100, 4).await;
    bench.power(&vm, PowerAction::PowerOff).await;
    same("after the first", &content(&bench, &vm).await, &guest.disk);
    let _ = take(SnapshotSpec::new("off")).await.unwrap();
    delete("s1", DeleteSnapshot::only()).await;
    assert_eq!(bench.get_vm(&vm).await.unwrap().state, VmState::Stopped);
    same("after the second", &content(&bench, &vm).await, &guest.disk);
    assert_eq!(bench.list_snapshots(&vm).await.unwrap().len(), 2);
    delete("s3", DeleteSnapshot::with_children()).await;
    assert!(bench.list_snapshots(&vm).await.unwrap().is_empty());
    same("at last", &content(&bench, &vm).await, &guest.disk);
    assert_eq!(bench.volumes().await, ["chain-a-vda.qcow2"]);

    // With the guest go all the files that its snapshots have made.
    bench.power(&vm, PowerAction::Start).await;
    let _ = take(SnapshotSpec::new("t1").memory(false)).await.unwrap();
    let _ = take(SnapshotSpec::new("t2").memory(false)).await.unwrap();
    let _ = bench.delete_vm(&vm, &DeleteVm::with_disks().power_off(true).snapshots(true)).await.unwrap();
    assert!(bench.volumes().await.is_empty(), "{:?}", bench.volumes().await);
    bench.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_external_snapshot_can_hold_the_memory() {
    let Some(bench) = Bench::new("outside").await else { return };
    let mut guest = Writer::boot(&bench, "a").await;
    let vm = guest.vm.clone();
    guest.write(1, 0, 40).await;
    let course = follow(&bench, bench.create_external_snapshot(&vm, &SnapshotSpec::new("m1")).await).await;
    assert_eq!(course.end().state, TaskState::Succeeded, "{course:?}");
    assert!(course.stages.iter().any(|stage| stage == "writes the memory"), "{course:?}");
    assert_eq!(bench.get_vm(&vm).await.unwrap().state, VmState::Running);
    // Once it has such, those with the memory are such.
    guest.write(2, 20, 40).await;
    let course =
        follow(&bench, bench.create_snapshot(&vm, &SnapshotSpec::new("m2").memory(true)).await).await;
    assert_eq!(course.end().state, TaskState::Succeeded, "{course:?}");
    guest.write(3, 50, 10).await;
    for name in ["m1", "m2"] {
        let found = bench.get_snapshot(&vm, &name.into()).await.unwrap();
        assert_eq!((found.memory, found.state), (true, Some(VmState::Running)));
        assert_eq!(found.extra.get("libvirt")["external"], true);
        let memory = bench.get_volume(&format!("outside/outside-a.{name}.mem").into()).await.unwrap();
        assert!(memory.allocation.unwrap() > ByteSize::mib(8), "{memory:?}");
    }
    let revert = bench.revert_snapshot(&vm, &"m1".into(), &RevertSnapshot::new()).await;
    match bench.external_revert() {
        Support::Unsupported(why) => {
            let error = error_of(&bench, revert).await;
            assert!(error.is_unsupported() && error.message().contains(&why), "{error}");
        }
        _ => done(&bench, revert.unwrap()).await,
    }
    done(&bench, bench.delete_snapshot(&vm, &"m1".into(), &DeleteSnapshot::with_children()).await.unwrap())
        .await;
    bench.power(&vm, PowerAction::PowerOff).await;
    if bench.external_revert() != Support::Native {
        same("with the snapshots gone", &content(&bench, &vm).await, &guest.disk);
    }
    assert_eq!(bench.volumes().await, ["outside-a-vda.qcow2"]);

    // With the guest goes the memory as well.
    bench.power(&vm, PowerAction::Start).await;
    let taken = bench.create_external_snapshot(&vm, &SnapshotSpec::new("m3")).await.unwrap();
    done(&bench, taken).await;
    let _ = bench.delete_vm(&vm, &DeleteVm::with_disks().power_off(true).snapshots(true)).await.unwrap();
    assert!(bench.volumes().await.is_empty(), "{:?}", bench.volumes().await);
    bench.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_kinds_of_snapshots_are_not_mixed() {
    let Some(bench) = Bench::new("kinds").await else { return };
    let disk = DiskSpec::new_volume(ByteSize::mib(8)).format(VolumeFormat::Qcow2);
    let vm = bench.make(&bench.idle("a").disk(disk)).await;
    let _ = bench.create_snapshot(&vm, &SnapshotSpec::new("inside")).await.unwrap();
    let error = bench.create_snapshot(&vm, &SnapshotSpec::new("q").quiesce(true)).await;
    assert_eq!(error_of(&bench, error).await.kind(), ErrorKind::InvalidState);
    bench.power(&vm, PowerAction::Start).await;
    let error =
        error_of(&bench, bench.create_snapshot(&vm, &SnapshotSpec::new("beside").memory(false)).await).await;
    assert_eq!(error.kind(), ErrorKind::InvalidState);
    assert!(error.to_string().contains("internal"), "{error}");
    assert_eq!(bench.volumes().await, ["kinds-a-vda.qcow2"]);
    bench.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_holds_the_definition_and_every_byte() {
    let Some(bench) = Bench::new("export").await else { return };
    let bytes = noise(7, DISK);
    let spec =
        VolumeSpec::new(bench.name.as_str(), "a.img", ByteSize::bytes(DISK as u64)).format(VolumeFormat::Raw);
    let stream = ByteStream::from_bytes(bytes.clone());
    let volume = bench.upload_volume(&UploadVolume::Create(spec), stream).await.unwrap();
    let volume = done(&bench, volume).await;
    let vm = bench.make(&bench.idle("a").disk(DiskSpec::volume(volume))).await;
    let pools = bench.list_pools(&PoolQuery::all(), &page()).await.unwrap().items.len();

    let folder = bench.folder.join("out");
    let none =
        error_of(&bench, bench.export_vm(&vm, &ExportSpec::new(folder.display().to_string())).await).await;
    assert!(none.fields().contains_key("directory"), "{none}");
    std::fs::create_dir(&folder).unwrap();
    let spec = ExportSpec::new(folder.display().to_string());
    let written = done(&bench, bench.export_vm(&vm, &spec).await.unwrap()).await;
    same("as it is", &std::fs::read(&written.disks[0]).unwrap(), &bytes);
    let definition = std::fs::read_to_string(&written.definition).unwrap();
    assert!(definition.contains(&written.disks[0]) && definition.contains("export-a"), "{definition}");
    let again = error_of(&bench, bench.export_vm(&vm, &spec).await).await;
    assert_eq!(again.kind(), ErrorKind::AlreadyExists, "{again}");

    let packed = bench.folder.join("packed");
    std::fs::create_dir(&packed).unwrap();
    let spec = ExportSpec::new(packed.display().to_string()).format(VolumeFormat::Raw).compress(true);
    let written = done(&bench, bench.export_vm(&vm, &spec).await.unwrap()).await;
    assert!(written.disks[0].ends_with(".raw.gz"), "{written:?}");
    let mut unpacked = Vec::new();
    let file = std::fs::File::open(&written.disks[0]).unwrap();
    flate2::read::GzDecoder::new(file).read_to_end(&mut unpacked).unwrap();
    same("packed", &unpacked, &bytes);
    assert_eq!(std::fs::read_dir(&packed).unwrap().count(), 2);

    let other = bench.folder.join("other");
    std::fs::create_dir(&other).unwrap();
    let spec = ExportSpec::new(other.display().to_string()).format(VolumeFormat::Qcow2);
    let written = done(&bench, bench.export_vm(&vm, &spec).await.unwrap()).await;
    assert_eq!(std::fs::read(&written.disks[0]).unwrap()[..4], *b"QFI\xfb");
    assert_eq!(bench.list_pools(&PoolQuery::all(), &page()).await.unwrap().items.len(), pools);
    bench.power(&vm, PowerAction::Start).await;
    let running = error_of(&bench, bench.export_vm(&vm, &spec).await).await;
    assert_eq!(running.kind(), ErrorKind::InvalidState, "{running}");
    bench.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_no_copy_can_hold_is_not_left_out_in_silence() {
    let Some(bench) = Bench::new("whole").await else { return };
    let vm = bench.make(&bench.idle("a").disk(DiskSpec::new_volume(ByteSize::mib(2)))).await;
    let id = vm.to_string();
    let remote = move |conn: &Connect| {
        let domain = Domain::lookup_by_uuid_string(conn, &id)?;
        let disk = "<disk type='network'><driver name='qemu' type='raw'/><source protocol='nbd' name='data'>\
                    <host name='127.0.0.1' port='10809'/></source><target dev='vdb' bus='virtio'/></disk>";
        let xml = domain.get_xml_desc(0)?.replace("</devices>", &format!("{disk}</devices>"));
        Domain::define_xml(conn, &xml).map(drop)
    };
    bench.with_connection(remote).await.unwrap();
    assert_eq!(bench.get_vm_config(&vm).await.unwrap().disks.len(), 2);
    let before = (bench.volumes().await, bench.list_vms(&VmQuery::all(), &page()).await.unwrap().items.len());
    let out = ExportSpec::new(bench.folder.display().to_string());
    for error in [
        error_of(&bench, bench.clone_vm(&vm, &CloneSpec::new("whole-b")).await).await,
        error_of(&bench, bench.export_vm(&vm, &out).await).await,
        error_of(&bench, bench.create_template(&vm, &TemplateSpec::copy("whole-c")).await).await,
        error_of(&bench, bench.create_external_snapshot(&vm, &SnapshotSpec::new("a")).await).await,
    ] {
        assert_eq!(error.kind(), ErrorKind::InvalidState, "{error}");
        assert!(error.message().contains("`vdb`"), "{error}");
    }
    // QEMU could read it for a backup, were the server there.
    let course = follow(&bench, bench.create_backup(&vm, &BackupSpec::new()).await).await;
    assert_eq!(course.end().state, TaskState::Failed, "{course:?}");
    assert_eq!(bench.get_vm(&vm).await.unwrap().state, VmState::Stopped);
    assert!(bench.list_backups(&BackupQuery::all(), &page()).await.unwrap().items.is_empty());
    let after = (bench.volumes().await, bench.list_vms(&VmQuery::all(), &page()).await.unwrap().items.len());
    assert_eq!(after, before);
    bench.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_is_saved_to_a_file_and_goes_on_from_it() {
    let Some(bench) = Bench::new("saved").await else { return };
    let vm = bench.make(&bench.booting("a").start(true)).await;
    bench.sees("a", "GUEST-READY").await;
    bench.has_agent(&vm).await;
    bench
        .write_guest_file(&vm, "/tmp/kept", Bytes::from_static(b"here"), &WriteFile::replace())
        .await
        .unwrap();
    let path = bench.folder.join("a.save").display().to_string();
    done(&bench, bench.save_vm(&vm, &path).await.unwrap()).await;
    reaches(&bench, &vm, &VmState::Stopped, Duration::from_secs(5)).await;
    let back = done(&bench, bench.restore_vm(&path).await.unwrap()).await;
    assert_eq!(back, vm);
    reaches(&bench, &vm, &VmState::Running, Duration::from_secs(5)).await;
    bench.has_agent(&vm).await;
    assert_eq!(bench.read_guest_file(&vm, "/tmp/kept", ByteSize::kib(1)).await.unwrap(), &b"here"[..]);
    assert_eq!(error_of(&bench, bench.restore_vm(&path).await).await.kind(), ErrorKind::InvalidState);
    let wrong = error_of(&bench, bench.save_vm(&vm, "a.save").await).await;
    assert!(wrong.fields().contains_key("path"), "{wrong}");
    bench.end().await;
}
