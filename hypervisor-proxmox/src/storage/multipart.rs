//! Multipart bodies of known length, in the order that the server wants: the fields first, the file last.

use bytes::Bytes;
use futures::StreamExt as _;
use hypervisor_core::model::ByteStream;
use hypervisor_core::{Error, Result};
use uuid::Uuid;

/// A body with its content type.
pub(crate) struct Multipart {
    pub(crate) content_type: String,
    pub(crate) body: ByteStream,
}

/// Fields, and then a file in the part `filename`. The stream is sent while it is read.
///
/// # Errors
/// `InvalidInput` for a name that would break out of its quotes.
pub(crate) fn multipart(fields: &[(&str, &str)], file: &str, content: ByteStream) -> Result<Multipart> {
    if file.contains(['"', '\r', '\n', '/', '\\']) {
        return Err(Error::invalid("name", format!("`{}` is no file name", file.escape_debug())));
    }
    // A random boundary cannot be in the content by accident, nor by intent.
    let boundary = format!("hv-{}", Uuid::new_v4().simple());
    let mut head = String::new();
    for (name, value) in fields {
        head.push_str(&format!(
            "--{boundary}\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n"
        ));
    }
    head.push_str(&format!(
        "--{boundary}\r\nContent-Disposition: form-data; name=\"filename\"; filename=\"{file}\"\r\n\
         Content-Type: application/octet-stream\r\n\r\n"
    ));
    let tail = format!("\r\n--{boundary}--\r\n");
    let size = |text: &str| u64::try_from(text.len()).unwrap_or(u64::MAX);
    let length = content.length().saturating_add(size(&head)).saturating_add(size(&tail));
    let one = |text: String| futures::stream::once(async move { Ok(Bytes::from(text)) });
    let chunks = one(head).chain(content.into_chunks()).chain(one(tail));
    Ok(Multipart {
        content_type: format!("multipart/form-data; boundary={boundary}"),
        body: ByteStream::new(length, chunks),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_length_is_that_of_the_body_and_the_file_comes_last() {
        let content = ByteStream::from_bytes("content");
        let sent = multipart(&[("content", "iso"), ("checksum", "ab")], "a.iso", content).unwrap();
        let length = sent.body.length();
        let body = sent.body.collect(1 << 20).await.unwrap();
        assert_eq!(u64::try_from(body.len()).unwrap(), length);
        let text = String::from_utf8(body.to_vec()).unwrap();
        let at = |word: &str| text.find(word).unwrap_or_else(|| panic!("no {word} in {text}"));
        assert!(at("name=\"content\"") < at("name=\"checksum\"") && at("name=\"checksum\"") < at("filename=\"a.iso\""));
        let boundary = sent.content_type.split_once("boundary=").unwrap().1;
        assert!(text.ends_with(&format!("--{boundary}--\r\n")));
        assert!(multipart(&[], "a\"b", ByteStream::from_bytes("")).is_err());
    }
}
