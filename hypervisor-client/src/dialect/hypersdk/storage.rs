//! Pools and volumes.

use async_trait::async_trait;
use futures::{StreamExt as _, stream};
use hypervisor_core::model::{
    ByteSize, CloneVolume, Page, PageRequest, PoolId, PoolInfo, PoolQuery, ResizeVolume, Started,
    VolumeFormat, VolumeId, VolumeInfo, VolumeSpec, WipeAlgorithm,
};
use hypervisor_core::traits::Storage;
use hypervisor_core::{Error, ErrorKind, Operation as O, Result};

use super::wire::{LibvirtVolume, NewVolume, volume_id};
use super::{AT_ONCE, HyperSdk, named, names};

/// What the daemon counts volumes in.
pub(super) const UNIT: ByteSize = ByteSize::gib(1);

#[async_trait]
impl Storage for HyperSdk {
    async fn list_pools(&self, query: &PoolQuery, page: &PageRequest) -> Result<Page<PoolInfo>> {
        let pools = self.api.pools().await.map_err(named(O::ListPools))?;
        let pools = pools
            .into_iter()
            .map(super::wire::StoragePool::info)
            .filter(|pool| query.matches(pool))
            .collect();
        Ok(Page::cut(pools, page, |pool: &PoolInfo| pool.id.to_string()))
    }

    async fn get_pool(&self, pool: &PoolId) -> Result<PoolInfo> {
        let found = self.pool(pool).await.map_err(named(O::GetPool))?;
        found.ok_or_else(|| named(O::GetPool)(pool.not_found()))
    }

    async fn list_volumes(&self, pool: &PoolId, page: &PageRequest) -> Result<Page<VolumeInfo>> {
        self.volumes(pool, page).await.map_err(named(O::ListVolumes))
    }

    async fn get_volume(&self, volume: &VolumeId) -> Result<VolumeInfo> {
        self.volume(volume).await.map_err(named(O::GetVolume))
    }

    /// The daemon counts in GiB: the capacity is rounded up to whole ones. A raw volume takes all of its space at once, a qcow2 one none in
    /// advance.
    async fn create_volume(&self, spec: &VolumeSpec) -> Result<Started<VolumeId>> {
        spec.validate()?;
        self.require(O::CreateVolume, &spec.needs())?;
        let work = async {
            if spec.vm.is_some() {
                return Err(Error::invalid("vm", "libvirt's volumes belong to no machine"));
            }
            let volume = NewVolume::new(spec.pool.as_str(), &spec.name, spec.capacity.div_ceil(UNIT))
                .format(spec.format.as_ref().map_or("qcow2", VolumeFormat::as_str));
            self.api.create_volume(&volume).await?;
            Ok(volume_id(spec.pool.as_str(), &spec.name))
        };
        work.await.map_err(named(O::CreateVolume)).map(Started::done)
    }

    /// The copy is in the pool and of the format of the original: others are `InvalidInput`.
    async fn clone_volume(&self, volume: &VolumeId, spec: &CloneVolume) -> Result<Started<VolumeId>> {
        spec.validate()?;
        let work = async {
            let (pool, name) = names::volume(volume)?;
            if spec.pool.as_ref().is_some_and(|wanted| wanted.as_str() != pool) {
                return Err(Error::invalid("pool", "hypervisord copies volumes within their pool only"));
            }
            if let Some(format) = &spec.format
                && self.volume(volume).await?.format.as_ref() != Some(format)
            {
                return Err(Error::invalid("format", "hypervisord copies volumes in their own format only"));
            }
            let copy = volume_id(pool, &spec.name);
            let copied = self.api.clone_volume(pool, name, &spec.name).await;
            copied.map_err(|error| match error.kind() {
                ErrorKind::AlreadyExists => about(&error, &copy),
                _ => error,
            })?;
            Ok(copy)
        };
        work.await.map_err(named(O::CloneVolume)).map(Started::done)
    }

