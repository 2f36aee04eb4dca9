//! Disks and NICs of a guest that exists, running or not.

use std::sync::Arc;
use std::time::Duration;

use hypervisor_core::model::{
    ByteSize, DetachDisk, DiskId, DiskInfo, DiskSource, DiskSpec, Feature, NicChange, NicId, NicSpec, VmId,
};
use hypervisor_core::{Effect, Error, ErrorKind, Operation, Result};
use virt::connect::Connect;
use virt::domain::Domain;
use virt::storage_vol::StorageVol;
use virt_sys as sys;

use super::volumes::{Made, Plan, check_networks, handle_at_path, located};
use super::{Shared, lookup};
use crate::backend::Inner;
use crate::error::{Fail, Outcome, named};
use crate::xml::device::{change_nic, is_disk, is_nic, nic_element, random_mac};
use crate::xml::{Element, guest};

/// How long a guest may take to let go of a device.
const LET_GO: Duration = Duration::from_secs(20);
const LOOK: Duration = Duration::from_millis(200);

/// Adds a device: to the running guest and to its definition.
fn plug(inner: &Inner, conn: &Connect, domain: &Domain, device: &Element, hotplug: Feature) -> Outcome<()> {
    if lookup::is_active(domain)? {
        inner.probe.capabilities.require(hotplug)?;
        let persistent = domain.is_persistent()?;
        let mut flags = sys::VIR_DOMAIN_AFFECT_LIVE;
        if persistent {
            flags |= sys::VIR_DOMAIN_AFFECT_CONFIG;
        }
        domain.attach_device_flags(&device.to_string(), flags)?;
        return Ok(());
    }
    let mut definition = lookup::whole_definition(domain)?;
    definition.ensure("devices").push(device.clone());
    Domain::define_xml(conn, &definition.to_string())?;
    Ok(())
}

/// Takes a device out of the definition, and asks the running guest to let go of it. Returns whether it was asked.
fn unplug(
    inner: &Inner,
    conn: &Connect,
    domain: &Domain,
    hotplug: Feature,
    wanted: impl Fn(&Element) -> bool,
) -> Outcome<bool> {
    let active = lookup::is_active(domain)?;
    if active {
        inner.probe.capabilities.require(hotplug)?;
        let live = lookup::live(domain)?;
        let device =
            live.child("devices").and_then(|devices| devices.elements().find(|device| wanted(device)));
        if let Some(device) = device {
            domain.detach_device_flags(&device.to_string(), sys::VIR_DOMAIN_AFFECT_LIVE)?;
        }
    }
    if domain.is_persistent()? {
        let mut definition = lookup::whole_definition(domain)?;
        if definition.ensure("devices").remove_where(wanted).is_some() {
            Domain::define_xml(conn, &definition.to_string())?;
        }
    }
    Ok(active)
}

