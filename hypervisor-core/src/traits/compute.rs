use async_trait::async_trait;

use super::unsupported;
use crate::error::{Error, Result};
use crate::model::{
    ByteSize, CloneSpec, ClusterInfo, ConsoleAccess, ConsoleKind, ConsoleStream, DeleteVm, DeploySpec,
    DetachDisk, DiskId, DiskSpec, ExportSpec, ExportedVm, GroupChange, GroupId, GroupInfo, GroupSpec, HostId,
    HostInfo, MigrateSpec, NicChange, NicId, NicSpec, Page, PageRequest, PowerAction, Screenshot, Started,
    TemplateSpec, UpdateOutcome, VmChange, VmConfig, VmId, VmInfo, VmQuery, VmSpec,
};
use crate::operation::Operation;

/// Hosts and guests.
#[async_trait]
pub trait Compute: Send + Sync {
    /// Lists the guests that the query wants, in one request to the backend wherever it can. A host that cannot be asked is named in
    /// [`Page::unreachable`] and does not fail the list.
    ///
    /// Needs [`Operation::ListVms`]; a read: repeated where its answer is lost. Proxmox: one request for the cluster, up to 10 s
    /// old and without the uid. libvirt: one bulk call. Some gateways list page by page.
    ///
    /// # Errors
    /// `InvalidInput` for a page that is none of this list, and what the backend says as a whole.
    async fn list_vms(&self, query: &VmQuery, page: &PageRequest) -> Result<Page<VmInfo>>;

    /// Reads one guest.
    ///
    /// Needs [`Operation::GetVm`]; a read: repeated where its answer is lost. libvirt: its UUID; Proxmox: its VMID, wherever in
    /// the cluster it is.
    ///
    /// # Errors
    /// `NotFound`.
    async fn get_vm(&self, vm: &VmId) -> Result<VmInfo>;

    /// Creates a guest with its disks and NICs, stopped unless the spec says otherwise.
    ///
    /// Needs [`Operation::CreateVm`], and where asked for [`ClientToken`](crate::model::Feature::ClientToken); a create: not
    /// repeated where its answer is lost. libvirt: names are unique, disks are made first and taken back if the definition is
    /// refused. Proxmox: names need not be unique; the id is chosen again if somebody else took it meanwhile. A client token
    /// makes a repeated create find its earlier try.
    ///
    /// # Errors
    /// `InvalidInput` naming the field, `AlreadyExists` for a name (where names are unique) or id that is taken, `NotFound` for a pool, volume,
    /// network or host that does not exist, `Exhausted`. A create that fails leaves no volume behind, or says so with
    /// [`Effect::Partial`](crate::Effect::Partial).
    async fn create_vm(&self, spec: &VmSpec) -> Result<Started<VmId>>;

    /// Carries out a power verb. The call returns once the backend has taken it; a `Shutdown` without a time limit does not wait for the guest.
    ///
    /// Needs the operation of the verb ([`Operation::StartVm`] and its kin), and features such as
    /// [`ShutdownTimeout`](crate::model::Feature::ShutdownTimeout) as [`PowerAction::needs`] says. Each is an action: not
    /// repeated where its answer is lost, because the state tells whether it was done. libvirt and Proxmox ask a guest by its
    /// power button or its agent; a guest may ignore that.
    ///
    /// # Errors
    /// `InvalidState` where [`PowerAction::check_state`] refuses, `Locked` while another task holds the guest.
    async fn power_vm(&self, vm: &VmId, action: &PowerAction) -> Result<Started<()>>;

    /// Deletes a guest, and its disks as the options say.
    ///
    /// Needs [`Operation::DeleteVm`], and where asked for [`KeepDisks`](crate::model::Feature::KeepDisks) or
    /// [`ListedDisks`](crate::model::Feature::ListedDisks); twice is the same as once: repeated where its answer is lost. Proxmox
    /// deletes a guest with its disks, always, and its backups unless they are kept. libvirt deletes volumes one after the other
    /// after the definition.
    ///
    /// # Errors
    /// `InvalidState` while it runs (unless the options cut its power) or has snapshots that would be lost (unless they go too);
    /// `Conflict` when it has another uid than expected.
    async fn delete_vm(&self, vm: &VmId, options: &DeleteVm) -> Result<Started<()>>;

