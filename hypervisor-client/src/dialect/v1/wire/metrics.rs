//! Load. The document has the routes and no example of an answer: several shapes are read.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, SystemTime};

use hypervisor_core::model::{ByteSize, MetricsHistory, MetricsPeriod, VmMetrics};
use serde_json::{Map, Value};

use super::lenient;
use super::vm::VmRecord;
use crate::dialect::v1::BACKEND;
use crate::time;

/// What of a machine's load is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Metric {
    /// Its CPUs.
    Cpu,
    /// Its memory.
    Memory,
    /// Its disks.
    Disk,
    /// Its NICs.
    Network,
}

impl Metric {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Memory => "memory",
            Self::Disk => "disk",
            Self::Network => "network",
        }
    }
}

/// How the gateway calls a period; a year is none of its.
pub(crate) const fn period(period: MetricsPeriod) -> Option<&'static str> {
    match period {
        MetricsPeriod::Hour => Some("1h"),
        MetricsPeriod::Day => Some("24h"),
        MetricsPeriod::Week => Some("7d"),
        MetricsPeriod::Month => Some("30d"),
        _ => None,
    }
}

/// A machine's load now, from its details.
pub(crate) fn present(vm: &VmRecord, now: SystemTime) -> VmMetrics {
    let mut metrics = VmMetrics::new(vm.id.as_str(), now);
    metrics.memory_total = vm.memory();
    let Some(performance) = &vm.performance else { return metrics };
    metrics.cpu_usage = performance.cpu_usage_percent.and_then(lenient::fraction);
    metrics.memory_used =
        metrics.memory_total.zip(performance.memory_usage_percent).and_then(|(total, percent)| {
            let kib = total.div_ceil(ByteSize::kib(1));
            // A share of the whole: at most as many digits as the whole has.
            let used = lenient::fraction(percent)? * format!("{kib}").parse::<f64>().ok()?;
            format!("{used:.0}").parse().ok().map(ByteSize::kib)
        });
    let numbers = [
        ("disk_usage_percent", performance.disk_usage_percent),
        ("network_rx_mbps", performance.network_rx_mbps),
        ("network_tx_mbps", performance.network_tx_mbps),
    ];
    for (key, value) in numbers {
        if let Some(value) = value {
            metrics.extra.insert(BACKEND, key, value);
        }
    }
    for (key, value) in &performance.rest {
        metrics.extra.insert(BACKEND, key, value.clone());
    }
    metrics
}

type Points = BTreeMap<SystemTime, BTreeMap<String, f64>>;

/// Reads a history: either a list of points, `[{"timestamp", "cpu": 1.5, …}]`, or a map of series, `{"cpu": [{"timestamp", "value"}]}`,
/// below `metrics`, `data_points`, `points` or `history`, or at the top.
pub(crate) fn history(data: &Value, period: MetricsPeriod) -> MetricsHistory {
    let inner = ["metrics", "data_points", "points", "history"].iter().find_map(|key| data.get(key));
    let mut points = Points::new();
    match inner.unwrap_or(data) {
        Value::Array(list) => {
            list.iter().filter_map(Value::as_object).for_each(|point| whole(point, &mut points))
        }
        Value::Object(map) => {
            for (name, list) in map {
                let list = list.as_array().or_else(|| list.get("data")?.as_array());
                for point in list.into_iter().flatten().filter_map(Value::as_object) {
                    single(name, point, &mut points);
                }
            }
        }
        _ => {}
    }
    let times: Vec<SystemTime> = points.keys().copied().collect();
    let step = times.iter().zip(times.iter().skip(1)).filter_map(|(a, b)| b.duration_since(*a).ok()).min();
    let step = step.filter(|step| !step.is_zero()).unwrap_or_else(|| period.duration());
    let names: BTreeSet<&String> = points.values().flat_map(BTreeMap::keys).collect();
    let mut history = MetricsHistory::new(step.max(Duration::from_secs(1)), times);
    for name in names {
        let values: Vec<Option<f64>> = points.values().map(|point| point.get(name).copied()).collect();
        let (name, values) = in_our_words(name, values);
        history = history.with_series(name, values);
    }
    history
}

fn at(point: &Map<String, Value>) -> Option<SystemTime> {
    match point.get("timestamp").or_else(|| point.get("time"))? {
        Value::String(text) => time::parse(text),
        other => SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(other.as_u64()?)),
    }
}

fn whole(point: &Map<String, Value>, points: &mut Points) {
    let Some(at) = at(point) else { return };
    let slot = points.entry(at).or_default();
    for (name, value) in point {
        if let Some(value) = value.as_f64().filter(|_| !matches!(name.as_str(), "timestamp" | "time")) {
            slot.insert(name.clone(), value);
        }
    }
}

fn single(name: &str, point: &Map<String, Value>, points: &mut Points) {
    let (Some(at), Some(value)) = (at(point), point.get("value").and_then(Value::as_f64)) else { return };
    points.entry(at).or_default().insert(name.to_owned(), value);
}

/// Percentages of the CPU become fractions under the SDK's name; the others keep theirs, because their units are not documented.
fn in_our_words(name: &str, values: Vec<Option<f64>>) -> (String, Vec<Option<f64>>) {
    match name {
        "cpu" | "cpu_usage" | "cpu_usage_percent" => {
            let values = values.into_iter().map(|value| value.and_then(lenient::fraction)).collect();
            ("cpu_usage".to_owned(), values)
        }
        other => (other.to_owned(), values),
    }
}
