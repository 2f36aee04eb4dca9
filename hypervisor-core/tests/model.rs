//! The model from outside: what another crate needs in order to be a driver or a gateway. Every type of plain data survives the wire, and
//! every field of what a driver reports can be set by one.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use hypervisor_core::model::*;
use hypervisor_core::{Error, Operation};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// As it comes back from the wire.
fn survives<T: Serialize + DeserializeOwned + PartialEq + Debug>(value: &T) -> Value {
    let json = serde_json::to_value(value).unwrap_or_else(|error| panic!("{value:?}: {error}"));
    let back = T::deserialize(json.clone()).unwrap_or_else(|error| panic!("{json}: {error}"));
    assert_eq!(back, *value, "{json}");
    json
}

/// As [`survives`], and no field was left as the constructor makes it, but for those named.
fn full<T: Serialize + DeserializeOwned + PartialEq + Debug>(value: &T, but_for: &[&str]) {
    let json = survives(value);
    for (field, value) in json.as_object().unwrap() {
        let unset = match value {
            Value::Null | Value::Bool(false) => true,
            Value::Array(items) => items.is_empty(),
            Value::Object(fields) => fields.is_empty(),
            Value::String(text) => text.is_empty(),
            _ => false,
        };
        assert!(!unset || but_for.contains(&field.as_str()), "{}.{field}", std::any::type_name::<T>());
    }
}

fn time() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_millis(1_700_000_000_123)
}

fn extra() -> Extra {
    let mut extra = Extra::default();
    extra.insert("shelf", "colour", "red");
    extra
}

fn address() -> IpAddr {
    "10.1.2.3".parse().unwrap()
}

fn mac() -> MacAddr {
    MacAddr::qemu([1, 2, 3])
}

fn set<T: Ord, const N: usize>(items: [T; N]) -> std::collections::BTreeSet<T> {
    items.into()
}

#[test]
fn a_driver_elsewhere_can_report_all_there_is_about_guests() {
    let vm = VmInfo::new("1", "web-1", VmState::Running)
        .uid("u")
        .kind(GuestKind::Container)
        .host("h")
        .cpus(2)
        .memory(ByteSize::gib(1))
        .tags(set(["a".to_owned()]))
        .description("d")
        .group("g")
        .template(true)
        .lock("backup")
        .autostart(true)
        .uptime(Duration::from_millis(1500))
        .created(time())
        .client_token("t")
        .extra(extra());
    full(&vm, &[]);
    full(&VmInfo::new("1", "web-1", VmState::Unknown("odd".into())), &VM_OPTIONAL);
    let disk = DiskInfo::new("vda", DiskDevice::Disk, DiskBus::Virtio)
        .volume("p/v")
        .path("/v")
        .capacity(ByteSize::gib(1))
        .format(VolumeFormat::Qcow2)
        .read_only(true)
        .serial("s");
    full(&disk, &[]);
    let nic = NicInfo::new("net0", NicSource::Network("n".into()), NicModel::Virtio)
        .mac(mac())
        .vlan(7)
        .link_down(true);
    full(&nic, &[]);
    let pending = PendingChange::new("cpus", Some("1".into()), Some("2".into()));
    full(&pending, &[]);
    let config = VmConfig::new("1", spec(), vec![disk], vec![nic])
        .pending(vec![pending])
        .revision(Revision::new("r"))
        .native("<domain/>");
    full(&config, &[]);
    full(&UpdateOutcome::new(vec!["name".into()], vec!["cpus".into()]), &[]);
    full(&ExportedVm::new("/d.xml", vec!["/d.qcow2".into()]), &[]);
    let address = GuestAddress::new(address(), AddressSource::Agent).prefix(24).mac(mac()).interface("eth0");
    full(&address, &[]);
    full(&ExecOutput::exited(1, "out".into(), "err".into()).signal(9).truncated(true), &[]);
    full(&Screenshot::new("image/png", vec![0, 159, 255]), &[]);
    let console = ConsoleAccess::new(ConsoleKind::Vnc)
        .address("a")
        .port(5900)
        .tls_port(5901)
        .url("wss://h")
        .path("/dev/pts/1")
        .password("p")
        .valid_for(Duration::from_secs(30));
    full(&console, &[]);
    let snapshot = SnapshotInfo::new("s")
        .parent("r")
        .current(true)
        .description("d")
        .created(time())
        .state(VmState::Paused)
        .memory(true)
        .extra(extra());
    full(&snapshot, &[]);
    survives(&SnapshotTree::new(vec![snapshot]));
    let backup = BackupInfo::new("b")
        .vm("1")
        .pool("p")
        .created(time())
        .size(ByteSize::gib(1))
        .protected(true)
        .description("d")
        .parent("a")
        .extra(extra());
    full(&backup, &[]);
}

