//! Storage, as the trait has it.

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt as _;

use super::Memory;
use super::content::Content;
use super::state::{Target, World};
use super::task::Work;
use super::volume::{NewVolume, volume_id};
use crate::error::{Error, Result};
use crate::model::{
    ByteSize, ByteStream, CloneVolume, DeletePool, DownloadVolume, EventKind, Page, PageRequest, PoolId,
    PoolInfo, PoolQuery, PoolSpec, ResizeVolume, Started, UploadVolume, VolumeId, VolumeInfo, VolumeSpec,
    WipeAlgorithm,
};
use crate::operation::Operation;
use crate::traits::Storage;

/// How much of a download one chunk carries.
const CHUNK: u64 = 256 * 1024;

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Storage for Memory {
    async fn list_pools(&self, query: &PoolQuery, page: &PageRequest) -> Result<Page<PoolInfo>> {
        self.call(Operation::ListPools, &[], Ok(()), |world| {
            let all = world.pools.iter().map(|(id, pool)| world.pool_info(id, pool));
            let wanted = all.filter(|pool| query.matches(pool)).collect();
            Ok(world.page(wanted, page, |pool| pool.id.to_string()))
        })
        .await
    }

    async fn get_pool(&self, pool: &PoolId) -> Result<PoolInfo> {
        self.call(Operation::GetPool, &[], Ok(()), |world| Ok(world.pool_info(pool, world.pool(pool)?))).await
    }

    async fn create_pool(&self, spec: &PoolSpec) -> Result<Started<PoolId>> {
        self.call(Operation::CreatePool, &[], spec.validate(), |world| world.create_pool(spec)).await
    }

    async fn delete_pool(&self, pool: &PoolId, options: &DeletePool) -> Result<Started<()>> {
        self.call(Operation::DeletePool, &[], Ok(()), |world| world.delete_pool(pool, options)).await
    }

    async fn list_volumes(&self, pool: &PoolId, page: &PageRequest) -> Result<Page<VolumeInfo>> {
        self.call(Operation::ListVolumes, &[], Ok(()), |world| {
            world.pool(pool)?;
            let users = world.disk_users();
            let inside = world.volumes.iter().filter(|(_, volume)| volume.pool == *pool);
            let infos = inside.map(|(id, volume)| world.volume_info(id, volume, users.get(id))).collect();
            Ok(world.page(infos, page, |volume| volume.id.to_string()))
        })
        .await
    }

    async fn get_volume(&self, volume: &VolumeId) -> Result<VolumeInfo> {
        self.call(Operation::GetVolume, &[], Ok(()), |world| {
            let found = world.volume(volume)?;
            Ok(world.volume_info(volume, found, world.disk_users().get(volume)))
        })
        .await
    }

    async fn create_volume(&self, spec: &VolumeSpec) -> Result<Started<VolumeId>> {
        self.call(Operation::CreateVolume, &spec.needs(), spec.validate(), |world| {
            let new = world.new_volume(spec)?;
            world.make_volume(new).map(Started::done)
        })
        .await
    }

    async fn clone_volume(&self, volume: &VolumeId, spec: &CloneVolume) -> Result<Started<VolumeId>> {
        self.call(Operation::CloneVolume, &[], spec.validate(), |world| world.clone_volume(volume, spec))
            .await
    }

    async fn resize_volume(&self, volume: &VolumeId, options: &ResizeVolume) -> Result<Started<()>> {
        self.call(Operation::ResizeVolume, &options.needs(), options.validate(None), |world| {
            world.volume(volume)?;
            options.validate(Some(world.volume(volume)?.capacity))?;
            world.writable(volume)?;
            world.resize(volume, options).map(Started::done)
        })
        .await
    }

    async fn wipe_volume(&self, volume: &VolumeId, algorithm: WipeAlgorithm) -> Result<Started<()>> {
        self.call(Operation::WipeVolume, &algorithm.needs(), Ok(()), |world| {
            world.writable(volume)?;
            let target = volume.clone();
            let work = Work::new(Operation::WipeVolume, move |world| {
                world.replace(&target, Content::default());
                Ok(())
            });
            let work = work.takes(world.long(), &["overwriting", "flushing"]);
            world.run(work.holds(Target::Volume(volume.clone()), "wipe", false), ())
        })
        .await
    }

    async fn delete_volume(&self, volume: &VolumeId) -> Result<Started<()>> {
        self.call(Operation::DeleteVolume, &[], Ok(()), |world| {
            world.deletable(volume, None)?;
            world.drop_volume(volume);
            Ok(Started::done(()))
        })
        .await
    }

    async fn upload_volume(&self, target: &UploadVolume, content: ByteStream) -> Result<Started<VolumeId>> {
        let length = content.length();
        let prepare = |world: &mut World| world.may_upload(target, length);
        // The fault of the call, if one is planned, strikes at its end: only then can it be before or after the effect.
        self.check(Operation::UploadVolume, &target.needs(), target.validate())?;
        self.delay().await;
        self.shared.look(prepare).map_err(|error| super::named(error, Operation::UploadVolume))?;
        let received =
            receive(content).await.map_err(|error| super::named(error, Operation::UploadVolume))?;
        let store = |world: &mut World| world.upload(target, received, length);
        let stored = self.shared.look(|world| world.carry_out(Operation::UploadVolume, store));
        stored.map_err(|error| super::named(error, Operation::UploadVolume))
    }

    async fn download_volume(&self, volume: &VolumeId, options: &DownloadVolume) -> Result<ByteStream> {
        self.call(Operation::DownloadVolume, &options.needs(), Ok(()), |world| {
            let found = world.readable(volume)?;
            let (start, capacity) = (options.offset.as_bytes(), found.capacity.as_bytes());
            let rest = capacity.checked_sub(start).ok_or_else(|| {
                Error::invalid("offset", format!("{start} lies behind the end at {capacity}"))
            })?;
            let length = options.length.map_or(rest, |length| length.as_bytes().min(rest));
            Ok(stream(found.content.clone(), start, length))
        })
        .await
    }
}