    /// Reads the state of the cluster; a single host is a cluster of one.
    ///
    /// Needs [`Operation::GetCluster`]; a read: repeated where its answer is lost. libvirt: a cluster of one, without a name.
    ///
    /// # Errors
    /// As the backend gives them.
    async fn get_cluster(&self) -> Result<ClusterInfo> {
        unsupported(Operation::GetCluster)
    }

    /// Lists the hosts.
    ///
    /// Needs [`Operation::ListHosts`]; a read: repeated where its answer is lost. libvirt: the one that the connection is to.
    /// Proxmox: also those that are offline.
    ///
    /// # Errors
    /// As the backend gives them.
    async fn list_hosts(&self, page: &PageRequest) -> Result<Page<HostInfo>> {
        let _ = page;
        unsupported(Operation::ListHosts)
    }

    /// Reads one host.
    ///
    /// Needs [`Operation::GetHost`]; a read: repeated where its answer is lost.
    ///
    /// # Errors
    /// `NotFound`; `HostUnreachable` where the backend cannot ask it.
    async fn get_host(&self, host: &HostId) -> Result<HostInfo> {
        let _ = host;
        unsupported(Operation::GetHost)
    }

    /// Reads a guest's whole configuration, with its devices and pending changes.
    ///
    /// Needs [`Operation::GetVmConfig`]; a read: repeated where its answer is lost. libvirt: `native` is the XML; Proxmox: the
    /// map as JSON, and the digest as revision.
    ///
    /// # Errors
    /// `NotFound`.
    async fn get_vm_config(&self, vm: &VmId) -> Result<VmConfig> {
        let _ = vm;
        unsupported(Operation::GetVmConfig)
    }

    /// Changes a guest's configuration. What the SDK does not know of it is kept.
    ///
    /// Needs [`Operation::UpdateVm`], and where asked for [`RevisionCheck`](crate::model::Feature::RevisionCheck); twice is the
    /// same as once: repeated where its answer is lost. libvirt: the live machine and the definition are changed separately; the
    /// memory of a running guest moves by its balloon. Proxmox: what cannot be changed now is pending.
    ///
    /// # Errors
    /// `Conflict` when the revision or uid is another; `InvalidState` for [`LiveOnly`](crate::model::ApplyPolicy::LiveOnly) where it would take a power cycle.
    async fn update_vm(&self, vm: &VmId, change: &VmChange) -> Result<Started<UpdateOutcome>> {
        let _ = (vm, change);
        unsupported(Operation::UpdateVm)
    }

    /// Copies a guest. The copy has a new uid and new MAC addresses.
    ///
    /// Needs [`Operation::CloneVm`], and where asked for [`LinkedClone`](crate::model::Feature::LinkedClone),
    /// [`FullClone`](crate::model::Feature::FullClone), [`CloneRunning`](crate::model::Feature::CloneRunning) or
    /// [`CloneSnapshot`](crate::model::Feature::CloneSnapshot); a create: not repeated where its answer is lost. libvirt: a
    /// stopped guest, volume by volume. Proxmox: linked copies of templates only.
    ///
    /// # Errors
    /// `InvalidState` for a running guest where that cannot be copied, `AlreadyExists`, `NotFound` for the guest, snapshot, pool
    /// or host, `Exhausted`.
    async fn clone_vm(&self, vm: &VmId, spec: &CloneSpec) -> Result<Started<VmId>> {
        let _ = (vm, spec);
        unsupported(Operation::CloneVm)
    }

    /// Moves a guest to another host.
    ///
    /// Needs [`Operation::MigrateVm`], and where asked for [`LiveMigration`](crate::model::Feature::LiveMigration) or
    /// [`OfflineMigration`](crate::model::Feature::OfflineMigration); an action: not repeated where its answer is lost. Proxmox:
    /// the host is the node's name. libvirt: the other daemon's URI.
    ///
    /// # Errors
    /// `NotFound` for the guest or host, `InvalidState` where it cannot move as it is.
    async fn migrate_vm(&self, vm: &VmId, spec: &MigrateSpec) -> Result<Started<()>> {
        let _ = (vm, spec);
        unsupported(Operation::MigrateVm)
    }

    /// Makes a template from a stopped guest, or from a copy of it. Returns the template's id.
    ///
    /// Needs [`Operation::CreateTemplate`], and where asked for [`SealTemplate`](crate::model::Feature::SealTemplate); a create:
    /// not repeated where its answer is lost. Proxmox: the guest itself becomes a template, for good. libvirt: a mark in the
    /// definition, which only the SDK knows.
    ///
    /// # Errors
    /// `InvalidState` unless it is stopped.
    async fn create_template(&self, vm: &VmId, spec: &TemplateSpec) -> Result<Started<VmId>> {
        let _ = (vm, spec);
        unsupported(Operation::CreateTemplate)
    }

