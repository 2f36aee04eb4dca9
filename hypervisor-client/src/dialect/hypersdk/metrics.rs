//! Load.

use async_trait::async_trait;
use hypervisor_core::model::{Page, PageRequest, VmId, VmMetrics, VmState};
use hypervisor_core::traits::Metrics;
use hypervisor_core::{Error, Operation as O, Result};

use super::wire::DomainStats;
use super::{HyperSdk, named, names};

/// The daemon never fills some of the numbers and sends zeroes for them (see [`DomainStats`]): what is zero there is left out here.
#[async_trait]
impl Metrics for HyperSdk {
    async fn get_vm_metrics(&self, vm: &VmId) -> Result<VmMetrics> {
        let work = async {
            names::check("vm", vm.as_str())?;
            if vm.as_str().bytes().all(|byte| byte.is_ascii_digit()) {
                self.domain(vm).await?;
            }
            let stats = self.api.stats(vm.as_str()).await?;
            // Of a machine that is not there the daemon says nothing, with status 200.
            if stats.state.is_empty() && stats.memory.total_kb == 0 {
                self.domain(vm).await?;
            }
            let state = super::wire::state(&stats.state);
            if matches!(state, VmState::Stopped | VmState::Crashed) {
                return Err(Error::invalid_state(format!("it is {state}, but must be running"))
                    .with_target(VmId::NOUN, vm));
            }
            Ok(stats.metrics())
        };
        work.await.map_err(named(O::GetVmMetrics))
    }

    async fn list_vm_metrics(&self, page: &PageRequest) -> Result<Page<VmMetrics>> {
        let all = self.api.all_stats().await.map_err(named(O::ListVmMetrics))?;
        let all = all.into_iter().map(DomainStats::metrics).collect();
        Ok(Page::cut(all, page, |metrics: &VmMetrics| metrics.vm.to_string()))
    }
}