const VM_OPTIONAL: [&str; 14] = [
    "uid",
    "host",
    "cpus",
    "memory",
    "tags",
    "description",
    "group",
    "template",
    "lock",
    "autostart",
    "uptime",
    "created",
    "client_token",
    "extra",
];

#[test]
fn a_driver_elsewhere_can_report_all_there_is_about_the_rest() {
    let host = HostInfo::new("h", HostState::Online)
        .cpus(8)
        .cpu_model("m")
        .architecture("x86_64")
        .memory(ByteSize::gib(8))
        .memory_used(ByteSize::gib(1))
        .cpu_usage(0.5)
        .uptime(Duration::from_secs(9))
        .version("9.0")
        .extra(extra());
    full(&host, &[]);
    full(&ClusterInfo::new(vec![host]).name("c").extra(extra()), &[]);
    full(
        &BackendInfo::new("shelf", "shelf://")
            .version("1")
            .volume_unit(ByteSize::gib(1))
            .networks_need_dhcp(true),
        &[],
    );
    full(&GroupInfo::new("g").description("d").vms(vec!["1".into()]).pools(vec!["p".into()]), &[]);
    let pool = PoolInfo::new("p", PoolKind::Dir, true)
        .autostart(true)
        .path("/p")
        .capacity(ByteSize::gib(3))
        .used(ByteSize::gib(1))
        .available(ByteSize::gib(2))
        .hosts(vec!["h".into()])
        .shared(true)
        .content(set(["iso".to_owned()]))
        .extra(extra());
    full(&pool, &[]);
    let volume = VolumeInfo::new("p/v", "p", "v", ByteSize::gib(1))
        .allocation(ByteSize::mib(1))
        .format(VolumeFormat::Raw)
        .content("iso")
        .path("/p/v")
        .backing("p/base")
        .vm("1")
        .created(time())
        .extra(extra());
    full(&volume, &[]);
    let network = NetworkInfo::new("n", "n", NetworkKind::Nat, true)
        .autostart(true)
        .bridge("virbr0")
        .cidr("10.1.2.1/24".parse().unwrap())
        .dhcp(DhcpRange::new(address(), address()))
        .vlan(7)
        .domain("lan")
        .host("h")
        .extra(extra());
    full(&network, &[]);
    full(&Lease::new(mac(), address()).prefix(24).hostname("web-1").expires(time()), &[]);
    let task = TaskInfo::new("t", TaskState::Running)
        .error_kind(hypervisor_core::ErrorKind::Exhausted)
        .effect(hypervisor_core::Effect::Partial)
        .operation(Operation::CloneVm)
        .vm("1")
        .host("h")
        .progress(0.5)
        .stage("s")
        .error("e")
        .warnings(vec!["w".into()])
        .made("b")
        .user("u")
        .started(time())
        .ended(time())
        .can_cancel(true)
        .extra(extra());
    full(&task, &[]);
    full(&TaskLog::new(vec![TaskLogLine::new(1, "line").time(time())], 2, true), &[]);
    let metrics = HostMetrics::new("h", time())
        .cpu_usage(0.5)
        .cpu_time(Duration::from_nanos(5))
        .memory_total(ByteSize::gib(2))
        .memory_used(ByteSize::gib(1))
        .load(1.5)
        .extra(extra());
    full(&metrics, &[]);
    let (disk, nic) = (DiskMetrics::new().read(ByteSize::kib(1)), NicMetrics::new().dropped(1));
    let metrics = VmMetrics::new("1", time())
        .cpu_usage(0.5)
        .cpu_time(Duration::from_nanos(5))
        .memory_total(ByteSize::gib(2))
        .memory_used(ByteSize::gib(1))
        .memory_resident(ByteSize::gib(1))
        .disks(BTreeMap::from([("vda".into(), disk)]))
        .nics(BTreeMap::from([("net0".into(), nic)]))
        .extra(extra());
    full(&metrics, &[]);
    let history = MetricsHistory::new(Duration::from_secs(60), vec![time(), time()]);
    full(&history.with_series("cpu_usage", vec![Some(0.5)]), &[]);
    let page = Page::new(vec![VmId::from("1")], Some("c".into())).with_total(3);
    full(&page.with_unreachable(vec![Unreachable::new("h", "why")]), &[]);
    full(&Started::running(VmId::from("1"), "t"), &[]);
    survives(
        &Capabilities::all_native().emulated([Feature::Tpm], "cost").unsupported([Feature::Uefi], "why"),
    );
    for kind in [
        EventKind::VmCreated("1".into()),
        EventKind::VmStateChanged { vm: "1".into(), state: VmState::Unknown("odd".into()) },
        EventKind::VmMigrated { vm: "1".into(), host: "h".into() },
        EventKind::SnapshotsChanged { vm: "1".into(), snapshot: None },
        EventKind::TaskChanged { task: "t".into(), state: TaskState::Forgotten },
        EventKind::HostChanged("h".into()),
        EventKind::Resync { reason: "slow".into() },
        EventKind::Lagged { missed: 7 },
    ] {
        full(&Event::new(time(), kind).extra(extra()), &[]);
    }
}

