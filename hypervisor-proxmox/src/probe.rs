//! What the server is, and what the caller may do there: found out once, at connect.

use std::collections::BTreeSet;

use hypervisor_core::model::{Capabilities, Feature};
use hypervisor_core::{Operation, Result};
use serde_json::Value;
use tokio::time::Instant;

use crate::api::{Api, Call};
use crate::config::ProxmoxConfig;
use crate::error::named;
use crate::locate::Locator;
use crate::wire::envelope;
use crate::wire::node::Version;

/// What was found.
#[derive(Debug, Clone)]
pub(crate) struct Probe {
    /// `9.1.1`.
    pub(crate) version: String,
    /// The release as two numbers.
    pub(crate) release: (u32, u32),
    pub(crate) capabilities: Capabilities,
}

impl Probe {
    /// Whether a power-off may end a shutdown that waits for the guest; from 8.2 on.
    pub(crate) fn overrules_shutdown(&self) -> bool {
        self.release >= (8, 2)
    }

    /// Whether the terminals of guests are opened to API tokens; from 9.1 on.
    pub(crate) fn opens_terminals_to_tokens(&self) -> bool {
        self.release >= (9, 1)
    }

    /// Whether one call takes power verbs for many guests; from 9.1 on.
    pub(crate) fn has_bulk_action(&self) -> bool {
        self.release >= (9, 1)
    }
}

/// Asks the server.
pub(crate) async fn probe(api: &Api, locator: &Locator, _: &ProxmoxConfig) -> Result<Probe> {
    // The version first: a wrong password should be refused once, not three times.
    let answer = api.bytes(&Call::get("/version")).await?;
    let version: Version = envelope::data(&answer)?;
    let release = version.number().unwrap_or((8, 0));
    let permissions = Call::get("/access/permissions");
    let (permissions, view) =
        futures::join!(api.value(&permissions), locator.view(api, Operation::ListVms, Instant::now()));
    view.map_err(named(Operation::ListVms))?;
    // A server that does not tell may still let us.
    let privileges =
        permissions.ok().map(|permissions| privileges(&permissions)).filter(|all| !all.is_empty());
    let capabilities = capabilities(release, privileges.as_ref());
    Ok(Probe { version: version.version.or(version.release).unwrap_or_default(), release, capabilities })
}

/// The privileges that the caller has anywhere.
fn privileges(permissions: &Value) -> BTreeSet<String> {
    let paths = permissions.as_object().into_iter().flatten();
    paths
        .flat_map(|(_, of_path)| of_path.as_object().into_iter().flatten())
        .map(|(name, _)| name.clone())
        .collect()
}

const STAYS_UP: &str = "what is applied stays up until it is deleted";

