//! Deleting a guest, and its disks where that is asked for.

use std::sync::Arc;

use hypervisor_core::model::{DeleteVm, DiskDevice, DiskId, DiskInfo, DisposeDisks, VmId};
use hypervisor_core::{Error, Operation, Result};
use virt::connect::Connect;
use virt::domain::Domain;
use virt_sys as sys;

use super::volumes::{delete_all, handle_at_path, named};
use super::{Shared, lookup};
use crate::backend::Inner;
use crate::error::{Fail, Outcome};
use crate::snapshots::external::chain;
use crate::storage::user_of;
use crate::xml::device::is_disk;
use crate::xml::snapshot::is_external;
use crate::xml::{Element, guest};

/// Deletes a guest.
pub(super) async fn delete(inner: &Shared, vm: &VmId, options: DeleteVm) -> Result<()> {
    let (own, id) = (Arc::clone(inner), vm.clone());
    let work = move |conn: &Connect| remove(&own, conn, &id, &options).map_err(lookup::named(&id));
    inner.call_slow(Operation::DeleteVm, work).await?;
    inner.forget_facts(vm.as_str());
    Ok(())
}

fn remove(inner: &Inner, conn: &Connect, vm: &VmId, options: &DeleteVm) -> Outcome<()> {
    let domain = lookup::domain(conn, vm)?;
    lookup::check_uid(&domain, vm, options.expected_uid.as_deref())?;
    let definition = Element::parse(&lookup::definition(&domain)?)?;
    let mut disks = guest::plain_disks(&definition);
    for disk in disks.iter_mut().filter(|disk| disk.path.is_none()) {
        let named = disk.volume.as_ref().map(|volume| named(conn, volume)).transpose()?.flatten();
        disk.path = named.and_then(|volume| volume.path);
    }
    let mut paths = doomed(conn, &domain, &definition, &disks, &options.disks)?;
    let active = lookup::is_active(&domain)?;
    if active && !options.power_off {
        return Err(
            Error::invalid_state("it runs; power it off first, or allow the deletion to do so").into()
        );
    }
    let persistent = domain.is_persistent()?;
    let snapshots = domain.list_all_snapshots(0)?;
    if !snapshots.is_empty() && !options.snapshots {
        let why = format!(
            "it has {} snapshots; delete them first, or allow the deletion to do so",
            snapshots.len()
        );
        return Err(Error::invalid_state(why).into());
    }
    if !snapshots.is_empty() {
        let going = disks.iter().filter_map(|disk| Some((disk.id.to_string(), disk.path.clone()?)));
        let going: Vec<_> = going.filter(|(_, path)| paths.contains(path)).collect();
        paths.extend(chain(conn, &domain, &going)?);
    }
    refuse_bases(inner, conn, &domain, &paths)?;
    if active && let Err(error) = domain.destroy() {
        // It may have ended by itself, or by a call before whose answer was lost.
        if !persistent || lookup::is_active(&domain)? {
            return Err(error.into());
        }
    }
    if options.disks != DisposeDisks::Delete {
        // They lie inside disks that stay. Children first: their parents would take them over otherwise.
        for root in snapshots.iter().filter(|snapshot| snapshot.get_parent(0).is_err()) {
            // The files of external ones are what the disks consist of.
            if is_external(&Element::parse(&root.get_xml_desc(0)?)?) {
                continue;
            }
            root.delete(sys::VIR_DOMAIN_SNAPSHOT_DELETE_CHILDREN)?;
        }
    }
    if persistent {
        undefine(&domain, &definition, inner.probe.test)?;
    }
    delete_all(conn, &paths)
}

fn undefine(domain: &Domain, definition: &Element, test: bool) -> Outcome<()> {
    let mut flags = sys::VIR_DOMAIN_UNDEFINE_MANAGED_SAVE | sys::VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA;
    if !test {
        flags |= sys::VIR_DOMAIN_UNDEFINE_CHECKPOINTS_METADATA;
        if definition.path("os/loader").is_some() || definition.attr_at("os", "firmware").is_some() {
            flags |= sys::VIR_DOMAIN_UNDEFINE_NVRAM;
        }
    }
    Ok(domain.undefine_flags(flags)?)
}

/// The paths of the volumes that go with the guest. A disk that is read-only or shareable may be another guest's as well: with all disks it is
/// left out then, and by its slot it is refused.
fn doomed(
    conn: &Connect,
    domain: &Domain,
    definition: &Element,
    disks: &[DiskInfo],
    dispose: &DisposeDisks,
) -> Outcome<Vec<String>> {
    let wanted: Vec<&DiskInfo> = match dispose {
        DisposeDisks::Delete => disks.iter().filter(|disk| disk.device == DiskDevice::Disk).collect(),
        DisposeDisks::Listed(slots) => {
            slots.iter().map(|slot| listed(conn, disks, slot)).collect::<Outcome<_>>()?
        }
        _ => Vec::new(),
    };
    let mut paths = Vec::with_capacity(wanted.len());
    for disk in wanted {
        let Some(path) = &disk.path else { continue };
        let element = definition.all("devices/disk").into_iter().find(|item| is_disk(item, disk.id.as_str()));
        let common =
            element.is_some_and(|item| item.child("readonly").is_some() || item.child("shareable").is_some());
        let other = match common {
            true => user_of(conn, domain.get_uuid().ok(), |used| used == path.as_str())?,
            false => None,
        };
        match other {
            None => paths.push(path.clone()),
            Some(guest) if *dispose == DisposeDisks::Delete => {
                tracing::debug!(disk = %disk.id, guest, "a disk that another guest uses too is kept");
            }
            Some(guest) => {
                let why = format!("the guest `{guest}` uses its disk `{}` too", disk.id);
                return Err(Error::invalid_state(why).into());
            }
        }
    }
    Ok(paths)
}

/// Refuses to delete what the disks of other guests start from: they would have no content any more.
fn refuse_bases(inner: &Inner, conn: &Connect, domain: &Domain, paths: &[String]) -> Outcome<()> {
    for path in paths {
        let Some(volume) = handle_at_path(conn, path)? else { continue };
        let uppers = inner.uppers.of(&volume)?;
        if uppers.is_empty() {
            continue;
        }
        if let Some(guest) = user_of(conn, domain.get_uuid().ok(), |used| uppers.contains(used))? {
            let why = format!("the guest `{guest}` has a disk that starts from its disk at {path}");
            return Err(Error::invalid_state(why).into());
        }
    }
    Ok(())
}

fn listed<'a>(conn: &Connect, disks: &'a [DiskInfo], slot: &DiskId) -> Outcome<&'a DiskInfo> {
    let disk = disks.iter().find(|disk| disk.id == *slot);
    let disk = disk.ok_or_else(|| Error::invalid("disks", format!("it has no disk `{slot}`")))?;
    let volume = disk.path.as_deref().map(|path| handle_at_path(conn, path)).transpose()?.flatten();
    match volume {
        Some(_) => Ok(disk),
        None => Err(Fail::Ours(Error::invalid("disks", format!("no pool knows the disk `{slot}`")))),
    }
}
