//! Copies of guests: clones, templates, exports.

use hypervisor_core::model::{
    ByteSize, CloneSpec, DeploySpec, ExportSpec, ExportedVm, TemplateSpec, VmId, VmState, VolumeFormat,
};
use hypervisor_core::{Effect, Error, Result};

use crate::dialect::hypersdk::HyperSdk;
use crate::dialect::hypersdk::wire::{CloneDomain, DeployTemplate, Domain, DomainAction, NewTemplate};

/// What `virt-clone` is not asked for by the daemon.
fn check_copy(spec: &CloneSpec) -> Result<()> {
    for (asked, field) in [
        (spec.pool.is_some(), "pool"),
        (spec.host.is_some(), "host"),
        (spec.description.is_some(), "description"),
        (spec.group.is_some(), "group"),
    ] {
        if asked {
            return Err(Error::invalid(
                field,
                "hypervisord copies a machine as it is, and sets nothing on the copy",
            ));
        }
    }
    Ok(())
}

fn check_off(vm: &VmId, domain: &Domain) -> Result<()> {
    match domain.vm_state() {
        VmState::Stopped | VmState::Crashed => Ok(()),
        state => {
            Err(Error::invalid_state(format!("it is {state}, but must be stopped"))
                .with_target(VmId::NOUN, vm))
        }
    }
}

impl HyperSdk {
    pub(super) async fn copy(&self, vm: &VmId, spec: &CloneSpec) -> Result<VmId> {
        check_copy(spec)?;
        let domain = self.domain(vm).await?;
        check_off(vm, &domain)?;
        self.api.clone_domain(&CloneDomain::new(&domain.name, &spec.name)).await?;
        if spec.start {
            self.start_copy(&spec.name).await?;
        }
        Ok(VmId::from(spec.name.as_str()))
    }

    /// Starts what was just made. If that fails the copy is there all the same.
    async fn start_copy(&self, name: &str) -> Result<()> {
        let started = self.api.act(name, DomainAction::Start).await;
        started.map_err(|error| {
            error
                .with_effect(Effect::Partial)
                .with_target(VmId::NOUN, name)
                .with_hint("The copy was made, but is off")
        })
    }

    pub(super) async fn template(&self, vm: &VmId, spec: &TemplateSpec) -> Result<VmId> {
        let domain = self.domain(vm).await?;
        let Some(name) = &spec.name else {
            // The name alone makes a template, so that one of such a name is one already.
            if domain.is_template() && !spec.seal && spec.description.is_none() {
                check_off(vm, &domain)?;
                return Ok(VmId::from(domain.name));
            }
            return Err(Error::invalid("name", "hypervisord makes templates as copies only: name the copy"));
        };
        if !name.to_ascii_lowercase().contains("template") {
            return Err(Error::invalid("name", "hypervisord knows templates by a `template` in their name"));
        }
        // The daemon would shut it down.
        check_off(vm, &domain)?;
        let template = NewTemplate::new(&domain.name, name)
            .seal(spec.seal)
            .description(spec.description.clone().unwrap_or_default());
        self.api.create_template(&template).await?;
        Ok(VmId::from(name.as_str()))
    }

    pub(super) async fn deploy(&self, template: &VmId, spec: &DeploySpec) -> Result<VmId> {
        check_copy(&spec.clone)?;
        if spec.network.is_some() {
            return Err(Error::invalid("network", "hypervisord leaves the copy in the template's networks"));
        }
        let domain = self.domain(template).await?;
        check_off(template, &domain)?;
        let name = spec.clone.name.as_str();
        let memory = spec.memory.map_or(0, |memory| memory.div_ceil(ByteSize::mib(1)));
        let deploy = DeployTemplate::new(&domain.name, name)
            .memory(memory)
            .vcpus(spec.cpus.unwrap_or(0))
            .autostart(spec.clone.start);
        self.api.deploy_template(&deploy).await?;
        // The daemon says that all is well even where it could not change the copy or start it.
        if deploy.memory > 0 || deploy.vcpus > 0 || deploy.autostart {
            let made = self.api.domain(name).await.map_err(Error::after_part)?;
            let size = |wanted: u64, found: u64| wanted == 0 || wanted == found;
            if !size(deploy.memory, made.memory) || !size(deploy.vcpus.into(), made.cpus.into()) {
                let why = format!("the copy was made, but has {} CPUs and {} MiB", made.cpus, made.memory);
                return Err(Error::new(hypervisor_core::ErrorKind::Backend, why)
                    .with_target(VmId::NOUN, name)
                    .with_effect(Effect::Partial));
            }
            if deploy.autostart && !made.vm_state().is_active() {
                self.start_copy(name).await?;
            }
        }
        Ok(VmId::from(name))
    }

    pub(super) async fn export(&self, vm: &VmId, spec: &ExportSpec) -> Result<ExportedVm> {
        if !matches!(spec.format, None | Some(VolumeFormat::Unknown(_))) {
            return Err(Error::invalid("format", "hypervisord copies the disks in their own format"));
        }
        let domain = self.domain(vm).await?;
        check_off(vm, &domain)?;
        let exported = self.api.export_template(&domain.name, &spec.directory, spec.compress).await;
        let exported = exported.map_err(|error| {
            if error.message().contains("failed to write XML") {
                return error.with_hint("The directory has to exist on the daemon's host");
            }
            error
        })?;
        let directory = spec.directory.trim_end_matches('/');
        let copies = exported.disk_files.iter().filter(|disk| disk.starts_with('/'));
        let copies = copies.filter_map(|disk| Some(format!("{directory}/{}", disk.rsplit('/').next()?)));
        Ok(ExportedVm::new(exported.xml_file, copies.collect()))
    }
}
