use super::*;
use crate::Tasks as _;
use crate::model::{
    CloneVolume, DeletePool, DeleteVm, DownloadVolume, PoolSpec, ResizeVolume, VolumeFormat, VolumeSpec,
    WipeAlgorithm,
};

fn spec(name: &str, size: ByteSize) -> VolumeSpec {
    VolumeSpec::new("default", name, size)
}

#[tokio::test(start_paused = true)]
async fn bytes_come_back_as_they_were_sent() {
    let memory = Memory::new();
    let content: Vec<u8> = (0..300_000_u32).map(|n| u8::try_from(n % 251).unwrap()).collect();
    let target = UploadVolume::Create(spec("data.raw", ByteSize::kib(1)).format(VolumeFormat::Raw));
    let id = memory.upload_volume(&target, ByteStream::from_bytes(content.clone())).await.unwrap().output;
    assert_eq!(memory.get_volume(&id).await.unwrap().capacity, ByteSize::bytes(300_000));
    let all = memory.download_volume(&id, &DownloadVolume::all()).await.unwrap();
    assert_eq!(all.collect(1 << 20).await.unwrap(), content);
    let part = DownloadVolume::all().offset(ByteSize::bytes(70_000)).length(ByteSize::bytes(5_000));
    let part = memory.download_volume(&id, &part).await.unwrap().collect(1 << 20).await.unwrap();
    assert_eq!(part, &content[70_000..75_000]);
    let copy = memory.clone_volume(&id, &CloneVolume::new("copy.raw")).await.unwrap().output;
    memory.wipe_volume(&id, WipeAlgorithm::Zero).await.unwrap();
    assert_eq!(read(&memory, &id, 100).await, "\0".repeat(100));
    let all = memory.download_volume(&copy, &DownloadVolume::all()).await.unwrap();
    assert_eq!(all.collect(1 << 20).await.unwrap(), content);
}

#[tokio::test(start_paused = true)]
async fn a_broken_upload_leaves_nothing() {
    let memory = Memory::new();
    let short = ByteStream::new(10, futures::stream::iter([Ok(bytes::Bytes::from("short"))]));
    let target = UploadVolume::Create(spec("a.raw", ByteSize::kib(1)));
    assert_eq!(kind(memory.upload_volume(&target, short).await), ErrorKind::Transport);
    assert!(volumes(&memory).await.is_empty());
    let id = memory.create_volume(&spec("b.raw", ByteSize::bytes(4))).await.unwrap().output;
    let long = memory.upload_volume(&UploadVolume::to(&id), ByteStream::from_bytes("12345")).await;
    assert!(long.unwrap_err().fields().contains_key("content"));
}

#[tokio::test(start_paused = true)]
async fn a_pool_has_room_for_so_much() {
    let memory = Memory::builder().pool("default", ByteSize::gib(10)).build();
    let full = spec("full", ByteSize::gib(8)).preallocate(true);
    let id = memory.create_volume(&full).await.unwrap().output;
    assert_eq!(kind(memory.create_volume(&full).await), ErrorKind::AlreadyExists);
    assert_eq!(kind(memory.create_volume(&spec("more", ByteSize::gib(3))).await), ErrorKind::Exhausted);
    let grow = ResizeVolume::grow_to(ByteSize::gib(11));
    assert_eq!(kind(memory.resize_volume(&id, &grow).await), ErrorKind::Exhausted);
    let shrink = ResizeVolume::grow_to(ByteSize::gib(1));
    assert_eq!(kind(memory.resize_volume(&id, &shrink).await), ErrorKind::InvalidInput);
    memory.resize_volume(&id, &shrink.allow_shrink(true)).await.unwrap();
    let pool = memory.get_pool(&"default".into()).await.unwrap();
    assert_eq!(pool.available, Some(ByteSize::gib(9)));
}

#[tokio::test(start_paused = true)]
async fn a_volume_that_something_needs_is_kept() {
    let memory = Memory::new();
    let base = memory.create_volume(&spec("base.qcow2", ByteSize::gib(1))).await.unwrap().output;
    write(&memory, &base, "base").await;
    let top = memory.create_volume(&spec("top.qcow2", ByteSize::gib(1)).backing(&base)).await.unwrap().output;
    assert_eq!(read(&memory, &top, 4).await, "base");
    assert_eq!(kind(memory.delete_volume(&base).await), ErrorKind::InvalidState);
    let upload = memory.upload_volume(&UploadVolume::to(&base), ByteStream::from_bytes("x")).await;
    assert_eq!(kind(upload), ErrorKind::InvalidState);
    write(&memory, &top, "top!").await;
    assert_eq!(read(&memory, &base, 4).await, "base");
    let id = memory.create_vm(&VmSpec::new("web").disk(DiskSpec::volume(&top))).await.unwrap().output;
    assert_eq!(kind(memory.delete_volume(&top).await), ErrorKind::InvalidState);
    assert_eq!(
        kind(memory.delete_pool(&"default".into(), &DeletePool::with_content()).await),
        ErrorKind::InvalidState
    );
    assert_eq!(memory.get_volume(&top).await.unwrap().vm, Some(id.clone()));
    memory.delete_vm(&id, &DeleteVm::keep_disks()).await.unwrap();
    memory.delete_volume(&top).await.unwrap();
    memory.delete_volume(&base).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_pool_that_is_forgotten_finds_its_volumes_again() {
    let memory = Memory::new();
    let pool = PoolSpec::dir("extra", "/srv/extra");
    memory.create_pool(&pool).await.unwrap();
    assert_eq!(kind(memory.create_pool(&PoolSpec::dir("other", "/srv/extra")).await), ErrorKind::Conflict);
    let id = memory.create_volume(&VolumeSpec::new("extra", "v", ByteSize::gib(1))).await.unwrap().output;
    write(&memory, &id, "kept").await;
    memory.delete_pool(&"extra".into(), &DeletePool::keep_content()).await.unwrap();
    assert_eq!(kind(memory.get_volume(&id).await), ErrorKind::NotFound);
    memory.create_pool(&pool).await.unwrap();
    assert_eq!(read(&memory, &id, 4).await, "kept");
}

#[tokio::test(start_paused = true)]
async fn a_volume_at_work_is_locked() {
    let memory = Memory::builder().task_time(SECOND).build();
    let id = memory.create_volume(&spec("a", ByteSize::gib(1))).await.unwrap().output;
    let started = memory.wipe_volume(&id, WipeAlgorithm::Zero).await.unwrap();
    assert_eq!(kind(memory.delete_volume(&id).await), ErrorKind::Locked);
    memory.cancel_task(&started.task.unwrap()).await.unwrap();
    memory.delete_volume(&id).await.unwrap();
}
