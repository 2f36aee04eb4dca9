//! Storage pools and volumes, as current servers list them.

use async_trait::async_trait;
use hypervisor_core::http::Request;
use hypervisor_core::model::{Page, PageRequest, PoolId, PoolInfo, PoolQuery, Started, VolumeId, VolumeInfo};
use hypervisor_core::traits::Storage;
use hypervisor_core::{Operation, Result};

use super::api::About;
use super::backend::Virtumancer;
use super::compute::named;
use super::wire::{Attachment, Listed, Place, PoolRow, VolumePlace, VolumeRow};

impl Virtumancer {
    async fn pool(&self, pool: &PoolId, place: &Place) -> Result<PoolInfo> {
        let request = self.inner.api.request(Operation::GetPool, &[("host", &place.host)])?;
        let about = About::Other(PoolId::NOUN, pool.to_string());
        let rows: Listed<PoolRow> = self.inner.api.json(request, &about).await?;
        let found = rows.into_vec().into_iter().find(|row| row.name == place.name);
        found.map(|row| row.to_info(&place.host)).ok_or_else(|| pool.not_found())
    }

    /// The volumes of one pool.
    async fn volumes(&self, pool: &Place, about: &About) -> Result<Vec<VolumeRow>> {
        let request = self.inner.api.request(Operation::ListVolumes, &[("host", &pool.host)])?;
        let rows: Listed<VolumeRow> = self.inner.api.json(request, about).await?;
        let mut rows = rows.into_vec();
        rows.retain(|row| row.pool_name.as_deref() == Some(&pool.name));
        Ok(rows)
    }

    /// The disks that tell how large volumes are, where one of these volumes does not tell it itself.
    async fn sizes(&self, volumes: &[VolumeRow]) -> Result<Vec<Attachment>> {
        if !volumes.iter().any(VolumeRow::is_unsized) {
            return Ok(Vec::new());
        }
        let request = Request::get(self.path("/storage/disk-attachments", &[])?);
        let disks: Listed<Attachment> = self.inner.api.json(request, &About::Nothing).await?;
        Ok(disks.into_vec())
    }

    async fn volume(&self, volume: &VolumeId) -> Result<(VolumeRow, VolumePlace)> {
        let place = VolumePlace::of(volume)?;
        let about = About::Other(VolumeId::NOUN, volume.to_string());
        let rows = self.volumes(&place.pool, &about).await?;
        let found = rows.into_iter().find(|row| row.name == place.name);
        found.map(|row| (row, place)).ok_or_else(|| volume.not_found())
    }
}

#[async_trait]
impl Storage for Virtumancer {
    async fn list_pools(&self, query: &PoolQuery, page: &PageRequest) -> Result<Page<PoolInfo>> {
        let operation = Operation::ListPools;
        self.require(operation, &[])?;
        let request = self.inner.api.request(operation, &[])?;
        let rows: Listed<PoolRow> =
            self.inner.api.json(request, &About::Nothing).await.map_err(named(operation))?;
        let all = rows.into_vec();
        let all = all.iter().map(|row| row.to_info(row.host_id.as_deref().unwrap_or_default()));
        let all = all.filter(|pool| query.matches(pool)).collect();
        Ok(Page::cut(all, page, |pool: &PoolInfo| pool.id.to_string()))
    }

    async fn get_pool(&self, pool: &PoolId) -> Result<PoolInfo> {
        let operation = Operation::GetPool;
        self.require(operation, &[])?;
        let place = Place::pool(pool).map_err(named(operation))?;
        self.pool(pool, &place).await.map_err(named(operation))
    }

    async fn list_volumes(&self, pool: &PoolId, page: &PageRequest) -> Result<Page<VolumeInfo>> {
        let operation = Operation::ListVolumes;
        self.require(operation, &[])?;
        let listing = async {
            let place = Place::pool(pool)?;
            let about = About::Other(PoolId::NOUN, pool.to_string());
            let rows = self.volumes(&place, &about).await?;
            if rows.is_empty() {
                // A pool that does not exist has no volumes either.
                self.pool(pool, &place).await?;
            }
            let sizes = self.sizes(&rows).await?;
            Ok(rows.iter().map(|row| row.to_info(&place, &sizes)).collect())
        };
        let all: Vec<VolumeInfo> = listing.await.map_err(named(operation))?;
        Ok(Page::cut(all, page, |volume: &VolumeInfo| volume.id.to_string()))
    }

    async fn get_volume(&self, volume: &VolumeId) -> Result<VolumeInfo> {
        let operation = Operation::GetVolume;
        self.require(operation, &[])?;
        let reading = async {
            let (row, place) = self.volume(volume).await?;
            let sizes = self.sizes(std::slice::from_ref(&row)).await?;
            Ok(row.to_info(&place.pool, &sizes))
        };
        reading.await.map_err(named(operation))
    }

    async fn delete_volume(&self, volume: &VolumeId) -> Result<Started<()>> {
        let operation = Operation::DeleteVolume;
        self.require(operation, &[])?;
        let deleting = async {
            let (row, _) = self.volume(volume).await?;
            let request = self.inner.api.request(operation, &[("volume", &row.id)])?;
            self.inner.api.done(request, &About::Other(VolumeId::NOUN, volume.to_string())).await
        };
        deleting.await.map_err(named(operation))?;
        Ok(Started::done(()))
    }
}
