//! The driver against libvirt's own test driver: no daemon, no root, each test with a host of its-own.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests fail by panicking")]

mod common;

use std::path::PathBuf;

use common::done;
use hypervisor_core::model::*;
use hypervisor_core::traits::*;
use hypervisor_core::{ErrorKind, Hypervisor, Operation};
use hypervisor_libvirt::Libvirt;

/// A host of the test driver that nobody else sees.
struct Host {
    file: PathBuf,
    libvirt: Libvirt,
}

impl std::ops::Deref for Host {
    type Target = Libvirt;

    fn deref(&self) -> &Libvirt {
        &self.libvirt
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        drop(std::fs::remove_file(&self.file));
    }
}

const NODE: &str = "<node><cpu><mhz>2000</mhz><model>x86_64</model><active>4</active></cpu><memory>16777216</memory>\
    <network><name>default</name><bridge name='virbr0'/><forward/><ip address='192.168.122.1' netmask='255.255.255.0'>\
    <dhcp><range start='192.168.122.2' end='192.168.122.254'/></dhcp></ip></network>\
    <pool type='dir'><name>default</name><target><path>/default-pool</path></target></pool></node>";

async fn host() -> Host {
    let file = std::env::temp_dir().join(format!("hv-libvirt-{}.xml", uuid::Uuid::new_v4()));
    std::fs::write(&file, NODE).unwrap();
    let libvirt = Libvirt::connect(format!("test://{}", file.display()).parse().unwrap()).await.unwrap();
    Host { file, libvirt }
}

fn pool() -> PageRequest {
    PageRequest::first()
}

async fn volumes(host: &Host) -> Vec<String> {
    let page = host.list_volumes(&"default".into(), &pool()).await.unwrap();
    page.items.into_iter().map(|volume| volume.name).collect()
}

fn spec(name: &str) -> VmSpec {
    VmSpec::new(name).disk(DiskSpec::new_volume(ByteSize::mib(16))).nic(NicSpec::network("default"))
}

#[tokio::test]
async fn a_guest_lives_and_leaves_nothing() {
    let host = host().await;
    let wanted = spec("web-1")
        .cpus(2)
        .memory(ByteSize::mib(64))
        .tag("web")
        .metadata("owner", "ops")
        .client_token("t-1");
    let vm = done(&host, host.create_vm(&wanted).await.unwrap()).await;
    assert_eq!(volumes(&host).await, ["web-1-vda.qcow2"]);

    let info = host.get_vm(&vm).await.unwrap();
    assert_eq!(
        (info.state.clone(), info.cpus, info.memory),
        (VmState::Stopped, Some(2), Some(ByteSize::mib(64)))
    );
    assert!(info.tags.contains("web") && info.uid.as_deref() == Some(vm.as_str()));
    let listed = host.list_vms(&VmQuery::all().client_token("t-1"), &pool()).await.unwrap();
    assert_eq!(listed.items, [info]);

    let config = host.get_vm_config(&vm).await.unwrap();
    assert_eq!(config.disks[0].volume.as_ref().unwrap().as_str(), "default/web-1-vda.qcow2");
    assert_eq!(config.nics[0].source, NicSource::Network("default".into()));
    assert_eq!(config.spec.metadata["owner"], "ops");

    let power = async |action| host.power_vm(&vm, &action).await.map(|_| ());
    power(PowerAction::Start).await.unwrap();
    assert_eq!(power(PowerAction::Start).await.unwrap_err().kind(), ErrorKind::InvalidState);
    power(PowerAction::Pause).await.unwrap();
    assert_eq!(host.get_vm(&vm).await.unwrap().state, VmState::Paused);
    power(PowerAction::Resume).await.unwrap();
    power(PowerAction::Hibernate).await.unwrap();
    assert_eq!(host.get_vm(&vm).await.unwrap().state, VmState::Hibernated);
    assert_eq!(host.list_vms(&VmQuery::all(), &pool()).await.unwrap().items[0].state, VmState::Hibernated);
    power(PowerAction::Start).await.unwrap();
    assert_eq!(host.get_vm(&vm).await.unwrap().state, VmState::Running);
    let error = host.delete_vm(&vm, &DeleteVm::with_disks()).await.unwrap_err();
    assert_eq!((error.kind(), error.operation()), (ErrorKind::InvalidState, Some(Operation::DeleteVm)));
    power(PowerAction::PowerOff).await.unwrap();
    let error = host.delete_vm(&vm, &DeleteVm::with_disks().expected_uid("other")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    let _ = host.delete_vm(&vm, &DeleteVm::with_disks()).await.unwrap();
    assert!(volumes(&host).await.is_empty());
    assert!(host.get_vm(&vm).await.unwrap_err().is_not_found());
}

#[tokio::test]
async fn a_create_that_fails_leaves_no_volume() {
    let host = host().await;
    // libvirt itself refuses it, after the disk was made: the name of the machine type is no such.
    let error =
        host.create_vm(&spec("web-1").graphics(GraphicsKind::Unknown("laser".into()))).await.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::InvalidInput | ErrorKind::Unsupported), "{error}");
    assert_eq!(error.operation(), Some(Operation::CreateVm));
    assert!(volumes(&host).await.is_empty());
    let error = host.create_vm(&spec("web-1").disk(DiskSpec::volume("default/none"))).await.unwrap_err();
    assert!(error.is_not_found() && error.target() == Some("volume `default/none`"), "{error}");
    let missing = spec("web-1").disk(DiskSpec::new_volume(ByteSize::mib(1)).in_pool("none"));
    let error = host.create_vm(&missing).await.unwrap_err();
    assert_eq!((error.target(), error.hint()), (Some("pool `none`"), None));
    // Nobody has named this one.
    let url = format!("test://{}?hv_pool=none", host.file.display());
    let other = Libvirt::connect(url.parse().unwrap()).await.unwrap();
    let error = other.create_vm(&spec("web-1")).await.unwrap_err();
    assert_eq!(error.target(), Some("pool `none`"));
    assert!(
        error.hint().is_some_and(|hint| hint.contains("in_pool") && hint.contains("hv_pool=")),
        "{error}"
    );
    let missing = VmSpec::new("web-1").nic(NicSpec::network("none"));
    assert_eq!(host.create_vm(&missing).await.unwrap_err().target(), Some("network `none`"));
    assert!(volumes(&host).await.is_empty());
    assert!(host.list_vms(&VmQuery::all(), &pool()).await.unwrap().items.is_empty());
}

