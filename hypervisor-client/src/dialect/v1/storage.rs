//! Storage pools and volumes.

use async_trait::async_trait;
use hypervisor_core::model::{
    ByteStream, CloneVolume, DeletePool, DownloadVolume, Page, PageRequest, PoolId, PoolInfo, PoolQuery,
    PoolSpec, ResizeVolume, Started, UploadVolume, VolumeId, VolumeInfo, VolumeSpec, WipeAlgorithm,
};
use hypervisor_core::{Operation as O, Result, Storage};

use super::V1;
use super::call::{about, body, json};
use super::wire::envelope::key;
use super::wire::pool::{self, PoolRecord};

#[async_trait]
impl Storage for V1 {
    async fn list_pools(&self, query: &PoolQuery, page: &PageRequest) -> Result<Page<PoolInfo>> {
        if self.native {
            let request = self.request(O::ListPools, &[])?;
            let all = *query == PoolQuery::all();
            let request = if all { request } else { request.query("query", json("query", query)?) };
            return self.link.native_page(request, page).await;
        }
        let mut found = self.records::<PoolRecord>(O::ListPools, page).await?.map(|pool| pool.to_info());
        found.items.retain(|pool| query.matches(pool));
        Ok(found)
    }

    async fn get_pool(&self, pool: &PoolId) -> Result<PoolInfo> {
        if self.native {
            let request = self.request(O::GetPool, &[pool.as_str()])?;
            return self.link.info::<key::Pool, _>(request).await.map_err(about(PoolId::NOUN, pool));
        }
        let found = self.find(O::ListPools, |record: &PoolRecord| record.id == pool.as_str()).await?;
        let found = found.ok_or_else(|| pool.not_found().with_operation(O::GetPool))?;
        Ok(found.to_info())
    }

    /// The document names the route and shows no body: `{name, type, path, …}` is written after what it says of pools elsewhere, and no
    /// server is known that could confirm it. An extended gateway takes the spec as it is.
    async fn create_pool(&self, spec: &PoolSpec) -> Result<Started<PoolId>> {
        spec.validate()?;
        self.needs(O::CreatePool, &[])?;
        let request = self.request(O::CreatePool, &[])?;
        if self.native {
            let request = request.json(&body("spec", spec)?);
            return self.link.started(request).await.map_err(about(PoolId::NOUN, &spec.name));
        }
        let made = self.make(request.json(&pool::create_body(spec)?), &["pool", "storage"]).await;
        Ok(made.map_err(about(PoolId::NOUN, &spec.name))?.map(PoolId::from))
    }

    async fn delete_pool(&self, pool: &PoolId, options: &DeletePool) -> Result<Started<()>> {
        self.needs(O::DeletePool, &[])?;
        let request =
            self.request(O::DeletePool, &[pool.as_str()])?.query("options", json("options", options)?);
        self.link.started(request).await.map_err(about(PoolId::NOUN, pool))
    }

    async fn list_volumes(&self, pool: &PoolId, page: &PageRequest) -> Result<Page<VolumeInfo>> {
        self.needs(O::ListVolumes, &[])?;
        let request = self.request(O::ListVolumes, &[pool.as_str()])?;
        self.link.native_page(request, page).await.map_err(about(PoolId::NOUN, pool))
    }

    async fn get_volume(&self, volume: &VolumeId) -> Result<VolumeInfo> {
        self.needs(O::GetVolume, &[])?;
        let request = self.request(O::GetVolume, &[volume.as_str()])?;
        self.link.info::<key::Volume, _>(request).await.map_err(about(VolumeId::NOUN, volume))
    }

    async fn create_volume(&self, spec: &VolumeSpec) -> Result<Started<VolumeId>> {
        self.needs(O::CreateVolume, &spec.needs())?;
        spec.validate()?;
        let request = self.request(O::CreateVolume, &[])?.json(&body("spec", spec)?);
        self.link.started(request).await.map_err(about(VolumeId::NOUN, &spec.name))
    }

    async fn clone_volume(&self, volume: &VolumeId, spec: &CloneVolume) -> Result<Started<VolumeId>> {
        self.needs(O::CloneVolume, &[])?;
        spec.validate()?;
        let request = self.request(O::CloneVolume, &[volume.as_str()])?.json(&body("spec", spec)?);
        self.link.started(request).await.map_err(about(VolumeId::NOUN, volume))
    }

    async fn resize_volume(&self, volume: &VolumeId, options: &ResizeVolume) -> Result<Started<()>> {
        self.needs(O::ResizeVolume, &options.needs())?;
        options.validate(None)?;
        let request = self.request(O::ResizeVolume, &[volume.as_str()])?.json(&body("options", options)?);
        self.link.started(request).await.map_err(about(VolumeId::NOUN, volume))
    }

    async fn wipe_volume(&self, volume: &VolumeId, algorithm: WipeAlgorithm) -> Result<Started<()>> {
        self.needs(O::WipeVolume, &algorithm.needs())?;
        let request = self.request(O::WipeVolume, &[volume.as_str()])?.json(&body("algorithm", &algorithm)?);
        self.link.started(request).await.map_err(about(VolumeId::NOUN, volume))
    }

    async fn delete_volume(&self, volume: &VolumeId) -> Result<Started<()>> {
        self.needs(O::DeleteVolume, &[])?;
        let request = self.request(O::DeleteVolume, &[volume.as_str()])?;
        self.link.started(request).await.map_err(about(VolumeId::NOUN, volume))
    }

    async fn upload_volume(&self, target: &UploadVolume, content: ByteStream) -> Result<Started<VolumeId>> {
        self.needs(O::UploadVolume, &target.needs())?;
        target.validate()?;
        let request = self.request(O::UploadVolume, &[])?.query("target", json("target", target)?);
        let name = match target {
            UploadVolume::Into(volume) => volume.as_str(),
            UploadVolume::Create(spec) => spec.name.as_str(),
            _ => "",
        };
        let request = request.stream("application/octet-stream", content);
        self.link.started(request).await.map_err(about(VolumeId::NOUN, name))
    }

    async fn download_volume(&self, volume: &VolumeId, options: &DownloadVolume) -> Result<ByteStream> {
        self.needs(O::DownloadVolume, &options.needs())?;
        let request = self.request(O::DownloadVolume, &[volume.as_str()])?;
        let request = request.query("options", json("options", options)?);
        self.link.download(request).await.map_err(about(VolumeId::NOUN, volume))
    }
}
