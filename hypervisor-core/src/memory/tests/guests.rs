use super::*;
use crate::memory::state::by_number;
use crate::model::{
    CloneSpec, ConsoleKind, DeleteVm, ExecSpec, ExportSpec, GraphicsKind, GroupChange, GroupSpec, GuestKind,
    HostState, MetricsPeriod, MetricsTarget, MigrateSpec, NicSpec, PageRequest, VmQuery, VmState, WriteFile,
};
use crate::{Guest as _, Metrics as _};

#[tokio::test(start_paused = true)]
async fn a_create_that_fails_leaves_no_volume_behind() {
    let memory = Memory::builder().pool("default", ByteSize::gib(10)).build();
    let disk = |size| DiskSpec::new_volume(ByteSize::gib(size));
    let spec = VmSpec::new("web").disk(disk(1)).disk(disk(20));
    assert_eq!(kind(memory.create_vm(&spec).await), ErrorKind::Exhausted);
    let spec = VmSpec::new("web").disk(disk(1)).disk(DiskSpec::volume("default/missing"));
    assert_eq!(kind(memory.create_vm(&spec).await), ErrorKind::NotFound);
    let spec = VmSpec::new("web").disk(disk(1)).nic(NicSpec::network("missing"));
    assert_eq!(kind(memory.create_vm(&spec).await), ErrorKind::NotFound);
    let spec = VmSpec::new("web").disk(disk(1)).disk(disk(1).slot("vda"));
    assert_eq!(kind(memory.create_vm(&spec).await), ErrorKind::AlreadyExists);
    assert!(volumes(&memory).await.is_empty());
    assert_eq!(kind(memory.get_vm(&"100".into()).await), ErrorKind::NotFound);
}

#[tokio::test(start_paused = true)]
async fn a_start_that_fails_at_the_end_of_a_create_undoes_it() {
    let memory = Memory::builder().host_capacity(4, ByteSize::gib(1)).build();
    let spec = |name: &str| {
        VmSpec::new(name).memory(ByteSize::mib(600)).start(true).disk(DiskSpec::new_volume(ByteSize::gib(1)))
    };
    memory.create_vm(&spec("a")).await.unwrap();
    let before = volumes(&memory).await;
    assert_eq!(kind(memory.create_vm(&spec("b")).await), ErrorKind::Exhausted);
    assert_eq!(volumes(&memory).await, before);
    assert_eq!(kind(memory.create_vm(&VmSpec::new("c").cpus(5)).await), ErrorKind::Exhausted);
}

#[tokio::test(start_paused = true)]
async fn names_and_ids_are_given_once() {
    let memory = Memory::new();
    let id = memory.create_vm(&VmSpec::new("web").id("7")).await.unwrap().output;
    assert_eq!(id, "7".into());
    assert_eq!(kind(memory.create_vm(&VmSpec::new("web")).await), ErrorKind::AlreadyExists);
    assert_eq!(kind(memory.create_vm(&VmSpec::new("other").id("7")).await), ErrorKind::AlreadyExists);
    assert_eq!(kind(memory.clone_vm(&id, &CloneSpec::new("web")).await), ErrorKind::AlreadyExists);
    let bad = memory.create_vm(&VmSpec::new("other").id("a/b")).await.unwrap_err();
    assert!(bad.fields().contains_key("id"), "{bad}");
}

#[tokio::test(start_paused = true)]
async fn a_configuration_recreates_its_guest() {
    let memory = Memory::new();
    let spec = VmSpec::new("web")
        .cpus(2)
        .tag("a")
        .metadata("k", "v")
        .nic(NicSpec::network("default"))
        .disk(DiskSpec::new_volume(ByteSize::gib(1)))
        .disk(DiskSpec::empty_cdrom());
    let id = memory.create_vm(&spec).await.unwrap().output;
    let config = memory.get_vm_config(&id).await.unwrap();
    memory.delete_vm(&id, &DeleteVm::keep_disks()).await.unwrap();
    let again = memory.create_vm(&config.spec).await.unwrap().output;
    let copy = memory.get_vm_config(&again).await.unwrap();
    assert_eq!((copy.spec, copy.disks, copy.nics), (config.spec, config.disks, config.nics));
}