#[tokio::test]
async fn names_are_not_given_twice() {
    let host = host().await;
    done(&host, host.create_vm(&spec("web-1")).await.unwrap()).await;
    let error = host.create_vm(&spec("web-1")).await.unwrap_err();
    assert_eq!((error.kind(), error.target()), (ErrorKind::AlreadyExists, Some("vm `web-1`")));
    assert_eq!(volumes(&host).await.len(), 1);
}

#[tokio::test]
async fn bad_input_is_refused_by_field() {
    let host = host().await;
    for (spec, field) in [
        (spec(""), "name"),
        (spec("a").cpus(0), "cpus"),
        (spec("a").memory(ByteSize::bytes(5)), "memory"),
        (spec("a").id("no-uuid"), "id"),
        (spec("a").nic(NicSpec::new(NicSource::Disconnected)), "nics[1].source"),
        (spec("a").disk(DiskSpec::new_volume(ByteSize::mib(1)).slot("vda")), "disks[1].slot"),
    ] {
        let error = host.create_vm(&spec).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
        assert!(error.fields().contains_key(field), "{field}: {error:?}");
    }
    assert!(volumes(&host).await.is_empty());
}

#[tokio::test]
async fn an_update_keeps_what_is_not_named() {
    let host = host().await;
    let vm = done(&host, host.create_vm(&spec("web-1").tag("web")).await.unwrap()).await;
    let before = host.get_vm_config(&vm).await.unwrap();
    let change =
        VmChange::new().cpus(3).add_tag("big").description("d").if_revision(before.revision.clone().unwrap());
    let outcome = host.update_vm(&vm, &change).await.unwrap().output;
    assert_eq!((outcome.needs, outcome.pending.len()), (RestartNeed::None, 0));
    let after = host.get_vm_config(&vm).await.unwrap();
    assert_eq!((after.spec.cpus, after.spec.description.as_deref()), (3, Some("d")));
    assert_eq!(after.disks, before.disks);
    assert_eq!(after.nics, before.nics);
    assert_ne!(after.revision, before.revision);
    let error = host.update_vm(&vm, &change).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    let _ = host.power_vm(&vm, &PowerAction::Start).await.unwrap();
    let outcome = host.update_vm(&vm, &VmChange::new().cpus(5).remove_tag("web")).await.unwrap().output;
    assert_eq!((outcome.applied, outcome.pending), (vec!["tags".to_owned()], vec!["cpus".to_owned()]));
    assert_eq!(host.get_vm(&vm).await.unwrap().cpus, Some(3));
    assert_eq!(host.get_vm_config(&vm).await.unwrap().pending[0].field, "cpus");
    let live = VmChange::new().cpus(4).apply(ApplyPolicy::LiveOnly);
    assert_eq!(host.update_vm(&vm, &live).await.unwrap_err().kind(), ErrorKind::InvalidState);
    // This driver's guests can do without CPUs that they were started with.
    let live = VmChange::new().cpus(2).memory(ByteSize::mib(32)).apply(ApplyPolicy::LiveOnly);
    let outcome = host.update_vm(&vm, &live).await.unwrap().output;
    assert_eq!((outcome.needs, outcome.applied.len()), (RestartNeed::None, 2));
    let info = host.get_vm(&vm).await.unwrap();
    assert_eq!((info.cpus, info.memory), (Some(2), Some(ByteSize::mib(32))));
    // All or nothing: the CPUs that were taken are given back.
    let half = VmChange::new().cpus(1).memory(ByteSize::gib(8)).apply(ApplyPolicy::LiveOnly);
    assert_eq!(host.update_vm(&vm, &half).await.unwrap_err().kind(), ErrorKind::InvalidState);
    assert_eq!(host.get_vm(&vm).await.unwrap().cpus, Some(2));
    let _ = host.power_vm(&vm, &PowerAction::PowerOff).await.unwrap();
    let _ = host.update_vm(&vm, &VmChange::new().name("web-2")).await.unwrap();
    assert_eq!(host.get_vm(&vm).await.unwrap().name, "web-2");
}

