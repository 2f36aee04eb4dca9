//! Guests of libvirt's that a current server does not manage yet, and what keeps its books and libvirt's in step: beyond the shared traits.

use hypervisor_core::http::{Method, Request};
use hypervisor_core::model::{HostId, VmId};
use hypervisor_core::{Error, Result};
use serde_json::{Value, json};

use super::api::About;
use super::backend::Virtumancer;
use super::routes::Generation;
use super::wire::{DiscoveredVm, Listed, Place};

impl Virtumancer {
    /// Lists the guests that libvirt has and the server does not manage, on one host or on all. Current servers only.
    ///
    /// # Errors
    /// What the server says; `Unsupported`.
    pub async fn discovered_vms(&self, host: Option<&HostId>) -> Result<Vec<DiscoveredVm>> {
        self.at_least(Generation::Current, "discovering guests")?;
        let path = match host {
            Some(host) => self.path("/hosts/{host}/discovered-vms", &[("host", host.as_str())])?,
            None => self.path("/discovered-vms", &[])?,
        };
        let about = host.map_or(About::Nothing, |host| About::Host(host.to_string()));
        let listed: Listed<DiscoveredVm> = self.inner.api.json(Request::get(path), &about).await?;
        Ok(listed.into_vec())
    }

    /// Has the server look for such guests on all hosts. It answers before it has looked. Current servers only.
    ///
    /// # Errors
    /// What the server says; `Unsupported`.
    pub async fn refresh_discovered_vms(&self) -> Result<()> {
        self.at_least(Generation::Current, "discovering guests")?;
        let request = Request::post(self.path("/discovered-vms/refresh", &[])?);
        self.inner.api.done(request, &About::Nothing).await
    }

    /// Has the server forget the discovered guests with these UUIDs of libvirt's; the next look at the host finds those that are still there.
    /// UUIDs that it does not know are as good as forgotten. Current servers only.
    ///
    /// # Errors
    /// `InvalidInput` for none at all; what the server says; `Unsupported`.
    pub async fn forget_discovered_vms(&self, host: &HostId, uuids: &[String]) -> Result<()> {
        self.at_least(Generation::Current, "discovering guests")?;
        let path = self.path("/hosts/{host}/discovered-vms", &[("host", host.as_str())])?;
        let request = Request::delete(path).json(&chosen(uuids)?);
        self.inner.api.done(request, &About::Host(host.to_string())).await
    }

    /// Has the server manage a guest of libvirt's from now on; it then shows in lists, under the id that is returned. Current servers only.
    ///
    /// # Errors
    /// `NotFound`, `HostUnreachable`, `Unsupported`.
    pub async fn import_vm(&self, host: &HostId, name: &str) -> Result<VmId> {
        self.at_least(Generation::Current, "importing guests")?;
        let place = Place::new(host.as_str(), name);
        let path = self.path("/hosts/{host}/vms/{vm}/import", &[("host", host.as_str()), ("vm", name)])?;
        self.inner.api.done(Request::post(path), &About::Vm(place.clone())).await?;
        Ok(VmId::from(&place))
    }

    /// Has the server manage all guests that libvirt has on a host. Current servers only; early ones do so by themselves when a host is
    /// added.
    ///
    /// # Errors
    /// `NotFound`, `HostUnreachable`, `Unsupported`.
    pub async fn import_all(&self, host: &HostId) -> Result<()> {
        self.at_least(Generation::Current, "importing guests")?;
        let path = self.path("/hosts/{host}/vms/import-all", &[("host", host.as_str())])?;
        self.inner.api.done(Request::post(path), &About::Host(host.to_string())).await
    }

    /// Has the server manage the discovered guests with these UUIDs of libvirt's. It leaves out, without a word, those that it has not
    /// discovered and those that it cannot import: look at the list. Current servers only.
    ///
    /// # Errors
    /// `InvalidInput` for none at all; `HostUnreachable`, `Unsupported`.
    pub async fn import_selected(&self, host: &HostId, uuids: &[String]) -> Result<()> {
        self.at_least(Generation::Current, "importing guests")?;
        let path = self.path("/hosts/{host}/vms/import-selected", &[("host", host.as_str())])?;
        let request = Request::post(path).json(&chosen(uuids)?);
        self.inner.api.done(request, &About::Host(host.to_string())).await
    }

    /// Has the server take a guest's definition over from libvirt. Current servers only.
    ///
    /// # Errors
    /// `NotFound`, `HostUnreachable`, `Unsupported`.
    pub async fn sync_from_libvirt(&self, vm: &VmId) -> Result<()> {
        self.at_least(Generation::Current, "taking a definition over from libvirt")?;
        let (path, about) = self.of_vm("/hosts/{host}/vms/{vm}/sync-from-libvirt", vm)?;
        self.inner.api.done(Request::post(path), &about).await
    }

    /// Marks a guest for a rebuild from the server's own books (`needs_rebuild`). As far as known, servers only keep the mark, until the next
    /// start, and take a guest that does not exist without a word. Current servers only.
    ///
    /// # Errors
    /// What the server says; `Unsupported`.
    pub async fn rebuild_from_db(&self, vm: &VmId) -> Result<()> {
        self.at_least(Generation::Current, "rebuilding a definition")?;
        let (path, about) = self.of_vm("/hosts/{host}/vms/{vm}/rebuild-from-db", vm)?;
        self.inner.api.done(Request::post(path), &about).await
    }

    /// Writes into the server's books what a guest is meant to do (`ACTIVE`, `STOPPED`, …); does nothing to the guest. Current servers only.
    ///
    /// # Errors
    /// `InvalidInput` for a word that the server does not know; `NotFound`, `Unsupported`.
    pub async fn set_intended_state(&self, vm: &VmId, state: &str) -> Result<()> {
        self.at_least(Generation::Current, "an intended state")?;
        let (path, about) = self.of_vm("/hosts/{host}/vms/{vm}/state", vm)?;
        let request = Request::new(Method::PUT, path).json(&json!({ "state": state }));
        self.inner.api.done(request, &about).await
    }

    /// Reads all that the server knows of a guest's devices, as it came. Current servers only.
    ///
    /// # Errors
    /// `NotFound`, `Unsupported`.
    pub async fn hardware_extended(&self, vm: &VmId) -> Result<Value> {
        self.at_least(Generation::Current, "extended hardware")?;
        let (path, about) = self.of_vm("/hosts/{host}/vms/{vm}/hardware/extended", vm)?;
        self.inner.api.json(Request::get(path), &about).await
    }

    pub(super) fn of_vm(&self, template: &str, vm: &VmId) -> Result<(String, About)> {
        let place = Place::vm(vm)?;
        let path = self.path(template, &[("host", &place.host), ("vm", &place.name)])?;
        Ok((path, About::Vm(place)))
    }
}

/// The guests that a call is about, by their UUIDs.
fn chosen(uuids: &[String]) -> Result<Value> {
    if uuids.is_empty() {
        return Err(Error::invalid("uuids", "must name at least one guest"));
    }
    Ok(json!({ "domain_uuids": uuids }))
}
