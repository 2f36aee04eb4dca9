//! Deleting a guest, and its disks where that is asked for.

use hypervisor_core::model::{DeleteVm, DiskDevice, DiskId, DiskInfo, DisposeDisks, VmId};
use hypervisor_core::{Error, Operation, Result};
use virt::connect::Connect;
use virt::domain::Domain;
use virt_sys as sys;

use super::volumes::{delete_all, handle_at_path};
use super::{Shared, lookup};
use crate::error::{Fail, Outcome};
use crate::snapshots::external::chain;
use crate::xml::snapshot::is_external;
use crate::xml::{Element, guest};

/// Deletes a guest.
pub(super) async fn delete(inner: &Shared, vm: &VmId, options: DeleteVm) -> Result<()> {
    let (id, test) = (vm.clone(), inner.probe.test);
    let work = move |conn: &Connect| remove(conn, &id, &options, test).map_err(lookup::named(&id));
    inner.call_slow(Operation::DeleteVm, work).await?;
    inner.forget_facts(vm.as_str());
    Ok(())
}

fn remove(conn: &Connect, vm: &VmId, options: &DeleteVm, test: bool) -> Outcome<()> {
    let domain = lookup::domain(conn, vm)?;
    lookup::check_uid(&domain, vm, options.expected_uid.as_deref())?;
    let definition = Element::parse(&lookup::definition(&domain)?)?;
    let disks = guest::plain_disks(&definition);
    let mut paths = doomed(conn, &disks, &options.disks)?;
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
        undefine(&domain, &definition, test)?;
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

/// The paths of the volumes that go with the guest.
fn doomed(conn: &Connect, disks: &[DiskInfo], dispose: &DisposeDisks) -> Outcome<Vec<String>> {
    let wanted: Vec<&DiskInfo> = match dispose {
        DisposeDisks::Delete => disks.iter().filter(|disk| disk.device == DiskDevice::Disk).collect(),
        DisposeDisks::Listed(slots) => {
            slots.iter().map(|slot| listed(conn, disks, slot)).collect::<Outcome<_>>()?
        }
        _ => Vec::new(),
    };
    Ok(wanted.into_iter().filter_map(|disk| disk.path.clone()).collect())
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