#[tokio::test]
async fn a_clone_has_an_identity_of_its_own() {
    let host = host().await;
    let vm = done(&host, host.create_vm(&spec("web-1").client_token("t")).await.unwrap()).await;
    let copy = done(&host, host.clone_vm(&vm, &CloneSpec::new("web-2")).await.unwrap()).await;
    assert_ne!(vm, copy);
    let (one, two) = (host.get_vm_config(&vm).await.unwrap(), host.get_vm_config(&copy).await.unwrap());
    assert_ne!(one.nics[0].mac, two.nics[0].mac);
    assert_eq!(two.disks[0].volume.as_ref().unwrap().as_str(), "default/web-2-vda.qcow2");
    assert_eq!(two.spec.client_token, None);
    let error = host.clone_vm(&vm, &CloneSpec::new("web-2")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AlreadyExists);
    let _ = host.power_vm(&vm, &PowerAction::Start).await.unwrap();
    let error = host.clone_vm(&vm, &CloneSpec::new("web-3")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidState);
    let many = host.clone_vms(&copy, &CloneMany::new("node", 2)).await.unwrap();
    assert!(many.all_done(), "{many:?}");
    assert_eq!(volumes(&host).await.len(), 4);
}

#[tokio::test]
async fn a_template_is_deployed_and_not_started() {
    let host = host().await;
    let vm = done(&host, host.create_vm(&spec("base")).await.unwrap()).await;
    let template = done(&host, host.create_template(&vm, &TemplateSpec::in_place()).await.unwrap()).await;
    assert!(host.get_vm(&template).await.unwrap().template);
    let error = host.power_vm(&template, &PowerAction::Start).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidState);
    let mut deploy = DeploySpec::new("web-1").cpus(2);
    deploy.clone.start = true;
    let guest = done(&host, host.deploy_template(&template, &deploy).await.unwrap()).await;
    let info = host.get_vm(&guest).await.unwrap();
    assert_eq!((info.template, info.cpus, info.state), (false, Some(2), VmState::Running));
    let error = host.deploy_template(&guest, &DeploySpec::new("web-2")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidState);
}

