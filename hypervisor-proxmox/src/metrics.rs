//! Load, now and over time.

use std::time::SystemTime;

use async_trait::async_trait;
use hypervisor_core::model::{
    ByteSize, DiskMetrics, HostId, HostMetrics, MetricsHistory, MetricsPeriod, MetricsTarget, NicMetrics,
    Page, PageRequest, VmId, VmMetrics, VmState,
};
use hypervisor_core::traits::Metrics;
use hypervisor_core::{Error, Operation, Result};

use crate::api::Call;
use crate::backend::Proxmox;
use crate::error::{named, of_host};
use crate::wire::form::segment;
use crate::wire::status::GuestStatus;
use crate::wire::{envelope, node, resources, rrd};

#[async_trait]
impl Metrics for Proxmox {
    async fn get_host_metrics(&self, host: &HostId) -> Result<HostMetrics> {
        let operation = Operation::GetHostMetrics;
        let path = format!("/nodes/{}/status", segment("host", host.as_str())?);
        let answer = self.inner.api.bytes(&Call::get(path).operation(operation)).await;
        let answer = answer.map_err(of_host(host)).map_err(named(operation))?;
        node::metrics(&answer, host.as_str(), SystemTime::now()).map_err(named(operation))
    }

    async fn get_vm_metrics(&self, vm: &VmId) -> Result<VmMetrics> {
        let operation = Operation::GetVmMetrics;
        let inner = &*self.inner;
        let read = inner.on_guest(operation, vm, |found| async move {
            let answer =
                inner.api.bytes(&Call::get(found.path("/status/current")?).operation(operation)).await?;
            let row: GuestStatus = envelope::data(&answer)?;
            let state = row.state();
            if !is_on(&state) {
                return Err(Error::invalid_state(format!("it is {state}; only a running guest has a load")));
            }
            metrics(row).ok_or_else(|| vm.not_found())
        });
        read.await
    }

    async fn list_vm_metrics(&self, page: &PageRequest) -> Result<Page<VmMetrics>> {
        let operation = Operation::ListVmMetrics;
        let inner = &*self.inner;
        let answer = inner.api.bytes(&Call::get("/cluster/resources").operation(operation)).await?;
        let rows: Vec<GuestStatus> = envelope::data(&answer).map_err(named(operation))?;
        let unreachable = resources::inventory(&answer).map_err(named(operation))?.unreachable;
        // The cluster's list is up to ten seconds old: what this process has just changed is asked for once more.
        let changed = inner.locator.changed();
        let known = |row: &GuestStatus| row.vmid.and_then(|vmid| u32::try_from(vmid).ok());
        let (stale, mut rows): (Vec<_>, Vec<_>) =
            rows.into_iter().partition(|row| known(row).is_some_and(|vmid| changed.contains(&vmid)));
        let looks = stale.iter().filter_map(known).map(|vmid| async move {
            let vm = VmId::from(vmid.to_string());
            let look = inner.on_guest(operation, &vm, |found| async move {
                let call = Call::get(found.path("/status/current")?).operation(operation);
                envelope::data::<GuestStatus>(&inner.api.bytes(&call).await?)
            });
            look.await.ok()
        });
        rows.extend(futures::future::join_all(looks).await.into_iter().flatten());
        let on = rows.into_iter().filter(|row| is_on(&row.state())).filter_map(metrics).collect();
        Ok(Page::cut(on, page, |metrics: &VmMetrics| format!("{:0>9}", metrics.vm))
            .with_unreachable(unreachable))
    }

    async fn get_metrics_history(
        &self,
        target: &MetricsTarget,
        period: MetricsPeriod,
    ) -> Result<MetricsHistory> {
        let operation = Operation::GetMetricsHistory;
        let inner = &*self.inner;
        let history = |path: String| async move {
            let call = Call::get(path).query(rrd::query(period)).operation(operation);
            let history = match inner.api.bytes(&call).await {
                Ok(answer) => rrd::history(&answer)?,
                Err(error) if rrd::is_not_begun(&error) => rrd::empty(),
                Err(error) => return Err(error),
            };
            Ok(with_step(history, period))
        };
        match target {
            MetricsTarget::Host(host) => {
                let path = format!("/nodes/{}/rrddata", segment("host", host.as_str())?);
                history(path).await.map_err(of_host(host)).map_err(named(operation))
            }
            MetricsTarget::Vm(vm) => {
                let read = inner
                    .on_guest(operation, vm, |found| async move { history(found.path("/rrddata")?).await });
                read.await
            }
            _ => Err(crate::error::unsupported(operation, "the server keeps no history of this")),
        }
    }
}

