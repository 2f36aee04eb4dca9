//! Which domain is meant, and what is known of it.

use futures::{StreamExt as _, stream};
use hypervisor_core::model::{Page, PageRequest, VmId, VmInfo, VmQuery};
use hypervisor_core::{Error, ErrorKind, Result};

use crate::dialect::hypersdk::wire::Domain;
use crate::dialect::hypersdk::{AT_ONCE, BACKEND, HyperSdk, names};

/// A domain in the SDK's words.
pub(crate) fn info(domain: Domain) -> VmInfo {
    let template = domain.is_template();
    let mut info =
        VmInfo::new(domain.name.as_str(), domain.name.as_str(), domain.vm_state()).template(template);
    info.memory = domain.memory_size();
    // A list tells none of these, and is not taken for saying no.
    if !domain.uuid.is_empty() {
        info = info.uid(domain.uuid).autostart(domain.autostart);
        info.cpus = (domain.cpus > 0).then_some(domain.cpus);
        info.extra.insert(BACKEND, "persistent", domain.persistent);
    }
    info
}

impl HyperSdk {
    /// Reads the domain of an id: its name, or its UUID.
    pub(crate) async fn domain(&self, vm: &VmId) -> Result<Domain> {
        names::check("vm", vm.as_str())?;
        if vm.as_str().bytes().all(|byte| byte.is_ascii_digit()) {
            self.check_number(vm).await?;
        }
        let domain = self.api.domain(vm.as_str()).await?;
        // What `virsh` answers to an option, or a cut answer.
        if domain.uuid.is_empty() && domain.state.is_empty() {
            return Err(vm.not_found());
        }
        Ok(domain)
    }

    /// The daemon repeats the UUID that a machine was asked for by in the place of its name: the one of that UUID is looked for.
    pub(super) async fn with_its_name(&self, domain: Domain) -> Result<Domain> {
        if domain.name != domain.uuid {
            return Ok(domain);
        }
        let names = self.api.domains().await?.into_iter().map(|each| each.name);
        let mut each = stream::iter(names)
            .map(|name| async move { self.domain(&VmId::from(name)).await })
            .buffer_unordered(AT_ONCE);
        while let Some(found) = each.next().await {
            match found {
                Ok(found) if found.uuid == domain.uuid => return Ok(found),
                Ok(_) => {}
                Err(error)
                    if matches!(
                        error.kind(),
                        ErrorKind::NotFound | ErrorKind::InvalidInput | ErrorKind::Conflict
                    ) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(domain)
    }

    /// `virsh` takes digits for libvirt's number of a running domain first: another machine than the one of that name.
    async fn check_number(&self, vm: &VmId) -> Result<()> {
        let domains = self.api.domains().await?;
        if !domains.iter().any(|domain| domain.name == vm.as_str()) {
            return Err(vm.not_found());
        }
        match domains.iter().find(|domain| domain.id == vm.as_str() && domain.name != vm.as_str()) {
            Some(other) => {
                let why = format!("libvirt has given this number to the running machine `{}`", other.name);
                Err(Error::new(ErrorKind::Conflict, why)
                    .with_target(VmId::NOUN, vm)
                    .with_hint("hypervisord would take it for that one: use the UUID"))
            }
            None => Ok(()),
        }
    }

    pub(super) async fn vms(&self, query: &VmQuery, page: &PageRequest) -> Result<Page<VmInfo>> {
        let mut listed: Vec<VmInfo> = self.api.domains().await?.into_iter().map(info).collect();
        listed.retain(|vm| query.matches(vm));
        let page = Page::cut(listed, page, |vm| vm.id.to_string());
        let Page { items, next, total, .. } = page;
        let details: Vec<Result<Option<VmInfo>>> =
            stream::iter(items).map(|vm| self.detailed(vm)).buffered(AT_ONCE).collect().await;
        let items = details.into_iter().filter_map(Result::transpose).collect::<Result<Vec<_>>>()?;
        let page = Page::new(items, next);
        Ok(total.into_iter().fold(page, Page::with_total))
    }

    /// What one line of the list is in full. A machine that is gone meanwhile is left out; one whose name the daemon's list has cut, or that
    /// cannot be asked for by it, stays as the list has it.
    async fn detailed(&self, vm: VmInfo) -> Result<Option<VmInfo>> {
        match self.domain(&vm.id).await {
            Ok(domain) => Ok(Some(info(domain))),
            Err(error) if error.is_not_found() && !vm.name.contains(' ') => Ok(None),
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::NotFound | ErrorKind::InvalidInput | ErrorKind::Conflict
                ) =>
            {
                Ok(Some(vm))
            }
            Err(error) => Err(error),
        }
    }
}
