//! Load, now and over time.

use hypervisor_core::Operation;
use hypervisor_core::model::{
    ByteSize, MetricsPeriod, MetricsTarget, PoolQuery, VmId, VmMetrics, VmQuery, VmState,
};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::answer::{Answer, Reply};
use crate::call::Call;
use crate::paging::{self, Viewed};
use crate::problem::{Problem, Result};
use crate::routes::Numbers;

/// The document's periods, and the model's own names.
fn period(text: &str) -> Result<MetricsPeriod> {
    Ok(match text {
        "1h" | "hour" => MetricsPeriod::Hour,
        "24h" | "day" => MetricsPeriod::Day,
        "7d" | "week" => MetricsPeriod::Week,
        "30d" | "month" => MetricsPeriod::Month,
        "year" => MetricsPeriod::Year,
        other => {
            return Err(
                Problem::invalid("period", "is none of 1h, 24h, 7d, 30d").detail("provided_value", other)
            );
        }
    })
}

/// `GET /v1/monitoring/metrics`: the whole system in a few numbers.
pub(crate) async fn system(call: Call) -> Reply {
    let hv = call.hv();
    let can = |operation| hv.capabilities().has(operation);
    let query = &VmQuery::all();
    let (vms, unreachable) = paging::every(|page| async move { hv.list_vms(query, &page).await }).await?;
    let running = vms.iter().filter(|vm| vm.state == VmState::Running).count();
    let mut metrics = Map::new();
    metrics.insert(
        "vms".to_owned(),
        json!({ "total": vms.len(), "running": running, "stopped": vms.iter().filter(|vm| vm.state == VmState::Stopped).count() }),
    );
    if can(Operation::ListHosts) {
        let (hosts, _) = paging::every(|page| async move { hv.list_hosts(&page).await }).await?;
        let hosts: Vec<Value> = hosts
            .iter()
            .map(|host| {
                json!({
                    "id": host.id,
                    "status": host.state,
                    "cpu_usage_percent": host.cpu_usage.map(|usage| usage * 100.0),
                    "memory_mb": host.memory.map(|size| size.div_ceil(ByteSize::mib(1))),
                    "memory_used_mb": host.memory_used.map(|size| size.div_ceil(ByteSize::mib(1))),
                    "uptime_seconds": host.uptime.map(|uptime| uptime.as_secs()),
                })
            })
            .collect();
        metrics.insert("hosts".to_owned(), hosts.into());
    }
    if can(Operation::ListPools) {
        let query = &PoolQuery::all();
        let (pools, _) = paging::every(|page| async move { hv.list_pools(query, &page).await }).await?;
        let gib = ByteSize::gib(1);
        let pools: Vec<Value> = pools
            .iter()
            .map(|pool| {
                json!({
                    "id": pool.id,
                    "total_gb": pool.capacity.map(|size| size.div_ceil(gib)),
                    "used_gb": pool.used.map(|size| size.div_ceil(gib)),
                })
            })
            .collect();
        metrics.insert("storage".to_owned(), pools.into());
    }
    Answer::ok(&json!({ "metrics": metrics, "unreachable": unreachable }))
}

/// The document's numbers.
fn numbers(metrics: &VmMetrics, wanted: &[&str]) -> Map<String, Value> {
    let sum = |sizes: &mut dyn Iterator<Item = ByteSize>| {
        sizes.fold(0_u64, |sum, size| sum.saturating_add(size.as_bytes()))
    };
    let all = [
        ("cpu", json!({ "usage_percent": metrics.cpu_usage.map(|usage| usage * 100.0) })),
        ("memory", json!({ "total_bytes": metrics.memory_total, "used_bytes": metrics.memory_used })),
        (
            "disk",
            json!({
                "read_bytes": sum(&mut metrics.disks.values().map(|disk| disk.read)),
                "written_bytes": sum(&mut metrics.disks.values().map(|disk| disk.written)),
            }),
        ),
        (
            "network",
            json!({
                "received_bytes": sum(&mut metrics.nics.values().map(|nic| nic.received)),
                "sent_bytes": sum(&mut metrics.nics.values().map(|nic| nic.sent)),
            }),
        ),
    ];
    all.into_iter()
        .filter(|(name, _)| wanted.is_empty() || wanted.contains(name))
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
}

pub(crate) async fn vm(call: Call) -> Reply {
    let vm: VmId = call.id("vm_id")?;
    let wanted: Vec<&str> = call.text("metrics").map(|names| names.split(',').collect()).unwrap_or_default();
    if let Some(odd) = wanted.iter().find(|name| !["cpu", "memory", "disk", "network"].contains(*name)) {
        return Err(
            Problem::invalid("metrics", "are of cpu, memory, disk, network").detail("provided_value", *odd)
        );
    }
    let period = call.text("period").map(period).transpose()?;
    let metrics = call.hv().get_vm_metrics(&vm).await?;
    if call.native() {
        return Answer::ok(&json!({ "info": metrics }));
    }
    let history = match period {
        Some(period) if call.hv().capabilities().has(Operation::GetMetricsHistory) => {
            Some(call.hv().get_metrics_history(&MetricsTarget::Vm(vm.clone()), period).await?)
        }
        _ => None,
    };
    let numbers = numbers(&metrics, &wanted);
    Answer::ok(&json!({ "vm_id": vm, "metrics": numbers, "history": history, "info": metrics }))
}

/// A guest's numbers in a list.
#[derive(Serialize, JsonSchema)]
pub(crate) struct MetricsItem<'a> {
    id: &'a VmId,
    #[schemars(with = "Numbers")]
    metrics: Map<String, Value>,
    info: &'a VmMetrics,
}

impl Viewed for VmMetrics {
    type Item<'a> = MetricsItem<'a>;

    fn key(&self) -> &str {
        self.vm.as_str()
    }

    fn item(&self) -> MetricsItem<'_> {
        MetricsItem { id: &self.vm, metrics: numbers(self, &[]), info: self }
    }
}

pub(crate) async fn host(call: Call) -> Reply {
    Answer::ok(&json!({ "metrics": call.hv().get_host_metrics(&call.id("host_id")?).await? }))
}

pub(crate) async fn vms(call: Call) -> Reply {
    let hv = call.hv();
    let fetch = |page| async move { hv.list_vm_metrics(&page).await };
    let sort = |all: &mut Vec<VmMetrics>| all.sort_by(|a, b| a.vm.cmp(&b.vm));
    paging::list(&call, "metrics", sort, fetch).await
}

pub(crate) async fn history(call: Call) -> Reply {
    let target: MetricsTarget =
        call.json_query("target")?.ok_or_else(|| Problem::invalid("target", "is missing"))?;
    // JSON by the agreement, so that the name comes in quotes.
    let period = period(call.text("period").unwrap_or("hour").trim_matches('"'))?;
    Answer::ok(&json!({ "history": call.hv().get_metrics_history(&target, period).await? }))
}
