//! What inventory, a batch and the event feed cost at 10, 100, 1,000 and 10,000 machines: time, calls or requests, and memory.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use hypervisor_core::Hypervisor;
use hypervisor_core::feed::{Pace, Poller};
use hypervisor_core::layer::{Counters, Stack, Trace};
use hypervisor_core::memory::Memory;
use hypervisor_core::model::{
    BatchOp, BatchRequest, ByteSize, EventKind, EventQuery, Page, PowerAction, VmInfo, VmQuery, VmSpec,
    VmState,
};
use hypervisor_proxmox::fake::FakePve;

use crate::Scale;
use crate::measure::{middle, timed};
use crate::power::{connect, starts};
use crate::record::Row;
use crate::role::current;

const TABLE: &str = "growth";
const SIZES: [u32; 4] = [10, 100, 1_000, 10_000];

/// One cell of the table.
struct Cell {
    what: &'static str,
    machines: u32,
    time: Duration,
    /// Calls of the backend, or requests to the server.
    calls: u64,
    /// The most that was held at one time on this thread's heap.
    heap: Option<u64>,
}

impl Cell {
    fn tell(self) {
        let row = Row::new(TABLE, self.what)
            .with("machines", self.machines)
            .time("seconds", self.time)
            .with("calls", self.calls);
        match self.heap {
            Some(heap) => row.with("heap_bytes", heap).tell(),
            None => row.tell(),
        }
    }
}

pub(crate) fn run(scale: Scale) {
    // The largest goes last and takes longest.
    for machines in SIZES {
        in_memory(machines);
        feed(machines);
        // Ten thousand starts on the fake, which come 32 at a time, take a minute and a half.
        if !scale.quick || machines < 10_000 {
            on_proxmox(machines);
        }
    }
}

fn calls(counters: &Counters) -> u64 {
    counters.snapshot().values().map(|counts| counts.attempts).sum()
}

/// The middle of some rounds, and then the heap of one.
fn repeat(rounds: usize, mut act: impl FnMut()) -> (Duration, u64) {
    act();
    let time = middle((0..rounds).map(|_| timed(&mut act).0).collect());
    (time, allocation_counter::measure(act).bytes_max)
}

/// The in-memory hypervisor under the usual layers, whose calls are counted.
fn in_memory(machines: u32) {
    let runtime = current();
    let counters = Counters::new();
    let hv = Stack::standard(Arc::new(Memory::new())).trace_with(Trace::with_counters(&counters)).build();
    runtime.block_on(async {
        for index in 0..machines {
            let spec = VmSpec::new(format!("guest-{index:05}")).memory(ByteSize::mib(4));
            hv.vms().create(&spec).await.expect("a guest").wait().await.expect("a guest");
        }
    });
    let guests = runtime.block_on(hv.vms().all(&VmQuery::all())).expect("guests");
    let before = calls(&counters);
    let rounds = 5;
    let (time, heap) = repeat(rounds, || {
        let all = runtime.block_on(hv.vms().all(&VmQuery::all())).expect("guests");
        assert_eq!(all.len(), guests.len());
    });
    let made = (calls(&counters) - before) / u64::try_from(rounds + 2).expect("a small number");
    Cell { what: "inventory, in memory", machines, time, calls: made, heap: Some(heap) }.tell();

    let request = |action: PowerAction| {
        BatchRequest::new(guests.iter().map(|guest| BatchOp::power(&guest.id, action))).concurrency(32)
    };
    let (on, off) = (request(PowerAction::Start), request(PowerAction::PowerOff));
    let before = calls(&counters);
    let (time, heap) = repeat(rounds, || {
        runtime.block_on(async {
            assert!(hv.submit_batch(&on).await.expect("a report").all_done());
            assert!(hv.submit_batch(&off).await.expect("a report").all_done());
        });
    });
    let made = (calls(&counters) - before) / u64::try_from(rounds + 2).expect("a small number");
    let what = "batch of starts, and one of power offs, in memory";
    Cell { what, machines, time, calls: made, heap: Some(heap) }.tell();
}

/// A feed whose every look finds every machine in another state than before: one event for each.
fn feed(machines: u32) {
    let runtime = current();
    let begun = Arc::new(Mutex::new((0_u64, Instant::now())));
    let look = {
        let begun = Arc::clone(&begun);
        move || {
            let number = {
                let mut begun = begun.lock().expect("no panic");
                *begun = (begun.0 + 1, Instant::now());
                begun.0
            };
            let state = if number % 2 == 0 { VmState::Running } else { VmState::Stopped };
            let guest =
                |index| VmInfo::new(format!("{index:05}"), format!("guest-{index:05}"), state.clone());
            let page = Page::only((0..machines).map(guest).collect());
            async move { Ok(page) }
        }
    };
    let poller = Poller::new(Pace::new(Duration::from_millis(10), Duration::from_millis(10)), look);
    let (mut times, mut resyncs) = (Vec::new(), 0_u64);
    let heap = allocation_counter::measure(|| {
        runtime.block_on(async {
            let mut events = poller.watch(&EventQuery::all()).await.expect("events");
            for _ in 0..5 {
                let (mut found, mut lost) = (0, false);
                while found < machines && !lost {
                    let event = events.next().await.expect("an event").expect("an event");
                    lost = matches!(event.kind, EventKind::Resync { .. });
                    found += 1;
                }
                resyncs += u64::from(lost);
                times.push(begun.lock().expect("no panic").1.elapsed());
            }
        });
    });
    assert_eq!(resyncs, 0, "a reader that keeps up missed events");
    let what = "feed, one event for each machine in one look";
    Cell { what, machines, time: middle(times), calls: 1, heap: Some(heap.bytes_max) }.tell();
}

/// The fake Proxmox VE in this process: its requests are counted, and its own work is in the times.
fn on_proxmox(machines: u32) {
    let runtime = crate::role::threads();
    runtime.block_on(async {
        let pve =
            FakePve::builder().hosts(4).many(machines).task_time(Duration::from_millis(1)).start().await;
        let pve = pve.expect("a fake");
        let hv: Arc<dyn Hypervisor> = connect(&pve).await;
        pve.clear_requests();
        let mut times = Vec::new();
        for _ in 0..3 {
            let begun = Instant::now();
            let all = hv.vms().all(&VmQuery::all()).await.expect("guests");
            times.push(begun.elapsed());
            assert_eq!(all.len(), usize::try_from(machines).expect("a small number"));
        }
        let calls = u64::try_from(pve.requests().len() / 3).expect("a small number");
        let what = "inventory, Proxmox VE (fake, its work included)";
        Cell { what, machines, time: middle(times), calls, heap: None }.tell();

        pve.clear_requests();
        let begun = Instant::now();
        assert!(hv.submit_batch(&starts(machines)).await.expect("a report").all_done());
        let time = begun.elapsed();
        let calls = u64::try_from(pve.requests().len()).expect("a number");
        let what = "batch of starts, Proxmox VE (fake, its work included)";
        Cell { what, machines, time, calls, heap: None }.tell();
    });
}
