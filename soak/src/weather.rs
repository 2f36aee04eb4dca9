//! What goes wrong between the workers and their backend.

use std::sync::Arc;
use std::time::Duration;

use hypervisor_core::conformance::{FaultProxy, Harm, Injury};
use hypervisor_core::layer::{Chaos, Fault};
use tokio::task::JoinHandle;

/// The faults of a stage.
#[derive(Debug)]
pub(crate) enum Weather {
    /// None.
    Calm,
    /// A layer that drops calls, answers and truth.
    Chaos(Chaos),
    /// A proxy on loopback, whose faults the task brings about one after the other.
    Proxy(Arc<FaultProxy>, JoinHandle<()>),
}

impl Weather {
    /// A proxy that harms a request every few milliseconds. `cuts` is whether requests are cut as well, for which not every fake is made.
    pub(crate) fn stormy(proxy: FaultProxy, seed: u64, cuts: bool) -> Self {
        let proxy = Arc::new(proxy);
        let storm = tokio::spawn(storm(Arc::clone(&proxy), fastrand::Rng::with_seed(seed), cuts));
        Self::Proxy(proxy, storm)
    }

    /// How many faults there have been.
    pub(crate) fn faults(&self) -> u64 {
        match self {
            Self::Calm => 0,
            Self::Chaos(chaos) => chaos.injected(),
            Self::Proxy(proxy, _) => u64::try_from(proxy.struck()).unwrap_or(u64::MAX),
        }
    }

    /// No faults from now on.
    pub(crate) fn clear(&self) {
        if let Self::Proxy(proxy, storm) = self {
            storm.abort();
            proxy.disarm();
        }
    }
}

impl Drop for Weather {
    fn drop(&mut self) {
        self.clear();
    }
}

async fn storm(proxy: Arc<FaultProxy>, mut dice: fastrand::Rng, cuts: bool) {
    const FAULTS: [Fault; 6] = [
        Fault::CutBefore,
        Fault::CutAfter,
        Fault::Truncated,
        Fault::RateLimited,
        Fault::Unavailable,
        Fault::CutAfter,
    ];
    loop {
        let writes = dice.bool();
        match dice.u32(0..100) {
            // It costs its caller a whole deadline.
            0..2 => proxy.arm(Fault::Silent, writes, 1),
            2..60 => {
                if let Some(fault) = FAULTS.get(dice.usize(0..FAULTS.len())) {
                    proxy.arm(*fault, writes, 1);
                }
            }
            60..68 if cuts => proxy.harm(Harm::request(Injury::Cut, dice.usize(0..300)), writes, 1),
            68..80 => proxy.harm(Harm::answer(Injury::Cut, dice.usize(0..600)), writes, 1),
            80..92 => proxy.harm(Harm::answer(Injury::Truncate, dice.usize(0..600)), writes, 1),
            // Whether a write that arrives twice is done twice is up to the server.
            92..94 => proxy.harm(Harm::request(Injury::Duplicate, 0), false, 1),
            _ => proxy.harm(
                Harm::answer(Injury::Delay(Duration::from_millis(dice.u64(5..50))), dice.usize(0..200)),
                writes,
                1,
            ),
        }
        proxy.forget_requests();
        tokio::time::sleep(Duration::from_millis(dice.u64(1..12))).await;
    }
}