fn spec() -> VmSpec {
    let boot = Boot::default()
        .firmware(Firmware::Uefi)
        .order(vec![BootDevice::Network, BootDevice::Disk])
        .direct(DirectBoot::new("/k").initrd("/i").cmdline("quiet"));
    let mut spec = VmSpec::new("web-1")
        .id("1")
        .host("h")
        .cpus(2)
        .memory(ByteSize::gib(1))
        .description("d")
        .tag("t")
        .metadata("k", "v")
        .group("g")
        .nic(NicSpec::bridge("br0").model(NicModel::E1000).mac(mac()).vlan(7).link_down(true))
        .nic(NicSpec::user())
        .nic(NicSpec::new(NicSource::Disconnected))
        .nic(NicSpec::new(NicSource::Direct("eth0".into())))
        .boot(boot)
        .machine("q35")
        .cpu_model("host")
        .graphics(GraphicsKind::Vnc)
        .serial(SerialSpec::new().log("/log"))
        .agent(true)
        .tpm(true)
        .cloud_init(CloudInit::user_data("u").meta_data("m").network_config("n"))
        .autostart(true)
        .ephemeral(true)
        .start(true)
        .client_token("c")
        .options(extra());
    spec.disks = vec![
        DiskSpec::new_volume(ByteSize::gib(1))
            .in_pool("p")
            .bus(DiskBus::Scsi)
            .name("n")
            .serial("s")
            .slot("sda"),
        DiskSpec::volume("p/v").format(VolumeFormat::Unknown("odd".into())).read_only(true),
        DiskSpec::copy_of("p/v").size(ByteSize::gib(2)).in_pool("q"),
        DiskSpec::linked_to("p/v"),
        DiskSpec::host_path("/dev/sdz"),
        DiskSpec::cdrom("p/iso"),
        DiskSpec::empty_cdrom(),
    ];
    spec
}

fn operations() -> Vec<BatchOp> {
    let vm = || VmId::from("1");
    let power = [
        PowerAction::Start,
        PowerAction::Shutdown(
            Shutdown::new().via(ShutdownVia::Agent).power_off_after(Duration::from_secs(1)),
        ),
        PowerAction::PowerOff,
        PowerAction::Reboot,
        PowerAction::Reset,
        PowerAction::Pause,
        PowerAction::Resume,
        PowerAction::Hibernate,
    ];
    let clone = CloneSpec::new("copy").linked(true).snapshot("s").client_token("c");
    let listed = DeleteVm::new(DisposeDisks::Listed(vec!["vda".into()])).power_off(true).expected_uid("u");
    let mut operations: Vec<BatchOp> = power.map(|action| BatchOp::power("1", action)).into();
    operations.extend([
        BatchOp::CreateVm(Box::new(spec())),
        BatchOp::UpdateVm { vm: vm(), change: Box::new(change()) },
        BatchOp::DeleteVm { vm: vm(), options: listed },
        BatchOp::CloneVm { vm: vm(), spec: Box::new(clone) },
        BatchOp::MigrateVm { vm: vm(), spec: MigrateSpec::to("h").live(false).bandwidth(ByteSize::mib(1)) },
        BatchOp::CreateSnapshot { vm: vm(), spec: SnapshotSpec::new("s").memory(false).quiesce(true) },
        BatchOp::RevertSnapshot {
            vm: vm(),
            snapshot: "s".into(),
            options: RevertSnapshot::new().start(true),
        },
        BatchOp::DeleteSnapshot { vm: vm(), snapshot: "s".into(), options: DeleteSnapshot::with_children() },
        BatchOp::CreateVolume(volume()),
        BatchOp::DeleteVolume("p/v".into()),
    ]);
    operations
}

fn change() -> VmChange {
    VmChange::new()
        .name("n")
        .cpus(2)
        .memory(ByteSize::gib(2))
        .description("d")
        .add_tag("a")
        .remove_tag("b")
        .metadata("k", "v")
        .boot_order(vec![BootDevice::Cdrom])
        .autostart(true)
        .agent(true)
        .apply(ApplyPolicy::LiveOnly)
        .if_revision(Revision::new("r"))
        .expected_uid("u")
        .options(extra())
}

