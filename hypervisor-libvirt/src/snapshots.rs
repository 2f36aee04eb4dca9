//! Snapshots: internal ones, which lie inside the disks, and external ones without the memory.
//!
//! libvirt loses one kind when the other is deleted or reverted to, so that a guest has one kind only.

pub(crate) mod external;

use std::sync::Arc;

use async_trait::async_trait;
use hypervisor_core::model::{
    DeleteSnapshot, RevertSnapshot, SnapshotId, SnapshotInfo, SnapshotSpec, SnapshotTree, Started, VmId,
};
use hypervisor_core::traits::Snapshots;
use hypervisor_core::{Error, ErrorKind, Operation, Result};
use virt::connect::Connect;
use virt::domain::Domain;
use virt::domain_snapshot::DomainSnapshot;
use virt_sys as sys;

use self::external::Kinds;
use crate::backend::Libvirt;
use crate::blocking::Lane;
use crate::compute::lookup;
use crate::error::{Fail, Outcome, named};
use crate::storage::COPY_LIMIT;
use crate::xml::Element;
use crate::xml::snapshot as xml;

/// The version of libvirt that reverts to external snapshots.
const REVERTS_EXTERNAL: u32 = 9_009_000;

fn find(domain: &Domain, id: &SnapshotId) -> Outcome<DomainSnapshot> {
    // A name with a zero byte was not given by us, and cannot be asked for.
    if id.as_str().contains('\0') {
        return Err(id.not_found().into());
    }
    DomainSnapshot::lookup_by_name(domain, id.as_str(), 0).map_err(|error| {
        let fail = Fail::from(error);
        if fail.has_code(sys::VIR_ERR_NO_DOMAIN_SNAPSHOT) { id.not_found().into() } else { fail }
    })
}

fn info(snapshot: &DomainSnapshot) -> Outcome<SnapshotInfo> {
    let current = snapshot.is_current(0)?;
    Ok(xml::info(&Element::parse(&snapshot.get_xml_desc(0)?)?, current)?)
}

fn take(conn: &Connect, vm: &VmId, spec: &SnapshotSpec) -> Outcome<SnapshotId> {
    let domain = lookup::domain(conn, vm)?;
    let id = SnapshotId::from(spec.name.as_str());
    match find(&domain, &id) {
        Ok(_) => return Err(Error::already_exists(SnapshotId::NOUN, &id).into()),
        Err(fail) if fail.kind() == ErrorKind::NotFound => {}
        Err(fail) => return Err(fail),
    }
    let (active, kinds) = (lookup::is_active(&domain)?, Kinds::of(&domain)?);
    let is_external = spec.quiesce || if active { spec.memory == Some(false) } else { kinds.external };
    if let Some(other) = mixed(is_external, &kinds) {
        return Err(other.with_target(VmId::NOUN, vm).into());
    }
    if is_external {
        external::take(conn, &domain, vm, spec)?;
        return Ok(id);
    }
    let text = xml::snapshot(spec).to_string();
    let create = || Ok(DomainSnapshot::create_xml(&domain, &text, 0)?);
    untracked(&domain, create).map(|_| id).map_err(|fail| {
        // It is this guest's disks or firmware that cannot have one, not the driver.
        let disks = fail.has_code(sys::VIR_ERR_CONFIG_UNSUPPORTED)
            || fail.has_code(sys::VIR_ERR_OPERATION_UNSUPPORTED);
        let error = Error::from(fail);
        let error = if disks {
            Error::invalid_state(error.message().to_owned()).with_hint("Internal snapshots need qcow2 disks")
        } else {
            error
        };
        Fail::Ours(error.with_target(VmId::NOUN, vm))
    })
}

/// Why a snapshot of this kind is refused.
fn mixed(is_external: bool, kinds: &Kinds) -> Option<Error> {
    let (has, hint) = match (is_external, kinds) {
        (true, Kinds { internal: true, .. }) => {
            ("internal", "Delete those first, or take this one with the memory or while the guest is off")
        }
        (false, Kinds { external: true, .. }) => {
            ("external", "Delete those first, or take this one without the memory")
        }
        _ => return None,
    };
    let why = format!("it has {has} snapshots, which would be lost when the kinds are mixed");
    Some(Error::invalid_state(why).with_hint(hint))
}

/// Does something to a guest's disks. Where libvirt refuses it because it follows their changes for backups, that is
/// given up: the next backup is a full one.
fn untracked<T>(domain: &Domain, work: impl Fn() -> Outcome<T>) -> Outcome<T> {
    match work() {
        Err(fail) if fail.to_string().contains("checkpoint exists") => {
            crate::backups::give_up_tracking(domain)?;
            work()
        }
        other => other,
    }
}