/// Waits until the running guest has let go of a device.
async fn gone(
    inner: &Shared,
    operation: Operation,
    vm: &VmId,
    has: impl Fn(&Element) -> bool + Send + Sync + 'static,
) -> Result<()> {
    let deadline = tokio::time::Instant::now() + LET_GO;
    let has = Arc::new(has);
    loop {
        let (id, has) = (vm.clone(), Arc::clone(&has));
        let still = inner.call(operation, move |conn| {
            let domain = lookup::domain(conn, &id)?;
            let live = lookup::live(&domain)?;
            Ok(lookup::is_active(&domain)?
                && live.child("devices").is_some_and(|devices| devices.elements().any(|device| has(device))))
        });
        if !still.await? {
            return Ok(());
        }
        if tokio::time::Instant::now() >= deadline {
            let error = Error::new(ErrorKind::Timeout, "the guest does not let go of the device")
                .with_effect(Effect::Partial)
                .with_target(VmId::NOUN, vm)
                .with_hint("It is out of the definition and goes at the next power cycle");
            return Err(named(operation)(error));
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Attaches a disk, whose volume is made where the spec says so.
pub(super) async fn attach_disk(inner: &Shared, vm: &VmId, spec: DiskSpec) -> Result<DiskId> {
    let (own, id) = (Arc::clone(inner), vm.clone());
    let copies = matches!(spec.source, DiskSource::Copy { .. });
    let work = move |conn: &Connect| add_disk(&own, conn, &id, &spec).map_err(lookup::named(&id));
    let operation = Operation::AttachDisk;
    if copies { inner.call_slow(operation, work).await } else { inner.call(operation, work).await }
}

fn add_disk(inner: &Inner, conn: &Connect, vm: &VmId, spec: &DiskSpec) -> Outcome<DiskId> {
    let domain = lookup::domain(conn, vm)?;
    if lookup::is_active(&domain)? {
        inner.probe.capabilities.require(Feature::HotplugDisk)?;
    }
    let definition = Element::parse(&lookup::definition(&domain)?)?;
    let targets = |root: &Element| -> Vec<String> {
        let all = root.all("devices/disk").into_iter();
        all.filter_map(|disk| disk.attr_at("target", "dev").map(str::to_owned)).collect()
    };
    let mut taken = targets(&definition);
    taken.extend(targets(&lookup::live(&domain)?));
    let name = domain.get_name()?;
    let machine = definition.attr_at("os/type", "machine");
    let plan = Plan { conn, guest: &name, default_pool: &inner.config.pool, machine };
    let planned = plan.disk(spec, &mut taken, "disk")?;
    let slot = DiskId::from(planned.slot());
    let mut made = Made::default();
    let plugged = planned
        .realise(&mut made)
        .and_then(|disk| plug(inner, conn, &domain, &disk.element(), Feature::HotplugDisk));
    inner.users.forget();
    plugged.map(|()| slot).map_err(|fail| made.undo(fail))
}

/// The disk in a slot, or `NotFound`.
fn disk_in(conn: &Connect, domain: &Domain, slot: &DiskId) -> Outcome<DiskInfo> {
    let definition = Element::parse(&lookup::definition(domain)?)?;
    let found = guest::plain_disks(&definition).into_iter().find(|disk| disk.id == *slot);
    located(conn, found.ok_or_else(|| slot.not_found())?)
}

/// Refuses to delete a volume that another guest uses, or that others start from.
fn refuse_common(inner: &Inner, conn: &Connect, domain: &Domain, volume: &StorageVol) -> Outcome<()> {
    let (path, own) = (volume.get_path()?, domain.get_uuid().ok());
    if let Some((_, guest)) = inner.users.ask(conn, |uses| uses.find(own, [path.as_str()]))? {
        return Err(Error::invalid_state(format!("the guest `{guest}` uses the disk at {path} too")).into());
    }
    if let Some(upper) = crate::storage::upper_of(volume)? {
        return Err(
            Error::invalid_state(format!("the volume `{upper}` starts from the disk at {path}")).into()
        );
    }
    Ok(())
}

/// Detaches a disk, and deletes its volume where that is asked for and once the guest has let go of it.
pub(super) async fn detach_disk(inner: &Shared, vm: &VmId, slot: &DiskId, options: DetachDisk) -> Result<()> {
    let operation = Operation::DetachDisk;
    let (own, id, wanted) = (Arc::clone(inner), vm.clone(), slot.clone());
    let work = move |conn: &Connect| -> Outcome<(bool, Option<String>)> {
        let domain = lookup::domain(conn, &id)?;
        let disk = disk_in(conn, &domain, &wanted)?;
        if options.delete_volume {
            let volume = disk.path.as_deref().map(|path| handle_at_path(conn, path)).transpose()?.flatten();
            let Some(volume) = volume else {
                return Err(Error::invalid("delete_volume", "no pool knows the disk's content").into());
            };
            refuse_common(&own, conn, &domain, &volume).map_err(lookup::named(&id))?;
        }
        let asked =
            unplug(&own, conn, &domain, Feature::HotplugDisk, |device| is_disk(device, wanted.as_str()));
        Ok((asked.map_err(lookup::named(&id))?, disk.path))
    };
    let (asked, path) = inner.call_slow(operation, work).await?;
    if asked {
        let wanted = slot.clone();
        gone(inner, operation, vm, move |device| is_disk(device, wanted.as_str())).await?;
    }
    match path.filter(|_| options.delete_volume) {
        None => Ok(()),
        Some(path) => inner.call_slow(operation, move |conn| super::volumes::delete_all(conn, &[path])).await,
    }
}

/// Makes a disk larger, while the guest runs or not.
pub(super) async fn resize_disk(inner: &Shared, vm: &VmId, slot: &DiskId, capacity: ByteSize) -> Result<()> {
    let (id, slot) = (vm.clone(), slot.clone());
    let work = move |conn: &Connect| {
        let domain = lookup::domain(conn, &id)?;
        let disk = disk_in(conn, &domain, &slot)?;
        let volume = disk.path.as_deref().map(|path| handle_at_path(conn, path)).transpose()?.flatten();
        let active = lookup::is_active(&domain)?;
        let present = match (active, &volume) {
            (true, _) => domain.get_block_info(slot.as_str(), 0)?.capacity,
            (false, Some(volume)) => volume.get_info()?.capacity,
            (false, None) => {
                return Err(Error::invalid_state(format!("no pool knows the disk `{slot}`")).into());
            }
        };
        let present = ByteSize::bytes(present);
        if capacity < present {
            let why = format!("{capacity} is less than the {present} that it has");
            return Err(Error::invalid("capacity", why).into());
        }
        let resized = match volume {
            Some(volume) if !active => volume.resize(capacity.as_bytes(), 0),
            _ => domain.block_resize(slot.as_str(), capacity.as_bytes(), sys::VIR_DOMAIN_BLOCK_RESIZE_BYTES),
        };
        resized.map(drop).map_err(|error| lookup::named(&id)(Fail::from(error)))
    };
    inner.call_slow(Operation::ResizeDisk, work).await
}

/// Attaches a NIC.
pub(super) async fn attach_nic(inner: &Shared, vm: &VmId, spec: NicSpec) -> Result<NicId> {
    let (own, id) = (Arc::clone(inner), vm.clone());
    let work = move |conn: &Connect| -> Outcome<NicId> {
        let domain = lookup::domain(conn, &id)?;
        check_networks(conn, std::slice::from_ref(&spec))?;
        let mac = spec.mac.unwrap_or_else(random_mac);
        let definition = lookup::live(&domain)?;
        if definition.all("devices/interface").into_iter().any(|nic| is_nic(nic, &mac.to_string())) {
            return Err(Error::invalid("nic.mac", "is the address of another NIC of this guest").into());
        }
        let nic = nic_element(&spec, mac, "nic")?;
        plug(&own, conn, &domain, &nic, Feature::HotplugNic).map_err(lookup::named(&id))?;
        Ok(NicId::from(mac.to_string()))
    };
    inner.call(Operation::AttachNic, work).await
}

fn nic_in(domain: &Domain, nic: &NicId) -> Outcome<Element> {
    let definition = Element::parse(&lookup::definition(domain)?)?;
    let found =
        definition.all("devices/interface").into_iter().find(|item| is_nic(item, nic.as_str())).cloned();
    found.ok_or_else(|| nic.not_found().into())
}

/// Changes a NIC, in the running guest and in its definition.
pub(super) async fn update_nic(inner: &Shared, vm: &VmId, nic: &NicId, change: NicChange) -> Result<()> {
    let (own, id, nic) = (Arc::clone(inner), vm.clone(), nic.clone());
    let work = move |conn: &Connect| -> Outcome<()> {
        let domain = lookup::domain(conn, &id)?;
        nic_in(&domain, &nic)?;
        if let Some(source) = &change.source {
            check_networks(conn, &[NicSpec::new(source.clone())])?;
        }
        if lookup::is_active(&domain)? {
            own.probe.capabilities.require(Feature::HotplugNic)?;
            let mut live = lookup::live(&domain)?;
            let found = live.ensure("devices").elements_mut().find(|device| is_nic(device, nic.as_str()));
            let found = found.ok_or_else(|| nic.not_found())?;
            change_nic(found, &change)?;
            let update = domain.update_device_flags(&found.to_string(), sys::VIR_DOMAIN_AFFECT_LIVE);
            update.map_err(|error| lookup::named(&id)(Fail::from(error)))?;
        }
        if domain.is_persistent()? {
            let mut definition = lookup::whole_definition(&domain)?;
            let found =
                definition.ensure("devices").elements_mut().find(|device| is_nic(device, nic.as_str()));
            if let Some(found) = found {
                change_nic(found, &change)?;
                Domain::define_xml(conn, &definition.to_string())?;
            }
        }
        Ok(())
    };
    inner.call(Operation::UpdateNic, work).await
}

/// Detaches a NIC.
pub(super) async fn detach_nic(inner: &Shared, vm: &VmId, nic: &NicId) -> Result<()> {
    let operation = Operation::DetachNic;
    let (own, id, wanted) = (Arc::clone(inner), vm.clone(), nic.clone());
    let work = move |conn: &Connect| {
        let domain = lookup::domain(conn, &id)?;
        nic_in(&domain, &wanted)?;
        unplug(&own, conn, &domain, Feature::HotplugNic, |device| is_nic(device, wanted.as_str()))
            .map_err(lookup::named(&id))
    };
    if inner.call_slow(operation, work).await? {
        let wanted = nic.clone();
        gone(inner, operation, vm, move |device| is_nic(device, wanted.as_str())).await?;
    }
    Ok(())
}
