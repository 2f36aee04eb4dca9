use async_trait::async_trait;

use super::unsupported;
use crate::error::Result;
use crate::model::{
    ByteStream, CloneVolume, DeletePool, DownloadVolume, Page, PageRequest, PoolId, PoolInfo, PoolQuery,
    PoolSpec, ResizeVolume, Started, UploadVolume, VolumeId, VolumeInfo, VolumeSpec, WipeAlgorithm,
};
use crate::operation::Operation;

/// Storage pools and volumes.
#[async_trait]
pub trait Storage: Send + Sync {
    /// Lists the pools that the query wants.
    async fn list_pools(&self, query: &PoolQuery, page: &PageRequest) -> Result<Page<PoolInfo>> {
        let _ = (query, page);
        unsupported(Operation::ListPools)
    }

    /// Reads one pool.
    async fn get_pool(&self, pool: &PoolId) -> Result<PoolInfo> {
        let _ = pool;
        unsupported(Operation::GetPool)
    }

    /// Creates a pool, and brings it up.
    async fn create_pool(&self, spec: &PoolSpec) -> Result<Started<PoolId>> {
        let _ = spec;
        unsupported(Operation::CreatePool)
    }

    /// Deletes a pool.
    ///
    /// # Errors
    /// `InvalidState` while a guest uses one of its volumes, where the backend can tell.
    async fn delete_pool(&self, pool: &PoolId, options: &DeletePool) -> Result<Started<()>> {
        let _ = (pool, options);
        unsupported(Operation::DeletePool)
    }

    /// Lists a pool's volumes.
    async fn list_volumes(&self, pool: &PoolId, page: &PageRequest) -> Result<Page<VolumeInfo>> {
        let _ = (pool, page);
        unsupported(Operation::ListVolumes)
    }

    /// Reads one volume.
    async fn get_volume(&self, volume: &VolumeId) -> Result<VolumeInfo> {
        let _ = volume;
        unsupported(Operation::GetVolume)
    }

    /// Creates a volume.
    ///
    /// # Errors
    /// `AlreadyExists`, `NotFound` for the pool or backing volume, `Exhausted` where it cannot fit.
    async fn create_volume(&self, spec: &VolumeSpec) -> Result<Started<VolumeId>> {
        let _ = spec;
        unsupported(Operation::CreateVolume)
    }

    /// Copies a volume.
    async fn clone_volume(&self, volume: &VolumeId, spec: &CloneVolume) -> Result<Started<VolumeId>> {
        let _ = (volume, spec);
        unsupported(Operation::CloneVolume)
    }

    /// Changes a volume's size. For a volume that a running guest uses, see [`resize_disk`](super::Compute::resize_disk).
    async fn resize_volume(&self, volume: &VolumeId, options: &ResizeVolume) -> Result<Started<()>> {
        let _ = (volume, options);
        unsupported(Operation::ResizeVolume)
    }

    /// Overwrites a volume's content.
    async fn wipe_volume(&self, volume: &VolumeId, algorithm: WipeAlgorithm) -> Result<Started<()>> {
        let _ = (volume, algorithm);
        unsupported(Operation::WipeVolume)
    }

    /// Deletes a volume.
    ///
    /// # Errors
    /// `InvalidState` while a guest uses it, where the backend can tell.
    async fn delete_volume(&self, volume: &VolumeId) -> Result<Started<()>> {
        let _ = volume;
        unsupported(Operation::DeleteVolume)
    }

    /// Writes a stream of bytes into a volume that exists or is made for it. The stream cannot be read twice, so that no layer repeats the call.
    async fn upload_volume(&self, target: &UploadVolume, content: ByteStream) -> Result<Started<VolumeId>> {
        let _ = (target, content);
        unsupported(Operation::UploadVolume)
    }

    /// Reads a volume, or a part of it, as a stream of bytes of known length: the volume's file as it lies in the pool, headers of
    /// its format included.
    async fn download_volume(&self, volume: &VolumeId, options: &DownloadVolume) -> Result<ByteStream> {
        let _ = (volume, options);
        unsupported(Operation::DownloadVolume)
    }
}
