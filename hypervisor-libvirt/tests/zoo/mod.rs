//! Guests that others have made, with more in them than we ever write: every call works or is refused, and nothing is lost.

use std::collections::BTreeSet;

use hypervisor_core::model::*;
use hypervisor_core::traits::*;
use hypervisor_core::{Error, ErrorKind, Result};
use hypervisor_libvirt::virt::connect::Connect;
use hypervisor_libvirt::virt::domain::Domain;
use hypervisor_libvirt::xml::Element;

use crate::common::bench::Bench;
use crate::common::done;

const DESKTOP: &str = include_str!("desktop.xml");
const PLAIN: &str = include_str!("plain.xml");
/// What a change of CPUs, of memory or of the description is about.
const CHANGED: [&str; 8] = [
    "domain/vcpu",
    "domain/memory",
    "domain/currentMemory",
    "domain/maxMemory",
    "domain/cpu/topology",
    "domain/cpu/numa/cell",
    "domain/description",
    "domain/cputune/vcpupin",
];

/// What a definition says, line by line.
fn lines(xml: &str) -> BTreeSet<String> {
    fn add(element: &Element, above: &str, all: &mut BTreeSet<String>) {
        let place = if above.is_empty() { element.name.clone() } else { format!("{above}/{}", element.name) };
        for (name, value) in &element.attributes {
            all.insert(format!("{place} {name}={value}"));
        }
        let text = element.text();
        if !text.trim().is_empty() {
            all.insert(format!("{place} = {}", text.trim()));
        }
        element.elements().for_each(|child| add(child, &place, all));
    }
    let mut all = BTreeSet::new();
    add(&Element::parse(xml).unwrap(), "", &mut all);
    all
}

struct Guest<'a> {
    bench: &'a Bench,
    vm: VmId,
    name: String,
}

impl<'a> Guest<'a> {
    async fn define(bench: &'a Bench, xml: &str, name: &str, number: u32) -> Self {
        let uuid = format!("7c1e2f30-0003-4a5b-8c6d-{number:012}");
        let name = format!("{}-{name}", bench.name);
        let xml = xml.replace("PNAME", &bench.name).replace("NAME", &name.replace('&', "&amp;"));
        let xml =
            xml.replace("UUID", &uuid).replace("POOL", &bench.folder.join("pool").display().to_string());
        bench.with_connection(move |conn: &Connect| Domain::define_xml(conn, &xml).map(drop)).await.unwrap();
        Self { bench, vm: VmId::from(uuid), name }
    }

    async fn xml(&self) -> String {
        let id = self.vm.to_string();
        let read = move |conn: &Connect| Domain::lookup_by_uuid_string(conn, &id)?.get_xml_desc(3);
        self.bench.with_connection(read).await.unwrap()
    }

    /// Passes if nothing that was said before is lost, but for what is about `but_for`.
    async fn keeps(&self, before: &str, what: &str, but_for: &[&str]) {
        let now = self.xml().await;
        let kept = |line: &&String| !but_for.iter().any(|place| line.starts_with(place));
        let (before, now) = (lines(before), lines(&now));
        let lost: Vec<_> = before.difference(&now).filter(kept).collect();
        assert!(lost.is_empty(), "{}: {what} loses {lost:?}", self.name);
    }
}

/// A guest of somebody who tried everything: what was refused is what cannot be, and says why.
fn refused<T>(outcome: Result<T>, what: &str) -> Option<T> {
    let error = match outcome {
        Ok(output) => return Some(output),
        Err(error) => error,
    };
    let known =
        [ErrorKind::InvalidState, ErrorKind::InvalidInput, ErrorKind::Unsupported, ErrorKind::Backend];
    assert!(known.contains(&error.kind()), "{what}: {error:?}");
    println!("{what} is refused: {error}");
    None
}

async fn ended<T>(bench: &Bench, started: Result<Started<T>>) -> Result<T> {
    let started = started?;
    if let Some(task) = &started.task {
        loop {
            let info = bench.get_task(task, Some(std::time::Duration::from_secs(1))).await?;
            if info.state == TaskState::Succeeded {
                break;
            }
            if info.state.is_final() {
                return Err(Error::new(ErrorKind::Backend, info.error.unwrap_or_default()));
            }
        }
    }
    Ok(started.output)
}

