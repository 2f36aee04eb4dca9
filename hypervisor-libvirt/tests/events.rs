//! Events: on libvirt's test driver, and on a real libvirtd where `HYPERVISOR_TEST_LIBVIRT_URI` names one.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests fail by panicking")]

mod common;

use std::collections::BTreeSet;
use std::time::Duration;

use common::bench::Bench;
use common::done;
use futures::StreamExt as _;
use hypervisor_core::Hypervisor;
use hypervisor_core::model::*;
use hypervisor_core::traits::*;
use hypervisor_libvirt::Libvirt;
use hypervisor_libvirt::virt::domain::Domain;

const SOON: Duration = Duration::from_secs(10);

/// Reads events up to one that is wanted; what the filter lets through of them.
async fn up_to(
    events: &mut EventStream,
    last: &EventKind,
    wanted: impl Fn(&EventKind) -> bool,
) -> Vec<EventKind> {
    let mut seen = Vec::new();
    loop {
        let next = tokio::time::timeout(SOON, events.next()).await;
        let event = next.unwrap_or_else(|_| panic!("no {last:?} after {seen:?}")).unwrap().unwrap();
        let ends = event.kind == *last;
        if wanted(&event.kind) {
            seen.push(event.kind);
        }
        if ends {
            return seen;
        }
    }
}

/// Nothing comes, but for what the filter lets through.
async fn silence(events: &mut EventStream, allowed: impl Fn(&EventKind) -> bool) {
    while let Ok(event) = tokio::time::timeout(Duration::from_millis(200), events.next()).await {
        let event = event.unwrap().unwrap();
        assert!(allowed(&event.kind), "{event:?}");
    }
}

struct Host {
    file: std::path::PathBuf,
    libvirt: Libvirt,
}

impl Drop for Host {
    fn drop(&mut self) {
        drop(std::fs::remove_file(&self.file));
    }
}

async fn host() -> Host {
    let file = std::env::temp_dir().join(format!("hv-events-{}.xml", uuid::Uuid::new_v4()));
    let node = "<node><pool type='dir'><name>default</name><target><path>/p</path></target></pool></node>";
    std::fs::write(&file, node).unwrap();
    let libvirt = Libvirt::connect(format!("test://{}", file.display()).parse().unwrap()).await.unwrap();
    Host { file, libvirt }
}

fn changed(vm: &VmId, state: VmState) -> EventKind {
    EventKind::VmStateChanged { vm: vm.clone(), state }
}

async fn power(libvirt: &Libvirt, vm: &VmId, action: PowerAction) {
    done(libvirt, libvirt.power_vm(vm, &action).await.unwrap()).await;
}

/// A life in order, as far as both drivers go.
async fn a_life(libvirt: &Libvirt, spec: &VmSpec) {
    let mut events = libvirt.watch(&EventQuery::all()).await.unwrap();
    let vm = done(libvirt, libvirt.create_vm(spec).await.unwrap()).await;
    let own = |kind: &EventKind| kind.vm() == Some(&vm) && *kind != changed(&vm, VmState::Stopping);
    let mut seen = Vec::new();
    for action in [
        PowerAction::Start,
        PowerAction::Pause,
        PowerAction::Resume,
        PowerAction::Hibernate,
        PowerAction::Start,
        PowerAction::PowerOff,
    ] {
        power(libvirt, &vm, action).await;
        if action == PowerAction::Hibernate {
            // Whether the memory was saved for the next start has to be asked, before there is one.
            seen = up_to(&mut events, &changed(&vm, VmState::Hibernated), own).await;
        }
    }
    let _ = libvirt.update_vm(&vm, &VmChange::new().cpus(2)).await.unwrap();
    assert_eq!(libvirt.get_vm(&vm).await.unwrap().state, VmState::Stopped);
    done(libvirt, libvirt.delete_vm(&vm, &DeleteVm::with_disks()).await.unwrap()).await;
    let gone = EventKind::VmDeleted(vm.clone());
    seen.extend(up_to(&mut events, &gone, own).await);
    let wanted = [
        EventKind::VmCreated(vm.clone()),
        changed(&vm, VmState::Running),
        changed(&vm, VmState::Paused),
        changed(&vm, VmState::Running),
        // Before its memory is saved it is paused.
        changed(&vm, VmState::Paused),
        changed(&vm, VmState::Hibernated),
        changed(&vm, VmState::Running),
        changed(&vm, VmState::Stopped),
        EventKind::VmUpdated(vm.clone()),
        gone.clone(),
    ];
    // The test driver saves without a pause.
    let paused = seen.iter().filter(|kind| **kind == changed(&vm, VmState::Paused)).count();
    let wanted = wanted.into_iter().enumerate().filter(|(at, _)| *at != 4 || paused == 2);
    assert_eq!(seen, wanted.map(|(_, kind)| kind).collect::<Vec<_>>());
}

