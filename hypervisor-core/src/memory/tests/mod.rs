//! The rules of the hypervisor in memory, area by area.

mod faults;
mod guests;
mod network;
mod power;
mod snapshots;
mod storage;
mod tasks;

use std::time::Duration;

use super::Memory;
use crate::error::{Error, ErrorKind, Result};
use crate::model::{ByteSize, ByteStream, DiskSpec, PowerAction, UploadVolume, VmId, VmSpec, VolumeId};
use crate::{Compute as _, Storage as _};

const SECOND: Duration = Duration::from_secs(1);

/// A machine of this name with a disk of 1 GiB, stopped.
async fn vm(memory: &Memory, name: &str) -> VmId {
    let spec = VmSpec::new(name).agent(true).disk(DiskSpec::new_volume(ByteSize::gib(1)));
    memory.create_vm(&spec).await.unwrap().output
}

async fn running(memory: &Memory, name: &str) -> VmId {
    let id = vm(memory, name).await;
    memory.power_vm(&id, &PowerAction::Start).await.unwrap();
    id
}

/// The volume of a guest's first disk.
async fn volume(memory: &Memory, vm: &VmId) -> VolumeId {
    memory.get_vm_config(vm).await.unwrap().disks[0].volume.clone().unwrap()
}

async fn write(memory: &Memory, volume: &VolumeId, text: &'static str) {
    memory.upload_volume(&UploadVolume::to(volume), ByteStream::from_bytes(text)).await.unwrap();
}

/// The first bytes of a volume.
async fn read(memory: &Memory, volume: &VolumeId, length: u64) -> String {
    let part = crate::model::DownloadVolume::all().length(ByteSize::bytes(length));
    let bytes = memory.download_volume(volume, &part).await.unwrap().collect(length).await.unwrap();
    String::from_utf8(bytes.to_vec()).unwrap()
}

async fn volumes(memory: &Memory) -> Vec<String> {
    let page = memory.list_volumes(&"default".into(), &Default::default()).await.unwrap();
    page.items.into_iter().map(|volume| volume.name).collect()
}

fn kind<T: std::fmt::Debug>(result: Result<T>) -> ErrorKind {
    let error: Error = result.unwrap_err();
    assert_eq!(error.backend(), Some("memory"), "{error}");
    assert!(error.operation().is_some(), "{error}");
    error.kind()
}