fn is_on(state: &VmState) -> bool {
    state.is_active() || *state == VmState::Crashed
}

/// A history of one point, or none, still has the distance that the server writes at.
fn with_step(mut history: MetricsHistory, period: MetricsPeriod) -> MetricsHistory {
    if history.step.is_zero() {
        // 70 points of the round-robin database.
        history.step = (period.duration() / 70).max(std::time::Duration::from_secs(60));
    }
    history
}

fn metrics(row: GuestStatus) -> Option<VmMetrics> {
    let is_guest = matches!(row.kind.as_deref(), None | Some("qemu" | "lxc" | "openvz"));
    let mut metrics = VmMetrics::new(row.vmid.filter(|_| is_guest)?.to_string(), SystemTime::now());
    metrics.cpu_usage = row.cpu.map(|cpu| cpu.clamp(0.0, 1.0));
    metrics.memory_total = row.maxmem.map(ByteSize::bytes);
    metrics.memory_used = row.mem.map(ByteSize::bytes);
    metrics.memory_resident = row.memhost.filter(|bytes| *bytes > 0).map(ByteSize::bytes);
    if row.diskread.is_some() || row.diskwrite.is_some() {
        let bytes = |bytes: Option<u64>| ByteSize::bytes(bytes.unwrap_or(0));
        // The server tells only the sum.
        let all = DiskMetrics::new().read(bytes(row.diskread)).written(bytes(row.diskwrite));
        metrics.disks.insert("all".into(), all);
    }
    metrics.nics = nics(&row);
    Some(metrics)
}

/// Traffic by NIC where the server tells, else the sum. What the guest receives, the host's side of it sends, and the server has
/// turned that round already.
fn nics(row: &GuestStatus) -> std::collections::BTreeMap<hypervisor_core::model::NicId, NicMetrics> {
    let of = |received: Option<u64>, sent: Option<u64>| {
        let bytes = |bytes: Option<u64>| ByteSize::bytes(bytes.unwrap_or(0));
        NicMetrics::new().received(bytes(received)).sent(bytes(sent))
    };
    let number = |value: Option<&serde_json::Value>| {
        crate::wire::scalar::text_of(value?).and_then(|text| crate::wire::scalar::Scalar::from_text(&text))
    };
    let each = row.nics.as_ref().and_then(serde_json::Value::as_object).into_iter().flatten();
    let named: std::collections::BTreeMap<_, _> = each
        .filter_map(|(name, traffic)| {
            // `tap100i0` or `veth100i0`.
            let index =
                name.rsplit('i').next().filter(|index| index.bytes().all(|byte| byte.is_ascii_digit()))?;
            Some((
                format!("net{index}").into(),
                of(number(traffic.get("netin")), number(traffic.get("netout"))),
            ))
        })
        .collect();
    if named.is_empty() && (row.netin.is_some() || row.netout.is_some()) {
        return [("all".into(), of(row.netin, row.netout))].into();
    }
    named
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn traffic_is_told_by_nic_where_it_can_be() {
        let row: GuestStatus = serde_json::from_str(
            r#"{"vmid":100,"cpu":1.2,"netin":110,"netout":5,"nics":{"tap100i0":{"netout":0,"netin":110}},"diskread":7}"#,
        )
        .unwrap();
        let found = metrics(row).unwrap();
        assert_eq!(found.cpu_usage, Some(1.0));
        assert_eq!(found.nics[&"net0".into()].received, ByteSize::bytes(110));
        assert_eq!(found.disks[&"all".into()].read, ByteSize::bytes(7));
        let sum: GuestStatus = serde_json::from_str(r#"{"vmid":100,"netin":1,"netout":2}"#).unwrap();
        assert_eq!(metrics(sum).unwrap().nics[&"all".into()].sent, ByteSize::bytes(2));
        let node: GuestStatus = serde_json::from_str(r#"{"type":"node","node":"a"}"#).unwrap();
        assert!(metrics(node).is_none());
    }
}
