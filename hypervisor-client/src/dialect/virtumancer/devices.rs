//! What current servers list of their guests' devices, as it comes: beyond the shared traits. Nothing of it comes in pages, and `null` is an
//! empty list. Keys are in snake case in some lists and in Pascal case in others.

use hypervisor_core::Result;
use hypervisor_core::http::Request;
use hypervisor_core::model::{HostId, VmId};
use serde_json::Value;

use super::api::About;
use super::backend::Virtumancer;
use super::routes::Generation;
use super::wire::Listed;

impl Virtumancer {
    /// Lists the disks of all guests (`GET /storage/disk-attachments`).
    ///
    /// # Errors
    /// What the server says; `Unsupported`.
    pub async fn disk_attachments(&self) -> Result<Vec<Value>> {
        self.devices("/storage/disk-attachments", &[], About::Nothing).await
    }

    /// Lists the ports of a host, or of all (`GET /hosts/{id}/ports`, `GET /ports`).
    ///
    /// # Errors
    /// What the server says; `Unsupported`.
    pub async fn ports(&self, host: Option<&HostId>) -> Result<Vec<Value>> {
        match host {
            Some(host) => self.of_host("/hosts/{host}/ports", host).await,
            None => self.devices("/ports", &[], About::Nothing).await,
        }
    }

    /// Lists which ports a guest, or all guests, are plugged into (`GET …/port-attachments`).
    ///
    /// # Errors
    /// `NotFound`; what the server says; `Unsupported`.
    pub async fn port_attachments(&self, vm: Option<&VmId>) -> Result<Vec<Value>> {
        match vm {
            Some(vm) => self.of_guest("/hosts/{host}/vms/{vm}/port-attachments", vm).await,
            None => self.devices("/port-attachments", &[], About::Nothing).await,
        }
    }

    /// Lists the models of graphics cards (`GET /video/models`).
    ///
    /// # Errors
    /// What the server says; `Unsupported`.
    pub async fn video_models(&self) -> Result<Vec<Value>> {
        self.devices("/video/models", &[], About::Nothing).await
    }

    /// Lists a host's graphics cards (`GET /hosts/{id}/video/devices`).
    ///
    /// # Errors
    /// What the server says; `Unsupported`.
    pub async fn video_devices(&self, host: &HostId) -> Result<Vec<Value>> {
        self.of_host("/hosts/{host}/video/devices", host).await
    }

    /// Lists a guest's graphics cards (`GET …/video-attachments`).
    ///
    /// # Errors
    /// `NotFound`; what the server says; `Unsupported`.
    pub async fn video_attachments(&self, vm: &VmId) -> Result<Vec<Value>> {
        self.of_guest("/hosts/{host}/vms/{vm}/video-attachments", vm).await
    }

    async fn of_host(&self, template: &str, host: &HostId) -> Result<Vec<Value>> {
        self.devices(template, &[("host", host.as_str())], About::Host(host.to_string())).await
    }

    async fn of_guest(&self, template: &str, vm: &VmId) -> Result<Vec<Value>> {
        self.at_least(Generation::Current, "lists of devices")?;
        let (path, about) = self.of_vm(template, vm)?;
        let listed: Listed<Value> = self.inner.api.json(Request::get(path), &about).await?;
        Ok(listed.into_vec())
    }

    async fn devices(&self, template: &str, parts: &[(&str, &str)], about: About) -> Result<Vec<Value>> {
        self.at_least(Generation::Current, "lists of devices")?;
        let request = Request::get(self.path(template, parts)?);
        let listed: Listed<Value> = self.inner.api.json(request, &about).await?;
        Ok(listed.into_vec())
    }
}
