//! Internal snapshots.

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

use crate::backend::Libvirt;
use crate::compute::lookup;
use crate::error::{Fail, Outcome, named};
use crate::xml::Element;
use crate::xml::snapshot as xml;

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
    let text = xml::snapshot(spec).to_string();
    DomainSnapshot::create_xml(&domain, &text, 0).map(|_| id).map_err(|error| {
        let fail = Fail::from(error);
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
        let (vm, spec) = (vm.clone(), spec.clone());
        self.inner.call_slow(operation, move |conn| take(conn, &vm, &spec)).await.map(Started::done)
    }

    async fn revert_snapshot(
        &self,
        vm: &VmId,
        snapshot: &SnapshotId,
        options: &RevertSnapshot,
    ) -> Result<Started<()>> {
        let operation = Operation::RevertSnapshot;
        self.inner.require(operation, &options.needs())?;
        let (id, snapshot, start) = (vm.clone(), snapshot.clone(), options.start);
        let work = move |conn: &Connect| {
            let domain = lookup::domain(conn, &id)?;
            let found = find(&domain, &snapshot)?;
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
        outcome.map(Started::done)
    }

    async fn delete_snapshot(
        &self,
        vm: &VmId,
        snapshot: &SnapshotId,
        options: &DeleteSnapshot,
    ) -> Result<Started<()>> {
        let operation = Operation::DeleteSnapshot;
        self.inner.require(operation, &options.needs())?;
        let (id, snapshot, children) = (vm.clone(), snapshot.clone(), options.children);
        let work = move |conn: &Connect| {
            let domain = lookup::domain(conn, &id)?;
            let found = find(&domain, &snapshot)?;
            let flags = if children { sys::VIR_DOMAIN_SNAPSHOT_DELETE_CHILDREN } else { 0 };
            found.delete(flags).map_err(|error| lookup::named(&id)(Fail::from(error)))
        };
        self.inner.call_slow(operation, work).await.map(Started::done)
    }
}
