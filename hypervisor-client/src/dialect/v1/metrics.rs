//! Load.

use std::time::SystemTime;

use async_trait::async_trait;
use hypervisor_core::model::{
    HostId, HostMetrics, MetricsHistory, MetricsPeriod, MetricsTarget, Page, PageRequest, VmId, VmMetrics,
    VmState,
};
use hypervisor_core::{Error, Metrics, Operation as O, Result};
use serde::Deserialize;

use super::V1;
use super::call::{about, json};
use super::wire::envelope::key;
use super::wire::metrics;

/// What an extended gateway puts beside the documented answer.
#[derive(Deserialize)]
struct Native {
    info: VmMetrics,
}

#[async_trait]
impl Metrics for V1 {
    async fn get_host_metrics(&self, host: &HostId) -> Result<HostMetrics> {
        self.needs(O::GetHostMetrics, &[])?;
        let request = self.request(O::GetHostMetrics, &[host.as_str()])?;
        self.link.field::<key::Metrics, _>(request).await.map_err(about(HostId::NOUN, host))
    }

    async fn get_vm_metrics(&self, vm: &VmId) -> Result<VmMetrics> {
        if self.native {
            let request = self.request(O::GetVmMetrics, &[vm.as_str()])?.query("view", "native");
            let found: Native = self.link.data(request).await.map_err(about(VmId::NOUN, vm))?;
            return Ok(found.info);
        }
        // The details have the load in a documented shape; the route of the load itself has none.
        let details = self.details(O::GetVmMetrics, vm).await?;
        running(&details.state(), vm, O::GetVmMetrics)?;
        Ok(metrics::present(&details, SystemTime::now()))
    }

    async fn list_vm_metrics(&self, page: &PageRequest) -> Result<Page<VmMetrics>> {
        self.needs(O::ListVmMetrics, &[])?;
        self.link.native_page(self.request(O::ListVmMetrics, &[])?, page).await
    }

    async fn get_metrics_history(
        &self,
        target: &MetricsTarget,
        period: MetricsPeriod,
    ) -> Result<MetricsHistory> {
        self.needs(O::GetMetricsHistory, &[])?;
        if self.native {
            let request = self.request(O::GetMetricsHistory, &[])?;
            let request =
                request.query("target", json("target", target)?).query("period", json("period", &period)?);
            let found = self.link.field::<key::History, _>(request).await;
            return found.map_err(|error| match target {
                MetricsTarget::Host(host) => error.with_target(HostId::NOUN, host),
                MetricsTarget::Vm(vm) => error.with_target(VmId::NOUN, vm),
                _ => error,
            });
        }
        let MetricsTarget::Vm(vm) = target else {
            return Err(Error::unsupported(
                O::GetMetricsHistory,
                "the gateway knows the history of machines only",
            ));
        };
        let name = metrics::period(period).ok_or_else(|| {
            Error::invalid(
                "period",
                format!("a {period} is longer than the 30 days that the gateway goes back"),
            )
        })?;
        let request = self.request(O::GetMetricsHistory, &[vm.as_str()])?.query("period", name);
        let data = self.link.data(request).await.map_err(about(VmId::NOUN, vm))?;
        Ok(metrics::history(&data, period))
    }
}

/// Passes for a machine that runs.
pub(super) fn running(state: &VmState, vm: &VmId, operation: O) -> Result<()> {
    if state.is_active() {
        return Ok(());
    }
    let error = Error::invalid_state(format!("it is {state}, but must be running"));
    Err(error.with_operation(operation).with_target(VmId::NOUN, vm))
}