/// A part of a content, read bit by bit.
fn stream(content: Content, start: u64, length: u64) -> ByteStream {
    let chunks = (0..length.div_ceil(CHUNK)).map(move |number| {
        let at = number * CHUNK;
        let size = usize::try_from((length - at).min(CHUNK)).unwrap_or(0);
        Ok(content.read(start + at, size))
    });
    ByteStream::new(length, futures::stream::iter(chunks))
}

/// All that a stream gives; holes stay holes.
async fn receive(content: ByteStream) -> Result<Content> {
    let mut chunks = content.into_chunks();
    let (mut received, mut at) = (Content::default(), 0_u64);
    while let Some(chunk) = chunks.next().await {
        let chunk: Bytes = chunk?;
        received.write(at, &chunk);
        at = at.saturating_add(u64::try_from(chunk.len()).unwrap_or(u64::MAX));
    }
    Ok(received)
}

impl World {
    /// What an export has written at this path.
    pub(super) fn host_file(&self, path: &str) -> Result<ByteStream> {
        let (length, content) = self.host_files.get(path).ok_or_else(|| Error::not_found("file", path))?;
        Ok(stream(content.clone(), 0, *length))
    }

    fn clone_volume(&mut self, id: &VolumeId, spec: &CloneVolume) -> Result<Started<VolumeId>> {
        let source = self.readable(id)?.clone();
        let pool = spec.pool.clone().unwrap_or_else(|| source.pool.clone());
        let mut new = NewVolume::empty(pool, spec.name.clone(), source.capacity);
        new.format = Some(spec.format.clone().unwrap_or_else(|| source.format.clone()));
        new.kind = source.kind.clone();
        new.content = source.content.flat();
        let copy = self.make_volume(new)?;
        let undone = copy.clone();
        let work = Work::new(Operation::CloneVolume, |_| Ok(()))
            .undo(move |world| world.drop_volume(&undone))
            .takes(self.long(), &["allocating", "copying", "flushing"])
            .holds(Target::Volume(id.clone()), "clone", true)
            .holds(Target::Volume(copy.clone()), "clone", false);
        self.run(work, copy)
    }

    /// Passes if so many bytes may be uploaded there.
    fn may_upload(&mut self, target: &UploadVolume, length: u64) -> Result<()> {
        match target {
            UploadVolume::Into(id) => {
                self.writable(id)?;
                let capacity = self.volume(id)?.capacity;
                if length > capacity.as_bytes() {
                    let why = format!("{length} bytes do not fit into the volume's {}", capacity.as_bytes());
                    return Err(Error::invalid("content", why).with_target(VolumeId::NOUN, id));
                }
                Ok(())
            }
            UploadVolume::Create(spec) => {
                let id = volume_id(&spec.pool, &spec.name);
                self.pool(&spec.pool)?;
                if self.volumes.contains_key(&id) {
                    return Err(Error::already_exists(VolumeId::NOUN, &id));
                }
                self.room(&spec.pool, spec.capacity.max(ByteSize::bytes(length)))
            }
        }
    }

    fn upload(&mut self, target: &UploadVolume, received: Content, length: u64) -> Result<Started<VolumeId>> {
        self.may_upload(target, length)?;
        let (id, before) = match target {
            UploadVolume::Into(id) => (id.clone(), Some(self.volume(id)?.content.clone())),
            UploadVolume::Create(spec) => {
                let mut new = self.new_volume(spec)?;
                new.capacity = new.capacity.max(ByteSize::bytes(length));
                (self.make_volume(new)?, None)
            }
        };
        let mut content = self.volume(&id)?.content.clone();
        content.overwrite(&received, length);
        let grown = content.stored().saturating_sub(self.volume(&id)?.content.stored());
        let pool = self.volume(&id)?.pool.clone();
        if let Err(error) = self.room(&pool, ByteSize::bytes(grown)) {
            if before.is_none() {
                self.drop_volume(&id);
            }
            return Err(error);
        }
        self.replace_content(&id, content);
        let undone = id.clone();
        let work = Work::new(Operation::UploadVolume, |_| Ok(()))
            .undo(move |world| match before {
                Some(before) => world.replace_content(&undone, before),
                None => world.drop_volume(&undone),
            })
            .takes(self.long(), &["receiving", "storing"])
            .holds(Target::Volume(id.clone()), "upload", false);
        self.run(work, id)
    }

    fn replace_content(&mut self, id: &VolumeId, content: Content) {
        if let Some(volume) = self.volumes.get_mut(id) {
            volume.content = content;
            self.emit(EventKind::VolumeChanged(id.clone()));
        }
    }

    /// Overwrites the whole content, so that nothing of a backing volume shows any more.
    fn replace(&mut self, id: &VolumeId, content: Content) {
        if let Some(volume) = self.volumes.get_mut(id) {
            volume.backing = None;
        }
        self.replace_content(id, content);
    }
}
