//! Deleting a guest, and its disks where that is asked for.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use hypervisor_core::model::{DeleteVm, DiskDevice, DiskId, DiskInfo, DisposeDisks, VmId};
use hypervisor_core::{Error, Operation, Result};
use virt::connect::Connect;
use virt::domain::Domain;
use virt_sys as sys;

use super::volumes::{delete_all, handle_at_path, located};
use super::{Shared, lookup};
use crate::backend::Inner;
use crate::error::{Fail, Outcome};
use crate::snapshots::external::chain;
use crate::storage::uses::Uses;
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
    let disks = guest::plain_disks(&definition).into_iter().map(|disk| located(conn, disk));
    let disks = disks.collect::<Outcome<Vec<_>>>()?;
    let mut paths = doomed(inner, conn, &domain, &disks, &options.disks)?;
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

/// The paths of the volumes that go with the guest. A disk may be another guest's as well, whether the definitions say so or not: with all
/// disks it is left out then, and by its slot it is refused.
fn doomed(
    inner: &Inner,
    conn: &Connect,
    domain: &Domain,
    disks: &[DiskInfo],
    dispose: &DisposeDisks,
) -> Outcome<Vec<String>> {
    let own = domain.get_uuid().ok();
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
        match inner.users.ask(conn, |uses| uses.find(own, [path.as_str()]))? {
            None => paths.push(path.clone()),
            Some((_, guest)) if *dispose == DisposeDisks::Delete => {
                tracing::debug!(disk = %disk.id, guest, "a disk that another guest uses too is kept");
            }
            Some((_, guest)) => {
                let why = format!("the guest `{guest}` uses its disk `{}` too", disk.id);
                return Err(Error::invalid_state(why).into());
            }
        }
    }
    Ok(paths)
}

/// Refuses to delete what other guests use, or what their disks start from: they would have no content any more.
fn refuse_bases(inner: &Inner, conn: &Connect, domain: &Domain, paths: &[String]) -> Outcome<()> {
    let own = domain.get_uuid()?;
    let mut folders: BTreeMap<String, HashSet<&str>> = BTreeMap::new();
    for path in paths {
        let Some(volume) = handle_at_path(conn, path)? else { continue };
        let uppers = inner.uppers.of(&volume)?;
        // With snapshots go files that no definition names as a disk of this guest.
        let all = || uppers.iter().chain([path]).map(String::as_str);
        if let Some((used, guest)) = inner.users.ask(conn, |uses| uses.find(Some(own), all()))? {
            let what = if used == *path { "uses" } else { "has a disk that starts from" };
            let why = format!("the guest `{guest}` {what} its disk at {path}");
            return Err(Error::invalid_state(why).into());
        }
        let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
        folders.entry(folder.to_owned()).or_default().insert(path);
    }
    for (folder, bases) in folders {
        let above = |uses: &Uses| uses.above(conn, own, &folder, &bases);
        if let Some((path, guest)) = inner.users.ask(conn, above)? {
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
