//! What the layers cost, in allocations: counted, never timed.

use std::sync::Arc;

use tokio::runtime::{Builder, Runtime};

use crate::layer::{Budget, RetryPolicy, Stack, Timeout};
use crate::memory::Memory;
use crate::model::{PowerAction, VmId, VmSpec};
use crate::traits::{Compute as _, Hypervisor};

struct Counted {
    runtime: Runtime,
    memory: Arc<dyn Hypervisor>,
    vm: VmId,
}

impl Counted {
    fn new() -> Self {
        let runtime = Builder::new_current_thread().enable_time().build().unwrap();
        let memory = Memory::new();
        let vm = runtime.block_on(memory.create_vm(&VmSpec::new("guest").agent(true))).unwrap().output;
        let started = runtime.block_on(memory.power_vm(&vm, &PowerAction::Start)).unwrap();
        assert!(started.task.is_none(), "it runs at once");
        Self { runtime, memory: Arc::new(memory), vm }
    }

    /// The allocations of a call that answers with nothing, and of one that answers with a guest.
    fn count(&self, hv: &Arc<dyn Hypervisor>) -> (u64, u64) {
        let ping = || self.runtime.block_on(hv.ping_agent(&self.vm)).unwrap();
        let get = || assert_eq!(self.runtime.block_on(hv.get_vm(&self.vm)).unwrap().name, "guest");
        // The first call of a kind makes room for its counters.
        ping();
        get();
        let (pinged, got) = (allocation_counter::measure(ping), allocation_counter::measure(get));
        (pinged.count_total, got.count_total)
    }
}

#[test]
fn the_full_stack_adds_one_allocation_and_a_small_call_has_at_most_four() {
    let counted = Counted::new();
    let bare = counted.count(&counted.memory);
    let full = counted.count(&Stack::standard(Arc::clone(&counted.memory)).build());
    assert_eq!((full.0 - bare.0, full.1 - bare.1), (1, 1), "bare {bare:?}, full {full:?}");
    assert!(full.0 <= 4, "{full:?}");
}

#[test]
fn each_layer_alone_adds_one() {
    let counted = Counted::new();
    let bare = counted.count(&counted.memory);
    let stack = || Stack::new(Arc::clone(&counted.memory));
    let plenty = Budget::new().allow(1000, std::time::Duration::from_secs(1));
    for (name, stack) in [
        ("none", stack()),
        ("trace", stack().trace()),
        ("retry", stack().retry(RetryPolicy::new())),
        ("limit", stack().limit(1)),
        ("timeout", stack().timeout(Timeout::standard())),
    ] {
        let with = counted.count(&stack.build());
        assert_eq!((with.0 - bare.0, with.1 - bare.1), (1, 1), "{name}");
    }
    // Its window is a list that grows.
    let with = counted.count(&stack().budget(plenty).build());
    assert!(with.0 - bare.0 <= 4, "{with:?}");
}
