//! Storage pools and volumes.

pub(crate) mod copy;
mod pools;
pub(crate) mod small;
pub(crate) mod stream;
pub(crate) mod uppers;
pub(crate) mod uses;
mod wipe;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use hypervisor_core::model::{
    ByteSize, ByteStream, CloneVolume, DeletePool, DownloadVolume, Page, PageRequest, PoolId, PoolInfo,
    PoolQuery, PoolSpec, ResizeVolume, Started, UploadVolume, VolumeFormat, VolumeId, VolumeInfo, VolumeSpec,
    WipeAlgorithm,
};
use hypervisor_core::traits::Storage;
use hypervisor_core::{Error, ErrorKind, Operation, Result};
use virt::connect::Connect;
use virt::storage_pool::StoragePool;
use virt::storage_vol::StorageVol;
use virt_sys as sys;

use crate::backend::Libvirt;
use crate::blocking::Lane;
use crate::compute::volumes::Made;
use crate::error::{Fail, Outcome, named};
use crate::xml::Element;
use crate::xml::storage as xml;

pub(crate) use pools::usable_pool;
pub(crate) use uses::user_of;

/// How long a copy or a wipe may take: it is a task, and nobody waits for it unless he wants to.
pub(crate) const COPY_LIMIT: Duration = Duration::from_secs(24 * 3600);

/// The pool of this id.
pub(crate) fn find_pool(conn: &Connect, pool: &PoolId) -> Outcome<StoragePool> {
    // A name with a zero byte was not given by us, and cannot be asked for.
    if pool.as_str().contains('\0') {
        return Err(pool.not_found().into());
    }
    StoragePool::lookup_by_name(conn, pool.as_str()).map_err(|error| {
        let fail = Fail::from(error);
        if fail.has_code(sys::VIR_ERR_NO_STORAGE_POOL) { pool.not_found().into() } else { fail }
    })
}

/// The volume of this id, and its pool.
pub(crate) fn find_volume(conn: &Connect, volume: &VolumeId) -> Outcome<(StoragePool, StorageVol)> {
    let (pool, name) = xml::split_volume_id(volume)?;
    // Without its pool there is no such volume.
    let pool = match find_pool(conn, &pool.into()) {
        Err(fail) if fail.kind() == ErrorKind::NotFound => return Err(volume.not_found().into()),
        other => other?,
    };
    if name.contains('\0') {
        return Err(volume.not_found().into());
    }
    let found = StorageVol::lookup_by_name(&pool, name).map_err(|error| {
        let fail = Fail::from(error);
        if fail.has_code(sys::VIR_ERR_NO_STORAGE_VOL) { volume.not_found().into() } else { fail }
    });
    Ok((pool, found?))
}

/// Refuses a name that another volume of the pool has.
pub(crate) fn refuse_taken_volume(pool: &StoragePool, pool_name: &str, name: &str) -> Outcome<()> {
    match StorageVol::lookup_by_name(pool, name) {
        Ok(_) => Err(Error::already_exists(VolumeId::NOUN, xml::volume_id(pool_name, name)).into()),
        Err(error) => match Fail::from(error) {
            fail if fail.has_code(sys::VIR_ERR_NO_STORAGE_VOL) => Ok(()),
            fail => Err(fail),
        },
    }
}

/// Makes a volume: empty, on top of another one, or as a copy, which is then raised to the size asked for.
pub(crate) fn make_volume(
    pool: &StoragePool,
    spec: &VolumeSpec,
    format: Option<&VolumeFormat>,
    backing: Option<&xml::Backing>,
    copy: Option<&StorageVol>,
) -> Outcome<StorageVol> {
    let id = xml::volume_id(spec.pool.as_str(), &spec.name);
    let text = xml::volume(spec, format, backing).to_string();
    let named = |error: virt::error::Error| {
        Fail::Ours(Error::from(Fail::from(error)).with_target(VolumeId::NOUN, &id))
    };
    let Some(original) = copy else {
        // Without the flag a qcow2 volume is written in full where its whole allocation is asked for.
        let metadata = spec.preallocate && format == Some(&VolumeFormat::Qcow2);
        let flags = if metadata { sys::VIR_STORAGE_VOL_CREATE_PREALLOC_METADATA } else { 0 };
        return StorageVol::create_xml(pool, &text, flags).map_err(named);
    };
    let made = StorageVol::create_xml_from(pool, &text, original, 0).map_err(named)?;
    let grown = || -> Outcome<()> {
        if made.get_info()?.capacity < spec.capacity.as_bytes() {
            made.resize(spec.capacity.as_bytes(), 0)?;
        }
        Ok(())
    };
    match grown() {
        Ok(()) => Ok(made),
        Err(fail) => {
            let mut undo = Made::default();
            undo.push(id.clone(), made);
            Err(undo.undo(fail))
        }
    }
}

fn info(pool: &str, volume: &StorageVol) -> Outcome<VolumeInfo> {
    Ok(xml::volume_info(pool, &Element::parse(&volume.get_xml_desc(0)?)?)?)
}