#[tokio::test]
async fn devices_come_and_go_while_it_is_off() {
    let host = host().await;
    let vm = done(&host, host.create_vm(&spec("web-1")).await.unwrap()).await;
    let disk = host.attach_disk(&vm, &DiskSpec::new_volume(ByteSize::mib(8))).await.unwrap().output;
    assert_eq!(disk.as_str(), "vdb");
    let nic = host.attach_nic(&vm, &NicSpec::network("default").model(NicModel::E1000)).await.unwrap().output;
    let _ = host.update_nic(&vm, &nic, &NicChange::new().link_down(true)).await.unwrap();
    let config = host.get_vm_config(&vm).await.unwrap();
    assert_eq!((config.disks.len(), config.nics.len()), (2, 2));
    assert!(config.nics.iter().any(|found| found.id == nic && found.link_down));
    let _ = host.detach_disk(&vm, &disk, &DetachDisk::with_volume()).await.unwrap();
    let _ = host.detach_nic(&vm, &nic).await.unwrap();
    assert_eq!(volumes(&host).await, ["web-1-vda.qcow2"]);
    let error = host.detach_disk(&vm, &disk, &DetachDisk::keep_volume()).await.unwrap_err();
    assert_eq!(error.target(), Some("disk `vdb`"));
    assert!(host.detach_nic(&vm, &nic).await.unwrap_err().is_not_found());
    let _ = host.power_vm(&vm, &PowerAction::Start).await.unwrap();
    let error = host.attach_disk(&vm, &DiskSpec::new_volume(ByteSize::mib(8))).await.unwrap_err();
    assert!(error.is_unsupported(), "{error}");
    assert_eq!(volumes(&host).await, ["web-1-vda.qcow2"]);
}

#[tokio::test]
async fn snapshots_are_a_tree() {
    let host = host().await;
    let vm = done(&host, host.create_vm(&spec("web-1")).await.unwrap()).await;
    for name in ["a", "b", "c"] {
        let _ = host.create_snapshot(&vm, &SnapshotSpec::new(name).description(name)).await.unwrap();
    }
    let error = host.create_snapshot(&vm, &SnapshotSpec::new("a")).await.unwrap_err();
    assert_eq!((error.kind(), error.target()), (ErrorKind::AlreadyExists, Some("snapshot `a`")));
    let _ = host.revert_snapshot(&vm, &"a".into(), &RevertSnapshot::new()).await.unwrap();
    let tree = host.list_snapshots(&vm).await.unwrap();
    assert_eq!(tree.current().unwrap().id.as_str(), "a");
    assert_eq!(tree.get(&"c".into()).unwrap().parent.as_ref().unwrap().as_str(), "b");
    let error = host.delete_vm(&vm, &DeleteVm::with_disks()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidState);
    let _ = host.delete_snapshot(&vm, &"b".into(), &DeleteSnapshot::with_children()).await.unwrap();
    assert_eq!(host.list_snapshots(&vm).await.unwrap().len(), 1);
    assert!(host.get_snapshot(&vm, &"b".into()).await.unwrap_err().is_not_found());
    let _ = host.delete_vm(&vm, &DeleteVm::with_disks().snapshots(true)).await.unwrap();
}

#[tokio::test]
async fn networks_and_pools_come_and_go() {
    let host = host().await;
    let wanted = NetworkSpec::isolated("lab", "10.9.8.1/24".parse().unwrap()).dhcp_from_cidr().start(true);
    let network = host.create_network(&wanted).await.unwrap().output;
    assert_eq!(host.create_network(&wanted).await.unwrap_err().kind(), ErrorKind::AlreadyExists);
    assert_eq!(host.start_network(&network).await.unwrap_err().kind(), ErrorKind::InvalidState);
    assert_eq!(host.delete_network(&network).await.unwrap_err().kind(), ErrorKind::InvalidState);
    let _ = host.stop_network(&network).await.unwrap();
    let range = DhcpRange::new("10.9.8.10".parse().unwrap(), "10.9.8.20".parse().unwrap());
    let _ = host.update_network(&network, &NetworkChange::new().dhcp(range).autostart(true)).await.unwrap();
    let info = host.get_network(&network).await.unwrap();
    assert_eq!((info.dhcp, info.autostart, info.active), (Some(range), true, false));
    let _ = host.delete_network(&network).await.unwrap();
    assert!(host.get_network(&network).await.unwrap_err().is_not_found());

    let pool_id = host.create_pool(&PoolSpec::dir("fast", "/fast")).await.unwrap().output;
    let volume =
        host.create_volume(&VolumeSpec::new("fast", "a.img", ByteSize::mib(1))).await.unwrap().output;
    let again = host.create_volume(&VolumeSpec::new("fast", "a.img", ByteSize::mib(1))).await.unwrap_err();
    assert_eq!((again.kind(), again.target()), (ErrorKind::AlreadyExists, Some("volume `fast/a.img`")));
    let copy = done(&host, host.clone_volume(&volume, &CloneVolume::new("b.img")).await.unwrap()).await;
    assert_eq!(host.get_volume(&copy).await.unwrap().capacity, ByteSize::mib(1));
    assert!(
        host.resize_volume(&volume, &ResizeVolume::grow_to(ByteSize::mib(2)))
            .await
            .unwrap_err()
            .is_unsupported()
    );
    let _ = host.delete_pool(&pool_id, &DeletePool::with_content()).await.unwrap();
    assert!(host.get_volume(&volume).await.unwrap_err().is_not_found());
}

