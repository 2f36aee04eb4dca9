//! Small files in pools, read and written whole.

use hypervisor_core::model::{ByteSize, VolumeFormat, VolumeSpec};
use hypervisor_core::{Error, ErrorKind};
use virt::connect::Connect;
use virt::storage_pool::StoragePool;
use virt::storage_vol::StorageVol;
use virt::stream::Stream;

use super::stream::{CHUNK, broken};
use super::{make_volume, refuse_taken_volume};
use crate::compute::volumes::Made;
use crate::error::Outcome;
use crate::xml::storage::volume_id;

/// More than any definition of a guest has.
const LIMIT: usize = 16 << 20;

/// Makes a file of this content. What fails leaves none behind.
pub(crate) fn write(conn: &Connect, pool: &StoragePool, name: &str, content: &[u8]) -> Outcome<StorageVol> {
    let pool_name = pool.get_name()?;
    refuse_taken_volume(pool, &pool_name, name)?;
    let length = u64::try_from(content.len()).unwrap_or(u64::MAX);
    let spec = VolumeSpec::new(pool_name.as_str(), name, ByteSize::bytes(length));
    let volume = make_volume(pool, &spec, Some(&VolumeFormat::Raw), None, None)?;
    match fill(conn, &volume, content, length) {
        Ok(()) => Ok(volume),
        Err(fail) => {
            let mut made = Made::default();
            made.push(volume_id(&pool_name, name), volume);
            Err(made.undo(fail))
        }
    }
}

fn fill(conn: &Connect, volume: &StorageVol, content: &[u8], length: u64) -> Outcome<()> {
    let stream = Stream::new(conn, 0)?;
    volume.upload(&stream, 0, length, 0)?;
    let mut rest = content;
    while !rest.is_empty() {
        match stream.send(rest.get(..CHUNK.min(rest.len())).unwrap_or(rest)) {
            Ok(sent) => rest = rest.get(sent..).unwrap_or_default(),
            Err(error) => return Err(broken(stream, error)),
        }
    }
    Ok(stream.finish()?)
}

/// The content of a file. What the pool has added to fill its last block is left out.
pub(crate) fn read(conn: &Connect, volume: &StorageVol) -> Outcome<Vec<u8>> {
    let stream = Stream::new(conn, 0)?;
    volume.download(&stream, 0, 0, 0)?;
    let mut content = Vec::new();
    let mut part = vec![0; 64 << 10];
    loop {
        match stream.recv(&mut part) {
            Ok(0) => break,
            Ok(count) => content.extend_from_slice(part.get(..count).unwrap_or_default()),
            Err(error) => return Err(broken(stream, error)),
        }
        if content.len() > LIMIT {
            stream.abort()?;
            return Err(Error::new(ErrorKind::Protocol, "the file is longer than any of its kind").into());
        }
    }
    stream.finish()?;
    let end = content.iter().rposition(|byte| *byte != 0).map_or(0, |last| last.saturating_add(1));
    content.truncate(end);
    Ok(content)
}
