//! Guests of libvirt's that a current server does not manage yet, and what keeps its books and libvirt's in step: beyond the shared traits.

use std::collections::BTreeSet;
use std::time::Duration;

use hypervisor_core::http::{Method, Request};
use hypervisor_core::model::{HostId, VmId};
use hypervisor_core::{Error, ErrorKind, Result};
use serde_json::{Value, json};

use super::BACKEND;
use super::api::About;
use super::backend::Virtumancer;
use super::routes::Generation;
use super::wire::{DiscoveredVm, Listed, Place};

/// How often it is asked what there is to import, and how often it has to have nothing new to tell.
const LOOK_EVERY: Duration = Duration::from_millis(250);
const QUIET_LOOKS: u32 = 4;

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

    /// Has the server manage a guest of libvirt's from now on; it then shows in lists, under the id that is returned. One that is managed
    /// already is left as it is: the server would make a second guest of it, under another name. Current servers only.
    ///
    /// # Errors
    /// `NotFound`, `HostUnreachable`, `Unsupported`.
    pub async fn import_vm(&self, host: &HostId, name: &str) -> Result<VmId> {
        self.at_least(Generation::Current, "importing guests")?;
        let place = Place::new(host.as_str(), name);
        let path = self.path("/hosts/{host}/vms/{vm}/import", &[("host", host.as_str()), ("vm", name)])?;
        if !self.inner.api.vms(host.as_str()).await?.iter().any(|vm| vm.name == name) {
            self.inner.api.done(Request::post(path), &About::Vm(place.clone())).await?;
        }
        Ok(VmId::from(&place))
    }

    /// Has the server manage all guests that libvirt has on a host. Current servers only; early ones do so by themselves when a host is
    /// added.
    ///
    /// The server imports what its own looks at the host have found, which may not have ended yet, or, for a host that was added just now, not
    /// begun. So it is asked what there is, which makes it look, and told to import, until it has nothing new to tell for a second. On a host
    /// with very many guests or a slow connection a look can take longer than that: then compare the list, and call this again.
    ///
    /// # Errors
    /// `NotFound`, `HostUnreachable`, `Unsupported`.
    pub async fn import_all(&self, host: &HostId) -> Result<()> {
        self.at_least(Generation::Current, "importing guests")?;
        self.must_be_connected(host).await?;
        let path = self.path("/hosts/{host}/vms/import-all", &[("host", host.as_str())])?;
        let mut before = BTreeSet::new();
        let mut quiet = 0;
        loop {
            let found = self.discovered_vms(Some(host)).await?;
            let found: BTreeSet<String> = found.into_iter().map(|vm| vm.uuid.unwrap_or(vm.name)).collect();
            // What is still there had its chance: it cannot be imported.
            if found.is_subset(&before) {
                quiet += 1;
            } else {
                quiet = 0;
                self.inner.api.done(Request::post(path.as_str()), &About::Host(host.to_string())).await?;
            }
            before.extend(found);
            if quiet > QUIET_LOOKS {
                return Ok(());
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Has the server manage the discovered guests with these UUIDs of libvirt's. It leaves out, without a word, those that it has not
    /// discovered and those that it cannot import: look at the list. Current servers only.
    ///
    /// # Errors
    /// `InvalidInput` for none at all; `NotFound`, `HostUnreachable`, `Unsupported`.
    pub async fn import_selected(&self, host: &HostId, uuids: &[String]) -> Result<()> {
        self.at_least(Generation::Current, "importing guests")?;
        let path = self.path("/hosts/{host}/vms/import-selected", &[("host", host.as_str())])?;
        let request = Request::post(path).json(&chosen(uuids)?);
        self.must_be_connected(host).await?;
        self.inner.api.done(request, &About::Host(host.to_string())).await
    }

    /// Refuses what the server would answer with success though it cannot do it: nothing of a host that it is not connected to is imported.
    async fn must_be_connected(&self, host: &HostId) -> Result<()> {
        let found = self.inner.api.host(host.as_str()).await?;
        if found.is_connected() == Some(false) {
            return Err(Error::new(ErrorKind::HostUnreachable, found.trouble())
                .with_target(HostId::NOUN, host)
                .with_backend(BACKEND));
        }
        Ok(())
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
