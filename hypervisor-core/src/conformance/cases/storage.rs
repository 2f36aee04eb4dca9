use super::table::area;
use crate::conformance::check::{
    Check, Stop, check, check_eq, names, refused, refused_field, refused_unknown,
};
use crate::conformance::context::{Context, Made};
use crate::conformance::sweep::every;
use crate::error::ErrorKind::{AlreadyExists, InvalidInput, NotFound};
use crate::model::Feature::{ShrinkVolume, VolumeBacking, VolumePreallocation};
use crate::model::{
    ByteSize, CloneVolume, DeletePool, PageRequest, PoolId, PoolKind, PoolQuery, PoolSpec, ResizeVolume,
    VolumeFormat, VolumeId, VolumeSpec,
};
use crate::operation::Operation::{
    CloneVolume as Clone, CreatePool, CreateVolume, DeleteVolume, GetPool, GetVolume, ListPools, ListVolumes,
    ResizeVolume as Resize,
};

area! { "storage":
    pools_are_listed_and_read [ListPools, GetPool];
    an_unknown_pool_is_not_found [GetPool];
    the_volumes_of_an_unknown_pool_are_not_found [ListVolumes];
    a_pool_is_made_and_deleted [CreatePool, GetPool, ListPools] {Directory};
    a_pool_has_its_name_alone [CreatePool] {Directory};
    a_pool_without_a_name_or_place_is_refused [CreatePool];
    a_volume_is_made_and_read [CreateVolume, GetVolume];
    a_volume_is_listed [CreateVolume, ListVolumes];
    volumes_come_in_pages [CreateVolume, ListVolumes];
    a_volume_has_the_format_asked_for [CreateVolume, GetVolume];
    a_deleted_volume_is_gone [CreateVolume, GetVolume, DeleteVolume];
    a_missing_volume_cannot_be_copied [CreateVolume, Clone];
    a_missing_volume_cannot_be_resized [CreateVolume, Resize];
    a_volume_needs_a_pool_that_exists [CreateVolume];
    a_volume_has_its_name_alone [CreateVolume, GetVolume];
    a_volume_of_no_size_is_refused [CreateVolume];
    a_volume_of_a_bad_name_is_refused [CreateVolume];
    a_volume_larger_than_any_pool_is_refused [CreateVolume];
    a_volume_is_copied [CreateVolume, GetVolume, Clone];
    a_volume_grows [CreateVolume, GetVolume, Resize];
    a_volume_does_not_shrink_unasked [CreateVolume, GetVolume, Resize];
    a_volume_shrinks_when_asked [CreateVolume, GetVolume, Resize, ShrinkVolume];
    a_volume_shows_what_it_starts_from [CreateVolume, GetVolume, VolumeBacking];
    a_preallocated_volume_takes_its_space [CreateVolume, GetVolume, VolumePreallocation];
}

async fn pools_are_listed_and_read(cx: &Context) -> Check {
    let pool = cx.pool().await?;
    let query = &PoolQuery::all();
    let all = every(|page| async move { cx.hv.list_pools(query, &page).await }).await?;
    check!(all.iter().any(|each| each.id == pool), "pool `{pool}` is not in the list: {all:?}");
    let info = cx.hv.get_pool(&pool).await?;
    check_eq!("the id", info.id, pool);
    check!(info.active, "pool `{pool}` is not active");
    if let (Some(capacity), Some(available)) = (info.capacity, info.available) {
        check!(available <= capacity, "of {capacity} in all, {available} are said to be left");
    }
    Ok(())
}

async fn an_unknown_pool_is_not_found(cx: &Context) -> Check {
    let unknown = PoolId::from(cx.name("none"));
    refused_unknown("reading an unknown pool", cx.hv.get_pool(&unknown).await, PoolId::NOUN, &unknown)
}

async fn the_volumes_of_an_unknown_pool_are_not_found(cx: &Context) -> Check {
    let unknown = PoolId::from(cx.name("none"));
    let listed = cx.hv.list_volumes(&unknown, &PageRequest::first()).await;
    refused_unknown("listing an unknown pool", listed, PoolId::NOUN, &unknown)
}

fn dir_pool(cx: &Context) -> PoolSpec {
    let directory = cx.settings.directory.as_deref().unwrap_or_default();
    let name = cx.name("pool");
    let path = format!("{directory}/{name}");
    PoolSpec::dir(name, path)
}

