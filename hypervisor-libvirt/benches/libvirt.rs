//! What the driver costs beside libvirt itself: `cargo bench -p hypervisor-libvirt`.
//!
//! Each figure stands beside the bare calls of the `virt` crate that give the same facts. What needs a daemon runs where
//! `HYPERVISOR_TEST_LIBVIRT_URI` names one (`cargo xtask live up` prints it), and says so where not.
#![allow(
    missing_docs,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "criterion's macros have no docs; a bench ends by a panic; its figures are printed, not used"
)]

use std::fmt::Write as _;
use std::hint::black_box;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use criterion::{Criterion, criterion_group, criterion_main};
use futures::stream;
use hypervisor_core::model::{
    ByteSize, ByteStream, DeletePool, EventQuery, PageRequest, PoolSpec, UploadVolume, VmQuery, VolumeFormat,
    VolumeSpec,
};
use hypervisor_core::traits::{Compute, Events, Metrics, Storage};
use hypervisor_libvirt::Libvirt;
use hypervisor_libvirt::virt::connect::Connect;
use hypervisor_libvirt::virt::domain::Domain;
use hypervisor_libvirt::virt::sys;
use tokio::runtime::{Builder, Runtime};

const URI: &str = "HYPERVISOR_TEST_LIBVIRT_URI";
const GUESTS: usize = 1_000;
/// Each takes milliseconds; many, for a middle that stays the same.
const INVENTORY_ROUNDS: usize = 300;
const PREFIX: &str = "bench-";
const CHUNK: usize = 1 << 20;

fn runtime() -> Runtime {
    Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime")
}

fn connect(runtime: &Runtime, uri: &str) -> Arc<Libvirt> {
    let config = uri.parse().expect("a URI");
    Arc::new(runtime.block_on(Libvirt::connect(config)).expect("a connection"))
}

/// Whether the words of the command line leave this one in.
fn wanted(what: &str) -> bool {
    std::env::args().skip(1).filter(|word| !word.starts_with('-')).all(|word| what.contains(&word))
}

fn live(runtime: &Runtime, what: &str) -> Option<Arc<Libvirt>> {
    if !wanted(what) {
        return None;
    }
    match std::env::var(URI) {
        Ok(uri) => Some(connect(runtime, &uri)),
        Err(_) => {
            eprintln!("SKIPPED {what}: {URI} is not set; `cargo xtask live up` prints it");
            None
        }
    }
}

fn definition(index: usize) -> String {
    format!(
        "<domain type='qemu'><name>{PREFIX}{index:05}</name><memory unit='MiB'>64</memory><vcpu>1</vcpu>\
         <os><type arch='x86_64'>hvm</type></os></domain>"
    )
}

async fn list(libvirt: &Libvirt) -> usize {
    let page = libvirt.list_vms(&VmQuery::all(), &PageRequest::first()).await.expect("a page");
    black_box(page).items.len()
}

/// What a program does that knows no better: a list, and for each guest its info and its definition.
fn one_by_one(conn: &Connect) -> usize {
    let domains = conn.list_all_domains(0).expect("a list");
    for domain in &domains {
        black_box((domain.get_info().expect("info"), domain.get_xml_desc(0).expect("a definition")));
    }
    domains.len()
}

/// The least that gives names, ids and states without the bulk call.
fn bare(conn: &Connect) -> usize {
    let domains = conn.list_all_domains(0).expect("a list");
    for domain in &domains {
        let name = domain.get_name().expect("a name");
        black_box((name, domain.get_uuid_string().expect("a uuid"), domain.get_info().expect("info")));
    }
    domains.len()
}

/// The bulk call alone, as a C program makes it: it frees what it got, and looks at nothing.
fn bulk(conn: &Connect) -> usize {
    bulk_of(conn, sys::VIR_DOMAIN_STATS_STATE)
}

