//! External snapshots: from now on the guest writes into files on top of those that it had.

use std::collections::{BTreeMap, BTreeSet};

use hypervisor_core::Error;
use hypervisor_core::model::{ByteSize, SnapshotSpec, VmId, VolumeFormat, VolumeSpec};
use virt::connect::Connect;
use virt::domain::Domain;
use virt::domain_snapshot::DomainSnapshot;
use virt::storage_pool::StoragePool;
use virt_sys as sys;

use crate::compute::clone::{is_copied, refuse_uncopied};
use crate::compute::volumes::{Made, capacity, delete_all, handle_at_path, resolve};
use crate::compute::{halted, lookup};
use crate::error::{Fail, Outcome};
use crate::storage::{make_volume, refuse_taken_volume, usable_pool};
use crate::xml::Element;
use crate::xml::device::source_path;
use crate::xml::snapshot::{Overlay, external, is_external, memory_file, overlays};
use crate::xml::storage::{Backing, volume_id};

/// The snapshots of a guest by their kind.
pub(super) struct Kinds {
    pub(super) internal: bool,
    pub(super) external: bool,
}

impl Kinds {
    pub(super) fn of(domain: &Domain) -> Outcome<Self> {
        let mut kinds = Self { internal: false, external: false };
        for snapshot in domain.list_all_snapshots(0)? {
            match snapshot.get_xml_desc(0) {
                Ok(text) if is_external(&Element::parse(&text)?) => kinds.external = true,
                Ok(_) => kinds.internal = true,
                // It was deleted between the two calls.
                Err(error) => match Fail::from(error) {
                    fail if fail.has_code(sys::VIR_ERR_NO_DOMAIN_SNAPSHOT) => {}
                    fail => return Err(fail),
                },
            }
        }
        Ok(kinds)
    }
}

/// Takes one. The files are made as volumes first, so that their pools know them.
pub(super) fn take(
    conn: &Connect,
    domain: &Domain,
    vm: &VmId,
    spec: &SnapshotSpec,
    with_memory: bool,
) -> Outcome<()> {
    let active = lookup::is_active(domain)?;
    if spec.quiesce && !active {
        let error = Error::invalid_state("it does not run, so that there is nothing to freeze");
        return Err(error.with_target(VmId::NOUN, vm).into());
    }
    let mut definition = if active { lookup::live(domain)? } else { lookup::whole_definition(domain)? };
    resolve(conn, &mut definition)?;
    let name = domain.get_name()?;
    let mut made = Made::default();
    let mut attempt = || -> Outcome<()> {
        refuse_uncopied(&definition, vm)?;
        let (mut wanted, mut others) = (Vec::new(), Vec::new());
        for disk in definition.all("devices/disk") {
            let Some(slot) = disk.attr_at("target", "dev") else { continue };
            if is_copied(disk) {
                wanted.push(overlay(conn, domain, vm, disk, slot, &name, spec, &mut made)?);
            } else {
                others.push(slot.to_owned());
            }
        }
        if wanted.is_empty() {
            let error = Error::invalid_state("it has no disk that a snapshot could be taken of");
            return Err(error.with_target(VmId::NOUN, vm).into());
        }
        let mut flags = sys::VIR_DOMAIN_SNAPSHOT_CREATE_ATOMIC | sys::VIR_DOMAIN_SNAPSHOT_CREATE_REUSE_EXT;
        // The guest goes on while its memory is written.
        flags |= match with_memory {
            true => sys::VIR_DOMAIN_SNAPSHOT_CREATE_LIVE,
            false => sys::VIR_DOMAIN_SNAPSHOT_CREATE_DISK_ONLY,
        };
        if spec.quiesce {
            flags |= sys::VIR_DOMAIN_SNAPSHOT_CREATE_QUIESCE;
        }
        let memory = if with_memory { Some(memory(conn, &name, spec, &mut made)?) } else { None };
        let text = external(spec, memory.as_deref(), &wanted, &others).to_string();
        super::untracked(domain, || Ok(DomainSnapshot::create_xml(domain, &text, flags).map(drop)?))
            .map_err(lookup::named(vm))
    };
    attempt().map_err(|fail| made.undo(fail))
}

/// Makes the file that the memory goes into, beside the first disk's. libvirt writes it anew.
fn memory(conn: &Connect, name: &str, spec: &SnapshotSpec, made: &mut Made) -> Outcome<String> {
    let pool = made.first_pool().unwrap_or_default();
    let (handle, _) = usable_pool(conn, &pool)?;
    let file = format!("{name}.{}.mem", spec.name);
    refuse_taken_volume(&handle, &pool, &file)?;
    let wanted = VolumeSpec::new(pool.as_str(), &file, ByteSize::bytes(1));
    let volume = make_volume(&handle, &wanted, Some(&VolumeFormat::Raw), None, None)?;
    let path = volume.get_path();
    made.push(volume_id(&pool, &file), volume);
    Ok(path?)
}

