//! Bytes with a known length.

use std::fmt;

use bytes::{Bytes, BytesMut};
use futures::stream::{BoxStream, StreamExt as _};

use crate::error::{Error, ErrorKind, Result};

/// A stream of bytes whose length is known before it begins: servers need it (Proxmox refuses chunked bodies), and
/// a stream that ends early is an error rather than a short file.
///
/// ```
/// use hypervisor_core::model::ByteStream;
/// # tokio_test(async {
/// let stream = ByteStream::from_bytes("hello");
/// assert_eq!(stream.length(), 5);
/// assert_eq!(stream.collect(1024).await?, "hello");
/// # Ok::<(), hypervisor_core::Error>(()) });
/// # fn tokio_test<T>(f: impl std::future::Future<Output = T>) -> T {
/// #     tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(f)
/// # }
/// ```
pub struct ByteStream {
    length: u64,
    chunks: BoxStream<'static, Result<Bytes>>,
}

impl ByteStream {
    /// A stream that will give exactly `length` bytes.
    pub fn new(length: u64, chunks: impl futures::Stream<Item = Result<Bytes>> + Send + 'static) -> Self {
        Self { length, chunks: chunks.boxed() }
    }

    /// A stream of bytes in memory.
    pub fn from_bytes(bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        Self::new(length, futures::stream::once(async { Ok(bytes) }))
    }

    /// How many bytes it will give.
    #[must_use]
    pub fn length(&self) -> u64 {
        self.length
    }

    /// The chunks. A stream that gives fewer or more bytes than it said ends with a `Transport` error.
    #[must_use]
    pub fn into_chunks(self) -> BoxStream<'static, Result<Bytes>> {
        let Self { length, chunks } = self;
        let checked =
            futures::stream::unfold((chunks, 0_u64, false), move |(mut chunks, seen, ended)| async move {
                if ended {
                    return None;
                }
                let broken = |seen| {
                    Error::new(
                        ErrorKind::Transport,
                        format!("the stream gave {seen} bytes where {length} were announced"),
                    )
                };
                match chunks.next().await {
                    Some(Ok(chunk)) => {
                        let seen = seen.saturating_add(u64::try_from(chunk.len()).unwrap_or(u64::MAX));
                        if seen > length {
                            return Some((Err(broken(seen)), (chunks, seen, true)));
                        }
                        Some((Ok(chunk), (chunks, seen, false)))
                    }
                    Some(Err(error)) => Some((Err(error), (chunks, seen, true))),
                    None if seen < length => Some((Err(broken(seen)), (chunks, seen, true))),
                    None => None,
                }
            });
        checked.boxed()
    }

    /// All bytes in memory.
    ///
    /// # Errors
    /// `InvalidInput` if there are more than `limit`; what the stream itself ends with.
    pub async fn collect(self, limit: u64) -> Result<Bytes> {
        if self.length > limit {
            return Err(Error::invalid(
                "limit",
                format!("the content has {} bytes, more than {limit}", self.length),
            ));
        }
        let mut all = BytesMut::new();
        let mut chunks = self.into_chunks();
        while let Some(chunk) = chunks.next().await {
            all.extend_from_slice(&chunk?);
        }
        Ok(all.freeze())
    }
}

impl fmt::Debug for ByteStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ByteStream").field("length", &self.length).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_stream_that_lies_about_its_length_is_an_error() {
        for (announced, given) in [(6, "hello"), (4, "hello")] {
            let stream = ByteStream::new(announced, futures::stream::iter([Ok(Bytes::from(given))]));
            assert_eq!(stream.collect(100).await.unwrap_err().kind(), ErrorKind::Transport);
        }
        assert_eq!(
            ByteStream::from_bytes("hello").collect(4).await.unwrap_err().kind(),
            ErrorKind::InvalidInput
        );
    }
}