async fn create_pool(cx: &Context, spec: &PoolSpec) -> Check<PoolId> {
    let started = cx.hv.create_pool(spec).await?;
    cx.keep(Made::Pool(started.output.clone()));
    Ok(cx.done(Ok(started)).await?)
}

async fn a_pool_is_made_and_deleted(cx: &Context) -> Check {
    let spec = dir_pool(cx);
    let pool = create_pool(cx, &spec).await?;
    let info = cx.hv.get_pool(&pool).await?;
    check!(info.active, "the new pool is not active");
    check_eq!("its kind", info.kind, PoolKind::Dir);
    check_eq!("its path", info.path, spec.target);
    let query = &PoolQuery::all();
    let all = every(|page| async move { cx.hv.list_pools(query, &page).await }).await?;
    check!(all.iter().any(|each| each.id == pool), "pool `{pool}` is not in the list");
    cx.done(cx.hv.delete_pool(&pool, &DeletePool::with_content()).await).await?;
    refused_unknown("reading a deleted pool", cx.hv.get_pool(&pool).await, PoolId::NOUN, &pool)
}

async fn a_pool_has_its_name_alone(cx: &Context) -> Check {
    let spec = dir_pool(cx);
    let pool = create_pool(cx, &spec).await?;
    let other = spec.target(format!("{}-2", dir_pool(cx).target.unwrap_or_default()));
    let again = cx.done(cx.hv.create_pool(&other).await).await;
    let error = refused("creating a pool of a name that is taken", again, AlreadyExists)?;
    names("creating a pool of a name that is taken", &error, PoolId::NOUN, &pool)
}

async fn a_pool_without_a_name_or_place_is_refused(cx: &Context) -> Check {
    let unnamed = cx.hv.create_pool(&PoolSpec::dir("", "/tmp/none")).await;
    refused_field("a pool without a name", unnamed, "name")?;
    let nowhere = cx.hv.create_pool(&PoolSpec::new(cx.name("pool"), PoolKind::Dir)).await;
    refused_field("a directory pool without a path", nowhere, "target")?;
    let relative = cx.hv.create_pool(&PoolSpec::dir(cx.name("pool"), "pool")).await;
    refused_field("a directory pool with a relative path", relative, "target")?;
    cx.nothing_made("a bad pool").await
}

/// Block storage rounds up to its own units.
fn is_about(cx: &Context, found: ByteSize, asked: ByteSize) -> bool {
    found >= asked && found < asked.saturating_add(cx.units(8))
}

async fn a_volume_is_made_and_read(cx: &Context) -> Check {
    let size = cx.units(2);
    let spec = cx.raw_spec("v", size).await?;
    let volume = cx.volume(&spec).await?;
    let info = cx.volume_info(&volume).await?;
    check_eq!("its id", info.id, volume);
    check_eq!("its pool", info.pool, spec.pool);
    check_eq!("its name", info.name, spec.name);
    check!(is_about(cx, info.capacity, size), "its capacity is {} where {size} is expected", info.capacity);
    Ok(())
}

async fn a_volume_is_listed(cx: &Context) -> Check {
    let volume = cx.raw("v", cx.units(1)).await?;
    let listed = cx.volumes().await?;
    let read = listed.iter().find(|each| each.id == volume);
    check!(read.is_some(), "volume `{volume}` is not in the list: {listed:?}");
    Ok(())
}

async fn volumes_come_in_pages(cx: &Context) -> Check {
    let mut made = Vec::new();
    for short in ["v1", "v2", "v3"] {
        made.push(cx.raw(short, cx.units(1)).await?);
    }
    let pool = cx.pool().await?;
    let mut seen: Vec<VolumeId> = Vec::new();
    let mut request = PageRequest::first().limit(2);
    loop {
        let page = cx.hv.list_volumes(&pool, &request).await?;
        check!(page.items.len() <= 2, "a page of at most 2 has {} volumes", page.items.len());
        seen.extend(page.items.into_iter().map(|volume| volume.id));
        match page.next {
            Some(next) => request.cursor = Some(next),
            None => break,
        }
    }
    for volume in made {
        let times = seen.iter().filter(|each| **each == volume).count();
        check_eq!(format!("how often volume `{volume}` is on the pages"), times, 1);
    }
    Ok(())
}

