//! Pools.

use hypervisor_core::model::{DeletePool, PoolId, PoolInfo, PoolKind, PoolSpec, VolumeFormat};
use hypervisor_core::{Effect, Error};
use virt::connect::Connect;
use virt::storage_pool::StoragePool;
use virt_sys as sys;

use super::find_pool;
use super::uses::user_of;
use crate::error::{Fail, Outcome};
use crate::xml::Element;
use crate::xml::storage as xml;

/// What is known of a pool.
pub(super) fn info(pool: &StoragePool) -> Outcome<PoolInfo> {
    let definition = Element::parse(&pool.get_xml_desc(0)?)?;
    Ok(xml::pool_info(&definition, pool.is_active()?, pool.get_autostart()?)?)
}

/// All pools.
pub(super) fn list(conn: &Connect) -> Outcome<Vec<PoolInfo>> {
    let pools = match conn.list_all_storage_pools(0) {
        Ok(pools) => pools,
        Err(error) => match Fail::from(error) {
            // A driver without storage has no pools.
            fail if fail.is_unsupported() => return Ok(Vec::new()),
            fail => return Err(fail),
        },
    };
    let infos = pools.iter().filter_map(|pool| match info(pool) {
        // It was deleted between the two calls.
        Err(fail) if fail.has_code(sys::VIR_ERR_NO_STORAGE_POOL) => None,
        other => Some(other),
    });
    infos.collect()
}

/// A pool in which volumes are to be made, and the format that they usually have there.
pub(crate) fn usable_pool(conn: &Connect, name: &str) -> Outcome<(StoragePool, Option<VolumeFormat>)> {
    let pool = find_pool(conn, &name.into())?;
    if !pool.is_active()? {
        return Err(Error::invalid_state("it is not active").with_target(PoolId::NOUN, name).into());
    }
    let definition = Element::parse(&pool.get_xml_desc(0)?)?;
    let usual = xml::usual_format(definition.attr("type").unwrap_or_default());
    Ok((pool, usual))
}

/// Creates a pool and brings it up. What fails leaves no definition behind.
pub(super) fn create(conn: &Connect, spec: &PoolSpec) -> Outcome<PoolId> {
    let id = PoolId::from(spec.name.as_str());
    let definition = xml::pool(spec)?.to_string();
    match find_pool(conn, &id) {
        Ok(_) => return Err(Error::already_exists(PoolId::NOUN, &id).into()),
        Err(fail) if fail.kind() == hypervisor_core::ErrorKind::NotFound => {}
        Err(fail) => return Err(fail),
    }
    let named = |fail: Fail| Fail::Ours(Error::from(fail).with_target(PoolId::NOUN, &id));
    let pool = StoragePool::define_xml(conn, &definition, 0).map_err(|error| named(error.into()))?;
    let bring_up = || -> Outcome<()> {
        // Makes the directory or mount point. Formatting a device is left to its owner.
        if matches!(spec.kind, PoolKind::Dir | PoolKind::NetFs) {
            pool.build(sys::VIR_STORAGE_POOL_BUILD_NEW)?;
        }
        pool.create(0)?;
        if spec.autostart {
            pool.set_autostart(true)?;
        }
        Ok(())
    };
    match bring_up() {
        Ok(()) => Ok(id),
        Err(fail) => {
            if pool.is_active().unwrap_or_default() {
                drop(pool.destroy());
            }
            let fail = named(fail);
            match pool.undefine() {
                Ok(()) => Err(fail),
                Err(left) => {
                    let error = Error::from(fail).with_effect(Effect::Partial);
                    let hint = format!("Its definition could not be removed: {}", left.message());
                    Err(error.with_hint(hint).into())
                }
            }
        }
    }
}

/// Deletes a pool, and its content where that is asked for.
pub(super) fn delete(conn: &Connect, id: &PoolId, options: DeletePool) -> Outcome<()> {
    let pool = find_pool(conn, id)?;
    let active = pool.is_active()?;
    if active {
        let volumes = pool.list_all_volumes(0)?;
        let paths = volumes.iter().map(|volume| volume.get_path().map_err(Fail::from));
        let paths = paths.collect::<Outcome<Vec<_>>>()?;
        if let Some(guest) = user_of(conn, paths.iter().map(String::as_str))? {
            let error = Error::invalid_state(format!("the guest `{guest}` uses one of its volumes"));
            return Err(error.with_target(PoolId::NOUN, id).into());
        }
        if options.content {
            for volume in &volumes {
                volume.delete(0)?;
            }
        }
        pool.destroy()?;
    } else if options.content {
        let error = Error::invalid_state("it is not active, so that its content cannot be deleted");
        return Err(error.with_target(PoolId::NOUN, id).into());
    }
    if options.content {
        // Removes the directory, which is empty now. Some kinds of pools have none.
        if let Err(error) = pool.delete(0) {
            tracing::debug!(pool = %id, %error, "the place of a deleted pool stays");
        }
    }
    // A transient pool vanishes with its end.
    match pool.undefine() {
        Ok(()) => Ok(()),
        Err(error) => match Fail::from(error) {
            fail if fail.has_code(sys::VIR_ERR_NO_STORAGE_POOL) => Ok(()),
            fail => Err(fail),
        },
    }
}
