//! Devices that a running guest does not get or keeps: what would wait for a power cycle is no success.

use std::time::Duration;

use hypervisor_core::model::{
    ApplyPolicy, ByteSize, DetachDisk, DiskBus, DiskId, DiskSpec, GuestKind, NicSpec, SnapshotSpec,
    TaskState, VmChange, VmId, VmSpec,
};
use hypervisor_core::traits::{Compute as _, Snapshots as _, Storage as _};
use hypervisor_core::{Effect, ErrorKind};
use hypervisor_proxmox::fake::{FakeGuest, FakePve, FakePveBuilder};
use hypervisor_proxmox::wire::form::Form;
use hypervisor_proxmox::{Proxmox, VmOptions};

use super::{connect, done, vm};

const TEMPLATE: &str = "local:vztmpl/alpine-3.20-default_20240908_amd64.tar.xz";

fn fake() -> FakePveBuilder {
    FakePve::builder().task_time(Duration::from_millis(5)).file(TEMPLATE, vec![0; 64])
}

fn disk() -> DiskSpec {
    DiskSpec::new_volume(ByteSize::gib(1)).in_pool("local-lvm")
}

async fn running(pve: &FakePve, proxmox: &Proxmox, spec: &VmSpec) -> (VmId, u32) {
    let made = proxmox.create_vm(spec).await.unwrap();
    let id = made.output.clone();
    assert_eq!(done(proxmox, made).await, TaskState::Succeeded);
    let number = id.as_str().parse().unwrap();
    pve.set_running(number, true);
    pve.clear_requests();
    (id, number)
}

/// The server takes such a detach, answers that it is done, and shows the guest without the disk, which it goes on writing to.
#[tokio::test]
async fn a_volume_is_not_deleted_under_a_guest_that_goes_on_using_it() {
    let pve = fake().start().await.unwrap();
    let proxmox = connect(&pve).await;
    // It is in the boot order, too.
    let sata = VmSpec::new("sata").disk(disk().bus(DiskBus::Sata)).disk(disk());
    let mut options = VmOptions::new();
    options.config.insert("hotplug".into(), "network".into());
    let mut fixed = VmSpec::new("fixed").disk(disk()).disk(disk());
    fixed.options.set(&options).unwrap();
    let mut container = VmSpec::new("ct").disk(disk()).disk(disk());
    container.kind = GuestKind::Container;
    let mut options = VmOptions::new();
    options.template = Some(TEMPLATE.to_owned());
    container.options.set(&options).unwrap();
    for (spec, slot) in [(sata, "sata0"), (fixed, "scsi1"), (container, "mp0")] {
        let (id, number) = running(&pve, &proxmox, &spec).await;
        let slot = DiskId::from(slot);
        let before = pve.guest(number).unwrap();
        let volumes = pve.volumes("pve1", "local-lvm");
        for options in [DetachDisk::with_volume(), DetachDisk::keep_volume()] {
            let error = proxmox.detach_disk(&id, &slot, &options).await.unwrap_err();
            assert_eq!((error.kind(), error.effect()), (ErrorKind::InvalidState, Effect::None), "{error}");
            assert!(error.hint().unwrap().contains("power it off"), "{error}");
        }
        let after = pve.guest(number).unwrap();
        assert_eq!(after.config, before.config, "{slot}");
        assert!(after.pending.is_empty(), "{:?}", after.pending);
        assert_eq!(pve.volumes("pve1", "local-lvm"), volumes, "{slot}");
        // Once it is off the disk goes with its volume.
        pve.set_running(number, false);
        let gone = proxmox.detach_disk(&id, &slot, &DetachDisk::with_volume()).await.unwrap();
        assert_eq!(done(&proxmox, gone).await, TaskState::Succeeded);
        assert_eq!(pve.volumes("pve1", "local-lvm").len(), volumes.len() - 1, "{slot}");
    }
}

#[tokio::test]
async fn what_a_running_guest_cannot_get_is_not_left_to_wait() {
    let pve = fake()
        .vm(FakeGuest::vm(100).running())
        .vm(FakeGuest::vm(101).running().set("hotplug", "0"))
        .start()
        .await
        .unwrap();
    let proxmox = connect(&pve).await;
    let refused = |error: hypervisor_core::Error| {
        assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
        assert!(error.hint().is_some(), "{error}");
    };
    for bus in [DiskBus::Sata, DiskBus::Ide] {
        refused(proxmox.attach_disk(&vm(100), &disk().bus(bus)).await.unwrap_err());
    }
    refused(proxmox.attach_disk(&vm(101), &disk()).await.unwrap_err());
    refused(proxmox.attach_nic(&vm(101), &NicSpec::bridge("vmbr0")).await.unwrap_err());
    assert_eq!(pve.count("POST", "/nodes/*/qemu/*/config") + pve.count("PUT", "/nodes/*/qemu/*/config"), 0);
    let hot = proxmox.attach_disk(&vm(100), &disk()).await.unwrap();
    assert_eq!(done(&proxmox, hot).await, TaskState::Succeeded);
    let _ = proxmox.attach_nic(&vm(100), &NicSpec::bridge("vmbr0")).await.unwrap();
    assert!(pve.guest(100).unwrap().pending.is_empty());
    pve.set_running(101, false);
    let cold = proxmox.attach_disk(&vm(101), &disk().bus(DiskBus::Sata)).await.unwrap();
    assert_eq!(done(&proxmox, cold).await, TaskState::Succeeded);
}