#[tokio::test(start_paused = true)]
async fn a_host_that_cannot_be_reached_is_named_and_not_hidden() {
    let memory = Memory::builder().hosts(2).build();
    let a = memory.create_vm(&VmSpec::new("a").host("host-1")).await.unwrap().output;
    let b = memory.create_vm(&VmSpec::new("b").host("host-2")).await.unwrap().output;
    memory.set_reachable(&"host-2".into(), false).unwrap();
    let page = memory.list_vms(&Default::default(), &Default::default()).await.unwrap();
    assert_eq!(page.items.iter().map(|vm| &vm.id).collect::<Vec<_>>(), [&a]);
    assert_eq!(page.unreachable[0].host, "host-2".into());
    assert_eq!(kind(memory.get_vm(&b).await), ErrorKind::HostUnreachable);
    assert_eq!(kind(memory.migrate_vm(&a, &MigrateSpec::to("host-2")).await), ErrorKind::HostUnreachable);
    assert_eq!(memory.get_host(&"host-2".into()).await.unwrap().state, HostState::Offline);
    assert!(!memory.get_cluster().await.unwrap().quorate);
    memory.set_reachable(&"host-2".into(), true).unwrap();
    assert_eq!(memory.get_vm(&b).await.unwrap().name, "b");
}

#[tokio::test(start_paused = true)]
async fn a_guest_moves_while_it_runs() {
    let memory = Memory::builder().hosts(2).task_time(SECOND).build();
    let id = running(&memory, "web").await;
    assert_eq!(memory.get_vm(&id).await.unwrap().host, Some("host-1".into()));
    let offline = MigrateSpec::to("host-2").live(false);
    assert_eq!(kind(memory.migrate_vm(&id, &offline).await), ErrorKind::InvalidState);
    memory.migrate_vm(&id, &MigrateSpec::to("host-2")).await.unwrap();
    assert_eq!(memory.get_vm(&id).await.unwrap().state, VmState::Migrating);
    tokio::time::sleep(SECOND).await;
    let info = memory.get_vm(&id).await.unwrap();
    assert_eq!((info.state, info.host), (VmState::Running, Some("host-2".into())));
    assert_eq!(kind(memory.migrate_vm(&id, &MigrateSpec::to("host-2")).await), ErrorKind::InvalidState);
}

#[tokio::test(start_paused = true)]
async fn disks_move_along_to_a_pool_that_the_other_host_sees() {
    let memory = Memory::builder().hosts(2).build();
    for (pool, host) in [("one", "host-1"), ("two", "host-2")] {
        let spec = crate::model::PoolSpec::dir(pool, format!("/srv/{pool}")).hosts(vec![host.into()]);
        memory.create_pool(&spec).await.unwrap();
    }
    let disk = DiskSpec::new_volume(ByteSize::gib(1)).in_pool("one");
    let id = memory.create_vm(&VmSpec::new("web").host("host-1").disk(disk)).await.unwrap().output;
    write(&memory, &volume(&memory, &id).await, "moved").await;
    assert_eq!(kind(memory.migrate_vm(&id, &MigrateSpec::to("host-2")).await), ErrorKind::InvalidState);
    let spec = MigrateSpec::to("host-2").with_disks(true).pool("two");
    memory.migrate_vm(&id, &spec).await.unwrap();
    let disk = volume(&memory, &id).await;
    assert!(disk.as_str().starts_with("two/"), "{disk}");
    assert_eq!(read(&memory, &disk, 5).await, "moved");
}

#[tokio::test(start_paused = true)]
async fn copies_have_disks_of_their_own_and_links_need_their_original() {
    let memory = Memory::new();
    let id = vm(&memory, "web").await;
    let disk = volume(&memory, &id).await;
    write(&memory, &disk, "one").await;
    let full = memory.clone_vm(&id, &CloneSpec::new("full")).await.unwrap().output;
    let linked = memory.clone_vm(&id, &CloneSpec::new("linked").linked(true)).await.unwrap().output;
    let link = volume(&memory, &linked).await;
    assert_eq!(memory.get_volume(&link).await.unwrap().backing.as_deref(), Some(disk.as_str()));
    assert_eq!(kind(memory.power_vm(&id, &PowerAction::Start).await), ErrorKind::InvalidState);
    assert_eq!(kind(memory.delete_vm(&id, &DeleteVm::with_disks()).await), ErrorKind::InvalidState);
    write(&memory, &link, "two").await;
    assert_eq!(read(&memory, &volume(&memory, &full).await, 3).await, "one");
    memory.delete_vm(&linked, &DeleteVm::with_disks()).await.unwrap();
    memory.delete_vm(&id, &DeleteVm::with_disks()).await.unwrap();
    let uid = memory.get_vm(&full).await.unwrap().uid;
    assert!(uid.is_some());
}

