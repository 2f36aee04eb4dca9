//! Everything that the HyperSDK document offers, in its order, against a real libvirtd: the table in the README, run.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests fail by panicking")]

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::bench::{BOOT, Bench};
use hypervisor_core::model::*;
use hypervisor_core::{Hypervisor, Task};
use hypervisor_libvirt::Libvirt;

/// The end of what a call has begun.
async fn ended<T: Clone + Send + Sync + 'static>(task: hypervisor_core::Result<Task<T>>) -> T {
    task.unwrap().await.unwrap()
}

async fn connect() -> Arc<dyn Hypervisor> {
    let uri = std::env::var("HYPERVISOR_TEST_LIBVIRT_URI").unwrap();
    Arc::new(Libvirt::connect(format!("{uri}&hv_pool=default").parse().unwrap()).await.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn networks() {
    let Some(bench) = Bench::new("par1").await else { return };
    let hv = connect().await;
    let spec = NetworkSpec::nat("par1", "10.77.12.1/24".parse().unwrap())
        .bridge("hvpar1")
        .dhcp(DhcpRange::new("10.77.12.10".parse().unwrap(), "10.77.12.100".parse().unwrap()));
    let network = ended(hv.networks().create(&spec).await).await;
    assert!(hv.networks().list().await.unwrap().items.iter().any(|found| found.name == "par1"));
    let info = network.info().await.unwrap();
    assert!(!info.active && info.bridge.as_deref() == Some("hvpar1"), "{info:?}");
    ended(network.start().await).await;
    let vm = hv.vm(bench.make(&bench.idle("a").start(true)).await);
    let nic = ended(vm.attach_nic(&NicSpec::network("par1").model(NicModel::Virtio)).await).await;
    assert_eq!(vm.config().await.unwrap().nics.len(), 1);
    // Its firmware does not let go of a device; a guest that is off has nothing to let go of.
    ended(vm.power_off().await).await;
    ended(vm.detach_nic(nic).await).await;
    assert!(vm.config().await.unwrap().nics.is_empty());
    ended(network.stop().await).await;
    ended(network.delete().await).await;
    bench.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn volumes() {
    let Some(bench) = Bench::new("par2").await else { return };
    let hv = connect().await;
    let spec = VolumeSpec::new("par2", "data", ByteSize::mib(2)).format(VolumeFormat::Qcow2);
    let data = ended(hv.volumes().create(&spec).await).await;
    assert_eq!(data.info().await.unwrap().capacity, ByteSize::mib(2));
    let copy = ended(data.clone_as(&CloneVolume::new("copy")).await).await;
    ended(copy.resize(&ResizeVolume::grow_to(ByteSize::mib(4))).await).await;
    assert!(copy.resize(&ResizeVolume::grow_to(ByteSize::mib(1))).await.is_err());
    ended(copy.delete().await).await;
    let file = VolumeSpec::new("par2", "file", ByteSize::mib(1)).format(VolumeFormat::Raw);
    let content = ByteStream::from_bytes(vec![7; 1 << 20]);
    let file = ended(hv.volumes().upload(&UploadVolume::Create(file), content).await).await;
    ended(file.wipe(WipeAlgorithm::Zero).await).await;
    let left = file.download(&DownloadVolume::all()).await.unwrap().collect(2 << 20).await.unwrap();
    assert!(left.len() == 1 << 20 && left.iter().all(|byte| *byte == 0));
    bench.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn statistics() {
    let Some(bench) = Bench::new("par3").await else { return };
    let hv = connect().await;
    let network =
        NetworkSpec::isolated("par3", "10.77.13.1/24".parse().unwrap()).bridge("hvpar3").start(true);
    ended(hv.networks().create(&network).await).await;
    let disk = DiskSpec::new_volume(ByteSize::mib(16));
    let spec = bench.booting("a").disk(disk).nic(NicSpec::network("par3")).start(true);
    let vm = hv.vm(bench.make(&spec).await);
    vm.wait_for_agent(BOOT).await.unwrap();
    let load = vm.metrics().await.unwrap();
    assert!(load.cpu_time.unwrap() > Duration::ZERO && load.memory_total == Some(ByteSize::mib(128)));
    let extra = load.extra.get("libvirt");
    assert!(extra["cpu_user_ns"].as_u64().is_some() && extra["cpu_system_ns"].as_u64().is_some(), "{extra}");
    assert!(load.memory_used.is_some() && load.memory_resident.is_some(), "{load:?}");
    assert!(load.disks[&"vda".into()].read_requests > 0 && load.nics.len() == 1, "{load:?}");
    let all = hv.vms().metrics().await.unwrap().items;
    assert!(all.iter().any(|load| load.vm == *vm.id()));
    bench.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn batches() {
    let Some(bench) = Bench::new("par4").await else { return };
    let hv = connect().await;
    let mut vms = Vec::new();
    for name in ["a", "b"] {
        vms.push(bench.make(&bench.idle(name).disk(DiskSpec::new_volume(ByteSize::mib(8)))).await);
    }
    let all = async |op: &dyn Fn(&VmId) -> BatchOp| {
        let batch = vms.iter().fold(hv.batch(), |batch, vm| batch.push(op(vm)));
        let report = batch.run().await.unwrap();
        assert!(report.all_done() && report.outcomes.len() == 2, "{report:?}");
    };
    let power = |action: PowerAction| move |vm: &VmId| BatchOp::PowerVm { vm: vm.clone(), action };
    all(&power(PowerAction::Start)).await;
    all(&power(PowerAction::Pause)).await;
    all(&power(PowerAction::Resume)).await;
    all(&power(PowerAction::Reset)).await;
    all(&power(PowerAction::Reboot)).await;
    all(&|vm| BatchOp::CreateSnapshot {
        vm: vm.clone(),
        spec: SnapshotSpec::new("backup").description("before"),
    })
    .await;
    all(&|vm| BatchOp::DeleteSnapshot {
        vm: vm.clone(),
        snapshot: "backup".into(),
        options: DeleteSnapshot::only(),
    })
    .await;
    // Firmware does not listen to its power button, so each power goes at the end of its time.
    all(&power(PowerAction::Shutdown(Shutdown::new().power_off_after(Duration::from_secs(1))))).await;
    all(&power(PowerAction::Start)).await;
    all(&power(PowerAction::PowerOff)).await;
    all(&|vm| BatchOp::DeleteVm { vm: vm.clone(), options: DeleteVm::with_disks() }).await;
    assert!(bench.volumes().await.is_empty());
    // One that fails says so, beside those that do not.
    let report = hv.batch().start("4c7a1e60-5a0c-4d3e-8d0a-0f4bd6a9c001").run().await.unwrap();
    assert!(!report.all_done());
    bench.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn clones_and_templates() {
    let Some(bench) = Bench::new("par5").await else { return };
    let hv = connect().await;
    let vm = hv.vm(bench.make(&bench.idle("a").disk(DiskSpec::new_volume(ByteSize::mib(8)))).await);
    let copy = ended(vm.clone_as(&CloneSpec::new("par5-copy")).await).await;
    assert_ne!(copy.id(), vm.id());
    let report = vm.clone_many(&CloneMany::new("par5-web", 3)).await.unwrap();
    assert!(report.all_done(), "{report:?}");
    for name in ["par5-web-1", "par5-web-2", "par5-web-3"] {
        hv.vms().by_name(name).await.unwrap();
    }
    let spec = TemplateSpec::copy("par5-template").description("base");
    let template = ended(vm.to_template(&spec).await).await;
    let deploy = DeploySpec::new("par5-new").cpus(2).memory(ByteSize::mib(96)).autostart(true);
    let new = ended(template.deploy(&deploy).await).await;
    let info = new.info().await.unwrap();
    assert_eq!((info.cpus, info.memory, info.autostart), (Some(2), Some(ByteSize::mib(96)), Some(true)));
    let templates = hv.vms().list(&VmQuery::all().template(true)).await.unwrap().items;
    assert!(templates.iter().any(|found| found.name == "par5-template"));
    let folder = bench.folder.join("export");
    std::fs::create_dir_all(&folder).unwrap();
    let files =
        ended(template.export(&ExportSpec::new(folder.display().to_string()).compress(true)).await).await;
    assert_eq!(files.disks.len(), 1);
    for file in files.disks.iter().chain([&files.definition]) {
        assert!(std::fs::metadata(file).unwrap().len() > 0, "{file}");
    }
    bench.end().await;
}