    /// The daemon counts in GiB: the capacity is rounded up to whole ones. Below what it takes already libvirt lets no raw volume shrink:
    /// `InvalidInput`.
    async fn resize_volume(&self, volume: &VolumeId, options: &ResizeVolume) -> Result<Started<()>> {
        let work = async {
            options.validate(None)?;
            let present = self.volume(volume).await?;
            // From a TiB on the daemon does not tell the size.
            options.validate((present.capacity > ByteSize::ZERO).then_some(present.capacity))?;
            let (pool, name) = names::volume(volume)?;
            let gib = options.capacity.div_ceil(UNIT);
            let resized = self.api.resize_volume(pool, name, gib, options.allow_shrink).await;
            resized.map_err(|error| match error.kind() {
                ErrorKind::InvalidInput if error.fields().is_empty() => {
                    let why = error.message().to_owned();
                    error.with_field("capacity", why)
                }
                _ => error,
            })
        };
        work.await.map_err(named(O::ResizeVolume)).map(Started::done)
    }

    async fn wipe_volume(&self, volume: &VolumeId, algorithm: WipeAlgorithm) -> Result<Started<()>> {
        let work = async {
            let (pool, name) = names::volume(volume)?;
            self.api.wipe_volume(pool, name, algorithm).await
        };
        work.await.map_err(named(O::WipeVolume)).map(Started::done)
    }

    /// The daemon cannot tell whether a guest uses it.
    async fn delete_volume(&self, volume: &VolumeId) -> Result<Started<()>> {
        let work = async {
            let (pool, name) = names::volume(volume)?;
            self.api.delete_volume(pool, name).await
        };
        work.await.map_err(named(O::DeleteVolume)).map(Started::done)
    }
}

fn about(error: &Error, volume: &VolumeId) -> Error {
    let again = Error::new(error.kind(), error.message()).with_target(VolumeId::NOUN, volume);
    error.code().into_iter().fold(again, Error::with_code)
}

impl HyperSdk {
    async fn pool(&self, pool: &PoolId) -> Result<Option<PoolInfo>> {
        let pools = self.api.pools().await?;
        Ok(pools.into_iter().find(|each| each.name == pool.as_str()).map(super::wire::StoragePool::info))
    }

    async fn volume(&self, volume: &VolumeId) -> Result<VolumeInfo> {
        let (pool, name) = names::volume(volume)?;
        Ok(self.api.volume(pool, name).await?.info(pool))
    }

    async fn volumes(&self, pool: &PoolId, page: &PageRequest) -> Result<Page<VolumeInfo>> {
        names::check("pool", pool.as_str())?;
        let listed = match self.api.volumes(Some(pool.as_str())).await {
            Ok(listed) => listed,
            // `virsh` only says that it failed.
            Err(error) if error.kind() == ErrorKind::Backend => {
                return Err(match self.pool(pool).await? {
                    None => pool.not_found(),
                    Some(found) if !found.active => {
                        Error::invalid_state("the pool is not active").with_target(PoolId::NOUN, pool)
                    }
                    Some(_) => error,
                });
            }
            Err(error) => return Err(error),
        };
        let Page { items, next, total, .. } = Page::cut(listed, page, |volume| volume.name.clone());
        let details: Vec<Result<Option<VolumeInfo>>> =
            stream::iter(items).map(|volume| self.listed(pool, volume)).buffered(AT_ONCE).collect().await;
        let items = details.into_iter().filter_map(Result::transpose).collect::<Result<Vec<_>>>()?;
        let page = Page::new(items, next);
        Ok(total.into_iter().fold(page, Page::with_total))
    }

    /// A volume of a list in full; none if it is gone meanwhile. One whose name the daemon's list has cut at a space (there is no path behind
    /// it then), or that cannot be asked for by it, stays as the list has it.
    async fn listed(&self, pool: &PoolId, volume: LibvirtVolume) -> Result<Option<VolumeInfo>> {
        match self.api.volume(pool.as_str(), &volume.name).await {
            Ok(found) => Ok(Some(found.info(pool.as_str()))),
            Err(error) if error.is_not_found() && volume.path.starts_with('/') => Ok(None),
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::InvalidInput) => {
                Ok(Some(volume.info(pool.as_str())))
            }
            Err(error) => Err(error),
        }
    }
}
