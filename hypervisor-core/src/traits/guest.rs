use async_trait::async_trait;
use bytes::Bytes;

use super::unsupported;
use crate::error::Result;
use crate::model::{AddressSource, ByteSize, ExecOutput, ExecSpec, GuestAddress, VmId, WriteFile};
use crate::operation::Operation;

/// What goes through the agent inside a guest.
///
/// Every method is `InvalidState` for a guest that does not run, and
/// [`AgentUnavailable`](crate::ErrorKind::AgentUnavailable) where the agent is missing or does not answer.
#[async_trait]
pub trait Guest: Send + Sync {
    /// Finds out whether the agent answers.
    ///
    /// Needs [`Operation::PingAgent`]; a read: repeated where its answer is lost.
    ///
    /// # Errors
    /// `InvalidState`, `AgentUnavailable`.
    async fn ping_agent(&self, vm: &VmId) -> Result<()> {
        let _ = vm;
        unsupported(Operation::PingAgent)
    }

    /// Lists a guest's addresses with their source. Without `source`, asks every source that the backend has and leaves out those that do
    /// not answer; with one, its failure is an error.
    ///
    /// Needs [`Operation::ListAddresses`], and where asked for [`LeaseAddresses`](crate::model::Feature::LeaseAddresses),
    /// [`AgentAddresses`](crate::model::Feature::AgentAddresses) or [`ArpAddresses`](crate::model::Feature::ArpAddresses); a
    /// read: repeated where its answer is lost. libvirt: leases, agent and ARP table. Proxmox: the agent; for containers their
    /// interfaces.
    ///
    /// # Errors
    /// `InvalidState`; with a source, that source's failure.
    async fn list_addresses(&self, vm: &VmId, source: Option<AddressSource>) -> Result<Vec<GuestAddress>> {
        let _ = (vm, source);
        unsupported(Operation::ListAddresses)
    }

    /// Runs a command inside a guest and waits for its end.
    ///
    /// Needs [`Operation::ExecInGuest`]; an action: not repeated where its answer is lost. The agent may cut what is long;
    /// `truncated` says so.
    ///
    /// # Errors
    /// `NotFound` for the program; `Timeout` when it takes longer than its deadline; it goes on inside the guest.
    async fn exec_in_guest(&self, vm: &VmId, spec: &ExecSpec) -> Result<ExecOutput> {
        let _ = (vm, spec);
        unsupported(Operation::ExecInGuest)
    }

    /// Reads a file inside a guest, of at most `limit`.
    ///
    /// Needs [`Operation::ReadGuestFile`]; a read: repeated where its answer is lost.
    ///
    /// # Errors
    /// `NotFound` for the file, `InvalidInput` if it is larger.
    async fn read_guest_file(&self, vm: &VmId, path: &str, limit: ByteSize) -> Result<Bytes> {
        let _ = (vm, path, limit);
        unsupported(Operation::ReadGuestFile)
    }

    /// Writes a file inside a guest.
    ///
    /// Needs [`Operation::WriteGuestFile`]; twice is the same as once: repeated where its answer is lost.
    ///
    /// # Errors
    /// `InvalidState`, `AgentUnavailable`, `NotFound` for the folder.
    async fn write_guest_file(
        &self,
        vm: &VmId,
        path: &str,
        content: Bytes,
        options: &WriteFile,
    ) -> Result<()> {
        let _ = (vm, path, content, options);
        unsupported(Operation::WriteGuestFile)
    }

    /// Freezes a guest's file systems and returns how many. They stay frozen until they are thawed.
    ///
    /// Needs [`Operation::FreezeFilesystems`]; an action: not repeated where its answer is lost.
    ///
    /// # Errors
    /// `InvalidState`, `AgentUnavailable`.
    async fn freeze_filesystems(&self, vm: &VmId) -> Result<u32> {
        let _ = vm;
        unsupported(Operation::FreezeFilesystems)
    }

    /// Thaws a guest's file systems and returns how many.
    ///
    /// Needs [`Operation::ThawFilesystems`]; twice is the same as once: repeated where its answer is lost.
    ///
    /// # Errors
    /// `InvalidState`, `AgentUnavailable`.
    async fn thaw_filesystems(&self, vm: &VmId) -> Result<u32> {
        let _ = vm;
        unsupported(Operation::ThawFilesystems)
    }
}