/// Refuses what this libvirt cannot do.
fn refuse_revert(conn: &Connect, found: &DomainSnapshot) -> Outcome<()> {
    let version = conn.get_lib_version()?;
    if version < REVERTS_EXTERNAL && xml::is_external(&Element::parse(&found.get_xml_desc(0)?)?) {
        let why = "it is external, and libvirt reverts to those from 9.9 on";
        let error = Error::unsupported(Operation::RevertSnapshot, why);
        return Err(error.with_hint("Restore a backup, or take snapshots with the memory").into());
    }
    Ok(())
}

#[async_trait]
impl Snapshots for Libvirt {
    async fn list_snapshots(&self, vm: &VmId) -> Result<SnapshotTree> {
        let id = vm.clone();
        let work = move |conn: &Connect| {
            let snapshots = lookup::domain(conn, &id)?.list_all_snapshots(0)?;
            let infos = snapshots.iter().filter_map(|snapshot| match info(snapshot) {
                // It was deleted between the two calls.
                Err(fail) if fail.has_code(sys::VIR_ERR_NO_DOMAIN_SNAPSHOT) => None,
                other => Some(other),
            });
            Ok(SnapshotTree::new(infos.collect::<Outcome<Vec<_>>>()?))
        };
        self.inner.call(Operation::ListSnapshots, work).await
    }

    async fn get_snapshot(&self, vm: &VmId, snapshot: &SnapshotId) -> Result<SnapshotInfo> {
        let (vm, id) = (vm.clone(), snapshot.clone());
        let work = move |conn: &Connect| info(&find(&lookup::domain(conn, &vm)?, &id)?);
        self.inner.call(Operation::GetSnapshot, work).await
    }

    async fn create_snapshot(&self, vm: &VmId, spec: &SnapshotSpec) -> Result<Started<SnapshotId>> {
        let operation = Operation::CreateSnapshot;
        spec.validate().map_err(named(operation))?;
        self.inner.require(operation, &spec.needs())?;
        let (id, spec) = (vm.clone(), spec.clone());
        let made = self.inner.call_slow(operation, move |conn| take(conn, &id, &spec)).await?;
        self.inner.tell_snapshots(vm, &made);
        Ok(Started::done(made))
    }

    async fn revert_snapshot(
        &self,
        vm: &VmId,
        snapshot: &SnapshotId,
        options: &RevertSnapshot,
    ) -> Result<Started<()>> {
        let operation = Operation::RevertSnapshot;
        self.inner.require(operation, &options.needs())?;
        let (id, name, start) = (vm.clone(), snapshot.clone(), options.start);
        let work = move |conn: &Connect| {
            let domain = lookup::domain(conn, &id)?;
            let found = find(&domain, &name)?;
            refuse_revert(conn, &found)?;
            // The disks change as nothing follows.
            crate::backups::give_up_tracking(&domain)?;
            let flags = if start { sys::VIR_DOMAIN_SNAPSHOT_REVERT_RUNNING } else { 0 };
            found.revert(flags).map_err(|error| lookup::named(&id)(Fail::from(error)))?;
            // The test driver takes the flag and does nothing about it.
            if start && !lookup::is_active(&domain)? {
                domain.create()?;
            }
            Ok(())
        };
        let outcome = self.inner.call_slow(operation, work).await;
        self.inner.forget_facts(vm.as_str());
        outcome?;
        self.inner.tell_snapshots(vm, snapshot);
        Ok(Started::done(()))
    }

    async fn delete_snapshot(
        &self,
        vm: &VmId,
        snapshot: &SnapshotId,
        options: &DeleteSnapshot,
    ) -> Result<Started<()>> {
        let operation = Operation::DeleteSnapshot;
        self.inner.require(operation, &options.needs())?;
        let (id, name, children) = (vm.clone(), snapshot.clone(), options.children);
        let work = move |conn: &Connect| {
            let domain = lookup::domain(conn, &id)?;
            let found = find(&domain, &name)?;
            if xml::is_external(&Element::parse(&found.get_xml_desc(0)?)?) {
                return Ok(true);
            }
            let flags = if children { sys::VIR_DOMAIN_SNAPSHOT_DELETE_CHILDREN } else { 0 };
            let delete = || Ok(found.delete(flags)?);
            untracked(&domain, delete).map_err(lookup::named(&id)).map(|()| false)
        };
        if !self.inner.call_slow(operation, work).await? {
            self.inner.tell_snapshots(vm, snapshot);
            return Ok(Started::done(()));
        }
        // Files are merged, which may take long.
        let (own, id, name) = (Arc::clone(&self.inner), vm.clone(), snapshot.clone());
        let task = self.inner.tasks.spawn(operation, Some(vm), false, async move {
            let (vm, snapshot) = (id.clone(), name.clone());
            let work = move |conn: &Connect| {
                let found = find(&lookup::domain(conn, &id)?, &name)?;
                external::delete(conn, &id, &found, children)
            };
            own.run(operation, Lane::Slow, COPY_LIMIT, work).await?;
            own.tell_snapshots(&vm, &snapshot);
            Ok(())
        });
        Ok(Started::running((), task))
    }
}
