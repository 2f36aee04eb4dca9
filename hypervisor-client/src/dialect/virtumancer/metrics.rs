//! Load of guests and hosts.

use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use futures::StreamExt as _;
use hypervisor_core::model::{ByteSize, HostId, HostMetrics, Page, PageRequest, VmId, VmMetrics};
use hypervisor_core::traits::Metrics;
use hypervisor_core::{Effect, Error, ErrorKind, Operation, Result};

use super::BACKEND;
use super::api::{About, Seen};
use super::backend::Virtumancer;
use super::compute::named;
use super::events::Loads;
use super::routes::Generation;
use super::wire::{Place, VmLoad};

/// How many guests are asked at a time.
const AT_A_TIME: usize = 8;
/// How long the first frame of a subscription may take; it usually takes 2 s.
const FIRST_FRAME: Duration = Duration::from_secs(10);

impl Virtumancer {
    /// Reads a guest's load as the server tells it, zeroes of a stopped guest included (`GET …/stats`). Not in the document.
    ///
    /// # Errors
    /// `NotFound`, `HostUnreachable`, `Unsupported`.
    pub async fn vm_stats(&self, vm: &VmId) -> Result<VmLoad> {
        let place = Place::vm(vm)?;
        let parts = [("host", place.host.as_str()), ("vm", place.name.as_str())];
        let request = self.inner.api.request(Operation::GetVmMetrics, &parts)?;
        self.inner.api.json(request, &About::Vm(place)).await
    }

    /// Follows a guest's load over the WebSocket: a measurement about every 2 s while the guest runs, none while it does not. The
    /// subscription is made again by itself when the connection was lost or the guest was off; a reader that is too slow misses old
    /// measurements and gets the newest.
    ///
    /// # Errors
    /// `NotFound` for an id that is none of this server's (a guest that does not exist has no load, and the server does not say so),
    /// `InvalidInput` for names that are longer than the server takes, and what connecting says.
    pub async fn watch_vm_load(&self, vm: &VmId) -> Result<Loads<VmMetrics>> {
        let place = Place::vm(vm)?;
        self.inner
            .hub
            .follow_vm(place)
            .await
            .map_err(|error| error.with_target(VmId::NOUN, vm).with_backend(BACKEND))
    }

    /// Follows a host's load over the WebSocket, like [`watch_vm_load`](Self::watch_vm_load). Current servers only.
    ///
    /// # Errors
    /// `InvalidInput` for a name that is longer than the server takes, `Unsupported`, and what connecting says.
    pub async fn watch_host_load(&self, host: &HostId) -> Result<Loads<HostMetrics>> {
        self.at_least(Generation::Current, "the load of a host")?;
        let following = self.inner.hub.follow_host(host.to_string()).await;
        following.map_err(|error| error.with_target(HostId::NOUN, host).with_backend(BACKEND))
    }

    async fn load(&self, vm: &VmId) -> Result<VmMetrics> {
        if self.generation() == Generation::Documented {
            return self.load_by_subscription(vm).await;
        }
        let load = self.vm_stats(vm).await?;
        if load.is_idle() {
            let state = match load.state() {
                Some(state) => state,
                None => {
                    let (row, reachable) = self.inner.api.vm_now(&Place::vm(vm)?).await?;
                    row.state(reachable)
                }
            };
            if !state.is_active() {
                return Err(not_running(vm, state.as_str()));
            }
        }
        Ok(load.to_metrics(vm.clone(), SystemTime::now()))
    }

    async fn load_by_subscription(&self, vm: &VmId) -> Result<VmMetrics> {
        let (row, reachable) = self.inner.api.vm(&Place::vm(vm)?).await?;
        let state = row.state(reachable);
        if !state.is_active() {
            return Err(not_running(vm, state.as_str()));
        }
        let mut loads = self.watch_vm_load(vm).await?;
        match tokio::time::timeout(FIRST_FRAME, loads.next()).await {
            Ok(Some(load)) => load,
            Ok(None) | Err(_) => {
                let message = format!("the server told no load within {FIRST_FRAME:?}");
                Err(Error::new(ErrorKind::Timeout, message).with_effect(Effect::None))
            }
        }
    }

    async fn host_load(&self, host: &HostId) -> Result<HostMetrics> {
        let (load, info) = futures::join!(self.host_stats(host), self.inner.api.info(host.as_str()));
        let (load, info) = (load?, info?);
        let mut metrics = load.to_metrics(host.clone(), SystemTime::now());
        if let Some(facts) = info.facts {
            // The one of the two answers whose unit is certain.
            metrics.memory_total = facts.memory.map(ByteSize::bytes).or(metrics.memory_total);
            metrics.memory_used = facts.memory_used.map(ByteSize::bytes).or(metrics.memory_used);
        }
        Ok(metrics)
    }
}

fn not_running(vm: &VmId, state: &str) -> Error {
    Error::invalid_state(format!("it is {state}, but must be running")).with_target(VmId::NOUN, vm)
}

#[async_trait]
impl Metrics for Virtumancer {
    async fn get_host_metrics(&self, host: &HostId) -> Result<HostMetrics> {
        self.require(Operation::GetHostMetrics, &[])?;
        self.host_load(host).await.map_err(named(Operation::GetHostMetrics))
    }

    async fn get_vm_metrics(&self, vm: &VmId) -> Result<VmMetrics> {
        self.load(vm).await.map_err(named(Operation::GetVmMetrics))
    }

    async fn list_vm_metrics(&self, page: &PageRequest) -> Result<Page<VmMetrics>> {
        let named = named(Operation::ListVmMetrics);
        let seen = self.inner.api.survey(None).await.map_err(named)?;
        let unreachable = seen.iter().filter_map(Seen::unreachable).collect();
        let running: Vec<VmId> =
            seen.iter().flat_map(Self::guests).filter(|vm| vm.state.is_active()).map(|vm| vm.id).collect();
        let asked = running.into_iter().map(|vm| async move { self.load(&vm).await });
        let mut loads = futures::stream::iter(asked).buffer_unordered(AT_A_TIME);
        let mut all = Vec::new();
        while let Some(load) = loads.next().await {
            match load {
                Ok(load) => all.push(load),
                // It ended, or went, between the two calls.
                Err(error) if matches!(error.kind(), ErrorKind::InvalidState | ErrorKind::NotFound) => {}
                Err(error) => return Err(named(error)),
            }
        }
        Ok(Page::cut(all, page, |load: &VmMetrics| load.vm.to_string()).with_unreachable(unreachable))
    }
}
