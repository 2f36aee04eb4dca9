use std::sync::Arc;

use futures::FutureExt;
use futures::stream::BoxStream;

use super::link::Link;
use super::listing::{Listing, Pages, lists};
use super::settle::Settle;
use super::task::Task;
use crate::error::{ErrorKind, Result};
use crate::model::{
    ByteStream, CloneVolume, DeletePool, DownloadVolume, Page, PageRequest, PoolId, PoolInfo, PoolQuery,
    PoolSpec, ResizeVolume, Unreachable, UploadVolume, VolumeId, VolumeInfo, VolumeSpec, WipeAlgorithm,
};
use crate::operation::Operation;
use crate::traits::Hypervisor;

/// All storage pools.
#[derive(Debug, Clone)]
pub struct Pools {
    link: Link,
}

/// One storage pool.
#[derive(Debug, Clone)]
pub struct Pool {
    link: Link,
    id: PoolId,
}

/// All volumes of the backend.
///
/// ```
/// # use std::sync::Arc;
/// use hypervisor_core::Hypervisor;
/// use hypervisor_core::memory::Memory;
/// use hypervisor_core::model::{ByteSize, ByteStream, DiskSpec, DownloadVolume, ResizeVolume, UploadVolume, VolumeSpec};
/// # tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap().block_on(async {
/// let hv: Arc<dyn Hypervisor> = Arc::new(Memory::new());
/// // A stream of known length goes in, and comes out again; nothing has to fit into memory.
/// let image = VolumeSpec::new("default", "motd.img", ByteSize::kib(4));
/// let content = ByteStream::from_bytes("welcome");
/// let volume = hv.volumes().upload(&UploadVolume::Create(image), content).await?.await?;
/// volume.resize(&ResizeVolume::grow_to(ByteSize::mib(1))).await?.await?;
/// let start = DownloadVolume::all().length(ByteSize::bytes(7));
/// assert_eq!(volume.download(&start).await?.collect(100).await?, "welcome");
/// assert_eq!(hv.pool("default").volumes().await?.len(), 1);
/// let copy = DiskSpec::copy_of(&volume);
/// # let _ = copy;
/// volume.delete().await?.await?;
/// # Ok::<(), hypervisor_core::Error>(()) }).unwrap();
/// ```
#[derive(Debug, Clone)]
pub struct Volumes {
    link: Link,
}

/// One volume.
#[derive(Debug, Clone)]
pub struct Volume {
    link: Link,
    id: VolumeId,
}

impl dyn Hypervisor {
    /// The storage pools.
    #[must_use]
    pub fn pools(self: &Arc<Self>) -> Pools {
        Pools { link: Link::new(self) }
    }

    /// One storage pool by its id. Nothing is asked yet.
    #[must_use]
    pub fn pool(self: &Arc<Self>, id: impl Into<PoolId>) -> Pool {
        let id = id.into();
        Pool { link: Link::to(self, PoolId::NOUN, id.as_str()), id }
    }

    /// The volumes of all pools; those of one are `pool(id).volumes()`.
    #[must_use]
    pub fn volumes(self: &Arc<Self>) -> Volumes {
        Volumes { link: Link::new(self) }
    }

    /// One volume by its id. Nothing is asked yet.
    #[must_use]
    pub fn volume(self: &Arc<Self>, id: impl Into<VolumeId>) -> Volume {
        let id = id.into();
        Volume { link: Link::to(self, VolumeId::NOUN, id.as_str()), id }
    }
}

impl Pools {
    lists!("pools that the query wants": PoolInfo, ListPools, list_pools, query: PoolQuery);

    /// Creates a pool, and brings it up.
    ///
    /// # Errors
    /// As [`create_pool`](crate::Storage::create_pool).
    pub async fn create(&self, spec: &PoolSpec) -> Result<Task<Pool>> {
        let link = self.link.at(PoolId::NOUN, &spec.name);
        let settle = |id: &PoolId| Settle::PoolThere(id.clone());
        let task = link.start(Operation::CreatePool, &[], self.link.hv.create_pool(spec), settle).await?;
        let hv = Arc::clone(&self.link.hv);
        Ok(task.map(move |id| hv.pool(id)))
    }
}

impl Pool {
    /// Its id.
    #[must_use]
    pub fn id(&self) -> &PoolId {
        &self.id
    }

    /// Reads it.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn info(&self) -> Result<PoolInfo> {
        self.link.call(Operation::GetPool, &[], self.link.hv.get_pool(&self.id)).await
    }

    /// Its volumes.
    ///
    /// # Errors
    /// `NotFound` for the pool.
    pub async fn volumes(&self) -> Result<Listing<VolumeInfo>> {
        self.pages().all().await
    }

    /// Its volumes, one after the other.
    #[must_use]
    pub fn stream_volumes(&self) -> BoxStream<'static, Result<VolumeInfo>> {
        self.pages().stream()
    }

    fn pages(&self) -> Pages<VolumeInfo> {
        let pool = self.id.clone();
        Pages::new(&self.link, Operation::ListVolumes, move |link, page| {
            let pool = pool.clone();
            async move { link.hv.list_volumes(&pool, &page).await }.boxed()
        })
    }

    /// Deletes it.
    ///
    /// # Errors
    /// `InvalidState` while a guest uses one of its volumes, where the backend can tell.
    pub async fn delete(&self, options: &DeletePool) -> Result<Task<()>> {
        let call = self.link.hv.delete_pool(&self.id, options);
        self.link.start(Operation::DeletePool, &[], call, |()| Settle::PoolGone(self.id.clone())).await
    }
}

