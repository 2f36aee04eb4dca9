//! Templates: guests with a mark that keeps them from being started.

use std::sync::Arc;

use hypervisor_core::model::{CloneSpec, DeploySpec, Started, TemplateSpec, VmChange, VmId, VolumeFormat};
use hypervisor_core::{Error, Operation, Result};
use virt::connect::Connect;

use super::clone::{Finish, clone, is_copied, refuse_uncopied};
use super::lifecycle::refuse_unless_off;
use super::{Shared, lookup};
use crate::backend::Inner;
use crate::error::named;
use crate::seal::{self, SealedDisk};
use crate::xml::Element;
use crate::xml::device::source_path;
use crate::xml::marks::Marks;

/// Makes a template of a guest, or of a copy of it.
pub(super) async fn create(inner: &Shared, vm: &VmId, spec: &TemplateSpec) -> Result<Started<VmId>> {
    let operation = Operation::CreateTemplate;
    if let Some(name) = &spec.name {
        let mut copy = CloneSpec::new(name);
        copy.description.clone_from(&spec.description);
        return clone(
            inner,
            operation,
            vm,
            copy,
            Finish { template: true, seal: spec.seal, ..Finish::default() },
        )
        .await;
    }
    let (id, description) = (vm.clone(), spec.description.clone());
    let mark = move |conn: &Connect| Inner::mark_template(conn, &id, description.as_deref());
    if !spec.seal {
        inner.call(operation, mark).await?;
        inner.forget_facts(vm.as_str());
        return Ok(Started::done(vm.clone()));
    }
    let id = vm.clone();
    let read = move |conn: &Connect| {
        let domain = lookup::domain(conn, &id)?;
        refuse_unless_off(&domain, &id)?;
        let mut definition = Element::parse(&lookup::definition(&domain)?)?;
        super::volumes::resolve(conn, &mut definition)?;
        // What cannot be copied cannot be sealed either.
        refuse_uncopied(&definition, &id)?;
        Ok(definition)
    };
    let definition = inner.call(operation, read).await?;
    let (own, id) = (Arc::clone(inner), vm.clone());
    let task = inner.tasks.spawn(operation, Some(vm), false, async move {
        seal(&own, &definition).await.map_err(named(operation))?;
        own.call(operation, mark).await?;
        own.forget_facts(id.as_str());
        Ok(())
    });
    Ok(Started::running(vm.clone(), task))
}

/// Seals the disks of a definition whose guest is off.
pub(super) async fn seal(inner: &Shared, definition: &Element) -> Result<()> {
    let Some(tool) = &inner.probe.virt_sysprep else {
        return Err(Error::unsupported(Operation::CreateTemplate, "the host has no `virt-sysprep`"));
    };
    let disks = definition.all("devices/disk").into_iter().filter(|disk| is_copied(disk));
    let disks: Vec<_> = disks
        .filter_map(|disk| {
            let format = VolumeFormat::parse(disk.attr_at("driver", "type").unwrap_or("raw"));
            Some(SealedDisk { path: source_path(disk)?, format })
        })
        .collect();
    seal::seal(tool, &disks).await
}

/// Makes a guest of a template.
pub(super) async fn deploy(inner: &Shared, template: &VmId, spec: &DeploySpec) -> Result<Started<VmId>> {
    let operation = Operation::DeployTemplate;
    let id = template.clone();
    let check = move |conn: &Connect| {
        let domain = lookup::domain(conn, &id)?;
        if !Marks::read(&Element::parse(&lookup::definition(&domain)?)?).template {
            return Err(Error::invalid_state("it is no template").with_target(VmId::NOUN, &id).into());
        }
        Ok(())
    };
    inner.call(operation, check).await?;
    let mut change = VmChange::new();
    change.cpus = spec.cpus;
    change.memory = spec.memory;
    let finish = Finish {
        change,
        network: spec.network.clone(),
        template: false,
        autostart: spec.autostart,
        cloud_init: spec.cloud_init.clone(),
        seal: false,
    };
    clone(inner, operation, template, spec.clone.clone(), finish).await
}
