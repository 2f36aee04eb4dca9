use bytes::Bytes;

use super::link::Link;
use super::vm::Vm;
use crate::error::Result;
use crate::model::{ByteSize, ExecOutput, ExecSpec, VmId, WriteFile};
use crate::operation::Operation;

/// What goes through the agent inside one guest. Every call is `InvalidState` for a guest that does not run and `AgentUnavailable` where
/// the agent does not answer; [`Vm::wait_for_agent`] waits for it.
///
/// ```
/// # use std::sync::Arc;
/// use std::time::Duration;
/// use hypervisor_core::Hypervisor;
/// use hypervisor_core::memory::Memory;
/// use hypervisor_core::model::{ByteSize, VmSpec, WriteFile};
/// # tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap().block_on(async {
/// let hv: Arc<dyn Hypervisor> = Arc::new(Memory::new());
/// let vm = hv.vms().create(&VmSpec::new("web-1").agent(true).start(true)).await?.await?;
/// vm.wait_for_agent(Duration::from_secs(60)).await?;
/// vm.agent().write_file("/etc/motd", "welcome", &WriteFile::replace()).await?;
/// assert_eq!(vm.agent().read_file("/etc/motd", ByteSize::kib(4)).await?, "welcome");
/// # Ok::<(), hypervisor_core::Error>(()) }).unwrap();
/// ```
#[derive(Debug, Clone)]
pub struct Agent {
    link: Link,
    vm: VmId,
}

impl Agent {
    pub(super) fn new(vm: &Vm) -> Self {
        Self { link: vm.link.clone(), vm: vm.id.clone() }
    }

    /// Finds out whether it answers.
    ///
    /// # Errors
    /// `AgentUnavailable` if it does not.
    pub async fn ping(&self) -> Result<()> {
        self.link.call(Operation::PingAgent, &[], self.link.hv.ping_agent(&self.vm)).await
    }

    /// Runs a command inside the guest and waits for its end.
    ///
    /// # Errors
    /// `Timeout` when it takes longer than its deadline; it goes on inside the guest.
    pub async fn exec(&self, spec: &ExecSpec) -> Result<ExecOutput> {
        self.link.call(Operation::ExecInGuest, &[], self.link.hv.exec_in_guest(&self.vm, spec)).await
    }

    /// Reads a file inside the guest, of at most `limit`.
    ///
    /// # Errors
    /// `NotFound` for the file, `InvalidInput` if it is larger.
    pub async fn read_file(&self, path: &str, limit: ByteSize) -> Result<Bytes> {
        let call = self.link.hv.read_guest_file(&self.vm, path, limit);
        self.link.call(Operation::ReadGuestFile, &[], call).await
    }

    /// Writes a file inside the guest.
    ///
    /// # Errors
    /// As [`write_guest_file`](crate::Guest::write_guest_file).
    pub async fn write_file(&self, path: &str, content: impl Into<Bytes>, options: &WriteFile) -> Result<()> {
        let call = self.link.hv.write_guest_file(&self.vm, path, content.into(), options);
        self.link.call(Operation::WriteGuestFile, &[], call).await
    }

    /// Freezes the guest's file systems and gives their number. They stay frozen until [`thaw`](Self::thaw).
    ///
    /// # Errors
    /// As [`freeze_filesystems`](crate::Guest::freeze_filesystems).
    pub async fn freeze(&self) -> Result<u32> {
        self.link.call(Operation::FreezeFilesystems, &[], self.link.hv.freeze_filesystems(&self.vm)).await
    }

    /// Thaws the guest's file systems and gives their number.
    ///
    /// # Errors
    /// As [`thaw_filesystems`](crate::Guest::thaw_filesystems).
    pub async fn thaw(&self) -> Result<u32> {
        self.link.call(Operation::ThawFilesystems, &[], self.link.hv.thaw_filesystems(&self.vm)).await
    }
}
