//! The driver against a real libvirtd with QEMU, where `HYPERVISOR_TEST_LIBVIRT_URI` names one. The guest's kernel and
//! initial RAM disk come from `HYPERVISOR_TEST_KERNEL` and `HYPERVISOR_TEST_INITRD`, a folder that both sides see from
//! `HYPERVISOR_TEST_SERIAL_DIR`.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests fail by panicking")]

mod common;
mod zoo;

use std::time::{Duration, Instant};

use bytes::Bytes;
use common::bench::{BOOT, Bench, page};
use common::{done, reaches};
use hypervisor_core::model::*;
use hypervisor_core::traits::*;
use hypervisor_core::{ErrorKind, Hypervisor};

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_boots_and_shuts_down() {
    let Some(bench) = Bench::new("boot").await else { return };
    let network = NetworkSpec::nat("boot", "10.77.1.1/24".parse().unwrap())
        .dhcp_from_cidr()
        .bridge("hvboot0")
        .start(true);
    let _ = bench.create_network(&network).await.unwrap();
    let spec = bench
        .booting("a")
        .disk(DiskSpec::new_volume(ByteSize::mib(64)))
        .nic(NicSpec::network("boot"))
        .graphics(GraphicsKind::Vnc)
        .tag("live")
        .start(true);
    let vm = bench.make(&spec).await;
    assert_eq!(bench.get_vm(&vm).await.unwrap().state, VmState::Running);
    bench.sees("a", "GUEST-READY").await;
    bench.sees("a", "GUEST-IP").await;

    let mac = bench.get_vm_config(&vm).await.unwrap().nics[0].mac.unwrap();
    // dnsmasq tells libvirt after it has told the guest.
    let mut leases = Vec::new();
    for _ in 0..50 {
        leases = bench.list_leases(&"boot".into()).await.unwrap();
        leases.retain(|lease| lease.mac == mac);
        if !leases.is_empty() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(leases.len(), 1);
    bench.has_agent(&vm).await;
    let addresses = bench.list_addresses(&vm, None).await.unwrap();
    assert!(
        addresses
            .iter()
            .any(|found| found.source == AddressSource::Lease && found.address == leases[0].address)
    );
    assert!(addresses.iter().any(|found| found.source == AddressSource::Agent), "{addresses:?}");

    let shell = ExecSpec::new("/bin/sh").arg("-c").arg("echo out; echo err >&2; exit 3");
    let output = bench.exec_in_guest(&vm, &shell).await.unwrap();
    assert_eq!(
        (output.exit_code, &output.stdout[..], &output.stderr[..]),
        (Some(3), &b"out\n"[..], &b"err\n"[..])
    );
    let slow = ExecSpec::new("/bin/sleep").arg("20").deadline(Duration::from_secs(1));
    assert_eq!(bench.exec_in_guest(&vm, &slow).await.unwrap_err().kind(), ErrorKind::Timeout);
    let content = Bytes::from(vec![b'x'; 300_000]);
    bench.write_guest_file(&vm, "/tmp/file", content.clone(), &WriteFile::replace()).await.unwrap();
    assert_eq!(bench.read_guest_file(&vm, "/tmp/file", ByteSize::mib(1)).await.unwrap(), content);
    let error = bench.read_guest_file(&vm, "/tmp/file", ByteSize::kib(1)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert!(bench.read_guest_file(&vm, "/none", ByteSize::mib(1)).await.unwrap_err().is_not_found());
    bench.freeze_filesystems(&vm).await.unwrap();
    bench.thaw_filesystems(&vm).await.unwrap();

    let load = bench.get_vm_metrics(&vm).await.unwrap();
    assert!(load.cpu_time.unwrap() > Duration::ZERO && load.memory_resident.unwrap() > ByteSize::mib(20));
    assert!(load.disks.contains_key(&"vda".into()) && load.nics.len() == 1, "{load:?}");
    let console = bench.get_console(&vm, &ConsoleKind::Vnc).await.unwrap();
    assert!(console.port.unwrap() >= 5900);
    assert!(bench.get_console(&vm, &ConsoleKind::Serial).await.unwrap().path.is_some());
    assert_eq!(
        bench.get_console(&vm, &ConsoleKind::Spice).await.unwrap_err().kind(),
        ErrorKind::InvalidState
    );
    let picture = bench.screenshot_vm(&vm).await.unwrap();
    let magic: &[u8] = match picture.media_type.as_str() {
        "image/png" => b"\x89PNG",
        _ => b"P6",
    };
    assert!(picture.data.starts_with(magic), "{}", picture.media_type);

    bench.power(&vm, PowerAction::Shutdown(Shutdown::new())).await;
    reaches(&bench, &vm, &VmState::Stopped, BOOT).await;
    assert_eq!(bench.ping_agent(&vm).await.unwrap_err().kind(), ErrorKind::InvalidState);
    bench.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn power_verbs_of_a_real_machine() {
    let Some(bench) = Bench::new("power").await else { return };
    let vm = bench.make(&bench.idle("a").disk(DiskSpec::new_volume(ByteSize::mib(16)))).await;
    bench.power(&vm, PowerAction::Start).await;
    bench.power(&vm, PowerAction::Pause).await;
    assert_eq!(bench.get_vm(&vm).await.unwrap().state, VmState::Paused);
    bench.power(&vm, PowerAction::Resume).await;
    bench.power(&vm, PowerAction::Reset).await;
    bench.power(&vm, PowerAction::Hibernate).await;
    assert_eq!(bench.get_vm(&vm).await.unwrap().state, VmState::Hibernated);
    assert_eq!(
        bench.list_vms(&VmQuery::all().name("power-a"), &page()).await.unwrap().items[0].state,
        VmState::Hibernated
    );
    bench.power(&vm, PowerAction::Start).await;
    assert_eq!(bench.get_vm(&vm).await.unwrap().state, VmState::Running);
    // Its firmware does not listen to the power button.
    let before = Instant::now();
    bench.power(&vm, PowerAction::Shutdown(Shutdown::new().power_off_after(Duration::from_secs(2)))).await;
    assert!(before.elapsed() >= Duration::from_secs(2));
    assert_eq!(bench.get_vm(&vm).await.unwrap().state, VmState::Stopped);
    assert_eq!(bench.ping_agent(&vm).await.unwrap_err().kind(), ErrorKind::InvalidState);
    let outcome =
        bench.update_vm(&vm, &VmChange::new().cpus(2).memory(ByteSize::mib(96))).await.unwrap().output;
    assert_eq!(outcome.needs, RestartNeed::None);
    bench.power(&vm, PowerAction::Start).await;
    assert_eq!(bench.get_vm(&vm).await.unwrap().memory, Some(ByteSize::mib(96)));
    let outcome = bench.update_vm(&vm, &VmChange::new().cpus(1).add_tag("x")).await.unwrap().output;
    assert_eq!((outcome.needs, outcome.applied), (RestartNeed::PowerCycle, vec!["tags".to_owned()]));
    assert_eq!(bench.get_vm_config(&vm).await.unwrap().pending[0].field, "cpus");
    let error = bench.ping_agent(&vm).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AgentUnavailable, "{error}");
    assert!(!bench.job(&vm).await.unwrap().active);
    assert_eq!(bench.abort_job(&vm).await.unwrap_err().kind(), ErrorKind::InvalidState);
    bench.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_create_that_fails_leaves_no_volume() {
    let Some(bench) = Bench::new("undo").await else { return };
    let disk = || DiskSpec::new_volume(ByteSize::mib(16));
    let wrong = bench.idle("a").disk(disk()).disk(disk()).machine("no-such-machine");
    let error = bench.create_vm(&wrong).await.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Unsupported | ErrorKind::InvalidInput), "{error}");
    let wrong = bench.idle("a").disk(disk()).direct_boot(DirectBoot::new("/no/such/kernel")).start(true);
    let error = bench.create_vm(&wrong).await.unwrap_err();
    assert!(error.message().contains("/no/such/kernel"), "{error}");
    assert!(bench.volumes().await.is_empty());
    assert!(bench.list_vms(&VmQuery::all().name("undo-a"), &page()).await.unwrap().items.is_empty());
    let vm = bench.make(&bench.idle("a").disk(disk())).await;
    let error = bench.create_vm(&bench.idle("a").disk(disk())).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AlreadyExists);
    assert_eq!(bench.volumes().await, ["undo-a-vda.qcow2"]);
    let _ = bench.delete_vm(&vm, &DeleteVm::keep_disks()).await.unwrap();
    assert_eq!(bench.volumes().await, ["undo-a-vda.qcow2"]);
    bench.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn volumes_hold_what_is_put_into_them() {
    let Some(bench) = Bench::new("vols").await else { return };
    let pool = PoolId::from("vols");
    let raw = VolumeSpec::new(&pool, "raw.img", ByteSize::mib(4)).format(VolumeFormat::Raw);
    let raw = bench.create_volume(&raw).await.unwrap().output;
    let content: Bytes = (0..4_u32 << 20).map(|index| u8::try_from(index % 251).unwrap()).collect();
    let _ =
        bench.upload_volume(&UploadVolume::to(&raw), ByteStream::from_bytes(content.clone())).await.unwrap();
    let back = bench.download_volume(&raw, &DownloadVolume::all()).await.unwrap();
    assert_eq!(back.length(), 4 << 20);
    assert_eq!(back.collect(8 << 20).await.unwrap(), content);
    let part = DownloadVolume::all().offset(ByteSize::bytes(1000)).length(ByteSize::bytes(10));
    let part = bench.download_volume(&raw, &part).await.unwrap().collect(100).await.unwrap();
    assert_eq!(part, content.slice(1000..1010));
    // A reader that goes away early ends the thread behind it.
    drop(bench.download_volume(&raw, &DownloadVolume::all()).await.unwrap());
    let large = ByteStream::new(
        5 << 20,
        futures::stream::repeat_with(|| Ok(Bytes::from(vec![0; 1 << 20]))).take_chunks(5),
    );
    let error = bench.upload_volume(&UploadVolume::to(&raw), large).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
    let short = ByteStream::new(100, futures::stream::iter([Ok(Bytes::from("short"))]));
    let create = UploadVolume::Create(VolumeSpec::new(&pool, "short.img", ByteSize::bytes(1)));
    assert!(bench.upload_volume(&create, short).await.is_err());
    assert_eq!(bench.volumes().await, ["raw.img"]);

    let copy = done(&bench, bench.clone_volume(&raw, &CloneVolume::new("copy.img")).await.unwrap()).await;
    let back = bench.download_volume(&copy, &DownloadVolume::all()).await.unwrap();
    assert_eq!(back.collect(8 << 20).await.unwrap(), content);
    let error = bench.resize_volume(&copy, &ResizeVolume::grow_to(ByteSize::mib(1))).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    let _ = bench.resize_volume(&copy, &ResizeVolume::grow_to(ByteSize::mib(6))).await.unwrap();
    assert_eq!(bench.get_volume(&copy).await.unwrap().capacity, ByteSize::mib(6));
    let thin = VolumeSpec::new(&pool, "thin.img", ByteSize::mib(6)).format(VolumeFormat::Raw);
    let thin = bench.create_volume(&thin).await.unwrap().output;
    let _ = bench
        .resize_volume(&thin, &ResizeVolume::grow_to(ByteSize::mib(2)).allow_shrink(true))
        .await
        .unwrap();
    assert_eq!(bench.get_volume(&thin).await.unwrap().capacity, ByteSize::mib(2));
    done(&bench, bench.wipe_volume(&copy, WipeAlgorithm::Zero).await.unwrap()).await;
    let back =
        bench.download_volume(&copy, &DownloadVolume::all()).await.unwrap().collect(8 << 20).await.unwrap();
    assert!(back.iter().all(|byte| *byte == 0));

    let linked = VolumeSpec::new(&pool, "top.qcow2", ByteSize::mib(8)).backing(&raw);
    let linked = bench.create_volume(&linked).await.unwrap().output;
    assert!(bench.get_volume(&linked).await.unwrap().backing.unwrap().ends_with("raw.img"));
    let full =
        VolumeSpec::new(&pool, "full.img", ByteSize::mib(2)).format(VolumeFormat::Raw).preallocate(true);
    let full = bench.create_volume(&full).await.unwrap().output;
    assert!(bench.get_volume(&full).await.unwrap().allocation.unwrap() >= ByteSize::mib(2));
    let _ = bench.delete_volume(&full).await.unwrap();
    assert!(bench.delete_volume(&full).await.unwrap_err().is_not_found());
    bench.end().await;
}

/// `take` under a name that no other trait has.
trait TakeChunks: futures::Stream + Sized {
    fn take_chunks(self, count: usize) -> futures::stream::Take<Self> {
        futures::StreamExt::take(self, count)
    }
}

impl<S: futures::Stream> TakeChunks for S {}

#[tokio::test(flavor = "multi_thread")]
async fn snapshots_and_clones_of_a_real_machine() {
    let Some(bench) = Bench::new("snap").await else { return };
    let vm = bench.make(&bench.idle("a").disk(DiskSpec::new_volume(ByteSize::mib(16)))).await;
    let _ = bench.create_snapshot(&vm, &SnapshotSpec::new("cold")).await.unwrap();
    bench.power(&vm, PowerAction::Start).await;
    let _ = bench.create_snapshot(&vm, &SnapshotSpec::new("warm").memory(true)).await.unwrap();
    let tree = bench.list_snapshots(&vm).await.unwrap();
    let warm = tree.get(&"warm".into()).unwrap();
    assert!(warm.memory && warm.current && warm.parent == Some("cold".into()));
    assert!(!tree.get(&"cold".into()).unwrap().memory);
    let _ = bench.revert_snapshot(&vm, &"cold".into(), &RevertSnapshot::new()).await.unwrap();
    assert_eq!(bench.get_vm(&vm).await.unwrap().state, VmState::Stopped);
    let _ = bench.revert_snapshot(&vm, &"warm".into(), &RevertSnapshot::new()).await.unwrap();
    assert_eq!(bench.get_vm(&vm).await.unwrap().state, VmState::Running);
    let error = bench.clone_vm(&vm, &CloneSpec::new("snap-no")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidState);
    let _ = bench.delete_snapshot(&vm, &"cold".into(), &DeleteSnapshot::with_children()).await.unwrap();
    assert!(bench.list_snapshots(&vm).await.unwrap().is_empty());
    bench.power(&vm, PowerAction::PowerOff).await;
    let raw = DiskSpec::new_volume(ByteSize::mib(16)).format(VolumeFormat::Raw);
    let plain = bench.make(&bench.idle("raw").disk(raw)).await;
    let error = bench.create_snapshot(&plain, &SnapshotSpec::new("a")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidState, "{error}");

    let copy = done(&bench, bench.clone_vm(&vm, &CloneSpec::new("snap-copy")).await.unwrap()).await;
    let linked =
        done(&bench, bench.clone_vm(&vm, &CloneSpec::new("snap-link").linked(true)).await.unwrap()).await;
    for clone in [&copy, &linked] {
        bench.power(clone, PowerAction::Start).await;
        assert_eq!(bench.get_vm(clone).await.unwrap().state, VmState::Running);
    }
    let volume = bench.get_vm_config(&linked).await.unwrap().disks[0].volume.clone().unwrap();
    assert!(bench.get_volume(&volume).await.unwrap().backing.unwrap().ends_with("snap-a-vda.qcow2"));
    // A copy of the linked one needs nobody.
    bench.power(&linked, PowerAction::PowerOff).await;
    let alone = done(&bench, bench.clone_vm(&linked, &CloneSpec::new("snap-alone")).await.unwrap()).await;
    let volume = bench.get_vm_config(&alone).await.unwrap().disks[0].volume.clone().unwrap();
    assert_eq!(bench.get_volume(&volume).await.unwrap().backing, None);

    // The linked one has no content without the first one's disk.
    let before = bench.volumes().await;
    let error = bench.delete_vm(&vm, &DeleteVm::with_disks()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidState, "{error}");
    assert!(error.message().contains("`snap-link`"), "{error}");
    assert_eq!((bench.get_vm(&vm).await.unwrap().name.as_str(), bench.volumes().await), ("snap-a", before));
    let _ = bench.delete_vm(&linked, &DeleteVm::with_disks()).await.unwrap();
    let _ = bench.delete_vm(&vm, &DeleteVm::with_disks()).await.unwrap();
    assert!(!bench.volumes().await.iter().any(|name| name.starts_with("snap-a-")));
    bench.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_of_two_guests_outlives_one() {
    let Some(bench) = Bench::new("two").await else { return };
    let tools = VolumeSpec::new(bench.name.as_str(), "tools.img", ByteSize::mib(2)).format(VolumeFormat::Raw);
    let tools = bench.create_volume(&tools).await.unwrap().output;
    let spec = |suffix| {
        let read_only = DiskSpec::volume(&tools).read_only(true);
        bench.idle(suffix).disk(DiskSpec::new_volume(ByteSize::mib(2))).disk(read_only)
    };
    let (a, b) = (bench.make(&spec("a")).await, bench.make(&spec("b")).await);
    let slot = bench.get_vm_config(&a).await.unwrap().disks[1].id.clone();
    let error = bench.delete_vm(&a, &DeleteVm::new(DisposeDisks::Listed(vec![slot]))).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidState, "{error}");
    assert!(error.message().contains("`two-b`"), "{error}");
    let _ = bench.delete_vm(&a, &DeleteVm::with_disks()).await.unwrap();
    let mut left = bench.volumes().await;
    left.sort();
    assert_eq!(left, ["tools.img", "two-b-vda.qcow2"]);
    let _ = bench.delete_vm(&b, &DeleteVm::with_disks()).await.unwrap();
    assert!(bench.volumes().await.is_empty());
    bench.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn devices_come_and_go_while_it_runs() {
    let Some(bench) = Bench::new("plug").await else { return };
    let network =
        NetworkSpec::isolated("plug", "10.77.2.1/24".parse().unwrap()).bridge("hvplug0").start(true);
    let _ = bench.create_network(&network).await.unwrap();
    let spec = bench.booting("a").disk(DiskSpec::new_volume(ByteSize::mib(16))).start(true);
    let vm = bench.make(&spec).await;
    bench.sees("a", "GUEST-READY").await;
    bench.has_agent(&vm).await;
    let disk = bench.attach_disk(&vm, &DiskSpec::new_volume(ByteSize::mib(8))).await.unwrap().output;
    let nic = bench.attach_nic(&vm, &NicSpec::network("plug")).await.unwrap().output;
    let config = bench.get_vm_config(&vm).await.unwrap();
    assert_eq!((config.disks.len(), config.nics.len()), (2, 1));
    let _ = bench.resize_disk(&vm, &disk, ByteSize::mib(12)).await.unwrap();
    let error = bench.resize_disk(&vm, &disk, ByteSize::mib(4)).await.unwrap_err();
    assert!(error.fields().contains_key("capacity"), "{error}");
    let _ = bench.update_nic(&vm, &nic, &NicChange::new().link_down(true)).await.unwrap();
    assert!(bench.get_vm_config(&vm).await.unwrap().nics[0].link_down);
    let seen = ExecSpec::new("/bin/sh").arg("-c").arg("cat /sys/block/vdb/size");
    let seen = bench.exec_in_guest(&vm, &seen).await.unwrap();
    assert_eq!(String::from_utf8_lossy(&seen.stdout).trim(), (12 * 2048).to_string());
    let _ = bench.detach_disk(&vm, &disk, &DetachDisk::with_volume()).await.unwrap();
    let _ = bench.detach_nic(&vm, &nic).await.unwrap();
    let config = bench.get_vm_config(&vm).await.unwrap();
    assert_eq!((config.disks.len(), config.nics.len()), (1, 0));
    assert_eq!(bench.volumes().await, ["plug-a-vda.qcow2"]);
    bench.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn hand_written_xml_survives_an_update() {
    let Some(bench) = Bench::new("keep").await else { return };
    let vm = bench.make(&bench.idle("a")).await;
    let native = bench.get_vm_config(&vm).await.unwrap().native.unwrap();
    let arguments = "<qemu:commandline xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'><qemu:arg value='-name'/>\
         <qemu:arg value='mine'/></qemu:commandline></domain>";
    let edited = native.replace("</domain>", arguments);
    bench
        .with_connection(move |conn| {
            hypervisor_libvirt::virt::domain::Domain::define_xml(conn, &edited).map(drop)
        })
        .await
        .unwrap();
    let _ = bench.update_vm(&vm, &VmChange::new().memory(ByteSize::mib(96))).await.unwrap();
    let native = bench.get_vm_config(&vm).await.unwrap().native.unwrap();
    assert!(native.contains("<qemu:arg value='mine'/>"), "{native}");
    bench.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn it_says_what_it_is() {
    let Some(bench) = Bench::new("info").await else { return };
    let host = bench.list_hosts(&page()).await.unwrap().items.remove(0);
    assert!(host.cpus.unwrap() > 0 && host.version.is_some(), "{host:?}");
    assert!(bench.get_host_metrics(&host.id).await.unwrap().cpu_time.unwrap() > Duration::ZERO);
    assert!(bench.get_cluster().await.unwrap().quorate);
    assert_eq!(bench.info().backend, "libvirt");
    for (capability, support) in bench.capabilities().iter() {
        if let Support::Unsupported(reason) = support {
            assert!(reason.len() > 10, "{capability}: {reason}");
        }
    }
    let spec = NetworkSpec::isolated("info", "10.77.3.1/24".parse().unwrap()).bridge("hvinfo0").start(true);
    let network = bench.create_network(&spec).await.unwrap().output;
    let other = NetworkSpec::isolated("info-2", "10.77.3.1/24".parse().unwrap()).bridge("hvinfo0");
    let clash = bench.create_network(&other).await.unwrap_err();
    assert!(matches!(clash.kind(), ErrorKind::Conflict | ErrorKind::AlreadyExists), "{clash}");
    let _ = bench.update_network(&network, &NetworkChange::new().autostart(true)).await.unwrap();
    assert!(bench.get_network(&network).await.unwrap().autostart);
    bench.end().await;
}
