//! Templates: guests with a mark that keeps them from being started.

use hypervisor_core::model::{CloneSpec, DeploySpec, Started, TemplateSpec, VmChange, VmId};
use hypervisor_core::{Error, Operation, Result};

use super::clone::{Finish, clone};
use super::{Shared, lookup};
use crate::backend::Inner;
use crate::xml::Element;
use crate::xml::marks::Marks;

/// Makes a template of a guest, or of a copy of it.
pub(super) async fn create(inner: &Shared, vm: &VmId, spec: &TemplateSpec) -> Result<Started<VmId>> {
    let operation = Operation::CreateTemplate;
    if let Some(name) = &spec.name {
        let mut copy = CloneSpec::new(name);
        copy.description.clone_from(&spec.description);
        return clone(inner, operation, vm, copy, Finish { template: true, ..Finish::default() }).await;
    }
    let (id, description) = (vm.clone(), spec.description.clone());
    inner.call(operation, move |conn| Inner::mark_template(conn, &id, description.as_deref())).await?;
    inner.forget_facts(vm.as_str());
    Ok(Started::done(vm.clone()))
}

/// Makes a guest of a template.
pub(super) async fn deploy(inner: &Shared, template: &VmId, spec: &DeploySpec) -> Result<Started<VmId>> {
    let operation = Operation::DeployTemplate;
    let id = template.clone();
    let check = move |conn: &virt::connect::Connect| {
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
    };
    clone(inner, operation, template, spec.clone.clone(), finish).await
}
