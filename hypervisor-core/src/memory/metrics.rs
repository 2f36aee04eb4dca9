//! Load: made up, but plausible, the same every time, and with counters that only rise.

use std::time::Duration;

use async_trait::async_trait;

use super::Memory;
use super::clock::wall;
use super::state::{Vm, World, by_number};
use crate::error::{Error, Result};
use crate::model::{
    ByteSize, DiskMetrics, HostId, HostMetrics, MetricsHistory, MetricsPeriod, MetricsTarget, NicMetrics,
    Page, PageRequest, VmId, VmMetrics, VmState,
};
use crate::operation::Operation;
use crate::traits::Metrics;

/// How many points a history has.
const POINTS: u32 = 60;

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Metrics for Memory {
    async fn get_host_metrics(&self, host: &HostId) -> Result<HostMetrics> {
        self.call(Operation::GetHostMetrics, &[], Ok(()), |world| {
            let found = world.reachable(host)?;
            let load = world.host_load(host, found);
            let guests = world.vms.values().filter(|vm| vm.host == *host).map(|vm| world.cpu_time(vm));
            Ok(HostMetrics::new(host, wall(world.now))
                .cpu_usage(load)
                .cpu_time(guests.sum())
                .memory_total(found.memory)
                .memory_used(world.memory_used(host))
                .load(load * f64::from(found.cpus)))
        })
        .await
    }

    async fn get_vm_metrics(&self, vm: &VmId) -> Result<VmMetrics> {
        self.call(Operation::GetVmMetrics, &[], Ok(()), |world| {
            let vm = world.vm(vm)?;
            if !vm.state.is_active() {
                return Err(
                    Error::invalid_state(format!("it is {}", vm.state)).with_target(VmId::NOUN, &vm.id)
                );
            }
            Ok(world.vm_metrics(vm))
        })
        .await
    }

    async fn list_vm_metrics(&self, page: &PageRequest) -> Result<Page<VmMetrics>> {
        self.call(Operation::ListVmMetrics, &[], Ok(()), |world| {
            let seen =
                world.vms.values().filter(|vm| vm.state.is_active() && world.reachable(&vm.host).is_ok());
            let all = seen.map(|vm| world.vm_metrics(vm)).collect();
            let page = world.page(all, page, |metrics: &VmMetrics| by_number(metrics.vm.as_str()));
            Ok(page.with_unreachable(world.unreachable()))
        })
        .await
    }

    async fn get_metrics_history(
        &self,
        target: &MetricsTarget,
        period: MetricsPeriod,
    ) -> Result<MetricsHistory> {
        self.call(Operation::GetMetricsHistory, &[], Ok(()), |world| match target {
            MetricsTarget::Host(host) => world.host_history(host, period),
            MetricsTarget::Vm(vm) => world.vm_history(world.vm(vm)?, period),
        })
        .await
    }
}

/// A number that belongs to the guest, 1 to 4: how busy it is.
fn temper(vm: &Vm) -> u32 {
    vm.uid.bytes().map(u32::from).sum::<u32>() % 4 + 1
}

fn float(size: ByteSize) -> f64 {
    // Exact up to 2^53 bytes, which no guest has.
    let bytes = size.as_bytes();
    let half = |bytes: u64| f64::from(u32::try_from(bytes & 0xffff_ffff).unwrap_or(u32::MAX));
    half(bytes >> 32) * 4_294_967_296.0 + half(bytes)
}

impl World {
    fn ran(&self, vm: &Vm) -> Duration {
        vm.since.map_or(Duration::ZERO, |since| self.now.saturating_sub(since))
    }

    /// A tenth to four tenths of the time that its CPUs could have worked.
    fn cpu_time(&self, vm: &Vm) -> Duration {
        self.ran(vm).saturating_mul(vm.in_force().cpus.saturating_mul(temper(vm))) / 10
    }