#[tokio::test(start_paused = true)]
async fn devices_come_and_go_while_it_runs() {
    let memory = Memory::new();
    let id = running(&memory, "web").await;
    let slot = memory.attach_disk(&id, &DiskSpec::new_volume(ByteSize::gib(2))).await.unwrap().output;
    assert_eq!(slot, "vdb".into());
    memory.resize_disk(&id, &slot, ByteSize::gib(3)).await.unwrap();
    assert_eq!(kind(memory.resize_disk(&id, &slot, ByteSize::gib(1)).await), ErrorKind::InvalidInput);
    let disks = memory.get_vm_config(&id).await.unwrap().disks;
    assert_eq!(disks[1].capacity, Some(ByteSize::gib(3)));
    memory.detach_disk(&id, &slot, &crate::model::DetachDisk::with_volume()).await.unwrap();
    assert_eq!(volumes(&memory).await.len(), 1);
    assert_eq!(kind(memory.detach_nic(&id, &"net0".into()).await), ErrorKind::NotFound);
    let twice = DiskSpec::volume(volume(&memory, &id).await);
    assert_eq!(kind(memory.attach_disk(&id, &twice).await), ErrorKind::InvalidState);
}

#[tokio::test(start_paused = true)]
async fn the_agent_runs_programs_and_keeps_files() {
    let memory = Memory::new();
    let id = running(&memory, "web").await;
    memory.ping_agent(&id).await.unwrap();
    let echo = memory.exec_in_guest(&id, &ExecSpec::new("/bin/echo").arg("a").arg("b")).await.unwrap();
    assert_eq!(echo.stdout, "a b\n");
    memory.write_guest_file(&id, "/f", "x".into(), &WriteFile::replace()).await.unwrap();
    memory.write_guest_file(&id, "/f", "y".into(), &WriteFile::append()).await.unwrap();
    let cat = memory.exec_in_guest(&id, &ExecSpec::new("cat").arg("/f").arg("/g")).await.unwrap();
    assert_eq!((cat.stdout.as_ref(), cat.exit_code), (&b"xy"[..], Some(1)));
    assert_eq!(kind(memory.exec_in_guest(&id, &ExecSpec::new("nonesuch")).await), ErrorKind::NotFound);
    let sleep = ExecSpec::new("sleep").arg("60").deadline(SECOND);
    assert_eq!(kind(memory.exec_in_guest(&id, &sleep).await), ErrorKind::Timeout);
    let large = memory.read_guest_file(&id, "/f", ByteSize::bytes(1)).await;
    assert_eq!(kind(large), ErrorKind::InvalidInput);
    assert_eq!(memory.freeze_filesystems(&id).await.unwrap(), 1);
    assert_eq!(kind(memory.read_guest_file(&id, "/f", ByteSize::kib(1)).await), ErrorKind::InvalidState);
    assert_eq!(memory.thaw_filesystems(&id).await.unwrap(), 1);
    assert_eq!(memory.thaw_filesystems(&id).await.unwrap(), 0);
    memory.power_vm(&id, &PowerAction::Pause).await.unwrap();
    assert_eq!(kind(memory.ping_agent(&id).await), ErrorKind::AgentUnavailable);
    memory.power_vm(&id, &PowerAction::PowerOff).await.unwrap();
    assert_eq!(kind(memory.ping_agent(&id).await), ErrorKind::InvalidState);
    let dumb = memory.create_vm(&VmSpec::new("dumb").start(true)).await.unwrap().output;
    assert_eq!(kind(memory.ping_agent(&dumb).await), ErrorKind::AgentUnavailable);
}

