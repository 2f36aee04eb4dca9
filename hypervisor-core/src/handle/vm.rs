use std::fmt;
use std::sync::Arc;

use super::agent::Agent;
use super::link::Link;
use super::listing::Listing;
use super::settle::Settle;
use super::snapshots::Snapshots;
use super::task::Task;
use super::vms::made;
use crate::error::Result;
use crate::model::{
    AddressSource, BackupId, BackupInfo, BackupQuery, BackupSpec, BatchReport, ByteSize, CloneMany,
    CloneSpec, ConsoleAccess, ConsoleKind, ConsoleStream, DeleteVm, DeploySpec, DetachDisk, DiskId, DiskSpec,
    EventQuery, EventStream, ExportSpec, ExportedVm, GuestAddress, MetricsHistory, MetricsPeriod,
    MetricsTarget, MigrateSpec, NicChange, NicId, NicSpec, PowerAction, Screenshot, Shutdown, TemplateSpec,
    UpdateOutcome, VmChange, VmConfig, VmId, VmInfo, VmMetrics, VmState,
};
use crate::operation::Operation;
use crate::traits::{Compute, Hypervisor};

/// One guest. Cheap to clone; holds no state of the guest, so that nothing in it can be stale.
///
/// Every call first checks what the connection can do: `Unsupported` costs no request.
///
/// ```
/// # use std::sync::Arc;
/// use std::time::Duration;
/// use hypervisor_core::Hypervisor;
/// use hypervisor_core::memory::Memory;
/// use hypervisor_core::model::{DeleteVm, RevertSnapshot, SnapshotSpec, VmSpec};
/// # tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap().block_on(async {
/// let hv: Arc<dyn Hypervisor> = Arc::new(Memory::new());
/// let vm = hv.vms().create(&VmSpec::new("web-1")).await?.await?;
/// vm.start().await?.await?;
/// vm.wait_until_running(Duration::from_secs(60)).await?;
///
/// let before = vm.snapshots().create(&SnapshotSpec::new("before")).await?.await?;
/// vm.snapshots().revert(&before, &RevertSnapshot::new()).await?.await?;
///
/// vm.power_off().await?.await?;
/// vm.delete(&DeleteVm::with_disks().snapshots(true)).await?.await?;
/// assert!(!vm.exists().await?);
/// # Ok::<(), hypervisor_core::Error>(()) }).unwrap();
/// ```
#[derive(Clone)]
pub struct Vm {
    pub(super) link: Link,
    pub(super) id: VmId,
    uid: Option<Arc<str>>,
}

impl Vm {
    pub(super) fn new(hv: &Arc<dyn Hypervisor>, id: VmId, uid: Option<&str>) -> Self {
        Self { link: Link::to(hv, VmId::NOUN, id.as_str()), uid: uid.map(Into::into), id }
    }

    /// What the backend addresses it by.
    #[must_use]
    pub fn id(&self) -> &VmId {
        &self.id
    }

    /// The stable identity that this handle insists on when it changes or deletes the guest, where it came from a list or a
    /// [`get`](super::Vms::get).
    #[must_use]
    pub fn uid(&self) -> Option<&str> {
        self.uid.as_deref()
    }

    /// The connection.
    #[must_use]
    pub fn hypervisor(&self) -> &Arc<dyn Hypervisor> {
        &self.link.hv
    }