fn volume() -> VolumeSpec {
    VolumeSpec::new("p", "v", ByteSize::gib(1))
        .format(VolumeFormat::Qcow2)
        .backing("p/base")
        .preallocate(true)
        .vm("1")
        .content("images")
}

#[test]
fn what_is_asked_for_survives_the_wire() {
    full(&spec(), &[]);
    full(&change(), &[]);
    full(&volume(), &[]);
    let all_vms = VmQuery::all().name("n").kind(GuestKind::Vm).state(VmState::Running).host("h").group("g");
    full(&all_vms.tag("t").template(true).client_token("c"), &[]);
    let clone = CloneSpec::new("n").id("2").linked(true).pool("p").host("h").snapshot("s").description("d");
    let clone = clone.group("g").start(true).client_token("c");
    full(&clone, &[]);
    full(&CloneMany::new("web", 3).first(2).concurrency(3).each(clone.clone()), &[]);
    full(&TemplateSpec::copy("n").seal(true).description("d"), &[]);
    let deploy = DeploySpec::new("n").clone(clone).cpus(1).memory(ByteSize::gib(1)).network("n");
    full(&deploy.autostart(true).cloud_init(CloudInit::user_data("u")), &[]);
    full(&MigrateSpec::to("h").live(true).with_disks(true).pool("p").bandwidth(ByteSize::mib(1)), &[]);
    full(&ExportSpec::new("/d").format(VolumeFormat::Raw).compress(true), &[]);
    let pool = PoolSpec::dir("p", "/p").source("s").autostart(true).hosts(vec!["h".into()]);
    full(&pool.content(set(["iso".to_owned()])).options(extra()), &[]);
    full(&PoolQuery::all().host("h").content("iso"), &[]);
    full(&CloneVolume::new("n").pool("p").format(VolumeFormat::Raw), &[]);
    full(&ResizeVolume::grow_to(ByteSize::gib(1)).allow_shrink(true), &[]);
    full(&DownloadVolume::all().offset(ByteSize::kib(1)).length(ByteSize::kib(1)), &[]);
    for target in [UploadVolume::to("p/v"), UploadVolume::Create(volume())] {
        survives(&target);
    }
    let network =
        NetworkSpec::nat("n", "10.1.2.1/24".parse().unwrap()).dhcp_from_cidr().bridge("br0").vlan(7);
    full(&network.domain("lan").autostart(true).start(true).host("h").options(extra()), &[]);
    let change = NetworkChange::new().autostart(true).cidr("fd00::1/64".parse().unwrap()).domain("d").vlan(7);
    full(&change.bridge("br0").dhcp(DhcpRange::new(address(), address())), &[]);
    full(&NicChange::new().source(NicSource::User).link_down(true).vlan(7), &[]);
    full(&SnapshotSpec::new("s").description("d").memory(true).quiesce(true), &[]);
    let backup = BackupSpec::new().pool("p").mode(BackupMode::Suspend).compress(true).since("b");
    full(&backup.protected(true).description("d"), &[]);
    full(&BackupQuery::all().vm("1").pool("p"), &[]);
    full(&RestoreBackup::new_vm("n").id("2").pool("p").host("h").start(true), &[]);
    survives(&RestoreBackup::original());
    full(&GroupSpec::new("g").description("d"), &[]);
    let change = GroupChange::new().description("d").add_vms(vec!["1".into()]).remove_vms(vec!["2".into()]);
    full(&change.add_pools(vec!["p".into()]).remove_pools(vec!["q".into()]), &[]);
    let query = TaskQuery::all().vm("1").host("h").state(TaskState::Failed);
    full(&query.operation(Operation::StartVm), &[]);
    full(&EventQuery::all().vm("1"), &[]);
    full(&PageRequest::first().limit(5).cursor("c"), &[]);
    let exec = ExecSpec::new("/bin/sh").arg("-c").stdin("in").deadline(Duration::from_secs(5));
    full(&exec.env([("K".to_owned(), "v".to_owned())].into()), &[]);
    assert_ne!(survives(&WriteFile::replace()), survives(&WriteFile::append()));
    for target in [MetricsTarget::Host("h".into()), MetricsTarget::Vm("1".into())] {
        survives(&target);
    }
    for options in [DeletePool::with_content(), DeletePool::keep_content()] {
        survives(&options);
    }
    survives(&DetachDisk::with_volume());
    for op in operations() {
        full(&BatchItem::new(op.clone()).after(vec![0]).key("k").compensate(op).delete_made(true), &[]);
    }
    let request = BatchRequest::new(operations()).concurrency(2).per_key(2).on_error(OnError::Compensate);
    full(&request.item_deadline(Duration::from_secs(5)), &[]);
    let made = [
        BatchOutput::Nothing,
        BatchOutput::Vm("1".into()),
        BatchOutput::Volume("p/v".into()),
        BatchOutput::Snapshot("s".into()),
    ];
    for output in made {
        survives(&output);
    }
}

