//! What the connected driver can do, found out once.

use std::path::PathBuf;

use hypervisor_core::model::{Capabilities, Feature};
use hypervisor_core::{Operation, OperationClass};
use virt::connect::Connect;
use virt_sys as sys;

use crate::config::LibvirtConfig;
use crate::error::Outcome;
use crate::ffi;
use crate::seal;
use crate::xml::Element;
use crate::xml::capabilities::{self, DomainCapabilities, HostCapabilities};

/// What was found.
#[derive(Debug, Clone)]
pub(crate) struct Probe {
    /// libvirt's version, `9.0.0`.
    pub(crate) version: String,
    /// The same as libvirt counts, `9_000_000`.
    pub(crate) lib_version: u32,
    /// The hypervisor's version.
    pub(crate) hypervisor_version: Option<String>,
    pub(crate) host: String,
    pub(crate) host_capabilities: HostCapabilities,
    /// The `type` of new domains.
    pub(crate) kind: String,
    /// The machine type of new domains whose spec names none.
    pub(crate) machine: Option<String>,
    /// The most CPUs that a guest can have, where the driver tells.
    pub(crate) max_cpus: Option<u32>,
    pub(crate) test: bool,
    /// What templates are sealed with.
    pub(crate) virt_sysprep: Option<PathBuf>,
    pub(crate) capabilities: Capabilities,
}

/// Asks the driver.
pub(crate) fn probe(conn: &Connect, config: &LibvirtConfig) -> Outcome<Probe> {
    let test = conn.get_type()? == "TEST";
    let kind = if test { "test" } else { config.domain_type.as_str() }.to_owned();
    let version = conn.get_lib_version()?;
    let host_capabilities = capabilities::host(&Element::parse(&conn.get_capabilities()?)?);
    let x86 = host_capabilities.architecture.as_deref() == Some("x86_64");
    let machine = config.machine.clone().or_else(|| (x86 && !test).then(|| "q35".to_owned()));
    // A driver without the call has none of what it tells of.
    let domain = conn
        .get_domain_capabilities(
            None,
            host_capabilities.architecture.as_deref(),
            machine.as_deref(),
            Some(&kind),
            0,
        )
        .ok()
        .and_then(|xml| Element::parse(&xml).ok())
        .map(|xml| capabilities::domain(&xml))
        .unwrap_or_default();
    let local = !config.uri().contains("://") || authority(config.uri()).is_empty();
    let scrub =
        local && ["/usr/bin/scrub", "/bin/scrub"].iter().any(|path| std::path::Path::new(path).exists());
    let virt_sysprep = local.then(|| seal::find(config.virt_sysprep.as_deref())).flatten();
    let claims =
        if test { test_driver() } else { qemu_driver(&domain, version, scrub, virt_sysprep.is_some()) };
    let claims = match unreadable_arp_table(conn) {
        Some(why) if !test => {
            let reason = format!("libvirt cannot read the ARP table of its host: {why}");
            claims.unsupported([Feature::ArpAddresses], &reason)
        }
        _ => claims,
    };
    let claims = if config.read_only { without_writes(claims) } else { claims };
    let claims = match crate::ffi::start_event_loop() {
        Ok(()) => claims,
        Err(why) => claims.unsupported([Operation::Watch], why).unsupported([Feature::NativeEvents], why),
    };
    Ok(Probe {
        version: dotted(version),
        lib_version: version,
        hypervisor_version: conn.get_hyp_version().ok().map(dotted),
        host: conn.get_hostname()?,
        host_capabilities,
        machine,
        // The older call answers a constant where the newer one knows.
        max_cpus: domain.max_cpus.or_else(|| conn.get_max_vcpus(Some(&kind)).ok()),
        kind,
        test,
        virt_sysprep,
        capabilities: claims,
    })
}

/// Why libvirt cannot read the host's ARP table, if a running guest shows that it cannot: some kernels answer in a way that
/// it takes for malformed.
fn unreadable_arp_table(conn: &Connect) -> Option<String> {
    let running = conn.list_all_domains(sys::VIR_CONNECT_LIST_DOMAINS_ACTIVE).ok()?;
    let error = ffi::interface_addresses(running.first()?, ffi::AddressSource::Arp).err()?;
    (error.code == sys::VIR_ERR_INTERNAL_ERROR).then_some(error.message)
}

fn authority(uri: &str) -> &str {
    uri.split_once("://").and_then(|(_, rest)| rest.split('/').next()).unwrap_or_default()
}

fn dotted(version: u32) -> String {
    format!("{}.{}.{}", version / 1_000_000, version / 1_000 % 1_000, version % 1_000)
}

