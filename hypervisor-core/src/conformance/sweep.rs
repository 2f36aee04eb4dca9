use std::future::Future;

use super::context::ended;
use super::settings::Settings;
use crate::error::{Error, Result};
use crate::model::{
    Cursors, DeletePool, DeleteVm, NetworkId, Page, PageRequest, PoolId, PoolQuery, Started, VmId, VmQuery,
    VolumeId,
};
use crate::operation::Operation;
use crate::traits::Hypervisor;

/// Every item of a list, page by page.
pub(crate) async fn every<T, F, Fut>(mut list: F) -> Result<Vec<T>>
where
    F: FnMut(PageRequest) -> Fut,
    Fut: Future<Output = Result<Page<T>>>,
{
    let mut all = Vec::new();
    let (mut next, mut cursors) = (Some(PageRequest::first()), Cursors::default());
    while let Some(request) = next {
        let page = list(request).await?;
        next = cursors.after(&page)?;
        all.extend(page.items);
    }
    Ok(all)
}

/// What exists with names that begin with a prefix.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub(crate) vms: Vec<VmId>,
    pub(crate) volumes: Vec<VolumeId>,
    pub(crate) pools: Vec<PoolId>,
    pub(crate) networks: Vec<NetworkId>,
    pub(crate) groups: Vec<crate::model::GroupId>,
}

impl Found {
    /// Looks at all lists that the backend has. Volumes are looked for in these pools and in those of the prefix.
    pub(crate) async fn look(hv: &dyn Hypervisor, prefix: &str, pools: &[PoolId]) -> Result<Self> {
        let has = |operation: Operation| hv.capabilities().has(operation);
        let mut found = Self::default();
        if has(Operation::ListVms) {
            let query = VmQuery::all();
            let vms = every(|page| {
                let query = &query;
                async move { hv.list_vms(query, &page).await }
            });
            let ours = vms.await?.into_iter().filter(|vm| vm.name.starts_with(prefix));
            found.vms = ours.map(|vm| vm.id).collect();
        }
        if has(Operation::ListPools) {
            let query = PoolQuery::all();
            let all = every(|page| {
                let query = &query;
                async move { hv.list_pools(query, &page).await }
            });
            let ours = all.await?.into_iter().filter(|pool| pool.id.as_str().starts_with(prefix));
            found.pools = ours.map(|pool| pool.id).collect();
        }
        if has(Operation::ListVolumes) {
            for pool in pools.iter().chain(&found.pools) {
                let all = every(|page| async move { hv.list_volumes(pool, &page).await });
                let all = match all.await {
                    Err(error) if error.is_not_found() => continue,
                    other => other?,
                };
                let ours = all.into_iter().filter(|volume| {
                    let owned = volume.vm.as_ref().is_some_and(|vm| found.vms.contains(vm));
                    volume.name.starts_with(prefix) || owned
                });
                found.volumes.extend(ours.map(|volume| volume.id));
            }
        }
        if has(Operation::ListNetworks) {
            let all = every(|page| async move { hv.list_networks(&page).await }).await?;
            let ours = all.into_iter().filter(|network| network.name.starts_with(prefix));
            found.networks = ours.map(|network| network.id).collect();
        }
        if has(Operation::ListGroups) {
            let all = every(|page| async move { hv.list_groups(&page).await }).await?;
            let ours = all.into_iter().filter(|group| group.id.as_str().starts_with(prefix));
            found.groups = ours.map(|group| group.id).collect();
        }
        Ok(found)
    }

    /// Removes all of it, and says what would not go.
    pub(crate) async fn remove(&self, hv: &dyn Hypervisor, settings: &Settings) -> Vec<String> {
        let mut failed = Vec::new();
        for vm in self.vms.iter().rev() {
            note(&mut failed, VmId::NOUN, vm.as_str(), remove_vm(hv, settings, vm).await);
        }
        for volume in self.volumes.iter().rev() {
            let done = gone(hv, settings, hv.delete_volume(volume).await).await;
            note(&mut failed, VolumeId::NOUN, volume.as_str(), done);
        }
        for pool in self.pools.iter().rev() {
            let done = gone(hv, settings, hv.delete_pool(pool, &DeletePool::with_content()).await).await;
            note(&mut failed, PoolId::NOUN, pool.as_str(), done);
        }
        for network in self.networks.iter().rev() {
            note(&mut failed, NetworkId::NOUN, network.as_str(), remove_network(hv, settings, network).await);
        }
        for group in self.groups.iter().rev() {
            let done = gone(hv, settings, hv.delete_group(group).await).await;
            note(&mut failed, "group", group.as_str(), done);
        }
        failed
    }

    /// What there is, each as a noun and its id.
    pub(crate) fn describe(&self) -> Vec<String> {
        let vms = self.vms.iter().map(|id| format!("vm `{id}`"));
        let volumes = self.volumes.iter().map(|id| format!("volume `{id}`"));
        let pools = self.pools.iter().map(|id| format!("pool `{id}`"));
        let networks = self.networks.iter().map(|id| format!("network `{id}`"));
        let groups = self.groups.iter().map(|id| format!("group `{id}`"));
        vms.chain(volumes).chain(pools).chain(networks).chain(groups).collect()
    }
}

fn note(failed: &mut Vec<String>, noun: &str, id: &str, done: Result<()>) {
    if let Err(error) = done {
        failed.push(format!("{noun} `{id}` could not be removed: {error}"));
    }
}

/// The end of a delete; that the object is gone already is as good.
pub(crate) async fn gone(
    hv: &dyn Hypervisor,
    settings: &Settings,
    started: Result<Started<()>>,
) -> Result<()> {
    let done = match started {
        Ok(started) => ended(hv, settings, started).await,
        Err(error) => Err(error),
    };
    match done {
        Err(error) if error.is_not_found() => Ok(()),
        other => other,
    }
}

/// Deletes a guest with all that belongs to it, whatever it is doing.
pub(crate) async fn remove_vm(hv: &dyn Hypervisor, settings: &Settings, vm: &VmId) -> Result<()> {
    let options = DeleteVm::with_disks().power_off(true).snapshots(true);
    gone(hv, settings, hv.delete_vm(vm, &options).await).await
}

/// Takes a network down, if it is up, and deletes it.
pub(crate) async fn remove_network(
    hv: &dyn Hypervisor,
    settings: &Settings,
    network: &NetworkId,
) -> Result<()> {
    if hv.capabilities().has(Operation::StopNetwork) {
        // Down already, or gone: the delete that follows tells.
        let _: Result<(), Error> = gone(hv, settings, hv.stop_network(network).await).await;
    }
    gone(hv, settings, hv.delete_network(network).await).await
}

/// Removes everything that a run with these settings has made and not removed, for a run that was interrupted.
/// Returns what would not go.
pub async fn sweep(hypervisor: &dyn Hypervisor, settings: &Settings) -> Vec<String> {
    let mut pools: Vec<PoolId> = settings.pool.iter().cloned().collect();
    if pools.is_empty() && hypervisor.capabilities().has(Operation::ListPools) {
        let query = PoolQuery::all();
        let all = every(|page| {
            let query = &query;
            async move { hypervisor.list_pools(query, &page).await }
        });
        match all.await {
            Ok(all) => pools.extend(all.into_iter().filter(|pool| pool.active).map(|pool| pool.id)),
            Err(error) => return vec![error.to_string()],
        }
    }
    match Found::look(hypervisor, &format!("{}-", settings.prefix), &pools).await {
        Ok(found) => found.remove(hypervisor, settings).await,
        Err(error) => vec![error.to_string()],
    }
}
