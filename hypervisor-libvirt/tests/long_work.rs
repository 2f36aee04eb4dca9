//! Work that takes long, on a real libvirtd: how far it is, and how it is ended.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests fail by panicking")]

mod common;

use std::time::Duration;

use bytes::Bytes;
use common::bench::{Bench, page};
use common::course::{follow, in_the_middle};
use common::{done, reaches};
use hypervisor_core::ErrorKind;
use hypervisor_core::model::*;
use hypervisor_core::traits::*;
use hypervisor_libvirt::virt::domain::Domain;
use hypervisor_libvirt::virt::domain_snapshot::DomainSnapshot;
use hypervisor_libvirt::{BlockCommit, BlockCopy, BlockPull};

/// A guest whose disk has `files` files, and their paths from the one that it writes to down.
async fn layered(bench: &Bench, suffix: &str, files: usize) -> (VmId, DiskId, Vec<String>) {
    let disk = DiskSpec::new_volume(ByteSize::mib(32));
    let vm = bench.make(&bench.idle(suffix).disk(disk).start(true)).await;
    for layer in 1..files {
        let path = bench.folder.join("pool").join(format!("{suffix}-{layer}.qcow2"));
        let xml = format!(
            "<domainsnapshot><disks><disk name='vda'><source file='{}'/></disk></disks></domainsnapshot>",
            path.display()
        );
        let id = vm.to_string();
        let take = move |conn: &hypervisor_libvirt::virt::connect::Connect| {
            let domain = Domain::lookup_by_uuid_string(conn, &id)?;
            // Disks only, without metadata.
            DomainSnapshot::create_xml(&domain, &xml, 0x10 | 0x4).map(drop)
        };
        bench.with_connection(take).await.unwrap();
    }
    let slot = DiskId::from("vda");
    let chain = bench.disk_chain(&vm, &slot).await.unwrap();
    assert_eq!(chain.len(), files);
    (vm, slot, chain)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chain_of_files_is_made_shorter() {
    let Some(bench) = Bench::new("chain").await else { return };
    let (vm, disk, chain) = layered(&bench, "a", 4).await;

    // The middle two: the guest goes on writing to the same file.
    let middle = BlockCommit::all().top(&chain[1]).base(&chain[2]).delete(true);
    let course = follow(&bench, bench.block_commit(&vm, &disk, &middle).await).await;
    assert_eq!((course.end().state, course.end().progress), (TaskState::Succeeded, Some(1.0)), "{course:?}");
    let expected = [&chain[0], &chain[2], &chain[3]].map(String::clone);
    assert_eq!(bench.disk_chain(&vm, &disk).await.unwrap(), expected);
    assert!(!std::path::Path::new(&chain[1]).exists());

    let pull = BlockPull::all().base(&chain[3]);
    let course = follow(&bench, bench.block_pull(&vm, &disk, &pull).await).await;
    assert_eq!(course.end().state, TaskState::Succeeded, "{course:?}");
    assert_eq!(bench.disk_chain(&vm, &disk).await.unwrap(), [chain[0].clone(), chain[3].clone()]);

    // The one that the guest writes to: it goes on with the lowest.
    let all = BlockCommit::all().delete(true);
    let course = follow(&bench, bench.block_commit(&vm, &disk, &all).await).await;
    assert_eq!(course.end().state, TaskState::Succeeded, "{course:?}");
    assert_eq!(bench.disk_chain(&vm, &disk).await.unwrap(), [chain[3].clone()]);
    let config = bench.get_vm_config(&vm).await.unwrap();
    assert_eq!(config.disks[0].path.as_ref(), Some(&chain[3]));
    assert!(!std::path::Path::new(&chain[0]).exists());

    let error = bench.block_commit(&vm, &disk, &all).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidState, "{error}");
    let error = bench.block_pull(&vm, &"vdz".into(), &BlockPull::all()).await.unwrap_err();
    assert!(error.is_not_found(), "{error}");
    bench.power(&vm, PowerAction::PowerOff).await;
    let error = bench.disk_chain(&vm, &disk).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidState, "{error}");
    bench.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_is_copied_under_its_guest() {
    let Some(bench) = Bench::new("under").await else { return };
    let seed = VolumeSpec::new("under", "seed.img", ByteSize::mib(64)).format(VolumeFormat::Raw);
    let content = ByteStream::from_bytes(vec![7_u8; 64 << 20]);
    let seed = bench.upload_volume(&UploadVolume::Create(seed), content).await.unwrap().output;
    let vm = bench.make(&bench.idle("a").disk(DiskSpec::volume(&seed)).start(true)).await;
    let disk = DiskId::from("vda");
    let original = bench.disk_chain(&vm, &disk).await.unwrap();

    let slow = BlockCopy::to("under").name("given-up.img").bandwidth(ByteSize::mib(4));
    let started = bench.block_copy(&vm, &disk, &slow).await.unwrap();
    let task = started.task.clone().unwrap();
    assert!(in_the_middle(&bench, &task).await < 1.0);
    bench.cancel_task(&task).await.unwrap();
    let course = follow(&bench, Ok(started)).await;
    assert_eq!(course.end().state, TaskState::Cancelled, "{course:?}");
    assert_eq!(bench.disk_chain(&vm, &disk).await.unwrap(), original);
    assert_eq!(bench.volumes().await, ["seed.img"]);

    let aside = BlockCopy::to("under").name("aside.img").pivot(false);
    let started = bench.block_copy(&vm, &disk, &aside).await.unwrap();
    let copy = started.output.clone();
    let course = follow(&bench, Ok(started)).await;
    assert_eq!(course.end().state, TaskState::Succeeded, "{course:?}");
    assert_eq!(bench.disk_chain(&vm, &disk).await.unwrap(), original);
    let copied = bench.download_volume(&copy, &DownloadVolume::all()).await.unwrap();
    assert!(copied.collect(65 << 20).await.unwrap().iter().all(|byte| *byte == 7));

    let over = BlockCopy::to("under").name("over.qcow2").format(VolumeFormat::Qcow2);
    let course = follow(&bench, bench.block_copy(&vm, &disk, &over).await).await;
    assert_eq!(course.end().state, TaskState::Succeeded, "{course:?}");
    let config = bench.get_vm_config(&vm).await.unwrap();
    assert_eq!(config.disks[0].volume, Some("under/over.qcow2".into()), "{config:?}");
    assert_eq!(config.disks[0].format, Some(VolumeFormat::Qcow2));
    bench.power(&vm, PowerAction::PowerOff).await;
    bench.power(&vm, PowerAction::Start).await;
    assert!(bench.disk_chain(&vm, &disk).await.unwrap()[0].ends_with("over.qcow2"));
    bench.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn copies_tell_how_far_they_are() {
    let Some(bench) = Bench::new("far").await else { return };
    let seed = VolumeSpec::new("far", "seed.img", ByteSize::mib(768)).format(VolumeFormat::Raw);
    let chunks = futures::stream::iter((0..768).map(|_| Ok(Bytes::from(vec![9_u8; 1 << 20]))));
    let content = ByteStream::new(768 << 20, chunks);
    let seed = bench.upload_volume(&UploadVolume::Create(seed), content).await.unwrap().output;
    let uploads = TaskQuery::all().operation(hypervisor_core::Operation::UploadVolume);
    let uploads = bench.list_tasks(&uploads, &page()).await.unwrap().items;
    assert_eq!((uploads[0].state, uploads[0].progress), (TaskState::Succeeded, Some(1.0)), "{uploads:?}");

    let course = follow(&bench, bench.clone_volume(&seed, &CloneVolume::new("copy.img")).await).await;
    assert_eq!((course.end().state, course.end().progress), (TaskState::Succeeded, Some(1.0)), "{course:?}");
    assert!(course.progress.is_sorted(), "{course:?}");
    assert!(course.log.iter().any(|line| line.starts_with("copies ")), "{course:?}");

    let started = bench.clone_volume(&seed, &CloneVolume::new("given-up.img")).await.unwrap();
    bench.cancel_task(started.task.as_ref().unwrap()).await.unwrap();
    let course = follow(&bench, Ok(started)).await;
    assert_eq!(course.end().state, TaskState::Cancelled, "{course:?}");
    let vm = bench.make(&bench.idle("a").disk(DiskSpec::volume(&seed))).await;
    let started = bench.clone_vm(&vm, &CloneSpec::new("far-b")).await.unwrap();
    bench.cancel_task(started.task.as_ref().unwrap()).await.unwrap();
    let copy = started.output.clone();
    let course = follow(&bench, Ok(started)).await;
    assert_eq!(course.end().state, TaskState::Cancelled, "{course:?}");
    assert!(bench.get_vm(&copy).await.unwrap_err().is_not_found());
    assert_eq!(bench.volumes().await, ["copy.img", "seed.img"]);
    bench.end().await;
}

/// A stream that gives a mebibyte and then stands still.
fn stalls() -> ByteStream {
    let first = futures::stream::iter([Ok(Bytes::from(vec![1_u8; 1 << 20]))]);
    ByteStream::new(4 << 20, futures::StreamExt::chain(first, futures::stream::pending()))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_can_be_cancelled_by_others_and_by_its_caller() {
    let Some(bench) = Bench::new("stall").await else { return };
    let target = |name: &str| {
        UploadVolume::Create(VolumeSpec::new("stall", name, ByteSize::mib(4)).format(VolumeFormat::Raw))
    };
    let running = TaskQuery::all().state(TaskState::Running);
    let cancel = async {
        loop {
            let tasks = bench.list_tasks(&running, &page()).await.unwrap().items;
            if let Some(task) = tasks.iter().find(|task| task.progress == Some(0.25)) {
                bench.cancel_task(&task.id).await.unwrap();
                return task.id.clone();
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let one = target("one.img");
    let (outcome, task) = futures::join!(bench.upload_volume(&one, stalls()), cancel);
    let error = outcome.unwrap_err();
    assert_eq!((error.kind(), error.task()), (ErrorKind::Cancelled, Some(&task)), "{error}");
    assert_eq!(bench.get_task(&task, None).await.unwrap().state, TaskState::Cancelled);
    assert!(bench.volumes().await.is_empty());

    let two = target("two.img");
    let given_up = tokio::time::timeout(Duration::from_secs(1), bench.upload_volume(&two, stalls())).await;
    assert!(given_up.is_err());
    for _ in 0..100 {
        if bench.list_tasks(&running, &page()).await.unwrap().items.is_empty() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(bench.volumes().await.is_empty());
    bench.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_power_off_that_waits_can_be_called_off() {
    let Some(bench) = Bench::new("wait").await else { return };
    let vm = bench.make(&bench.idle("a").start(true)).await;
    let asked = |limit| PowerAction::Shutdown(Shutdown::default().power_off_after(limit));
    let started = bench.power_vm(&vm, &asked(Duration::from_secs(60))).await.unwrap();
    let task = started.task.clone().unwrap();
    assert!(in_the_middle(&bench, &task).await < 0.5);
    bench.cancel_task(&task).await.unwrap();
    let course = follow(&bench, Ok(started)).await;
    assert_eq!(course.end().state, TaskState::Cancelled, "{course:?}");
    assert_eq!(bench.get_vm(&vm).await.unwrap().state, VmState::Running);

    let course = follow(&bench, bench.power_vm(&vm, &asked(Duration::from_secs(1))).await).await;
    assert_eq!(course.end().state, TaskState::Succeeded, "{course:?}");
    assert!(course.log.iter().any(|line| line.starts_with("cuts the power")), "{course:?}");
    reaches(&bench, &vm, &VmState::Stopped, Duration::from_secs(1)).await;
    done(&bench, bench.delete_vm(&vm, &DeleteVm::with_disks()).await.unwrap()).await;
    bench.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn zeros_are_written_with_progress_until_somebody_cancels() {
    let Some(bench) = Bench::new("zeros").await else { return };
    let spec = VolumeSpec::new("zeros", "full.img", ByteSize::mib(512)).format(VolumeFormat::Raw);
    let chunks = futures::stream::iter((0..512).map(|_| Ok(Bytes::from(vec![9_u8; 1 << 20]))));
    let full = UploadVolume::Create(spec.clone());
    let full = bench.upload_volume(&full, ByteStream::new(512 << 20, chunks)).await.unwrap().output;
    let last = DownloadVolume::all().offset(ByteSize::mib(511));
    let last = async || {
        let content = bench.download_volume(&full, &last).await.unwrap();
        content.collect(1 << 20).await.unwrap()
    };

    let started = bench.wipe_volume(&full, WipeAlgorithm::Zero).await.unwrap();
    let task = started.task.clone().unwrap();
    // What was sent a moment ago need not be written yet.
    while in_the_middle(&bench, &task).await < 0.05 {}
    bench.cancel_task(&task).await.unwrap();
    let course = follow(&bench, Ok(started)).await;
    assert_eq!(course.end().state, TaskState::Cancelled, "{course:?}");
    assert!(last().await.iter().all(|byte| *byte == 9), "the end is not reached");
    let first =
        bench.download_volume(&full, &DownloadVolume::all().length(ByteSize::kib(256))).await.unwrap();
    assert!(first.collect(1 << 20).await.unwrap().iter().all(|byte| *byte == 0), "the beginning is wiped");

    let course = follow(&bench, bench.wipe_volume(&full, WipeAlgorithm::Zero).await).await;
    assert_eq!((course.end().state, course.end().progress), (TaskState::Succeeded, Some(1.0)), "{course:?}");
    assert!(course.progress.len() > 2 && course.progress.is_sorted(), "{course:?}");
    assert!(last().await.iter().all(|byte| *byte == 0));
    let before = bench.get_volume(&full).await.unwrap();
    assert_eq!(before.capacity, ByteSize::mib(512));

    // A file with holes is not filled.
    let sparse = VolumeSpec::new("zeros", "sparse.img", ByteSize::gib(8)).format(VolumeFormat::Raw);
    let sparse = bench.create_volume(&sparse).await.unwrap().output;
    let started = bench.wipe_volume(&sparse, WipeAlgorithm::Zero).await.unwrap();
    let task = bench.get_task(started.task.as_ref().unwrap(), None).await.unwrap();
    assert!(!task.can_cancel, "{task:?}");
    done(&bench, started).await;
    let info = bench.get_volume(&sparse).await.unwrap();
    assert_eq!(info.capacity, ByteSize::gib(8));
    assert!(info.allocation.unwrap() < ByteSize::mib(1), "{info:?}");
    bench.end().await;
}
