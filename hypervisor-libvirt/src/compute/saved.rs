//! A guest's memory in a file on the host.

use std::sync::Arc;

use hypervisor_core::model::{PowerAction, Started, VmId};
use hypervisor_core::{Error, Operation, Result};
use virt::connect::Connect;

use super::lookup;
use crate::backend::Libvirt;
use crate::blocking::Lane;
use crate::error::{Fail, named};
use crate::ffi;
use crate::storage::COPY_LIMIT;
use crate::xml::Element;

impl Libvirt {
    /// Writes a running guest's memory into a file on the host and powers it off, as a task. Other than after
    /// [`Hibernate`](PowerAction::Hibernate), libvirt does not look at the file by itself: [`restore_vm`](Self::restore_vm)
    /// lets the guest go on, and a start begins anew, after which the file is of no use.
    ///
    /// # Errors
    /// `InvalidInput` for a path that is not absolute, `NotFound`, `InvalidState` for a guest that does not run.
    pub async fn save_vm(&self, vm: &VmId, path: &str) -> Result<Started<()>> {
        let operation = Operation::HibernateVm;
        check_path(path).map_err(named(operation))?;
        let id = vm.clone();
        let check = move |conn: &Connect| {
            let state = lookup::state(&lookup::domain(conn, &id)?)?;
            Ok(PowerAction::Hibernate
                .check_state(&state)
                .map_err(|error| error.with_target(VmId::NOUN, &id))?)
        };
        self.inner.call(operation, check).await?;
        let (own, id, path) = (Arc::clone(&self.inner), vm.clone(), path.to_owned());
        let task = self.inner.tasks.spawn(operation, Some(vm), false, async move {
            let vm = id.clone();
            let work = move |conn: &Connect| {
                let domain = lookup::domain(conn, &vm)?;
                ffi::save(&domain, &path).map_err(|error| lookup::named(&vm)(Fail::from(error)))
            };
            let outcome = own.run(operation, Lane::Slow, COPY_LIMIT, work).await;
            own.forget_facts(id.as_str());
            outcome
        });
        Ok(Started::running((), task))
    }

    /// Lets a guest go on from a file that [`save_vm`](Self::save_vm) wrote, as a task. Its disks must not have been
    /// changed since.
    ///
    /// # Errors
    /// `InvalidInput` for a path that is not absolute, libvirt's own reason for a file that is no saved guest,
    /// `InvalidState` for a guest that runs.
    pub async fn restore_vm(&self, path: &str) -> Result<Started<VmId>> {
        let operation = Operation::StartVm;
        check_path(path).map_err(named(operation))?;
        let looked = path.to_owned();
        let check = move |conn: &Connect| {
            let definition = Element::parse(&ffi::saved_definition(conn, &looked)?)?;
            let id = definition.text_at("uuid").map(VmId::from);
            let id = id.ok_or_else(|| Error::invalid("path", "the file names no guest"))?;
            match lookup::domain(conn, &id) {
                Ok(domain) if lookup::is_active(&domain)? => {
                    Err(Error::invalid_state("it runs").with_target(VmId::NOUN, &id).into())
                }
                _ => Ok(id),
            }
        };
        let vm = self.inner.call_slow(operation, check).await?;
        let (own, id, path) = (Arc::clone(&self.inner), vm.clone(), path.to_owned());
        let task = self.inner.tasks.spawn(operation, Some(&vm), false, async move {
            let vm = id.clone();
            let work = move |conn: &Connect| {
                ffi::restore(conn, &path).map_err(|error| lookup::named(&vm)(Fail::from(error)))
            };
            let outcome = own.run(operation, Lane::Slow, COPY_LIMIT, work).await;
            own.forget_facts(id.as_str());
            outcome
        });
        Ok(Started::running(vm, task))
    }
}

fn check_path(path: &str) -> Result<()> {
    if path.starts_with('/') && !path.contains('\0') {
        return Ok(());
    }
    Err(Error::invalid("path", "must be an absolute path on the host"))
}
