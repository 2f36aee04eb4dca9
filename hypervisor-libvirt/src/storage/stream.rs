//! Volumes as streams of bytes: a channel between the caller's stream and the thread that libvirt blocks.

use std::sync::Arc;

use bytes::Bytes;
use futures::StreamExt as _;
use futures::future::{Either, select};
use hypervisor_core::model::{
    ByteSize, ByteStream, DownloadVolume, TaskId, UploadVolume, VolumeFormat, VolumeId,
};
use hypervisor_core::{Error, ErrorKind, Operation, Result};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;
use virt::connect::Connect;
use virt::storage_vol::StorageVol;
use virt::stream::Stream;
use virt_sys as sys;

use super::{COPY_LIMIT, create, find_volume, info};
use crate::backend::Inner;
use crate::blocking::Lane;
use crate::error::{Fail, Outcome, named};
use crate::tasks::{Running, cancelled};
use crate::xml::storage::volume_id;

/// Chunks on their way between the two sides.
const IN_FLIGHT: usize = 4;
/// As much as libvirt's protocol carries in one message.
pub(crate) const CHUNK: usize = 256 << 10;

/// What is given to the thread.
enum Part {
    Data(Bytes),
    /// All was given; without it, the channel's end is a broken stream.
    End,
}

/// Writes a stream into a volume and comes back when all is written. Meanwhile it is a task that others can watch and
/// cancel; a caller that goes away cancels it.
pub(super) async fn upload(
    inner: &Arc<Inner>,
    target: UploadVolume,
    content: ByteStream,
) -> Result<VolumeId> {
    let operation = Operation::UploadVolume;
    let (sender, receiver) = oneshot::channel();
    let own = Arc::clone(inner);
    let task = inner.tasks.spawn_watched(operation, None, |running| async move {
        let outcome = carry_out(&own, &running, target, content).await;
        let end = outcome.as_ref().map(drop).map_err(Error::clone);
        // The caller may have gone away.
        drop(sender.send(outcome));
        end
    });
    let _cancel = CancelOnDrop { inner, task: &task };
    let outcome = receiver.await.unwrap_or_else(|_| Err(named(operation)(cancelled())));
    // Who has the outcome must not find the task at work.
    if let Ok(mut state) = inner.tasks.look(&task) {
        drop(state.wait_for(|info| info.state.is_final()).await);
    }
    outcome.map_err(|error| error.with_task(task.clone()))
}

/// Cancels a task whose caller goes away; one that has ended already is left as it is.
struct CancelOnDrop<'a> {
    inner: &'a Inner,
    task: &'a TaskId,
}

impl Drop for CancelOnDrop<'_> {
    fn drop(&mut self) {
        drop(self.inner.tasks.cancel(self.task));
    }
}

async fn carry_out(
    inner: &Arc<Inner>,
    running: &Running,
    target: UploadVolume,
    content: ByteStream,
) -> Result<VolumeId> {
    let operation = Operation::UploadVolume;
    let length = content.length();
    let (id, made) = match target {
        UploadVolume::Into(id) => (id, false),
        UploadVolume::Create(mut spec) => {
            spec.capacity = spec.capacity.max(ByteSize::bytes(length));
            // The content is a whole file of its own format: what lies there before must not be longer.
            spec.format.get_or_insert(VolumeFormat::Raw);
            let id = volume_id(spec.pool.as_str(), &spec.name);
            inner.call_slow(operation, move |conn| create(conn, &spec).map(drop)).await?;
            (id, true)
        }
        _ => {
            return Err(named(operation)(Error::invalid(
                "target",
                "is of a kind that this driver does not know",
            )));
        }
    };
    running.stage(format!("writes {} into {id}", ByteSize::bytes(length)));
    let outcome = send(inner, running, id.clone(), content).await;
    if outcome.is_err() && made {
        let doomed = id.clone();
        let undo = inner.call(operation, move |conn| Ok(find_volume(conn, &doomed)?.1.delete(0)?)).await;
        if let Err(left) = undo {
            tracing::warn!(volume = %id, error = %left, "a volume whose upload failed could not be deleted");
        }
    }
    outcome.map(|()| id)
}

async fn send(inner: &Arc<Inner>, running: &Running, id: VolumeId, content: ByteStream) -> Result<()> {
    let operation = Operation::UploadVolume;
    let length = content.length();
    let (sender, receiver) = mpsc::channel(IN_FLIGHT);
    let work = move |conn: &Connect| write(conn, &id, length, receiver);
    let writing = std::pin::pin!(inner.run(operation, Lane::Slow, COPY_LIMIT, work));
    let stall = inner.config.slow_timeout;
    let feeding = std::pin::pin!(async move {
        let mut chunks = content.into_chunks();
        let (mut sent, mut cancel) = (0_u64, std::pin::pin!(running.cancelled()));
        loop {
            let chunk = tokio::select! {
                chunk = chunks.next() => chunk,
                () = &mut cancel => return Err(cancelled()),
            };
            let Some(chunk) = chunk.transpose()? else { break };
            let size = u64::try_from(chunk.len()).unwrap_or(u64::MAX);
            match timeout(stall, sender.send(Part::Data(chunk))).await {
                Ok(Ok(())) => {
                    sent = sent.saturating_add(size);
                    running.bytes(sent, length);
                }
                // The thread has ended, and says why.
                Ok(Err(_)) => return Ok(()),
                Err(_) => {
                    return Err(Error::new(
                        ErrorKind::Timeout,
                        format!("libvirt took nothing for {stall:?}"),
                    ));
                }
            }
        }
        // Ignored where the thread has ended: it says why.
        drop(sender.send(Part::End).await);
        Ok(())
    });
    match select(writing, feeding).await {
        Either::Left((written, _)) => written,
        Either::Right((Err(error), writing)) => {
            // The sender is gone: the thread aborts its stream.
            drop(timeout(stall, writing).await);
            Err(named(operation)(error))
        }
        Either::Right((Ok(()), writing)) => timeout(stall, writing).await.unwrap_or_else(|_| {
            Err(named(operation)(Error::new(
                ErrorKind::Timeout,
                format!("no end of the upload within {stall:?}"),
            )))
        }),
    }
}