/// What a release can do for a caller with these privileges; `None` for all.
pub(crate) fn capabilities(release: (u32, u32), privileges: Option<&BTreeSet<String>>) -> Capabilities {
    use Operation as O;
    let claims = Capabilities::new()
        .native([O::GetCluster, O::ListHosts, O::GetHost, O::ListVms, O::GetVm, O::GetVmConfig, O::CreateVm])
        .native([O::UpdateVm, O::DeleteVm, O::StartVm, O::ShutdownVm, O::PowerOffVm, O::RebootVm, O::ResetVm])
        .native([O::PauseVm, O::ResumeVm, O::HibernateVm, O::CloneVm, O::MigrateVm, O::CreateTemplate])
        .native([O::AttachDisk, O::DetachDisk, O::ResizeDisk, O::AttachNic, O::UpdateNic, O::DetachNic])
        .native([O::GetConsole, O::ListGroups, O::GetGroup, O::CreateGroup, O::UpdateGroup, O::DeleteGroup])
        .native([O::ListPools, O::GetPool, O::CreatePool, O::DeletePool, O::ListVolumes, O::GetVolume])
        .native([O::CreateVolume, O::DeleteVolume, O::UploadVolume, O::ListNetworks, O::GetNetwork])
        .native([O::ListSnapshots, O::GetSnapshot, O::CreateSnapshot, O::RevertSnapshot, O::DeleteSnapshot])
        .native([O::ListBackups, O::CreateBackup, O::RestoreBackup, O::DeleteBackup])
        .native([O::GetHostMetrics, O::GetVmMetrics, O::ListVmMetrics, O::GetMetricsHistory])
        .native([O::GetTask, O::ListTasks, O::GetTaskLog, O::CancelTask])
        .native([O::PingAgent, O::ListAddresses, O::ExecInGuest, O::ReadGuestFile, O::WriteGuestFile])
        .native([O::FreezeFilesystems, O::ThawFilesystems])
        .emulated(
            [O::DeployTemplate],
            "a clone, then a change of it, then a start, one after the other in this process",
        )
        .emulated(
            [O::CloneVms, O::SubmitBatch],
            "one call for each item; power verbs go together from 9.1 on",
        )
        .unsupported([O::ScreenshotVm], "the API has no call for it")
        .unsupported([O::ExportVm], "the API writes no files on the host but backups")
        .unsupported(
            [O::CloneVolume],
            "a volume is copied only as a disk of a guest: create the guest from it, or clone the guest",
        )
        .unsupported([O::ResizeVolume], "only disks of guests are resized: use `resize_disk`")
        .unsupported([O::WipeVolume], "the API has no call for it")
        .unsupported(
            [O::DownloadVolume],
            "the API hands out no volumes; backups are read on a backup server or on the host",
        )
        .native([O::CreateNetwork, O::UpdateNetwork, O::DeleteNetwork, O::StartNetwork])
        .unsupported([O::StopNetwork], STAYS_UP)
        .unsupported(
            [O::ListLeases],
            "the hosts hand out no addresses; what SDN zones have handed out is in `/cluster/sdn/ipams/pve/status` of `api()`",
        )
        .emulated(
            [O::Watch],
            "one look at the cluster every one to ten seconds, for all readers; what begins and ends in between is not seen",
        );
    let claims = features(claims, release);
    match privileges {
        None => claims,
        Some(has) => PRIVILEGES.iter().fold(claims, |claims, (operations, any)| {
            if any.iter().any(|one| has.contains(*one)) {
                return claims;
            }
            let reason = format!("the caller has the privilege {} nowhere", any.join(" or "));
            claims.unsupported(operations.iter().copied(), &reason)
        }),
    }
}

fn features(claims: Capabilities, release: (u32, u32)) -> Capabilities {
    use Feature as F;
    let claims = claims
        .native([F::Containers, F::RequestedId, F::Tags, F::Autostart, F::CloudInit, F::Uefi, F::SecureBoot])
        .native([
            F::Tpm,
            F::GuestAgent,
            F::Graphics,
            F::HotplugDisk,
            F::HotplugNic,
            F::LiveResizeDisk,
            F::NicVlan,
        ])
        .native([F::ShutdownTimeout, F::FullClone, F::LinkedClone, F::CloneRunning, F::CloneSnapshot])
        .native([
            F::LiveMigration,
            F::OfflineMigration,
            F::MemorySnapshot,
            F::DiskOnlySnapshot,
            F::RevertAndStart,
        ])
        .native([F::CompressedBackup, F::AgentAddresses, F::RevisionCheck])
        .emulated(
            [F::ClientToken],
            "a tag; clones get it when they are made, until then this process remembers",
        )
        .emulated([F::SnapshotChildren], "one deletion after the other")
        .emulated(
            [F::LiveUpdateCpus, F::LiveUpdateMemory],
            "for guests with `hotplug` for it; others wait for a power cycle",
        )
        .native([F::UploadCreates])
        .emulated([F::Metadata], "lines at the end of the description")
        .unsupported([F::Ephemeral], "a guest never vanishes by itself")
        .unsupported([F::DirectBoot], "guests boot from their disks, CD drives and NICs")
        .unsupported([F::SerialLog], "the serial port is a socket, with no log")
        .unsupported(
            [F::KeepDisks, F::ListedDisks],
            "the disks of a guest are deleted with it: move them to another guest first",
        )
        .unsupported(
            [F::AgentShutdown],
            "the server itself chooses: the agent where it is switched on, else the power button",
        )
        .unsupported([F::SealTemplate], "the API cannot change what is on a disk")
        .unsupported([F::VolumeBacking], "only disks of clones of a template start from another volume")
        .unsupported([F::ShrinkVolume], "disks only grow")
        .unsupported([F::VolumePreallocation], "it is a setting of the storage")
        .unsupported([F::WipeAlgorithms], "the API wipes no volumes")
        .unsupported([F::DownloadRange], "the API hands out no volumes")
        .native([F::NetworkVlan])
        .unsupported([F::NetworkNat], "a bridge joins guests and their host; what goes further is set up on the host")
        .unsupported(
            [F::NetworkDhcp],
            "hosts hand out no addresses; zones of the cluster's networking do, set up by `/cluster/sdn` of `api()`",
        )
        .unsupported([F::QuiescedSnapshot], "the server freezes by itself where the agent is switched on")
        .unsupported([F::IncrementalBackup], "only a backup server keeps the changes, and by itself")
        .unsupported([F::LeaseAddresses], "the hosts hand out no addresses")
        .unsupported([F::ArpAddresses], "the hosts do not tell what they have seen")
        .unsupported([F::NativeEvents], "the API sends no events")
        .unsupported([F::TaskProgress], "tasks tell how far they are only in the text of their logs");
    if release >= (9, 1) {
        claims.native([F::BulkPower])
    } else {
        claims.unsupported([F::BulkPower], "from 9.1 on")
    }
}

