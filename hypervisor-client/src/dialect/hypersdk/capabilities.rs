//! What the daemon can do. It is the same for every daemon of the commits known: it asks nothing of its host in advance.

use hypervisor_core::Operation as O;
use hypervisor_core::model::{Capabilities, Feature as F};

const NO_CREATE: &str = "hypervisord makes machines as copies only: clone one or deploy a template";
const NO_UPDATE: &str = "hypervisord changes no machine's configuration";
const NO_AGENT: &str = "hypervisord does not speak to agents in guests";
const NO_HOST: &str = "hypervisord tells nothing of the host that it runs on";
const NO_STREAM: &str =
    "hypervisord moves volumes between places on its own host only; see Api::upload_volume";

/// What is claimed of it.
pub(crate) fn claims() -> Capabilities {
    features(operations())
}

fn operations() -> Capabilities {
    Capabilities::new()
        .native([O::GetVm, O::StartVm, O::ShutdownVm, O::PowerOffVm, O::RebootVm, O::ResetVm, O::PauseVm, O::ResumeVm])
        .emulated([O::ListVms], "one request, and one more for each guest of the page, because the daemon lists names and states only")
        .emulated([O::DeleteVm], "a look at its state and snapshots first, because the daemon would cut its power")
        .native([O::CloneVm, O::CreateTemplate, O::ExportVm, O::DetachNic, O::GetConsole])
        .emulated([O::DeployTemplate], "a deployment, and a look whether the daemon did all of it")
        .emulated([O::CloneVms], "one clone for each item: the daemon's own call for many would be cut after 30 s")
        .native([O::SubmitBatch])
        .native([O::GetVolume, O::CreateVolume, O::CloneVolume, O::ResizeVolume, O::WipeVolume, O::DeleteVolume])
        .native([O::ListPools])
        .emulated([O::GetPool], "the list of all pools")
        .emulated([O::ListVolumes], "one request, and one more for each volume of the page, because the daemon lists names only")
        .native([O::GetNetwork, O::StartNetwork, O::StopNetwork])
        .emulated([O::ListNetworks], "one request, and one more for each network of the page")
        .emulated([O::CreateNetwork], "the daemon always starts a new network, so that one which is to be down is stopped again")
        .emulated([O::DeleteNetwork], "a look first whether it is up, because the daemon would take it down")
        .native([O::ListSnapshots, O::CreateSnapshot, O::RevertSnapshot, O::DeleteSnapshot])
        .emulated([O::GetSnapshot], "the list of all snapshots")
        .native([O::ListBackups, O::CreateBackup, O::DeleteBackup])
        .native([O::GetVmMetrics, O::ListVmMetrics])
        .native([O::GetTask, O::ListTasks, O::CancelTask])
        .emulated([O::GetTaskLog], "two requests: the daemon's log does not say whether the job has ended")
        .unsupported([O::CreateVm], NO_CREATE)
        .unsupported([O::UpdateVm, O::UpdateNic, O::UpdateNetwork], NO_UPDATE)
        .unsupported([O::GetVmConfig], "hypervisord tells only what a list shows of a machine")
        .unsupported([O::AttachDisk, O::DetachDisk, O::ResizeDisk], NO_UPDATE)
        .unsupported([O::AttachNic], "hypervisord does not tell the address of the NIC that it attaches; see Api::attach_interface")
        .unsupported([O::HibernateVm], "hypervisord has no call that saves a machine's memory")
        .unsupported([O::MigrateVm], "hypervisord knows its own host only")
        .unsupported([O::ScreenshotVm], "hypervisord leaves the picture on its host; see Api::screenshot")
        .unsupported([O::GetCluster, O::ListHosts, O::GetHost, O::GetHostMetrics], NO_HOST)
        .unsupported([O::ListGroups, O::GetGroup, O::CreateGroup, O::UpdateGroup, O::DeleteGroup], "libvirt has no resource groups")
        .unsupported([O::CreatePool, O::DeletePool], "hypervisord has no call that makes or deletes a pool")
        .unsupported([O::UploadVolume, O::DownloadVolume], NO_STREAM)
        .unsupported([O::ListLeases], "hypervisord does not tell what DHCP has handed out")
        .unsupported([O::RestoreBackup], "hypervisord does not bring the disks of a backup back; see Api::restore_definition")
        .unsupported([O::GetMetricsHistory], "hypervisord keeps no history of the load")
        .unsupported([O::PingAgent, O::ListAddresses, O::ExecInGuest, O::ReadGuestFile], NO_AGENT)
        .unsupported([O::WriteGuestFile, O::FreezeFilesystems, O::ThawFilesystems], NO_AGENT)
        .emulated([O::Watch], "a list of names and states every one to ten seconds, for all readers; what begins and ends in between is not seen")
}

fn features(claims: Capabilities) -> Capabilities {
    claims
        .native([F::KeepDisks, F::FullClone, F::Autostart, F::SealTemplate, F::BulkPower, F::TaskProgress])
        .native([F::HotplugNic, F::ShrinkVolume, F::WipeAlgorithms, F::NetworkNat, F::NetworkDhcp])
        .native([F::MemorySnapshot, F::CompressedBackup])
        .emulated([F::RevertAndStart], "a revert, a look at the state, and a start where it is off")
        .unsupported([F::ListedDisks], "hypervisord deletes all disks of a machine or none")
        .unsupported(
            [F::ShutdownTimeout],
            "hypervisord does not wait for a shutdown: wait for the state, and cut the power then",
        )
        .unsupported([F::AgentShutdown], NO_AGENT)
        .unsupported([F::LinkedClone, F::CloneSnapshot], "virt-clone copies the present state of disks only")
        .unsupported([F::CloneRunning], "virt-clone copies machines that are off only")
        .unsupported(
            [F::DiskOnlySnapshot],
            "hypervisord takes those under names of its own; see Api::batch_snapshot",
        )
        .unsupported([F::QuiescedSnapshot], NO_AGENT)
        .unsupported([F::SnapshotChildren], "hypervisord deletes one snapshot at a time")
        .unsupported([F::VolumeBacking], "hypervisord makes empty volumes and copies only")
        .unsupported(
            [F::VolumePreallocation],
            "hypervisord writes the metadata of a qcow2 volume in advance, but reserves no space",
        )
        .unsupported([F::UploadCreates, F::DownloadRange], NO_STREAM)
        .unsupported([F::NetworkVlan], "hypervisord sets no VLAN")
        .unsupported([F::IncrementalBackup], "hypervisord makes full backups only")
        .unsupported(
            [F::LeaseAddresses, F::AgentAddresses, F::ArpAddresses],
            "hypervisord tells no guest's addresses",
        )
        .unsupported([F::NativeEvents], "hypervisord tells of its jobs only, never of guests")
        .unsupported([F::RevisionCheck, F::LiveUpdateCpus, F::LiveUpdateMemory, F::HotplugDisk], NO_UPDATE)
        .unsupported([F::LiveResizeDisk, F::NicVlan], NO_UPDATE)
        .unsupported([F::LiveMigration, F::OfflineMigration], "hypervisord knows its own host only")
        .unsupported(
            [F::Containers, F::RequestedId, F::Tags, F::Metadata, F::Ephemeral, F::CloudInit],
            NO_CREATE,
        )
        .unsupported([F::DirectBoot, F::Uefi, F::SecureBoot, F::Tpm, F::GuestAgent, F::Graphics], NO_CREATE)
        .unsupported([F::SerialLog, F::ClientToken], NO_CREATE)
}