/// Refuses a volume that a guest uses, or that another volume of its pool starts from.
pub(crate) fn refuse_used(conn: &Connect, volume: &StorageVol, id: &VolumeId) -> Outcome<()> {
    let path = volume.get_path()?;
    let why = match user_of(conn, [path.as_str()])? {
        Some(guest) => format!("the guest `{guest}` uses it"),
        None => match upper_of(volume)? {
            Some(upper) => format!("the volume `{upper}` starts from it"),
            None => return Ok(()),
        },
    };
    Err(Error::invalid_state(why).with_target(VolumeId::NOUN, id).into())
}

/// The name of a volume in the same pool that starts from this one's content.
pub(crate) fn upper_of(volume: &StorageVol) -> Outcome<Option<String>> {
    let path = volume.get_path()?;
    for other in StoragePool::lookup_by_volume(volume)?.list_all_volumes(0)? {
        // It may be deleted meanwhile; then it starts from nothing.
        let Ok(text) = other.get_xml_desc(0) else { continue };
        if Element::parse(&text)?.text_at("backingStore/path").as_deref() == Some(path.as_str()) {
            return Ok(Some(other.get_name()?));
        }
    }
    Ok(None)
}

/// Creates an empty volume, or one on top of another.
pub(crate) fn create(conn: &Connect, spec: &VolumeSpec) -> Outcome<StorageVol> {
    let (pool, usual) = usable_pool(conn, spec.pool.as_str())?;
    refuse_taken_volume(&pool, spec.pool.as_str(), &spec.name)?;
    let backing = spec.backing.as_ref().map(|backing| -> Outcome<xml::Backing> {
        let (from, volume) = find_volume(conn, backing)?;
        let format = info(&from.get_name()?, &volume)?.format.unwrap_or(VolumeFormat::Raw);
        Ok(xml::Backing { path: volume.get_path()?, format })
    });
    let backing = backing.transpose()?;
    let format = spec.format.clone().or(usual);
    make_volume(&pool, spec, format.as_ref(), backing.as_ref(), None)
}

#[async_trait]
impl Storage for Libvirt {
    async fn list_pools(&self, query: &PoolQuery, page: &PageRequest) -> Result<Page<PoolInfo>> {
        let all = self.inner.call(Operation::ListPools, pools::list).await?;
        let host = self.inner.host();
        let wanted = query.host.as_ref().is_none_or(|wanted| *wanted == host);
        let wanted = all.into_iter().filter(|pool| wanted && query.matches(pool)).collect();
        Ok(Page::cut(wanted, page, |pool: &PoolInfo| pool.id.to_string()))
    }

    async fn get_pool(&self, pool: &PoolId) -> Result<PoolInfo> {
        let pool = pool.clone();
        self.inner.call(Operation::GetPool, move |conn| pools::info(&find_pool(conn, &pool)?)).await
    }

    async fn create_pool(&self, spec: &PoolSpec) -> Result<Started<PoolId>> {
        let operation = Operation::CreatePool;
        spec.validate().map_err(named(operation))?;
        spec.hosts.iter().try_for_each(|host| self.inner.check_host(Some(host))).map_err(named(operation))?;
        let spec = spec.clone();
        // Bringing a pool up may mount a file system or scan a large directory.
        self.inner.call_slow(operation, move |conn| pools::create(conn, &spec)).await.map(Started::done)
    }

    async fn delete_pool(&self, pool: &PoolId, options: &DeletePool) -> Result<Started<()>> {
        let (pool, options) = (pool.clone(), *options);
        let work = move |conn: &Connect| pools::delete(conn, &pool, options);
        self.inner.call_slow(Operation::DeletePool, work).await.map(Started::done)
    }

    async fn list_volumes(&self, pool: &PoolId, page: &PageRequest) -> Result<Page<VolumeInfo>> {
        let pool = pool.clone();
        let work = move |conn: &Connect| {
            let found = find_pool(conn, &pool)?;
            let volumes = found.list_all_volumes(0)?;
            let infos = volumes.iter().filter_map(|volume| match info(pool.as_str(), volume) {
                // It was deleted between the two calls.
                Err(fail) if fail.has_code(sys::VIR_ERR_NO_STORAGE_VOL) => None,
                other => Some(other),
            });
            infos.collect::<Outcome<Vec<_>>>()
        };
        let all = self.inner.call(Operation::ListVolumes, work).await?;
        Ok(Page::cut(all, page, |volume: &VolumeInfo| volume.id.to_string()))
    }

    async fn get_volume(&self, volume: &VolumeId) -> Result<VolumeInfo> {
        let id = volume.clone();
        let work = move |conn: &Connect| {
            let (pool, volume) = find_volume(conn, &id)?;
            info(&pool.get_name()?, &volume)
        };
        self.inner.call(Operation::GetVolume, work).await
    }

