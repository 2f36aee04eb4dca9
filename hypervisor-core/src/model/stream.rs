//! Bytes with a known length.

use std::error::Error as StdError;
use std::fmt;
use std::path::Path;

use bytes::{Bytes, BytesMut};
use futures::stream::{BoxStream, Stream, StreamExt as _};
use tokio::fs::File;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use crate::error::{Effect, Error, ErrorKind, Result};

/// How much of a reader is read at a time.
const CHUNK: usize = 256 << 10;

fn unread(why: &str, error: impl StdError + Send + Sync + 'static) -> Error {
    let why = format!("the bytes cannot be read where they come from: {why}");
    Error::new(ErrorKind::Transport, why).with_source(error)
}

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
    pub fn new(length: u64, chunks: impl Stream<Item = Result<Bytes>> + Send + 'static) -> Self {
        Self { length, chunks: chunks.boxed() }
    }

    /// A stream of bytes in memory.
    pub fn from_bytes(bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        Self::new(length, futures::stream::once(async { Ok(bytes) }))
    }

    /// A stream of another library's chunks and errors, as the body of an HTTP response is one.
    ///
    /// ```
    /// use bytes::Bytes;
    /// use hypervisor_core::model::ByteStream;
    /// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
    /// // response.bytes_stream() of reqwest, for example, with response.content_length().
    /// let body = futures::stream::iter([Ok::<_, std::io::Error>(Bytes::from("hello"))]);
    /// assert_eq!(ByteStream::wrap(5, body).collect(1024).await?, "hello");
    /// # Ok::<(), hypervisor_core::Error>(()) }).unwrap();
    /// ```
    pub fn wrap<B, E>(length: u64, chunks: impl Stream<Item = Result<B, E>> + Send + 'static) -> Self
    where
        B: Into<Bytes>,
        E: StdError + Send + Sync + 'static,
    {
        let read =
            |chunk: Result<B, E>| chunk.map(Into::into).map_err(|error| unread(&error.to_string(), error));
        Self::new(length, chunks.map(read))
    }

    /// A stream of the next `length` bytes of a reader, which is read as the bytes are wanted.
    pub fn from_reader(length: u64, reader: impl AsyncRead + Send + 'static) -> Self {
        let reader = Box::pin(reader.take(length));
        let chunks = futures::stream::try_unfold(reader, |mut reader| async move {
            let mut chunk = BytesMut::with_capacity(CHUNK);
            let read =
                reader.read_buf(&mut chunk).await.map_err(|error| unread(&error.to_string(), error))?;
            Ok((read > 0).then(|| (chunk.freeze(), reader)))
        });
        Self::new(length, chunks)
    }

    /// A stream of a file's content, of the length that it has now.
    ///
    /// # Errors
    /// `InvalidInput` naming `path` where it cannot be opened or is no file.
    pub async fn from_file(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let bad = |error: std::io::Error| {
            Error::invalid("path", format!("{}: {error}", path.display())).with_source(error)
        };
        let file = File::open(path).await.map_err(bad)?;
        let data = file.metadata().await.map_err(bad)?;
        if data.is_dir() {
            return Err(Error::invalid("path", format!("{} is a folder", path.display())));
        }
        Ok(Self::from_reader(data.len(), file))
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

    /// Writes all bytes to a writer, a file for example, and says how many there were.
    ///
    /// ```
    /// use hypervisor_core::model::ByteStream;
    /// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
    /// let mut copy = Vec::new();
    /// assert_eq!(ByteStream::from_bytes("hello").write_to(&mut copy).await?, 5);
    /// assert_eq!(copy, b"hello");
    /// # Ok::<(), hypervisor_core::Error>(()) }).unwrap();
    /// ```
    ///
    /// # Errors
    /// What the stream itself ends with; `Backend`, with the writer's error as its source, where it cannot be written. What was written
    /// until then stays written.
    pub async fn write_to(self, writer: &mut (impl AsyncWrite + Unpin)) -> Result<u64> {
        let unwritten = |error: std::io::Error| {
            Error::new(ErrorKind::Backend, format!("the bytes cannot be written here: {error}"))
                .with_effect(Effect::None)
                .with_source(error)
        };
        let (length, mut chunks) = (self.length, self.into_chunks());
        while let Some(chunk) = chunks.next().await {
            writer.write_all(&chunk?).await.map_err(unwritten)?;
        }
        writer.flush().await.map_err(unwritten)?;
        Ok(length)
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
    async fn a_file_goes_in_and_out() {
        let folder = tempfile::tempdir().unwrap();
        let (from, to) = (folder.path().join("from"), folder.path().join("to"));
        let content: Vec<u8> = (0..600_000_u32).flat_map(u32::to_le_bytes).collect();
        std::fs::write(&from, &content).unwrap();
        let stream = ByteStream::from_file(&from).await.unwrap();
        assert_eq!(stream.length(), 2_400_000);
        let mut file = File::create(&to).await.unwrap();
        assert_eq!(stream.write_to(&mut file).await.unwrap(), 2_400_000);
        assert!(std::fs::read(&to).unwrap() == content);

        for path in [folder.path().join("none"), folder.path().to_owned()] {
            let error = ByteStream::from_file(&path).await.unwrap_err();
            assert!(error.fields().contains_key("path"), "{error}");
        }
        // A reader that holds less than was said.
        let short = ByteStream::from_reader(6, &b"hello"[..]);
        assert_eq!(short.collect(100).await.unwrap_err().kind(), ErrorKind::Transport);
        assert_eq!(ByteStream::from_reader(4, &b"hello"[..]).collect(100).await.unwrap(), "hell");
        let mut room = [0_u8; 3];
        let mut small = std::io::Cursor::new(&mut room[..]);
        let full = ByteStream::from_bytes("hello").write_to(&mut small).await.unwrap_err();
        assert_eq!((full.kind(), full.effect()), (ErrorKind::Backend, Effect::None));
    }

    #[tokio::test]
    async fn another_librarys_error_is_kept() {
        let broken = futures::stream::iter([Ok("hel"), Err(std::io::Error::other("cut off"))]);
        let error = ByteStream::wrap(5, broken).collect(100).await.unwrap_err();
        assert!(error.to_string().contains("cut off"), "{error}");
        assert!(StdError::source(&error).is_some());
    }

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