    /// Reads it.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn info(&self) -> Result<VmInfo> {
        self.link.call(Operation::GetVm, &[], self.link.hv.get_vm(&self.id)).await
    }

    /// Reads what it is doing.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn state(&self) -> Result<VmState> {
        Ok(self.info().await?.state)
    }

    /// Whether it exists.
    ///
    /// # Errors
    /// Why that could not be found out; a host that is away is no proof that its guests are gone.
    pub async fn exists(&self) -> Result<bool> {
        match self.info().await {
            Ok(_) => Ok(true),
            Err(error) if error.is_not_found() => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Reads its configuration with its devices and pending changes.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn config(&self) -> Result<VmConfig> {
        self.link.call(Operation::GetVmConfig, &[], self.link.hv.get_vm_config(&self.id)).await
    }

    /// Carries out a power verb.
    ///
    /// # Errors
    /// `InvalidState` where [`PowerAction::check_state`] refuses, `Locked` while another task holds it.
    pub async fn power(&self, action: PowerAction) -> Result<Task<()>> {
        let settle = |(): &()| Settle::power(&self.id, &action);
        let call = self.link.hv.power_vm(&self.id, &action);
        self.link.start(action.operation(), &action.needs(), call, settle).await
    }

    /// Powers it on, or wakes it if it hibernates.
    ///
    /// # Errors
    /// `InvalidState` if it runs.
    pub async fn start(&self) -> Result<Task<()>> {
        self.power(PowerAction::Start).await
    }

    /// Asks it to power off, once. It may take its time or ignore it: see [`wait_until_stopped`](Self::wait_until_stopped) and
    /// [`shutdown_with`](Self::shutdown_with).
    ///
    /// # Errors
    /// `InvalidState` if it does not run.
    pub async fn shutdown(&self) -> Result<Task<()>> {
        self.shutdown_with(Shutdown::new()).await
    }

    /// Asks it to power off in a certain way, and perhaps cuts its power if it has not followed in time.
    ///
    /// # Errors
    /// `InvalidState` if it does not run.
    pub async fn shutdown_with(&self, shutdown: Shutdown) -> Result<Task<()>> {
        self.power(PowerAction::Shutdown(shutdown)).await
    }

    /// Cuts its power.
    ///
    /// # Errors
    /// `InvalidState` if it is off.
    pub async fn power_off(&self) -> Result<Task<()>> {
        self.power(PowerAction::PowerOff).await
    }

    /// Asks it to restart.
    ///
    /// # Errors
    /// `InvalidState` if it does not run.
    pub async fn reboot(&self) -> Result<Task<()>> {
        self.power(PowerAction::Reboot).await
    }

    /// Restarts it at once.
    ///
    /// # Errors
    /// `InvalidState` if it is off.
    pub async fn reset(&self) -> Result<Task<()>> {
        self.power(PowerAction::Reset).await
    }

    /// Freezes its CPUs.
    ///
    /// # Errors
    /// `InvalidState` if it does not run.
    pub async fn pause(&self) -> Result<Task<()>> {
        self.power(PowerAction::Pause).await
    }

    /// Lets it go on.
    ///
    /// # Errors
    /// `InvalidState` if it is not paused.
    pub async fn resume(&self) -> Result<Task<()>> {
        self.power(PowerAction::Resume).await
    }

    /// Saves its memory to disk and powers it off.
    ///
    /// # Errors
    /// `InvalidState` if it does not run.
    pub async fn hibernate(&self) -> Result<Task<()>> {
        self.power(PowerAction::Hibernate).await
    }

    /// Changes its configuration. Never restarts it; the outcome says what waits for a power cycle.
    ///
    /// # Errors
    /// `Conflict` when the revision or uid is another.
    pub async fn update(&self, change: &VmChange) -> Result<Task<UpdateOutcome>> {
        let mut change = change.clone();
        change.expected_uid = change.expected_uid.or_else(|| self.uid.as_deref().map(str::to_owned));
        let call = self.link.hv.update_vm(&self.id, &change);
        self.link.start(Operation::UpdateVm, &change.needs(), call, |_| Settle::Unknowable).await
    }

    /// Deletes it, and its disks as the options say. A handle that does not know the uid yet asks for it first: ids are used again, and
    /// a delete that is repeated after a lost answer must not delete another guest.
    ///
    /// # Errors
    /// `InvalidState` while it runs or has snapshots, unless the options allow it; `Conflict` when it has another uid.
    pub async fn delete(&self, options: &DeleteVm) -> Result<Task<()>> {
        let mut options = options.clone();
        options.expected_uid = options.expected_uid.or_else(|| self.uid.as_deref().map(str::to_owned));
        let learn = with_uid(&*self.link.hv, &self.id, options.clone());
        let options = self.link.call(Operation::DeleteVm, &options.needs(), learn).await?;
        let call = self.link.hv.delete_vm(&self.id, &options);
        let settle = |(): &()| Settle::VmGone(self.id.clone());
        self.link.start(Operation::DeleteVm, &options.needs(), call, settle).await
    }

    /// Copies it.
    ///
    /// # Errors
    /// As [`clone_vm`](crate::Compute::clone_vm).
    pub async fn clone_as(&self, spec: &CloneSpec) -> Result<Task<Vm>> {
        let call = self.link.hv.clone_vm(&self.id, spec);
        let settle = |vm: &VmId| Settle::VmThere(vm.clone());
        Ok(made(&self.link, self.link.start(Operation::CloneVm, &spec.needs(), call, settle).await?))
    }

    /// Copies it many times, and answers once all copies have ended.
    ///
    /// # Errors
    /// `InvalidInput` before anything is begun; what goes wrong later is in the outcomes.
    pub async fn clone_many(&self, spec: &CloneMany) -> Result<BatchReport> {
        self.link.hv.vms().clone_many(&self.id, spec).await
    }

    /// Moves it to another host.
    ///
    /// # Errors
    /// As [`migrate_vm`](crate::Compute::migrate_vm).
    pub async fn migrate(&self, spec: &MigrateSpec) -> Result<Task<()>> {
        let call = self.link.hv.migrate_vm(&self.id, spec);
        let settle = |(): &()| Settle::VmHost(self.id.clone(), spec.host.clone());
        self.link.start(Operation::MigrateVm, &spec.needs(), call, settle).await
    }

    /// Makes a template from it, or from a copy of it.
    ///
    /// # Errors
    /// `InvalidState` unless it is stopped.
    pub async fn to_template(&self, spec: &TemplateSpec) -> Result<Task<Vm>> {
        let call = self.link.hv.create_template(&self.id, spec);
        let task =
            self.link.start(Operation::CreateTemplate, &spec.needs(), call, |_| Settle::Unknowable).await?;
        Ok(made(&self.link, task))
    }

    /// Creates a guest from this template.
    ///
    /// # Errors
    /// As [`deploy_template`](crate::Compute::deploy_template).
    pub async fn deploy(&self, spec: &DeploySpec) -> Result<Task<Vm>> {
        let call = self.link.hv.deploy_template(&self.id, spec);
        // A copy that exists says nothing about what was to be set on it afterwards.
        let task =
            self.link.start(Operation::DeployTemplate, &spec.needs(), call, |_| Settle::Unknowable).await?;
        Ok(made(&self.link, task))
    }

    /// Writes its definition and disks to a directory on the host.
    ///
    /// # Errors
    /// `InvalidState` unless it is stopped.
    pub async fn export(&self, spec: &ExportSpec) -> Result<Task<ExportedVm>> {
        let call = self.link.hv.export_vm(&self.id, spec);
        self.link.start(Operation::ExportVm, &[], call, |_| Settle::Unknowable).await
    }

    /// Attaches a disk, and gives its slot.
    ///
    /// # Errors
    /// As [`attach_disk`](crate::Compute::attach_disk).
    pub async fn attach_disk(&self, disk: &DiskSpec) -> Result<Task<DiskId>> {
        let call = self.link.hv.attach_disk(&self.id, disk);
        self.link.start(Operation::AttachDisk, &disk.needs(), call, |_| Settle::Unknowable).await
    }

    /// Detaches a disk.
    ///
    /// # Errors
    /// `NotFound` for the disk.
    pub async fn detach_disk(&self, disk: impl Into<DiskId>, options: &DetachDisk) -> Result<Task<()>> {
        let disk = disk.into();
        let call = self.link.hv.detach_disk(&self.id, &disk, options);
        self.link.start(Operation::DetachDisk, &[], call, |()| Settle::Unknowable).await
    }

    /// Makes a disk larger.
    ///
    /// # Errors
    /// `InvalidInput` if it would become smaller.
    pub async fn resize_disk(&self, disk: impl Into<DiskId>, capacity: ByteSize) -> Result<Task<()>> {
        let disk = disk.into();
        let call = self.link.hv.resize_disk(&self.id, &disk, capacity);
        self.link.start(Operation::ResizeDisk, &[], call, |()| Settle::Unknowable).await
    }

    /// Attaches a NIC, and gives its id.
    ///
    /// # Errors
    /// `NotFound` for the network.
    pub async fn attach_nic(&self, nic: &NicSpec) -> Result<Task<NicId>> {
        let call = self.link.hv.attach_nic(&self.id, nic);
        self.link.start(Operation::AttachNic, &nic.needs(), call, |_| Settle::Unknowable).await
    }

    /// Changes what a NIC is plugged into.
    ///
    /// # Errors
    /// `NotFound` for the NIC or the network.
    pub async fn update_nic(&self, nic: impl Into<NicId>, change: &NicChange) -> Result<Task<()>> {
        let nic = nic.into();
        let call = self.link.hv.update_nic(&self.id, &nic, change);
        self.link.start(Operation::UpdateNic, &change.needs(), call, |()| Settle::Unknowable).await
    }

    /// Detaches a NIC.
    ///
    /// # Errors
    /// `NotFound` for the NIC.
    pub async fn detach_nic(&self, nic: impl Into<NicId>) -> Result<Task<()>> {
        let nic = nic.into();
        let call = self.link.hv.detach_nic(&self.id, &nic);
        self.link.start(Operation::DetachNic, &[], call, |()| Settle::Unknowable).await
    }

    /// Finds out how to reach its console.
    ///
    /// # Errors
    /// `InvalidState` if it does not run or has no such console.
    pub async fn console(&self, kind: &ConsoleKind) -> Result<ConsoleAccess> {
        self.link.call(Operation::GetConsole, &[], self.link.hv.get_console(&self.id, kind)).await
    }

    /// Opens its console: the bytes, both ways.
    ///
    /// # Errors
    /// `InvalidState` if it does not run or has no such console, `Unsupported` where the backend only tells how to reach one.
    pub async fn stream_console(&self, kind: &ConsoleKind) -> Result<ConsoleStream> {
        self.link.call(Operation::GetConsole, &[], self.link.hv.stream_console(&self.id, kind)).await
    }

    /// Takes a picture of its screen.
    ///
    /// # Errors
    /// `InvalidState` if it does not run.
    pub async fn screenshot(&self) -> Result<Screenshot> {
        self.link.call(Operation::ScreenshotVm, &[], self.link.hv.screenshot_vm(&self.id)).await
    }

    /// Its snapshots.
    #[must_use]
    pub fn snapshots(&self) -> Snapshots {
        Snapshots::new(self)
    }

    /// What goes through the agent inside it.
    #[must_use]
    pub fn agent(&self) -> Agent {
        Agent::new(self)
    }

    /// Its addresses with their source, from every source that the backend has.
    ///
    /// # Errors
    /// `InvalidState` if it does not run.
    pub async fn addresses(&self) -> Result<Vec<GuestAddress>> {
        self.link.call(Operation::ListAddresses, &[], self.link.hv.list_addresses(&self.id, None)).await
    }

    /// Its addresses from one source; that source's failure is an error.
    ///
    /// # Errors
    /// `InvalidState` if it does not run, `AgentUnavailable`.
    pub async fn addresses_from(&self, source: AddressSource) -> Result<Vec<GuestAddress>> {
        let call = self.link.hv.list_addresses(&self.id, Some(source));
        self.link.call(Operation::ListAddresses, &source.needs(), call).await
    }

    /// Backs it up.
    ///
    /// # Errors
    /// As [`create_backup`](crate::Backups::create_backup).
    pub async fn back_up(&self, spec: &BackupSpec) -> Result<Task<BackupId>> {
        let call = self.link.hv.create_backup(&self.id, spec);
        let started = self.link.call(Operation::CreateBackup, &spec.needs(), call).await?;
        Ok(Task::backup(self.link.clone(), started))
    }

    /// Its backups.
    ///
    /// # Errors
    /// As the backend gives them.
    pub async fn backups(&self) -> Result<Listing<BackupInfo>> {
        self.link.hv.backups().all(&BackupQuery::all().vm(&self.id)).await
    }

    /// Its load now.
    ///
    /// # Errors
    /// `InvalidState` if it does not run.
    pub async fn metrics(&self) -> Result<VmMetrics> {
        self.link.call(Operation::GetVmMetrics, &[], self.link.hv.get_vm_metrics(&self.id)).await
    }

    /// Its load over a period that ends now.
    ///
    /// # Errors
    /// As the backend gives them.
    pub async fn history(&self, period: MetricsPeriod) -> Result<MetricsHistory> {
        let target = MetricsTarget::Vm(self.id.clone());
        let call = self.link.hv.get_metrics_history(&target, period);
        self.link.call(Operation::GetMetricsHistory, &[], call).await
    }

    /// What happens to it, as a stream.
    ///
    /// # Errors
    /// As the backend gives them.
    pub async fn events(&self) -> Result<EventStream> {
        self.link.hv.events(&EventQuery::all().vm(&self.id)).await
    }
}

impl fmt::Debug for Vm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Vm").field("id", &self.id).field("uid", &self.uid).field("link", &self.link).finish()
    }
}

impl From<Vm> for VmId {
    fn from(vm: Vm) -> Self {
        vm.id
    }
}

impl From<&Vm> for VmId {
    fn from(vm: &Vm) -> Self {
        vm.id.clone()
    }
}

/// The options with the uid that the guest has now, where they name none.
pub(crate) async fn with_uid<B: Compute + ?Sized>(
    backend: &B,
    vm: &VmId,
    options: DeleteVm,
) -> Result<DeleteVm> {
    if options.expected_uid.is_some() {
        return Ok(options);
    }
    let expected_uid = backend.get_vm(vm).await?.uid;
    Ok(DeleteVm { expected_uid, ..options })
}