async fn a_volume_has_the_format_asked_for(cx: &Context) -> Check {
    let pool = cx.pool().await?;
    if !cx.has_formats().await? {
        let why = format!("volumes of pool `{pool}` are block devices, which have no format");
        return Err(Stop::skipped(why));
    }
    let spec = VolumeSpec::new(pool, cx.name("v.qcow2"), cx.units(1));
    let volume = cx.volume(&spec.format(VolumeFormat::Qcow2)).await?;
    let info = cx.volume_info(&volume).await?;
    check_eq!("its format", info.format, Some(VolumeFormat::Qcow2));
    check_eq!("its capacity", info.capacity, cx.units(1));
    Ok(())
}

async fn a_deleted_volume_is_gone(cx: &Context) -> Check {
    let gone = cx.missing_volume().await?;
    let read = cx.hv.get_volume(&gone).await;
    refused_unknown("reading a deleted volume", read, VolumeId::NOUN, &gone)?;
    let again = cx.done(cx.hv.delete_volume(&gone).await).await;
    refused_unknown("deleting a volume twice", again, VolumeId::NOUN, &gone)
}

async fn a_missing_volume_cannot_be_copied(cx: &Context) -> Check {
    let gone = cx.missing_volume().await?;
    let copied = cx.done(cx.hv.clone_volume(&gone, &CloneVolume::new(cx.name("copy"))).await).await;
    refused_unknown("copying a missing volume", copied, VolumeId::NOUN, &gone)?;
    cx.nothing_made("a copy of nothing").await
}

async fn a_missing_volume_cannot_be_resized(cx: &Context) -> Check {
    let gone = cx.missing_volume().await?;
    let resized = cx.hv.resize_volume(&gone, &ResizeVolume::grow_to(cx.units(4))).await;
    refused_unknown("resizing a missing volume", cx.done(resized).await, VolumeId::NOUN, &gone)
}

async fn a_volume_needs_a_pool_that_exists(cx: &Context) -> Check {
    let pool = PoolId::from(cx.name("none"));
    let spec = VolumeSpec::new(pool.clone(), cx.name("v"), cx.units(1));
    let made = cx.done(cx.hv.create_volume(&spec).await).await;
    refused_unknown("a volume in an unknown pool", made, PoolId::NOUN, &pool)
}

async fn a_volume_has_its_name_alone(cx: &Context) -> Check {
    let volume = cx.raw("v", cx.units(1)).await?;
    let before = cx.volume_info(&volume).await?.capacity;
    let again = cx.done(cx.hv.create_volume(&cx.raw_spec("v", cx.units(2)).await?).await).await;
    let error = refused("a volume of a name that is taken", again, AlreadyExists)?;
    names("a volume of a name that is taken", &error, VolumeId::NOUN, cx.name("v"))?;
    check_eq!("the capacity of the first", cx.volume_info(&volume).await?.capacity, before);
    Ok(())
}

async fn a_volume_of_no_size_is_refused(cx: &Context) -> Check {
    let empty = cx.hv.create_volume(&cx.raw_spec("v", ByteSize::ZERO).await?).await;
    refused_field("a volume of no size", empty, "capacity")?;
    cx.nothing_made("a volume of no size").await
}

async fn a_volume_of_a_bad_name_is_refused(cx: &Context) -> Check {
    let pool = cx.pool().await?;
    for bad in ["", "--all", "a/b", "../v", "a b"] {
        let made = cx.hv.create_volume(&VolumeSpec::new(pool.clone(), bad, cx.units(1))).await;
        refused_field(&format!("a volume of the name {bad:?}"), made, "name")?;
    }
    Ok(())
}

async fn a_volume_larger_than_any_pool_is_refused(cx: &Context) -> Check {
    // A sparse file may be larger than its file system, but none may have 8 EiB.
    let huge = cx.raw_spec("v", ByteSize::tib(8 << 20)).await?;
    let made = cx.done(cx.hv.create_volume(&huge).await).await;
    check!(made.is_err(), "a volume of 8 EiB is accepted");
    cx.nothing_made("a volume of 8 EiB").await
}