    /// Creates a guest from a template.
    ///
    /// Needs [`Operation::DeployTemplate`]; a create: not repeated where its answer is lost. Where it is built from several
    /// calls, a deployment that fails half way takes the copy back or says what is left.
    ///
    /// # Errors
    /// `InvalidState` for what is no template, `AlreadyExists`, `Exhausted`.
    async fn deploy_template(&self, template: &VmId, spec: &DeploySpec) -> Result<Started<VmId>> {
        let _ = (template, spec);
        unsupported(Operation::DeployTemplate)
    }

    /// Writes a stopped guest's definition and disks to a directory on the host.
    ///
    /// Needs [`Operation::ExportVm`]; a create: not repeated where its answer is lost. libvirt: the XML and a file for each disk,
    /// through a pool there, so that hosts far away do as well.
    async fn export_vm(&self, vm: &VmId, spec: &ExportSpec) -> Result<Started<ExportedVm>> {
        let _ = (vm, spec);
        unsupported(Operation::ExportVm)
    }

    /// Attaches a disk: to the running guest and to its configuration. Returns its slot.
    ///
    /// Needs [`Operation::AttachDisk`], and where asked for [`HotplugDisk`](crate::model::Feature::HotplugDisk); a create: not
    /// repeated where its answer is lost. Where a running guest cannot have it, the answer is `Unsupported`, not a change that
    /// waits.
    ///
    /// # Errors
    /// `AlreadyExists` for a slot that is taken, `NotFound` for the guest, pool or volume, `Exhausted`.
    async fn attach_disk(&self, vm: &VmId, disk: &DiskSpec) -> Result<Started<DiskId>> {
        let _ = (vm, disk);
        unsupported(Operation::AttachDisk)
    }

    /// Detaches a disk from the running guest and from its configuration.
    ///
    /// Needs [`Operation::DetachDisk`], and where asked for [`HotplugDisk`](crate::model::Feature::HotplugDisk); twice is the
    /// same as once: repeated where its answer is lost. A running guest has to let go of it: libvirt waits for that. Proxmox
    /// keeps the volume as an unused disk of the guest.
    ///
    /// # Errors
    /// `NotFound` for the guest or disk, `Timeout` where the guest does not let go.
    async fn detach_disk(&self, vm: &VmId, disk: &DiskId, options: &DetachDisk) -> Result<Started<()>> {
        let _ = (vm, disk, options);
        unsupported(Operation::DetachDisk)
    }

    /// Makes a disk larger; never smaller.
    ///
    /// Needs [`Operation::ResizeDisk`], and where asked for [`LiveResizeDisk`](crate::model::Feature::LiveResizeDisk); twice is
    /// the same as once: repeated where its answer is lost.
    ///
    /// # Errors
    /// `InvalidInput` if it would become smaller, `NotFound` for the guest or disk, `Exhausted`.
    async fn resize_disk(&self, vm: &VmId, disk: &DiskId, capacity: ByteSize) -> Result<Started<()>> {
        let _ = (vm, disk, capacity);
        unsupported(Operation::ResizeDisk)
    }

    /// Attaches a NIC to the running guest and to its configuration. Returns its id.
    ///
    /// Needs [`Operation::AttachNic`], and where asked for [`HotplugNic`](crate::model::Feature::HotplugNic) or
    /// [`NicVlan`](crate::model::Feature::NicVlan); a create: not repeated where its answer is lost. The id is libvirt's MAC
    /// address, Proxmox's `net0`.
    ///
    /// # Errors
    /// `NotFound` for the guest or network.
    async fn attach_nic(&self, vm: &VmId, nic: &NicSpec) -> Result<Started<NicId>> {
        let _ = (vm, nic);
        unsupported(Operation::AttachNic)
    }

    /// Changes what a NIC is plugged into.
    ///
    /// Needs [`Operation::UpdateNic`], and where asked for [`NicVlan`](crate::model::Feature::NicVlan); twice is the same as
    /// once: repeated where its answer is lost.
    ///
    /// # Errors
    /// `NotFound` for the guest, NIC or network.
    async fn update_nic(&self, vm: &VmId, nic: &NicId, change: &NicChange) -> Result<Started<()>> {
        let _ = (vm, nic, change);
        unsupported(Operation::UpdateNic)
    }

