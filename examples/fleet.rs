//! Fifty machines in one batch, with bars that follow the hypervisor's events: `cargo run --example fleet`, or with a URL and a number:
//! `cargo run --features libvirt --example fleet -- qemu:///system 5`.

use futures::StreamExt as _;
use hypervisor::model::{BatchOutcome, EventKind, EventQuery, EventStream, OnError};
use hypervisor::{ByteSize, CloneSpec, DeleteVm, DiskSpec, Result, VmId, VmSpec, VmState};
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

#[tokio::main]
async fn main() -> Result<()> {
    let url = std::env::args().nth(1).unwrap_or_else(|| "memory://?task_time=100ms".to_owned());
    let count = std::env::args().nth(2).and_then(|count| count.parse().ok()).unwrap_or(50);
    let hv = hypervisor::connect(&url).await?;
    let disk = DiskSpec::new_volume(ByteSize::mib(8));
    let spec = VmSpec::new("fleet-golden").memory(ByteSize::mib(64)).disk(disk);
    let golden = hv.vms().create(&spec).await?.wait().await?;

    // All or nothing of the batch is begun; eight at a time, and every machine has its own outcome.
    let mut batch = hv.batch().on_error(OnError::Continue).concurrency(8).per_key(4);
    for number in 1..=count {
        batch = batch
            .clone_as(&golden, CloneSpec::new(format!("fleet-{number}")).start(true))
            .key("fleet-golden");
    }
    let events = hv.events(&EventQuery::all()).await?;
    let watcher = tokio::spawn(show(events, count));
    let report = batch.run().await?;
    watcher.abort();

    for (number, outcome) in (1..).zip(&report.outcomes) {
        if let BatchOutcome::Failed(error) | BatchOutcome::Unknown { error, .. } = outcome {
            println!("fleet-{number}: {error}");
        }
    }
    let made: Vec<VmId> = report.vms().cloned().collect();
    println!("{} of {count} machines run", made.len());

    let options = DeleteVm::with_disks().power_off(true);
    let all = made.iter().chain([golden.id()]);
    let gone =
        all.fold(hv.batch(), |batch, vm| batch.delete(vm, options.clone())).run().await?.into_result()?;
    println!("{} deleted", gone.outcomes.len());
    report.into_result().map(|_| ())
}

/// Counts what the hypervisor says. The bars are for people: the outcomes are in the report.
async fn show(mut events: EventStream, count: u64) {
    let bars = MultiProgress::new();
    let bar = |name: &'static str| {
        let style = ProgressStyle::with_template("{prefix:>8} [{bar:40}] {pos}/{len}");
        let bar = bars.add(ProgressBar::new(count).with_prefix(name));
        bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
    };
    let (created, running) = (bar("created"), bar("running"));
    while let Some(Ok(event)) = events.next().await {
        match event.kind {
            EventKind::VmCreated(_) => created.inc(1),
            EventKind::VmStateChanged { state: VmState::Running, .. } => running.inc(1),
            _ => {}
        }
    }
}