#[test]
fn what_a_batch_reports_survives_the_wire() {
    let error = || Error::not_found(VmId::NOUN, "1").with_hint("look again");
    let report = BatchReport::new(vec![
        BatchOutcome::Done(BatchOutput::Vm("1".into())),
        BatchOutcome::Failed(error()),
        BatchOutcome::Skipped("why".into()),
        BatchOutcome::Unknown { error: error(), task: Some("t".into()) },
        BatchOutcome::Compensated,
    ]);
    let json = serde_json::to_string(&report).unwrap();
    let back: BatchReport = serde_json::from_str(&json).unwrap();
    // Errors cannot be compared; their text says all that they hold.
    assert_eq!(format!("{back:#?}"), format!("{report:#?}"));
    assert_eq!(serde_json::to_string(&back).unwrap(), json);
}

#[test]
fn every_name_survives_the_wire() {
    macro_rules! named {
        ($($name:ident)*) => { $($name::ALL.iter().for_each(|each| { survives(each); });)* };
    }
    macro_rules! open {
        ($($name:ident)*) => { $(
            $name::KNOWN.iter().for_each(|each| { survives(each); });
            survives(&$name::Unknown("Odd_One".into()));
        )* };
    }
    named! {
        Operation Feature TaskState GuestKind ApplyPolicy RestartNeed ShutdownVia DiskDevice Firmware BootDevice BackupMode
        OnError WipeAlgorithm AddressSource MetricsPeriod
    }
    open! {
        VmState HostState VolumeFormat PoolKind NetworkKind DiskBus NicModel GraphicsKind ConsoleKind
    }
}

/// Names and ids are read without a copy in between: seven allocations are the seven that the model holds.
#[test]
fn a_guest_is_read_with_no_more_allocations_than_it_keeps() {
    let vm = VmInfo::new("100", "web", VmState::Running).uid("u").host("host-1");
    let vm = vm.tags(set(["t".to_owned()]));
    let json = serde_json::to_string(&vm).unwrap();
    let counted = allocation_counter::measure(|| {
        assert_eq!(serde_json::from_str::<VmInfo>(&json).unwrap().name, "web");
    });
    assert_eq!(counted.count_total, 7, "id, uid, name, host, and the tags' set, node and text");
}

/// What people write by hand has only what they care about.
#[test]
fn a_spec_may_say_only_what_matters() {
    fn read<T: DeserializeOwned>(json: &str) -> T {
        serde_json::from_str(json).unwrap_or_else(|error| panic!("{json}: {error}"))
    }
    assert_eq!(read::<VmSpec>(r#"{"name":"web-1"}"#), VmSpec::new("web-1"));
    let hand_made = r#"{"name":"web-1","memory":"4GiB","disks":[{"source":{"new":{"size":"20 GiB"}}}]}"#;
    let spec = VmSpec::new("web-1").memory(ByteSize::gib(4)).disk(DiskSpec::new_volume(ByteSize::gib(20)));
    assert_eq!(read::<VmSpec>(hand_made), spec);
    assert_eq!(read::<BackupSpec>("{}"), BackupSpec::new());
    assert_eq!(read::<ExecSpec>(r#"{"program":"/bin/df"}"#), ExecSpec::new("/bin/df"));
    assert_eq!(read::<VmChange>(r#"{"cpus":4}"#), VmChange::new().cpus(4));
    let many: CloneMany = read(r#"{"prefix":"web","count":3}"#);
    assert_eq!(many.specs().unwrap(), CloneMany::new("web", 3).specs().unwrap());
    let batch: BatchRequest = read(r#"{"items":[{"op":{"create_vm":{"name":"a"}}}],"concurrency":2}"#);
    assert_eq!(batch, BatchRequest::new([BatchOp::CreateVm(Box::new(VmSpec::new("a")))]).concurrency(2));
    for (json, field) in [("{}", "name"), (r#"{"name":"a","memory":"much"}"#, "does not start with a number")]
    {
        let said = serde_json::from_str::<VmSpec>(json).unwrap_err().to_string();
        assert!(said.contains(field), "{json}: {said}");
    }
}