#[tokio::test(start_paused = true)]
async fn screens_exports_and_load() {
    let memory = Memory::new();
    let spec = VmSpec::new("web").graphics(GraphicsKind::Vnc).disk(DiskSpec::new_volume(ByteSize::gib(1)));
    let id = memory.create_vm(&spec).await.unwrap().output;
    assert_eq!(kind(memory.get_console(&id, &ConsoleKind::Vnc).await), ErrorKind::InvalidState);
    assert_eq!(kind(memory.get_vm_metrics(&id).await), ErrorKind::InvalidState);
    let exported = memory.export_vm(&id, &ExportSpec::new("/srv/out")).await.unwrap().output;
    assert_eq!((exported.definition.as_str(), exported.disks.len()), ("/srv/out/web.json", 1));
    let definition = memory.host_file(&exported.definition).unwrap().collect(1 << 16).await.unwrap();
    let spec: VmSpec = serde_json::from_slice(&definition).unwrap();
    assert_eq!(spec.name, "web");
    assert_eq!(memory.host_file(&exported.disks[0]).unwrap().length(), ByteSize::gib(1).as_bytes());
    memory.power_vm(&id, &PowerAction::Start).await.unwrap();
    assert_eq!(memory.get_console(&id, &ConsoleKind::Vnc).await.unwrap().port, Some(5900));
    assert_eq!(kind(memory.get_console(&id, &ConsoleKind::Serial).await), ErrorKind::InvalidState);
    assert!(memory.screenshot_vm(&id).await.unwrap().data.starts_with(b"P6\n"));
    tokio::time::sleep(SECOND * 600).await;
    let early = memory.get_vm_metrics(&id).await.unwrap();
    tokio::time::sleep(SECOND).await;
    let late = memory.get_vm_metrics(&id).await.unwrap();
    assert!(
        late.cpu_time > early.cpu_time && late.disks[&"vda".into()].read > early.disks[&"vda".into()].read
    );
    let target = MetricsTarget::Vm(id);
    let history = memory.get_metrics_history(&target, MetricsPeriod::Hour).await.unwrap();
    let usage = &history.series["cpu_usage"];
    assert_eq!((usage.len(), usage[0]), (60, None));
    assert_eq!(usage[59], late.cpu_usage);
}

#[tokio::test(start_paused = true)]
async fn groups_pages_and_containers() {
    let memory = Memory::builder().page_limit(2).build();
    memory.create_group(&GroupSpec::new("team")).await.unwrap();
    let a = memory.create_vm(&VmSpec::new("a").group("team")).await.unwrap().output;
    let b = memory.create_vm(&VmSpec::container("b")).await.unwrap().output;
    vm(&memory, "c").await;
    assert_eq!(memory.get_vm(&b).await.unwrap().kind, GuestKind::Container);
    let page = memory.list_vms(&Default::default(), &Default::default()).await.unwrap();
    assert_eq!((page.items.len(), page.total), (2, Some(3)));
    let next = PageRequest::first().cursor(page.next.unwrap());
    assert_eq!(memory.list_vms(&Default::default(), &next).await.unwrap().items[0].name, "c");
    assert_eq!(kind(memory.delete_group(&"team".into()).await), ErrorKind::InvalidState);
    let change = GroupChange::new().add_vms(vec![b.clone()]).remove_vms(vec![a]);
    memory.update_group(&"team".into(), &change).await.unwrap();
    assert_eq!(memory.get_group(&"team".into()).await.unwrap().vms.first(), Some(&b));
    memory.update_group(&"team".into(), &GroupChange::new().remove_vms(vec![b])).await.unwrap();
    memory.delete_group(&"team".into()).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_host_in_maintenance_takes_no_guests() {
    let memory = Memory::builder().hosts(2).build();
    memory.set_maintenance(&"host-1".into(), true).unwrap();
    let id = vm(&memory, "web").await;
    assert_eq!(memory.get_vm(&id).await.unwrap().host, Some("host-2".into()));
    assert_eq!(kind(memory.migrate_vm(&id, &MigrateSpec::to("host-1")).await), ErrorKind::InvalidState);
    memory.set_maintenance(&"host-1".into(), false).unwrap();
    memory.migrate_vm(&id, &MigrateSpec::to("host-1")).await.unwrap();
    assert_eq!(memory.set_maintenance(&"host-9".into(), true).unwrap_err().kind(), ErrorKind::NotFound);
}

/// What a page of 50 costs, in bytes, somewhere in a list of so many.
fn page_costs(guests: usize) -> u64 {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let memory = Memory::new();
    runtime.block_on(async {
        for number in 0..guests {
            memory.create_vm(&VmSpec::new(format!("guest-{number:04}")).tag("t")).await.unwrap();
        }
    });
    let request = PageRequest::first().limit(50).cursor(by_number("199"));
    let list = || {
        let page = runtime.block_on(memory.list_vms(&VmQuery::all(), &request)).unwrap();
        let ids: Vec<&str> = page.items.iter().map(|vm| vm.id.as_str()).collect();
        assert_eq!((ids.first(), ids.last(), page.total), (Some(&"200"), Some(&"249"), Some(guests as u64)));
    };
    list();
    allocation_counter::measure(list).bytes_total
}

#[test]
fn a_page_of_a_long_list_costs_no_more_than_one_of_a_short_list() {
    let (short, long) = (page_costs(200), page_costs(2000));
    assert_eq!(short, long);
}