async fn a_volume_is_copied(cx: &Context) -> Check {
    let volume = cx.raw("v", cx.units(2)).await?;
    let started = cx.hv.clone_volume(&volume, &CloneVolume::new(cx.name("copy"))).await?;
    cx.keep(Made::Volume(started.output.clone()));
    let copy = cx.done(Ok(started)).await?;
    let (of, info) = (cx.volume_info(&volume).await?, cx.volume_info(&copy).await?);
    check!(copy != volume, "the copy has the id of the original, `{copy}`");
    check_eq!("the name of the copy", info.name, cx.name("copy"));
    check_eq!("the pool of the copy", info.pool, of.pool);
    check_eq!("the capacity of the copy", info.capacity, of.capacity);
    Ok(())
}

async fn a_volume_grows(cx: &Context) -> Check {
    let volume = cx.raw("v", cx.units(1)).await?;
    let size = large(cx);
    cx.done(cx.hv.resize_volume(&volume, &ResizeVolume::grow_to(size)).await).await?;
    let found = cx.volume_info(&volume).await?.capacity;
    check!(is_about(cx, found, size), "its capacity is {found} where {size} is expected");
    Ok(())
}

/// A size that block storage does not round to the same as a unit, and no more than it takes for that.
fn large(cx: &Context) -> ByteSize {
    let small_units = cx.settings.volume_unit <= ByteSize::mib(1);
    cx.units(if small_units { 16 } else { 2 })
}

async fn a_volume_does_not_shrink_unasked(cx: &Context) -> Check {
    let volume = cx.raw("v", large(cx)).await?;
    let smaller = cx.hv.resize_volume(&volume, &ResizeVolume::grow_to(cx.units(1))).await;
    refused_field("making a volume smaller unasked", smaller, "capacity")?;
    check_eq!("its capacity", cx.volume_info(&volume).await?.capacity, large(cx));
    Ok(())
}

async fn a_volume_shrinks_when_asked(cx: &Context) -> Check {
    let size = ByteSize::bytes(large(cx).as_bytes() / 2);
    let options = ResizeVolume::grow_to(size).allow_shrink(true);
    let mut volume = cx.raw("v", large(cx)).await?;
    let info = cx.volume_info(&volume).await?;
    let mut shrunk = cx.done(cx.hv.resize_volume(&volume, &options).await).await;
    if matches!(&shrunk, Err(error) if error.kind() == InvalidInput) && info.allocation >= Some(info.capacity)
    {
        // Some backends let a raw volume take all of its space at once, and none of that is given back.
        let spec = VolumeSpec::new(cx.pool().await?, cx.name("v.qcow2"), large(cx));
        volume = cx.volume(&spec.format(VolumeFormat::Qcow2)).await?;
        shrunk = cx.done(cx.hv.resize_volume(&volume, &options).await).await;
    }
    shrunk?;
    let found = cx.volume_info(&volume).await?.capacity;
    check!(is_about(cx, found, size), "its capacity is {found} where {size} is expected");
    Ok(())
}

async fn a_volume_shows_what_it_starts_from(cx: &Context) -> Check {
    let base = cx.raw("base", cx.units(1)).await?;
    let spec = VolumeSpec::new(cx.pool().await?, cx.name("top.qcow2"), cx.units(2));
    let top = cx.volume(&spec.format(VolumeFormat::Qcow2).backing(&base)).await?;
    let backing = cx.volume_info(&top).await?.backing.unwrap_or_default();
    check!(backing.ends_with(&cx.name("base")), "it starts from {backing:?}, not from volume `{base}`");
    let missing = cx.missing_volume().await?;
    let spec = VolumeSpec::new(cx.pool().await?, cx.name("lost.qcow2"), cx.units(2));
    let lost = cx.hv.create_volume(&spec.format(VolumeFormat::Qcow2).backing(&missing)).await;
    let error = refused("a volume that starts from a missing one", cx.done(lost).await, NotFound)?;
    names("a volume that starts from a missing one", &error, VolumeId::NOUN, &missing)
}

async fn a_preallocated_volume_takes_its_space(cx: &Context) -> Check {
    let spec = cx.raw_spec("v", cx.units(2)).await?.preallocate(true);
    let volume = cx.volume(&spec).await?;
    let taken = cx.volume_info(&volume).await?.allocation;
    check!(taken >= Some(cx.units(2)), "of {} asked for in advance, {taken:?} are taken", cx.units(2));
    Ok(())
}