#[tokio::test]
async fn a_used_volume_is_not_deleted() {
    let host = host().await;
    let vm = done(&host, host.create_vm(&spec("web-1")).await.unwrap()).await;
    let volume = VolumeId::from("default/web-1-vda.qcow2");
    let error = host.delete_volume(&volume).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidState, "{error}");
    let error = host.delete_pool(&"default".into(), &DeletePool::keep_content()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidState, "{error}");
    let _ = host.delete_vm(&vm, &DeleteVm::keep_disks()).await.unwrap();
    let _ = host.delete_volume(&volume).await.unwrap();
}

#[tokio::test]
async fn load_screen_and_host() {
    let host = host().await;
    let vm = done(&host, host.create_vm(&spec("web-1").start(true)).await.unwrap()).await;
    assert_eq!(host.list_vm_metrics(&pool()).await.unwrap().items.len(), 1);
    assert!(host.get_vm_metrics(&vm).await.unwrap().cpu_time.is_some());
    let picture = host.screenshot_vm(&vm).await.unwrap();
    assert_eq!(picture.media_type, "image/png");
    assert!(picture.data.starts_with(b"\x89PNG"));
    let found = host.list_hosts(&pool()).await.unwrap().items.remove(0);
    assert_eq!(found.cpus, Some(4));
    assert!(host.get_host_metrics(&found.id).await.unwrap().memory_total.is_some());
    assert!(host.get_host(&"elsewhere".into()).await.unwrap_err().is_not_found());
    let _ = host.power_vm(&vm, &PowerAction::PowerOff).await.unwrap();
    assert_eq!(host.get_vm_metrics(&vm).await.unwrap_err().kind(), ErrorKind::InvalidState);
}

#[tokio::test]
async fn an_ephemeral_guest_vanishes() {
    let host = host().await;
    let vm = done(&host, host.create_vm(&VmSpec::new("once").ephemeral(true)).await.unwrap()).await;
    assert_eq!(host.get_vm(&vm).await.unwrap().state, VmState::Running);
    assert!(host.get_vm_config(&vm).await.unwrap().spec.ephemeral);
    let error = host.update_vm(&vm, &VmChange::new().cpus(2)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidState);
    let _ = host.power_vm(&vm, &PowerAction::PowerOff).await.unwrap();
    assert!(host.get_vm(&vm).await.unwrap_err().is_not_found());
}

const ODD: &str = include_str!("common/odd_domains.xml");

async fn odd_host(more: &str) -> Host {
    let file = std::env::temp_dir().join(format!("hv-libvirt-{}.xml", uuid::Uuid::new_v4()));
    std::fs::write(&file, ODD.replace("</node>", &format!("{more}</node>"))).unwrap();
    let libvirt = Libvirt::connect(format!("test://{}", file.display()).parse().unwrap()).await.unwrap();
    Host { file, libvirt }
}

fn odd(number: u32) -> VmId {
    VmId::from(format!("7c1e2f30-0001-4a5b-8c6d-{number:012}"))
}