    async fn create_volume(&self, spec: &VolumeSpec) -> Result<Started<VolumeId>> {
        let operation = Operation::CreateVolume;
        spec.validate().map_err(named(operation))?;
        self.inner.require(operation, &spec.needs())?;
        let id = xml::volume_id(spec.pool.as_str(), &spec.name);
        let spec = spec.clone();
        self.inner.call_slow(operation, move |conn| create(conn, &spec).map(drop)).await?;
        self.inner.uppers.forget();
        self.inner.tell_volume(&id);
        Ok(Started::done(id))
    }

    async fn clone_volume(&self, volume: &VolumeId, spec: &CloneVolume) -> Result<Started<VolumeId>> {
        let operation = Operation::CloneVolume;
        spec.validate().map_err(named(operation))?;
        let (original, spec) = (volume.clone(), spec.clone());
        let plan = {
            let (original, spec) = (original.clone(), spec.clone());
            self.inner.call(operation, move |conn| copy_plan(conn, &original, &spec)).await?
        };
        let (plan, size) = plan;
        let id = xml::volume_id(plan.pool.as_str(), &plan.name);
        let (inner, copy) = (Arc::clone(&self.inner), id.clone());
        let made = id.clone();
        let task = self.inner.tasks.spawn_watched(operation, None, |running| async move {
            let copies = Arc::new(copy::Copies::default());
            copies.expect(size);
            let told = Arc::clone(&copies);
            let work = move |conn: &Connect| {
                let (_, volume) = find_volume(conn, &original)?;
                let (pool, usual) = usable_pool(conn, plan.pool.as_str())?;
                let format = plan.format.clone().filter(|_| usual.is_some()).or(usual);
                told.begin(copy.clone(), size)?;
                let made = make_volume(&pool, &plan, format.as_ref(), None, Some(&volume))?;
                told.check().map_err(|fail| {
                    let mut undo = Made::default();
                    undo.push(copy, made);
                    undo.undo(fail)
                })
            };
            let work = inner.run(operation, Lane::Slow, COPY_LIMIT, work);
            copies.watch(&inner, &running, work).await?;
            inner.tell_volume(&made);
            Ok(())
        });
        Ok(Started::running(id, task))
    }

    async fn resize_volume(&self, volume: &VolumeId, options: &ResizeVolume) -> Result<Started<()>> {
        let operation = Operation::ResizeVolume;
        self.inner.require(operation, &options.needs())?;
        options.validate(None).map_err(named(operation))?;
        let (id, options) = (volume.clone(), *options);
        let work = move |conn: &Connect| {
            let (_, volume) = find_volume(conn, &id)?;
            let present = ByteSize::bytes(volume.get_info()?.capacity);
            options.validate(Some(present))?;
            let shrink = options.capacity < present;
            let flags = if shrink { sys::VIR_STORAGE_VOL_RESIZE_SHRINK } else { 0 };
            volume.resize(options.capacity.as_bytes(), flags)?;
            Ok(())
        };
        self.inner.call_slow(operation, work).await?;
        self.inner.tell_volume(volume);
        Ok(Started::done(()))
    }

    async fn wipe_volume(&self, volume: &VolumeId, algorithm: WipeAlgorithm) -> Result<Started<()>> {
        let operation = Operation::WipeVolume;
        self.inner.require(operation, &algorithm.needs())?;
        let task = wipe::wipe(&self.inner, volume, algorithm).await?;
        Ok(Started::running((), task))
    }

    async fn delete_volume(&self, volume: &VolumeId) -> Result<Started<()>> {
        let id = volume.clone();
        let work = move |conn: &Connect| {
            let (_, volume) = find_volume(conn, &id)?;
            refuse_used(conn, &volume, &id)?;
            Ok(volume.delete(0)?)
        };
        self.inner.call(Operation::DeleteVolume, work).await?;
        self.inner.tell_volume(volume);
        Ok(Started::done(()))
    }

    async fn upload_volume(&self, target: &UploadVolume, content: ByteStream) -> Result<Started<VolumeId>> {
        let operation = Operation::UploadVolume;
        target.validate().map_err(named(operation))?;
        self.inner.require(operation, &target.needs())?;
        stream::upload(&self.inner, target.clone(), content).await.map(Started::done)
    }

    async fn download_volume(&self, volume: &VolumeId, options: &DownloadVolume) -> Result<ByteStream> {
        self.inner.require(Operation::DownloadVolume, &options.needs())?;
        stream::download(&self.inner, volume, *options).await
    }
}

/// The volume that a copy will be, and about how many bytes will be written; refused where it cannot be.
fn copy_plan(conn: &Connect, original: &VolumeId, spec: &CloneVolume) -> Outcome<(VolumeSpec, u64)> {
    let (pool, volume) = find_volume(conn, original)?;
    let own = pool.get_name()?;
    let known = info(&own, &volume)?;
    let wanted = spec.pool.as_ref().map_or(own.as_str(), |pool| pool.as_str());
    let (target, _) = usable_pool(conn, wanted)?;
    refuse_taken_volume(&target, wanted, &spec.name)?;
    let mut plan = VolumeSpec::new(wanted, &spec.name, known.capacity);
    plan.format = spec.format.clone().or(known.format);
    Ok((plan, known.allocation.unwrap_or(known.capacity).as_bytes()))
}
