//! The envelope around every answer: `{"data": …}`, with the number of all items beside it in some lists.

use hypervisor_core::{Error, ErrorKind, Result};
use serde::de::{DeserializeOwned, Deserializer};
use serde_json::Value;

use super::scalar::soft;

/// An answer without its envelope.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Answer<T> {
    /// What was asked for.
    pub data: T,
    /// How many items there are in all, where the server says.
    pub total: Option<u64>,
    /// What waits to be put into force, where the server says: the difference between two files.
    pub changes: Option<String>,
}

#[derive(serde::Deserialize)]
#[serde(bound = "T: DeserializeOwned")]
struct Envelope<T> {
    #[serde(default, deserialize_with = "present")]
    data: Present<T>,
    #[serde(default, deserialize_with = "soft")]
    total: Option<u64>,
    #[serde(default, deserialize_with = "soft")]
    changes: Option<String>,
}

/// Tells `"data": null` from an envelope without `data`.
#[derive(Default)]
enum Present<T> {
    #[default]
    No,
    Yes(T),
}

fn present<'de, T: DeserializeOwned, D: Deserializer<'de>>(deserializer: D) -> Result<Present<T>, D::Error> {
    T::deserialize(deserializer).map(Present::Yes)
}

/// Reads an answer, with or without the envelope around it.
///
/// # Errors
/// `Protocol` where it is no JSON or has another shape.
pub fn answer<T: DeserializeOwned>(body: &[u8]) -> Result<Answer<T>> {
    let is_object = body.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'{');
    // A struct can also be read from an array, which must not happen to a bare list.
    if is_object {
        let envelope: Envelope<T> = match serde_json::from_slice(body) {
            Ok(envelope) => envelope,
            Err(error) => return Err(broken(&error, body)),
        };
        if let Present::Yes(data) = envelope.data {
            return Ok(Answer { data, total: envelope.total, changes: envelope.changes });
        }
    }
    let data = serde_json::from_slice(body).map_err(|error| broken(&error, body))?;
    Ok(Answer { data, total: None, changes: None })
}

/// The data of an answer.
///
/// # Errors
/// `Protocol` where it is no JSON or has another shape.
pub fn data<T: DeserializeOwned>(body: &[u8]) -> Result<T> {
    answer(body).map(|answer| answer.data)
}

/// The data of an answer as it came; `Null` where the server sent nothing.
///
/// # Errors
/// `Protocol` where it is no JSON.
pub fn value(body: &[u8]) -> Result<Value> {
    if body.iter().all(u8::is_ascii_whitespace) { Ok(Value::Null) } else { data(body) }
}

/// The id that a call gave back: a task's, a volume's, the next free VMID. `None` for `null`, which means that all is done.
///
/// # Errors
/// `Protocol` where it is no JSON.
pub fn id(body: &[u8]) -> Result<Option<String>> {
    Ok(super::scalar::text_of(&value(body)?))
}

pub(crate) fn broken(error: &serde_json::Error, body: &[u8]) -> Error {
    // Only the place, never the text: an answer may hold a ticket.
    Error::new(
        ErrorKind::Protocol,
        format!(
            "the answer of {} bytes is not what this call gives back: {:?} error at line {} column {}",
            body.len(),
            error.classify(),
            error.line(),
            error.column()
        ),
    )
    .with_backend(crate::BACKEND)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_envelope_and_the_bare_document_are_read() {
        assert_eq!(data::<Vec<u32>>(br#"{"data":[1,2]}"#).unwrap(), [1, 2]);
        assert_eq!(data::<Vec<u32>>(b" [1,2]").unwrap(), [1, 2]);
        let counted = answer::<Vec<u32>>(br#"{"total":"53","data":[1]}"#).unwrap();
        assert_eq!(counted.total, Some(53));
        assert_eq!(value(br#"{"data":null}"#).unwrap(), Value::Null);
        assert_eq!(value(b"").unwrap(), Value::Null);
        let bare: super::super::status::GuestStatus = data(br#"{"vmid":100,"status":"running"}"#).unwrap();
        assert_eq!(bare.vmid, Some(100));
        assert_eq!(id(br#"{"data":"102"}"#).unwrap().as_deref(), Some("102"));
        assert_eq!(id(br#"{"data":102}"#).unwrap().as_deref(), Some("102"));
        assert_eq!(id(br#"{"data":null}"#).unwrap(), None);
    }

    #[test]
    fn what_is_no_answer_is_a_protocol_error_without_its_text() {
        for body in [&b"<html>hunter2</html>"[..], br#"{"data":"hunter2"#, br#"{"data":{"hunter2":1}}"#] {
            let error = data::<Vec<u32>>(body).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Protocol);
            assert!(!format!("{error:#?}").contains("hunter2"));
        }
    }
}