/// Operations, and the privileges one of which they need somewhere.
const PRIVILEGES: &[(&[Operation], &[&str])] = {
    use Operation as O;
    &[
        (&[O::CreateVm, O::RestoreBackup], &["VM.Allocate"]),
        (&[O::DeleteVm, O::CreateTemplate], &["VM.Allocate"]),
        (&[O::CloneVm, O::CloneVms, O::DeployTemplate], &["VM.Clone"]),
        (&[O::MigrateVm], &["VM.Migrate"]),
        (&[O::StartVm, O::ShutdownVm, O::PowerOffVm, O::RebootVm, O::ResetVm], &["VM.PowerMgmt"]),
        (&[O::PauseVm, O::ResumeVm, O::HibernateVm], &["VM.PowerMgmt"]),
        (&[O::CreateSnapshot, O::DeleteSnapshot], &["VM.Snapshot"]),
        (&[O::RevertSnapshot], &["VM.Snapshot", "VM.Snapshot.Rollback"]),
        (&[O::CreateBackup], &["VM.Backup"]),
        (&[O::AttachDisk, O::DetachDisk, O::ResizeDisk], &["VM.Config.Disk"]),
        (&[O::AttachNic, O::UpdateNic, O::DetachNic], &["VM.Config.Network"]),
        (
            &[O::UpdateVm],
            &[
                "VM.Config.Options",
                "VM.Config.CPU",
                "VM.Config.Memory",
                "VM.Config.HWType",
                "VM.Config.Cloudinit",
            ],
        ),
        (&[O::GetConsole], &["VM.Console"]),
        (&[O::CreatePool, O::DeletePool], &["Datastore.Allocate"]),
        (&[O::CreateVolume, O::DeleteVolume], &["Datastore.AllocateSpace", "Datastore.Allocate"]),
        (&[O::UploadVolume], &["Datastore.AllocateTemplate"]),
        (&[O::CreateGroup, O::UpdateGroup, O::DeleteGroup], &["Pool.Allocate"]),
        (
            &[O::CreateNetwork, O::UpdateNetwork, O::DeleteNetwork, O::StartNetwork],
            &["Sys.Modify", "SDN.Allocate"],
        ),
        (
            &[
                O::PingAgent,
                O::ExecInGuest,
                O::ReadGuestFile,
                O::WriteGuestFile,
                O::FreezeFilesystems,
                O::ThawFilesystems,
            ],
            &[
                "VM.Monitor",
                "VM.GuestAgent.Unrestricted",
                "VM.GuestAgent.Audit",
                "VM.GuestAgent.FileRead",
                "VM.GuestAgent.FileWrite",
                "VM.GuestAgent.FileSystemMgmt",
            ],
        ),
    ]
};

#[cfg(test)]
mod tests {
    use super::*;
    use hypervisor_core::model::Support;

    #[test]
    fn every_capability_is_claimed_or_refused_with_a_reason() {
        for release in [(8, 4), (9, 1)] {
            for (capability, support) in capabilities(release, None).iter() {
                let silent = Support::Unsupported("the backend has no such call".into());
                assert_ne!(support, silent, "{capability} is not mentioned");
            }
        }
        assert!(capabilities((9, 1), None).has(Feature::BulkPower));
        assert!(!capabilities((8, 4), None).has(Feature::BulkPower));
    }

    #[test]
    fn a_privilege_that_the_caller_has_nowhere_is_a_reason() {
        let all = serde_json::json!({"/vms/100": {"VM.Audit": 1, "VM.PowerMgmt": 0}, "/": {}});
        let claims = capabilities((9, 1), Some(&privileges(&all)));
        assert!(claims.has(Operation::StartVm) && claims.has(Operation::ListVms));
        let error = claims.require(Operation::CreateVm).unwrap_err();
        assert!(error.to_string().contains("VM.Allocate"), "{error}");
    }
}
