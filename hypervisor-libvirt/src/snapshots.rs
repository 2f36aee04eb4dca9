//! Snapshots: internal ones, which lie inside the disks, and external ones, in files of their own.
//!
//! libvirt loses one kind when the other is deleted or reverted to, so that a guest has one kind only.

pub(crate) mod external;

use std::sync::Arc;

use async_trait::async_trait;
use hypervisor_core::model::{
    DeleteSnapshot, Feature, RevertSnapshot, SnapshotId, SnapshotInfo, SnapshotSpec, SnapshotTree, Started,
    Support, VmId,
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
use crate::ffi::JobInfo;
use crate::jobs;
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

/// What is left to be done for a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Left {
    Nothing,
    /// An external one whose memory is to be written, which takes long.
    Memory,
}

fn take(conn: &Connect, vm: &VmId, spec: &SnapshotSpec, outside: bool) -> Outcome<Left> {
    let domain = lookup::domain(conn, vm)?;
    let id = SnapshotId::from(spec.name.as_str());
    match find(&domain, &id) {
        Ok(_) => return Err(Error::already_exists(SnapshotId::NOUN, &id).into()),
        Err(fail) if fail.kind() == ErrorKind::NotFound => {}
        Err(fail) => return Err(fail),
    }
    let (active, kinds) = (lookup::is_active(&domain)?, Kinds::of(&domain)?);
    let disks_only = spec.quiesce || spec.memory == Some(false);
    if outside || kinds.external || spec.quiesce || active && disks_only {
        refuse_mixing(vm, &kinds)?;
        if active && !disks_only {
            return Ok(Left::Memory);
        }
        external::take(conn, &domain, vm, spec, false)?;
        return Ok(Left::Nothing);
    }
    let text = xml::snapshot(spec).to_string();
    let create = || Ok(DomainSnapshot::create_xml(&domain, &text, 0)?);
    untracked(&domain, create).map(|_| Left::Nothing).map_err(|fail| {
        // It is this guest's disks or firmware that cannot have one, not the driver.
        let disks = fail.has_code(sys::VIR_ERR_CONFIG_UNSUPPORTED)
            || fail.has_code(sys::VIR_ERR_OPERATION_UNSUPPORTED);
        let error = Error::from(fail);
        let error = if disks {
            Error::invalid_state(error.message().to_owned()).with_hint(
                "Internal snapshots need qcow2 disks; without the memory it would be an external one",
            )
        } else {
            error
        };
        Fail::Ours(error.with_target(VmId::NOUN, vm))
    })
}

/// Refuses an external snapshot of a guest that has internal ones.
fn refuse_mixing(vm: &VmId, kinds: &Kinds) -> Outcome<()> {
    if !kinds.internal {
        return Ok(());
    }
    let why = "it has internal snapshots, which would be lost when the kinds are mixed";
    let error = Error::invalid_state(why).with_target(VmId::NOUN, vm);
    Err(error
        .with_hint("Delete those first, or take this one with the memory or while the guest is off")
        .into())
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

/// Whether this version of libvirt reverts to external snapshots.
fn external_reverts(version: u32) -> Support {
    match version >= REVERTS_EXTERNAL {
        true => Support::Native,
        false => Support::Unsupported("libvirt reverts to external snapshots from 9.9 on".to_owned()),
    }
}

/// Refuses what this libvirt cannot do.
fn refuse_revert(support: &Support, found: &DomainSnapshot) -> Outcome<()> {
    if let Support::Unsupported(why) = support
        && xml::is_external(&Element::parse(&found.get_xml_desc(0)?)?)
    {
        let error = Error::unsupported(Operation::RevertSnapshot, format!("it is external, and {why}"));
        return Err(error.with_hint("Restore a backup, or take internal snapshots").into());
    }
    Ok(())
}

impl Libvirt {
    /// Takes an external snapshot: from now on the guest writes into files on top of those that it had. A running guest's
    /// memory goes into a file beside them while the guest runs on, unless the spec leaves it out; that is a task with
    /// progress, and cancelled it leaves nothing behind.
    ///
    /// [`create_snapshot`](Snapshots::create_snapshot) chooses by itself: external without the memory, and for guests that
    /// have external ones already.
    ///
    /// Whether this libvirt can go back to it, [`external_revert`](Self::external_revert) says.
    ///
    /// # Errors
    /// As `create_snapshot`; `InvalidState` for a guest that has internal ones.
    pub async fn create_external_snapshot(
        &self,
        vm: &VmId,
        spec: &SnapshotSpec,
    ) -> Result<Started<SnapshotId>> {
        self.take_snapshot(vm, spec, true).await
    }

    /// Whether the daemon's libvirt reverts to external snapshots: those before 9.9 do not, and
    /// [`revert_snapshot`](Snapshots::revert_snapshot) then refuses them with this reason.
    #[must_use]
    pub fn external_revert(&self) -> Support {
        external_reverts(self.inner.probe.lib_version)
    }

    async fn take_snapshot(
        &self,
        vm: &VmId,
        spec: &SnapshotSpec,
        outside: bool,
    ) -> Result<Started<SnapshotId>> {
        let operation = Operation::CreateSnapshot;
        spec.validate().map_err(named(operation))?;
        let outside_only = outside.then_some(Feature::DiskOnlySnapshot);
        let needs: Vec<_> = spec.needs().into_iter().chain(outside_only).collect();
        self.inner.require(operation, &needs)?;
        let (id, wanted) = (vm.clone(), spec.clone());
        let left = self.inner.call_slow(operation, move |conn| take(conn, &id, &wanted, outside)).await?;
        let made = SnapshotId::from(spec.name.as_str());
        if left == Left::Nothing {
            self.inner.tell_snapshots(vm, &made);
            return Ok(Started::done(made));
        }
        let (own, id, spec, name) = (Arc::clone(&self.inner), vm.clone(), spec.clone(), made.clone());
        let task = self.inner.tasks.spawn_watched(operation, Some(vm), |running| async move {
            running.stage("writes the memory");
            let vm = id.clone();
            let work =
                move |conn: &Connect| external::take(conn, &lookup::domain(conn, &vm)?, &vm, &spec, true);
            let work = own.run(operation, Lane::Slow, COPY_LIMIT, work);
            let tell =
                |job: &JobInfo| running.bytes(job.total.saturating_sub(job.remaining), job.total.max(1));
            jobs::watch(&own, &running, &id, work, tell).await?;
            own.tell_snapshots(&id, &name);
            Ok(())
        });
        Ok(Started::running(made, task))
    }
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
        self.take_snapshot(vm, spec, false).await
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
        let support = self.external_revert();
        let work = move |conn: &Connect| {
            let domain = lookup::domain(conn, &id)?;
            let found = find(&domain, &name)?;
            refuse_revert(&support, &found)?;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_old_libvirt_does_not_revert_to_has_a_reason() {
        assert!(matches!(external_reverts(9_000_000), Support::Unsupported(why) if why.contains("9.9")));
        assert_eq!(external_reverts(9_009_000), Support::Native);
    }
}
