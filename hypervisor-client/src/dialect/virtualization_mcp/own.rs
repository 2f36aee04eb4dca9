//! What the gateway has beyond the traits.

use hypervisor_core::http::{Method, WebSocket, segment};
use hypervisor_core::model::{Page, PageRequest, VmId};
use hypervisor_core::{Error, Operation, Result};
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::VirtualizationMcp;
use super::call::{about, typed};
use super::wire::{self, Template, VmRecord};

/// Which machines are listed, and what of them. A server that keeps the document's conventions heeds it; the server as it is gives
/// everything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ListOptions {
    /// By which field they are sorted, `-` before it for the last one first; the document's default is `-created`.
    pub sort: Option<String>,
    /// Which fields are wanted; empty means all.
    pub fields: Vec<String>,
}

/// How an adapter of a machine is plugged in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AdapterMode {
    /// Which adapter, from 1.
    pub adapter: u32,
    /// `nat`, `bridged`, `hostonly`, `intnet`.
    pub mode: String,
    /// The interface of the host, for `hostonly`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host_only_if: Option<String>,
    /// The interface of the host, for `bridged`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bridged_if: Option<String>,
    /// The network's name, for `intnet`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub intnet_name: Option<String>,
}

/// A port of the host that leads to one of a machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PortForward {
    /// The rule's name.
    pub name: String,
    /// `tcp` or `udp`.
    pub protocol: String,
    /// The port of the host.
    pub host_port: u16,
    /// The port of the machine.
    pub guest_port: u16,
}

impl VirtualizationMcp {
    /// Lists machines as the gateway shows them (`GET /vms`), sorted and with the fields that are wanted.
    ///
    /// # Errors
    /// As for any call.
    pub async fn search_vms(&self, options: &ListOptions, page: &PageRequest) -> Result<Page<VmRecord>> {
        let mut request = self.link.request(Method::GET, "/vms").operation(Operation::ListVms);
        if let Some(sort) = &options.sort {
            request = request.query("sort", sort);
        }
        if !options.fields.is_empty() {
            request = request.query("fields", options.fields.join(","));
        }
        self.link.page(request, "vms", page, |vm: &VmRecord| vm.address().to_owned()).await
    }

    /// Asks how the gateway is (`GET /health`).
    ///
    /// # Errors
    /// As for any call.
    pub async fn health(&self) -> Result<Value> {
        self.link.value(self.link.request(Method::GET, "/health")).await
    }

    /// Reads the host's load (`GET /host/info`): `cpu_usage`, `memory_total`, `memory_available`, `disk_usage`.
    ///
    /// # Errors
    /// As for any call.
    pub async fn host_info(&self) -> Result<Map<String, Value>> {
        self.link.data(self.link.request(Method::GET, "/host/info")).await
    }

    /// Asks whether VirtualBox is there (`GET /vbox/status`).
    ///
    /// # Errors
    /// As for any call.
    pub async fn vbox_status(&self) -> Result<Map<String, Value>> {
        self.link.data(self.link.request(Method::GET, "/vbox/status")).await
    }

    /// Lists the templates (`GET /templates`).
    ///
    /// # Errors
    /// As for any call.
    pub async fn templates(&self) -> Result<Vec<Template>> {
        let data = self.link.value(self.link.request(Method::GET, "/templates")).await?;
        typed(&wire::list(data, "templates"))
    }

    /// Makes a template (`POST /templates`).
    ///
    /// # Errors
    /// `InvalidInput`.
    pub async fn create_template_of(&self, name: &str, config: &Map<String, Value>) -> Result<()> {
        let request =
            self.link.request(Method::POST, "/templates").json(&json!({ "name": name, "config": config }));
        self.link.send(request).await.map_err(about("template", name))?;
        Ok(())
    }

    /// Changes a template (`PUT /templates/{name}`).
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn update_template(&self, name: &str, config: &Map<String, Value>) -> Result<()> {
        let path = format!("/templates/{}", segment(name)?);
        let request = self.link.request(Method::PUT, &path).json(&json!({ "name": name, "config": config }));
        self.link.send(request).await.map_err(about("template", name))?;
        Ok(())
    }

