//! Storages and what is on them.

pub(crate) mod multipart;
mod upload;
mod volume;

use async_trait::async_trait;
use hypervisor_core::model::{
    ByteStream, CloneVolume, DeletePool, DownloadVolume, HostId, Page, PageRequest, PoolId, PoolInfo,
    PoolKind, PoolQuery, PoolSpec, ResizeVolume, Started, UploadVolume, VolumeId, VolumeInfo, VolumeSpec,
    WipeAlgorithm,
};
use hypervisor_core::traits::Storage;
use hypervisor_core::{Error, ErrorKind, Operation, Result};

use crate::api::Call;
use crate::backend::{Inner, Proxmox};
use crate::error::{named, of_host};
use crate::locate::View;
use crate::wire::form::{Form, segment};
use crate::wire::storage as wire;

pub use upload::Checksum;
pub(crate) use volume::{parts, read, remove};

#[async_trait]
impl Storage for Proxmox {
    async fn list_pools(&self, query: &PoolQuery, page: &PageRequest) -> Result<Page<PoolInfo>> {
        list(&self.inner, query, page).await.map_err(named(Operation::ListPools))
    }

    async fn get_pool(&self, pool: &PoolId) -> Result<PoolInfo> {
        get(&self.inner, pool).await.map_err(named(Operation::GetPool))
    }

    async fn create_pool(&self, spec: &PoolSpec) -> Result<Started<PoolId>> {
        spec.validate().map_err(named(Operation::CreatePool))?;
        self.inner.require(Operation::CreatePool, &[])?;
        create(&self.inner, spec).await.map_err(named(Operation::CreatePool))
    }

    async fn delete_pool(&self, pool: &PoolId, options: &DeletePool) -> Result<Started<()>> {
        self.inner.require(Operation::DeletePool, &[])?;
        delete(&self.inner, pool, *options).await.map_err(named(Operation::DeletePool))
    }

    async fn list_volumes(&self, pool: &PoolId, page: &PageRequest) -> Result<Page<VolumeInfo>> {
        volume::list(&self.inner, pool, page).await.map_err(named(Operation::ListVolumes))
    }

    async fn get_volume(&self, volume: &VolumeId) -> Result<VolumeInfo> {
        let found = read(&self.inner, Operation::GetVolume, volume, None).await;
        found.map(|(info, _)| info).map_err(named(Operation::GetVolume))
    }

    async fn create_volume(&self, spec: &VolumeSpec) -> Result<Started<VolumeId>> {
        spec.validate().map_err(named(Operation::CreateVolume))?;
        self.inner.require(Operation::CreateVolume, &spec.needs())?;
        volume::create(&self.inner, spec).await.map_err(named(Operation::CreateVolume))
    }

    async fn clone_volume(&self, _: &VolumeId, _: &CloneVolume) -> Result<Started<VolumeId>> {
        Err(self.inner.refusal(Operation::CloneVolume))
    }

    async fn resize_volume(&self, _: &VolumeId, _: &ResizeVolume) -> Result<Started<()>> {
        Err(self.inner.refusal(Operation::ResizeVolume))
    }

    async fn wipe_volume(&self, _: &VolumeId, _: WipeAlgorithm) -> Result<Started<()>> {
        Err(self.inner.refusal(Operation::WipeVolume))
    }

    async fn delete_volume(&self, volume: &VolumeId) -> Result<Started<()>> {
        self.inner.require(Operation::DeleteVolume, &[])?;
        volume::delete(&self.inner, volume).await.map_err(named(Operation::DeleteVolume))
    }

    async fn upload_volume(&self, target: &UploadVolume, content: ByteStream) -> Result<Started<VolumeId>> {
        target.validate().map_err(named(Operation::UploadVolume))?;
        self.inner.require(Operation::UploadVolume, &target.needs())?;
        upload::upload(&self.inner, target, content, None).await.map_err(named(Operation::UploadVolume))
    }

    async fn download_volume(&self, _: &VolumeId, _: &DownloadVolume) -> Result<ByteStream> {
        Err(self.inner.refusal(Operation::DownloadVolume))
    }
}

/// Whether volumes of a storage can be nothing but raw. LVM without thin pools can be told to keep chains of `qcow2`.
pub(crate) fn has_raw_only(pool: &PoolInfo) -> bool {
    matches!(pool.kind, PoolKind::LvmThin | PoolKind::Zfs | PoolKind::Rbd)
}

/// The storage of a host with the most room for this content; for backups rather one that all hosts share. Where the cluster's list knows of none
/// that is there, as for some seconds after a boot or after a storage was added, the host itself is asked.
pub(crate) async fn roomiest(
    inner: &Inner,
    operation: Operation,
    view: &View,
    host: &HostId,
    content: &str,
) -> Option<PoolId> {
    let best = |pools: &[PoolInfo]| {
        let fits = |pool: &&PoolInfo| {
            let here = pool.hosts.is_empty() || pool.hosts.contains(host);
            // The volumes of a target are there; none can be made.
            let makes = pool.kind != PoolKind::Iscsi;
            pool.active && pool.autostart && here && makes && pool.content.contains(content)
        };
        let fitting = pools.iter().filter(fits);
        let best = fitting.max_by_key(|pool| (content == "backup" && pool.shared, pool.available));
        best.map(|pool| pool.id.clone())
    };
    if let Some(pool) = best(&view.pools) {
        return Some(pool);
    }
    let path = format!("/nodes/{}/storage", segment("host", host.as_str()).ok()?);
    let call = Call::get(path).query(Form::new().text("content", content)).operation(operation);
    let answer = inner.api.bytes(&call).await.ok()?;
    best(&wire::pools(&answer, Some(host.as_str())).ok()?)
}

