//! Streams that do not block. `virt`'s wrappers take "nothing now" for a failure.

use std::ffi::{c_char, c_int};

use virt::stream::Stream;
use virt_sys as sys;

use super::error::LibvirtError;

/// What libvirt answers where a stream that does not block has nothing to give or takes nothing.
const NOT_NOW: c_int = -2;

/// Reads what has arrived: `None` where nothing has, zero at the end.
pub(crate) fn receive(stream: &Stream, buffer: &mut [u8]) -> Result<Option<usize>, LibvirtError> {
    // SAFETY: the stream is alive while borrowed; libvirt writes at most the length that is given.
    let count =
        unsafe { sys::virStreamRecv(stream.as_ptr(), buffer.as_mut_ptr().cast::<c_char>(), buffer.len()) };
    counted(count)
}

/// Writes as much as is taken: `None` where nothing is.
pub(crate) fn send(stream: &Stream, data: &[u8]) -> Result<Option<usize>, LibvirtError> {
    // SAFETY: the stream is alive while borrowed; libvirt reads at most the length that is given.
    let count = unsafe { sys::virStreamSend(stream.as_ptr(), data.as_ptr().cast::<c_char>(), data.len()) };
    counted(count)
}

fn counted(count: c_int) -> Result<Option<usize>, LibvirtError> {
    match usize::try_from(count) {
        Ok(count) => Ok(Some(count)),
        Err(_) if count == NOT_NOW => Ok(None),
        Err(_) => Err(LibvirtError::last()),
    }
}