    fn vm_metrics(&self, vm: &Vm) -> VmMetrics {
        let millis = u64::try_from(self.ran(vm).as_millis()).unwrap_or(u64::MAX);
        let grown = |rate: u64| millis.saturating_mul(rate).saturating_mul(u64::from(temper(vm)));
        let busy = if vm.state == VmState::Running { f64::from(temper(vm)) / 10.0 } else { 0.0 };
        let memory = vm.in_force().memory;
        let quarter = ByteSize::bytes(memory.as_bytes() / 4);
        let mut metrics = VmMetrics::new(&vm.id, wall(self.now))
            .cpu_usage(busy)
            .cpu_time(self.cpu_time(vm))
            .memory_total(memory)
            .memory_used(quarter)
            .memory_resident(quarter.saturating_add(quarter));
        for disk in &vm.setup.disks {
            let requests = grown(1) / 100;
            let load = DiskMetrics::new()
                .read(ByteSize::bytes(grown(4)))
                .written(ByteSize::bytes(grown(2)))
                .read_requests(requests)
                .write_requests(requests / 2);
            metrics.disks.insert(disk.id.clone(), load);
        }
        for nic in &vm.setup.nics {
            let load = NicMetrics::new()
                .received(ByteSize::bytes(grown(3)))
                .sent(ByteSize::bytes(grown(1)))
                .received_packets(grown(3) / 500)
                .sent_packets(grown(1) / 500);
            metrics.nics.insert(nic.id.clone(), load);
        }
        metrics
    }

    /// When the points of a history were measured; `None` where the world did not exist yet.
    fn times(&self, period: MetricsPeriod) -> (MetricsHistory, Vec<Option<Duration>>) {
        let step = period.duration() / POINTS;
        let points = (0..POINTS).rev().map(|back| step.saturating_mul(back));
        let points: Vec<Duration> = points.collect();
        let now = wall(self.now);
        let times = points.iter().map(|back| now.checked_sub(*back).unwrap_or(now)).collect();
        let existed = points.iter().map(|back| self.now.checked_sub(*back)).collect();
        (MetricsHistory::new(step, times), existed)
    }

    fn host_history(&self, id: &HostId, period: MetricsPeriod) -> Result<MetricsHistory> {
        let host = self.reachable(id)?;
        let (history, existed) = self.times(period);
        let series = |value: f64| existed.iter().map(|at| at.map(|_| value)).collect();
        Ok(history
            .with_series("cpu_usage", series(self.host_load(id, host)))
            .with_series("memory_used", series(float(self.memory_used(id))))
            .with_series("memory_total", series(float(host.memory))))
    }

    fn vm_history(&self, vm: &Vm, period: MetricsPeriod) -> Result<MetricsHistory> {
        let now = self.vm_metrics(vm);
        let (history, existed) = self.times(period);
        let ran = |at: Duration| vm.since.is_some_and(|since| at >= since);
        let series = |value: f64| -> Vec<Option<f64>> {
            let points = existed.iter().map(|at| at.filter(|at| *at >= vm.created));
            points.map(|at| at.map(|at| if ran(at) { value } else { 0.0 })).collect()
        };
        let total = now.memory_total.map_or(0.0, float);
        let rate = f64::from(temper(vm)) * 1000.0;
        let (disks, nics) = (vm.setup.disks.len(), vm.setup.nics.len());
        let times = |count: usize| f64::from(u32::try_from(count).unwrap_or(u32::MAX)) * rate;
        Ok(history
            .with_series("cpu_usage", series(f64::from(temper(vm)) / 10.0))
            .with_series("memory_used", series(total / 4.0))
            .with_series("memory_total", series(total))
            .with_series("disk_read", series(times(disks) * 4.0))
            .with_series("disk_written", series(times(disks) * 2.0))
            .with_series("net_received", series(times(nics) * 3.0))
            .with_series("net_sent", series(times(nics))))
    }
}