/// An ephemeral guest comes with its start and goes with its end.
async fn a_short_life(libvirt: &Libvirt, spec: &VmSpec) {
    let mut events = libvirt.watch(&EventQuery::all()).await.unwrap();
    let vm = done(libvirt, libvirt.create_vm(&spec.clone().ephemeral(true).start(true)).await.unwrap()).await;
    power(libvirt, &vm, PowerAction::PowerOff).await;
    let gone = EventKind::VmDeleted(vm.clone());
    let own = |kind: &EventKind| kind.vm() == Some(&vm) && *kind != changed(&vm, VmState::Stopping);
    let seen = up_to(&mut events, &gone, own).await;
    let wanted = [
        EventKind::VmCreated(vm.clone()),
        changed(&vm, VmState::Running),
        changed(&vm, VmState::Stopped),
        gone,
    ];
    assert_eq!(seen, wanted);
}

/// Pools and networks, and a task of ours.
async fn places(libvirt: &Libvirt, pool: &PoolSpec, network: &NetworkSpec) {
    let mut events = libvirt.watch(&EventQuery::all()).await.unwrap();
    let all = |_: &EventKind| true;
    let network = libvirt.create_network(network).await.unwrap().output;
    up_to(&mut events, &EventKind::NetworkChanged(network.clone()), all).await;
    silence(&mut events, |kind| *kind == EventKind::NetworkChanged(network.clone())).await;
    let _ = libvirt.start_network(&network).await.unwrap();
    up_to(&mut events, &EventKind::NetworkChanged(network.clone()), all).await;
    let _ = libvirt.stop_network(&network).await.unwrap();
    let _ = libvirt.delete_network(&network).await.unwrap();
    up_to(&mut events, &EventKind::NetworkChanged(network.clone()), all).await;

    let pool = libvirt.create_pool(pool).await.unwrap().output;
    up_to(&mut events, &EventKind::PoolChanged(pool.clone()), all).await;
    let spec = VolumeSpec::new(pool.clone(), "a", ByteSize::mib(1));
    let volume = libvirt.create_volume(&spec).await.unwrap().output;
    up_to(&mut events, &EventKind::VolumeChanged(volume.clone()), all).await;
    let copy = libvirt.clone_volume(&volume, &CloneVolume::new("b")).await.unwrap();
    let task = copy.task.clone().unwrap();
    let ended = EventKind::TaskChanged { task: task.clone(), state: TaskState::Succeeded };
    let place = |kind: &EventKind| matches!(kind, EventKind::PoolChanged(_));
    let seen = up_to(&mut events, &ended, |kind| !place(kind)).await;
    assert_eq!(seen[0], EventKind::TaskChanged { task, state: TaskState::Running });
    assert!(seen.contains(&EventKind::VolumeChanged(copy.output)), "{seen:?}");
    assert!(seen.iter().all(|kind| !matches!(kind, EventKind::Resync { .. })), "{seen:?}");
    let _ = libvirt.delete_pool(&pool, &DeletePool::with_content()).await.unwrap();
    up_to(&mut events, &EventKind::PoolChanged(pool), all).await;
}