#[tokio::test]
async fn odd_guests_are_listed_and_shown() {
    let host = odd_host("").await;
    let all = host.list_vms(&VmQuery::all(), &pool()).await.unwrap().items;
    assert_eq!(all.len(), ODD.matches("<domain ").count());
    for vm in &all {
        assert_eq!(host.get_vm(&vm.id).await.unwrap(), *vm);
        assert!(host.get_vm_config(&vm.id).await.unwrap().native.is_some(), "{}", vm.name);
    }
    let named = |name: &str| all.iter().find(|vm| vm.name == name).unwrap();
    let first = named("my web vm.v1 ü+%20 & <x>");
    assert_eq!((first.id.clone(), first.cpus, first.memory), (odd(1), Some(1), Some(ByteSize::gib(1))));
    assert_eq!(named("container").kind, GuestKind::Container);
    assert_eq!(named("meta").description.as_deref(), Some("two\n lines & <tags> ü"));
    let drives = host.get_vm_config(&odd(2)).await.unwrap();
    assert_eq!((drives.disks.len(), drives.disks[0].device), (1, DiskDevice::Cdrom), "floppies are left out");
    let sources = host.get_vm_config(&odd(3)).await.unwrap();
    let slots: Vec<_> = sources.disks.iter().map(|disk| disk.id.as_str()).collect();
    assert_eq!(slots, ["vda", "vdb", "vdc", "vde", "sda", "sdb"]);
    let disk = |slot: &str| sources.disks.iter().find(|disk| disk.id.as_str() == slot).unwrap();
    assert_eq!(disk("vda").path, None, "it lies in no file of the host");
    assert_eq!(disk("vdb").volume, Some("default-pool/blk-pool0-vol0".into()));
    // A spec says nothing of disks that it has no words for; as empty ones they would be others.
    let spec: Vec<_> =
        sources.spec.disks.iter().filter_map(|disk| Some(disk.slot.as_ref()?.as_str())).collect();
    assert_eq!(spec, ["vdb", "vdc", "sda", "sdb"]);
    let nics = host.get_vm_config(&odd(4)).await.unwrap().nics;
    assert_eq!(nics.len(), 8);
    let other = |kind: &str| NicSource::Other(kind.to_owned());
    assert_eq!(nics[0].source, NicSource::Direct("eth0".into()));
    let kinds: Vec<_> = [1, 2, 3, 4, 6].into_iter().map(|index: usize| nics[index].source.clone()).collect();
    assert_eq!(kinds, ["hostdev", "ethernet", "server", "mcast", "vdpa"].map(other));
    assert_eq!(nics[5].source, NicSource::Bridge("ovsbr".into()));
    assert_eq!(nics[7].source, NicSource::Network("not there".into()));
}

#[tokio::test]
async fn one_guest_that_cannot_be_read_costs_no_other() {
    // Deeper than any definition is read.
    let deep = format!(
        "<domain type='test'><name>deep</name><uuid>{}</uuid><memory>131072</memory><os><type>hvm</type></os>\
         <metadata><d:a xmlns:d='urn:deep'>{}{}</d:a></metadata>\
         <devices><disk type='file'><source file='/p/its-own'/><target dev='vda' bus='virtio'/></disk></devices></domain>",
        odd(7),
        "<d:b>".repeat(110),
        "</d:b>".repeat(110)
    );
    let host = odd_host(&deep).await;
    for _ in 0..2 {
        let all = host.list_vms(&VmQuery::all(), &pool()).await.unwrap().items;
        assert_eq!(all.len(), ODD.matches("<domain ").count() + 1);
        let found = all.iter().find(|vm| vm.id == odd(7)).unwrap();
        assert_eq!((found.name.as_str(), &found.state), ("deep", &VmState::Running));
        assert!(found.extra.get("libvirt")["trouble"].as_str().unwrap().contains("nested deeper"));
        assert_eq!(host.get_vm(&odd(7)).await.unwrap().extra, found.extra);
    }
    let error = host.get_vm_config(&odd(7)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Protocol, "{error}");
    let _ = host.power_vm(&odd(7), &PowerAction::PowerOff).await.unwrap();
    assert_eq!(host.get_vm(&odd(7)).await.unwrap().state, VmState::Stopped);
    // Nor is it in the way of a delete that has nothing to do with it.
    let _ = host.create_pool(&PoolSpec::dir("p", "/p")).await.unwrap();
    let volume = async |name: &str| host.create_volume(&VolumeSpec::new("p", name, ByteSize::mib(1))).await;
    let (mine, its) = (volume("mine").await.unwrap().output, volume("its-own").await.unwrap().output);
    let vm = host.create_vm(&VmSpec::new("z").disk(DiskSpec::volume(&mine))).await.unwrap().output;
    let _ = host.delete_vm(&vm, &DeleteVm::with_disks()).await.unwrap();
    assert!(host.get_volume(&mine).await.unwrap_err().is_not_found());
    let error = host.delete_volume(&its).await.unwrap_err();
    assert!(
        error.kind() == ErrorKind::Protocol && error.message().contains("the guest `deep` may use"),
        "{error}"
    );
    let vm = host.create_vm(&VmSpec::new("y").disk(DiskSpec::volume(&its))).await.unwrap().output;
    assert_eq!(host.delete_vm(&vm, &DeleteVm::with_disks()).await.unwrap_err().kind(), ErrorKind::Protocol);
    let _ = host.delete_vm(&vm, &DeleteVm::keep_disks()).await.unwrap();
    assert!(host.get_volume(&its).await.is_ok());
}

