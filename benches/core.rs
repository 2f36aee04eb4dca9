//! What the SDK itself costs, on the in-memory hypervisor, which answers at once: `cargo bench --bench core`.
//!
//! Each figure with the usual layers stands beside the same call without them. What a call allocates is printed as a line `BENCH {json}`.
#![allow(
    missing_docs,
    clippy::expect_used,
    reason = "criterion's macros have no docs; a bench ends by a panic"
)]

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use hypervisor::layer::{Budget, RetryPolicy, Stack, Timeout};
use hypervisor::memory::Memory;
use hypervisor::model::{BatchOp, BatchRequest, Page, PageRequest, VmInfo, VmQuery};
use hypervisor::{ByteSize, Compute as _, DeleteVm, Hypervisor, PowerAction, Result, VmSpec};
use tokio::runtime::{Builder, Runtime};

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_time().build().expect("a runtime")
}

/// A hypervisor with so many guests, all of which one page can hold.
async fn with_guests(count: usize) -> Result<Arc<dyn Hypervisor>> {
    let limit = u32::try_from(count).unwrap_or(u32::MAX).max(1000);
    let hv: Arc<dyn Hypervisor> = Arc::new(Memory::builder().page_limit(limit).build());
    for index in 0..count {
        let spec = VmSpec::new(format!("guest-{index:05}")).cpus(2).memory(ByteSize::mib(64)).tag("bench");
        hv.vms().create(&spec).await?.wait().await?;
    }
    Ok(hv)
}

/// The backend as it is, and with the usual layers.
fn both(hv: &Arc<dyn Hypervisor>) -> [(&'static str, Arc<dyn Hypervisor>); 2] {
    [("direct", Arc::clone(hv)), ("layered", Stack::standard(Arc::clone(hv)).build())]
}

async fn list(hv: &Arc<dyn Hypervisor>) -> Page<VmInfo> {
    hv.list_vms(&VmQuery::all(), &PageRequest::first()).await.expect("a page")
}

/// The layers one by one, and all of them.
fn layers(memory: &Arc<dyn Hypervisor>) -> [(&'static str, Arc<dyn Hypervisor>); 7] {
    let stack = || Stack::new(Arc::clone(memory));
    // It never limits: what is measured is what counting costs.
    let plenty = Budget::new().allow(usize::MAX, Duration::from_millis(1));
    [
        ("dyn", Arc::clone(memory)),
        ("trace", stack().trace().build()),
        ("retry", stack().retry(RetryPolicy::new()).build()),
        ("budget", stack().budget(plenty).build()),
        ("limit", stack().limit(32).build()),
        ("timeout", stack().timeout(Timeout::standard()).build()),
        ("full stack", Stack::standard(Arc::clone(memory)).build()),
    ]
}

/// What one call costs that does little: on the backend itself, through `dyn`, and with layers around it.
fn dispatch(c: &mut Criterion) {
    let runtime = runtime();
    let memory = Memory::new();
    let made = runtime.block_on(memory.create_vm(&VmSpec::new("guest"))).expect("a guest");
    let id = made.output;
    let hv: Arc<dyn Hypervisor> = Arc::new(memory.clone());
    let mut group = c.benchmark_group("get_vm");
    let direct = || drop(black_box(runtime.block_on(memory.get_vm(&id))));
    tell("get_vm/direct", direct);
    group.bench_function("direct", |b| b.to_async(&runtime).iter(|| memory.get_vm(&id)));
    for (name, hv) in layers(&hv) {
        tell(&format!("get_vm/{name}"), || drop(black_box(runtime.block_on(hv.get_vm(&id)))));
        group.bench_function(name, |b| b.to_async(&runtime).iter(|| hv.get_vm(&id)));
    }
    group.finish();
}

/// Prints what a call allocates, for people and for `cargo xtask bench`.
fn tell(what: &str, call: impl Fn()) {
    call();
    let counted = allocation_counter::measure(&call);
    let told = serde_json::json!({
        "table": "allocations", "what": what, "allocations": counted.count_total,
        "bytes": counted.bytes_total, "heap_bytes": counted.bytes_max,
    });
    println!("BENCH {told}");
}

fn inventory(c: &mut Criterion) {
    let runtime = runtime();
    let mut group = c.benchmark_group("list_vms");
    group.sample_size(20);
    for count in [1_000, 10_000] {
        let hv = runtime.block_on(with_guests(count)).expect("guests");
        assert_eq!(runtime.block_on(list(&hv)).items.len(), count);
        group.throughput(Throughput::Elements(u64::try_from(count).unwrap_or_default()));
        for (name, hv) in both(&hv) {
            tell(&format!("list_vms/{name}/{count}"), || drop(black_box(runtime.block_on(list(&hv)))));
            group.bench_function(BenchmarkId::new(name, count), |b| b.to_async(&runtime).iter(|| list(&hv)));
        }
    }
    group.finish();
}

/// Through the handles: create, wait, delete, wait.
fn round_trip(c: &mut Criterion) {
    let runtime = runtime();
    let spec = VmSpec::new("round-trip").memory(ByteSize::mib(64));
    let hv = runtime.block_on(with_guests(0)).expect("a hypervisor");
    let mut group = c.benchmark_group("create, wait, delete, wait");
    for (name, hv) in both(&hv) {
        group.bench_function(name, |b| {
            b.to_async(&runtime).iter(|| async {
                let vm = hv.vms().create(&spec).await?.wait().await?;
                vm.delete(&DeleteVm::with_disks()).await?.wait().await
            });
        });
    }
    group.finish();
}

/// A thousand power verbs as one batch, to and fro.
fn batch(c: &mut Criterion) {
    let runtime = runtime();
    let hv = runtime.block_on(with_guests(1_000)).expect("guests");
    let guests = runtime.block_on(list(&hv)).items;
    let request = |action: PowerAction| {
        BatchRequest::new(guests.iter().map(|guest| BatchOp::power(&guest.id, action))).concurrency(32)
    };
    let (start, power_off) = (request(PowerAction::Start), request(PowerAction::PowerOff));
    let mut group = c.benchmark_group("batch of 1000 starts and 1000 power offs");
    group.sample_size(10).measurement_time(Duration::from_secs(10)).throughput(Throughput::Elements(2_000));
    for (name, hv) in both(&hv) {
        group.bench_function(name, |b| {
            b.to_async(&runtime).iter(|| async {
                let on = hv.submit_batch(&start).await?;
                let off = hv.submit_batch(&power_off).await?;
                assert!(on.all_done() && off.all_done());
                Ok::<_, hypervisor::Error>(())
            });
        });
    }
    group.finish();
}

fn serde(c: &mut Criterion) {
    let runtime = runtime();
    let page = runtime.block_on(async { list(&with_guests(1_000).await.expect("guests")).await });
    let json = serde_json::to_vec(&page).expect("JSON");
    let mut group = c.benchmark_group("a page of 1000 VmInfo");
    group.throughput(Throughput::Bytes(u64::try_from(json.len()).unwrap_or_default()));
    group.bench_function("to JSON", |b| b.iter(|| serde_json::to_vec(&page)));
    group.bench_function("from JSON", |b| b.iter(|| serde_json::from_slice::<Page<VmInfo>>(&json)));
    group.finish();
}

criterion_group!(benches, dispatch, inventory, round_trip, batch, serde);
criterion_main!(benches);