/// Streams come and go, and the last one leaves nothing behind.
async fn streams(libvirt: &Libvirt, spec: &VmSpec) {
    let all = EventQuery::all();
    for round in 0..5 {
        let mut own = spec.clone();
        own.name = format!("{}-{round}", spec.name);
        let (first, mut second) = (libvirt.watch(&all), libvirt.watch(&all));
        let first = first.await.unwrap();
        let _ = futures::poll!(second.as_mut());
        drop((first, second));
        let mut events = libvirt.watch(&EventQuery::all()).await.unwrap();
        let vm = done(libvirt, libvirt.create_vm(&own).await.unwrap()).await;
        let mut only = libvirt.watch(&EventQuery::all().vm(&vm)).await.unwrap();
        done(libvirt, libvirt.delete_vm(&vm, &DeleteVm::with_disks()).await.unwrap()).await;
        let gone = EventKind::VmDeleted(vm.clone());
        let told = up_to(&mut events, &gone, |kind| kind.vm() == Some(&vm)).await;
        assert_eq!(told, [EventKind::VmCreated(vm.clone()), gone.clone()]);
        // What happened just before may still be on its way when a stream begins.
        let seen = up_to(&mut only, &gone, |_| true).await;
        assert!(seen.iter().all(|kind| kind.vm() == Some(&vm)), "{seen:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_test_driver_tells_what_happens() {
    let host = host().await;
    let libvirt = &host.libvirt;
    assert!(libvirt.capabilities().has(Feature::NativeEvents));
    a_life(libvirt, &VmSpec::new("a")).await;
    a_short_life(libvirt, &VmSpec::new("b")).await;
    places(libvirt, &PoolSpec::dir("p2", "/p2"), &NetworkSpec::isolated("n", "10.9.8.1/24".parse().unwrap()))
        .await;
    streams(libvirt, &VmSpec::new("c")).await;
}

/// libvirt's test driver has an adapter that virtual ones can be made on.
#[tokio::test(flavor = "multi_thread")]
async fn devices_of_the_host_are_told() {
    let libvirt = Libvirt::connect("test:///default".parse().unwrap()).await.unwrap();
    let host = libvirt.list_hosts(&PageRequest::first()).await.unwrap().items.remove(0).id;
    let mut events = libvirt.watch(&EventQuery::all()).await.unwrap();
    let plug = libvirt.with_connection(|conn| {
        let adapter = "<device><parent>scsi_host1</parent><capability type='scsi_host'><capability type='fc_host'>\
             <wwpn>2100000000000001</wwpn><wwnn>2000000000000001</wwnn></capability></capability></device>";
        hypervisor_libvirt::virt::nodedev::NodeDevice::create_xml(conn, adapter, 0)?.destroy()
    });
    plug.await.unwrap();
    for _ in ["come", "gone"] {
        up_to(&mut events, &EventKind::HostChanged(host.clone()), |_| true).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_host_tells_what_happens() {
    let Some(bench) = Bench::new("events").await else { return };
    let libvirt = &bench.libvirt;
    a_life(libvirt, &bench.idle("a").disk(DiskSpec::new_volume(ByteSize::mib(1)))).await;
    a_short_life(libvirt, &bench.idle("b")).await;
    let pool = PoolSpec::dir("events-2", bench.folder.join("second").display().to_string());
    let network = NetworkSpec::isolated("events", "10.77.9.1/24".parse().unwrap()).bridge("hvev0");
    places(libvirt, &pool, &network).await;
    streams(libvirt, &bench.idle("c")).await;
    bench.end().await;
}

/// What a list says follows from events, also where others make the changes.
#[tokio::test(flavor = "multi_thread")]
async fn lists_follow_what_others_change() {
    let Some(bench) = Bench::new("others").await else { return };
    let vm = bench.make(&bench.idle("a")).await;
    let other = Libvirt::connect(bench.info().endpoint.parse().unwrap()).await.unwrap();
    let mut events = bench.watch(&EventQuery::all().vm(&vm)).await.unwrap();
    for cpus in 2..6 {
        let query = VmQuery::all().name("others-a");
        assert_eq!(
            bench.list_vms(&query, &PageRequest::first()).await.unwrap().items[0].cpus,
            Some(cpus - 1)
        );
        let _ = other.update_vm(&vm, &VmChange::new().cpus(cpus)).await.unwrap();
        up_to(&mut events, &EventKind::VmUpdated(vm.clone()), |_| true).await;
        assert_eq!(bench.list_vms(&query, &PageRequest::first()).await.unwrap().items[0].cpus, Some(cpus));
    }
    bench.end().await;
}

#[tokio::test]
async fn snapshots_of_ours_are_told() {
    let host = host().await;
    let libvirt = &host.libvirt;
    let vm = libvirt.create_vm(&VmSpec::new("s").start(true)).await.unwrap().output;
    let mut events = libvirt.watch(&EventQuery::all().vm(&vm)).await.unwrap();
    let id = libvirt.create_snapshot(&vm, &SnapshotSpec::new("one")).await.unwrap().output;
    let told = EventKind::SnapshotsChanged { vm: vm.clone(), snapshot: Some(id.clone()) };
    up_to(&mut events, &told, |_| true).await;
    done(libvirt, libvirt.delete_snapshot(&vm, &id, &DeleteSnapshot::only()).await.unwrap()).await;
    up_to(&mut events, &told, |_| true).await;
}

/// Names and states of all guests with their ids, as soon as they are these.
async fn lists(libvirt: &Libvirt, wanted: &[(&VmId, &str, VmState)]) {
    let wanted: BTreeSet<_> = wanted
        .iter()
        .map(|(id, name, state)| ((*id).clone(), (*name).to_owned(), state.to_string()))
        .collect();
    let mut seen = BTreeSet::new();
    for _ in 0..100 {
        let all = libvirt.list_vms(&VmQuery::all(), &PageRequest::first()).await.unwrap().items;
        seen = all.into_iter().map(|vm| (vm.id, vm.name, vm.state.to_string())).collect();
        if seen == wanted {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("{seen:?}, not {wanted:?}");
}

#[tokio::test]
async fn a_list_while_watching_does_not_take_one_guest_for_another() {
    let host = host().await;
    let libvirt = &host.libvirt;
    let _events = libvirt.watch(&EventQuery::all()).await.unwrap();
    let small = |name: &str| VmSpec::new(name).memory(ByteSize::mib(16));
    let a = done(libvirt, libvirt.create_vm(&small("a")).await.unwrap()).await;
    let b = done(libvirt, libvirt.create_vm(&small("b")).await.unwrap()).await;
    power(libvirt, &b, PowerAction::Start).await;
    for _ in 0..3 {
        lists(libvirt, &[(&a, "a", VmState::Stopped), (&b, "b", VmState::Running)]).await;
    }
    // By somebody else: another guest gets the name.
    let id = a.to_string();
    let again = libvirt.with_connection(move |conn| {
        Domain::lookup_by_uuid_string(conn, &id)?.undefine()?;
        let xml = "<domain type='test'><name>a</name><memory>8192</memory><os><type>hvm</type></os></domain>";
        Domain::define_xml(conn, xml)?.get_uuid_string()
    });
    let again = VmId::from(again.await.unwrap());
    assert_ne!(again, a);
    for _ in 0..3 {
        lists(libvirt, &[(&again, "a", VmState::Stopped), (&b, "b", VmState::Running)]).await;
    }
    // And two of them change their names.
    let (one, two) = (again.to_string(), b.to_string());
    let swap = libvirt.with_connection(move |conn| {
        let find = |id: &str| Domain::lookup_by_uuid_string(conn, id);
        find(&two)?.destroy()?;
        for (id, name) in [(&one, "c"), (&two, "a"), (&one, "b")] {
            find(id)?.rename(name, 0)?;
        }
        find(&two)?.create().map(drop)
    });
    swap.await.unwrap();
    for _ in 0..3 {
        lists(libvirt, &[(&again, "b", VmState::Stopped), (&b, "a", VmState::Running)]).await;
    }
}

#[tokio::test]
async fn a_stream_ends_with_its_connection() {
    let host = host().await;
    let mut events = host.libvirt.watch(&EventQuery::all()).await.unwrap();
    drop(host);
    let end = tokio::time::timeout(SOON, events.next()).await.unwrap();
    assert!(end.is_none(), "{end:?}");
}

#[test]
fn a_runtime_that_ends_is_told_and_the_next_one_watches_anew() {
    let runtime =
        || tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let (first, second) = (runtime(), runtime());
    let host = second.block_on(host());
    let mut events = first.block_on(host.libvirt.watch(&EventQuery::all())).unwrap();
    first.shutdown_timeout(SOON);
    second.block_on(async {
        let end = tokio::time::timeout(SOON, events.next()).await.unwrap();
        assert!(matches!(end, Some(Err(_))), "{end:?}");
        assert!(events.next().await.is_none());
        let mut events = host.libvirt.watch(&EventQuery::all()).await.unwrap();
        let vm = host.libvirt.create_vm(&VmSpec::new("d")).await.unwrap().output;
        up_to(&mut events, &EventKind::VmCreated(vm), |_| true).await;
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_reader_is_told_that_it_missed_something() {
    let host = host().await;
    let libvirt = &host.libvirt;
    let mut events = libvirt.watch(&EventQuery::all()).await.unwrap();
    let vm = libvirt.create_vm(&VmSpec::new("e").start(true)).await.unwrap().output;
    for _ in 0..2200 {
        power(libvirt, &vm, PowerAction::Pause).await;
        power(libvirt, &vm, PowerAction::Resume).await;
    }
    // The last ones are on their way.
    tokio::time::sleep(Duration::from_millis(200)).await;
    let first = events.next().await.unwrap().unwrap();
    assert!(matches!(first.kind, EventKind::Lagged { missed } if missed > 0), "{first:?}");
    power(libvirt, &vm, PowerAction::PowerOff).await;
    up_to(&mut events, &changed(&vm, VmState::Stopped), |_| true).await;
}
