//! What the gateway counts, in the text format of Prometheus.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::answer::{Answer, Reply};
use crate::call::Call;

const BUCKETS: [(f64, &str); 9] = [
    (0.001, "0.001"),
    (0.005, "0.005"),
    (0.025, "0.025"),
    (0.1, "0.1"),
    (0.5, "0.5"),
    (1.0, "1"),
    (5.0, "5"),
    (30.0, "30"),
    (f64::INFINITY, "+Inf"),
];

#[derive(Default)]
struct Timing {
    buckets: [u64; BUCKETS.len()],
    sum: f64,
    count: u64,
}

/// The counters of one gateway.
#[derive(Default)]
pub(crate) struct Counters {
    requests: Mutex<BTreeMap<(&'static str, u16), u64>>,
    timings: Mutex<BTreeMap<&'static str, Timing>>,
    pub(crate) subscribers: AtomicI64,
    pub(crate) lagged: AtomicU64,
    pub(crate) delivered: AtomicU64,
    pub(crate) undelivered: AtomicU64,
    pub(crate) taken_over: AtomicU64,
}

impl Counters {
    /// Counts an answered request.
    pub(crate) fn answered(&self, route: &'static str, status: u16, took: Duration) {
        *self.requests.lock().unwrap_or_else(PoisonError::into_inner).entry((route, status)).or_default() +=
            1;
        let mut timings = self.timings.lock().unwrap_or_else(PoisonError::into_inner);
        let timing = timings.entry(route).or_default();
        let seconds = took.as_secs_f64();
        timing.sum += seconds;
        timing.count += 1;
        for (bucket, (limit, _)) in timing.buckets.iter_mut().zip(BUCKETS) {
            *bucket += u64::from(seconds <= limit);
        }
    }

    fn write(&self, out: &mut String) -> std::fmt::Result {
        writeln!(out, "# TYPE hypervisor_gateway_requests_total counter")?;
        for ((route, status), count) in &*self.requests.lock().unwrap_or_else(PoisonError::into_inner) {
            writeln!(
                out,
                "hypervisor_gateway_requests_total{{route=\"{route}\",status=\"{status}\"}} {count}"
            )?;
        }
        writeln!(out, "# TYPE hypervisor_gateway_request_seconds histogram")?;
        for (route, timing) in &*self.timings.lock().unwrap_or_else(PoisonError::into_inner) {
            let name = "hypervisor_gateway_request_seconds";
            for (count, (_, limit)) in timing.buckets.iter().zip(BUCKETS) {
                writeln!(out, "{name}_bucket{{route=\"{route}\",le=\"{limit}\"}} {count}")?;
            }
            writeln!(out, "{name}_sum{{route=\"{route}\"}} {}", timing.sum)?;
            writeln!(out, "{name}_count{{route=\"{route}\"}} {}", timing.count)?;
        }
        let gauge = ("subscribers", "gauge", self.subscribers.load(Ordering::Relaxed).to_string());
        let counter = |name, value: &AtomicU64| (name, "counter", value.load(Ordering::Relaxed).to_string());
        for (name, kind, value) in [
            gauge,
            counter("events_lagged_total", &self.lagged),
            counter("webhooks_delivered_total", &self.delivered),
            counter("webhooks_failed_total", &self.undelivered),
            counter("jobs_taken_over_total", &self.taken_over),
        ] {
            writeln!(out, "# TYPE hypervisor_gateway_{name} {kind}\nhypervisor_gateway_{name} {value}")?;
        }
        Ok(())
    }
}

/// `GET /metrics`.
pub(crate) async fn get(call: Call) -> Reply {
    let app = &call.app;
    let mut out = String::new();
    let _ = app.counters.write(&mut out);
    let gauges = [
        ("jobs_open", app.store.open_jobs().await.ok()),
        ("webhooks_waiting", app.store.waiting().await.ok()),
        ("uptime_seconds", i64::try_from(app.since.elapsed().as_secs()).ok()),
    ];
    for (name, value) in gauges {
        if let Some(value) = value {
            let _ =
                writeln!(out, "# TYPE hypervisor_gateway_{name} gauge\nhypervisor_gateway_{name} {value}");
        }
    }
    Answer::bytes("text/plain; version=0.0.4; charset=utf-8", out)
}