#[tokio::test]
async fn the_disk_of_another_guest_is_detached_but_not_deleted() {
    let pve = fake().start().await.unwrap();
    let proxmox = connect(&pve).await;
    let (owner, number) = running(&pve, &proxmox, &VmSpec::new("owner").disk(disk())).await;
    let volume = proxmox.get_vm_config(&owner).await.unwrap().disks[0].volume.clone().unwrap();
    let borrower = proxmox.create_vm(&VmSpec::new("borrower")).await.unwrap();
    let id = borrower.output.clone();
    done(&proxmox, borrower).await;
    let lent = proxmox.attach_disk(&id, &DiskSpec::volume(&volume)).await.unwrap();
    let slot = lent.output.clone();
    assert_eq!(done(&proxmox, lent).await, TaskState::Succeeded);
    let error = proxmox.detach_disk(&id, &slot, &DetachDisk::with_volume()).await.unwrap_err();
    assert_eq!((error.kind(), error.effect()), (ErrorKind::InvalidState, Effect::None), "{error}");
    assert!(error.to_string().contains(&format!("`{number}`")), "{error}");
    let _ = proxmox.detach_disk(&id, &slot, &DetachDisk::keep_volume()).await.unwrap();
    assert_eq!(pve.volumes("pve1", "local-lvm"), [volume.to_string()]);
}

/// What the options set waits like what the spec has fields for.
#[tokio::test]
async fn a_setting_that_waits_is_told_whatever_it_is_called() {
    let pve = fake().vm(FakeGuest::vm(100).running().set("sockets", "1")).start().await.unwrap();
    let proxmox = connect(&pve).await;
    let mut options = VmOptions::new();
    options.config.insert("cpu".into(), "host".into());
    options.config.insert("sockets".into(), "2".into());
    options.config.insert("startup".into(), "order=2".into());
    let mut change = VmChange::new();
    change.options.set(&options).unwrap();
    let outcome = proxmox.update_vm(&vm(100), &change).await.unwrap().output;
    assert_eq!(
        (outcome.applied, outcome.pending),
        (vec!["startup".into()], vec!["cpu".into(), "cpus".into()])
    );
    let mut live = change.clone();
    live.apply = ApplyPolicy::LiveOnly;
    let error = proxmox.update_vm(&vm(100), &live).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidState, "{error}");
    assert!(pve.guest(100).unwrap().pending.is_empty());
    // What somebody else lets wait goes on waiting.
    let form = Form::new().text("machine", "q35");
    proxmox.api().put("/nodes/pve1/qemu/100/config", &form).await.unwrap();
    proxmox.update_vm(&vm(100), &live).await.unwrap_err();
    assert_eq!(pve.guest(100).unwrap().pending.into_keys().collect::<Vec<_>>(), ["machine"]);
}

/// The server deletes any volume, also that of a guest that runs, and a guest's mention of it stays.
#[tokio::test]
async fn a_volume_that_a_guest_has_is_not_deleted_and_an_unused_one_with_its_mention() {
    let pve = fake().start().await.unwrap();
    let proxmox = connect(&pve).await;
    let spec = VmSpec::new("vm").disk(disk()).disk(disk().bus(DiskBus::Sata));
    let (id, number) = running(&pve, &proxmox, &spec).await;
    let volumes: Vec<_> = proxmox.get_vm_config(&id).await.unwrap().disks;
    for disk in &volumes {
        let error = proxmox.delete_volume(disk.volume.as_ref().unwrap()).await.unwrap_err();
        assert_eq!((error.kind(), error.effect()), (ErrorKind::InvalidState, Effect::None), "{error}");
        assert!(error.to_string().contains(disk.id.as_str()), "{error}");
    }
    // One whose detaching waits is used until then.
    let form = Form::new().text("delete", "sata0");
    proxmox.api().put(&format!("/nodes/pve1/qemu/{number}/config"), &form).await.unwrap();
    let sata = volumes.iter().find(|disk| disk.id.as_str() == "sata0").unwrap().volume.clone().unwrap();
    assert_eq!(proxmox.delete_volume(&sata).await.unwrap_err().kind(), ErrorKind::InvalidState);
    pve.set_running(number, false);
    pve.set_running(number, true);
    assert_eq!(pve.guest(number).unwrap().config["unused0"], sata.as_str());
    let gone = proxmox.delete_volume(&sata).await.unwrap();
    assert_eq!(done(&proxmox, gone).await, TaskState::Succeeded);
    assert!(!pve.guest(number).unwrap().config.contains_key("unused0"));
    assert_eq!(pve.volumes("pve1", "local-lvm").len(), 1);
    // A snapshot needs what the guest itself has no more.
    pve.set_running(number, false);
    let scsi = volumes.iter().find(|disk| disk.id.as_str() == "scsi0").unwrap().volume.clone().unwrap();
    let taken = proxmox.create_snapshot(&id, &SnapshotSpec::new("s1")).await.unwrap();
    assert_eq!(done(&proxmox, taken).await, TaskState::Succeeded);
    let _ = proxmox.detach_disk(&id, &"scsi0".into(), &DetachDisk::keep_volume()).await.unwrap();
    pve.edit(number, "unused0", None);
    let error = proxmox.delete_volume(&scsi).await.unwrap_err();
    assert!(error.kind() == ErrorKind::InvalidState && error.to_string().contains("`s1`"), "{error}");
    assert_eq!(pve.volumes("pve1", "local-lvm"), [scsi.to_string()]);
}
