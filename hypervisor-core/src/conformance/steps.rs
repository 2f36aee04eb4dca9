//! Steps that the cases of several areas share.

use std::net::{IpAddr, Ipv4Addr};

use bytes::Bytes;
use ipnet::IpNet;

use super::check::{Check, Stop};
use super::context::{Context, Made};
use super::settings::Setting;
use crate::error::{ErrorKind, Result};
use crate::model::{
    ByteSize, ByteStream, DirectBoot, DiskId, DiskInfo, DiskSpec, DownloadVolume, Feature, NetworkSpec,
    NicInfo, NicSpec, PoolKind, Started, UploadVolume, VmConfig, VmId, VolumeFormat, VolumeId, VolumeInfo,
    VolumeSpec,
};
use crate::operation::Operation;

impl Context {
    pub(crate) async fn config(&self, vm: &VmId) -> Check<VmConfig> {
        Ok(self.hv.get_vm_config(vm).await?)
    }

    /// The only disk of a guest.
    pub(crate) async fn disk(&self, vm: &VmId) -> Check<DiskInfo> {
        let disks = self.config(vm).await?.disks;
        <[DiskInfo; 1]>::try_from(disks).map(|[disk]| disk).map_err(|disks| {
            Stop::failed(format!("vm `{vm}` has {} disks where 1 is expected: {disks:?}", disks.len()))
        })
    }

    /// The disk of a guest in this slot.
    pub(crate) async fn disk_in(&self, vm: &VmId, slot: &DiskId) -> Check<DiskInfo> {
        let disks = self.config(vm).await?.disks;
        let found = disks.iter().find(|disk| disk.id == *slot).cloned();
        found.ok_or_else(|| Stop::failed(format!("vm `{vm}` has no disk `{slot}`, but has {disks:?}")))
    }

    /// The only NIC of a guest.
    pub(crate) async fn nic(&self, vm: &VmId) -> Check<NicInfo> {
        let nics = self.config(vm).await?.nics;
        <[NicInfo; 1]>::try_from(nics).map(|[nic]| nic).map_err(|nics| {
            Stop::failed(format!("vm `{vm}` has {} NICs where 1 is expected: {nics:?}", nics.len()))
        })
    }

    /// A new small disk in the pool of the suite.
    pub(crate) async fn small_disk(&self) -> Check<DiskSpec> {
        Ok(DiskSpec::new_volume(self.units(1)).in_pool(self.pool().await?))
    }

    /// Whether volumes of the suite's pool can have another format than raw: those on block devices have none.
    pub(crate) async fn has_formats(&self) -> Check<bool> {
        let pool = self.pool().await?;
        if !self.has(Operation::GetPool) {
            return Ok(true);
        }
        let blocks =
            [PoolKind::Lvm, PoolKind::LvmThin, PoolKind::Zfs, PoolKind::Rbd, PoolKind::Iscsi, PoolKind::Disk];
        Ok(!blocks.contains(&self.hv.get_pool(&pool).await?.kind))
    }

    /// A new disk that can have snapshots, in the pool of the suite.
    pub(crate) async fn versatile_disk(&self) -> Check<DiskSpec> {
        let disk = DiskSpec::new_volume(ByteSize::mib(4)).in_pool(self.pool().await?);
        Ok(if self.has_formats().await? { disk.format(VolumeFormat::Qcow2) } else { disk })
    }

    /// A size of a volume, in the backend's units.
    pub(crate) fn units(&self, count: u64) -> ByteSize {
        ByteSize::bytes(self.settings.volume_unit.as_bytes().saturating_mul(count))
    }

    /// How a raw volume is to be.
    pub(crate) async fn raw_spec(&self, short: &str, capacity: ByteSize) -> Check<VolumeSpec> {
        let pool = self.pool().await?;
        Ok(VolumeSpec::new(pool, self.name(short), capacity).format(VolumeFormat::Raw))
    }

    /// Creates a raw volume.
    pub(crate) async fn raw(&self, short: &str, capacity: ByteSize) -> Check<VolumeId> {
        self.volume(&self.raw_spec(short, capacity).await?).await
    }

    pub(crate) async fn volume_info(&self, volume: &VolumeId) -> Check<VolumeInfo> {
        Ok(self.hv.get_volume(volume).await?)
    }

    /// The id of a volume that has been, but is no more.
    pub(crate) async fn missing_volume(&self) -> Check<VolumeId> {
        let volume = self.raw("missing", self.units(1)).await?;
        self.done(self.hv.delete_volume(&volume).await).await?;
        Ok(volume)
    }

    /// Writes bytes into a volume, in chunks of 64 KiB.
    pub(crate) async fn upload(&self, volume: &VolumeId, content: &Bytes) -> Check {
        let target = UploadVolume::to(volume);
        self.done(self.hv.upload_volume(&target, chunked(content)).await).await?;
        Ok(())
    }

