//! The handles over the reference backend.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use futures::TryStreamExt;

use crate::layer::Stack;
use crate::memory::Memory;
use crate::model::*;
use crate::{ErrorKind, Hypervisor};

const MINUTE: Duration = Duration::from_secs(60);

fn memory() -> Arc<dyn Hypervisor> {
    Arc::new(Memory::builder().hosts(2).task_time(Duration::from_secs(5)).build())
}

#[tokio::test(start_paused = true)]
async fn every_noun_has_its_verbs() {
    let hv = memory();
    let hosts = hv.hosts().all().await.unwrap();
    assert_eq!(hosts.len(), 2);
    assert_eq!(hv.host(&hosts.items[0].id).info().await.unwrap(), hosts.items[0]);
    assert_eq!(hv.cluster().await.unwrap().hosts.len(), 2);

    let pool = hv.pools().all(&PoolQuery::all()).await.unwrap().items.remove(0).id;
    let spec = VolumeSpec::new(&pool, "data", ByteSize::gib(1));
    let volume = hv.volumes().create(&spec).await.unwrap().await.unwrap();
    volume.resize(&ResizeVolume::grow_to(ByteSize::gib(2))).await.unwrap().await.unwrap();
    assert_eq!(volume.info().await.unwrap().capacity, ByteSize::gib(2));
    let all = hv.volumes().all().await.unwrap();
    assert_eq!(all.items, hv.pool(&pool).volumes().await.unwrap().items);
    volume.wipe(WipeAlgorithm::Zero).await.unwrap().await.unwrap();
    volume.delete().await.unwrap().await.unwrap();
    assert!(volume.info().await.unwrap_err().is_not_found());

    let network = NetworkSpec::isolated("lab", "10.9.0.1/24".parse().unwrap());
    let network = hv.networks().create(&network).await.unwrap().await.unwrap();
    network.start().await.unwrap().await.unwrap();
    assert_eq!(network.delete().await.unwrap_err().kind(), ErrorKind::InvalidState);
    network.stop().await.unwrap().await.unwrap();
    network.delete().await.unwrap().await.unwrap();

    let group = hv.groups().create(&GroupSpec::new("team")).await.unwrap().await.unwrap();
    assert_eq!(hv.groups().all().await.unwrap().len(), 1);
    group.delete().await.unwrap().await.unwrap();
    assert!(!hv.tasks().all(&TaskQuery::all()).await.unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_guest_lives_its_whole_life_under_layers() {
    let hv = Stack::standard(memory()).build();
    let spec = VmSpec::new("web")
        .agent(true)
        .disk(DiskSpec::new_volume(ByteSize::gib(2)))
        .nic(NicSpec::network("default"));
    let vm = hv.vms().create(&spec).await.unwrap().await.unwrap();
    vm.start().await.unwrap().await.unwrap();
    vm.wait_until_running(MINUTE).await.unwrap();
    vm.wait_for_agent(MINUTE).await.unwrap();
    let address = vm.wait_for_address(MINUTE, GuestAddress::is_reachable).await.unwrap();
    assert!(matches!(address.address, IpAddr::V4(_)));
    vm.agent().write_file("/etc/motd", "hello", &WriteFile::replace()).await.unwrap();
    assert_eq!(vm.agent().read_file("/etc/motd", ByteSize::kib(1)).await.unwrap(), "hello");

    let backup = vm.back_up(&BackupSpec::new()).await.unwrap().await.unwrap();
    assert_eq!(vm.backups().await.unwrap().items[0].id, backup);
    let restored =
        hv.backups().restore(&backup, &RestoreBackup::new_vm("again")).await.unwrap().await.unwrap();
    assert_eq!(restored.info().await.unwrap().name, "again");

    let outcome = vm.update(&VmChange::new().description("changed")).await.unwrap().await.unwrap();
    assert_eq!(outcome.needs, RestartNeed::None);
    assert_eq!(vm.config().await.unwrap().spec.description.as_deref(), Some("changed"));
    vm.shutdown().await.unwrap().await.unwrap();
    vm.wait_until_stopped(MINUTE).await.unwrap();
    let task = vm.clone_as(&CloneSpec::new("copy")).await.unwrap();
    let (seen, log) = tokio::join!(
        task.progress().map_ok(|info| info.state).try_collect::<Vec<_>>(),
        task.log().try_collect::<Vec<_>>(),
    );
    assert_eq!(seen.unwrap().last(), Some(&TaskState::Succeeded));
    assert!(!log.unwrap().is_empty());
    let copy = task.await.unwrap();
    let template = copy.to_template(&TemplateSpec::in_place()).await.unwrap().await.unwrap();
    let deployed = template.deploy(&DeploySpec::new("deployed")).await.unwrap().await.unwrap();
    assert_eq!(deployed.state().await.unwrap(), VmState::Stopped);
    vm.delete(&DeleteVm::with_disks()).await.unwrap().await.unwrap();
    assert!(!vm.exists().await.unwrap());
}

#[tokio::test(start_paused = true)]
async fn a_handle_does_not_touch_another_guest_under_the_same_id() {
    let hv = memory();
    let id = VmId::from("150");
    let make = async || hv.vms().create(&VmSpec::new("web").id(&id)).await.unwrap().await.unwrap();
    make().await;
    let first = hv.vms().get(&id).await.unwrap();
    hv.vm(&id).delete(&DeleteVm::with_disks()).await.unwrap().await.unwrap();
    make().await;
    let error = first.delete(&DeleteVm::with_disks()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert!(first.exists().await.unwrap());
}

#[tokio::test(start_paused = true)]
async fn batches_run_on_native_bulk_calls_too() {
    let hv = memory();
    let names = (0..10).map(|n| VmSpec::new(format!("v{n}")));
    let made =
        names.fold(hv.batch(), crate::BatchBuilder::create).run().await.unwrap().into_result().unwrap();
    let start =
        made.vms().fold(hv.batch(), |batch, vm| batch.start(vm)).concurrency(8).on_error(OnError::Stop);
    assert!(start.run().await.unwrap().all_done());
    let running = hv.vms().all(&VmQuery::all().state(VmState::Running)).await.unwrap();
    assert_eq!(running.len(), 10);
    let again = start.run().await.unwrap();
    assert_eq!(
        again.outcomes.iter().filter(|outcome| outcome.error().is_some()).count(),
        8,
        "what had begun"
    );
    assert_eq!(again.outcomes[0].error().unwrap().kind(), ErrorKind::InvalidState);
}