#[allow(clippy::too_many_arguments, reason = "one step of `take`, which holds all of it")]
fn overlay(
    conn: &Connect,
    domain: &Domain,
    vm: &VmId,
    disk: &Element,
    slot: &str,
    name: &str,
    spec: &SnapshotSpec,
    made: &mut Made,
) -> Outcome<Overlay> {
    let refused = |why: String| Fail::Ours(Error::invalid_state(why).with_target(VmId::NOUN, vm));
    let path = source_path(disk).unwrap_or_default();
    let volume = handle_at_path(conn, &path)?;
    let volume = volume.ok_or_else(|| refused(format!("its disk `{slot}` at {path} lies in no pool")))?;
    let pool = StoragePool::lookup_by_volume(&volume)?.get_name()?;
    let (handle, files) = usable_pool(conn, &pool)?;
    if files.is_none() {
        return Err(refused(format!(
            "its disk `{slot}` lies in pool `{pool}`, which cannot hold qcow2 files"
        )));
    }
    let file = format!("{name}-{slot}.{}.qcow2", spec.name);
    refuse_taken_volume(&handle, &pool, &file)?;
    let capacity = ByteSize::bytes(capacity(domain, slot, Some(&volume))?);
    let format = VolumeFormat::parse(disk.attr_at("driver", "type").unwrap_or("raw"));
    let backing = Backing { path, format };
    let wanted = VolumeSpec::new(pool.as_str(), &file, capacity);
    let volume = make_volume(&handle, &wanted, Some(&VolumeFormat::Qcow2), Some(&backing), None)?;
    let path = volume.get_path();
    made.push(volume_id(&pool, &file), volume);
    Ok(Overlay { slot: slot.to_owned(), path: path? })
}

/// Deletes one, by merging its files into those below; with those taken on top of it where that is asked for.
///
/// libvirt merges files of running guests only, so that a stopped one is brought up with its CPUs halted meanwhile.
pub(super) fn delete(conn: &Connect, vm: &VmId, snapshot: &DomainSnapshot, children: bool) -> Outcome<()> {
    let domain = lookup::domain(conn, vm)?;
    let pools = pools(conn, &domain)?;
    let halted = !lookup::is_active(&domain)?;
    if halted {
        halted::bring_up(&domain)?;
    }
    let memory = memory_files(snapshot, children)?;
    let outcome = super::untracked(&domain, || merge(snapshot, children));
    let calmed = if halted { halted::take_down(&domain) } else { Ok(()) };
    // libvirt removes the files itself, behind the pools' backs; not that of the memory.
    for pool in pools.values() {
        if let Err(error) = pool.refresh(0) {
            tracing::debug!(%error, "a pool still lists the files of a deleted snapshot");
        }
    }
    outcome.and_then(|()| delete_all(conn, &memory)).map_err(lookup::named(vm)).and(calmed)
}

/// The files that the memory lies in of a snapshot, and of those taken on top of it where these count.
fn memory_files(snapshot: &DomainSnapshot, children: bool) -> Outcome<Vec<String>> {
    let mut all = vec![snapshot.get_xml_desc(0)?];
    if children {
        for child in snapshot.list_all_children(sys::VIR_DOMAIN_SNAPSHOT_LIST_DESCENDANTS)? {
            all.push(child.get_xml_desc(0)?);
        }
    }
    let files = all.iter().map(|text| Ok(memory_file(&Element::parse(text)?)));
    Ok(files.collect::<Outcome<Vec<_>>>()?.into_iter().flatten().collect())
}

fn merge(snapshot: &DomainSnapshot, children: bool) -> Outcome<()> {
    if children {
        // libvirt deletes no external one with its children at once.
        for child in snapshot.list_all_children(0)? {
            merge(&child, true)?;
        }
    }
    Ok(snapshot.delete(0)?)
}

/// The pools that the files of a guest's snapshots lie in.
fn pools(conn: &Connect, domain: &Domain) -> Outcome<BTreeMap<String, StoragePool>> {
    let mut pools = BTreeMap::new();
    for path in files(domain)? {
        if let Some(volume) = handle_at_path(conn, &path)? {
            let pool = StoragePool::lookup_by_volume(&volume)?;
            pools.insert(pool.get_name()?, pool);
        }
    }
    Ok(pools)
}

/// The files that were made for a guest's external snapshots.
fn files(domain: &Domain) -> Outcome<Vec<String>> {
    let mut files = Vec::new();
    for snapshot in domain.list_all_snapshots(0)? {
        let Ok(text) = snapshot.get_xml_desc(0) else { continue };
        let snapshot = Element::parse(&text)?;
        files.extend(overlays(&snapshot).into_iter().map(|overlay| overlay.path));
        files.extend(memory_file(&snapshot));
    }
    Ok(files)
}

/// The files that stand below a guest's disks because of its external snapshots, and those of its other branches: what
/// has to go with the disks in these slots.
pub(crate) fn chain(conn: &Connect, domain: &Domain, slots: &[(String, String)]) -> Outcome<Vec<String>> {
    let mut made = Vec::new();
    let (mut bases, mut memory) = (Vec::new(), BTreeSet::new());
    for snapshot in domain.list_all_snapshots(0)? {
        let Ok(text) = snapshot.get_xml_desc(0) else { continue };
        let snapshot = Element::parse(&text)?;
        for overlay in overlays(&snapshot) {
            if !slots.iter().any(|(slot, _)| *slot == overlay.slot) {
                continue;
            }
            let disks = snapshot.all("domain/devices/disk").into_iter();
            let mut below = disks.filter(|disk| disk.attr_at("target", "dev") == Some(overlay.slot.as_str()));
            bases.extend(below.next().and_then(source_path));
            made.push(overlay.path);
            memory.extend(memory_file(&snapshot));
        }
    }
    let mut found = made.clone();
    // A base may have become another guest's disk: only what is really below counts.
    for (_, path) in slots {
        let mut at = path.clone();
        while let Some(volume) = handle_at_path(conn, &at)? {
            let below = Element::parse(&volume.get_xml_desc(0)?)?.text_at("backingStore/path");
            match below
                .filter(|below| bases.contains(below) && !found.contains(below) || made.contains(below))
            {
                Some(below) if below != at => {
                    if !found.contains(&below) {
                        found.push(below.clone());
                    }
                    at = below;
                }
                _ => break,
            }
        }
    }
    found.extend(memory);
    found.retain(|path| slots.iter().all(|(_, disk)| disk != path));
    Ok(found)
}
