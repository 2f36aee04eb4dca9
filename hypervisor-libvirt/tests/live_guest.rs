//! What reaches into guests on a real libvirtd: console, cloud-init, live changes, addresses, templates.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests fail by panicking")]

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::bench::{BOOT, Bench};
use common::done;
use hypervisor_core::model::*;
use hypervisor_core::traits::*;
use hypervisor_core::{ErrorKind, Hypervisor};
use hypervisor_libvirt::{ConsoleStream, Libvirt, LibvirtConfig, OpenConsole, VmOptions};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// Reads on until the guest has said `text`.
async fn read_until(console: &mut ConsoleStream, text: &str) -> String {
    let mut all = Vec::new();
    let reading = async {
        let mut part = vec![0; 1024];
        while !String::from_utf8_lossy(&all).contains(text) {
            let count = console.read(&mut part).await.unwrap();
            assert!(count > 0, "the console ends before `{text}`");
            all.extend_from_slice(&part[..count]);
        }
    };
    let outcome = tokio::time::timeout(BOOT, reading).await;
    let all = String::from_utf8_lossy(&all).into_owned();
    assert!(outcome.is_ok(), "the console does not say `{text}`: {all}");
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shell_answers_on_the_console() {
    let Some(bench) = Bench::new("tty").await else { return };
    let vm = bench.make(&bench.booting("a").graphics(GraphicsKind::Vnc)).await;
    let first = OpenConsole::new();
    assert_eq!(bench.console_stream(&vm, &first).await.unwrap_err().kind(), ErrorKind::InvalidState);
    // Held before its first word, so that none of them is missed.
    bench.start_paused(&vm).await.unwrap();
    assert_eq!(bench.get_vm(&vm).await.unwrap().state, VmState::Paused);
    let mut console = bench.console_stream(&vm, &first).await.unwrap();
    bench.power(&vm, PowerAction::Resume).await;
    read_until(&mut console, "GUEST-READY").await;
    console.write_all(b"\n").await.unwrap();
    console.write_all(b"echo sum-$((1200+34))\n").await.unwrap();
    console.flush().await.unwrap();
    read_until(&mut console, "sum-1234").await;

    let error = bench.console_stream(&vm, &first).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Locked, "{error}");
    let mut second = bench.console_stream(&vm, &OpenConsole::new().take_over(true)).await.unwrap();
    // The first session is over, by an end or an error.
    let mut rest = Vec::new();
    let over = tokio::time::timeout(BOOT, console.read_to_end(&mut rest)).await;
    assert!(over.is_ok(), "the session that was taken over goes on");
    // More than there is room for, all of it and in order.
    second.write_all(b"seq 1 20000; echo all-$((30+3))\n").await.unwrap();
    let all = read_until(&mut second, "all-33").await;
    let numbers: Vec<u32> = all.lines().filter_map(|line| line.trim().parse().ok()).collect();
    assert!(numbers.iter().copied().eq(1..=20_000), "{} numbers", numbers.len());

    // What nobody reads is held up to a bound, and then the session ends.
    second.write_all(b"yes 0123456789012345678901234567890\n").await.unwrap();
    let full = async {
        while !format!("{second:?}").contains("ended: true") {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    assert!(tokio::time::timeout(BOOT * 3, full).await.is_ok(), "{second:?}");
    let mut rest = Vec::new();
    let error = second.read_to_end(&mut rest).await.unwrap_err();
    assert!(rest.len() == 1 << 20 && error.to_string().contains("wait to be read"), "{error}");

    // Dropped, it is free for the next one.
    drop(second);
    let mut third = None;
    for _ in 0..50 {
        match bench.console_stream(&vm, &first).await {
            Ok(console) => {
                third = Some(console);
                break;
            }
            Err(error) => assert_eq!(error.kind(), ErrorKind::Locked, "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let mut third = third.unwrap();
    bench.power(&vm, PowerAction::PowerOff).await;
    let over = tokio::time::timeout(Duration::from_secs(20), third.read_to_end(&mut rest)).await;
    assert!(over.is_ok(), "the console of a guest that is off does not end");
    let odd = OpenConsole::new().device("serial9");
    bench.power(&vm, PowerAction::Start).await;
    let error = bench.console_stream(&vm, &odd).await.unwrap_err();
    assert!(error.message().contains("serial9"), "{error}");

    let screen = bench.get_console(&vm, &ConsoleKind::Vnc).await.unwrap();
    assert!(screen.port.unwrap() >= 5900 && screen.address.as_deref() == Some("127.0.0.1"), "{screen:?}");
    let picture = bench.screenshot_vm(&vm).await.unwrap();
    let magic: &[u8] = if picture.media_type == "image/png" { b"\x89PNG" } else { b"P6" };
    assert!(picture.data.starts_with(magic), "{}", picture.media_type);

    let spice = bench.make(&bench.idle("b").graphics(GraphicsKind::Spice).start(true)).await;
    let screen = bench.get_console(&spice, &ConsoleKind::Spice).await.unwrap();
    assert!(screen.port.unwrap() >= 5900 && screen.address.as_deref() == Some("127.0.0.1"), "{screen:?}");
    bench.end().await;
}

/// What a guest's seed says, read from its volume.
async fn seed_of(bench: &Bench, vm: &VmId, file: &str) -> Option<String> {
    let config = bench.get_vm_config(vm).await.unwrap();
    let seed = config.disks.iter().find(|disk| disk.read_only).unwrap();
    let content = bench.download_volume(seed.volume.as_ref().unwrap(), &DownloadVolume::all()).await.unwrap();
    hypervisor_libvirt::read_seed(&content.collect(64 << 20).await.unwrap(), file).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_gets_its_seed() {
    let Some(bench) = Bench::new("seed").await else { return };
    let seed = CloudInit::user_data("#cloud-config\nhostname: web\n").network_config("version: 2\n");
    let spec = bench.booting("a").disk(DiskSpec::new_volume(ByteSize::mib(16))).cloud_init(seed).start(true);
    let vm = bench.make(&spec).await;
    // The guest sees both disks, and the seed's label at its place in the boot sector.
    bench.sees("a", "disks=vda,vdb").await;
    bench.has_agent(&vm).await;
    let look = "dd if=/dev/vdb bs=1 skip=43 count=6 2>/dev/null; cat /sys/block/vdb/ro";
    let seen = bench.exec_in_guest(&vm, &ExecSpec::new("/bin/sh").arg("-c").arg(look)).await.unwrap();
    assert_eq!(String::from_utf8_lossy(&seen.stdout), "CIDATA1\n");
    // What keeps the guest's disks passes the seed by: nobody writes to it.
    let disks = SnapshotSpec::new("disks").memory(false);
    let kept = done(&bench, bench.create_snapshot(&vm, &disks).await.unwrap()).await;
    done(&bench, bench.delete_snapshot(&vm, &kept, &DeleteSnapshot::only()).await.unwrap()).await;
    done(&bench, bench.create_backup(&vm, &BackupSpec::new()).await.unwrap()).await;
    let backups = bench.list_backups(&BackupQuery::all(), &PageRequest::first()).await.unwrap().items;
    let backup = backups.iter().find(|backup| backup.vm.as_ref() == Some(&vm)).unwrap();
    let back = RestoreBackup::new_vm("seed-back");
    let back = done(&bench, bench.restore_backup(&backup.id, &back).await.unwrap()).await;
    assert_eq!(bench.get_vm_config(&back).await.unwrap().disks.len(), 1);
    let _ = bench.delete_vm(&back, &DeleteVm::with_disks()).await.unwrap();
    done(&bench, bench.delete_backup(&backup.id).await.unwrap()).await;
    bench.power(&vm, PowerAction::PowerOff).await;
    assert_eq!(bench.volumes().await, ["seed-a-seed.img", "seed-a-vda.qcow2"]);
    assert!(seed_of(&bench, &vm, "user-data").await.unwrap().contains("hostname: web"));
    assert_eq!(seed_of(&bench, &vm, "network-config").await.unwrap(), "version: 2\n");
    let meta = format!("instance-id: {vm}\nlocal-hostname: seed-a\n");
    assert_eq!(seed_of(&bench, &vm, "meta-data").await.unwrap(), meta);
    let _ = bench.create_snapshot(&vm, &SnapshotSpec::new("s")).await.unwrap();
    done(&bench, bench.delete_snapshot(&vm, &"s".into(), &DeleteSnapshot::only()).await.unwrap()).await;

    // A copy has none of its original's, and one of its own where it is deployed with one.
    let copy = done(&bench, bench.clone_vm(&vm, &CloneSpec::new("seed-copy")).await.unwrap()).await;
    assert_eq!(bench.get_vm_config(&copy).await.unwrap().disks.len(), 1);
    let template = bench.create_template(&vm, &TemplateSpec::in_place()).await.unwrap().output;
    for (name, linked) in [("seed-full", false), ("seed-link", true)] {
        let mut deploy = DeploySpec::new(name).cloud_init(CloudInit::user_data(name));
        deploy.clone = deploy.clone.linked(linked);
        let deployed = done(&bench, bench.deploy_template(&template, &deploy).await.unwrap()).await;
        assert_eq!(seed_of(&bench, &deployed, "user-data").await.unwrap(), name);
        assert!(seed_of(&bench, &deployed, "meta-data").await.unwrap().contains(&deployed.to_string()));
        bench.power(&deployed, PowerAction::Start).await;
        let _ = bench.delete_vm(&deployed, &DeleteVm::with_disks().power_off(true)).await.unwrap();
    }
    let _ = bench.delete_vm(&template, &DeleteVm::with_disks()).await.unwrap();
    assert_eq!(bench.volumes().await, ["seed-copy-vda.qcow2"]);

    let wrong =
        bench.idle("b").cloud_init(CloudInit::user_data("x")).direct_boot(DirectBoot::new("/no/such"));
    assert!(bench.create_vm(&wrong.start(true)).await.is_err());
    assert_eq!(bench.volumes().await, ["seed-copy-vda.qcow2"]);
    bench.end().await;
}

async fn change(bench: &Bench, vm: &VmId, change: &VmChange) -> UpdateOutcome {
    done(bench, bench.update_vm(vm, change).await.unwrap()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_guest_is_changed() {
    let Some(bench) = Bench::new("live").await else { return };
    let room = VmOptions::new().max_cpus(2).max_memory(ByteSize::mib(160));
    let vm = bench.make(&bench.booting("a").with(&room).unwrap().start(true)).await;
    bench.sees("a", "GUEST-READY").await;
    bench.has_agent(&vm).await;
    let shell = async |line: &str| {
        let output = bench.exec_in_guest(&vm, &ExecSpec::new("/bin/sh").arg("-c").arg(line)).await.unwrap();
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    };
    assert_eq!(shell("grep -c ^processor /proc/cpuinfo").await, "1");
    let marks = VmChange::new().description("new").add_tag("hot").metadata("owner", "ops");
    let outcome = change(&bench, &vm, &marks).await;
    assert_eq!((outcome.needs, outcome.applied.len()), (RestartNeed::None, 3));
    let info = bench.get_vm(&vm).await.unwrap();
    assert!(info.description.as_deref() == Some("new") && info.tags.contains("hot"), "{info:?}");
    let running = bench.with_connection({
        let uuid = vm.to_string();
        move |conn| {
            hypervisor_libvirt::virt::domain::Domain::lookup_by_uuid_string(conn, &uuid)?.get_xml_desc(0)
        }
    });
    let running = running.await.unwrap();
    assert!(running.contains("<description>new</description>") && running.contains(">hot<"), "{running}");

    // CPUs come at once, and the guest sees them; this one goes on with those that it has.
    let two = VmChange::new().cpus(2).apply(ApplyPolicy::LiveOnly);
    let outcome = change(&bench, &vm, &two).await;
    assert_eq!((outcome.applied, outcome.needs), (vec!["cpus".to_owned()], RestartNeed::None));
    assert_eq!(shell("ls -d /sys/devices/system/cpu/cpu[0-9]* | wc -l").await, "2");
    assert_eq!(bench.get_vm(&vm).await.unwrap().cpus, Some(2));
    let three = VmChange::new().cpus(3).apply(ApplyPolicy::LiveOnly);
    let error = bench.update_vm(&vm, &three).await.unwrap_err();
    assert!(error.kind() == ErrorKind::InvalidState && error.message().contains("cpus"), "{error}");
    assert_eq!(bench.get_vm(&vm).await.unwrap().cpus, Some(2));

    let total = shell("grep MemTotal /proc/meminfo").await;
    for size in [ByteSize::mib(112), ByteSize::mib(160)] {
        let outcome = change(&bench, &vm, &VmChange::new().memory(size)).await;
        assert_eq!(
            (outcome.applied, outcome.needs),
            (vec!["memory".to_owned()], RestartNeed::None),
            "{total}"
        );
        assert_eq!(bench.get_vm(&vm).await.unwrap().memory, Some(size));
    }
    assert_ne!(shell("grep MemTotal /proc/meminfo").await, total);
    assert!(bench.get_vm_config(&vm).await.unwrap().pending.is_empty());
    let outcome = change(&bench, &vm, &VmChange::new().memory(ByteSize::mib(200))).await;
    assert_eq!((outcome.pending, outcome.needs), (vec!["memory".to_owned()], RestartNeed::PowerCycle));
    assert_eq!(bench.get_vm_config(&vm).await.unwrap().pending[0].field, "memory");
    let next = change(&bench, &vm, &VmChange::new().description("later").apply(ApplyPolicy::NextBoot)).await;
    assert_eq!(next.pending, ["description"]);

    // A guest in its firmware does not follow its balloon: the change waits, and nothing is left half done.
    let idle = bench.make(&bench.idle("b").start(true)).await;
    let outcome = change(&bench, &idle, &VmChange::new().memory(ByteSize::mib(48))).await;
    assert_eq!(outcome.pending, ["memory"]);
    assert_eq!(bench.get_vm(&idle).await.unwrap().memory, Some(ByteSize::mib(64)));
    // One without a definition takes what needs none.
    let brief = bench.make(&bench.idle("c").ephemeral(true)).await;
    assert_eq!(change(&bench, &brief, &VmChange::new().add_tag("x")).await.applied, ["tags"]);
    assert!(bench.get_vm(&brief).await.unwrap().tags.contains("x"));
    let error = bench.update_vm(&brief, &VmChange::new().autostart(true)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidState, "{error}");
    let error = bench.update_vm(&brief, &VmChange::new().cpus(4)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidState, "{error}");
    bench.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn templates_are_sealed() {
    let Some(bench) = Bench::new("seal").await else { return };
    let vm = bench.make(&bench.idle("a").disk(DiskSpec::new_volume(ByteSize::mib(16)))).await;
    let config =
        || -> LibvirtConfig { std::env::var("HYPERVISOR_TEST_LIBVIRT_URI").unwrap().parse().unwrap() };
    let without = Libvirt::connect(config().virt_sysprep("/no/such/tool")).await.unwrap();
    let copy = TemplateSpec::copy("seal-copy").seal(true);
    let error = without.create_template(&vm, &copy).await.unwrap_err();
    assert!(error.is_unsupported() && error.message().contains("virt-sysprep"), "{error}");

    // Stands in for the real tool, which brings a machine of its own: what it is told is what is looked at.
    let (tool, said, refuse) =
        (bench.folder.join("tool"), bench.folder.join("said"), bench.folder.join("refuse"));
    let script = format!(
        "#!/bin/sh\necho \"$@\" >> {}\nif [ -e {} ]; then echo 'no operating system' >&2; exit 1; fi\n",
        said.display(),
        refuse.display()
    );
    std::fs::write(&tool, script).unwrap();
    std::fs::set_permissions(&tool, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let with = Libvirt::connect(config().virt_sysprep(&tool)).await.unwrap();
    assert!(with.capabilities().has(Feature::SealTemplate));
    let template = done(&with, with.create_template(&vm, &copy).await.unwrap()).await;
    let path = bench.folder.join("pool/seal-copy-vda.qcow2");
    let told = format!("--quiet --format qcow2 --add {}\n", path.display());
    assert_eq!(std::fs::read_to_string(&said).unwrap(), told);
    assert!(bench.get_vm(&template).await.unwrap().template && !bench.get_vm(&vm).await.unwrap().template);

    // One that fails leaves no copy behind; the guest itself is no template then either.
    std::fs::write(&refuse, "").unwrap();
    for spec in [TemplateSpec::copy("seal-bad").seal(true), TemplateSpec::in_place().seal(true)] {
        let task = with.create_template(&vm, &spec).await.unwrap().task.unwrap();
        let info = loop {
            let info = with.get_task(&task, Some(Duration::from_secs(1))).await.unwrap();
            if info.state.is_final() {
                break info;
            }
        };
        assert!(info.state == TaskState::Failed && info.error.unwrap().contains("no operating system"));
    }
    assert_eq!(bench.volumes().await, ["seal-a-vda.qcow2", "seal-copy-vda.qcow2"]);
    assert!(!bench.get_vm(&vm).await.unwrap().template);
    std::fs::remove_file(&refuse).unwrap();
    done(&with, with.create_template(&vm, &TemplateSpec::in_place().seal(true)).await.unwrap()).await;
    assert!(bench.get_vm(&vm).await.unwrap().template);
    let deployed =
        done(&bench, bench.deploy_template(&template, &DeploySpec::new("seal-new")).await.unwrap()).await;
    let error = bench.start_paused(&template).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidState, "{error}");
    bench.power(&deployed, PowerAction::Start).await;
    bench.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn addresses_say_where_they_are_known_from() {
    let Some(bench) = Bench::new("addr").await else { return };
    let network = NetworkSpec::nat("addr", "10.77.9.1/24".parse().unwrap())
        .dhcp_from_cidr()
        .bridge("hvaddr0")
        .start(true);
    let _ = bench.create_network(&network).await.unwrap();
    let spec = bench.booting("a").nic(NicSpec::network("addr")).start(true);
    let id = bench.make(&spec).await;
    let uri = std::env::var("HYPERVISOR_TEST_LIBVIRT_URI").unwrap();
    // Opened while a guest runs, so that what libvirt makes of the host's ARP table is known.
    let hv: Arc<dyn Hypervisor> = Arc::new(Libvirt::connect(uri.parse().unwrap()).await.unwrap());
    let vm = hv.vm(id.clone());
    let leased = vm.wait_for_address(BOOT, |found| found.source == AddressSource::Lease).await.unwrap();
    let mac = bench.get_vm_config(&id).await.unwrap().nics[0].mac;
    assert!(leased.is_reachable() && leased.mac == mac, "{leased:?}");
    let told = vm.wait_for_address(BOOT, |found| {
        found.source == AddressSource::Agent && found.address == leased.address
    });
    assert_eq!(told.await.unwrap().interface.as_deref(), Some("eth0"));
    let never = vm.wait_for_address(Duration::from_secs(2), |found| found.address.is_unspecified()).await;
    let error = never.unwrap_err();
    assert!(error.kind() == ErrorKind::Timeout && error.message().contains("10.77.9."), "{error}");
    // The host has spoken with the guest, as its DHCP server. Some kernels answer libvirt's question for their table in a way that it takes for
    // malformed; there the driver says so, and that it does find an address goes untested.
    match vm.addresses_from(AddressSource::Arp).await {
        Ok(found) => {
            assert!(hv.capabilities().has(Feature::ArpAddresses));
            assert!(found.iter().all(|found| found.source == AddressSource::Arp), "{found:?}");
            assert!(found.iter().any(|found| found.address == leased.address), "{found:?}");
        }
        Err(error) => {
            assert!(error.is_unsupported() && error.message().contains("ARP table"), "{error}");
            assert!(!hv.capabilities().has(Feature::ArpAddresses));
            eprintln!("SKIPPED: an address from the host's ARP table: {error}");
        }
    }
    bench.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_way_to_wipe_is_taken_or_refused() {
    let Some(bench) = Bench::new("wipe").await else { return };
    let content = vec![b'x'; 1 << 20];
    let volume = VolumeSpec::new("wipe", "w.img", ByteSize::mib(1)).format(VolumeFormat::Raw);
    let volume = bench.create_volume(&volume).await.unwrap().output;
    assert_eq!(WipeAlgorithm::ALL.len(), 9);
    for algorithm in WipeAlgorithm::ALL.iter().copied() {
        let fill = ByteStream::from_bytes(content.clone());
        let _ = bench.upload_volume(&UploadVolume::to(&volume), fill).await.unwrap();
        let wiped = bench.wipe_volume(&volume, algorithm).await;
        if algorithm != WipeAlgorithm::Zero && !bench.capabilities().has(Feature::WipeAlgorithms) {
            let error = wiped.unwrap_err();
            assert!(error.is_unsupported() && error.message().contains("scrub"), "{algorithm}: {error}");
            continue;
        }
        done(&bench, wiped.unwrap()).await;
        let left = bench.download_volume(&volume, &DownloadVolume::all()).await.unwrap();
        let left = left.collect(2 << 20).await.unwrap();
        assert!(!left.windows(64).any(|part| part == &content[..64]), "{algorithm} leaves the content");
    }
    bench.end().await;
}
