//! What goes wrong between the workers and their backend.

use std::time::{Duration, Instant};

use hypervisor_core::conformance::{FaultProxy, Harm, Injury, Strike};
use hypervisor_core::layer::{Chaos, Fault};

/// So many requests in a thousand are harmed. More would be waiting for repetitions and little else.
const HARMED: u32 = 80;
/// How often a request is met with silence, which costs its caller a whole deadline, and everybody who waits for the same look.
const SILENCE: Duration = Duration::from_secs(3);

/// The faults of a stage.
#[derive(Debug)]
pub(crate) enum Weather {
    /// None.
    Calm,
    /// A layer that drops calls, answers and truth.
    Chaos(Chaos),
    /// A proxy on loopback, which harms a share of the requests.
    Proxy(FaultProxy),
}

impl Weather {
    /// A proxy that harms a share of the requests. `cuts` is whether requests are cut as well, for which not every fake is made.
    pub(crate) fn stormy(proxy: FaultProxy, seed: u64, cuts: bool) -> Self {
        let (mut dice, mut silent) = (fastrand::Rng::with_seed(seed), Instant::now());
        proxy.roll(move |writes| {
            if dice.u32(0..1000) >= HARMED {
                return None;
            }
            if silent.elapsed() >= SILENCE {
                silent = Instant::now();
                return Some(Strike::Fault(Fault::Silent));
            }
            strike(&mut dice, cuts, writes)
        });
        Self::Proxy(proxy)
    }

    /// How many faults there have been.
    pub(crate) fn faults(&self) -> u64 {
        match self {
            Self::Calm => 0,
            Self::Chaos(chaos) => chaos.injected(),
            Self::Proxy(proxy) => u64::try_from(proxy.struck()).unwrap_or(u64::MAX),
        }
    }

    /// Whether what is read may be what was true at the look before.
    pub(crate) fn is_stale(&self) -> bool {
        matches!(self, Self::Chaos(_))
    }

    /// No faults from now on.
    pub(crate) fn clear(&self) {
        if let Self::Proxy(proxy) = self {
            proxy.disarm();
        }
    }

    /// Answers once nothing that was sent before can happen any more.
    pub(crate) async fn arrived(&self) {
        if let Self::Proxy(proxy) = self {
            proxy.arrived().await;
        }
    }

    /// Forgets what the proxy only keeps for tests.
    pub(crate) fn tidy(&self) {
        if let Self::Proxy(proxy) = self {
            proxy.forget_requests();
        }
    }
}

fn strike(dice: &mut fastrand::Rng, cuts: bool, writes: bool) -> Option<Strike> {
    const FAULTS: [Fault; 6] = [
        Fault::CutBefore,
        Fault::CutAfter,
        Fault::Truncated,
        Fault::RateLimited,
        Fault::Unavailable,
        Fault::CutAfter,
    ];
    let harm = match dice.u32(0..100) {
        60..68 if cuts => Harm::request(Injury::Cut, dice.usize(0..300)),
        68..80 => Harm::answer(Injury::Cut, dice.usize(0..600)),
        80..92 => Harm::answer(Injury::Truncate, dice.usize(0..600)),
        // Whether a write that arrives twice is done twice is up to the server.
        92..94 if !writes => Harm::request(Injury::Duplicate, 0),
        94.. => Harm::answer(Injury::Delay(Duration::from_millis(dice.u64(5..50))), dice.usize(0..200)),
        _ => return FAULTS.get(dice.usize(0..FAULTS.len())).copied().map(Strike::Fault),
    };
    Some(Strike::Harm(harm))
}