/// What both drivers do.
fn common() -> Capabilities {
    use Operation as O;
    Capabilities::new()
        .native([O::GetCluster, O::ListHosts, O::GetHost, O::ListVms, O::GetVm, O::GetVmConfig, O::CreateVm])
        .native([O::UpdateVm, O::DeleteVm, O::StartVm, O::ShutdownVm, O::PowerOffVm, O::RebootVm, O::ResetVm])
        .native([O::PauseVm, O::ResumeVm, O::HibernateVm, O::GetConsole, O::ScreenshotVm])
        .native([O::AttachDisk, O::DetachDisk, O::AttachNic, O::UpdateNic, O::DetachNic])
        .native([O::ListPools, O::GetPool, O::CreatePool, O::DeletePool])
        .native([O::ListVolumes, O::GetVolume, O::CreateVolume, O::CloneVolume, O::DeleteVolume])
        .native([O::ListNetworks, O::GetNetwork, O::CreateNetwork, O::UpdateNetwork, O::DeleteNetwork])
        .native([O::StartNetwork, O::StopNetwork])
        .native([O::ListSnapshots, O::GetSnapshot, O::CreateSnapshot, O::RevertSnapshot, O::DeleteSnapshot])
        .native([O::GetHostMetrics, O::GetVmMetrics, O::ListVmMetrics, O::ListAddresses])
        .native([O::FreezeFilesystems, O::ThawFilesystems])
        .native([O::Watch])
        .native([Feature::NativeEvents])
        .native([O::GetTask, O::ListTasks, O::GetTaskLog, O::CancelTask])
        .emulated([O::CloneVm], "a copy of each disk, then a definition with a new identity")
        .emulated([O::CloneVms, O::SubmitBatch], "one call for each item")
        .emulated([O::CreateTemplate, O::DeployTemplate], "a mark in the definition; a deployment is a clone")
        .unsupported([O::ListGroups, O::GetGroup, O::CreateGroup], "libvirt has no resource groups")
        .unsupported([O::UpdateGroup, O::DeleteGroup], "libvirt has no resource groups")
        .unsupported([O::GetMetricsHistory], "libvirt keeps no history of the load")
        .native([
            Feature::RequestedId,
            Feature::Tags,
            Feature::Metadata,
            Feature::Autostart,
            Feature::Ephemeral,
        ])
        .native([Feature::DirectBoot, Feature::GuestAgent, Feature::KeepDisks, Feature::ListedDisks])
        .native([
            Feature::NetworkNat,
            Feature::NetworkDhcp,
            Feature::MemorySnapshot,
            Feature::SnapshotChildren,
        ])
        .native([
            Feature::RevertAndStart,
            Feature::LeaseAddresses,
            Feature::RevisionCheck,
            Feature::ClientToken,
        ])
        .native([Feature::FullClone, Feature::VolumePreallocation])
        .emulated([Feature::ShutdownTimeout], "a look at the state every half second")
        .unsupported([Feature::Containers], "the driver makes virtual machines only")
        .emulated([Feature::LiveUpdateCpus], "up to the `max_cpus` that the guest was made with; more waits")
        .emulated([Feature::LiveUpdateMemory], "by its balloon, up to what it has started with; more waits")
        .unsupported([Feature::CloneRunning], "the disks of a running guest change while they are copied")
        .unsupported([Feature::CloneSnapshot], "libvirt copies the present state of a volume only")
        .unsupported([Feature::NetworkVlan], "libvirt's own networks carry no VLAN tags; Open vSwitch's do")
        .unsupported([Feature::BulkPower], "libvirt has no power verb for many guests")
}

fn qemu_driver(domain: &DomainCapabilities, version: u32, scrub: bool, sysprep: bool) -> Capabilities {
    use Operation as O;
    let offered = [
        (domain.uefi, Feature::Uefi, "the host has no UEFI firmware for this machine type"),
        (domain.secure_boot, Feature::SecureBoot, "the host has no firmware with secure boot"),
        (domain.tpm, Feature::Tpm, "the host has no emulator for a TPM (swtpm)"),
        (domain.vnc || domain.spice, Feature::Graphics, "the host's QEMU has neither VNC nor SPICE"),
        (version >= 11_000_000, Feature::NicVlan, "libvirt tags NICs on Linux bridges from 11.0 on"),
        (sysprep, Feature::SealTemplate, "the host has no `virt-sysprep`, or is not this machine"),
        (version >= 7_002_000, Feature::IncrementalBackup, "libvirt follows what changes from 7.2 on"),
        (scrub, Feature::WipeAlgorithms, "the host has no `scrub`, or is not this machine"),
    ];
    let mut claims = common()
        .native([
            O::ResizeDisk,
            O::ResizeVolume,
            O::WipeVolume,
            O::UploadVolume,
            O::DownloadVolume,
            O::ListLeases,
        ])
        .native([O::MigrateVm])
        .native([Feature::LiveMigration, Feature::OfflineMigration, Feature::TaskProgress])
        .native([Feature::SerialLog, Feature::HotplugDisk, Feature::HotplugNic, Feature::LiveResizeDisk])
        .native([
            Feature::AgentShutdown,
            Feature::AgentAddresses,
            Feature::LinkedClone,
            Feature::VolumeBacking,
        ])
        .native([Feature::ShrinkVolume, Feature::UploadCreates, Feature::DownloadRange, Feature::CloudInit])
        .native([O::ListBackups, O::CreateBackup, O::RestoreBackup, O::DeleteBackup, O::ExportVm])
        .native([Feature::DiskOnlySnapshot, Feature::QuiescedSnapshot])
        .unsupported([Feature::CompressedBackup], "libvirt gives QEMU no way to compress a backup")
        .native([Feature::ArpAddresses]);
    let agent = [O::PingAgent, O::ExecInGuest, O::ReadGuestFile, O::WriteGuestFile];
    claims = if cfg!(feature = "qemu") {
        claims.native(agent)
    } else {
        claims.unsupported(agent, "built without the feature `qemu`")
    };
    for (has, feature, reason) in offered {
        claims = if has { claims.native([feature]) } else { claims.unsupported([feature], reason) };
    }
    claims
}