    /// Detaches a NIC from the running guest and from its configuration.
    ///
    /// Needs [`Operation::DetachNic`], and where asked for [`HotplugNic`](crate::model::Feature::HotplugNic); twice is the same
    /// as once: repeated where its answer is lost.
    ///
    /// # Errors
    /// `NotFound` for the guest or NIC.
    async fn detach_nic(&self, vm: &VmId, nic: &NicId) -> Result<Started<()>> {
        let _ = (vm, nic);
        unsupported(Operation::DetachNic)
    }

    /// Finds out how to reach a running guest's console.
    ///
    /// Needs [`Operation::GetConsole`]; a read: repeated where its answer is lost. Proxmox: a WebSocket with a ticket for ten
    /// seconds. libvirt: the port or the terminal on the host; `Libvirt::console_stream` carries the bytes.
    ///
    /// # Errors
    /// `InvalidState` if it does not run or has no such console.
    async fn get_console(&self, vm: &VmId, kind: &ConsoleKind) -> Result<ConsoleAccess> {
        let _ = (vm, kind);
        unsupported(Operation::GetConsole)
    }

    /// Opens a running guest's console: its bytes, both ways, wherever its host is.
    ///
    /// Needs [`Operation::GetConsole`]; not repeated. In memory and libvirt: serial ports. Gateways: what they relay. Others only tell how to
    /// reach a console, see [`get_console`](Self::get_console); Proxmox has its own `Proxmox::open_console`, which knows the terminal's size.
    ///
    /// # Errors
    /// `InvalidState` if it does not run or has no such console; `Locked` where somebody else has it open; `Unsupported` for a kind that the
    /// backend does not carry.
    async fn stream_console(&self, vm: &VmId, kind: &ConsoleKind) -> Result<ConsoleStream> {
        let _ = (vm, kind);
        Err(Error::unsupported(Operation::GetConsole, "this backend only tells how to reach a console"))
    }

    /// Takes a picture of a running guest's screen.
    ///
    /// Needs [`Operation::ScreenshotVm`]; a read: repeated where its answer is lost. libvirt: PNG or PPM, as QEMU gives it.
    ///
    /// # Errors
    /// `InvalidState` if it does not run or has no screen.
    async fn screenshot_vm(&self, vm: &VmId) -> Result<Screenshot> {
        let _ = vm;
        unsupported(Operation::ScreenshotVm)
    }

    /// Lists the resource groups, without their members where these would cost a call each.
    ///
    /// Needs [`Operation::ListGroups`]; a read: repeated where its answer is lost. Proxmox calls them pools.
    ///
    /// # Errors
    /// As the backend gives them.
    async fn list_groups(&self, page: &PageRequest) -> Result<Page<GroupInfo>> {
        let _ = page;
        unsupported(Operation::ListGroups)
    }

    /// Reads one resource group with its members.
    ///
    /// Needs [`Operation::GetGroup`]; a read: repeated where its answer is lost.
    ///
    /// # Errors
    /// `NotFound`.
    async fn get_group(&self, group: &GroupId) -> Result<GroupInfo> {
        let _ = group;
        unsupported(Operation::GetGroup)
    }

    /// Creates an empty resource group.
    ///
    /// Needs [`Operation::CreateGroup`]; a create: not repeated where its answer is lost.
    ///
    /// # Errors
    /// `AlreadyExists`.
    async fn create_group(&self, spec: &GroupSpec) -> Result<Started<GroupId>> {
        let _ = spec;
        unsupported(Operation::CreateGroup)
    }

    /// Changes a resource group and its members.
    ///
    /// Needs [`Operation::UpdateGroup`]; twice is the same as once: repeated where its answer is lost. A guest is in one group at
    /// most: adding it takes it out of the other.
    ///
    /// # Errors
    /// `NotFound` for the group, a guest or a pool; `InvalidInput` for what is to come and go at once.
    async fn update_group(&self, group: &GroupId, change: &GroupChange) -> Result<Started<()>> {
        let _ = (group, change);
        unsupported(Operation::UpdateGroup)
    }

    /// Deletes a resource group.
    ///
    /// Needs [`Operation::DeleteGroup`]; twice is the same as once: repeated where its answer is lost.
    ///
    /// # Errors
    /// `InvalidState` while it has members.
    async fn delete_group(&self, group: &GroupId) -> Result<Started<()>> {
        let _ = group;
        unsupported(Operation::DeleteGroup)
    }
}