async fn volume(bench: &Bench, name: &str, format: VolumeFormat, backing: Option<&str>) {
    let mut spec = VolumeSpec::new(bench.name.as_str(), name, ByteSize::mib(4)).format(format);
    spec.backing = backing.map(|backing| VolumeId::from(format!("{}/{backing}", bench.name)));
    let _ = bench.create_volume(&spec).await.unwrap();
}

/// Calls everything, and returns which copies were made.
async fn try_all(guest: &Guest<'_>, volumes: &[String]) -> Vec<&'static str> {
    let Guest { bench, vm, name } = guest;
    let before = guest.xml().await;
    let info = bench.get_vm(vm).await.unwrap();
    assert_eq!((&info.name, &info.state), (name, &VmState::Stopped));
    let config = bench.get_vm_config(vm).await.unwrap();
    assert_eq!(config.spec.boot.order.first(), Some(&BootDevice::Cdrom));

    let change =
        VmChange::new().description("seen").add_tag("t").metadata("k", "v").cpus(2).memory(ByteSize::mib(96));
    let _ = bench.update_vm(vm, &change).await.unwrap();
    guest.keeps(&before, "an update", &CHANGED).await;
    let info = bench.get_vm(vm).await.unwrap();
    assert_eq!((info.cpus, info.memory), (Some(2), Some(ByteSize::mib(96))), "{name}");
    let _ = bench.update_vm(vm, &VmChange::new().cpus(7).memory(ByteSize::mib(512))).await.unwrap();
    let info = bench.get_vm(vm).await.unwrap();
    assert_eq!((info.cpus, info.memory), (Some(7), Some(ByteSize::mib(512))), "{name}");
    guest.keeps(&before, "a second update", &CHANGED).await;
    let new = format!("{}-{}", bench.name, vm.as_str());
    let _ = bench.update_vm(vm, &VmChange::new().name(&new)).await.unwrap();
    assert_eq!(bench.get_vm(vm).await.unwrap().name, new);
    guest.keeps(&before, "another name", &[&CHANGED[..], &["domain/name"]].concat()).await;
    // What is refused is not made in part: libvirt has no such machine any more, or refuses so much memory.
    let before = guest.xml().await;
    let taken = VmChange::new().name(format!("{}-taken", bench.name)).description("never").cpus(1);
    let much = VmChange::new()
        .name(format!("{new}-2"))
        .description("never")
        .cpus(1)
        .memory(ByteSize::bytes(u64::MAX));
    for wrong in [taken, much] {
        assert!(bench.update_vm(vm, &wrong).await.is_err());
        assert_eq!(guest.xml().await, before);
    }

    for nic in &config.nics {
        let change = NicChange::new().link_down(true);
        let Some(_) = refused(bench.update_nic(vm, &nic.id, &change).await, "update_nic") else { continue };
        let now = bench.get_vm_config(vm).await.unwrap().nics;
        let now = now.iter().find(|now| now.id == nic.id).unwrap();
        assert_eq!((&now.source, &now.model, now.link_down), (&nic.source, &nic.model, true));
    }
    guest.keeps(&before, "an update of a NIC", &["domain/devices/interface/link"]).await;
    let nic = bench.attach_nic(vm, &NicSpec::user()).await.unwrap().output;
    let _ = bench.detach_nic(vm, &nic).await.unwrap();
    let disk = bench.attach_disk(vm, &DiskSpec::new_volume(ByteSize::mib(1))).await.unwrap().output;
    let _ = bench.detach_disk(vm, &disk, &DetachDisk::with_volume()).await.unwrap();
    guest.keeps(&before, "attaching and detaching", &["domain/devices/interface/link"]).await;
    for disk in config.disks.iter().filter(|disk| disk.device == DiskDevice::Disk && !disk.read_only) {
        let _ = bench.resize_disk(vm, &disk.id, ByteSize::mib(5)).await.unwrap();
    }
    assert_eq!(bench.volumes().await, volumes, "{name}");

    let before = guest.xml().await;
    let mut copied = Vec::new();
    let clone = CloneSpec::new(format!("{}-copy", bench.name));
    if let Some(copy) = refused(ended(bench, bench.clone_vm(vm, &clone).await).await, "clone") {
        copied.push("clone");
        let twin = bench.get_vm_config(&copy).await.unwrap();
        let plugs = |config: &VmConfig| config.nics.iter().map(|nic| nic.source.clone()).collect::<Vec<_>>();
        assert_eq!(plugs(&twin), plugs(&config));
        let _ = bench.delete_vm(&copy, &DeleteVm::with_disks()).await.unwrap();
    }
    assert_eq!(bench.volumes().await, volumes, "{name}: a clone and its delete");
    if let Some(backup) =
        refused(ended(bench, bench.create_backup(vm, &BackupSpec::new()).await).await, "backup")
    {
        copied.push("backup");
        let backup = backup.unwrap();
        let new = RestoreBackup::new_vm(format!("{}-back", bench.name));
        let back = ended(bench, bench.restore_backup(&backup, &new).await).await.unwrap();
        let _ = bench.delete_vm(&back, &DeleteVm::with_disks()).await.unwrap();
        let _ = bench.delete_backup(&backup).await.unwrap();
    }
    assert_eq!(bench.volumes().await, volumes, "{name}: a backup");
    for spec in [SnapshotSpec::new("s"), SnapshotSpec::new("s").memory(false)] {
        let Some(made) = refused(ended(bench, bench.create_snapshot(vm, &spec).await).await, "snapshot")
        else {
            continue;
        };
        copied.push("snapshot");
        assert_eq!(bench.list_snapshots(vm).await.unwrap().current().unwrap().id, made);
        ended(bench, bench.revert_snapshot(vm, &made, &RevertSnapshot::new()).await).await.unwrap();
        ended(bench, bench.delete_snapshot(vm, &made, &DeleteSnapshot::only()).await).await.unwrap();
    }
    let out = bench.folder.join(format!("out-{}", vm.as_str()));
    std::fs::create_dir(&out).unwrap();
    let export = ExportSpec::new(out.display().to_string());
    copied
        .extend(refused(ended(bench, bench.export_vm(vm, &export).await).await, "export").map(|_| "export"));
    assert_eq!(bench.volumes().await, volumes, "{name}: an export");
    guest.keeps(&before, "copies of all kinds", &["domain/devices/disk/source index"]).await;
    assert_eq!(guest.xml().await.matches("<disk ").count(), before.matches("<disk ").count());
    copied
}

#[tokio::test(flavor = "multi_thread")]
async fn guests_of_others_lose_nothing_and_take_nothing_from_each_other() {
    let Some(bench) = Bench::new("zoo").await else { return };
    volume(&bench, "own.qcow2", VolumeFormat::Qcow2, None).await;
    volume(&bench, "base.qcow2", VolumeFormat::Qcow2, None).await;
    volume(&bench, "top.qcow2", VolumeFormat::Qcow2, Some("base.qcow2")).await;
    for raw in ["sata.img", "scsi.img", "common.img", "install.iso", "drivers.img"] {
        volume(&bench, raw, VolumeFormat::Raw, None).await;
    }
    let volumes = bench.volumes().await;
    let _ = bench.make(&bench.idle("taken")).await;
    let plain = Guest::define(&bench, PLAIN, "plain ü", 1).await;
    assert_eq!(try_all(&plain, &volumes).await, ["clone", "backup", "snapshot", "snapshot", "export"]);
    let desktop = Guest::define(&bench, DESKTOP, "desktop (11) ü&x", 2).await;
    // Devices of the host that are not there keep QEMU from being brought up for a backup; its raw disks can hold no snapshot.
    assert_eq!(try_all(&desktop, &volumes).await, ["clone", "export"]);

    let sources: Vec<_> = bench.get_vm_config(&desktop.vm).await.unwrap().nics;
    let sources: Vec<_> = sources.into_iter().map(|nic| nic.source).collect();
    let other = |kind: &str| NicSource::Other(kind.to_owned());
    let wanted = [NicSource::User, NicSource::Direct("eth0".into()), other("hostdev"), other("ethernet")];
    assert_eq!(sources[..4], wanted);
    assert_eq!(sources[4..], ["vhostuser", "udp", "server", "client", "vdpa"].map(other));

    // A volume that a guest names by its pool is in use, and what both have is not taken away with one of them.
    let own = VolumeId::from("zoo/scsi.img");
    assert_eq!(bench.delete_volume(&own).await.unwrap_err().kind(), ErrorKind::InvalidState);
    let error = bench.detach_disk(&plain.vm, &"sda".into(), &DetachDisk::with_volume()).await.unwrap_err();
    assert!(
        error.kind() == ErrorKind::InvalidState && error.message().contains("uses the disk at"),
        "{error}"
    );
    let _ = bench.delete_vm(&plain.vm, &DeleteVm::with_disks().snapshots(true)).await.unwrap();
    let mut left = volumes.clone();
    left.retain(|name| name != "top.qcow2");
    assert_eq!(bench.volumes().await, left, "the disk of another guest went too, or its own stayed");
    let _ = bench.delete_vm(&desktop.vm, &DeleteVm::keep_disks()).await.unwrap();
    assert_eq!(bench.volumes().await, left);
    let desktop = Guest::define(&bench, DESKTOP, "desktop", 2).await;
    let _ = bench.delete_vm(&desktop.vm, &DeleteVm::with_disks()).await.unwrap();
    assert_eq!(bench.volumes().await, ["base.qcow2", "drivers.img", "install.iso"]);
    bench.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_on_the_network_is_backed_up_and_restored() {
    let Some(bench) = Bench::new("far").await else { return };
    let image = bench.folder.join("far.img");
    let content: Vec<u8> = (0..4_u32 << 20).map(|each| u8::try_from(each / 4096 % 251).unwrap()).collect();
    std::fs::write(&image, &content).unwrap();
    let socket = bench.folder.join("nbd.sock");
    let mut server = std::process::Command::new("qemu-nbd");
    server.args(["--persistent", "--shared=4", "--format=raw", "--export-name=x", "--socket"]);
    let _server = Server(server.arg(&socket).arg(&image).spawn().unwrap());
    for _ in 0..100 {
        if socket.exists() {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    std::fs::set_permissions(&socket, std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
    let vm = bench.make(&bench.idle("a").disk(DiskSpec::new_volume(ByteSize::mib(2)))).await;
    let (id, path) = (vm.to_string(), socket.display().to_string());
    let add = move |conn: &Connect| {
        let disk = format!(
            "<disk type='network' device='disk'><driver name='qemu' type='raw'/><source protocol='nbd' name='x'>\
             <host transport='unix' socket='{path}'/></source><target dev='vdb' bus='virtio'/></disk></devices>"
        );
        let xml = Domain::lookup_by_uuid_string(conn, &id)?.get_xml_desc(3)?.replace("</devices>", &disk);
        Domain::define_xml(conn, &xml).map(drop)
    };
    bench.with_connection(add).await.unwrap();
    let disks = bench.volumes().await;
    for running in [false, true] {
        if running {
            bench.power(&vm, PowerAction::Start).await;
        }
        let backup = done(&bench, bench.create_backup(&vm, &BackupSpec::new()).await.unwrap()).await.unwrap();
        let state = if running { VmState::Running } else { VmState::Stopped };
        assert_eq!(bench.get_vm(&vm).await.unwrap().state, state);
        let new = RestoreBackup::new_vm(format!("far-new-{running}"));
        let new = done(&bench, bench.restore_backup(&backup, &new).await.unwrap()).await;
        let config = bench.get_vm_config(&new).await.unwrap();
        let copy = config.disks.iter().find(|disk| disk.id.as_str() == "vdb").unwrap();
        let stream =
            bench.download_volume(copy.volume.as_ref().unwrap(), &DownloadVolume::all()).await.unwrap();
        assert!(
            stream.collect(1 << 30).await.unwrap() == content,
            "what was on the network is not what is here"
        );
        assert!(!config.native.unwrap().contains("nbd"));
        let _ = bench.delete_vm(&new, &DeleteVm::with_disks()).await.unwrap();
        let _ = bench.delete_backup(&backup).await.unwrap();
    }
    assert_eq!(bench.volumes().await, disks);
    bench.power(&vm, PowerAction::PowerOff).await;
    let error = bench.clone_vm(&vm, &CloneSpec::new("far-b")).await;
    assert!(
        error.as_ref().is_err_and(|error| error.message().contains("`vdb` is of type `network` (nbd)")),
        "{error:?}"
    );
    bench.end().await;
}

/// A program that ends with its test.
struct Server(std::process::Child);

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}
