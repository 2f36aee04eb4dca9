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
    ///
    /// Needs [`Operation::ListPools`]; a read: repeated where its answer is lost. Proxmox: storages, with the hosts that see
    /// them.
    ///
    /// # Errors
    /// As the backend gives them.
    async fn list_pools(&self, query: &PoolQuery, page: &PageRequest) -> Result<Page<PoolInfo>> {
        let _ = (query, page);
        unsupported(Operation::ListPools)
    }

    /// Reads one pool.
    ///
    /// Needs [`Operation::GetPool`]; a read: repeated where its answer is lost.
    ///
    /// # Errors
    /// `NotFound`.
    async fn get_pool(&self, pool: &PoolId) -> Result<PoolInfo> {
        let _ = pool;
        unsupported(Operation::GetPool)
    }

    /// Creates a pool, and brings it up.
    ///
    /// Needs [`Operation::CreatePool`]; a create: not repeated where its answer is lost. libvirt: the directory is made where it
    /// is missing.
    ///
    /// # Errors
    /// `AlreadyExists`, `InvalidInput` for a kind or target that this backend does not take.
    async fn create_pool(&self, spec: &PoolSpec) -> Result<Started<PoolId>> {
        let _ = spec;
        unsupported(Operation::CreatePool)
    }

    /// Deletes a pool.
    ///
    /// Needs [`Operation::DeletePool`]; twice is the same as once: repeated where its answer is lost. Proxmox: the storage is
    /// forgotten; its directory or volume group stays.
    ///
    /// # Errors
    /// `InvalidState` while a guest uses one of its volumes, where the backend can tell.
    async fn delete_pool(&self, pool: &PoolId, options: &DeletePool) -> Result<Started<()>> {
        let _ = (pool, options);
        unsupported(Operation::DeletePool)
    }

    /// Lists a pool's volumes.
    ///
    /// Needs [`Operation::ListVolumes`]; a read: repeated where its answer is lost. Proxmox: also CD images, archives and
    /// backups, told apart by `content`.
    ///
    /// # Errors
    /// `NotFound` for the pool.
    async fn list_volumes(&self, pool: &PoolId, page: &PageRequest) -> Result<Page<VolumeInfo>> {
        let _ = (pool, page);
        unsupported(Operation::ListVolumes)
    }

    /// Reads one volume.
    ///
    /// Needs [`Operation::GetVolume`]; a read: repeated where its answer is lost.
    ///
    /// # Errors
    /// `NotFound`.
    async fn get_volume(&self, volume: &VolumeId) -> Result<VolumeInfo> {
        let _ = volume;
        unsupported(Operation::GetVolume)
    }

    /// Creates a volume.
    ///
    /// Needs [`Operation::CreateVolume`], and where asked for [`VolumeBacking`](crate::model::Feature::VolumeBacking) or
    /// [`VolumePreallocation`](crate::model::Feature::VolumePreallocation); a create: not repeated where its answer is lost.
    /// Proxmox wants the guest that it is for, and puts its number into the name.
    ///
    /// # Errors
    /// `AlreadyExists`, `NotFound` for the pool or backing volume, `Exhausted` where it cannot fit.
    async fn create_volume(&self, spec: &VolumeSpec) -> Result<Started<VolumeId>> {
        let _ = spec;
        unsupported(Operation::CreateVolume)
    }

    /// Copies a volume.
    ///
    /// Needs [`Operation::CloneVolume`]; a create: not repeated where its answer is lost.
    ///
    /// # Errors
    /// `AlreadyExists`, `NotFound` for the volume or pool, `Exhausted`.
    async fn clone_volume(&self, volume: &VolumeId, spec: &CloneVolume) -> Result<Started<VolumeId>> {
        let _ = (volume, spec);
        unsupported(Operation::CloneVolume)
    }

    /// Changes a volume's size. For a volume that a running guest uses, see [`resize_disk`](super::Compute::resize_disk).
    ///
    /// Needs [`Operation::ResizeVolume`], and where asked for [`ShrinkVolume`](crate::model::Feature::ShrinkVolume); twice is the
    /// same as once: repeated where its answer is lost.
    ///
    /// # Errors
    /// `InvalidInput` if it would become smaller, unless the options allow that; `InvalidState` while a guest uses it,
    /// `Exhausted`.
    async fn resize_volume(&self, volume: &VolumeId, options: &ResizeVolume) -> Result<Started<()>> {
        let _ = (volume, options);
        unsupported(Operation::ResizeVolume)
    }

    /// Overwrites a volume's content.
    ///
    /// Needs [`Operation::WipeVolume`], and where asked for [`WipeAlgorithms`](crate::model::Feature::WipeAlgorithms); twice is
    /// the same as once: repeated where its answer is lost. libvirt: all but zeroes takes `scrub` on the host.
    ///
    /// # Errors
    /// `InvalidState` while a guest uses it.
    async fn wipe_volume(&self, volume: &VolumeId, algorithm: WipeAlgorithm) -> Result<Started<()>> {
        let _ = (volume, algorithm);
        unsupported(Operation::WipeVolume)
    }

    /// Deletes a volume.
    ///
    /// Needs [`Operation::DeleteVolume`]; twice is the same as once: repeated where its answer is lost.
    ///
    /// # Errors
    /// `InvalidState` while a guest uses it, where the backend can tell.
    async fn delete_volume(&self, volume: &VolumeId) -> Result<Started<()>> {
        let _ = volume;
        unsupported(Operation::DeleteVolume)
    }

    /// Writes a stream of bytes into a volume that exists or is made for it. The stream cannot be read twice, so that no layer repeats the call.
    ///
    /// Needs [`Operation::UploadVolume`], and where asked for [`UploadCreates`](crate::model::Feature::UploadCreates); an action:
    /// not repeated where its answer is lost. Proxmox: CD images, container templates and disks to import, as new volumes;
    /// libvirt: into any volume.
    ///
    /// # Errors
    /// `Exhausted` where it does not fit, `Transport` where the stream is shorter or longer than it said.
    async fn upload_volume(&self, target: &UploadVolume, content: ByteStream) -> Result<Started<VolumeId>> {
        let _ = (target, content);
        unsupported(Operation::UploadVolume)
    }

    /// Reads a volume, or a part of it, as a stream of bytes of known length: the volume's file as it lies in the pool, headers of
    /// its format included.
    ///
    /// Needs [`Operation::DownloadVolume`], and where asked for [`DownloadRange`](crate::model::Feature::DownloadRange); a read:
    /// repeated where its answer is lost.
    ///
    /// # Errors
    /// `NotFound` for the volume.
    async fn download_volume(&self, volume: &VolumeId, options: &DownloadVolume) -> Result<ByteStream> {
        let _ = (volume, options);
        unsupported(Operation::DownloadVolume)
    }
}
