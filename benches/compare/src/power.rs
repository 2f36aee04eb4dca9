//! A batch of 1,000 starts on the fake Proxmox VE, which answers after 20 ms and works 200 ms on each.

use std::sync::Arc;
use std::time::Duration;

use hypervisor_core::Hypervisor;
use hypervisor_core::model::{BatchOp, BatchRequest, PowerAction};
use hypervisor_proxmox::fake::FakePve;
use hypervisor_proxmox::{Proxmox, ProxmoxConfig};

use crate::Scale;
use crate::record::Row;
use crate::role::threads;

const GUESTS: u32 = 1_000;
const CONCURRENCY: usize = 32;
const HOSTS: u8 = 4;
const ANSWER: Duration = Duration::from_millis(20);
const WORK: Duration = Duration::from_millis(200);

pub(crate) async fn connect(pve: &FakePve) -> Arc<dyn Hypervisor> {
    let config = ProxmoxConfig::new(&pve.url()).expect("a URL").token(pve.token_id(), pve.token_secret());
    Arc::new(Box::pin(Proxmox::connect(config)).await.expect("a connection"))
}

/// Starts for the guests that the fake numbers from 1000 on.
pub(crate) fn starts(guests: u32) -> BatchRequest {
    let each = (1000..1000 + guests).map(|number| BatchOp::power(number.to_string(), PowerAction::Start));
    BatchRequest::new(each).concurrency(CONCURRENCY)
}

pub(crate) fn run(_: Scale) {
    let runtime = threads();
    let rounds = u32::try_from(CONCURRENCY).map(|most| GUESTS.div_ceil(most)).expect("a small number");
    // From 9.1 on, one call takes many guests; before, each has its own. The least: the calls, one look at the task of each call for many, and
    // one look at each host in each round.
    for (what, version, least) in [
        ("one call for each guest (8.4)", "8.4.5", GUESTS + rounds * u32::from(HOSTS)),
        ("bulk calls (9.1)", "9.1.3", rounds * (2 + u32::from(HOSTS))),
    ] {
        runtime.block_on(async {
            let pve =
                FakePve::builder().hosts(HOSTS).many(GUESTS).version(version).task_time(WORK).start().await;
            let pve = pve.expect("a fake");
            let hv = connect(&pve).await;
            pve.faults().on("*", "/**").always().delay(ANSWER);
            pve.clear_requests();
            let request = starts(GUESTS);
            let begun = std::time::Instant::now();
            let report = hv.submit_batch(&request).await.expect("a report");
            let wall = begun.elapsed();
            assert!(report.all_done(), "{report:?}");
            let bound = (ANSWER + WORK) * rounds;
            Row::new("batch", what)
                .with("starts", GUESTS)
                .with("concurrency", CONCURRENCY)
                .time("seconds", wall)
                .time("bound_seconds", bound)
                .with("requests", pve.requests().len())
                .with("least_requests", least)
                .tell();
        });
    }
}