    /// The whole content of a volume.
    pub(crate) async fn download(&self, volume: &VolumeId) -> Check<Bytes> {
        let stream = self.hv.download_volume(volume, &DownloadVolume::all()).await?;
        Ok(stream.collect(ByteSize::mib(64).as_bytes()).await?)
    }

    /// A NIC that can be plugged in: into the network of the suite, or into one that is made for the case.
    pub(crate) async fn plug(&self) -> Check<NicSpec> {
        let reason = match self.network().await {
            Ok(network) => return Ok(NicSpec::network(network)),
            Err(Stop::Skipped(reason)) => reason,
            Err(failed) => return Err(failed),
        };
        if !(self.has(Operation::CreateNetwork) && self.has(Operation::DeleteNetwork)) {
            return Err(Stop::skipped(reason));
        }
        let [_, a, b] = self.seed();
        let address = IpAddr::V4(Ipv4Addr::new(10, 64 + a % 64, b, 1));
        let cidr = IpNet::new(address, 24).map_err(|error| Stop::failed(error.to_string()))?;
        let mut spec = NetworkSpec::isolated(self.name("net"), cidr).start(true);
        if self.settings.always_dhcp {
            spec = spec.dhcp_from_cidr();
        }
        let started = self.hv.create_network(&spec).await?;
        self.keep(Made::Network(started.output.clone()));
        Ok(NicSpec::network(self.done(Ok(started)).await?))
    }

    /// Whether guests can be booted here with the kernel of the settings and an agent.
    fn can_boot(&self) -> bool {
        let set = self.settings.has(Setting::Kernel) && self.settings.has(Setting::Initrd);
        let needs = [Feature::DirectBoot, Feature::GuestAgent];
        set && needs.into_iter().all(|feature| self.has(feature)) && self.has(Operation::PingAgent)
    }

    /// A running guest: with an operating system whose agent answers where the settings have a kernel, otherwise an empty one.
    pub(crate) async fn lively(&self, short: &str) -> Check<VmId> {
        if self.can_boot() { self.booted(short).await } else { self.running(short).await }
    }

    /// A guest with the kernel of the settings whose agent answers.
    pub(crate) async fn booted(&self, short: &str) -> Check<VmId> {
        let mut spec = self.spec(short).memory(ByteSize::mib(128)).agent(true);
        if let (Some(kernel), Some(initrd)) = (&self.settings.kernel, &self.settings.initrd) {
            let cmdline = "console=ttyS0 quiet panic=-1";
            spec = spec.direct_boot(DirectBoot::new(kernel).initrd(initrd).cmdline(cmdline));
        }
        if self.has(Operation::ListAddresses)
            && let Ok(nic) = self.plug().await
        {
            spec = spec.nic(nic);
        }
        let vm = self.create(&spec).await?;
        self.start(&vm).await?;
        let id = &vm;
        self.until("the agent answers", || async move {
            match self.hv.ping_agent(id).await {
                Ok(()) => Ok(Some(())),
                Err(error) if error.kind() == ErrorKind::AgentUnavailable => Ok(None),
                Err(error) => Err(error.into()),
            }
        })
        .await?;
        Ok(vm)
    }

    /// Takes note of a guest that a call has made that may as well be refused.
    pub(crate) async fn adopt_or_refused(&self, started: Result<Started<VmId>>) -> Result<VmId> {
        let started = started?;
        self.keep(Made::Vm(started.output.clone()));
        self.done(Ok(started)).await
    }

    /// What a hot unplug ended with: a guest without an operating system may never let a device go.
    pub(crate) fn unplugged(&self, done: Result<()>) -> Check {
        match done {
            Err(error) if !self.can_boot() && error.kind() == ErrorKind::Timeout => Err(Stop::skipped(
                format!("no system in the guest to let the device go; set {}: {error}", Setting::Kernel),
            )),
            other => Ok(other?),
        }
    }
}

/// A pattern that is neither zeroes nor repeats within a block.
pub(crate) fn pattern(length: usize) -> Bytes {
    let mut word = 0x9e37_79b9_u32;
    let bytes = std::iter::repeat_with(|| {
        word = word.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let [.., last] = word.to_le_bytes();
        last
    });
    bytes.take(length).collect::<Vec<u8>>().into()
}

/// A stream of these bytes, in chunks of 64 KiB.
pub(crate) fn chunked(content: &Bytes) -> ByteStream {
    let length = u64::try_from(content.len()).unwrap_or(u64::MAX);
    let chunks: Vec<_> = content.chunks(64 << 10).map(|chunk| Ok(content.slice_ref(chunk))).collect();
    ByteStream::new(length, futures::stream::iter(chunks))
}
