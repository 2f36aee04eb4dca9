use async_trait::async_trait;

use super::unsupported;
use crate::error::Result;
use crate::model::{
    HostId, HostMetrics, MetricsHistory, MetricsPeriod, MetricsTarget, Page, PageRequest, VmId, VmMetrics,
};
use crate::operation::Operation;

/// Load, now and over time.
#[async_trait]
pub trait Metrics: Send + Sync {
    /// Reads a host's load.
    ///
    /// Needs [`Operation::GetHostMetrics`]; a read: repeated where its answer is lost.
    ///
    /// # Errors
    /// `NotFound`; `HostUnreachable`.
    async fn get_host_metrics(&self, host: &HostId) -> Result<HostMetrics> {
        let _ = host;
        unsupported(Operation::GetHostMetrics)
    }

    /// Reads one running guest's load.
    ///
    /// Needs [`Operation::GetVmMetrics`]; a read: repeated where its answer is lost. Proxmox tells `cpu_usage`; libvirt tells
    /// `cpu_time`, of which two give the usage.
    ///
    /// # Errors
    /// `InvalidState` if it does not run.
    async fn get_vm_metrics(&self, vm: &VmId) -> Result<VmMetrics> {
        let _ = vm;
        unsupported(Operation::GetVmMetrics)
    }

    /// Reads the load of all running guests, in one call to the backend wherever it can.
    ///
    /// Needs [`Operation::ListVmMetrics`]; a read: repeated where its answer is lost. libvirt: one call for all. Proxmox: the
    /// cluster's list, which sums up disks and NICs.
    ///
    /// # Errors
    /// As the backend gives them.
    async fn list_vm_metrics(&self, page: &PageRequest) -> Result<Page<VmMetrics>> {
        let _ = page;
        unsupported(Operation::ListVmMetrics)
    }

    /// Reads the load over a period that ends now.
    ///
    /// Needs [`Operation::GetMetricsHistory`]; a read: repeated where its answer is lost.
    ///
    /// # Errors
    /// `NotFound` for the host or guest.
    async fn get_metrics_history(
        &self,
        target: &MetricsTarget,
        period: MetricsPeriod,
    ) -> Result<MetricsHistory> {
        let _ = (target, period);
        unsupported(Operation::GetMetricsHistory)
    }
}
