//! A disk is copied elsewhere while its guest runs.

use hypervisor_core::model::{ByteSize, DiskId, VmId, VolumeFormat, VolumeId, VolumeSpec};
use hypervisor_core::{Effect, Error, Operation, Result};
use virt::connect::Connect;
use virt::domain::Domain;

use super::job::{Ending, look};
use super::spec::BlockCopy;
use crate::backend::Inner;
use crate::compute::lookup;
use crate::compute::volumes::Made;
use crate::error::{Fail, Outcome};
use crate::tasks::Running;
use crate::xml::Element;
use crate::xml::device::{is_disk, source_path};
use crate::xml::storage::volume_id;
use crate::{ffi, storage};

/// Where a copy goes.
#[derive(Debug, Clone)]
pub(super) struct Target {
    id: VolumeId,
    path: String,
    format: VolumeFormat,
}

impl Target {
    fn element(&self) -> Element {
        let block = self.path.starts_with("/dev/");
        let (kind, key) = if block { ("block", "dev") } else { ("file", "file") };
        Element::new("disk")
            .with_attr("type", kind)
            .with(Element::new("driver").with_attr("name", "qemu").with_attr("type", self.format.as_str()))
            .with(Element::new("source").with_attr(key, &self.path))
    }
}

impl Inner {
    /// Makes the volume that a copy goes into.
    pub(super) async fn make_copy(
        &self,
        operation: Operation,
        vm: &VmId,
        disk: &DiskId,
        spec: &BlockCopy,
    ) -> Result<(VolumeId, Target)> {
        let (vm, disk, spec) = (vm.clone(), disk.clone(), spec.clone());
        let work = move |conn: &Connect| -> Outcome<(VolumeId, Target)> {
            let found = look(&lookup::domain(conn, &vm)?, &disk)?;
            let (pool, usual) = storage::usable_pool(conn, spec.pool.as_str())?;
            let format = spec.format.clone().or(found.format.filter(|_| usual.is_some())).or(usual);
            let ending = if format == Some(VolumeFormat::Qcow2) { "qcow2" } else { "img" };
            let name = spec.name.clone().unwrap_or_else(|| format!("{}-{disk}-copy.{ending}", found.guest));
            storage::refuse_taken_volume(&pool, spec.pool.as_str(), &name)?;
            let capacity = ByteSize::bytes(found.capacity.max(1));
            let volume = VolumeSpec::new(spec.pool.clone(), &name, capacity);
            volume.validate()?;
            let made = storage::make_volume(&pool, &volume, format.as_ref(), None, None)?;
            let id = volume_id(spec.pool.as_str(), &name);
            let path = match made.get_path() {
                Ok(path) => path,
                Err(error) => {
                    let mut undo = Made::default();
                    undo.push(id, made);
                    return Err(undo.undo(error.into()));
                }
            };
            Ok((id.clone(), Target { id, path, format: format.unwrap_or(VolumeFormat::Raw) }))
        };
        self.call_slow(operation, work).await
    }

    pub(super) async fn carry_out_copy(
        &self,
        operation: Operation,
        running: &Running,
        vm: &VmId,
        disk: &DiskId,
        spec: &BlockCopy,
        target: Target,
    ) -> Result<()> {
        running.stage(format!("copies {disk} to {}", target.id));
        let (xml, speed) = (target.element().to_string(), spec.bandwidth.map_or(0, ByteSize::as_bytes));
        let begin = move |domain: &Domain, slot: &str| ffi::block_copy(domain, slot, &xml, true, speed);
        let (pivot, path) = (spec.pivot, target.path.clone());
        let ending = if pivot { Ending::Pivot } else { Ending::Leave };
        let reached = move |chain: &[String]| !pivot || chain.first() == Some(&path);
        match self.block_job(operation, running, vm, disk, begin, ending, reached).await {
            Ok(()) if pivot => self.point_to(operation, vm, disk, &target).await,
            Ok(()) => Ok(()),
            Err(error) => Err(self.give_up_copy(operation, vm, disk, target, error).await),
        }
    }

    /// Deletes an unfinished copy, and returns the failure that led to this.
    async fn give_up_copy(
        &self,
        operation: Operation,
        vm: &VmId,
        disk: &DiskId,
        target: Target,
        error: Error,
    ) -> Error {
        let path = target.path.clone();
        // It may be what the guest now writes to: what cannot be told must not be deleted.
        let unused = self.look(operation, vm, disk).await;
        let unused = unused.is_ok_and(|look| look.job.is_none() && !look.chain.contains(&path));
        let doomed = target.id.clone();
        let undo = move |conn: &Connect| Ok(storage::find_volume(conn, &doomed)?.1.delete(0)?);
        let deleted = match unused {
            true => self.call(operation, undo).await,
            false => Err(Error::invalid_state("the guest may use it")),
        };
        match deleted {
            Ok(()) => error,
            Err(left) => {
                tracing::warn!(volume = %target.id, error = %left, "an unfinished copy was not deleted");
                let hint = format!("Unless the guest uses it, delete what was left behind: {}", target.id);
                error.with_effect(Effect::Partial).with_hint(hint)
            }
        }
    }

    /// Lets the definition say what the running guest now does.
    async fn point_to(&self, operation: Operation, vm: &VmId, disk: &DiskId, target: &Target) -> Result<()> {
        let (vm, disk, target) = (vm.clone(), disk.clone(), target.clone());
        let work = move |conn: &Connect| -> Outcome<()> {
            let domain = lookup::domain(conn, &vm)?;
            if !domain.is_persistent()? {
                return Ok(());
            }
            let mut definition = lookup::whole_definition(&domain)?;
            let mut devices = definition.ensure("devices").elements_mut();
            let Some(element) = devices.find(|item| is_disk(item, disk.as_str())) else { return Ok(()) };
            if source_path(element).as_deref() == Some(target.path.as_str()) {
                return Ok(());
            }
            let wanted = target.element();
            element.set_attr("type", wanted.attr("type").unwrap_or("file"));
            element.ensure("driver").set_attr("type", target.format.as_str());
            for name in ["source", "backingStore"] {
                element.remove(name);
            }
            element.push(wanted.child("source").cloned().unwrap_or_else(|| Element::new("source")));
            drop(devices);
            Domain::define_xml(conn, &definition.to_string()).map_err(Fail::from)?;
            Ok(())
        };
        self.call(operation, work).await
    }
}