    /// Deletes a template (`DELETE /templates/{name}`). The server says that it has deleted one that was never there.
    ///
    /// # Errors
    /// As for any call.
    pub async fn delete_template(&self, name: &str) -> Result<()> {
        let path = format!("/templates/{}", segment(name)?);
        self.link.send(self.link.request(Method::DELETE, &path)).await.map_err(about("template", name))?;
        Ok(())
    }

    /// Reads how a machine's adapters are plugged in (`GET /vms/{name}/network`).
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn adapters(&self, vm: &VmId) -> Result<Value> {
        let path = format!("/vms/{}/network", segment(vm.as_str())?);
        self.link.value(self.link.request(Method::GET, &path)).await.map_err(about(VmId::NOUN, vm))
    }

    /// Plugs an adapter in (`POST /vms/{name}/network`).
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn set_adapter(&self, vm: &VmId, mode: &AdapterMode) -> Result<()> {
        let path = format!("/vms/{}/network", segment(vm.as_str())?);
        self.link
            .send(self.link.request(Method::POST, &path).json(mode))
            .await
            .map_err(about(VmId::NOUN, vm))?;
        Ok(())
    }

    /// Opens a port of the host to a machine (`POST /vms/{name}/network/port-forwarding`).
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn forward_port(&self, vm: &VmId, rule: &PortForward) -> Result<()> {
        let path = format!("/vms/{}/network/port-forwarding", segment(vm.as_str())?);
        self.link
            .send(self.link.request(Method::POST, &path).json(rule))
            .await
            .map_err(about(VmId::NOUN, vm))?;
        Ok(())
    }

    /// Closes it (`DELETE /vms/{name}/network/port-forwarding/{rule}`).
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn close_port(&self, vm: &VmId, rule: &str) -> Result<()> {
        let path = format!("/vms/{}/network/port-forwarding/{}", segment(vm.as_str())?, segment(rule)?);
        self.link.send(self.link.request(Method::DELETE, &path)).await.map_err(about(VmId::NOUN, vm))?;
        Ok(())
    }

    /// Puts a disc into a machine (`POST /vms/{name}/attach-iso`). `iso_path` is a path on the host.
    ///
    /// # Errors
    /// `NotFound`; `InvalidInput` for a path that is empty.
    pub async fn attach_iso(&self, vm: &VmId, iso_path: &str) -> Result<()> {
        if iso_path.is_empty() {
            return Err(Error::invalid("iso_path", "must not be empty"));
        }
        let path = format!("/vms/{}/attach-iso", segment(vm.as_str())?);
        let request = self.link.request(Method::POST, &path).json(&json!({ "iso_path": iso_path }));
        self.link.send(request).await.map_err(about(VmId::NOUN, vm))?;
        Ok(())
    }

    /// Reads how a machine's remote desktop is served (`GET /vms/{name}/vrde`).
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn remote_desktop(&self, vm: &VmId) -> Result<Value> {
        let path = format!("/vms/{}/vrde", segment(vm.as_str())?);
        self.link.value(self.link.request(Method::GET, &path)).await.map_err(about(VmId::NOUN, vm))
    }

    /// Has a machine's remote desktop served, or not (`POST /vms/{name}/vrde`).
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn serve_remote_desktop(&self, vm: &VmId, enabled: bool, port: Option<u16>) -> Result<()> {
        let path = format!("/vms/{}/vrde", segment(vm.as_str())?);
        let request =
            self.link.request(Method::POST, &path).json(&json!({ "enabled": enabled, "port": port }));
        self.link.send(request).await.map_err(about(VmId::NOUN, vm))?;
        Ok(())
    }

    /// Opens a machine's screen: VNC's bytes in binary frames (`GET /vms/{name}/vnc`). What goes wrong comes as a text frame that begins with
    /// `ERROR:`, after which the gateway closes.
    ///
    /// # Errors
    /// What opening a WebSocket says.
    pub async fn open_console(&self, vm: &VmId) -> Result<WebSocket> {
        let path = format!("/vms/{}/vnc", segment(vm.as_str())?);
        let request = self.link.request(Method::GET, &path).operation(Operation::GetConsole);
        self.link.websocket(request).await.map_err(about(VmId::NOUN, vm))
    }
}