fn write(conn: &Connect, id: &VolumeId, length: u64, mut parts: mpsc::Receiver<Part>) -> Outcome<()> {
    let (pool, volume) = find_volume(conn, id)?;
    let known = info(&pool.get_name()?, &volume)?;
    let capacity = known.capacity.as_bytes();
    if known.format.is_none_or(|format| format == VolumeFormat::Raw) && length > capacity {
        let why = format!("{length} bytes do not fit into the {capacity} of the volume");
        return Err(Error::invalid("content", why).with_target(VolumeId::NOUN, id).into());
    }
    let stream = Stream::new(conn, 0)?;
    volume.upload(&stream, 0, length, 0)?;
    loop {
        match parts.blocking_recv() {
            Some(Part::Data(data)) => {
                if let Err(error) = send_all(&stream, &data) {
                    return Err(broken(stream, error));
                }
            }
            Some(Part::End) => return Ok(stream.finish()?),
            None => {
                stream.abort()?;
                return Err(Error::new(ErrorKind::Cancelled, "the content ended too early").into());
            }
        }
    }
}

/// Writes all of it.
pub(crate) fn send_all(stream: &Stream, data: &[u8]) -> Result<(), virt::error::Error> {
    let mut rest = data;
    while !rest.is_empty() {
        let sent = stream.send(rest.get(..CHUNK.min(rest.len())).unwrap_or(rest))?;
        rest = rest.get(sent..).unwrap_or_default();
    }
    Ok(())
}

/// Ends a stream that failed, so that the daemon does not keep its side open, and returns the failure.
pub(crate) fn broken(stream: Stream, error: virt::error::Error) -> Fail {
    let fail = Fail::from(error);
    // It fails where the daemon has ended the stream itself.
    drop(stream.abort());
    fail
}

/// Reads a volume, or a part of it, as a stream.
pub(super) async fn download(
    inner: &Arc<Inner>,
    id: &VolumeId,
    options: DownloadVolume,
) -> Result<ByteStream> {
    let operation = Operation::DownloadVolume;
    let looked = id.clone();
    let work = move |conn: &Connect| -> Outcome<u64> {
        let (pool, volume) = find_volume(conn, &looked)?;
        let raw = info(&pool.get_name()?, &volume)?.format.is_none_or(|format| format == VolumeFormat::Raw);
        file_size(&volume, raw)
    };
    let size = inner.call(operation, work).await?;
    let offset = options.offset.as_bytes();
    let rest = size.checked_sub(offset).ok_or_else(|| {
        named(operation)(Error::invalid("offset", format!("lies behind the {size} bytes of the volume")))
    })?;
    let length = options.length.map_or(rest, |length| length.as_bytes().min(rest));
    if length == 0 {
        return Ok(ByteStream::new(0, futures::stream::empty()));
    }
    let (sender, receiver) = mpsc::channel::<Result<Bytes>>(IN_FLIGHT);
    let (own, id, stall) = (Arc::clone(inner), id.clone(), inner.config.slow_timeout);
    // Ends with the receiver: the thread cannot send any more and aborts its stream.
    tokio::spawn(async move {
        let failed = sender.clone();
        let work = move |conn: &Connect| read(conn, &id, offset, length, &sender);
        if let Err(error) = own.run(operation, Lane::Slow, COPY_LIMIT, work).await {
            drop(failed.send(Err(error)).await);
        }
    });
    let chunks = futures::stream::unfold(receiver, move |mut receiver| async move {
        let chunk = timeout(stall, receiver.recv()).await.unwrap_or_else(|_| {
            let error = Error::new(ErrorKind::Timeout, format!("libvirt gave nothing for {stall:?}"));
            Some(Err(named(operation)(error)))
        });
        chunk.map(|chunk| (chunk, receiver))
    });
    Ok(ByteStream::new(length, chunks))
}

/// How many bytes the volume's file has.
fn file_size(volume: &StorageVol, raw: bool) -> Outcome<u64> {
    if raw {
        return Ok(volume.get_info()?.capacity);
    }
    Ok(volume.get_info_flags(sys::VIR_STORAGE_VOL_GET_PHYSICAL)?.allocation)
}

fn read(
    conn: &Connect,
    id: &VolumeId,
    offset: u64,
    length: u64,
    chunks: &mpsc::Sender<Result<Bytes>>,
) -> Outcome<()> {
    let (_, volume) = find_volume(conn, id)?;
    let stream = Stream::new(conn, 0)?;
    volume.download(&stream, offset, length, 0)?;
    let mut part = vec![0; CHUNK];
    loop {
        let count = match stream.recv(&mut part) {
            Ok(0) => return Ok(stream.finish()?),
            Ok(count) => count,
            Err(error) => return Err(broken(stream, error)),
        };
        let chunk = part.get(..count).map(Bytes::copy_from_slice).unwrap_or_default();
        if chunks.blocking_send(Ok(chunk)).is_err() {
            stream.abort()?;
            return Err(Fail::Ours(Error::new(ErrorKind::Cancelled, "nobody reads the stream any more")));
        }
    }
}