/// The same with these groups of statistics; 0 stands for all.
#[allow(unsafe_code, reason = "the bare C call that the driver is compared with")]
fn bulk_of(conn: &Connect, groups: u32) -> usize {
    let mut records = std::ptr::null_mut();
    // SAFETY: the connection is alive; the array is libvirt's, and freed once.
    let count = unsafe {
        let count = sys::virConnectGetAllDomainStats(conn.as_ptr(), groups, &raw mut records, 0);
        sys::virDomainStatsRecordListFree(records);
        count
    };
    usize::try_from(count).expect("statistics")
}

/// The middle of the times that each of some things takes, done in turn, so that what else the machine does slows all of
/// them alike.
fn in_turn<const N: usize>(rounds: usize, mut things: [&mut dyn FnMut(); N]) -> [Duration; N] {
    let mut times = [const { Vec::new() }; N];
    for round in 0..=rounds {
        for (thing, times) in things.iter_mut().zip(&mut times) {
            let begun = Instant::now();
            thing();
            // The first round warms up.
            if round > 0 {
                times.push(begun.elapsed());
            }
        }
    }
    times.map(middle)
}

fn middle(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

fn ratio(one: Duration, other: Duration) -> f64 {
    one.as_secs_f64() / other.as_secs_f64()
}

/// Removes our guests, also those of a run that was ended.
fn remove(runtime: &Runtime, libvirt: &Libvirt) {
    let remove = libvirt.with_connection(|conn| {
        for domain in conn.list_all_domains(0)? {
            if domain.get_name()?.starts_with(PREFIX) {
                domain.undefine()?;
            }
        }
        Ok(())
    });
    runtime.block_on(remove).expect("no guests left");
}

/// 1,000 defined guests at a real daemon.
fn inventory(_: &mut Criterion) {
    let runtime = runtime();
    let Some(libvirt) = live(&runtime, "inventory") else { return };
    remove(&runtime, &libvirt);
    let define = libvirt.with_connection(|conn| {
        let mut domains = (0..GUESTS).map(|index| Domain::define_xml(conn, &definition(index)).map(drop));
        domains.try_for_each(|domain| domain)
    });
    runtime.block_on(define).expect("1,000 guests");
    let begun = Instant::now();
    runtime.block_on(list(&libvirt));
    println!("inventory/first list, which reads every definition: {:?}", begun.elapsed());

    let uri = std::env::var(URI).expect("checked above");
    let mut conn = Connect::open(Some(&uri)).expect("a bare connection");
    // With a stream of events, which tells the driver of what changes, and without.
    let watched = connect(&runtime, &uri);
    let events = runtime.block_on(watched.watch(&EventQuery::all())).expect("events");
    runtime.block_on(async {
        list(&watched).await;
        // Definitions that were read before the events came are read once more.
        tokio::time::sleep(Duration::from_secs(1)).await;
        list(&watched).await;
    });
    let [ours, told, bare] = in_turn(
        INVENTORY_ROUNDS,
        [
            &mut || assert!(runtime.block_on(list(&libvirt)) >= GUESTS),
            &mut || assert!(runtime.block_on(list(&watched)) >= GUESTS),
            &mut || assert!(bulk(&conn) >= GUESTS),
        ],
    );
    drop(events);
    println!(
        "inventory of 1,000 guests: {ours:.2?}, while watching {told:.2?}, bare bulk call {bare:.2?}: {:.2}x, {:.2}x",
        ratio(ours, bare),
        ratio(told, bare)
    );
    let [ours, each] = in_turn(
        5,
        [&mut || assert!(runtime.block_on(list(&libvirt)) >= GUESTS), &mut || {
            assert!(one_by_one(&conn) >= GUESTS)
        }],
    );
    println!("list + info + definition each: {each:.2?}, {:.1} times as long", ratio(each, ours));

    let before = resident();
    let first = PageRequest::first();
    for _ in 0..200 {
        runtime.block_on(list(&libvirt));
        black_box(runtime.block_on(libvirt.list_vm_metrics(&first)).expect("metrics"));
    }
    conn.close().expect("closed");
    println!(
        "inventory/200 rounds of list and metrics: {} KiB more resident",
        resident().saturating_sub(before)
    );

    remove(&runtime, &libvirt);
}

/// Statistics of guests that run, held before their first instruction: each group costs libvirtd a call to each QEMU.
fn metrics(_: &mut Criterion) {
    const RUNNING: usize = 8;
    let runtime = runtime();
    let Some(libvirt) = live(&runtime, "metrics") else { return };
    let start = libvirt.with_connection(|conn| {
        let mut domains = (0..RUNNING).map(|index| {
            let cpu = "<cpu mode='custom'><model>qemu64</model></cpu></domain>";
            let guest = definition(index).replace(">64<", ">32<").replace("</domain>", cpu);
            Domain::create_xml(conn, &guest, sys::VIR_DOMAIN_START_PAUSED).map(drop)
        });
        domains.try_for_each(|domain| domain)
    });
    runtime.block_on(start).expect("guests that run");
    let uri = std::env::var(URI).expect("checked above");
    let mut conn = Connect::open(Some(&uri)).expect("a bare connection");
    let first = PageRequest::first();
    let [ours, state, all] = in_turn(
        50,
        [
            &mut || {
                let page = runtime.block_on(libvirt.list_vm_metrics(&first)).expect("metrics");
                assert!(black_box(page).items.len() >= RUNNING);
            },
            &mut || assert!(bulk(&conn) >= RUNNING),
            &mut || assert!(bulk_of(&conn, 0) >= RUNNING),
        ],
    );
    println!(
        "metrics of {RUNNING} running guests: {ours:.2?}; bare call with all groups {all:.2?}: {:.2}x; with the state alone {state:.2?}",
        ratio(ours, all)
    );
    conn.close().expect("closed");
    let end = libvirt.with_connection(|conn| {
        let domains = conn.list_all_domains(sys::VIR_CONNECT_LIST_DOMAINS_ACTIVE)?;
        let own =
            domains.iter().filter(|domain| domain.get_name().is_ok_and(|name| name.starts_with(PREFIX)));
        own.map(Domain::destroy).try_for_each(|end| end.map(drop))
    });
    runtime.block_on(end).expect("no guests left");
}

/// 5,000 guests of libvirt's test driver, where a call costs next to nothing and what we add shows most.
fn scale(c: &mut Criterion) {
    let runtime = runtime();
    let mut node = String::from("<node>");
    for index in 0..5_000 {
        let guest = definition(index).replace("'qemu'", "'test'").replace(" arch='x86_64'", "");
        write!(node, "{guest}").expect("text");
    }
    node.push_str("</node>");
    let file = std::env::temp_dir().join(format!("hypervisor-bench-{}.xml", std::process::id()));
    std::fs::write(&file, node).expect("a file");
    let uri = format!("test://{}", file.display());
    let libvirt = connect(&runtime, &uri);
    let mut conn = Connect::open(Some(&uri)).expect("a bare connection");
    assert_eq!(runtime.block_on(list(&libvirt)), bare(&conn));

    let mut group = c.benchmark_group("5,000 guests of the test driver");
    group.sample_size(20).warm_up_time(Duration::from_secs(1));
    group.bench_function("list_vms", |b| b.to_async(&runtime).iter(|| list(&libvirt)));
    group.bench_function("bare list + info", |b| b.iter(|| bare(&conn)));
    group.bench_function("bare list + info + definition", |b| b.iter(|| one_by_one(&conn)));
    group.finish();
    conn.close().expect("closed");
    std::fs::remove_file(&file).expect("the file was there");
}

/// A file as a stream, a chunk at a time.
fn file_stream(path: &std::path::Path, length: u64) -> ByteStream {
    let file = std::fs::File::open(path).expect("the source");
    let chunks = stream::unfold(file, |mut file| async move {
        let mut chunk = vec![0; CHUNK];
        let count = std::io::Read::read(&mut file, &mut chunk).expect("the source");
        chunk.truncate(count);
        (count > 0).then(|| (Ok(Bytes::from(chunk)), file))
    });
    ByteStream::new(length, chunks)
}

/// Lets what was written before reach the disk, so that nobody pays for what another one wrote.
fn settle() {
    assert!(Command::new("sync").status().expect("sync").success());
}

/// 1 GiB from a file into a volume that is there, beside `virsh vol-upload` of the same file into the same volume. In turn,
/// and who begins changes.
fn upload(_: &mut Criterion) {
    const LENGTH: u64 = 1 << 30;
    const ROUNDS: usize = 9;
    let runtime = runtime();
    let Some(libvirt) = live(&runtime, "upload") else { return };
    let Some(root) = std::env::var_os("HYPERVISOR_TEST_SERIAL_DIR") else { return };
    let place = std::path::Path::new(&root).join(format!("bench-{}", std::process::id()));
    let source = place.with_extension("src");
    let name = format!("bench-{}", std::process::id());
    let spec = PoolSpec::dir(&name, place.display().to_string());
    let pool = runtime.block_on(libvirt.create_pool(&spec)).expect("a pool").output;
    let volume = VolumeSpec::new(pool.clone(), "target", ByteSize::bytes(LENGTH)).format(VolumeFormat::Raw);
    let volume = runtime.block_on(libvirt.create_volume(&volume)).expect("a volume").output;
    std::fs::write(&source, vec![0xA5_u8; CHUNK].repeat(1024)).expect("a source file");

    let mut grown = 0;
    let mut ours = || {
        let before = resident();
        let target = UploadVolume::to(volume.clone());
        let started = runtime.block_on(libvirt.upload_volume(&target, file_stream(&source, LENGTH)));
        if let Some(task) = started.expect("an upload").task {
            wait(&runtime, &libvirt, &task);
        }
        grown = grown.max(resident().saturating_sub(before));
    };
    let uri = std::env::var(URI).expect("checked above");
    let theirs = || {
        let args = ["-q", "-c", &uri, "vol-upload", "--pool", &name, "target"];
        assert!(Command::new("virsh").args(args).arg(&source).status().expect("virsh").success());
    };
    let timed = |act: &mut dyn FnMut()| {
        settle();
        let begun = Instant::now();
        act();
        begun.elapsed()
    };
    let mut times = [Vec::new(), Vec::new()];
    for round in 0..=ROUNDS {
        let (mut one, mut other) = (Duration::ZERO, Duration::ZERO);
        if round % 2 == 0 {
            one = timed(&mut ours);
        }
        other += timed(&mut || theirs());
        if round % 2 == 1 {
            one = timed(&mut ours);
        }
        // The first round makes the file.
        if round > 0 {
            println!("upload of 1 GiB, round {round}: {one:.2?}, virsh {other:.2?}");
            times[0].push(one);
            times[1].push(other);
        }
    }
    let [ours, theirs] = times.map(middle);
    println!(
        "upload of 1 GiB: {ours:.2?}, virsh {theirs:.2?}, throughput {:.2} of virsh, {grown} KiB more resident",
        ratio(theirs, ours)
    );
    std::fs::remove_file(&source).expect("the source was there");
    drop(runtime.block_on(libvirt.delete_pool(&pool, &DeletePool::with_content())).expect("no pool left"));
}

fn wait(runtime: &Runtime, libvirt: &Libvirt, task: &hypervisor_core::model::TaskId) {
    use hypervisor_core::traits::Tasks;
    let hold = Some(Duration::from_secs(1));
    while !runtime.block_on(libvirt.get_task(task, hold)).expect("the task").state.is_final() {}
}

/// Resident memory in KiB.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or_default()
}

criterion_group!(benches, inventory, metrics, scale, upload);
criterion_main!(benches);
