//! Wiping: zeros that we write ourselves, so that it can be watched and ended, and the patterns that libvirt writes.

use std::sync::Arc;
use std::time::Duration;

use hypervisor_core::model::{ByteSize, TaskId, VolumeId, WipeAlgorithm};
use hypervisor_core::{Effect, Error, ErrorKind, Operation, Result};
use tokio::time::timeout;
use virt::connect::Connect;
use virt::storage_vol::StorageVol;
use virt::stream::Stream;
use virt_sys as sys;

use super::stream::{CHUNK, broken, send_all};
use super::{COPY_LIMIT, find_volume, refuse_used};
use crate::backend::Inner;
use crate::blocking::Lane;
use crate::error::{Outcome, named};
use crate::tasks::{Running, cancelled};

/// How a volume is wiped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// So many zeros go through a stream.
    Zeros(u64),
    /// libvirt does it in one call, which cannot be ended and does not tell how far it is.
    Call(sys::virStorageVolWipeAlgorithm),
}

/// Begins to wipe a volume that nobody uses.
pub(super) async fn wipe(inner: &Arc<Inner>, volume: &VolumeId, algorithm: WipeAlgorithm) -> Result<TaskId> {
    let operation = Operation::WipeVolume;
    let id = volume.clone();
    let plan = move |conn: &Connect| {
        let (_, volume) = find_volume(conn, &id)?;
        refuse_used(conn, &volume, &id)?;
        way(&volume, algorithm)
    };
    let way = inner.call(operation, plan).await?;
    let (own, id) = (Arc::clone(inner), volume.clone());
    let told = async move |outcome: Result<()>| {
        own.tell_volume(&id);
        outcome
    };
    let (own, id) = (Arc::clone(inner), volume.clone());
    Ok(match way {
        Way::Zeros(length) => inner.tasks.spawn_watched(operation, None, |running| async move {
            told(write_zeros(&own, &running, id, length).await).await
        }),
        Way::Call(algorithm) => inner.tasks.spawn(operation, None, false, async move {
            let work = move |conn: &Connect| Ok(find_volume(conn, &id)?.1.wipe_pattern(algorithm, 0)?);
            told(own.run(operation, Lane::Slow, COPY_LIMIT, work).await).await
        }),
    })
}

fn way(volume: &StorageVol, algorithm: WipeAlgorithm) -> Outcome<Way> {
    let call = Way::Call(pattern(algorithm));
    if algorithm != WipeAlgorithm::Zero {
        return Ok(call);
    }
    let info = volume.get_info()?;
    let physical = volume.get_info_flags(sys::VIR_STORAGE_VOL_GET_PHYSICAL)?.allocation;
    Ok(zeros(info.kind, info.allocation, physical).map_or(call, Way::Zeros))
}

/// How many zeros overwrite a volume. A file with holes gets none: libvirt cuts it off and makes it as long again, which takes
/// no time, where zeros would fill the holes.
fn zeros(kind: u32, allocation: u64, physical: u64) -> Option<u64> {
    let whole = match kind {
        sys::VIR_STORAGE_VOL_FILE => allocation >= physical,
        sys::VIR_STORAGE_VOL_BLOCK => true,
        _ => false,
    };
    (whole && physical > 0).then_some(physical)
}

async fn write_zeros(inner: &Inner, running: &Running, id: VolumeId, length: u64) -> Result<()> {
    let operation = Operation::WipeVolume;
    running.stage(format!("writes {} of zeros", ByteSize::bytes(length)));
    running.progress(0.0);
    let seen = running.clone();
    let work = move |conn: &Connect| overwrite(conn, &id, length, &seen);
    let mut work = std::pin::pin!(inner.run(operation, Lane::Slow, COPY_LIMIT, work));
    tokio::select! {
        outcome = &mut work => outcome,
        () = running.cancelled() => {
            // The thread sees it after the part at hand, unless the daemon hangs.
            let patience: Duration = inner.config.slow_timeout;
            timeout(patience, work).await.unwrap_or_else(|_| {
                let text = format!("libvirt did not end the wipe within {patience:?}");
                Err(named(operation)(Error::new(ErrorKind::Timeout, text)))
            })
        }
    }
}

fn overwrite(conn: &Connect, id: &VolumeId, length: u64, running: &Running) -> Outcome<()> {
    let (_, volume) = find_volume(conn, id)?;
    let stream = Stream::new(conn, 0)?;
    volume.upload(&stream, 0, length, 0)?;
    let zeros = vec![0; CHUNK];
    let mut left = length;
    while left > 0 {
        if running.is_cancelled() {
            stream.abort()?;
            let effect = if left < length { Effect::Partial } else { Effect::None };
            return Err(cancelled().with_effect(effect).into());
        }
        let part = usize::try_from(left).map_or(CHUNK, |left| left.min(CHUNK));
        if let Err(error) = send_all(&stream, zeros.get(..part).unwrap_or(&zeros)) {
            return Err(broken(stream, error));
        }
        left = left.saturating_sub(u64::try_from(part).unwrap_or(left));
        running.bytes(length - left, length);
    }
    Ok(stream.finish()?)
}

fn pattern(algorithm: WipeAlgorithm) -> sys::virStorageVolWipeAlgorithm {
    match algorithm {
        WipeAlgorithm::Nnsa => sys::VIR_STORAGE_VOL_WIPE_ALG_NNSA,
        WipeAlgorithm::Dod => sys::VIR_STORAGE_VOL_WIPE_ALG_DOD,
        WipeAlgorithm::Bsi => sys::VIR_STORAGE_VOL_WIPE_ALG_BSI,
        WipeAlgorithm::Gutmann => sys::VIR_STORAGE_VOL_WIPE_ALG_GUTMANN,
        WipeAlgorithm::Schneier => sys::VIR_STORAGE_VOL_WIPE_ALG_SCHNEIER,
        WipeAlgorithm::Pfitzner7 => sys::VIR_STORAGE_VOL_WIPE_ALG_PFITZNER7,
        WipeAlgorithm::Pfitzner33 => sys::VIR_STORAGE_VOL_WIPE_ALG_PFITZNER33,
        WipeAlgorithm::Random => sys::VIR_STORAGE_VOL_WIPE_ALG_RANDOM,
        _ => sys::VIR_STORAGE_VOL_WIPE_ALG_ZERO,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holes_are_not_filled_with_zeros() {
        let (file, block) = (sys::VIR_STORAGE_VOL_FILE, sys::VIR_STORAGE_VOL_BLOCK);
        assert_eq!(zeros(file, 4096, 4096), Some(4096));
        assert_eq!(zeros(file, 8192, 5000), Some(5000), "the last block is not full");
        assert_eq!(zeros(file, 4096, 1 << 40), None);
        assert_eq!(zeros(file, 0, 0), None);
        assert_eq!(zeros(block, 0, 1 << 20), Some(1 << 20));
        assert_eq!(zeros(sys::VIR_STORAGE_VOL_DIR, 4096, 4096), None);
    }
}
