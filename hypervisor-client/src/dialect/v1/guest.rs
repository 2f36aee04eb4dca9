//! What goes through the agent inside a guest.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use hypervisor_core::model::{AddressSource, ByteSize, ExecOutput, ExecSpec, GuestAddress, VmId, WriteFile};
use hypervisor_core::{Guest, Operation as O, Result};

use super::V1;
use super::call::{about, body, json};
use super::metrics::running;
use super::wire::envelope::key;

/// What a call needs beside the time that the command itself may take.
const SLACK: Duration = Duration::from_secs(15);

#[async_trait]
impl Guest for V1 {
    async fn ping_agent(&self, vm: &VmId) -> Result<()> {
        self.needs(O::PingAgent, &[])?;
        let request = self.request(O::PingAgent, &[vm.as_str()])?.reads();
        self.write(request).await.map_err(about(VmId::NOUN, vm))?;
        Ok(())
    }

    async fn list_addresses(&self, vm: &VmId, source: Option<AddressSource>) -> Result<Vec<GuestAddress>> {
        self.needs(O::ListAddresses, &source.map(AddressSource::needs).unwrap_or_default())?;
        let request = self.request(O::ListAddresses, &[vm.as_str()])?;
        if self.native {
            let request = match source {
                Some(source) => request.query("source", source.as_str()),
                None => request,
            };
            return self.link.field::<key::Addresses, _>(request).await.map_err(about(VmId::NOUN, vm));
        }
        let details = self.details(O::ListAddresses, vm).await?;
        running(&details.state(), vm, O::ListAddresses)?;
        let nics = details.configuration.into_iter().flat_map(|configuration| configuration.network);
        let addresses = nics.filter_map(|nic| {
            let mut address = GuestAddress::new(nic.ip_address?.parse().ok()?, AddressSource::Config);
            let width = nic.subnet.as_deref().and_then(|subnet| subnet.rsplit_once('/')?.1.parse().ok());
            address.prefix = width;
            address.interface = nic.interface;
            Some(address)
        });
        Ok(addresses.collect())
    }

    async fn exec_in_guest(&self, vm: &VmId, spec: &ExecSpec) -> Result<ExecOutput> {
        self.needs(O::ExecInGuest, &[])?;
        spec.validate()?;
        let request = self.request(O::ExecInGuest, &[vm.as_str()])?.json(&body("spec", spec)?);
        let request = request.deadline(spec.deadline.saturating_add(SLACK));
        self.link.field::<key::Output, _>(request).await.map_err(about(VmId::NOUN, vm))
    }

    async fn read_guest_file(&self, vm: &VmId, path: &str, limit: ByteSize) -> Result<Bytes> {
        self.needs(O::ReadGuestFile, &[])?;
        let request = self.request(O::ReadGuestFile, &[vm.as_str()])?;
        let request = request.query("path", path).query("limit", limit.as_bytes().to_string());
        let response = self.link.send(request).await.map_err(about(VmId::NOUN, vm))?;
        Ok(response.into_bytes())
    }

    async fn write_guest_file(
        &self,
        vm: &VmId,
        path: &str,
        content: Bytes,
        options: &WriteFile,
    ) -> Result<()> {
        self.needs(O::WriteGuestFile, &[])?;
        let request = self.request(O::WriteGuestFile, &[vm.as_str()])?;
        let request = request.query("path", path).query("options", json("options", options)?);
        let request = request.bytes("application/octet-stream", content);
        self.write(request).await.map_err(about(VmId::NOUN, vm))?;
        Ok(())
    }

    async fn freeze_filesystems(&self, vm: &VmId) -> Result<u32> {
        self.count(O::FreezeFilesystems, vm).await
    }

    async fn thaw_filesystems(&self, vm: &VmId) -> Result<u32> {
        self.count(O::ThawFilesystems, vm).await
    }
}

impl V1 {
    async fn count(&self, operation: O, vm: &VmId) -> Result<u32> {
        self.needs(operation, &[])?;
        let request = self.request(operation, &[vm.as_str()])?;
        self.link.field::<key::Count, _>(request).await.map_err(about(VmId::NOUN, vm))
    }
}