/// What is left on a connection that can change nothing. Tasks are ours, not libvirt's.
fn without_writes(claims: Capabilities) -> Capabilities {
    let writes = Operation::ALL.iter().copied().filter(|operation| operation.class() != OperationClass::Read);
    let writes = writes.filter(|operation| *operation != Operation::CancelTask);
    claims
        .unsupported(writes, "the connection is read-only")
        .unsupported([Operation::ListBackups], "libvirt gives no content of volumes to read-only connections")
}

fn test_driver() -> Capabilities {
    use Operation as O;
    const NO_SUCH_CALL: &str = "libvirt's test driver has no such call";
    common()
        .unsupported([O::ResizeDisk, O::ResizeVolume, O::WipeVolume, O::UploadVolume], NO_SUCH_CALL)
        .unsupported([O::DownloadVolume, O::ListLeases, O::PingAgent, O::ExecInGuest], NO_SUCH_CALL)
        .unsupported([O::ReadGuestFile, O::WriteGuestFile], NO_SUCH_CALL)
        .unsupported([Feature::ArpAddresses], "the addresses of libvirt's test driver are in no ARP table")
        .unsupported([O::MigrateVm], "libvirt's test driver has no other host")
        .unsupported([Feature::TaskProgress], "what libvirt's test driver does takes no time")
        .unsupported(
            [Feature::LiveMigration, Feature::OfflineMigration],
            "libvirt's test driver has no other host",
        )
        .unsupported([Feature::SealTemplate], "the disks of libvirt's test driver are not there")
        .unsupported([Feature::CloudInit], "a seed is uploaded, and libvirt's test driver has no uploads")
        .unsupported([O::GetConsole], "libvirt's test driver opens no ports and no terminals")
        .unsupported([Feature::HotplugDisk, Feature::HotplugNic, Feature::LiveResizeDisk], NO_SUCH_CALL)
        .unsupported([Feature::AgentShutdown, Feature::AgentAddresses, Feature::SerialLog], NO_SUCH_CALL)
        .unsupported([Feature::Uefi, Feature::SecureBoot, Feature::Tpm, Feature::NicVlan], NO_SUCH_CALL)
        .unsupported([Feature::LinkedClone, Feature::VolumeBacking, Feature::ShrinkVolume], NO_SUCH_CALL)
        .unsupported([Feature::UploadCreates, Feature::DownloadRange, Feature::WipeAlgorithms], NO_SUCH_CALL)
        .unsupported([O::ListBackups, O::CreateBackup, O::RestoreBackup, O::DeleteBackup], NO_SUCH_CALL)
        .unsupported([O::ExportVm], "libvirt's test driver has volumes without content")
        .unsupported([Feature::IncrementalBackup, Feature::CompressedBackup], NO_SUCH_CALL)
        .unsupported([Feature::DiskOnlySnapshot, Feature::QuiescedSnapshot], NO_SUCH_CALL)
        .native([Feature::Graphics])
}

impl crate::Libvirt {
    /// What the driver does with QEMU at best: on a host with UEFI firmware, a TPM emulator, a screen server, `scrub` and libvirt 11. For
    /// documentation; what a connection can do, it says itself.
    #[must_use]
    pub fn qemu_capabilities() -> Capabilities {
        let host = DomainCapabilities {
            uefi: true,
            secure_boot: true,
            tpm: true,
            vnc: true,
            spice: true,
            ..DomainCapabilities::default()
        };
        qemu_driver(&host, 11_000_000, true, true)
    }

    /// What the driver does with libvirt's test driver. For documentation; what a connection can do, it says itself.
    #[must_use]
    pub fn test_capabilities() -> Capabilities {
        test_driver()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_capability_is_claimed_or_refused_with_a_reason() {
        let qemu = qemu_driver(&DomainCapabilities::default(), 9_000_000, false, false);
        for claims in [test_driver(), qemu] {
            for (capability, support) in claims.iter() {
                let silent =
                    hypervisor_core::model::Support::Unsupported("the backend has no such call".into());
                assert_ne!(support, silent, "{capability} is not mentioned");
            }
        }
    }

    #[test]
    fn a_read_only_connection_claims_no_writes() {
        let claims = without_writes(qemu_driver(&DomainCapabilities::default(), 9_000_000, false, false));
        assert!(claims.has(Operation::ListVms) && !claims.has(Operation::StartVm));
    }

    #[test]
    fn versions_have_dots() {
        assert_eq!(dotted(9_000_000), "9.0.0");
        assert_eq!(dotted(11_003_001), "11.3.1");
    }
}
