//! Networks and interfaces.

use hypervisor_core::Result;
use hypervisor_core::model::MacAddr;

use super::{Api, Call};
use crate::dialect::hypersdk::names::{check, check_xml};
use crate::dialect::hypersdk::routes::{self, Route};
use crate::dialect::hypersdk::wire::{AttachInterface, DetachInterface, LibvirtNetwork, NewNetwork, named};

impl Api {
    /// Lists the networks (`GET /libvirt/networks`): names, and whether they are up.
    pub async fn networks(&self) -> Result<Vec<LibvirtNetwork>> {
        self.send(Call::new(&routes::NETWORKS)).await?.list("networks")
    }

    /// Reads one network (`GET /libvirt/network`).
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn network(&self, name: &str) -> Result<LibvirtNetwork> {
        check("network", name)?;
        self.send(Call::new(&routes::NETWORK).query("name", name).about("network", name)).await?.object()
    }

    /// Makes a network, brings it up and lets it start with its host (`POST /libvirt/network/create`). The daemon answers with success also
    /// where it could not be brought up.
    ///
    /// # Errors
    /// `AlreadyExists`, `InvalidInput`.
    pub async fn create_network(&self, network: &NewNetwork) -> Result<()> {
        check("name", &network.name)?;
        for (field, value) in [
            ("name", &network.name),
            ("bridge", &network.bridge),
            ("forward", &network.forward),
            ("subnet", &network.subnet),
            ("ip_start", &network.ip_start),
            ("ip_end", &network.ip_end),
        ] {
            check_xml(field, value)?;
        }
        let call = Call::new(&routes::NETWORK_CREATE).json(network)?.about("network", &network.name);
        self.send(call).await?.done()
    }

    /// Takes a network down and deletes it (`POST /libvirt/network/delete`).
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn delete_network(&self, name: &str) -> Result<()> {
        self.of_network(&routes::NETWORK_DELETE, name).await
    }

    /// Brings a network up (`POST /libvirt/network/start`).
    ///
    /// # Errors
    /// `NotFound`, `InvalidState`.
    pub async fn start_network(&self, name: &str) -> Result<()> {
        self.of_network(&routes::NETWORK_START, name).await
    }

    /// Takes a network down (`POST /libvirt/network/stop`).
    ///
    /// # Errors
    /// `NotFound`, `InvalidState`.
    pub async fn stop_network(&self, name: &str) -> Result<()> {
        self.of_network(&routes::NETWORK_STOP, name).await
    }

    async fn of_network(&self, route: &Route, name: &str) -> Result<()> {
        check("network", name)?;
        self.send(Call::new(route).json(&named("name", name))?.about("network", name)).await?.done()
    }

    /// Attaches an interface to a running domain and to its definition (`POST /libvirt/interface/attach`). `model` is `virtio` where it is
    /// empty. The daemon does not tell the address that libvirt gave it.
    ///
    /// # Errors
    /// `NotFound` for the domain or the network, `InvalidState` for a domain that does not run.
    pub async fn attach_interface(&self, vm: &str, network: &str, model: &str) -> Result<()> {
        let model = if model.is_empty() { "virtio" } else { model };
        for (field, value) in [("vm", vm), ("network", network), ("model", model)] {
            check(field, value)?;
        }
        let body = AttachInterface { vm_name: vm, network, model };
        let call = Call::new(&routes::INTERFACE_ATTACH).json(&body)?;
        self.send(call.about("vm", vm).about("network", network).slow()).await?.done()
    }

    /// Detaches the interface of this address from a running domain and from its definition (`POST /libvirt/interface/detach`).
    ///
    /// # Errors
    /// `NotFound` for the domain or the interface, `InvalidState` for a domain that does not run.
    pub async fn detach_interface(&self, vm: &str, mac: MacAddr) -> Result<()> {
        check("vm", vm)?;
        let mac = mac.to_string();
        let body = DetachInterface { vm_name: vm, mac: &mac };
        let call = Call::new(&routes::INTERFACE_DETACH).json(&body)?;
        self.send(call.about("vm", vm).about("nic", &mac).slow()).await?.done()
    }
}