impl Volumes {
    /// The volumes of all pools that are up, one list for each pool.
    ///
    /// # Errors
    /// As the backend gives them.
    pub async fn all(&self) -> Result<Listing<VolumeInfo>> {
        let pools = self.link.hv.pools().all(&PoolQuery::all()).await?;
        let mut all = Listing { items: Vec::new(), unreachable: pools.unreachable };
        for pool in pools.items.into_iter().filter(|pool| pool.active) {
            match self.link.hv.pool(&pool.id).volumes().await {
                Ok(part) => {
                    all.items.extend(part.items);
                    all.miss(part.unreachable);
                }
                // It was deleted a moment ago.
                Err(error) if error.is_not_found() => {}
                Err(error) if error.kind() == ErrorKind::HostUnreachable && !pool.hosts.is_empty() => {
                    let why = format!("pool `{}`: {}", pool.id, error.message());
                    all.miss(pool.hosts.into_iter().map(|host| Unreachable::new(host, why.as_str())));
                }
                Err(error) => return Err(error),
            }
        }
        Ok(all)
    }

    /// Creates a volume.
    ///
    /// # Errors
    /// `AlreadyExists`, `NotFound` for the pool, `Exhausted`.
    pub async fn create(&self, spec: &VolumeSpec) -> Result<Task<Volume>> {
        let link = self.link.at(VolumeId::NOUN, &spec.name);
        let call = self.link.hv.create_volume(spec);
        let settle = |id: &VolumeId| Settle::VolumeThere(id.clone());
        Ok(made(&self.link, link.start(Operation::CreateVolume, &spec.needs(), call, settle).await?))
    }

    /// Writes a stream of bytes into a volume that exists or is made for it.
    ///
    /// # Errors
    /// As [`upload_volume`](crate::Storage::upload_volume). The stream cannot be read twice: nothing repeats the call.
    pub async fn upload(&self, target: &UploadVolume, content: ByteStream) -> Result<Task<Volume>> {
        let call = self.link.hv.upload_volume(target, content);
        let task =
            self.link.start(Operation::UploadVolume, &target.needs(), call, |_| Settle::Unknowable).await?;
        Ok(made(&self.link, task))
    }
}

impl Volume {
    /// Its id.
    #[must_use]
    pub fn id(&self) -> &VolumeId {
        &self.id
    }

    /// Reads it.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn info(&self) -> Result<VolumeInfo> {
        self.link.call(Operation::GetVolume, &[], self.link.hv.get_volume(&self.id)).await
    }

    /// Copies it.
    ///
    /// # Errors
    /// `AlreadyExists`, `Exhausted`.
    pub async fn clone_as(&self, spec: &CloneVolume) -> Result<Task<Volume>> {
        let call = self.link.hv.clone_volume(&self.id, spec);
        // A volume that exists may be half copied.
        Ok(made(
            &self.link,
            self.link.start(Operation::CloneVolume, &[], call, |_| Settle::Unknowable).await?,
        ))
    }

    /// Changes its size.
    ///
    /// # Errors
    /// `InvalidInput` if it would become smaller, unless the options allow that.
    pub async fn resize(&self, options: &ResizeVolume) -> Result<Task<()>> {
        let call = self.link.hv.resize_volume(&self.id, options);
        let settle = |(): &()| Settle::VolumeSize(self.id.clone(), options.capacity);
        self.link.start(Operation::ResizeVolume, &options.needs(), call, settle).await
    }

    /// Overwrites its content.
    ///
    /// # Errors
    /// As [`wipe_volume`](crate::Storage::wipe_volume).
    pub async fn wipe(&self, algorithm: WipeAlgorithm) -> Result<Task<()>> {
        let call = self.link.hv.wipe_volume(&self.id, algorithm);
        self.link.start(Operation::WipeVolume, &algorithm.needs(), call, |()| Settle::Unknowable).await
    }

    /// Deletes it.
    ///
    /// # Errors
    /// `InvalidState` while a guest uses it, where the backend can tell.
    pub async fn delete(&self) -> Result<Task<()>> {
        let call = self.link.hv.delete_volume(&self.id);
        self.link.start(Operation::DeleteVolume, &[], call, |()| Settle::VolumeGone(self.id.clone())).await
    }

    /// Reads it, or a part of it, as a stream of bytes of known length.
    ///
    /// # Errors
    /// As [`download_volume`](crate::Storage::download_volume).
    pub async fn download(&self, options: &DownloadVolume) -> Result<ByteStream> {
        let call = self.link.hv.download_volume(&self.id, options);
        self.link.call(Operation::DownloadVolume, &options.needs(), call).await
    }
}

fn made(link: &Link, task: Task<VolumeId>) -> Task<Volume> {
    let hv = Arc::clone(&link.hv);
    task.map(move |id| hv.volume(id))
}

impl From<&Volume> for VolumeId {
    fn from(volume: &Volume) -> Self {
        volume.id.clone()
    }
}

impl From<&Pool> for PoolId {
    fn from(pool: &Pool) -> Self {
        pool.id.clone()
    }
}

impl From<Volume> for VolumeId {
    fn from(volume: Volume) -> Self {
        volume.id
    }
}

impl From<Pool> for PoolId {
    fn from(pool: Pool) -> Self {
        pool.id
    }
}