#[tokio::test]
async fn a_disk_that_cannot_be_copied_is_not_shared_by_a_copy() {
    let host = odd_host("").await;
    let _ = host.power_vm(&odd(3), &PowerAction::PowerOff).await.unwrap();
    let error = host.clone_vm(&odd(3), &CloneSpec::new("copy")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidState, "{error}");
    assert!(error.message().contains("`vda`") && error.message().contains("network"), "{error}");
    assert_eq!(
        host.list_vms(&VmQuery::all(), &pool()).await.unwrap().items.len(),
        ODD.matches("<domain ").count()
    );
}

#[tokio::test]
async fn what_it_does_not_claim_it_refuses() {
    let host = host().await;
    let claims = host.capabilities();
    assert!(!claims.has(Operation::PingAgent) && claims.has(Operation::ListVms));
    let vm = done(&host, host.create_vm(&VmSpec::new("a")).await.unwrap()).await;
    assert!(host.ping_agent(&vm).await.unwrap_err().is_unsupported());
    assert!(host.create_vm(&VmSpec::new("b").tpm(true)).await.unwrap_err().is_unsupported());
    assert!(host.list_backups(&BackupQuery::all(), &pool()).await.unwrap_err().is_unsupported());
}

#[tokio::test]
async fn a_read_only_connection_changes_nothing() {
    let libvirt = Libvirt::connect("test:///default?hv_readonly=1".parse().unwrap()).await.unwrap();
    let vm = libvirt.list_vms(&VmQuery::all(), &pool()).await.unwrap().items.remove(0);
    assert!(libvirt.get_vm_config(&vm.id).await.is_ok());
    assert!(libvirt.power_vm(&vm.id, &PowerAction::Pause).await.unwrap_err().is_unsupported());
    // What the SDK does not know to be a change, libvirt does.
    let outcome = libvirt.with_connection(|conn| {
        let domains = conn.list_all_domains(0)?;
        domains.iter().try_for_each(hypervisor_libvirt::virt::domain::Domain::destroy)
    });
    assert_eq!(outcome.await.unwrap_err().kind(), ErrorKind::PermissionDenied);
}

#[tokio::test]
async fn ids_that_were_never_given_are_not_found() {
    let host = host().await;
    for id in ["", "web-1", "not a uuid", "a\0b", "00000000-0000-0000-0000-000000000000"] {
        assert!(host.get_vm(&id.into()).await.unwrap_err().is_not_found(), "{id:?}");
    }
    for id in ["", "x", "default/\0", "default/none", "\0/a"] {
        assert!(host.get_volume(&id.into()).await.unwrap_err().is_not_found(), "{id:?}");
    }
    assert!(host.get_pool(&"a\0".into()).await.unwrap_err().is_not_found());
    assert!(host.get_network(&"a\0".into()).await.unwrap_err().is_not_found());
}

#[test]
fn what_a_live_test_lacks_fails_it_under_ci() {
    let name = "HYPERVISOR_TEST_LIBVIRT_URI";
    let given = Some("qemu:///system".to_owned());
    assert_eq!(common::wanted("a", name, given.clone(), true), given);
    assert_eq!(common::wanted("a", name, None, false), None);
    let refused = std::panic::catch_unwind(|| common::wanted("a", name, None, true)).unwrap_err();
    assert!(refused.downcast_ref::<String>().unwrap().contains(name));
}