/// What the server says of a storage that it does not know.
pub(crate) fn of_pool(pool: &PoolId) -> impl Fn(Error) -> Error + use<'_> {
    move |error| {
        let about_it = error.target().is_none_or(|target| target.starts_with(PoolId::NOUN));
        if error.is_not_found() && about_it { crate::error::again(&error, pool.not_found()) } else { error }
    }
}

/// The storages: what is configured, with how full they are. Of one host: what that host sees, in one request.
async fn list(inner: &Inner, query: &PoolQuery, page: &PageRequest) -> Result<Page<PoolInfo>> {
    let operation = Operation::ListPools;
    let key = |pool: &PoolInfo| pool.id.to_string();
    if let Some(host) = &query.host {
        let path = format!("/nodes/{}/storage", segment("host", host.as_str())?);
        let call = Call::get(path).query(content_of(query)).operation(operation);
        let answer = inner.api.bytes(&call).await.map_err(of_host(host))?;
        let pools = wire::pools(&answer, Some(host.as_str()))?;
        return Ok(Page::cut(pools.into_iter().filter(|pool| query.matches(pool)).collect(), page, key));
    }
    let call = Call::get("/storage").operation(operation);
    let (configured, view) = futures::join!(inner.api.bytes(&call), inner.view(operation));
    let (configured, view) = (wire::pools(&configured?, None)?, view?);
    let pools = configured.into_iter().map(|pool| with_usage(pool, |name| view.pool(name)));
    let wanted = pools.filter(|pool| query.matches(pool)).collect();
    Ok(Page::cut(wanted, page, key).with_unreachable(view.unreachable.clone()))
}

fn content_of(query: &PoolQuery) -> Form {
    Form::new().maybe("content", query.content.clone())
}

/// The configuration says what a storage is, the hosts how full it is and whether it is there.
fn with_usage<'a>(mut pool: PoolInfo, seen: impl Fn(&str) -> Option<&'a PoolInfo>) -> PoolInfo {
    let Some(seen) = seen(pool.id.as_str()) else { return pool };
    pool.active = seen.active;
    pool.capacity = seen.capacity;
    pool.used = seen.used;
    pool.available = seen.available;
    if pool.hosts.is_empty() {
        pool.hosts.clone_from(&seen.hosts);
    }
    pool
}

async fn get(inner: &Inner, pool: &PoolId) -> Result<PoolInfo> {
    let operation = Operation::GetPool;
    let name = segment("pool", pool.as_str())?;
    let call = Call::get(format!("/storage/{name}")).operation(operation);
    let configured = inner.api.bytes(&call).await.map_err(of_pool(pool))?;
    let info = wire::pool(&configured, pool.as_str(), None)?.ok_or_else(|| pool.not_found())?;
    let host = match host_of(inner, operation, &info).await {
        Ok(host) => host,
        // What is configured can be told even if no host answers.
        Err(_) => return Ok(inactive(info)),
    };
    let path = format!("/nodes/{}/storage/{name}/status", segment("host", host.as_str())?);
    let status = match inner.api.bytes(&Call::get(path).operation(operation)).await {
        Ok(status) => wire::pool(&status, pool.as_str(), Some(host.as_str()))?,
        Err(error) if error.kind() == ErrorKind::PermissionDenied => return Err(error),
        // A storage that is switched off or broken has no status.
        Err(_) => return Ok(inactive(info)),
    };
    Ok(with_usage(info, |_| status.as_ref()))
}

fn inactive(mut pool: PoolInfo) -> PoolInfo {
    pool.active = false;
    pool
}

/// A host that has this storage and answers.
async fn host_of(inner: &Inner, operation: Operation, pool: &PoolInfo) -> Result<HostId> {
    let view = inner.recent_view(operation).await?;
    let has = |host: &&HostId| pool.hosts.is_empty() || pool.hosts.contains(host);
    let preferred =
        inner.config.host.as_ref().filter(|host| has(host) && view.online().any(|online| online == *host));
    let host = preferred.or_else(|| view.online().find(has)).cloned();
    host.ok_or_else(|| {
        Error::new(ErrorKind::HostUnreachable, "no host that has the storage is online")
            .with_target(PoolId::NOUN, &pool.id)
    })
}

async fn create(inner: &Inner, spec: &PoolSpec) -> Result<Started<PoolId>> {
    let pool = PoolId::from(spec.name.as_str());
    let call = Call::post("/storage", wire::create_pool(spec)?).operation(Operation::CreatePool);
    inner.api.bytes(&call).await.map_err(|error| match error.kind() {
        ErrorKind::AlreadyExists => crate::error::again(&error, Error::already_exists(PoolId::NOUN, &pool)),
        _ => error,
    })?;
    Ok(Started::done(pool))
}

/// Forgets a storage. Its content goes first where that is asked for; the directory or volume group stays.
async fn delete(inner: &Inner, pool: &PoolId, options: DeletePool) -> Result<Started<()>> {
    let operation = Operation::DeletePool;
    let path = format!("/storage/{}", segment("pool", pool.as_str())?);
    let mut gone = 0_usize;
    let work = async {
        if options.content {
            for (volume, host) in volume::all(inner, operation, pool).await? {
                let task = remove(inner, operation, &volume.id, &host).await?;
                gone += 1;
                if let Some(task) = task {
                    inner.wait(&task).await?;
                }
            }
        }
        let call = Call::delete(path, Form::new()).operation(operation);
        inner.api.bytes(&call).await.map_err(of_pool(pool))
    };
    let done = work.await;
    done.map_err(|error| if gone > 0 { error.after_part() } else { error })?;
    Ok(Started::done(()))
}
